"""Jobs: the page of one, what it wrote, and holding, releasing and removing them."""

from __future__ import annotations

from typing import Any

from poms.webservice.errors import BackendUnavailable, Invalid, NotFound
from poms.webservice.handlers.answers import Answer, Call, Data, Done, Page, Text
from poms.webservice.handlers.lists import BULK, would_do
from poms.webservice.handlers.params import choice, count, maybe, number, numbers, real, text, texts
from poms.webservice.handlers.routing import Need, Routes
from poms.webservice.interfaces import ActResult
from poms.webservice.rules.statuses import Status
from poms.webservice.services import job_logs, job_queries, jobs, lookups, removals
from poms.webservice.services.pages import bulk
from poms.webservice.services.pages import submissions as submission_pages

routes = Routes()
WHICH = choice("stdout", "stderr", "log")
ONE = {"submission_id": number(required=True), "batch_id": text(required=True, limit=300)}
VIEW_ONE = Need("view", "submission", "submission_id")
CHOSEN = (Need("do", "submission", "submission_id", optional=True),
          Need("do", "stage", "campaign_stage_id", optional=True))
_WORDS = {"hold": "held", "release": "released", "remove": "removed"}


@routes.page("job", "job.html", permission=VIEW_ONE, path=("submission_id",), arguments={**ONE, "which": WHICH},
             live_seconds=15)
def job(call: Call) -> Answer:
    """Where a job ran, why it ended as it did, what it wrote."""
    context = submission_pages.job_page(call.core, call.actor, call.url, call["submission_id"], call["batch_id"],
                                        which=call["which"])
    log, problem = _log(call, ended=context["job"]["state"] in ("Completed", "Failed", "Removed"))
    return Page({**context, "log": log, "log_problem": problem})


def _log(call: Call, *, ended: bool) -> tuple[dict[str, Any] | None, str]:
    """The end of what the job wrote, or why it cannot be had: the page is about more than its log."""
    try:
        piece = job_logs.tail(call.core, call.actor.experiment, call["batch_id"], call["which"])
    except (NotFound, BackendUnavailable) as reason:
        return None, str(reason)
    place = {name: call[name] for name in ("submission_id", "batch_id", "which")}
    return {"text": piece.text, "offset": piece.next_offset, "done": ended and piece.at_end,
            "skipped_bytes": piece.offset, "size_bytes": piece.next_offset, "url": call.url("job_log_piece", **place),
            "full_url": call.url("job_log_text", **place)}, ""


@routes.answer("job_log_piece", permission=VIEW_ONE, path=("submission_id",),
               arguments={**ONE, "which": WHICH, "offset": count()})
def job_log_piece(call: Call) -> Answer:
    """What a job wrote since ``offset``."""
    lookups.require_own_jobs(call.core, call["submission_id"], [call["batch_id"]])
    piece = job_logs.read(call.core, call.actor.experiment, call["batch_id"], call["which"], call["offset"])
    ended = lookups.job_has_ended(call.core, call["submission_id"], call["batch_id"])
    return Data({"text": piece.text, "offset": piece.next_offset, "done": ended and piece.at_end})


@routes.answer("job_log_text", permission=VIEW_ONE, path=("submission_id",), arguments={**ONE, "which": WHICH})
def job_log_text(call: Call) -> Answer:
    """All that a job wrote, as far as one answer holds it."""
    lookups.require_own_jobs(call.core, call["submission_id"], [call["batch_id"]])
    pieces, offset, at_end = [], 0, False
    while not at_end and offset < job_logs.MOST_BYTES:
        piece = job_logs.read(call.core, call.actor.experiment, call["batch_id"], call["which"], offset)
        pieces.append(piece.text)
        at_end = piece.at_end or piece.next_offset == offset
        offset = piece.next_offset
    return Text("".join(pieces))


@routes.answer("jobs_list", permission=(
    Need("view", "experiment"), Need("view", "submission", "submission_id", optional=True),
    Need("view", "stage", "campaign_stage_id", optional=True),
    Need("view", "campaign", "campaign_id", optional=True)), arguments={
        "submission_id": number(), "campaign_stage_id": number(), "campaign_id": number(), "site": text(limit=200),
        "state": maybe(*job_queries.STATES), "days": real(), "after": text(limit=300)})
def jobs_list(call: Call) -> Answer:
    """Jobs of a submission, stage or campaign, or of the last days; at one site, in one state; page by page."""
    return Data(job_queries.find_jobs(call.core, call.actor.experiment, job_queries.JobQuestion(
        call["submission_id"], call["campaign_stage_id"], call["campaign_id"], call["site"], call["state"],
        call["days"], call["after"])))


@routes.change("jobs_act", permission=CHOSEN, arguments={
    "submission_id": numbers(), "campaign_stage_id": number(), "batch_id": texts(),
    "act": choice(*_WORDS, required=True), "reason": text(limit=500), **BULK})
def jobs_act(call: Call) -> Answer:
    """Hold, release or remove jobs: those named, all of submissions, or of a stage. Or tell what that would do."""
    chosen, stage_id, batch_ids = call["submission_id"], call["campaign_stage_id"], call["batch_id"]
    if batch_ids:
        if len(chosen) != 1:
            raise Invalid("Jobs are chosen within one submission.", field="submission_id")
        lookups.require_own_jobs(call.core, chosen[0], batch_ids)
    elif stage_id is not None:
        chosen = tuple(lookups.live_submission_ids(call.core, call.actor.experiment, stage_id=stage_id))
    elif not chosen:
        raise Invalid("Choose at least one submission.", field="submission_id")
    if call["dry_run"]:
        context = (bulk.jobs_by_number(call.core, call.url, call["act"], chosen[0], batch_ids) if batch_ids
                   else bulk.jobs_of_submissions(call.core, call.actor, call.url, call["act"], chosen, call.refused))
        left = tuple(number for number in chosen if number not in call.refused)
        return would_do(call, context, "jobs_act", submission_id=left, batch_id=batch_ids, act=call["act"])
    result = _act(call, call["act"], chosen, batch_ids=batch_ids,
                  mark=Status.REMOVED if call["act"] == "remove" and not batch_ids else None)
    return Done(_back(call, chosen), _told(call["act"], result), result.message, _document(result),
                kind="problem" if result.refused else "done")


@routes.change("kill_jobs", permission=(*CHOSEN, Need("do", "campaign", "campaign_id", optional=True)), arguments={
    "submission_id": number(), "campaign_stage_id": number(), "campaign_id": number(),
    "act": choice("kill", "cancel", "hold", "release", required=True), "reason": text(limit=500)})
def kill_jobs(call: Call) -> Answer:
    """Kill, cancel, hold or release all jobs of a submission, stage or campaign."""
    if call["submission_id"] is not None:
        chosen = [call["submission_id"]]
    elif call["campaign_stage_id"] is None and call["campaign_id"] is None:
        raise Invalid("Say which submission, stage or campaign is meant.", field="submission_id")
    else:
        chosen = lookups.live_submission_ids(call.core, call.actor.experiment, campaign_id=call["campaign_id"],
                                             stage_id=call["campaign_stage_id"])
    marks = {"kill": Status.REMOVED, "cancel": Status.CANCELLED}
    action = "remove" if call["act"] in marks else call["act"]
    result = _act(call, action, chosen, mark=marks.get(call["act"]))
    return Done(_back(call, chosen), _told(action, result), result.message, _document(result),
                kind="problem" if result.refused else "done")


def _act(call: Call, action: Any, chosen: Any, *, batch_ids: tuple[str, ...] = (),
         mark: Status | None = None) -> ActResult:
    if not chosen:
        return ActResult(0, message="No submission has jobs in the batch system.")
    if mark is not None:
        return removals.remove(call.core, call.actor.username, call.actor.experiment, chosen, mark=mark,
                               reason=call["reason"])
    return jobs.act(call.core, call.actor.username, call.actor.experiment, action, chosen, batch_ids=batch_ids,
                    reason=call["reason"])


def _told(action: str, result: ActResult) -> str:
    words = f"{result.changed:,} {'job' if result.changed == 1 else 'jobs'} {_WORDS[action]}"
    return f"{words}, {result.refused:,} refused" if result.refused else words


def _document(result: ActResult) -> dict[str, Any]:
    return {"changed": result.changed, "unchanged": result.unchanged, "refused": result.refused}


def _back(call: Call, chosen: Any) -> str:
    """Where the action was asked for, as far as the request tells."""
    if call.arguments.get("back"):
        return str(call["back"])
    if call["campaign_stage_id"] is not None:
        return call.url("stage", campaign_stage_id=call["campaign_stage_id"])
    if len(chosen) == 1:
        return call.url("submission", submission_id=chosen[0])
    return call.url("home")
