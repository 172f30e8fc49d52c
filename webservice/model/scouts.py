"""Scouts: submissions that went ahead on a part of their stage's input, and what was made of them.

The launches that wait for one are ``submissions.Launch`` rows in state ``held`` that name it. Invariant: what is
decided about a scout is decided from this row, in one transaction with what follows.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Float, ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from poms.webservice.model.base import Base, OrderedJson, UtcDateTime


class Scout(Base):
    """A submission that scouts, as ``rule`` said when it was launched.

    ``waiting``: its jobs have not ended; ``good``: the rest follows, with ``overrides`` because of what was measured;
    ``asking``: a person is asked; ``gone on`` and ``given up`` is what a person said, before or after its end.
    ``judged_at`` is when its jobs were measured.
    """

    __tablename__ = "scouts"
    __table_args__ = (
        CheckConstraint("state IN ('waiting', 'good', 'asking', 'gone on', 'given up')", name="state"),
        Index("ix_scouts_stage", "campaign_stage_id", "submission_id"),
        Index("ix_scouts_unjudged", "experiment", "submission_id", postgresql_where=text("judged_at IS NULL"),
              sqlite_where=text("judged_at IS NULL")),
        Index("ix_scouts_asking", "experiment", "submission_id", postgresql_where=text("state = 'asking'"),
              sqlite_where=text("state = 'asking'")),
    )

    submission_id: Mapped[int] = mapped_column(ForeignKey("submissions.submission_id"), primary_key=True,
                                               autoincrement=False)
    experiment: Mapped[str] = mapped_column(String(32))
    campaign_stage_id: Mapped[int] = mapped_column(ForeignKey("campaign_stages.campaign_stage_id"))
    state: Mapped[str] = mapped_column(Text)
    rule: Mapped[str] = mapped_column(Text)
    files: Mapped[int]
    rest_files: Mapped[int]
    jobs: Mapped[int | None]
    jobs_succeeded: Mapped[int | None]
    memory_mb: Mapped[float | None] = mapped_column(Float)
    wall_seconds: Mapped[float | None] = mapped_column(Float)
    cpu_efficiency: Mapped[float | None] = mapped_column(Float)
    reason: Mapped[str] = mapped_column(Text, default="", server_default="")
    change: Mapped[str] = mapped_column(Text, default="", server_default="")
    overrides: Mapped[list[Any]] = mapped_column(OrderedJson, default=list)
    judged_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    answered_by: Mapped[int | None] = mapped_column(ForeignKey("experimenters.experimenter_id"))
    answered_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    answer: Mapped[str | None] = mapped_column(Text)
