"""Small regular duties for an experiment: launches that never showed up, jobs held for too long."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select

from poms.webservice.model import Launch, Submission
from poms.webservice.rules.statuses import Status
from poms.webservice.services import jobs, launches, pauses, submissions
from poms.webservice.services.core import Core


def run(core: Core, experiment: str) -> str:
    """All duties once; each is a short transaction of its own."""
    failed = fail_unheard_of(core, experiment)
    removed = jobs.remove_long_held(core, experiment)
    paused = pauses.run(core, experiment)
    return f"{failed} launches failed, {removed} held jobs removed, {paused} campaigns paused"


def fail_unheard_of(core: Core, experiment: str) -> int:
    """Submissions that stay New long after their launch become LaunchFailed, after the queue was asked.

    Not final: should the jobs still appear, the next poll takes them up.
    """
    before = core.clock() - timedelta(seconds=core.settings.agent.new_to_launchfailed_seconds)
    with core.db.read() as session:
        waiting = select(Launch.submission_id).where(Launch.submission_id == Submission.submission_id,
                                                     Launch.state.in_(("owed", "queued"))).exists()
        numbers = session.scalars(
            select(Submission.submission_id)
            .where(Submission.experiment == experiment, Submission.status_id == int(Status.NEW),
                   Submission.status_since < before, ~waiting).order_by(Submission.submission_id)).all()
    count = 0
    for number in numbers:
        found = core.backends.jobs(experiment).find(number)
        with core.db.write() as session:
            submission = submissions.lock(session, number)
            if found:
                launches.describe_clusters(submission, found)
            elif submission.status_id == Status.NEW:
                count += submissions.change_status(
                    session, submission, Status.LAUNCH_FAILED, at=core.clock(), actor=launches.AGENT,
                    reason="nothing of it was seen in the batch system")
    return count
