"""Holds: keep launches back, of a stage, a campaign, an experiment or the whole service, and let them go.

What is launched meanwhile is kept as a held launch (``services.launching``); letting launches go
again does not release those, a person does. The caller has checked the right to do this.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from poms.webservice.errors import NotFound
from poms.webservice.model import Campaign, CampaignStage, Experiment, Launch, ServiceSetting
from poms.webservice.rules.permissions import Actor
from poms.webservice.services import events, pauses, permissions, schedules
from poms.webservice.services.core import Core
from poms.webservice.services.undos import UNKEPT, Change

LAUNCHES = "launches"
COUNT_LIMIT = 1000
"""Held launches are not counted beyond this: a page says so many or more."""


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether launches are let through; ``text`` is for people, ``held_launches`` waits to be released."""

    allowed: bool
    text: str
    held_launches: int


def hold_stages(core: Core, actor: Actor, stage_ids: Iterable[int], *, hold: bool, reason: str = "",
                clear_schedules: bool = False, undo: Change = UNKEPT) -> int:
    """Keep or let go the launches of stages; returns how many were changed.

    ``clear_schedules`` takes away the schedules of stages that are held, which is a change of the stage: NotAllowed
    without the right to that.
    """
    now, count, stage_ids = core.clock(), 0, list(stage_ids)
    with core.db.write() as session:
        if hold and clear_schedules:
            for stage in permissions.require_all(session, actor, "modify", "stage", sorted(stage_ids)):
                schedules.drop(session, stage, actor.username, now, undo=undo)
        stages = session.scalars(
            select(CampaignStage)
            .where(CampaignStage.campaign_stage_id.in_(stage_ids), CampaignStage.experiment == actor.experiment)
            .order_by(CampaignStage.campaign_stage_id).with_for_update())
        for stage in stages:
            if (stage.hold_experimenter_id is not None) == hold:
                continue
            stage.hold_experimenter_id = actor.experimenter_id if hold else None
            stage.role_held_with = actor.role if hold else None
            stage.hold_reason = (reason or None) if hold else None
            undo.changed(session, stage)
            count += 1
            events.record(session, "stage.held" if hold else "stage.released", now, actor.username,
                          experiment=stage.experiment, campaign_id=stage.campaign_id,
                          stage_id=stage.campaign_stage_id, reason=reason)
    return count


def hold_campaign(core: Core, actor: Actor, campaign_id: int, *, hold: bool, reason: str = "",
                  undo: Change = UNKEPT) -> bool:
    """Keep or let go the launches of all stages of a campaign; False if nothing changed."""
    now = core.clock()
    with core.db.write() as session:
        campaign = session.get(Campaign, campaign_id, with_for_update=True)
        if campaign is None or campaign.experiment != actor.experiment:
            raise NotFound(f"There is no campaign {campaign_id} in {actor.experiment}.")
        was_paused = not hold and pauses.let_go(campaign, now)
        if (campaign.held_by is not None) == hold and not was_paused:
            return False
        campaign.held_by = actor.experimenter_id if hold else None
        campaign.held_reason = (reason or None) if hold else None
        undo.changed(session, campaign)
        events.record(session, "campaign.held" if hold else "campaign.released", now, actor.username,
                      experiment=campaign.experiment, campaign_id=campaign_id, reason=reason)
    return True


def hold_experiment(core: Core, actor: Actor, *, hold: bool, reason: str = "", undo: Change = UNKEPT) -> bool:
    """Keep or let go all launches of the actor's experiment; False if nothing changed."""
    with core.db.write() as session:
        experiment = session.get_one(Experiment, actor.experiment, with_for_update=True)
        if (experiment.launches_held_by is not None) == hold:
            return False
        experiment.launches_held_by = actor.experimenter_id if hold else None
        experiment.launches_held_reason = (reason or None) if hold else None
        undo.changed(session, experiment)
        events.record(session, "experiment.held" if hold else "experiment.released", core.clock(), actor.username,
                      experiment=actor.experiment, reason=reason)
    return True


def hold_service(core: Core, actor: Actor, *, hold: bool, reason: str = "") -> bool:
    """Keep or let go all launches of the service; False if nothing changed."""
    now, value = core.clock(), "hold" if hold else "allowed"
    with core.db.write() as session:
        row = session.get(ServiceSetting, LAUNCHES, with_for_update=True)
        if (row.value if row else "allowed") == value:
            return False
        if row is None:
            row = ServiceSetting(name=LAUNCHES, value=value, changed_at=now)
            session.add(row)
        row.value, row.changed_by, row.changed_at, row.reason = value, actor.experimenter_id, now, reason or None
        events.record(session, "service.launches", now, actor.username, value=value, reason=reason)
    return True


def gate(session: Session, experiment: str) -> Gate:
    """How launches of an experiment stand, for the frame of every page; one statement."""
    waiting = (select(Launch.launch_id).where(Launch.experiment == experiment, Launch.state == "held")
               .limit(COUNT_LIMIT).subquery())
    row = session.execute(
        select(Experiment.launches_held_by, Experiment.launches_held_reason, ServiceSetting.value,
               ServiceSetting.reason, select(func.count()).select_from(waiting).scalar_subquery())
        .outerjoin(ServiceSetting, ServiceSetting.name == LAUNCHES)
        .where(Experiment.experiment == experiment)).one_or_none()
    if row is None:
        return Gate(True, "Launches allowed", 0)
    held_by, held_reason, value, reason, waiting_count = row
    if value == "hold":
        return Gate(False, "Launches held" + _because(reason), waiting_count)
    if held_by is not None:
        return Gate(False, f"Launches of {experiment} held" + _because(held_reason), waiting_count)
    return Gate(True, "Launches allowed", waiting_count)


def _because(reason: str | None) -> str:
    return f": {reason}" if reason else ""
