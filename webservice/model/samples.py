"""Sample campaigns that an experiment keeps for itself, beside those that come with POMS."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from poms.webservice.model.base import Base, OrderedJson, UtcDateTime


class CampaignSample(Base):
    """One sample; ``outline`` is drawn from its text: the names of its stages, and which feeds which."""

    __tablename__ = "campaign_samples"
    __table_args__ = (UniqueConstraint("experiment", "name"),)

    sample_id: Mapped[int] = mapped_column(primary_key=True)
    experiment: Mapped[str] = mapped_column(String(32), ForeignKey("experiments.experiment"))
    name: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text, default="", server_default="")
    text: Mapped[str] = mapped_column(Text)
    outline: Mapped[dict[str, Any]] = mapped_column(OrderedJson)
    version: Mapped[int] = mapped_column(default=1, server_default="1")
    creator: Mapped[int] = mapped_column(ForeignKey("experimenters.experimenter_id"))
    creator_role: Mapped[str] = mapped_column(Text)
    created: Mapped[datetime] = mapped_column(UtcDateTime)
    updater: Mapped[int | None] = mapped_column(ForeignKey("experimenters.experimenter_id"))
    updated: Mapped[datetime | None] = mapped_column(UtcDateTime)
