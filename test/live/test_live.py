"""Open pages: told of a change at once, asking for nothing as long as nothing changed."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from poms.webservice.rules.statuses import Status
from poms.webservice.services import campaigns, holds, submissions
from poms.webservice.testing.world import stage

SOON_MS = 30_000


@pytest.fixture
def campaign(site):
    olive = site.world.person("olive")
    return site.world.campaign_with(stage("gen"), stage("reco", after="gen"), name="mc", owner=olive)


def change(site, number, status):
    with site.core.db.write() as session:
        submissions.change_status(session, submissions.lock(session, number), status, at=site.core.clock(),
                                  actor="poms", by_person=True)


def feed_of(site, word, *path):
    """The address at which a page asks."""
    page = requests.get(site.url(word, *path), headers={**site.headers(), "Accept": "text/html"}, timeout=30)
    return site.address + re.search(r'data-events="([^"]+)"', page.text)[1].replace("&amp;", "&")


# --------------------------------------------------------------------------------- in a browser


@pytest.mark.browser
@pytest.mark.parametrize("word", ["submission", "stage", "campaign", "home", "campaigns", "submissions", "launch_log"])
def test_a_change_of_state_reaches_an_open_page(site, campaign, tab, word):
    """Pages that would not refresh by themselves for a day show it all the same, where it stands."""
    number = site.world.submission(campaign, "gen")
    item = {"submission": [number], "stage": [campaign.stage("gen")], "campaign": [campaign.campaign_id],
            "launch_log": [number]}
    tab.goto(site.url(word, *item.get(word, [])))
    # In lists a state is a shape with a name; what offers to filter by states is outside the live parts.
    told = """() => [...document.querySelectorAll('main [data-live]')]
        .some(part => part.innerHTML.includes('LaunchFailed'))"""
    assert tab.evaluate(told) is False
    tab.evaluate("document.querySelector('main').mine = true")

    change(site, number, Status.LAUNCH_FAILED)
    tab.wait_for_function(told, timeout=SOON_MS)

    assert tab.evaluate("document.querySelector('main').mine") is True


@pytest.mark.browser
def test_a_launch_that_is_held_reaches_the_open_list(site, campaign, tab):
    """Whoever looks at the held launches sees the next one come."""
    olive = site.world.person("olive")
    holds.hold_campaign(site.core, olive, campaign.campaign_id, hold=True, reason="disk")
    tab.goto(site.url("held_launches"))
    rows = tab.locator("[data-live=held] tbody tr")
    campaigns.launch_campaign(site.core, olive, campaign.campaign_id, "first")
    tab.reload()
    assert rows.count() == 1

    campaigns.launch_campaign(site.core, olive, campaign.campaign_id, "second", stage_id=campaign.stage("reco"))

    rows.nth(1).wait_for(timeout=SOON_MS)


@pytest.mark.browser
def test_a_page_asks_for_nothing_while_nothing_changes(site, campaign, tab):
    """Only whether something changed; what happens elsewhere does not matter to it."""
    number = site.world.submission(campaign, "gen")
    other = site.world.submission(campaign, "reco")
    asked, pages = [], []
    tab.on("response", lambda answer: asked.append(answer.status) if "/changes" in answer.url else pages.append(
        answer.url))
    tab.goto(site.url("submission", number))
    # The first question finds the reader asleep: the page looks once to be sure.
    tab.wait_for_function("() => performance.getEntriesByType('resource').filter(one => "
                          "one.name.includes('/changes')).length >= 4", timeout=SOON_MS)
    pages.clear()
    change(site, other, Status.FAILED)
    seen = len(asked)
    tab.wait_for_function(f"() => performance.getEntriesByType('resource').filter(one => "
                          f"one.name.includes('/changes')).length >= {seen + 3}", timeout=SOON_MS)

    assert [address for address in pages if "/submission/" in address] == []
    assert set(asked[seen:]) == {204}


@pytest.mark.browser
def test_a_change_waits_until_a_question_is_closed(site, campaign, tab):
    """Nothing moves under somebody who is about to press a button; afterwards it is told without delay."""
    number = site.world.submission(campaign, "gen")
    tab.goto(site.url("stage", campaign.stage("gen")))
    tab.click("button[popovertarget=launch]")
    tab.wait_for_selector("dialog:modal")
    with tab.expect_response(lambda answer: "/changes" in answer.url and answer.status == 200, timeout=SOON_MS):
        change(site, number, Status.FAILED)
    assert tab.locator("main h1 ~ * >> text=Failed").count() == 0

    tab.keyboard.press("Escape")

    tab.wait_for_selector("[data-live=head] >> text=Failed", timeout=SOON_MS)


# ------------------------------------------------------------------------------- the address


def test_nothing_new_is_no_content(site, campaign):
    """After a change there is a newer moment, with which nothing is new again."""
    number = site.world.submission(campaign, "gen")
    address = feed_of(site, "submission", number)

    def ask(url):
        return requests.get(url, timeout=30)

    def moved(url):
        answer = ask(url)
        while answer.status_code == 204:
            answer = ask(url)
        return re.sub(r"since=\d+", f"since={answer.text}", url)

    def settled(url):
        """What is seen of one transaction may come in more than one look."""
        while ask(url).status_code != 204:
            url = moved(url)
        return url

    address = settled(moved(address))
    assert ask(address).content == b""
    change(site, number, Status.FAILED)
    newer = settled(moved(address))

    assert newer != address
    assert ask(newer).status_code == 204


@pytest.mark.parametrize("spoil", [
    lambda query: query | {"of": "submission.2"}, lambda query: query | {"key": "0" * 40},
    lambda query: query | {"key": ""}, lambda query: query | {"key": "ä\x00"}, lambda query: query | {"until": "1"},
    lambda query: query | {"until": "9" * 18}, lambda query: query | {"until": "x"},
    lambda query: query | {"since": "-1"}, lambda query: query | {"since": "9" * 400},
    lambda query: {"of": "experiment.samdev"}, lambda query: {}])
def test_only_addresses_from_our_pages_are_answered(site, campaign, spoil):
    """They need no identity, so they can be neither made up nor changed nor kept for ever."""
    number = site.world.submission(campaign, "gen")
    address = urlsplit(feed_of(site, "submission", number))
    query = {name: values[0] for name, values in parse_qs(address.query).items()}

    answer = requests.get(f"{site.address}{address.path}", params=spoil(query), timeout=30)

    assert (answer.status_code, answer.content) == (403, b"")


def test_it_only_reads(site, campaign):
    """Other methods are refused."""
    address = feed_of(site, "home")

    assert requests.post(address, timeout=30).status_code == 405
    assert requests.head(address, timeout=30).status_code in (200, 204)


def test_pages_that_do_not_change_do_not_ask(site, campaign):
    """A page without live parts has no such address."""
    page = requests.get(site.url("samples"), headers={**site.headers(), "Accept": "text/html"}, timeout=30)

    assert "data-events" not in page.text


def test_the_address_does_not_make_a_page_new(site, campaign):
    """A page that shows nothing new is still not sent again."""
    headers = {**site.headers(), "Accept": "text/html"}
    first = requests.get(site.url("home"), headers=headers, timeout=30)
    again = requests.get(site.url("home"), headers={**headers, "If-None-Match": first.headers["ETag"]}, timeout=30)

    assert again.status_code == 304
