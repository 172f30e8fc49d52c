"""Run tasks at their intervals, each in its own thread, until told to stop.

A task is done by one agent at a time (``services.tasks``); a slow or failing one delays nobody else.
An exception ends the pass, is logged and recorded, and the task is tried again at its next time.
"""

from __future__ import annotations

import logging
import os
import random
import socket
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from poms.webservice.agent import launcher, notify, poll, schedules, setup_tests, upkeep
from poms.webservice.errors import PomsError
from poms.webservice.model import Experiment
from poms.webservice.services import housekeeping, job_archive, tasks, wrapup
from poms.webservice.services.core import Core
from poms.webservice.services.tasks import TaskLease
from poms.webservice.stopping import StopSignal

log = logging.getLogger(__name__)

EXPERIMENTS_SECONDS = 30
"""How often the list of experiments is read again."""

JITTER = 0.1
"""Share of the interval by which passes are spread, so that many agents do not ask all at once."""


@dataclass(frozen=True)
class Task:
    """Something done at an interval; ``work`` returns one sentence about what it did."""

    name: str
    interval_seconds: float
    work: Callable[[Core, TaskLease], str]


class Agent:
    """One agent process; ``start`` and ``stop`` may be called from a test as well."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._stopping = threading.Event()
        self._threads: dict[str, threading.Thread] = {}
        self._wanted: dict[str, Task] = {}
        self._launcher = launcher.Launcher(core, self.owner, self._stopping)
        self._setup_tester = setup_tests.SetupTester(core, self.owner, self._stopping)

    def start(self) -> None:
        """Start the launcher and a thread for each task of each active experiment."""
        self._spawn("launcher", self._launcher.run)
        self._spawn("login setup tests", self._setup_tester.run)
        self._spawn("experiments", self._follow_experiments)

    def stop(self, timeout_seconds: float = 30) -> None:
        """Ask everything to end after its present step and wait for it."""
        self._stopping.set()
        for thread in list(self._threads.values()):
            thread.join(timeout_seconds)
        log.info("agent stopped", extra={"owner": self.owner})

    def _spawn(self, name: str, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, name=name, daemon=True)
        self._threads[name] = thread
        thread.start()

    def _follow_experiments(self) -> None:
        """Start tasks for experiments that appear; tasks that are no longer wanted end by themselves."""
        while not self._stopping.is_set():
            try:
                # A pool's task is replaced too: the experiment through which it asks may have become inactive.
                self._wanted = {task.name: task for task in self._tasks(active_experiments(self.core))}
                for name in self._wanted:
                    if name not in self._threads or not self._threads[name].is_alive():
                        self._spawn(name, lambda name=name: self._repeat(name))
            except (PomsError, SQLAlchemyError):
                log.exception("the experiments could not be read; trying again")
                self._stopping.wait(2)
                continue
            self._stopping.wait(EXPERIMENTS_SECONDS)

    def _tasks(self, experiments: list[str]) -> list[Task]:
        settings = self.core.settings.agent
        found = [Task(f"poll:{pool}", settings.poll_seconds, poll.work_for(members))
                 for pool, members in poll.pools(self.core, experiments).items()]
        found.append(Task("housekeeping", settings.prune_seconds, lambda core, lease: housekeeping.run(core)))
        found.append(Task("archive", settings.prune_seconds, lambda core, lease: job_archive.run(core)))
        found.append(Task("notify", self.core.settings.notify.interval_seconds, notify.run))
        for experiment in experiments:
            found.append(Task(f"schedules:{experiment}", settings.schedule_seconds,
                              lambda core, lease, experiment=experiment: schedules.run(core, experiment)))
            found.append(Task(f"wrapup:{experiment}", settings.wrapup_seconds,
                              lambda core, lease, experiment=experiment: wrapup.run(core, experiment)))
            found.append(Task(f"upkeep:{experiment}", settings.poll_seconds,
                              lambda core, lease, experiment=experiment: upkeep.run(core, experiment)))
        return found

    def _repeat(self, name: str) -> None:
        while not self._stopping.is_set():
            task = self._wanted.get(name)
            if task is None:
                return
            self._stopping.wait(self._once(task))

    def _once(self, task: Task) -> float:
        """One try at a task; returns the pause before the next."""
        spread = task.interval_seconds * (1 + random.uniform(-JITTER, JITTER))
        lease_seconds = self.core.settings.agent.lease_seconds
        try:
            lease = tasks.take(self.core, task.name, self.owner, lease_seconds)
        except SQLAlchemyError:
            log.exception("the database did not answer", extra={"task": task.name})
            return min(spread, 5)
        if lease is None:
            return min(spread, 1 + lease_seconds / 4)
        done = threading.Event()
        keeper = threading.Thread(target=self._keep, args=(lease, lease_seconds, done), daemon=True)
        keeper.start()
        message, error = "", ""
        try:
            message = task.work(self.core, lease)
        except PomsError as condition:
            error = str(condition)
            log.warning("task could not be done", extra={"task": task.name, "reason": error})
        except Exception as unexpected:
            error = f"{type(unexpected).__name__}: {unexpected}"
            log.exception("task failed", extra={"task": task.name})
        done.set()
        keeper.join()
        try:
            tasks.finish(self.core, lease, next_at=self.core.clock() + timedelta(seconds=spread * 0.9),
                         message=message, error=error)
        except SQLAlchemyError:
            log.exception("the end of a task could not be recorded", extra={"task": task.name})
        return spread

    def _keep(self, lease: TaskLease, lease_seconds: float, done: threading.Event) -> None:
        while not done.wait(lease_seconds / 3):
            try:
                if not tasks.renew(self.core, lease, lease_seconds):
                    return
            except SQLAlchemyError:
                log.exception("a lease could not be prolonged", extra={"task": lease.name})


def active_experiments(core: Core) -> list[str]:
    """Names of the experiments that the agents work for."""
    with core.db.read() as session:
        return list(session.scalars(
            select(Experiment.experiment).where(Experiment.active).order_by(Experiment.experiment)))


def run(core: Core) -> None:
    """Run an agent until SIGTERM or SIGINT; returns after everything ended cleanly."""
    agent = Agent(core)
    with StopSignal() as stop:
        log.info("agent started", extra={"owner": agent.owner})
        agent.start()
        stop.wait()
        agent.stop()
