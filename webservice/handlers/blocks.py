"""Login setups and job types: their lists, the form of each, and what may be done with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from poms.webservice.errors import Conflict, Invalid, NotFound, Problem
from poms.webservice.handlers.answers import Answer, Call, Data, Done, Page, Text
from poms.webservice.handlers.lists import BULK, EXPORT, as_file
from poms.webservice.handlers.params import choice, count, lines, number, number_or_name, numbers, text
from poms.webservice.handlers.previews import shown_change
from poms.webservice.handlers.routing import Need, Routes
from poms.webservice.services import blocks, login_setup_tests, previews, stage_texts
from poms.webservice.services.blocks import JobTypeChange, LoginSetupChange
from poms.webservice.services.pages import blocks as block_pages
from poms.webservice.services.rehearsals import Look
from poms.webservice.services.undos import Change

routes = Routes()
VIEW, CREATE = Need("view", "experiment"), Need("create", "experiment")
LIST = {"view": choice(*(name for name, _ in block_pages.VIEWS)), "text": text(limit=200),
        "sort": text("name", limit=40), "offset": count(), **EXPORT}
SETUP_FIELDS = {"host": text(limit=300), "account": text(limit=200), "setup": lines()}
TYPE_FIELDS = {"script": lines(), "patterns": text(limit=2000), "parameters": lines(), "recoveries": lines()}
_LABELS = {"login_setup": "login setup", "job_type": "job type"}


def _list(call: Call, name: str) -> Answer:
    which = {key: call[key] for key in ("view", "text", "sort")}
    if call["export"]:
        return as_file(call, name, f"{name}_{call.actor.experiment}", **which)
    return Page(block_pages.block_list(call.core, call.actor, call.url, name, **which, offset=call["offset"]))


@routes.page("login_setups", "login_setups.html", permission=VIEW, arguments=LIST)
def login_setups(call: Call) -> Answer:
    """Where launches run and what is set up there first: all of the experiment's."""
    return _list(call, "login_setups")


@routes.page("job_types", "job_types.html", permission=VIEW, arguments=LIST)
def job_types(call: Call) -> Answer:
    """What is run: all job types of the experiment."""
    return _list(call, "job_types")


@routes.page("login_setup", "login_setup.html", permission=Need("view", "login_setup", "login_setup_id"),
             path=("login_setup_id",), arguments={"login_setup_id": number(required=True)})
def login_setup(call: Call) -> Answer:
    """One login setup, and where it is used."""
    return Page(block_pages.block_page(call.core, call.actor, call.url, "login_setup", call["login_setup_id"]))


@routes.page("job_type", "job_type.html", permission=Need("view", "job_type", "job_type_id"), path=("job_type_id",),
             arguments={"job_type_id": number(required=True)})
def job_type(call: Call) -> Answer:
    """One job type, and where it is used."""
    return Page(block_pages.block_page(call.core, call.actor, call.url, "job_type", call["job_type_id"]))


@routes.page("login_setup_new", "login_setup.html", permission=CREATE, arguments={"source": text(limit=200)})
def login_setup_new(call: Call) -> Answer:
    """The form of a new login setup, empty or with the values of another."""
    return Page(block_pages.new_page(call.core, call.actor, "login_setup", source=call["source"]))


@routes.page("job_type_new", "job_type.html", permission=CREATE, arguments={"source": text(limit=200)})
def job_type_new(call: Call) -> Answer:
    """The form of a new job type, empty or with the values of another."""
    return Page(block_pages.new_page(call.core, call.actor, "job_type", source=call["source"]))


@routes.change("login_setup_save", template="login_setup.html", permission=(
    VIEW, Need("view", "login_setup", "login_setup_id", optional=True)), arguments={
        "login_setup_id": number(), "name": text(limit=300), **SETUP_FIELDS,
        "act": choice("save", "save_as", "preview")})
def login_setup_save(call: Call) -> Answer:
    """Change a login setup, or make one: under the name of the form, which must be new. Or tell what would change."""
    change = LoginSetupChange(host=call["host"], account=call["account"], setup=_typed(call, "setup"))
    return _save(call, "login_setup", SETUP_FIELDS, lambda name, add, look: blocks.save_login_setup(
        call.core, call.actor, name, change, add=add, look=look))


@routes.change("job_type_save", template="job_type.html", permission=(
    VIEW, Need("view", "job_type", "job_type_id", optional=True)), arguments={
        "job_type_id": number(), "name": text(limit=300), **TYPE_FIELDS, "act": choice("save", "save_as", "preview")})
def job_type_save(call: Call) -> Answer:
    """Change a job type, or make one: under the name of the form, which must be new. Or tell what would change."""
    return _save(call, "job_type", TYPE_FIELDS, lambda name, add, look: blocks.save_job_type(
        call.core, call.actor, name, JobTypeChange(
            launch_script=_typed(call, "script"), output_file_patterns=call["patterns"],
            parameters=blocks.read_pairs(call["parameters"].strip() or "[]", "parameters"),
            recoveries=blocks.read_recoveries(call["recoveries"].strip() or "[]", "recoveries")), add=add,
        look=look))


def _typed(call: Call, field: str) -> str:
    """A text of several lines with their ends as people and shells know them: forms send others."""
    return str(call[field]).replace("\r\n", "\n")


def _save(call: Call, kind: blocks.Kind, fields: Any, store: Callable[[str, bool, Look | None], int]) -> Answer:
    """Store what was typed; if it cannot be, the form comes back with it and says why.

    To preview it is to make the change, look at the stages that use it, and take it back.
    """
    known = call.item(f"{kind}_id").name if call[f"{kind}_id"] else ""
    add = not known or call["act"] == "save_as"
    name = call["name"] if add else known
    try:
        if call["act"] == "preview":
            effects = previews.of_block(call.core, call.actor, kind, lambda look: store(name, add, look))
            return shown_change(call, f"Changed {_LABELS[kind]} {name}", effects, back=call.url(f"{kind}s"),
                                text="It is not saved: go back in the browser to the form, and save it there.")
        made = store(name, add, None)
    except (Invalid, Conflict, NotFound) as wrong:
        if call.wants != "html":
            raise
        problems = wrong.problems if isinstance(wrong, Invalid) else (
            Problem("name" if isinstance(wrong, Conflict) else "recoveries", str(wrong)),)
        return _refused(call, kind, {"name": call["name"], **{field: call[field] for field in fields}}, problems,
                        status=409 if isinstance(wrong, Conflict) else 400)
    return Done(call.url(kind, **{f"{kind}_id": made}), f"{'Made' if add else 'Saved'} {name}",
                "Stages use it once they name it." if add else "Launches from now on use it.", {f"{kind}_id": made})


def _refused(call: Call, kind: blocks.Kind, typed: dict[str, Any], problems: tuple[Problem, ...], *,
             status: int) -> Page:
    number_ = call[f"{kind}_id"]
    problems = tuple(Problem(_FIELDS.get(each.field, each.field), each.message, each.line) for each in problems)
    context = (block_pages.block_page(call.core, call.actor, call.url, kind, number_, typed=typed, problems=problems)
               if number_ else block_pages.new_page(call.core, call.actor, kind, typed=typed, problems=problems))
    return Page(context, template=f"{kind}.html", status=status)


# What services call a field that has another name in the form.
_FIELDS = {"launch_host": "host", "launch_account": "account", "launch_setup": "setup", "launch_script": "script",
           "output_file_patterns": "patterns"}


@routes.change("login_setup_act", permission=Need("modify", "login_setup", "login_setup_id"), arguments={
    "login_setup_id": number(required=True), "act": choice("activate", "deactivate", "delete", required=True)})
def login_setup_act(call: Call) -> Answer:
    """Delete a login setup that nothing uses, or take it out of use."""
    return _act(call, "login_setup")


@routes.change("job_type_act", permission=Need("modify", "job_type", "job_type_id"), arguments={
    "job_type_id": number(required=True), "act": choice("activate", "deactivate", "delete", required=True)})
def job_type_act(call: Call) -> Answer:
    """Delete a job type that nothing uses, or take it out of use."""
    return _act(call, "job_type")


def _act(call: Call, kind: blocks.Kind) -> Answer:
    number_, name = call[f"{kind}_id"], call.item(f"{kind}_id").name
    if call["act"] == "delete":
        change = Change(call.core, call.actor, f"Deleted {name}")
        if not blocks.delete(call.core, call.actor, kind, name, undo=change):
            raise Conflict(f"The {_LABELS[kind]} {name} is used by a stage, or was; it can be made inactive instead.")
        return Done(call.url(f"{kind}s"), change.title, undo=change.offer)
    active = call["act"] == "activate"
    change = Change(call.core, call.actor, f"{name} is {'active' if active else 'inactive'}")
    blocks.set_active(call.core, call.actor, kind, name, active, undo=change)
    return Done(call.url(kind, **{f"{kind}_id": number_}), change.title, undo=change.offer)


@routes.change("stages_switch", permission=Need("modify", "stage", "campaign_stage_id"), arguments={
    "campaign_stage_id": numbers(required=True), "kind": choice("login_setup", "job_type", required=True),
    "name": text(required=True, limit=300), **BULK})
def stages_switch(call: Call) -> Answer:
    """Let stages use another login setup or job type: each campaign's text is saved as a new version.

    Or tell what that would do to their launches.
    """
    kind, name = call["kind"], call["name"]
    stages = call.items["campaign_stage_id"]
    numbers_ = [stage.campaign_stage_id for stage in stages]
    if call["dry_run"]:
        effects = previews.of_stage_keys(call.core, call.actor, numbers_, {kind: name})
        fields = {"campaign_stage_id": numbers_, "kind": kind, "name": name, "back": call["back"]}
        return shown_change(call, f"Switch to {_LABELS[kind]} {name}", effects,
                            back=call["back"] or call.url(f"{kind}s"),
                            action={"url": call.url("stages_switch"), "label": "Switch stages", "fields": fields})
    stage_texts.change_several(call.core, call.actor, numbers_, {kind: name})
    found = blocks.find_id(call.core, kind, call.actor.experiment, name)
    where = call.url(kind, **{f"{kind}_id": found}) if found is not None else call.url(f"{kind}s")
    return Done(where, f"{len(stages)} {'stage uses' if len(stages) == 1 else 'stages use'} {name} now",
                data={"changed": len(stages)})


# ------------------------------------------------------------------------------------------- tests

TEST = {"login_setup_id": number(required=True), "test_id": number(required=True)}
VIEW_SETUP = Need("view", "login_setup", "login_setup_id")
_STATES = {"queued": "New", "running": "Running", "passed": "Completed", "failed": "Failed"}


@routes.change("login_setup_test", words=("launch_login_setup",), renames={"test_login_setup": "login_setup_id"},
               permission=Need("do", "login_setup", "login_setup_id"),
               arguments={"login_setup_id": number_or_name(required=True)})
def login_setup_test(call: Call) -> Answer:
    """Try out where and how launches with a login setup begin; no jobs."""
    setup = call.item("login_setup_id")
    test_id = login_setup_tests.request(call.core, call.actor, setup.login_setup_id, call.request_key)
    which = {"login_setup_id": setup.login_setup_id, "test_id": test_id}
    return Done(call.url("login_setup_log", **which), f"{setup.name} is being tested", data=which)


@routes.page("login_setup_log", "launch_log.html", permission=VIEW_SETUP, path=("login_setup_id", "test_id"),
             arguments=TEST, live_seconds=3)
def login_setup_log(call: Call) -> Answer:
    """What a test of a login setup writes, and what came of it."""
    setup, which = call.item("login_setup_id"), {name: call[name] for name in TEST}
    row = login_setup_tests.get(call.core, *which.values())
    piece = login_setup_tests.read_log(call.core, *which.values())
    here = call.url("login_setup", login_setup_id=setup.login_setup_id)
    facts = [f"{row.plan['host'] or 'this host'} as {row.plan['account'] or 'the service'}", "starts no jobs"]
    return Page({
        "title": f"Test of {setup.name}", "state_now": _STATES[row.state],
        "path": [{"text": "Login setups", "url": call.url("login_setups")}, {"text": setup.name, "url": here}],
        "facts": [*facts, *([row.message] if row.message else [])], "submission_id": None,
        "test": login_setup_tests.documents([row], {})[0],
        "log": {"text": piece.text, "offset": piece.next_offset, "done": piece.ended, "skipped_bytes": 0,
                "size_bytes": piece.next_offset, "url": call.url("login_setup_log_piece", **which),
                "full_url": call.url("login_setup_log_text", **which)},
        "may": {"abort": False}})


@routes.answer("login_setup_log_piece", permission=VIEW_SETUP, path=("login_setup_id", "test_id"),
               arguments={**TEST, "offset": count()})
def login_setup_log_piece(call: Call) -> Answer:
    """What a test wrote since ``offset``, and what came of it."""
    row = login_setup_tests.get(call.core, call["login_setup_id"], call["test_id"])
    piece = login_setup_tests.read_log(call.core, call["login_setup_id"], call["test_id"], call["offset"])
    return Data({"text": piece.text, "offset": piece.next_offset, "done": piece.ended, "state": row.state,
                 "message": row.message or ""})


@routes.answer("login_setup_log_text", permission=VIEW_SETUP, path=("login_setup_id", "test_id"), arguments=TEST)
def login_setup_log_text(call: Call) -> Answer:
    """All that a test wrote, as text."""
    pieces, offset = [], 0
    while True:
        piece = login_setup_tests.read_log(call.core, call["login_setup_id"], call["test_id"], offset)
        pieces.append(piece.text)
        if piece.next_offset <= offset:
            return Text("".join(pieces))
        offset = piece.next_offset
