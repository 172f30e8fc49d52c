"""Is everything there that ssh launches need? Looks at files only; connects to nobody."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from poms.plugins.ssh.connection import PATH, Connection
from poms.webservice.errors import BackendUnavailable, ConfigurationError
from poms.webservice.interfaces import CheckResult, PluginContext

SUBJECT = "ssh launches"


def check_surroundings(context: PluginContext) -> list[CheckResult]:
    """Every problem found; one ``ok`` if there is none."""
    try:
        connection = Connection.of(context)
    except ConfigurationError as wrong:
        return [CheckResult("error", SUBJECT, str(wrong))]
    problems = [*_program(connection), *_known_hosts(connection), *_identity(connection), *_sockets(connection)]
    places = ", ".join(connection.allowed_hosts)
    return problems or [CheckResult("ok", SUBJECT, f"ssh is here; may launch at {places}")]


def _program(connection: Connection) -> list[CheckResult]:
    if shutil.which(connection.program, path=PATH):
        return []
    return [CheckResult("error", SUBJECT, f"there is no {connection.program} in {PATH}: install OpenSSH's client")]


def _known_hosts(connection: Connection) -> list[CheckResult]:
    if not connection.known_hosts:
        return []
    try:
        with Path(connection.known_hosts).open("rb") as file:
            filled = bool(file.read(1))
    except OSError as problem:
        return [CheckResult("error", SUBJECT, f"[ssh] known_hosts cannot be read: {problem}")]
    if filled:
        return []
    return [CheckResult("warning", SUBJECT, f"{connection.known_hosts} is empty: no host will be believed")]


def _identity(connection: Connection) -> list[CheckResult]:
    if not connection.identity_file:
        return []
    file = Path(connection.identity_file)
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
    except OSError as problem:
        return [CheckResult("error", SUBJECT, f"[ssh] identity_file cannot be read: {problem}")]
    if not os.access(file, os.R_OK):
        return [CheckResult("error", SUBJECT, f"{file} cannot be read by the service's account")]
    if mode & 0o077:
        return [CheckResult("error", SUBJECT, f"others may read {file} (mode {mode:o}): chmod 600 {file}")]
    return []


def _sockets(connection: Connection) -> list[CheckResult]:
    if connection.keep_connection_seconds < 1:
        return []
    if not connection.shares_connections:
        return [CheckResult("warning", SUBJECT, f"the path {connection.control_dir} is too long for sockets, so every "
                            "launch makes its own connection: give [ssh] control_dir a shorter one")]
    try:
        connection.prepare()
    except BackendUnavailable as problem:
        return [CheckResult("error", SUBJECT, str(problem))]
    return []
