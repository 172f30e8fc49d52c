"""Experiments and people as the administrator of the service makes them, from the command line.

Not who may do what (``rules.permissions``) and not who sent a request. Names are checked here
because they become parts of file names, addresses and batch attributes elsewhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from poms.webservice.errors import Conflict, Invalid, NotFound
from poms.webservice.model import Experiment, Experimenter, Membership
from poms.webservice.rules import memberships
from poms.webservice.rules.memberships import Standing
from poms.webservice.rules.permissions import ROLES
from poms.webservice.services import events
from poms.webservice.services.core import Core

EXPERIMENT_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
USERNAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
SOURCE = EXPERIMENT_NAME
ADMINISTRATOR = "administrator"
Outcome = Literal["changed", "unchanged", "kept"]
"""What became of a role; ``kept``: what was decided by hand stays, though an outside list says something else."""


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
        person = make_person(session, username, first_name=first_name, last_name=last_name, root=root,
                             experiment=experiment, role=role if experiment else "analysis")
        events.record(session, "person.changed", core.clock(), ADMINISTRATOR, username=username, root=root)
        if experiment:
            _set_role(core, session, person, experiment, role)


def make_person(session: Session, username: str, *, first_name: str = "", last_name: str = "", root: bool = False,
                experiment: str = "", role: str = "analysis") -> Experimenter:
    """A person, with the place in which he or she acts first."""
    person = Experimenter(username=username, first_name=first_name, last_name=last_name, root=root,
                          session_experiment=experiment, session_role=role)
    session.add(person)
    session.flush()
    return person


def set_role(core: Core, username: str, experiment: str, role: str | None, *, source: str = "") -> Outcome:
    """Give a person the highest role in an experiment; None takes the membership away (it stays, inactive).

    ``source``: not a decision, but what an outside list of members says. It changes nothing that was decided here.
    """
    if source and not SOURCE.fullmatch(source):
        raise Invalid(f"{source!r} cannot be the name of a list of members: use a letter, then letters, digits, - and "
                      "_, all small, 32 at most", "source")
    with core.db.write() as session:
        person = session.scalar(select(Experimenter).where(Experimenter.username == username))
        if person is None:
            raise NotFound(f"there is no user {username}: add one with `poms user add`")
        return _set_role(core, session, person, experiment, role, source)


def _set_role(core: Core, session: Session, person: Experimenter, experiment: str, role: str | None,
              source: str = "") -> Outcome:
    if role is not None and role not in ROLES:
        raise Invalid(f"there is no role {role!r}: use one of {', '.join(ROLES)}", "role")
    if not session.get(Experiment, experiment):
        raise NotFound(f"there is no experiment {experiment}: add it with `poms experiment add`")
    membership = session.get(Membership, (person.experimenter_id, experiment), with_for_update=True)
    if membership is None and role is None:
        raise NotFound(f"{person.username} has no role in {experiment}")
    now = None if membership is None else Standing(membership.role if membership.active else "", membership.source,
                                                   membership.source_role, membership.kept)
    wanted = memberships.listed(now, source, role or "", by_hand=bool(membership and membership.changed_by)) \
        if source else memberships.decided(now or Standing(), role or "")
    was = now.role if now else ""
    if membership is None:
        membership = Membership(experimenter_id=person.experimenter_id, experiment=experiment)
        session.add(membership)
    if source and wanted.role == was:
        # What a list says is noted; it did not decide anything.
        membership.source, membership.source_role, membership.kept = wanted.source, wanted.source_role, wanted.kept
        return "kept" if wanted.kept else "unchanged"
    apply(membership, wanted, by=source or ADMINISTRATOR, at=core.clock())
    record_role(session, core.clock(), source or ADMINISTRATOR, membership, person.username, was=was)
    return "changed"


def apply(membership: Membership, standing: Standing, *, by: str, at: datetime) -> None:
    """Write how somebody stands from now on; the role of an ended membership stays to be seen."""
    membership.active = bool(standing.role)
    membership.role = standing.role or membership.role
    membership.source, membership.source_role, membership.kept = standing.source, standing.source_role, standing.kept
    membership.changed_by, membership.changed_at = by, at


def record_role(session: Session, at: datetime, by: str, membership: Membership, username: str, *, was: str,
                reason: str = "") -> None:
    """Put into the event log who has which role now, "" for none, and by whom."""
    about = {"reason": reason} if reason else {}
    events.record(session, "person.changed", at, by, experiment=membership.experiment, username=username, was=was,
                  role=membership.role if membership.active else "", **about)


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
