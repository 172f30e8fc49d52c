"""Reports that could not be sent yet: kept as files of their own, sent later in the order in which they came.

Invariant: a report is on the disk before it is sent for the first time and goes when the POMS that it is meant for has
it, so that a wrapper that is killed loses none and no other POMS hears of it. One that POMS refuses is set aside with
the reason, not tried for ever.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from poms.webservice.client import Client
from poms.webservice.client.connection import server_of
from poms.webservice.errors import BackendUnavailable, ConfigurationError, NotAuthenticated, PomsError

DIRECTORY = "POMS_SPOOL"
MOST_AT_ONCE = 200
SENDING_SECONDS = 30.0
"""Nobody who submits jobs waits longer than this for the reports of others."""
TURN_SECONDS = 5.0
_LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Pending:
    """What POMS is to be told. Without a submission it is registered first, as the stage's."""

    job_id: str
    submission_id: int | None = None
    stage: str = ""
    command: str = ""
    parent: int | None = None
    status: str = ""
    launch_time: str = ""
    experiment: str = ""
    server: str = ""
    at: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True)
class Sent:
    """What came of sending: how many POMS has now, how many it refused, how many wait, and why.

    ``elsewhere`` are for another server than the one that was asked.
    """

    sent: int = 0
    refused: int = 0
    waiting: int = 0
    problem: str = ""
    elsewhere: int = 0


def directory_of(environment: Mapping[str, str]) -> Path:
    """Where reports wait: $POMS_SPOOL, or a directory of the user's own."""
    named = environment.get(DIRECTORY, "")
    if named:
        return Path(named)
    home = Path(environment.get("HOME") or "/nonexistent", ".local", "state")
    return Path(environment.get("XDG_STATE_HOME") or home) / "poms" / "reports"


class Spool:
    """The reports of one directory; any number of wrappers may use it at once."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.refused = directory / "refused"

    def add(self, report: Pending) -> Path:
        """Keep a report; it is on the disk when this returns."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = f"{time.time_ns():020}-{uuid.uuid4().hex[:8]}.json"
        new = self.directory / f".{name}.new"
        with new.open("x", encoding="utf-8") as file:
            json.dump(asdict(report), file)
            file.flush()
            os.fsync(file.fileno())
        return new.rename(self.directory / name)

    def waiting(self) -> list[Path]:
        """The reports in the order in which they came."""
        return sorted(self.directory.glob("[0-9]*.json"))

    def send(self, report: Pending, client: Client) -> int:
        """Tell POMS; returns the submission. Safe to repeat: the same run has one number."""
        # The server knows where a number is; a name means something within its own experiment only.
        named = report.submission_id is None and not report.stage.isdigit()
        client = client.within(report.experiment if named else "")
        number = report.submission_id
        if number is None or report.command:
            number = client.register(report.stage, report.command, parent=report.parent, submission=number,
                                     launch_time=report.launch_time)
        client.report(number, status=report.status, job_id=report.job_id)
        return number

    def flush(self, client: Client, *, most: int = MOST_AT_ONCE, seconds: float = SENDING_SECONDS,
              any_server: bool = False) -> Sent:
        """Send what waits for the client's server, or with ``any_server`` all, until POMS does not answer."""
        deadline = time.monotonic() + seconds
        with self._turn() as is_ours:
            if not is_ours:
                return self._so_far(0, 0, set(), "another process is sending them")
            return self._send_all(client, most, deadline, any_server)

    def _send_all(self, client: Client, most: int, deadline: float, any_server: bool) -> Sent:
        sent = refused = 0
        elsewhere: set[Path] = set()
        # Others add while we send, and go away when they see that somebody does.
        while paths := [path for path in self.waiting() if path not in elsewhere]:
            for path in paths:
                if sent + refused >= most or time.monotonic() > deadline:
                    return self._so_far(sent, refused, elsewhere, "there are too many to send them all now")
                try:
                    report = Pending(**json.loads(path.read_text(encoding="utf-8")))
                    if not any_server and report.server and server_of(report.server) != client.server:
                        elsewhere.add(path)
                        continue
                    self.send(report, client)
                except FileNotFoundError:
                    # Somebody deleted it.
                    continue
                except (BackendUnavailable, NotAuthenticated, ConfigurationError) as problem:
                    return self._so_far(sent, refused, elsewhere, str(problem))
                except (PomsError, ValueError, TypeError) as problem:
                    self._set_aside(path, str(problem))
                    refused += 1
                else:
                    path.unlink(missing_ok=True)
                    sent += 1
        return self._so_far(sent, refused, elsewhere, "")

    def _so_far(self, sent: int, refused: int, elsewhere: set[Path], problem: str) -> Sent:
        return Sent(sent, refused, len(self.waiting()) - len(elsewhere), problem, len(elsewhere))

    def _set_aside(self, path: Path, why: str) -> None:
        self.refused.mkdir(mode=0o700, exist_ok=True)
        (self.refused / f"{path.stem}.txt").write_text(f"{why}\n", encoding="utf-8")
        path.rename(self.refused / path.name)

    @contextmanager
    def _turn(self) -> Iterator[bool]:
        """Whether this process may send now: one at a time does, and the next waits for it for a moment."""
        if not self.directory.is_dir():
            yield True
            return
        with (self.directory / "lock").open("a") as lock:
            deadline = time.monotonic() + TURN_SECONDS
            while not _locked(lock):
                if time.monotonic() > deadline:
                    yield False
                    return
                time.sleep(_LOOK_SECONDS)
            yield True


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
