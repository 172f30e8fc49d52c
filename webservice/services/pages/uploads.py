"""The page of the files that a person keeps with the service: how much room they take, and which stages name them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sqlalchemy import select

from poms.webservice.model import Campaign, CampaignStage, JobType, LoginSetup
from poms.webservice.rules import permissions
from poms.webservice.rules.permissions import Actor
from poms.webservice.services import credentials, uploads
from poms.webservice.services.core import Core
from poms.webservice.services.pages.common import Url

MOST_STAGES = 2000
MOST_SHOWN = 5


SORTS: Mapping[str, Callable[[Any], Any]] = {
    "name": lambda file: file.name.casefold(), "changed": lambda file: file.changed_at,
    "size": lambda file: file.size_bytes}


def uploads_page(core: Core, actor: Actor, url: Url, *, sort: str = "name") -> dict[str, Any]:
    """The actor's files in the actor's experiment; nobody sees those of others."""
    found = sorted(uploads.list_files(core, actor), key=SORTS.get(sort.removeprefix("-"), SORTS["name"]),
                   reverse=sort.startswith("-"))
    used = _stages_that_name(core, actor, [file.name for file in found], url)
    total = sum(file.size_bytes for file in found)
    return {
        "files": [{"name": file.name, "size": file.size_bytes, "changed_at": file.changed_at,
                   "url": url("download_file", filename=file.name), "stages": used.get(file.name, [])[:MOST_SHOWN],
                   "more_stages": max(0, len(used.get(file.name, [])) - MOST_SHOWN)} for file in found],
        "credentials": credentials.shown(core, actor.experiment, permissions.ANALYSIS, actor.username),
        "total": total, "quota": uploads.QUOTA_BYTES, "free": max(0, uploads.QUOTA_BYTES - total),
    }


def _stages_that_name(core: Core, actor: Actor, names: list[str], url: Url) -> dict[str, list[dict[str, str]]]:
    """Stages of the actor's active campaigns in whose commands or settings a file's name stands, as a whole word."""
    if not names:
        return {}
    with core.db.read() as session:
        rows = session.execute(
            select(CampaignStage.campaign_stage_id, CampaignStage.name, Campaign.name, CampaignStage.param_overrides,
                   CampaignStage.test_param_overrides, JobType.launch_script, JobType.definition_parameters,
                   LoginSetup.launch_setup)
            .join(Campaign, Campaign.campaign_id == CampaignStage.campaign_id)
            .join(JobType, JobType.job_type_id == CampaignStage.job_type_id)
            .join(LoginSetup, LoginSetup.login_setup_id == CampaignStage.login_setup_id)
            .where(CampaignStage.experiment == actor.experiment, CampaignStage.creator == actor.experimenter_id,
                   Campaign.active)
            .order_by(CampaignStage.campaign_stage_id.desc()).limit(MOST_STAGES)).all()
    # A name is not part of a longer one: setup.sh is not in my_setup.sh.
    words = {name: re.compile(rf"(?<![A-Za-z0-9_.+=@%-]){re.escape(name)}(?![A-Za-z0-9_+@%-]|\.[A-Za-z0-9])")
             for name in names}
    used: dict[str, list[dict[str, str]]] = {}
    for number, stage, campaign, *texts in rows:
        text = "\n".join(_texts(texts))
        for name, word in words.items():
            if name in text and word.search(text):
                used.setdefault(name, []).append(
                    {"text": f"{campaign} › {stage}", "url": url("stage", campaign_stage_id=number)})
    return used


def _texts(values: Iterable[Any]) -> Iterable[str]:
    """Every text in texts and lists of pairs."""
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            yield from _texts(value)
