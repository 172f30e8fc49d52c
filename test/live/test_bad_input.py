"""What goes wrong between a person and the server: double clicks, lost connections, logins that end, going back."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from poms.webservice.model import Campaign, JobType, LoginSetup, Submission
from poms.webservice.services import blocks, campaigns, schedules, tags
from poms.webservice.services.blocks import JobTypeChange, LoginSetupChange
from poms.webservice.testing.world import stage

pytestmark = pytest.mark.browser


@pytest.fixture
def olive(site):
    return site.world.person("olive")


@pytest.fixture
def campaign(site, olive):
    return site.world.campaign_with(stage("gen"), name="mc", owner=olive)


@pytest.fixture
def setup(site, olive):
    return blocks.save_login_setup(site.core, olive, "here", LoginSetupChange(
        host="localhost", account="me", setup="source old"), add=True)


def stored(site, number):
    with site.core.db.read() as session:
        return session.get(LoginSetup, number).launch_setup


def submissions(site):
    with site.core.db.read() as session:
        return session.scalar(select(func.count()).select_from(Submission))


# -------------------------------------------------------------------------------- sent more than once


def test_a_double_click_launches_once(site, olive, campaign, tab):
    """The second click of a hurried hand is not a second launch."""
    tab.goto(site.url("stage", campaign.stage("gen")))
    tab.click("button:text-is('Launch…')")

    tab.dblclick("dialog:modal >> text=Launch stage")
    tab.wait_for_url("**/submission/**")

    assert submissions(site) == 1


def test_the_same_launch_sent_again_after_a_lost_answer_is_one(site, olive, campaign, tab):
    """The server did it, the answer got lost, the browser sends the same form again."""
    tab.goto(site.url("stage", campaign.stage("gen")))
    seen = []

    def lose(route):
        seen.append(route.request.post_data)
        if len(seen) == 1:
            route.fetch(max_redirects=0)
            route.abort()
        else:
            route.continue_()

    tab.route("**/launch_stage/**", lose)
    tab.click("button:text-is('Launch…')")
    with tab.expect_event("requestfailed"):
        tab.click("dialog:modal >> text=Launch stage")
    assert submissions(site) == 1

    answer = tab.context.request.post(site.url("launch_stage"), data=seen[0].encode(), max_redirects=0, headers={
        "Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"})

    assert answer.status == 303
    assert submissions(site) == 1


def test_a_button_can_be_pressed_again_when_nobody_answered(site, olive, setup, tab):
    """An answer that never came must not leave a form that cannot be sent."""
    tab.clock.install()
    tab.goto(site.url("login_setup", setup))
    tab.eval_on_selector("form[data-draft]", """form => form.addEventListener(
        'submit', event => event.preventDefault(), {once: true})""")
    tab.get_by_label("Setup", exact=True).fill("source new")
    tab.click("text=Save login setup")
    tab.clock.run_for(20_000)

    tab.click("text=Save login setup")
    tab.wait_for_selector(".toast >> text=Saved here")

    assert stored(site, setup) == "source new"


# -------------------------------------------------------------------------------- lost on the way


def opened(tab, address):
    tab.goto(address)
    tab.wait_for_load_state("networkidle")


def put_back(tab):
    tab.click("text=Put it back")


def test_a_lost_connection_loses_nothing_that_was_typed(site, olive, setup, tab):
    """The page that could not be sent is opened again, and offers what was typed."""
    opened(tab, site.url("login_setup", setup))
    tab.get_by_label("Setup", exact=True).fill("source new\nand more")
    tab.context.set_offline(True)
    with tab.expect_event("requestfailed"):
        tab.click("text=Save login setup")
    tab.context.set_offline(False)
    assert stored(site, setup) == "source old"

    opened(tab, site.url("login_setup", setup))
    put_back(tab)
    tab.click("text=Save login setup")
    tab.wait_for_selector(".toast >> text=Saved here")

    assert stored(site, setup) == "source new\nand more"
    assert tab.locator("text=What you typed here was not saved").count() == 0


def test_a_login_that_ended_loses_nothing_that_was_typed(site, olive, setup, tab):
    """The front end does not know the person any more; after signing in the form offers what was typed."""
    opened(tab, site.url("login_setup", setup))
    tab.get_by_label("Setup", exact=True).fill("source new")
    tab.context.set_extra_http_headers({})
    tab.click("text=Save login setup")
    tab.wait_for_selector("text=Sign in")
    assert stored(site, setup) == "source old"

    tab.context.set_extra_http_headers(site.headers())
    opened(tab, site.url("login_setup", setup))
    put_back(tab)
    tab.click("text=Save login setup")
    tab.wait_for_selector(".toast >> text=Saved here")

    assert stored(site, setup) == "source new"


def test_a_session_that_ended_loses_nothing_that_was_typed(site, olive, tab):
    """The form's token is of a session that is gone: refused, and offered again, rows included."""
    number = blocks.save_job_type(site.core, olive, "sim", JobTypeChange(launch_script="run"), add=True)
    opened(tab, site.url("job_type", number))
    group = tab.get_by_role("group", name="Parameters")
    group.get_by_role("button", name="Pair").click()
    tab.keyboard.type("-N")
    tab.context.clear_cookies()
    tab.click("text=Save job type")
    tab.wait_for_selector("text=nothing was changed")

    opened(tab, site.url("job_type", number))
    put_back(tab)
    assert group.get_by_label("Key").input_value() == "-N"
    tab.click("text=Save job type")
    tab.wait_for_selector(".toast >> text=Saved sim")

    with site.core.db.read() as session:
        assert session.get(JobType, number).definition_parameters == [["-N", ""]]


def test_back_after_a_refusal_shows_what_was_typed(site, olive, setup, tab):
    """From the page that says what is wrong, Back leads to the form with every word in it, or offers it."""
    opened(tab, site.url("login_setup_new"))
    tab.get_by_label("Name").fill("here")
    tab.get_by_label("Host").fill("gpvm")
    tab.click("text=Make login setup")
    tab.wait_for_selector("text=already exists")
    assert tab.get_by_label("Host").input_value() == "gpvm"

    tab.go_back()
    tab.wait_for_load_state("networkidle")
    if tab.locator("text=Put it back").count():
        put_back(tab)

    assert tab.get_by_label("Host").input_value() == "gpvm"


def test_what_was_saved_is_not_offered_again(site, olive, tab):
    """A new login setup was made: its empty form is empty the next time."""
    opened(tab, site.url("login_setup_new"))
    tab.get_by_label("Name").fill("made")
    tab.get_by_label("Host").fill("gpvm")
    tab.click("text=Make login setup")
    tab.wait_for_selector(".toast >> text=Made made")
    tab.wait_for_function("Object.keys(sessionStorage).length === 0")

    opened(tab, site.url("login_setup_new"))

    assert tab.get_by_label("Name").input_value() == ""
    assert tab.locator("text=Put it back").count() == 0


def test_what_is_not_wanted_any_more_is_forgotten(site, olive, setup, tab):
    """One press, and it is not offered a second time."""
    opened(tab, site.url("login_setup", setup))
    tab.get_by_label("Setup", exact=True).fill("a bad idea")
    tab.get_by_label("Account").focus()
    opened(tab, site.url("login_setup", setup))
    tab.click("text=Forget it")

    opened(tab, site.url("login_setup", setup))

    assert tab.locator("text=Put it back").count() == 0
    assert tab.get_by_label("Setup", exact=True).input_value() == "source old"


def test_a_schedule_that_was_typed_is_kept_too(site, olive, campaign, tab):
    """As every form in which one writes more than a word."""
    opened(tab, site.url("schedule", campaign.stage("gen")))
    tab.locator("[name=cron]").first.fill("7 3 * * 1")
    tab.context.set_offline(True)
    with tab.expect_event("requestfailed"):
        tab.locator("form[data-draft=cron] button:text-is('Save schedule')").click()
    tab.context.set_offline(False)

    opened(tab, site.url("schedule", campaign.stage("gen")))
    put_back(tab)
    tab.locator("form[data-draft=cron] button:text-is('Save schedule')").click()
    tab.wait_for_selector(".toast")

    assert schedules.describe(site.core, olive, campaign.stage("gen")).cron == "7 3 * * 1"


# -------------------------------------------------------------------------------- taken back


def active(site, campaign):
    with site.core.db.read() as session:
        return session.get(Campaign, campaign.campaign_id).active


def inactive(site, campaign, tab):
    opened(tab, site.url("campaign", campaign.campaign_id))
    tab.evaluate("""document.querySelector('form [name=act][value=deactivate]').form.requestSubmit()""")
    tab.wait_for_selector(".toast >> text=mc is inactive")
    assert not active(site, campaign)


def test_a_change_is_undone_by_its_toast(site, olive, campaign, tab):
    """One press, back on the same page, and everything is as it was."""
    inactive(site, campaign, tab)
    here = tab.url

    tab.click(".toast >> text=Undo")
    tab.wait_for_selector(".toast >> text=Undone: mc is inactive")

    assert tab.url == here
    assert active(site, campaign)


def test_a_change_is_undone_by_keyboard(site, olive, campaign, tab):
    """Ctrl+Z, as everywhere; in a field it is the field's own undo."""
    inactive(site, campaign, tab)
    tab.focus("[data-search]")
    tab.keyboard.press("Control+z")
    assert tab.locator(".toast >> text=Undo").count() == 1
    tab.focus("h1 >> xpath=ancestor::main")

    tab.keyboard.press("Control+z")
    tab.wait_for_selector(".toast >> text=Undone")

    assert active(site, campaign)


def test_without_scripts_there_is_a_notice_with_the_button(site, olive, campaign, chromium):
    """At the top of the page, where it is seen; the toast of scripts does not stand beside it."""
    campaigns.add_tag(site.core, olive, [campaign.campaign_id], "spring")
    context = chromium.new_context(java_script_enabled=False, extra_http_headers=site.headers())
    plain = context.new_page()
    plain.goto(site.url("campaign", campaign.campaign_id))
    plain.locator("form:has([value=untag]) button").first.click()
    plain.wait_for_selector(".notice >> text=lost the tag spring")
    assert not plain.locator(".toast").is_visible()

    plain.click(".notice >> text=Undo")
    plain.wait_for_selector(".toast >> text=Undone")
    context.close()

    assert [tag["tag_name"] for tag in tags.list_tags(site.core, "samdev", campaign_ids=[campaign.campaign_id])] == [
        "spring"]
