"""Names that POMS makes up for datasets, logs and launches."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poms.webservice.rules import naming

AT = datetime(2026, 3, 1, 12, 30, 5, tzinfo=UTC)


def test_names_of_datasets():
    """Recoveries and dependencies have the names that jobs and people know."""
    assert naming.recovery_dataset(42, 1) == "poms_recover_42_1"
    assert naming.dependency_dataset(42, 2) == "poms_depends_42_2"
    assert naming.dependency_dataset(42, 2, owner="ann", owner_role="analysis") == "poms_ann_depends_42_2"
    assert naming.dependency_dataset(42, 2, owner="ann") == "poms_depends_42_2"
    assert naming.dependency_dataset(42, 2, owner_role="analysis") == "poms_depends_42_2"


@pytest.mark.parametrize(("campaign", "stage", "name"), [
    ("mc", "gen", "mc__gen"), ("mc", "mc", "mc"), ("mc", "mc_gen", "mc___gen"), ("mc", "mcgen", "mc__gen"),
])
def test_combined_names(campaign, stage, name):
    """The campaign's name is not repeated in the name of campaign and stage."""
    assert naming.combined_name(campaign, stage) == name


@given(st.text(max_size=60))
def test_a_log_name_is_one_directory_and_one_file(username):
    """Whatever a user is called, the log stays in the stage's directory."""
    directory, name = naming.launch_log_name(7, 42, username, AT).split("/")

    assert directory == "campaign_7"
    assert name.startswith("20260301_123005_")
    assert name.endswith("_42")
    assert not set(name) & set("/\\\0\n'\"$` ")


def test_log_names_are_in_utc():
    """The stamp is UTC whatever zone the time is in."""
    local = AT.astimezone(timezone(timedelta(hours=-6)))

    assert naming.launch_log_name(7, 42, "ann", local) == naming.launch_log_name(7, 42, "ann", AT)


def test_keys_of_different_launches_differ():
    """No two kinds of launch share a key."""
    keys = {naming.recovery_key(1, 2), naming.dependency_key(1, 2), naming.manual_key(1, "2"),
            naming.recovery_key(12, 2), naming.dependency_key(2, 1)}

    assert len(keys) == 5


@pytest.mark.parametrize(("experiment", "group"), [("nova", "nova"), ("samdev", "fermilab")])
def test_groups(experiment, group):
    """The test experiment runs in the laboratory's group."""
    assert naming.group_of(experiment) == group
