"""A whole application in this process, and people with browsers or programs who use it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from webtest import TestApp, TestResponse

from poms.webservice import app
from poms.webservice.handlers.routing import Router
from poms.webservice.model import Campaign, CampaignVersion, Experimenter
from poms.webservice.rules.permissions import Actor
from poms.webservice.services import holds, login_setup_tests
from poms.webservice.services.core import Core
from poms.webservice.testing.fakes import installed_plugins
from poms.webservice.testing.fixtures import make_service
from poms.webservice.testing.world import CampaignMade, World, stage

PROXY = """
[identity]
sources = proxy
[web]
max_upload_bytes = 200000
"""
HERE = {"REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "poms.example.org"}


@dataclass
class Site:
    """The application with what is in its database."""

    core: Core
    world: World
    wsgi: Any
    secret: str
    router: Router = field(default_factory=lambda: Router(app.ROUTES))

    def identity(self, username: str, method: str = "browser") -> dict[str, str]:
        """The headers by which the front end says who it is."""
        return {"X-Shib-Userid": username, "X-Poms-Proxy-Secret": self.secret, "X-Poms-Auth-Method": method}

    def browser(self, who: Actor | str) -> Browser:
        return Browser(self, getattr(who, "username", who), getattr(who, "experiment", "samdev"),
                       getattr(who, "role", "production"))

    def program(self, who: Actor | str) -> Program:
        return Program(self, getattr(who, "username", who), getattr(who, "experiment", "samdev"),
                       getattr(who, "role", "production"))

    def nobody(self) -> TestApp:
        return TestApp(self.wsgi, extra_environ=dict(HERE))


class Program:
    """Somebody with a certificate: no cookies, no forms."""

    method = "certificate"
    accept = "*/*"

    def __init__(self, site: Site, username: str, experiment: str, role: str) -> None:
        self.site, self.username, self.place = site, username, f"{experiment}/{role}"
        self.client = TestApp(site.wsgi, extra_environ=dict(HERE))

    def headers(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        return {**self.site.identity(self.username, self.method), "Accept": self.accept, **(more or {})}

    def get(self, word: str, *path: object, place: str | None = None, headers: Mapping[str, str] | None = None,
            **arguments: Any) -> TestResponse:
        return self.client.get(self.address(word, *path, place=place), arguments, headers=self.headers(headers),
                               status="*")

    def post(self, word: str, fields: Any = None, *, headers: Mapping[str, str] | None = None,
             files: Any = None) -> TestResponse:
        return self.client.post(self.address(word), self.fields(fields), headers=self.headers(headers), status="*",
                                upload_files=files)

    def fields(self, fields: Any) -> Any:
        return fields or {}

    def address(self, word: str, *path: object, place: str | None = None) -> str:
        where = self.place if place is None else place
        return "/".join(["/poms", word, *([where] if where else []), *map(str, path)])


class Browser(Program):
    """Somebody at a browser: says where requests come from and sends the token of its session."""

    method = "browser"
    accept = "text/html,application/xhtml+xml"

    def headers(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        return {"Sec-Fetch-Site": "same-origin", "User-Agent": "Mozilla/5.0", **super().headers(more)}

    def token(self) -> str:
        return self.get("campaigns").html.find("input", {"name": "csrf_token"})["value"]

    def fields(self, fields: Any) -> Any:
        given = dict(fields or {})
        given.setdefault("csrf_token", self.token())
        return [(name, one) for name, value in given.items()
                for one in (value if isinstance(value, list) else [value])]


@pytest.fixture
def site(sqlite_database, tmp_path: Path, clock) -> Site:
    """POMS behind a front end that logs people in, with an experiment, samdev."""
    service = make_service(sqlite_database, tmp_path, clock, text=PROXY, plugins=installed_plugins("proxy_identity"))
    core = service.core
    world = World(core, service.fakes)
    world.experiment("samdev")
    return Site(core, world, app.build(core), core.settings.secret("identity_proxy"))


@pytest.fixture
def owner(site: Site) -> Actor:
    """A production user of samdev."""
    return site.world.person("olive")


@pytest.fixture
def campaign(site: Site, owner: Actor) -> CampaignMade:
    """Two stages; the second takes what the first makes."""
    return site.world.campaign_with(stage("gen"), stage("reco", after="gen"), name="mc", owner=owner)


@pytest.fixture
def write_text(site: Site):
    """Gives a campaign that was built a first version of its text."""
    return partial(give_text, site)


@dataclass(frozen=True)
class Items:
    """One item of each kind, by the argument that names it."""

    campaign: CampaignMade
    ids: Mapping[str, int | str]


@pytest.fixture
def items(site: Site, campaign: CampaignMade) -> Items:
    """A campaign that was launched, with a launch that is held."""
    return made_items(site, campaign)


def give_text(site: Site, campaign: CampaignMade, text: str = "[campaign]\nname = mc\n") -> None:
    """A first version, as saving a text makes it."""
    site.world.change(Campaign, campaign.campaign_id, version_number=1)
    with site.core.db.write() as session:
        session.add(CampaignVersion(campaign_id=campaign.campaign_id, number=1, text=text, source="upload",
                                    creator=campaign.owner.experimenter_id, created=site.core.clock()))


def made_items(site: Site, campaign: CampaignMade) -> Items:
    submission = site.world.submission(campaign, "gen")
    site.world.poll()
    with site.core.db.read() as session:
        person = session.get(Experimenter, campaign.owner.experimenter_id)
    give_text(site, campaign)
    actor = Actor(person.experimenter_id, person.username, campaign.experiment, campaign.owner.role)
    holds.hold_stages(site.core, actor, [campaign.stage("reco")], hold=True, reason="disk full")
    held = site.world.launch(campaign, "reco").launch_id
    stage_row = site.world.stage_row(campaign, "gen")
    holds.hold_stages(site.core, actor, [campaign.stage("reco")], hold=False)
    test = login_setup_tests.request(site.core, actor, stage_row.login_setup_id, "a test")
    return Items(campaign, {"campaign_id": campaign.campaign_id, "campaign_stage_id": campaign.stage("gen"),
                            "submission_id": submission, "launch_id": held, "stage_id": campaign.stage("gen"),
                            "ids2HR": campaign.stage("gen"), "login_setup_id": stage_row.login_setup_id,
                            "job_type_id": stage_row.job_type_id, "test_id": test,
                            "username": person.username})
