"""The local batch system passes what every JobBackend passes."""

from __future__ import annotations

import pytest

from poms.plugins.local.transport import LocalTransport
from poms.webservice.rules import shell
from poms.webservice.testing.jobs import JobBackendContract


class TestLocalBatch(JobBackendContract):
    """Through its own jobsub_submit and the local transport."""

    @pytest.fixture
    def backend(self, make):
        return make()

    @pytest.fixture
    def transport(self):
        return LocalTransport()

    def command(self, executable, *, jobs, memory_mb):
        memory = "" if memory_mb is None else f"--memory={memory_mb}MB "
        return f"jobsub_submit -G samdev -N {jobs} {memory}file://{shell.quote(str(executable))}"
