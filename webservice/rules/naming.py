"""Names that POMS makes up for others: datasets, combined names, log names, launch keys."""

from __future__ import annotations

from datetime import UTC, datetime

MANUAL_RECOVERY_BASE = 100
"""Positions from here on number recoveries by hand, so that their names stay unique."""


def recovery_dataset(submission_id: int, position: int) -> str:
    """The dataset of a recovery: always the original's id and the entry's position."""
    return f"poms_recover_{submission_id}_{position}"


def dependency_dataset(submission_id: int, number: int, *, owner: str = "", owner_role: str = "production") -> str:
    """The dataset for consumer ``number`` (from 1); analysis users' names begin with their own."""
    who = f"{owner}_" if owner_role == "analysis" else ""
    return f"poms_{who}depends_{submission_id}_{number}"


def combined_name(campaign: str, stage: str) -> str:
    """The legacy POMS_CAMPAIGN_NAME: campaign and stage, the campaign's name not repeated."""
    if stage == campaign:
        return stage
    if stage.startswith(campaign):
        return f"{campaign}__{stage[len(campaign):]}"
    return f"{campaign}__{stage}"


def group_of(experiment: str) -> str:
    """The batch group of an experiment; the test experiment uses the laboratory's."""
    return "fermilab" if experiment == "samdev" else experiment


def launch_log_name(stage_id: int, submission_id: int, username: str, at: datetime) -> str:
    """The log's path below the log root; stored with the launch, never worked out again."""
    stamp = at.astimezone(UTC).strftime("%Y%m%d_%H%M%S")
    safe_user = "".join(letter if letter.isalnum() or letter in "-." else "_" for letter in username)
    return f"campaign_{stage_id}/{stamp}_{safe_user}_{submission_id}"


def recovery_key(original_id: int, position: int) -> str:
    return f"recovery:{original_id}:{position}"


def group_recovery_key(failed_id: int, number: int) -> str:
    """The recovery of one group of files that a submission did not process, as the recovery rules made the groups."""
    return f"recovery:of:{failed_id}:{number}"


def group_recovery_dataset(original_id: int, failed_id: int, number: int) -> str:
    """Its dataset: the original's id as in all recoveries, then the submission that failed and the group."""
    return f"poms_recover_{original_id}_{failed_id}_{number}"


def dependency_key(campaign_dep_id: int, provider_submission_id: int) -> str:
    return f"dependency:{campaign_dep_id}:{provider_submission_id}"


def part_key(campaign_dep_id: int, provider_submission_id: int, number: int) -> str:
    """A part of what a dependency hands on, numbered from 1."""
    return f"{dependency_key(campaign_dep_id, provider_submission_id)}:{number}"


def is_part(key: str) -> bool:
    """Is this the key of a part?"""
    return key.startswith("dependency:") and key.count(":") == 3


def manual_key(stage_id: int, request_key: str) -> str:
    return f"manual:{stage_id}:{request_key}"


def schedule_key(stage_id: int, tick: datetime) -> str:
    return f"schedule:{stage_id}:{tick.astimezone(UTC):%Y-%m-%dT%H:%MZ}"
