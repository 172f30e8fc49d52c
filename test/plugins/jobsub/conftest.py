"""Jobsub back ends on the real pool, with a stand-in for jobsub_lite's commands."""

from __future__ import annotations

import base64
import importlib.util
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import pytest

from poms.plugins.htcondor.options import Options
from poms.plugins.jobsub.backend import JobsubBatch
from poms.webservice.interfaces import LaunchPlan, PluginContext


def _load_stand_in():
    """A program of its own, as what it stands for."""
    path = Path(__file__).with_name("stand_in.py")
    spec = importlib.util.spec_from_file_location("jobsub_stand_in", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["jobsub_stand_in"] = module
    spec.loader.exec_module(module)
    return module


stand_in = _load_stand_in()


def a_token(*groups: str, seconds: float = 3600) -> str:
    """A token's text, with a signature that nobody here looks at."""
    parts = ({"alg": "RS256"}, {"exp": int(time.time() + seconds), "wlcg.groups": list(groups)})
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + ".x"


def a_plan(**changes) -> LaunchPlan:
    fields = {"submission_id": 7, "attempt": 1, "experiment": "samdev", "group": "samdev", "role": "Analysis",
              "launcher": "ann", "host": "localhost", "account": "", "setup": "", "command": "true", "environment": ()}
    return LaunchPlan(**{**fields, **changes})


def a_context(data_dir: Path, **options) -> PluginContext:
    settings = {"collector": "127.0.0.1:1", "schedds": ["schedd.example"], "access": "auto", "config": "none",
                "roles": ("Production", "Analysis"), "default_role": "Production", "groups": (), **options}
    return PluginContext(experiment="samdev", options=settings, data_dir=data_dir, database_url="", public_url="",
                         clock=lambda: datetime.now(UTC), secret=lambda name: name)


@pytest.fixture
def tokens(shared_path) -> Path:
    """A directory with a token for each role."""
    place = shared_path / "bearer"
    place.mkdir(mode=0o755)
    (place / "samdev_production").write_text(a_token("/samdev", "/samdev/production"))
    (place / "samdev_analysis").write_text(a_token("/samdev"))
    return place


@pytest.fixture
def programs(pool, shared_path) -> Path:
    """The stand-in's programs, for launch scripts and for the back end."""
    place = shared_path / "jobsub"
    place.mkdir(mode=0o755)
    options = Options(collector=pool.collector, schedds=pool.schedds[:1], access="auto", config="none",
                      token_directory=str(pool.token_directory), programs=str(pool.programs), default_memory_mb=500)
    return stand_in.install(place, {"options": asdict(options), "directory": str(shared_path / "data")})


@pytest.fixture
def make(empty_pool, shared_path, tokens, programs) -> Iterator[Callable[..., JobsubBatch]]:
    """Builds back ends on the pool; afterwards no job of the test is left in it."""
    def build(**options) -> JobsubBatch:
        made.append(JobsubBatch(a_context(shared_path / "data", **{
            "collector": empty_pool.collector, "schedds": [empty_pool.schedds[0]], "pool": "test",
            "token_directory": str(empty_pool.token_directory), "programs": str(empty_pool.programs),
            "jobsub_programs": str(programs), "token_file": f"{tokens}/{{group}}_{{role}}", **options})))
        return made[-1]

    made: list[JobsubBatch] = []
    yield build
    for backend in made:
        backend.close()


@pytest.fixture
def backend(make) -> JobsubBatch:
    return make()
