"""The page about launching: its example of a scout does what the page says of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from poms.webservice.interfaces import JobState
from poms.webservice.rules.scouting import parse_scout
from poms.webservice.services import campaigns
from poms.webservice.services.launch_requests import LaunchRequest
from poms.webservice.services.launching import launch

PAGE = (Path(__file__).parents[2] / "docs" / "launching.md").read_text(encoding="utf-8")
EXAMPLE = re.findall(r"^```ini campaign\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[0]
TABLE = PAGE[PAGE.index("| part | means |"):PAGE.index("*How often.*")]
PARTS = re.findall(r"^\| `([^`]+)` \|", TABLE, re.MULTILINE)


def size(world, submission):
    return len(world.catalogue().list(world.catalogue().dataset_query(submission.submission_params["dataset"])))


def pass_over(world):
    """What agents do regularly."""
    world.poll()
    world.wrap_up()
    world.work_on_launches()


@pytest.fixture
def scout(world):
    """The example, saved as it stands and launched on 200 files."""
    world.catalogue().dataset("scout_raw", 200)
    owner = world.person("owner")
    saved = campaigns.save_text(world.core, owner, EXAMPLE.encode(), source="upload")
    assert (saved.problems, saved.warnings) == ((), ())
    (stage_id, _), = saved.stages
    number = launch(world.core, owner, LaunchRequest(stage_id, "one")).submission_id
    pass_over(world)
    return number


def test_ten_files_go_first_and_the_rest_asks_for_what_they_used(world, scout):
    """190 files follow, with the memory that the page says."""
    assert [size(world, each) for each in world.submissions()] == [10]
    for job in world.batch.of(scout):
        world.batch.change_job(job.batch_id, JobState.COMPLETED, memory_used_mb=1500)

    for _ in range(2):
        pass_over(world)

    assert [size(world, each) for each in world.submissions()] == [10, 190]
    shown = re.search(r"the 190 ask for `([^`]+)`", PAGE)[1]
    assert shown in world.batch.accepted[-1].plan.command
    assert shown not in world.batch.accepted[0].plan.command


def test_the_rest_stays_where_jobs_failed(world, scout):
    """Held, with the reason."""
    for job in world.batch.of(scout):
        world.batch.change_job(job.batch_id, JobState.FAILED)

    for _ in range(2):
        pass_over(world)

    (rest,) = world.launches(state="held")
    assert "fell short" in rest.hold_reason
    assert [size(world, each) for each in world.submissions()] == [10]


@pytest.mark.parametrize("part", PARTS)
def test_each_part_of_the_table_can_be_written(part):
    """Beside the files, or by itself."""
    assert parse_scout(part if "files" in part else f"10 files, {part}")


def test_what_may_be_left_out_means_what_the_table_says():
    """The usual share, and the usual factors."""
    assert len(PARTS) == 5
    assert parse_scout("10 files, memory, time") == parse_scout("10 files, 90%, memory x1.2, time x1.5")
