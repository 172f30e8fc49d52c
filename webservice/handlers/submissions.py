"""One submission: its page with its faces, and what may be done to it by hand."""

from __future__ import annotations

from poms.webservice.errors import Conflict
from poms.webservice.handlers.answers import Answer, Call, Data, Done, Page, Text
from poms.webservice.handlers.launches import launch, launched
from poms.webservice.handlers.params import choice, count, number, text
from poms.webservice.handlers.routing import Need, Routes
from poms.webservice.rules.statuses import Status
from poms.webservice.services import launching, lookups, submissions, wrapup
from poms.webservice.services.pages import submissions as submission_pages
from poms.webservice.services.submissions import Report

routes = Routes()
ONE = {"submission_id": number(required=True)}
VIEW_ONE = Need("view", "submission", "submission_id")
DO_ONE = Need("do", "submission", "submission_id")


@routes.page("submission", "submission.html", permission=VIEW_ONE, path=("submission_id",), live_seconds=10,
             arguments={**ONE, "face": choice(*submission_pages.FACES), "state": text(limit=40),
                        "sort": text(limit=40), "offset": count()})
def submission(call: Call) -> Answer:
    """Through which states a submission went, how its jobs and files are."""
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
    candidate = wrapup.describe(call.core, call["submission_id"], call.actor.experiment)
    request = wrapup.recovery_request(call.core, candidate, call["recovery_type"], call.request_key)
    outcome = launching.launch(call.core, call.actor, request)
    return launched(call, outcome, f"the recovery of submission {call['submission_id']}")


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


_MARKS = {"complete": Status.COMPLETED, "approve": Status.APPROVED, "refuse": Status.CANCELLED}


@routes.change("submission_act", permission=DO_ONE, arguments={
    **ONE, "act": choice("complete", "approve", "refuse", "relaunch", required=True)})
def submission_act(call: Call) -> Answer:
    """Call a submission Completed, approve or refuse it, or launch it again on the same dataset."""
    number_, item = call["submission_id"], call.item("submission_id")
    if call["act"] == "relaunch":
        params = item.submission_params
        outcome = launch(call, item.campaign_stage_id, dataset=str(params.get("dataset") or ""),
                         test=bool(params.get("test")), note=f"again: {number_}")
        return launched(call, outcome, f"submission {number_} again")
    waiting = Status(item.status_id) is Status.AWAITING_APPROVAL
    if call["act"] in ("approve", "refuse") and not waiting:
        raise Conflict(f"Submission {number_} does not wait for approval, it is {Status(item.status_id).label}.")
    mark = _MARKS[call["act"]]
    submissions.report(call.core, call.actor.username, Report(number_, status=mark.label), by_person=True)
    return Done(call.url("submission", submission_id=number_), f"Submission {number_} is called {mark.label}")
