"""Campaigns: list, page, text, versions, upload, and what may be done to one or several."""

from __future__ import annotations

from typing import Any

from poms.webservice.errors import Conflict, Invalid, NotFound, Problem
from poms.webservice.handlers.answers import Answer, Call, Data, Done, Message, Page, Text
from poms.webservice.handlers.lists import BULK, EXPORT, as_file, would_do
from poms.webservice.handlers.params import (
    Upload,
    choice,
    count,
    flag,
    maybe,
    number,
    numbers,
    own_address,
    text,
    upload,
)
from poms.webservice.handlers.routing import Need, Routes
from poms.webservice.handlers.submissions import SUBMISSIONS, submission_answer
from poms.webservice.services import campaigns, holds, tags
from poms.webservice.services.campaigns import SaveResult
from poms.webservice.services.pages import bulk, texts
from poms.webservice.services.pages import campaigns as campaign_pages
from poms.webservice.services.pages import tags as tag_pages
from poms.webservice.services.undos import Change

routes = Routes()
VIEW = Need("view", "experiment")
VIEW_ONE = Need("view", "campaign", "campaign_id")
CREATE = Need("create", "experiment")
ONE = {"campaign_id": number(required=True)}
MODIFY_ONE = Need("modify", "campaign", "campaign_id")
DO_ONE = Need("do", "campaign", "campaign_id")
ACTS = {"activate": MODIFY_ONE, "deactivate": MODIFY_ONE, "delete": MODIFY_ONE, "clone": CREATE, "restore": MODIFY_ONE,
        "rename": MODIFY_ONE,
        "hold_launches": DO_ONE, "release_launches": DO_ONE}


@routes.page("campaigns", "campaigns.html", permission=VIEW, live_seconds=15, arguments={
    "view": choice(*(name for name, _ in campaign_pages.VIEWS)), "text": text(limit=200), "sort": text("-changed"),
    "tag": text(limit=200), "made_as": maybe(*(role for role, _ in campaign_pages.MADE_AS if role)),
    "offset": count(), **EXPORT})
def campaign_list(call: Call) -> Answer:
    """The campaigns of the experiment."""
    which = {name: call[name] for name in ("view", "text", "sort", "tag", "made_as")}
    if call["export"]:
        return as_file(call, "campaigns", f"campaigns_{call.actor.experiment}", **which)
    return Page(campaign_pages.campaign_list(call.core, call.actor, call.url, **which, offset=call["offset"]))


@routes.page("campaign", "campaign.html", permission=VIEW_ONE,
             path=("campaign_id",), arguments=ONE, live_seconds=10)
def campaign(call: Call) -> Answer:
    """How far a campaign is and where it is stuck."""
    return Page(campaign_pages.campaign_page(call.core, call.actor, call.url, call["campaign_id"]))


@routes.page("campaign_submissions", "submissions.html", permission=VIEW_ONE, path=("campaign_id",), live_seconds=15,
             arguments={**ONE, **SUBMISSIONS})
def campaign_submissions(call: Call) -> Answer:
    """All submissions of a campaign."""
    return submission_answer(call, f"submissions_{call.item('campaign_id').name}", campaign_id=call["campaign_id"])


@routes.page("campaign_text", "campaign_text.html", permission=VIEW_ONE, path=("campaign_id",),
             arguments={**ONE, "version": number()})
def campaign_text(call: Call) -> Answer:
    """The text of a campaign, in force or of a version."""
    return Page(texts.text_page(call.core, call.actor, call.url, call["campaign_id"], version=call["version"]))


@routes.page("campaign_versions", "campaign_versions.html", permission=VIEW_ONE, path=("campaign_id",),
             arguments={**ONE, "old": number(), "new": number(), "before": number()})
def campaign_versions(call: Call) -> Answer:
    """The saved texts of a campaign; two of them compared if asked."""
    context = campaign_pages.version_list(call.core, call.actor, call.url, call["campaign_id"], before=call["before"])
    old, new = call["old"], call["new"]
    if old and new:
        diff = campaigns.compare_versions(call.core, call.actor, call["campaign_id"], old, new)
        context = {**context, "compared": {"old": old, "new": new, "diff": diff}}
    return Page(context)


@routes.answer("download", permission=VIEW_ONE, path=("campaign_id",), arguments={**ONE, "version": number()})
def download(call: Call) -> Answer:
    """The text of a campaign as a file, byte for byte."""
    data = campaigns.version_text(call.core, call.actor, call["campaign_id"], call["version"])
    return Text(data, file_name=f"{call.item('campaign_id').name}.ini")


@routes.change("upload", template="upload_result.html",
               permission=(CREATE, Need("modify", "campaign", "campaign_id", optional=True)),
               arguments={"campaign_id": number(), "base_version": number(), "dry_run": flag(),
                          "campaign_file": upload(), "campaign_text": upload(), "message": text(limit=300)})
def upload_text(call: Call) -> Answer:
    """Save a campaign's text, or only say what saving it would change."""
    sent = call["campaign_file"] or call["campaign_text"]
    if sent is None:
        raise Invalid("Choose a file or type the text.", field="campaign_file")
    data = sent.data
    if not sent.name and call.identity.via_browser:
        before = campaigns.version_text(call.core, call.actor, call["campaign_id"]) if call["campaign_id"] else ""
        data = campaigns.with_own_line_ends(data, before)
    try:
        result = campaigns.save_text(
            call.core, call.actor, data, source="upload" if sent.name else "page", dry_run=call["dry_run"],
            base_version=call["base_version"], message=call["message"])
    except Conflict as conflict:
        if call.wants == "json":
            raise
        # The page comes back with what was typed: it must not be lost because somebody else was faster.
        return _result_page(call, sent, SaveResult(call["dry_run"], problems=(Problem("", str(conflict)),)), status=409)
    saved = not result.problems and not result.dry_run
    if saved and call.wants != "json":
        title = f"Saved {result.name} as version {result.version}" if result.changed else "Nothing to save"
        return Done(call.url("campaign", campaign_id=result.campaign_id), title, "\n".join(result.warnings))
    return _result_page(call, sent, result)


def _result_page(call: Call, sent: Upload, result: SaveResult, *, status: int = 0) -> Answer:
    status = status or (400 if result.problems else 200)
    messages = tuple(Message("warning", "Look at this before saving", warning) for warning in result.warnings)
    # What is too long to be saved is too long to be put right on a page.
    typed = sent.data.decode("utf-8", "replace") if len(sent.data) <= campaigns.LONGEST_TEXT else ""
    if call["campaign_id"] and call.wants != "json":
        return Page(texts.text_page(call.core, call.actor, call.url, call["campaign_id"], result=result, typed=typed),
                    template="campaign_text.html", status=status, messages=messages)
    found = None
    if result.campaign_id is not None:
        found = {"id": result.campaign_id, "name": result.name, "version": result.version,
                 "url": call.url("campaign", campaign_id=result.campaign_id)}
    context: dict[str, Any] = {"file_name": sent.name or "typed text", "result": texts.result_of(result),
                               "campaign": found}
    if call.wants == "json":
        return Data({**context, "stages": result.stages, "status": "problem" if result.problems else "ok"}, status)
    return Page({**context, "text": typed}, status=status, messages=messages)


@routes.change("campaign_act", permission=VIEW_ONE, by_act=ACTS, arguments={
    **ONE, "act": choice(*ACTS, required=True), "new_name": text(limit=200), "version": number(),
    "reason": text(limit=500), "back": own_address()})
def campaign_act(call: Call) -> Answer:
    """Do something to one campaign. ``back`` is where it was asked for, unless what is made has a page of its own."""
    number_, core, actor = call["campaign_id"], call.core, call.actor
    here, name = call["back"] or call.url("campaign", campaign_id=number_), call.item("campaign_id").name
    match call["act"]:
        case "activate" | "deactivate":
            on = call["act"] == "activate"
            title = f"{name} is {'active' if on else 'inactive'}"
            change = Change(core, actor, title)
            campaigns.set_active(core, actor, [number_], on, undo=change)
            return Done(here, title, undo=change.offer)
        case "delete":
            change = Change(core, actor, f"Deleted {name}")
            campaigns.delete_campaign(core, actor, number_, undo=change)
            return Done(call["back"] or call.url("campaigns"), change.title, undo=change.offer)
        case "clone":
            if not call["new_name"]:
                raise Invalid("is required", field="new_name")
            made = _require_saved(campaigns.clone(core, actor, number_, call["new_name"]))
            return Done(call.url("campaign", campaign_id=made.campaign_id), f"Made {made.name}",
                        data={"campaign_id": made.campaign_id})
        case "rename":
            change = Change(core, actor, f"{name} renamed to {call['new_name']}")
            old = campaigns.rename(core, actor, number_, call["new_name"], undo=change)
            return Done(here, f"{old} is {call['new_name']} now", data={"campaign_id": number_}, undo=change.offer)
        case "restore":
            if call["version"] is None:
                raise Invalid("is required", field="version")
            made = _require_saved(campaigns.restore(core, actor, number_, call["version"]))
            return Done(call.url("campaign_versions", campaign_id=number_),
                        f"Version {call['version']} is in force again, as version {made.version}")
        case act:
            hold = act == "hold_launches"
            change = Change(core, actor, f"Launches of {name} are {'kept for later' if hold else 'allowed'}")
            holds.hold_campaign(core, actor, number_, hold=hold, reason=call["reason"], undo=change)
            return Done(here, change.title, undo=change.offer)


def _require_saved(result: SaveResult) -> SaveResult:
    if result.problems:
        raise Invalid(result.problems)
    return result


@routes.change("campaigns_act", permission=Need("modify", "campaign", "campaign_id"), arguments={
    "campaign_id": numbers(required=True), "act": choice("activate", "deactivate", "tag", "untag", required=True),
    "tag": text(limit=80), **BULK})
def campaigns_act(call: Call) -> Answer:
    """Do something to several campaigns; all or none. Or tell what that would do, and to which it cannot be done."""
    chosen, act, tag = call["campaign_id"], call["act"], call["tag"]
    if act in ("tag", "untag") and not tag:
        raise Invalid("is required", field="tag")
    if call["dry_run"]:
        context = bulk.campaigns(call.core, call.actor, call.url, act, chosen, tag, call.refused)
        return would_do(call, context, "campaigns_act", campaign_id=call.allowed("campaign_id"), act=act, tag=tag)
    change = Change(call.core, call.actor, {
        "tag": f"tag {tag} put on", "untag": f"tag {tag} taken off", "activate": "made active",
        "deactivate": "made inactive"}[act] + f", {len(chosen)} campaign{'s' if len(chosen) != 1 else ''}")
    if act == "tag":
        changed = campaigns.add_tag(call.core, call.actor, chosen, tag, undo=change)
        title = f"{changed} of {len(chosen)} campaigns carry the tag {tag} now"
    elif act == "untag":
        changed = tags.remove_tag(call.core, call.actor, chosen, _tag_id(call), delete_unused=True, undo=change)
        title = f"{changed} of {len(chosen)} campaigns lost the tag {tag}"
    else:
        changed = campaigns.set_active(call.core, call.actor, chosen, act == "activate", undo=change)
        title = f"{changed} of {len(chosen)} campaigns made {'active' if act == 'activate' else 'inactive'}"
    return Done(call["back"] or call.url("campaigns"), title, data={"changed": changed}, undo=change.offer)


def _tag_id(call: Call) -> int:
    found = tags.find_tag_id(call.core, call.actor.experiment, call["tag"])
    if found is None:
        raise NotFound(f"There is no tag {call['tag']} in {call.actor.experiment}.")
    return found


@routes.page("tags", "tags.html", permission=VIEW, arguments={
    "text": text(limit=200), "sort": text("name", limit=40), "offset": count(), **EXPORT})
def tag_list(call: Call) -> Answer:
    """The tags of the experiment."""
    which = {name: call[name] for name in ("text", "sort")}
    if call["export"]:
        return as_file(call, "tags", f"tags_{call.actor.experiment}", **which)
    return Page(tag_pages.tag_list(call.core, call.actor, call.url, **which, offset=call["offset"]))
