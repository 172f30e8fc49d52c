"""One poll of a queue with very many live jobs, against one raw grouped query of the same queue.

The queue is a real one: of a throw-away HTCondor pool where one can be run, else of the local batch system. Its jobs
never run. A poll without news is all that is repeated for as long as jobs live; the first one sees all jobs anew.
What it writes to our own database is told apart: the budget is about the rest.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from sqlalchemy import Engine, update
from sqlalchemy.orm import Session

from poms.webservice import config
from poms.webservice.agent import poll
from poms.webservice.backends import Backends
from poms.webservice.clock import utc_now
from poms.webservice.db import Database, make_engine
from poms.webservice.hookspecs import hookimpl
from poms.webservice.interfaces import Offer
from poms.webservice.model import Submission
from poms.webservice.rules.statuses import Status
from poms.webservice.services import tasks
from poms.webservice.services.core import Core
from poms.webservice.testing.bench import instant, making, queues
from poms.webservice.testing.bench.figures import Budget, Figure, figure
from poms.webservice.testing.bench.places import THREADS, Place, Places, ini_text
from poms.webservice.testing.bench.queues import Queue
from poms.webservice.testing.bench.shape import TINY

SIZES = (1_000, 10_000, 50_000)
FEW = (4, 6)
MOST_JOBS_EACH = 500
ROUNDS = 2 * poll.DEPARTURES_EVERY
WRITING = "writing"
NAME = "watched"
BUDGET = Budget("ratio", 3)
_ASKING = ("snapshot", "departed", "jobs", "find")


def measure(places: Places, batch: str = "auto", *, sizes: Sequence[int] = SIZES) -> Iterator[Figure]:
    """Seconds of a poll with so many live jobs: the first one that sees them, and one without news."""
    place = places.make(replace(TINY, name="polling"))
    with queues.queue(batch, place) as queue, _core(place, queue) as (core, watch):
        backend = core.backends.jobs(place.landmarks.experiment)
        _forget_made_up_jobs(core)
        there, everyone = 0, []
        for size in sizes:
            each = min(MOST_JOBS_EACH, max(1, size // 10))
            numbers = making.add_submissions(core.db.engine, place.landmarks, (size - there) // each, Status.NEW,
                                             now=core.clock(), campaigns=min(100, place.scale.campaigns))
            with core.db.write() as session:
                # As after a launch that was answered; others are looked for one by one.
                session.execute(update(Submission).values(command_executed="made up"))
            queue.fill(backend, numbers, each)
            everyone += numbers
            there += len(numbers) * each
            queue.raw_seconds()
            yield _first_poll(core, queue, watch, there)
            # The budget is about a schedd: SQLite answers in less time than any statement of ours takes.
            yield _poll_without_news(core, queue, watch, there, *([BUDGET] if queue.name == "htcondor" else []))
        queue.empty(backend, everyone)


def _forget_made_up_jobs(core: Core) -> None:
    """The data say that there are live jobs; the queue has none of them, and each poll would look for them."""
    _poll(core)
    with core.db.write() as session:
        session.execute(update(Submission).values(updated=core.clock() - 2 * poll.VANISHED_GRACE))
    _poll(core)


def _first_poll(core: Core, queue: Queue, watch: Watch, there: int) -> Figure:
    raw = queue.raw_seconds()
    watch.clear()
    seconds = _timed(lambda: _poll(core, expected=there))
    return figure(f"poll of {there:,} live jobs, seen anew", seconds, "s", f"raw grouped query of {queue.name}", raw,
                  jobs=there, **{f"seconds_of_{name}": watch[name] for name in _ASKING},
                  seconds_of_our_database=seconds - sum(watch[name] for name in _ASKING))


def _poll_without_news(core: Core, queue: Queue, watch: Watch, there: int, *budgets: Budget) -> Figure:
    """In turns, so that whatever else the machine does meets both; ``mean``: with the cycles that ask who left."""
    rounds: dict[str, list[float]] = defaultdict(list)
    for _ in range(ROUNDS):
        watch.clear()
        seconds = _timed(lambda: _poll(core, expected=there))
        rounds["poll"].append(seconds - watch[WRITING])
        rounds["raw"].append(queue.raw_seconds())
        for name in (*_ASKING[:2], WRITING):
            rounds[f"seconds_of_{name}"].append(watch[name])
    found = {name: statistics.median(seconds) for name, seconds in rounds.items()}
    return figure(f"poll of {there:,} live jobs, no news", found.pop("poll"), "s",
                  f"raw grouped query of {queue.name}", found.pop("raw"), *budgets, jobs=there,
                  mean=statistics.fmean(rounds["poll"]) / statistics.fmean(rounds["raw"]), **found)


def _poll(core: Core, *, expected: int | None = None) -> None:
    """One cycle of the agent's task; raises if it did not see the jobs that are there."""
    experiment = making.BUSY
    lease = tasks.take(core, f"poll:{core.backends.jobs(experiment).pool}", "bench", 3600)
    assert lease is not None
    said = poll.poll(core, lease, [experiment])
    tasks.finish(core, lease, next_at=core.clock(), message=said)
    if expected is not None and not said.startswith(f"{expected:,} live jobs"):
        raise RuntimeError(f"there are {expected:,} live jobs, but the poll says: {said}")


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


# ------------------------------------------------------------------------------------- the batch system


Watch = Counter[str]
"""How many seconds a batch system was asked, by the method; and how many were spent in units of work that write."""


class WatchedDatabase(Database):
    """A database of which is known how long it was written to."""

    def __init__(self, engine: Engine, watch: Watch) -> None:
        super().__init__(engine)
        self._watch = watch

    @contextmanager
    def write(self) -> Iterator[Session]:
        began = time.perf_counter()
        try:
            with super().write() as session:
                yield session
        finally:
            self._watch[WRITING] += time.perf_counter() - began


class Watched:
    """A back end of which is known how long its answers took."""

    def __init__(self, inner: Any, watch: Watch) -> None:
        self._inner, self._watch = inner, watch

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        return self._timing(name, found) if name in _ASKING else found

    def _timing(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def ask(*arguments: Any, **keywords: Any) -> Any:
            began = time.perf_counter()
            try:
                return method(*arguments, **keywords)
            finally:
                self._watch[name] += time.perf_counter() - began

        return ask


class Watching:
    """The plugin that offers a plugin's back end as one that is watched."""

    def __init__(self, plugin: Any) -> None:
        self.watch: Watch = Counter()
        self._offers = plugin.poms_job_backends()

    @hookimpl
    def poms_job_backends(self) -> list[Offer]:
        return [replace(offer, name=NAME, factory=lambda context, offer=offer: Watched(
            offer.factory(context), self.watch)) for offer in self._offers]


@contextmanager
def _core(place: Place, queue: Queue) -> Iterator[tuple[Core, Watch]]:
    """Services whose jobs are in the queue."""
    text = ini_text(place.url, place.directory) + (
        f"[experiment_defaults]\njob_backend = {NAME}\ndata_backend = {instant.NAME}\n"
        f"launch_transport = {instant.NAME}\nbackend_timeout_seconds = 600\n{queue.section}")
    plugin = instant.installed(queue.plugin)
    watching = Watching(plugin)
    backends = Backends(config.parse(text, directory=place.directory),
                        [plugin, watching, instant, *instant.needed_plugins()], clock=utc_now)
    core = Core(WatchedDatabase(make_engine(place.url, pool_size=THREADS), watching.watch), backends,
                backends.settings, utc_now)
    try:
        yield core, watching.watch
    finally:
        backends.close()
        core.db.close()
