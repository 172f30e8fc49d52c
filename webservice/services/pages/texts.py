"""The pages of a campaign's text: in force or of a version, and what came of sending one."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from poms.webservice.rules.permissions import Actor
from poms.webservice.services import campaigns
from poms.webservice.services.campaigns import SaveResult
from poms.webservice.services.core import Core
from poms.webservice.services.pages.campaigns import campaign_head
from poms.webservice.services.pages.common import Url


def text_page(core: Core, actor: Actor, url: Url, campaign_id: int, *, version: int | None = None,
              result: SaveResult | None = None, typed: str = "") -> dict[str, Any]:
    """The text of a campaign, with the result of an upload if there was one."""
    with core.db.read() as session:
        campaign, head = campaign_head(session, actor, campaign_id, url)
    shown = version if version is not None and version != campaign.version_number else None
    return {**head, "face": "text", "text": campaigns.version_text(core, actor, campaign_id, version),
            "shown_version": shown, "problems": [], "typed": typed,
            "result": None if result is None else result_of(result)}


def result_of(result: SaveResult) -> dict[str, Any]:
    """What saving a text came to, in the words of the pages."""
    return {"dry_run": result.dry_run, "changed": result.changed, "version": result.version,
            "problems": [asdict(problem) for problem in result.problems], "diff": list(result.diff),
            "warnings": list(result.warnings)}
