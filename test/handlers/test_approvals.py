"""What people do to single submissions: approve, refuse, abort; and launches that never began, on the shift board."""

from __future__ import annotations

import pytest

from poms.webservice.model import Membership
from poms.webservice.rules.permissions import ANALYSIS, SHIFTER
from poms.webservice.rules.statuses import Status
from poms.webservice.testing.world import stage


@pytest.fixture
def gate(site, owner):
    """A submission that waits for approval."""
    made = site.world.campaign_with(stage("check", dataset="raw", script="", campaign_stage_type="approval"),
                                    name="gated", owner=owner)
    return site.world.launch(made, "check").submission_id


def buttons(page):
    return {field["value"] for field in page.html.find_all("input", {"name": "act"})}


@pytest.mark.parametrize(("act", "status"), [("approve", Status.COMPLETED), ("refuse", Status.REMOVED)])
def test_a_gate_is_decided_on_its_page(site, owner, gate, act, status):
    """By a shifter, with a reason; afterwards there is nothing to decide any more."""
    shifter = site.browser(site.world.person("sue", SHIFTER))
    assert {"approve", "refuse"} <= buttons(shifter.get("submission", gate))

    shifter.post("submission_act", {"submission_id": gate, "act": act, "reason": "looked at it"})

    assert site.world.status(gate) is status
    assert site.world.history(gate)[-1].reason.endswith(": looked at it")
    assert not {"approve", "refuse"} & buttons(shifter.get("submission", gate))
    assert shifter.post("submission_act", {"submission_id": gate, "act": "approve"}).status_int == 409


def test_who_may_not_do_anything_to_it_does_not_decide(site, gate):
    """An analysis user sees it and no means to decide."""
    other = site.browser(site.world.person("bob", ANALYSIS))

    assert not {"approve", "refuse"} & buttons(other.get("submission", gate))
    assert other.post("submission_act", {"submission_id": gate, "act": "approve"}).status_int == 403


def test_a_gate_stands_on_the_shift_board(site, owner, gate):
    """It waits for a person."""
    board = site.program(owner).get("home", fmt="json").json["board"]

    assert [entry["state"] for entry in board] == ["Awaiting Approval"]


def test_a_launch_is_aborted_while_it_is_new(site, owner, campaign):
    """From the submission's page and that of its launch log; with jobs there is no such button."""
    number = site.world.launch(campaign, "gen").submission_id
    browser = site.browser(owner)
    assert "abort" in buttons(browser.get("submission", number))
    assert "abort" in buttons(browser.get("launch_log", number))

    browser.post("submission_act", {"submission_id": number, "act": "abort", "reason": "wrong dataset"})

    assert site.world.status(number) is Status.REMOVED
    assert site.world.work_on_launches() == []
    for page in ("submission", "launch_log"):
        assert "abort" not in buttons(browser.get(page, number))
    assert browser.post("submission_act", {"submission_id": number, "act": "abort"}).status_int == 409


@pytest.fixture
def left_behind(site, campaign):
    """A held launch of somebody who left the experiment, released afterwards."""
    gone = site.world.person("gone")
    site.browser(gone).post("stage_act", {"campaign_stage_id": campaign.stage("gen"), "act": "hold_launches"})
    held = site.world.launch(campaign, "gen", actor=gone).launch_id
    site.world.change(Membership, (gone.experimenter_id, "samdev"), active=False)
    owner = site.browser(campaign.owner)
    owner.post("stage_act", {"campaign_stage_id": campaign.stage("gen"), "act": "release_launches"})
    owner.post("held_launches_act", {"launch_id": held, "act": "release"})
    site.world.work_on_launches()
    return held


def test_a_launch_that_never_began_is_on_the_board_and_can_be_taken_over(site, owner, left_behind):
    """It says why, and whoever may launch the stage launches it in his or her own name."""
    entry = site.program(owner).get("home", fmt="json").json["board"][0]
    assert (entry["state"], entry["what"]) == ("LaunchFailed", "gen: not launched")
    assert "gone is not in experiment samdev any more" in entry["why"]

    site.browser(owner).post("held_launches_act", {"launch_id": left_behind, "act": "retry"})

    assert site.world.work_on_launches() == ["launched"]
    assert site.world.submissions()[0].creator == owner.experimenter_id
    assert site.program(owner).get("home", fmt="json").json["board"] == []


def test_a_launch_that_never_began_can_be_deleted(site, owner, left_behind):
    """Then it is gone from the board and never launched."""
    site.browser(owner).post("held_launches_act", {"launch_id": left_behind, "act": "delete"})

    assert site.program(owner).get("home", fmt="json").json["board"] == []
    assert site.world.launches()[0].state == "cancelled"


def test_who_may_not_launch_is_not_offered_to(site, left_behind):
    """An analysis user sees what happened."""
    entry = site.program(site.world.person("bob", ANALYSIS)).get("home", fmt="json").json["board"][0]

    assert [action["label"] for action in entry["actions"]] == ["See stage"]
