"""What a job wrote, by jobsub_fetchlog: from the log service, or from the schedd while the job is in its queue.

Not kept here: each call fetches into a directory of its own and removes it when it was read. Invariant: an archive is
somebody else's; only plain files in it are read, through no symbolic link.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from poms.plugins.jobsub import commands
from poms.plugins.jobsub.options import JobsubOptions
from poms.webservice.errors import BackendUnavailable, NotFound

PIECE_BYTES = 65536
Which = Literal["stdout", "stderr", "log"]
_SUFFIX: dict[Which, str] = {"stdout": "out", "stderr": "err", "log": "log"}
_ABSENT = re.compile(r"\b404\b|[Nn]ot [Ff]ound|no such job|Couldn't find|IndexError|"
                     # The schedd has no output of a job that still runs.
                     r"reading from file \S*/spool/.*No such file or directory")


def open_log(options: JobsubOptions, directory: Path, job: tuple[int, int, str], which: Which,
             role: str) -> Iterator[bytes]:
    """The pieces of what a job wrote; raises NotFound at once if there is nothing (any more)."""
    cluster, proc, schedd = job
    name = f"{cluster}.{proc}@{schedd}"
    directory.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix=f"{cluster}.{proc}-", dir=directory))
    try:
        words = ["-G", options.group, "--role", role, "--jobid", name, "--destdir", str(place)]
        if which != "log":
            words.append("--partial")
        if options.fetch_logs_from == "condor":
            words.append("--condor")
        said = commands.run(options, "jobsub_fetchlog", words, role=role, directory=place)
        path = _file(place, cluster, proc, _SUFFIX[which])
        if path is None:
            raise _absence(said, name, which)
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    # The file stays readable by its descriptor, whatever becomes of the reader.
    shutil.rmtree(place, ignore_errors=True)
    return _pieces(descriptor)


def _file(place: Path, cluster: int, proc: int, suffix: str) -> Path | None:
    """jobsub calls them EXECUTABLE, date, a number, ``cluster.12.0`` and what it is."""
    ending = re.compile(rf"(?:\A|\D){cluster}\.{proc}\.{suffix}\Z")
    found = [path for path in sorted(place.rglob(f"*.{suffix}"))
             if ending.search(path.name) and path.is_file() and not path.is_symlink()]
    return found[0] if found else None


def _absence(said: commands.Said, name: str, which: str) -> Exception:
    if said.is_denied:
        return BackendUnavailable(f"The log of job {name} may not be fetched with the service's token: "
                                  f"{said.complaint}")
    if said.complaint and not _ABSENT.search(said.text):
        return BackendUnavailable(f"jobsub_fetchlog failed for job {name}: {said.complaint}")
    return NotFound(f"Job {name} has no {which}: it has not begun to run, or what it wrote is not kept any more.")


def _pieces(descriptor: int) -> Iterator[bytes]:
    with os.fdopen(descriptor, "rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece
