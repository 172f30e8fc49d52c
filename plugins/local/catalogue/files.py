"""Files of one experiment: declare, change, retire, locate, and tell where they came from.

Every function works inside the caller's transaction (``Scope``). Files are never deleted, only retired,
so that frozen lists and lineage stay whole. ``located`` changes only together with the locations.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, exists, func, insert, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from poms.webservice.errors import Conflict, Invalid, NotFound, Problem

from . import metadata, tables
from .metadata import Record

LOCATION = re.compile(r"[A-Za-z0-9_.-]+:[^\x00-\x1f\x7f\u2028\u2029\ud800-\udfff]+")
LABEL = re.compile(r"\((?P<label>[^()]*)\)$")
FETCH_AT_ONCE = 500
MANY_ROWS = 5_000
LINEAGE_LIMIT = 20_000


@dataclass(frozen=True)
class Scope:
    """One transaction on one experiment's part of the catalogue, at one time."""

    connection: Connection
    experiment: str
    now: datetime

    def upsert(self, table: Any, rows: Sequence[dict[str, Any]]) -> None:
        """Insert the rows that are not there yet."""
        dialect: Any = postgresql if self.connection.dialect.name == "postgresql" else sqlite
        if rows:
            self.connection.execute(dialect.insert(table).on_conflict_do_nothing(), rows)

    def analyse(self, table: Any, rows: int) -> None:
        """After many new rows: without figures PostgreSQL would plan the next queries for a nearly empty table."""
        if rows >= MANY_ROWS and self.connection.dialect.name == "postgresql":
            self.connection.exec_driver_sql(f"ANALYZE {table.name}")


def chunks(items: Sequence[Any], size: int = FETCH_AT_ONCE) -> Iterable[Sequence[Any]]:
    return (items[start:start + size] for start in range(0, len(items), size))


# ----------------------------------------------------------------------------------------- finding


def find_id(scope: Scope, name: str | int, *, lock: bool = False) -> int:
    """The number of a file by name, or by number; raises NotFound."""
    table = tables.files
    column = table.c.file_id if isinstance(name, int) else table.c.file_name
    query = select(table.c.file_id).where(table.c.experiment == scope.experiment, column == name)
    found = scope.connection.scalar(query.with_for_update() if lock else query)
    if found is None:
        raise NotFound(f"there is no file {name!r} in the catalogue of {scope.experiment}")
    return found


def find_ids(scope: Scope, names: Collection[str], numbers: Collection[int] = ()) -> dict[str | int, int]:
    """Numbers of the files that exist, by the name or number asked for."""
    table = tables.files
    found: dict[str | int, int] = {}
    for column, wanted in ((table.c.file_name, list(names)), (table.c.file_id, list(numbers))):
        for some in chunks(wanted):
            rows = scope.connection.execute(
                select(column, table.c.file_id).where(table.c.experiment == scope.experiment, column.in_(some)))
            found |= {row[0]: row[1] for row in rows}
    return found


# --------------------------------------------------------------------------------------- declaring


def declare(scope: Scope, items: Sequence[Any], *, user: str = "") -> list[int]:
    """Declare new files, all or none; parents must exist or come earlier in the list."""
    records = [metadata.read(item) for item in items]
    names = [record.file_name for record in records]
    if twice := sorted(_repeated(names)):
        raise Invalid(Problem("file_name", f"given twice in one list: {twice[0]!r}", code="metadata"))
    if known := find_ids(scope, names):
        raise Conflict(f"the file {next(iter(known))!r} is declared already; change it with PUT .../metadata")
    try:
        return [_insert(scope, record, user) for record in records]
    except IntegrityError as error:
        raise Conflict("a file of this name was declared at the same moment") from error


def _repeated(names: Sequence[str]) -> set[str]:
    return {name for name, times in Counter(names).items() if times > 1}


def _insert(scope: Scope, record: Record, user: str) -> int:
    given = {column: value for column, value in record.columns.items() if value is not None}
    row = {"created_at": scope.now, "content_status": "good", "user_name": user or None} | given | {
        "experiment": scope.experiment, "file_name": record.file_name, "updated_at": scope.now, "located": False,
        "update_user": user or given.get("user_name"),
    }
    file_id = scope.connection.execute(insert(tables.files).values(row).returning(tables.files.c.file_id)).scalar_one()
    _store_lists(scope, file_id, record)
    return file_id


def _store_lists(scope: Scope, file_id: int, record: Record) -> None:
    """Checksums, runs, parents and parameters, where the record speaks of them, in place of what was there."""
    own = {"file_id": file_id, "experiment": scope.experiment}
    if record.checksums is not None:
        _replace(scope, tables.checksums, file_id, [own | {"checksum": each} for each in record.checksums])
    if record.runs is not None:
        _replace(scope, tables.runs, file_id, [
            own | {"position": position, "run": run, "subrun": subrun, "run_type": kind}
            for position, (run, subrun, kind) in enumerate(record.runs)])
    if record.parents is not None:
        _store_parents(scope, file_id, record.parents)
    if record.parameters:
        _store_parameters(scope, file_id, record.parameters)


def _replace(scope: Scope, table: Any, file_id: int, rows: list[dict[str, Any]]) -> None:
    scope.connection.execute(table.delete().where(table.c.file_id == file_id))
    if rows:
        scope.connection.execute(insert(table), rows)


def _store_parents(scope: Scope, file_id: int, parents: Sequence[str | int]) -> None:
    known = find_ids(scope, [each for each in parents if isinstance(each, str)],
                     [each for each in parents if isinstance(each, int)])
    if missing := [each for each in parents if each not in known]:
        raise Invalid([Problem("parents", f"there is no file {each!r}: declare it first", code="metadata")
                       for each in missing[:20]])
    wanted = set(known.values())
    if wanted & ({file_id} | set(_reach(scope, file_id, tables.parentage.c.parent_id, tables.parentage.c.child_id))):
        raise Invalid(Problem("parents", "a file cannot come from itself or from what was made of it", code="metadata"))
    table = tables.parentage
    scope.connection.execute(table.delete().where(table.c.child_id == file_id))
    if wanted:
        scope.connection.execute(insert(table), [
            {"child_id": file_id, "parent_id": each, "experiment": scope.experiment} for each in sorted(wanted)])


def _reach(scope: Scope, file_id: int, near: Any, far: Any) -> Sequence[int]:
    """Every file that can be reached from one by links of parentage, whichever way they are read."""
    reached = select(far.label("file_id")).where(near == file_id).cte(recursive=True)
    reached = reached.union(select(far).join(reached, near == reached.c.file_id))
    return scope.connection.scalars(select(reached.c.file_id)).all()


def _store_parameters(scope: Scope, file_id: int, parameters: dict[str, Any]) -> None:
    table = tables.file_parameters
    scope.connection.execute(table.delete().where(table.c.file_id == file_id, table.c.name.in_(list(parameters))))
    kept = {name: value for name, value in parameters.items() if value is not None}
    if kept:
        scope.upsert(tables.parameters, [{"experiment": scope.experiment, "name": name} for name in sorted(kept)])
        scope.connection.execute(insert(table), [{
            "file_id": file_id, "experiment": scope.experiment, "name": name, "value_json": json.dumps(value),
            "value_text": metadata.parameter_text(value), "value_number": metadata.parameter_number(value),
        } for name, value in kept.items()])


def change(scope: Scope, name: str | int, item: Any, *, user: str = "") -> None:
    """Change the members that the object names; null removes one."""
    file_id = find_id(scope, name, lock=True)
    table = tables.files
    file_name = scope.connection.scalar(select(table.c.file_name).where(table.c.file_id == file_id))
    record = metadata.read(item, name=file_name)
    kept = {column: value for column, value in record.columns.items()
            if value is not None or table.c[column].nullable}
    scope.connection.execute(update(table).where(table.c.file_id == file_id).values(
        kept | {"updated_at": scope.now} | ({"update_user": user} if user else {})))
    _store_lists(scope, file_id, record)


def retire(scope: Scope, name: str | int) -> None:
    """Take a file out of every query; done twice it stays retired since the first time."""
    file_id = find_id(scope, name, lock=True)
    table = tables.files
    scope.connection.execute(update(table).where(table.c.file_id == file_id, table.c.retired_at.is_(None)).values(
        retired_at=scope.now, updated_at=scope.now))


# ----------------------------------------------------------------------------------------- showing


def show(scope: Scope, file_ids: Sequence[int], *, basic: bool = False, locations: bool = False
         ) -> list[dict[str, Any]]:
    """Metadata of files, by number."""
    found: list[dict[str, Any]] = []
    for some in chunks(sorted(set(file_ids))):
        found += _show_some(scope, some, basic=basic, locations=locations)
    return found


def _show_some(scope: Scope, file_ids: Sequence[int], *, basic: bool, locations: bool) -> list[dict[str, Any]]:
    execute, table = scope.connection.execute, tables.files
    parents: dict[int, list[Any]] = {}
    sums: dict[int, list[str]] = {}
    ran: dict[int, list[list[Any]]] = {}
    parameters: dict[int, dict[str, Any]] = {}
    if not basic:
        link = tables.parentage
        for row in execute(select(link.c.child_id, table.c.file_name, table.c.file_id).join(
                table, table.c.file_id == link.c.parent_id).where(link.c.child_id.in_(file_ids))
                .order_by(table.c.file_name)):
            parents.setdefault(row.child_id, []).append({"file_name": row.file_name, "file_id": row.file_id})
        for row in execute(select(tables.checksums).where(tables.checksums.c.file_id.in_(file_ids))
                           .order_by(tables.checksums.c.checksum)):
            sums.setdefault(row.file_id, []).append(row.checksum)
        for row in execute(select(tables.runs).where(tables.runs.c.file_id.in_(file_ids))
                           .order_by(tables.runs.c.file_id, tables.runs.c.position)):
            ran.setdefault(row.file_id, []).append(
                [each for each in (row.run, row.subrun, row.run_type) if each is not None])
        values = tables.file_parameters
        for row in execute(select(values).where(values.c.file_id.in_(file_ids)).order_by(values.c.name)):
            parameters.setdefault(row.file_id, {})[row.name] = json.loads(row.value_json)
    placed = locations_of(scope, file_ids) if locations else {}
    found = []
    rows = execute(select(table).where(table.c.experiment == scope.experiment, table.c.file_id.in_(file_ids))
                   .order_by(table.c.file_id)).mappings()
    for each in rows:
        number = each["file_id"]
        item = metadata.as_object(dict(each), checksums=sums.get(number, ()), parents=parents.get(number, ()),
                                  runs=ran.get(number, ()), parameters=parameters.get(number, {}), basic=basic)
        if locations:
            item["locations"] = placed.get(number, [])
        found.append(item)
    return found


# --------------------------------------------------------------------------------------- locations


def location_object(location: str, label: str | None) -> dict[str, Any]:
    """A location as SAM shows it."""
    system, _, _ = location.partition(":")
    plain = LABEL.sub("", location) if label else location
    found = {"location": location, "full_path": plain, "location_type": "tape" if label else "disk", "system": system}
    return found | ({"label": label} if label else {})


def locations_of(scope: Scope, file_ids: Sequence[int]) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = {}
    table = tables.locations
    for some in chunks(list(file_ids)):
        rows = scope.connection.execute(
            select(table.c.file_id, table.c.location, table.c.label)
            .where(table.c.experiment == scope.experiment, table.c.file_id.in_(some)).order_by(table.c.location_id))
        for row in rows:
            found.setdefault(row.file_id, []).append(location_object(row.location, row.label))
    return found


def change_locations(scope: Scope, name: str | int, *, add: Iterable[str] = (), remove: Iterable[str] = ()) -> None:
    """Add and remove locations; what is so already is no change."""
    file_id = find_id(scope, name, lock=True)
    table = tables.locations
    rows = []
    for location in add:
        if not LOCATION.fullmatch(location) or len(location) > metadata.MAX_TEXT:
            raise Invalid(Problem("add", f"{location!r} is no location: write disk:directory", code="location"))
        label = LABEL.search(location)
        rows.append({"file_id": file_id, "experiment": scope.experiment, "location": location,
                     "label": label["label"] if label else None, "added_at": scope.now})
    scope.upsert(table, rows)
    for location in remove:
        scope.connection.execute(table.delete().where(table.c.file_id == file_id, table.c.location == location))
    is_located = exists(select(literal(1)).where(table.c.file_id == file_id))
    scope.connection.execute(update(tables.files).where(tables.files.c.file_id == file_id).values(
        located=select(is_located).scalar_subquery()))


def access_url(location: str, file_name: str) -> str:
    """Where a job reads the file: ``disk:directory`` as a file URL, an address that is one as it stands."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", location):
        return f"{location.rstrip('/')}/{quote(file_name)}"
    directory = LABEL.sub("", location.partition(":")[2]).rstrip("/")
    path = directory if directory.rsplit("/", 1)[-1] == file_name else f"{directory}/{file_name}"
    return "file://" + quote(path)


def access_urls(scope: Scope, file_id: int, *, schema: str = "", system: str = "") -> list[str]:
    """Addresses of a file, those of the wanted schema and disk; disk before tape."""
    name = scope.connection.scalar(select(tables.files.c.file_name).where(tables.files.c.file_id == file_id))
    placed = locations_of(scope, [file_id]).get(file_id, [])
    placed.sort(key=lambda each: each["location_type"] == "tape")
    urls = [access_url(each["location"], str(name)) for each in placed if each["location"].startswith(system)]
    return [url for url in urls if not schema or url.startswith(f"{schema}:")]


def disks(scope: Scope) -> list[str]:
    """The disks (what stands before the colon of locations) that hold any file."""
    table = tables.locations
    if scope.connection.dialect.name == "sqlite":
        system = func.substr(table.c.location, 1, func.instr(table.c.location, ":") - 1)
    else:
        system = func.split_part(table.c.location, ":", 1)
    return sorted(scope.connection.scalars(
        select(system.label("system")).where(table.c.experiment == scope.experiment).distinct()))


# ----------------------------------------------------------------------------------------- lineage


def lineage(scope: Scope, name: str | int, kind: str) -> list[dict[str, Any]]:
    """Relatives of a file, nested as deep as asked: parents, children, ancestors, descendants, rawancestors."""
    if kind not in ("parents", "children", "ancestors", "descendants", "rawancestors"):
        raise NotFound(f"there is no lineage {kind!r}; there are: parents, children, ancestors, descendants, "
                       f"rawancestors")
    upwards = kind in ("parents", "ancestors", "rawancestors")
    depth = 1 if kind in ("parents", "children") else metadata.MAX_NAME
    start = find_id(scope, name)
    links, described = _links(scope, start, upwards=upwards, depth=depth)
    if kind == "rawancestors":
        return [described[each] for each in sorted(described) if not links.get(each) and each != start]
    return _nested(start, links, described, "parents" if upwards else "children")


def _links(scope: Scope, start: int, *, upwards: bool, depth: int
           ) -> tuple[dict[int, list[int]], dict[int, dict[str, Any]]]:
    """Links from every file that can be reached, generation by generation, and what each file is called."""
    table, names = tables.parentage, tables.files
    near, far = (table.c.child_id, table.c.parent_id) if upwards else (table.c.parent_id, table.c.child_id)
    links: dict[int, list[int]] = {}
    described: dict[int, dict[str, Any]] = {}
    front = [start]
    while front and depth > 0:
        depth -= 1
        reached: list[int] = []
        for some in chunks(front):
            rows = scope.connection.execute(
                select(near, far, names.c.file_name, names.c.retired_at).join(names, names.c.file_id == far)
                .where(near.in_(some)).order_by(far))
            for origin, target, file_name, retired_at in rows:
                links.setdefault(origin, []).append(target)
                if target not in described:
                    described[target] = {"file_name": file_name, "file_id": target} | (
                        {"retired": True} if retired_at else {})
                    reached.append(target)
        if len(described) > LINEAGE_LIMIT:
            raise Invalid(f"query limit: the file has more than {LINEAGE_LIMIT} relatives; ask for fewer generations")
        front = reached
    return links, described


def _nested(start: int, links: dict[int, list[int]], described: dict[int, dict[str, Any]], member: str
            ) -> list[dict[str, Any]]:
    """The relatives as a tree; one that can be reached twice is spelled out where it is met first."""
    built: dict[int, dict[str, Any]] = {}
    roots: list[dict[str, Any]] = []
    waiting: list[tuple[int, list[dict[str, Any]]]] = [(start, roots)]
    while waiting:
        origin, target = waiting.pop(0)
        for each in links.get(origin, ()):
            item = dict(described[each])
            target.append(item)
            if each not in built and each != start:
                built[each] = item
                if links.get(each):
                    item[member] = []
                    waiting.append((each, item[member]))
    return roots
