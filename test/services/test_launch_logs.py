"""Launch logs on a disk that is full: a launch is refused before it began, and never stopped halfway."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from poms.webservice.rules.statuses import Status
from poms.webservice.services import launch_logs
from poms.webservice.services.launch_logs import LaunchLog
from poms.webservice.testing.fixtures import lacking
from poms.webservice.testing.world import stage


@pytest.fixture
def full_disk(tmp_path):
    """A directory on a disk of a few pages; ``fill`` leaves the given number of bytes."""
    place = tmp_path / "small"
    place.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        lacking("root", "only root can mount a small disk")
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(place)], capture_output=True,
                          text=True, check=False)
    if made.returncode:
        lacking("tmpfs", f"a small disk could not be mounted: {made.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_log_keeps_what_there_is_room_for(full_disk):
    """The rest is dropped, the writer is not disturbed, and the log says that it is not complete."""
    with LaunchLog(full_disk / "log") as log:
        log.begin("== attempt 1 ==\n")
        assert log.write(b"x" * 100_000) == 100_000
        log.write(b"later")

        assert "No space left" in log.lacking
    kept = (full_disk / "log").read_bytes()
    assert kept.startswith(b"== attempt 1 ==\nxxx")
    assert b"later" not in kept


def test_a_script_is_not_stopped_because_its_log_is_full(world, full_disk):
    """Its jobs are launched, and the launch tells that the log is not complete."""
    (world.core.settings.service.data_dir / "launch_logs").symlink_to(full_disk)
    campaign = world.campaign_with(stage("gen"))
    number = world.launch(campaign, "gen").submission_id
    path = launch_logs.path_of(world.core, world.launches()[0].log_name)
    path.parent.mkdir()
    world.batch.plan("submit", lambda: (full_disk / "filler").write_bytes(b"x" * 8192))
    (full_disk / "other").write_bytes(b"x" * 4096)
    path.write_bytes(b"y" * (4096 - 45))

    assert world.work_on_launches() == ["launched"]

    assert world.batch.clusters() == {number: 1}
    assert "log is not complete" in world.launches()[0].message


def test_without_room_for_a_log_nothing_is_begun(world, full_disk, clock):
    """The launch is tried again, and then fails with the reason; the submission says so and nothing is lost."""
    (world.core.settings.service.data_dir / "launch_logs").symlink_to(full_disk)
    campaign = world.campaign_with(stage("gen"))
    number = world.launch(campaign, "gen").submission_id
    launch_logs.path_of(world.core, world.launches()[0].log_name).parent.mkdir()
    with pytest.raises(OSError, match="No space"):
        (full_disk / "filler").write_bytes(b"x" * 100_000)

    states = []
    for _ in range(5):
        states += world.work_on_launches()
        clock.advance(400)

    assert states == ["retry"] * 4 + ["failed"]
    assert world.status(number) is Status.LAUNCH_FAILED
    assert "No space left" in world.launches()[0].message
    assert world.batch.accepted == []
