"""Content-addressed snapshots: what exactly a submission ran with, stored once however often it ran."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from poms.webservice.db import insert_new
from poms.webservice.model import CampaignStage, JobType, LoginSetup, Snapshot

STAGE, JOB_TYPE, LOGIN_SETUP = "campaign_stage", "job_type", "login_setup"


def stage_content(stage: CampaignStage, keywords: Mapping[str, str]) -> dict[str, Any]:
    """What of a stage decides how a submission runs and when it is complete."""
    return _with_keywords({
        "campaign_stage_id": stage.campaign_stage_id, "experiment": stage.experiment, "name": stage.name,
        "vo_role": stage.vo_role, "dataset": stage.dataset, "software_version": stage.software_version,
        "cs_split_type": stage.cs_split_type, "test_split_type": stage.test_split_type,
        "param_overrides": stage.param_overrides, "test_param_overrides": stage.test_param_overrides,
        "merge_overrides": stage.merge_overrides, "completion_type": stage.completion_type,
        "completion_pct": stage.completion_pct, "output_ancestor_depth": stage.output_ancestor_depth,
        "campaign_stage_type": stage.campaign_stage_type, "creator_role": stage.creator_role,
        "data_handling": stage.data_handling,
    }, keywords)


def job_type_content(job_type: JobType, keywords: Mapping[str, str]) -> dict[str, Any]:
    """What of a job type decides what is run, and how it is recovered."""
    return _with_keywords({
        "job_type_id": job_type.job_type_id, "name": job_type.name, "launch_script": job_type.launch_script,
        "definition_parameters": job_type.definition_parameters,
        "output_file_patterns": job_type.output_file_patterns,
        "recoveries": [[entry.recovery_type, entry.param_overrides] for entry in job_type.recoveries],
    }, keywords)


def login_setup_content(login_setup: LoginSetup, keywords: Mapping[str, str]) -> dict[str, Any]:
    """Where a submission was launched and what was set up first."""
    return _with_keywords({
        "login_setup_id": login_setup.login_setup_id, "name": login_setup.name,
        "launch_host": login_setup.launch_host, "launch_account": login_setup.launch_account,
        "launch_setup": login_setup.launch_setup,
    }, keywords)


def store(session: Session, stage: CampaignStage, keywords: Mapping[str, str], at: datetime) -> tuple[str, ...]:
    """Store what a stage runs with, unless it is there already; the keys of stage, job type and login setup."""
    rows = {_key(kind, content): {"kind": kind, "content": content, "created": at}
            for kind, content in _contents(stage, keywords)}
    known = set(session.scalars(select(Snapshot.snapshot_id).where(Snapshot.snapshot_id.in_(rows))))
    # In one order everywhere: of two that insert the same keys, the second waits for the first.
    insert_new(session, Snapshot, [{"snapshot_id": key, **rows[key]} for key in sorted(rows.keys() - known)])
    return tuple(rows)


def keys_of(stage: CampaignStage, keywords: Mapping[str, str]) -> tuple[str, ...]:
    """The keys under which a submission of the stage, job type and login setup as they are now would store them."""
    return tuple(_key(kind, content) for kind, content in _contents(stage, keywords))


def _contents(stage: CampaignStage, keywords: Mapping[str, str]) -> tuple[tuple[str, dict[str, Any]], ...]:
    return ((STAGE, stage_content(stage, keywords)), (JOB_TYPE, job_type_content(stage.job_type, keywords)),
            (LOGIN_SETUP, login_setup_content(stage.login_setup, keywords)))


def _key(kind: str, content: dict[str, Any]) -> str:
    text = json.dumps([kind, content], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _with_keywords(value: Any, keywords: Mapping[str, str]) -> Any:
    """A copy in which ``%(keyword)s`` is replaced in every text; the live rows are never touched."""
    if isinstance(value, str):
        for name, replacement in keywords.items():
            value = value.replace(f"%({name})s", str(replacement))
        return value
    if isinstance(value, dict):
        return {key: _with_keywords(item, keywords) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_keywords(item, keywords) for item in value]
    return value
