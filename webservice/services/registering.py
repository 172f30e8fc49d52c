"""Register a submission that somebody started without POMS, through the batch wrapper, or describe a known one.

Nothing is launched here (``services.launching``). The same command at the same launch time is one
submission, however often the wrapper asks for its number.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from poms.webservice.errors import Conflict, Invalid, NotFound
from poms.webservice.model import Campaign, CampaignStage, Submission
from poms.webservice.rules.permissions import Actor
from poms.webservice.rules.statuses import Status
from poms.webservice.services import events, snapshots, submissions
from poms.webservice.services.core import Core

# Where a submit command names the project that feeds its jobs.
PROJECT = re.compile(r"(?:SAM_PROJECT(?:_NAME)?=|--project_name[= ]|--sam_project[= ])[\"']?([A-Za-z0-9_.:-]+)")


@dataclass(frozen=True, slots=True)
class Registration:
    """What the wrapper says: where it belongs, what was run, what it continues. ``launch_time`` tells runs apart."""

    stage_id: int
    command: str = ""
    parent_submission_id: int | None = None
    launch_time: str = ""


def find_stage(core: Core, experiment: str, name_part: str) -> int:
    """The one stage whose name contains this text; NotFound or Conflict if it is not exactly one."""
    pattern = name_part.replace("/", "//").replace("_", "/_")
    pattern = pattern if "%" in pattern else f"%{pattern}%"
    with core.db.read() as session:
        found = session.execute(
            select(CampaignStage.campaign_stage_id, CampaignStage.name)
            .where(CampaignStage.experiment == experiment, CampaignStage.campaign_id.is_not(None),
                   CampaignStage.name.like(pattern, escape="/")).limit(3)).all()
    exact = [number for number, name in found if name == name_part]
    if len(exact) == 1:
        return exact[0]
    if not found:
        raise NotFound(f"No stage of {experiment} is called {name_part}.")
    if len(found) > 1:
        raise Conflict(f"Several stages of {experiment} fit {name_part}; give the number of one.")
    return found[0][0]


def register(core: Core, actor: Actor, wanted: Registration) -> int:
    """The number of a new submission of a stage, or of the one that was registered for the same run."""
    now = core.clock()
    with core.db.write() as session:
        stage = session.scalar(
            select(CampaignStage).options(joinedload(CampaignStage.campaign), joinedload(CampaignStage.job_type),
                                          joinedload(CampaignStage.login_setup))
            .where(CampaignStage.campaign_stage_id == wanted.stage_id, CampaignStage.experiment == actor.experiment)
            .with_for_update(of=CampaignStage))
        if stage is None:
            raise NotFound(f"There is no stage {wanted.stage_id} in {actor.experiment}.")
        if stage.campaign is None:
            raise Invalid(f"Stage {stage.name} no longer belongs to a campaign.", field="campaign_stage_id")
        known = _same_run(session, actor, wanted)
        if known is not None:
            return known
        _require_parent(session, actor, wanted.parent_submission_id)
        submission = _new_submission(session, actor, stage, wanted, now)
        session.add(submission)
        session.flush()
        submissions.add_first_status(session, submission, actor=actor.username, reason="registered by the wrapper")
        session.get_one(Campaign, stage.campaign_id).last_activity_at = now
        events.record(session, "launch.requested", now, actor.username, submission=submission, launch="wrapper")
        return submission.submission_id


def describe(core: Core, actor: Actor, submission_id: int, *, command: str = "") -> int:
    """Store the command of a submission that exists, and the project that it names."""
    with core.db.write() as session:
        submission = submissions.lock(session, submission_id)
        if submission.experiment != actor.experiment:
            raise NotFound(f"There is no submission {submission_id} in {actor.experiment}.")
        if command and command != submission.command_executed:
            submission.command_executed = command
        if not submission.project:
            submission.project = project_in(command)
    return submission_id


def project_in(command: str) -> str | None:
    """The project that a submit command names, if any."""
    found = PROJECT.search(command)
    return found[1] if found else None


def _same_run(session: Session, actor: Actor, wanted: Registration) -> int | None:
    if not wanted.launch_time:
        return None
    recent = session.scalars(
        select(Submission)
        .where(Submission.campaign_stage_id == wanted.stage_id, Submission.creator == actor.experimenter_id,
               Submission.command_executed == wanted.command)
        .order_by(Submission.submission_id.desc()).limit(20))
    return next((row.submission_id for row in recent
                 if row.submission_params.get("launch_time") == wanted.launch_time), None)


def _require_parent(session: Session, actor: Actor, parent: int | None) -> None:
    if parent is None:
        return
    row = session.get(Submission, parent)
    if row is None or row.experiment != actor.experiment:
        raise NotFound(f"There is no submission {parent} in {actor.experiment} to be the parent.")


def _new_submission(session: Session, actor: Actor, stage: CampaignStage, wanted: Registration,
                    now: datetime) -> Submission:
    keywords = stage.campaign.campaign_keywords or {} if stage.campaign else {}
    params = {"dataset": stage.dataset} if stage.dataset not in ("", "None") else {}
    if wanted.launch_time:
        params["launch_time"] = wanted.launch_time
    stage_key, job_type_key, setup_key = snapshots.store(session, stage, keywords, now)
    return Submission(
        experiment=stage.experiment, campaign_id=stage.campaign_id, campaign_stage_id=stage.campaign_stage_id,
        creator=actor.experimenter_id, created=now, updated=now, status_id=int(Status.NEW), status_since=now,
        submission_params=params, recovery_tasks_parent=wanted.parent_submission_id,
        command_executed=wanted.command, project=project_in(wanted.command),
        campaign_version_number=stage.campaign.version_number if stage.campaign else None,
        campaign_stage_snapshot_id=stage_key, job_type_snapshot_id=job_type_key, login_setup_snapshot_id=setup_key)
