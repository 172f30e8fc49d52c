"""Dataset submissions: their SAM project is begun before the jobs and ended after the last one, once."""

from __future__ import annotations

import os
import select
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from poms.plugins.local.batch import submission
from poms.plugins.local.batch.master import ensure_master
from poms.webservice import sam_projects
from poms.webservice.interfaces import JobSelection, JobState
from poms.webservice.testing.jobs import Gate, await_that
from test.plugins.local_batch.conftest import departed, kill, surroundings


class Catalogue:
    """A SAM service that knows one definition, and remembers what it was asked."""

    def __init__(self) -> None:
        self.files = 3
        self.refuse_start = False
        self.silent_ends = 0
        self.started: list[dict[str, str]] = []
        self.ended: list[str] = []
        self.hang = threading.Event()
        self.hang.set()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}/sam"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def _handler(catalogue) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = urlsplit(self.path)
                if path.path.endswith("/files/count"):
                    self._answer(200, str(catalogue.files))
                elif path.path.endswith("/findProject"):
                    name = parse_qs(path.query)["name"][0]
                    known = name in {start["name"] for start in catalogue.started}
                    self._answer(200 if known else 404, f"{catalogue.url}/projects/samdev/{name}")
                else:
                    self._answer(404, "no such thing")

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
                form = {key: value[0] for key, value in parse_qs(body).items()}
                if self.path.endswith("/startProject"):
                    if catalogue.refuse_start:
                        self._answer(400, "No such definition")
                        return
                    catalogue.started.append(form)
                    catalogue.hang.wait(30)
                    self._answer(200, f"{catalogue.url}/projects/samdev/{form['name']}\n")
                elif self.path.endswith("/endProject") and catalogue.silent_ends:
                    catalogue.silent_ends -= 1
                    self._answer(503, "busy")
                elif self.path.endswith("/endProject"):
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
    catalogue.hang.set()
    catalogue.server.shutdown()
    catalogue.server.server_close()


@pytest.fixture
def submit(program, job, catalogue):
    def run(text: str, *words: str, **variables: str):
        return program("jobsub_submit", "-G", "samdev", "--dataset_definition=gen_cfg", *words, job(text),
                       SAM_WEB_BASE_URL=catalogue.url, SAM_STATION="samdev", **variables)
    return run


def test_a_dataset_submission_has_a_project(backend, submit, catalogue):
    """The project is begun for the definition, named to the jobs and recorded with the cluster."""
    assert submit("env").returncode == 0
    record = departed(backend, 1)[0]

    start = catalogue.started[0]
    asked = [start[key] for key in ("defname", "station", "group", "username")]
    assert asked == ["gen_cfg", "samdev", "samdev", "ann"]
    text = b"".join(backend.fetch_log(record.batch_id, "stdout")).decode()
    found = dict(line.split("=", 1) for line in text.splitlines())
    assert found["SAM_PROJECT"] == found["SAM_PROJECT_NAME"] == start["name"]
    assert start["name"].startswith("gen_cfg_ann_")
    assert (found["SAM_DATASET"], found["SAM_STATION"], found["SAM_USER"]) == ("gen_cfg", "samdev", "ann")
    with backend.spool.read() as db:
        assert db.execute("SELECT json_extract(description, '$.attributes.SAM_PROJECT_NAME') FROM clusters").fetchone()[
            0] == start["name"]


def test_the_project_ends_after_the_last_job(backend, submit, catalogue, tmp_path):
    """While a job is left, be it held, the project goes on; when the last has left it is ended, once."""
    gate = Gate(tmp_path / "gate")
    submit(gate.wait, "-N", "2", "--project-name=mine")
    schedd = backend.spool.identity().schedd
    backend.act("hold", JobSelection(batch_ids=(f"1.1@{schedd}",)), "not yet")
    gate.open()
    departed(backend, 1)
    assert catalogue.ended == []

    backend.act("remove", JobSelection(batch_ids=(f"1.1@{schedd}",)), "now")

    await_that(lambda: catalogue.ended == ["mine"], lambda: catalogue.ended)


def test_ending_is_tried_until_the_catalogue_answers(backend, submit, catalogue):
    """A catalogue that is busy is asked again."""
    catalogue.silent_ends = 2

    submit("exit 0", "--project-name=mine")

    await_that(lambda: catalogue.ended == ["mine"], lambda: catalogue.silent_ends)


def test_an_empty_dataset_is_refused(backend, submit, catalogue):
    """Nothing is begun or queued for a definition without files."""
    catalogue.files = 0

    answer = submit("exit 0")

    assert answer.returncode == 1
    assert "no files" in answer.stderr
    assert (catalogue.started, backend.find(7)) == ([], [])


def test_a_refused_project_refuses_the_jobs(backend, submit, catalogue):
    """Jobs that would find no project are not queued."""
    catalogue.refuse_start = True

    answer = submit("exit 0")

    assert answer.returncode == 1
    assert "No such definition" in answer.stderr
    assert backend.find(7) == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/sam", "", "file:///etc/passwd"])
def test_without_a_catalogue_nothing_is_queued(backend, job, url, monkeypatch, capsys):
    """A catalogue that stays away, or is no catalogue, is an error."""
    monkeypatch.setattr(sam_projects, "PATIENCE_SECONDS", 0.5)
    words = ["-G", "samdev", "--dataset=gen_cfg", job("exit 0")]

    status = submission.main(words, surroundings(backend, SAM_WEB_BASE_URL=url), backend.spool)

    assert status == 1
    assert "Error" in capsys.readouterr().err
    assert backend.find(7) == []


def test_the_project_of_a_killed_submit_is_ended(backend, program, job, catalogue):
    """jobsub_submit killed after the project began and before the jobs were queued leaves no project open."""
    catalogue.hang.clear()
    submit = subprocess.Popen(
        [backend.spool.programs / "jobsub_submit", "-G", "samdev", "--dataset=gen_cfg", "--project-name=orphan",
         job("exit 0")], env=surroundings(backend, SAM_WEB_BASE_URL=catalogue.url, SAM_STATION="samdev"))
    await_that(lambda: catalogue.started)
    with os.fdopen(os.pidfd_open(submit.pid)) as handle:
        kill(submit.pid)
        assert select.select([handle], [], [], 30)[0]
    submit.wait()
    catalogue.hang.set()

    ensure_master(backend.spool)

    await_that(lambda: catalogue.ended == ["orphan"], lambda: catalogue.ended)
    assert backend.find(7) == []


def test_jobs_that_failed_end_the_project_too(backend, submit, catalogue):
    """A project is ended however its jobs ended."""
    submit("exit 1", "--project-name=mine")

    assert departed(backend, 1)[0].state == JobState.FAILED
    await_that(lambda: catalogue.ended == ["mine"], lambda: catalogue.ended)
