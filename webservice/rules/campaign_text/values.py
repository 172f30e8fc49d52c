"""Single values: text of a key to a typed value and back, in the spellings that users' files have.

Reads JSON and, where it can mean only one thing, Python's way of writing lists; evaluates nothing.
Raises ``BadValue`` with the offset of the fault; sections and lines are added by ``reading``.
Invariant: reading what ``*_text`` wrote gives the same value.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

Pairs = tuple[tuple[str, str], ...]

LARGEST_INTEGER = 2**31 - 1
RECOVERY_ALIASES = {"proj_status": "process_status"}

_TRUE = frozenset(("true", "yes", "on", "1", "t", "y"))
_FALSE = frozenset(("false", "no", "off", "0", "f", "n"))
_DEEPEST = 20
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,12}(?:\.[0-9]{0,25})?|\.[0-9]{1,25})(?:[eE][+-]?[0-9]{1,3})?")
# What JSON would let stand in a text, and a campaign text would not.
_ESCAPED = re.compile(r"[\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# Ends of a line after which a shell takes no ";".
_GOES_ON = re.compile(r"(?:[;&|({]|(?:^|[\s;])(?:then|do|else))$")
_WORD = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,15})?|None|True|False|null|true|false")


class BadValue(Exception):
    """A value cannot be read; ``offset`` is where in it, None if it is all of it."""

    def __init__(self, message: str, offset: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset


def is_unset(text: str | None) -> bool:
    """Whether a key is as good as missing: absent, empty, or the word None."""
    return text is None or text.strip() in ("", "None", "none")


# --------------------------------------------------------------------------------------- simple


def boolean(text: str) -> bool:
    word = text.strip().lower()
    if word not in _TRUE and word not in _FALSE:
        raise BadValue(f"'{_short(text)}' is neither True nor False; write one of the two.")
    return word in _TRUE


def integer(text: str) -> int:
    word = text.strip()
    # Python would also take 1_000 and digits of other scripts, which nothing else reads.
    if not re.fullmatch(r"[+-]?[0-9]{1,12}(\.0*)?", word):
        raise BadValue(f"'{_short(text)}' is not a whole number; write digits, such as 1.")
    number = int(word.partition(".")[0])
    if abs(number) > LARGEST_INTEGER:
        raise BadValue(f"{number} is too large; the largest number here is {LARGEST_INTEGER}.")
    return number


def percent(text: str) -> float:
    word = text.strip().removesuffix("%").rstrip()
    if not _NUMBER.fullmatch(word) or not math.isfinite(float(word)):
        raise BadValue(f"'{_short(text)}' is not a number; write one above 0 and up to 100, such as 95.")
    return float(word)


def number_text(number: float) -> str:
    return str(int(number)) if float(number).is_integer() else repr(float(number))


def one_percent(text: str) -> str:
    """File-name patterns with ``%%``, as interpolating parsers wanted it, in today's spelling."""
    return re.sub("%+", "%", text)


def normal_pattern(text: str) -> str:
    """A dependency's pattern as it is written; without one every file counts."""
    return one_percent(text.strip()) or "%"


def pattern_list(text: str) -> tuple[str, ...]:
    """The patterns of a comma list; commas in brackets or quotes belong to a query fragment."""
    pieces = re.findall(r"""(?:\([^()]*\)|'[^']*'|"[^"]*"|[^,])+""", text)
    return tuple(piece.strip() for piece in pieces if piece.strip())


def one_line(text: str) -> str:
    """Shell text on one line: lines joined by ``;`` where the shell needs one, comment lines left out."""
    parts: list[str] = []
    for line in script_lines(text).split("\n"):
        if parts and parts[-1].endswith("\\"):
            parts[-1] = parts[-1][:-1].rstrip()
        elif parts and not _GOES_ON.search(parts[-1]):
            parts[-1] += ";"
        parts.append(line)
    return " ".join(parts)


def script_lines(text: str) -> str:
    """Shell text as it can stand in continuation lines: stripped, without comment and empty lines."""
    lines: list[str] = []
    for line in re.split(r"\r\n|\r|\n", text):
        line = line.strip()
        if lines and line.startswith(";"):
            lines[-1] = f"{lines[-1]} {line}"
        elif line and not (lines and line.startswith("#")):
            lines.append(line)
    return "\n".join(lines)


# ---------------------------------------------------------------------------------------- lists


def load(text: str, *, numbers_as_text: bool = False) -> Any:
    """A JSON value, or the list or dictionary that Python would write in its place."""
    hooks: dict[str, Any] = {"parse_constant": _no_constant}
    if numbers_as_text:
        hooks |= {"parse_int": str, "parse_float": str}
    try:
        value = json.loads(text, **hooks)
    except json.JSONDecodeError as error:
        try:
            value = _Loose(text, numbers_as_text=numbers_as_text).read()
        except BadValue:
            raise BadValue(f"This is not JSON: {_json_fault(error)}.", error.pos) from None
    except (RecursionError, ValueError) as error:
        raise BadValue(f"This JSON cannot be used: {_fault(error)}.") from None
    if re.search(r"\\u(?:[dD][89a-fA-F]|0000)", text):
        _refuse_unwritable(value)
    return value


def _fault(error: Exception) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


def _json_fault(error: json.JSONDecodeError) -> str:
    """What is wrong, in words about the text rather than about the parser."""
    return {"Expecting value": "a value is missing here", "Extra data": "it should end here",
            "Expecting ',' delimiter": "a comma or the closing bracket is missing here",
            "Expecting property name enclosed in double quotes": "a key in double quotes is missing here",
            "Unterminated string starting at": "the text that begins here has no closing quote",
            "Expecting ':' delimiter": "a colon is missing here"}.get(error.msg, error.msg)


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is not a value that can be stored")


def _refuse_unwritable(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False)
    if re.search(r"[\ud800-\udfff]", text) or "\\u0000" in text:
        raise BadValue("The text contains \\u0000 or half of a surrogate pair, which cannot be stored; remove it.")


class _Loose:
    """Reads lists, tuples, dictionaries, strings, numbers and words as Python writes them; no names, no calls."""

    def __init__(self, text: str, *, numbers_as_text: bool) -> None:
        self._text = text
        self._at = 0
        self._numbers_as_text = numbers_as_text

    def read(self) -> Any:
        value = self._value(0)
        self._blanks()
        if self._at != len(self._text):
            raise self._bad("it should end here")
        return value

    def _bad(self, what: str) -> BadValue:
        return BadValue(f"This is not a list: {what}.", self._at)

    def _blanks(self) -> None:
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1

    def _peek(self) -> str:
        self._blanks()
        return self._text[self._at:self._at + 1]

    def _value(self, depth: int) -> Any:
        if depth > _DEEPEST:
            raise self._bad("it is nested too deeply")
        first = self._peek()
        if first in ("[", "("):
            return self._list("]" if first == "[" else ")", depth)
        if first == "{":
            return self._dictionary(depth)
        if first in ("'", '"'):
            return self._string(first)
        return self._word()

    def _list(self, end: str, depth: int) -> list[Any]:
        self._at += 1
        values: list[Any] = []
        while self._peek() != end:
            values.append(self._value(depth + 1))
            self._comma(end)
        self._at += 1
        return values

    def _dictionary(self, depth: int) -> dict[str, Any]:
        self._at += 1
        values: dict[str, Any] = {}
        while self._peek() != "}":
            key = self._value(depth + 1)
            if not isinstance(key, str) or self._peek() != ":":
                raise self._bad("a text and a colon are missing here")
            self._at += 1
            values[key] = self._value(depth + 1)
            self._comma("}")
        self._at += 1
        return values

    def _comma(self, end: str) -> None:
        following = self._peek()
        if following == ",":
            self._at += 1
        elif following != end:
            raise self._bad("a comma or the closing bracket is missing here")

    def _string(self, quote: str) -> str:
        # A backslash could mean one thing to JSON and another to Python: not guessed.
        end = self._text.find(quote, self._at + 1)
        text = self._text[self._at + 1:end]
        if end < 0 or "\\" in text:
            raise self._bad("the text that begins here has no plain end")
        self._at = end + 1
        return text

    def _word(self) -> Any:
        match = _WORD.match(self._text, self._at)
        if not match or re.match(r"\w", self._text[match.end():match.end() + 1]):
            raise self._bad("a value is missing here")
        self._at = match.end()
        word = match.group()
        constants = {"None": None, "null": None, "True": True, "true": True, "False": False, "false": False}
        if word in constants:
            return constants[word]
        if self._numbers_as_text:
            return word
        return float(word) if "." in word else int(word)


def pairs(text: str) -> Pairs:
    """Launch parameters: ``[["key=", "value"], ...]``, also doubly encoded or in one list too many."""
    return to_pairs(load(text, numbers_as_text=True))


def to_pairs(value: Any) -> Pairs:
    value = _unwrap(value)
    if isinstance(value, Mapping):
        value = [[key, item] for key, item in value.items()]
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise BadValue('Parameters are a list of pairs; write [["key=", "value"]].')
    return tuple(_pair(item, number) for number, item in enumerate(value, 1) if item != [])


def _unwrap(value: Any) -> Any:
    """Take off what old programs put around a list: JSON in a string, or a list around the list."""
    for _ in range(4):
        if isinstance(value, str):
            if not value.lstrip().startswith(("[", "{")):
                break
            value = load(value, numbers_as_text=True)
        elif _is_wrapper(value):
            value = value[0]
        else:
            break
    return value


def _is_wrapper(value: Any) -> bool:
    if not isinstance(value, list) or len(value) != 1:
        return False
    inner = value[0]
    if isinstance(inner, str):
        return inner.lstrip().startswith(("[", "{"))
    return isinstance(inner, list) and bool(inner) and all(isinstance(item, list) for item in inner)


def _pair(item: Any, number: int) -> tuple[str, str]:
    if not isinstance(item, list) or not 1 <= len(item) <= 2:
        raise BadValue(f'Element {number} of the list is not a pair; write ["key=", "value"].')
    parts = []
    for part in (*item, "")[:2]:
        if isinstance(part, list | dict):
            raise BadValue(f'Element {number} of the list contains another list; write ["key=", "value"].')
        parts.append("" if part is None else str(part))
    return parts[0], parts[1]


def pairs_text(value: Pairs) -> str:
    return compact([list(pair) for pair in value])


def recoveries(text: str) -> tuple[tuple[str, Pairs], ...]:
    """The order of attempts: ``[["consumed_status", [["key=", "value"]]], ...]``."""
    value = load(text, numbers_as_text=True)
    if isinstance(value, str) or (isinstance(value, list) and len(value) == 1 and _is_wrapped_recoveries(value[0])):
        value = load(value, numbers_as_text=True) if isinstance(value, str) else value[0]
        if isinstance(value, str):
            value = load(value, numbers_as_text=True)
    if not isinstance(value, list):
        if value == {}:
            return ()
        raise BadValue('Recoveries are a list; write [["consumed_status", []]].')
    return tuple(_recovery(item, number) for number, item in enumerate(value, 1))


def _is_wrapped_recoveries(inner: Any) -> bool:
    if isinstance(inner, str):
        return inner.lstrip().startswith("[")
    return isinstance(inner, list) and bool(inner) and all(isinstance(item, list) for item in inner)


def _recovery(item: Any, number: int) -> tuple[str, Pairs]:
    if isinstance(item, str):
        item = [item]
    if not isinstance(item, list) or not 1 <= len(item) <= 2 or not isinstance(item[0], str):
        raise BadValue(f'Element {number} is not a recovery; write ["consumed_status", [["key=", "value"]]].')
    overrides = item[1] if len(item) == 2 else []
    unset = overrides is None or (isinstance(overrides, str) and is_unset(overrides))
    return RECOVERY_ALIASES.get(item[0], item[0]), () if unset else to_pairs(overrides)


def recoveries_text(value: Sequence[tuple[str, Pairs]]) -> str:
    return compact([[kind, [list(pair) for pair in overrides]] for kind, overrides in value])


def json_object(text: str) -> dict[str, Any]:
    value = load(text)
    if isinstance(value, str) and value.lstrip().startswith("{"):
        value = load(value)
    if not isinstance(value, dict):
        raise BadValue('This is a JSON object; write {"key": "value"}.')
    return value


def object_text(value: Mapping[str, Any]) -> str:
    return compact(dict(value))


def compact(value: Any) -> str:
    """JSON on one line, as the text that a key would have: readable letters, control characters escaped."""
    return _ESCAPED.sub(lambda found: f"\\u{ord(found.group()):04x}", json.dumps(value, ensure_ascii=False))


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 40 else text[:37] + "..."
