"""From the texts of a request to typed values; old spellings (``None``, ``True``, ``1``, ``Y``) end here.

Pure. A value that cannot be read is a ``Problem`` that names the field; absent and empty are the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from poms.webservice.errors import Invalid, Problem

BIGGEST_ID = 2**31 - 1
MOST_VALUES = 5000
LONGEST_TEXT = 20_000
LONGEST_ADDRESS = 8_000

_YES = ("1", "true", "t", "yes", "y", "on")
_NO = ("0", "false", "f", "no", "n", "off")
# Control characters, and halves of characters that no encoding can write.
_FORBIDDEN = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_FORBIDDEN_IN_LINES = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_TIMES = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d")


@dataclass(frozen=True)
class Upload:
    """A file that came with a form; ``name`` is only ever shown, never used as a path."""

    name: str
    data: bytes


@dataclass(frozen=True)
class Param:
    """One argument of a route: how it is read, what holds when it is absent, and its JSON schema for programs."""

    read: Callable[[str], Any]
    default: Any = None
    required: bool = False
    many: bool = False
    raw: bool = False
    choices: Sequence[str] = field(default=())
    schema: Mapping[str, Any] = field(default_factory=dict)


_ID = {"type": "integer", "minimum": 1, "maximum": BIGGEST_ID}


def _text_schema(limit: int) -> dict[str, Any]:
    return {"type": "string", "maxLength": limit}


def _digits(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", text, re.ASCII) or int(text) > BIGGEST_ID:
        raise ValueError("expected a whole number")
    return int(text)


def _positive(text: str) -> int:
    value = _digits(text)
    if value == 0:
        raise ValueError("expected a number from 1 on")
    return value


def _number_or_name(text: str) -> int | str:
    return _positive(text) if text.isascii() and text.isdigit() else _plain(200)(text)


def _plain(limit: int, *, lines: bool = False) -> Callable[[str], str]:
    forbidden = _FORBIDDEN_IN_LINES if lines else _FORBIDDEN

    def read(text: str) -> str:
        if len(text) > limit:
            raise ValueError(f"longer than {limit} characters")
        if forbidden.search(text):
            raise ValueError("contains control characters")
        return text

    return read


def _flag(text: str) -> bool:
    if text.lower() in _YES:
        return True
    if text.lower() in _NO:
        return False
    raise ValueError("expected 1 or 0")


def _float(text: str) -> float:
    if not re.fullmatch(r"[+-]?[0-9]{1,12}(\.[0-9]{0,12})?", text, re.ASCII):
        raise ValueError("expected a number")
    return float(text)


def _time(text: str) -> datetime:
    for form in _TIMES:
        try:
            return datetime.strptime(text[:19], form).replace(tzinfo=UTC)
        except ValueError:
            continue
    raise ValueError("expected a time such as 2026-01-31 12:00:00 (UTC)")


def number(default: int | None = None, *, required: bool = False) -> Param:
    """An id: 1 to the largest that the database holds."""
    return Param(_positive, default, required, schema=_ID)


def count(default: int = 0) -> Param:
    """A number from 0 on, such as a place in a list or in a file."""
    return Param(_digits, default, schema={**_ID, "minimum": 0})


def numbers(*, required: bool = False) -> Param:
    """Several ids: a field sent more than once, or separated by commas."""
    return Param(_positive, (), required, many=True, schema={"type": "array", "items": _ID})


def number_or_name(*, required: bool = False) -> Param:
    return Param(_number_or_name, None, required, schema=_text_schema(200))


def text(default: str = "", *, required: bool = False, limit: int = 500) -> Param:
    """One line of text."""
    return Param(_plain(limit), default, required, schema=_text_schema(limit))


def lines(default: str = "", *, limit: int = LONGEST_TEXT) -> Param:
    """Text with line ends, as it was typed."""
    return Param(_plain(limit, lines=True), default, raw=True, schema=_text_schema(limit))


def texts(*, required: bool = False) -> Param:
    """Several texts, one for each time the field was sent."""
    return Param(_plain(500), (), required, many=True, schema={"type": "array", "items": _text_schema(500)})


def paragraphs(*, limit: int = LONGEST_TEXT) -> Param:
    """Several texts with line ends, one for each time the field was sent."""
    return Param(_plain(limit, lines=True), (), many=True, schema={"type": "array", "items": _text_schema(limit)})


def flag(default: bool | None = False) -> Param:
    """A check box or one of the spellings of true and false."""
    return Param(_flag, default, schema={"type": "string", "enum": [*_YES, *_NO]})


def loose_flag() -> Param:
    """A switch for which older programs send all kinds of words, of which only those for yes mean yes."""
    return Param(lambda sent: sent.lower() in (*_YES, "test"), False, schema={"type": "string"})


def real(default: float | None = None) -> Param:
    return Param(_float, default, schema={"type": "number", "minimum": -1e12, "maximum": 1e12})


def moment() -> Param:
    """A time in UTC, to the second."""
    return Param(_time, schema={"type": "string", "examples": ["2026-01-31 12:00:00"]})


def choice(*words: str, default: str = "", required: bool = False) -> Param:
    """One of these words; the first of them is the default if none is given."""
    return Param(_plain(100), default or ("" if required else words[0]), required, choices=words,
                 schema={"type": "string", "enum": list(words)})


def maybe(*words: str) -> Param:
    """One of these words, or nothing."""
    return Param(_plain(100), "", choices=words, schema={"type": "string", "enum": list(words)})


def own_address() -> Param:
    """An address of this service, such as that of the page a form stood on."""
    return Param(_own_address, "", schema=_text_schema(LONGEST_ADDRESS))


def _own_address(text: str) -> str:
    address = _plain(LONGEST_ADDRESS)(text)
    if not re.fullmatch(r"/poms/[!-\[\]-~]*", address, re.ASCII):
        raise ValueError("expected an address of this service, which begins with /poms/")
    return address


def upload(*, required: bool = False) -> Param:
    """A file, or its text typed into a field."""
    return Param(str, None, required, raw=True, schema={"type": "string", "format": "binary"})


def read_all(wanted: Mapping[str, Param], sent: Mapping[str, Any]) -> dict[str, Any]:
    """Typed values of all declared arguments; what was not declared is ignored, as older clients send more.

    Raises Invalid with every problem there is.
    """
    values: dict[str, Any] = {}
    problems: list[Problem] = []
    for name, param in wanted.items():
        try:
            values[name] = _read(param, sent.get(name))
        except _Missing:
            problems.append(Problem(name, "is required", code="required"))
        except ValueError as wrong:
            problems.append(Problem(name, str(wrong), code="malformed"))
    if problems:
        raise Invalid(problems)
    return values


class _Missing(Exception):
    """A required argument is absent."""


def _read(param: Param, sent: Any) -> Any:
    if param.many:
        return _read_many(param, sent)
    if isinstance(sent, list):
        # Check boxes and proxies may send a field twice; twice the same is harmless, anything else is ambiguous.
        if any(isinstance(one, Upload) for one in sent) or len(set(sent)) > 1:
            raise ValueError("came more than once")
        sent = sent[0] if sent else None
    if isinstance(sent, Upload):
        if param.read is not str:
            raise ValueError("expected text, not a file")
        return sent
    if not param.raw and isinstance(sent, str):
        sent = sent.strip()
    if sent is None or sent == "" or (sent == "None" and not param.raw):
        if param.required:
            raise _Missing
        return param.default
    if param.read is str:
        return Upload("", sent.encode("utf-8", "surrogatepass"))
    value = param.read(sent)
    if param.choices and value not in param.choices:
        raise ValueError(f"expected one of {', '.join(param.choices)}")
    return value


def _read_many(param: Param, sent: Any) -> tuple[Any, ...]:
    given = sent if isinstance(sent, list) else [] if sent is None else [sent]
    if any(isinstance(one, Upload) for one in given):
        raise ValueError("expected text, not a file")
    pieces: list[str] = []
    for one in given:
        pieces += one.split(",") if param.read is _positive else [one]
    values = tuple(dict.fromkeys(param.read(piece.strip()) for piece in pieces if piece.strip() not in ("", "None")))
    if len(values) > MOST_VALUES:
        raise ValueError(f"more than {MOST_VALUES} values")
    if param.required and not values:
        raise _Missing
    return values
