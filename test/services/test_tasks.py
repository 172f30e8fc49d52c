"""Agent tasks: one agent at a time, taken over when a lease ends."""

from __future__ import annotations

import threading
from datetime import timedelta

from poms.webservice.services import tasks

NAME = "poll:fake"


def test_a_task_is_taken_by_one(core):
    """While an agent is at it nobody else gets it."""
    assert tasks.take(core, NAME, "one", 60) is not None
    assert tasks.take(core, NAME, "two", 60) is None


def test_a_finished_task_waits_for_its_time(core, clock):
    """After a pass the task is free again at its next time, with what was said about it."""
    lease = tasks.take(core, NAME, "one", 60)
    tasks.finish(core, lease, next_at=clock() + timedelta(seconds=20), message="done")
    assert tasks.take(core, NAME, "two", 60) is None

    clock.advance(20)

    assert tasks.take(core, NAME, "two", 60) is not None
    assert tasks.list_tasks(core)[0].message == "done"


def test_a_dead_agents_task_is_taken_over(core, clock):
    """When a lease ends another agent has the task; the first can neither prolong nor finish it any more."""
    first = tasks.take(core, NAME, "one", 60)
    clock.advance(61)
    second = tasks.take(core, NAME, "two", 60)

    assert second.epoch > first.epoch
    assert tasks.renew(core, first, 60) is False
    tasks.finish(core, first, next_at=clock(), error="late")
    assert tasks.list_tasks(core)[0].lease_owner == "two"
    assert tasks.list_tasks(core)[0].error is None


def test_a_renewed_lease_goes_on(core, clock):
    """An agent that prolongs its lease keeps the task."""
    lease = tasks.take(core, NAME, "one", 60)
    clock.advance(50)
    assert tasks.renew(core, lease, 60)
    clock.advance(50)

    assert tasks.take(core, NAME, "two", 60) is None


def test_a_failure_is_recorded_until_the_next_success(core, clock):
    """The last error of a task stays visible until a pass succeeds; its last success stays too."""
    for error in ("", "no answer", ""):
        lease = tasks.take(core, NAME, "one", 60)
        tasks.finish(core, lease, next_at=clock(), error=error)
        row = tasks.list_tasks(core)[0]
        assert row.error == (error or None)
        clock.advance(1)

    assert row.succeeded_at > row.failed_at


def test_of_many_agents_one_gets_a_new_task(core):
    """Agents that start together do not both do the first pass."""
    gate, got = threading.Barrier(6), []

    def work(owner):
        gate.wait()
        got.append(tasks.take(core, NAME, owner, 60))

    threads = [threading.Thread(target=work, args=(str(number),)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(lease is not None for lease in got) == 1
