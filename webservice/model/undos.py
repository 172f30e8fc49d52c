"""What people did lately and may take back: the rows that a change touched, as they were and as it left them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from poms.webservice.model.base import Base, OrderedJson, UtcDateTime


class Undo(Base):
    """One change by one person, good until ``expires_at`` and once; ``steps`` are those of ``services.undos``."""

    __tablename__ = "undos"
    __table_args__ = (Index(None, "expires_at"),)

    undo_id: Mapped[int] = mapped_column(primary_key=True)
    experimenter_id: Mapped[int] = mapped_column(ForeignKey("experimenters.experimenter_id", ondelete="CASCADE"))
    experiment: Mapped[str] = mapped_column(String(32), ForeignKey("experiments.experiment"))
    role: Mapped[str] = mapped_column(Text)
    title: Mapped[str] = mapped_column(Text)
    steps: Mapped[list[Any]] = mapped_column(OrderedJson)
    made_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    undone_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
