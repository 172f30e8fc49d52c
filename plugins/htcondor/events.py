"""A schedd's EVENT_LOG as a second source of departures, for where the history rotates faster than it is read.

Reads the "ad information" events that EVENT_LOG_JOB_AD_INFORMATION_ATTRS makes the schedd write after each event;
events without them are skipped. Invariant: a position moves over whole events only, and follows a file through
rotation by the identity in its header; if the file is gone, all that is left is read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from poms.plugins.htcondor import ads
from poms.webservice.errors import BackendUnavailable
from poms.webservice.interfaces import JobRecord, JobState

_HEADER = re.compile(rb"id=(\S+).*?sequence=(\d+)")
_ATTRIBUTE = re.compile(r"([A-Za-z_]\w*) = (.*)\Z", re.DOTALL)
_ESCAPE = re.compile(r"\\([0-7]{3}|.)")
_TERMINATED, _ABORTED = 5, 9
LIMIT_BYTES = 64_000_000


@dataclass(frozen=True, slots=True)
class Feed:
    """What was new: ended jobs, the position for next time, and whether something in between is gone."""

    records: tuple[JobRecord, ...]
    position: list[Any]
    gap: bool


def read(path: Path, position: list[Any] | None) -> Feed:
    """Ended jobs since ``position`` (None: since the oldest file that is left)."""
    try:
        files = _files(path)
        if not files:
            raise BackendUnavailable(f"The event log {path} does not exist; correct [htcondor] event_log.")
        identities = [_identity(file) for file in files]
        gap = False
        if position and position[0] in identities:
            start = identities.index(position[0])
            offset = int(position[1])
        else:
            start, offset, gap = 0, 0, bool(position)
        records: list[JobRecord] = []
        reached = [identities[start], offset]
        budget = LIMIT_BYTES
        for file, identity in zip(files[start:], identities[start:], strict=True):
            with file.open("rb") as stream:
                if _identity_of(stream) != identity:
                    break  # Rotated just now: the next look finds it under its new name.
                stream.seek(offset)
                records += _ended(stream, budget)
                reached = [identity, stream.tell()]
                budget -= stream.tell() - offset
            offset = 0
            if budget <= 0:
                break
    except OSError as problem:
        raise BackendUnavailable(f"The event log {path} cannot be read: {problem}.") from problem
    return Feed(tuple(records), reached, gap)


def _files(path: Path) -> list[Path]:
    """The log and its rotated predecessors, oldest first."""
    found = [file for file in path.parent.iterdir()
             if file.name == path.name or re.fullmatch(re.escape(path.name) + r"\.(old|\d+)", file.name)]
    return sorted(found, key=lambda file: _age(file.name[len(path.name) + 1:]), reverse=True)


def _age(suffix: str) -> int:
    return int(suffix) if suffix.isdigit() else 1 if suffix else 0


def _identity(file: Path) -> str:
    with file.open("rb") as stream:
        return _identity_of(stream)


def _identity_of(stream: BinaryIO) -> str:
    """What stays the same when a file is renamed and its header's counts are updated."""
    stream.seek(0)
    match = _HEADER.search(stream.read(512))
    if match:
        return f"{match[1].decode(errors='replace')}.{match[2].decode()}"
    return f"inode {os.fstat(stream.fileno()).st_ino}"


def _ended(stream: BinaryIO, budget: int) -> Iterator[JobRecord]:
    """Records of the whole events from here on; leaves the stream after the last whole one."""
    first = stream.tell()
    whole = first
    lines: list[str] = []
    while stream.tell() - first < budget:
        line = stream.readline()
        if not line.endswith(b"\n"):
            break
        if line.rstrip(b"\r\n") != b"...":
            lines.append(line.decode(errors="replace"))
            continue
        whole = stream.tell()
        found = _record(lines)
        lines = []
        if found is not None:
            yield found
    stream.seek(whole)


def _record(lines: list[str]) -> JobRecord | None:
    if not lines or not lines[0].startswith("028 "):
        return None
    ad: dict[str, Any] = {}
    for line in lines[1:]:
        match = _ATTRIBUTE.match(line.rstrip("\n"))
        if match:
            ad[match[1]] = _value(match[2])
    trigger = ad.get("TriggerEventTypeNumber")
    if trigger not in (_TERMINATED, _ABORTED) or not isinstance(ad.get("GlobalJobId"), str):
        return None
    ad["ClusterId"], ad["ProcId"] = ad.get("Cluster"), ad.get("Proc")
    if not ads.is_job(ad):
        return None
    schedd = ad["GlobalJobId"].partition("#")[0]
    if trigger == _ABORTED:
        return ads.record(ad, schedd, JobState.REMOVED)
    # The event knows how it ended; the ad beside it may be of a moment before.
    ad["ExitBySignal"] = ad.get("TerminatedNormally") is False
    ad["ExitCode"], ad["ExitSignal"] = ad.get("ReturnValue"), ad.get("TerminatedBySignal")
    good = ad["ExitBySignal"] is False and ad["ExitCode"] == 0
    return ads.record(ad, schedd, JobState.COMPLETED if good else JobState.FAILED)


def _value(text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    if len(text) > 1 and text[0] == text[-1] == '"':
        return _ESCAPE.sub(lambda match: chr(int(match[1], 8)) if match[1].isdigit() else match[1], text[1:-1])
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None  # An expression: of no use to anybody who reads records.
