"""The page about older clients holds: what it says is served is, the rest is not, and functions are tried."""

from __future__ import annotations

import json
import re
from pathlib import Path

from poms.webservice import app
from poms.webservice.handlers.routing import Router

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "older-clients.md").read_text(encoding="utf-8")
PAIRS = json.loads((ROOT / "test" / "data" / "older_client" / "pairs.json").read_text(encoding="utf-8"))
# They send the same as another function, with nothing of their own.
SAME = {"check_stale_proxy"}


def rows(heading: str) -> dict[str, str]:
    """What stands in the second column of a table, by the name in the first."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    return dict(re.findall(r"^\| `([a-z_]+)` \| ([a-z]+) \|", section, re.MULTILINE))


def test_addresses_are_served_as_the_page_says():
    """Or not served, and nothing in between."""
    words = {word for route in Router(app.ROUTES).routes for word in route.words}
    said = rows("Addresses")

    assert len(said) > 100
    assert {name for name, served in said.items() if served in ("yes", "elsewhere")} - words == set()
    assert {name for name, served in said.items() if served == "no"} & words == set()


def test_every_address_of_the_older_groups_is_on_the_page():
    """What was made for older programs is listed for them."""
    groups = ("legacy", "legacy_edits", "legacy_campaigns", "legacy_launches")
    made = {word for route in Router(app.ROUTES).routes for word in route.words
            if route.handler.__module__.rpartition(".")[2] in groups}

    assert made - set(rows("Addresses")) == set()


def test_every_function_that_works_is_kept_as_a_test():
    """With what it sends and what it reads."""
    tried = {pair["function"] for pair in PAIRS}

    assert {name for name, works in rows("Functions of the older library").items() if works == "yes"} - tried == SAME
