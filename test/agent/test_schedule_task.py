"""The agents look at schedules and keep house, each at its own interval."""

from __future__ import annotations

from poms.webservice.agent import schedules as task
from poms.webservice.agent.loop import Agent
from poms.webservice.services import schedules
from poms.webservice.testing.fixtures import make_service
from poms.webservice.testing.world import stage


def test_every_experiment_s_schedules_are_looked_at(sqlite_database, tmp_path, clock):
    """One task an experiment, and one that keeps house for all, at the intervals of poms.ini."""
    core = make_service(sqlite_database, tmp_path, clock,
                        text="[agent]\nschedule_seconds = 7s\nprune_seconds = 3h").core

    intervals = {each.name: each.interval_seconds for each in Agent(core)._tasks(["nova", "sbnd"])}

    assert intervals["schedules:nova"] == intervals["schedules:sbnd"] == 7
    assert intervals["housekeeping"] == 3 * 3600


def test_a_look_launches_what_is_due(world, clock):
    """The task says what it did, for the agents page."""
    campaign = world.campaign_with(stage("gen"))
    schedules.set_schedule(world.core, campaign.owner, campaign.stage("gen"), cron="* * * * *")
    clock.advance(minutes=1)

    assert task.run(world.core, "samdev") == "1 launches due, 0 missed, 0 refused"
    assert [row.state for row in world.launches()] == ["owed"]
