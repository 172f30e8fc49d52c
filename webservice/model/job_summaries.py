"""What is left of the jobs of an old submission when their rows have been folded away."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Float, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from poms.webservice.model.base import Base, OrderedJson, UtcDateTime


class JobSummary(Base):
    """The jobs of one submission as sums. While there is one, the table ``jobs`` has no row of the submission.

    ``by_outcome``: ``[{state, exit_code, exit_signal, hold_code, jobs}]``. ``by_site``: ``[{site, jobs, completed,
    failed, removed, cpu_seconds, wall_seconds}]``. ``clusters``: runs of processes by cluster,
    ``{"12@schedd": [[0, 99]]}``, so that the log of each job can still be asked for.
    """

    __tablename__ = "job_summaries"

    submission_id: Mapped[int] = mapped_column(ForeignKey("submissions.submission_id", ondelete="CASCADE"),
                                               primary_key=True,
                                               autoincrement=False)
    archived_at: Mapped[datetime] = mapped_column(UtcDateTime)
    jobs: Mapped[int]
    attempts: Mapped[int] = mapped_column(BigInteger)
    cpu_seconds: Mapped[float | None] = mapped_column(Float)
    wall_seconds: Mapped[float | None] = mapped_column(Float)
    cpu_seconds_max: Mapped[float | None] = mapped_column(Float)
    wall_seconds_max: Mapped[float | None] = mapped_column(Float)
    memory_used_mb_sum: Mapped[int | None] = mapped_column(BigInteger)
    memory_used_mb_max: Mapped[int | None]
    memory_asked_mb_max: Mapped[int | None]
    first_started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    by_outcome: Mapped[list[Any]] = mapped_column(OrderedJson)
    by_site: Mapped[list[Any]] = mapped_column(OrderedJson)
    clusters: Mapped[dict[str, Any]] = mapped_column(OrderedJson)
