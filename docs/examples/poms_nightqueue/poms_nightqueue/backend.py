"""``NightQueue``: the queue of ``files`` as POMS sees it, one for each experiment.

Invariant: every answer comes from the files, so any number of services may use one queue; files that cannot be
read are BackendUnavailable, never an empty answer.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Literal

from poms.webservice import launch_scripts
from poms.webservice.errors import BackendUnavailable, Invalid, NotFound
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
)
from poms.webservice.rules import shell

from . import files

PIECE_BYTES = 65536
POSSIBLE = {"hold": (files.IDLE, files.RUNNING), "release": (files.HELD,), "remove": files.LIVE}

_JOB_ID = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,6}))?@(.+)", re.ASCII)


class NightQueue:
    """``JobBackend`` on the directory ``nightqueue/<experiment>`` of the service's data directory."""

    def __init__(self, context: PluginContext) -> None:
        self.pool = f"nightqueue:{context.experiment}"
        self._clock = context.clock
        self.spool = files.Spool(context.data_dir.absolute() / "nightqueue" / context.experiment)
        with _answers():
            self.spool.prepare()
            self.spool.set_options(context.options)
            self._name, self._id = (self.spool.identity()[key] for key in ("name", "id"))

    def environment(self, plan: LaunchPlan) -> BatchEnvironment:
        """``night_submit`` on PATH: a few lines that run ``files`` with the service's own Python."""
        words = (sys.executable, "-I", str(Path(files.__file__).resolve()), "submit", str(self.spool.directory))
        text = f'#!/bin/sh\nexec {" ".join(shell.quote(word) for word in words)} "$@"\n'
        program = self.spool.programs / "night_submit"
        with _answers():
            if not program.exists() or program.read_text() != text:
                made = program.with_name(f".night_submit.{plan.submission_id}")
                made.write_text(text)
                made.chmod(0o755)
                made.replace(program)
        return BatchEnvironment(path=(str(self.spool.programs),))

    def submit(self, plan: LaunchPlan, script: str, transport: LaunchTransport, log: BinaryIO,
               timeout_seconds: float) -> SubmitOutcome:
        """The queue decides what was started, not what the script printed."""
        return launch_scripts.submit(plan, script, transport=transport, log=log, timeout_seconds=timeout_seconds,
                                     find=lambda _: self.find(plan.submission_id))

    def find(self, submission_id: int) -> list[FoundCluster]:
        with _answers():
            return [FoundCluster(f"{found['cluster']}@{self._name}", found["jobs"], found["attempt"],
                                 command=found["command"]) for found in self.spool.clusters_of(submission_id)]

    def snapshot(self) -> PoolSnapshot:
        taken_at = self._clock()
        counts = Counter((cluster["submission_id"], facts["state"], facts.get("hold_code"))
                         for cluster, _, facts in self._live())
        with _answers():
            # A keeper that was killed is replaced by the next look at the queue.
            if counts:
                self.spool.ensure_keeper()
        return PoolSnapshot(taken_at, tuple(JobCount(number, JobState(state), count, code)
                                            for (number, state, code), count in counts.items()))

    def departed(self, cursor: str) -> Departures:
        """A cursor is a place in the file of records; one of another queue begins from the oldest."""
        match = re.fullmatch(r"([0-9a-f]+):([0-9]{1,18})", cursor, re.ASCII)
        if cursor and not match:
            raise Invalid(f"{cursor!r} is no cursor of the night queue.")
        start = int(match[2]) if match and match[1] == self._id else 0
        with _answers(), self.spool.departed.open("rb") as file:
            file.seek(start)
            text = file.read()
            whole = text[:text.rfind(b"\n") + 1]
            records = tuple(self._ended(json.loads(line)) for line in whole.splitlines())
        return Departures(records, f"{self._id}:{start + len(whole)}")

    def jobs(self, submission_ids: Collection[int]) -> list[JobRecord]:
        return [self._record(cluster["submission_id"], cluster["cluster"], proc, cluster["memory_mb"], facts)
                for cluster, proc, facts in self._live() if cluster["submission_id"] in submission_ids]

    def act(self, action: Literal["hold", "release", "remove"], selection: JobSelection, reason: str) -> ActResult:
        wanted = [match.groups() for batch_id in selection.batch_ids
                  if (match := _JOB_ID.fullmatch(batch_id)) and match[3] == self._name]
        chosen = {(int(cluster), None if proc is None else int(proc)) for cluster, proc, _ in wanted}
        changing, unchanged = [], 0
        for cluster, proc, facts in self._live():
            number = cluster["cluster"]
            if not (cluster["submission_id"] in selection.submission_ids
                    or (number, None) in chosen or (number, proc) in chosen):
                continue
            if facts["state"] in POSSIBLE[action]:
                changing.append((number, proc))
            else:
                unchanged += 1
        if changing:
            with _answers():
                self.spool.order(action, changing, reason)
                self.spool.ensure_keeper()
        refused = len(selection.batch_ids) - len(wanted)
        return ActResult(len(changing), unchanged, refused,
                         f"{refused} of the jobs named are not of this batch system." if refused else "")

    def fetch_log(self, batch_id: str, which: Literal["stdout", "stderr", "log"]) -> Iterator[bytes]:
        match = _JOB_ID.fullmatch(batch_id)
        if not match or match[3] != self._name or which not in ("stdout", "stderr", "log"):
            raise NotFound(f"Job {batch_id} is not of this batch system.")
        path = self.spool.job_directory(int(match[1]), int(match[2] or 0)) / which
        if not path.is_file():
            raise NotFound(f"Job {batch_id} has no {which}: it has not begun, or its output was removed.")
        return _pieces(path)

    def health(self) -> Health:
        try:
            states = Counter(facts["state"] for _, _, facts in self._live())
        except BackendUnavailable as problem:
            return Health(False, str(problem), self._clock())
        figures = {"idle": states[files.IDLE], "running": states[files.RUNNING], "held": states[files.HELD]}
        words = ", ".join(f"{count} {word}" for word, count in figures.items())
        return Health(True, f"{words}.", self._clock(), figures)

    def _live(self) -> list[tuple[dict[str, Any], int, dict[str, Any]]]:
        """Every job in the queue: its cluster, its number, its facts."""
        with _answers():
            return [(cluster, proc, facts) for cluster in self.spool.live_clusters()
                    for proc in range(cluster["jobs"])
                    if (facts := self.spool.job(cluster, proc))["state"] in files.LIVE]

    def _ended(self, line: Mapping[str, Any]) -> JobRecord:
        cluster = self.spool.cluster(line["cluster"]) or {}
        return self._record(line["submission_id"], line["cluster"], line["proc"], cluster.get("memory_mb"), line)

    def _record(self, submission_id: int, cluster: int, proc: int, memory_mb: int | None,
                facts: Mapping[str, Any]) -> JobRecord:
        return JobRecord(
            submission_id, f"{cluster}.{proc}@{self._name}", JobState(facts["state"]), _moment(facts["since"]),
            site="night", node=facts.get("node", ""), exit_code=facts.get("exit_code"),
            exit_signal=facts.get("exit_signal"), hold_code=facts.get("hold_code"),
            hold_reason=facts.get("hold_reason", ""), cpu_seconds=facts.get("cpu_seconds"),
            wall_seconds=facts.get("wall_seconds"), memory_used_mb=facts.get("memory_used_mb"),
            memory_asked_mb=memory_mb, attempts=facts["attempts"], started_at=_optional(facts.get("started_at")),
            ended_at=_optional(facts.get("ended_at")))


@contextmanager
def _answers() -> Iterator[None]:
    """What the file system or a damaged file does to us is for POMS a system that does not answer."""
    try:
        yield
    except (OSError, ValueError, KeyError) as problem:
        raise BackendUnavailable(f"The night queue cannot be read or written: {problem}") from problem


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _optional(seconds: float | None) -> datetime | None:
    return None if seconds is None else _moment(seconds)


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece
