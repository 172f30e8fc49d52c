"""What HTCondor alone promises: schedds that die, histories that rotate, holds of every kind, names in ads."""

from __future__ import annotations

import io
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from poms.plugins.htcondor.options import ACCESS_VARIABLE
from poms.plugins.local.transport import LocalTransport
from poms.webservice.errors import BackendUnavailable, NotFound
from poms.webservice.interfaces import JobSelection, JobState, TransportResult
from poms.webservice.rules import shell
from poms.webservice.testing.jobs import HOSTILE_NAMES, await_that
from test.plugins.htcondor.conftest import a_plan, condor_pool

pytestmark = pytest.mark.htcondor

numbers = itertools.count(1000 * (os.getpid() % 90_000) + 500)


@pytest.fixture
def submit(shared_path):
    """``submit(backend, script)`` launches jobs that run a bash script; the submission's id and the outcome."""
    def build(backend, script, *, jobs=1, options="", environment=(), submission_id=None):
        number = submission_id or next(numbers)
        executable = shared_path / f"job_{number}.sh"
        executable.write_text(script if script.startswith("#!") else f"#!/bin/bash\n{script}\n")
        executable.chmod(0o755)
        command = f"jobsub_submit -G samdev -N {jobs} {options} file://{executable}"
        plan = a_plan(submission_id=number, command=command, environment=environment)
        log = io.BytesIO()
        outcome = backend.submit(plan, shell.launch_script(plan, backend.environment(plan)), LocalTransport(), log, 120)
        assert outcome.kind == "started", log.getvalue().decode()
        return number, outcome
    return build


def counts(backend, number):
    return {(count.state, count.hold_code): count.count for count in backend.snapshot().counts
            if count.submission_id == number}


def ended(backend, number, jobs, cursor=""):
    """Follow the departures until so many jobs of a submission have left: their records, and how often each came."""
    records = []

    def enough():
        nonlocal cursor
        try:
            departures = backend.departed(cursor)
        except BackendUnavailable:
            return False
        cursor = departures.cursor
        records.extend(record for record in departures.records if record.submission_id == number)
        return len({record.batch_id for record in records}) >= jobs

    await_that(enough, lambda: (records, backend.health()), seconds=120)
    return records, cursor


# ------------------------------------------------------------------------------------------------ dead schedds


def test_a_dead_schedd_is_an_error_and_never_an_empty_answer(pool, make, submit):
    """While a schedd is away every question fails; afterwards it answers as before, and nothing was lost."""
    backend = make()
    number, _ = submit(backend, "sleep 1000", jobs=3, options="-c false")
    wrong = []

    def is_back():
        try:
            live = counts(backend, number)
            found = backend.find(number)
        except BackendUnavailable as condition:
            assert pool.schedds[0] in str(condition)
            return False
        if sum(live.values()) != 3 or [cluster.jobs for cluster in found] != [3]:
            wrong.append((live, found))
        return True

    pool.kill("condor_schedd")
    await_that(is_back, seconds=120)

    assert not wrong
    assert backend.health().ok


def test_departures_survive_the_death_of_the_schedd(pool, make, submit):
    """Jobs that end while the schedd is killed are all reported."""
    backend = make()
    cursor = backend.departed("").cursor
    number, _ = submit(backend, "exit $((PROCESS % 2))", jobs=8)

    pool.kill("condor_schedd")
    records, _ = ended(backend, number, 8, cursor)

    states = {record.batch_id: record.state for record in records}
    assert sorted(states.values()) == [JobState.COMPLETED] * 4 + [JobState.FAILED] * 4


def test_an_action_on_a_dead_schedd_is_an_error_and_can_be_repeated(pool, make, submit):
    """While a schedd is away holding fails; repeated until it answers, every job is held, and others are not."""
    backend = make()
    number, _ = submit(backend, "sleep 1000", jobs=3, options="-c false")
    other, _ = submit(backend, "sleep 1000", jobs=2, options="-c false")

    def is_done():
        try:
            result = backend.act("hold", JobSelection(submission_ids=(number,)), "by a test")
        except BackendUnavailable as condition:
            assert pool.schedds[0] in str(condition)
            return False
        return result.changed + result.unchanged == 3 and not result.refused

    pool.kill("condor_schedd")
    await_that(is_done, seconds=120)

    assert counts(backend, number) == {(JobState.HELD, 1): 3}
    assert counts(backend, other) == {(JobState.IDLE, None): 2}


BROKEN_OFF = """
import sys, htcondor2
collector, schedd, number = sys.argv[1:]
found = htcondor2.Schedd(htcondor2.Collector(collector).locate(htcondor2.DaemonType.Schedd, schedd))
found.submit(htcondor2.Submit(f"executable = /bin/true\\ntransfer_input_files = /etc/hostname\\n"
                              f"MY.POMS4_SUBMISSION_ID = {number}\\n"), count=3, spool=True)
"""


@pytest.fixture
def break_off(pool):
    """``break_off()`` submits and dies before the input files are sent; the submission's id."""
    pytest.importorskip("htcondor2", reason="htcondor: the Python package htcondor is not installed")

    def build():
        number = next(numbers)
        subprocess.run([sys.executable, "-c", BROKEN_OFF, pool.collector, pool.schedds[0], str(number)], check=True,
                       timeout=120, env={**os.environ, "CONDOR_CONFIG": os.devnull,
                                         "_CONDOR_SEC_TOKEN_DIRECTORY": str(pool.token_directory)})
        return number
    return build


def test_a_submit_whose_input_is_on_its_way_is_doubt(make, break_off):
    """Whether there will be jobs is not known yet: nobody may launch again, and no job is counted one by one."""
    backend = make()
    number = break_off()

    with pytest.raises(BackendUnavailable, match="on their way"):
        backend.find(number)
    assert counts(backend, number) == {(JobState.IDLE, None): 3}
    assert backend.jobs([number]) == []


def test_the_remains_of_a_submit_that_broke_off_are_nothing(pool, make, break_off):
    """After the grace they are taken away, are no cluster of the submission, and never were jobs of it."""
    backend = make(spooling_grace_seconds=0.0)
    cursor = backend.departed("").cursor
    number = break_off()

    assert await_that(lambda: backend.find(number) == [], seconds=60)

    await_that(lambda: not pool.run("condor_q", "-name", pool.schedds[0], "-allusers", "-constraint",
                                    f"POMS4_SUBMISSION_ID == {number}", "-af", "ClusterId").stdout.strip())
    assert counts(backend, number) == {}
    assert [record for record in backend.departed(cursor).records if record.submission_id == number] == []
    assert backend.find(number) == []


def test_jobs_that_a_person_removed_are_still_jobs(make, submit):
    """Removed before they ran, they are found and recorded: the launch is not made again."""
    backend = make()
    cursor = backend.departed("").cursor
    number, outcome = submit(backend, "exit 0", jobs=2, options="-c false")
    backend.act("remove", JobSelection(submission_ids=(number,)), "not wanted")

    records, _ = ended(backend, number, 2, cursor)

    assert {record.state for record in records} == {JobState.REMOVED}
    assert [cluster.batch_id for cluster in backend.find(number)] == list(outcome.batch_ids)


def test_a_submit_to_a_dead_schedd_is_not_called_started(pool, make, submit):
    """What cannot be asked is unclear; nothing is said to run that does not."""
    backend = make(schedds=["nobody.example"], timeout_seconds=20.0)
    plan = a_plan(submission_id=next(numbers), command="jobsub_submit -G samdev file:///bin/true")

    outcome = backend.submit(plan, shell.launch_script(plan, backend.environment(plan)), LocalTransport(),
                             io.BytesIO(), 120)

    assert outcome.kind == "unclear"
    with pytest.raises(BackendUnavailable, match="nobody.example"):
        backend.snapshot()
    assert not backend.health().ok


def test_a_pool_that_hangs_costs_its_own_call_only(pool, make):
    """A schedd that takes the connection and never answers is given up in time."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        backend = make(collector=f"127.0.0.1:{port}", timeout_seconds=2.0)

        with pytest.raises(BackendUnavailable):
            backend.snapshot()

    assert make().health().ok


# ------------------------------------------------------------------------------------------------ departures


@pytest.mark.parametrize("access", ["bindings", "commands"])
def test_plain_jobs_are_followed_into_the_history(pool, make, submit, access):
    """Jobs that do not wait in the queue are reported once, with how they ended, wherever they are read."""
    backend = make(access=access, keep_output_seconds=0.0)
    cursor = backend.departed("").cursor
    number, _ = submit(backend, "case $PROCESS in 0) exit 0;; 1) exit 3;; 2) kill -TERM $$;; esac", jobs=3)

    records, cursor = ended(backend, number, 3, cursor)
    await_that(lambda: not backend._access.query(pool.schedds[0], f"POMS4_SUBMISSION_ID == {number}", ["ProcId"]))

    found = {record.batch_id.split("@")[0].split(".")[1]: (record.state, record.exit_code, record.exit_signal)
             for record in records}
    assert found == {"0": (JobState.COMPLETED, 0, None), "1": (JobState.FAILED, 3, None),
                     "2": (JobState.FAILED, None, 15)}
    assert {record.site for record in records} <= {"North", "South"}
    assert all(record.node.startswith("wn") for record in records)


def test_a_history_that_rotated_away_is_read_from_its_oldest_and_said(pool, make, submit):
    """The second schedd keeps some 60 kB of history: what is left is reported, and health says that some is not."""
    backend = make(schedds=[pool.schedds[1]], keep_output_seconds=0.0)
    number, _ = submit(backend, "exit 0")
    _, cursor = ended(backend, number, 1)
    await_that(lambda: not backend._access.query(pool.schedds[1], f"POMS4_SUBMISSION_ID == {number}", ["ProcId"]))
    cursor = backend.departed(cursor).cursor

    for _ in range(2):
        later, _ = submit(backend, "exit 0", jobs=40, options="-c false")
        backend.act("remove", JobSelection(submission_ids=(later,)), "to fill the history")
        await_that(lambda later=later: not backend._access.query(pool.schedds[1], f"POMS4_SUBMISSION_ID == {later}",
                                                                 ["ProcId"]))
    departures = backend.departed(cursor)

    assert later in {record.submission_id for record in departures.records}
    assert "rotated away" in backend.health().message
    assert backend.departed(departures.cursor).records == ()


def test_the_event_log_tells_what_the_history_lost(pool, make, submit):
    """With the schedd's event log no end is missed, however fast the history rotates."""
    backend = make(schedds=[pool.schedds[1]], keep_output_seconds=0.0, event_log=str(pool.event_log))
    cursor = backend.departed("").cursor
    number, _ = submit(backend, "exit 5", jobs=2)
    await_that(lambda: counts(backend, number) == {} and not backend._access.query(
        pool.schedds[1], f"POMS4_SUBMISSION_ID == {number}", ["ProcId"]))
    for _ in range(2):
        later, _ = submit(backend, "exit 0", jobs=40, options="-c false")
        backend.act("remove", JobSelection(submission_ids=(later,)), "to fill the history")
        await_that(lambda later=later: not backend._access.query(pool.schedds[1], f"POMS4_SUBMISSION_ID == {later}",
                                                                 ["ProcId"]))
    assert backend._access.history(pool.schedds[1], f"POMS4_SUBMISSION_ID == {number}", ["ProcId"]) == []

    records = [record for record in backend.departed(cursor).records if record.submission_id == number]

    assert sorted((record.batch_id.partition("@")[2], record.exit_code) for record in records) == \
        [(pool.schedds[1], 5)] * 2


def test_a_cursor_of_another_pool_means_the_beginning(make, submit):
    """Rather everything twice than anything never."""
    backend = make()
    number, _ = submit(backend, "exit 0")
    ended(backend, number, 1)

    for cursor in ("", "not a cursor", json.dumps({"schedds": {"elsewhere": ["x", "y", {}]}, "events": None})):
        assert number in {record.submission_id for record in backend.departed(cursor).records}


def test_jobs_that_wait_for_their_output_are_reported_once(make, submit):
    """A finished job stays in the queue until its output is fetched: it is not live, and reported once."""
    backend = make()
    cursor = backend.departed("").cursor
    number, _ = submit(backend, "exit 0", jobs=2)

    records, cursor = ended(backend, number, 2, cursor)

    assert len(records) == 2
    assert counts(backend, number) == {}
    assert backend.departed(cursor).records == ()


def test_finished_jobs_that_are_removed_stay_finished(pool, make, submit):
    """Removing a job that only waits for its output to be fetched does not make it a removed one."""
    backend = make()
    number, outcome = submit(backend, "exit 4")
    ended(backend, number, 1)
    pool.run("condor_rm", "-name", pool.schedds[0], outcome.batch_ids[0].partition("@")[0])
    await_that(lambda: not backend._access.query(pool.schedds[0], f"POMS4_SUBMISSION_ID == {number}", ["ProcId"]))

    records = [record for record in backend.departed("").records if record.submission_id == number]

    assert {(record.state, record.exit_code) for record in records} == {(JobState.FAILED, 4)}


# ------------------------------------------------------------------------------------------------ several schedds


def test_two_schedds_are_one_pool(pool, make, submit):
    """Jobs of both are counted, found and acted on; their ids say where they are."""
    both = make(schedds=list(pool.schedds))
    number = next(numbers)
    for schedd in pool.schedds:
        submit(make(schedds=[schedd]), "sleep 1000", jobs=2, options="-c false", submission_id=number)

    assert sum(counts(both, number).values()) == 4
    assert sorted(cluster.batch_id.partition("@")[2] for cluster in both.find(number)) == sorted(pool.schedds)
    assert both.act("remove", JobSelection(submission_ids=(number,)), "over").changed == 4


def test_one_dead_schedd_of_two_makes_the_answer_fail(pool, make):
    """Half of the jobs are not all of them."""
    backend = make(schedds=[pool.schedds[0], "nobody.example"])

    with pytest.raises(BackendUnavailable, match="nobody.example"):
        backend.snapshot()


# ------------------------------------------------------------------------------------------------ holds and names


@pytest.mark.parametrize(("script", "options", "code"), [
    ("#!/nonexistent/interpreter\n", "", 6),
    ("mkdir -p $CONDOR_DIR_OUT; echo x > $CONDOR_DIR_OUT/x", "-d OUT /proc/nowhere", 12),
    ("sleep 1000", "--expected-lifetime=3s", 47),
    ("sleep 1000", "-l 'periodic_hold = JobStatus == 2' -l 'periodic_hold_subcode = 42'", 3),
])
def test_held_jobs_say_why(make, submit, script, options, code):
    """Hold codes reach the counts and the records, with a reason for people."""
    backend = make()
    number, _ = submit(backend, script, options=options)

    await_that(lambda: counts(backend, number) == {(JobState.HELD, code): 1}, lambda: counts(backend, number))

    record = backend.jobs([number])[0]
    assert (record.hold_code, bool(record.hold_reason)) == (code, True)


def test_names_arrive_in_the_ads_as_strings(pool, make, submit):
    """Whatever a campaign is called, its jobs run, and the ad has the name as a string."""
    backend = make(keep_output_seconds=0.0)
    macros = ("$$(x)", "$$$$(x)", "$(x)", "$ENV(PATH)", "$$ENV(PATH)", "$", "$$", "stage-a")
    names = {f"POMS4_NAME_{number}": name for number, name in enumerate((*HOSTILE_NAMES, *macros))}

    number, _ = submit(backend, "exit 0", environment=tuple(names.items()))
    ended(backend, number, 1)

    [ad] = await_that(lambda: backend._access.history(pool.schedds[0], f"POMS4_SUBMISSION_ID == {number}", list(names)))
    # No newline can be in a submit description, and no $$( in an ad.
    assert ad == {key: re.sub(r"\$\$(?=\w*\()", "$$ ", name.replace("\n", " ")) for key, name in names.items()}


def test_a_refused_submit_says_why(make, pool, shared_path):
    """A limit of the schedd is reported in its own words, and nothing is left behind."""
    backend = make()
    plan = a_plan(submission_id=next(numbers), command="jobsub_submit -G samdev -N 99999 file:///bin/true")
    log = io.BytesIO()

    outcome = backend.submit(plan, shell.launch_script(plan, backend.environment(plan)), LocalTransport(), log, 120)

    assert outcome.kind == "refused"
    assert "MAX_JOBS_PER_SUBMISSION" in log.getvalue().decode()
    assert not list((shared_path / "data" / "htcondor" / "sandboxes").iterdir())


def test_a_submit_against_the_site_policy_says_why(make, shared_path):
    """What the site's administrators do not want is refused in their words, and nothing is left behind."""
    backend = make()
    number = next(numbers)
    plan = a_plan(submission_id=number,
                  command="jobsub_submit -G samdev -l '+ForbiddenHere = true' file:///bin/true")
    log = io.BytesIO()

    outcome = backend.submit(plan, shell.launch_script(plan, backend.environment(plan)), LocalTransport(), log, 120)

    assert outcome.kind == "refused"
    assert "such jobs are not wanted at this site" in log.getvalue().decode()
    assert backend.find(number) == []
    assert not list((shared_path / "data" / "htcondor" / "sandboxes").iterdir())


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_is_off_by_an_hour_changes_nothing(make, submit, hours):
    """Found, counted, followed into the history; and a job has been held for seconds, not for an hour."""
    def clock():
        return datetime.now(UTC) + timedelta(hours=hours)

    backend = make(clock=clock)
    cursor = backend.departed("").cursor
    ended_number, _ = submit(backend, "exit 3")
    held_number, _ = submit(backend, "sleep 1000", options="-c false")
    backend.act("hold", JobSelection(submission_ids=(held_number,)), "by a test")

    records, _ = ended(backend, ended_number, 1, cursor)

    assert [(record.state, record.exit_code) for record in records] == [(JobState.FAILED, 3)]
    assert len(backend.find(ended_number)) == 1
    [record] = backend.jobs([held_number])
    assert timedelta(0) <= clock() - record.since < timedelta(minutes=10)


def test_without_permission_nothing_is_changed(pool, make, submit, tmp_path):
    """A service without a token can look but not touch, and hears so."""
    backend = make()
    number, _ = submit(backend, "sleep 1000", options="-c false")
    tmp_path.chmod(0o700)

    with pytest.raises(BackendUnavailable):
        make(token_directory=str(tmp_path)).act("remove", JobSelection(submission_ids=(number,)), "not allowed")

    assert sum(counts(backend, number).values()) == 1


def test_ids_of_other_pools_are_refused(make):
    """A job id that names a foreign schedd changes nothing and is said so."""
    result = make().act("remove", JobSelection(batch_ids=("1.0@elsewhere.example",)), "foreign")

    assert (result.changed, result.refused) == (0, 1)
    with pytest.raises(NotFound):
        make().fetch_log("1.0@elsewhere.example", "stdout")


def test_files_outside_the_service_are_never_read(pool, make, shared_path):
    """An ad that claims its output is somewhere else is not believed."""
    secret = shared_path / "out.0"
    secret.write_text("secret")
    text = (f"executable = /bin/true\nMY.SUBMIT_Iwd = \"{shared_path}\"\nrequirements = false\noutput = out.0\n"
            f"MY.POMS4_SUBMISSION_ID = {next(numbers)}\nqueue 1\n")
    done = pool.run("condor_submit", "-name", pool.schedds[0], "-spool", "-terse", "-", text=text)
    cluster = done.stdout.split(".")[0]

    with pytest.raises(NotFound):
        list(make().fetch_log(f"{cluster}.0@{pool.schedds[0]}", "stdout"))


# ------------------------------------------------------------------------------------------------ launching


class Deaf:
    """A transport that runs the script and then loses the answer, as a broken connection does."""

    dies_with_caller = True

    def run(self, host, account, script, *, log, timeout_seconds, max_output_bytes):
        LocalTransport().run(host, account, script, log=log, timeout_seconds=timeout_seconds,
                             max_output_bytes=max_output_bytes)
        return TransportResult(None, "", "the connection broke")


def test_a_lost_answer_is_unclear_and_the_jobs_are_found(make, shared_path):
    """What was submitted before the connection broke is found by the submission's id."""
    backend = make()
    number = next(numbers)
    plan = a_plan(submission_id=number, attempt=2, command="jobsub_submit -G samdev file:///bin/true")

    outcome = backend.submit(plan, shell.launch_script(plan, backend.environment(plan)), Deaf(), io.BytesIO(), 120)

    assert outcome.kind == "unclear"
    [cluster] = backend.find(number)
    assert (cluster.jobs, cluster.attempt, cluster.batch_id) == (1, 2, outcome.batch_ids[0])
    assert cluster.command == "jobsub_submit -G samdev file:///bin/true"


@pytest.mark.parametrize(("words", "status"), [
    (["-G", "samdev"], 2), (["-G", "samdev", "--onsite", "--offsite", "file:///bin/true"], 2),
    (["-G", "samdev", "--dag", "file:///x"], 2), (["-G", "samdev", "file:///nonexistent"], 1),
    (["-G", "samdev", "-N", "0", "file:///bin/true"], 1), (["-G", "samdev", "-e", "UNSET_NAME", "file:///bin/true"], 1),
    (["file:///bin/true"], 1), (["-G", "samdev", "-n", "file:///bin/true"], 0),
])
def test_a_bad_command_line_has_a_status_that_is_not_zero(make, words, status):
    """jobsub_submit says what is wrong and submits nothing."""
    found = make().environment(a_plan())

    done = subprocess.run([f"{found.path[0]}/jobsub_submit", *words], capture_output=True, text=True, timeout=120,
                          env={"PATH": "/usr/bin:/bin", ACCESS_VARIABLE: dict(found.variables)[ACCESS_VARIABLE]})

    assert done.returncode == status
    assert bool(done.stderr) == (status != 0)


def test_jobs_without_spooling_come_one_after_the_other(pool, make, shared_path):
    """Where files are shared, --maxConcurrent holds back jobs, and their output is beside their input."""
    account = str(condor_pool.ACCOUNT_ID)
    tokens = shared_path / "tokens"
    shutil.copytree(pool.token_directory, tokens)
    for path in (tokens, tokens / "pool"):
        os.chown(path, condor_pool.ACCOUNT_ID, condor_pool.ACCOUNT_ID)
    backend = make(spool=False, token_directory=str(tokens))
    cursor = make().departed("").cursor
    number = next(numbers)
    # As the jobs' own account, as on a real installation, but with the right to read what root's tests wrote.
    user = (f"setpriv --reuid {account} --regid {account} --clear-groups --inh-caps +dac_override,+dac_read_search "
            "--ambient-caps +dac_override,+dac_read_search")
    plan = a_plan(submission_id=number, command=f"{user} $(command -v jobsub_submit) -G samdev -N 3 --maxConcurrent=1 "
                                                "file:///bin/hostname")
    log = io.BytesIO()

    outcome = backend.submit(plan, shell.launch_script(plan, backend.environment(plan)), LocalTransport(), log, 120)
    assert outcome.kind == "started", log.getvalue().decode()
    assert number in make().snapshot().growing
    records, _ = ended(make(), number, 3, cursor)

    assert {record.state for record in records} == {JobState.COMPLETED}
    assert make().snapshot().growing == frozenset()
    assert [cluster.jobs for cluster in backend.find(number)] == [3]
    for record in records:
        assert b"".join(backend.fetch_log(record.batch_id, "stdout"))
