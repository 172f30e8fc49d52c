"""``python -m poms.webservice.demo``, which ``bin/demo`` runs: options, and one demonstration from end to end."""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from poms.webservice import config, demo, migrations
from poms.webservice.backends import Backends
from poms.webservice.cli import startup
from poms.webservice.demo import pool, records, show
from poms.webservice.demo.person import Person
from poms.webservice.demo.processes import Crashes, Processes
from poms.webservice.errors import PomsError
from poms.webservice.rules import shell
from poms.webservice.rules.campaign_text import parse
from poms.webservice.services import people, samples
from poms.webservice.services.core import Core
from poms.webservice.services.samples import Sample

EXPERIMENT, USER = "sbnd", "demo"
# What an extra brings that can be looked for.
EXTRA_MODULES = {"samples": ("pythia8mc", "fastjet", "uproot", "numpy")}

POMS_INI = """\
; Made by bin/demo. Nothing here is meant for production.
[service]
data_dir = .
public_url = http://{listen}

[web]
listen = {listen}

[identity]
sources = demo

[agent]
launch_seconds = 0.3
poll_seconds = 0.7
wrapup_seconds = 0.7
schedule_seconds = 1
lease_seconds = 5
held_grace_seconds = 1

[experiment sbnd]
job_backend = {batch}
data_backend = local
launch_transport = local
analysis_launch_hosts = 127.0.0.1

[local_batch]
site = DEMO

{more}"""


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bin/demo", description=(demo.__doc__ or "").splitlines()[0])
    parser.add_argument("--exit", action="store_true", help="stop everything at the end; status 0 only if all is well")
    parser.add_argument("--json", action="store_true", help="print a machine-readable summary as the last line")
    parser.add_argument("--port", type=int, default=8080, help="port on loopback, 0 for any free one (default 8080)")
    parser.add_argument("--data-dir", type=Path, default=Path("var/demo"), help="where everything is kept")
    parser.add_argument("--sample", default="sbnd_mc", help="sample campaign to run (default sbnd_mc): "
                        + ", ".join(each.name for each in samples.list_samples()))
    parser.add_argument("--batch", choices=["local", "htcondor"], default="local", help="batch system")
    parser.add_argument("--htcondor", type=Path, metavar="FILE",
                        help="with --batch htcondor: a file whose section [htcondor] says how the pool is reached")
    parser.add_argument("--pool-script", type=Path, nargs="?", const=pool.POOL_SCRIPT, metavar="PROGRAM",
                        help="with --batch htcondor: start a throw-away pool with this program (default that of the "
                             "checkout's tests)")
    parser.add_argument("--provision", action="store_true",
                        help="with --pool-script: make the system that the pool runs in, if it is not there")
    parser.add_argument("--keep", action="store_true", help="go on with what is in the data directory")
    parser.add_argument("--crashes", type=int, default=0, metavar="N", help="kill server or agent N times on the way")
    parser.add_argument("--seed", type=int, default=0, help="of the crashes")
    return parser.parse_args(argv)


@dataclass
class Demonstration:
    """One run: what was asked for, and where it takes place."""

    options: argparse.Namespace
    sample: Sample
    port: int
    data_dir: Path
    console: Console
    started: float

    @property
    def listen(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.listen}/poms/"


def run(argv: list[str] | None = None) -> int:
    """The whole demonstration; returns the exit status."""
    options = arguments(argv)
    console = Console(stderr=True)
    # Asked to end in whatever way, all that was started ends with us.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ExitStack() as stack:
        try:
            demonstration = Demonstration(options, find_sample(options.sample), free_port(options.port),
                                          options.data_dir.absolute(), console, time.monotonic())
            make_directory(demonstration)
            settings = stack.enter_context(batch_settings(demonstration))
            core = prepare(demonstration, settings)
            stack.callback(core.db.close)
        except PomsError as condition:
            complain(console, str(condition))
            return 2
        except KeyboardInterrupt:
            return 130
        return _run_in(demonstration, core)


def _run_in(demonstration: Demonstration, core: Core) -> int:
    console, options = demonstration.console, demonstration.options
    processes = Processes(demonstration.data_dir / "poms.ini", demonstration.data_dir)
    crashes = Crashes(processes, options.crashes, options.seed)
    processes.start()
    try:
        return perform(demonstration, core, crashes)
    except PomsError as condition:
        complain(console, f"{condition}\nThe logs are in {demonstration.data_dir}.")
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        crashes.ended.set()
        processes.stop()


def complain(console: Console, text: str) -> None:
    """Say what is wrong, as it is: texts of others hold brackets, and paths that are to be copied."""
    console.print(text, style="red", markup=False, highlight=False, soft_wrap=True)


# --------------------------------------------------------------------------------------- before it begins


def find_sample(name: str) -> Sample:
    """The sample; raises PomsError if it is not there or what its jobs need is not installed."""
    sample = samples.find(name)
    lacking = [module for module in EXTRA_MODULES.get(sample.extra, ()) if importlib.util.find_spec(module) is None]
    if lacking:
        raise PomsError(f"The sample {name} needs {', '.join(lacking)}; run it by bin/demo, which installs them, or "
                        f"pip install 'poms[{sample.extra}]'.")
    return sample


def free_port(wanted: int) -> int:
    """The port wanted, or any free one for 0; raises PomsError when it is in use."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            raise PomsError(f"Port {wanted} is in use; choose another with --port, or --port 0 for any.") from None
        return probe.getsockname()[1]


def make_directory(demonstration: Demonstration) -> None:
    """An empty data directory, or with --keep the one that is there; refuses one that is not one's own."""
    data_dir = demonstration.data_dir
    if data_dir.exists() and not demonstration.options.keep:
        if not (data_dir / "poms.ini").exists() and any(data_dir.iterdir()):
            raise PomsError(f"{data_dir} is not empty and was not made by bin/demo; choose another --data-dir.")
        shutil.rmtree(data_dir)
    data_dir.mkdir(parents=True, exist_ok=True)


@contextmanager
def batch_settings(demonstration: Demonstration) -> Iterator[str]:
    """What poms.ini needs for the batch system; a pool that has to be started runs while this is open."""
    options, places = demonstration.options, [demonstration.data_dir, samples.library().resolve()]
    if options.batch != "htcondor":
        if options.htcondor or options.pool_script or options.provision:
            raise PomsError("--htcondor, --pool-script and --provision go with --batch htcondor.")
        yield ""
    elif options.htcondor:
        yield pool.section_text(pool.settings_in(options.htcondor))
    elif options.pool_script:
        demonstration.console.print("Starting an HTCondor pool ...")
        with pool.started(options.pool_script, places, provision=options.provision) as settings:
            yield pool.section_text(settings)
    else:
        raise PomsError(pool.NEEDED)


def prepare(demonstration: Demonstration, more: str) -> Core:
    """Configuration, database, experiment and person; nothing that is there already is changed."""
    ini = demonstration.data_dir / "poms.ini"
    ini.write_text(POMS_INI.format(listen=demonstration.listen, batch=demonstration.options.batch, more=more))
    backends = Backends(config.load(ini))
    migrations.upgrade(backends.settings.database.url, backends.databases())
    core = startup.open_core(backends)
    if EXPERIMENT not in people.list_experiments(core):
        people.add_experiment(core, EXPERIMENT, "Short-Baseline Near Detector")
    people.ensure_person(core, USER, "Demo", "User", root=True)
    people.set_membership(core, USER, EXPERIMENT, "superuser")
    samples.define_datasets(core, EXPERIMENT, demonstration.sample)
    output = records.output_dir(core)
    output.mkdir(exist_ok=True)
    if demonstration.options.batch != "local":
        # Jobs run as whoever the pool says and write here; nobody removes what is not his.
        output.chmod(0o1777)
    return core


def sample_text(core: Core, sample: Sample) -> bytes:
    """The sample's campaign text, with the place for its output set in its login setup."""
    text = parse(samples.text_of(core, sample.name).encode())
    setup = f"export {sample.output_variable}={shell.quote(str(records.output_dir(core)))}"
    return text.with_value(f"login_setup {sample.login_setup}", "setup", setup).to_bytes()


# ---------------------------------------------------------------------------------------------- the show


def perform(demonstration: Demonstration, core: Core, crashes: Crashes) -> int:
    """Upload, launch, watch to the end, judge; the exit status."""
    options, sample, console, url = (demonstration.options, demonstration.sample, demonstration.console,
                                     demonstration.url)
    console.print(f"POMS serves [link={url}]{url}[/link]")
    person = Person(url.removesuffix("/poms/"), EXPERIMENT, sample.role)
    uploaded = person.upload(sample_text(core, sample))
    before = {state.name: state.numbers() for state in records.stage_states(core, uploaded.campaign_id)}
    crashes.start()
    for stage, cron in sample.schedules.items():
        person.schedule(uploaded.stages[stage], cron)
    person.launch(uploaded.stages[sample.first_stage])
    approver = show.Approver(core, person, console, url, at_once=options.exit)
    finished = show.watch(core, uploaded.campaign_id, sample, before, approver, console)
    crashes.ended.set()
    crashes.join()
    return conclude(demonstration, core, uploaded.campaign_id, before, finished=finished, crashes=crashes.done)


def conclude(demonstration: Demonstration, core: Core, campaign_id: int, before: Mapping[str, Counter], *,
             finished: bool, crashes: int) -> int:
    """Say how it went, and stay until somebody has seen enough unless that is not wanted."""
    options, console, url = demonstration.options, demonstration.console, demonstration.url
    summary = records.summarise(core, campaign_id, demonstration.sample, url,
                                time.monotonic() - demonstration.started, before) | {"crashes": crashes}
    good = finished and records.is_good(summary)
    if not good:
        wrong = [f"{name}: {said}" for name, said in summary["checks"].items() if said != "passed"]
        complain(console, "\n".join([f"Not every stage finished as it should; see {demonstration.data_dir}.", *wrong]))
    else:
        console.print("[green]Every stage finished.[/green]")
    if options.json:
        print(records.as_line(summary), flush=True)
    if not options.exit:
        console.print(f"The service stays up at {url} until you press Ctrl-C.")
        try:
            signal.pause()
        except KeyboardInterrupt:
            console.print("Stopping.")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(run())
