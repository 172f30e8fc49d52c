"""What the recovery types mean, in words for people; which files they take is the data back end's business."""

from __future__ import annotations

RECOVERY_WORDS = {
    "consumed_status": "files that no job consumed",
    "process_status": "files that no job consumed, and those of jobs that said they failed",
    "pending_files": "files without output of every pattern",
    "added_files": "files that came into the dataset since",
    "delivered_not_consumed": "files that were handed out and not consumed",
    "state_failed": "files in state failed",
    "state_not_done": "files in any state but done",
    "reprocess_orphans": "files that were done or failed and have no output",
    "reprocess_all": "all files again",
}
