"""The jobs of a submission that ended long ago, as its page shows them: sums, because single jobs are not kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from poms.webservice.model import JobSummary
from poms.webservice.rules import hold_codes
from poms.webservice.services.pages.common import Url

MOST_CLUSTERS = 50


def archive_of(summary: JobSummary | None, url: Url) -> dict[str, Any] | None:
    """What is left of the jobs; None if they are still there one by one."""
    if summary is None:
        return None
    return {
        "at": summary.archived_at, "jobs": summary.jobs, "attempts": summary.attempts,
        "cpu_seconds": summary.cpu_seconds, "wall_seconds": summary.wall_seconds,
        "efficiency": _efficiency(summary.cpu_seconds, summary.wall_seconds),
        "longest_seconds": summary.wall_seconds_max, "memory_used_mb": summary.memory_used_mb_max,
        "memory_asked_mb": summary.memory_asked_mb_max, "started_at": summary.first_started_at,
        "ended_at": summary.last_ended_at,
        "outcomes": [{"state": row["state"], "why": why(row), "jobs": row["jobs"]} for row in summary.by_outcome],
        "sites": [{**row, "efficiency": _efficiency(row["cpu_seconds"], row["wall_seconds"])}
                  for row in summary.by_site],
        "clusters": [_cluster(summary.submission_id, name, runs, url)
                     for name, runs in list(summary.clusters.items())[:MOST_CLUSTERS]],
        "more_clusters": max(0, len(summary.clusters) - MOST_CLUSTERS),
    }


def why(outcome: Mapping[str, Any]) -> str:
    """Why jobs ended so, in a few words; "" if all was well."""
    if outcome["exit_signal"]:
        return f"ended by signal {outcome['exit_signal']}"
    if outcome["exit_code"]:
        return f"exit code {outcome['exit_code']}"
    if outcome["hold_code"] is not None:
        return f"held: {hold_codes.meaning(outcome['hold_code']).title}"
    return ""


def _efficiency(cpu: float | None, wall: float | None) -> float | None:
    return 100 * cpu / wall if cpu and wall else None


def _cluster(submission_id: int, name: str, runs: list[list[int]], url: Url) -> dict[str, Any]:
    """A cluster with how many jobs it had and the logs of its first one."""
    number, _, schedd = name.partition("@")
    first = f"{number}.{runs[0][0]}@{schedd}" if runs else name
    return {"name": name, "jobs": sum(last - begin + 1 for begin, last in runs) or 1, "first": first,
            "logs": [{"label": which, "url": url("job_log_text", submission_id=submission_id, batch_id=first,
                                                 which=which)} for which in ("stdout", "stderr", "log")]}
