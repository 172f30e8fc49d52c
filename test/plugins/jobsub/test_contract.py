"""Jobsub passes what every JobBackend passes, on a real pool behind a stand-in for jobsub_lite's commands."""

from __future__ import annotations

import pytest

from poms.plugins.jobsub.attributes import harmless
from poms.plugins.local.transport import LocalTransport
from poms.webservice.interfaces import JobState
from poms.webservice.rules import shell
from poms.webservice.testing.jobs import HOSTILE_NAMES, Gate, JobBackendContract

pytestmark = pytest.mark.htcondor


class TestJobsub(JobBackendContract):
    """Launches find the commands on PATH, as a site's set-up would have it."""

    wait_seconds = 90.0

    @pytest.fixture
    def backend(self, make):
        return make()

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
    def tmp_path(self, shared_path, programs):
        """Jobs write there as well."""
        self.programs = programs
        return shared_path

    def command(self, executable, *, jobs, memory_mb):
        memory = "" if memory_mb is None else f"--memory={memory_mb}MB "
        return (f"{self.programs}/jobsub_submit -G samdev --role Analysis -N {jobs} {memory}"
                f"file://{shell.quote(str(executable))}")

    def test_hostile_names_reach_the_job_unchanged(self, launch):
        """jobsub writes values into submit descriptions as they are: names arrive with what could harm replaced."""
        variables = tuple((f"POMS4_NAME_{number}", name) for number, name in enumerate(HOSTILE_NAMES))

        launched = launch(f"for i in $(seq 0 {len(HOSTILE_NAMES) - 1}); do "
                          "n=POMS4_NAME_$i; printf '%s\\0' \"${!n}\"; done", environment=variables)

        assert launched.outcome.kind == "started", launched.text
        assert launched.ended(1)[0].state == JobState.COMPLETED
        assert launched.log("stdout").decode().split("\0")[:-1] == [harmless(name) for name in HOSTILE_NAMES]

    def test_processor_time_is_measured(self, launch):
        """A job that computes has used processor time. Without cgroups HTCondor looks once a second only."""
        used = "awk '{print int(($14 + $15) / 100)}' /proc/$$/stat"
        record = launch(f"until [ $({used}) -ge 3 ]; do for i in {{1..100000}}; do :; done; done").ended(1)[0]

        assert record.cpu_seconds is not None
        assert record.cpu_seconds > 0
        assert record.wall_seconds is not None
