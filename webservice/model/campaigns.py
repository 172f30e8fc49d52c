"""Campaigns, their texts, stages, dependencies and tags.

A campaign is a document: ``CampaignVersion.text`` is what people wrote, byte for byte; the rows
here are what the engine needs of the newest one. Totals on a stage are sums over its submissions,
kept in the transaction that changes a submission, so that no page counts.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Float, ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from poms.webservice.model.base import Base, Json, OrderedJson, UtcDateTime
from poms.webservice.model.blocks import JobType, LoginSetup


class Campaign(Base):
    """A piece of computing that somebody wants done: stages and what feeds what."""

    __tablename__ = "campaigns"
    __table_args__ = (
        UniqueConstraint("experiment", "name"),
        CheckConstraint("campaign_type IS NULL OR campaign_type = 'test'", name="type"),
        Index(None, "experiment", "active", "campaign_id"),
        Index("ix_campaigns_last_activity", "experiment", "last_activity_at", "campaign_id"),
        Index("ix_campaigns_creator", "creator"),
    )

    campaign_id: Mapped[int] = mapped_column(primary_key=True)
    experiment: Mapped[str] = mapped_column(String(32), ForeignKey("experiments.experiment"))
    name: Mapped[str] = mapped_column(Text)
    active: Mapped[bool] = mapped_column(default=True, server_default=text("true"))
    defaults: Mapped[dict[str, Any] | None] = mapped_column(OrderedJson)
    campaign_keywords: Mapped[dict[str, Any] | None] = mapped_column(OrderedJson)
    campaign_type: Mapped[str | None] = mapped_column(Text)
    data_handling_service: Mapped[str] = mapped_column(Text, default="sam", server_default="sam")
    creator: Mapped[int] = mapped_column(ForeignKey("experimenters.experimenter_id"))
    creator_role: Mapped[str] = mapped_column(Text)
    created: Mapped[datetime] = mapped_column(UtcDateTime)
    updater: Mapped[int | None] = mapped_column(ForeignKey("experimenters.experimenter_id"))
    updated: Mapped[datetime | None] = mapped_column(UtcDateTime)
    version_number: Mapped[int] = mapped_column(default=0, server_default="0")
    last_activity_at: Mapped[datetime] = mapped_column(UtcDateTime)
    held_by: Mapped[int | None] = mapped_column(ForeignKey("experimenters.experimenter_id"))
    held_reason: Mapped[str | None] = mapped_column(Text)
    paused_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    paused_reason: Mapped[str | None] = mapped_column(Text)
    judged_from: Mapped[datetime | None] = mapped_column(UtcDateTime)

    stages: Mapped[list[CampaignStage]] = relationship(back_populates="campaign")


class CampaignVersion(Base):
    """One saved text of a campaign: who, when, from where; never changed afterwards."""

    __tablename__ = "campaign_versions"
    __table_args__ = (UniqueConstraint("campaign_id", "number"),)

    campaign_version_id: Mapped[int] = mapped_column(primary_key=True)
    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaigns.campaign_id", ondelete="CASCADE"))
    number: Mapped[int]
    text: Mapped[str] = mapped_column(Text)
    source: Mapped[str] = mapped_column(Text)
    message: Mapped[str] = mapped_column(Text, default="", server_default="")
    creator: Mapped[int] = mapped_column(ForeignKey("experimenters.experimenter_id"))
    created: Mapped[datetime] = mapped_column(UtcDateTime)


class CampaignStage(Base):
    """One step of a campaign, as the engine launches it. ``campaign_id`` NULL: detached by a later text."""

    __tablename__ = "campaign_stages"
    __table_args__ = (
        UniqueConstraint("campaign_id", "name"),
        CheckConstraint("completion_type IN ('located', 'complete')", name="completion_type"),
        CheckConstraint("completion_pct > 0 AND completion_pct <= 100", name="completion_pct"),
        CheckConstraint("campaign_stage_type IN ('regular', 'test', 'generator', 'approval', 'datatransfer')",
                        name="campaign_stage_type"),
        CheckConstraint("output_ancestor_depth >= 1", name="output_ancestor_depth"),
        Index(None, "experiment", "name"),
    )

    campaign_stage_id: Mapped[int] = mapped_column(primary_key=True)
    campaign_id: Mapped[int | None] = mapped_column(ForeignKey("campaigns.campaign_id"))
    experiment: Mapped[str] = mapped_column(String(32), ForeignKey("experiments.experiment"))
    name: Mapped[str] = mapped_column(Text)
    position: Mapped[int] = mapped_column(default=0, server_default="0")
    job_type_id: Mapped[int] = mapped_column(ForeignKey("job_types.job_type_id"), index=True)
    login_setup_id: Mapped[int] = mapped_column(ForeignKey("login_setups.login_setup_id"), index=True)
    vo_role: Mapped[str] = mapped_column(Text)
    dataset: Mapped[str] = mapped_column(Text)
    software_version: Mapped[str] = mapped_column(Text)
    cs_split_type: Mapped[str | None] = mapped_column(Text)
    test_split_type: Mapped[str | None] = mapped_column(Text)
    cs_last_split: Mapped[dict[str, Any] | None] = mapped_column(Json)
    last_split_test: Mapped[dict[str, Any] | None] = mapped_column(Json)
    param_overrides: Mapped[list[Any]] = mapped_column(OrderedJson, default=list)
    test_param_overrides: Mapped[list[Any]] = mapped_column(OrderedJson, default=list)
    merge_overrides: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    completion_type: Mapped[str] = mapped_column(Text, default="located", server_default="located")
    completion_pct: Mapped[float] = mapped_column(Float, default=95, server_default="95")
    output_ancestor_depth: Mapped[int] = mapped_column(default=1, server_default="1")
    campaign_stage_type: Mapped[str] = mapped_column(Text, default="regular", server_default="regular")
    default_clear_cronjob: Mapped[bool] = mapped_column(default=True, server_default=text("true"))
    data_handling: Mapped[dict[str, Any] | None] = mapped_column(OrderedJson)
    recovery_policy: Mapped[str | None] = mapped_column(Text)
    start_when: Mapped[str | None] = mapped_column(Text)
    scout: Mapped[str | None] = mapped_column(Text)
    hold_experimenter_id: Mapped[int | None] = mapped_column(ForeignKey("experimenters.experimenter_id"))
    role_held_with: Mapped[str | None] = mapped_column(Text)
    hold_reason: Mapped[str | None] = mapped_column(Text)
    creator: Mapped[int] = mapped_column(ForeignKey("experimenters.experimenter_id"))
    creator_role: Mapped[str] = mapped_column(Text)
    created: Mapped[datetime] = mapped_column(UtcDateTime)
    updater: Mapped[int | None] = mapped_column(ForeignKey("experimenters.experimenter_id"))
    updated: Mapped[datetime | None] = mapped_column(UtcDateTime)
    # Sums over the stage's submissions.
    last_submission_id: Mapped[int | None]
    jobs_idle: Mapped[int] = mapped_column(default=0, server_default="0")
    jobs_running: Mapped[int] = mapped_column(default=0, server_default="0")
    jobs_held: Mapped[int] = mapped_column(default=0, server_default="0")
    jobs_completed: Mapped[int] = mapped_column(default=0, server_default="0")
    jobs_failed: Mapped[int] = mapped_column(default=0, server_default="0")
    jobs_removed: Mapped[int] = mapped_column(default=0, server_default="0")
    files_consumed: Mapped[int] = mapped_column(default=0, server_default="0")
    files_generated: Mapped[int] = mapped_column(default=0, server_default="0")

    campaign: Mapped[Campaign | None] = relationship(back_populates="stages")
    job_type: Mapped[JobType] = relationship()
    login_setup: Mapped[LoginSetup] = relationship()


class StageStatusCount(Base):
    """How many submissions of a stage are in a status; kept by the transaction that changes the status."""

    __tablename__ = "campaign_stage_status_counts"

    campaign_stage_id: Mapped[int] = mapped_column(ForeignKey("campaign_stages.campaign_stage_id", ondelete="CASCADE"),
                                                   primary_key=True)
    status_id: Mapped[int] = mapped_column(ForeignKey("submission_statuses.status_id"), primary_key=True)
    submissions: Mapped[int] = mapped_column(default=0, server_default="0")


class CampaignDependency(Base):
    """Output of the provider stage that matches a pattern feeds the consumer stage.

    Both the same: the stage goes on with its next split. The two columns were called
    ``needs_campaign_stage_id`` and ``provides_campaign_stage_id`` before, which read the wrong way round.
    """

    __tablename__ = "campaign_dependencies"
    __table_args__ = (
        Index(None, "provider_campaign_stage_id"),
        Index(None, "consumer_campaign_stage_id"),
    )

    campaign_dep_id: Mapped[int] = mapped_column(primary_key=True)
    provider_campaign_stage_id: Mapped[int] = mapped_column(ForeignKey("campaign_stages.campaign_stage_id"))
    consumer_campaign_stage_id: Mapped[int] = mapped_column(ForeignKey("campaign_stages.campaign_stage_id"))
    file_patterns: Mapped[str] = mapped_column(Text, default="%", server_default="%")

    provider: Mapped[CampaignStage] = relationship(foreign_keys=[provider_campaign_stage_id])
    consumer: Mapped[CampaignStage] = relationship(foreign_keys=[consumer_campaign_stage_id])


class Tag(Base):
    """A name for a set of campaigns."""

    __tablename__ = "tags"
    __table_args__ = (UniqueConstraint("experiment", "tag_name"),)

    tag_id: Mapped[int] = mapped_column(primary_key=True)
    experiment: Mapped[str] = mapped_column(String(32), ForeignKey("experiments.experiment"))
    tag_name: Mapped[str] = mapped_column(Text)
    creator: Mapped[int] = mapped_column(ForeignKey("experimenters.experimenter_id"))
    creator_role: Mapped[str] = mapped_column(Text)


class CampaignTag(Base):
    """A campaign carries a tag."""

    __tablename__ = "campaigns_tags"
    __table_args__ = (Index(None, "campaign_id"),)

    tag_id: Mapped[int] = mapped_column(ForeignKey("tags.tag_id", ondelete="CASCADE"), primary_key=True)
    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaigns.campaign_id", ondelete="CASCADE"), primary_key=True)
