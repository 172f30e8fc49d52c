"""Lists as files: everything that the filter of a list lets through, not only the page that is shown.

Read in pieces while it is sent, so that no transaction and no memory grows with it. What may be seen was
checked by the caller. All columns are there, whichever of them a person sees on the page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from poms.webservice.rules.permissions import Actor
from poms.webservice.services.core import Core
from poms.webservice.services.pages import blocks, campaigns, launches, people, submissions, tags
from poms.webservice.services.pages.common import Url

MOST = 100_000
"""Rows of one file."""

PIECE = 500

# For each list: what a column of the file is called, and how it is taken from a row of the page.
Take = Callable[[Mapping[str, Any]], Any]


def _same(*names: str) -> dict[str, Take]:
    return {name: lambda row, name=name: row[name] for name in names}


def _counts(*states: str) -> dict[str, Take]:
    return {f"jobs_{state.lower()}": lambda row, state=state: row["counts"].get(state, 0) for state in states}


_COLUMNS: Mapping[str, Mapping[str, Take]] = {
    "campaigns": {
        **_same("id", "name", "active", "tags", "creator"), "role": lambda row: row["made_as"],
        "stages": lambda row: len(row["stages"]),
        **_same("done"), **_counts("Located", "Completed", "Running", "Idle", "Held", "Failed", "Removed"),
        **_same("changed_at")},
    "submissions": {
        **_same("id", "stage", "state", "kind", "kind_text", "batch_id", "dataset", "jobs"),
        **_counts("Located", "Completed", "Running", "Idle", "Held", "Failed", "Removed"),
        **_same("files_in", "files_out", "files_located", "created_at", "creator", "changed_at")},
    "jobs": _same("batch_id", "state", "why", "site", "node", "memory_used_mb", "memory_asked_mb", "cpu_seconds",
                  "wall_seconds", "attempts", "exit_code", "exit_signal", "hold_code", "since"),
    "files": {**_same("name", "state", "size_bytes"), "job": lambda row: row["job_label"],
              "outputs": lambda row: [made["name"] for made in row["outputs"]],
              "located": lambda row: sum(1 for made in row["outputs"] if made["located"])},
    "held_launches": {**_same("id", "campaign", "stage", "reason", "dataset", "asked_by"),
                      "kind": lambda row: row["kind_text"], **_same("created_at")},
    "login_setups": {**_same("id", "name", "host", "account", "setup", "used"),
                     "tested": lambda row: row["test"]["state"] if row["test"] else "",
                     "tested_at": lambda row: row["test"]["at"] if row["test"] else None,
                     **_same("creator", "changed_at")},
    "job_types": _same("id", "name", "script", "parameters", "patterns", "recoveries", "used", "creator", "changed_at"),
    "tags": _same("id", "name", "campaigns", "creator"),
    "people": _same("username", "name", "role", "active", "source", "source_role", "kept", "seen_at", "changed_at",
                    "changed_by"),
}


@dataclass
class Export:
    """A list on its way into a file: the columns, the rows to be walked once, and then whether some are missing."""

    columns: tuple[str, ...]
    rows: Iterator[dict[str, Any]]
    cut: bool = False


def export(core: Core, actor: Actor, url: Url, name: str, **which: Any) -> Export:
    """The list of this name; ``which`` is what its page is asked for, without the place in the list."""
    made = Export(tuple(_COLUMNS[name]), iter(()))
    made.rows = _walk(made, name, _pieces(core, actor, url, name, which))
    return made


def _walk(made: Export, name: str, pieces: Iterable[list[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    count = 0
    for piece in pieces:
        for row in piece:
            if count == MOST:
                made.cut = True
                return
            yield {column: take(row) for column, take in _COLUMNS[name].items()}
            count += 1


def _pieces(core: Core, actor: Actor, url: Url, name: str, which: dict[str, Any]) -> Iterable[list[dict[str, Any]]]:
    match name:
        case "campaigns":
            return campaigns.campaign_pieces(core, actor, url, PIECE, **which)
        case "submissions":
            return submissions.submission_pieces(core, actor, url, submissions.Chosen(**which), PIECE)
        case "jobs":
            return submissions.job_pieces(core, url, size=PIECE, **which)
        case "files":
            return submissions.file_pieces(core, size=PIECE, **which)
        case "held_launches":
            return launches.held_pieces(core, actor, url, PIECE, **which)
        case "tags":
            return tags.tag_pieces(core, actor, url, PIECE, **which)
        case "people":
            return people.people_pieces(core, actor, url, PIECE, **which)
        case _:
            return blocks.block_pieces(core, actor, url, name, PIECE, **which)
