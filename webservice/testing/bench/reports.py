"""Status reports that are committed, against rows that a bare CherryPy handler commits in the same database.

Each report changes a status: status, history, event, sums and commit. Both get the same forms, in turns so short that
whatever else the machine does meets both.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from urllib.parse import urlencode

from sqlalchemy import select

from poms.webservice.model import Submission
from poms.webservice.rules.statuses import Status
from poms.webservice.testing.bench import clients
from poms.webservice.testing.bench.clients import Request
from poms.webservice.testing.bench.figures import Budget, Figure, figure
from poms.webservice.testing.bench.places import Place, bare_server, pages_server

BUDGET = Budget("ratio", 0.5, at_least=True)
CLIENTS = (1, 8)
TURNS = 20
MOST_SUBMISSIONS = 5_000
NEXT = {Status.HELD: Status.RUNNING, Status.RUNNING: Status.IDLE, Status.IDLE: Status.HELD}


def measure(place: Place, *, requests: int = 400) -> Iterator[Figure]:
    """Reports per second of one client and of eight; the reference takes turns with the service, one process each."""
    reports = _Reports(place)
    with pages_server(place, processes=1) as address, bare_server(place.url, place.directory) as bare_address:
        for count in CLIENTS:
            ours, theirs = [], []
            for _ in range(TURNS + 1):
                forms = [reports.some(max(1, requests // count // TURNS)) for _ in range(count)]
                ours.append(clients.ask(address, _sending(forms, "/poms/update_submission"), clients=count))
                theirs.append(clients.ask(bare_address, _sending(forms, "/row"), clients=count))
            # The first turn warms both up.
            mine, bare = clients.merged(ours[1:]), clients.merged(theirs[1:])
            yield figure(f"status reports, {count} client{'s' if count > 1 else ''}", mine.per_second, "per second",
                         "bare CherryPy, one row", bare.per_second, BUDGET, p95_ms=1000 * mine.percentile(0.95),
                         ratio_of_medians=bare.percentile(0.5) / mine.percentile(0.5))


def _sending(forms: Sequence[Sequence[str]], path: str) -> Callable[[int], Iterator[Request]]:
    headers = (("User-Agent", "poms_client"),)
    return lambda client: (Request(path, form, expected=b"Ok.", headers=headers) for form in forms[client])


class _Reports:
    """Forms of which each gives another submission a status that it does not have."""

    def __init__(self, place: Place) -> None:
        self._landmarks = place.landmarks
        core = place.core()
        try:
            with core.db.read() as session:
                self._live = deque(session.execute(
                    select(Submission.submission_id, Submission.status_id)
                    .where(Submission.submission_id.in_(place.landmarks.live_submission_ids[:MOST_SUBMISSIONS]))
                    .order_by(Submission.submission_id)))
        finally:
            core.db.close()

    def some(self, count: int) -> list[str]:
        return [self._one(number) for number in range(count)]

    def _one(self, place: int) -> str:
        number, status_id = self._live.popleft()
        said = NEXT.get(Status(status_id), Status.HELD)
        self._live.append((number, int(said)))
        return urlencode({
            "submission_id": number, "status": said.label, "jobsub_job_id": f"{place}@reported.example.org",
            "experiment": self._landmarks.experiment, "role": self._landmarks.role})
