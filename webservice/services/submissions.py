"""Submissions: their status, the reports about them, and the sums kept on their stage.

The only place that changes ``submissions.status_id``. A change takes the row's lock, asks
``rules.statuses``, and writes status, history, sums and event in one transaction. Rows are locked in
the order launch, campaign, submission, stage, count, so that no two transactions wait for each other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import bindparam, select, update
from sqlalchemy.orm import Session

from poms.webservice.db import add_up, before_commit
from poms.webservice.errors import NotFound
from poms.webservice.model import CampaignStage, StageStatusCount, Submission, SubmissionHistory
from poms.webservice.rules.statuses import FINAL, Status, find_status, next_status
from poms.webservice.services import events
from poms.webservice.services.core import Core

COUNTED = ("jobs_idle", "jobs_running", "jobs_held", "jobs_completed", "jobs_failed", "jobs_removed")


def lock(session: Session, submission_id: int) -> Submission:
    """The submission, locked until the transaction ends."""
    submission = _find_locked(session, submission_id)
    if submission is None:
        raise NotFound(f"There is no submission {submission_id}.")
    return submission


def lock_all(session: Session, submission_ids: Collection[int]) -> dict[int, Submission]:
    """Submissions by number, locked in one order everywhere, so that two writers never wait for each other."""
    found = session.scalars(
        select(Submission).where(Submission.submission_id.in_(submission_ids)).order_by(Submission.submission_id)
        .with_for_update(key_share=True).execution_options(populate_existing=True))
    return {submission.submission_id: submission for submission in found}


def add_first_status(session: Session, submission: Submission, *, actor: str, reason: str = "") -> None:
    """Write history, sums and event of a submission that was just inserted."""
    _append_history(session, submission, actor, reason)
    _count_status(session, submission.campaign_stage_id, submission.status_id, +1)
    session.execute(update(CampaignStage)
                    .where(CampaignStage.campaign_stage_id == submission.campaign_stage_id)
                    .values(last_submission_id=submission.submission_id))


def change_status(session: Session, submission: Submission, reported: Status, *, at: datetime, actor: str,
                  by_person: bool = False, reason: str = "") -> bool:
    """Apply a status report to a locked submission; False if it changes nothing."""
    current = Status(submission.status_id)
    new = next_status(current, reported, is_recovery=submission.recovery_tasks_parent is not None,
                      by_person=by_person)
    if new is None:
        return False
    # Reports can come late or from a host whose clock is behind: history never goes backwards.
    at = max(at, submission.status_since)
    _count_status(session, submission.campaign_stage_id, submission.status_id, -1)
    submission.status_id, submission.status_since = int(new), at
    if new in FINAL:
        submission.updated = at
    _append_history(session, submission, actor, reason)
    _count_status(session, submission.campaign_stage_id, submission.status_id, +1)
    events.record(session, "submission.status", at, actor, submission=submission,
                  old=current.label, new=new.label, reason=reason)
    return True


def set_job_counts(session: Session, submission: Submission, counts: dict[str, int]) -> bool:
    """Store job counts (keys of ``COUNTED``) and pass the difference on to the stage's sums."""
    changes = {name: value - getattr(submission, name) for name, value in counts.items()
               if value != getattr(submission, name)}
    if not changes:
        return False
    for name in changes:
        setattr(submission, name, counts[name])
    _add_to_stage(session, submission.campaign_stage_id, changes)
    return True


def set_file_counts(session: Session, submission: Submission, *, consumed: int, generated: int,
                    located: int) -> None:
    """Store file counts and pass the difference on to the stage's sums."""
    changes = {"files_consumed": consumed - (submission.files_consumed or 0),
               "files_generated": generated - (submission.files_generated or 0)}
    submission.files_consumed, submission.files_generated, submission.files_located = consumed, generated, located
    _add_to_stage(session, submission.campaign_stage_id, {name: by for name, by in changes.items() if by})


@dataclass(frozen=True, slots=True)
class Report:
    """What an agent, a wrapper or a person says about a submission; empty fields say nothing."""

    submission_id: int
    status: str = ""
    jobsub_job_id: str = ""
    project: str = ""
    pct_complete: float | None = None
    at: datetime | None = None


def report(core: Core, actor_name: str, reported: Report, *, by_person: bool) -> bool:
    """Store a report; False if there is no such submission.

    Running with enough percent complete means Completed. An unknown status changes no status,
    the other fields are stored all the same.
    """
    now = core.clock()
    with core.db.write() as session:
        submission = _find_locked(session, reported.submission_id)
        if submission is None:
            return False
        if reported.jobsub_job_id and submission.jobsub_job_id != normal_job_id(reported.jobsub_job_id):
            submission.jobsub_job_id = normal_job_id(reported.jobsub_job_id)
        if reported.project and reported.project != "None":
            submission.project = reported.project
        if reported.pct_complete is not None:
            submission.pct_complete = reported.pct_complete
        status = find_status(reported.status)
        if status is Status.RUNNING and reported.pct_complete is not None:
            stage = session.get_one(CampaignStage, submission.campaign_stage_id)
            if reported.pct_complete >= stage.completion_pct:
                status = Status.COMPLETED
        if status is not None:
            # A time in the future would hold back the times of everything that follows.
            at = min(reported.at or now, now)
            change_status(session, submission, status, at=at, actor=actor_name, by_person=by_person)
        return True


def normal_job_id(text: str) -> str:
    """``cluster@schedd``: the form stored, whichever of its spellings was reported."""
    cluster, at, schedd = text.strip().partition("@")
    return f"{cluster.split('.')[0]}{at}{schedd}"


def _find_locked(session: Session, submission_id: int) -> Submission | None:
    # The weaker lock: rows that only refer to this one can be inserted meanwhile.
    return session.get(Submission, submission_id, with_for_update={"key_share": True}, populate_existing=True)


def _append_history(session: Session, submission: Submission, actor: str, reason: str) -> None:
    session.add(SubmissionHistory(submission_id=submission.submission_id, status_id=submission.status_id,
                                  created=submission.status_since, actor=actor, reason=reason))


@dataclass
class _Sums:
    """What a unit of work adds to the sums of stages; written at its end, in one order everywhere."""

    stages: dict[int, dict[str, int]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(int)))
    statuses: dict[tuple[int, int], int] = field(default_factory=lambda: defaultdict(int))

    def write(self, session: Session) -> None:
        """Two statements for any number of stages."""
        if self.stages:
            names = sorted({name for changes in self.stages.values() for name in changes})
            table = CampaignStage.__table__
            session.connection().execute(
                update(table).where(table.c.campaign_stage_id == bindparam("stage_id"))
                .values({name: table.c[name] + bindparam(f"by_{name}") for name in names}),
                [{"stage_id": stage_id, **{f"by_{name}": changes[name] for name in names}}
                 for stage_id, changes in sorted(self.stages.items())])
        add_up(session, StageStatusCount, [
            {"campaign_stage_id": stage_id, "status_id": status_id, "submissions": by}
            for (stage_id, status_id), by in sorted(self.statuses.items()) if by], total="submissions")


def _sums(session: Session) -> _Sums:
    sums = session.info.get("sums")
    if sums is None:
        sums = session.info["sums"] = _Sums()
        before_commit(session, "sums", sums.write)
    return sums


def _count_status(session: Session, stage_id: int, status_id: int, by: int) -> None:
    _sums(session).statuses[stage_id, int(status_id)] += by


def _add_to_stage(session: Session, stage_id: int, changes: dict[str, int]) -> None:
    for name, by in changes.items():
        _sums(session).stages[stage_id][name] += by
