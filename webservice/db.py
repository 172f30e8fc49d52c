"""The database: engine, and the two ways to use it, ``read()`` and ``write()``.

A service function is one unit of work; commits happen here only, and no network call is made
while a transaction is open. On SQLite a write takes the write lock at once (BEGIN IMMEDIATE),
so that two processes queue up instead of failing when a read turns into a write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import ColumnElement, Engine, and_, create_engine, event, not_, or_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

SQLITE_BUSY_SECONDS = 30
_LAST = "poms_last_work"


def make_engine(url: str, *, pool_size: int = 10, echo: bool = False) -> Engine:
    """An engine for SQLite or PostgreSQL, with the connection settings that POMS relies on."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        engine = create_engine(parsed, echo=echo, connect_args={"timeout": SQLITE_BUSY_SECONDS})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    return create_engine(
        parsed, echo=echo, pool_size=pool_size, max_overflow=pool_size, pool_pre_ping=True,
        connect_args={"options": "-c timezone=UTC -c lock_timeout=30000 -c idle_in_transaction_session_timeout=60000",
                      "connect_timeout": 5},
    )


def _prepare_sqlite(connection, _record) -> None:
    # The driver's own transaction handling is switched off: it would begin too late.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    # FULL: what was acknowledged survives a power cut, not only a crash of POMS.
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute(f"PRAGMA busy_timeout={SQLITE_BUSY_SECONDS * 1000}")
    cursor.close()


def _begin_sqlite(connection) -> None:
    writing = connection.get_execution_options().get("poms_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


class Database:
    """Sessions on one engine. ``read()`` never commits; ``write()`` commits once, at its end."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._writing = engine.execution_options(poms_write=True)

    @property
    def is_postgresql(self) -> bool:
        return self.engine.dialect.name == "postgresql"

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session for reading; everything it loaded stays usable after it is closed."""
        with Session(self.engine, expire_on_commit=False, autoflush=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One unit of work: committed if the block ends, rolled back if it raises."""
        with Session(self._writing, expire_on_commit=False) as session, session.begin():
            yield session
            for work in session.info.pop(_LAST, {}).values():
                work(session)

    def close(self) -> None:
        self.engine.dispose()


def before_commit(session: Session, name: str, work: Callable[[Session], None]) -> None:
    """Do ``work`` last of all in this unit of work; a second one of the same name takes the first one's place.

    For rows that many transactions change, such as sums: locked late, in one order, they block nobody for long.
    """
    session.info.setdefault(_LAST, {})[name] = work


def upsert(session: Session, table, rows: list[dict], keys: list[str], *, only_if_changed: bool = False,
           unless: ColumnElement[bool] | None = None) -> int:
    """Insert rows, or update those whose key exists; one statement for all of them.

    ``only_if_changed`` leaves identical rows alone, so that nothing is written that did not change;
    ``unless`` leaves rows alone for which it holds as they are.
    Returns the number of rows inserted or changed.
    """
    if not rows:
        return 0
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    table = getattr(table, "__table__", table)
    statement = dialect.insert(table)
    updated = {name: statement.excluded[name] for name in rows[0] if name not in keys}
    where = None
    if only_if_changed:
        where = or_(*(table.c[name].is_distinct_from(value) for name, value in updated.items()))
    if unless is not None:
        where = not_(unless) if where is None else and_(where, not_(unless))
    statement = statement.on_conflict_do_update(index_elements=keys, set_=updated, where=where)
    return session.connection().execute(statement, rows).rowcount


def insert_new(session: Session, table, rows: list[dict]) -> int:
    """Insert rows whose key does not exist yet, and leave the others alone."""
    if not rows:
        return 0
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    statement = dialect.insert(getattr(table, "__table__", table)).on_conflict_do_nothing()
    return session.connection().execute(statement, rows).rowcount
