"""Stages, job types and login setups as older clients change them: one call for each, with the fields they send.

Stages are changed in the campaign's text, as the editor does. Where older versions answered with a whole page,
the answer is JSON with a ``message``; clients look at the status alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from poms.webservice.errors import Invalid, NotFound
from poms.webservice.handlers.answers import Answer, Call, Data, Text
from poms.webservice.handlers.legacy import ECHOED, echoed
from poms.webservice.handlers.params import Param, choice, lines, number, number_or_name, paragraphs, text, texts
from poms.webservice.handlers.routing import Need, Routes
from poms.webservice.services import blocks, lookups, registering, stage_texts
from poms.webservice.services.blocks import JobTypeChange, LoginSetupChange

routes = Routes()
VIEW = Need("view", "experiment")
# Which item is meant stands in a name, sometimes with that of another item: the services ask for the right on it.
CHANGE = Need("create", "experiment")
ACTIONS = choice("add", "edit", "delete", required=True)
NAME = text(required=True, limit=200)

STAGE_FIELDS: Mapping[str, str] = {
    "ae_vo_role": "vo_role", "ae_dataset": "dataset_or_split_data", "ae_split_type": "cs_split_type",
    "ae_test_split_type": "test_split_type", "ae_software_version": "software_version",
    "ae_completion_type": "completion_type", "ae_completion_pct": "completion_pct",
    "ae_param_overrides": "param_overrides", "ae_test_param_overrides": "test_param_overrides",
    "ae_launch_name": "login_setup", "ae_campaign_definition": "job_type", "ae_campaign_type": "stage_type",
    "ae_output_ancestor_depth": "output_ancestor_depth",
}
COLUMNS: Mapping[str, Param] = {name: lines() for name in sorted(stage_texts.KEYS)}


# ---------------------------------------------------------------------------------------- stages


def _stage(call: Call) -> int:
    """The stage that ``campaign_stage`` names: its number, or the names of campaign and stage."""
    named = call["campaign_stage"]
    if len(named) == 2:
        return stage_texts.find_stage(call.core, call.actor.experiment, named[0], named[1])
    if len(named) == 1 and named[0].isascii() and named[0].isdigit() and len(named[0]) < 10:
        return int(named[0])
    raise Invalid("Give the number of a stage, or the names of its campaign and itself.", field="campaign_stage")


@routes.change("update_stage_param_overrides", permission=CHANGE, arguments={
    "campaign_stage": texts(required=True), "param_overrides": lines(), "test_param_overrides": lines()})
def update_stage_param_overrides(call: Call) -> Answer:
    """Change launch parameters of a stage by name; one with an empty value goes."""
    given = {name: blocks.read_pairs(call[name], name) for name in ("param_overrides", "test_param_overrides")
             if call[name].strip() not in ("", "None", "null")}
    if not given:
        raise Invalid("Give the parameters to be changed.", field="param_overrides")
    now = stage_texts.merge_overrides(call.core, call.actor, _stage(call), given)
    shown = [repr(list(now[name])) if name in now else "None" for name in ("param_overrides", "test_param_overrides")]
    return Text(f"({', '.join(shown)})", content_type="text/plain")


@routes.change("update_campaign_stage", permission=CHANGE, arguments={
    "campaign_stage": texts(required=True), "name": text(limit=200), **COLUMNS})
def update_campaign_stage(call: Call) -> Answer:
    """Set columns of a stage."""
    stated = {name: call[name] for name in COLUMNS if call[name] != ""}
    if not stated and not call["name"]:
        raise Invalid("Name at least one column of the stage.", field="campaign_stage")
    stage_texts.change(call.core, call.actor, _stage(call), stated, new_name=call["name"])
    return Text("Success")


@routes.change("campaign_stage_edit", permission=CHANGE, arguments={
    "action": ACTIONS, "ae_campaign_name": number_or_name(), "ae_stage_name": text(limit=200),
    "campaign_stage_id": number(), "ae_depends": lines(), **{name: lines() for name in STAGE_FIELDS}},
    renames={"ae_campaign_id": "ae_campaign_name", "ae_campaign_stage_id": "campaign_stage_id",
             "name": "ae_stage_name"})
def campaign_stage_edit(call: Call) -> Answer:
    """Add a stage to a campaign, change it, or take it out."""
    stated = {key: call[field] for field, key in STAGE_FIELDS.items() if call[field].strip()}
    depends = _depends(call["ae_depends"])
    name, action = call["ae_stage_name"], call["action"]
    if action == "add":
        if not name:
            raise Invalid("is required", field="ae_stage_name")
        result = stage_texts.add(call.core, call.actor, _campaign(call), name, stated, depends=depends or ())
    elif action == "delete":
        result = stage_texts.remove(call.core, call.actor, _named_stage(call))
    elif depends is None:
        result = stage_texts.change(call.core, call.actor, _named_stage(call), stated)
    else:
        result = stage_texts.feed(call.core, call.actor, _named_stage(call), stated, depends)
    word = {"add": "added", "edit": "changed", "delete": "deleted"}[action]
    return Data({"message": f"The stage '{name or call['campaign_stage_id']}' has been {word}.",
                 "warnings": result.warnings, "version": result.version})


def _campaign(call: Call) -> int:
    named = call["ae_campaign_name"]
    if named is None:
        raise Invalid("Say to which campaign the stage belongs.", field="ae_campaign_name")
    found = named if isinstance(named, int) else lookups.find_campaign_id(call.core, call.actor.experiment, named)
    if found is None:
        raise NotFound(f"There is no campaign {named} in {call.actor.experiment}.")
    return found


def _named_stage(call: Call) -> int:
    """By its number; by its name within the campaign; by its name alone if no other stage has it."""
    if call["campaign_stage_id"] is not None:
        return int(call["campaign_stage_id"])
    name = call["ae_stage_name"]
    if not name:
        raise Invalid("is required", field="ae_stage_name")
    if call["ae_campaign_name"] is None:
        return registering.find_stage(call.core, call.actor.experiment, name)
    campaign_id = _campaign(call)
    stages = lookups.list_stages(call.core, call.actor.experiment, campaign_id=campaign_id)
    found = next((row["campaign_stage_id"] for row in stages if row["name"] == name), None)
    if found is None:
        raise NotFound(f"Campaign {campaign_id} has no stage {name}.")
    return int(found)


def _depends(sent: str) -> list[tuple[str, str]] | None:
    """What feeds a stage; None if nothing is said."""
    if sent.strip() in ("", "None", "null"):
        return None
    wrong = Invalid('must be JSON such as {"campaign_stages": ["gen"], "file_patterns": ["%"]}', field="ae_depends")
    try:
        said = json.loads(sent)
    except (ValueError, RecursionError):
        raise wrong from None
    if said in ([], {}):
        return []
    if not isinstance(said, dict):
        raise wrong
    names, patterns = said.get("campaign_stages", said.get("campaigns", [])), said.get("file_patterns", [])
    if not isinstance(names, list) or not isinstance(patterns, list) \
            or not all(isinstance(one, str) for one in (*names, *patterns)):
        raise wrong
    return [(name, patterns[place] if place < len(patterns) else "%") for place, name in enumerate(names)]


# ------------------------------------------------------------------------------------- job types


@routes.change("job_type_edit", permission=CHANGE, arguments={
    "action": ACTIONS, "ae_definition_name": NAME, "ae_output_file_patterns": lines(), "ae_launch_script": lines(),
    "ae_definition_parameters": lines(), "ae_definition_recovery": lines()})
def job_type_edit(call: Call) -> Answer:
    """Add a job type, change it, or delete it."""
    name, action = call["ae_definition_name"], call["action"]
    if action == "delete":
        return _deleted(call, "job_type", name)
    change = JobTypeChange(
        launch_script=_given(call["ae_launch_script"]), output_file_patterns=_given(call["ae_output_file_patterns"]),
        parameters=_pairs(call["ae_definition_parameters"], "ae_definition_parameters"),
        recoveries=None if _given(call["ae_definition_recovery"]) is None else blocks.read_recoveries(
            call["ae_definition_recovery"], "ae_definition_recovery"))
    number_ = blocks.save_job_type(call.core, call.actor, name, change, add=action == "add")
    return Data({"message": f"The job type '{name}' has been saved.", "job_type_id": number_})


@routes.change("job_type_rm", permission=CHANGE, arguments={"ae_definition_name": NAME, **ECHOED})
def job_type_rm(call: Call) -> Answer:
    """Delete a job type that no stage uses."""
    return _deleted(call, "job_type", call["ae_definition_name"],
                    {"ae_definition_name": call["ae_definition_name"], **echoed(call)})


@routes.change("modify_job_type_recoveries", permission=CHANGE, arguments={
    "job_type_id": number(required=True), "recoveries": lines()})
def modify_job_type_recoveries(call: Call) -> Answer:
    """Give a job type recoveries; the answer is the whole list."""
    wanted = blocks.read_recoveries(call["recoveries"] or "[]", "recoveries")
    merged = blocks.merge_recoveries(call.core, call.actor, call["job_type_id"], wanted)
    return Data([[kind, [list(pair) for pair in pairs]] for kind, pairs in merged])


@routes.answer("jobtype_list", permission=VIEW)
def jobtype_list(call: Call) -> Answer:
    """The job types of the experiment."""
    return Data([{"name": row.name} for row in blocks.list_names(call.core, "job_type", call.actor.experiment)])


@routes.answer("get_jobtype_id", permission=VIEW, arguments={"name": NAME})
def get_jobtype_id(call: Call) -> Answer:
    """The number of a job type, null if there is none of this name."""
    return Data(blocks.find_id(call.core, "job_type", call.actor.experiment, call["name"]))


# ---------------------------------------------------------------------------------- login setups


@routes.change("login_setup_edit", words=("launch_template_edit",), permission=CHANGE, arguments={
    "action": ACTIONS, "ae_launch_name": NAME, "ae_launch_host": text(limit=300),
    "ae_launch_account": text(limit=200), "ae_launch_setup": paragraphs()})
def login_setup_edit(call: Call) -> Answer:
    """Add a login setup, change it, or delete it. The setup may come as words, one field each."""
    name, action = call["ae_launch_name"], call["action"]
    if action == "delete":
        return _deleted(call, "login_setup", name)
    change = LoginSetupChange(_given(call["ae_launch_host"]), _given(call["ae_launch_account"]),
                              _given(" ".join(call["ae_launch_setup"])))
    number_ = blocks.save_login_setup(call.core, call.actor, name, change, add=action == "add")
    return Data({"message": f"The login setup '{name}' has been saved.", "login_setup_id": number_})


@routes.change("login_setup_rm", permission=CHANGE, arguments={"ae_launch_name": NAME, **ECHOED})
def login_setup_rm(call: Call) -> Answer:
    """Delete a login setup that no stage uses."""
    return _deleted(call, "login_setup", call["ae_launch_name"],
                    {"ae_launch_name": call["ae_launch_name"], **echoed(call)})


@routes.answer("loginsetup_list", permission=VIEW, arguments={"full": text(limit=20)})
def loginsetup_list(call: Call) -> Answer:
    """The login setups of the experiment; what they do as well, if asked."""
    more = ("launch_host", "launch_account", "launch_setup") if call["full"] else ()
    return Data([{name: getattr(row, name) for name in ("name", *more)}
                 for row in blocks.list_names(call.core, "login_setup", call.actor.experiment)])


@routes.answer("get_loginsetup_id", permission=VIEW, arguments={"name": NAME})
def get_loginsetup_id(call: Call) -> Answer:
    """The number of a login setup, null if there is none of this name."""
    return Data(blocks.find_id(call.core, "login_setup", call.actor.experiment, call["name"]))


def _deleted(call: Call, kind: blocks.Kind, name: str, said: Mapping[str, Any] = MappingProxyType({})) -> Answer:
    label = {"job_type": "job type", "login_setup": "login setup"}[kind]
    if blocks.delete(call.core, call.actor, kind, name):
        return Data({**said, "message": f"The {label} '{name}' has been deleted."})
    return Data({**said, "message": f"The {label}, {name}, has been used and may not be deleted."})


def _given(sent: str) -> str | None:
    return None if sent.strip() in ("", "None", "null") else sent


def _pairs(sent: str, field: str) -> Any:
    return None if _given(sent) is None else blocks.read_pairs(sent, field)
