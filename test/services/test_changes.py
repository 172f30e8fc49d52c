"""Changes in memory: what open pages are told, without missing any and without a statement for each who asks."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy.exc import OperationalError

from poms.webservice.services import changes, events
from poms.webservice.services.changes import Changes
from poms.webservice.testing import statements
from poms.webservice.testing.fixtures import make_service

MC, OTHER, SAMDEV = ("campaign", "1"), ("campaign", "2"), ("experiment", "samdev")


@pytest.fixture
def seen(core):
    """What changed, read by hand; it has looked once."""
    made = Changes(core)
    made.look()
    return made


@pytest.fixture
def asked(seen, monkeypatch):
    """Ask without starting the reader."""
    monkeypatch.setattr(seen, "_wake", lambda: None)
    return seen.since


def happen(core, **where):
    with core.db.write() as session:
        events.record(session, "stage.held", core.clock(), "anna", **where)


def test_a_change_is_told_to_those_whom_it_concerns(core, seen, asked):
    """The campaign, its stage, its submission, its experiment; nobody else; and once."""
    before = seen.position()
    happen(core, experiment="samdev", campaign_id=1, stage_id=5, submission_id=9)
    assert asked(MC, before) is None
    seen.look()

    newer = asked(MC, before)
    assert newer > before
    assert {asked(scope, before) for scope in (SAMDEV, ("stage", "5"), ("submission", "9"))} == {newer}
    assert [asked(scope, before) for scope in (OTHER, ("stage", "9"), ("experiment", "nova"))] == [None, None, None]
    assert asked(MC, newer) is None


def test_a_change_of_the_whole_service_concerns_everybody(core, seen, asked):
    """Such as a hold of all launches."""
    before = seen.position()
    happen(core)
    seen.look()

    assert asked(OTHER, before) and asked(("experiment", "nova"), before)


def test_asking_costs_no_statement(core, seen, asked):
    """However many pages are open."""
    happen(core, campaign_id=1)
    seen.look()
    with statements.recorded(core.db.engine) as executed:
        for _ in range(1000):
            asked(MC, 0)

    assert executed == []


def test_a_look_is_one_statement(core, seen):
    """That finds nothing as a rule."""
    with statements.recorded(core.db.engine) as executed:
        seen.look()

    assert len(executed) == 1


def test_moments_go_on_when_the_clock_does_not(core, seen, asked, clock):
    """A clock that stands still, or goes back, makes no change unseen."""
    for step in (0, -3600):
        clock.set(clock() + timedelta(seconds=step))
        before = seen.position()
        happen(core, campaign_id=1)
        seen.look()
        assert asked(MC, before)


def test_after_a_pause_everybody_is_told(core, seen, asked, monkeypatch):
    """What happened while nobody asked is not read piece by piece."""
    before = seen.position()
    monkeypatch.setattr(changes, "IDLE_SECONDS", 0)
    seen.look()

    assert asked(OTHER, before) and asked(MC, before)
    assert asked(MC, seen.position()) is None


@pytest.mark.parametrize("limit", ["MOST_EVENTS", "MOST_SCOPES"])
def test_memory_is_bounded(core, seen, asked, monkeypatch, limit):
    """What is too much to remember counts as a change of everything."""
    before = seen.position()
    monkeypatch.setattr(changes, limit, 3)
    for number in range(1, 6):
        happen(core, campaign_id=number)
    seen.look()

    assert asked(("campaign", "77"), before)
    assert len(seen._changed) <= 5


@pytest.mark.postgresql
def test_what_is_committed_late_is_told(postgresql_database, tmp_path, clock, monkeypatch):
    """A smaller number that appears after a greater one is found; one that never comes is not asked for ever."""
    core = make_service(postgresql_database, tmp_path, clock).core
    seen = Changes(core)
    monkeypatch.setattr(seen, "_wake", lambda: None)
    seen.look()
    with core.db.write() as slow:
        events.record(slow, "stage.held", clock(), "slow", campaign_id=1)
        slow.flush()
        happen(core, campaign_id=2)
        seen.look()
        between = seen.position()
        assert seen.since(MC, between) is None
    seen.look()

    assert seen.since(MC, between) and seen.since(OTHER, between) is None
    with pytest.raises(ZeroDivisionError), core.db.write() as lost:
        events.record(lost, "stage.held", clock(), "lost", campaign_id=1)
        lost.flush()
        _ = 1 / 0
    happen(core, campaign_id=2)
    seen.look()
    assert len(seen._gaps) == 1
    monkeypatch.setattr(changes, "GAP_SECONDS", 0)
    seen.look()
    assert seen._gaps == {}


def test_the_reader_runs_while_somebody_asks(core, monkeypatch):
    """It begins with the first question, and ends by itself."""
    monkeypatch.setattr(changes, "LOOK_SECONDS", 0.01)
    seen = Changes(core)
    assert seen._thread is None
    seen.since(MC, 0)
    reader = seen._thread
    monkeypatch.setattr(changes, "IDLE_SECONDS", 0.05)
    reader.join(30)

    assert not reader.is_alive()
    assert seen.position() > 0
    monkeypatch.setattr(changes, "IDLE_SECONDS", 20)
    seen.since(MC, 0)
    assert seen._thread is not reader
    seen.close()
    assert not seen._thread.is_alive()


def test_a_database_that_does_not_answer_ends_nothing(core, monkeypatch):
    """The reader goes on when it answers again."""
    monkeypatch.setattr(changes, "FAILED_SECONDS", 0.01)
    seen, looks = Changes(core), []

    def look():
        looks.append(1)
        if len(looks) < 3:
            raise OperationalError("SELECT", {}, Exception("gone"))
        seen._ending.set()

    monkeypatch.setattr(seen, "look", look)
    seen.since(MC, 0)
    seen._thread.join(30)

    assert len(looks) == 3
