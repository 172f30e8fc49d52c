"""An approval gate on the file catalogue that is installed: what a person lets through, and what is kept out."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from poms.plugins.local.catalogue import files
from poms.plugins.local.catalogue.backend import LocalCatalogue
from poms.webservice.interfaces import PluginContext
from poms.webservice.rules.statuses import Status
from poms.webservice.services import approvals, launches, launching, wrapup
from poms.webservice.services.launch_requests import LaunchRequest
from poms.webservice.testing.world import World, stage


@pytest.fixture
def gated(installed_core):
    """Two kinds of files in one dataset, a gate, and a stage for each kind behind it."""
    settings = installed_core.settings
    world = World(installed_core)
    made = world.campaign_with(
        stage("check", dataset="raw", script="", campaign_stage_type="approval"),
        stage("reco", after={"check": "%.root"}, script="true"),
        stage("plot", after={"check": "%.hist, %.txt"}, script="true"),
        stage("logs", after={"check": "%.log"}, script="true"))
    context = PluginContext(experiment="samdev", options={}, data_dir=settings.service.data_dir,
                            database_url=settings.database.url, public_url="http://localhost",
                            clock=installed_core.clock, secret=lambda name: name)
    with LocalCatalogue(context).writing() as scope:
        for name in ("a.root", "b.root", "a.hist", "notes.txt"):
            files.declare(scope, [{"file_name": name, "file_size": 1, "file_type": "test"}])
            files.change_locations(scope, name, add=["disk:/data"])
    installed_core.backends.data("samdev").define("raw", "file_type test")
    return world, made


def settle(core):
    """Work out what is owed, as an agent does before it submits."""
    for claimed in launches.claim(core, "agent one", 10):
        launching.settle_owed(core, claimed.launch_id, claimed.epoch)


def inputs(world, number):
    """The files that each following stage was given, by its submission's dataset."""
    data = world.core.backends.data("samdev")
    return {item.submission_params["dataset"]: sorted(data.list(data.dataset_query(item.submission_params["dataset"])))
            for item in world.submissions(depends_on=number)}


def test_what_was_approved_is_what_follows_gets(gated):
    """Each stage behind the gate gets the files of its pattern; one without any is skipped, and said."""
    world, made = gated
    number = launching.launch(world.core, made.owner, LaunchRequest(made.stage("check"), "click")).submission_id
    assert world.status(number) is Status.AWAITING_APPROVAL
    assert wrapup.run(world.core, "samdev") == "0 located, 0 waiting, 0 not decided"

    approvals.decide(world.core, "lena", "samdev", number, approve=True)
    # One pattern fits no file, which is believed the second time it is said.
    assert wrapup.run(world.core, "samdev") == "0 located, 1 waiting, 0 not decided"
    later = replace(world.core, clock=lambda: world.core.clock() + timedelta(seconds=wrapup.DOUBT_SECONDS))
    assert wrapup.run(later, "samdev") == "1 located, 0 waiting, 0 not decided"
    settle(later)

    assert inputs(world, number) == {f"poms_depends_{number}_1": ["a.root", "b.root"],
                                     f"poms_depends_{number}_2": ["a.hist", "notes.txt"]}
    assert "logs" in world.events("launch.skipped")[0].data["reason"]


def test_what_was_refused_goes_nowhere(gated):
    """No definition is made and nothing is launched."""
    world, made = gated
    number = launching.launch(world.core, made.owner, LaunchRequest(made.stage("check"), "click")).submission_id

    approvals.decide(world.core, "lena", "samdev", number, approve=False)
    wrapup.run(world.core, "samdev")
    settle(world.core)

    assert inputs(world, number) == {}
    assert world.core.backends.data("samdev").definition(f"poms_depends_{number}_1") is None
