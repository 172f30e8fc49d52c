"""The command line of jobsub_submit, taken apart: options, amounts, environment and attributes of jobs.

Not for submitting (each batch system's plugin does). Invariant: nothing here looks at files or at the process's
own environment; what a launch script wrote is either understood or refused with what to write instead.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from poms.webservice.errors import Invalid

_FLAGS = frozenset({
    "dag", "devserver", "debug", "use-cvmfs-dropbox", "use-pnfs-dropbox", "mail-never", "mail-on-error",
    "mail-always", "generate-email-summary", "onsite", "offsite", "no-singularity", "no-submit", "managed-token",
    "no-env-cleanup",
})
_VALUES = frozenset({
    "group", "role", "subgroup", "auth-methods", "global-pool", "verbose", "support-email", "lines", "environment",
    "dataset-definition", "dataset", "project-name", "dd-percentage", "dd-extra-dataset", "tar-file-name",
    "tarball-exclusion-file", "skip-check", "memory", "disk", "cpu", "gpu", "expected-lifetime", "timeout", "os",
    "site", "blocklist", "resource-provides", "append-condor-requirements", "overwrite-condor-requirements",
    "singularity-image", "apptainer-image", "job-info", "need-storage-modify", "need-scope", "email-to",
    "cmtconfig", "maxconcurrent", "schedd-for-testing", "log-file",
})
_SHORT_VALUES = {"G": "group", "e": "environment", "l": "lines", "N": "N", "f": "f", "L": "log-file", "r": "r",
                 "i": "i", "t": "t", "c": "append-condor-requirements"}
_SHORT_FLAGS = {"n": "no-submit"}
_REPEATED = frozenset({"environment", "lines", "f", "tar-file-name", "job-info", "resource-provides", "need-scope",
                       "need-storage-modify", "append-condor-requirements"})
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_JOBS = re.compile(r"(?:^|\s)(?:-N\s*=?\s*|-O\s*=?submit\.N=)([1-9][0-9]{0,8})(?=\s|$)")
_LIFETIMES = {"short": 3 * 3600.0, "medium": 8 * 3600.0, "long": 85200.0}
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_KIB = {"K": 1, "M": 1024, "G": 1024**2, "T": 1024**3}


class UsageError(Exception):
    """The command line cannot be understood; exit status 2, as argparse has it."""


@dataclass(slots=True)
class Request:
    """A command line of jobsub_submit, taken apart but not yet judged."""

    executable: str = ""
    arguments: list[str] = field(default_factory=list)
    single: dict[str, str] = field(default_factory=dict)
    repeated: dict[str, list[str]] = field(default_factory=dict)
    outputs: list[tuple[str, str]] = field(default_factory=list)
    flags: set[str] = field(default_factory=set)


def parse(words: Sequence[str]) -> Request:
    """Take a command line apart; everything after the executable belongs to the job."""
    request = Request()
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word.startswith("file://"):
            request.executable, request.arguments = word, rest
            break
        if word == "-d":
            if len(rest) < 2:
                raise UsageError("-d needs two values: a tag and a directory")
            request.outputs.append((rest.pop(0), rest.pop(0)))
        elif word.startswith("-") and len(word) > 1:
            _parse_option(request, word, rest)
        else:
            raise UsageError(f"{word!r} is no option; the executable must be given as file://PATH")
    if not request.executable:
        raise UsageError("no executable; give it as file://PATH after the options")
    # Launchers that build their command over several lines end it with a backslash too many.
    if request.arguments and request.arguments[-1] == "\\":
        request.arguments.pop()
    return request


def _parse_option(request: Request, word: str, rest: list[str]) -> None:
    if word.startswith("--"):
        name, equals, value = word[2:].partition("=")
        name = name.replace("_", "-").lower()
    elif word[1] in _SHORT_FLAGS and len(word) == 2:
        name, equals, value = _SHORT_FLAGS[word[1]], "", ""
    else:
        name, value = _SHORT_VALUES.get(word[1], word), word[2:].removeprefix("=")
        equals = "=" if len(word) > 2 else ""
    if name in _FLAGS:
        request.flags.add(name)
        return
    if name not in _VALUES and name not in _SHORT_VALUES.values():
        raise UsageError(f"unknown option {word!r}")
    if not equals:
        if not rest:
            raise UsageError(f"{word} needs a value")
        value = rest.pop(0)
    if name in _REPEATED:
        request.repeated.setdefault(name, []).append(value)
    else:
        request.single[name] = value


def jobs_asked(command: str) -> int | None:
    """How many jobs a launch command asks for by itself (``-N 10``, ``-Osubmit.N=10``); None if its script decides.

    The last one counts, as it does for the launchers.
    """
    found = _JOBS.findall(command)
    return int(found[-1]) if found else None


def memory_in_mb(text: str) -> int:
    """``2000``, ``2000MB``, ``2GB``, ``1.5 GiB`` in units of 1024 * 1024 bytes, rounded up."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:([KMGT])I?B?)?\s*", text, re.IGNORECASE)
    if not match:
        raise Invalid(f"--memory {text!r} is no amount of memory; write for example 2000MB or 2GB.")
    kib = float(match[1]) * _KIB[(match[2] or "M").upper()]
    return max(1, int(-(-kib // 1024)))


def lifetime_in_seconds(text: str) -> float:
    """``short``, ``medium``, ``long``, or a number with an optional unit s, m, h, d."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd]?)\s*", text, re.IGNORECASE)
    if text in _LIFETIMES:
        return _LIFETIMES[text]
    if not match or float(match[1]) <= 0:
        raise Invalid(f"{text!r} is no time; write short, medium, long, or for example 8h.")
    return float(match[1]) * _SECONDS[match[2].lower()]


def parse_line(line: str) -> tuple[str, str | int] | None:
    """``+Name=value`` of ``--lines`` as an attribute; None for any other line of a submit file."""
    match = re.fullmatch(r"\s*(?:\+|MY\.)([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*", line, re.DOTALL)
    if not match:
        if line.lstrip().startswith("+") or "=" not in line:
            raise Invalid(f"--lines {line!r} is no line of a submit file; write +Name=value.")
        return None
    text = match[2].replace('\\"', '"')
    if re.fullmatch(r"-?\d{1,18}", text):
        return match[1], int(text)
    return match[1], text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


def whole_number(text: str, name: str, most: int) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= most:
        raise Invalid(f"{name} {text!r} must be a whole number from 1 to {most}.")
    return int(text)


def job_environment(request: Request, surroundings: Mapping[str, str]) -> dict[str, str]:
    """What the job finds: POMS' and SAM's variables, and those asked for by name or with a value."""
    found = {name: value for name, value in surroundings.items()
             if name.startswith(("POMS4_", "POMS_", "SAM_")) and not name.startswith("POMS_LOCAL_")}
    extra = [name for name in surroundings.get("JOBSUB_EXTRA_ENVIRONMENT", "").split(",") if name]
    for word in [*request.repeated.get("environment", []), *extra]:
        name, equals, value = word.partition("=")
        if not _NAME.match(name):
            raise Invalid(f"-e {word!r}: {name!r} is no name of a variable.")
        if not equals:
            hidden = surroundings.get("HIDE_LD_LIBRARY_PATH", "") if name == "LD_LIBRARY_PATH" else ""
            value = surroundings.get(name, "") or hidden
            if not value:
                raise Invalid(f"-e {name}: the variable is not set here; export it or write -e {name}=value.")
        found[name] = value
    return found


def attributes(request: Request, environment: Mapping[str, str],
               surroundings: Mapping[str, str]) -> dict[str, str | int]:
    """What the cluster can be searched by. The launch's own variables win over lines of the script."""
    found: dict[str, str | int] = {}
    extra = [line for line in surroundings.get("JOBSUB_EXTRA_LINES", "").split(",") if line]
    for line in [*extra, *request.repeated.get("lines", [])]:
        attribute = parse_line(line)
        if attribute:
            found[attribute[0]] = attribute[1]
    for name, value in environment.items():
        if name.startswith(("POMS4_", "POMS_")):
            found[name] = int(value) if re.fullmatch(r"[0-9]{1,18}", value) else value
    return found


def executable_path(request: Request) -> Path:
    """The file that ``file://PATH`` names; ``file:////path`` is the same file."""
    text = request.executable.removeprefix("file://")
    return Path("/" + text.lstrip("/")) if text.startswith("//") else Path(text)


def group_and_user(request: Request, surroundings: Mapping[str, str], account: str) -> tuple[str, str]:
    """The experiment's group, and the person the jobs are for."""
    group = request.single.get("group") or surroundings.get("JOBSUB_GROUP") or surroundings.get("GROUP", "")
    if not group:
        raise Invalid("No group; give -G GROUP or set the variable GROUP.")
    return group, surroundings.get("GRID_USER") or surroundings.get("USER") or account


def lifetimes(request: Request) -> list[float]:
    """The limits on run time that were asked for, in seconds."""
    return [lifetime_in_seconds(request.single[name]) for name in ("expected-lifetime", "timeout")
            if name in request.single]


def require_possible(request: Request) -> None:
    """Refuse what contradicts itself, as argparse does there: exit status 2."""
    if {"onsite", "offsite"} <= request.flags:
        raise UsageError("--onsite and --offsite exclude each other")
    for tag, _ in request.outputs:
        if not _NAME.match(tag):
            raise Invalid(f"-d {tag!r}: a tag has letters, digits and underscores only.")
