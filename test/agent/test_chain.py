"""Files that arrive in any order, some late, some twice, through a chain of three stages: each gets to its end once.

``bin/test test/agent/test_chain.py --files 20000`` sends as many; the ordinary run fewer. The catalogue is the one
that is installed, jobs read their files from its projects as real jobs do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from random import Random

import pytest
from sqlalchemy import func, select

from poms.plugins.local.catalogue import files, projects, tables
from poms.plugins.local.catalogue.backend import LocalCatalogue
from poms.plugins.splits import delivered
from poms.webservice.errors import Conflict, PomsError
from poms.webservice.interfaces import JobState, LaunchPlan, PluginContext
from poms.webservice.model import Schedule
from poms.webservice.rules.statuses import FINAL, Status
from poms.webservice.services import launches, schedules
from poms.webservice.testing.fakes import installed_plugins
from poms.webservice.testing.faults import Died, MortalDatabase
from poms.webservice.testing.fixtures import make_service
from poms.webservice.testing.world import CampaignMade, World, stage

STAGES = ("first", "second", "third")
LATE, REPEATED, BROKEN_JOBS = 0.01, 0.005, 0.1
EARLY = 0.2
"""The last stage must have begun before the first is done with this share of the files."""
MOST_ROUNDS = 600


@dataclass
class Chain:
    """The campaign at work: files come in, two agents take turns, jobs read and write files."""

    world: World
    agents: list[World]
    catalogue: LocalCatalogue
    chance: Random
    kills: bool
    arriving: list[str]
    late: list[str]
    clusters: set[int] = field(default_factory=set)
    deaths: int = 0
    rounds: int = 0
    campaign: CampaignMade | None = None
    share_at_third: float | None = None

    def run(self) -> None:
        """Until everything has arrived and nothing happens any more."""
        total, each = len(self.arriving) + len(self.late), max(1, len(self.arriving) // 12)
        while self.rounds < MOST_ROUNDS:
            some, self.arriving = self.arriving[:each], self.arriving[each:]
            if not some and self.late and self._quiet():
                some, self.late = self.late, []
            self._arrive(some)
            self._turn()
            if self.share_at_third is None and self._submissions("third"):
                self.share_at_third = self._consumed("first") / total
            if not self.arriving and not self.late and self._quiet():
                return
        raise AssertionError(f"after {MOST_ROUNDS} rounds it is not at its end: {self._unfinished()[:5]}")

    def _arrive(self, names: list[str]) -> None:
        with self.catalogue.writing() as scope:
            for name in names:
                files.declare(scope, [{"file_name": name, "file_size": 1, "file_type": "raw"}])
                files.change_locations(scope, name, add=["disk:/tape"])
        for name in names:
            if self.chance.random() < REPEATED:
                with pytest.raises(Conflict), self.catalogue.writing() as scope:
                    files.declare(scope, [{"file_name": name, "file_size": 1, "file_type": "raw"}])
                with self.catalogue.writing() as scope:
                    files.change_locations(scope, name, add=["disk:/tape", "disk:/copy"])

    def _turn(self) -> None:
        self.rounds += 1
        self.world.core.clock.advance(301)
        agent = self.agents[self.rounds % len(self.agents)]
        owner = f"agent {self.rounds}"
        self._attempt(agent, lambda: schedules.launch_due(agent.core, "samdev"),
                      lambda: agent.work_on_launches(owner))
        self._run_jobs()
        self._attempt(agent, lambda: agent.poll(owner), lambda: agent.wrap_up("samdev"))
        agent.core.db.live_on()

    def _attempt(self, agent: World, *duties: Callable[[], object]) -> None:
        for duty in duties:
            if self.kills and self.chance.random() < 0.2:
                agent.core.db.die_at_commit(self.chance.randrange(1, 6), after=self.chance.random() < 0.5)
            try:
                duty()
            except Died:
                self.deaths += 1
            except PomsError:
                # What a death left can be in the way of the next attempt.
                if not self.kills:
                    raise

    def _run_jobs(self) -> None:
        """All jobs of everything that was queued since; now and then one dies before it is done with its files."""
        # No job is done with a file in the second in which it was launched.
        self.world.core.clock.advance(30)
        for number in sorted(set(self.world.batch.clusters()) - self.clusters):
            self.clusters.add(number)
            mine = self.world.batch.of(number)
            broken = mine[0].batch_id if self.chance.random() < BROKEN_JOBS else ""
            for job in sorted(mine, key=lambda job: job.batch_id != broken):
                self._run_job(number, job.batch_id, 2 if job.batch_id == broken else None)
            if broken:
                self.world.batch.end(number, JobState.FAILED, 1)
            self.world.batch.end(number)

    def _run_job(self, number: int, job: str, limit: int | None) -> None:
        name = self._project(number)
        stage_name = next(key for key, value in self.campaign.stages.items()
                          if value == self.world.get(number).campaign_stage_id)
        with self.catalogue.writing() as scope:
            process = projects.establish(scope, name, projects.Consumer(job=job, node="node"))
        while limit != 0:
            with self.catalogue.writing() as scope:
                for _ in range(50 if limit is None else limit):
                    given = projects.next_file(scope, name, process)
                    if given.kind != "file":
                        return
                    self._make_child(scope, stage_name, given.file_name)
                    projects.set_file_state(scope, name, process, given.file_name, "consumed")
            limit = None if limit is None else 0

    def _make_child(self, scope, stage_name: str, parent: str) -> None:
        child = f"{stage_name}_{parent}"
        files.declare(scope, [{"file_name": child, "file_size": 1, "file_type": "made",
                               "application": {"family": "art", "name": stage_name, "version": "v1"},
                               "parents": [{"file_name": parent}]}])
        files.change_locations(scope, child, add=["disk:/out"])

    # ------------------------------------------------------------------------------------- what is seen

    def _quiet(self) -> bool:
        return not self._unfinished() and not self.world.launches(state="owed") \
            and not self.world.launches(state="queued") and self.catalogue.count(self._left()) == 0

    def _unfinished(self) -> list[str]:
        return [f"{item.submission_id} {Status(item.status_id).label} {item.wrapup_message}"
                for item in self.world.submissions() if Status(item.status_id) not in FINAL]

    def _left(self) -> str:
        """Files that the first stage has not given out yet."""
        position = self.world.stage_row(self.campaign, "first").cs_last_split
        return delivered.unseen("defname: arrivals", delivered.delivered(position))

    def _submissions(self, name: str) -> list[int]:
        return [item.submission_id for item in
                self.world.submissions(campaign_stage_id=self.campaign.stage(name))]

    def _project(self, number: int) -> str:
        return f"prj_{number}"

    def _consumed(self, name: str) -> int:
        """How many files a stage is done with."""
        numbers = [self._project(number) for number in self._submissions(name)]
        with self.catalogue.reading() as scope:
            members, table = tables.project_files, tables.projects
            return scope.connection.scalar(
                select(func.count()).select_from(members.join(table, table.c.project_id == members.c.project_id))
                .where(table.c.name.in_(numbers), members.c.state == "consumed")) or 0

    def given_to(self, name: str) -> Counter[str]:
        """How often each file was consumed by a stage."""
        numbers = [self._project(number) for number in self._submissions(name)]
        members, table, file = tables.project_files, tables.projects, tables.files
        with self.catalogue.reading() as scope:
            return Counter(scope.connection.scalars(
                select(file.c.file_name).join(members, members.c.file_id == file.c.file_id)
                .join(table, table.c.project_id == members.c.project_id)
                .where(table.c.name.in_(numbers), members.c.state == "consumed")))


@pytest.fixture
def make_chain(make_database, tmp_path, clock) -> Iterator:
    """A campaign of three stages on the installed catalogue, on a schedule, and files on their way."""
    database = make_database()
    tables.metadata.create_all(database.engine)
    service = make_service(database, tmp_path, clock, text="[experiment samdev]\ndata_backend = local\n",
                           plugins=installed_plugins("local_catalogue"))
    settings = service.core.settings
    catalogue = LocalCatalogue(PluginContext(
        "samdev", {}, settings.service.data_dir, settings.database.url, "http://localhost", clock, lambda name: name))
    world = World(service.core, service.fakes)
    agents = [World(replace(service.core, db=MortalDatabase(database.engine)), service.fakes) for _ in range(2)]

    def begin_project(plan: LaunchPlan) -> str:
        catalogue.create_project(f"prj_{plan.submission_id}", plan.dataset, "tester")
        return f"prj_{plan.submission_id}"

    def make(count: int, chance: Random, *, kills: bool) -> Chain:
        world.batch.project_of = begin_project
        world.batch.jobs_per_launch = 5
        catalogue.define("arrivals", "file_type raw")
        once_more = [("pending_files", []), ("pending_files", [])]
        made = world.campaign_with(
            stage("first", dataset="arrivals", split=f"drainingn({max(2, count // 40)})", pct=100, recoveries=once_more,
                  patterns="first_%", default_clear_cronjob=False),
            stage("second", after={"first": "first_%"}, pct=100, recoveries=once_more, patterns="second_%"),
            stage("third", after={"second": "second_%"}, pct=100, recoveries=once_more, patterns="third_%"))
        schedules.set_schedule(world.core, made.owner, made.stage("first"), cron="*/5 * * * *")
        names = [f"{number:06}.root" for number in chance.sample(range(count), count)]
        late = max(1, round(LATE * count))
        chain = Chain(world, agents, catalogue, chance, kills, names[late:], names[:late])
        chain.campaign = made
        return chain

    yield make
    with world.core.db.write() as session:
        session.query(Schedule).delete()
    tables.metadata.drop_all(database.engine)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kills", [False, True], ids=["calm", "with kills"])
def test_every_file_reaches_the_last_stage_once(make_chain, kills, chain_files, seed, record_property):
    """And the last stage begins long before the first is done."""
    chain = make_chain(chain_files, Random(seed), kills=kills)
    wanted = Counter(dict.fromkeys([*chain.arriving, *chain.late], 1))

    chain.run()

    assert chain.given_to("first") == wanted
    assert chain.given_to("second") == Counter({f"first_{name}": 1 for name in wanted})
    assert chain.given_to("third") == Counter({f"second_first_{name}": 1 for name in wanted})
    assert chain.share_at_third is not None
    assert chain.share_at_third < EARLY
    assert max(chain.world.batch.clusters().values()) == 1
    assert chain.world.sums_differ() == []
    assert [row for row in chain.world.launches() if row.state not in ("launched", "skipped")] == []
    assert bool(chain.deaths) is kills
    record_property("faults", {f"files through the chain{' with kills' * kills}": chain_files,
                               "deaths of agents in the chain": chain.deaths})


def test_a_launch_counts_only_what_its_slice_had(make_chain, seed):
    """Files that come while a slice is at work belong to the next one."""
    chain = make_chain(30, Random(seed), kills=False)
    chain.run()

    sizes = [item.files_consumed for item in chain.world.submissions(
        campaign_stage_id=chain.campaign.stage("first"), recovery_tasks_parent=None)]
    assert sum(sizes) <= 30
    assert max(sizes) <= 5
    assert launches.claim(chain.world.core, "nobody", 10) == []
