"""The process in which HTCondor's library runs: takes calls as lines of JSON on standard input, answers on output.

Only here is htcondor2 imported: its calls cannot be interrupted, hold Python's lock, and share one configuration
for the whole process. Whoever gave up waiting kills the process. Invariant: one answer a call, or death.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import classad2
import htcondor2

from poms.plugins.htcondor.ads import NOT_ARRIVED

SENDING_SECONDS = 90.0
SENDING_PAUSE_SECONDS = 2.0

_ACTIONS = {"hold": htcondor2.JobAction.Hold, "release": htcondor2.JobAction.Release,
            "remove": htcondor2.JobAction.Remove}


class Worker:
    """The calls. Addresses of schedds are kept, so that a collector that is down hides none that is known."""

    def __init__(self, collector: str) -> None:
        self._collector = collector
        self._locations: dict[str, Any] = {}

    def query(self, schedd: str, constraint: str, attributes: list[str], limit: int = -1) -> list[dict[str, Any]]:
        ads = self._insist(schedd, lambda found: found.query(constraint, attributes, limit=limit))
        return [_plain(ad, attributes) for ad in ads]

    def group(self, schedd: str, constraint: str, attributes: list[str]) -> list[dict[str, Any]]:
        ads = self._insist(schedd, lambda found: found.query(constraint, attributes, opts=htcondor2.QueryOpt.GroupBy))
        return [_plain(ad, [*attributes, "JobCount"]) for ad in ads]

    def history(self, schedd: str, constraint: str, attributes: list[str], limit: int = -1,
                since: str | None = None) -> list[dict[str, Any]]:
        expression = None if since is None else classad2.ExprTree(since)
        ads = self._insist(schedd, lambda found: found.history(constraint, attributes, match=limit, since=expression))
        return [_plain(ad, attributes) for ad in ads]

    def act(self, schedd: str, action: str, constraint: str, reason: str) -> dict[str, Any]:
        # As a pair with a subcode: a text alone is lost on the way, in some versions.
        totals = self._insist(schedd, lambda found: found.act(_ACTIONS[action], classad2.ExprTree(constraint),
                                                              (reason, 0)))
        return {name: int(value) for name, value in totals.items() if name.startswith("Total")}

    def submit(self, schedd: str, description: str, count: int, spool: bool, directory: str) -> int:
        """Submit once, without another try: a second one could be a second cluster."""
        os.chdir(directory)
        self._insist(schedd, lambda found: found.query("false", ["ClusterId"], limit=1))
        found = htcondor2.Schedd(self._locations[schedd])
        result = found.submit(htcondor2.Submit(description), count=count, spool=spool)
        if spool:
            try:
                found.spool(result)
            except Exception as problem:
                self._again(schedd, result, problem)
        return result.cluster()

    def _again(self, schedd: str, result: Any, problem: Exception) -> None:
        """Send the input files once more, to a schedd that may have been restarted; or take the jobs back."""
        cluster = classad2.ExprTree(f"ClusterId == {result.cluster()}")
        deadline = time.monotonic() + SENDING_SECONDS
        while time.monotonic() < deadline:
            try:
                waiting = self._insist(schedd, lambda found: found.query(
                    f"ClusterId == {result.cluster()} && JobStatus == 5 && StageInFinish =?= undefined", ["ProcId"]))
                if not waiting:
                    break  # The schedd has given them up by itself.
                self._insist(schedd, lambda found: found.spool(result))
                return
            except Exception as later:
                problem = later
                time.sleep(SENDING_PAUSE_SECONDS)
        self._insist(schedd, lambda found: found.act(htcondor2.JobAction.Remove, cluster, (NOT_ARRIVED, 0)))
        raise RuntimeError(f"the input files of cluster {result.cluster()} could not be sent, so it was "
                           f"removed: {problem}") from problem

    def retrieve(self, schedd: str, constraint: str) -> None:
        self._insist(schedd, lambda found: found.retrieve(classad2.ExprTree(constraint)))

    def edit(self, schedd: str, constraint: str, attribute: str, value: str) -> None:
        self._insist(schedd, lambda found: found.edit(classad2.ExprTree(constraint), attribute, value))

    def schedds(self) -> list[dict[str, Any]]:
        attributes = ["Name", "TotalJobAds", "MyAddress"]
        ads = self._pool().query(htcondor2.AdType.Schedd, True, attributes)
        return [_plain(ad, attributes) for ad in ads]

    def versions(self) -> dict[str, str]:
        return {"library": htcondor2.version()}

    # ------------------------------------------------------------------------------------------ inside

    def _pool(self) -> Any:
        return htcondor2.Collector(self._collector) if self._collector else htcondor2.Collector()

    def _insist(self, schedd: str, call: Callable[[Any], Any]) -> Any:
        """Try twice: after a restart of the schedd the first call fails on a security session that is gone."""
        try:
            return call(htcondor2.Schedd(self._location(schedd)))
        except Exception as first:
            known = self._locations.pop(schedd, None)
            try:
                location = self._location(schedd)
            except Exception:
                if known is None:
                    raise first from None
                location = self._locations[schedd] = known
            return call(htcondor2.Schedd(location))

    def _location(self, schedd: str) -> Any:
        if schedd not in self._locations:
            self._locations[schedd] = self._pool().locate(htcondor2.DaemonType.Schedd, schedd)
        return self._locations[schedd]


def _plain(ad: Mapping[str, Any], attributes: list[str]) -> dict[str, Any]:
    """What JSON can carry; undefined and error are absent, expressions are their text."""
    found = {}
    for name in attributes:
        value = ad.get(name)
        if value is None or isinstance(value, classad2.Value):
            continue
        found[name] = value if isinstance(value, bool | int | float | str) else str(value)
    return found


def serve(worker: Worker, calls: BinaryIO, answers: BinaryIO) -> None:
    for line in calls:
        call = json.loads(line)
        try:
            answer = {"result": getattr(worker, call["method"])(**call["arguments"])}
        except Exception as problem:
            # Everything, because whatever the library raises is the answer to this call and to no other.
            answer = {"error": f"{type(problem).__name__}: {problem}"}
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


def main() -> None:
    # The library may print; only answers may reach the caller's pipe.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(Worker(sys.argv[1]), sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
