"""Tables in the documentation that follow from the code are those of the code. Run as a program, this renews them."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from poms.plugins.splits import poms_split_types
from poms.webservice import app
from poms.webservice.handlers.routing import Known, Need, Route
from poms.webservice.interfaces import SplitParameter
from poms.webservice.rules.permissions import ANALYSIS, PRODUCTION, ROLES, Actor, refusal
from poms.webservice.rules.recoveries import RECOVERY_WORDS
from poms.webservice.rules.statuses import FINAL, NEEDS_PERSON, Status

ROOT = Path(__file__).parents[2]


# ------------------------------------------------------------------------------------------- the tree


def modules() -> list[Path]:
    return sorted(path for folder in ("webservice", "plugins") for path in (ROOT / folder).rglob("*.py"))


def first_sentence(path: Path) -> str:
    """The first paragraph of a module's docstring, cut to one line; "" for an empty module."""
    words = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n\n")[0].replace("``", "`")
    line = " ".join(words.split())
    found = re.match(r"(.+?[.!?])(?= [A-Z]|$)", line)
    return found[1] if found else line


def tree() -> str:
    lines, folder = [], None
    for path in sorted(modules(), key=lambda path: (path.parent.parts, path.name)):
        if path.name == "__init__.py" and not path.read_text().strip():
            continue
        if path.parent != folder:
            folder = path.parent
            lines += ["", f"`{folder.relative_to(ROOT)}/`", ""]
        lines.append(f"- `{path.name}`: {first_sentence(path)}")
    return "\n".join(lines).strip()


# ------------------------------------------------------------------------------------------ endpoints


def rights_of(route: Route) -> str:
    """The rights that a route needs, in words."""
    def words(need: Need) -> str:
        what = "the service" if need.kind == "service" else "in the experiment" if need.kind == "experiment" \
            else f"the {need.kind.replace('_', ' ')}"
        return f"{need.action} {what}{' (if given)' if need.optional else ''}"

    if isinstance(route.permission, Known):
        return "any known person"
    by_act = [f"{name}: {words(need)}" for name, need in route.by_act.items()]
    return "; ".join([*map(words, route.needs), *by_act])


def arguments_of(route: Route) -> str:
    shown = []
    for name, param in route.arguments.items():
        choices = f" ({', '.join(param.choices)})" if param.choices else ""
        shown.append(f"`{name}`{'*' if param.required else ''}{choices}")
    return ", ".join(shown) or "none"


def endpoints() -> str:
    lines = []
    for group in app.ROUTES:
        module = group.declared[0].handler.__module__.rpartition(".")[2]
        lines += ["", f"### {module}", "", "| address | method | arguments | right | what |", "|---|---|---|---|---|"]
        for route in group.declared:
            by_post = "POST; GET by programs" if route.program_get else "POST"
            methods = "GET, POST" if "GET" in route.methods else by_post
            path = "".join(f"/<{name}>" for name in route.path)
            others = f", also {', '.join(f'`{word}`' for word in route.words[1:])}" if route.words[1:] else ""
            what = " ".join((route.handler.__doc__ or "").split("\n\n")[0].replace("``", "`").split())
            cells = (f"`{route.words[0]}{path}`{others}", methods, arguments_of(route), rights_of(route), what)
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines).strip()


# ----------------------------------------------------------------------------------------- the domain


def splits() -> str:
    def parameter(each: SplitParameter) -> str:
        default = f" (default {each.default})" if each.default else ""
        return f"`{each.name}{'=' if each.keyword else ''}` {each.help}{default}"

    lines = ["| type | what each submission gets | parameters |", "|---|---|---|"]
    lines += [f"| `{each.name}` | {each.description} | {'; '.join(map(parameter, each.parameters)) or 'none'} |"
              for each in sorted(poms_split_types(), key=lambda each: each.name)]
    return "\n".join(lines)


def recoveries() -> str:
    return "\n".join(["| recovery type | which files it takes |", "|---|---|",
                      *(f"| `{name}` | {words} |" for name, words in RECOVERY_WORDS.items())])


def rights() -> str:
    """What each role may do, asked of the rules one by one."""
    lines = ["| acting as | view | launch, hold, release, remove | create | change |", "|---|---|---|---|---|"]
    for role in ROLES:
        actor = Actor(1, "ann", "sbnd", role)
        cells = [_whose(actor, action) for action in ("view", "do", "create", "modify")]
        lines.append(f"| `{role}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def _whose(actor: Actor, action: str) -> str:
    if refusal(actor, action) is not None:  # type: ignore[arg-type]
        return "no"
    if action == "create":
        return f"as {actor.creator_role}"
    found = [f"{'own' if refusal(actor, action, owner_role=owner, owner_id=2) else 'all'} {owner}"  # type: ignore[arg-type]
             for owner in (ANALYSIS, PRODUCTION)
             if refusal(actor, action, owner_role=owner, owner_id=1) is None]  # type: ignore[arg-type]
    return ", ".join(found)


def statuses() -> str:
    lines = ["| status | id | final | on the shift board |", "|---|---|---|---|"]
    lines += [f"| {each.label} | {int(each)} | {'yes' if each in FINAL else ''} | "
              f"{'yes' if each in NEEDS_PERSON else ''} |" for each in Status]
    return "\n".join(lines)


TABLES: dict[str, tuple[str, Callable[[], str]]] = {
    "tree": ("docs/onboarding.md", tree),
    "endpoints": ("docs/http-api.md", endpoints),
    "splits": ("docs/users.md", splits),
    "recoveries": ("docs/users.md", recoveries),
    "rights": ("docs/users.md", rights),
    "statuses": ("docs/users.md", statuses),
}


def pieces(name: str) -> tuple[str, str, str]:
    """What stands before a table, the table, and what stands after it."""
    text = (ROOT / TABLES[name][0]).read_text(encoding="utf-8")
    before, begin, rest = text.partition(f"<!-- begin: {name} -->\n")
    table, end, after = rest.partition(f"<!-- end: {name} -->")
    assert begin and end, f"{TABLES[name][0]} has no place for the table {name}"
    return before + begin, table, end + after


@pytest.mark.parametrize("name", TABLES)
def test_table_is_that_of_the_code(name):
    """A module, endpoint, split type or state that comes or goes shows in the documentation."""
    there = [line for line in pieces(name)[1].splitlines() if line]
    wanted = [line for line in TABLES[name][1]().splitlines() if line]

    renew = "renew with: .venv/bin/python test/docs/test_tables.py"
    assert [line for line in wanted if line not in there] == [], f"missing in {TABLES[name][0]}; {renew}"
    assert there == wanted, renew


@pytest.mark.parametrize("route", [pytest.param(route, id=route.name) for group in app.ROUTES
                                   for route in group.declared])
def test_endpoint_says_what_it_is_for(route):
    """The sentence of the table is the handler's docstring, so there must be one."""
    assert route.handler.__doc__


def renew(names: Iterable[str] = TABLES) -> None:
    for name in names:
        before, _, after = pieces(name)
        (ROOT / TABLES[name][0]).write_text(f"{before}{TABLES[name][1]()}\n{after}", encoding="utf-8")


if __name__ == "__main__":
    renew(sys.argv[1:] or TABLES)
