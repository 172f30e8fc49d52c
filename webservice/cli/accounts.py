"""``poms user`` and ``poms experiment``: who there is, where, and in which role."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from poms.webservice.cli import startup
from poms.webservice.rules.permissions import ROLES

if TYPE_CHECKING:
    from poms.webservice.services.core import Core

NO_ROLE = "none"


def add_verbs(verbs: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    user = verbs.add_parser("user", help="add and list people, change their roles",
                            description="People and their roles.")
    actions = user.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add = actions.add_parser("add", help="add a person", parents=[common])
    add.add_argument("username", help="the name by which the identity source knows the person")
    add.add_argument("--first-name", default="")
    add.add_argument("--last-name", default="")
    add.add_argument("--experiment", default="", help="a first experiment")
    add.add_argument("--role", choices=ROLES, default="analysis", help="the highest role there (default: analysis)")
    add.add_argument("--root", action="store_true", help="may act in every role of every experiment")
    add.set_defaults(run=add_user)
    listing = actions.add_parser("list", help="list people and their roles", parents=[common])
    listing.add_argument("--experiment", default="", help="only those who have a role there")
    listing.set_defaults(run=list_users)
    role = actions.add_parser("role", help="give a person a role, or take it away", parents=[common])
    role.add_argument("username")
    role.add_argument("experiment")
    role.add_argument("role", choices=(*ROLES, NO_ROLE))
    role.add_argument("--source", default="", metavar="NAME",
                      help="an outside list of members says so: what was decided here stays")
    role.set_defaults(run=change_role)

    experiment = verbs.add_parser("experiment", help="add and list experiments", description="Experiments.")
    actions = experiment.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add = actions.add_parser("add", help="add an experiment", parents=[common])
    add.add_argument("experiment", help="its short name, such as sbnd")
    add.add_argument("--name", default="", help="its name for people")
    add.set_defaults(run=add_experiment)
    actions.add_parser("list", help="list experiments", parents=[common]).set_defaults(run=list_experiments)


@contextmanager
def _core(arguments: argparse.Namespace) -> Iterator[Core]:
    backends = startup.open_backends(arguments)
    startup.require_schema(backends)
    core = startup.open_core(backends)
    try:
        yield core
    finally:
        core.db.close()


def add_user(arguments: argparse.Namespace) -> int:
    from poms.webservice.services import accounts

    with _core(arguments) as core:
        accounts.add_person(core, arguments.username, first_name=arguments.first_name,
                            last_name=arguments.last_name, root=arguments.root,
                            experiment=arguments.experiment, role=arguments.role)
    where = f", {arguments.role} in {arguments.experiment}" if arguments.experiment else ""
    print(f"added the user {arguments.username}{where}{', root' if arguments.root else ''}")
    return 0


def list_users(arguments: argparse.Namespace) -> int:
    from poms.webservice.services import accounts

    with _core(arguments) as core:
        people = accounts.list_people(core, experiment=arguments.experiment)
    for person in people:
        roles = ", ".join(f"{experiment}: {role}" for experiment, role in person.roles) or "no role"
        print(f"{person.username:20} {roles}{'; root' if person.is_root else ''}{'  ' if person.name else ''}"
              f"{person.name}")
    return 0


def change_role(arguments: argparse.Namespace) -> int:
    from poms.webservice.services import accounts

    role = None if arguments.role == NO_ROLE else arguments.role
    with _core(arguments) as core:
        outcome = accounts.set_role(core, arguments.username, arguments.experiment, role, source=arguments.source)
    if outcome == "kept":
        print(f"{arguments.username} stays in {arguments.experiment} what was decided there; {arguments.source} says "
              f"{role or 'no role'}")
    else:
        print(f"{arguments.username} is now {role or 'without a role'} in {arguments.experiment}")
    return 0


def add_experiment(arguments: argparse.Namespace) -> int:
    from poms.webservice.services import accounts

    with _core(arguments) as core:
        accounts.add_experiment(core, arguments.experiment, name=arguments.name)
    print(f"added the experiment {arguments.experiment}")
    return 0


def list_experiments(arguments: argparse.Namespace) -> int:
    from poms.webservice.services import accounts

    with _core(arguments) as core:
        for experiment, name, active in accounts.list_experiments(core):
            print(f"{experiment:20} {name}{'' if active else '  (inactive)'}")
    return 0
