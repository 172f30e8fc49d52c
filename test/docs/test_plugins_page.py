"""docs/plugins.md is the whole contract: every hook, interface and method is on it, and nothing that does not exist."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from poms.webservice import errors, hookspecs, interfaces

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### ([^\n]+)\n(.*?)(?=^##|\Z)", TEXT, re.MULTILINE | re.DOTALL))
HOOKS = {name: hook for name, hook in vars(hookspecs).items() if name.startswith("poms_")}
PROTOCOLS = {name: each for name, each in vars(interfaces).items() if inspect.isclass(each)
             and getattr(each, "_is_protocol", False) and each.__module__ == interfaces.__name__}


def methods_of(protocol: type) -> dict[str, str]:
    """Method names with their call, e.g. ``{"count": "count(query)"}``."""
    return {name: f"{name}({', '.join(list(inspect.signature(member).parameters)[1:])})"
            for name, member in vars(protocol).items() if inspect.isfunction(member) and not name.startswith("_")}


@pytest.mark.parametrize("name", HOOKS)
def test_hook_is_described(name):
    """Each hook has a heading with its arguments, and says what to return or do."""
    title = f"{name}({', '.join(inspect.signature(HOOKS[name]).parameters)})"

    assert title in SECTIONS
    assert "eturn" in SECTIONS[title]


@pytest.mark.parametrize(("protocol", "call"), [
    pytest.param(protocol, call, id=f"{protocol}.{name}") for protocol, each in PROTOCOLS.items()
    for name, call in methods_of(each).items()])
def test_method_is_described(protocol, call):
    """Each method of each interface has a row, with the arguments that it has."""
    rows = re.findall(r"^\| `([^`]+)` \|", SECTIONS[protocol], re.MULTILINE)

    assert call in rows


@pytest.mark.parametrize(("protocol", "attribute"), [
    pytest.param(protocol, attribute, id=f"{protocol}.{attribute}") for protocol, each in PROTOCOLS.items()
    for attribute in inspect.get_annotations(each)])
def test_attribute_is_described(protocol, attribute):
    """Plain attributes that an object must have are named."""
    assert f"`{attribute}`" in SECTIONS[protocol]


def test_nothing_else_is_described():
    """A hook or method that is gone leaves the page as well."""
    titles = {f"{name}({', '.join(inspect.signature(hook).parameters)})" for name, hook in HOOKS.items()}

    assert set(SECTIONS) == titles | set(PROTOCOLS)
    for protocol, each in PROTOCOLS.items():
        rows = set(re.findall(r"^\| `([^`]+)` \|", SECTIONS[protocol], re.MULTILINE))
        assert rows == set(methods_of(each).values())


def test_types_and_conditions_that_are_named_exist():
    """What is written like a class is one of the interfaces, the conditions, or of this page's examples."""
    known = {*vars(interfaces), *vars(errors), "FakeBatch", "FakeCatalogue"}
    named = set(re.findall(r"`([A-Z][a-z]+(?:[A-Z][a-z]+)+)(?:\.\w+)?`", TEXT))

    assert "JobBackend" in named
    assert named - known - {"MetaData"} == set()
