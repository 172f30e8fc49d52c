"""Which jobs have left since a cursor: from each schedd's history, and from its queue where finished jobs wait.

Not for live jobs (``backend``). Invariant: positions are names of history records and never times, so no clock
matters; a record that is not found any more means reading everything that is left, and is said to be a gap.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from poms.plugins.htcondor import ads
from poms.plugins.htcondor.access import Access, Row
from poms.webservice.interfaces import JobRecord

log = logging.getLogger(__name__)

DETAILS_AT_ONCE = 200


@dataclass(slots=True)
class Position:
    """Where reading one schedd left off.

    ``newest`` and ``before`` are the two newest records of its history then: reading back to ``before`` and meeting
    ``newest`` on the way proves that nothing in between was lost. ``waiting`` are finished jobs that wait in the queue
    for their output to be fetched and were reported, as runs of procs by cluster.
    """

    newest: str = ""
    before: str = ""
    waiting: dict[int, set[int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reading:
    """What one schedd's history and queue gave; ``gap``: records were lost since the position."""

    records: tuple[JobRecord, ...]
    position: Position
    gap: bool


def read(access: Access, schedd: str, position: Position, mine: str, *, none_waits: bool = False) -> Reading:
    """Everything of ours that left ``schedd`` since ``position``.

    ``none_waits``: a count of its queue found no finished jobs; to look for them costs as much as the count.
    """
    # The newest records first: what leaves while the rest is read is then reported twice rather than never.
    newest = [row["GlobalJobId"] for row in access.history(schedd, "true", ["GlobalJobId"], limit=2)
              if isinstance(row.get("GlobalJobId"), str)]
    left, gap = _left(access, schedd, position, mine, newest)
    # After the history: a job that moves from queue to history in between is reported next time.
    finished, waiting = ([], {}) if none_waits else _waiting(access, schedd, position, mine)
    if newest:
        after = Position(newest[0], newest[1] if len(newest) > 1 else "", waiting)
    else:
        after = Position("", "", waiting)
    # Jobs that were reported while they waited come again when they reach the history, with the same outcome.
    return Reading(tuple(left + finished), after, gap)


def _left(access: Access, schedd: str, position: Position, mine: str,
          newest: Sequence[str]) -> tuple[list[JobRecord], bool]:
    if position.newest and newest and newest[0] == position.newest:
        return [], False
    if not newest:
        return [], bool(position.newest)
    wanted = mine if not position.newest else f"({mine}) || GlobalJobId == {ads.quote(position.newest)}"
    since = f"GlobalJobId == {ads.quote(position.before)}" if position.before else None
    rows = access.history(schedd, wanted, ads.JOB_ATTRIBUTES, since=since)
    names = [row.get("GlobalJobId") for row in rows]
    met = position.newest in names
    if met:
        rows = rows[:names.index(position.newest)]
    gap = bool(position.newest) and not met
    if gap:
        log.warning("the history of a schedd no longer reaches back to the last poll; some ends of jobs may be unknown."
                    " Raise MAX_HISTORY_LOG or HISTORY_HELPER_MAX_HISTORY there, or name its event_log",
                    extra={"schedd": schedd})
    # Oldest first, as they happened.
    return [ads.record(row, schedd, ads.final_state(row)) for row in reversed(rows)
            if ads.is_job(row) and not ads.is_wreck(row)], gap


def _waiting(access: Access, schedd: str, position: Position, mine: str) -> tuple[list[JobRecord], dict[int, set[int]]]:
    """Finished jobs in the queue that were not reported yet, and all that wait now."""
    rows = access.query(schedd, f"({mine}) && JobStatus == 4 && JobUniverse != {ads.DAGMAN_UNIVERSE}",
                        ["ClusterId", "ProcId"])
    waiting: dict[int, set[int]] = defaultdict(set)
    for row in rows:
        waiting[row["ClusterId"]].add(row["ProcId"])
    new = [(cluster, proc) for cluster, procs in sorted(waiting.items())
           for proc in sorted(procs - position.waiting.get(cluster, set()))]
    if not new:
        return [], dict(waiting)
    details: list[Row] = []
    by_cluster: dict[int, list[tuple[int, int | None]]] = defaultdict(list)
    for cluster, proc in new:
        by_cluster[cluster].append((cluster, proc))
    for some in _batches(list(by_cluster.values())):
        details += access.query(schedd, f"({ads.of_jobs(some)}) && JobStatus == 4", ads.JOB_ATTRIBUTES)
    records = [ads.record(row, schedd, ads.final_state(row)) for row in details if ads.is_job(row)]
    # Only what was really read counts as reported: a job may have left the queue between the two queries.
    reported = {(row["ClusterId"], row["ProcId"]) for row in details}
    for cluster, proc in new:
        if (cluster, proc) not in reported:
            waiting[cluster].discard(proc)
    return records, {cluster: procs for cluster, procs in waiting.items() if procs}


def _batches(clusters: list[list[tuple[int, int | None]]]) -> list[list[tuple[int, int | None]]]:
    """Jobs in groups whose condition stays short."""
    groups: list[list[tuple[int, int | None]]] = []
    size = DETAILS_AT_ONCE
    for jobs in clusters:
        parts = len(ads.ranges({proc for _, proc in jobs if proc is not None}))
        if size + parts > DETAILS_AT_ONCE:
            groups.append([])
            size = 0
        groups[-1].extend(jobs)
        size += parts
    return groups


# -------------------------------------------------------------------------------------------------- the cursor


def write_cursor(positions: dict[str, Position], events: Any) -> str:
    """All positions as one text; see ``read_cursor``."""
    return json.dumps({"schedds": {name: [position.newest, position.before,
                                          {str(cluster): ads.ranges(procs)
                                           for cluster, procs in sorted(position.waiting.items())}]
                                   for name, position in sorted(positions.items())},
                       "events": events}, separators=(",", ":"))


def read_cursor(cursor: str) -> tuple[dict[str, Position], Any]:
    """The positions of a cursor. A text that is none of ours means the beginning: rather twice than never."""
    if not cursor:
        return {}, None
    try:
        found = json.loads(cursor)
        return {name: Position(newest, before, {int(cluster): _numbers(runs) for cluster, runs in waiting.items()})
                for name, (newest, before, waiting) in found["schedds"].items()}, found.get("events")
    except (ValueError, TypeError, KeyError, AttributeError):
        log.warning("a cursor cannot be read; the whole history is reported again", extra={"cursor": cursor[:200]})
        return {}, None


def _numbers(runs: Sequence[Sequence[int]]) -> set[int]:
    return {number for first, last in runs for number in range(first, last + 1)}


def merge(records: Sequence[JobRecord], more: Sequence[JobRecord]) -> tuple[JobRecord, ...]:
    """Records of two sources, each job once; the first source knows better."""
    known = {(record.submission_id, record.batch_id) for record in records}
    return (*records, *(record for record in more if (record.submission_id, record.batch_id) not in known))

