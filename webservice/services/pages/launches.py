"""Held launches, the preview of a launch, and how the agents are."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session, aliased

from poms.webservice import __version__
from poms.webservice.errors import NotAllowed, PomsError, Problem
from poms.webservice.interfaces import LaunchPlan
from poms.webservice.model import AgentTask, Campaign, CampaignStage, Experiment, Launch, ServiceSetting
from poms.webservice.rules import permissions
from poms.webservice.rules.permissions import Actor
from poms.webservice.rules.recoveries import RECOVERY_WORDS
from poms.webservice.services import credentials, launch_requests, previews, tasks
from poms.webservice.services.campaigns import diff_lines
from poms.webservice.services.core import Core
from poms.webservice.services.list_columns import columns_of
from poms.webservice.services.pages.common import Url, counted, names_of
from poms.webservice.services.pages.previews import allowed_of, launch_of
from poms.webservice.services.pages.recoveries import rules_panel
from poms.webservice.services.previews import Foreseen
from poms.webservice.services.scouts import Part

PAGE = 50

_DOES = {"poll": "asks the batch system and records what changed", "upkeep": "ends what got stuck",
         "schedules": "launches what is due", "housekeeping": "removes old logs, puts unused campaigns to rest",
         "notify": "tells people of what they watch",
         "wrapup": "finds the output of completed submissions, launches recoveries and next stages"}


def held_page(core: Core, actor: Actor, url: Url, *, text: str = "", sort: str = "", after: int | None = None,
              offset: int = 0) -> dict[str, Any]:
    """Launches that are kept for later: oldest first, by number (``after``), or by a column, by ``offset``."""
    by_number = sort.removeprefix("-") not in _HELD_SORTS
    with core.db.read() as session:
        rows, more = _held_rows(session, actor, url, text=text, sort=sort, after=after, limit=PAGE,
                                offset=0 if by_number else offset)
        gate = launch_gate(session, actor)
        columns = columns_of(session, actor, "held_launches")
    kept = {**({"text": text} if text else {}), **({"sort": sort} if sort else {})}
    back = "" if by_number and after is None or not by_number and not offset else url("held_launches", **kept, **(
        {} if by_number else {"offset": max(0, offset - PAGE)}))
    on = {"after": rows[-1]["id"]} if by_number and rows else {"offset": offset + PAGE}
    return {
        "held": rows, "text": text, "gate": {"held": not gate["allowed"], "text": gate["text"]}, "columns": columns,
        "pager": {"text": f"{len(rows)} shown", "sorted": True, "newer_url": back,
                  "older_url": url("held_launches", **kept, **on) if more else ""},
        "may": {"act": permissions.refusal(actor, "do") is None, "gate": gate["may_change"]},
    }


# The number says how long a launch waits.
_HELD_SORTS = {"stage": CampaignStage.name, "why": Launch.hold_reason}


def held_pieces(core: Core, actor: Actor, url: Url, size: int, *, text: str = "") -> Iterator[list[dict[str, Any]]]:
    """All held launches in pieces, oldest first, each read by itself."""
    after, more = None, True
    while more:
        with core.db.read() as session:
            rows, more = _held_rows(session, actor, url, text=text, after=after, limit=size)
        yield rows
        after = rows[-1]["id"] if rows else None


def _held_rows(session: Session, actor: Actor, url: Url, *, text: str, after: int | None, limit: int, sort: str = "",
               offset: int = 0) -> tuple[list[dict[str, Any]], bool]:
    falling, column = sort.startswith("-"), _HELD_SORTS.get(sort.removeprefix("-"))
    falling = falling and (column is not None or sort == "-waiting")
    where = [Launch.experiment == actor.experiment, Launch.state == "held"]
    if actor.role == permissions.ANALYSIS:
        where.append(Launch.launcher == actor.experimenter_id)
    if after is not None and column is None:
        where.append(Launch.launch_id < after if falling else Launch.launch_id > after)
    if text:
        where.append(or_(CampaignStage.name.icontains(text, autoescape=True),
                         Campaign.name.icontains(text, autoescape=True)))
    found = session.execute(
        select(Launch, CampaignStage.name, Campaign.name)
        .join(CampaignStage, CampaignStage.campaign_stage_id == Launch.campaign_stage_id)
        .outerjoin(Campaign, Campaign.campaign_id == Launch.campaign_id)
        .where(*where).order_by(*(each.desc() if falling else each for each in (column, Launch.launch_id)
                                  if each is not None)).offset(offset).limit(limit + 1)).all()
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
    """What launching a stage would do, from the same code as the launch; nothing is written. Raises NotAllowed."""
    key = uuid.uuid4().hex
    foreseen = previews.of_launch(core, actor, launch_requests.by_hand(stage_id, key, test=test, dataset=dataset))
    if foreseen.what == "refuse":
        raise NotAllowed(foreseen.why)
    stage, plan, files = foreseen.stage, foreseen.plan, foreseen.input.count if foreseen.input else None
    problems = list(foreseen.problems)
    if plan is None and not problems:
        problems = [Problem("cs_split_type" if foreseen.what == "skip" else "", foreseen.why)]
    with core.db.read() as session:
        rules = rules_panel(core, session, stage)
        last = session.scalar(select(Launch).where(Launch.campaign_stage_id == stage_id, Launch.plan.is_not(None))
                              .order_by(Launch.launch_id.desc()).limit(1))
    refusal = permissions.refusal(actor, "do", owner_role=stage.creator_role, owner_id=stage.creator)
    launch, campaign = launch_of(foreseen, url), stage.campaign
    return {
        "stage": {**launch["stage"], "campaign": {
            "name": campaign.name if campaign else "",
            "url": url("campaign", campaign_id=stage.campaign_id) if campaign else ""}},
        "figures": [{"label": "Input files", "value": "–" if files is None else f"{files:,}"},
                    {"label": "Dataset", "value": launch["dataset"].replace("None", "") or "none"},
                    *([{"label": "Jobs", "value": f"{foreseen.jobs:,}"}] if foreseen.jobs else [])],
        "test": test, "problems": problems, "file_count": files, "job_count": foreseen.jobs, "launch_key": key,
        "dataset": _to_define(foreseen), "files": launch["files"], "slices": launch["slices"],
        "allowed": allowed_of(stage), "command": launch["command"], "runs_on": launch["runs_on"],
        "environment": launch["environment"], "text": launch["text"],
        "diff": _difference(last, plan), "last": {
            "id": last.submission_id, "at": last.created, "url": url("submission", submission_id=last.submission_id),
        } if last else None,
        "checks": _checks(foreseen),
        "recoveries": [{"name": entry.recovery_type, "description": RECOVERY_WORDS.get(entry.recovery_type, ""),
                        "overrides": " ".join(f"{name}{value}" for name, value in entry.param_overrides)}
                       for entry in stage.job_type.recoveries],
        "rules": rules,
        "hold_text": foreseen.why if foreseen.what == "hold" else "",
        "may": {"launch": refusal is None and not problems},
    }


def _to_define(foreseen: Foreseen) -> dict[str, str] | None:
    """The dataset that would be declared."""
    if not foreseen.defines:
        return None
    name, query = foreseen.defines[-1]
    return {"name": name, "query": query, "note": ""}


def _difference(last: Launch | None, plan: LaunchPlan | None) -> list[dict[str, str]]:
    """What of the command differs from the stage's last launch, argument by argument."""
    if last is None or plan is None:
        return []
    return diff_lines(*(f"{command}\n".replace(" ", "\n") for command in (last.plan["command"], plan.command)))


def _checks(foreseen: Foreseen) -> list[dict[str, Any]]:
    """What was looked at before the launch, each with its finding."""
    prepared, found = foreseen.prepared, foreseen.input
    if prepared is None:
        return []
    checks = [{"ok": not prepared.hold_reason, "text": "Launches are allowed", "note": prepared.hold_reason},
              {"ok": True, "text": "Every name in the command is known", "note": ""}]
    if prepared.learned:
        checks.append({"ok": True, "text": f"Begins with {prepared.learned}", "note": "earlier jobs needed it"})
    if prepared.scout is not None:
        checks.append(_scouted(prepared.scout))
    if prepared.dataset and not (prepared.scout and prepared.scout.dataset):
        note = counted(found.count, "file") if found is not None else foreseen.input_unknown
        checks.append({"ok": bool(found and found.count), "text": f"Dataset {prepared.plan.dataset} has files",
                       "note": note})
    elif not prepared.dataset and foreseen.stage.campaign_stage_type != "generator":
        checks.append({"ok": False, "text": "A dataset is given", "note": "only generators run without input"})
    return checks


def _scouted(part: Part) -> dict[str, Any]:
    """What goes first, or for what the launch would wait."""
    if part.waits_for:
        return {"ok": False, "text": "It would wait for a scout", "note": part.why_waits}
    return {"ok": True, "text": f"A scout goes ahead on {counted(len(part.files), 'file')}",
            "note": f"{counted(part.total - len(part.files), 'file')} wait until its jobs have ended: {part.rule}"}


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
    systems += _credentials(core, actor)
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


def _credentials(core: Core, actor: Actor) -> list[dict[str, Any]]:
    """The experiment's credentials, and in the analysis role one's own: how long they are good, or what is wrong."""
    role = permissions.ANALYSIS if actor.role == permissions.ANALYSIS else permissions.PRODUCTION
    return [{"name": state["kind"], "kind": state["whose"], "well": state["well"], "checked_at": core.clock(),
             "message": state["problem"] or ", ".join(filter(None, (
                 f"good until {state['expires_at']:%Y-%m-%d %H:%M} UTC" if state["expires_at"] else "",
                 state["note"]))) or "there"}
            for state in credentials.shown(core, actor.experiment, role, actor.username)]


def _health(core: Core, experiment: str, kind: str, title: str) -> dict[str, Any]:
    try:
        backend = core.backends.jobs(experiment) if kind == "jobs" else core.backends.data(experiment)
        health = backend.health()
        return {"name": title, "kind": kind, "well": health.ok, "message": health.message,
                "checked_at": health.checked_at}
    except PomsError as condition:
        return {"name": title, "kind": kind, "well": False, "message": str(condition), "checked_at": core.clock()}
