"""Time bars: the submissions of a stage, campaign or tag, or the jobs of a submission, each through its states."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from poms.webservice.errors import Invalid
from poms.webservice.interfaces import JobState
from poms.webservice.model import (
    Campaign,
    CampaignStage,
    CampaignTag,
    Job,
    Submission,
    SubmissionHistory,
    Tag,
)
from poms.webservice.rules import bars
from poms.webservice.rules.permissions import Actor
from poms.webservice.rules.statuses import LIVE, Status
from poms.webservice.services.core import Core
from poms.webservice.services.pages.common import STATE_WORDS, Url, job_label, job_order
from poms.webservice.services.pages.submissions import load_submission
from poms.webservice.services.pages.timeline import window

PAGE = 50
DAYS = (1, 3, 7, 30)


def submission_bars(core: Core, actor: Actor, url: Url, *, stage_id: int | None = None, campaign_id: int | None = None,
                    tag: str = "", days: int = 1, until: datetime | None = None,
                    before: int | None = None) -> dict[str, Any]:
    """One bar for each submission that was alive in the window, newest first."""
    end = min(until or core.clock(), core.clock())
    begin = end - timedelta(days=days)
    with core.db.read() as session:
        owner, arguments, where = _owner(session, actor, url, stage_id, campaign_id, tag)
        live, ended = (_numbers(LIVE), _numbers(set(Status) - LIVE))
        # The names of the few that are shown; a join would read all stages there are.
        stage = (select(CampaignStage.name).where(CampaignStage.campaign_stage_id == Submission.campaign_stage_id)
                 .scalar_subquery().label("stage"))
        query = (select(Submission.submission_id, Submission.status_id, Submission.status_since, stage)
                 .where(*where, Submission.experiment == actor.experiment, Submission.created <= end,
                        # The states are named, as the index of times is one of states and times.
                        or_(Submission.status_id.in_(live),
                            and_(Submission.status_id.in_(ended), Submission.status_since >= begin))))
        if before is not None:
            query = query.where(Submission.submission_id < before)
        rows = session.execute(query.order_by(Submission.submission_id.desc()).limit(PAGE + 1)).all()
        shown, more = rows[:PAGE], len(rows) > PAGE
        steps = _steps(session, [item.submission_id for item in shown])
    shown_rows = []
    for item in shown:
        status = Status(item.status_id)
        # Of those that are over, the last state is a moment, and no colour goes on to the end of the window.
        drawn = bars.pieces(steps.get(item.submission_id, []), begin, end,
                            ends_at=None if status in LIVE else item.status_since)
        shown_rows.append({
            "id": item.submission_id, "name": str(item.submission_id), "note": item.stage, "state": status.label,
            "url": url("submission", submission_id=item.submission_id),
            "more_url": url("time_bars", submission_id=item.submission_id), "pieces": drawn})
    kept = {**arguments, "days": days, **({"until": f"{end:%Y-%m-%d %H:%M:%S}"} if until else {})}
    return {**window(begin, end), "owner": owner, "bars": shown_rows, "what": "Submission",
            "windows": _windows(url, arguments, days), **_beside(core, url, arguments, begin, end, days),
            "pager": {"text": f"{len(shown_rows)} shown", "newer_url": url("time_bars", **kept) if before else "",
                      "older_url": url("time_bars", **kept, before=shown[-1].submission_id) if more else ""}}


def _numbers(states: Iterable[Status]) -> list[int]:
    return sorted(int(status) for status in states)


def job_bars(core: Core, actor: Actor, url: Url, submission_id: int, *, offset: int = 0) -> dict[str, Any]:
    """One bar for each job of a submission, from its submission to now or to its end."""
    with core.db.read() as session:
        item, stage, campaign, _ = load_submission(session, actor, submission_id)
        rows = session.scalars(select(Job).where(Job.submission_id == submission_id).order_by(*job_order())
                               .offset(offset).limit(PAGE + 1)).all()
    shown, more = rows[:PAGE], len(rows) > PAGE
    begin = item.created
    end = core.clock() if Status(item.status_id) in LIVE else max(
        [item.status_since, *(job.ended_at or job.since for job in shown)])
    end = max(end, begin + timedelta(minutes=1))
    here = url("submission", submission_id=submission_id)
    return {
        **window(begin, end), "what": "Job", "windows": [], "earlier_url": "", "later_url": "",
        "owner": {"name": f"submission {submission_id}", "url": here, "path": [
            *([{"text": campaign.name, "url": url("campaign", campaign_id=campaign.campaign_id)}] if campaign else []),
            {"text": stage.name, "url": url("stage", campaign_stage_id=stage.campaign_stage_id)},
            {"text": f"Submission {submission_id}", "url": here}]},
        "bars": [{"id": job.batch_id, "name": job_label(job.batch_id, item.jobsub_job_id), "note": job.site,
                  "state": STATE_WORDS[JobState(job.state)],
                  "url": url("job", submission_id=submission_id, batch_id=job.batch_id), "more_url": "",
                  "pieces": bars.pieces(_job_steps(job, begin), begin, end, ends_at=job.ended_at)} for job in shown],
        "pager": {"text": f"{offset + 1:,} to {offset + len(shown):,}" if shown else "",
                  "sorted": True,
                  "newer_url": url("time_bars", submission_id=submission_id, offset=max(0, offset - PAGE))
                  if offset else "",
                  "older_url": url("time_bars", submission_id=submission_id, offset=offset + PAGE) if more else ""}}


def _job_steps(job: Job, begin: datetime) -> list[tuple[str, datetime]]:
    """What is stored of a job tells when it started, when it ended, and since when it is as it is."""
    state = STATE_WORDS[JobState(job.state)]
    steps = [("Idle", begin)]
    if job.started_at is not None:
        steps.append(("Running", job.started_at))
    last = job.ended_at or job.since
    if state != steps[-1][0]:
        steps.append((state, max(last, steps[-1][1])))
    return steps


def _owner(session: Session, actor: Actor, url: Url, stage_id: int | None, campaign_id: int | None,
           tag: str) -> tuple[dict[str, Any], dict[str, Any], list[Any]]:
    """Whose submissions these are; items were checked by the caller."""
    if stage_id is not None:
        stage = session.get_one(CampaignStage, stage_id)
        here = url("stage", campaign_stage_id=stage_id)
        campaign = session.get(Campaign, stage.campaign_id) if stage.campaign_id else None
        path = [{"text": campaign.name, "url": url("campaign", campaign_id=campaign.campaign_id)}] if campaign else []
        return ({"name": stage.name, "url": here, "path": [*path, {"text": stage.name, "url": here}]},
                {"campaign_stage_id": stage_id}, [Submission.campaign_stage_id == stage_id])
    if campaign_id is not None:
        campaign = session.get_one(Campaign, campaign_id)
        here = url("campaign", campaign_id=campaign_id)
        return ({"name": campaign.name, "url": here, "path": [{"text": campaign.name, "url": here}]},
                {"campaign_id": campaign_id}, [Submission.campaign_id == campaign_id])
    if not tag:
        raise Invalid("Say which stage, campaign, submission or tag is meant.", field="campaign_id")
    here = url("campaigns", view="all", tag=tag)
    carrying = (select(CampaignTag.campaign_id).join(Tag, Tag.tag_id == CampaignTag.tag_id)
                .where(Tag.experiment == actor.experiment, Tag.tag_name == tag))
    return ({"name": f"tag {tag}", "url": here, "path": [{"text": f"Tag {tag}", "url": here}]}, {"tag": tag},
            [Submission.campaign_id.in_(carrying)])


def _steps(session: Session, numbers: Sequence[int]) -> dict[int, list[tuple[str, datetime]]]:
    found: dict[int, list[tuple[str, datetime]]] = {}
    rows = session.execute(
        select(SubmissionHistory.submission_id, SubmissionHistory.status_id, SubmissionHistory.created)
        .where(SubmissionHistory.submission_id.in_(list(numbers)))
        .order_by(SubmissionHistory.submission_id, SubmissionHistory.submission_history_id))
    for number, status_id, at in rows:
        found.setdefault(number, []).append((Status(status_id).label, at))
    return found


def _windows(url: Url, arguments: dict[str, Any], days: int) -> list[dict[str, Any]]:
    return [{"label": "1 day" if each == 1 else f"{each} days", "url": url("time_bars", **arguments, days=each),
             "current": each == days} for each in DAYS]


def _beside(core: Core, url: Url, arguments: dict[str, Any], begin: datetime, end: datetime,
            days: int) -> dict[str, str]:
    def at(moment: datetime) -> str:
        return url("time_bars", **arguments, days=days, until=f"{moment:%Y-%m-%d %H:%M:%S}")

    return {"earlier_url": at(begin), "later_url": at(end + timedelta(days=days)) if end < core.clock() else ""}
