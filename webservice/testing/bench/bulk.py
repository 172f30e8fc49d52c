"""Rows in bulk into a database: ``COPY`` on PostgreSQL, ``executemany`` on SQLite.

For made-up data only: foreign keys are not checked while it loads, so the maker of the rows must be right.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import JSON, Connection, Engine, Integer, Table, func, insert, select, text, update

from poms.webservice.model import StageStatusCount
from poms.webservice.rules.statuses import Status

_PIECE = 20_000
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})

Row = Sequence[Any]


@contextmanager
def loading(engine: Engine) -> Iterator[Loader]:
    """Load rows in one transaction; afterwards counters and statistics are right."""
    with engine.execution_options(poms_write=True).begin() as connection:
        loader = Loader(connection)
        if loader.is_postgresql:
            connection.execute(text("SET LOCAL synchronous_commit = off"))
            if connection.execute(text("SELECT usesuper FROM pg_user WHERE usename = current_user")).scalar():
                connection.execute(text("SET LOCAL session_replication_role = replica"))
        yield loader
        loader.set_counters()
    refresh_statistics(engine)


def refresh_statistics(engine: Engine) -> None:
    """What a database that has been running for a while has done by itself: vacuum and statistics."""
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE"))
        return
    with engine.begin() as connection:
        connection.execute(text("ANALYZE"))


class Loader:
    """Takes rows of a table as tuples in the order of ``columns``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._touched: set[Table] = set()
        self.is_postgresql = connection.dialect.name == "postgresql"
        if connection.dialect.name == "sqlite":
            connection.execute(text("PRAGMA defer_foreign_keys = ON"))

    def load(self, table: Any, columns: Sequence[str], rows: Iterable[Row]) -> int:
        """Store all rows; returns their number."""
        table = getattr(table, "__table__", table)
        self._touched.add(table)
        documents = [isinstance(table.c[name].type, JSON) for name in columns]
        left, count = iter(rows), 0
        while piece := list(islice(left, _PIECE)):
            if self.is_postgresql:
                self._copy(table, columns, documents, piece)
            else:
                self._connection.execute(insert(table), [dict(zip(columns, row, strict=True)) for row in piece])
            count += len(piece)
        return count

    def _copy(self, table: Table, columns: Sequence[str], documents: Sequence[bool], rows: Sequence[Row]) -> None:
        lines = "".join(line_of(row, documents) for row in rows)
        names = ", ".join(f'"{name}"' for name in columns)
        with self._connection.connection.cursor() as cursor:
            cursor.copy_expert(f'COPY "{table.name}" ({names}) FROM STDIN', io.StringIO(lines))

    def highest(self, column: Any) -> int:
        """The largest number in use."""
        return int(self._connection.execute(select(func.coalesce(func.max(column), 0))).scalar_one())

    def add_to_status_counts(self, status: Status, by_stage: Mapping[int, int]) -> None:
        """What the transaction that made the submissions would have added to the sums of their stages."""
        table = StageStatusCount.__table__
        for stage, by in by_stage.items():
            changed = self._connection.execute(
                update(table).where(table.c.campaign_stage_id == stage, table.c.status_id == int(status))
                .values(submissions=table.c.submissions + by)).rowcount
            if not changed:
                self._connection.execute(insert(table).values(campaign_stage_id=stage, status_id=int(status),
                                                              submissions=by))

    def set_counters(self) -> None:
        """Rows that come later are numbered after those that were loaded with numbers."""
        if not self.is_postgresql:
            return
        for table in self._touched:
            for column in table.primary_key:
                if isinstance(column.type, Integer) and column is table.autoincrement_column:
                    self._connection.execute(
                        text(f"SELECT setval(pg_get_serial_sequence(:table, :column), max({column.name})) "
                             f"FROM {table.name}"), {"table": table.name, "column": column.name})


def line_of(row: Row, documents: Sequence[bool]) -> str:
    """A row as a line of PostgreSQL's text format for COPY."""
    return "\t".join([_text(value, document) for value, document in zip(row, documents, strict=True)]) + "\n"


def _text(value: Any, document: bool) -> str:
    if value is None:
        return "\\N"
    if document:
        return json.dumps(value).translate(_ESCAPES)
    if isinstance(value, str):
        return value.translate(_ESCAPES)
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)
