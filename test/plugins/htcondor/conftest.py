"""Back ends on the real pool."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from poms.plugins.htcondor.backend import HTCondorBatch
from poms.webservice.interfaces import LaunchPlan, PluginContext
from test.plugins.conftest import condor_pool

__all__ = ["a_plan", "condor_pool"]


def make_backend(pool, data_dir: Path, *, clock=lambda: datetime.now(UTC), **options) -> HTCondorBatch:
    settings = {"collector": pool.collector, "schedds": [pool.schedds[0]], "pool": "test",
                "token_directory": str(pool.token_directory), "access": "auto", "config": "none",
                "default_memory_mb": 500, "programs": str(pool.programs), **options}
    context = PluginContext(experiment="samdev", options=settings, data_dir=data_dir, database_url="", public_url="",
                            clock=clock, secret=lambda name: name)
    return HTCondorBatch(context)


@pytest.fixture
def make(empty_pool, shared_path) -> Iterator[Callable[..., HTCondorBatch]]:
    """Builds back ends on the pool; afterwards no job of the test is left in it."""
    def build(**options) -> HTCondorBatch:
        made.append(make_backend(empty_pool, shared_path / "data", **options))
        return made[-1]

    made: list[HTCondorBatch] = []
    yield build
    for backend in made:
        backend.close()


@pytest.fixture
def backend(make) -> HTCondorBatch:
    return make()


def a_plan(**changes) -> LaunchPlan:
    fields = {"submission_id": 7, "attempt": 1, "experiment": "samdev", "group": "samdev", "role": "Analysis",
              "launcher": "ann", "host": "localhost", "account": "", "setup": "", "command": "true", "environment": ()}
    return LaunchPlan(**{**fields, **changes})
