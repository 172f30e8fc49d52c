"""Beginning and ending SAM projects over HTTP, for batch systems whose jobs read a dataset.

Offered to every plugin. Not for files or definitions (the catalogue's business), nor for remembering which
project is whose (each batch system's own). Invariant: the catalogue's address, which may hold a key, is in no message.
"""

from __future__ import annotations

import itertools
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from poms.webservice.errors import BackendUnavailable, Invalid

Answer = TypeVar("Answer")

TIMEOUT_SECONDS = 60.0
PATIENCE_SECONDS = 120.0
"""How long a submit waits for a catalogue that is being restarted before it is refused."""

# An answer like these may be another one later; any other refusal lasts.
_PASSING = frozenset({401, 403, 408, 425, 429})


@dataclass(frozen=True, slots=True)
class ProjectRequest:
    """A project to begin: delivery of a definition's files to the jobs of one submission."""

    name: str
    station: str
    group: str
    definition: str
    user: str


def wanted_by(environment: Mapping[str, str], *, definition: str, name: str, group: str, user: str) -> ProjectRequest:
    """The project of a submit command, by the variables around it; without a name it gets one of its own."""
    return ProjectRequest(name=name or environment.get("SAM_PROJECT") or f"{definition}_{user}_{uuid.uuid4()}",
                          station=environment.get("SAM_STATION") or group,
                          group=environment.get("SAM_GROUP") or group, definition=definition, user=user)


def variables(wanted: ProjectRequest, base_url: str) -> dict[str, str]:
    """What jobs are told of their project."""
    return {"SAM_PROJECT": wanted.name, "SAM_PROJECT_NAME": wanted.name, "SAM_DATASET": wanted.definition,
            "SAM_STATION": wanted.station, "SAM_USER": wanted.user, "SAM_GROUP": wanted.group,
            "SAM_WEB_BASE_URL": base_url}


def require_address(base_url: str) -> None:
    """Raises Invalid unless this can be the address of a SAM service."""
    if urllib.parse.urlsplit(base_url).scheme not in ("http", "https"):
        raise Invalid(f"SAM_WEB_BASE_URL is {base_url!r}; a dataset needs the address of a SAM service.")


def begin(base_url: str, wanted: ProjectRequest) -> str:
    """The address of the project, begun now. Raises Invalid if it is refused, BackendUnavailable if nobody answers."""
    require_address(base_url)
    form = {"name": wanted.name, "station": wanted.station, "group": wanted.group, "defname": wanted.definition,
            "username": wanted.user}
    tries = itertools.count()
    try:
        _patiently(lambda: _require_files(base_url, wanted.definition))
        url = _patiently(lambda: _start(base_url, form, again=next(tries) > 0))
    except urllib.error.HTTPError as problem:
        raise Invalid(f"Project {wanted.name} for {wanted.definition} was refused: {_words(problem)}") from problem
    except (OSError, ValueError) as problem:
        host = urllib.parse.urlsplit(base_url).netloc
        raise BackendUnavailable(f"The catalogue at {host} did not answer: {problem}.") from problem
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise BackendUnavailable(f"The catalogue answered startProject with {url[:200]!r}, which is no address.")
    return url


def end(base_url: str, name: str, station: str, url: str = "") -> str:
    """Have the project ended; what the catalogue said. ``url`` "" : the answer to its beginning was lost.

    A lasting refusal is an answer too (ended already, never begun). Raises BackendUnavailable: ask again later.
    """
    try:
        url = url or _find(base_url, name, station)
        return _post(f"{url}/endProject", {"force": "1"}).strip() if url else "it was never begun"
    except urllib.error.HTTPError as problem:
        if problem.code in _PASSING or problem.code >= 500:
            raise BackendUnavailable(_words(problem)) from problem
        return _words(problem)
    except (OSError, ValueError) as problem:
        raise BackendUnavailable(str(problem)) from problem


def _patiently(ask: Callable[[], Answer]) -> Answer:
    """Ask again, with growing pauses, while the catalogue is away or answers that it cannot just now."""
    deadline, pause = time.monotonic() + PATIENCE_SECONDS, 0.2
    while True:
        try:
            return ask()
        except OSError as problem:
            lasting = isinstance(problem, urllib.error.HTTPError) and problem.code < 500
            if lasting or time.monotonic() + pause > deadline:
                raise
        time.sleep(pause)
        pause = min(5.0, 2 * pause)


def _start(base_url: str, form: Mapping[str, str], *, again: bool) -> str:
    """The project's address.

    On a second try it may exist because the first answer was lost: then it is ours. On the first it is another's.
    """
    try:
        return _post(f"{base_url.rstrip('/')}/startProject", form).strip()
    except urllib.error.HTTPError as problem:
        found = _find(base_url, form["name"], form["station"]) if again and problem.code == 409 else ""
        if not found:
            raise
        return found


def _require_files(base_url: str, definition: str) -> None:
    """Refuse a definition without files before a project is made for it."""
    name = urllib.parse.quote(definition, safe="")
    answer = _open(urllib.request.Request(f"{base_url.rstrip('/')}/definitions/name/{name}/files/count")).strip()
    if not answer.isdigit():
        raise BackendUnavailable(f"The catalogue answered the file count of {definition} with {answer[:200]!r}.")
    if int(answer) == 0:
        raise Invalid(f"Dataset definition {definition} has no files; nothing was submitted.")


def _find(base_url: str, name: str, station: str) -> str:
    query = urllib.parse.urlencode({"name": name, "station": station})
    try:
        return _open(urllib.request.Request(f"{base_url.rstrip('/')}/findProject?{query}")).strip()
    except urllib.error.HTTPError as problem:
        if problem.code == 404:
            return ""
        raise


def _post(url: str, form: Mapping[str, str]) -> str:
    return _open(urllib.request.Request(url, data=urllib.parse.urlencode(form).encode()))


def _open(request: urllib.request.Request) -> str:
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
        return answer.read(1_000_000).decode(errors="replace")


def _words(problem: urllib.error.HTTPError) -> str:
    return f"HTTP {problem.code}: {problem.read(2000).decode(errors='replace').strip()}"
