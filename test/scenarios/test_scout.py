"""A scout on the batch system and the file catalogue that are installed: real jobs are measured, or fail."""

from __future__ import annotations

import pytest
from sqlalchemy import select, update

from poms.plugins.local.batch.master import stop_master
from poms.plugins.local.batch.spool import Spool
from poms.plugins.local.catalogue import files
from poms.plugins.local.catalogue.backend import LocalCatalogue
from poms.webservice.interfaces import JobSelection, PluginContext
from poms.webservice.model import Job, LoginSetup, Scout
from poms.webservice.rules.statuses import Status
from poms.webservice.services import scout_verdicts
from poms.webservice.testing.jobs import await_that
from poms.webservice.testing.world import World, stage

ASKED_MB = 300


@pytest.fixture
def world(installed_core):
    """The installed service with six files in a dataset; its batch system ends with the test."""
    settings = installed_core.settings
    context = PluginContext(experiment="samdev", options={}, data_dir=settings.service.data_dir,
                            database_url=settings.database.url, public_url="http://localhost",
                            clock=installed_core.clock, secret=lambda name: name)
    made = World(installed_core)
    made.experiment()
    with LocalCatalogue(context).writing() as scope:
        for number in range(6):
            name = f"raw{number}.root"
            files.declare(scope, [{"file_name": name, "file_size": 1, "file_type": "test"}])
            files.change_locations(scope, name, add=["disk:/data"])
    installed_core.backends.data("samdev").define("raw", "file_type test")
    yield made
    spool = Spool(settings.service.data_dir / "batch")
    numbers = tuple(item.submission_id for item in made.submissions())
    installed_core.backends.jobs("samdev").act("remove", JobSelection(submission_ids=numbers), "the test is over")
    stop_master(spool)


def campaign(world, tmp_path, text, scout):
    """A stage whose two jobs run this Python text on part of the dataset."""
    script = tmp_path / "job.py"
    script.write_text(f"#!/usr/bin/env python3\n{text}\n", encoding="utf-8")
    script.chmod(0o755)
    made = world.campaign_with(stage(
        "reco", dataset="raw", scout=scout, completion="complete", script="jobsub_submit -G samdev -N 2",
        parameters=[["--memory=", f"{ASKED_MB}MB"], ["file://", str(script)], [" ", "%(dataset)s"]]))
    with world.core.db.write() as session:
        session.execute(update(LoginSetup).values(launch_account=""))
    return made, script


def agents(world):
    """What agents do regularly, once."""
    world.poll()
    world.wrap_up()
    world.work_on_launches()


def await_scout(world, number, state):
    def now():
        agents(world)
        with world.core.db.read() as session:
            row = session.get_one(Scout, number)
        return row if row.state == state else None

    return await_that(now, lambda: f"{world.status(number)}, {world.launches()[0].message}")


def await_rest(world, number):
    """The rest's submission, when it is done."""
    def now():
        agents(world)
        (row,) = world.launches(key=f"scout:{number}:rest")
        return row.submission_id and world.status(row.submission_id) is Status.LOCATED and row

    return await_that(now, lambda: [(row.key, row.state, row.message, row.hold_reason) for row in world.launches()])


def files_of(world, number):
    data = world.core.backends.data("samdev")
    return sorted(data.list(data.dataset_query(world.get(number).submission_params["dataset"])))


def test_what_real_jobs_used_is_what_the_rest_asks_for(world, tmp_path):
    """The scout's jobs touch 60 MB; the rest asks for what was measured and half of it more, and runs on the others."""
    made, _ = campaign(world, tmp_path, "import time; kept = b'x' * 60_000_000; time.sleep(1.5); len(kept)",
                       "2 files, memory x1.5")

    number = world.submission(made, "reco")
    scout = await_scout(world, number, "good")
    rest = await_rest(world, number)

    assert (scout.jobs, scout.jobs_succeeded) == (2, 2)
    assert 60 <= scout.memory_mb < ASKED_MB / 1.5
    assert scout.wall_seconds >= 1
    with world.core.db.read() as session:
        asked = set(session.scalars(select(Job.memory_asked_mb).where(Job.submission_id == rest.submission_id)))
    assert asked == {-(-int(scout.memory_mb) * 3 // 2)}
    assert (files_of(world, number), files_of(world, rest.submission_id)) == (
        ["raw0.root", "raw1.root"], ["raw2.root", "raw3.root", "raw4.root", "raw5.root"])


def test_real_jobs_that_fail_hold_the_rest_until_somebody_says_go_on(world, tmp_path):
    """Nothing else is submitted; when the program is mended and a person goes on, the rest runs, once."""
    made, script = campaign(world, tmp_path, "raise SystemExit(3)", "2 files")
    number = world.submission(made, "reco")

    scout = await_scout(world, number, "asking")
    agents(world)

    assert scout.reason == "0 of 2 jobs ended well, the limit is 90 %"
    assert [item.submission_id for item in world.submissions()] == [number]
    script.write_text("#!/usr/bin/env python3\n", encoding="utf-8")
    scout_verdicts.answer(world.core, made.owner, number, go_on=True, reason="mended")
    rest = await_rest(world, number)
    assert len(world.submissions()) == 2
    assert len(files_of(world, rest.submission_id)) == 4
