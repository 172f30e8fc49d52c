"""Building blocks that stages share: login setups, job types and their recovery lists."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from poms.webservice.model.base import Base, OrderedJson, UtcDateTime


class LoginSetup(Base):
    """Where launches run and what is set up there first."""

    __tablename__ = "login_setups"
    __table_args__ = (UniqueConstraint("experiment", "name"),)

    login_setup_id: Mapped[int] = mapped_column(primary_key=True)
    experiment: Mapped[str] = mapped_column(String(32), ForeignKey("experiments.experiment"))
    name: Mapped[str] = mapped_column(Text)
    launch_host: Mapped[str] = mapped_column(Text)
    launch_account: Mapped[str] = mapped_column(Text)
    launch_setup: Mapped[str] = mapped_column(Text)
    creator: Mapped[int] = mapped_column(ForeignKey("experimenters.experimenter_id"))
    creator_role: Mapped[str] = mapped_column(Text)
    created: Mapped[datetime] = mapped_column(UtcDateTime)
    updater: Mapped[int | None] = mapped_column(ForeignKey("experimenters.experimenter_id"))
    updated: Mapped[datetime | None] = mapped_column(UtcDateTime)
    active: Mapped[bool] = mapped_column(default=True, server_default=text("true"))


class JobType(Base):
    """What is run: a launch script, its parameters, its output patterns and its recoveries."""

    __tablename__ = "job_types"
    __table_args__ = (UniqueConstraint("experiment", "name"),)

    job_type_id: Mapped[int] = mapped_column(primary_key=True)
    experiment: Mapped[str] = mapped_column(String(32), ForeignKey("experiments.experiment"))
    name: Mapped[str] = mapped_column(Text)
    launch_script: Mapped[str] = mapped_column(Text, default="", server_default="")
    definition_parameters: Mapped[list[Any]] = mapped_column(OrderedJson, default=list)
    output_file_patterns: Mapped[str] = mapped_column(Text, default="%", server_default="%")
    creator: Mapped[int] = mapped_column(ForeignKey("experimenters.experimenter_id"))
    creator_role: Mapped[str] = mapped_column(Text)
    created: Mapped[datetime] = mapped_column(UtcDateTime)
    updater: Mapped[int | None] = mapped_column(ForeignKey("experimenters.experimenter_id"))
    updated: Mapped[datetime | None] = mapped_column(UtcDateTime)
    active: Mapped[bool] = mapped_column(default=True, server_default=text("true"))

    recoveries: Mapped[list[Recovery]] = relationship(
        back_populates="job_type", order_by="Recovery.recovery_order", cascade="all, delete-orphan", lazy="selectin")


class Recovery(Base):
    """One entry of a job type's ordered recovery list; the type is known by name, not by number."""

    __tablename__ = "campaign_recoveries"

    job_type_id: Mapped[int] = mapped_column(ForeignKey("job_types.job_type_id"), primary_key=True)
    recovery_order: Mapped[int] = mapped_column(primary_key=True)
    recovery_type: Mapped[str] = mapped_column(Text)
    param_overrides: Mapped[list[Any]] = mapped_column(OrderedJson, default=list)

    job_type: Mapped[JobType] = relationship(back_populates="recoveries")
