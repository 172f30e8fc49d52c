"""What queries mean: hundreds of them on 100,000 files, against plain Python sets that know nothing of SQL."""

from __future__ import annotations

import csv
import io
import random
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from typing import Any

import pytest
from sqlalchemy import Table, func, insert, select

from poms.plugins.local.catalogue import database, tables
from poms.plugins.local.catalogue.compiler import Compiler

FILES = 100_000
EXPERIMENT = "samdev"
ORIGIN = datetime(2016, 10, 1, tzinfo=UTC)
STATES = ("unknown", "delivered", "transferred", "consumed", "completed", "skipped", "failed", "cancelled")


@dataclass(frozen=True)
class File:
    """One file as the sets see it."""

    number: int
    name: str
    tier: str | None
    format: str
    version: str
    application: str
    size: int
    events: int | None
    created: datetime
    ended: datetime | None
    runs: tuple[tuple[int, int | None, str], ...]
    good: bool
    retired: bool
    locations: tuple[str, ...]
    parents: tuple[int, ...]
    tag: str | None
    energy: Any
    checksum: str | None


@dataclass(frozen=True)
class Record:
    """One file in one project."""

    project: str
    file: int
    state: str
    process: str | None


class World:
    """100,000 files in three generations with datasets, snapshots and projects, the same every time."""

    def __init__(self) -> None:
        self._random = random.Random(20161001)
        self.files = [self._file(number) for number in range(1, FILES + 1)]
        self.universe = frozenset(each.number for each in self.files if not each.retired)
        self.located = frozenset(each.number for each in self.files if each.locations) & self.universe
        self.usual = frozenset(each.number for each in self.files if each.good) & self.located
        self.parents = {each.number: each.parents for each in self.files if each.parents}
        self.children: dict[int, list[int]] = {}
        for child, parents in self.parents.items():
            for parent in parents:
                self.children.setdefault(parent, []).append(child)
        self.snapshots = {1: tuple(range(1, 3001)), 2: tuple(range(2000, 6001, 2)), 3: tuple(range(1, 40001, 7)),
                          4: tuple(range(1, 3001, 3))}
        self.definition_of = {1: "ds", 2: "ds", 3: "wide", 4: "thin"}
        self.projects = {"proj_a": 1, "proj-b": 2, "wide_project": 3}
        self.processes = {1: ("completed", "larsoft", "job.1@a"), 2: ("bad", "larsoft", "job.2@a"),
                          3: ("running", "art", "job.3@b")}
        self.records = [self._record(project, file) for project, snapshot in self.projects.items()
                        for file in self.snapshots[snapshot]]

    def _file(self, number: int) -> File:
        chance = self._random
        third = FILES // 3
        tier = "raw" if number <= third else "reco" if number <= 2 * third else chance.choice(["ana", None])
        parents: tuple[int, ...] = ()
        if number > third and chance.random() < 0.8:
            parents = tuple(sorted({number - third, *([number - third + 1] if chance.random() < 0.1 else [])}))
        run = (number % third) // 40 + 1
        runs: list[tuple[int, int | None, str]] = [(run, number % 5 if number % 11 else None, "physics")]
        if number % 13 == 0:
            runs.append((run + 1, 9, "cosmics"))
        created = ORIGIN + timedelta(minutes=number)
        return File(
            number=number, name=f"{tier or 'none'}_r{run:05d}_{number}.{'root' if number % 3 else 'hdf5'}", tier=tier,
            format="root" if number % 3 else "hdf5", version=chance.choice(["v1", "v2", "v10", "V1", "v_1"]),
            application=chance.choice(["lar", "art"]), size=chance.randrange(10**6),
            events=None if number % 17 == 0 else number % 1000, created=created,
            ended=None if number % 19 == 0 else created + timedelta(hours=number % 30), runs=tuple(runs),
            good=number % 23 != 0, retired=number % 101 == 0,
            locations=() if number % 10 == 3 else ("dcache:/pnfs/x", "enstore:/pnfs/t(VP0001)")[:1 + number % 2],
            parents=parents, tag=f"poms_depends_{number % 50}_1" if number % 97 == 0 else None,
            energy={0: 1.5, 1: 10, 2: "high", 3: "2"}.get(number % 40),
            checksum=None if number % 9 else f"md5:{number}")

    def _record(self, project: str, file: int) -> Record:
        state = STATES[(file * 7 + len(project)) % len(STATES)]
        process = None if state == "unknown" else (1, 2, 3)[(file // 3) % 3]
        return Record(project, file, state, process)

    # -------------------------------------------------------------------------------- into tables

    def store(self, url: str) -> None:
        with database.writing(database.engine_for(url)) as connection:
            for table, rows in self._tables():
                _bulk(connection, table, rows)
        if "postgresql" in url:
            with database.writing(database.engine_for(url)) as connection:
                connection.exec_driver_sql("ANALYZE")

    def _tables(self) -> Iterator[tuple[Table, list[dict[str, Any]]]]:
        own = {"experiment": EXPERIMENT}
        yield tables.files, [own | {
            "file_id": each.number, "file_name": each.name, "file_type": "test", "file_format": each.format,
            "content_status": "good" if each.good else "bad", "file_size": each.size, "event_count": each.events,
            "ended_at": each.ended, "created_at": each.created, "updated_at": each.created,
            "retired_at": each.created if each.retired else None, "user_name": "mc", "group_name": "samdev",
            "data_tier": each.tier, "application_family": "art", "application_name": each.application,
            "application_version": each.version, "located": bool(each.locations)} for each in self.files]
        yield tables.runs, [own | {"file_id": each.number, "position": place, "run": run, "subrun": subrun,
                                   "run_type": kind}
                            for each in self.files for place, (run, subrun, kind) in enumerate(each.runs)]
        yield tables.parentage, [own | {"child_id": child, "parent_id": parent}
                                 for child, parents in self.parents.items() for parent in parents]
        yield tables.locations, [own | {"file_id": each.number, "location": location, "added_at": each.created,
                                        "label": "VP0001" if "(" in location else None}
                                 for each in self.files for location in each.locations]
        yield tables.checksums, [own | {"file_id": each.number, "checksum": each.checksum}
                                 for each in self.files if each.checksum]
        yield tables.parameters, [own | {"name": "dataset.tag"}, own | {"name": "mc.energy"}]
        yield tables.file_parameters, [
            own | {"file_id": each.number, "name": name, "value_text": str(value), "value_json": '"x"',
                   "value_number": _figure(value)}
            for each in self.files for name, value in (("dataset.tag", each.tag), ("mc.energy", each.energy))
            if value is not None]
        yield tables.definitions, [own | {"name": name, "dims": dims, "created_at": ORIGIN, "description": "",
                                          "user_name": "", "group_name": ""}
                                   for name, dims in DEFINITIONS.items()]
        yield tables.snapshots, [own | {
            "snapshot_id": number, "definition_id": sorted(DEFINITIONS).index(name) + 1 if name in DEFINITIONS else 99,
            "definition_name": name, "version": 1 + sum(1 for other in self.definition_of
                                                        if other < number and self.definition_of[other] == name),
            "content_hash": str(number), "file_count": len(self.snapshots[number]), "created_at": ORIGIN}
            for number, name in self.definition_of.items()]
        yield tables.snapshot_files, [own | {"snapshot_id": number, "file_id": file, "position": place}
                                      for number, files in self.snapshots.items()
                                      for place, file in enumerate(files, 1)]
        yield tables.projects, [own | {
            "project_id": number, "name": name, "station": "samdev", "snapshot_id": snapshot, "user_name": "mc",
            "definition_name": self.definition_of[snapshot], "group_name": "samdev", "description": f"about {name}",
            "status": "running", "started_at": ORIGIN} for number, (name, snapshot) in enumerate(
                self.projects.items(), 1)]
        yield tables.processes, [own | {
            "process_id": number, "project_id": 1, "job": job, "node": "n", "user_name": "", "application_family": "",
            "application_name": application, "application_version": "", "files_handed": 0, "status": status,
            "started_at": ORIGIN} for number, (status, application, job) in self.processes.items()]
        numbers = {name: number for number, name in enumerate(self.projects, 1)}
        yield tables.project_files, [own | {
            "project_id": numbers[each.project], "file_id": each.file, "position": each.file, "state": each.state,
            "process_id": each.process, "updated_at": ORIGIN} for each in self.records]


def _figure(value: Any) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def _bulk(connection: Any, table: Table, rows: list[dict[str, Any]]) -> None:
    if connection.dialect.name != "postgresql":
        connection.execute(insert(table), rows)
        return
    names = list(rows[0])
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_MINIMAL)
    writer.writerows([r"\N" if row[name] is None else row[name] for name in names] for row in rows)
    text.seek(0)
    with connection.connection.cursor() as cursor:
        cursor.copy_expert(f"COPY {table.name} ({','.join(names)}) FROM STDIN WITH (FORMAT csv, NULL '\\N')", text)


# ------------------------------------------------------------------------------------ sets and texts

DEFINITIONS = {
    "ds": "data_tier raw and file_format root",
    "wide": "run_number 1-400 with availability anylocation",
    "thin": "defname:ds with stride 5 offset 2",
    "declared only": "availability:virtual",
    "chain": "defname:thin or defname:'declared only'",
}


class Query:
    """A text and what it must give: ``raw`` if nothing is filtered, ``shown`` with the usual availability.

    ``governed``: its files carry an availability of their own, so the usual one is not applied to it.
    """

    def __init__(self, text: str, raw: frozenset[int], *, governed: bool = False, shown: frozenset[int] | None = None
                 ) -> None:
        self.text = text
        self.raw = raw & WORLD.universe
        self.governed = governed
        self._shown = shown

    @cached_property
    def shown(self) -> frozenset[int]:
        if self._shown is not None:
            return self._shown
        return self.raw if self.governed else self.raw & WORLD.usual

    def named(self, text: str) -> Query:
        """The same files asked for in other words."""
        return Query(text, self.raw, governed=self.governed, shown=self.shown)

    def __and__(self, other: Query) -> Query:
        return Query(f"({self.text}) and ({other.text})", self.raw & other.raw,
                     governed=self.governed or other.governed)

    def __or__(self, other: Query) -> Query:
        return Query(f"({self.text}) or ({other.text})", self.raw | other.raw,
                     governed=self.governed and other.governed, shown=self.shown | other.shown)

    def __sub__(self, other: Query) -> Query:
        return Query(f"({self.text}) minus ({other.text})", self.raw - other.raw, governed=self.governed,
                     shown=self.shown - other.raw)

    def __invert__(self) -> Query:
        return Query(f"not ({self.text})", WORLD.universe - self.raw)

    def union(self, other: Query) -> Query:
        return (self | other).named(f"({self.text}) union ({other.text})")

    def intersect(self, other: Query) -> Query:
        return (self & other).named(f"({self.text}) intersect ({other.text})")

    def cut(self, *, offset: int = 0, stride: int = 1, limit: int | None = None, available: str = "") -> Query:
        words = "".join([f" availability {available}" if available else "", f" limit {limit}" if limit is not None
                         else "", f" stride {stride}" if stride > 1 else "", f" offset {offset}" if offset else ""])
        chosen = self.shown
        if available:
            chosen = frozenset().union(*(self.raw & AVAILABLE[word]() for word in available.split(",")))
        taken = frozenset(sorted(chosen)[offset:][::stride][:limit])
        return Query(f"({self.text}) with{words or ' offset 0'}", taken, governed=True)

    def parents(self) -> Query:
        return Query(f"isparentof:( {self.text} )",
                     frozenset(parent for each in self.shown for parent in WORLD.parents.get(each, ())))

    def children(self) -> Query:
        return Query(f"ischildof:( {self.text} )",
                     frozenset(child for each in self.shown for child in WORLD.children.get(each, ())))

    def _reach(self, links: dict[int, Any]) -> frozenset[int]:
        reached: set[int] = set()
        waiting = list(self.shown)
        while waiting:
            for each in links.get(waiting.pop(), ()):
                if each not in reached:
                    reached.add(each)
                    waiting.append(each)
        return frozenset(reached)

    def ancestors(self) -> Query:
        return Query(f"isancestorof:( {self.text} )", self._reach(WORLD.parents))

    def descendants(self) -> Query:
        return Query(f"isdescendantof:( {self.text} )", self._reach(WORLD.children))


AVAILABLE: dict[str, Callable[[], frozenset[int]]] = {
    "default": lambda: WORLD.usual, "physical": lambda: WORLD.located, "anylocation": lambda: WORLD.universe,
    "virtual": lambda: WORLD.universe - WORLD.located,
}


def where(text: str, test: Callable[[File], Any]) -> Query:
    return Query(text, frozenset(each.number for each in WORLD.files if test(each)))


def frozen(text: str, *snapshots: int) -> Query:
    return Query(text, frozenset(file for each in snapshots for file in WORLD.snapshots[each]), governed=True)


def recorded(text: str, test: Callable[[Record], Any]) -> Query:
    return Query(text, frozenset(each.file for each in WORLD.records if test(each)), governed=True)


def defined(name: str) -> Query:
    bodies: dict[str, Callable[[], Query]] = {
        "ds": lambda: where("", lambda f: f.tier == "raw" and f.format == "root"),
        "wide": lambda: where("", lambda f: any(1 <= run <= 400 for run, _, _ in f.runs)).cut(available="anylocation"),
        "thin": lambda: defined("ds").cut(stride=5, offset=2),
        "declared only": lambda: Query("", WORLD.universe).cut(available="virtual"),
        "chain": lambda: defined("thin") | defined("declared only"),
    }
    text = f"defname:{name}" if re.fullmatch(r"\w+", name) else f"defname: '{name}'"
    return Query(text, bodies[name]().shown, governed=True)


def _day(day: int, hour: int = 0) -> datetime:
    return ORIGIN + timedelta(days=day - 1, hours=hour)


def _subruns(file: File, test: Callable[[tuple[int, int]], bool]) -> bool:
    return any(subrun is not None and test((run, subrun)) for run, subrun, _ in file.runs)


def _energy(file: File, test: Callable[[float], bool]) -> bool:
    figure = None if file.energy is None else _figure(file.energy)
    return figure is not None and test(figure)


def leaves() -> Iterable[Query]:
    """Each dimension in each way of writing it."""
    name = WORLD.files[77].name
    other = WORLD.files[4711].name
    yield where(f"file_name {name}", lambda f: f.name == name)
    yield where(f"FILE_NAME = '{name}'", lambda f: f.name == name)
    yield where(f"file_name {name}, {other}", lambda f: f.name in (name, other))
    yield where(f"file_name in ({name},{other})", lambda f: f.name in (name, other))
    yield where(f"file_name not in {name},{other}", lambda f: f.name not in (name, other))
    yield where(f"file_name != {name}", lambda f: f.name != name)
    yield where("file_name raw_r0001%", lambda f: f.name.startswith("raw_r0001"))
    yield where("file_name like '%_77.root'", lambda f: f.name.endswith("_77.root"))
    yield where("file_name like RAW%", lambda f: False)
    yield where("file_name like raw_r00001_?.%", lambda f: re.fullmatch(r"raw_r00001_.\..*", f.name))
    yield where("file_name not like '%.root'", lambda f: not f.name.endswith(".root"))
    yield where("file_name reco%,ana%", lambda f: f.name.startswith(("reco", "ana")))
    yield where("file_name %", lambda f: True)
    yield where("file_name >= reco and file_name < recp", lambda f: "reco" <= f.name < "recp")
    yield where("file_name 'reco'-'recp'", lambda f: "reco" <= f.name <= "recp")
    yield where("file_name '*'", lambda f: False)
    yield where("file_name '[a-z]%'", lambda f: False)
    yield where("data_tier raw", lambda f: f.tier == "raw")
    yield where("data_tier != raw", lambda f: f.tier not in (None, "raw"))
    yield where("data_tier Raw", lambda f: False)
    yield where("data_tier %", lambda f: f.tier is not None)
    yield where("data_tier r%,ana", lambda f: f.tier in ("raw", "reco", "ana"))
    yield where("file_format hdf5", lambda f: f.format == "hdf5")
    yield where("version v1", lambda f: f.version == "v1")
    yield where("version 'v_1'", lambda f: f.version == "v_1")
    yield where("version v?1", lambda f: f.version == "v_1")
    yield where("version v1%", lambda f: f.version in ("v1", "v10"))
    yield where("version > v1", lambda f: f.version > "v1")
    yield where("family art and application lar", lambda f: f.application == "lar")
    yield where("appl_name != lar", lambda f: f.application != "lar")
    yield where("content_status bad", lambda f: not f.good)
    yield where("user mc", lambda f: True)
    yield where("create_user mc and group samdev", lambda f: True)
    yield where("file_type test", lambda f: True)
    yield where("file_type 'a' ", lambda f: False)
    yield where("data_stream x", lambda f: False)
    yield where("file_id 5", lambda f: f.number == 5)
    yield where("file_id 5,6,7-20", lambda f: 5 <= f.number <= 20)
    yield where("file_id <= 1000", lambda f: f.number <= 1000)
    yield where("file_id > 99999999999999999999999", lambda f: False)
    yield where("file_id < 999.5", lambda f: f.number < 999.5)
    yield where("file_size 1000-2000", lambda f: 1000 <= f.size <= 2000)
    yield where("file_size >= 999000", lambda f: f.size >= 999000)
    yield where("file_size '5'", lambda f: f.size == 5)
    yield where("event_count 7", lambda f: f.events == 7)
    yield where("event_count != 7", lambda f: f.events not in (None, 7))
    yield where("event_count %", lambda f: f.events is not None)
    yield where("event_count not in 1,2,3,10-900", lambda f: f.events is not None and not (
        f.events in (1, 2, 3) or 10 <= f.events <= 900))
    yield where("event_count < 3.5", lambda f: f.events is not None and f.events < 3.5)
    yield where("create_date > '2016-10-20T00:00:00+0000'", lambda f: f.created > _day(20))
    yield where("create_date > '2016-10-20T02:00:00+0200'", lambda f: f.created > _day(20))
    yield where("create_date > '2016-10-20 00:00:00'", lambda f: f.created > _day(20))
    yield where("create_date <= 2016-10-20", lambda f: f.created <= _day(20))
    yield where("create_date < 20-Oct-2016", lambda f: f.created < _day(20))
    yield where("create_date < 20-Oct-16", lambda f: f.created < _day(20))
    yield where("create_date 2016-10-05", lambda f: _day(5) <= f.created < _day(6))
    yield where("create_date 2016-10-05-2016-10-07", lambda f: _day(5) <= f.created < _day(8))
    yield where("create_date 2016-10-05 - 07-Oct-2016", lambda f: _day(5) <= f.created < _day(8))
    yield where("create_date '2016-10-05T12:00:00'-'2016-10-07T12:00:00'",
                lambda f: _day(5, 12) <= f.created <= _day(7, 12))
    yield where("create_date != 2016-10-05", lambda f: not _day(5) <= f.created < _day(6))
    yield where("update_date '2016-10-02T00:00:00'", lambda f: f.created == _day(2))
    yield where("end_time > '2016-10-02T00:00:00' and end_time <= '2016-10-03T00:00:00'",
                lambda f: f.ended and _day(2) < f.ended <= _day(3))
    yield where("end_time %", lambda f: f.ended)
    yield where("not end_time %", lambda f: not f.ended)
    yield where("start_time %", lambda f: False)
    yield where("run_number 7", lambda f: any(run == 7 for run, _, _ in f.runs))
    yield where("run_number 7.0002", lambda f: (7, 2) in [(run, subrun) for run, subrun, _ in f.runs])
    yield where("run_number 1-10", lambda f: any(1 <= run <= 10 for run, _, _ in f.runs))
    yield where("run_number 1-10,700", lambda f: any(1 <= run <= 10 or run == 700 for run, _, _ in f.runs))
    yield where("run_number > 800", lambda f: any(run > 800 for run, _, _ in f.runs))
    yield where("run_number != 1-830", lambda f: any(not 1 <= run <= 830 for run, _, _ in f.runs))
    yield where("run_number 7.0003-9.0001", lambda f: _subruns(f, lambda at: (7, 3) <= at <= (9, 1)) or any(
        run == 8 for run, _, _ in f.runs))
    yield where("run_number > 833.0003", lambda f: any(
        run > 833 or (run == 833 and subrun is not None and subrun > 3) for run, subrun, _ in f.runs))
    yield where("run_type cosmics", lambda f: any(kind == "cosmics" for _, _, kind in f.runs))
    yield where("not run_type cosmics", lambda f: not any(kind == "cosmics" for _, _, kind in f.runs))
    yield where("run_type != cosmics", lambda f: any(kind != "cosmics" for _, _, kind in f.runs))
    yield where("checksum md5:9", lambda f: False).named("checksum 'md5:8'")
    yield where("checksum 'md5:9'", lambda f: f.checksum == "md5:9")
    yield where("checksum 'md5:1%'", lambda f: (f.checksum or "").startswith("md5:1"))
    yield where("full_path 'dcache:/pnfs/%'", lambda f: f.locations)
    yield where("full_path 'enstore:/pnfs/t(VP0001)'", lambda f: len(f.locations) == 2)
    yield where("tape_label VP0001", lambda f: len(f.locations) == 2)
    yield where("not tape_label %", lambda f: len(f.locations) < 2)
    yield Query(f"parents {name}", frozenset(WORLD.children.get(78, ())))
    yield where("parents raw%", lambda f: any(WORLD.files[each - 1].tier == "raw" for each in f.parents))
    yield where("Dataset.Tag poms_depends_7_1", lambda f: f.tag == "poms_depends_7_1")
    yield where("dataset.tag poms_depends_%", lambda f: f.tag)
    yield where("not dataset.tag %", lambda f: not f.tag)
    yield where("mc.energy 10", lambda f: f.energy == 10)
    yield where("mc.energy 10.0", lambda f: f.energy == 10)
    yield where("mc.energy 2", lambda f: f.energy == "2")
    yield where("mc.energy > 1.6", lambda f: _energy(f, lambda value: value > 1.6))
    yield where("mc.energy 1-2", lambda f: _energy(f, lambda value: 1 <= value <= 2))
    yield where("mc.energy high", lambda f: f.energy == "high")
    yield where("mc.energy high,10", lambda f: f.energy in ("high", 10))
    yield where("mc.energy != high", lambda f: f.energy not in (None, "high"))
    yield where("mc.energy != 10", lambda f: f.energy not in (None, 10))
    yield frozen("snapshot_id 1", 1)
    yield frozen("snapshot_id 1,4", 1, 4)
    yield frozen("snapshot_id 1-2", 1, 2)
    yield frozen("snapshot_for_project_name proj_a", 1)
    yield frozen("snapshot_for_project_name proj%", 1, 2)
    yield frozen("snapshot_for_project_id 2", 2)
    yield frozen("dataset_def_name ds", 1, 2)
    yield frozen("dataset_def_name ds and snapshot_version 2", 2)
    yield frozen("dataset_def_name_newest_snapshot ds", 2)
    yield frozen("def_snapshot wide", 3)
    yield Query("snapshot_id 2 and snapshot_file_number 1-10", frozenset(WORLD.snapshots[2][:10]), governed=True)
    yield Query("snapshot_file_number 3", frozenset(each[2] for each in WORLD.snapshots.values()), governed=True)
    yield recorded("project_name proj_a", lambda r: r.project == "proj_a")
    yield recorded("project_name proj%", lambda r: r.project.startswith("proj"))
    yield recorded("project_id 3", lambda r: r.project == "wide_project")
    yield recorded("project_description 'about proj_a'", lambda r: r.project == "proj_a")
    yield recorded("project_name proj_a and consumed_status co%",
                   lambda r: r.project == "proj_a" and r.state in ("consumed", "completed"))
    yield recorded("project_name proj-b and consumed_status 'consumed'",
                   lambda r: r.project == "proj-b" and r.state == "consumed")
    yield recorded("project_name proj_a and consumed_status skipped,unknown,delivered,transferred,unconsumed,cancelled",
                   lambda r: r.project == "proj_a" and r.state in ("skipped", "unknown", "delivered", "transferred",
                                                                   "cancelled"))
    yield recorded("project_name proj_a and consumed_status != consumed and consumed_status != skipped",
                   lambda r: r.project == "proj_a" and r.state not in ("consumed", "skipped"))
    yield recorded("snapshot_for_project_name proj_a and consumed_status failed",
                   lambda r: r.project == "proj_a" and r.state == "failed")
    yield recorded("consumed_status failed", lambda r: r.state == "failed")
    yield recorded("consumer_process_id 2", lambda r: r.process == 2)
    yield recorded("consumer_status completed and consumed_status consumed",
                   lambda r: r.process == 1 and r.state == "consumed")
    yield recorded("project_name proj_a and consumer larsoft and consumed_status co%",
                   lambda r: r.project == "proj_a" and r.process in (1, 2) and r.state.startswith("co"))
    yield recorded("consumer_process_description 'job.3@b'", lambda r: r.process == 3)
    in_a = recorded("", lambda r: r.project == "proj_a").raw
    in_b = recorded("", lambda r: r.project == "proj-b").raw
    yield Query("project_name proj_a and project_name proj-b", in_a & in_b, governed=True)
    yield Query("snapshot_id 1 and snapshot_id 2", frozenset(WORLD.snapshots[1]) & frozenset(WORLD.snapshots[2]),
                governed=True)
    yield from (defined(each) for each in DEFINITIONS)


def asked_by_poms() -> Iterable[Query]:
    """The queries that POMS and its splits build."""
    raw, project = where("data_tier raw", lambda f: f.tier == "raw"), frozen("snapshot_for_project_name proj_a", 1)
    consumed = recorded("project_name proj_a and consumed_status co%",
                        lambda r: r.project == "proj_a" and r.state.startswith("co"))
    reco = where("version v1 and file_name like reco% and create_date > '2016-10-01T00:00:00+0000'",
                 lambda f: f.version == "v1" and f.name.startswith("reco"))
    hdf = where("version v1 and file_name like %.hdf5", lambda f: f.version == "v1" and f.format == "hdf5")
    everything = where("file_name like %", lambda f: True)
    ds = defined("ds")
    yield (project - consumed).named("snapshot_for_project_name proj_a minus (project_name proj_a and consumed_status "
                                     "co%)")
    yield (project - consumed).named(
        "snapshot_for_project_name proj_a minus project_name proj_a and consumed_status 'co%'")
    yield recorded("project_name proj_a", lambda r: r.project == "proj_a") - recorded(
        "consumed_status co%", lambda r: r.state.startswith("co"))
    yield ds - project
    yield project - (reco.parents() & hdf.parents())
    yield project - reco.parents()
    yield (project & reco.parents()).named(f"snapshot_for_project_name proj_a  and isparentof:( {reco.text} )")
    for available in ("physical", "anylocation", "default", "virtual"):
        kids = reco.cut(available=available)
        yield (project & kids.parents()).named(
            f"snapshot_for_project_name proj_a and isparentof:( {reco.text} with availability {available} )")
        yield (kids.parents() & hdf.cut(available=available).parents())
    yield project & everything.cut(available="anylocation").parents()
    yield (project.children() & reco).named(
        f"ischildof:( snapshot_for_project_name proj_a ) and {reco.text}")
    yield project.children().children() & where("file_name like ana%", lambda f: f.name.startswith("ana"))
    yield reco.parents().parents() & project
    yield project & where("file_name %.root", lambda f: f.format == "root")
    yield (project & recorded("", lambda r: False)).named(
        "snapshot_for_project_name proj_a and consumed_status nonsense")
    for states in ("consumed,cancelled,completed,failed,skipped,delivered", "unknown", "cancelled", "failed"):
        chosen = states.split(",")
        yield recorded(f"snapshot_for_project_name proj_a and consumed_status {states}",
                       lambda r, chosen=chosen: r.project == "proj_a" and r.state in chosen)
    yield (ds | defined("thin")).named("defname:ds or defname:thin")
    for number in (0, 1, 10, 100, 10**9):
        yield ds.cut(limit=number).named(f"defname: ds with limit {number}")
    for slice_number in range(4):
        yield ds.cut(limit=7000, offset=7000 * slice_number).named(
            f"defname: ds with limit 7000 offset {7000 * slice_number}")
    for slice_number in range(5):
        yield ds.cut(stride=5, offset=slice_number).named(f"defname: ds with stride 5 offset {slice_number}")
    yield (ds - frozen("snapshot_id 4", 4)).cut(limit=100).named("defname: ds  minus snapshot_id 4  with limit 100 ")
    yield (frozen("snapshot_id 1", 1) | frozen("snapshot_id 3", 3)).named("snapshot_id 1 or snapshot_id 3")
    yield (recorded("", lambda r: r.project == "proj_a" and r.state == "consumed") - frozen("", 4)).cut(
        limit=50).named("project_name proj_a  and consumed_status 'consumed' minus snapshot_id 4  with limit 50 ")
    yield (ds & where("run_number 12", lambda f: any(run == 12 for run, _, _ in f.runs))).named(
        "defname: ds and run_number 12")
    yield (ds - (frozen("", 4) & where("", lambda f: any(run == 12 for run, _, _ in f.runs)))).named(
        "defname: ds minus snapshot_id 4 and run_number 12")
    yield ((ds - frozen("", 4)) & where("", lambda f: any(run == 12 for run, _, _ in f.runs))).named(
        "(defname: ds minus snapshot_id 4) and run_number 12")
    yield (ds & where("", lambda f: f.ended and _day(2) < f.ended <= _day(3))).named(
        "defname: ds and end_time > '2016-10-02T00:00:00' and end_time <= '2016-10-03T00:00:00'")
    yield raw.ancestors()
    yield reco.ancestors() & project
    yield frozen("snapshot_id 4", 4).descendants()
    yield where("file_id 33400-33500", lambda f: 33400 <= f.number <= 33500).cut(
        available="anylocation").descendants()


def bound_by_grammar() -> Iterable[Query]:
    """Texts without parentheses, which only the order of binding decides."""
    a, b, c = (where("run_number 1-300", lambda f: any(run <= 300 for run, _, _ in f.runs)),
               where("file_format root", lambda f: f.format == "root"),
               where("version v1,v10", lambda f: f.version in ("v1", "v10")))
    yield (a - (b & c)).named(f"{a.text} minus {b.text} and {c.text}")
    yield (a & b | c).named(f"{a.text} and {b.text} or {c.text}")
    yield (a | b & c).named(f"{a.text} or {b.text} and {c.text}")
    yield (a & ~b & c).named(f"{a.text} and not {b.text} and {c.text}")
    yield (~~a).named(f"not not {a.text}")
    yield ((a - b) - c).named(f"{a.text} minus {b.text} minus {c.text}")
    yield ((a - b).union(c)).named(f"{a.text} minus {b.text} union {c.text}")
    yield (a.union(b).intersect(c)).named(f"{a.text} union {b.text} intersect {c.text}")
    yield (a - (b | c)).named(f"{a.text} MINUS {b.text} OR {c.text}")
    yield (a - b).cut(limit=10).named(f"{a.text} minus {b.text} with limit 10")
    yield (a & b.cut(limit=5000)).named(f"{a.text} and ({b.text} with limit 5000)")
    yield (a - b.cut(limit=5000)).named(f"{a.text} minus ({b.text} with limit 5000)")
    yield a.cut(offset=3, stride=4, limit=11, available="physical").named(
        f"{a.text} With Limit 11 Stride 4 Offset 3 Availability physical")
    yield a.cut(available="anylocation").named(f"availability:anylocation and {a.text}")
    yield (a & b).cut(available="virtual").named(f"{a.text} and (availability: virtual) and {b.text}")
    yield (a & b).cut(available="virtual,default").named(f"{a.text} and availability: virtual,default and {b.text}")
    yield Query("availability:physical", WORLD.universe).cut(available="physical").named("availability:physical")
    yield (a | Query("", WORLD.universe).cut(available="virtual")).named(f"{a.text} or availability:virtual")
    yield (frozen("snapshot_id 1", 1) - b) & c
    yield (frozen("snapshot_id 1", 1) | frozen("snapshot_id 3", 3)) & c
    yield frozen("snapshot_id 1", 1).union(a) & c
    yield a.intersect(frozen("snapshot_id 3", 3)) & c
    yield (a | frozen("snapshot_id 3", 3)) & c
    yield ~frozen("snapshot_id 3", 3) & c
    yield (b & a.cut(available="anylocation").cut(limit=1000)).named(
        f"{b.text} and (({a.text} with availability anylocation) with limit 1000)")


def composed(number: int) -> Iterable[Query]:
    """Random compositions, the same every time."""
    chance = random.Random(4)
    simple = [each for each in leaves() if "project" not in each.text and "consume" not in each.text
              and "snapshot" not in each.text]
    frozen_ones = [frozen("snapshot_id 1", 1), frozen("snapshot_for_project_name proj-b", 2), defined("thin"),
                   defined("wide"), recorded("project_name proj_a", lambda r: r.project == "proj_a")]

    def make(depth: int) -> Query:
        if depth == 0 or chance.random() < 0.2:
            return chance.choice(simple if chance.random() < 0.7 else frozen_ones)
        kind = chance.randrange(9)
        one = make(depth - 1)
        if kind == 0:
            return ~one
        if kind == 1:
            return one.cut(offset=chance.choice([0, 5]), stride=chance.choice([1, 3]),
                           limit=chance.choice([None, 100, 9999]),
                           available=chance.choice(["", "", "physical", "anylocation", "virtual"]))
        if kind == 2:
            return one.parents()
        if kind == 3:
            return one.children()
        other = make(depth - 1)
        return (one & other, one | other, one - other, one.union(other), one.intersect(other))[kind - 4]

    return [make(3) for _ in range(number)]


WORLD = World()
FAMILIES: dict[str, Callable[[], Iterable[Query]]] = {
    "every dimension": leaves, "asked by POMS": asked_by_poms, "order of binding": bound_by_grammar,
    "random compositions": lambda: composed(100),
}


@cache
def family(name: str) -> list[Query]:
    """The queries of a family; their sets are worked out once for both databases."""
    return list(FAMILIES[name]())


def _fingerprint(numbers: frozenset[int]) -> tuple[int, int, int]:
    return len(numbers), sum(numbers), sum(each * (each % 1009) for each in numbers)


@pytest.fixture(scope="module")
def catalogue(shared_site: Any) -> Any:
    WORLD.store(shared_site.url)
    return shared_site.catalogue()


@pytest.mark.parametrize("name", FAMILIES)
def test_a_query_gives_exactly_the_files_that_its_sets_give(catalogue: Any, name: str) -> None:
    """However a query is written and composed, the database finds what set arithmetic finds."""
    wrong = []
    with catalogue.reading() as scope:
        for query in family(name):
            found = Compiler(scope.connection, EXPERIMENT).file_ids(query.text).subquery()
            number = found.c.file_id
            row = scope.connection.execute(select(
                func.count(), func.coalesce(func.sum(number), 0), func.coalesce(func.sum(number * (number % 1009)), 0)
            )).one()
            if tuple(int(each) for each in row) != _fingerprint(query.shown):
                wrong.append(f"{query.text}: {row[0]} files, not {len(query.shown)}")

    assert wrong == []


def test_there_are_at_least_three_hundred_queries() -> None:
    """The comparison is as wide as it claims to be, and most queries give some files but not all."""
    queries = [query for name in FAMILIES for query in family(name)]

    assert len(queries) >= 300
    assert sum(0 < len(each.shown) < len(WORLD.universe) for each in queries) > 0.7 * len(queries)


def test_files_are_listed_in_the_order_of_their_numbers(catalogue: Any) -> None:
    """Every list has one order, and a slice of it is a slice of the whole."""
    ds = sorted(defined("ds").shown)

    listed = catalogue.list("defname:ds with offset 100 limit 50")

    assert listed == [WORLD.files[number - 1].name for number in ds[100:150]]
    assert catalogue.list("defname:ds", limit=3) == [WORLD.files[number - 1].name for number in ds[:3]]


def test_parts_by_stride_hold_every_file_once(catalogue: Any) -> None:
    """The parts of a split by stride are disjoint and leave nothing out."""
    parts = [catalogue.list(f"defname:ds with stride 7 offset {offset}") for offset in range(7)]

    assert sorted(name for part in parts for name in part) == sorted(catalogue.list("defname:ds"))


def test_a_small_dataset_among_many_files_is_found_by_an_index(catalogue: Any) -> None:
    """Counting the output of one submission reads no whole table."""
    query = ("ischildof:(snapshot_for_project_name proj_a) and version v1 "
             "and create_date > '2016-10-01T00:00:00+0000' and file_name like 'reco%'")
    with catalogue.reading() as scope:
        statement = Compiler(scope.connection, EXPERIMENT).file_ids(query)
        compiled = statement.compile(scope.connection.engine, compile_kwargs={"literal_binds": True})
        if scope.connection.dialect.name == "sqlite":
            plan = " ".join(row[3] for row in scope.connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}"))
            assert "SCAN catalogue_parentage" not in plan
            assert "SCAN catalogue_snapshot_files" not in plan
        else:
            plan = " ".join(row[0] for row in scope.connection.exec_driver_sql(
                f"EXPLAIN {str(compiled).replace('%%', '%').replace('%', '%%')}"))
            assert "Seq Scan on catalogue_snapshot_files" not in plan
