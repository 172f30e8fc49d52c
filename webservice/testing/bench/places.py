"""Databases for measurements, and the processes that answer from them.

A throw-away PostgreSQL server, one given by its address (databases are made in it and dropped), or SQLite
files in a temporary directory. Processes are ended by their own pid.
"""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from poms.webservice import config, migrations
from poms.webservice.backends import Backends
from poms.webservice.clock import utc_now
from poms.webservice.db import Database, make_engine
from poms.webservice.errors import ConfigurationError
from poms.webservice.interfaces import JobBackend
from poms.webservice.services.core import Core
from poms.webservice.testing import postgresql
from poms.webservice.testing.bench import instant, making
from poms.webservice.testing.bench.shape import Landmarks, Scale

START_SECONDS = 60
DAEMON_SECONDS = 300
THREADS = 16
MEMORY = "1GB"
"""As a small server for a service would have it; what tests run has much less, so that many fit on a machine."""

INI = """\
; Made by bin/bench.
[service]
data_dir = {directory}
[database]
url = {url}
pool_size = {threads}
[web]
listen = 127.0.0.1:{port}
threads = {threads}
processes = {processes}
[identity]
sources = demo
[identity_demo]
user = {user}
"""
INSTANT = f"""
[experiment_defaults]
job_backend = {instant.NAME}
data_backend = {instant.NAME}
launch_transport = {instant.NAME}
"""


@dataclass(frozen=True)
class Place:
    """A database with made-up data, and a directory for the service that runs on it."""

    scale: Scale
    url: str
    directory: Path
    landmarks: Landmarks

    def write_ini(self, port: int = 8080, *, processes: int = 0) -> Path:
        file = self.directory / "poms.ini"
        file.write_text(ini_text(self.url, self.directory, port=port, processes=processes))
        return file

    def core(self) -> Core:
        """Services on this database whose outside systems answer at once."""
        return core_of(self.url, self.directory)


def ini_text(url: str, directory: Path, *, port: int = 8080, processes: int = 0) -> str:
    """A poms.ini for a service on this database; ``processes`` 0: as many as the service chooses by itself."""
    return INI.format(directory=directory, url=url, threads=THREADS, port=port, processes=processes, user=making.USER)


def core_of(url: str, directory: Path) -> Core:
    """The same by address, for processes of their own."""
    settings = config.parse(ini_text(url, directory) + INSTANT, directory=directory)
    backends = Backends(settings, [instant, *instant.needed_plugins()], clock=utc_now)
    engine = make_engine(url, pool_size=THREADS)
    return Core(Database(engine), backends, backends.settings, utc_now)


class Places:
    """Makes databases on one server; all of them are gone at the end."""

    def __init__(self, server: str, directory: Path) -> None:
        self.server, self.directory = server, directory
        self._stack = ExitStack()

    def make(self, scale: Scale) -> Place:
        """An empty database brought up to date and filled."""
        name = "poms_bench_" + re.sub("[^a-z]", "_", scale.name)
        directory = self.directory / name
        directory.mkdir()
        url = self._database(name, directory)
        settings = config.parse(ini_text(url, directory), directory=directory)
        migrations.upgrade(url, Backends(settings).databases())
        engine = make_engine(url)
        try:
            landmarks = making.make(engine, scale, now=utc_now())
        finally:
            engine.dispose()
        return Place(scale, url, directory, landmarks)

    def _database(self, name: str, directory: Path) -> str:
        if self.server.startswith("sqlite"):
            return f"sqlite:///{directory / 'poms.db'}"
        run_alone(self.server, f'CREATE DATABASE "{name}"')
        self._stack.callback(run_alone, self.server, f'DROP DATABASE "{name}" WITH (FORCE)')
        return make_url(self.server).set(database=name).render_as_string(hide_password=False)

    def close(self) -> None:
        self._stack.close()


def run_alone(url: str, statement: str) -> None:
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.execute(text(statement))
    finally:
        engine.dispose()


def await_no_daemon(backend: JobBackend) -> None:
    """Wait for the daemon of the local batch system, which ends when it has nothing to do; until then it writes."""
    deadline = time.monotonic() + DAEMON_SECONDS
    while backend.health().figures.get("master"):
        if time.monotonic() > deadline:
            raise RuntimeError("the daemon of the local batch system did not end")
        time.sleep(0.1)


@contextmanager
def database_server(wanted: str) -> Iterator[str]:
    """The address of the server that ``wanted`` names: an address, or ``postgresql`` for one of our own."""
    if wanted != "postgresql":
        yield wanted
        return
    programs = postgresql.find_programs()
    if programs is None:
        raise ConfigurationError("PostgreSQL's initdb and postgres were not found: install PostgreSQL, or name a "
                                 "server with --database URL (sqlite:// works, but is not what budgets are for)")
    with postgresql.temporary_server(programs, memory=MEMORY) as url:
        yield url


# --------------------------------------------------------------------------------------- processes


@contextmanager
def pages_server(place: Place, *, processes: int = 0) -> Iterator[str]:
    """``poms serve`` on a place; yields its host and port."""
    file = place.write_ini(port=free_port(), processes=processes)
    with _process("poms.webservice", ["serve", "--config", str(file)],
                  place.directory / "serve.log") as line:
        yield line.partition("//")[2].partition("/")[0]


@contextmanager
def bare_server(url: str, directory: Path) -> Iterator[str]:
    """A CherryPy application that does next to nothing, on the same web server; yields its host and port."""
    with _process("poms.webservice.testing.bench.bare", [url, str(THREADS)], directory / "bare.log") as line:
        yield line.split()[-1]


@contextmanager
def _process(module: str, arguments: Sequence[str], log_file: Path) -> Iterator[str]:
    """Run a module until the block ends; yields the line in which it says that it is ready."""
    with log_file.open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", module, *arguments], stdin=subprocess.DEVNULL,
                                   stdout=log, stderr=subprocess.STDOUT)
        try:
            yield _await_ready(process, log_file)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await_ready(process: subprocess.Popen[bytes], log_file: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while True:
        said = log_file.read_text(errors="replace")
        for line in said.splitlines():
            if " is ready: " in line:
                return line
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"a server did not start:\n{said[-2000:]}")
        time.sleep(0.05)


def run_module(module: str, arguments: Sequence[str]) -> subprocess.Popen[str]:
    """A process whose one line of output is read at its end."""
    return subprocess.Popen([sys.executable, "-m", module, *arguments], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, text=True)


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
