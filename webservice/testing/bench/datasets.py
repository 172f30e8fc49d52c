"""Large datasets: slices of a dataset that grows, cut by ``drainingn``, and the preview of a launch on a large one.

On the embedded file catalogue with made-up files. The references are raw statements on the same rows: picking as
many files as a slice has, and counting a dataset.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, text

from poms.webservice import config
from poms.webservice.backends import Backends
from poms.webservice.clock import utc_now
from poms.webservice.db import Database, make_engine
from poms.webservice.interfaces import DataBackend
from poms.webservice.model import CampaignStage, Membership
from poms.webservice.rules.permissions import Actor
from poms.webservice.services import launch_requests, launching, previews
from poms.webservice.services.core import Core
from poms.webservice.testing.bench import instant
from poms.webservice.testing.bench.bulk import refresh_statistics
from poms.webservice.testing.bench.figures import Budget, Figure, figure
from poms.webservice.testing.bench.places import Place, ini_text

SLICE = 100
PART = 32_000
"""Files of one of the snapshots in which a long split remembers what it gave out."""

TIER = "bench-raw"
BACKENDS = f"""
[experiment_defaults]
job_backend = {instant.NAME}
data_backend = local
launch_transport = {instant.NAME}
"""

_FILES = """
INSERT INTO catalogue_files (experiment, file_name, file_size, content_status, created_at, updated_at, data_tier,
                             located)
SELECT :experiment, 'bench_' || n || '.root', 1000000 + n, 'good', :now, :now, :tier, {true} FROM {numbers}"""
_LOCATIONS = """
INSERT INTO catalogue_locations (file_id, experiment, location, added_at)
SELECT file_id, experiment, 'dcache:/bench', :now FROM catalogue_files WHERE data_tier = :tier"""
_PICK = """
SELECT file_id FROM catalogue_files WHERE experiment = :experiment AND data_tier = :tier AND located
ORDER BY file_id LIMIT :size OFFSET :offset"""
_COUNT = "SELECT count(*) FROM catalogue_files WHERE experiment = :experiment AND data_tier = :tier AND located"


def measure_splits(place: Place, *, files: int = 1_000_000, slices: int = 20) -> Iterator[Figure]:
    """Launches that take the next ``drainingn(100)`` slice: at the beginning, and when half of the files are gone."""
    core = core_with_catalogue(place.url, place.directory)
    try:
        add_files(core.db.engine, place, files)
        actor, data = _owner(core, place), core.backends.data(place.landmarks.experiment)
        data.define("bench_files", f"data_tier {TIER}")
        half = _delivered(data, files // 2)
        refresh_statistics(core.db.engine)
        for where, position, offset in (("at the beginning", None, 0),
                                        ("half way", half, files // 2)):
            _set_stage(core, place, "bench_files", f"drainingn({SLICE})", position)
            took = [_timed(lambda key=f"{where} {number}": launching.launch(
                core, actor, launch_requests.by_hand(place.landmarks.stage_id, key))) for number in range(slices)]
            raw = [_timed(lambda first=offset + number * SLICE: _ask(core.db.engine, place, _PICK, size=SLICE,
                                                                     offset=first))[0] for number in range(slices)]
            seconds = [each[0] for each in took]
            yield figure(f"slice of {files:,} files {where}", statistics.median(seconds), "s",
                         "SELECT of the same files", statistics.median(raw), Budget("slowest_s", 2),
                         slowest_s=max(seconds), processor_s=sum(each[1] for each in took) / slices)
    finally:
        core.db.close()


def _delivered(data: DataBackend, files: int) -> dict[str, Any]:
    """The position of a split that gave out so many files: in snapshots of the size that it keeps."""
    parts, size = [], min(files, PART)
    for begin in range(0, files, size):
        name = f"bench_part_{begin}"
        data.define(name, f"data_tier {TIER} with limit {size} offset {begin}")
        parts.append([data.snapshot(name), size])
    return {"v": 1, "snapshot": parts[-1][0], "parts": parts}


def measure_preview(place: Place, *, files: int = 100_000, looks: int = 10) -> Iterator[Figure]:
    """A launch on a dataset of so many files, whole and cut into slices, worked out and shown but not made."""
    core = core_with_catalogue(place.url, place.directory)
    try:
        add_files(core.db.engine, place, files)
        actor = _owner(core, place)
        core.backends.data(place.landmarks.experiment).define("bench_files", f"data_tier {TIER}")
        for what, split in (("whole", None), (f"by drainingn({SLICE})", f"drainingn({SLICE})")):
            _set_stage(core, place, "bench_files", split, None)
            request = launch_requests.by_hand(place.landmarks.stage_id, f"preview {what}")
            found = previews.of_launch(core, actor, request)
            if found.what != "launch" or found.input is None or found.input.count != (SLICE if split else files):
                raise RuntimeError(f"the preview is not of {files:,} files: {found.what} {found.why}")
            took = [_timed(lambda request=request: previews.of_launch(core, actor, request)) for _ in range(looks)]
            raw = [_timed(lambda: _ask(core.db.engine, place, _COUNT))[0] for _ in range(looks)]
            seconds = [each[0] for each in took]
            yield figure(f"preview of {files:,} files {what}", statistics.median(seconds), "s",
                         "raw count of the same files", statistics.median(raw), Budget("slowest_s", 3),
                         slowest_s=max(seconds), processor_s=sum(each[1] for each in took) / looks)
    finally:
        core.db.close()


def core_with_catalogue(url: str, directory: Path) -> Core:
    """Services whose file catalogue is the embedded one."""
    settings = config.parse(ini_text(url, directory) + BACKENDS, directory=directory)
    plugins = [instant, *instant.needed_plugins(), instant.installed("local_catalogue")]
    backends = Backends(settings, plugins, clock=utc_now)
    return Core(Database(make_engine(url, pool_size=4)), backends, backends.settings, utc_now)


def add_files(engine: Engine, place: Place, count: int) -> None:
    """Have exactly so many located files of one data tier in the place's experiment."""
    is_postgresql = engine.dialect.name == "postgresql"
    numbers = f"generate_series(1, {count}) AS n" if is_postgresql else (
        f"(WITH RECURSIVE counted(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < {count}) "
        "SELECT n FROM counted)")
    values = {"experiment": place.landmarks.experiment, "tier": TIER, "now": utc_now()}
    with engine.execution_options(poms_write=True).begin() as connection:
        have = connection.execute(text(_COUNT), {"experiment": values["experiment"], "tier": TIER}).scalar_one()
        if have:
            connection.execute(text("UPDATE catalogue_files SET data_tier = 'bench-before' WHERE data_tier = :tier"),
                               {"tier": TIER})
            connection.execute(text("UPDATE catalogue_files SET file_name = 'before_' || file_id || '_' || file_name "
                                    "WHERE data_tier = 'bench-before' AND file_name LIKE 'bench%'"))
        connection.execute(text(_FILES.format(true="true" if is_postgresql else "1", numbers=numbers)), values)
        connection.execute(text(_LOCATIONS), {"tier": TIER, "now": values["now"]})
    refresh_statistics(engine)


def _owner(core: Core, place: Place) -> Actor:
    """Somebody who may launch the stage that is measured."""
    with core.db.read() as session:
        stage = session.get_one(CampaignStage, place.landmarks.stage_id)
        member = session.get_one(Membership, (stage.creator, stage.experiment))
        return Actor(stage.creator, place.landmarks.username, stage.experiment, member.role)


def _set_stage(core: Core, place: Place, dataset: str, split: str | None, position: dict[str, Any] | None) -> None:
    with core.db.write() as session:
        stage = session.get_one(CampaignStage, place.landmarks.stage_id)
        stage.dataset, stage.cs_split_type, stage.cs_last_split = dataset, split, position
        stage.hold_experimenter_id = None


def _ask(engine: Engine, place: Place, statement: str, **values: Any) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(text(statement), {
            "experiment": place.landmarks.experiment, "tier": TIER, **values}))


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds that passed, and those of this process's processor."""
    began, worked = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - began, time.process_time() - worked
