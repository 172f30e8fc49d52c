"""Looking at credentials: is it one, who can read it, until when is it good. Text in, findings out; no secret gets out.

Not for judging signatures: the systems that the credentials are for do that.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import jwt
from cryptography import x509

LARGEST_BYTES = 262_144
MOST_GROUPS = 10


@dataclass(frozen=True, slots=True)
class Stored:
    """A credential as it is stored. ``problem``: why there is nothing to look at."""

    data: bytes = field(default=b"", repr=False)
    changed_at: datetime | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a credential is: ``problem`` says why it will not do; ``note`` is for people."""

    problem: str = ""
    expires_at: datetime | None = None
    note: str = ""


def read_file(path: str) -> Stored:
    """A credential in a file of the service; one that others may read is none."""
    try:
        # Not waiting for a writer, should somebody have put a pipe in its place.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return Stored(problem="does not exist")
    except OSError as problem:
        return Stored(problem=f"cannot be read: {problem.strerror}")
    state = os.fstat(descriptor)
    if not stat.S_ISREG(state.st_mode):
        os.close(descriptor)
        return Stored(problem="is no file")
    with os.fdopen(descriptor, "rb") as file:
        if state.st_mode & 0o077:
            return Stored(problem=f"can be read by others (mode {stat.S_IMODE(state.st_mode):o}); chmod 600 it")
        data = file.read(LARGEST_BYTES + 1)
    if len(data) > LARGEST_BYTES:
        return Stored(problem="is too large for a credential")
    return Stored(data, datetime.fromtimestamp(state.st_mtime, UTC))


def look_at(kind: str, stored: Stored, now: datetime, *, least_seconds: float, most_age_seconds: float) -> Finding:
    """What there is of a credential, and whether it will do for a launch that begins now."""
    if stored.problem:
        return Finding(stored.problem)
    if not stored.data.strip():
        return Finding("is empty")
    if kind == "proxy":
        finding = look_at_proxy(stored.data)
    elif kind == "token":
        finding = look_at_token(stored.data)
    else:
        return _by_age(stored, now, most_age_seconds)
    if finding.problem or finding.expires_at is None:
        return finding
    left = (finding.expires_at - now).total_seconds()
    if left <= 0:
        return Finding(f"expired {finding.expires_at:%Y-%m-%d %H:%M} UTC", finding.expires_at, finding.note)
    if left < least_seconds:
        return Finding(f"is valid for {_span(left)} only; a launch needs {_span(least_seconds)}", finding.expires_at,
                       finding.note)
    return finding


def look_at_proxy(data: bytes) -> Finding:
    """Certificates and key in PEM; a chain is as good as the first of its certificates to end."""
    try:
        certificates = x509.load_pem_x509_certificates(data)
    except ValueError:
        return Finding("is no proxy certificate")
    if b"PRIVATE KEY-----" not in data:
        return Finding("has no private key in it: it is a certificate, not a proxy")
    return Finding(expires_at=min(each.not_valid_after_utc for each in certificates))


def look_at_token(data: bytes) -> Finding:
    """A JSON Web Token: when it ends and for which groups it is."""
    try:
        claims: Mapping[str, Any] = jwt.decode(data.strip(), options={"verify_signature": False})
    except (jwt.InvalidTokenError, ValueError):
        return Finding("is no token")
    expires = claims.get("exp")
    if not isinstance(expires, int | float) or isinstance(expires, bool) or not math.isfinite(expires):
        return Finding("does not say when it expires")
    try:
        expires_at = datetime.fromtimestamp(expires, UTC)
    except (OverflowError, ValueError, OSError):
        return Finding("does not say when it expires")
    groups = claims.get("wlcg.groups")
    names = [str(each)[:80] for each in groups[:MOST_GROUPS]] if isinstance(groups, list) else []
    return Finding(expires_at=expires_at, note=f"for {', '.join(names)}" if names else "")


def _by_age(stored: Stored, now: datetime, most_age_seconds: float) -> Finding:
    assert stored.changed_at is not None
    age = (now - stored.changed_at).total_seconds()
    note = f"stored {_span(max(0.0, age))} ago"
    if age > most_age_seconds:
        return Finding(f"was {note}; it may be {_span(most_age_seconds)} old", None, note)
    return Finding(note=note)


def _span(seconds: float) -> str:
    """A time in the largest unit of which there are two at least."""
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
