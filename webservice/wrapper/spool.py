"""Reports that could not be sent yet: kept as files of their own, sent later in the order in which they came.

Invariant: a report is on the disk before it is sent for the first time and goes when POMS has it, so that a
wrapper that is killed loses none. One that POMS refuses is set aside with the reason, not tried for ever.
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

from poms.webservice.client import Client
from poms.webservice.errors import BackendUnavailable, NotAuthenticated, PomsError

DIRECTORY = "POMS_SPOOL"
MOST_AT_ONCE = 200


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
    """What came of sending: how many POMS has now, how many it refused, how many wait, and why."""

    sent: int = 0
    refused: int = 0
    waiting: int = 0
    problem: str = ""


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
        number = report.submission_id
        if number is None or report.command:
            number = client.register(report.stage, report.command, parent=report.parent, submission=number,
                                     launch_time=report.launch_time)
        client.report(number, status=report.status, job_id=report.job_id)
        return number

    def flush(self, client: Client, *, most: int = MOST_AT_ONCE) -> Sent:
        """Send what waits, until POMS does not answer; nothing if somebody else is at it."""
        sent = refused = 0
        with self._alone() as alone:
            if not alone:
                return Sent(waiting=len(self.waiting()), problem="another process is sending them")
            for path in self.waiting()[:most]:
                try:
                    report = Pending(**json.loads(path.read_text(encoding="utf-8")))
                    self.send(report, client)
                except (BackendUnavailable, NotAuthenticated) as problem:
                    return Sent(sent, refused, len(self.waiting()), str(problem))
                except (PomsError, ValueError, TypeError) as problem:
                    self._set_aside(path, str(problem))
                    refused += 1
                else:
                    path.unlink(missing_ok=True)
                    sent += 1
        return Sent(sent, refused, len(self.waiting()))

    def _set_aside(self, path: Path, why: str) -> None:
        self.refused.mkdir(mode=0o700, exist_ok=True)
        (self.refused / f"{path.stem}.txt").write_text(f"{why}\n", encoding="utf-8")
        path.rename(self.refused / path.name)

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        if not self.directory.is_dir():
            yield True
            return
        with (self.directory / "lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True
