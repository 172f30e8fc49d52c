"""Watching in the browser and by programs: the button, the page of one's watches, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from poms.webservice import app
from poms.webservice.agent import notify
from poms.webservice.rules.permissions import ANALYSIS
from poms.webservice.services import tasks
from poms.webservice.testing.fakes import installed_plugins
from poms.webservice.testing.fixtures import make_service
from poms.webservice.testing.notifier import FakeChannels
from poms.webservice.testing.world import World

TEXT = """
[identity]
sources = proxy
[notify]
channels = fake, other
"""


@pytest.fixture
def channels():
    return FakeChannels()


@pytest.fixture
def site(sqlite_database, tmp_path, clock, channels, site):
    """The same site with two channels by which people can be told."""
    service = make_service(sqlite_database, tmp_path, clock, text=TEXT,
                           plugins=[*installed_plugins("proxy_identity"), channels])
    site.core, site.world = service.core, World(service.core, service.fakes)
    site.wsgi, site.secret = app.build(service.core), service.core.settings.secret("identity_proxy")
    return site


@pytest.fixture
def browser(site, owner):
    return site.browser(owner)


def text_of(answer):
    return " ".join(answer.html.get_text(" ").split())


def button(page):
    form = page.html.find("form", action=lambda action: "/poms/watch/" in (action or ""))
    return form.button.text.strip(), {field["name"]: field["value"] for field in form.find_all("input")}


@pytest.mark.parametrize(("word", "item"), [("campaign", "campaign_id"), ("stage", "campaign_stage_id")])
def test_a_button_watches_and_ends_it(site, browser, campaign, word, item):
    """On both pages the same button, which says how it is."""
    number = {"campaign_id": campaign.campaign_id, "campaign_stage_id": campaign.stage("gen")}[item]
    for label in ("Watch", "Watching", "Watch"):
        shown, fields = button(browser.get(word, number))
        assert (shown, fields[item]) == (label, str(number))
        answer = browser.post("watch", {name: value for name, value in fields.items() if name != "csrf_token"})
        assert answer.headers["Location"].startswith(f"/poms/{word}/samdev/")


def test_who_may_only_look_may_watch(site, campaign):
    """It changes nothing of the campaign."""
    other = site.browser(site.world.person("anna", ANALYSIS))

    assert other.post("watch", {"campaign_id": campaign.campaign_id}).status_int == 303
    assert "mc" in text_of(other.get("watches"))
    assert "You watch nothing" in text_of(site.browser(campaign.owner).get("watches"))


def test_what_is_told_is_changed_on_the_page(site, browser, campaign):
    """Boxes for each kind of news; none is refused; a watch ends with a press."""
    browser.post("watch", {"campaign_id": campaign.campaign_id})
    boxes = [box["value"] for box in browser.get("watches").html.find_all("input", {"name": "about"}) if
             box.has_attr("checked")]
    assert boxes == ["finished", "attention", "approval", "held"]

    assert browser.post("watch_change", {"watch_id": 1, "about": ["next", "recovery"]}).status_int == 303
    assert "recovery, next" in text_of(browser.get("watches"))
    assert browser.post("watch_change", {"watch_id": 1}).status_int == 400
    browser.post("watch_change", {"watch_id": 1, "act": "end"})

    assert "You watch nothing" in text_of(browser.get("watches"))


def test_an_address_is_kept_and_its_key_is_its_owners(site, browser, owner):
    """The key that signs is shown to nobody else; an empty address ends it."""
    browser.post("watch_address", {"channel": "fake", "address": "to:olive"})

    page = browser.get("watches")
    assert page.html.find("input", {"name": "address"})["value"] == "to:olive"
    assert "secret of olive" in page.text
    assert "secret of" not in site.browser(site.world.person("anna")).get("watches").text
    browser.post("watch_address", {"channel": "fake", "address": ""})
    assert "secret of" not in browser.get("watches").text


@pytest.mark.parametrize(("word", "fields", "field", "shown"), [
    ("watch_address", {"channel": "fake", "address": '"><b>olive'}, "address", "does not begin with to:"),
    ("watch_times", {"every": "1h", "quiet": "late <b>", "time_zone": "UTC"}, "quiet", "are no hours"),
    ("watch_times", {"every": "1h", "quiet": "", "time_zone": "Moon"}, "time_zone", "is no time zone")])
def test_a_mistake_is_told_beside_what_was_typed(site, browser, owner, word, fields, field, shown):
    """People get the form again, programs an answer of status 400."""
    page = browser.post(word, fields)

    assert page.status_int == 400 and shown in text_of(page)
    assert page.html.find("input", {"name": field})["value"] in fields.values()
    assert page.html.find("b", string="olive") is None
    assert site.program(owner).post(word, fields).status_int == 400


def test_a_test_message_is_sent_and_shown(site, browser, owner, channels):
    """With how it went, also when it did not."""
    browser.post("watch_address", {"channel": "fake", "address": "to:olive"})
    channels.fake.fail("send")
    browser.post("watch_test", {"channel": "fake"})
    assert "Waiting" in text_of(browser.get("watches"))
    notify.run(site.core, tasks.take(site.core, "notify", "agent", 60))

    page = text_of(browser.get("watches"))
    assert "test message" in page and "next attempt" in page and "no answer" in page
    assert browser.post("watch_test", {"channel": "fake"}).status_int == 409


def test_a_channel_that_cannot_be_used_says_so(site, browser, channels, monkeypatch):
    """The rest of the page is there."""
    def broken(self, username, address):
        raise OSError("no key")

    browser.post("watch_address", {"channel": "fake", "address": "to:olive"})
    monkeypatch.setattr(type(channels.fake), "shown_secret", broken)

    page = browser.get("watches")
    assert page.status_int == 200
    assert "cannot be used now" in text_of(page)


def test_programs_read_and_change_the_same(site, owner, campaign):
    """What a client needs, in plain data."""
    program = site.program(owner)
    made = program.post("watch", {"campaign_stage_id": campaign.stage("gen"), "about": "finished", "fmt": "json"}).json
    assert made["about"] == ["finished"]
    program.post("watch_times", {"every": "6h", "quiet": "22:00-07:00", "time_zone": "Europe/Zurich"})

    found = program.get("watch_list").json

    assert found["settings"] == {"every": "6h", "quiet": "22:00-07:00", "time_zone": "Europe/Zurich"}
    assert [(row["kind"], row["stage"], row["news"]) for row in found["watches"]] == [("stage", "gen", ["finished"])]
    assert [row["name"] for row in found["channels"]] == ["fake", "other"]


def test_one_thing_is_watched_at_a_time(site, owner, campaign):
    """Neither none nor two."""
    program = site.program(owner)

    assert program.post("watch").status_int == 400
    assert program.post("watch", {"campaign_id": campaign.campaign_id,
                                  "campaign_stage_id": campaign.stage("gen")}).status_int == 400


def test_a_service_without_channels_says_so(site, owner):
    """People can watch; who could tell them is the operator's business."""
    settings = replace(site.core.settings, notify=replace(site.core.settings.notify, channels=()))
    bare = replace(site.core, settings=settings)
    site.wsgi = app.build(bare)

    assert "Nothing is sent here" in text_of(site.browser(owner).get("watches"))
