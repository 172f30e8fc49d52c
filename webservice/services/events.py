"""The event log: one row for each thing that happened, in the transaction that made it happen."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from poms.webservice.model import Event, Submission

# Every kind there is, with the sentence that pages show. A kind that is not here is refused.
KINDS = {
    "campaign.created": "Campaign created",
    "campaign.saved": "Campaign text saved",
    "campaign.activated": "Campaign made active",
    "campaign.deactivated": "Campaign made inactive",
    "campaign.deleted": "Campaign deleted",
    "block.added": "Job type or login setup added",
    "block.changed": "Job type or login setup changed",
    "block.tested": "Login setup tested",
    "block.deleted": "Job type or login setup deleted",
    "launch.requested": "Launch requested",
    "launch.held": "Launch kept, launches are held",
    "launch.released": "Held launch released",
    "launch.cancelled": "Launch cancelled",
    "launch.started": "Jobs submitted",
    "launch.adopted": "Jobs found in the batch system and adopted",
    "launch.retried": "Launch to be tried again",
    "launch.failed": "Launch failed",
    "launch.skipped": "Launch skipped, nothing to do",
    "submission.status": "Status changed",
    "submission.reported": "Status report",
    "submission.located_by_hand": "Skip ahead to Located asked for",
    "recovery.owed": "Recovery to be launched",
    "recovery.decided": "Recovery rules decided",
    "recovery.asked": "Recovery rules ask a person",
    "recovery.given_up": "Files given up by the recovery rules",
    "recovery.answered": "Question of the recovery rules answered",
    "recovery.forgotten": "What jobs were content with is forgotten",
    "dependency.owed": "Next stage to be launched",
    "scout.sent": "A scout goes ahead, the rest waits",
    "scout.good": "The scout did well, the rest follows",
    "scout.asked": "The scout fell short, a person is asked",
    "scout.answered": "Question about a scout answered",
    "jobs.held": "Jobs held",
    "jobs.released": "Jobs released",
    "jobs.removed": "Jobs removed",
    "jobs.archived": "Jobs archived, their sums are kept",
    "split.end": "No more splits",
    "split.reset": "Split position changed",
    "schedule.set": "Schedule set",
    "schedule.deleted": "Schedule deleted",
    "schedule.ended": "Schedule deleted at the end of the split",
    "schedule.owed": "Scheduled launch to be made",
    "schedule.missed": "Scheduled launch missed",
    "schedule.refused": "Scheduled launch refused",
    "sample.saved": "Sample campaign kept or changed",
    "sample.deleted": "Sample campaign deleted",
    "stage.held": "Stage launches held",
    "stage.released": "Stage launches allowed",
    "experiment.added": "Experiment added",
    "person.changed": "Person or role changed",
    "change.undone": "Taken back",
    "campaign.held": "Campaign launches held",
    "campaign.released": "Campaign launches allowed",
    "campaign.paused": "Campaign paused itself",
    "experiment.held": "Experiment launches held",
    "experiment.released": "Experiment launches allowed",
    "service.launches": "Launches of the whole service held or allowed",
}


def record(session: Session, kind: str, at: datetime, actor: str, *, submission: Submission | None = None,
           experiment: str | None = None, campaign_id: int | None = None, stage_id: int | None = None,
           submission_id: int | None = None, batch_id: str | None = None, **data: Any) -> None:
    """Add an event. A submission gives experiment, campaign and stage by itself."""
    if kind not in KINDS:
        raise ValueError(f"unknown kind of event: {kind}")
    if submission is not None:
        experiment, campaign_id = submission.experiment, submission.campaign_id
        stage_id, submission_id = submission.campaign_stage_id, submission.submission_id
    session.add(Event(kind=kind, at=at, actor=actor, experiment=experiment, campaign_id=campaign_id,
                      campaign_stage_id=stage_id, submission_id=submission_id, batch_id=batch_id, data=data or None))
