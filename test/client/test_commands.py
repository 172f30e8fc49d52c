"""The command poms as a client: every verb against a running service, and how it ends."""

from __future__ import annotations

import http.server
import json
import re
import shlex
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import update

from poms.webservice.agent.setup_tests import SetupTester
from poms.webservice.cli import main, make_parser
from poms.webservice.cli.completion import places_of, script
from poms.webservice.client import Client, Unreachable, places
from poms.webservice.errors import BackendUnavailable, ConfigurationError, Invalid, NotFound
from poms.webservice.interfaces import JobState
from poms.webservice.model import Submission
from poms.webservice.rules.statuses import Status
from poms.webservice.services import holds, job_archive
from poms.webservice.services.jobs import write_jobs
from poms.webservice.testing import campaign_texts
from poms.webservice.testing.fixtures import lacking

INI = campaign_texts.plain({"gen": ""}).replace("name = typed\n", "name = typed\n# a remark\n")


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "typed.ini"
    path.write_text(INI)
    return path


def test_a_campaign_goes_up_down_and_is_compared(running, text, tmp_path):
    """Byte for byte; the difference is that of the file."""
    assert running.poms("campaigns", "upload", text)[:2] == (0, "OK\nstage gen: 1\n")
    assert running.poms("campaigns", "download", "typed", "-o", tmp_path / "down.ini")[0] == 0
    assert (tmp_path / "down.ini").read_text() == INI
    assert running.poms("campaigns", "diff", "typed", text, "--exit-code") == (0, "", "")
    text.write_text(INI.replace("v1", "v2"))
    status, out, _ = running.poms("campaigns", "diff", "typed", text, "--exit-code")

    assert status == 1
    assert "-software_version = v1\n+software_version = v2" in out


def test_a_wrong_text_is_only_checked_or_refused(running, text):
    """With every reason, and exit status 1."""
    text.write_text(INI.replace("completion_pct = 95", "completion_pct = lots"))

    for options in ((), ("--check",)):
        status, out, err = running.poms("campaigns", "upload", text, *options)
        assert status == 1
        assert "completion_pct" in out and "not saved" in err
    assert json.loads(running.poms("campaigns", "list", "--json")[1]) == []


def test_campaigns_are_listed_shown_cloned_tagged_and_deleted(running, text):
    """One after the other, as somebody tidies up."""
    running.poms("campaigns", "upload", text)

    assert running.poms("campaigns", "clone", "typed", "copy")[:2] == (0, "made copy (2)\n")
    assert running.poms("campaigns", "tag", "MCC9", "typed", "copy")[0] == 0
    assert running.poms("campaigns", "deactivate", "copy")[0] == 0
    assert [line.split()[1] for line in running.poms("campaigns", "list")[1].splitlines()] == ["typed"]
    assert len(running.poms("campaigns", "list", "--all")[1].splitlines()) == 2
    assert "gen" in running.poms("campaigns", "show", "typed")[1]
    assert running.poms("stages", "typed")[1].split()[:2] == ["1", "typed/gen"]
    assert running.poms("campaigns", "delete", "copy")[0] == 0
    assert running.poms("campaigns", "delete", "copy")[0] == 1


def test_a_stage_is_previewed_and_launched(running, campaign):
    """The preview launches nothing; parameters and dataset reach the launch."""
    assert running.poms("preview", "mc/gen")[0] == 0
    assert running.world.launches() == []

    status, out, _ = running.poms("launch", "mc/gen", "--dataset", "mine", "--set=-Oglobal.n=5", "--set=-Ox=a=b")

    assert (status, out.splitlines()[0].startswith("launched mc/gen as submission 1")) == (0, True)
    plan = running.world.launches()[0].plan
    assert plan["dataset"] == "mine"
    assert "-Oglobal.n=5" in plan["command"] and "-Ox=a=b" in plan["command"]


def test_everything_that_launches_is_previewed(running, campaign, text):
    """A campaign, several stages, a recovery, what follows, a schedule and a text; nothing is launched by looking."""
    number = running.world.submission(campaign, "gen")
    running.poms("campaigns", "upload", text)
    text.write_text(INI.replace("fife_launch", "fife_launch").replace("v1", "v2"))
    before = len(running.world.launches())

    asked = {"campaign": ("mc",), "stages": ("mc/gen", "mc/reco"), "following": ("--following", number),
             "schedule": ("mc/gen", "--cron", "0 * * * *", "--runs", "2"), "text": ("--text", text)}
    said = {name: running.poms("preview", *words) for name, words in asked.items()}

    assert {name: status for name, (status, _, _) in said.items()} == dict.fromkeys(asked, 0)
    assert said["campaign"][1].count("gen would be launched") == 1
    assert said["stages"][1].count("would be launched") == 2
    assert said["schedule"][1].count("would be launched (schedule") == 2
    assert "reco" in said["following"][1] or "Nothing follows" in said["following"][1]
    assert len(running.world.launches()) == before


def test_recoveries_are_counted_before_one_is_chosen(running, campaign):
    """Without a project there is nothing that could be recovered, and that is an exit status of its own."""
    number = running.world.submission(campaign, "gen")

    status, out, _ = running.poms("preview", "--recovery", number)

    assert (status, "without a project" in out) == (1, True)
    assert running.poms("preview")[0] == 2
    assert running.poms("preview", "mc", "--recovery", number)[0] == 2


def test_several_stages_are_launched_once_for_a_key(running, campaign):
    """Each for itself, under one key."""
    for _ in range(2):
        status, out, _ = running.poms("launch-stages", "mc/gen", "mc/reco", "--key", "k9")
        assert (status, len(out.splitlines())) == (0, 2)

    assert len(running.world.launches()) == 2


def test_a_campaign_is_launched_at_its_beginning_once_for_a_key(running, campaign):
    """The same key is the same launch."""
    numbers = {json.loads(running.poms("launch", "mc", "--key", "k1", "--json")[1])["submission_id"] for _ in range(2)}

    assert numbers == {1}
    assert [row.campaign_stage_id for row in running.world.launches()] == [campaign.stage("gen")]


def test_a_launch_whose_answer_is_lost_is_asked_for_again_and_made_once(running, campaign):
    """The second request carries the key of the first."""
    running.broken.append("launch_jobs")

    status, out, _ = running.poms("launch", "mc/gen", "--json")

    keys = [key for path, key in running.asked if "launch_jobs" in path]
    assert (status, json.loads(out)["submission_id"]) == (0, 1)
    assert len(keys) == 2 and len(set(keys)) == 1 and keys[0]
    assert len(running.world.launches()) == 1


def test_held_launches_are_listed_and_let_go(running, campaign):
    """A launch that is kept is no failure, and says that it waits."""
    holds.hold_stages(running.world.core, campaign.owner, [campaign.stage("gen")], hold=True, reason="disk full")
    status, out, _ = running.poms("launch", "mc/gen")
    assert (status, "kept for later" in out) == (0, True)

    listed = json.loads(running.poms("held", "list", "--json")[1])

    assert "disk full" in running.poms("held", "list")[1]
    holds.hold_stages(running.world.core, campaign.owner, [campaign.stage("gen")], hold=False)
    assert running.poms("held", "release", listed[0]["id"])[:2] == (0, "1 of 1 launches released\n")
    assert running.world.launches()[0].state == "owed"


def test_held_launches_go_so_many_each_minute(running, campaign):
    """And the answer says so; a rate that is none is refused."""
    holds.hold_stages(running.world.core, campaign.owner, [campaign.stage("gen")], hold=True)
    for _ in range(2):
        running.poms("launch", "mc/gen")
    numbers = [row["id"] for row in json.loads(running.poms("held", "list", "--json")[1])]
    holds.hold_stages(running.world.core, campaign.owner, [campaign.stage("gen")], hold=False)

    assert running.poms("held", "release", *numbers, "--per-minute", 0)[0] == 1
    assert running.poms("held", "release", *numbers, "--per-minute", 4)[0] == 0

    first, second = (row.not_before for row in running.world.launches())
    assert (second - first).total_seconds() == 15


def test_submissions_and_jobs_are_listed_and_shown(running, campaign):
    """With the states of their jobs."""
    number = running.world.submission(campaign, "gen")
    running.world.poll()

    assert running.poms("submissions", "list", "mc")[1].split()[0] == str(number)
    assert running.poms("submissions", "list", "mc/reco")[1] == ""
    assert f"submission {number}:" in running.poms("submissions", "show", number)[1]
    jobs = json.loads(running.poms("jobs", number, "--json")[1])
    assert {job["batch_id"] for job in jobs} == {job.batch_id for job in running.world.batch.of(number)}


@pytest.mark.parametrize("state", [JobState.RUNNING, JobState.HELD, JobState.COMPLETED, JobState.REMOVED])
def test_jobs_of_every_state_are_listed_unless_one_is_asked_for(running, campaign, state):
    """Without --state none is left out; with it the others are."""
    number = running.world.submission(campaign, "gen")
    jobs = running.world.batch.of(number)
    with running.world.core.db.write() as session:
        write_jobs(session, [replace(jobs[0], state=state), *jobs[1:]])

    listed = running.poms("jobs", number)[1].splitlines()

    assert len(listed) == len(jobs)
    assert len(running.poms("jobs", number, "--state", state.name.lower())[1].splitlines()) >= 1


def test_archived_jobs_are_told_as_sums(running, campaign, clock):
    """Instead of an empty answer: how they ended and where, for people and for programs."""
    number = running.world.submission(campaign, "gen")
    jobs = running.world.batch.of(number)
    with running.world.core.db.write() as session:
        write_jobs(session, [replace(job, state=JobState.FAILED, exit_code=65, site="North") for job in jobs])
    running.client.report(number, status="Located")
    with running.world.core.db.write() as session:
        session.execute(update(Submission).values(jobs_idle=0, jobs_running=0, jobs_held=0))
    clock.advance(days=1)
    job_archive.fold(running.world.core, number, clock())

    assert "poms submissions show has their sums" in running.poms("jobs", number)[2]
    shown = running.poms("submissions", "show", number)[1]
    assert f"{len(jobs)} Failed, exit code 65" in shown and f"{len(jobs)} at North" in shown
    archive = json.loads(running.poms("submissions", "show", number, "--json")[1])["job_archive"]
    assert (archive["jobs"], archive["by_outcome"][0]["exit_code"]) == (len(jobs), 65)


def test_a_held_job_says_why_in_plain_words(running, campaign):
    """What its code means, then the batch system's own words; programs get what usually helps as well."""
    number = running.world.submission(campaign, "gen")
    with running.world.core.db.write() as session:
        write_jobs(session, [replace(running.world.batch.of(number)[0], state=JobState.HELD, hold_code=34,
                                     hold_reason="memory usage exceeded request_memory")])

    assert "It used more than it asked for: memory usage exceeded" in running.poms("jobs", number, "--state", "held")[1]
    found = json.loads(running.poms("jobs", number, "--state", "Held", "--json")[1])[0]
    assert (found["hold_code"], found["hold_remedy"]) == (34, "Ask for more memory or disk and run it again.")


@pytest.mark.parametrize(("verb", "state"), [("hold", JobState.HELD), ("kill", JobState.REMOVED)])
@pytest.mark.parametrize("chosen", ["submission", "stage", "campaign"])
def test_jobs_of_a_submission_a_stage_or_a_campaign_are_acted_on(running, campaign, verb, state, chosen):
    """All of them, and none of another stage."""
    number, other = running.world.submission(campaign, "gen"), running.world.submission(campaign, "reco")
    running.world.poll()
    words = {"submission": [number], "stage": ["--stage", "mc/gen"], "campaign": ["--campaign", "mc"]}[chosen]

    status, _, _ = running.poms(verb, *words)

    assert status == 0
    assert {job.state for job in running.world.batch.of(number)} == {state}
    assert ({job.state for job in running.world.batch.of(other)} == {state}) == (chosen == "campaign")


def test_one_job_is_acted_on(running, campaign):
    """And the others go on."""
    number = running.world.submission(campaign, "gen")
    running.world.poll()
    first = running.world.batch.of(number)[0].batch_id

    assert running.poms("hold", number, "--job", first)[0] == 0

    assert [job.batch_id for job in running.world.batch.of(number) if job.state is JobState.HELD] == [first]


@pytest.mark.parametrize("words", [("kill",), ("kill", "1", "--stage", "mc/gen"), ("hold", "--campaign", "mc", "--job",
                                                                                   "1.0@s"), ("launch",), ("lanuch",)])
def test_a_command_line_that_does_not_go_together_ends_with_two(running, campaign, words):
    """Before anything is asked."""
    assert running.poms(*words)[0] == 2
    assert running.asked == []


def test_logs_are_shown(running, campaign):
    """Of the launch and of a job."""
    number = running.world.submission(campaign, "gen")
    running.world.poll()
    job = running.world.batch.of(number)[0].batch_id
    running.world.batch.write_text(job, "stdout", "é done\n".encode())

    assert "submitted" in running.poms("logs", "launch", number)[1]
    assert running.poms("logs", "job", number, job)[1] == "é done\n"


@pytest.mark.parametrize(("status", "until", "ends"), [
    (Status.LOCATED, "located", 0), (Status.COMPLETED, "completed", 0), (Status.FAILED, "located", 1),
    (Status.REMOVED, "completed", 1)])
def test_waiting_ends_as_the_submission_did(running, campaign, status, until, ends):
    """0 when it is as was hoped, 1 when it ended otherwise; what happened is on standard error."""
    number = running.world.submission(campaign, "gen")
    running.client.report(number, status=status.label)

    ended, out, err = running.poms("submissions", "wait", number, "--until", until)

    assert ended == ends
    assert f"submission {number}: {status.label}" in err and out == ""


def test_waiting_ends_when_its_time_is_over(running, campaign):
    """And the submission goes on."""
    number = running.world.submission(campaign, "gen")

    status, _, err = running.poms("submissions", "wait", number, "--timeout", "0.1s", "--interval", "0.2s")

    assert status == 1
    assert "did not end in time; it goes on" in err


def test_all_are_waited_for_within_one_time(running, campaign):
    """Those that are late do not hide how the others ended; programs get each of them."""
    late, lost, done = (running.world.submission(campaign, "gen") for _ in range(3))
    running.client.report(lost, status="Failed")
    running.client.report(done, status="Located")

    status, out, err = running.poms("submissions", "wait", late, lost, done, "--timeout", "0.1s", "--interval", "0.2s",
                                    "--json")

    assert status == 1
    assert json.loads(out) == {str(late): None, str(lost): "Failed", str(done): "Located"}
    assert f"submission {late} did not end in time" in err and f"submission {lost} is Failed" in err


def test_a_launch_that_is_waited_for_tells_how_it_ended(running, campaign):
    """In one document; a launch that is kept for later is not taken for one that ended well."""
    holds.hold_stages(running.world.core, campaign.owner, [campaign.stage("gen")], hold=True)

    status, out, err = running.poms("launch", "mc/gen", "--wait", "--json")

    assert (status, json.loads(out)["state"], json.loads(out)["ended"]) == (1, "held", None)
    assert "poms held list" in err


def test_one_refusal_keeps_no_other_from_being_done(running, campaign):
    """Each is told; the exit status says that not all went."""
    numbers = [running.world.submission(campaign, "gen") for _ in range(2)]
    for number in numbers:
        running.client.report(number, status="Awaiting Approval")

    status, out, err = running.poms("approve", numbers[0], 9999, numbers[1], "--json")

    assert status == 1
    assert {number for number, answer in json.loads(out).items() if "error" not in answer} == set(map(str, numbers))
    assert "9999: " in err and running.poms("submissions", "waiting")[1] == ""


def test_times_say_that_they_are_in_utc(running, campaign):
    """Whoever reads them has another clock on the wall."""
    number = running.world.submission(campaign, "gen")

    assert re.search(r"since \d{4}-\d\d-\d\dT[\d:.]+Z$", running.poms("submissions", "show", number)[1], re.MULTILINE)
    assert running.poms("submissions", "list")[1].rstrip().endswith("Z")


def test_an_answer_that_finds_no_room_is_one_line(running, campaign):
    """A full disk is no fault of POMS, and no traceback."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-m", "poms.webservice", "campaigns", "list", "-e", "samdev", "--server",
                               running.url], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)

    assert (done.returncode, done.stderr) == (1, "poms: standard output: No space left on device\n")


def test_files_that_are_no_text_come_back_byte_for_byte(running, tmp_path):
    """To a file, and to standard output."""
    data = bytes(range(256))
    running.client.upload_file("x.tgz", data)

    done = subprocess.run([sys.executable, "-m", "poms.webservice", "files", "download", "x.tgz", "-e", "samdev",
                           "--server", running.url], capture_output=True, timeout=60, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, data, b"")
    running.poms("files", "download", "x.tgz", "-o", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == data


def test_a_submission_is_located_by_hand(running, campaign):
    """At the next pass."""
    number = running.world.submission(campaign, "gen")
    running.client.report(number, status="Completed")

    assert running.poms("locate", number)[0] == 0

    running.world.wrap_up()
    assert running.world.status(number) is Status.LOCATED


def test_files_are_kept_and_fetched(running, text):
    """With their names."""
    assert running.poms("files", "upload", text)[0] == 0
    assert running.poms("files", "list")[1].split()[0] == "typed.ini"
    assert running.poms("files", "download", "typed.ini")[1] == INI
    assert running.poms("files", "delete", "typed.ini")[0] == 0
    assert running.poms("files", "download", "typed.ini")[0] == 1


# ------------------------------------------------------------------------- stages, blocks, tags


def in_force(running) -> str:
    return running.poms("campaigns", "download", "typed")[1]


def test_a_stage_is_changed_added_and_removed(running, text):
    """In the campaign's text, of which the rest stays as it was."""
    running.poms("campaigns", "upload", text)

    assert running.poms("stage", "set", "typed/gen", "software_version=v7", "dataset=my set")[:2] == (
        0, "changed typed/gen\n")
    assert running.poms("stage", "parameters", "typed/gen", "--set=-Oglobal.n=5", "--set=-Ox=a=b")[0] == 0
    assert running.poms("stage", "add", "typed/reco", "--after", "gen:%.root", "vo_role=Production",
                        "software_version=v1", "dataset=None", "completion_type=complete", "completion_pct=95",
                        "login_setup=here", "job_type=work")[0] == 0
    now = in_force(running)
    assert "software_version = v7" in now and "# a remark" in now and "file_pattern_1=%.root" in now.replace(" ", "")
    assert '["-Ox=","a=b"]' in now.replace(", ", ",")
    assert running.poms("stage", "set", "typed/gen", "--name", "make")[0] == 0
    assert running.poms("stage", "remove", "typed/reco")[0] == 0
    assert [line.split()[1] for line in running.poms("stages", "typed")[1].splitlines()] == ["typed/make"]


@pytest.mark.parametrize(("words", "status"), [
    (("set", "typed/gen"), 2), (("set", "typed/gen", "nonsense"), 2), (("set", "typed/gen", "colour=red"), 1),
    (("set", "typed/gen", "completion_pct=lots"), 1), (("set", "typed/none", "dataset=x"), 1), (("add", "typed"), 2),
    (("add", "typed", "dataset=x"), 1),
    (("add", "typed/x", "colour=red"), 1), (("parameters", "typed/gen"), 2)])
def test_a_stage_cannot_be_made_wrong(running, text, words, status):
    """2 for a wrong command line, 1 for what the campaign cannot be."""
    running.poms("campaigns", "upload", text)

    ended = running.poms("stage", *words)

    assert ended[0] == status, ended
    assert in_force(running) == INI


def test_launches_of_a_stage_are_kept_and_let_go(running, campaign):
    """And its split begins again."""
    assert running.poms("stage", "hold", "mc/gen", "--reason", "disk full")[0] == 0
    assert "kept for later" in running.poms("launch", "mc/gen")[1]
    assert running.poms("stage", "release", "mc/gen")[:2] == (0, "launches of mc/gen are allowed\n")
    assert running.poms("stage", "reset-split", "mc/gen")[0] == 0


def test_job_types_are_made_changed_and_deleted(running, text):
    """One that is in use stays, and that ends with 1."""
    assert running.poms("job-types", "add", "mine", "--script", "fife_launch -c x", "--set=-Ox=1")[0] == 0
    assert running.poms("job-types", "add", "mine", "--script", "x")[0] == 1
    assert running.poms("job-types", "edit", "mine", "--patterns", "%.root")[0] == 0
    assert json.loads(running.poms("job-types", "show", "mine", "--json")[1]) == {
        "launch_script": "fife_launch -c x", "definition_parameters": [["-Ox=", "1"]], "output_file_patterns": "%.root"}
    assert running.poms("job-types", "recoveries", "mine", "process_status",
                        'consumed_status:[["-Om=","4GB"]]')[1] == "process_status\nconsumed_status  -Om=4GB\n"
    assert running.poms("job-types", "recoveries", "mine", "process_status:5")[0] == 2
    running.poms("campaigns", "upload", text)
    assert running.poms("job-types", "list")[1].split() == ["mine", "work"]
    assert running.poms("job-types", "delete", "mine")[0] == 0
    assert running.poms("job-types", "delete", "work")[0] == 1
    assert running.poms("job-types", "show", "mine")[0] == 1


def test_login_setups_are_made_changed_and_deleted(running, text):
    """With what they hold."""
    running.poms("campaigns", "upload", text)

    assert running.poms("login-setups", "add", "there", "--host", "gpvm01", "--account", "me")[0] == 0
    assert running.poms("login-setups", "edit", "there", "--setup", "source a; b")[0] == 0
    assert json.loads(running.poms("login-setups", "list", "--json")[1])[1] == {
        "name": "there", "launch_host": "gpvm01", "launch_account": "me", "launch_setup": "source a; b"}
    assert running.poms("login-setups", "delete", "there")[0] == 0
    assert running.poms("login-setups", "delete", "here")[0] == 1


def test_a_login_setup_is_tested(running, text):
    """What the test writes, then what came of it; the exit status says the same."""
    running.poms("campaigns", "upload", text)
    running.poms("login-setups", "add", "there", "--host", "localhost")
    assert running.poms("login-setup", "test", "there", "--no-wait")[:2] == (0, "test 1 of there begun\n")
    stopping = threading.Event()
    agent = threading.Thread(target=SetupTester(running.world.core, "agent", stopping).run)
    agent.start()

    status, output, _ = running.poms("login-setup", "test", "there")
    stopping.set()
    agent.join(60)

    assert status == 1
    assert output.splitlines()[0] == "== test of a login setup: the service on localhost =="
    assert output.splitlines()[-1].startswith("failed: The setup ended the shell")
    assert running.poms("login-setup", "test", "nowhere")[0] == 1


def test_tags_are_listed_and_taken_off(running, text):
    """A tag that nothing carries is gone."""
    running.poms("campaigns", "upload", text)
    running.poms("campaigns", "tag", "MCC9", "typed")

    assert running.poms("tags", "list")[1].split() == ["MCC9", "typed"]
    assert running.poms("tags", "list", "X%")[1] == ""
    assert running.poms("tags", "remove", "MCC9", "typed")[:2] == (0, "1 of 1 campaigns lost MCC9\n")
    assert running.poms("tags", "remove", "MCC9", "typed")[0] == 1


def test_what_waits_for_approval_is_listed_and_decided(running, campaign):
    """By the same client."""
    number = running.world.submission(campaign, "gen")
    running.client.report(number, status="Awaiting Approval")

    assert running.poms("submissions", "waiting")[1].split()[0] == str(number)
    assert running.poms("approve", number)[0] == 0
    assert running.poms("submissions", "waiting")[1] == ""


def test_a_launch_is_called_off(running, campaign):
    """Once: then there is none to be called off."""
    number = running.world.launch(campaign, "gen").submission_id

    assert running.poms("abort", number)[0] == 0
    assert running.poms("abort", number)[0] == 1
    assert f"submission {number}: Removed" in running.poms("details", number)[1]


def test_a_server_that_is_not_there_ends_with_three(capsys):
    """Scripts can tell it from a refusal."""
    status = main(["campaigns", "list", "-e", "samdev", "--server", "http://127.0.0.1:1", "--retries", "0"])

    assert status == 3
    assert "does not answer" in capsys.readouterr().err


# ------------------------------------------------------------------------------- the Python module


@pytest.fixture
def front():
    """A front end that answers as the test says, (status, headers) one after the other, the last again and again."""
    answers, seen = [], []

    class Front(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            seen.append(self.headers["Idempotency-Key"])
            status, headers = answers.pop(0) if len(answers) > 1 else answers[0]
            body = b'{"tl": []}'
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", "Content-Length": "10", **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words):
            """Nothing on standard error."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Front) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", answers, seen
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_a_front_end_answers_is_asked_again(front, status):
    """POMS behind it may be starting; the same key comes again, so nothing is done twice."""
    url, answers, seen = front
    answers += [(status, {"Retry-After": "0"}), (200, {})]

    assert Client(url, retries=1).campaigns() == []
    assert len(seen) == 2 and len(set(seen)) == 1


def test_a_front_end_without_poms_behind_it_ends_with_three(front, capsys):
    """As any server that does not answer: whether something was done is not known."""
    url, answers, _ = front
    answers.append((503, {}))

    assert main(["campaigns", "list", "-e", "samdev", "--server", url, "--retries", "0"]) == 3


def test_what_poms_itself_cannot_do_now_is_not_asked_again(front):
    """It has answered: a system behind it is silent, which asking at once does not change."""
    url, answers, seen = front
    answers.append((503, {"X-Request-Id": "abc"}))

    with pytest.raises(BackendUnavailable) as refused:
        Client(url, retries=3).campaigns()

    assert not isinstance(refused.value, Unreachable)
    assert len(seen) == 1


@pytest.mark.parametrize("address", ["poms.example.org", "ftp://poms.example.org", "http://[::1", "http://"])
def test_an_address_that_is_none_is_named(address, capsys):
    """With how to write it, and without a traceback."""
    assert main(["status", "--server", address]) == 1
    said = capsys.readouterr().err
    assert "is no address of a server" in said and "https://poms.example.org" in said


def test_certificates_that_are_not_there_are_named(monkeypatch, capsys):
    """Where the surroundings name a file for all of requests."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nonexistent/bundle.pem")

    assert main(["status", "--server", "https://127.0.0.1:1"]) == 1
    assert "/nonexistent/bundle.pem" in capsys.readouterr().err


def test_refusals_are_the_conditions_that_they_are(running, campaign):
    """A program catches what it expects."""
    with pytest.raises(NotFound, match="no campaign nothing"):
        running.client.launch("nothing")
    with pytest.raises(Invalid, match="CAMPAIGN/STAGE"):
        running.client.stage_id("gen")
    with pytest.raises(NotFound, match="404"):
        running.client.submission(999)
    with pytest.raises(Unreachable):
        Client("http://127.0.0.1:1", retries=0).campaigns()


def test_without_an_experiment_the_items_own_counts(running, campaign):
    """A report needs the number of the submission and nothing else."""
    number = running.world.submission(campaign, "gen")

    Client(running.url).report(number, job_id="7.0@schedd")

    assert running.world.get(number).jobsub_job_id == "7@schedd"


def test_a_token_does_not_travel_in_plain_text():
    """Only to this machine itself."""
    with pytest.raises(ConfigurationError, match="plain text"):
        Client("http://poms.example.org", token="secret-1")
    Client("http://127.0.0.1:8080", token="secret-1")
    Client("https://poms.example.org", token="secret-1")


@pytest.mark.parametrize(("test", "found"), [("", "https://p/"), ("False", "https://p/"), ("int", "https://i/"),
                                             ("dev", "https://d/"), ("1", "https://d/")])
def test_the_server_of_an_older_client_is_found(tmp_path, test, found):
    """In its client.cfg; a word for no is no."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "client.cfg").write_text(
        "[url]\nbase_prod=https://p/\nbase_int_ssl=https://i/\nbase_dev_ssl=https://d/\n")

    assert places.find_server(test=test, environment={"POMS_CLIENT_DIR": str(tmp_path)}) == found


# ------------------------------------------------------------------------------------ completion


def offered_by_zsh(*words: str) -> set[str]:
    """What zsh's completion is given to choose from after these words."""
    zsh = shutil.which("zsh") or lacking("zsh", "no zsh was found; install it")
    text = "compadd() { shift; print -l -- \"$@\" }\n" + script(make_parser(), "zsh") + (
        f"words=({' '.join(map(shlex.quote, words))}); CURRENT={len(words)}; _poms")
    done = subprocess.run([zsh, "-f", "-c", text], capture_output=True, text=True, timeout=60, check=True)
    return set(done.stdout.split())


def completed(*words: str) -> set[str]:
    """What bash offers after these words."""
    text = script(make_parser()) + (f"COMP_WORDS=({' '.join(map(repr, words))}); COMP_CWORD={len(words) - 1}; _poms; "
                                    'printf "%s\\n" "${COMPREPLY[@]}"')
    done = subprocess.run(["bash", "--norc", "-c", text], capture_output=True, text=True, timeout=60, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(("words", "offered"), [
    (("poms", "subm"), {"submissions", "submission"}), (("poms", "campaigns", "up"), {"upload"}),
    (("poms", "campaigns", "upload", "--ch"), {"--check"}), (("poms", "completion", ""), {"bash"}),
    (("poms", "submissions", "wait", "17", "--until", ""), {"located", "completed"}),
])
def test_the_shell_completes_commands_and_options(words, offered):
    """In a real bash."""
    assert offered <= completed(*words)


@pytest.mark.parametrize(("words", "offered"), [
    (("poms", "subm"), {"submissions", "submission"}), (("poms", "campaigns", "up"), {"upload", "download"}),
    (("poms", "campaigns", "upload", "--ch"), {"--check", "--json"}), (("poms", "completion", ""), {"bash", "zsh"}),
    (("poms", "stage", "add", "mc/gen", "--"), {"--after"}),
    (("poms", "submissions", "wait", "17", "--until", ""), {"located", "completed"}),
])
def test_zsh_completes_commands_and_options(words, offered):
    """In a real zsh."""
    assert offered <= offered_by_zsh(*words)


def test_an_option_with_a_choice_is_followed_by_nothing_else():
    """Neither by other options nor by files."""
    assert completed("poms", "logs", "job", "17", "1.0@s", "--which", "") == {"stdout", "stderr", "log"}
    assert completed("poms", "logs", "job", "17", "1.0@s", "--which", "std") == {"stdout", "stderr"}
    assert "Held" in completed("poms", "jobs", "17", "--state", "H")


def test_every_command_is_completed():
    """Also those that come later."""
    offered = dict(places_of(make_parser()))

    assert {"campaigns", "launch", "jobs", "held", "report", "serve", "agent"} <= set(offered[""])
    assert "--json" in offered["/submissions/wait"]
