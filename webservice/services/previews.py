"""What would be launched, and with which files, if somebody or something did what is asked; nothing is stored.

For launches by hand, recoveries, what follows a submission, schedules, and changes of texts and blocks. Invariant:
each launch is worked out by the functions that make it (``launching``, ``wrapup``, ``schedules``, ``campaigns``,
``blocks``), stopped before they write; files are counted, and only the first of them are listed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from poms.webservice.errors import ConfigurationError, Invalid, NotAllowed, NotFound, PomsError, Problem
from poms.webservice.interfaces import LaunchPlan, Slice
from poms.webservice.model import Campaign, CampaignStage, Launch, Schedule
from poms.webservice.rules import jobsub_options, permissions
from poms.webservice.rules.permissions import Actor
from poms.webservice.rules.statuses import Status
from poms.webservice.services import (
    campaigns,
    candidates,
    dependents,
    launch_gates,
    launch_requests,
    preparing,
    schedules,
    splits,
    stage_texts,
    wrapup,
)
from poms.webservice.services.blocks import Kind
from poms.webservice.services.campaigns import SaveResult
from poms.webservice.services.candidates import Candidate
from poms.webservice.services.core import Core
from poms.webservice.services.launch_requests import LaunchRequest, Pairs
from poms.webservice.services.preparing import Found, Prepared
from poms.webservice.services.recoveries import Group, describe
from poms.webservice.services.rehearsals import Look

FIRST_FILES = 20
NEXT_SLICES = 5
MOST_RUNS = 20
MOST_STAGES = 50

What = Literal["launch", "hold", "skip", "refuse", "fail", "wait", "made"]
"""hold: kept until released; skip: nothing is left to do; refuse: the launcher may not; fail: it cannot be launched
like this; wait: a system does not answer, so it is tried again; made: it was asked for before."""


@dataclass(frozen=True)
class Input:
    """The files that a launch would get: how many, and the first of them with their sizes as far as known."""

    query: str
    count: int
    first: tuple[tuple[str, int | None], ...] = field(repr=False)


@dataclass(frozen=True)
class Foreseen:
    """One launch that would be made, or why it would not.

    ``occasion`` says what it comes from; ``defines`` are the datasets that would be declared for it, with their
    queries; ``slices`` what its split gives next, None if the stage is not split.
    """

    request: LaunchRequest
    stage: CampaignStage
    what: What
    why: str = ""
    occasion: str = ""
    launcher: str = ""
    at: datetime | None = None
    problems: tuple[Problem, ...] = ()
    prepared: Prepared | None = field(default=None, repr=False)
    defines: Pairs = ()
    input: Input | None = None
    input_unknown: str = ""
    slices: tuple[Slice, ...] | None = None

    @property
    def plan(self) -> LaunchPlan | None:
        """With the number N for the submission's: text to be shown, never to be run."""
        if self.prepared is None:
            return None
        plan = self.prepared.plan_for(0)
        environment = tuple((name, "N" if name in NUMBERED else value) for name, value in plan.environment)
        return replace(plan, environment=environment)

    @property
    def jobs(self) -> int | None:
        """How many jobs the command asks for; None if its script decides."""
        return jobsub_options.jobs_asked(self.prepared.plan.command) if self.prepared else None

    @property
    def text(self) -> str:
        """All that would be done, as text; "" if nothing would."""
        return text_of(self.plan, self.defines) if self.plan else ""


NUMBERED = ("POMS4_SUBMISSION_ID", "POMS_TASK_ID")


def text_of(plan: LaunchPlan, defines: Pairs = ()) -> str:
    """Datasets, place, set-up, environment and command of a launch as one text, the same before and after it is made.

    What lets programs write to a catalogue is not shown.
    """
    lines = [f"# define {name} = {query}" for name, query in defines]
    lines.append(f"# on {plan.host or 'this host'} as {plan.account or 'the service'}, for {plan.launcher} in "
                 f"{plan.group} as {plan.role}")
    lines += plan.setup.splitlines()
    lines += [f"export {name}={value}" for name, value in plan.environment if "key-" not in value]
    return "\n".join([*lines, plan.command]) + "\n"


# ---------------------------------------------------------------------------------- launches by hand


def of_launch(core: Core, actor: Actor, request: LaunchRequest, *, slices: int = NEXT_SLICES) -> Foreseen:
    """What ``launching.launch`` would do with this request. Raises NotFound."""
    with core.db.read() as session:
        found = preparing.look_up(session, preparing.load_stage(session, request.stage_id, actor.experiment))
    return _foresee(core, actor, request, found, slices=slices)


def of_stages(core: Core, actor: Actor, stage_ids: Sequence[int], request_key: str, *,
              test: bool = False) -> list[Foreseen]:
    """The launches of several stages, in the order given. Raises Invalid for too many."""
    require_few(stage_ids)
    return [of_launch(core, actor, launch_requests.by_hand(number, request_key, test=test))
            for number in dict.fromkeys(stage_ids)]


def require_few(stage_ids: Collection[int]) -> None:
    """Raise Invalid if these are more stages than are launched at once."""
    if len(stage_ids) > MOST_STAGES:
        raise Invalid(f"{len(stage_ids):,} stages are too many at once; choose up to {MOST_STAGES}.",
                      field="campaign_stage_id")


# ---------------------------------------------------------------------------- after a submission


def recovery_counts(core: Core, candidate: Candidate) -> dict[str, int]:
    """How many files a recovery of each kind would do again just now. Raises Invalid without a project."""
    data = core.backends.data(candidate.submission.experiment)
    wrapup.require_project(candidate)
    view = candidate.view(candidate.submission, candidate.job_type_patterns)
    return {kind: data.recovery_files(view, kind).count for kind in data.recovery_kinds()}


def of_recovery(core: Core, actor: Actor, submission_id: int, kind: str, request_key: str) -> Foreseen:
    """A recovery by hand, of any kind. Raises NotFound; Invalid if there is nothing that could be recovered."""
    candidate = candidates.describe(core, submission_id, actor.experiment)
    return of_launch(core, actor, wrapup.recovery_request(core, candidate, kind, request_key))


@dataclass(frozen=True)
class Following:
    """What would follow a submission if it were Located with the files that are there now.

    ``now``: what is launched at once; ``later``: the next stages, where recoveries come first; ``asked``: what a
    person is asked about, with the launch that comes of "go on"; ``skipped``: what is left out and why.
    ``settled``: it is Located already, so that all this was decided.
    """

    candidate: Candidate
    settled: bool
    now: tuple[Foreseen, ...] = ()
    later: tuple[Foreseen, ...] = ()
    asked: tuple[tuple[str, Foreseen | None], ...] = ()
    passive: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()


def of_what_follows(core: Core, actor: Actor, submission_id: int) -> Following:
    """What recovery list or rules, and the dependencies, would launch after a submission. Raises NotFound."""
    candidate = candidates.describe(core, submission_id, actor.experiment)
    if candidate.submission.status_id == Status.LOCATED:
        return Following(candidate, settled=True)
    finding = wrapup.foresee(core, candidate)
    recovers = any(owed.request.kind == "recovery" for owed in finding.owed)
    groups = finding.round.groups if finding.round is not None else ()
    passive = finding.round is not None and finding.round.passive
    waits = recovers or (not passive and any(group.outcome != "give up" for group in groups))
    later, skipped = (dependents.at_the_end(core, candidate, core.backends.data(actor.experiment)) if waits
                      else ([], list(finding.skipped)))
    held = finding.held_because
    of_group = {group.request.key: describe(group) for group in groups if group.request}
    return Following(
        candidate, settled=False,
        now=tuple(_owed(core, candidate, owed.request, held, of_group.get(owed.request.key, "")
                        or owed.reason or _occasion(candidate, owed.request)) for owed in finding.owed),
        later=tuple(_owed(core, candidate, owed.request, held, owed.reason or _occasion(candidate, owed.request))
                    for owed in later),
        asked=tuple(_asked(core, candidate, group) for group in groups if group.outcome == "ask" and not passive),
        passive=tuple(describe(group, passive=True) for group in groups) if passive else (),
        skipped=tuple(skipped) + tuple(describe(group) for group in groups
                                       if group.outcome == "give up" and not passive))


def _occasion(candidate: Candidate, request: LaunchRequest) -> str:
    if request.kind != "recovery":
        return f"next stage, when submission {candidate.original.submission_id} is Located"
    entries = candidate.job_type_content.get("recoveries") or []
    position = int(request.key.rpartition(":")[2])
    kind = entries[position][0] if position < len(entries) else ""
    return f"recovery {position + 1} of {len(entries)} in the job type's list: {kind}"


def _asked(core: Core, candidate: Candidate, group: Group) -> tuple[str, Foreseen | None]:
    told = describe(group)
    return told, _owed(core, candidate, group.request, "", "if a person says go on") if group.request else None


def _owed(core: Core, candidate: Candidate, request: LaunchRequest, held_because: str, occasion: str) -> Foreseen:
    """A launch in the name of the person who launched the original."""
    request, original = replace(request, role=candidate.role), candidate.original
    with core.db.read() as session:
        stage = preparing.load_stage(session, request.stage_id, original.experiment)
        found = preparing.look_up(session, stage)
        try:
            actor = launch_gates.act_for(session, original.creator, stage, request.role)
        except NotAllowed as refused:
            return Foreseen(request, stage, "refuse", str(refused), occasion)
    foreseen = replace(_foresee(core, actor, request, found), occasion=occasion)
    if held_because and foreseen.what == "launch":
        return replace(foreseen, what="hold", why=held_because)
    return foreseen


# ----------------------------------------------------------------------------------------- schedules


def of_schedule(core: Core, actor: Actor, stage_id: int, *, cron: str = "", runs: int = NEXT_SLICES) -> list[Foreseen]:
    """The next runs of a stage's schedule, or of ``cron`` as if the actor had set it; [] without either.

    Each takes the slice behind that of the run before it. Raises NotFound, Invalid.
    """
    zone = core.settings.experiment(actor.experiment).time_zone
    with core.db.read() as session:
        stage = preparing.load_stage(session, stage_id, actor.experiment)
        found = preparing.look_up(session, stage)
        row = session.get(Schedule, stage_id)
        if row is None and not cron:
            return []
        cron, zone = (cron, zone) if cron or row is None else (row.cron, row.time_zone)
        moments = schedules.next_runs(cron, zone, core.clock(), min(runs, MOST_RUNS))
        launcher = row.launcher if row is not None else actor.experimenter_id
        clears = schedules.clears(row, stage) if row is not None else stage.default_clear_cronjob
        try:
            launching_as = launch_gates.act_for(session, launcher, stage)
        except NotAllowed as refused:
            return [Foreseen(schedules.request_at(stage_id, moment, ""), stage, "refuse", str(refused),
                             "schedule", at=moment) for moment in moments]
    requests = [schedules.request_at(stage_id, moment, launching_as.role) for moment in moments]
    return _runs(core, launching_as, found, requests, moments, clears)


def _runs(core: Core, actor: Actor, found: Found, requests: Sequence[LaunchRequest], moments: Sequence[datetime],
          clears: bool) -> list[Foreseen]:
    """One for each run; the end of the split ends the list where it ends the schedule."""
    try:
        pieces = splits.at_moments(core, found.stage, list(zip(moments, requests, strict=True)))
    except PomsError as condition:
        return [replace(_stopped(request, found.stage, condition), at=moment, launcher=actor.username)
                for request, moment in zip(requests, moments, strict=True)]
    runs = []
    for number, (request, moment) in enumerate(zip(requests, moments, strict=True)):
        if pieces is not None and number >= len(pieces):
            why = "no more splits" + ("; the schedule is taken away" if clears else "; the schedule stays")
            runs.append(Foreseen(request, found.stage, "skip", why, "schedule", actor.username, moment))
            if clears:
                break
            continue
        run = _foresee(core, actor, request, found, piece=pieces[number] if pieces else None, waits=True)
        runs.append(replace(run, at=moment, occasion="schedule"))
    return runs


# ------------------------------------------------------------------------------------------- changes


@dataclass(frozen=True)
class Effect:
    """What a change does to launches of one stage: as they are, and as they would be; None: there is no such stage.

    ``launch_id``: a launch that waits and is worked out anew when its turn comes; None: the next one by hand.
    """

    before: Foreseen | None
    after: Foreseen | None
    launch_id: int | None = None

    @property
    def stage(self) -> CampaignStage:
        found = self.after or self.before
        assert found is not None, "an effect has at least one side"
        return found.stage

    @property
    def is_change(self) -> bool:
        """Whether anything differs: the text, or what becomes of the launch."""
        before, after = self.before, self.after
        if before is None or after is None:
            return True
        return (before.text, before.what, before.why) != (after.text, after.what, after.why)


def of_text(core: Core, actor: Actor, data: bytes, *, base_version: int | None = None,
            renames: Mapping[str, str] | None = None) -> tuple[SaveResult, list[Effect]]:
    """What saving a campaign's text would do to launches of its stages. Raises as ``campaigns.save_text``."""
    after: dict[int, Found] = {}

    def look(session: Session, campaign_id: int) -> None:
        after.update(_founds(session, actor, CampaignStage.campaign_id == campaign_id))

    result = campaigns.save_text(core, actor, data, source="preview", base_version=base_version, renames=renames,
                                 look=look)
    if not result.changed:
        return result, []
    named = select(Campaign.campaign_id).where(Campaign.experiment == actor.experiment, Campaign.name == result.name)
    return result, of_change(core, actor, _stored(core, actor, CampaignStage.campaign_id.in_(named)), after)


def of_block(core: Core, actor: Actor, kind: Kind, change: Callable[[Look], int]) -> list[Effect]:
    """What changing a job type or login setup would do to launches of the stages that use it.

    ``change`` makes it by ``blocks``, with the look that it is given.
    """
    after: dict[int, Found] = {}
    column = CampaignStage.job_type_id if kind == "job_type" else CampaignStage.login_setup_id

    def look(session: Session, number: int) -> None:
        after.update(_founds(session, actor, column == number, CampaignStage.campaign_id.is_not(None)))

    number = change(look)
    before = _stored(core, actor, column == number, CampaignStage.campaign_id.is_not(None))
    return of_change(core, actor, before, after)


def of_stage_keys(core: Core, actor: Actor, stage_ids: Sequence[int], stated: Mapping[str, str]) -> list[Effect]:
    """What setting keys of several stages would do to launches of all stages of their campaigns."""
    require_few(stage_ids)
    after: dict[int, Found] = {}
    touched: list[int] = []

    def look(session: Session, campaign_id: int) -> None:
        touched.append(campaign_id)
        after.update(_founds(session, actor, CampaignStage.campaign_id == campaign_id))

    stage_texts.change_several(core, actor, stage_ids, stated, look=look)
    return of_change(core, actor, _stored(core, actor, CampaignStage.campaign_id.in_(touched)), after)


def _stored(core: Core, actor: Actor, *where: ColumnElement[bool]) -> dict[int, Found]:
    with core.db.read() as session:
        return _founds(session, actor, *where)


def _founds(session: Session, actor: Actor, *where: ColumnElement[bool]) -> dict[int, Found]:
    """The stages as the session has them, for use after it is closed or taken back."""
    session.flush()
    session.expire_all()
    numbers = session.scalars(
        select(CampaignStage.campaign_stage_id).where(CampaignStage.experiment == actor.experiment, *where)
        .order_by(CampaignStage.campaign_id, CampaignStage.position, CampaignStage.campaign_stage_id)
        .limit(MOST_STAGES)).all()
    found = {number: preparing.look_up(session, preparing.load_stage(session, number, actor.experiment))
             for number in numbers}
    session.expunge_all()
    return found


def of_change(core: Core, actor: Actor, before: Mapping[int, Found], after: Mapping[int, Found]) -> list[Effect]:
    """What a change would do to the next launch of each stage, and to launches of them that wait.

    ``before`` and ``after``: the stages as they are stored, and as the change would leave them.
    """
    numbers = list(dict.fromkeys([*after, *before]))[:MOST_STAGES]
    effects = []
    for number in numbers:
        request = launch_requests.by_hand(number, "preview")
        effects.append(Effect(*(_foresee(core, actor, request, side[number]) if number in side else None
                                for side in (before, after))))
    for row in _waiting(core, numbers):
        request, sides = LaunchRequest.from_document(row.request), []
        for side in (before, after):
            found = side.get(row.campaign_stage_id)
            sides.append(_as_launcher(core, row, request, found) if found is not None else None)
        effects.append(Effect(sides[0], sides[1], row.launch_id))
    return effects


def _waiting(core: Core, stage_ids: Sequence[int]) -> list[Launch]:
    """Launches that are worked out anew: those owed or held. One that is queued goes as it was worked out."""
    with core.db.read() as session:
        return list(session.scalars(
            select(Launch).where(Launch.campaign_stage_id.in_(stage_ids), Launch.state.in_(("owed", "held")))
            .order_by(Launch.launch_id).limit(MOST_STAGES)))


def _as_launcher(core: Core, row: Launch, request: LaunchRequest, found: Found) -> Foreseen:
    with core.db.read() as session:
        try:
            actor = launch_gates.act_for(session, row.launcher, found.stage, request.role)
        except NotAllowed as refused:
            return Foreseen(request, found.stage, "refuse", str(refused))
    return _foresee(core, actor, request, found, waits=True)


# -------------------------------------------------------------------------------------------- inside


def _foresee(core: Core, actor: Actor, request: LaunchRequest, found: Found, *, slices: int = 1,
             piece: Slice | None = None, waits: bool = False) -> Foreseen:
    """``waits``: the launch has its row already, or its moment is still to come: whether it is known is not asked."""
    known = None if waits else launch_requests.find_by_key(core, request.key, stage_id=request.stage_id)
    if known is not None:
        why = f"launch {known.launch_id} is {known.state}" + (
            f", as submission {known.submission_id}" if known.submission_id else "")
        return Foreseen(request, found.stage, "made", why, launcher=actor.username)
    coming: list[Slice] | None = None
    try:
        launch_gates.require_launchable(core, actor, found.stage)
        if piece is None:
            coming = splits.coming(core, request, found.stage, slices)
            piece = next(iter(coming), None) if coming else None
        prepared = preparing.preview(core, actor, request, found=found, piece=piece)
    except PomsError as condition:
        return replace(_stopped(request, found.stage, condition), launcher=actor.username)
    kept = prepared.hold_reason or (prepared.scout.why_waits if prepared.scout and prepared.scout.waits_for else "")
    foreseen = Foreseen(
        request, found.stage, "hold" if kept else "launch", kept,
        launcher=actor.username, prepared=prepared, defines=_defines(request, prepared),
        slices=tuple(coming) if coming is not None else None)
    return _with_input(core, foreseen)


def _stopped(request: LaunchRequest, stage: CampaignStage, condition: PomsError) -> Foreseen:
    """What the agents make of the same condition (``launches``)."""
    if isinstance(condition, Invalid):
        return Foreseen(request, stage, "fail", str(condition), problems=condition.problems)
    if isinstance(condition, NotAllowed):
        return Foreseen(request, stage, "refuse", str(condition))
    if isinstance(condition, NotFound | ConfigurationError):
        return Foreseen(request, stage, "fail", str(condition))
    return Foreseen(request, stage, "skip" if isinstance(condition, splits.NoMoreSplits) else "wait", str(condition))


def _defines(request: LaunchRequest, prepared: Prepared) -> Pairs:
    """Of what the launch is cut from, and of the part that goes ahead as a scout; its input comes last."""
    made, piece, scout = [], prepared.slice, prepared.scout
    if request.define:
        made.append((request.dataset_override, request.define))
    elif piece is not None and piece.query:
        made.append((piece.dataset, piece.query))
    if scout is not None and scout.dataset:
        made.append((scout.dataset, scout.query))
    return tuple(made)


def _with_input(core: Core, foreseen: Foreseen) -> Foreseen:
    """With the files that it would get: counted, the first of them listed. A silent catalogue is said, not counted."""
    assert foreseen.prepared is not None, "only what was worked out has an input"
    prepared, dataset = foreseen.prepared, foreseen.prepared.plan.dataset
    if not dataset or dataset == "None":
        return foreseen
    try:
        data = core.backends.data(foreseen.stage.experiment)
        query = foreseen.defines[-1][1] if foreseen.defines else ""
        if not query:
            if data.definition(dataset) is None:
                return replace(foreseen, input_unknown="the catalogue knows no definition of this name")
            query = data.dataset_query(dataset)
        known = prepared.slice.files if prepared.slice is not None and len(foreseen.defines) < 2 else None
        count = data.count(query) if known is None else known
        names = data.list(query, limit=FIRST_FILES)
        sizes = data.sizes(names)
    except PomsError as silent:
        return replace(foreseen, input_unknown=str(silent))
    return replace(foreseen, input=Input(query, count, tuple((name, sizes.get(name)) for name in names)))


def allowed_roles(stage: CampaignStage) -> list[tuple[str, str]]:
    """For each role why somebody in it may not launch a stage; "" if they may."""
    found = []
    for role in permissions.ROLES:
        owner = permissions.refusal(Actor(stage.creator, "", stage.experiment, role), "do",
                                    owner_role=stage.creator_role, owner_id=stage.creator)
        other = permissions.refusal(Actor(-1, "", stage.experiment, role), "do", owner_role=stage.creator_role,
                                    owner_id=stage.creator)
        found.append((role, "" if other is None else other if owner is not None else "only the one who made it"))
    return found
