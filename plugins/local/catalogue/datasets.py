"""Definitions (named queries, evaluated afresh each time) and snapshots (frozen, numbered lists).

A definition that was used - it has a snapshot - is neither changed nor deleted: what ran with it must
stay explainable. A snapshot of an unchanged list is the snapshot there was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, RowMapping, func, insert, literal, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import IntegrityError

from poms.webservice.errors import Conflict, Invalid, NotFound, Problem
from poms.webservice.rules.sam_queries import definition as definition_query

from . import conditions, tables
from .compiler import Compiler
from .files import Scope, chunks
from .metadata import BadName, checked_name, time_text

INSERT_AT_ONCE = 10_000


def find(scope: Scope, name: str, *, lock: bool = False) -> RowMapping | None:
    table = tables.definitions
    query = select(table).where(table.c.experiment == scope.experiment, table.c.name == name)
    return scope.connection.execute(query.with_for_update() if lock else query).mappings().one_or_none()


def get(scope: Scope, name: str, *, lock: bool = False) -> RowMapping:
    found = find(scope, name, lock=lock)
    if found is None:
        raise NotFound(f"there is no definition {name!r} in the catalogue of {scope.experiment}")
    return found


def create(scope: Scope, name: str, dims: str, *, description: str = "", user: str = "", group: str = "") -> int:
    """A new definition; Conflict if there is one of that name, whatever it says."""
    try:
        checked_name(name, "defname")
    except BadName as problem:
        raise Invalid(Problem("defname", str(problem), code="definition")) from None
    if find(scope, name):
        raise Conflict(f"the definition {name!r} exists already: choose another name or delete it first")
    _check(scope, name, dims)
    table = tables.definitions
    try:
        return scope.connection.execute(insert(table).values(
            experiment=scope.experiment, name=name, dims=dims, description=description, user_name=user,
            group_name=group, created_at=scope.now).returning(table.c.definition_id)).scalar_one()
    except IntegrityError as error:
        raise Conflict(f"the definition {name!r} was made at the same moment") from error


def _check(scope: Scope, name: str, dims: str) -> None:
    try:
        Compiler(scope.connection, scope.experiment).check(dims, within=name)
    except NotFound as problem:
        raise Invalid(Problem("dims", str(problem), code="dimensions")) from problem


def define(scope: Scope, name: str, dims: str, *, description: str = "", user: str = "") -> None:
    """Make or replace a definition; the same text again is no change."""
    known = find(scope, name, lock=True)
    if known is None:
        create(scope, name, dims, description=description, user=user, group=scope.experiment)
        return
    if known["dims"] == dims:
        return
    _refuse_used(scope, known, "changed")
    _check(scope, name, dims)
    table = tables.definitions
    scope.connection.execute(update(table).where(table.c.definition_id == known["definition_id"]).values(
        dims=dims, description=description or known["description"], created_at=scope.now))


def _refuse_used(scope: Scope, known: RowMapping, what: str) -> None:
    table = tables.snapshots
    if scope.connection.scalar(select(1).where(table.c.definition_id == known["definition_id"]).limit(1)):
        raise Conflict(f"the definition {known['name']!r} was used already (it has a snapshot) and cannot be {what}: "
                       f"make one of another name")


def rename(scope: Scope, name: str, *, new_name: str = "", description: str | None = None) -> None:
    """Change name or description."""
    known = get(scope, name, lock=True)
    changes: dict[str, Any] = {} if description is None else {"description": description}
    if new_name and new_name != name:
        if find(scope, new_name):
            raise Conflict(f"the definition {new_name!r} exists already")
        _refuse_used(scope, known, "renamed")
        try:
            changes["name"] = checked_name(new_name, "defname")
        except BadName as problem:
            raise Invalid(Problem("defname", str(problem), code="definition")) from None
    if changes:
        table = tables.definitions
        scope.connection.execute(
            update(table).where(table.c.definition_id == known["definition_id"]).values(**changes))


def delete(scope: Scope, name: str) -> None:
    known = get(scope, name, lock=True)
    _refuse_used(scope, known, "deleted")
    table = tables.definitions
    scope.connection.execute(table.delete().where(table.c.definition_id == known["definition_id"]))


def describe(scope: Scope, name: str) -> dict[str, Any]:
    known = get(scope, name)
    return {"defname": known["name"], "defid": known["definition_id"], "dimensions": known["dims"],
            "description": known["description"], "username": known["user_name"], "group": known["group_name"],
            "create_time": time_text(known["created_at"])}


def names(scope: Scope, *, name: str = "", user: str = "", group: str = "", after: datetime | None = None,
          before: datetime | None = None) -> Sequence[str]:
    """Names of definitions, in order; ``%`` in a name is any text."""
    table = tables.definitions
    query = select(table.c.name).where(table.c.experiment == scope.experiment).order_by(table.c.name)
    for column, wanted in ((table.c.name, name), (table.c.user_name, user), (table.c.group_name, group)):
        if wanted:
            query = query.where(conditions.like(column, wanted, scope.connection.dialect.name))
    if after:
        query = query.where(table.c.created_at >= after)
    if before:
        query = query.where(table.c.created_at <= before)
    return scope.connection.scalars(query).all()


# --------------------------------------------------------------------------------------- snapshots


def snapshot(scope: Scope, name: str, *, force: bool = False) -> int:
    """Freeze what the definition gives now. An unchanged list keeps its number unless ``force``."""
    # The lock makes two snapshots at the same time one after the other, with one result.
    known = get(scope, name, lock=True)
    compiled = Compiler(scope.connection, scope.experiment).file_ids(definition_query(name)).subquery()
    file_ids = scope.connection.scalars(select(compiled.c.file_id).order_by(compiled.c.file_id)).all()
    content = hashlib.sha256(",".join(map(str, file_ids)).encode()).hexdigest()
    table = tables.snapshots
    earlier = select(table).where(table.c.experiment == scope.experiment, table.c.definition_name == name)
    if not force:
        same = earlier.where(table.c.content_hash == content, table.c.definition_id == known["definition_id"])
        found = scope.connection.execute(same.order_by(table.c.snapshot_id.desc()).limit(1)).first()
        if found is not None:
            return found.snapshot_id
    version = scope.connection.scalar(select(func.coalesce(func.max(table.c.version), 0)).where(
        table.c.experiment == scope.experiment, table.c.definition_name == name))
    snapshot_id = scope.connection.execute(insert(table).values(
        experiment=scope.experiment, definition_id=known["definition_id"], definition_name=name,
        version=int(version or 0) + 1, content_hash=content, file_count=len(file_ids), created_at=scope.now,
    ).returning(table.c.snapshot_id)).scalar_one()
    _store_members(scope, snapshot_id, file_ids)
    scope.analyse(tables.snapshot_files, len(file_ids))
    return snapshot_id


def _store_members(scope: Scope, snapshot_id: int, file_ids: Sequence[int]) -> None:
    table = tables.snapshot_files
    if scope.connection.dialect.name == "postgresql":
        members = func.unnest(literal(list(file_ids), postgresql.ARRAY(BigInteger))).table_valued(
            "file_id", with_ordinality="position").render_derived()
        scope.connection.execute(insert(table).from_select(
            ["snapshot_id", "experiment", "position", "file_id"],
            select(literal(snapshot_id, BigInteger), literal(scope.experiment), members.c.position,
                   members.c.file_id)))
        return
    for start, some in zip(range(1, len(file_ids) + 1, INSERT_AT_ONCE), chunks(file_ids, INSERT_AT_ONCE), strict=True):
        scope.connection.execute(insert(table), [
            {"snapshot_id": snapshot_id, "file_id": file_id, "experiment": scope.experiment, "position": position}
            for position, file_id in enumerate(some, start)])
