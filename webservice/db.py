"""The database: engine, and the two ways to use it, ``read()`` and ``write()``.

A service function is one unit of work; commits happen here only, and no network call is made
while a transaction is open. On SQLite a write takes the write lock at once (BEGIN IMMEDIATE),
so that two processes queue up instead of failing when a read turns into a write.
"""

from __future__ import annotations

import select as sockets
import time
from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from itertools import islice, repeat
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    DateTime,
    Engine,
    Executable,
    MetaData,
    String,
    Table,
    and_,
    create_engine,
    event,
    insert,
    not_,
    or_,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, InvalidatePoolError
from sqlalchemy.orm import Session

SQLITE_BUSY_SECONDS = 30
LONGEST_REST_SECONDS = 20
"""A connection that rested longer is asked whether it still works: firewalls forget what is silent."""

_LAST = "poms_last_work"
_KNOWN = "poms_prepared"
_USED_AT = "poms_used_at"
_PIECE = 5_000
_ROWS_AT_A_TIME = 500


def make_engine(url: str, *, pool_size: int = 10, echo: bool = False) -> Engine:
    """An engine for SQLite or PostgreSQL, with the connection settings that POMS relies on."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        engine = create_engine(parsed, echo=echo, hide_parameters=True, connect_args={"timeout": SQLITE_BUSY_SECONDS})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    engine = create_engine(
        parsed, echo=echo, hide_parameters=True, pool_size=pool_size, max_overflow=pool_size,
        connect_args={"options": "-c timezone=UTC -c lock_timeout=30000 -c idle_in_transaction_session_timeout=60000",
                      "connect_timeout": 5},
    )
    _replace_dead_connections(engine)
    return engine


def _replace_dead_connections(engine: Engine) -> None:
    """Let nobody get a connection that the server ended meanwhile, without asking the server each time.

    A server that ends a connection says so: there is something to read. Only then, and after a long rest, is it
    asked; ``pool_pre_ping`` would ask before every unit of work.
    """
    def note_use(connection: Any, record: Any) -> None:
        record.info[_USED_AT] = time.monotonic()
        if connection is not None and connection.autocommit:
            # It was lent to a ``_Direct``, which may have been forgotten without its ``end``.
            connection.autocommit = False

    def require_alive(connection: Any, record: Any, _pooled: Any) -> None:
        used_at = record.info.get(_USED_AT)
        if used_at is not None and not _is_alive(engine, connection, used_at):
            raise InvalidatePoolError

    event.listen(engine, "checkin", note_use)
    event.listen(engine, "checkout", require_alive)


def _is_alive(engine: Engine, connection: Any, used_at: float) -> bool:
    if connection.closed:
        return False
    if time.monotonic() - used_at < LONGEST_REST_SECONDS and not _can_be_read(connection):
        return True
    try:
        return bool(engine.dialect.do_ping(connection))
    except engine.dialect.loaded_dbapi.Error:
        return False


def _can_be_read(connection: Any) -> bool:
    poll = sockets.poll()
    poll.register(connection.fileno(), sockets.POLLIN)
    return bool(poll.poll(0))


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
        # Taking a connection out of the pool costs more than asking it for a row, so some stay out: half of those
        # that the pool keeps.
        self._direct: list[_Direct] = []
        self._most_direct = engine.pool.size() // 2 if self.is_postgresql else 0

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

    def ask(self, prepared: Prepared, **values: Any) -> list[Any]:
        """The rows of a prepared statement that reads: the quickest way to a few of them, without a session."""
        if self.is_postgresql:
            return self.run(prepared, values)
        with self.engine.connect() as connection:
            return list(map(prepared.row, connection.execute(prepared.statement, values)))

    def run(self, prepared: Prepared, values: Mapping[str, Any]) -> list[Any]:
        """A statement that is a unit of work by itself, by PostgreSQL's driver alone; its rows."""
        direct = self._take_direct()
        try:
            with direct.connection.cursor() as cursor:
                if prepared.name not in direct.known:
                    cursor.execute(prepared.preparation)
                    direct.known.add(prepared.name)
                for listener in self.engine.dispatch.before_cursor_execute:
                    listener(None, cursor, prepared.call, values, None, False)
                cursor.execute(prepared.call, values)
                return list(map(prepared.row, cursor.fetchall()))
        except self.engine.dialect.loaded_dbapi.Error as error:
            raise DBAPIError.instance(prepared.name, None, error, self.engine.dialect.loaded_dbapi.Error,
                                      hide_parameters=True, connection_invalidated=bool(direct.connection.closed)
                                      ) from error
        finally:
            self._give_back(direct)

    def _take_direct(self) -> _Direct:
        while self._direct:
            try:
                direct = self._direct.pop()
            except IndexError:  # Another thread was quicker.
                break
            if _is_alive(self.engine, direct.connection, direct.used_at):
                return direct
            direct.pooled.invalidate()
        return _Direct(self.engine.raw_connection())

    def _give_back(self, direct: _Direct) -> None:
        if direct.connection.closed:
            direct.pooled.invalidate()
        elif len(self._direct) < self._most_direct:
            direct.used_at = time.monotonic()
            self._direct.append(direct)
        else:
            direct.end()

    def close(self) -> None:
        while self._direct:
            self._direct.pop().end()
        self.engine.dispose()


class _Direct:
    """A connection of the pool for prepared statements; each of them is a transaction of its own."""

    def __init__(self, pooled: Any) -> None:
        self.pooled, self.connection = pooled, pooled.dbapi_connection
        self.known: set[str] = pooled.info.setdefault(_KNOWN, set())
        self.used_at = time.monotonic()
        self.connection.autocommit = True

    def end(self) -> None:
        """Back into the pool, which gives it to others as they expect it."""
        self.pooled.close()


class Prepared:
    """A statement for what every request asks: PostgreSQL plans it once for each connection.

    Its bind parameters have names and types; values are those that the driver knows by itself: texts, numbers,
    aware times. A JSON document is a text here.
    """

    def __init__(self, name: str, statement: Executable) -> None:
        self.name, self.statement = f"poms_{name}", statement
        dialect = postgresql.dialect(paramstyle="numeric_dollar")
        compiled = statement.compile(dialect=dialect)
        types = [compiled.binds[each].type.dialect_impl(dialect).compile(dialect) for each in compiled.positiontup]
        self.preparation = f"PREPARE {self.name} ({', '.join(types)}) AS {compiled}"
        self.call = f"EXECUTE {self.name} ({', '.join(f'%({each})s' for each in compiled.positiontup)})"
        self.row = namedtuple(name, statement.exported_columns.keys())._make


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
    table = getattr(table, "__table__", table)
    statement = _dialect(session).insert(table)
    columns = [name for name in rows[0] if name not in keys]
    where = _differs(table, statement, columns) if only_if_changed else None
    if unless is not None:
        where = not_(unless) if where is None else and_(where, not_(unless))
    statement = statement.on_conflict_do_update(
        index_elements=keys, set_={name: statement.excluded[name] for name in columns}, where=where)
    return session.connection().execute(statement, rows).rowcount


def upsert_many(session: Session, table, columns: Sequence[str], rows: Iterable[Sequence[Any]], keys: Sequence[str], *,
                unless: Callable[[Any, Any], ColumnElement[bool]] | None = None) -> int:
    """Insert very many rows, or update those whose key exists and that differ; returns how many were written.

    Each key may come once; times are aware. ``unless(stored, new)`` is a condition under which a stored row is left as
    it is. On PostgreSQL the rows come by COPY, and one statement takes over what is new. Rows are best made while they
    are read: millions that last as long as the call keep the interpreter's garbage collection busy.
    """
    table = getattr(table, "__table__", table)
    statement = _dialect(session).insert(table)
    changing = [name for name in columns if name not in keys]
    where = _differs(table, statement, changing)
    if unless is not None:
        where = and_(where, not_(unless(table.c, statement.excluded)))
    change = {"index_elements": keys, "set_": {name: statement.excluded[name] for name in changing}, "where": where}
    connection = session.connection()
    if connection.dialect.name != "postgresql":
        statement = statement.on_conflict_do_update(**change)
        return sum(connection.execute(statement, [dict(zip(columns, row, strict=True)) for row in piece]).rowcount
                   for piece in _pieces(rows))
    arriving = Table(f"arriving_{table.name}", MetaData(), *(Column(name, table.c[name].type) for name in columns),
                     prefixes=["TEMPORARY"])
    arriving.create(connection, checkfirst=False)
    _copy(connection, arriving, columns, rows)
    # In the order of the key, so that two that write the same rows queue up instead of blocking each other.
    ordered = select(arriving).order_by(*(arriving.c[name] for name in keys))
    written = connection.execute(statement.from_select(columns, ordered).on_conflict_do_update(**change)).rowcount
    arriving.drop(connection, checkfirst=False)
    return written


def insert_many(session: Session, table, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> bool:
    """Insert very many rows of which none should be there; False, and nothing is inserted, if one is.

    On PostgreSQL the rows come by COPY, without the detour that ``upsert_many`` needs to find out what differs.
    """
    table = getattr(table, "__table__", table)
    connection = session.connection()
    try:
        with connection.begin_nested():
            if connection.dialect.name == "postgresql":
                _copy(connection, table, columns, rows)
            else:
                for piece in _pieces(rows):
                    connection.execute(insert(table), [dict(zip(columns, row, strict=True)) for row in piece])
    except IntegrityError:
        return False
    return True


def _copy(connection: Connection, table: Table, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    names = ", ".join(f'"{name}"' for name in columns)
    driver = connection.dialect.loaded_dbapi
    with connection.connection.cursor() as cursor:
        try:
            cursor.copy_expert(f'COPY "{table.name}" ({names}) FROM STDIN (ENCODING UTF8)',
                               _CopyFile([table.c[name] for name in columns], rows))
        except driver.Error as error:
            raise DBAPIError.instance(f"COPY {table.name}", None, error, driver.Error, hide_parameters=True) from error


_NULL = "\\N"
_MARKED = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": ""})


class _CopyFile:
    """Rows in COPY's text format, made while they are read: this program and the database work at the same time.

    Column by column, as most columns of many rows need no look at each value.
    """

    def __init__(self, columns: Sequence[Column[Any]], rows: Iterable[Sequence[Any]]) -> None:
        self._rows = iter(rows)
        self._writers = [_writer(column) for column in columns]

    def read(self, _size: int) -> bytes:
        columns = list(zip(*islice(self._rows, _ROWS_AT_A_TIME), strict=True))
        if not columns:
            return b""
        texts = [write(column) for write, column in zip(self._writers, columns, strict=True)]
        # Texts of outside systems: what PostgreSQL cannot store must not keep the other rows from being stored.
        return ("\n".join(map("\t".join, zip(*texts, strict=True))) + "\n").encode("utf-8", "replace")


def _writer(column: Column[Any]) -> Callable[[Sequence[Any]], Iterable[str]]:
    type_ = getattr(column.type, "impl", column.type)
    return _times if isinstance(type_, DateTime) else _texts if isinstance(type_, String) else _numbers


def _numbers(values: Sequence[Any]) -> Iterable[str]:
    if values.count(values[0]) == len(values):  # As most columns of many jobs have it.
        return repeat(_NULL if values[0] is None else str(values[0]), len(values))
    return [_NULL if each is None else str(each) for each in values] if None in values else map(str, values)


def _texts(values: Sequence[str | None]) -> Iterable[str]:
    if None not in values:
        together = "".join(values)
        if not any(mark in together for mark in "\\\t\n\r\0"):
            return values
    return [_NULL if each is None else each.translate(_MARKED) for each in values]


def _times(values: Sequence[datetime | None]) -> Iterable[str]:
    return map(_time_text, values)


@lru_cache(10_000)
def _time_text(value: datetime | None) -> str:
    """Many rows have the same times, and to write a time takes longer than all the rest of a row."""
    if value is None:
        return _NULL
    if value.tzinfo is None:
        raise ValueError(f"a time without zone cannot be stored: {value!r}")
    return value.isoformat()


def _pieces(rows: Iterable[Sequence[Any]]) -> Iterator[list[Sequence[Any]]]:
    left = iter(rows)
    while piece := list(islice(left, _PIECE)):
        yield piece


def _differs(table: Table, statement: Any, columns: Sequence[str]) -> ColumnElement[bool]:
    return or_(*(table.c[name].is_distinct_from(statement.excluded[name]) for name in columns))


def _dialect(session: Session) -> Any:
    return postgresql if session.get_bind().dialect.name == "postgresql" else sqlite


def add_up(session: Session, table, rows: list[dict], *, total: str) -> None:
    """Add the ``total`` of each row to that of the row with its key, which is made if there is none; in this order."""
    if not rows:
        return
    table = getattr(table, "__table__", table)
    statement = _dialect(session).insert(table)
    statement = statement.on_conflict_do_update(index_elements=list(table.primary_key.columns),
                                                set_={total: table.c[total] + statement.excluded[total]})
    session.connection().execute(statement, rows)


def insert_new(session: Session, table, rows: list[dict]) -> int:
    """Insert rows whose key does not exist yet, and leave the others alone."""
    if not rows:
        return 0
    statement = _dialect(session).insert(getattr(table, "__table__", table)).on_conflict_do_nothing()
    return session.connection().execute(statement, rows).rowcount
