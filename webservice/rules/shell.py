"""The only place that writes shell: quoting, and the bash text that launches a submission.

Not for running anything (that is a LaunchTransport). Invariant: every value is data and arrives
byte for byte; only a plan's ``setup`` and ``command`` are shell text, and neither can swallow
what is written around it, because both are handed over as one quoted word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from poms.webservice.errors import Invalid
from poms.webservice.interfaces import (
    FILES_VARIABLE,
    SANDBOX_VARIABLE,
    BatchEnvironment,
    LaunchFiles,
    LaunchPlan,
)

MAX_VALUE_BYTES = 120_000
"""Linux refuses to start a program with one variable above 128 KiB; better refused here, with its name."""

SETUP_MARK = "== login setup"
"""Begins the line by which a test of a login setup says what it found."""

EXPORT_FAILED_STATUS = 96
"""Exit status of a launch script whose variables could not be set (the setup made them read-only)."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]+\Z")


def quote(value: str) -> str:
    """``value`` as exactly one word of a POSIX shell; a NUL, which no shell can hold, is refused."""
    if "\0" in value:
        raise Invalid("A NUL character cannot be passed to a program; remove it.")
    if _PLAIN.match(value):
        return value
    return "'" + value.replace("'", "'\"'\"'") + "'"


def export(name: str, value: str) -> str:
    """One line that sets and exports a variable, or ends the script if it cannot."""
    if not _NAME.match(name):
        raise Invalid(f"{name!r} is no name of an environment variable; use letters, digits and underscores.")
    try:
        size = len(value.encode())
        quoted = quote(value)
    except UnicodeEncodeError:
        raise Invalid(f"The value of {name} is not valid text (half a character); correct it.", field=name) from None
    except Invalid as nul:
        raise Invalid(str(nul), field=name) from None
    if size > MAX_VALUE_BYTES:
        raise Invalid(f"The value is {size} bytes long; at most {MAX_VALUE_BYTES} can be passed.", field=name)
    return f"export {name}={quoted} || exit {EXPORT_FAILED_STATUS}"


def launch_script(plan: LaunchPlan, environment: BatchEnvironment, extra: Iterable[tuple[str, str]] = (), *,
                  files: LaunchFiles | None = None, credentials: Iterable[tuple[str, str]] = ()) -> str:
    """The whole bash text that launches ``plan``; its exit status is the command's.

    ``files`` go beside the script, not in it: it exports where they are. ``credentials`` are variables that go with
    them. Both are set before the setup text, which may use them, and again after it.

    ``extra`` (how scripts reach the file catalogue) and the batch system's variables are set before the
    setup text, which may change the former. The batch system's variables, the plan's and PATH are set
    after it, so that no setup can undo what ties the jobs to their submission.
    """
    wiring = [export(name, value) for name, value in environment.variables]
    given = [*file_exports(files), *(export(name, value) for name, value in credentials)]
    identity = [("POMS4_SUBMISSION_ID", str(plan.submission_id)), ("POMS4_LAUNCH_ATTEMPT", str(plan.attempt))]
    lines = [
        "exec 2>&1",
        'echo "== process_id: $$ =="',
        *wiring,
        *(export(name, value) for name, value in extra),
        *given,
        *_setup(plan.setup),
        *wiring,
        *given,
        *(export(name, value) for name, value in (*plan.environment, *identity)),
        *_path(environment.path),
        # A subshell: an exit, exec or trap of the command must not take the last lines away.
        f"( eval {quote('set -x' + chr(10) + _unix_lines(plan.command))} )",
        "poms_status=$?",
        'echo "== completed: $$ =="',
        'exit "$poms_status"',
    ]
    return "\n".join(lines) + "\n"


def file_exports(files: LaunchFiles | None) -> list[str]:
    """Lines that export where the files of a launch are, which is known on its host only."""
    lines = []
    for file in files.private if files else ():
        for name, before in file.exports:
            export(name, before + file.name)
            beginning = quote(before) if before else ""
            lines.append(f'export {name}={beginning}"${FILES_VARIABLE}"/{quote(file.name)} || '
                         f"exit {EXPORT_FAILED_STATUS}")
    place = f'"${SANDBOX_VARIABLE}"' if files and files.kept is not None else '"$HOME"'
    return [*lines, f"export UPLOADS={place} || exit {EXPORT_FAILED_STATUS}"]


def login_setup_test_script(plan: LaunchPlan, environment: BatchEnvironment, key: str, *,
                            files: LaunchFiles | None = None, credentials: Iterable[tuple[str, str]] = ()) -> str:
    """The bash text that tries out where and how launches begin; its last line says so under ``key``.

    All that ``launch_script`` sets is set in the same order. It shows what a person needs to see: who, where, room on
    the disks, names of variables (values may be secrets), where the programs are, which credentials there are.
    """
    wiring = [export(name, value) for name, value in environment.variables]
    given = [*file_exports(files), *(export(name, value) for name, value in credentials)]
    kept = [name for file in (files.private if files else ()) for name, before in file.exports if not before]
    lines = [
        "exec 2>&1",
        'echo "== process_id: $$ =="',
        'echo "-- $(id -un 2>/dev/null) on $(uname -n), $(uname -sr), $(date -u "+%Y-%m-%d %H:%M:%S") UTC"',
        'echo "-- room on the disks"',
        'df -hP "$HOME" "${TMPDIR:-/tmp}"',
        *wiring, *given,
        'echo "-- the login setup"',
        *_setup(plan.setup, status="poms_setup"),
        'echo "-- the login setup ended with exit status ${poms_setup:=0}"',
        *wiring, *given,
        *(export(name, value) for name, value in plan.environment),
        *_path(environment.path),
        'echo "-- PATH is $PATH"',
        'echo "-- variables: $(compgen -e | tr "\\n" " ")"',
        *(f'echo "-- {name} is $(ls -l "${name}" 2>&1)"' for name in kept),
        'echo "-- UPLOADS is $UPLOADS, with $(ls -A "$UPLOADS" | wc -l) files"',
        "poms_jobsub=no; command -v jobsub_submit && poms_jobsub=yes",
        '[ "$poms_jobsub" = yes ] || echo "-- jobsub_submit is not on PATH"',
        '[ "$poms_setup" = 0 ] && echo "-- login_setup successful!"',
        f'echo "{SETUP_MARK} {key}: $poms_setup $poms_jobsub"',
        'exit "$poms_setup"',
    ]
    return "\n".join(lines) + "\n"


def python_program(python: str, module: str, *words: str) -> str:
    """A small program that runs a Python module with ``words`` and then its own arguments.

    Site set-ups bring libraries and Python paths of their own; the module sees only what belongs to it.
    """
    line = " ".join(quote(word) for word in (python, "-I", "-m", module, *words))
    return ('#!/bin/sh\nHIDE_LD_LIBRARY_PATH="${LD_LIBRARY_PATH:-}"\nexport HIDE_LD_LIBRARY_PATH\n'
            f'unset LD_LIBRARY_PATH\nexec {line} "$@"\n')


def _setup(text: str, *, status: str = "") -> list[str]:
    """The setup text; ``status`` is a variable that gets its exit status."""
    if not text.strip():
        return []
    # set +...: options that the setup chose for itself must not end or trace our own lines.
    keep = [f"{status}=$?"] if status else []
    return [f"eval {quote(_unix_lines(text))}", *keep, "set +e +u +x"]


def _path(directories: Iterable[str]) -> list[str]:
    directories = tuple(directories)
    if not directories:
        return []
    for directory in directories:
        if ":" in directory or not directory.startswith("/"):
            raise Invalid(f"{directory!r} cannot be put on PATH; it must be absolute and without a colon.")
    first = quote(":".join(directories))
    return [f'export PATH={first}:"${{PATH:-/usr/local/bin:/usr/bin:/bin}}" || exit {EXPORT_FAILED_STATUS}', "hash -r"]


def _unix_lines(text: str) -> str:
    """Text from a browser's form has CR LF line ends, which bash takes for part of the last word."""
    return text.replace("\r\n", "\n")
