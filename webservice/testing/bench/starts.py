"""From launches that are due to jobs that run: two agents on the installed local batch system, from end to end.

The agents are processes as they are in production; every launch is a bash script that calls jobsub_submit. On a
database of its own, so that the agents have nothing else to do.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from sqlalchemy import func, make_url, select, update

from poms.webservice import config, migrations
from poms.webservice.backends import Backends
from poms.webservice.cli import startup
from poms.webservice.interfaces import JobBackend
from poms.webservice.model import CampaignStage, Launch, LoginSetup, Submission
from poms.webservice.rules import shell
from poms.webservice.services import launch_requests, preparing
from poms.webservice.services.core import Core
from poms.webservice.testing.bench.figures import Figure, figure
from poms.webservice.testing.bench.places import Place, await_no_daemon, ini_text, run_alone
from poms.webservice.testing.world import CampaignMade, World, stage

AGENTS = 2
LOOK_SECONDS = 0.5
EXPERIMENT = "starts"
JOB = "#!/bin/sh\necho $POMS4_SUBMISSION_ID >> {directory}/started\n"
BACKENDS = """
[agent]
launch_seconds = 0.1
[local_batch]
idle_exit_seconds = 1
[experiment_defaults]
job_backend = local
data_backend = local
launch_transport = local
"""


def measure(place: Place, *, count: int) -> Iterator[Figure]:
    """``count`` owed launches: how many a second have their job running, and whether any ran twice."""
    directory = place.directory / EXPERIMENT
    directory.mkdir()
    with _database(place.url, directory) as url, _service(url, directory) as (core, campaign):
        _owe(core, campaign, count)
        used = _run_agents(directory, count)
        started = Counter(map(int, (directory / "started").read_text().split()))
        with core.db.read() as session:
            numbers = session.scalars(select(Submission.submission_id)).all()
            first, last = session.execute(select(func.min(Launch.started_at), func.max(Launch.ended_at))).one()
        if set(started) != set(numbers) or len(numbers) != count:
            raise RuntimeError(f"{count} launches are due, {len(numbers)} were made and {len(started)} have started")
        seconds = max((last - first).total_seconds(), 0.001)
        few = min(count, 10)
        yield figure(f"launches started by {AGENTS} agents", count / seconds, "per second",
                     "the same scripts alone, one by one", few / _scripts_alone(core, campaign, few), seconds=seconds,
                     processor_seconds=used, twice=sum(started.values()) - len(started))


@contextmanager
def _database(url: str, directory: Path) -> Iterator[str]:
    if url.startswith("sqlite"):
        yield f"sqlite:///{directory / 'poms.db'}"
        return
    name = f"{make_url(url).database}_{EXPERIMENT}"
    run_alone(url, f'CREATE DATABASE "{name}"')
    yield make_url(url).set(database=name).render_as_string(hide_password=False)
    run_alone(url, f'DROP DATABASE "{name}" WITH (FORCE)')


@contextmanager
def _service(url: str, directory: Path) -> Iterator[tuple[Core, CampaignMade]]:
    """A service with one stage whose launches submit a job that says that it runs."""
    ini, job = directory / "poms.ini", directory / "job.sh"
    ini.write_text(ini_text(url, directory) + BACKENDS)
    job.write_text(JOB.format(directory=directory))
    job.chmod(0o755)
    backends = Backends(config.load(ini))
    migrations.upgrade(url, backends.databases())
    core = startup.open_core(backends)
    try:
        command = f"jobsub_submit -G {EXPERIMENT} -N 1 --memory 64MB file://{job} #"
        campaign = World(core).campaign_with(
            stage("work", script=command, completion="complete", campaign_stage_type="generator"),
            experiment=EXPERIMENT)
        with core.db.write() as session:
            session.execute(update(LoginSetup).values(launch_account=""))
        yield core, campaign
    finally:
        await_no_daemon(backends.jobs(EXPERIMENT))
        backends.close()
        core.db.close()


def _owe(core: Core, campaign: CampaignMade, count: int) -> None:
    with core.db.write() as session:
        row = session.get_one(CampaignStage, campaign.stage("work"))
        for number in range(count):
            asked = launch_requests.LaunchRequest(row.campaign_stage_id, f"due {number}", "schedule")
            launch_requests.owe(session, asked, stage=row, launcher_id=campaign.owner.experimenter_id, now=core.clock())


def _run_agents(directory: Path, count: int) -> float:
    """Let the agents work until every job has started; the processor time that they and their scripts took."""
    with (directory / "agents.log").open("wb") as log:
        agents = [subprocess.Popen([sys.executable, "-m", "poms.webservice", "agent", "--config",
                                    str(directory / "poms.ini")], stdout=log, stderr=log) for _ in range(AGENTS)]
    try:
        seen = directory / "started"
        while not seen.exists() or len(set(seen.read_text().split())) < count:
            if any(agent.poll() is not None for agent in agents):
                raise RuntimeError(f"an agent of the benchmark ended; see {directory / 'agents.log'}")
            time.sleep(LOOK_SECONDS)
        return sum(_processor_seconds(agent.pid) for agent in agents)
    finally:
        for agent in agents:
            agent.terminate()
        for agent in agents:
            agent.wait()


def _processor_seconds(pid: int) -> float:
    """What a process and its ended children took, as Linux says."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(each) for each in fields[11:15]) / 100


def _scripts_alone(core: Core, campaign: CampaignMade, count: int) -> float:
    """The seconds that so many of these scripts take without any agent."""
    jobs: JobBackend = core.backends.jobs(EXPERIMENT)
    transport = core.backends.transport(EXPERIMENT)
    request = launch_requests.LaunchRequest(campaign.stage("work"), "alone")
    prepared = preparing.prepare(core, campaign.owner, request, peek=True)
    began = time.perf_counter()
    for number in range(count):
        plan = prepared.plan_for(10_000_000 + number)
        outcome = jobs.submit(plan, shell.launch_script(plan, jobs.environment(plan)), transport, BytesIO(), 600)
        if outcome.kind != "started":
            raise RuntimeError(f"a script alone did not submit: {outcome.message}")
    return time.perf_counter() - began
