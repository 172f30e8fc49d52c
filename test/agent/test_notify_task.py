"""The agents tell people, with nobody doing anything else for it."""

from __future__ import annotations

import pytest

from poms.webservice.agent import Agent
from poms.webservice.clock import utc_now
from poms.webservice.rules.statuses import Status
from poms.webservice.services import submissions, tasks, watches
from poms.webservice.testing.fixtures import make_service
from poms.webservice.testing.jobs import await_that
from poms.webservice.testing.notifier import FakeChannels
from poms.webservice.testing.world import World, stage

QUICK = """
[notify]
channels = fake
interval_seconds = 0.1
gather_seconds = 0
[agent]
lease_seconds = 3
"""


@pytest.mark.parametrize("agents", [1, 2])
def test_what_happens_is_told_once(make_database, tmp_path, agents):
    """By any number of agents; the agents page knows the task."""
    channels = FakeChannels()
    made = make_service(make_database(), tmp_path, utc_now, text=QUICK, plugins=[channels])
    world, core = World(made.core, made.fakes), made.core
    campaign = world.campaign_with(stage("gen"), name="mc")
    anna = world.person("anna")
    watches.set_address(core, anna, "fake", "to:anna")
    watches.watch(core, anna, campaign_id=campaign.campaign_id)
    running = [Agent(core) for _ in range(agents)]
    for agent in running:
        agent.start()
    try:
        number = world.launch(campaign, "gen").submission_id
        with core.db.write() as session:
            submissions.change_status(session, submissions.lock(session, number), Status.FAILED, at=core.clock(),
                                      actor="poms", by_person=True)
        await_that(lambda: channels.fake.sent, lambda: [row.message for row in tasks.list_tasks(core)])
        again = core.clock()
        # It has not succeeded at all while the first of its runs is still busy with what it sent.
        await_that(lambda: any(row.succeeded_at and row.succeeded_at > again for row in tasks.list_tasks(core)
                               if row.name == "notify"))
    finally:
        for agent in running:
            agent.stop()

    assert [[item.text for item in message.items] for message in channels.fake.sent] == [
        [f"gen submission {number}: Failed, was New"]]
