"""Recoveries by rules: what failed, in which groups, what is done about each, and what people answer.

``judge`` asks and decides, with no transaction open; ``record`` writes it in the transaction that makes the submission
final. Not for recovery lists without rules (``wrapup``). Invariant: a failed file of a submission is in one group,
and next stages wait until every group has come to an end.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from sqlalchemy import ColumnElement, and_, delete, func, or_, select
from sqlalchemy.orm import Session

from poms.webservice.db import insert_new
from poms.webservice.errors import Conflict, NotFound
from poms.webservice.interfaces import DataBackend, FileState, JobState, SubmissionView
from poms.webservice.model import (
    CampaignStage,
    Job,
    Launch,
    RecoveryDecision,
    RecoveryFile,
    RecoveryRound,
    Submission,
)
from poms.webservice.rules import naming, parameters, recovery_choices, sam_queries
from poms.webservice.rules.permissions import Actor
from poms.webservice.rules.recovery_choices import Asked, Choice, Facts
from poms.webservice.rules.recovery_policies import Policy
from poms.webservice.rules.statuses import Status
from poms.webservice.services import events, launch_requests, policies
from poms.webservice.services.core import Core
from poms.webservice.services.launch_requests import LaunchRequest
from poms.webservice.services.launches import AGENT

USUAL_KIND = "process_status"
"""Which files are looked at where the job type has no list that says it."""

ACTED = ("launched", "passive", "gone on")


@dataclass(frozen=True)
class Failed:
    """A submission that is to be judged by rules, with what is needed for that."""

    submission: Submission
    original: Submission
    view: SubmissionView
    entries: Sequence[tuple[str, Sequence[Sequence[str]]]]
    policy: Policy
    script: str = ""


@dataclass(frozen=True)
class Group:
    """Files that failed for causes that have one answer. ``request`` starts them again, at once or after a "go on"."""

    outcome: recovery_choices.Outcome
    rule: str
    cause: str
    change: str
    note: str
    files: tuple[str, ...] = field(repr=False)
    request: LaunchRequest | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Round:
    """What the rules say of one submission, and what its good jobs were content with."""

    submission_id: int
    original_id: int
    depth: int
    passive: bool
    groups: tuple[Group, ...]
    levels: policies.Levels

    @property
    def requests(self) -> tuple[LaunchRequest, ...]:
        """What is launched without asking anybody."""
        return () if self.passive else tuple(group.request for group in self.groups
                                             if group.outcome == "launch" and group.request)


@dataclass(frozen=True)
class _History:
    """What was stored of a submission before it is judged."""

    depth: int
    command: str
    overrides: launch_requests.Pairs
    jobs: tuple[Job, ...]
    tried: Mapping[str, Mapping[str, int]]
    learned: policies.Levels
    contented: policies.Levels
    asked: Asked


def judge(core: Core, failed: Failed, states: Sequence[FileState], data: DataBackend) -> Round:
    """Put what a submission did not process into groups, each with its answer; writes nothing."""
    past = _history(core, failed)
    names = _not_processed(failed, past.depth, data)
    facts = _facts_by_file(names, states, past.jobs)
    sites = {job.batch_id: job.site for job in past.jobs}
    jobs_of = {state.file_name: state.job for state in states}
    members: dict[tuple[Choice | None, str], list[str]] = defaultdict(list)
    for name in names:
        choice = recovery_choices.choose(failed.policy, facts[name], past.asked, tried=past.tried.get(name, {}),
                                         learned=past.learned) if facts[name] else None
        cause = facts[name].words() if facts[name] else "new in the dataset"
        # What a person is asked about stays apart by cause; what is answered alike goes together.
        members[choice, cause if choice is None or choice.outcome != "launch" else ""].append(name)
    groups = []
    for number, ((choice, cause), files) in enumerate(members.items(), 1):
        causes = Counter(facts[name].words() for name in files if facts[name])
        cause = cause or ", or ".join(text for text, _ in causes.most_common(3))
        avoid = sorted({sites[jobs_of[name]] for name in files if sites.get(jobs_of.get(name, ""))}) \
            if choice is not None and choice.avoid_site else []
        groups.append(_group(failed, past, choice, cause, tuple(files), avoid, number))
    return Round(failed.submission.submission_id, failed.original.submission_id, past.depth, failed.policy.passive,
                 tuple(groups), past.contented)


def _history(core: Core, failed: Failed) -> _History:
    number, original = failed.submission.submission_id, failed.original.submission_id
    with core.db.read() as session:
        launch = session.scalar(select(Launch).where(Launch.submission_id == number)
                                .order_by(Launch.launch_id.desc()).limit(1))
        before = session.scalar(
            select(RecoveryRound.depth).join(RecoveryDecision, RecoveryDecision.submission_id
                                             == RecoveryRound.submission_id)
            .where(RecoveryDecision.launch_key == launch.key)) if launch is not None else None
        jobs = tuple(session.scalars(select(Job).where(Job.submission_id == number).order_by(Job.batch_id)))
        tried = _tried(session, original)
        learned = policies.levels_of(session, failed.submission.campaign_stage_id)
        command = str((launch.plan or {}).get("command") or "") if launch is not None else ""
        asked = _asked(command, failed.policy, jobs)
        contented = policies.contented(session, number, failed.policy, asked)
    for resource, amounts in contented.items():
        # What the other jobs of this very submission were content with is known already.
        for amount, count in amounts.items():
            known = learned.setdefault(resource, {})
            known[amount] = known.get(amount, 0) + count
    overrides = tuple((key, value) for key, value in (launch.request.get("param_overrides") or [])) \
        if launch is not None and failed.submission is not failed.original else ()
    recovered = failed.submission.recovery_tasks_parent is not None
    depth = before + 1 if before is not None else int(recovered)
    return _History(depth, command, overrides if recovered else (), jobs, tried, learned, contented, asked)


def _tried(session: Session, original_id: int) -> dict[str, dict[str, int]]:
    """For each file that was recovered before: how often by which rule."""
    rows = session.execute(
        select(RecoveryFile.file_name, RecoveryDecision.rule, func.count())
        .join(RecoveryDecision, RecoveryDecision.recovery_decision_id == RecoveryFile.recovery_decision_id)
        .where(RecoveryDecision.original_submission_id == original_id, RecoveryDecision.state.in_(ACTED))
        .group_by(RecoveryFile.file_name, RecoveryDecision.rule))
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for name, rule, count in rows:
        found[name][rule] = count
    return found


def _asked(command: str, policy: Policy, jobs: Sequence[Job]) -> Asked:
    """What a launch asked for: as its command says, else as the batch system does of its jobs."""
    asked = recovery_choices.asked_in(command, policy)
    if asked.memory_mb is None:
        asked = replace(asked, memory_mb=max((float(job.memory_asked_mb) for job in jobs if job.memory_asked_mb),
                                             default=None))
    if asked.time_seconds is None:
        asked = replace(asked, time_seconds=max((job.wall_seconds for job in jobs if job.wall_seconds
                                                 and job.state != int(JobState.COMPLETED)), default=None))
    return asked


def _not_processed(failed: Failed, depth: int, data: DataBackend) -> list[str]:
    """The files that a recovery of the kind in force would take, each once."""
    kinds = data.recovery_kinds()
    usual = USUAL_KIND if USUAL_KIND in kinds else next(iter(kinds))
    kind = failed.entries[min(depth, len(failed.entries) - 1)][0] if failed.entries else usual
    derived = data.recovery_files(failed.view, kind)
    return list(dict.fromkeys(data.list(derived.query))) if derived.count else []


def _facts_by_file(names: Sequence[str], states: Sequence[FileState], jobs: Sequence[Job]) -> dict[str, Facts | None]:
    """Why each file was not processed; None for one that the submission never had.

    Files that no known job had are judged by the commonest failure: mostly nobody was left to take them.
    """
    of_job = {job.batch_id: _facts(job) for job in jobs}
    failures = Counter(replace(of_job[job.batch_id], site="") for job in jobs if job.state != int(JobState.COMPLETED))
    common = failures.most_common(1)[0][0] if failures else Facts()
    known = {state.file_name: state for state in states}
    found: dict[str, Facts | None] = {}
    for name in names:
        state = known.get(name)
        found[name] = None if state is None else replace(of_job.get(state.job, common), file_state=state.state)
    return found


def _facts(job: Job) -> Facts:
    return Facts(job.exit_code, job.exit_signal, job.hold_code, job.hold_reason, job.site)


def _group(failed: Failed, past: _History, choice: Choice | None, cause: str, files: tuple[str, ...],
           avoid: Sequence[str], number: int) -> Group:
    listed = failed.entries[past.depth][1] if past.depth < len(failed.entries) else None
    if choice is None and listed is None:
        return Group("give up", "", cause, "", "no rule is about this, and the job type's list is at its end", files)
    values = choice.values if choice is not None else ()
    pairs = recovery_choices.overrides(failed.policy, past.asked, values, avoid=avoid, script=failed.script)
    request = None
    if choice is None or choice.outcome != "give up":
        entry = tuple((str(key), str(value)) for key, value in listed or ())
        request = _request(failed, files, parameters.merge(past.overrides, entry, pairs), number)
    change = recovery_choices.words(values, avoid)
    if choice is None:
        kind = failed.entries[past.depth][0]
        return Group("launch", "", cause, "as the job type's list says", f"no rule is about this: {kind}", files,
                     request)
    rule = choice.rule.text if choice.rule else ""
    return Group(choice.outcome, rule, cause, change if choice.outcome == "launch" else "", "; ".join(choice.spent),
                 files, request)


def _request(failed: Failed, files: Sequence[str], overrides: Sequence[tuple[str, str]], number: int) -> LaunchRequest:
    original, submission = failed.original, failed.submission.submission_id
    return LaunchRequest(
        stage_id=original.campaign_stage_id, key=naming.group_recovery_key(submission, number), kind="recovery",
        dataset_override=naming.group_recovery_dataset(original.submission_id, submission, number),
        define=sam_queries.named(files), param_overrides=tuple(overrides),
        test=bool(original.submission_params.get("test")), recovery_of=original.submission_id)


# ------------------------------------------------------------------------------------- recording


def record(session: Session, found: Round, submission: Submission, original: Submission, now: datetime) -> bool:
    """Write what was decided, in the transaction that owes the launches; False if it was judged before.

    What passive rules noted before gives way to what active ones decide.
    """
    if not found.passive:
        _drop_passive(session, found.submission_id)
    if not insert_new(session, RecoveryRound, [{
            "submission_id": found.submission_id, "original_submission_id": found.original_id,
            "experiment": submission.experiment, "depth": found.depth, "passive": found.passive,
            "waiting": False, "judged_at": now}]):
        return False
    policies.learn(session, submission.campaign_stage_id, found.levels)
    for group in found.groups:
        _record_group(session, found, group, submission, now)
    is_recovery = submission.recovery_tasks_parent is not None
    if not found.passive and (is_recovery or any(group.outcome != "give up" for group in found.groups)):
        _wait(session, original, now)
    return True


def _drop_passive(session: Session, submission_id: int) -> None:
    gone = session.execute(delete(RecoveryRound).where(RecoveryRound.submission_id == submission_id,
                                                       RecoveryRound.passive)).rowcount
    if gone:
        session.execute(delete(RecoveryFile).where(RecoveryFile.submission_id == submission_id))
        session.execute(delete(RecoveryDecision).where(RecoveryDecision.submission_id == submission_id))


def _record_group(session: Session, found: Round, group: Group, submission: Submission, now: datetime) -> None:
    state = {"launch": "passive" if found.passive else "launched", "ask": "passive" if found.passive else "asking",
             "give up": "passive" if found.passive else "given up"}[group.outcome]
    row = RecoveryDecision(
        submission_id=found.submission_id, original_submission_id=found.original_id,
        experiment=submission.experiment, campaign_stage_id=submission.campaign_stage_id, state=state,
        outcome=group.outcome, rule=group.rule, cause=group.cause, change=group.change, note=group.note,
        files=len(group.files), decided_at=now,
        request=group.request.to_document() if group.request and group.outcome == "ask" else None,
        launch_key=group.request.key if group.request and state == "launched" else None)
    session.add(row)
    session.flush()
    insert_new(session, RecoveryFile, [
        {"submission_id": found.submission_id, "file_name": name,
         "recovery_decision_id": row.recovery_decision_id} for name in group.files])
    kind = {"launch": "recovery.decided", "ask": "recovery.asked", "give up": "recovery.given_up"}[group.outcome]
    events.record(session, kind, now, AGENT, submission=submission, files=len(group.files), rule=group.rule,
                  change=group.change, passive=found.passive, reason=describe(group, passive=found.passive))


def describe(group: Group | RecoveryDecision, *, passive: bool = False) -> str:
    """One decision in a sentence's half: how many files, why, what is done."""
    count = len(group.files) if isinstance(group, Group) else group.files
    done = {"launch": group.change, "ask": "a person is asked", "give up": "given up"}[group.outcome]
    words = f"{count:,} file{'s' if count != 1 else ''}, {group.cause}: {done}"
    return (words + (f"; {group.note}" if group.note else "")
            + ("; passive, nothing is changed" if passive else ""))


def _wait(session: Session, original: Submission, now: datetime) -> None:
    row = session.get(RecoveryRound, original.submission_id, populate_existing=True)
    if row is None:
        # The original ended before there were rules.
        row = RecoveryRound(submission_id=original.submission_id, original_submission_id=original.submission_id,
                            experiment=original.experiment, judged_at=now)
        session.add(row)
    row.waiting = True
    session.flush()


# ------------------------------------------------------------------------------ what is outstanding


def settled(session: Session, experiment: str) -> list[int]:
    """Originals whose next stages wait, and that have nothing outstanding any more; one statement for all."""
    return list(session.scalars(
        select(RecoveryRound.submission_id)
        .where(RecoveryRound.experiment == experiment, RecoveryRound.waiting, ~_outstanding())
        .order_by(RecoveryRound.submission_id)))


def _outstanding() -> ColumnElement[bool]:
    """Of a round: whether a question is open, or a recovery of its submission is not Located yet, however it stands."""
    asking = select(RecoveryDecision.recovery_decision_id).where(
        RecoveryDecision.original_submission_id == RecoveryRound.submission_id,
        RecoveryDecision.state == "asking").exists()
    # A recovery that failed to launch, or that somebody removed, is looked at by a person first.
    recovering = (
        select(Launch.launch_id).outerjoin(Submission, Submission.submission_id == Launch.submission_id)
        .where(Launch.parent_submission_id == RecoveryRound.submission_id, Launch.kind == "recovery",
               or_(and_(Submission.submission_id.is_(None), Launch.state.not_in(("cancelled", "skipped"))),
                   Submission.status_id != int(Status.LOCATED)))).exists()
    return or_(asking, recovering)


def stop_waiting(session: Session, original_id: int) -> bool:
    """Claim the right to go on after a submission; False if it does not wait (any more), or must wait on."""
    row = session.get(RecoveryRound, original_id, with_for_update=True, populate_existing=True)
    outstanding = session.scalar(select(_outstanding()).where(RecoveryRound.submission_id == original_id))
    if row is None or not row.waiting or outstanding:
        return False
    row.waiting = False
    return True


# ------------------------------------------------------------------------------------------ answers


def answer(core: Core, actor: Actor, decision_id: int, *, submission_id: int, go_on: bool,
           reason: str = "") -> RecoveryDecision:
    """A person's answer to what the rules ask of a submission: try the files again, or give them up.

    The right to act on the submission was checked. Raises NotFound; Conflict if somebody answered before.
    """
    now = core.clock()
    with core.db.write() as session:
        row = session.get(RecoveryDecision, decision_id, with_for_update=True)
        if row is None or row.experiment != actor.experiment or row.submission_id != submission_id:
            raise NotFound(f"There is no question {decision_id} about submission {submission_id} in "
                           f"{actor.experiment}.")
        if row.state != "asking":
            raise Conflict(f"This was answered already: {row.state}. Load the page again.")
        row.state = "gone on" if go_on else "given up"
        row.answered_by, row.answered_at, row.answer = actor.experimenter_id, now, reason or None
        original = session.get_one(Submission, row.original_submission_id)
        submission = session.get_one(Submission, row.submission_id)
        if go_on:
            request = replace(LaunchRequest.from_document(row.request or {}), role=actor.role)
            row.launch_key = request.key
            launch_requests.owe(session, request, stage=session.get_one(CampaignStage, row.campaign_stage_id),
                                launcher_id=actor.experimenter_id, now=now)
            events.record(session, "recovery.owed", now, actor.username, submission=original,
                          dataset=request.dataset_override)
        events.record(session, "recovery.answered", now, actor.username, submission=submission, files=row.files,
                      reason=f"{'go on' if go_on else 'give up'}: {describe(row)}" + (f" ({reason})" if reason else ""))
    return row


def decisions_of(session: Session, submission_id: int, *,
                 limit: int = 50) -> tuple[list[tuple[RecoveryDecision, int | None]], bool]:
    """The newest decisions about a submission, each with the number of the submission that came of it, if one did.

    Also, whether its next stages wait for its recoveries by rules. One statement, as every page of a submission asks.
    """
    rows = session.execute(
        select(RecoveryDecision, Launch.submission_id, RecoveryRound.waiting).select_from(Submission)
        .outerjoin(RecoveryRound, RecoveryRound.submission_id == Submission.submission_id)
        .outerjoin(RecoveryDecision, RecoveryDecision.submission_id == Submission.submission_id)
        .outerjoin(Launch, Launch.key == RecoveryDecision.launch_key)
        .where(Submission.submission_id == submission_id)
        .order_by(RecoveryDecision.recovery_decision_id.desc()).limit(limit)).all()
    return [(row, number) for row, number, _ in rows if row is not None], any(waiting for _, _, waiting in rows)
