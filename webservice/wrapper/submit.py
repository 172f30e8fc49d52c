"""jobsub_submit and jobsub_submit_dag with POMS around them: register, submit, report.

The real program is the next one of that name on PATH, or the one that POMS_JOBSUB names. Its output passes through
as it comes, and its exit status is ours. Nothing that POMS does or does not do keeps a job from being submitted, and
once jobsub has named its jobs, the report of them is on the disk.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from poms.webservice.client import Client, places
from poms.webservice.client.connection import server_of
from poms.webservice.errors import BackendUnavailable, PomsError
from poms.webservice.wrapper import lines
from poms.webservice.wrapper.spool import Pending, Spool, directory_of

REAL = "POMS_JOBSUB"
NOT_FOUND_STATUS = 127
POMS_SECONDS = 15
"""No request to POMS may take longer: people wait for their jobs."""
_GROUPS = ("JOBSUB_GROUP", "EXPERIMENT", "GROUP")
LONGEST_LINE = 65_536
# What may go wrong when POMS is asked or told: its refusals, the network and files, surroundings that make no sense.
_TROUBLE = (PomsError, OSError, ValueError)


@dataclass(frozen=True)
class Surroundings:
    """What the environment says: which submission this is, where POMS is, where reports wait."""

    environment: Mapping[str, str]
    stage: str
    submission_id: int | None
    parent: int | None
    experiment: str
    server: str
    spool: Spool

    @property
    def is_of_poms(self) -> bool:
        return bool(self.stage) or self.submission_id is not None

    def client(self) -> Client:
        """Raises BackendUnavailable if nobody said where POMS is."""
        if not self.server:
            raise BackendUnavailable(f"nothing says where POMS is: set {places.SERVER}")
        # The server knows experiment and role from the submission or stage; a stage's name needs the experiment.
        experiment = "" if self.submission_id is not None or self.stage.isdigit() else self.experiment
        return Client(self.server, experiment=experiment, token=places.read_token(environment=self.environment),
                      certificate=places.find_certificate("", self.server, environment=self.environment),
                      timeout_seconds=POMS_SECONDS, retries=1, program="poms-jobsub-wrapper")


def surroundings_of(environment: Mapping[str, str], words: Sequence[str] = ()) -> Surroundings:
    """Both generations of variables are understood; what is no number is no submission."""
    def number(*names: str) -> int | None:
        found = next((environment[name] for name in names if environment.get(name, "").isdigit()), "")
        return int(found) if found.isascii() and 0 < len(found) < 10 else None

    return Surroundings(
        environment, environment.get("POMS4_CAMPAIGN_STAGE_ID") or environment.get("POMS_CAMPAIGN_ID", ""),
        number("POMS4_SUBMISSION_ID", "POMS_TASK_ID"), number("POMS_PARENT_TASK_ID"),
        next(filter(None, [lines.group_of(words), *(environment.get(name, "") for name in _GROUPS)]), ""),
        places.find_server(test=environment.get("POMS_TEST", ""), environment=environment),
        Spool(directory_of(environment)))


def main(name: str, words: Sequence[str] | None = None, environment: Mapping[str, str] | None = None) -> int:
    """Run ``name`` (jobsub_submit or jobsub_submit_dag) with these words."""
    words = list(sys.argv[1:] if words is None else words)
    environment = dict(os.environ if environment is None else environment)
    real = find_real(name, environment)
    if real is None:
        print(f"{name}: the program itself is not on PATH behind this wrapper; install it, or name it in {REAL}",
              file=sys.stderr)
        return NOT_FOUND_STATUS
    around = surroundings_of(environment, words)
    try:
        if not around.is_of_poms or not lines.submits(words):
            return run(real, words, environment)[0]
        return _submit(around, name, real, words)
    except KeyboardInterrupt:
        # Before the submission began; one that runs gets the interrupt itself.
        return 128 + signal.SIGINT


def _submit(around: Surroundings, name: str, real: str, words: Sequence[str]) -> int:
    own = around.submission_id is not None
    report = Pending(job_id="", submission_id=around.submission_id, stage=around.stage, parent=around.parent,
                     command=lines.shown_command(name, words), launch_time=f"{time.time():.6f}-{uuid.uuid4().hex[:12]}",
                     experiment=around.experiment, server=around.server)
    if not own:
        report = _registered(around, report)
    environment = dict(around.environment) if report.submission_id is None else \
        lines.with_identity(around.environment, report.submission_id, around.stage)
    kept: list[bool] = []
    status, job_id = run(real, [*lines.added_words(words, environment), *words], environment,
                         found=lambda found: kept.append(_keep(around, replace(report, job_id=found))))
    if job_id:
        _report(around, replace(report, job_id=job_id), is_kept=kept[0])
    elif not own and report.submission_id is not None:
        # POMS would wait for ever for a submission that nobody but us knows of.
        failed = replace(report, status="LaunchFailed")
        _report(around, failed, is_kept=_keep(around, failed))
    return status


def _registered(around: Surroundings, report: Pending) -> Pending:
    """The report with the number that POMS gave it; without one if POMS does not answer now."""
    try:
        number = around.client().register(report.stage, report.command, parent=report.parent,
                                          launch_time=report.launch_time)
    except _TROUBLE as problem:
        _tell(f"not registered ({problem}); the jobs go, and POMS is told later")
        return report
    return replace(report, submission_id=number, command="")


def _keep(around: Surroundings, report: Pending) -> bool:
    """Keep the report until it is sent; whether that could be done."""
    try:
        around.spool.add(report)
    except OSError as problem:
        _tell(f"the report cannot be kept in {around.spool.directory} ({problem}); trying to send it at once")
        return False
    return True


def _report(around: Surroundings, report: Pending, *, is_kept: bool) -> None:
    """Send the report and whatever waits; what cannot be sent stays. An interrupt ends the waiting, no more."""
    try:
        if is_kept:
            _send_kept(around, report)
        else:
            _send_unkept(around, report)
    except KeyboardInterrupt:
        _tell(f"interrupted; reports that were not sent wait in {around.spool.directory}")


def _send_kept(around: Surroundings, report: Pending) -> None:
    try:
        result = around.spool.flush(around.client())
    except _TROUBLE as problem:
        _tell(f"POMS was not told ({problem}); the report waits in {around.spool.directory}")
        return
    if result.refused:
        _tell(f"POMS refused {result.refused} reports; see {around.spool.refused}")
    if result.waiting:
        _tell(f"{result.waiting} reports wait in {around.spool.directory}: {result.problem}")
    elif report.submission_id is not None and around.server:
        _copy(f"For Status, use URL: {server_of(around.server)}/poms/submission_details"
              f"?submission_id={report.submission_id}\n".encode())


def _send_unkept(around: Surroundings, report: Pending) -> None:
    try:
        around.spool.send(report, around.client())
    except _TROUBLE as problem:
        _tell(f"POMS was not told of {report.job_id}: {problem}")


def job_info(words: Sequence[str] | None = None, environment: Mapping[str, str] | None = None) -> int:
    """What jobsub itself runs after a submission (``--job-info``): JOBID and the command; never a failure."""
    words = list(sys.argv[1:] if words is None else words)
    environment = dict(os.environ if environment is None else environment)
    job_id = lines.found_job_id(f"Use job id {words[0]} to retrieve".encode()) if words else ""
    program, *options = lines.command_of(words[1]) if words[1:] else ["jobsub_submit"]
    around = surroundings_of(environment, options)
    if job_id and around.is_of_poms:
        report = Pending(job_id=job_id, submission_id=around.submission_id, stage=around.stage, parent=around.parent,
                         command=lines.shown_command(Path(program).name, options), launch_time=job_id,
                         experiment=around.experiment, server=around.server)
        _report(around, report, is_kept=_keep(around, report))
    return 0


def find_real(name: str, environment: Mapping[str, str]) -> str | None:
    """The real program: the one that is named, or the first on PATH that is not a wrapper of ours."""
    named = environment.get(REAL, "")
    if named:
        path = Path(named)
        return str(path / name if path.is_dir() else path)
    for directory in filter(None, environment.get("PATH", "").split(os.pathsep)):
        path = Path(directory, name)
        if path.is_file() and os.access(path, os.X_OK) and not _is_ours(path):
            return str(path)
    return None


def _is_ours(path: Path) -> bool:
    """By what it says, so that copies and links of this wrapper do not call each other for ever."""
    try:
        with path.open("rb") as file:
            return b"poms.webservice.wrapper" in file.read(4096)
    except OSError:
        # A program that may be run and not read is not this script.
        return False


def run(program: str, words: Sequence[str], environment: Mapping[str, str],
        found: Callable[[str], object] = lambda job_id: None) -> tuple[int, str]:
    """Run a program, copying its output as it comes: its exit status, and the job id that it named.

    ``found`` is called with the job id before anybody sees it.
    """
    try:
        process = subprocess.Popen([program, *words], stdout=subprocess.PIPE, env=dict(environment))
    except OSError as problem:
        _tell(f"{program}: {problem.strerror}")
        return NOT_FOUND_STATUS, ""
    job_id, line, is_read = "", b"", True
    with _PassingOn(process):
        assert process.stdout is not None
        # Not line by line: a question, or a dot for each second of waiting, has no end of line.
        while piece := process.stdout.read1():
            line = (line.rpartition(b"\n")[2] + piece)[-LONGEST_LINE:]
            if not job_id and (job_id := lines.found_job_id(line)):
                found(job_id)
            is_read = is_read and _copy(piece)
        status = process.wait()
    return (status if status >= 0 else 128 - status), job_id


def _copy(piece: bytes) -> bool:
    """To our own output; whether it is read. That nobody reads it, or a full disk, is no reason to stop."""
    try:
        output = sys.stdout.fileno()
        while piece:
            try:
                piece = piece[os.write(output, piece):]
            except BlockingIOError:
                select.select([], [output], [])
    except BrokenPipeError:
        return False
    except (OSError, AttributeError, ValueError) as problem:
        # Full, closed, or not there from the beginning.
        _tell(f"the output cannot be written: {problem}")
        return False
    return True


class _PassingOn:
    """Signals that are meant for the submission reach it; we end after it, with its status.

    A terminal sends its interrupt to both of us, so that one is not passed on.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        for number in self.SIGNALS:
            self._before[number] = signal.signal(number, self._pass)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _pass(self, number: int, _frame: object) -> None:
        if number != signal.SIGINT and self._process.poll() is None:
            self._process.send_signal(number)


def _tell(text: str) -> None:
    with suppress(OSError, AttributeError, ValueError):
        # Not by print: what stays in its buffer would change our exit status at the end.
        os.write(sys.stderr.fileno(), f"poms: {text}\n".encode("utf-8", "replace"))
