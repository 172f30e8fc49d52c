"""Experiments and people as the administrator of the service makes them, from the command line.

Not who may do what (``rules.permissions``) and not who sent a request. Names are checked here
because they become parts of file names, addresses and batch attributes elsewhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from poms.webservice.errors import Conflict, Invalid, NotFound
from poms.webservice.model import Experiment, Experimenter, Membership
from poms.webservice.rules.permissions import ROLES
from poms.webservice.services import events
from poms.webservice.services.core import Core

EXPERIMENT_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
USERNAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
ADMINISTRATOR = "administrator"


@dataclass(frozen=True, slots=True)
class Person:
    """A person and the roles held, as pairs of experiment and role; inactive memberships are left out."""

    username: str
    name: str
    is_root: bool
    roles: tuple[tuple[str, str], ...]


def add_experiment(core: Core, experiment: str, *, name: str = "") -> None:
    """Raises Invalid for a name that cannot be used, Conflict if it is there already."""
    if not EXPERIMENT_NAME.fullmatch(experiment):
        raise Invalid(f"{experiment!r} cannot be the short name of an experiment: use a letter, then letters, digits, "
                      "- and _, all small, 32 at most", "experiment")
    with core.db.write() as session:
        if session.get(Experiment, experiment):
            raise Conflict(f"the experiment {experiment} is there already")
        shown = name or experiment
        if session.scalar(select(Experiment.experiment).where(Experiment.name == shown)):
            raise Conflict(f"another experiment has the name {shown!r}")
        session.add(Experiment(experiment=experiment, name=shown))
        events.record(session, "experiment.added", core.clock(), ADMINISTRATOR, experiment=experiment)


def list_experiments(core: Core) -> list[tuple[str, str, bool]]:
    """Short name, name, and whether it is active."""
    with core.db.read() as session:
        found = session.scalars(select(Experiment).order_by(Experiment.experiment))
        return [(each.experiment, each.name, each.active) for each in found]


def add_person(core: Core, username: str, *, first_name: str = "", last_name: str = "", root: bool = False,
               experiment: str = "", role: str = "analysis") -> None:
    """Add a person, with a first membership if an experiment is given. Raises Conflict if there already."""
    if not USERNAME.fullmatch(username):
        raise Invalid(f"{username!r} cannot be a user name: use letters, digits, . _ @ and -, 64 at most", "username")
    with core.db.write() as session:
        if session.scalar(select(Experimenter.experimenter_id).where(Experimenter.username == username)):
            raise Conflict(f"the user {username} is there already: change roles with `poms user role`")
        person = Experimenter(username=username, first_name=first_name, last_name=last_name, root=root,
                              session_experiment=experiment, session_role=role if experiment else "analysis")
        session.add(person)
        session.flush()
        events.record(session, "person.changed", core.clock(), ADMINISTRATOR, username=username, root=root)
        if experiment:
            _set_role(core, session, person, experiment, role)


def set_role(core: Core, username: str, experiment: str, role: str | None) -> None:
    """Give a person the highest role in an experiment; None takes the membership away (it stays, inactive)."""
    with core.db.write() as session:
        person = session.scalar(select(Experimenter).where(Experimenter.username == username))
        if person is None:
            raise NotFound(f"there is no user {username}: add one with `poms user add`")
        _set_role(core, session, person, experiment, role)


def _set_role(core: Core, session: Session, person: Experimenter, experiment: str, role: str | None) -> None:
    if role is not None and role not in ROLES:
        raise Invalid(f"there is no role {role!r}: use one of {', '.join(ROLES)}", "role")
    if not session.get(Experiment, experiment):
        raise NotFound(f"there is no experiment {experiment}: add it with `poms experiment add`")
    membership = session.get(Membership, (person.experimenter_id, experiment))
    if membership is None:
        if role is None:
            raise NotFound(f"{person.username} has no role in {experiment}")
        membership = Membership(experimenter_id=person.experimenter_id, experiment=experiment)
        session.add(membership)
    membership.active = role is not None
    membership.role = role or membership.role
    events.record(session, "person.changed", core.clock(), ADMINISTRATOR, experiment=experiment,
                  username=person.username, role=role or "")


def list_people(core: Core, *, experiment: str = "") -> list[Person]:
    """Everybody, or those who have a role in an experiment; by user name."""
    statement = select(Experimenter).order_by(Experimenter.username)
    rows = select(Membership).where(Membership.active).order_by(Membership.experiment)
    with core.db.read() as session:
        roles: dict[int, list[tuple[str, str]]] = {}
        for row in session.scalars(rows):
            roles.setdefault(row.experimenter_id, []).append((row.experiment, row.role))
        found = [Person(each.username, f"{each.first_name} {each.last_name}".strip(), each.root,
                        tuple(roles.get(each.experimenter_id, ()))) for each in session.scalars(statement)]
    if experiment:
        found = [person for person in found if any(where == experiment for where, _ in person.roles)]
    return found
