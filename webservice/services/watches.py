"""Watches: what a person wants to be told of, and how. Everybody changes only what is his or her own.

Not for telling (``services.notifications``). The caller has checked that the person may see what is watched.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from poms.webservice.db import insert_new
from poms.webservice.errors import Conflict, Invalid, NotFound
from poms.webservice.model import Campaign, CampaignStage, Digest, Event, NotificationSetting, Watch
from poms.webservice.rules import news
from poms.webservice.rules.permissions import Actor
from poms.webservice.services import notifications
from poms.webservice.services.core import Core
from poms.webservice.services.undos import UNKEPT, Change

EVERY = {"1m": 60, "15m": 900, "1h": 3600, "6h": 21600, "1d": 86400}
"""How often a person may want to be told at most."""

TEST_PAUSE = timedelta(minutes=1)
LONGEST_ADDRESS = 1000


@dataclass(frozen=True, slots=True)
class Told:
    """How a person wants to be told; ``addresses`` by channel, ``quiet`` like ``22:00-07:00`` or ""."""

    addresses: dict[str, str]
    every: str
    quiet: str
    time_zone: str


def watch(core: Core, actor: Actor, *, campaign_id: int | None = None, stage_id: int | None = None,
          about: Sequence[str] = ()) -> Watch:
    """Watch a campaign or a stage, or change of what such a watch tells (``about``; empty: the usual)."""
    wanted = list(dict.fromkeys(about)) or list(news.USUAL)
    unknown = [word for word in wanted if word not in news.NEWS]
    if unknown:
        raise Invalid(f"there are no news {unknown[0][:40]!r}; there are {', '.join(news.NEWS)}", field="about")
    experiment = _experiment_of(core, actor, campaign_id, stage_id)
    with core.db.write() as session:
        newest = session.scalar(select(func.max(Event.event_id))) or 0
        insert_new(session, Watch, [{
            "experimenter_id": actor.experimenter_id, "experiment": experiment, "campaign_id": campaign_id,
            "campaign_stage_id": stage_id, "news": wanted, "since_event_id": newest, "created": core.clock()}])
        row = session.scalars(_own(actor, campaign_id, stage_id)).one()
        row.news = wanted
        return row


def unwatch(core: Core, actor: Actor, *, campaign_id: int | None = None, stage_id: int | None = None,
            undo: Change = UNKEPT) -> bool:
    """Watch no more; False if it was not watched."""
    with core.db.write() as session:
        row = session.scalars(_own(actor, campaign_id, stage_id)).one_or_none()
        if row is None:
            return False
        undo.removed(session, [row])
        session.delete(row)
        return True


def is_watched(session: Session, actor: Actor, *, campaign_id: int | None = None, stage_id: int | None = None) -> bool:
    """Whether the actor watches this campaign or stage."""
    return session.scalar(_own(actor, campaign_id, stage_id).with_only_columns(Watch.watch_id)) is not None


def change(core: Core, actor: Actor, watch_id: int, *, about: Collection[str] | None, undo: Change = UNKEPT) -> None:
    """Change of what a watch of the actor's tells; None ends it. Raises NotFound."""
    unknown = [word for word in about or () if word not in news.NEWS]
    if unknown:
        raise Invalid(f"there are no news {unknown[0][:40]!r}; there are {', '.join(news.NEWS)}", field="about")
    if about is not None and not about:
        raise Invalid("choose what you want to be told of, or end the watch", field="about")
    with core.db.write() as session:
        row = session.scalar(select(Watch).where(Watch.watch_id == watch_id,
                                                 Watch.experimenter_id == actor.experimenter_id))
        if row is None:
            raise NotFound(f"You have no watch {watch_id}.")
        if about is None:
            undo.removed(session, [row])
            session.delete(row)
        else:
            row.news = [word for word in news.NEWS if word in about]
            undo.changed(session, row)


def _own(actor: Actor, campaign_id: int | None, stage_id: int | None) -> Any:
    item = Watch.campaign_id == campaign_id if campaign_id is not None else Watch.campaign_stage_id == stage_id
    return select(Watch).where(Watch.experimenter_id == actor.experimenter_id, item)


def _experiment_of(core: Core, actor: Actor, campaign_id: int | None, stage_id: int | None) -> str:
    """The experiment of what is to be watched, which must be the actor's."""
    if (campaign_id is None) == (stage_id is None):
        raise Invalid("name one campaign, or one stage", field="campaign_id")
    table, column, number = ((Campaign, Campaign.campaign_id, campaign_id) if campaign_id is not None
                             else (CampaignStage, CampaignStage.campaign_stage_id, stage_id))
    with core.db.read() as session:
        found = session.scalar(select(table.experiment).where(column == number,
                                                              table.experiment == actor.experiment))
    if found is None:
        raise NotFound(f"There is no {'campaign' if campaign_id is not None else 'stage'} {number} in "
                       f"{actor.experiment}.")
    return found


# ---------------------------------------------------------------------------------- how to be told


def told(core: Core, session: Session, experimenter_id: int, experiment: str) -> Told:
    """How a person wants to be told; who never said gets what is usual, in the experiment's time zone."""
    row = session.get(NotificationSetting, experimenter_id)
    if row is None:
        return Told({}, "15m", "", core.settings.experiment(experiment).time_zone)
    every = next((word for word, seconds in EVERY.items() if seconds >= row.digest_seconds), "1d")
    return Told(dict(row.addresses), every, news.quiet_text(row.quiet_from, row.quiet_to), row.time_zone)


def set_times(core: Core, actor: Actor, *, every: str, quiet: str, time_zone: str) -> None:
    """How often at most, and in which hours not. Raises Invalid."""
    if every not in EVERY:
        raise Invalid(f"expected one of {', '.join(EVERY)}", field="every")
    hours = news.parse_quiet(quiet)
    zone = time_zone or core.settings.experiment(actor.experiment).time_zone
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Invalid(f"{zone[:60]!r} is no time zone: write it like America/Chicago", field="time_zone") from None
    with core.db.write() as session:
        row = _row(core, session, actor)
        row.digest_seconds, row.time_zone, row.updated = EVERY[every], zone, core.clock()
        row.quiet_from, row.quiet_to = hours or (None, None)


def set_address(core: Core, actor: Actor, channel: str, address: str) -> str:
    """Set, or with "" remove, where a person is told by a channel; returns the address as it is kept."""
    _require_channel(core, channel)
    address = address.strip()
    if len(address) > LONGEST_ADDRESS:
        raise Invalid(f"an address has {LONGEST_ADDRESS} characters at most", field="address")
    if address:
        address = core.backends.notifier(channel).check_address(address)
    with core.db.write() as session:
        row = _row(core, session, actor)
        others = {name: value for name, value in row.addresses.items() if name != channel}
        row.addresses = others | ({channel: address} if address else {})
        row.updated = core.clock()
    return address


def send_test(core: Core, actor: Actor, channel: str) -> None:
    """Have the agent send a message to the actor's address on a channel. Raises Conflict if one is on its way."""
    _require_channel(core, channel)
    now = core.clock()
    with core.db.write() as session:
        row = _row(core, session, actor)
        address = row.addresses.get(channel)
        if not address:
            raise Conflict(f"You gave no address for {channel}.")
        last = session.scalar(select(func.max(Digest.made_at)).where(
            Digest.experimenter_id == actor.experimenter_id, Digest.is_test))
        if last is not None and now - last < TEST_PAUSE:
            raise Conflict("A test message was asked for less than a minute ago.")
        notifications.add_digest(core, session, row, {channel: address}, now, is_test=True)


def shown_secret(core: Core, actor: Actor, channel: str, address: str) -> str:
    """What the person must know to use a channel, such as the key that signs its messages."""
    return core.backends.notifier(channel).shown_secret(actor.username, address)


def _require_channel(core: Core, channel: str) -> None:
    if channel not in core.settings.notify.channels:
        offered = ", ".join(core.settings.notify.channels) or "none"
        raise NotFound(f"There is no channel {channel[:40]}; in use here: {offered}.")


def _row(core: Core, session: Session, actor: Actor) -> NotificationSetting:
    """The actor's row, locked; made if there is none."""
    now: datetime = core.clock()
    insert_new(session, NotificationSetting, [{
        "experimenter_id": actor.experimenter_id, "addresses": {}, "digest_seconds": EVERY["15m"],
        "time_zone": core.settings.experiment(actor.experiment).time_zone, "updated": now}])
    return session.get_one(NotificationSetting, actor.experimenter_id, with_for_update=True)
