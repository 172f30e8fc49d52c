"""``HTCondorBatch``: the schedds of a pool as the rest of POMS sees them.

Reading is ``reading``'s; here is what changes something: launches, actions, and the files of jobs. Invariant: what
the queue says decides what came of a launch, never what was printed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Iterator
from typing import BinaryIO, Literal

from poms.plugins.htcondor import ads, programs, projects, sandboxes
from poms.plugins.htcondor.access import Access, open_access
from poms.plugins.htcondor.options import ACCESS_VARIABLE, make_options, write_document
from poms.plugins.htcondor.reading import LIVE, PoolReader, judge, printed_ids
from poms.webservice.errors import BackendUnavailable, Invalid, NotFound, PomsError
from poms.webservice.interfaces import (
    ActResult,
    BatchEnvironment,
    Departures,
    FoundCluster,
    Health,
    JobRecord,
    JobSelection,
    LaunchPlan,
    LaunchTransport,
    PluginContext,
    PoolSnapshot,
    SubmitOutcome,
)

log = logging.getLogger(__name__)

MAX_OUTPUT_BYTES = 50_000_000
HOUSEKEEPING_SECONDS = 3600.0


class HTCondorBatch:
    """``JobBackend`` on the schedds named in [htcondor]; safe to use from any thread."""

    def __init__(self, context: PluginContext, access: Access | None = None) -> None:
        self._options = make_options(context.options)
        self._directory = context.data_dir.absolute() / "htcondor"
        self.pool = f"htcondor:{self._options.pool_name}"
        self._access = access or open_access(self._options)
        self._schedds = self._options.schedds
        self._reader = PoolReader(self._options, context.clock, self._access)
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
            found = self._reader.find_launched(plan.submission_id, result, self._remove_wrecks)
        except BackendUnavailable as problem:
            # What was printed may be true, but only the queue says so.
            return SubmitOutcome("unclear", tuple(printed_ids(result.output)), str(problem), result.exit_status)
        return judge(plan, result, found)

    def find(self, submission_id: int) -> list[FoundCluster]:
        return self._reader.find(submission_id, self._remove_wrecks)

    def _remove_wrecks(self, schedd: str, clusters: list[int]) -> None:
        done = self._access.act(schedd, "remove", f"({ads.of_jobs([(number, None) for number in clusters])}) && "
                                f"{ads.WAITING_FOR_INPUT}", ads.NOT_ARRIVED)
        if done.refused:
            raise BackendUnavailable(f"What is left of a submit that broke off cannot be removed. {done.message}")

    # -------------------------------------------------------------------------------------------- watching

    def snapshot(self) -> PoolSnapshot:
        found = self._reader.snapshot()
        self._keep_house()
        return found

    def departed(self, cursor: str) -> Departures:
        return self._reader.departed(cursor)

    def jobs(self, submission_ids: Collection[int]) -> list[JobRecord]:
        return self._reader.jobs(submission_ids)

    # -------------------------------------------------------------------------------------------- acting

    def act(self, action: Literal["hold", "release", "remove"], selection: JobSelection, reason: str) -> ActResult:
        by_schedd, foreign = self._reader.conditions(selection)
        text = " ".join(reason.split()) or f"{action} by POMS"
        changed = unchanged = 0
        refused, messages = len(foreign), [f"{name} is not a job of this pool." for name in foreign[:1]]
        for schedd, condition in by_schedd.items():
            if action == "release":
                self._reader.await_stopped(schedd, f"({condition}) && {LIVE}")
            done = self._access.act(schedd, action, f"({condition}) && {LIVE}", text)
            changed, unchanged, refused = changed + done.changed, unchanged + done.unchanged, refused + done.refused
            messages += [done.message] if done.message else []
        return ActResult(changed, unchanged, refused, " ".join(messages))

    def fetch_log(self, batch_id: str, which: Literal["stdout", "stderr", "log"]) -> Iterator[bytes]:
        _, _, schedd = ads.parse_job_id(batch_id)
        if schedd not in self._schedds:
            raise NotFound(f"Job {batch_id} is not of this pool.")
        return sandboxes.open_log(self._access, self._directory, batch_id, which)

    # -------------------------------------------------------------------------------------------- health

    def health(self) -> Health:
        return self._reader.health()

    def close(self) -> None:
        """End the processes that speak to the pool."""
        self._access.close()

    # -------------------------------------------------------------------------------------------- inside

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
        found = self._reader.each(lambda schedd: self._access.group(
            schedd, f"{ads.PROJECT} =!= undefined && JobStatus != 3 && JobStatus != 4", [ads.PROJECT, "JobStatus"]))
        return {row[ads.PROJECT] for rows in found for row in rows if ads.PROJECT in row} & set(names)
