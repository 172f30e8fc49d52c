"""Recovery rules as people write them: which failure is answered how, and the limits that hold for all.

Text to values and back to words; what is chosen for one failure is ``recovery_choices``'. Invariant: a text is
either understood as a whole or refused with line, place and remedy, in time that grows with its length only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from poms.webservice.errors import Invalid, Problem
from poms.webservice.rules.jobsub_options import lifetime_in_seconds, memory_in_mb

KEY = "recovery_policy"
LONGEST_TEXT = 10_000
MOST_RULES = 100
DEFAULT_ATTEMPTS = 5
"""How often a file is recovered at most, where the rules name no limit."""

FILE_STATES = ("unknown", "delivered", "transferred", "consumed", "completed", "skipped", "failed", "cancelled")

Kind = Literal["exit", "signal", "hold", "message", "site", "file", "any"]
Doing = Literal["retry", "memory", "time", "files", "site", "stop", "give up"]
_NUMBERED = ("exit", "signal", "hold")
_CONDITIONS = ("exit", "signal", "hold", "message", "site", "file", "any")
_RESOURCES = ("memory", "time", "files", "sites")
# A quoted text, one of the marks, or a word.
_TOKEN = re.compile(r'\s*(?:"(?P<quoted>[^"]*)"|(?P<mark>[:,])|(?P<word>[^\s:,"]+))')
_RANGE = re.compile(r"(\d{1,6})(?:-(\d{1,6}))?")
_FACTOR = re.compile(r"(?i:x|\*)(\d{1,3}(?:\.\d{1,4})?)")
_EXAMPLE = 'write for example "when hold 34: memory x1.5"'


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that must be so of a failure: numbers lie in a range, texts match one of the patterns."""

    kind: Kind
    ranges: tuple[tuple[int, int], ...] = ()
    patterns: tuple[str, ...] = ()

    def __str__(self) -> str:
        numbers = ",".join(str(low) if low == high else f"{low}-{high}" for low, high in self.ranges)
        return " ".join(part for part in (self.kind, numbers, ",".join(map(_quoted, self.patterns))) if part)


@dataclass(frozen=True, slots=True)
class Action:
    """What is changed for the next attempt: ``factor`` times what was asked for, or ``add`` to it (MB, seconds)."""

    doing: Doing
    factor: float = 1.0
    add: float = 0.0

    def __str__(self) -> str:
        if self.doing == "site":
            return "other site"
        if self.doing not in ("memory", "time", "files"):
            return self.doing
        if self.doing == "files":
            return f"files /{1 / self.factor:g}"
        amount = f"x{self.factor:g}" if not self.add else (
            f"+{self.add:g}MB" if self.doing == "memory" else f"+{self.add:g}s")
        return f"{self.doing} {amount}"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: it applies if all conditions of one of its alternatives hold, at most ``times`` to one file."""

    alternatives: tuple[tuple[Condition, ...], ...]
    actions: tuple[Action, ...]
    times: int | None = None
    line: int = field(default=0, compare=False)

    @property
    def text(self) -> str:
        """The rule in its normal form, by which attempts are counted: moving it in the text changes nothing."""
        when = " or ".join(" and ".join(map(str, group)) for group in self.alternatives)
        limit = f", at most {self.times} time{'s' if self.times > 1 else ''}" if self.times is not None else ""
        head = "otherwise" if when == "any" else f"when {when}"
        return f"{head}: {' and '.join(map(str, self.actions))}{limit}"


@dataclass(frozen=True, slots=True)
class Policy:
    """All rules in their order, and what holds for all. ``passive``: only recorded, nothing is changed.

    ``keys`` are the launch parameters by which memory, time, files and sites are asked for, where they are stated.
    """

    rules: tuple[Rule, ...]
    memory_cap_mb: int | None = None
    time_cap_seconds: int | None = None
    attempts: int = DEFAULT_ATTEMPTS
    passive: bool = False
    keys: tuple[tuple[str, str], ...] = ()

    def key_of(self, resource: str) -> str:
        return dict(self.keys).get(resource, "")

    def grows(self, resource: str) -> bool:
        """Whether some rule may ask for more of it."""
        return any(action.doing == resource for rule in self.rules for action in rule.actions)

    def limits(self) -> list[str]:
        """The limits in words."""
        found = [f"attempts at most {self.attempts}"]
        if self.memory_cap_mb is not None:
            found.insert(0, f"memory at most {self.memory_cap_mb:,} MB")
        if self.time_cap_seconds is not None:
            found.insert(-1, f"time at most {duration_text(self.time_cap_seconds)}")
        return found


def duration_text(seconds: float) -> str:
    """A time as people write it: ``90m``, ``8h``."""
    for unit, size in (("h", 3600), ("m", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"


@lru_cache(maxsize=512)
def parse_policy(text: str, name: str = KEY) -> Policy | None:
    """The policy of a text; None for an empty one. Raises Invalid with every line that cannot be understood."""
    if len(text) > LONGEST_TEXT:
        raise Invalid(Problem(name, f"The rules are longer than {LONGEST_TEXT:,} characters; use fewer of them.",
                              code="bad-recovery-policy"))
    if text.strip() in ("", "None", "none"):
        return None
    reader = _Reader(name)
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), 1):
        for statement in _statements(line):
            reader.read(statement, number)
    return reader.policy()


def _statements(line: str) -> Iterator[str]:
    """The statements of a line, which may hold several with ; between; what is quoted stays together."""
    start, quoted = 0, False
    for place, letter in enumerate(line):
        quoted ^= letter == '"'
        if letter == ";" and not quoted:
            yield line[start:place]
            start = place + 1
    yield line[start:]


class _Wrong(Exception):
    """What is wrong with a statement and what to write instead."""


@dataclass(slots=True)
class _Words:
    """The words of one statement, taken one after the other."""

    tokens: list[tuple[str, str]]
    at: int = 0

    @staticmethod
    def of(text: str) -> _Words:
        tokens, place, text = [], 0, text.rstrip()
        while place < len(text):
            match = _TOKEN.match(text, place)
            if match is None:
                raise _Wrong('a quotation mark is not closed; write "text" with one on either side')
            kind = match.lastgroup or ""
            tokens.append((kind, match[kind]))
            place = match.end()
        return _Words(tokens)

    @property
    def rest(self) -> str:
        return " ".join(text for _, text in self.tokens[self.at:])

    def peek(self) -> str:
        """The next word in small letters; "" at the end, and for a quoted text."""
        kind, text = self.tokens[self.at] if self.at < len(self.tokens) else ("", "")
        return "" if kind == "quoted" else text.lower()

    def accept(self, *words: str) -> bool:
        """Take these words if they come next."""
        kinds = [(kind, text.lower()) for kind, text in self.tokens[self.at:self.at + len(words)]]
        if [text for kind, text in kinds if kind != "quoted"] != list(words):
            return False
        self.at += len(words)
        return True

    def value(self, what: str) -> str:
        if self.at >= len(self.tokens) or self.tokens[self.at][0] == "mark":
            raise _Wrong(f"{what} is missing")
        self.at += 1
        return self.tokens[self.at - 1][1]

    def values(self, what: str) -> list[str]:
        found = [self.value(what)]
        while self.accept(","):
            found.append(self.value(what))
        return found


class _Reader:
    """Reads statement by statement and keeps what was understood and what was not."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._problems: list[Problem] = []
        self._rules: list[Rule] = []
        self._caps: dict[str, int] = {}
        self._keys: dict[str, str] = {}
        self._passive = False

    def policy(self) -> Policy:
        everything = next((rule for rule in self._rules if _is_for_all(rule)), None)
        below = self._rules[self._rules.index(everything) + 1:] if everything else []
        if everything and any(not _is_any(rule) for rule in below):
            self._problem(everything.line, f"“{everything.text}” applies to every failure, so those below it never "
                                           "would; move it to the end")
        if not self._rules and not self._problems:
            self._problem(1, f"there is no rule; {_EXAMPLE}, or write None for no rules")
        if len(self._rules) > MOST_RULES:
            self._problem(1, f"there are {len(self._rules)} rules; write {MOST_RULES} at most")
        if self._problems:
            raise Invalid(self._problems)
        return Policy(tuple(self._rules), self._caps.get("memory"), self._caps.get("time"),
                      self._caps.get("attempts", DEFAULT_ATTEMPTS), self._passive, tuple(self._keys.items()))

    def read(self, statement: str, line: int) -> None:
        if not statement.strip():
            return
        try:
            self._statement(_Words.of(statement), line)
        except _Wrong as wrong:
            self._problem(line, f"{wrong}, in “{_short(statement)}”")

    def _problem(self, line: int, message: str) -> None:
        self._problems.append(Problem(self._name, f"Line {line} of the rules: {message}.", code="bad-recovery-policy"))

    def _statement(self, words: _Words, line: int) -> None:
        if words.accept("when"):
            self._rules.append(_rule(words, _alternatives(words), line))
        elif words.accept("otherwise"):
            self._rules.append(_rule(words, ((Condition("any"),),), line))
        elif words.accept("passive"):
            self._passive = True
        elif words.peek() in (*_RESOURCES, "attempts"):
            self._limit(words, words.value("a limit").lower())
        else:
            raise _Wrong(f"a line begins with when, otherwise, passive, memory, time, files, sites or attempts; "
                         f"{_EXAMPLE}")
        if words.rest:
            raise _Wrong(f"“{_short(words.rest)}” is not understood there; {_EXAMPLE}")

    def _limit(self, words: _Words, what: str) -> None:
        if what in _RESOURCES and words.accept("with"):
            self._keys[what] = words.value("the launch parameter, such as -Osubmit.memory=,")
            return
        if what not in ("memory", "time", "attempts") or not words.accept("at", "most"):
            raise _Wrong(f"write “{what} at most AMOUNT” or “{what} with PARAMETER=”" if what in ("memory", "time")
                         else "write “attempts at most 3”" if what == "attempts"
                         else f"write “{what} with PARAMETER=”")
        text = words.value("an amount")
        self._caps[what] = _count(text) if what == "attempts" else int(_amount(what, text))


def _is_any(rule: Rule) -> bool:
    return any(group == (Condition("any"),) for group in rule.alternatives)


def _is_for_all(rule: Rule) -> bool:
    """Whether it takes every failure, as long as the file may be recovered at all."""
    return _is_any(rule) and rule.times is None and not any(
        action.doing in ("memory", "time", "files") for action in rule.actions)


def _alternatives(words: _Words) -> tuple[tuple[Condition, ...], ...]:
    found, group = [], [_condition(words)]
    while True:
        if words.accept("and"):
            group.append(_condition(words))
        elif words.accept("or"):
            found.append(tuple(group))
            group = [_condition(words)]
        else:
            return (*found, tuple(group))


def _condition(words: _Words) -> Condition:
    kind = words.value("a condition").lower()
    if kind == "any":
        return Condition("any")
    if kind in _NUMBERED:
        return Condition(kind, ranges=tuple(_range(text, kind) for text in words.values(f"a number after {kind}")))  # type: ignore[arg-type]
    if kind in ("message", "site"):
        return Condition(kind, patterns=tuple(words.values(f"a text after {kind}")))  # type: ignore[arg-type]
    if kind == "file":
        states = [text.lower() for text in words.values("a state after file")]
        for state in states:
            if state not in FILE_STATES:
                raise _Wrong(f"“{_short(state)}” is no state of a file; write {', '.join(FILE_STATES)}")
        return Condition("file", patterns=tuple(states))
    raise _Wrong(f"“{_short(kind)}” is no condition; write {', '.join(_CONDITIONS[:-1])} or any")


def _range(text: str, kind: str) -> tuple[int, int]:
    match = _RANGE.fullmatch(text)
    low, high = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    if low > high:
        raise _Wrong(f"“{_short(text)}” is no number for {kind}; write one such as 34, or a range such as 65-69")
    return low, high


def _rule(words: _Words, alternatives: tuple[tuple[Condition, ...], ...], line: int) -> Rule:
    if not words.accept(":"):
        raise _Wrong("a colon is missing between the conditions and what is to be done")
    actions = [_action(words)]
    while words.accept("and"):
        actions.append(_action(words))
    doings = [action.doing for action in actions]
    if len(doings) > 1 and (set(doings) & {"stop", "give up"} or len(set(doings)) < len(doings)):
        raise _Wrong("stop and give up stand alone, and nothing is said twice")
    times = None
    if words.accept(",", "at", "most") or words.accept("at", "most"):
        times = _count(words.value("a number"))
        if not (words.accept("times") or words.accept("time")):
            raise _Wrong("write “at most 3 times”")
    return Rule(alternatives, tuple(actions), times, line)


def _action(words: _Words) -> Action:
    if words.accept("give", "up"):
        return Action("give up")
    if words.accept("other", "site"):
        return Action("site")
    doing = words.value("what is to be done").lower()
    if doing in ("retry", "stop"):
        return Action(doing)  # type: ignore[arg-type]
    if doing in ("memory", "time"):
        return _growth(doing, words.value(f"x1.5, or an amount with + before it, after {doing},"))
    if doing == "files":
        text = words.value("a divisor such as /2 after files")
        match = re.fullmatch(r"/(\d{1,3})", text)
        if not match or int(match[1]) < 2:
            raise _Wrong(f"“{_short(text)}” is no divisor; write for example “files /2” for half as many in each job")
        return Action("files", factor=1 / int(match[1]))
    raise _Wrong(f"“{_short(doing)}” is nothing that can be done; write retry, memory x1.5, time x2, files /2, "
                 "other site, stop or give up")


def _growth(doing: str, text: str) -> Action:
    factor = _FACTOR.fullmatch(text)
    if factor:
        if not 1 < float(factor[1]) <= 100:
            raise _Wrong(f"“{text}” does not make it more; write a factor above 1 and up to 100, such as x1.5")
        return Action(doing, factor=float(factor[1]))  # type: ignore[arg-type]
    if text.startswith("+"):
        return Action(doing, add=_amount(doing, text[1:]))  # type: ignore[arg-type]
    raise _Wrong(f"“{_short(text)}” does not say how much more; write x1.5, or "
                 + ("+500MB" if doing == "memory" else "+4h"))


def _amount(what: str, text: str) -> float:
    try:
        amount = memory_in_mb(text) if what == "memory" else lifetime_in_seconds(text)
    except Invalid:
        amount = 0
    if not 0 < amount < 2**31:
        raise _Wrong(f"“{_short(text)}” is no amount of {what}; write "
                     + ("8GB or 2000MB" if what == "memory" else "8h or 90m"))
    return amount


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,3}", text) or int(text) < 1:
        raise _Wrong(f"“{_short(text)}” is no number of attempts; write 1 or more, such as 3")
    return int(text)


def _quoted(text: str) -> str:
    return text if re.fullmatch(r'[^\s:,";]+', text) and text.lower() not in ("and", "or") else f'"{text}"'


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 60 else text[:57] + "..."


def matches(pattern: str, text: str) -> bool:
    """Whether a text is like a pattern with ``*`` for anything, in whatever case; linear in both."""
    pieces = [piece.casefold() for piece in pattern.split("*")]
    text = text.casefold()
    first, last = pieces[0], pieces[-1]
    if len(pieces) == 1:
        return text == first
    if not text.startswith(first) or not text.endswith(last) or len(text) < len(first) + len(last):
        return False
    return _in_order(pieces[1:-1], text[len(first):len(text) - len(last)])


def _in_order(pieces: Sequence[str], text: str) -> bool:
    place = 0
    for piece in pieces:
        place = text.find(piece, place)
        if place < 0:
            return False
        place += len(piece)
    return True
