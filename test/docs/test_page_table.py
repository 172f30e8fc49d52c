"""The table of pages: every page that it names is there, and every list of pages stands in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from poms.webservice import app
from poms.webservice.handlers.routing import Router

TEXT = (Path(__file__).parents[2] / "docs" / "pages.md").read_text(encoding="utf-8")
CELLS = [[cell.strip() for cell in line.strip("|").split("|")] for line in TEXT.splitlines()
         if line.startswith("|") and not line.startswith(("|---", "| before", "| list"))]
ROWS = [cells for cells in CELLS if len(cells) == 3]
LISTED = [cells for cells in CELLS if len(cells) == 7]
TEMPLATES = Path(__file__).parents[2] / "templates"
HEADING = re.compile(r"(?:sort|submission)_head\('[^']*', '(\w+)'")
ROUTES = {route.name: route for route in Router(app.ROUTES).routes}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_a_row_names_a_page_that_is_there(row):
    """What there was, what became of it, and where it is now."""
    before, now, page = row

    assert before and now
    route = ROUTES[page.strip("`")]
    assert route.template or route.name == "file_uploads"


def test_every_page_is_in_the_table():
    """Those that are new as well: what they replace stands there. What one opens from another page may be missing."""
    named = {row[2].strip("`") for row in ROWS}
    pages = {route.name for route in ROUTES.values() if route.template and not route.changes}
    opened = {"campaign_versions", "login_setup_new", "job_type_new", "api", "schedule", "submissions"}

    assert pages - named - opened <= OTHERS, sorted(pages - named - opened - OTHERS)


OTHERS = {"watches"}


@pytest.mark.parametrize("template", sorted(
    path.relative_to(TEMPLATES).as_posix() for path in TEMPLATES.rglob("*.html") if HEADING.search(path.read_text())))
def test_the_table_of_lists_says_by_what_they_sort(template):
    """Every heading that sorts is in the row of its list, and no other."""
    sorts = set(HEADING.findall((TEMPLATES / template).read_text()))

    assert sorts in [set(re.split(r", ", row[2])) for row in LISTED]


def test_the_table_of_lists_names_pages_that_are_there():
    """Each with the page that it is on."""
    assert len(LISTED) >= 10
    assert [row[1] for row in LISTED if not ROUTES[row[1].strip("`")].template and row[1] != "`file_uploads`"] == []


@pytest.mark.parametrize("word", re.findall(r"`(\w+)=", TEXT))
def test_an_argument_that_is_named_is_known(word):
    """Of one of the pages at least."""
    assert any(word in route.arguments for route in ROUTES.values())
