"""The place of a stage in its split, as people set it; launches move it themselves (``launching``)."""

from __future__ import annotations

from sqlalchemy import select

from poms.webservice.errors import NotFound
from poms.webservice.model import CampaignStage
from poms.webservice.rules.permissions import Actor
from poms.webservice.services import events
from poms.webservice.services.core import Core
from poms.webservice.services.undos import UNKEPT, Change


def reset(core: Core, actor: Actor, stage_id: int, *, test: bool = False, undo: Change = UNKEPT) -> None:
    """The next launch (or test launch) takes the first slice. The caller has checked the right."""
    with core.db.write() as session:
        stage = session.scalar(
            select(CampaignStage).where(CampaignStage.campaign_stage_id == stage_id,
                                        CampaignStage.experiment == actor.experiment).with_for_update())
        if stage is None:
            raise NotFound(f"There is no stage {stage_id} in {actor.experiment}.")
        before = stage.last_split_test if test else stage.cs_last_split
        if test:
            stage.last_split_test = None
        else:
            stage.cs_last_split = None
        undo.changed(session, stage)
        events.record(session, "split.reset", core.clock(), actor.username, experiment=stage.experiment,
                      campaign_id=stage.campaign_id, stage_id=stage_id, before=before, test=test)
