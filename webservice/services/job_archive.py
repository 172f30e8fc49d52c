"""Folding the jobs of old submissions into one row of sums for each; what was folded stays readable as a summary.

Not for jobs that may still change (``jobs``). Invariant: a submission has either rows of jobs or a summary. Both change
in one transaction, so that an agent that dies leaves it as it was, and a second pass finds nothing to do.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, delete, exists, func, select
from sqlalchemy.orm import Session

from poms.webservice.interfaces import JobState
from poms.webservice.model import Job, JobSummary, Submission
from poms.webservice.rules.statuses import FINAL
from poms.webservice.services import events, submissions
from poms.webservice.services.core import Core
from poms.webservice.services.launches import AGENT

SUBMISSIONS_AT_ONCE = 200
JOBS_A_PASS = 200_000
"""A pass ends after so many jobs: the rest waits for the next one, and other duties have their turn."""

_JOB_ID = re.compile(r"(\d{1,18})\.(\d{1,18})@(.+)\Z", re.DOTALL)
_STATE_COLUMNS = {JobState.COMPLETED: "completed", JobState.FAILED: "failed", JobState.REMOVED: "removed"}


def run(core: Core, *, most_jobs: int = JOBS_A_PASS) -> str:
    """Fold the jobs of submissions that have been final for ``job_archive_days``; a sentence for the agents page."""
    days = core.settings.agent.job_archive_days
    if not days:
        return "jobs are kept for ever"
    before = core.clock() - timedelta(days=days)
    folded = jobs = 0
    while jobs < most_jobs and (numbers := _due(core, before)):
        for number in numbers:
            done = fold(core, number, before)
            folded += done is not None
            jobs += done or 0
            if jobs >= most_jobs:
                break
    return f"{jobs:,} jobs of {folded:,} submissions archived"


def _due(core: Core, before: datetime) -> list[int]:
    with core.db.read() as session:
        return list(session.scalars(_candidates(before).order_by(Submission.submission_id).limit(SUBMISSIONS_AT_ONCE)))


def _candidates(before: datetime) -> Select[tuple[int]]:
    live = Submission.jobs_idle + Submission.jobs_running + Submission.jobs_held
    return select(Submission.submission_id).where(
        Submission.status_id.in_([int(status) for status in FINAL]), Submission.status_since < before, live == 0,
        exists().where(Job.submission_id == Submission.submission_id))


def fold(core: Core, submission_id: int, before: datetime) -> int | None:
    """Fold one submission; how many jobs, or None if it is not due (any more)."""
    with core.db.write() as session:
        submission = submissions.lock(session, submission_id)
        if session.scalar(_candidates(before).where(Submission.submission_id == submission_id)) is None:
            return None
        summary = session.get(JobSummary, submission_id)
        if summary is None:
            summary = summarise(session, submission_id, core.clock())
            session.add(summary)
            events.record(session, "jobs.archived", core.clock(), AGENT, submission=submission, jobs=summary.jobs)
        return session.execute(delete(Job).where(Job.submission_id == submission_id)).rowcount


def summarise(session: Session, submission_id: int, at: datetime) -> JobSummary:
    """The sums of a submission's jobs, as a row that is not stored yet."""
    mine = Job.submission_id == submission_id
    sums = session.execute(select(
        func.count(), func.sum(Job.attempts), func.sum(Job.cpu_seconds), func.sum(Job.wall_seconds),
        func.max(Job.cpu_seconds), func.max(Job.wall_seconds), func.sum(Job.memory_used_mb),
        func.max(Job.memory_used_mb), func.max(Job.memory_asked_mb), func.min(Job.started_at), func.max(Job.ended_at),
    ).where(mine)).one()
    names = ("jobs", "attempts", "cpu_seconds", "wall_seconds", "cpu_seconds_max", "wall_seconds_max",
             "memory_used_mb_sum", "memory_used_mb_max", "memory_asked_mb_max", "first_started_at", "last_ended_at")
    values = dict(zip(names, sums, strict=True))
    # PostgreSQL sums whole numbers to decimals.
    for name in ("attempts", "memory_used_mb_sum"):
        values[name] = None if values[name] is None else int(values[name])
    return JobSummary(submission_id=submission_id, archived_at=at, by_outcome=_outcomes(session, submission_id),
                      by_site=_sites(session, submission_id), clusters=clusters_of(session.scalars(
                          select(Job.batch_id).where(mine).execution_options(yield_per=10_000))), **values)


def _outcomes(session: Session, submission_id: int) -> list[dict[str, Any]]:
    rows = session.execute(
        select(Job.state, Job.exit_code, Job.exit_signal, Job.hold_code, func.count())
        .where(Job.submission_id == submission_id)
        .group_by(Job.state, Job.exit_code, Job.exit_signal, Job.hold_code)
        .order_by(func.count().desc(), Job.state, Job.exit_code, Job.exit_signal, Job.hold_code))
    return [{"state": JobState(state).name.capitalize(), "exit_code": code, "exit_signal": signal, "hold_code": hold,
             "jobs": jobs} for state, code, signal, hold, jobs in rows]


def _sites(session: Session, submission_id: int) -> list[dict[str, Any]]:
    sites: dict[str, dict[str, Any]] = {}
    rows = session.execute(
        select(Job.site, Job.state, func.count(), func.coalesce(func.sum(Job.cpu_seconds), 0.0),
               func.coalesce(func.sum(Job.wall_seconds), 0.0))
        .where(Job.submission_id == submission_id).group_by(Job.site, Job.state).order_by(Job.site, Job.state))
    for site, state, jobs, cpu, wall in rows:
        row = sites.setdefault(site, {"site": site, "jobs": 0, "completed": 0, "failed": 0, "removed": 0,
                                      "cpu_seconds": 0.0, "wall_seconds": 0.0})
        row["jobs"] += jobs
        row["cpu_seconds"] += cpu
        row["wall_seconds"] += wall
        if state in _STATE_COLUMNS:
            row[_STATE_COLUMNS[JobState(state)]] += jobs
    return sorted(sites.values(), key=lambda row: (-row["jobs"], row["site"]))


def clusters_of(batch_ids: Iterable[str]) -> dict[str, list[list[int]]]:
    """Batch ids as runs of processes by cluster; one of another form stands for itself, without any."""
    procs: dict[str, list[int]] = defaultdict(list)
    for batch_id in batch_ids:
        match = _JOB_ID.match(batch_id)
        if match:
            procs[f"{match[1]}@{match[3]}"].append(int(match[2]))
        else:
            procs[batch_id] = []
    runs: dict[str, list[list[int]]] = {}
    for cluster, numbers in sorted(procs.items()):
        runs[cluster] = found = []
        for number in sorted(numbers):
            if found and found[-1][1] == number - 1:
                found[-1][1] = number
            else:
                found.append([number, number])
    return runs


def names_job(summary: JobSummary, batch_id: str) -> bool:
    """Whether a job was among those that were folded."""
    match = _JOB_ID.match(batch_id)
    if not match:
        return summary.clusters.get(batch_id) == []
    runs = summary.clusters.get(f"{match[1]}@{match[3]}", [])
    return any(first <= int(match[2]) <= last for first, last in runs)


def job_ids(summary: JobSummary) -> Iterator[str]:
    """The jobs that were folded, one by one."""
    for cluster, runs in summary.clusters.items():
        number, _, schedd = cluster.partition("@")
        if not runs:
            yield cluster
        for first, last in runs:
            yield from (f"{number}.{proc}@{schedd}" for proc in range(first, last + 1))


def archived(session: Session, submission_ids: Collection[int]) -> set[int]:
    """Those of some submissions whose jobs have been folded: reports of their jobs come too late."""
    return set(session.scalars(select(JobSummary.submission_id).where(
        JobSummary.submission_id.in_(list(submission_ids)))))
