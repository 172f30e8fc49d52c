"""Is a Completed submission Located: decided from counts and ages, nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from poms.webservice.interfaces import FileCounts


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer, and the sentence that people see."""

    done: bool
    reason: str


def decide_without_files(*, completion_type: str, created_at: datetime, now: datetime, force_located: bool,
                         located_after: timedelta) -> Decision | None:
    """Decide where no file needs to be counted; None if files must be counted."""
    if completion_type == "complete":
        return Decision(True, "completion type complete: all jobs ended")
    if force_located:
        return Decision(True, "a person skipped ahead to Located")
    if now - created_at > located_after:
        return Decision(True, f"more than {located_after.days} days since the launch; not all output was located")
    return None


def decide(counts: FileCounts, *, completion_pct: float, is_recovery: bool) -> Decision:
    """Enough of the expected files are located. A threshold of 0 decides only for recoveries."""
    threshold = counts.expected * completion_pct / 100
    figures = f"{counts.located:,} of {counts.expected:,} {counts.unit} located, {completion_pct:g} % needed"
    if counts.located >= threshold and (threshold > 0 or is_recovery):
        return Decision(True, figures)
    return Decision(False, figures)
