"""Backends: chosen by name, built once per experiment, and unable to hurt anybody but their own experiment."""

import io
import threading
from datetime import UTC, datetime

import pytest
from sqlalchemy import Column, Integer, MetaData, Table

from poms.webservice import config
from poms.webservice.backends import Backends
from poms.webservice.bulkhead import PAUSE_SECONDS, NotBegun
from poms.webservice.errors import BackendUnavailable, ConfigurationError, Invalid, NotFound
from poms.webservice.hookspecs import hookimpl
from poms.webservice.interfaces import (
    CheckResult,
    DataBackend,
    DatabaseOffer,
    FileState,
    Identity,
    JobBackend,
    JobSelection,
    LaunchTransport,
    Offer,
    Setting,
    SettingsSection,
    SubmitOutcome,
    TransportResult,
    WsgiMount,
)

PATIENCE_SECONDS = 20
QUICK = "[experiment_defaults]\nbackend_timeout_seconds = 0.1\nbackend_workers = 2\n"


class Catalogue:
    """A file catalogue whose behaviour follows from the query it is asked."""

    def __init__(self, context):
        self.context = context
        self.never = threading.Event()
        self.asked = []

    def count(self, query):
        self.asked.append(query)
        if query == "hang":
            self.never.wait(PATIENCE_SECONDS)
        if query == "crash":
            raise ZeroDivisionError("the plugin's own fault")
        if query == "exit":
            raise SystemExit(3)
        if query == "bad":
            raise Invalid("position 3: no such word")
        return 42

    def file_states(self, submission):
        yield FileState("a.root", "consumed")
        if submission == "hang":
            self.never.wait(PATIENCE_SECONDS)
        yield FileState("b.root", "failed")

    def _unused(self, *arguments, **keywords):
        raise NotImplementedError

    list = define = definition = dataset_query = snapshot = create_project = end_project = project_summary = _unused
    output_files = output_counts = recovery_kinds = recovery_files = dependency_files = job_environment = _unused
    links = health = sizes = _unused


class Pool:
    """A batch system that acts, and prints logs in pieces."""

    pool = "pool"

    def __init__(self, context):
        self.context = context
        self.never = threading.Event()
        self.closed = threading.Event()

    def submit(self, plan, script, transport, log, timeout_seconds):
        if plan == "hang":
            self.never.wait(PATIENCE_SECONDS)
        if plan == "crash":
            raise RuntimeError("after the jobs were started, perhaps")
        return SubmitOutcome("started", ("7@schedd",))

    def act(self, action, selection, reason):
        self.never.wait(PATIENCE_SECONDS)

    def fetch_log(self, batch_id, which):
        if batch_id == "gone":
            raise NotFound("no log of gone")
        try:
            yield b"first"
            if batch_id == "hang":
                self.never.wait(PATIENCE_SECONDS)
            yield b"second"
        finally:
            self.closed.set()

    def _unused(self, *arguments, **keywords):
        raise NotImplementedError

    environment = find = snapshot = departed = jobs = health = _unused


class Transport:
    dies_with_caller = True

    def __init__(self, context):
        self.context = context

    def run(self, host, account, script, *, log, timeout_seconds, max_output_bytes):
        log.write(script.encode())
        return TransportResult(0, script)


class Somebody:
    def __init__(self, context):
        self.context = context

    def identify(self, request):
        return Identity("somebody", "demo")

    def start_checks(self, listen):
        return [CheckResult("ok", "demo", listen)]


class Plugin:
    """Offers one of everything, and remembers what it built."""

    def __init__(self, *, name="local", section="pool", catalogue=Catalogue):
        self.name, self.section, self.catalogue = name, section, catalogue
        self.built = []

    def _offer(self, factory, name=None):
        def build(context):
            made = factory(context)
            self.built.append(made)
            return made

        return [Offer(name or self.name, "for tests", build, self.section)]

    @hookimpl
    def poms_settings(self):
        return [SettingsSection("pool", "A pool.", (Setting("retries", "int", "3", "Tries."),))]

    @hookimpl
    def poms_job_backends(self):
        return self._offer(Pool)

    @hookimpl
    def poms_data_backends(self):
        return self._offer(self.catalogue)

    @hookimpl
    def poms_launch_transports(self):
        return self._offer(Transport)

    @hookimpl
    def poms_identity_sources(self):
        return self._offer(Somebody, "demo")


class Clock:
    """A monotonic clock that stands still until it is moved."""

    def __init__(self):
        self.seconds = 1000.0

    def __call__(self):
        return self.seconds


def make(tmp_path, text="", *plugins, monotonic=None):
    settings = config.parse(text, directory=tmp_path)
    more = {"monotonic": monotonic} if monotonic else {}
    return Backends(settings, list(plugins) or [Plugin()], clock=lambda: datetime(2030, 1, 1, tzinfo=UTC), **more)


def release(backends, plugin):
    """Let every hanging call of the plugin return."""
    for each in plugin.built:
        if hasattr(each, "never"):
            each.never.set()


# ---------------------------------------------------------------------------------------------- choice


def test_unknown_name_stops_the_start_with_the_installed_names(tmp_path):
    """A spelling mistake in poms.ini is found at the start, and the message has the right words."""
    with pytest.raises(ConfigurationError, match=r"\[experiment sbnd\]: there is no data_backend 'sma'; .*: local"):
        make(tmp_path, "[experiment sbnd]\ndata_backend = sma\n")


def test_unknown_identity_source_stops_the_start(tmp_path):
    """Nobody could log in otherwise."""
    with pytest.raises(ConfigurationError, match="no identity source 'shibboleth'; installed: demo"):
        make(tmp_path, "[identity]\nsources = demo, shibboleth\n")


def test_unknown_source_of_credentials_stops_the_start(tmp_path):
    """A slip in its name must not be noticed by launches that go without."""
    with pytest.raises(ConfigurationError, match=r"\[experiment sbnd\]: there is no credential_backend 'files'"):
        make(tmp_path, "[experiment sbnd]\ncredential_backend = files", Plugin())


def test_without_a_source_of_credentials_nobody_is_asked(tmp_path):
    """``none`` is no plugin's; it can be chosen without any."""
    assert make(tmp_path, "[experiment sbnd]\ncredential_backend = none", Plugin()).credentials("sbnd") is None


def test_service_without_identity_sources_does_not_start(tmp_path):
    """An empty list is a mistake, never a way to let everybody in."""
    with pytest.raises(ConfigurationError, match="nobody could ever log in"):
        make(tmp_path, "[identity]\nsources =\n")


def test_two_plugins_cannot_offer_one_name(tmp_path):
    """Which of them would be used must not depend on chance."""
    class Other:
        @hookimpl
        def poms_data_backends(self):
            return [Offer("local", "another", Catalogue)]

    with pytest.raises(ConfigurationError, match="data_backend 'local' is offered twice"):
        make(tmp_path, "", Plugin(), Other())


def test_split_type_names_are_unique(tmp_path):
    """A campaign's split text means one thing only."""
    class Split:
        name, description, parameters, editor = "nfiles", "", (), ""

    class First:
        @hookimpl
        def poms_split_types(self):
            return [Split()]

    class Second:
        @hookimpl
        def poms_split_types(self):
            return [Split()]

    with pytest.raises(ConfigurationError, match="split type 'nfiles' is offered twice"):
        make(tmp_path, "", Plugin(), First(), Second())


def test_failing_hook_stops_the_start_and_names_the_plugin(tmp_path):
    """A misconfigured plugin is not noticed at the first launch only."""
    class Broken:
        @hookimpl
        def poms_job_backends(self):
            raise KeyError("host")

    with pytest.raises(ConfigurationError, match="failed in poms_job_backends: KeyError"):
        make(tmp_path, "", Plugin(), Broken())


def test_hook_that_poms_does_not_have_is_refused(tmp_path):
    """A hook with a spelling mistake would never be called."""
    class Misspelt:
        @hookimpl
        def poms_data_backend(self):
            return []

    with pytest.raises(ConfigurationError, match="a hook that POMS does not have"):
        make(tmp_path, "", Plugin(), Misspelt())


def test_module_that_cannot_be_imported_is_named(tmp_path):
    """The administrator learns which plugin, and how to start without it."""
    settings = config.parse("[service]\nplugins = poms_plugin_that_is_not_there\n", directory=tmp_path)

    with pytest.raises(ConfigurationError, match="poms_plugin_that_is_not_there.*ModuleNotFoundError"):
        Backends(settings)


def test_plugin_gets_its_section_and_its_experiment(tmp_path):
    """The factory is given converted options, with the experiment's own values first."""
    plugin = Plugin()
    backends = make(tmp_path, "[pool sbnd]\nretries = 9\n", plugin)
    backends.data("sbnd").count("x")

    (catalogue,) = plugin.built
    assert catalogue.context.experiment == "sbnd"
    assert dict(catalogue.context.options) == {"retries": 9}
    assert catalogue.context.clock() == datetime(2030, 1, 1, tzinfo=UTC)
    assert catalogue.context.secret("x") == backends.settings.secret("x")


def test_backend_is_built_at_first_use_and_once_per_experiment(tmp_path):
    """Starting touches no system outside; experiments share nothing."""
    plugin = Plugin()
    backends = make(tmp_path, "", plugin)
    assert plugin.built == []

    for _ in range(3):
        backends.data("sbnd").count("x")
    backends.data("dune").count("x")

    assert [each.context.experiment for each in plugin.built] == ["sbnd", "dune"]


def test_factory_that_makes_something_else_is_found_out(tmp_path):
    """An object without the protocol's methods is refused with what it lacks."""
    backends = make(tmp_path, "", Plugin(catalogue=lambda context: object()))

    with pytest.raises(ConfigurationError, match="data_backend local lacks count, list"):
        backends.data("sbnd").count("x")


def test_failing_factory_is_tried_again(tmp_path):
    """A system that was down when it was first needed is used once it is there."""
    fails = [ConnectionError("down")]

    def build(context):
        if fails:
            raise fails.pop()
        return Catalogue(context)

    backends = make(tmp_path, "", Plugin(catalogue=build))
    with pytest.raises(BackendUnavailable, match="ConnectionError"):
        backends.data("sbnd").count("x")

    assert backends.data("sbnd").count("x") == 42


def test_stand_ins_are_what_they_stand_for(tmp_path):
    """Services get objects that implement the protocols in full."""
    backends = make(tmp_path)

    assert isinstance(backends.jobs("sbnd"), JobBackend)
    assert isinstance(backends.data("sbnd"), DataBackend)
    assert isinstance(backends.transport("sbnd"), LaunchTransport)
    assert backends.jobs("sbnd").pool == "pool"
    assert backends.transport("sbnd").dies_with_caller is True


def test_database_tables_stay_below_their_prefix(tmp_path):
    """A plugin cannot claim a table of POMS or of another plugin."""
    metadata = MetaData()
    Table("submissions", metadata, Column("id", Integer, primary_key=True))

    class Greedy:
        @hookimpl
        def poms_databases(self):
            return [DatabaseOffer("greedy", "greedy_", metadata, tmp_path)]

    with pytest.raises(ConfigurationError, match="must begin with 'greedy_': submissions"):
        make(tmp_path, "", Plugin(), Greedy()).databases()


@pytest.mark.parametrize("prefix", ["/", "/poms", "sam", "", "/static"])
def test_mount_cannot_hide_the_pages(tmp_path, prefix):
    """A plugin's application has a place of its own."""
    class Mounting:
        @hookimpl
        def poms_wsgi_mounts(self, context_for, experiments):
            return [WsgiMount(prefix, lambda environ, start_response: [], "x")]

    with pytest.raises(ConfigurationError, match="cannot be mounted"):
        make(tmp_path, "", Plugin(), Mounting()).wsgi_mounts(["sbnd"])


def test_mounts_get_contexts_and_experiments(tmp_path):
    """An application is built with the same context as the backend of its experiment."""
    class Mounting:
        @hookimpl
        def poms_wsgi_mounts(self, context_for, experiments):
            text = ",".join(f"{name}:{context_for(name, 'pool').options['retries']}" for name in experiments)
            return [WsgiMount("/sam", lambda environ, start_response: [], text)]

    (mount,) = make(tmp_path, "[pool dune]\nretries = 5\n", Plugin(), Mounting()).wsgi_mounts(["sbnd", "dune"])

    assert mount.description == "sbnd:3,dune:5"


def test_start_checks_ask_plugins_and_identity_sources(tmp_path):
    """poms check hears of both."""
    class Checking:
        @hookimpl
        def poms_start_checks(self, context_for):
            return [CheckResult("warning", "disk", "nearly full")]

    results = make(tmp_path, "", Plugin(), Checking()).start_checks()

    assert [(result.subject, result.level) for result in results] == [("disk", "warning"), ("demo", "ok")]


# ------------------------------------------------------------------------------------------- isolation


def test_answer_and_named_conditions_pass(tmp_path):
    """What a backend says, it says to the caller: answers and conditions."""
    data = make(tmp_path).data("sbnd")

    assert data.count("any") == 42
    with pytest.raises(Invalid, match="position 3"):
        data.count("bad")


@pytest.mark.parametrize(("query", "kind"), [("crash", "ZeroDivisionError"), ("exit", "SystemExit")])
def test_unexpected_failure_becomes_unavailable_and_is_logged(tmp_path, caplog, query, kind):
    """A plugin's fault is an outage with a traceback in the log, never an answer and never our end."""
    with pytest.raises(BackendUnavailable, match=f"data backend of sbnd failed in count with {kind}"):
        make(tmp_path).data("sbnd").count(query)

    assert caplog.records[-1].exc_info[0].__name__ == kind


def test_hanging_call_is_given_up_with_what_hung(tmp_path):
    """The caller learns whose backend did not answer what."""
    plugin = Plugin()
    backends = make(tmp_path, QUICK, plugin)

    with pytest.raises(BackendUnavailable, match="data backend of sbnd did not answer count within 0.1 s"):
        backends.data("sbnd").count("hang")
    release(backends, plugin)


def test_hanging_backend_costs_its_own_experiment_only(tmp_path):
    """With every thread of sbnd's catalogue stuck, dune's catalogue and sbnd's transport answer."""
    plugin = Plugin()
    backends = make(tmp_path, QUICK, plugin)
    for _ in range(2):
        with pytest.raises(BackendUnavailable):
            backends.data("sbnd").count("hang")

    with pytest.raises(NotBegun, match="2 calls were under way"):
        backends.data("sbnd").count("any")
    assert backends.data("dune").count("any") == 42
    assert backends.transport("sbnd").run("h", "a", "s", log=io.BytesIO(), timeout_seconds=5,
                                          max_output_bytes=9).exit_status == 0
    release(backends, plugin)


def test_backend_that_hung_is_used_again_when_it_returns(tmp_path):
    """Threads that come back are taken for the next calls."""
    plugin, clock = Plugin(), Clock()
    backends = make(tmp_path, QUICK, plugin, monotonic=clock)
    for _ in range(2):
        with pytest.raises(BackendUnavailable):
            backends.data("sbnd").count("hang")

    release(backends, plugin)
    backends.bulkhead("sbnd", "data_backend").timeout_seconds = PATIENCE_SECONDS

    assert backends.data("sbnd").count("any") == 42


def test_after_three_timeouts_nobody_is_asked_for_a_while(tmp_path):
    """The circuit opens: callers fail at once, the backend is left in peace."""
    plugin, clock = Plugin(), Clock()
    backends = make(tmp_path, QUICK.replace("= 2", "= 4"), plugin, monotonic=clock)
    for _ in range(3):
        with pytest.raises(BackendUnavailable):
            backends.data("sbnd").count("hang")

    with pytest.raises(NotBegun, match="asked again in 30 s"):
        backends.data("sbnd").count("any")
    assert plugin.built[0].asked == ["hang"] * 3
    release(backends, plugin)


def test_after_the_pause_one_call_tries_and_closes_the_circuit(tmp_path):
    """Half open: one trial; its answer lets everybody through again."""
    plugin, clock = Plugin(), Clock()
    backends = make(tmp_path, QUICK.replace("= 2", "= 4"), plugin, monotonic=clock)
    for _ in range(3):
        with pytest.raises(BackendUnavailable):
            backends.data("sbnd").count("hang")
    breaker = backends.bulkhead("sbnd", "data_backend").breaker
    clock.seconds += PAUSE_SECONDS

    assert breaker.is_open
    assert backends.data("sbnd").count("any") == 42
    assert not breaker.is_open
    assert backends.data("sbnd").count("any") == 42
    release(backends, plugin)


def test_only_one_trial_is_admitted_after_a_pause(tmp_path):
    """While the trial is under way, the others are turned away."""
    clock = Clock()
    breaker = make(tmp_path, monotonic=clock).bulkhead("sbnd", "data_backend").breaker
    for _ in range(3):
        breaker.timed_out()
    clock.seconds += PAUSE_SECONDS

    assert [breaker.admit() > 0 for _ in range(3)] == [False, True, True]


def test_errors_do_not_open_the_circuit(tmp_path):
    """A backend that answers, even with errors, does not hang anybody."""
    data = make(tmp_path).data("sbnd")
    for _ in range(5):
        with pytest.raises(BackendUnavailable):
            data.count("crash")

    assert data.count("any") == 42


def test_factory_that_hangs_is_bounded_as_well(tmp_path):
    """Building a backend may need its system: that too is given up."""
    never = threading.Event()

    def build(context):
        never.wait(PATIENCE_SECONDS)
        return Catalogue(context)

    with pytest.raises(BackendUnavailable, match="did not answer count"):
        make(tmp_path, QUICK, Plugin(catalogue=build)).data("sbnd").count("any")
    never.set()


def test_many_callers_share_few_threads(tmp_path):
    """However many ask at once, a backend sees no more calls than it has workers."""
    running, most, lock = [0], [0], threading.Lock()

    class Counting(Catalogue):
        def count(self, query):
            with lock:
                running[0] += 1
                most[0] = max(most[0], running[0])
            gate.wait(PATIENCE_SECONDS)
            with lock:
                running[0] -= 1
            return 1

    gate = threading.Barrier(3)
    data = make(tmp_path, "[experiment_defaults]\nbackend_workers = 3\n", Plugin(catalogue=Counting)).data("sbnd")
    threads = [threading.Thread(target=data.count, args=("x",)) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)

    assert most[0] == 3


# ------------------------------------------------------------------------- lists, logs and launches


def test_list_is_drawn_up_within_the_limit(tmp_path):
    """A backend that stops in the middle of a list gives no half list."""
    plugin = Plugin()
    backends = make(tmp_path, QUICK, plugin)

    assert [state.file_name for state in backends.data("sbnd").file_states("any")] == ["a.root", "b.root"]
    with pytest.raises(BackendUnavailable, match="file_states"):
        backends.data("sbnd").file_states("hang")
    release(backends, plugin)


def test_log_is_streamed_piece_by_piece(tmp_path):
    """A long log is never held in memory as a whole."""
    assert list(make(tmp_path).jobs("sbnd").fetch_log("1.0@s", "stdout")) == [b"first", b"second"]


def test_missing_log_is_found_missing_at_once(tmp_path):
    """The condition comes with the call, not with the first piece."""
    with pytest.raises(NotFound, match="no log of gone"):
        make(tmp_path).jobs("sbnd").fetch_log("gone", "stdout")


def test_log_that_hangs_midway_is_given_up(tmp_path):
    """What came is delivered; then the reader is told, not kept waiting."""
    plugin = Plugin()
    backends = make(tmp_path, QUICK, plugin)
    pieces = backends.jobs("sbnd").fetch_log("hang", "stdout")

    assert next(pieces) == b"first"
    with pytest.raises(BackendUnavailable, match="fetch_log"):
        next(pieces)
    release(backends, plugin)


def test_log_is_closed_when_its_reader_goes_away(tmp_path):
    """A browser that leaves does not leave a file open."""
    plugin = Plugin()
    pieces = make(tmp_path, "", plugin).jobs("sbnd").fetch_log("1.0@s", "stdout")
    next(pieces)
    pieces.close()

    assert plugin.built[0].closed.is_set()


def test_submit_that_crashed_is_unclear(tmp_path):
    """The plugin broke after it may have started jobs: the batch system must be asked before a second attempt."""
    outcome = make(tmp_path).jobs("sbnd").submit("crash", "", None, io.BytesIO(), 5)

    assert outcome.kind == "unclear"
    assert "RuntimeError" in outcome.message


def test_submit_that_hangs_is_unclear(tmp_path, monkeypatch):
    """No answer is no answer: neither started nor refused."""
    monkeypatch.setattr("poms.webservice.guarded.LAUNCH_MARGIN_SECONDS", 0.05)
    plugin = Plugin()
    backends = make(tmp_path, QUICK, plugin)

    assert backends.jobs("sbnd").submit("hang", "", None, io.BytesIO(), 0.05).kind == "unclear"
    release(backends, plugin)


def test_submit_that_was_not_begun_says_so(tmp_path):
    """With the circuit open nothing was started, which is certain and may be tried again."""
    backends = make(tmp_path)
    for _ in range(3):
        backends.bulkhead("sbnd", "launch").breaker.timed_out()

    with pytest.raises(NotBegun):
        backends.jobs("sbnd").submit("plan", "", None, io.BytesIO(), 5)


def test_launches_go_on_while_actions_hang(tmp_path):
    """Submitting has threads of its own."""
    plugin = Plugin()
    backends = make(tmp_path, QUICK, plugin)
    for _ in range(2):
        with pytest.raises(BackendUnavailable):
            backends.jobs("sbnd").act("hold", JobSelection((1,)), "why")

    assert backends.jobs("sbnd").submit("plan", "", None, io.BytesIO(), 5).batch_ids == ("7@schedd",)
    release(backends, plugin)


def test_call_runs_any_work_within_the_bounds_of_an_experiment(tmp_path):
    """What is not a backend's method can be bounded in the same way."""
    backends = make(tmp_path)
    never = threading.Event()

    assert backends.call("sbnd", "links", lambda: 7) == 7
    with pytest.raises(BackendUnavailable, match="links of sbnd did not answer links within 0.05 s"):
        backends.call("sbnd", "links", lambda: never.wait(PATIENCE_SECONDS), 0.05)
    never.set()
