"""A service behind a real server, whose open pages refresh themselves when they are told and hardly otherwise."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from poms.webservice import app
from poms.webservice.clock import utc_now
from poms.webservice.handlers.routing import Routes
from poms.webservice.server import Server
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
SELDOM = 100_000


@dataclass
class Site:
    """The service with its address."""

    core: Core
    world: World
    address: str

    def url(self, word: str, *path: object) -> str:
        return "/".join([self.address, "poms", word, "samdev", "production", *map(str, path)])

    def headers(self) -> dict[str, str]:
        """What the front end says about olive."""
        return {"X-Shib-Userid": "olive", "X-Poms-Auth-Method": "browser",
                "X-Poms-Proxy-Secret": self.core.settings.secret("identity_proxy")}


def seldom(group: Routes) -> Routes:
    """The same routes, whose pages hardly ever refresh by themselves."""
    made = Routes()
    made.declared = [replace(route, live_seconds=SELDOM) if route.live_seconds else route for route in group.declared]
    return made


@pytest.fixture
def site(sqlite_database, tmp_path: Path) -> Iterator[Site]:
    service = make_service(sqlite_database, tmp_path, utc_now, text=SETTINGS,
                           plugins=installed_plugins("proxy_identity"))
    server = Server(service.core.settings.web)
    settings = service.core.settings.overriding("web", listen=server.bind_or_refuse())
    core = replace(service.core, settings=settings)
    server.wsgi_app = app.build(core, groups=[seldom(group) for group in app.ROUTES])
    thread = threading.Thread(target=server.serve)
    thread.start()
    yield Site(core, World(core, service.fakes), settings.service.public_url)
    server.stop()
    thread.join()


@pytest.fixture(scope="module")
def chromium():
    with browsers.chromium() as started:
        yield started


@pytest.fixture
def tab(chromium, site):
    """A window of olive's."""
    with browsers.tab(chromium) as opened:
        opened.context.set_extra_http_headers(site.headers())
        yield opened
