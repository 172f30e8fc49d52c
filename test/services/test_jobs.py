"""Jobs: what polls say is stored in bulk and once, and a submission ends only when all of it is known."""

from __future__ import annotations

import runpy
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, text, update

from poms import sql
from poms.webservice.agent import poll
from poms.webservice.db import insert_many
from poms.webservice.errors import BackendUnavailable, NotFound
from poms.webservice.interfaces import JobRecord, JobSelection, JobState
from poms.webservice.model import AgentTask, Experiment, Job, Submission
from poms.webservice.rules.statuses import Status
from poms.webservice.services import jobs, tasks
from poms.webservice.testing.faults import Died
from poms.webservice.testing.statements import recorded
from poms.webservice.testing.world import stage

GRACE = timedelta(minutes=2)


@pytest.fixture
def campaign(world):
    return world.campaign_with(stage("gen"))


@pytest.fixture
def number(world, campaign):
    """A submission with two idle jobs."""
    return world.submission(campaign, "gen")


def _counts(world, number):
    found = world.get(number)
    return {name.removeprefix("jobs_"): getattr(found, name)
            for name in jobs.submissions.COUNTED if getattr(found, name)}


def _jobs(world, number):
    with world.core.db.read() as session:
        rows = session.scalars(select(Job).where(Job.submission_id == number).order_by(Job.batch_id))
        return {row.batch_id.split("@")[0]: JobState(row.state) for row in rows}


def test_a_life_is_followed(world, number):
    """Idle, running, held, completed: counts, status and percentage follow the batch system."""
    world.poll()
    assert (world.status(number), _counts(world, number)) == (Status.IDLE, {"idle": 2})
    world.batch.start(number, 1)
    world.poll()
    assert (world.status(number), _counts(world, number)) == (Status.RUNNING, {"idle": 1, "running": 1})
    world.batch.hold(number, 1)
    world.poll()
    assert world.status(number) is Status.HELD
    world.batch.end(number)
    world.poll()

    assert (world.status(number), _counts(world, number)) == (Status.COMPLETED, {"completed": 2})
    assert world.get(number).pct_complete == 100
    assert world.sums_differ() == []


def test_a_submission_keeps_the_sums_of_its_jobs(world, number):
    """Processor time, time passed and how jobs ended; times that make no sense are left out."""
    first, second = (job.batch_id for job in world.batch.of(number))
    world.batch.change_job(first, JobState.COMPLETED, exit_code=0, cpu_seconds=30.0, wall_seconds=100.0)
    world.poll()
    world.batch.change_job(second, JobState.FAILED, exit_signal=9, cpu_seconds=9_000.0, wall_seconds=1.0)
    world.poll()

    with world.core.db.read() as session:
        kept = session.execute(select(Submission.cpu_seconds, Submission.wall_seconds, Submission.job_endings)
                               .where(Submission.submission_id == number)).one()
    assert tuple(kept) == (30.0, 100.0, {"C0": 1, "FS9": 1})


def test_submissions_of_before_are_given_the_same_sums(world, campaign, number):
    """What the upgrade of the tables fills in is what an agent would have stored."""
    waiting = world.submission(campaign, "gen")
    first, second = (job.batch_id for job in world.batch.of(number))
    world.batch.change_job(first, JobState.COMPLETED, exit_code=None, cpu_seconds=30.0, wall_seconds=100.0)
    world.batch.change_job(second, JobState.FAILED, exit_code=1, exit_signal=0, cpu_seconds=9_000.0, wall_seconds=1.0)
    world.poll()
    sums = (select(Submission.submission_id, Submission.cpu_seconds, Submission.wall_seconds, Submission.job_endings)
            .order_by(Submission.submission_id))
    with world.core.db.write() as session:
        stored = [tuple(row) for row in session.execute(sums)]
        session.execute(update(Submission).values(cpu_seconds=0, wall_seconds=0, job_endings={}))
        revision = runpy.run_path(str(Path(sql.__file__).parent / "versions/0015_how_jobs_of_submissions_ended.py"))
        collect = "jsonb_object_agg" if world.core.db.is_postgresql else "json_group_object"
        session.execute(text(revision["FILL"].format(collect=collect)))

    with world.core.db.read() as session:
        assert [tuple(row) for row in session.execute(sums)] == stored == [
            (number, 30.0, 100.0, {"C": 1, "F1": 1}), (waiting, 0.0, 0.0, {})]


@pytest.mark.parametrize(("states", "status"), [
    ((JobState.COMPLETED, JobState.COMPLETED), Status.COMPLETED),
    ((JobState.FAILED, JobState.COMPLETED), Status.FAILED),
    ((JobState.REMOVED, JobState.REMOVED), Status.CANCELLED),
    ((JobState.REMOVED, JobState.COMPLETED), Status.COMPLETED),
])
def test_how_submissions_end(world, number, states, status):
    """The states of the ended jobs decide how the submission ended."""
    for state in states:
        world.batch.end(number, state, 1)
    world.poll()

    assert world.status(number) is status


def test_a_failed_recovery_is_completed(world, campaign, number):
    """A recovery whose jobs failed is Completed; the next entry of the list deals with the rest."""
    again = world.submission(campaign, "gen", recovery_of=number, kind="recovery")
    world.batch.end(again, JobState.FAILED)
    world.poll()

    assert world.status(again) is Status.COMPLETED


def test_nothing_is_written_when_nothing_changed(world, number):
    """A second look at an unchanged pool writes no job, no history and no event."""
    world.poll()
    before = len(world.history(number)), len(world.events())

    said = world.poll()

    assert "0 submissions changed" in said
    assert (len(world.history(number)), len(world.events())) == before


def test_a_poll_that_is_told_twice_changes_nothing(world, number):
    """Departures that are reported again, as batch systems do, are written once."""
    world.batch.end(number)
    world.poll()
    with world.core.db.write() as session:
        session.get_one(AgentTask, "poll:fake").cursor = ""

    world.poll()

    assert _counts(world, number) == {"completed": 2}
    assert world.sums_differ() == []


def test_a_submission_is_done_only_when_all_jobs_are_recorded(world, number):
    """Jobs that left the queue without being recorded yet keep a submission from ending."""
    world.poll()
    world.batch.end(number, JobState.COMPLETED, 1)
    missing = world.batch._departed.pop()
    world.batch.end(number, JobState.COMPLETED, 1)
    world.poll()
    assert world.status(number) is Status.IDLE

    world.batch._departed.append(missing)
    world.poll()
    assert world.status(number) is Status.COMPLETED


def test_a_job_that_leaves_while_a_poll_asks_is_one_job(world, number, monkeypatch):
    """Counted live and reported as ended in the same poll, it does not make the submission wait for another one."""
    world.poll()
    world.batch.start(number, 1)
    ask = world.batch.departed

    def ask_late(cursor):
        world.batch.end(number, JobState.COMPLETED, 1)
        return ask(cursor)

    monkeypatch.setattr(world.batch, "departed", ask_late)
    world.poll()
    monkeypatch.undo()
    assert _counts(world, number) == {"idle": 1, "running": 1, "completed": 1}
    world.batch.end(number)
    world.poll()

    assert world.get(number).jobs_expected == 2
    assert (world.status(number), _counts(world, number)) == (Status.COMPLETED, {"completed": 2})


def test_vanished_jobs_have_their_grace(world, number, clock):
    """Jobs that left without a record are given up only when they were gone for the whole grace."""
    clock.advance(hours=3)
    world.poll()
    clock.advance(hours=3)
    world.batch.vanish(number)
    world.poll()
    assert world.status(number) is Status.IDLE
    clock.advance(seconds=GRACE.total_seconds() - 1)
    world.poll()
    assert world.status(number) is Status.IDLE

    clock.advance(2)
    world.poll()
    assert (world.status(number), _counts(world, number)) == (Status.CANCELLED, {"removed": 2})
    assert world.sums_differ() == []


def test_an_ended_job_never_lives_again(world, number):
    """A late look that still saw a job in the queue does not bring it back."""
    world.poll()
    stale = world.batch.jobs([number])
    world.batch.end(number)
    world.poll()

    with world.core.db.write() as session:
        changed = jobs.write_jobs(session, stale)

    assert changed == 0
    assert set(_jobs(world, number).values()) == {JobState.COMPLETED}


def test_in_one_poll_the_end_wins(world, number):
    """If one poll saw a job both live and ended, it ended, in whichever order they came."""
    live = world.batch.jobs([number])[0]
    ended = replace(live, state=JobState.COMPLETED, exit_code=0)

    with world.core.db.write() as session:
        jobs.write_jobs(session, [ended, live])
    assert _jobs(world, number) == {"1.0": JobState.COMPLETED}


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("commit", [1, 2, 3])
def test_an_agent_that_dies_while_polling_loses_nothing(world, number, clock, commit, after):
    """Killed at any commit of a poll: the next agent ends with the same jobs, counts and status."""
    world.batch.end(number)
    lease = tasks.take(world.core, "poll:fake", "agent one", 60)
    world.core.db.die_at_commit(commit, after=after)
    with pytest.raises(Died):
        poll.poll(world.core, lease, ["samdev"])
    clock.advance(61)

    world.poll("agent two")

    assert (world.status(number), _counts(world, number)) == (Status.COMPLETED, {"completed": 2})
    assert world.sums_differ() == []


def test_a_lost_lease_writes_nothing(world, number, clock):
    """Counts of an agent whose lease was taken over never replace newer ones."""
    old = tasks.take(world.core, "poll:fake", "agent one", 60)
    snapshot = world.batch.snapshot()
    clock.advance(61)
    world.batch.start(number)
    world.poll("agent two")

    written = jobs.ingest(world.core, ["samdev"], jobs.Poll(snapshot.counts, (), (), snapshot.taken_at),
                          task="poll:fake", epoch=old.epoch, cursor="0")

    assert written == 0
    assert world.status(number) is Status.RUNNING


@pytest.mark.parametrize("method", ["snapshot", "departed", "jobs"])
def test_a_silent_batch_system_changes_nothing(world, number, method):
    """An error of the batch system is no empty answer: no status is invented."""
    world.poll()
    world.batch.start(number)
    world.batch.fail(method)

    with pytest.raises(BackendUnavailable):
        world.poll()

    assert (world.status(number), _counts(world, number)) == (Status.IDLE, {"idle": 2})


def test_jobs_of_unknown_submissions_are_left_alone(world, number):
    """A pool may hold jobs of other services' submissions: they are not ours."""
    world.batch._departed.append(JobRecord(999_999, "9.0@elsewhere", JobState.COMPLETED, world.core.clock()))
    world.batch.end(number)

    world.poll()

    assert world.status(number) is Status.COMPLETED
    assert _jobs(world, 999_999) == {}


def test_experiments_of_one_pool_are_asked_about_once(world, campaign):
    """Two experiments with the same batch system cost one question."""
    other = world.campaign_with(stage("gen"), experiment="nova")
    numbers = [world.submission(campaign, "gen"), world.submission(other, "gen")]
    before = world.batch.calls["snapshot"]

    world.poll()

    assert world.batch.calls["snapshot"] == before + 1
    assert [world.status(each) for each in numbers] == [Status.IDLE] * 2


def test_texts_of_a_batch_system_are_stored_as_they_are(world, campaign):
    """Whatever sites, nodes and reasons are called: tabs, line ends, backslashes; only NUL cannot be stored."""
    number = world.submission(campaign, "gen")
    texts = ["a\tb", "c\nd\r", "\\N", "\\.", "", "O'Hara, \"x\"; $(id)", "漢字 é", "nul\0gone"]
    records = [replace(record, batch_id=f"9.{place}@{text or 'empty'}".replace("\0", ""), site=text, node=text)
               for place, (record, text) in enumerate(zip(world.batch.of(number) * len(texts), texts, strict=False))]

    with world.core.db.write() as session:
        assert jobs.write_jobs(session, records) == len(texts)  # new submission: at once
    changed = [replace(record, state=JobState.HELD, hold_code=1, hold_reason=record.site) for record in records]
    with world.core.db.write() as session:
        assert jobs.write_jobs(session, changed) == len(texts)  # known ones: what differs

    with world.core.db.read() as session:
        stored = {job.batch_id: job for job in session.scalars(select(Job).where(Job.submission_id == number))}
    for record, given in zip(records, texts, strict=True):
        job = stored[record.batch_id]
        kept = given.replace("\0", "") if world.core.db.is_postgresql else given
        assert (job.site, job.node, job.hold_reason) == (kept, kept, kept)
        assert (job.exit_code, job.hold_code, job.since) == (None, 1, record.since)


def test_jobs_that_somebody_else_stored_meanwhile_are_updated(world, campaign):
    """A submission that seemed to have no jobs has some when they are written: none is lost, none there twice."""
    number = world.submission(campaign, "gen")
    first, *others = (replace(world.batch.of(number)[0], batch_id=f"9.{process}@x") for process in range(5))
    with world.core.db.write() as session:
        jobs.write_jobs(session, [first])

    with world.core.db.write() as session:
        rows = [[getattr(record, name) for name in jobs.JOB_COLUMNS] for record in (*others, first)]
        assert not insert_many(session, Job, jobs.JOB_COLUMNS, rows)
        assert jobs.write_jobs(session, [*others, replace(first, site="here")]) == 5

    with world.core.db.read() as session:
        stored = session.execute(select(Job.batch_id, Job.site).where(Job.submission_id == number)).all()
    assert sorted(map(tuple, stored)) == [("9.0@x", "here"), *((f"9.{process}@x", "") for process in range(1, 5))]


def test_single_jobs_are_asked_for_in_portions(world, campaign, monkeypatch):
    """No more at once than an agent should hold in its memory; all are stored."""
    monkeypatch.setattr(poll, "DETAILS_AT_ONCE", 5)
    numbers = [world.submission(campaign, "gen") for _ in range(5)]

    world.poll()

    assert world.batch.calls["jobs"] == 3  # two jobs each: four at a time
    assert [sum(_counts(world, number).values()) for number in numbers] == [2] * 5
    with world.core.db.read() as session:
        assert session.scalar(select(func.count()).select_from(Job)) == 10


def test_ten_thousand_jobs(world, campaign):
    """A large submission is polled in bulk, then ended; only what changed is written."""
    world.batch.jobs_per_launch = 10_000
    number = world.submission(campaign, "gen")
    world.poll()
    world.batch.start(number, 3)
    world.poll()
    assert _counts(world, number) == {"idle": 9_997, "running": 3}
    records = world.batch.jobs([number])
    with world.core.db.write() as session:
        assert jobs.write_jobs(session, records) == 0
        assert jobs.write_jobs(session, [replace(each, site="here") for each in records[:7]]) == 7

    world.batch.end(number)
    world.poll()

    with world.core.db.read() as session:
        stored = session.scalar(select(func.count()).select_from(Job).where(Job.state == int(JobState.COMPLETED)))
    assert stored == 10_000
    assert (world.status(number), _counts(world, number)) == (Status.COMPLETED, {"completed": 10_000})


# ---------------------------------------------------------------------------------------- people's actions


@pytest.mark.parametrize(("action", "status"), [("hold", Status.HELD), ("remove", Status.CANCELLED)])
def test_people_act_on_jobs(world, number, action, status):
    """What people do to jobs is done by the batch system, recorded, and seen at the next poll."""
    world.poll()

    result = jobs.act(world.core, "ann", "samdev", action, [number])
    world.poll()

    assert result.changed == 2
    assert world.status(number) is status


def test_removing_can_mark_the_submission(world, number):
    """A removal that the batch system accepted marks the submission as the person asked."""
    jobs.act(world.core, "ann", "samdev", "remove", [number], mark=Status.REMOVED, reason="wrong dataset")

    assert world.status(number) is Status.REMOVED
    assert world.events("jobs.removed")[0].data["reason"] == "wrong dataset"


def test_a_silent_batch_system_marks_nothing(world, number):
    """If the removal was not accepted the submission stays as it is."""
    world.batch.fail("act")

    with pytest.raises(BackendUnavailable):
        jobs.act(world.core, "ann", "samdev", "remove", [number], mark=Status.REMOVED)

    assert world.status(number) is Status.NEW
    assert world.events("jobs.removed") == []


def test_another_experiments_jobs_cannot_be_touched(world, number):
    """A submission of another experiment is not found, and nothing is done to any."""
    world.experiment("nova")

    with pytest.raises(NotFound):
        jobs.act(world.core, "eve", "nova", "remove", [number])

    assert world.batch.calls["act"] == 0


def test_jobs_held_for_too_much_are_removed(world, number, clock):
    """Jobs held for exceeding a limit are removed after a while, and what they did is left to recovery."""
    code = int(world.core.settings.agent.remove_held_codes[0])
    world.batch.hold(number, 1, code=code, reason="memory")
    world.poll()
    assert jobs.remove_long_held(world.core, "samdev") == 0
    clock.advance(world.core.settings.agent.held_grace_seconds + 1)

    assert jobs.remove_long_held(world.core, "samdev") == 1
    world.poll()

    assert _jobs(world, number) == {"1.0": JobState.REMOVED, "1.1": JobState.IDLE}


def test_jobs_of_an_experiment_that_was_left_out_are_not_forgotten(world, number):
    """What a poll is told of an experiment that it was not made for, or that is inactive now, is kept all the same."""
    other = world.campaign_with(stage("gen"), experiment="nova")
    late = world.submission(other, "gen")
    world.change(Experiment, "nova", active=False)
    world.batch.end(late)
    lease = tasks.take(world.core, "poll:fake", "agent one", 60)

    poll.poll(world.core, lease, ["samdev"])

    assert world.status(late) is Status.COMPLETED


def _take(world, number, *, counts=(), departed=(), growing=frozenset()):
    """One poll of a pool that says what it is told to."""
    lease = tasks.take(world.core, "poll:dag", "agent one", 60)
    poll = jobs.Poll(tuple(counts), tuple(departed), (), world.core.clock(), growing)
    jobs.ingest(world.core, ["samdev"], poll, task=lease.name, epoch=lease.epoch, cursor="")
    tasks.finish(world.core, lease, next_at=world.core.clock())


def test_a_submission_that_still_grows_does_not_end(world, number):
    """Between two nodes of a DAG nothing is live; the submission waits, and its total does not count what stands for
    nodes to come."""
    first, second = (replace(record, state=JobState.COMPLETED, exit_code=0) for record in world.batch.of(number))
    _take(world, number, growing=frozenset({number}))
    assert (world.status(number), _counts(world, number)) == (Status.IDLE, {"idle": 1})
    _take(world, number, departed=[first], growing=frozenset({number}))

    assert (world.status(number), _counts(world, number)) == (Status.IDLE, {"idle": 1, "completed": 1})
    assert world.get(number).jobs_expected == 2

    _take(world, number, departed=[second], growing=frozenset({number}))
    assert world.get(number).jobs_expected == 2
    _take(world, number)
    assert (world.status(number), _counts(world, number)) == (Status.COMPLETED, {"completed": 2})


@pytest.fixture
def asked(world, monkeypatch):
    """The cursors with which the batch system was asked who left."""
    cursors = []
    ask = world.batch.departed

    def remember(cursor):
        cursors.append(cursor)
        return ask(cursor)

    monkeypatch.setattr(world.batch, "departed", remember)
    return cursors


def test_who_left_is_asked_when_counts_say_that_somebody_may_have(world, number, asked):
    """Cycles without news only count, but for each fifth; news of any kind are asked about at once."""
    world.poll()
    asked.clear()
    for _ in range(2 * poll.DEPARTURES_EVERY):
        world.poll()
    assert len(asked) == 2

    asked.clear()
    for _ in range(poll.DEPARTURES_EVERY + 1):
        world.batch.hold(number)
        world.poll()
        world.batch.act("release", JobSelection(submission_ids=(number,)), "again")
        world.poll()
    assert len(asked) == 2 * (poll.DEPARTURES_EVERY + 1)


def test_jobs_that_were_never_seen_are_asked_for_in_each_cycle(world, campaign, asked):
    """A submission without any job yet may have had all of them between two looks."""
    world.poll()
    asked.clear()
    number = world.submission(campaign, "gen")
    world.batch.vanish(number)
    for _ in range(poll.DEPARTURES_EVERY):
        world.poll()

    assert len(asked) == poll.DEPARTURES_EVERY


def test_a_job_in_whose_place_another_came_is_told_some_cycles_later(world, number):
    """Counts alike say nothing of such an exchange; the next question about who left does, from where it left off."""
    world.poll()
    gone, other = world.batch.of(number)
    world.batch.change_job(gone.batch_id, JobState.COMPLETED, exit_code=0)
    world.batch.add(replace(other, batch_id=gone.batch_id.replace(".0@", ".7@")))
    for _ in range(poll.DEPARTURES_EVERY):
        world.poll()

    assert _counts(world, number) == {"idle": 2, "completed": 1}


def test_who_left_a_pool_that_adds_jobs_itself_is_asked_in_each_cycle(world, number, asked):
    """A graph or a job factory puts a job in the place of each that leaves, so counts stay as they are."""
    world.poll()
    world.batch.growing.add(number)
    world.poll()
    asked.clear()
    for _ in range(poll.DEPARTURES_EVERY):
        world.poll()

    assert len(asked) == poll.DEPARTURES_EVERY


def test_jobs_that_came_and_went_between_two_cycles_are_described(world, campaign):
    """A report that never came is made up for, also when no job of the submission was ever seen alive."""
    world.batch.answer("lost")
    number = world.submission(campaign, "gen")
    world.batch.end(number)
    assert world.get(number).jobsub_job_id is None

    world.poll()

    assert world.get(number).jobsub_job_id == world.batch.of(number)[0].batch_id.replace(".0@", "@")


@pytest.mark.parametrize("submissions", [1, 5])
def test_a_poll_without_news_asks_our_database_little(world, campaign, submissions):
    """Take the task, read what is known, give the task back: five statements, whatever is in the queue."""
    for _ in range(submissions):
        world.submission(campaign, "gen")
    world.poll()
    [pool] = poll.pools(world.core, ["samdev"])

    with recorded(world.core.db.engine) as statements:
        lease = tasks.take(world.core, f"poll:{pool}", "agent one", 60)
        said = poll.poll(world.core, lease, ["samdev"])
        tasks.finish(world.core, lease, next_at=world.core.clock())

    assert said.endswith("0 left, 0 submissions changed")
    assert len(statements) == 5, statements
