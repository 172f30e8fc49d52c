"""One submission: its page with its faces, and what may be done to it by hand."""

from __future__ import annotations

from poms.webservice.errors import Invalid
from poms.webservice.handlers.answers import Answer, Call, Data, Done, Page, Text
from poms.webservice.handlers.launches import launch, launched
from poms.webservice.handlers.lists import EXPORT, as_file
from poms.webservice.handlers.params import choice, count, moment, number, text
from poms.webservice.handlers.routing import Need, Routes
from poms.webservice.rules.statuses import Status
from poms.webservice.services import (
    approvals,
    candidates,
    launches,
    launching,
    lookups,
    recoveries,
    scout_verdicts,
    submissions,
    wrapup,
)
from poms.webservice.services.pages import submissions as submission_pages
from poms.webservice.services.submissions import Report

routes = Routes()
ONE = {"submission_id": number(required=True)}
VIEW_ONE = Need("view", "submission", "submission_id")
DO_ONE = Need("do", "submission", "submission_id")


SUBMISSIONS = {"state": text(limit=40), "text": text(limit=300), "since": moment(), "until": moment(),
               "sort": text(limit=40), "before": number(), "after": number(), "at": text(limit=60), **EXPORT}
"""What every list of submissions takes; ``at``: what the row of ``before`` or ``after`` had in the sorted column."""


def submission_answer(call: Call, file_name: str, **owner: int) -> Answer:
    """The submissions of a stage or campaign: a page of them, or all of them as a file."""
    which = {**owner, **{name: call[name] for name in ("state", "text", "since", "until")}}
    if call["export"]:
        return as_file(call, "submissions", file_name, **which)
    place = {name: call[name] for name in ("sort", "before", "after", "at")}
    return Page(submission_pages.submission_list(call.core, call.actor, call.url, **which, **place))


@routes.page("submission", "submission.html", permission=VIEW_ONE, path=("submission_id",), live_seconds=10,
             arguments={**ONE, "face": choice(*submission_pages.FACES), "state": text(limit=40),
                        "sort": text(limit=40), "offset": count(), **EXPORT})
def submission(call: Call) -> Answer:
    """Through which states a submission went, how its jobs and files are."""
    if call["export"]:
        if call["face"] not in ("jobs", "files"):
            raise Invalid("Only jobs and files can be had as a file.", field="export")
        which = {"state": call["state"], **({"sort": call["sort"]} if call["face"] == "jobs" else {})}
        return as_file(call, call["face"], f"{call['face']}_{call['submission_id']}",
                       submission_id=call["submission_id"], **which)
    return Page(submission_pages.submission_page(
        call.core, call.actor, call.url, call["submission_id"], face=call["face"], state=call["state"],
        sort=call["sort"], offset=call["offset"]))


@routes.answer("session_status_history", permission=VIEW_ONE, path=("submission_id",), arguments=ONE)
def status_history(call: Call) -> Answer:
    """Each change of status."""
    return Data(lookups.status_history(call.core, call["submission_id"]))


@routes.change("recover", permission=DO_ONE, arguments={**ONE, "recovery_type": text(required=True, limit=100)})
def recover(call: Call) -> Answer:
    """Launch a recovery of what a submission did not process."""
    candidate = candidates.describe(call.core, call["submission_id"], call.actor.experiment)
    request = wrapup.recovery_request(call.core, candidate, call["recovery_type"], call.request_key)
    outcome = launching.launch(call.core, call.actor, request)
    return launched(call, outcome, f"the recovery of submission {call['submission_id']}")


@routes.change("recovery_answer", permission=DO_ONE, arguments={
    **ONE, "decision_id": number(required=True), "act": choice("go_on", "give_up", required=True),
    "reason": text(limit=500)})
def recovery_answer(call: Call) -> Answer:
    """Answer what the recovery rules ask: try the files again, or give them up."""
    number_, go_on = call["submission_id"], call["act"] == "go_on"
    row = recoveries.answer(call.core, call.actor, call["decision_id"], submission_id=number_, go_on=go_on,
                            reason=call["reason"])
    files = f"{row.files:,} file{'s' if row.files != 1 else ''}"
    return Done(call.url("submission", submission_id=number_),
                f"{files} {'are' if row.files != 1 else 'is'} {'tried again' if go_on else 'given up'}",
                "" if go_on else "What follows starts at the next pass, if nothing else is outstanding.")


@routes.change("scout_answer", permission=DO_ONE, arguments={
    **ONE, "act": choice("go_on", "give_up", required=True), "reason": text(limit=500)})
def scout_answer(call: Call) -> Answer:
    """Answer what is asked about a scout: launch what waits for it, or give the rest of its input up."""
    number_, go_on = call["submission_id"], call["act"] == "go_on"
    waiting = scout_verdicts.answer(call.core, call.actor, number_, go_on=go_on, reason=call["reason"])
    launches_ = f"{waiting:,} launch{'es' if waiting != 1 else ''}"
    return Done(call.url("submission", submission_id=number_),
                f"{launches_} {'go' if waiting != 1 else 'goes'} on" if go_on else "The rest of its input is given up")


@routes.change("force_locate", permission=DO_ONE, arguments=ONE)
def force_locate(call: Call) -> Answer:
    """Take a submission as Located, whatever its files say."""
    wrapup.force_located(call.core, call.actor.username, call.actor.experiment, call["submission_id"])
    return Done(call.url("submission", submission_id=call["submission_id"]),
                f"Submission {call['submission_id']} becomes Located at the next pass")


@routes.change("force_locate_submission", permission=DO_ONE, arguments=ONE)
def force_locate_submission(call: Call) -> Answer:
    """The same for programs that know its older name."""
    wrapup.force_located(call.core, call.actor.username, call.actor.experiment, call["submission_id"])
    return Text("Ok.")


@routes.change("submission_act", permission=DO_ONE, arguments={
    **ONE, "act": choice("complete", "approve", "refuse", "relaunch", "abort", required=True),
    "reason": text(limit=500)})
def submission_act(call: Call) -> Answer:
    """Abort a launch, call a submission Completed, approve or refuse it, or launch it again on the same dataset."""
    number_, item, reason = call["submission_id"], call.item("submission_id"), call["reason"]
    here = call.url("submission", submission_id=number_)
    match call["act"]:
        case "relaunch":
            params = item.submission_params
            outcome = launch(call, item.campaign_stage_id, dataset=str(params.get("dataset") or ""),
                             test=bool(params.get("test")), note=f"again: {number_}")
            return launched(call, outcome, f"submission {number_} again")
        case "abort":
            launches.abort(call.core, call.actor.username, call.actor.experiment, number_, reason=reason)
            return Done(here, f"The launch of submission {number_} is aborted")
        case "complete":
            submissions.report(call.core, call.actor.username, Report(number_, status=Status.COMPLETED.label),
                               by_person=True)
            return Done(here, f"Submission {number_} is called Completed")
        case verdict:
            approved = verdict == "approve"
            approvals.decide(call.core, call.actor.username, call.actor.experiment, number_, approve=approved,
                             reason=reason)
            return Done(here, f"Submission {number_} is {'approved' if approved else 'refused'}",
                        "The stages that follow start at the next pass." if approved else "")
