"""Bars over time: through which states something went in a window, as pieces in percent of its width.

Pure. Not for shares of a whole (``handlers.filters``). Invariant: pieces lie within the window, in the order of time,
and do not overlap; what lasted too short to be seen is drawn as wide as it must be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

LEAST_PERCENT = 1.0


@dataclass(frozen=True, slots=True)
class Piece:
    """One state of something, from ``x`` for ``width`` percent of the window; ``at`` is when it began."""

    state: str
    at: datetime
    x: float
    width: float


def pieces(steps: Sequence[tuple[str, datetime]], begin: datetime, end: datetime, *,
           ends_at: datetime | None = None) -> list[Piece]:
    """The states that fall into the window; each lasts until the next begins, the last until ``ends_at`` or its end."""
    whole = (end - begin).total_seconds()
    if whole <= 0:
        return []
    found: list[Piece] = []
    drawn = 0.0
    for place, (state, at) in enumerate(steps):
        until = steps[place + 1][1] if place + 1 < len(steps) else ends_at or end
        if until < begin or at > end:
            continue
        x = max(drawn, 100 * max(0.0, (at - begin).total_seconds()) / whole)
        right = max(x + LEAST_PERCENT, 100 * min(whole, (until - begin).total_seconds()) / whole)
        x, right = min(x, 100 - LEAST_PERCENT), min(right, 100.0)
        if found and x < found[-1].x + found[-1].width:
            # At the end of the window there is no room left for another piece: the newest state is the one seen.
            found[-1] = Piece(found[-1].state, found[-1].at, found[-1].x, max(0.0, x - found[-1].x))
        found.append(Piece(state, at, round(x, 3), round(right - x, 3)))
        drawn = right
    return [piece for piece in found if piece.width > 0]


def ticks(begin: datetime, end: datetime, most: int = 6) -> list[tuple[datetime, float]]:
    """Round moments within a window with their places in percent, at most so many."""
    span = (end - begin).total_seconds()
    if span <= 0:
        return []
    step = next((seconds for seconds in _STEPS if span / seconds <= most), _STEPS[-1] * -(-span // (_STEPS[-1] * most)))
    first = datetime.fromtimestamp(-(-begin.timestamp() // step) * step, begin.tzinfo)
    found = []
    while first <= end and len(found) <= most:
        found.append((first, round(100 * (first - begin).total_seconds() / span, 3)))
        first += timedelta(seconds=step)
    return found


_STEPS = (60, 300, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 2 * 86400, 7 * 86400, 14 * 86400, 28 * 86400)
