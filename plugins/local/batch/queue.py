"""What may happen to jobs in the queue of the local batch system, as statements on its database.

Not for running them (``master``, ``supervisor``). Invariant: a job is in ``jobs`` until it is final and from
then on in ``history``, moved in one transaction; ``seq`` of the history grows in the order of commits.
"""

from __future__ import annotations

import json
import shlex
import sqlite3
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from poms.webservice.errors import Conflict
from poms.webservice.interfaces import ActResult, FoundCluster, JobCount, JobRecord, JobState

HOLD_BY_USER = 1
HOLD_EXECUTABLE = 6
HOLD_OUTPUT = 12
HOLD_INPUT = 13
HOLD_MEMORY = 34
HOLD_MEMORY_SUBCODE = 102
HOLD_LIFETIME = 47

_COPIED = ("cluster, proc, submission_id, experiment, attempts, cpus, memory_mb, hold_code, hold_subcode, hold_reason, "
           "site, node, started_at, exit_code, exit_signal, cpu_seconds, wall_seconds, memory_used_mb")


@dataclass(frozen=True, slots=True)
class Cluster:
    """A submit, ready to be queued: so many jobs of one description."""

    experiment: str
    jobs: int
    memory_mb: int
    submission_id: int = 0
    launch_attempt: int = 1
    cpus: int = 1
    max_running: int | None = None
    wall_limit_seconds: float | None = None
    description: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Selected:
    """Which jobs of one experiment: of submissions, of whole clusters, or single ones (cluster, proc)."""

    experiment: str
    submission_ids: tuple[int, ...] = ()
    clusters: tuple[int, ...] = ()
    procs: tuple[tuple[int, int], ...] = ()


def with_description(cluster: Cluster, description: Mapping[str, Any]) -> Cluster:
    """The cluster with what its jobs are started from: ``inputs``, ``executable``, ``arguments``, ``environment``,
    ``files``, ``archives``, ``outputs``, ``attributes``, ``owner``."""
    return replace(cluster, description=description)


def insert_cluster(db: sqlite3.Connection, cluster: Cluster, now: float) -> int:
    """Queue a cluster's jobs, all idle; returns its number, which is never given twice.

    A submission's jobs all come from one attempt at launching it. A script that was stopped for a while and goes
    on after another attempt has succeeded raises Conflict, so that nothing runs twice.
    """
    other = db.execute("SELECT launch_attempt FROM clusters WHERE submission_id = ? AND experiment = ? AND "
                       "launch_attempt <> ? LIMIT 1",
                       (cluster.submission_id, cluster.experiment, cluster.launch_attempt)).fetchone()
    if cluster.submission_id > 0 and other is not None:
        raise Conflict(f"Submission {cluster.submission_id} has jobs of launch attempt {other['launch_attempt']}; "
                       f"attempt {cluster.launch_attempt} came too late.")
    number = db.execute(
        "INSERT INTO clusters (submission_id, launch_attempt, experiment, jobs, submitted_at, max_running, "
        "wall_limit_seconds, description) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (cluster.submission_id, cluster.launch_attempt, cluster.experiment, cluster.jobs, now, cluster.max_running,
         cluster.wall_limit_seconds, json.dumps(cluster.description))).lastrowid
    assert number is not None
    db.execute(
        "INSERT INTO jobs (cluster, proc, submission_id, experiment, state, since, cpus, memory_mb) "
        "WITH RECURSIVE procs (proc) AS (SELECT 0 UNION ALL SELECT proc + 1 FROM procs WHERE proc + 1 < ?) "
        "SELECT ?, proc, ?, ?, ?, ?, ?, ? FROM procs",
        (cluster.jobs, number, cluster.submission_id, cluster.experiment, int(JobState.IDLE), now, cluster.cpus,
         cluster.memory_mb))
    return number


def find_clusters(db: sqlite3.Connection, experiment: str, submission_id: int, schedd: str) -> list[FoundCluster]:
    rows = db.execute("SELECT cluster, jobs, launch_attempt, description FROM clusters "
                      "WHERE submission_id = ? AND experiment = ? ORDER BY cluster", (submission_id, experiment))
    return [_found(row, schedd) for row in rows]


def _found(row: sqlite3.Row, schedd: str) -> FoundCluster:
    description = json.loads(row["description"])
    command = shlex.join(["jobsub_submit", *description.get("command", ())])
    return FoundCluster(f"{row['cluster']}@{schedd}", row["jobs"], row["launch_attempt"],
                        project=description.get("project", ""), command=command)


def count_jobs(db: sqlite3.Connection, experiment: str) -> tuple[JobCount, ...]:
    """Live jobs with a submission, per submission, state and hold code; answered from an index alone."""
    rows = db.execute("SELECT submission_id, state, hold_code, COUNT(*) AS jobs FROM jobs WHERE experiment = ? "
                      "AND submission_id > 0 GROUP BY submission_id, state, hold_code", (experiment,))
    return tuple(JobCount(row["submission_id"], JobState(row["state"]), row["jobs"], row["hold_code"]) for row in rows)


def list_departed(db: sqlite3.Connection, experiment: str, after: int, limit: int) -> list[sqlite3.Row]:
    return db.execute("SELECT * FROM history WHERE experiment = ? AND seq > ? AND submission_id > 0 "
                      "ORDER BY seq LIMIT ?", (experiment, after, limit)).fetchall()


def list_jobs(db: sqlite3.Connection, experiment: str, submission_ids: Collection[int]) -> list[sqlite3.Row]:
    return db.execute("SELECT * FROM jobs WHERE experiment = ? AND submission_id IN (SELECT value FROM json_each(?)) "
                      "ORDER BY cluster, proc", (experiment, json.dumps(list(submission_ids)))).fetchall()


def record_of(row: sqlite3.Row, schedd: str, now: float) -> JobRecord:
    """A row of the queue or the history as the rest of POMS sees it."""
    state = JobState(row["state"])
    ended_at = row["ended_at"] if "ended_at" in row.keys() else None  # noqa: SIM118 (a Row is no mapping)
    wall_seconds = row["wall_seconds"]
    if state == JobState.RUNNING and row["started_at"] is not None:
        wall_seconds = max(0.0, now - row["started_at"])
    return JobRecord(
        submission_id=row["submission_id"], batch_id=f"{row['cluster']}.{row['proc']}@{schedd}", state=state,
        since=_moment(row["since"]), site=row["site"], node=row["node"], exit_code=row["exit_code"],
        exit_signal=row["exit_signal"], hold_code=row["hold_code"], hold_reason=row["hold_reason"],
        cpu_seconds=row["cpu_seconds"], wall_seconds=wall_seconds, memory_used_mb=row["memory_used_mb"],
        memory_asked_mb=row["memory_mb"], attempts=row["attempts"],
        started_at=None if row["started_at"] is None else _moment(row["started_at"]),
        ended_at=None if ended_at is None else _moment(ended_at))


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def depart(db: sqlite3.Connection, where: str, arguments: tuple[Any, ...], *, state: JobState, now: float) -> None:
    """Move jobs from the queue to the history, in their final state."""
    db.execute(f"INSERT INTO history ({_COPIED}, state, since, ended_at) SELECT {_COPIED}, ?, ?, ? FROM jobs "
               f"WHERE {where} ORDER BY cluster, proc", (int(state), now, now, *arguments))
    db.execute(f"DELETE FROM jobs WHERE {where}", arguments)


_PICKED = "(cluster, proc) IN (SELECT cluster, proc FROM picked)"


def act(db: sqlite3.Connection, action: Literal["hold", "release", "remove"], selected: Selected, *, reason: str,
        now: float) -> ActResult:
    """Hold, release or remove jobs. Those that run are marked; the master has them stopped.

    Counts a running job as changed when it is marked, as HTCondor does.
    """
    db.execute("DROP TABLE IF EXISTS temp.picked")
    db.execute(
        "CREATE TEMP TABLE picked AS SELECT cluster, proc, state, wanted FROM jobs WHERE experiment = ? AND ("
        "submission_id IN (SELECT value FROM json_each(?)) OR cluster IN (SELECT value FROM json_each(?)) OR "
        "(cluster, proc) IN (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?)))",
        (selected.experiment, json.dumps([number for number in selected.submission_ids if number > 0]),
         json.dumps(selected.clusters), json.dumps(selected.procs)))
    total = _picked(db, "1")
    refused = 0 if action == "remove" else _picked(db, "wanted = 'remove'")
    changed = {"hold": _hold, "release": _release, "remove": _remove}[action](db, reason, now)
    message = f"{refused} jobs are being removed already." if refused else ""
    return ActResult(changed, unchanged=total - changed - refused, refused=refused, message=message)


def _picked(db: sqlite3.Connection, condition: str) -> int:
    return db.execute(f"SELECT COUNT(*) FROM picked WHERE {condition}").fetchone()[0]


def _hold(db: sqlite3.Connection, reason: str, now: float) -> int:
    waiting = db.execute(f"UPDATE jobs SET state = 5, since = ?, hold_code = ?, hold_subcode = 0, hold_reason = ? "
                         f"WHERE state = 1 AND {_PICKED}", (now, HOLD_BY_USER, reason)).rowcount
    running = db.execute(f"UPDATE jobs SET wanted = 'hold', wanted_reason = ? WHERE state = 2 "
                         f"AND (wanted IS NULL OR wanted = 'requeue') AND {_PICKED}", (reason,)).rowcount
    return waiting + running


def _release(db: sqlite3.Connection, reason: str, now: float) -> int:
    held = db.execute(f"UPDATE jobs SET state = 1, since = ?, hold_code = NULL, hold_subcode = NULL, hold_reason = '' "
                      f"WHERE state = 5 AND {_PICKED}", (now,)).rowcount
    stopping = db.execute(f"UPDATE jobs SET wanted = 'requeue', wanted_reason = ? WHERE state = 2 AND wanted = 'hold' "
                          f"AND {_PICKED}", (reason,)).rowcount
    return held + stopping


def _remove(db: sqlite3.Connection, reason: str, now: float) -> int:
    quiet = _picked(db, "state IN (1, 5)")
    depart(db, f"state IN (1, 5) AND {_PICKED}", (), state=JobState.REMOVED, now=now)
    running = db.execute(f"UPDATE jobs SET wanted = 'remove', wanted_reason = ? WHERE state = 2 "
                         f"AND (wanted IS NULL OR wanted <> 'remove') AND {_PICKED}", (reason,)).rowcount
    return quiet + running


def claim_next(db: sqlite3.Connection, *, slots: int, memory_mb: int,
               waiting: Collection[tuple[int, int]] = ()) -> sqlite3.Row | None:
    """The idle job to start next, or None. The experiment with the fewest running jobs comes first.

    Within an experiment jobs start in the order of submission; a job that does not fit the free memory
    makes those behind it wait, so that a large one cannot be passed over for ever. Jobs ``waiting`` are left out.
    """
    used = db.execute("SELECT COALESCE(SUM(cpus), 0) AS cpus, COALESCE(SUM(memory_mb), 0) AS memory, COUNT(*) AS jobs "
                      "FROM jobs WHERE state = 2").fetchone()
    if used["cpus"] >= slots:
        return None
    experiments = db.execute(
        "SELECT experiment FROM (SELECT DISTINCT experiment FROM jobs WHERE state = 1) AS waiting ORDER BY "
        "(SELECT COUNT(*) FROM jobs AS busy WHERE busy.state = 2 AND busy.experiment = waiting.experiment), experiment")
    for experiment in experiments.fetchall():
        job = db.execute(
            "SELECT * FROM jobs WHERE state = 1 AND experiment = ? AND cluster NOT IN ("
            "SELECT clusters.cluster FROM clusters "
            "JOIN jobs AS busy ON busy.cluster = clusters.cluster AND busy.state = 2 "
            "WHERE clusters.max_running IS NOT NULL GROUP BY clusters.cluster "
            "HAVING COUNT(*) >= clusters.max_running) AND (cluster, proc) NOT IN ("
            "SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?)) "
            "ORDER BY cluster, proc LIMIT 1", (experiment[0], json.dumps(list(waiting)))).fetchone()
        # A job that asks for more than there is altogether was refused at submit, unless the machine shrank.
        if job and (not used["jobs"] or (used["cpus"] + min(job["cpus"], slots) <= slots
                                         and (not memory_mb or used["memory"] + job["memory_mb"] <= memory_mb))):
            return job
    return None


def mark_running(db: sqlite3.Connection, job: sqlite3.Row, *, site: str, node: str, boot: str, now: float) -> None:
    """Count an attempt as begun. ``run`` numbers its directory and, unlike ``attempts``, is never taken back."""
    db.execute("UPDATE jobs SET state = 2, since = ?, started_at = ?, attempts = attempts + 1, run = run + 1, "
               "site = ?, node = ?, boot = ?, wanted = NULL, wanted_reason = NULL, hold_code = NULL, "
               "hold_subcode = NULL, hold_reason = '', exit_code = NULL, exit_signal = NULL "
               "WHERE cluster = ? AND proc = ? AND state = 1",
               (now, now, site, node, boot, job["cluster"], job["proc"]))


def requeue(db: sqlite3.Connection, job: sqlite3.Row, *, was_started: bool, now: float) -> None:
    """Back to idle; an attempt that began nothing is not counted."""
    db.execute("UPDATE jobs SET state = 1, since = ?, attempts = attempts - ?, wanted = NULL, wanted_reason = NULL "
               "WHERE cluster = ? AND proc = ? AND state = 2",
               (now, 0 if was_started else 1, job["cluster"], job["proc"]))


def hold_running(db: sqlite3.Connection, job: sqlite3.Row, *, code: int, subcode: int, reason: str, now: float) -> None:
    db.execute("UPDATE jobs SET state = 5, since = ?, hold_code = ?, hold_subcode = ?, hold_reason = ?, wanted = NULL, "
               "wanted_reason = NULL WHERE cluster = ? AND proc = ? AND state = 2",
               (now, code, subcode, reason, job["cluster"], job["proc"]))


def apply_result(db: sqlite3.Connection, job: sqlite3.Row, result: Mapping[str, Any], now: float) -> str:
    """Record how an attempt ended; returns the line for the job's log. ``job`` is the row as it is now."""
    this = (job["cluster"], job["proc"])
    db.execute("UPDATE jobs SET cpu_seconds = ?, wall_seconds = ?, memory_used_mb = ?, exit_code = ?, exit_signal = ? "
               "WHERE cluster = ? AND proc = ?",
               (result["cpu_seconds"], result["wall_seconds"], result["memory_used_mb"], result.get("exit_code"),
                result.get("exit_signal"), *this))
    kind, wanted = result["kind"], job["wanted"]
    ended_at = result.get("ended_at") or now
    if kind in ("exited", "lost"):
        if kind == "lost":
            db.execute("UPDATE jobs SET hold_reason = ? WHERE cluster = ? AND proc = ?", (result["reason"], *this))
        good = kind == "exited" and result["exit_code"] == 0
        state = JobState.COMPLETED if good else JobState.FAILED
        depart(db, "cluster = ? AND proc = ?", this, state=state, now=ended_at)
        return _ending(result)
    if wanted == "remove":
        depart(db, "cluster = ? AND proc = ?", this, state=JobState.REMOVED, now=ended_at)
        return f"009 Job was removed: {job['wanted_reason']}"
    if kind == "held":
        hold_running(db, job, code=result["hold_code"], subcode=result["hold_subcode"], reason=result["reason"],
                     now=ended_at)
        return f"012 Job was held: {result['reason']} (code {result['hold_code']})"
    if wanted == "hold":
        hold_running(db, job, code=HOLD_BY_USER, subcode=0, reason=job["wanted_reason"], now=ended_at)
        return f"012 Job was held: {job['wanted_reason']} (code {HOLD_BY_USER})"
    requeue(db, job, was_started=kind == "stopped", now=ended_at)
    return "004 Job was evicted; it is idle again"


def _ending(result: Mapping[str, Any]) -> str:
    if result["kind"] == "lost":
        return f"005 Job ended: {result['reason']}"
    if result.get("exit_signal"):
        return f"005 Job terminated abnormally (signal {result['exit_signal']})"
    return f"005 Job terminated normally (return value {result['exit_code']})"
