"""Files that people keep with the service, such as small inputs and credentials: store, list, read, delete.

One directory for each person and experiment. Invariant: a name is one plain word, never a path, and nothing
outside the person's own directory is ever read or written.
"""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from poms.webservice.errors import Conflict, Invalid, NotFound
from poms.webservice.interfaces import OwnFile
from poms.webservice.rules.permissions import Actor
from poms.webservice.services.core import Core

QUOTA_BYTES = 10 * 1024 * 1024
_WORD = re.compile(r"[A-Za-z0-9_+=@%][A-Za-z0-9_.+=@%,:-]{0,199}")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file as lists show it."""

    name: str
    size_bytes: int
    changed_at: datetime


def list_files(core: Core, actor: Actor) -> list[StoredFile]:
    """The files of the actor in the actor's experiment, by name."""
    return _list(_directory(core, actor))


def _list(directory: Path) -> list[StoredFile]:
    if not directory.is_dir():
        return []
    found = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False) and _WORD.fullmatch(entry.name):
                state = entry.stat(follow_symlinks=False)
                found.append(StoredFile(entry.name, state.st_size, datetime.fromtimestamp(state.st_mtime, UTC)))
    return sorted(found, key=lambda file: file.name)


def store(core: Core, actor: Actor, name: str, data: bytes) -> None:
    """Keep a file under the last part of its name; raises Invalid, and Conflict beyond the quota."""
    name = stored_name(name)
    used = sum(file.size_bytes for file in list_files(core, actor) if file.name != name)
    if used + len(data) > QUOTA_BYTES:
        raise Conflict(f"Upload exceeds the quota of {QUOTA_BYTES // 1024} KiB; delete files that you do not need.")
    directory = _directory(core, actor)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Written beside and moved into place: nobody reads half a file.
    with tempfile.NamedTemporaryFile(dir=directory, prefix=".new-", delete=False) as file:
        try:
            file.write(data)
            file.flush()
            Path(file.name).replace(directory / name)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def stored_name(name: str) -> str:
    """The name under which a file is kept: the last part of a path; raises Invalid."""
    return _plain(name.replace("\\", "/").rpartition("/")[2])


def read(core: Core, actor: Actor, name: str) -> bytes:
    """What a file holds; raises NotFound."""
    path = _directory(core, actor) / _plain(name)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        raise NotFound(f"You have no file {name[:200]} here.") from None
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def own_file(core: Core, experiment: str, username: str, name: str) -> OwnFile | None:
    """A file that a person keeps, for a launch of that person; None if there is none of this name."""
    if not all(map(_WORD.fullmatch, (experiment, username, name))):
        return None
    try:
        descriptor = os.open(_place(core, experiment, username) / name, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        return OwnFile(name, file.read(), datetime.fromtimestamp(os.fstat(descriptor).st_mtime, UTC))


def own_names(core: Core, experiment: str, username: str) -> list[str]:
    """The names of all files that a person keeps."""
    # Whose name could be no directory's keeps nothing.
    if not all(map(_WORD.fullmatch, (experiment, username))):
        return []
    return [file.name for file in _list(_place(core, experiment, username))]


def delete(core: Core, actor: Actor, names: list[str]) -> int:
    """Delete files; those that are not there are no matter. Returns how many were."""
    directory, count = _directory(core, actor), 0
    for name in [_plain(one) for one in names]:
        try:
            (directory / name).unlink()
        except FileNotFoundError:
            continue
        count += 1
    return count


def _directory(core: Core, actor: Actor) -> Path:
    return _place(core, _plain(actor.experiment), _plain(actor.username))


def _place(core: Core, experiment: str, username: str) -> Path:
    return core.settings.service.data_dir / "uploads" / experiment / username


def _plain(name: str) -> str:
    if not _WORD.fullmatch(name):
        raise Invalid(f"{name[:100]!r} is no name of a file here: letters, digits and _.+=@%,:- only, and no path.",
                      field="filename")
    return name
