"""The page of a stage's schedule: when it is launched by itself, and the form that sets it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

from poms.webservice.errors import Problem
from poms.webservice.model import CampaignStage
from poms.webservice.rules import permissions
from poms.webservice.rules.permissions import Actor
from poms.webservice.services import preparing, schedules
from poms.webservice.services.core import Core
from poms.webservice.services.pages.common import Url, campaign_place
from poms.webservice.services.schedules import Coming, Described

CLEARS: dict[bool | None, str] = {None: "stage", True: "yes", False: "no"}


def schedule_page(core: Core, actor: Actor, url: Url, stage_id: int, *, typed: Mapping[str, str] | None = None,
                  cron: str = "", problems: tuple[Problem, ...] = ()) -> dict[str, Any]:
    """The schedule in force and a form. ``typed``: what a person wrote into the form; ``cron``: what it comes to.

    Raises NotFound for a stage outside the actor's experiment.
    """
    zone = core.settings.experiment(actor.experiment).time_zone
    with core.db.read() as session:
        stage = preparing.load_stage(session, stage_id, actor.experiment)
        found = schedules.describe_for(session, stage, zone)
    shown = cron or ("" if problems else found.cron)
    coming = schedules.preview(core, actor.experiment, shown) if shown else None
    owner = {"owner_role": stage.creator_role, "owner_id": stage.creator}
    campaign = stage.campaign
    return {
        "stage": {"id": stage_id, "name": stage.name, "url": url("stage", campaign_stage_id=stage_id),
                  "campaign": campaign_place(campaign, url)},
        "schedule": _in_force(found), "form": {**_form(found), **(typed or {})}, "time_zone": zone,
        "stage_clears": stage.default_clear_cronjob, "problems": list(problems),
        "coming": _coming(coming, is_new=shown != found.cron) if coming else None,
        "may": {"edit": permissions.refusal(actor, "modify", **owner) is None and campaign is not None},
    }


def panel(session: Any, stage: CampaignStage, time_zone: str) -> dict[str, Any]:
    """What a stage's page says of its schedule; one statement."""
    found = schedules.describe_for(session, stage, time_zone)
    return {"schedule": found.text, "schedule_words": found.words, "schedule_launcher": found.launcher,
            "schedule_message": found.message, "next_launch_at": found.next_launch_at}


def _in_force(found: Described) -> dict[str, Any] | None:
    if not found.cron:
        return None
    return {"cron": found.cron, "words": found.words, "time_zone": found.time_zone, "launcher": found.launcher,
            "next_at": found.next_launch_at, "last_at": found.last_launch_at, "message": found.message,
            "catch_up": found.catch_up, "clear_at_end": found.clear_at_end}


def _form(found: Described) -> dict[str, str]:
    fields = {name: found.fields[name] for name in ("minlist", "hourlist", "domlist", "dowlist")}
    return {"cron": found.cron, **fields, "catch_up": found.catch_up, "clear_at_end": CLEARS[found.clear_at_end_said]}


def _coming(coming: Coming, *, is_new: bool) -> dict[str, Any]:
    zone = ZoneInfo(coming.time_zone)
    return {"cron": coming.cron, "words": coming.words, "is_new": is_new,
            "launches": [{"at": at, "local": f"{at.astimezone(zone):%a %Y-%m-%d %H:%M %Z}"}
                         for at in coming.launches_at]}
