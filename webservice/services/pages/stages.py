"""The page of one stage: how it goes, with which settings, what it needs and feeds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session, joinedload

from poms.webservice.errors import NotFound
from poms.webservice.model import (
    CampaignDependency,
    CampaignStage,
    Event,
    JobType,
    Scout,
    StageStatusCount,
    Submission,
)
from poms.webservice.rules import parameters, permissions
from poms.webservice.rules.permissions import Actor
from poms.webservice.rules.recoveries import RECOVERY_WORDS
from poms.webservice.rules.statuses import NEEDS_PERSON
from poms.webservice.services import launch_gates, splits, watches
from poms.webservice.services.core import Core
from poms.webservice.services.pages import schedules
from poms.webservice.services.pages.campaigns import stage_row
from poms.webservice.services.pages.common import (
    Url,
    add_counts,
    campaign_place,
    done_text,
    edges_of,
    happened,
    names_of,
    newest_submissions,
)
from poms.webservice.services.pages.recoveries import rules_panel
from poms.webservice.services.pages.scouts import is_newest_scout, scout_facts, scout_notices
from poms.webservice.services.pages.submissions import submission_rows

LATEST = 10


def stage_page(core: Core, actor: Actor, url: Url, stage_id: int) -> dict[str, Any]:
    """Raises NotFound for a stage outside the actor's experiment."""
    with core.db.read() as session:
        stage, total, scout = _load(session, actor, stage_id)
        links = session.scalars(
            select(CampaignDependency)
            .where((CampaignDependency.provider_campaign_stage_id == stage_id)
                   | (CampaignDependency.consumer_campaign_stage_id == stage_id))
            .options(joinedload(CampaignDependency.provider), joinedload(CampaignDependency.consumer))).all()
        around = {stage_id: stage}
        for link in links:
            around |= {link.provider.campaign_stage_id: link.provider, link.consumer.campaign_stage_id: link.consumer}
        newest = newest_submissions(session, around.values())
        latest = session.scalars(select(Submission).where(Submission.campaign_stage_id == stage_id)
                                 .order_by(Submission.submission_id.desc()).limit(LATEST)).all()
        made = [stage, stage.job_type, stage.login_setup]
        names = names_of(session, [stage.hold_experimenter_id, *(number for each in made for number in (
            each.creator, each.updater)), *(item.creator for item in latest)])
        held = launch_gates.held_because(session, stage)
        rules = rules_panel(core, session, stage)
        schedule = schedules.panel(session, stage, core.settings.experiment(actor.experiment).time_zone)
        events = happened(session, url, Event.campaign_stage_id == stage_id)
        watched = watches.is_watched(session, actor, stage_id=stage_id)
    rows = {number: stage_row(item, newest.get(number), links, url) for number, item in around.items()}
    this = rows[stage_id]
    owner = {"owner_role": stage.creator_role, "owner_id": stage.creator}
    may_do = permissions.refusal(actor, "do", **owner) is None
    campaign = stage.campaign
    return {
        "stage": {
            "id": stage_id, "name": stage.name, "url": this["url"], "state": this["state"], "why": this["why"],
            "since": this["since"], "watched": watched, "held": bool(held),
            "held_by": names.get(stage.hold_experimenter_id, ""),
            "campaign": campaign_place(campaign, url),
            "fed_by": [{"text": _fed_text(link), "url": rows[link.provider_campaign_stage_id]["url"]}
                       for link in links if link.consumer_campaign_stage_id == stage_id],
            "feeds": [{"text": link.consumer.name, "url": rows[link.consumer_campaign_stage_id]["url"]}
                      for link in links if link.provider_campaign_stage_id == stage_id]},
        "notices": scout_notices(scout, url, may_do=may_do) + _notices(this, held, url),
        "figures": _figures(stage, this),
        "submissions": submission_rows(latest, names, {stage_id: stage.name}, url), "submission_count": total,
        "settings": _settings(stage, scout) + made_rows(stage, names),
        "job_type": _job_type(stage) + made_rows(stage.job_type, names),
        "login_setup": _login_setup(stage) + made_rows(stage.login_setup, names),
        "split_marks": [{"id": item.submission_id, "at": item.created,
                         "dataset": item.submission_params.get("dataset") or ""}
                        for item in latest if splits.TAKEN_FROM in item.submission_params],
        "recoveries": [{"name": entry.recovery_type, "description": RECOVERY_WORDS.get(entry.recovery_type, ""),
                        "overrides": _pairs(entry.param_overrides)}
                       for entry in stage.job_type.recoveries],
        "rules": rules,
        "stages": list(rows.values()),
        "edges": edges_of(links, rows, into=stage_id),
        **schedule, "happened": events,
        "live": {"running": stage.jobs_running, "idle": stage.jobs_idle, "held": stage.jobs_held},
        "may": {"launch": may_do and campaign is not None, "act": may_do, "hold_launches": may_do,
                "edit": campaign is not None and permissions.refusal(actor, "modify", **owner) is None},
    }


def _load(session: Session, actor: Actor, stage_id: int) -> tuple[CampaignStage, int, Scout | None]:
    """A stage with what belongs to it, the number of its submissions, and its newest scout."""
    total = (select(func.coalesce(func.sum(StageStatusCount.submissions), 0))
             .where(StageStatusCount.campaign_stage_id == stage_id).scalar_subquery())
    found = session.execute(
        select(CampaignStage, total, Scout).outerjoin(Scout, is_newest_scout())
        .where(CampaignStage.campaign_stage_id == stage_id, CampaignStage.experiment == actor.experiment)
        .options(joinedload(CampaignStage.campaign), joinedload(CampaignStage.job_type).joinedload(JobType.recoveries),
                 joinedload(CampaignStage.login_setup))).unique().one_or_none()
    if found is None:
        raise NotFound(f"There is no stage {stage_id} in {actor.experiment}.")
    stage, submissions, scout = found
    return stage, int(submissions), scout


def _fed_text(link: CampaignDependency) -> str:
    """The stage that feeds this one, and with which of its files if not with all."""
    return link.provider.name + ("" if link.file_patterns == "%" else f" ({link.file_patterns})")


def _notices(this: dict[str, Any], held: str, url: Url) -> list[dict[str, Any]]:
    notices = []
    if held:
        notices.append({"state": "overdue", "title": "Launches of this stage are kept for later", "text": held,
                        "actions": [{"label": "See held launches", "url": url("held_launches")}]})
    if this["state"] in {status.label for status in NEEDS_PERSON}:
        notices.append({"state": this["state"], "title": f"The newest submission is {this['state']}",
                        "text": this["why"], "actions": []})
    return notices


def _figures(stage: CampaignStage, this: dict[str, Any]) -> list[dict[str, Any]]:
    counts = add_counts([this["counts"]])
    return [
        {"label": "Done", "value": this["done"], "unit": done_text(counts), "counts": counts, "total": this["total"]},
        {"label": "Jobs now", "value": f"{stage.jobs_running:,}", "unit": "running",
         "note": f"{stage.jobs_idle:,} idle, {stage.jobs_held:,} held"},
        {"label": "Files", "value": f"{stage.files_generated:,}", "unit": "made",
         "note": f"{stage.files_consumed:,} consumed"},
        {"label": "Failed or removed", "value": f"{stage.jobs_failed + stage.jobs_removed:,}",
         "unit": "job" if stage.jobs_failed + stage.jobs_removed == 1 else "jobs"},
    ]


def _settings(stage: CampaignStage, scout: Scout | None) -> list[dict[str, Any]]:
    """What the stage is launched with; what equals the campaign's default says so."""
    defaults = (stage.campaign.defaults or {}) if stage.campaign else {}
    rows = [
        ("Dataset or split data", "dataset_or_split_data", stage.dataset),
        ("Split type", "cs_split_type", stage.cs_split_type or ""),
        ("Split position", "", _position(stage)),
        ("Software version", "software_version", stage.software_version),
        ("Role", "vo_role", stage.vo_role),
        ("Completion", "completion_type", stage.completion_type),
        ("Completion threshold", "completion_pct", f"{stage.completion_pct:g} %"),
        ("Parameter overrides", "param_overrides", _pairs(stage.param_overrides)),
        ("Begins on its input", "start_when", stage.start_when or ""),
        ("Scout", "scout", stage.scout or ""),
        *([("Newest scout", "", scout_facts(scout))] if scout is not None else []),
        ("Merges the campaign's overrides", "merge_overrides", str(bool(stage.merge_overrides))),
        ("Stops its schedule when nothing is left", "default_clear_cronjob", str(bool(stage.default_clear_cronjob))),
        ("Split of tests", "test_split_type", stage.test_split_type or ""),
        ("Test overrides", "test_param_overrides", _pairs(stage.test_param_overrides)),
        ("Stage type", "stage_type", stage.campaign_stage_type),
        ("Generations from input to output", "output_ancestor_depth", str(stage.output_ancestor_depth)),
    ]
    return [{"label": label, "value": value, "mono": True,
             "inherited": "the campaign" if key and _same(defaults.get(key), value) else ""}
            for label, key, value in rows]


def _position(stage: CampaignStage) -> str:
    """How far the split is, in the words of its type; what the preview shows comes next."""
    place = {key: value for key, value in (stage.cs_last_split or {}).items() if key != "v"}
    if not place:
        return "at the start" if parameters.given(stage.cs_split_type) else ""
    return "behind " + ", ".join(f"{word} {value if isinstance(value, (str, int, float)) else json.dumps(value)}"
                                 for word, value in place.items())


def made_rows(item: Any, names: Mapping[int | None, str]) -> list[dict[str, Any]]:
    """Who made something and who changed it last, and when."""
    return [{"label": label, "value": "", "at": at, "by": names.get(number, "")}
            for label, at, number in (("Made", item.created, item.creator), ("Changed", item.updated, item.updater))
            if at is not None]


def _same(default: Any, value: str) -> bool:
    if isinstance(default, list):
        return bool(default) and _pairs(default) == value
    text = f"{default:g}" if isinstance(default, float) else str(default)
    return default not in (None, "") and text == value.removesuffix(" %")


def _job_type(stage: CampaignStage) -> list[dict[str, Any]]:
    job_type = stage.job_type
    return [{"label": "Name", "value": job_type.name},
            {"label": "Launch script", "value": job_type.launch_script, "mono": True},
            {"label": "Parameters", "value": _pairs(job_type.definition_parameters), "mono": True},
            {"label": "Output patterns", "value": job_type.output_file_patterns, "mono": True}]


def _login_setup(stage: CampaignStage) -> list[dict[str, Any]]:
    setup = stage.login_setup
    return [{"label": "Name", "value": setup.name},
            {"label": "Runs on", "value": f"{setup.launch_host} as {setup.launch_account or 'the service'}"},
            {"label": "Setup", "value": setup.launch_setup, "mono": True}]


def _pairs(pairs: Any) -> str:
    """A parameter list as it stands on the command line."""
    return " ".join(f"{key}{value}" for key, value in pairs or [])


