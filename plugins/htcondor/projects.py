"""SAM projects of dataset submissions: begun before the jobs are queued, ended after the last has left the queue.

Not for files or definitions (the catalogue's business). Invariant: every project that was begun is on disk before
the catalogue is asked, so it is ended also when the submitting program is killed.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from poms.webservice.errors import BackendUnavailable, Invalid

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 60.0
LONGEST_PAUSE_SECONDS = 300.0
SUBMIT_SECONDS = 3600.0
"""A submitting program on another host, whose life cannot be seen from here, is taken for dead after so long."""


def begin(directory: Path, *, base_url: str, station: str, name: str, group: str, definition: str, user: str) -> Path:
    """Start a project for a definition; its record. Raises if the catalogue refuses or is silent."""
    if urllib.parse.urlsplit(base_url).scheme not in ("http", "https"):
        raise Invalid(f"SAM_WEB_BASE_URL is {base_url!r}; a dataset needs the address of a SAM service.")
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{uuid.uuid4().hex}.json"
    document = {"name": name, "station": station, "base_url": base_url, "url": "", "submitted": False,
                "host": socket.gethostname(), "pid": os.getpid(), "began": _start_of(os.getpid()), "at": time.time(),
                "tries": 0, "next_try": 0.0}
    _write(path, document)
    try:
        _require_files(base_url, definition)
        url = _post(f"{base_url.rstrip('/')}/startProject", {
            "name": name, "station": station, "group": group, "defname": definition, "username": user}).strip()
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            raise BackendUnavailable(f"The catalogue answered startProject with {url[:200]!r}, which is no address.")
    except urllib.error.HTTPError as problem:
        raise Invalid(f"Project {name} for {definition} was refused: {_answer(problem)}") from problem
    except (OSError, ValueError) as problem:
        raise BackendUnavailable(f"The catalogue at {base_url} did not answer: {problem}.") from problem
    _write(path, {**document, "url": url})
    return path


def mark_submitted(path: Path) -> None:
    """From now on the project lasts as long as jobs with its name are in a queue."""
    _write(path, {**json.loads(path.read_text()), "submitted": True})


def has_open(directory: Path) -> bool:
    return directory.is_dir() and any(directory.glob("*.json"))


def end_due(directory: Path, live: Callable[[Collection[str]], set[str]]) -> int:
    """End the projects none of whose jobs are left; ``live`` tells which of some names still have jobs."""
    with _alone(directory) as first:
        if not first:
            return 0
        due = {}
        for path in sorted(directory.glob("*.json")):
            document = json.loads(path.read_text())
            if document["next_try"] <= time.time() and (document["submitted"] or not _is_submitting(document)):
                due[path] = document
        if not due:
            return 0
        busy = live({document["name"] for document in due.values()})
        return sum(_finish(path, document) for path, document in due.items() if document["name"] not in busy)


@contextmanager
def _alone(directory: Path) -> Iterator[bool]:
    """Whether nobody else is ending projects just now."""
    with (directory / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _is_submitting(document: Mapping[str, Any]) -> bool:
    if document["host"] != socket.gethostname():
        return time.time() - document["at"] < SUBMIT_SECONDS
    return document["began"] is not None and _start_of(document["pid"]) == document["began"]


def _start_of(pid: int) -> str | None:
    """When a process began, in ticks since boot: with its number, who it is. None if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def _finish(path: Path, document: dict[str, Any]) -> int:
    try:
        url = document["url"] or _find(document["base_url"], document["name"], document["station"])
        message = _post(f"{url}/endProject", {"force": "1"}).strip() if url else "it was never begun"
    except urllib.error.HTTPError as problem:
        if problem.code in (401, 403, 408, 425, 429) or problem.code >= 500:
            return _postpone(path, document, _answer(problem))
        message = _answer(problem)  # gone, or ended already: an answer all the same
    except (OSError, ValueError) as problem:
        return _postpone(path, document, str(problem))
    log.info("project ended", extra={"project": document["name"], "answer": message[:200]})
    path.unlink()
    return 1


def _postpone(path: Path, document: dict[str, Any], message: str) -> int:
    tries = document["tries"] + 1
    log.warning("a project could not be ended yet", extra={"project": document["name"], "reason": message[:500]})
    _write(path, {**document, "tries": tries, "next_try": time.time() + min(LONGEST_PAUSE_SECONDS, 2.0 ** tries)})
    return 0


def _write(path: Path, document: Mapping[str, Any]) -> None:
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    with temporary.open("w") as file:
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


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


def _answer(problem: urllib.error.HTTPError) -> str:
    return f"HTTP {problem.code}: {problem.read(2000).decode(errors='replace').strip()}"
