"""Recovery rules on pages: what they ask is seen and answered by who may, and what was learned is forgotten."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from poms.webservice.interfaces import JobState
from poms.webservice.model import RecoveryDecision, StageLevel
from poms.webservice.rules.permissions import ANALYSIS, SHIFTER
from poms.webservice.services import policies
from poms.webservice.testing.world import stage

HOSTILE = 'when message "*<script>$(x)*": stop'


@pytest.fixture
def asked(site, owner):
    """A submission about whose files the rules ask; its rules and hold reason are not friendly."""
    world = site.world
    world.catalogue().dataset("four", 4)
    made = world.campaign_with(stage("gen", dataset="four", pct=50, recovery_policy=HOSTILE), name="asking",
                               owner=owner)
    number = world.submission(made, "gen")
    world.batch.hold(number, 1, code=3, reason="it said <SCRIPT>$(x)</SCRIPT>")
    world.poll()
    world.batch.end(number, JobState.REMOVED, 1)
    world.catalogue().process(world.get(number).project, 3)
    world.finish(number, process=False)
    world.wrap_up()
    return made, number


def question(site) -> RecoveryDecision:
    with site.core.db.read() as session:
        return session.scalars(select(RecoveryDecision)).one()


def test_a_question_stands_on_the_shift_board(site, owner, asked):
    """With cause, rule, number of files and the buttons that answer it."""
    entries = site.program(owner).get("home", fmt="json").json["board"]

    (entry,) = [each for each in entries if "that failed" in each["what"]]
    assert entry["size"] == "1 file"
    assert [action["label"] for action in entry["actions"]] == ["Try again", "Give up…", "See submission"]
    assert "<script>$(x)" not in site.browser(owner).get("home").text


@pytest.mark.parametrize(("act", "state"), [("go_on", "gone on"), ("give_up", "given up")])
def test_a_question_is_answered_on_the_submission(site, asked, act, state):
    """By a shifter, once; then the page says what came of it."""
    _, number = asked
    shifter = site.browser(site.world.person("sue", SHIFTER))
    row = question(site)
    fields = {"submission_id": number, "decision_id": row.recovery_decision_id, "act": act, "reason": "looked"}
    assert "Try again" in shifter.get("submission", number).text

    shifter.post("recovery_answer", fields)

    assert question(site).state == state
    page = shifter.get("submission", number)
    assert "Try again" not in page.text
    assert "looked" in page.text
    assert shifter.post("recovery_answer", fields).status_int == 409


def test_who_may_not_act_on_it_does_not_answer(site, asked):
    """An analysis user sees what is asked, and no means to answer."""
    _, number = asked
    other = site.browser(site.world.person("bob", ANALYSIS))

    page = other.get("submission", number)

    assert "a person is asked" in page.text
    assert "Try again" not in page.text
    fields = {"submission_id": number, "decision_id": question(site).recovery_decision_id, "act": "go_on"}
    assert other.post("recovery_answer", fields).status_int == 403
    assert question(site).state == "asking"


def test_a_question_belongs_to_its_submission(site, owner, asked):
    """The right to act on one submission is none to answer for another."""
    made, _ = asked
    other = site.world.submission(made, "gen", dataset_override="four")

    answer = site.browser(owner).post("recovery_answer", {
        "submission_id": other, "decision_id": question(site).recovery_decision_id, "act": "go_on"})

    assert answer.status_int == 404
    assert question(site).state == "asking"


def test_a_stage_shows_its_rules_as_text(site, owner, asked):
    """Rules, limits and what was learned stand on the stage's page; nothing of them is markup."""
    made, _ = asked
    with site.core.db.write() as session:
        policies.learn(session, made.stage("gen"), {"memory": {2000.0: 12}})

    page = site.browser(owner).get("stage", made.stage("gen"))

    assert "when message" in page.text
    assert "<script>$(x)" not in page.text
    assert "attempts at most 5" in page.text
    assert "2,000 MB of memory" in page.text


def test_what_was_learned_is_forgotten_by_who_may_change_the_stage(site, owner, asked):
    """A shifter may launch the stage and not change it; the owner's reset empties the list."""
    made, _ = asked
    with site.core.db.write() as session:
        policies.learn(session, made.stage("gen"), {"memory": {2000.0: 12}})
    fields = {"campaign_stage_id": made.stage("gen"), "act": "forget_levels"}

    refused = site.browser(site.world.person("sue", SHIFTER)).post("stage_act", fields)
    site.browser(owner).post("stage_act", fields)

    assert refused.status_int == 403
    with site.core.db.read() as session:
        assert session.scalars(select(StageLevel)).all() == []


def test_the_preview_shows_rules_and_what_was_learned(site, owner, asked):
    """A preview names the rules in force; it changes nothing."""
    made, _ = asked

    page = site.browser(owner).get("preview", made.stage("gen"))

    assert "attempts at most 5" in page.text
