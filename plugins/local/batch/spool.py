"""The spool directory of the local batch system: its files, its settings and its SQLite database.

Not for what the rows mean (that is ``queue``). Invariant: a write is on disk (WAL, fsync) when ``write``
returns, and is there wholly or not at all; any number of processes may use one spool.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from poms.webservice.errors import BackendUnavailable

SCHEMA_VERSION = 1
BUSY_SECONDS = 30.0

_JOB_COLUMNS = """
    cluster INTEGER NOT NULL, proc INTEGER NOT NULL, submission_id INTEGER NOT NULL, experiment TEXT NOT NULL,
    state INTEGER NOT NULL, since REAL NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
    cpus INTEGER NOT NULL DEFAULT 1, memory_mb INTEGER NOT NULL,
    hold_code INTEGER, hold_subcode INTEGER, hold_reason TEXT NOT NULL DEFAULT '',
    site TEXT NOT NULL DEFAULT '', node TEXT NOT NULL DEFAULT '', started_at REAL,
    exit_code INTEGER, exit_signal INTEGER, cpu_seconds REAL, wall_seconds REAL, memory_used_mb INTEGER
"""

_SCHEMA = f"""
CREATE TABLE identity (spool TEXT NOT NULL, schedd TEXT NOT NULL);
CREATE TABLE clusters (
    cluster INTEGER PRIMARY KEY AUTOINCREMENT, submission_id INTEGER NOT NULL, launch_attempt INTEGER NOT NULL,
    experiment TEXT NOT NULL, jobs INTEGER NOT NULL, submitted_at REAL NOT NULL, max_running INTEGER,
    wall_limit_seconds REAL, description TEXT NOT NULL);
CREATE INDEX clusters_of_submission ON clusters (submission_id);
CREATE TABLE jobs ({_JOB_COLUMNS}, run INTEGER NOT NULL DEFAULT 0, wanted TEXT, wanted_reason TEXT, boot TEXT,
    PRIMARY KEY (cluster, proc)) WITHOUT ROWID;
CREATE INDEX jobs_counted ON jobs (experiment, submission_id, state, hold_code);
CREATE INDEX jobs_waiting ON jobs (state, experiment, cluster, proc);
CREATE TABLE history (seq INTEGER PRIMARY KEY AUTOINCREMENT, {_JOB_COLUMNS}, ended_at REAL NOT NULL);
CREATE INDEX history_of_job ON history (cluster, proc);
CREATE INDEX history_departed ON history (experiment, seq);
CREATE TABLE projects (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, base_url TEXT NOT NULL, station TEXT NOT NULL, url TEXT,
    cluster INTEGER, state TEXT NOT NULL, owner_pid INTEGER, owner_started INTEGER, owner_boot TEXT,
    tries INTEGER NOT NULL DEFAULT 0, next_try_at REAL NOT NULL DEFAULT 0, message TEXT NOT NULL DEFAULT '');
CREATE INDEX projects_open ON projects (cluster) WHERE state <> 'ended';
"""


@dataclass(frozen=True, slots=True)
class Options:
    """What the master needs to know of ``[local_batch]``; kept in the spool, so that any process can start one."""

    slots: int = 0
    memory_mb: int = 0
    site: str = ""
    node: str = ""
    idle_exit_seconds: float = 120.0
    poll_seconds: float = 1.0
    sample_seconds: float = 0.5
    kill_grace_seconds: float = 10.0
    default_memory_mb: int = 2000
    default_lifetime_seconds: float = 28800.0
    keep_scratch: str = "no"
    log_days: float = 30.0

    def slot_count(self) -> int:
        return self.slots or os.cpu_count() or 1

    def node_name(self) -> str:
        return self.node or socket.gethostname()


@dataclass(frozen=True, slots=True)
class Identity:
    """What a spool is called for as long as it lives: a random id, and the name its job ids end in."""

    spool: str
    schedd: str


class Spool:
    """One spool directory. Holds no open files, so it may be shared by threads and survive a fork."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.database = directory / "queue.sqlite"
        self.master_lock = directory / "master.lock"
        self.wakeup = directory / "wakeup"
        self.jobs = directory / "jobs"
        self.inputs = directory / "inputs"
        self.scratch = directory / "scratch"
        self.programs = directory / "bin"
        self.log = directory / "master.log"
        self._options = directory / "options.json"
        self._identity: Identity | None = None

    def prepare(self) -> None:
        """Make the directory and its database if they are not there; safe to call by many at once."""
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            for part in (self.jobs, self.inputs, self.scratch, self.programs):
                part.mkdir(mode=0o700, exist_ok=True)
            with (self.directory / "prepare.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not self.wakeup.exists():
                    os.mkfifo(self.wakeup, 0o600)
                self._create()
        except OSError as problem:
            raise BackendUnavailable(f"The batch spool {self.directory} cannot be used: {problem}.") from problem

    def _create(self) -> None:
        with closing(self._connect()) as db:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version == SCHEMA_VERSION:
                return
            if version:
                raise BackendUnavailable(f"The batch spool {self.directory} was made by another version of POMS "
                                         f"(schema {version}, not {SCHEMA_VERSION}).")
            db.execute("PRAGMA journal_mode = WAL")
            db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION};")
            # jobsub's own programs cut a host name at its first hyphen.
            host = re.sub(r"[^A-Za-z0-9_.]", "_", socket.gethostname()) or "localhost"
            db.execute("INSERT INTO identity VALUES (?, ?)", (secrets.token_hex(8), f"local.{host}"))
            db.execute("COMMIT")

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.database, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA synchronous = FULL")
        return db

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A connection in one consistent view of the queue."""
        try:
            with closing(self._connect()) as db:
                db.execute("BEGIN")
                yield db
        except sqlite3.Error as problem:
            raise BackendUnavailable(f"The batch queue {self.database} cannot be read: {problem}.") from problem

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction that alone may write; committed and on disk at the end, or undone by an exception."""
        try:
            with closing(self._connect()) as db:
                db.execute("BEGIN IMMEDIATE")
                yield db
                db.execute("COMMIT")
        except sqlite3.Error as problem:
            raise BackendUnavailable(f"The batch queue {self.database} cannot be written: {problem}.") from problem

    def identity(self) -> Identity:
        if self._identity is None:
            with self.read() as db:
                self._identity = Identity(*db.execute("SELECT spool, schedd FROM identity").fetchone())
        return self._identity

    def options(self) -> Options:
        try:
            document = json.loads(self._options.read_text())
        except FileNotFoundError:
            return Options()
        known = {field.name for field in fields(Options)}
        return Options(**{name: value for name, value in document.items() if name in known})

    def set_options(self, options: Options) -> None:
        """Keep the settings for every later process; a running master reads them again by itself."""
        if not self._options.exists() or self.options() != options:
            write_file(self._options, json.dumps(asdict(options)))

    def job_directory(self, cluster: int, proc: int) -> Path:
        return self.jobs / str(cluster) / str(proc)

    def run_directory(self, cluster: int, proc: int, run: int) -> Path:
        return self.job_directory(cluster, proc) / str(run)

    def wake_master(self) -> bool:
        """Tell a master that something changed; False if nobody listens."""
        try:
            pipe = os.open(self.wakeup, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return False
        try:
            os.write(pipe, b"!")
        except BlockingIOError:
            pass  # the pipe is full: it will wake up anyway
        finally:
            os.close(pipe)
        return True


def write_file(path: Path, text: str, *, durable: bool = True) -> None:
    """Put a file in place so that a reader, also after a crash, sees the old or the whole new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}")
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        if durable:
            os.fsync(file.fileno())
    temporary.replace(path)
    if durable:
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read_document(path: Path) -> dict[str, Any] | None:
    """The JSON document in a file, or None if there is none; a file that a machine's crash left empty is none."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return None
    return json.loads(text) if text.strip("\0 \n") else None


def try_lock(path: Path) -> int | None:
    """A descriptor that holds the exclusive lock on a file, or None if somebody else holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
