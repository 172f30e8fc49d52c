"""How schedds are reached: one protocol, and the choice between the bindings and the command-line tools.

Not what is asked (``backend``, ``history``). Invariant: a method returns what a schedd answered, or raises
BackendUnavailable naming the schedd and what to look at.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from poms.plugins.htcondor.options import Options
from poms.webservice.errors import BackendUnavailable, ConfigurationError

TAIL_BYTES = 10_000_000

Row = dict[str, Any]
Action = Literal["hold", "release", "remove"]


@dataclass(frozen=True, slots=True)
class Acted:
    """What an action did: jobs changed, already so, and refused; ``message`` says why."""

    changed: int
    unchanged: int = 0
    refused: int = 0
    message: str = ""


class Access(Protocol):
    """Calls on one pool. ``schedd`` is a schedd's name."""

    def query(self, schedd: str, constraint: str, attributes: Sequence[str], *, limit: int = -1) -> list[Row]:
        """Jobs in the queue; attributes that a job lacks are absent."""
        ...

    def group(self, schedd: str, constraint: str, attributes: Sequence[str]) -> list[Row]:
        """Jobs in the queue counted by the attributes, as ``JobCount``; the constraint may use these only."""
        ...

    def history(self, schedd: str, constraint: str, attributes: Sequence[str], *, limit: int = -1,
                since: str | None = None) -> list[Row]:
        """Jobs that left, newest first, up to (and without) the first for which ``since`` is true."""
        ...

    def act(self, schedd: str, action: Action, constraint: str, reason: str) -> Acted: ...

    def submit(self, schedd: str, description: str, count: int, *, spool: bool, directory: Path) -> int:
        """Submit once; the number of the cluster. Raises Invalid if the schedd or the description refuses."""
        ...

    def retrieve(self, schedd: str, constraint: str) -> None:
        """Bring the files of spooled jobs to where they were submitted from."""
        ...

    def tail(self, schedd: str, cluster: int, proc: int, *, errors: bool) -> bytes:
        """What a running job has written so far, at most its last ``TAIL_BYTES``; NotFound if that cannot be had."""
        ...

    def edit(self, schedd: str, constraint: str, attribute: str, value: str) -> None:
        """Set an attribute, to an expression, of jobs in the queue."""
        ...

    def schedds(self) -> list[Row]:
        """Name and TotalJobAds of every schedd that the collector knows."""
        ...

    def describe(self) -> str:
        """What is used, for people."""
        ...

    def close(self) -> None: ...


def has_bindings() -> bool:
    return importlib.util.find_spec("htcondor2") is not None


def open_access(options: Options) -> Access:
    """The access that the options ask for; raises ConfigurationError if it is not installed."""
    # Here, because either needs things that the other does without.
    from poms.plugins.htcondor.bindings import Bindings
    from poms.plugins.htcondor.commands import Commands

    if options.access == "bindings" or (options.access == "auto" and has_bindings()):
        if not has_bindings():
            raise ConfigurationError("[htcondor] access = bindings, but the Python package htcondor is not installed; "
                                     "install poms[htcondor], or use the command-line tools with access = commands.")
        return Bindings(options)
    if not find_program(options, "condor_q"):
        raise ConfigurationError("Neither the Python package htcondor nor condor_q was found; install poms[htcondor], "
                                 "or HTCondor's tools, and say where they are with [htcondor] programs.")
    return Commands(options)


def find_program(options: Options, name: str) -> str | None:
    if options.programs:
        path = Path(options.programs) / name
        return str(path) if os.access(path, os.X_OK) else None
    return shutil.which(name)


# What library and tools say when a schedd was not reached, or was lost on the way; refusals have other words.
_UNREACHED = re.compile(r"SECMAN:|CEDAR:|AUTHENTICATE:|Failed to (?:connect|fetch ads)|Can't (?:find address|contact)|"
                        r"Unable to (?:locate|connect)|[Cc]onnection (?:closed|refused|reset)|timed out")


def was_unreached(problem: object) -> bool:
    """Whether an error of a submit is the schedd's silence, after which it is tried again, and no refusal."""
    return bool(_UNREACHED.search(str(problem)))


def unavailable(options: Options, schedd: str, problem: object) -> BackendUnavailable:
    """The condition for a schedd that failed, with what to look at."""
    text = " ".join(str(problem).split())[:600]
    where = f" of pool {options.collector}" if options.collector else ""
    return BackendUnavailable(f"Schedd {schedd}{where} did not answer: {text}. See whether it runs "
                              f"(condor_status -schedd) and whether the service's token is valid.")
