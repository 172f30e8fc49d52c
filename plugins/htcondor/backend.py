"""``HTCondorBatch``: the schedds of a pool as the rest of POMS sees them.

What it shares with other back ends on schedds is ``batch``'s; here is what launches find around them, how jobs are
acted on, and what becomes of their files and projects. Invariant: housekeeping never holds up an answer.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Iterator

from poms.plugins.htcondor import ads, programs, projects, sandboxes
from poms.plugins.htcondor.access import Access, open_access
from poms.plugins.htcondor.batch import Action, PoolBatch, Which
from poms.plugins.htcondor.options import ACCESS_VARIABLE, make_options, write_document
from poms.plugins.htcondor.reading import LIVE, PoolReader
from poms.webservice.errors import PomsError
from poms.webservice.interfaces import ActResult, BatchEnvironment, LaunchPlan, PluginContext, PoolSnapshot

log = logging.getLogger(__name__)

HOUSEKEEPING_SECONDS = 3600.0


class HTCondorBatch(PoolBatch):
    """``JobBackend`` on the schedds named in [htcondor]; safe to use from any thread."""

    def __init__(self, context: PluginContext, access: Access | None = None) -> None:
        self._options = make_options(context.options)
        self._directory = context.data_dir.absolute() / "htcondor"
        access = access or open_access(self._options)
        reader = PoolReader(self._options, context.clock, access)
        super().__init__(f"htcondor:{self._options.pool_name}", reader, access)
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

    # -------------------------------------------------------------------------------------------- watching

    def snapshot(self) -> PoolSnapshot:
        found = super().snapshot()
        self._keep_house()
        return found

    # -------------------------------------------------------------------------------------------- acting

    def _act_at(self, schedd: str, action: Action, condition: str, reason: str) -> ActResult:
        chosen = f"({condition}) && {LIVE}"
        if action == "release":
            self._reader.await_stopped(schedd, chosen)
        return self._access.act(schedd, action, chosen, " ".join(reason.split()) or f"{action} by POMS")

    def fetch_log(self, batch_id: str, which: Which) -> Iterator[bytes]:
        self._parse_job_id(batch_id)
        return sandboxes.open_log(self._access, self._directory, batch_id, which)

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
