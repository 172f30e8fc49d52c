"""Jobs: what the batch system says of them, written in bulk, and what people do to them.

``ingest`` takes one poll of a pool: counts of live jobs taken first, then the jobs that left.
A job that ends in between is counted twice for one cycle, never lost; a submission is finished
only when nothing of it is live and every job that left is recorded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from itertools import chain
from operator import attrgetter
from typing import Literal

from sqlalchemy import ColumnElement, and_, case, exists, func, not_, or_, select, update
from sqlalchemy.orm import Session

from poms.webservice.db import insert_many, upsert_many
from poms.webservice.errors import NotFound
from poms.webservice.interfaces import ActResult, JobCount, JobRecord, JobSelection, JobState
from poms.webservice.model import AgentTask, Job, Submission
from poms.webservice.rules.endings import ending
from poms.webservice.rules.statuses import LIVE, Status, percent_complete, status_of_jobs
from poms.webservice.services import events, job_archive, submissions
from poms.webservice.services.core import Core
from poms.webservice.services.launches import AGENT

LIVE_COLUMNS = {JobState.IDLE: "jobs_idle", JobState.RUNNING: "jobs_running", JobState.HELD: "jobs_held"}
ENDED_COLUMNS = {JobState.COMPLETED: "jobs_completed", JobState.FAILED: "jobs_failed", JobState.REMOVED: "jobs_removed"}
_CHUNK = 5_000
DEPARTED_AT_ONCE = 20_000
"""Jobs that left and are stored in one transaction."""

JOB_COLUMNS = tuple(each.name for each in fields(JobRecord))
_JOB_ROW = attrgetter(*JOB_COLUMNS)
_JOB_KEY = attrgetter("submission_id", "batch_id")
_SUBMISSION_OF = attrgetter("submission_id")


@dataclass(frozen=True, slots=True)
class Poll:
    """One look at a pool: live counts, jobs that left, single live jobs where counts changed.

    ``details`` come in pieces; the next one is asked for when the one before is stored, so that they are never all in
    memory. ``growing``: submissions to which the pool itself still adds jobs, see ``PoolSnapshot``.
    """

    counts: tuple[JobCount, ...]
    departed: tuple[JobRecord, ...]
    details: Iterable[Collection[JobRecord]]
    taken_at: datetime
    growing: frozenset[int] = frozenset()


def live_counts(counts: Iterable[JobCount], growing: Collection[int] = ()) -> dict[int, dict[str, int]]:
    """Counts by submission and column, e.g. ``{42: {"jobs_idle": 3, ...}}``.

    A growing submission without live jobs has one that waits: it stands for those that are still to come.
    """
    result: dict[int, dict[str, int]] = defaultdict(lambda: dict.fromkeys(LIVE_COLUMNS.values(), 0))
    for item in counts:
        if item.state in LIVE_COLUMNS:
            result[item.submission_id][LIVE_COLUMNS[item.state]] += item.count
    for number in growing:
        if not any(result[number].values()):
            result[number]["jobs_idle"] = 1
    return dict(result)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Live counts of a pool beside what is stored: which submissions differ, and so are looked at closely.

    ``without_jobs`` have not ended and have no live job, neither here nor there: theirs may come and go unseen.
    """

    changed: set[int]
    without_jobs: set[int]


def compare(core: Core, experiments: Collection[str], counts: Mapping[int, Mapping[str, int]]) -> Comparison:
    """See ``Comparison``; of the submissions of these experiments."""
    names = tuple(LIVE_COLUMNS.values())
    query = (select(Submission.submission_id, *(getattr(Submission, name) for name in names))
             .where(Submission.experiment.in_(list(experiments))))
    with core.db.read() as session:
        rows = list(session.execute(query.where(Submission.status_id.in_([int(status) for status in LIVE]))))
        others = set(counts).difference(row[0] for row in rows)
        for some in _chunks(sorted(others)):
            some = sorted(set(some) - job_archive.archived(session, some))
            rows += session.execute(query.where(Submission.submission_id.in_(some)))
    stored = {number: dict(zip(names, values, strict=True)) for number, *values in rows}
    nothing = dict.fromkeys(names, 0)
    changed = {number for number, known in stored.items() if counts.get(number, nothing) != known}
    return Comparison(changed, {number for number, known in stored.items() if known == nothing}.difference(changed))


def ingest(core: Core, experiments: Collection[str], poll: Poll, *, task: str, epoch: int, cursor: str | None,
           changed: set[int] | None = None) -> int:
    """Write one poll; returns the number of submissions that changed.

    ``cursor`` None stays as it is. ``changed``: what ``compare`` said of this poll, if it was asked.

    The cursor moves last, when everything it covers is stored, so that a crash on the way only means
    that the same jobs are reported again. Every step makes sure that the lease is still ours: the agent
    that took it over asks from the old cursor, and old counts never replace its newer ones.
    """
    counts = live_counts(poll.counts, poll.growing)
    to_come = poll.growing.difference(live_counts(poll.counts))
    if changed is None:
        changed = compare(core, experiments, counts).changed
    ended = set(map(_SUBMISSION_OF, poll.departed))
    known: set[int] = set()
    # Nothing is asked of the batch system while a transaction is open: the next piece comes after it.
    for records in chain(_chunks(poll.departed, DEPARTED_AT_ONCE), poll.details):
        with core.db.write() as session:
            if _owner(session, task, epoch) is None:
                return 0
            told = set(map(_SUBMISSION_OF, records))
            here = _known(session, told, experiments)
            write_jobs(session, records if here == told else [each for each in records if each.submission_id in here])
        known |= here
    affected = sorted((changed | ended) & (known | changed))
    for some in _chunks(affected, 200):
        with core.db.write() as session:
            if _owner(session, task, epoch) is None:
                return 0
            _update_submissions(session, some, counts, poll.taken_at, to_come)
    if cursor is not None:
        with core.db.write() as session:
            owner = _owner(session, task, epoch)
            if owner is not None:
                owner.cursor = cursor
    return len(affected)


def _owner(session: Session, task: str, epoch: int) -> AgentTask | None:
    """The task's row, locked, if the lease of this epoch still holds."""
    row = session.get_one(AgentTask, task, with_for_update=True)
    return row if row.lease_epoch == epoch else None


def write_jobs(session: Session, records: Collection[JobRecord]) -> int:
    """Insert or update jobs, only what changed; a job that ended never goes back to a live state."""
    # With few steps of Python for each job: millions of them would take as long as all that the database does.
    latest = dict(zip(map(_JOB_KEY, records), records, strict=True))
    if len(latest) < len(records):
        latest = _latest(records)
    numbers = set(map(_SUBMISSION_OF, records))
    known = _with_jobs(session, numbers)
    fresh: list[JobRecord] = []
    if known != numbers:
        fresh = [record for key, record in latest.items() if key[0] not in known]
        if insert_many(session, Job, JOB_COLUMNS, map(_JOB_ROW, fresh)):
            latest = {key: record for key, record in latest.items() if key[0] in known}
        else:  # Somebody else stored some of them since we looked.
            fresh = []
    if not latest:
        return len(fresh)
    latest |= _with_holds(session, latest)
    return len(fresh) + upsert_many(
        session, Job, JOB_COLUMNS, map(_JOB_ROW, latest.values()), ["submission_id", "batch_id"],
        unless=lambda stored, new: and_(_is_final(stored.state), not_(_is_final(new.state))))


def _latest(records: Iterable[JobRecord]) -> dict[tuple[int, str], JobRecord]:
    """The last that is told of each job, but for its end, of which the first counts."""
    latest: dict[tuple[int, str], JobRecord] = {}
    for record in records:
        before = latest.get(_JOB_KEY(record))
        if before is None or not before.state.is_final:
            latest[_JOB_KEY(record)] = record
    return latest


def _with_jobs(session: Session, numbers: Iterable[int]) -> set[int]:
    """Those submissions of which some job is stored already."""
    found: set[int] = set()
    for some in _chunks(sorted(numbers)):
        found.update(session.scalars(select(Submission.submission_id).where(
            Submission.submission_id.in_(some), exists().where(Job.submission_id == Submission.submission_id))))
    return found


def _with_holds(session: Session, records: Mapping[tuple[int, str], JobRecord]) -> dict[tuple[int, str], JobRecord]:
    """Removed jobs with the hold that they were removed from: batch systems forget it, and recoveries go by it."""
    removed = {key for key, record in records.items()
               if record.state is JobState.REMOVED and record.hold_code is None}
    found = {}
    for some in _chunks(sorted({number for number, _ in removed}), 200):
        held = session.execute(select(Job.submission_id, Job.batch_id, Job.hold_code, Job.hold_reason).where(
            Job.submission_id.in_(some), Job.hold_code.is_not(None),
            Job.state.in_((int(JobState.HELD), int(JobState.REMOVED)))))
        for number, batch_id, code, reason in held:
            if (number, batch_id) in removed:
                record = records[number, batch_id]
                found[number, batch_id] = replace(record, hold_code=code, hold_reason=reason or record.hold_reason)
    return found


def _is_final(state: ColumnElement[int]) -> ColumnElement[bool]:
    # Not IN: its list could not be sent with many rows at once.
    return or_(*(state == int(each) for each in ENDED_COLUMNS))


# Jobs that used much more processor time than time passed tell nonsense; such a report is left out.
_TELLS = and_(Job.cpu_seconds > 0, Job.wall_seconds > 0, Job.cpu_seconds < 10 * Job.wall_seconds)
_SUMS = (select(Job.submission_id, Job.state, Job.exit_code, Job.exit_signal, func.count(),
                func.coalesce(func.sum(case((_TELLS, Job.cpu_seconds))), 0.0),
                func.coalesce(func.sum(case((_TELLS, Job.wall_seconds))), 0.0))
         .group_by(Job.submission_id, Job.state, Job.exit_code, Job.exit_signal))


@dataclass(slots=True)
class _Told:
    """What the jobs of one submission tell together."""

    ended: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ENDED_COLUMNS.values(), 0))
    endings: dict[str, int] = field(default_factory=dict)
    seen: int = 0
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0

    def add(self, state: JobState, code: int | None, signal: int | None, count: int, cpu: float, wall: float) -> None:
        self.seen += count
        self.cpu_seconds += cpu
        self.wall_seconds += wall
        if state in ENDED_COLUMNS:
            self.ended[ENDED_COLUMNS[state]] += count
        if state in (JobState.COMPLETED, JobState.FAILED):
            text = ending(well=state is JobState.COMPLETED, exit_code=code, exit_signal=signal)
            self.endings[text] = self.endings.get(text, 0) + count


def _update_submissions(session: Session, numbers: list[int], counts: Mapping[int, Mapping[str, int]],
                        at: datetime, to_come: Collection[int]) -> None:
    # Asked when the rows are locked: whoever folds the jobs of one has the same lock.
    locked = submissions.lock_all(session, numbers)
    for number in job_archive.archived(session, locked):
        del locked[number]
    told = {number: _Told() for number in locked}
    for number, state, code, signal, count, cpu, wall in session.execute(_SUMS.where(Job.submission_id.in_(locked))):
        told[number].add(JobState(state), code, signal, count, cpu, wall)
    for number, submission in locked.items():
        known = told[number]
        live = counts.get(number) or dict.fromkeys(LIVE_COLUMNS.values(), 0)
        submission.cpu_seconds, submission.wall_seconds = known.cpu_seconds, known.wall_seconds
        submission.job_endings = known.endings
        apply_counts(session, submission, {**live, **known.ended}, at, seen=known.seen, is_to_come=number in to_come)


def apply_counts(session: Session, submission: Submission, counts: dict[str, int], at: datetime, *,
                 seen: int = 0, is_to_come: bool = False) -> None:
    """Store a submission's job counts and the status they mean.

    ``seen``: how many of its jobs are known one by one. ``is_to_come``: its idle job only stands for others.
    """
    ended_before = sum(getattr(submission, name) for name in ENDED_COLUMNS.values())
    if submissions.set_job_counts(session, submission, counts):
        submission.updated = at
    live = sum(counts[name] for name in LIVE_COLUMNS.values())
    ended = sum(counts[name] for name in ENDED_COLUMNS.values())
    # A job that left between the two questions of a poll is among the live ones and among those that ended: only
    # what had ended before can be added to what is live.
    submission.jobs_expected = max(submission.jobs_expected, live + min(ended, ended_before) - is_to_come, ended, seen)
    submission.pct_complete = percent_complete(live=live, ended=ended, expected=submission.jobs_expected)
    if live == 0 and ended < submission.jobs_expected:
        return  # Some jobs are neither queued nor recorded yet: the next poll, or ``forget_vanished``, tells.
    status = status_of_jobs(**{name.removeprefix("jobs_"): value for name, value in counts.items()})
    if status is not None:
        submissions.change_status(session, submission, status, at=at, actor=AGENT)


def forget_vanished(core: Core, experiments: Collection[str], grace: timedelta) -> int:
    """End submissions some of whose jobs left without a record for longer than ``grace``.

    Such jobs are recorded as removed, with the reason, so that what they did not process is recovered.
    """
    now = core.clock()
    live = Submission.jobs_idle + Submission.jobs_running + Submission.jobs_held
    ended = Submission.jobs_completed + Submission.jobs_failed + Submission.jobs_removed
    suspects = (select(Submission.submission_id)
                .where(Submission.experiment.in_(list(experiments)),
                       Submission.status_id.in_([int(Status.IDLE), int(Status.RUNNING), int(Status.HELD)]),
                       live == 0, ended < Submission.jobs_expected, Submission.updated < now - grace))
    with core.db.read() as session:
        numbers = session.scalars(suspects.order_by(Submission.submission_id)).all()
    for number in numbers:
        with core.db.write() as session:
            submission = submissions.lock(session, number)
            session.execute(update(Job)
                            .where(Job.submission_id == number, Job.state.in_([int(state) for state in LIVE_COLUMNS]))
                            .values(state=int(JobState.REMOVED), since=now,
                                    hold_reason="left the batch system without a record"))
            missing = submission.jobs_expected - (submission.jobs_completed + submission.jobs_failed
                                                  + submission.jobs_removed)
            counts = {name: getattr(submission, name) for name in submissions.COUNTED}
            counts["jobs_removed"] += missing
            apply_counts(session, submission, counts, now)
    return len(numbers)


def act(core: Core, actor_name: str, experiment: str, action: Literal["hold", "release", "remove"],
        submission_ids: Collection[int], *, batch_ids: Collection[str] = (), mark: Status | None = None,
        reason: str = "") -> ActResult:
    """Hold, release or remove jobs; the caller has checked the right to do so for each submission.

    ``mark`` (Removed or Cancelled) is set on the submissions once the batch system accepted a removal.
    """
    with core.db.read() as session:
        known = set(session.scalars(select(Submission.submission_id).where(
            Submission.submission_id.in_(list(submission_ids)), Submission.experiment == experiment)))
    missing = set(submission_ids) - known
    if missing:
        raise NotFound(f"There is no submission {min(missing)} in {experiment}.")
    selection = (JobSelection(batch_ids=tuple(batch_ids)) if batch_ids
                 else JobSelection(submission_ids=tuple(sorted(known))))
    text = reason or f"{action} by {actor_name}"
    result = core.backends.jobs(experiment).act(action, selection, text)
    now = core.clock()
    kind = {"hold": "jobs.held", "release": "jobs.released", "remove": "jobs.removed"}[action]
    with core.db.write() as session:
        for number in sorted(known):
            submission = submissions.lock(session, number)
            events.record(session, kind, now, actor_name, submission=submission, reason=text, changed=result.changed,
                          batch_ids=list(batch_ids) or None)
            if action == "remove" and mark is not None and not batch_ids and not result.refused:
                submissions.change_status(session, submission, mark, at=now, actor=actor_name, by_person=True,
                                          reason=text)
    return result


def remove_long_held(core: Core, experiment: str) -> int:
    """Remove jobs held for using too much (codes in ``remove_held_codes``) so that recovery takes their files.

    Left alone they would keep their submission from ever ending.
    """
    settings = core.settings.agent
    before = core.clock() - timedelta(seconds=settings.held_grace_seconds)
    codes = [int(code) for code in settings.remove_held_codes]
    with core.db.read() as session:
        rows = session.execute(
            select(Job.submission_id, Job.batch_id, Job.hold_reason)
            .join(Submission, Submission.submission_id == Job.submission_id)
            .where(Submission.experiment == experiment, Submission.status_id == int(Status.HELD),
                   Job.state == int(JobState.HELD), Job.hold_code.in_(codes), Job.since < before)
            .order_by(Job.submission_id, Job.batch_id)).all()
    by_submission: dict[int, list[str]] = defaultdict(list)
    for number, batch_id, _ in rows:
        by_submission[number].append(batch_id)
    for number, batch_ids in by_submission.items():
        act(core, AGENT, experiment, "remove", [number], batch_ids=batch_ids,
            reason="held for exceeding a limit; its files are left to recovery")
    return len(rows)


def _known(session: Session, numbers: Collection[int], experiments: Collection[str]) -> set[int]:
    found: set[int] = set()
    for some in _chunks(sorted(numbers)):
        found.update(session.scalars(select(Submission.submission_id).where(
            Submission.submission_id.in_(some), Submission.experiment.in_(list(experiments)))))
        found -= job_archive.archived(session, some)
    return found


def _chunks(items, size: int = _CHUNK):
    items = list(items)
    return [items[start:start + size] for start in range(0, len(items), size)]
