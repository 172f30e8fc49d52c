"""A clock that stands still until a test moves it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Clock:
    """Call it for the present moment; ``advance`` and ``set`` are the only things that change it."""

    def __init__(self, now: datetime = START) -> None:
        self._now = now
        self._lock = threading.Lock()

    def __call__(self) -> datetime:
        with self._lock:
            return self._now

    def advance(self, seconds: float = 0, **parts: float) -> datetime:
        """Move on, by seconds or by parts of a ``timedelta`` (``days=2``); backwards is a clock that was put right."""
        with self._lock:
            self._now += timedelta(seconds=seconds, **parts)
            return self._now

    def reset(self) -> None:
        """Back to where every test begins."""
        self.set(START)

    def set(self, now: datetime) -> None:
        with self._lock:
            self._now = now
