"""The layers: who may import whom. Reads the imports with ast, runs nothing.

A new module below ``webservice/`` falls under its folder's rule; one beside the folders needs a line here.
"""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "poms.webservice"

TYPES = {"errors", "interfaces"}
BACKENDS = {"backends", "bulkhead", "guarded", "config", "clock", "logs", "hookspecs"}
ANYTHING = None

# First part of a module's name below webservice -> first parts that it may import. ANYTHING: composition.
MAY_IMPORT = {
    "__init__": set(),
    "errors": set(),
    "interfaces": set(),
    "hookspecs": {"interfaces"},
    "clock": set(),
    "stopping": set(),
    "logs": set(),
    "config": {"logs", "rules"} | TYPES,
    "bulkhead": {"errors"},
    "guarded": {"bulkhead"} | TYPES,
    "backends": BACKENDS | {"rules"} | TYPES,
    "db": {"errors"},
    "rules": {"rules"} | TYPES,
    "model": {"model", "rules"},
    "migrations": {"model", "rules", "logs"} | TYPES,
    "services": {"services", "model", "rules", "db", "backends", "config", "clock", "__init__"} | TYPES,
    "handlers": {"handlers", "services", "rules", "__init__"} | TYPES,
    "agent": {"agent", "services", "rules", "backends", "model", "db", "config", "clock", "stopping"} | TYPES,
    "server": {"config", "stopping"} | TYPES,
    "processes": {"config", "server", "stopping"} | TYPES,
    "sam_projects": {"errors"},
    "launch_scripts": TYPES,
    "client": {"client", "errors"},
    "wrapper": {"wrapper", "client", "errors"},
    "testing": ANYTHING,
    "app": ANYTHING,
    "wsgi": ANYTHING,
    "cli": ANYTHING,
    "demo": ANYTHING,
    "__main__": ANYTHING,
}
# What a plugin makes public, and who may use it: a pool is read and followed in one way, whatever submits to it.
PUBLIC_PARTS = {"poms.plugins.jobsub": {"poms.plugins.htcondor.reading", "poms.plugins.htcondor.batch"}}
PLUGINS_MAY_IMPORT = {"hookspecs", "rules", "sam_projects", "launch_scripts"} | TYPES
NOT_FOR_SERVICES = {"cherrypy", "cheroot", "jinja2"}


def modules(folder):
    """(dotted name, path) of every module of webservice/ or plugins/."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        dotted = ".".join(("poms", *parts))
        yield dotted.removesuffix(".__init__"), path


ALL = dict(modules("webservice")) | dict(modules("plugins"))


def imports(path, dotted, *, top_level=False):
    """Full names that a module imports, outside ``if TYPE_CHECKING``; ``from a import b`` gives a.b if a module."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    found = set()

    def visit(node):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if top_level and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = dotted if path.name == "__init__.py" else dotted.rpartition(".")[0]
                parents = package.split(".")[:len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *filter(None, [node.module])])
            found.update(f"{base}.{alias.name}" if f"{base}.{alias.name}" in ALL else base for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(tree)
    return found


def part_of(dotted):
    """``services`` for poms.webservice.services.launching; ``__init__`` for the package itself."""
    rest = dotted.removeprefix(PACKAGE).strip(".")
    return rest.split(".")[0] if rest else "__init__"


def is_ours(name, package=PACKAGE):
    return name == package or name.startswith(f"{package}.")


WEBSERVICE = [pytest.param(dotted, path, id=dotted) for dotted, path in modules("webservice")]
PLUGINS = [pytest.param(dotted, path, id=dotted) for dotted, path in modules("plugins")]


@pytest.mark.parametrize(("dotted", "path"), WEBSERVICE)
def test_layer_imports_only_what_lies_below_it(dotted, path):
    """The table above holds for every module."""
    part = part_of(dotted)
    assert part in MAY_IMPORT, f"{dotted} belongs to no layer: say in this test which"
    allowed = MAY_IMPORT[part]
    if allowed is ANYTHING:
        return

    wrong = {name for name in imports(path, dotted) if is_ours(name) and part_of(name) not in allowed}

    assert not wrong, f"{dotted} may import {sorted(allowed)}, not {sorted(wrong)}"


@pytest.mark.parametrize(("dotted", "path"), [each for each in WEBSERVICE if part_of(each.values[0]) == "rules"])
def test_rules_need_the_standard_library_only(dotted, path):
    """Rules can be understood and tested without anything else."""
    wrong = {name for name in imports(path, dotted)
             if not is_ours(name) and name.split(".")[0] not in sys.stdlib_module_names}

    assert not wrong


@pytest.mark.parametrize(("dotted", "path"), [each for each in WEBSERVICE
                                              if part_of(each.values[0]) in ("services", "model", "rules", "agent")])
def test_web_framework_stays_at_the_border(dotted, path):
    """What decides does not know how it was asked."""
    assert not {name for name in imports(path, dotted) if name.split(".")[0] in NOT_FOR_SERVICES}


@pytest.mark.parametrize(("dotted", "path"), PLUGINS)
def test_plugins_have_no_private_door(dotted, path):
    """Our plugins use what anybody's may: hooks, interfaces, conditions, rules, and their own package."""
    family = ".".join(dotted.split(".")[:3])
    wrong = set()
    for name in imports(path, dotted):
        if is_ours(name) and part_of(name) not in PLUGINS_MAY_IMPORT:
            wrong.add(name)
        if is_ours(name, "poms.plugins") and name != "poms.plugins" and not is_ours(name, family) \
                and name not in PUBLIC_PARTS.get(family, ()):
            wrong.add(name)

    assert not wrong, f"{dotted} may not import {sorted(wrong)}"


@pytest.mark.parametrize(("dotted", "path"), WEBSERVICE)
def test_nothing_imports_a_concrete_plugin(dotted, path):
    """Only entry points load plugins; a backend is chosen by its name."""
    assert not {name for name in imports(path, dotted) if is_ours(name, "poms.plugins")}


def cycles(graph):
    """Groups of modules that import each other in a circle, each as a path that comes back."""
    state, found = {}, []

    def walk(node, trail):
        state[node] = "open"
        for after in sorted(graph.get(node, ())):
            if state.get(after) == "open":
                found.append([*trail[trail.index(after):], after])
            elif after not in state:
                walk(after, [*trail, after])
        state[node] = "done"

    for node in sorted(graph):
        if node not in state:
            walk(node, [node])
    return found


def test_no_module_imports_itself_in_a_circle():
    """Every module can be loaded, read and tested before those that use it; services have an order."""
    graph = {dotted: {name for name in imports(path, dotted, top_level=True) if name in ALL and name != dotted}
             for dotted, path in ALL.items()}

    assert cycles(graph) == []


def test_circles_would_be_found():
    """The search above sees direct and long circles, and none where there is none."""
    assert cycles({"a": {"b"}, "b": {"a"}}) == [["a", "b", "a"]]
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == [["b", "c", "b"]]
    assert cycles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


@pytest.mark.parametrize(("dotted", "path"), [*WEBSERVICE, *PLUGINS])
def test_module_says_in_six_lines_what_it_is_for(dotted, path):
    """What for, what not, and the one thing to know; an empty ``__init__`` needs no words."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    text = ast.get_docstring(tree)

    if tree.body:
        assert text, f"{dotted} has no docstring"
        assert len(text.splitlines()) <= 6
