"""SAM projects of dataset submissions: begun before the jobs are queued, ended after the last has left.

Not for files or definitions (the catalogue's business). Invariant: every project that was begun is known to
the spool before the catalogue is asked, so it is ended also when the submitting program is killed.
"""

from __future__ import annotations

import os
import sqlite3
import time

from poms.plugins.local.batch import processes
from poms.plugins.local.batch.spool import Spool
from poms.webservice import sam_projects
from poms.webservice.errors import BackendUnavailable
from poms.webservice.sam_projects import ProjectRequest

LONGEST_PAUSE_SECONDS = 300.0


def begin(spool: Spool, base_url: str, wanted: ProjectRequest) -> int:
    """Start a project for a definition; its number in the spool. Raises if the catalogue refuses or is silent."""
    sam_projects.require_address(base_url)
    pid = os.getpid()
    with spool.write() as db:
        number = db.execute(
            "INSERT INTO projects (name, base_url, station, state, owner_pid, owner_started, owner_boot) "
            "VALUES (?, ?, ?, 'starting', ?, ?, ?)",
            (wanted.name, base_url, wanted.station, pid, processes.start_ticks(pid),
             processes.boot_identity())).lastrowid
    assert number is not None
    url = sam_projects.begin(base_url, wanted)
    with spool.write() as db:
        db.execute("UPDATE projects SET url = ? WHERE id = ?", (url, number))
    return number


def give_to_cluster(db: sqlite3.Connection, number: int, cluster: int) -> None:
    """From now on the project lasts until this cluster's last job has left."""
    db.execute("UPDATE projects SET state = 'running', cluster = ? WHERE id = ?", (cluster, number))


def list_due(db: sqlite3.Connection, now: float, boot: str) -> list[sqlite3.Row]:
    """Projects to end: all jobs have left, or the program that was to submit the jobs is dead."""
    rows = db.execute(
        "SELECT * FROM projects WHERE state <> 'ended' AND next_try_at <= ? AND "
        "NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.cluster = projects.cluster)", (now,)).fetchall()
    return [row for row in rows if row["state"] == "running" or row["owner_boot"] != boot
            or not processes.is_alive(row["owner_pid"], row["owner_started"])]


def finish(spool: Spool, row: sqlite3.Row) -> None:
    """Have the catalogue end a project; if it does not answer, note when to ask again."""
    try:
        message = sam_projects.end(row["base_url"], row["name"], row["station"], row["url"] or "")
    except BackendUnavailable as silent:
        _postpone(spool, row, str(silent))
        return
    with spool.write() as db:
        db.execute("UPDATE projects SET state = 'ended', message = ? WHERE id = ?", (message[:500], row["id"]))


def _postpone(spool: Spool, row: sqlite3.Row, message: str) -> None:
    pause = min(LONGEST_PAUSE_SECONDS, 2.0 ** row["tries"])
    with spool.write() as db:
        db.execute("UPDATE projects SET tries = tries + 1, next_try_at = ?, message = ? WHERE id = ?",
                   (time.time() + pause, message[:500], row["id"]))
