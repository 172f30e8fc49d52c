"""What a launch would be: dataset, parameters, command, environment, and whether it is held.

Not for storing one (``launching``). ``prepare`` cuts the slice and declares the dataset that it needs; ``preview`` is
the same code and touches nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session, joinedload

from poms.webservice.errors import Invalid, NotFound
from poms.webservice.interfaces import LaunchPlan, Slice
from poms.webservice.model import Campaign, CampaignDependency, CampaignStage
from poms.webservice.rules import naming, parameters
from poms.webservice.rules.permissions import Actor
from poms.webservice.services import credentials, launch_gates, policies, scouts, splits
from poms.webservice.services.core import Core
from poms.webservice.services.launch_requests import LaunchRequest, Pairs

# Stands for the submission's number until the row exists; cannot be typed by anybody.
_NUMBER = "\x00submission\x00"


@dataclass(frozen=True)
class Prepared:
    """Everything known before anything is written. ``plan`` has submission id 0 until it is stored."""

    request: LaunchRequest
    stage: CampaignStage
    campaign: Campaign
    launcher: Actor
    dataset: str
    slice: Slice | None
    split_position: Mapping[str, Any] | None
    plan: LaunchPlan
    hold_reason: str = ""
    delivered: tuple[str, ...] = field(default=(), repr=False)
    learned: str = ""
    scout: scouts.Part | None = None

    def plan_for(self, submission_id: int) -> LaunchPlan:
        """The plan with the submission's number filled in; the preview shows the same text with N."""
        number = str(submission_id)
        environment = tuple((name, value.replace(_NUMBER, number)) for name, value in self.plan.environment)
        return replace(self.plan, submission_id=submission_id, environment=environment)


@dataclass(frozen=True)
class Found:
    """What the database says of a launch before it is worked out. ``consumers``: stages that its output feeds."""

    stage: CampaignStage
    consumers: int
    hold_reason: str


def prepare(core: Core, actor: Actor, request: LaunchRequest, *, peek: bool = False) -> Prepared:
    """Work out dataset, parameters, command and environment of a launch."""
    with core.db.read() as session:
        found = look_up(session, load_stage(session, request.stage_id, actor.experiment))
    return work_out(core, actor, request, found, peek=peek)


def preview(core: Core, actor: Actor, request: LaunchRequest, *, found: Found | None = None,
            piece: Slice | None = None) -> Prepared:
    """What ``launch`` would do, worked out by the same code and stopped before it writes.

    ``found``: of a stage as it is not stored; ``piece``: on this slice (``splits.coming``) instead of the next.
    """
    if found is None:
        with core.db.read() as session:
            found = look_up(session, load_stage(session, request.stage_id, actor.experiment))
    return work_out(core, actor, request, found, peek=True, piece=piece)


def load_stage(session: Session, stage_id: int, experiment: str) -> CampaignStage:
    """A stage of an experiment with all that a launch needs of it; raises NotFound."""
    stage = session.scalar(stages_for_launching().where(CampaignStage.campaign_stage_id == stage_id,
                                           CampaignStage.experiment == experiment))
    if stage is None:
        raise NotFound(f"There is no stage {stage_id} in {experiment}.")
    return stage


def stages_for_launching() -> Select[tuple[CampaignStage]]:
    return select(CampaignStage).options(joinedload(CampaignStage.campaign), joinedload(CampaignStage.job_type),
                                         joinedload(CampaignStage.login_setup))


def look_up(session: Session, stage: CampaignStage) -> Found:
    """What an already loaded stage comes with: how many stages its output feeds, and whether it is held."""
    return look_up_all(session, [stage])[stage.campaign_stage_id]


def look_up_all(session: Session, stages: Collection[CampaignStage]) -> dict[int, Found]:
    """The same for stages of one experiment, in two statements."""
    consumers: dict[int, set[int]] = {stage.campaign_stage_id: set() for stage in stages}
    for provider, consumer in session.execute(
            select(CampaignDependency.provider_campaign_stage_id, CampaignDependency.consumer_campaign_stage_id)
            .where(CampaignDependency.provider_campaign_stage_id.in_(consumers))):
        consumers[provider].add(consumer)
    held = launch_gates.held_each(session, stages)
    return {number: Found(stage, len(consumers[number] - {number}), held[number])
            for stage in stages for number in [stage.campaign_stage_id]}


def work_out(core: Core, actor: Actor, request: LaunchRequest, found: Found, *, peek: bool = False,
              piece: Slice | None = None) -> Prepared:
    stage = found.stage
    launch_gates.require_launchable(core, actor, stage)
    if not found.hold_reason and not is_approval(stage):
        found = replace(found, hold_reason=credentials.lacking(core, stage.experiment, stage.vo_role.lower(),
                                                               actor.username))
    if found.hold_reason and not peek:
        return Prepared(request, stage, stage.campaign, actor, "", None, None, _no_plan(stage), found.hold_reason)
    # Only ``peek`` shows a plan for a held stage; a held launch works its dataset out when it is released.
    piece, position = (piece, None) if piece else splits.next_slice(core, stage, request, peek=peek)
    dataset = request.dataset_override or (piece.dataset if piece else parameters.given(stage.dataset))
    if request.define and not peek:
        core.backends.data(stage.experiment).define(request.dataset_override, request.define)
    scouting = scouts.standing(core, stage, kind=request.kind, test=request.test, scouted_by=request.scouted_by)
    part = scouts.part_of(core, stage, scouting, dataset, key=request.key,
                          undeclared=(request.define or (piece.query if piece else "")) if peek else "")
    if part is not None and part.waits_for and not peek:
        return Prepared(request, stage, stage.campaign, actor, "", None, None, _no_plan(stage), part.why_waits,
                        scout=part)
    if part is not None and part.dataset:
        dataset = part.dataset
        if not peek:
            scouts.declare(core, stage, part)
    asked = replace(request, param_overrides=tuple(parameters.merge(scouting.overrides, request.param_overrides)))
    begin, learned = policies.beginning(core, stage, _command_of(stage, asked))
    wanted = replace(asked, param_overrides=tuple(parameters.merge(asked.param_overrides, begin)))
    plan = _plan(core, stage, actor, wanted, dataset, found.consumers)
    derived = request.kind == "dependency" and request.dataset_override and not peek
    delivered = () if not derived else part.files if part else tuple(_files_of(core, stage, dataset))
    learned = "; ".join(text for text in (scouting.learned, learned) if text)
    return Prepared(request, stage, stage.campaign, actor, dataset, piece, position, plan, found.hold_reason,
                    delivered, learned, part)


def _plan(core: Core, stage: CampaignStage, launcher: Actor, request: LaunchRequest, dataset: str,
          consumers: int) -> LaunchPlan:
    campaign, job_type, setup = stage.campaign, stage.job_type, stage.login_setup
    test = request.test or campaign.campaign_type == "test"
    group = naming.group_of(stage.experiment)
    variables = parameters.launch_variables(
        keywords=campaign.campaign_keywords or {}, dataset=dataset, version=stage.software_version, group=group,
        experimenter=launcher.username, experiment=stage.experiment)
    if is_approval(stage):
        # A person decides; nothing is run anywhere.
        return LaunchPlan(0, 1, stage.experiment, group, stage.vo_role.lower(), launcher.username, "", "", "",
                          "await_approval", (), variables["dataset"], test)
    command = _command_of(stage, request)
    if not command:
        raise Invalid(f"Job type {job_type.name} has no launch script; give it one.", field="launch_script")
    command = parameters.substitute(command, variables, f"launch command of job type {job_type.name}")
    system = parameters.system_variables(variables)
    place = f"login setup {setup.name}"
    plan = LaunchPlan(
        submission_id=0, attempt=1, experiment=stage.experiment, group=group, role=stage.vo_role.lower(),
        launcher=launcher.username, host=parameters.substitute(setup.launch_host, system, f"host of {place}"),
        account=parameters.substitute(setup.launch_account, system, f"account of {place}"),
        setup=parameters.substitute(setup.launch_setup, system, f"setup of {place}"),
        command=command, environment=(), dataset=variables["dataset"], test=test)
    environment = _environment(stage, plan, request, consumers)
    return replace(plan, environment=environment + core.backends.data(stage.experiment).job_environment(plan))


def _command_of(stage: CampaignStage, request: LaunchRequest) -> str:
    """Launch script and parameters by precedence, before anything in them is filled in."""
    campaign, job_type = stage.campaign, stage.job_type
    pairs = parameters.launch_parameters(
        job_type=job_type.definition_parameters, campaign=(campaign.defaults or {}).get("param_overrides") or [],
        merge_overrides=stage.merge_overrides, stage=stage.param_overrides, launch=request.param_overrides,
        test=stage.test_param_overrides, is_test=request.test or campaign.campaign_type == "test")
    return parameters.join_command(job_type.launch_script, pairs)


def is_approval(stage: CampaignStage) -> bool:
    return stage.campaign_stage_type == "approval"


def _environment(stage: CampaignStage, plan: LaunchPlan, request: LaunchRequest, consumers: int) -> Pairs:
    campaign = stage.campaign.name.replace(" ", "_")
    name = stage.name.replace(" ", "_")
    parent = request.recovery_of
    return (
        ("POMS4_CAMPAIGN_STAGE_ID", str(stage.campaign_stage_id)),
        ("POMS4_CAMPAIGN_STAGE_NAME", name),
        ("POMS4_CAMPAIGN_STAGE_TYPE", stage.campaign_stage_type),
        ("POMS4_CAMPAIGN_TYPE", stage.campaign_stage_type),
        ("POMS4_CAMPAIGN_ID", str(stage.campaign_id)),
        ("POMS4_CAMPAIGN_NAME", campaign),
        ("POMS4_SUBMISSION_ID", _NUMBER),
        ("POMS4_TEST_LAUNCH", str(plan.test)),
        ("POMS_CAMPAIGN_ID", str(stage.campaign_stage_id)),
        ("POMS_CAMPAIGN_NAME", naming.combined_name(campaign, name)),
        ("POMS_PARENT_TASK_ID", "" if parent is None else str(parent)),
        ("POMS_TASK_ID", _NUMBER),
        ("POMS_LAUNCHER", plan.launcher),
        ("POMS_TEST", ""),
        ("POMS_TASK_DEFINITION_ID", str(stage.job_type_id)),
        ("POMS_NUM_DEPENDENCIES", str(consumers)),
        ("JOBSUB_GROUP", plan.group),
        ("GROUP", plan.group),
    )


def _no_plan(stage: CampaignStage) -> LaunchPlan:
    return LaunchPlan(0, 0, stage.experiment, "", "", "", "", "", "", "", ())


def _files_of(core: Core, stage: CampaignStage, dataset: str) -> list[str]:
    data = core.backends.data(stage.experiment)
    return data.list(data.dataset_query(dataset))


def plan_from_document(document: Mapping[str, Any], attempt: int) -> LaunchPlan:
    """The stored plan, for the given attempt."""
    environment = tuple((name, value) for name, value in document["environment"])
    return LaunchPlan(**{**document, "environment": environment, "attempt": attempt})
