"""Submissions: reports, history and the sums on their stage."""

from __future__ import annotations

import random
import threading
from datetime import timedelta

import pytest

from poms.webservice.rules.statuses import FINAL, Status
from poms.webservice.services import submissions
from poms.webservice.services.submissions import Report
from poms.webservice.testing.world import stage


@pytest.fixture
def campaign(world):
    return world.campaign_with(stage("gen", pct=95), stage("reco"))


@pytest.fixture
def number(world, campaign):
    """A submission that is New."""
    return world.launch(campaign, "gen").submission_id


def _report(world, number, status="", *, by_person=False, **fields):
    return submissions.report(world.core, "ann", Report(number, status, **fields), by_person=by_person)


def test_a_report_changes_status_and_history(world, number, clock):
    """A status is stored, appended to the history and told as an event, all with one time."""
    clock.advance(60)

    assert _report(world, number, "Running")

    assert world.status(number) is Status.RUNNING
    assert [(row.status_id, row.created) for row in world.history(number)][-1] == (Status.RUNNING, clock())
    assert world.events("submission.status")[-1].data == {"old": "New", "new": "Running", "reason": ""}


def test_a_report_for_nobody_is_answered(world, number):
    """A number that is not known is said to be unknown, not an error."""
    assert _report(world, 99999, "Running") is False


def test_an_unknown_status_stores_the_rest(world, number):
    """A status outside the vocabulary changes no status; job id and project are stored all the same."""
    _report(world, number, "Confused", jobsub_job_id="77.3@schedd", project="prj", pct_complete=12.5)

    found = world.get(number)
    assert (found.status_id, found.jobsub_job_id, found.project, found.pct_complete) == (
        Status.NEW, "77@schedd", "prj", 12.5)


@pytest.mark.parametrize(("percent", "status"), [(94.9, Status.RUNNING), (95, Status.COMPLETED),
                                                 (100, Status.COMPLETED)])
def test_running_with_enough_percent_is_completed(world, number, percent, status):
    """Running with the stage's percentage of jobs done means Completed."""
    _report(world, number, "Running", pct_complete=percent)

    assert world.status(number) is status


def test_none_is_no_project(world, number):
    """Wrappers without a project say None: that names no project."""
    _report(world, number, project="prj")
    _report(world, number, project="None")

    assert world.get(number).project == "prj"


def test_machines_do_not_wake_the_dead(world, number):
    """After the end only a person moves a submission."""
    _report(world, number, "Removed")
    _report(world, number, "Running")
    assert world.status(number) is Status.REMOVED

    _report(world, number, "Completed", by_person=True)
    assert world.status(number) is Status.COMPLETED


@pytest.mark.parametrize("seconds", [-3600, 3600])
def test_history_never_goes_backwards(world, number, clock, seconds):
    """Reports from hosts whose clocks are wrong do not disturb the order of the history."""
    clock.advance(days=1)
    _report(world, number, "Idle", at=clock() + timedelta(seconds=seconds))
    clock.advance(60)
    _report(world, number, "Running")
    clock.advance(-7200)
    _report(world, number, "Held")

    times = [row.created for row in world.history(number)]
    assert times == sorted(times)
    assert max(times) <= clock() + timedelta(hours=2)


def test_sums_are_a_recount_after_any_series_of_reports(world, campaign):
    """Whatever is reported in whatever order, the sums on the stages equal a fresh count."""
    numbers = [world.launch(campaign, name).submission_id for name in ("gen", "gen", "reco", "gen", "reco")]
    chance = random.Random(3)
    for _ in range(60):
        status = chance.choice(list(Status)).label
        _report(world, chance.choice(numbers), status, by_person=chance.random() < 0.3)

    assert world.sums_differ() == []


@pytest.mark.parametrize("seed", range(5))
def test_shuffled_reports_leave_one_end(world, campaign, seed):
    """A recorded stream of reports, shuffled and doubled, ends like the stream itself, with an ordered history."""
    chance = random.Random(seed)
    number = world.launch(campaign, "gen").submission_id
    stream = ["Idle", "Running", "Held", "Running", "Completed"]
    reports = stream + chance.choices(stream, k=4)
    chance.shuffle(reports)
    for status in reports:
        _report(world, number, status)

    rows = world.history(number)
    assert world.status(number) is Status.COMPLETED
    assert [row.submission_history_id for row in rows] == sorted(row.submission_history_id for row in rows)
    assert all(first.status_id != second.status_id for first, second in zip(rows, rows[1:], strict=False))
    assert not any(row.status_id in FINAL for row in rows)


def test_reports_at_once_wait_for_each_other(world, campaign):
    """Many reporters about submissions of one stage, in different orders, block nobody for ever and lose nothing."""
    numbers = [world.launch(campaign, "gen").submission_id for _ in range(4)]
    errors = []
    gate = threading.Barrier(6)

    def work(seed):
        chance = random.Random(seed)
        gate.wait()
        try:
            for _ in range(15):
                if chance.random() < 0.2:
                    world.launch(campaign, "gen")
                _report(world, chance.choice(numbers), chance.choice(["Idle", "Running", "Held"]))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert world.sums_differ() == []


@pytest.mark.parametrize(("text", "stored"), [("12.0@schedd.example.org", "12@schedd.example.org"),
                                              ("12@schedd", "12@schedd"), (" 12.3 ", "12"), ("12.3.4@x", "12@x")])
def test_job_ids_have_one_form(text, stored):
    """Cluster and schedd, whichever spelling a wrapper uses."""
    assert submissions.normal_job_id(text) == stored


# ------------------------------------------------------------------------------ as one statement


def _rows(world, number):
    """All that a report leaves behind, without the numbers of rows."""
    found = world.get(number)
    return ([(row.status_id, row.created, row.actor, row.reason) for row in world.history(number)],
            [(row.kind, row.at, row.actor, row.experiment, row.campaign_id, row.campaign_stage_id, row.data)
             for row in world.events("submission.status") if row.submission_id == number],
            (found.status_id, found.status_since, found.updated, found.jobsub_job_id, found.project,
             found.pct_complete))


def _standing(world, number):
    return world.core.db.ask(submissions.STANDING, key=number)[0]


REPORTS = ({"status": "Idle"}, {"status": "Idle"}, {"status": "Running", "pct_complete": 12.5, "project": "it's"},
           {"status": "Confused", "jobsub_job_id": "77.3@schedd"}, {"status": "Failed"}, {"status": "Running"},
           {"status": "Removed", "by_person": True}, {"status": "Held"})


def test_a_report_leaves_the_same_by_either_way(world, campaign, clock):
    """Stored by one statement or under a lock, which is how it is done when something changed meanwhile."""
    at_once, locked = (world.launch(campaign, "gen").submission_id for _ in range(2))
    for each in REPORTS:
        clock.advance(60)
        old = _standing(world, locked)._replace(status_since=clock(), project="something else")
        fields = {"by_person": False, **each}
        by_person = fields.pop("by_person")
        assert submissions.report(world.core, "ann", Report(at_once, **fields), by_person=by_person)
        assert submissions.report(world.core, "ann", Report(locked, **fields), by_person=by_person, standing=old)

    assert _rows(world, at_once) == _rows(world, locked)
    assert world.sums_differ() == []


def test_a_report_about_what_changed_meanwhile_is_judged_anew(world, number):
    """What was seen a moment ago is no more than a guess: a submission that ended stays ended."""
    seen = _standing(world, number)
    _report(world, number, "Removed")

    submissions.report(world.core, "ann", Report(number, "Running"), by_person=False, standing=seen)

    assert world.status(number) is Status.REMOVED
    assert world.sums_differ() == []


def test_a_report_that_says_nothing_new_writes_nothing(world, number):
    """Wrappers repeat themselves; that changes neither history nor events nor times."""
    _report(world, number, "Running", jobsub_job_id="77@schedd", pct_complete=5)
    before = _rows(world, number)

    _report(world, number, "Running", jobsub_job_id="77.0@schedd", pct_complete=5)

    assert _rows(world, number) == before
