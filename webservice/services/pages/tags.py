"""The page of tags: which there are, and how many campaigns carry each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from poms.webservice.model import Campaign, CampaignTag, Experimenter, Tag
from poms.webservice.rules import permissions
from poms.webservice.rules.permissions import Actor
from poms.webservice.services.core import Core
from poms.webservice.services.list_columns import columns_of
from poms.webservice.services.pages.common import Url

PAGE = 50
SOME = 5


def tag_list(core: Core, actor: Actor, url: Url, *, text: str = "", sort: str = "name",
             offset: int = 0) -> dict[str, Any]:
    """The tags of the experiment, with some of the campaigns that carry each."""
    with core.db.read() as session:
        rows, more = _tag_rows(session, actor, url, text=text, sort=sort, offset=offset, limit=PAGE)
        columns = columns_of(session, actor, "tags")
    kept = {"text": text, "sort": sort}
    return {
        "tags": rows, "text": text, "columns": columns,
        "pager": {"text": f"{offset + 1:,} to {offset + len(rows):,}" if rows else "",
                  "newer_url": url("tags", **kept, offset=max(0, offset - PAGE)) if offset else "",
                  "older_url": url("tags", **kept, offset=offset + PAGE) if more else ""},
        "may": {"act": permissions.refusal(actor, "modify") is None},
    }


def tag_pieces(core: Core, actor: Actor, url: Url, size: int, **which: Any) -> Iterator[list[dict[str, Any]]]:
    """All tags in pieces, each read by itself."""
    offset, more = 0, True
    while more:
        with core.db.read() as session:
            rows, more = _tag_rows(session, actor, url, offset=offset, limit=size, **which)
        yield rows
        offset += size


def _tag_rows(session: Session, actor: Actor, url: Url, *, text: str, sort: str, offset: int,
              limit: int) -> tuple[list[dict[str, Any]], bool]:
    carried = (select(func.count()).select_from(CampaignTag).where(CampaignTag.tag_id == Tag.tag_id)
               .scalar_subquery())
    query = (select(Tag.tag_id, Tag.tag_name, carried.label("campaigns"), Experimenter.username)
             .join(Experimenter, Experimenter.experimenter_id == Tag.creator)
             .where(Tag.experiment == actor.experiment))
    if text:
        query = query.where(Tag.tag_name.icontains(text, autoescape=True))
    column = carried if sort.removeprefix("-") == "campaigns" else Tag.tag_name
    ordered = query.order_by(column.desc() if sort.startswith("-") else column, Tag.tag_id)
    found = session.execute(ordered.offset(offset).limit(limit + 1)).all()
    shown = found[:limit]
    carrying = _carrying(session, [row[0] for row in shown], url)
    return [{"id": number, "name": name, "campaigns": count, "creator": creator, "some": carrying.get(number, []),
             "url": url("campaigns", view="all", tag=name)} for number, name, count, creator in shown], \
        len(found) > limit


def _carrying(session: Session, tag_ids: list[int], url: Url) -> dict[int, list[dict[str, Any]]]:
    """The newest campaigns that carry each tag, a few of each, in one statement."""
    place = func.row_number().over(partition_by=CampaignTag.tag_id, order_by=Campaign.last_activity_at.desc())
    ranked = (select(CampaignTag.tag_id, Campaign.campaign_id, Campaign.name, place.label("place"))
              .join(Campaign, Campaign.campaign_id == CampaignTag.campaign_id)
              .where(CampaignTag.tag_id.in_(tag_ids)).subquery())
    found: dict[int, list[dict[str, Any]]] = {}
    for tag_id, campaign_id, name, _ in session.execute(
            select(ranked).where(ranked.c.place <= SOME).order_by(ranked.c.tag_id, ranked.c.place)):
        found.setdefault(tag_id, []).append({"id": campaign_id, "text": name,
                                             "url": url("campaign", campaign_id=campaign_id)})
    return found
