"""Approvals: stages that launch nothing and wait until a person lets what follows go on, or stops it.

Not for what follows (``services.wrapup``: an approved submission is Completed, and becomes Located at its next
pass). Invariant: only a submission that waits for approval is decided, once, whoever decides at the same time.
"""

from __future__ import annotations

from poms.webservice.errors import Conflict, NotFound
from poms.webservice.rules.statuses import Status
from poms.webservice.services import submissions
from poms.webservice.services.core import Core


def decide(core: Core, actor_name: str, experiment: str, submission_id: int, *, approve: bool,
           reason: str = "") -> Status:
    """Approve or refuse what a submission hands on; the caller has checked the right. Raises NotFound, Conflict.

    Approved, the dependent stages start with the same data; refused, nothing follows.
    """
    verdict = Status.COMPLETED if approve else Status.REMOVED
    word = "approved" if approve else "refused"
    now = core.clock()
    with core.db.write() as session:
        submission = submissions.lock(session, submission_id)
        if submission.experiment != experiment:
            raise NotFound(f"There is no submission {submission_id} in {experiment}.")
        current = Status(submission.status_id)
        if current is not Status.AWAITING_APPROVAL:
            raise Conflict(f"Submission {submission_id} does not wait for approval, it is {current.label}.")
        submissions.change_status(session, submission, verdict, at=now, actor=actor_name, by_person=True,
                                  reason=f"{word}: {reason}" if reason else word)
    return verdict
