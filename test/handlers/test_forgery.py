"""Requests that another site makes a browser send change nothing, on any route that changes anything."""

from __future__ import annotations

import pytest
from webtest import TestApp

from poms.webservice import app
from poms.webservice.handlers.routing import Router
from poms.webservice.testing.world import stage

CHANGING = [route for route in Router(app.ROUTES).routes if route.changes]
READING = [route for route in Router(app.ROUTES).routes if not route.changes]


def each(routes):
    return pytest.mark.parametrize("route", routes, ids=lambda route: route.name)


@each(CHANGING)
def test_a_browser_cannot_change_anything_by_get(site, owner, route):
    """A link or a picture cannot launch or remove anything."""
    answer = site.browser(owner).get(route.name)

    assert answer.status_int == 405
    assert answer.headers["Allow"] == "POST"


@each(CHANGING)
def test_another_sites_form_is_refused_even_with_a_token(site, owner, route):
    """A browser says where a request comes from, and a stolen token does not help."""
    assert site.browser(owner).post(route.name, headers={"Sec-Fetch-Site": "cross-site"}).status_int == 403


@pytest.mark.parametrize("origin", ["same-site", "anything", "Same-Origin", "same-origin, none", ""])
def test_only_our_own_origin_is_ours(site, owner, origin):
    """Neighbours below the same domain are other sites, and so is what nobody has heard of."""
    answer = site.browser(owner).post("launch_gate", {"act": "hold"}, headers={"Sec-Fetch-Site": origin})

    assert answer.status_int == 403


@pytest.mark.parametrize("headers", [
    {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Referer": "https://evil.example/poms.example.org"},
    {"Origin": "https://poms.example.org.evil.example"}, {"Origin": "https://poms.example.org:444"},
    {"Origin": "https://[broken"}, {"Referer": ""}, {"Origin": "https://poms.example.org@evil.example"},
])
def test_older_browsers_are_judged_by_origin_or_referer(site, owner, headers):
    """Browsers that do not send Sec-Fetch-Site name the page that a form was on."""
    browser = site.browser(owner)
    fields = browser.fields({"act": "hold"})
    sent = {**browser.headers(headers)}
    del sent["Sec-Fetch-Site"]

    answer = browser.client.post(browser.address("launch_gate"), fields, headers=sent, status="*")

    assert answer.status_int == 403


@pytest.mark.parametrize("headers", [{"Origin": "http://poms.example.org"}, {"Referer": "http://poms.example.org/poms/"}])
def test_our_own_pages_are_accepted_by_origin_or_referer(site, owner, headers):
    """The same request from one of our pages is done."""
    browser = site.browser(owner)
    fields = browser.fields({"act": "hold"})
    sent = {**browser.headers(headers)}
    del sent["Sec-Fetch-Site"]

    answer = browser.client.post(browser.address("launch_gate"), fields, headers=sent, status="*")

    assert answer.status_int == 303


@each(CHANGING)
def test_a_form_without_the_token_is_refused(site, owner, route):
    """Coming from our own origin is not enough."""
    assert site.browser(owner).post(route.name, {"csrf_token": ""}).status_int == 403


def test_a_token_of_another_session_is_refused(site, owner):
    """A token belongs to the cookie it was made for."""
    stranger = site.browser(owner).token()

    assert site.browser(owner).post("launch_gate", {"act": "hold", "csrf_token": stranger}).status_int == 403


def test_a_token_of_another_person_is_refused(site, owner):
    """Planting one's own cookie in somebody's browser gives no token that works there."""
    mallory = site.browser(site.world.person("mallory"))
    token = mallory.token()
    victim = site.browser(owner)
    victim.client.cookies.update(mallory.client.cookies)

    answer = victim.client.post(victim.address("launch_gate"), {"act": "hold", "csrf_token": token},
                                headers=victim.headers(), status="*")

    assert answer.status_int == 403


@pytest.mark.parametrize("cookie", ["made-up", "made-up.signature", "", "ü", "a" * 5000])
def test_a_cookie_that_we_did_not_sign_is_no_session(site, owner, cookie):
    """Nobody chooses the session's secret part."""
    browser = site.browser(owner)
    token = browser.token()

    answer = TestApp(site.wsgi, extra_environ={"REMOTE_ADDR": "127.0.0.1"}).post(
        browser.address("launch_gate"), {"act": "hold", "csrf_token": token}, status="*",
        headers=browser.headers({"Cookie": f"poms_session={cookie}".encode().decode("latin-1")}))

    assert answer.status_int in (400, 403)


def test_a_form_of_our_own_page_is_accepted(site, owner):
    """The counterpart of all refusals: the same request with everything right is done."""
    answer = site.browser(owner).post("launch_gate", {"act": "hold"})

    assert answer.status_int == 303
    assert site.browser(owner).get("held_launches", fmt="json").json["gate"]["held"] is True


def test_the_token_is_different_on_every_page(site, owner):
    """Compression cannot reveal what never repeats."""
    browser = site.browser(owner)

    assert browser.token() != browser.token()


def test_a_header_that_no_page_of_another_site_can_send_is_proof(site, owner):
    """Scripts in a browser's name need no form, as no CORS is ever granted."""
    answer = site.browser(owner).post("launch_gate", {"act": "hold", "csrf_token": ""},
                                      headers={"X-Poms-Client": "1"})

    assert answer.status_int == 200
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_no_cors_is_granted_to_a_preflight(site, owner):
    """A browser that asks whether another site may send the header is told no."""
    browser = site.browser(owner)
    asking = {"Origin": "https://evil.example", "Access-Control-Request-Headers": "x-poms-client"}

    answer = browser.client.request(browser.address("launch_gate"), method="OPTIONS", status="*",
                                    headers=browser.headers(asking))

    assert answer.status_int == 405
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


def test_programs_need_no_token(site, owner):
    """No browser sends a certificate's identity by itself through the front end."""
    assert site.program(owner).post("launch_gate", {"act": "hold"}).status_int == 303


def test_only_programs_report_by_get(site, owner):
    """The wrapper's GET is a contract; for a browser's identity the same address takes POST only."""
    made = site.world.campaign_with(stage("gen"), owner=owner)
    number = site.world.launch(made, "gen").submission_id
    report = {"submission_id": number, "jobsub_job_id": "12.0@schedd", "status": "Idle"}

    assert site.browser(owner).get("update_submission", **report).status_int == 405
    assert site.program(owner).get("update_submission", **report).text == "Ok."


def test_reading_changes_nothing(site, owner, items):
    """Every reading route is asked, and the database is the same afterwards, byte for byte.

    But for when the person was last seen, which the first of them notes, and no other for an hour.
    """
    browser = site.browser(owner)
    browser.get("home")
    before = snapshot(site)
    for route in READING:
        answer = browser.get(route.name, **{name: number for name, number in items.ids.items()
                                            if name in route.arguments})
        assert answer.status_int < 500, route.name

    assert snapshot(site) == before


def snapshot(site) -> list:
    from poms.webservice.model import Base

    with site.core.db.engine.connect() as connection:
        return [(table.name, sorted(map(repr, connection.execute(table.select()))))
                for table in Base.metadata.sorted_tables]
