"""Delivery of a snapshot's files to jobs: projects, their processes, and the state of each file.

A file of a project is given to one process, once. Every call may be repeated without harm, because
answers get lost: the same job is the same process, a file given but not yet reported ``transferred``
is given again to the process that has it, and a late report never takes a file back to an earlier state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from urllib.parse import unquote

from sqlalchemy import RowMapping, exists, func, insert, literal, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from poms.webservice.errors import Conflict, Invalid, NotFound, Problem
from poms.webservice.rules import sam_queries

from . import conditions, datasets, files, tables
from .compiler import Compiler
from .files import Scope
from .metadata import MAX_TEXT, BadName, checked_name
from .vocabulary import DELIVERED, FINAL_FILE_STATES, PROCESS_STATES, TRANSFERRED, WAITING

RUNNING, COMPLETED = "running", "completed"
FORCE = ":force"
MAX_SLASHES = 20
PROGRESS = {WAITING: 0, DELIVERED: 1, TRANSFERRED: 2} | dict.fromkeys(FINAL_FILE_STATES, 3)


class Over(Conflict):
    """The project or process has ended and gives out nothing any more."""


@dataclass(frozen=True, slots=True)
class Handout:
    """What a process gets: a file, ``wait`` (ask again) or ``none`` (there are no more)."""

    kind: Literal["file", "wait", "none"]
    file_name: str = ""
    url: str = ""
    file_id: int = 0
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Consumer:
    """What a job says of itself when it asks for a process; ``job`` is its name in the batch system."""

    job: str = ""
    node: str = ""
    user: str = ""
    application_family: str = ""
    application_name: str = ""
    application_version: str = ""
    file_limit: int | None = None


# ---------------------------------------------------------------------------------------- projects


def get(scope: Scope, name: str, *, lock: bool = False) -> RowMapping:
    table = tables.projects
    query = select(table).where(table.c.experiment == scope.experiment, table.c.name == name)
    found = scope.connection.execute(query.with_for_update() if lock else query).mappings().one_or_none()
    if found is None:
        raise NotFound(f"there is no project {name!r} in the catalogue of {scope.experiment}")
    return found


def start(scope: Scope, name: str, *, definition: str = "", snapshot_id: int | None = None, user: str = "",
          group: str = "", station: str = "") -> RowMapping:
    """Begin delivery of a definition's files as they are now, or of a snapshot.

    Asked again for a running project of the same files it is the same project: the answer may have been lost.
    """
    _check_name(name)
    if bool(definition) == (snapshot_id is not None):
        raise Invalid("a project needs a definition (defname) or a snapshot (snapshot_id), and not both")
    force = definition.endswith(FORCE) and datasets.find(scope, definition) is None
    definition = definition.removesuffix(FORCE) if force else definition
    if known := _same_project(scope, name, definition, snapshot_id):
        return known
    if snapshot_id is None:
        snapshot_id = datasets.snapshot(scope, definition, force=force)
    shot = _snapshot(scope, snapshot_id)
    table = tables.projects
    dialect: Any = postgresql if scope.connection.dialect.name == "postgresql" else sqlite
    project_id = scope.connection.execute(dialect.insert(table).values(
        experiment=scope.experiment, name=name, station=station or scope.experiment, snapshot_id=snapshot_id,
        definition_name=shot["definition_name"], user_name=user, group_name=group or scope.experiment,
        description="", status=RUNNING, started_at=scope.now,
    ).on_conflict_do_nothing(index_elements=["experiment", "name"]).returning(table.c.project_id)).scalar_one_or_none()
    if project_id is None:
        if known := _same_project(scope, name, definition, snapshot_id):
            return known
        raise Conflict(f"the project {name!r} was started at the same moment")
    _store_files(scope, project_id, snapshot_id)
    scope.analyse(tables.project_files, shot["file_count"])
    return get(scope, name)


def _check_name(name: str) -> None:
    try:
        checked_name(name, "name")
    except BadName as problem:
        raise Invalid(Problem("name", str(problem), code="project")) from None
    if any(character.isspace() or character in "%?" for character in name):
        raise Invalid(Problem("name", f"{name!r} is no name of a project: no blanks, % or ?", code="project"))


def _same_project(scope: Scope, name: str, definition: str, snapshot_id: int | None) -> RowMapping | None:
    try:
        known = get(scope, name)
    except NotFound:
        return None
    same = known["definition_name"] == definition if definition else known["snapshot_id"] == snapshot_id
    if same and known["status"] == RUNNING:
        return known
    raise Conflict(f"the project {name!r} exists already"
                   + ("" if known["status"] == RUNNING else " and has ended") + ": choose another name")


def _snapshot(scope: Scope, snapshot_id: int) -> RowMapping:
    table = tables.snapshots
    found = scope.connection.execute(select(table).where(
        table.c.experiment == scope.experiment, table.c.snapshot_id == snapshot_id)).mappings().one_or_none()
    if found is None:
        raise NotFound(f"there is no snapshot {snapshot_id} in the catalogue of {scope.experiment}")
    return found


def _store_files(scope: Scope, project_id: int, snapshot_id: int) -> None:
    members = tables.snapshot_files
    scope.connection.execute(insert(tables.project_files).from_select(
        ["project_id", "file_id", "experiment", "position", "state", "updated_at"],
        select(literal(project_id), members.c.file_id, members.c.experiment, members.c.position, literal(WAITING),
               literal(scope.now, tables.UtcDateTime)).where(members.c.snapshot_id == snapshot_id)))


def end(scope: Scope, name: str) -> None:
    """Give out nothing any more. What was given keeps its state; late reports are still taken."""
    known = get(scope, name, lock=True)
    if known["status"] == RUNNING:
        table = tables.projects
        scope.connection.execute(update(table).where(table.c.project_id == known["project_id"]).values(
            status=COMPLETED, ended_at=scope.now))


def describe(scope: Scope, name: str, description: str) -> None:
    if len(description) > MAX_TEXT or "\0" in description:
        raise Invalid(Problem("description", f"must have at most {MAX_TEXT} characters", code="project"))
    known = get(scope, name, lock=True)
    table = tables.projects
    scope.connection.execute(update(table).where(table.c.project_id == known["project_id"]).values(
        description=description))


def names(scope: Scope, *, name: str = "", user: str = "", group: str = "", definition: str = "",
          snapshot_id: int | None = None, started: tuple[datetime | None, datetime | None] = (None, None),
          ended: tuple[datetime | None, datetime | None] = (None, None)) -> Sequence[str]:
    """Names of projects, the oldest first; each time is (after, before)."""
    table = tables.projects
    query = select(table.c.name).where(table.c.experiment == scope.experiment).order_by(table.c.project_id)
    for column, wanted in ((table.c.name, name), (table.c.user_name, user), (table.c.group_name, group),
                           (table.c.definition_name, definition)):
        if wanted:
            query = query.where(conditions.like(column, wanted, scope.connection.dialect.name))
    if snapshot_id is not None:
        query = query.where(table.c.snapshot_id == snapshot_id)
    for column, (after, before) in ((table.c.started_at, started), (table.c.ended_at, ended)):
        if after:
            query = query.where(column >= after)
        if before:
            query = query.where(column <= before)
    return scope.connection.scalars(query).all()


# --------------------------------------------------------------------------------------- processes


def establish(scope: Scope, project: str, consumer: Consumer) -> int:
    """The process of a job; the same job on the same node has one as long as that has not ended."""
    known = get(scope, project)
    table = tables.processes
    live = select(table.c.process_id).where(
        table.c.project_id == known["project_id"], table.c.job == consumer.job, table.c.node == consumer.node,
        table.c.ended_at.is_(None))
    if consumer.job and (found := scope.connection.scalar(live)) is not None:
        return found
    if known["status"] != RUNNING:
        raise Over(f"the project {project!r} has ended: no process can begin")
    dialect: Any = postgresql if scope.connection.dialect.name == "postgresql" else sqlite
    made = scope.connection.execute(dialect.insert(table).values(
        project_id=known["project_id"], experiment=scope.experiment, job=consumer.job, node=consumer.node,
        user_name=consumer.user, application_family=consumer.application_family,
        application_name=consumer.application_name, application_version=consumer.application_version,
        file_limit=consumer.file_limit or None, files_handed=0, status=RUNNING, started_at=scope.now,
    ).on_conflict_do_nothing(
        index_elements=["project_id", "job", "node"], index_where=text(tables.LIVE_PROCESS),
    ).returning(table.c.process_id)).scalar_one_or_none()
    if made is None:
        made = scope.connection.execute(live).scalar_one()
    return made


def _process(scope: Scope, project: RowMapping, process_id: int, *, lock: bool = False) -> RowMapping:
    table = tables.processes
    query = select(table).where(table.c.project_id == project["project_id"], table.c.process_id == process_id)
    found = scope.connection.execute(query.with_for_update() if lock else query).mappings().one_or_none()
    if found is None:
        raise NotFound(f"the project {project['name']!r} has no process {process_id}")
    return found


def process_by_job(scope: Scope, project: str, job: str) -> int:
    """The newest process of a job."""
    known = get(scope, project)
    table = tables.processes
    found = scope.connection.scalar(select(func.max(table.c.process_id)).where(
        table.c.project_id == known["project_id"], table.c.job == job))
    if found is None:
        raise NotFound(f"the project {project!r} has no process of the job {job!r}")
    return found


def next_file(scope: Scope, project: str, process_id: int) -> Handout:
    """Give the process a file. One that it was given and has not reported as transferred is given again."""
    known = get(scope, project)
    process = _process(scope, known, process_id, lock=True)
    members = tables.project_files
    held = scope.connection.scalar(select(members.c.file_id).where(
        members.c.project_id == known["project_id"], members.c.process_id == process_id,
        members.c.state == DELIVERED).order_by(members.c.position).limit(1))
    if known["status"] != RUNNING or process["ended_at"] is not None:
        what = f"project {project!r}" if known["status"] != RUNNING else f"process {process_id}"
        raise Over(f"the {what} has ended: there are no more files")
    if held is not None and (given := _handout(scope, held)):
        return given
    if process["file_limit"] and process["files_handed"] >= process["file_limit"]:
        return Handout("none")
    ready = (select(members.c.file_id)
             .join(tables.files, tables.files.c.file_id == members.c.file_id)
             .where(members.c.project_id == known["project_id"], members.c.state == WAITING,
                    tables.files.c.located, tables.files.c.retired_at.is_(None)))
    # Another process may be taking the first ones this very moment: skip what it holds.
    chosen = scope.connection.scalar(
        ready.order_by(members.c.position).limit(1).with_for_update(of=members, skip_locked=True))
    if chosen is None:
        return Handout("wait" if scope.connection.scalar(select(exists(ready))) else "none")
    scope.connection.execute(update(members).where(
        members.c.project_id == known["project_id"], members.c.file_id == chosen, members.c.state == WAITING).values(
        state=DELIVERED, process_id=process_id, updated_at=scope.now))
    table = tables.processes
    scope.connection.execute(update(table).where(table.c.process_id == process_id).values(
        files_handed=table.c.files_handed + 1))
    return _handout(scope, chosen) or Handout("wait")


def _handout(scope: Scope, file_id: int) -> Handout | None:
    """The file as it is given; None if its last location has gone meanwhile."""
    table = tables.files
    row = scope.connection.execute(select(table.c.file_name, table.c.file_size).where(
        table.c.file_id == file_id)).one()
    urls = files.access_urls(scope, file_id)
    if not urls:
        return None
    return Handout("file", row.file_name, urls[0], file_id, row.file_size)


def set_file_state(scope: Scope, project: str, process_id: int, file_name: str, state: str) -> None:
    """Take a process's report on a file. Repeated and late reports change nothing."""
    if PROGRESS.get(state, 0) == 0:
        known_states = ", ".join(each for each in PROGRESS if PROGRESS[each])
        raise Invalid(Problem("status", f"{state!r} is no state that a job can report; there are: {known_states}",
                              code="status"))
    known = get(scope, project)
    _process(scope, known, process_id)
    row = _member(scope, known, file_name)
    if row["process_id"] != process_id:
        raise Conflict(f"the file {file_name!r} was not given to process {process_id}")
    if row["state"] == state or PROGRESS[state] < PROGRESS[row["state"]]:
        return
    if PROGRESS[row["state"]] == 3 and (row["state"], state) != ("consumed", "completed"):
        raise Conflict(f"the file {file_name!r} was reported as {row['state']} already and cannot become {state}")
    members = tables.project_files
    scope.connection.execute(update(members).where(
        members.c.project_id == known["project_id"], members.c.file_id == row["file_id"]).values(
        state=state, updated_at=scope.now))


def _member(scope: Scope, project: RowMapping, file_name: str) -> RowMapping:
    """The record of a file in a project; jobs name the file, or the address they got it by."""
    members, table = tables.project_files, tables.files
    # A name may hold slashes, so how much of an address is the name shows only in the project.
    parts = unquote(file_name).split("/")[-MAX_SLASHES - 1:]
    for name in dict.fromkeys((file_name, *("/".join(parts[-number:]) for number in range(1, len(parts) + 1)))):
        found = scope.connection.execute(
            select(members).join(table, table.c.file_id == members.c.file_id)
            .where(members.c.project_id == project["project_id"], table.c.experiment == scope.experiment,
                   table.c.file_name == name).with_for_update(of=members)).mappings().one_or_none()
        if found is not None:
            return found
    raise NotFound(f"the project {project['name']!r} has no file {file_name!r}")


def set_process_status(scope: Scope, project: str, process_id: int, status: str) -> None:
    """How a process says it went; the last word holds, also after its end."""
    if status not in PROCESS_STATES[1:]:
        raise Invalid(Problem("status", f"{status!r} is no status of a process: write completed or bad", code="status"))
    process = _process(scope, get(scope, project), process_id, lock=True)
    if process["status"] != status:
        table = tables.processes
        scope.connection.execute(update(table).where(table.c.process_id == process_id).values(status=status))


def end_process(scope: Scope, project: str, process_id: int, *, status: str = COMPLETED) -> None:
    """The process is over; what it said of itself before stays. What it did not report on stays as it is."""
    process = _process(scope, get(scope, project), process_id, lock=True)
    if process["ended_at"] is None:
        table = tables.processes
        scope.connection.execute(update(table).where(table.c.process_id == process_id).values(
            ended_at=scope.now, status=status if process["status"] == RUNNING else process["status"]))


def abandon(scope: Scope, project: str, jobs: Sequence[str] | None = None) -> int:
    """End the processes of jobs that vanished (all of the project's live ones if ``jobs`` is None) as bad.

    Files they had in hand keep their state, so a recovery finds them. Returns how many were ended.
    """
    known = get(scope, project)
    table = tables.processes
    query = update(table).where(table.c.project_id == known["project_id"], table.c.ended_at.is_(None)).values(
        ended_at=scope.now, status="bad")
    if jobs is not None:
        query = query.where(table.c.job.in_(list(jobs)))
    return scope.connection.execute(query).rowcount


# --------------------------------------------------------------------------------------- summaries


def summary(scope: Scope, name: str, *, process_limit: int | None = None) -> dict[str, Any]:
    """How the project stands, as SAM shows it; ``process_limit`` 0 leaves the single processes out."""
    known = get(scope, name)
    members, table = tables.project_files, tables.processes
    states = dict.fromkeys(PROGRESS, 0) | _counted(scope, members.c.state, members.c.project_id, known)
    processes = dict.fromkeys(PROCESS_STATES, 0) | _counted(scope, table.c.status, table.c.project_id, known)
    return {
        "project_name": known["name"], "project_id": known["project_id"], "project_status": known["status"],
        "project_start_time": known["started_at"].isoformat(),
        "project_end_time": known["ended_at"].isoformat() if known["ended_at"] else None,
        "project_description": known["description"], "station": known["station"], "username": known["user_name"],
        "group": known["group_name"], "dataset_def_name": known["definition_name"],
        "snapshot_id": known["snapshot_id"], "files_in_snapshot": sum(states.values()),
        "file_counts": states, "process_counts": processes,
        "processes": [] if process_limit == 0 else _process_list(scope, known, process_limit),
    }


def _counted(scope: Scope, column: Any, of: Any, project: RowMapping) -> dict[str, int]:
    """How many rows of a project have each value of a column."""
    query = select(column.label("value"), func.count().label("number")).where(
        of == project["project_id"]).group_by(column)
    return {row.value: row.number for row in scope.connection.execute(query)}


def _process_list(scope: Scope, project: RowMapping, limit: int | None) -> list[dict[str, Any]]:
    table, members = tables.processes, tables.project_files
    counted: dict[int, dict[str, int]] = {}
    for process_id, state, number in scope.connection.execute(
            select(members.c.process_id, members.c.state, func.count())
            .where(members.c.project_id == project["project_id"], members.c.process_id.is_not(None))
            .group_by(members.c.process_id, members.c.state)):
        counted.setdefault(process_id, {})[state] = number
    query = select(table).where(table.c.project_id == project["project_id"]).order_by(table.c.process_id)
    empty = dict.fromkeys((each for each in PROGRESS if each != WAITING), 0)
    return [{"process_id": row["process_id"], "status": row["status"], "node": row["node"],
             "description": row["job"], "counts": empty | counted.get(row["process_id"], {})}
            for row in scope.connection.execute(query if limit is None else query.limit(limit)).mappings()]


def recovery_dimensions(scope: Scope, name: str, *, use_files: bool, use_processes: bool) -> str:
    """The query for what has to be done again; empty if nothing has."""
    get(scope, name)
    query = sam_queries.recover_by_process(name, files=use_files, processes=use_processes)
    found = Compiler(scope.connection, scope.experiment).file_ids(query).limit(1)
    return query if scope.connection.scalar(found) is not None else ""
