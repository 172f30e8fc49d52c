"""How it went over time: time bars, day by day, the dashboard and all submissions of an experiment."""

from __future__ import annotations

from poms.webservice.handlers.answers import Answer, Call, Page
from poms.webservice.handlers.params import choice, count, moment, number, text
from poms.webservice.handlers.routing import Need, Routes
from poms.webservice.handlers.submissions import SUBMISSIONS, submission_answer
from poms.webservice.services.pages import figures, timebars

routes = Routes()
VIEW = Need("view", "experiment")
OF_STAGE = Need("view", "stage", "campaign_stage_id", optional=True)
OF_CAMPAIGN = Need("view", "campaign", "campaign_id", optional=True)
OF_SUBMISSION = Need("view", "submission", "submission_id", optional=True)


def _days(*days: int) -> dict[str, object]:
    return {"days": choice(*(str(each) for each in days))}


@routes.page("time_bars", "time_bars.html", words=("campaign_time_bars", "show_task_jobs"), live_seconds=15,
             permission=(OF_STAGE, OF_CAMPAIGN, OF_SUBMISSION), arguments={
                 "campaign_stage_id": number(), "campaign_id": number(), "submission_id": number(),
                 "tag": text(limit=200), **_days(*timebars.DAYS), "until": moment(), "before": number(),
                 "offset": count()})
def time_bars(call: Call) -> Answer:
    """Through which states submissions or jobs went, each as a bar."""
    if call["submission_id"] is not None:
        return Page(timebars.job_bars(call.core, call.actor, call.url, call["submission_id"], offset=call["offset"]))
    return Page(timebars.submission_bars(
        call.core, call.actor, call.url, stage_id=call["campaign_stage_id"], campaign_id=call["campaign_id"],
        tag=call["tag"], days=int(call["days"]), until=call["until"], before=call["before"]))


@routes.page("sheet", "sheet.html", words=("campaign_sheet",), permission=(OF_STAGE, OF_CAMPAIGN), arguments={
    "campaign_stage_id": number(), "campaign_id": number(), **_days(*figures.DAYS)})
def sheet(call: Call) -> Answer:
    """How a stage or campaign went day by day."""
    return Page(figures.sheet(call.core, call.actor, call.url, stage_id=call["campaign_stage_id"],
                              campaign_id=call["campaign_id"], days=int(call["days"])))


@routes.page("dashboard", "dashboard.html", permission=VIEW, live_seconds=30,
             arguments={"days": choice(*(str(each) for each in figures.DAYS), default="14")})
def dashboard(call: Call) -> Answer:
    """How the experiment does: submissions, jobs, efficiency, failures, by day."""
    return Page(figures.dashboard(call.core, call.actor, call.url, days=int(call["days"])))


@routes.page("submissions", "submissions.html", permission=VIEW, live_seconds=15, arguments=SUBMISSIONS)
def submissions(call: Call) -> Answer:
    """All submissions of the experiment."""
    return submission_answer(call, f"submissions_{call.actor.experiment}")
