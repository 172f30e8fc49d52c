"""Agent tasks: one agent at a time does each, by a lease in the database that any agent can take over."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import and_, or_, select, update

from poms.webservice.db import insert_new
from poms.webservice.model import AgentTask
from poms.webservice.services.core import Core

LATE = timedelta(minutes=10)
"""A task without success, or an agent without work, for so long is not well (or three intervals, if that is more)."""


@dataclass(frozen=True, slots=True)
class TaskLease:
    """The right to do a task until somebody else's epoch; ``cursor`` is where it left off."""

    name: str
    epoch: int
    cursor: str


def take(core: Core, name: str, owner: str, lease_seconds: float) -> TaskLease | None:
    """The lease of a task that is due, or None if it is not due or somebody else is at it."""
    now = core.clock()
    due = and_(or_(AgentTask.next_at.is_(None), AgentTask.next_at <= now),
               or_(AgentTask.lease_until.is_(None), AgentTask.lease_until < now))
    with core.db.read() as session:
        is_due = session.scalar(select(due).where(AgentTask.name == name))
    if is_due is False:
        return None
    with core.db.write() as session:
        if is_due is None:
            insert_new(session, AgentTask, [{"name": name, "lease_epoch": 0, "cursor": ""}])
        row = session.execute(update(AgentTask.__table__).where(AgentTask.name == name, due).values(
            lease_owner=owner, lease_until=now + timedelta(seconds=lease_seconds),
            lease_epoch=AgentTask.lease_epoch + 1, started_at=now)
            .returning(AgentTask.lease_epoch, AgentTask.cursor)).one_or_none()
        return None if row is None else TaskLease(name, row.lease_epoch, row.cursor)


def renew(core: Core, lease: TaskLease, lease_seconds: float) -> bool:
    """Prolong a lease while the task is at work; False if it was taken over."""
    with core.db.write() as session:
        return bool(session.execute(
            update(AgentTask).where(AgentTask.name == lease.name, AgentTask.lease_epoch == lease.epoch)
            .values(lease_until=core.clock() + timedelta(seconds=lease_seconds))).rowcount)


def finish(core: Core, lease: TaskLease, *, next_at: datetime, message: str = "", error: str = "") -> None:
    """Give the lease back and record how it went; nothing if it was taken over meanwhile.

    The owner stays on record: it is who did the task last.
    """
    now = core.clock()
    outcome = {"failed_at": now, "error": error} if error else {"succeeded_at": now, "error": None, "message": message}
    with core.db.write() as session:
        session.execute(
            update(AgentTask).where(AgentTask.name == lease.name, AgentTask.lease_epoch == lease.epoch)
            .values(lease_until=None, next_at=next_at, **outcome))


def make_due(core: Core, prefix: str) -> list[str]:
    """Have the tasks whose names begin so done at once, by whichever agent comes first; returns their names."""
    now = core.clock()
    with core.db.write() as session:
        rows = session.scalars(select(AgentTask).where(AgentTask.name.startswith(prefix, autoescape=True))
                               .order_by(AgentTask.name).with_for_update()).all()
        for row in rows:
            row.next_at = now
        return [row.name for row in rows]


def list_tasks(core: Core) -> list[AgentTask]:
    """All tasks with their last success and last error, by name."""
    with core.db.read() as session:
        return list(session.scalars(select(AgentTask).order_by(AgentTask.name)))


def interval_seconds(core: Core, name: str) -> float | None:
    """How often a task is meant to be done; None if it is not known here."""
    settings = core.settings.agent
    return {"poll": settings.poll_seconds, "upkeep": settings.poll_seconds, "wrapup": settings.wrapup_seconds,
            "schedules": settings.schedule_seconds, "housekeeping": settings.prune_seconds,
            "archive": settings.prune_seconds,
            "notify": core.settings.notify.interval_seconds}.get(name.partition(":")[0])


def is_well(core: Core, row: AgentTask) -> bool:
    """Whether the last pass of a task succeeded, and not too long ago."""
    late = max(LATE, timedelta(seconds=3 * (interval_seconds(core, row.name) or 0)))
    return not row.error and row.succeeded_at is not None and core.clock() - row.succeeded_at <= late
