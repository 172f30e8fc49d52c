"""What a job wrote, piece by piece, as its batch system gives it; nothing of it is stored here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from poms.webservice.rules.letters import whole_letters
from poms.webservice.services.core import Core

PIECE_BYTES = 256 * 1024
MOST_BYTES = 64 * 1024 * 1024
"""A log is not read beyond this for one answer, however long it is."""

Which = Literal["stdout", "stderr", "log"]


@dataclass(frozen=True, slots=True)
class JobLogPiece:
    """Text from ``offset`` to ``next_offset``; ``at_end``: there was nothing more when it was asked."""

    text: str
    offset: int
    next_offset: int
    at_end: bool


def read(core: Core, experiment: str, batch_id: str, which: Which, offset: int = 0) -> JobLogPiece:
    """The piece that begins at ``offset``. Raises NotFound if there is no such log, BackendUnavailable."""
    kept, place, at_end = bytearray(), 0, True
    pieces = core.backends.jobs(experiment).fetch_log(batch_id, which)
    for piece in pieces:
        kept += piece[max(0, offset - place):]
        place += len(piece)
        if len(kept) > PIECE_BYTES or place > MOST_BYTES:
            at_end = False
            break
    # A letter of several bytes may be cut where the log ends for now: leave it for the next piece.
    data = whole_letters(bytes(kept[:PIECE_BYTES]))
    return JobLogPiece(data.decode(errors="replace"), offset, offset + len(data), at_end)


def tail(core: Core, experiment: str, batch_id: str, which: Which) -> JobLogPiece:
    """The end of the log, as much as one piece holds."""
    kept, place, at_end = bytearray(), 0, True
    for piece in core.backends.jobs(experiment).fetch_log(batch_id, which):
        kept += piece
        place += len(piece)
        del kept[:-PIECE_BYTES]
        if place > MOST_BYTES:
            at_end = False
            break
    data = whole_letters(bytes(kept))
    begin = place - len(kept)
    return JobLogPiece(data.decode(errors="replace"), begin, begin + len(data), at_end)
