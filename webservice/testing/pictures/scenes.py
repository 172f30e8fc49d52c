"""What the pictures show: an experiment without anything, one at its usual work, one with far too much of it.

Each scene is the real application on SQLite behind the real server. The clock stands still, so that the same
command gives the same pictures.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, text

from poms.webservice import app, config, migrations
from poms.webservice.backends import Backends
from poms.webservice.db import Database, make_engine
from poms.webservice.server import Server
from poms.webservice.services.core import Core
from poms.webservice.testing.bench import making
from poms.webservice.testing.bench.shape import SMALL, Landmarks, Scale
from poms.webservice.testing.clock import Clock
from poms.webservice.testing.fakes import NAME, Fakes, installed_plugins
from poms.webservice.testing.pictures import story
from poms.webservice.testing.world import World

INI = """
[service]
data_dir = {directory}
[database]
url = sqlite:///{directory}/poms.db
[web]
listen = 127.0.0.1:0
threads = 8
[identity]
sources = demo
[identity_demo]
user = {user}
[experiment_defaults]
job_backend = {fake}
data_backend = {fake}
launch_transport = {fake}
"""
# What the longest names look like: one that can be broken, one that cannot, one that is read from right to left.
LONG_NAMES = ("_with_the_cosmic_overlay_and_the_recalibrated_light_yield_of_run_18_take_3",
              "ReprocessedWithEverythingThatWasFoundToBeWrongInTheFirstTwoPasses",
              " شبكة النيوترينو – second pass “final”")


@dataclass(frozen=True)
class Scene:
    """A service that can be looked at. ``landmarks`` None: there is nothing that a page could be about."""

    name: str
    address: str
    landmarks: Landmarks | None
    experiment: str
    role: str


@contextmanager
def empty(directory: Path) -> Iterator[Scene]:
    """An experiment on its first day: people, and nothing else."""
    with _served("empty", directory, Clock(), "lortiz", lambda world: story.people(world) and None) as scene:
        yield scene


@contextmanager
def normal(directory: Path) -> Iterator[Scene]:
    """Some campaigns at work, made by the services themselves: some run, some are done, some need a person."""
    with _served("normal", directory, Clock(story.BEGIN), "lortiz", story.tell) as scene:
        yield scene


@contextmanager
def huge(directory: Path, scale: Scale = SMALL) -> Iterator[Scene]:
    """The made-up data of the benchmark, under names that nobody would want."""
    clock = Clock()

    def fill(world: World) -> Landmarks:
        landmarks = making.make(world.core.db.engine, scale, now=clock())
        _lengthen(world.core.db.engine)
        return landmarks

    with _served("huge", directory, clock, making.USER, fill) as scene:
        yield scene


SCENES = {"empty": empty, "normal": normal, "huge": huge}


@contextmanager
def _served(name: str, directory: Path, clock: Clock, user: str,
            fill: Callable[[World], Landmarks | None]) -> Iterator[Scene]:
    """The application over HTTP on a database that ``fill`` has filled."""
    directory.mkdir(parents=True, exist_ok=True)
    fakes = Fakes(clock)
    settings = config.parse(INI.format(directory=directory, user=user, fake=NAME), directory=directory)
    backends = Backends(settings, [fakes, *installed_plugins("split_types", "demo_identity", "mail_notifier")],
                        clock=clock)
    migrations.upgrade(settings.database.url, backends.databases())
    database = Database(make_engine(settings.database.url))
    core = Core(database, backends, backends.settings, clock)
    landmarks = fill(World(core, fakes))
    server = Server(core.settings.web)
    place = server.bind_or_refuse()
    server.wsgi_app = application = app.build(core)
    thread = threading.Thread(target=server.serve, name=f"web server of the scene {name}")
    thread.start()
    try:
        yield Scene(name, f"http://{place}", landmarks, landmarks.experiment if landmarks else story.EXPERIMENT,
                    landmarks.role if landmarks else "production")
    finally:
        server.stop()
        thread.join()
        application.close()
        backends.close()
        database.close()


def _lengthen(engine: Engine) -> None:
    """Give everything that has a name a long one; texts of campaigns keep in step."""
    stages = {name: f"{name}{LONG_NAMES[number % 2]}" for number, name in enumerate(making.STAGES)}
    with engine.begin() as connection:
        for number, tail in enumerate(LONG_NAMES):
            for statement in ("UPDATE campaigns SET name = name || :tail WHERE campaign_id % 3 = :number",
                              "UPDATE tags SET tag_name = tag_name || :tail WHERE tag_id % 3 = :number"):
                connection.execute(text(statement), {"tail": tail, "number": number})
        for short, long in stages.items():
            connection.execute(text("UPDATE campaign_stages SET name = :long WHERE name = :short"),
                               {"short": short, "long": long})
        connection.execute(text("UPDATE login_setups SET name = name || :tail"), {"tail": LONG_NAMES[0]})
        connection.execute(text("UPDATE job_types SET name = name || :tail, launch_script = launch_script || :more"),
                           {"tail": LONG_NAMES[1], "more": " --configuration=" + LONG_NAMES[1] * 3})
        names = dict(connection.execute(text("SELECT campaign_id, name FROM campaigns")).all())
        versions = connection.execute(text("SELECT campaign_id, number, text FROM campaign_versions")).all()
        connection.execute(
            text("UPDATE campaign_versions SET text = :text WHERE campaign_id = :campaign_id AND number = :number"),
            [{"campaign_id": campaign_id, "number": number, "text": _with_long_names(found, names[campaign_id], stages)}
             for campaign_id, number, found in versions])


def _with_long_names(campaign_text: str, name: str, stages: dict[str, str]) -> str:
    made = re.sub(r"(?m)^name = .*$", lambda _: f"name = {name}", campaign_text)
    made = re.sub(r"(?m)^(\[(?:campaign_stage|dependencies) |campaign_stage_1 = )(\w+)",
                  lambda found: found[1] + stages[found[2]], made)
    made = re.sub(r"(?m)^campaign_stage_list = .*$",
                  lambda _: f"campaign_stage_list = {','.join(stages.values())}", made)
    made = made.replace("login_setup = grid", f"login_setup = grid{LONG_NAMES[0]}")
    made = made.replace("[login_setup grid]", f"[login_setup grid{LONG_NAMES[0]}]")
    made = made.replace("job_type = lar", f"job_type = lar{LONG_NAMES[1]}")
    return made.replace("[job_type lar]", f"[job_type lar{LONG_NAMES[1]}]")
