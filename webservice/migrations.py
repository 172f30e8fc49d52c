"""The schema of the database: bring it up to date, say how it stands, compare it with the model.

Alembic revisions of POMS are in ``sql/versions``; a plugin brings its own, with a version table of
its own (``alembic_version_<name>``). An upgrade of all of them is one transaction: it happens whole
or not at all, and two at a time wait for each other.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import alembic.command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import JSON, Connection, MetaData, NullPool, TypeDecorator, create_engine, event, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

import poms.sql
from poms.webservice import logs
from poms.webservice.errors import ConfigurationError
from poms.webservice.interfaces import DatabaseOffer
from poms.webservice.model import Base, SubmissionStatus
from poms.webservice.rules.statuses import Status

CORE = "poms"
# Any number will do; it must only be the same for every process that upgrades.
ADVISORY_LOCK = 0x504F4D53
SQLITE_BUSY_SECONDS = 30


class SchemaMismatch(ConfigurationError):
    """The tables are not those of this program; says which command helps."""

    exit_status = 3


@dataclass(frozen=True, slots=True)
class Chain:
    """One sequence of revisions: that of POMS, or of a plugin."""

    name: str
    metadata: MetaData
    versions: Path
    version_table: str
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class SchemaState:
    """How one chain stands in a database."""

    name: str
    current: str | None
    head: str | None
    condition: Literal["current", "absent", "behind", "ahead"]

    def __str__(self) -> str:
        words = {
            "current": f"the tables of {self.name} are up to date (revision {self.current})",
            "absent": f"the tables of {self.name} are not there yet: run `poms db upgrade`",
            "behind": f"the tables of {self.name} are older than this program (revision {self.current}, needed "
                      f"{self.head}): run `poms db upgrade`",
            "ahead": f"the tables of {self.name} are newer than this program (revision {self.current} is not known "
                     f"here, {self.head} is the newest): install the newer POMS",
        }
        return words[self.condition]


def chains(offers: Sequence[DatabaseOffer] = ()) -> list[Chain]:
    """The chain of POMS first, then those of plugins in the order given."""
    own = Path(poms.sql.__file__).resolve().parent / "versions"
    return [Chain(CORE, Base.metadata, own, "alembic_version"),
            *(Chain(offer.name, offer.metadata, Path(offer.migrations), f"alembic_version_{offer.name}", offer.prefix)
              for offer in offers)]


@contextmanager
def _connection(url: str, *, writing: bool) -> Iterator[Connection]:
    """One transaction on a connection of its own; errors of the database name the database."""
    try:
        parsed = make_url(url)
        engine = create_engine(parsed, poolclass=NullPool)
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise ConfigurationError(f"[database] url = {logs.scrub(url)!r} is no address of a database: {error}") from None
    if engine.dialect.name == "sqlite":
        if not writing and not Path(parsed.database or "").exists():
            raise SchemaMismatch(f"there is no database {parsed.database}: run `poms db upgrade`")
        _steer_sqlite(engine, writing=writing)
    try:
        with engine.begin() as connection:
            if writing and engine.dialect.name == "postgresql":
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")
            yield connection
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).strip()
        raise ConfigurationError(f"the database {logs.scrub(url)} cannot be used: {logs.scrub(reason)}") from error
    finally:
        engine.dispose()


def _steer_sqlite(engine: Any, *, writing: bool) -> None:
    """Take the write lock at once, and let batch operations rebuild tables that others refer to."""

    def prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout={SQLITE_BUSY_SECONDS * 1000}")
        connection.execute("PRAGMA foreign_keys=OFF")

    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", begin)


def _config(chain: Chain, *, connection: Connection | None = None, foreign_prefixes: Sequence[str] = ()) -> Config:
    """The configuration that ``sql/env.py`` reads; nothing of it comes from a file."""
    config = Config()
    config.set_main_option("script_location", str(Path(poms.sql.__file__).resolve().parent).replace("%", "%%"))
    # The whole option is one path, whatever characters a directory has in its name.
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", str(chain.versions).replace("%", "%%"))
    config.attributes.update(chain=chain, connection=connection, include_name=_only_own(chain, foreign_prefixes))
    return config


def _only_own(chain: Chain, foreign_prefixes: Sequence[str]) -> Any:
    """Which tables of the database a comparison may look at: a plugin's own, or all but plugins'."""

    def include(name: str | None, kind: str, parents: Any) -> bool:
        if kind != "table" or name is None:
            return True
        if name.startswith("alembic_version"):
            return False
        if chain.prefix:
            return name.startswith(chain.prefix)
        return not any(name.startswith(prefix) for prefix in foreign_prefixes)

    return include


def _state(chain: Chain, connection: Connection) -> SchemaState:
    script = ScriptDirectory.from_config(_config(chain))
    head = script.get_current_head()
    context = MigrationContext.configure(connection, opts={"version_table": chain.version_table})
    current = context.get_current_revision()
    if current == head:
        return SchemaState(chain.name, current, head, "current")
    if current is None:
        return SchemaState(chain.name, current, head, "absent")
    try:
        known = script.get_revision(current) is not None
    except CommandError:
        known = False
    return SchemaState(chain.name, current, head, "behind" if known else "ahead")


def current(url: str, offers: Sequence[DatabaseOffer] = ()) -> list[SchemaState]:
    """How every chain stands; raises SchemaMismatch if a SQLite file is not there at all."""
    with _connection(url, writing=False) as connection:
        return [_state(chain, connection) for chain in chains(offers)]


def require_current(url: str, offers: Sequence[DatabaseOffer] = ()) -> None:
    """Raise SchemaMismatch unless every table is what this program expects."""
    wrong = [state for state in current(url, offers) if state.condition != "current"]
    if wrong:
        raise SchemaMismatch(f"database {logs.scrub(url)}: " + "; ".join(map(str, wrong)))


def upgrade(url: str, offers: Sequence[DatabaseOffer] = ()) -> list[SchemaState]:
    """Bring every chain to its newest revision; all or nothing. Returns how they stood before."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        try:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"the directory of the database cannot be made: {error}") from error
    with _connection(url, writing=True) as connection:
        before = [_state(chain, connection) for chain in chains(offers)]
        newer = [state for state in before if state.condition == "ahead"]
        if newer:
            raise SchemaMismatch(f"database {logs.scrub(url)}: " + "; ".join(map(str, newer)))
        for chain, state in zip(chains(offers), before, strict=True):
            if state.condition != "current":
                try:
                    alembic.command.upgrade(_config(chain, connection=connection), "head")
                except CommandError as error:
                    raise ConfigurationError(f"the revisions of {chain.name} cannot be applied: {error}") from error
        fill_vocabulary(connection)
    return before


def fill_vocabulary(connection: Connection) -> None:
    """The statuses as rows, for people who query the database; submissions refer to them."""
    table = SubmissionStatus.__table__
    known = {row.status_id: row.status for row in connection.execute(select(table))}
    for status in Status:
        if int(status) not in known:
            connection.execute(table.insert().values(status_id=int(status), status=status.label))
        elif known[int(status)] != status.label:
            connection.execute(table.update().where(table.c.status_id == int(status)).values(status=status.label))


def check(url: str, offers: Sequence[DatabaseOffer] = ()) -> list[str]:
    """Differences between the tables and the model, one line each; none means they agree."""
    prefixes = [offer.prefix for offer in offers]
    found: list[str] = []
    with _connection(url, writing=False) as connection:
        for chain in chains(offers):
            context = MigrationContext.configure(connection, opts={
                "version_table": chain.version_table, "compare_type": True, "compare_server_default": False,
                "include_name": _only_own(chain, prefixes), "target_metadata": chain.metadata,
            })
            with warnings.catch_warnings():
                # Alembic says that it cannot compare such an index on SQLite, where there is none to compare.
                warnings.filterwarnings("ignore", message=".*expression-based index")
                found += [f"{chain.name}: {_difference(each)}" for each in compare_metadata(context, chain.metadata)]
    return found


def _difference(change: Any) -> str:
    """A change that Alembic proposes, in words."""
    if isinstance(change, list):
        return "; ".join(_difference(each) for each in change)
    action, *rest = change
    named = [getattr(part, "name", part) for part in rest if isinstance(getattr(part, "name", part), str)]
    table = getattr(getattr(rest[-1], "table", None), "name", None)
    if table and table not in named:
        named.insert(0, table)
    return f"{action.replace('_', ' ')} {'.'.join(named)}"


def revise(message: str, offers: Sequence[DatabaseOffer] = (), *, name: str = CORE) -> Path | None:
    """Write the revision that leads from the newest one to the model; None if they agree. For developers.

    Worked out on a scratch database, so that no installation's differences get into it.
    """
    by_name = {chain.name: chain for chain in chains(offers)}
    if name not in by_name:
        raise ConfigurationError(f"there are no tables of {name!r}; there are: {', '.join(by_name)}")
    chain = by_name[name]
    head = ScriptDirectory.from_config(_config(chain)).get_current_head()
    with tempfile.TemporaryDirectory() as scratch, _connection(f"sqlite:///{scratch}/scratch.db",
                                                               writing=True) as connection:
        config = _config(chain, connection=connection)
        config.attributes["drop_empty"] = True
        alembic.command.upgrade(config, "head")
        made: Any = alembic.command.revision(
            config, message, autogenerate=True, rev_id=f"{int(head) + 1 if head else 1:04d}",
            version_path=str(chain.versions))
    return Path(made.path) if made else None


def render_type(kind: str, item: Any, context: Any) -> str | Literal[False]:
    """How a column type is written in a revision: in plain SQLAlchemy, which never changes its meaning."""
    if kind != "type":
        return False
    if isinstance(item, TypeDecorator):
        return f"sa.{item.impl!r}"
    if isinstance(item, JSON):
        if isinstance(item.dialect_impl(postgresql.dialect()), postgresql.JSONB):
            context.imports.add("from sqlalchemy.dialects import postgresql")
            return "sa.JSON().with_variant(postgresql.JSONB(), 'postgresql')"
        return "sa.JSON()"
    return False
