"""A local batch system of its own for each test, and nothing of it left afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from poms.plugins.local.batch import processes
from poms.plugins.local.batch.backend import LocalBatch
from poms.plugins.local.batch.master import stop_master
from poms.plugins.local.batch.spool import Spool
from poms.webservice.interfaces import JobRecord, JobSelection, LaunchPlan, PluginContext
from poms.webservice.testing.jobs import await_that

OPTIONS = {"slots": 4, "site": "here", "idle_exit_seconds": 30.0, "poll_seconds": 0.2, "sample_seconds": 0.1,
           "kill_grace_seconds": 2.0}


def daemons(spool: Spool) -> list[int]:
    """Masters, supervisors and runners of one spool that are alive."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        process = processes.find_process(int(entry.name))
        ours = b"poms.plugins.local.batch.master" in words and str(spool.directory).encode() in words
        if ours and process and process.state not in "ZX":
            found.append(int(entry.name))
    return found


def clean(spool: Spool) -> None:
    """Remove all jobs, wait for their end and end the master."""
    with spool.read() as db:
        experiments = [row[0] for row in db.execute("SELECT DISTINCT experiment FROM jobs")]
    for experiment in experiments:
        backend = make_backend(spool.directory.parent, experiment=experiment)
        with spool.read() as db:
            clusters = [row[0] for row in db.execute("SELECT DISTINCT cluster FROM jobs")]
        ids = tuple(f"{cluster}@{spool.identity().schedd}" for cluster in clusters)
        backend.act("remove", JobSelection(batch_ids=ids), "the test is over")
        # The look itself also replaces a master that the test killed.
        await_that(lambda backend=backend: backend.snapshot() and _count(spool, backend) == 0)
    stop_master(spool)
    await_that(lambda: not daemons(spool), lambda: daemons(spool))


def _count(spool: Spool, backend: LocalBatch) -> int:
    with spool.read() as db:
        return db.execute("SELECT COUNT(*) FROM jobs").fetchone()[0]


def make_backend(data_dir: Path, *, experiment: str = "samdev", **options) -> LocalBatch:
    context = PluginContext(experiment=experiment, options={**OPTIONS, **options}, data_dir=data_dir, database_url="",
                            public_url="", clock=lambda: datetime.now(UTC), secret=lambda name: name)
    return LocalBatch(context)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data with 'odd' name"


@pytest.fixture
def make(data_dir: Path) -> Iterator[Callable[..., LocalBatch]]:
    """Builds backends on this test's spool."""
    def build(**options) -> LocalBatch:
        return make_backend(data_dir, **options)

    yield build
    clean(Spool(data_dir / "batch"))


@pytest.fixture
def backend(make) -> LocalBatch:
    return make()


@pytest.fixture
def program(backend) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs jobsub_submit and its companions as a launch script would find them."""
    def run(name: str, *words: str, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([backend.spool.programs / name, *words], env=surroundings(backend, **variables), cwd=cwd,
                              capture_output=True, text=True, timeout=60, check=False)

    backend.environment(a_plan())
    return run


def surroundings(backend: LocalBatch, **variables: str) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "USER": "ann", "POMS4_SUBMISSION_ID": "7", **variables,
            **dict(backend.environment(a_plan()).variables)}


def a_plan(**changes) -> LaunchPlan:
    fields = {"submission_id": 7, "attempt": 1, "experiment": "samdev", "group": "samdev", "role": "Analysis",
              "launcher": "ann", "host": "localhost", "account": "", "setup": "", "command": "true", "environment": ()}
    return LaunchPlan(**{**fields, **changes})


@pytest.fixture
def job(tmp_path) -> Callable[[str], str]:
    """Writes a bash script for jobs; gives the words that name it as executable."""
    def write(text: str, name: str = "job.sh") -> str:
        path = tmp_path / name
        path.write_text(f"#!/bin/bash\n{text}\n")
        return f"file://{path}"
    return write


def departed(backend: LocalBatch, number: int) -> list[JobRecord]:
    """Wait until that many jobs have left; all records since the beginning."""
    await_that(lambda: backend.snapshot() and len(backend.departed("").records) >= number,
               lambda: (backend.departed("").records, backend.snapshot().counts))
    return list(backend.departed("").records)


def kill(pid: int) -> None:
    """kill -9, of a process that may have ended by itself meanwhile."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
