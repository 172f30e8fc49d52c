"""Schedules: when stages are launched by themselves, once for each moment, whatever agents and clocks do."""

from __future__ import annotations

import itertools
import threading
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from poms.webservice.errors import Invalid, NotAllowed, NotFound
from poms.webservice.model import CampaignStage, Experimenter, Membership, Schedule
from poms.webservice.rules.permissions import ANALYSIS, SHIFTER, SUPERUSER
from poms.webservice.services import campaigns, holds, launch_requests, launches, preparing, schedules
from poms.webservice.testing.faults import Died
from poms.webservice.testing.fixtures import make_service
from poms.webservice.testing.world import World, stage

CHICAGO = "America/Chicago"


def at(text):
    """A moment in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def runs(cron, zone, after, count):
    return [f"{moment:%d %H:%M}" for moment in schedules.next_runs(cron, zone, at(after), count)]


def row_of(core, stage_id):
    with core.db.read() as session:
        return session.get(Schedule, stage_id)


@pytest.fixture
def campaign(world):
    """A campaign whose one stage may be scheduled."""
    return world.campaign_with(stage("gen", dataset="raw"))


@pytest.fixture
def hourly(world, campaign, clock):
    """The stage is launched at the full hour; the clock shows 12:00 just passed."""
    clock.set(at("2026-03-01T12:00:30"))
    schedules.set_schedule(world.core, campaign.owner, campaign.stage("gen"), cron="0 * * * *")
    return campaign.stage("gen")


def look(world):
    return schedules.launch_due(world.core, "samdev")


def keys(world):
    return [row.key.partition(":")[2].partition(":")[2] for row in world.launches(kind="schedule")]


# -------------------------------------------------------------------------------------------- times


@pytest.mark.parametrize(("cron", "after", "expected"), [
    # Clocks go from 02:00 to 03:00 on 8 March 2026, which is 08:00 UTC.
    ("30 2 * * *", "2026-03-07T08:00", ["07 08:30", "08 08:00", "09 07:30"]),
    ("0 3 * * *", "2026-03-07T12:00", ["08 08:00", "09 08:00"]),
    ("*/30 * * * *", "2026-03-08T07:00", ["08 07:30", "08 08:00", "08 08:30"]),
    ("0,30 2,3 * * *", "2026-03-08T07:00", ["08 08:00", "08 08:30", "09 07:00"]),
    # They go back from 02:00 to 01:00 on 1 November 2026, which is 07:00 UTC.
    ("30 1 * * *", "2026-11-01T05:00", ["01 06:30", "02 07:30"]),
    ("*/30 * * * *", "2026-11-01T05:30", ["01 06:00", "01 06:30", "01 07:00", "01 07:30", "01 08:00"]),
    ("15 * * * *", "2026-11-01T06:20", ["01 07:15", "01 08:15"]),
    ("15 */2 * * *", "2026-11-01T05:20", ["01 08:15", "01 10:15"]),
])
def test_clock_changes_lose_and_double_nothing(cron, after, expected):
    """A moment in the gap comes at its end; one that comes twice counts once, unless the schedule goes by intervals."""
    assert runs(cron, CHICAGO, after, len(expected)) == expected


def test_a_gap_of_half_an_hour_and_one_of_a_day():
    """Not every zone changes by an hour, at night: Lord Howe, and Samoa, which skipped a date."""
    assert runs("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00", 2) == ["03 15:30", "04 15:15"]
    assert [f"{moment:%d %H:%M}" for moment in schedules.next_runs(
        "0 12 * * *", "Pacific/Apia", at("2011-12-29T12:00"), 3)] == ["29 22:00", "30 10:00", "30 22:00"]


def test_either_kind_of_day_counts():
    """Day of the month and day of the week, both given: a day that is either of them."""
    assert runs("0 0 13 * fri", "UTC", "2026-03-01T00:00", 4) == ["06 00:00", "13 00:00", "20 00:00", "27 00:00"]


CRONS = st.sampled_from(["* * * * *", "*/7 * * * *", "1 * * * *", "0,59 1,2,3 * * *", "30 2 * * 0", "0 0 1 * 1",
                         "15 */3 * * *", "59 23 31 12 *"])


@given(CRONS, st.sampled_from([CHICAGO, "Europe/Zurich", "UTC", "Australia/Lord_Howe", "Asia/Kathmandu"]),
       st.datetimes(datetime(2024, 1, 1), datetime(2028, 1, 1)))
def test_moments_come_in_order_and_read_as_ordered(cron, zone, after):
    """Each moment is later than the one before and, outside gaps, reads on the wall what the expression says."""
    after = after.replace(tzinfo=UTC)
    found = schedules.next_runs(cron, zone, after, 8)

    assert all(early < late for early, late in itertools.pairwise([after, *found]))
    for moment in found:
        wall = moment.astimezone(ZoneInfo(zone))
        before = (moment - timedelta(minutes=1)).astimezone(ZoneInfo(zone))
        assert croniter.match(cron, wall.replace(tzinfo=None)) or wall.utcoffset() > before.utcoffset()


@given(CRONS, st.datetimes(datetime(2024, 1, 1), datetime(2028, 1, 1)), st.integers(1, 20))
def test_asking_again_from_a_moment_goes_on_from_there(cron, after, count):
    """The next after the n-th is the (n+1)-th, so that it does not matter when agents look."""
    after = after.replace(tzinfo=UTC)
    found = schedules.next_runs(cron, CHICAGO, after, count + 1)

    assert schedules.next_runs(cron, CHICAGO, found[-2], 1) == [found[-1]]


# -------------------------------------------------------------------------------------------- people


def test_a_schedule_is_described(world, campaign, clock):
    """Pages get text, words, form fields and the next launch."""
    clock.set(at("2026-03-01T12:00:30"))
    schedules.set_schedule(world.core, campaign.owner, campaign.stage("gen"), cron="5 3 * * mon")

    found = schedules.describe(world.core, campaign.owner, campaign.stage("gen"))

    assert (found.cron, found.words, found.text) == ("5 3 * * 1", "at 03:05 on Monday", "5 3 * * 1, UTC")
    assert found.next_launch_at == at("2026-03-02T03:05")
    assert found.fields["dowlist"] == "mon"
    assert (found.launcher, found.catch_up, found.clear_at_end) == (campaign.owner.username, "once", True)
    assert [event.kind for event in world.events()] == ["schedule.set"]


def test_a_stage_without_a_schedule_shows_the_form_s_defaults(world, campaign):
    """Minute 1 of every hour, as ever."""
    found = schedules.describe(world.core, campaign.owner, campaign.stage("gen"))

    assert (found.text, found.next_launch_at) == ("", None)
    assert (found.fields["minlist"], found.fields["hourlist"]) == ("1", "*")


def test_a_schedule_is_changed_and_deleted(world, campaign, hourly):
    """There is one a stage; deleting what is not there is no error."""
    other = world.person("other")
    schedules.set_schedule(world.core, other, hourly, cron="30 * * * *", catch_up="none", clear_at_end=False)

    found = schedules.describe(world.core, other, hourly)
    assert (found.cron, found.launcher, found.catch_up, found.clear_at_end) == ("30 * * * *", "other", "none", False)

    assert schedules.delete_schedules(world.core, other, [hourly]) == 1
    assert schedules.delete_schedules(world.core, other, [hourly]) == 0
    assert row_of(world.core, hourly) is None


def test_a_bad_expression_changes_nothing(world, campaign, hourly):
    """The schedule that is there stays."""
    with pytest.raises(Invalid):
        schedules.set_schedule(world.core, campaign.owner, hourly, cron="99 * * * *")

    assert row_of(world.core, hourly).cron == "0 * * * *"


@pytest.mark.parametrize("role", [ANALYSIS, SHIFTER])
def test_only_those_who_may_change_the_stage_schedule_it(world, campaign, role):
    """A schedule is a change of the stage."""
    with pytest.raises(NotAllowed):
        schedules.set_schedule(world.core, world.person("guest", role), campaign.stage("gen"), cron="0 * * * *")


def test_another_experiment_s_stage_is_not_there(world, campaign):
    """Nobody learns of stages of other experiments."""
    stranger = world.person("stranger", experiment="nova")

    for attempt in (lambda: schedules.describe(world.core, stranger, campaign.stage("gen")),
                    lambda: schedules.set_schedule(world.core, stranger, campaign.stage("gen"), cron="0 * * * *"),
                    lambda: schedules.delete_schedules(world.core, stranger, [campaign.stage("gen")])):
        with pytest.raises(NotFound):
            attempt()


def test_an_analysis_stage_is_scheduled_by_its_owner_and_superusers(world, clock):
    """Each launches it in the role in which he or she may; production may launch it, but not change it."""
    owner, boss = world.person("ann", ANALYSIS), world.person("boss", SUPERUSER)
    campaign = world.campaign_with(stage("mine"), owner=owner)

    with pytest.raises(NotAllowed):
        schedules.set_schedule(world.core, world.person("prod"), campaign.stage("mine"), cron="0 * * * *")
    schedules.set_schedule(world.core, owner, campaign.stage("mine"), cron="0 * * * *")
    schedules.set_schedule(world.core, boss, campaign.stage("mine"), cron="0 * * * *")
    clock.advance(hours=1)
    look(world)

    assert [row.launcher for row in world.launches()] == [boss.experimenter_id]


def test_a_hold_can_take_the_schedule_away(world, campaign, hourly):
    """If that is wanted; without the right to change the stage nothing happens, also no hold."""
    shifter = world.person("shift", SHIFTER)
    with pytest.raises(NotAllowed):
        holds.hold_stages(world.core, shifter, [hourly], hold=True, clear_schedules=True)
    assert row_of(world.core, hourly) is not None
    assert world.stage_row(campaign, "gen").hold_experimenter_id is None

    holds.hold_stages(world.core, campaign.owner, [hourly], hold=True, clear_schedules=True)

    assert row_of(world.core, hourly) is None
    assert [event.kind for event in world.events()][-2:] == ["schedule.deleted", "stage.held"]


@pytest.mark.parametrize("active", [True, False])
def test_a_campaign_made_inactive_can_lose_its_schedules(world, campaign, hourly, active):
    """Making it active keeps them, whatever is said."""
    campaigns.set_active(world.core, campaign.owner, [campaign.campaign_id], active, clear_schedules=True)

    assert (row_of(world.core, hourly) is not None) == active


def test_a_preview_says_when_in_words_and_moments(world, campaign, clock):
    """What a schedule would do, before anybody saves it."""
    clock.set(at("2026-03-01T12:00:30"))

    coming = schedules.preview(world.core, "samdev", "0 3 * * MON")

    assert (coming.cron, coming.words, coming.time_zone) == ("0 3 * * 1", "at 03:00 on Monday", "UTC")
    assert coming.launches_at[:2] == (at("2026-03-02T03:00"), at("2026-03-09T03:00"))
    assert len(coming.launches_at) == 5


# -------------------------------------------------------------------------------------------- agents


def test_a_moment_that_has_come_is_launched_once(world, campaign, clock, hourly):
    """The launch is made as the launcher, under the key of stage and moment."""
    assert look(world).startswith("0 launches due")

    clock.set(at("2026-03-01T13:00:05"))
    look(world)
    look(world)

    assert keys(world) == ["2026-03-01T13:00Z"]
    assert world.work_on_launches() == ["launched"]
    (submission,) = world.submissions()
    assert submission.creator == campaign.owner.experimenter_id
    assert row_of(world.core, hourly).next_at == at("2026-03-01T14:00")


def test_every_moment_is_launched(world, clock, hourly):
    """Five hours, five launches."""
    for _ in range(5 * 12):
        clock.advance(minutes=5)
        look(world)

    assert keys(world) == [f"2026-03-01T{hour}:00Z" for hour in range(13, 18)]


@pytest.mark.parametrize(("catch_up", "expected"), [("once", ["2026-03-03T09:00Z"]), ("none", [])])
def test_what_was_missed_while_no_agent_was_there(world, campaign, clock, hourly, catch_up, expected):
    """After two days without an agent there is one launch for all that was missed, or none, as people chose."""
    schedules.set_schedule(world.core, campaign.owner, hourly, cron="0 * * * *", catch_up=catch_up)
    clock.set(at("2026-03-03T09:30"))

    look(world)
    look(world)

    assert keys(world) == expected
    assert row_of(world.core, hourly).next_at == at("2026-03-03T10:00")
    assert [event.kind for event in world.events("schedule.missed")] == ([] if expected else ["schedule.missed"])
    assert bool(row_of(world.core, hourly).message) == (not expected)


def test_a_late_look_is_no_missed_moment(world, campaign, clock, hourly):
    """An agent that was busy for a few minutes launches even where nothing is caught up."""
    schedules.set_schedule(world.core, campaign.owner, hourly, cron="0 * * * *", catch_up="none")
    clock.set(at("2026-03-01T13:05"))

    look(world)

    assert keys(world) == ["2026-03-01T13:00Z"]


def test_missed_moments_of_years_are_passed_quickly(world, campaign, clock, hourly):
    """A schedule of every minute that slept for two years makes one launch."""
    schedules.set_schedule(world.core, campaign.owner, hourly, cron="* * * * *")
    clock.set(at("2028-03-03T09:30:10"))

    look(world)

    assert keys(world) == ["2028-03-03T09:30Z"]


@pytest.mark.parametrize("step", [timedelta(hours=1), -timedelta(hours=1), timedelta(minutes=59), -timedelta(days=1)])
def test_a_clock_that_is_set_doubles_nothing(world, clock, hourly, step):
    """A clock that jumps and is put right again launches each moment at most once, and then goes on as ordered."""
    seen = []
    for minutes in range(0, 6 * 60, 5):
        clock.set(at("2026-03-01T12:00:30") + timedelta(minutes=minutes)
                  + (step if 100 <= minutes < 150 else timedelta()))
        look(world)
        seen.append(clock())

    found = keys(world)
    assert len(found) == len(set(found))
    assert set(found) <= {f"2026-03-01T{hour}:00Z" for hour in range(13, 19)}
    # What was ahead while the clock ran ahead has been launched then; nothing else is missing.
    assert set(found) >= {f"2026-03-01T{hour}:00Z" for hour in range(13, 18)}


@pytest.mark.parametrize(("start", "hours", "moments"), [("2026-03-08T05:00:10", 6, 6), ("2026-11-01T04:00:10", 6, 6)])
def test_clock_changes_double_and_lose_no_hourly_launch(database, tmp_path, clock, start, hours, moments):
    """Through both nights of the year an hourly stage is launched every hour, no more and no less."""
    service = make_service(database, tmp_path, clock, text=f"time_zone = {CHICAGO}")
    world = World(service.core, service.fakes)
    campaign = world.campaign_with(stage("gen"))
    clock.set(at(start))
    schedules.set_schedule(world.core, campaign.owner, campaign.stage("gen"), cron="0 * * * *")

    for _ in range(hours * 6):
        clock.advance(minutes=10)
        look(world)

    assert len(keys(world)) == moments


def test_two_agents_launch_a_moment_once(world, campaign, clock):
    """However many agents look together, each moment of each stage is launched once."""
    many = world.campaign_with(*(stage(f"s{number}") for number in range(12)))
    for number in many.stages.values():
        schedules.set_schedule(world.core, many.owner, number, cron="*/10 * * * *")

    for _ in range(3):
        clock.advance(minutes=10)
        gate = threading.Barrier(4)
        wrong = []

        def agent(gate=gate, wrong=wrong):
            gate.wait()
            try:
                look(world)
            except Exception as error:
                wrong.append(error)

        agents = [threading.Thread(target=agent) for _ in range(4)]
        for each in agents:
            each.start()
        for each in agents:
            each.join()
        assert wrong == []

    assert len(world.launches(kind="schedule")) == 3 * 12
    assert len(world.events("schedule.owed")) == 3 * 12


@pytest.mark.parametrize("after", [False, True])
def test_an_agent_that_dies_loses_and_doubles_nothing(world, database, clock, hourly, after):
    """Launch and next moment are one transaction: an agent killed just before or after it leaves no half of it."""
    clock.set(at("2026-03-01T13:00:05"))
    database.die_at_commit(after=after)
    with pytest.raises(Died):
        look(world)

    look(world)

    assert keys(world) == ["2026-03-01T13:00Z"]


def test_a_hold_keeps_every_moment_s_launch(world, campaign, clock, hourly):
    """With launches held each moment adds a held launch, and none is made."""
    holds.hold_stages(world.core, campaign.owner, [hourly], hold=True, reason="disk full")
    for _ in range(2):
        clock.advance(hours=1)
        look(world)
        world.work_on_launches()

    assert [row.state for row in world.launches()] == ["held", "held"]
    assert world.submissions() == []


@pytest.mark.parametrize("lost", ["membership", "role", "person's rights"])
def test_the_launcher_s_right_is_checked_each_time(world, campaign, clock, hourly, lost):
    """Somebody who left the experiment, or lost the role, launches nothing any more; the schedule says why."""
    key = (campaign.owner.experimenter_id, "samdev")
    if lost == "membership":
        world.change(Membership, key, active=False)
    elif lost == "role":
        world.change(Membership, key, role=ANALYSIS)
    else:
        ann = world.person("ann", ANALYSIS)
        world.change(CampaignStage, hourly, creator_role=ANALYSIS, creator=ann.experimenter_id)
        world.change(Membership, key, role=SHIFTER)
    clock.advance(hours=1)

    assert "1 refused" in look(world)

    assert world.launches() == []
    assert campaign.owner.username in row_of(world.core, hourly).message
    assert [event.kind for event in world.events("schedule.refused")] == ["schedule.refused"]


def test_a_shifter_s_successor_launches_without_a_role_of_production(world, campaign, clock, hourly):
    """A launcher who is a shifter now may still launch production stages."""
    world.change(Membership, (campaign.owner.experimenter_id, "samdev"), role=SHIFTER)
    clock.advance(hours=1)

    look(world)

    assert world.work_on_launches() == ["launched"]


def test_root_needs_no_membership(world, campaign, clock):
    """An administrator of the service may be a launcher."""
    root = world.person("root1", root=True)
    schedules.set_schedule(world.core, root, campaign.stage("gen"), cron="0 * * * *")
    with world.core.db.write() as session:
        session.delete(session.get_one(Membership, (root.experimenter_id, "samdev")))
    clock.advance(hours=1)

    assert look(world).startswith("1 launches due")
    with world.core.db.read() as session:
        assert session.scalar(select(Experimenter.root).where(Experimenter.username == "root1"))


@pytest.fixture
def splitting(world, clock):
    """A stage that goes through four files, two at a time, once an hour."""
    world.catalogue().dataset("raw", 4)
    campaign = world.campaign_with(stage("gen", dataset="raw", split="drainingn(2)"))
    schedules.set_schedule(world.core, campaign.owner, campaign.stage("gen"), cron="0 * * * *")
    return campaign


def pass_hours(world, clock, count):
    for _ in range(count):
        clock.advance(hours=1)
        look(world)
        world.work_on_launches()


def test_the_end_of_the_split_ends_the_schedule(world, clock, splitting):
    """When there are no more slices the schedule goes, if the stage says so."""
    pass_hours(world, clock, 3)
    assert [row.state for row in world.launches()] == ["launched", "launched", "skipped"]

    said = look(world)

    assert "1 schedules ended" in said
    assert row_of(world.core, splitting.stage("gen")) is None
    assert [event.kind for event in world.events("schedule.ended")] == ["schedule.ended"]


def test_a_stage_that_keeps_its_schedule_goes_on(world, clock, splitting):
    """Where the dataset grows, the end of the split is only the end for now."""
    world.change(CampaignStage, splitting.stage("gen"), default_clear_cronjob=False)
    pass_hours(world, clock, 4)
    look(world)

    assert [row.state for row in world.launches()] == ["launched", "launched", "skipped", "skipped"]
    assert row_of(world.core, splitting.stage("gen")) is not None


def test_a_silent_catalogue_does_not_lose_the_moment(world, clock, splitting):
    """The launch is owed before anybody asks the catalogue, and made when that answers."""
    world.catalogue().fail("list", times=100)
    world.catalogue().fail("count", times=100)
    world.catalogue().fail("define", times=100)
    pass_hours(world, clock, 1)
    world.catalogue().heal()
    clock.advance(minutes=10)

    assert world.work_on_launches() == ["launched"]


def test_another_time_zone_moves_what_is_to_come(database, tmp_path, clock):
    """A change in poms.ini holds from the next look; what has come due before still is."""
    before = make_service(database, tmp_path, clock)
    world = World(before.core, before.fakes)
    campaign = world.campaign_with(stage("gen"))
    clock.set(at("2026-06-01T12:00"))
    schedules.set_schedule(world.core, campaign.owner, campaign.stage("gen"), cron="0 3 * * *")
    after = make_service(database, tmp_path, clock, text=f"time_zone = {CHICAGO}", fakes=before.fakes)

    schedules.launch_due(after.core, "samdev")

    row = row_of(after.core, campaign.stage("gen"))
    assert (row.time_zone, row.next_at) == (CHICAGO, at("2026-06-02T08:00"))


def test_deleting_a_stage_takes_its_schedule_along(world, campaign, hourly):
    """No schedule is left without its stage."""
    with world.core.db.write() as session:
        session.delete(session.get_one(CampaignStage, hourly))

    assert row_of(world.core, hourly) is None


def test_a_stage_taken_out_of_its_campaign_is_not_launched(world, clock, hourly):
    """The schedule says why nothing happens."""
    world.change(CampaignStage, hourly, campaign_id=None)
    clock.advance(hours=1)

    look(world)

    assert world.launches() == []
    assert "no longer belongs to a campaign" in row_of(world.core, hourly).message


def test_preview_and_launch_are_the_same_launch(world, campaign, clock, hourly):
    """What a scheduled launch will do is what the preview of the stage shows."""
    shown = preparing.preview(world.core, campaign.owner, launch_requests.LaunchRequest(hourly, "", kind="schedule"))
    clock.advance(hours=1)
    look(world)
    world.work_on_launches()

    (made,) = world.launches()
    assert made.plan["command"] == shown.plan.command
    assert launches.AGENT == schedules.AGENT
