"""Taking back what was done: all of it or nothing, by who did it, once, and only while nothing of it changed since."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import select

from poms.webservice.model import Base, Campaign, CampaignStage, CampaignVersion, Event, Tag, Undo, Watch
from poms.webservice.rules.permissions import ANALYSIS, SUPERUSER
from poms.webservice.services import campaigns, schedules, tags, watches
from poms.webservice.services.undos import GOOD_FOR
from poms.webservice.testing.world import stage

# What a sign-in and the log of events write is not part of any change.
APART = ("events", "undos", "experimenters")

TEXT = """# kept as it is
[campaign]
name = older
experiment = samdev

[campaign_stage gen]
vo_role = Production
software_version = v1
dataset_or_split_data = raw
completion_type = located
completion_pct = 95
login_setup = here
job_type = sim

[login_setup here]
host = localhost
account =

[job_type sim]
launch_script = run
"""


def everything(site):
    """All rows of all tables, to be compared."""
    with site.core.db.read() as session:
        return {table.name: sorted(str(dict(row)) for row in session.execute(select(table)).mappings())
                for table in Base.metadata.sorted_tables if table.name not in APART}


def offer_of(browser, page="campaigns"):
    """The button of the toast that the last change left, as the form that it sends."""
    form = browser.get(page).html.select_one(".toast form[data-undo]")
    return {field["name"]: field["value"] for field in form.select("input")} if form else None


def messages(browser, page="campaigns"):
    told = browser.get(page).html.select(".toast b, .notice__title, .notice__text")
    return [each.get_text(" ", strip=True) for each in told]


def made(site, campaign, owner):
    """A second campaign that was never launched, with everything that can hang on one."""
    other = site.world.campaign_with(stage("gen"), stage("reco", after="gen"), name="spare", owner=owner)
    campaigns.add_tag(site.core, owner, [other.campaign_id], "spring")
    watches.watch(site.core, owner, campaign_id=other.campaign_id)
    watches.watch(site.core, owner, stage_id=other.stage("gen"))
    schedules.set_schedule(site.core, owner, other.stage("gen"), cron="0 3 * * *")
    return other


CHANGES = {
    "a campaign made inactive": ("campaign_act", lambda one, ids: {
        "campaign_id": one.campaign_id, "act": "deactivate"}),
    "a campaign deleted": ("campaign_act", lambda one, ids: {"campaign_id": one.campaign_id, "act": "delete"}),
    "launches of a campaign held": ("campaign_act", lambda one, ids: {
        "campaign_id": one.campaign_id, "act": "hold_launches", "reason": "disk"}),
    "several campaigns made inactive": ("campaigns_act", lambda one, ids: {
        "campaign_id": [str(one.campaign_id), str(ids["campaign_id"])], "act": "deactivate"}),
    "several campaigns tagged": ("campaigns_act", lambda one, ids: {
        "campaign_id": [str(one.campaign_id), str(ids["campaign_id"])], "act": "tag", "tag": "new"}),
    "a tag taken off, the last of its kind": ("campaigns_act", lambda one, ids: {
        "campaign_id": str(one.campaign_id), "act": "untag", "tag": "spring"}),
    "launches of a stage held, its schedule removed": ("stage_act", lambda one, ids: {
        "campaign_stage_id": one.stage("gen"), "act": "hold_launches", "clear_cron": "1"}),
    "a split begun again": ("stage_act", lambda one, ids: {
        "campaign_stage_id": one.stage("gen"), "act": "reset_split"}),
    "a schedule removed": ("schedule_delete", lambda one, ids: {"campaign_stage_id": one.stage("gen")}),
    "a watch ended": ("watch", lambda one, ids: {"campaign_id": one.campaign_id, "act": "unwatch"}),
    "a login setup made inactive": ("login_setup_act", lambda one, ids: {
        "login_setup_id": ids["login_setup_id"], "act": "deactivate"}),
    "columns chosen": ("list_columns", lambda one, ids: {"list": "campaigns", "column": "id"}),
    "a held launch deleted": ("held_launches_act", lambda one, ids: {"launch_id": ids["launch_id"], "act": "delete"}),
    "all launches of the experiment held": ("launch_gate", lambda one, ids: {"act": "hold", "reason": "downtime"}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_undo_leaves_everything_as_it_was(site, owner, campaign, items, change):
    """To the last column of the last row, whatever the change touched."""
    spare = made(site, campaign, owner)
    site.world.change(CampaignStage, spare.stage("gen"), cs_last_split={"place": 3})
    word, fields = CHANGES[change]
    browser = site.browser(owner)
    before = everything(site)

    assert browser.post(word, fields(spare, items.ids)).status_int == 303
    assert everything(site) != before
    answer = browser.post("undo", offer_of(browser))

    assert answer.status_int == 303
    assert messages(browser)[0].startswith("Undone: ")
    assert everything(site) == before


def test_a_deleted_job_type_comes_back_with_its_recoveries(site, owner, campaign):
    """The same number, the same recoveries."""
    browser = site.browser(owner)
    browser.post("job_type_save", {"name": "spare", "script": "run", "recoveries": json.dumps(
        [["process_status", [["-O", "1"]]]]), "act": "save_as"})
    before = everything(site)

    browser.post("job_type_act", {"job_type_id": newest(site, "job_types", "job_type_id"), "act": "delete"})
    browser.post("undo", offer_of(browser))

    assert everything(site) == before


@pytest.fixture
def written(site, owner):
    """The number of a campaign that has a text."""
    result = campaigns.save_text(site.core, owner, TEXT.encode(), source="test")
    assert result.problems == ()
    return result.campaign_id


def renamed(site, owner, number):
    browser = site.browser(owner)
    browser.post("campaign_act", {"campaign_id": number, "act": "rename", "new_name": "newer"})
    return browser, offer_of(browser)


def versions_of(site, number):
    """The name of a campaign, and its texts in the order of their numbers."""
    with site.core.db.read() as session:
        row = session.get(Campaign, number)
        texts = session.execute(select(CampaignVersion.number, CampaignVersion.text).where(
            CampaignVersion.campaign_id == number).order_by(CampaignVersion.number)).all()
    assert row.version_number == texts[-1].number == len(texts)
    return row.name, [text for _, text in texts]


def test_a_rename_taken_back_is_one_version_more(site, owner, written, clock):
    """The old name and text to the last byte, under a number that nobody has seen with another text."""
    browser, offer = renamed(site, owner, written)
    clock.advance(60)

    browser.post("undo", offer)

    name, texts = versions_of(site, written)
    assert messages(browser)[0] == "Undone: older renamed to newer"
    assert name == "older" and len(texts) == 3
    assert texts[2] == texts[0] != texts[1]
    with site.core.db.read() as session:
        last = session.scalars(select(CampaignVersion).order_by(CampaignVersion.number.desc())).first()
    assert (last.message, last.created, last.creator) == ("renamed back from newer", clock(), owner.experimenter_id)


def test_a_rename_is_not_taken_back_over_what_was_saved_since(site, owner, written):
    """A version saved since stays, under the new name."""
    browser, offer = renamed(site, owner, written)
    text = campaigns.version_text(site.core, owner, written)
    campaigns.save_text(site.core, owner, (text + "# more\n").encode(), source="test")
    before = versions_of(site, written)

    browser.post("undo", offer)

    assert messages(browser)[0] == "Not undone"
    assert versions_of(site, written) == before and before[0] == "newer"


def test_a_rename_is_not_taken_back_when_the_old_name_is_taken(site, owner, written):
    """Two campaigns of one name there are never."""
    browser, offer = renamed(site, owner, written)
    site.world.campaign_with(stage("gen"), name="older", owner=owner)

    browser.post("undo", offer)

    assert messages(browser)[0] == "Not undone"
    assert versions_of(site, written)[0] == "newer"


def newest(site, table, column):
    with site.core.db.read() as session:
        found = Base.metadata.tables[table]
        return max(session.scalars(select(found.c[column])))


def tagged(site, owner, campaign):
    browser = site.browser(owner)
    browser.post("campaigns_act", {"campaign_id": campaign.campaign_id, "act": "tag", "tag": "spring"})
    return browser, offer_of(browser)


def test_what_changed_since_is_not_undone(site, owner, campaign):
    """Somebody else took the tag off meanwhile: the reason is told, and nothing is changed."""
    browser, offer = tagged(site, owner, campaign)
    other = site.world.person("otto")
    tags.remove_tag(site.core, other, [campaign.campaign_id], tags.find_tag_id(site.core, "samdev", "spring"))
    before = everything(site)

    browser.post("undo", offer)

    assert messages(browser)[:2] == ["Not undone", "Tag spring of mc is gone since. It stays as it is."]
    assert everything(site) == before


def test_one_that_changed_keeps_all_of_them(site, owner, campaign):
    """Of three campaigns made inactive one is active again: none of the others is touched."""
    more = [site.world.campaign_with(stage("gen"), name=name, owner=owner).campaign_id for name in ("two", "three")]
    browser = site.browser(owner)
    browser.post("campaigns_act", {"campaign_id": [campaign.campaign_id, *more], "act": "deactivate"})
    offer = offer_of(browser)
    campaigns.set_active(site.core, owner, [more[1]], True)

    browser.post("undo", offer)

    assert "Campaign three was changed since. It stays as it is." in messages(browser)
    with site.core.db.read() as session:
        assert list(session.scalars(select(Campaign.active).order_by(Campaign.campaign_id))) == [False, False, True]


def test_a_name_that_is_taken_since_is_not_taken_twice(site, owner, campaign):
    """A deleted campaign whose name another one has now stays deleted."""
    spare = made(site, campaign, owner)
    browser = site.browser(owner)
    browser.post("campaign_act", {"campaign_id": spare.campaign_id, "act": "delete"})
    offer = offer_of(browser)
    site.world.campaign_with(stage("gen"), name="between", owner=owner)
    taken = site.world.campaign_with(stage("gen"), name="next", owner=owner)
    site.world.change(Campaign, taken.campaign_id, name="spare")
    before = everything(site)

    browser.post("undo", offer)

    assert messages(browser)[0] == "Not undone"
    assert everything(site) == before


def test_a_tag_that_others_use_since_stays_for_them(site, owner, campaign):
    """Only what this person did is taken back."""
    browser, offer = tagged(site, owner, campaign)
    other = site.world.campaign_with(stage("gen"), name="other", owner=owner)
    campaigns.add_tag(site.core, site.world.person("otto"), [other.campaign_id], "spring")

    browser.post("undo", offer)

    with site.core.db.read() as session:
        assert session.scalars(select(Tag.tag_name)).all() == ["spring"]
    assert len(tags.list_tags(site.core, "samdev", campaign_ids=[campaign.campaign_id])) == 0


def test_an_undo_is_sent_twice_and_done_once(site, owner, campaign):
    """A double click, or a repeated request, is told that it is undone; what came between stays."""
    browser, offer = tagged(site, owner, campaign)
    browser.post("undo", offer)
    campaigns.add_tag(site.core, owner, [campaign.campaign_id], "spring")

    browser.post("undo", offer)

    assert messages(browser)[0].startswith("Undone: ")
    assert len(tags.list_tags(site.core, "samdev", campaign_ids=[campaign.campaign_id])) == 1


def test_after_some_minutes_it_is_too_late(site, owner, campaign, clock):
    """The toast says until when; later it is refused in these words, and the page stays."""
    browser, offer = tagged(site, owner, campaign)
    until = clock() + GOOD_FOR
    clock.advance(GOOD_FOR.total_seconds() + 1)

    answer = browser.post("undo", offer)

    assert answer.headers["Location"] == offer["back"]
    assert messages(browser)[:2] == ["Not undone", f"This could be undone until {until:%H:%M} UTC. It stays as it is."]


def test_what_can_be_undone_no_more_is_forgotten(site, owner, campaign, clock):
    """The next change clears what is too old."""
    tagged(site, owner, campaign)
    clock.advance(GOOD_FOR.total_seconds() + 1)

    site.browser(owner).post("watch", {"campaign_id": campaign.campaign_id, "act": "watch"})
    site.browser(owner).post("watch", {"campaign_id": campaign.campaign_id, "act": "unwatch"})

    with site.core.db.read() as session:
        assert [row.title for row in session.scalars(select(Undo))] == ["You watch mc no more"]


def test_nobody_undoes_what_another_did(site, owner, campaign):
    """Not even who may do more."""
    _, offer = tagged(site, owner, campaign)
    boss = site.browser(site.world.person("boss", SUPERUSER))
    before = everything(site)

    boss.post("undo", {name: value for name, value in offer.items() if name != "csrf_token"})

    assert messages(boss)[0] == "Not undone"
    assert everything(site) == before


def test_it_is_undone_in_the_role_in_which_it_was_done(site, owner, campaign):
    """Acting as something else, a person may have other rights."""
    _, offer = tagged(site, owner, campaign)
    analyst = site.browser(owner)
    analyst.place = f"samdev/{ANALYSIS}"

    answer = analyst.post("undo", {"undo_id": offer["undo_id"]})

    assert answer.status_int == 403
    assert "act as production" in answer.text


def test_a_form_of_another_site_undoes_nothing(site, owner, campaign):
    """As every change, it needs the token of one's session."""
    browser, offer = tagged(site, owner, campaign)
    before = everything(site)

    answer = browser.post("undo", {**offer, "csrf_token": "made up"})

    assert answer.status_int == 403
    assert everything(site) == before


def test_nothing_done_is_nothing_to_undo(site, owner, campaign):
    """A change that changed nothing offers nothing."""
    browser = site.browser(owner)

    browser.post("campaign_act", {"campaign_id": campaign.campaign_id, "act": "activate"})

    assert offer_of(browser) is None


def test_programs_can_undo_too(site, owner, campaign):
    """The answer to a change says where to send which number, and until when."""
    program = site.program(owner)
    answer = program.post("campaigns_act", {"campaign_id": campaign.campaign_id, "act": "deactivate"},
                          headers={"Accept": "application/json"}).json
    undone = program.post("undo", {"undo_id": answer["undo"]["undo_id"]}, headers={"Accept": "application/json"})
    again = program.post("undo", {"undo_id": 999}, headers={"Accept": "application/json"})

    assert answer["undo"]["url"] == program.address("undo")
    assert undone.json["message"].startswith("Undone: ")
    assert again.status_int == 404


def test_an_undo_is_in_the_log_of_the_campaign(site, owner, campaign):
    """Who looks at the campaign later sees both."""
    browser = site.browser(owner)
    browser.post("campaign_act", {"campaign_id": campaign.campaign_id, "act": "deactivate"})
    browser.post("undo", offer_of(browser))

    with site.core.db.read() as session:
        found = session.scalars(select(Event).where(Event.kind == "change.undone")).one()
    assert (found.campaign_id, found.actor, found.data) == (campaign.campaign_id, "olive", {"what": "mc is inactive"})


def test_the_rows_of_other_people_are_not_in_anyones_way(site, owner, campaign):
    """Two people end their watches of the same campaign, and one of them takes that back."""
    otto = site.world.person("otto")
    for person in (owner, otto):
        watches.watch(site.core, person, campaign_id=campaign.campaign_id)
        site.browser(person).post("watch", {"campaign_id": campaign.campaign_id, "act": "unwatch"})
    browser = site.browser(owner)
    watches.watch(site.core, owner, campaign_id=campaign.campaign_id)
    browser.post("watch", {"campaign_id": campaign.campaign_id, "act": "unwatch"})

    browser.post("undo", offer_of(browser))

    with site.core.db.read() as session:
        assert [row.experimenter_id for row in session.scalars(select(Watch))] == [owner.experimenter_id]
