"""Faults that tests inject: outside systems that fail, hang or lose answers, and agents that die.

A fault is planned for a method of a fake, or for a commit of a database; it happens the given number of times.
"""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event, text
from sqlalchemy.orm import Session

from poms.webservice.db import Database
from poms.webservice.errors import BackendUnavailable


class Died(BaseException):
    """The process ended here, as after kill -9: nothing below may catch it."""


class Faulty:
    """Base of the fakes: each method asks first whether a fault is planned for it."""

    def __init__(self) -> None:
        self._planned: dict[str, deque[Callable[[], None]]] = defaultdict(deque)
        self._planning = threading.Lock()
        self.calls: dict[str, int] = defaultdict(int)

    def fail(self, method: str, error: BaseException | None = None, times: int = 1) -> None:
        """The next calls of ``method`` raise; without an error given, BackendUnavailable."""
        def fault() -> None:
            raise error if error is not None else BackendUnavailable(f"{method}: no answer (planned by a test)")

        self.plan(method, fault, times)

    def hang(self, method: str, until: threading.Event, times: int = 1) -> None:
        """The next calls of ``method`` wait until the event is set."""
        self.plan(method, lambda: (until.wait(), None)[1], times)

    def plan(self, method: str, fault: Callable[[], None], times: int = 1) -> None:
        with self._planning:
            self._planned[method].extend([fault] * times)

    def heal(self) -> None:
        """Forget every fault that has not happened yet."""
        with self._planning:
            self._planned.clear()

    def _meet(self, method: str) -> None:
        with self._planning:
            self.calls[method] += 1
            planned = self._planned.get(method)
            fault = planned.popleft() if planned else None
        if fault is not None:
            fault()


class MortalDatabase(Database):
    """A database whose user can be made to die at one of the next commits, just before it or just after.

    Or, on PostgreSQL, to lose its connection there. ``deaths`` and ``cuts`` count what really happened.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._left: int | None = None
        self._after = self._cut = False
        self.deaths = self.cuts = 0

    def move(self, engine: Engine) -> None:
        """Go on with another database."""
        super().__init__(engine)
        self.live_on()

    def die_at_commit(self, number: int = 1, *, after: bool = False) -> None:
        """Die at the ``number``th commit from now; ``after``: what it wrote is there, but nobody was told."""
        self._left, self._after, self._cut = number, after, False

    def cut_at_commit(self, number: int = 1) -> None:
        """Lose the connection at the ``number``th commit from now, which fails, as when the server is restarted."""
        self._left, self._after, self._cut = number, False, True

    def live_on(self) -> None:
        self._left = None

    @contextmanager
    def write(self) -> Iterator[Session]:
        dying = False
        with super().write() as session:
            yield session
            if self._left is not None:
                self._left -= 1
                dying = self._left == 0
            if dying:
                self._left = None
            if dying and self._cut:
                self._end_connection(session)
            elif dying and not self._after:
                self.deaths += 1
                raise Died("just before a commit")
        if dying and not self._cut:
            self.deaths += 1
            raise Died("just after a commit")

    def _end_connection(self, session: Session) -> None:
        self.cuts += 1
        mine = session.scalar(text("SELECT pg_backend_pid()"))
        with self.engine.connect() as other:
            other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": mine})


@contextmanager
def reading_only(database: Database) -> Iterator[None]:
    """A database that takes no changes for a while, as during a failover or when its disk is full."""
    words = "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY" if database.is_postgresql else "PRAGMA query_only=ON"

    def forbid(connection: Any, _record: Any, _pooled: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(words)
        cursor.close()
        connection.commit()

    event.listen(database.engine, "checkout", forbid)
    try:
        yield
    finally:
        event.remove(database.engine, "checkout", forbid)
        database.engine.dispose()
