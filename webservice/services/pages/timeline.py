"""The timeline of a campaign: one line for each stage, with its newest submissions from the first of them until now."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from poms.webservice.model import CampaignStage, Submission
from poms.webservice.rules import bars
from poms.webservice.rules.statuses import LIVE, Status
from poms.webservice.services.pages.common import Url

MOST = 100
"""Submissions in one timeline."""


def window(begin: datetime, end: datetime) -> dict[str, Any]:
    """A window of time for a page, with the moments that its axis names."""
    return {"begin": begin, "end": end, "ticks": [{"at": at, "x": x} for at, x in bars.ticks(begin, end)]}


def stage_timeline(session: Session, campaign_id: int, stages: Sequence[CampaignStage], now: datetime,
                   url: Url) -> dict[str, Any]:
    """One statement, however many submissions there are."""
    rows = session.execute(
        select(Submission.submission_id, Submission.campaign_stage_id, Submission.created, Submission.status_id,
               Submission.status_since)
        .where(Submission.campaign_id == campaign_id)
        .order_by(Submission.submission_id.desc()).limit(MOST)).all()
    if not rows:
        return {"lines": [], "ticks": [], "begin": None, "end": None}
    begin = min(row.created for row in rows)
    end = max(now, begin + timedelta(minutes=1))
    lines: dict[int, list[dict[str, Any]]] = {}
    for number, stage_id, created, status_id, since in reversed(rows):
        status = Status(status_id)
        drawn = bars.pieces([(status.label, created)], begin, end, ends_at=None if status in LIVE else since)
        lines.setdefault(stage_id, []).extend(
            {"state": piece.state, "at": piece.at, "x": piece.x, "width": piece.width, "name": f"submission {number}",
             "url": url("submission", submission_id=number)} for piece in drawn)
    return {**window(begin, end), "lines": [
        {"name": stage.name, "url": url("stage", campaign_stage_id=stage.campaign_stage_id),
         "bars_url": url("time_bars", campaign_stage_id=stage.campaign_stage_id),
         "pieces": lines.get(stage.campaign_stage_id, [])} for stage in stages]}
