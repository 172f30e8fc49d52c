"""The real application behind a real server, and people with browsers who edit campaigns."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from poms.webservice import app
from poms.webservice.rules.permissions import Actor
from poms.webservice.server import Server
from poms.webservice.services import campaigns
from poms.webservice.services.core import Core
from poms.webservice.testing import browser as browsers
from poms.webservice.testing.fakes import installed_plugins
from poms.webservice.testing.fixtures import make_service
from poms.webservice.testing.world import World

SETTINGS = """
[identity]
sources = proxy
[web]
listen = 127.0.0.1:0
threads = 8
"""
TEXT = """# agreed with the beam group
[campaign]
name = mc
experiment = samdev

[campaign_defaults]
vo_role = Production
software_version = v1
dataset_or_split_data = None
completion_type = located
completion_pct = 95
login_setup = here
job_type = sim

# makes the events
[campaign_stage gen]
stage_type = generator

[campaign_stage reco]
completion_pct = 80

[login_setup here]
host = localhost
account =

[job_type sim]
launch_script = run --version=%(version)s
parameters = [["-N", "5"]]
output_file_patterns = %.root

[dependencies reco]
campaign_stage_1 = gen
file_pattern_1 = gen_%.root
"""


@dataclass
class Site:
    """The service with its address."""

    core: Core
    world: World
    address: str
    secret: str
    sample: str = TEXT

    def headers(self, username: str) -> dict[str, str]:
        """What the front end says about a person."""
        return {"X-Shib-Userid": username, "X-Poms-Proxy-Secret": self.secret, "X-Poms-Auth-Method": "browser"}

    def save(self, owner: Actor, text: str = TEXT, **options: Any) -> int:
        result = campaigns.save_text(self.core, owner, text.encode(), source="test", **options)
        assert not result.problems, result.problems
        return int(result.campaign_id or 0)

    def text(self, owner: Actor, name: str = "mc") -> str:
        return campaigns.text_of(self.core, owner, name)

    def url(self, word: str, *path: object) -> str:
        return "/".join([self.address, "poms", word, "samdev", "production", *map(str, path)])


@pytest.fixture
def site(sqlite_database, tmp_path: Path, clock) -> Iterator[Site]:
    """POMS with the experiment samdev, listening on this machine."""
    service = make_service(sqlite_database, tmp_path, clock, text=SETTINGS, plugins=installed_plugins("proxy_identity"))
    world = World(service.core, service.fakes)
    world.experiment("samdev")
    server = Server(service.core.settings.web)
    place = server.bind_or_refuse()
    server.wsgi_app = app.build(service.core)
    thread = threading.Thread(target=server.serve, name="web server of a test")
    thread.start()
    yield Site(service.core, world, f"http://{place}", service.core.settings.secret("identity_proxy"))
    server.stop()
    thread.join()


@pytest.fixture
def owner(site: Site) -> Actor:
    """A production user of samdev."""
    return site.world.person("olive")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browsers.chromium() as started:
        yield started


@pytest.fixture
def open_tab(site: Site, chromium) -> Iterator[Callable[..., Any]]:
    """Opens a page as a person; any error of a script or breach of the content policy fails the test."""
    wrong: list[str] = []
    contexts = []

    def heard(message: Any) -> None:
        # That the server refused something is told by the page, and tested there.
        if message.type == "error" and "Failed to load resource" not in message.text:
            wrong.append(message.text)

    def open_one(username: str = "olive", *, width: int = 1280, height: int = 900, **options: Any) -> Any:
        context = chromium.new_context(viewport={"width": width, "height": height},
                                       extra_http_headers=site.headers(username), **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", heard)
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert wrong == []
