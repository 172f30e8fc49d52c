"""Every page as axe-core sees it in a real browser, by day and by night: nothing serious keeps anybody out."""

from __future__ import annotations

import importlib
import importlib.util
import mimetypes
import sys
from pathlib import Path

import pytest
from jinja2 import Environment, FileSystemLoader

from poms.webservice.handlers import filters
from poms.webservice.testing import browser as browsers
from poms.webservice.testing.fixtures import lacking

sys.path.insert(0, str(Path(__file__).parent))
import examples  # noqa: E402

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
TOP = Path(__file__).parents[2]
ORIGIN = "http://poms.test"
SHAPES = [pytest.param(template, context, id=name) for name, template, context in examples.pages()]


@pytest.fixture(scope="module")
def axe():
    """The engine, in the newest release that its Python package ships."""
    if importlib.util.find_spec("axe_playwright_python") is None:
        lacking("axe", "the Python package axe-playwright-python is not installed; it is among the tests' packages")
    return importlib.import_module("axe_playwright_python.sync_playwright").Axe()


@pytest.fixture(scope="module")
def tabs():
    """A tab for each theme, in which addresses are answered from the project's own files.

    What scripts complain of when nobody answers them is the business of other tests.
    """
    with browsers.chromium() as started:
        sessions = {scheme: started.new_context(viewport={"width": 1280, "height": 900}, color_scheme=scheme)
                    for scheme in ("light", "dark")}
        yield {scheme: session.new_page() for scheme, session in sessions.items()}
        for session in sessions.values():
            session.close()


@pytest.fixture(scope="module")
def environment() -> Environment:
    made = Environment(loader=FileSystemLoader(TOP / "templates"), autoescape=True, undefined=filters.Demanding)
    filters.register(made)
    return made


def show(tab, html: str) -> None:
    """The page with its styles and scripts; it asks nobody for news."""

    def answer(route):
        path = route.request.url.removeprefix(ORIGIN).split("?")[0]
        file = (TOP / path.lstrip("/")).resolve()
        if path.startswith("/static/") and file.is_relative_to(TOP / "static") and file.is_file():
            route.fulfill(body=file.read_bytes(), content_type=mimetypes.guess_type(file)[0] or "text/plain")
        elif path == "/page":
            route.fulfill(body=html, content_type="text/html; charset=utf-8")
        else:
            # What a page's scripts ask for, such as the part of a log that came since: there is nothing new.
            route.fulfill(status=204, body="")

    tab.unroute("**/*")
    tab.route("**/*", answer)
    tab.goto(f"{ORIGIN}/page")


def told(violation) -> str:
    places = ", ".join(str(node["target"][0]) for node in violation["nodes"][:5])
    return f"{violation['id']} ({violation['impact']}): {violation['help']}: {places}"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("template", "context"), SHAPES)
def test_nothing_serious_keeps_anybody_out(axe, tabs, environment, template, context, theme):
    """Names, roles, contrast, order: no finding that axe-core calls serious or critical."""
    show(tabs[theme], environment.get_template(template).render(
        {**context, "live_seconds": 0, "events_url": "", "messages": []}))

    found = axe.run(tabs[theme]).response["violations"]

    assert [told(one) for one in found if one["impact"] in ("serious", "critical")] == []


def test_a_page_that_keeps_people_out_is_found(axe, tabs):
    """The engine is at work: a picture without a text and a field without a name are not passed over."""
    show(tabs["light"], "<!doctype html><html lang=en><title>x</title><main><h1>x</h1><img src=/static/img/favicon.svg>"
                        "<form><input name=a></form></main></html>")

    found = {one["id"] for one in axe.run(tabs["light"]).response["violations"]}

    assert {"image-alt", "label"} <= found
