"""``Commands``: access by HTCondor's command-line tools, where its Python package is not installed.

Not the choice between the two (``access``). Invariant: an exit status that is not 0, or output that cannot be read,
is an error; only an empty output with status 0 means that there are no jobs.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from poms.plugins.htcondor.access import TAIL_BYTES, Acted, Action, Row, find_program, unavailable, was_unreached
from poms.plugins.htcondor.options import Options, surroundings
from poms.webservice.errors import ConfigurationError, Invalid, NotFound

_TOOLS: dict[Action, str] = {"hold": "condor_hold", "release": "condor_release", "remove": "condor_rm"}
TRANSFER_FACTOR = 10.0


class Commands:
    """``Access`` by condor_q and its companions."""

    def __init__(self, options: Options) -> None:
        self._options = options

    def query(self, schedd: str, constraint: str, attributes: Sequence[str], *, limit: int = -1) -> list[Row]:
        words = ["-allusers", "-json", "-attributes", ",".join(attributes), "-constraint", constraint]
        if limit >= 0:
            words += ["-limit", str(limit)]
        return self._rows("condor_q", schedd, [*self._name(schedd), *words], attributes)

    def group(self, schedd: str, constraint: str, attributes: Sequence[str]) -> list[Row]:
        """Counted here: the tools cannot make the schedd count."""
        counts = Counter(tuple(row.get(name) for name in attributes)
                         for row in self.query(schedd, constraint, attributes))
        return [{**{name: value for name, value in zip(attributes, key, strict=True) if value is not None},
                 "JobCount": count} for key, count in counts.items()]

    def history(self, schedd: str, constraint: str, attributes: Sequence[str], *, limit: int = -1,
                since: str | None = None) -> list[Row]:
        words = ["-json", "-attributes", ",".join(attributes), "-constraint", constraint]
        if limit >= 0:
            words += ["-limit", str(limit)]
        if since is not None:
            words += ["-since", since]
        return self._rows("condor_history", schedd, [*self._name(schedd), *words], attributes)

    def act(self, schedd: str, action: Action, constraint: str, reason: str) -> Acted:
        """The tools do not count, so the jobs are counted before."""
        rows = self.query(schedd, constraint, ["JobStatus"])
        able = {"hold": "JobStatus != 5", "release": "JobStatus == 5", "remove": "true"}[action]
        changing = sum(1 for row in rows if action == "remove" or (row.get("JobStatus") == 5) == (action == "release"))
        if not changing:
            return Acted(0, len(rows))
        done = self._run(_TOOLS[action], schedd, [*self._name(schedd), "-reason", _one_line(reason), "-constraint",
                                                  f"({constraint}) && {able}"] if action != "release"
                         else [*self._name(schedd), "-constraint", f"({constraint}) && {able}"])
        if done.returncode == 0:
            return Acted(changing, len(rows) - changing)
        if "ermission denied" in done.stdout + done.stderr:
            return Acted(0, len(rows) - changing, changing, f"Schedd {schedd} refused: {_text(done)}")
        raise unavailable(self._options, schedd, _text(done))

    def submit(self, schedd: str, description: str, count: int, *, spool: bool, directory: Path) -> int:
        words = [*self._name(schedd), *(["-spool"] if spool else []), "-terse", "-"]
        done = self._run("condor_submit", schedd, words, text=f"{description}queue {count}\n", directory=directory,
                         factor=TRANSFER_FACTOR)
        found = re.match(r"(\d+)\.\d+ - (\d+)\.\d+\s*\Z", done.stdout.strip().splitlines()[-1] if done.stdout.strip()
                         else "")
        if was_unreached(done.stderr):
            raise unavailable(self._options, schedd, _text(done))
        if done.returncode or not found:
            raise Invalid(f"Schedd {schedd} did not take the jobs: {_text(done)}")
        return int(found[1])

    def retrieve(self, schedd: str, constraint: str) -> None:
        done = self._run("condor_transfer_data", schedd, [*self._name(schedd), "-constraint", constraint],
                         factor=TRANSFER_FACTOR)
        if done.returncode:
            raise unavailable(self._options, schedd, _text(done))

    def tail(self, schedd: str, cluster: int, proc: int, *, errors: bool) -> bytes:
        path = find_program(self._options, "condor_tail")
        if path is None:
            raise NotFound(f"What job {cluster}.{proc}@{schedd} writes can be read when it has ended; before, only "
                           "where HTCondor's condor_tail is found ([htcondor] programs).")
        words = [*self._name(schedd), "-maxbytes", str(TAIL_BYTES), *(["-stderr"] if errors else []),
                 f"{cluster}.{proc}"]
        try:
            done = subprocess.run([path, *words], stdin=subprocess.DEVNULL, capture_output=True, check=False,
                                  env=surroundings(self._options, os.environ), timeout=self._options.timeout_seconds)
        except (subprocess.TimeoutExpired, OSError) as problem:
            raise unavailable(self._options, schedd, problem) from problem
        if done.returncode:
            # It asks the job's machine, which may not be ready yet or not be reachable from here.
            text = done.stderr.decode(errors="replace").strip()[-300:]
            raise NotFound(f"What job {cluster}.{proc}@{schedd} has written cannot be read while it runs: {text}")
        return done.stdout

    def edit(self, schedd: str, constraint: str, attribute: str, value: str) -> None:
        done = self._run("condor_qedit", schedd, [*self._name(schedd), "-constraint", constraint, attribute, value])
        if done.returncode:
            raise unavailable(self._options, schedd, _text(done))

    def schedds(self) -> list[Row]:
        attributes = ["Name", "TotalJobAds"]
        return self._rows("condor_status", "list", [*self._pool(), "-schedd", "-json", "-attributes",
                                                    ",".join(attributes)], attributes)

    def describe(self) -> str:
        return f"the command-line tools ({find_program(self._options, 'condor_q')})"

    def close(self) -> None:
        """Nothing is kept open between commands."""

    # ------------------------------------------------------------------------------------------- inside

    def _pool(self) -> list[str]:
        return ["-pool", self._options.collector] if self._options.collector else []

    def _name(self, schedd: str) -> list[str]:
        return [*self._pool(), "-name", schedd]

    def _rows(self, program: str, schedd: str, words: Sequence[str], attributes: Sequence[str]) -> list[Row]:
        done = self._run(program, schedd, words)
        if done.returncode:
            raise unavailable(self._options, schedd, _text(done))
        if not done.stdout.strip():
            return []
        try:
            found: list[dict[str, Any]] = json.loads(done.stdout)
        except ValueError as problem:
            raise unavailable(self._options, schedd, f"{program} printed what cannot be read: {problem}") from problem
        return [{name: ad[name] for name in attributes if name in ad and ad[name] is not None} for ad in found]

    def _run(self, program: str, schedd: str, words: Sequence[str], *, text: str = "", directory: Path | None = None,
             factor: float = 1.0) -> subprocess.CompletedProcess[str]:
        path = find_program(self._options, program)
        if path is None:
            raise ConfigurationError(f"{program} was not found; say where HTCondor's tools are with [htcondor] "
                                     "programs.")
        try:
            return subprocess.run([path, *words], input=text, capture_output=True, text=True, errors="replace",
                                  cwd=directory, env=surroundings(self._options, os.environ), check=False,
                                  timeout=self._options.timeout_seconds * factor)
        except subprocess.TimeoutExpired as problem:
            raise unavailable(self._options, schedd, f"{program} had not ended in time") from problem
        except OSError as problem:
            raise unavailable(self._options, schedd, problem) from problem


def _text(done: subprocess.CompletedProcess[str]) -> str:
    return (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}")[-600:]


def _one_line(text: str) -> str:
    """Reasons are words of a command line; condor_hold takes one that begins with a dash for an option.

    It writes the text into an ad without escaping anything.
    """
    return " ".join(text.split()).replace('"', "'").replace("\\", "/").lstrip("-") or "no reason given"
