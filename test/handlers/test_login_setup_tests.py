"""Tests of login setups by button, by program and by the address of older clients; who may, and what they see."""

from __future__ import annotations

import pytest

from poms.webservice.rules.permissions import ANALYSIS, SHIFTER
from poms.webservice.services import blocks, launch_logs, login_setup_tests
from poms.webservice.services.blocks import LoginSetupChange


@pytest.fixture
def number(site, owner):
    """A login setup of production."""
    change = LoginSetupChange(host="localhost", setup="true")
    return blocks.save_login_setup(site.core, owner, "here", change, add=True)


def do_an_agents_part(site):
    return [login_setup_tests.work_on(site.core, each) for each in login_setup_tests.claim(site.core, "agent", 10)]


def test_the_button_leads_to_the_log(site, owner, number):
    """Pressed on the login setup's page; its result stands there and in the list afterwards."""
    browser = site.browser(owner)
    page = browser.get("login_setup", number)
    assert "Never tested" in page.text
    assert page.html.select_one("form[action*=login_setup_test] button").text.strip() == "Test this login setup"

    answer = browser.post("login_setup_test", {"login_setup_id": str(number)})

    assert answer.headers["Location"] == f"/poms/login_setup_log/samdev/production/{number}/1"
    assert browser.get("login_setup_log", number, 1).html.select_one(".chip").text.strip() == "New"
    assert do_an_agents_part(site) == ["failed"]
    log = browser.get("login_setup_log", number, 1)
    assert log.html.select_one(".chip").text.strip() == "Failed"
    assert log.html.select_one("pre[data-log]")["data-done"] == "yes"
    assert "failed" in browser.get("login_setup", number).html.select_one("[data-live=tests]").text
    row = site.program(owner).get("login_setups", fmt="json").json["blocks"][0]
    assert row["test"]["state"] == "failed"
    assert "failed" in browser.get("login_setups").html.select_one("[data-head=Tested]").text


def test_a_form_of_another_page_tests_nothing(site, owner, number):
    """A page elsewhere cannot make a browser log in anywhere."""
    answer = site.browser(owner).post("login_setup_test", {"login_setup_id": str(number), "csrf_token": "wrong"})

    assert answer.status_int == 403
    assert do_an_agents_part(site) == []


def test_reading_tests_nothing(site, owner, number):
    """GET is refused: a link cannot begin a test."""
    assert site.browser(owner).get("login_setup_test", login_setup_id=number).status_int == 405
    assert do_an_agents_part(site) == []


@pytest.mark.parametrize(("role", "status"), [(SHIFTER, 200), (ANALYSIS, 403)])
def test_who_may_launch_with_it_may_test_it(site, number, role, status):
    """A shifter may, somebody in the analysis role may not test what belongs to production."""
    who = site.world.person(f"{role}-person", role)

    assert site.program(who).post("login_setup_test", {"login_setup_id": "here", "fmt": "json"}).status_int == status
    shown = site.browser(who).get("login_setup", number).html.select("form[action*=login_setup_test]")
    assert bool(shown) is (status == 200)


def test_programs_name_it_and_follow_the_log(site, owner, number):
    """The number of the test, pieces of its log, then what came of it."""
    person = site.program(owner)
    begun = person.post("login_setup_test", {"login_setup_id": "here", "fmt": "json"}).json
    which = (begun["login_setup_id"], begun["test_id"])
    assert which == (number, 1)
    assert person.get("login_setup_log_piece", *which).json == {
        "text": "", "offset": 0, "done": False, "state": "queued", "message": ""}
    do_an_agents_part(site)
    with launch_logs.path_of(site.core, login_setup_tests.get(site.core, *which).log_name).open("ab") as log:
        log.write("über alles".encode())

    piece = person.get("login_setup_log_piece", *which).json

    assert (piece["done"], piece["state"]) == (True, "failed")
    assert piece["text"].endswith("über alles")
    assert person.get("login_setup_log_text", *which).text == piece["text"]
    assert person.get("login_setup_log_piece", *which, offset=piece["offset"]).json["text"] == ""


def test_an_older_client_s_address(site, owner, number):
    """It sends the number under another name, and a stage that is none."""
    answer = site.program(owner).post("launch_login_setup", {"test_login_setup": str(number),
                                                             "campaign_stage_id": "None"})

    assert answer.status_int == 303
    assert answer.headers["Location"].endswith(f"/{number}/1")


@pytest.mark.parametrize("word", ["login_setup_log", "login_setup_log_piece", "login_setup_log_text"])
def test_a_log_is_its_login_setup_s(site, owner, number, word):
    """Neither another login setup's nor another experiment's."""
    site.program(owner).post("login_setup_test", {"login_setup_id": str(number)})
    stranger = site.world.person("eve", experiment="dune")

    assert site.program(owner).get(word, number, 1).status_int == 200
    assert site.program(owner).get(word, number, 2).status_int == 404
    assert site.program(stranger).get(word, number, 1).status_int == 404


def test_what_a_setup_prints_is_text(site, owner):
    """On the page of the log it is shown, not obeyed."""
    nasty = "</pre><script>alert(1)</script>"
    made = blocks.save_login_setup(site.core, owner, "odd", LoginSetupChange(host="localhost"), add=True)
    site.program(owner).post("login_setup_test", {"login_setup_id": str(made)})
    row = login_setup_tests.get(site.core, made, 1)
    file = launch_logs.path_of(site.core, row.log_name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(nasty)

    page = site.browser(owner).get("login_setup_log", made, 1)

    assert nasty in page.html.select_one("pre[data-log]").text
    assert "<script>alert" not in page.text
