"""``SshTransport``: a launch script run once on a launch host.

BackendUnavailable means that nothing was started there; whenever that is not certain the result has no exit
status and says so. Invariant: when ``run`` returns, the script has ended, or its process group was told to
end, or the remote side ends it by itself at the time limit.
"""

from __future__ import annotations

import logging
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from poms.plugins.ssh import remote
from poms.plugins.ssh.connection import Connection
from poms.plugins.ssh.conversation import LOGIN_GRACE_SECONDS, Conversation, Course
from poms.plugins.ssh.reasons import explain
from poms.webservice.errors import BackendUnavailable, Invalid
from poms.webservice.interfaces import LaunchFiles, PluginContext, StopSignal, TransportResult
from poms.webservice.rules.naming import is_file_word

log = logging.getLogger(__name__)

END_SECONDS = 20.0
"""How long ending a process group over there may take, beyond connecting."""
GRACE_SECONDS = 2.0


class SshTransport:
    """``LaunchTransport`` by ssh, for one experiment. Safe to use from any thread."""

    dies_with_caller = False
    """The remote side ends a script whose connection is gone; but a network that is cut tells it late."""

    def __init__(self, context: PluginContext) -> None:
        self._connection = Connection.of(context)

    def run(self, host: str, account: str, script: str, *, log: BinaryIO, timeout_seconds: float,
            max_output_bytes: int, stop: StopSignal | None = None, files: LaunchFiles | None = None
            ) -> TransportResult:
        """Run the script in bash over there with nothing on its standard input; see ``LaunchTransport``."""
        connection = self._connection
        connection.require_allowed(host, account)
        text = _encoded(script)
        _require_plain_names(files)
        connection.prepare()
        login_seconds = connection.connect_timeout_seconds + LOGIN_GRACE_SECONDS
        with self._started(host, account, remote.LAUNCH) as process:
            conversation = Conversation(
                process, text, log=log, deadline=time.monotonic() + timeout_seconds, timeout_seconds=timeout_seconds,
                login_seconds=login_seconds, max_output_bytes=max_output_bytes, stop=stop,
                files=files)
            ended = ""
            try:
                course = conversation.hold()
            finally:
                # Also when the log could not be written: nobody would notice what goes on over there.
                course = conversation.course
                if course.group is not None and course.status is None:
                    ended = self._end(host, account, course.group)
        return self._judge(host, account, course, ended)

    def _judge(self, host: str, account: str, course: Course, ended: str) -> TransportResult:
        if course.refused:
            raise BackendUnavailable(f"{host} could not take the launch script: {course.refused}. Nothing was started; "
                                     "check the disk and the temporary directory there.")
        if not course.sent:
            why = course.stopped or explain(self._connection, host, account, bytes(course.complaints))
            if course.ready:
                why = f"the connection to {host} broke before the whole script was there ({why})"
            raise BackendUnavailable(f"{why} Nothing was started on {host}.")
        output = course.output.decode(errors="replace")
        if course.stopped:
            return TransportResult(None, output, f"{course.stopped}{ended}")
        if course.status is None:
            return TransportResult(None, output, f"The connection to {host} was lost while the launch was under "
                                                 f"way.{ended}")
        return TransportResult(course.status, output)

    @contextmanager
    def _started(self, host: str, account: str, command: str) -> Iterator[subprocess.Popen[bytes]]:
        """An ssh that runs a fixed command; afterwards it is gone, a shared connection stays."""
        try:
            process = subprocess.Popen(
                self._connection.arguments(host, account, command), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, env=self._connection.environment(), cwd="/", bufsize=0,
                start_new_session=True)
        except OSError as problem:
            raise BackendUnavailable(f"ssh could not be started on this machine: {problem}. Install OpenSSH's client; "
                                     "nothing was started.") from problem
        try:
            yield process
        finally:
            _close(process)

    def _end(self, host: str, account: str, group: int) -> str:
        """End a process group over there, by a second connection; says so if it is not certain that it ended."""
        limit = self._connection.connect_timeout_seconds + END_SECONDS
        try:
            with self._started(host, account, remote.END) as process:
                _, complaints = process.communicate(f"{group}\n".encode(), timeout=limit)
                if process.returncode == 0:
                    return ""
        except (BackendUnavailable, subprocess.TimeoutExpired) as problem:
            complaints = str(problem).encode()
        log.warning("a launch could not be ended", extra={"host": host, "process_group": group,
                                                          "reason": complaints.decode(errors="replace")})
        return f" {host} did not confirm that it ended; it ends there by itself when its time is over."


def _encoded(script: str) -> bytes:
    try:
        # The descriptor that bash reads the script from is not for the script's own programs.
        return b"exec 9<&-; " + script.encode()
    except UnicodeEncodeError as problem:
        raise Invalid("The launch script is not valid text (half a character); correct the login setup or the job "
                      "type.") from problem


def _require_plain_names(files: LaunchFiles | None) -> None:
    for file in (*files.private, *(files.kept or ())) if files else ():
        if not is_file_word(file.name):
            raise Invalid(f"{file.name[:100]!r} is no name for a file of a launch; rename it.")


def _close(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with suppress(BrokenPipeError):
                pipe.close()
    if process.poll() is None:
        # Only this process: a connection that it opened for others to share is a process of its own.
        process.terminate()
        try:
            process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()
