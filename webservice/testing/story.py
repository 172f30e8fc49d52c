"""A campaign's life in small steps that can happen in any order, with faults between them; and how it must end.

Two agents and two servers work on one database, one step at a time. ``settle`` heals everything and lets the service
come to rest; ``wrong`` then lists what must not be: what was acknowledged and is lost, duplicates, things owed and
never started, things stuck.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.exc import OperationalError

from poms.webservice.agent import upkeep
from poms.webservice.db import Database
from poms.webservice.errors import PomsError
from poms.webservice.interfaces import JobState
from poms.webservice.model import AgentTask, CampaignDependency, Experiment, Job, Launch, Schedule, Scout, Submission
from poms.webservice.rules import naming
from poms.webservice.rules.permissions import SUPERUSER
from poms.webservice.rules.statuses import FINAL, LIVE, Status
from poms.webservice.services import launches, schedules
from poms.webservice.services.core import Core
from poms.webservice.services.launches import Claim
from poms.webservice.testing.clock import Clock
from poms.webservice.testing.doors import Door
from poms.webservice.testing.fakes import Fakes
from poms.webservice.testing.faults import Died, MortalDatabase
from poms.webservice.testing.world import World, stage

EXPERIMENT = "samdev"
PLACE = f"{EXPERIMENT}/production"
BATCH_METHODS = ("environment", "submit", "find", "snapshot", "departed", "jobs", "act")
CATALOGUE_METHODS = ("count", "list", "define", "definition", "snapshot", "output_counts", "file_states",
                     "output_files", "recovery_files", "dependency_files", "job_environment")
FAULTS = {"batch": 1, "catalogue": 1, "submit": 3, "death": 4, "cut": 1, "repeat": 1, "log": 1, "clock": 1, "hang": 1,
          "slow": 1, "blind": 2, "forgetful": 2, "strangers": 1, "pause": 3}
"""Every kind of fault, and how often it is planned compared with the others."""

ROUNDS_TO_REST = 100
BLIND_SECONDS = 25
"""How long the batch system shows nothing. Longer than half a minute, and nobody could tell it from the truth."""

RENEWAL_SECONDS = 30
SECOND_AGENT_SECONDS = 5
"""By how much the clock of the second host is ahead."""

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
        cuts = self.database.cuts
        try:
            work()
        except PomsError:
            return
        except OperationalError:
            if self.database.cuts == cuts:
                raise
        except Died:
            self.claims.clear()
            self.lives += 1


@dataclass
class Company:
    """Two agents and two servers with databases that can die; made once and used by many stories."""

    core: Core
    fakes: Fakes
    make_database: Callable[[], MortalDatabase]
    clock: Clock
    tally: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._first = self.make_database()
        self.workers = [self._worker(name, seconds) for name, seconds in (("one", 0), ("two", SECOND_AGENT_SECONDS))]
        self.doors = [Door(self._core(own, 0), own) for own in (MortalDatabase(self._first.engine) for _ in range(2))]

    def begin(self) -> Database:
        """Empty tables for everybody."""
        database = self.make_database()
        for each in self.everybody():
            each.move(database.engine)
        for worker in self.workers:
            worker.claims.clear()
        for door in self.doors:
            door.troubles.clear()
        return database

    def everybody(self) -> list[MortalDatabase]:
        """The databases of agents and servers, in this order."""
        return [*(worker.database for worker in self.workers), *(door.database for door in self.doors)]

    def _worker(self, name: str, seconds: float) -> Worker:
        own = MortalDatabase(self._first.engine)
        return Worker(name, World(self._core(own, seconds), self.fakes), own)

    def _core(self, database: MortalDatabase, seconds: float) -> Core:
        ahead = timedelta(seconds=seconds)
        return replace(self.core, db=database, clock=lambda: self.clock() + ahead)


@dataclass(frozen=True)
class Request:
    """A launch that somebody asks a server for; the same key may be sent again."""

    word: str
    stage: str
    key: str
    test: bool = False

    def fields(self, stage_id: int) -> dict[str, Any]:
        test = {"test_launch" if self.word == "launch_jobs" else "test": "1"} if self.test else {}
        return {"campaign_stage_id": stage_id, "launch_key": self.key, **test}


class Story:
    """Slices that feed themselves, a merge, an approval and what is behind it; a schedule; a stage that scouts.

    ``pausing``: an agent may also sleep through its lease in the middle of a submit, and go on then. ``faults``: only
    these happen.
    """

    def __init__(self, company: Company, *, pausing: bool = False, faults: Collection[str] = tuple(FAULTS)) -> None:
        self.company, self.clock, self.fakes = company, company.clock, company.fakes
        self.pausing, self.faults = pausing, [each for each in faults if pausing or each != "pause"]
        self.fakes.reset()
        # A script that goes on while its agent sleeps is one that does not die with its caller.
        self.fakes.transport.dies_with_caller = not pausing
        self.clock.reset()
        database = company.begin()
        self.workers, self.doors, self.tally = company.workers, company.doors, company.tally
        self.world = World(replace(company.core, db=database), self.fakes)
        self.world.catalogue().dataset("raw", 8)
        self.world.catalogue().dataset("unknown", 6)
        after_gen = [("consumed_status", [["-r=", "1"]]), ("pending_files", [])]
        self.campaign = self.world.campaign_with(
            stage("gen", dataset="raw", split="drainingn(2)", pct=50, recoveries=after_gen),
            stage("reco", after={"gen": "%.root"}, completion="complete"),
            stage("gate", after={"reco": "%.root"}, script="", campaign_stage_type="approval"),
            stage("plot", after={"gate": "%.root"}, completion="complete"),
            stage("nightly", completion="complete"),
            stage("scouted", dataset="unknown", scout="2 files", completion="complete"), name="story")
        with database.write() as session:
            session.add(CampaignDependency(
                provider_campaign_stage_id=self.campaign.stage("gen"), file_patterns="%",
                consumer_campaign_stage_id=self.campaign.stage("gen")))
        self.owner = self.campaign.owner
        self.superuser = self.world.person("sam", SUPERUSER)
        self.world.person(launches.AGENT)
        schedules.set_schedule(self.world.core, self.owner, self.campaign.stage("nightly"), cron="*/10 * * * *")
        with database.read() as session:
            self.dependencies = list(session.scalars(select(CampaignDependency)))
        self.asked: list[Request] = []
        self.acknowledged: dict[str, dict[str, Any]] = {}
        self.troubles: list[str] = []
        for door in (0, 1):
            self.launch(door, Random(door))

    # ------------------------------------------------------------------------------- people and programs

    def launch(self, door: int, chance: Random, *, again: bool = False) -> None:
        """A launch by button, by a program with its key, or as a test; ``again``: with the key of an earlier one."""
        if again and self.asked:
            self.tally["a request sent again"] += 1
            return self._ask(door, chance.choice(self.asked))
        word, name, test = chance.choice((
            ("launch_stage", "gen", False), ("launch_jobs", "gen", False), ("launch_jobs", "nightly", False),
            ("launch_stage", "nightly", True), ("launch_jobs", "plot", True), ("launch_stage", "scouted", False),
            ("launch_jobs", "scouted", False)))
        self.asked.append(Request(word, name, f"key {len(self.asked)}", test))
        return self._ask(door, self.asked[-1])

    def decide(self, door: int, chance: Random) -> None:
        """Somebody approves what waits for approval, or more rarely refuses it."""
        for number in self._numbers([Status.AWAITING_APPROVAL])[:1]:
            self._post(door, "submission_act", {
                "submission_id": number, "act": "approve" if chance.random() < 0.8 else "refuse", "reason": "seen"})

    def call_off(self, door: int, chance: Random) -> None:
        """Somebody aborts a launch, or removes the jobs of a submission."""
        new, live = self._numbers([Status.NEW]), self._numbers(LIVE)
        if new and chance.random() < 0.5:
            self._post(door, "submission_act", {"submission_id": chance.choice(new), "act": "abort"})
        elif live:
            self._post(door, "jobs_act", {"submission_id": chance.choice(live), "act": "remove"})

    def hold(self, door: int, chance: Random) -> None:
        """Launches of a stage or of the experiment are held, or allowed again."""
        if chance.random() < 0.3:
            self._post(door, "launch_gate", {"act": chance.choice(("hold", "allow"))}, who=self.superuser.username,
                       place=f"{EXPERIMENT}/{SUPERUSER}")
        else:
            self._post(door, "stage_act", {"campaign_stage_id": self.campaign.stage(chance.choice(("reco", "nightly"))),
                                           "act": chance.choice(("hold_launches", "release_launches"))})

    def release(self, door: int, chance: Random) -> None:
        """Somebody releases one of the launches that are held."""
        kept = [row.launch_id for row in self.world.launches(state="held")]
        if kept:
            self._post(door, "held_launches_act", {"launch_id": chance.choice(kept), "act": "release"})

    def report_late(self, door: int, chance: Random) -> None:
        """A wrapper repeats what it knew of a submission some time ago."""
        known = list(self.fakes.batch.clusters())
        if known:
            said = chance.choice((Status.IDLE, Status.RUNNING)).label
            self._post(door, "update_submission", {"submission_id": chance.choice(known), "status": said},
                       who=launches.AGENT)

    # ----------------------------------------------------------------------------------------- agents

    def claim(self, worker: int, limit: int = 2) -> None:
        each = self.workers[worker]
        each.attempt(lambda: each.claims.extend(launches.claim(each.world.core, each.owner, limit)))

    def work(self, worker: int) -> None:
        """An agent brings the oldest launch that it claimed as far as it goes; with none it claims first.

        Those that are owed are settled together (a single one every other time), and are then anybody's; but for those
        that have to be worked out by themselves, which it goes on with.
        """
        each = self.workers[worker]
        if not each.claims:
            self.claim(worker)
        owed = [claimed for claimed in each.claims if claimed.state == "owed"]
        if len(owed) > 1 or (owed and owed[0].launch_id % 2):
            each.claims = [claimed for claimed in each.claims if claimed.state != "owed"]
            self.tally["owed launches settled together"] += len(owed)
            each.attempt(lambda: self._settle(each, owed))
        elif each.claims:
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

    def look_at_schedules(self, worker: int) -> None:
        each = self.workers[worker]
        each.attempt(lambda: schedules.launch_due(each.world.core, EXPERIMENT))

    # --------------------------------------------------------------------------------------- the world

    def wait(self, seconds: float) -> None:
        """Time goes by, or a clock is put right by an hour."""
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
        """Plan a fault: a system that is silent, slow or lies, a submit that is lost, somebody who dies or sleeps."""
        what = chance.choice([each for each in self.faults for _ in range(FAULTS[each])])
        if what == "cut" and not self.world.core.db.is_postgresql:
            what = "death"
        getattr(self, f"_plan_{what}")(chance)
        self.tally[f"fault planned: {what}"] += 1

    def _plan_batch(self, chance: Random) -> None:
        self.fakes.batch.fail(chance.choice(BATCH_METHODS), times=chance.randrange(1, 4))

    def _plan_catalogue(self, chance: Random) -> None:
        self.fakes.catalogue(EXPERIMENT).fail(chance.choice(CATALOGUE_METHODS), times=chance.randrange(1, 4))

    def _plan_submit(self, chance: Random) -> None:
        self.fakes.batch.answer(chance.choice(("lost", "lost", "lost-before", "refused")))

    def _plan_pause(self, chance: Random) -> None:
        self.fakes.batch.plan("submit", lambda: self._taken_over(chance.randrange(2)))

    def _plan_hang(self, chance: Random) -> None:
        self.fakes.batch.plan("submit", lambda: self._hung(chance.randrange(2)))

    def _plan_slow(self, chance: Random) -> None:
        """What was asked for is done, but the answer comes too late for whoever asked."""
        if chance.random() < 0.5:
            self.fakes.batch.fail("act, answered")
        else:
            self.fakes.catalogue(EXPERIMENT).fail("define, answered")

    def _plan_blind(self, chance: Random) -> None:
        self.fakes.batch.be_blind(self.clock() + timedelta(seconds=BLIND_SECONDS))

    def _plan_forgetful(self, chance: Random) -> None:
        self.fakes.catalogue(EXPERIMENT).forget(
            "output_counts" if chance.random() < 0.2 else "dependency_files")

    def _plan_strangers(self, chance: Random) -> None:
        self.fakes.batch.add_strangers()

    def _plan_repeat(self, chance: Random) -> None:
        self._forget_cursors()

    def _plan_log(self, chance: Random) -> None:
        self._close_logs()

    def _plan_clock(self, chance: Random) -> None:
        self.wait(chance.choice((-3600, 3600, -5)))

    def _plan_cut(self, chance: Random) -> None:
        chance.choice(self.company.everybody()).cut_at_commit(chance.randrange(1, 5))

    def _plan_death(self, chance: Random) -> None:
        chance.choice(self.company.everybody()).die_at_commit(chance.randrange(1, 5), after=chance.random() < 0.5)

    def random_step(self, chance: Random) -> None:
        """Any step, the frequent ones more often."""
        worker, door = chance.randrange(2), chance.randrange(2)
        steps: list[tuple[int, Callable[[], None]]] = [
            (4, lambda: self.launch(door, chance, again=chance.random() < 0.4)),
            (2, lambda: self.claim(worker)),
            (16, lambda: self.work(worker)),
            (6, lambda: self.poll(worker)),
            (6, lambda: self.wrap_up(worker)),
            (1, lambda: self.upkeep(worker)),
            (2, lambda: self.look_at_schedules(worker)),
            (5, lambda: self.wait(chance.choice((1, 20, 70, 400)))),
            (10, lambda: self.run_jobs(chance)),
            (8, lambda: self.break_something(chance)),
            (1, lambda: self.hold(door, chance)),
            (1, lambda: self.release(door, chance)),
            (1, lambda: self.decide(door, chance)),
            (1, lambda: self.call_off(door, chance)),
            (1, lambda: self.report_late(door, chance)),
        ]
        self.tally["steps"] += 1
        chance.choices([step for _, step in steps], [weight for weight, _ in steps])[0]()

    # ------------------------------------------------------------------------------------- the end

    def settle(self) -> None:
        """Heal everything and let agents and jobs go on until nothing changes any more."""
        self._heal()
        if "forgetful" in self.faults:
            # Most of what follows something follows now: let there be a lie among the answers.
            self.fakes.catalogue(EXPERIMENT).forget("dependency_files")
        self._end_schedule()
        for turn in range(ROUNDS_TO_REST):
            self.clock.advance(400 if turn < ROUNDS_TO_REST // 2 else timedelta(days=1).total_seconds())
            worker = self.workers[turn % 2]
            self._allow_everything()
            owed = launches.claim(worker.world.core, worker.owner, 10, owed_in=EXPERIMENT)
            self.tally["owed launches settled together"] += len(owed)
            self._settle(worker, owed)
            worker.world.work_on_launches(worker.owner)
            for number in self.fakes.batch.clusters():
                self._process(number, None)
                self.fakes.batch.end(number)
            worker.world.poll(worker.owner)
            worker.world.wrap_up(EXPERIMENT)
            upkeep.run(worker.world.core, EXPERIMENT)
            if self._at_rest():
                break
        for row in self.world.launches():
            self.tally[f"launch {self._kind(row)}: {row.state}"] += 1
        self.tally["acknowledged"] += len(self.acknowledged)
        self.tally["jobs found of an earlier attempt"] += len(self.world.events("launch.adopted"))
        self.tally["held launches released"] += len(self.world.events("launch.released"))

    def wrong(self) -> list[str]:
        """Everything that must not be, in words; empty if the story ended well."""
        return [*self.troubles, *(said for door in self.doors for said in door.troubles), *self._lost(),
                *self._duplicates(), *self._owed(), *self._stuck(), *self._left_behind(), *self._unordered(),
                *self._invented(), *self._not_scouted(), *self.world.sums_differ()]

    # -------------------------------------------------------------------------------- what is checked

    def _lost(self) -> list[str]:
        rows = {row.launch_id: row for row in self.world.launches()}
        found = []
        for key, answer in self.acknowledged.items():
            row = rows.get(answer["launch_id"])
            if row is None:
                found.append(f"the launch acknowledged for {key} is not there")
            elif answer["submission_id"] not in (None, row.submission_id):
                found.append(f"{key} was told submission {answer['submission_id']}, it is {row.submission_id}")
        return found

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
        clusters, gate = self.fakes.batch.clusters(), self.campaign.stage("gate")
        found += [f"launch {row.launch_id} is launched without jobs" for row in self.world.launches(state="launched")
                  if not clusters[row.submission_id] and row.campaign_stage_id != gate]
        keys = {row.key for row in self.world.launches()}
        for item in self.world.submissions(status_id=int(Status.LOCATED), recovery_tasks_parent=None):
            if not self._recovers(item):
                found += [f"submission {item.submission_id} is Located, {key} was never owed"
                          for key in self._followers(item) if key not in keys]
        return found

    def _stuck(self) -> list[str]:
        return [f"submission {item.submission_id} is stuck in {Status(item.status_id).label}: {item.wrapup_message}"
                for item in self.world.submissions() if Status(item.status_id) not in AT_REST]

    def _left_behind(self) -> list[str]:
        """Jobs of submissions that a person ended, still in the batch system."""
        return [f"job {job.batch_id} of submission {number} was never removed"
                for number in self.fakes.batch.clusters() for job in self.fakes.batch.of(number)
                if not job.state.is_final]

    def _unordered(self) -> list[str]:
        found = []
        for item in self.world.submissions():
            times = [row.created for row in self.world.history(item.submission_id)]
            if times != sorted(times):
                found.append(f"the history of submission {item.submission_id} goes backwards: {times}")
        return found

    def _invented(self) -> list[str]:
        """Jobs that are not ours."""
        with self.world.core.db.read() as session:
            found = session.scalars(select(Job.batch_id).where(
                Job.submission_id.not_in(select(Submission.submission_id)))).all()
        return [f"job {batch_id} of nobody was taken in" for batch_id in found]

    def _not_scouted(self) -> list[str]:
        """Files of a scout's launch that went twice, or never: what it left goes once, and nothing else does."""
        with self.world.core.db.read() as session:
            scouts = session.scalars(select(Scout)).all()
        self.tally["scouts"] += len(scouts)
        rows = {row.key: row for row in self.world.launches()}
        whole = Counter(self.fakes.catalogue(EXPERIMENT).list("defname: unknown"))
        found = []
        for scout in scouts:
            self.tally[f"scout: {scout.state}"] += 1
            rest = rows.get(naming.scout_rest_key(scout.submission_id))
            if rest is None or rest.submission_id is None:
                found.append(f"the files that scout {scout.submission_id} left were never launched")
                continue
            given = Counter(name for number in (scout.submission_id, rest.submission_id)
                            for name in self._files(self.world.get(number)))
            if given != whole:
                found.append(f"scout {scout.submission_id} and its rest have {sorted(given.elements())}")
        return found

    # ------------------------------------------------------------------------------------------ inside

    def _settle(self, worker: Worker, owed: list[Claim]) -> None:
        for claimed in launches.settle(worker.world.core, owed):
            launches.work_on(worker.world.core, claimed)

    def _ask(self, door: int, request: Request) -> None:
        answer = self._post(door, request.word, request.fields(self.campaign.stage(request.stage)))
        if answer is None:
            return
        before = self.acknowledged.setdefault(request.key, answer)
        if before["launch_id"] != answer["launch_id"]:
            self.troubles.append(f"{request.key} launched {before['launch_id']} and {answer['launch_id']}")

    def _post(self, door: int, word: str, fields: dict[str, Any], *, who: str = "", place: str = PLACE
              ) -> dict[str, Any] | None:
        self.tally["requests"] += 1
        return self.doors[door].post(who or self.owner.username, place, word, fields)

    def _numbers(self, statuses: Iterable[Status]) -> list[int]:
        wanted = {int(status) for status in statuses}
        return [item.submission_id for item in self.world.submissions() if item.status_id in wanted]

    def _kind(self, row: Launch) -> str:
        if row.campaign_stage_id == self.campaign.stage("gate"):
            return "approval"
        return row.kind

    def _taken_over(self, worker: int) -> None:
        """While an agent sleeps in the middle of a submit its lease ends, and another one looks at the launch."""
        self.wait(70)
        self.claim(worker, 5)
        while self.workers[worker].claims:
            self.work(worker)

    def _hung(self, worker: int) -> None:
        """A submit command takes until its time limit and is ended. Its launch stays its agent's; others go on."""
        begun = [row for row in self.world.launches(state="queued") if row.attempt]
        held = [Claim(row.launch_id, row.experiment, row.state, row.lease_epoch, row.attempt, row.submission_id)
                for row in begun if row.lease_until is not None]
        limit = self.world.core.settings.agent.launch_timeout_seconds
        for _ in range(int(limit / RENEWAL_SECONDS)):
            self.wait(RENEWAL_SECONDS)
            launches.renew(self.world.core, held)
        other = self.workers[worker]
        if not other.claims:
            self.claim(worker, 1)
        if other.claims:
            self.work(worker)
        self.fakes.batch.answer("lost" if worker else "lost-before")

    def _forget_cursors(self) -> None:
        """All that the batch system ever told is told again, as when a history is read anew."""
        with self.world.core.db.write() as session:
            session.execute(update(AgentTask).values(cursor=""))

    def _close_logs(self) -> None:
        """There is no room for launch logs: their directory is something that nobody can write into."""
        logs = self._logs()
        if logs.is_dir():
            logs.rename(logs.with_name("launch_logs.away"))
        if not logs.exists():
            logs.write_bytes(b"")

    def _open_logs(self) -> None:
        logs, away = self._logs(), self._logs().with_name("launch_logs.away")
        if logs.is_file():
            logs.unlink()
        if away.is_dir():
            away.rename(logs)

    def _logs(self):
        return self.world.core.settings.service.data_dir / "launch_logs"

    def _heal(self) -> None:
        self.fakes.batch.heal()
        self.fakes.catalogue(EXPERIMENT).heal()
        self._open_logs()
        for database in self.company.everybody():
            self.tally["deaths"] += database.deaths
            self.tally["connections cut"] += database.cuts
            database.deaths = database.cuts = 0
            database.live_on()
        for worker in self.workers:
            worker.claims.clear()
        # Leases and pauses of before the clock was put back are over.
        self.clock.advance(hours=4)

    def _end_schedule(self) -> None:
        """Let what is due be launched, see that it is, and end the schedule, which would never rest."""
        schedules.launch_due(self.world.core, EXPERIMENT)
        with self.world.core.db.write() as session:
            row = session.get_one(Schedule, self.campaign.stage("nightly"))
            if row.next_at <= self.clock():
                self.troubles.append(f"the schedule's moment {row.next_at} was left out")
            if row.last_tick is None or not session.scalar(select(Launch.launch_id).where(Launch.kind == "schedule")):
                self.troubles.append("the schedule launched nothing")
            session.execute(delete(Schedule))

    def _allow_everything(self) -> None:
        for name in ("reco", "nightly"):
            if self.world.stage_row(self.campaign, name).hold_experimenter_id is not None:
                self._post(0, "stage_act", {"campaign_stage_id": self.campaign.stage(name), "act": "release_launches"})
        with self.world.core.db.read() as session:
            held = session.get_one(Experiment, EXPERIMENT).launches_held_by is not None
        if held:
            self._post(0, "launch_gate", {"act": "allow"}, who=self.superuser.username,
                       place=f"{EXPERIMENT}/{SUPERUSER}")
        with self.world.core.db.read() as session:
            under_way = set(session.scalars(select(Scout.submission_id).where(Scout.state == "waiting")))
        for row in self.world.launches(state="held"):
            if row.scout_submission_id not in under_way:
                self._post(0, "held_launches_act", {"launch_id": row.launch_id, "act": "release"})
        for number in self._numbers([Status.AWAITING_APPROVAL]):
            self._post(0, "submission_act", {"submission_id": number, "act": "approve"})

    def _at_rest(self) -> bool:
        with self.world.core.db.read() as session:
            pending = session.scalar(
                select(Launch.launch_id).where(Launch.state.in_(("owed", "queued", "held"))).limit(1))
            live = session.scalar(select(Submission.submission_id).where(
                Submission.status_id.not_in([int(status) for status in AT_REST])).limit(1))
        return pending is None and live is None

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
        """Keys of the launches that a Located submission must have led to."""
        found = []
        for each in self.dependencies:
            if each.provider_campaign_stage_id != item.campaign_stage_id:
                continue
            feeds_itself = each.consumer_campaign_stage_id == item.campaign_stage_id
            if feeds_itself or self._has_output(item):
                found.append(f"dependency:{each.campaign_dep_id}:{item.submission_id}")
        return found

    def _has_output(self, item: Submission) -> bool:
        if item.campaign_stage_id == self.campaign.stage("gate"):
            return bool(self._files(item))
        catalogue = self.fakes.catalogue(EXPERIMENT)
        return bool(item.project and catalogue.count(f"ischildof:( snapshot_for_project_name {item.project} )"))

    def _files(self, item: Submission) -> list[str]:
        catalogue = self.fakes.catalogue(EXPERIMENT)
        return catalogue.list(catalogue.dataset_query(item.submission_params["dataset"]))

    def _process(self, number: int, count: int | None) -> None:
        # No job is done with a file before the clocks of all hosts have passed the moment of its launch.
        self.wait(2 * SECOND_AGENT_SECONDS)
        catalogue = self.fakes.catalogue(EXPERIMENT)
        live = any(not job.state.is_final for job in self.fakes.batch.of(number))
        for name in catalogue.projects():
            if live and name.startswith(f"prj_{number}_"):
                catalogue.process(name, count, suffix=f"s{number}")
