"""Splits the unquoted values of a launch configuration into words, as the shell of the format would.

Values without ``$`` and backticks never see a shell: quotes and backslashes are taken as in sh, everything else
literally. The others are expanded by one bash, because the format promises it and the file belongs to its user.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping

from poms.webservice.errors import Invalid

LONGEST_SECONDS = 120
_WORDS = "set -f\nfor word in {text}\ndo printf '%s\\0' \"$word\"\ndone"


def needs_shell(text: str) -> bool:
    return "$" in text or "`" in text


def words(text: str, environment: Mapping[str, str], *, field: str) -> list[str]:
    """The words of ``text``; file name patterns are not expanded. Raises Invalid if quotes do not match."""
    if "\0" in text:
        raise Invalid("a NUL character cannot be part of a command", field)
    if needs_shell(text):
        # Inside the loop header a newline would end the list of words.
        output = _bash(_WORDS.format(text=text.replace("\n", " ")), environment, field)
        return output.split("\0")[:-1]
    try:
        return shlex.split(text)
    except ValueError as problem:
        raise Invalid(f"'{text}' cannot be split into words: {problem}", field) from problem


def quoted(text: str, environment: Mapping[str, str], *, field: str) -> str:
    """One word: ``text`` with variables and commands expanded as between double quotes, never split."""
    return _bash(f'printf %s "{text}"', environment, field) if needs_shell(text) else text


def _bash(script: str, environment: Mapping[str, str], field: str) -> str:
    try:
        done = subprocess.run(["bash", "--noprofile", "--norc", "-c", script], env=dict(environment),
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=LONGEST_SECONDS, check=False)
    except subprocess.TimeoutExpired as problem:
        raise Invalid(f"expanding the value took longer than {LONGEST_SECONDS} seconds", field) from problem
    except OSError as problem:
        raise Invalid(f"bash is needed to expand the value and cannot be started: {problem}", field) from problem
    errors = done.stderr.decode(errors="replace").strip()
    if done.returncode != 0:
        raise Invalid(f"bash could not expand the value: {errors or f'exit status {done.returncode}'}", field)
    return done.stdout.decode(errors="surrogateescape")
