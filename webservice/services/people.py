"""People: who sent a request, and in which experiment and role they act.

Rights are read from the database for every request and kept nowhere, so taking one away works at
once. Not for what a role may do to an item (that is ``services.permissions``).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Text, and_, bindparam, or_, select, true, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from poms.webservice.db import Database, Prepared
from poms.webservice.errors import NotAllowed, NotAuthenticated, NotFound
from poms.webservice.model import Experiment, Experimenter, Membership
from poms.webservice.rules.permissions import ANALYSIS, ROLES, Actor, acting_roles
from poms.webservice.services import accounts
from poms.webservice.services.core import Core

SEEN_FOR = timedelta(hours=1)
NOT_NOTED_FOR = timedelta(minutes=5)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Person:
    """A known person: active memberships only, and where the person acted last."""

    experimenter_id: int
    username: str
    name: str
    is_root: bool
    memberships: tuple[tuple[str, str], ...]
    session_experiment: str
    session_role: str
    seen_at: datetime | None = None

    def role_held(self, experiment: str) -> str:
        """The role held in an experiment, "" without an active membership."""
        return dict(self.memberships).get(experiment, "")

    def roles_in(self, experiment: str) -> tuple[str, ...]:
        """The roles in which the person may act there."""
        return acting_roles(self.role_held(experiment), self.is_root)


_WHO = (
    select(Experimenter.experimenter_id, Experimenter.username, Experimenter.first_name, Experimenter.last_name,
           Experimenter.root, Experimenter.session_experiment, Experimenter.session_role, Experimenter.last_login,
           Membership.experiment, Membership.role)
    .outerjoin(Membership, and_(Membership.experimenter_id == Experimenter.experimenter_id, Membership.active,
                                Membership.experiment.in_(select(Experiment.experiment).where(Experiment.active))))
    .where(Experimenter.username == bindparam("username", type_=Text)).order_by(Membership.experiment))
_SIGN_IN = Prepared("sign_in", _WHO)
_EXPERIMENT = Prepared("experiment", select(Experiment.experiment).where(
    Experiment.experiment == bindparam("experiment", type_=Text)))


def sign_in(db: Database, username: str) -> Person:
    """The person behind an identity, with what he or she may be now; one statement."""
    return _person(username, db.ask(_SIGN_IN, username=username))


def sign_in_with(item: Prepared) -> Prepared:
    """A statement that finds a person, and in the same rows an item: the columns from ``item_`` on, None without it."""
    who, what = _WHO.order_by(None).subquery("who"), item.statement.subquery("what")
    return Prepared(f"sign_in_with_{item.name}", (
        select(*who.c, *(column.label(f"item_{column.name}") for column in what.c))
        .select_from(who.outerjoin(what, true())).order_by(who.c.experiment)))


def sign_in_and_ask(db: Database, statement: Prepared, username: str, **values: Any) -> tuple[Person, tuple[Any, ...]]:
    """The person, and the columns of the item of a statement of ``sign_in_with``."""
    rows = db.ask(statement, username=username, **values)
    return _person(username, rows), tuple(rows[0][len(_WHO.exported_columns):])


def _person(username: str, rows: Sequence[Any]) -> Person:
    if not rows:
        raise NotAuthenticated(f"POMS does not know the user {username}. Ask a superuser of your experiment, or the "
                               "operator of this service, to have the account registered.")
    row = rows[0]
    return Person(
        experimenter_id=row.experimenter_id, username=row.username,
        name=f"{row.first_name} {row.last_name}".strip() or row.username, is_root=row.root,
        memberships=tuple((each.experiment, each.role) for each in rows if each.experiment),
        session_experiment=row.session_experiment, session_role=row.session_role, seen_at=row.last_login)


class Sightings:
    """Keeps when people were here last, to the hour: one request in an hour writes, the others only read.

    A database that takes no changes for a while (failover, full disk) costs nobody a page: it is told once, and tried
    again some minutes later.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._not_before: datetime | None = None

    def note(self, person: Person, now: datetime) -> None:
        if person.seen_at is not None and now - person.seen_at < SEEN_FOR:
            return
        if self._not_before is not None and now < self._not_before:
            return
        try:
            with self._db.write() as session:
                session.execute(update(Experimenter).where(
                    Experimenter.experimenter_id == person.experimenter_id,
                    or_(Experimenter.last_login.is_(None), Experimenter.last_login <= now - SEEN_FOR)
                ).values(last_login=now))
        except DBAPIError as error:
            if self._not_before is None:
                log.warning("the database takes no changes; when people were last seen is not noted meanwhile",
                            extra={"error": str(error.orig)})
            self._not_before = now + NOT_NOTED_FOR
        else:
            self._not_before = None


def within(person: Person, experiments: frozenset[str] | None) -> Person:
    """The person as far as some experiments go: no membership elsewhere, and nothing that is of the whole service."""
    if experiments is None:
        return person
    return replace(person, is_root=False, memberships=tuple(one for one in person.memberships if one[0] in experiments))


def act_as(db: Database, person: Person, experiment: str = "", role: str = "", *,
           item_home: tuple[str, str] | None = None) -> Actor:
    """The actor for a request: what it names, else the addressed item's own, else what the person used last.

    ``item_home`` is the experiment and owner role of the item that the request addresses, if any.
    """
    if not experiment:
        experiment = item_home[0] if item_home else _usual_experiment(person)
        if item_home and not person.roles_in(experiment):
            # Whether a foreign experiment has such an item is nobody's business.
            raise NotFound("There is no such item in your experiments.")
    _require_member(db, person, experiment)
    allowed = person.roles_in(experiment)
    if not role:
        role = item_home[1] if item_home and item_home[1] in allowed else _usual_role(person, allowed)
    if role not in allowed:
        if role not in ROLES:
            raise NotAllowed(f"invalid role {role}: the roles are {', '.join(ROLES)}")
        raise NotAllowed(f"username {person.username} may not act as {role} in {experiment}, only as "
                         f"{', '.join(allowed)}")
    return Actor(person.experimenter_id, person.username, experiment, role, person.is_root)


def _usual_experiment(person: Person) -> str:
    """The saved experiment if it still counts, else the first one the person belongs to."""
    if person.session_experiment and (person.is_root or person.role_held(person.session_experiment)):
        return person.session_experiment
    if person.memberships:
        return person.memberships[0][0]
    raise NotAllowed(f"username {person.username} is in no experiment. Ask a superuser of your experiment to be added.")


def _usual_role(person: Person, allowed: tuple[str, ...]) -> str:
    """The role used last; for somebody who never chose, the highest."""
    chosen = person.session_experiment and person.session_role in allowed
    return person.session_role if chosen else allowed[-1]


def _require_member(db: Database, person: Person, experiment: str) -> None:
    if person.role_held(experiment):
        return
    if not person.is_root:
        raise NotAllowed(f"username {person.username} is not in experiment {experiment}")
    if not db.ask(_EXPERIMENT, experiment=experiment):
        raise NotFound(f"There is no experiment {experiment}.")


def experiments_of(session: Session, person: Person) -> list[str]:
    """Experiments a person may change to: all of them for root."""
    if not person.is_root:
        return [name for name, _ in person.memberships]
    return list(session.scalars(select(Experiment.experiment).where(Experiment.active)
                                .order_by(Experiment.experiment)))


def save_session(core: Core, person: Person, *, experiment: str = "", role: str = "") -> Actor:
    """Remember where a person acts; a role not held in the new experiment is lowered to the highest one there."""
    target = experiment or _usual_experiment(person)
    _require_member(core.db, person, target)
    allowed = person.roles_in(target)
    if role and role not in allowed:
        raise NotAllowed(f"username {person.username} may not act as {role} in {target}")
    with core.db.write() as session:
        row = session.get_one(Experimenter, person.experimenter_id)
        row.session_experiment = target
        row.session_role = role or _usual_role(person, allowed)
        return Actor(person.experimenter_id, person.username, target, row.session_role, person.is_root)


# ------------------------------------------------------------------------------- first installation


def add_experiment(core: Core, experiment: str, title: str = "") -> None:
    """Add an experiment under its short name; Conflict if it exists."""
    accounts.add_experiment(core, experiment, name=title)


def add_person(core: Core, username: str, first: str = "", last: str = "", *, root: bool = False) -> None:
    """Register a person without any membership; Conflict if the user name is taken."""
    accounts.add_person(core, username, first_name=first, last_name=last, root=root)


def ensure_person(core: Core, username: str, first: str = "", last: str = "", *, root: bool = False) -> None:
    """Like ``add_person``, but a person who is known already stays as he or she is."""
    with core.db.read() as session:
        known = session.scalar(select(Experimenter.experimenter_id).where(Experimenter.username == username))
    if known is None:
        add_person(core, username, first, last, root=root)


def set_membership(core: Core, username: str, experiment: str, role: str = ANALYSIS, *, active: bool = True) -> None:
    """Give a person a role in an experiment, change it, or take it away (``active`` False)."""
    accounts.set_role(core, username, experiment, role if active else None)


def list_experiments(core: Core) -> list[str]:
    """Names of the active experiments."""
    return [name for name, _, active in accounts.list_experiments(core) if active]


def usernames(session: Session, numbers: Iterable[int | None]) -> dict[int, str]:
    """User names by number, for pages."""
    wanted = {number for number in numbers if number is not None}
    if not wanted:
        return {}
    return {row.experimenter_id: row.username for row in session.scalars(
        select(Experimenter).where(Experimenter.experimenter_id.in_(wanted)))}
