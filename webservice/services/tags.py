"""Tags: names for sets of campaigns; find them, find what carries them, take them off.

Putting a tag on campaigns is ``campaigns.add_tag``. Invariant: tags and campaigns are of the same experiment.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import delete, func, or_, select

from poms.webservice.errors import NotFound
from poms.webservice.model import Campaign, CampaignStage, CampaignTag, Tag
from poms.webservice.rules.permissions import Actor
from poms.webservice.services import permissions
from poms.webservice.services.core import Core
from poms.webservice.services.undos import UNKEPT, Change

MOST = 1000
"""Programs get at most so many rows in one answer."""


def find_tag_id(core: Core, experiment: str, name: str) -> int | None:
    """The number of a tag."""
    with core.db.read() as session:
        return session.scalar(select(Tag.tag_id).where(Tag.experiment == experiment, Tag.tag_name == name))


def list_tags(core: Core, experiment: str, *, containing: str = "",
              campaign_ids: Collection[int] | None = None) -> list[dict[str, Any]]:
    """The tags of an experiment, or those that some of its campaigns carry, with how many campaigns carry each."""
    carried = (select(func.count()).select_from(CampaignTag).where(CampaignTag.tag_id == Tag.tag_id)
               .scalar_subquery())
    query = select(Tag.tag_id, Tag.tag_name, carried).where(Tag.experiment == experiment)
    if containing:
        query = query.where(Tag.tag_name.contains(containing, autoescape=True))
    if campaign_ids is not None:
        query = query.where(Tag.tag_id.in_(select(CampaignTag.tag_id).where(
            CampaignTag.campaign_id.in_(list(campaign_ids)))))
    with core.db.read() as session:
        return [{"tag_id": number, "tag_name": name, "campaigns": count}
                for number, name, count in session.execute(query.order_by(Tag.tag_name).limit(MOST))]


def remove_tag(core: Core, actor: Actor, campaign_ids: Sequence[int], tag_id: int, *,
               delete_unused: bool = False, undo: Change = UNKEPT) -> int:
    """Take a tag off campaigns; how many lost it. ``delete_unused``: a tag that nothing carries any more goes.

    All or none: raises NotFound and NotAllowed before anything is changed.
    """
    with core.db.write() as session:
        tag = session.scalar(select(Tag).where(Tag.tag_id == tag_id, Tag.experiment == actor.experiment))
        if tag is None:
            raise NotFound(f"There is no tag {tag_id} in {actor.experiment}.")
        permissions.require_all(session, actor, "modify", "campaign", campaign_ids)
        carried = session.scalars(select(CampaignTag).where(
            CampaignTag.tag_id == tag_id, CampaignTag.campaign_id.in_(list(campaign_ids)))).all()
        lost = len(carried)
        others = select(CampaignTag.campaign_id).where(CampaignTag.tag_id == tag_id,
                                                       CampaignTag.campaign_id.not_in(list(campaign_ids))).limit(1)
        goes = delete_unused and session.scalar(others) is None
        undo.removed(session, [tag] if goes else carried)
        session.execute(delete(CampaignTag).where(CampaignTag.tag_id == tag_id,
                                                  CampaignTag.campaign_id.in_(list(campaign_ids))))
        if goes:
            session.delete(tag)
    return lost


def tagged_campaigns(core: Core, experiment: str, pattern: str) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Tags whose names fit a pattern (``%`` any text, ``_`` one letter), each with the campaigns that carry it."""
    query = (select(Tag.tag_id, Tag.tag_name, Campaign.campaign_id, Campaign.name, Campaign.active)
             .outerjoin(CampaignTag, CampaignTag.tag_id == Tag.tag_id)
             .outerjoin(Campaign, Campaign.campaign_id == CampaignTag.campaign_id)
             .where(Tag.experiment == experiment, Tag.tag_name.like(pattern))
             .order_by(Tag.tag_name, Campaign.name).limit(MOST))
    found: dict[int, tuple[dict[str, Any], list[dict[str, Any]]]] = {}
    with core.db.read() as session:
        for tag_id, tag_name, campaign_id, name, active in session.execute(query):
            tag = found.setdefault(tag_id, ({"tag_id": tag_id, "tag_name": tag_name, "experiment": experiment}, []))
            if campaign_id is not None:
                tag[1].append({"campaign_id": campaign_id, "name": name, "active": active})
    return list(found.values())


def search_campaigns(core: Core, experiment: str, pattern: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Campaigns and stages one of whose names fits a pattern, as pairs."""
    query = (select(Campaign.campaign_id, Campaign.name, CampaignStage.campaign_stage_id, CampaignStage.name)
             .join(CampaignStage, CampaignStage.campaign_id == Campaign.campaign_id)
             .where(Campaign.experiment == experiment,
                    or_(Campaign.name.like(pattern), CampaignStage.name.like(pattern)))
             .order_by(Campaign.name, CampaignStage.position).limit(MOST))
    with core.db.read() as session:
        return [({"campaign_id": number, "name": name}, {"campaign_stage_id": stage_id, "name": stage})
                for number, name, stage_id, stage in session.execute(query)]
