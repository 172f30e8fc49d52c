"""The one way to start a stage: button, client, schedule, dependency, recovery, release, test.

``prepare`` works everything out and touches nothing that matters; ``preview`` stops there. Storing
is one transaction: submission, snapshots, history, split position and the launch row with its
unique key. The batch system is never contacted from here; ``services.launches`` does that.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Select, and_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, joinedload

from poms.webservice.db import insert_new
from poms.webservice.errors import Conflict, Invalid, NotAllowed, NotFound, PomsError
from poms.webservice.interfaces import LaunchPlan, Slice, SplitContext, SplitType
from poms.webservice.model import (
    Campaign,
    CampaignDependency,
    CampaignStage,
    Delivery,
    Experiment,
    Experimenter,
    Launch,
    Membership,
    ServiceSetting,
    Submission,
)
from poms.webservice.rules import naming, parameters, permissions
from poms.webservice.rules.permissions import Actor
from poms.webservice.rules.splits import parse_split
from poms.webservice.rules.statuses import Status
from poms.webservice.services import credentials, events, policies, scouts, snapshots, submissions
from poms.webservice.services.core import Core

Pairs = tuple[tuple[str, str], ...]
SPLIT_RETRIES = 5


class TakenOver(Conflict):
    """The launch is in other hands: another agent has its lease, or it is settled already."""


class NoMoreSplits(Conflict):
    """The split of the stage is at its end; reset it, or change the dataset, to go on."""


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """What somebody, or something, wants launched. ``key`` is unique: the same key launches once.

    ``dataset_override`` replaces the stage's dataset and split; if ``define`` is given, POMS declares it
    with that query first. ``recovery_of`` is the original submission, ``depends_on`` the provider's. ``role``
    is the one in which it was asked for; "" (not known): any that the launcher may act in. ``scouted_by``: the
    submission that went ahead for it; it sends no scout itself.
    """

    stage_id: int
    key: str
    kind: Literal["manual", "test", "schedule", "recovery", "dependency"] = "manual"
    dataset_override: str = ""
    define: str = ""
    param_overrides: Pairs = ()
    test: bool = False
    note: str = ""
    recovery_of: int | None = None
    depends_on: int | None = None
    campaign_dep_id: int | None = None
    role: str = ""
    scouted_by: int | None = None

    def to_document(self) -> dict[str, Any]:
        """The request as stored with its launch row."""
        return asdict(self)

    @staticmethod
    def from_document(document: Mapping[str, Any]) -> LaunchRequest:
        pairs = tuple((key, value) for key, value in document["param_overrides"])
        return LaunchRequest(**{**document, "param_overrides": pairs})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a launch request came to. ``held``: kept until released; ``queued``: an agent will submit it."""

    state: str
    launch_id: int
    submission_id: int | None
    message: str = ""


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


_UNIQUE = uuid.UUID("3f1d8a56-7c0e-4d0b-9a53-5b1c6f0e2d94")

# Stands for the submission's number until the row exists; cannot be typed by anybody.
_NUMBER = "\x00submission\x00"


def by_hand(stage_id: int, request_key: str, *, dataset: str = "", test: bool = False, note: str = "",
            overrides: Pairs = ()) -> LaunchRequest:
    """What a person asks for; the same ``request_key`` launches the stage once."""
    return LaunchRequest(stage_id=stage_id, key=naming.manual_key(stage_id, request_key),
                         kind="test" if test else "manual", dataset_override=dataset, param_overrides=overrides,
                         test=test, note=note)


def launch(core: Core, actor: Actor, request: LaunchRequest) -> Outcome:
    """Store the launch of a stage; the answer comes as soon as it is committed.

    Raises Invalid (something of the stage cannot be launched), NotAllowed, NotFound, NoMoreSplits,
    BackendUnavailable (the catalogue is needed to cut the next slice and does not answer).
    """
    known = find_by_key(core, request.key, stage_id=request.stage_id)
    if known is not None:
        return known
    request = replace(request, role=actor.role)
    for _ in range(SPLIT_RETRIES):
        prepared = prepare(core, actor, request)
        try:
            return _store(core, actor, prepared)
        except _PositionMoved:
            continue
        except IntegrityError:
            known = find_by_key(core, request.key, stage_id=request.stage_id)
            if known is None:
                raise
            return known
    raise Conflict("Other launches of this stage keep taking the next slice; try again in a moment.")


def preview(core: Core, actor: Actor, request: LaunchRequest, *, found: Found | None = None,
            piece: Slice | None = None) -> Prepared:
    """What ``launch`` would do, worked out by the same code and stopped before it writes.

    ``found``: of a stage as it is not stored; ``piece``: on this slice (``coming_slices``) instead of the next.
    """
    if found is None:
        with core.db.read() as session:
            found = look_up(session, load_stage(session, request.stage_id, actor.experiment))
    return _work_out(core, actor, request, found, peek=True, piece=piece)


def coming_slices(core: Core, request: LaunchRequest, stage: CampaignStage, count: int) -> list[Slice] | None:
    """The next slices that launches like this one would take, as far as there are any; None: the stage is not split.

    The names of all but the first may depend on launches to come: N stands for that.
    """
    asked = _split_of(core, stage, request)
    if asked is None:
        return None
    split, context = asked
    found = split.peek(context, count)[:count]
    return found[:1] + [replace(piece, dataset=piece.dataset.replace(context.unique, "N")) for piece in found[1:]]


def slices_at(core: Core, stage: CampaignStage, runs: Sequence[tuple[datetime, LaunchRequest]]) -> list[Slice] | None:
    """The same for launches of which each is made at its moment, and takes the slice behind that of the one before."""
    found: list[Slice] = []
    for number, (moment, request) in enumerate(runs):
        asked = _split_of(core, stage, request)
        if asked is None:
            return None
        split, context = asked
        context = replace(context, now=moment)
        if found and found[-1].position not in (None, context.position):
            pieces = split.peek(replace(context, position=found[-1].position))
        else:
            # It is not known beforehand where the slice before will end, or there is no end.
            pieces = split.peek(context, number + 1)[number:]
        if not pieces:
            break
        found.append(pieces[0])
    return found


def find_by_key(core: Core, key: str, *, stage_id: int | None = None) -> Outcome | None:
    """The outcome of the launch that was stored under this key, if any; Conflict if it was another stage's."""
    with core.db.read() as session:
        row = session.scalar(select(Launch).where(Launch.key == key))
    if row is None:
        return None
    if stage_id is not None and row.campaign_stage_id != stage_id:
        raise Conflict("This request key was used for a launch of another stage; use a new one.")
    return Outcome(row.state, row.launch_id, row.submission_id, row.message or "")


def prepare(core: Core, actor: Actor, request: LaunchRequest, *, peek: bool = False) -> Prepared:
    """Work out dataset, parameters, command and environment of a launch."""
    with core.db.read() as session:
        found = look_up(session, load_stage(session, request.stage_id, actor.experiment))
    return _work_out(core, actor, request, found, peek=peek)


def settle_together(core: Core, owed: Sequence[tuple[int, int]], *,
                    keep: int = 0) -> dict[int, Outcome | PomsError]:
    """Turn several owed launches of an experiment (with the epochs of the caller's leases) into queued ones.

    In one transaction: all that are in the answer with an outcome are stored, and their leases given back, but for
    that of launch ``keep``. With a condition: why it cannot be launched (now). What is not in the answer is to be
    settled by itself.
    """
    settled: dict[int, Outcome | PomsError] = {}
    ready: dict[int, tuple[int, Actor, Prepared]] = {}
    splitting: set[int] = set()
    for launch_id, epoch, request, actor, found in _read_owed(core, owed):
        if isinstance(actor, PomsError):
            settled[launch_id] = actor
            continue
        if not request.dataset_override and found.stage.campaign_stage_id in splitting:
            continue
        if found.stage.scout and request.scouted_by is None:
            # Whether it sends a scout, or waits for one, depends on what those before it do.
            continue
        try:
            prepared = _work_out(core, actor, request, found)
        except PomsError as condition:
            settled[launch_id] = condition
            continue
        if prepared.slice is not None:
            splitting.add(request.stage_id)
        ready[launch_id] = (epoch, actor, prepared)
    return settled | _store_owed(core, ready, keep)


def _read_owed(core: Core, owed: Sequence[tuple[int, int]]
               ) -> list[tuple[int, int, LaunchRequest, Actor | PomsError, Found]]:
    """What is known of owed launches, in a number of statements that does not grow with theirs."""
    epochs = dict(owed)
    with core.db.read() as session:
        rows = session.scalars(select(Launch).where(Launch.launch_id.in_(epochs)).order_by(Launch.launch_id)).all()
        stages = {stage.campaign_stage_id: stage for stage in session.scalars(_stages().where(
            CampaignStage.campaign_stage_id.in_({row.campaign_stage_id for row in rows})))}
        found = _look_up_all(session, stages.values())
        people: dict[tuple[int, int, str], Actor | PomsError] = {}
        answer = []
        for row in rows:
            if row.campaign_stage_id not in stages:
                continue
            request = LaunchRequest.from_document(row.request)
            whose = (row.launcher, row.campaign_stage_id, request.role)
            if whose not in people:
                try:
                    people[whose] = act_for(session, row.launcher, stages[row.campaign_stage_id], request.role)
                except NotAllowed as refusal:
                    people[whose] = refusal
            answer.append((row.launch_id, epochs[row.launch_id], request, people[whose],
                           found[row.campaign_stage_id]))
        return answer


def settle_owed(core: Core, launch_id: int, epoch: int) -> Outcome:
    """Turn an owed launch into a queued one (or a held one); ``epoch`` is the caller's lease.

    Called by an agent for launches that were written together with their parent's last status.
    """
    with core.db.read() as session:
        row = session.get_one(Launch, launch_id)
        request = LaunchRequest.from_document(row.request)
        stage = load_stage(session, row.campaign_stage_id, row.experiment)
        actor = act_for(session, row.launcher, stage, request.role)
        found = look_up(session, stage)
    prepared = _work_out(core, actor, request, found)
    for _ in range(SPLIT_RETRIES):
        try:
            return _store(core, actor, prepared, owed=(launch_id, epoch))
        except _PositionMoved:
            prepared = prepare(core, actor, request)
    raise Conflict("Other launches of this stage keep taking the next slice.")


def owe(session: Session, request: LaunchRequest, *, stage: CampaignStage, launcher_id: int, now: datetime,
        held_because: str = "") -> bool:
    """Write a launch that is owed, in the caller's transaction; False if it was written before.

    With ``held_because`` it is not made until a person releases it.
    """
    if session.scalar(select(Launch.launch_id).where(Launch.key == request.key)) is not None:
        return False
    row = _new_row(request, "held" if held_because else "owed", stage, launcher_id, now)
    row.hold_reason = held_because or None
    session.add(row)
    return True


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


def held_because(session: Session, stage: CampaignStage) -> str:
    """Why launches of this stage are kept back just now; "" if they are not."""
    own = _held_itself(stage)
    return own or _held_with_others(stage, *_gates(session, stage.experiment))


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


# ------------------------------------------------------------------------------------- preparing


@dataclass(frozen=True)
class Found:
    """What the database says of a launch before it is worked out. ``consumers``: stages that its output feeds."""

    stage: CampaignStage
    consumers: int
    hold_reason: str


def look_up(session: Session, stage: CampaignStage) -> Found:
    """What an already loaded stage comes with: how many stages its output feeds, and whether it is held."""
    return _look_up_all(session, [stage])[stage.campaign_stage_id]


def _look_up_all(session: Session, stages: Collection[CampaignStage]) -> dict[int, Found]:
    """The same for stages of one experiment, in two statements."""
    consumers: dict[int, set[int]] = {stage.campaign_stage_id: set() for stage in stages}
    for provider, consumer in session.execute(
            select(CampaignDependency.provider_campaign_stage_id, CampaignDependency.consumer_campaign_stage_id)
            .where(CampaignDependency.provider_campaign_stage_id.in_(consumers))):
        consumers[provider].add(consumer)
    held = {stage.campaign_stage_id: _held_itself(stage) for stage in stages}
    free = [stage for stage in stages if not held[stage.campaign_stage_id]]
    if free:
        gates = _gates(session, free[0].experiment)
        held |= {stage.campaign_stage_id: _held_with_others(stage, *gates) for stage in free}
    return {stage.campaign_stage_id: Found(stage, len(consumers[number] - {number}), held[number])
            for stage in stages for number in [stage.campaign_stage_id]}


def _work_out(core: Core, actor: Actor, request: LaunchRequest, found: Found, *, peek: bool = False,
              piece: Slice | None = None) -> Prepared:
    stage = found.stage
    require_launchable(core, actor, stage)
    if not found.hold_reason and not _is_approval(stage):
        found = replace(found, hold_reason=credentials.lacking(core, stage.experiment, stage.vo_role.lower(),
                                                               actor.username))
    if found.hold_reason and not peek:
        return Prepared(request, stage, stage.campaign, actor, "", None, None, _no_plan(stage), found.hold_reason)
    # Only ``peek`` shows a plan for a held stage; a held launch works its dataset out when it is released.
    piece, position = (piece, None) if piece else _next_slice(core, stage, request, peek=peek)
    dataset = request.dataset_override or (piece.dataset if piece else _no_none(stage.dataset))
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


def load_stage(session: Session, stage_id: int, experiment: str) -> CampaignStage:
    """A stage of an experiment with all that a launch needs of it; raises NotFound."""
    stage = session.scalar(_stages().where(CampaignStage.campaign_stage_id == stage_id,
                                           CampaignStage.experiment == experiment))
    if stage is None:
        raise NotFound(f"There is no stage {stage_id} in {experiment}.")
    return stage


def _stages() -> Select[tuple[CampaignStage]]:
    return select(CampaignStage).options(joinedload(CampaignStage.campaign), joinedload(CampaignStage.job_type),
                                         joinedload(CampaignStage.login_setup))


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


def _next_slice(core: Core, stage: CampaignStage, request: LaunchRequest, *,
                peek: bool) -> tuple[Slice | None, Mapping[str, Any] | None]:
    asked = _split_of(core, stage, request)
    if asked is None:
        return None, None
    split, context = asked
    piece = next(iter(split.peek(context)), None) if peek else split.next(context)
    if piece is None:
        raise NoMoreSplits("No more splits in this campaign. Reset the split of the stage to start over.")
    return piece, context.position


def _split_of(core: Core, stage: CampaignStage, request: LaunchRequest) -> tuple[SplitType, SplitContext] | None:
    """How the input of this launch is cut, and at which place; None if it is not.

    What makes names unique follows from the launch's key, so that its preview shows the names it will use.
    """
    if request.dataset_override:
        return None
    text, position = split_in_force(stage, test=request.test)
    spec = parse_split(text)
    if spec is None:
        return None
    if spec.name not in core.backends.split_types:
        known = ", ".join(sorted(core.backends.split_types))
        raise Invalid(f"there is no split type “{spec.name}”; known: {known}.", field="cs_split_type")
    split = core.backends.split(stage.experiment, spec.name)
    dataset = parameters.expand_keywords(stage.dataset, stage.campaign.campaign_keywords or {}, "dataset")
    context = SplitContext(dataset=dataset, arguments=split.parse(spec.arguments), position=position,
                           data=core.backends.data(stage.experiment),
                           unique=str(uuid.uuid5(_UNIQUE, request.key)), now=core.clock(),
                           time_zone=core.settings.experiment(stage.experiment).time_zone)
    return split, context


def split_in_force(stage: CampaignStage, *, test: bool) -> tuple[str, Mapping[str, Any] | None]:
    """The split specification of a launch and its position: test launches have their own if they have a type."""
    if test and _no_none(stage.test_split_type):
        return stage.test_split_type or "", stage.last_split_test
    return stage.cs_split_type or "", stage.cs_last_split


def _plan(core: Core, stage: CampaignStage, launcher: Actor, request: LaunchRequest, dataset: str,
          consumers: int) -> LaunchPlan:
    campaign, job_type, setup = stage.campaign, stage.job_type, stage.login_setup
    test = request.test or campaign.campaign_type == "test"
    group = naming.group_of(stage.experiment)
    variables = parameters.launch_variables(
        keywords=campaign.campaign_keywords or {}, dataset=dataset, version=stage.software_version, group=group,
        experimenter=launcher.username, experiment=stage.experiment)
    if _is_approval(stage):
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


def _is_approval(stage: CampaignStage) -> bool:
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


# --------------------------------------------------------------------------------------- storing


class _PositionMoved(Exception):
    """Another launch took the slice that was prepared, or sent a scout meanwhile; work it out anew."""


def _store(core: Core, actor: Actor, prepared: Prepared, owed: tuple[int, int] | None = None) -> Outcome:
    now = core.clock()
    request = prepared.request
    with core.db.write() as session:
        campaign_id, stage_id = prepared.campaign.campaign_id, request.stage_id
        if owed:
            row, campaign, stage = _lock_owed(session, owed, campaign_id, stage_id)
        else:
            campaign = session.get_one(Campaign, campaign_id, with_for_update={"key_share": True})
            stage = session.get_one(CampaignStage, stage_id, with_for_update={"key_share": True})
            row = _new_row(request, "queued", stage, actor.experimenter_id, now)
            session.add(row)
        return _write_all(session, [_Storing(prepared, actor, row, campaign, stage)], now)[0]


@dataclass(frozen=True)
class _Storing:
    """A launch that is worked out, and its rows, locked."""

    prepared: Prepared
    actor: Actor
    row: Launch
    campaign: Campaign
    stage: CampaignStage


def _store_owed(core: Core, ready: Mapping[int, tuple[int, Actor, Prepared]],
                keep: int) -> dict[int, Outcome | PomsError]:
    """Store owed launches that are still ours, but for those whose slice another launch took meanwhile."""
    now = core.clock()
    with core.db.write() as session, session.no_autoflush:
        storing = [each for each in _lock_all_owed(session, ready) if _has_its_slice(each)]
        outcomes = _write_all(session, storing, now)
        for each in storing:
            if each.row.launch_id != keep:
                each.row.lease_owner = each.row.lease_until = None
    return {outcome.launch_id: outcome for outcome in outcomes}


def _lock_all_owed(session: Session, ready: Mapping[int, tuple[int, Actor, Prepared]]) -> list[_Storing]:
    """Launches, then campaigns, then stages: locked in the order in which everybody locks them."""
    rows = session.scalars(select(Launch).where(Launch.launch_id.in_(ready), Launch.state == "owed")
                           .order_by(Launch.launch_id).with_for_update(key_share=True)
                           .execution_options(populate_existing=True)).all()
    rows = [row for row in rows if row.lease_epoch == ready[row.launch_id][0]]
    wanted = [ready[row.launch_id][2] for row in rows]
    campaigns = {row.campaign_id: row for row in session.scalars(
        select(Campaign).where(Campaign.campaign_id.in_({each.campaign.campaign_id for each in wanted}))
        .order_by(Campaign.campaign_id).with_for_update(key_share=True))}
    stages = {row.campaign_stage_id: row for row in session.scalars(
        select(CampaignStage).where(CampaignStage.campaign_stage_id.in_({each.request.stage_id for each in wanted}))
        .order_by(CampaignStage.campaign_stage_id).with_for_update(key_share=True))}
    return [_Storing(prepared, actor, row, campaigns[prepared.campaign.campaign_id],
                     stages[prepared.request.stage_id])
            for row in rows for _, actor, prepared in [ready[row.launch_id]]
            if prepared.campaign.campaign_id in campaigns and prepared.request.stage_id in stages]


def _has_its_slice(storing: _Storing) -> bool:
    if storing.prepared.slice is None:
        return True
    return split_in_force(storing.stage, test=storing.prepared.request.test)[1] == storing.prepared.split_position


def _write_all(session: Session, storing: Sequence[_Storing], now: datetime) -> list[Outcome]:
    """Write launches with their submissions, each kind of row by one statement for all."""
    launching = [each for each in storing if not each.prepared.hold_reason]
    for each in launching:
        _move_split(each.stage, each.prepared)
    made = dict(zip((id(each) for each in launching), _add_submissions(session, launching, now), strict=True))
    return [_write(session, each, made.get(id(each)), now) for each in storing]


def _write(session: Session, storing: _Storing, submission: Submission | None, now: datetime) -> Outcome:
    """What a launch leaves besides its submission, which a held one does not have."""
    prepared, actor, row = storing.prepared, storing.actor, storing.row
    campaign, stage, request = storing.campaign, storing.stage, prepared.request
    if prepared.hold_reason:
        row.state, row.hold_reason = "held", prepared.hold_reason
        row.scout_submission_id = (prepared.scout.waits_for if prepared.scout else 0) or None
        row.lease_owner = row.lease_until = None
        session.flush()
        events.record(session, "launch.held", now, actor.username, experiment=row.experiment,
                      campaign_id=row.campaign_id, stage_id=row.campaign_stage_id, reason=prepared.hold_reason)
        return Outcome("held", row.launch_id, None, prepared.hold_reason)
    row.submission_id = submission.submission_id
    row.plan = _plan_document(prepared.plan_for(submission.submission_id))
    if _is_approval(stage):
        row.state, row.ended_at = "launched", now
        row.lease_owner = row.lease_until = None
    else:
        row.state = "queued"
        row.log_name = naming.launch_log_name(stage.campaign_stage_id, submission.submission_id, actor.username,
                                              now)
    if prepared.scout is not None:
        _send_scout(session, submission, request, prepared.scout, stage, prepared.launcher.username, now)
    _write_delivered(session, request, submission.submission_id, prepared.delivered, now)
    if not campaign.active:
        campaign.active = True
        events.record(session, "campaign.activated", now, actor.username, experiment=campaign.experiment,
                      campaign_id=campaign.campaign_id, reason="a launch")
    campaign.last_activity_at = now
    if row.launch_id is None:
        session.flush()
    return Outcome(row.state, row.launch_id, submission.submission_id)


def _send_scout(session: Session, submission: Submission, request: LaunchRequest, part: scouts.Part,
                stage: CampaignStage, launcher: str, now: datetime) -> None:
    """Note that a submission scouts, and owe what it leaves, which waits for it with the files set aside for it."""
    number = submission.submission_id
    if scouts.is_overtaken(session, stage, part):
        raise _PositionMoved
    scouts.send(session, submission, part)
    rest = replace(request, key=naming.scout_rest_key(number), dataset_override=naming.scout_rest_dataset(number),
                   define=part.rest, scouted_by=number)
    row = _new_row(rest, "held", stage, submission.creator, now)
    row.hold_reason, row.scout_submission_id = scouts.why_rest_waits(number, part), number
    session.add(row)
    if naming.is_set_aside(request.key):
        session.execute(update(Delivery).where(Delivery.launch_key == request.key,
                                               Delivery.consumer_submission_id.is_(None),
                                               Delivery.file_name.not_in(part.files))
                        .values(launch_key=rest.key))
    events.record(session, "scout.sent", now, launcher, submission=submission, files=len(part.files),
                  rest=part.total - len(part.files))


def _write_delivered(session: Session, request: LaunchRequest, number: int, names: Sequence[str],
                     now: datetime) -> None:
    """What a submission got through a dependency: the part that was set aside for it, or the files of its dataset.

    Two dependencies between the same stages may give the same file: it counts for the first.
    """
    if request.depends_on is None:
        return
    insert_new(session, Delivery, [
        {"provider_submission_id": request.depends_on, "file_name": name, "delivered_at": now,
         "consumer_campaign_stage_id": request.stage_id, "consumer_submission_id": number,
         "launch_key": request.key} for name in names])
    if naming.is_set_aside(request.key):
        session.execute(update(Delivery).where(Delivery.launch_key == request.key,
                                               Delivery.consumer_submission_id.is_(None))
                        .values(consumer_submission_id=number))


def _lock_owed(session: Session, owed: tuple[int, int], campaign_id: int,
               stage_id: int) -> tuple[Launch, Campaign, CampaignStage]:
    """The launch, its campaign and its stage, locked in this order by one statement."""
    launch_id, epoch = owed
    row, campaign, stage = session.execute(
        select(Launch, Campaign, CampaignStage).select_from(Launch)
        .join(Campaign, Campaign.campaign_id == campaign_id)
        .join(CampaignStage, CampaignStage.campaign_stage_id == stage_id).where(Launch.launch_id == launch_id)
        .with_for_update(key_share=True)).one()
    if row.lease_epoch != epoch or row.state != "owed":
        raise TakenOver(f"Launch {launch_id} was taken over by another agent.")
    return row, campaign, stage


def _new_row(request: LaunchRequest, state: str, stage: CampaignStage, launcher_id: int, now: datetime) -> Launch:
    return Launch(key=request.key, kind=request.kind, state=state, experiment=stage.experiment,
                  campaign_id=stage.campaign_id, campaign_stage_id=stage.campaign_stage_id,
                  parent_submission_id=request.recovery_of or request.depends_on,
                  campaign_dep_id=request.campaign_dep_id, launcher=launcher_id, request=request.to_document(),
                  not_before=now, created=now)


def _move_split(stage: CampaignStage, prepared: Prepared) -> None:
    """Take the slice, unless another launch moved the position since it was worked out."""
    if prepared.slice is None:
        return
    text, position = split_in_force(stage, test=prepared.request.test)
    if position != prepared.split_position:
        raise _PositionMoved
    test_split = prepared.request.test and bool(_no_none(stage.test_split_type))
    new = None if prepared.slice.position is None else dict(prepared.slice.position)
    if test_split:
        stage.last_split_test = new
    else:
        stage.cs_last_split = new


def _add_submissions(session: Session, storing: Sequence[_Storing], now: datetime) -> list[Submission]:
    """The submissions of launches, with their snapshots and first status."""
    keys: dict[int, tuple[str, ...]] = {}
    for each in storing:
        # Launches that were worked out together share the stage that was read for them.
        if id(each.prepared.stage) not in keys:
            keys[id(each.prepared.stage)] = snapshots.store(
                session, each.prepared.stage, each.prepared.campaign.campaign_keywords or {}, now)
    made = [_submission(each.stage, each.prepared, keys[id(each.prepared.stage)], now) for each in storing]
    session.add_all(made)
    session.flush()
    for each, submission in zip(storing, made, strict=True):
        prepared = each.prepared
        submissions.add_first_status(session, submission, actor=prepared.launcher.username,
                                     reason=prepared.request.kind)
        events.record(session, "launch.requested", now, prepared.launcher.username, submission=submission,
                      launch=prepared.request.kind, dataset=prepared.dataset, test=prepared.plan.test,
                      **({"learned": prepared.learned} if prepared.learned else {}))
    return made


def _submission(stage: CampaignStage, prepared: Prepared, snapshot_keys: tuple[str, ...], now: datetime) -> Submission:
    request = prepared.request
    params: dict[str, Any] = {}
    if prepared.dataset:
        params["dataset"] = prepared.dataset
    if prepared.plan.test:
        params["test"] = 1
    if request.note:
        params["parent"] = request.note
    status = Status.AWAITING_APPROVAL if _is_approval(stage) else Status.NEW
    stage_key, job_type_key, login_setup_key = snapshot_keys
    return Submission(
        experiment=stage.experiment, campaign_id=stage.campaign_id, campaign_stage_id=stage.campaign_stage_id,
        creator=prepared.launcher.experimenter_id, created=now, updated=now, status_id=int(status), status_since=now,
        submission_params=params, depends_on=request.depends_on, recovery_tasks_parent=request.recovery_of,
        campaign_version_number=prepared.campaign.version_number, campaign_stage_snapshot_id=stage_key,
        job_type_snapshot_id=job_type_key, login_setup_snapshot_id=login_setup_key)


def _plan_document(plan: LaunchPlan) -> dict[str, Any]:
    return asdict(plan)


def plan_from_document(document: Mapping[str, Any], attempt: int) -> LaunchPlan:
    """The stored plan, for the given attempt."""
    environment = tuple((name, value) for name, value in document["environment"])
    return LaunchPlan(**{**document, "environment": environment, "attempt": attempt})


def _no_none(text: str | None) -> str:
    return "" if text is None or text.strip() in ("", "None", "none") else text


def _because(reason: str | None) -> str:
    return f": {reason}" if reason else ""
