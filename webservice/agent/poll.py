"""Ask each batch system once per cycle, whatever the number of submissions and experiments it serves."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta

from sqlalchemy import and_, or_, select

from poms.webservice.errors import BackendUnavailable, PomsError
from poms.webservice.interfaces import Departures, PoolSnapshot
from poms.webservice.model import Experiment, Submission
from poms.webservice.rules.statuses import LIVE
from poms.webservice.services import jobs, launches, submissions
from poms.webservice.services.core import Core
from poms.webservice.services.tasks import TaskLease

log = logging.getLogger(__name__)

DETAIL_LIMIT = 2_000
"""Submissions whose single jobs are read in one cycle; the others' follow in the next ones."""

DETAILS_AT_ONCE = 10_000
"""Jobs that are asked for and stored together: an agent's memory does not grow with what its pools hold."""

DESCRIBED_AT_ONCE = 50
"""Each is a question to the batch system; there are many only when a whole history is read again."""

DEPARTURES_EVERY = 5
"""Cycles after which a batch system is asked who left though its counts do not say that anybody did."""

VANISHED_GRACE = timedelta(minutes=2)


def pools(core: Core, experiments: list[str]) -> dict[str, list[str]]:
    """Experiments by the pool that their batch system reads. One that cannot be had costs only itself."""
    found: dict[str, list[str]] = defaultdict(list)
    for experiment in experiments:
        try:
            found[core.backends.jobs(experiment).pool].append(experiment)
        except PomsError as condition:
            log.warning("no batch system", extra={"experiment": experiment, "reason": str(condition)})
    return dict(found)


def sharing(core: Core, pool: str) -> list[str]:
    """Every experiment whose batch system reads this pool, also those that are not active (any more).

    Their jobs are told with the others', once: what were left out here would never be told again.
    """
    with core.db.read() as session:
        known = list(session.scalars(select(Experiment.experiment).order_by(Experiment.experiment)))
    return pools(core, known).get(pool, [])


def work_for(experiments: list[str]) -> Callable[[Core, TaskLease], str]:
    """The polling task of one pool."""
    return lambda core, lease: poll(core, lease, experiments)


def poll(core: Core, lease: TaskLease, experiments: list[str]) -> str:
    """One cycle: live counts first, then the jobs that left, then single jobs where counts changed."""
    backend = core.backends.jobs(experiments[0])
    snapshot = backend.snapshot()
    counts = jobs.live_counts(snapshot.counts, snapshot.growing)
    experiments = sharing(core, backend.pool)
    compared = jobs.compare(core, experiments, counts)
    departures = Departures((), lease.cursor)
    if _may_have_left(lease, snapshot, compared):
        departures = backend.departed(lease.cursor)
        # Once more: whoever submitted a job that is reported here was there before it, and is among them.
        experiments = sharing(core, backend.pool)
    changed = compared.changed
    looked_at = sorted(changed)[:DETAIL_LIMIT]
    details = (backend.jobs(some) for some in _portions(looked_at, counts))
    touched = jobs.ingest(core, experiments, jobs.Poll(snapshot.counts, departures.records, details,
                                                       snapshot.taken_at, snapshot.growing),
                          task=lease.name, epoch=lease.epoch, changed=changed,
                          cursor=None if departures.cursor == lease.cursor else departures.cursor)
    # Also those whose jobs came and went between two cycles, and were never seen alive.
    left = sorted({record.submission_id for record in departures.records}, reverse=True)[:DETAIL_LIMIT]
    described = _describe(core, experiments, {*looked_at, *left})
    vanished = jobs.forget_vanished(core, experiments, VANISHED_GRACE) if compared.without_jobs else 0
    live = sum(item.count for item in snapshot.counts)
    return (f"{live:,} live jobs, {len(departures.records):,} left, {touched:,} submissions changed"
            + (f", {described} described" if described else "") + (f", {vanished} gave up" if vanished else ""))


def _may_have_left(lease: TaskLease, snapshot: PoolSnapshot, compared: jobs.Comparison) -> bool:
    """Whether a job may have left since the last cycle; to ask which costs a schedd a process of its own.

    Where all counts are as they were, one can only have left if another one came in its place. What comes is of a
    submission to which the pool adds jobs, or of one without jobs so far. A person can submit more jobs to any other
    one: such an exchange is seen some cycles later, and as the cursor stays, nothing of it is missed.
    """
    return bool(not lease.cursor or lease.epoch % DEPARTURES_EVERY == 0
                or compared.changed or compared.without_jobs or snapshot.growing)


def _portions(numbers: Iterable[int], counts: Mapping[int, Mapping[str, int]]) -> Iterator[list[int]]:
    """Submissions in their order, so many at a time that they have ``DETAILS_AT_ONCE`` live jobs or one has more."""
    portion: list[int] = []
    held = 0
    for number in numbers:
        more = sum(counts.get(number, {}).values())
        if portion and held + more > DETAILS_AT_ONCE:
            yield portion
            portion, held = [], 0
        portion.append(number)
        held += more
    if portion:
        yield portion


def _describe(core: Core, experiments: list[str], numbers: set[int]) -> int:
    """Fill in job id, project and command of submissions whose launch answer, or report, was lost."""
    with core.db.read() as session:
        rows = session.execute(
            select(Submission.submission_id, Submission.experiment)
            .where(Submission.experiment.in_(experiments), Submission.submission_id.in_(numbers),
                   or_(Submission.jobsub_job_id.is_(None),
                       and_(Submission.status_id.in_([int(status) for status in LIVE]),
                            Submission.command_executed.is_(None))))
            .order_by(Submission.submission_id).limit(DESCRIBED_AT_ONCE)).all() if numbers else []
    for number, experiment in rows:
        try:
            found = core.backends.jobs(experiment).find(number)
        except BackendUnavailable as doubt:
            # Of one submission, e.g. because its input is still on its way: the next cycle asks again.
            log.info("not described yet", extra={"submission_id": number, "reason": str(doubt)})
            continue
        if not found:
            continue
        with core.db.write() as session:
            launches.describe_clusters(submissions.lock(session, number), found)
    return len(rows)
