"""What pages show of recovery rules: the rules of a stage, what they decided, and what they ask.

Read from stored rows only. What the rules mean is ``rules.recovery_policies``'.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from poms.webservice.errors import Invalid
from poms.webservice.model import CampaignStage, RecoveryDecision, Submission
from poms.webservice.rules import permissions
from poms.webservice.rules.permissions import Actor
from poms.webservice.rules.recovery_policies import Policy, duration_text
from poms.webservice.services import policies, recoveries
from poms.webservice.services.core import Core
from poms.webservice.services.pages.common import Url, counted

DECISIONS = 20
QUESTIONS = 20


def rules_panel(core: Core, session: Session, stage: CampaignStage) -> dict[str, Any]:
    """The recovery rules in force for a stage, and what its jobs were content with so far."""
    try:
        policy = policies.policy_of(core.settings, stage)
    except Invalid as invalid:
        # Written for another version: launches of the stage are refused with the same sentence.
        return {"rules": [], "limits": [], "mode": "", "source": "", "learned": [], "problem": str(invalid)}
    levels = policies.levels_of(session, stage.campaign_stage_id) if policy is not None else {}
    return {
        "rules": [rule.text for rule in policy.rules] if policy else [], "limits": policy.limits() if policy else [],
        "mode": _mode(policy), "problem": "",
        "source": f"the experiment {stage.experiment}" if policy and stage.recovery_policy is None else "",
        "learned": [{"amount": f"{amount:,.0f} MB of memory" if resource == "memory" else f"{duration_text(amount)} of "
                     "time", "jobs": counted(jobs, "job")}
                    for resource, amounts in levels.items() for amount, jobs in amounts.items()],
    }


def _mode(policy: Policy | None) -> str:
    if policy is None:
        return ""
    return "passive: decisions are only noted" if policy.passive else "in force"


def decisions_panel(session: Session, actor: Actor, url: Url, item: Submission, stage: CampaignStage) -> dict[str, Any]:
    """What the rules decided about a submission's files, and whether its next stages wait for recoveries."""
    found, waits = recoveries.decisions_of(session, item.submission_id, limit=DECISIONS)
    may = permissions.refusal(actor, "do", owner_role=stage.creator_role, owner_id=stage.creator) is None
    return {"decisions": [_decision(row, number, url, may=may) for row, number in reversed(found)],
            "waits": waits}


def _decision(row: RecoveryDecision, number: int | None, url: Url, *, may: bool) -> dict[str, Any]:
    return {
        "id": row.recovery_decision_id, "files": counted(row.files, "file"), "cause": row.cause, "rule": row.rule,
        "what": _what(row), "note": row.note, "state": row.state, "answer": row.answer or "", "submission": number,
        "url": url("submission", submission_id=number) if number else "",
        "actions": _actions(row, url) if may and row.state == "asking" else [],
    }


def _what(row: RecoveryDecision) -> str:
    """What was, or is, done about the files, in words."""
    match row.state:
        case "launched":
            return f"launched again, {row.change}"
        case "passive":
            would = {"launch": f"launch them again, {row.change}", "ask": "ask a person", "give up": "give them up"}
            return f"nothing; active rules would {would[row.outcome]}"
        case "asking":
            return "a person is asked"
        case "gone on":
            return "a person said to try them again"
        case _:
            return "given up"


def _actions(row: RecoveryDecision, url: Url) -> list[dict[str, Any]]:
    """Go on, or give up; nothing can be done about files that were given up but a recovery by hand."""
    files = counted(row.files, "file")
    fields = {"submission_id": row.submission_id, "decision_id": row.recovery_decision_id}
    where = url("recovery_answer")
    return [
        {"label": "Try again", "url": where, "method": "post", "primary": True, "fields": {**fields, "act": "go_on"}},
        {"label": "Give up…", "url": where, "method": "post", "fields": {**fields, "act": "give_up"},
         "ask": {"title": f"Give up {files}", "yes": f"Give up {files}", "keep": "Decide later", "danger": True,
                 "text": "They stay behind; the next stages start with what the others made."}}]


def questions(session: Session, actor: Actor, url: Url, *, mine: bool = False) -> list[dict[str, Any]]:
    """What rules ask of people in the actor's experiment, as entries of the shift board; newest first."""
    where = [RecoveryDecision.experiment == actor.experiment, RecoveryDecision.state == "asking"]
    if mine:
        where.append(Submission.creator == actor.experimenter_id)
    rows = session.execute(
        select(RecoveryDecision, CampaignStage)
        .join(CampaignStage, CampaignStage.campaign_stage_id == RecoveryDecision.campaign_stage_id)
        .join(Submission, Submission.submission_id == RecoveryDecision.submission_id)
        .options(joinedload(CampaignStage.campaign))
        .where(*where).order_by(RecoveryDecision.recovery_decision_id.desc()).limit(QUESTIONS)).all()
    return [_question(row, stage, actor, url) for row, stage in rows]


def _question(row: RecoveryDecision, stage: CampaignStage, actor: Actor, url: Url) -> dict[str, Any]:
    here = url("submission", submission_id=row.submission_id)
    campaign = stage.campaign
    places = [{"text": campaign.name, "url": url("campaign", campaign_id=campaign.campaign_id)}] if campaign else []
    places += [{"text": stage.name, "url": url("stage", campaign_stage_id=stage.campaign_stage_id)},
               {"text": f"submission {row.submission_id}", "url": here}]
    may = permissions.refusal(actor, "do", owner_role=stage.creator_role, owner_id=stage.creator) is None
    why = "; ".join(part for part in (row.cause, row.rule, row.note) if part)
    return {"state": "Awaiting Approval", "what": f"{stage.name}: what about {counted(row.files, 'file')} that failed?",
            "where": places, "why": why, "since": row.decided_at, "size": counted(row.files, "file"),
            "actions": [*(_actions(row, url) if may else []), {"label": "See submission", "url": here}]}
