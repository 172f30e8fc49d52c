"""Submissions as they are judged: each with its original, stage, snapshots and dependencies, read for many at once.

Not for judging them (``wrapup``) or for what follows (``dependents``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from poms.webservice.errors import NotFound
from poms.webservice.interfaces import SubmissionView
from poms.webservice.model import CampaignDependency, CampaignStage, Experimenter, Launch, Snapshot, Submission
from poms.webservice.rules.sam_queries import split_patterns
from poms.webservice.rules.statuses import Status
from poms.webservice.services.core import Core

BATCH = 500


@dataclass(frozen=True)
class Candidate:
    """A submission with all that is needed to judge it, read in a few statements for many.

    ``role`` is the one in which the original was launched; "" if nobody noted it.
    """

    submission: Submission
    original: Submission
    stage: CampaignStage
    stage_content: dict[str, Any]
    job_type_content: dict[str, Any]
    dependencies: tuple[CampaignDependency, ...]
    owner: str
    clock_tolerance_seconds: float
    role: str = ""

    @property
    def is_recovery(self) -> bool:
        return self.submission.recovery_tasks_parent is not None

    def view(self, submission: Submission, patterns: Sequence[str]) -> SubmissionView:
        """What the catalogue needs to know of one of its submissions."""
        params = submission.submission_params
        return SubmissionView(
            submission_id=submission.submission_id, experiment=submission.experiment,
            project=submission.project or "", dataset=str(params.get("dataset") or ""),
            software_version=self.stage_content["software_version"], created_at=submission.created,
            patterns=tuple(patterns) or ("%",), ancestor_depth=self.stage.output_ancestor_depth,
            stage_type=self.stage.campaign_stage_type, owner=self.owner, owner_role=self.stage.creator_role,
            jobs_expected=submission.jobs_expected, clock_tolerance_seconds=self.clock_tolerance_seconds)

    @property
    def job_type_patterns(self) -> list[str]:
        return list(split_patterns([self.job_type_content.get("output_file_patterns") or ""]))

    @property
    def output_patterns(self) -> list[str]:
        """Patterns of the dependencies that leave the stage; of the job type if none does."""
        patterns = [pattern for dependency in self.dependencies
                    for pattern in split_patterns([dependency.file_patterns])]
        return list(dict.fromkeys(patterns)) if patterns else self.job_type_patterns


def load(core: Core, experiment: str, *, after: int = 0, only: int | None = None) -> list[Candidate]:
    """Completed submissions in order of number, with their snapshots, stages and dependencies."""
    with core.db.read() as session:
        query = select(Submission).where(Submission.experiment == experiment,
                                         Submission.status_id == int(Status.COMPLETED),
                                         Submission.submission_id > after)
        if only is not None:
            query = query.where(Submission.submission_id == only)
        found = session.scalars(query.order_by(Submission.submission_id).limit(BATCH)).all()
        if not found:
            return []
        return with_surroundings(core, session, found)


def describe(core: Core, submission_id: int, experiment: str) -> Candidate:
    """The same for one submission in whatever state, e.g. for a recovery by hand."""
    with core.db.read() as session:
        submission = session.scalar(select(Submission).where(
            Submission.submission_id == submission_id, Submission.experiment == experiment))
        if submission is None:
            raise NotFound(f"There is no submission {submission_id} in {experiment}.")
        return with_surroundings(core, session, [submission])[0]


def with_surroundings(core: Core, session: Session, found: Sequence[Submission]) -> list[Candidate]:
    """Everything about many submissions in a fixed number of statements."""
    parents = {item.recovery_tasks_parent for item in found} - {None}
    originals = {item.submission_id: item for item in session.scalars(
        select(Submission).where(Submission.submission_id.in_(parents)))} if parents else {}
    originals |= {item.submission_id: item for item in found}
    keys = {key for item in found for key in (item.campaign_stage_snapshot_id, item.job_type_snapshot_id)}
    contents = {row.snapshot_id: row.content for row in session.scalars(
        select(Snapshot).where(Snapshot.snapshot_id.in_(keys)))}
    stage_ids = {item.campaign_stage_id for item in found}
    stages = {row.campaign_stage_id: row for row in session.scalars(
        select(CampaignStage).where(CampaignStage.campaign_stage_id.in_(stage_ids)))}
    dependencies: dict[int, list[CampaignDependency]] = {number: [] for number in stage_ids}
    for row in session.scalars(
            select(CampaignDependency).where(CampaignDependency.provider_campaign_stage_id.in_(stage_ids))
            .options(joinedload(CampaignDependency.consumer))
            .order_by(CampaignDependency.consumer_campaign_stage_id)):
        dependencies[row.provider_campaign_stage_id].append(row)

    owners = {row.experimenter_id: row.username for row in session.scalars(
        select(Experimenter).where(Experimenter.experimenter_id.in_({stage.creator for stage in stages.values()})))}
    roles = {number: str(request.get("role") or "") for number, request in session.execute(
        select(Launch.submission_id, Launch.request).where(Launch.submission_id.in_(originals)))}
    return [Candidate(
        submission=item, original=originals[item.recovery_tasks_parent or item.submission_id],
        role=roles.get(item.recovery_tasks_parent or item.submission_id, ""),
        stage=stages[item.campaign_stage_id], stage_content=contents[item.campaign_stage_snapshot_id],
        job_type_content=contents[item.job_type_snapshot_id],
        dependencies=tuple(dependencies[item.campaign_stage_id]),
        owner=owners[stages[item.campaign_stage_id].creator],
        clock_tolerance_seconds=core.settings.experiment(item.experiment).catalogue_clock_tolerance_seconds)
        for item in found]
