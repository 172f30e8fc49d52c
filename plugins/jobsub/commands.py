"""Running jobsub's control commands, and what their output says.

Not the judgement of what was done (``backend`` asks the queue). Invariant: every argument is one word of an argument
list, never shell text; a command that does not end in time is ended with all it started.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from poms.plugins.jobsub import credentials
from poms.plugins.jobsub.options import JobsubOptions
from poms.webservice.errors import BackendUnavailable, ConfigurationError

Action = Literal["hold", "release", "remove"]
PROGRAMS: dict[Action, str] = {"hold": "jobsub_hold", "release": "jobsub_release", "remove": "jobsub_rm"}
LONGEST_MESSAGE = 500
MOST_OUTPUT_BYTES = 1_000_000

_DENIED = re.compile(r"permission denied|not authori[sz]ed|DENIED", re.IGNORECASE)
# What the commands say about jobs that were not in the state for it, which is no failure.
_NOTHING_TO_DO = re.compile(r"Couldn't find/\w+ all jobs|not found|already (?:held|marked for removal|completed)|"
                            r"not held to be released")
_TROUBLE = re.compile(r"\b(?:Error|ERROR|error|Failed|failed|Exception|Traceback|cannot|Unable|unable)\b")
# Lines of every run that say nothing about the jobs.
_NOISE = re.compile(r"tracing not available|Continuing without tracing")


@dataclass(frozen=True, slots=True)
class Said:
    """What a command printed. ``complaint`` is what of it tells of a failure, "" if nothing does."""

    text: str
    exit_status: int

    @property
    def complaint(self) -> str:
        lines = [line.strip() for line in self.text.splitlines() if line.strip() and not _NOISE.search(line)]
        wrong = [line for line in lines if _DENIED.search(line)
                 or (_TROUBLE.search(line) and not _NOTHING_TO_DO.search(line))]
        if wrong:
            return " ".join(wrong)[:LONGEST_MESSAGE]
        if self.exit_status:
            return (" ".join(lines[-3:]) or f"it ended with status {self.exit_status}")[:LONGEST_MESSAGE]
        return ""

    @property
    def is_denied(self) -> bool:
        return bool(_DENIED.search(self.text))


def act(options: JobsubOptions, action: Action, *, schedd: str, role: str, constraint: str, reason: str) -> Said:
    """Hold, release or remove what meets the constraint at one schedd."""
    # By -name and a constraint also for single jobs: a job id is cut at the first hyphen of its schedd's name.
    words = ["-G", options.group, "--role", role, "-name", schedd, "--constraint", constraint]
    if action != "release":
        words += ["-reason", one_line(reason)]
    return run(options, PROGRAMS[action], words, role=role)


def one_line(reason: str) -> str:
    """A reason as one word that jobsub passes on: not an option, and nothing like a job id."""
    text = " ".join(reason.split()).replace("@", " at ")
    # condor_hold writes it into an ad without escaping anything.
    return text.replace('"', "'").replace("\\", "/").lstrip("-. ") or "no reason given"


def run(options: JobsubOptions, program: str, words: Sequence[str], *, role: str,
        directory: Path | None = None) -> Said:
    """Run a command to its end; raises BackendUnavailable if it does not end or cannot be started."""
    path = find_program(options, program)
    if path is None:
        raise ConfigurationError(f"{program} was not found; install jobsub_lite on the service's machines, or say "
                                 "where it is with [jobsub] jobsub_programs.")
    surroundings = {**os.environ, **dict(credentials.environment(options, role)), "LC_ALL": "C.UTF-8"}
    if options.fetchlog_url:
        surroundings["JOBSUB_FETCHLOG_URL"] = options.fetchlog_url
    try:
        process = subprocess.Popen([path, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, cwd=directory, env=surroundings, start_new_session=True)
    except OSError as problem:
        raise BackendUnavailable(f"{program} could not be started: {problem}.") from problem
    with process:
        try:
            output, _ = process.communicate(timeout=options.timeout_seconds)
        except subprocess.TimeoutExpired:
            # It starts condor's commands, which would go on.
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise BackendUnavailable(f"{program} had not ended after {options.timeout_seconds:g} seconds; what it did "
                                     "until then is not known. Look at the jobs and try again.") from None
    return Said(output[-MOST_OUTPUT_BYTES:].decode(errors="replace"), process.returncode)


def find_program(options: JobsubOptions, name: str) -> str | None:
    if options.programs:
        path = Path(options.programs) / name
        return str(path) if os.access(path, os.X_OK) else None
    return shutil.which(name)
