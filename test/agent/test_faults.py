"""Random schedules of two agents, people, jobs and faults: whatever happens, nothing is lost and nothing is doubled.

``bin/test -m faults --schedules 1000 --seed 7`` runs a thousand; a schedule is repeated by its own number.
"""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from poms.webservice.testing.fixtures import make_service
from poms.webservice.testing.story import Story

STEPS = 120


@pytest.mark.faults
def test_random_schedules_end_well(service, clock, make_database, schedules, seed):
    """After each schedule: no duplicates, nothing owed and never started, nothing stuck, sums and history right."""
    for number in range(seed, seed + schedules):
        chance = Random(number)
        story = Story(service.core, service.fakes, make_database, clock, pausing=number % 2 == 0)
        for _ in range(STEPS):
            story.random_step(chance)
        story.settle()

        assert story.wrong() == [], f"schedule {number}; repeat it with --schedules 1 --seed {number}"


@pytest.mark.faults
def test_no_sequence_of_steps_ends_badly(tmp_path, clock, make_sqlite_database, schedules):
    """The same steps, searched for the shortest sequence that ends badly."""
    service = make_service(make_sqlite_database(), tmp_path, clock)

    class Steps(RuleBasedStateMachine):
        def __init__(self):
            super().__init__()
            self.story = Story(service.core, service.fakes, make_sqlite_database, clock)

        @rule(again=st.booleans())
        def launch(self, again):
            self.story.launch(again)

        @rule(worker=st.integers(0, 1), limit=st.integers(1, 3))
        def claim(self, worker, limit):
            self.story.claim(worker, limit)

        @rule(worker=st.integers(0, 1))
        def work(self, worker):
            self.story.work(worker)

        @rule(worker=st.integers(0, 1))
        def poll(self, worker):
            self.story.poll(worker)

        @rule(worker=st.integers(0, 1))
        def wrap_up(self, worker):
            self.story.wrap_up(worker)

        @rule(worker=st.integers(0, 1))
        def upkeep(self, worker):
            self.story.upkeep(worker)

        @rule(seconds=st.sampled_from((1, 20, 70, 400)))
        def wait(self, seconds):
            self.story.wait(seconds)

        @rule(chance=st.integers(0, 2**16).map(Random))
        def run_jobs(self, chance):
            self.story.run_jobs(chance)

        @rule(chance=st.integers(0, 2**16).map(Random))
        def break_something(self, chance):
            self.story.break_something(chance)

        @rule(held=st.booleans())
        def hold(self, held):
            self.story.hold(held)

        @invariant()
        def never_twice(self):
            assert max(self.story.fakes.batch.clusters().values(), default=1) == 1

        def teardown(self):
            self.story.settle()
            assert self.story.wrong() == []

    run_state_machine_as_test(Steps, settings=settings(
        max_examples=max(10, schedules), stateful_step_count=50, derandomize=True, deadline=None))
