"""The queue: what it counts, in which order it starts jobs, and what its answers are made of."""

from __future__ import annotations

import pytest

from poms.plugins.local.batch import queue
from poms.webservice.errors import BackendUnavailable, Conflict, Invalid
from poms.webservice.interfaces import JobCount, JobSelection, JobState
from poms.webservice.testing.jobs import await_that
from test.plugins.local_batch.conftest import departed, make_backend

MINIMAL = {"inputs": "none", "executable": "none", "arguments": [], "environment": {}, "attributes": {}, "files": [],
           "archives": [], "outputs": [], "owner": "ann"}


def cluster(**changes) -> queue.Cluster:
    return queue.Cluster(**{"experiment": "samdev", "jobs": 1, "memory_mb": 100, "submission_id": 7,
                            "description": MINIMAL, **changes})


def queued(backend, **changes) -> int:
    """A cluster in a queue that nobody works on."""
    with backend.spool.write() as db:
        return queue.insert_cluster(db, cluster(**changes), 1000.0)


def started(backend, number: int, *, slots: int = 100, memory_mb: int = 0) -> list[tuple[int, int]]:
    """The next jobs that a master would start, in order."""
    order = []
    with backend.spool.write() as db:
        while len(order) < number and (job := queue.claim_next(db, slots=slots, memory_mb=memory_mb)):
            queue.mark_running(db, job, site="", node="n", boot="b", now=1001.0)
            order.append((job["cluster"], job["proc"]))
    return order


@pytest.fixture
def still(data_dir):
    """A backend whose queue is looked at without a master."""
    return make_backend(data_dir)


def test_a_large_cluster_is_counted_in_one_row(still):
    """Ten thousand jobs are one count of one submission."""
    queued(still, jobs=10_000)

    with still.spool.read() as db:
        counts = queue.count_jobs(db, "samdev")

    assert counts == (JobCount(7, JobState.IDLE, 10_000),)


def test_counting_reads_an_index_only(still):
    """The snapshot never touches the rows of the jobs, however many there are."""
    with still.spool.read() as db:
        plan = db.execute("EXPLAIN QUERY PLAN SELECT submission_id, state, hold_code, COUNT(*) FROM jobs "
                          "WHERE experiment = ? AND submission_id > 0 GROUP BY submission_id, state, hold_code",
                          ("samdev",)).fetchall()

    assert [row["detail"] for row in plan] == [
        "SEARCH jobs USING COVERING INDEX jobs_counted (experiment=? AND submission_id>?)"]


def test_jobs_without_a_submission_are_not_counted(still):
    """What somebody submitted by hand is none of POMS' business."""
    queued(still, submission_id=0)

    with still.spool.read() as db:
        assert queue.count_jobs(db, "samdev") == ()


def test_cluster_numbers_are_never_given_twice(still):
    """A job id names one job for ever, also when all others are gone."""
    first = queued(still)
    with still.spool.write() as db:
        db.execute("DELETE FROM jobs")
        db.execute("DELETE FROM clusters")

    assert queued(still) == first + 1


def test_jobs_start_in_the_order_of_their_submit(still):
    """Within an experiment the earlier cluster's jobs go first."""
    first, second = queued(still, jobs=2), queued(still, jobs=1)

    assert started(still, 3) == [(first, 0), (first, 1), (second, 0)]


def test_experiments_share_the_slots(still):
    """A large cluster of one experiment does not keep another's job waiting."""
    large, small = queued(still, jobs=100), queued(still, experiment="nova", jobs=2)

    assert sorted(started(still, 4, slots=4)) == [(large, 0), (large, 1), (small, 0), (small, 1)]


def test_no_more_jobs_start_than_there_are_slots(still):
    """Slots are counted in processors that jobs asked for."""
    queued(still, jobs=5, cpus=2)

    assert len(started(still, 5, slots=5)) == 2


def test_no_more_memory_is_given_out_than_there_is(still):
    """Jobs wait until the memory that they asked for is free."""
    queued(still, jobs=5, memory_mb=400)

    assert len(started(still, 5, memory_mb=1000)) == 2


def test_a_large_job_is_not_passed_over(still):
    """Small jobs behind one that does not fit yet wait with it, so that it comes to run."""
    small, large = queued(still, memory_mb=400), queued(still, memory_mb=900)
    queued(still, memory_mb=100)

    assert started(still, 3, memory_mb=1000) == [(small, 0)]
    with still.spool.write() as db:
        queue.depart(db, "cluster = ?", (small,), state=JobState.COMPLETED, now=1002.0)
    assert started(still, 1, memory_mb=1000) == [(large, 0)]


def test_a_cluster_may_limit_itself(still):
    """--maxConcurrent jobs of a cluster run at once; others use the free slots."""
    limited, other = queued(still, jobs=5, max_running=1), queued(still)

    assert started(still, 5) == [(limited, 0), (other, 0)]


def test_departures_are_told_in_pieces_without_a_gap(still, monkeypatch):
    """Asking again with the cursor gives all departures once, in whatever pieces they come."""
    monkeypatch.setattr("poms.plugins.local.batch.backend.DEPARTURES_AT_ONCE", 4)
    queued(still, jobs=10)
    with still.spool.write() as db:
        queue.act(db, "remove", queue.Selected("samdev", submission_ids=(7,)), reason="", now=1001.0)

    cursor, pieces = "", []
    while (departures := still.departed(cursor)).records:
        pieces.append([record.batch_id for record in departures.records])
        cursor = departures.cursor

    assert [len(piece) for piece in pieces] == [4, 4, 2]
    assert len({batch_id for piece in pieces for batch_id in piece}) == 10


def test_a_cursor_of_a_spool_that_is_gone_begins_again(still, tmp_path):
    """When the spool was made anew, an old cursor must not skip its first departures."""
    old = still.departed("").cursor.split(":")[0] + ":500"
    new = make_backend(tmp_path / "new")
    queued(new)
    with new.spool.write() as db:
        queue.act(db, "remove", queue.Selected("samdev", submission_ids=(7,)), reason="", now=1001.0)

    assert len(new.departed(old).records) == 1


@pytest.mark.parametrize("cursor", ["12", "x:1", "abc:-1", "' OR 1=1"])
def test_nonsense_cursors_are_refused(still, cursor):
    """A cursor that no departures gave is an error, not the beginning."""
    with pytest.raises(Invalid):
        still.departed(cursor)


def test_experiments_do_not_see_each_other(still, data_dir):
    """Same submission id, same spool, other experiment: not counted, not found, not listed, not touched."""
    other = make_backend(data_dir, experiment="nova")
    number = queued(still)
    schedd = still.spool.identity().schedd
    selection = JobSelection(submission_ids=(7,), batch_ids=(f"{number}@{schedd}", f"{number}.0@{schedd}"))

    with still.spool.read() as db:
        assert queue.count_jobs(db, "nova") == ()
    assert other.find(7) == []
    assert other.jobs([7]) == []
    assert other.act("remove", selection, "hostile").changed == 0
    assert other.departed("").records == ()


def test_a_job_asked_to_hold_may_be_released_before_it_stopped(still):
    """Release undoes a hold that has not come into effect: the job goes back to idle."""
    number = queued(still)
    started(still, 1)
    selected = queue.Selected("samdev", clusters=(number,))
    with still.spool.write() as db:
        assert queue.act(db, "hold", selected, reason="", now=1.0).changed == 1
        assert queue.act(db, "release", selected, reason="", now=2.0).changed == 1
        row = db.execute("SELECT * FROM jobs").fetchone()
        queue.apply_result(db, row, {"kind": "stopped", "cpu_seconds": 1.0, "wall_seconds": 1.0, "memory_used_mb": 1},
                           3.0)

    assert [record.state for record in still.jobs([7])] == [JobState.IDLE]


def test_a_job_being_removed_cannot_be_held(still):
    """What is being removed stays so; the answer says that it was refused."""
    queued(still)
    started(still, 1)
    selected = queue.Selected("samdev", submission_ids=(7,))
    with still.spool.write() as db:
        queue.act(db, "remove", selected, reason="", now=1.0)
        result = queue.act(db, "hold", selected, reason="", now=2.0)

    assert (result.changed, result.refused) == (0, 1)
    assert result.message


def test_a_job_that_ended_before_it_could_be_held_has_ended(still):
    """A job that finished while it was asked to hold is completed and never run again."""
    queued(still)
    started(still, 1)
    with still.spool.write() as db:
        queue.act(db, "hold", queue.Selected("samdev", submission_ids=(7,)), reason="", now=1.0)
        row = db.execute("SELECT * FROM jobs").fetchone()
        queue.apply_result(db, row, {"kind": "exited", "exit_code": 0, "exit_signal": None, "cpu_seconds": 1.0,
                                     "wall_seconds": 1.0, "memory_used_mb": 1}, 3.0)

    assert [record.state for record in still.departed("").records] == [JobState.COMPLETED]


def test_ids_of_another_batch_system_are_refused(still):
    """An id that ends in another schedd's name selects nothing here, which is said."""
    result = still.act("remove", JobSelection(batch_ids=("1.0@jobsub01.example",)), "")

    assert (result.changed, result.refused) == (0, 1)
    assert "jobsub01.example" in result.message


@pytest.mark.parametrize("text", ["", "1", "1.0", "x@y", "1.0.0@y", "1@a b", "1;DROP TABLE jobs@x"])
def test_text_that_is_no_job_id_is_refused(still, text):
    """Only job ids are looked up."""
    with pytest.raises(Invalid):
        list(still.fetch_log(text, "stdout"))


def test_a_damaged_queue_is_unavailable_not_empty(still):
    """A queue that cannot be read is an error of the batch system; no decision may be taken from it."""
    still.spool.database.write_bytes(b"this is no database" * 100)

    for question in (still.snapshot, lambda: still.find(7), lambda: still.departed(""), lambda: still.jobs([7]),
                     lambda: still.act("hold", JobSelection(submission_ids=(7,)), "")):
        with pytest.raises(BackendUnavailable):
            question()
    assert not still.health().ok


def test_the_daemon_ends_when_there_is_nothing_to_do(make, program, job):
    """After a while without work no process of the batch system is left, and the next submit starts one again."""
    backend = make(idle_exit_seconds=0.3)
    program("jobsub_submit", "-G", "samdev", job("exit 0"))
    departed(backend, 1)
    await_that(lambda: backend.health().figures["master"] == 0.0)

    program("jobsub_submit", "-G", "samdev", job("exit 0"))

    assert len(departed(backend, 2)) == 2


@pytest.mark.parametrize(("first", "second"), [(1, 2), (2, 1)])
def test_a_submission_has_jobs_of_one_attempt_only(still, first, second):
    """Whichever attempt queues its jobs first, a script of another attempt that comes later queues nothing."""
    queued(still, launch_attempt=first)

    with pytest.raises(Conflict, match="came too late"):
        queued(still, launch_attempt=second)

    with still.spool.read() as db:
        assert queue.count_jobs(db, "samdev") == (JobCount(7, JobState.IDLE, 1),)


def test_an_attempt_may_queue_several_clusters(still):
    """A launch script that submits twice does so on purpose."""
    queued(still, launch_attempt=1)
    queued(still, launch_attempt=1)

    with still.spool.read() as db:
        assert queue.count_jobs(db, "samdev") == (JobCount(7, JobState.IDLE, 2),)
