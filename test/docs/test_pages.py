"""What the documentation shows holds: commands, settings, campaign texts, links, names of functions."""

from __future__ import annotations

import ast
import importlib
import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from poms.plugins.local.catalogue.backend import RECOVERY_KINDS
from poms.webservice import config
from poms.webservice.backends import load_plugins, sections_of
from poms.webservice.cli import make_parser
from poms.webservice.rules.campaign_text import STAGE_KEYS, examine
from poms.webservice.rules.campaign_text.reading import CAMPAIGN_KEYS, JOB_TYPE_KEYS, LOGIN_SETUP_KEYS
from poms.webservice.rules.recoveries import RECOVERY_WORDS
from poms.webservice.rules.statuses import Status

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
GUIDES = ("onboarding", "plugins", "users", "operations", "http-api", "launching", "credentials", "recovering",
          "recipes", "samples")
PAGES = [ROOT / "README.md", *(DOCS / f"{name}.md" for name in GUIDES),
         *sorted((DOCS / "decisions").glob("*.md")), *sorted((DOCS / "changes").glob("*.md")),
         DOCS / "examples" / "poms_nightqueue" / "README.md"]
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PLACES = ("agent", "handlers", "services", "rules", "model", "testing", "plugins", "backends")
FRAGMENT = re.compile(r"[a-z0-9-]+\.(feature|fix|change|removal|doc)\.md")


def blocks(kind: str) -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        for info, body in FENCE.findall(page.read_text(encoding="utf-8")):
            if info.strip() == kind:
                yield page, body


def named(pairs: Iterator[tuple[Path, str]]) -> list:
    return [pytest.param(body, id=f"{page.name}-{number}") for number, (page, body) in enumerate(pairs)]


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def plain(text: str) -> str:
    """Text with its line breaks made blanks, as a reader sees it."""
    return " ".join(text.split())


# --------------------------------------------------------------------------------------- commands

COMMANDS = [pytest.param(line, id=line[:60]) for _, body in blocks("sh") for line in body.splitlines()
            if line.startswith("poms ")]
PROGRAMS = [pytest.param(line, id=line[:60]) for _, body in blocks("sh") for line in body.splitlines()
            if any(word.startswith("bin/") for word in line.split())]


@pytest.mark.parametrize("line", COMMANDS)
def test_command_is_understood(line):
    """Every command line that begins with poms is one that the program takes."""
    arguments = make_parser().parse_args(shlex.split(line)[1:])

    assert callable(arguments.run)


@pytest.mark.parametrize("line", PROGRAMS)
def test_program_is_there(line):
    """Programs of bin/ that are named can be run."""
    program = ROOT / next(word for word in line.split() if word.startswith("bin/"))

    assert program.stat().st_mode & 0o111


def test_shown_commands_were_found():
    """The two tests above look at something."""
    assert len(COMMANDS) > 15
    assert len(PROGRAMS) >= 4


@pytest.mark.parametrize("text", named(blocks("sh")))
def test_shell_text_can_be_read(text):
    """Every shell example is good bash."""
    subprocess.run(["bash", "-n"], input=text, text=True, check=True, timeout=30)


@pytest.mark.parametrize("text", named(blocks("python")))
def test_python_text_can_be_read(text):
    """Every Python example is good Python."""
    assert ast.parse(text).body


@pytest.mark.parametrize("text", named(blocks("json")))
def test_json_can_be_read(text):
    """Every JSON example is good JSON."""
    assert json.loads(text)


# --------------------------------------------------------------------------------------- settings


def known_settings() -> dict[str, set[str]]:
    sections = [*config.core_sections(), *sections_of(load_plugins())]
    return {section.name: {setting.name for setting in section.settings} for section in sections}


@pytest.mark.parametrize("page", [pytest.param(page, id=page.name) for page in PAGES])
def test_settings_that_are_named_exist(page):
    """``[section] key`` in a text is a key of poms.ini."""
    known = known_settings()
    found = re.findall(r"`\[(\w+)\] (\w+)`", plain(prose(page)))

    assert [f"[{section}] {key}" for section, key in found if key not in known.get(section, ())] == []


@pytest.mark.parametrize("text", named(blocks("ini poms.ini")))
def test_configuration_that_is_shown_holds(text, tmp_path):
    """A poms.ini that somebody copies from here is read without a warning."""
    settings = config.parse(text, directory=tmp_path, sections=sections_of(load_plugins()))

    assert settings.warnings == ()


# ------------------------------------------------------------------------------------- users' pages


@pytest.mark.parametrize("text", named(blocks("ini campaign")))
def test_campaign_text_that_is_shown_can_be_saved(text):
    """The example is a campaign without mistakes."""
    examined = examine(text)

    assert examined.problems == ()
    assert examined.warnings == ()


@pytest.mark.parametrize("key", [*CAMPAIGN_KEYS, *STAGE_KEYS, *LOGIN_SETUP_KEYS, *JOB_TYPE_KEYS])
def test_key_of_the_campaign_text_is_explained(key):
    """Each key has a place in the first column of a table."""
    rows = [line.split("|")[1] for line in (DOCS / "users.md").read_text().splitlines() if line.startswith("|")]

    assert any(f"`{key}`" in row for row in rows)


@pytest.mark.parametrize("status", [pytest.param(each, id=each.label) for each in Status])
def test_status_is_explained(status):
    """Each status has a row that says what it means, besides the one with its number."""
    rows = [line.split("|")[1] for line in (DOCS / "users.md").read_text().splitlines() if line.startswith("|")]

    assert sum(status.label in [word.strip() for word in row.split(",")] for row in rows) == 2


def test_first_recoveries_are_those_of_the_embedded_catalogue():
    """The sentence under the table of recoveries counts on their order."""
    assert set(list(RECOVERY_WORDS)[:5]) == set(RECOVERY_KINDS)


# ------------------------------------------------------------------------------------- names, links


@pytest.mark.parametrize("name", sorted({
    name for page in PAGES for name in re.findall(r"`((?:\w+\.)+\w+)`", plain(prose(page)))
    if name.split(".")[0] in PLACES and not name.endswith((".py", ".md", ".html"))}))
def test_function_that_is_named_exists(name):
    """``services.launching.launch`` in a text can be found in the code."""
    parts = name.split(".")
    root = "poms" if parts[0] == "plugins" else "poms.webservice"
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join([root, *parts[:end]]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[end:]:
            found = getattr(found, attribute)
        return

    raise AssertionError(f"there is no {name}")


def anchors(page: Path) -> set[str]:
    """The anchors that headings make, as the usual renderers do."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [pytest.param(page, id=page.name) for page in PAGES])
def test_links_lead_somewhere(page):
    """A link to a file, and to a heading in it, has a target in this checkout."""
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        there = (page.parent / file).resolve() if file else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(target)

    assert broken == []


def test_every_decision_is_listed():
    """The list of decisions is complete; one with a number has it in its title."""
    listed = (DOCS / "decisions" / "README.md").read_text()
    records = [path for path in (DOCS / "decisions").glob("*.md") if path.name != "README.md"]

    assert records
    for path in records:
        assert f"({path.name})" in listed
        number = path.name.partition("-")[0]
        assert not number.isdigit() or path.read_text().startswith(f"# {number} ")


def test_changes_are_named_by_kind():
    """A fragment that is named otherwise would be left out of a release."""
    names = [path.name for path in (DOCS / "changes").glob("*.md") if path.name != "README.md"]

    assert [name for name in names if not FRAGMENT.fullmatch(name)] == []
