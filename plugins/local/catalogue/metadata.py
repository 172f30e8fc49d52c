"""SAM metadata: a JSON object checked and taken apart into columns, and put together again.

No database here. Every mistake of a record is reported at once, each with the name of its member.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from poms.webservice.errors import Invalid, Problem

from . import conditions
from .language import LARGEST
from .vocabulary import DIMENSIONS

MAX_NAME = 255
MAX_TEXT = 4000
NO_NAME = re.compile(r"[\x00-\x1f\x7f\u2028\u2029\ud800-\udfff]")
# What a query can name: a category, a dot, a name.
PARAMETER = re.compile(r"[a-z][a-z0-9_+-]*(\.[a-z0-9_+-]+)+")
TEXTS = {
    "file_type": "file_type", "file_format": "file_format", "content_status": "content_status", "group": "group_name",
    "user": "user_name", "data_tier": "data_tier", "data_stream": "data_stream",
}
NUMBERS = {name: name for name in ("file_size", "event_count", "first_event", "last_event", "file_partition",
                                   "process_id")}
TIMES = {"start_time": "started_at", "end_time": "ended_at", "create_date": "created_at"}
STRUCTURES = ("application", "checksum", "parents", "runs")
# The catalogue's own members: in what it returns, and passed over when that is sent back.
OWN = ("file_id", "update_date", "update_user", "create_user", "retired_date", "locations")
MEMBERS = ("file_name", *TEXTS, *NUMBERS, *TIMES, *STRUCTURES)


class BadName(ValueError):
    """The text cannot be a name here; the message says why."""


def checked_name(text: Any, what: str) -> str:
    """The name, if it can stand in a list of one name a line. Quotes, blanks and slashes are ordinary characters."""
    if not isinstance(text, str) or not text.strip():
        raise BadName(f"{what} must be a text that is not empty")
    if len(text) > MAX_NAME:
        raise BadName(f"{what} has {len(text)} characters, at most {MAX_NAME} are allowed")
    if NO_NAME.search(text):
        raise BadName(f"{what} {text!r} has a line break, control character or half a character in it")
    return text


@dataclass
class Record:
    """What a metadata object says. A member that is None in a change is removed; absent ones stay."""

    file_name: str
    columns: dict[str, Any] = field(default_factory=dict)
    checksums: list[str] | None = None
    parents: list[str | int] | None = None
    runs: list[tuple[int, int | None, str | None]] | None = None
    parameters: dict[str, Any] = field(default_factory=dict)


class _Reader:
    """Reads one object and collects what is wrong with it."""

    def __init__(self, item: Mapping[str, Any]) -> None:
        self._item = item
        self.problems: list[Problem] = []

    def wrong(self, member: str, message: str) -> None:
        self.problems.append(Problem(member, message, code="metadata"))

    def record(self, *, name: str | None) -> Record:
        file_name = self._item.get("file_name", name)
        try:
            checked_name(file_name, "file_name")
        except BadName as problem:
            self.wrong("file_name", str(problem))
        record = Record(file_name if isinstance(file_name, str) else "")
        for member, value in self._item.items():
            self._member(record, member, value)
        return record

    def _member(self, record: Record, member: str, value: Any) -> None:
        if member in TEXTS:
            record.columns[TEXTS[member]] = self._text(member, value)
        elif member in NUMBERS:
            record.columns[NUMBERS[member]] = self._number(member, value)
        elif member in TIMES:
            record.columns[TIMES[member]] = self._time(member, value)
        elif member == "application":
            record.columns.update(self._application(value))
        elif member == "checksum":
            record.checksums = self._checksums(value)
        elif member == "parents":
            record.parents = self._parents(value)
        elif member == "runs":
            record.runs = self._runs(value)
        elif member not in ("file_name", *OWN):
            self._parameter(record, member, value)

    def _text(self, member: str, value: Any) -> str | None:
        if value is None:
            return None
        if not isinstance(value, str | int) or isinstance(value, bool):
            self.wrong(member, f"must be a text, not {value!r}")
            return None
        try:
            return checked_name(str(value), member)
        except BadName as problem:
            self.wrong(member, str(problem))
            return None

    def _number(self, member: str, value: Any) -> int | None:
        if value is None:
            return None
        if isinstance(value, str) and re.fullmatch(r"\s*[0-9]{1,19}\s*", value):
            value = int(value)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= LARGEST:
            self.wrong(member, f"must be a whole number, 0 or more, not {value!r}")
            return None
        return value

    def _time(self, member: str, value: Any) -> datetime | None:
        if value is None:
            return None
        found = None
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 253402300800:
            found = datetime.fromtimestamp(value, UTC)
        elif isinstance(value, str):
            parsed = conditions.moment(value)
            found = parsed[0] if parsed else None
        if found is None:
            self.wrong(member, f"must be a time such as 2016-10-01T12:00:00+0000, not {value!r}")
        return found

    def _application(self, value: Any) -> dict[str, str | None]:
        if value is not None and not isinstance(value, dict):
            self.wrong("application", 'must be an object {"family", "name", "version"}')
            return {}
        given = value or {}
        if unknown := [key for key in given if key not in ("family", "name", "version")]:
            self.wrong("application", f"has no member {', '.join(map(repr, unknown))}: only family, name, version")
        return {f"application_{key}": self._text("application", given.get(key))
                for key in ("family", "name", "version")}

    def _checksums(self, value: Any) -> list[str]:
        values = [value] if isinstance(value, str) else value or []
        if not isinstance(values, list) or not all(
                isinstance(each, str) and re.fullmatch(r"[\w.+-]+:[^\s\x00-\x1f]{1,200}", each) for each in values):
            self.wrong("checksum", 'must be a list of "algorithm:value"')
            return []
        return list(dict.fromkeys(values))

    def _parents(self, value: Any) -> list[str | int]:
        found: list[str | int] = []
        for each in value if isinstance(value, list) else [value] if value else []:
            parent = (each.get("file_name") or each.get("file_id")) if isinstance(each, dict) else each
            if isinstance(parent, str | int) and not isinstance(parent, bool) and parent:
                found.append(parent)
            else:
                self.wrong("parents", f'{each!r} is no parent: write {{"file_name": "..."}}')
        return list(dict.fromkeys(found))

    def _runs(self, value: Any) -> list[tuple[int, int | None, str | None]]:
        found: list[tuple[int, int | None, str | None]] = []
        for each in value if isinstance(value, list) else [value] if value else []:
            parts = list(each) if isinstance(each, list | tuple) else [each]
            kind = parts.pop() if parts and isinstance(parts[-1], str) else None
            if not 1 <= len(parts) <= 2 or not all(
                    isinstance(part, int) and not isinstance(part, bool) and 0 <= part <= LARGEST for part in parts):
                self.wrong("runs", f'{each!r} is no run: write [run, "type"] or [run, subrun, "type"]')
                continue
            run = (parts[0], parts[1] if len(parts) == 2 else None, self._text("runs", kind))
            if run not in found:
                found.append(run)
        return found

    def _parameter(self, record: Record, member: str, value: Any) -> None:
        name = member.lower()
        if not PARAMETER.fullmatch(name) or len(name) > MAX_NAME or name in DIMENSIONS:
            near = difflib.get_close_matches(member, MEMBERS, 1)
            hint = f"did you mean {near[0]}?" if near else "parameters of an experiment are named category.name"
            self.wrong(member, f"is no member of metadata: {hint}")
        elif not (value is None or isinstance(value, str | int | bool)
                  or (isinstance(value, float) and math.isfinite(value))):
            self.wrong(member, f"must be a text or a number, not {type(value).__name__}")
        elif isinstance(value, str) and (len(value) > MAX_TEXT or "\0" in value or not _encodes(value)):
            self.wrong(member, f"must have at most {MAX_TEXT} characters, and none that no text can hold")
        else:
            record.parameters[name] = value


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def read(item: Any, *, name: str | None = None) -> Record:
    """A metadata object for a new file, or (with its name) for a change. Raises Invalid with every problem."""
    if not isinstance(item, dict):
        raise Invalid(Problem("", "metadata must be a JSON object", code="metadata"))
    reader = _Reader(item)
    record = reader.record(name=name)
    if name is None:
        if not reader.problems and set(item) == {"file_name"}:
            reader.wrong("", "a file name alone is not enough: give at least file_size and file_type")
        elif record.columns.get("file_size") is None and "file_size" not in {each.field for each in reader.problems}:
            reader.wrong("file_size", "is missing")
    elif record.file_name != name:
        reader.wrong("file_name", "cannot be changed: declare a new file")
    if reader.problems:
        raise Invalid(reader.problems)
    return record


def parameter_text(value: Any) -> str:
    """How a parameter's value compares as text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else json.dumps(value)


def parameter_number(value: Any) -> float | None:
    """How a parameter's value compares as a number, if it is one: also when it was written as text."""
    text = parameter_text(value)
    if isinstance(value, bool) or (isinstance(value, str) and not conditions.NUMBER.fullmatch(text)):
        return None
    figure = float(text)
    return figure if math.isfinite(figure) else None


def time_text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()


def as_object(row: Mapping[str, Any], *, checksums: Sequence[str], parents: Sequence[Mapping[str, Any]],
              runs: Sequence[Sequence[Any]], parameters: Mapping[str, Any], basic: bool = False) -> dict[str, Any]:
    """A file's metadata as SAM shows them: members without a value are left out."""
    found: dict[str, Any] = {"file_name": row["file_name"], "file_id": row["file_id"],
                             "create_date": time_text(row["created_at"]), "update_date": time_text(row["updated_at"]),
                             "create_user": row["user_name"], "update_user": row["update_user"]}
    found |= {member: row[column] for member, column in (TEXTS | NUMBERS).items()}
    found |= {member: time_text(row[column]) for member, column in TIMES.items() if row[column]}
    if row["retired_at"]:
        found["retired_date"] = time_text(row["retired_at"])
    application = {key: row[f"application_{key}"] for key in ("family", "name", "version")}
    if any(application.values()):
        found["application"] = application
    if not basic:
        found |= {"checksum": list(checksums), "parents": list(parents), "runs": [list(run) for run in runs]}
        found |= parameters
    return {member: value for member, value in found.items() if value is not None and value != []}


def as_text(item: Mapping[str, Any]) -> str:
    """The same for people: one member a line."""
    width = max(len(member) for member in item) + 1
    lines = []
    for member, value in item.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {each}" for key, each in value.items() if each is not None)
        elif isinstance(value, list):
            value = "; ".join(each["file_name"] if isinstance(each, dict) and "file_name" in each else
                              " ".join(map(str, each)) if isinstance(each, list) else str(each) for each in value)
        lines.append(f"{member.replace('_', ' ').title():>{width}}: {value}")
    return "\n".join(lines) + "\n"
