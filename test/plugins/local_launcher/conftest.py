"""The local catalogue on loopback behind a door that can be told to misbehave, and ways to start launches and jobs."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from sqlalchemy import select

from poms.plugins.local.catalogue import database, files, tables
from poms.plugins.local.catalogue.backend import LocalCatalogue
from poms.plugins.local.catalogue.web import CatalogueApplication
from poms.plugins.local.launcher import wrap
from poms.webservice.interfaces import PluginContext


class SamServer:
    """The local catalogue, the misbehaviour asked for, and short ways to fill it and to look into it.

    ``trouble(method, path)`` is asked before each request is carried out; it may answer ``refuse`` (503, nothing
    done), ``lose`` (done, but the connection is cut), ``wait`` (202), ``kill-before`` and ``kill-after`` (the job
    is killed).
    """

    def __init__(self, directory: Path, address: str) -> None:
        context = PluginContext("demo", {}, directory, f"sqlite:///{directory / 'catalogue.db'}", address,
                                lambda: datetime.now(UTC), lambda name: "capability")
        tables.metadata.create_all(database.engine_for(context.database_url))
        self.catalogue = LocalCatalogue(context)
        self.application = CatalogueApplication({"demo": context})
        self.base = self.catalogue.api_url
        self.trouble: Callable[[str, str], str] = lambda method, path: ""
        self.requests: list[str] = []
        self.victim: subprocess.Popen[bytes] | None = None
        self.lock = threading.Lock()

    # -- filling

    def put(self, path: Path) -> None:
        """A located input file."""
        with self.catalogue.writing() as scope:
            files.declare(scope, [{"file_name": path.name, "file_type": "mc", "file_size": path.stat().st_size}])
            files.change_locations(scope, path.name, add=[f"local:{path.parent}"])

    def define(self, name: str, names: list[str]) -> None:
        """A definition of exactly these files, whatever they are called."""
        with self.catalogue.writing() as scope:
            for each in names:
                files.change(scope, each, {f"test.{name}": 1})
            if not names:
                files.declare(scope, [{"file_name": f"no-{name}", "file_type": "mc", "file_size": 0,
                                       f"test.{name}": 1}])
        self.catalogue.define(name, f"test.{name} 1")

    def dataset(self, name: str, count: int) -> None:
        """A definition of so many files, none of which is ever read."""
        with self.catalogue.writing() as scope:
            files.declare(scope, [{"file_name": f"{name}-{n}", "file_type": "mc", "file_size": 1}
                                  for n in range(count)])
            for n in range(count):
                files.change_locations(scope, f"{name}-{n}", add=["local:/nowhere"])
        self.define(name, [f"{name}-{n}" for n in range(count)])

    def start(self, project: str, names: list[str]) -> None:
        self.define(f"files_of_{project}", names)
        self.catalogue.create_project(project, f"files_of_{project}", "tester")

    # -- looking

    @property
    def files(self) -> dict[str, dict[str, Any]]:
        """Metadata and locations of all files."""
        with self.catalogue.reading() as scope:
            numbers = list(scope.connection.scalars(select(tables.files.c.file_id)))
            return {item["file_name"]: item for item in files.show(scope, numbers, locations=True)}

    def children(self, name: str) -> list[str]:
        """Located files made from one input."""
        return [child for child, item in self.files.items() if item["locations"]
                and name in [parent["file_name"] for parent in item.get("parents", [])]]

    def states(self, project: str) -> dict[str, str]:
        """The state of each file of a project, in its order."""
        members = tables.project_files
        with self.catalogue.reading() as scope:
            found = scope.connection.execute(
                select(tables.files.c.file_name, members.c.state)
                .join(tables.files, tables.files.c.file_id == members.c.file_id)
                .join(tables.projects, tables.projects.c.project_id == members.c.project_id)
                .where(tables.projects.c.name == project).order_by(members.c.position))
            return {row.file_name: row.state for row in found}

    @property
    def processes(self) -> list[str]:
        """How each process says it went."""
        with self.catalogue.reading() as scope:
            return list(scope.connection.scalars(
                select(tables.processes.c.status).order_by(tables.processes.c.process_id)))

    @property
    def definitions(self) -> set[str]:
        with self.catalogue.reading() as scope:
            return set(scope.connection.scalars(select(tables.definitions.c.name)))


def _handler(server: SamServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            path, _, query = self.path.partition("?")
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            shown = path.partition("/api")[2]
            with server.lock:
                server.requests.append(f"{self.command} {shown}")
                trouble = server.trouble(self.command, shown)
                if trouble in ("refuse", "wait"):
                    return self.reply("503 no" if trouble == "refuse" else "202 wait", [("Retry-After", "0")], b"no")
                if trouble == "kill-before":
                    return self.kill()
                answers: list[tuple[str, list[tuple[str, str]]]] = []
                body = b"".join(server.application({
                    "REQUEST_METHOD": self.command, "REQUEST_URI": self.path, "SCRIPT_NAME": "/sam",
                    "PATH_INFO": unquote_to_bytes(path.removeprefix("/sam")).decode("latin-1"), "QUERY_STRING": query,
                    "CONTENT_TYPE": self.headers.get("Content-Type", ""), "CONTENT_LENGTH": str(len(data)),
                    "HTTP_ACCEPT": self.headers.get("Accept", ""), "wsgi.input": io.BytesIO(data),
                }, lambda status, headers: answers.append((status, headers))))
                if trouble == "kill-after":
                    return self.kill()
            if trouble != "lose":
                self.reply(*answers[0], body)
            return None

        def kill(self) -> None:
            assert server.victim is not None
            server.victim.send_signal(signal.SIGKILL)

        def reply(self, status: str, headers: list[tuple[str, str]], body: bytes) -> None:
            number, _, phrase = status.partition(" ")
            self.send_response(int(number), phrase)
            for name, value in headers:
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(BrokenPipeError):
                self.wfile.write(body)

        do_GET = do_POST = do_PUT = handle_any

        def log_message(self, *arguments: object) -> None:
            """Quiet: the requests are kept in the server's list."""

    return Handler


class Listener(ThreadingHTTPServer):
    daemon_threads = True


@contextlib.contextmanager
def running_server(directory: Path) -> Iterator[SamServer]:
    with Listener(("127.0.0.1", 0), BaseHTTPRequestHandler) as http:
        server = SamServer(directory, f"http://127.0.0.1:{http.server_port}")
        http.RequestHandlerClass = _handler(server)
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()
            database.engine_for(f"sqlite:///{directory / 'catalogue.db'}").dispose()


@pytest.fixture
def sam(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SamServer]:
    with running_server(tmp_path_factory.mktemp("catalogue")) as server:
        yield server


@dataclass
class Done:
    """How a program ended."""

    status: int
    output: str
    errors: str


@dataclass
class Jobs:
    """Runs poms-wrap as the batch system would: by its path, in a scratch directory, with a job's environment."""

    sam: SamServer
    root: Path
    number: int = 0

    def run(self, *arguments: str, project: str = "", process: int = 0, cluster: str = "7", **extra: str) -> Done:
        self.number += 1
        scratch = self.root / f"scratch-{self.number}"
        scratch.mkdir()
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(self.root), "USER": "tester", "SAM_WEB_BASE_URL": self.sam.base,
            "SAM_STATION": "st", "SAM_EXPERIMENT": "demo", "SAM_GROUP": "demo", "POMS_TASK_ID": "42",
            "POMS_CAMPAIGN_ID": "5", "PROCESS": str(process), "CLUSTER": cluster,
            "JOBSUBJOBID": f"{cluster}.{process}@here", **({"SAM_PROJECT": project} if project else {}), **extra,
        }
        job = subprocess.Popen([sys.executable, "-I", wrap.__file__, *arguments], cwd=scratch, env=environment,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.sam.victim = job
        output, errors = job.communicate(timeout=60)
        return Done(job.returncode, output.decode(), errors.decode())


@pytest.fixture
def jobs(sam: SamServer, tmp_path: Path) -> Jobs:
    return Jobs(sam, tmp_path)


@dataclass
class Launches:
    """Runs poms-launch with a jobsub_submit on PATH that keeps what it was given and ends as told."""

    root: Path

    def run(self, *arguments: str, status: int = 0, **extra: str) -> Done:
        programs = self.root / "programs"
        programs.mkdir(exist_ok=True)
        submit = programs / "jobsub_submit"
        submit.write_text(
            f"#!{sys.executable}\nimport json, os, sys\n"
            f"open({str(self.root / 'submitted.json')!r}, 'w').write(json.dumps([sys.argv[1:], dict(os.environ)]))\n"
            f"print('Use job id 7.0@here to retrieve output')\nsys.exit({status})\n")
        submit.chmod(0o755)
        environment = {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(self.root), **extra}
        done = subprocess.run([sys.executable, "-m", "poms.plugins.local.launcher.launch", *arguments], cwd=self.root,
                              env=environment, capture_output=True, text=True, timeout=60, check=False)
        return Done(done.returncode, done.stdout, done.stderr)

    @property
    def submitted(self) -> list[str]:
        return json.loads((self.root / "submitted.json").read_text())[0]

    @property
    def environment(self) -> dict[str, str]:
        return json.loads((self.root / "submitted.json").read_text())[1]

    @property
    def has_submitted(self) -> bool:
        return (self.root / "submitted.json").exists()


@pytest.fixture
def launches(tmp_path: Path) -> Launches:
    return Launches(tmp_path)


@dataclass
class Campaign:
    """The sample campaign after all five stages: the catalogue, the files, and how its jobs ended."""

    sam: SamServer
    output: Path
    statuses: dict[str, list[int]]
    files: dict[str, list[Path]]

    @property
    def all_files(self) -> list[Path]:
        return [path for paths in self.files.values() for path in paths]


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Campaign]:
    """Run the sample by hand: poms-launch for each stage, then poms-wrap for each job that it asked for."""
    root = tmp_path_factory.mktemp("campaign")
    with running_server(root) as server:
        launches, jobs = Launches(root), Jobs(server, root)
        result = Campaign(server, root / "out", {}, {})
        inputs: list[str] = []
        for number, stage in enumerate(("gen", "g4", "detsim", "reco", "anatree"), 101):
            dataset, project = f"poms_depends_{number - 1}_1", f"project{number}"
            if stage not in ("gen", "g4"):
                server.catalogue.define(dataset, f"ischildof: (snapshot_for_project_name project{number - 1})")
            if inputs:
                server.catalogue.create_project(project, dataset, "tester")
            launched = launches.run(
                "-c", "sbnd_mc/sbnd_launch.cfg", "--stage", stage, *([f"-Osubmit.dataset={dataset}"] if inputs else []),
                POMS_TASK_ID=str(number), POMS_CAMPAIGN_ID="9", SAM_WEB_BASE_URL=server.base,
                SAMPLE_OUTPUT=str(result.output))
            assert launched.status == 0, launched.errors
            words = launches.submitted
            passed = {words[n + 1]: launches.environment[words[n + 1]] for n, word in enumerate(words) if word == "-e"}
            arguments = words[next(n for n, word in enumerate(words) if word.startswith("file://")) + 1:]
            done = [jobs.run(*arguments, project=project if inputs else "", process=process,
                             cluster=str(number), **passed) for process in range(int(words[words.index("-N") + 1]))]
            result.statuses[stage] = [job.status for job in done]
            result.files[stage] = sorted((result.output / "sbnd_mc" / stage).glob("*.root"))
            inputs = [path.name for path in result.files[stage]]
        yield result
