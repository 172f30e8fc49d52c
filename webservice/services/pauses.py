"""Campaigns that pause themselves on a wave of failures, until a person lets their launches go.

Not for holds that people set (``holds``), which ends a pause too. Invariant: submissions launched before a person
let a campaign go never pause it again.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from poms.webservice.model import Campaign, Submission
from poms.webservice.rules.failure_waves import Ended, wave
from poms.webservice.rules.statuses import LIVE, Status
from poms.webservice.services import events
from poms.webservice.services.core import Core
from poms.webservice.services.launches import AGENT

RECENT = timedelta(hours=1)
"""Campaigns are looked at while they have jobs, and so long after the last of them ended."""

NEWEST = 50
"""So many submissions of a campaign are looked at, at most."""

_CHUNK = 200


def run(core: Core, experiment: str) -> int:
    """Pause the campaigns of an experiment most of whose last jobs failed; returns how many."""
    settings, now = core.settings.experiment(experiment), core.clock()
    if settings.pause_failure_percent <= 0:
        return 0
    with core.db.read() as session:
        numbers = _candidates(session, experiment, now)
        ended = {number: found for start in range(0, len(numbers), _CHUNK)
                 for number, found in _ended(session, numbers[start:start + _CHUNK]).items()}
    paused = 0
    for number, (judged_from, counts) in sorted(ended.items()):
        why = wave(counts, percent=settings.pause_failure_percent, jobs=settings.pause_after_jobs)
        if why:
            paused += _pause(core, number, judged_from, why, now)
    return paused


def _candidates(session: Session, experiment: str, now: datetime) -> list[int]:
    """Campaigns that are not paused and in which something happens, or has just happened."""
    live = select(Submission.campaign_id).where(
        Submission.experiment == experiment, Submission.status_id.in_([int(status) for status in LIVE]))
    recent = select(Submission.campaign_id).where(
        Submission.experiment == experiment, Submission.status_since > now - RECENT,
        Submission.status_id.not_in([int(status) for status in LIVE]))
    return list(session.scalars(
        select(Campaign.campaign_id)
        .where(Campaign.experiment == experiment, Campaign.paused_at.is_(None),
               or_(Campaign.campaign_id.in_(live), Campaign.campaign_id.in_(recent)))
        .order_by(Campaign.campaign_id)))


def _ended(session: Session, campaign_ids: list[int]) -> dict[int, tuple[datetime | None, list[Ended]]]:
    """Of each campaign the jobs that ended, newest submission first; one statement for all.

    What a person removed or called off says nothing about failures.
    """
    place = func.row_number().over(partition_by=Submission.campaign_id,
                                   order_by=Submission.submission_id.desc()).label("place")
    newest = (
        select(Submission.campaign_id, Submission.jobs_completed, Submission.jobs_failed, Submission.jobs_removed,
               Campaign.judged_from, place)
        .join(Campaign, Campaign.campaign_id == Submission.campaign_id)
        .where(Submission.campaign_id.in_(campaign_ids), Submission.status_id != int(Status.REMOVED),
               or_(Campaign.judged_from.is_(None), Submission.created > Campaign.judged_from))
        .subquery())
    found: dict[int, tuple[datetime | None, list[Ended]]] = {}
    rows = session.execute(select(newest).where(newest.c.place <= NEWEST)
                           .order_by(newest.c.campaign_id, newest.c.place))
    for row in rows:
        bad = row.jobs_failed + row.jobs_removed
        found.setdefault(row.campaign_id, (row.judged_from, []))[1].append(Ended(row.jobs_completed + bad, bad))
    return found


def _pause(core: Core, campaign_id: int, judged_from: datetime | None, why: str, now: datetime) -> bool:
    with core.db.write() as session:
        campaign = session.get(Campaign, campaign_id, with_for_update=True)
        # Somebody may have let it go, and so started a new count, since it was looked at.
        if campaign is None or campaign.paused_at is not None or campaign.judged_from != judged_from:
            return False
        campaign.paused_at, campaign.paused_reason = now, why
        events.record(session, "campaign.paused", now, AGENT, experiment=campaign.experiment, campaign_id=campaign_id,
                      reason=why)
    return True


def let_go(campaign: Campaign, now: datetime) -> bool:
    """End the pause of a campaign, which the caller has locked; True if it was paused."""
    if campaign.paused_at is None:
        return False
    campaign.paused_at = campaign.paused_reason = None
    campaign.judged_from = now
    return True
