"""Statuses: every change from every status, for machines and people, and that the order of reports does not matter."""

from __future__ import annotations

import random
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poms.webservice.rules import statuses
from poms.webservice.rules.statuses import FINAL, LIVE, Status, find_status, next_status, status_of_jobs

OPEN = {Status.NEW, Status.LAUNCH_FAILED, Status.AWAITING_APPROVAL, Status.APPROVED, Status.IDLE, Status.RUNNING,
        Status.HELD}
ENDED = {Status.LOCATED, Status.REMOVED, Status.FAILED, Status.CANCELLED}
SHUFFLES = 10_000

# current status -> (what a machine may make of it, what a person may make of it)
ALLOWED = {current: (set(Status), set(Status)) for current in OPEN}
ALLOWED[Status.COMPLETED] = ({Status.LOCATED, Status.REMOVED, Status.CANCELLED},) * 2
ALLOWED |= {current: (set(), set(Status)) for current in ENDED}


@pytest.mark.parametrize(("current", "reported", "by_person"), list(product(Status, Status, (False, True))))
def test_every_change(current, reported, by_person):
    """Machines never leave a final status, people may; after Completed only Located, Removed and Cancelled come."""
    allowed = ALLOWED[current][by_person] - {current}

    result = next_status(current, reported, is_recovery=False, by_person=by_person)

    assert result == (reported if reported in allowed else None)


@pytest.mark.parametrize(("current", "by_person"), list(product(Status, (False, True))))
def test_a_failed_recovery_is_completed(current, by_person):
    """Failed of a recovery means Completed: the rest is for the next entry of the recovery list."""
    failed = next_status(current, Status.FAILED, is_recovery=True, by_person=by_person)
    completed = next_status(current, Status.COMPLETED, is_recovery=True, by_person=by_person)

    assert failed == completed


def test_the_vocabulary():
    """Names and numbers are those that existing installations know."""
    assert {status.label: int(status) for status in Status} == {
        "New": 1000, "Cancelled": 1500, "LaunchFailed": 2000, "Awaiting Approval": 2400, "Approved": 2500,
        "Idle": 3000, "Running": 4000, "Held": 5000, "Failed": 6000, "Completed": 7000, "Located": 8000,
        "Removed": 9000}


@pytest.mark.parametrize("label", ["Unknown", "new", " New", "New ", "", "Launch Failed", "None", "8000", "Ünknown"])
def test_other_names_mean_no_status(label):
    """Only the exact names are statuses."""
    assert find_status(label) is None


def test_every_name_is_found():
    """Each status is found by its name."""
    assert all(find_status(status.label) is status for status in Status)


def test_live_and_final_are_apart():
    """Nothing is both at work and over."""
    assert not LIVE & FINAL
    assert FINAL == ENDED


def _play(reports, is_recovery):
    current = Status.NEW
    for reported in reports:
        current = next_status(current, reported, is_recovery=is_recovery, by_person=False) or current
    return current


def test_shuffled_reports_end_in_one_status():
    """However the reports of a life are shuffled, repeated or late: once the end was reported it stays the end."""
    chance = random.Random(1)
    for _ in range(SHUFFLES):
        end = chance.choice([Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.REMOVED])
        recovery = chance.random() < 0.3
        reports = chance.choices([Status.NEW, Status.IDLE, Status.RUNNING, Status.HELD], k=chance.randrange(8)) + [end]
        reports += chance.choices(reports, k=chance.randrange(4))
        chance.shuffle(reports)
        expected = Status.COMPLETED if (end, recovery) == (Status.FAILED, True) else end

        assert _play(reports, recovery) is expected, (reports, recovery)


def test_once_located_nothing_a_machine_says_changes_it():
    """Located, Removed, Failed and Cancelled are the end for any series of reports."""
    chance = random.Random(2)
    for _ in range(SHUFFLES):
        end = chance.choice(sorted(FINAL))
        reports = chance.choices(list(Status), k=6)

        current = end
        for reported in reports:
            current = next_status(current, reported, is_recovery=chance.random() < 0.5, by_person=False) or current

        assert current is end


COUNTS = st.fixed_dictionaries(dict.fromkeys(("idle", "running", "held", "completed", "failed", "removed"),
                                             st.integers(0, 50)))


@given(COUNTS)
def test_status_of_jobs_in_any_mixture(counts):
    """Held before running before idle; finished is Failed, Cancelled or Completed; nothing known is no status."""
    live = counts["idle"] + counts["running"] + counts["held"]

    status = status_of_jobs(**counts)

    assert (status is None) == (sum(counts.values()) == 0)
    if live:
        wanted = Status.HELD if counts["held"] else Status.RUNNING if counts["running"] else Status.IDLE
        assert status is wanted
    elif status is not None:
        assert status in (Status.FAILED, Status.CANCELLED, Status.COMPLETED)
        assert (status is Status.FAILED) == (2 * counts["failed"] > counts["completed"])
        assert (status is Status.CANCELLED) == (counts["completed"] == counts["failed"] == 0)


@pytest.mark.parametrize(("completed", "failed", "removed", "status"), [
    (2, 1, 0, Status.COMPLETED), (1, 1, 0, Status.FAILED), (0, 1, 0, Status.FAILED), (0, 0, 1, Status.CANCELLED),
    (1, 0, 99, Status.COMPLETED), (100, 50, 0, Status.COMPLETED), (100, 51, 0, Status.FAILED),
])
def test_how_finished_submissions_end(completed, failed, removed, status):
    """More than a third failed is Failed; only removed jobs is Cancelled."""
    assert status_of_jobs(idle=0, running=0, held=0, completed=completed, failed=failed, removed=removed) is status


@given(live=st.integers(0, 1000), ended=st.integers(0, 1000), expected=st.integers(0, 2000))
def test_percent_complete_is_a_percentage(live, ended, expected):
    """Between 0 and 100, and 100 only when everything expected has ended."""
    percent = statuses.percent_complete(live=live, ended=ended, expected=expected)

    assert 0 <= percent <= 100
    assert (percent == 100) == (ended > 0 and live == 0 and ended >= expected)
