"""The submit description that a jobsub_submit command line means.

Pure. Invariant: every line is built from checked parts, so that no name or option can add a line or become an
expression; what a launch script adds with --lines comes first, and cannot change what ties jobs to their submission.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from poms.plugins.htcondor import ads, wrapper
from poms.plugins.htcondor.options import Options
from poms.webservice.errors import Invalid
from poms.webservice.rules import jobsub_options as jobsub

MAX_JOBS = 100_000
MAX_COMMAND = 10_000

_LINE = re.compile(r"\s*(\+|MY\.)?([A-Za-z_][A-Za-z0-9_.]*)\s*=\s*(.*?)\s*\Z")
_ATTRIBUTE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_RESERVED = frozenset({"executable", "arguments", "environment", "env", "getenv", "output", "error", "log", "universe",
                       "transfer_input_files", "transfer_executable", "initialdir", "queue", "leave_in_queue",
                       "on_exit_hold", "on_exit_hold_reason", "on_exit_hold_subcode", "notification"})
_DISK_KIB = {"": 1, "K": 1, "M": 1024, "G": 1024**2, "T": 1024**3}


@dataclass(frozen=True, slots=True)
class Description:
    """The text without its queue statement, and how many jobs to queue."""

    text: str
    jobs: int


def describe(request: jobsub.Request, options: Options, *, attributes: Mapping[str, str | int], schedd: str,
             payload: wrapper.Payload) -> Description:
    """What to give to condor_submit; raises Invalid for what the command line asks in vain."""
    jobs = jobsub.whole_number(request.single.get("N", "1"), "-N", MAX_JOBS)
    most = request.single.get("maxconcurrent")
    inputs = [wrapper.PROGRAM, *(wrapper.file_name(number) for number in range(len(payload.files))),
              *(wrapper.archive_name(number) for number in range(len(payload.archives)))]
    lines = [*_site_lines(options.submit_lines), *_script_lines(request), *_resources(request, options),
             *_requirements(request)]
    if most is not None and jobsub.whole_number(most, "--maxConcurrent", MAX_JOBS) < jobs:
        if options.spool:
            raise Invalid("--maxConcurrent cannot be used where input files are spooled to the schedd ([htcondor] "
                          "spool = yes); leave it out.")
        lines.append(f"max_materialize = {int(most)}")
    lines += [f"MY.{name} = {ads.literal(value)}" for name, value in attributes.items() if _ATTRIBUTE_NAME.match(name)]
    lines += [
        "universe = vanilla", f"executable = {wrapper.NAME}", "transfer_executable = true", "getenv = false",
        # Only what differs between jobs; the rest is in the wrapper.
        'environment = "CLUSTER=$(ClusterId) PROCESS=$(ProcId)"',
        f"transfer_input_files = {','.join(inputs)}", "should_transfer_files = YES",
        "when_to_transfer_output = ON_EXIT", "output = out.$(ProcId)",
        # Not streamed: HTCondor loses the last pieces of streamed output when a job ends.
        "error = err.$(ProcId)", "log = log.$(ProcId)", "notification = never",
        f'MY.JobsubJobId = "$(ClusterId).$(ProcId)@{schedd}"', 'MY.JOB_GLIDEIN_Site = "$$(GLIDEIN_Site:Unknown)"',
        *_wrapper_holds(), *_keeping(options)]
    return Description("\n".join(lines) + "\n", jobs)


def _wrapper_holds() -> list[str]:
    first, last = min(ads.WRAPPER_SIGNALS), max(ads.WRAPPER_SIGNALS)
    by_signal = [f"ExitSignal == {number}, {9000 + code}" for number, code in ads.WRAPPER_SIGNALS.items()]
    subcode = "ifThenElse(" + ", ifThenElse(".join(by_signal) + ", 0" + ")" * len(by_signal)
    texts = {6: "The executable could not be started; the job's stderr says why",
             12: "The job's output directories could not be copied; its stderr says why",
             13: "The job's input could not be prepared; its stderr says why"}
    reason = "ifThenElse(" + ", ifThenElse(".join(
        f'ExitSignal == {number}, "{texts[code]}"' for number, code in ads.WRAPPER_SIGNALS.items()) \
        + ', ""' + ")" * len(ads.WRAPPER_SIGNALS)
    return [f"on_exit_hold = ExitBySignal =?= true && ExitSignal >= {first} && ExitSignal <= {last}",
            f"on_exit_hold_subcode = {subcode}", f"on_exit_hold_reason = {reason}"]


def _keeping(options: Options) -> list[str]:
    if not options.spool:
        return ["leave_in_queue = false"]
    return [f"leave_in_queue = JobStatus == 4 && time() - (CompletionDate ?: time()) < "
            f"{ceil(options.keep_output_seconds)} && (StageOutFinish ?: 0) < EnteredCurrentStatus"]


def _site_lines(text: str) -> list[str]:
    return [line for line in text.replace("\\n", "\n").splitlines() if line.strip()]


def _script_lines(request: jobsub.Request) -> list[str]:
    """--lines of the launch script. POMS' own attributes are set elsewhere; everything else is passed on."""
    found = []
    for line in request.repeated.get("lines", []):
        match = _LINE.match(line)
        if not match or "\n" in line or "\r" in line:
            raise Invalid(f"--lines {line!r} is no line of a submit file; write +Name=value.")
        mark, name, value = match.groups()
        value = value.replace('\\"', '"')
        if mark and name.startswith("POMS"):
            continue
        if not mark and name.lower() in _RESERVED:
            raise Invalid(f"--lines {line!r}: {name} is set by jobsub_submit itself; leave it out.")
        found.append(f"MY.{name} = {_expression(value)}" if mark else f"{name} = {value}")
    return found


def _expression(value: str) -> str:
    """A quoted text is a string whatever is in it; anything else was written as an expression."""
    if len(value) > 1 and value[0] == value[-1] == '"' and '"' not in value[1:-1]:
        return value if "$$(" in value else ads.quote(value[1:-1])
    return value or '""'


def _resources(request: jobsub.Request, options: Options) -> list[str]:
    single = request.single
    memory_mb = jobsub.memory_in_mb(single["memory"]) if "memory" in single else options.default_memory_mb
    cpus = jobsub.whole_number(single.get("cpu", "1"), "--cpu", 1024)
    seconds = ceil(min(jobsub.lifetimes(request), default=options.default_lifetime_seconds))
    lines = [f"request_memory = {memory_mb}", f"request_cpus = {cpus}", f"allowed_execute_duration = {seconds}"]
    if "disk" in single:
        lines.append(f"request_disk = {_disk_kib(single['disk'])}")
    if "gpu" in single:
        lines.append(f"request_gpus = {jobsub.whole_number(single['gpu'], '--gpu', 1024)}")
    image = single.get("singularity-image") or single.get("apptainer-image")
    if image and "no-singularity" not in request.flags:
        lines.append(f"MY.SingularityImage = {ads.quote(image)}")
    for text in request.repeated.get("resource-provides", []):
        for pair in re.findall(r"([A-Za-z_]\w*)=((?:(?!,[A-Za-z_]\w*=).)*)", text):
            lines.append(f"MY.DESIRED_{pair[0]} = {ads.quote(pair[1])}")
    return lines


def _disk_kib(text: str) -> int:
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:([KMGT])I?B?)?\s*", text, re.IGNORECASE)
    if not match:
        raise Invalid(f"--disk {text!r} is no amount of disk; write for example 500MB or 10GB.")
    return max(1, ceil(float(match[1]) * _DISK_KIB[(match[2] or "").upper()]))


def _requirements(request: jobsub.Request) -> list[str]:
    overwrite = request.single.get("overwrite-condor-requirements")
    if overwrite is not None:
        return [f"requirements = {_one_line(overwrite, '--overwrite-condor-requirements')}"]
    terms = [f"({_one_line(text, '--append_condor_requirements')})"
             for text in request.repeated.get("append-condor-requirements", [])]
    if "site" in request.single:
        terms.append(f"member(TARGET.GLIDEIN_Site, {_names(request.single['site'])})")
    if "blocklist" in request.single:
        terms.append(f"(member(TARGET.GLIDEIN_Site, {_names(request.single['blocklist'])}) =!= true)")
    return [f"requirements = {' && '.join(terms)}"] if terms else []


def _names(text: str) -> str:
    return "{" + ", ".join(ads.quote(name.strip()) for name in text.split(",") if name.strip()) + "}"


def _one_line(text: str, option: str) -> str:
    if "\n" in text or "\r" in text:
        raise Invalid(f"{option} must be one line.")
    return text


def cluster_attributes(request: jobsub.Request, environment: Mapping[str, str], surroundings: Mapping[str, str], *,
                       group: str, command: str) -> dict[str, str | int]:
    """What the cluster can be searched by: the launch's own variables, and who it is for."""
    only_poms = jobsub.Request(repeated={"lines": [
        line for line in request.repeated.get("lines", []) if re.match(r"\s*(?:\+|MY\.)POMS", line)]})
    found = jobsub.attributes(only_poms, environment, surroundings)
    # Numbers are what jobs are counted by: a text in their place would be no submission's.
    for name in (ads.SUBMISSION, ads.ATTEMPT):
        if name in found and not isinstance(found[name], int):
            raise Invalid(f"{name} is {found[name]!r}; it must be a number.")
    found["Jobsub_Group"] = group
    found[ads.COMMAND] = command[:MAX_COMMAND]
    return found
