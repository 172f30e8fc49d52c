"""The agent: threads that launch, poll and wrap up until told to stop, on a clock that runs."""

from __future__ import annotations

import threading
import time

import pytest

from poms.webservice.agent import Agent, loop
from poms.webservice.clock import utc_now
from poms.webservice.model import CampaignDependency, Experiment
from poms.webservice.rules.statuses import Status
from poms.webservice.services import tasks
from poms.webservice.testing.fixtures import make_service
from poms.webservice.testing.world import World, stage

QUICK = """
[agent]
launch_seconds = 0.1
poll_seconds = 0.1
wrapup_seconds = 0.1
lease_seconds = 3
launch_workers = 3
"""


def await_that(condition, what="", seconds=60):
    """Wait until something holds; fail if it never does."""
    limit = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < limit, f"waited in vain: {what or condition}"
        threading.Event().wait(0.02)
    return found


@pytest.fixture
def world(make_database, tmp_path):
    made = make_service(make_database(), tmp_path, utc_now, text=QUICK)
    return World(made.core, made.fakes)


@pytest.fixture
def running(world, monkeypatch):
    """Start agents; all of them are stopped at the end."""
    monkeypatch.setattr(loop, "EXPERIMENTS_SECONDS", 0.2)
    agents = []

    def start():
        agents.append(Agent(world.core))
        agents[-1].start()
        return agents[-1]

    yield start
    for agent in agents:
        agent.stop()


def _do_the_jobs(world):
    """What a batch system does: every job processes its files and ends."""
    for number in list(world.batch.clusters()):
        catalogue = world.catalogue()
        for name in catalogue.projects():
            if name.startswith(f"prj_{number}_"):
                catalogue.process(name)
        world.batch.end(number)


@pytest.mark.parametrize("agents", [1, 2])
def test_a_campaign_runs_to_its_end(world, running, agents):
    """A stage in slices that feeds itself and another: every submission Located, each launched once."""
    world.catalogue().dataset("raw", 5)
    campaign = world.campaign_with(
        stage("gen", dataset="raw", split="drainingn(2)", pct=100), stage("reco", after={"gen": "%.root"},
                                                                         completion="complete"))

    with world.core.db.write() as session:
        session.add(CampaignDependency(provider_campaign_stage_id=campaign.stage("gen"), file_patterns="%",
                                       consumer_campaign_stage_id=campaign.stage("gen")))
    for _ in range(agents):
        running()
    world.launch(campaign, "gen")

    def done():
        _do_the_jobs(world)
        found = world.submissions()
        return (len(found) == 6 and all(item.status_id == Status.LOCATED for item in found)
                and not world.launches(state="owed") and not world.launches(state="queued"))

    await_that(done, "the campaign's end")

    assert max(world.batch.clusters().values()) == 1
    assert world.sums_differ() == []


def test_stopping_ends_every_thread(world, running):
    """After stop returns nothing of the agent runs any more."""
    world.experiment("samdev")
    agent = running()
    await_that(lambda: len(agent._threads) > 3, "tasks of the experiment")

    agent.stop()

    assert [name for name, thread in agent._threads.items() if thread.is_alive()] == []


def test_a_failing_task_goes_on(world, running):
    """A batch system that does not answer is recorded with its task, and asked again."""
    world.experiment("samdev")
    world.batch.fail("snapshot", times=2)
    running()

    def task():
        rows = {row.name: row for row in tasks.list_tasks(world.core)}
        return rows.get("poll:fake")

    await_that(lambda: task() and task().failed_at, "the failure")
    await_that(lambda: task().succeeded_at and task().error is None, "the success after it")


def test_an_experiment_that_appears_is_worked_for(world, running):
    """A new experiment is polled and wrapped up without a restart, also if it shares a batch system."""
    world.experiment("samdev")
    agent = running()
    await_that(lambda: "wrapup:samdev" in agent._threads, "the first experiment")
    campaign = world.campaign_with(stage("gen", completion="complete"), experiment="nova")
    number = world.launch(campaign, "gen").submission_id

    def located():
        _do_the_jobs(world)
        return world.status(number) is Status.LOCATED

    await_that(located, "the new experiment's submission")


def test_an_inactive_experiment_is_left(world, running):
    """Tasks of an experiment that was made inactive end by themselves."""
    world.experiment("samdev")
    agent = running()
    await_that(lambda: "wrapup:samdev" in agent._threads, "the tasks")

    world.change(Experiment, "samdev", active=False)

    await_that(lambda: not agent._threads["wrapup:samdev"].is_alive(), "the end of the tasks")


def test_one_experiment_cannot_take_all_workers(world, running):
    """While launches of one experiment hang, another one's are submitted."""
    stuck = world.campaign_with(stage("gen"))
    other = world.campaign_with(stage("gen"), experiment="nova")
    go_on = threading.Event()
    for _ in range(6):
        world.launch(stuck, "gen")
    world.batch.hang("submit", go_on, times=2)
    try:
        running()
        await_that(lambda: world.batch.calls["submit"] >= 2, "the hanging launches")
        number = world.launch(other, "gen").submission_id

        await_that(lambda: world.batch.clusters()[number] == 1, "the other experiment's launch")
        assert len(world.batch.accepted) == 1
    finally:
        go_on.set()


def test_a_long_launch_keeps_its_lease(world, running):
    """A launch that takes longer than the lease is not taken by another agent, and is made once."""
    campaign = world.campaign_with(stage("gen"))
    go_on = threading.Event()
    world.batch.hang("submit", go_on)
    running()
    number = world.launch(campaign, "gen").submission_id
    await_that(lambda: world.batch.calls["submit"] == 1, "the launch")
    running()
    try:
        first = await_that(lambda: world.launches()[0].lease_until, "the lease")
        await_that(lambda: world.launches()[0].lease_until > first, "its prolongation")
        after = world.launches()[0].lease_until
        await_that(lambda: world.core.clock() > first and world.launches()[0].lease_until > after, "the next one")
        assert world.batch.calls["submit"] == 1
    finally:
        go_on.set()
    await_that(lambda: world.launches()[0].state == "launched", "the end of the launch")

    assert world.batch.clusters() == {number: 1}
