"""kill -9 of any process of the batch system, at any moment: no job is lost and none runs twice."""

from __future__ import annotations

import os
import random
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from poms.plugins.local.batch import processes
from poms.plugins.local.batch.master import ensure_master, is_running
from poms.webservice.interfaces import JobSelection, JobState
from poms.webservice.testing.jobs import Gate, await_that
from test.plugins.local_batch.conftest import a_plan, daemons, departed, kill, make_backend, surroundings


def named(backend, name: str) -> list[int]:
    """The batch system's processes of one kind: poms-batch, poms-job or poms-runner."""
    found = []
    for pid in daemons(backend.spool):
        try:
            comm = Path(f"/proc/{pid}/comm").read_text()
        except OSError:
            continue
        if comm.startswith(name):
            found.append(pid)
    return found


def one(backend, name: str) -> int:
    return await_that(lambda: named(backend, name), lambda: daemons(backend.spool))[0]


def kill_and_wait(pid: int) -> None:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    with os.fdopen(handle):
        kill(pid)
        assert select.select([handle], [], [], 30)[0]


@pytest.fixture
def running(backend, program, job, tmp_path):
    """One job that waits for a gate, notes each time it begins, and ends with status 5."""
    gate = Gate(tmp_path / "gate")
    answer = program("jobsub_submit", "-G", "samdev", job(f"echo begun $$ >> {tmp_path}/begun; {gate.wait}; exit 5"))
    assert answer.returncode == 0, answer.stderr
    await_that(lambda: (tmp_path / "begun").exists() and (tmp_path / "begun").read_text().endswith("\n"))
    yield gate
    gate.open()


def begun(tmp_path: Path) -> int:
    return len((tmp_path / "begun").read_text().splitlines())


def job_pid(tmp_path: Path) -> int:
    return int((tmp_path / "begun").read_text().split()[1])


def test_jobs_go_on_without_a_master(backend, running, tmp_path):
    """A job whose master is killed ends as if nothing had happened, and the next master books it."""
    kill_and_wait(one(backend, "poms-batch"))
    running.open()
    await_that(lambda: not named(backend, "poms-job"))
    assert not is_running(backend.spool)

    record = departed(backend, 1)[0]

    assert (record.state, record.exit_code, record.attempts, begun(tmp_path)) == (JobState.FAILED, 5, 1, 1)


@pytest.mark.parametrize("victims", [["poms-job"], ["poms-runner"], ["poms-batch", "poms-job"],
                                     ["poms-batch", "poms-runner"], ["poms-job", "poms-runner"],
                                     ["poms-runner", "poms-job"]])
def test_a_killed_supervision_is_replaced(backend, running, tmp_path, victims):
    """With any two of its three keepers killed, a job runs once and its exit status is known."""
    for name in victims:
        kill_and_wait(one(backend, name))
    ensure_master(backend.spool)
    await_that(lambda: named(backend, "poms-job") or named(backend, "poms-runner"))

    running.open()
    record = departed(backend, 1)[0]

    assert (record.state, record.exit_code, record.attempts, begun(tmp_path)) == (JobState.FAILED, 5, 1, 1)


def test_with_all_keepers_killed_the_job_is_not_repeated(backend, running, tmp_path):
    """Nobody can know the exit status then: the job is failed and says why, and is not run again."""
    for name in ("poms-batch", "poms-job", "poms-runner"):
        kill_and_wait(one(backend, name))
    ensure_master(backend.spool)
    one(backend, "poms-job")

    running.open()
    record = departed(backend, 1)[0]

    assert (record.state, record.exit_code, begun(tmp_path)) == (JobState.FAILED, None, 1)
    assert "unknown" in record.hold_reason


def test_an_adopted_job_can_still_be_removed(backend, running, tmp_path):
    """A job that lost its first supervisor obeys its second."""
    for name in ("poms-batch", "poms-job", "poms-runner"):
        kill_and_wait(one(backend, name))

    backend.act("remove", JobSelection(submission_ids=(7,)), "enough")

    assert departed(backend, 1)[0].state == JobState.REMOVED
    await_that(lambda: not Path(f"/proc/{job_pid(tmp_path)}").exists())


def test_a_wish_outlives_the_master(backend, running):
    """Jobs removed while no master was there are removed by the next."""
    kill_and_wait(one(backend, "poms-batch"))

    assert backend.act("remove", JobSelection(submission_ids=(7,)), "enough").changed == 1

    assert departed(backend, 1)[0].state == JobState.REMOVED


def test_a_hold_outlives_the_supervisor_that_carries_it_out(backend, program, job, tmp_path):
    """A supervisor killed while its job is being stopped: the next one finishes, and the job is held, not failed."""
    program("jobsub_submit", "-G", "samdev",
            job(f"trap 'touch {tmp_path}/asked' TERM; echo begun $$ >> {tmp_path}/begun; while :; do sleep 0.05; done"))
    await_that(lambda: (tmp_path / "begun").exists())
    backend.act("hold", JobSelection(submission_ids=(7,)), "for a while")
    await_that(lambda: (tmp_path / "asked").exists())

    kill_and_wait(one(backend, "poms-job"))

    await_that(lambda: [record.state for record in backend.jobs([7])] == [JobState.HELD], lambda: backend.jobs([7]))
    assert backend.jobs([7])[0].hold_reason == "for a while"


def test_a_killed_job_is_failed_with_its_signal(backend, running, tmp_path):
    """kill -9 of the job itself is the job's end, not the batch system's trouble."""
    os.kill(job_pid(tmp_path), signal.SIGKILL)

    record = departed(backend, 1)[0]

    assert (record.state, record.exit_signal, begun(tmp_path)) == (JobState.FAILED, 9, 1)


def test_after_a_reboot_the_job_runs_again(backend, running, tmp_path):
    """When the whole machine went down, what ran goes back to idle and is started once more."""
    for name in ("poms-batch", "poms-job", "poms-runner"):
        kill_and_wait(one(backend, name))
    kill_and_wait(job_pid(tmp_path))
    with backend.spool.write() as db:
        db.execute("UPDATE jobs SET boot = 'another'")

    running.open()
    record = departed(backend, 1)[0]

    assert (record.exit_code, record.attempts, begun(tmp_path)) == (5, 2, 2)


def test_a_job_that_was_claimed_but_not_begun_is_begun(backend, program, job, tmp_path):
    """A master killed between writing "running" and starting leaves a job that the next one starts, once."""
    ensure_master(backend.spool)
    kill_and_wait(one(backend, "poms-batch"))
    with backend.spool.write() as db:
        # As the queue is left by a master that was killed at that very point.
        db.execute("CREATE TRIGGER claimed AFTER INSERT ON jobs BEGIN UPDATE jobs SET state = 2, run = 1, "
                   "attempts = 1, started_at = new.since, boot = (SELECT value FROM boot) "
                   "WHERE cluster = new.cluster; END")
        db.execute("CREATE TABLE boot AS SELECT ? AS value", (processes.boot_identity(),))
    program("jobsub_submit", "-G", "samdev", job(f"echo begun >> {tmp_path}/begun"))

    record = departed(backend, 1)[0]

    assert (record.state, record.attempts, begun(tmp_path)) == (JobState.COMPLETED, 1, 1)


@pytest.mark.parametrize("seed", range(2))
def test_random_kills_lose_and_repeat_nothing(backend, program, job, tmp_path, seed):
    """Through a storm of kills of masters, supervisors and runners every job begins once, ends once, departs once."""
    chance = random.Random(seed)
    jobs = 10
    text = (f"echo x >> {tmp_path}/begin.$PROCESS; sleep 0.$((RANDOM % 4)); echo x >> {tmp_path}/end.$PROCESS")
    assert program("jobsub_submit", "-G", "samdev", "-N", str(jobs), job(text)).returncode == 0

    kills = 0
    while backend.snapshot().counts:
        victims = daemons(backend.spool)
        if victims and kills < 25:
            kill(chance.choice(victims))
            kills += 1
        select.select([], [], [], chance.random() * 0.05)

    records = departed(backend, jobs)
    assert sorted(record.batch_id for record in records) == sorted({record.batch_id for record in records})
    assert len(records) == jobs
    await_that(lambda: len(list(tmp_path.glob("end.*"))) == jobs, lambda: list(tmp_path.glob("end.*")))
    for stage in ("begin", "end"):
        assert [(tmp_path / f"{stage}.{proc}").read_text() for proc in range(jobs)] == ["x\n"] * jobs
    assert kills


def test_a_killed_submit_queues_all_or_nothing(backend, job):
    """jobsub_submit killed at any moment leaves a whole cluster or none; what it acknowledged is there."""
    executable = job("exit 0")
    backend.environment(a_plan())
    seen = []
    usual_seconds = 0.0
    moments = 14
    for number in range(1, moments + 1):
        began_at = time.monotonic()
        command = [backend.spool.programs / "jobsub_submit", "-G", "samdev", "-N", "50", executable]
        submit = subprocess.Popen(command, env=surroundings(backend, POMS4_SUBMISSION_ID=str(number)),
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        if number == 1:
            submit.wait()
            usual_seconds = time.monotonic() - began_at
        else:
            # From just after its beginning to after its usual end.
            select.select([], [], [], 1.2 * usual_seconds * (number - 2) / moments)
            kill(submit.pid)
        acknowledged = "Use job id" in submit.communicate()[0]

        found = backend.find(number)

        assert [cluster.jobs for cluster in found] in ([], [50])
        assert found or not acknowledged
        seen.append(bool(found))
        backend.act("remove", JobSelection(submission_ids=(number,)), "next")
    assert seen[:2] == [True, False]


def test_nothing_runs_on_when_the_spool_is_removed(backend, running, tmp_path):
    """Without its spool a job has no owner any more: it and the whole batch system end."""
    before = daemons(backend.spool)

    backend.spool.directory.rename(tmp_path / "away")
    shutil.rmtree(tmp_path / "away")

    await_that(lambda: not daemons(backend.spool), lambda: daemons(backend.spool))
    await_that(lambda: not Path(f"/proc/{job_pid(tmp_path)}").exists())
    assert before
    backend.spool.prepare()


def test_services_started_in_any_order_share_one_queue(backend, program, job, data_dir):
    """Several services on one spool see the same jobs, and have one master."""
    second = make_backend(data_dir)
    program("jobsub_submit", "-G", "samdev", "-N", "5", job("exit 0"))
    ensure_master(backend.spool)
    ensure_master(second.spool)

    assert len(departed(second, 5)) == len(departed(backend, 5)) == 5
    assert len(named(backend, "poms-batch")) == 1
