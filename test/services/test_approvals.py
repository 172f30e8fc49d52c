"""Approvals: a person decides whether what follows is launched, with the same data."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from poms.webservice.errors import Conflict, NotFound
from poms.webservice.model import CampaignStage
from poms.webservice.rules.statuses import Status
from poms.webservice.services import approvals, preparing
from poms.webservice.services.launch_requests import LaunchRequest
from poms.webservice.testing.world import stage


@pytest.fixture
def gated(world):
    """A gate between data that is there and the stage that processes it."""
    world.catalogue().dataset("raw", 4)
    return world.campaign_with(stage("check", dataset="raw", script="", campaign_stage_type="approval"),
                               stage("reco", after={"check": "%.root"}))


def test_a_gate_needs_no_script_and_no_agent(world, gated):
    """It waits for a person at once; nothing is submitted and nothing is left to do."""
    outcome = world.launch(gated, "check")

    assert (outcome.state, world.status(outcome.submission_id)) == ("launched", Status.AWAITING_APPROVAL)
    assert world.work_on_launches() == []
    assert world.batch.calls["submit"] == 0


def test_a_gate_reached_through_a_dependency_waits(world):
    """The agent that settles the launch owed leaves it to the person, and gives its lease back."""
    world.catalogue().dataset("raw", 2)
    made = world.campaign_with(stage("gen", dataset="raw", completion="complete"),
                               stage("check", after="gen", script="", campaign_stage_type="approval"))
    number = world.submission(made, "gen")
    world.finish(number)
    world.wrap_up()

    assert world.work_on_launches() == ["launched"]

    gate = world.submissions(depends_on=number)[0]
    assert Status(gate.status_id) is Status.AWAITING_APPROVAL
    assert world.launches(submission_id=gate.submission_id)[0].lease_owner is None


def test_a_preview_of_a_gate_shows_that_nothing_is_run(world, gated):
    """The command is the word by which clients know it."""
    shown = preparing.preview(world.core, gated.owner, LaunchRequest(gated.stage("check"), "k"))

    assert (shown.plan.command, shown.dataset) == ("await_approval", "raw")


def test_what_is_approved_goes_on_with_the_same_data(world, gated):
    """The next stage gets the files of the gate's input that match the dependency's pattern."""
    number = world.launch(gated, "check").submission_id

    approvals.decide(world.core, "lena", "samdev", number, approve=True, reason="plots look right")
    world.wrap_up()
    world.work_on_launches()

    assert [(row.status_id, row.actor, row.reason) for row in world.history(number)][1:] == [
        (Status.COMPLETED, "lena", "approved: plots look right"), (Status.LOCATED, "poms", "approved by a person")]
    dataset = world.submissions(depends_on=number)[0].submission_params["dataset"]
    catalogue = world.catalogue()
    assert dataset == f"poms_depends_{number}_1"
    assert sorted(catalogue.list(catalogue.dataset_query(dataset))) == sorted(
        catalogue.list(catalogue.dataset_query("raw")))


def test_what_is_refused_ends_there(world, gated):
    """Removed, with the reason; nothing follows."""
    number = world.launch(gated, "check").submission_id

    approvals.decide(world.core, "lena", "samdev", number, approve=False, reason="wrong geometry")
    world.wrap_up()

    assert (world.status(number), world.history(number)[-1].reason) == (Status.REMOVED, "refused: wrong geometry")
    assert world.launches(kind="dependency") == []


def test_it_is_decided_once(world, gated):
    """The second verdict is refused and changes nothing."""
    number = world.launch(gated, "check").submission_id
    approvals.decide(world.core, "lena", "samdev", number, approve=True)

    with pytest.raises(Conflict, match="it is Completed"):
        approvals.decide(world.core, "max", "samdev", number, approve=False)

    assert world.status(number) is Status.COMPLETED


def test_another_experiments_gate_is_not_there(world, gated):
    """Nobody decides for another experiment."""
    number = world.launch(gated, "check").submission_id

    with pytest.raises(NotFound):
        approvals.decide(world.core, "eve", "nova", number, approve=True)

    assert world.status(number) is Status.AWAITING_APPROVAL


def test_a_gate_without_data_hands_nothing_on(world):
    """What follows it would have no input: it is skipped, and said."""
    made = world.campaign_with(stage("check", script="", campaign_stage_type="approval"), stage("reco", after="check"))
    number = world.launch(made, "check").submission_id
    approvals.decide(world.core, "lena", "samdev", number, approve=True)

    world.wrap_up()

    assert world.status(number) is Status.LOCATED
    assert world.events("launch.skipped")
    with world.core.db.read() as session:
        assert session.scalar(select(CampaignStage.last_submission_id).where(
            CampaignStage.campaign_stage_id == made.stage("reco"))) is None
