"""Contract tests for a JobBackend: subclass ``JobBackendContract`` in a test module and give it three things.

Not for what one batch system alone promises. Invariant: everything is seen through the interface and through
real jobs; a test that waits in vain fails with what it last saw.
"""

from __future__ import annotations

import io
import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from poms.webservice.errors import Invalid, NotFound
from poms.webservice.interfaces import (
    JobBackend,
    JobRecord,
    JobSelection,
    JobState,
    LaunchPlan,
    LaunchTransport,
    SubmitOutcome,
)
from poms.webservice.rules import shell
from poms.webservice.testing.batch import FakeTransport

HOSTILE_NAMES = ("it's", 'a "quoted" name', "$(touch canary)", "`touch canary`", "two\nlines", "Größe 東京 \U0001f600",
                 "; touch canary", "a=b,c=d", "\\", "x" * 5000, "' OR 1=1 --", "+POMS4_SUBMISSION_ID=1", "%s %(x)s")

_submission_ids = itertools.count(1000 * (os.getpid() % 100_000) + 1)


def await_that(condition: Callable[[], Any], describe: Callable[[], Any] = str, *, seconds: float = 60.0) -> Any:
    """Wait until ``condition`` gives something true and return it; fail with ``describe()`` if it never does."""
    limit = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < limit, f"waited {seconds:g} seconds in vain; last seen: {describe()}"
        time.sleep(0.02)


class JobBackendContract:
    """Tests that every JobBackend passes.

    Override the fixtures ``backend`` and ``transport``, and ``command``, the shell text by which a launch script
    submits ``jobs`` jobs that run ``executable`` (and ask for ``memory_mb`` if that is not None).
    """

    wait_seconds = 60.0

    @pytest.fixture
    def backend(self) -> JobBackend:
        raise NotImplementedError("override the fixture backend")

    @pytest.fixture
    def transport(self) -> LaunchTransport:
        raise NotImplementedError("override the fixture transport")

    def command(self, executable: Path, *, jobs: int, memory_mb: int | None) -> str:
        raise NotImplementedError("override command")

    # ------------------------------------------------------------------------------------------ builders

    @pytest.fixture
    def launch(self, backend: JobBackend, transport: LaunchTransport, tmp_path: Path) -> Callable[..., Launched]:
        """``launch(script)`` submits jobs that run a bash script, with a submission of their own."""
        def build(script: str, *, jobs: int = 1, memory_mb: int | None = None, attempt: int = 1, times: int = 1,
                  submission_id: int | None = None, environment: tuple[tuple[str, str], ...] = ()) -> Launched:
            number = next(_submission_ids) if submission_id is None else submission_id
            executable = tmp_path / f"job_{number}_{attempt}.sh"
            executable.write_text(script if script.startswith("#!") else f"#!/bin/bash\n{script}\n")
            executable.chmod(0o755)
            command = self.command(executable, jobs=jobs, memory_mb=memory_mb)
            return self.run(backend, transport, "\n".join([command] * times), submission_id=number, attempt=attempt,
                            environment=environment)
        return build

    def run(self, backend: JobBackend, transport: LaunchTransport, command: str, *, submission_id: int | None = None,
            attempt: int = 1, environment: tuple[tuple[str, str], ...] = (), timeout_seconds: float = 60.0) -> Launched:
        """Submit with any launch command."""
        number = next(_submission_ids) if submission_id is None else submission_id
        plan = LaunchPlan(submission_id=number, attempt=attempt, experiment="samdev", group="samdev", role="Analysis",
                          launcher="ann", host="localhost", account="", setup="", command=command,
                          environment=(("POMS_TASK_ID", str(number)), *environment))
        log = io.BytesIO()
        script = shell.launch_script(plan, backend.environment(plan))
        outcome = backend.submit(plan, script, transport, log, timeout_seconds)
        return Launched(backend, number, outcome, log.getvalue().decode(), self.wait_seconds)

    @pytest.fixture
    def gate(self, tmp_path: Path) -> Iterator[Gate]:
        """Something that jobs wait for; opened at the end in any case."""
        gate = Gate(tmp_path / "gate")
        yield gate
        gate.open()

    # ------------------------------------------------------------------------------------------ submitting

    def test_a_launch_starts_jobs_and_names_their_cluster(self, launch):
        """What a launch started is named by cluster ids of the form cluster@schedd."""
        launched = launch("exit 0")

        assert launched.outcome.kind == "started", launched.text
        assert len(launched.outcome.batch_ids) == 1
        assert launched.cluster.partition("@")[0].isdigit()

    def test_clusters_are_named_in_the_order_of_their_submit(self, launch):
        """A launch script that submits twice starts two clusters, in order."""
        launched = launch("exit 0", times=2)

        numbers = [int(batch_id.partition("@")[0]) for batch_id in launched.outcome.batch_ids]
        assert len(numbers) == 2
        assert numbers == sorted(numbers)

    def test_a_failing_launch_is_refused(self, backend, transport):
        """A script that fails without submitting is refused, with its exit status."""
        launched = self.run(backend, transport, "echo no luck; exit 9")

        assert (launched.outcome.kind, launched.outcome.exit_status) == ("refused", 9)
        assert "no luck" in launched.text

    def test_a_launch_that_says_it_is_well_but_submits_nothing_is_refused(self, backend, transport):
        """Launchers end with status 0 whatever happens; without jobs in the queue that is no success."""
        launched = self.run(backend, transport, "true")

        assert launched.outcome.kind == "refused"

    def test_a_printed_job_id_is_not_believed(self, backend, transport):
        """Text that looks like a job id, but of no job of this launch, does not make it a success."""
        launched = self.run(backend, transport, "echo Use job id 1.0@nowhere.example to retrieve output")

        assert launched.outcome.kind != "started"

    def test_a_launch_past_its_time_is_unclear(self, backend, transport):
        """A script that was stopped may have submitted: that is doubt, not refusal."""
        launched = self.run(backend, transport, "sleep 600", timeout_seconds=0.5)

        assert launched.outcome.kind == "unclear"

    def test_a_launch_that_its_transport_could_not_begin_was_not_started(self, backend):
        """An unreachable launch host leaves no doubt: nothing was begun, the launch may be tried again."""
        unreachable = FakeTransport()
        unreachable.fail("run")
        launched = self.run(backend, unreachable, "true")

        assert launched.outcome.kind == "not_started"
        assert "no answer" in launched.outcome.message
        assert backend.find(launched.submission_id) == []

    def test_a_launch_that_its_transport_will_never_serve_is_refused(self, backend):
        """A host or account that cannot be served today will not be served tomorrow: nothing is tried again."""
        choosy = FakeTransport()
        choosy.fail("run", Invalid("There is no account nobody2 on this host."))
        launched = self.run(backend, choosy, "true")

        assert launched.outcome.kind == "refused"
        assert "nobody2" in launched.outcome.message
        assert backend.find(launched.submission_id) == []

    def test_a_launch_whose_transport_broke_is_unclear(self, backend):
        """A transport that fails in a way of its own may have begun the script: that is doubt."""
        broken = FakeTransport()
        broken.fail("run", OSError("broken pipe"))
        launched = self.run(backend, broken, "true")

        assert launched.outcome.kind == "unclear"
        assert "broken pipe" in launched.outcome.message

    def test_hostile_names_reach_the_job_unchanged(self, launch):
        """Names of campaigns and stages with quotes, newlines and shell text arrive byte for byte."""
        variables = tuple((f"POMS4_NAME_{number}", name) for number, name in enumerate(HOSTILE_NAMES))

        launched = launch(f"for i in $(seq 0 {len(HOSTILE_NAMES) - 1}); do "
                          "n=POMS4_NAME_$i; printf '%s\\0' \"${!n}\"; done", environment=variables)

        assert launched.outcome.kind == "started", launched.text
        assert launched.ended(1)[0].state == JobState.COMPLETED
        assert launched.log("stdout").decode().split("\0")[:-1] == list(HOSTILE_NAMES)

    def test_jobs_know_their_submission_and_themselves(self, launch):
        """A job finds its submission, attempt, cluster and process number in its environment."""
        launched = launch('echo "$POMS4_SUBMISSION_ID $POMS4_LAUNCH_ATTEMPT $POMS_TASK_ID $CLUSTER $PROCESS"', jobs=2,
                          attempt=3)
        launched.ended(2)

        cluster = launched.cluster.partition("@")[0]
        for proc in (0, 1):
            text = launched.log("stdout", proc).decode().split()
            assert text == [str(launched.submission_id), "3", str(launched.submission_id), cluster, str(proc)]

    # ------------------------------------------------------------------------------------------ finding

    def test_jobs_are_found_by_their_submission(self, backend, launch, gate):
        """Jobs in the queue are found by the submission's id, with the attempt that made them."""
        launched = launch(gate.wait, jobs=2, attempt=2)

        found = backend.find(launched.submission_id)

        assert [(cluster.batch_id, cluster.jobs, cluster.attempt) for cluster in found] == [(launched.cluster, 2, 2)]

    def test_jobs_are_found_after_they_have_left(self, backend, launch):
        """A second attempt must not be made because the first one's jobs were quick."""
        launched = launch("exit 0")
        launched.ended(1)

        assert [cluster.batch_id for cluster in backend.find(launched.submission_id)] == [launched.cluster]

    def test_nothing_is_found_of_an_unknown_submission(self, backend):
        """A submission that never submitted has no clusters."""
        assert backend.find(next(_submission_ids)) == []

    # ------------------------------------------------------------------------------------------ watching

    def test_live_jobs_are_counted_by_state(self, backend, launch, gate):
        """The snapshot has every live job once, under its submission and state."""
        launched = launch(gate.wait, jobs=3)

        launched.await_counts(lambda counts: counts.get(JobState.RUNNING, 0) >= 1)

        assert sum(launched.counts().values()) == 3
        assert set(launched.counts()) <= {JobState.IDLE, JobState.RUNNING}

    def test_ended_jobs_are_not_counted(self, launch):
        """The snapshot holds live jobs only."""
        launched = launch("exit 0")
        launched.ended(1)

        assert launched.counts() == {}

    def test_live_jobs_are_listed_one_by_one(self, backend, launch, gate):
        """The live jobs of a submission have ids, states and what they asked for."""
        launched = launch(gate.wait, jobs=2, memory_mb=300)

        records = backend.jobs([launched.submission_id])

        assert {record.submission_id for record in records} == {launched.submission_id}
        assert sorted(record.batch_id for record in records) == sorted([launched.job(0), launched.job(1)])
        assert {record.memory_asked_mb for record in records} == {300}

    def test_a_good_job_departs_completed(self, launch):
        """A job that ends with 0 departs as completed, with times in order and where it ran."""
        record = launch("exit 0").ended(1)[0]

        assert (record.state, record.exit_code, record.exit_signal) == (JobState.COMPLETED, 0, None)
        assert record.started_at is not None
        assert record.ended_at is not None
        assert record.started_at <= record.ended_at
        assert record.since.tzinfo is not None
        assert record.node
        assert record.attempts == 1

    def test_a_bad_exit_code_departs_failed(self, launch):
        """A job's exit code is reported as it was."""
        record = launch("exit 77").ended(1)[0]

        assert (record.state, record.exit_code, record.exit_signal) == (JobState.FAILED, 77, None)

    def test_a_signal_departs_failed(self, launch):
        """A job that dies of a signal is reported with the signal and without an exit code."""
        record = launch("kill -SEGV $$").ended(1)[0]

        assert (record.state, record.exit_code, record.exit_signal) == (JobState.FAILED, None, 11)

    def test_processor_time_is_measured(self, launch):
        """A job that computes has used processor time, and it took at least as long on one processor."""
        record = launch("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done").ended(1)[0]

        assert record.cpu_seconds is not None
        assert record.cpu_seconds > 0
        assert record.wall_seconds is not None

    def test_departures_go_on_from_the_cursor(self, backend, launch):
        """A cursor gives only what came after it, and an old cursor gives it again."""
        first = launch("exit 0")
        first.ended(1)
        before = backend.departed(first.cursor).cursor
        second = launch("exit 0")
        second.ended(1, cursor=before)

        again = backend.departed(before)

        ids = {record.submission_id for record in again.records}
        assert second.submission_id in ids
        assert first.submission_id not in ids
        assert all(record.submission_id not in (first.submission_id, second.submission_id)
                   for record in backend.departed(again.cursor).records)

    # ------------------------------------------------------------------------------------------ acting

    def test_running_jobs_can_be_held_and_released(self, backend, launch, gate):
        """A held job stops, with the reason given; released, it runs again to its end."""
        launched = launch(gate.wait)
        launched.await_counts(lambda counts: counts == {JobState.RUNNING: 1})

        assert launched.act("hold", "disk full at the site").changed == 1
        launched.await_counts(lambda counts: counts == {JobState.HELD: 1})
        record = backend.jobs([launched.submission_id])[0]
        assert (record.hold_code, record.hold_reason) == (1, "disk full at the site")
        gate.open()
        assert launched.act("release").changed == 1

        ended = launched.ended(1)[0]
        assert (ended.state, ended.attempts) == (JobState.COMPLETED, 2)

    def test_holding_twice_changes_nothing(self, launch, gate):
        """Jobs that are held already are counted as unchanged."""
        launched = launch(gate.wait, jobs=3)
        launched.act("hold")
        launched.await_counts(lambda counts: counts == {JobState.HELD: 3})

        result = launched.act("hold")

        assert (result.changed, result.unchanged) == (0, 3)

    def test_removed_jobs_depart_removed(self, launch, gate, tmp_path):
        """Removed jobs stop, whether idle or running, and depart as removed."""
        launched = launch(f"echo $$ > {shell.quote(str(tmp_path))}/pid.$PROCESS; {gate.wait}", jobs=4)
        launched.await_counts(lambda counts: counts.get(JobState.RUNNING, 0) >= 1)

        assert launched.act("remove").changed == 4

        assert {record.state for record in launched.ended(4)} == {JobState.REMOVED}
        pids = [int(path.read_text()) for path in tmp_path.glob("pid.*") if path.read_text().strip()]
        await_that(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), lambda: pids)

    def test_held_jobs_can_be_removed(self, launch, gate):
        """A held job can be removed without being released."""
        launched = launch(gate.wait)
        launched.act("hold")
        launched.await_counts(lambda counts: counts == {JobState.HELD: 1})

        launched.act("remove")

        assert launched.ended(1)[0].state == JobState.REMOVED

    def test_one_job_can_be_acted_on(self, backend, launch, gate):
        """A job's own id selects it and no other."""
        launched = launch(gate.wait, jobs=3)

        result = backend.act("remove", JobSelection(batch_ids=(launched.job(1),)), "only this one")

        assert result.changed == 1
        assert [record.batch_id for record in launched.ended(1)] == [launched.job(1)]
        assert sum(launched.counts().values()) == 2

    def test_a_cluster_can_be_acted_on(self, backend, launch, gate):
        """A cluster's id selects all its jobs."""
        launched = launch(gate.wait, jobs=3)

        result = backend.act("remove", JobSelection(batch_ids=(launched.cluster,)), "all of it")

        assert result.changed == 3

    def test_acting_on_nothing_is_no_error(self, backend):
        """No jobs of a submission means that nothing changed."""
        result = backend.act("hold", JobSelection(submission_ids=(next(_submission_ids),)), "none there")

        assert (result.changed, result.unchanged) == (0, 0)

    def test_other_submissions_are_left_alone(self, launch, gate):
        """Acting on one submission leaves another's jobs as they are."""
        first, second = launch(gate.wait), launch(gate.wait)

        first.act("remove")
        first.ended(1)

        assert sum(second.counts().values()) == 1

    # ------------------------------------------------------------------------------------------ holds

    def test_too_much_memory_is_held(self, backend, launch):
        """A job that outgrows the memory it asked for is held with code 34, and how much it was."""
        launched = launch("x=$(head -c 250000000 /dev/zero | tr '\\0' x); sleep 600", memory_mb=100)
        launched.await_counts(lambda counts: counts == {JobState.HELD: 1})

        record = backend.jobs([launched.submission_id])[0]

        assert record.hold_code == 34
        assert "100" in record.hold_reason
        assert record.memory_used_mb is not None
        assert record.memory_used_mb > 100

    def test_an_executable_that_cannot_start_is_held(self, backend, launch):
        """A job whose interpreter does not exist is held with code 6 instead of failing over and over."""
        launched = launch("#!/nonexistent/interpreter\n")
        launched.await_counts(lambda counts: counts == {JobState.HELD: 1})

        record = backend.jobs([launched.submission_id])[0]

        assert record.hold_code == 6
        assert record.hold_reason

    # ------------------------------------------------------------------------------------------ logs

    def test_output_can_be_read_while_the_job_runs(self, launch, gate):
        """What a running job has written so far can be read."""
        launched = launch(f"echo early; echo trouble >&2; {gate.wait}; echo late")

        await_that(lambda: launched.find_log("stderr") == b"trouble\n", lambda: launched.find_log("stderr"))
        assert launched.log("stdout") == b"early\n"
        gate.open()
        launched.ended(1)
        assert launched.log("stdout") == b"early\nlate\n"

    def test_long_output_comes_in_pieces(self, backend, launch):
        """A long log is not read into memory at once, and is whole."""
        launched = launch("head -c 3000000 /dev/zero | tr '\\0' y")
        launched.ended(1)

        pieces = list(backend.fetch_log(launched.job(0), "stdout"))

        assert len(pieces) > 1
        assert b"".join(pieces) == b"y" * 3_000_000

    def test_the_log_tells_what_happened(self, launch):
        """The event log has something to say about every job."""
        launched = launch("exit 0")
        launched.ended(1)

        assert launched.log("log")

    @pytest.mark.parametrize("proc", [7, 999_999])
    def test_logs_of_unknown_jobs_are_not_found(self, backend, launch, proc):
        """A job that does not exist has no log, which is said rather than answered with nothing."""
        launched = launch("exit 0")

        with pytest.raises(NotFound):
            list(backend.fetch_log(launched.job(proc), "stdout"))

    def test_health_is_good(self, backend):
        """A backend that works says so, in words for people."""
        health = backend.health()

        assert health.ok, health.message
        assert health.message


class Gate:
    """A file that jobs wait for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.wait = f"until [ -e {shell.quote(str(path))} ]; do sleep 0.05; done"

    def open(self) -> None:
        self.path.touch()


class Launched:
    """One launch, and what became of its jobs."""

    def __init__(self, backend: JobBackend, submission_id: int, outcome: SubmitOutcome, text: str,
                 wait_seconds: float) -> None:
        self.backend = backend
        self.submission_id = submission_id
        self.outcome = outcome
        self.text = text
        self.cursor = ""
        self._wait_seconds = wait_seconds

    @property
    def cluster(self) -> str:
        assert self.outcome.batch_ids, self.text
        return self.outcome.batch_ids[0]

    def job(self, proc: int) -> str:
        cluster, _, schedd = self.cluster.partition("@")
        return f"{cluster}.{proc}@{schedd}"

    def act(self, action: Any, reason: str = "by a test") -> Any:
        return self.backend.act(action, JobSelection(submission_ids=(self.submission_id,)), reason)

    def counts(self) -> dict[JobState, int]:
        counts: dict[JobState, int] = {}
        for count in self.backend.snapshot().counts:
            if count.submission_id == self.submission_id:
                counts[count.state] = counts.get(count.state, 0) + count.count
        return counts

    def await_counts(self, condition: Callable[[dict[JobState, int]], bool]) -> None:
        await_that(lambda: condition(self.counts()), self.counts, seconds=self._wait_seconds)

    def ended(self, number: int, *, cursor: str = "") -> list[JobRecord]:
        """Wait until that many of the jobs have departed; their last records."""
        records: dict[str, JobRecord] = {}
        self.cursor = cursor

        def enough() -> bool:
            departures = self.backend.departed(self.cursor)
            self.cursor = departures.cursor
            records.update({record.batch_id: record for record in departures.records
                            if record.submission_id == self.submission_id})
            return len(records) >= number

        await_that(enough, lambda: (records, self.counts()), seconds=self._wait_seconds)
        return list(records.values())

    def log(self, which: Any, proc: int = 0) -> bytes:
        return b"".join(self.backend.fetch_log(self.job(proc), which))

    def find_log(self, which: Any, proc: int = 0) -> bytes:
        """The log so far; empty if the job has not begun."""
        try:
            return self.log(which, proc)
        except NotFound:
            return b""
