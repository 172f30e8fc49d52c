"""What follows a submission: its next stages, on all of its output at the end or on parts of it before.

A stage with ``start_when`` gets its input in parts. Which file went to which launch is written down (``Delivery``) in
the transaction that owes the launch, so a file reaches a consuming stage once, however often it is found. What
follows at the end is planned here and stored by ``wrapup``, together with the status.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session, aliased

from poms.webservice.errors import PomsError
from poms.webservice.interfaces import DataBackend
from poms.webservice.model import CampaignDependency, CampaignStage, Delivery, Launch, Submission
from poms.webservice.rules import naming, sam_queries
from poms.webservice.rules.sam_queries import split_patterns
from poms.webservice.rules.start_when import StartWhen, parse_start
from poms.webservice.rules.statuses import Status
from poms.webservice.services import candidates, events, launch_requests, submissions
from poms.webservice.services.candidates import Candidate
from poms.webservice.services.core import Core
from poms.webservice.services.launch_requests import LaunchRequest
from poms.webservice.services.launches import AGENT

log = logging.getLogger(__name__)

MOST_FILES = 2_000
"""Files that one part has at most: a part's dataset names each of them."""

# Statuses in which a submission may still make files; one that is Located may get its last ones late.
_MAKING = (Status.IDLE, Status.RUNNING, Status.HELD, Status.COMPLETED)


@dataclass(frozen=True, slots=True)
class Owed:
    """A next stage that is to be launched; ``files`` by name if it gets a part, () if its dataset is a query."""

    request: LaunchRequest
    files: tuple[str, ...] = field(default=(), repr=False)
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Handed:
    """What a consuming stage was given of a submission so far."""

    files: frozenset[str]
    parts: int
    last_at: datetime | None


def at_the_end(core: Core, candidate: Candidate, data: DataBackend) -> tuple[list[Owed], list[str]]:
    """All that follows a submission that is done: what is owed, and what is left out and why."""
    owed, skipped = [], []
    for number, dependency in _numbered(candidate):
        if number == 0:
            owed.append(Owed(_go_on(candidate, dependency)))
        elif _rule(dependency) is not None:
            parts, given = _parts(core, candidate, dependency, number, data)
            owed += parts
            if not parts and not given.parts:
                skipped.append(_nothing(dependency))
        else:
            whole = _whole(candidate, dependency, number, data)
            owed += [whole] if whole else []
            skipped += [] if whole else [_nothing(dependency)]
    return owed, skipped


def before_the_end(core: Core, candidate: Candidate, data: DataBackend) -> list[Owed]:
    """The parts that are due of a submission under way, or of one whose last files came late."""
    owed: list[Owed] = []
    submission, now = candidate.original, core.clock()
    for number, dependency in _numbered(candidate):
        rule = _rule(dependency)
        if number == 0 or rule is None:
            continue
        parts, given = _parts(core, candidate, dependency, number, data)
        if not parts:
            continue
        ready = sum(len(part.files) for part in parts)
        waited = (now - (given.last_at or submission.created)).total_seconds()
        if submission.status_id == Status.LOCATED and waited >= core.settings.agent.late_files_seconds:
            reason = f"{ready:,} files came late"
        else:
            expected = _expected(candidate, data) if rule.percent is not None else 0
            reason = rule.reason(ready=ready, expected=expected, waited_seconds=waited)
        owed += [Owed(part.request, part.files, reason) for part in parts if reason]
    return owed


def begin_early(core: Core, experiment: str) -> int:
    """Owe stages that begin on a part of their input the parts that are due; returns how many."""
    count = last = 0
    while found := _with_early_stages(core, experiment, after=last):
        last = found[-1].submission.submission_id
        for candidate in found:
            count += _begin_early(core, candidate)
    return count


def switched_off(core: Core, candidate: Candidate) -> str:
    """Why what follows waits for a person; "" if it does not."""
    settings = core.settings.experiment(candidate.submission.experiment)
    return "" if settings.launch_recovery_jobs else \
        "automatic recoveries and next stages are switched off for this experiment"


def owe(session: Session, owed: Owed, candidate: Candidate, original: Submission, *, now: datetime,
        held_because: str = "") -> bool:
    """Write a launch that follows, with the files that are set aside for it; False if it was written before."""
    stage = session.get_one(CampaignStage, owed.request.stage_id)
    request = replace(owed.request, role=candidate.role)
    if not launch_requests.owe(session, request, stage=stage, launcher_id=original.creator, now=now,
                               held_because=held_because):
        return False
    hand_over(session, owed, now)
    kind = "recovery.owed" if request.kind == "recovery" else "dependency.owed"
    events.record(session, kind, now, AGENT, submission=original, stage=stage.name, dataset=request.dataset_override,
                  **({"reason": owed.reason} if owed.reason else {}))
    if held_because:
        events.record(session, "launch.held", now, AGENT, experiment=stage.experiment,
                      campaign_id=stage.campaign_id, stage_id=stage.campaign_stage_id, reason=held_because)
    return True


def hand_over(session: Session, owed: Owed, now: datetime) -> None:
    """Write down which files a launch gets; a file that another launch has fails the transaction."""
    session.add_all(Delivery(
        provider_submission_id=owed.request.depends_on, consumer_campaign_stage_id=owed.request.stage_id,
        file_name=name, launch_key=owed.request.key, delivered_at=now) for name in owed.files)


# ------------------------------------------------------------------------------------------- inside


def _begin_early(core: Core, candidate: Candidate) -> int:
    number = candidate.submission.submission_id
    try:
        parts = before_the_end(core, candidate, core.backends.data(candidate.submission.experiment))
    except PomsError as reason:
        # The submission goes on all the same; what is ready stays so.
        log.warning("it is not known what is ready", extra={"submission_id": number, "reason": str(reason)})
        return 0
    now, count = core.clock(), 0
    for part in parts:
        with core.db.write() as session:
            submission = submissions.lock(session, number)
            if Status(submission.status_id) in (*_MAKING, Status.LOCATED):
                count += owe(session, part, candidate, submission, now=now,
                             held_because=switched_off(core, candidate))
    return count


def _with_early_stages(core: Core, experiment: str, *, after: int) -> list[Candidate]:
    """Originals that may have files for stages that begin early."""
    late = core.clock() - timedelta(days=core.settings.agent.late_files_days)
    consumer = aliased(CampaignStage)
    with core.db.read() as session:
        providers = session.scalars(
            select(CampaignDependency.provider_campaign_stage_id)
            .join(consumer, consumer.campaign_stage_id == CampaignDependency.consumer_campaign_stage_id)
            .where(consumer.experiment == experiment, consumer.start_when.is_not(None)).distinct()).all()
        if not providers:
            return []
        found = session.scalars(
            select(Submission).where(
                Submission.campaign_stage_id.in_(providers), Submission.submission_id > after,
                Submission.recovery_tasks_parent.is_(None),
                or_(Submission.status_id.in_([int(status) for status in _MAKING]),
                    and_(Submission.status_id == int(Status.LOCATED), Submission.status_since > late)))
            .order_by(Submission.submission_id).limit(candidates.BATCH)).all()
        return candidates.with_surroundings(core, session, found) if found else []


def _numbered(candidate: Candidate) -> Iterator[tuple[int, CampaignDependency]]:
    """The dependencies with the numbers in the names of their datasets; 0: the stage goes on with itself."""
    number = 0
    for dependency in candidate.dependencies:
        if dependency.consumer_campaign_stage_id == candidate.original.campaign_stage_id:
            yield 0, dependency
            continue
        number += 1
        yield number, dependency


def _rule(dependency: CampaignDependency) -> StartWhen | None:
    return parse_start(dependency.consumer.start_when)


def _nothing(dependency: CampaignDependency) -> str:
    return f"{dependency.consumer.name}: no output matches {dependency.file_patterns}"


def _go_on(candidate: Candidate, dependency: CampaignDependency) -> LaunchRequest:
    original = candidate.original
    return LaunchRequest(
        stage_id=dependency.consumer_campaign_stage_id, kind="dependency", test=_is_test(candidate),
        key=naming.dependency_key(dependency.campaign_dep_id, original.submission_id),
        depends_on=original.submission_id, campaign_dep_id=dependency.campaign_dep_id)


def _whole(candidate: Candidate, dependency: CampaignDependency, number: int, data: DataBackend) -> Owed | None:
    """All output that matches, as a dataset; None if there is none."""
    original = candidate.original
    patterns = split_patterns([dependency.file_patterns])
    derived = data.dependency_files(candidate.view(original, patterns), patterns, number)
    if not derived.count:
        return None
    name = naming.dependency_dataset(original.submission_id, number, owner=candidate.owner,
                                     owner_role=candidate.stage.creator_role)
    # A generator's jobs declare the dataset themselves; then the query just names it.
    define = "" if derived.query == data.dataset_query(name) else derived.query
    return Owed(LaunchRequest(
        stage_id=dependency.consumer_campaign_stage_id, dataset_override=name, define=define, kind="dependency",
        key=naming.dependency_key(dependency.campaign_dep_id, original.submission_id), test=_is_test(candidate),
        depends_on=original.submission_id, campaign_dep_id=dependency.campaign_dep_id))


def _parts(core: Core, candidate: Candidate, dependency: CampaignDependency, number: int,
           data: DataBackend) -> tuple[list[Owed], Handed]:
    """What matches and was not given yet, cut into parts, in the order of the names; and what was given before."""
    original = candidate.original
    patterns = split_patterns([dependency.file_patterns])
    derived = data.dependency_files(candidate.view(original, patterns), patterns, number)
    given = _handed(core, original.submission_id, dependency)
    ready = sorted(set(data.list(derived.query)) - given.files) if derived.count else []
    owed = []
    for position, begin in enumerate(range(0, len(ready), MOST_FILES), given.parts + 1):
        files = tuple(ready[begin:begin + MOST_FILES])
        name = naming.dependency_dataset(original.submission_id, number, owner=candidate.owner,
                                         owner_role=candidate.stage.creator_role)
        owed.append(Owed(LaunchRequest(
            stage_id=dependency.consumer_campaign_stage_id, kind="dependency", test=_is_test(candidate),
            key=naming.part_key(dependency.campaign_dep_id, original.submission_id, position),
            dataset_override=f"{name}_{position}", define=sam_queries.named(files),
            depends_on=original.submission_id, campaign_dep_id=dependency.campaign_dep_id), files))
    return owed, given


def _handed(core: Core, submission_id: int, dependency: CampaignDependency) -> Handed:
    with core.db.read() as session:
        files = frozenset(session.scalars(select(Delivery.file_name).where(
            Delivery.provider_submission_id == submission_id,
            Delivery.consumer_campaign_stage_id == dependency.consumer_campaign_stage_id)))
        parts, last_at = session.execute(select(func.count(), func.max(Launch.created)).where(
            Launch.parent_submission_id == submission_id, Launch.kind == "dependency",
            Launch.campaign_dep_id == dependency.campaign_dep_id)).one()
    return Handed(files, parts, last_at)


def _expected(candidate: Candidate, data: DataBackend) -> int:
    """How many files there will be, as far as is known: one for each input file, or for each job of a generator."""
    original = candidate.original
    if original.project:
        return data.project_summary(original.project).files_in_snapshot
    return original.jobs_expected


def _is_test(candidate: Candidate) -> bool:
    return bool(candidate.original.submission_params.get("test"))
