"""Submissions, their history, snapshots, launches, jobs, files and events.

The current state is stored on the submission, history is appended. A launch row is the
intent to start something, written before anything is touched; see ``services.launching``.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Float, ForeignKey, Index, SmallInteger, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from poms.webservice.model.base import Base, BigId, Json, OrderedJson, UtcDateTime
from poms.webservice.model.campaigns import CampaignStage


class SubmissionStatus(Base):
    """The vocabulary of ``rules.statuses``, kept in the database for people who query it."""

    __tablename__ = "submission_statuses"

    status_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    status: Mapped[str] = mapped_column(Text, unique=True)


class Snapshot(Base):
    """A configuration that a submission ran with; the key is the SHA-256 of its content."""

    __tablename__ = "snapshots"

    snapshot_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(Text)
    content: Mapped[dict[str, Any]] = mapped_column(OrderedJson)
    created: Mapped[datetime] = mapped_column(UtcDateTime)


class Submission(Base):
    """One launch of a stage and the jobs it made; ``submission_id`` travels with the jobs.

    ``cpu_seconds`` and ``wall_seconds`` are sums over its jobs, ``job_endings`` says how many ended how (by
    ``rules.endings``): pages add up submissions, of which there are many, and would have to read all of their jobs.
    """

    __tablename__ = "submissions"
    __table_args__ = (
        Index(None, "campaign_stage_id", "submission_id"),
        Index(None, "campaign_id", "submission_id"),
        Index(None, "experiment", "submission_id"),
        Index(None, "experiment", "status_id", "submission_id"),
        Index(None, "status_id", "status_since"),
        Index(None, "jobsub_job_id"),
        # Every change of a submission writes to all of its indexes, and few submissions follow another.
        Index("ix_submissions_recovery_tasks_parent", "recovery_tasks_parent",
              postgresql_where=text("recovery_tasks_parent IS NOT NULL"),
              sqlite_where=text("recovery_tasks_parent IS NOT NULL")),
        Index("ix_submissions_depends_on", "depends_on", postgresql_where=text("depends_on IS NOT NULL"),
              sqlite_where=text("depends_on IS NOT NULL")),
        # SQLite, which is for trying POMS out, reads the few submissions that there are.
        Index("ix_submissions_dataset", text("(submission_params ->> 'dataset')")).ddl_if(dialect="postgresql"),
    )

    submission_id: Mapped[int] = mapped_column(primary_key=True)
    experiment: Mapped[str] = mapped_column(String(32), ForeignKey("experiments.experiment"))
    campaign_id: Mapped[int | None] = mapped_column(ForeignKey("campaigns.campaign_id"))
    campaign_stage_id: Mapped[int] = mapped_column(ForeignKey("campaign_stages.campaign_stage_id"))
    creator: Mapped[int] = mapped_column(ForeignKey("experimenters.experimenter_id"))
    created: Mapped[datetime] = mapped_column(UtcDateTime)
    updater: Mapped[int | None] = mapped_column(ForeignKey("experimenters.experimenter_id"))
    updated: Mapped[datetime] = mapped_column(UtcDateTime)
    status_id: Mapped[int] = mapped_column(ForeignKey("submission_statuses.status_id"))
    status_since: Mapped[datetime] = mapped_column(UtcDateTime)
    submission_params: Mapped[dict[str, Any]] = mapped_column(OrderedJson, default=dict)
    depends_on: Mapped[int | None] = mapped_column(ForeignKey("submissions.submission_id"))
    recovery_tasks_parent: Mapped[int | None] = mapped_column(ForeignKey("submissions.submission_id"))
    recovery_position: Mapped[int | None]
    command_executed: Mapped[str | None] = mapped_column(Text)
    project: Mapped[str | None] = mapped_column(Text)
    jobsub_job_id: Mapped[str | None] = mapped_column(Text)
    campaign_stage_snapshot_id: Mapped[str | None] = mapped_column(ForeignKey("snapshots.snapshot_id"))
    job_type_snapshot_id: Mapped[str | None] = mapped_column(ForeignKey("snapshots.snapshot_id"))
    login_setup_snapshot_id: Mapped[str | None] = mapped_column(ForeignKey("snapshots.snapshot_id"))
    campaign_version_number: Mapped[int | None]
    pct_complete: Mapped[float] = mapped_column(Float, default=0, server_default="0")
    jobs_expected: Mapped[int] = mapped_column(default=0, server_default="0")
    jobs_idle: Mapped[int] = mapped_column(default=0, server_default="0")
    jobs_running: Mapped[int] = mapped_column(default=0, server_default="0")
    jobs_held: Mapped[int] = mapped_column(default=0, server_default="0")
    jobs_completed: Mapped[int] = mapped_column(default=0, server_default="0")
    jobs_failed: Mapped[int] = mapped_column(default=0, server_default="0")
    jobs_removed: Mapped[int] = mapped_column(default=0, server_default="0")
    cpu_seconds: Mapped[float] = mapped_column(Float, default=0, server_default="0")
    wall_seconds: Mapped[float] = mapped_column(Float, default=0, server_default="0")
    job_endings: Mapped[dict[str, Any]] = mapped_column(Json, default=dict, server_default=text("'{}'"), deferred=True)
    files_consumed: Mapped[int | None]
    files_generated: Mapped[int | None]
    files_located: Mapped[int | None]
    wrapup_message: Mapped[str | None] = mapped_column(Text)
    wrapup_checked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    stage: Mapped[CampaignStage] = relationship()


class SubmissionHistory(Base):
    """One change of status. Append only; its own key, so equal times do not collide."""

    __tablename__ = "submission_histories"
    __table_args__ = (Index(None, "submission_id", "submission_history_id"),)

    submission_history_id: Mapped[int] = mapped_column(BigId, primary_key=True)
    submission_id: Mapped[int] = mapped_column(ForeignKey("submissions.submission_id"))
    status_id: Mapped[int] = mapped_column(ForeignKey("submission_statuses.status_id"))
    created: Mapped[datetime] = mapped_column(UtcDateTime)
    actor: Mapped[str] = mapped_column(Text, default="", server_default="")
    reason: Mapped[str] = mapped_column(Text, default="", server_default="")


class Launch(Base):
    """The intent to launch, and what came of it.

    ``owed`` (dataset still to be worked out), ``queued`` (submission exists, waits for an agent),
    ``held`` (kept until released), ``launched``, ``failed``, ``skipped`` (nothing to do), ``cancelled``.
    ``scout_submission_id``: held until that scout is decided.
    An agent works on it only while it holds the lease; ``lease_epoch`` only grows and every write
    of an agent names the epoch it claimed (fencing). ``unseen_since``: when the batch system first
    said that the attempt that was made left nothing.
    """

    __tablename__ = "launches"
    __table_args__ = (
        CheckConstraint("state IN ('owed', 'queued', 'held', 'launched', 'failed', 'skipped', 'cancelled')",
                        name="state"),
        # In the order in which they are claimed: no matter how many were launched before.
        Index("ix_launches_due", "launch_id", postgresql_where=text("state IN ('owed', 'queued')"),
              sqlite_where=text("state IN ('owed', 'queued')")),
        Index(None, "experiment", "state", "launch_id"),
        Index(None, "submission_id"),
        Index(None, "campaign_stage_id", "launch_id"),
        Index(None, "parent_submission_id"),
        Index("ix_launches_scout", "scout_submission_id", postgresql_where=text("scout_submission_id IS NOT NULL"),
              sqlite_where=text("scout_submission_id IS NOT NULL")),
    )

    launch_id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(Text, unique=True)
    kind: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text)
    experiment: Mapped[str] = mapped_column(String(32), ForeignKey("experiments.experiment"))
    campaign_id: Mapped[int | None] = mapped_column(ForeignKey("campaigns.campaign_id"))
    campaign_stage_id: Mapped[int] = mapped_column(ForeignKey("campaign_stages.campaign_stage_id"))
    submission_id: Mapped[int | None] = mapped_column(ForeignKey("submissions.submission_id"))
    parent_submission_id: Mapped[int | None] = mapped_column(ForeignKey("submissions.submission_id"))
    campaign_dep_id: Mapped[int | None]
    scout_submission_id: Mapped[int | None] = mapped_column(ForeignKey("submissions.submission_id"))
    launcher: Mapped[int] = mapped_column(ForeignKey("experimenters.experimenter_id"))
    request: Mapped[dict[str, Any]] = mapped_column(OrderedJson)
    hold_reason: Mapped[str | None] = mapped_column(Text)
    not_before: Mapped[datetime] = mapped_column(UtcDateTime)
    lease_owner: Mapped[str | None] = mapped_column(Text)
    lease_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    lease_epoch: Mapped[int] = mapped_column(default=0, server_default="0")
    attempt: Mapped[int] = mapped_column(default=0, server_default="0")
    failures: Mapped[int] = mapped_column(default=0, server_default="0")
    plan: Mapped[dict[str, Any] | None] = mapped_column(OrderedJson)
    log_name: Mapped[str | None] = mapped_column(Text)
    exit_status: Mapped[int | None]
    message: Mapped[str | None] = mapped_column(Text)
    created: Mapped[datetime] = mapped_column(UtcDateTime)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    unseen_since: Mapped[datetime | None] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class Job(Base):
    """One job as last seen; written in bulk and only when it changed. ``state`` is ``JobState``.

    The one big table that a whole poll waits for: it has no index but its key and no foreign key, which would be
    checked job by job and take half of the time. The writer (``services.jobs``) asks for the submissions once a poll.
    Half of each page is left free: a row that changes finds its place beside the old one, and the key stays as it is.
    """

    __tablename__ = "jobs"
    __table_args__ = {"postgresql_with": {"fillfactor": 50}}

    submission_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    batch_id: Mapped[str] = mapped_column(Text, primary_key=True)
    state: Mapped[int] = mapped_column(SmallInteger)
    since: Mapped[datetime] = mapped_column(UtcDateTime)
    site: Mapped[str] = mapped_column(Text, default="", server_default="")
    node: Mapped[str] = mapped_column(Text, default="", server_default="")
    exit_code: Mapped[int | None]
    exit_signal: Mapped[int | None] = mapped_column(SmallInteger)
    hold_code: Mapped[int | None] = mapped_column(SmallInteger)
    hold_reason: Mapped[str] = mapped_column(Text, default="", server_default="")
    cpu_seconds: Mapped[float | None] = mapped_column(Float)
    wall_seconds: Mapped[float | None] = mapped_column(Float)
    memory_used_mb: Mapped[int | None]
    memory_asked_mb: Mapped[int | None]
    attempts: Mapped[int] = mapped_column(SmallInteger, default=0, server_default="0")
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class SubmissionFile(Base):
    """The file ledger of a submission: inputs with what became of them, outputs with whether they are located."""

    __tablename__ = "submission_files"
    __table_args__ = (CheckConstraint("direction IN ('in', 'out')", name="direction"),)

    submission_id: Mapped[int] = mapped_column(ForeignKey("submissions.submission_id"), primary_key=True)
    direction: Mapped[str] = mapped_column(String(3), primary_key=True)
    file_name: Mapped[str] = mapped_column(Text, primary_key=True)
    state: Mapped[str] = mapped_column(Text)
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    parents: Mapped[list[Any] | None] = mapped_column(OrderedJson)
    job: Mapped[str] = mapped_column(Text, default="", server_default="")
    updated: Mapped[datetime] = mapped_column(UtcDateTime)


class Delivery(Base):
    """A file was given to a consumer through a dependency. The key says: once.

    ``launch_key``: the launch for which it was set aside, before there is a submission.
    """

    __tablename__ = "deliveries"
    __table_args__ = (Index(None, "consumer_submission_id"), Index(None, "launch_key"))

    provider_submission_id: Mapped[int] = mapped_column(ForeignKey("submissions.submission_id"), primary_key=True)
    consumer_campaign_stage_id: Mapped[int] = mapped_column(ForeignKey("campaign_stages.campaign_stage_id"),
                                                            primary_key=True)
    file_name: Mapped[str] = mapped_column(Text, primary_key=True)
    consumer_submission_id: Mapped[int | None] = mapped_column(ForeignKey("submissions.submission_id"))
    launch_key: Mapped[str | None] = mapped_column(Text)
    delivered_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Event(Base):
    """One thing that happened; written in the transaction that made it happen."""

    __tablename__ = "events"
    __table_args__ = (
        Index(None, "experiment", "event_id"),
        Index(None, "campaign_id", "event_id"),
        Index(None, "campaign_stage_id", "event_id"),
        Index(None, "submission_id", "event_id"),
        # Who was given which role is asked for years, among very many other events. The kind is a column of it too:
        # only then SQLite prefers it to the index of all events of an experiment.
        Index("ix_events_people", "kind", "experiment", "event_id", postgresql_where=text("kind = 'person.changed'"),
              sqlite_where=text("kind = 'person.changed'")),
    )

    event_id: Mapped[int] = mapped_column(BigId, primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    kind: Mapped[str] = mapped_column(Text)
    actor: Mapped[str] = mapped_column(Text, default="", server_default="")
    experiment: Mapped[str | None] = mapped_column(String(32))
    campaign_id: Mapped[int | None]
    campaign_stage_id: Mapped[int | None]
    submission_id: Mapped[int | None]
    batch_id: Mapped[str | None] = mapped_column(Text)
    data: Mapped[dict[str, Any] | None] = mapped_column(Json)


class AgentTask(Base):
    """A task that one agent at a time does: its lease, its cursor, its last success and last error."""

    __tablename__ = "agent_tasks"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    lease_owner: Mapped[str | None] = mapped_column(Text)
    lease_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    lease_epoch: Mapped[int] = mapped_column(default=0, server_default="0")
    next_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    cursor: Mapped[str] = mapped_column(Text, default="", server_default="")
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    succeeded_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    failed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    error: Mapped[str | None] = mapped_column(Text)
    message: Mapped[str | None] = mapped_column(Text)
