"""Housekeeping: what is taken away after a time, and what never is."""

from __future__ import annotations

import os

import pytest

from poms.webservice.model import Campaign, Launch
from poms.webservice.services import holds, housekeeping, launch_logs, schedules
from poms.webservice.testing.fixtures import make_service
from poms.webservice.testing.world import World, stage


def log_of(world, name, *, days_ago):
    """A launch log that was last written so many days ago."""
    file = launch_logs.path_of(world.core, name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("log")
    written = world.core.clock().timestamp() - days_ago * 86400
    os.utime(file, (written, written))
    return file


def is_active(world, campaign):
    with world.core.db.read() as session:
        return session.get_one(Campaign, campaign.campaign_id).active


# ---------------------------------------------------------------------------------------- launch logs


def test_old_launch_logs_are_removed(world):
    """Logs go after 180 days; newer ones stay."""
    old = log_of(world, "campaign_1/20250101_000000_ann_1", days_ago=181)
    new = log_of(world, "campaign_1/20260101_000000_ann_2", days_ago=179)

    assert housekeeping.remove_old_launch_logs(world.core) == 1

    assert (old.exists(), new.exists()) == (False, True)


def test_the_log_of_a_launch_that_waits_stays(world):
    """A launch that is still to be made may go on writing to its log."""
    campaign = world.campaign_with(stage("gen"))
    world.launch(campaign, "gen")
    (launch,) = world.launches()
    file = log_of(world, launch.log_name, days_ago=999)

    assert housekeeping.remove_old_launch_logs(world.core) == 0

    world.change(Launch, launch.launch_id, state="failed")
    assert housekeeping.remove_old_launch_logs(world.core) == 1
    assert not file.exists()


def test_nothing_outside_the_logs_is_touched(world, tmp_path):
    """Links are not followed, and files beside the logs' directories are not ours."""
    outside = log_of(world, "../elsewhere/file", days_ago=999)
    beside = log_of(world, "readme", days_ago=999)
    (launch_logs.path_of(world.core, "campaign_1")).symlink_to(outside.parent)
    inside = log_of(world, "campaign_2/log", days_ago=0)
    link = inside.parent / "link"
    link.symlink_to(outside)

    assert housekeeping.remove_old_launch_logs(world.core) == 0

    assert outside.exists()
    assert beside.exists()
    assert link.is_symlink()


def test_no_logs_yet(world):
    """A new service has no directory of logs."""
    assert housekeeping.remove_old_launch_logs(world.core) == 0


@pytest.mark.parametrize(("days", "removed"), [("0", 0), ("30", 1)])
def test_the_age_of_logs_can_be_chosen(database, tmp_path, clock, days, removed):
    """0 keeps them for ever."""
    service = make_service(database, tmp_path, clock, text=f"[agent]\nlaunch_log_days = {days}")
    log_of(World(service.core, service.fakes), "campaign_1/log", days_ago=31)

    assert housekeeping.remove_old_launch_logs(service.core) == removed


# ------------------------------------------------------------------------------------------ campaigns


def test_a_campaign_without_launches_becomes_inactive(world, clock):
    """After a week; its next launch makes it active again."""
    campaign = world.campaign_with(stage("gen"))
    clock.advance(days=6)
    assert housekeeping.deactivate_stale_campaigns(world.core) == 0
    clock.advance(days=2)

    assert housekeeping.run(world.core) == "0 launch logs removed, 0 launch hosts swept, 1 campaigns made inactive"

    assert not is_active(world, campaign)
    assert [event.kind for event in world.events()] == ["campaign.deactivated"]
    world.launch(campaign, "gen")
    assert is_active(world, campaign)


def test_a_campaign_at_work_stays_active(world, clock):
    """Jobs may take weeks; while a submission is under way its campaign is."""
    campaign = world.campaign_with(stage("gen", completion="complete"))
    number = world.submission(campaign, "gen")
    clock.advance(days=30)
    assert housekeeping.deactivate_stale_campaigns(world.core) == 0

    world.finish(number)
    assert housekeeping.deactivate_stale_campaigns(world.core) == 0
    world.wrap_up()

    assert housekeeping.deactivate_stale_campaigns(world.core) == 1


def test_a_campaign_with_a_schedule_stays_active(world, clock):
    """Somebody wants it launched, if only once a month."""
    campaign = world.campaign_with(stage("gen"))
    schedules.set_schedule(world.core, campaign.owner, campaign.stage("gen"), cron="0 0 1 * *")
    clock.advance(days=20)
    assert housekeeping.deactivate_stale_campaigns(world.core) == 0

    schedules.delete_schedules(world.core, campaign.owner, [campaign.stage("gen")])

    assert housekeeping.deactivate_stale_campaigns(world.core) == 1


def test_a_campaign_with_a_held_launch_stays_active(world, clock):
    """A launch that was kept is still wanted."""
    campaign = world.campaign_with(stage("gen"))
    holds.hold_stages(world.core, campaign.owner, [campaign.stage("gen")], hold=True)
    world.launch(campaign, "gen")
    clock.advance(days=20)

    assert housekeeping.deactivate_stale_campaigns(world.core) == 0


def test_many_stale_campaigns_go_in_pieces(world, clock, monkeypatch):
    """All of them go, however many there are."""
    monkeypatch.setattr(housekeeping, "BATCH", 3)
    for _ in range(8):
        world.campaign_with(stage("gen"))
    clock.advance(days=8)

    assert housekeeping.deactivate_stale_campaigns(world.core) == 8


def test_it_can_be_switched_off(database, tmp_path, clock):
    """0 days: campaigns stay as people set them."""
    service = make_service(database, tmp_path, clock, text="[agent]\nstale_campaign_days = 0")
    world = World(service.core, service.fakes)
    campaign = world.campaign_with(stage("gen"))
    clock.advance(days=365)

    assert housekeeping.deactivate_stale_campaigns(world.core) == 0
    assert is_active(world, campaign)
