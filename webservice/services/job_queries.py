"""Jobs across submissions, as programs ask for them: by stage, campaign, site and state, page by page.

Not for the pages of one submission (``pages.submissions``). Invariant: a page begins where the one before ended, by
key, so that jobs that come and go in between are neither told twice nor left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, or_, select

from poms.webservice.errors import Invalid
from poms.webservice.interfaces import JobState
from poms.webservice.model import CampaignStage, Job, JobSummary, Submission
from poms.webservice.rules import hold_codes
from poms.webservice.services.core import Core

PAGE = 500
MOST_DAYS = 3660.0
STATES = {state.name.capitalize(): state for state in JobState}
COLUMNS = ("submission_id", "batch_id", "since", "site", "node", "exit_code", "exit_signal", "hold_code", "hold_reason",
           "cpu_seconds", "wall_seconds", "memory_used_mb", "memory_asked_mb", "attempts", "started_at", "ended_at")


@dataclass(frozen=True, slots=True)
class JobQuestion:
    """Which jobs are meant; what is not given is not asked for. ``days``: submissions that changed since then."""

    submission_id: int | None = None
    stage_id: int | None = None
    campaign_id: int | None = None
    site: str = ""
    state: str = ""
    days: float | None = None
    after: str = ""


def find_jobs(core: Core, experiment: str, question: JobQuestion) -> dict[str, Any]:
    """A page of jobs, newest submission first; ``next`` is the ``after`` of the next page, "" at the end.

    ``archived`` are submissions in question whose single jobs are not kept any more; told with the first page.
    """
    chosen = _chosen(core, experiment, question)
    where = [Submission.submission_id == Job.submission_id, *chosen]
    if question.site:
        where.append(Job.site == question.site)
    if question.state:
        where.append(Job.state == int(_state(question.state)))
    if question.after:
        where.append(_beyond(question.after))
    query: Select[Any] = (
        select(*(getattr(Job, name) for name in COLUMNS), Job.state, CampaignStage.name.label("stage"))
        .join(Submission, Submission.submission_id == Job.submission_id)
        .join(CampaignStage, CampaignStage.campaign_stage_id == Submission.campaign_stage_id)
        .where(*where).order_by(Job.submission_id.desc(), Job.batch_id).limit(PAGE + 1))
    with core.db.read() as session:
        rows = session.execute(query).mappings().all()
        archived = [] if question.after else list(session.scalars(
            select(JobSummary.submission_id).join(Submission, Submission.submission_id == JobSummary.submission_id)
            .where(*chosen).order_by(JobSummary.submission_id.desc()).limit(PAGE)))
    shown = rows[:PAGE]
    return {"jobs": [_in_words(row) for row in shown],
            "archived": archived,
            "next": f"{shown[-1]['submission_id']}/{shown[-1]['batch_id']}" if len(rows) > PAGE else ""}


def _in_words(row: Mapping[str, Any]) -> dict[str, Any]:
    """A job with its state by name; a hold also in plain words, and what usually helps."""
    known = row["hold_code"] is not None
    meaning = hold_codes.meaning(row["hold_code"])
    return {**row, "state": JobState(row["state"]).name.capitalize(),
            "hold_meaning": meaning.title if known else "", "hold_remedy": meaning.remedy if known else ""}


def _chosen(core: Core, experiment: str, question: JobQuestion) -> list[ColumnElement[bool]]:
    where: list[ColumnElement[bool]] = [Submission.experiment == experiment]
    if question.submission_id is not None:
        where.append(Submission.submission_id == question.submission_id)
    if question.stage_id is not None:
        where.append(Submission.campaign_stage_id == question.stage_id)
    if question.campaign_id is not None:
        where.append(Submission.campaign_id == question.campaign_id)
    if question.days is not None:
        if not 0 < question.days <= MOST_DAYS:
            raise Invalid(f"days must be more than 0 and at most {MOST_DAYS:g}.", field="days")
        where.append(Submission.updated >= core.clock() - timedelta(days=question.days))
    elif question.submission_id is None and question.stage_id is None and question.campaign_id is None:
        raise Invalid("All jobs of an experiment are too many; name a submission, stage or campaign, or give days.",
                      field="days")
    return where


def _state(name: str) -> JobState:
    state = STATES.get(name.capitalize())
    if state is None:
        raise Invalid(f"{name!r} is no state of a job; it is one of {', '.join(STATES)}.", field="state")
    return state


def _beyond(after: str) -> ColumnElement[bool]:
    number, slash, batch_id = after.partition("/")
    if not slash or not number.isascii() or not number.isdigit() or len(number) > 10:
        raise Invalid("after must be what the page before said is next.", field="after")
    return or_(Job.submission_id < int(number), and_(Job.submission_id == int(number), Job.batch_id > batch_id))
