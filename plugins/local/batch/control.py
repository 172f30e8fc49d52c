"""jobsub_q, _hold, _release, _rm and _fetchlog for the local batch system.

Not for submitting (``submission``). Invariant: the exit status is 0 only if what was asked for was done, and
only jobs of the caller's experiment are seen or touched.
"""

from __future__ import annotations

import io
import json
import re
import sqlite3
import sys
import tarfile
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from poms.plugins.local.batch import logs, queue
from poms.plugins.local.batch.master import ensure_master
from poms.plugins.local.batch.spool import Spool
from poms.webservice.errors import Invalid, NotFound, PomsError
from poms.webservice.interfaces import ActResult, JobState

_LETTERS = {JobState.IDLE: "I", JobState.RUNNING: "R", JobState.REMOVED: "X", JobState.COMPLETED: "C",
            JobState.HELD: "H", JobState.FAILED: "C"}
_DONE = {"hold": "held", "release": "released", "remove": "marked for removal"}
_TAKES_VALUE = ("group", "role", "subgroup", "jobid", "constraint", "user", "destdir", "archive-format", "name",
                "auth-methods", "verbose", "global-pool")
_CONSTRAINT = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*(?:==|=\?=)\s*(-?\d{1,18}|\"[^\"]*\")\s*\Z")


@dataclass(slots=True)
class Arguments:
    """A command line of one of the control programs."""

    values: dict[str, str] = field(default_factory=dict)
    job_ids: list[str] = field(default_factory=list)
    flags: set[str] = field(default_factory=set)


def parse_arguments(words: Sequence[str]) -> Arguments:
    found = Arguments()
    rest = list(words)
    while rest:
        word = rest.pop(0)
        short = {"-G": "--group", "-J": "--jobid", "-name": "--name", "-constraint": "--constraint"}.get(word, word)
        name, equals, value = short.lstrip("-").partition("=")
        name = name.replace("_", "-")
        if not word.startswith("-"):
            found.job_ids.extend(word.split(","))
        elif name in _TAKES_VALUE:
            if not equals and not rest:
                raise Invalid(f"{word} needs a value.")
            value = value if equals else rest.pop(0)
            if name == "jobid":
                found.job_ids.extend(value.split(","))
            else:
                found.values[name] = value
        else:
            found.flags.add(name)
    return found


@dataclass(frozen=True, slots=True)
class JobName:
    """``cluster.proc@schedd``, or a whole cluster if there is no proc."""

    cluster: int
    proc: int | None
    schedd: str


def parse_job_id(text: str) -> JobName:
    match = re.fullmatch(r"(\d{1,18})(?:\.(\d{1,9}))?@(\S+)", text)
    if not match:
        raise Invalid(f"{text!r} is no job id; it looks like 12.0@schedd, or 12@schedd for a whole cluster.")
    return JobName(int(match[1]), None if match[2] is None else int(match[2]), match[3])


def select(spool: Spool, experiment: str, job_ids: Sequence[str]) -> tuple[queue.Selected, list[str]]:
    """The jobs that ids name, and those ids that belong to another batch system."""
    names = {text: parse_job_id(text) for text in job_ids if text}
    schedd = spool.identity().schedd
    own = [name for name in names.values() if name.schedd == schedd]
    foreign = [text for text, name in names.items() if name.schedd != schedd]
    return queue.Selected(
        experiment, clusters=tuple(name.cluster for name in own if name.proc is None),
        procs=tuple((name.cluster, name.proc) for name in own if name.proc is not None)), foreign


def select_by_constraint(db: sqlite3.Connection, experiment: str, text: str) -> queue.Selected:
    """Clusters one of whose attributes has a value: the one form of constraint that launchers use."""
    match = _CONSTRAINT.match(text)
    if not match:
        raise Invalid(f"The constraint {text!r} is not understood; write NAME==NUMBER or NAME==\"TEXT\".")
    value: Any = match[2][1:-1] if match[2].startswith('"') else int(match[2])
    rows = db.execute("SELECT cluster FROM clusters WHERE experiment = ? "
                      "AND json_extract(description, '$.attributes.' || ?) = ?", (experiment, match[1], value))
    return queue.Selected(experiment, clusters=tuple(row[0] for row in rows))


def act(program: Literal["hold", "release", "remove"], words: Sequence[str], experiment: str, spool: Spool) -> int:
    """Hold, release or remove; 1 if nothing matched or an id is not ours."""
    arguments = parse_arguments(words)
    selected, foreign = select(spool, experiment, arguments.job_ids)
    constraint = arguments.values.get("constraint")
    if not arguments.job_ids and not constraint:
        raise Invalid("Nothing to act on; give --jobid or --constraint.")
    with spool.write() as db:
        if constraint:
            by_constraint = select_by_constraint(db, experiment, constraint)
            selected = queue.Selected(experiment, clusters=(*selected.clusters, *by_constraint.clusters),
                                      procs=selected.procs)
        result = queue.act(db, program, selected, reason=f"by jobsub_{program}", now=time.time())
    ensure_master(spool)
    return _report(program, result, foreign)


def _report(action: str, result: ActResult, foreign: Sequence[str]) -> int:
    for text in foreign:
        print(f"Job {text} not found", file=sys.stderr)
    if result.changed:
        print(f"{result.changed} job(s) have been {_DONE[action]}")
    if result.unchanged:
        print(f"{result.unchanged} job(s) already {_DONE[action]}")
    if result.message:
        print(result.message, file=sys.stderr)
    if not (result.changed or result.unchanged or result.refused):
        print("Couldn't find any matching jobs", file=sys.stderr)
        return 1
    return 1 if foreign or result.refused else 0


def list_queue(words: Sequence[str], experiment: str, spool: Spool) -> int:
    arguments = parse_arguments(words)
    selected, _ = select(spool, experiment, arguments.job_ids)
    schedd = spool.identity().schedd
    with spool.read() as db:
        if "constraint" in arguments.values:
            selected = select_by_constraint(db, experiment, arguments.values["constraint"])
        chosen = bool(arguments.job_ids) or "constraint" in arguments.values
        rows = db.execute(
            "SELECT jobs.*, description, submitted_at FROM jobs JOIN clusters USING (cluster) "
            "WHERE jobs.experiment = ? AND (NOT ? OR cluster IN (SELECT value FROM json_each(?)) OR (cluster, proc) IN "
            "(SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?))) "
            "ORDER BY cluster, proc",
            (experiment, chosen, json.dumps(selected.clusters), json.dumps(selected.procs))).fetchall()
    records = [queue.record_of(row, schedd, time.time()) for row in rows]
    if "json" in arguments.flags:
        print(json.dumps([asdict(record) for record in records], default=str))
        return 0
    print(f"{'JOBSUBJOBID':<36} {'OWNER':<12} {'SUBMITTED':<12} {'RUNTIME':>12} ST PRIO SIZE COMMAND")
    for row, record in zip(rows, records, strict=True):
        description = json.loads(row["description"])
        submitted = time.strftime("%m/%d %H:%M", time.localtime(row["submitted_at"]))
        seconds = int(record.wall_seconds or 0)
        runtime = f"{seconds // 86400}+{seconds // 3600 % 24:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        line = (f"{record.batch_id:<36} {description['owner']:<12} {submitted:<12} {runtime:>12} "
                f"{_LETTERS[record.state]:<2} 0    {record.memory_used_mb or 0} {description['executable']}")
        print(line.encode(errors="backslashreplace").decode())
    print(f"{len(records)} total")
    return 0


def fetch(words: Sequence[str], experiment: str, spool: Spool) -> int:
    """Bring a job's output files into an archive in --destdir, or here."""
    arguments = parse_arguments(words)
    if len(arguments.job_ids) != 1:
        raise Invalid("Give the id of one job with --jobid.")
    name = parse_job_id(arguments.job_ids[0])
    if name.schedd != spool.identity().schedd:
        raise NotFound(f"Job {arguments.job_ids[0]} is not of this batch system.")
    parts: dict[str, bytes] = {}
    for which in ("stdout", "stderr", "log"):
        try:
            parts[which] = b"".join(logs.open_log(spool, experiment, name.cluster, name.proc or 0, which))
        except NotFound:
            if which == "log":
                raise
    destination = Path(arguments.values.get("destdir", "."))
    destination.mkdir(parents=True, exist_ok=True)
    zipped = arguments.values.get("archive-format") == "zip"
    path = destination / f"{name.cluster}.{name.proc or 0}@{name.schedd}.{'zip' if zipped else 'tgz'}"
    _write_archive(path, parts, zipped=zipped)
    print(f"Files are in {path}")
    return 0


def _write_archive(path: Path, parts: Mapping[str, bytes], *, zipped: bool) -> None:
    if zipped:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for part, data in parts.items():
                archive.writestr(part, data)
        return
    with tarfile.open(path, "w:gz") as tar:
        for part, data in parts.items():
            member = tarfile.TarInfo(part)
            member.size, member.mtime = len(data), int(time.time())
            tar.addfile(member, io.BytesIO(data))


def main(program: str, words: Sequence[str], surroundings: Mapping[str, str], spool: Spool) -> int:
    try:
        experiment = (surroundings.get("POMS_LOCAL_EXPERIMENT") or parse_arguments(words).values.get("group")
                      or surroundings.get("JOBSUB_GROUP") or surroundings.get("GROUP", ""))
        if not experiment:
            raise Invalid("No group; give -G GROUP or set the variable GROUP.")
        if program == "jobsub_q":
            return list_queue(words, experiment, spool)
        if program == "jobsub_fetchlog":
            return fetch(words, experiment, spool)
        action: Literal["hold", "release", "remove"] = (
            "hold" if program == "jobsub_hold" else "release" if program == "jobsub_release" else "remove")
        return act(action, words, experiment, spool)
    except PomsError as problem:
        print(f"Error: {type(problem).__name__}: {problem}", file=sys.stderr)
        return 1
