"""How it went: day by day for a stage or a campaign, and the dashboard of an experiment.

Numbers come from what is stored with submissions, of a bounded number of the newest; where the bound was reached, the
page says so. Single jobs are read only for why some of them are held.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import Integer, Select, cast, func, literal, or_, select, true
from sqlalchemy.orm import Session

from poms.webservice.errors import Invalid
from poms.webservice.interfaces import JobState
from poms.webservice.model import Campaign, CampaignStage, Job, Submission
from poms.webservice.rules import endings
from poms.webservice.rules.permissions import Actor
from poms.webservice.rules.statuses import NEEDS_PERSON, Status
from poms.webservice.services.core import Core
from poms.webservice.services.pages.common import JOB_WORDS, Url, first_since

MOST_SUBMISSIONS = 20_000
"""Days are summed up over so many newest submissions."""

MOST_LOOKED_INTO = 100
"""Of so many newest submissions with trouble it is said what fails."""

MOST_HELD = 10
"""Of so many of these the held jobs are read one by one, for the reasons why they are."""

MOST_FAILURES = 10
MOST_CAMPAIGNS = 10
DAYS = (7, 14, 31)
_JOBS = (*JOB_WORDS, "cpu_seconds", "wall_seconds")
_SUMMED = (*_JOBS, "files_consumed", "files_generated", "files_located")


def sheet(core: Core, actor: Actor, url: Url, *, stage_id: int | None = None, campaign_id: int | None = None,
          days: int = 7) -> dict[str, Any]:
    """One row for each day on which something was submitted: submissions, files, jobs, efficiency, exit codes."""
    if stage_id is None and campaign_id is None:
        raise Invalid("Say which stage or campaign is meant.", field="campaign_id")
    now = core.clock()
    since = _first_day(now, days)
    where = (Submission.campaign_stage_id == stage_id) if stage_id is not None else (
        Submission.campaign_id == campaign_id)
    with core.db.read() as session:
        owner, arguments = _owner(session, url, stage_id, campaign_id)
        newest = _newest(session, where, since, actor)
        per_day, _ = _by_day(session, newest, _SUMMED)
        exits = _exits_by_day(session, newest)
    codes = sorted({code for found in exits.values() for code in found}, key=endings.code_order)
    route, key = (("stage_submissions", "campaign_stage_id") if stage_id is not None
                  else ("campaign_submissions", "campaign_id"))
    number = stage_id if stage_id is not None else campaign_id
    rows = [{
        **row, "day": f"{day:%A}", "date": day.isoformat(),
        "url": url(route, **{key: number}, since=day.isoformat(), until=(day + timedelta(days=1)).isoformat()),
        "efficiency": _percent(row["cpu_seconds"], row["wall_seconds"]),
        "exits": [exits.get(day, {}).get(code, 0) for code in codes],
    } for day, row in sorted(per_day.items(), reverse=True)]
    total = sum(row["submissions"] for row in rows)
    return {
        "owner": owner, "days": rows, "since": since, "exit_codes": [endings.code_words(code) for code in codes],
        "windows": [{"label": f"{each} days", "url": url("sheet", **arguments, days=each), "current": each == days}
                    for each in DAYS],
        "is_cut": total >= MOST_SUBMISSIONS, "series": _series(per_day, since, now)}


def dashboard(core: Core, actor: Actor, url: Url, *, days: int = 14) -> dict[str, Any]:
    """Submissions and jobs of the experiment by state and by day, efficiency, and what fails most."""
    now = core.clock()
    since = _first_day(now, days)
    with core.db.read() as session:
        newest = _newest(session, Submission.experiment == actor.experiment, since, actor)
        per_day, states = _by_day(session, newest, _JOBS)
        failures = _failures(session, newest, url)
        busiest, live = _at_work(session, actor, url)
    cpu, wall = (sum(row[name] for row in per_day.values()) for name in ("cpu_seconds", "wall_seconds"))
    submitted = sum(row["submissions"] for row in per_day.values())
    tally = [{"state": status.label, "submissions": count,
              "url": url("submissions", state=status.label, since=f"{since:%Y-%m-%d}")}
             for status, count in sorted(states.items())]
    ended = {word: sum(row["jobs"].get(word, 0) for row in per_day.values()) for word in ("Completed", "Failed",
                                                                                           "Removed")}
    return {
        "windows": [{"label": f"{each} days", "url": url("dashboard", days=each), "current": each == days}
                    for each in DAYS],
        "states": tally, "trouble": [one for one in tally if one["state"] in _TROUBLE],
        "jobs_now": live,
        "figures": [
            {"label": "Jobs now", "value": f"{sum(live.values()):,}", "unit": "in the batch system", "counts": live,
             "total": sum(live.values()), "note": ", ".join(f"{count:,} {word.lower()}" for word, count in live.items())
             or "none"},
            {"label": "Submitted", "value": f"{submitted:,}", "unit": f"in {days} days",
             "note": f"the newest {MOST_SUBMISSIONS:,} only" if submitted >= MOST_SUBMISSIONS else ""},
            {"label": "Jobs ended", "value": f"{sum(ended.values()):,}", "unit": f"in {days} days", "counts": {
                word: count for word, count in ended.items() if count}, "total": sum(ended.values()),
             "note": f"{ended['Failed']:,} failed, {ended['Removed']:,} removed"},
            {"label": "CPU efficiency", "value": _percent(cpu, wall), "unit": f"in {days} days",
             "note": f"{wall / 3600:,.0f} hours of jobs" if wall else "no job has told its times"}],
        "series": _series(per_day, since, now, lambda day: url(
            "submissions", since=day.isoformat(), until=(day + timedelta(days=1)).isoformat())),
        "failures": failures, "busiest": busiest, "looked_into": MOST_LOOKED_INTO, "held_looked_into": MOST_HELD}


# ---------------------------------------------------------------------------------------- days


def _first_day(now: datetime, days: int) -> datetime:
    return (now - timedelta(days=days - 1)).replace(hour=0, minute=0, second=0, microsecond=0)


def _newest(session: Session, where: Any, since: datetime, actor: Actor) -> Any:
    """The newest submissions of the window, at most so many: the index gives them in this order."""
    # As a subquery, whose value PostgreSQL does not guess at: it would rather read the whole window than an index.
    first = select(literal(first_since(session, since))).scalar_subquery()
    return (select(Submission.submission_id, Submission.created, Submission.status_id, Submission.job_endings,
                   *(getattr(Submission, name) for name in _SUMMED))
            .where(where, Submission.experiment == actor.experiment, Submission.created >= since,
                   Submission.submission_id >= first)
            .order_by(Submission.submission_id.desc()).limit(MOST_SUBMISSIONS).subquery())


def _by_day(session: Session, newest: Any,
            names: Sequence[str]) -> tuple[dict[date, dict[str, Any]], dict[Status, int]]:
    """The sums of each day, and how many submissions are in which state."""
    day, sums = func.date(newest.c.created), [func.sum(newest.c[name]) for name in names]
    rows = session.execute(select(day, newest.c.status_id, func.count(), *sums).group_by(day, newest.c.status_id))
    found: dict[date, dict[str, Any]] = {}
    states: dict[Status, int] = {}
    for at, status_id, count, *numbers in rows:
        states[Status(status_id)] = states.get(Status(status_id), 0) + count
        total = found.setdefault(_day(at), dict.fromkeys(("submissions", *_SUMMED), 0))
        total["submissions"] += count
        for name, number in zip(names, numbers, strict=True):
            total[name] += number or 0
    return {at: _row_of(total) for at, total in found.items()}, states


def _row_of(sums: dict[str, Any]) -> dict[str, Any]:
    jobs = {word: int(sums[name]) for name, word in JOB_WORDS.items() if sums[name]}
    return {"submissions": sums["submissions"], "jobs": jobs, "jobs_total": sum(jobs.values()),
            "files_in": int(sums["files_consumed"]), "files_out": int(sums["files_generated"]),
            "files_located": int(sums["files_located"]), "cpu_seconds": sums["cpu_seconds"],
            "wall_seconds": sums["wall_seconds"]}


def _day(value: Any) -> date:
    """PostgreSQL gives a date, SQLite its text."""
    return value if isinstance(value, date) else date.fromisoformat(value)


def _series(per_day: dict[date, dict[str, Any]], since: datetime, now: datetime,
            link: Any = None) -> list[dict[str, Any]]:
    """Every day of the window, those without submissions too, oldest first."""
    days = [since.date() + timedelta(days=n) for n in range((now.date() - since.date()).days + 1)]
    return [{"date": day.isoformat(), "label": f"{day.day} {day:%b}", "counts": per_day[day]["jobs"] if day in per_day
             else {}, "url": link(day) if link else ""} for day in days]


def _exits_by_day(session: Session, newest: Any) -> dict[date, dict[str, int]]:
    """Of each day: how many jobs ended with which code."""
    day, ending = func.date(newest.c.created), _endings_of(session, newest.c.job_endings)
    rows = session.execute(select(day, ending.c.key, func.sum(cast(ending.c.value, Integer)))
                           .select_from(newest).join(ending, true()).group_by(day, ending.c.key))
    exits: dict[date, dict[str, int]] = {}
    for at, text, jobs in rows:
        codes, code = exits.setdefault(_day(at), {}), endings.code_of(text)
        codes[code] = codes.get(code, 0) + int(jobs)
    return exits


def _endings_of(session: Session, document: Any) -> Any:
    """The entries of such a document as rows ``key`` and ``value``; beside the row that it belongs to."""
    is_postgresql = session.get_bind().dialect.name == "postgresql"
    each = func.jsonb_each_text if is_postgresql else func.json_each
    return each(document).table_valued("key", "value", name="ending")


def _percent(cpu: float, wall: float) -> str:
    return f"{100 * cpu / wall:.0f} %" if wall else "not known"


# ------------------------------------------------------------------------------------- the dashboard

_TROUBLE = {status.label for status in NEEDS_PERSON}


def _failures(session: Session, newest: Any, url: Url) -> list[dict[str, Any]]:
    """How jobs of the newest troubled submissions failed or why they are held, the commonest first."""
    chosen: Select[Any] = (
        select(newest.c.submission_id, newest.c.jobs_held, newest.c.jobs_failed, newest.c.job_endings)
        .where(or_(newest.c.jobs_failed > 0, newest.c.jobs_held > 0))
        .order_by(newest.c.submission_id.desc()).limit(MOST_LOOKED_INTO))
    troubled = session.execute(chosen).all()
    failed: dict[str, list[tuple[int, int]]] = {}
    for row in troubled:
        for text, jobs in row.job_endings.items():
            if text.startswith(endings.FAILED):
                failed.setdefault(endings.code_of(text), []).append((row.submission_id, jobs))
    found = [("Failed", _failure_text(code), sum(jobs for _, jobs in each), len(each), each[0][0])
             for code, each in failed.items()]
    reasons = session.execute(
        select(Job.hold_reason, func.count(), func.count(Job.submission_id.distinct()), func.max(Job.submission_id))
        .where(Job.submission_id.in_([row.submission_id for row in troubled if row.jobs_held][:MOST_HELD]),
               Job.state == int(JobState.HELD))
        .group_by(Job.hold_reason).order_by(func.count().desc()).limit(MOST_FAILURES))
    found += [("Held", reason or "held without a reason", *numbers) for reason, *numbers in reasons]
    found.sort(key=lambda one: -one[2])
    return [{"state": state, "what": what, "jobs": jobs, "submissions": submissions, "newest": number,
             "url": url("submission", submission_id=number, state=state)}
            for state, what, jobs, submissions, number in found[:MOST_FAILURES]]


def _failure_text(code: str) -> str:
    words = endings.code_words(code)
    return f"{words['label']}: {words['title']}"


def _at_work(session: Session, actor: Actor, url: Url) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Campaigns with most jobs in the batch system, and how many the experiment has there."""
    columns = (CampaignStage.jobs_running, CampaignStage.jobs_idle, CampaignStage.jobs_held)
    live, sums = sum(columns[1:], columns[0]), [func.sum(column) for column in columns]
    # Sums over all groups are made before the limit: one look at the stages tells both.
    busiest = (select(CampaignStage.campaign_id, *(each.label(f"of_{place}") for place, each in enumerate(sums)),
                      *(func.sum(each).over().label(f"all_{place}") for place, each in enumerate(sums)))
               .where(CampaignStage.experiment == actor.experiment, live > 0).group_by(CampaignStage.campaign_id)
               .order_by(func.sum(live).desc(), CampaignStage.campaign_id).limit(MOST_CAMPAIGNS).subquery())
    rows = session.execute(select(busiest, Campaign.name).outerjoin(
        Campaign, Campaign.campaign_id == busiest.c.campaign_id)).all()
    found = [_busy(row, url) for row in rows if row.campaign_id is not None]
    return (sorted(found, key=lambda one: -one["total"]),
            _present(Running=rows[0].all_0, Idle=rows[0].all_1, Held=rows[0].all_2) if rows else {})


def _busy(row: Any, url: Url) -> dict[str, Any]:
    counts = _present(Running=row.of_0, Idle=row.of_1, Held=row.of_2)
    return {"name": row.name, "url": url("campaign", campaign_id=row.campaign_id),
            "bars_url": url("time_bars", campaign_id=row.campaign_id), "counts": counts, "total": sum(counts.values())}


def _present(**counts: int) -> dict[str, int]:
    return {word: int(count) for word, count in counts.items() if count}


def _owner(session: Session, url: Url, stage_id: int | None,
           campaign_id: int | None) -> tuple[dict[str, Any], dict[str, int]]:
    """Whose days these are; the caller checked that they may be seen."""
    path: Sequence[dict[str, str]] = ()
    if stage_id is not None:
        stage = session.get_one(CampaignStage, stage_id)
        campaign = session.get(Campaign, stage.campaign_id) if stage.campaign_id else None
        if campaign is not None:
            path = ({"text": campaign.name, "url": url("campaign", campaign_id=campaign.campaign_id)},)
        here = url("stage", campaign_stage_id=stage_id)
        return {"name": stage.name, "url": here, "path": [*path, {"text": stage.name, "url": here}]}, {
            "campaign_stage_id": stage_id}
    campaign = session.get_one(Campaign, campaign_id)
    here = url("campaign", campaign_id=campaign_id)
    return {"name": campaign.name, "url": here, "path": [{"text": campaign.name, "url": here}]}, {
        "campaign_id": int(campaign_id or 0)}
