"""Campaigns and tags under the addresses that older clients, pages and bookmarks know; beside ``legacy``.

What changed something by GET is POST here. Where an older address showed a page, people are sent to the one
that took its place.
"""

from __future__ import annotations

import json

from poms.webservice.errors import Invalid, NotFound
from poms.webservice.handlers.answers import Answer, Call, Data, Done, Elsewhere, Text
from poms.webservice.handlers.params import flag, number, numbers, text
from poms.webservice.handlers.routing import Need, Routes
from poms.webservice.services import beginnings, campaigns, lookups, splits, tags, watches

routes = Routes()
VIEW = Need("view", "experiment")
CREATE = Need("create", "experiment")
NAME = text(required=True, limit=200)
TERM = text(limit=200)


# ------------------------------------------------------------------------------------- campaigns


@routes.change("campaign_add_name", permission=CREATE, arguments={"campaign_name": NAME})
def campaign_add_name(call: Call) -> Answer:
    """Make a campaign with one stage, stage0, of the job type and login setup called generic."""
    beginnings.begin(call.core, call.actor, call["campaign_name"])
    return Text(json.dumps({"message": "ok"}), "text/html")


@routes.change("register_poms_campaign", permission=CREATE, arguments={
    "campaign_name": NAME, "version": text(limit=200), "dataset": text(limit=2000),
    "campaign_definition": text(limit=200)})
def register_poms_campaign(call: Call) -> Answer:
    """The number of the first stage of a campaign, which is made with one stage if it is not there."""
    stage = beginnings.find_or_begin(
        call.core, call.actor, call["campaign_name"], job_type=call["campaign_definition"],
        software_version=call["version"], dataset=call["dataset"])
    return Text(f"Campaign={stage}")


@routes.change("gui_wf_clone", permission=CREATE, arguments={"campaign": NAME, "to": NAME},
               renames={"from": "campaign"})
def gui_wf_clone(call: Call) -> Answer:
    """Copy a campaign under another name."""
    made = campaigns.clone(call.core, call.actor, _campaign(call, call["campaign"]), call["to"])
    if made.problems:
        raise Invalid(made.problems)
    return Done(call.url("campaign_edit", campaign_id=made.campaign_id), f"Made {made.name}",
                data={"campaign_id": made.campaign_id})


@routes.answer("gui_wf_edit", permission=VIEW, arguments={"campaign": text(limit=200), "campaign_id": number()})
def gui_wf_edit(call: Call) -> Answer:
    """Where a campaign is changed, by its name."""
    named = call["campaign"]
    if named.startswith("samples/"):
        return Elsewhere(call.url("samples"))
    return Elsewhere(call.url("campaign_edit", campaign_id=call["campaign_id"] or _campaign(call, named)))


@routes.answer("campaign_deps", permission=VIEW, words=("campaign_overview",), arguments={
    "campaign_name": text(limit=200), "campaign_id": number()})
def campaign_deps(call: Call) -> Answer:
    """The page of a campaign, which has its picture."""
    return Elsewhere(call.url("campaign", campaign_id=call["campaign_id"] or _campaign(call, call["campaign_name"])))


@routes.answer("campaign_task_files", permission=VIEW, arguments={
    "campaign_stage_id": number(), "campaign_id": number()})
def campaign_task_files(call: Call) -> Answer:
    """The submissions of a stage or campaign, which show their files."""
    if call["campaign_stage_id"] is not None:
        return Elsewhere(call.url("stage_submissions", campaign_stage_id=call["campaign_stage_id"]))
    if call["campaign_id"] is None:
        raise Invalid("Say which stage or campaign is meant.", field="campaign_stage_id")
    return Elsewhere(call.url("campaign_submissions", campaign_id=call["campaign_id"]))


def _campaign(call: Call, name: str) -> int:
    found = lookups.find_campaign_id(call.core, call.actor.experiment, name) if name else None
    if found is None:
        raise NotFound(f"There is no campaign {name} in {call.actor.experiment}.")
    return found


# ---------------------------------------------------------------------------------------- stages


@routes.answer("campaign_stage_edit_query", permission=(
    VIEW, Need("view", "login_setup", "ae_launch_id", optional=True),
    Need("view", "job_type", "ae_campaign_definition_id", optional=True)), arguments={
        "ae_launch_id": number(), "ae_campaign_definition_id": number()})
def campaign_stage_edit_query(call: Call) -> Answer:
    """What a login setup and a job type hold, for forms; JSON, sent as text."""
    found = {}
    for key, argument, columns in (
            ("template", "ae_launch_id", ("launch_host", "launch_account", "launch_setup")),
            ("definition", "ae_campaign_definition_id", ("launch_script", "definition_parameters",
                                                         "output_file_patterns"))):
        if argument in call.items:
            found[key] = {name: getattr(call.item(argument), name) for name in columns}
    return Text(json.dumps(found))


@routes.change("reset_campaign_split", permission=Need("modify", "stage", "campaign_stage_id"), arguments={
    "campaign_stage_id": number(required=True), "test": flag()})
def reset_campaign_split(call: Call) -> Answer:
    """Begin the split of a stage again."""
    return _begin_again(call, test=call["test"])


def _begin_again(call: Call, *, test: bool = False) -> Answer:
    splits.reset(call.core, call.actor, call["campaign_stage_id"], test=test)
    return Done(call.url("stage", campaign_stage_id=call["campaign_stage_id"]),
                f"{call.item('campaign_stage_id').name} begins its split again")


@routes.change("update_campaign_split", permission=Need("modify", "stage", "campaign_stage_id"), arguments={
    "campaign_stage_id": number(required=True), "last_split_custom_val": text(limit=40)})
def update_campaign_split(call: Call) -> Answer:
    """Begin the split of a stage again; where a split stands is no single number any more."""
    if call["last_split_custom_val"] != "0":
        raise Invalid("A split can be begun again (0), not moved to a number: each type keeps its place in its own "
                      "way. Launch the stage on the dataset that you want instead.", field="last_split_custom_val")
    return _begin_again(call)


# ------------------------------------------------------------------------------------------ tags


@routes.change("delete_campaigns_tags", permission=Need("modify", "campaign", "campaign_id"), arguments={
    "campaign_id": numbers(required=True), "tag_id": number(required=True), "delete_unused_tag": flag()})
def delete_campaigns_tags(call: Call) -> Answer:
    """Take a tag off campaigns."""
    lost = tags.remove_tag(call.core, call.actor, call["campaign_id"], call["tag_id"],
                           delete_unused=call["delete_unused_tag"])
    return Data({"msg": "OK", "changed": lost})


@routes.answer("search_all_tags", permission=VIEW, arguments={"cl": numbers()})
def search_all_tags(call: Call) -> Answer:
    """The tags of the experiment, or those that some campaigns carry."""
    found = tags.list_tags(call.core, call.actor.experiment, campaign_ids=call["cl"] or None)
    return Data({"result": [[tag["tag_id"], tag["tag_name"]] for tag in found], "msg": "OK"})


@routes.answer("auto_complete_tags_search", permission=VIEW, arguments={"q": TERM})
def auto_complete_tags_search(call: Call) -> Answer:
    """Tags whose names contain a text."""
    found = tags.list_tags(call.core, call.actor.experiment, containing=call["q"])
    return Data({"results": [{"name": tag["tag_name"]} for tag in reversed(found)]})


@routes.answer("search_tags", permission=VIEW, arguments={"q": TERM})
def search_tags(call: Call) -> Answer:
    """Tags whose names fit a pattern, with the campaigns that carry them; for people the list of campaigns."""
    if call.wants == "html":
        return Elsewhere(call.url("campaigns", text=call["q"].strip("%") or None))
    return Data({"results": tags.tagged_campaigns(call.core, call.actor.experiment, call["q"] or "%")})


@routes.answer("search_campaigns", permission=VIEW, arguments={"search_term": TERM})
def search_campaigns(call: Call) -> Answer:
    """Campaigns and stages whose names fit a pattern; for people the list of campaigns."""
    if call.wants == "html":
        return Elsewhere(call.url("campaigns", text=call["search_term"].strip("%*") or None))
    pattern = call["search_term"].replace("*", "%") or "%"
    return Data({"results": tags.search_campaigns(call.core, call.actor.experiment, pattern)})


# --------------------------------------------------------------------------------------- watches


@routes.change("watch_campaign", permission=Need("view", "campaign", "campaign_id"), words=("stop_watching",),
               arguments={"campaign_id": number(required=True), "selected": text(limit=20)})
def watch_campaign(call: Call) -> Answer:
    """Watch a campaign (``selected`` is true), or no more."""
    if call["selected"].lower() == "true":
        watches.watch(call.core, call.actor, campaign_id=call["campaign_id"])
    else:
        watches.unwatch(call.core, call.actor, campaign_id=call["campaign_id"])
    return Data({"message": "Success"})


@routes.answer("show_watching", permission=VIEW)
def show_watching(call: Call) -> Answer:
    """The page of what you watch."""
    return Elsewhere(call.url("watches"))


# ---------------------------------------------------------------------------------------- people


@routes.answer("experiment_membership", permission=VIEW, words=("experiment_shifters",))
def experiment_membership(call: Call) -> Answer:
    """Who is in the experiment, in which role; for browsers the page of people."""
    if call.wants == "html":
        return Elsewhere(call.url("people"))
    return Data({"data": {"members": lookups.list_members(call.core, call.actor.experiment)}})
