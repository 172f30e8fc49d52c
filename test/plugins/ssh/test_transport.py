"""A launch script on another host: its output, its limits, what is not started, and nothing of it left behind."""

from __future__ import annotations

import io
import os
import select
import signal
from pathlib import Path

import pytest

from poms.plugins.ssh import SshTransport
from poms.webservice.errors import BackendUnavailable, Invalid
from poms.webservice.services.launches import CallOff
from poms.webservice.testing.fakes import installed_plugins

HOST = "127.0.0.1"


def await_gone(pid: int) -> None:
    """Wait until a process is dead; a test that waits in vain fails at its time limit."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    with os.fdopen(descriptor):
        assert select.select([descriptor], [], [], 60)[0], f"process {pid} is still alive"


# ------------------------------------------------------------------------------------ what comes back


def test_output_and_status_come_back(caller):
    """Both output streams are in the result and in the log, with the script's exit status."""
    result = caller.run("echo out; echo err >&2; exit 3")

    assert (result.exit_status, result.output, result.reason) == (3, "out\nerr\n", "")
    assert caller.log.getvalue() == b"out\nerr\n"


def test_a_command_that_reads_cannot_eat_the_script(caller):
    """Standard input is empty, so what a command reads is not the rest of the script."""
    assert caller.run("cat\nread line\necho still here").output == "still here\n"


def test_the_environment_is_built_from_nothing(caller, server, monkeypatch):
    """Neither the service's variables nor those of the login over there reach the script."""
    monkeypatch.setenv("POMS_DATABASE_PASSWORD", "secret")
    monkeypatch.setenv("SSH_AUTH_SOCK", "/tmp/agent")
    server.restart("SetEnv LOGIN_SECRET=secret")

    names = {line.split("=")[0] for line in caller.run("env").output.splitlines()}

    assert names <= {"HOME", "USER", "LOGNAME", "LANG", "SHELL", "PATH", "TZ", "TMPDIR", "KRB5CCNAME", "PWD", "SHLVL",
                     "_", "OLDPWD"}


def test_the_kerberos_cache_of_the_login_is_kept(caller, server):
    """Tickets that the login brought along are there for the script."""
    server.restart("SetEnv KRB5CCNAME=FILE:/tmp/krb5cc_here")

    assert caller.run('echo "$KRB5CCNAME"').output == "FILE:/tmp/krb5cc_here\n"


def test_the_script_lies_nowhere(caller, server, tmp_path):
    """While it runs, the script is in no directory, and its programs have no descriptor of it."""
    server.restart(f"SetEnv TMPDIR={tmp_path}")

    result = caller.run("ls -A $TMPDIR; ls -l /proc/self/fd | grep -c -e poms-launch -e deleted")

    assert result.output == "0\n"


def test_what_the_login_prints_is_not_the_launch(caller, server):
    """A greeting of the login shell is not taken for output of the script, nor the script for input of the login."""
    noise = server.directory / "noise"
    noise.write_text("echo welcome; echo be good >&2\n")
    server.restart(f"SetEnv BASH_ENV={noise}")

    assert caller.run("echo mine").output == "mine\n"


def test_output_arrives_while_the_script_runs(server, caller, tmp_path):
    """The log grows as the script writes; a reader need not wait for the end."""
    fifo = tmp_path / "go"
    os.mkfifo(fifo)

    class Log(io.BytesIO):
        def write(self, data):
            if b"first" in data:
                fifo.write_text("go")
            return super().write(data)

    log = Log()
    caller.transport().run(HOST, caller.account, f"echo first; read word < {fifo}; echo $word",
                           log=log, timeout_seconds=60, max_output_bytes=1000)

    assert log.getvalue() == b"first\ngo\n"


def test_a_script_killed_by_a_signal_has_a_status(caller):
    """A script that a signal ended has the status a shell would report."""
    assert caller.run("kill -KILL $$").exit_status == 128 + signal.SIGKILL


def test_a_large_script_arrives_whole(caller):
    """Two million bytes are run from the first to the last."""
    result = caller.run(": " + "x" * 2_000_000 + "\necho end")

    assert (result.exit_status, result.output) == (0, "end\n")


# --------------------------------------------------------------------------------------------- limits


def test_time_limit_ends_the_whole_group(caller):
    """A script that passes its time limit is stopped over there with everything it started, and says so."""
    result = caller.run("trap '' TERM; sleep 1000 & echo $! $$; wait; wait", timeout_seconds=5)

    assert result.exit_status is None
    assert "5 seconds" in result.reason
    assert "did not confirm" not in result.reason
    for pid in result.output.split():
        await_gone(int(pid))


def test_a_launch_that_is_called_off_ends_with_its_group(caller, tmp_path):
    """Everything it started over there is gone when the transport comes back, and the result is in doubt."""
    stop = CallOff()

    class Log(io.BytesIO):
        def write(self, data):
            stop.set()
            return super().write(data)

    script = "trap '' TERM; sleep 1000 & echo $! $$; wait; wait"
    result = caller.transport().run(HOST, caller.account, script, log=Log(), timeout_seconds=600,
                                    max_output_bytes=1000, stop=stop)

    assert result.exit_status is None
    assert result.reason == "The launch was stopped: it was called off."
    for pid in result.output.split():
        await_gone(int(pid))


def test_a_stopped_script_may_clean_up_first(caller, tmp_path):
    """The script is asked to end before it is killed."""
    caller.run(f"trap 'touch {tmp_path}/cleaned; exit 1' TERM; while :; do sleep 0.05; done", timeout_seconds=5)

    assert (tmp_path / "cleaned").exists()


def test_output_limit_ends_the_script(caller):
    """A script that writes without end is stopped at the limit, and what came before is kept."""
    result = caller.run("echo $$; yes", max_output_bytes=100_000)

    assert result.exit_status is None
    assert "100000 bytes" in result.reason
    assert len(caller.log.getvalue()) == len(result.output) == 100_000
    await_gone(int(result.output.split()[0]))


def test_a_background_process_cannot_hold_the_launch(caller):
    """The launch ends with its script; what the script left running in its group is ended."""
    result = caller.run("sleep 1000 & echo $!")

    assert result.exit_status == 0
    await_gone(int(result.output))


def test_a_daemon_cannot_hold_the_launch(caller, tmp_path):
    """A process that left the group and keeps the output open does not keep the launch waiting."""
    pid = tmp_path / "pid"
    result = caller.run(f"setsid bash -c 'echo $$ > {pid}.new; mv {pid}.new {pid}; exec sleep 1000' & "
                        f"until [ -e {pid} ]; do sleep 0.05; done; echo done", timeout_seconds=120)

    assert (result.exit_status, result.output) == (0, "done\n")
    os.kill(int(pid.read_text()), signal.SIGKILL)


def test_a_log_that_cannot_be_written_ends_the_script(caller, tmp_path):
    """When the disk of the log is full, the launch is stopped over there instead of going on unseen."""
    fifo = tmp_path / "pid"
    os.mkfifo(fifo)

    class Full(io.BytesIO):
        def write(self, data):
            self.pid = int(fifo.read_text())
            raise OSError(28, "No space left on device")

    log = Full()
    with pytest.raises(OSError, match="No space left"):
        caller.transport().run(HOST, caller.account, f"echo begin; echo $$ > {fifo}; sleep 1000",
                               log=log, timeout_seconds=60, max_output_bytes=1000)

    await_gone(log.pid)


def test_nothing_goes_on_after_its_agent_was_killed(caller, tmp_path):
    """When the agent is killed, the remote side ends the script and it never submits."""
    fifo = tmp_path / "pid"
    os.mkfifo(fifo)
    script = f"echo $$ > {fifo}; sleep 1000; touch {tmp_path}/submitted"
    agent = os.fork()
    if agent == 0:
        try:
            caller.run(script, keep_connection="0")
        finally:
            os._exit(1)
    bash = int(fifo.read_text())

    os.kill(agent, signal.SIGKILL)
    os.waitpid(agent, 0)

    await_gone(bash)
    assert not (tmp_path / "submitted").exists()


# --------------------------------------------------------------------------------- what is not started


def test_a_changed_host_key_starts_nothing(caller, server, tmp_path):
    """A host that shows another key than the known one is not sent a byte, and the message says what to do."""
    server.believe(server.make_key("other").with_suffix(".pub"))

    with pytest.raises(BackendUnavailable, match="is not the one in .*administrator.*Nothing was started"):
        caller.run(f"touch {tmp_path}/canary")

    assert not (tmp_path / "canary").exists()


def test_an_unknown_host_is_not_believed(caller, server):
    """A host whose key nobody entered is not trusted at first sight."""
    Path(server.options["known_hosts"]).write_text("")

    with pytest.raises(BackendUnavailable, match="is not in .*ssh-keyscan"):
        caller.run("true")


def test_a_host_that_is_down_is_unavailable(caller, server):
    """An unreachable host is the host's trouble, not the script's: nothing was started."""
    server.stop()

    with pytest.raises(BackendUnavailable, match="cannot be reached.*refused.*Nothing was started"):
        caller.run("true")


def test_a_host_that_does_not_answer_is_given_up(caller, server):
    """A host that accepts the connection and then is silent does not hold an agent."""
    server.stop()
    import socket
    with socket.create_server((HOST, server.port)), pytest.raises(BackendUnavailable, match="Nothing was started"):
        caller.run("true", connect_timeout="1s")


def test_a_key_that_is_not_let_in_is_named(caller, server):
    """The message names host, account and key."""
    other = server.make_key("stranger")

    with pytest.raises(BackendUnavailable, match="does not let .* in with the key .*stranger"):
        caller.run("true", identity_file=str(other))


def test_no_place_for_the_script_starts_nothing(caller, server):
    """When the launch host cannot store the script, it is not run and that is said."""
    server.restart("SetEnv TMPDIR=/nonexistent/place")

    with pytest.raises(BackendUnavailable, match="cannot make a temporary directory.*Nothing was started"):
        caller.run("true")


def test_a_missing_ssh_is_unavailable(caller, monkeypatch):
    """Without a client nothing is started, and the message says what to install."""
    monkeypatch.setattr("poms.plugins.ssh.connection.PATH", "/nonexistent")

    with pytest.raises(BackendUnavailable, match="OpenSSH's client"):
        caller.run("true")


def test_half_a_character_is_refused(caller):
    """A text that cannot be written as bytes is the user's to correct."""
    with pytest.raises(Invalid, match="half a character"):
        caller.run("echo \ud800")


# ------------------------------------------------------------------------------------------- sharing


def test_launches_share_a_connection(caller, server):
    """Several launches log in once."""
    for _ in range(3):
        assert caller.run("true").exit_status == 0
    server.stop()

    assert server.logins() == 1


def test_connections_can_be_kept_apart(caller, server):
    """With keep_connection = 0 every launch logs in by itself."""
    for _ in range(3):
        assert caller.run("true", keep_connection="0").exit_status == 0
    server.stop()

    assert server.logins() == 3


def test_a_path_too_long_for_sockets_costs_only_the_sharing(caller, tmp_path):
    """Where no socket fits, launches work all the same."""
    assert caller.run("echo ok", control_dir=str(tmp_path / ("d" * 120))).output == "ok\n"


def test_sockets_that_others_could_reach_are_refused(caller, tmp_path):
    """Whoever reaches the socket can use the connection, so an open directory stops the launch."""
    place = Path("/tmp") / f"poms-open-{os.getpid()}"
    place.mkdir(mode=0o777)
    place.chmod(0o777)
    try:
        with pytest.raises(BackendUnavailable, match="chmod 700"):
            caller.run("true", control_dir=str(place))
    finally:
        place.rmdir()


def test_it_is_offered_to_poms_ini():
    """``launch_transport = ssh`` finds it, by its entry point."""
    (plugin,) = installed_plugins("ssh")

    assert [(offer.name, offer.factory) for offer in plugin.poms_launch_transports()] == [("ssh", SshTransport)]


