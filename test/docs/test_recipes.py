"""The page of recipes: every campaign on it is saved as it stands and does what the steps say."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from poms.webservice.errors import PomsError
from poms.webservice.rules.statuses import Status
from poms.webservice.services import campaigns, holds, launches, launching, preparing, schedules
from poms.webservice.services.launch_requests import LaunchRequest
from poms.webservice.testing.world import CampaignMade

PAGE = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
TEXTS = {re.search(r"^name = (\w+)$", text, re.MULTILINE)[1]: text
         for text in re.findall(r"^```ini campaign\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)}
VERSION = "v10_04_03"


@pytest.fixture
def recipe(world):
    """Saves the campaign of a recipe; the catalogue has ten files for those that read some."""
    world.catalogue().dataset("recipe_raw", 10)
    owner = world.person("owner")

    def save(name: str) -> CampaignMade:
        saved = campaigns.save_text(world.core, owner, TEXTS[name].encode(), source="upload")
        assert (saved.problems, saved.warnings) == ((), ())
        return CampaignMade(saved.campaign_id, name, "samdev", {stage: number for number, stage in saved.stages}, owner)

    return save


def datasets(world, made, stage):
    return [item.submission_params["dataset"] for item in world.submissions(campaign_stage_id=made.stage(stage))]


def files_of(world, dataset):
    return len(world.catalogue().list(world.catalogue().dataset_query(dataset)))


def commands(world):
    return [each.plan.command for each in world.batch.accepted]


def test_parameters(world, recipe):
    """The command that the page shows, and its test form; the same request launches once."""
    made = recipe("recipe_launch")
    shown = re.search(r"`(echo submit --dataset= [^`]*)`", PAGE)[1]
    request = LaunchRequest(made.stage("gen"), "one")

    assert preparing.preview(world.core, made.owner, request).plan.command == shown
    first, again = (launching.launch(world.core, made.owner, request) for _ in range(2))
    world.launch(made, "gen", test=True)
    world.work_on_launches()

    assert first.submission_id == again.submission_id
    assert commands(world) == [shown, shown.replace("--events=1000", "--events=10")]


def test_splits(world, recipe):
    """Parts of 4, 4 and 2 files and then none; four combinations in the order of the page."""
    made = recipe("recipe_split")

    for _ in range(3):
        world.submission(made, "reco")
    with pytest.raises(PomsError, match="No more splits"):
        world.launch(made, "reco")
    for _ in range(4):
        world.submission(made, "scan")

    assert [files_of(world, name) for name in datasets(world, made, "reco")] == [4, 4, 2]
    assert [f"`{name}`" for name in datasets(world, made, "scan")] == re.findall(r"`\w+_\dGeV`", PAGE)


def test_chain(world, recipe):
    """Parts of four while the first stage goes on, the rest at its end, and one ntuple for each part."""
    made = recipe("recipe_chain")
    number = world.submission(made, "gen")
    world.poll()
    project = world.get(number).project
    for count in (3, 2, 4, 1):
        world.catalogue().process(project, count, version=VERSION)
        world.wrap_up()
        world.work_on_launches()
    assert [files_of(world, name) for name in datasets(world, made, "reco")] == [5, 4]

    world.finish(number, process=False)
    for _ in range(3):
        world.wrap_up()
        world.work_on_launches()
        world.poll()
        for item in world.submissions(campaign_stage_id=made.stage("reco")):
            if item.status_id in (Status.IDLE, Status.RUNNING):
                world.catalogue().process(item.project, suffix="reco", version=VERSION)
                world.finish(item.submission_id, process=False)

    assert [files_of(world, name) for name in datasets(world, made, "reco")] == [5, 4, 1]
    assert [files_of(world, name) for name in datasets(world, made, "ntuple")] == [5, 4, 1]


def test_schedule(world, recipe, clock):
    """Every half hour on new files; the schedule outlives a moment without any."""
    made = recipe("recipe_schedule")
    cron = re.search(r"the schedule `([^`]+)`", PAGE)[1]
    schedules.set_schedule(world.core, made.owner, made.stage("keepup"), cron=cron)
    for _ in range(5):
        clock.advance(minutes=30)
        schedules.launch_due(world.core, "samdev")
        world.work_on_launches()

    assert [files_of(world, name) for name in datasets(world, made, "keepup")] == [4, 4, 2]
    described = schedules.describe(world.core, made.owner, made.stage("keepup"))
    assert described.cron == cron
    assert described.next_launch_at - clock() <= timedelta(minutes=30)


def test_holds(world, recipe):
    """Launches that are kept back are all launched, once, in the order in which they were asked for."""
    made = recipe("recipe_schedule")
    holds.hold_campaign(world.core, made.owner, made.campaign_id, hold=True, reason="calibration")
    kept = [world.launch(made, "keepup", key=f"key {number}") for number in range(3)]
    assert {outcome.state for outcome in kept} == {"held"}
    assert "calibration" in kept[0].message

    holds.hold_campaign(world.core, made.owner, made.campaign_id, hold=False)
    assert launches.release_held(world.core, "owner", [outcome.launch_id for outcome in kept], "samdev") == 3
    world.work_on_launches()

    assert [row.state for row in world.launches()] == ["launched"] * 3
    assert [row.submission_id for row in world.launches()] == sorted(row.submission_id for row in world.launches())


def test_every_recipe_is_tried():
    """A campaign on the page that no test above saves would be a claim."""
    tried = set(re.findall(r'recipe\("(\w+)"\)', Path(__file__).read_text(encoding="utf-8")))

    assert tried == set(TEXTS)
