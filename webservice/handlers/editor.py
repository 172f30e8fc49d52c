"""The campaign editor: its page, the data it begins with, and the questions and saves it sends while one edits.

The page sends JSON in a file field, because a form would change the line ends of texts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from poms.webservice.errors import Invalid
from poms.webservice.handlers.answers import Answer, Call, Data, Page
from poms.webservice.handlers.params import Upload, choice, number, text, upload
from poms.webservice.handlers.routing import Need, Routes
from poms.webservice.rules import campaign_form
from poms.webservice.rules.permissions import refusal
from poms.webservice.services import editing
from poms.webservice.services.campaigns import LONGEST_TEXT
from poms.webservice.services.pages import previews

routes = Routes()
VIEW = Need("view", "experiment")
VIEW_ONE = Need("view", "campaign", "campaign_id")
CREATE = Need("create", "experiment")
MODIFY_ONE = Need("modify", "campaign", "campaign_id", optional=True)


@routes.page("campaign_edit", "campaign_editor.html", permission=VIEW_ONE,
             path=("campaign_id",), arguments={"campaign_id": number(required=True), "stage": text()})
def campaign_edit(call: Call) -> Answer:
    """Where a campaign is changed: its stages as a picture, its text beside it."""
    row = call.item("campaign_id")
    may_save = refusal(call.actor, "modify", owner_role=row.creator_role, owner_id=row.creator) is None
    return Page({"campaign": {"id": row.campaign_id, "name": row.name, "version": row.version_number},
                 "data_url": call.url("editor_data", campaign_id=row.campaign_id), "stage": call["stage"],
                 "may": {"save": may_save}})


@routes.page("campaign_new", "campaign_editor.html", permission=CREATE, arguments={"sample": text(limit=100)})
def campaign_new(call: Call) -> Answer:
    """Where a new campaign begins: empty, or with what a sample has."""
    return Page({"campaign": None, "data_url": call.url("editor_data", sample=call["sample"] or None), "stage": "",
                 "may": {"save": True}})


@routes.answer("editor_data", permission=(VIEW, Need("view", "campaign", "campaign_id", optional=True)),
               path=("campaign_id",), arguments={"campaign_id": number(), "sample": text(limit=100)})
def editor_data(call: Call) -> Answer:
    """What the editor begins with: text, model, what is wrong with it, and what its forms offer."""
    if call["campaign_id"] is None:
        opened = editing.open_new(call.core, call.actor, call["sample"])
    else:
        opened = editing.open_campaign(call.core, call.actor, call["campaign_id"])
    return Data(asdict(opened))


@routes.answer("editor_block", permission=VIEW, arguments={
    "kind": choice(*editing.BLOCKS), "block": text(limit=200)})
def editor_block(call: Call) -> Answer:
    """The content of a job type or login setup of the experiment."""
    return Data({"values": editing.find_block(call.core, call.actor, call["kind"], call["block"])})


@routes.answer("editor_check", permission=VIEW, arguments={"edit": upload()})
def editor_check(call: Call) -> Answer:
    """What a text says, or what a text becomes when the model says this. Stores nothing."""
    edit = _read(call["edit"])
    form = campaign_form.form_from(edit["model"]) if "model" in edit else None
    state = editing.check(call.core, call.actor, text=_text(edit, "text"), form=form)
    if "compare" in edit:
        state |= editing.compare(_text(edit, "compare"), state["text"])
    return Data(state)


@routes.change("editor_save", permission=(CREATE, MODIFY_ONE), arguments={
    "campaign_id": number(), "base_version": number(), "message": text(limit=300), "edit": upload()})
def editor_save(call: Call) -> Answer:
    """Save what the editor has; 409 with both changes if somebody else saved meanwhile."""
    edit = _read(call["edit"])
    saved = editing.save(call.core, call.actor, _text(edit, "text"), campaign_id=call["campaign_id"],
                         base_version=call["base_version"], message=call["message"], renames=_renames(edit))
    if saved.conflict is not None:
        return Data({"status": "conflict", **saved.conflict}, 409)
    result = saved.result
    assert result is not None, "a save without a conflict has a result"
    if result.problems:
        return Data({"status": "problem", "problems": [asdict(problem) for problem in result.problems]}, 400)
    return Data({"status": "ok", "campaign_id": result.campaign_id, "name": result.name, "version": result.version,
                 "changed": result.changed, "is_new": saved.is_new, "warnings": list(result.warnings),
                 "url": call.url("campaign_edit", campaign_id=result.campaign_id)})


@routes.answer("editor_preview", permission=(CREATE, MODIFY_ONE), arguments={
    "campaign_id": number(), "base_version": number(), "edit": upload()})
def editor_preview(call: Call) -> Answer:
    """What saving what the editor has would do to the launches of its stages. Stores nothing."""
    edit = _read(call["edit"])
    result, effects = editing.preview(call.core, call.actor, _text(edit, "text"), campaign_id=call["campaign_id"],
                                      base_version=call["base_version"], renames=_renames(edit))
    if result.problems:
        return Data({"status": "problem", "problems": [asdict(problem) for problem in result.problems]}, 400)
    shown = previews.effects_of(effects, call.url)
    return Data({"status": "ok", "name": result.name, "notes": list(result.warnings),
                 "effects": [effect for effect in shown if effect["changed"]],
                 "unchanged": sum(1 for effect in shown if not effect["changed"])})


def _renames(edit: Mapping[str, Any]) -> dict[str, str]:
    """New names of stages by their old ones."""
    renames = edit.get("renames", {})
    if not isinstance(renames, dict) or not all(isinstance(name, str) for name in renames.values()):
        raise Invalid("The change cannot be read; load the page again.", field="edit")
    return renames


def _read(sent: Upload | None) -> Mapping[str, Any]:
    """The JSON of a request."""
    if sent is None:
        raise Invalid("is required", field="edit")
    try:
        edit = json.loads(sent.data)
    except (ValueError, RecursionError):
        raise Invalid("This is not JSON.", field="edit") from None
    if not isinstance(edit, dict):
        raise Invalid("This is not a JSON object.", field="edit")
    return edit


def _text(edit: Mapping[str, Any], name: str) -> str:
    found = edit.get(name)
    if not isinstance(found, str) or len(found) > LONGEST_TEXT:
        raise Invalid("The text is missing or too long.", field=name)
    return found
