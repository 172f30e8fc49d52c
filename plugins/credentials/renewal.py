"""Tokens renewed by htgettoken, which asks a vault: a program with a time limit, without a shell.

Invariant: tokens go to it and come back as files of the service's own; no argument or message holds one.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from poms.webservice.errors import BackendUnavailable

_SECRET = re.compile(r"\S{24,}")
PATH = "/usr/local/bin:/usr/bin:/bin"
# What htgettoken needs of the service's own surroundings: who it is, and where its Kerberos ticket is.
_PASSED_ON = ("HOME", "USER", "LOGNAME", "KRB5CCNAME", "KRB5_CONFIG", "TMPDIR", "X509_CERT_DIR", "SSL_CERT_FILE")


def renew(program: str, words: Iterable[str], *, token: str = "", vault_token: str = "", given_vault_token: str = "",
          timeout_seconds: float) -> str:
    """Have tokens written to the files named; why that was not done, "" if it was.

    ``given_vault_token`` is only read. Raises BackendUnavailable if the program does not end in time.
    """
    command = [program, *words]
    command += ["-o", token] if token else []
    command += [f"--vaulttokenfile={vault_token}"] if vault_token else []
    command += [f"--vaulttokeninfile={given_vault_token}"] if given_vault_token else []
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   env=_environment(os.environ), cwd="/", start_new_session=True, umask=0o077)
    except OSError as problem:
        return f"{Path(program).name} could not be started: {problem.strerror}"
    try:
        output, _ = process.communicate(timeout=timeout_seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise BackendUnavailable(f"{Path(program).name} did not end within {timeout_seconds:g} s; is the vault server "
                                 "there?") from None
    if process.returncode == 0:
        return ""
    return f"{Path(program).name} failed (exit status {process.returncode}): {last_words(output)}"


def last_words(output: bytes) -> str:
    """The last line that a program printed, without what could be a token in it."""
    lines = [line.strip() for line in output.decode(errors="replace").splitlines() if line.strip()]
    return _SECRET.sub("...", lines[-1])[:200] if lines else "it said nothing"


def _environment(own: Mapping[str, str]) -> dict[str, str]:
    return {"PATH": PATH, "LANG": "C.UTF-8", **{name: own[name] for name in _PASSED_ON if name in own}}
