"""The text a job of the local batch system wrote, and the log of what happened to it.

Not for a master's own log. Invariant: what is read is of the job's latest run, and may still be growing.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from poms.plugins.local.batch.spool import Spool
from poms.webservice.errors import NotFound
from poms.webservice.interfaces import JobState

PIECE_BYTES = 65536


def open_log(spool: Spool, experiment: str, cluster: int, proc: int,
             which: Literal["stdout", "stderr", "log"]) -> Iterator[bytes]:
    """The pieces of a job's output; raises NotFound at once if there is no such job or no output (any more)."""
    with spool.read() as db:
        row = db.execute("SELECT submitted_at FROM clusters WHERE cluster = ? AND experiment = ? AND ? < jobs",
                         (cluster, experiment, proc)).fetchone()
        job = db.execute("SELECT state, since, hold_reason FROM jobs WHERE cluster = ? AND proc = ? UNION ALL "
                         "SELECT state, since, hold_reason FROM history WHERE cluster = ? AND proc = ?",
                         (cluster, proc, cluster, proc)).fetchone()
    if row is None or job is None:
        raise NotFound(f"There is no job {cluster}.{proc} here.")
    directory = spool.job_directory(cluster, proc)
    if which == "log":
        first = f"{_moment(row['submitted_at'])} ({cluster}.{proc:03d}) 000 Job submitted\n...\n"
        reason = f": {job['hold_reason']}" if job["hold_reason"] else ""
        last = f"{_moment(job['since'])} ({cluster}.{proc:03d}) now {JobState(job['state']).name.lower()}{reason}\n"
        return _with_frame(first, directory / "log", last)
    path = _latest(directory, which)
    if path is None:
        raise NotFound(f"Job {cluster}.{proc} has no {which}: it has not begun to run, or its files were removed.")
    return _pieces(path)


def _latest(directory: Path, which: str) -> Path | None:
    if not directory.is_dir():
        return None
    runs = sorted((int(path.name) for path in directory.iterdir() if path.name.isdigit()), reverse=True)
    return next((path for run in runs if (path := directory / str(run) / which).exists()), None)


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def _with_frame(first: str, path: Path, last: str) -> Iterator[bytes]:
    yield first.encode()
    if path.exists():
        yield from _pieces(path)
    yield last.encode()


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
