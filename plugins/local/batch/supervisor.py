"""Runs one attempt of one job to its end, as a process of its own that needs neither master nor database.

Three processes: the supervisor watches, the runner below it records the exit status, the job itself is below
that, in a session of its own. Invariant: ``job.json`` is written by the job's process before it becomes the
job, and no second start ever follows one that wrote it; ``result.json`` is the last thing an attempt writes.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
import tarfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from poms.plugins.local.batch import processes
from poms.plugins.local.batch.queue import (
    HOLD_EXECUTABLE,
    HOLD_INPUT,
    HOLD_LIFETIME,
    HOLD_MEMORY,
    HOLD_MEMORY_SUBCODE,
    HOLD_OUTPUT,
)
from poms.plugins.local.batch.spool import read_document, try_lock, write_file

MIB = 1024 * 1024
LOST_GRACE_SECONDS = 3.0
KILL_LIMIT_SECONDS = 30.0
MAX_DESCRIPTORS = 4096

JOB_FILE, EXIT_FILE, RESULT_FILE, STOP_FILE = "job.json", "exit.json", "result.json", "stop"
REFUSED_FILE, ENDING_FILE = "refused.json", "ending.json"
SUPERVISOR_LOCK, RUNNER_LOCK = "supervisor.lock", "runner.lock"


@dataclass(frozen=True, slots=True)
class Attempt:
    """All that is needed to run one attempt; made by the master from the queue."""

    directory: Path
    scratch: Path
    executable: Path
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    mark: str
    memory_mb: int
    wall_limit_seconds: float | None
    files: tuple[Path, ...] = ()
    archives: tuple[Path, ...] = ()
    outputs: tuple[tuple[str, str], ...] = ()
    sample_seconds: float = 0.5
    kill_grace_seconds: float = 10.0
    keep_scratch: str = "no"

    @property
    def input_directory(self) -> Path:
        return self.scratch / "input"


def supervise(attempt: Attempt, *, adopt: bool, notify: Callable[[], Any]) -> None:
    """Run, or after the first supervisor's death go on watching, one attempt; the caller holds its lock."""
    processes.become_subreaper()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    watch = _Watch(attempt)
    try:
        if adopt:
            watch.take_over()
        else:
            watch.start_runner()
        result = watch.follow()
    except FileNotFoundError:
        if attempt.directory.exists():
            raise
        # Somebody removed the spool: nobody will ever ask for this job, so it must not run on.
        watch.abandon()
        return
    if result["kind"] == "exited":
        result = _copy_outputs(attempt, result)
    keep = attempt.keep_scratch == "always" or (attempt.keep_scratch == "failed" and result.get("exit_code") != 0)
    if not keep:
        _remove_tree(attempt.scratch)
    # Last, because the master forgets the attempt as soon as it sees it.
    write_file(attempt.directory / RESULT_FILE, json.dumps(result))
    notify()


class _Watch:
    """The supervisor's view of its attempt: what it has measured, and whether it has to end it."""

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.peak_bytes = 0
        self.cpu_seconds = 0.0
        self.ending: dict[str, Any] | None = None
        self._pace = 0.02
        self._was_signalled = False
        self._job: dict[str, Any] | None = None

    def start_runner(self) -> None:
        lock = try_lock(self.attempt.directory / RUNNER_LOCK)
        if lock is None:
            raise RuntimeError(f"Another runner holds {self.attempt.directory}.")
        runner = os.fork()
        if runner == 0:
            _in_child(lambda: _run(self.attempt, lock))
        # From here on the lock is held by the runner, and by the job's process until it has written job.json.
        os.close(lock)

    def take_over(self) -> None:
        """Keep to what an earlier supervisor had decided when it was killed, and let go on what it had frozen."""
        self.ending = read_document(self.attempt.directory / ENDING_FILE)
        self._was_signalled = self.ending is not None
        job = read_document(self.attempt.directory / JOB_FILE)
        if job is not None and processes.is_alive(job["pid"], job["started"]):
            processes.signal_all([job["pid"]], signal.SIGCONT)

    def follow(self) -> dict[str, Any]:
        """Watch until no process of the attempt is left; returns how it ended."""
        while True:
            outcome = self._outcome()
            if outcome is not None:
                self._end_family()
                return self._result(outcome)
            self._job = job = read_document(self.attempt.directory / JOB_FILE) or self._job
            if job is not None:
                self._sample(job)
                self._check(job)
            if self.ending is not None:
                self._stop(job)
            signal.sigtimedwait({signal.SIGCHLD}, self._pace)
            self._pace = min(self._pace * 1.5, self.attempt.sample_seconds)
            self._reap()

    def abandon(self) -> None:
        if self._job is not None:
            self._kill(self._job)

    def _outcome(self) -> dict[str, Any] | None:
        """How the attempt ended, None while it goes on."""
        # In this order: what is written before the lock is let go is seen after the lock was found free.
        runner_lock = try_lock(self.attempt.directory / RUNNER_LOCK)
        ended = read_document(self.attempt.directory / EXIT_FILE)
        if runner_lock is None:
            return ended
        os.close(runner_lock)
        job = read_document(self.attempt.directory / JOB_FILE)
        if ended is not None or job is None:
            return ended or {"kind": "unstarted"}
        if processes.is_alive(job["pid"], job["started"]):
            return None
        return self._await_status()

    def _await_status(self) -> dict[str, Any]:
        """The job is gone and so is its runner: its status comes from whoever inherited it, if anybody."""
        limit = time.monotonic() + LOST_GRACE_SECONDS
        while time.monotonic() < limit:
            self._reap()
            ended = read_document(self.attempt.directory / EXIT_FILE)
            if ended is not None:
                return ended
            signal.sigtimedwait({signal.SIGCHLD}, 0.05)
        return {"kind": "lost"}

    def _reap(self) -> None:
        for pid, status, used in processes.reaped():
            self.cpu_seconds = max(self.cpu_seconds, used.ru_utime + used.ru_stime)
            job = read_document(self.attempt.directory / JOB_FILE)
            if job is not None and job["pid"] == pid:
                record_exit(self.attempt.directory, status, used)

    def _sample(self, job: Mapping[str, Any]) -> None:
        if not processes.is_alive(job["pid"], job["started"]):
            return
        members = processes.descendants([job["pid"], *processes.orphans(os.getpid())])
        resident, cpu = processes.usage(members)
        limit = self.attempt.memory_mb * MIB
        if limit and resident > limit:
            # Pages shared between the job's processes are in that sum more than once.
            resident = min(resident, processes.proportional_bytes(members) or resident)
        self.peak_bytes = max(self.peak_bytes, resident)
        self.cpu_seconds = max(self.cpu_seconds, cpu)

    def _check(self, job: Mapping[str, Any]) -> None:
        """Decide whether the job must end: it was asked for, or a limit is passed."""
        attempt = self.attempt
        if self.ending is not None:
            return
        if (attempt.directory / STOP_FILE).exists():
            self.ending = {"kind": "stopped"}
        elif attempt.memory_mb and self.peak_bytes > attempt.memory_mb * MIB:
            self.ending = _held(HOLD_MEMORY, HOLD_MEMORY_SUBCODE,
                                f"Job used {-(-self.peak_bytes // MIB)} MB of memory and had asked for "
                                f"{attempt.memory_mb} MB; ask for more with --memory")
        elif attempt.wall_limit_seconds and processes.age_seconds(job["started"]) > attempt.wall_limit_seconds:
            self.ending = _held(HOLD_LIFETIME, 0, f"Job ran longer than the {attempt.wall_limit_seconds:g} seconds it "
                                "had asked for; ask for more with --expected-lifetime")

    def _stop(self, job: Mapping[str, Any] | None) -> None:
        """Ask the job's processes to end, and end those that do not."""
        if job is None:
            return
        # A job that ended by itself a moment ago has ended; stopped and released it would run again.
        if not self._was_signalled and not processes.freeze(job["pid"], job["started"]):
            self.ending = None
            return
        if not self._was_signalled:
            write_file(self.attempt.directory / ENDING_FILE, json.dumps(self.ending))
        self._was_signalled = True
        processes.signal_all(self._family(job), signal.SIGTERM)
        processes.signal_all([job["pid"]], signal.SIGCONT)
        limit = time.monotonic() + self.attempt.kill_grace_seconds
        while time.monotonic() < limit and processes.is_alive(job["pid"], job["started"]):
            signal.sigtimedwait({signal.SIGCHLD}, 0.05)
            self._reap()
        self._kill(job)

    def _end_family(self) -> None:
        """The job itself is gone; what it left behind must not outlive it."""
        job = read_document(self.attempt.directory / JOB_FILE)
        if job is not None and (left := self._family(job)):
            processes.signal_all(left, signal.SIGTERM)
            signal.sigtimedwait({signal.SIGCHLD}, 0.2)
            self._kill(job)
        self._reap()

    def _kill(self, job: Mapping[str, Any]) -> None:
        limit = time.monotonic() + KILL_LIMIT_SECONDS
        while time.monotonic() < limit:
            self._reap()
            left = self._family(job)
            if not left:
                return
            processes.signal_all(left, signal.SIGKILL)
            signal.sigtimedwait({signal.SIGCHLD}, 0.02)

    def _family(self, job: Mapping[str, Any]) -> set[int]:
        return processes.family(job["pid"], job["started"], reaper=os.getpid(), mark=self.attempt.mark)

    def _result(self, outcome: Mapping[str, Any]) -> dict[str, Any]:
        job = read_document(self.attempt.directory / JOB_FILE)
        began = job["began_at"] if job else None
        ended_at = outcome.get("ended_at", time.time())
        measured = {
            "cpu_seconds": round(max(self.cpu_seconds, outcome.get("cpu_seconds", 0.0)), 3),
            "wall_seconds": None if began is None else round(outcome.get("wall_seconds") or ended_at - began, 3),
            "memory_used_mb": -(-max(self.peak_bytes, outcome.get("peak_bytes", 0)) // MIB) or None,
            "ended_at": ended_at,
        }
        refused = read_document(self.attempt.directory / REFUSED_FILE)
        if refused is not None:
            return {**measured, **refused}
        if outcome["kind"] != "unstarted" and self.ending is not None:
            return {**measured, **self.ending}
        result = {**measured, **{key: outcome[key] for key in ("kind", "exit_code", "exit_signal") if key in outcome}}
        if result["kind"] == "lost":
            result["reason"] = "its exit status is unknown, because the processes that watch it were killed with it"
        return result


def _held(code: int, subcode: int, reason: str) -> dict[str, Any]:
    return {"kind": "held", "hold_code": code, "hold_subcode": subcode, "reason": reason}


def record_exit(directory: Path, status: int, used: Any) -> None:
    """Keep a job's exit status; whoever of runner, supervisor and master reaped it calls this."""
    code = os.waitstatus_to_exitcode(status)
    job = read_document(directory / JOB_FILE) or {}
    # The kernel counts what this program used before it became the job; no more than that tells nothing.
    peak_bytes = used.ru_maxrss * 1024
    write_file(directory / EXIT_FILE, json.dumps({
        "kind": "exited", "exit_code": code if code >= 0 else None, "exit_signal": -code if code < 0 else None,
        "cpu_seconds": used.ru_utime + used.ru_stime, "ended_at": time.time(),
        "peak_bytes": peak_bytes if peak_bytes > job.get("before_bytes", 0) + MIB else 0,
        "wall_seconds": processes.age_seconds(job["started"]) if job else None}))


def _in_child(work: Callable[[], Any]) -> NoReturn:
    """Be a forked child: nothing of the parent's Python must run in it but ``work``."""
    status = 70
    try:
        work()
        status = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)


# ------------------------------------------------------------------------------------ the runner and the job


def _run(attempt: Attempt, lock: int) -> None:
    """The runner: makes the scratch directory, starts the job, waits for it and records how it ended."""
    os.setsid()
    # Above all the supervisor's own lock, which must be free as soon as the supervisor is dead.
    os.closerange(3, lock)
    os.closerange(lock + 1, MAX_DESCRIPTORS)
    processes.set_name("poms-runner")
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    try:
        _make_scratch(attempt)
    except (OSError, tarfile.TarError) as problem:
        _refuse(attempt, _held(HOLD_INPUT, getattr(problem, "errno", None) or 0,
                               f"The job's input could not be prepared: {problem}"))
        return
    job = os.fork()
    if job == 0:
        _in_child(lambda: _become_job(attempt))
    _, status, used = os.wait4(job, 0)
    if read_document(attempt.directory / JOB_FILE) is not None:
        record_exit(attempt.directory, status, used)


def _refuse(attempt: Attempt, hold: Mapping[str, Any]) -> None:
    write_file(attempt.directory / REFUSED_FILE, json.dumps(hold))
    write_file(attempt.directory / EXIT_FILE, json.dumps({"kind": "unstarted"}))


def _make_scratch(attempt: Attempt) -> None:
    attempt.scratch.mkdir(mode=0o700)
    attempt.input_directory.mkdir()
    for source in attempt.files:
        shutil.copy2(source, attempt.input_directory / source.name)
    for number, archive in enumerate(attempt.archives):
        shutil.copy2(archive, attempt.input_directory / archive.name)
        place = attempt.scratch / f"tar_{number}"
        place.mkdir()
        with tarfile.open(archive) as tar:
            tar.extractall(place, filter="data")
    for tag, _ in attempt.outputs:
        (attempt.scratch / f"out_{tag}").mkdir()


def _become_job(attempt: Attempt) -> None:
    os.setsid()
    stdin = os.open(os.devnull, os.O_RDONLY)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    stdout = os.open(attempt.directory / "stdout", flags, 0o600)
    stderr = os.open(attempt.directory / "stderr", flags, 0o600)
    os.chdir(attempt.scratch)
    os.umask(0o022)
    pid = os.getpid()
    write_file(attempt.directory / JOB_FILE, json.dumps({
        "pid": pid, "started": processes.start_ticks(pid), "began_at": time.time(),
        "before_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}), durable=False)
    for target, descriptor in enumerate((stdin, stdout, stderr)):
        os.dup2(descriptor, target)
    # Python ignores these two; ignored signals stay ignored in the program that follows.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    try:
        os.execve(attempt.executable, [str(attempt.executable), *attempt.arguments], dict(attempt.environment))
    except (OSError, ValueError) as problem:
        number = getattr(problem, "errno", None) or errno.EINVAL
        write_file(attempt.directory / REFUSED_FILE, json.dumps(_held(
            HOLD_EXECUTABLE, number, f"The executable {attempt.executable.name} could not be started: "
            f"{os.strerror(number)}")))
        os._exit(127)


# -------------------------------------------------------------------------------------------- after the job


def _copy_outputs(attempt: Attempt, result: dict[str, Any]) -> dict[str, Any]:
    """Bring the contents of the job's output directories (-d TAG DIR) to their places."""
    for tag, target in attempt.outputs:
        try:
            Path(target).mkdir(parents=True, exist_ok=True)
            for path in sorted((attempt.scratch / f"out_{tag}").iterdir()):
                _copy_output(path, Path(target) / path.name)
        except OSError as problem:
            hold = _held(HOLD_OUTPUT, problem.errno or 0, f"The job's output {tag} could not be copied: {problem}")
            return {**result, "exit_code": None, "exit_signal": None, **hold}
    return result


def _copy_output(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
        return
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.copy2(source, temporary)
    temporary.replace(target)


def _remove_tree(path: Path) -> None:
    """Remove a scratch directory, also if the job left directories in it that forbid that."""
    def insist(function: Callable[..., Any], name: str, _problem: Any) -> None:
        with suppress(OSError):
            Path(name).parent.chmod(0o700)
            Path(name).chmod(0o700)
            function(name)

    shutil.rmtree(path, onerror=insist)
