"""How ssh is called: its settings, who may be reached, and the argument list.

Not for what goes over the connection (``remote``, ``conversation``). Invariant: host and account are single
words of a narrow alphabet and on the operator's list before they come near an argument list.
"""

from __future__ import annotations

import os
import pwd
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poms.webservice.errors import BackendUnavailable, ConfigurationError, Invalid, Problem
from poms.webservice.interfaces import PluginContext, Setting, SettingsSection

SECTION = SettingsSection("ssh", "Launches on other hosts, for experiments with launch_transport = ssh. "
                          "[ssh NAME] says it for one experiment.", (
    Setting("allowed_hosts", "list", "", "Who may be reached: account@host, compared as a whole; * stands for any "
            "letters, digits, dots, dashes and underscores. Empty: nobody."),
    Setting("known_hosts", "str", "", "File with the host keys that are believed. Empty: those that the account of "
            "the service and this machine know."),
    Setting("identity_file", "str", "", "Private key to log in with. Empty: the usual keys of the service's account."),
    Setting("connect_timeout", "seconds", "10s", "How long a host may take to answer."),
    Setting("control_dir", "str", "", "Directory of the sockets through which connections are shared; its path must "
            "be short. Empty: ssh in the data directory."),
    Setting("keep_connection", "seconds", "60s", "How long an unused connection is kept for the next launch; 0: every "
            "launch makes its own."),
    Setting("kerberos_cache", "str", "", "Kerberos credential cache (KRB5CCNAME) that ssh finds."),
    Setting("options", "list", "", "More options of ssh, such as Port=2222 or GSSAPIAuthentication=yes. They cannot "
            "undo those that POMS sets."),
))

PATH = "/usr/local/bin:/usr/bin:/bin"
_WORD = re.compile(r"[A-Za-z0-9._-]+\Z")
_PATTERN = re.compile(r"[A-Za-z0-9._*-]+@[A-Za-z0-9._*-]+\Z")
_OPTION = re.compile(r"[A-Za-z0-9]+=[^\0\r\n]+\Z")

MAX_SOCKET_PATH = 107
"""A Unix socket's path is no longer on Linux; ssh itself adds 41 characters of name and 17 while it is made."""

_FIXED = (
    "BatchMode=yes", "StrictHostKeyChecking=yes", "UpdateHostKeys=no", "NumberOfPasswordPrompts=0",
    "ConnectionAttempts=1", "ServerAliveInterval=15", "ServerAliveCountMax=4", "TCPKeepAlive=yes",
    "ForwardAgent=no", "ForwardX11=no", "ClearAllForwardings=yes", "PermitLocalCommand=no", "EscapeChar=none",
    "RequestTTY=no", "LogLevel=ERROR",
)


@dataclass(frozen=True)
class Connection:
    """Everything about reaching hosts for one experiment, checked."""

    experiment: str
    allowed_hosts: tuple[str, ...]
    known_hosts: str
    identity_file: str
    connect_timeout_seconds: float
    control_dir: Path
    keep_connection_seconds: float
    kerberos_cache: str
    options: tuple[str, ...]
    program: str = "ssh"

    @staticmethod
    def of(context: PluginContext) -> Connection:
        """The connection that an experiment's settings describe; raises ConfigurationError."""
        options: Mapping[str, Any] = context.options
        made = Connection(
            experiment=context.experiment, allowed_hosts=tuple(options["allowed_hosts"]),
            known_hosts=options["known_hosts"], identity_file=options["identity_file"],
            connect_timeout_seconds=max(1.0, options["connect_timeout"]),
            control_dir=Path(options["control_dir"] or context.data_dir.absolute() / "ssh"),
            keep_connection_seconds=options["keep_connection"], kerberos_cache=options["kerberos_cache"],
            options=tuple(options["options"]))
        for pattern in made.allowed_hosts:
            if not _PATTERN.match(pattern):
                raise ConfigurationError(f"[ssh] allowed_hosts: {pattern!r} is not account@host")
        for option in made.options:
            if not _OPTION.match(option):
                raise ConfigurationError(f"[ssh] options: {option!r} is not Name=value")
        for key in ("known_hosts", "identity_file"):
            _quoted(getattr(made, key), key)
        return made

    def require_allowed(self, host: str, account: str) -> None:
        """Raise Invalid unless this account on this host is on the operator's list."""
        problems = []
        for field, value, what in (("launch_host", host, "host"), ("launch_account", account, "account")):
            if not _WORD.match(value) or value.startswith("-"):
                problems.append(Problem(field, f"{value!r} is no name of a launch {what}; use letters, digits, dots, "
                                               "dashes and underscores.", code=f"bad-{what}"))
        if not problems and not any(_covers(pattern, f"{account}@{host}") for pattern in self.allowed_hosts):
            whose = f"experiment {self.experiment}" if self.experiment else "this service"
            problems.append(Problem("launch_host", f"{account}@{host} is not a place where {whose} may launch; choose "
                                    "another login setup, or ask the operator to add it to [ssh] allowed_hosts.",
                                    code="foreign-host"))
        if problems:
            raise Invalid(problems)

    def arguments(self, host: str, account: str, command: str) -> list[str]:
        """The argument list that runs ``command``, a fixed text of ``remote``, as an account on a host."""
        words = [self.program, "-F", "none", "-T"]
        # ssh takes the first value that it meets: the operator's options come last and cannot undo these.
        for option in (*_FIXED, *self._chosen(), *self.options):
            words += ["-o", option]
        return [*words, "-l", account, "--", host, command]

    def environment(self) -> dict[str, str]:
        """What ssh itself finds: built from nothing, so that no secret of the service leaks into it."""
        own = pwd.getpwuid(os.geteuid())
        values = {"HOME": own.pw_dir, "USER": own.pw_name, "LOGNAME": own.pw_name, "LANG": "C.UTF-8", "PATH": PATH}
        if self.kerberos_cache:
            values["KRB5CCNAME"] = self.kerberos_cache
        return values

    @property
    def shares_connections(self) -> bool:
        return self.keep_connection_seconds >= 1 and len(str(self.control_dir).encode()) + 59 <= MAX_SOCKET_PATH

    def prepare(self) -> None:
        """Make the directory of the sockets; nobody else may reach it, for whoever does may use the connections."""
        if not self.shares_connections:
            return
        try:
            self.control_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self.control_dir.stat()
        except OSError as problem:
            raise BackendUnavailable(f"The directory of ssh's connections cannot be used: {problem}. Correct [ssh] "
                                     "control_dir.") from problem
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
            raise BackendUnavailable(f"Others may reach ssh's connections in {self.control_dir}: make it a directory "
                                     f"of the service's account alone (chmod 700), or change [ssh] control_dir.")

    def _chosen(self) -> list[str]:
        found = [f"ConnectTimeout={max(1, round(self.connect_timeout_seconds))}"]
        if self.known_hosts:
            found += [f"UserKnownHostsFile={_quoted(self.known_hosts, 'known_hosts')}",
                      "GlobalKnownHostsFile=none"]
        if self.identity_file:
            found += [f"IdentityFile={_quoted(self.identity_file, 'identity_file')}", "IdentitiesOnly=yes"]
        if self.shares_connections:
            return [*found, "ControlMaster=auto", f"ControlPersist={round(self.keep_connection_seconds)}",
                    f"ControlPath={_quoted(str(self.control_dir), 'control_dir')[:-1]}/%C\""]
        return [*found, "ControlMaster=no", "ControlPath=none"]


def _covers(pattern: str, place: str) -> bool:
    expression = re.escape(pattern).replace(r"\*", "[A-Za-z0-9._-]*")
    return re.fullmatch(expression, place) is not None


def _quoted(path: str, key: str) -> str:
    """A path as one word of an ssh option, which splits at blanks and expands %."""
    if re.search(r'["\\\0\r\n]', path):
        raise ConfigurationError(f"[ssh] {key}: {path!r} has a character that ssh cannot take; rename the file")
    return '"' + path.replace("%", "%%") + '"'
