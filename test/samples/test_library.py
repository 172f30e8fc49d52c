"""The samples that come with POMS: each describes itself truly, can be saved, and can be launched."""

from __future__ import annotations

import json
import shlex

import pytest

from poms.plugins.local.launcher import configuration
from poms.webservice.errors import NotFound
from poms.webservice.rules import schedule
from poms.webservice.rules.campaign_text import parse
from poms.webservice.rules.campaign_text.checking import examine
from poms.webservice.services import samples
from poms.webservice.testing.world import World

ALL = samples.list_samples()
NAMES = ["analysis", "approval", "dijets", "keepup", "sbnd_mc", "splitmerge"]
each_sample = pytest.mark.parametrize("sample", ALL, ids=[sample.name for sample in ALL])


def campaign_of(sample):
    return examine((sample.folder / samples.TEXT_FILE).read_bytes(), creator_role=sample.role, limit=100_000)


def test_these_samples_are_installed():
    """Those of the manual, by name."""
    assert [sample.name for sample in ALL] == NAMES


@each_sample
def test_text_has_neither_mistakes_nor_doubtful_places(sample):
    """What is given as an example is accepted without a warning."""
    examined = campaign_of(sample)

    assert list(examined.problems) == []
    assert list(examined.warnings) == []


@each_sample
def test_description_agrees_with_the_text(sample):
    """Name, stages, first stage, login setup, schedules and approvals are those of the text."""
    text = parse((sample.folder / samples.TEXT_FILE).read_bytes())
    campaign = campaign_of(sample).campaign
    stages = {stage.name: stage for stage in campaign.stages}

    assert campaign.name == sample.name == json.loads((sample.folder / "sample.json").read_text())["name"]
    assert tuple(stages) == sample.stages
    assert sample.first_stage in stages
    assert {*sample.schedules, *sample.approvals, *sample.counts} <= set(stages)
    assert {name for name, stage in stages.items() if stage.stage_type == "approval"} == set(sample.approvals)
    assert text.with_value(f"login_setup {sample.login_setup}", "setup", "x").to_bytes() != text.to_bytes()
    assert all(schedule.parse_cron(cron) for cron in sample.schedules.values())


@each_sample
def test_every_stage_settles_its_launch_configuration(sample):
    """Each stage's job type names a launch configuration that is there and has the stage's section."""
    campaign = campaign_of(sample).campaign
    job_types = {each.name: each for each in campaign.job_types}
    for stage in campaign.stages:
        if stage.stage_type == "approval":
            continue
        words = shlex.split(job_types[stage.job_type].launch_script)
        assert words[:2] == ["poms-launch", "-c"]
        [chosen] = [value for key, value in stage.param_overrides if key == "--stage="]
        settled = configuration.read(configuration.find_file(words[2]))
        configuration.settle(settled, stages=[chosen])

        assert settled.get("executable", "name")
        assert settled.get("job_output", "addoutput")


def test_unknown_sample_is_answered_with_those_that_there_are():
    """The names stand in the message."""
    with pytest.raises(NotFound, match="There is no sample “../etc”; there are: analysis, approval"):
        samples.find("../etc")


def test_facts_say_what_a_copy_needs():
    """Extras, roles, schedules and approvals."""
    facts = {sample.name: sample.facts for sample in ALL}

    assert facts["sbnd_mc"] == facts["splitmerge"] == ()
    assert facts["dijets"] == ("needs pip install 'poms[samples]'",)
    assert facts["analysis"] == ("for the role analysis",)
    assert facts["keepup"] == ("give reconstruct a schedule, such as * * * * *",)
    assert facts["approval"] == ("release waits for your approval",)


def test_copy_of_a_sample_finds_its_dataset(installed_core):
    """The definition that a stage reads is made with the copy; one that is there is left alone."""
    world = World(installed_core)
    lena = world.person("lena")
    data = installed_core.backends.data("samdev")

    samples.clone(installed_core, lena, "keepup", "my_keepup")
    made = data.definition("keepup_raw")
    samples.clone(installed_core, lena, "keepup", "my_other_keepup")

    assert made == data.definition("keepup_raw") == "data_stream keepup and data_tier raw"
    assert data.count(data.dataset_query("keepup_raw")) == 0
