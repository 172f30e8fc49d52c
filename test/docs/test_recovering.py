"""The page about recovering: its example does what the page says of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy import select

from poms.webservice.interfaces import JobState
from poms.webservice.model import RecoveryDecision
from poms.webservice.rules.recovery_policies import parse_policy
from poms.webservice.services import campaigns
from poms.webservice.services.launch_requests import LaunchRequest
from poms.webservice.services.launching import launch
from poms.webservice.testing.workload import Workload, asked_mb

PAGE = (Path(__file__).parents[2] / "docs" / "recovering.md").read_text(encoding="utf-8")
EXAMPLE = re.findall(r"^```ini campaign\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[0]
ACTIONS = re.findall(r"^\| `([^|`]+)`(?:, `([^|`]+)`)? \|[^|]*\|$", PAGE[PAGE.index("## What is done"):], re.MULTILINE)
CONDITIONS = re.findall(r"`((?:exit|signal|hold|message|site|file|any)[^`|]*)`(?=[^|]*\|[^|]*\|$)",
                        PAGE[PAGE.index("## Conditions"):PAGE.index("## What is done")], re.MULTILINE)


def how(name: str, asked: int) -> dict:
    """Of 100 files 30 need 2800 MB, 2 fail at a site in Prague, and 1 cannot be processed at all."""
    number = int(re.findall(r"\d{4}", name)[0])
    if number <= 30 and asked < 2800:
        return {"state": JobState.HELD, "hold_code": 34, "hold_reason": "used more than it asked for"}
    if number in (31, 32):
        return {"state": JobState.FAILED, "exit_code": 65, "site": "FZU_PRAGUE"}
    return {"state": JobState.FAILED, "exit_code": 250} if number == 33 else {}


def test_the_example_recovers_as_the_page_says(world):
    """Saved as it stands and run: 30 files with 3000 MB, 2 elsewhere, 1 given up."""
    world.catalogue().dataset("g4_files", 100)
    owner = world.person("owner")
    saved = campaigns.save_text(world.core, owner, EXAMPLE.encode(), source="upload")
    assert saved.problems == ()
    (stage_id, _), = saved.stages
    work = Workload(world, how, version="v10_04_03")

    number = launch(world.core, owner, LaunchRequest(stage_id, "one")).submission_id
    work.launch_all()
    work.run(number)
    world.wrap_up()

    with world.core.db.read() as session:
        decided = {row.rule: (row.files, row.state) for row in session.scalars(select(RecoveryDecision))}
    assert decided == {"when hold 34 or exit 137: memory x1.5": (30, "launched"),
                       "when exit 65-69 and site FZU*: other site": (2, "launched"),
                       "when exit 250: give up": (1, "given up")}
    said = sorted(str(row.request["param_overrides"]) for row in world.launches(kind="recovery"))
    assert said == ["[['-Osubmit.blocklist=', 'FZU_PRAGUE']]", "[['-Osubmit.memory=', '3000MB']]"]
    world.work_on_launches()
    assert max(asked_mb(each.plan) for each in world.batch.accepted) == 3000


@pytest.mark.parametrize("action", [each for pair in ACTIONS for each in pair if each])
def test_each_action_of_the_table_can_be_written(action):
    """As it stands there."""
    assert parse_policy(f"when exit 1: {action}").rules


@pytest.mark.parametrize("condition", CONDITIONS)
def test_each_condition_of_the_table_can_be_written(condition):
    """As it stands there."""
    assert parse_policy(f"when {condition}: retry").rules


def test_the_tables_were_read():
    """The two tests above looked at something."""
    assert (len(ACTIONS), len(CONDITIONS)) == (7, 8)
