"""How it went: day by day for a stage or a campaign, and the dashboard of an experiment.

Numbers come from sums and from the rows of a bounded number of newest submissions, never from counting all there
is; where the bound was reached, the page says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import Select, String, and_, case, cast, func, literal, or_, select
from sqlalchemy.orm import Session

from poms.webservice.errors import Invalid
from poms.webservice.interfaces import JobState
from poms.webservice.model import Campaign, CampaignStage, Job, StageStatusCount, Submission
from poms.webservice.rules.permissions import Actor
from poms.webservice.rules.statuses import NEEDS_PERSON, Status
from poms.webservice.services.core import Core
from poms.webservice.services.pages.common import JOB_WORDS, Url, counted, created_since

MOST_SUBMISSIONS = 20_000
"""Days are summed up over so many newest submissions."""

MOST_LOOKED_INTO = 100
"""Of so many newest submissions the single jobs are looked at, for efficiency and exit codes."""

MOST_FAILURES = 10
MOST_CAMPAIGNS = 10
DAYS = (7, 14, 31)
_SUMMED = (*JOB_WORDS, "files_consumed", "files_generated", "files_located")

_SIGNALS = {2: "interrupted", 4: "illegal instruction", 6: "aborted", 7: "bus error", 8: "arithmetic error",
            9: "killed", 11: "segmentation fault", 13: "broken pipe", 15: "told to end", 24: "CPU time limit"}


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
        newest = _newest(where, since, actor)
        per_day = _by_day(session, newest)
        looked_into = _looked_into(newest)
        jobs, exits = _jobs_by_day(session, looked_into)
    codes = sorted({code for found in exits.values() for code in found}, key=lambda code: (code == "", len(code), code))
    route, key = (("stage_submissions", "campaign_stage_id") if stage_id is not None
                  else ("campaign_submissions", "campaign_id"))
    number = stage_id if stage_id is not None else campaign_id
    rows = [{
        **row, "day": f"{day:%A}", "date": day.isoformat(),
        "url": url(route, **{key: number}, since=day.isoformat(), until=(day + timedelta(days=1)).isoformat()),
        "efficiency": _percent(*jobs.get(day, (None, None))),
        "exits": [exits.get(day, {}).get(code, 0) for code in codes],
    } for day, row in sorted(per_day.items(), reverse=True)]
    total = sum(row["submissions"] for row in rows)
    return {
        "owner": owner, "days": rows, "since": since, "exit_codes": [_exit_words(code) for code in codes],
        "windows": [{"label": f"{each} days", "url": url("sheet", **arguments, days=each), "current": each == days}
                    for each in DAYS],
        "is_cut": total >= MOST_SUBMISSIONS, "looked_into": MOST_LOOKED_INTO if total > MOST_LOOKED_INTO else 0,
        "series": _series(per_day, since, now)}


def dashboard(core: Core, actor: Actor, url: Url, *, days: int = 14) -> dict[str, Any]:
    """Submissions and jobs of the experiment by state and by day, efficiency, and what fails most."""
    now = core.clock()
    since = _first_day(now, days)
    with core.db.read() as session:
        states = _states(session, actor)
        jobs = _jobs_now(session, actor)
        newest = _newest(Submission.experiment == actor.experiment, since, actor)
        per_day = _by_day(session, newest)
        cpu, wall, looked = _efficiency(session, _looked_into(newest))
        failures = _failures(session, newest, url)
        busiest = _busiest(session, actor, url)
    live = {word: jobs[word] for word in ("Running", "Idle", "Held") if jobs.get(word)}
    submitted = sum(row["submissions"] for row in per_day.values())
    ended = {word: sum(row["jobs"].get(word, 0) for row in per_day.values()) for word in ("Completed", "Failed",
                                                                                           "Removed")}
    return {
        "windows": [{"label": f"{each} days", "url": url("dashboard", days=each), "current": each == days}
                    for each in DAYS],
        "states": [{"state": label, "submissions": count, "url": url("submissions", state=label)}
                   for label, count in states],
        "trouble": [{"state": label, "submissions": count, "url": url("submissions", state=label)}
                    for label, count in states if label in {status.label for status in NEEDS_PERSON}],
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
            {"label": "CPU efficiency", "value": _percent(cpu, wall), "unit": "", "note":
             f"{counted(looked, 'job')} of the newest {MOST_LOOKED_INTO} submissions" if looked else
             "no job has told its times"}],
        "series": _series(per_day, since, now, lambda day: url(
            "submissions", since=day.isoformat(), until=(day + timedelta(days=1)).isoformat())),
        "failures": failures, "busiest": busiest, "looked_into": MOST_LOOKED_INTO}


# ---------------------------------------------------------------------------------------- days


def _first_day(now: datetime, days: int) -> datetime:
    return (now - timedelta(days=days - 1)).replace(hour=0, minute=0, second=0, microsecond=0)


def _newest(where: Any, since: datetime, actor: Actor) -> Any:
    """The newest submissions of the window, at most so many: the index gives them in this order."""
    return (select(Submission.submission_id, Submission.created, *(getattr(Submission, name) for name in _SUMMED))
            .where(where, Submission.experiment == actor.experiment, created_since(since))
            .order_by(Submission.submission_id.desc()).limit(MOST_SUBMISSIONS).subquery())


def _by_day(session: Session, newest: Any) -> dict[date, dict[str, Any]]:
    day = func.date(newest.c.created)
    sums = [func.sum(func.coalesce(newest.c[name], 0)) for name in _SUMMED]
    rows = session.execute(select(day, func.count(), *sums).group_by(day)).all()
    found = {}
    for at, count, *numbers in rows:
        jobs = {word: int(number) for word, number in zip(JOB_WORDS.values(), numbers, strict=False) if number}
        consumed, made, located = (int(number or 0) for number in numbers[len(JOB_WORDS):])
        found[_day(at)] = {"submissions": count, "jobs": jobs, "jobs_total": sum(jobs.values()),
                           "files_in": consumed, "files_out": made, "files_located": located}
    return found


def _day(value: Any) -> date:
    """PostgreSQL gives a date, SQLite its text."""
    return value if isinstance(value, date) else date.fromisoformat(value)


def _series(per_day: dict[date, dict[str, Any]], since: datetime, now: datetime,
            link: Any = None) -> list[dict[str, Any]]:
    """Every day of the window, those without submissions too, oldest first."""
    days = [since.date() + timedelta(days=n) for n in range((now.date() - since.date()).days + 1)]
    return [{"date": day.isoformat(), "label": f"{day.day} {day:%b}", "counts": per_day[day]["jobs"] if day in per_day
             else {}, "url": link(day) if link else ""} for day in days]


def _looked_into(newest: Any) -> Any:
    return (select(newest.c.submission_id, func.date(newest.c.created).label("day"))
            .order_by(newest.c.submission_id.desc()).limit(MOST_LOOKED_INTO).subquery())


# Jobs that used much more processor time than time passed tell nonsense; such a report is left out.
_TELLS = and_(Job.cpu_seconds > 0, Job.wall_seconds > 0, Job.cpu_seconds < 10 * Job.wall_seconds)


def _jobs_by_day(session: Session, looked_into: Any) -> tuple[dict[date, tuple[float | None, float | None]],
                                                             dict[date, dict[str, int]]]:
    """Of each day: processor time and time passed of its jobs in seconds, and how many ended with which code."""
    code, ended = _code(), Job.state.in_(_ENDED)
    rows = session.execute(
        select(looked_into.c.day, code, func.sum(case((_TELLS, Job.cpu_seconds))),
               func.sum(case((_TELLS, Job.wall_seconds))), func.sum(case((ended, 1), else_=0)))
        .join(Job, Job.submission_id == looked_into.c.submission_id).group_by(looked_into.c.day, code))
    times: dict[date, tuple[float | None, float | None]] = {}
    exits: dict[date, dict[str, int]] = {}
    for at, text, cpu, wall, count in rows:
        day = _day(at)
        if wall is not None:
            before = times.get(day, (0.0, 0.0))
            times[day] = (before[0] + cpu, before[1] + wall)
        if count:
            exits.setdefault(day, {})[text] = int(count)
    return times, exits


def _efficiency(session: Session, looked_into: Any) -> tuple[float | None, float | None, int]:
    cpu, wall, jobs = session.execute(
        select(func.sum(Job.cpu_seconds), func.sum(Job.wall_seconds), func.count())
        .join(looked_into, looked_into.c.submission_id == Job.submission_id).where(_TELLS)).one()
    return cpu, wall, jobs


def _percent(cpu: float | None, wall: float | None) -> str:
    return f"{100 * cpu / wall:.0f} %" if cpu is not None and wall else "not known"


_ENDED = (int(JobState.COMPLETED), int(JobState.FAILED))


def _code() -> Any:
    """How a job ended, as one text: the exit code, or S and the signal; empty if the batch system does not say."""
    return case((Job.exit_signal.is_not(None) & (Job.exit_signal > 0),
                 literal("S") + cast(Job.exit_signal, String)),
                (Job.exit_code.is_not(None), cast(Job.exit_code, String)), else_="")


def _exit_words(code: str) -> dict[str, str]:
    """The heading of a column of exit codes, and what it means."""
    if not code:
        return {"label": "no code", "title": "the batch system told no exit code"}
    number = int(code.removeprefix("S"))
    signal = number if code.startswith("S") else number - 128 if number > 128 else 0
    why = f"signal {signal}" + (f", {_SIGNALS[signal]}" if signal in _SIGNALS else "") if signal else ""
    label = f"signal {number}" if code.startswith("S") else f"exit {number}"
    return {"label": label, "title": why or ("ended well" if number == 0 else "the program’s own code")}


# ------------------------------------------------------------------------------------- the dashboard


def _states(session: Session, actor: Actor) -> list[tuple[str, int]]:
    rows = session.execute(
        select(StageStatusCount.status_id, func.sum(StageStatusCount.submissions))
        .join(CampaignStage, CampaignStage.campaign_stage_id == StageStatusCount.campaign_stage_id)
        .where(CampaignStage.experiment == actor.experiment).group_by(StageStatusCount.status_id)
        .order_by(StageStatusCount.status_id))
    return [(Status(status_id).label, int(count)) for status_id, count in rows if count]


def _jobs_now(session: Session, actor: Actor) -> dict[str, int]:
    sums = session.execute(select(*(func.coalesce(func.sum(getattr(CampaignStage, name)), 0) for name in JOB_WORDS))
                           .where(CampaignStage.experiment == actor.experiment)).one()
    return {word: int(count) for word, count in zip(JOB_WORDS.values(), sums, strict=True) if count}


def _failures(session: Session, newest: Any, url: Url) -> list[dict[str, Any]]:
    """How jobs of the newest troubled submissions failed or why they are held, the commonest first."""
    troubled: Select[Any] = (select(newest.c.submission_id).where(or_(newest.c.jobs_failed > 0, newest.c.jobs_held > 0))
                             .order_by(newest.c.submission_id.desc()).limit(MOST_LOOKED_INTO))
    chosen = troubled.subquery()
    code, reason = _code().label("code"), case((Job.state == int(JobState.HELD), Job.hold_reason), else_="")
    rows = session.execute(
        select(Job.state, code, reason.label("reason"), func.count().label("jobs"),
               func.count(Job.submission_id.distinct()), func.max(Job.submission_id))
        .join(chosen, chosen.c.submission_id == Job.submission_id)
        .where(Job.state.in_((int(JobState.FAILED), int(JobState.HELD))))
        .group_by(Job.state, code, reason.label("reason")).order_by(func.count().desc()).limit(MOST_FAILURES)).all()
    return [{"state": "Held" if state == JobState.HELD else "Failed",
             "what": (text or "held without a reason") if state == JobState.HELD else _failure_text(exit_code),
             "jobs": jobs, "submissions": submissions, "newest": newest_id,
             "url": url("submission", submission_id=newest_id,
                        state="Held" if state == JobState.HELD else "Failed")}
            for state, exit_code, text, jobs, submissions, newest_id in rows]


def _failure_text(code: str) -> str:
    words = _exit_words(code)
    return f"{words['label']}: {words['title']}"


def _busiest(session: Session, actor: Actor, url: Url) -> list[dict[str, Any]]:
    """Campaigns with most jobs in the batch system."""
    live = func.sum(CampaignStage.jobs_running + CampaignStage.jobs_idle + CampaignStage.jobs_held)
    rows = session.execute(
        select(Campaign.campaign_id, Campaign.name, func.sum(CampaignStage.jobs_running),
               func.sum(CampaignStage.jobs_idle), func.sum(CampaignStage.jobs_held))
        .join(Campaign, Campaign.campaign_id == CampaignStage.campaign_id)
        .where(CampaignStage.experiment == actor.experiment).group_by(Campaign.campaign_id, Campaign.name)
        .having(live > 0).order_by(live.desc(), Campaign.campaign_id).limit(MOST_CAMPAIGNS)).all()
    return [{"name": name, "url": url("campaign", campaign_id=number), "bars_url": url("time_bars", campaign_id=number),
             "counts": _present(Running=running, Idle=idle, Held=held), "total": int(running + idle + held)}
            for number, name, running, idle, held in rows]


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
