"""The settings of [jobsub] beyond those by which a pool is read.

Not their declaration (the package's ``__init__``). Invariant: what goes into a path or a command line from a group
or role is letters, digits, ``_`` and ``-`` only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from poms.webservice.errors import ConfigurationError, Invalid

SECTION = "jobsub"

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}\Z")
_PLACEHOLDER = re.compile(r"\{(\w*)\}")


@dataclass(frozen=True, slots=True)
class JobsubOptions:
    """See ``SECTION`` of the package for what each means."""

    group: str
    roles: tuple[str, ...]
    default_role: str
    programs: str = ""
    token_file: str = ""
    htgettoken_options: str = ""
    fetch_logs_from: str = "service"
    fetchlog_url: str = ""
    timeout_seconds: float = 120.0


def make_options(values: Mapping[str, Any], experiment: str) -> JobsubOptions:
    """The options of an experiment; raises ConfigurationError for values that cannot be."""
    groups = dict(_pair(text) for text in values.get("groups") or ())
    options = JobsubOptions(
        group=groups.get(experiment, experiment), roles=tuple(values.get("roles") or ()),
        default_role=values.get("default_role") or "", programs=values.get("jobsub_programs") or "",
        token_file=values.get("token_file") or "", htgettoken_options=values.get("htgettoken_options") or "",
        fetch_logs_from=values.get("fetch_logs_from") or "service", fetchlog_url=values.get("fetchlog_url") or "",
        timeout_seconds=values.get("command_timeout_seconds") or 120.0)
    for what, name in (("group", options.group), ("default_role", options.default_role),
                       *(("roles", role) for role in options.roles)):
        if not is_name(name):
            raise ConfigurationError(f"[jobsub] {what}: {name!r} is no name of a group or role; use letters, digits, "
                                     "_ and -.")
    if options.fetch_logs_from not in ("service", "condor"):
        raise ConfigurationError(f"[jobsub] fetch_logs_from = {options.fetch_logs_from}: must be service or condor.")
    for what, text in (("token_file", options.token_file), ("htgettoken_options", options.htgettoken_options)):
        unknown = set(_PLACEHOLDER.findall(text)) - {"group", "role"}
        if unknown:
            raise ConfigurationError(f"[jobsub] {what}: {{{min(unknown)}}} means nothing; {{group}} and {{role}} do.")
    if options.token_file and not options.token_file.startswith("/"):
        raise ConfigurationError(f"[jobsub] token_file = {options.token_file}: must begin with a slash.")
    return options


def is_name(text: str) -> bool:
    return bool(_NAME.match(text))


def filled(text: str, group: str, role: str) -> str:
    """``text`` with its ``{group}`` and ``{role}``; roles are small letters in the names of credentials."""
    for name in (group, role):
        if not is_name(name):
            raise Invalid(f"{name!r} is no name of a group or role; use letters, digits, _ and -.")
    return text.replace("{group}", group).replace("{role}", role.lower())


def _pair(text: str) -> tuple[str, str]:
    experiment, equals, group = (part.strip() for part in text.partition("="))
    if not equals or not experiment or not group:
        raise ConfigurationError(f"[jobsub] groups: {text!r} is no pair; write EXPERIMENT=GROUP.")
    return experiment, group
