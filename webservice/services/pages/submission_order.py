"""In which order a list of submissions is, and where a page of it begins: by one column, and by number among equals.

By number an index gives the order. The other columns change with every report of jobs, too often to keep each in
an index of its own: by them, the newest ``MOST`` that fit are put in order. A page's place is a row's value and number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, select, tuple_
from sqlalchemy.orm import aliased

from poms.webservice.errors import Invalid
from poms.webservice.model import Submission

MOST = 20_000
NUMBER = "submission"

COLUMNS: dict[str, Callable[[Any], Any]] = {
    NUMBER: lambda row: row.submission_id, "state": lambda row: row.status_id, "jobs": lambda row: row.jobs_expected,
    "failed": lambda row: row.jobs_failed, "files_in": lambda row: func.coalesce(row.files_consumed, 0),
    "files_located": lambda row: func.coalesce(row.files_located, 0), "changed": lambda row: row.status_since}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page begins: behind (``before``) or ahead of (``after``) a row, which had the value ``at``."""

    before: int | None = None
    after: int | None = None
    at: str = ""


@dataclass(frozen=True, slots=True)
class Order:
    """A column and a direction; newest first if nothing is asked for."""

    name: str = NUMBER
    descending: bool = True

    @classmethod
    def of(cls, sort: str) -> Order:
        """As addresses write it, ``failed`` or ``-failed``; newest first for anything else."""
        name = sort.removeprefix("-")
        return cls(name, sort.startswith("-")) if name in COLUMNS else cls()

    @property
    def is_by_number(self) -> bool:
        return self.name == NUMBER

    @property
    def text(self) -> str:
        """As addresses write it; nothing for what needs no word."""
        return "" if self == Order() else ("-" if self.descending else "") + self.name

    def page(self, query: Select[Any], place: Place, limit: int) -> Select[Any]:
        """The rows of one page, in order; those ahead of a row come with the nearest first. Raises Invalid."""
        by: tuple[Any, ...] = (Submission.submission_id,)
        if not self.is_by_number:
            newest = aliased(Submission, query.order_by(Submission.submission_id.desc()).limit(MOST).subquery())
            query, by = select(newest), (COLUMNS[self.name](newest), newest.submission_id)
        backwards = place.after is not None
        falling = self.descending != backwards
        row = place.after if backwards else place.before
        if row is not None:
            here = tuple_(*by)
            there = (row,) if self.is_by_number else (self._value(place.at), row)
            query = query.where(here < there if falling else here > there)
        return query.order_by(*(column.desc() if falling else column.asc() for column in by)).limit(limit)

    def place_of(self, row: Submission) -> dict[str, Any]:
        """What an address must say, besides the row's number, to begin at a row."""
        value = {"submission": None, "state": row.status_id, "jobs": row.jobs_expected, "failed": row.jobs_failed,
                 "files_in": row.files_consumed or 0, "files_located": row.files_located or 0,
                 "changed": row.status_since}[self.name]
        if value is None:
            return {}
        return {"at": value.isoformat() if isinstance(value, datetime) else str(value)}

    def _value(self, text: str) -> Any:
        try:
            if self.name == "changed":
                value = datetime.fromisoformat(text)
                if value.tzinfo is None:
                    raise ValueError("no time zone")
                return value
            return int(text)
        except ValueError:
            raise Invalid("This place in the list is not understood; open the list again.", field="at") from None
