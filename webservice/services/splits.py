"""The place of a stage in its split: which slice the next launches get, and who moves it on or sets it back.

Not for how input is cut: that is said by the split types (``interfaces.SplitType``). Invariant: a slice is taken
from the place at which it was worked out, or not at all.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import joinedload

from poms.webservice.errors import Conflict, Invalid, NotFound
from poms.webservice.interfaces import Slice, SplitContext, SplitType
from poms.webservice.model import CampaignStage, Snapshot, Submission
from poms.webservice.rules import parameters
from poms.webservice.rules.permissions import Actor
from poms.webservice.rules.splits import SplitSpec, parse_split
from poms.webservice.services import events, snapshots
from poms.webservice.services.core import Core
from poms.webservice.services.launch_requests import LaunchRequest
from poms.webservice.services.undos import UNKEPT, Change

TAKEN_FROM = "split_from"
"""Under this name a submission's parameters say from which place its part of the split was taken; {} is the start."""

_UNIQUE = uuid.UUID("3f1d8a56-7c0e-4d0b-9a53-5b1c6f0e2d94")


class NoMoreSplits(Conflict):
    """The split of the stage is at its end; reset it, or change the dataset, to go on."""


def fault(core: Core, experiment: str, spec: SplitSpec) -> str:
    """What the type of a split says is wrong with its arguments; "" if nothing. Raises BackendUnavailable."""
    try:
        core.backends.split(experiment, spec.name).parse(spec.arguments)
    except Invalid as invalid:
        return " ".join(problem.message for problem in invalid.problems)
    return ""


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


def set_back(core: Core, actor: Actor, stage_id: int, submission_id: int, *, undo: Change = UNKEPT) -> None:
    """The next launch takes what this submission of the stage took, and so on. The caller has checked the right."""
    with core.db.write() as session:
        stage = session.scalar(
            select(CampaignStage).options(joinedload(CampaignStage.campaign, innerjoin=True))
            .where(CampaignStage.campaign_stage_id == stage_id, CampaignStage.experiment == actor.experiment)
            .with_for_update(of=CampaignStage))
        row = session.execute(
            select(Submission.submission_params, Snapshot.content)
            .join(Snapshot, Snapshot.snapshot_id == Submission.campaign_stage_snapshot_id)
            .where(Submission.submission_id == submission_id, Submission.campaign_stage_id == stage_id)).one_or_none()
        if stage is None or row is None or TAKEN_FROM not in row.submission_params:
            raise NotFound(f"Submission {submission_id} took no part of the split of this stage.")
        now = snapshots.stage_content(stage, stage.campaign.campaign_keywords or {})
        if any(now[name] != row.content[name] for name in ("dataset", "cs_split_type")):
            raise Conflict(f"The dataset or the split was changed since submission {submission_id}: its place is in "
                           "another split. Begin the split again, or launch on its dataset.")
        before, stage.cs_last_split = stage.cs_last_split, row.submission_params[TAKEN_FROM] or None
        undo.changed(session, stage)
        events.record(session, "split.reset", core.clock(), actor.username, experiment=stage.experiment,
                      campaign_id=stage.campaign_id, stage_id=stage_id, before=before, to=stage.cs_last_split)


def next_slice(core: Core, stage: CampaignStage, request: LaunchRequest, *,
               peek: bool) -> tuple[Slice | None, Mapping[str, Any] | None]:
    """The slice that a launch takes, and the place from which; (None, None): it is not split. Raises NoMoreSplits."""
    asked = _split_of(core, stage, request)
    if asked is None:
        return None, None
    split, context = asked
    piece = next(iter(split.peek(context)), None) if peek else split.next(context)
    if piece is None:
        raise NoMoreSplits("No more splits in this campaign. Reset the split of the stage to start over.")
    return piece, context.position


def coming(core: Core, request: LaunchRequest, stage: CampaignStage, count: int) -> list[Slice] | None:
    """The next slices that launches like this one would take, as far as there are any; None: the stage is not split.

    The names of all but the first may depend on launches to come: N stands for that.
    """
    asked = _split_of(core, stage, request)
    if asked is None:
        return None
    split, context = asked
    found = split.peek(context, count)[:count]
    return found[:1] + [replace(piece, dataset=piece.dataset.replace(context.unique, "N")) for piece in found[1:]]


def at_moments(core: Core, stage: CampaignStage, runs: Sequence[tuple[datetime, LaunchRequest]]) -> list[Slice] | None:
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


def in_force(stage: CampaignStage, *, test: bool) -> tuple[str, Mapping[str, Any] | None]:
    """The split specification of a launch and its position: test launches have their own if they have a type."""
    if is_of_tests(stage, test=test):
        return stage.test_split_type or "", stage.last_split_test
    return stage.cs_split_type or "", stage.cs_last_split


def is_of_tests(stage: CampaignStage, *, test: bool) -> bool:
    """Whether a launch uses the split that test launches have for themselves."""
    return test and bool(parameters.given(stage.test_split_type))


def is_at(stage: CampaignStage, position: Mapping[str, Any] | None, *, test: bool) -> bool:
    """Whether the split is still at the place for which a slice was worked out."""
    return in_force(stage, test=test)[1] == position


def take(stage: CampaignStage, piece: Slice, position: Mapping[str, Any] | None, *, test: bool) -> bool:
    """Move the split behind a slice that was worked out at ``position``; False if another launch moved it meanwhile."""
    if not is_at(stage, position, test=test):
        return False
    new = None if piece.position is None else dict(piece.position)
    if is_of_tests(stage, test=test):
        stage.last_split_test = new
    else:
        stage.cs_last_split = new
    return True


def _split_of(core: Core, stage: CampaignStage, request: LaunchRequest) -> tuple[SplitType, SplitContext] | None:
    """How the input of this launch is cut, and at which place; None if it is not.

    What makes names unique follows from the launch's key, so that its preview shows the names it will use.
    """
    if request.dataset_override:
        return None
    text, position = in_force(stage, test=request.test)
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
