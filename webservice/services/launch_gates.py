"""Whether a stage may be launched just now, and on whose behalf: holds of every kind, rights, launch hosts.

Not for holding launches or letting them go (``holds``). Each launch is asked about anew, however old its request is.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import and_, select
from sqlalchemy.orm import Session

from poms.webservice.errors import Invalid, NotAllowed
from poms.webservice.model import CampaignStage, Experiment, Experimenter, Membership, ServiceSetting
from poms.webservice.rules import permissions
from poms.webservice.rules.permissions import Actor
from poms.webservice.services.core import Core


def held_because(session: Session, stage: CampaignStage) -> str:
    """Why launches of this stage are kept back just now; "" if they are not."""
    return held_each(session, [stage])[stage.campaign_stage_id]


def held_each(session: Session, stages: Collection[CampaignStage]) -> dict[int, str]:
    """The same for stages of one experiment, in one statement."""
    held = {stage.campaign_stage_id: _held_itself(stage) for stage in stages}
    free = [stage for stage in stages if not held[stage.campaign_stage_id]]
    if free:
        gates = _gates(session, free[0].experiment)
        held |= {stage.campaign_stage_id: _held_with_others(stage, *gates) for stage in free}
    return held


def require_launchable(core: Core, actor: Actor, stage: CampaignStage) -> None:
    """Raise NotAllowed or Invalid if the actor may not launch the stage, or nobody can."""
    refusal = permissions.refusal(actor, "do", owner_role=stage.creator_role, owner_id=stage.creator)
    if refusal:
        raise NotAllowed(refusal)
    if stage.campaign is None:
        raise Invalid(f"Stage {stage.name} no longer belongs to a campaign; add it to the campaign's text again.")
    settings = core.settings.experiment(stage.experiment)
    refusal = permissions.launch_host_refusal(
        stage.vo_role, stage.login_setup.launch_host, experiment=stage.experiment, creator_role=stage.creator_role,
        analysis_hosts=settings.analysis_launch_hosts)
    if refusal:
        raise NotAllowed(refusal)


def act_for(session: Session, launcher_id: int, stage: CampaignStage, role: str = "") -> Actor:
    """The person on whose behalf a launch is made, in the role in which it was asked for.

    Membership and right are asked anew, as time went by since. Without a role it is one in which the person may
    launch the stage, the stage's own if possible. Raises NotAllowed.
    """
    found = _find_person(session, launcher_id, stage.experiment)
    if found is None:
        raise NotAllowed(f"There is no person {launcher_id} any more, so {stage.name} is not launched.")
    person, member = found
    held = member.role if member is not None and member.active else ""
    allowed = permissions.acting_roles(held, person.root)
    if not allowed:
        raise NotAllowed(f"{person.username} is not in experiment {stage.experiment} any more and may not launch "
                         f"{stage.name}.")
    if role and role not in allowed:
        raise NotAllowed(f"{person.username} may not act as {role} in {stage.experiment} any more and may not launch "
                         f"{stage.name}.")
    wanted = [role] if role else sorted(allowed, key=lambda each: each != stage.creator_role)
    for each in wanted:
        actor = Actor(launcher_id, person.username, stage.experiment, each, person.root)
        refusal = permissions.refusal(actor, "do", owner_role=stage.creator_role, owner_id=stage.creator)
        if refusal is None:
            return actor
    raise NotAllowed(f"{person.username} may not launch {stage.name}: {refusal}")


def _find_person(session: Session, launcher_id: int, experiment: str) -> Any:
    """A person and the membership in an experiment; asked once in a session."""
    asked = session.info.setdefault("people", {})
    if (launcher_id, experiment) not in asked:
        asked[launcher_id, experiment] = session.execute(
            select(Experimenter, Membership)
            .outerjoin(Membership, and_(Membership.experimenter_id == Experimenter.experimenter_id,
                                        Membership.experiment == experiment))
            .where(Experimenter.experimenter_id == launcher_id)).first()
    return asked[launcher_id, experiment]


def _held_itself(stage: CampaignStage) -> str:
    if stage.hold_experimenter_id is not None:
        return f"Campaign stage {stage.name} launches currently held" + _because(stage.hold_reason)
    campaign = stage.campaign
    if campaign is not None and campaign.held_by is not None:
        return f"Campaign {campaign.name} launches currently held" + _because(campaign.held_reason)
    if campaign is not None and campaign.paused_at is not None:
        return f"Campaign {campaign.name} paused itself" + _because(campaign.paused_reason)
    return ""


def _gates(session: Session, experiment: str) -> Any:
    return session.execute(
        select(Experiment, ServiceSetting).outerjoin(ServiceSetting, ServiceSetting.name == "launches")
        .where(Experiment.experiment == experiment)).one()


def _held_with_others(stage: CampaignStage, experiment: Experiment, service: ServiceSetting | None) -> str:
    if experiment.launches_held_by is not None:
        return f"{stage.experiment} launches currently held" + _because(experiment.launches_held_reason)
    if service is not None and service.value == "hold":
        return "Job launches currently held" + _because(service.reason)
    return ""


def _because(reason: str | None) -> str:
    return f": {reason}" if reason else ""
