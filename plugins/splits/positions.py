"""Positions of splits: ``{"v": 1, <what>: number}``, or ``{"legacy": number}`` as taken over from version 4.

What the number means is said by the word beside it, so that a position left by another split type is
refused instead of misread. None is the start.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from poms.webservice.errors import Invalid, Problem

VERSION = 1


def make(word: str, number: int, **more: Any) -> dict[str, Any]:
    return {"v": VERSION, word: number, **more}


def read(position: Mapping[str, Any] | None, word: str, *, least: int = 0) -> int | None:
    """The number of a position, or None at the start; Invalid if it is none of this kind."""
    if not position:
        return None
    number = position.get("legacy") if "legacy" in position else position.get(word)
    if position.get("v", VERSION) != VERSION or not isinstance(number, int) or isinstance(number, bool) \
            or number < least:
        raise Invalid(Problem("cs_last_split", f"the stored split position {dict(position)} is not one of this split "
                                               "type; reset the split of the stage", code="bad-position"))
    return number
