"""The files of launches on this machine: private ones for as long as a script runs, sandboxes for some days.

Invariant: nobody but the service's account can reach them, a name never leaves its directory, and what a launch left
behind (a machine that lost its power) is removed by a later one.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from poms.webservice.errors import BackendUnavailable, Invalid
from poms.webservice.interfaces import FILES_VARIABLE, SANDBOX_VARIABLE, LaunchFiles, PrivateFile
from poms.webservice.rules.naming import is_file_word

log = logging.getLogger(__name__)

PRIVATE, SANDBOX = "private-", "sandbox-"


@dataclass(frozen=True, slots=True)
class Places:
    """Where the files of one launch are; "" where there are none."""

    private: str = ""
    sandbox: str = ""

    def variables(self) -> dict[str, str]:
        """What the script finds in its environment."""
        found = {FILES_VARIABLE: self.private, SANDBOX_VARIABLE: self.sandbox}
        return {name: place for name, place in found.items() if place}


@contextmanager
def placed(root: Path, files: LaunchFiles | None) -> Iterator[Places]:
    """The files of a launch in directories of their own; afterwards the private ones are gone.

    Raises Invalid for a name that is a path, BackendUnavailable if they cannot be written: nothing was started then.
    """
    if files is None:
        yield Places()
        return
    for file in (*files.private, *(files.kept or ())):
        if not is_file_word(file.name):
            raise Invalid(f"{file.name[:100]!r} is no name for a file of a launch; rename it.")
    sweep(root, PRIVATE, older_than_seconds=files.stale_seconds)
    sweep(root, SANDBOX, older_than_seconds=files.keep_seconds)
    made: list[str] = []
    try:
        private = _fill(root, PRIVATE, files.private, made) if files.private else ""
        sandbox = _fill(root, SANDBOX, files.kept, made) if files.kept is not None else ""
    except OSError as problem:
        for directory in made:
            _remove(directory)
        raise BackendUnavailable(f"The files of the launch could not be written below {root}: {problem.strerror}. "
                                 "Nothing was started; make room there.") from problem
    try:
        yield Places(private, sandbox)
    finally:
        if private:
            _remove(private)


def sweep(root: Path, prefix: str, *, older_than_seconds: float) -> int:
    """Remove directories of launches that were made longer ago; returns how many."""
    if not root.is_dir():
        return 0
    before, count = time.time() - older_than_seconds, 0
    with os.scandir(root) as entries:
        old = [entry.path for entry in entries if entry.name.startswith(prefix)
               and entry.is_dir(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_mtime < before]
    for directory in old:
        count += _remove(directory)
    return count


def _fill(root: Path, prefix: str, files: Iterable[PrivateFile], made: list[str]) -> str:
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    root.chmod(0o700)
    directory = tempfile.mkdtemp(prefix=prefix, dir=root)
    made.append(directory)
    for file in files:
        descriptor = os.open(Path(directory) / file.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(file.data)
    return directory


def _remove(directory: str) -> bool:
    """A script may have taken rights away from its own files; what cannot be removed is left to a later sweep."""
    try:
        shutil.rmtree(directory)
    except FileNotFoundError:
        return False
    except OSError as problem:
        log.warning("files of a launch not removed", extra={"directory": directory, "reason": str(problem)})
        return False
    return True
