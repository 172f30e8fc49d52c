"""A campaign's life in small steps that can happen in any order, with faults between them; and how it must end.

Two agents work on one database, one step at a time. ``settle`` heals everything and lets the service come to
rest; ``wrong`` then lists what must not be: duplicates, things owed and never started, things stuck.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random

from sqlalchemy import select

from poms.webservice.agent import upkeep
from poms.webservice.errors import PomsError
from poms.webservice.interfaces import JobState
from poms.webservice.model import CampaignDependency, CampaignStage, Launch, Submission
from poms.webservice.rules.statuses import FINAL, Status
from poms.webservice.services import launches
from poms.webservice.services.core import Core
from poms.webservice.services.launches import Claim
from poms.webservice.testing.fakes import Fakes
from poms.webservice.testing.faults import Died, MortalDatabase
from poms.webservice.testing.world import World, stage

EXPERIMENT = "samdev"
BATCH_METHODS = ("environment", "submit", "find", "snapshot", "departed", "jobs")
CATALOGUE_METHODS = ("count", "list", "define", "definition", "snapshot", "output_counts", "file_states",
                     "output_files", "recovery_files", "dependency_files", "job_environment")
ROUNDS_TO_REST = 80
# Neither final nor live: what is LaunchFailed waits for a person, and nothing of it is in the batch system.
AT_REST = FINAL | {Status.LAUNCH_FAILED}


@dataclass
class Worker:
    """An agent that does one thing at a time and forgets everything when it dies."""

    name: str
    world: World
    database: MortalDatabase
    claims: list[Claim] = field(default_factory=list)
    lives: int = 1

    @property
    def owner(self) -> str:
        return f"{self.name}, life {self.lives}"

    def attempt(self, work: Callable[[], object]) -> None:
        """Do something; conditions are what an agent's loop survives, death makes it begin anew."""
        try:
            work()
        except PomsError:
            return
        except Died:
            self.claims.clear()
            self.lives += 1


class Story:
    """Generation in slices that feeds itself and reconstruction, with a recovery; see the module."""

    def __init__(self, core: Core, fakes: Fakes, make_database: Callable[[], MortalDatabase], clock, *,
                 pausing: bool = False) -> None:
        """``pausing``: an agent may also sleep through its lease in the middle of a submit, and go on then."""
        self.clock, self.fakes, self.pausing = clock, fakes, pausing
        fakes.reset()
        # A script that goes on while its agent sleeps is one that does not die with its caller.
        fakes.transport.dies_with_caller = not pausing
        clock.reset()
        database = make_database()
        self.world = World(replace(core, db=database), fakes)
        self.workers = []
        for name in ("one", "two"):
            own = MortalDatabase(database.engine)
            self.workers.append(Worker(name, World(replace(core, db=own), fakes), own))
        self.files = self.world.catalogue().dataset("raw", 12)
        self.campaign = self.world.campaign_with(
            stage("gen", dataset="raw", split="drainingn(2)", pct=50, recoveries=[("consumed_status", [["-r=", "1"]]),
                                                                                  ("pending_files", [])]),
            stage("reco", after={"gen": "%.root"}, completion="complete"), name="story")
        with database.write() as session:
            session.add(CampaignDependency(
                provider_campaign_stage_id=self.campaign.stage("gen"), file_patterns="%",
                consumer_campaign_stage_id=self.campaign.stage("gen")))
        self.asked = 0

    # --------------------------------------------------------------------------------------- steps

    def launch(self, again: bool = False) -> None:
        """A person asks for a launch of the first stage; ``again``: with the key of the one before."""
        self.asked += 0 if again and self.asked else 1
        self.workers[0].attempt(lambda: self.world.launch(self.campaign, "gen", key=f"click-{self.asked}"))

    def claim(self, worker: int, limit: int = 2) -> None:
        each = self.workers[worker]
        each.attempt(lambda: each.claims.extend(launches.claim(each.world.core, each.owner, limit)))

    def work(self, worker: int) -> None:
        """An agent brings the oldest launch that it claimed as far as it goes."""
        each = self.workers[worker]
        if each.claims:
            claimed = each.claims.pop(0)
            each.attempt(lambda: launches.work_on(each.world.core, claimed))

    def poll(self, worker: int) -> None:
        each = self.workers[worker]
        each.attempt(lambda: each.world.poll(each.owner))

    def wrap_up(self, worker: int) -> None:
        each = self.workers[worker]
        each.attempt(lambda: each.world.wrap_up(EXPERIMENT))

    def upkeep(self, worker: int) -> None:
        each = self.workers[worker]
        each.attempt(lambda: upkeep.run(each.world.core, EXPERIMENT))

    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def run_jobs(self, chance: Random) -> None:
        """Something happens to the jobs of one submission."""
        numbers = sorted(self.fakes.batch.clusters())
        if not numbers:
            return
        number = chance.choice(numbers)
        batch = self.fakes.batch
        what = chance.choice(("start", "process", "end", "end", "fail", "hold", "remove"))
        if what == "start":
            batch.start(number, chance.randrange(1, 3))
        elif what == "hold":
            batch.hold(number, 1)
        elif what == "process":
            self._process(number, chance.randrange(1, 4))
        else:
            state = {"end": JobState.COMPLETED, "fail": JobState.FAILED, "remove": JobState.REMOVED}[what]
            batch.end(number, state, chance.randrange(1, 3))

    def break_something(self, chance: Random) -> None:
        """Plan a fault: a silent system, a lost or refused submit, an agent that dies at a commit."""
        what = chance.choice(("batch", "catalogue", "submit", "death", "death", *["pause"] * 3 * self.pausing))
        if what == "batch":
            self.fakes.batch.fail(chance.choice(BATCH_METHODS), times=chance.randrange(1, 4))
        elif what == "catalogue":
            self.fakes.catalogue(EXPERIMENT).fail(chance.choice(CATALOGUE_METHODS), times=chance.randrange(1, 4))
        elif what == "submit":
            self.fakes.batch.answer(chance.choice(("lost", "lost", "lost-before", "refused")))
        elif what == "pause":
            self.fakes.batch.plan("submit", lambda: self._taken_over(chance.randrange(2)))
        else:
            chance.choice(self.workers).database.die_at_commit(chance.randrange(1, 5), after=chance.random() < 0.5)

    def _taken_over(self, worker: int) -> None:
        """While an agent sleeps in the middle of a submit its lease ends, and another one looks at the launch."""
        self.wait(70)
        self.claim(worker, 5)
        while self.workers[worker].claims:
            self.work(worker)

    def hold(self, held: bool) -> None:
        """A person holds the launches of the second stage, or allows them and releases what was kept."""
        who = self.campaign.owner.experimenter_id if held else None
        self.world.change(CampaignStage, self.campaign.stage("reco"), hold_experimenter_id=who)
        if not held:
            kept = [row.launch_id for row in self.world.launches(state="held")]
            launches.release_held(self.world.core, "ann", kept, EXPERIMENT)

    def random_step(self, chance: Random) -> None:
        """Any step, the frequent ones more often."""
        worker = chance.randrange(2)
        steps: list[tuple[int, Callable[[], None]]] = [
            (3, lambda: self.launch(again=chance.random() < 0.3)),
            (6, lambda: self.claim(worker)),
            (8, lambda: self.work(worker)),
            (6, lambda: self.poll(worker)),
            (5, lambda: self.wrap_up(worker)),
            (1, lambda: self.upkeep(worker)),
            (5, lambda: self.wait(chance.choice((1, 20, 70, 400)))),
            (8, lambda: self.run_jobs(chance)),
            (4, lambda: self.break_something(chance)),
            (1, lambda: self.hold(chance.random() < 0.5)),
        ]
        chance.choices([step for _, step in steps], [weight for weight, _ in steps])[0]()

    # ------------------------------------------------------------------------------------- the end

    def settle(self) -> None:
        """Heal everything and let agents and jobs go on until nothing changes any more."""
        self.fakes.batch.heal()
        self.fakes.catalogue(EXPERIMENT).heal()
        for each in self.workers:
            each.database.live_on()
            each.claims.clear()
        self.hold(False)
        for turn in range(ROUNDS_TO_REST):
            self.clock.advance(400 if turn < ROUNDS_TO_REST // 2 else timedelta(days=1).total_seconds())
            worker = self.workers[turn % 2]
            worker.world.work_on_launches(worker.owner)
            for number in self.fakes.batch.clusters():
                self._process(number, None)
                self.fakes.batch.end(number)
            worker.world.poll(worker.owner)
            worker.world.wrap_up(EXPERIMENT)
            upkeep.run(worker.world.core, EXPERIMENT)
            if self._at_rest():
                return

    def wrong(self) -> list[str]:
        """Everything that must not be, in words; empty if the story ended well."""
        return [*self._duplicates(), *self._owed(), *self._stuck(), *self._unordered(), *self.world.sums_differ()]

    def _at_rest(self) -> bool:
        with self.world.core.db.read() as session:
            pending = session.scalar(select(Launch.launch_id).where(Launch.state.in_(("owed", "queued"))).limit(1))
            live = session.scalar(select(Submission.submission_id).where(
                Submission.status_id.not_in([int(status) for status in AT_REST])).limit(1))
        return pending is None and live is None

    def _duplicates(self) -> list[str]:
        found = [f"submission {number} has {count} clusters: launched more than once"
                 for number, count in self.fakes.batch.clusters().items() if count > 1]
        slices = Counter(file for item in self._slices() for file in self._files(item))
        found += [f"file {name} was given to {count} slices" for name, count in slices.items() if count > 1]
        launched = Counter(row.submission_id for row in self.world.launches() if row.submission_id)
        return found + [f"submission {number} has {count} launch rows" for number, count in launched.items()
                        if count > 1]

    def _owed(self) -> list[str]:
        found = [f"launch {row.launch_id} ({row.key}) is still {row.state}: {row.message}"
                 for row in self.world.launches() if row.state in ("owed", "queued", "held")]
        clusters = self.fakes.batch.clusters()
        found += [f"launch {row.launch_id} is launched without jobs" for row in self.world.launches(state="launched")
                  if not clusters[row.submission_id]]
        keys = {row.key for row in self.world.launches()}
        for item in self._slices():
            if item.status_id != Status.LOCATED or self._recovers(item):
                continue
            found += [f"submission {item.submission_id} is Located, {key} was never owed"
                      for key in self._followers(item) if key not in keys]
        return found

    def _stuck(self) -> list[str]:
        return [f"submission {item.submission_id} is stuck in {Status(item.status_id).label}: {item.wrapup_message}"
                for item in self.world.submissions() if Status(item.status_id) not in AT_REST]

    def _unordered(self) -> list[str]:
        found = []
        for item in self.world.submissions():
            times = [row.created for row in self.world.history(item.submission_id)]
            if times != sorted(times):
                found.append(f"the history of submission {item.submission_id} goes backwards: {times}")
        return found

    def _slices(self) -> list[Submission]:
        """Submissions of the first stage that took a slice of the dataset."""
        return [item for item in self.world.submissions(campaign_stage_id=self.campaign.stage("gen"))
                if item.recovery_tasks_parent is None]

    def _recovers(self, item: Submission) -> bool:
        """Its newest recovery has not led on: it failed, was removed, or could not be launched."""
        recoveries = self.world.submissions(recovery_tasks_parent=item.submission_id)
        rows = self.world.launches(parent_submission_id=item.submission_id, kind="recovery")
        return bool(rows) and (rows[-1].state != "launched" or recoveries[-1].status_id != Status.LOCATED)

    def _followers(self, item: Submission) -> list[str]:
        catalogue = self.fakes.catalogue(EXPERIMENT)
        keys = [f"dependency:2:{item.submission_id}"]
        if item.project and catalogue.count(f"ischildof:( snapshot_for_project_name {item.project} )"):
            keys.append(f"dependency:1:{item.submission_id}")
        return keys

    def _files(self, item: Submission) -> list[str]:
        catalogue = self.fakes.catalogue(EXPERIMENT)
        return catalogue.list(catalogue.dataset_query(item.submission_params["dataset"]))

    def _process(self, number: int, count: int | None) -> None:
        catalogue = self.fakes.catalogue(EXPERIMENT)
        live = any(not job.state.is_final for job in self.fakes.batch.of(number))
        for name in catalogue.projects():
            if live and name.startswith(f"prj_{number}_"):
                catalogue.process(name, count, suffix=f"s{number}")
