"""What people watch, how they want to be told, and what they were told.

An event that somebody is owed is a ``Notice``, once; notices leave in a ``Digest``; a digest is sent by one or more
channels, each with a ``DigestDelivery`` that says how that went. Nothing here is changed by the senders' plugins.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from poms.webservice.model.base import Base, BigId, Json, OrderedJson, UtcDateTime


class Watch(Base):
    """A person watches a campaign or a stage: one of the two. ``since_event_id``: older events are not owed."""

    __tablename__ = "watches"
    __table_args__ = (
        UniqueConstraint("experimenter_id", "campaign_id"),
        UniqueConstraint("experimenter_id", "campaign_stage_id"),
        CheckConstraint("(campaign_id IS NULL) <> (campaign_stage_id IS NULL)", name="one_item"),
        Index(None, "campaign_id"),
        Index(None, "campaign_stage_id"),
        Index(None, "experiment"),
    )

    watch_id: Mapped[int] = mapped_column(primary_key=True)
    experimenter_id: Mapped[int] = mapped_column(ForeignKey("experimenters.experimenter_id"))
    experiment: Mapped[str] = mapped_column(String(32), ForeignKey("experiments.experiment"))
    campaign_id: Mapped[int | None] = mapped_column(ForeignKey("campaigns.campaign_id", ondelete="CASCADE"))
    campaign_stage_id: Mapped[int | None] = mapped_column(
        ForeignKey("campaign_stages.campaign_stage_id", ondelete="CASCADE"))
    news: Mapped[list[Any]] = mapped_column(OrderedJson)
    since_event_id: Mapped[int] = mapped_column(BigId)
    created: Mapped[datetime] = mapped_column(UtcDateTime)


class NotificationSetting(Base):
    """How a person wants to be told: addresses by channel, how often at most, and when not.

    ``quiet_from`` and ``quiet_to`` are minutes of the day in ``time_zone``; both None: at any time.
    """

    __tablename__ = "notification_settings"

    experimenter_id: Mapped[int] = mapped_column(ForeignKey("experimenters.experimenter_id"), primary_key=True,
                                                 autoincrement=False)
    addresses: Mapped[dict[str, Any]] = mapped_column(Json)
    digest_seconds: Mapped[int] = mapped_column(default=900, server_default="900")
    quiet_from: Mapped[int | None]
    quiet_to: Mapped[int | None]
    time_zone: Mapped[str] = mapped_column(Text, default="UTC", server_default="UTC")
    last_digest_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    updated: Mapped[datetime] = mapped_column(UtcDateTime)


class Digest(Base):
    """Notices that leave together. ``message_key`` tells a receiver that a message came twice."""

    __tablename__ = "digests"
    __table_args__ = (
        UniqueConstraint("message_key"),
        Index(None, "experimenter_id", "digest_id"),
        Index(None, "made_at"),
    )

    digest_id: Mapped[int] = mapped_column(primary_key=True)
    message_key: Mapped[str] = mapped_column(String(32))
    experimenter_id: Mapped[int] = mapped_column(ForeignKey("experimenters.experimenter_id"))
    made_at: Mapped[datetime] = mapped_column(UtcDateTime)
    is_test: Mapped[bool] = mapped_column(default=False, server_default=text("false"))


class Notice(Base):
    """One event that one person is owed; the key says: once. ``digest_id`` None: not in a digest yet."""

    __tablename__ = "notices"
    __table_args__ = (Index(None, "digest_id", "experimenter_id"),)

    experimenter_id: Mapped[int] = mapped_column(ForeignKey("experimenters.experimenter_id"), primary_key=True)
    event_id: Mapped[int] = mapped_column(BigId, primary_key=True)
    news: Mapped[str] = mapped_column(Text)
    noticed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    digest_id: Mapped[int | None] = mapped_column(ForeignKey("digests.digest_id", ondelete="CASCADE"))


class DigestDelivery(Base):
    """How the sending of a digest by one channel went, or goes.

    ``sending`` with ``next_at`` past: the sender died; it is sent again, and ``attempts`` shows that.
    """

    __tablename__ = "digest_deliveries"
    __table_args__ = (
        CheckConstraint("state IN ('waiting', 'sending', 'sent', 'given_up')", name="state"),
        Index(None, "state", "next_at"),
    )

    digest_id: Mapped[int] = mapped_column(ForeignKey("digests.digest_id", ondelete="CASCADE"), primary_key=True,
                                           autoincrement=False)
    channel: Mapped[str] = mapped_column(Text, primary_key=True)
    address: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text, default="waiting", server_default="waiting")
    attempts: Mapped[int] = mapped_column(default=0, server_default="0")
    next_at: Mapped[datetime] = mapped_column(UtcDateTime)
    sent_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    message: Mapped[str] = mapped_column(Text, default="", server_default="")
