"""Launches, reports, kills, holds, releases and edits in any order, beside the few rules that people know.

``bin/test test/model/test_state_machine.py --steps 10000`` takes as many steps; the ordinary run fewer. And what the
order of reports means: nothing.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from poms.webservice.errors import PomsError
from poms.webservice.interfaces import JobRecord, JobState
from poms.webservice.model import CampaignStage, Job, JobType
from poms.webservice.rules.statuses import FINAL, Status, next_status
from poms.webservice.services import jobs, launches, splits, submissions
from poms.webservice.services.submissions import Report
from poms.webservice.testing.clock import START
from poms.webservice.testing.fixtures import make_service
from poms.webservice.testing.world import World, stage

STEPS_EACH = 50
SHUFFLES = 10_000
SHUFFLES_STORED = 40
FILES = 400
PERSON = "lena"

# Written down once more, so that a slip in the rules is seen: where a machine's word may lead to.
BY_MACHINES = {
    **{status: set(Status) for status in
       (Status.NEW, Status.IDLE, Status.RUNNING, Status.HELD, Status.LAUNCH_FAILED, Status.AWAITING_APPROVAL,
        Status.APPROVED)},
    Status.COMPLETED: {Status.LOCATED, Status.REMOVED, Status.CANCELLED},
    **{status: set() for status in (Status.LOCATED, Status.REMOVED, Status.FAILED, Status.CANCELLED)}}
REPORTED = [Status.NEW, Status.IDLE, Status.RUNNING, Status.HELD, Status.COMPLETED, Status.FAILED, Status.CANCELLED]


class Machine(RuleBasedStateMachine):
    """One campaign with a split, what follows it, and a stage without input."""

    world: World
    steps = 0
    make_world = staticmethod(lambda: None)

    def __init__(self):
        super().__init__()
        self.world = type(self).make_world()
        self.world.catalogue().dataset("raw", FILES)
        self.campaign = self.world.campaign_with(
            stage("gen", dataset="raw", split="nfiles(3)", completion="complete",
                  recoveries=[("consumed_status", [])]),
            stage("reco", after="gen", completion="complete"), stage("lone", completion="complete"))
        self.keys: dict[str, tuple[str, int]] = {}
        self.problems: list[str] = []

    def attempt(self, work):
        """Conditions are answers like others; anything else ends the test."""
        try:
            return work()
        except PomsError:
            return None

    def number(self, chance: Random) -> int | None:
        known = self.world.submissions()
        return chance.choice(known).submission_id if known else None

    # ------------------------------------------------------------------------------------ what happens

    @rule(name=st.sampled_from(("gen", "gen", "reco", "lone")), key=st.integers(1, 60), test=st.booleans())
    def launch(self, name, key, test):
        """With keys that come again, also for another stage, which is refused."""
        type(self).steps += 1
        outcome = self.attempt(lambda: self.world.launch(self.campaign, name, key=f"key {key}", test=test))
        if outcome is None:
            return
        before = self.keys.setdefault(f"key {key}", (name, outcome.launch_id))
        if before != (name, outcome.launch_id):
            self.problems.append(f"key {key} launched {before} and {(name, outcome.launch_id)}")

    @rule(count=st.integers(1, 4))
    def work(self, count):
        type(self).steps += 1
        for claimed in launches.claim(self.world.core, "agent one", count):
            launches.work_on(self.world.core, claimed)

    @rule(said=st.sampled_from(REPORTED), person=st.booleans(), percent=st.none() | st.floats(0, 100),
          back=st.integers(-600, 600), chance=st.randoms(use_true_random=False))
    def report(self, said, person, percent, back, chance):
        """Anything may be said at any time, with any time of its own."""
        type(self).steps += 1
        number = self.number(chance)
        if number is None:
            return
        at = self.world.core.clock() + timedelta(seconds=back)
        submissions.report(self.world.core, PERSON if person else "wrapper",
                           Report(number, said.label, pct_complete=percent, at=at), by_person=person)

    @rule(what=st.sampled_from(("start", "hold", "end", "fail", "remove", "process")), count=st.integers(1, 2),
          chance=st.randoms(use_true_random=False))
    def run_jobs(self, what, count, chance):
        type(self).steps += 1
        known = sorted(self.world.batch.clusters())
        if not known:
            return
        number, batch = chance.choice(known), self.world.batch
        if what in ("start", "hold"):
            getattr(batch, what)(number, count)
        elif what == "process":
            for name in self.world.catalogue().projects():
                if name.startswith(f"prj_{number}_"):
                    self.world.catalogue().process(name, count, suffix=f"s{number}")
        else:
            state = {"end": JobState.COMPLETED, "fail": JobState.FAILED, "remove": JobState.REMOVED}[what]
            batch.end(number, state, count)

    @rule()
    def poll(self):
        type(self).steps += 1
        self.world.poll()

    @rule()
    def wrap_up(self):
        type(self).steps += 1
        self.world.wrap_up()

    @rule(action=st.sampled_from(("hold", "release", "remove")), chance=st.randoms(use_true_random=False))
    def act(self, action, chance):
        """A kill, or jobs held and released by a person."""
        type(self).steps += 1
        number = self.number(chance)
        if number is not None:
            self.attempt(lambda: jobs.act(self.world.core, PERSON, "samdev", action, [number],
                                          mark=Status.REMOVED if action == "remove" else None))

    @rule(chance=st.randoms(use_true_random=False))
    def abort(self, chance):
        type(self).steps += 1
        number = self.number(chance)
        if number is not None:
            self.attempt(lambda: launches.abort(self.world.core, PERSON, "samdev", number))

    @rule(name=st.sampled_from(("gen", "reco")), held=st.booleans())
    def hold(self, name, held):
        type(self).steps += 1
        who = self.campaign.owner.experimenter_id if held else None
        self.world.change(CampaignStage, self.campaign.stage(name), hold_experimenter_id=who)

    @rule()
    def release(self):
        type(self).steps += 1
        kept = [row.launch_id for row in self.world.launches(state="held")]
        self.attempt(lambda: launches.release_held(self.world.core, PERSON, kept, "samdev"))

    @rule(name=st.sampled_from(("gen", "reco", "lone")), version=st.sampled_from(("v1", "v2")),
          script=st.sampled_from(("fife_launch -c a.cfg", "fife_launch -c %(dataset)s", "go %(no_such_name)s")))
    def edit(self, name, version, script):
        """Also into something that cannot be launched; what was launched keeps what it ran with."""
        type(self).steps += 1
        row = self.world.stage_row(self.campaign, name)
        self.world.change(CampaignStage, row.campaign_stage_id, software_version=version)
        self.world.change(JobType, row.job_type_id, launch_script=script)

    @rule(seconds=st.sampled_from((1, 70, 3600, -3600)))
    def wait(self, seconds):
        type(self).steps += 1
        self.world.core.clock.advance(seconds)

    # ------------------------------------------------------------------------------- what always holds

    @invariant()
    def keys_launch_once(self):
        assert self.problems == []
        rows = self.world.launches()
        assert max(Counter(row.key for row in rows).values(), default=1) == 1
        assert max(Counter(row.submission_id for row in rows if row.submission_id).values(), default=1) == 1
        assert max(self.world.batch.clusters().values(), default=1) == 1

    @invariant()
    def slices_are_given_once(self):
        given = Counter(item.submission_params["dataset"] for item in self.world.submissions(
            campaign_stage_id=self.campaign.stage("gen"), recovery_tasks_parent=None))
        assert max(given.values(), default=1) == 1, given

    @invariant()
    def sums_are_what_they_sum_up(self):
        assert self.world.sums_differ() == []

    @invariant()
    def history_is_in_order_and_legal(self):
        for item in self.world.submissions():
            rows = self.world.history(item.submission_id)
            assert rows[0].status_id == Status.NEW
            assert rows[-1].status_id == item.status_id
            for before, after in itertools.pairwise(rows):
                assert before.created <= after.created
                allowed = set(Status) if after.actor == PERSON else BY_MACHINES[Status(before.status_id)]
                assert Status(after.status_id) in allowed, f"{before.status_id} to {after.status_id} by {after.actor}"


@pytest.fixture
def make_world(tmp_path, clock, make_sqlite_database):
    """A world with empty tables each time it is called; the back ends stay."""
    service = make_service(make_sqlite_database(), tmp_path, clock)

    def make() -> World:
        service.fakes.reset()
        clock.reset()
        return World(replace(service.core, db=make_sqlite_database()), service.fakes)

    return make


@pytest.mark.timeout(3600)
def test_no_order_of_events_breaks_the_rules(make_world, steps, record_property):
    """Sums equal counts, history goes forward by legal changes, one launch for a key, a slice given once."""
    class Bound(Machine):
        pass

    Bound.make_world = staticmethod(make_world)
    Bound.steps = 0

    # Some examples stop early: more are asked for than the steps need, and the steps are counted.
    run_state_machine_as_test(Bound, settings=settings(
        max_examples=max(1, steps // STEPS_EACH + steps // 200), stateful_step_count=STEPS_EACH, deadline=None,
        derandomize=True))

    record_property("faults", {"steps of the state machine": Bound.steps})
    assert Bound.steps >= steps * 0.8


def test_a_split_that_begins_again_gives_its_slices_again(make_world):
    """The one way to get a slice twice is that a person asks for it."""
    world = make_world()
    world.catalogue().dataset("raw", 6)
    campaign = world.campaign_with(stage("gen", dataset="raw", split="nfiles(3)"))
    first = world.launch(campaign, "gen").submission_id
    splits.reset(world.core, campaign.owner, campaign.stage("gen"))

    again = world.launch(campaign, "gen").submission_id

    assert world.get(first).submission_params["dataset"] == world.get(again).submission_params["dataset"]


# -------------------------------------------------------------------------------- the order of reports

STREAMS = [
    [Status.NEW, Status.IDLE, Status.IDLE, Status.RUNNING, Status.HELD, Status.RUNNING, Status.COMPLETED],
    [Status.NEW, Status.IDLE, Status.RUNNING, Status.COMPLETED, Status.LOCATED],
    [Status.NEW, Status.IDLE, Status.RUNNING, Status.HELD, Status.FAILED],
    [Status.NEW, Status.IDLE, Status.HELD, Status.CANCELLED],
    [Status.NEW, Status.IDLE, Status.RUNNING, Status.REMOVED]]


def shuffled(stream: list[Status], chance: Random) -> list[Status]:
    """The reports of a stream in any order, some of them more than once."""
    again = chance.choices(stream, k=chance.randrange(4))
    return chance.sample([*stream, *again], len(stream) + len(again))


def told(stream: list[Status], *, is_recovery: bool = False) -> list[Status]:
    """The statuses that a submission goes through when these are reported."""
    passed = [Status.NEW]
    for reported in stream:
        passed.append(next_status(passed[-1], reported, is_recovery=is_recovery, by_person=False) or passed[-1])
    return passed


@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream[-1].label)
def test_shuffled_reports_end_in_the_same_status(stream, seed):
    """Reports that come late, twice or in another order change neither the end nor a final status on the way."""
    chance = Random(seed)
    end = told(stream)[-1]

    for _ in range(SHUFFLES // len(STREAMS)):
        passed = told(shuffled(stream, chance))

        assert passed[-1] is end
        for before, after in itertools.pairwise(passed):
            assert after is before or before not in FINAL


@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream[-1].label)
def test_shuffled_reports_end_in_the_same_status_in_the_database(world, clock, stream, seed):
    """The same through the service that stores them: status, history and sums."""
    chance = Random(seed)
    campaign = world.campaign_with(stage("gen"))
    numbers = [world.launch(campaign, "gen").submission_id for _ in range(SHUFFLES_STORED)]
    for number in numbers:
        for reported in shuffled(stream, chance):
            clock.advance(chance.randrange(-5, 20))
            submissions.report(world.core, "wrapper", Report(number, reported.label), by_person=False)

    assert {world.status(number) for number in numbers} == {told(stream)[-1]}
    for number in numbers:
        times = [row.created for row in world.history(number)]
        assert times == sorted(times)
    assert world.sums_differ() == []


def test_shuffled_job_records_end_in_the_same_jobs(world, seed):
    """What the batch system said of each job, in any order, in pieces of any size and with repetitions: same rows."""
    chance = Random(seed)
    campaign = world.campaign_with(stage("gen"))
    numbers = [world.launch(campaign, "gen").submission_id for _ in range(SHUFFLES_STORED)]
    states = (JobState.IDLE, JobState.RUNNING, JobState.HELD, JobState.RUNNING)
    ends = {f"{job}.0@fake": chance.choice((JobState.COMPLETED, JobState.FAILED, JobState.REMOVED))
            for job in range(20)}
    for number in numbers:
        stream = [JobRecord(number, job, state, START) for job, end in ends.items() for state in (*states, end)]
        stream = chance.sample([*stream, *chance.choices(stream, k=20)], len(stream) + 20)
        while stream:
            size = chance.randrange(1, 30)
            piece, stream = stream[:size], stream[size:]
            with world.core.db.write() as session:
                jobs.write_jobs(session, piece)

    with world.core.db.read() as session:
        stored = {(row.submission_id, row.batch_id): JobState(row.state) for row in session.query(Job)}
    assert stored == {(number, job): end for number in numbers for job, end in ends.items()}
