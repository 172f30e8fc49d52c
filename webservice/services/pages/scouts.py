"""What pages show of scouts: what waits for one, what it measured, and what a person is asked.

Read from stored rows only. What the words of a stage's text mean is ``rules.scouting``'.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.orm import Session, aliased, joinedload

from poms.webservice.model import CampaignStage, Experiment, Launch, Scout, Submission
from poms.webservice.rules import permissions
from poms.webservice.rules.permissions import Actor
from poms.webservice.rules.scouting import Measured
from poms.webservice.services.pages.common import Url, counted
from poms.webservice.services.scouts import OPEN

QUESTIONS = 20


def is_newest_scout() -> ColumnElement[bool]:
    """To join to a stage its newest scout."""
    other = aliased(Scout)
    newest = select(func.max(other.submission_id)).where(other.campaign_stage_id == CampaignStage.campaign_stage_id)
    return Scout.submission_id == newest.correlate(CampaignStage).scalar_subquery()


def open_scouts(session: Session, stages: Sequence[CampaignStage]) -> dict[int, Scout]:
    """The newest scout that is not decided, for each of these stages that has one; no statement for no stages."""
    if not stages:
        return {}
    rows = session.scalars(
        select(Scout).where(Scout.campaign_stage_id.in_([stage.campaign_stage_id for stage in stages]),
                            Scout.state.in_(OPEN)).order_by(Scout.submission_id))
    return {row.campaign_stage_id: row for row in rows}


def scout_notices(scout: Scout | None, url: Url, *, may_do: bool, stage: str = "") -> list[dict[str, Any]]:
    """A notice while a scout is not decided; ``stage``: its name, on pages of several."""
    if scout is None or scout.state not in OPEN:
        return []
    of = f"{stage}: " if stage else ""
    here = {"label": "See scout", "url": url("submission", submission_id=scout.submission_id)}
    actions = [*(_answers(scout, url) if may_do else []), here]
    if scout.state == "asking":
        return [{"state": "Awaiting Approval", "title": f"{of}the scout fell short, go on?" if of else
                 "The scout fell short, go on?", "text": _why(scout), "actions": actions}]
    return [{"state": "Running", "title": f"{of}a scout is ahead" if of else "A scout is ahead",
             "text": f"Submission {scout.submission_id} went ahead on {counted(scout.files, 'file')}; "
             f"{counted(scout.rest_files, 'file')} wait until its jobs have ended ({scout.rule}).", "actions": actions}]


def scout_facts(scout: Scout | None) -> str:
    """What came of a scout, in a sentence; "" without one."""
    if scout is None:
        return ""
    said = {"waiting": "is under way", "good": "did well", "asking": "fell short, a person is asked",
            "gone on": "a person said to go on", "given up": "the rest was given up"}[scout.state]
    parts = [f"submission {scout.submission_id}, {counted(scout.files, 'file')}: {said}", scout.reason]
    if scout.jobs:
        parts += [f"{scout.jobs_succeeded or 0:,} of {counted(scout.jobs, 'job')} ended well", measured(scout)]
    if scout.change:
        parts.append(f"what follows asks for {scout.change}")
    if scout.answer:
        parts.append(f"“{scout.answer}”")
    return "; ".join(dict.fromkeys(part for part in parts if part))


def measured(scout: Scout) -> str:
    """The figures of a scout's jobs, as far as they are known."""
    return Measured(scout.jobs or 0, scout.jobs_succeeded or 0, scout.memory_mb, scout.wall_seconds,
                    scout.cpu_efficiency).words


def _why(scout: Scout) -> str:
    parts = [scout.reason, measured(scout), f"{counted(scout.rest_files, 'file')} of its input wait"]
    return "; ".join(part for part in parts if part) + "."


def _answers(scout: Scout, url: Url) -> list[dict[str, Any]]:
    fields, where = {"submission_id": scout.submission_id}, url("scout_answer")
    files = counted(scout.rest_files, "file")
    asked = scout.state == "asking"
    return [
        {"label": "Go on" if asked else "Go on without waiting", "url": where, "method": "post", "primary": asked,
         "fields": {**fields, "act": "go_on"}},
        {"label": "Give up…", "url": where, "method": "post", "fields": {**fields, "act": "give_up"},
         "ask": {"title": f"Give up the rest of scout {scout.submission_id}", "yes": f"Give up {files}",
                 "keep": "Decide later", "danger": True,
                 "text": f"{files} of its input stay behind. Other launches that wait send a scout themselves."}}]


def board_scouts(session: Session, actor: Actor, url: Url, *, mine: bool = False) -> tuple[list[dict[str, Any]], int]:
    """Scouts about which a person is asked, as entries of the shift board, and how many launches are held for other
    reasons than a scout; one statement."""
    held = (select(func.count()).select_from(Launch)
            .where(Launch.experiment == actor.experiment, Launch.state == "held", Launch.scout_submission_id.is_(None))
            .scalar_subquery())
    asking = [Scout.experiment == Experiment.experiment, Scout.state == "asking"]
    if mine:
        asking.append(select(Submission.submission_id).where(
            Submission.submission_id == Scout.submission_id,
            Submission.creator == actor.experimenter_id).correlate(Scout).exists())
    rows = session.execute(
        select(held, Scout, CampaignStage).select_from(Experiment)
        .outerjoin(Scout, and_(*asking))
        .outerjoin(CampaignStage, CampaignStage.campaign_stage_id == Scout.campaign_stage_id)
        .options(joinedload(CampaignStage.campaign))
        .where(Experiment.experiment == actor.experiment)
        .order_by(Scout.submission_id.desc()).limit(QUESTIONS)).all()
    count = rows[0][0] if rows else 0
    return [_question(scout, stage, actor, url) for _, scout, stage in rows if scout is not None], count


def _question(scout: Scout, stage: CampaignStage, actor: Actor, url: Url) -> dict[str, Any]:
    here = url("submission", submission_id=scout.submission_id)
    campaign = stage.campaign
    places = [{"text": campaign.name, "url": url("campaign", campaign_id=campaign.campaign_id)}] if campaign else []
    places += [{"text": stage.name, "url": url("stage", campaign_stage_id=stage.campaign_stage_id)},
               {"text": f"submission {scout.submission_id}", "url": here}]
    may = permissions.refusal(actor, "do", owner_role=stage.creator_role, owner_id=stage.creator) is None
    return {"state": "Awaiting Approval", "what": f"{stage.name}: the scout fell short, go on?", "where": places,
            "why": _why(scout), "since": scout.judged_at, "size": counted(scout.rest_files, "file"),
            "actions": [*(_answers(scout, url) if may else []), {"label": "See submission", "url": here}]}
