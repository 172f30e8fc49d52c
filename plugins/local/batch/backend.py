"""``LocalBatch``: the local batch system as the rest of POMS sees it.

Not for the queue itself. Invariant: every answer comes from the spool's database, never from memory, so any
number of services may use one spool; an answer that cannot be had is BackendUnavailable, not an empty one.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterator
from typing import BinaryIO, Literal

from poms.plugins.local.batch import control, logs, programs, queue
from poms.plugins.local.batch.master import ensure_master, is_running
from poms.plugins.local.batch.spool import Options, Spool
from poms.webservice import launch_scripts
from poms.webservice.errors import Invalid, NotFound, PomsError
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

DEPARTURES_AT_ONCE = 10_000


class LocalBatch:
    """``JobBackend`` of one experiment on the spool below the service's data directory."""

    def __init__(self, context: PluginContext) -> None:
        self._experiment = context.experiment
        # Each experiment sees its own jobs only, so each is asked for itself.
        self.pool = f"local:{context.experiment}"
        self._clock = context.clock
        self.spool = Spool(context.data_dir.absolute() / "batch")
        self.spool.prepare()
        self.spool.set_options(Options(**context.options))

    def environment(self, plan: LaunchPlan) -> BatchEnvironment:
        self.spool.prepare()
        return BatchEnvironment(
            path=(str(programs.install(self.spool)),),
            variables=((programs.SPOOL_VARIABLE, str(self.spool.directory)),
                       (programs.EXPERIMENT_VARIABLE, self._experiment)))

    def submit(self, plan: LaunchPlan, script: str, transport: LaunchTransport, log: BinaryIO,
               timeout_seconds: float) -> SubmitOutcome:
        return launch_scripts.submit(plan, script, transport=transport, log=log, timeout_seconds=timeout_seconds,
                                     find=lambda _: self.find(plan.submission_id))

    def find(self, submission_id: int) -> list[FoundCluster]:
        with self.spool.read() as db:
            return queue.find_clusters(db, self._experiment, submission_id, self.spool.identity().schedd)

    def snapshot(self) -> PoolSnapshot:
        taken_at = self._clock()
        with self.spool.read() as db:
            counts = queue.count_jobs(db, self._experiment)
        self._keep_going(bool(counts))
        return PoolSnapshot(taken_at, counts)

    def departed(self, cursor: str) -> Departures:
        """See ``JobBackend``; at most 10,000 at a time, so ask again until nothing comes."""
        identity = self.spool.identity()
        after = _position(cursor, identity.spool)
        with self.spool.read() as db:
            rows = queue.list_departed(db, self._experiment, after, DEPARTURES_AT_ONCE)
        last = rows[-1]["seq"] if rows else after
        now = time.time()
        return Departures(tuple(queue.record_of(row, identity.schedd, now) for row in rows), f"{identity.spool}:{last}")

    def jobs(self, submission_ids: Collection[int]) -> list[JobRecord]:
        schedd, now = self.spool.identity().schedd, time.time()
        with self.spool.read() as db:
            rows = queue.list_jobs(db, self._experiment, submission_ids)
        return [queue.record_of(row, schedd, now) for row in rows]

    def act(self, action: Literal["hold", "release", "remove"], selection: JobSelection, reason: str) -> ActResult:
        chosen, foreign = control.select(self.spool, self._experiment, selection.batch_ids)
        selected = queue.Selected(self._experiment, tuple(selection.submission_ids), chosen.clusters, chosen.procs)
        text = reason.encode(errors="backslashreplace").decode()
        with self.spool.write() as db:
            result = queue.act(db, action, selected, reason=text, now=time.time())
        if result.changed:
            ensure_master(self.spool)
        if foreign:
            message = f"{result.message} {foreign[0]} is not a job of this batch system.".strip()
            return ActResult(result.changed, result.unchanged, result.refused + len(foreign), message)
        return result

    def fetch_log(self, batch_id: str, which: Literal["stdout", "stderr", "log"]) -> Iterator[bytes]:
        name = control.parse_job_id(batch_id)
        if name.schedd != self.spool.identity().schedd:
            raise NotFound(f"Job {batch_id} is not of this batch system.")
        return logs.open_log(self.spool, self._experiment, name.cluster, name.proc or 0, which)

    def health(self) -> Health:
        try:
            options = self.spool.options()
            with self.spool.read() as db:
                states = dict(db.execute("SELECT state, COUNT(*) FROM jobs GROUP BY state").fetchall())
            alive = is_running(self.spool)
        except (PomsError, OSError) as problem:
            return Health(False, str(problem), self._clock())
        idle, running, held = (states.get(state, 0) for state in (1, 2, 5))
        slots = options.slot_count()
        figures = {"slots": slots, "idle": idle, "running": running, "held": held, "master": float(alive)}
        return Health(True, f"{running} of {slots} slots busy, {idle} jobs idle, {held} held", self._clock(), figures)

    def _keep_going(self, has_jobs: bool) -> None:
        """A master that was killed is replaced by the next look at the queue."""
        if has_jobs and not is_running(self.spool):
            ensure_master(self.spool)


def _position(cursor: str, spool: str) -> int:
    """Where to go on. A cursor of another spool (this one was made anew) begins from the oldest."""
    if not cursor:
        return 0
    match = re.fullmatch(r"([0-9a-f]+):([0-9]{1,18})", cursor)
    if not match:
        raise Invalid(f"{cursor!r} is no cursor of the local batch system.")
    return int(match[2]) if match[1] == spool else 0
