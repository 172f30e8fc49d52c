"""The pages of people: who is or was in the experiment, one of them with his or her history, and what a change does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, case, false, func, or_, select
from sqlalchemy.orm import Session

from poms.webservice.errors import NotFound
from poms.webservice.model import Experimenter, Membership
from poms.webservice.rules.memberships import ROLE_WORDS, change_words
from poms.webservice.rules.permissions import ROLES, Actor, refusal
from poms.webservice.services import memberships
from poms.webservice.services.core import Core
from poms.webservice.services.list_columns import columns_of
from poms.webservice.services.memberships import Act, Effect, Entry
from poms.webservice.services.pages.common import Url, counted

PAGE = 50
LATEST = 10
LONGEST_HISTORY = 200
VIEWS = (("members", "Members"), ("ended", "Ended"), ("all", "All"))

_RANK = case(*((Membership.role == role, place) for place, role in enumerate(ROLES)), else_=len(ROLES))
_NAME = func.lower(Experimenter.last_name), func.lower(Experimenter.first_name)
_SORTS: dict[str, tuple[ColumnElement[Any], ...]] = {
    "username": (func.lower(Experimenter.username),), "name": _NAME, "role": (_RANK,),
    "seen": (Experimenter.last_login,), "changed": (Membership.changed_at,)}


def people_page(core: Core, actor: Actor, url: Url, *, view: str = "members", held: str = "", text: str = "",
                sort: str = "username", offset: int = 0) -> dict[str, Any]:
    """Who is in the experiment, with the newest changes of roles."""
    with core.db.read() as session:
        rows, more = _rows(session, actor, url, view=view, held=held, text=text, sort=sort, offset=offset, limit=PAGE)
        columns = columns_of(session, actor, "people")
        numbers = _numbers(session, actor.experiment)
        latest = memberships.history(session, actor.experiment, limit=LATEST)
    kept = {"view": view, "held": held or None, "text": text or None, "sort": sort}
    return {
        "people": rows, "text": text, "held": held, "columns": columns,
        "views": [{"label": label, "url": url("people", **{**kept, "view": name}), "current": name == view,
                   "count": numbers[name]} for name, label in VIEWS],
        "role_words": _roles(), "latest": [_shown(entry, url) for entry in latest],
        "pager": {"text": f"{offset + 1:,} to {offset + len(rows):,}" if rows else "", "sorted": True,
                  "newer_url": url("people", **kept, offset=max(0, offset - PAGE)) if offset else "",
                  "older_url": url("people", **kept, offset=offset + PAGE) if more else ""},
        "may": {"appoint": refusal(actor, "appoint") is None},
        "typed": {"username": "", "first_name": "", "last_name": "", "held": ROLES[0], "reason": ""}, "problems": [],
    }


def people_pieces(core: Core, actor: Actor, url: Url, size: int, **which: Any) -> Iterator[list[dict[str, Any]]]:
    """Everybody whom the filter lets through in pieces, each read by itself."""
    offset, more = 0, True
    while more:
        with core.db.read() as session:
            rows, more = _rows(session, actor, url, offset=offset, limit=size, **which)
        yield rows
        offset += size


def person_page(core: Core, actor: Actor, url: Url, username: str) -> dict[str, Any]:
    """One person in the experiment. Raises NotFound for somebody who never was in it."""
    with core.db.read() as session:
        found = session.execute(_members(actor.experiment).where(Experimenter.username == username)).one_or_none()
        if found is None:
            raise NotFound(f"{username} is not and was not in {actor.experiment}.")
        entries = memberships.history(session, actor.experiment, username=username, limit=LONGEST_HISTORY)
    return {
        "person_shown": _row(*found, actor, url), "role_words": _roles(),
        "history": [_shown(entry, url) for entry in entries], "history_is_cut": len(entries) == LONGEST_HISTORY,
        "campaigns_url": url("campaigns", view="all", text=username),
        "may": {"appoint": refusal(actor, "appoint") is None},
    }


def _members(experiment: str) -> Select[Any]:
    return select(Membership, Experimenter).join(Experimenter).where(Membership.experiment == experiment)


def _rows(session: Session, actor: Actor, url: Url, *, view: str, held: str, text: str, sort: str, offset: int,
          limit: int) -> tuple[list[dict[str, Any]], bool]:
    statement = _members(actor.experiment)
    if view != "all":
        statement = statement.where(Membership.active if view == "members" else Membership.active == false())
    if held:
        statement = statement.where(Membership.role == held)
    if text:
        full = Experimenter.first_name + " " + Experimenter.last_name
        statement = statement.where(or_(Experimenter.username.icontains(text, autoescape=True),
                                        full.icontains(text, autoescape=True)))
    columns = _SORTS.get(sort.removeprefix("-"), _SORTS["username"])
    # Who was never seen stands last in either direction, on both databases.
    order = [(column.desc() if sort.startswith("-") else column).nulls_last() for column in columns]
    found = session.execute(statement.order_by(*order, Experimenter.username).offset(offset).limit(limit + 1)).all()
    return [_row(row, person, actor, url) for row, person in found[:limit]], len(found) > limit


def _row(row: Membership, person: Experimenter, actor: Actor, url: Url) -> dict[str, Any]:
    return {
        "username": person.username, "name": f"{person.first_name} {person.last_name}".strip(), "role": row.role,
        "active": row.active, "is_root": person.root, "is_you": person.experimenter_id == actor.experimenter_id,
        "seen_at": person.last_login, "changed_at": row.changed_at, "changed_by": row.changed_by,
        "source": row.source, "source_role": row.source_role, "kept": row.kept,
        "url": url("person", username=person.username),
    }


def _numbers(session: Session, experiment: str) -> dict[str, int]:
    rows = session.execute(select(Membership.active, func.count()).where(Membership.experiment == experiment)
                           .group_by(Membership.active))
    counts = {row[0]: row[1] for row in rows}
    members, ended = counts.get(True, 0), counts.get(False, 0)
    return {"members": members, "ended": ended, "all": members + ended}


def _roles() -> list[dict[str, str]]:
    return [{"name": role, "text": ROLE_WORDS[role]} for role in ROLES]


def _shown(entry: Entry, url: Url) -> dict[str, Any]:
    return {"id": entry.event_id, "at": entry.at, "by": entry.by, "username": entry.username,
            "url": url("person", username=entry.username), "was": entry.was, "role": entry.role,
            "reason": entry.reason}


# ------------------------------------------------------------------------------- what a change would do


def change_page(actor: Actor, url: Url, act: Act, found: Sequence[Effect], *, role: str = "") -> dict[str, Any]:
    """What giving a role, ending memberships or following the outside list would do."""
    touched = [effect for effect in found if not effect.why_not]
    who = touched[0].username if len(touched) == 1 else counted(len(touched), "person").replace("persons", "people")
    title = {"role": f"Make {who} {role}", "end": f"End the membership of {who}",
             "follow": f"Let the outside list decide about {who}"}[act]
    text = {"role": f"Who is {role} {ROLE_WORDS.get(role, '')}. It holds from the next click on.",
            "end": "They may do nothing in this experiment from then on. What they made stays, and so does the record "
                   "of it; launches in their names fail and wait on the shift board for somebody to take them over.",
            "follow": "The role becomes what the list says now, and changes when the list does."}[act]
    if any(effect.username == actor.username and effect.was != effect.role for effect in touched):
        text += " You are one of them."
    return {"title": title, "text": text, "yes": title if len(touched) == 1 else f"{title.split(' ')[0]} {who}",
            "keep": "Change nothing", "danger": act == "end", "reason": True, "rate": False,
            **_listed(found, url)}


def add_page(effect: Effect, url: Url, experiment: str) -> dict[str, Any]:
    """What adding somebody would do."""
    text = f"Who is {effect.role} {ROLE_WORDS[effect.role]}."
    if effect.is_new:
        text += (" POMS does not know this user name yet: compare it with the one by which the person signs in, letter "
                 "by letter.")
    title = f"Add {effect.username} to {experiment}"
    return {"title": title, "text": text, "yes": f"Add {effect.username}", "keep": "Add nobody", "danger": False,
            "reason": True, "rate": False, **_listed([effect], url)}


def _listed(found: Sequence[Effect], url: Url) -> dict[str, Any]:
    def shown(effect: Effect) -> dict[str, Any]:
        called = f"{effect.username}, {effect.name}" if effect.name else effect.username
        where = url("people") if effect.is_new else url("person", username=effect.username)
        return {"name": called, "state": "", "url": where,
                "effect": effect.why_not or change_words(effect.was, effect.role)}

    touched = [shown(effect) for effect in found if not effect.why_not]
    left = [shown(effect) for effect in found if effect.why_not]
    return {"touched": touched, "touched_total": len(touched), "left": left, "left_total": len(left),
            "left_why": [f"{len(left):,} left alone"] if left else []}
