"""SAM dimensions, read and evaluated over files in memory; for ``FakeCatalogue`` only.

Knows what POMS and its split types write. A word it does not know is an error, never an empty answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Protocol

from poms.webservice.errors import Invalid, Problem

_TOKEN = re.compile(r"\s*(?:(?P<quoted>'[^']*'|\"[^\"]*\")|(?P<symbol><=|>=|!=|[()<>=,:])"
                    r"|(?P<word>[A-Za-z0-9_.%?+-]+))")
_OPERATORS = ("<=", ">=", "<", ">", "=", "!=", "like", "in")
_RELATIONS = ("isparentof", "ischildof")
_ENDS = ("and", "or", "minus", "union", "intersect", "with", ")", "")

Files = frozenset[int]


class Surroundings(Protocol):
    """What an evaluation asks of the catalogue. Files are known by their numbers, which are their order."""

    def everything(self) -> Files: ...
    def located(self) -> Files: ...
    def definition_files(self, name: str) -> Files: ...
    def snapshot_files(self, number: int) -> Files: ...
    def project_snapshot(self, name: str) -> Files: ...
    def project_files(self, name: str, statuses: list[str]) -> Files: ...
    def children(self, files: Files) -> Files: ...
    def parents(self, files: Files) -> Files: ...
    def field(self, number: int, name: str) -> list[object] | None: ...


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int

    @property
    def lower(self) -> str:
        return self.text.lower() if self.kind != "quoted" else ""


def evaluate(text: str, around: Surroundings) -> list[int]:
    """The files that a query gives, in the catalogue's order; Invalid with the position if it cannot be read."""
    reader = _Reader(text, around)
    files = reader.expression(default_availability=True)
    if reader.peek.text or reader.peek.kind == "quoted":
        raise reader.wrong("expected the end of the query")
    return files


def matches(name: str, pattern: str) -> bool:
    """Whether a file name matches a pattern in which ``%`` is any text and ``?`` any letter."""
    escaped = pattern.replace("[", "[[]").replace("*", "[*]")
    return fnmatchcase(name, escaped.replace("%", "*"))


class _Reader:
    def __init__(self, text: str, around: Surroundings) -> None:
        self.text, self.around = text, around
        self.tokens = list(self._split())
        self.at = 0

    def _split(self):
        end = 0
        while match := _TOKEN.match(self.text, end):
            kind = match.lastgroup or ""
            value = match[kind]
            yield _Token(kind, value[1:-1] if kind == "quoted" else value, match.start(kind))
            end = match.end()
        if self.text[end:].strip():
            raise Invalid(Problem("query", f"column {end + 1}: cannot read {self.text[end:].strip()[:20]!r} in "
                                           f"{self.text!r}", code="dimension-error"))
        yield _Token("end", "", len(self.text))

    @property
    def peek(self) -> _Token:
        return self.tokens[self.at]

    def take(self) -> _Token:
        token = self.tokens[self.at]
        self.at += 1
        return token

    def accept(self, *words: str) -> str:
        if self.peek.lower in words and self.peek.lower:
            return self.take().lower
        return ""

    def expect(self, word: str) -> None:
        if not self.accept(word):
            raise self.wrong(f"expected {word!r}")

    def wrong(self, what: str) -> Invalid:
        return Invalid(Problem("query", f"column {self.peek.at + 1}: {what} in {self.text!r}", code="dimension-error"))

    # expression = set [with modifiers]; set = or {minus|union|intersect or}
    def expression(self, *, default_availability: bool) -> list[int]:
        found = self.set()
        limit = offset = None
        stride, availability = 1, ""
        while self.accept("with"):
            while self.peek.lower not in (")", ""):
                modifier = self.take().lower
                if modifier == "availability":
                    availability = self.value().lower()
                elif modifier in ("limit", "offset", "stride"):
                    number = self.number()
                    limit = number if modifier == "limit" else limit
                    offset = number if modifier == "offset" else offset
                    stride = number if modifier == "stride" else stride
                else:
                    raise self.wrong(f"unknown modifier {modifier!r}")
        if availability not in ("", "default", "physical", "anylocation", "virtual"):
            raise self.wrong(f"unknown availability {availability!r}")
        if availability == "virtual":
            found -= self.around.located()
        elif availability in ("default", "physical") or (not availability and default_availability):
            found &= self.around.located()
        files = sorted(found)[offset or 0:][::stride]
        return files if limit is None else files[:limit]

    def set(self) -> Files:
        found = self.either()
        while word := self.accept("minus", "union", "intersect"):
            other = self.either()
            found = found - other if word == "minus" else found | other if word == "union" else found & other
        return found

    def either(self) -> Files:
        found = self.both()
        while self.accept("or"):
            found |= self.both()
        return found

    def both(self) -> Files:
        """An and-group: what it says of projects is about one and the same project."""
        groups: list[Callable[[list[str]], Files]] = []
        statuses: list[str] = []
        sets = [self.term(groups, statuses)]
        while self.accept("and"):
            sets.append(self.term(groups, statuses))
        found = self.around.everything()
        for each in sets:
            found &= each
        for project in groups:
            found &= project(statuses)
        if statuses and not groups:
            raise self.wrong("consumed_status needs a project_name beside it")
        return found

    def term(self, groups: list[Callable[[list[str]], Files]], statuses: list[str]) -> Files:
        if self.accept("not"):
            return self.around.everything() - self.term(groups, statuses)
        if self.accept("("):
            files = self.expression(default_availability=False)
            self.expect(")")
            return frozenset(files)
        name = self.take()
        if name.kind != "word":
            self.at -= 1
            raise self.wrong("expected a dimension")
        if name.lower == "defname":
            self.expect(":")
            return self.around.definition_files(self.value())
        if name.lower in _RELATIONS:
            self.expect(":")
            self.expect("(")
            inner = frozenset(self.expression(default_availability=True))
            self.expect(")")
            return self.around.parents(inner) if name.lower == "isparentof" else self.around.children(inner)
        return self.dimension(name, groups, statuses)

    def dimension(self, name: _Token, groups: list[Callable[[list[str]], Files]], statuses: list[str]) -> Files:
        operator = self.accept(*_OPERATORS) or "="
        operator = "=" if operator == "in" else operator
        values = [self.value()]
        while self.accept(","):
            values.append(self.value())
        everything = self.around.everything()
        match name.lower:
            case "snapshot_id":
                return frozenset().union(*(self.around.snapshot_files(int(value)) for value in values))
            case "snapshot_for_project_name":
                return self.around.project_snapshot(values[0])
            case "project_name":
                groups.append(lambda wanted: self.around.project_files(values[0], wanted))
                return everything
            case "consumed_status":
                statuses.extend(values)
                return everything
        return frozenset(each for each in everything if self._holds(each, name.lower, operator, values))

    def _holds(self, number: int, name: str, operator: str, values: list[str]) -> bool:
        found = self.around.field(number, name)
        if found is None:
            raise self.wrong(f"unknown dimension {name!r}")
        if operator == "!=":
            return bool(found) and not any(_compare(each, "=", value) for each in found for value in values)
        return any(_compare(each, operator, value) for each in found for value in values)

    def value(self) -> str:
        token = self.take()
        if token.kind not in ("word", "quoted") or (token.kind == "word" and token.lower in _ENDS):
            self.at -= 1
            raise self.wrong("expected a value")
        return token.text

    def number(self) -> int:
        text = self.value()
        if not text.isdecimal():
            self.at -= 1
            raise self.wrong("expected a number")
        return int(text)


def _compare(found: object, operator: str, text: str) -> bool:
    wanted: object = text
    if isinstance(found, datetime):
        wanted = _time(text)
    elif isinstance(found, int):
        low, dash, high = text.partition("-")
        if dash and low.isdecimal() and high.isdecimal() and operator == "=":
            return int(low) <= found <= int(high)
        wanted = int(float(text))
    elif operator in ("=", "like"):
        return matches(str(found), text)
    return {"=": found == wanted, "like": found == wanted, "<": found < wanted, "<=": found <= wanted,  # type: ignore
            ">": found > wanted, ">=": found >= wanted}[operator]  # type: ignore[operator]


def _time(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Invalid(f"{text!r} is no time", field="query") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
