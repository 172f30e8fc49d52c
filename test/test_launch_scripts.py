"""What came of a launch script: by what the batch system has, whatever the script printed and however it ended."""

from __future__ import annotations

import io

import pytest

from poms.plugins.local.transport import LocalTransport
from poms.webservice import launch_scripts
from poms.webservice.errors import BackendUnavailable
from poms.webservice.interfaces import FoundCluster, LaunchPlan, SubmitOutcome, TransportResult

PLAN = LaunchPlan(submission_id=7, attempt=2, experiment="samdev", group="samdev", role="Analysis", launcher="ann",
                  host="localhost", account="", setup="", command="", environment=())
PRINTED = "Use job id {} to retrieve output"


def submit(script, *clusters, seconds=60, **given):
    """Run a script on this machine, with a queue that has these clusters of the plan's attempt."""
    found = [FoundCluster(name, 1, PLAN.attempt) for name in clusters]
    return launch_scripts.submit(PLAN, script, **{"transport": LocalTransport(), "log": io.BytesIO(),
                                                  "timeout_seconds": seconds, "find": lambda result: found} | given)


def test_clusters_are_in_the_order_in_which_they_were_printed():
    """The queue says which clusters there are, the script in which order; one that it kept silent about is last."""
    script = f"echo {PRINTED.format('12.0@b')}; echo {PRINTED.format('3.0@a')}; echo {PRINTED.format('12.0@b')}"

    assert submit(script, "1@c", "3@a", "12@b").batch_ids == ("12@b", "3@a", "1@c")


def test_jobs_in_the_queue_are_a_start_whatever_the_script_says():
    """A launcher that ends badly after it submitted has submitted."""
    outcome = submit("exit 3", "1@a")

    assert outcome == SubmitOutcome("started", ("1@a",), "", 3)


def test_jobs_of_an_earlier_attempt_are_none_of_this_one():
    """A second attempt that submits nothing is refused although the first one's jobs are still there."""
    outcome = submit("exit 0", find=lambda result: [FoundCluster("1@a", 1, attempt=1)])

    assert (outcome.kind, outcome.exit_status) == ("refused", 0)


def test_a_printed_job_that_is_not_there_is_refused_by_its_name():
    """The message names the job that the script spoke of."""
    outcome = submit(f"echo {PRINTED.format('5.0@nowhere')}")

    assert outcome.kind == "refused"
    assert "5@nowhere" in outcome.message


def test_a_script_that_was_stopped_is_unclear_with_what_it_had_submitted():
    """Past its time a script may have been about to submit more: the jobs so far are named, the rest is doubt."""
    outcome = submit("sleep 600", "1@a", seconds=0.2)

    assert (outcome.kind, outcome.batch_ids, outcome.exit_status) == ("unclear", ("1@a",), None)
    assert outcome.message


def test_a_queue_that_does_not_answer_afterwards_leaves_doubt():
    """The script has run; what it printed is kept as a hint, and nothing is believed."""
    def find(result):
        raise BackendUnavailable("The queue does not answer.")

    outcome = submit(f"echo {PRINTED.format('5.0@a')}", find=find)

    assert outcome == SubmitOutcome("unclear", ("5@a",), "The queue does not answer.", 0)


def test_the_search_for_jobs_is_told_how_the_script_ended():
    """A batch system that needs time to let jobs go can see whether there is anything to wait for."""
    seen = []

    submit("echo hello; exit 4", find=lambda result: seen.append(result) or [])

    [result] = seen
    assert (result.exit_status, result.output.strip()) == (4, "hello")


def test_a_batch_system_can_judge_by_more_than_its_clusters():
    """A judge of its own is given all there is, and has the last word."""
    def judge(plan, result, found):
        assert (plan, result.exit_status, [cluster.batch_id for cluster in found]) == (PLAN, 75, ["1@a"])
        return SubmitOutcome("unclear", message="the batch system was away")

    assert submit("exit 75", "1@a", judge=judge).message == "the batch system was away"


@pytest.mark.parametrize(("text", "cluster"), [
    ("12@schedd.example", "12@schedd.example"), ("12.0@schedd.example", "12@schedd.example"),
    ("12.0.0@schedd.example", "12@schedd.example"), ("twelve@schedd", "twelve@schedd")])
def test_printed_job_ids_are_read_as_clusters(text, cluster):
    """jobsub prints the first job of a cluster, and more numbers for a DAG; other words are left as they are."""
    assert launch_scripts.printed_clusters(f"a\n{PRINTED.format(text)}\nb") == [cluster]


def test_nothing_of_the_sort_printed_is_no_cluster():
    """Lines that only look alike are not taken for job ids."""
    result = TransportResult(0, "Use job id to retrieve output\nuse job id 1@a to retrieve output\nJob 1@a")

    assert launch_scripts.printed_clusters(result.output) == []
