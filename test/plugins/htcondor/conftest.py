"""A real HTCondor pool for the session, and back ends on it."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from poms.plugins.htcondor.backend import HTCondorBatch
from poms.webservice.interfaces import LaunchPlan, PluginContext
from poms.webservice.testing.fixtures import lacking
from poms.webservice.testing.jobs import await_that


def _load_pool_module():
    """The pool's script is a program of its own, not part of any package."""
    path = Path(__file__).resolve().parents[2] / "pool" / "condor_pool.py"
    spec = importlib.util.spec_from_file_location("condor_pool", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["condor_pool"] = module
    spec.loader.exec_module(module)
    return module


condor_pool = _load_pool_module()


@pytest.fixture(scope="session")
def pool() -> Iterator[condor_pool.Pool]:
    """Started once, in the system that ``test/pool/condor_pool.py provision`` made."""
    problem = condor_pool.lacking()
    if problem:
        lacking("htcondor", problem)
    # Not below pytest's own directory: jobs run as another user, who cannot enter that.
    with tempfile.TemporaryDirectory(prefix="poms-pool-", ignore_cleanup_errors=True) as directory:
        Path(directory).chmod(0o755)
        with condor_pool.running_pool(Path(directory)) as running:
            yield running


@pytest.fixture
def shared_path() -> Iterator[Path]:
    """A directory that tests and jobs both can write."""
    with tempfile.TemporaryDirectory(prefix="poms-jobs-") as directory:
        Path(directory).chmod(0o777)
        yield Path(directory)


def make_backend(pool, data_dir: Path, **options) -> HTCondorBatch:
    settings = {"collector": pool.collector, "schedds": [pool.schedds[0]], "pool": "test",
                "token_directory": str(pool.token_directory), "access": "auto", "config": "none",
                "default_memory_mb": 500, "programs": str(pool.programs), **options}
    context = PluginContext(experiment="samdev", options=settings, data_dir=data_dir, database_url="", public_url="",
                            clock=lambda: datetime.now(UTC), secret=lambda name: name)
    return HTCondorBatch(context)


@pytest.fixture
def make(pool, shared_path) -> Iterator[Callable[..., HTCondorBatch]]:
    """Builds back ends on the pool; afterwards no job of the test is left in it."""
    def build(**options) -> HTCondorBatch:
        made.append(make_backend(pool, shared_path / "data", **options))
        return made[-1]

    made: list[HTCondorBatch] = []
    yield build
    for schedd in pool.schedds:
        pool.run("condor_rm", "-name", schedd, "-constraint", "true")
    await_that(lambda: not any(pool.run("condor_q", "-name", schedd, "-allusers", "-af", "ClusterId").stdout.split()
                               for schedd in pool.schedds))
    for backend in made:
        backend.close()


@pytest.fixture
def backend(make) -> HTCondorBatch:
    return make()


def a_plan(**changes) -> LaunchPlan:
    fields = {"submission_id": 7, "attempt": 1, "experiment": "samdev", "group": "samdev", "role": "Analysis",
              "launcher": "ann", "host": "localhost", "account": "", "setup": "", "command": "true", "environment": ()}
    return LaunchPlan(**{**fields, **changes})
