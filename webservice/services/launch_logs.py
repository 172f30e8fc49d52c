"""Launch logs: where they are, and reading them piece by piece while they grow.

The name of a log is stored with its launch and never made from a request, so no request forms a path.
"""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select

from poms.webservice.errors import NotFound
from poms.webservice.model import Launch
from poms.webservice.rules.hiding import Hider
from poms.webservice.rules.letters import whole_letters
from poms.webservice.services.core import Core

log = logging.getLogger(__name__)

PIECE_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class LogPiece:
    """Text from ``offset``; ask again from ``next_offset`` while not ``ended``."""

    text: str
    offset: int
    next_offset: int
    ended: bool


class LaunchLog(io.RawIOBase):
    """A log that grows while a launch runs. Only ``begin`` fails for want of room: see ``write``.

    What ``hider`` knows never gets into it, should a script print its credentials.
    """

    def __init__(self, path: Path, hider: Hider | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)
        self._hider = hider or Hider(())
        self.lacking = ""

    def begin(self, line: str) -> None:
        """Write the first line; raises OSError, since a launch without a log is not begun."""
        self._append(line.encode())

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        """Append what there is room for. A script that submits is not stopped halfway because a disk is full.

        ``lacking`` then says why the log is not complete; nothing more is written to it.
        """
        self._write(self._hider.feed(bytes(data)))
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._write(self._hider.end())
            self._file.close()
        super().close()

    def _write(self, data: bytes) -> None:
        if self.lacking:
            return
        try:
            self._append(data)
        except OSError as problem:
            self.lacking = str(problem)
            log.warning("a launch log is not complete", extra={"path": self._file.name, "reason": self.lacking})

    def _append(self, data: Any) -> None:
        left = memoryview(data)
        while left:
            left = left[self._file.write(left):]


def path_of(core: Core, log_name: str) -> Path:
    """The file of a log. Names come from ``rules.naming`` by way of the database only."""
    return core.settings.service.data_dir / "launch_logs" / log_name


def read(core: Core, experiment: str, submission_id: int, offset: int = 0) -> LogPiece:
    """A piece of the newest launch log of a submission; before the launch began it is empty."""
    with core.db.read() as session:
        row = session.scalar(
            select(Launch).where(Launch.submission_id == submission_id, Launch.experiment == experiment)
            .order_by(Launch.launch_id.desc()).limit(1))
    if row is None or not row.log_name:
        raise NotFound(f"Submission {submission_id} was not launched by POMS in {experiment}: there is no launch log.")
    return piece_of(core, row.log_name, offset, ended=row.state not in ("owed", "queued"))


def piece_of(core: Core, log_name: str, offset: int, *, ended: bool) -> LogPiece:
    """A piece of a log; ``ended``: nothing is written to it any more. One that is not there is empty."""
    file = path_of(core, log_name)
    if not log_name or not file.exists():
        return LogPiece("", 0, 0, ended)
    with file.open("rb") as stream:
        stream.seek(max(0, offset))
        data = stream.read(PIECE_BYTES)
        # A letter may be cut at the end of a piece: leave its bytes for the next one.
        if len(data) == PIECE_BYTES:
            data = whole_letters(data)
        next_offset = max(0, offset) + len(data)
        at_end = not stream.read(1) and len(data) < PIECE_BYTES
    return LogPiece(data.decode(errors="replace"), offset, next_offset, ended and at_end)
