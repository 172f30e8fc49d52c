"""Schedules in the browser: seen, tried out, saved, removed; and the addresses that older programs know."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from poms.webservice.model import Schedule
from poms.webservice.rules.permissions import ANALYSIS, SHIFTER
from poms.webservice.services import schedules
from poms.webservice.testing.world import stage


@pytest.fixture
def gen(campaign):
    return campaign.stage("gen")


def row_of(site, stage_id):
    with site.core.db.read() as session:
        return session.get(Schedule, stage_id)


def text_of(answer):
    return " ".join(answer.html.get_text(" ").split())


def test_a_stage_without_a_schedule_offers_one(site, owner, gen):
    """The form has the minute that it always had, and the stage's page leads there."""
    browser = site.browser(owner)
    page = browser.get("schedule", gen)

    assert "No schedule" in text_of(page)
    assert page.html.find("input", {"name": "minlist"})["value"] == "1"
    assert "No schedule" in text_of(browser.get("stage", gen))
    assert f"/poms/schedule/samdev/production/{gen}" in browser.get("stage", gen).text


@pytest.mark.parametrize("fields", [{"by": "cron", "cron": "5 3 * * mon"},
                                    {"by": "fields", "minlist": "5", "hourlist": "3", "dowlist": "mon"}])
def test_a_preview_shows_the_next_launches_and_saves_nothing(site, owner, gen, clock, fields):
    """In words and in the experiment's time zone, with what was typed still in the form."""
    clock.set(datetime(2026, 3, 1, 12, tzinfo=UTC))

    page = site.browser(owner).post("schedule_set", {"campaign_stage_id": gen, "act": "preview", **fields})

    assert page.status_int == 200
    assert "at 03:05 on Monday" in text_of(page)
    assert [line.span.text for line in page.html.select("aside ol li")] == [
        f"Mon 2026-03-{day} 03:05 UTC" for day in ("02", "09", "16", "23", "30")]
    typed = {name: page.html.find("input", {"name": name})["value"] for name in fields if name != "by"}
    assert typed == {name: value for name, value in fields.items() if name != "by"}
    assert row_of(site, gen) is None


def test_a_schedule_is_saved_shown_and_removed(site, owner, gen):
    """With what is to happen at its end, and after a time without agents."""
    browser = site.browser(owner)
    saved = browser.post("schedule_set", {"campaign_stage_id": gen, "by": "cron", "cron": "*/30 * * * *",
                                          "catch_up": "none", "clear_at_end": "no"})

    row = row_of(site, gen)
    assert (saved.status_int, saved.headers["Location"]) == (303, f"/poms/schedule/samdev/production/{gen}")
    assert (row.cron, row.catch_up, row.clear_at_end, row.launcher) == (
        "*/30 * * * *", "none", False, owner.experimenter_id)
    page = browser.get("schedule", gen)
    assert page.html.select_one("#by-cron-clear option[selected]")["value"] == "no"
    assert "every 30 minutes" in text_of(browser.get("stage", gen))

    browser.post("schedule_delete", {"campaign_stage_id": gen})

    assert row_of(site, gen) is None


def test_a_mistake_is_told_beside_what_was_typed(site, owner, gen):
    """People get the form again with the reason, programs an answer of status 400; nothing is saved."""
    wrong = {"campaign_stage_id": gen, "by": "cron", "cron": "99 * * * <b>"}

    page = site.browser(owner).post("schedule_set", wrong)

    assert page.status_int == 400
    assert page.html.find("input", {"name": "cron"})["value"] == wrong["cron"]
    assert "is no minute" in text_of(page)
    assert "* <b>" not in page.text
    assert site.program(owner).post("schedule_set", wrong).status_int == 400
    assert row_of(site, gen) is None


def test_the_addresses_of_earlier_versions_work(site, owner, gen):
    """Lists of minutes, hours and days, repeated fields among them; ``delete`` removes the entry."""
    program = site.program(owner)
    program.post("update_launch_schedule", [("campaign_stage_id", str(gen)), ("minlist", "0"), ("hourlist", "3"),
                                            ("dowlist", "mon"), ("dowlist", "fri"), ("domlist", "*"),
                                            ("monthly", "x"), ("submit", "Submit")])

    assert row_of(site, gen).cron == "0 3 * * 1,5"
    assert program.get("schedule_launch", campaign_stage_id=gen, fmt="json").json["schedule"]["cron"] == "0 3 * * 1,5"

    program.post("update_launch_schedule", {"campaign_stage_id": gen, "delete": "Delete"})

    assert row_of(site, gen) is None


@pytest.mark.parametrize("role", [SHIFTER, ANALYSIS])
def test_only_those_who_may_change_the_stage_schedule_it(site, gen, role):
    """Others see the schedule, and no form."""
    other = site.browser(site.world.person("other", role))
    refused = other.post("schedule_set", {"campaign_stage_id": gen, "by": "cron", "cron": "0 * * * *"})

    assert refused.status_int == 403
    assert other.post("schedule_delete", {"campaign_stage_id": gen}).status_int == 403
    assert other.get("schedule", gen).html.select("main form") == []
    assert row_of(site, gen) is None


def test_why_a_scheduled_launch_was_not_made_is_shown(site, owner, campaign, gen, clock):
    """On the page of the stage and on that of its schedule."""
    schedules.set_schedule(site.core, owner, gen, cron="0 * * * *", catch_up="none")
    clock.advance(hours=5, minutes=30)
    schedules.launch_due(site.core, "samdev")

    for word in ("stage", "schedule"):
        assert "no agent was at work" in text_of(site.browser(owner).get(word, gen))


@pytest.mark.parametrize(("clear_cron", "kept"), [(None, False), ("1", False), ("0", True), ("off", True)])
def test_an_older_hold_takes_the_schedule_away_unless_told_not_to(site, owner, gen, clear_cron, kept):
    """As it always did."""
    schedules.set_schedule(site.core, owner, gen, cron="0 * * * *")
    more = {} if clear_cron is None else {"clear_cron": clear_cron}

    site.program(owner).post("mark_campaign_hold", {"ids2HR": gen, "is_hold": "Hold", **more})

    assert (row_of(site, gen) is not None) == kept


def test_a_shifter_s_older_hold_leaves_the_schedule(site, owner, gen):
    """Shifters may hold and not change; asking for the change outright is refused."""
    schedules.set_schedule(site.core, owner, gen, cron="0 * * * *")
    shifter = site.program(site.world.person("sue", SHIFTER))

    assert shifter.post("mark_campaign_hold", {"ids2HR": gen, "is_hold": "Hold", "clear_cron": "1"}).status_int == 403
    assert shifter.post("mark_campaign_hold", {"ids2HR": gen, "is_hold": "Hold"}).status_int == 303

    assert row_of(site, gen) is not None


@pytest.mark.parametrize(("clear_cron", "kept"), [("1", False), ("0", True)])
def test_a_campaign_made_inactive_loses_its_schedules_if_wanted(site, owner, campaign, gen, clear_cron, kept):
    """They would make it active again."""
    schedules.set_schedule(site.core, owner, gen, cron="0 * * * *")

    site.program(owner).post("mark_campaign_active", {"campaign_id": campaign.campaign_id, "is_active": "0",
                                                      "clear_cron": clear_cron})

    assert (row_of(site, gen) is not None) == kept


def test_a_hostile_stage_name_is_text(site, owner):
    """Also in the titles of what asks before it removes."""
    made = site.world.campaign_with(stage('"><svg/onload=1>'), name="odd", owner=owner)
    number = next(iter(made.stages.values()))
    schedules.set_schedule(site.core, owner, number, cron="0 * * * *")

    assert "<svg/onload" not in site.browser(owner).get("schedule", number).text
