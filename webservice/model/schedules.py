"""When stages are launched by themselves.

One schedule a stage at most. ``next_at`` is what the agents look for; ``last_tick`` only grows, and a moment up
to it is never launched again, whatever the clock does.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from poms.webservice.model.base import Base, UtcDateTime
from poms.webservice.model.campaigns import CampaignStage


class Schedule(Base):
    """When a stage is launched, and as whom.

    ``cron`` is meant in ``time_zone``, the experiment's when ``next_at`` was worked out. ``clear_at_end`` None: as
    the stage says (``default_clear_cronjob``). ``message``: why the last moment passed without a launch.
    """

    __tablename__ = "schedules"
    __table_args__ = (
        CheckConstraint("catch_up IN ('none', 'once')", name="catch_up"),
        Index(None, "experiment", "next_at"),
    )

    campaign_stage_id: Mapped[int] = mapped_column(
        ForeignKey("campaign_stages.campaign_stage_id", ondelete="CASCADE"), primary_key=True, autoincrement=False)
    experiment: Mapped[str] = mapped_column(String(32), ForeignKey("experiments.experiment"))
    cron: Mapped[str] = mapped_column(Text)
    time_zone: Mapped[str] = mapped_column(Text)
    launcher: Mapped[int] = mapped_column(ForeignKey("experimenters.experimenter_id"))
    catch_up: Mapped[str] = mapped_column(Text, default="once", server_default="once")
    clear_at_end: Mapped[bool | None]
    next_at: Mapped[datetime] = mapped_column(UtcDateTime)
    last_tick: Mapped[datetime | None] = mapped_column(UtcDateTime)
    message: Mapped[str] = mapped_column(Text, default="", server_default="")
    creator: Mapped[int] = mapped_column(ForeignKey("experimenters.experimenter_id"))
    created: Mapped[datetime] = mapped_column(UtcDateTime)
    updater: Mapped[int] = mapped_column(ForeignKey("experimenters.experimenter_id"))
    updated: Mapped[datetime] = mapped_column(UtcDateTime)

    stage: Mapped[CampaignStage] = relationship()
