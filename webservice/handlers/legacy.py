"""Addresses and answers that existing clients, wrappers and bookmarks know, on the same services as the pages.

Texts such as ``Ok.`` and ``Task=12`` and the keys of JSON answers are a contract. What failed with
status 200 before now has the status that it means.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from poms.webservice.errors import Conflict, Invalid, NotFound
from poms.webservice.handlers.answers import Answer, Call, Data, Done, Elsewhere, Text
from poms.webservice.handlers.failures import MethodNotAllowed
from poms.webservice.handlers.launches import launch, launched
from poms.webservice.handlers.params import (
    BIGGEST_ID,
    flag,
    lines,
    loose_flag,
    moment,
    number,
    number_or_name,
    numbers,
    real,
    text,
    upload,
)
from poms.webservice.handlers.routing import Known, Need, Routes
from poms.webservice.rules.campaign_text import RECOVERY_TYPES
from poms.webservice.rules.statuses import Status
from poms.webservice.services import (
    campaigns,
    duties,
    holds,
    housekeeping,
    lookups,
    people,
    permissions,
    registering,
    submissions,
    tags,
)
from poms.webservice.services.launches import AGENT
from poms.webservice.services.registering import Registration
from poms.webservice.services.submissions import Report

routes = Routes()
VIEW = Need("view", "experiment")
WINDOW = {"tmin": moment(), "tmax": moment(), "tdays": real()}
NAME = text(required=True, limit=200)
LONGEST_COMMAND = 20_000
LONGEST_BATCH = 900_000
JOB_COUNTS = ("idle", "running", "held", "completed", "failed", "removed")


# --------------------------------------------------------------------------------- names and ids


@routes.answer("experiment_list", permission=Known("which experiments there are is no secret to people of any"))
def experiment_list(call: Call) -> Answer:
    """Names of the active experiments."""
    return Data(people.list_experiments(call.core))


@routes.answer("campaign_list_json", permission=VIEW)
def campaign_list_json(call: Call) -> Answer:
    """The stages of the experiment, under the name that they were given before there were campaigns."""
    return Data([{name: row[name] for name in ("campaign_stage_id", "name", "experiment")}
                 for row in lookups.list_stages(call.core, call.actor.experiment)])


@routes.answer("get_campaign_id", permission=VIEW, arguments={"campaign_name": NAME})
def get_campaign_id(call: Call) -> Answer:
    """The number of a campaign, null if there is none of this name."""
    return Data(lookups.find_campaign_id(call.core, call.actor.experiment, call["campaign_name"]))


@routes.answer("get_campaign_name", permission=Need("view", "campaign", "campaign_id"),
               arguments={"campaign_id": number(required=True)})
def get_campaign_name(call: Call) -> Answer:
    """The name of a campaign."""
    return Text(call.item("campaign_id").name)


@routes.answer("get_campaign_stage_id", permission=VIEW,
               arguments={"campaign_name": NAME, "campaign_stage_name": NAME})
def get_campaign_stage_id(call: Call) -> Answer:
    """The number of a stage, null if there is none of this name."""
    return Data(lookups.find_stage_id(call.core, call.actor.experiment, call["campaign_name"],
                                      call["campaign_stage_name"]))


@routes.answer("get_campaign_stage_name", permission=Need("view", "stage", "campaign_stage_id"),
               arguments={"campaign_stage_id": number(required=True)})
def get_campaign_stage_name(call: Call) -> Answer:
    """Names of a stage's campaign and of the stage."""
    stage = call.item("campaign_stage_id")
    return Data([stage.campaign.name if stage.campaign else None, stage.name])


# --------------------------------------------------------------------------------------- reading


ECHOED = {"pcl_call": text(limit=20), "test": text(limit=40)}
"""What older clients send beside what they mean, and find again in the answer."""

WHOSE = {name: text(limit=20) for name in ("view_mine", "view_others", "view_analysis", "view_production")}


@routes.answer("show_campaigns", permission=VIEW, arguments={
    "view_inactive": text(), "view_active": text(), "update_view": text(), **WHOSE, "action": text(limit=20),
    "del_campaign_name": text(limit=200), "del_campaign_id": number(), **ECHOED})
def show_campaigns(call: Call) -> Answer:
    """The campaigns with their stages for programs; the page for people. By POST, ``action=delete`` deletes one.

    Which are shown, by whether they are active, whose they are and of which role, counts only with ``update_view``.
    """
    if call["action"] == "delete":
        return _delete_campaign(call)
    if call.wants != "json":
        return Elsewhere(call.url("campaigns"))
    active: bool | None = True
    if call["view_inactive"]:
        active = None if call["view_active"] or not call["update_view"] else False
    rows = [row for row in lookups.list_campaigns(call.core, call.actor.experiment, active=active)
            if not call["update_view"] or _is_wanted(call, row)]
    mine = call.actor.experimenter_id
    shown = {name: call[name] or None for name in WHOSE} if call["update_view"] else {
        "view_mine": mine, "view_others": mine, "view_analysis": "view_analysis", "view_production": "view_production"}
    idle = [row["last_activity_at"] for row in rows]
    return Data({"tl": rows, "last_activity": _long_ago(call, max(idle)) if idle else "", "msg": "OK",
                 "experiment": call.actor.experiment, "role": call.actor.role,
                 "data": {"view_active": "view_active" if active is not False else None,
                          "view_inactive": "view_inactive" if active is not True else None, **shown,
                          "watching": lookups.watched_campaigns(call.core, call.actor),
                          "authorized": [_may_modify(call, row) for row in rows],
                          "authorized_shifter": [True for _ in rows]}}, old_times=True)


def _is_wanted(call: Call, row: dict[str, Any]) -> bool:
    """Whether the flags of a changed view let a campaign through; without any of a pair, both kinds are shown."""
    own = "view_mine" if row["creator"] == call.actor.experimenter_id else "view_others"
    role = "view_analysis" if row["creator_role"] == "analysis" else "view_production"
    return all(call[chosen] or not any(call[name] for name in pair) for chosen, pair in (
        (own, ("view_mine", "view_others")), (role, ("view_analysis", "view_production"))))


def _long_ago(call: Call, moment: Any) -> str:
    """When something was last done, if that is more than a week ago."""
    return f"{moment:%Y-%m-%d %H:%M:%S}" if call.core.clock() - moment > timedelta(days=7) else ""


def _delete_campaign(call: Call) -> Answer:
    """As its clients expect, what came of it stands in ``msg``, whatever it is."""
    if call.method != "POST":
        raise MethodNotAllowed("Campaigns are deleted by POST only.", ("POST",))
    name, campaign_id = call["del_campaign_name"], call["del_campaign_id"]
    if campaign_id is None:
        campaign_id = lookups.find_campaign_id(call.core, call.actor.experiment, name)
    try:
        if campaign_id is None:
            raise NotFound(f"The campaign '{name}' does not exist.")
        gone = campaigns.delete_campaign(call.core, call.actor, campaign_id)
        said = f"Campaign named {gone} with campaign_id {campaign_id} and related CampagnStages were deleted."
    except (NotFound, Conflict) as reason:
        said = str(reason)
    return Data({"tl": None, "last_activity": "", "msg": said, "data": None, "action": "delete",
                 "del_campaign_name": name, "experiment": call.actor.experiment, "role": call.actor.role,
                 **echoed(call)})


def echoed(call: Call) -> dict[str, Any]:
    """Older answers repeat what was sent, as far as anything was."""
    return {name: call[name] for name in ECHOED if call[name]}


def _may_modify(call: Call, row: dict[str, Any]) -> bool:
    from poms.webservice.rules.permissions import refusal

    return refusal(call.actor, "modify", owner_role=row["creator_role"], owner_id=row["creator"]) is None


@routes.answer("show_campaign_stages", permission=VIEW, arguments={
    "campaign_name": text(limit=200), "campaign_id": number(), **WINDOW})
def show_campaign_stages(call: Call) -> Answer:
    """The stages of a campaign for programs; its page for people."""
    campaign_id = call["campaign_id"]
    if call["campaign_name"]:
        campaign_id = lookups.find_campaign_id(call.core, call.actor.experiment, call["campaign_name"])
        if campaign_id is None:
            raise NotFound(f"There is no campaign {call['campaign_name']} in {call.actor.experiment}.")
    if call.wants != "json":
        return Elsewhere(call.url("campaign", campaign_id=campaign_id) if campaign_id else call.url("campaigns"))
    since, until = _window(call)
    span = _span(call, since, until)
    stages = lookups.list_stages(call.core, call.actor.experiment, campaign_id=campaign_id)
    return Data({"campaign_stages": stages, "campaign_name": call["campaign_name"],
                 "experiment": call.actor.experiment, "role": call.actor.role, **span,
                 "time_range_string": f"{span['tmins']} to {span['tmaxs']}", "data": {"authorized": [
                     _may_modify(call, row) for row in stages]}, "template": "campaign", "key": "",
                 "limit_experiment": call.actor.experiment}, old_times=True)


@routes.answer("campaign_stage_submissions", permission=(
    VIEW, Need("view", "stage", "campaign_stage_id", optional=True),
    Need("view", "campaign", "campaign_id", optional=True)), arguments={
        "campaign_name": text(limit=200), "stage_name": text(limit=200), "campaign_stage_id": number(),
        "campaign_id": number(), **WINDOW})
def campaign_stage_submissions(call: Call) -> Answer:
    """The submissions of a stage or campaign for programs; the page for people."""
    if call.wants != "json":
        if call["campaign_stage_id"]:
            return Elsewhere(call.url("stage_submissions", campaign_stage_id=call["campaign_stage_id"]))
        campaign_id = call["campaign_id"] or lookups.find_campaign_id(
            call.core, call.actor.experiment, call["campaign_name"])
        return Elsewhere(call.url("campaign_submissions", campaign_id=campaign_id) if campaign_id
                         else call.url("campaigns"))
    since, until = _window(call)
    stage = "" if call["stage_name"] == "*" else call["stage_name"]
    rows = lookups.list_submissions(
        call.core, call.actor.experiment, campaign=call["campaign_name"], stage=stage, since=since, until=until,
        campaign_id=call["campaign_id"], stage_id=call["campaign_stage_id"])
    parents = {row["submission_id"]: row.pop("parent") for row in rows}
    return Data({"campaign_name": call["campaign_name"], "stage_name": call["stage_name"], "data": {
        **_span(call, since, until), "tminsec": 0 if since is None else int(since.timestamp()),
        "submissions": rows, "depends": parents, "depth": {number_: _depth(number_, parents) for number_ in parents},
        "darrow": dict.fromkeys(parents, "")}}, old_times=True)


def _span(call: Call, since: Any, until: Any) -> dict[str, Any]:
    """The time window as older answers tell it; all of it fits in one answer, so nothing is before or after."""
    last = until or call.core.clock()
    days = None if since is None else round((last - since).total_seconds() / 86400, 3)
    return {"tmin": since, "tmax": until, "tmins": "" if since is None else f"{since:%Y-%m-%d %H:%M:%S}",
            "tmaxs": f"{last:%Y-%m-%d %H:%M:%S}", "tdays": days, "nextlink": "", "prevlink": ""}


def _window(call: Call) -> tuple[Any, Any]:
    """The time window of the request; without one, all there is."""
    since, until, days = call["tmin"], call["tmax"], call["tdays"]
    try:
        if days is not None and since is None:
            since = (until or call.core.clock()) - timedelta(days=days)
        elif days is not None and until is None:
            until = since + timedelta(days=days)
    except OverflowError:
        raise Invalid(f"tdays: {days} days lead to no date of any calendar; give fewer.") from None
    return since, until


def _depth(submission: int, parents: dict[int, int | None]) -> int:
    depth, parent = 0, parents[submission]
    while parent in parents and depth < len(parents):
        depth, parent = depth + 1, parents[parent]
    return depth


@routes.answer("submission_details", permission=Need("view", "submission", "submission_id"),
               arguments={"submission_id": number(required=True)})
def submission_details(call: Call) -> Answer:
    """All about a submission for programs; its page for people."""
    if call.wants != "json":
        return Elsewhere(call.url("submission", submission_id=call["submission_id"]))
    document = lookups.submission_document(call.core, call.actor.experiment, call["submission_id"])
    kinds = call.core.backends.data(call.actor.experiment).recovery_kinds()
    numbers_ = recovery_numbers(kinds)
    counts = [[name, document["submission"].get(f"jobs_{name}", 0), ""] for name in JOB_COUNTS]
    # The number comes back as the text in which it was asked for.
    return Data({**document, "submission_id": str(call["submission_id"]),
                 "recoverymap": {kind: [numbers_[kind], words] for kind, words in kinds.items()},
                 "statuses": counts, "ds": f"{document['submission']['created']:%Y%m%d_%H%M%S}"}, old_times=True)


def recovery_numbers(kinds: Iterable[str]) -> dict[str, int]:
    """Numbers of recovery types, which older programs use: always the same for those that POMS has had for long."""
    known = {kind: number_ for number_, kind in enumerate(RECOVERY_TYPES, 1)}
    others = sorted(set(kinds) - set(known))
    return known | {kind: number_ for number_, kind in enumerate(others, 100)}


@routes.answer("running_submissions", permission=VIEW, arguments={"campaign_id_list": text(limit=LONGEST_COMMAND)})
def running_submissions(call: Call) -> Answer:
    """How many submissions of each campaign run; without a list, every one that does."""
    listed = [piece.strip() for piece in call["campaign_id_list"].split(",") if piece.strip()]
    if not listed:
        return Data(lookups.list_running(call.core, call.actor.experiment))
    # Pages end their lists with -1.
    wanted = [int(piece) for piece in listed if piece.isascii() and piece.isdigit() and len(piece) < 10]
    return Data(lookups.running_submissions(call.core, call.actor.experiment, wanted))


@routes.answer("campaign_stage_datasets", permission=Need("administer", "service"))
def campaign_stage_datasets(call: Call) -> Answer:
    """Projects in use in all experiments, by stage."""
    return Data(lookups.stage_datasets(call.core))


# ------------------------------------------------------------------------------------- campaigns


@routes.answer("campaign_deps_ini", permission=(
    VIEW, Need("view", "campaign", "name", optional=True), Need("view", "campaign", "campaign_id", optional=True),
    Need("view", "stage", "stage_id", optional=True)), arguments={
        "name": text(limit=200), "campaign_id": number(), "stage_id": number(), "full": flag()})
def campaign_deps_ini(call: Call) -> Answer:
    """The text of a campaign; node positions only if ``full``."""
    for argument in ("name", "campaign_id", "stage_id"):
        if argument in call.items:
            item = call.item(argument)
            name = item.campaign.name if argument == "stage_id" and item.campaign else item.name
            return Text(campaigns.text_of(call.core, call.actor, name, with_positions=call["full"]), "text/ini")
    raise Invalid("Say which campaign is meant.", field="name")


@routes.change("ini_to_campaign", permission=Need("create", "experiment"), arguments={
    "upload": upload(), "dry_run": flag(), "replace": text(limit=20), **ECHOED})
def ini_to_campaign(call: Call) -> Answer:
    """Save a campaign's text; what is wrong with it is told in the answer, as clients expect, with status 200."""
    sent = call["upload"]
    if sent is None:
        return Data("Pick the file first!")
    said = {"upload": "<uploaded_file_data>", **({"replace": call["replace"]} if call["replace"] else {}),
            **echoed(call)}
    result = campaigns.save_text(call.core, call.actor, sent.data, source="client", dry_run=call["dry_run"])
    if result.problems:
        return Data({"status": "400 Bad Request", "message": [f"Error: {problem}" for problem in result.problems],
                     "problems": result.problems, **said})
    return Data({"status": "201 Created" if not result.dry_run else "200 OK",
                 "message": [f"Warning: {warning}" for warning in result.warnings] or "OK",
                 "campaign_id": result.campaign_id, "campaign_stage_ids": [list(stage) for stage in result.stages],
                 "version": result.version, "changed": result.changed, **said})


@routes.change("mark_campaign_active", permission=Need("modify", "campaign", "campaign_id"), arguments={
    "campaign_id": numbers(required=True), "is_active": text(required=True, limit=20), "clear_cron": flag()},
    renames={"camp_l": "campaign_id"})
def mark_campaign_active(call: Call) -> Answer:
    """Make campaigns active or inactive."""
    active = call["is_active"].lower() in ("true", "active", "1")
    changed = campaigns.set_active(call.core, call.actor, call["campaign_id"], active,
                                   clear_schedules=call["clear_cron"])
    return Done(call.url("campaigns"), f"{changed} campaigns changed", data={"changed": changed})


@routes.change("link_tags", permission=Need("modify", "campaign", "campaign_id"), arguments={
    "campaign_id": numbers(required=True), "tag_name": text(required=True, limit=80)})
def link_tags(call: Call) -> Answer:
    """Put a tag on campaigns."""
    campaigns.add_tag(call.core, call.actor, call["campaign_id"], call["tag_name"])
    tag_id = tags.find_tag_id(call.core, call.actor.experiment, call["tag_name"])
    return Data({"campaign_id": ",".join(map(str, call["campaign_id"])), "tag_name": call["tag_name"],
                 "tag_id": tag_id, "msg": "OK"})


@routes.change("mark_campaign_hold", permission=Need("do", "stage", "ids2HR"), arguments={
    "ids2HR": numbers(required=True), "is_hold": text(required=True, limit=20), "reason": text(limit=500),
    "clear_cron": flag(None)})
def mark_campaign_hold(call: Call) -> Answer:
    """Keep back, or let go, the launches of stages.

    Those held lose their schedules unless ``clear_cron`` is no; who may not change a stage leaves its schedule alone.
    """
    if call["is_hold"] not in ("Hold", "Queue", "Release"):
        raise Invalid("The action is not supported. You can only Hold/Queue or Release.", field="is_hold")
    clear = call["clear_cron"]
    if clear is None:
        clear = all(permissions.may(call.actor, "modify", "stage", stage) for stage in call.items["ids2HR"])
    changed = holds.hold_stages(call.core, call.actor, call["ids2HR"], hold=call["is_hold"] != "Release",
                                reason=call["reason"], clear_schedules=clear)
    return Done(call.url("campaigns"), f"{changed} stages changed", data={"changed": changed})


# ------------------------------------------------------------------------- launches and reports


@routes.change("launch_jobs", program_get=True, permission=Need("do", "stage", "campaign_stage_id"), arguments={
    "campaign_stage_id": number_or_name(required=True), "dataset_override": text(limit=2000),
    "param_overrides": lines(), "test_launch": loose_flag(), "parent": text(limit=200)})
def launch_jobs(call: Call) -> Answer:
    """Launch a stage; the number of the submission is what stands after the last underscore of the Location."""
    stage = call.item("campaign_stage_id")
    outcome = launch(call, stage.campaign_stage_id, dataset=call["dataset_override"], test=call["test_launch"],
                     note=call["parent"], overrides=read_pairs(call["param_overrides"]))
    return launched(call, outcome, stage.name)


def read_pairs(sent: str) -> tuple[tuple[str, str], ...]:
    """Parameter overrides: JSON, a list of pairs."""
    if sent.strip() in ("", "None", "null"):
        return ()
    try:
        pairs = json.loads(sent)
        return tuple((str(key), str(value)) for key, value in pairs)
    except (ValueError, TypeError, RecursionError):
        raise Invalid('must be a JSON list of pairs, such as [["-Oglobal.n=", "5"]]',
                      field="param_overrides") from None


@routes.change("update_submission", program_get=True, permission=Need(
    "do", "reported_submission", "submission_id"), arguments={
    "submission_id": number(required=True), "jobsub_job_id": text(limit=200), "status": text(limit=50),
    "project": text(limit=300), "pct_complete": real()})
def update_submission(call: Call) -> Answer:
    """A report about a submission. The agent, known by its name, never moves one out of a final status."""
    # Wrappers say New of jobs that they submitted; that never takes a submission back to its beginning.
    standing = call.item("submission_id")
    begins = Status(standing.status_id) in (Status.LAUNCH_FAILED, Status.APPROVED)
    status = "" if call["status"] == Status.NEW.label and not begins else call["status"]
    submissions.report(call.core, call.actor.username, Report(
        call["submission_id"], status=status, jobsub_job_id=call["jobsub_job_id"], project=call["project"],
        pct_complete=call["pct_complete"]), by_person=call.actor.username != AGENT, standing=standing)
    return Text("Ok.")


@routes.change("get_submission_id_for", program_get=True, words=("get_task_id_for",), permission=(
    Need("do", "experiment"), Need("do", "submission", "submission_id", optional=True)), arguments={
        "campaign_stage_id": number_or_name(), "command_executed": lines(limit=LONGEST_COMMAND),
        "parent_submission_id": number(), "submission_id": number(), "launch_time": text(limit=60)},
    renames={"campaign": "campaign_stage_id", "task_id": "submission_id", "parent_task_id": "parent_submission_id"})
def get_submission_id_for(call: Call) -> Answer:
    """The number under which a command that somebody runs is followed; nothing else is in the answer."""
    command = call["command_executed"]
    if call["submission_id"] is not None:
        found = registering.describe(call.core, call.actor, call["submission_id"], command=command)
        return Text(f"Task={found}")
    stage = call["campaign_stage_id"]
    if stage is None:
        raise Invalid("is required", field="campaign_stage_id")
    number_ = stage if isinstance(stage, int) else registering.find_stage(call.core, call.actor.experiment, stage)
    permissions.check(call.core, call.actor, "do", "stage", number_)
    found = registering.register(call.core, call.actor, Registration(
        number_, command, call["parent_submission_id"], call["launch_time"]))
    return Text(f"Task={found}")


@routes.change("update_submissions", permission=Need("administer", "service"), arguments={
    "submission_updates": lines(limit=LONGEST_BATCH)})
def update_submissions(call: Call) -> Answer:
    """Reports about many submissions; for each whether it is known."""
    if not call["submission_updates"].strip():
        return Data({"status": "Failed", "message": "No data in request."})
    try:
        reports = [_report(number_, said) for number_, said in json.loads(call["submission_updates"]).items()]
    except (ValueError, TypeError, AttributeError, RecursionError) as problem:
        raise Invalid(f"must be JSON, an object of objects by submission: {problem}"[:300],
                      field="submission_updates") from None
    known = {str(one.submission_id): submissions.report(call.core, call.actor.username, one, by_person=False)
             for one in reports}
    return Data({"status": "Success", "response": known})


def _report(number_: str, said: dict[str, Any]) -> Report:
    """One report of a batch; raises ValueError or TypeError for what is none."""
    submission_id = int(number_)
    if not 0 < submission_id <= BIGGEST_ID:
        raise ValueError(f"there is no submission {number_[:20]}")
    fields = {name: str(said.get(name) or "")[:300] for name in ("status", "jobsub_job_id", "project")}
    percent = said.get("pct_complete")
    done = None if percent in (None, "") else float(percent)
    if done is not None and not 0 <= done <= 100:
        raise ValueError(f"pct_complete of {submission_id} is no percentage")
    return Report(submission_id, pct_complete=done, **fields)


# --------------------------------------------------------------------------- the operator's cron


@routes.change("wrapup_tasks", program_get=True, permission=Need("administer", "service"))
def wrapup_tasks(call: Call) -> Answer:
    """Have the agents wrap up what is completed, now instead of at the next pass."""
    return _asked_for(call, "wrapup:")


@routes.change("mark_failed_submissions", program_get=True, permission=Need("administer", "service"))
def mark_failed_submissions(call: Call) -> Answer:
    """Have the agents look after launches of which nothing was seen, now instead of at the next pass."""
    return _asked_for(call, "upkeep:")


def _asked_for(call: Call, prefix: str) -> Answer:
    names = duties.ask_for(call.core, prefix)
    return Text("".join(f"{name} is due now\n" for name in names) or "No agent has run yet: start one.\n")


@routes.change("make_stale_campaigns_inactive", program_get=True, permission=Need("administer", "service"))
def make_stale_campaigns_inactive(call: Call) -> Answer:
    """Make campaigns inactive that launched nothing for long; how many."""
    return Text(f"Marked inactive stale: {housekeeping.deactivate_stale_campaigns(call.core)}")


@routes.change("launch_queued_job", program_get=True, permission=Need("administer", "service"))
def launch_queued_job(call: Call) -> Answer:
    """Let go the oldest held launch of a stage that is not held any more."""
    if duties.release_oldest(call.core, call.actor) is not None:
        return Text("Launched.")
    return Text("Held." if duties.held_count(call.core) else "None.")


@routes.answer("clear_cache", permission=Known("there is no cache of rights; older programs ask for it all the same"))
def clear_cache(call: Call) -> Answer:
    """Nothing: rights are read for every request."""
    return Text("")
