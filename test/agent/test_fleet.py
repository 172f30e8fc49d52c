"""Two agents and two servers as real processes on PostgreSQL, killed, paused and cut off while they launch real jobs.

What the schedules of ``test_faults`` play with fakes happens here for real, once each: nothing acknowledged is lost,
nothing is launched twice, nothing owed is forgotten, nothing is stuck.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import text, update

from poms.webservice import config, migrations
from poms.webservice.backends import Backends
from poms.webservice.cli import startup
from poms.webservice.client import Client
from poms.webservice.errors import BackendUnavailable
from poms.webservice.model import CampaignStage, LoginSetup
from poms.webservice.rules.permissions import SUPERUSER
from poms.webservice.rules.statuses import FINAL, Status
from poms.webservice.services import launch_requests
from poms.webservice.services.core import Core
from poms.webservice.services.launch_requests import LaunchRequest
from poms.webservice.testing import postgresql
from poms.webservice.testing.jobs import await_that
from poms.webservice.testing.world import CampaignMade, World, stage

pytestmark = [pytest.mark.postgresql, pytest.mark.faults]

EXPERIMENT, USER = "sbnd", "demo"
PATIENCE_SECONDS = 240
ROUND = 2
"""Launches asked for by programs, and as many owed, before each fault."""

INI = f"""
[service]
data_dir = {{directory}}/data
[database]
url = {{url}}
[web]
processes = 1
[identity]
sources = demo
[identity_demo]
user = {USER}
[agent]
launch_seconds = 0.2
poll_seconds = 0.5
wrapup_seconds = 0.5
lease_seconds = 6
[experiment {EXPERIMENT}]
job_backend = local
data_backend = local
launch_transport = local
"""
# Time before the jobs are in the queue, and time after that before anybody is told.
SCRIPT = "sleep 1; jobsub_submit -G sbnd -N 1 --memory 64MB file://{job} && sleep 5; true"
# What an agent's program does after this line no longer asks what an earlier attempt left.
CARELESS = """
import sys
from poms.webservice.cli import main
from poms.webservice.services import launches
launches.find_earlier_attempts = lambda jobs, submission_id: []
launches._is_confirmed = lambda *arguments: True
sys.exit(main(sys.argv[1:]))
"""


@dataclass
class Fleet:
    """The processes, who asks them for launches, and what they must have come to."""

    core: Core
    ini: Path
    campaign: CampaignMade
    careless: bool = False
    agents: list[subprocess.Popen[str]] = field(default_factory=list)
    servers: list[subprocess.Popen[str]] = field(default_factory=list)
    addresses: list[str] = field(default_factory=lambda: ["", ""])
    acknowledged: dict[str, int] = field(default_factory=dict)
    asked: int = 0

    @property
    def world(self) -> World:
        return World(self.core)

    @property
    def stage_id(self) -> int:
        return self.campaign.stage("work")

    # ------------------------------------------------------------------------------------ processes

    def start(self) -> None:
        self.servers = [self._serve(0), self._serve(1)]
        self.agents = [self._agent(), self._agent()]

    def kill_agent(self, number: int) -> None:
        """kill -9; another one is started in its place."""
        self._kill(self.agents[number])
        self.agents[number] = self._agent()

    def kill_server(self, number: int) -> None:
        self._kill(self.servers[number])
        self.servers[number] = self._serve(number)

    def stop(self) -> None:
        for process in (*self.agents, *self.servers):
            process.send_signal(signal.SIGCONT)
            self._kill(process)

    def _kill(self, process: subprocess.Popen[str]) -> None:
        process.kill()
        process.communicate()

    def _agent(self) -> subprocess.Popen[str]:
        return self._begin(["-c", CARELESS] if self.careless else ["-m", "poms.webservice"], "agent")

    def _serve(self, number: int) -> subprocess.Popen[str]:
        process = self._begin(["-m", "poms.webservice"], "serve", "--listen", "127.0.0.1:0")
        assert process.stdout is not None
        ready = re.search(r"http://[0-9.:]+", process.stdout.readline())
        assert ready, "a server did not start"
        self.addresses[number] = ready[0]
        return process

    def _begin(self, program: list[str], *words: str) -> subprocess.Popen[str]:
        with self.ini.with_name("log").open("a") as log:
            return subprocess.Popen([sys.executable, *program, words[0], "--config", str(self.ini), *words[1:]],
                                    stdout=subprocess.PIPE if words[0] == "serve" else log, stderr=log, text=True)

    # -------------------------------------------------------------------------------------- launches

    def ask(self, key: str) -> None:
        """A program asks for a launch, of one server or the other, until it is acknowledged."""
        def try_it() -> int | None:
            client = Client(self.addresses[next(doors) % 2], experiment=EXPERIMENT, role=SUPERUSER)
            try:
                return int(client.launch_stage(self.stage_id, key=key)["submission_id"])
            except BackendUnavailable:
                return None

        doors = iter(range(hash(key) % 2, 10_000))
        self.acknowledged[key] = await_that(try_it, lambda: f"no server acknowledged {key}", seconds=PATIENCE_SECONDS)

    def ask_for_some(self, pool: ThreadPoolExecutor) -> None:
        """Some launches by programs, and some that are owed, as wrap-up and schedules leave them."""
        keys = [f"key {self.asked + number}" for number in range(ROUND)]
        self.asked += 2 * ROUND
        for key in keys:
            pool.submit(self.ask, key).add_done_callback(lambda future: future.result())
        with self.core.db.write() as session:
            for key in keys:
                launch_requests.owe(session, LaunchRequest(self.stage_id, f"owed {key}", "schedule"),
                                    stage=session.get_one(CampaignStage, self.stage_id),
                                    launcher_id=self.campaign.owner.experimenter_id, now=self.core.clock())

    def agent_at(self, *, submitted: bool) -> int:
        """Wait until an agent is in the middle of a launch, before or after its jobs are in the queue; which one."""
        jobs = self.core.backends.jobs(EXPERIMENT)

        def found() -> tuple[int] | None:
            agents = {each.pid: number for number, each in enumerate(self.agents)}
            for row in self.world.launches(state="queued"):
                owner = int(row.lease_owner.split(":")[1]) if row.lease_owner else 0
                if row.attempt and owner in agents and bool(jobs.find(row.submission_id)) is submitted:
                    return (agents[owner],)
            return None

        return await_that(found, lambda: [(row.state, row.attempt) for row in self.world.launches()],
                          seconds=PATIENCE_SECONDS)[0]

    def pause_agent(self, number: int) -> None:
        """SIGSTOP until everything that it had is in other hands, then SIGCONT."""
        self.agents[number].send_signal(signal.SIGSTOP)
        mark = f":{self.agents[number].pid}:"
        await_that(lambda: not [row for row in self.world.launches(state="queued") if mark in (row.lease_owner or "")],
                   lambda: "the launches of a paused agent were not taken over", seconds=PATIENCE_SECONDS)
        self.agents[number].send_signal(signal.SIGCONT)

    def cut_connections(self) -> int:
        """End every connection to the database but the one that does so, as a restart of its server does."""
        with self.core.db.engine.connect() as connection:
            return len(connection.scalars(text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()")).all())

    def await_rest(self) -> None:
        await_that(lambda: not self._unfinished(), self._unfinished, seconds=PATIENCE_SECONDS)

    def _unfinished(self) -> list[str]:
        found = [f"launch {row.launch_id} is {row.state}: {row.message}" for row in self.world.launches()
                 if row.state in ("owed", "queued", "held")]
        return found + [f"submission {item.submission_id} is {Status(item.status_id).label}"
                        for item in self.world.submissions() if Status(item.status_id) not in FINAL]

    # ---------------------------------------------------------------------------------------- ledger

    def wrong(self) -> list[str]:
        """What must not be: lost, doubled, owed and never started, stuck."""
        rows = {row.submission_id: row for row in self.world.launches()}
        jobs = self.core.backends.jobs(EXPERIMENT)
        found = [f"{key} was acknowledged as {number}, which is lost" for key, number in self.acknowledged.items()
                 if number not in rows]
        found += [f"{number} was acknowledged twice" for number, count in Counter(self.acknowledged.values()).items()
                  if count > 1]
        if len(rows) != self.asked:
            found.append(f"{self.asked} launches were asked for, there are {len(rows)}")
        found += [f"submission {number} has {len(jobs.find(number))} clusters" for number in rows
                  if len(jobs.find(number)) != 1]
        ran = Counter(int(line) for line in self.ini.with_name("ran").read_text().split())
        found += [f"the job of submission {number} ran {ran[number]} times" for number in rows if ran[number] != 1]
        found += [f"launch {row.launch_id} ended as {row.state}: {row.message}" for row in rows.values()
                  if row.state != "launched"]
        return found + self._unfinished() + self.world.sums_differ()


@pytest.fixture
def own_database(postgresql_url) -> Iterator[str]:
    """A database for services that run by themselves."""
    with postgresql.own_database(postgresql_url, "fleet") as url:
        yield url


@pytest.fixture
def make_fleet(own_database, tmp_path) -> Iterator:
    """Starts the processes; ends them after the test."""
    made: list[Fleet] = []

    def make(*, careless: bool = False) -> Fleet:
        ini, job = tmp_path / "poms.ini", tmp_path / "job.sh"
        ini.write_text(INI.format(directory=tmp_path, url=own_database))
        job.write_text(f"#!/bin/sh\necho $POMS4_SUBMISSION_ID >> {tmp_path}/ran\n")
        job.chmod(0o755)
        backends = Backends(config.load(ini))
        migrations.upgrade(backends.settings.database.url, backends.databases())
        core = startup.open_core(backends)
        world = World(core)
        owner = world.person(USER, SUPERUSER, EXPERIMENT, root=True)
        campaign = world.campaign_with(
            stage("work", script=SCRIPT.format(job=job) + " #", completion="complete",
                  campaign_stage_type="generator"), owner=owner, experiment=EXPERIMENT)
        with core.db.write() as session:
            session.execute(update(LoginSetup).values(launch_account=""))
        made.append(Fleet(core, ini, campaign, careless))
        made[0].start()
        return made[0]

    yield make
    for fleet in made:
        fleet.stop()
        fleet.core.backends.close()
        fleet.core.db.close()


@pytest.mark.timeout(900)
def test_real_processes_lose_and_double_nothing(make_fleet):
    """Agents are killed before and after a submit and paused, servers killed, every connection is cut."""
    fleet = make_fleet()
    with ThreadPoolExecutor(ROUND * 5) as pool:
        fleet.ask_for_some(pool)
        fleet.kill_agent(fleet.agent_at(submitted=False))
        fleet.ask_for_some(pool)
        fleet.kill_agent(fleet.agent_at(submitted=True))
        fleet.ask_for_some(pool)
        fleet.pause_agent(fleet.agent_at(submitted=False))
        fleet.ask_for_some(pool)
        assert fleet.cut_connections() > 0
        fleet.kill_server(0)
    fleet.await_rest()

    assert fleet.wrong() == []
    assert len(fleet.acknowledged) == fleet.asked / 2
    assert all(process.poll() is None for process in (*fleet.agents, *fleet.servers))


@pytest.mark.timeout(900)
def test_agents_that_do_not_ask_are_found_out(make_fleet):
    """The ledger notices agents that begin a second attempt without asking what the first one left.

    The local batch system takes no second attempt's jobs either: a launch fails, or is given up, although its jobs ran.
    """
    fleet = make_fleet(careless=True)
    with ThreadPoolExecutor(ROUND) as pool:
        fleet.ask_for_some(pool)
        fleet.kill_agent(fleet.agent_at(submitted=True))
    fleet.await_rest()

    wrong = [said for said in fleet.wrong() if "ended as" in said]
    assert wrong != []
