"""The shift board: what needs a person, and what runs without one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import case, func, select, true
from sqlalchemy.orm import Session, aliased

from poms.webservice.model import Campaign, CampaignStage, Event, Job, Launch, Submission
from poms.webservice.rules import permissions
from poms.webservice.rules.permissions import Actor
from poms.webservice.rules.statuses import LIVE, NEEDS_PERSON, Status
from poms.webservice.services import tasks
from poms.webservice.services.core import Core
from poms.webservice.services.pages.common import (
    JOB_WORDS,
    Url,
    add_to,
    counted,
    happened,
    job_counts,
    percent_text,
    stage_state,
    whole_campaign,
)
from poms.webservice.services.pages.pauses import paused_campaigns
from poms.webservice.services.pages.recoveries import questions
from poms.webservice.services.pages.scouts import board_scouts

BOARD_DAYS = 14
"""A failure older than this is history; it is found on the campaign's page."""

BOARD_LIMIT = 20
RUNNING_LIMIT = 20

# Most urgent first.
_URGENCY = {Status.LAUNCH_FAILED: 0, Status.HELD: 1, Status.AWAITING_APPROVAL: 2, Status.FAILED: 3}


def home(core: Core, actor: Actor, url: Url, *, scope: str = "all") -> dict[str, Any]:
    """What the shift board shows; ``scope`` is ``all`` or ``mine``."""
    now = core.clock()
    with core.db.read() as session:
        board, total = _board(session, core, actor, url, scope, now)
        running, quiet, jobs_now = _running(session, actor, url, scope, now)
        recent = happened(session, url, Event.experiment == actor.experiment)
    services = _services(core)
    return {
        "scopes": [{"label": label, "url": url("home", scope=name), "current": scope == name}
                   for name, label in (("all", "All campaigns"), ("mine", "Mine"))],
        "board": board, "board_total": total, "quiet_count": quiet, "running": running, "jobs_now": jobs_now,
        "services": services, "happened": recent,
        "may": {"create": permissions.refusal(actor, "create") is None},
    }


def _board(session: Session, core: Core, actor: Actor, url: Url, scope: str,
           now: Any) -> tuple[list[dict[str, Any]], int]:
    where = [Submission.experiment == actor.experiment, *_needs_person(Submission, now)]
    if scope == "mine":
        where.append(Submission.creator == actor.experimenter_id)
    urgency = case(_URGENCY, value=Submission.status_id, else_=len(_URGENCY))
    shown = session.execute(
        select(Submission, CampaignStage.name, Campaign.name, func.count().over())
        .join(CampaignStage, CampaignStage.campaign_stage_id == Submission.campaign_stage_id)
        .outerjoin(Campaign, Campaign.campaign_id == Submission.campaign_id)
        # What stands on the board is what is newest of its stage: older trouble was dealt with.
        .where(*where, CampaignStage.last_submission_id == Submission.submission_id)
        .order_by(urgency, Submission.status_since.desc()).limit(BOARD_LIMIT)).all()
    total = shown[0][3] if shown else 0
    reasons = _hold_reasons(session, [row[0].submission_id for row in shown if row[0].status_id == Status.HELD])
    launches = _launch_messages(session, [row[0].submission_id for row in shown
                                          if row[0].status_id == Status.LAUNCH_FAILED])
    board = [_entry(submission, stage, campaign, url, reasons, launches) for submission, stage, campaign, _ in shown]
    failed = _never_begun(session, actor, url, scope, now)
    asked = questions(session, actor, url, mine=scope == "mine")
    paused = paused_campaigns(session, actor, url, mine=scope == "mine")
    scouts, held = board_scouts(session, actor, url, mine=scope == "mine")
    asked = asked + scouts
    board = failed + paused + asked + board
    if held:
        board.append({"state": "overdue", "where": [],
                      "what": f"{counted(held, 'launch')} {'is' if held == 1 else 'are'} kept back",
                      "why": "Launches of their stage, campaign or experiment are held.", "since": None,
                      "size": counted(held, "launch"),
                      "actions": [{"label": "See held launches", "url": url("held_launches"), "primary": not board}]})
    return board, total + len(failed) + len(paused) + len(asked) + bool(held)


def _needs_person(submission: Any, now: Any) -> tuple[Any, Any]:
    return (submission.status_id.in_([int(status) for status in NEEDS_PERSON]),
            submission.status_since > now - timedelta(days=BOARD_DAYS))


def _never_begun(session: Session, actor: Actor, url: Url, scope: str, now: Any) -> list[dict[str, Any]]:
    """Launches that failed before there was a submission, e.g. of people who left: one entry a stage."""
    where = [Launch.experiment == actor.experiment, Launch.state == "failed", Launch.submission_id.is_(None),
             Launch.ended_at > now - timedelta(days=BOARD_DAYS)]
    if scope == "mine":
        where.append(Launch.launcher == actor.experimenter_id)
    rows = session.execute(
        select(Launch, CampaignStage, Campaign.name)
        .join(CampaignStage, CampaignStage.campaign_stage_id == Launch.campaign_stage_id)
        .outerjoin(Campaign, Campaign.campaign_id == CampaignStage.campaign_id)
        .where(*where).order_by(Launch.launch_id.desc()).limit(200)).all()
    stages: dict[int, list[Any]] = {}
    for row in rows:
        stages.setdefault(row[0].campaign_stage_id, []).append(row)
    return [_failed_entry(found, actor, url) for found in list(stages.values())[:BOARD_LIMIT]]


def _failed_entry(rows: list[Any], actor: Actor, url: Url) -> dict[str, Any]:
    newest, stage, campaign = rows[0]
    fields = {"launch_id": [row[0].launch_id for row in rows]}
    here = url("stage", campaign_stage_id=stage.campaign_stage_id)
    actions: list[dict[str, Any]] = [{"label": "See stage", "url": here}]
    if permissions.refusal(actor, "do", owner_role=stage.creator_role, owner_id=stage.creator) is None:
        what = counted(len(rows), "launch")
        actions += [
            {"label": "Launch in my name", "url": url("held_launches_act"), "method": "post", "primary": True,
             "fields": {**fields, "act": "retry"}},
            {"label": "Delete…", "url": url("held_launches_act"), "method": "post",
             "fields": {**fields, "act": "delete"},
             "ask": {"title": f"Delete {what} of {stage.name}", "yes": f"Delete {what}", "keep": "Keep on the board",
                     "text": "They will never be launched; what they would have processed is left for others.",
                     "danger": True}}]
    places = [{"text": campaign, "url": url("campaign", campaign_id=stage.campaign_id)}] if campaign else []
    return {"state": Status.LAUNCH_FAILED.label, "what": f"{stage.name}: not launched",
            "where": [*places, {"text": stage.name, "url": here}], "why": newest.message or "",
            "since": newest.ended_at, "size": counted(len(rows), "launch"), "actions": actions}


def _entry(submission: Submission, stage: str, campaign: str | None, url: Url, reasons: dict[int, str],
           launches: dict[int, str]) -> dict[str, Any]:
    status = Status(submission.status_id)
    number = submission.submission_id
    size, why = counted(submission.jobs_expected, "job"), ""
    if status is Status.HELD:
        size = f"{counted(submission.jobs_held, 'job')} held"
        why = reasons.get(number, "The batch system gives no reason yet.")
    elif status is Status.FAILED:
        size = f"{submission.jobs_failed:,} of {counted(submission.jobs_expected, 'job')}"
        why = "More than a third of the jobs ended with an error."
    elif status is Status.LAUNCH_FAILED:
        why = launches.get(number, "Nothing of it was seen in the batch system.")
    elif status is Status.AWAITING_APPROVAL:
        why, size = "The next stages wait until a person approves.", ""
    actions = [{"label": "See launch log" if status is Status.LAUNCH_FAILED else "See submission",
                "url": url("launch_log" if status is Status.LAUNCH_FAILED else "submission", submission_id=number),
                "primary": status is not Status.HELD}]
    if status is Status.HELD:
        actions.insert(0, {"label": f"Release {counted(submission.jobs_held, 'job')}", "url": url("jobs_act"),
                           "method": "post", "fields": {"submission_id": number, "act": "release"}, "primary": True})
    places = [{"text": campaign, "url": url("campaign", campaign_id=submission.campaign_id)}] if campaign else []
    places.append({"text": stage, "url": url("stage", campaign_stage_id=submission.campaign_stage_id)})
    places.append({"text": f"submission {number}", "url": url("submission", submission_id=number)})
    return {"state": status.label, "what": f"{stage}: {status.label}", "where": places, "why": why,
            "since": submission.status_since, "size": size, "actions": actions}


def _hold_reasons(session: Session, numbers: list[int]) -> dict[int, str]:
    """The commonest hold reason of each held submission."""
    if not numbers:
        return {}
    rows = session.execute(
        select(Job.submission_id, Job.hold_reason, func.count().label("jobs"))
        .where(Job.submission_id.in_(numbers), Job.hold_reason != "")
        .group_by(Job.submission_id, Job.hold_reason).order_by(func.count())).all()
    return {number: f"{reason} ({counted(count, 'job')})" for number, reason, count in rows}


def _launch_messages(session: Session, numbers: list[int]) -> dict[int, str]:
    if not numbers:
        return {}
    rows = session.execute(select(Launch.submission_id, Launch.message)
                           .where(Launch.submission_id.in_(numbers), Launch.message.is_not(None)))
    return dict(rows.all())


def _running(session: Session, actor: Actor, url: Url, scope: str,
             now: Any) -> tuple[list[dict[str, Any]], int, dict[str, int]]:
    """Campaigns with live submissions and no trouble, the number of them, and all jobs of the experiment now."""
    last = aliased(Submission)
    # Asked once for all campaigns, not for each.
    on_board = Submission.campaign_id.in_(
        select(CampaignStage.campaign_id).join(last, last.submission_id == CampaignStage.last_submission_id)
        .where(CampaignStage.campaign_id.is_not(None), last.experiment == actor.experiment,
               *_needs_person(last, now)))
    own = Submission.creator == actor.experimenter_id if scope == "mine" else true()
    newest = func.max(case((own, Submission.submission_id)))
    rows = session.execute(
        select(Submission.campaign_id, Campaign.name, func.sum(Submission.jobs_running).label("Running"),
               func.sum(Submission.jobs_idle).label("Idle"), func.sum(Submission.jobs_held).label("Held"),
               func.sum(case((own, Submission.jobs_held), else_=0)).label("own_held"), newest.label("newest"),
               on_board.label("on_board"))
        .outerjoin(Campaign, Campaign.campaign_id == Submission.campaign_id)
        .where(Submission.experiment == actor.experiment, Submission.status_id.in_([int(status) for status in LIVE]))
        .group_by(Submission.campaign_id, Campaign.name)).all()
    jobs_now = {word: int(count) for word in ("Running", "Idle", "Held")
                if (count := sum(getattr(row, word) for row in rows))}
    quiet = sorted((row for row in rows if row.newest is not None and not row.own_held and not row.on_board),
                   key=lambda row: -row.newest)
    shown = [row for row in quiet if row.name is not None][:RUNNING_LIMIT]
    strips = stage_strips(session, [row.campaign_id for row in shown], url)
    running = [{"name": row.name, "url": url("campaign", campaign_id=row.campaign_id), **strips[row.campaign_id]}
               for row in shown]
    return running, len(quiet), jobs_now


def stage_strips(session: Session, campaign_ids: list[int], url: Url) -> dict[int, dict[str, Any]]:
    """For each campaign: its stages with their states, and the sums of their jobs; one statement for all."""
    result: dict[int, dict[str, Any]] = {
        number: {"stages": [], "counts": {}, "total": 0, "done": "–", "running": 0, "held": 0, "failed": 0,
                 "is_launched": False} for number in campaign_ids}
    if not campaign_ids:
        return result
    # Columns, not objects: stages carry long documents, and a list of fifty campaigns has hundreds of them.
    rows = session.execute(
        select(CampaignStage.campaign_id, CampaignStage.campaign_stage_id, CampaignStage.name, Submission.status_id,
               *(getattr(CampaignStage, name) for name in JOB_WORDS))
        .outerjoin(Submission, Submission.submission_id == CampaignStage.last_submission_id)
        .where(CampaignStage.campaign_id.in_(campaign_ids))
        .order_by(CampaignStage.campaign_id, CampaignStage.position, CampaignStage.campaign_stage_id))
    for stage in rows:
        entry = result[stage.campaign_id]
        entry["stages"].append({"name": stage.name, "state": stage_state(stage.status_id),
                                "url": url("stage", campaign_stage_id=stage.campaign_stage_id)})
        add_to(entry["counts"], job_counts(stage, located=stage.status_id == Status.LOCATED))
        entry["is_launched"] = entry["is_launched"] or stage.status_id is not None
        entry["running"] += stage.jobs_running
        entry["held"] += stage.jobs_held
        entry["failed"] += stage.jobs_failed
    for entry in result.values():
        entry["total"] = whole_campaign(entry["counts"], [stage["state"] for stage in entry["stages"]])
        entry["done"] = percent_text(entry["counts"], entry["total"])
    return result


def _services(core: Core) -> list[dict[str, Any]]:
    """The agents' tasks in one line each kind: is anybody at work, and did the last pass succeed."""
    services = []
    for row in tasks.list_tasks(core):
        services.append({"name": row.name, "ok": tasks.is_well(core, row),
                         "text": row.error or row.message or "not run yet"})
    return services or [{"name": "agent", "ok": False, "text": "no agent has run yet; start one with poms agent"}]
