"""``poms db``: make the tables, bring them up to date, say how they stand."""

from __future__ import annotations

import argparse

from poms.webservice.cli import startup


def add_verbs(verbs: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    parser = verbs.add_parser("db", help="make or upgrade the tables",
                              description="The tables of POMS and its plugins.")
    actions = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, run, text in (("upgrade", upgrade, "make the tables, or bring them up to date"),
                            ("current", current, "say how the tables stand; exit status 3 if not up to date"),
                            ("check", check, "compare the tables with the model; exit status 1 if they differ")):
        actions.add_parser(name, help=text, description=text, parents=[common]).set_defaults(run=run)
    revision = actions.add_parser("revision", help="for developers: write a revision for a changed model",
                                  parents=[common])
    revision.add_argument("-m", "--message", required=True, help="what the revision does, in a few words")
    revision.add_argument("--tables", default="poms", metavar="NAME", help="poms, or the name of a plugin's tables")
    revision.set_defaults(run=revise)


def upgrade(arguments: argparse.Namespace) -> int:
    from poms.webservice import migrations

    backends = startup.open_backends(arguments)
    offers = backends.databases()
    url = backends.settings.database.url
    before = {state.name: state for state in migrations.upgrade(url, offers)}
    for state in migrations.current(url, offers):
        was = before[state.name]
        done = "were up to date" if was.condition == "current" else f"upgraded from {was.current or 'nothing'}"
        print(f"{state.name}: revision {state.current} ({done})")
    return 0


def current(arguments: argparse.Namespace) -> int:
    from poms.webservice import migrations

    backends = startup.open_backends(arguments)
    states = migrations.current(backends.settings.database.url, backends.databases())
    for state in states:
        print(state)
    return 0 if all(state.condition == "current" for state in states) else migrations.SchemaMismatch.exit_status


def check(arguments: argparse.Namespace) -> int:
    from poms.webservice import migrations

    backends = startup.open_backends(arguments)
    offers = backends.databases()
    migrations.require_current(backends.settings.database.url, offers)
    differences = migrations.check(backends.settings.database.url, offers)
    for difference in differences:
        print(difference)
    if not differences:
        print("the tables agree with the model")
    return 1 if differences else 0


def revise(arguments: argparse.Namespace) -> int:
    from poms.webservice import migrations

    backends = startup.open_backends(arguments)
    path = migrations.revise(arguments.message, backends.databases(), name=arguments.tables)
    print(f"wrote {path}: read it, then format it with ruff" if path else "the newest revision agrees with the model")
    return 0
