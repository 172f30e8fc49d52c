"""poms-launch: one launch configuration becomes one jobsub_submit. Not: the job (wrap.py), nor POMS' bookkeeping.

Exit status: jobsub_submit's; 1 for anything wrong before it, 2 for a wrong command line. Unlike fife_launch, an
unknown stage or option is refused, and a catalogue that does not answer is never taken for an empty dataset.
"""

from __future__ import annotations

import contextlib
import getopt
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from poms.plugins.local.launcher import command, configuration, wrap
from poms.plugins.local.launcher.configuration import Configuration
from poms.webservice.errors import BackendUnavailable, Invalid, NotFound, PomsError

USAGE = """\
usage: poms-launch -c FILE [options]

  -c, --config FILE           launch configuration: as given, in FIFE_LAUNCH_PATH, or SAMPLE/FILE of the library
      --stage X               apply the section [stage_X]; repeatable
  -O, --override SECTION.OPTION=VALUE
                              set an option, after files and stages; repeatable, the last one wins
      --arg_push TEXT         put an argument before the executable's; repeatable
      --arg_del TEXT          delete one of the executable's arguments; repeatable
      --jobname NAME          submit the wrapper under this name
      --dry_run               show the command and what the job would do, submit nothing
      --config_dump WHEN      print the configuration to stderr: before, after (expansion) or both
      --retry_seconds N       how long a catalogue that does not answer is waited for (120)
  -h, --help                  this text

A value of [submit], [executable], [env_pass] or wrapper that contains $ or a backtick is expanded by bash, here,
with your rights, as the format promises: use configuration files that you trust.
"""
LONG_OPTIONS = ("config=", "stage=", "override=", "arg_push=", "arg_del=", "jobname=", "dry_run", "config_dump=",
                "retry_seconds=", "help")
FILES_IN_A_DRY_RUN = 5
DEFAULT_SAM = "https://samweb.fnal.gov:8483/sam/{experiment}/api"
# Storage systems that are not mounted directories everywhere; the job's copy makes what it needs there.
REMOTE_ROOTS = ("/pnfs/", "/eos/")
JOB_PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass(slots=True)
class Request:
    """The command line, read."""

    config: str = ""
    stages: list[str] = field(default_factory=list)
    overrides: list[tuple[str, str, str]] = field(default_factory=list)
    pushed: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    jobname: str = ""
    dry_run: bool = False
    retry_seconds: float = 120.0
    config_dump: str = ""
    help: bool = False


def main(arguments: Sequence[str] | None = None) -> int:
    try:
        request = read_command_line(sys.argv[1:] if arguments is None else arguments)
        if request.help:
            print(USAGE, end="")
            return 0
        return launch(request, os.environ)
    except getopt.GetoptError as problem:
        print(f"poms-launch: {problem}\n{USAGE}", end="", file=sys.stderr)
        return 2
    except (PomsError, OSError) as problem:
        print(f"poms-launch: {problem}", file=sys.stderr)
        return 1


def read_command_line(arguments: Sequence[str]) -> Request:
    given, extra = getopt.gnu_getopt(list(arguments), "c:O:h", LONG_OPTIONS)
    if extra:
        raise Invalid(f"extra command line arguments: {shlex.join(extra)}")
    request = Request()
    for name, value in given:
        if name in ("-c", "--config"):
            request.config = value
        elif name in ("-O", "--override"):
            request.overrides.append(configuration.parse_override(value))
        elif name == "--stage":
            request.stages.append(value)
        elif name == "--arg_push":
            request.pushed.append(value)
        elif name == "--arg_del":
            request.deleted.append(value)
        elif name == "--retry_seconds":
            if not value.isascii() or not value.isdigit():
                raise getopt.GetoptError(f"--retry_seconds must be a number of seconds, not '{value}'")
            request.retry_seconds = float(value)
        elif name == "--jobname":
            request.jobname = value
        elif name == "--config_dump":
            if value not in ("before", "after", "both"):
                raise getopt.GetoptError(f"--config_dump must be before, after or both, not '{value}'")
            request.config_dump = value
        else:
            request.dry_run = request.dry_run or name == "--dry_run"
            request.help = request.help or name in ("-h", "--help")
    if not request.config and not request.help:
        raise getopt.GetoptError("-c FILE is required")
    return request


def launch(request: Request, environment: Mapping[str, str]) -> int:
    """Carry out one request; the exit status of jobsub_submit, or of the wrapper in a dry run."""
    settled = _configuration(request)
    inside = command.launch_environment(settled, environment)
    wrapper = command.find_wrapper(settled, inside)
    if settled.has("data_dispatcher") or inside.get("POMS_DATA_DISPATCHER_TASK_ID"):
        raise Invalid("Data Dispatcher launches are not known to poms-launch: use fife_launch", "data_dispatcher")
    if request.dry_run:
        _share_out(settled, FILES_IN_A_DRY_RUN)
        return _dry_run(settled, inside, wrapper)
    command.submit_arguments(settled, inside, wrapper)  # refuse before anything outside is touched
    _make_destinations(settled)
    _share_out(settled, _dataset_files(settled, inside, request.retry_seconds))
    _run_prelaunch(settled, inside)
    with _submitted_program(request.jobname or settled.get("global", "jobname"), wrapper) as path:
        return _submit(command.submit_arguments(settled, inside, wrapper, path), inside)


def _configuration(request: Request) -> Configuration:
    settled = configuration.read(configuration.find_file(request.config))
    if request.config_dump in ("before", "both"):
        print(settled.dump(expanded=False), file=sys.stderr)
    for section, option, _ in request.overrides:
        if section.startswith("stage_"):
            print(f"poms-launch: warning: -O{section}.{option} has no effect, stages are applied before overrides: "
                  f"write -O{option}=VALUE", file=sys.stderr)
    configuration.settle(settled, stages=request.stages, overrides=request.overrides, pushed=request.pushed,
                         deleted=request.deleted)
    if request.config_dump in ("after", "both"):
        print(settled.dump(expanded=True), file=sys.stderr)
    return settled


def _dataset_files(settled: Configuration, environment: Mapping[str, str], retry_seconds: float) -> int | None:
    """Number of files of [submit] dataset, or None if nobody needs to know; an empty dataset stops the launch."""
    dataset = settled.get("submit", "dataset")
    if not dataset or not (settled.has("sam_consumer") or settled.has("submit", "n_files_per_job")):
        return None
    experiment = environment.get("SAM_EXPERIMENT") or settled.get("global", "experiment", environment.get("GROUP", ""))
    base = environment.get("SAM_WEB_BASE_URL") or DEFAULT_SAM.format(experiment=experiment)
    try:
        files = wrap.Catalogue(base, retry_seconds=retry_seconds).definition_count(dataset)
    except wrap.CatalogueError as problem:
        if problem.status == 404:
            raise NotFound(f"submit/dataset: the catalogue has no definition '{dataset}'") from problem
        raise BackendUnavailable(f"submit/dataset: the files of '{dataset}' cannot be counted: {problem}") from problem
    if files == 0:
        raise Invalid(f"Ignoring launch request on empty dataset '{dataset}': there is nothing to process",
                      "submit/dataset")
    return files


def _share_out(settled: Configuration, files: int | None) -> None:
    """[submit] n_files_per_job sets N to the number of jobs that all files need."""
    if not settled.has("submit", "n_files_per_job"):
        return
    text = settled.get("submit", "n_files_per_job")
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise Invalid(f"'{text}' is not a number of files, 1 or more", "submit/n_files_per_job")
    if not settled.get("submit", "dataset") or files is None:
        raise Invalid("needs a dataset to share out: set [submit] dataset", "submit/n_files_per_job")
    settled.remove("global", "N")  # would stand in for the number worked out here
    settled.set("submit", "N", str(-(-files // int(text))))


def _make_destinations(settled: Configuration) -> None:
    """Make the output directories that are ordinary paths of this machine."""
    for section in command.output_sections(settled):
        destination = settled.get(section, "dest")
        checked = settled.get(section, "launch_dest_check", "True") != "False"
        renamed = settled.get(section, "dest_uniq_rename") == "True"
        if checked and not renamed and destination.startswith("/") and "$" not in destination \
                and not destination.startswith(REMOTE_ROOTS):
            try:
                Path(destination).mkdir(parents=True, exist_ok=True)
            except OSError as problem:
                raise Invalid(f"the directory cannot be made: {problem}", f"{section}/dest") from problem


def _run_prelaunch(settled: Configuration, environment: Mapping[str, str]) -> None:
    """Run the scripts of [prelaunch]; their exit status is shown but, as in the format, does not stop the launch."""
    number = 0
    while settled.has("prelaunch", name := f"script_{number}" if number else "script"):
        done = subprocess.run(["bash", "-c", settled.get("prelaunch", name)], env=dict(environment), check=False)
        if done.returncode != 0:
            print(f"poms-launch: warning: prelaunch/{name} ended with status {done.returncode}", file=sys.stderr)
        number += 1


@contextlib.contextmanager
def _submitted_program(jobname: str, wrapper: command.Wrapper) -> Iterator[str | None]:
    """A copy of the wrapper, for as long as the submission takes, if it must have another name or first line.

    None when it is submitted as it is. poms-wrap finds its Python by the jobs' plain PATH; where
    that has none (a Python in somebody's home), the copy names the one that runs here.
    """
    needs_python = wrapper.is_ours and shutil.which("python3", path=JOB_PATH) is None
    if not jobname and not needs_python:
        yield None
        return
    if jobname and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,80}", jobname):
        raise Invalid(f"'{jobname}': use letters, digits, dot, dash and underscore", "global/jobname")
    with tempfile.TemporaryDirectory(prefix="poms-launch-") as directory:
        copy = Path(directory) / (f"{jobname}_{os.getpid()}" if jobname else "poms-wrap")
        try:
            text = wrapper.local_path.read_bytes()
        except OSError as problem:
            raise Invalid(f"the wrapper cannot be copied: {problem}", "global/wrapper") from problem
        if needs_python:
            text = b"#!" + os.fsencode(sys.executable) + b"\n" + text.partition(b"\n")[2]
        copy.write_bytes(text)
        copy.chmod(0o755)
        yield str(copy)


def _submit(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    # The name is resolved with the launch environment's PATH: [poms_get_task_id] may have changed it.
    program = shutil.which("jobsub_submit", path=environment.get("PATH"))
    if program is None:
        raise NotFound("jobsub_submit is not on PATH: set up the batch system's client first")
    print("+ " + shlex.join(["jobsub_submit", *arguments]), file=sys.stderr, flush=True)
    status = subprocess.run(["jobsub_submit", *arguments], executable=program, env=dict(environment),
                            check=False).returncode
    if status != 0:
        print(f"poms-launch: jobsub_submit ended with status {status}", file=sys.stderr)
    return status if status >= 0 else 128 - status


def _dry_run(settled: Configuration, environment: Mapping[str, str], wrapper: command.Wrapper) -> int:
    print("would run: " + shlex.join(["jobsub_submit", *command.submit_arguments(settled, environment, wrapper)]))
    arguments = ["--dry_run", *command.wrapper_arguments(settled, environment, wrapper)]
    print("the job would run:", flush=True)
    start = [sys.executable, str(wrapper.local_path)] if wrapper.is_ours else [str(wrapper.local_path)]
    return subprocess.run([*start, *arguments], env=dict(environment), check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
