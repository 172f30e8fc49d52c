"""One stage: its page, its submissions, and what may be done to it."""

from __future__ import annotations

from poms.webservice.handlers.answers import Answer, Call, Done, Page
from poms.webservice.handlers.params import choice, flag, number, text
from poms.webservice.handlers.routing import Need, Routes
from poms.webservice.handlers.submissions import SUBMISSIONS, submission_answer
from poms.webservice.services import holds, policies, splits
from poms.webservice.services.pages import stages as stage_pages
from poms.webservice.services.undos import Change

routes = Routes()
ONE = {"campaign_stage_id": number(required=True)}
VIEW_ONE = Need("view", "stage", "campaign_stage_id")
DO_ONE = Need("do", "stage", "campaign_stage_id")
ACTS = {"hold_launches": DO_ONE, "release_launches": DO_ONE,
        "reset_split": Need("modify", "stage", "campaign_stage_id"),
        "forget_levels": Need("modify", "stage", "campaign_stage_id")}


@routes.page("stage", "stage.html", permission=VIEW_ONE, words=("campaign_stage_info",), path=("campaign_stage_id",),
             arguments=ONE, live_seconds=10)
def stage(call: Call) -> Answer:
    """How a stage goes, with which settings."""
    return Page(stage_pages.stage_page(call.core, call.actor, call.url, call["campaign_stage_id"]))


@routes.page("stage_submissions", "submissions.html", permission=VIEW_ONE, path=("campaign_stage_id",),
             live_seconds=15, arguments={**ONE, **SUBMISSIONS})
def stage_submissions(call: Call) -> Answer:
    """All submissions of a stage."""
    return submission_answer(call, f"submissions_{call.item('campaign_stage_id').name}",
                             stage_id=call["campaign_stage_id"])


@routes.change("stage_act", permission=VIEW_ONE, by_act=ACTS, arguments={
    **ONE, "act": choice(*ACTS, required=True), "reason": text(limit=500), "clear_cron": flag(),
    "submission_id": number()})
def stage_act(call: Call) -> Answer:
    """Keep or let go the launches of a stage; begin its split again, or go on with what ``submission_id`` took."""
    number_, name, act = call["campaign_stage_id"], call.item("campaign_stage_id").name, call["act"]
    hold = act == "hold_launches"
    change = Change(call.core, call.actor, {
        "reset_split": f"{name} goes on with what submission {call['submission_id']} took" if call["submission_id"]
        else f"{name} begins its split again",
        "forget_levels": f"What the jobs of {name} needed is forgotten",
        "hold_launches": f"Launches of {name} are kept for later",
        "release_launches": f"Launches of {name} are allowed"}[act])
    if act == "reset_split" and call["submission_id"]:
        splits.set_back(call.core, call.actor, number_, call["submission_id"], undo=change)
    elif act == "reset_split":
        splits.reset(call.core, call.actor, number_, undo=change)
    elif act == "forget_levels":
        policies.forget(call.core, call.actor, number_, undo=change)
    else:
        holds.hold_stages(call.core, call.actor, [number_], hold=hold, reason=call["reason"],
                          clear_schedules=call["clear_cron"], undo=change)
    return Done(call.url("stage", campaign_stage_id=number_), change.title, undo=change.offer)
