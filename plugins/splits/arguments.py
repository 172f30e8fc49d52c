"""Arguments of a split specification, checked against what a type takes; every bad one is named.

A positional parameter may also be given by its name, and a keyword without a value means its default.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from poms.webservice.errors import Invalid, Problem
from poms.webservice.interfaces import SplitParameter

FIELD = "cs_split_type"
LARGEST = 2**53
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}

Arguments = Sequence[tuple[str | None, str]]
Converter = Callable[[str], Any]


def whole_number(least: int) -> Converter:
    """A reader of whole numbers from ``least`` on."""
    def convert(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,16}", text) or not least <= int(text) <= LARGEST:
            raise ValueError(f"unable to parse integer parameter from '{text}'; write a whole number from {least} on")
        return int(text)

    return convert


def seconds(least: int) -> Converter:
    """A reader of times such as ``90``, ``30m``, ``12h``, ``1d``, ``2w``."""
    def convert(text: str) -> int:
        match = re.fullmatch(r"([0-9]{1,12})([wdhms]?)", text)
        if not match or int(match[1]) * _UNITS[match[2]] < least:
            raise ValueError(f"unable to parse integer parameter from '{text}'; write seconds, or a number with w, d, "
                             "h, m or s")
        return int(match[1]) * _UNITS[match[2]]

    return convert


def read(name: str, arguments: Arguments, parameters: tuple[SplitParameter, ...],
         converters: Mapping[str, Converter]) -> dict[str, Any]:
    """The values by parameter name; a parameter without default must be given. Raises Invalid."""
    problems: list[Problem] = []
    texts: dict[str, str] = {}
    positional = [each.name for each in parameters if not each.keyword]
    known = {each.name for each in parameters}
    places = iter(positional)
    for keyword, text in arguments:
        key = keyword or next(places, None)
        if key is None:
            problems.append(_problem(name, f"'{text}' is one argument too many{_takes(parameters)}"))
        elif key not in known:
            problems.append(_problem(name, f"there is no parameter '{key}'{_takes(parameters)}"))
        elif key in texts:
            problems.append(_problem(name, f"'{key}' is given twice"))
        elif text:
            texts[key] = text
    values: dict[str, Any] = {}
    for each in parameters:
        text = texts.get(each.name, each.default)
        if not text:
            if not each.keyword and not problems:
                problems.append(_problem(name, f"'{each.name}' is missing: {each.help}"))
            values[each.name] = None
            continue
        try:
            values[each.name] = converters[each.name](text)
        except ValueError as wrong:
            problems.append(_problem(name, f"{each.name}: {wrong}"))
    if problems:
        raise Invalid(problems)
    return values


def none(name: str, arguments: Arguments) -> dict[str, Any]:
    """For types that take no arguments."""
    return read(name, arguments, (), {})


def _takes(parameters: tuple[SplitParameter, ...]) -> str:
    if not parameters:
        return "; it takes none"
    return "; it takes " + ", ".join(f"{each.name}=" if each.keyword else each.name for each in parameters)


def _problem(name: str, what: str) -> Problem:
    return Problem(FIELD, f"split type {name}: {what}", code="bad-split")
