"""How much memory a real ``poms agent`` needs to follow very many jobs: ``bin/bench --only agent_memory``.

Its batch system is a plugin (``crowd``) that it loads as it loads every other. The reference is the same agent with
nothing to follow.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import func, select, update

from poms.webservice.model import AgentTask, Experiment, Submission
from poms.webservice.rules.statuses import Status
from poms.webservice.services.core import Core
from poms.webservice.testing.bench import crowd, instant, making
from poms.webservice.testing.bench.figures import Budget, Figure, figure
from poms.webservice.testing.bench.places import Place, ini_text

BUDGET = Budget("absolute", 400)
CYCLES = 3
"""The first finds all jobs new to it or changed, and so do the others."""

PATIENCE_SECONDS = 3600.0

INI = f"""
[agent]
poll_seconds = 1
[experiment_defaults]
job_backend = {crowd.NAME}
data_backend = {instant.NAME}
launch_transport = {instant.NAME}
"""


def measure(place: Place, *, jobs: int = 300_000) -> Iterator[Figure]:
    """The most memory that one agent had while it stored every one of ``jobs`` live jobs ``CYCLES`` times."""
    core = place.core()
    try:
        new = max(1, -(-(jobs - _live_jobs(core)) // crowd.JOBS_OF_NEW))
        making.add_submissions(core.db.engine, place.landmarks, new, Status.NEW, now=core.clock(),
                               campaigns=min(100, place.scale.campaigns))
        _set_active(core, False)
        idle, _ = _most_memory(core, place, "notify", 1)
        _set_active(core, True)
        followed, seconds = _most_memory(core, place, f"poll:{crowd.NAME}", CYCLES)
        live = _live_jobs(core)
        yield figure(f"memory of an agent, {live:,} live jobs", followed, "MB", "an agent without experiments", idle,
                     BUDGET, jobs=live, cycles=CYCLES, seconds=seconds)
    finally:
        _set_active(core, True)
        core.db.close()


def _live_jobs(core: Core) -> int:
    with core.db.read() as session:
        return int(session.scalar(select(func.sum(
            Submission.jobs_idle + Submission.jobs_running + Submission.jobs_held))) or 0)


def _set_active(core: Core, active: bool) -> None:
    with core.db.write() as session:
        session.execute(update(Experiment).values(active=active))


def _most_memory(core: Core, place: Place, task: str, cycles: int) -> tuple[float, float]:
    """MiB at the highest, and seconds, until an agent has done a task so many times."""
    file = place.directory / "agent.ini"
    file.write_text(ini_text(place.url, place.directory).replace(
        "[service]\n", f"[service]\nplugins = {crowd.__name__}, {instant.__name__}\n") + INI)
    log_file = place.directory / "agent.log"
    before = _cycles_done(core, task)
    with log_file.open("wb") as log:
        agent = subprocess.Popen([sys.executable, "-m", "poms.webservice", "agent", "--config", str(file)],
                                 stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        began = time.monotonic()
        try:
            while _cycles_done(core, task) - before < cycles:
                if agent.poll() is not None or time.monotonic() - began > PATIENCE_SECONDS:
                    raise RuntimeError(f"the agent did not do its work:\n{log_file.read_text()[-2000:]}")
                time.sleep(0.2)
            return highest_memory(agent.pid), time.monotonic() - began
        finally:
            agent.send_signal(signal.SIGTERM)
            try:
                agent.wait(60)
            except subprocess.TimeoutExpired:
                agent.kill()
                agent.wait()


def _cycles_done(core: Core, task: str) -> int:
    """Passes that were begun, but for one that is under way; raises for one that failed."""
    with core.db.read() as session:
        row = session.get(AgentTask, task)
    if row is None:
        return 0
    if row.error:
        raise RuntimeError(f"{task} failed: {row.error}")
    return row.lease_epoch - (row.lease_until is not None)


def highest_memory(pid: int | str = "self") -> float:
    """In MiB. Not ``getrusage``: a process inherits there what its parent had when it was started."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("this system does not tell how much memory a process used")
