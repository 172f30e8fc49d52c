"""What an operator's cron asks for: that the agents' duties are done now, and that kept launches are let go.

Nothing is done here that an agent does by itself; requests end at once. For administrators of the service only.
"""

from __future__ import annotations

from sqlalchemy import select

from poms.webservice.model import CampaignStage, Launch
from poms.webservice.rules.permissions import Actor
from poms.webservice.services import launch_gates, launches, tasks
from poms.webservice.services.core import Core

LOOKED_AT = 200
"""Held launches that are looked at for one that may go."""


def ask_for(core: Core, *prefixes: str) -> list[str]:
    """Have the agents do these duties at once; their names."""
    return [name for prefix in prefixes for name in tasks.make_due(core, prefix)]


def release_oldest(core: Core, actor: Actor) -> int | None:
    """Let go the oldest held launch of a stage that nobody keeps back any more; its number, None if there is none."""
    with core.db.read() as session:
        rows = session.execute(
            select(Launch, CampaignStage)
            .join(CampaignStage, CampaignStage.campaign_stage_id == Launch.campaign_stage_id)
            .where(Launch.state == "held").order_by(Launch.launch_id).limit(LOOKED_AT)).all()
        free = [(row.launch_id, row.experiment) for row, stage in rows
                if not launch_gates.held_because(session, stage)]
    for launch_id, experiment in free[:1]:
        if launches.release_held(core, actor.username, [launch_id], experiment):
            return launch_id
    return None


def held_count(core: Core) -> int:
    """Whether any launch is kept at all; not counted beyond what is looked at."""
    with core.db.read() as session:
        return len(session.scalars(select(Launch.launch_id).where(Launch.state == "held").limit(LOOKED_AT)).all())
