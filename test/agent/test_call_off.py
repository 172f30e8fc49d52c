"""A launch that is called off while its script runs: the script ends soon, and nothing of it stays."""

from __future__ import annotations

import os
import select
import threading

import pytest
from sqlalchemy import update

from poms.webservice.agent.launcher import Launcher
from poms.webservice.model import LoginSetup
from poms.webservice.rules.statuses import Status
from poms.webservice.services import launches
from poms.webservice.services.launches import CallOff
from poms.webservice.testing.world import World, stage


@pytest.fixture
def world(installed_core):
    return World(installed_core)


@pytest.fixture
def launcher(world):
    """The part of an agent that launches, at work."""
    stopping = threading.Event()
    made = Launcher(world.core, "agent one", stopping)
    thread = threading.Thread(target=made.run, daemon=True)
    thread.start()
    yield made
    stopping.set()
    thread.join(60)


def _campaign(world, script):
    made = world.campaign_with(stage("gen", script=script))
    with world.core.db.write() as session:
        session.execute(update(LoginSetup).values(launch_account=""))
    return made


def test_the_script_of_an_aborted_launch_is_ended(world, launcher, tmp_path):
    """It would have run for an hour; a few seconds after the abort it is gone, and no jobs follow."""
    fifo = tmp_path / "pid"
    os.mkfifo(fifo)
    campaign = _campaign(world, f"echo $$ > {fifo}; sleep 3600;")
    number = world.launch(campaign, "gen").submission_id
    pid = int(fifo.read_text())
    script = os.pidfd_open(pid)

    launches.abort(world.core, "lena", "samdev", number, reason="wrong dataset")

    with os.fdopen(script):
        assert select.select([script], [], [], 60)[0], "the launch script is still alive"
    assert world.status(number) is Status.REMOVED
    assert world.core.backends.jobs("samdev").find(number) == []


def test_only_launches_of_ended_submissions_are_called_off(world):
    """An agent that asks about its launches is told of those that need not go on."""
    campaign = _campaign(world, "true")
    numbers = [world.launch(campaign, "gen").submission_id for _ in range(2)]
    claims = launches.claim(world.core, "agent one", 10)
    with world.core.db.write() as session:
        session.get_one(type(world.launches()[0]), claims[0].launch_id).attempt = 1

    launches.abort(world.core, "lena", "samdev", numbers[0])

    assert launches.called_off(world.core, claims) == {claims[0].launch_id}


def test_a_signal_that_was_set_stays_readable():
    """Who begins to wait after it was set is not kept waiting."""
    stop = CallOff()
    stop.set()
    stop.set()

    assert stop.is_set()
    assert select.select([stop], [], [], 60)[0]
