"""The local batch system passes what every JobBackend passes."""

from __future__ import annotations

import io

import pytest

from poms.plugins.local.transport import LocalTransport
from poms.webservice.rules import shell
from poms.webservice.testing.jobs import JobBackendContract
from test.plugins.local_batch.conftest import a_plan


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


class Forgetful:
    """A transport after whose script the queue cannot be read."""

    dies_with_caller = True

    def __init__(self, database):
        self.database = database

    def run(self, host, account, script, **limits):
        result = LocalTransport().run(host, account, script, **limits)
        self.database.rename(self.database.with_suffix(".away"))
        self.database.write_bytes(b"rubbish " * 1000)
        return result


def test_a_printed_job_id_is_not_believed_without_the_queue(backend):
    """What a script prints is not taken for jobs when the queue cannot be asked: it is unclear."""
    plan = a_plan(command="echo Use job id 5.0@somewhere to retrieve output")
    script = shell.launch_script(plan, backend.environment(plan))
    database = backend.spool.database

    outcome = backend.submit(plan, script, Forgetful(database), io.BytesIO(), 60)

    database.with_suffix(".away").replace(database)
    assert outcome.kind == "unclear"
    assert backend.find(plan.submission_id) == []
