"""Held launches, the preview of a launch, and how the agents are."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session, aliased

from poms.webservice import __version__
from poms.webservice.errors import Invalid, PomsError, Problem
from poms.webservice.interfaces import LaunchPlan
from poms.webservice.model import AgentTask, Campaign, CampaignStage, Experiment, Launch, ServiceSetting
from poms.webservice.rules import permissions
from poms.webservice.rules.permissions import Actor
from poms.webservice.rules.recoveries import RECOVERY_WORDS
from poms.webservice.services import launching, tasks
from poms.webservice.services.campaigns import diff_lines
from poms.webservice.services.core import Core
from poms.webservice.services.launching import LaunchRequest, Prepared
from poms.webservice.services.list_columns import columns_of
from poms.webservice.services.pages.common import Url, counted, names_of
from poms.webservice.services.pages.recoveries import rules_panel

PAGE = 50

_DOES = {"poll": "asks the batch system and records what changed", "upkeep": "ends what got stuck",
         "schedules": "launches what is due", "housekeeping": "removes old logs, puts unused campaigns to rest",
         "notify": "tells people of what they watch",
         "wrapup": "finds the output of completed submissions, launches recoveries and next stages"}


def held_page(core: Core, actor: Actor, url: Url, *, text: str = "", after: int | None = None) -> dict[str, Any]:
    """Launches that are kept for later, oldest first."""
    with core.db.read() as session:
        rows, more = _held_rows(session, actor, url, text=text, after=after, limit=PAGE)
        gate = launch_gate(session, actor)
        columns = columns_of(session, actor, "held_launches")
    kept = {"text": text} if text else {}
    return {
        "held": rows, "text": text, "gate": {"held": not gate["allowed"], "text": gate["text"]}, "columns": columns,
        "pager": {"text": f"{len(rows)} shown",
                  "newer_url": url("held_launches", **kept) if after is not None else "",
                  "older_url": url("held_launches", **kept, after=rows[-1]["id"]) if more else ""},
        "may": {"act": permissions.refusal(actor, "do") is None, "gate": gate["may_change"]},
    }


def held_pieces(core: Core, actor: Actor, url: Url, size: int, *, text: str = "") -> Iterator[list[dict[str, Any]]]:
    """All held launches in pieces, each read by itself."""
    after, more = None, True
    while more:
        with core.db.read() as session:
            rows, more = _held_rows(session, actor, url, text=text, after=after, limit=size)
        yield rows
        after = rows[-1]["id"] if rows else None


def _held_rows(session: Session, actor: Actor, url: Url, *, text: str, after: int | None,
               limit: int) -> tuple[list[dict[str, Any]], bool]:
    where = [Launch.experiment == actor.experiment, Launch.state == "held"]
    if actor.role == permissions.ANALYSIS:
        where.append(Launch.launcher == actor.experimenter_id)
    if after is not None:
        where.append(Launch.launch_id > after)
    if text:
        where.append(or_(CampaignStage.name.icontains(text, autoescape=True),
                         Campaign.name.icontains(text, autoescape=True)))
    found = session.execute(
        select(Launch, CampaignStage.name, Campaign.name)
        .join(CampaignStage, CampaignStage.campaign_stage_id == Launch.campaign_stage_id)
        .outerjoin(Campaign, Campaign.campaign_id == Launch.campaign_id)
        .where(*where).order_by(Launch.launch_id).limit(limit + 1)).all()
    names = names_of(session, [row[0].launcher for row in found])
    return [{"id": launch.launch_id, "created_at": launch.created, "reason": launch.hold_reason or "",
             "stage": stage, "stage_url": url("stage", campaign_stage_id=launch.campaign_stage_id),
             "campaign": campaign or "", "campaign_url": url("campaign", campaign_id=launch.campaign_id)
             if launch.campaign_id else "", "dataset": launch.request.get("dataset_override") or "",
             "kind_text": launch.kind, "asked_by": names.get(launch.launcher, "")}
            for launch, stage, campaign in found[:limit]], len(found) > limit


def launch_gate(session: Any, actor: Actor) -> dict[str, Any]:
    """Whether launches of the service and of the experiment go, in words."""
    service = session.get(ServiceSetting, "launches")
    experiment = session.get(Experiment, actor.experiment)
    if service is not None and service.value == "hold":
        allowed, text = False, "All launches held"
    elif experiment is not None and experiment.launches_held_by is not None:
        allowed, text = False, f"{actor.experiment} launches held"
    else:
        allowed, text = True, "Launches allowed"
    return {"allowed": allowed, "text": text, "may_change": permissions.refusal(actor, "modify") is None
            and actor.role != permissions.ANALYSIS}


def preview_page(core: Core, actor: Actor, url: Url, stage_id: int, *, test: bool = False,
                 dataset: str = "") -> dict[str, Any]:
    """What launching a stage would do, from the same code as the launch; nothing is written."""
    key = uuid.uuid4().hex
    request = LaunchRequest(stage_id=stage_id, key=key, kind="test" if test else "manual", test=test,
                            dataset_override=dataset)
    problems: list[Problem] = []
    prepared = None
    try:
        prepared = launching.preview(core, actor, request)
    except Invalid as invalid:
        problems = list(invalid.problems)
    except launching.NoMoreSplits as end:
        problems = [Problem("cs_split_type", str(end))]
    with core.db.read() as session:
        stage = launching.load_stage(session, stage_id, actor.experiment)
        rules = rules_panel(core, session, stage)
        last = session.scalar(select(Launch).where(Launch.campaign_stage_id == stage_id, Launch.plan.is_not(None))
                              .order_by(Launch.launch_id.desc()).limit(1))
    refusal = permissions.refusal(actor, "do", owner_role=stage.creator_role, owner_id=stage.creator)
    files = _file_count(core, stage, prepared.dataset) if prepared else None
    plan = prepared.plan_for(0) if prepared else None
    campaign = stage.campaign
    return {
        "stage": {"id": stage_id, "name": stage.name, "url": url("stage", campaign_stage_id=stage_id),
                  "campaign": {"name": campaign.name if campaign else "",
                               "url": url("campaign", campaign_id=stage.campaign_id) if campaign else ""}},
        "figures": [{"label": "Input files", "value": "–" if files is None else f"{files:,}"},
                    {"label": "Dataset", "value": (prepared.dataset if prepared else "") or "none"}],
        "test": test, "problems": problems, "file_count": files, "job_count": None, "launch_key": key, "dataset": None,
        "command": plan.command if plan else "",
        "runs_on": f"{plan.host or 'this host'} as {plan.account or 'the service'}" if plan else "",
        "environment": [{"name": name, "value": value} for name, value in plan.environment if "key-" not in value]
        if plan else [],
        "diff": _difference(last, plan), "last": {
            "id": last.submission_id, "at": last.created, "url": url("submission", submission_id=last.submission_id),
        } if last else None,
        "checks": _checks(prepared, stage, files),
        "recoveries": [{"name": entry.recovery_type, "description": RECOVERY_WORDS.get(entry.recovery_type, ""),
                        "overrides": " ".join(f"{name}{value}" for name, value in entry.param_overrides)}
                       for entry in stage.job_type.recoveries],
        "rules": rules,
        "hold_text": prepared.hold_reason if prepared else "", "may": {"launch": refusal is None and not problems},
    }


def _difference(last: Launch | None, plan: LaunchPlan | None) -> list[dict[str, str]]:
    """What of the command differs from the stage's last launch, argument by argument."""
    if last is None or plan is None:
        return []
    return diff_lines(*(f"{command}\n".replace(" ", "\n") for command in (last.plan["command"], plan.command)))


def _checks(prepared: Prepared | None, stage: CampaignStage, files: int | None) -> list[dict[str, Any]]:
    """What was looked at before the launch, each with its finding."""
    if prepared is None:
        return []
    checks = [{"ok": not prepared.hold_reason, "text": "Launches are allowed", "note": prepared.hold_reason},
              {"ok": True, "text": "Every name in the command is known", "note": ""}]
    if prepared.learned:
        checks.append({"ok": True, "text": f"Begins with {prepared.learned}", "note": "earlier jobs needed it"})
    if prepared.dataset:
        note = "the catalogue knows no definition of this name" if files is None else counted(files, "file")
        checks.append({"ok": bool(files), "text": f"Dataset {prepared.dataset} has files", "note": note})
    elif stage.campaign_stage_type != "generator":
        checks.append({"ok": False, "text": "A dataset is given", "note": "only generators run without input"})
    return checks


def _file_count(core: Core, stage: CampaignStage, dataset: str) -> int | None:
    """Files in the dataset, None if there is no such definition or the catalogue does not say."""
    if not dataset:
        return None
    data = core.backends.data(stage.experiment)
    try:
        return data.count(data.dataset_query(dataset)) if data.definition(dataset) is not None else None
    except PomsError:
        return None


def agents_page(core: Core, actor: Actor) -> dict[str, Any]:
    """How the service is: tasks with their last success, systems asked, launches waiting."""
    now = core.clock()
    rows = tasks.list_tasks(core)
    launch = aliased(Launch)
    with core.db.read() as session:
        waiting, oldest = session.execute(
            select(func.count(), func.min(launch.created))
            .where(launch.state.in_(("owed", "queued")), launch.experiment == actor.experiment)).one()
    systems = [_health(core, actor.experiment, kind, title)
               for kind, title in (("jobs", "batch system"), ("data", "file catalogue"))]
    shown = [_task(core, row) for row in rows]
    well = bool(shown) and all(task["well"] for task in shown) and all(system["well"] for system in systems)
    seen: dict[str, Any] = {}
    for row in rows:
        if row.lease_owner and row.started_at:
            seen[row.lease_owner] = max(row.started_at, seen.get(row.lease_owner, row.started_at))
    return {
        "well": well, "summary": "Everything is being looked after." if well else
        "Some duty is not being done; see below." if shown else "No agent has run yet: start one with poms agent.",
        "agents": [{"name": owner, "host": owner.partition(":")[0], "seen_at": at, "well": now - at < tasks.LATE}
                   for owner, at in sorted(seen.items())],
        "tasks": shown, "systems": systems, "version": __version__,
        "figures": [{"label": "Launches waiting", "value": f"{waiting:,}"},
                    {"label": "Oldest of them", "value": "–" if oldest is None else
                     str(timedelta(seconds=round((now - oldest).total_seconds())))}],
    }


def _task(core: Core, row: AgentTask) -> dict[str, Any]:
    last = max((at for at in (row.succeeded_at, row.failed_at) if at), default=None)
    seconds = (last - row.started_at).total_seconds() if last and row.started_at and last >= row.started_at else None
    return {"name": row.name, "agent": row.lease_owner or "", "last_success_at": row.succeeded_at, "seconds": seconds,
            "does": _DOES.get(row.name.partition(":")[0], ""), "error": row.error or "", "error_at": row.failed_at,
            "message": row.message or "", "every_seconds": tasks.interval_seconds(core, row.name),
            "well": tasks.is_well(core, row)}


def _health(core: Core, experiment: str, kind: str, title: str) -> dict[str, Any]:
    try:
        backend = core.backends.jobs(experiment) if kind == "jobs" else core.backends.data(experiment)
        health = backend.health()
        return {"name": title, "kind": kind, "well": health.ok, "message": health.message,
                "checked_at": health.checked_at}
    except PomsError as condition:
        return {"name": title, "kind": kind, "well": False, "message": str(condition), "checked_at": core.clock()}
