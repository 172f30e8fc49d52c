"""Structured logging: one line per record, ``key=value`` or JSON, fields given by ``extra=``.

A record is always exactly one line: control characters and Unicode line ends are escaped, so no
text from outside can forge a second record. Secrets are taken out before a line is written:
values announced by ``hide``, fields with telling names, and what looks like a credential.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from functools import lru_cache
from typing import TextIO

FORMATS = ("logfmt", "json")
HIDDEN = "[hidden]"
SHORTEST_SECRET = 8
# Libraries that report each of their steps as news.
TALKATIVE = ("alembic", "urllib3", "cherrypy.access")

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_TELLING = re.compile(r"(?i)passw|secret|token|authori[sz]ation|cookie|credential|api_?key|private_?key")
_CREDENTIALS = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)", re.S), HIDDEN),
    (re.compile(r"(?i)\b(bearer|basic)(\s+)[A-Za-z0-9._~+/=-]{8,}"), rf"\1\2{HIDDEN}"),
    (re.compile(r"\beyJ[\w-]{5,}\.[\w-]+(?:\.[\w-]*)?"), HIDDEN),
    (re.compile(r"(://[^\s:/@]*:)[^\s/@]+@"), rf"\1{HIDDEN}@"),
    (re.compile(r"(?i)\b([\w-]*(?:passw(?:or)?d|secret|token|api_?key)[\"']?=[\"']?)[^\s\"'&;,]+"), rf"\1{HIDDEN}"),
    (re.compile(r"(?i)([\"'][\w-]*(?:passw(?:or)?d|secret|token|api_?key)[\"']\s*:\s*[\"'])[^\"']+"), rf"\1{HIDDEN}"),
)
# One of these is in every text that any of the patterns matches.
_MARKS = ("private key", "bearer", "basic", "eyj", "://", "passw", "secret", "token", "apikey", "api_key")
_AS_THEY_ARE = (str, int, float, bool, type(None))
# Bare words may stand in logfmt without quotes; everything else is quoted and escaped.
_PLAIN = re.compile(r"[A-Za-z0-9_.:/@%+,\-\[\]()*#<>]+")
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")

_hidden_values: set[str] = set()


def hide(value: str) -> None:
    """Never write this text to the log from now on; short texts are left alone, they would match anywhere."""
    if len(value) >= SHORTEST_SECRET:
        _hidden_values.add(value)


def scrub(text: str) -> str:
    """``text`` without secrets."""
    for value in _hidden_values:
        text = text.replace(value, HIDDEN)
    if _is_suspect(text):
        for pattern, replacement in _CREDENTIALS:
            text = pattern.sub(replacement, text)
    return text


def _is_suspect(text: str) -> bool:
    """Whether any of the patterns could match; quick, as most lines of a log have nothing of it."""
    folded = text.casefold()
    return any(mark in folded for mark in _MARKS)


def one_line(text: str) -> str:
    """``text`` with everything escaped that could end a line or steer a terminal."""
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text.replace("\r", "\\r").replace("\n", "\\n"))


def _fields(record: logging.LogRecord) -> dict[str, object]:
    """The record's own facts first, then the fields of ``extra`` in alphabetical order."""
    fields: dict[str, object] = {
        "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": record.getMessage(),
    }
    given = vars(record)
    for name in _extra_names(tuple(given)):
        fields[name] = HIDDEN if _is_telling(name) else given[name]
    return fields


@lru_cache(1000)
def _extra_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """What ``extra=`` added to a record; lines of the same kind have the same names."""
    return tuple(sorted(set(names) - _STANDARD))


@lru_cache(1000)
def _is_telling(name: str) -> bool:
    return _TELLING.search(name) is not None


@lru_cache(1000)
def _field_name(name: str) -> str:
    return one_line(name)


def _plain_values(fields: dict[str, object]) -> dict[str, object]:
    """Numbers as they are and everything else as text, without secrets."""
    values = {_field_name(name): value if isinstance(value, _AS_THEY_ARE) else str(value)
              for name, value in fields.items()}
    text = "\n".join(value for value in values.values() if isinstance(value, str))
    if not _is_suspect(text) and not any(hidden in text for hidden in _hidden_values):
        return values
    return {name: scrub(value) if isinstance(value, str) else value for name, value in values.items()}


class LineFormatter(logging.Formatter):
    """Turns a record into one line of ``logfmt`` or ``json``."""

    def __init__(self, form: str = "logfmt") -> None:
        super().__init__()
        self._form = form

    def format(self, record: logging.LogRecord) -> str:
        fields = _plain_values(_fields(record))
        if record.exc_info:
            fields["traceback"] = scrub(self.formatException(record.exc_info))
        if self._form == "json":
            return json.dumps(fields)
        return " ".join(f"{name}={self._quoted(value)}" for name, value in fields.items())

    @staticmethod
    def _quoted(value: object) -> str:
        text = str(value)
        if _PLAIN.fullmatch(text):
            return text
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{one_line(escaped)}"'


def configure(*, level: str = "INFO", form: str = "logfmt", stream: TextIO | None = None) -> None:
    """Send every record of this process to ``stream`` (standard error) in one form."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(LineFormatter(form))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
