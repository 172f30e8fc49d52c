"""When a stage is launched by itself: seen, tried out, set and taken away."""

from __future__ import annotations

from typing import Any

from poms.webservice.errors import Invalid
from poms.webservice.handlers.answers import Answer, Call, Done, Page
from poms.webservice.handlers.params import choice, number, text, texts
from poms.webservice.handlers.routing import Need, Routes
from poms.webservice.rules import schedule as recurrence
from poms.webservice.services import schedules
from poms.webservice.services.pages import schedules as schedule_pages
from poms.webservice.services.undos import Change

routes = Routes()
ONE = {"campaign_stage_id": number(required=True)}
MODIFY_ONE = Need("modify", "stage", "campaign_stage_id")
FIELDS = ("minlist", "hourlist", "domlist", "dowlist")
CLEARS = {"stage": None, "yes": True, "no": False}


@routes.page("schedule", "schedule.html", permission=Need("view", "stage", "campaign_stage_id"),
             words=("schedule_launch",), path=("campaign_stage_id",), arguments=ONE)
def schedule(call: Call) -> Answer:
    """When a stage is launched by itself, and the form to set it."""
    return Page(schedule_pages.schedule_page(call.core, call.actor, call.url, call["campaign_stage_id"]))


@routes.change("schedule_set", template="schedule.html", words=("update_launch_schedule",), permission=MODIFY_ONE,
               arguments={**ONE, "act": choice("save", "preview"), "by": choice("fields", "cron"),
                          "cron": text(limit=recurrence.LONGEST), **{name: texts() for name in FIELDS},
                          "catch_up": choice("once", "none"), "clear_at_end": choice(*CLEARS),
                          "delete": text(limit=100)})
def schedule_set(call: Call) -> Answer:
    """Launch a stage by itself at certain times, or only show which times these would be.

    The times are a cron expression, or the lists of minutes, hours and days of earlier versions' forms.
    """
    if call["delete"]:
        return schedule_delete(call)
    try:
        cron = _cron(call)
        if call["act"] == "preview":
            return _tried_out(call, cron=cron)
        found = schedules.set_schedule(call.core, call.actor, call["campaign_stage_id"], cron=cron,
                                       catch_up=call["catch_up"], clear_at_end=CLEARS[call["clear_at_end"]])
    except Invalid as wrong:
        if call.wants != "html":
            raise
        return _tried_out(call, problems=wrong.problems)
    return Done(call.url("schedule", campaign_stage_id=call["campaign_stage_id"]),
                f"{call.item('campaign_stage_id').name} is launched {found.words}", f"{found.text}",
                {"cron": found.cron, "next_launch_at": found.next_launch_at})


@routes.change("schedule_delete", permission=MODIFY_ONE, arguments=ONE)
def schedule_delete(call: Call) -> Answer:
    """Launch a stage by itself no more."""
    name = call.item("campaign_stage_id").name
    change = Change(call.core, call.actor, f"The schedule of {name} is removed")
    changed = schedules.delete_schedules(call.core, call.actor, [call["campaign_stage_id"]], undo=change)
    return Done(call.url("schedule", campaign_stage_id=call["campaign_stage_id"]),
                change.title if changed else f"{name} has no schedule", data={"changed": changed}, undo=change.offer)


def _cron(call: Call) -> str:
    if call["by"] == "cron" or call["cron"]:
        return recurrence.parse_cron(call["cron"]).cron
    return recurrence.from_form({name: call[name] for name in FIELDS}).cron


def _tried_out(call: Call, *, cron: str = "", problems: tuple[Any, ...] = ()) -> Page:
    """The page with what was typed, and what it would do or why it cannot be."""
    typed = {"catch_up": call["catch_up"], "clear_at_end": call["clear_at_end"]}
    if call["by"] == "cron" or call["cron"]:
        typed["cron"] = call["cron"]
    else:
        typed |= {name: ",".join(call[name]) for name in FIELDS}
    return Page(schedule_pages.schedule_page(call.core, call.actor, call.url, call["campaign_stage_id"], typed=typed,
                                             cron=cron, problems=problems), status=400 if problems else 200)
