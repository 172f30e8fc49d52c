"""Being told to end: SIGTERM and SIGINT, waited for in the main thread of a daemon.

Not for telling threads to end, which an event of ``threading`` does. Invariant: a signal may come between any two
steps of the main thread, also of its waiting, so nothing here takes a lock that it could hold by itself.
"""

from __future__ import annotations

import os
import select
import signal
from types import TracebackType


class StopSignal:
    """Is set by the first of these signals, or by ``set``, and stays so; a context in the main thread."""

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __enter__(self) -> StopSignal:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._before = {number: signal.signal(number, lambda *_: self.set()) for number in self.SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._reader)
        os.close(self._writer)

    def set(self) -> None:
        """From any thread, and from within a signal."""
        try:
            os.write(self._writer, b".")
        except BlockingIOError:
            return  # It was set very many times.

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Whether it was set, at the latest after this time."""
        waiting = select.poll()
        waiting.register(self._reader, select.POLLIN)
        return bool(waiting.poll(None if timeout_seconds is None else timeout_seconds * 1000))
