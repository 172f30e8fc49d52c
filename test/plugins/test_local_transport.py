"""Running a launch script on this machine: its output, its limits, and nothing of it left behind."""

from __future__ import annotations

import io
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from poms.plugins.local.transport import LocalTransport
from poms.webservice.errors import BackendUnavailable, Invalid
from poms.webservice.services.launches import CallOff


def run(script: str, *, host="localhost", account="", timeout_seconds=30.0, max_output_bytes=1_000_000):
    log = io.BytesIO()
    result = LocalTransport().run(host, account, script, log=log, timeout_seconds=timeout_seconds,
                                  max_output_bytes=max_output_bytes)
    return result, log.getvalue()


def await_gone(pid: int) -> None:
    """Wait until a process is dead; a test that waits in vain fails at its time limit."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    with os.fdopen(descriptor):
        assert select.select([descriptor], [], [], 30)[0], f"process {pid} is still alive"


def test_output_and_status_come_back():
    """Both output streams are in the result and in the log, with the script's exit status."""
    result, log = run("echo out; echo err >&2; exit 3")

    assert (result.exit_status, result.output, log) == (3, "out\nerr\n", b"out\nerr\n")


def test_a_launch_that_is_called_off_ends_with_its_group():
    """The script and what it started are gone when the transport comes back; what it came to is in doubt."""
    stop = CallOff()

    class Log(io.BytesIO):
        def write(self, data):
            stop.set()
            return super().write(data)

    result = LocalTransport().run("localhost", "", "trap '' TERM; sleep 1000 & echo $! $$; wait; wait", log=Log(),
                                  timeout_seconds=600, max_output_bytes=1000, stop=stop)

    assert (result.exit_status, result.reason) == (None, "The launch was stopped: it was called off.")
    for pid in result.output.split():
        await_gone(int(pid))


def test_a_command_that_reads_cannot_eat_the_script():
    """Standard input is empty, so what a command reads is not the rest of the script."""
    result, _ = run("cat\necho still here")

    assert result.output == "still here\n"


def test_the_environment_is_built_from_nothing(monkeypatch):
    """No variable of the service reaches the script."""
    monkeypatch.setenv("POMS_DATABASE_PASSWORD", "secret")

    result, _ = run("env")

    names = {line.split("=")[0] for line in result.output.splitlines()}
    assert names <= {"HOME", "USER", "LOGNAME", "LANG", "SHELL", "PATH", "TZ", "PWD", "SHLVL", "_", "OLDPWD"}


def test_script_is_not_in_the_descriptors_of_its_commands():
    """Programs of the script inherit neither its text nor the service's files."""
    result, _ = run("ls -l /proc/self/fd")

    assert "memfd" not in result.output


def test_time_limit_ends_the_whole_group():
    """A script that passes its time limit is stopped with everything it started, and says so."""
    result, _ = run("trap '' TERM; sleep 1000 & echo $!; wait; wait", timeout_seconds=0.5)

    assert result.exit_status is None
    assert "0.5 seconds" in result.reason
    await_gone(int(result.output.split()[0]))


def test_a_stopped_script_may_clean_up_first(tmp_path):
    """The script is asked to end before it is killed."""
    run(f"trap 'touch {tmp_path}/cleaned; exit 1' TERM; while :; do sleep 0.05; done", timeout_seconds=0.5)

    assert (tmp_path / "cleaned").exists()


def test_output_limit_ends_the_script():
    """A script that writes without end is stopped at the limit, and what came before is kept."""
    result, log = run("yes", max_output_bytes=100_000)

    assert result.exit_status is None
    assert "100000 bytes" in result.reason
    assert len(log) == len(result.output) == 100_000


def test_a_background_process_cannot_hold_the_launch():
    """The launch ends with its script; what the script left running in its group is ended."""
    result, _ = run("sleep 1000 & echo $!")

    assert result.exit_status == 0
    await_gone(int(result.output))


def test_a_script_killed_by_a_signal_has_a_status():
    """A script that a signal ended has the status a shell would report."""
    result, _ = run("kill -KILL $$")

    assert result.exit_status == 128 + signal.SIGKILL


@pytest.mark.parametrize("host", ["", "localhost", socket.gethostname()])
def test_names_of_this_machine_are_accepted(host):
    """This machine's own names all mean here."""
    assert run("echo ok", host=host)[0].output == "ok\n"


def test_other_hosts_are_refused():
    """A launch meant for another host is refused, naming the host and the remedy."""
    with pytest.raises(Invalid, match="poms.example.org.*ssh"):
        run("echo never", host="poms.example.org")


def test_other_accounts_are_refused():
    """A launch meant for another account is refused."""
    with pytest.raises(Invalid, match="samdevpro"):
        run("echo never", account="samdevpro")


def test_a_missing_bash_is_an_error_of_the_transport():
    """If the program that runs scripts is not there, the result says so and no script is claimed to have run."""
    result = LocalTransport(bash="/nonexistent/bash").run("", "", "echo", log=io.BytesIO(), timeout_seconds=10,
                                                          max_output_bytes=1000)

    assert result.exit_status == 125
    assert "could not be started" in result.output


def test_a_full_descriptor_table_is_unavailable(monkeypatch):
    """When not even a process can be started, that is the machine's trouble, not the script's."""
    def refuse(*_args, **_kwargs):
        raise OSError(11, "Resource temporarily unavailable")
    monkeypatch.setattr(subprocess, "Popen", refuse)

    with pytest.raises(BackendUnavailable):
        run("echo never")


@pytest.mark.parametrize("victim", ["agent", "guard"])
def test_nothing_goes_on_after_its_agent_was_killed(tmp_path, victim):
    """When the agent, or the guard between it and the script, is killed, the script dies at once and never submits."""
    fifo = tmp_path / "pids"
    os.mkfifo(fifo)
    script = f"echo $$ $PPID > {fifo}; sleep 1000; touch {tmp_path}/submitted"
    program = ("import io; from poms.plugins.local.transport import LocalTransport; "
               f"LocalTransport().run('', '', {script!r}, log=io.BytesIO(), timeout_seconds=900, max_output_bytes=9)")
    agent = subprocess.Popen([sys.executable, "-c", program])
    bash, guard = (int(word) for word in Path(fifo).read_text().split())

    os.kill(agent.pid if victim == "agent" else guard, signal.SIGKILL)

    await_gone(bash)
    agent.wait(30)
    assert not (tmp_path / "submitted").exists()


def test_nothing_goes_on_while_its_agent_is_paused(tmp_path):
    """An agent that stands still loses its launch to another one, so the script dies before it could submit."""
    fifo = tmp_path / "pids"
    os.mkfifo(fifo)
    script = f"echo $$ > {fifo}; sleep 1000; touch {tmp_path}/submitted"
    program = ("import io; from poms.plugins.local.transport import LocalTransport; "
               f"print(LocalTransport(silent_seconds=3).run('', '', {script!r}, log=io.BytesIO(), timeout_seconds=900, "
               "max_output_bytes=9).reason)")
    agent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    bash = int(fifo.read_text())

    os.kill(agent.pid, signal.SIGSTOP)

    await_gone(bash)
    os.kill(agent.pid, signal.SIGCONT)
    assert "killed" in agent.communicate(timeout=60)[0]
    assert not (tmp_path / "submitted").exists()


def test_an_agent_that_is_there_keeps_its_script(tmp_path):
    """A script may be silent for much longer than its agent may."""
    result = LocalTransport(silent_seconds=2).run("", "", "sleep 5; echo done", log=io.BytesIO(), timeout_seconds=60,
                                                  max_output_bytes=100)

    assert (result.exit_status, result.output) == (0, "done\n")


def test_output_arrives_while_the_script_runs(tmp_path):
    """The log grows as the script writes; a reader need not wait for the end."""
    seen_at: list[float] = []
    fifo = tmp_path / "go"
    os.mkfifo(fifo)

    class Log(io.BytesIO):
        def write(self, data):
            if b"first" in data:
                seen_at.append(time.monotonic())
                fifo.write_text("go")
            return super().write(data)

    log = Log()
    LocalTransport().run("", "", f"echo first; read word < {fifo}; echo $word", log=log, timeout_seconds=30,
                         max_output_bytes=1000)

    assert log.getvalue() == b"first\ngo\n"
    assert len(seen_at) == 1
