"""Files that go along with a launch script to another host: whole, private, and gone afterwards."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from poms.plugins.ssh import remote
from poms.webservice.errors import BackendUnavailable, Invalid
from poms.webservice.interfaces import LaunchFiles, PrivateFile
from poms.webservice.services.launches import CallOff
from poms.webservice.testing.jobs import await_that

HOST = "127.0.0.1"
CANARY = b"canary-51c2a0de-never-shown"
BINARY = bytes(range(256)) * 4096
FILES = LaunchFiles(private=(PrivateFile("token", CANARY), PrivateFile("empty", b""), PrivateFile("x509", BINARY)),
                    kept=(PrivateFile("setup.sh", b"echo from the sandbox\n"),))


@pytest.fixture
def temporary(server, tmp_path):
    """The temporary directory of the launch host."""
    directory = tmp_path / "tmp of the host"
    directory.mkdir()
    server.restart(f'SetEnv TMPDIR="{directory}"')
    return directory


def run(caller, script, files=FILES, *, stop=None, timeout_seconds=60.0):
    caller.log = io.BytesIO()
    return caller.transport().run(HOST, caller.account, script, log=caller.log, timeout_seconds=timeout_seconds,
                                  max_output_bytes=50_000_000, files=files, stop=stop)


def launches_left(directory: Path) -> list[Path]:
    return [path for path in directory.iterdir() if path.name.startswith("poms-launch.")]


def test_files_arrive_byte_for_byte(caller, temporary):
    """A megabyte of every byte there is, an empty file, and a sandbox that the script can source from."""
    result = run(caller, 'cksum < "$POMS_LAUNCH_FILES/x509"; wc -c < "$POMS_LAUNCH_FILES/empty"; '
                         'cat "$POMS_LAUNCH_FILES/token"; echo; . "$POMS_LAUNCH_SANDBOX/setup.sh"')

    expected = subprocess.run(["cksum"], input=BINARY, capture_output=True, check=True).stdout.decode()
    assert result.output == f"{expected}0\n{CANARY.decode()}\nfrom the sandbox\n"
    assert result.exit_status == 0


def test_only_the_account_can_read_them(caller, temporary):
    """Directories 0700, files 0600."""
    result = run(caller, 'stat -c %a "$POMS_LAUNCH_FILES/.." "$POMS_LAUNCH_FILES" "$POMS_LAUNCH_FILES/token" '
                         '"$POMS_LAUNCH_SANDBOX" "$POMS_LAUNCH_SANDBOX/setup.sh"')

    assert result.output.split() == ["700", "700", "600", "700", "600"]


def test_private_files_are_gone_when_the_script_has_ended(caller, temporary):
    """Nothing but the sandbox is left over there, whatever the script did with its files."""
    run(caller, 'cp "$POMS_LAUNCH_FILES/token" "$POMS_LAUNCH_FILES/.copy"; exit 4')

    assert [path.name.partition(".")[0] for path in temporary.iterdir()] == ["poms-sandbox"]


def test_private_files_are_gone_when_a_launch_is_called_off(caller, temporary):
    """The script ends, and its credentials with it."""
    stop = CallOff()
    done = threading.Thread(target=run, args=(caller, "sleep 1000"), kwargs={"stop": stop, "timeout_seconds": 600})
    done.start()
    await_that(lambda: any((path / "files/token").exists() for path in launches_left(temporary)))

    stop.set()
    done.join(60)

    await_that(lambda: launches_left(temporary) == [])


def test_private_files_are_gone_when_the_connection_is(temporary):
    """An agent that died says nothing any more; the other side notices and removes them."""
    script = b"sleep 1000"
    process = subprocess.Popen(["sh", "-c", remote.LAUNCH], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, env={**os.environ, "TMPDIR": str(temporary)})
    process.stdin.write(remote.header(len(script), "k", 600, files=1) + script
                        + remote.contents(LaunchFiles(private=(PrivateFile("token", b"secret"),))))
    process.stdin.flush()
    await_that(lambda: any((path / "files/token").exists() for path in launches_left(temporary)))

    process.communicate(timeout=60)

    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_private_files_are_gone_when_the_login_is_ended(temporary, number):
    """A host that ends the login's processes does not keep what they were given."""
    script = b"sleep 1000 & echo here; wait"
    process = subprocess.Popen(["sh", "-c", remote.LAUNCH], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, env={**os.environ, "TMPDIR": str(temporary)})
    process.stdin.write(remote.header(len(script), "k", 600, files=1) + script
                        + remote.contents(LaunchFiles(private=(PrivateFile("token", b"secret"),))))
    process.stdin.flush()
    assert process.stdout.readline() == b"here\n"

    process.send_signal(number)
    process.communicate(timeout=60)

    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("sent", [
    b"", b"0 token", b"0 token 5\nab", b"0 ../token 1\na", b"0 a/b 1\na", b"2 token 1\na", b"0 token x\na",
    b"0 -rf 1\na", b"0  1\na", b"0 .. 1\na", b"0 $(id>canary) 1\na"], ids=range(11))
def test_a_script_without_all_its_files_does_not_run(temporary, sent):
    """A connection that breaks among the files, or a name that is none, starts nothing and leaves nothing."""
    script = b"echo ran"
    done = subprocess.run(["sh", "-c", remote.LAUNCH], capture_output=True, timeout=60, check=False, cwd=temporary,
                          input=remote.header(len(script), "k", 600, files=1, sandbox=True) + script + sent,
                          env={**os.environ, "TMPDIR": str(temporary)})

    assert (done.returncode, done.stdout) == (97, b"")
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("name", ["../x", "a b", "-rf", "a\nb", "", "..", "$(id)", "'", "x" * 201])
def test_names_that_are_no_words_are_refused_here(caller, name):
    """Before anybody logs in anywhere."""
    with pytest.raises(Invalid):
        run(caller, "echo started", LaunchFiles(kept=(PrivateFile(name, b"x"),)))


def test_a_full_disk_starts_nothing(caller, temporary, tmp_path):
    """Files that cannot be written are no reason to run the script without them."""
    temporary.rmdir()

    with pytest.raises(BackendUnavailable, match="temporary directory"):
        run(caller, f"touch {tmp_path}/ran")

    assert not (tmp_path / "ran").exists()


def test_no_secret_is_in_arguments_environments_or_the_log(caller, temporary):
    """Neither here nor there: of all processes while the script runs, and of the login's own output."""
    result = run(caller, 'for each in /proc/[0-9]*; do cat "$each/cmdline" "$each/environ" 2>/dev/null; done; true')

    assert "POMS_LAUNCH_FILES=" in result.output
    assert CANARY.decode() not in result.output
    assert CANARY not in caller.log.getvalue()


def test_what_was_left_behind_is_removed_by_a_later_launch(caller, temporary):
    """Of launches that cannot be alive, and sandboxes whose time is over; nothing else, and nothing behind links."""
    old = {"poms-launch.old": 180_000, "poms-launch.new": 60_000, "poms-sandbox.old": 90_000,
           "poms-sandbox.new": 60_000, "others": 10**8}
    for name, age in old.items():
        (temporary / name).mkdir()
        (temporary / name / "file").write_text("x")
        at = (temporary / name).stat().st_mtime - age
        os.utime(temporary / name, (at, at))
    (temporary / "poms-launch.link").symlink_to(temporary / "others")

    run(caller, "true", LaunchFiles(keep_seconds=86400))

    left = {path.name for path in temporary.iterdir()}
    assert left == {"poms-launch.new", "poms-sandbox.new", "others", "poms-launch.link"}
