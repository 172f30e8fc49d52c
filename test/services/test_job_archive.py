"""The archive of jobs: what is folded when, that nothing is counted twice or lost, and what is shown afterwards."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from poms.webservice.errors import NotFound
from poms.webservice.interfaces import JobState
from poms.webservice.model import Job, JobSummary
from poms.webservice.rules.permissions import SUPERUSER, Actor
from poms.webservice.rules.statuses import Status
from poms.webservice.services import job_archive, jobs, lookups
from poms.webservice.services.pages import submissions as pages
from poms.webservice.testing.faults import Died
from poms.webservice.testing.fixtures import make_service
from poms.webservice.testing.world import World, stage

LONG = 181


def url(word, **arguments):
    return f"/{word}?{arguments}"


def an_end(world, number, **facts):
    """The jobs of a submission end, each with a record of its own."""
    records = [replace(record, ended_at=world.core.clock(), **facts) for record in world.batch.of(number)]
    with world.core.db.write() as session:
        jobs.write_jobs(session, records)


def located(world, campaign, jobs_per_launch=2, state=JobState.COMPLETED):
    """A submission whose jobs ended and that is final."""
    world.batch.jobs_per_launch = jobs_per_launch
    number = world.submission(campaign, "gen")
    world.poll()
    world.batch.end(number, state)
    world.poll()
    with world.core.db.write() as session:
        submission = jobs.submissions.lock(session, number)
        jobs.submissions.change_status(session, submission, Status.LOCATED, at=world.core.clock(), actor="ann",
                                       by_person=True)
    return number


@pytest.fixture
def campaign(world):
    return world.campaign_with(stage("gen"))


def rows(world, number):
    with world.core.db.read() as session:
        return session.scalar(select(func.count()).select_from(Job).where(Job.submission_id == number))


def summary(world, number):
    with world.core.db.read() as session:
        return session.get(JobSummary, number)


# --------------------------------------------------------------------------------------------- what is folded


def test_jobs_of_a_submission_that_ended_long_ago_are_folded(world, campaign, clock):
    """After 180 days the rows are gone and the sums are there; the submission's own counts stay."""
    number = located(world, campaign, 3)
    clock.advance(days=LONG)

    said = job_archive.run(world.core)

    assert said == "3 jobs of 1 submissions archived"
    assert (rows(world, number), summary(world, number).jobs) == (0, 3)
    assert (world.get(number).jobs_completed, world.status(number)) == (3, Status.LOCATED)
    assert world.sums_differ() == []


def test_newer_ones_and_those_that_are_not_final_stay(world, campaign, clock):
    """Neither a submission of last month nor one whose output is still awaited is touched, however old."""
    world.batch.jobs_per_launch = 2
    completed = world.submission(campaign, "gen")
    world.poll()
    world.batch.end(completed)
    world.poll()
    clock.advance(days=LONG)
    recent = located(world, campaign)
    clock.advance(days=1)

    job_archive.run(world.core)

    assert world.status(completed) is Status.COMPLETED
    assert (rows(world, completed), rows(world, recent)) == (2, 2)


def test_nothing_is_folded_where_jobs_are_kept_for_ever(database, tmp_path, clock):
    """job_archive_days = 0 keeps every row."""
    service = make_service(database, tmp_path, clock, text="[agent]\njob_archive_days = 0\n")
    world = World(service.core, service.fakes)
    number = located(world, world.campaign_with(stage("gen")))
    clock.advance(days=1810)

    job_archive.run(world.core)

    assert rows(world, number) == 2


def test_sums_are_what_the_rows_were(world, campaign, clock):
    """Counts by site and by outcome, sums and maxima are those of the single jobs."""
    number = located(world, campaign, 4)
    records = sorted(world.batch.of(number), key=lambda record: record.batch_id)
    facts = [{"site": "North", "cpu_seconds": 90.0, "wall_seconds": 100.0, "memory_used_mb": 1000, "attempts": 1},
             {"site": "North", "cpu_seconds": 10.0, "wall_seconds": 200.0, "memory_used_mb": 3000, "attempts": 3,
              "state": JobState.FAILED, "exit_code": 65},
             {"site": "South", "cpu_seconds": None, "wall_seconds": None, "memory_used_mb": None, "attempts": 1},
             {"site": "", "state": JobState.REMOVED, "exit_code": None, "hold_code": 34, "hold_reason": "memory"}]
    started = clock() - timedelta(hours=2)
    with world.core.db.write() as session:
        jobs.write_jobs(session, [replace(record, started_at=started, **each)
                                  for record, each in zip(records, facts, strict=True)])
    clock.advance(days=LONG)

    job_archive.run(world.core)

    found = summary(world, number)
    assert (found.cpu_seconds, found.wall_seconds, found.wall_seconds_max) == (100.0, 300.0, 200.0)
    assert (found.memory_used_mb_sum, found.memory_used_mb_max, found.attempts) == (4000, 3000, 5)
    assert found.first_started_at == started
    outcomes = {(row["state"], row["exit_code"], row["hold_code"]): row["jobs"] for row in found.by_outcome}
    assert outcomes == {("Completed", 0, None): 2, ("Failed", 65, None): 1, ("Removed", None, 34): 1}
    sites = {row["site"]: (row["jobs"], row["completed"], row["failed"], row["removed"]) for row in found.by_site}
    assert sites == {"North": (2, 1, 1, 0), "South": (1, 1, 0, 0), "": (1, 0, 0, 1)}
    assert list(job_archive.job_ids(found)) == [record.batch_id for record in records]


# --------------------------------------------------------------------------------------------- in bounded batches


def test_a_pass_ends_after_so_many_jobs_and_the_next_goes_on(world, campaign, clock):
    """A year's jobs are folded over several passes; the sum of what was folded is all there was."""
    numbers = [located(world, campaign, 2) for _ in range(5)]
    clock.advance(days=LONG)

    first = job_archive.run(world.core, most_jobs=3)
    left = sum(rows(world, number) for number in numbers)
    job_archive.run(world.core)

    assert (first, left) == ("4 jobs of 2 submissions archived", 6)
    assert [summary(world, number).jobs for number in numbers] == [2] * 5


def test_a_second_pass_changes_nothing(world, campaign, clock):
    """Folding is done once; who comes late finds nothing to do."""
    number = located(world, campaign)
    clock.advance(days=LONG)
    job_archive.run(world.core)
    before = summary(world, number).archived_at
    clock.advance(days=1)

    assert job_archive.run(world.core) == "0 jobs of 0 submissions archived"
    assert job_archive.fold(world.core, number, clock()) is None
    assert summary(world, number).archived_at == before
    assert len(world.events("jobs.archived")) == 1


@pytest.mark.parametrize(("commit", "after"), [(1, False), (1, True), (2, False), (2, True)])
def test_an_agent_that_dies_on_the_way_leaves_all_or_nothing(world, database, campaign, clock, commit, after):
    """Wherever it dies, a submission has either its rows or its summary, and the next agent ends the work."""
    numbers = [located(world, campaign) for _ in range(2)]
    clock.advance(days=LONG)

    database.die_at_commit(commit, after=after)
    with pytest.raises(Died):
        job_archive.run(world.core)
    database.live_on()
    seen = [(rows(world, number), summary(world, number) is not None) for number in numbers]
    job_archive.run(world.core)

    assert set(seen) <= {(2, False), (0, True)}
    assert [(rows(world, number), summary(world, number).jobs) for number in numbers] == [(0, 2)] * 2


def test_a_submission_that_is_taken_up_again_is_left_alone(world, campaign, clock):
    """Between being found and being folded a submission may change; then it is not due any more."""
    number = located(world, campaign)
    clock.advance(days=LONG)
    before = clock() - timedelta(days=180)
    with world.core.db.write() as session:
        submission = jobs.submissions.lock(session, number)
        jobs.submissions.change_status(session, submission, Status.COMPLETED, at=clock(), actor="ann", by_person=True)

    assert job_archive.fold(world.core, number, before) is None
    assert rows(world, number) == 2


# --------------------------------------------------------------------------------------------- what comes too late


def test_history_that_is_read_again_adds_no_job(world, campaign, clock):
    """A batch system whose whole history is told anew changes nothing of what was folded."""
    number = located(world, campaign)
    clock.advance(days=LONG)
    job_archive.run(world.core)
    poll = jobs.Poll((), tuple(world.batch.of(number)), (), clock())

    _ingest(world, poll)

    assert rows(world, number) == 0
    assert (world.get(number).jobs_completed, world.status(number)) == (2, Status.LOCATED)


def test_rows_that_slipped_in_are_taken_away_and_not_counted(world, campaign, clock):
    """A report that was under way when the jobs were folded leaves no second account of them."""
    number = located(world, campaign)
    clock.advance(days=LONG)
    job_archive.run(world.core)
    an_end(world, number)

    job_archive.run(world.core)

    assert (rows(world, number), summary(world, number).jobs) == (0, 2)


def _ingest(world, poll):
    from poms.webservice.services import tasks

    lease = tasks.take(world.core, "poll:late", "agent two", 60)
    return jobs.ingest(world.core, ["samdev"], poll, task=lease.name, epoch=lease.epoch, cursor="c")


# --------------------------------------------------------------------------------------------- what is shown


@pytest.fixture
def actor(world, campaign) -> Actor:
    return world.person("sue", SUPERUSER)


def test_the_page_shows_the_sums_and_says_so(world, campaign, actor, clock):
    """Instead of a list of jobs there is what they came to, and since when."""
    number = located(world, campaign, 3)
    before = pages.submission_page(world.core, actor, url, number)
    clock.advance(days=LONG)
    job_archive.run(world.core)

    after = pages.submission_page(world.core, actor, url, number)

    assert (before["archive"], len(before["jobs"])) == (None, 3)
    assert after["jobs"] == []
    assert (after["archive"]["jobs"], after["archive"]["at"]) == (3, clock())
    assert after["archive"]["outcomes"] == [{"state": "Completed", "why": "", "jobs": 3}]


def test_the_page_of_an_archived_job_says_where_it_went(world, campaign, actor, clock):
    """A link to a job that was folded is answered with what became of it."""
    number = located(world, campaign)
    name = world.batch.of(number)[0].batch_id
    clock.advance(days=LONG)
    job_archive.run(world.core)

    with pytest.raises(NotFound, match="archived"):
        pages.job_page(world.core, actor, url, number, name)
    with pytest.raises(NotFound, match="that POMS knows"):
        pages.job_page(world.core, actor, url, number, "999.0@elsewhere")


def test_logs_of_archived_jobs_can_still_be_asked_for(world, campaign, clock):
    """Jobs are known by reference: theirs are this submission's, others' are not."""
    number = located(world, campaign)
    mine = [record.batch_id for record in world.batch.of(number)]
    clock.advance(days=LONG)
    job_archive.run(world.core)

    lookups.require_own_jobs(world.core, number, mine)

    assert lookups.job_has_ended(world.core, number, mine[0])
    with pytest.raises(NotFound):
        lookups.require_own_jobs(world.core, number, ["999.0@elsewhere"])


# --------------------------------------------------------------------------------------------- references


@given(st.sets(st.tuples(st.integers(1, 5), st.integers(0, 40), st.sampled_from(["a.example", "b@c.example", "ü x"]))))
def test_references_name_exactly_the_jobs_that_were(known):
    """Runs of processes by cluster lose no job and add none, in whatever order they come."""
    ids = {f"{cluster}.{proc}@{schedd}" for cluster, proc, schedd in known}

    summary = JobSummary(clusters=job_archive.clusters_of(ids))

    assert sorted(job_archive.job_ids(summary)) == sorted(ids)
    assert all(job_archive.names_job(summary, name) for name in ids)
    assert not job_archive.names_job(summary, "1.41@a.example")


def test_ids_of_another_form_stand_for_themselves():
    """A batch system may name its jobs as it likes."""
    summary = JobSummary(clusters=job_archive.clusters_of(["job-77", "12.0@x"]))

    assert sorted(job_archive.job_ids(summary)) == ["12.0@x", "job-77"]
    assert job_archive.names_job(summary, "job-77")
    assert not job_archive.names_job(summary, "job-78")
