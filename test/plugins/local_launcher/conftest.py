"""A small SAM server on loopback that keeps files in memory and can be told to misbehave, and ways to start jobs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from poms.plugins.local.launcher import wrap

KEY = "/sam/demo/key-capability/api"


@dataclass
class SamServer:
    """The state that a SAM server keeps, and the misbehaviour asked for.

    ``trouble(method, path)`` is asked before each request is carried out; it may answer ``refuse`` (503, nothing
    done), ``lose`` (done, but the connection is cut), or ``kill-before`` and ``kill-after`` (the job is killed).
    """

    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    locations: dict[str, list[str]] = field(default_factory=dict)
    definitions: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    inputs: dict[str, list[str]] = field(default_factory=dict)
    status: dict[tuple[str, str], str] = field(default_factory=dict)
    holder: dict[tuple[str, str], str] = field(default_factory=dict)
    processes: dict[str, dict[str, str]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    not_ready: int = 0
    trouble: Callable[[str, str], str] = lambda method, path: ""
    victim: subprocess.Popen[bytes] | None = None
    lock: Any = field(default_factory=threading.Lock)
    address: str = ""

    @property
    def base(self) -> str:
        return self.address + KEY

    def put(self, path: Path) -> None:
        """A located input file."""
        self.files[path.name] = {"file_name": path.name, "file_size": path.stat().st_size}
        self.locations[path.name] = [f"local:{path.parent}"]

    def start(self, project: str, names: list[str]) -> None:
        self.inputs[project] = list(names)
        for name in names:
            self.status[project, name] = "unknown"

    def children(self, name: str) -> list[str]:
        """Located files made from one input."""
        return [child for child, record in self.files.items()
                if {"file_name": name} in record.get("parents", []) and self.locations.get(child)]

    def states(self, project: str) -> dict[str, str]:
        return {name: self.status[project, name] for name in self.inputs[project]}

    # -- the API

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, str]:
        parts = [unquote(part) for part in path.split("/") if part]
        match (method, *parts):
            case ("GET", "definitions", "name", name, "files", "count"):
                return (200, str(self.counts[name])) if name in self.counts else (404, "DefinitionNotFound")
            case ("GET", "findProject"):
                known = query["name"] in self.inputs
                return (200, f"{self.base}/projects/st/{query['name']}") if known else (404, "ProjectNotFound")
            case ("POST", "projects", _, project, "establishProcess"):
                return 200, self._process(project, body)
            case ("POST", "projects", _, project, "process", process, "getNextFile"):
                return self._next(project, process)
            case ("POST", "projects", _, project, "process", process, "updateFileStatus"):
                self.status[project, body["filename"]] = body["status"]
                return 200, "ok"
            case ("POST", "projects", _, _, "process", process, "endProcess"):
                return 200, "ok"
            case ("PUT", "projects", "name", _, "processes", process, "status"):
                self.processes[process]["status"] = body["status"]
                return 200, "ok"
            case ("POST", "files"):
                if body["file_name"] in self.files:
                    return 409, "exists"
                self.files[body["file_name"]] = body
                return 200, "ok"
            case ("GET", "files", "name", name, "metadata"):
                return (200, json.dumps(self.files[name])) if name in self.files else (404, "FileNotFound")
            case ("PUT", "files", "name", name, "metadata"):
                self.files[name].update(body)
                return 200, "ok"
            case ("GET", "files", "name", name, "locations"):
                return 200, json.dumps([{"full_path": place} for place in self.locations.get(name, [])])
            case ("POST", "files", "name", name, "locations"):
                places = self.locations.setdefault(name, [])
                if body["add"] not in places:
                    places.append(body["add"])
                return 200, "ok"
            case ("POST", "definitions", "create"):
                if body["defname"] in self.definitions:
                    return 409, "exists"
                self.definitions[body["defname"]] = body["dims"]
                return 200, "{}"
        return 501, f"the stand-in has no {method} {path}"

    def _process(self, project: str, body: dict[str, str]) -> str:
        for number, process in self.processes.items():
            if process["project"] == project and process["description"] == body["description"]:
                return number
        number = str(len(self.processes) + 1)
        self.processes[number] = {"project": project, "status": "running", **body}
        return number

    def _next(self, project: str, process: str) -> tuple[int, str]:
        if self.not_ready:
            self.not_ready -= 1
            return 202, ""
        mine = [name for name in self.inputs[project] if self.holder.get((project, name)) == process]
        again = [name for name in mine if self.status[project, name] == "delivered"]
        if not again and len(mine) < int(self.processes[process].get("filelimit", 10_000)):
            again = [name for name in self.inputs[project] if self.status[project, name] == "unknown"][:1]
        if not again:
            return 204, ""
        self.status[project, again[0]], self.holder[project, again[0]] = "delivered", process
        place = self.locations[again[0]][0].partition(":")[2]
        return 200, f"file://{place}/{again[0]}\n{again[0]}\n"


def _handler(server: SamServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            url = urlsplit(self.path)
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            is_json = self.headers.get("Content-Type") == "application/json"
            body = json.loads(data) if is_json else {key: value[0] for key, value in parse_qs(data.decode()).items()}
            path = url.path.removeprefix(KEY)
            with server.lock:
                server.requests.append(f"{self.command} {path}")
                trouble = server.trouble(self.command, path) if path != url.path else "foreign"
                if trouble in ("refuse", "foreign"):
                    return self.reply(503 if trouble == "refuse" else 403, "no")
                if trouble == "kill-before":
                    return self.kill()
                query = {key: value[0] for key, value in parse_qs(url.query).items()}
                status, text = server.answer(self.command, path, query, body)
                if trouble == "kill-after":
                    return self.kill()
            if trouble != "lose":
                self.reply(status, text)
            return None

        def kill(self) -> None:
            assert server.victim is not None
            server.victim.send_signal(signal.SIGKILL)

        def reply(self, status: int, text: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Retry-After", "0")
            self.end_headers()
            with contextlib.suppress(BrokenPipeError):
                self.wfile.write(text.encode())

        do_GET = do_POST = do_PUT = handle_any

        def log_message(self, *arguments: object) -> None:
            """Quiet: the requests are kept in the server's list."""

    return Handler


@contextlib.contextmanager
def running_server() -> Iterator[SamServer]:
    server = SamServer()
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(server)) as http:
        http.daemon_threads = True
        server.address = f"http://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        http.shutdown()
        thread.join()


@pytest.fixture
def sam() -> Iterator[SamServer]:
    with running_server() as server:
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
    with running_server() as server:
        launches, jobs = Launches(root), Jobs(server, root)
        result = Campaign(server, root / "out", {}, {})
        inputs: list[str] = []
        for number, stage in enumerate(("gen", "g4", "detsim", "reco", "anatree"), 101):
            dataset = f"poms_depends_{number - 1}_1"
            server.counts[dataset] = len(inputs)
            server.start(f"project{number}", inputs)
            launched = launches.run(
                "-c", "sbnd_mc/sbnd_launch.cfg", "--stage", stage, *([f"-Osubmit.dataset={dataset}"] if inputs else []),
                POMS_TASK_ID=str(number), POMS_CAMPAIGN_ID="9", SAM_WEB_BASE_URL=server.base,
                SAMPLE_OUTPUT=str(result.output))
            assert launched.status == 0, launched.errors
            words = launches.submitted
            passed = {words[n + 1]: launches.environment[words[n + 1]] for n, word in enumerate(words) if word == "-e"}
            arguments = words[next(n for n, word in enumerate(words) if word.startswith("file://")) + 1:]
            done = [jobs.run(*arguments, project=f"project{number}" if inputs else "", process=process,
                             cluster=str(number), **passed) for process in range(int(words[words.index("-N") + 1]))]
            result.statuses[stage] = [job.status for job in done]
            result.files[stage] = sorted((result.output / "sbnd_mc" / stage).glob("*.root"))
            inputs = [path.name for path in result.files[stage]]
        yield result
