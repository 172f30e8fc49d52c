"""Every page under eight readers, on all of the data and on a hundredth of it; statements and size beside it.

The pages are the routes of the application: one that is not measured is an error here, not an omission.
Times are of real HTTP against ``poms serve``; statements are counted in an application of this process.
"""

from __future__ import annotations

import io
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from sqlalchemy import Engine, event

from poms.webservice import app, config
from poms.webservice.handlers.routing import Route
from poms.webservice.testing.bench import clients
from poms.webservice.testing.bench.clients import Request, Timings
from poms.webservice.testing.bench.figures import Budget, Figure, figure
from poms.webservice.testing.bench.places import Place, bare_server, pages_server
from poms.webservice.testing.bench.shape import Landmarks

READERS = 8
BROWSER = (("Accept", "text/html"), ("Accept-Encoding", "gzip"), ("User-Agent", "Mozilla/5.0 (bench)"))
BUDGETS = (Budget("p95_ms", 300), Budget("statements", 12), Budget("kB", 300), Budget("growth", 1.3))

# The same page looked at in other ways; by the name of the route.
VARIANTS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "campaigns": ({}, {"sort": "-held"}, {"view": "all", "text": "mc"}, {"view": "mine"}),
    "campaign_submissions": ({}, {"state": "Located"}, {"before": "half"}),
    "stage_submissions": ({}, {"state": "Located"}, {"text": "set_1"}, {"before": "half"}),
    "submission": ({}, {"sort": "-memory"}, {"state": "Completed"}, {"face": "files", "submission_id": "old"},
                   {"face": "command"}, {"face": "snapshots"}, {"face": "events"}),
    "home": ({}, {"scope": "mine"}),
    "time_bars": ({"campaign_id": "campaign"}, {"campaign_stage_id": "stage"}, {"submission_id": "submission"}),
    "sheet": ({"campaign_id": "campaign"}, {"campaign_stage_id": "stage"}),
    "search": ({"search_term": "mc"},),
    "people": ({}, {"view": "all", "sort": "-seen", "text": "person"}),
}


@dataclass(frozen=True, slots=True)
class Look:
    """One page as it is asked for; ``given`` may name landmarks."""

    route: Route
    given: Mapping[str, Any]

    @property
    def name(self) -> str:
        asked = " ".join(f"{name}={value}" for name, value in self.given.items())
        return f"{self.route.name} {asked}".strip()

    def path(self, landmarks: Landmarks) -> str:
        """Its address on data with these landmarks."""
        values = {name: value_of(name, landmarks) for name, param in self.route.arguments.items() if param.required}
        places = {"old": landmarks.old_submission_id, "half": landmarks.half_submission_id,
                  "campaign": landmarks.campaign_id, "stage": landmarks.stage_id,
                  "submission": landmarks.submission_id}
        values |= {name: places.get(value, value) for name, value in self.given.items()}
        segments = [self.route.words[0], landmarks.experiment, landmarks.role]
        segments += [str(values.pop(name)) for name in self.route.path if name in values]
        return "/poms/" + "/".join(segments) + (f"?{urlencode(values)}" if values else "")


def looks() -> list[Look]:
    """All pages of the application, in all the ways in which they are looked at."""
    routes = [route for group in app.ROUTES for route in group.declared if route.template and not route.changes]
    return [Look(route, given) for route in routes for given in VARIANTS.get(route.name, ({},))]


def value_of(name: str, landmarks: Landmarks) -> Any:
    """What a page is asked about; raises LookupError for an argument that nobody thought of here."""
    known = {"campaign_id": landmarks.campaign_id, "campaign_stage_id": landmarks.stage_id,
             "submission_id": landmarks.submission_id, "batch_id": landmarks.batch_id,
             "experiment": landmarks.experiment, "username": landmarks.username, "login_setup_id": 1,
             "job_type_id": 1, "tag_id": 1, "test_id": 1, "version": 1, "name": landmarks.username}
    if name not in known:
        raise LookupError(f"the benchmark does not know what to ask for as {name}: add it to testing.bench.pages")
    return known[name]


def measure(full: Place, small: Place, *, requests: int = 25, rounds: int = 2) -> Iterator[Figure]:
    """One figure for each page; both databases and the reference take turns, so that all meet the same disturbances."""
    with pages_server(full) as full_address, pages_server(small) as small_address, \
            bare_server(full.url, full.directory) as bare_address, counting(full) as counts:
        for look in looks():
            paths = look.path(full.landmarks), look.path(small.landmarks)
            for address, path in zip((full_address, small_address), paths, strict=True):
                _timed(address, path, 1)
            on_full, on_small, bare = [], [], []
            for _ in range(rounds):
                bare.append(_timed(bare_address, "/page", requests))
                on_full.append(_timed(full_address, paths[0], requests))
                on_small.append(_timed(small_address, paths[1], requests))
            statements, size = counts(paths[0])
            yield _figure(look, clients.merged(on_full), clients.merged(on_small), clients.merged(bare),
                          statements, size)


def _figure(look: Look, full: Timings, small: Timings, bare: Timings, statements: int, size: int) -> Figure:
    growth = statistics.median(full.seconds) / statistics.median(small.seconds)
    return figure(f"page {look.name}", 1000 * statistics.median(full.seconds), "ms", "bare CherryPy page",
                  1000 * statistics.median(bare.seconds), *BUDGETS, p95_ms=1000 * full.percentile(0.95),
                  statements=statements, kB=size / 1000, growth=growth)


def _timed(address: str, path: str, requests: int) -> Timings:
    return clients.ask(address, clients.repeated(Request(path, headers=BROWSER), requests), clients=READERS)


# ----------------------------------------------------------------------- statements, in this process


@contextmanager
def counting(place: Place) -> Iterator[Any]:
    """A function that gives, for a path, the number of SQL statements and the size of the page in bytes."""
    core = app.make_core(config.load(place.write_ini()))
    application = app.build(core)
    try:
        yield lambda path: _count(application, core.db.engine, path)
    finally:
        core.db.close()


def _count(application: Any, engine: Engine, path: str) -> tuple[int, int]:
    statements: list[str] = []

    def listen(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        statements.append(statement)

    status, body = get(application, path)
    event.listen(engine, "before_cursor_execute", listen)
    try:
        status, body = get(application, path)
    finally:
        event.remove(engine, "before_cursor_execute", listen)
    if status != "200 OK":
        raise RuntimeError(f"{path}: {status} {body[:500]!r}")
    return len(statements), len(body)


def get(application: Any, path: str) -> tuple[str, bytes]:
    """A GET of a WSGI application as a browser on this machine sends it; without compression."""
    path, _, query = path.partition("?")
    said: list[str] = []
    environ = {"REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": path, "QUERY_STRING": query,
               "SERVER_NAME": "localhost", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1",
               "HTTP_HOST": "localhost", "HTTP_ACCEPT": "text/html", "HTTP_USER_AGENT": "Mozilla/5.0 (bench)",
               "REMOTE_ADDR": "127.0.0.1", "wsgi.version": (1, 0), "wsgi.url_scheme": "http",
               "wsgi.input": io.BytesIO(), "wsgi.errors": io.StringIO(), "wsgi.multithread": True,
               "wsgi.multiprocess": False, "wsgi.run_once": False}
    answer = application(environ, lambda status, headers, exc_info=None: said.append(status))
    body = b"".join(answer)
    if hasattr(answer, "close"):
        answer.close()
    return said[-1], body
