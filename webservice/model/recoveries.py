"""What the recovery rules decided, file by file, and how much of something was enough for a stage's jobs.

The launches that follow are ``submissions.Launch`` rows as all others. Invariant: a failed file of a submission
belongs to exactly one decision, and a submission is judged once.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Float, ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from poms.webservice.model.base import Base, OrderedJson, UtcDateTime


class RecoveryRound(Base):
    """The rules have looked at a submission. ``depth`` 0 is the original's, 1 that of its recoveries, and so on.

    ``waiting``, on an original: recoveries or answers are outstanding, and its next stages wait for them.
    """

    __tablename__ = "recovery_rounds"
    __table_args__ = (
        Index("ix_recovery_rounds_waiting", "experiment", "submission_id", postgresql_where=text("waiting"),
              sqlite_where=text("waiting")),
    )

    submission_id: Mapped[int] = mapped_column(ForeignKey("submissions.submission_id"), primary_key=True,
                                               autoincrement=False)
    original_submission_id: Mapped[int] = mapped_column(ForeignKey("submissions.submission_id"))
    experiment: Mapped[str] = mapped_column(String(32))
    depth: Mapped[int] = mapped_column(default=0, server_default="0")
    passive: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    waiting: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    judged_at: Mapped[datetime] = mapped_column(UtcDateTime)


class RecoveryDecision(Base):
    """What was decided about the files of a submission that failed for one cause.

    ``launched``: a recovery was owed for them (``launch_key``); ``passive``: it would have been; ``asking``: a person
    is asked; ``gone on`` and ``given up`` is what came of that, or what a rule said at once.
    """

    __tablename__ = "recovery_decisions"
    __table_args__ = (
        CheckConstraint("state IN ('launched', 'passive', 'asking', 'gone on', 'given up')", name="state"),
        Index(None, "submission_id"),
        Index(None, "original_submission_id"),
        Index("ix_recovery_decisions_stage", "campaign_stage_id", "recovery_decision_id"),
        Index(None, "launch_key"),
        Index("ix_recovery_decisions_asking", "experiment", "recovery_decision_id",
              postgresql_where=text("state = 'asking'"), sqlite_where=text("state = 'asking'")),
    )

    recovery_decision_id: Mapped[int] = mapped_column(primary_key=True)
    submission_id: Mapped[int] = mapped_column(ForeignKey("submissions.submission_id"))
    original_submission_id: Mapped[int] = mapped_column(ForeignKey("submissions.submission_id"))
    experiment: Mapped[str] = mapped_column(String(32))
    campaign_stage_id: Mapped[int] = mapped_column(ForeignKey("campaign_stages.campaign_stage_id"))
    state: Mapped[str] = mapped_column(Text)
    outcome: Mapped[str] = mapped_column(Text)
    rule: Mapped[str] = mapped_column(Text, default="", server_default="")
    cause: Mapped[str] = mapped_column(Text, default="", server_default="")
    change: Mapped[str] = mapped_column(Text, default="", server_default="")
    note: Mapped[str] = mapped_column(Text, default="", server_default="")
    files: Mapped[int] = mapped_column(default=0, server_default="0")
    request: Mapped[dict[str, Any] | None] = mapped_column(OrderedJson)
    launch_key: Mapped[str | None] = mapped_column(Text)
    decided_at: Mapped[datetime] = mapped_column(UtcDateTime)
    answered_by: Mapped[int | None] = mapped_column(ForeignKey("experimenters.experimenter_id"))
    answered_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    answer: Mapped[str | None] = mapped_column(Text)


class RecoveryFile(Base):
    """A failed file of a submission and the decision that it belongs to; the key says: one."""

    __tablename__ = "recovery_files"
    __table_args__ = (Index(None, "recovery_decision_id"),)

    submission_id: Mapped[int] = mapped_column(ForeignKey("submissions.submission_id"), primary_key=True)
    file_name: Mapped[str] = mapped_column(Text, primary_key=True)
    recovery_decision_id: Mapped[int] = mapped_column(
        ForeignKey("recovery_decisions.recovery_decision_id", ondelete="CASCADE"))


class StageLevel(Base):
    """How many jobs of a stage ended well with so much memory (MB) or time (seconds) asked for."""

    __tablename__ = "stage_levels"
    __table_args__ = (CheckConstraint("resource IN ('memory', 'time')", name="resource"),)

    campaign_stage_id: Mapped[int] = mapped_column(ForeignKey("campaign_stages.campaign_stage_id", ondelete="CASCADE"),
                                                   primary_key=True)
    resource: Mapped[str] = mapped_column(Text, primary_key=True)
    amount: Mapped[float] = mapped_column(Float, primary_key=True)
    jobs: Mapped[int] = mapped_column(default=0, server_default="0")
