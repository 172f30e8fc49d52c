"""``poms settings``: every key that poms.ini may have, as a page or as a commented file."""

from __future__ import annotations

import argparse

from poms.webservice import config
from poms.webservice.backends import load_plugins, sections_of


def add_verbs(verbs: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    parser = verbs.add_parser("settings", help="explain every key of poms.ini", parents=[common],
                              description="Print every section and key that POMS and the installed plugins read.")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="as the page docs/configuration.md (the default)")
    form.add_argument("--ini", action="store_true", help="as a poms.ini in which every key is commented out")
    parser.set_defaults(run=show)


def show(arguments: argparse.Namespace) -> int:
    print(text(ini=arguments.ini), end="")
    return 0


def text(*, ini: bool) -> str:
    """Every section, those of plugins in the order of their names."""
    sections = sorted(sections_of(load_plugins()), key=lambda section: section.name)
    return config.sample(sections) if ini else config.describe(sections)
