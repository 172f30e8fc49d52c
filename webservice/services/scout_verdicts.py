"""What scouts found: their jobs are measured when they have ended, the rest follows, or a person is asked.

Everything is decided from stored rows, in one transaction with the launches that it lets go, so it can be tried again
at any time. Launch rows are locked before the scout's. Who is sent ahead is ``scouts``'.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from poms.webservice.config import Settings
from poms.webservice.errors import Conflict, NotFound, PomsError
from poms.webservice.interfaces import JobState
from poms.webservice.model import CampaignStage, Job, Launch, Scout, Submission
from poms.webservice.rules import naming, recovery_choices, scouting
from poms.webservice.rules.permissions import Actor
from poms.webservice.rules.recovery_policies import Policy
from poms.webservice.rules.scouting import Measured
from poms.webservice.rules.statuses import FINAL, Status
from poms.webservice.services import events, policies
from poms.webservice.services.core import Core
from poms.webservice.services.launches import AGENT

log = logging.getLogger(__name__)

BATCH = 500
ENDED = tuple(int(status) for status in (*FINAL, Status.COMPLETED, Status.LAUNCH_FAILED))
DECIDED = ("good", "gone on", "given up")
_JOBS_ENDED = tuple(int(state) for state in JobState if state.is_final)


def run(core: Core, experiment: str) -> int:
    """Judge the scouts of an experiment that have ended, and let go what waits for decided ones; returns how many."""
    with core.db.read() as session:
        numbers = set(session.scalars(
            select(Scout.submission_id).join(Submission, Submission.submission_id == Scout.submission_id)
            .where(Scout.experiment == experiment, Scout.judged_at.is_(None), Submission.status_id.in_(ENDED),
                   # Of a launch that failed nothing is measured; a person is asked once.
                   or_(Submission.status_id != int(Status.LAUNCH_FAILED), Scout.state == "waiting"))
            .order_by(Scout.submission_id).limit(BATCH)))
        # A launch may have been kept for a scout just while that was judged.
        numbers |= set(session.scalars(
            select(Launch.scout_submission_id).join(Scout, Scout.submission_id == Launch.scout_submission_id)
            .where(Launch.experiment == experiment, Launch.state == "held", Scout.state.in_(DECIDED)).limit(BATCH)))
    count = 0
    for number in sorted(numbers):
        try:
            count += _look_at(core, number)
        except PomsError as reason:
            # The others are judged all the same; this one again at the next pass.
            log.warning("a scout was not judged", extra={"submission_id": number, "reason": str(reason)})
    return count


def _look_at(core: Core, number: int) -> bool:
    now = core.clock()
    with core.db.write() as session:
        held = _held(session, number)
        scout = session.get_one(Scout, number, with_for_update=True)
        submission = session.get_one(Submission, number)
        judged = scout.judged_at is None and submission.status_id in ENDED
        if judged:
            _judge(session, core.settings, scout, submission, held, now)
        if scout.state in DECIDED:
            _let_go(session, scout, held, AGENT, now)
        return judged


def _held(session: Session, number: int) -> list[Launch]:
    """The launches that wait for a scout, locked."""
    return list(session.scalars(
        select(Launch).where(Launch.scout_submission_id == number, Launch.state == "held")
        .order_by(Launch.launch_id).with_for_update()))


# ------------------------------------------------------------------------------------- judging


def _judge(session: Session, settings: Settings, scout: Scout, submission: Submission, held: Sequence[Launch],
           now: datetime) -> None:
    rule = scouting.parse_scout(scout.rule)
    if rule is None:
        raise NotFound(f"The scout of submission {scout.submission_id} has lost its rule.")
    measured = _measure(session, submission)
    status = Status(submission.status_id)
    why = f"it is {status.label}" if status is Status.LAUNCH_FAILED else scouting.shortfall(rule, measured)
    if status is not Status.LAUNCH_FAILED:
        # One that failed to launch may still come to life.
        scout.judged_at = now
    scout.jobs, scout.jobs_succeeded = measured.jobs, measured.succeeded
    scout.memory_mb, scout.wall_seconds = measured.memory_mb, measured.wall_seconds
    scout.cpu_efficiency = measured.cpu_efficiency
    if why:
        _fall_short(session, scout, submission, held, why, now)
        return
    scout.state, scout.reason = "good", scouting.unmeasured(rule, measured)
    scout.overrides, scout.change = _learn(session, settings, submission, rule, measured)
    events.record(session, "scout.good", now, AGENT, submission=submission, jobs=measured.jobs,
                  **_told(measured, scout))


def _measure(session: Session, submission: Submission) -> Measured:
    """How the jobs ended, from the submission; what they used, from the jobs."""
    ended = Job.submission_id == submission.submission_id, Job.state.in_(_JOBS_ENDED)
    memory, wall = session.execute(select(func.max(Job.memory_used_mb), func.max(Job.wall_seconds)).where(*ended)).one()
    cpu, during = session.execute(
        select(func.sum(Job.cpu_seconds), func.sum(Job.wall_seconds))
        .where(*ended, Job.cpu_seconds.is_not(None), Job.wall_seconds > 0)).one()
    jobs = submission.jobs_completed + submission.jobs_failed + submission.jobs_removed
    return Measured(jobs, submission.jobs_completed, memory, wall, cpu / during if during else None)


def _learn(session: Session, settings: Settings, submission: Submission, rule: scouting.Scouting,
           measured: Measured) -> tuple[list[list[str]], str]:
    """The launch parameters by which what follows asks for what was measured, and the same in words."""
    stage = session.get_one(CampaignStage, submission.campaign_stage_id)
    policy = policies.policy_of(settings, stage) or Policy(())
    values = scouting.amounts(rule, measured, memory_cap_mb=policy.memory_cap_mb,
                              time_cap_seconds=policy.time_cap_seconds)
    if not values:
        return [], ""
    plan = session.scalar(select(Launch.plan).where(Launch.submission_id == submission.submission_id)
                          .order_by(Launch.launch_id.desc()).limit(1))
    command = str((plan or {}).get("command") or "")
    asked = recovery_choices.asked_in(command, policy)
    pairs = recovery_choices.overrides(policy, asked, values, script=command)
    return [list(pair) for pair in pairs], recovery_choices.words(values)


def _fall_short(session: Session, scout: Scout, submission: Submission, held: Sequence[Launch], why: str,
                now: datetime) -> None:
    """The rest does not follow: a person is asked, unless nothing waits or somebody has decided."""
    scout.reason = why
    if scout.state != "waiting":
        return
    if not held:
        scout.state = "given up"
        return
    scout.state = "asking"
    for row in held:
        row.hold_reason = f"Its scout, submission {scout.submission_id}, fell short: {why}"
    events.record(session, "scout.asked", now, AGENT, submission=submission, launches=len(held), reason=why)


def _told(measured: Measured, scout: Scout) -> dict[str, str]:
    """What an event says beyond the number of jobs."""
    parts = {"measured": measured.words, "learned": scout.change, "reason": scout.reason}
    return {name: text for name, text in parts.items() if text}


# ------------------------------------------------------------------------------- what waits for it


def _let_go(session: Session, scout: Scout, held: Sequence[Launch], actor_name: str, now: datetime) -> None:
    """What waits for a decided scout is launched; of one that was given up the rest is dropped, others scout anew."""
    rest = naming.scout_rest_key(scout.submission_id)
    for row in held:
        row.scout_submission_id = row.hold_reason = None
        if scout.state == "given up" and row.key == rest:
            row.state, row.ended_at, kind = "cancelled", now, "launch.cancelled"
        else:
            row.state, row.not_before, kind = "owed", now, "launch.released"
            if scout.state != "given up":
                row.request = {**row.request, "scouted_by": scout.submission_id}
        events.record(session, kind, now, actor_name, experiment=row.experiment, campaign_id=row.campaign_id,
                      stage_id=row.campaign_stage_id, launch_id=row.launch_id)


def answer(core: Core, actor: Actor, submission_id: int, *, go_on: bool, reason: str = "") -> int:
    """A person's word about a scout: launch what waits for it, or give the rest up; returns how many were waiting.

    The right to act on the submission was checked. Raises NotFound; Conflict if it is decided already.
    """
    now = core.clock()
    with core.db.write() as session:
        held = _held(session, submission_id)
        scout = session.get(Scout, submission_id, with_for_update=True)
        if scout is None or scout.experiment != actor.experiment:
            raise NotFound(f"Submission {submission_id} of {actor.experiment} is no scout.")
        if scout.state not in ("waiting", "asking"):
            raise Conflict(f"This was decided already: {scout.state}. Load the page again.")
        scout.state = "gone on" if go_on else "given up"
        scout.answered_by, scout.answered_at, scout.answer = actor.experimenter_id, now, reason or None
        said = f"{'go on' if go_on else 'give up'}" + (f" ({reason})" if reason else "")
        events.record(session, "scout.answered", now, actor.username,
                      submission=session.get_one(Submission, submission_id), launches=len(held), reason=said)
        _let_go(session, scout, held, actor.username, now)
        return len(held)
