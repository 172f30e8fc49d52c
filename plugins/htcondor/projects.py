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
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from poms.webservice import sam_projects
from poms.webservice.errors import BackendUnavailable
from poms.webservice.sam_projects import ProjectRequest

log = logging.getLogger(__name__)

LONGEST_PAUSE_SECONDS = 300.0
SUBMIT_SECONDS = 3600.0
"""A submitting program on another host, whose life cannot be seen from here, is taken for dead after so long."""


def begin(directory: Path, base_url: str, wanted: ProjectRequest) -> Path:
    """Start a project for a definition; its record. Raises if the catalogue refuses or is silent."""
    sam_projects.require_address(base_url)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{uuid.uuid4().hex}.json"
    document = {"name": wanted.name, "station": wanted.station, "base_url": base_url, "url": "", "submitted": False,
                "host": socket.gethostname(), "pid": os.getpid(), "began": _start_of(os.getpid()), "at": time.time(),
                "tries": 0, "next_try": 0.0}
    _write(path, document)
    url = sam_projects.begin(base_url, wanted)
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
        message = sam_projects.end(document["base_url"], document["name"], document["station"], document["url"])
    except BackendUnavailable as silent:
        return _postpone(path, document, str(silent))
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
    # The catalogue's address may hold a key.
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
