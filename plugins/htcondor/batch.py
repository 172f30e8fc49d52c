"""``PoolBatch``: what every back end on the schedds of a pool does alike, open to other plugins as ``reading`` is.

Not for what a launch finds around it or how jobs are acted on: that differs. Invariant: what the queue says decides
what came of a launch, never what was printed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import BinaryIO, Literal

from poms.plugins.htcondor import ads
from poms.plugins.htcondor.access import Access
from poms.plugins.htcondor.options import TRY_AGAIN_STATUS
from poms.plugins.htcondor.reading import PoolReader
from poms.webservice import launch_scripts
from poms.webservice.errors import BackendUnavailable, NotFound
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
    PoolSnapshot,
    SubmitOutcome,
    TransportResult,
)

Action = Literal["hold", "release", "remove"]
Which = Literal["stdout", "stderr", "log"]


class PoolBatch(ABC):
    """``JobBackend`` but for three things; ``pool`` is its name, ``reader`` and ``access`` reach its schedds."""

    def __init__(self, pool: str, reader: PoolReader, access: Access) -> None:
        self.pool = pool
        self._reader = reader
        self._access = access

    @abstractmethod
    def environment(self, plan: LaunchPlan) -> BatchEnvironment:
        """See ``JobBackend``."""

    @abstractmethod
    def fetch_log(self, batch_id: str, which: Which) -> Iterator[bytes]:
        """See ``JobBackend``."""

    @abstractmethod
    def _act_at(self, schedd: str, action: Action, condition: str, reason: str) -> ActResult:
        """Act on the jobs of one schedd that the condition selects and that have not ended."""

    # ------------------------------------------------------------------------------------------ submitting

    def submit(self, plan: LaunchPlan, script: str, transport: LaunchTransport, log: BinaryIO,
               timeout_seconds: float) -> SubmitOutcome:
        return launch_scripts.submit(
            plan, script, transport=transport, log=log, timeout_seconds=timeout_seconds, judge=self._judge,
            find=lambda result: self._reader.find_launched(plan.submission_id, result, self._remove_wrecks))

    def _judge(self, plan: LaunchPlan, result: TransportResult, found: Collection[FoundCluster]) -> SubmitOutcome:
        """The queue decides; a submit that says that no schedd answered did nothing wrong, and is tried again."""
        outcome = launch_scripts.judged(plan, result, found)
        if outcome.kind == "refused" and result.exit_status == TRY_AGAIN_STATUS:
            return replace(outcome, kind="unclear",
                           message="The batch system did not answer when jobs were to be submitted.")
        return outcome

    def find(self, submission_id: int) -> list[FoundCluster]:
        return self._reader.find(submission_id, self._remove_wrecks)

    def _remove_wrecks(self, schedd: str, clusters: list[int]) -> None:
        done = self._act_at(schedd, "remove", f"({ads.of_jobs([(number, None) for number in clusters])}) && "
                            f"{ads.WAITING_FOR_INPUT}", ads.NOT_ARRIVED)
        if done.refused:
            raise BackendUnavailable(f"What is left of a submit that broke off cannot be removed. {done.message}")

    # -------------------------------------------------------------------------------------------- watching

    def snapshot(self) -> PoolSnapshot:
        return self._reader.snapshot()

    def departed(self, cursor: str) -> Departures:
        return self._reader.departed(cursor)

    def jobs(self, submission_ids: Collection[int]) -> list[JobRecord]:
        return self._reader.jobs(submission_ids)

    def health(self) -> Health:
        return self._reader.health()

    # ---------------------------------------------------------------------------------------------- acting

    def act(self, action: Action, selection: JobSelection, reason: str) -> ActResult:
        by_schedd, foreign = self._reader.conditions(selection)
        changed = unchanged = 0
        refused, messages = len(foreign), [f"{name} is not a job of this pool." for name in foreign[:1]]
        for schedd, condition in by_schedd.items():
            done = self._act_at(schedd, action, condition, reason)
            changed, unchanged, refused = changed + done.changed, unchanged + done.unchanged, refused + done.refused
            messages += [done.message] if done.message else []
        return ActResult(changed, unchanged, refused, " ".join(messages))

    def _parse_job_id(self, batch_id: str) -> tuple[int, int | None, str]:
        """Cluster, job and schedd of a batch id; NotFound if the schedd is not one of these."""
        cluster, proc, schedd = ads.parse_job_id(batch_id)
        if schedd not in self._reader.schedds:
            raise NotFound(f"Job {batch_id} is not of this pool.")
        return cluster, proc, schedd

    def close(self) -> None:
        """End the processes that speak to the pool."""
        self._access.close()
