"""Catalogues to test with: on SQLite always, on PostgreSQL when POMS_TEST_POSTGRESQL_URL names a server."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from poms.plugins.local import catalogue as plugin
from poms.plugins.local.catalogue import database, files, tables
from poms.plugins.local.catalogue.backend import LocalCatalogue
from poms.webservice import migrations
from poms.webservice.interfaces import PluginContext

POSTGRESQL = "POMS_TEST_POSTGRESQL_URL"
START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
KEY = "a-key-for-tests"


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def move(self, **span: float) -> None:
        self.now += timedelta(**span)


class Site:
    """A database with the catalogue's tables, and everything that is needed to use it."""

    def __init__(self, url: str, directory: Path) -> None:
        self.url = url
        self.clock = Clock()
        self._directory = directory

    def context(self, experiment: str = "samdev", **options: Any) -> PluginContext:
        return PluginContext(
            experiment=experiment, options=options, data_dir=self._directory, database_url=self.url,
            public_url="http://localhost:8080", clock=self.clock, secret=lambda _name: KEY)

    def catalogue(self, experiment: str = "samdev", **options: Any) -> LocalCatalogue:
        return LocalCatalogue(self.context(experiment, **options))

    def declare(self, *names: str, experiment: str = "samdev", located: bool = True, **more: Any) -> None:
        """Declare files, with a location unless told otherwise."""
        with self.catalogue(experiment).writing() as scope:
            files.declare(scope, [{"file_name": name, "file_size": 10, "file_type": "test"} | more for name in names])
            for name in names if located else ():
                files.change_locations(scope, name, add=["disk:/data"])


@pytest.fixture(scope="session")
def empty_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with the tables, to be copied."""
    path = tmp_path_factory.mktemp("template") / "catalogue.db"
    migrations.upgrade(f"sqlite:///{path}", plugin.poms_databases())
    return path


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """A database of this run's own on the server, with the tables; "" if there is no server."""
    server = os.environ.get(POSTGRESQL)
    if not server:
        yield ""
        return
    # A bare postgresql:// would ask for another driver than the one POMS comes with.
    base = make_url(server).set(drivername="postgresql+psycopg2")
    name = f"catalogue_{uuid.uuid4().hex[:12]}"
    admin = create_engine(base, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f'CREATE DATABASE "{name}"'))
    url = base.set(database=name).render_as_string(hide_password=False)
    migrations.upgrade(url, plugin.poms_databases())
    yield url
    database.engine_for(url).dispose()
    with admin.connect() as connection:
        connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))
    admin.dispose()


def _empty_site(kind: str, directory: Path, empty_file: Path, postgresql_url: str) -> Iterator[Site]:
    if kind == "sqlite":
        shutil.copyfile(empty_file, directory / "catalogue.db")
        url = f"sqlite:///{directory / 'catalogue.db'}"
    elif postgresql_url:
        url = postgresql_url
        with database.engine_for(url).begin() as connection:
            names = ", ".join(table.name for table in tables.metadata.sorted_tables)
            connection.execute(text(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))
    else:
        pytest.skip(f"{POSTGRESQL} names no PostgreSQL server")
    yield Site(url, directory)
    database.engine_for(url).dispose()


KINDS = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)]


@pytest.fixture(params=KINDS)
def site(request: pytest.FixtureRequest, tmp_path: Path, empty_file: Path, postgresql_url: str) -> Iterator[Site]:
    """An empty catalogue for one test."""
    yield from _empty_site(request.param, tmp_path, empty_file, postgresql_url)


@pytest.fixture(scope="module", params=KINDS)
def shared_site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, empty_file: Path,
                postgresql_url: str) -> Iterator[Site]:
    """A catalogue that all tests of a module fill once and only read."""
    yield from _empty_site(request.param, tmp_path_factory.mktemp("catalogue"), empty_file, postgresql_url)
