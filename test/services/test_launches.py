"""Launch rows at work: claimed by one agent at a time, submitted once, recorded by whoever holds the lease."""

from __future__ import annotations

import io
import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from poms.webservice.errors import Conflict, NotFound
from poms.webservice.interfaces import JobState
from poms.webservice.model import CampaignStage, Launch, Membership
from poms.webservice.rules.permissions import ANALYSIS, PRODUCTION, SHIFTER, SUPERUSER
from poms.webservice.rules.statuses import Status
from poms.webservice.services import holds, jobs, launch_logs, launch_requests, launches, preparing
from poms.webservice.testing import statements
from poms.webservice.testing.faults import Died
from poms.webservice.testing.world import stage

LEASE = 60


@pytest.fixture
def campaign(world):
    return world.campaign_with(stage("gen"))


def _claim(world, owner="agent one", limit=10):
    return launches.claim(world.core, owner, limit)


def test_a_claimed_launch_is_nobody_elses(world, campaign):
    """While the lease holds no other agent gets the row."""
    world.launch(campaign, "gen")

    assert len(_claim(world)) == 1
    assert _claim(world, "agent two") == []


def test_an_expired_lease_is_taken_over(world, campaign, clock):
    """After the lease another agent works on the launch, under a higher epoch."""
    world.launch(campaign, "gen")
    first = _claim(world)[0]
    clock.advance(LEASE + 1)

    second = _claim(world, "agent two")[0]

    assert second.epoch > first.epoch


def test_a_renewed_lease_is_kept(world, campaign, clock):
    """An agent that prolongs its lease in time keeps the launch."""
    world.launch(campaign, "gen")
    mine = _claim(world)
    clock.advance(LEASE - 1)
    launches.renew(world.core, mine)
    clock.advance(LEASE - 1)

    assert _claim(world, "agent two") == []


def test_a_lease_that_was_lost_cannot_be_renewed(world, campaign, clock):
    """Prolonging an old lease changes nothing for the agent that has it now."""
    world.launch(campaign, "gen")
    old = _claim(world)
    clock.advance(LEASE + 1)
    _claim(world, "agent two")
    clock.advance(LEASE - 10)
    launches.renew(world.core, old)
    clock.advance(11)

    assert len(_claim(world, "agent three")) == 1


def test_an_old_epoch_writes_nothing(world, campaign, clock):
    """An agent that slept through its lease submits nothing and records nothing."""
    world.launch(campaign, "gen")
    old = _claim(world)[0]
    clock.advance(LEASE + 1)
    new = _claim(world, "agent two")[0]

    assert launches.work_on(world.core, old) == "lost"
    assert world.batch.accepted == []
    assert launches.work_on(world.core, new) == "launched"
    assert launches.work_on(world.core, old) == "lost"
    assert len(world.batch.accepted) == 1


def test_a_late_answer_to_an_old_epoch_is_not_recorded(world, campaign, clock):
    """Jobs submitted under a lease that was lost meanwhile are found by the next agent, not submitted again."""
    number = world.launch(campaign, "gen").submission_id
    old = _claim(world)[0]
    taken_over = []

    def sleep_through_the_lease():
        clock.advance(LEASE + 1)
        taken_over.extend(_claim(world, "agent two"))

    world.batch.plan("submit", sleep_through_the_lease)

    assert launches.work_on(world.core, old) == "lost"
    assert launches.work_on(world.core, taken_over[0]) == "launched"
    assert world.batch.clusters() == {number: 1}
    assert world.events("launch.adopted")


def test_launched_jobs_are_described(world):
    """The submission gets job id, project and command from the batch system, and the log says what happened."""
    campaign = world.campaign_with(stage("gen", dataset="raw"))
    world.catalogue().dataset("raw", 3)

    number = world.submission(campaign, "gen")

    found = world.get(number)
    row = world.launches()[0]
    assert (found.jobsub_job_id, found.jobs_expected) == ("1@fake.example.org", 2)
    assert found.project == f"prj_{number}_0"
    assert found.command_executed == "fife_launch -c samdev.cfg -Oglobal.dataset=raw"
    assert (row.state, row.exit_status, row.lease_owner) == ("launched", 0, None)
    assert "submitted 1@fake.example.org" in launch_logs.read(world.core, "samdev", number).text


def test_a_refused_launch_failed(world, campaign):
    """A launch script that ends badly makes the submission LaunchFailed, and its status is kept."""
    number = world.launch(campaign, "gen").submission_id
    world.batch.answer("refused")

    assert world.work_on_launches() == ["failed"]

    assert world.status(number) is Status.LAUNCH_FAILED
    assert world.launches()[0].exit_status == 3
    assert world.work_on_launches() == []


def test_a_lost_answer_is_adopted(world, campaign, clock):
    """If the jobs are there but nobody heard of it, they are found and not submitted again."""
    number = world.launch(campaign, "gen").submission_id
    world.batch.answer("lost")
    assert world.work_on_launches() == ["waiting"]
    clock.advance(LEASE)

    assert world.work_on_launches("agent two") == ["launched"]

    assert world.batch.clusters() == {number: 1}
    assert world.get(number).jobsub_job_id == "1@fake.example.org"


def test_a_submit_that_left_nothing_is_repeated(world, campaign, clock):
    """If the batch system knows of no jobs, asked twice, the launch is tried again, as the second attempt."""
    world.launch(campaign, "gen")
    world.batch.answer("lost-before")
    world.work_on_launches()
    clock.advance(LEASE)
    assert world.work_on_launches() == ["waiting"]
    assert "asked once more" in world.launches()[0].message
    clock.advance(LEASE)

    assert world.work_on_launches() == ["launched"]
    assert [each.plan.attempt for each in world.batch.accepted] == [2]


def test_jobs_that_the_queue_shows_late_are_adopted(world, campaign, clock):
    """An empty answer about a launch in doubt is not believed at once: the jobs may show up a moment later."""
    number = world.launch(campaign, "gen").submission_id
    world.batch.answer("lost")
    world.work_on_launches()
    clock.advance(LEASE)
    world.batch.be_blind(until=clock() + timedelta(seconds=20))
    assert world.work_on_launches() == ["waiting"]
    clock.advance(LEASE)

    assert world.work_on_launches("agent two") == ["launched"]

    assert world.batch.clusters() == {number: 1}


def test_without_an_answer_from_the_batch_system_there_is_no_second_attempt(world, campaign, clock):
    """As long as the batch system does not answer, nothing is submitted a second time; afterwards it is found."""
    number = world.launch(campaign, "gen").submission_id
    world.batch.answer("lost")
    world.work_on_launches()
    world.batch.fail("find", times=20)
    for _ in range(20):
        clock.advance(minutes=10)
        assert world.work_on_launches() == ["retry"]
    assert world.batch.clusters() == {number: 1}

    clock.advance(minutes=10)
    assert world.work_on_launches() == ["launched"]
    assert world.batch.clusters() == {number: 1}


def test_a_transport_that_outlives_its_agent_is_waited_for(world, campaign, clock):
    """Where a script may go on after its agent died, a second attempt waits until it could have ended."""
    world.fakes.transport.dies_with_caller = False
    world.launch(campaign, "gen")
    world.batch.answer("lost-before")
    world.work_on_launches()
    clock.advance(LEASE)
    assert world.work_on_launches() == ["waiting"]

    clock.advance(world.core.settings.agent.launch_timeout_seconds)
    assert world.work_on_launches() == ["waiting"]
    clock.advance(LEASE)

    assert world.work_on_launches() == ["launched"]


def test_attempts_that_leave_nothing_come_to_an_end(world, campaign, clock):
    """A launch whose attempts leave no jobs is shown to a person in the end, not tried for ever."""
    number = world.launch(campaign, "gen").submission_id
    world.batch.answer(*["lost-before"] * 20)
    states = []
    while "failed" not in states and len(states) < 20:
        states += world.work_on_launches()
        clock.advance(LEASE)

    # Each attempt, and a first look after it; the second look begins the next one.
    assert states == ["waiting"] * 2 * launches.MAX_FAILURES + ["failed"]
    assert world.status(number) is Status.LAUNCH_FAILED


def test_a_launch_host_that_cannot_be_reached_is_tried_later(world, campaign, clock):
    """Nothing was begun, so it does not count as an attempt, nobody waits for it, and the batch system is not asked."""
    world.fakes.transport.dies_with_caller = False
    world.launch(campaign, "gen")
    world.fakes.transport.fail("run", times=3)
    pauses = []
    for _ in range(3):
        assert world.work_on_launches() == ["retry"]
        row = world.launches()[0]
        assert (row.attempt, row.started_at, row.lease_owner) == (0, None, None)
        pauses.append(row.not_before - clock())
        clock.set(row.not_before)
    assert world.batch.calls["find"] == 0

    assert world.work_on_launches() == ["launched"]
    assert pauses == sorted(set(pauses))
    assert [each.plan.attempt for each in world.batch.accepted] == [1]


def test_a_launch_host_that_stays_away_fails_the_launch(world, campaign, clock):
    """After so many tries a person is shown why."""
    number = world.launch(campaign, "gen").submission_id
    world.fakes.transport.fail("run", times=20)
    states = []
    while "failed" not in states and len(states) < 20:
        states += world.work_on_launches()
        clock.advance(minutes=5)

    assert states == ["retry"] * (launches.MAX_FAILURES - 1) + ["failed"]
    assert world.status(number) is Status.LAUNCH_FAILED
    assert "no answer" in world.launches()[0].message
    assert world.batch.accepted == []


def test_an_unclear_attempt_is_still_waited_for_after_one_that_was_not_begun(world, campaign, clock):
    """The time since the attempt in doubt counts on, not that since the one that never was."""
    world.fakes.transport.dies_with_caller = False
    limit = world.core.settings.agent.launch_timeout_seconds
    world.launch(campaign, "gen")
    world.batch.answer("lost-before")
    world.work_on_launches()
    began_at = world.launches()[0].started_at
    clock.advance(limit + LEASE)
    assert world.work_on_launches() == ["waiting"]
    clock.advance(LEASE)
    world.fakes.transport.fail("run")

    assert world.work_on_launches() == ["retry"]

    row = world.launches()[0]
    assert (row.attempt, row.started_at) == (1, began_at)
    clock.set(row.not_before)
    assert world.work_on_launches() == ["launched"]
    assert [each.plan.attempt for each in world.batch.accepted] == [2]


def test_a_transport_that_broke_on_the_way_is_in_doubt(world, campaign, clock):
    """A transport that fails in another way than by saying that it did not begin may have begun."""
    world.launch(campaign, "gen")
    world.fakes.transport.fail("run", RuntimeError("broken"))

    transport = world.core.backends.transport("samdev")
    result = transport.run("h", "a", "s", log=io.BytesIO(), timeout_seconds=5, max_output_bytes=100)

    assert result.exit_status is None
    assert "RuntimeError" in result.reason


def test_a_log_that_cannot_be_written_is_no_attempt(world, campaign, tmp_path):
    """Without a place for the launch log nothing is begun; the launch says so and is tried again."""
    world.launch(campaign, "gen")
    path = launch_logs.path_of(world.core, world.launches()[0].log_name)
    path.mkdir(parents=True)

    assert world.work_on_launches() == ["retry"]

    assert world.launches()[0].attempt == 0
    assert "directory" in world.launches()[0].message
    assert world.batch.accepted == []


def test_an_unavailable_batch_system_is_tried_later(world, campaign, clock):
    """A launch that could not begin is tried again after a pause that grows."""
    world.launch(campaign, "gen")
    world.batch.fail("environment", times=2)
    pauses = []
    for _ in range(2):
        assert world.work_on_launches() == ["retry"]
        pauses.append(world.launches()[0].not_before - clock())
        clock.set(world.launches()[0].not_before)

    assert world.work_on_launches() == ["launched"]
    assert pauses[0] < pauses[1]
    assert len(world.batch.accepted) == 1


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_agent_that_dies_at_any_commit_launches_once(world, campaign, clock, number, after):
    """Killed just before or just after each commit of a launch: the next agent brings it to one cluster."""
    submission = world.launch(campaign, "gen").submission_id
    world.core.db.die_at_commit(number, after=after)
    with pytest.raises(Died):
        world.work_on_launches()
    clock.advance(LEASE + 1)

    world.work_on_launches("agent two")
    clock.advance(LEASE + 1)
    world.work_on_launches("agent two")

    assert world.batch.clusters() == {submission: 1}
    assert world.launches()[0].state == "launched"


def test_jobs_that_appear_after_all_are_taken_up(world, campaign, clock):
    """LaunchFailed is not final: when jobs of the submission show up they are followed."""
    number = world.launch(campaign, "gen").submission_id
    world.batch.answer("refused")
    world.work_on_launches()
    world.batch._accept(_plan_of(world, number), "script")

    world.poll()

    assert world.status(number) is Status.IDLE


def _plan_of(world, number):
    return preparing.plan_from_document(world.launches(submission_id=number)[0].plan, 1)


# --------------------------------------------------------------------------------------- owed launches


def _owe(world, campaign, **request):
    with world.core.db.write() as session:
        row = session.get_one(CampaignStage, campaign.stage("gen"))
        asked = launch_requests.LaunchRequest(campaign.stage("gen"), "owed-1", "dependency", **request)
        launch_requests.owe(session, asked, stage=row, launcher_id=campaign.owner.experimenter_id,
                            now=world.core.clock())


def test_an_owed_launch_is_settled_and_submitted(world, campaign):
    """What is owed becomes a submission and jobs in one go."""
    _owe(world, campaign)

    assert world.work_on_launches() == ["launched"]
    assert len(world.submissions()) == 1


def test_an_owed_launch_without_slices_is_skipped(world):
    """At the end of a split there is nothing to do, which is no failure."""
    campaign = world.campaign_with(stage("gen", dataset="raw", split="nfiles(5)"))
    world.catalogue().dataset("raw", 0)
    _owe(world, campaign)

    assert world.work_on_launches() == ["skipped"]
    assert world.launches()[0].state == "skipped"
    assert world.events("split.end")


@pytest.mark.parametrize(("change", "message"), [
    ({"active": False}, "samdevowner is not in experiment samdev any more"),
    ({"role": ANALYSIS}, "samdevowner may not act as production in samdev any more"),
])
def test_a_launcher_who_lost_the_right_launches_nothing(world, campaign, change, message):
    """Membership and role are asked anew when an owed launch is made; it fails and says why."""
    _owe(world, campaign, role=PRODUCTION)
    world.change(Membership, (campaign.owner.experimenter_id, "samdev"), **change)

    assert world.work_on_launches() == ["failed"]

    assert message in world.launches()[0].message
    assert message in world.events("launch.failed")[0].data["reason"]
    assert world.submissions() == []


@pytest.mark.parametrize("role", [PRODUCTION, SUPERUSER])
def test_a_held_launch_is_released_in_the_role_it_was_asked_in(world, role):
    """Production and superusers may launch an analysis user's stage, also by way of a hold."""
    ann, boss = world.person("ann", ANALYSIS), world.person("boss", SUPERUSER)
    made = world.campaign_with(stage("mine"), owner=ann)
    object.__setattr__(world.core.settings.experiment_defaults, "analysis_launch_hosts", ("localhost",))
    world.change(CampaignStage, made.stage("mine"), hold_experimenter_id=ann.experimenter_id)
    held = world.launch(made, "mine", actor=replace(boss, role=role))
    world.change(CampaignStage, made.stage("mine"), hold_experimenter_id=None)

    launches.release_held(world.core, "ann", [held.launch_id], "samdev")

    assert world.work_on_launches() == ["launched"]
    assert world.submissions()[0].creator == boss.experimenter_id


def test_a_launch_of_which_no_role_was_noted_takes_one_that_may(world, campaign):
    """Launches written by earlier versions have none; a shifter's are made as a shifter."""
    world.change(Membership, (campaign.owner.experimenter_id, "samdev"), role=SHIFTER)
    _owe(world, campaign)

    assert world.work_on_launches() == ["launched"]


def test_a_failed_launch_is_taken_over_by_somebody_who_may(world, campaign):
    """The launch of somebody who left is made in the name of the person who lets it go again."""
    _owe(world, campaign, role=PRODUCTION)
    world.change(Membership, (campaign.owner.experimenter_id, "samdev"), active=False)
    world.work_on_launches()
    lena = world.person("lena", SHIFTER)

    assert launches.take_over(world.core, lena, [world.launches()[0].launch_id]) == 1
    assert launches.take_over(world.core, lena, [world.launches()[0].launch_id]) == 0

    assert world.work_on_launches() == ["launched"]
    assert world.submissions()[0].creator == lena.experimenter_id


@pytest.mark.parametrize("change", [{"cs_split_type": "sideways"}, {"campaign_id": None}, {"vo_role": "Analysis"}])
def test_an_owed_launch_that_cannot_be_is_shown(world, campaign, change):
    """Something that a person must put right fails the launch, with the reason."""
    _owe(world, campaign)
    world.change(CampaignStage, campaign.stage("gen"), **change)

    assert world.work_on_launches() == ["failed"]
    assert world.launches()[0].message


def test_a_busy_split_is_tried_again(world, campaign, clock):
    """A catalogue that says "later" delays the launch; it is neither lost nor left under a lease."""
    world.change(CampaignStage, campaign.stage("gen"), cs_split_type="stagedfiles(1)", dataset="pre1")
    world.catalogue().dataset("raw", 2)
    world.catalogue().begin_project("pre1", "raw")
    _owe(world, campaign)
    assert world.work_on_launches() == ["retry"]
    assert world.launches()[0].lease_owner is None

    world.catalogue().deliver("pre1", "raw_0001.root", "consumed")
    clock.set(world.launches()[0].not_before)

    assert world.work_on_launches() == ["launched"]


def test_a_conflict_about_the_lease_is_somebody_elses_business(world, campaign, clock):
    """An owed launch that another agent settled meanwhile is left to it."""
    _owe(world, campaign)
    old = _claim(world)[0]
    clock.advance(LEASE + 1)
    new = _claim(world, "agent two")[0]

    assert launches.work_on(world.core, old) == "lost"
    assert launches.work_on(world.core, new) == "launched"
    assert len(world.submissions()) == 1


def test_owing_twice_is_once(world, campaign):
    """The key of what is owed keeps it from being written twice."""
    _owe(world, campaign)
    _owe(world, campaign)

    assert len(world.launches()) == 1


# ------------------------------------------------------------------------------------------- many agents


def test_busy_experiments_are_left_alone(world, campaign):
    """An agent that is full of one experiment takes launches of others."""
    other = world.campaign_with(stage("gen"), experiment="nova")
    world.launch(campaign, "gen")
    world.launch(other, "gen")

    claimed = launches.claim(world.core, "agent one", 10, busy=["samdev"])

    assert [each.experiment for each in claimed] == ["nova"]


def test_the_oldest_come_first(world, campaign):
    """Launches are taken in the order in which they were asked for."""
    numbers = [world.launch(campaign, "gen").launch_id for _ in range(3)]

    assert [_claim(world, limit=1)[0].launch_id for _ in range(3)] == numbers


def test_launches_wait_for_their_time(world, campaign, clock):
    """A launch that is not due is not claimed."""
    world.launch(campaign, "gen")
    with world.core.db.write() as session:
        session.execute(update(Launch).values(not_before=clock() + timedelta(hours=1)))

    assert _claim(world) == []
    clock.advance(hours=1)
    assert len(_claim(world)) == 1


def test_many_agents_claim_each_launch_once(world, campaign):
    """Eight agents that claim 200 launches at once: each row goes to exactly one of them."""
    for _ in range(200):
        world.launch(campaign, "gen")
    claimed, errors, gate = [], [], threading.Barrier(8)

    def work(owner):
        gate.wait()
        try:
            while mine := _claim(world, owner, 7):
                claimed.extend(each.launch_id for each in mine)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(f"agent {number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    # A claim whose rows were all taken by others comes back empty, so an agent may stop early: sweep up.
    claimed.extend(each.launch_id for each in _claim(world, "last", 200))
    assert sorted(claimed) == [row.launch_id for row in world.launches()]


def test_two_agents_at_work_submit_each_launch_once(world, campaign):
    """Two agents that work on everything at once submit each launch exactly once."""
    numbers = {world.launch(campaign, "gen").submission_id for _ in range(20)}
    gate, errors = threading.Barrier(2), []

    def work(owner):
        gate.wait()
        try:
            world.work_on_launches(owner)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(f"agent {number}",)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    world.work_on_launches("last")

    assert errors == []
    assert world.batch.clusters() == dict.fromkeys(numbers, 1)
    assert world.sums_differ() == []


def _remove(world, number):
    jobs.act(world.core, "lena", "samdev", "remove", [number], mark=Status.REMOVED)


def test_a_removed_submission_is_not_launched(world, campaign):
    """A submission that a person removed before its jobs existed never reaches the batch system."""
    outcome = world.launch(campaign, "gen")
    _remove(world, outcome.submission_id)

    launches.work_on(world.core, _claim(world)[0])

    assert world.batch.accepted == []
    assert world.events("launch.cancelled")


def test_a_launch_that_waits_can_be_aborted(world, campaign):
    """Its submission is Removed and nothing of it reaches the batch system."""
    number = world.launch(campaign, "gen").submission_id

    launches.abort(world.core, "lena", "samdev", number, reason="wrong dataset")

    assert world.work_on_launches() == []
    assert world.launches()[0].state == "cancelled"
    assert (world.status(number), world.history(number)[-1].reason) == (
        Status.REMOVED, "launch aborted: wrong dataset")
    assert world.batch.accepted == []


def test_a_launch_under_way_is_aborted_and_its_jobs_are_taken_away(world, campaign):
    """Whatever it submitted before its script could be ended is removed as soon as that is known."""
    number = world.launch(campaign, "gen").submission_id
    world.batch.plan("submit", lambda: launches.abort(world.core, "lena", "samdev", number))

    world.work_on_launches()

    assert world.status(number) is Status.REMOVED
    assert {job.state for job in world.batch.of(number)} == {JobState.REMOVED}


def test_jobs_of_an_aborted_launch_are_taken_away_although_the_batch_system_was_silent(world, campaign, clock):
    """As long as it cannot be told to remove them, the launch stays to be looked after."""
    number = world.launch(campaign, "gen").submission_id
    world.batch.plan("submit", lambda: launches.abort(world.core, "lena", "samdev", number))
    world.batch.fail("act")

    assert world.work_on_launches() == ["retry"]
    clock.advance(minutes=5)

    assert world.work_on_launches() == ["launched"]
    assert {job.state for job in world.batch.of(number)} == {JobState.REMOVED}
    assert world.batch.clusters() == {number: 1}


def test_an_unclear_attempt_of_an_aborted_launch_is_looked_for(world, campaign, clock):
    """If it submitted after all, its jobs are found and removed."""
    number = world.launch(campaign, "gen").submission_id
    world.batch.answer("lost")
    world.work_on_launches()
    launches.abort(world.core, "lena", "samdev", number)
    clock.advance(LEASE)

    world.work_on_launches()

    assert {job.state for job in world.batch.of(number)} == {JobState.REMOVED}


def test_what_has_jobs_is_not_aborted(world, campaign):
    """Jobs are removed, launches are aborted: the words say what to do instead."""
    number = world.submission(campaign, "gen")
    world.poll()

    with pytest.raises(Conflict, match="Idle"):
        launches.abort(world.core, "lena", "samdev", number)


def test_another_experiments_launch_cannot_be_aborted(world, campaign):
    """It does not exist there."""
    number = world.launch(campaign, "gen").submission_id

    with pytest.raises(NotFound):
        launches.abort(world.core, "eve", "nova", number)


def test_jobs_of_a_submission_removed_while_launching_are_removed(world, campaign):
    """A removal that comes between the submit and its answer takes the jobs away as well."""
    number = world.launch(campaign, "gen").submission_id
    world.batch.plan("submit", lambda: _remove(world, number))

    assert launches.work_on(world.core, _claim(world)[0]) == "launched"

    assert {job.state for job in world.batch.of(number)} <= {JobState.REMOVED}


def test_a_refusal_because_an_earlier_attempt_came_first_adopts_its_jobs(world, campaign):
    """Jobs of an attempt that was thought dead are the submission's; refusing the second attempt is no failure."""
    number = world.launch(campaign, "gen").submission_id
    claimed = _claim(world)[0]
    world.batch.answer("refused")
    world.batch.plan("submit", lambda: world.batch._accept(_plan(world, number), "late script"))

    assert launches.work_on(world.core, claimed) == "launched"

    assert world.batch.clusters() == {number: 1}
    assert world.status(number) != Status.LAUNCH_FAILED
    assert world.events("launch.adopted")


def _plan(world, number):
    with world.core.db.read() as session:
        row = session.scalar(select(Launch).where(Launch.submission_id == number))
    return preparing.plan_from_document(row.plan, 1)


def test_held_launches_are_released_at_a_rate(world, clock):
    """Two each minute, in the order in which they were asked for."""
    made = world.campaign_with(stage("gen"))
    holds.hold_stages(world.core, made.owner, [made.stage("gen")], hold=True)
    held = [world.launch(made, "gen") for _ in range(5)]
    holds.hold_stages(world.core, made.owner, [made.stage("gen")], hold=False)

    launches.release_held(world.core, "ann", [outcome.launch_id for outcome in reversed(held)], "samdev", per_minute=2)
    begun = []
    for _ in range(6):
        begun.append(len(world.work_on_launches()))
        clock.advance(seconds=30)

    assert begun == [1, 1, 1, 1, 1, 0]
    made_in_order = [row.launch_id for row in sorted(world.launches(), key=lambda row: row.submission_id)]
    assert made_in_order == [outcome.launch_id for outcome in held]


# ------------------------------------------------------------------------------------------ together


def _owe_all(world, campaign, count, stage_name="gen", **request):
    with world.core.db.write() as session:
        for number in range(count):
            key = f"owed:{stage_name}:{request.get('note')}:{number}"
            asked = launch_requests.LaunchRequest(campaign.stage(stage_name), key, "schedule", **request)
            launch_requests.owe(session, asked, stage=session.get_one(CampaignStage, campaign.stage(stage_name)),
                                launcher_id=campaign.owner.experimenter_id, now=world.core.clock())


def test_owed_launches_are_settled_together(world, campaign):
    """Each gets its own submission with all that belongs to it, and anybody may submit them then."""
    _owe_all(world, campaign, 5)
    claims = _claim(world)

    assert launches.settle(world.core, claims) == []

    rows = world.launches()
    assert [(row.state, row.lease_until) for row in rows] == [("queued", None)] * 5
    assert len({row.submission_id for row in rows}) == 5
    assert [len(world.history(row.submission_id)) for row in rows] == [1] * 5
    assert len(world.events("launch.requested")) == 5
    assert world.sums_differ() == []
    assert world.work_on_launches("agent two") == ["launched"] * 5


def test_settling_together_takes_few_statements(world, campaign):
    """Twenty more launches do not take twenty times the statements."""
    counts = []
    for number in (1, 21):
        _owe_all(world, campaign, number, note=str(number))
        claims = launches.claim(world.core, "agent one", 50)
        with statements.recorded(world.core.db.engine) as said:
            launches.settle(world.core, claims)
        counts.append(len(said))

    # SQLite, which is a library, gives back the keys of new rows one by one.
    rows = 0 if world.core.db.is_postgresql else 3 * 20
    assert counts[1] - counts[0] <= rows


def test_a_launch_that_was_taken_over_is_not_settled_with_the_others(world, campaign, clock):
    """Another agent has its lease: what this one worked out of it is not written."""
    _owe_all(world, campaign, 3)
    old = _claim(world)
    clock.advance(LEASE + 1)
    (new,) = launches.claim(world.core, "agent two", 1)

    going_on = launches.settle(world.core, old)

    assert [each.launch_id for each in going_on] == [new.launch_id]
    assert [launches.work_on(world.core, each) for each in going_on] == ["lost"]
    assert [row.state for row in world.launches()] == ["owed", "queued", "queued"]
    assert launches.work_on(world.core, new) == "launched"
    assert len(world.submissions()) == 3


def test_slices_are_taken_one_by_one(world):
    """Launches of a stage that is split never share a slice, also when they are settled together."""
    world.catalogue().dataset("raw", 9)
    made = world.campaign_with(stage("gen", dataset="raw", split="drainingn(3)"))
    _owe_all(world, made, 3)
    claims = _claim(world)

    going_on = launches.settle(world.core, claims)
    for each in going_on:
        launches.work_on(world.core, each)
    world.work_on_launches()

    files = [name for item in world.submissions()
             for name in world.catalogue().list(world.catalogue().dataset_query(item.submission_params["dataset"]))]
    assert len(going_on) == 2
    assert sorted(files) == sorted(set(files))
    assert len(files) == 9


def test_one_that_cannot_be_launched_does_not_keep_the_others(world, campaign):
    """What is wrong with one is written on that one; the others are queued, and what is kept is gone on with."""
    broken = world.campaign_with(stage("bad", script="run %(nothing)s"))
    _owe_all(world, campaign, 2)
    _owe_all(world, broken, 1, "bad")
    claims = _claim(world)

    going_on = launches.settle(world.core, claims, keep=claims[1])

    assert [row.state for row in world.launches()] == ["queued", "queued", "failed"]
    assert "nothing" in world.launches()[2].message
    assert [(each.launch_id, each.state) for each in going_on] == [(claims[1].launch_id, "queued")]
    assert [launches.work_on(world.core, each) for each in going_on] == ["launched"]


def test_dying_while_settling_together_leaves_all_or_nothing(world, campaign):
    """Nothing of any of them is half there."""
    _owe_all(world, campaign, 4)
    claims = _claim(world)
    world.core.db.die_at_commit(1)

    with pytest.raises(Died):
        launches.settle(world.core, claims)

    assert world.submissions() == []
    assert [row.state for row in world.launches()] == ["owed"] * 4
