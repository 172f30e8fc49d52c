"""Scouts on pages and in texts: what one of them asks is answered by who may, and the text of a stage is checked."""

from __future__ import annotations

import pytest

from poms.webservice.interfaces import JobState
from poms.webservice.model import Scout
from poms.webservice.rules.permissions import ANALYSIS, SHIFTER
from poms.webservice.testing.world import stage


@pytest.fixture
def fallen_short(site, owner):
    """The number of a scout all of whose jobs failed."""
    world = site.world
    world.catalogue().dataset("twenty", 20)
    made = world.campaign_with(stage("gen", dataset="twenty", scout="4 files"), name="scouting", owner=owner)
    number = world.submission(made, "gen")
    world.poll()
    world.finish(number, state=JobState.FAILED)
    world.wrap_up()
    return number


def state_of(site, number):
    with site.core.db.read() as session:
        return session.get_one(Scout, number).state


@pytest.mark.parametrize(("act", "state", "said"), [
    ("go_on", "gone on", "a person said to go on"), ("give_up", "given up", "the rest was given up")])
def test_a_shifter_answers_once(site, fallen_short, act, state, said):
    """From the buttons on the submission's page; a second answer comes too late."""
    shifter = site.browser(site.world.person("sue", SHIFTER))
    fields = {"submission_id": fallen_short, "act": act, "reason": "looked <b>twice</b>"}
    assert "The scout fell short, go on?" in shifter.get("submission", fallen_short).text

    shifter.post("scout_answer", fields)
    page = shifter.get("submission", fallen_short)

    assert said in page.text
    assert state_of(site, fallen_short) == state
    assert "go on?" not in page.text
    assert "<b>twice" not in page.text
    assert shifter.post("scout_answer", fields).status_int == 409


def test_who_may_not_act_on_it_does_not_answer(site, fallen_short):
    """An analysis user sees what is asked, and no means to answer."""
    other = site.browser(site.world.person("bob", ANALYSIS))

    page = other.get("submission", fallen_short)

    assert "The scout fell short, go on?" in page.text
    assert "scout_answer" not in page.text
    assert other.post("scout_answer", {"submission_id": fallen_short, "act": "go_on"}).status_int == 403
    assert state_of(site, fallen_short) == "asking"


def test_a_submission_that_is_no_scout_has_nothing_to_answer(site, owner, fallen_short):
    """As if there were no such question."""
    made = site.world.campaign_with(stage("plain"), name="plain", owner=owner)
    number = site.world.submission(made, "plain")

    assert site.browser(owner).post("scout_answer", {"submission_id": number, "act": "go_on"}).status_int == 404
