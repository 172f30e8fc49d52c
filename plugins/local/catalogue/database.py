"""Connections of the catalogue: one engine for a database and process, short transactions only.

``reading`` sees one state of the database and writes nothing; ``writing`` takes SQLite's write lock at
once, so that a transaction never finds in its middle that another was first. Whatever the database
cannot do is ``BackendUnavailable``: never an empty answer.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from poms.webservice.errors import BackendUnavailable

BUSY_SECONDS = 30
# How often SQLite looks at its time limit, in steps of its machine: every few milliseconds.
SQLITE_STEPS = 20_000
# PostgreSQL's SQLSTATE of a statement that was stopped.
QUERY_CANCELED = "57014"


class QueryLimit(BackendUnavailable):
    """A query took longer than it may; asking again as it stands will not help."""


_engines: dict[tuple[int, str], Engine] = {}
_lock = threading.Lock()


def engine_for(url: str) -> Engine:
    """The engine of this process for a database; made when it is first asked for."""
    # A forked process must not talk over its parent's connections.
    key = (os.getpid(), url)
    with _lock:
        if key not in _engines:
            _engines[key] = _make_engine(url)
        return _engines[key]


def _make_engine(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        engine = create_engine(parsed, pool_size=10, max_overflow=20)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    return create_engine(parsed, pool_size=5, max_overflow=20, pool_pre_ping=True)


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA foreign_keys=ON")


def _begin_sqlite(connection: Connection) -> None:
    writing = connection.get_execution_options().get("catalogue_writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


@contextmanager
def reading(engine: Engine, *, limit_seconds: float = 0) -> Iterator[Connection]:
    """A transaction that only reads; a statement over the limit ends as BackendUnavailable."""
    with _named_failure(limit_seconds), engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        with connection.begin(), _time_limit(connection, limit_seconds):
            yield connection


@contextmanager
def writing(engine: Engine, *, limit_seconds: float = 0) -> Iterator[Connection]:
    """A transaction that changes something: committed at the end, undone by any exception."""
    with _named_failure(limit_seconds), engine.connect() as connection:
        connection.execution_options(catalogue_writing=True)
        with connection.begin(), _time_limit(connection, limit_seconds):
            yield connection


@contextmanager
def _time_limit(connection: Connection, seconds: float) -> Iterator[None]:
    if seconds <= 0:
        yield
        return
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = {int(seconds * 1000)}")
        yield
        return
    until = time.monotonic() + seconds
    driver: Any = connection.connection.driver_connection
    driver.set_progress_handler(lambda: time.monotonic() > until, SQLITE_STEPS)
    try:
        yield
    finally:
        driver.set_progress_handler(None, 0)


@contextmanager
def _named_failure(limit_seconds: float) -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        reason = str(error.orig).strip()
        if reason == "interrupted" or getattr(error.orig, "pgcode", "") == QUERY_CANCELED:
            raise QueryLimit(
                f"query limit: the catalogue stopped a query after {limit_seconds:g} s; ask for fewer files at a time"
            ) from error
        raise BackendUnavailable(f"the catalogue's database failed: {reason}") from error
    except SQLAlchemyError as error:
        raise BackendUnavailable(f"the catalogue's database cannot be used: {error}") from error
