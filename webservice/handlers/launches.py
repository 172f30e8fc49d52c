"""Launching a stage or a campaign, the preview of it, launches that are held, and launch logs."""

from __future__ import annotations

from typing import Any

from poms.webservice.errors import Invalid, LaunchesHeld
from poms.webservice.handlers.answers import Answer, Call, Data, Done, Page, Text
from poms.webservice.handlers.lists import BULK, EXPORT, as_file, would_do
from poms.webservice.handlers.params import choice, count, flag, loose_flag, number, numbers, text
from poms.webservice.handlers.routing import Need, Routes
from poms.webservice.rules.statuses import Status
from poms.webservice.services import (
    campaigns,
    holds,
    launch_logs,
    launch_requests,
    launches,
    launching,
    lookups,
    permissions,
)
from poms.webservice.services.launch_requests import Outcome
from poms.webservice.services.pages import bulk
from poms.webservice.services.pages import launches as launch_pages
from poms.webservice.services.undos import Change

routes = Routes()
STAGE = {"campaign_stage_id": number(required=True)}
SUBMISSION = {"submission_id": number(required=True)}


@routes.page("preview", "launch_preview.html", permission=Need("do", "stage", "campaign_stage_id"),
             path=("campaign_stage_id",), arguments={**STAGE, "test": flag(), "dataset": text()})
def preview(call: Call) -> Answer:
    """What a launch would do; nothing is written."""
    context = launch_pages.preview_page(call.core, call.actor, call.url, call["campaign_stage_id"], test=call["test"],
                                        dataset=call["dataset"])
    return Page({**context, "dataset_override": call["dataset"]})


@routes.change("launch_stage", permission=Need("do", "stage", "campaign_stage_id"), arguments={
    **STAGE, "dataset": text(), "test": flag(), "note": text(limit=200)})
def launch_stage(call: Call) -> Answer:
    """Launch a stage; the answer comes as soon as the launch is stored."""
    outcome = launch(call, call["campaign_stage_id"], dataset=call["dataset"], test=call["test"], note=call["note"])
    return launched(call, outcome, call.item("campaign_stage_id").name)


@routes.change("launch_campaign", permission=(
    Need("do", "campaign", "campaign_id"), Need("do", "stage", "campaign_stage_id", optional=True)), arguments={
        "campaign_id": number(required=True), "campaign_stage_id": number(), "test_launch": loose_flag(),
        "test": flag()})
def launch_campaign(call: Call) -> Answer:
    """Launch the stage that a campaign begins with."""
    outcome = campaigns.launch_campaign(call.core, call.actor, call["campaign_id"], call.request_key,
                                        stage_id=call["campaign_stage_id"], test=call["test_launch"] or call["test"])
    return launched(call, outcome, call.item("campaign_id").name)


def launch(call: Call, stage_id: int, *, dataset: str = "", test: bool = False, note: str = "",
           overrides: tuple[tuple[str, str], ...] = ()) -> Outcome:
    """One launch by hand; the same form sent twice launches once."""
    return launching.launch(call.core, call.actor, launch_requests.by_hand(
        stage_id, call.request_key, dataset=dataset, test=test, note=note, overrides=overrides))


def launched(call: Call, outcome: Outcome, name: str) -> Answer:
    """Where a launch can be followed. Programs learn of a held one as 423, as they always did."""
    data = {"state": outcome.state, "launch_id": outcome.launch_id, "submission_id": outcome.submission_id}
    if outcome.state == "held":
        if call.wants != "json" and not call.identity.via_browser:
            raise LaunchesHeld(outcome.message)
        return Done(call.url("held_launches"), f"The launch of {name} is kept for later", outcome.message, data,
                    kind="problem")
    if outcome.submission_id is None:
        return Done(call.url("campaigns"), f"The launch of {name}: {outcome.state}", outcome.message, data)
    where = call.url("submission", submission_id=outcome.submission_id) if call.identity.via_browser \
        else legacy_log_url(call, outcome.submission_id)
    return Done(where, f"Launched {name} as submission {outcome.submission_id}", "", data)


def legacy_log_url(call: Call, submission_id: int) -> str:
    """The address by which programs learn the number: it is what stands after the last underscore."""
    row = lookups.launch_of_submission(call.core, call.actor.experiment, submission_id)
    fallback = f"{call.actor.username}_{submission_id}"
    name = (row.log_name or fallback).rpartition("/")[2] if row is not None else fallback
    return call.url("list_launch_file", campaign_stage_id=row.campaign_stage_id if row else None, fname=name)


# ------------------------------------------------------------------------------------------ held


@routes.page("held_launches", "held_launches.html", permission=Need("view", "experiment"), live_seconds=15,
             arguments={"text": text(limit=200), "sort": text(limit=40), "after": number(), "offset": count(),
                        **EXPORT})
def held_launches(call: Call) -> Answer:
    """Launches that wait until somebody lets them go."""
    if call["export"]:
        return as_file(call, "held_launches", f"held_launches_{call.actor.experiment}", text=call["text"])
    place = {name: call[name] for name in ("text", "sort", "after", "offset")}
    return Page(launch_pages.held_page(call.core, call.actor, call.url, **place))


@routes.change("held_launches_act", permission=Need("do", "launch", "launch_id"), arguments={
    "launch_id": numbers(required=True), "act": choice("release", "delete", "retry", required=True),
    "per_minute": number(), **BULK})
def held_launches_act(call: Call) -> Answer:
    """Let held launches go, all at once or some each minute, or drop them; make failed ones in one's own name."""
    if call["dry_run"] and call["act"] != "retry":
        context = bulk.held_launches(call.core, call.actor, call.url, call["act"], call["launch_id"], call.refused)
        return would_do(call, context, "held_launches_act", launch_id=call.allowed("launch_id"), act=call["act"])
    if call["act"] == "retry":
        changed = launches.take_over(call.core, call.actor, call["launch_id"])
        return Done(call.url("home"), f"{changed} of {len(call['launch_id'])} launches are made in your name",
                    data={"changed": changed})
    who = (call.core, call.actor.username, call["launch_id"], call.actor.experiment)
    change = Change(call.core, call.actor, f"{len(call['launch_id'])} held launches deleted")
    if call["act"] == "release":
        changed, word = launches.release_held(*who, per_minute=call["per_minute"]), "released"
        word += f", {call['per_minute']:,} each minute" if call["per_minute"] else ""
    else:
        changed, word = launches.cancel_held(*who, undo=change), "deleted"
    return Done(call["back"] or call.url("held_launches"),
                f"{changed} of {len(call['launch_id'])} held launches {word}", data={"changed": changed},
                undo=change.offer)


@routes.change("launch_gate", permission=Need("modify", "experiment"), arguments={
    "act": choice("hold", "allow", required=True), "scope": choice("experiment", "service"),
    "reason": text(limit=500)})
def launch_gate(call: Call) -> Answer:
    """Keep back, or let go, the launches of the experiment or of the whole service."""
    hold, reason = call["act"] == "hold", call["reason"]
    if call["scope"] == "service":
        permissions.require_general(call.actor, "administer", "service")
        holds.hold_service(call.core, call.actor, hold=hold, reason=reason)
        return Done(call.url("held_launches"), f"All launches are {'kept for later' if hold else 'allowed'}")
    change = Change(call.core, call.actor,
                    f"Launches of {call.actor.experiment} are {'kept for later' if hold else 'allowed'}")
    holds.hold_experiment(call.core, call.actor, hold=hold, reason=reason, undo=change)
    return Done(call.url("held_launches"), change.title, undo=change.offer)


@routes.change("set_job_launches", permission=Need("administer", "service"), arguments={
    "hold": choice("hold", "allowed", required=True), "reason": text(limit=500)})
def set_job_launches(call: Call) -> Answer:
    """Keep back, or let go, the launches of the whole service."""
    holds.hold_service(call.core, call.actor, hold=call["hold"] == "hold", reason=call["reason"])
    return Done(call.url("home"), f"Job launches: {call['hold']}")


# ------------------------------------------------------------------------------------- launch log


@routes.page("launch_log", "launch_log.html", permission=Need("view", "submission", "submission_id"),
             path=("submission_id",), arguments=SUBMISSION, live_seconds=5)
def launch_log(call: Call) -> Answer:
    """What the launch script of a submission writes."""
    number_, submission = call["submission_id"], call.item("submission_id")
    piece = launch_logs.read(call.core, call.actor.experiment, number_)
    row = lookups.launch_of_submission(call.core, call.actor.experiment, number_)
    plan: dict[str, Any] = (row.plan or {}) if row else {}
    facts = [f"{plan.get('host') or 'this host'} as {plan.get('account') or 'the service'}"] if plan else []
    if row is not None and row.message:
        facts.append(row.message)
    return Page({
        "title": f"Launch of submission {number_}",
        "path": [{"text": submission.stage.name,
                  "url": call.url("stage", campaign_stage_id=submission.campaign_stage_id)},
                 {"text": f"Submission {number_}", "url": call.url("submission", submission_id=number_)}],
        "state_now": Status(submission.status_id).label, "facts": facts, "submission_id": number_,
        "log": {"text": piece.text, "offset": piece.next_offset, "done": piece.ended, "skipped_bytes": 0,
                "size_bytes": piece.next_offset, "url": call.url("launch_log_piece", submission_id=number_),
                "full_url": call.url("launch_log_text", submission_id=number_)},
        "may": {"abort": submission.status_id == Status.NEW and permissions.may(call.actor, "do", "submission",
                                                                                submission)}})


@routes.answer("launch_log_piece", permission=Need("view", "submission", "submission_id"), path=("submission_id",),
               arguments={**SUBMISSION, "offset": count()})
def launch_log_piece(call: Call) -> Answer:
    """What came since ``offset``."""
    piece = launch_logs.read(call.core, call.actor.experiment, call["submission_id"], call["offset"])
    return Data({"text": piece.text, "offset": piece.next_offset, "done": piece.ended})


@routes.answer("launch_log_text", permission=Need("view", "submission", "submission_id"), path=("submission_id",),
               arguments=SUBMISSION)
def launch_log_text(call: Call) -> Answer:
    """The whole launch log as text."""
    return Text(whole_launch_log(call, call["submission_id"]))


@routes.answer("list_launch_file", permission=(
    Need("view", "submission", "submission_id", optional=True), Need("view", "experiment")), arguments={
        "submission_id": number(), "campaign_stage_id": number(), "fname": text(limit=300)})
def list_launch_file(call: Call) -> Answer:
    """The launch log under its older address; only the number in the name counts, it never forms a path."""
    wanted = call["submission_id"]
    if wanted is None:
        digits = call["fname"].rpartition("_")[2]
        if not (digits.isascii() and digits.isdigit() and len(digits) < 10):
            raise Invalid("The name of a launch log ends in _ and a submission's number.", field="fname")
        wanted = int(digits)
    return Text(whole_launch_log(call, wanted))


def whole_launch_log(call: Call, submission_id: int) -> str:
    """All pieces of a launch log; launches are limited in what they may print."""
    pieces, offset = [], 0
    while True:
        piece = launch_logs.read(call.core, call.actor.experiment, submission_id, offset)
        pieces.append(piece.text)
        if piece.next_offset <= offset:
            return "".join(pieces)
        offset = piece.next_offset
