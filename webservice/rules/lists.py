"""The lists of pages: which columns each has, which of them somebody sees, and how a value stands in a CSV file.

Pure. What a list shows of a thing is for ``services.pages``; here is only what its columns are called.
Invariant: no text of a CSV file made here is taken for a formula by a spreadsheet.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Column:
    """One column that may be left out; ``usual``: seen by who has chosen nothing."""

    key: str
    label: str
    usual: bool = True


# The first column of each list, by which its rows are told apart, is always there and not named here.
LISTS: Mapping[str, tuple[Column, ...]] = {
    "campaigns": (
        Column("id", "Id", usual=False), Column("stages", "Stages"), Column("progress", "Progress"),
        Column("running", "Running"), Column("held", "Held"), Column("failed", "Failed"),
        Column("creator", "Creator", usual=False), Column("made_as", "Role", usual=False),
        Column("changed", "Changed")),
    "submissions": (
        Column("state", "State"), Column("batch_id", "Batch id"), Column("jobs", "Jobs"),
        Column("failed", "Failed", usual=False), Column("dataset", "Dataset", usual=False),
        Column("files_in", "Files in"), Column("files_located", "Files located", usual=False),
        Column("created", "Submitted"), Column("changed", "Changed")),
    "jobs": (
        Column("state", "State"), Column("why", "Why"), Column("site", "Site, node"), Column("memory", "Memory"),
        Column("cpu", "CPU time", usual=False), Column("wall", "Wall time"),
        Column("attempts", "Attempts", usual=False), Column("since", "Since")),
    "files": (
        Column("state", "State"), Column("size", "Size"), Column("job", "Job"), Column("outputs", "Outputs")),
    "held_launches": (
        Column("why", "Why it is kept"), Column("dataset", "Dataset"), Column("asked_by", "Asked by"),
        Column("waiting", "Waiting")),
    "login_setups": (
        Column("host", "Host"), Column("account", "Account"), Column("setup", "Setup"), Column("used", "Used by"),
        Column("tested", "Tested"), Column("creator", "Creator", usual=False), Column("changed", "Changed")),
    "job_types": (
        Column("script", "Launch script"), Column("parameters", "Parameters"), Column("patterns", "Output patterns"),
        Column("recoveries", "Recoveries"), Column("used", "Used by"), Column("creator", "Creator", usual=False),
        Column("changed", "Changed")),
    "tags": (Column("campaigns", "Campaigns"), Column("creator", "Made by")),
    "people": (
        Column("name", "Name"), Column("role", "Role"), Column("source", "Comes from"), Column("seen", "Last seen"),
        Column("changed", "Changed"), Column("changed_by", "By")),
}

# A spreadsheet takes a text that begins so for something to be worked out; the wide forms are read as the narrow ones.
_FORMULA = tuple("=+-@\t\r\n＝＋－＠")


def shown_columns(name: str, chosen: Mapping[str, bool]) -> dict[str, bool]:
    """For each column of a list whether it is seen; ``chosen`` holds what differs from the usual."""
    return {column.key: chosen.get(column.key, column.usual) for column in LISTS[name]}


def difference(name: str, seen: Iterable[str]) -> dict[str, bool]:
    """What is kept of a choice of columns: only what differs, so that a new column is seen by everybody."""
    wanted = set(seen)
    return {column.key: column.key in wanted for column in LISTS[name] if (column.key in wanted) != column.usual}


def csv_line(values: Sequence[Any]) -> str:
    """One line of a CSV file; numbers stay numbers, texts are never formulas."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow([_csv_value(value) for value in values])
    return line.getvalue()


def _csv_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        value = "; ".join(str(one) for one in value)
    return defused(value) if isinstance(value, str) else value


def defused(text: str) -> str:
    """The text with an apostrophe before it if a spreadsheet would work it out."""
    return f"'{text}" if text.lstrip(" \u00a0\ufeff").startswith(_FORMULA) or text[:1] in _FORMULA else text
