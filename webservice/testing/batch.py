"""A batch system in memory, for tests of everything above the ``JobBackend`` interface.

Jobs do what the test tells them (``start``, ``end``, ``hold``). Faults are planned by method; ``answer`` says what
becomes of a submit, ``be_blind`` lets it tell lies for a while. Like a real one it takes every command as a new one.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import BinaryIO, Literal

from poms.webservice.errors import BackendUnavailable, NotFound
from poms.webservice.interfaces import (
    ActResult,
    BatchEnvironment,
    Departures,
    FoundCluster,
    Health,
    JobCount,
    JobRecord,
    JobSelection,
    JobState,
    LaunchFiles,
    LaunchPlan,
    LaunchTransport,
    PoolSnapshot,
    StopSignal,
    SubmitOutcome,
    TransportResult,
)
from poms.webservice.testing.faults import Faulty

SCHEDD = "fake.example.org"
MAX_OUTPUT_BYTES = 1_000_000
STRANGER = 1_000_000
Answer = Literal["started", "lost", "lost-before", "refused"]


@dataclass(frozen=True, slots=True)
class Accepted:
    """A submit command that the batch system accepted: which launch, which attempt, with what."""

    cluster: int
    plan: LaunchPlan
    script: str


class FakeTransport(Faulty):
    """A transport that runs nothing, and that can be told to be unavailable."""

    dies_with_caller = True

    def run(self, host: str, account: str, script: str, *, log: BinaryIO, timeout_seconds: float,
            max_output_bytes: int, stop: StopSignal | None = None, files: LaunchFiles | None = None
            ) -> TransportResult:
        self._meet("run")
        return TransportResult(0, "")


class FakeBatch(Faulty):
    """One pool. ``jobs_per_launch`` jobs a launch; ``project_of`` gives the project that feeds them."""

    def __init__(self, clock: Callable[[], datetime], pool: str = "fake") -> None:
        super().__init__()
        self.pool = pool
        self.clock = clock
        self.jobs_per_launch = 2
        self.project_of: Callable[[LaunchPlan], str] = lambda plan: ""
        self.accepted: list[Accepted] = []
        self._answers: deque[Answer] = deque()
        self._jobs: dict[str, JobRecord] = {}
        self._departed: list[JobRecord] = []
        self._projects: dict[int, str] = {}
        self._texts: dict[tuple[str, str], bytes] = {}
        self._next_cluster = 1
        self._blind_until: datetime | None = None
        self.growing: set[int] = set()
        self._lied: set[int] = set()
        self._lock = threading.RLock()

    # ---------------------------------------------------------------------------------- for tests

    def be_blind(self, until: datetime) -> None:
        """Say that there is nothing, instead of that it cannot be told, until then: in queue and history alike.

        Asked for one submission never twice in a row: nobody could tell that from the truth.
        """
        self._blind_until = until

    def add_strangers(self) -> None:
        """Jobs under numbers that nobody gave, as of another service in the same pool; one of them ended."""
        with self._lock:
            for number in (STRANGER, STRANGER + 1):
                job = JobRecord(number, f"{number}.0@{SCHEDD}", JobState.IDLE, self.clock())
                self._jobs[job.batch_id] = job
            self._move(job, JobState.FAILED, exit_code=1)

    def answer(self, *answers: Answer) -> None:
        """What becomes of the next submits: ``lost`` submits, ``lost-before`` does not; neither tells."""
        self._answers.extend(answers)

    def heal(self) -> None:
        super().heal()
        self._answers.clear()
        self._blind_until = None

    def of(self, submission_id: int) -> list[JobRecord]:
        """All jobs of a submission, whether queued or ended."""
        with self._lock:
            return [job for job in self._jobs.values() if job.submission_id == submission_id]

    def clusters(self) -> Counter[int]:
        """How many clusters each submission has; more than one means that it was launched twice."""
        return Counter(each.plan.submission_id for each in self.accepted)

    def start(self, submission_id: int, count: int | None = None) -> None:
        """Let idle jobs run."""
        self._change(submission_id, JobState.RUNNING, (JobState.IDLE,), count)

    def hold(self, submission_id: int, count: int | None = None, *, code: int = 1, reason: str = "held") -> None:
        """Hold jobs that wait or run."""
        self._change(submission_id, JobState.HELD, (JobState.IDLE, JobState.RUNNING), count,
                     hold_code=code, hold_reason=reason)

    def end(self, submission_id: int, state: JobState = JobState.COMPLETED, count: int | None = None) -> None:
        """Let jobs leave the queue in a final state."""
        code = {JobState.COMPLETED: 0, JobState.FAILED: 1}.get(state)
        self._change(submission_id, state, (JobState.IDLE, JobState.RUNNING, JobState.HELD), count, exit_code=code)

    def change_job(self, batch_id: str, state: JobState, **facts: object) -> None:
        """Let one job do something of its own; ``facts`` are fields of its record, e.g. ``memory_asked_mb=2000``."""
        with self._lock:
            self._move(self._jobs[batch_id], state, **facts)

    def add(self, job: JobRecord) -> None:
        """Queue one more job, as somebody does by hand."""
        with self._lock:
            self._jobs[job.batch_id] = job

    def vanish(self, submission_id: int) -> None:
        """Let jobs disappear without leaving any record, as when a history file was lost."""
        with self._lock:
            for job in self.of(submission_id):
                if not job.state.is_final:
                    del self._jobs[job.batch_id]

    def write_text(self, batch_id: str, which: str, text: bytes) -> None:
        """What a job wrote, for ``fetch_log``."""
        self._texts[batch_id, which] = text

    # --------------------------------------------------------------------------------- JobBackend

    def environment(self, plan: LaunchPlan) -> BatchEnvironment:
        self._meet("environment")
        return BatchEnvironment((), (("FAKE_BATCH_POOL", self.pool),))

    def submit(self, plan: LaunchPlan, script: str, transport: LaunchTransport, log: BinaryIO,
               timeout_seconds: float) -> SubmitOutcome:
        self._meet("submit")
        try:
            transport.run(plan.host, plan.account, script, log=log, timeout_seconds=timeout_seconds,
                          max_output_bytes=MAX_OUTPUT_BYTES)
        except BackendUnavailable as problem:
            return SubmitOutcome("not_started", message=str(problem))
        with self._lock:
            answer = self._answers.popleft() if self._answers else "started"
            if answer == "refused":
                log.write(b"refused\n")
                return SubmitOutcome("refused", message="the launch script ended with status 3", exit_status=3)
            if answer == "lost-before":
                return SubmitOutcome("unclear", message="the connection broke")
            batch_id = self._accept(plan, script)
        log.write(f"submitted {batch_id}\n".encode())
        if answer == "lost":
            return SubmitOutcome("unclear", message="the connection broke")
        return SubmitOutcome("started", (batch_id,), exit_status=0)

    def find(self, submission_id: int) -> list[FoundCluster]:
        self._meet("find")
        if self._is_blind() and submission_id not in self._lied:
            self._lied.add(submission_id)
            return []
        with self._lock:
            self._lied.discard(submission_id)
            return [FoundCluster(f"{each.cluster}@{SCHEDD}", self._size(each.cluster), each.plan.attempt,
                                 self._projects[each.cluster], each.plan.command)
                    for each in self.accepted if each.plan.submission_id == submission_id]

    def snapshot(self) -> PoolSnapshot:
        self._meet("snapshot")
        if self._is_blind():
            return PoolSnapshot(self.clock(), ())
        with self._lock:
            counts = Counter((job.submission_id, job.state, job.hold_code)
                             for job in self._jobs.values() if not job.state.is_final)
        return PoolSnapshot(self.clock(), tuple(JobCount(number, state, count, code)
                                                for (number, state, code), count in counts.items()),
                            frozenset(self.growing))

    def departed(self, cursor: str) -> Departures:
        self._meet("departed")
        if self._is_blind():
            return Departures((), cursor)
        with self._lock:
            return Departures(tuple(self._departed[int(cursor or 0):]), str(len(self._departed)))

    def jobs(self, submission_ids: Collection[int]) -> list[JobRecord]:
        self._meet("jobs")
        if self._is_blind():
            return []
        wanted = set(submission_ids)
        with self._lock:
            return [job for job in self._jobs.values() if job.submission_id in wanted and not job.state.is_final]

    def act(self, action: Literal["hold", "release", "remove"], selection: JobSelection, reason: str) -> ActResult:
        self._meet("act")
        possible = {"hold": (JobState.IDLE, JobState.RUNNING), "release": (JobState.HELD,),
                    "remove": (JobState.IDLE, JobState.RUNNING, JobState.HELD)}[action]
        target = {"hold": JobState.HELD, "release": JobState.IDLE, "remove": JobState.REMOVED}[action]
        changed = unchanged = 0
        with self._lock:
            for job in list(self._jobs.values()):
                if not _is_selected(job, selection) or job.state.is_final:
                    continue
                if job.state not in possible:
                    unchanged += 1
                    continue
                self._move(job, target, **({"hold_code": 1, "hold_reason": reason} if action == "hold" else {}))
                changed += 1
        self._meet("act, answered")
        return ActResult(changed, unchanged)

    def fetch_log(self, batch_id: str, which: Literal["stdout", "stderr", "log"]) -> Iterator[bytes]:
        self._meet("fetch_log")
        text = self._texts.get((batch_id, which))
        if text is None:
            raise NotFound(f"Job {batch_id} has no {which} (any more).")
        return iter([text])

    def health(self) -> Health:
        self._meet("health")
        return Health(True, "in memory", self.clock(), {"jobs": float(len(self._jobs))})

    # ------------------------------------------------------------------------------------ inside

    def _is_blind(self) -> bool:
        return self._blind_until is not None and self.clock() < self._blind_until

    def _accept(self, plan: LaunchPlan, script: str) -> str:
        number, self._next_cluster = self._next_cluster, self._next_cluster + 1
        self._projects[number] = self.project_of(plan)
        self.accepted.append(Accepted(number, plan, script))
        for process in range(self.jobs_per_launch):
            batch_id = f"{number}.{process}@{SCHEDD}"
            self._jobs[batch_id] = JobRecord(plan.submission_id, batch_id, JobState.IDLE, self.clock())
        return f"{number}@{SCHEDD}"

    def _size(self, cluster: int) -> int:
        return sum(1 for batch_id in self._jobs if batch_id.startswith(f"{cluster}."))

    def _change(self, submission_id: int, state: JobState, possible: tuple[JobState, ...], count: int | None,
                **facts: object) -> None:
        with self._lock:
            jobs = [job for job in self.of(submission_id) if job.state in possible]
            for job in jobs[:count]:
                self._move(job, state, **facts)

    def _move(self, job: JobRecord, state: JobState, **facts: object) -> None:
        now = self.clock()
        held: dict[str, object] = {"hold_code": None, "hold_reason": ""}
        times: dict[str, object] = {}
        if state is JobState.RUNNING:
            times = {"started_at": now, "attempts": job.attempts + 1}
        if state.is_final:
            times = {"ended_at": now}
        moved = replace(job, state=state, since=now, **(held | times | facts))  # type: ignore[arg-type]
        self._jobs[job.batch_id] = moved
        if state.is_final:
            self._departed.append(moved)


def _is_selected(job: JobRecord, selection: JobSelection) -> bool:
    return job.submission_id in selection.submission_ids or job.batch_id in selection.batch_ids
