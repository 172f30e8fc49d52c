"""Schedd, agent and server killed at random moments while jobs run on a real pool: counts exact, none twice or lost.

``POMS_TEST_KILLS=20x100`` runs 20 submissions of 100 jobs each; the ordinary run is smaller. ``--seed`` chooses the
moments.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import func, select, update

from poms.webservice import config, migrations
from poms.webservice.backends import Backends
from poms.webservice.client import Client
from poms.webservice.clock import utc_now
from poms.webservice.db import Database, make_engine
from poms.webservice.errors import PomsError
from poms.webservice.interfaces import JobState, LaunchPlan
from poms.webservice.model import Job, LoginSetup, Submission
from poms.webservice.services.core import Core
from poms.webservice.testing.jobs import await_that
from poms.webservice.testing.world import World, stage

SUBMISSIONS, JOBS = map(int, os.environ.get("POMS_TEST_KILLS", "4x20").split("x"))
SECONDS = 240 + 1.5 * SUBMISSIONS * JOBS
PAUSE_SECONDS = 12.0 if SUBMISSIONS * JOBS < 1000 else 30.0
"""Between two kills, on average: a process that is killed before it is up again does no work at all."""

FAILING = 10
"""Every so many jobs ends with an exit code that tells it from the others."""

INI = """\
[service]
data_dir = {data}
[web]
listen = {listen}
[identity]
sources = demo
[agent]
launch_seconds = 0.5
poll_seconds = 1
wrapup_seconds = 1
lease_seconds = 5
[experiment_defaults]
job_backend = htcondor
data_backend = local
launch_transport = local
backend_timeout_seconds = 60
[htcondor]
collector = {pool.collector}
schedds = {pool.schedds[0]}
pool = test
token_directory = {pool.token_directory}
programs = {pool.programs}
config = none
default_memory_mb = 500
timeout_seconds = 30
spooling_grace_seconds = 20
; The pool remembers the submissions of other tests, which have the same numbers.
submit_lines = MY.POMS_INST = "{run}"
job_constraint = POMS_INST == "{run}"
"""


@dataclass
class Service:
    """Server and agent as processes of their own; one that dies is started again at once."""

    ini: Path
    running: dict[str, subprocess.Popen] = field(default_factory=dict)
    kills: Counter = field(default_factory=Counter)
    over: threading.Event = field(default_factory=threading.Event)

    def start(self, name: str) -> None:
        with (self.ini.parent / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                [sys.executable, "-m", "poms.webservice", name, "--config", str(self.ini)], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True)

    def kill(self, name: str) -> None:
        self.running[name].kill()
        self.running[name].wait()
        self.kills[name] += 1
        self.start(name)

    def stop(self) -> None:
        self.over.set()
        for process in self.running.values():
            process.send_signal(signal.SIGTERM)
        for process in self.running.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()
            process.wait()

    def log(self, name: str) -> str:
        return (self.ini.parent / f"{name}.log").read_text(errors="replace")[-3000:]


@pytest.fixture
def service(empty_pool, shared_path):
    """A whole service on the pool, and what is in its database."""
    data = shared_path / "var"
    data.mkdir()
    data.chmod(0o755)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{probe.getsockname()[1]}"
    ini = data / "poms.ini"
    ini.write_text(INI.format(data=data, listen=listen, pool=empty_pool, run=uuid.uuid4().hex))
    backends = Backends(config.load(ini))
    migrations.upgrade(backends.settings.database.url, backends.databases())
    database = Database(make_engine(backends.settings.database.url))
    world = World(Core(database, backends, backends.settings, utc_now))
    processes = Service(ini)
    for name in ("serve", "agent"):
        processes.start(name)
    yield processes, world, Client(f"http://{listen}", experiment="samdev", role="production")
    processes.stop()
    backends.close()
    database.close()


def crash(processes: Service, pool, chance: Random, pause: float) -> None:
    """Kill something every now and then, until it is over; each before any of them a second time."""
    victims: list[str] = []
    while not processes.over.wait(chance.uniform(pause / 2, pause * 1.5)):
        victims = victims or chance.sample(("serve", "agent", "schedd"), 3)
        victim = victims.pop()
        if victim == "schedd":
            # One that is down already cannot be killed.
            with suppress(Exception):
                pool.kill("condor_schedd")
                processes.kills[victim] += 1
        else:
            processes.kill(victim)


def launch_until_answered(client: Client, stage_id: int, key: str) -> int:
    """What a script does: the same request with the same key until there is an answer."""
    def answered():
        try:
            return client.launch_stage(stage_id, key=key)["submission_id"]
        except PomsError:
            return None

    return await_that(answered, lambda: f"launch {key}", seconds=120)


@pytest.mark.htcondor
@pytest.mark.timeout(int(SECONDS) + 300)
def test_kills_at_random_moments_lose_and_double_nothing(empty_pool, service, shared_path, seed, record_property):
    """Every submission has exactly one cluster, every job is recorded once, and ended as its program did."""
    processes, world, client = service
    world.person("demo")
    job = shared_path / "job.sh"
    job.write_text(f"#!/bin/bash\nsleep 0.$((RANDOM % 10))\n[ $((PROCESS % {FAILING})) -ne 3 ] || exit 7\n")
    job.chmod(0o755)
    made = world.campaign_with(stage("gen", script=f"jobsub_submit -G samdev -N {JOBS} file://{job}",
                                     completion="complete"), owner=world.person("demo"))
    _launch_as_the_service(world)
    await_that(lambda: _answers(client), lambda: processes.log("serve"), seconds=120)
    crashes = threading.Thread(target=crash, args=(processes, empty_pool, Random(seed), PAUSE_SECONDS))
    crashes.start()
    began = time.monotonic()
    try:
        numbers = [launch_until_answered(client, made.stage("gen"), f"kills{seed}-{index}")
                   for index in range(SUBMISSIONS)]
        await_that(lambda: _ended(world) >= SUBMISSIONS * JOBS, lambda: (_table(world), processes.log("agent")),
                   seconds=SECONDS)
    finally:
        processes.over.set()
        crashes.join()
    # What the last crash interrupted comes to its end.
    await_that(lambda: _settled(world), lambda: _table(world), seconds=120)
    record_property("kills", dict(processes.kills))
    print(f"{SUBMISSIONS} submissions x {JOBS} jobs in {time.monotonic() - began:.0f} s with kills "
          f"{dict(processes.kills)}")

    failing = len(range(3, JOBS, FAILING))
    backend = world.core.backends.jobs("samdev")
    assert len(set(numbers)) == SUBMISSIONS
    assert sorted(item.submission_id for item in world.submissions()) == sorted(numbers)
    assert {number: [cluster.jobs for cluster in backend.find(number)] for number in numbers} == \
        {number: [JOBS] for number in numbers}
    assert _table(world) == {number: {"COMPLETED": JOBS - failing, "FAILED": failing} for number in numbers}
    assert {(item.jobs_completed, item.jobs_failed, item.jobs_removed, item.jobs_idle + item.jobs_running
             + item.jobs_held, item.jobs_expected) for item in world.submissions()} == \
        {(JOBS - failing, failing, 0, 0, JOBS)}
    assert world.sums_differ() == []
    assert processes.kills


@pytest.mark.htcondor
def test_a_wrapper_that_is_killed_before_its_report_loses_no_job(empty_pool, service, shared_path):
    """What somebody submitted by hand is followed by the number that its jobs carry, though POMS was never told."""
    processes, world, client = service
    made = world.campaign_with(stage("gen", completion="complete"), owner=world.person("demo"))
    await_that(lambda: _answers(client), lambda: processes.log("serve"), seconds=120)
    found = world.core.backends.jobs("samdev").environment(_a_plan())
    real = shared_path / "real"
    real.mkdir()
    # The real program, which then keeps the wrapper waiting as a slow network does.
    (real / "jobsub_submit").write_text(f'#!/bin/bash\n{found.path[0]}/jobsub_submit "$@"\nsleep 600\n')
    (real / "jobsub_submit").chmod(0o755)
    root = Path(__file__).parents[3]
    wrapper = subprocess.Popen(
        [str(root / "bin" / "jobsub" / "jobsub_submit"), "-G", "samdev", "-N", "3", "file:///bin/true"],
        env={"PATH": f"{root}/bin/jobsub:{real}:{os.environ['PATH']}", "HOME": str(shared_path), "USER": "ann",
             "POMS_SERVER": client.connection.base, "POMS_SPOOL": str(shared_path / "spool"),
             "POMS_PYTHON": sys.executable, "POMS4_CAMPAIGN_STAGE_ID": str(made.stage("gen")), **dict(found.variables)},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        for line in wrapper.stdout:
            if b"Use job id" in line:
                break
    finally:
        os.killpg(wrapper.pid, signal.SIGKILL)
        wrapper.wait()
        wrapper.stdout.close()

    await_that(lambda: [(item.jobs_completed, bool(item.jobsub_job_id)) for item in world.submissions()] == [(3, True)],
               lambda: (_table(world), processes.log("agent")), seconds=180)
    (submission,) = world.submissions()
    assert [cluster.jobs for cluster in world.core.backends.jobs("samdev").find(submission.submission_id)] == [3]
    # POMS was not told, and the next submission would tell it.
    assert len(list((shared_path / "spool").glob("*.json"))) == 1


def _a_plan() -> LaunchPlan:
    return LaunchPlan(submission_id=1, attempt=1, experiment="samdev", group="samdev", role="Production",
                      launcher="demo", host="localhost", account="", setup="", command="true", environment=())


def _launch_as_the_service(world: World) -> None:
    """Launch scripts run as the account of these processes, which is nobody else's."""
    with world.core.db.write() as session:
        session.execute(update(LoginSetup).values(launch_account=""))


def _answers(client: Client) -> bool:
    try:
        return bool(client.service())
    except PomsError:
        return False


def _ended(world: World) -> int:
    with world.core.db.read() as session:
        return session.scalar(select(func.count()).select_from(Job).where(
            Job.state.in_([int(state) for state in JobState if state.is_final])))


def _table(world: World) -> dict[int, dict[str, int]]:
    """The recorded jobs of each submission by state."""
    found: dict[int, dict[str, int]] = {}
    with world.core.db.read() as session:
        for number, state, count in session.execute(
                select(Job.submission_id, Job.state, func.count()).group_by(Job.submission_id, Job.state)):
            found.setdefault(number, {})[JobState(state).name] = count
    return found


def _settled(world: World) -> bool:
    with world.core.db.read() as session:
        return not session.scalar(select(func.count()).select_from(Submission).where(
            Submission.jobs_completed + Submission.jobs_failed + Submission.jobs_removed < JOBS))
