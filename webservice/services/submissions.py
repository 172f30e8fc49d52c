"""Submissions: their status, the reports about them, and the sums kept on their stage.

The only place that changes ``submissions.status_id``. A change asks ``rules.statuses`` and writes status, history,
sums and event in one transaction: under the row's lock or, for a report, only if the row still is as it was judged.
Rows are locked in the order launch, campaign, submission, stage, count, so that no two transactions block each other.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Float, Integer, Text, bindparam, func, insert, literal_column, select, union_all, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from poms.webservice.db import Prepared, add_up, before_commit
from poms.webservice.errors import NotFound
from poms.webservice.model import CampaignStage, Event, StageStatusCount, Submission, SubmissionHistory
from poms.webservice.model.base import UtcDateTime
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
    _sums(session).newest[submission.campaign_stage_id] = submission.submission_id


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


STANDING = Prepared("standing", (
    select(Submission.submission_id, Submission.experiment, Submission.status_id, Submission.status_since,
           Submission.recovery_tasks_parent, Submission.jobsub_job_id, Submission.project, Submission.pct_complete,
           CampaignStage.completion_pct, CampaignStage.creator, CampaignStage.creator_role)
    .join(CampaignStage, CampaignStage.campaign_stage_id == Submission.campaign_stage_id)
    .where(Submission.submission_id == bindparam("key", type_=Integer))))
"""Where a submission stands: what is needed to judge a report about it, and who may report."""


def report(core: Core, actor_name: str, reported: Report, *, by_person: bool, standing: Any = None) -> bool:
    """Store a report; False if there is no such submission.

    Running with enough percent complete means Completed. An unknown status changes no status,
    the other fields are stored all the same. ``standing`` is what ``STANDING`` found a moment ago, if it was asked.
    """
    now = core.clock()
    if core.db.is_postgresql:
        if standing is None:
            standing = next(iter(core.db.ask(STANDING, key=reported.submission_id)), None)
        if standing is None:
            return False
        if _report_at_once(core, actor_name, reported, standing, by_person=by_person, now=now):
            return True
    with core.db.write() as session:
        submission = _find_locked(session, reported.submission_id)
        if submission is None:
            return False
        for name, value in _fields_of(reported).items():
            setattr(submission, name, value)
        status = _status_of(reported, session.get_one(CampaignStage, submission.campaign_stage_id).completion_pct)
        if status is not None:
            change_status(session, submission, status, at=_time_of(reported, now), actor=actor_name,
                          by_person=by_person)
        return True


def _fields_of(reported: Report) -> dict[str, Any]:
    """The columns of a submission that a report sets whatever its status."""
    fields = {"jobsub_job_id": normal_job_id(reported.jobsub_job_id) or None, "pct_complete": reported.pct_complete,
              "project": reported.project if reported.project not in ("", "None") else None}
    return {name: value for name, value in fields.items() if value is not None}


def _status_of(reported: Report, completion_pct: float) -> Status | None:
    status = find_status(reported.status)
    if status is Status.RUNNING and reported.pct_complete is not None and reported.pct_complete >= completion_pct:
        return Status.COMPLETED
    return status


def _time_of(reported: Report, now: datetime) -> datetime:
    # A time in the future would hold back the times of everything that follows.
    return min(reported.at or now, now)


# ---------------------------------------------------- a report as one statement, where PostgreSQL permits

_ID, _OLD, _NEW = (bindparam(name, type_=Integer) for name in ("submission_id", "old", "new"))
_AT, _SEEN = (bindparam(name, type_=UtcDateTime) for name in ("at", "seen"))
_ACTOR, _JOB, _PROJECT = (bindparam(name, type_=Text) for name in ("actor", "jobsub_job_id", "project"))


def _change_at_once() -> Prepared:
    """What ``change_status`` writes, if the submission is still as it was seen; the sums in the order of their keys."""
    table, counts = Submission.__table__, StageStatusCount.__table__
    changed = (
        # No index serves these comparisons: the row is found by its key, never among all of its status.
        update(table).where(table.c.submission_id == _ID, table.c.status_id.is_not_distinct_from(_OLD),
                            table.c.status_since.is_not_distinct_from(_SEEN))
        .values(status_id=_NEW, status_since=_AT,
                updated=func.coalesce(bindparam("ended", type_=UtcDateTime), table.c.updated),
                jobsub_job_id=func.coalesce(_JOB, table.c.jobsub_job_id),
                project=func.coalesce(_PROJECT, table.c.project),
                pct_complete=func.coalesce(bindparam("pct_complete", type_=Float), table.c.pct_complete))
        .returning(table.c.submission_id, table.c.experiment, table.c.campaign_id, table.c.campaign_stage_id)
        .cte("changed"))
    remembered = insert(SubmissionHistory).from_select(
        ["submission_id", "status_id", "created", "actor", "reason"],
        select(changed.c.submission_id, _NEW, _AT, _ACTOR, literal_column("''", Text))).cte("remembered")
    told = insert(Event).from_select(
        ["at", "kind", "actor", "experiment", "campaign_id", "campaign_stage_id", "submission_id", "data"],
        select(_AT, literal_column("'submission.status'", Text), _ACTOR, changed.c.experiment, changed.c.campaign_id,
               changed.c.campaign_stage_id, changed.c.submission_id,
               bindparam("data", type_=postgresql.JSONB))).cte("told")
    less, more = literal_column("-1", Integer), literal_column("1", Integer)
    moved = union_all(select(changed.c.campaign_stage_id, _OLD.label("status_id"), less.label("by")),
                      select(changed.c.campaign_stage_id, _NEW, more)).subquery("moved")
    adding = postgresql.insert(counts).from_select(
        ["campaign_stage_id", "status_id", "submissions"],
        select(moved.c.campaign_stage_id, moved.c.status_id, moved.c.by).order_by(moved.c.status_id))
    counted = adding.on_conflict_do_update(
        index_elements=list(counts.primary_key.columns),
        set_={"submissions": counts.c.submissions + adding.excluded.submissions}).cte("counted")
    return Prepared("change_at_once", select(changed.c.submission_id).add_cte(remembered, told, counted))


_CHANGE_AT_ONCE = _change_at_once()


def _report_at_once(core: Core, actor_name: str, reported: Report, standing: Any, *, by_person: bool,
                    now: datetime) -> bool:
    """Store a report by one statement, or by none if it says nothing new; False if it must be done under a lock."""
    fields = _fields_of(reported)
    status, old = _status_of(reported, standing.completion_pct), Status(standing.status_id)
    new = None if status is None else next_status(old, status, by_person=by_person,
                                                  is_recovery=standing.recovery_tasks_parent is not None)
    if new is None:
        return all(getattr(standing, name) == value for name, value in fields.items())
    at = max(_time_of(reported, now), standing.status_since)
    nothing = dict.fromkeys(("jobsub_job_id", "project", "pct_complete"))
    return bool(core.db.run(_CHANGE_AT_ONCE, {
        **nothing, **fields, "submission_id": reported.submission_id, "old": int(old), "new": int(new), "at": at,
        "seen": standing.status_since, "ended": at if new in FINAL else None, "actor": actor_name,
        "data": json.dumps({"old": old.label, "new": new.label, "reason": ""})}))


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
    """What a unit of work adds to the sums of stages, and their newest submissions; written at its end, in order."""

    stages: dict[int, dict[str, int]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(int)))
    statuses: dict[tuple[int, int], int] = field(default_factory=lambda: defaultdict(int))
    newest: dict[int, int] = field(default_factory=dict)

    def write(self, session: Session) -> None:
        """Three statements for any number of stages."""
        if self.newest:
            table = CampaignStage.__table__
            session.connection().execute(
                update(table).where(table.c.campaign_stage_id == bindparam("stage_id"))
                .values(last_submission_id=bindparam("newest")),
                [{"stage_id": stage_id, "newest": number} for stage_id, number in sorted(self.newest.items())])
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
