"""Clients over real HTTP: connections that stay open, each waiting for its answer before the next request."""

from __future__ import annotations

import contextlib
import http.client
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field


@dataclass
class Timings:
    """How long each answer took, in seconds, and how long all of it took."""

    seconds: list[float] = field(default_factory=list)
    wall_seconds: float = 0.0

    def percentile(self, share: float) -> float:
        ordered = sorted(self.seconds)
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)]

    @property
    def per_second(self) -> float:
        return len(self.seconds) / self.wall_seconds


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent; ``body`` makes it a POST. The answer must begin with ``expected``, if that is given."""

    path: str
    body: str | None = None
    expected: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


def ask(address: str, requests: Callable[[int], Iterator[Request]], *, clients: int) -> Timings:
    """Let ``clients`` send what ``requests(client)`` gives, all at once; raises for an answer that is not 200."""
    timings, errors = Timings(), []
    start = threading.Barrier(clients + 1)

    def work(number: int) -> None:
        try:
            connection = http.client.HTTPConnection(address, timeout=60)
            connection.connect()
            mine = list(requests(number))
            start.wait()
            timings.seconds.extend([_one(connection, request) for request in mine])
            connection.close()
        except BaseException as error:  # noqa: B036 - told to whoever waits for the clients
            errors.append(error)
            start.abort()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    with contextlib.suppress(threading.BrokenBarrierError):
        start.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    timings.wall_seconds = time.perf_counter() - began
    if errors:
        raise errors[0]
    return timings


def _one(connection: http.client.HTTPConnection, request: Request) -> float:
    headers = dict(request.headers)
    if request.body is not None:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    began = time.perf_counter()
    connection.request("GET" if request.body is None else "POST", request.path, request.body, headers)
    answer = connection.getresponse()
    content = answer.read()
    taken = time.perf_counter() - began
    if answer.status != 200 or not content.startswith(request.expected):
        raise RuntimeError(f"{request.path}: {answer.status} {content[:500]!r}")
    return taken


def repeated(request: Request, times: int) -> Callable[[int], Iterator[Request]]:
    """The same request again and again, for every client."""
    return lambda _client: iter([request] * times)


def merged(parts: Sequence[Timings]) -> Timings:
    """Several rounds of the same thing as one."""
    return Timings([seconds for part in parts for seconds in part.seconds], sum(part.wall_seconds for part in parts))
