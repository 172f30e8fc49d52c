"""What changed lately, kept in memory: one reader in a process follows the event log while pages are open.

Not for anything that must not be missed: a page that is not told refreshes itself all the same, later.
Invariant: whoever asks with a moment that was given out before a change was read is told of that change.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.exc import SQLAlchemyError

from poms.webservice.model import Event
from poms.webservice.services.core import Core

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.4
FAILED_SECONDS = 3.0
IDLE_SECONDS = 20.0
"""The reader ends when nobody has asked for so long, and begins again with the next question."""
GAP_SECONDS = 30.0
OVERLAP = 200
MOST_EVENTS = 5000
MOST_SCOPES = 100_000

Scope = tuple[str, str]


class Changes:
    """Answers from memory whether anything changed in a scope: an experiment, campaign, stage or submission.

    Moments are microseconds since 1970, so that processes of one service understand each other's.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self._asked = 0.0
        self._looked = 0.0
        self._read_at = 0
        self._floor = 0
        self._last: int | None = None
        self._gaps: dict[int, float] = {}
        self._changed: dict[Scope, int] = {}

    def position(self) -> int:
        """The moment up to which is known what changed; an old one while nobody asks."""
        return self._read_at

    def since(self, scope: Scope, moment: int) -> int | None:
        """A newer moment if anything changed in the scope after ``moment``; None if nothing did."""
        self._wake()
        known = self._read_at
        return known if max(self._changed.get(scope, 0), self._floor) > moment else None

    def close(self) -> None:
        """End the reader; for programs that make several of these."""
        self._ending.set()
        thread = self._thread
        if thread is not None:
            thread.join()

    # --------------------------------------------------------------------------------- the reader

    def _wake(self) -> None:
        self._asked = time.monotonic()
        if self._thread is not None and self._thread.is_alive():
            return
        with self._lock:
            if (self._thread is None or not self._thread.is_alive()) and not self._ending.is_set():
                self._thread = threading.Thread(target=self._follow, name="poms changes", daemon=True)
                self._thread.start()

    def _follow(self) -> None:
        while time.monotonic() - self._asked < IDLE_SECONDS and not self._ending.is_set():
            try:
                self.look()
                pause = LOOK_SECONDS
            except SQLAlchemyError:
                log.exception("what changed could not be read; pages refresh themselves meanwhile")
                pause = FAILED_SECONDS
            self._ending.wait(pause)

    def look(self) -> None:
        """Read what came since the last look; one statement, as a rule for no row."""
        now = time.monotonic()
        # The clock may stand still or go back; moments never do.
        began = max(int(self._core.clock().timestamp() * 1_000_000), self._read_at + 1)
        with self._core.db.read() as session:
            if self._last is None or now - self._looked > IDLE_SECONDS:
                newest = session.scalar(select(func.max(Event.event_id))) or 0
                self._last, self._floor, self._gaps = max(0, newest - OVERLAP), began, {}
            rows = session.execute(
                select(Event.event_id, Event.experiment, Event.campaign_id, Event.campaign_stage_id,
                       Event.submission_id)
                .where(or_(Event.event_id > self._last, Event.event_id.in_(self._gaps)) if self._gaps
                       else Event.event_id > self._last)
                .order_by(Event.event_id).limit(MOST_EVENTS)).all()
        self._note(rows, began, now)
        self._looked = now
        self._read_at = began

    def _note(self, rows: Sequence[Any], began: int, now: float) -> None:
        for _, experiment, campaign_id, stage_id, submission_id in rows:
            if not (experiment or campaign_id or stage_id or submission_id):
                self._floor = began
            for kind, key in (("experiment", experiment), ("campaign", campaign_id), ("stage", stage_id),
                              ("submission", submission_id)):
                if key:
                    self._changed[kind, str(key)] = began
        self._note_gaps([row.event_id for row in rows], now)
        if len(rows) == MOST_EVENTS or len(self._changed) > MOST_SCOPES:
            # Too much to remember piece by piece: everything changed.
            self._changed = {}
            self._floor = began

    def _note_gaps(self, numbers: list[int], now: float) -> None:
        """Numbers that were passed over may still be committed (PostgreSQL): they are asked for a while."""
        last = self._last or 0
        newest = max(numbers, default=last)
        if self._core.db.is_postgresql:
            self._gaps = {number: at for number, at in self._gaps.items() if now - at < GAP_SECONDS}
            self._gaps |= dict.fromkeys(range(max(last, newest - OVERLAP) + 1, newest), now)
            for number in numbers:
                self._gaps.pop(number, None)
        self._last = max(last, newest)
