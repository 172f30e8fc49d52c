"""The program that HTCondor starts for each job: environment, input, the real program, output directories.

Text only; it runs wherever there is bash. Everything people named is in it as quoted shell words, because an
environment in an ad cannot hold newlines and has ``$$(...)`` replaced. Invariant: the job ends as its program ended;
what keeps the program from running, or its output from arriving, puts the job on hold (``ads.WRAPPER_SIGNALS``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from poms.plugins.htcondor.ads import WRAPPER_SIGNALS
from poms.webservice.rules import shell

NAME = "poms_job"
PROGRAM = "poms_program"

_SIGNAL = {code: number for number, code in WRAPPER_SIGNALS.items()}

_BEGIN = """\
#!/bin/bash
# Made by POMS for the jobs of one submission.
hold() {
    printf 'poms: %s\\n' "$2" >&2
    trap - "$1"
    kill "-$1" $$
    exit 125
}
"""

_PLACES = """\
# In a directory below: HTCondor brings back every file that a job leaves beside its input, but no directory.
POMS_SCRATCH="${_CONDOR_SCRATCH_DIR:-$PWD}/poms_scratch"
mkdir -p "$POMS_SCRATCH" && mv ./%(program)s ./poms_file_* ./poms_archive_* "$POMS_SCRATCH" 2>/dev/null
cd "$POMS_SCRATCH" || hold %(input)s "the scratch directory cannot be made"
export _CONDOR_SCRATCH_DIR="$POMS_SCRATCH"
export CLUSTER PROCESS JOBSUBJOBID="$CLUSTER.$PROCESS@$POMS_SCHEDD" JOBSUBPARENTJOBID="$CLUSTER.0@$POMS_SCHEDD"
export JOBSUBJOBSECTION=$((PROCESS + 1)) TMPDIR="$POMS_SCRATCH" HOME="${HOME:-$POMS_SCRATCH}"
export PATH="${PATH:-/usr/local/bin:/usr/bin:/bin}"
export CONDOR_DIR_INPUT="$POMS_SCRATCH/poms_input"
mkdir -p "$CONDOR_DIR_INPUT" || hold %(input)s "the input directory cannot be made"
unset POMS_SCHEDD
"""

# An exec that fails comes back here, so that this is told from a program that ends with 126 or 127.
_RUN = """\
chmod 700 ./%(program)s && mv ./%(program)s %(name)s || hold %(input)s "the executable did not arrive"
shopt -s execfail
"""


@dataclass(frozen=True, slots=True)
class Payload:
    """What one job needs; ``files`` and ``archives`` are the names that people know them by."""

    program: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    schedd: str
    files: Sequence[str] = ()
    archives: Sequence[str] = ()
    outputs: Sequence[tuple[str, str]] = ()


def file_name(number: int) -> str:
    """The name under which an input file travels: HTCondor's lists of files cannot hold every name."""
    return f"poms_file_{number}"


def archive_name(number: int) -> str:
    return f"poms_archive_{number}"


def script(payload: Payload) -> str:
    """The bash text of the wrapper."""
    input_signal = str(_SIGNAL[13])
    lines = [_BEGIN]
    lines += [shell.export(name, value) for name, value in payload.environment.items()]
    lines += [f"POMS_SCHEDD={shell.quote(payload.schedd)}", _PLACES % {"input": input_signal, "program": PROGRAM}]
    for number, name in enumerate(payload.files):
        lines.append(f'mv ./{file_name(number)} "$CONDOR_DIR_INPUT"/{shell.quote(name)} '
                     f'|| hold {input_signal} "an input file did not arrive"')
    for number, name in enumerate(payload.archives):
        lines += _unpack(number, name, input_signal)
    for tag, _ in payload.outputs:
        lines.append(f'export CONDOR_DIR_{tag}="$POMS_SCRATCH/poms_out_{tag}"; mkdir -p "$CONDOR_DIR_{tag}" '
                     f'|| hold {input_signal} "an output directory cannot be made"')
    lines.append(_RUN % {"program": PROGRAM, "name": shell.quote(f"./{payload.program}"), "input": input_signal})
    command = " ".join([shell.quote(f"./{payload.program}"), *map(shell.quote, payload.arguments)])
    failed = f'hold {_SIGNAL[6]} "the executable could not be started"'
    if payload.outputs:
        lines.append('export POMS_NOT_STARTED="$POMS_SCRATCH/poms_not_started"')
        lines += _with_outputs(payload, command, failed)
    else:
        # The program takes this process over: signals and resources are its own.
        lines += [f"exec {command}", failed]
    return "\n".join(lines) + "\n"


def _unpack(number: int, name: str, signal: str) -> list[str]:
    suffix = f"_{number}" if number else ""
    return [
        f'mv ./{archive_name(number)} "$CONDOR_DIR_INPUT"/{shell.quote(name)} '
        f'|| hold {signal} "an archive did not arrive"',
        f'export INPUT_TAR_FILE{suffix}="$CONDOR_DIR_INPUT"/{shell.quote(name)} '
        f'INPUT_TAR_DIR_LOCAL{suffix}="$POMS_SCRATCH/poms_tar_{number}"',
        f'mkdir -p "$INPUT_TAR_DIR_LOCAL{suffix}" && tar -xf "$INPUT_TAR_FILE{suffix}" '
        f'-C "$INPUT_TAR_DIR_LOCAL{suffix}" || hold {signal} "an archive cannot be unpacked"']


def _with_outputs(payload: Payload, command: str, failed: str) -> list[str]:
    """Run the program below this one, copy what it left, and end as it did."""
    # A shell of its own: execfail does not hold in a subshell.
    started = """bash -c 'shopt -s execfail; exec "$@"; : > "$POMS_NOT_STARTED"' poms_job"""
    lines = [f"{started} {command}", "poms_status=$?",
             f'[ ! -e "$POMS_NOT_STARTED" ] || {failed}']
    for tag, target in payload.outputs:
        place = shell.quote(target)
        lines.append(
            f'if command -v ifdh >/dev/null 2>&1 && [ ! -d {place} ]; then ifdh mkdir_p {place}; '
            f'for poms_item in "$CONDOR_DIR_{tag}"/*; do [ ! -e "$poms_item" ] || ifdh cp -D "$poms_item" {place} || '
            f'hold {_SIGNAL[12]} "output could not be copied"; done\n'
            f'else mkdir -p {place} && cp -R "$CONDOR_DIR_{tag}"/. {place}/ || '
            f'hold {_SIGNAL[12]} "output could not be copied"; fi')
    # A status above 128 is how bash tells of a signal; end by the same one, without a core file of bash's own.
    lines += ["if [ $poms_status -gt 128 ] && kill -l $((poms_status - 128)) >/dev/null 2>&1; then",
              "    ulimit -c 0; kill -$((poms_status - 128)) $$", "fi", "exit $poms_status"]
    return lines
