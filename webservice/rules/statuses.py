"""Submission statuses: names, ids, and which change is allowed to whom.

The ids are the vocabulary that existing installations know. They are not an order: whether a
status is final or live is said by the sets below, never by comparing ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum


class Status(IntEnum):
    """A submission's status; ``label`` is its exact name, with blanks."""

    NEW = 1000
    CANCELLED = 1500
    LAUNCH_FAILED = 2000
    AWAITING_APPROVAL = 2400
    APPROVED = 2500
    IDLE = 3000
    RUNNING = 4000
    HELD = 5000
    FAILED = 6000
    COMPLETED = 7000
    LOCATED = 8000
    REMOVED = 9000

    @property
    def label(self) -> str:
        return _LABELS[self]


_LABELS = {
    Status.NEW: "New",
    Status.CANCELLED: "Cancelled",
    Status.LAUNCH_FAILED: "LaunchFailed",
    Status.AWAITING_APPROVAL: "Awaiting Approval",
    Status.APPROVED: "Approved",
    Status.IDLE: "Idle",
    Status.RUNNING: "Running",
    Status.HELD: "Held",
    Status.FAILED: "Failed",
    Status.COMPLETED: "Completed",
    Status.LOCATED: "Located",
    Status.REMOVED: "Removed",
}
_BY_LABEL = {label: status for status, label in _LABELS.items()}

MEANINGS: Mapping[Status, str] = {
    Status.NEW: "written down and about to be launched, or launched and not seen in the queue yet",
    Status.CANCELLED: "all its jobs were removed; nothing follows",
    Status.LAUNCH_FAILED: "the launch script failed, or nothing of it appeared in the batch system: read the launch "
                          "log, launch again",
    Status.AWAITING_APPROVAL: "a person decides: approve it, and the next stages follow; refuse it, and nothing does",
    Status.APPROVED: "approved; the next stages follow",
    Status.IDLE: "its jobs wait in the batch system",
    Status.RUNNING: "at least one job runs and none is held",
    Status.HELD: "jobs are held, for the reasons on its page: release or remove them",
    Status.FAILED: "more than a third of its jobs ended badly: read their logs; recover, launch again, or call it "
                   "Located",
    Status.COMPLETED: "all jobs ended; POMS looks for the output",
    Status.LOCATED: "the output is there, or counted as there; recoveries and next stages follow",
    Status.REMOVED: "ended by a person; nothing follows",
}
"""What each status means to people, and what they can do about it."""
FINAL = frozenset({Status.LOCATED, Status.REMOVED, Status.FAILED, Status.CANCELLED})
"""Machines cannot leave these; people can. LaunchFailed is not final: a very slow launch may still appear."""

LIVE = frozenset({Status.NEW, Status.IDLE, Status.RUNNING, Status.HELD})
"""Something is, or may be, in the batch system."""

NEEDS_PERSON = frozenset({Status.HELD, Status.FAILED, Status.LAUNCH_FAILED, Status.AWAITING_APPROVAL})
"""Shown to a shifter."""

# Once the jobs are finished, a report from the batch system can be nothing but late.
_AFTER_COMPLETED = frozenset({Status.LOCATED, Status.REMOVED, Status.CANCELLED})


def find_status(label: str) -> Status | None:
    """The status with exactly this name; None for ``Unknown`` and anything else not in the vocabulary."""
    return _BY_LABEL.get(label)


def next_status(current: Status, reported: Status, *, is_recovery: bool, by_person: bool) -> Status | None:
    """The status after a report, or None if the report changes nothing.

    A failed recovery is recorded as Completed: what it could not mend is dealt with by the
    next entry of the recovery list. People may move a submission out of a final state.
    """
    if reported is Status.FAILED and is_recovery:
        reported = Status.COMPLETED
    if reported is current:
        return None
    if current in FINAL and not by_person:
        return None
    if current is Status.COMPLETED and reported not in _AFTER_COMPLETED:
        return None
    return reported


def status_of_jobs(*, idle: int, running: int, held: int, completed: int, failed: int, removed: int) -> Status | None:
    """The status that a submission's job counts mean; None while nothing is known of its jobs.

    Finished with more than a third of the jobs failed is Failed; only removed jobs is Cancelled.
    """
    total = idle + running + held + completed + failed + removed
    if total == 0:
        return None
    if idle + running + held == 0:
        if 2 * failed > completed:
            return Status.FAILED
        if removed and not completed and not failed:
            return Status.CANCELLED
        return Status.COMPLETED
    if held:
        return Status.HELD
    if running:
        return Status.RUNNING
    return Status.IDLE


def percent_complete(*, live: int, ended: int, expected: int) -> float:
    """Share of jobs that ended, in percent; the total is never less than the largest total seen."""
    total = max(live + ended, expected)
    return 100.0 * ended / total if total else 0.0
