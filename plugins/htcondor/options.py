"""The settings of [htcondor], and the document by which programs of launch scripts are told of them.

Not their declaration (the package's ``__init__``). Invariant: the document holds no secret, only where they are.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from poms.webservice.errors import ConfigurationError

ACCESS_VARIABLE = "POMS_HTCONDOR"


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

    @property
    def pool_name(self) -> str:
        return self.pool or "+".join([self.collector or "local", *sorted(self.schedds)])


def make_options(values: Mapping[str, Any]) -> Options:
    """The options of a configuration; raises ConfigurationError for values that cannot be."""
    options = Options(**{**values, "schedds": tuple(values.get("schedds") or ())})
    if options.access not in ("auto", "bindings", "commands"):
        raise ConfigurationError(f"[htcondor] access = {options.access}: must be auto, bindings or commands.")
    if options.timeout_seconds <= 0:
        raise ConfigurationError("[htcondor] timeout_seconds must be more than 0.")
    if not options.schedds:
        raise ConfigurationError("[htcondor] schedds is empty; name the schedds that hold this service's jobs. They "
                                 "are not taken from the collector, because a schedd that is down is missing there.")
    if len(set(options.schedds)) != len(options.schedds):
        raise ConfigurationError("[htcondor] schedds names a schedd twice.")
    for name in options.schedds:
        if not name or any(character.isspace() or character in "\"'\\" for character in name):
            raise ConfigurationError(f"[htcondor] schedds: {name!r} cannot be the name of a schedd.")
    return options


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
