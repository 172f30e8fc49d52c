"""``Bindings``: access by HTCondor's Python package, in worker processes that can be given up at any moment.

Not the calls themselves (``worker``). Invariant: a worker serves one call at a time; one that did not answer in time
is killed, so a hanging schedd costs that call and nothing else.
"""

from __future__ import annotations

import json
import os
import queue
import re
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from poms.plugins.htcondor.access import Acted, Action, Row, unavailable, was_unreached
from poms.plugins.htcondor.commands import Commands
from poms.plugins.htcondor.options import Options, surroundings
from poms.webservice.errors import BackendUnavailable, Invalid

MOST_WORKERS = 4
# Submitting and fetching move files, which takes as long as the files are large.
TRANSFER_FACTOR = 10.0
# The package tells which limit a submit exceeded by a number only.
_LIMITS = {"-2": "MAX_JOBS_SUBMITTED", "-3": "MAX_JOBS_PER_OWNER", "-4": "MAX_JOBS_PER_SUBMISSION"}


class _Worker:
    """One process. A call that fails in transport leaves it dead."""

    def __init__(self, options: Options) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-m", "poms.plugins.htcondor.worker", options.collector], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=surroundings(options, os.environ), cwd="/")

    def call(self, method: str, arguments: dict[str, Any], timeout_seconds: float) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"method": method, "arguments": arguments}).encode() + b"\n")
        self._process.stdin.flush()
        line = self._read_line(time.monotonic() + timeout_seconds)
        return json.loads(line)

    def _read_line(self, deadline: float) -> bytes:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        pieces: list[bytes] = []
        while not pieces or not pieces[-1].endswith(b"\n"):
            ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError("no answer in time")
            piece = os.read(descriptor, 1 << 20)
            if not piece:
                raise EOFError(f"the process that speaks to it ended with status {self._process.wait()}")
            pieces.append(piece)
        return b"".join(pieces)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    continue  # What was still to be written has no reader any more.


class Bindings:
    """``Access`` by the package ``htcondor`` (module htcondor2)."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._idle: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        for _ in range(MOST_WORKERS):
            self._idle.put(None)

    def query(self, schedd: str, constraint: str, attributes: Sequence[str], *, limit: int = -1) -> list[Row]:
        return self._call("query", schedd, constraint=constraint, attributes=list(attributes), limit=limit)

    def group(self, schedd: str, constraint: str, attributes: Sequence[str]) -> list[Row]:
        found = self._call("group", schedd, constraint=constraint, attributes=list(attributes))
        if not found and self.query(schedd, constraint, attributes[:1], limit=1):
            # A schedd that groups otherwise than expected would make every job look gone.
            raise unavailable(self._options, schedd, "it counted no jobs although it has some that match")
        return found

    def history(self, schedd: str, constraint: str, attributes: Sequence[str], *, limit: int = -1,
                since: str | None = None) -> list[Row]:
        return self._call("history", schedd, constraint=constraint, attributes=list(attributes), limit=limit,
                          since=since)

    def act(self, schedd: str, action: Action, constraint: str, reason: str) -> Acted:
        totals = self._call("act", schedd, action=action, constraint=constraint, reason=reason)
        denied = totals.get("TotalPermissionDenied", 0)
        refused = denied + totals.get("TotalError", 0)
        message = ""
        if refused:
            message = f"Schedd {schedd} refused for {refused} jobs: " + (
                "this service's account may not change them." if denied else "it reported an error.")
        return Acted(totals.get("TotalSuccess", 0),
                     totals.get("TotalAlreadyDone", 0) + totals.get("TotalBadStatus", 0), refused, message)

    def submit(self, schedd: str, description: str, count: int, *, spool: bool, directory: Path) -> int:
        try:
            return self._call("submit", schedd, timeout_factor=TRANSFER_FACTOR, description=description, count=count,
                              spool=spool, directory=str(directory))
        except _Refused as problem:
            if was_unreached(problem):
                raise unavailable(self._options, schedd, problem) from problem
            limit = re.search(r"but Schedd says (-\d)", str(problem))
            meaning = f" ({_LIMITS[limit[1]]} of the schedd is exceeded)" if limit and limit[1] in _LIMITS else ""
            raise Invalid(f"Schedd {schedd} did not take the jobs{meaning}: {problem}") from problem

    def retrieve(self, schedd: str, constraint: str) -> None:
        self._call("retrieve", schedd, timeout_factor=TRANSFER_FACTOR, constraint=constraint)

    def tail(self, schedd: str, cluster: int, proc: int, *, errors: bool) -> bytes:
        """By the tool, if it is there: the package has no such call."""
        return Commands(self._options).tail(schedd, cluster, proc, errors=errors)

    def edit(self, schedd: str, constraint: str, attribute: str, value: str) -> None:
        self._call("edit", schedd, constraint=constraint, attribute=attribute, value=value)

    def schedds(self) -> list[Row]:
        return self._call("schedds", None)

    def describe(self) -> str:
        return "the Python package htcondor"

    def close(self) -> None:
        for _ in range(MOST_WORKERS):
            worker = self._idle.get()
            if worker is not None:
                worker.kill()
            self._idle.put(None)

    def _call(self, method: str, schedd: str | None, *, timeout_factor: float = 1.0, **arguments: Any) -> Any:
        name = schedd if schedd is not None else "list"
        if schedd is not None:
            arguments["schedd"] = schedd
        limit = self._options.timeout_seconds
        try:
            worker = self._idle.get(timeout=limit)
        except queue.Empty:
            raise unavailable(self._options, name, f"{MOST_WORKERS} earlier calls have not come back yet") from None
        kept: _Worker | None = None
        try:
            fresh = worker or _Worker(self._options)
            try:
                answer = fresh.call(method, arguments, limit * timeout_factor)
                kept = fresh
            except (OSError, EOFError, ValueError, TimeoutError) as problem:
                fresh.kill()
                raise unavailable(self._options, name, problem) from problem
        except OSError as problem:
            raise unavailable(self._options, name, problem) from problem
        finally:
            self._idle.put(kept)
        if "error" in answer:
            if method == "submit":
                raise _Refused(answer["error"])
            raise unavailable(self._options, name, answer["error"])
        return answer["result"]


class _Refused(BackendUnavailable):
    """The library reported an error of a submit: the schedd said no, or was not reached at all."""
