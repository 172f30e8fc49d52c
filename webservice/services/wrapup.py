"""Completed submissions: is the output there, and what follows.

Everything is asked of the catalogue first, with no transaction open. Then one transaction makes the
submission Located *and* writes the launches that are owed because of it (the next recovery, else the
dependent stages), so there is no moment at which one is done and the other forgotten.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from poms.webservice.db import upsert
from poms.webservice.errors import BackendUnavailable, Invalid, NotFound, PomsError
from poms.webservice.interfaces import DataBackend, FileCounts, FileState, OutputFile
from poms.webservice.model import (
    CampaignStage,
    Job,
    Launch,
    RecoveryRound,
    Submission,
    SubmissionFile,
    SubmissionHistory,
)
from poms.webservice.rules import completion, naming
from poms.webservice.rules.recovery_policies import Policy
from poms.webservice.rules.statuses import Status
from poms.webservice.services import (
    candidates,
    dependents,
    events,
    policies,
    recoveries,
    scout_verdicts,
    submissions,
)
from poms.webservice.services.candidates import Candidate
from poms.webservice.services.core import Core
from poms.webservice.services.dependents import Owed
from poms.webservice.services.launch_requests import LaunchRequest
from poms.webservice.services.launches import AGENT

log = logging.getLogger(__name__)

TOGETHER = 100
FILES_TOGETHER = 5_000
SECONDS_TOGETHER = 2
DOUBT_SECONDS = 15
"""An empty answer that contradicts what is known otherwise is believed if it is still given after so long."""

TAKEN_OVER_DAYS = 14
"""Rules written later than this after a failure leave it to people."""

_CONSUMED = ("consumed", "completed")


@dataclass(frozen=True)
class Finding:
    """What was found out about a candidate, and what is to be stored."""

    decision: completion.Decision
    counts: FileCounts | None = None
    inputs: tuple[FileState, ...] = field(default=(), repr=False)
    outputs: tuple[OutputFile, ...] = field(default=(), repr=False)
    owed: tuple[Owed, ...] = ()
    held_because: str = ""
    recovery_position: int | None = None
    skipped: tuple[str, ...] = ()
    is_doubted: bool = False
    round: recoveries.Round | None = None


def run(core: Core, experiment: str) -> str:
    """One pass over an experiment's Completed submissions; returns a sentence for the agents page.

    A submission that cannot be judged is logged with its number and left for the next pass.
    """
    done: Counter[str] = Counter()
    take_over(core, experiment)
    scout_verdicts.run(core, experiment)
    begun = dependents.begin_early(core, experiment)
    last = 0
    while found := candidates.load(core, experiment, after=last):
        last = found[-1].submission.submission_id
        together = Together(core.clock())
        for candidate in found:
            with _undecided(core, candidate, done):
                together.judged.append((candidate, judge(core, candidate)))
            if together.is_enough(core.clock()):
                _store_together(core, together.judged, done)
                together = Together(core.clock())
        _store_together(core, together.judged, done)
    go_on(core, experiment)
    return f"{done['located']} located, {done['waiting']} waiting, {done['failed']} not decided" + (
        f", {begun} begun early" if begun else "")


@dataclass
class Together:
    """Findings that are stored in one transaction: many of them, but neither much text nor for long."""

    since: datetime
    judged: list[tuple[Candidate, Finding]] = field(default_factory=list)

    def is_enough(self, now: datetime) -> bool:
        files = sum(len(finding.inputs) + len(finding.outputs) for _, finding in self.judged)
        return (len(self.judged) >= TOGETHER or files >= FILES_TOGETHER
                or now - self.since > timedelta(seconds=SECONDS_TOGETHER))


@contextmanager
def _undecided(core: Core, candidate: Candidate, done: Counter[str]) -> Iterator[None]:
    """One broken submission must not keep the others waiting: say what is wrong with it and go on."""
    number = candidate.submission.submission_id
    try:
        yield
    except BackendUnavailable as silent:
        done["failed"] += 1
        _note(core, candidate, f"not decided: {silent}")
    except Exception as error:
        done["failed"] += 1
        log.exception("wrap-up failed", extra={"submission_id": number})
        _note(core, candidate, f"not decided: {error}" if isinstance(error, PomsError)
              else "not decided because of an internal error; see the agent's log")


def _store_together(core: Core, judged: list[tuple[Candidate, Finding]], done: Counter[str]) -> None:
    try:
        located = store_all(core, judged)
    except Exception:
        # Find the one that cannot be stored by storing each by itself.
        log.exception("findings could not be stored together", extra={"submissions": len(judged)})
        for candidate, finding in judged:
            with _undecided(core, candidate, done):
                done["located" if store(core, candidate, finding) else "waiting"] += 1
        return
    done["located"] += sum(located)
    done["waiting"] += len(located) - sum(located)


def judge(core: Core, candidate: Candidate) -> Finding:
    """Decide whether a candidate is Located and work out what follows; writes nothing."""
    data = core.backends.data(candidate.submission.experiment)
    content, submission = candidate.stage_content, candidate.submission
    approved = candidate.stage.campaign_stage_type == "approval"
    decision = completion.Decision(True, "approved by a person") if approved else completion.decide_without_files(
        completion_type=content["completion_type"], created_at=submission.created, now=core.clock(),
        force_located=bool(submission.submission_params.get("force_located")),
        located_after=timedelta(days=core.settings.agent.located_after_days))
    view = candidate.view(submission, candidate.output_patterns)
    counts = None
    if decision is None:
        counts = data.output_counts(view)
        decision = completion.decide(counts, completion_pct=content["completion_pct"],
                                     is_recovery=candidate.is_recovery)
    policy = _policy(core, candidate)
    if policy is not None and not policy.passive and counts is not None and not counts.expected:
        decision = completion.Decision(True, "nothing was processed; the recovery rules say what is done about it")
    if not decision.done:
        return Finding(decision, counts)
    ledger = content["completion_type"] == "located" and not approved
    inputs = tuple(data.file_states(view)) if ledger else ()
    outputs = tuple(data.output_files(view)) if ledger else ()
    states = inputs if ledger or policy is None else tuple(data.file_states(view))
    finding = _followed(core, candidate, data, Finding(decision, counts, inputs, outputs), states)
    doubt = _doubt(candidate, finding, core.clock())
    if doubt:
        return Finding(completion.Decision(False, doubt), counts, is_doubted=True)
    return _with(finding, held_because=dependents.switched_off(core, candidate))


def foresee(core: Core, candidate: Candidate) -> Finding:
    """What would follow if a candidate were Located with the files that are there now; writes nothing."""
    data = core.backends.data(candidate.submission.experiment)
    states = tuple(data.file_states(candidate.view(candidate.submission, candidate.output_patterns))) \
        if _policy(core, candidate) is not None else ()
    finding = _followed(core, candidate, data, Finding(completion.Decision(True, "looked at beforehand")), states)
    return _with(finding, held_because=dependents.switched_off(core, candidate))


def _followed(core: Core, candidate: Candidate, data: DataBackend, finding: Finding,
              states: Sequence[FileState]) -> Finding:
    """The finding with what is owed because of it; ``states`` of its input count where recovery rules are in force."""
    policy = _policy(core, candidate)
    if policy is not None:
        finding = _with(finding, round=recoveries.judge(core, _failed(candidate, policy), states, data))
    return _what_follows(core, candidate, data, finding)


def _doubt(candidate: Candidate, finding: Finding, now: datetime) -> str:
    """Why it is not believed yet that there is nothing; "" if it is, or if nothing speaks against it.

    A catalogue in trouble may say "no files" instead of "I cannot tell"; what follows would then be left out for good.
    """
    submission, counts = candidate.submission, finding.counts
    approved = candidate.stage.campaign_stage_type == "approval"
    made = submission.submission_params.get("dataset") if approved else (
        submission.jobs_completed if counts is None else counts.located)
    if finding.skipped and made:
        said = "; ".join(finding.skipped)
    elif counts is not None and not counts.consumed and any(item.state in _CONSUMED for item in finding.inputs):
        said = "no input file counts as consumed, though some are"
    else:
        return ""
    said = f"the catalogue is asked once more, as this is unlikely: {said}"
    before = submission.wrapup_checked_at if submission.wrapup_message == said else None
    return "" if before is not None and now - before >= timedelta(seconds=DOUBT_SECONDS) else said


def store(core: Core, candidate: Candidate, finding: Finding) -> bool:
    """Write a finding in one transaction; True if the submission became Located."""
    return store_all(core, [(candidate, finding)])[0]


def store_all(core: Core, judged: Sequence[tuple[Candidate, Finding]]) -> list[bool]:
    """Write several findings in one transaction, all or none of them; for each whether it made one Located."""
    if not judged:
        return []
    now = core.clock()
    numbers = {number for candidate, _ in judged
               for number in (candidate.submission.submission_id, candidate.original.submission_id)}
    # Each flush would ask what is there already; all is written at the end, in few statements.
    with core.db.write() as session, session.no_autoflush:
        locked = submissions.lock_all(session, numbers)
        return [_store(session, candidate, finding, locked, now) for candidate, finding in judged]


def _store(session: Session, candidate: Candidate, finding: Finding, locked: Mapping[int, Submission],
           now: datetime) -> bool:
    number = candidate.submission.submission_id
    submission, original = locked[number], locked[candidate.original.submission_id]
    if submission.status_id != Status.COMPLETED:
        return False
    if not finding.is_doubted or submission.wrapup_message != finding.decision.reason:
        submission.wrapup_checked_at = now
    submission.wrapup_message = finding.decision.reason
    if finding.counts is not None:
        submissions.set_file_counts(session, submission, consumed=finding.counts.consumed,
                                    generated=finding.counts.generated, located=finding.counts.located)
    if not finding.decision.done:
        return False
    submissions.change_status(session, submission, Status.LOCATED, at=now, actor=AGENT,
                              reason=finding.decision.reason)
    _write_ledger(session, number, finding, now)
    if finding.round is not None:
        recoveries.record(session, finding.round, submission, original, now)
    if finding.recovery_position is not None:
        original.recovery_position = finding.recovery_position
    for owed in finding.owed:
        dependents.owe(session, owed, candidate, original, now=now, held_because=finding.held_because)
    for why in finding.skipped:
        events.record(session, "launch.skipped", now, AGENT, submission=original, reason=why)
    return True


def force_located(core: Core, actor_name: str, experiment: str, submission_id: int) -> None:
    """Ask for a submission to be taken as Located at the next pass, whatever its files say."""
    now = core.clock()
    with core.db.write() as session:
        submission = submissions.lock(session, submission_id)
        if submission.experiment != experiment:
            raise NotFound(f"There is no submission {submission_id} in {experiment}.")
        submission.submission_params = {**submission.submission_params, "force_located": True}
        events.record(session, "submission.located_by_hand", now, actor_name, submission=submission)
        if submission.status_id not in (Status.COMPLETED, Status.LOCATED):
            submissions.change_status(session, submission, Status.COMPLETED, at=now, actor=actor_name,
                                      by_person=True, reason="skip ahead to Located")


def require_project(candidate: Candidate) -> None:
    """Raise Invalid if a submission has no input that could be recovered."""
    if not candidate.submission.project:
        raise Invalid("A submission without a project has no input files that could be recovered.")


def recovery_request(core: Core, candidate: Candidate, kind: str, request_key: str) -> LaunchRequest:
    """A recovery by hand: of any kind, without overrides; the automatic list's position is not touched."""
    data = core.backends.data(candidate.submission.experiment)
    if kind not in data.recovery_kinds():
        known = ", ".join(sorted(data.recovery_kinds()))
        raise Invalid(f"“{kind}” is not a recovery type of this experiment's catalogue; known: {known}.",
                      field="recovery_type")
    require_project(candidate)
    derived = data.recovery_files(candidate.view(candidate.submission, candidate.job_type_patterns), kind)
    if derived.count == 0:
        raise Invalid("No recovery needed, launch skipped.")
    with core.db.read() as session:
        taken = session.scalars(select(Launch.key).where(
            Launch.parent_submission_id == candidate.original.submission_id, Launch.kind == "recovery")).all()
    position = naming.MANUAL_RECOVERY_BASE + len(taken)
    original = candidate.original
    return LaunchRequest(
        stage_id=original.campaign_stage_id, key=naming.manual_key(original.campaign_stage_id, request_key),
        kind="recovery", dataset_override=naming.recovery_dataset(original.submission_id, position),
        define=derived.query, test=bool(original.submission_params.get("test")),
        recovery_of=original.submission_id)


# ------------------------------------------------------------------------------------ what follows


def _what_follows(core: Core, candidate: Candidate, data: DataBackend, finding: Finding) -> Finding:
    """The next recovery if one has files, else the dependents of the original submission.

    Where recovery rules are in force they say which recoveries, and dependents wait for all of them (``go_on``).
    """
    original = candidate.original
    if finding.round is not None and not finding.round.passive:
        if candidate.is_recovery or any(group.outcome != "give up" for group in finding.round.groups):
            return _with(finding, owed=tuple(map(Owed, finding.round.requests)),
                         recovery_position=original.recovery_position)
        owed, skipped = dependents.at_the_end(core, candidate, data)
        return _with(finding, owed=tuple(owed), skipped=tuple(skipped), recovery_position=original.recovery_position)
    entries = candidate.job_type_content.get("recoveries") or []
    position = original.recovery_position or 0
    while position < len(entries) and original.project:
        kind, overrides = entries[position]
        # The first entry looks at the original, later ones at what has just ended, so that files
        # recovered meanwhile are not processed again.
        asked = original if position == 0 else candidate.submission
        derived = data.recovery_files(candidate.view(asked, candidate.job_type_patterns), kind)
        if derived.count:
            request = _recovery_request(original, position, derived.query, overrides)
            return _with(finding, owed=(Owed(request),), recovery_position=position + 1)
        position += 1
    owed, skipped = dependents.at_the_end(core, candidate, data)
    return _with(finding, owed=tuple(owed), skipped=tuple(skipped),
                 recovery_position=position if entries else original.recovery_position)


def _policy(core: Core, candidate: Candidate) -> Policy | None:
    """The recovery rules for a candidate; None without any, and where there is no input that could be recovered."""
    if not candidate.submission.project or candidate.stage.campaign_stage_type == "approval":
        return None
    return policies.policy_of(core.settings, candidate.stage)


def _failed(candidate: Candidate, policy: Policy) -> recoveries.Failed:
    content = candidate.job_type_content
    return recoveries.Failed(
        candidate.submission, candidate.original, candidate.view(candidate.submission, candidate.job_type_patterns),
        tuple((kind, overrides) for kind, overrides in content.get("recoveries") or []), policy,
        str(content.get("launch_script") or ""))


def take_over(core: Core, experiment: str) -> int:
    """Let recovery rules deal with submissions whose jobs failed, or were removed from a hold; returns how many.

    Without rules these are for a person. Passive rules only note what they would have done.
    """
    since = core.clock() - timedelta(days=TAKEN_OVER_DAYS)
    count = 0
    for candidate in recoveries_due(core, experiment, since):
        with _undecided(core, candidate, Counter()):
            policy = _policy(core, candidate)
            count += policy is not None and _take_over(core, candidate, policy)
    return count


def recoveries_due(core: Core, experiment: str, since: datetime) -> list[Candidate]:
    """Submissions that ended badly by themselves and that no rule has looked at."""
    with core.db.read() as session:
        newest = select(SubmissionHistory.actor).where(
            SubmissionHistory.submission_id == Submission.submission_id).order_by(
            SubmissionHistory.submission_history_id.desc()).limit(1).scalar_subquery()
        held = select(Job.batch_id).where(Job.submission_id == Submission.submission_id,
                                          Job.hold_code.is_not(None)).exists()
        settings = core.settings.experiment(experiment)
        own, shared = CampaignStage.recovery_policy != "", CampaignStage.recovery_policy.is_(None)
        found = session.scalars(
            select(Submission)
            .join(CampaignStage, CampaignStage.campaign_stage_id == Submission.campaign_stage_id)
            .outerjoin(RecoveryRound, RecoveryRound.submission_id == Submission.submission_id)
            .where(Submission.experiment == experiment, RecoveryRound.submission_id.is_(None),
                   Submission.status_id.in_((int(Status.FAILED), int(Status.CANCELLED))),
                   Submission.status_since > since, Submission.project.is_not(None), newest == AGENT,
                   or_(Submission.status_id == int(Status.FAILED), held),
                   or_(own, shared) if settings.recovery_policy else own)
            .order_by(Submission.submission_id).limit(candidates.BATCH)).all() \
            if settings.recovery_policies != "off" else []
        return candidates.with_surroundings(core, session, found) if found else []


def _take_over(core: Core, candidate: Candidate, policy: Policy) -> bool:
    now, number = core.clock(), candidate.submission.submission_id
    if not policy.passive:
        with core.db.write() as session:
            return submissions.change_status(
                session, submissions.lock(session, number), Status.COMPLETED, at=now, actor=AGENT, by_person=True,
                reason="the recovery rules say what is done about the jobs that failed")
    data = core.backends.data(candidate.submission.experiment)
    failed = _failed(candidate, policy)
    found = recoveries.judge(core, failed, tuple(data.file_states(failed.view)), data)
    with core.db.write() as session:
        locked = submissions.lock_all(session, {number, candidate.original.submission_id})
        return recoveries.record(session, found, locked[number], locked[candidate.original.submission_id], now)


def go_on(core: Core, experiment: str) -> int:
    """Owe the next stages of submissions whose recoveries by rules have all come to an end; returns how many."""
    with core.db.read() as session:
        numbers = recoveries.settled(session, experiment)
    count = 0
    for number in numbers:
        candidate = candidates.describe(core, number, experiment)
        with _undecided(core, candidate, Counter()):
            count += _go_on(core, candidate)
    return count


def _go_on(core: Core, candidate: Candidate) -> bool:
    """What follows, once; the catalogue is asked first, and whether nothing is outstanding again under the lock."""
    number = candidate.submission.submission_id
    owed, skipped = dependents.at_the_end(core, candidate, core.backends.data(candidate.submission.experiment))
    now = core.clock()
    doubt = _doubt(candidate, Finding(completion.Decision(True, ""), skipped=tuple(skipped)), now)
    if doubt:
        if candidate.submission.wrapup_message != doubt:
            _note(core, candidate, doubt)
        return False
    with core.db.write() as session, session.no_autoflush:
        submission = submissions.lock(session, number)
        if not recoveries.stop_waiting(session, number):
            return False
        for each in owed:
            dependents.owe(session, each, candidate, submission, now=now,
                           held_because=dependents.switched_off(core, candidate))
        for why in skipped:
            events.record(session, "launch.skipped", now, AGENT, submission=submission, reason=why)
    return True


def _recovery_request(original: Submission, position: int, query: str, overrides: Any) -> LaunchRequest:
    return LaunchRequest(
        stage_id=original.campaign_stage_id, key=naming.recovery_key(original.submission_id, position),
        kind="recovery", dataset_override=naming.recovery_dataset(original.submission_id, position), define=query,
        param_overrides=tuple((str(key), str(value)) for key, value in overrides),
        test=bool(original.submission_params.get("test")), recovery_of=original.submission_id)


def _with(finding: Finding, **changes: Any) -> Finding:
    return Finding(**{**finding.__dict__, **changes})


def _write_ledger(session: Session, number: int, finding: Finding, now: datetime) -> None:
    rows = [{"submission_id": number, "direction": "in", "file_name": item.file_name, "state": item.state,
             "size_bytes": item.size_bytes, "parents": None, "job": item.job, "updated": now}
            for item in finding.inputs]
    rows += [{"submission_id": number, "direction": "out", "file_name": item.file_name,
              "state": "located" if item.located else "declared", "size_bytes": item.size_bytes,
              "parents": list(item.parents), "job": "", "updated": now} for item in finding.outputs]
    upsert(session, SubmissionFile, rows, ["submission_id", "direction", "file_name"])


def _note(core: Core, candidate: Candidate, message: str) -> None:
    with core.db.write() as session:
        submission = submissions.lock(session, candidate.submission.submission_id)
        submission.wrapup_message, submission.wrapup_checked_at = message, core.clock()
