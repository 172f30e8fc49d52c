"""Several web servers on one address, each a process of its own, kept alive by one that answers nothing itself.

Python answers one request at a time per process: this is how a service uses all its processors. The kernel shares
connections out among the processes (SO_REUSEPORT). Invariant: no server outlives the one that keeps it, however that
one ends, so the address is free again at once.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from poms.webservice.config import Settings, split_listen
from poms.webservice.errors import ConfigurationError
from poms.webservice.server import SHUTDOWN_SECONDS, shown_address
from poms.webservice.stopping import StopSignal

log = logging.getLogger(__name__)

MOST = 4
READY = "POMS is ready: "
LOOK_SECONDS = 0.1
TAKE_SECONDS = 3.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0
ENDED_WITH_ITS_KEEPER = 70


def count(settings: Settings) -> int:
    """How many processes the settings ask for; 0 in them stands for one a processor, at most ``MOST``."""
    wanted = settings.web.processes
    if settings.database.is_sqlite:
        if wanted > 1:
            raise ConfigurationError(f"[web] processes = {wanted}: SQLite has one server; use PostgreSQL for several.")
        return 1
    if not hasattr(socket, "SO_REUSEPORT"):
        if wanted > 1:
            raise ConfigurationError(f"[web] processes = {wanted}: this system cannot share an address among "
                                     "processes; use 1.")
        return 1
    return wanted or min(MOST, os.cpu_count() or 1)


def end_with(keeper: int) -> None:
    """Called in a server: end at once when the other end of this pipe is closed, which is when its keeper has ended.

    As after a crash, what was under way is lost with its transaction: whoever is restarted needs the address.
    """
    def watch() -> None:
        os.read(keeper, 1)
        os._exit(ENDED_WITH_ITS_KEEPER)

    threading.Thread(target=watch, name="keeper watch", daemon=True).start()


@contextmanager
def hold_address(listen: str) -> Iterator[str]:
    """Keep an address for servers that share it, and nobody else; yields it with the real port.

    Raises ConfigurationError if it is taken. Servers of a keeper that was killed may need a moment to end.
    """
    host, port = split_listen(listen)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    limit = time.monotonic() + TAKE_SECONDS
    while True:
        try:
            with socket.socket(family, socket.SOCK_STREAM) as alone:
                alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                # Refused if anybody listens there, even one who would share.
                alone.bind((host, port))
                taken = alone.getsockname()[1]
            break
        except OSError as error:
            if time.monotonic() > limit:
                raise ConfigurationError(f"cannot listen on {host} port {port}, perhaps another program does: {error}"
                                         ) from error
            time.sleep(LOOK_SECONDS)
    with socket.socket(family, socket.SOCK_STREAM) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        # Bound and never listening: no connection comes here, and no other service gets the address.
        held.bind((host, taken))
        yield shown_address(host, taken)


@dataclass
class Keeper:
    """Keeps ``count`` processes of one command running until it is told to stop."""

    command: Sequence[str]
    count: int
    pause: Callable[[int], float] = field(default=lambda failures: min(
        LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(failures, 10)))
    _running: dict[int, subprocess.Popen[str]] = field(default_factory=dict)

    def run(self, *, on_ready: Callable[[str], None]) -> int:
        """Start all, say so with the line in which the first says it, replace those that die; the exit status."""
        with StopSignal() as stop:
            return self._run(stop, on_ready)

    def _run(self, stop: StopSignal, on_ready: Callable[[str], None]) -> int:
        # Its writing end is ours alone, and closed by the kernel when we end.
        lifeline, ours = os.pipe()
        try:
            for place in range(self.count):
                self._start(place, lifeline)
            said = [self._first_line(process) for process in self._running.values()]
            if not all(said):
                ended = [process.wait() for process, line in zip(self._running.values(), said, strict=True) if not line]
                return ended[0] or 1
            on_ready(said[0])
            self._keep(stop, lifeline)
            return 0
        finally:
            self._stop()
            os.close(lifeline)
            os.close(ours)

    def _start(self, place: int, lifeline: int) -> None:
        self._running[place] = subprocess.Popen(
            [*self.command, "--keeper", str(lifeline)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
            pass_fds=[lifeline])

    @staticmethod
    def _first_line(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        line = process.stdout.readline()
        return line if line.startswith(READY) else ""

    def _keep(self, stop: StopSignal, lifeline: int) -> None:
        failures = dict.fromkeys(self._running, 0)
        due: dict[int, float] = {}
        while not stop.wait(LOOK_SECONDS):
            now = time.monotonic()
            for place, process in list(self._running.items()):
                if place in due and now >= due[place]:
                    del due[place]
                    assert process.stdout is not None
                    process.stdout.close()
                    self._start(place, lifeline)
                elif place not in due and process.poll() is not None:
                    due[place] = now + self.pause(failures[place])
                    failures[place] += 1
                    log.error("a web server process ended and is started again", extra={
                        "pid": process.pid, "exit_status": process.returncode, "failures": failures[place]})

    def _stop(self) -> None:
        """End all; what they are answering is finished first."""
        for process in self._running.values():
            process.send_signal(signal.SIGTERM)
        limit = time.monotonic() + SHUTDOWN_SECONDS + 5
        for process in self._running.values():
            try:
                process.wait(max(0.1, limit - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


def serve_command(config: str | None, listen: str) -> list[str]:
    """The command line of one of several servers."""
    return [sys.executable, "-m", "poms.webservice", "serve", "--listen", listen,
            *(["--config", config] if config else [])]
