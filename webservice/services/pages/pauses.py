"""What pages show of campaigns that paused themselves: why, and the button that lets their launches go."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from poms.webservice.model import Campaign
from poms.webservice.rules import permissions
from poms.webservice.rules.permissions import Actor
from poms.webservice.services.pages.common import Url

SHOWN = 20


def pause_notice(campaign: Campaign, url: Url, *, may_do: bool) -> dict[str, Any]:
    """On the campaign's own page."""
    return {"state": "overdue", "title": "This campaign paused itself", "text": _why(campaign),
            "actions": [_go(campaign, url)] if may_do else []}


def paused_campaigns(session: Session, actor: Actor, url: Url, *, mine: bool = False) -> list[dict[str, Any]]:
    """Entries of the shift board, the latest first."""
    where = [Campaign.experiment == actor.experiment, Campaign.paused_at.is_not(None)]
    if mine:
        where.append(Campaign.creator == actor.experimenter_id)
    rows = session.scalars(select(Campaign).where(*where).order_by(Campaign.paused_at.desc()).limit(SHOWN)).all()
    return [_entry(row, actor, url) for row in rows]


def _entry(campaign: Campaign, actor: Actor, url: Url) -> dict[str, Any]:
    here = url("campaign", campaign_id=campaign.campaign_id)
    may = permissions.refusal(actor, "do", owner_role=campaign.creator_role, owner_id=campaign.creator) is None
    return {"state": "overdue", "what": f"{campaign.name} paused itself", "size": "",
            "where": [{"text": campaign.name, "url": here}], "why": _why(campaign), "since": campaign.paused_at,
            "actions": [*([_go(campaign, url)] if may else []), {"label": "See campaign", "url": here}]}


def _why(campaign: Campaign) -> str:
    return f"{campaign.paused_reason}. Launches are kept until somebody lets them go."


def _go(campaign: Campaign, url: Url) -> dict[str, Any]:
    return {"label": "Let its launches go", "url": url("campaign_act"), "method": "post", "primary": True,
            "fields": {"campaign_id": campaign.campaign_id, "act": "release_launches"}}
