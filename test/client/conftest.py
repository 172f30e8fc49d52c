"""A running service that answers over HTTP on loopback, and the command as people type it."""

from __future__ import annotations

import errno
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cheroot import wsgi

from poms.webservice import app
from poms.webservice.cli import main
from poms.webservice.client import Client
from poms.webservice.testing.fixtures import make_service
from poms.webservice.testing.notifier import FakeChannels
from poms.webservice.testing.world import CampaignMade, World, stage

ROOT = Path(__file__).parents[2]


@dataclass
class Running:
    """A service on fake back ends behind a real web server; everybody on this machine is ``demo``."""

    world: World
    url: str
    capsys: pytest.CaptureFixture[str]
    asked: list[tuple[str, str]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    is_down: bool = False

    @property
    def client(self) -> Client:
        return Client(self.url, experiment="samdev", role="production")

    def poms(self, *words: object) -> tuple[int, str, str]:
        """Exit status, output and errors of one command."""
        try:
            status = main([*map(str, words), "--server", self.url, "-e", "samdev"])
        except SystemExit as ended:
            status = int(ended.code or 0)
        said = self.capsys.readouterr()
        return status, said.out, said.err


@pytest.fixture
def running(sqlite_database, tmp_path: Path, clock, capsys) -> Iterator[Running]:
    service = make_service(sqlite_database, tmp_path, clock, text="[notify]\nchannels = fake, other\n",
                           plugins=[FakeChannels()])
    world = World(service.core, service.fakes)
    world.person("demo")
    application = app.build(service.core)
    running = Running(world, "", capsys)

    def noted(environ, start_response):
        """Keeps what was asked; is down, or loses an answer on its way back, when the test says so."""
        if running.is_down:
            raise BrokenPipeError(errno.EPIPE, "nobody is here")
        running.asked.append((environ["PATH_INFO"], environ.get("HTTP_IDEMPOTENCY_KEY", "")))
        if not any(word in environ["PATH_INFO"] for word in running.broken):
            return application(environ, start_response)
        running.broken.clear()
        list(application(environ, lambda *_: None))
        raise BrokenPipeError(errno.EPIPE, "the answer was lost")

    server = wsgi.Server(("127.0.0.1", 0), noted, numthreads=2)
    server.error_log = lambda *_, **__: None
    server.prepare()
    thread = threading.Thread(target=server.serve)
    thread.start()
    running.url = f"http://127.0.0.1:{server.bind_addr[1]}"
    yield running
    server.stop()
    thread.join()


@pytest.fixture
def campaign(running: Running) -> CampaignMade:
    """Two stages of a campaign that was made by the user of this machine."""
    return running.world.campaign_with(stage("gen"), stage("reco", after="gen"), name="mc",
                                       owner=running.world.person("demo"))


@pytest.fixture
def program():
    """Runs one of the programs below bin/, as a process of its own."""
    def run(path: str, *words: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, str(ROOT / "bin" / path), *words], env=environment, capture_output=True,
                              text=True, timeout=60, check=False)

    return run
