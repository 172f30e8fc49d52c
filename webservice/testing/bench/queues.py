"""Real queues that a measurement fills with jobs that wait: a throw-away HTCondor pool's, or the local batch system's.

Each can be asked in the plainest way there is, as the reference. Invariant: what was started for a queue ends with it.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Protocol

from poms.webservice.demo import pool as demo_pool
from poms.webservice.interfaces import JobBackend, JobSelection, LaunchPlan
from poms.webservice.testing.bench.places import Place, await_no_daemon, run_module

BATCH_SYSTEMS = ("auto", "htcondor", "local")
PROCS_AT_ONCE = 10_000
"""A schedd takes twice as many in one submit of the throw-away pool."""

PATIENCE_SECONDS = 120.0


class Queue(Protocol):
    """A queue that can be filled; ``plugin`` is the entry point that serves it, ``section`` its part of poms.ini."""

    name: str
    plugin: str
    section: str

    def fill(self, backend: JobBackend, submission_ids: Sequence[int], each: int) -> None:
        """Queue so many jobs of each submission; they wait."""
        ...

    def raw_seconds(self) -> float:
        """How long one grouped query takes, by whatever is nearest to the queue."""
        ...

    def empty(self, backend: JobBackend, submission_ids: Sequence[int]) -> None:
        """Leave nothing behind."""
        ...


@contextmanager
def queue(batch: str, place: Place) -> Iterator[Queue]:
    """The batch system asked for; ``auto`` takes a pool if one can be started here."""
    if batch == "local" or batch == "auto" and not _can_have_pool():
        yield LocalQueue(place)
        return
    with demo_pool.started(demo_pool.POOL_SCRIPT, [], provision=False) as settings, _asking(settings) as process:
        yield PoolQueue(settings, process)


def _can_have_pool() -> bool:
    """Only what is there already is used: to make a pool's system takes minutes and the network."""
    if not demo_pool.POOL_SCRIPT.is_file() or importlib.util.find_spec("htcondor2") is None:
        return False
    return not subprocess.run([sys.executable, str(demo_pool.POOL_SCRIPT), "lacking"], capture_output=True,
                              check=False).returncode


class PoolQueue:
    """The first schedd of a pool; its jobs match no machine."""

    name = plugin = "htcondor"

    def __init__(self, settings: Mapping[str, str], asking: subprocess.Popen[str]) -> None:
        self._settings, self._asking = settings, asking
        self.section = demo_pool.section_text({**settings, "config": "none", "timeout_seconds": "300"})

    def fill(self, backend: JobBackend, submission_ids: Sequence[int], each: int) -> None:
        at_once = max(1, PROCS_AT_ONCE // each)
        for start in range(0, len(submission_ids), at_once):
            numbers = "\n".join(map(str, submission_ids[start:start + at_once]))
            done = subprocess.run(
                [str(Path(self._settings["programs"]) / "condor_submit"), "-name", self._settings["schedds"], "-terse",
                 "-"], capture_output=True, text=True, check=False, input=(
                    "executable = /bin/true\ntransfer_executable = false\nrequirements = false\n"
                    f"MY.POMS4_SUBMISSION_ID = $(number)\nMY.POMS4_LAUNCH_ATTEMPT = 1\n"
                    f"queue {each} number from (\n{numbers}\n)\n"))
            if done.returncode:
                raise RuntimeError(f"the pool took no jobs: {done.stdout}{done.stderr}")

    def raw_seconds(self) -> float:
        assert self._asking.stdin and self._asking.stdout
        self._asking.stdin.write("again\n")
        self._asking.stdin.flush()
        return float(self._asking.stdout.readline())

    def empty(self, backend: JobBackend, submission_ids: Sequence[int]) -> None:
        """The pool ends, and its jobs with it."""


@contextmanager
def _asking(settings: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    process = run_module("poms.webservice.testing.bench.grouped", [settings["collector"], settings["schedds"]])
    try:
        yield process
    finally:
        process.communicate(timeout=PATIENCE_SECONDS)


class LocalQueue:
    """The queue of the local batch system, whose only slot one job keeps for itself."""

    name, plugin = "the local queue", "local_batch"
    section = "[local_batch]\nslots = 1\nidle_exit_seconds = 1\nkill_grace_seconds = 1\n"

    def __init__(self, place: Place) -> None:
        self._experiment = place.landmarks.experiment
        self._database = place.directory / "batch" / "queue.sqlite"

    def fill(self, backend: JobBackend, submission_ids: Sequence[int], each: int) -> None:
        for number in submission_ids:
            plan = LaunchPlan(number, 1, self._experiment, self._experiment, "production", "bench", "localhost", "", "",
                              "", ())
            found = backend.environment(plan)
            program = shutil.which("jobsub_submit", path=os.pathsep.join(found.path))
            assert program is not None
            subprocess.run(
                [program, "-G", self._experiment, "-N", str(each), "-e", f"POMS4_SUBMISSION_ID={number}", "-e",
                 "POMS4_LAUNCH_ATTEMPT=1", "file:///bin/sleep", "100000"], env={**os.environ, **dict(found.variables)},
                stdout=subprocess.DEVNULL, check=True)

    def raw_seconds(self) -> float:
        with closing(sqlite3.connect(self._database)) as connection:
            began = time.perf_counter()
            connection.execute("SELECT submission_id, state, hold_code, count(*) FROM jobs WHERE experiment = ? "
                               "GROUP BY submission_id, state, hold_code", (self._experiment,)).fetchall()
            return time.perf_counter() - began

    def empty(self, backend: JobBackend, submission_ids: Sequence[int]) -> None:
        """Remove the jobs and wait for the daemon to end, which it does when it has nothing to do."""
        backend.act("remove", JobSelection(submission_ids=tuple(submission_ids)), "the measurement is over")
        await_no_daemon(backend)
