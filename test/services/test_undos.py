"""Taking back what was done, on both databases: whole campaigns, several people at once, what came in between."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from poms.webservice.errors import Conflict, NotFound
from poms.webservice.model import Base, Campaign, Event, Launch, Tag
from poms.webservice.services import blocks, campaigns, holds, launches, list_columns, schedules, tags, undos, watches
from poms.webservice.services.undos import Change
from poms.webservice.testing.world import stage

APART = ("events", "undos")


@pytest.fixture
def owner(world):
    return world.person("olive")


def everything(core):
    with core.db.read() as session:
        return {table.name: sorted(str(dict(row)) for row in session.execute(select(table)).mappings())
                for table in Base.metadata.sorted_tables if table.name not in APART}


def test_a_deleted_campaign_comes_back_with_all_that_hung_on_it(world, core, owner):
    """Stages, dependencies, tags, schedule and watches, to the last column."""
    made = world.campaign_with(stage("gen"), stage("reco", after="gen"), name="spare", owner=owner)
    campaigns.add_tag(core, owner, [made.campaign_id], "spring")
    schedules.set_schedule(core, owner, made.stage("gen"), cron="0 3 * * *")
    watches.watch(core, owner, campaign_id=made.campaign_id)
    watches.watch(core, owner, stage_id=made.stage("reco"))
    before = everything(core)
    change = Change(core, owner, "Deleted spare")

    campaigns.delete_campaign(core, owner, made.campaign_id, undo=change)
    assert everything(core)["campaign_stages"] == []
    undos.undo(core, owner, change.offer.undo_id)

    assert everything(core) == before


def test_what_came_back_goes_on_as_before(world, core, owner):
    """The campaign can be launched, tagged and deleted again; new rows get numbers of their own."""
    made = world.campaign_with(stage("gen"), name="spare", owner=owner)
    change = Change(core, owner, "Deleted spare")
    campaigns.delete_campaign(core, owner, made.campaign_id, undo=change)
    undos.undo(core, owner, change.offer.undo_id)

    other = world.campaign_with(stage("gen"), name="another", owner=owner)

    assert other.campaign_id > made.campaign_id
    assert world.launch(made, "gen").submission_id


def test_two_presses_at_once_undo_once(world, core, owner):
    """Both are told that it is undone; it is in the log once."""
    made = world.campaign_with(stage("gen"), owner=owner)
    change = Change(core, owner, "inactive")
    campaigns.set_active(core, owner, [made.campaign_id], False, undo=change)

    with ThreadPoolExecutor(2) as threads:
        told = list(threads.map(lambda _: undos.undo(core, owner, change.offer.undo_id), range(2)))

    assert told == ["inactive", "inactive"]
    with core.db.read() as session:
        assert len(session.scalars(select(Event).where(Event.kind == "change.undone")).all()) == 1
        assert session.get(Campaign, made.campaign_id).active


def test_a_name_that_is_taken_since_is_a_conflict(world, core, owner):
    """Nothing comes back by half."""
    blocks.save_login_setup(core, owner, "spare", blocks.LoginSetupChange(host="localhost"), add=True)
    change = Change(core, owner, "Deleted spare")
    blocks.delete(core, owner, "login_setup", "spare", undo=change)
    blocks.save_login_setup(core, owner, "other", blocks.LoginSetupChange(host="localhost"), add=True)
    blocks.save_login_setup(core, owner, "spare", blocks.LoginSetupChange(host="elsewhere"), add=True)
    before = everything(core)

    with pytest.raises(Conflict):
        undos.undo(core, owner, change.offer.undo_id)

    assert everything(core) == before


def test_a_held_launch_that_is_back_can_be_released(world, core, owner):
    """Deleted by mistake, brought back, let go: launched once."""
    made = world.campaign_with(stage("gen"), owner=owner)
    holds.hold_campaign(core, owner, made.campaign_id, hold=True)
    kept = world.launch(made, "gen").launch_id
    holds.hold_campaign(core, owner, made.campaign_id, hold=False)
    change = Change(core, owner, "deleted")
    launches.cancel_held(core, owner.username, [kept], "samdev", undo=change)

    undos.undo(core, owner, change.offer.undo_id)

    assert launches.release_held(core, owner.username, [kept], "samdev") == 1
    with core.db.read() as session:
        assert (session.get(Launch, kept).state, session.get(Launch, kept).ended_at) == ("owed", None)


def test_a_change_that_is_refused_leaves_nothing_to_undo(world, core, owner):
    """The second of two campaigns is not there: neither is changed, and nothing is kept of it."""
    made = world.campaign_with(stage("gen"), owner=owner)
    change = Change(core, owner, "inactive")

    with pytest.raises(NotFound):
        campaigns.set_active(core, owner, [made.campaign_id, 999], False, undo=change)

    assert change.offer is None
    with core.db.read() as session:
        assert session.scalars(select(undos.Undo)).all() == []


def test_what_is_too_much_is_not_offered(world, core, owner, monkeypatch):
    """Nobody keeps copies of everything; the change itself is made."""
    monkeypatch.setattr(undos, "LONGEST_STEPS", 50)
    made = world.campaign_with(stage("gen"), owner=owner)
    change = Change(core, owner, "Deleted")

    campaigns.delete_campaign(core, owner, made.campaign_id, undo=change)

    assert change.offer is None


def test_columns_chosen_twice_are_taken_back_one_after_the_other(world, core, owner):
    """The newer choice first; the older one alone would not fit what is there."""
    first, second = Change(core, owner, "one"), Change(core, owner, "two")
    list_columns.choose(core, owner, "campaigns", ["id"], undo=first)
    list_columns.choose(core, owner, "campaigns", ["id", "held"], undo=second)

    undos.undo(core, owner, second.offer.undo_id)
    undos.undo(core, owner, first.offer.undo_id)

    assert everything(core)["list_columns"] == []


def test_a_tag_taken_off_by_mistake_is_the_same_tag_again(world, core, owner):
    """Its number, its maker, and all campaigns that carried it."""
    made = [world.campaign_with(stage("gen"), name=name, owner=owner).campaign_id for name in ("one", "two")]
    campaigns.add_tag(core, owner, made, "spring")
    number = tags.find_tag_id(core, "samdev", "spring")
    change = Change(core, owner, "off")
    tags.remove_tag(core, owner, made, number, delete_unused=True, undo=change)

    undos.undo(core, owner, change.offer.undo_id)

    with core.db.read() as session:
        assert session.get(Tag, number).tag_name == "spring"
    assert tags.list_tags(core, "samdev")[0]["campaigns"] == 2
