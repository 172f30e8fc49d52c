"""Several web servers on one address: all answer, the dead are replaced, none outlives the one that keeps them."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from poms.webservice import config, processes
from poms.webservice.cli import main
from poms.webservice.errors import ConfigurationError
from poms.webservice.testing import postgresql
from poms.webservice.testing.jobs import await_that

LINE = "POMS is ready: http://127.0.0.1:"


@pytest.fixture(scope="module")
def own_database(postgresql_url):
    """A database for services that run by themselves."""
    with postgresql.own_database(postgresql_url, "processes") as url:
        yield url


@pytest.fixture
def ini(tmp_path, own_database) -> Path:
    file = tmp_path / "poms.ini"
    file.write_text(f"[service]\ndata_dir = {tmp_path / 'data'}\nlog_format = json\n[database]\nurl = {own_database}\n"
                    "[web]\nlisten = 127.0.0.1:0\nprocesses = 2\n")
    assert main(["db", "upgrade", "--config", str(file)]) == 0
    return file


@pytest.fixture
def start(ini):
    """Start ``poms serve``; whatever is left of it is ended after the test."""
    started = []

    def begin(*words: str) -> subprocess.Popen[str]:
        with ini.with_name("log").open("a") as log:
            process = subprocess.Popen([sys.executable, "-m", "poms.webservice", "serve", "--config", str(ini), *words],
                                       stdout=subprocess.PIPE, stderr=log, text=True)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def children_of(process) -> set[int]:
    """The servers that a keeper keeps."""
    return set(map(int, Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()))


def port_of(process) -> int:
    line = process.stdout.readline()
    assert line.startswith(LINE), line
    return int(line.removeprefix(LINE).split("/")[0])


def ask(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/poms/")
        return connection.getresponse().status
    finally:
        connection.close()


def has_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_as_many_as_were_asked_for_share_the_address(start):
    """They are ready when it is said, and answer there."""
    keeper = start()
    port = port_of(keeper)

    assert len(children_of(keeper)) == 2
    assert {ask(port) for _ in range(12)} == {401}, "the demo user is not registered here"


def test_a_server_that_dies_is_replaced(start, ini):
    """Its place is taken by another, and the log says so."""
    keeper = start()
    port = port_of(keeper)
    before = children_of(keeper)
    victim = min(before)

    os.kill(victim, signal.SIGKILL)

    await_that(lambda: len(children_of(keeper)) == 2 and victim not in children_of(keeper))
    assert ask(port) == 401
    lines = [json.loads(line) for line in ini.with_name("log").read_text().splitlines() if line.startswith("{")]
    assert [line["pid"] for line in lines if "is started again" in line["message"]] == [victim]


def test_no_server_outlives_its_keeper(start):
    """The next service gets the address at once, even if the keeper was killed."""
    keeper = start()
    port = port_of(keeper)
    servers = children_of(keeper)

    keeper.kill()
    keeper.wait()

    again = start("--listen", f"127.0.0.1:{port}")
    assert port_of(again) == port
    await_that(lambda: all(has_gone(pid) for pid in servers))
    assert ask(port) == 401


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_them_all(start, number):
    """Cleanly, with status 0; nobody listens afterwards."""
    keeper = start()
    port = port_of(keeper)
    servers = children_of(keeper)

    keeper.send_signal(number)

    assert keeper.wait(60) == 0
    assert all(has_gone(pid) for pid in servers)
    with pytest.raises(OSError):
        ask(port)


def test_another_service_does_not_get_a_part_of_the_requests(start):
    """Sharing is for processes of one keeper."""
    keeper = start()
    port = port_of(keeper)

    other = start("--listen", f"127.0.0.1:{port}")

    assert other.wait(60) == 1
    assert ask(port) == 401


def test_what_forbids_a_start_forbids_it_for_all(start, ini):
    """The exit status is that of a single server."""
    ini.write_text(ini.read_text().replace("processes = 2", "processes = 2\nlisten = 0.0.0.0:0").replace(
        "listen = 127.0.0.1:0\n", "", 1))

    assert start().wait(60) == 1


def settings_with(tmp_path, text):
    return config.parse(f"[service]\ndata_dir = {tmp_path}\n{text}", directory=tmp_path)


def test_sqlite_has_one_server(tmp_path):
    """Whatever the machine has; asking for more is refused with the remedy."""
    assert processes.count(settings_with(tmp_path, "")) == 1
    with pytest.raises(ConfigurationError, match="use PostgreSQL for several"):
        processes.count(settings_with(tmp_path, "[web]\nprocesses = 2\n"))


def test_postgresql_uses_the_processors(tmp_path):
    """Up to four by itself, any number when asked."""
    url = "[database]\nurl = postgresql+psycopg2://poms@localhost/poms\n"

    assert 1 <= processes.count(settings_with(tmp_path, url)) <= 4
    assert processes.count(settings_with(tmp_path, url + "[web]\nprocesses = 7\n")) == 7


def test_an_address_is_held_alone(tmp_path):
    """Where somebody listens, the refusal names the address."""
    with socket.create_server(("127.0.0.1", 0)) as taken, \
            pytest.raises(ConfigurationError, match="cannot listen on 127.0.0.1 port"), \
            processes.hold_address(f"127.0.0.1:{taken.getsockname()[1]}"):
        pass
