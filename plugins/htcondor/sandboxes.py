"""Where the files of submitted jobs are, and the text that jobs wrote, whether here or still at the schedd.

Not for submitting. Invariant: only files below the service's own directory are ever read or written, whatever an ad
says; what a job's owner put there is read through no symbolic link.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from poms.plugins.htcondor import ads
from poms.plugins.htcondor.access import Access, Row
from poms.webservice.errors import NotFound

PIECE_BYTES = 65536
Which = Literal["stdout", "stderr", "log"]
_NAMES: dict[Which, str] = {"stdout": "out", "stderr": "err", "log": "log"}
_PLACE_ATTRIBUTES = ["ClusterId", "ProcId", "JobStatus", "SUBMIT_Iwd", "Iwd"]


def register(directory: Path, cluster: int, schedd: str, place: Path) -> None:
    """Remember where a cluster's files are, for when no ad tells it any more."""
    index = _index(directory, cluster, schedd)
    index.parent.mkdir(parents=True, exist_ok=True)
    temporary = index.with_name(f".{uuid.uuid4().hex}")
    temporary.symlink_to(place)
    # A schedd that was set up anew counts its clusters from 1 again: the latest is meant.
    temporary.replace(index)
    (place / "cluster").write_text(f"{cluster}@{schedd}")


def clean(access: Access, directory: Path, before: float) -> int:
    """Remove the files of clusters that were submitted before a moment and have left the queue; counts them."""
    old: dict[str, dict[int, Path]] = {}
    for place in (directory / "sandboxes").glob("*"):
        try:
            if place.stat().st_mtime < before:
                name = place / "cluster"
                cluster, _, schedd = name.read_text().partition("@") if name.exists() else ("-1", "", "")
                old.setdefault(schedd, {})[int(cluster)] = place
        except FileNotFoundError:
            continue  # Another process is cleaning as well.
    removed = 0
    for schedd, places in old.items():
        numbers = [cluster for cluster in places if cluster >= 0]
        queued = {row["ClusterId"] for row in access.query(
            schedd, ads.of_jobs([(number, None) for number in numbers]), ["ClusterId"])} if numbers else set()
        for cluster, place in places.items():
            if cluster not in queued:
                shutil.rmtree(place, ignore_errors=True)
                _index(directory, cluster, schedd).unlink(missing_ok=True)
                removed += 1
    return removed


def _index(directory: Path, cluster: int, schedd: str) -> Path:
    return directory / "clusters" / quote(schedd, safe="@") / str(cluster)


def open_log(access: Access, directory: Path, batch_id: str, which: Which) -> Iterator[bytes]:
    """The pieces of what a job wrote; raises NotFound at once if there is nothing (any more)."""
    cluster, proc, schedd = ads.parse_job_id(batch_id)
    proc = proc or 0
    row = _live(access, schedd, cluster, proc)
    place = _place(directory, cluster, schedd, row)
    if place is None:
        raise NotFound(f"Job {batch_id} was not submitted by this service, or its files were removed.")
    if row is not None and row.get("JobStatus") in (2, 6, 7) and which != "log":
        return iter([access.tail(schedd, cluster, proc, errors=which == "stderr")])
    if row is not None and row.get("SUBMIT_Iwd"):
        # Spooled: the schedd has the files, and brings them to where they were submitted from.
        _bring(access, schedd, cluster, proc, row)
    path = place / f"{_NAMES[which]}.{proc}"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        raise NotFound(f"Job {batch_id} has no {which}: it has not begun to run, or its files were removed.") from None
    return _pieces(descriptor)


def _bring(access: Access, schedd: str, cluster: int, proc: int, row: Row) -> None:
    job = ads.of_jobs([(cluster, proc)])
    if row["JobStatus"] == 4:
        # At its end a job lists the files it sent back; some versions leave stdout and stderr out.
        names = ",".join(f"{name}.{proc}" for name in ("out", "err"))
        access.edit(schedd, job, "SpooledOutputFiles", ads.quote(names))
    access.retrieve(schedd, job)


def _live(access: Access, schedd: str, cluster: int, proc: int) -> Row | None:
    rows = access.query(schedd, f"ClusterId == {cluster} && ProcId == {proc}", _PLACE_ATTRIBUTES)
    return rows[0] if rows else None


def _place(directory: Path, cluster: int, schedd: str, row: Row | None) -> Path | None:
    """The job's directory, if it is one of ours."""
    ours = (directory / "sandboxes").resolve()
    index = _index(directory, cluster, schedd)
    known = index.readlink() if index.is_symlink() else None
    if row is not None:
        told = row.get("SUBMIT_Iwd") or row.get("Iwd")
        # The submitting program may have been killed before it remembered; and only what an ad says is brought back.
        known = Path(told) if isinstance(told, str) else None
    if known is None or not known.resolve().is_relative_to(ours) or known.resolve() == ours:
        return None
    return known if known.is_dir() else None


def _pieces(descriptor: int) -> Iterator[bytes]:
    with os.fdopen(descriptor, "rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece
