"""jobsub_submit for the local batch system: the command line that real launchers use, and what it queues.

Not for listing or controlling (``control``). Invariant: jobs are acknowledged ("Use job id ...") only after
they are on disk, all of them; whatever is refused ends with a status that is not zero.
"""

from __future__ import annotations

import getpass
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from poms.plugins.local.batch import projects, queue
from poms.plugins.local.batch.master import ensure_master
from poms.plugins.local.batch.spool import Options, Spool, sync_directory
from poms.webservice.errors import BackendUnavailable, Invalid, PomsError

MAX_JOBS = 100_000

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


def _whole_number(text: str, name: str, most: int) -> int:
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


def _stage_inputs(spool: Spool, request: Request) -> dict[str, Any]:
    """Copy what the jobs need into the spool, as of now; the names under which they are there."""
    name = uuid.uuid4().hex
    place = spool.inputs / name
    executable = Path(request.executable.removeprefix("file://"))
    if str(executable).startswith("//"):
        executable = Path("/" + str(executable).lstrip("/"))
    files = [Path(text.removeprefix("dropbox://")) for text in request.repeated.get("f", [])]
    if len({file.name for file in files}) < len(files):
        raise Invalid("Two input files (-f) have the same name; rename one.")
    try:
        for part in ("executable", "files", "archives"):
            (place / part).mkdir(parents=True)
        _copy(executable, place / "executable" / executable.name, mode=0o700)
        for file in files:
            _copy(file, place / "files" / file.name)
        archives = [_stage_archive(place / "archives", number, text)
                    for number, text in enumerate(request.repeated.get("tar-file-name", []))]
        for part in (place / "executable", place / "files", place / "archives", place, spool.inputs):
            sync_directory(part)
    except (OSError, tarfile.TarError) as problem:
        shutil.rmtree(place, ignore_errors=True)
        raise Invalid(f"A file of the job cannot be read: {problem}.") from problem
    return {"inputs": name, "executable": executable.name, "files": [file.name for file in files], "archives": archives}


def _copy(source: Path, target: Path, *, mode: int = 0o600) -> None:
    shutil.copyfile(source, target)
    target.chmod(mode)
    with target.open("rb") as file:
        os.fsync(file.fileno())


def _stage_archive(place: Path, number: int, text: str) -> str:
    if text.startswith("tardir://"):
        directory = Path(text.removeprefix("tardir://"))
        name = f"{number}_{directory.resolve().name}.tar"
        with tarfile.open(place / name, "w") as tar:
            tar.add(directory, arcname=".")
        return name
    source = Path(text.removeprefix("dropbox://"))
    name = f"{number}_{source.name}"
    _copy(source, place / name)
    return name


@dataclass(frozen=True, slots=True)
class Submitted:
    cluster: int
    jobs: int
    job_id: str


def submit(spool: Spool, request: Request, words: Sequence[str], surroundings: Mapping[str, str]) -> Submitted:
    """Queue what a command line asks for. All problems that can be seen beforehand are raised before."""
    options = spool.options()
    group = request.single.get("group") or surroundings.get("JOBSUB_GROUP") or surroundings.get("GROUP", "")
    if not group:
        raise Invalid("No group; give -G GROUP or set the variable GROUP.")
    user = surroundings.get("GRID_USER") or surroundings.get("USER") or getpass.getuser()
    environment = {"JOBSUB_GROUP": group, "GROUP": group, "EXPERIMENT": group, "GRID_USER": user, "USER": user,
                   "LOGNAME": user, **job_environment(request, surroundings)}
    marks = attributes(request, environment, surroundings)
    cluster = _cluster(request, options, experiment=surroundings.get("POMS_LOCAL_EXPERIMENT") or group, marks=marks)
    for tag, _ in request.outputs:
        if not _NAME.match(tag):
            raise Invalid(f"-d {tag!r}: a tag has letters, digits and underscores only.")
    staged = _stage_inputs(spool, request)
    try:
        project = _begin_project(spool, request, environment, group=group, user=user)
        description = {**staged, "arguments": request.arguments, "environment": environment, "attributes": marks,
                       "outputs": [[tag, str(Path(target).absolute())] for tag, target in request.outputs],
                       "owner": user, "group": group, "command": list(words),
                       "project": environment.get("SAM_PROJECT_NAME", "") if project else ""}
        if project:
            marks["SAM_PROJECT_NAME"] = environment["SAM_PROJECT_NAME"]
        with spool.write() as db:
            number = queue.insert_cluster(db, queue.with_description(cluster, description), time.time())
            if project:
                projects.give_to_cluster(db, project, number)
    except BaseException:
        shutil.rmtree(spool.inputs / staged["inputs"], ignore_errors=True)
        raise
    return Submitted(number, cluster.jobs, f"{number}.0@{spool.identity().schedd}")


def _cluster(request: Request, options: Options, *, experiment: str, marks: Mapping[str, str | int]) -> queue.Cluster:
    single = request.single
    memory_mb = memory_in_mb(single["memory"]) if "memory" in single else options.default_memory_mb
    if options.memory_mb and memory_mb > options.memory_mb:
        raise Invalid(f"The job asks for {memory_mb} MB of memory; all jobs together have {options.memory_mb} MB here.")
    lifetimes = [lifetime_in_seconds(single[name]) for name in ("expected-lifetime", "timeout") if name in single]
    most = single.get("maxconcurrent")
    submission, attempt = marks.get("POMS4_SUBMISSION_ID", 0), marks.get("POMS4_LAUNCH_ATTEMPT", 1)
    return queue.Cluster(
        experiment=experiment.encode(errors="backslashreplace").decode(), memory_mb=memory_mb,
        jobs=_whole_number(single.get("N", "1"), "-N", MAX_JOBS),
        cpus=_whole_number(single.get("cpu", "1"), "--cpu", 1024),
        max_running=None if most is None else _whole_number(most, "--maxConcurrent", MAX_JOBS),
        wall_limit_seconds=min(lifetimes, default=options.default_lifetime_seconds),
        submission_id=submission if isinstance(submission, int) else 0,
        launch_attempt=attempt if isinstance(attempt, int) else 1)


def _begin_project(spool: Spool, request: Request, environment: dict[str, str], *, group: str, user: str) -> int | None:
    """For a dataset: begin its SAM project and tell the jobs of it; None if there is no dataset."""
    definition = request.single.get("dataset-definition") or request.single.get("dataset")
    if not definition:
        return None
    name = (request.single.get("project-name") or environment.get("SAM_PROJECT")
            or f"{definition}_{user}_{uuid.uuid4()}")
    station = environment.get("SAM_STATION") or group
    base_url = environment.get("SAM_WEB_BASE_URL", "")
    number = projects.begin(spool, base_url=base_url, station=station, name=name,
                            group=environment.get("SAM_GROUP") or group, definition=definition, user=user)
    environment.update({
        "SAM_PROJECT": name, "SAM_PROJECT_NAME": name, "SAM_DATASET": definition, "SAM_STATION": station,
        "SAM_USER": user, "SAM_GROUP": environment.get("SAM_GROUP") or group, "SAM_WEB_BASE_URL": base_url})
    return number


def main(words: Sequence[str], surroundings: Mapping[str, str], spool: Spool) -> int:
    """jobsub_submit: exit status 0 only if jobs were queued (or none were asked for with -n)."""
    try:
        request = parse(words)
        if "dag" in request.flags:
            raise UsageError("--dag is not offered by this batch system")
        if {"onsite", "offsite"} <= request.flags:
            raise UsageError("--onsite and --offsite exclude each other")
    except UsageError as problem:
        print(f"jobsub_submit: error: {problem}", file=sys.stderr)
        return 2
    if "no-submit" in request.flags:
        print("Nothing was submitted (--no-submit).")
        return 0
    try:
        submitted = submit(spool, request, words, surroundings)
    except PomsError as problem:
        print(f"Error: {type(problem).__name__}: {problem}", file=sys.stderr)
        return 1
    _announce(submitted)
    try:
        ensure_master(spool)
    except BackendUnavailable as problem:
        # The jobs are queued, which is what this program answers for; the next caller starts them.
        print(f"Warning: {problem}", file=sys.stderr)
    for script in [*request.repeated.get("job-info", []), *surroundings.get("JOBSUB_EXTRA_JOB_INFO", "").split(",")]:
        if script:
            subprocess.run([script, submitted.job_id, repr(list(words))], stdin=subprocess.DEVNULL, check=False)
    return 0


def _announce(submitted: Submitted) -> None:
    line = "=-" * 30
    print(f"Submitting job(s)...\n{submitted.jobs} job(s) submitted to cluster {submitted.cluster}.\n\n{line}\n\n"
          f"Use job id {submitted.job_id} to retrieve output\n\n{line}", flush=True)
