"""The list of campaigns, and the pages of one campaign."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session, aliased

from poms.webservice.errors import NotFound
from poms.webservice.model import (
    Campaign,
    CampaignDependency,
    CampaignStage,
    CampaignTag,
    CampaignVersion,
    Event,
    Experimenter,
    StageStatusCount,
    Submission,
    Tag,
)
from poms.webservice.rules import permissions
from poms.webservice.rules.permissions import Actor
from poms.webservice.rules.statuses import NEEDS_PERSON, Status
from poms.webservice.services import watches
from poms.webservice.services.core import Core
from poms.webservice.services.list_columns import columns_of
from poms.webservice.services.pages.common import (
    Url,
    add_counts,
    counted,
    done_text,
    edges_of,
    happened,
    job_counts,
    names_of,
    newest_submissions,
    page_of,
    percent_text,
    stage_state,
    whole_campaign,
)
from poms.webservice.services.pages.home import stage_strips
from poms.webservice.services.pages.pauses import pause_notice
from poms.webservice.services.pages.scouts import open_scouts, scout_notices
from poms.webservice.services.pages.timeline import stage_timeline

PAGE = 50

_SORTS = {"name": Campaign.name, "changed": Campaign.last_activity_at, "id": Campaign.campaign_id}
VIEWS = (("active", "Active"), ("mine", "Mine"), ("inactive", "Inactive"), ("all", "All"))
MADE_AS = (("", "All"), (permissions.PRODUCTION, "Production"), (permissions.ANALYSIS, "Analysis"))
"""Whose campaigns: those that belong to the production role, to analysis, or both."""


def campaign_list(core: Core, actor: Actor, url: Url, *, view: str = "active", text: str = "", sort: str = "-changed",
                  tag: str = "", made_as: str = "", offset: int = 0) -> dict[str, Any]:
    """Campaigns of the experiment; ``sort`` is a column's name, with ``-`` in front for the other direction."""
    with core.db.read() as session:
        rows, more = campaign_rows(session, actor, url, view=view, text=text, sort=sort, tag=tag, made_as=made_as,
                                   offset=offset, limit=PAGE)
        begins = _beginnings(session, [row["id"] for row in rows if row["may"]["launch"]])
        columns = columns_of(session, actor, "campaigns")
        is_first = not rows and session.scalar(
            select(Campaign.campaign_id).where(Campaign.experiment == actor.experiment).limit(1)) is None
    kept = {name: value for name, value in (("tag", tag), ("made_as", made_as)) if value}
    arguments = {"view": view, "text": text, "sort": sort, **kept}
    return {
        "views": [{"label": label, "url": url("campaigns", **{**kept, "view": name}), "count": None,
                   "current": view == name} for name, label in VIEWS],
        "made_as": [{"label": label, "url": url("campaigns", **{**arguments, "made_as": role}),
                   "current": made_as == role} for role, label in MADE_AS],
        "text": text, "tag": tag, "is_first": is_first, "columns": columns,
        "campaigns": [{**row, "launchable": begins.get(row["id"], [])} for row in rows],
        "pager": {"text": f"{offset + 1:,} to {offset + len(rows):,}" if rows else "",
                  "newer_url": url("campaigns", **arguments, offset=max(0, offset - PAGE)) if offset else "",
                  "older_url": url("campaigns", **arguments, offset=offset + PAGE) if more else ""},
        "may": {"create": permissions.refusal(actor, "create") is None,
                "act": permissions.refusal(actor, "modify") is None},
    }


def _beginnings(session: Session, campaign_ids: list[int]) -> dict[int, list[dict[str, Any]]]:
    """For each campaign the stages that no other feeds, which a launch begins with."""
    if not campaign_ids:
        return {}
    found: dict[int, list[dict[str, Any]]] = {}
    for stage in session.execute(
            select(CampaignStage.campaign_id, CampaignStage.campaign_stage_id, CampaignStage.name)
            .where(CampaignStage.campaign_id.in_(campaign_ids), ~_is_fed())
            .order_by(CampaignStage.position, CampaignStage.campaign_stage_id)):
        found.setdefault(stage.campaign_id, []).append({"id": stage.campaign_stage_id, "name": stage.name})
    return found


def campaign_rows(session: Session, actor: Actor, url: Url, *, view: str, text: str, sort: str, tag: str = "",
                  made_as: str = "", offset: int = 0, limit: int = PAGE) -> tuple[list[dict[str, Any]], bool]:
    """One piece of the list of campaigns, and whether there are more; three statements for any number of rows."""
    where = [Campaign.experiment == actor.experiment]
    if view in ("active", "mine"):
        where.append(Campaign.active)
    if view == "inactive":
        where.append(~Campaign.active)
    if view == "mine":
        where.append(Campaign.creator == actor.experimenter_id)
    if text:
        where.append(_matches(text))
    if made_as:
        is_analysis = Campaign.creator_role == permissions.ANALYSIS
        where.append(is_analysis if made_as == permissions.ANALYSIS else ~is_analysis)
    if tag:
        where.append(Campaign.campaign_id.in_(
            select(CampaignTag.campaign_id).join(Tag, Tag.tag_id == CampaignTag.tag_id)
            .where(Tag.experiment == actor.experiment, Tag.tag_name == tag)))
    query = select(Campaign.campaign_id, Campaign.name, Campaign.active, Campaign.last_activity_at, Campaign.creator,
                   Campaign.creator_role, Experimenter.username).outerjoin(
                       Experimenter, Experimenter.experimenter_id == Campaign.creator)
    found = session.execute(_sorted(query.where(*where), sort).offset(offset).limit(limit + 1)).all()
    shown = found[:limit]
    numbers = [campaign.campaign_id for campaign in shown]
    strips = stage_strips(session, numbers, url)
    tags = _tags(session, numbers)
    return [{
        "id": campaign.campaign_id, "name": campaign.name, "active": campaign.active,
        "url": url("campaign", campaign_id=campaign.campaign_id), "tags": tags.get(campaign.campaign_id, []),
        **strips[campaign.campaign_id], "changed_at": campaign.last_activity_at, "creator": campaign.username or "",
        "made_as": campaign.creator_role,
        "may": _may(actor, campaign, is_launched=strips[campaign.campaign_id]["is_launched"]),
    } for campaign in shown], len(found) > limit


def _may(actor: Actor, campaign: Any, *, is_launched: bool) -> dict[str, bool]:
    """What somebody may do to a campaign. One that was ever launched is not deleted."""
    owner = {"owner_role": campaign.creator_role, "owner_id": campaign.creator}
    modify = permissions.refusal(actor, "modify", **owner) is None
    return {"launch": permissions.refusal(actor, "do", **owner) is None, "modify": modify,
            "delete": modify and not is_launched}


def campaign_pieces(core: Core, actor: Actor, url: Url, size: int, **which: Any) -> Iterator[list[dict[str, Any]]]:
    """The whole list in pieces, each read by itself."""
    offset, more = 0, True
    while more:
        with core.db.read() as session:
            rows, more = campaign_rows(session, actor, url, offset=offset, limit=size, **which)
        yield rows
        offset += size


def _matches(text: str) -> Any:
    pattern = f"%{text.replace('/', '//').replace('%', '/%').replace('_', '/_')}%"
    tagged = (select(CampaignTag.campaign_id).join(Tag, Tag.tag_id == CampaignTag.tag_id)
              .where(Tag.tag_name.ilike(pattern, escape="/")))
    makers = select(Experimenter.experimenter_id).where(Experimenter.username == text)
    return or_(Campaign.name.ilike(pattern, escape="/"), Campaign.campaign_id.in_(tagged),
               Campaign.creator.in_(makers))


def _sorted(query: Any, sort: str) -> Any:
    name, down = sort.removeprefix("-"), sort.startswith("-")
    if name in ("running", "held", "failed"):
        sums = (select(CampaignStage.campaign_id, func.sum(getattr(CampaignStage, f"jobs_{name}")).label("jobs"))
                .group_by(CampaignStage.campaign_id).subquery())
        query = query.outerjoin(sums, sums.c.campaign_id == Campaign.campaign_id)
        column = func.coalesce(sums.c.jobs, 0)
    else:
        column = _SORTS.get(name, Campaign.last_activity_at)
    return query.order_by(column.desc() if down else column, Campaign.campaign_id.desc())


def _tags(session: Session, numbers: list[int]) -> dict[int, list[str]]:
    tags: dict[int, list[str]] = {}
    if numbers:
        for number, name in session.execute(
                select(CampaignTag.campaign_id, Tag.tag_name).join(Tag, Tag.tag_id == CampaignTag.tag_id)
                .where(CampaignTag.campaign_id.in_(numbers)).order_by(Tag.tag_name)):
            tags.setdefault(number, []).append(name)
    return tags


# --------------------------------------------------------------------------------- one campaign


def campaign_head(session: Session, actor: Actor, campaign_id: int, url: Url) -> tuple[Campaign, dict[str, Any]]:
    """What every page of a campaign shows above its tabs. Raises NotFound outside the actor's experiment."""
    maker, saver = aliased(Experimenter), aliased(Experimenter)
    submissions = (select(func.coalesce(func.sum(StageStatusCount.submissions), 0))
                   .join(CampaignStage, CampaignStage.campaign_stage_id == StageStatusCount.campaign_stage_id)
                   .where(CampaignStage.campaign_id == campaign_id).scalar_subquery())
    found = session.execute(
        select(Campaign, maker.username, CampaignVersion.created, saver.username, submissions)
        .join(maker, maker.experimenter_id == Campaign.creator)
        .outerjoin(CampaignVersion, and_(CampaignVersion.campaign_id == Campaign.campaign_id,
                                         CampaignVersion.number == Campaign.version_number))
        .outerjoin(saver, saver.experimenter_id == CampaignVersion.creator)
        .where(Campaign.campaign_id == campaign_id, Campaign.experiment == actor.experiment)).one_or_none()
    if found is None:
        raise NotFound(f"There is no campaign {campaign_id} in {actor.experiment}.")
    campaign, made_by, saved_at, saved_by, submissions = found
    launchable = _launchable(session, campaign_id)
    may = {**_may(actor, campaign, is_launched=bool(submissions)), "watch": True}
    head = {
        "campaign": {"id": campaign.campaign_id, "name": campaign.name,
                     "url": url("campaign", campaign_id=campaign.campaign_id),
                     "tags": _tags(session, [campaign_id]).get(campaign_id, []), "active": campaign.active,
                     "version": campaign.version_number, "saved_at": saved_at or campaign.created,
                     "saved_by": saved_by or made_by,
                     "role": campaign.creator_role, "data_handling": campaign.data_handling_service.upper(),
                     "stage_count": len(launchable), "creator": made_by,
                     "watched": watches.is_watched(session, actor, campaign_id=campaign_id)},
        "submission_count": int(submissions), "version_count": campaign.version_number, "may": may,
        "launchable": launchable,
    }
    return campaign, head


def _launchable(session: Session, campaign_id: int) -> list[dict[str, Any]]:
    """All stages. Those that no other stage feeds come first; the others can be chosen all the same."""
    rows = session.execute(
        select(CampaignStage.campaign_stage_id, CampaignStage.name, _is_fed())
        .where(CampaignStage.campaign_id == campaign_id)
        .order_by(CampaignStage.position, CampaignStage.campaign_stage_id)).all()
    return [{"name": name, "id": number} for number, name, _ in sorted(rows, key=lambda row: row[2])]


def _is_fed() -> Any:
    """Whether another stage feeds this one."""
    return (select(CampaignDependency.campaign_dep_id)
            .where(CampaignDependency.consumer_campaign_stage_id == CampaignStage.campaign_stage_id,
                   CampaignDependency.provider_campaign_stage_id != CampaignStage.campaign_stage_id).exists())


def campaign_page(core: Core, actor: Actor, url: Url, campaign_id: int) -> dict[str, Any]:
    """The overview: figures, the graph of stages, what needs a person, what happened."""
    with core.db.read() as session:
        campaign, head = campaign_head(session, actor, campaign_id, url)
        stages = session.scalars(
            select(CampaignStage).where(CampaignStage.campaign_id == campaign_id)
            .order_by(CampaignStage.position, CampaignStage.campaign_stage_id)).all()
        ahead = open_scouts(session, [stage for stage in stages if stage.scout])
        newest = newest_submissions(session, stages)
        links = session.scalars(select(CampaignDependency).where(
            CampaignDependency.provider_campaign_stage_id.in_([stage.campaign_stage_id for stage in stages]))).all()
        events = happened(session, url, Event.campaign_id == campaign_id)
        timeline = stage_timeline(session, campaign_id, stages, core.clock(), url)
    rows = [stage_row(stage, newest.get(stage.campaign_stage_id), links, url) for stage in stages]
    by_number = {stage.campaign_stage_id: row for stage, row in zip(stages, rows, strict=True)}
    counts = add_counts(row["counts"] for row in rows)
    return {
        **head, "face": "overview", "notices": _notices(campaign, rows, url, may_do=head["may"]["launch"])
        + [notice for stage in stages for notice in scout_notices(
            ahead.get(stage.campaign_stage_id), url, may_do=head["may"]["launch"], stage=stage.name)],
        "figures": _figures(rows, counts),
        "stages": rows, "counts": counts, "happened": events, "definition": _definition(campaign, stages, head, url),
        "timeline": timeline,
        "edges": edges_of(links, by_number),
    }


def stage_row(stage: CampaignStage, newest: Submission | None, links: Any, url: Url) -> dict[str, Any]:
    """One stage, with its newest submission, as lists and graphs show it."""
    status, since = (newest.status_id, newest.status_since) if newest else (None, None)
    counts = job_counts(stage, located=status == Status.LOCATED)
    depths = _depths(links)
    return {
        "id": stage.campaign_stage_id, "name": stage.name, "state": stage_state(status), "since": since,
        "url": url("stage", campaign_stage_id=stage.campaign_stage_id), "why": _why(stage, newest, links),
        "depth": depths.get(stage.campaign_stage_id, 0), "done": percent_text(counts), "done_text": done_text(counts),
        "counts": counts, "total": sum(counts.values()), "running": stage.jobs_running, "idle": stage.jobs_idle,
        "failed": stage.jobs_failed, "removed": stage.jobs_removed, "held": stage.jobs_held,
        "files_out": stage.files_generated, "files_in": stage.files_consumed,
    }


def _depths(links: Any) -> dict[int, int]:
    """How far each stage is from a beginning; a cycle ends the count."""
    feeds: dict[int, list[int]] = {}
    for link in links:
        if link.provider_campaign_stage_id != link.consumer_campaign_stage_id:
            feeds.setdefault(link.provider_campaign_stage_id, []).append(link.consumer_campaign_stage_id)
    fed = {consumer for consumers in feeds.values() for consumer in consumers}
    depths: dict[int, int] = {}
    frontier = [number for number in feeds if number not in fed]
    level = 0
    while frontier and level <= len(feeds):
        for number in frontier:
            depths[number] = level
        frontier = sorted({consumer for number in frontier for consumer in feeds.get(number, ())})
        level += 1
    return depths


def _why(stage: CampaignStage, newest: Submission | None, links: Any) -> str:
    if stage.hold_experimenter_id is not None:
        return "launches are held" + (f": {stage.hold_reason}" if stage.hold_reason else "")
    if newest is None:
        fed = any(link.consumer_campaign_stage_id == stage.campaign_stage_id for link in links)
        return "waits for the stage before it" if fed else "not launched yet"
    if newest.status_id in (Status.COMPLETED, Status.LOCATED):
        return newest.wrapup_message or "all jobs ended"
    if newest.status_id == Status.HELD:
        return f"{counted(newest.jobs_held, 'job')} held"
    what = (f"recovery of submission {newest.recovery_tasks_parent}" if newest.recovery_tasks_parent
            else f"submission {newest.submission_id}")
    if newest.status_id == Status.NEW:
        return f"{what} is being launched"
    ended = newest.jobs_completed + newest.jobs_failed + newest.jobs_removed
    return f"{what}: {ended:,} of {counted(newest.jobs_expected, 'job')} ended"


def _notices(campaign: Campaign, rows: list[dict[str, Any]], url: Url, *, may_do: bool) -> list[dict[str, Any]]:
    labels = {status.label for status in NEEDS_PERSON}
    notices = [{"state": row["state"], "title": f"{row['name']}: {row['state']}", "text": row["why"],
                "actions": [{"label": f"Open {row['name']}", "url": row["url"]}]}
               for row in rows if row["state"] in labels]
    if campaign.held_by is not None:
        notices.insert(0, {"state": "overdue", "title": "Launches of this campaign are held",
                           "text": campaign.held_reason or "", "actions": []})
    if campaign.paused_at is not None:
        notices.insert(0, pause_notice(campaign, url, may_do=may_do))
    return notices


def _figures(rows: list[dict[str, Any]], counts: dict[str, int]) -> list[dict[str, Any]]:
    known = sum(counts.values())
    total = whole_campaign(counts, [row["state"] for row in rows])
    located = sum(1 for row in rows if row["state"] == Status.LOCATED.label)
    return [
        {"label": "Done", "value": percent_text(counts, total),
         "unit": f"of {'about ' if total > known else ''}{counted(total, 'job')}", "counts": counts,
         "total": total},
        {"label": "Stages located", "value": f"{located}", "unit": f"of {len(rows)}"},
        {"label": "Jobs now", "value": f"{counts.get('Running', 0):,}", "unit": "running",
         "note": f"{counts.get('Idle', 0):,} idle, {counts.get('Held', 0):,} held"},
        {"label": "Failed or removed", "value": f"{sum(row['failed'] + row['removed'] for row in rows):,}",
         "unit": "job" if sum(row['failed'] + row['removed'] for row in rows) == 1 else "jobs",
         "note": "their files are left to recoveries"},
        {"label": "Files made", "value": f"{sum(row['files_out'] for row in rows):,}",
         "note": f"{counted(sum(row['files_in'] for row in rows), 'file')} consumed"},
    ]


def _definition(campaign: Campaign, stages: Any, head: dict[str, Any], url: Url) -> list[dict[str, Any]]:
    keywords = ", ".join(f"{key}={value}" for key, value in (campaign.campaign_keywords or {}).items())
    versions = sorted({stage.software_version for stage in stages})
    return [
        {"label": "Creator", "value": head["campaign"]["creator"]},
        {"label": "Made", "value": "", "at": campaign.created},
        {"label": "Software version", "value": ", ".join(versions), "mono": True},
        {"label": "Keywords", "value": keywords, "mono": True},
        {"label": "Data handling", "value": head["campaign"]["data_handling"]},
        {"label": "Text", "value": f"version {campaign.version_number}",
         "url": url("campaign_text", campaign_id=campaign.campaign_id)},
    ]


def version_list(core: Core, actor: Actor, url: Url, campaign_id: int, *, before: int | None = None) -> dict[str, Any]:
    """The saved texts of a campaign, newest first."""
    with core.db.read() as session:
        campaign, head = campaign_head(session, actor, campaign_id, url)
        query = select(CampaignVersion).where(CampaignVersion.campaign_id == campaign_id)
        if before is not None:
            query = query.where(CampaignVersion.number < before)
        rows = session.scalars(query.order_by(CampaignVersion.number.desc()).limit(PAGE + 1)).all()
        shown, newer, older = page_of(rows, PAGE, before=before, after=None)
        names = names_of(session, [version.creator for version in shown])
    return {
        **head, "face": "versions", "compared": None,
        "versions": [{"number": version.number, "saved_at": version.created, "source": version.source,
                      "saved_by": names.get(version.creator, ""), "summary": version.message,
                      "current": version.number == campaign.version_number} for version in shown],
        "pager": {"text": counted(len(shown), "version"), "newer_url": url("campaign_versions", campaign_id=campaign_id)
                  if newer else "", "older_url": url("campaign_versions", campaign_id=campaign_id,
                                                     before=shown[-1].number) if older else ""},
    }
