"""Taking back what was done: a change notes the rows it touches, in its own transaction, and can be undone for a while.

Only for what is wholly in the database; jobs that were stopped and launches that went out cannot be taken back.
Invariant: an undo puts back all rows of a change or none, and none if one of them is not as the change left it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Column, Table, and_, delete, exists, inspect, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from poms.webservice.db import before_commit
from poms.webservice.errors import Conflict, NotAllowed, NotFound
from poms.webservice.model import Base, Membership, Undo
from poms.webservice.model.base import UtcDateTime
from poms.webservice.rules.permissions import Actor
from poms.webservice.services import events
from poms.webservice.services.core import Core

GOOD_FOR = timedelta(minutes=10)
LONGEST_STEPS = 2_000_000
"""A change whose rows are longer than this as text is not kept: nobody undoes by keeping copies of everything."""

MOST_EVENTS = 100
Values = dict[str, Any]
_LABELS = {"campaigns": "campaign", "campaign_stages": "stage", "job_types": "job type", "login_setups": "login setup",
           "tags": "tag", "experiments": "experiment", "schedules": "the schedule of stage", "watches": "watch",
           "launches": "launch", "list_columns": "the choice of columns", "campaigns_tags": "tag",
           "campaign_versions": "version",
           "experiments_experimenters": "the membership of", "campaign_samples": "sample"}


@dataclass(frozen=True, slots=True)
class Offer:
    """What may be undone, and until when."""

    undo_id: int
    until: datetime


@dataclass
class Change:
    """One change on its way: the service that makes it tells which rows it changes, adds and removes.

    ``offer`` is there once that is committed, unless nothing was touched or it was too much to be kept.
    """

    core: Core
    actor: Actor
    title: str
    offer: Offer | None = None
    _steps: list[dict[str, Any]] = field(default_factory=list)
    _is_whole: bool = True

    def changed(self, session: Session, row: Any, *, to: Mapping[str, Any] | None = None, name: str = "") -> None:
        """A loaded row that has just got other values, which are not flushed yet.

        ``to``: columns that taking it back sets to something else than they were, such as a number that only grows.
        ``name`` as in ``added``.
        """
        before, after = {}, {}
        for attribute in inspect(row).mapper.column_attrs:
            history = inspect(row).attrs[attribute.key].history
            if history.has_changes():
                column = attribute.columns[0]
                before[column.name] = _plain(history.deleted[0] if history.deleted else None)
                after[column.name] = _plain(getattr(row, attribute.key))
        if before:
            values = _values(row)
            self._note(session, row.__table__, _key_of(row.__table__, values), {**before, **(to or {})}, after,
                       {**values, "name": name} if name else values)

    def added(self, session: Session, row: Any, name: str = "") -> None:
        """A row that is new in this transaction; ``name``: what people call it, if it has none of its own."""
        values = _values(row)
        self._note(session, row.__table__, _key_of(row.__table__, values), None, {}, {**values, "name": name}
                   if name else values)

    def removed(self, session: Session, rows: Iterable[Any]) -> None:
        """Rows that will be deleted, with all that goes with them."""
        for row in rows:
            for table, values in _with_dependants(session, row.__table__, _values(row)):
                self._note(session, table, _key_of(table, values), values, None, values)

    def continued(self, session: Session, row: Any, *, key: Sequence[str], at: str) -> None:
        """A row that taking this back adds to a history, which is never shortened.

        ``row`` is not part of the session; ``key``: the columns by which it is one of its kind; ``at``: the column that
        says when it was written.
        """
        values = {name: value for name, value in _values(row).items() if value is not None}
        self._note(session, row.__table__, {name: values[name] for name in key}, {**values, at: None}, None, values)
        self._steps[-1]["at"] = at

    def cannot_be(self) -> None:
        """Part of this change cannot be taken back, so none of it is offered."""
        self._is_whole = False

    def _note(self, session: Session, table: Table, key: dict[str, Any], before: Mapping[str, Any] | None,
              after: Mapping[str, Any] | None, row: Mapping[str, Any]) -> None:
        self._steps.append({
            "table": table.name, "key": key, "before": before, "after": after,
            "name": row.get("name") or row.get("tag_name") or " ".join(str(value) for value in key.values()),
            "campaign_id": row.get("campaign_id"), "campaign_stage_id": row.get("campaign_stage_id")})
        before_commit(session, "undo", self._store)

    def _store(self, session: Session) -> None:
        now, actor = self.core.clock(), self.actor
        session.execute(delete(Undo).where(Undo.expires_at < now))
        if not self._is_whole or len(json.dumps(self._steps)) > LONGEST_STEPS:
            return
        row = Undo(experimenter_id=actor.experimenter_id, experiment=actor.experiment, role=actor.role,
                   title=self.title, steps=self._steps, made_at=now, expires_at=now + GOOD_FOR)
        session.add(row)
        session.flush()
        self.offer = Offer(row.undo_id, row.expires_at)


class _Unkept(Change):
    """For changes that nobody is offered to take back."""

    def __init__(self) -> None:
        """Knows nobody and nothing."""

    def changed(self, session: Session, row: Any, *, to: Mapping[str, Any] | None = None, name: str = "") -> None:
        """Note nothing."""

    def continued(self, session: Session, row: Any, *, key: Sequence[str], at: str) -> None:
        """Note nothing."""

    def added(self, session: Session, row: Any, name: str = "") -> None:
        """Note nothing."""

    def removed(self, session: Session, rows: Iterable[Any]) -> None:
        """Note nothing."""

    def cannot_be(self) -> None:
        """Nothing was noted."""


UNKEPT: Change = _Unkept()


def undo(core: Core, actor: Actor, undo_id: int) -> str:
    """Take back one of the actor's own changes; returns what it was. Undone already, it is done.

    Raises NotFound, NotAllowed, and Conflict with the reason if it is too late or something changed since.
    """
    now = core.clock()
    try:
        with core.db.write() as session:
            row = session.get(Undo, undo_id, with_for_update=True)
            if row is None or (row.experimenter_id, row.experiment) != (actor.experimenter_id, actor.experiment):
                raise NotFound("This can be undone no more: what you do is kept for some minutes.")
            if row.role != actor.role:
                raise NotAllowed(f"This was done as {row.role}; act as {row.role} to undo it.")
            if row.undone_at is not None:
                return row.title
            if row.expires_at <= now:
                raise Conflict(f"This could be undone until {row.expires_at:%H:%M} UTC. It stays as it is.")
            were = _roles(session, row.steps)
            _take_back(session, row.steps, now)
            row.undone_at = now
            for username, role in _roles(session, row.steps).items():
                events.record(session, "person.changed", now, actor.username, experiment=actor.experiment,
                              username=username, was=were[username], role=role, reason="taken back")
            for about in _about(row.steps):
                events.record(session, "change.undone", now, actor.username, experiment=actor.experiment,
                              what=row.title, **about)
            return row.title
    except IntegrityError as taken:
        raise Conflict("Something that this needs is gone, or its name is taken since. It stays as it is.") from taken


def _take_back(session: Session, steps: list[dict[str, Any]], now: datetime) -> None:
    """What was added goes, the last first; what was removed comes back, the first first; then what was changed."""
    for step in reversed(steps):
        if step["before"] is None:
            _remove(session, step)
    for step in steps:
        if step["after"] is None:
            _require_gone(session, step)
            table = _table(step)
            values = _typed(table, step["before"])
            session.execute(table.insert().values({**values, step["at"]: now} if "at" in step else values))
    for step in steps:
        if step["before"] is not None and step["after"] is not None:
            _change_back(session, step)


def _remove(session: Session, step: dict[str, Any]) -> None:
    table = _table(step)
    if _row(session, step) is None:
        raise Conflict(f"{_what(step)} is gone since. It stays as it is.")
    # Others may use what was new then, such as a tag: it stays for them.
    if not _is_referred_to(session, table, step["key"]):
        session.execute(table.delete().where(_is(table, step["key"])))


def _require_gone(session: Session, step: dict[str, Any]) -> None:
    if _row(session, step) is not None:
        raise Conflict(f"{_what(step)} is there again since. It stays as it is.")


def _change_back(session: Session, step: dict[str, Any]) -> None:
    row, table = _row(session, step), _table(step)
    if row is None:
        raise Conflict(f"{_what(step)} is gone since. It stays as it is.")
    if {name: _plain(row[name]) for name in step["after"]} != step["after"]:
        raise Conflict(f"{_what(step)} was changed since. It stays as it is.")
    session.execute(update(table).where(_is(table, step["key"])).values(_typed(table, step["before"])))


def _about(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The campaigns and stages that an undo concerns, for the event log; one entry if there are none."""
    tables = ("campaigns", "campaign_stages", "schedules", "launches", "campaigns_tags")
    places = dict.fromkeys((step["campaign_id"], step["campaign_stage_id"]) for step in steps
                           if step["table"] in tables)
    return [{"campaign_id": campaign, "stage_id": stage} for campaign, stage in list(places)[:MOST_EVENTS]] or [{}]


def _roles(session: Session, steps: list[dict[str, Any]]) -> dict[str, str]:
    """The roles of those whose memberships are among the rows, by user name; "" for who is no member."""
    roles = {}
    for step in steps:
        if step["table"] == Membership.__tablename__:
            row = _row(session, step)
            roles[step["name"]] = row["role"] if row is not None and row["active"] else ""
    return roles


def _what(step: Mapping[str, Any]) -> str:
    label = _LABELS.get(step["table"], step["table"].replace("_", " "))
    return f"{label[0].upper()}{label[1:]} {step['name']}"


# ---------------------------------------------------------------------------------------- rows as plain values


def _table(step: Mapping[str, Any]) -> Table:
    return Base.metadata.tables[step["table"]]


def _is(table: Table, key: Mapping[str, Any]) -> Any:
    return and_(*(table.c[name] == value for name, value in key.items()))


def _row(session: Session, step: Mapping[str, Any]) -> Mapping[str, Any] | None:
    table = _table(step)
    return session.execute(select(table).where(_is(table, step["key"])).with_for_update()).mappings().one_or_none()


def _values(row: Any) -> dict[str, Any]:
    return {attribute.columns[0].name: _plain(getattr(row, attribute.key))
            for attribute in inspect(row).mapper.column_attrs}


def _key_of(table: Table, values: Mapping[str, Any]) -> dict[str, Any]:
    return {column.name: values[column.name] for column in table.primary_key}


def _plain(value: Any) -> Any:
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value


def _typed(table: Table, values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _from_text(table.c[name], value) for name, value in values.items()}


def _from_text(column: Column[Any], value: Any) -> Any:
    if value is not None and isinstance(column.type, UtcDateTime):
        return datetime.fromisoformat(value)
    return value


def _references(table: Table) -> Iterator[tuple[Table, Column[Any], str]]:
    """The columns of other tables that point to a table, and to which of its columns."""
    for other in Base.metadata.sorted_tables:
        for column in other.columns:
            for key in column.foreign_keys:
                if key.column.table is table and other is not table:
                    yield other, column, key.column.name


def _is_referred_to(session: Session, table: Table, key: Mapping[str, Any]) -> bool:
    return any(session.scalar(select(exists().where(column == key[name])))
               for _, column, name in _references(table) if name in key)


def _with_dependants(session: Session, table: Table, values: Values) -> list[tuple[Table, Values]]:
    """A row and every row that refers to it, straight or through others; what is referred to comes first."""
    found: dict[Table, dict[tuple[Any, ...], Values]] = {table: {tuple(_key_of(table, values).values()): values}}
    for parent in Base.metadata.sorted_tables:
        for other, column, name in _references(parent) if parent in found else ():
            wanted = [row[name] for row in found[parent].values()]
            for row in session.execute(select(other).where(column.in_(wanted))).mappings():
                plain = {key: _plain(value) for key, value in row.items()}
                found.setdefault(other, {})[tuple(_key_of(other, plain).values())] = plain
    order = {each: place for place, each in enumerate(Base.metadata.sorted_tables)}
    return [(each, row) for each in sorted(found, key=order.__getitem__) for row in found[each].values()]
