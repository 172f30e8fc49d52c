"""Pieces that several pages share: progress of submissions and stages, what happened, paging by key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, and_, bindparam, case, func, select
from sqlalchemy.orm import Session, aliased

from poms.webservice.interfaces import JobState
from poms.webservice.model import (
    Campaign,
    CampaignDependency,
    CampaignStage,
    Event,
    Experimenter,
    Job,
    Submission,
)
from poms.webservice.model.base import UtcDateTime
from poms.webservice.rules.statuses import Status
from poms.webservice.services.events import KINDS

Url = Callable[..., str]
NOT_STARTED = "Not started"

# The word under which a bar shows jobs in a state.
JOB_WORDS = {"jobs_completed": "Completed", "jobs_running": "Running", "jobs_idle": "Idle", "jobs_held": "Held",
             "jobs_failed": "Failed", "jobs_removed": "Removed"}
STATE_WORDS = {JobState.IDLE: "Idle", JobState.RUNNING: "Running", JobState.REMOVED: "Removed",
               JobState.COMPLETED: "Completed", JobState.HELD: "Held", JobState.FAILED: "Failed"}


def edges_of(links: Sequence[CampaignDependency], rows: Mapping[int, Mapping[str, Any]], *,
             into: int | None = None) -> list[dict[str, Any]]:
    """Dependencies as graphs show them: of what one stage made, how much the other took, where it takes of no other.

    ``rows``: by number, the stages that are shown. ``into``: only of this one all dependencies are known.
    """
    shown = [link for link in links if link.provider_campaign_stage_id in rows
             and link.consumer_campaign_stage_id in rows]
    feeders = Counter(link.consumer_campaign_stage_id for link in links)
    found = []
    for link in shown:
        provider, consumer = rows[link.provider_campaign_stage_id], rows[link.consumer_campaign_stage_id]
        made, taken = provider["files_out"], consumer["files_in"]
        told = feeders[link.consumer_campaign_stage_id] == 1 and made and taken and into in (
            None, link.consumer_campaign_stage_id)
        found.append({"tail": provider["name"], "head": consumer["name"], "patterns": link.file_patterns,
                      "label": f"{min(100, 100 * taken // made)} %" if told else "",
                      "waits": not consumer["total"]})
    return found


def campaign_place(campaign: Campaign | None, url: Url) -> dict[str, Any]:
    """The campaign that something belongs to, as pages name it; a stage may have been left out of its own since."""
    if campaign is None:
        return {"id": None, "name": "no campaign", "url": url("campaigns")}
    return {"id": campaign.campaign_id, "name": campaign.name, "url": url("campaign", campaign_id=campaign.campaign_id)}


def job_order() -> tuple[Any, Any]:
    """What jobs of a submission are put in order by: their numbers, 9 before 10. Longer ids are higher ones."""
    return func.length(Job.batch_id), Job.batch_id


def job_label(batch_id: str, of: str | None) -> str:
    """``.7`` for job 7 of the cluster by which a submission is known, ``123.7`` for one of another cluster."""
    cluster, _, number = batch_id.partition("@")[0].partition(".")
    return f".{number}" if cluster == (of or "").partition("@")[0].partition(".")[0] else f"{cluster}.{number}"


def job_counts(row: Submission | CampaignStage | Row[Any], *, located: bool = False) -> dict[str, int]:
    """Jobs by state of a submission or a stage, or of a row with its columns ``JOB_WORDS``.

    Once the files are located, finished jobs are shown as Located, and those that failed or were removed
    count no more: what they left was processed again, or given up.
    """
    counts = {word: number for name, word in JOB_WORDS.items() if (number := getattr(row, name))}
    if not located:
        return counts
    return {"Located" if word == "Completed" else word: number for word, number in counts.items()
            if word not in ("Failed", "Removed")}


def counted(number: int, noun: str) -> str:
    """A number with its noun: ``1 job``, ``363 jobs``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}{'es' if noun.endswith('ch') else 's'}"


def add_counts(many: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """The sum of several such counts."""
    total: dict[str, int] = {}
    for counts in many:
        add_to(total, counts)
    return total


def add_to(total: dict[str, int], counts: Mapping[str, int]) -> None:
    """Add such counts to others."""
    for word, number in counts.items():
        total[word] = total.get(word, 0) + number


def done_text(counts: Mapping[str, int]) -> str:
    """How much is done, in words: ``4 of 5 jobs``."""
    total = sum(counts.values())
    done = counts.get("Located", 0) + counts.get("Completed", 0)
    return f"{done:,} of {counted(total, 'job')}" if total else "no jobs yet"


def whole_campaign(counts: Mapping[str, int], states: Sequence[str]) -> int:
    """All jobs of a campaign whose stages are in these states, those to come estimated.

    A stage that has not begun is taken to have as many jobs as the others have on average: without
    them a campaign would seem done whenever its next stage has yet to begin.
    """
    total, begun = sum(counts.values()), sum(1 for state in states if state != NOT_STARTED)
    return -(-total * len(states) // begun) if begun else total


def percent_text(counts: Mapping[str, int], total: int | None = None) -> str:
    """The same as a share of these, or of ``total``; never 100 % while a job is missing."""
    total = sum(counts.values()) if total is None else total
    if not total:
        return "–"
    done = counts.get("Located", 0) + counts.get("Completed", 0)
    return "100 %" if done == total else f"{min(99, 100 * done // total)} %"


def names_of(session: Session, ids: Iterable[int | None]) -> dict[int | None, str]:
    """User names by id, in one statement."""
    wanted = {number for number in ids if number is not None}
    if not wanted:
        return {}
    rows = session.execute(select(Experimenter.experimenter_id, Experimenter.username)
                           .where(Experimenter.experimenter_id.in_(wanted)))
    return dict(rows.all())


def happened(session: Session, url: Url, *where: Any, limit: int = 12) -> list[dict[str, Any]]:
    """The newest events of an item, in words."""
    rows = session.execute(
        select(Event, CampaignStage.name).outerjoin(
            CampaignStage, CampaignStage.campaign_stage_id == Event.campaign_stage_id)
        .where(*where).order_by(Event.event_id.desc()).limit(limit)).all()
    return [{"at": event.at, "text": event_text(event, stage),
             "url": url("submission", submission_id=event.submission_id) if event.submission_id else ""}
            for event, stage in rows]


def event_text(event: Event, stage: str | None) -> str:
    """One event as a sentence: what, of what, and why."""
    data = event.data or {}
    text = KINDS.get(event.kind, event.kind)
    if event.kind == "submission.status":
        text = f"{data.get('new', '')}, was {data.get('old', '')}"
    where = " ".join(part for part in (stage or "", f"submission {event.submission_id}" if event.submission_id else "")
                     if part)
    reason = str(data.get("reason") or "")
    return (f"{where}: {text}" if where else text) + (f" ({reason})" if reason else "")


def stage_state(status_id: int | None) -> str:
    """The state of a stage is that of its newest submission."""
    return NOT_STARTED if status_id is None else Status(status_id).label


def created_since(moment: datetime) -> Any:
    """The condition that a submission was made then or later, as a range of numbers that an index can give.

    Numbers are given in the order of time but for the length of a transaction; an hour is spared for that. The first
    number of the range is searched for by halves, in a score of looks into the index of numbers.
    """
    return and_(Submission.created >= moment, Submission.submission_id >= _first_number(moment - _SPARED))


def first_since(session: Session, moment: datetime) -> int:
    """The first number of that range, for pages that look at the same window in several statements."""
    return int(session.scalar(_FIRST_SINCE, {"moment": moment - _SPARED}) or 0)


def _first_number(moment: Any) -> Any:
    """The number from which on submissions were made at this moment or later; a scalar subquery."""
    number = Submission.submission_id
    halves = select((func.coalesce(func.min(number), 0)).label("low"),
                    (func.coalesce(func.max(number), 0) + 1).label("high")).cte("halves", recursive=True)
    middle = (halves.c.low + halves.c.high) // 2
    one = aliased(Submission)
    made = (select(one.created).where(one.submission_id >= middle).order_by(one.submission_id).limit(1)
            .correlate(halves).scalar_subquery())
    is_older = made < moment
    halves = halves.union_all(
        select(case((is_older, middle + 1), else_=halves.c.low), case((is_older, halves.c.high), else_=middle))
        .where(halves.c.low < halves.c.high))
    return select(func.max(halves.c.low)).scalar_subquery()


_SPARED = timedelta(hours=1)
# Put together once: that takes longer than the search itself.
_FIRST_SINCE = select(_first_number(bindparam("moment", type_=UtcDateTime)))


def newest_submissions(session: Session, stages: Iterable[CampaignStage]) -> dict[int, Submission]:
    """The newest submission of each stage that has one, in one statement."""
    ids = [stage.last_submission_id for stage in stages if stage.last_submission_id is not None]
    if not ids:
        return {}
    return {row.campaign_stage_id: row
            for row in session.scalars(select(Submission).where(Submission.submission_id.in_(ids)))}


def page_of(rows: Sequence[Any], limit: int, *, before: int | None, after: int | None) -> tuple[list[Any], bool, bool]:
    """One page out of ``limit + 1`` rows fetched: the rows, newest first, and whether newer and older ones exist."""
    more = len(rows) > limit
    shown = list(rows[:limit])
    if after is not None:
        shown.reverse()
        return shown, more, True
    return shown, before is not None, more
