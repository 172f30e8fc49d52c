"""Which recovery rules hold for a stage, and how much memory and time was enough for its jobs so far.

Used by launches (what they ask for) and by recoveries (what they choose); launches nothing itself. Invariant:
what was learned is used only where the rules are in force, and never above their limits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from poms.webservice.config import Settings
from poms.webservice.db import add_up
from poms.webservice.errors import NotFound
from poms.webservice.interfaces import JobState
from poms.webservice.model import CampaignStage, Job, StageLevel
from poms.webservice.rules import recovery_choices
from poms.webservice.rules.permissions import Actor
from poms.webservice.rules.recovery_choices import Asked
from poms.webservice.rules.recovery_policies import Policy, parse_policy
from poms.webservice.services import events
from poms.webservice.services.core import Core
from poms.webservice.services.undos import UNKEPT, Change

Levels = dict[str, dict[float, int]]
Pairs = tuple[tuple[str, str], ...]
MOST_REMEMBERED = 10_000
"""When so many jobs were counted for a stage all counts are halved, so that what jobs need now counts more."""


def policy_of(settings: Settings, stage: CampaignStage) -> Policy | None:
    """The rules of a stage, or else its experiment's; None if there are none. ``passive`` as the stricter of both says.

    A stage whose text says ``None`` has no rules, whatever the experiment's are.
    """
    experiment = settings.experiment(stage.experiment)
    if experiment.recovery_policies == "off":
        return None
    text = experiment.recovery_policy if stage.recovery_policy is None else stage.recovery_policy
    policy = parse_policy(text)
    if policy is not None and experiment.recovery_policies == "passive":
        return replace(policy, passive=True)
    return policy


# ------------------------------------------------------------------------------ what was enough


def levels_of(session: Session, stage_id: int) -> Levels:
    """How many jobs of a stage ended well with how much, by resource and amount."""
    found: Levels = {}
    for row in session.scalars(select(StageLevel).where(StageLevel.campaign_stage_id == stage_id)
                               .order_by(StageLevel.resource, StageLevel.amount)):
        found.setdefault(row.resource, {})[row.amount] = row.jobs
    return found


def beginning(core: Core, stage: CampaignStage, command: str) -> tuple[Pairs, str]:
    """The overrides with which a launch begins because of what was learned, and the same in words; ((), "") if none.

    ``command`` is what would be launched without them.
    """
    policy = policy_of(core.settings, stage)
    if policy is None or policy.passive:
        return (), ""
    with core.db.read() as session:
        levels = levels_of(session, stage.campaign_stage_id)
    asked = recovery_choices.asked_in(command, policy)
    known = {"memory": (asked.memory_mb, policy.memory_cap_mb), "time": (asked.time_seconds, policy.time_cap_seconds)}
    values = []
    for resource, (now, cap) in known.items():
        learned = levels.get(resource, {})
        if policy.grows(resource) and learned:
            found = recovery_choices.first_level(learned, min(learned) if now is None else now, cap)
            values += [(resource, found)] if found is not None else []
    if not values:
        return (), ""
    return recovery_choices.overrides(policy, asked, values, script=command), recovery_choices.words(values)


def contented(session: Session, submission_id: int, policy: Policy, asked: Asked) -> Levels:
    """How many jobs of a submission ended well, by what they had asked for."""
    rows = session.execute(
        select(Job.memory_asked_mb, func.count()).where(Job.submission_id == submission_id,
                                                        Job.state == int(JobState.COMPLETED))
        .group_by(Job.memory_asked_mb)).all()
    found: Levels = {}
    for memory, jobs in rows:
        amounts = {"memory": asked.memory_mb or memory, "time": asked.time_seconds}
        for resource, amount in amounts.items():
            if amount and policy.grows(resource):
                level = found.setdefault(resource, {})
                level[float(amount)] = level.get(float(amount), 0) + jobs
    return found


def learn(session: Session, stage_id: int, levels: Mapping[str, Mapping[float, int]]) -> None:
    """Add what jobs were content with to what is known of their stage."""
    rows = [{"campaign_stage_id": stage_id, "resource": resource, "amount": amount, "jobs": jobs}
            for resource, amounts in sorted(levels.items()) for amount, jobs in sorted(amounts.items())]
    if not rows:
        return
    add_up(session, StageLevel, rows, total="jobs")
    counted: dict[str, int] = {}
    stored = session.scalars(select(StageLevel).where(StageLevel.campaign_stage_id == stage_id)
                             .execution_options(populate_existing=True)).all()
    for row in stored:
        counted[row.resource] = counted.get(row.resource, 0) + row.jobs
    for row in stored:
        if counted[row.resource] > MOST_REMEMBERED:
            row.jobs //= 2


def forget(core: Core, actor: Actor, stage_id: int, *, undo: Change = UNKEPT) -> int:
    """Forget what a stage's jobs were content with; returns how many amounts there were. The right is checked."""
    with core.db.write() as session:
        stage = session.get(CampaignStage, stage_id)
        if stage is None or stage.experiment != actor.experiment:
            raise NotFound(f"There is no stage {stage_id} in {actor.experiment}.")
        undo.removed(session, session.scalars(select(StageLevel).where(StageLevel.campaign_stage_id == stage_id)).all())
        count = session.execute(delete(StageLevel).where(StageLevel.campaign_stage_id == stage_id)).rowcount
        if count:
            events.record(session, "recovery.forgotten", core.clock(), actor.username, experiment=stage.experiment,
                          campaign_id=stage.campaign_id, stage_id=stage_id, amounts=count)
    return count
