"""Many idle jobs: hold, release and kill of a submission, a stage, a campaign touch exactly theirs, and at once.

``POMS_TEST_IDLE_JOBS=10000`` fills the pool with that many in 100 submissions, and each action must then take less than
5 seconds; the ordinary run is smaller and looks at what was touched only.
"""

from __future__ import annotations

import itertools
import os
import time
import uuid
from collections import Counter

import pytest

from poms.webservice import config, migrations
from poms.webservice.backends import Backends
from poms.webservice.clock import utc_now
from poms.webservice.db import Database, make_engine
from poms.webservice.interfaces import JobState
from poms.webservice.rules.statuses import Status
from poms.webservice.services import jobs, lookups
from poms.webservice.services.core import Core
from poms.webservice.testing.jobs import await_that
from poms.webservice.testing.world import World, stage

IDLE_JOBS = int(os.environ.get("POMS_TEST_IDLE_JOBS", "120"))
STAGES = ("gen", "sim", "reco", "ana")
CAMPAIGNS = 2 if IDLE_JOBS < 1000 else 5
SUBMISSIONS = CAMPAIGNS * len(STAGES) * (1 if IDLE_JOBS < 1000 else 5)
JOBS = IDLE_JOBS // SUBMISSIONS
MOST_SECONDS = 5.0 if "POMS_TEST_IDLE_JOBS" in os.environ else float("inf")

INI = """\
[service]
data_dir = {data}
[experiment_defaults]
job_backend = htcondor
data_backend = local
launch_transport = local
backend_timeout_seconds = 120
[htcondor]
collector = {pool.collector}
schedds = {pool.schedds[0]}
pool = test
token_directory = {pool.token_directory}
programs = {pool.programs}
config = none
default_memory_mb = 500
timeout_seconds = 90
; The pool remembers the submissions of other tests, which have the same numbers.
job_constraint = POMS_INST == "{run}"
"""


@pytest.fixture
def full(empty_pool, shared_path):
    """A pool full of idle jobs: the world, and the submissions by campaign and stage."""
    data = shared_path / "var"
    data.mkdir()
    data.chmod(0o755)
    ini = data / "poms.ini"
    run = uuid.uuid4().hex
    ini.write_text(INI.format(data=data, pool=empty_pool, run=run))
    backends = Backends(config.load(ini))
    migrations.upgrade(backends.settings.database.url, backends.databases())
    database = Database(make_engine(backends.settings.database.url))
    world = World(Core(database, backends, backends.settings, utc_now))
    campaigns = [world.campaign_with(*(stage(name) for name in STAGES)) for _ in range(CAMPAIGNS)]
    places = itertools.cycle(itertools.product(campaigns, STAGES))
    chosen = {}
    for campaign, name in itertools.islice(places, SUBMISSIONS):
        number = world.launch(campaign, name).submission_id
        chosen.setdefault((campaign.campaign_id, campaign.stage(name)), []).append(number)
        # Not through launch scripts: what is tried here are the actions, not a hundred submits.
        done = empty_pool.run("condor_submit", "-name", empty_pool.schedds[0], "-terse", "-", text=(
            f"executable = /bin/sleep\narguments = 1000\ntransfer_executable = false\nrequirements = false\n"
            f"MY.POMS4_SUBMISSION_ID = {number}\nMY.POMS4_LAUNCH_ATTEMPT = 1\nMY.POMS_INST = \"{run}\"\n"
            f"queue {JOBS}\n"))
        assert done.returncode == 0, done.stderr
    world.poll()
    yield world, campaigns, chosen
    backends.close()
    database.close()


def states(world: World) -> dict[int, Counter]:
    """Jobs of each submission by state, as the pool has them now."""
    found: dict[int, Counter] = {}
    for count in world.core.backends.jobs("samdev").snapshot().counts:
        found.setdefault(count.submission_id, Counter())[count.state] += count.count
    return found


@pytest.mark.htcondor
@pytest.mark.timeout(1200)
def test_actions_touch_exactly_what_was_chosen_and_at_once(full, record_property):
    """One submission, one stage, one campaign: held, released, killed. All others stay idle throughout."""
    world, campaigns, chosen = full
    every = {number for numbers in chosen.values() for number in numbers}
    assert states(world) == {number: Counter({JobState.IDLE: JOBS}) for number in every}
    first, last = campaigns[0], campaigns[-1]
    one = [chosen[first.campaign_id, first.stage("gen")][0]]
    of_stage = lookups.live_submission_ids(world.core, "samdev", stage_id=first.stage("sim"))
    of_campaign = lookups.live_submission_ids(world.core, "samdev", campaign_id=last.campaign_id)
    assert sorted(of_stage) == sorted(chosen[first.campaign_id, first.stage("sim")])
    assert sorted(of_campaign) == sorted(number for (campaign_id, _), numbers in chosen.items()
                                         for number in numbers if campaign_id == last.campaign_id)
    gone: set[int] = set()
    for what, numbers in (("submission", one), ("stage", of_stage), ("campaign", of_campaign)):
        for action, state in (("hold", JobState.HELD), ("release", JobState.IDLE), ("remove", None)):
            began = time.monotonic()
            result = jobs.act(world.core, "ann", "samdev", action, numbers, reason="by a test",
                              mark=Status.REMOVED if action == "remove" else None)
            seconds = time.monotonic() - began
            record_property(f"{action} {what}", round(seconds, 2))
            print(f"{action} one {what}, {len(numbers) * JOBS} of {IDLE_JOBS} jobs: {seconds:.2f} s")
            assert (result.changed, result.unchanged, result.refused) == (len(numbers) * JOBS, 0, 0), result.message
            assert seconds < MOST_SECONDS
            gone |= set(numbers) if state is None else set()
            expected = {number: Counter({state if number in numbers else JobState.IDLE: JOBS})
                        for number in every - gone}
            await_that(lambda expected=expected: states(world) == expected, lambda: states(world), seconds=60)
    world.poll()
    assert {world.status(number) for number in (*one, *of_stage, *of_campaign)} == {Status.REMOVED}
    assert {world.status(number) for number in every - gone} == {Status.IDLE}
