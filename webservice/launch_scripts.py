"""Running a launch script and saying what came of it, as batch systems do whose jobs the script itself submits.

Offered to every plugin, for ``JobBackend.submit``. Not for writing the script (``rules.shell``). Invariant: the batch
system is asked what it has, and that decides, never what was printed; whatever is not certain is ``unclear``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from typing import BinaryIO

from poms.webservice.errors import BackendUnavailable, Invalid
from poms.webservice.interfaces import FoundCluster, LaunchPlan, LaunchTransport, SubmitOutcome, TransportResult

MAX_OUTPUT_BYTES = 50_000_000
"""More than any launch prints; the service may well allow less."""

Find = Callable[[TransportResult], Collection[FoundCluster]]
Judge = Callable[[LaunchPlan, TransportResult, Collection[FoundCluster]], SubmitOutcome]

_JOB_ID = re.compile(r"Use job id (\S+) to retrieve output")
_PROCESSES = re.compile(r"\A(\d+)(?:\.\d+)+@")


def submit(plan: LaunchPlan, script: str, *, transport: LaunchTransport, log: BinaryIO, timeout_seconds: float,
           find: Find, judge: Judge | None = None) -> SubmitOutcome:
    """Run the script of a launch once, ask with ``find`` for its clusters, and judge; without ``judge``: ``judged``.

    ``find`` is given how the script ended, and raises BackendUnavailable when it cannot tell.
    """
    try:
        result = transport.run(plan.host, plan.account, script, log=log, timeout_seconds=timeout_seconds,
                               max_output_bytes=MAX_OUTPUT_BYTES)
    except Invalid as problem:
        return SubmitOutcome("refused", message=str(problem))
    except BackendUnavailable as problem:
        return SubmitOutcome("not_started", message=str(problem))
    except OSError as problem:
        # It may have been lost before the script began or after: nobody knows.
        return SubmitOutcome("unclear", message=str(problem))
    try:
        found = find(result)
    except BackendUnavailable as problem:
        # What was printed may be true, but only the batch system says so.
        return SubmitOutcome("unclear", tuple(printed_clusters(result.output)), str(problem), result.exit_status)
    return (judge or judged)(plan, result, found)


def judged(plan: LaunchPlan, result: TransportResult, found: Collection[FoundCluster]) -> SubmitOutcome:
    """What came of an attempt by the clusters that are there; what the script printed only gives their order."""
    queued = [cluster.batch_id for cluster in found if cluster.attempt == plan.attempt]
    printed = printed_clusters(result.output)
    if result.exit_status is None:
        return SubmitOutcome("unclear", tuple(queued), result.reason)
    if queued:
        known = [batch_id for batch_id in printed if batch_id in queued]
        ids = (*known, *(batch_id for batch_id in queued if batch_id not in known))
        return SubmitOutcome("started", ids, result.reason, result.exit_status)
    if printed:
        message = f"The launch printed the job id {printed[0]}, but this batch system has no such job of it."
    else:
        message = f"The launch ended with status {result.exit_status} and submitted no jobs."
    return SubmitOutcome("refused", message=message, exit_status=result.exit_status)


def printed_clusters(output: str) -> Sequence[str]:
    """Clusters that jobsub_submit says it submitted, each once; the ``12.0@schedd`` that it prints is ``12@schedd``."""
    return list(dict.fromkeys(_PROCESSES.sub(r"\1@", text) for text in _JOB_ID.findall(output)))
