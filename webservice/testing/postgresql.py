"""A PostgreSQL server of a test session's own: made in a temporary directory, stopped by its pid, removed.

Not a way to run PostgreSQL for anything else: nothing it holds would survive a power cut.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

_FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=200",
         "deadlock_timeout=200ms", "log_min_messages=fatal", "autovacuum=off", "logging_collector=off")
_UNPRIVILEGED = ("postgres", "nobody")
START_SECONDS = 60
# Reads until the test session closes its end, which happens also when it is killed; then removes what is left.
_WATCH = """
cat >/dev/null
pid=$(head -n 1 "$1/data/postmaster.pid") && kill -QUIT "$pid" && while kill -0 "$pid"; do sleep 0.1; done
rm -rf "$1"
"""


def find_programs() -> Path | None:
    """The directory of PostgreSQL's ``initdb`` and ``postgres``, or None if they are not installed."""
    candidates = [Path(found).resolve().parent for found in [shutil.which("postgres")] if found]
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    candidates += sorted(Path("/usr").glob("pgsql-*/bin"), reverse=True)
    return next((each for each in candidates if (each / "initdb").is_file() and (each / "postgres").is_file()), None)


@contextmanager
def temporary_server(programs: Path, *, memory: str = "64MB") -> Iterator[str]:
    """Run a server; yields its address for SQLAlchemy. It listens on loopback and on a socket of its own.

    ``memory`` is what its processes share of tables and indexes (``shared_buffers``).
    """
    prefix, account = _as_somebody_else()
    base = Path(tempfile.mkdtemp(prefix="poms-postgresql-"))
    process: subprocess.Popen[bytes] | None = None
    watcher = subprocess.Popen(["/bin/sh", "-c", _WATCH, "sh", str(base)], stdin=subprocess.PIPE,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        if account is not None:
            os.chown(base, account.pw_uid, account.pw_gid)
        data = base / "data"
        _run([*prefix, str(programs / "initdb"), "-D", str(data), "-U", "poms", "--auth=trust", "--encoding=UTF8",
              "--locale=C", "--no-sync"], base)
        port = _free_port()
        options = [part for option in (*_FAST, f"shared_buffers={memory}") for part in ("-c", option)]
        with (base / "server.log").open("wb") as log:
            process = subprocess.Popen(
                [*prefix, str(programs / "postgres"), "-D", str(data), "-k", str(base), "-p", str(port),
                 "-c", "listen_addresses=127.0.0.1", *options],
                stdout=log, stderr=subprocess.STDOUT, cwd=base, start_new_session=True)
        _await(process, base, port)
        yield f"postgresql+psycopg2://poms@127.0.0.1:{port}/postgres"
    finally:
        if process is not None:
            _stop(process, base / "data" / "postmaster.pid")
        shutil.rmtree(base, ignore_errors=True)
        watcher.communicate()


@contextmanager
def own_database(server_url: str, purpose: str) -> Iterator[str]:
    """An empty database on a server that is there, so that nothing else on it is touched; dropped at the end."""
    name = f"poms_{purpose}_{os.getpid()}"
    engine = create_engine(server_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f'CREATE DATABASE "{name}"'))
    try:
        yield make_url(server_url).set(database=name).render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))
        engine.dispose()


def _as_somebody_else() -> tuple[list[str], pwd.struct_passwd | None]:
    """PostgreSQL refuses to run as root: how to start it as an account without rights."""
    if os.geteuid() != 0:
        return [], None
    for name in _UNPRIVILEGED:
        try:
            account = pwd.getpwnam(name)
        except KeyError:
            continue
        return ["runuser", "-u", name, "--"], account
    raise RuntimeError(f"no account to run PostgreSQL as: none of {', '.join(_UNPRIVILEGED)} exists")


def _run(command: list[str], directory: Path) -> None:
    done = subprocess.run(command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stdout.strip()}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _await(process: subprocess.Popen[bytes], base: Path, port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            psycopg2.connect(host="127.0.0.1", port=port, user="poms", dbname="postgres", connect_timeout=5).close()
            return
        except psycopg2.OperationalError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                told = (base / "server.log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"the PostgreSQL server did not start: {error}\n{told}") from error
            time.sleep(0.05)


def _stop(process: subprocess.Popen[bytes], pid_file: Path) -> None:
    """SIGQUIT: end at once, there is nothing to keep. Below ``runuser`` the server has a pid of its own."""
    try:
        pid = int(pid_file.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        pid = process.pid
    try:
        os.kill(pid, signal.SIGQUIT)
    except ProcessLookupError:
        pid = process.pid
    process.wait(30)
