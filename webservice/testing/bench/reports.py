"""Status reports that are committed, against rows that a bare CherryPy handler commits in the same database.

Each report changes a status: lock, status, history, event, sums and commit.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlencode

from poms.webservice.testing.bench import clients
from poms.webservice.testing.bench.clients import Request
from poms.webservice.testing.bench.figures import Budget, Figure, figure
from poms.webservice.testing.bench.places import Place, bare_server, pages_server

BUDGET = Budget("ratio", 0.5, at_least=True)
CLIENTS = (1, 8)
ROUNDS = 3


def measure(place: Place, *, requests: int = 400) -> Iterator[Figure]:
    """Reports per second of one client and of eight; the reference takes turns with the service, one process each."""
    with pages_server(place, processes=1) as address, bare_server(place.url, place.directory) as bare_address:
        for count in CLIENTS:
            ours, theirs = [], []
            each = max(1, requests // count // ROUNDS)
            for turn in range(ROUNDS + 1):
                posts = _Reports(place, count, each, first=turn)
                ours.append(clients.ask(address, posts.to("/poms/update_submission"), clients=count))
                theirs.append(clients.ask(bare_address, posts.to("/row"), clients=count))
            # The first turn warms both up.
            mine, bare = clients.merged(ours[1:]), clients.merged(theirs[1:])
            yield figure(f"status reports, {count} client{'s' if count > 1 else ''}", mine.per_second, "per second",
                         "bare CherryPy, one row", bare.per_second, BUDGET, p95_ms=1000 * mine.percentile(0.95))


class _Reports:
    """Reports of which each says something new; every client has submissions of its own."""

    def __init__(self, place: Place, count: int, each: int, *, first: int) -> None:
        self._landmarks, self._count, self._each, self._first = place.landmarks, count, each, first

    def to(self, path: str):
        return lambda client: self._of(client, path)

    def _of(self, client: int, path: str) -> Iterator[Request]:
        mine = self._landmarks.live_submission_ids[client::self._count]
        headers = (("User-Agent", "poms_client"),)
        for number in range(self._each):
            turn, place = divmod(self._first * self._each + number, len(mine))
            body = urlencode({
                "submission_id": mine[place], "status": ("Held", "Running", "Idle")[turn % 3],
                "jobsub_job_id": f"{turn}@reported.example.org", "experiment": self._landmarks.experiment,
                "role": self._landmarks.role})
            yield Request(path, body, expected=b"Ok.", headers=headers)
