"""Files of launches on this machine: who can read them, where the script finds them, and that they go away."""

from __future__ import annotations

import io
import os
import select
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from poms.plugins.local.launch_files import PRIVATE, SANDBOX, sweep
from poms.plugins.local.transport import LocalTransport
from poms.webservice.errors import Invalid
from poms.webservice.interfaces import LaunchFiles, PluginContext, PrivateFile

CANARY = b"canary-6f1d0c7e-never-shown"
FILES = LaunchFiles(private=(PrivateFile("token", CANARY), PrivateFile("x509", b"\x00\xff\n")),
                    kept=(PrivateFile("setup.sh", b"echo from the sandbox\n"),))


@pytest.fixture
def transport(tmp_path):
    return LocalTransport(PluginContext("samdev", {}, tmp_path, "", "", lambda: datetime.now(UTC), lambda name: name))


def run(transport, script, files=FILES, **more):
    log = io.BytesIO()
    limits = {"timeout_seconds": 30.0, "max_output_bytes": 100_000} | more
    return transport.run("localhost", "", script, log=log, files=files, **limits), log.getvalue()


def test_a_script_finds_its_files(transport):
    """Byte for byte, in the directory that the variable names."""
    result, _ = run(transport, 'od -An -tx1 "$POMS_LAUNCH_FILES/x509"; cat "$POMS_LAUNCH_FILES/token"; '
                               '. "$POMS_LAUNCH_SANDBOX/setup.sh"')

    assert result.output == f" 00 ff 0a\n{CANARY.decode()}from the sandbox\n"


def test_nobody_else_can_read_them(transport):
    """Directories are 0700 and files 0600, whatever umask the service has."""
    before = os.umask(0)
    try:
        result, _ = run(transport, 'stat -c %a "$POMS_LAUNCH_FILES" "$POMS_LAUNCH_FILES/token" '
                                   '"$POMS_LAUNCH_FILES/.." "$POMS_LAUNCH_SANDBOX" "$POMS_LAUNCH_SANDBOX/setup.sh"')
    finally:
        os.umask(before)

    assert result.output.split() == ["700", "600", "700", "700", "600"]


def test_private_files_are_gone_when_the_script_has_ended(transport, tmp_path):
    """The sandbox stays, the credentials do not; nor does what the script put beside them."""
    run(transport, 'cp "$POMS_LAUNCH_FILES/token" "$POMS_LAUNCH_FILES/copy"; exit 3')

    left = [path.name for path in (tmp_path / "launch_files").iterdir()]
    assert [name[:8] for name in left] == [SANDBOX]


@pytest.mark.parametrize("limits", [{"timeout_seconds": 0.5}, {"max_output_bytes": 10}], ids=["time", "output"])
def test_private_files_are_gone_when_the_script_is_ended(transport, tmp_path, limits):
    """Also when it was stopped at a limit."""
    result, _ = run(transport, "echo more than ten bytes; sleep 1000", replace(FILES, kept=None), **limits)

    assert result.exit_status is None
    assert list((tmp_path / "launch_files").iterdir()) == []


def test_private_files_are_gone_when_the_agent_dies(tmp_path):
    """Killed without a chance to do anything, it leaves neither the script nor its credentials."""
    program = f"""
import io, sys
from datetime import UTC, datetime
from pathlib import Path
from poms.plugins.local.transport import LocalTransport
from poms.webservice.interfaces import LaunchFiles, PluginContext, PrivateFile
context = PluginContext("samdev", {{}}, Path({str(tmp_path)!r}), "", "", lambda: datetime.now(UTC), lambda name: name)
LocalTransport(context).run("localhost", "", "echo $$ >&2; sleep 1000", log=sys.stdout.buffer, timeout_seconds=900,
                            max_output_bytes=1000, files=LaunchFiles(private=(PrivateFile("token", b"secret"),)))
"""
    agent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    script = os.pidfd_open(int(agent.stdout.readline()))
    (directory,) = (tmp_path / "launch_files").iterdir()
    assert (directory / "token").read_bytes() == b"secret"

    agent.send_signal(signal.SIGKILL)
    agent.wait(60)
    agent.stdout.close()

    with os.fdopen(script):
        assert select.select([script], [], [], 60)[0], "the script is still alive"
    assert not directory.exists()


def test_no_secret_is_in_any_process_s_arguments_or_environment(transport):
    """While the script runs, neither arguments nor environment of any process hold what the files hold."""
    result, log = run(transport, 'cat "$POMS_LAUNCH_FILES/token" > /dev/null; for each in /proc/[0-9]*; do '
                                 'cat "$each/cmdline" "$each/environ" 2>/dev/null; done; true',
                      max_output_bytes=50_000_000)

    assert "POMS_LAUNCH_FILES=" in result.output
    assert CANARY.decode() not in result.output
    assert CANARY not in log


@pytest.mark.parametrize("name", ["../token", "/etc/passwd", "", ".", "..", "a b", "-rf", "a\nb", "a/b", "$(id)", "é"])
def test_names_stay_in_their_directory(transport, tmp_path, name):
    """A name that is no plain word is refused before anything is written or started."""
    with pytest.raises(Invalid):
        run(transport, "echo started", LaunchFiles(private=(PrivateFile(name, b"x"),)))

    assert not (tmp_path / "launch_files").exists()


def test_what_was_left_behind_is_swept(transport, tmp_path):
    """A later launch removes the directories of launches that cannot be alive, and sandboxes whose time is over."""
    root = tmp_path / "launch_files"
    ages = {f"{PRIVATE}old": 180_000, f"{PRIVATE}new": 3600, f"{SANDBOX}old": 90_000, f"{SANDBOX}new": 3600,
            "something-else": 10**8}
    for name, age in ages.items():
        (root / name).mkdir(parents=True)
        (root / name / "file").write_text("x")
        at = datetime.now(UTC).timestamp() - age
        os.utime(root / name, (at, at))

    run(transport, "true", LaunchFiles(keep_seconds=86400))

    assert {path.name for path in root.iterdir()} == {f"{PRIVATE}new", f"{SANDBOX}new", "something-else"}


def test_sweeping_follows_no_links(tmp_path):
    """A link with the name of a sandbox is not what it points to."""
    precious = tmp_path / "precious"
    precious.mkdir()
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / f"{SANDBOX}link").symlink_to(precious)

    assert sweep(tmp_path / "root", SANDBOX, older_than_seconds=-10) == 0
    assert precious.is_dir()


def test_a_launch_without_files_finds_no_variables(transport):
    """Scripts that are given nothing see no directory."""
    result, _ = run(transport, 'echo "[${POMS_LAUNCH_FILES-none}][${POMS_LAUNCH_SANDBOX-none}]"', None)

    assert result.output == "[none][none]\n"


def test_an_empty_sandbox_is_one(transport):
    """Somebody who keeps no files has a directory of the launch's own all the same."""
    result, _ = run(transport, 'ls -A "$POMS_LAUNCH_SANDBOX"; test -d "$POMS_LAUNCH_SANDBOX"', LaunchFiles(kept=()))

    assert (result.exit_status, result.output) == (0, "")
