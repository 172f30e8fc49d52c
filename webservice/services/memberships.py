"""Who is in an experiment, and in which role: people give roles, end memberships, and see who did that when.

Nobody is deleted: an ended membership stays, inactive, and every change is in the event log. Not for how operators
make accounts (``accounts``). Invariant: a person's own hand never takes the last superuser from an experiment.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import literal_column, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from poms.webservice.errors import Conflict, Invalid, NotFound, Problem
from poms.webservice.model import Event, Experimenter, Membership
from poms.webservice.rules import memberships as rules
from poms.webservice.rules.memberships import Standing
from poms.webservice.rules.permissions import ANALYSIS, ROLES, SUPERUSER, Actor
from poms.webservice.services import accounts, permissions
from poms.webservice.services.core import Core
from poms.webservice.services.undos import UNKEPT, Change

Act = Literal["role", "end", "follow"]
ACTS: tuple[Act, ...] = ("role", "end", "follow")
LONGEST_NAME = 100
_KIND = "person.changed"


@dataclass(frozen=True, slots=True)
class Effect:
    """What a change does to one person; ``why_not`` it does nothing, "" if it does something.

    ``is_refused``: it would do something that is not allowed to happen.
    """

    username: str
    name: str
    was: str
    role: str
    why_not: str = ""
    is_refused: bool = False
    is_new: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """One change of a role, as the event log has it."""

    event_id: int
    at: datetime
    by: str
    username: str
    was: str
    role: str
    reason: str


@dataclass(frozen=True, slots=True)
class Added:
    """Who is to be added; the names count only for somebody whom POMS does not know yet."""

    username: str
    role: str = ANALYSIS
    first_name: str = ""
    last_name: str = ""


def standing_of(row: Membership) -> Standing:
    """How somebody stands, by the stored row."""
    return Standing(row.role if row.active else "", row.source, row.source_role, row.kept)


# ------------------------------------------------------------------------------------------ changes


def effects(core: Core, actor: Actor, act: Act, usernames: Collection[str], *, role: str = "") -> list[Effect]:
    """What ``change`` would do; nothing is done. Raises NotFound, Invalid."""
    _require(actor, act, role)
    with core.db.read() as session:
        return [effect for _, effect in _work_out(session, actor, act, usernames, role)]


def change(core: Core, actor: Actor, act: Act, usernames: Collection[str], *, role: str = "", reason: str = "",
           undo: Change = UNKEPT) -> list[Effect]:
    """Give these people a role, end their memberships, or let the outside list decide about them again.

    Returns what happened to each. Raises Conflict if nothing could happen because it is refused.
    """
    _require(actor, act, role)
    with core.db.write() as session:
        # Whoever changes people of an experiment waits here, so that two superusers cannot remove each other.
        _superusers(session, actor.experiment, lock=True)
        found = _work_out(session, actor, act, usernames, role, lock=True)
        refused = next((effect.why_not for _, effect in found if effect.is_refused), "")
        if refused and not any(not effect.why_not for _, effect in found):
            raise Conflict(refused)
        for row, effect in found:
            if not effect.why_not:
                _write(core, session, actor, row, effect, _wanted(row, act, role), reason, undo)
        return [effect for _, effect in found]


def adding(core: Core, actor: Actor, added: Added) -> Effect:
    """What ``add`` would do; nothing is done. Raises Invalid, and Conflict for a member."""
    _require_addable(actor, added)
    with core.db.read() as session:
        return _add_effect(session, actor, added)[2]


def add(core: Core, actor: Actor, added: Added, *, reason: str = "", undo: Change = UNKEPT) -> Effect:
    """Add somebody by user name; an ended membership begins again, and POMS gets to know whom it did not know."""
    _require_addable(actor, added)
    try:
        with core.db.write() as session:
            person, row, effect = _add_effect(session, actor, added)
            if person is None:
                person = accounts.make_person(session, added.username, first_name=added.first_name,
                                              last_name=added.last_name, experiment=actor.experiment, role=added.role)
            if row is not None:
                wanted = rules.decided(standing_of(row), added.role)
                _write(core, session, actor, row, effect, wanted, reason, undo)
                return effect
            row = Membership(experimenter_id=person.experimenter_id, experiment=actor.experiment, role=added.role,
                             active=True, changed_by=actor.username, changed_at=core.clock())
            session.add(row)
            session.flush()
            undo.added(session, row, name=added.username)
            accounts.record_role(session, core.clock(), actor.username, row, effect.username, was="", reason=reason)
            return effect
    except IntegrityError as taken:
        raise Conflict(f"Somebody else added {added.username} at the same moment. Look at the list again.") from taken


def _require(actor: Actor, act: Act, role: str) -> None:
    permissions.require_general(actor, "appoint", "experiment")
    if act == "role" and role not in ROLES:
        raise Invalid(f"Choose one of the roles {', '.join(ROLES)}.", field="held")


def _require_addable(actor: Actor, added: Added) -> None:
    permissions.require_general(actor, "appoint", "experiment")
    problems = []
    if not accounts.USERNAME.fullmatch(added.username):
        problems.append(Problem("username", "This cannot be a user name: use letters, digits, . _ @ and -, 64 at most. "
                                            "It is the name by which the person signs in."))
    if added.role not in ROLES:
        problems.append(Problem("held", f"Choose one of the roles {', '.join(ROLES)}."))
    problems += [Problem(field, f"Use at most {LONGEST_NAME} characters.")
                 for field in ("first_name", "last_name") if len(getattr(added, field)) > LONGEST_NAME]
    if problems:
        raise Invalid(problems)


def _add_effect(session: Session, actor: Actor,
                added: Added) -> tuple[Experimenter | None, Membership | None, Effect]:
    person = session.scalar(select(Experimenter).where(Experimenter.username == added.username))
    if person is None:
        name = f"{added.first_name} {added.last_name}".strip()
        return None, None, Effect(added.username, name, "", added.role, is_new=True)
    row = session.get(Membership, (person.experimenter_id, actor.experiment), with_for_update=True)
    if row is not None and row.active:
        raise Conflict(f"{added.username} is in {actor.experiment} already, as {row.role}. Change the role on that "
                       "person's page.")
    return person, row, Effect(added.username, _name(person), "", added.role)


def _work_out(session: Session, actor: Actor, act: Act, usernames: Collection[str], role: str, *,
              lock: bool = False) -> list[tuple[Membership, Effect]]:
    """The memberships of these people, each with what would become of it."""
    statement = (select(Membership, Experimenter).join(Experimenter)
                 .where(Membership.experiment == actor.experiment, Experimenter.username.in_(list(usernames)))
                 .order_by(Experimenter.username))
    rows = session.execute(statement.with_for_update(of=Membership) if lock else statement).all()
    missing = sorted(set(usernames) - {person.username for _, person in rows})
    if missing:
        raise NotFound(f"{missing[0][:100]} is not and was not in {actor.experiment}.")
    others = [number for number in _superusers(session, actor.experiment) if number != actor.experimenter_id]
    return [(row, _effect(actor, act, row, person, role, has_others=bool(others))) for row, person in rows]


def _effect(actor: Actor, act: Act, row: Membership, person: Experimenter, role: str, *, has_others: bool) -> Effect:
    now, wanted = standing_of(row), _wanted(row, act, role)
    effect = Effect(person.username, _name(person), now.role, wanted.role)
    if act == "follow" and not now.kept:
        return replace(effect, why_not=f"{row.source} decides already" if row.source else "is on no outside list")
    if act == "end" and not now.role:
        return replace(effect, why_not="has ended already")
    if wanted == now:
        return replace(effect, why_not=f"is {now.role} already")
    loses_last = now.role == SUPERUSER != wanted.role and not has_others
    if loses_last and row.experimenter_id == actor.experimenter_id:
        return replace(effect, is_refused=True, why_not=f"You are the last superuser of {actor.experiment}. Make "
                       "somebody else superuser first, or ask the operator of this service.")
    return effect


def _wanted(row: Membership, act: Act, role: str) -> Standing:
    now = standing_of(row)
    return rules.followed(now) if act == "follow" else rules.decided(now, role if act == "role" else "")


def _write(core: Core, session: Session, actor: Actor, row: Membership, effect: Effect, wanted: Standing, reason: str,
           undo: Change) -> None:
    accounts.apply(row, wanted, by=actor.username, at=core.clock())
    if row.experimenter_id == actor.experimenter_id and effect.was == SUPERUSER != effect.role:
        # Whoever is superuser no more could not undo it.
        undo.cannot_be()
    undo.changed(session, row, name=effect.username)
    accounts.record_role(session, core.clock(), actor.username, row, effect.username, was=effect.was, reason=reason)


def _superusers(session: Session, experiment: str, *, lock: bool = False) -> Sequence[int]:
    statement = (select(Membership.experimenter_id).where(
        Membership.experiment == experiment, Membership.active, Membership.role == SUPERUSER)
        .order_by(Membership.experimenter_id))
    return session.scalars(statement.with_for_update() if lock else statement).all()


def _name(person: Experimenter) -> str:
    return f"{person.first_name} {person.last_name}".strip()


# ------------------------------------------------------------------------------------------ history


def history(session: Session, experiment: str, *, username: str = "", before: int | None = None,
            limit: int = 50) -> list[Entry]:
    """Who gave whom which role, the newest first; of everybody in the experiment, or of one person."""
    # The word itself, not a parameter: only then SQLite sees that its index of these few events will do.
    statement = select(Event).where(Event.experiment == experiment, Event.kind == literal_column(f"'{_KIND}'"))
    if username:
        statement = statement.where(Event.data["username"].as_string() == username)
    if before is not None:
        statement = statement.where(Event.event_id < before)
    return [_entry(row) for row in session.scalars(statement.order_by(Event.event_id.desc()).limit(limit))]


def _entry(row: Event) -> Entry:
    data: dict[str, Any] = row.data or {}
    return Entry(row.event_id, row.at, row.actor, str(data.get("username", "")), str(data.get("was", "")),
                 str(data.get("role", "")), str(data.get("reason", "")))
