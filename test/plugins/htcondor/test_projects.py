"""Dataset submissions: their SAM project is begun before the jobs and ended when none of them is left, once."""

from __future__ import annotations

import io
import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import pytest

from poms.plugins.htcondor import projects
from poms.plugins.local.transport import LocalTransport
from poms.webservice.errors import BackendUnavailable, Invalid
from poms.webservice.interfaces import JobSelection
from poms.webservice.rules import shell
from poms.webservice.sam_projects import ProjectRequest
from poms.webservice.testing.jobs import await_that
from test.plugins.htcondor.conftest import a_plan

numbers = itertools.count(1000 * (os.getpid() % 90_000) + 800)


class Catalogue:
    """A SAM service that knows one definition, and remembers what it was asked."""

    def __init__(self) -> None:
        self.files, self.busy = 3, 0
        self.started: list[str] = []
        self.ended: list[str] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}/sam"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def _handler(catalogue) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                known = self.path.endswith("/files/count")
                self._answer(200 if known else 404, str(catalogue.files))

            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers.get("Content-Length", 0))).decode())
                if self.path.endswith("/startProject"):
                    catalogue.started.append(form["name"][0])
                    self._answer(200, f"{catalogue.url}/projects/samdev/{form['name'][0]}\n")
                elif catalogue.busy:
                    catalogue.busy -= 1
                    self._answer(503, "busy")
                else:
                    catalogue.ended.append(self.path.split("/")[-2])
                    self._answer(200, "ended")

            def _answer(self, status: int, text: str) -> None:
                self.send_response(status)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None:
                return

        return Handler


@pytest.fixture
def catalogue() -> Iterator[Catalogue]:
    catalogue = Catalogue()
    yield catalogue
    catalogue.server.shutdown()
    catalogue.server.server_close()


@pytest.fixture
def begin(catalogue, tmp_path):
    def start(name="p1"):
        return projects.begin(tmp_path, catalogue.url, ProjectRequest(name, "samdev", "samdev", "d1", "ann"))
    return start


@pytest.mark.htcondor
def test_a_project_lasts_as_long_as_its_jobs(make, catalogue):
    """It feeds the jobs while any is in the queue, and is ended after the last has left."""
    backend = make()
    number = next(numbers)
    environment = (("SAM_WEB_BASE_URL", catalogue.url), ("SAM_PROJECT", f"p{number}"))
    plan = a_plan(submission_id=number, environment=environment,
                  command="jobsub_submit -G samdev -N 2 -c false --dataset_definition=d1 file:///bin/true")

    outcome = backend.submit(plan, shell.launch_script(plan, backend.environment(plan)), LocalTransport(),
                             io.BytesIO(), 120)
    assert outcome.kind == "started"
    backend.snapshot()
    backend._housekeeper.join()
    before = (list(catalogue.started), list(catalogue.ended))
    found = backend.find(number)[0].project
    backend.act("remove", JobSelection(submission_ids=(number,)), "over")

    assert await_that(lambda: backend.snapshot() and catalogue.ended) == [f"p{number}"]
    assert before == ([f"p{number}"], [])
    assert found == f"p{number}"


def test_a_project_with_jobs_is_left_alone(begin, catalogue, tmp_path):
    """Only a project none of whose jobs is live is ended."""
    projects.mark_submitted(begin("p1"))
    projects.mark_submitted(begin("p2"))

    assert projects.end_due(tmp_path, lambda names: {"p1"}) == 1
    assert catalogue.ended == ["p2"]


def test_silence_of_a_schedd_ends_no_project(begin, catalogue, tmp_path):
    """Jobs that cannot be asked about are not gone."""
    projects.mark_submitted(begin())

    def silent(names):
        raise BackendUnavailable("no answer")

    with pytest.raises(BackendUnavailable):
        projects.end_due(tmp_path, silent)
    assert catalogue.ended == []


def test_a_project_that_is_being_submitted_is_left_alone(begin, catalogue, tmp_path):
    """Between its beginning and the submit there are no jobs, and it is still needed."""
    begin()

    assert projects.end_due(tmp_path, lambda names: set()) == 0
    assert catalogue.ended == []


def test_a_project_whose_submit_was_killed_is_ended(catalogue, tmp_path):
    """A program that died before it submitted leaves no project running for ever."""
    text = ("import sys, os, signal; from pathlib import Path; from poms.plugins.htcondor import projects\n"
            "from poms.webservice.sam_projects import ProjectRequest\n"
            "projects.begin(Path(sys.argv[1]), sys.argv[2], ProjectRequest('p9', 's', 'g', 'd1', 'ann'))\n"
            "os.kill(os.getpid(), signal.SIGKILL)")
    done = subprocess.run([sys.executable, "-c", text, str(tmp_path), catalogue.url], timeout=60)

    assert done.returncode == -9
    assert projects.end_due(tmp_path, lambda names: set()) == 1
    assert catalogue.ended == ["p9"]


def test_a_busy_catalogue_is_asked_again(begin, catalogue, tmp_path):
    """An end that was not taken is owed."""
    projects.mark_submitted(begin())
    catalogue.busy = 1

    assert projects.end_due(tmp_path, lambda names: set()) == 0
    await_that(lambda: projects.end_due(tmp_path, lambda names: set()) == 1)
    assert (catalogue.ended, projects.has_open(tmp_path)) == (["p1"], False)


def test_a_definition_without_files_starts_nothing(begin, catalogue):
    """No project and no jobs for an empty dataset."""
    catalogue.files = 0

    with pytest.raises(Invalid, match="no files"):
        begin()
    assert catalogue.started == []


def test_the_catalogues_address_is_for_the_service_only(begin):
    """It may hold a key."""
    assert begin().stat().st_mode & 0o077 == 0
