"""The ``local`` launch transport: runs a launch script on the service's own machine, as its own account.

Not for other hosts or accounts (those are refused). Invariant: when ``run`` has returned, or the process that
called it is dead or has stood still for ``SILENT_SECONDS``, nothing of the script's process group is left running.
"""

from __future__ import annotations

import os
import pwd
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from poms.plugins.local.launch_files import Places, placed
from poms.webservice.errors import BackendUnavailable, Invalid, Problem
from poms.webservice.hookspecs import hookimpl
from poms.webservice.interfaces import LaunchFiles, Offer, PluginContext, StopSignal, TransportResult

GRACE_SECONDS = 2.0
BEAT_SECONDS = 1.0
SILENT_SECONDS = 8.0
"""Less than an agent's lease and the time for which the batch system is asked then."""

CALLED_OFF = "The launch was stopped: it was called off."
PIECE_BYTES = 65536

# A small process of its own between the service and bash. It holds the reading end of a pipe whose only
# writing end is the service's: when that closes, for whatever reason (also kill -9), the group is killed at
# once. Killed rather than left to finish: an orphan that submits minutes later would come after another
# agent has asked the batch system, found nothing and begun a second attempt. Should the guard itself be
# killed, bash dies with it (PR_SET_PDEATHSIG, which is safe to set here because the guard has one thread).
# The service writes into the pipe all the time: one that is paused (SIGSTOP, a machine that sleeps) is as good as
# dead, as its lease ends and another agent begins a second attempt.
# Before it kills the group, and itself with it, it removes the directory of the private files.
_GUARD = """
import ctypes, os, select, shutil, signal, sys, time
lifeline, script, private, silent = int(sys.argv[1]), int(sys.argv[2]), sys.argv[4], float(sys.argv[5])
def now():
    return time.clock_gettime(time.CLOCK_BOOTTIME)
me = os.getpid()
libc = ctypes.CDLL(None)
bash = os.fork()
if bash == 0:
    libc.prctl(1, signal.SIGKILL)
    if os.getppid() != me:
        os._exit(125)
    os.close(lifeline)
    try:
        os.execv(sys.argv[3], [sys.argv[3], "--noprofile", "--norc", "/dev/fd/%d" % script])
    except OSError as problem:
        os.write(2, ("bash could not be started: %s\\n" % problem).encode())
        os._exit(125)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.close(script)
null = os.open(os.devnull, os.O_RDWR)
os.dup2(null, 1)
os.dup2(null, 2)
ended = os.pidfd_open(bash)
heard, alive = now(), True
while alive:
    ready, _, _ = select.select([lifeline, ended], [], [], silent)
    if ended in ready:
        break
    alive = lifeline in ready and now() - heard < silent and os.read(lifeline, 4096) != b""
    heard = now()
if not alive:
    if private:
        shutil.rmtree(private, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)
status = os.waitpid(bash, 0)[1]
code = os.waitstatus_to_exitcode(status)
os._exit(code if code >= 0 else 128 - code)
"""


@hookimpl
def poms_launch_transports() -> list[Offer]:
    return [Offer("local", "runs launch scripts on this machine, as the service's own account", LocalTransport)]


class LocalTransport:
    """``LaunchTransport`` for this machine. Safe to use from any thread."""

    dies_with_caller = True
    """No script goes on after the process that called ``run`` is dead, or paused: see ``_GUARD``."""

    def __init__(self, context: PluginContext | None = None, *, bash: str = "/bin/bash",
                 silent_seconds: float = SILENT_SECONDS) -> None:
        self._bash, self._silent_seconds = bash, silent_seconds
        self._directory = (context.data_dir.absolute() if context else Path(tempfile.gettempdir())) / "launch_files"

    def run(self, host: str, account: str, script: str, *, log: BinaryIO, timeout_seconds: float,
            max_output_bytes: int, stop: StopSignal | None = None, files: LaunchFiles | None = None
            ) -> TransportResult:
        """Run the script in bash with nothing on its standard input; see ``LaunchTransport``."""
        _require_here(host, account)
        with placed(self._directory, files) as places, \
                _started(self._bash, script, places, self._silent_seconds) as (process, lifeline):
            ending = _follow(process, lifeline, log=log, timeout_seconds=timeout_seconds,
                             max_output_bytes=max_output_bytes, stop=stop)
        output = ending.output.decode(errors="replace")
        if ending.reason:
            return TransportResult(None, output, ending.reason)
        status = process.returncode
        if status < 0:
            return TransportResult(None, output, f"The launch was killed from outside (signal {-status}).")
        return TransportResult(status, output)


def _require_here(host: str, account: str) -> None:
    """Refuse any host but this machine and any account but the service's own."""
    names = {"", "localhost", "localhost.localdomain", "127.0.0.1", "::1"}
    hostname = socket.gethostname().lower()
    own_account = pwd.getpwuid(os.geteuid()).pw_name
    problems = []
    if host.lower() not in names | {hostname, hostname.split(".")[0]}:
        problems.append(Problem("launch_host", f"The local transport cannot reach {host!r}; use localhost, or choose "
                                               "the ssh transport for this experiment.", code="foreign-host"))
    if account not in ("", own_account):
        problems.append(Problem("launch_account", f"The local transport runs as {own_account!r} and cannot become "
                                                  f"{account!r}; leave the account empty.", code="foreign-account"))
    if problems:
        raise Invalid(problems)


def _environment() -> dict[str, str]:
    """What a launch begins with: built from nothing, so that no secret of the service leaks into it."""
    account = pwd.getpwuid(os.geteuid())
    values = {"HOME": account.pw_dir, "USER": account.pw_name, "LOGNAME": account.pw_name, "LANG": "C.UTF-8",
              "SHELL": "/bin/bash", "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    if "TZ" in os.environ:
        values["TZ"] = os.environ["TZ"]
    return values


@contextmanager
def _started(bash: str, script: str, places: Places,
             silent_seconds: float) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The guard and bash, running the script, and what the guard listens to; afterwards their group is killed."""
    # Not over bash's standard input: the first command that reads would eat the rest of the script.
    # Not in a named file either: an anonymous one cannot be left behind or changed while it runs.
    text = os.memfd_create("poms-launch")
    lifeline, held = os.pipe()
    os.set_blocking(held, False)
    process = None
    try:
        process = _start(bash, script, text, lifeline, places, silent_seconds)
        yield process, held
    finally:
        if process is not None:
            _end(process)
        for descriptor in (text, lifeline, held):
            os.close(descriptor)


def _start(bash: str, script: str, text: int, lifeline: int, places: Places,
           silent_seconds: float) -> subprocess.Popen[bytes]:
    try:
        _write_all(text, f"exec {text}<&-; ".encode() + script.encode())
        home = pwd.getpwuid(os.geteuid()).pw_dir
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _GUARD, str(lifeline), str(text), bash, places.private,
             str(silent_seconds)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=_environment() | places.variables(),
            cwd=home if Path(home).is_dir() else "/", pass_fds=(lifeline, text), start_new_session=True)
    except OSError as problem:
        raise BackendUnavailable(f"The launch script could not be started on this machine: {problem}.") from problem


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view):]


@dataclass(slots=True)
class _Ending:
    output: bytearray
    reason: str = ""


def _follow(process: subprocess.Popen[bytes], lifeline: int, *, log: BinaryIO, timeout_seconds: float,
            max_output_bytes: int, stop: StopSignal | None) -> _Ending:
    """Copy output to the log as it comes, until the script has ended or must be stopped."""
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    ending = _Ending(bytearray())
    deadline = time.monotonic() + timeout_seconds
    exited = os.pidfd_open(process.pid)
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(exited, selectors.EVENT_READ)
            selector.register(process.stdout, selectors.EVENT_READ)
            if stop is not None:
                selector.register(stop, selectors.EVENT_READ)
            while True:
                # The script's own end counts, not the end of its output: a background process of it may hold
                # the pipe open for ever.
                events = selector.select(max(0.0, min(BEAT_SECONDS, deadline - time.monotonic())))
                _beat(lifeline)
                ready = {key.fd for key, _ in events}
                if exited in ready:
                    while _copy(process, ending, log=log, max_output_bytes=max_output_bytes) > 0:
                        if ending.reason:
                            break
                    return ending
                if process.stdout.fileno() in ready and _copy(
                        process, ending, log=log, max_output_bytes=max_output_bytes) == 0:
                    selector.unregister(process.stdout)
                if stop is not None and stop.is_set():
                    ending.reason = ending.reason or CALLED_OFF
                if ending.reason:
                    return ending
                if time.monotonic() >= deadline:
                    ending.reason = f"The launch was stopped: it had not ended after {timeout_seconds:g} seconds."
                    return ending
    finally:
        os.close(exited)


def _beat(lifeline: int) -> None:
    """Tell the guard that whoever wants the launch is still there."""
    # A guard that is gone was waited for already, one that does not read has enough to read.
    with suppress(BlockingIOError, BrokenPipeError):
        os.write(lifeline, b".")


def _copy(process: subprocess.Popen[bytes], ending: _Ending, *, log: BinaryIO, max_output_bytes: int) -> int:
    """Take over one piece of output: its size, 0 at its end, -1 if there is none just now."""
    assert process.stdout is not None
    try:
        piece = os.read(process.stdout.fileno(), PIECE_BYTES)
    except BlockingIOError:
        return -1
    room = max_output_bytes - len(ending.output)
    ending.output += piece[:room]
    log.write(piece[:room])
    log.flush()
    if len(piece) > room:
        ending.reason = f"The launch was stopped: it wrote more than {max_output_bytes} bytes."
    return len(piece)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Leave nothing of the launch's process group: asked first, then killed."""
    if process.poll() is None:
        # The guard leads the group; the signal reaches bash and what it started as well.
        _signal_group(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_SECONDS)
    _signal_group(process.pid, signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def _signal_group(group: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, number)
