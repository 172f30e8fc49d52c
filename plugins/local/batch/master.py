"""The master of the local batch system: starts idle jobs in free slots and books how they ended.

Not for watching a job (``supervisor`` does, and goes on without a master). Invariant: one master per spool, by
a lock; it may be killed at any instant, and the next one finds in the spool all that this one knew.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from poms.plugins.local.batch import processes, projects, queue
from poms.plugins.local.batch.spool import Identity, Options, Spool, read_document, try_lock
from poms.plugins.local.batch.supervisor import (
    ENDING_FILE,
    EXIT_FILE,
    JOB_FILE,
    MAX_DESCRIPTORS,
    REFUSED_FILE,
    RESULT_FILE,
    RUNNER_LOCK,
    STOP_FILE,
    SUPERVISOR_LOCK,
    Attempt,
    record_exit,
    supervise,
)
from poms.webservice.errors import BackendUnavailable

logger = logging.getLogger("poms.local_batch")

START_TIMEOUT_SECONDS = 30.0
LOCK_PATIENCE_SECONDS = 2.0
MAX_FALSE_STARTS = 5
PRUNE_SECONDS = 3600.0
DAY_SECONDS = 86400.0
LOG_BYTES = 10_000_000
WORK_FILES = (JOB_FILE, EXIT_FILE, STOP_FILE, REFUSED_FILE, ENDING_FILE, SUPERVISOR_LOCK, RUNNER_LOCK, RESULT_FILE)


def ensure_master(spool: Spool) -> None:
    """Have a master running, and tell it that there is something to do."""
    if is_running(spool):
        spool.wake_master()
        return
    try:
        if spool.log.exists() and spool.log.stat().st_size > LOG_BYTES:
            spool.log.replace(spool.log.with_suffix(".log.1"))
        with spool.log.open("ab") as log:
            started = subprocess.run(
                [sys.executable, "-I", "-m", "poms.plugins.local.batch.master", str(spool.directory)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True, check=False,
                timeout=START_TIMEOUT_SECONDS, env=_daemon_environment())
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise BackendUnavailable(f"The local batch system could not be started: {problem}.") from problem
    if started.returncode:
        raise BackendUnavailable(f"The local batch system could not be started; see {spool.log}.")


def is_running(spool: Spool) -> bool:
    """Whether a master holds the lock of this spool."""
    lock = os.open(spool.master_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def stop_master(spool: Spool) -> None:
    """End the master of a spool; its jobs go on and the next call of the backend starts another."""
    if not is_running(spool):
        return
    pid, started = map(int, spool.master_lock.read_text().split())
    if not processes.is_alive(pid, started):
        return
    handle = os.pidfd_open(pid)
    try:
        os.kill(pid, signal.SIGTERM)
        select.select([handle], [], [], START_TIMEOUT_SECONDS)
    finally:
        os.close(handle)


def _daemon_environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("HOME", "USER", "LOGNAME", "TZ") if name in os.environ}
    return {**kept, "PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", processes.DAEMON_MARK: "1"}


def main(arguments: list[str]) -> int:
    """Become the master of a spool in the background; also if there is one, which is not an error."""
    spool = Spool(Path(arguments[0]))
    spool.prepare()
    if os.fork():
        return 0
    os.setsid()
    os.umask(0o077)
    processes.set_name("poms-batch")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(levelname)s %(message)s")
    status = 1
    try:
        Master(spool).run()
        status = 0
    except Exception:
        logger.exception("the master ended")
    finally:
        logging.shutdown()
        os._exit(status)


@dataclass(slots=True)
class _Children:
    """Processes this master forked and has not reaped: supervisors, and finishers of SAM projects."""

    supervisors: dict[int, tuple[int, int]] = field(default_factory=dict)
    finishers: dict[int, int] = field(default_factory=dict)


class Master:
    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.identity: Identity = spool.identity()
        self.boot = processes.boot_identity()
        self.children = _Children()
        self.false_starts: dict[tuple[int, int], tuple[int, float]] = {}
        self.stopping = False
        self._options = Options()
        self._lock: int | None = None
        self._pipe = -1
        self._pruned_at = 0.0

    def run(self) -> None:
        """Work until there has been nothing to do for a while, or SIGTERM; jobs go on without a master."""
        if not self._acquire():
            return
        processes.become_subreaper()
        self._pipe = os.open(self.spool.wakeup, os.O_RDWR | os.O_NONBLOCK)
        os.set_blocking(self._pipe, False)
        signal.signal(signal.SIGTERM, self._on_terminate)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._pipe, warn_on_full_buffer=False)
        logger.info("master of %s began", self.spool.directory)
        quiet_since = time.monotonic()
        while not self.stopping and self.spool.database.exists():
            if self._cycle():
                quiet_since = time.monotonic()
            elif time.monotonic() - quiet_since > self._options.idle_exit_seconds and self._may_exit():
                break
            self._wait()
        logger.info("master of %s ended", self.spool.directory)

    def _on_terminate(self, *_: Any) -> None:
        self.stopping = True

    def _acquire(self) -> bool:
        """Take the lock; somebody who only looks at it may hold it for an instant."""
        limit = time.monotonic() + LOCK_PATIENCE_SECONDS
        while True:
            self._lock = try_lock(self.spool.master_lock)
            if self._lock is not None:
                os.ftruncate(self._lock, 0)
                os.write(self._lock, f"{os.getpid()} {processes.start_ticks(os.getpid())}".encode())
                return True
            if time.monotonic() > limit:
                return False
            time.sleep(0.02)

    def _may_exit(self) -> bool:
        """Let go of the lock, then look once more: a submit that saw the lock held is found here."""
        assert self._lock is not None
        os.close(self._lock)
        self._lock = None
        if not self._has_work():
            return True
        return not self._acquire()

    def _has_work(self) -> bool:
        with self.spool.read() as db:
            return db.execute("SELECT EXISTS (SELECT 1 FROM jobs WHERE state IN (1, 2)) OR EXISTS ("
                              "SELECT 1 FROM projects WHERE state <> 'ended' AND NOT EXISTS (SELECT 1 FROM jobs WHERE "
                              "jobs.cluster = projects.cluster))").fetchone()[0] == 1

    def _wait(self) -> None:
        select.select([self._pipe], [], [], self._options.poll_seconds)
        with suppress(BlockingIOError):
            while len(os.read(self._pipe, 4096)) == 4096:
                pass

    def _cycle(self) -> bool:
        """One round; True if there is anything to look after. A disk that is full now may not be so later."""
        try:
            self._options = self.spool.options()
            self._reap()
            self._collect()
            self._relay_stops()
            self._finish_projects()
            self._start_jobs()
            self._prune()
            return self._has_work()
        except Exception:
            logger.exception("a round failed; it is tried again")
            time.sleep(1.0)
            return True

    # ------------------------------------------------------------------------------------ what has ended

    def _reap(self) -> None:
        for pid, status, used in processes.reaped():
            if pid in self.children.supervisors:
                job = self.children.supervisors.pop(pid)
                if status:
                    logger.warning("supervisor %d of job %d.%d ended with %s", pid, *job, status)
            elif pid in self.children.finishers:
                del self.children.finishers[pid]
            else:
                self._inherit_status(pid, status, used)

    def _inherit_status(self, pid: int, status: int, used: Any) -> None:
        """A job whose runner and supervisor were both killed became our child: nobody else has its status."""
        for row in self._running():
            directory = self._directory(row)
            job = read_document(directory / JOB_FILE)
            if job is not None and job["pid"] == pid and not (directory / EXIT_FILE).exists():
                record_exit(directory, status, used)

    def _running(self) -> list[sqlite3.Row]:
        with self.spool.read() as db:
            return db.execute("SELECT * FROM jobs WHERE state = 2").fetchall()

    def _directory(self, row: sqlite3.Row) -> Path:
        return self.spool.run_directory(row["cluster"], row["proc"], row["run"])

    def _collect(self) -> None:
        """Book finished attempts; give those without a living supervisor a new one, or back to the queue."""
        results = []
        for row in self._running():
            try:
                result = read_document(self._directory(row) / RESULT_FILE)
                if result is None and (row["cluster"], row["proc"]) not in self.children.supervisors.values():
                    result = self._take_over(row)
            except Exception:
                logger.exception("job %d.%d cannot be looked after now", row["cluster"], row["proc"])
                continue
            if result is not None:
                results.append((row, result))
        if results:
            self._book(results)

    def _take_over(self, row: sqlite3.Row) -> dict[str, Any] | None:
        """Look after a running job that this master did not start, or whose supervisor is dead."""
        directory = self._directory(row)
        directory.mkdir(parents=True, exist_ok=True)
        lock = try_lock(directory / SUPERVISOR_LOCK)
        if lock is None:
            return None  # its supervisor lives, and will write the result
        try:
            result = read_document(directory / RESULT_FILE)
            if result is not None:
                return result
            if (directory / EXIT_FILE).exists() or (row["boot"] == self.boot and self._was_begun(directory)):
                self._fork_supervisor(row, lock, adopt=True)
                return None
            begun = (directory / JOB_FILE).exists()
            return {"kind": "stopped" if begun else "unstarted", "cpu_seconds": None, "wall_seconds": None,
                    "memory_used_mb": None, "ended_at": time.time()}
        finally:
            os.close(lock)

    def _was_begun(self, directory: Path) -> bool:
        """Whether the attempt's job may exist: its runner is alive, or the job has left its mark."""
        runner_lock = try_lock(directory / RUNNER_LOCK)
        if runner_lock is None:
            return True
        os.close(runner_lock)
        return (directory / JOB_FILE).exists() or (directory / REFUSED_FILE).exists()

    def _book(self, results: list[tuple[sqlite3.Row, dict[str, Any]]]) -> None:
        lines = []
        with self.spool.write() as db:
            for seen, result in results:
                this = (seen["cluster"], seen["proc"])
                row = db.execute("SELECT * FROM jobs WHERE cluster = ? AND proc = ? AND state = 2 AND run = ?",
                                 (*this, seen["run"])).fetchone()
                if row is not None:
                    lines.append((this, queue.apply_result(db, row, self._with_patience(this, result), time.time())))
        for this, line in lines:
            logger.info("job %d.%d: %s", *this, line)
            self._note(*this, line)
        for seen, _ in results:
            for name in WORK_FILES:
                (self._directory(seen) / name).unlink(missing_ok=True)

    def _with_patience(self, job: tuple[int, int], result: dict[str, Any]) -> dict[str, Any]:
        """A job that cannot be begun is tried again after a pause, and held after some pauses."""
        if result["kind"] != "unstarted":
            self.false_starts.pop(job, None)
            return result
        count = self.false_starts.get(job, (0, 0.0))[0] + 1
        self.false_starts[job] = (count, time.monotonic() + 2.0 ** (count - 1))
        if count < MAX_FALSE_STARTS:
            return result
        del self.false_starts[job]
        return {**result, "kind": "held", "hold_code": queue.HOLD_EXECUTABLE, "hold_subcode": 0,
                "reason": f"The job could not be begun {count} times; see {self.spool.log.name} of the spool"}

    def _note(self, cluster: int, proc: int, line: str) -> None:
        directory = self.spool.job_directory(cluster, proc)
        directory.mkdir(parents=True, exist_ok=True)
        moment = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
        with (directory / "log").open("a") as log:
            log.write(f"{moment} ({cluster}.{proc:03d}) {line}\n...\n")

    def _relay_stops(self) -> None:
        """Tell supervisors of the jobs that somebody wants held or removed."""
        for row in self._running():
            if row["wanted"]:
                with suppress(FileNotFoundError):
                    (self._directory(row) / STOP_FILE).touch()

    # ----------------------------------------------------------------------------------------- starting

    def _start_jobs(self) -> None:
        """Fill the free slots. The queue says running before anything runs; ``_take_over`` mends the gap."""
        slots, memory_mb = self._options.slot_count(), self._options.memory_mb
        site, node = self._options.site, self._options.node_name()
        now = time.monotonic()
        waiting = [job for job, (_, until) in self.false_starts.items() if until > now]
        claimed = []
        with self.spool.read() as db:
            if queue.claim_next(db, slots=slots, memory_mb=memory_mb, waiting=waiting) is None:
                return
        with self.spool.write() as db:
            while job := queue.claim_next(db, slots=slots, memory_mb=memory_mb, waiting=waiting):
                queue.mark_running(db, job, site=site, node=node, boot=self.boot, now=time.time())
                claimed.append((job["cluster"], job["proc"]))
        for row in self._running():
            if (row["cluster"], row["proc"]) in claimed:
                self._begin(row)

    def _begin(self, row: sqlite3.Row) -> None:
        """Start one job; if that fails, the others are still started and this one goes back to the queue."""
        directory = self._directory(row)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            lock = try_lock(directory / SUPERVISOR_LOCK)
            if lock is None:
                raise RuntimeError("somebody already runs it")
            try:
                self._note(row["cluster"], row["proc"], f"001 Job executing on {row['node']}")
                self._fork_supervisor(row, lock, adopt=False)
            finally:
                os.close(lock)
        except Exception:
            logger.exception("job %d.%d could not be started", row["cluster"], row["proc"])

    def _fork_supervisor(self, row: sqlite3.Row, lock: int, *, adopt: bool) -> None:
        """The child keeps the lock's open file, so the lock lives exactly as long as the supervisor."""
        attempt = self._attempt(row)
        pid = os.fork()
        if pid:
            self.children.supervisors[pid] = (row["cluster"], row["proc"])
            return
        status = 1
        try:
            self._leave_master(lock, f"poms-job {row['cluster']}.{row['proc']}")
            supervise(attempt, adopt=adopt, notify=self.spool.wake_master)
            status = 0
        except BaseException:
            logger.exception("supervisor of job %d.%d failed", row["cluster"], row["proc"])
        finally:
            os._exit(status)

    def _leave_master(self, kept: int, name: str) -> None:
        """In a forked child: keep nothing of the master's but the log and one descriptor."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.setsid()
        os.closerange(3, kept)
        os.closerange(max(kept, 2) + 1, MAX_DESCRIPTORS)
        processes.set_name(name)

    def _attempt(self, row: sqlite3.Row) -> Attempt:
        with self.spool.read() as db:
            cluster = db.execute("SELECT * FROM clusters WHERE cluster = ?", (row["cluster"],)).fetchone()
        description = json.loads(cluster["description"])
        inputs = self.spool.inputs / description["inputs"]
        options = self._options
        name = f"{row['cluster']}.{row['proc']}"
        attempt = Attempt(
            directory=self._directory(row), scratch=self.spool.scratch / f"{name}.{row['run']}",
            executable=inputs / "executable" / description["executable"], arguments=tuple(description["arguments"]),
            environment={}, mark=f"{self.identity.spool}/{name}.{row['run']}", memory_mb=row["memory_mb"],
            wall_limit_seconds=cluster["wall_limit_seconds"],
            files=tuple(inputs / "files" / file for file in description["files"]),
            archives=tuple(inputs / "archives" / archive for archive in description["archives"]),
            outputs=tuple((tag, target) for tag, target in description["outputs"]),
            sample_seconds=options.sample_seconds, kill_grace_seconds=options.kill_grace_seconds,
            keep_scratch=options.keep_scratch)
        return _with_environment(attempt, row, description=description, schedd=self.identity.schedd)

    # ------------------------------------------------------------------------------------ SAM projects, tidying

    def _finish_projects(self) -> None:
        """End the SAM projects whose last job has left, each in a child: a catalogue may hang."""
        with self.spool.read() as db:
            due = projects.list_due(db, time.time(), self.boot)
        busy = set(self.children.finishers.values())
        for row in due:
            if row["id"] in busy:
                continue
            pid = os.fork()
            if pid:
                self.children.finishers[pid] = row["id"]
                continue
            status = 1
            try:
                self._leave_master(2, "poms-endproject")
                projects.finish(self.spool, row)
                self.spool.wake_master()
                status = 0
            except BaseException:
                logger.exception("ending project %s failed; it is tried again", row["name"])
            finally:
                os._exit(status)

    def _prune(self) -> None:
        """Remove what jobs left in the spool long ago; the history keeps its rows."""
        if time.monotonic() - self._pruned_at < PRUNE_SECONDS and self._pruned_at:
            return
        self._pruned_at = time.monotonic()
        oldest = time.time() - self._options.log_days * DAY_SECONDS
        with self.spool.read() as db:
            used = {json.loads(row[0])["inputs"] for row in db.execute(
                "SELECT description FROM clusters WHERE submitted_at >= ? OR cluster IN (SELECT cluster FROM jobs)",
                (oldest,))}
            live = {str(row[0]) for row in db.execute("SELECT DISTINCT cluster FROM jobs")}
        for path in self.spool.inputs.iterdir():
            # A day's grace: a submit puts its files here before its rows are there.
            if path.name not in used and path.stat().st_mtime < min(oldest, time.time() - DAY_SECONDS):
                shutil.rmtree(path)
        for path in self.spool.jobs.iterdir():
            if path.name not in live and path.stat().st_mtime < oldest:
                shutil.rmtree(path)


def _with_environment(attempt: Attempt, row: sqlite3.Row, *, description: dict[str, Any], schedd: str) -> Attempt:
    """The attempt with the variables of its job: what was submitted, and above it what says where it is."""
    cluster, proc = row["cluster"], row["proc"]
    scratch = str(attempt.scratch)
    inputs = str(attempt.input_directory)
    own = {
        "CLUSTER": str(cluster), "PROCESS": str(proc), "JOBSUBJOBID": f"{cluster}.{proc}@{schedd}",
        "JOBSUBPARENTJOBID": f"{cluster}.0@{schedd}", "JOBSUBJOBSECTION": str(proc + 1), "_CONDOR_SCRATCH_DIR": scratch,
        "TMPDIR": scratch, "CONDOR_DIR_INPUT": inputs, "_CONDOR_JOB_IWD": scratch,
        processes.JOB_MARK: attempt.mark,
        **{f"CONDOR_DIR_{tag}": f"{scratch}/out_{tag}" for tag, _ in attempt.outputs},
    }
    for number, archive in enumerate(attempt.archives):
        suffix = f"_{number}" if number else ""
        own[f"INPUT_TAR_FILE{suffix}"] = f"{inputs}/{archive.name}"
        own[f"INPUT_TAR_DIR_LOCAL{suffix}"] = f"{scratch}/tar_{number}"
    basic = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": scratch, "LANG": "C.UTF-8"}
    return replace(attempt, environment={**basic, **description["environment"], **own})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
