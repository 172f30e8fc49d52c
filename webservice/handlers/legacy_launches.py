"""Launches, recoveries and files under the addresses that older pages and agents know; beside ``legacy``.

What changed something by GET is POST here.
"""

from __future__ import annotations

from datetime import UTC, datetime

from poms.webservice.errors import Invalid
from poms.webservice.handlers.answers import Answer, Call, Data, Elsewhere, Text
from poms.webservice.handlers.launches import launched
from poms.webservice.handlers.legacy import read_pairs, recovery_numbers
from poms.webservice.handlers.params import lines, loose_flag, number, number_or_name, numbers, text, texts
from poms.webservice.handlers.routing import Need, Routes
from poms.webservice.services import candidates, launches, launching, lookups, preparing, project_progress, wrapup
from poms.webservice.services.launch_requests import LaunchRequest

routes = Routes()
VIEW = Need("view", "experiment")
MOST_FILES = 5000


@routes.change("launch_recovery_for", permission=Need("do", "submission", "submission_id"), arguments={
    "submission_id": number(required=True), "recovery_type": number_or_name(required=True)})
def launch_recovery_for(call: Call) -> Answer:
    """Launch a recovery of a submission, of the type with this number or name."""
    candidate = candidates.describe(call.core, call["submission_id"], call.actor.experiment)
    request = wrapup.recovery_request(call.core, candidate, _recovery_kind(call), call.request_key)
    outcome = launching.launch(call.core, call.actor, request)
    return launched(call, outcome, f"the recovery of submission {call['submission_id']}")


def _recovery_kind(call: Call) -> str:
    named = call["recovery_type"]
    if isinstance(named, str):
        return named
    kinds = call.core.backends.data(call.actor.experiment).recovery_kinds()
    for kind, number_ in recovery_numbers(kinds).items():
        if number_ == named:
            return kind
    raise Invalid(f"There is no recovery type {named}.", field="recovery_type")


@routes.answer("launch_jobs_commands", permission=Need("do", "stage", "campaign_stage_id"), arguments={
    "campaign_stage_id": number_or_name(required=True), "dataset_override": text(limit=2000),
    "param_overrides": lines(), "test_launch": loose_flag()})
def launch_jobs_commands(call: Call) -> Answer:
    """What a launch would run, and where; nothing is written."""
    stage_id = call.item("campaign_stage_id").campaign_stage_id
    prepared = preparing.preview(call.core, call.actor, LaunchRequest(
        stage_id=stage_id, key=f"commands:{stage_id}", kind="test" if call["test_launch"] else "manual",
        test=call["test_launch"], dataset_override=call["dataset_override"],
        param_overrides=read_pairs(call["param_overrides"])))
    plan = prepared.plan_for(0)
    return Text(f"# on {plan.host or 'this host'} as {plan.account or 'the service'}\n{plan.command}\n")


@routes.change("abort_launch", permission=Need("do", "submission", "submission_id"),
               arguments={"submission_id": number(required=True)})
def abort_launch(call: Call) -> Answer:
    """Call off the launch of a submission that has no jobs yet."""
    launches.abort(call.core, call.actor.username, call.actor.experiment, call["submission_id"])
    return Text(f"The launch of submission {call['submission_id']} is called off.\n")


@routes.change("held_launches_remove", permission=Need("do", "experiment"), arguments={
    "createds": texts(required=True), "delete": text(required=True, limit=40)})
def held_launches_remove(call: Call) -> Answer:
    """Drop held launches of one's own, named by the times at which they were asked for."""
    found = lookups.own_held_launches(call.core, call.actor, [_moment(one) for one in call["createds"]])
    launches.cancel_held(call.core, call.actor.username, found, call.actor.experiment)
    return Elsewhere(call.url("held_launches"))


def _moment(sent: str) -> datetime:
    try:
        moment = datetime.fromisoformat(sent.strip())
    except ValueError:
        raise Invalid(f"{sent[:60]} is no time such as 2026-01-31 12:00:00.", field="createds") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


@routes.answer("calculate_dd_project_completion", permission=Need("administer", "service"), arguments={
    "dd_submission": number(), "dd_submissions": numbers()})
def calculate_dd_project_completion(call: Call) -> Answer:
    """For each project how many per cent of its files are consumed."""
    asked = [*call["dd_submissions"], *([call["dd_submission"]] if call["dd_submission"] else [])]
    return Data(project_progress.percent_consumed(call.core, [str(one) for one in asked]))


@routes.answer("show_dimension_files", permission=VIEW, arguments={"dims": lines(limit=10_000)})
def show_dimension_files(call: Call) -> Answer:
    """The files that a query finds, by their names."""
    if not call["dims"].strip():
        raise Invalid("Say which files are meant, such as defname: my_dataset.", field="dims")
    found = call.core.backends.data(call.actor.experiment).list(call["dims"], MOST_FILES)
    return Data({"flist": found, "dims": call["dims"]})
