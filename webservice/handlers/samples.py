"""Sample campaigns: those that come with POMS and the experiment's own; made into campaigns, kept, changed, deleted."""

from __future__ import annotations

from typing import Any

from poms.webservice.errors import Conflict, Invalid, Problem
from poms.webservice.handlers.answers import Answer, Call, Done, Page, Text
from poms.webservice.handlers.params import Upload, lines, number, text, upload
from poms.webservice.handlers.routing import Need, Routes
from poms.webservice.rules.permissions import refusal
from poms.webservice.services import own_samples, samples
from poms.webservice.services.own_samples import Wanted
from poms.webservice.services.undos import Change

routes = Routes()
VIEW = Need("view", "experiment")
CREATE = Need("create", "experiment")
MODIFY = Need("modify", "sample", "sample_id")
SAVE = (CREATE, Need("modify", "sample", "sample_id", optional=True))


@routes.page("samples", "samples.html", permission=VIEW, words=("sample_workflows",))
def sample_list(call: Call) -> Answer:
    """Campaigns that work, to begin with: those of the experiment, and those that come with POMS."""
    own = [{**_shown(call, each.key, each.name, each.description, each.outline), "own": True,
            "sample_id": each.sample_id, "facts": [], "by": each.changed_by, "changed_at": each.changed_at,
            "edit_url": call.url("sample_form", sample_id=each.sample_id) if each.may_modify else "",
            "new_name": f"my_{each.name}"} for each in own_samples.list_own(call.core, call.actor)]
    installed = [{**_shown(call, each.name, each.title, each.description, samples.flow(each)), "own": False,
                  "sample_id": None, "facts": list(each.facts), "by": "", "changed_at": None, "edit_url": "",
                  "new_name": f"my_{each.name}"} for each in samples.list_samples()]
    return Page({"samples": own + installed, "may": {"create": refusal(call.actor, "create") is None}})


@routes.answer("sample_text", permission=VIEW, path=("sample",), arguments={"sample": text(required=True, limit=100)})
def sample_text(call: Call) -> Answer:
    """The text of a sample."""
    return Text(samples.text_of(call.core, call["sample"], call.actor.experiment))


@routes.change("sample_clone", permission=CREATE, arguments={
    "sample": text(required=True, limit=100), "new_name": text(required=True, limit=200)})
def sample_clone(call: Call) -> Answer:
    """Make a campaign from a sample."""
    made = samples.clone(call.core, call.actor, call["sample"], call["new_name"])
    return Done(call.url("campaign", campaign_id=made.campaign_id), f"Made {made.name}",
                "\n".join(made.warnings), {"campaign_id": made.campaign_id})


@routes.page("sample_form", "sample_form.html", permission=SAVE, path=("sample_id",), arguments={
    "sample_id": number()})
def sample_form(call: Call) -> Answer:
    """Where a sample of the experiment is made or changed."""
    typed = {"name": "", "description": "", "text": "", "base_version": None}
    if call["sample_id"] is not None:
        row = call.item("sample_id")
        typed = {"name": row.name, "description": row.description, "text": row.text, "base_version": row.version}
    return Page(_form(call, typed))


@routes.change("sample_save", template="sample_form.html", permission=SAVE, arguments={
    "sample_id": number(), "base_version": number(), "name": text(limit=own_samples.LONGEST_NAME),
    "description": lines(limit=own_samples.LONGEST_DESCRIPTION), "sample_text": upload(), "sample_file": upload()})
def sample_save(call: Call) -> Answer:
    """Keep a campaign's text as a sample of the experiment, or change one that is there."""
    chosen: Upload | None = call["sample_file"]
    sent: Upload | None = chosen if chosen and chosen.data else call["sample_text"]
    number_, data = call["sample_id"], sent.data if sent else b""
    if not (sent and sent.name):
        # Browsers send what was typed with the line ends of mail.
        data = data.replace(b"\r\n", b"\n")
    change = Change(call.core, call.actor, f"Changed the sample {call['name']}" if number_ is not None
                    else f"Kept the sample {call['name']}")
    try:
        if not data:
            raise Invalid("Choose a file or type the text.", field="sample_text")
        wanted = Wanted(call["name"], call["description"].strip(), data, call["base_version"])
        made = own_samples.save(call.core, call.actor, wanted, sample_id=number_, undo=change)
    except (Invalid, Conflict) as wrong:
        if call.wants != "html" or not call.identity.via_browser:
            raise
        typed = {"name": call["name"], "description": call["description"], "base_version": call["base_version"],
                 "text": data.decode("utf-8", "replace") if len(data) <= own_samples.LONGEST_TEXT else ""}
        problems = wrong.problems if isinstance(wrong, Invalid) else (Problem("", str(wrong)),)
        return Page(_form(call, typed, problems), status=400 if isinstance(wrong, Invalid) else 409)
    return Done(call.url("samples"), change.title, data={"sample_id": made}, undo=change.offer)


@routes.change("sample_delete", permission=MODIFY, arguments={"sample_id": number(required=True)})
def sample_delete(call: Call) -> Answer:
    """Delete a sample of the experiment; campaigns made from it stay."""
    change = Change(call.core, call.actor, f"Deleted the sample {call.item('sample_id').name}")
    own_samples.delete(call.core, call.actor, call["sample_id"], undo=change)
    return Done(call.url("samples"), change.title, undo=change.offer)


def _shown(call: Call, key: str, title: str, description: str, outline: dict[str, list[Any]]) -> dict[str, Any]:
    return {"name": key, "title": title, "description": description, "stage_count": len(outline["stages"]),
            "text_url": call.url("sample_text", sample=key), "editor_url": call.url("campaign_new", sample=key),
            "graph": outline}


def _form(call: Call, typed: dict[str, Any], problems: tuple[Problem, ...] = ()) -> dict[str, Any]:
    return {"sample_id": call["sample_id"], "typed": typed, "problems": list(problems),
            "longest": own_samples.LONGEST_TEXT}
