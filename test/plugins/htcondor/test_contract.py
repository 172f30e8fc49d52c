"""HTCondor passes what every JobBackend passes, on a real pool, by its Python package and by its tools."""

from __future__ import annotations

import pytest

from poms.plugins.local.transport import LocalTransport
from poms.webservice.rules import shell
from poms.webservice.testing.jobs import Gate, JobBackendContract

pytestmark = pytest.mark.htcondor


class OnThePool(JobBackendContract):
    """Through its own jobsub_submit and the local transport."""

    wait_seconds = 90.0

    @pytest.fixture
    def transport(self):
        return LocalTransport()

    @pytest.fixture
    def gate(self, shared_path):
        """Jobs are another user's, so what they wait for is in a directory that they can enter."""
        gate = Gate(shared_path / "gate")
        yield gate
        gate.open()

    @pytest.fixture
    def tmp_path(self, shared_path):
        """Jobs write there as well."""
        return shared_path

    def command(self, executable, *, jobs, memory_mb):
        memory = "" if memory_mb is None else f"--memory={memory_mb}MB "
        return f"jobsub_submit -G samdev -N {jobs} {memory}file://{shell.quote(str(executable))}"

    def test_processor_time_is_measured(self, launch):
        """A job that computes has used processor time. Without cgroups HTCondor looks once a second only."""
        used = "awk '{print int(($14 + $15) / 100)}' /proc/$$/stat"
        record = launch(f"until [ $({used}) -ge 3 ]; do for i in {{1..100000}}; do :; done; done").ended(1)[0]

        assert record.cpu_seconds is not None
        assert record.cpu_seconds > 0
        assert record.wall_seconds is not None
        assert record.wall_seconds >= 2


class TestBindings(OnThePool):
    """By the Python package, in worker processes."""

    @pytest.fixture
    def backend(self, make):
        pytest.importorskip("htcondor2", reason="htcondor: the Python package htcondor is not installed")
        return make(access="bindings")


class TestCommands(OnThePool):
    """By condor_q and its companions."""

    @pytest.fixture
    def backend(self, make):
        return make(access="commands")
