"""A batch system with very many live jobs, as a plugin that real agents load: those that the database says are live.

A submission that is New gets jobs as well. All are made up when they are asked for, and do something else at each
look: an agent that follows them has as much to do as there can be. Nothing ever leaves.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Literal

from sqlalchemy import create_engine, or_, select

from poms.webservice.hookspecs import hookimpl
from poms.webservice.interfaces import (
    ActResult,
    Departures,
    Health,
    JobCount,
    JobRecord,
    JobSelection,
    JobState,
    Offer,
    PluginContext,
    PoolSnapshot,
)
from poms.webservice.model import Submission
from poms.webservice.rules.statuses import Status
from poms.webservice.testing.bench import making
from poms.webservice.testing.bench.instant import InstantBatch

NAME = "crowd"
JOBS_OF_NEW = 200
TURNS = (JobState.RUNNING, JobState.IDLE)


class Crowd(InstantBatch):
    """Every submission with live jobs keeps as many as it had when this was made; all are running or all are idle."""

    def __init__(self, context: PluginContext) -> None:
        super().__init__(context.clock, NAME)
        engine = create_engine(context.database_url)
        live = (Submission.jobs_idle + Submission.jobs_running + Submission.jobs_held).label("live")
        try:
            with engine.connect() as connection:
                rows = connection.execute(
                    select(Submission.submission_id, live).where(or_(live > 0, Submission.status_id == int(Status.NEW)))
                    .order_by(Submission.submission_id)).all()
        finally:
            engine.dispose()
        self._sizes: dict[int, int] = {row.submission_id: row.live or JOBS_OF_NEW for row in rows}
        self._looks = 0

    @property
    def _state(self) -> JobState:
        return TURNS[self._looks % len(TURNS)]

    def snapshot(self) -> PoolSnapshot:
        self._looks += 1
        return PoolSnapshot(self.clock(), tuple(
            JobCount(number, self._state, count) for number, count in self._sizes.items()))

    def departed(self, cursor: str) -> Departures:
        return Departures((), cursor)

    def jobs(self, submission_ids: Collection[int]) -> list[JobRecord]:
        now = self.clock()
        return [record for number in submission_ids for record in self._jobs_of(number, now)]

    def _jobs_of(self, number: int, now: datetime) -> Iterator[JobRecord]:
        for process in range(self._sizes.get(number, 0)):
            yield JobRecord(
                number, making.batch_id(number, process), self._state, now,
                site=making.SITES[process % len(making.SITES)], node=f"node{process}.example.org",
                cpu_seconds=100.0 * self._looks, wall_seconds=110.0 * self._looks, memory_used_mb=1500,
                memory_asked_mb=2000, attempts=1, started_at=now)

    def act(self, action: Literal["hold", "release", "remove"], selection: JobSelection, reason: str) -> ActResult:
        return ActResult(0)

    def health(self) -> Health:
        return Health(True, f"{sum(self._sizes.values()):,} live jobs", self.clock())


@hookimpl
def poms_job_backends() -> list[Offer]:
    return [Offer(NAME, "the live jobs that the database has; they change at each look", Crowd)]
