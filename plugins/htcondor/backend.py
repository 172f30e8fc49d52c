"""``HTCondorBatch``: the schedds of a pool as the rest of POMS sees them.

Each question is one query for each schedd, whatever the number of submissions. Invariant: an answer that needs all
schedds is given by all of them or is BackendUnavailable; what a single one does not answer is never taken for nothing.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, Literal, TypeVar

from poms.plugins.htcondor import ads, events, history, programs, projects, sandboxes
from poms.plugins.htcondor.access import Access, Row, open_access
from poms.plugins.htcondor.options import ACCESS_VARIABLE, make_options, write_document
from poms.webservice.errors import BackendUnavailable, Invalid, NotFound, PomsError
from poms.webservice.interfaces import (
    ActResult,
    BatchEnvironment,
    Departures,
    FoundCluster,
    Health,
    JobCount,
    JobRecord,
    JobSelection,
    JobState,
    LaunchPlan,
    LaunchTransport,
    PluginContext,
    PoolSnapshot,
    SubmitOutcome,
    TransportResult,
)
from poms.webservice.rules import hold_codes

log = logging.getLogger(__name__)
Answer = TypeVar("Answer")

MAX_OUTPUT_BYTES = 50_000_000
IDS_AT_ONCE = 500
HOUSEKEEPING_SECONDS = 3600.0
STOPPING_SECONDS = 10.0
STOPPING_LOOK_SECONDS = 0.1

_JOB_ID = re.compile(r"Use job id (\S+) to retrieve output")
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WORDS = frozenset({"true", "false", "undefined", "error", "is", "isnt"})


class HTCondorBatch:
    """``JobBackend`` on the schedds named in [htcondor]; safe to use from any thread."""

    def __init__(self, context: PluginContext, access: Access | None = None) -> None:
        self._options = make_options(context.options)
        self._clock = context.clock
        self._directory = context.data_dir.absolute() / "htcondor"
        self.pool = f"htcondor:{self._options.pool_name}"
        self._access = access or open_access(self._options)
        self._schedds = self._options.schedds
        self._mine = ads.ours(self._options.job_constraint)
        self._gaps: set[str] = set()
        self._housekeeper: threading.Thread | None = None
        self._next_cleaning = 0.0
        self._lock = threading.Lock()

    # ------------------------------------------------------------------------------------------ submitting

    def environment(self, plan: LaunchPlan) -> BatchEnvironment:
        if not self._options.jobsub:
            return BatchEnvironment()
        path = programs.install(self._directory / "programs")
        document = self._directory / "access.json"
        write_document(document, self._options, self._directory)
        return BatchEnvironment(path=(str(path),), variables=((ACCESS_VARIABLE, str(document)),))

    def submit(self, plan: LaunchPlan, script: str, transport: LaunchTransport, log: BinaryIO,
               timeout_seconds: float) -> SubmitOutcome:
        try:
            result = transport.run(plan.host, plan.account, script, log=log, timeout_seconds=timeout_seconds,
                                   max_output_bytes=MAX_OUTPUT_BYTES)
        except Invalid as problem:
            return SubmitOutcome("refused", message=str(problem))
        except BackendUnavailable as problem:
            return SubmitOutcome("not_started", message=str(problem))
        except OSError as problem:
            return SubmitOutcome("unclear", message=str(problem))
        try:
            found = self.find(plan.submission_id)
        except BackendUnavailable as problem:
            # What was printed may be true, but only the queue says so.
            printed = tuple(_as_cluster(text) for text in _JOB_ID.findall(result.output))
            return SubmitOutcome("unclear", printed, str(problem), result.exit_status)
        return _judge(plan, result, found)

    def find(self, submission_id: int) -> list[FoundCluster]:
        mine = f"{ads.of_submissions([submission_id])} && ({self._mine})"
        lookback = self._options.history_lookback_seconds
        since = f"time() - EnteredCurrentStatus > {int(lookback)}" if lookback else None

        def look(schedd: str) -> list[FoundCluster]:
            # The queue first: a job that leaves in between is then in the history.
            rows = self._access.query(schedd, mine, ads.CLUSTER_ATTRIBUTES)
            rows += self._access.history(schedd, mine, ads.CLUSTER_ATTRIBUTES, since=since)
            return ads.clusters(rows, schedd)

        return [cluster for found in self._each(look) for cluster in found]

    # -------------------------------------------------------------------------------------------- watching

    def snapshot(self) -> PoolSnapshot:
        taken_at = self._clock()
        counts: Counter[tuple[int, JobState, int | None]] = Counter()
        for found in self._each(self._count):
            counts.update(found)
        self._keep_house()
        return PoolSnapshot(taken_at, tuple(
            JobCount(number, state, count, code) for (number, state, code), count in counts.items()))

    def _count(self, schedd: str) -> Counter[tuple[int, JobState, int | None]]:
        # The schedd tests the condition against groups, which have the attributes they are grouped by and no others.
        attributes = [*ads.GROUP_ATTRIBUTES, *_names_in(self._options.job_constraint)]
        rows = self._access.group(schedd, self._mine, attributes)
        stuck = self._stuck(schedd) if any(_is_spooling(row) for row in rows) else Counter()
        counts: Counter[tuple[int, JobState, int | None]] = Counter()
        for row in rows:
            state = ads.live_state(row)
            if state is not None and ads.is_job(row):
                counts[row[ads.SUBMISSION], state, ads.hold_code(row) if state == JobState.HELD else None] += \
                    row["JobCount"]
        for number, count in stuck.items():
            moved = min(count, counts[number, JobState.IDLE, None])
            counts[number, JobState.IDLE, None] -= moved
            counts[number, JobState.HELD, hold_codes.SPOOLING] += moved
        return +counts

    def _stuck(self, schedd: str) -> Counter[int]:
        """Jobs whose input files have not come for so long that they will not come any more."""
        grace = int(self._options.spooling_grace_seconds)
        rows = self._access.query(schedd, f"({self._mine}) && JobStatus == 5 && HoldReasonCode == "
                                  f"{hold_codes.SPOOLING} && time() - EnteredCurrentStatus > {grace}",
                                  [ads.SUBMISSION, "JobUniverse"])
        return Counter(row[ads.SUBMISSION] for row in rows if ads.is_job(row))

    def departed(self, cursor: str) -> Departures:
        positions, fed = history.read_cursor(cursor)
        readings = self._each(lambda schedd: history.read(
            self._access, schedd, positions.get(schedd, history.Position()), self._mine))
        records = tuple(record for reading in readings for record in reading.records)
        gaps = {schedd for schedd, reading in zip(self._schedds, readings, strict=True) if reading.gap}
        position = None
        if self._options.event_log:
            feed = events.read(Path(self._options.event_log), fed)
            records, position = history.merge(records, feed.records), feed.position
        with self._lock:
            self._gaps |= gaps
        # Schedds that are not asked any more keep their place: they may come back into the configuration.
        after = {**positions, **{schedd: reading.position
                                 for schedd, reading in zip(self._schedds, readings, strict=True)}}
        return Departures(records, history.write_cursor(after, position))

    def jobs(self, submission_ids: Collection[int]) -> list[JobRecord]:
        numbers = sorted(set(submission_ids))
        conditions = [f"{ads.of_submissions(numbers[start:start + IDS_AT_ONCE])} && ({self._mine})"
                      for start in range(0, len(numbers), IDS_AT_ONCE)]

        def look(schedd: str) -> list[JobRecord]:
            return [record for condition in conditions
                    for row in self._access.query(schedd, condition, ads.JOB_ATTRIBUTES)
                    if (record := self._live_record(row, schedd)) is not None]

        return [record for found in self._each(look) for record in found]

    def _live_record(self, row: Row, schedd: str) -> JobRecord | None:
        if not ads.is_job(row):
            return None
        age = row.get("ServerTime", 0) - row.get("EnteredCurrentStatus", 0)
        state = ads.live_state(row, is_stuck=age > self._options.spooling_grace_seconds)
        return None if state is None else ads.record(row, schedd, state)

    # -------------------------------------------------------------------------------------------- acting

    def act(self, action: Literal["hold", "release", "remove"], selection: JobSelection, reason: str) -> ActResult:
        by_schedd, foreign = self._conditions(selection)
        live = "JobStatus != 3 && JobStatus != 4"
        text = " ".join(reason.split()) or f"{action} by POMS"
        changed = unchanged = 0
        refused, messages = len(foreign), [f"{name} is not a job of this pool." for name in foreign[:1]]
        for schedd, condition in by_schedd.items():
            if action == "release":
                self._await_stopped(schedd, f"({condition}) && {live}")
            done = self._access.act(schedd, action, f"({condition}) && {live}", text)
            changed, unchanged, refused = changed + done.changed, unchanged + done.unchanged, refused + done.refused
            messages += [done.message] if done.message else []
        return ActResult(changed, unchanged, refused, " ".join(messages))

    def _await_stopped(self, schedd: str, condition: str) -> None:
        """Wait for the runs of held jobs to be over: released before, a job can stay idle and be forgotten."""
        deadline = time.monotonic() + STOPPING_SECONDS
        while time.monotonic() < deadline and self._access.query(
                schedd, f"({condition}) && JobStatus == 5 && CurrentHosts > 0", ["ClusterId"], limit=1):
            time.sleep(STOPPING_LOOK_SECONDS)

    def _conditions(self, selection: JobSelection) -> tuple[dict[str, str], list[str]]:
        """What is selected at each schedd, and ids of jobs of no schedd of ours."""
        jobs: dict[str, list[tuple[int, int | None]]] = defaultdict(list)
        foreign = []
        for text in selection.batch_ids:
            cluster, proc, schedd = ads.parse_job_id(text)
            if schedd in self._schedds:
                jobs[schedd].append((cluster, proc))
            else:
                foreign.append(text)
        conditions: dict[str, list[str]] = defaultdict(list)
        for schedd, chosen in jobs.items():
            conditions[schedd].append(ads.of_jobs(chosen))
        if selection.submission_ids:
            for schedd in self._schedds:
                conditions[schedd].append(f"({ads.of_submissions(selection.submission_ids)} && ({self._mine}))")
        return {schedd: " || ".join(parts) for schedd, parts in conditions.items()}, foreign

    def fetch_log(self, batch_id: str, which: Literal["stdout", "stderr", "log"]) -> Iterator[bytes]:
        _, _, schedd = ads.parse_job_id(batch_id)
        if schedd not in self._schedds:
            raise NotFound(f"Job {batch_id} is not of this pool.")
        return sandboxes.open_log(self._access, self._directory, batch_id, which)

    # -------------------------------------------------------------------------------------------- health

    def health(self) -> Health:
        """Asks every schedd for as little as there is; says which do not answer."""
        silent, seconds = [], {}
        for schedd in self._schedds:
            began = time.monotonic()
            try:
                self._access.query(schedd, "false", ["ClusterId"], limit=1)
            except PomsError as problem:
                silent.append(str(problem))
            seconds[f"seconds {schedd}"] = time.monotonic() - began
        with self._lock:
            gaps = sorted(self._gaps)
        figures = {"schedds": float(len(self._schedds)), "silent": float(len(silent)), "history_gaps": float(len(gaps)),
                   **seconds}
        if silent:
            return Health(False, " ".join(silent), self._clock(), figures)
        message = f"{len(self._schedds)} schedd(s) answer, through {self._access.describe()}."
        if gaps:
            message += (f" The history of {', '.join(gaps)} rotated away before "
                        "it was read; raise MAX_HISTORY_LOG there or set [htcondor] event_log.")
        return Health(True, message, self._clock(), figures)

    def close(self) -> None:
        """End the processes that speak to the pool."""
        self._access.close()

    # -------------------------------------------------------------------------------------------- inside

    def _each(self, ask: Callable[[str], Answer]) -> list[Answer]:
        """Ask all schedds at the same time; the first that fails makes the whole answer fail."""
        if len(self._schedds) == 1:
            return [ask(self._schedds[0])]
        with ThreadPoolExecutor(len(self._schedds)) as threads:
            return list(threads.map(ask, self._schedds))

    def _keep_house(self) -> None:
        """End projects whose jobs are gone and remove old files, beside the polling and never twice at once."""
        due = projects.has_open(self._directory / "projects") or time.monotonic() >= self._next_cleaning
        with self._lock:
            if not due or (self._housekeeper is not None and self._housekeeper.is_alive()):
                return
            self._housekeeper = threading.Thread(target=self._clean, name="htcondor-housekeeping", daemon=True)
            self._housekeeper.start()

    def _clean(self) -> None:
        try:
            if projects.has_open(self._directory / "projects"):
                projects.end_due(self._directory / "projects", self._busy_projects)
            if time.monotonic() >= self._next_cleaning:
                self._next_cleaning = time.monotonic() + HOUSEKEEPING_SECONDS
                sandboxes.clean(self._access, self._directory, time.time() - self._options.log_days * 86400)
        except PomsError as condition:
            log.warning("housekeeping of the pool is put off", extra={"pool": self.pool, "reason": str(condition)})

    def _busy_projects(self, names: Collection[str]) -> set[str]:
        """Which projects still feed jobs; asks all schedds, so that silence never ends a project."""
        # By groups, so that no name has to be put into a condition.
        found = self._each(lambda schedd: self._access.group(
            schedd, f"{ads.PROJECT} =!= undefined && JobStatus != 3 && JobStatus != 4", [ads.PROJECT, "JobStatus"]))
        return {row[ads.PROJECT] for rows in found for row in rows if ads.PROJECT in row} & set(names)


def _judge(plan: LaunchPlan, result: TransportResult, found: Collection[FoundCluster]) -> SubmitOutcome:
    """The queue decides what was started; what the script printed only gives the order."""
    queued = [cluster.batch_id for cluster in found if cluster.attempt == plan.attempt]
    printed = [_as_cluster(text) for text in _JOB_ID.findall(result.output)]
    if result.exit_status is None:
        return SubmitOutcome("unclear", tuple(queued), result.reason)
    if queued:
        known = [batch_id for batch_id in dict.fromkeys(printed) if batch_id in queued]
        ids = (*known, *(batch_id for batch_id in queued if batch_id not in known))
        return SubmitOutcome("started", ids, result.reason, result.exit_status)
    if printed:
        message = f"The launch printed the job id {printed[0]}, but no schedd of this pool has such a job of it."
    else:
        message = f"The launch ended with status {result.exit_status} and submitted no jobs."
    return SubmitOutcome("refused", message=message, exit_status=result.exit_status)


def _as_cluster(text: str) -> str:
    """``12.0@schedd``, as it is printed, as ``12@schedd``."""
    return re.sub(r"\A(\d+)(?:\.\d+)+@", r"\1@", text)


def _is_spooling(row: Row) -> bool:
    return row.get("JobStatus") == 5 and row.get("HoldReasonCode") == hold_codes.SPOOLING


def _names_in(expression: str) -> list[str]:
    """Attributes that an expression mentions."""
    found = _IDENTIFIER.findall(_TEXT.sub("", expression))
    return [name for name in dict.fromkeys(found) if name.lower() not in _WORDS and name not in ads.GROUP_ATTRIBUTES]
