"""The fixed commands by themselves, in real shells: what they run, and what they refuse to run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess

import pytest

from poms.plugins.ssh import remote

SHELLS = [name for name in ("sh", "bash", "dash", "zsh", "tcsh", "ksh", "fish") if shutil.which(name)]


def launch(sent: bytes, *, shell: str = "sh", environment: dict[str, str] | None = None) -> tuple[bytes, list[bytes]]:
    """Output and notices when exactly these bytes come and then the connection ends."""
    done = subprocess.run([shell, "-c", remote.LAUNCH], input=sent, capture_output=True, timeout=60,
                          env={**os.environ, **(environment or {})}, check=False)
    return done.stdout, done.stderr.splitlines()


@pytest.mark.parametrize("shell", SHELLS)
def test_any_login_shell_hands_it_to_bash(shell):
    """Whatever shell the account has, bash gets the same text."""
    process = subprocess.Popen([shell, "-c", remote.LAUNCH], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    script = b"echo $((40 + 2)) \"$0\""
    process.stdin.write(remote.header(len(script), "k", 60) + script)
    process.stdin.flush()

    output = process.stdout.read()

    assert output == b"42 /dev/fd/9\n"
    assert b"poms-launch:k:status:0" in process.communicate()[1]


@pytest.mark.parametrize("sent", [b"", b"12", b"12 k 60\necho", b"x k 60\necho hello", b" k 60\necho",
                                  b"12 k x\necho hello"])
def test_what_did_not_arrive_whole_is_not_run(sent, tmp_path):
    """A connection that breaks while the script is sent starts nothing and leaves nothing."""
    output, notices = launch(sent, environment={"TMPDIR": str(tmp_path)})

    assert output == b""
    assert not any(b":group:" in notice for notice in notices)
    assert list(tmp_path.iterdir()) == []


def test_the_time_limit_holds_without_anybody_watching():
    """The remote side ends a script by itself, should the agent be unable to reach it any more."""
    process = subprocess.Popen(["sh", "-c", remote.LAUNCH], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    script = b"sleep 1000 & wait"
    process.stdin.write(remote.header(len(script), "k", 1) + script)
    process.stdin.flush()

    said = process.stderr.read()

    assert b"poms-launch:k:limit:" in said
    assert b"poms-launch:k:status:143" in said
    process.communicate()


@pytest.mark.parametrize("sent", [b"", b"\n", b"0\n", b"1\n", b"-1\n", b"12;id\n", b"$(id)\n"])
def test_ending_takes_only_a_process_group(sent):
    """Nothing but the number of a group is accepted; 1 and less would mean every process of the account."""
    done = subprocess.run(["sh", "-c", remote.END], input=sent, capture_output=True, timeout=60, check=False)

    assert (done.returncode, done.stdout) == (97, b"")


def test_ending_ends_a_group_that_does_not_want_to():
    """A group that ignores the request is killed."""
    victim = subprocess.Popen(["bash", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"],
                              start_new_session=True, stdout=subprocess.PIPE)
    victim.stdout.readline()

    subprocess.run(["sh", "-c", remote.END], input=f"{victim.pid}\n".encode(), timeout=60, check=True)

    assert victim.wait(60) == -signal.SIGKILL
    victim.stdout.close()


def test_ending_what_has_ended_is_no_error():
    """The group may have ended by itself meanwhile."""
    gone = subprocess.Popen(["true"], start_new_session=True)
    gone.wait(60)

    subprocess.run(["sh", "-c", remote.END], input=f"{gone.pid}\n".encode(), timeout=60, check=True)


@pytest.mark.parametrize(("line", "notice"), [
    (b"poms-launch:ready", remote.Notice("ready")),
    (b"poms-launch:k:status:3\r", remote.Notice("status", "3")),
    (b"poms-launch:k:refused:no: disk", remote.Notice("refused", "no: disk")),
    (b"poms-launch:other:status:0", None),
    (b"poms-launch:", None),
    (b"Permission denied (publickey).", None),
    (b"\xff\xfe", None),
])
def test_only_notices_of_this_launch_are_believed(line, notice):
    """A line without this launch's key is somebody else's text."""
    assert remote.read_notice(line, "k") == notice
