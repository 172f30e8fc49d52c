"""The grammar of split specifications: ``nfiles(10)``, ``byrun(low=1, high=4)``, ``mod_5``, ``None``.

Knows the form, not the types: which arguments a type takes is said by its ``parse`` (``interfaces.SplitType``).
Invariant: ``parse_split(str(spec)) == spec``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from poms.webservice.errors import Invalid, Problem

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*")
_KEYWORD = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_LONGEST = 2000


@dataclass(frozen=True, slots=True)
class SplitSpec:
    """The name of a split type and its arguments: (keyword or None, text), in the order given."""

    name: str
    arguments: tuple[tuple[str | None, str], ...] = ()

    def __str__(self) -> str:
        if not self.arguments:
            return self.name
        return f"{self.name}({','.join(text if key is None else f'{key}={text}' for key, text in self.arguments)})"


def parse_split(text: str | None, field: str = "cs_split_type") -> SplitSpec | None:
    """The specification that ``text`` spells, or None for no splitting (empty, ``None``, ``none``).

    Blanks count nowhere; ``name_arg`` is ``name(arg)``; a keyword without value is left to its default.
    Raises Invalid naming every argument that cannot be read.
    """
    joined = "".join((text or "").split())
    if joined.lower() in ("", "none", "none()"):
        return None
    if len(joined) > _LONGEST:
        raise Invalid(Problem(field, f"A split specification has at most {_LONGEST} characters.", code="bad-split"))
    end = re.search(r"[(_]", joined)
    name = joined[:end.start()] if end else joined
    if not _NAME.fullmatch(name):
        raise _bad(field, joined, "it begins with the name of a split type, such as nfiles(10)")
    arguments = _arguments(field, joined, joined[len(name):])
    return SplitSpec(name.lower(), arguments)


def _arguments(field: str, whole: str, rest: str) -> tuple[tuple[str | None, str], ...]:
    """The arguments in ``(a,b=c)``, ``_a`` or ``_a(b=c)``."""
    shorthand, bracket, inside = rest.partition("(")
    pieces: list[str] = []
    if shorthand:
        if shorthand == "_" or re.search(r"[),=]", shorthand):
            raise _bad(field, whole, "the part after _ is one value, such as mod_5; for several write name(a,b)")
        pieces.append(shorthand[1:])
    if bracket:
        if not inside.endswith(")"):
            what = "nothing may follow the closing bracket" if ")" in inside else "the closing bracket is missing"
            raise _bad(field, whole, what)
        inside = inside[:-1]
        if re.search(r"[()]", inside):
            raise _bad(field, whole, "there may be only one pair of brackets")
        pieces.extend(inside.split(",") if inside else [])
        if pieces and not pieces[-1]:
            pieces.pop()
    return _read_pieces(field, whole, pieces)


def _read_pieces(field: str, whole: str, pieces: list[str]) -> tuple[tuple[str | None, str], ...]:
    problems: list[Problem] = []
    arguments: list[tuple[str | None, str]] = []
    seen: set[str] = set()
    for number, piece in enumerate(pieces, 1):
        key, equals, value = piece.partition("=")
        if not equals:
            if not piece:
                problems.append(_problem(field, whole, f"argument {number} is empty; give it a value"))
            elif seen:
                problems.append(_problem(field, whole, f"the value '{piece}' has no keyword, but follows one that has"))
            arguments.append((None, piece))
            continue
        if not _KEYWORD.fullmatch(key):
            problems.append(_problem(field, whole, f"'{key}' in argument {number} is not a keyword"))
        elif key in seen:
            problems.append(_problem(field, whole, f"the keyword '{key}' is there twice; keep one"))
        seen.add(key)
        if value:
            arguments.append((key, value))
    if problems:
        raise Invalid(problems)
    return tuple(arguments)


def _problem(field: str, whole: str, what: str) -> Problem:
    shown = whole if len(whole) <= 80 else whole[:77] + "..."
    return Problem(field, f"'{shown}' is not a split specification: {what}.", code="bad-split")


def _bad(field: str, whole: str, what: str) -> Invalid:
    return Invalid(_problem(field, whole, what))
