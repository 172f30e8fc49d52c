"""A few threads and a time limit for calls that may hang; a circuit breaker in front of them.

Not for work of our own: for plugins only, see ``backends``. A call that is given up keeps its
thread until it returns, so hanging calls use up these threads and no others.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from poms.webservice.errors import BackendUnavailable, PomsError

log = logging.getLogger(__name__)
Result = TypeVar("Result")

TIMEOUTS_TO_OPEN = 3
PAUSE_SECONDS = 30.0


class NotBegun(BackendUnavailable):
    """The call was never made: no free thread, or the circuit is open."""


class _Call(Generic[Result]):
    """One call on its way: what to run, then what came of it."""

    def __init__(self, function: Callable[[], Result]) -> None:
        self.function = function
        self.done = threading.Event()
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.result = self.function()
        except BaseException as error:  # noqa: B036 - carried over to the caller, who decides
            self.error = error


class Breaker:
    """Open after several time-outs in a row; after a pause one call may try whether it works again."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._timeouts = 0
        self._opened_at = 0.0

    def admit(self) -> float:
        """0 if a call may go on, else the seconds until the next trial."""
        with self._lock:
            if self._timeouts < TIMEOUTS_TO_OPEN:
                return 0.0
            left = self._opened_at + PAUSE_SECONDS - self._monotonic()
            if left > 0:
                return left
            # Half open: this call is the trial, the others wait for another pause.
            self._opened_at = self._monotonic()
            return 0.0

    def answered(self) -> None:
        with self._lock:
            self._timeouts = 0

    def timed_out(self) -> None:
        with self._lock:
            self._timeouts += 1
            self._opened_at = self._monotonic()

    @property
    def is_open(self) -> bool:
        with self._lock:
            return self._timeouts >= TIMEOUTS_TO_OPEN


class Bulkhead:
    """At most ``workers`` calls at a time, each given up after a limit; the threads are kept for later calls."""

    def __init__(self, name: str, *, workers: int, timeout_seconds: float,
                 monotonic: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self.timeout_seconds = timeout_seconds
        self.breaker = Breaker(monotonic)
        self._workers = workers
        self._slots = threading.BoundedSemaphore(workers)
        self._calls: queue.SimpleQueue[_Call[Any] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0

    def call(self, function: Callable[[], Result], *, timeout_seconds: float | None = None,
             what: str = "a call") -> Result:
        """Run ``function``; POMS' own conditions pass, any other failure becomes BackendUnavailable.

        Raises NotBegun if the call was not made at all.
        """
        limit = self.timeout_seconds if timeout_seconds is None else timeout_seconds
        pause = self.breaker.admit()
        if pause:
            raise NotBegun(f"the {self.name} did not answer {TIMEOUTS_TO_OPEN} times in a row; "
                           f"it is asked again in {pause:.0f} s")
        # Waiting for a thread does not shorten the call: a launch begun late still has its whole limit.
        patience = min(limit, self.timeout_seconds)
        if not self._slots.acquire(timeout=patience):
            self.breaker.timed_out()
            raise NotBegun(f"the {self.name} is busy: {self._workers} calls were under way for {patience:g} s")
        call = _Call(function)
        self._hand_over(call)
        if not call.done.wait(limit):
            self.breaker.timed_out()
            log.error("backend call given up", extra={"backend": self.name, "call": what, "limit_seconds": limit})
            raise BackendUnavailable(f"the {self.name} did not answer {what} within {limit:g} s")
        self.breaker.answered()
        return self._outcome(call, what)

    def _outcome(self, call: _Call[Result], what: str) -> Result:
        if call.error is None:
            return call.result
        if isinstance(call.error, PomsError):
            raise call.error
        log.error("backend call failed", exc_info=call.error, extra={"backend": self.name, "call": what})
        raise BackendUnavailable(f"the {self.name} failed in {what} with {type(call.error).__name__}; "
                                 "the log says more") from call.error

    def _hand_over(self, call: _Call[Any]) -> None:
        """Give the call to an idle thread, or to a new one; the slot taken guarantees that there is room."""
        with self._lock:
            if self._idle:
                self._idle -= 1
            else:
                # A daemon: a call that hangs for ever must not keep the process from ending.
                threading.Thread(target=self._work, name=f"poms {self.name}", daemon=True).start()
        self._calls.put(call)

    def close(self) -> None:
        """End the threads that wait for calls; those of calls under way wait for another call or the process's end."""
        with self._lock:
            ending, self._idle = self._idle, 0
        for _ in range(ending):
            self._calls.put(None)

    def _work(self) -> None:
        while True:
            call = self._calls.get()
            if call is None:
                return
            call.run()
            with self._lock:
                self._idle += 1
            self._slots.release()
            call.done.set()
            del call
