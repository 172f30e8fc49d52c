"""Notifications: what people are owed of the event log, gathered into digests and sent by the channels they chose.

Not for what people watch (``services.watches``). Every event is noticed once for each person who watches; a digest
is sent at least once, its attempts are on record, and no transaction is open while a message is on its way.
"""

from __future__ import annotations

import logging
import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, delete, func, or_, select, update
from sqlalchemy.orm import Session

from poms.webservice.db import insert_new
from poms.webservice.errors import Invalid, PomsError
from poms.webservice.interfaces import NewsItem, Notification
from poms.webservice.model import (
    AgentTask,
    Campaign,
    CampaignStage,
    Digest,
    DigestDelivery,
    Event,
    Experiment,
    Experimenter,
    Membership,
    Notice,
    NotificationSetting,
    Watch,
)
from poms.webservice.rules import news
from poms.webservice.rules.news import Quiet
from poms.webservice.services import event_stream
from poms.webservice.services.core import Core
from poms.webservice.services.pages.common import event_text
from poms.webservice.services.tasks import TaskLease

log = logging.getLogger(__name__)

EVENTS_AT_A_TIME = 2000
MESSAGES_IN_A_PASS = 200
SENDING_SECONDS = 300
"""A message that is being sent for longer belongs to a sender that died; longer than any call of a channel may take."""

_WAITING, _SENDING, _SENT, _GIVEN_UP = "waiting", "sending", "sent", "given_up"


def run(core: Core, lease: TaskLease) -> str:
    """All steps once; a sentence for the agents page."""
    noticed = gather(core, lease)
    made = make_digests(core)
    sent, failed = send_due(core)
    forget_old(core)
    writing = "; somebody writes events for long, the newest wait" if noticed is None else ""
    return f"{noticed or 0} noticed, {made} digests made, {sent} messages sent, {failed} not sent{writing}"


# ---------------------------------------------------------------------------------- what is owed


def gather(core: Core, lease: TaskLease) -> int | None:
    """Notice what happened since the cursor; how much is owed, None if the log is not settled yet.

    The cursor moves in the transaction that stores the notices, and only for who holds the lease.
    """
    upto = event_stream.settled(core.db)
    if upto is None:
        return None
    position = int(lease.cursor) if lease.cursor else _beginning(core, upto)
    count = 0
    while position < upto:
        with core.db.read() as session:
            found = session.execute(
                select(Event.event_id, Event.kind, Event.data, Event.experiment, Event.campaign_id,
                       Event.campaign_stage_id, Event.submission_id)
                .where(Event.event_id > position, Event.event_id <= upto)
                .order_by(Event.event_id).limit(EVENTS_AT_A_TIME)).all()
            owed = _owed(session, found, core.clock())
        after = found[-1].event_id if len(found) == EVENTS_AT_A_TIME else upto
        with core.db.write() as session:
            if not session.execute(
                    update(AgentTask).where(AgentTask.name == lease.name, AgentTask.lease_epoch == lease.epoch)
                    .values(cursor=str(after))).rowcount:
                return count
            insert_new(session, Notice, owed)
            count += len(owed)
        position = after
    return count


def _beginning(core: Core, upto: int) -> int:
    """Where the first pass of all begins: with what the oldest watch is owed."""
    with core.db.read() as session:
        oldest = session.scalar(select(func.min(Watch.since_event_id)))
    return upto if oldest is None else min(upto, oldest)


def _owed(session: Session, found: Sequence[Any], now: datetime) -> list[dict[str, Any]]:
    """Rows of notices for these events; each person once for each event."""
    told = [(event, word) for event in found
            if (word := news.news_of(event.kind, event.data, of_submission=event.submission_id is not None))]
    if not told:
        return []
    watches = _watches_of(session, [event for event, _ in told])
    owed: dict[tuple[int, int], str] = {}
    for event, word in told:
        for watch in (*watches["campaign", event.campaign_id], *watches["stage", event.campaign_stage_id],
                      *(_of_everything(watches, event) if event.campaign_id is None
                        and event.campaign_stage_id is None else ())):
            if word in watch.news and event.event_id > watch.since_event_id:
                owed.setdefault((watch.experimenter_id, event.event_id), word)
    return [{"experimenter_id": person, "event_id": event, "news": word, "noticed_at": now, "digest_id": None}
            for (person, event), word in owed.items()]


def _of_everything(watches: dict[tuple[str, Any], list[Watch]], event: Any) -> list[Watch]:
    """Who watches anything that an event of a whole experiment, or of the whole service, is about."""
    if event.experiment:
        return watches["experiment", event.experiment]
    return [watch for (kind, _), some in list(watches.items()) if kind == "experiment" for watch in some]


def _watches_of(session: Session, found: Iterable[Any]) -> dict[tuple[str, Any], list[Watch]]:
    """Watches of people who can be told and may see the experiment, by what they watch; one statement."""
    campaigns = {event.campaign_id for event in found if event.campaign_id is not None}
    stages = {event.campaign_stage_id for event in found if event.campaign_stage_id is not None}
    general = [event for event in found if event.campaign_id is None and event.campaign_stage_id is None]
    wanted = [Watch.campaign_id.in_(campaigns), Watch.campaign_stage_id.in_(stages)]
    if any(not event.experiment for event in general):
        wanted.append(Watch.watch_id.is_not(None))
    elif general:
        wanted.append(Watch.experiment.in_({event.experiment for event in general}))
    rows = session.execute(
        select(Watch, NotificationSetting.addresses)
        .join(NotificationSetting, NotificationSetting.experimenter_id == Watch.experimenter_id)
        .join(Experimenter, Experimenter.experimenter_id == Watch.experimenter_id)
        .outerjoin(Membership, and_(Membership.experimenter_id == Watch.experimenter_id, Membership.active,
                                    Membership.experiment == Watch.experiment))
        .where(or_(*wanted), or_(Experimenter.root, Membership.experimenter_id.is_not(None)))
        .order_by(Watch.watch_id)).all()
    by: dict[tuple[str, Any], list[Watch]] = defaultdict(list)
    for watch, addresses in rows:
        if not addresses:
            continue
        by["experiment", watch.experiment].append(watch)
        if watch.campaign_id is not None:
            by["campaign", watch.campaign_id].append(watch)
        else:
            by["stage", watch.campaign_stage_id].append(watch)
    return by


# --------------------------------------------------------------------------------------- digests


def make_digests(core: Core) -> int:
    """Put what waits into digests, for everybody whose time has come; returns how many were made."""
    now = core.clock()
    with core.db.read() as session:
        rows = session.execute(
            select(NotificationSetting, func.min(Notice.noticed_at))
            .join(Notice, and_(Notice.experimenter_id == NotificationSetting.experimenter_id,
                               Notice.digest_id.is_(None)))
            .group_by(NotificationSetting.experimenter_id)
            .order_by(NotificationSetting.experimenter_id)).all()
    return sum(_make_digest(core, setting.experimenter_id, now) for setting, oldest in rows
               if usable(core, setting) and _due_at(core, setting, oldest) <= now)


def _due_at(core: Core, setting: NotificationSetting, oldest: datetime) -> datetime:
    """At a person's own times, and never more often than the service allows."""
    settings = core.settings.notify
    quiet = None
    if setting.quiet_from is not None and setting.quiet_to is not None:
        quiet = Quiet(setting.quiet_from, setting.quiet_to, setting.time_zone)
    return news.due_at(oldest, setting.last_digest_at, quiet=quiet, gather_seconds=settings.gather_seconds,
                       every_seconds=max(setting.digest_seconds, settings.shortest_digest_seconds))


def usable(core: Core, setting: NotificationSetting) -> dict[str, str]:
    """The addresses of a person on channels that are in use, by channel."""
    return {channel: setting.addresses[channel] for channel in core.settings.notify.channels
            if setting.addresses.get(channel)}


def _make_digest(core: Core, experimenter_id: int, now: datetime) -> int:
    with core.db.write() as session:
        setting = session.get_one(NotificationSetting, experimenter_id, with_for_update=True)
        waiting = (Notice.experimenter_id == experimenter_id, Notice.digest_id.is_(None))
        oldest = session.scalar(select(func.min(Notice.noticed_at)).where(*waiting))
        # Another agent, or a change of the settings, may have come first.
        if oldest is None or not usable(core, setting) or _due_at(core, setting, oldest) > now:
            return 0
        digest = add_digest(core, session, setting, usable(core, setting), now)
        session.execute(update(Notice).where(*waiting).values(digest_id=digest.digest_id)
                        .execution_options(synchronize_session=False))
        setting.last_digest_at = now
    return 1


def add_digest(core: Core, session: Session, setting: NotificationSetting, addresses: dict[str, str], now: datetime, *,
               is_test: bool = False) -> Digest:
    """A digest with a delivery for each address, due at once."""
    digest = Digest(message_key=uuid.uuid4().hex, experimenter_id=setting.experimenter_id, made_at=now,
                    is_test=is_test)
    session.add(digest)
    session.flush()
    session.add_all(DigestDelivery(digest_id=digest.digest_id, channel=channel, address=address, next_at=now,
                                   message="")
                    for channel, address in addresses.items())
    return digest


# --------------------------------------------------------------------------------------- sending


@dataclass(frozen=True, slots=True)
class _Claim:
    """A message that is ours to send: the ``attempt``-th time."""

    digest_id: int
    channel: str
    attempt: int


def send_due(core: Core) -> tuple[int, int]:
    """Send what is due; how many messages were sent, and how many were not.

    A channel that is one system and does not answer is left alone: what waits for it is put off.
    """
    sent = failed = 0
    silent: set[str] = set()
    for digest_id, channel in _due(core):
        claim = None if channel in silent else _claim(core, digest_id, channel)
        if claim is None:
            continue
        try:
            outcome = _send(core, claim)
        except Invalid as problem:
            failed += 1
            _settle(core, claim, _GIVEN_UP, str(problem))
        except PomsError as problem:
            failed += 1
            _put_off(core, claim, str(problem))
            if _is_one_system(core, channel):
                silent.add(channel)
                _put_off_others(core, claim)
        else:
            sent += outcome == _SENT
            _settle(core, claim, outcome, "")
    return sent, failed


def _due(core: Core) -> list[tuple[int, str]]:
    """The oldest first, so that a system that comes back is tried with what waits longest."""
    with core.db.read() as session:
        rows = session.execute(
            select(DigestDelivery.digest_id, DigestDelivery.channel)
            .where(DigestDelivery.state.in_((_WAITING, _SENDING)), DigestDelivery.next_at <= core.clock(),
                   DigestDelivery.channel.in_(core.settings.notify.channels))
            .order_by(DigestDelivery.digest_id, DigestDelivery.channel).limit(MESSAGES_IN_A_PASS))
        return [(digest_id, channel) for digest_id, channel in rows]


def _claim(core: Core, digest_id: int, channel: str) -> _Claim | None:
    """Write down that it is being tried before it is: whoever comes after a crash sees the attempt."""
    now = core.clock()
    with core.db.write() as session:
        row = session.get_one(DigestDelivery, (digest_id, channel), with_for_update=True)
        if row.state not in (_WAITING, _SENDING) or row.next_at > now:
            return None
        row.state, row.attempts, row.next_at = _SENDING, row.attempts + 1, now + timedelta(seconds=SENDING_SECONDS)
        return _Claim(digest_id, channel, row.attempts)


def _send(core: Core, claim: _Claim) -> str:
    """Send one message; the state that its delivery comes to."""
    with core.db.read() as session:
        notification = _notification(core, session, claim)
    if notification is None:
        return _GIVEN_UP
    core.backends.notifier(claim.channel).send(notification)
    return _SENT


def _put_off(core: Core, claim: _Claim, problem: str) -> None:
    """To be tried again, each time later; or given up when it was tried for long enough."""
    now = core.clock()
    with core.db.write() as session:
        row = _claimed(session, claim)
        if row is None:
            return
        made_at = session.get_one(Digest, claim.digest_id).made_at
        over = now - made_at >= timedelta(seconds=core.settings.notify.give_up_seconds)
        row.state, row.message = _GIVEN_UP if over else _WAITING, problem[:500]
        row.next_at = now + timedelta(seconds=news.retry_seconds(claim.attempt))
    log.warning("message given up" if over else "message not sent", extra={
        "digest_id": claim.digest_id, "channel": claim.channel, "attempt": claim.attempt, "reason": problem[:200]})


def _put_off_others(core: Core, claim: _Claim) -> None:
    """All that waits for a system that does not answer waits as long as the message that found out."""
    now = core.clock()
    with core.db.write() as session:
        session.execute(
            update(DigestDelivery)
            .where(DigestDelivery.channel == claim.channel, DigestDelivery.state == _WAITING,
                   DigestDelivery.next_at <= now)
            .values(next_at=now + timedelta(seconds=news.retry_seconds(claim.attempt)))
            .execution_options(synchronize_session=False))


def _settle(core: Core, claim: _Claim, state: str, problem: str) -> None:
    now = core.clock()
    with core.db.write() as session:
        row = _claimed(session, claim)
        if row is not None:
            row.state, row.message = state, problem[:500]
            row.sent_at = now if state == _SENT else None
    log.info("message sent" if state == _SENT else "message given up", extra={
        "digest_id": claim.digest_id, "channel": claim.channel, "attempt": claim.attempt})


def _claimed(session: Session, claim: _Claim) -> DigestDelivery | None:
    """The row, locked, if nobody has taken it over since."""
    row = session.get_one(DigestDelivery, (claim.digest_id, claim.channel), with_for_update=True)
    return row if row.state == _SENDING and row.attempts == claim.attempt else None


def _is_one_system(core: Core, channel: str) -> bool:
    try:
        return core.backends.notifier(channel).one_system
    except PomsError:
        return True


# ------------------------------------------------------------------------------------- the message


def _notification(core: Core, session: Session, claim: _Claim) -> Notification | None:
    """What is to be sent; None if the person may not see anything of it any more."""
    digest, delivery, person, zone = session.execute(
        select(Digest, DigestDelivery, Experimenter.username, NotificationSetting.time_zone)
        .join(DigestDelivery, DigestDelivery.digest_id == Digest.digest_id)
        .join(Experimenter, Experimenter.experimenter_id == Digest.experimenter_id)
        .join(NotificationSetting, NotificationSetting.experimenter_id == Digest.experimenter_id)
        .where(Digest.digest_id == claim.digest_id, DigestDelivery.channel == claim.channel)).one()
    items = () if digest.is_test else tuple(items_of(core, session, digest))
    if not items and not digest.is_test:
        return None
    settings_url = f"{core.settings.service.public_url}/poms/watches"
    if digest.is_test:
        subject = "A test message"
        text = f"You asked for a test message; this is the address at which you will be told.\n\n{settings_url}\n"
    else:
        subject = news.subject_of(items)
        text = news.text_of(items, settings_url=settings_url, time_zone=zone, attempt=claim.attempt)
    return Notification(digest.message_key, claim.attempt, person, delivery.address,
                        f"[{core.settings.service.name}] {subject}", text, digest.made_at, items, settings_url)


def items_of(core: Core, session: Session, digest: Digest) -> list[NewsItem]:
    """What a digest tells, as far as the person may see it today."""
    member = select(Membership.experiment).where(Membership.experimenter_id == digest.experimenter_id,
                                                 Membership.active)
    rows = session.execute(
        select(Notice.news, Event, CampaignStage.name, Campaign.name)
        .join(Event, Event.event_id == Notice.event_id)
        .join(Experimenter, Experimenter.experimenter_id == Notice.experimenter_id)
        .outerjoin(CampaignStage, CampaignStage.campaign_stage_id == Event.campaign_stage_id)
        .outerjoin(Campaign, Campaign.campaign_id == Event.campaign_id)
        .where(Notice.digest_id == digest.digest_id,
               or_(Experimenter.root, Event.experiment.is_(None),
                   and_(Event.experiment.in_(member),
                        Event.experiment.in_(select(Experiment.experiment).where(Experiment.active)))))
        .order_by(Event.event_id)).all()
    return [NewsItem(event.event_id, event.at, word, event_text(event, stage), event.experiment or "", campaign or "",
                     stage or "", event.submission_id, _url(core, event)) for word, event, stage, campaign in rows]


def _url(core: Core, event: Event) -> str:
    """Where an event can be looked at, whatever role the reader acts in."""
    base = f"{core.settings.service.public_url}/poms"
    if event.submission_id is not None:
        return f"{base}/submission?submission_id={event.submission_id}"
    if event.campaign_stage_id is not None:
        return f"{base}/stage?campaign_stage_id={event.campaign_stage_id}"
    return f"{base}/campaign?campaign_id={event.campaign_id}" if event.campaign_id is not None else ""


# ----------------------------------------------------------------------------------- looking after


def forget_old(core: Core) -> int:
    """Remove what was told, or could not be told, longer ago than ``history_days``; returns how many digests."""
    before = core.clock() - timedelta(days=core.settings.notify.history_days)
    old = select(Digest.digest_id).where(Digest.made_at < before)
    with core.db.read() as session:
        found = session.scalar(old.limit(1)) is not None
        lost = session.scalar(select(Notice.event_id).where(Notice.digest_id.is_(None), Notice.noticed_at < before)
                              .limit(1)) is not None
    if not (found or lost):
        return 0
    with core.db.write() as session:
        session.execute(delete(Notice).where(or_(Notice.digest_id.in_(old), and_(
            Notice.digest_id.is_(None), Notice.noticed_at < before))).execution_options(synchronize_session=False))
        session.execute(delete(DigestDelivery).where(DigestDelivery.digest_id.in_(old))
                        .execution_options(synchronize_session=False))
        return session.execute(delete(Digest).where(Digest.made_at < before)
                               .execution_options(synchronize_session=False)).rowcount
