"""Campaigns that pause themselves: on a wave of failures, with the reason, until a person lets them go."""

from __future__ import annotations

import pytest

from poms.webservice.agent import upkeep
from poms.webservice.interfaces import JobState
from poms.webservice.model import Campaign
from poms.webservice.rules.permissions import SHIFTER
from poms.webservice.services import holds, pauses
from poms.webservice.services.pages import campaigns as campaign_pages
from poms.webservice.services.pages import home
from poms.webservice.testing.fixtures import make_service
from poms.webservice.testing.world import World, stage


@pytest.fixture
def world(database, tmp_path, clock):
    """A service that judges campaigns by their last ten jobs; four jobs a launch."""
    service = make_service(database, tmp_path, clock, text="pause_after_jobs = 10\npause_failure_percent = 75\n")
    world = World(service.core, service.fakes)
    world.batch.jobs_per_launch = 4
    return world


@pytest.fixture
def campaign(world):
    return world.campaign_with(stage("gen", completion="complete"), name="mc")


def run(world, campaign, state: JobState) -> int:
    """One submission all of whose jobs end alike."""
    number = world.submission(campaign, "gen")
    world.poll()
    world.finish(number, state=state)
    world.core.clock.advance(minutes=1)
    return number


def row(world, campaign) -> Campaign:
    with world.core.db.read() as session:
        return session.get_one(Campaign, campaign.campaign_id)


def url(name, **arguments):
    return f"/{name}"


@pytest.fixture
def paused(world, campaign):
    """A campaign that has paused itself."""
    for _ in range(3):
        run(world, campaign, JobState.FAILED)
    upkeep.run(world.core, "samdev")
    assert row(world, campaign).paused_at is not None
    return campaign


def test_a_wave_of_failures_pauses(world, paused):
    """Launches are kept from then on, with the reason; what runs goes on."""
    outcome = world.launch(paused, "gen")

    assert outcome.state == "held"
    assert outcome.message == ("Campaign mc paused itself: 12 of the last 12 jobs failed or were removed; "
                               "the limit is 75 %")
    assert [event.data["reason"] for event in world.events("campaign.paused")] == [row(world, paused).paused_reason]


@pytest.mark.parametrize("states", [
    [JobState.FAILED] * 2, [JobState.COMPLETED] * 3, [JobState.FAILED, JobState.COMPLETED, JobState.FAILED],
    [JobState.FAILED] * 3 + [JobState.COMPLETED] * 3])
def test_no_pause(world, campaign, states):
    """Too few jobs, good ones, a mixture below the limit, and failures that were overcome since."""
    for state in states:
        run(world, campaign, state)

    upkeep.run(world.core, "samdev")

    assert row(world, campaign).paused_at is None


def test_other_campaigns_go_on(world, paused):
    """Only the campaign that fails is paused."""
    other = world.campaign_with(stage("gen", completion="complete"), name="other")

    assert world.launch(other, "gen").state == "queued"


def test_what_people_remove_is_no_failure(world, campaign):
    """Submissions that a person removed are not counted."""
    from poms.webservice.rules.statuses import Status
    from poms.webservice.services import jobs

    for _ in range(3):
        number = world.submission(campaign, "gen")
        world.poll()
        jobs.act(world.core, "me", "samdev", "remove", [number], mark=Status.REMOVED)
        world.poll()

    assert pauses.run(world.core, "samdev") == 0


def test_let_go_by_a_person_it_does_not_pause_for_the_same_wave(world, paused):
    """The failures of before count no more; held launches stay held until they are released."""
    assert holds.hold_campaign(world.core, paused.owner, paused.campaign_id, hold=False)

    upkeep.run(world.core, "samdev")

    assert row(world, paused).paused_at is None
    assert world.launch(paused, "gen").state == "queued"


def test_late_ends_of_the_same_wave_do_not_pause_again(world, campaign):
    """Jobs of submissions that were launched before somebody let go may still fail."""
    late = [world.submission(campaign, "gen") for _ in range(3)]
    for _ in range(3):
        run(world, campaign, JobState.FAILED)
    upkeep.run(world.core, "samdev")
    holds.hold_campaign(world.core, campaign.owner, campaign.campaign_id, hold=False)

    for number in late:
        world.finish(number, state=JobState.FAILED)
    upkeep.run(world.core, "samdev")

    assert row(world, campaign).paused_at is None


def test_a_new_wave_pauses_again(world, paused):
    """After it was let go, as many new failures pause it once more."""
    holds.hold_campaign(world.core, paused.owner, paused.campaign_id, hold=False)
    world.core.clock.advance(minutes=1)
    for _ in range(3):
        run(world, paused, JobState.FAILED)

    assert pauses.run(world.core, "samdev") == 1


def test_a_paused_campaign_is_not_paused_again(world, paused):
    """The reason and the time of a pause stay those of its beginning."""
    before = row(world, paused)
    world.core.clock.advance(minutes=5)

    assert pauses.run(world.core, "samdev") == 0
    assert (row(world, paused).paused_at, len(world.events("campaign.paused"))) == (before.paused_at, 1)


def test_zero_switches_it_off(database, tmp_path, clock):
    """An experiment may do without."""
    service = make_service(database, tmp_path, clock, text="pause_after_jobs = 1\npause_failure_percent = 0\n")
    world = World(service.core, service.fakes)
    made = world.campaign_with(stage("gen", completion="complete"))
    run(world, made, JobState.FAILED)

    assert pauses.run(world.core, "samdev") == 0


def test_the_pause_is_shown_with_its_remedy(world, paused):
    """On the shift board and on the campaign's page, with the button for those who may launch."""
    shifter = world.person("sue", SHIFTER)

    board = home.home(world.core, shifter, url)["board"]
    page = campaign_pages.campaign_page(world.core, shifter, url, paused.campaign_id)

    (entry,) = [each for each in board if "paused itself" in each["what"]]
    assert "12 of the last 12 jobs" in entry["why"]
    assert entry["actions"][0]["label"] == "Let its launches go"
    assert page["notices"][0]["title"] == "This campaign paused itself"
    assert page["notices"][0]["actions"][0]["fields"]["act"] == "release_launches"
