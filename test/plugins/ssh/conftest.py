"""A real sshd on loopback with keys of its own, as the account of the test run."""

from __future__ import annotations

import getpass
import io
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

import pytest

from poms.plugins.ssh import SECTION, SshTransport
from poms.webservice import config
from poms.webservice.interfaces import PluginContext, TransportResult
from poms.webservice.testing.fixtures import lacking

HOST = "127.0.0.1"
ACCOUNT = getpass.getuser()
PRIVILEGE_DIRECTORY = Path("/run/sshd")


@dataclass
class Server:
    """A running sshd; ``options`` are the settings of [ssh] by which it is reached."""

    directory: Path
    port: int
    program: str
    options: dict[str, str]
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start it and wait until it says that it listens."""
        self.process = subprocess.Popen([self.program, "-D", "-e", "-f", str(self.directory / "sshd_config")],
                                        stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        assert self.process.stderr is not None
        said = b""
        while b"Server listening" not in said:
            line = self.process.stderr.readline()
            assert line, f"sshd did not start: {said.decode()}"
            said += line
        # Nobody reads it any more; a full pipe would stop the server.
        self._log = open(self.directory / "sshd.log", "ab")  # noqa: SIM115, PTH123 - closed with the server
        self._copier = subprocess.Popen(["cat"], stdin=self.process.stderr, stdout=self._log)

    def stop(self) -> None:
        if self.process is not None:
            close_shared_connections(self)
            self.process.terminate()
            self.process.wait(30)
            self._copier.wait(30)
            assert self.process.stderr is not None
            self.process.stderr.close()
            self._log.close()
            self.process = None

    def restart(self, *lines: str) -> None:
        """Begin again with more lines in its configuration."""
        self.stop()
        with (self.directory / "sshd_config").open("a") as file:
            file.writelines(f"{line}\n" for line in lines)
        self.start()

    def logins(self) -> int:
        """How often somebody was let in. Asked while it is stopped, so that its log is complete."""
        return (self.directory / "sshd.log").read_text().count("Accepted publickey")

    def make_key(self, name: str) -> Path:
        file = self.directory / name
        file.unlink(missing_ok=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(file)], check=True)
        return file

    def believe(self, public_key: Path) -> None:
        """Make ``public_key`` the one that known_hosts says the server has."""
        kind, key = public_key.read_text().split()[:2]
        Path(self.options["known_hosts"]).write_text(f"[{HOST}]:{self.port} {kind} {key}\n")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def sshd_program() -> str:
    """The path of sshd, with the directory that it wants when it is started by root."""
    program = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin:/sbin")
    if program is None or shutil.which("ssh") is None:
        lacking("sshd", "OpenSSH's server and client are not both here; install them")
    if os.geteuid() == 0:
        # Left behind: another worker's server may be using it.
        PRIVILEGE_DIRECTORY.mkdir(mode=0o755, exist_ok=True)
    return str(program)


@pytest.fixture
def server(sshd_program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that lets the test's own key in."""
    directory = tmp_path_factory.mktemp("sshd")
    # Sockets have short paths only, and how deep pytest's directories are depends on how it is run.
    sockets = Path(tempfile.mkdtemp(prefix="poms-ssh-"))
    port = free_port()
    made = Server(directory, port, sshd_program, {
        "allowed_hosts": f"{ACCOUNT}@{HOST}", "known_hosts": str(directory / "known hosts"),
        "identity_file": str(directory / "user_key"), "connect_timeout": "5s",
        "control_dir": str(sockets), "keep_connection": "30s", "options": f"Port={port}"})
    host_key, user_key = made.make_key("host_key"), made.make_key("user_key")
    shutil.copyfile(user_key.with_suffix(".pub"), directory / "authorized_keys")
    (directory / "sshd_config").write_text(f"""
Port {port}
ListenAddress {HOST}
HostKey {host_key}
AuthorizedKeysFile {directory}/authorized_keys
PidFile none
UsePAM no
StrictModes no
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
MaxStartups 100
LogLevel VERBOSE
""")
    made.believe(host_key.with_suffix(".pub"))
    made.start()
    yield made
    made.stop()
    shutil.rmtree(sockets)


def close_shared_connections(server: Server) -> None:
    for socket_file in Path(server.options["control_dir"]).glob("*"):
        subprocess.run(["ssh", "-F", "none", "-S", str(socket_file), "-O", "exit", HOST], check=False,
                       capture_output=True)


def context_with(options: dict[str, str], data_dir: Path, experiment: str = "samdev") -> PluginContext:
    """What the service would give the plugin for these lines of [ssh]."""
    lines = "\n".join(f"{key} = {value}" for key, value in options.items())
    settings = config.parse(f"[ssh]\n{lines}\n", directory=data_dir, sections=[SECTION])
    return PluginContext(experiment, MappingProxyType(dict(settings.plugin_section("ssh", experiment))), data_dir,
                         "", "", lambda: datetime.now(UTC), lambda name: name)


@dataclass
class Caller:
    """Runs scripts through the transport; ``log`` is what the launch log got."""

    server: Server
    data_dir: Path
    account: str = ACCOUNT
    log: io.BytesIO = field(default_factory=io.BytesIO)

    def transport(self, **changes: str) -> SshTransport:
        return SshTransport(context_with(self.server.options | changes, self.data_dir))

    def run(self, script: str, *, timeout_seconds: float = 60.0, max_output_bytes: int = 10_000_000,
            **changes: str) -> TransportResult:
        self.log = io.BytesIO()
        return self.transport(**changes).run(HOST, ACCOUNT, script, log=self.log, timeout_seconds=timeout_seconds,
                                             max_output_bytes=max_output_bytes)


@pytest.fixture
def context_for(tmp_path: Path):
    """The plugin's context for some lines of [ssh], without a server."""
    return lambda **options: context_with(options, tmp_path)


@pytest.fixture
def caller(server: Server, tmp_path: Path) -> Caller:
    return Caller(server, tmp_path)
