"""Removing all jobs of submissions, and what the submissions are called then.

Not for single jobs, nor for holding and releasing (``jobs``). Invariant: a submission that has ended stays what it is:
whoever removes the jobs of many loses no Located one among them.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import select

from poms.webservice.interfaces import ActResult
from poms.webservice.model import Submission
from poms.webservice.rules.statuses import FINAL, Status
from poms.webservice.services import jobs
from poms.webservice.services.core import Core


def remove(core: Core, actor_name: str, experiment: str, submission_ids: Collection[int], *, mark: Status,
           reason: str = "") -> ActResult:
    """Remove the jobs and call the submissions ``mark`` (Removed or Cancelled), except for those that have ended.

    The caller has checked the right to do so for each submission.
    """
    ended = _ended(core, experiment, submission_ids)
    going_on = [number for number in submission_ids if number not in ended]
    # Somebody may have called it Located while jobs were left.
    with_jobs = [number for number, (_, live) in ended.items() if live]
    results = []
    if going_on:
        results.append(jobs.act(core, actor_name, experiment, "remove", going_on, mark=mark, reason=reason))
    if with_jobs:
        results.append(jobs.act(core, actor_name, experiment, "remove", with_jobs, reason=reason))
    return ActResult(sum(each.changed for each in results), sum(each.unchanged for each in results),
                     sum(each.refused for each in results),
                     " ".join(filter(None, [*(each.message for each in results), _kept(ended)])))


def _ended(core: Core, experiment: str, submission_ids: Collection[int]) -> dict[int, tuple[Status, int]]:
    """Those that have ended: how, and how many of their jobs are live all the same."""
    live = Submission.jobs_idle + Submission.jobs_running + Submission.jobs_held
    with core.db.read() as session:
        return {number: (Status(status), jobs_left) for number, status, jobs_left in session.execute(
            select(Submission.submission_id, Submission.status_id, live)
            .where(Submission.submission_id.in_(list(submission_ids)), Submission.experiment == experiment,
                   Submission.status_id.in_([int(status) for status in FINAL]))
            .order_by(Submission.submission_id))}


def _kept(ended: dict[int, tuple[Status, int]]) -> str:
    if not ended:
        return ""
    if len(ended) == 1:
        (number, (status, _)), = ended.items()
        return f"Submission {number} had ended before and stays {status.label}."
    return f"{len(ended):,} submissions had ended before and stay what they are."
