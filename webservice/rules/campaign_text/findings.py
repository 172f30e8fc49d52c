"""Collecting everything that is wrong with a campaign text, with suggestions, in bounded time.

Problems forbid saving, warnings do not. Not for deciding what is wrong (``reading``, ``checking``).
Invariant: a hostile text costs no more than ``LIMIT`` messages; what is left out is counted.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from poms.webservice.errors import Problem

LIMIT = 100
_MOST_CANDIDATES = 500
_LONGEST_WORD = 80


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found: ``problems`` forbid saving, ``warnings`` are only told."""

    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()


class Collector:
    """Takes problems and warnings as they are found; ``findings()`` gives them in order of lines."""

    def __init__(self) -> None:
        self._problems: list[Problem] = []
        self._warnings: list[Problem] = []
        self._left_out = {True: 0, False: 0}

    def error(self, field: str, code: str, message: str, line: int | None = None) -> None:
        self._add(Problem(field, message, line, code), forbids=True)

    def warn(self, field: str, code: str, message: str, line: int | None = None) -> None:
        self._add(Problem(field, message, line, code), forbids=False)

    def _add(self, problem: Problem, *, forbids: bool) -> None:
        into = self._problems if forbids else self._warnings
        if len(into) < LIMIT:
            into.append(problem)
        else:
            self._left_out[forbids] += 1

    def hint(self, word: str, candidates: Iterable[str]) -> str:
        """" Did you mean 'x'?" for the closest candidate, or "". Silent once nobody would read it."""
        if len(self._problems) + len(self._warnings) >= LIMIT:
            return ""
        return did_you_mean(word, candidates)

    def findings(self) -> Findings:
        return Findings(self._closed(forbids=True), self._closed(forbids=False))

    def _closed(self, *, forbids: bool) -> tuple[Problem, ...]:
        found = sorted(self._problems if forbids else self._warnings, key=by_line)
        if self._left_out[forbids]:
            more = self._left_out[forbids]
            found.append(Problem("", f"{more} more of this kind are not shown; mend these first.", None, "more"))
        return tuple(found)


def by_line(problem: Problem) -> tuple[bool, int]:
    """Sorts findings as the text goes; those without a line first, the count of what is left out last."""
    return problem.code == "more", problem.line or 0


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """" Did you mean 'x'?" for the candidate that is closest to ``word``, or "" if none is close."""
    if len(word) > _LONGEST_WORD:
        return ""
    folded = {candidate.lower(): candidate for candidate in islice(sorted(candidates), _MOST_CANDIDATES)
              if len(candidate) <= _LONGEST_WORD}
    close = difflib.get_close_matches(word.lower(), folded, n=1, cutoff=0.6)
    return f" Did you mean '{folded[close[0]]}'?" if close else ""
