"""A poll that brings very many job states, against a raw ``COPY`` of the same rows into an empty table.

The table of the reference has the same columns and key, nothing else. What POMS does besides: it finds out
what changed, adds the states up for each submission, and changes status, history, events and sums.
"""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta

from sqlalchemy import text

from poms.webservice.agent.poll import DETAILS_AT_ONCE
from poms.webservice.interfaces import JobCount, JobRecord, JobState
from poms.webservice.rules.statuses import Status
from poms.webservice.services import jobs, tasks
from poms.webservice.services.core import Core
from poms.webservice.testing.bench import making
from poms.webservice.testing.bench.figures import Budget, Figure, figure
from poms.webservice.testing.bench.places import Place

BUDGET = Budget("ratio", 0.3, at_least=True)
JOBS_EACH = 200
TASK = "poll:bench"


def measure(place: Place, *, count: int = 200_000) -> Iterator[Figure]:
    """States per second: of jobs that are new, the same again, and all of them changed."""
    core = place.core()
    try:
        numbers = making.add_submissions(core.db.engine, place.landmarks, max(1, count // JOBS_EACH), Status.NEW,
                                         now=core.clock(), campaigns=min(100, place.scale.campaigns))
        each = min(count, JOBS_EACH)
        now = core.clock()
        running = [JobRecord(number, making.batch_id(number, process), JobState.RUNNING, now,
                             site=making.SITES[process % 20], node=f"node{process}.example.org",
                             memory_asked_mb=2000, attempts=1, started_at=now)
                   for number in numbers for process in range(each)]
        ended = [replace(record, state=JobState.COMPLETED, exit_code=0, cpu_seconds=3000.5, wall_seconds=3600.25,
                         memory_used_mb=1500, ended_at=now + timedelta(hours=1)) for record in running]
        for name, live, gone in (("new", running, []), ("unchanged", running, []), ("all changed", [], ended)):
            before = _raw_copy(core, live or gone)
            seconds = _timed(lambda live=live, gone=gone: _poll(core, place, live=live, ended=gone))
            # Before and after, so that whatever else the machine does meets both.
            raw = (before + _raw_copy(core, live or gone)) / 2
            yield figure(f"job states, {name}", len(running) / seconds, "per second", "raw COPY",
                         len(running) / raw, BUDGET, jobs=len(running), submissions=len(numbers), seconds=seconds)
    finally:
        core.db.close()


def _poll(core: Core, place: Place, *, live: Sequence[JobRecord], ended: Sequence[JobRecord]) -> None:
    counts: dict[int, int] = {}
    for record in live:
        counts[record.submission_id] = counts.get(record.submission_id, 0) + 1
    known = counts.keys() | {record.submission_id for record in ended}
    others = [JobCount(number, state, count) for number, state, count in _other_counts(core, place, known)]
    lease = tasks.take(core, TASK, "bench", 600)
    assert lease is not None
    poll = jobs.Poll(tuple(JobCount(number, JobState.RUNNING, count) for number, count in counts.items())
                     + tuple(others), tuple(ended), _pieces(live), core.clock())
    jobs.ingest(core, [place.landmarks.experiment], poll, task=TASK, epoch=lease.epoch, cursor="")
    tasks.finish(core, lease, next_at=core.clock())


def _pieces(records: Sequence[JobRecord]) -> Iterator[Sequence[JobRecord]]:
    """As the agent asks for them."""
    return (records[start:start + DETAILS_AT_ONCE] for start in range(0, len(records), DETAILS_AT_ONCE))


def _other_counts(core: Core, place: Place, known: set[int]) -> list[tuple[int, JobState, int]]:
    """Everything else in the pool is as it was."""
    names = {JobState.IDLE: "jobs_idle", JobState.RUNNING: "jobs_running", JobState.HELD: "jobs_held"}
    columns = ", ".join(names.values())
    with core.db.read() as session:
        rows = session.execute(text(f"SELECT submission_id, {columns} FROM submissions WHERE experiment = :experiment "
                                    "AND jobs_idle + jobs_running + jobs_held > 0"),
                               {"experiment": place.landmarks.experiment}).all()
    return [(number, state, count) for number, *values in rows if number not in known
            for state, count in zip(names, values, strict=True) if count]


def _raw_copy(core: Core, records: Sequence[JobRecord]) -> float:
    """The text is made before the time is taken: this is the database's part alone."""
    columns = list(jobs.JOB_COLUMNS)
    lines = io.StringIO()
    csv.writer(lines).writerows([[getattr(record, name) for name in columns] for record in records])
    with core.db.write() as session:
        session.execute(text("CREATE TABLE bench_jobs AS SELECT * FROM jobs WHERE 1 = 0"))
        session.execute(text("CREATE UNIQUE INDEX bench_jobs_key ON bench_jobs (submission_id, batch_id)"))
    try:
        return _timed(lambda: _copy(core, columns, lines.getvalue()))
    finally:
        with core.db.write() as session:
            session.execute(text("DROP TABLE bench_jobs"))


def _copy(core: Core, columns: list[str], lines: str) -> None:
    with core.db.write() as session:
        connection = session.connection().connection
        names = ", ".join(columns)
        cursor = connection.cursor()
        if core.db.is_postgresql:
            cursor.copy_expert(f"COPY bench_jobs ({names}) FROM STDIN (FORMAT csv)", io.StringIO(lines))
        else:
            marks = ", ".join("?" for _ in columns)
            cursor.executemany(f"INSERT INTO bench_jobs ({names}) VALUES ({marks})", csv.reader(io.StringIO(lines)))


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
