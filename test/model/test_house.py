"""The test house itself: what is missing is never passed over in silence, and what it starts is ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psycopg2
import pytest

from poms.webservice.testing import postgresql
from poms.webservice.testing.fixtures import REQUIRE_VARIABLE, lacking


@pytest.mark.parametrize(("required", "outcome"), [
    ("", pytest.skip.Exception), ("chromium", pytest.skip.Exception), ("postgresql", pytest.fail.Exception),
    ("chromium, PostgreSQL", pytest.fail.Exception), ("all", pytest.fail.Exception),
])
def test_what_is_required_and_missing_fails(monkeypatch, required, outcome):
    """Something missing skips a test, or fails it where it was said to be required."""
    monkeypatch.setenv(REQUIRE_VARIABLE, required)

    with pytest.raises(outcome, match="not installed"):
        lacking("postgresql", "not installed")


def _programs() -> Path:
    found = postgresql.find_programs()
    if found is None:
        lacking("postgresql", "no initdb and postgres were found; install PostgreSQL")
    return found


@pytest.mark.postgresql
def test_a_server_is_gone_after_its_use():
    """The temporary server answers while it is used; afterwards neither it nor its files are there."""
    with postgresql.temporary_server(_programs()) as url:
        port = int(url.rsplit(":", 1)[1].split("/")[0])
        with psycopg2.connect(host="127.0.0.1", port=port, user="poms", dbname="postgres") as connection:
            cursor = connection.cursor()
            cursor.execute("SHOW data_directory")
            directory = Path(cursor.fetchone()[0])
        connection.close()

    with pytest.raises(psycopg2.OperationalError):
        psycopg2.connect(host="127.0.0.1", port=port, user="poms", dbname="postgres")
    assert not directory.exists()


@pytest.mark.postgresql
def test_a_killed_session_leaves_no_server():
    """Even if the tests are killed the server ends and its directory is removed."""
    _programs()
    program = ("from poms.webservice.testing import postgresql as p\nimport sys\n"
               "with p.temporary_server(p.find_programs()) as url:\n"
               "    import psycopg2\n    from sqlalchemy.engine import make_url\n    port = make_url(url).port\n"
               "    c = psycopg2.connect(host='127.0.0.1', port=port, user='poms', dbname='postgres').cursor()\n"
               "    c.execute('SHOW data_directory')\n    print(c.fetchone()[0], flush=True)\n    sys.stdin.read()\n")
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               text=True)
    directory = Path(process.stdout.readline().strip())
    server = int((directory / "postmaster.pid").read_text().split()[0])

    process.send_signal(signal.SIGKILL)
    process.communicate()

    limit = time.monotonic() + 60
    while directory.exists() or _lives(server):
        assert time.monotonic() < limit, f"the server {server} or {directory} is still there"
        threading.Event().wait(0.05)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_an_installed_service_can_be_had(installed_core):
    """The fixture of the installed service has every table and the embedded back ends."""
    assert installed_core.backends.data("samdev").health().ok
    assert installed_core.backends.jobs("samdev").pool
