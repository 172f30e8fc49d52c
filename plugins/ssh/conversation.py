"""One launch over one ssh process: hand the script over, copy its output, notice how it ends.

Not for choosing whom to call (``connection``) or what a failure means to people (``reasons``). Invariant: the
first byte of the script is sent after the remote side said it is ready, so before that nothing can have run.
"""

from __future__ import annotations

import math
import os
import secrets
import selectors
import subprocess
import time
from dataclasses import dataclass, field
from typing import BinaryIO

from poms.plugins.ssh import remote
from poms.webservice.interfaces import LaunchFiles, StopSignal

PIECE_BYTES = 65536
CALLED_OFF = "The launch was stopped: it was called off."
MOST_COMPLAINTS = 65536
LOGIN_GRACE_SECONDS = 30.0
"""What a slow login (tickets, automounted homes) may take beyond the connection itself."""
END_MARGIN_SECONDS = 5.0
DRAIN_SECONDS = 2.0
"""A daemon that the script left behind may keep the output open for ever; its script's end counts."""


@dataclass(slots=True)
class Course:
    """How far a launch came. ``stopped``: why we stopped it; ``group``: its process group over there."""

    ready: bool = False
    sent: bool = False
    group: int | None = None
    status: int | None = None
    refused: str = ""
    stopped: str = ""
    output: bytearray = field(default_factory=bytearray, repr=False)
    complaints: bytearray = field(default_factory=bytearray, repr=False)


class Conversation:
    """Talks to ``remote.LAUNCH`` through the pipes of a running ssh; ``hold`` returns when it is over."""

    def __init__(self, process: subprocess.Popen[bytes], script: bytes, *, log: BinaryIO, deadline: float,
                 timeout_seconds: float, login_seconds: float, max_output_bytes: int,
                 stop: StopSignal | None = None, files: LaunchFiles | None = None) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._stdin, self._stdout, self._stderr = process.stdin, process.stdout, process.stderr
        self._process = process
        self._script = script
        self._log = log
        self._deadline = deadline
        self._timeout_seconds = timeout_seconds
        self._ready_by = min(deadline, time.monotonic() + login_seconds)
        self._max_output_bytes = max_output_bytes
        self._stop = stop
        self._files = files or LaunchFiles(keep_seconds=0, stale_seconds=0)
        self._key = secrets.token_hex(8)
        self._to_send = memoryview(b"")
        self._line = bytearray()
        self._drain_until = math.inf
        self._selector = selectors.DefaultSelector()
        self.course = Course()

    def hold(self) -> Course:
        """Until the script ended, the connection is gone, or a limit is passed."""
        for pipe in (self._stdin, self._stdout, self._stderr):
            os.set_blocking(pipe.fileno(), False)
        exited = os.pidfd_open(self._process.pid)
        try:
            with self._selector as selector:
                for descriptor in (exited, self._stdout.fileno(), self._stderr.fileno()):
                    selector.register(descriptor, selectors.EVENT_READ)
                if self._stop is not None:
                    selector.register(self._stop, selectors.EVENT_READ)
                while not self.course.stopped:
                    ready = {key.fd for key, _ in selector.select(max(0.0, self._wake_at() - time.monotonic()))}
                    self._attend(ready)
                    if exited in ready:
                        self._drain()
                        break
                    if self._is_over():
                        break
                    if self._stop is not None and self._stop.is_set():
                        self.course.stopped = CALLED_OFF
                    self._watch_time()
        finally:
            os.close(exited)
        return self.course

    def _attend(self, ready: set[int]) -> None:
        # Notices first: what is printed before the script begins is the login's and not the launch's.
        if self._stderr.fileno() in ready and self._take_notices() == 0:
            self._selector.unregister(self._stderr.fileno())
        if self._stdout.fileno() in ready and self._take_output() == 0:
            self._selector.unregister(self._stdout.fileno())
            if self.course.status is not None:
                self._drain_until = 0.0
        if self._stdin.fileno() in ready:
            self._send()

    def _wake_at(self) -> float:
        limit = self._deadline if self.course.ready else self._ready_by
        return min(limit, self._drain_until)

    def _is_over(self) -> bool:
        if self.course.status is None:
            return bool(self.course.refused)
        return self._stdout.fileno() not in self._selector.get_map() or time.monotonic() >= self._drain_until

    def _watch_time(self) -> None:
        if self.course.status is not None:
            return
        now = time.monotonic()
        if now >= self._deadline:
            self.course.stopped = self._too_long()
        elif not self.course.ready and now >= self._ready_by:
            self.course.stopped = "The host let nobody in within its time: it is overloaded, or ill."

    def _too_long(self) -> str:
        return f"The launch was stopped: it had not ended within its limit of {self._timeout_seconds:g} seconds."

    def _drain(self) -> None:
        """Take over what is left in the pipes of an ssh that has ended."""
        while self._take_notices() > 0:
            pass
        while not self.course.stopped and self._take_output() > 0:
            pass

    # ------------------------------------------------------------------------------------- pieces

    def _take_notices(self) -> int:
        piece = _read(self._stderr.fileno())
        if piece is None:
            return -1
        *lines, rest = (bytes(self._line) + piece).split(b"\n")
        if not piece and rest:
            lines, rest = [*lines, rest], b""
        self._line = bytearray(rest[:MOST_COMPLAINTS])
        for line in lines:
            notice = remote.read_notice(line, self._key)
            if notice is None:
                self._complain(line + b"\n")
            else:
                self._note(notice)
        return len(piece)

    def _complain(self, line: bytes) -> None:
        """What ssh, or the login over there, had to say: for the log and for the reason of a failure."""
        room = MOST_COMPLAINTS - len(self.course.complaints)
        self.course.complaints += line[:room]
        self._log.write(line[:room])
        self._log.flush()

    def _note(self, notice: remote.Notice) -> None:
        course = self.course
        if notice.kind == "ready" and not course.ready:
            course.ready = True
            # What the login printed on standard output so far is no output of the launch.
            while (_read(self._stdout.fileno()) or b""):
                pass
            # A little less than is left: over there it must have ended before anybody may think of a second try.
            left = self._deadline - time.monotonic() - min(END_MARGIN_SECONDS, self._timeout_seconds / 10)
            seconds = max(1, math.floor(left))
            files = self._files
            header = remote.header(len(self._script), self._key, seconds, sandbox=files.kept is not None,
                                   files=len(files.private) + len(files.kept or ()),
                                   keep_minutes=math.ceil(files.keep_seconds / 60),
                                   stale_minutes=math.ceil(files.stale_seconds / 60))
            self._to_send = memoryview(header + self._script + remote.contents(files))
            self._selector.register(self._stdin.fileno(), selectors.EVENT_WRITE)
        elif notice.kind == "group" and notice.value.isascii() and notice.value.isdigit():
            course.group = int(notice.value)
        elif notice.kind == "limit":
            course.stopped = self._too_long()
        elif notice.kind == "status" and notice.value.isascii() and notice.value.isdigit():
            course.status = int(notice.value)
            self._drain_until = time.monotonic() + DRAIN_SECONDS
        elif notice.kind == "refused":
            course.refused = notice.value

    def _send(self) -> None:
        try:
            self._to_send = self._to_send[os.write(self._stdin.fileno(), self._to_send[:PIECE_BYTES]):]
        except BlockingIOError:
            return
        except BrokenPipeError:
            # ssh is about to say why; whatever of the script did arrive is not the whole and will not run.
            self._selector.unregister(self._stdin.fileno())
            return
        if not self._to_send:
            # Kept open: its end tells the remote side that nobody is there any more.
            self.course.sent = True
            self._selector.unregister(self._stdin.fileno())

    def _take_output(self) -> int:
        piece = _read(self._stdout.fileno())
        if piece is None:
            return -1
        if not self.course.ready:
            return len(piece)
        room = self._max_output_bytes - len(self.course.output)
        self.course.output += piece[:room]
        self._log.write(piece[:room])
        self._log.flush()
        if len(piece) > room:
            self.course.stopped = f"The launch was stopped: it wrote more than {self._max_output_bytes} bytes."
        return len(piece)


def _read(descriptor: int) -> bytes | None:
    """A piece of what is there, b"" at the end, None if there is nothing just now."""
    try:
        return os.read(descriptor, PIECE_BYTES)
    except BlockingIOError:
        return None
