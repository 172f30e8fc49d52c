"""Launch rows between intent and jobs: claimed by lease, submitted once, recorded with fencing.

Every write names the epoch that was claimed; an agent that slept through its lease changes
nothing. Before a second attempt the batch system is asked, queue and history; no answer means: wait.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import BinaryIO

from sqlalchemy import or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from poms.webservice.errors import (
    BackendUnavailable,
    ConfigurationError,
    Conflict,
    CredentialsLacking,
    Invalid,
    NotAllowed,
    NotFound,
    PomsError,
)
from poms.webservice.interfaces import (
    FoundCluster,
    JobBackend,
    JobSelection,
    LaunchPlan,
    LaunchTransport,
    StopSignal,
    SubmitOutcome,
    TransportResult,
)
from poms.webservice.model import CampaignStage, Launch, Submission
from poms.webservice.rules import shell
from poms.webservice.rules.hiding import Hider
from poms.webservice.rules.permissions import Actor
from poms.webservice.rules.statuses import FINAL, Status
from poms.webservice.services import (
    credentials,
    events,
    launch_gates,
    launch_logs,
    launching,
    preparing,
    scouts,
    splits,
    submissions,
)
from poms.webservice.services.core import Core
from poms.webservice.services.credentials import Given
from poms.webservice.services.undos import UNKEPT, Change

log = logging.getLogger(__name__)

MAX_FAILURES = 5
"""How often a launch is tried again when something outside POMS does not answer, before a person is asked."""

WAIT_SECONDS = 30
"""How long a launch in doubt is left alone before the batch system is asked about it."""

LACKING_SECONDS = 60
"""How long a launch whose credentials have gone bad is left alone before they are looked at again."""

STOPPED_SECONDS = 2
"""The same after its script was ended because the launch was called off."""

AGENT = "poms"


@dataclass(frozen=True, slots=True)
class Claim:
    """A launch that this agent may work on until ``until``, under ``epoch``."""

    launch_id: int
    experiment: str
    state: str
    epoch: int
    attempt: int
    submission_id: int | None


def claim(core: Core, owner: str, limit: int, *, busy: Iterable[str] = (), owed_in: str = "") -> list[Claim]:
    """Take the lease of up to ``limit`` due launches, oldest first; experiments in ``busy`` are left alone.

    ``owed_in``: only what is owed in this experiment, to be settled together.
    """
    now = core.clock()
    until = now + timedelta(seconds=core.settings.agent.lease_seconds)
    due = (select(Launch)
           .where(Launch.state.in_(("owed", "queued")), Launch.not_before <= now,
                  or_(Launch.lease_until.is_(None), Launch.lease_until < now))
           .order_by(Launch.launch_id))
    busy = tuple(busy)
    if busy:
        due = due.where(Launch.experiment.not_in(busy))
    if owed_in:
        due = due.where(Launch.experiment == owed_in, Launch.state == "owed")
    with core.db.read() as session:
        # Most of the time there is nothing to do: do not take the write lock to find that out.
        if session.scalar(due.with_only_columns(Launch.launch_id).limit(1)) is None:
            return []
    with core.db.write() as session:
        rows = session.scalars(due.limit(limit).with_for_update(skip_locked=True)).all()
        for row in rows:
            row.lease_owner, row.lease_until, row.lease_epoch = owner, until, row.lease_epoch + 1
        return [Claim(row.launch_id, row.experiment, row.state, row.lease_epoch, row.attempt, row.submission_id)
                for row in rows]


def renew(core: Core, claims: Iterable[Claim]) -> None:
    """Prolong leases that are still ours; one that is not any more is left as it is."""
    until = core.clock() + timedelta(seconds=core.settings.agent.lease_seconds)
    with core.db.write() as session:
        for held in sorted(claims, key=lambda each: each.launch_id):
            session.execute(update(Launch).where(Launch.launch_id == held.launch_id, Launch.lease_epoch == held.epoch)
                            .values(lease_until=until))


class CallOff:
    """A ``StopSignal`` that is set once; its descriptor lives as long as anybody who may wait for it."""

    def __init__(self) -> None:
        self._descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._set = threading.Event()
        weakref.finalize(self, os.close, self._descriptor)

    def set(self) -> None:
        self._set.set()
        os.eventfd_write(self._descriptor, 1)

    def is_set(self) -> bool:
        return self._set.is_set()

    def fileno(self) -> int:
        return self._descriptor


def called_off(core: Core, claims: Collection[Claim]) -> set[int]:
    """Which of these launches need not go on, as their submission was ended meanwhile; their numbers."""
    with core.db.read() as session:
        return set(session.scalars(
            select(Launch.launch_id).join(Submission, Submission.submission_id == Launch.submission_id)
            .where(Launch.launch_id.in_([each.launch_id for each in claims]),
                   Submission.status_id.in_([int(status) for status in FINAL]))))


def work_on(core: Core, claimed: Claim, *, stop: StopSignal | None = None) -> str:
    """Bring one claimed launch as far as it goes now; returns the state it is in, for the log.

    Whatever goes wrong is recorded on the launch: it is tried again, or shown to a person. When ``stop`` is set the
    launch script that runs is ended.
    """
    try:
        if claimed.state == "owed":
            outcome = launching.settle_owed(core, claimed.launch_id, claimed.epoch)
            if outcome.state != "queued":
                return outcome.state
        return _submit(core, claimed, stop)
    except PomsError as condition:
        return _conclude(core, claimed, condition)


def settle(core: Core, claims: Sequence[Claim], *, keep: Claim | None = None) -> list[Claim]:
    """Work out owed launches of one experiment together; returns those that the caller is to go on with.

    These are ``keep``, if it is queued now, and what has to be worked out by itself. The others' leases are given
    back, for whoever has a worker free.
    """
    try:
        settled = launching.settle_together(core, [(each.launch_id, each.epoch) for each in claims],
                                            keep=keep.launch_id if keep is not None else 0)
    except (PomsError, IntegrityError):
        log.exception("launches could not be settled together", extra={"launches": len(claims)})
        return list(claims)
    going_on = []
    for each in claims:
        came_to = settled.get(each.launch_id)
        if came_to is None:
            going_on.append(each)
        elif isinstance(came_to, PomsError):
            _conclude(core, each, came_to)
        elif each is keep and came_to.state == "queued":
            going_on.append(replace(each, state="queued", submission_id=came_to.submission_id))
    return going_on


def _conclude(core: Core, claimed: Claim, condition: PomsError) -> str:
    """Record why a launch cannot go on now: it is tried again, or shown to a person. Raises what nobody foresaw."""
    match condition:
        case splits.NoMoreSplits():
            return _give_up(core, claimed, "skipped", str(condition), "split.end")
        case BackendUnavailable():
            return _try_again(core, claimed, str(condition))
        case Invalid() | NotAllowed() | NotFound() | ConfigurationError():
            return _give_up(core, claimed, "failed", str(condition), "launch.failed")
        case launching.TakenOver():
            log.info("launch left to another", extra={"launch_id": claimed.launch_id, "reason": str(condition)})
            return "lost"
        case Conflict():
            return _try_again(core, claimed, str(condition))
    raise condition


def release_held(core: Core, actor_name: str, launch_ids: Iterable[int], experiment: str, *,
                 per_minute: int | None = None) -> int:
    """Let held launches go: they become owed and are worked out afresh; returns how many.

    In the order in which they were asked for, ``per_minute`` of them each minute, without it all at once. Those that
    would be held again at once stay as they are. Raises Conflict, with the reason, if that is all of them.
    """
    pause = timedelta(minutes=1) / per_minute if per_minute else timedelta(0)
    now, count, kept = core.clock(), 0, ""
    with core.db.write() as session:
        for row in _held_rows(session, launch_ids, experiment):
            still = launch_gates.held_because(session, session.get_one(CampaignStage, row.campaign_stage_id)) \
                or scouts.still_waits(session, row)
            if still:
                row.hold_reason = kept = still
                continue
            row.state, row.hold_reason, row.not_before = "owed", None, now + count * pause
            scouts.detach(session, row, released=True)
            count += 1
            events.record(session, "launch.released", now, actor_name, experiment=row.experiment,
                          campaign_id=row.campaign_id, stage_id=row.campaign_stage_id, launch_id=row.launch_id)
    if kept and not count:
        raise Conflict(f"{kept}. Allow its launches again, then release what was kept.")
    return count


def cancel_held(core: Core, actor_name: str, launch_ids: Iterable[int], experiment: str, *,
                undo: Change = UNKEPT) -> int:
    """Drop held launches, and those that failed before there was a submission; their rows stay as a record."""
    now, count = core.clock(), 0
    with core.db.write() as session:
        for row in _held_rows(session, launch_ids, experiment, also_failed=True):
            row.state, row.ended_at = "cancelled", now
            if row.parent_submission_id is None and row.scout_submission_id is None:
                undo.changed(session, row)
            else:
                # What waited for it goes on without it, and that stays so.
                undo.cannot_be()
            scouts.detach(session, row, released=False)
            count += 1
            events.record(session, "launch.cancelled", now, actor_name, experiment=row.experiment,
                          campaign_id=row.campaign_id, stage_id=row.campaign_stage_id, launch_id=row.launch_id)
    return count


def take_over(core: Core, actor: Actor, launch_ids: Iterable[int]) -> int:
    """Let launches that failed before there was a submission go again, in the actor's name and role.

    The remedy for launches of people who left: they are worked out afresh. The caller has checked the right.
    """
    now, count = core.clock(), 0
    with core.db.write() as session:
        for row in session.scalars(
                select(Launch).where(Launch.launch_id.in_(list(launch_ids)), Launch.experiment == actor.experiment,
                                     Launch.state == "failed", Launch.submission_id.is_(None))
                .order_by(Launch.launch_id).with_for_update()):
            row.state, row.not_before, row.ended_at, row.failures = "owed", now, None, 0
            row.launcher, row.request = actor.experimenter_id, {**row.request, "role": actor.role}
            count += 1
            events.record(session, "launch.released", now, actor.username, experiment=row.experiment,
                          campaign_id=row.campaign_id, stage_id=row.campaign_stage_id, launch_id=row.launch_id,
                          reason=f"taken over by {actor.username}")
    return count


def abort(core: Core, actor_name: str, experiment: str, submission_id: int, *, reason: str = "") -> None:
    """Call off the launch of a submission that is still New.

    The agent that runs its script ends that within seconds (``called_off``); what was submitted is removed as soon as
    it is known. Raises NotFound, and Conflict if there are jobs or it ended.
    """
    now, why = core.clock(), f"launch aborted: {reason}" if reason else "launch aborted"
    with core.db.write() as session:
        row = session.scalar(select(Launch).where(Launch.submission_id == submission_id)
                             .order_by(Launch.launch_id.desc()).limit(1).with_for_update())
        submission = submissions.lock(session, submission_id)
        if submission.experiment != experiment:
            raise NotFound(f"There is no submission {submission_id} in {experiment}.")
        status = Status(submission.status_id)
        if status is not Status.NEW:
            raise Conflict(f"Submission {submission_id} is {status.label}, not New: its launch is over. Remove its "
                           "jobs instead.")
        submissions.change_status(session, submission, Status.REMOVED, at=now, actor=actor_name, by_person=True,
                                  reason=why)
        if row is not None and row.state == "queued" and row.attempt == 0:
            _end(session, row, "cancelled", why, "launch.cancelled", now)


# ------------------------------------------------------------------------------------ submitting


def _submit(core: Core, claimed: Claim, stop: StopSignal | None) -> str:
    with core.db.read() as session:
        row = session.get_one(Launch, claimed.launch_id)
        document, attempt, log_name, started_at = row.plan, row.attempt, row.log_name, row.started_at
        submission_id, unseen_since = row.submission_id, row.unseen_since
    jobs = core.backends.jobs(claimed.experiment)
    if attempt:
        found = find_earlier_attempts(jobs, submission_id)
        if found:
            return _started(core, claimed, found, "launch.adopted", None)
        if not _may_retry_now(core, claimed):
            return _wait(core, claimed, "the earlier attempt may still be running")
        if not _is_confirmed(core, claimed, unseen_since):
            return _wait(core, claimed, "the batch system shows nothing of the earlier attempt; it is asked once more "
                         "before another one is begun")
        if attempt >= MAX_FAILURES:
            return _give_up(core, claimed, "failed", f"{attempt} attempts left no jobs in the batch system; "
                            "the launch log says more", "launch.failed")
    plan = preparing.plan_from_document(document, attempt + 1)
    try:
        given = credentials.issue(core, plan)
    except (CredentialsLacking, BackendUnavailable) as lacking:
        # They were there when it was asked for. Nobody can launch until there are new ones, however long that takes.
        return _wait(core, claimed, str(lacking), most_seconds=LACKING_SECONDS)
    if not _begin_attempt(core, claimed):
        return "lost"
    outcome = _run_script(core, plan, given, log_name, stop)
    if outcome.kind == "not_started":
        return _take_back(core, claimed, outcome.message or "the launch could not be begun", started_at,
                          unseen_since)
    if outcome.kind == "refused":
        # An earlier attempt that was thought dead may have come first; its jobs are the submission's.
        found = find_earlier_attempts(jobs, submission_id)
        if found:
            return _started(core, claimed, found, "launch.adopted", outcome)
        return _give_up(core, claimed, "failed", outcome.message or "the launch script submitted no jobs",
                        "launch.failed", exit_status=outcome.exit_status)
    if outcome.kind == "unclear":
        stopped = stop is not None and stop.is_set()
        return _wait(core, claimed, outcome.message or "the launch script's answer was lost",
                     most_seconds=STOPPED_SECONDS if stopped else WAIT_SECONDS)
    try:
        found = jobs.find(submission_id)
    except BackendUnavailable:
        # The jobs are there, the script said so; their details come with the next poll.
        found = [FoundCluster(batch_id, 0, attempt + 1) for batch_id in outcome.batch_ids]
    return _started(core, claimed, found, "launch.started", outcome)


def find_earlier_attempts(jobs: JobBackend, submission_id: int) -> list[FoundCluster]:
    """What earlier attempts left in queue or history. No answer raises BackendUnavailable: nothing is begun then."""
    return jobs.find(submission_id)


@dataclass(frozen=True)
class _OneRun:
    """A transport for one attempt: with its files, ending when the signal is set; back ends need not know of either."""

    transport: LaunchTransport
    given: Given
    hider: Hider
    stop: StopSignal | None

    @property
    def dies_with_caller(self) -> bool:
        return self.transport.dies_with_caller

    def run(self, host: str, account: str, script: str, *, log: BinaryIO, timeout_seconds: float,
            max_output_bytes: int) -> TransportResult:
        result = self.transport.run(host, account, script, log=log, timeout_seconds=timeout_seconds,
                                    max_output_bytes=max_output_bytes, stop=self.stop, files=self.given.files)
        return replace(result, output=self.hider.whole(result.output), reason=self.hider.whole(result.reason))


def _run_script(core: Core, plan: LaunchPlan, given: Given, log_name: str, stop: StopSignal | None) -> SubmitOutcome:
    """Run one attempt. What raises before, or instead of, the submit has begun nothing."""
    jobs = core.backends.jobs(plan.experiment)
    transport = _OneRun(core.backends.transport(plan.experiment), given, given.hider(), stop)
    try:
        script = shell.launch_script(plan, jobs.environment(plan), files=given.files, credentials=given.variables)
        launch_log = _begin_log(core, plan, given, log_name)
    except (BackendUnavailable, OSError) as problem:
        return SubmitOutcome("not_started", message=str(problem))
    with launch_log:
        try:
            outcome = jobs.submit(plan, script, transport, launch_log, core.settings.agent.launch_timeout_seconds)
        except BackendUnavailable as problem:
            return SubmitOutcome("not_started", message=str(problem))
        if launch_log.lacking:
            told = f"{outcome.message} The launch log is not complete: {launch_log.lacking}".strip()
            outcome = replace(outcome, message=told)
        return outcome


def _begin_log(core: Core, plan: LaunchPlan, given: Given, log_name: str) -> launch_logs.LaunchLog:
    launch_log = launch_logs.LaunchLog(launch_logs.path_of(core, log_name), given.hider())
    try:
        launch_log.begin(f"== attempt {plan.attempt} of submission {plan.submission_id} ==\n")
    except OSError:
        launch_log.close()
        raise
    return launch_log


def _may_retry_now(core: Core, claimed: Claim) -> bool:
    """An attempt that ended with its agent needs no waiting; any other may go on until its time limit."""
    if core.backends.transport(claimed.experiment).dies_with_caller:
        return True
    with core.db.read() as session:
        started_at = session.get_one(Launch, claimed.launch_id).started_at
    limit = timedelta(seconds=core.settings.agent.launch_timeout_seconds)
    return started_at is None or core.clock() - started_at > limit


def _is_confirmed(core: Core, claimed: Claim, unseen_since: datetime | None) -> bool:
    """Whether the batch system said already some time ago that there is nothing of this attempt.

    A queue may show a job late, and a part of a pool that cannot be reached may pass for an empty one: a launch is
    not made again because of one such answer.
    """
    now = core.clock()
    if unseen_since is not None:
        return now - unseen_since >= timedelta(seconds=min(core.settings.agent.lease_seconds, WAIT_SECONDS))
    with core.db.write() as session:
        row = _guarded(session, claimed)
        if row is not None:
            row.unseen_since = now
    return False


# --------------------------------------------------------------------------------------- recording


def _guarded(session: Session, claimed: Claim) -> Launch | None:
    """The launch row, locked, if the lease is still ours."""
    row = session.get_one(Launch, claimed.launch_id, with_for_update=True)
    return row if row.lease_epoch == claimed.epoch and row.state in ("owed", "queued") else None


def _begin_attempt(core: Core, claimed: Claim) -> bool:
    now = core.clock()
    with core.db.write() as session:
        row = _guarded(session, claimed)
        if row is None:
            return False
        if submissions.lock(session, row.submission_id).status_id in FINAL:
            # Somebody removed it before its jobs existed.
            _end(session, row, "cancelled", "the submission was ended before it was launched", "launch.cancelled", now)
            return False
        row.attempt += 1
        row.started_at, row.message, row.unseen_since = now, None, None
        row.lease_until = now + timedelta(seconds=core.settings.agent.lease_seconds)
        return True


def _started(core: Core, claimed: Claim, found: list[FoundCluster], kind: str, outcome: SubmitOutcome | None) -> str:
    removed = _remove_if_ended(core, claimed)
    now = core.clock()
    with core.db.write() as session:
        row = _guarded(session, claimed)
        if row is None:
            return "lost"
        row.state, row.ended_at = "launched", now
        row.message = outcome.message or None if outcome is not None and outcome.kind == "started" else None
        row.exit_status = outcome.exit_status if outcome else None
        row.lease_owner = row.lease_until = None
        submission = submissions.lock(session, row.submission_id)
        describe_clusters(submission, found)
        if submission.status_id == Status.LAUNCH_FAILED:
            submissions.change_status(session, submission, Status.NEW, at=now, actor=AGENT,
                                      reason="the jobs were found")
        events.record(session, kind, now, AGENT, submission=submission, batch_ids=[item.batch_id for item in found],
                      jobs=sum(item.jobs for item in found), attempt=row.attempt)
    if not removed:
        _remove_if_ended(core, claimed)
    return "launched"


def _remove_if_ended(core: Core, claimed: Claim) -> bool:
    """Remove the jobs of a submission that was ended while it was being launched.

    Done before the launch is recorded, so that a batch system that does not answer is asked again.
    """
    with core.db.read() as session:
        number, status_id = session.execute(
            select(Submission.submission_id, Submission.status_id)
            .join(Launch, Launch.submission_id == Submission.submission_id)
            .where(Launch.launch_id == claimed.launch_id)).one()
    if status_id not in FINAL:
        return False
    core.backends.jobs(claimed.experiment).act("remove", JobSelection(submission_ids=(number,)),
                                               "the submission was ended while it was being launched")
    return True


def describe_clusters(submission: Submission, found: list[FoundCluster]) -> None:
    """Store what the batch system says of a submission's clusters: ids, project, command, size."""
    if not found:
        return
    submission.jobsub_job_id = submissions.normal_job_id(found[0].batch_id)
    submission.project = next((item.project for item in found if item.project), submission.project)
    submission.command_executed = next((item.command for item in found if item.command), submission.command_executed)
    submission.jobs_expected = max(submission.jobs_expected, sum(item.jobs for item in found))


def _wait(core: Core, claimed: Claim, why: str, *, most_seconds: float = WAIT_SECONDS) -> str:
    """Leave it for a later look; that look asks the batch system first."""
    pause = min(core.settings.agent.lease_seconds, most_seconds)
    with core.db.write() as session:
        row = _guarded(session, claimed)
        if row is not None:
            row.message, row.not_before = why, core.clock() + timedelta(seconds=pause)
            row.lease_owner = row.lease_until = None
    return "waiting"


def _try_again(core: Core, claimed: Claim, why: str) -> str:
    """Something outside did not answer. While an attempt may have left jobs there is no end of asking."""
    with core.db.write() as session:
        row = _guarded(session, claimed)
        if row is None:
            return "lost"
        return _put_off(session, row, why, core.clock(), may_end=row.attempt == 0)


def _take_back(core: Core, claimed: Claim, why: str, started_at: datetime | None,
               unseen_since: datetime | None) -> str:
    """Undo an attempt of which nothing was begun; both times are the earlier attempt's, if there was one."""
    with core.db.write() as session:
        row = _guarded(session, claimed)
        if row is None:
            return "lost"
        row.attempt -= 1
        row.started_at, row.unseen_since = started_at, unseen_since
        return _put_off(session, row, why, core.clock(), may_end=True)


def _put_off(session: Session, row: Launch, why: str, now: datetime, *, may_end: bool) -> str:
    row.failures += 1
    row.message = why
    row.lease_owner = row.lease_until = None
    if row.failures >= MAX_FAILURES and may_end:
        return _end(session, row, "failed", f"{why} (tried {row.failures} times)", "launch.failed", now)
    row.not_before = now + timedelta(seconds=min(300, 2 ** row.failures))
    events.record(session, "launch.retried", now, AGENT, experiment=row.experiment, campaign_id=row.campaign_id,
                  stage_id=row.campaign_stage_id, submission_id=row.submission_id, reason=why)
    return "retry"


def _give_up(core: Core, claimed: Claim, state: str, why: str, kind: str, exit_status: int | None = None) -> str:
    with core.db.write() as session:
        row = _guarded(session, claimed)
        if row is None:
            return "lost"
        row.exit_status = exit_status
        return _end(session, row, state, why, kind, core.clock())


def _end(session: Session, row: Launch, state: str, why: str, kind: str, now: datetime) -> str:
    row.state, row.message, row.ended_at = state, why, now
    row.lease_owner = row.lease_until = None
    if row.submission_id is not None:
        submission = submissions.lock(session, row.submission_id)
        if submission.status_id == Status.NEW:
            submissions.change_status(session, submission, Status.LAUNCH_FAILED, at=now, actor=AGENT, reason=why)
    events.record(session, kind, now, AGENT, experiment=row.experiment, campaign_id=row.campaign_id,
                  stage_id=row.campaign_stage_id, submission_id=row.submission_id, reason=why)
    return state


def _held_rows(session: Session, launch_ids: Iterable[int], experiment: str, *,
               also_failed: bool = False) -> list[Launch]:
    states = ("held", "failed") if also_failed else ("held",)
    return list(session.scalars(
        select(Launch).where(Launch.launch_id.in_(list(launch_ids)), Launch.experiment == experiment,
                             Launch.state.in_(states), Launch.submission_id.is_(None))
        .order_by(Launch.launch_id).with_for_update()))
