"""``poms people``: who is in an experiment, and for its superusers who is added, given a role, or sent away.

Speaks to a server as the person at the command line. Not for operators: they make accounts in the database
(``accounts``).
"""

from __future__ import annotations

import argparse

from poms.webservice.cli.client import action, clean, connection_options, open_client, say, show
from poms.webservice.rules.permissions import ROLES


def add_verbs(verbs: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    options = connection_options(common)
    parser = verbs.add_parser("people", help="who is in an experiment; superusers change it",
                              description="The people of an experiment. Changes need --role superuser.")
    actions = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    one = action(actions, "list", list_people, "list people with their roles", options)
    one.add_argument("fitting", nargs="?", default="", help="only those who have this in their names")
    one.add_argument("--all", action="store_true", help="also those whose membership ended")
    action(actions, "show", show_person, "show one of them, and every change of the role", options).add_argument(
        "username")
    one = action(actions, "add", add_person, "add somebody by user name", options)
    one.add_argument("username")
    one.add_argument("--as", dest="held", choices=ROLES, default=ROLES[0], help="the role (default: analysis)")
    one.add_argument("--first-name", default="", help="for somebody whom the service does not know yet")
    one.add_argument("--last-name", default="")
    one.add_argument("--reason", default="", help="for the record")
    one = action(actions, "role", give_role, "give people a role", options)
    one.add_argument("held", choices=ROLES, metavar="ROLE", help=", ".join(ROLES))
    one.add_argument("username", nargs="+")
    one.add_argument("--reason", default="", help="for the record")
    for word, run, text in (("end", end_membership, "end memberships; their history stays"),
                            ("follow", follow, "let the outside list decide about people again")):
        one = action(actions, word, run, text, options)
        one.add_argument("username", nargs="+")
        one.add_argument("--reason", default="", help="for the record")


def list_people(arguments: argparse.Namespace) -> int:
    found = open_client(arguments).people(fitting=arguments.fitting, ended=arguments.all)
    rows = [(row["username"], row["role"] if row["active"] else f"was {row['role']}", row["name"], row["source"])
            for row in found]
    return show(arguments, found, rows, ("user", "role", "name", "comes from"))


def show_person(arguments: argparse.Namespace) -> int:
    found = open_client(arguments).person(arguments.username)
    one = found["person_shown"]
    if not arguments.json:
        print(clean(f"{one['username']}  {one['role'] if one['active'] else 'not a member, was ' + one['role']}  "
                    f"{one['name']}").rstrip())
    return show(arguments, found, [(row["at"], row["by"], row["was"] or "-", row["role"] or "-", row["reason"])
                                   for row in found["history"]], ("when", "by", "was", "became", "reason"))


def add_person(arguments: argparse.Namespace) -> int:
    done = open_client(arguments).add_person(arguments.username, arguments.held, first_name=arguments.first_name,
                                             last_name=arguments.last_name, reason=arguments.reason)
    return say(arguments, done, f"added {arguments.username} as {arguments.held}")


def give_role(arguments: argparse.Namespace) -> int:
    return _change(arguments, "role", arguments.held)


def end_membership(arguments: argparse.Namespace) -> int:
    return _change(arguments, "end")


def follow(arguments: argparse.Namespace) -> int:
    return _change(arguments, "follow")


def _change(arguments: argparse.Namespace, act: str, held: str = "") -> int:
    changed = open_client(arguments).change_people(act, arguments.username, held=held, reason=arguments.reason)
    told = [f"{one['username']}: {one['was'] or 'no member'} -> {one['role'] or 'no member'}" for one in changed]
    return say(arguments, changed, "\n".join(map(clean, told)) or "nothing to change") if arguments.json or not told \
        else show(arguments, changed, [(line,) for line in told])
