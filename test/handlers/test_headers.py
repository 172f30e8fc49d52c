"""Headers that every answer carries, whichever part of the service gave it."""

from __future__ import annotations

import pytest

from poms.webservice import app
from poms.webservice.handlers.front import POLICY, Front
from poms.webservice.handlers.routing import Router

ROUTES = Router(app.ROUTES).routes


def audit(headers, of: str = "") -> None:
    assert headers["Content-Security-Policy"] == POLICY, of
    assert headers["X-Content-Type-Options"] == "nosniff", of
    assert headers["X-Frame-Options"] == "DENY", of
    assert headers["Referrer-Policy"] == "same-origin", of
    assert headers["X-Request-Id"], of
    assert "X-Powered-By" not in headers, of
    assert "unsafe" not in headers["Content-Security-Policy"], of


def test_every_route_answers_with_them(site, owner, items):
    """Whatever the answer is: a page, JSON, a redirection or a refusal. Looking changes nothing: one service does."""
    kept = []
    for route in ROUTES:
        answer = site.browser(owner).get(route.name, **{name: number for name, number in items.ids.items()
                                                        if name in route.arguments})
        audit(answer.headers, route.name)
        kept += [route.name] if answer.headers["Cache-Control"] != "no-store" else []

    assert kept == []


@pytest.mark.parametrize("address", [
    "/", "/nothing", "/poms", "/poms/nothing", "/poms/static/css/base.css", "/poms/static/nothing.css",
    "/poms/%ff", "/poms/?%ff=%ff", "/poms/home/samdev/production?" + "a" * 20_000,
])
def test_answers_outside_of_the_routes_carry_them_too(site, owner, address):
    """Static files, protocol errors and what is not there."""
    answer = site.nobody().get(address, headers=site.browser(owner).headers(), status="*")

    audit(answer.headers)
    assert answer.status_int < 500


def test_an_application_of_a_plugin_carries_them_too():
    """And a failing one is an answer with a number, not a broken connection."""

    def fails(environ, start_response):
        raise RuntimeError("secret")

    seen = []
    front = Front(fails, {"/sam": fails}, secure=True)
    body = b"".join(front({"PATH_INFO": "/sam/x", "REQUEST_METHOD": "GET"}, lambda *a: seen.append(a)))

    audit(dict(seen[0][1]))
    assert seen[0][0].startswith("500")
    assert b"secret" not in body
    assert dict(seen[0][1])["Strict-Transport-Security"].startswith("max-age=")


def test_a_mounted_application_gets_its_path_as_it_came():
    """Nothing is taken out of it: names of files may begin with slashes."""
    seen = []

    def mounted(environ, start_response):
        seen.append((environ["SCRIPT_NAME"], environ["PATH_INFO"]))
        start_response("200 OK", [])
        return [b""]

    front = Front(mounted, {"/sam": mounted}, secure=False)
    for path in ("/sam//files//name%2Fx/", "/sam", "/samba"):
        list(front({"PATH_INFO": path, "REQUEST_METHOD": "GET"}, lambda *a: None))

    assert seen == [("/sam", "//files//name%2Fx/"), ("/sam", "")]


def test_the_session_cookie_is_kept_from_scripts_and_other_sites(site, owner):
    """It is only needed with forms of our own pages."""
    cookie = site.browser(owner).get("campaigns").headers["Set-Cookie"]

    assert cookie.startswith("poms_session=")
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Path=/poms" in cookie


def test_static_files_with_their_version_are_kept_for_a_year(site, owner):
    """The version changes with any of the files, so nothing old is shown."""
    page = site.browser(owner).get("campaigns").html
    address = page.find("link", {"rel": "stylesheet"})["href"]

    kept = site.nobody().get(address)
    plain = site.nobody().get(address.partition("?")[0])

    assert kept.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert plain.headers["Cache-Control"] == "no-cache"
    assert site.nobody().get(address, headers={"If-None-Match": kept.headers["ETag"]}).status_int == 304


@pytest.mark.parametrize("name", [
    "../webservice/app.py", "..%2f..%2fetc/passwd", "css/../../webservice/app.py", "__init__.py", "css/", "",
    "css/base.css%00.png", "/etc/passwd", "....//....//etc/passwd", "css\\base.css", ".git/config",
])
def test_only_known_static_files_are_served(site, name):
    """A request never forms a path."""
    assert site.nobody().get(f"/poms/static/{name}", status="*").status_int == 404


HOSTILE_TARGETS = [
    "https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)", "https:evil.example",
    "\r\nLocation: https://evil.example", "%0d%0aSet-Cookie: a=b", "///evil.example", "/poms/../..//evil.example",
    "\tevil", "@evil.example",
]


@pytest.mark.parametrize("argument", ["search_term", "redir", "next", "url", "data", "redirect", "return_to"])
def test_nobody_is_sent_to_another_site(site, owner, argument):
    """Whatever an argument says: redirections lead to our own pages."""
    for target in HOSTILE_TARGETS:
        answer = site.browser(owner).get("search", **{argument: target})

        # What was found, straight to it, or refused.
        assert answer.status_int in (200, 303, 400), target
        assert (answer.status_int == 303) == ("Location" in answer.headers), target
        if answer.status_int == 303:
            assert answer.headers["Location"].startswith("/poms/"), target
            assert "\\" not in answer.headers["Location"], target
        assert "a=b" not in answer.headers.get("Set-Cookie", ""), target


@pytest.mark.parametrize("target", HOSTILE_TARGETS)
def test_the_page_that_a_form_was_on_decides_nothing(site, owner, target):
    """After a change one goes to the page of what was changed, not to the Referer."""
    answer = site.browser(owner).post("update_session_role", {"session_role": "production"},
                                      headers={"Referer": target.strip().replace("\r\n", " ")})

    assert answer.status_int == 303
    assert answer.headers["Location"] == "/poms/home/samdev/production"


@pytest.mark.parametrize("place", ["//evil.example", "evil.example/x", "..", "%2f%2fevil.example/production"])
def test_an_experiment_in_the_address_cannot_become_a_host(site, owner, place):
    """It is refused before any address is made of it."""
    answer = site.browser(owner).get("home", place=place)

    assert answer.headers.get("Location", "/poms/").startswith("/poms/")


def test_a_host_header_makes_no_address(site, owner):
    """Redirections name no host at all."""
    answer = site.browser(owner).get("home", place="", headers={"Host": "evil.example"})

    assert answer.headers["Location"] == "/poms/home/samdev/production"
