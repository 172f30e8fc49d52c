"""When a campaign pauses itself: too large a share of the jobs that ended last failed or were removed.

Counts in, a sentence out; who is asked for the counts and what pausing means is ``services.pauses``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ended:
    """Jobs of one submission that ended, and how many of them badly."""

    jobs: int
    bad: int


def wave(newest_first: Iterable[Ended], *, percent: float, jobs: int) -> str:
    """Why a campaign is to be paused, in words; "" if it is not.

    Submissions are looked at from the newest on until so many ``jobs`` have ended; fewer are no ground for anything.
    A ``percent`` of 0 pauses nothing.
    """
    ended = bad = 0
    for each in newest_first:
        ended, bad = ended + each.jobs, bad + each.bad
        if ended >= jobs:
            break
    if percent <= 0 or ended < jobs or 100 * bad < percent * ended:
        return ""
    return f"{bad:,} of the last {ended:,} jobs failed or were removed; the limit is {percent:g} %"
