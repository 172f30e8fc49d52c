"""The page of what a person watches, how that person is told, and what was told."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from poms.webservice.errors import PomsError
from poms.webservice.model import Campaign, CampaignStage, Digest, DigestDelivery, Notice, Watch
from poms.webservice.rules.news import NEWS
from poms.webservice.rules.permissions import Actor
from poms.webservice.services import watches
from poms.webservice.services.core import Core
from poms.webservice.services.pages.common import Url

LATEST = 20
STATE_WORDS = {"waiting": "Waiting", "sending": "Being sent", "sent": "Sent", "given_up": "Given up"}


def watches_page(core: Core, actor: Actor, url: Url) -> dict[str, Any]:
    """All watches of the actor, in all experiments: people are one, wherever they act."""
    with core.db.read() as session:
        rows = _watches(session, actor, url)
        told = watches.told(core, session, actor.experimenter_id, actor.experiment)
        sent = _sent(session, actor)
        waiting = session.scalar(select(func.count()).select_from(Notice).where(
            Notice.experimenter_id == actor.experimenter_id, Notice.digest_id.is_(None)))
    return {
        "watches": rows, "news": [{"word": word, "text": text} for word, text in NEWS.items()],
        "channels": [_channel(core, actor, name, told.addresses.get(name, ""))
                     for name in core.settings.notify.channels],
        "settings": {"every": told.every, "quiet": told.quiet, "time_zone": told.time_zone},
        "every": list(watches.EVERY), "sent": sent, "waiting": int(waiting or 0),
    }


def _watches(session: Session, actor: Actor, url: Url) -> list[dict[str, Any]]:
    found = session.execute(
        select(Watch, CampaignStage.name, Campaign.name)
        .outerjoin(CampaignStage, CampaignStage.campaign_stage_id == Watch.campaign_stage_id)
        .outerjoin(Campaign, Campaign.campaign_id == func.coalesce(Watch.campaign_id, CampaignStage.campaign_id))
        .where(Watch.experimenter_id == actor.experimenter_id)
        .order_by(Watch.experiment, Campaign.name, CampaignStage.name)).all()
    return [{
        "id": row.watch_id, "experiment": row.experiment, "campaign": campaign or "", "stage": stage or "",
        "kind": "campaign" if row.campaign_id else "stage", "news": [str(word) for word in row.news],
        "created": row.created,
        "url": url("campaign", campaign_id=row.campaign_id, experiment=row.experiment, role="") if row.campaign_id
        else url("stage", campaign_stage_id=row.campaign_stage_id, experiment=row.experiment, role=""),
    } for row, stage, campaign in found]


def _channel(core: Core, actor: Actor, name: str, address: str) -> dict[str, str]:
    """A channel as its form shows it; one that is not set up as it should be says so there."""
    offer = next(one for one in core.backends.offered("notifier") if one.name == name)
    shown = {"name": name, "description": offer.description, "address": address, "hint": "", "secret": "",
             "problem": ""}
    try:
        shown["hint"] = core.backends.notifier(name).address_hint
        shown["secret"] = watches.shown_secret(core, actor, name, address) if address else ""
    except PomsError as problem:
        shown["problem"] = str(problem)
    return shown


def _sent(session: Session, actor: Actor) -> list[dict[str, Any]]:
    """The newest messages, each with how its sending went."""
    size = select(func.count()).select_from(Notice).where(Notice.digest_id == Digest.digest_id).scalar_subquery()
    rows = session.execute(
        select(Digest, DigestDelivery, size)
        .join(DigestDelivery, DigestDelivery.digest_id == Digest.digest_id)
        .where(Digest.experimenter_id == actor.experimenter_id)
        .order_by(Digest.digest_id.desc(), DigestDelivery.channel).limit(LATEST)).all()
    return [{"id": f"{digest.digest_id}-{delivery.channel}", "made_at": digest.made_at, "is_test": digest.is_test,
             "events": int(events), "channel": delivery.channel, "address": delivery.address,
             "state": delivery.state, "state_text": STATE_WORDS[delivery.state], "attempts": delivery.attempts,
             "next_at": delivery.next_at if delivery.state == "waiting" and delivery.attempts else None,
             "sent_at": delivery.sent_at, "message": delivery.message} for digest, delivery, events in rows]
