"""The place of a stage in its split: set back to what a submission took, and to nothing else."""

from __future__ import annotations

import pytest

from poms.webservice.errors import Conflict, NotFound
from poms.webservice.model import CampaignStage, Submission
from poms.webservice.services import splits
from poms.webservice.testing.world import stage


@pytest.fixture
def campaign(world):
    world.experiment("samdev")
    return world.campaign_with(stage("gen", dataset="a, b, c", split="list"), owner=world.person("olive"))


def taken(world, campaign, **options):
    """A launch, and the dataset that it took."""
    number = world.launch(campaign, "gen", **options).submission_id
    with world.core.db.read() as session:
        return number, session.get_one(Submission, number).submission_params["dataset"]


def test_the_next_launch_takes_what_the_submission_took(world, campaign):
    """And the one after it what came next then."""
    first, second = taken(world, campaign)[0], taken(world, campaign)[0]
    taken(world, campaign)

    splits.set_back(world.core, campaign.owner, campaign.stage("gen"), second)
    assert [taken(world, campaign)[1] for _ in range(2)] == ["b", "c"]
    splits.set_back(world.core, campaign.owner, campaign.stage("gen"), first)
    assert taken(world, campaign)[1] == "a"


def test_test_launches_count_where_they_moved_the_split(world, campaign):
    """With a split of their own they did not."""
    with_it = taken(world, campaign, test=True)[0]
    world.change(CampaignStage, campaign.stage("gen"), test_split_type="list")
    without = taken(world, campaign, test=True)[0]

    splits.set_back(world.core, campaign.owner, campaign.stage("gen"), with_it)
    assert taken(world, campaign)[1] == "a"
    with pytest.raises(NotFound):
        splits.set_back(world.core, campaign.owner, campaign.stage("gen"), without)


@pytest.mark.parametrize("change", [{"dataset": "c, d"}, {"cs_split_type": "mod(2)"}])
def test_a_place_in_another_split_is_refused(world, campaign, change):
    """Numbers of then would mean something else now."""
    number = taken(world, campaign)[0]
    world.change(CampaignStage, campaign.stage("gen"), **change)

    with pytest.raises(Conflict, match="was changed since"):
        splits.set_back(world.core, campaign.owner, campaign.stage("gen"), number)
