"""Read the event log in the order of its numbers without missing an event that is committed late.

Numbers are given out before a transaction commits, so on PostgreSQL a smaller number can appear after a greater
one was read. Invariant: up to a settled number nothing can appear any more.
"""

from __future__ import annotations

import threading
import time

from sqlalchemy import func, select, text

from poms.webservice.db import Database
from poms.webservice.model import Event

PATIENCE_SECONDS = 5.0
_LOOK_SECONDS = 0.05

# Who writes events holds this lock on the table from before the first number is given out until the end.
_WRITERS = text("SELECT virtualtransaction FROM pg_locks WHERE locktype = 'relation' AND granted "
                "AND mode = 'RowExclusiveLock' AND relation = CAST('events' AS regclass) "
                "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())")


def settled(db: Database, *, patience_seconds: float = PATIENCE_SECONDS) -> int | None:
    """The greatest number up to which the log is complete; None while somebody writes for longer than the patience.

    Waits for those who were writing when it was called, not for those who came later.
    """
    newest = newest_event_id(db)
    if not db.is_postgresql:
        # One writer at a time: numbers are in the order of the commits.
        return newest
    limit = time.monotonic() + patience_seconds
    before = _writers(db)
    pause = threading.Event()
    while before:
        if time.monotonic() > limit:
            return None
        pause.wait(_LOOK_SECONDS)
        before &= _writers(db)
    return newest


def newest_event_id(db: Database) -> int:
    """The greatest number that can be seen now; 0 without any event."""
    with db.read() as session:
        return session.scalar(select(func.max(Event.event_id))) or 0


def _writers(db: Database) -> set[str]:
    with db.read() as session:
        return set(session.scalars(_WRITERS))
