"""A real HTCondor pool for the session, shared by the tests of all plugins that use one."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from poms.webservice.testing.fixtures import lacking
from poms.webservice.testing.jobs import await_that


def _load_pool_module():
    """The pool's script is a program of its own, not part of any package."""
    path = Path(__file__).resolve().parents[1] / "pool" / "condor_pool.py"
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
def empty_pool(pool) -> Iterator[condor_pool.Pool]:
    """The pool; afterwards no job of the test is left in it."""
    yield pool
    for schedd in pool.schedds:
        pool.run("condor_rm", "-name", schedd, "-constraint", "true")
    await_that(lambda: not any(pool.run("condor_q", "-name", schedd, "-allusers", "-af", "ClusterId").stdout.split()
                               for schedd in pool.schedds))


@pytest.fixture
def shared_path() -> Iterator[Path]:
    """A directory that tests and jobs both can write."""
    with tempfile.TemporaryDirectory(prefix="poms-jobs-") as directory:
        Path(directory).chmod(0o777)
        yield Path(directory)
