"""What jobsub alone promises: statuses that say nothing, roles and tokens, wrecks of submits, DAGs."""

from __future__ import annotations

import io
import itertools
import os

import pytest

from poms.plugins.local.transport import LocalTransport
from poms.webservice.errors import BackendUnavailable, NotFound
from poms.webservice.interfaces import JobSelection, JobState
from poms.webservice.rules import shell
from poms.webservice.testing.jobs import await_that
from test.plugins.jobsub.conftest import a_plan, a_token

pytestmark = pytest.mark.htcondor

numbers = itertools.count(1000 * (os.getpid() % 90_000) + 700)


@pytest.fixture
def launch(programs):
    """``launch(backend, "-N 2 -c false")`` submits jobs that sleep: the plan, the outcome, and what was printed."""
    def build(backend, options="", *, role="Analysis", submission_id=None, program="file:///bin/sleep 1000"):
        plan = a_plan(submission_id=submission_id or next(numbers), role=role,
                      command=f"{programs}/jobsub_submit -G samdev --role {role} {options} {program}")
        log = io.BytesIO()
        script = shell.launch_script(plan, backend.environment(plan))
        outcome = backend.submit(plan, script, LocalTransport(), log, 120)
        return plan, outcome, log.getvalue().decode()
    return build


def counts(backend, number):
    return {count.state: count.count for count in backend.snapshot().counts if count.submission_id == number}


def of(plan):
    return JobSelection(submission_ids=(plan.submission_id,))


# --------------------------------------------------------------------------------------------- submitting


def test_a_submit_that_condor_refused_is_refused_though_its_status_is_zero(backend, launch):
    """jobsub_submit ends with 0 when condor_submit failed; the limit that was exceeded is said."""
    plan, outcome, text = launch(backend, "-N 99999")

    assert (outcome.kind, outcome.exit_status) == ("refused", 0), text
    assert "MAX_JOBS_PER_SUBMISSION" in outcome.message
    assert backend.find(plan.submission_id) == []


def test_a_bad_command_line_is_refused_with_its_reason(backend, launch):
    """What jobsub itself refuses is told in its words."""
    _, outcome, _ = launch(backend, "-e NOT_SET_ANYWHERE")

    assert (outcome.kind, outcome.exit_status) == ("refused", 1)
    assert "NOT_SET_ANYWHERE" in outcome.message


def test_the_wreck_of_a_submit_is_cleared_away(pool, backend, launch, programs):
    """A cluster whose input never arrived stays held for ever and has no job id; it goes, and the launch may be made
    again."""
    pytest.importorskip("htcondor2", reason="htcondor: the Python package htcondor is not installed")
    (programs.parent / "fault_spool").touch()

    plan, outcome, text = launch(backend)

    assert (outcome.kind, outcome.exit_status) == ("unclear", 0), text
    assert "Failed to spool" in outcome.message
    assert backend.find(plan.submission_id) == []
    left = pool.run("condor_q", "-name", pool.schedds[0], "-allusers", "-constraint",
                    f"POMS4_SUBMISSION_ID == {plan.submission_id} && JobStatus != 3", "-af", "ClusterId")
    assert left.stdout.strip() == ""


def test_jobs_at_a_schedd_that_is_not_named_are_doubt(pool, make, launch):
    """jobsub may choose a schedd that the configuration lacks: nothing is launched again, and the remedy is said."""
    elsewhere = make(schedds=[pool.schedds[1]])

    _, outcome, _ = launch(elsewhere, "-c false")

    assert outcome.kind == "unclear"
    assert pool.schedds[0] in outcome.message


def test_a_setup_cannot_undo_what_ties_jobs_to_their_submission(backend, programs):
    """A site's set-up that sets jobsub's extra lines itself does not take the submission's number away."""
    plan = a_plan(submission_id=next(numbers), attempt=2,
                  setup="export JOBSUB_EXTRA_LINES=+POMS4_SUBMISSION_ID=1 JOBSUB_EXTRA_ENVIRONMENT=",
                  command=f"{programs}/jobsub_submit -G samdev -c false file:///bin/true")

    outcome = backend.submit(plan, shell.launch_script(plan, backend.environment(plan)), LocalTransport(), io.BytesIO(),
                             120)

    assert outcome.kind == "started"
    assert [cluster.attempt for cluster in backend.find(plan.submission_id)] == [2]


# --------------------------------------------------------------------------------------------- controlling


def test_a_command_that_did_nothing_is_noticed(backend, launch, programs):
    """Status 0 and silence are what jobsub_hold has for a schedd it cannot reach; the queue tells."""
    plan, _, _ = launch(backend, "-N 2 -c false")
    (programs.parent / "fault_deaf").touch()

    result = backend.act("hold", of(plan), "by a test")

    assert (result.changed, result.refused) == (0, 2)
    assert "jobsub_hold left jobs as they were" in result.message


def test_each_role_acts_on_its_own_jobs(backend, launch, tokens):
    """Jobs of two roles need two tokens; without one of them its jobs stay, and that is said."""
    production, _, _ = launch(backend, "-c false", role="Production")
    analysis, _, _ = launch(backend, "-N 2 -c false", role="Analysis")
    both = JobSelection(submission_ids=(production.submission_id, analysis.submission_id))
    (tokens / "samdev_analysis").unlink()

    first = backend.act("hold", both, "by a test")
    (tokens / "samdev_analysis").write_text(a_token("/samdev"))
    second = backend.act("hold", both, "by a test")

    assert (first.changed, first.refused) == (1, 2)
    assert "no token" in first.message
    assert (second.changed, second.unchanged, second.refused) == (2, 1, 0)


@pytest.mark.parametrize("reason", ["-constraint true", "@schedd1.pool.test", "12.0@elsewhere.example", "it's \"so\"",
                                    "two\nlines", "$(id)", ""])
def test_reasons_are_text_whatever_they_say(backend, launch, reason):
    """A reason that looks like an option or a job id selects nothing; the jobs named are held, and no others."""
    plan, _, _ = launch(backend, "-c false")
    other, _, _ = launch(backend, "-c false")

    assert backend.act("hold", of(plan), reason).changed == 1

    assert counts(backend, plan.submission_id) == {JobState.HELD: 1}
    assert counts(backend, other.submission_id) == {JobState.IDLE: 1}
    assert backend.jobs([plan.submission_id])[0].hold_reason


def test_jobs_of_a_cluster_are_chosen_by_their_ids(backend, launch):
    """Single jobs and neighbours of one cluster, by cluster.proc@schedd."""
    plan, outcome, _ = launch(backend, "-N 6 -c false")
    cluster, _, schedd = outcome.batch_ids[0].partition("@")

    result = backend.act("remove", JobSelection(batch_ids=tuple(f"{cluster}.{proc}@{schedd}" for proc in (0, 2, 3))),
                         "by a test")

    assert result.changed == 3
    assert {record.batch_id for record in backend.jobs([plan.submission_id])} == \
        {f"{cluster}.{proc}@{schedd}" for proc in (1, 4, 5)}


def test_ids_of_other_pools_are_refused(backend):
    """A job id that names a foreign schedd changes nothing and is said so."""
    result = backend.act("remove", JobSelection(batch_ids=("1.0@elsewhere.example",)), "foreign")

    assert (result.changed, result.refused) == (0, 1)
    with pytest.raises(NotFound):
        backend.fetch_log("1.0@elsewhere.example", "stdout")


# --------------------------------------------------------------------------------------------- logs and health


def test_a_log_that_may_not_be_fetched_is_no_absent_log(backend, launch, tokens):
    """Without a token the log service refuses; that is trouble, and not a job that wrote nothing."""
    _, outcome, _ = launch(backend, "-c false")
    (tokens / "samdev_analysis").unlink()

    with pytest.raises(BackendUnavailable, match="jobsub_fetchlog"):
        backend.fetch_log(outcome.batch_ids[0].replace("@", ".0@"), "stdout")


def test_nothing_of_a_fetched_log_is_left_behind(backend, launch, shared_path):
    """Logs are read and forgotten: what a job wrote fills no disk here."""
    plan, outcome, _ = launch(backend, program="file:///bin/echo done")
    await_that(lambda: counts(backend, plan.submission_id) == {}, lambda: counts(backend, plan.submission_id),
               seconds=90)

    text = b"".join(backend.fetch_log(outcome.batch_ids[0].replace("@", ".0@"), "stdout"))

    assert text == b"done\n"
    assert list((shared_path / "data" / "jobsub" / "logs").iterdir()) == []


def test_a_missing_token_is_told_by_health(backend, tokens):
    """A role without a token, or with one that expired or is another group's, is named with the remedy."""
    (tokens / "samdev_production").unlink()
    missing = backend.health()
    (tokens / "samdev_production").write_text(a_token("/samdev/production", seconds=30))
    expired = backend.health()
    (tokens / "samdev_production").write_text(a_token("/uboone/production"))
    foreign = backend.health()

    assert (missing.ok, expired.ok, foreign.ok) == (False, False, False)
    assert "does not exist" in missing.message
    assert "expired" in expired.message
    assert "is not for /samdev/production" in foreign.message
    assert "htgettoken" in missing.message


def test_a_token_that_jobsub_can_renew_is_no_trouble(make, tokens):
    """With the options of htgettoken jobsub gets the next token by itself; health only mentions it."""
    (tokens / "samdev_production").unlink()

    health = make(htgettoken_options="-a vault.example.org -i {group} -r {role}").health()

    assert health.ok
    assert "will have to get a token" in health.message


def test_missing_commands_are_told_by_health(make, shared_path):
    """Without jobsub_lite on the service's machine nothing can be held; health says so before somebody tries."""
    health = make(jobsub_programs=str(shared_path)).health()

    assert not health.ok
    assert "jobsub_hold" in health.message


# --------------------------------------------------------------------------------------------- DAGs


@pytest.fixture
def dag(pool, shared_path):
    """``dag(number, script, script)``: a DAG whose nodes run one after the other, as jobsub_submit_dag makes them."""
    def build(number, *scripts):
        place = shared_path / f"dag{number}"
        place.mkdir(mode=0o777)
        place.chmod(0o777)
        lines = []
        for position, script in enumerate(scripts, 1):
            (place / f"stage_{position}.sh").write_text(f"#!/bin/bash\n{script}\n")
            (place / f"stage_{position}.sh").chmod(0o755)
            (place / f"stage_{position}.cmd").write_text(
                f"executable = {place}/stage_{position}.sh\n+POMS4_SUBMISSION_ID = {number}\n"
                "request_memory = 200\nshould_transfer_files = YES\nqueue 1\n")
            lines.append(f"JOB stage_{position} {place}/stage_{position}.cmd")
            if position > 1:
                lines.append(f"PARENT stage_{position - 1} CHILD stage_{position}")
        (place / "dag.dag").write_text("\n".join(lines) + "\n")
        done = pool.run("condor_submit_dag", "-append", f"+POMS4_SUBMISSION_ID={number}", "-append",
                        "+POMS4_LAUNCH_ATTEMPT=1", str(place / "dag.dag"))
        assert done.returncode == 0, done.stdout + done.stderr
    return build


def test_the_leader_of_a_dag_is_no_job_and_keeps_it_from_ending(backend, dag, shared_path):
    """DAGMan is not counted; while it lives, the submission grows. Nodes come one after the other, and each departs."""
    number = next(numbers)
    cursor = backend.departed("").cursor
    gate = shared_path / "gate"
    dag(number, f"until [ -e {gate} ]; do sleep 0.1; done", "exit 3")

    await_that(lambda: counts(backend, number) == {JobState.RUNNING: 1}, lambda: counts(backend, number), seconds=90)
    assert number in backend.snapshot().growing
    gate.touch()
    await_that(lambda: number not in backend.snapshot().growing, lambda: backend.snapshot(), seconds=90)

    records = [record for record in backend.departed(cursor).records if record.submission_id == number]
    assert sorted((record.state, record.exit_code) for record in records) == \
        [(JobState.COMPLETED, 0), (JobState.FAILED, 3)]


def test_a_dag_is_as_large_as_its_graph(backend, dag):
    """The nodes that have not begun are known from DAGMan, so that the total is right from the beginning."""
    number = next(numbers)
    dag(number, "sleep 1000", "exit 0", "exit 0")

    await_that(lambda: sum(cluster.jobs for cluster in backend.find(number)) == 3, lambda: backend.find(number),
               seconds=90)


def test_removing_a_dag_removes_its_leader_and_its_nodes(pool, backend, dag):
    """By the submission's number both go at once, and only nodes are counted."""
    number = next(numbers)
    dag(number, "sleep 1000", "exit 0")
    await_that(lambda: counts(backend, number) == {JobState.RUNNING: 1}, lambda: counts(backend, number), seconds=90)

    result = backend.act("remove", JobSelection(submission_ids=(number,)), "by a test")

    assert result.changed == 1
    await_that(lambda: not pool.run("condor_q", "-name", pool.schedds[0], "-allusers", "-constraint",
                                    f"POMS4_SUBMISSION_ID == {number}", "-af", "ClusterId").stdout.strip(), seconds=60)
