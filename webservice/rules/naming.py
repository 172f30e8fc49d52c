"""Names that POMS makes up for others: datasets, combined names, log names, launch keys."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_FILE_WORD = re.compile(r"[A-Za-z0-9_+=@%][A-Za-z0-9_.+=@%,:-]{0,199}")

MANUAL_RECOVERY_BASE = 100
"""Positions from here on number recoveries by hand, so that their names stay unique."""


def recovery_dataset(submission_id: int, position: int) -> str:
    """The dataset of a recovery: always the original's id and the entry's position."""
    return f"poms_recover_{submission_id}_{position}"


def dependency_dataset(submission_id: int, number: int, *, owner: str = "", owner_role: str = "production") -> str:
    """The dataset for consumer ``number`` (from 1); those of analysis users, who declare them, have their names."""
    who = f"{owner}_" if owner and owner_role == "analysis" else ""
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
    return f"campaign_{stage_id}/{_stamp_and_user(username, at)}_{submission_id}"


def _stamp_and_user(username: str, at: datetime) -> str:
    stamp = at.astimezone(UTC).strftime("%Y%m%d_%H%M%S")
    return stamp + "_" + "".join(letter if letter.isalnum() or letter in "-." else "_" for letter in username)


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


def scout_dataset(unique: str) -> str:
    """The files that go ahead of a launch; made before there is a submission by which to name it."""
    return f"poms_scout_{unique}"


def scout_rest_dataset(scout_id: int) -> str:
    """What a scout left of the input that it was launched for."""
    return f"poms_scout_{scout_id}_rest"


def scout_rest_key(scout_id: int) -> str:
    return f"scout:{scout_id}:rest"


def is_set_aside(key: str) -> bool:
    """Is this the key of a launch for which files may have been set aside: a part, or what a scout left of one?"""
    return is_part(key) or key.startswith("scout:")


def manual_key(stage_id: int, request_key: str) -> str:
    return f"manual:{stage_id}:{request_key}"


def schedule_key(stage_id: int, tick: datetime) -> str:
    return f"schedule:{stage_id}:{tick.astimezone(UTC):%Y-%m-%dT%H:%MZ}"


def is_file_word(name: str) -> bool:
    """Whether a name is one plain word: no path, no blank, nothing that a program takes for an option."""
    return _FILE_WORD.fullmatch(name) is not None


def login_setup_log_name(login_setup_id: int, test_id: int, username: str, at: datetime) -> str:
    """The path of the log of a test of a login setup, below the log root."""
    return f"template_tests_{login_setup_id}/{_stamp_and_user(username, at)}_{test_id}"


def credential_file(kind: str, experiment: str, role: str, username: str) -> str:
    """The name under which people keep a credential with the service: kind is vt, bt or x509up_voms."""
    return f"{kind}_{experiment}_{'Production' if role == 'production' else 'Analysis'}_{username}"


def is_credential_file(name: str) -> bool:
    """Whether a file that people keep is a credential, which goes to launches on a way of its own."""
    return name.startswith(("vt_", "bt_", "x509up_"))
