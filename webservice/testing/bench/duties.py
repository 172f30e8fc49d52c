"""What agents do in bulk: wrap-up of submissions whose jobs have ended, and launches that are due.

Each agent is a process of its own (``work``), so that its memory can be told and several can compete.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import func, select, text

from poms.webservice.agent.launcher import SETTLED_TOGETHER
from poms.webservice.model import Launch, Submission
from poms.webservice.rules.statuses import Status
from poms.webservice.services import launches, launching, wrapup
from poms.webservice.testing.bench import making, starts
from poms.webservice.testing.bench.bulk import loading
from poms.webservice.testing.bench.figures import Budget, Figure, figure
from poms.webservice.testing.bench.memory import highest_memory
from poms.webservice.testing.bench.places import Place, core_of, run_module

CLAIM_AT_ONCE = 4
"""As many as an agent has workers."""

AGENTS = 2


def measure_wrapup(place: Place, *, count: int = 10_000) -> Iterator[Figure]:
    """One pass over ``count`` Completed submissions; every one gets what is owed because of it."""
    core = place.core()
    try:
        numbers = making.add_submissions(core.db.engine, place.landmarks, count, Status.COMPLETED, now=core.clock(),
                                         campaigns=min(20, place.scale.campaigns),
                                         snapshot={"completion_type": "complete"})
        before = _count(core, Launch.state == "owed")
        (said,) = _agents(place, 1, "wrap up")
        located = _count(core, Submission.submission_id.in_(numbers), Submission.status_id == int(Status.LOCATED))
        if located != count:
            raise RuntimeError(f"{located} of {count} submissions became Located: {said['said']}")
        owed = _count(core, Launch.state == "owed") - before
        raw = _raw_wrapup(core, numbers, owed)
        yield figure(f"wrap-up of {count:,}", said["seconds"], "s", "raw UPDATE and INSERTs of the same rows", raw,
                     Budget("absolute", 60), Budget("MB", 300), MB=said["megabytes"], owed_launches=owed)
    finally:
        core.db.close()


def measure_claims(place: Place, *, count: int = 1_000) -> Iterator[Figure]:
    """``count`` launches that are due: how soon two agents have claimed each, queued each, and started its jobs.

    Starting real jobs takes as long as their launch scripts do, so a small ``count`` starts a few only.
    """
    core = place.core()
    try:
        for word, budget in (("claim", None), ("queue", Budget("seconds", 5))):
            _clear_owed(core)
            _add_owed(core, place, count)
            said = _agents(place, AGENTS, word)
            taken = [number for each in said for number in each["launches"]]
            if sorted(set(taken)) != sorted(taken) or len(taken) != count:
                raise RuntimeError(f"{len(taken)} launches were taken, {len(set(taken))} different ones, of {count}")
            seconds = max(each["seconds"] for each in said)
            yield figure(f"launches {word}ed by {AGENTS} agents".replace("eed", "ed"), count / seconds, "per second",
                         "raw UPDATE one by one", count / _raw_updates(core, taken), *([budget] if budget else []),
                         seconds=seconds, processor_seconds=sum(each["processor_seconds"] for each in said),
                         twice=len(taken) - len(set(taken)))
    finally:
        core.db.close()
    yield from starts.measure(place, count=count if count >= 1_000 else 4)


def _count(core: Any, *where: Any) -> int:
    with core.db.read() as session:
        return int(session.scalar(select(func.count()).where(*where)) or 0)


def _add_owed(core: Any, place: Place, count: int) -> None:
    """Owed launches of the stages of one campaign in ten, as wrap-ups leave them."""
    landmarks, now = place.landmarks, core.clock()
    stages = [stage for stage in range(1, place.scale.stages + 1)
              if ((stage - 1) // len(making.STAGES) + 1) % 10][:400]
    with loading(core.db.engine) as loader:
        first = loader.highest(Launch.launch_id) + 1
        rows = []
        for number in range(first, first + count):
            stage = stages[number % len(stages)]
            request = launching.LaunchRequest(stage, f"bench:{number}", "dependency", dataset_override=f"set_{number}",
                                              depends_on=landmarks.old_submission_id)
            rows.append((number, request.key, request.kind, "owed", landmarks.experiment,
                         (stage - 1) // len(making.STAGES) + 1, stage, landmarks.old_submission_id, 1,
                         request.to_document(), now, 0, 0, 0, now))
        loader.load(Launch, ("launch_id", "key", "kind", "state", "experiment", "campaign_id", "campaign_stage_id",
                             "parent_submission_id", "launcher", "request", "not_before", "lease_epoch", "attempt",
                             "failures", "created"), rows)


def _clear_owed(core: Any) -> None:
    with core.db.write() as session:
        session.execute(text("UPDATE launches SET state = 'cancelled' WHERE state IN ('owed', 'queued')"))


def _raw_updates(core: Any, numbers: Sequence[int]) -> float:
    """What the database needs to take each launch, one transaction each."""
    statement = text("UPDATE launches SET lease_epoch = lease_epoch + 1 WHERE launch_id = :number")
    began = time.perf_counter()
    for number in numbers:
        with core.db.engine.begin() as connection:
            connection.execute(statement, {"number": number})
    return time.perf_counter() - began


def _raw_wrapup(core: Any, numbers: Sequence[int], owed: int) -> float:
    began = time.perf_counter()
    first, last = numbers[0], numbers[-1]
    with core.db.write() as session:
        session.execute(text("UPDATE submissions SET wrapup_message = 'raw', status_since = updated "
                             "WHERE submission_id BETWEEN :first AND :last"), {"first": first, "last": last})
        session.execute(text(
            "INSERT INTO submission_histories (submission_id, status_id, created, actor, reason) SELECT submission_id, "
            "status_id, updated, 'bench', '' FROM submissions WHERE submission_id BETWEEN :first AND :last"),
            {"first": first, "last": last})
        session.execute(text(
            "INSERT INTO events (at, kind, actor, experiment, campaign_id, campaign_stage_id, submission_id) "
            "SELECT updated, 'submission.status', 'bench', experiment, campaign_id, campaign_stage_id, submission_id "
            "FROM submissions WHERE submission_id BETWEEN :first AND :last"), {"first": first, "last": last})
        session.execute(text(
            "INSERT INTO launches (key, kind, state, experiment, campaign_id, campaign_stage_id, launcher, request, "
            "not_before, created) SELECT 'raw:' || submission_id, 'dependency', 'cancelled', experiment, campaign_id, "
            "campaign_stage_id, creator, '{}', updated, updated FROM submissions "
            "WHERE submission_id BETWEEN :first AND :last ORDER BY submission_id LIMIT :owed"),
            {"first": first, "last": last, "owed": owed})
    return time.perf_counter() - began


# ----------------------------------------------------------------------------------- agents' processes


def _agents(place: Place, number: int, word: str) -> list[dict[str, Any]]:
    """Let agents begin at the same moment; what each says at its end."""
    started = [run_module("poms.webservice.testing.bench.duties",
                          [word, place.url, str(place.directory), place.landmarks.experiment, f"agent{index}"])
               for index in range(number)]
    for process in started:
        assert process.stdout is not None
        process.stdout.readline()
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = []
    for process in started:
        output, _ = process.communicate(timeout=1800)
        if process.returncode:
            raise RuntimeError(f"an agent of the benchmark ended with {process.returncode}")
        said.append(json.loads(output))
    return said


def work(word: str, url: str, directory: str, experiment: str, name: str) -> dict[str, Any]:
    """What one agent does; ``word`` is ``wrap up``, ``claim`` or ``queue``."""
    core = core_of(url, Path(directory))
    core.backends.data(experiment).health()
    print("ready", flush=True)
    sys.stdin.readline()
    began, worked = time.perf_counter(), time.process_time()
    taken: list[int] = []
    said = ""
    if word == "wrap up":
        said = wrapup.run(core, experiment)
    elif word == "claim":
        while claimed := launches.claim(core, name, CLAIM_AT_ONCE):
            taken += [each.launch_id for each in claimed]
    else:
        while claimed := launches.claim(core, name, SETTLED_TOGETHER, owed_in=experiment):
            for each in launches.settle(core, claimed):
                launching.settle_owed(core, each.launch_id, each.epoch)
            taken += [each.launch_id for each in claimed]
    seconds = time.perf_counter() - began
    core.db.close()
    return {"seconds": seconds, "processor_seconds": time.process_time() - worked,
            "launches": taken, "said": said, "megabytes": highest_memory()}


if __name__ == "__main__":
    print(json.dumps(work(*sys.argv[1:])))
