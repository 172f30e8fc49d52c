"""What older programs ask of services: tags, campaigns by a name alone, own held launches, deliveries, members."""

from __future__ import annotations

from datetime import timedelta

import pytest

from poms.webservice.errors import Conflict, Invalid, NotAllowed, NotFound
from poms.webservice.model import Submission
from poms.webservice.services import beginnings, blocks, campaigns, holds, lookups, project_progress, tags, watches
from poms.webservice.services.blocks import JobTypeChange, LoginSetupChange
from poms.webservice.testing.world import stage


@pytest.fixture
def owner(world):
    return world.person("olive")


@pytest.fixture
def campaign(world, owner):
    return world.campaign_with(stage("gen"), stage("reco", after="gen"), name="mc", owner=owner)


# ------------------------------------------------------------------------------------------ tags


def test_tags_are_found_with_what_carries_them(world, core, owner, campaign):
    """By a part of their name, by campaigns, by a pattern; only those of the experiment."""
    other = world.campaign_with(stage("gen"), name="other", owner=owner)
    campaigns.add_tag(core, owner, [campaign.campaign_id, other.campaign_id], "MCC_9")
    campaigns.add_tag(core, owner, [other.campaign_id], "100%")
    stranger = world.person("otto", experiment="nova")
    theirs = world.campaign_with(stage("gen"), name="theirs", experiment="nova", owner=stranger)
    campaigns.add_tag(core, stranger, [theirs.campaign_id], "MCC_9")

    assert [(row["tag_name"], row["campaigns"]) for row in tags.list_tags(core, "samdev")] == [("100%", 1),
                                                                                              ("MCC_9", 2)]
    assert [row["tag_name"] for row in tags.list_tags(core, "samdev", containing="%")] == ["100%"]
    assert [row["tag_name"] for row in tags.list_tags(core, "samdev", campaign_ids=[campaign.campaign_id])] == ["MCC_9"]
    assert [(tag["tag_name"], [row["name"] for row in rows])
            for tag, rows in tags.tagged_campaigns(core, "samdev", "MCC%")] == [("MCC_9", ["mc", "other"])]
    assert tags.find_tag_id(core, "samdev", "nothing") is None


def test_a_tag_is_taken_off_all_campaigns_or_none(world, core, owner, campaign):
    """And goes when nothing carries it any more."""
    hers = world.campaign_with(stage("gen"), name="hers", owner=world.person("anna", "analysis"))
    campaigns.add_tag(core, owner, [campaign.campaign_id], "MCC9")
    tag = tags.find_tag_id(core, "samdev", "MCC9")

    with pytest.raises(NotAllowed):
        tags.remove_tag(core, owner, [campaign.campaign_id, hers.campaign_id], tag)
    with pytest.raises(NotFound):
        tags.remove_tag(core, owner, [campaign.campaign_id], tag + 1)
    assert tags.list_tags(core, "samdev")[0]["campaigns"] == 1
    assert tags.remove_tag(core, owner, [campaign.campaign_id], tag, delete_unused=True) == 1
    assert tags.list_tags(core, "samdev") == []


def test_campaigns_and_stages_are_found_by_a_pattern(core, campaign):
    """Either name counts."""
    assert [(one["name"], two["name"]) for one, two in tags.search_campaigns(core, "samdev", "re%")] == [("mc", "reco")]
    assert len(tags.search_campaigns(core, "samdev", "m_")) == 2
    assert tags.search_campaigns(core, "nova", "%") == []


# ------------------------------------------------------------------------------------- campaigns


@pytest.fixture
def generic(core, owner):
    blocks.save_job_type(core, owner, "generic", JobTypeChange(launch_script="run"), add=True)
    blocks.save_login_setup(core, owner, "generic", LoginSetupChange(host="localhost"), add=True)


def test_a_campaign_begins_with_one_stage(core, owner, generic):
    """By the same way as any text; not twice."""
    made = beginnings.begin(core, owner, "new")

    assert [name for _, name in made.stages] == ["stage0"]
    assert campaigns.text_of(core, owner, "new").count("[campaign_stage ") == 1
    with pytest.raises(Conflict):
        beginnings.begin(core, owner, "new")


def test_a_campaign_is_found_or_begun(core, owner, generic, campaign):
    """The stage is the same each time; that of a campaign that is there is its first."""
    numbers = {beginnings.find_or_begin(core, owner, "reg", software_version="v3") for _ in range(2)}

    assert len(numbers) == 1
    assert beginnings.find_or_begin(core, owner, "mc") == campaign.stage("gen")


@pytest.mark.parametrize("name", ["", "x\n[job_type y]", "a/b"])
def test_a_name_that_is_none_begins_nothing(core, owner, generic, name):
    """Nothing of it gets into a text."""
    with pytest.raises(Invalid):
        beginnings.begin(core, owner, name)
    assert lookups.list_campaigns(core, "samdev") == []


# --------------------------------------------------------------------------------------- lookups


def test_own_held_launches_are_found_by_their_times(world, core, owner, campaign, clock):
    """Not those of others, nor those of another second."""
    holds.hold_stages(core, owner, [campaign.stage("gen")], hold=True, reason="full")
    mine = world.launch(campaign, "gen").launch_id
    when = clock()

    assert lookups.own_held_launches(core, owner, [when]) == [mine]
    assert lookups.own_held_launches(core, owner, [when - timedelta(seconds=1)]) == []
    assert lookups.own_held_launches(core, world.person("otto"), [when]) == []


def test_members_are_those_of_the_experiment(world, core, owner):
    """With their roles."""
    world.person("nora", experiment="nova")

    assert [(row["role"], person["username"]) for _, row, person in lookups.list_members(core, "samdev")] == [
        ("production", "olive")]


def test_what_somebody_watches_is_told(core, owner, campaign):
    """By campaign."""
    watches.watch(core, owner, campaign_id=campaign.campaign_id)

    assert lookups.watched_campaigns(core, owner) == [campaign.campaign_id]


def test_a_delivery_without_a_project_is_unknown(world, core, campaign):
    """None, as for one that the catalogue does not know; never zero."""
    number = world.submission(campaign, "gen")
    with core.db.write() as session:
        session.get_one(Submission, number).project = "7"

    assert project_progress.percent_consumed(core, ["7", "8"]) == {"7": None, "8": None}
