"""SAM projects of dataset submissions: begun before the jobs are queued, ended after the last has left.

Not for files or definitions (the catalogue's business). Invariant: every project that was begun is known to
the spool before the catalogue is asked, so it is ended also when the submitting program is killed.
"""

from __future__ import annotations

import itertools
import os
import sqlite3
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from typing import TypeVar

from poms.plugins.local.batch import processes
from poms.plugins.local.batch.spool import Spool
from poms.webservice.errors import BackendUnavailable, Invalid

Answer = TypeVar("Answer")
TIMEOUT_SECONDS = 60.0
LONGEST_PAUSE_SECONDS = 300.0
# How long a submit waits for a catalogue that is being restarted before it is refused.
PATIENCE_SECONDS = 120.0


def begin(spool: Spool, *, base_url: str, station: str, name: str, group: str, definition: str, user: str) -> int:
    """Start a project for a definition; its number in the spool. Raises if the catalogue refuses or is silent."""
    if urllib.parse.urlsplit(base_url).scheme not in ("http", "https"):
        raise Invalid(f"SAM_WEB_BASE_URL is {base_url!r}; a dataset needs the address of a SAM service.")
    pid = os.getpid()
    with spool.write() as db:
        number = db.execute(
            "INSERT INTO projects (name, base_url, station, state, owner_pid, owner_started, owner_boot) "
            "VALUES (?, ?, ?, 'starting', ?, ?, ?)",
            (name, base_url, station, pid, processes.start_ticks(pid), processes.boot_identity())).lastrowid
    assert number is not None
    try:
        _patiently(lambda: _require_files(base_url, definition))
        form = {"name": name, "station": station, "group": group, "defname": definition, "username": user}
        tries = itertools.count()
        url = _patiently(lambda: _start(base_url, form, again=next(tries) > 0))
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            raise BackendUnavailable(f"The catalogue answered startProject with {url[:200]!r}, which is no address.")
    except urllib.error.HTTPError as problem:
        raise Invalid(f"Project {name} for {definition} was refused: {_answer(problem)}") from problem
    except (OSError, ValueError) as problem:
        # Only the host: the rest of the address may be a key.
        host = urllib.parse.urlsplit(base_url).netloc
        raise BackendUnavailable(f"The catalogue at {host} did not answer: {problem}.") from problem
    with spool.write() as db:
        db.execute("UPDATE projects SET url = ? WHERE id = ?", (url, number))
    return number


def give_to_cluster(db: sqlite3.Connection, number: int, cluster: int) -> None:
    """From now on the project lasts until this cluster's last job has left."""
    db.execute("UPDATE projects SET state = 'running', cluster = ? WHERE id = ?", (cluster, number))


def list_due(db: sqlite3.Connection, now: float, boot: str) -> list[sqlite3.Row]:
    """Projects to end: all jobs have left, or the program that was to submit the jobs is dead."""
    rows = db.execute(
        "SELECT * FROM projects WHERE state <> 'ended' AND next_try_at <= ? AND "
        "NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.cluster = projects.cluster)", (now,)).fetchall()
    return [row for row in rows if row["state"] == "running" or row["owner_boot"] != boot
            or not processes.is_alive(row["owner_pid"], row["owner_started"])]


def finish(spool: Spool, row: sqlite3.Row) -> None:
    """Have the catalogue end a project; if it does not answer, note when to ask again."""
    try:
        url = row["url"] or _find(row["base_url"], row["name"], row["station"])
        message = _post(f"{url}/endProject", {"force": "1"}).strip() if url else "it was never begun"
    except urllib.error.HTTPError as problem:
        if problem.code in (401, 403, 408, 425, 429) or problem.code >= 500:
            _postpone(spool, row, _answer(problem))
            return
        message = _answer(problem)  # gone, or ended already: an answer all the same
    except (OSError, ValueError) as problem:
        _postpone(spool, row, str(problem))
        return
    with spool.write() as db:
        db.execute("UPDATE projects SET state = 'ended', message = ? WHERE id = ?", (message[:500], row["id"]))


def _postpone(spool: Spool, row: sqlite3.Row, message: str) -> None:
    pause = min(LONGEST_PAUSE_SECONDS, 2.0 ** row["tries"])
    with spool.write() as db:
        db.execute("UPDATE projects SET tries = tries + 1, next_try_at = ?, message = ? WHERE id = ?",
                   (time.time() + pause, message[:500], row["id"]))


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
