"""The one way to start a stage: button, client, schedule, dependency, recovery, release, test.

``preparing`` works everything out; storing it is one transaction: submission, snapshots, history, split position and
the launch row with its unique key. The batch system is never contacted from here; ``services.launches`` does that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from poms.webservice.db import insert_new
from poms.webservice.errors import Conflict, NotAllowed, PomsError
from poms.webservice.model import Campaign, CampaignStage, Delivery, Launch, Submission
from poms.webservice.rules import naming
from poms.webservice.rules.permissions import Actor
from poms.webservice.rules.statuses import Status
from poms.webservice.services import events, launch_gates, preparing, scouts, snapshots, splits, submissions
from poms.webservice.services.core import Core
from poms.webservice.services.launch_requests import LaunchRequest, Outcome, find_by_key, new_row
from poms.webservice.services.preparing import Found, Prepared

SPLIT_RETRIES = 5


class TakenOver(Conflict):
    """The launch is in other hands: another agent has its lease, or it is settled already."""


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
        prepared = preparing.prepare(core, actor, request)
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
            prepared = preparing.work_out(core, actor, request, found)
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
        stages = {stage.campaign_stage_id: stage for stage in session.scalars(preparing.stages_for_launching().where(
            CampaignStage.campaign_stage_id.in_({row.campaign_stage_id for row in rows})))}
        found = preparing.look_up_all(session, stages.values())
        people: dict[tuple[int, int, str], Actor | PomsError] = {}
        answer = []
        for row in rows:
            if row.campaign_stage_id not in stages:
                continue
            request = LaunchRequest.from_document(row.request)
            whose = (row.launcher, row.campaign_stage_id, request.role)
            if whose not in people:
                try:
                    people[whose] = launch_gates.act_for(session, row.launcher, stages[row.campaign_stage_id],
                                                         request.role)
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
        stage = preparing.load_stage(session, row.campaign_stage_id, row.experiment)
        actor = launch_gates.act_for(session, row.launcher, stage, request.role)
        found = preparing.look_up(session, stage)
    prepared = preparing.work_out(core, actor, request, found)
    for _ in range(SPLIT_RETRIES):
        try:
            return _store(core, actor, prepared, owed=(launch_id, epoch))
        except _PositionMoved:
            prepared = preparing.prepare(core, actor, request)
    raise Conflict("Other launches of this stage keep taking the next slice.")


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
            row = new_row(request, "queued", stage, actor.experimenter_id, now=now)
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

    def has_its_slice(self) -> bool:
        prepared = self.prepared
        return prepared.slice is None or splits.is_at(self.stage, prepared.split_position, test=prepared.request.test)


def _store_owed(core: Core, ready: Mapping[int, tuple[int, Actor, Prepared]],
                keep: int) -> dict[int, Outcome | PomsError]:
    """Store owed launches that are still ours, but for those whose slice another launch took meanwhile."""
    now = core.clock()
    with core.db.write() as session, session.no_autoflush:
        storing = [each for each in _lock_all_owed(session, ready) if each.has_its_slice()]
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
    row.plan = asdict(prepared.plan_for(submission.submission_id))
    if preparing.is_approval(stage):
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
    row = new_row(rest, "held", stage, submission.creator, now=now)
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


def _move_split(stage: CampaignStage, prepared: Prepared) -> None:
    """Take the slice, unless another launch moved the position since it was worked out."""
    if prepared.slice is not None and not splits.take(stage, prepared.slice, prepared.split_position,
                                                      test=prepared.request.test):
        raise _PositionMoved


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
    if prepared.slice is not None and not splits.is_of_tests(stage, test=request.test):
        params[splits.TAKEN_FROM] = dict(prepared.split_position or {})
    status = Status.AWAITING_APPROVAL if preparing.is_approval(stage) else Status.NEW
    stage_key, job_type_key, login_setup_key = snapshot_keys
    return Submission(
        experiment=stage.experiment, campaign_id=stage.campaign_id, campaign_stage_id=stage.campaign_stage_id,
        creator=prepared.launcher.experimenter_id, created=now, updated=now, status_id=int(status), status_since=now,
        submission_params=params, depends_on=request.depends_on, recovery_tasks_parent=request.recovery_of,
        campaign_version_number=prepared.campaign.version_number, campaign_stage_snapshot_id=stage_key,
        job_type_snapshot_id=job_type_key, login_setup_snapshot_id=login_setup_key)
