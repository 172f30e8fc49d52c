"""jobsub_submit for plain HTCondor: the command line that real launchers use, submitted to a schedd.

Not for listing or controlling. Invariant: jobs are acknowledged ("Use job id ...") only after the schedd has them,
all of them and their input; whatever is refused ends with a status that is not zero.
"""

from __future__ import annotations

import getpass
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from poms.plugins.htcondor import ads, description, projects, sandboxes, wrapper
from poms.plugins.htcondor.access import Access, open_access
from poms.plugins.htcondor.options import ACCESS_VARIABLE, TRY_AGAIN_STATUS, Options, read_document
from poms.webservice import sam_projects
from poms.webservice.errors import BackendUnavailable, Invalid, PomsError
from poms.webservice.rules import hold_codes
from poms.webservice.rules import jobsub_options as jobsub

SPOOLED_LOOK_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Submitted:
    cluster: int
    jobs: int
    schedd: str

    @property
    def job_id(self) -> str:
        return f"{self.cluster}.0@{self.schedd}"


def submit(access: Access, options: Options, directory: Path, request: jobsub.Request, words: Sequence[str],
           surroundings: Mapping[str, str], *, waits: bool = True) -> Submitted:
    """Queue what a command line asks for. All problems that can be seen beforehand are raised before.

    ``waits`` for the schedd to let spooled jobs go, which it does some time after it has their input.
    """
    jobsub.require_possible(request)
    group, user = jobsub.group_and_user(request, surroundings, getpass.getuser())
    environment = {"JOBSUB_GROUP": group, "GROUP": group, "EXPERIMENT": group, "GRID_USER": user,
                   **jobsub.job_environment(request, surroundings)}
    command = shlex.join(["jobsub_submit", *words])
    attributes = description.cluster_attributes(request, environment, surroundings, group=group, command=command)
    schedd = choose_schedd(access, options, request)
    place = directory / "sandboxes" / f"{attributes.get(ads.SUBMISSION, 0)}-{uuid.uuid4().hex}"
    project: Path | None = None
    try:
        payload = _stage(place, request, environment, schedd, private=options.spool)
        found = description.describe(request, options, attributes=attributes, schedd=schedd, payload=payload)
        project = _begin_project(directory, request, environment, group=group, user=user)
        if project:
            attributes[ads.PROJECT] = environment["SAM_PROJECT_NAME"]
            found = description.describe(request, options, attributes=attributes, schedd=schedd, payload=payload)
        _write_wrapper(place, payload)
        (place / "submit").write_text(found.text)
        cluster = access.submit(schedd, found.text, found.jobs, spool=options.spool, directory=place)
    except Invalid:
        # Refused: nothing of it is in a queue. After anything else something may be.
        shutil.rmtree(place, ignore_errors=True)
        raise
    sandboxes.register(directory, cluster, schedd, place)
    if options.spool and waits:
        _await_spooled(access, options, schedd, cluster)
    if project:
        projects.mark_submitted(project)
    return Submitted(cluster, found.jobs, schedd)


def _await_spooled(access: Access, options: Options, schedd: str, cluster: int) -> None:
    """Return when the schedd has let the jobs go: until then a person's hold would be undone by it."""
    waiting = f"ClusterId == {cluster} && JobStatus == 5 && HoldReasonCode == {hold_codes.SPOOLING}"
    deadline = time.monotonic() + options.timeout_seconds
    while time.monotonic() < deadline:
        try:
            if not access.query(schedd, waiting, ["ClusterId"], limit=1):
                break
        except BackendUnavailable:
            pass  # The schedd has the jobs; it may be starting again just now.
        time.sleep(SPOOLED_LOOK_SECONDS)
    else:
        # It has their files as well, or we would not be here; restarted while it lets jobs go, it forgets the rest.
        access.edit(schedd, waiting, "HoldReasonCode", "1")
        access.act(schedd, "release", f"ClusterId == {cluster} && JobStatus == 5 && HoldReasonCode == 1",
                   "input is there")
    _require_not_given_up(access, schedd, cluster)


def _require_not_given_up(access: Access, schedd: str, cluster: int) -> None:
    """Raise BackendUnavailable if the jobs were removed before they were let go: submitted again, none is doubled."""
    mine = f"ClusterId == {cluster}"
    if access.query(schedd, f"{mine} && JobStatus != 3", ["ProcId"], limit=1):
        return
    left = access.query(schedd, mine, ads.CLUSTER_ATTRIBUTES, limit=1) \
        or access.history(schedd, mine, ads.CLUSTER_ATTRIBUTES, limit=1)
    if any(map(ads.is_wreck, left)):
        raise BackendUnavailable(f"The jobs of cluster {cluster} at schedd {schedd} were removed before their input "
                                 "was seen to be there.")


def choose_schedd(access: Access, options: Options, request: jobsub.Request) -> str:
    """The schedd that was asked for, or of those configured the one with the fewest jobs."""
    wanted = request.single.get("schedd-for-testing") or request.single.get("schedd")
    if wanted:
        if wanted not in options.schedds:
            raise Invalid(f"Schedd {wanted} is none of this service's: {', '.join(options.schedds)}.")
        return wanted
    if len(options.schedds) == 1:
        return options.schedds[0]
    known = {row["Name"]: row.get("TotalJobAds", 0) for row in access.schedds()
             if isinstance(row.get("Name"), str) and row["Name"] in options.schedds}
    if not known:
        raise BackendUnavailable("The collector knows none of the schedds: "
                                 f"{', '.join(options.schedds)}.")
    return min(known, key=lambda name: (known[name], name))


# ------------------------------------------------------------------------------------------------------ staging


def _stage(place: Path, request: jobsub.Request, environment: Mapping[str, str], schedd: str, *,
           private: bool) -> wrapper.Payload:
    """Copy what the jobs need, as of now."""
    executable = jobsub.executable_path(request)
    files = [Path(text.removeprefix("dropbox://")) for text in request.repeated.get("f", [])]
    if len({file.name for file in files}) < len(files):
        raise Invalid("Two input files (-f) have the same name; rename one.")
    names = []
    try:
        place.mkdir(parents=True)
        # The wrapper may hold the catalogue's key. Where nothing is spooled the schedd must come in.
        place.chmod(0o700 if private else 0o755)
        _copy(executable, place / wrapper.PROGRAM, mode=0o755)
        for number, file in enumerate(files):
            _copy(file, place / wrapper.file_name(number))
        for number, text in enumerate(request.repeated.get("tar-file-name", [])):
            names.append(_stage_archive(place / wrapper.archive_name(number), number, text))
    except (OSError, tarfile.TarError) as problem:
        raise Invalid(f"A file of the job cannot be read: {problem}.") from problem
    outputs = [(tag, str(Path(target).absolute())) for tag, target in request.outputs]
    return wrapper.Payload(executable.name, request.arguments, environment, schedd, [file.name for file in files],
                           names, outputs)


def _copy(source: Path, target: Path, *, mode: int = 0o644) -> None:
    shutil.copyfile(source, target)
    target.chmod(mode)


def _stage_archive(target: Path, number: int, text: str) -> str:
    """The archive of ``--tar_file_name``; the name under which the job finds it."""
    if text.startswith("tardir://"):
        directory = Path(text.removeprefix("tardir://"))
        with tarfile.open(target, "w") as tar:
            tar.add(directory, arcname=".")
        return f"{number}_{directory.resolve().name}.tar"
    source = Path(text.removeprefix("dropbox://"))
    _copy(source, target)
    return f"{number}_{source.name}"


def _write_wrapper(place: Path, payload: wrapper.Payload) -> None:
    """Last, because the project is part of the jobs' environment."""
    path = place / wrapper.NAME
    path.write_bytes(wrapper.script(payload).encode())
    path.chmod(0o755)


def _begin_project(directory: Path, request: jobsub.Request, environment: dict[str, str], *, group: str,
                   user: str) -> Path | None:
    """For a dataset: begin its SAM project and tell the jobs of it; None if there is no dataset."""
    definition = request.single.get("dataset-definition") or request.single.get("dataset")
    if not definition:
        return None
    wanted = sam_projects.wanted_by(environment, definition=definition, group=group, user=user,
                                    name=request.single.get("project-name") or "")
    base_url = environment.get("SAM_WEB_BASE_URL", "")
    record = projects.begin(directory / "projects", base_url, wanted)
    environment.update(sam_projects.variables(wanted, base_url))
    return record


# ------------------------------------------------------------------------------------------------- the program


def main(words: Sequence[str], surroundings: Mapping[str, str]) -> int:
    """Exit status 0 only if jobs were queued (or none were asked for with -n)."""
    try:
        request = jobsub.parse(words)
        if "dag" in request.flags:
            raise jobsub.UsageError("--dag is not offered here; submit the stages of the DAG as campaign stages")
        jobsub.require_possible(request)
    except jobsub.UsageError as problem:
        print(f"jobsub_submit: error: {problem}", file=sys.stderr)
        return 2
    except PomsError as problem:
        return _refuse(problem)
    if "no-submit" in request.flags:
        print("Nothing was submitted (--no-submit).")
        return 0
    document = surroundings.get(ACCESS_VARIABLE, "")
    if not document.startswith("/"):
        print(f"Error: {ACCESS_VARIABLE} is not set; jobsub_submit works in launch scripts of POMS only.",
              file=sys.stderr)
        return 1
    try:
        options, directory = read_document(Path(document))
        access = open_access(options)
        try:
            submitted = submit(access, options, directory, request, words, surroundings)
        finally:
            access.close()
    except PomsError as problem:
        return _refuse(problem)
    line = "=-" * 30
    print(f"Submitting job(s)...\n{submitted.jobs} job(s) submitted to cluster {submitted.cluster}.\n\n{line}\n\n"
          f"Use job id {submitted.job_id} to retrieve output\n\n{line}", flush=True)
    scripts = [*request.repeated.get("job-info", []), *surroundings.get("JOBSUB_EXTRA_JOB_INFO", "").split(",")]
    for script in filter(None, scripts):
        subprocess.run([script, submitted.job_id, repr(list(words))], stdin=subprocess.DEVNULL, check=False)
    return 0


def _refuse(problem: PomsError) -> int:
    text = re.sub(r"\s*\n\s*", " ", str(problem))
    print(f"Error: {type(problem).__name__}: {text}", file=sys.stderr)
    return TRY_AGAIN_STATUS if isinstance(problem, BackendUnavailable) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
