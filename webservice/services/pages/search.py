"""Quick search: what one word may mean, over campaigns, stages, submissions, jobs, tags and one's own files."""

from __future__ import annotations

from typing import Any

from sqlalchemy import case, select
from sqlalchemy.orm import Session

from poms.webservice.model import Campaign, CampaignStage, Job, Tag
from poms.webservice.rules import permissions
from poms.webservice.rules.permissions import Actor
from poms.webservice.services import lookups, uploads
from poms.webservice.services.core import Core
from poms.webservice.services.pages.common import Url

MOST = 10
"""Of each kind."""


def search_page(core: Core, actor: Actor, url: Url, wanted: str) -> dict[str, Any]:
    """Everything that fits, by kind; ``straight`` is where a person means to go if that is beyond doubt, or ''."""
    wanted = wanted.replace("*", " ").strip()
    if not wanted:
        return {"wanted": "", "groups": [], "straight": "", "submission_id": None}
    submission_id = lookups.find_submission_id(core, actor.experiment, wanted)
    with core.db.read() as session:
        job = _job(session, submission_id, wanted)
        campaigns = _campaigns(session, actor, url, wanted)
        stages = _stages(session, actor, url, wanted)
        tags = _tags(session, actor, url, wanted)
    straight = ""
    if submission_id is not None:
        straight = (url("job", submission_id=submission_id, batch_id=job) if job
                    else url("submission", submission_id=submission_id))
    groups = [("Campaigns", campaigns, url("campaigns", view="all", text=wanted)), ("Stages", stages, ""),
              ("Tags", tags, url("tags", text=wanted)), ("Your files", _files(core, actor, url, wanted), "")]
    found = [{"kind": kind, "results": results[:MOST], "more_url": more if len(results) > MOST else "",
              "is_cut": len(results) > MOST} for kind, results, more in groups if results]
    every = [one for group in found for one in group["results"]]
    return {"wanted": wanted, "groups": found, "submission_id": submission_id,
            "straight": straight or (every[0]["url"] if len(every) == 1 else "")}


def _job(session: Session, submission_id: int | None, wanted: str) -> str:
    """The batch id, if it is that of a job that POMS knows."""
    if submission_id is None or "." not in wanted.partition("@")[0]:
        return ""
    return session.scalar(select(Job.batch_id).where(Job.submission_id == submission_id, Job.batch_id == wanted)) or ""


def _exact_first(column: Any, wanted: str) -> Any:
    return case((column == wanted, 0), else_=1)


def _campaigns(session: Session, actor: Actor, url: Url, wanted: str) -> list[dict[str, Any]]:
    rows = session.execute(
        select(Campaign.campaign_id, Campaign.name, Campaign.active)
        .where(Campaign.experiment == actor.experiment, Campaign.name.icontains(wanted, autoescape=True))
        .order_by(_exact_first(Campaign.name, wanted), Campaign.last_activity_at.desc()).limit(MOST + 1))
    return [{"text": name, "note": "" if active else "inactive", "url": url("campaign", campaign_id=number)}
            for number, name, active in rows]


def _stages(session: Session, actor: Actor, url: Url, wanted: str) -> list[dict[str, Any]]:
    rows = session.execute(
        select(CampaignStage.campaign_stage_id, CampaignStage.name, Campaign.name)
        .join(Campaign, Campaign.campaign_id == CampaignStage.campaign_id)
        .where(CampaignStage.experiment == actor.experiment, CampaignStage.name.icontains(wanted, autoescape=True))
        .order_by(_exact_first(CampaignStage.name, wanted), Campaign.last_activity_at.desc(),
                  CampaignStage.campaign_stage_id).limit(MOST + 1))
    return [{"text": name, "note": campaign, "url": url("stage", campaign_stage_id=number)}
            for number, name, campaign in rows]


def _tags(session: Session, actor: Actor, url: Url, wanted: str) -> list[dict[str, Any]]:
    rows = session.scalars(
        select(Tag.tag_name).where(Tag.experiment == actor.experiment, Tag.tag_name.icontains(wanted, autoescape=True))
        .order_by(_exact_first(Tag.tag_name, wanted), Tag.tag_name).limit(MOST + 1))
    return [{"text": name, "note": "", "url": url("campaigns", view="all", tag=name)} for name in rows]


def _files(core: Core, actor: Actor, url: Url, wanted: str) -> list[dict[str, Any]]:
    if permissions.refusal(actor, "create"):
        return []
    return [{"text": file.name, "note": "", "url": url("download_file", filename=file.name)}
            for file in uploads.list_files(core, actor) if wanted.lower() in file.name.lower()][:MOST + 1]
