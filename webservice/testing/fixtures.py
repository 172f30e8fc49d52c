"""The fixtures. ``database`` runs a test on SQLite and, when it is there, on PostgreSQL; ``core`` and ``world`` use it.

``POMS_TEST_REQUIRE`` (``all``, or a list such as ``postgresql,chromium``) makes what is missing a failure
instead of a skip. Each test starts with empty tables; the tables are made once a session.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Dialect, Engine, event, insert, text
from sqlalchemy.util import LRUCache

from poms.webservice import config, migrations
from poms.webservice.backends import Backends
from poms.webservice.clock import utc_now
from poms.webservice.db import Database, make_engine
from poms.webservice.model import Base, SubmissionStatus
from poms.webservice.rules.statuses import Status
from poms.webservice.services.core import Core
from poms.webservice.testing import postgresql
from poms.webservice.testing.clock import Clock
from poms.webservice.testing.fakes import NAME, Fakes, installed_plugins
from poms.webservice.testing.faults import MortalDatabase
from poms.webservice.testing.world import World

URL_VARIABLE = "POMS_TEST_POSTGRESQL_URL"
REQUIRE_VARIABLE = "POMS_TEST_REQUIRE"
STATEMENTS = 3000


def lacking(what: str, why: str) -> None:
    """Skip the test because something is missing, or fail it if it was said to be required."""
    required = {word.strip().lower() for word in os.environ.get(REQUIRE_VARIABLE, "").split(",")}
    if required & {what.lower(), "all"}:
        pytest.fail(f"{what} is required here ({REQUIRE_VARIABLE}) and missing: {why}", pytrace=False)
    pytest.skip(f"{what}: {why}")


# ------------------------------------------------------------------------------------- databases


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str | None]:
    """A server for this session, or the one that the environment names; None if there is no PostgreSQL."""
    given = os.environ.get(URL_VARIABLE)
    if given:
        with postgresql.own_database(given, "test") as url:
            yield url
        return
    programs = postgresql.find_programs()
    if programs is None:
        yield None
        return
    with postgresql.temporary_server(programs) as url:
        os.environ[URL_VARIABLE] = url
        yield url
        del os.environ[URL_VARIABLE]


@pytest.fixture(scope="session")
def postgresql_url(postgresql_server: str | None) -> str:
    """The address of a PostgreSQL database that tests may fill and empty as they like."""
    if postgresql_server is None:
        lacking("postgresql", "no initdb and postgres were found; install PostgreSQL")
    return str(postgresql_server)


@pytest.fixture(scope="session")
def empty_sqlite_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite database with empty tables, to be copied."""
    file = tmp_path_factory.mktemp("sqlite") / "empty.db"
    engine = make_engine(f"sqlite:///{file}")
    _create_tables(engine)
    with engine.connect() as connection:
        connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
    engine.dispose()
    return file


@pytest.fixture(scope="session")
def postgresql_tables(postgresql_url: str) -> Iterator[Engine]:
    """An engine on PostgreSQL with all tables, shared by the tests of a session."""
    engine = make_engine(postgresql_url)
    _create_tables(engine)
    yield engine
    Base.metadata.drop_all(engine)
    engine.dispose()


@dataclass(frozen=True)
class Compiled:
    """What SQLAlchemy worked out for the statements of one kind of database."""

    dialect: Dialect
    statements: LRUCache


_compiled: dict[str, Compiled] = {}


def _share_compiled(engine: Engine) -> Engine:
    """Each test has an engine of its own, all have the same statements: working them out again took half of the time.

    Compiled statements belong to a dialect object, so that is shared as well.
    """
    shared = _compiled[engine.dialect.name]
    engine.dialect = shared.dialect
    engine.update_execution_options(compiled_cache=shared.statements)
    return engine


def _create_tables(engine: Engine) -> None:
    # This engine connects before any other, so its dialect knows the version of the database.
    _compiled.setdefault(engine.dialect.name, Compiled(engine.dialect, LRUCache(STATEMENTS)))
    Base.metadata.drop_all(engine)
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        _add_vocabulary(connection)


def _add_vocabulary(connection) -> None:
    connection.execute(insert(SubmissionStatus),
                       [{"status_id": int(status), "status": status.label} for status in Status])


@pytest.fixture
def make_sqlite_database(empty_sqlite_file: Path, tmp_path: Path) -> Iterator[Callable[[], MortalDatabase]]:
    """Empty tables on SQLite, as often as they are asked for; the ones before are closed."""
    made: list[MortalDatabase] = []

    def make() -> MortalDatabase:
        for database in made:
            database.close()
        file = tmp_path / f"poms{len(made) or ''}.db"
        shutil.copyfile(empty_sqlite_file, file)
        engine = _share_compiled(make_engine(f"sqlite:///{file}"))
        event.listen(engine, "connect", _do_not_wait_for_the_disk)
        made.append(MortalDatabase(engine))
        return made[-1]

    yield make
    for database in made:
        database.close()


def _do_not_wait_for_the_disk(connection, _record) -> None:
    connection.execute("PRAGMA synchronous=OFF")


@pytest.fixture
def make_postgresql_database(postgresql_url: str, postgresql_tables: Engine
                             ) -> Iterator[Callable[[], MortalDatabase]]:
    """Empty tables on PostgreSQL, as often as they are asked for: always the same ones."""
    database = MortalDatabase(_share_compiled(make_engine(postgresql_url, pool_size=20)))
    names = ", ".join(f'"{table.name}"' for table in Base.metadata.sorted_tables)

    def make() -> MortalDatabase:
        with postgresql_tables.begin() as connection:
            connection.execute(text(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))
            _add_vocabulary(connection)
        return database

    yield make
    database.close()


@pytest.fixture
def sqlite_database(make_sqlite_database: Callable[[], MortalDatabase]) -> MortalDatabase:
    """Empty tables on SQLite."""
    return make_sqlite_database()


@pytest.fixture
def postgresql_database(make_postgresql_database: Callable[[], MortalDatabase]) -> MortalDatabase:
    """Empty tables on PostgreSQL."""
    return make_postgresql_database()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def make_database(request: pytest.FixtureRequest) -> Callable[[], MortalDatabase]:
    """Gives empty tables each time it is called; the test runs once on each kind of database."""
    return request.getfixturevalue(f"make_{request.param}_database")


@pytest.fixture
def database(make_database: Callable[[], MortalDatabase]) -> MortalDatabase:
    """Empty tables; the test runs once on each kind of database."""
    return make_database()


# ------------------------------------------------------------------------------------ the service


@dataclass(frozen=True)
class Service:
    """Core and fakes that belong together."""

    core: Core
    fakes: Fakes


def make_service(database: MortalDatabase, data_dir: Path, clock, *, text: str = "", plugins=(),
                 fakes: Fakes | None = None) -> Service:
    """A service on the fakes and on the split types of POMS; ``text`` is added to its poms.ini."""
    fakes = fakes or Fakes(clock)
    settings = config.parse(f"""
[service]
data_dir = {data_dir}
[database]
url = {database.engine.url.render_as_string(hide_password=False)}
[experiment_defaults]
job_backend = {NAME}
data_backend = {NAME}
launch_transport = {NAME}
backend_workers = 8
{text}
""", directory=data_dir)
    backends = Backends(settings, [fakes, *installed_plugins("split_types", "demo_identity"), *plugins], clock=clock)
    _made.append(backends)
    return Service(Core(database, backends, backends.settings, clock), fakes)


_made: list[Backends] = []


@pytest.fixture(autouse=True)
def close_services() -> Iterator[None]:
    """End the threads of every service that a test made: thousands of tests run in one process."""
    yield
    while _made:
        _made.pop().close()


@pytest.fixture
def clock() -> Clock:
    """The service's clock; it stands still unless the test advances it."""
    return Clock()


@pytest.fixture
def service(database: MortalDatabase, tmp_path: Path, clock: Clock) -> Service:
    """A service with empty tables, fake back ends and a clock that stands still."""
    return make_service(database, tmp_path, clock)


@pytest.fixture
def core(service: Service) -> Core:
    """What every service function is given."""
    return service.core


@pytest.fixture
def world(service: Service) -> World:
    """Builders and the agents' steps, on ``core``."""
    return World(service.core, service.fakes)


@pytest.fixture
def installed_core(tmp_path: Path) -> Iterator[Core]:
    """A service as it is installed: all plugins, the ``local`` back ends, SQLite, and a clock that runs."""
    backends = Backends(config.parse(f"[service]\ndata_dir = {tmp_path / 'var'}\n", directory=tmp_path))
    settings = backends.settings
    migrations.upgrade(settings.database.url, backends.databases())
    database = Database(make_engine(settings.database.url))
    yield Core(database, backends, settings, utc_now)
    backends.close()
    database.close()
