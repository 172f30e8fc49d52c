"""Jobs that truly need more memory than they asked for, on the real local batch system, recovered by rules.

The catalogue is the fake one, which the test tells what each job did with its file; jobs, their memory, their holds
and their removal are real.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, update

from poms.webservice.agent import upkeep
from poms.webservice.clock import utc_now
from poms.webservice.interfaces import JobState
from poms.webservice.model import Job, LoginSetup, RecoveryDecision
from poms.webservice.rules.statuses import FINAL, Status
from poms.webservice.services import submissions
from poms.webservice.services.submissions import Report
from poms.webservice.testing.catalogue import FakeCatalogue
from poms.webservice.testing.fakes import Fakes, installed_plugins
from poms.webservice.testing.fixtures import make_service
from poms.webservice.testing.jobs import await_that
from poms.webservice.testing.world import CampaignMade, World, stage

EXPERIMENT = "samdev"
JOBS = 40
ASKED_MB, MORE_MB, MOST_MB = 40, 60, 120
"""What all ask for, what 30 % of the jobs need (1.5 times), and what 5 % need (3 times)."""

RULES = "when hold 34: memory x1.5, at most 1 time\nwhen hold 34: memory x2\nmemory at most 120MB"
SETTINGS = """
[agent]
held_grace_seconds = 0
[experiment samdev]
job_backend = local
launch_transport = local
[local_batch]
poll_seconds = 0.3
sample_seconds = 0.2
slots = 12
"""
# The line of its number says which file a job has and how much memory it takes for it; it grows as real ones do.
JOB = """#!{python} -S
import os, sys, time
name, need = open(sys.argv[1]).read().splitlines()[int(os.environ["PROCESS"])].split()
kept = []
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
while resident() < int(need):
    kept.append(bytearray(b"x") * 2**21)
    time.sleep(0.05)
time.sleep(2)
"""
SUBMIT = """#!/bin/bash
files={directory}/$1
shift
exec jobsub_submit -G samdev -N $(wc -l < "$files") "$@" file://{directory}/job "$files"
"""


class Catalogue(FakeCatalogue):
    """Writes down, for the jobs to come, which files a dataset has and what they need."""

    directory: Path
    needs: dict[str, int]

    def define(self, name: str, query: str, description: str = "") -> None:
        super().define(name, query, description)
        self.write(name)

    def write(self, name: str) -> None:
        files = self.list(self.dataset_query(name))
        (self.directory / name).write_text("".join(f"{file} {self.needs[file]}\n" for file in files))


class Memory:
    """One campaign of such jobs, from its launch to its end."""

    def __init__(self, world: World, catalogue: Catalogue, rules: str) -> None:
        self.world, self.catalogue = world, catalogue
        files = catalogue.dataset("raw", JOBS)
        # A little below what is asked for each time: a process needs some of it for itself.
        catalogue.needs = {name: MOST_MB - 10 if number % 20 == 0 else MORE_MB - 6 if number % 20 in range(1, 7)
                           else ASKED_MB - 6 for number, name in enumerate(files)}
        catalogue.write("raw")
        self.campaign: CampaignMade = world.campaign_with(stage(
            "gen", dataset="raw", script=f"{catalogue.directory}/submit %(dataset)s", pct=50, recovery_policy=rules,
            parameters=(("--memory=", f"{ASKED_MB}MB"),)))
        with world.core.db.write() as session:
            session.execute(update(LoginSetup).values(launch_account=""))
        self.delivered: set[str] = set()

    def run(self) -> None:
        """Launch it, and let the agent's tasks go on until nothing is left to do."""
        self.world.launch(self.campaign, "gen")
        await_that(self._turn, self._unfinished, seconds=600)

    def _turn(self) -> bool:
        self.world.work_on_launches()
        for item in self.world.submissions():
            if not item.project:
                name = self.catalogue.begin_project(f"prj_{item.submission_id}", item.submission_params["dataset"]).name
                submissions.report(self.world.core, "poms", Report(item.submission_id, project=name), by_person=False)
        self.world.poll()
        self._deliver()
        upkeep.run(self.world.core, "samdev")
        self.world.wrap_up()
        return not self._unfinished()

    def _deliver(self) -> None:
        """Tell the catalogue what the jobs that ended did with their files."""
        for job in self.jobs():
            if job.batch_id in self.delivered or not JobState(job.state).is_final:
                continue
            self.delivered.add(job.batch_id)
            project = self.catalogue.projects()[f"prj_{job.submission_id}"]
            name = list(project.states)[int(job.batch_id.partition("@")[0].partition(".")[2])]
            done = job.state == int(JobState.COMPLETED)
            self.catalogue.deliver(project.name, name, "consumed" if done else "transferred", job.batch_id)
            if done:
                self.catalogue.declare(f"{name.removesuffix('.root')}_out.root", version="v1", parents=[name])

    def _unfinished(self) -> list[str]:
        found = [f"launch {row.launch_id} {row.state} {row.message}" for row in self.world.launches()
                 if row.state in ("owed", "queued")]
        return found + [f"{item.submission_id} {Status(item.status_id).label} {item.wrapup_message}"
                        for item in self.world.submissions() if Status(item.status_id) not in FINAL]

    def jobs(self) -> list[Job]:
        with self.world.core.db.read() as session:
            return list(session.scalars(select(Job).order_by(Job.submission_id, Job.batch_id)))

    def decisions(self) -> list[tuple[int, str, str, int]]:
        with self.world.core.db.read() as session:
            return [(row.submission_id, row.rule, row.change, row.files) for row in session.scalars(
                select(RecoveryDecision).order_by(RecoveryDecision.recovery_decision_id))]

    def cost(self) -> tuple[float, float]:
        """Memory times time that was asked for, and that would have been if every job had asked for what it needs."""
        asked = ideal = 0.0
        for job in self.jobs():
            seconds = job.wall_seconds or 0
            asked += (job.memory_asked_mb or 0) * seconds
            if job.state == int(JobState.COMPLETED):
                need = self.catalogue.needs[self._file_of(job)]
                ideal += next(amount for amount in (ASKED_MB, MORE_MB, MOST_MB) if amount > need) * seconds
        return asked, ideal

    def _file_of(self, job: Job) -> str:
        """Each job has the file of its number."""
        number = int(job.batch_id.partition("@")[0].partition(".")[2])
        return list(self.catalogue.projects()[f"prj_{job.submission_id}"].states)[number]


@pytest.fixture
def make_memory(make_sqlite_database, tmp_path) -> Iterator:
    """A service on the real batch system with a catalogue of its own."""
    made: list[Memory] = []

    def make(rules: str) -> Memory:
        directory = tmp_path / f"run{len(made)}"
        directory.mkdir()
        for name, text in (("job", JOB.format(python=sys.executable)), ("submit", SUBMIT.format(directory=directory))):
            (directory / name).write_text(text)
            (directory / name).chmod(0o755)
        fakes = Fakes(utc_now)
        catalogue = Catalogue(utc_now)
        catalogue.directory = directory
        fakes.offer(EXPERIMENT, catalogue)
        service = make_service(make_sqlite_database(), directory / "data", utc_now, text=SETTINGS, fakes=fakes,
                               plugins=installed_plugins("local_batch", "local_transport"))
        made.append(Memory(World(service.core, fakes), catalogue, rules))
        return made[-1]

    yield make


@pytest.mark.timeout(1800)
def test_demanding_jobs_end_complete_and_cheap(make_memory):
    """All files are processed for less than 1.3 times the ideal memory-hours, and nothing goes above the limit."""
    memory = make_memory(RULES)

    memory.run()

    ended = Counter(JobState(job.state) for job in memory.jobs())
    assert ended == {JobState.COMPLETED: JOBS, JobState.REMOVED: 7 * JOBS // 20 + JOBS // 20}
    assert max(job.memory_asked_mb for job in memory.jobs()) == MOST_MB
    assert {job.hold_code for job in memory.jobs() if job.state == int(JobState.REMOVED)} == {34}
    asked, ideal = memory.cost()
    assert asked < 1.3 * ideal, f"{asked / ideal:.2f} times the ideal"


@pytest.mark.timeout(900)
def test_passive_rules_list_the_same_and_change_nothing(make_memory):
    """What the rules decide of the first jobs is the same, and nothing is launched because of it."""
    memory = make_memory(f"passive\n{RULES}")

    memory.run()

    (decided,) = memory.decisions()
    assert decided == (1, RULES.splitlines()[0], f"{MORE_MB} MB of memory", 7 * JOBS // 20)
    assert len(memory.world.launches()) == 1
    assert {job.memory_asked_mb for job in memory.jobs()} == {ASKED_MB}
