"""The plugin keeps the contracts of POMS: its batch system that of job backends, its split that of split types.

The fixtures of the kits come with ``pytest_plugins = ["poms.webservice.testing.fixtures"]`` in conftest.py.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from poms_nightqueue import files
from poms_nightqueue.backend import NightQueue
from poms_nightqueue.rampup import RampUp

from poms.webservice.interfaces import JobSelection, JobState, LaunchTransport, PluginContext
from poms.webservice.rules import shell
from poms.webservice.testing.fakes import installed_plugins
from poms.webservice.testing.jobs import JobBackendContract, await_that
from poms.webservice.testing.splits import SplitTypeContract

OPTIONS = {"opens": "00:00", "closes": "00:00", "slots": 3, "default_memory_mb": 2000, "idle_exit_seconds": 30.0,
           "keep_days": 30.0}


@pytest.fixture
def make(tmp_path: Path):
    """Builds the back end on a queue of this test's own; nothing of it is left afterwards."""
    built = []

    def build(**options) -> NightQueue:
        context = PluginContext("samdev", {**OPTIONS, **options}, tmp_path / "it's data", "", "",
                                lambda: datetime.now(UTC), lambda name: name)
        built.append(NightQueue(context))
        return built[-1]

    yield build
    for backend in built:
        stop_keeper(backend.spool)


def stop_keeper(spool: files.Spool, number: int = signal.SIGTERM) -> None:
    """End the keeper; its jobs end with it."""
    lock = spool.directory / "keeper.lock"
    if lock.exists() and is_locked(lock):
        os.kill(int(lock.read_text()), number)
        await_that(lambda: not is_locked(lock))


def is_locked(path: Path) -> bool:
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


class TestNightQueue(JobBackendContract):
    """Through its own night_submit and the launch transport of this machine."""

    @pytest.fixture
    def backend(self, make) -> NightQueue:
        return make()

    @pytest.fixture
    def transport(self) -> LaunchTransport:
        (offer,) = installed_plugins("local_transport")[0].poms_launch_transports()
        return offer.factory(PluginContext("samdev", {}, Path(), "", "", lambda: datetime.now(UTC), lambda name: name))

    def command(self, executable: Path, *, jobs: int, memory_mb: int | None) -> str:
        memory = "" if memory_mb is None else f"--memory {memory_mb} "
        return f"night_submit --jobs {jobs} {memory}{shell.quote(str(executable))}"

    def test_jobs_wait_for_the_night(self, make, transport):
        """While the window is closed jobs are queued and do not begin; they do when it opens."""
        hour = time.gmtime().tm_hour
        opens, closes = f"{(hour + 3) % 24:02d}:00", f"{(hour + 4) % 24:02d}:00"
        launched = self.run(make(opens=opens, closes=closes), transport, "night_submit /bin/true")
        log = launched.backend.spool.job_directory(1, 0) / "log"
        await_that(log.exists)

        assert launched.counts() == {JobState.IDLE: 1}
        make()
        assert launched.ended(1)[0].state == JobState.COMPLETED

    def test_a_killed_keeper_costs_nothing(self, backend, launch, gate):
        """Its running job ends with it and begins again under the next keeper, which the next look starts."""
        launched = launch(f"echo begun; {gate.wait}")
        launched.await_counts(lambda counts: counts == {JobState.RUNNING: 1})
        stop_keeper(backend.spool, signal.SIGKILL)
        gate.open()

        await_that(lambda: not launched.counts(), launched.counts)
        record = launched.ended(1)[0]

        assert (record.state, record.attempts) == (JobState.COMPLETED, 2)

    def test_jobs_of_other_systems_are_refused(self, backend):
        """A job id of another batch system is named as refused, not taken for one of ours."""
        result = backend.act("remove", JobSelection(batch_ids=("1.0@elsewhere",)), "by a test")

        assert (result.changed, result.refused) == (0, 1)


class TestRampUp(SplitTypeContract):
    split = RampUp()
    text = "rampup(1)"

    def test_slices_double(self, sequence):
        """Five files: one, two, and the two that are left."""
        assert sequence.all_files() == [["f1"], ["f2", "f3"], ["f4", "f5"]]
        assert sequence.length() == 3


@pytest.mark.parametrize(("opens", "closes", "minute", "expected"), [
    ("20:00", "06:00", 20 * 60, True), ("20:00", "06:00", 5 * 60 + 59, True), ("20:00", "06:00", 6 * 60, False),
    ("08:00", "09:30", 9 * 60 + 29, True), ("08:00", "09:30", 9 * 60 + 30, False), ("00:00", "00:00", 777, True),
])
def test_when_the_window_is_open(opens, closes, minute, expected):
    """A window may go over midnight; it is open at its first minute and closed at its last."""
    assert files.is_open(opens, closes, minute=minute) is expected


@pytest.mark.parametrize("text", ["", "24:00", "8:00", "20.00", "٢٠:00", "20:00\n"])
def test_hours_that_cannot_be_read(text):
    """Nonsense is refused at the start, instead of keeping jobs waiting for ever."""
    with pytest.raises(ValueError, match="time of day"):
        files.is_open(text, "06:00", minute=0)
