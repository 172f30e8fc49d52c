"""Experiments, experimenters and memberships: who may act where, and in which role."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from poms.webservice.model.base import Base, Json, UtcDateTime


class Experiment(Base):
    """A tenant: every campaign, stage and submission belongs to exactly one."""

    __tablename__ = "experiments"

    experiment: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(Text, unique=True)
    logbook: Mapped[str | None] = mapped_column(Text)
    snow_url: Mapped[str | None] = mapped_column(Text)
    restricted: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    active: Mapped[bool] = mapped_column(default=True, server_default=text("true"))
    launches_held_by: Mapped[int | None] = mapped_column(ForeignKey("experimenters.experimenter_id", use_alter=True))
    launches_held_reason: Mapped[str | None] = mapped_column(Text)


class Experimenter(Base):
    """A person, or a service account that acts like one (``poms`` is the agent)."""

    __tablename__ = "experimenters"

    experimenter_id: Mapped[int] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(Text, unique=True)
    first_name: Mapped[str] = mapped_column(Text, default="", server_default="")
    last_name: Mapped[str] = mapped_column(Text, default="", server_default="")
    last_login: Mapped[datetime | None] = mapped_column(UtcDateTime)
    session_experiment: Mapped[str] = mapped_column(Text, default="", server_default="")
    session_role: Mapped[str] = mapped_column(Text, default="analysis", server_default="analysis")
    root: Mapped[bool] = mapped_column(default=False, server_default=text("false"))

    memberships: Mapped[list[Membership]] = relationship(back_populates="experimenter")


class Membership(Base):
    """The highest role a person holds in an experiment; an inactive one gives no rights at all.

    ``source``, ``source_role`` and ``kept`` as in ``rules.memberships``; ``changed_by`` is a user name, or the name of
    the outside list, "" before anybody kept a record of that.
    """

    __tablename__ = "experiments_experimenters"
    __table_args__ = (
        CheckConstraint("role IN ('analysis', 'production-shifter', 'production', 'superuser')", name="role"),
        Index(None, "experiment"),
    )

    experimenter_id: Mapped[int] = mapped_column(ForeignKey("experimenters.experimenter_id"), primary_key=True)
    experiment: Mapped[str] = mapped_column(ForeignKey("experiments.experiment"), primary_key=True)
    active: Mapped[bool] = mapped_column(default=True, server_default=text("true"))
    role: Mapped[str] = mapped_column(Text, default="analysis", server_default="analysis")
    source: Mapped[str] = mapped_column(Text, default="", server_default="")
    source_role: Mapped[str] = mapped_column(Text, default="", server_default="")
    kept: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    changed_by: Mapped[str] = mapped_column(Text, default="", server_default="")
    changed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    experimenter: Mapped[Experimenter] = relationship(back_populates="memberships")


class ServiceSetting(Base):
    """A switch of the whole service that people change while it runs, e.g. ``launches`` = hold."""

    __tablename__ = "service_settings"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    value: Mapped[str] = mapped_column(Text)
    changed_by: Mapped[int | None] = mapped_column(ForeignKey("experimenters.experimenter_id"))
    changed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    reason: Mapped[str | None] = mapped_column(Text)


class ListColumns(Base):
    """The columns that a person sees in a list, as far as they differ from the usual ones."""

    __tablename__ = "list_columns"

    experimenter_id: Mapped[int] = mapped_column(ForeignKey("experimenters.experimenter_id", ondelete="CASCADE"),
                                                 primary_key=True, autoincrement=False)
    list_name: Mapped[str] = mapped_column(Text, primary_key=True)
    columns: Mapped[dict[str, Any]] = mapped_column(Json)
