"""jobsub_submit for the local batch system: the command line that real launchers use, and what it queues.

Not for listing or controlling (``control``). Invariant: jobs are acknowledged ("Use job id ...") only after
they are on disk, all of them; whatever is refused ends with a status that is not zero.
"""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import sys
import tarfile
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poms.plugins.local.batch import projects, queue
from poms.plugins.local.batch.master import ensure_master
from poms.plugins.local.batch.spool import Options, Spool, sync_directory
from poms.webservice import sam_projects
from poms.webservice.errors import BackendUnavailable, Invalid, PomsError
from poms.webservice.rules.jobsub_options import (
    Request,
    UsageError,
    attributes,
    executable_path,
    group_and_user,
    job_environment,
    lifetimes,
    memory_in_mb,
    parse,
    require_possible,
    whole_number,
)

MAX_JOBS = 100_000


def _stage_inputs(spool: Spool, request: Request) -> dict[str, Any]:
    """Copy what the jobs need into the spool, as of now; the names under which they are there."""
    name = uuid.uuid4().hex
    place = spool.inputs / name
    executable = executable_path(request)
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
    group, user = group_and_user(request, surroundings, getpass.getuser())
    environment = {"JOBSUB_GROUP": group, "GROUP": group, "EXPERIMENT": group, "GRID_USER": user, "USER": user,
                   "LOGNAME": user, **job_environment(request, surroundings)}
    marks = attributes(request, environment, surroundings)
    cluster = _cluster(request, options, experiment=surroundings.get("POMS_LOCAL_EXPERIMENT") or group, marks=marks)
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
    most = single.get("maxconcurrent")
    submission, attempt = marks.get("POMS4_SUBMISSION_ID", 0), marks.get("POMS4_LAUNCH_ATTEMPT", 1)
    return queue.Cluster(
        experiment=experiment.encode(errors="backslashreplace").decode(), memory_mb=memory_mb,
        jobs=whole_number(single.get("N", "1"), "-N", MAX_JOBS),
        cpus=whole_number(single.get("cpu", "1"), "--cpu", 1024),
        max_running=None if most is None else whole_number(most, "--maxConcurrent", MAX_JOBS),
        wall_limit_seconds=min(lifetimes(request), default=options.default_lifetime_seconds),
        submission_id=submission if isinstance(submission, int) else 0,
        launch_attempt=attempt if isinstance(attempt, int) else 1)


def _begin_project(spool: Spool, request: Request, environment: dict[str, str], *, group: str, user: str) -> int | None:
    """For a dataset: begin its SAM project and tell the jobs of it; None if there is no dataset."""
    definition = request.single.get("dataset-definition") or request.single.get("dataset")
    if not definition:
        return None
    wanted = sam_projects.wanted_by(environment, definition=definition, group=group, user=user,
                                    name=request.single.get("project-name") or "")
    base_url = environment.get("SAM_WEB_BASE_URL", "")
    number = projects.begin(spool, base_url, wanted)
    environment.update(sam_projects.variables(wanted, base_url))
    return number


def main(words: Sequence[str], surroundings: Mapping[str, str], spool: Spool) -> int:
    """jobsub_submit: exit status 0 only if jobs were queued (or none were asked for with -n)."""
    try:
        request = parse(words)
        if "dag" in request.flags:
            raise UsageError("--dag is not offered by this batch system")
        require_possible(request)
    except UsageError as problem:
        print(f"jobsub_submit: error: {problem}", file=sys.stderr)
        return 2
    except Invalid as problem:
        print(f"Error: {type(problem).__name__}: {problem}", file=sys.stderr)
        return 1
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
