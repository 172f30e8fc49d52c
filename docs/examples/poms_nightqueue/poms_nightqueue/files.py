"""The queue: a directory of files, the command ``night_submit`` that fills it, and the keeper that runs the jobs.

Run by its path (``files.py submit|keep SPOOL``), so it needs nothing but the standard library. Invariant: files are put
in place whole; once a job is queued only the keeper changes it, and one lock makes sure that there is one keeper.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import json
import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

IDLE, RUNNING, REMOVED, COMPLETED, HELD, FAILED = 1, 2, 3, 4, 5, 6
LIVE = (IDLE, RUNNING, HELD)
HELD_BY_HAND, HELD_CANNOT_START, HELD_MEMORY = 1, 6, 34

PASS_SECONDS = 0.1
SAMPLE_SECONDS = 0.5
ABANDONED_SECONDS = 3600.0
SPOOL_VARIABLE = "POMS_NIGHTQUEUE"
DEFAULTS = {"opens": "00:00", "closes": "00:00", "slots": 1, "default_memory_mb": 2000, "idle_exit_seconds": 60.0,
            "keep_days": 30.0}

_PR_SET_PDEATHSIG = 1
_keepers: list[subprocess.Popen[bytes]] = []


def is_open(opens: str, closes: str, *, minute: int) -> bool:
    """Whether jobs may begin in this minute of the day; a window may go over midnight. Raises ValueError."""
    first, last = (_minute_of(text) for text in (opens, closes))
    if first == last:
        return True
    return first <= minute < last if first < last else minute >= first or minute < last


def _minute_of(text: str) -> int:
    match = re.fullmatch(r"([01][0-9]|2[0-3]):([0-5][0-9])", text, re.ASCII)
    if not match:
        raise ValueError(f"{text!r} is no time of day; write it like 20:00")
    return 60 * int(match[1]) + int(match[2])


def write_document(path: Path, document: Mapping[str, Any]) -> None:
    """Put a JSON document in place so that a reader, also after a crash, sees the old or the whole new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    with temporary.open("w") as file:
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read_document(path: Path) -> dict[str, Any] | None:
    """The document, or None if there is none."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None


class Spool:
    """Where everything is. Holds nothing open, so any number of threads and processes may use it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clusters, self.live = directory / "clusters", directory / "live"
        self.orders, self.submissions = directory / "orders", directory / "submissions"
        self.departed, self.programs = directory / "departed", directory / "bin"

    def prepare(self) -> None:
        """Make what is not there yet; safe to call by many at once."""
        for part in (self.clusters, self.live, self.orders, self.submissions, self.programs):
            part.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.locked("prepare.lock"):
            if not (self.directory / "identity").exists():
                write_document(self.directory / "identity",
                               {"id": secrets.token_hex(8), "name": f"night.{socket.gethostname()}"})
            self.departed.touch(mode=0o600)

    @contextmanager
    def locked(self, name: str) -> Iterator[Any]:
        with (self.directory / name).open("a+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield lock

    def identity(self) -> dict[str, str]:
        return read_document(self.directory / "identity") or {}

    def options(self) -> dict[str, Any]:
        return DEFAULTS | (read_document(self.directory / "options") or {})

    def set_options(self, options: Mapping[str, Any]) -> None:
        if self.options() != dict(options):
            write_document(self.directory / "options", dict(options))

    def cluster(self, number: int) -> dict[str, Any] | None:
        return read_document(self.clusters / str(number) / "cluster")

    def job_directory(self, number: int, proc: int) -> Path:
        return self.clusters / str(number) / str(proc)

    def job(self, cluster: Mapping[str, Any], proc: int) -> dict[str, Any]:
        """A job's facts; one that nobody touched yet is idle."""
        return read_document(self.job_directory(cluster["cluster"], proc) / "job") or {
            "state": IDLE, "since": cluster["submitted_at"], "attempts": 0}

    def live_clusters(self) -> list[dict[str, Any]]:
        """Clusters that have jobs in the queue, in order of number."""
        numbers = sorted(int(path.name) for path in self.live.iterdir() if path.name.isdigit())
        return [found for number in numbers if (found := self.cluster(number)) is not None]

    def clusters_of(self, submission_id: int) -> list[dict[str, Any]]:
        """Clusters of a submission, ended or not, in order of number."""
        index = self.submissions / str(submission_id)
        numbers = sorted(int(path.name) for path in index.iterdir()) if index.is_dir() else []
        return [found for number in numbers if (found := self.cluster(number)) is not None]

    def next_number(self) -> int:
        with self.locked("counter") as counter:
            counter.seek(0)
            number = int(counter.read() or 0) + 1
            counter.seek(0)
            counter.truncate()
            counter.write(str(number))
            counter.flush()
            os.fsync(counter.fileno())
            return number

    def order(self, action: str, jobs: Sequence[tuple[int, int]], reason: str) -> None:
        """Leave an order for the keeper; orders are carried out one after the other."""
        name = f"{time.time_ns():020d}.{secrets.token_hex(4)}"
        write_document(self.orders / name, {"action": action, "jobs": list(jobs), "reason": reason})

    def ensure_keeper(self) -> None:
        """Start a keeper unless one is there. It inherits the lock, so that two can never be started at once."""
        _keepers[:] = [keeper for keeper in _keepers if keeper.poll() is None]
        with (self.directory / "keeper.lock").open("a+") as lock, (self.directory / "keeper.log").open("ab") as log:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            keeper = subprocess.Popen(
                [sys.executable, "-I", str(Path(__file__).resolve()), "keep", str(self.directory)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(lock.fileno(),), start_new_session=True)
            _keepers.append(keeper)
            lock.truncate(0)
            lock.write(str(keeper.pid))


# ------------------------------------------------------------------------------------------ night_submit


def submit(words: Sequence[str], spool: Spool, environment: Mapping[str, str]) -> int:
    """Queue a cluster of jobs; prints its id. The jobs get the environment that this command has."""
    parser = argparse.ArgumentParser(prog="night_submit", description="Queue jobs that run at night.")
    parser.add_argument("--jobs", type=int, default=1, help="how many jobs (default 1)")
    parser.add_argument("--memory", type=int, help="MiB of memory that each job needs")
    parser.add_argument("program", type=Path, help="what each job runs; it is copied now")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    given = parser.parse_args(words)
    submission = environment.get("POMS4_SUBMISSION_ID", "")
    if not submission.isdigit():
        parser.error("POMS4_SUBMISSION_ID is not set: this works in launch scripts of POMS only")
    if not 1 <= given.jobs <= 10_000 or not given.program.is_file():
        parser.error("--jobs is from 1 to 10000, and the program must be a file")
    number = spool.next_number()
    made = spool.clusters / f".new-{number}"
    made.mkdir(mode=0o700)
    shutil.copy(given.program, made / "program")
    write_document(made / "cluster", {
        "cluster": number, "submission_id": int(submission), "jobs": given.jobs, "submitted_at": time.time(),
        "attempt": int(environment.get("POMS4_LAUNCH_ATTEMPT", "1")), "environment": dict(environment),
        "memory_mb": given.memory or spool.options()["default_memory_mb"], "arguments": given.arguments,
        "command": shlex.join(["night_submit", *words])})
    # The signs first: a cluster that is there can be found and will be run, whenever this process dies.
    index = spool.submissions / submission
    index.mkdir(mode=0o700, exist_ok=True)
    (index / str(number)).touch()
    (spool.live / str(number)).touch()
    made.rename(spool.clusters / str(number))
    spool.ensure_keeper()
    print(f"Queued {given.jobs} jobs as {number}@{spool.identity()['name']}")
    return 0


# ------------------------------------------------------------------------------------------- the keeper


@dataclass
class Job:
    """A job in the keeper's hands; ``facts`` is what stands in its file."""

    cluster: dict[str, Any]
    proc: int
    directory: Path
    facts: dict[str, Any]
    process: subprocess.Popen[bytes] | None = None
    sampled_at: float = field(default=0.0)

    def change(self, state: int, **facts: Any) -> None:
        """Write the new facts to disk, and one line about them to the job's log."""
        self.directory.mkdir(mode=0o700, exist_ok=True)
        held = {"hold_code": None, "hold_reason": ""}
        self.facts = self.facts | held | {"state": state, "since": time.time()} | facts
        write_document(self.directory / "job", self.facts)
        word = {IDLE: "idle", RUNNING: "running", REMOVED: "removed", COMPLETED: "completed", HELD: "held",
                FAILED: "failed"}[state]
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(self.facts["since"]))
        with (self.directory / "log").open("a", errors="backslashreplace") as log:
            log.write(f"{stamp} {word} {self.facts['hold_reason']}".rstrip() + "\n")

    def start(self) -> None:
        shutil.rmtree(self.directory / "work", ignore_errors=True)
        (self.directory / "work").mkdir(mode=0o700, parents=True)
        environment = {**self.cluster["environment"], "CLUSTER": str(self.cluster["cluster"]),
                       "PROCESS": str(self.proc)}
        program = self.directory.parent / "program"
        try:
            with (self.directory / "stdout").open("wb") as out, (self.directory / "stderr").open("wb") as err:
                self.process = subprocess.Popen(
                    [program, *self.cluster["arguments"]], env=environment, cwd=self.directory / "work",
                    stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True, preexec_fn=_die_with_us)
        except OSError as problem:
            self.change(HELD, hold_code=HELD_CANNOT_START, hold_reason=f"The program cannot be started: {problem}")
            return
        self.change(RUNNING, attempts=self.facts["attempts"] + 1, started_at=time.time(), ended_at=None,
                    node=socket.gethostname(), pid=self.process.pid, born=_born(self.process.pid), memory_used_mb=None)

    def watch(self) -> None:
        """See whether it ended, or outgrew its memory."""
        assert self.process is not None
        pid, status, used = os.wait4(self.process.pid, os.WNOHANG)
        if pid:
            code = self.process.returncode = os.waitstatus_to_exitcode(status)
            self._ended(COMPLETED if code == 0 else FAILED, exit_code=code if code >= 0 else None,
                        exit_signal=-code if code < 0 else None, cpu_seconds=used.ru_utime + used.ru_stime)
        elif time.monotonic() - self.sampled_at > SAMPLE_SECONDS:
            self.sampled_at = time.monotonic()
            memory, limit = _memory_mb(self.process.pid), self.cluster["memory_mb"]
            most = self.facts["memory_used_mb"] = max(memory, self.facts.get("memory_used_mb") or 0)
            if memory > limit:
                self.stop()
                self.change(HELD, hold_code=HELD_MEMORY, memory_used_mb=most,
                            hold_reason=f"Used {memory} MiB of memory, {limit} MiB were asked for")

    def _ended(self, state: int, **facts: Any) -> None:
        _kill_session(self.facts["pid"])
        self.process = None
        now = time.time()
        self.change(state, ended_at=now, wall_seconds=now - self.facts["started_at"], **facts)

    def stop(self) -> None:
        """Kill all of it and wait for the end."""
        if self.process is not None:
            _kill_session(self.process.pid)
            self.process.wait()
            self.process = None

    def obey(self, action: str, reason: str) -> None:
        state = self.facts["state"]
        if action == "hold" and state in (IDLE, RUNNING):
            self.stop()
            self.change(HELD, hold_code=HELD_BY_HAND, hold_reason=reason)
        elif action == "release" and state == HELD:
            self.change(IDLE)
        elif action == "remove" and state in LIVE:
            self.stop()
            self.change(REMOVED, ended_at=time.time(), hold_reason=reason)


class Keeper:
    """Runs the jobs of one spool until there has been nothing to do for a while."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.jobs: dict[tuple[int, int], Job] = {}
        self._busy_at = time.monotonic()
        self._stopping = False

    def run(self) -> None:
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "_stopping", True))
        self._tidy()
        while not self._stopping:
            options = self.spool.options()
            self._take_new()
            self._obey()
            for job in list(self.jobs.values()):
                if job.process is not None:
                    job.watch()
            self._start_some(options)
            self._let_go()
            if self.jobs:
                self._busy_at = time.monotonic()
            elif time.monotonic() - self._busy_at > options["idle_exit_seconds"]:
                return
            time.sleep(PASS_SECONDS)

    def _take_new(self) -> None:
        known = {number for number, _ in self.jobs}
        for cluster in self.spool.live_clusters():
            number = cluster["cluster"]
            if number in known:
                continue
            for proc in range(cluster["jobs"]):
                job = Job(cluster, proc, self.spool.job_directory(number, proc), self.spool.job(cluster, proc))
                self.jobs[number, proc] = job
                if job.facts["state"] == RUNNING:
                    # Of a keeper that is no more: what may be left of the job ends, and it begins again.
                    if _born(job.facts["pid"]) in (None, job.facts["born"]):
                        _kill_session(job.facts["pid"])
                    job.change(IDLE)
                elif not job.facts["attempts"]:
                    job.change(job.facts["state"])

    def _obey(self) -> None:
        for path in sorted(path for path in self.spool.orders.iterdir() if not path.name.startswith(".")):
            order = read_document(path) or {"jobs": ()}
            for number, proc in order["jobs"]:
                if (number, proc) in self.jobs:
                    self.jobs[number, proc].obey(order["action"], order["reason"])
            path.unlink()

    def _start_some(self, options: Mapping[str, Any]) -> None:
        now = time.gmtime()
        if not is_open(options["opens"], options["closes"], minute=60 * now.tm_hour + now.tm_min):
            return
        free = options["slots"] - sum(job.process is not None for job in self.jobs.values())
        idle = (job for _, job in sorted(self.jobs.items()) if job.facts["state"] == IDLE)
        for job, _ in zip(idle, range(free), strict=False):
            job.start()

    def _let_go(self) -> None:
        """Report clusters all of whose jobs ended as departed; first the records, then they leave the queue."""
        for number in {number for number, _ in self.jobs}:
            jobs = [job for key, job in self.jobs.items() if key[0] == number]
            ended = [job for job in jobs if job.facts["state"] not in LIVE and not job.facts.get("told")]
            if ended:
                with self.spool.departed.open("a") as file:
                    file.writelines(json.dumps({"cluster": number, "proc": job.proc,
                                                "submission_id": job.cluster["submission_id"], **job.facts}) + "\n"
                                    for job in ended)
                    file.flush()
                    os.fsync(file.fileno())
                for job in ended:
                    job.facts["told"] = True
                    shutil.rmtree(job.directory / "work", ignore_errors=True)
            if all(job.facts.get("told") for job in jobs):
                # The age of the output counts from now on.
                os.utime(self.spool.clusters / str(number))
                (self.spool.live / str(number)).unlink(missing_ok=True)
                for job in jobs:
                    del self.jobs[number, job.proc]

    def _tidy(self) -> None:
        """Cut a record that a crash left unfinished; remove signs without cluster, and output that is old."""
        text = self.spool.departed.read_bytes()
        os.truncate(self.spool.departed, text.rfind(b"\n") + 1)
        now = time.time()
        for sign in list(self.spool.live.iterdir()):
            if not (self.spool.clusters / sign.name).exists() and now - sign.stat().st_mtime > ABANDONED_SECONDS:
                sign.unlink(missing_ok=True)
        for path in list(self.spool.clusters.iterdir()):
            is_old = now - path.stat().st_mtime > 86400 * self.spool.options()["keep_days"]
            if is_old and not (self.spool.live / path.name).exists():
                shutil.rmtree(path)


def _die_with_us() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _sessions() -> Iterator[tuple[int, int, int]]:
    """(pid, session, resident bytes) of every process that can be seen."""
    page = os.sysconf("SC_PAGE_SIZE")
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
                yield int(entry.name), int(fields[3]), int(fields[21]) * page


def _born(pid: int) -> str | None:
    """When a process began, in ticks since the machine did, with the name of that start; None if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}:{fields[19]}"
    except OSError:
        return None


def _memory_mb(session: int) -> int:
    return sum(size for _, of, size in _sessions() if of == session) // (1024 * 1024)


def _kill_session(session: int) -> None:
    for pid, of, _ in list(_sessions()):
        if of == session:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def main(words: Sequence[str]) -> int:
    action, directory, *rest = words
    spool = Spool(Path(directory))
    spool.prepare()
    if action == "submit":
        return submit(rest, spool, os.environ)
    # The lock came with a descriptor that is open as long as this process lives.
    Keeper(spool).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
