"""The settings of [htcondor], and the document by which programs of launch scripts are told of them.

Not their declaration (the package's ``__init__``). Invariant: the document holds no secret, only where they are.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from poms.webservice.errors import ConfigurationError
from poms.webservice.interfaces import Setting

ACCESS_VARIABLE = "POMS_HTCONDOR"
TRY_AGAIN_STATUS = 75
"""Exit status of jobsub_submit when a schedd did not answer: the launch is no worse for being made again."""

SETTINGS = (
    Setting("collector", "str", "", "host:port of the collector; empty means that of this machine's configuration."),
    Setting("schedds", "list", "", "Names of the schedds that hold this service's jobs, commas between; at least one."),
    Setting("pool", "str", "", "A name for the pool in logs and agent tasks; empty means collector and schedds."),
    Setting("access", "str", "auto", "bindings (the Python package htcondor), commands (condor_q and so on), or auto."),
    Setting("programs", "str", "", "Directory of the command-line tools; empty means that they are on PATH."),
    Setting("config", "str", "", "HTCondor configuration file to use instead of the machine's; none for none at all."),
    Setting("token_directory", "str", "", "Directory of tokens to authenticate with, for the service only (mode 700)."),
    Setting("job_constraint", "str", "", "A ClassAd condition that only this service's jobs meet, where another POMS "
            "uses the same schedds, e.g. POMS_INST == \"prod\"."),
    Setting("timeout_seconds", "seconds", "45", "A schedd that has not answered after so long is unavailable."),
    Setting("history_lookback_seconds", "seconds", "0", "How far back the history is searched for a lost launch; 0 "
            "means all of it. Shorter is quicker where schedds keep gigabytes of history."),
    Setting("spooling_grace_seconds", "seconds", "10m", "Jobs whose input files have been on their way for longer are "
            "shown as held."),
    Setting("event_log", "str", "", "The schedd's EVENT_LOG, if this machine can read it: departures are read there as "
            "well, so that none is missed when the history rotates quickly."),
)
"""The settings of any section by which a pool is read; ``options_from`` takes their values."""


@dataclass(frozen=True, slots=True)
class Options:
    """See ``SECTION`` for what each means."""

    collector: str = ""
    schedds: tuple[str, ...] = ()
    pool: str = ""
    access: str = "auto"
    programs: str = ""
    config: str = ""
    token_directory: str = ""
    job_constraint: str = ""
    timeout_seconds: float = 45.0
    history_lookback_seconds: float = 0.0
    spooling_grace_seconds: float = 600.0
    event_log: str = ""
    jobsub: bool = True
    spool: bool = True
    keep_output_seconds: float = 86400.0
    log_days: float = 30.0
    default_memory_mb: int = 2000
    default_lifetime_seconds: float = 28800.0
    submit_lines: str = ""
    section: str = "htcondor"
    """Of poms.ini, for messages."""

    @property
    def pool_name(self) -> str:
        return self.pool or "+".join([self.collector or "local", *sorted(self.schedds)])


def make_options(values: Mapping[str, Any], section: str = "htcondor") -> Options:
    """The options of a configuration; raises ConfigurationError for values that cannot be."""
    options = Options(**{**values, "schedds": tuple(values.get("schedds") or ()), "section": section})
    if options.access not in ("auto", "bindings", "commands"):
        raise ConfigurationError(f"[{section}] access = {options.access}: must be auto, bindings or commands.")
    if options.timeout_seconds <= 0:
        raise ConfigurationError(f"[{section}] timeout_seconds must be more than 0.")
    if not options.schedds:
        raise ConfigurationError(f"[{section}] schedds is empty; name the schedds that hold this service's jobs. They "
                                 "are not taken from the collector, because a schedd that is down is missing there.")
    if len(set(options.schedds)) != len(options.schedds):
        raise ConfigurationError(f"[{section}] schedds names a schedd twice.")
    for name in options.schedds:
        if not name or any(character.isspace() or character in "\"'\\" for character in name):
            raise ConfigurationError(f"[{section}] schedds: {name!r} cannot be the name of a schedd.")
    return options


def options_from(values: Mapping[str, Any], section: str) -> Options:
    """How to read a pool, from the values of a section that has ``SETTINGS`` and perhaps others of its own."""
    known = {each.name for each in fields(Options)}
    return make_options({name: value for name, value in values.items() if name in known}, section)


def write_document(path: Path, options: Options, directory: Path) -> None:
    """Tell the programs of launch scripts what to use and where to keep the jobs' files."""
    text = json.dumps({"options": asdict(options), "directory": str(directory)}, indent=1, sort_keys=True)
    if path.exists() and path.read_text() == text:
        return
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    temporary.write_text(text)
    temporary.replace(path)


def read_document(path: Path) -> tuple[Options, Path]:
    try:
        found = json.loads(path.read_text())
        return make_options(found["options"]), Path(found["directory"])
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise ConfigurationError(f"{path} does not say how to reach HTCondor: {problem}.") from problem


def surroundings(options: Options, inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment in which HTCondor's library and tools find the pool."""
    result = dict(inherited)
    result["LC_ALL"] = "C.UTF-8"
    if options.config:
        result["CONDOR_CONFIG"] = os.devnull if options.config == "none" else options.config
    elif "CONDOR_CONFIG" not in result and not Path("/etc/condor/condor_config").exists():
        result["CONDOR_CONFIG"] = os.devnull
    if options.token_directory:
        result["_CONDOR_SEC_TOKEN_DIRECTORY"] = options.token_directory
    return result
