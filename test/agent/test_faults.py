"""Random schedules of two agents, two servers, people, jobs and faults: nothing acknowledged is lost, nothing doubled.

``bin/test -m faults --schedules 1000 --seed 7`` runs a thousand of them on PostgreSQL (and a tenth as many on SQLite),
in two processes, and prints what happened; a schedule is repeated by its own number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from poms.webservice.services import dependents, jobs, launches, scouts, wrapup
from poms.webservice.testing.doors import SETTINGS
from poms.webservice.testing.fakes import installed_plugins
from poms.webservice.testing.fixtures import make_service
from poms.webservice.testing.story import FAULTS, Company, Story

STEPS = 120
FINDABLE = 40
"""Schedules within which a fault of the engine that matters is found."""


def make_company(make_database, tmp_path, clock) -> Company:
    """Two agents and two servers on the fakes."""
    service = make_service(make_database(), tmp_path, clock, text=SETTINGS, plugins=installed_plugins("proxy_identity"))
    return Company(service.core, service.fakes, make_database, clock)


def play(company: Company, number: int, faults: Collection[str] = tuple(FAULTS)) -> list[str]:
    """One schedule to its end; what is wrong then."""
    chance = Random(number)
    story = Story(company, pausing=number % 2 == 0, faults=faults)
    for _ in range(STEPS):
        story.random_step(chance)
    story.settle()
    company.tally["schedules"] += 1
    return story.wrong()


def play_all(company: Company, numbers, record_property) -> None:
    for number in numbers:
        assert play(company, number) == [], f"schedule {number}; repeat it with --schedules 1 --seed {number}"
    record_property("faults", dict(company.tally))


@pytest.mark.faults
class TestOnPostgresql:
    """Half of the schedules; a class of its own, so that both halves can be played at the same time."""

    def test_random_schedules_end_well(self, make_postgresql_database, tmp_path, clock, schedules, seed,
                                       record_property):
        """No acknowledged request lost, no duplicates, nothing owed and never started, nothing stuck."""
        company = make_company(make_postgresql_database, tmp_path, clock)

        play_all(company, range(seed, seed + schedules, 2), record_property)


@pytest.mark.faults
class TestOnPostgresqlAtTheSameTime:
    """The other half."""

    def test_random_schedules_end_well(self, make_postgresql_database, tmp_path, clock, schedules, seed,
                                       record_property):
        """No acknowledged request lost, no duplicates, nothing owed and never started, nothing stuck."""
        company = make_company(make_postgresql_database, tmp_path, clock)

        play_all(company, range(seed + 1, seed + schedules, 2), record_property)


@pytest.mark.faults
def test_random_schedules_end_well_on_sqlite(make_sqlite_database, tmp_path, clock, schedules, seed, record_property):
    """The same where a write locks the whole database; a tenth as many."""
    company = make_company(make_sqlite_database, tmp_path, clock)

    play_all(company, range(seed, seed + max(2, schedules // 10)), record_property)


def never_asks(monkeypatch) -> None:
    """Before a second attempt nobody asks the batch system what the first one left."""
    monkeypatch.setattr(launches, "find_earlier_attempts", lambda jobs, submission_id: [])


def forgets_followers(monkeypatch) -> None:
    """What follows a submission is not written together with its last status."""
    monkeypatch.setattr(dependents, "owe", lambda *arguments, **options: None)


def acknowledges_too_early(monkeypatch) -> None:
    """The launch is answered with its number, and then not kept."""
    real = launches.launching._store

    def store(core, actor, prepared, owed=None):
        outcome = real(core, actor, prepared, owed)
        if owed is None:
            with core.db.write() as session:
                session.delete(session.get_one(launches.Launch, outcome.launch_id))
        return outcome

    monkeypatch.setattr(launches.launching, "_store", store)


def believes_the_first_look(monkeypatch) -> None:
    """One look at a queue that shows nothing is enough for a second attempt."""
    monkeypatch.setattr(launches, "_is_confirmed", lambda *arguments: True)


def lets_leases_end(monkeypatch) -> None:
    """Whoever waits for a submit command does not keep its lease, and one look is enough."""
    believes_the_first_look(monkeypatch)
    monkeypatch.setattr(launches, "renew", lambda *arguments: None)


def believes_an_empty_catalogue(monkeypatch) -> None:
    """That there is no output at all is believed at once."""
    monkeypatch.setattr(wrapup, "_doubt", lambda *arguments: "")


def takes_in_strangers(monkeypatch) -> None:
    """Jobs are stored whosever they are."""
    monkeypatch.setattr(jobs, "_known", lambda session, numbers, experiments: set(numbers))


def leaves_all_behind(monkeypatch) -> None:
    """What a scout leaves still has the files that went ahead."""
    monkeypatch.setattr(scouts.sam_queries, "without_files", lambda query, names: query)


EVERYTHING = tuple(FAULTS)


@pytest.mark.faults
@pytest.mark.parametrize(("mutation", "said", "faults"), [
    (never_asks, "launched more than once", EVERYTHING), (forgets_followers, "was never owed", EVERYTHING),
    (acknowledges_too_early, "was told submission", EVERYTHING),
    (believes_the_first_look, "launched more than once", ("submit", "blind")),
    (lets_leases_end, "launched more than once", ("hang",)),
    (believes_an_empty_catalogue, "was never owed", ("forgetful",)),
    (takes_in_strangers, "of nobody was taken in", ("strangers",)),
    (leaves_all_behind, "and its rest have", EVERYTHING)])
def test_an_engine_that_is_broken_is_found(make_sqlite_database, tmp_path, clock, monkeypatch, mutation, said, faults):
    """With one safeguard taken out of the engine, a schedule ends badly before long, and says how."""
    company = make_company(make_sqlite_database, tmp_path, clock)
    mutation(monkeypatch)

    found: Counter[str] = Counter()
    for number in range(1, FINDABLE):
        found.update(wrong for wrong in play(company, number, faults) if said in wrong)
        if found:
            break

    assert found, f"{FINDABLE} schedules did not notice: {mutation.__doc__}"


@pytest.mark.faults
def test_no_sequence_of_steps_ends_badly(tmp_path, clock, make_sqlite_database, schedules):
    """The same steps, searched for the shortest sequence that ends badly."""
    company = make_company(make_sqlite_database, tmp_path, clock)
    chances = st.integers(0, 2**16).map(Random)

    class Steps(RuleBasedStateMachine):
        def __init__(self):
            super().__init__()
            self.story = Story(company)

        @rule(door=st.integers(0, 1), chance=chances, again=st.booleans())
        def launch(self, door, chance, again):
            self.story.launch(door, chance, again=again)

        @rule(worker=st.integers(0, 1), limit=st.integers(1, 3))
        def claim(self, worker, limit):
            self.story.claim(worker, limit)

        @rule(what=st.sampled_from(("work", "poll", "wrap_up", "upkeep", "look_at_schedules")),
              worker=st.integers(0, 1))
        def agent(self, what, worker):
            getattr(self.story, what)(worker)

        @rule(seconds=st.sampled_from((1, 20, 70, 400)))
        def wait(self, seconds):
            self.story.wait(seconds)

        @rule(what=st.sampled_from(("hold", "release", "decide", "call_off", "report_late")), door=st.integers(0, 1),
              chance=chances)
        def people(self, what, door, chance):
            getattr(self.story, what)(door, chance)

        @rule(chance=chances)
        def run_jobs(self, chance):
            self.story.run_jobs(chance)

        @rule(chance=chances)
        def break_something(self, chance):
            self.story.break_something(chance)

        @invariant()
        def never_twice(self):
            assert max(self.story.fakes.batch.clusters().values(), default=1) == 1

        def teardown(self):
            self.story.settle()
            assert self.story.wrong() == []

    run_state_machine_as_test(Steps, settings=settings(
        max_examples=max(10, min(schedules, 200)), stateful_step_count=50, derandomize=True, deadline=None))
