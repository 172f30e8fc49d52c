"""The tokens that jobsub commands use: where they are, and whether they will do.

Not for getting them (htgettoken does, when jobsub calls it). Invariant: a token's text is never logged, stored or put
into a message; only its claims are looked at, and no signature is judged here.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from poms.plugins.jobsub.options import JobsubOptions, filled

ENOUGH_SECONDS = 60
"""jobsub takes a token that is valid for less for an expired one."""

LARGEST_TOKEN_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Credential:
    """What a role has: ``problem`` is "" if its token will do, ``renewable`` if jobsub can get another by itself."""

    role: str
    problem: str
    renewable: bool


def environment(options: JobsubOptions, role: str) -> tuple[tuple[str, str], ...]:
    """The variables by which jobsub finds group and token of a role."""
    found = [("GROUP", options.group), ("JOBSUB_GROUP", options.group)]
    if options.token_file:
        found.append(("BEARER_TOKEN_FILE", filled(options.token_file, options.group, role)))
    if options.htgettoken_options:
        found.append(("HTGETTOKENOPTS", filled(options.htgettoken_options, options.group, role)))
    return tuple(found)


def look(options: JobsubOptions, now: datetime) -> list[Credential]:
    """The token of every role; nothing if tokens are wherever jobsub looks."""
    if not options.token_file:
        return []
    return [Credential(role, _problem(Path(filled(options.token_file, options.group, role)), options.group, role, now),
                       bool(options.htgettoken_options)) for role in options.roles]


def _problem(path: Path, group: str, role: str, now: datetime) -> str:
    place = f"the token of {group} as {role} ({path})"
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST_TOKEN_BYTES)
    except FileNotFoundError:
        return f"{place} does not exist"
    except OSError as problem:
        return f"{place} cannot be read: {problem.strerror}"
    claims = _claims(text)
    if claims is None:
        return f"{place} is no token"
    expires = claims.get("exp")
    if not isinstance(expires, int | float) or isinstance(expires, bool):
        return f"{place} does not say when it expires"
    if expires - now.timestamp() <= ENOUGH_SECONDS:
        return f"{place} expired {datetime.fromtimestamp(expires, now.tzinfo):%Y-%m-%d %H:%M} UTC"
    wanted = f"/{group}" if role.lower() == "analysis" else f"/{group}/{role.lower()}"
    groups = claims.get("wlcg.groups")
    if not isinstance(groups, list) or wanted not in {str(each).lower() for each in groups}:
        return f"{place} is not for {wanted}"
    return ""


def _claims(text: bytes) -> dict[str, Any] | None:
    parts = text.strip().split(b".")
    if len(parts) != 3:
        return None
    try:
        found = json.loads(base64.urlsafe_b64decode(parts[1] + b"=" * (-len(parts[1]) % 4)))
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
