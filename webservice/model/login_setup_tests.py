"""Tests of login setups: what was tried, by whom, and what came of it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from poms.webservice.model.base import Base, OrderedJson, UtcDateTime

_UNDER_WAY = text("state IN ('queued', 'running')")


class LoginSetupTest(Base):
    """One test: ``queued``, ``running``, then ``passed`` or ``failed``. It submits nothing and is no submission.

    An agent works on it while it holds the lease; every write of an agent names the epoch it claimed.
    """

    __tablename__ = "login_setup_tests"
    __table_args__ = (
        CheckConstraint("state IN ('queued', 'running', 'passed', 'failed')", name="state"),
        Index("ix_login_setup_tests_due", "login_setup_test_id", postgresql_where=_UNDER_WAY,
              sqlite_where=_UNDER_WAY),
        Index("ix_login_setup_tests_newest", "login_setup_id", "login_setup_test_id"),
    )

    login_setup_test_id: Mapped[int] = mapped_column(primary_key=True)
    login_setup_id: Mapped[int] = mapped_column(ForeignKey("login_setups.login_setup_id", ondelete="CASCADE"))
    experiment: Mapped[str] = mapped_column(String(32), ForeignKey("experiments.experiment"))
    key: Mapped[str] = mapped_column(Text, unique=True)
    tester: Mapped[int] = mapped_column(ForeignKey("experimenters.experimenter_id"))
    plan: Mapped[dict[str, Any]] = mapped_column(OrderedJson)
    log_name: Mapped[str | None] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text)
    message: Mapped[str | None] = mapped_column(Text)
    exit_status: Mapped[int | None]
    created: Mapped[datetime] = mapped_column(UtcDateTime)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    lease_owner: Mapped[str | None] = mapped_column(Text)
    lease_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    lease_epoch: Mapped[int] = mapped_column(default=0, server_default="0")
