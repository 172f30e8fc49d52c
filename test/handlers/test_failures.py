"""Conditions become answers in one place; what went wrong inside is told to the log only."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import OperationalError

from poms.webservice import app
from poms.webservice.errors import (
    BackendUnavailable,
    Conflict,
    Invalid,
    LaunchesHeld,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    Problem,
)
from poms.webservice.handlers.answers import Call
from poms.webservice.handlers.params import text
from poms.webservice.handlers.routing import Known, Routes
from poms.webservice.testing.faults import reading_only

NAMES = {
    "invalid": (Invalid([Problem("name", "is taken", 3, "taken")]), 400), "unknown": (NotAuthenticated("who?"), 401),
    "denied": (NotAllowed("not you"), 403), "missing": (NotFound("no such thing"), 404),
    "conflict": (Conflict("changed meanwhile"), 409), "held": (LaunchesHeld("kept"), 423),
    "silent": (BackendUnavailable("the catalogue is silent"), 503),
    "database": (OperationalError("SELECT secret", {}, Exception("gone")), 503),
    "bug": (KeyError("secret-in-a-bug"), 500), "assertion": (AssertionError("secret-in-a-bug"), 500),
}


@pytest.fixture
def broken(site, owner):
    """A route that raises what it is asked for."""
    routes = Routes()

    @routes.answer("raise", permission=Known("a test"), arguments={"what": text(required=True)})
    def fail(call: Call):
        raise NAMES[call["what"]][0]

    site.wsgi = app.build(site.core, groups=[*app.ROUTES, routes])
    return site


@pytest.mark.parametrize("name", NAMES)
def test_a_condition_has_one_status(broken, owner, name):
    """Whoever raises it, wherever."""
    assert broken.program(owner).get("raise", what=name).status_int == NAMES[name][1]


@pytest.mark.parametrize("name", NAMES)
def test_programs_learn_of_it_in_json(broken, owner, name):
    """The keys are always the same."""
    answer = broken.program(owner).get("raise", what=name, fmt="json")

    assert answer.json.keys() == {"status", "message", "title", "remedy", "problems", "id"}
    assert answer.json["status"] == NAMES[name][1]


@pytest.mark.parametrize("name", NAMES)
def test_browsers_get_a_page(broken, owner, name):
    """With the frame around it, so that people can go on."""
    answer = broken.browser(owner).get("raise", what=name)

    assert answer.status_int == NAMES[name][1]
    assert answer.content_type == "text/html"
    assert answer.html.find("h1") is not None


def test_every_problem_is_named_with_field_and_line(broken, owner):
    """Not only the first one, and in a form that an editor can use."""
    answer = broken.program(owner).get("raise", what="invalid", fmt="json")

    assert answer.json["problems"] == [{"field": "name", "message": "is taken", "line": 3, "code": "taken"}]


@pytest.mark.parametrize("accept", ["text/html", "application/json", "*/*"])
def test_an_internal_error_tells_a_number_and_nothing_else(broken, owner, accept, caplog):
    """The number is the one of the log line that has the traceback."""
    answer = broken.program(owner).get("raise", what="bug", headers={"Accept": accept})

    number = answer.headers["X-Request-Id"]
    assert number in answer.text
    assert "secret-in-a-bug" not in answer.text
    assert "File " not in answer.text
    record = next(record for record in caplog.records if record.exc_info and record.request_id == number)
    assert record.exc_info[0] is KeyError


def test_a_silent_database_is_not_an_internal_error(broken, owner):
    """And its statement is not shown."""
    answer = broken.program(owner).get("raise", what="database")

    assert "SELECT" not in answer.text


def test_older_clients_find_the_reason(broken, owner):
    """They show what follows this word and would show only the status otherwise."""
    assert broken.program(owner).get("raise", what="denied").text == "Traceback: not you\n"


def test_an_unknown_page_is_not_found(site, owner):
    """As a page for people."""
    answer = site.browser(owner).get("nowhere")

    assert answer.status_int == 404
    assert answer.content_type == "text/html"


def test_outside_of_the_service_there_is_nothing(site):
    """The root leads to the pages, everything else is not ours."""
    assert site.nobody().get("/").headers["Location"].endswith("/poms/")
    assert site.nobody().get("/admin", status="*").status_int == 404
    assert site.nobody().post("/", status="*").status_int == 404


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "BREW"])
def test_other_methods_are_not_for_any_page(site, owner, method):
    """Also those that nobody has heard of."""
    person = site.program(owner)
    answer = person.client.request(person.address("campaigns"), method=method, headers=person.headers(), status="*")

    assert answer.status_int == 405
    assert answer.headers["Allow"] == "GET, HEAD, POST"


def test_the_error_page_escapes_what_was_sent(site, owner):
    """A name in an address is text, never markup."""
    answer = site.browser(owner).get("campaign_deps_ini", name='"><svg/onload=1>')

    assert answer.status_int == 404
    assert "<svg/onload" not in answer.text


def test_a_page_that_cannot_be_shown_without_the_database_still_says_so(site, owner):
    """The page about the failure must not fail for the same reason."""
    browser = site.browser(owner)
    with site.core.db.write() as session:
        session.connection().exec_driver_sql("DROP TABLE service_settings")

    answer = browser.get("campaigns")

    assert answer.status_int in (500, 503)
    assert "POMS" in answer.text


def test_pages_are_shown_while_the_database_takes_no_changes(site, owner):
    """Also to somebody who comes for the first time, which is noted otherwise; changes are refused as what they are."""
    newcomer = site.program(site.world.person("nora"))
    with reading_only(site.core.db):
        page = newcomer.get("home")
        change = newcomer.post("update_session_role", {"session_role": "analysis", "fmt": "json"})

    assert page.status_int == 200
    assert change.status_int == 503
    assert "takes no changes at the moment" in change.text
