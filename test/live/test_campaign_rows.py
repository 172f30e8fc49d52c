"""What may be done to one campaign straight from the list of campaigns: by mouse, by keyboard, and without scripts."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from poms.webservice.model import Campaign, CampaignTag, Submission, Tag
from poms.webservice.rules.permissions import ANALYSIS
from poms.webservice.services import campaigns
from poms.webservice.testing.browser import NARROW
from poms.webservice.testing.browser import tab as a_tab
from poms.webservice.testing.world import stage

pytestmark = pytest.mark.browser
HOSTILE = """a"'><b>&{{7*7}}"""
TEXT = f"""[campaign]
name = {HOSTILE}
experiment = samdev

[campaign_stage only]
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


@pytest.fixture
def olive(site):
    return site.world.person("olive")


@pytest.fixture
def made(site, olive):
    """Two campaigns: one that begins with either of two stages, one with a name that nobody would want."""
    assert campaigns.save_text(site.core, olive, TEXT.encode(), source="test").problems == ()
    return site.world.campaign_with(stage("gen"), stage("other"), stage("reco", after="gen"), name="mc", owner=olive)


def act(tab, name, item):
    """Choose an item of the menu of a campaign's row."""
    row = tab.locator("tbody tr").filter(has=tab.get_by_role("link", name=name, exact=True))
    row.locator(".menu--row summary").click()
    row.locator(".menu--row .menu__list").get_by_text(item).click()


def names(site):
    with site.core.db.read() as session:
        return sorted(session.scalars(select(Campaign.name)))


def test_a_campaign_is_renamed_from_its_row_and_back(site, made, tab):
    """The field holds the old name; the toast takes it back; one stays on the list with its filter."""
    tab.goto(site.url("campaigns") + "?view=all&sort=name")
    act(tab, HOSTILE, "Rename…")
    dialog = tab.locator("dialog:modal")
    assert dialog.get_by_role("heading").inner_text() == f"Rename {HOSTILE}"
    assert dialog.get_by_label("New name").input_value() == HOSTILE

    dialog.get_by_label("New name").fill("kind")
    tab.keyboard.press("Enter")
    tab.wait_for_selector(".toast >> text=is kind now")
    assert names(site) == ["kind", "mc"] and tab.url.endswith("?view=all&sort=name")
    tab.click(".toast >> text=Undo")
    tab.wait_for_selector(".toast >> text=Undone")

    assert names(site) == sorted([HOSTILE, "mc"]) and tab.url.endswith("?view=all&sort=name")


def test_tags_are_put_on_and_taken_off_from_a_row(site, made, tab):
    """Only tags that it carries can be taken off."""
    def tags():
        with site.core.db.read() as session:
            return [tuple(row) for row in session.execute(select(CampaignTag.campaign_id, Tag.tag_name).join(
                Tag, Tag.tag_id == CampaignTag.tag_id).order_by(Tag.tag_name))]

    tab.goto(site.url("campaigns"))
    for tag in ('"spring"', "autumn"):
        act(tab, "mc", "Add a tag…")
        assert tab.input_value("#row-tag-name") == ""
        tab.keyboard.type(tag)
        tab.keyboard.press("Enter")
        tab.wait_for_selector(f".toast >> text=carry the tag {tag}")
    assert tags() == [(made.campaign_id, '"spring"'), (made.campaign_id, "autumn")]

    act(tab, "mc", "Take a tag off…")
    assert tab.locator("#row-untag-name option").all_inner_texts() == ['"spring"', "autumn"]
    tab.select_option("#row-untag-name", "autumn")
    tab.click("dialog:modal >> text=Take tag off >> nth=-1")
    tab.wait_for_selector(".toast >> text=lost the tag autumn")

    assert tags() == [(made.campaign_id, '"spring"')]


def test_a_launch_from_a_row_begins_where_one_says(site, made, tab):
    """Stages that another feeds are no beginnings."""
    tab.goto(site.url("campaigns"))
    act(tab, "mc", "Launch…")
    assert tab.locator("#row-launch-stage option").all_inner_texts() == ["gen", "other"]

    tab.select_option("#row-launch-stage", label="other")
    tab.click("dialog:modal >> text=Launch campaign")
    tab.wait_for_selector(".toast >> text=Launched mc")

    with site.core.db.read() as session:
        assert session.scalars(select(Submission.campaign_stage_id)).all() == [made.stage("other")]


def test_a_campaign_is_cloned_and_deleted_from_its_row(site, made, tab):
    """The clone's page is shown; deleted, the list is, with Undo. What was launched is not offered for deletion."""
    site.world.submission(made, "gen")
    tab.goto(site.url("campaigns"))
    assert tab.locator("tr", has_text="reco").locator("a[data-ask=row-delete]").count() == 0
    act(tab, HOSTILE, "Clone…")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("h1 >> text=_copy")
    assert names(site) == sorted([HOSTILE, f"{HOSTILE}_copy", "mc"])

    tab.goto(site.url("campaigns"))
    act(tab, f"{HOSTILE}_copy", "Delete…")
    assert "_copy" in tab.locator("dialog:modal h2").inner_text()
    tab.click("dialog:modal >> text=Delete campaign")
    tab.wait_for_selector(".toast >> text=Deleted")

    assert names(site) == sorted([HOSTILE, "mc"])


def test_a_row_is_worked_by_keyboard(site, made, tab):
    """Arrow keys walk the menu, Escape leaves a question as if it had not been asked, and the focus comes back."""
    tab.goto(site.url("campaigns") + "?sort=-name&text=mc")
    menu = tab.get_by_label("What to do with mc")
    menu.focus()
    for key in ("ArrowDown", "End"):
        tab.keyboard.press(key)
    assert tab.evaluate("document.activeElement.innerText") == "Delete…"
    tab.keyboard.press("Enter")
    tab.wait_for_selector("dialog:modal")
    tab.keyboard.press("Escape")
    assert menu.evaluate("one => one === document.activeElement")

    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("End")
    tab.keyboard.press("ArrowUp")
    tab.keyboard.press("Enter")
    tab.wait_for_selector(".toast >> text=mc is inactive")

    with site.core.db.read() as session:
        assert session.get(Campaign, made.campaign_id).active is False


@pytest.mark.parametrize("size", [NARROW, (1280, 900)])
def test_the_menu_of_the_last_row_is_seen_whole(site, olive, chromium, size):
    """Also at the end of the list, where the table would cut it off."""
    site.world.campaign_with(stage("gen"), name="a" * 120, owner=olive)
    with a_tab(chromium, size=size) as tab:
        tab.context.set_extra_http_headers(site.headers())
        tab.goto(site.url("campaigns"))
        tab.click(".menu--row summary")
        items = tab.locator(".menu--row .menu__list > *")
        for item in items.all():
            item.scroll_into_view_if_needed()
            assert item.evaluate("""one => {
                const box = one.getBoundingClientRect();
                const seen = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
                return box.x >= 0 && box.right <= innerWidth && one.contains(seen);
            }""")
        assert items.count() == 9
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_without_scripts_questions_are_asked_on_the_page_of_the_campaign(site, made, chromium):
    """The menu opens, and its items lead to where it can be done."""
    context = chromium.new_context(java_script_enabled=False, extra_http_headers=site.headers())
    tab = context.new_page()
    tab.goto(site.url("campaigns"))
    act(tab, "mc", "Rename…")
    assert tab.url == site.url("campaign", made.campaign_id)

    tab.goto(site.url("campaigns"))
    act(tab, "mc", "Make inactive")
    assert "mc is inactive" in tab.content()
    context.close()


def test_the_list_is_of_one_role_if_asked(site, made, olive, tab):
    """All, production or analysis; the choice is in the address and stays while one filters and turns."""
    anna = site.world.person("anna", role=ANALYSIS)
    site.world.campaign_with(stage("gen"), name="plots", owner=anna)
    campaigns.set_active(site.core, anna, [site.world.campaign_with(name="old plots", owner=anna).campaign_id], False)
    tab.goto(site.url("campaigns"))
    shown = tab.locator("tbody .withmenu > div > a")
    assert shown.count() == 3

    tab.get_by_role("group", name="Campaigns of which role").get_by_text("Analysis").click()
    assert shown.all_inner_texts() == ["plots"]
    tab.fill(".toolbar input[name=text]", "old")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("text=No campaign fits")
    tab.get_by_role("navigation", name="Which campaigns").get_by_text("Inactive").click()
    tab.wait_for_selector("tbody")

    assert shown.all_inner_texts() == ["old plots"]
    assert "made_as=analysis" in tab.url
