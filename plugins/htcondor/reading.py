"""What the schedds of a pool say of jobs: the part of this package that other plugins may use.

Not for submitting or acting. Invariant: an answer that needs all schedds is given by all of them or is
BackendUnavailable; what a single one does not answer is never taken for nothing.
"""

from __future__ import annotations

import re
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

from poms.plugins.htcondor import ads, events, history
from poms.plugins.htcondor.access import Access, Row, find_program, open_access
from poms.plugins.htcondor.options import SETTINGS, Options, options_from
from poms.webservice.errors import BackendUnavailable, PomsError
from poms.webservice.interfaces import (
    Departures,
    FoundCluster,
    Health,
    JobCount,
    JobRecord,
    JobSelection,
    JobState,
    PoolSnapshot,
    TransportResult,
)
from poms.webservice.launch_scripts import printed_clusters
from poms.webservice.rules import hold_codes

__all__ = ["LIVE", "SETTINGS", "Access", "Options", "PoolReader", "Row", "ads", "find_program", "open_access",
           "options_from"]

Answer = TypeVar("Answer")

IDS_AT_ONCE = 500
STOPPING_SECONDS = 10.0
STOPPING_LOOK_SECONDS = 0.1
LETTING_GO_SECONDS = 20.0
LETTING_GO_LOOK_SECONDS = 0.5
CLOCKS_AGREE = timedelta(minutes=2)
LIVE = "JobStatus != 3 && JobStatus != 4"
"""Jobs that can still be held, released or removed."""

_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WORDS = frozenset({"true", "false", "undefined", "error", "is", "isnt"})


class InputOnItsWay(BackendUnavailable):
    """Jobs of a submit are there, but not yet what they need: they may run soon, or never."""


class PoolReader:
    """Queue and history of the schedds named in ``options``; safe to use from any thread.

    Each question is one query for each schedd, whatever the number of submissions.
    """

    def __init__(self, options: Options, clock: Callable[[], datetime], access: Access) -> None:
        self.options = options
        self.schedds = options.schedds
        self.mine = ads.ours(options.job_constraint)
        self._clock = clock
        self._access = access
        self._gaps: set[str] = set()
        self._none_finished: dict[str, bool] = {}
        self._lock = threading.Lock()

    def find(self, submission_id: int, remove: Callable[[str, list[int]], None], *,
             is_over: bool = False) -> list[FoundCluster]:
        """Clusters of a submission, without those that are nothing because their submit broke off.

        ``remove(schedd, clusters)`` takes such wrecks out of the queue, but for jobs that were let go meanwhile.
        ``is_over``: a submit broke off, and none is under way any more; otherwise one whose input has not arrived is
        doubt until ``spooling_grace_seconds`` are over.
        """
        mine = f"{ads.of_submissions([submission_id])} && ({self.mine})"
        lookback = self.options.history_lookback_seconds
        since = f"time() - EnteredCurrentStatus > {int(lookback)}" if lookback else None

        def read(schedd: str) -> list[Row]:
            # The queue first: a job that leaves in between is then in the history.
            return (self._access.query(schedd, mine, ads.CLUSTER_ATTRIBUTES)
                    + self._access.history(schedd, mine, ads.CLUSTER_ATTRIBUTES, since=since))

        def look(schedd: str) -> list[FoundCluster]:
            rows = read(schedd)
            broken = self._broken_off(rows, schedd, is_over=is_over)
            if any(ads.is_waiting_for_input(row) for row in rows if row["ClusterId"] in broken):
                remove(schedd, broken)
                rows = read(schedd)
                broken = self._broken_off(rows, schedd, is_over=True)
            return ads.clusters([row for row in rows if row["ClusterId"] not in broken], schedd)

        return [cluster for found in self.each(look) for cluster in found]

    def find_launched(self, submission_id: int, result: TransportResult,
                      remove: Callable[[str, list[int]], None]) -> list[FoundCluster]:
        """``find`` after a launch script. What printed a job id handed over all input: the schedd is about to let the
        jobs go, which takes it some seconds, and nothing of them is removed."""
        if not printed_clusters(result.output):
            return self.find(submission_id, remove, is_over=result.exit_status is not None)
        deadline = time.monotonic() + LETTING_GO_SECONDS
        while True:
            try:
                return self.find(submission_id, remove)
            except InputOnItsWay:
                if time.monotonic() > deadline:
                    raise
                time.sleep(LETTING_GO_LOOK_SECONDS)

    def _broken_off(self, rows: Sequence[Row], schedd: str, *, is_over: bool) -> list[int]:
        """Clusters of which no job's input ever arrived."""
        arrived = {row["ClusterId"] for row in rows if not (ads.is_waiting_for_input(row) or ads.is_wreck(row))}
        for row in rows:
            age = (row.get("ServerTime") or 0) - (row.get("QDate") or 0)
            if ads.is_waiting_for_input(row) and row["ClusterId"] not in arrived and not is_over \
                    and age < self.options.spooling_grace_seconds:
                raise InputOnItsWay(f"The input files of cluster {row['ClusterId']} are still on their way to "
                                    f"schedd {schedd}; whether they arrive is not known yet.")
        return sorted({row["ClusterId"] for row in rows} - arrived)

    def snapshot(self) -> PoolSnapshot:
        taken_at = self._clock()
        counts: Counter[tuple[int, JobState, int | None]] = Counter()
        growing: set[int] = set()
        for found, unfinished in self.each(self._count):
            counts.update(found)
            growing |= unfinished
        return PoolSnapshot(taken_at, tuple(
            JobCount(number, state, count, code) for (number, state, code), count in counts.items()),
            frozenset(growing))

    def _count(self, schedd: str) -> tuple[Counter[tuple[int, JobState, int | None]], set[int]]:
        # The schedd tests the condition against groups, which have the attributes they are grouped by and no others.
        attributes = [*ads.GROUP_ATTRIBUTES, *_names_in(self.options.job_constraint)]
        rows = self._access.group(schedd, self.mine, attributes)
        with self._lock:
            self._none_finished[schedd] = all(row.get("JobStatus") != 4 for row in rows)
        stuck = self._stuck(schedd) if any(_is_spooling(row) for row in rows) else Counter()
        counts: Counter[tuple[int, JobState, int | None]] = Counter()
        growing = set()
        for row in rows:
            state = ads.live_state(row)
            if state is not None and ads.is_job(row):
                counts[row[ads.SUBMISSION], state, ads.hold_code(row) if state == JobState.HELD else None] += \
                    row["JobCount"]
            if state is not None and ads.is_growing(row):
                growing.add(row[ads.SUBMISSION])
        for number, count in stuck.items():
            moved = min(count, counts[number, JobState.IDLE, None])
            counts[number, JobState.IDLE, None] -= moved
            counts[number, JobState.HELD, hold_codes.SPOOLING] += moved
        return +counts, growing

    def _stuck(self, schedd: str) -> Counter[int]:
        """Jobs whose input files have not come for so long that they will not come any more."""
        grace = int(self.options.spooling_grace_seconds)
        rows = self._access.query(schedd, f"({self.mine}) && JobStatus == 5 && HoldReasonCode == "
                                  f"{hold_codes.SPOOLING} && time() - EnteredCurrentStatus > {grace}",
                                  [ads.SUBMISSION, "JobUniverse"])
        return Counter(row[ads.SUBMISSION] for row in rows if ads.is_job(row))

    def departed(self, cursor: str) -> Departures:
        positions, fed = history.read_cursor(cursor)
        with self._lock:
            # Good for one reading: what has finished since that count is seen by the next one.
            none_finished, self._none_finished = self._none_finished, {}
        readings = self.each(lambda schedd: history.read(
            self._access, schedd, positions.get(schedd, history.Position()), self.mine,
            none_waits=none_finished.get(schedd, False)))
        records = tuple(record for reading in readings for record in reading.records)
        gaps = {schedd for schedd, reading in zip(self.schedds, readings, strict=True) if reading.gap}
        position = None
        if self.options.event_log:
            feed = events.read(Path(self.options.event_log), fed)
            records, position = history.merge(records, feed.records), feed.position
        with self._lock:
            self._gaps |= gaps
        # Schedds that are not asked any more keep their place: they may come back into the configuration.
        after = {**positions, **{schedd: reading.position
                                 for schedd, reading in zip(self.schedds, readings, strict=True)}}
        return Departures(records, history.write_cursor(after, position))

    def jobs(self, submission_ids: Collection[int]) -> list[JobRecord]:
        numbers = sorted(set(submission_ids))
        conditions = [f"{ads.of_submissions(numbers[start:start + IDS_AT_ONCE])} && ({self.mine})"
                      for start in range(0, len(numbers), IDS_AT_ONCE)]

        def look(schedd: str) -> list[JobRecord]:
            rows = [row for condition in conditions
                    for row in self._access.query(schedd, condition, ads.JOB_ATTRIBUTES)]
            # A cluster whose input is on its way may still turn out never to have been there.
            arrived = {row["ClusterId"] for row in rows if not ads.is_waiting_for_input(row)}
            return [record for row in rows if row["ClusterId"] in arrived
                    and (record := self._live_record(row, schedd)) is not None]

        return [record for found in self.each(look) for record in found]

    def _live_record(self, row: Row, schedd: str) -> JobRecord | None:
        if not ads.is_job(row):
            return None
        age = row.get("ServerTime", 0) - row.get("EnteredCurrentStatus", 0)
        state = ads.live_state(row, is_stuck=age > self.options.spooling_grace_seconds)
        return None if state is None else self._by_our_clock(ads.record(row, schedd, state), row)

    def _by_our_clock(self, record: JobRecord, row: Row) -> JobRecord:
        """A live job's times as our clock had them: how long it has been so is what people and agents judge by."""
        now = row.get("ServerTime")
        if not isinstance(now, int):
            return record
        ahead = timedelta(seconds=self._clock().timestamp() - now)
        if abs(ahead) <= CLOCKS_AGREE:
            return record
        started = record.started_at
        return replace(record, since=record.since + ahead, started_at=started + ahead if started else None)

    def conditions(self, selection: JobSelection) -> tuple[dict[str, str], list[str]]:
        """What is selected at each schedd, and ids of jobs of no schedd of ours."""
        jobs: dict[str, list[tuple[int, int | None]]] = defaultdict(list)
        foreign = []
        for text in selection.batch_ids:
            cluster, proc, schedd = ads.parse_job_id(text)
            if schedd in self.schedds:
                jobs[schedd].append((cluster, proc))
            else:
                foreign.append(text)
        conditions: dict[str, list[str]] = defaultdict(list)
        for schedd, chosen in jobs.items():
            conditions[schedd].append(ads.of_jobs(chosen))
        if selection.submission_ids:
            for schedd in self.schedds:
                conditions[schedd].append(f"({ads.of_submissions(selection.submission_ids)} && ({self.mine}))")
        return {schedd: " || ".join(parts) for schedd, parts in conditions.items()}, foreign

    def await_stopped(self, schedd: str, condition: str) -> None:
        """Wait for the runs of held jobs to be over: released before, a job can stay idle and be forgotten."""
        deadline = time.monotonic() + STOPPING_SECONDS
        while time.monotonic() < deadline and self._access.query(
                schedd, f"({condition}) && JobStatus == 5 && CurrentHosts > 0", ["ClusterId"], limit=1):
            time.sleep(STOPPING_LOOK_SECONDS)

    def health(self) -> Health:
        """Asks every schedd for as little as there is; says which do not answer."""
        silent, seconds = [], {}
        for schedd in self.schedds:
            began = time.monotonic()
            try:
                self._access.query(schedd, "false", ["ClusterId"], limit=1)
            except PomsError as problem:
                silent.append(str(problem))
            seconds[f"seconds {schedd}"] = time.monotonic() - began
        with self._lock:
            gaps = sorted(self._gaps)
        figures = {"schedds": float(len(self.schedds)), "silent": float(len(silent)), "history_gaps": float(len(gaps)),
                   **seconds}
        if silent:
            return Health(False, " ".join(silent), self._clock(), figures)
        message = f"{len(self.schedds)} schedd(s) answer, through {self._access.describe()}."
        if gaps:
            message += (f" The history of {', '.join(gaps)} rotated away before "
                        f"it was read; raise MAX_HISTORY_LOG there or set [{self.options.section}] event_log.")
        return Health(True, message, self._clock(), figures)

    def each(self, ask: Callable[[str], Answer]) -> list[Answer]:
        """Ask all schedds at the same time; the first that fails makes the whole answer fail."""
        if len(self.schedds) == 1:
            return [ask(self.schedds[0])]
        with ThreadPoolExecutor(len(self.schedds)) as threads:
            return list(threads.map(ask, self.schedds))


def _is_spooling(row: Row) -> bool:
    return row.get("JobStatus") == 5 and row.get("HoldReasonCode") == hold_codes.SPOOLING


def _names_in(expression: str) -> Sequence[str]:
    """Attributes that an expression mentions."""
    found = _IDENTIFIER.findall(_TEXT.sub("", expression))
    return [name for name in dict.fromkeys(found) if name.lower() not in _WORDS and name not in ads.GROUP_ATTRIBUTES]
