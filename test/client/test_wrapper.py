"""The wrapper around jobsub_submit: what it adds, what it leaves alone, what POMS learns, with and without POMS there.

The stand-in prints what the real program prints, writes down the words it was given, and ends as it is told.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poms.webservice.rules import jobsub_options
from poms.webservice.rules.statuses import Status
from poms.webservice.testing.world import stage
from poms.webservice.wrapper import lines
from poms.webservice.wrapper.spool import Pending, Spool

ROOT = Path(__file__).parents[2]
STAND_IN = '''#!{python}
import json, os, sys
with open({log!r}, "a") as file:
    file.write(json.dumps({{"words": sys.argv[1:], "environment": {{name: os.environ[name] for name in os.environ
               if name.startswith("POMS")}}}}) + "\\n")
behaviour = os.environ.get("STAND_IN", "")
print("Submitting job(s)...")
if behaviour == "refuse":
    # As the real one: its exit status says that all is well.
    print("Error: condor_submit exited with failed status code 1", file=sys.stderr)
    sys.exit(0)
if behaviour == "usage":
    print("usage: jobsub_submit", file=sys.stderr)
    sys.exit(2)
if behaviour == "wait":
    sys.stdout.flush()
    sys.stdin.readline()
if behaviour == "ask":
    print("Password: ", end="", flush=True)
    sys.stdin.readline()
print("3 job(s) submitted to cluster 7.")
print("=-" * 30)
print("Use job id 7.0@jobsub-01.example.org to retrieve output")
sys.stdout.flush()
if behaviour == "linger":
    sys.stdin.readline()
    behaviour = ""
if behaviour == "ask":
    behaviour = ""
sys.exit(int(behaviour or 0))
'''
AWKWARD = ["plain", "two words", "it's", 'say "x"', "back\\slash", "$(touch /tmp/x)", "`id`", "7stage", "stage-a",
           "50%", "é🐙", "a,b", "TRUE", "undefined", "x == y", "tab\tand\nline"]


@pytest.fixture
def launch_host(running, tmp_path):
    """A launch host with jobsub on it: (run, what the stand-in was given, the spool)."""
    real, log = tmp_path / "real", tmp_path / "given"
    real.mkdir()
    for name in ("jobsub_submit", "jobsub_submit_dag"):
        (real / name).write_text(STAND_IN.format(python=sys.executable, log=str(log)))
        (real / name).chmod(0o755)
    return LaunchHost(running, tmp_path, log)


class LaunchHost:
    """Runs the wrapper as launch scripts do: by its name, in an environment."""

    def __init__(self, running, directory: Path, log: Path) -> None:
        self.running, self.log = running, log
        self.spool = Spool(directory / "spool")
        path = os.pathsep.join([str(ROOT / "bin" / "jobsub"), str(directory / "real"), os.environ["PATH"]])
        self.environment = {"PATH": path, "HOME": str(directory), "POMS_SPOOL": str(self.spool.directory),
                            "POMS_SERVER": running.url, "POMS_PYTHON": sys.executable}

    def command(self, *words: str, name: str = "jobsub_submit") -> list[str]:
        return [str(ROOT / "bin" / "jobsub" / name), *words]

    def run(self, *words: str, name: str = "jobsub_submit", **variables: object) -> subprocess.CompletedProcess[str]:
        environment = {**self.environment, **{key: str(value) for key, value in variables.items()}}
        return subprocess.run(self.command(*words, name=name), env=environment, capture_output=True, text=True,
                              timeout=60, check=False, stdin=subprocess.DEVNULL)

    @property
    def given(self) -> list[dict]:
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []


def attributes_of(words: list[str]) -> dict[str, object]:
    """What the jobs would carry, read as the batch systems' jobsub_submit reads a command line."""
    return jobsub_options.attributes(jobsub_options.parse(words), {}, {})


# ------------------------------------------------------------------------------------- with POMS


@pytest.mark.parametrize("name", ["jobsub_submit", "jobsub_submit_dag"])
def test_what_somebody_submits_by_hand_is_registered_and_reported(launch_host, running, campaign, name):
    """A number is got first and travels with the jobs; then POMS learns which jobs they are."""
    done = launch_host.run("-N", "3", "file:///bin/true", "a b", name=name, POMS_CAMPAIGN_ID=campaign.stage("gen"))

    row = running.world.get(1)
    assert (done.returncode, row.jobsub_job_id) == (0, "7@jobsub-01.example.org")
    assert row.command_executed == f"{name} -N 3 file:///bin/true a b"
    assert attributes_of(launch_host.given[0]["words"])["POMS4_SUBMISSION_ID"] == 1
    assert "Use job id 7.0@jobsub-01.example.org to retrieve output" in done.stdout
    assert f"{running.url}/poms/submission_details?submission_id=1" in done.stdout
    assert launch_host.spool.waiting() == []


def test_a_launch_of_poms_keeps_its_number(launch_host, running, campaign):
    """Nothing is registered again; the command and the jobs are stored with it."""
    number = running.world.launch(campaign, "gen").submission_id

    launch_host.run("file:///bin/true", POMS4_SUBMISSION_ID=number, POMS4_CAMPAIGN_STAGE_ID=campaign.stage("gen"))

    row = running.world.get(number)
    assert (row.command_executed, row.jobsub_job_id) == ("jobsub_submit file:///bin/true", "7@jobsub-01.example.org")
    assert len(running.world.submissions()) == 1


def test_a_late_report_takes_no_submission_back(launch_host, running, campaign):
    """What runs or ended meanwhile stays so, also when an older wrapper says New."""
    number = running.world.submission(campaign, "gen")
    running.client.report(number, status="Located")

    launch_host.run("file:///bin/true", POMS4_SUBMISSION_ID=number)
    running.client.report(number, status="New", job_id="7.0@s")

    assert running.world.status(number) is Status.LOCATED


def test_the_users_words_are_passed_on_untouched(launch_host, campaign):
    """Behind what is added, whatever is in them."""
    words = ["-G", "samdev", "--memory=2GB", "-l", "+MINE=5", "file:///bin/sh", "-c", "echo \"$HOME\" 'x' \\ é", "",
             "--lines", "+POMS4_SUBMISSION_ID=9", "\n"]

    launch_host.run(*words, POMS_CAMPAIGN_ID=campaign.stage("gen"))

    assert launch_host.given[0]["words"][-len(words):] == words


@pytest.mark.parametrize("name", AWKWARD)
def test_names_reach_the_jobs_as_texts(launch_host, running, name):
    """Never as expressions or as ends of texts; letters that could be either become underscores."""
    made = running.world.campaign_with(stage("gen"), name="mc")

    launch_host.run("file:///bin/true", POMS4_SUBMISSION_ID=running.world.launch(made, "gen").submission_id,
                    POMS4_CAMPAIGN_NAME=name)

    words = launch_host.given[0]["words"]
    line = next(word for word in words if word.startswith("+POMS4_CAMPAIGN_NAME="))
    value = line.partition("=")[2]
    assert value.startswith('\\"') and value.endswith('\\"')
    assert not set(value[2:-2]) & set("\"'\\$`\n\t")
    assert len(attributes_of(words)["POMS4_CAMPAIGN_NAME"]) == len(name)


@given(st.text())
def test_any_name_becomes_one_quoted_text(name):
    """Without anything that ends it, or that the submit file would expand."""
    text = lines.quoted(name)

    assert text[:2] == text[-2:] == '\\"'
    assert not set(text[2:-2]) & set("\"'\\$`") and text[2:-2].isprintable()


def test_attributes_that_are_there_already_are_not_added_again(launch_host, campaign):
    """Neither those of the command line nor those of jobsub's own variables."""
    launch_host.run("-l", "+POMS4_CAMPAIGN_ID=4", "file:///bin/true", POMS4_SUBMISSION_ID=5, POMS4_CAMPAIGN_ID=3,
                    JOBSUB_EXTRA_LINES="+POMS4_SUBMISSION_ID=5,+X=1", JOBSUB_EXTRA_ENVIRONMENT="POMS4_SUBMISSION_ID")

    words = launch_host.given[0]["words"]
    assert [word for word in words if "POMS4" in word] == ["+POMS4_CAMPAIGN_ID=4"]


def test_monitoring_can_group_jobs(launch_host, campaign):
    """By submission, stage and the tags of the campaign; a text, not an expression."""
    launch_host.run("file:///bin/true", POMS_CAMPAIGN_ID=campaign.stage("gen"), POMS_CAMPAIGN_TAGS=',mc, "x" == 1')
    launch_host.run("-l", '+FIFE_CATEGORIES=\\"own\\"', "file:///bin/true", POMS_CAMPAIGN_ID=campaign.stage("gen"))

    first, second = (attributes_of(one["words"]) for one in launch_host.given)
    assert first["FIFE_CATEGORIES"] == f"POMS_TASK_ID_1,POMS_CAMPAIGN_ID_{campaign.stage('gen')},mc,_x_ == 1"
    assert second["FIFE_CATEGORIES"] == "own"


@pytest.mark.parametrize("status", [0, 3])
def test_the_exit_status_is_that_of_jobsub(launch_host, campaign, status):
    """And what it printed counts, not the status."""
    done = launch_host.run("file:///bin/true", POMS_CAMPAIGN_ID=campaign.stage("gen"), STAND_IN=status or "")

    assert done.returncode == status
    assert launch_host.running.world.get(1).jobsub_job_id == "7@jobsub-01.example.org"


@pytest.mark.parametrize(("behaviour", "status"), [("refuse", 0), ("usage", 2)])
def test_a_submission_that_made_no_jobs_is_called_so(launch_host, running, campaign, behaviour, status):
    """Nobody waits for jobs that do not come; jobsub's words and status are passed on."""
    done = launch_host.run("file:///bin/true", POMS_CAMPAIGN_ID=campaign.stage("gen"), STAND_IN=behaviour)

    assert done.returncode == status and done.stderr
    assert running.world.status(1) is Status.LAUNCH_FAILED


@pytest.mark.parametrize("words", [("--help",), ("--version",), ("-n", "file:///bin/true"), ()])
def test_looking_registers_nothing(launch_host, running, campaign, words):
    """The real program is asked, and POMS is not."""
    launch_host.run(*words, POMS_CAMPAIGN_ID=campaign.stage("gen"))

    assert launch_host.given[0]["words"] == list(words)
    assert running.asked == []


def test_without_anything_of_poms_nothing_is_added(launch_host, running):
    """People who do not use POMS do not notice that the wrapper is there."""
    launch_host.run("file:///bin/true")

    assert launch_host.given[0]["words"] == ["file:///bin/true"]
    assert running.asked == []


@pytest.mark.parametrize("variables", [{}, {"POMS4_SUBMISSION_ID": "5"}])
def test_without_jobsub_it_is_said(launch_host, variables):
    """As a shell does, instead of calling itself."""
    done = launch_host.run("file:///bin/true", PATH=str(ROOT / "bin" / "jobsub"), **variables)

    assert done.returncode == 127
    assert "not on PATH behind this wrapper" in done.stderr


@pytest.fixture
def without_poms(launch_host, tmp_path):
    """A copy of the wrapper on a host whose Pythons do not have POMS, as launch scripts set them up."""
    copied = tmp_path / "elsewhere" / "bin" / "jobsub"
    shutil.copytree(ROOT / "bin" / "jobsub", copied)
    old = tmp_path / "old"
    old.mkdir()
    (old / "python3").write_text("#!/bin/sh\necho 'SyntaxError: invalid syntax' >&2\nexit 1\n")
    (old / "python3").chmod(0o755)
    path = os.pathsep.join(map(str, [copied, ROOT / "bin" / "jobsub", old, launch_host.environment["PATH"]]))
    launch_host.environment |= {"PATH": path, "POMS_PYTHON": ""}
    launch_host.command = lambda *words, name="jobsub_submit": [str(copied / name), *words]
    return launch_host


@pytest.mark.parametrize("name", ["jobsub_submit", "jobsub_submit_dag"])
def test_jobs_go_where_poms_cannot_be_loaded(without_poms, name):
    """With the number by which POMS finds them in the queue; output and exit status are jobsub's; a line says so."""
    done = without_poms.run("-N", "2", "file:///bin/true", "a b", name=name, POMS4_SUBMISSION_ID=5, STAND_IN=3)

    assert without_poms.given[0]["words"] == ["-l", "+POMS4_SUBMISSION_ID=5", "-N", "2", "file:///bin/true", "a b"]
    assert (done.returncode, "Use job id 7.0@" in done.stdout) == (3, True)
    assert done.stderr.startswith("poms: POMS cannot be loaded here") and "POMS_PYTHON" in done.stderr


@pytest.mark.parametrize("number", ["5; touch x", "$(id)", "", "5 == 5"])
def test_a_number_that_is_none_is_not_passed_on(without_poms, number):
    """Nothing of the surroundings becomes an expression or a command."""
    without_poms.run("file:///bin/true", POMS4_SUBMISSION_ID=number, POMS_CAMPAIGN_ID="7")

    assert without_poms.given[0]["words"] == ["file:///bin/true"]


def test_the_hook_fails_nothing_where_poms_cannot_be_loaded(without_poms):
    """It says so, and the submission stays a good one."""
    done = without_poms.run("9.0@s", "['x']", name="poms_job_info", POMS4_SUBMISSION_ID=5)

    assert (done.returncode, "POMS was not told of 9.0@s" in done.stderr) == (0, True)


def test_files_beside_the_user_are_not_taken_for_modules(launch_host, running, campaign, tmp_path):
    """A uuid.py in the working directory, or on the PYTHONPATH of a launch script, is nothing of ours."""
    (tmp_path / "uuid.py").write_text("raise SystemExit('not this one')")
    environment = {**launch_host.environment, "POMS_CAMPAIGN_ID": str(campaign.stage("gen")),
                   "PYTHONPATH": str(tmp_path)}

    done = subprocess.run(launch_host.command("file:///bin/true"), env=environment, cwd=tmp_path, text=True,
                          capture_output=True, timeout=60, check=False, stdin=subprocess.DEVNULL)

    assert (done.returncode, done.stderr) == (0, "")
    assert running.world.get(1).jobsub_job_id == "7@jobsub-01.example.org"


def test_jobsubs_own_hook_reports_as_well(launch_host, running, campaign):
    """For hosts where jobsub runs programs after a submission; it never fails."""
    number = running.world.launch(campaign, "gen").submission_id

    done = launch_host.run("9.0@jobsub02.example.org", "['jobsub_submit', 'file:///x']", name="poms_job_info",
                           POMS4_SUBMISSION_ID=number)

    assert (done.returncode, running.world.get(number).jobsub_job_id) == (0, "9@jobsub02.example.org")
    assert launch_host.run("nonsense", name="poms_job_info", POMS4_SUBMISSION_ID=number).returncode == 0


# ---------------------------------------------------------------------------------- without POMS


def test_jobs_go_when_poms_is_down_and_it_is_told_later(launch_host, running, campaign):
    """The next submission sends what waits; each run has one number."""
    stage_id = campaign.stage("gen")
    running.is_down = True
    down = launch_host.run("file:///bin/true", "first", POMS_CAMPAIGN_ID=stage_id)
    running.is_down = False
    assert down.returncode == 0 and "told later" in down.stderr
    assert len(launch_host.spool.waiting()) == 1

    launch_host.run("file:///bin/true", "second", POMS_CAMPAIGN_ID=stage_id)

    assert launch_host.spool.waiting() == []
    assert {row.command_executed.rpartition(" ")[2] for row in running.world.submissions()} == {"first", "second"}
    assert {row.jobsub_job_id for row in running.world.submissions()} == {"7@jobsub-01.example.org"}


def test_a_known_number_travels_also_when_poms_is_down(launch_host, running, campaign):
    """So that the jobs are found in the batch system whatever becomes of the report."""
    number = running.world.launch(campaign, "gen").submission_id

    launch_host.run("file:///bin/true", POMS4_SUBMISSION_ID=number, POMS_SERVER="http://127.0.0.1:1")

    assert attributes_of(launch_host.given[0]["words"])["POMS4_SUBMISSION_ID"] == number
    assert Pending(**json.loads(launch_host.spool.waiting()[0].read_text())).submission_id == number


def test_reports_that_wait_are_sent_on_demand(launch_host, running, campaign, monkeypatch):
    """By poms report --flush; 3 while the server does not answer."""
    number = running.world.launch(campaign, "gen").submission_id
    running.is_down = True
    launch_host.run("file:///bin/true", POMS4_SUBMISSION_ID=number)
    monkeypatch.setenv("POMS_SPOOL", str(launch_host.spool.directory))
    assert running.poms("report", "--flush", "--retries", "0")[0] == 3
    running.is_down = False

    assert running.poms("report", "--flush")[:2] == (0, "1 report sent, 0 refused, 0 wait\n")

    assert running.world.get(number).jobsub_job_id == "7@jobsub-01.example.org"


def test_a_report_that_is_refused_is_set_aside_and_the_others_go(launch_host, running, campaign, monkeypatch):
    """With the reason beside it; it is not tried for ever."""
    number = running.world.launch(campaign, "gen").submission_id
    launch_host.spool.add(Pending(job_id="1@s", submission_id=9999))
    (launch_host.spool.directory / "00000000000000000001-x.json").write_text("{broken")
    launch_host.spool.add(Pending(job_id="2@s", submission_id=number))

    result = launch_host.spool.flush(running.client)

    assert (result.sent, result.refused, result.waiting) == (1, 2, 0)
    assert running.world.get(number).jobsub_job_id == "2@s"
    assert sorted(path.suffix for path in launch_host.spool.refused.iterdir()) == [".json", ".json", ".txt", ".txt"]


def test_a_report_whose_answer_was_lost_is_one_registration(launch_host, running, campaign):
    """Sending it again asks for the number of the same run."""
    launch_host.spool.add(Pending(job_id="3@s", stage=str(campaign.stage("gen")), command="jobsub_submit x",
                                  launch_time="t1"))
    running.broken.append("update_submission")

    for _ in range(2):
        launch_host.spool.flush(running.client)

    assert [(row.submission_id, row.jobsub_job_id) for row in running.world.submissions()] == [(1, "3@s")]


def test_a_spool_that_cannot_be_written_keeps_no_job(launch_host, running, campaign, tmp_path):
    """POMS is told at once then."""
    (tmp_path / "file").write_text("")
    number = running.world.launch(campaign, "gen").submission_id

    done = launch_host.run("file:///bin/true", POMS4_SUBMISSION_ID=number, POMS_SPOOL=tmp_path / "file" / "spool")

    assert done.returncode == 0
    assert running.world.get(number).jobsub_job_id == "7@jobsub-01.example.org"


def test_a_signal_reaches_the_submission(launch_host, campaign):
    """And the exit status says so, as a shell has it."""
    environment = {**launch_host.environment, "POMS4_SUBMISSION_ID": "1", "STAND_IN": "wait",
                   "POMS_SERVER": "http://127.0.0.1:1"}
    process = subprocess.Popen(launch_host.command("file:///bin/true"), env=environment, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout.readline() == "Submitting job(s)...\n"

    process.send_signal(signal.SIGTERM)
    # Its input stays open: at the end of that the stand-in would go on, signal or not.
    process.wait(30)
    process.communicate()

    assert process.returncode == 128 + signal.SIGTERM


def start(launch_host, **variables) -> subprocess.Popen[str]:
    """The wrapper, left running with its input and output open."""
    environment = {**launch_host.environment, **{name: str(value) for name, value in variables.items()}}
    return subprocess.Popen(launch_host.command("file:///bin/true"), env=environment, stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_wrapper_killed_between_submit_and_report_loses_nothing(launch_host, running, campaign):
    """The report is on the disk before anybody reads the job id; the next submission sends it."""
    process = start(launch_host, POMS_CAMPAIGN_ID=campaign.stage("gen"), STAND_IN="linger")
    while "Use job id" not in process.stdout.readline():
        pass

    process.kill()
    process.communicate()

    assert running.world.get(1).jobsub_job_id is None
    launch_host.run("file:///bin/true", POMS_CAMPAIGN_ID=campaign.stage("gen"))
    assert [row.jobsub_job_id for row in running.world.submissions()] == ["7@jobsub-01.example.org"] * 2
    assert launch_host.spool.waiting() == []


def test_a_question_is_shown_while_it_waits_for_its_answer(launch_host, campaign):
    """Also without an end of line; otherwise nobody knows what to type."""
    process = start(launch_host, POMS_CAMPAIGN_ID=campaign.stage("gen"), STAND_IN="ask")

    shown = ""
    while not shown.endswith("Password: "):
        shown += process.stdout.read(1)

    assert process.communicate("secret\n", timeout=60)[0].startswith("3 job(s) submitted")
    assert process.returncode == 0


@pytest.mark.parametrize("output", ["/dev/full", "closed pipe"])
def test_jobs_are_reported_though_nobody_can_read_the_output(launch_host, running, campaign, output):
    """A full disk, or a reader that is gone: the exit status stays that of jobsub, and POMS is told."""
    environment = {**launch_host.environment, "POMS_CAMPAIGN_ID": str(campaign.stage("gen")), "STAND_IN": "3"}
    if output == "/dev/full":
        target = os.open(output, os.O_WRONLY)
    else:
        unread, target = os.pipe()
        os.close(unread)

    done = subprocess.run(launch_host.command("file:///bin/true"), env=environment, stdout=target,
                          stderr=subprocess.PIPE, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL)
    os.close(target)

    assert done.returncode == 3, done.stderr
    assert running.world.get(1).jobsub_job_id == "7@jobsub-01.example.org"


@pytest.mark.parametrize("variables", [
    {"REQUESTS_CA_BUNDLE": "/nonexistent", "POMS_SERVER": "https://127.0.0.1:1"}, {"POMS_SERVER": "poms.example.org"},
    {"BEARER_TOKEN": "é🐙", "POMS_SERVER": "http://127.0.0.1:1"}, {"POMS_SERVER": "http://[::1"},
    {"POMS_SERVER": ""}, {"HOME": "/nonexistent"},
])
def test_surroundings_that_make_no_sense_keep_no_job(launch_host, campaign, variables):
    """Whatever is wrong with certificates, tokens or addresses: the jobs go, and a line says why POMS was not told."""
    done = launch_host.run("file:///bin/true", POMS_CAMPAIGN_ID=campaign.stage("gen"), **variables)

    assert done.returncode == 0
    assert [one["words"][-1] for one in launch_host.given] == ["file:///bin/true"]
    assert "Traceback" not in done.stderr


def test_reports_go_to_the_server_that_they_are_for(launch_host, running, campaign):
    """The same number is another submission elsewhere; they are sent when they are asked for with that server."""
    number = running.world.launch(campaign, "gen").submission_id
    launch_host.run("file:///bin/true", POMS4_SUBMISSION_ID=number, POMS_SERVER="http://127.0.0.1:1")

    result = launch_host.spool.flush(running.client)

    assert (result.sent, result.refused, result.waiting, result.elsewhere) == (0, 0, 0, 1)
    assert running.world.get(number).jobsub_job_id is None
    assert launch_host.spool.flush(running.client, any_server=True).sent == 1
    assert running.world.get(number).jobsub_job_id == "7@jobsub-01.example.org"


def test_a_server_that_moved_gets_what_waits_for_its_old_address(launch_host, running, campaign, monkeypatch):
    """When somebody says so; without that it is told where the reports would go."""
    number = running.world.launch(campaign, "gen").submission_id
    launch_host.run("file:///bin/true", POMS4_SUBMISSION_ID=number, POMS_SERVER="http://127.0.0.1:1")
    monkeypatch.setenv("POMS_SPOOL", str(launch_host.spool.directory))

    assert running.poms("report", "--flush")[1] == "0 reports sent, 0 refused, 0 wait, 1 for other servers\n"
    assert running.poms("report", "--flush", "--any-server")[1] == "1 report sent, 0 refused, 0 wait\n"
    assert running.world.get(number).jobsub_job_id == "7@jobsub-01.example.org"


def test_a_stage_by_name_is_that_of_its_own_experiment(launch_host, running, campaign):
    """Whoever sends the report acts somewhere else."""
    running.world.person("demo", "production", "icarus")
    there = running.world.campaign_with(stage("gen"), experiment="icarus")
    launch_host.spool.add(Pending(job_id="3@s", stage="gen", command="jobsub_submit x", launch_time="t1",
                                  experiment="icarus"))

    launch_host.spool.flush(running.client)

    assert running.world.get(1).campaign_stage_id == there.stage("gen")


def test_reports_that_come_while_others_are_sent_are_sent_as_well(launch_host, running, campaign):
    """Who adds one meanwhile leaves it to the process that is at it."""
    number = running.world.launch(campaign, "gen").submission_id
    launch_host.spool.add(Pending(job_id="1@s", submission_id=number))
    send = launch_host.spool.send

    def sending(report, client):
        if report.job_id == "1@s":
            launch_host.spool.add(Pending(job_id="2@s", submission_id=number))
        return send(report, client)

    launch_host.spool.send = sending

    assert launch_host.spool.flush(running.client).sent == 2
    assert launch_host.spool.waiting() == []


def test_many_reports_keep_nobody_waiting(launch_host, running, campaign):
    """When the time is over the rest stays, in its order, for the next one."""
    number = running.world.launch(campaign, "gen").submission_id
    for cluster in (1, 2):
        launch_host.spool.add(Pending(job_id=f"{cluster}@s", submission_id=number))

    result = launch_host.spool.flush(running.client, seconds=-1)

    assert (result.sent, result.waiting, "too many" in result.problem) == (0, 2, True)


@pytest.mark.parametrize("words", [["-G", "sbnd"], ["-Gsbnd"], ["--group", "sbnd"], ["--group=sbnd"]])
def test_the_group_is_read_as_jobsub_reads_it(words):
    """In each of its forms, and not in the job's own arguments."""
    assert lines.group_of([*words, "file:///bin/true", "-G", "dune"]) == "sbnd"
    assert lines.group_of(["file:///bin/true", *words]) == ""


@pytest.mark.parametrize(("argument", "words"), [
    ("['/usr/bin/jobsub_submit', '-G', 'sbnd']", ["/usr/bin/jobsub_submit", "-G", "sbnd"]),
    ("jobsub_submit -G sbnd", ["jobsub_submit -G sbnd"]), ("__import__('os')", ["__import__('os')"]), ("[]", ["[]"]),
    ("[" * 5000, ["[" * 5000]),
])
def test_a_hook_reads_the_command_that_jobsub_hands_over(argument, words):
    """A list as Python writes it; anything else is one word and is never run."""
    assert lines.command_of(argument) == words


@pytest.mark.parametrize(("text", "found"), [
    (b"Use job id 7.0@jobsub-01.example.org to retrieve output", "7@jobsub-01.example.org"),
    (b"noise Use job id 12@s to retrieve output", "12@s"), (b"Use job id x to retrieve", ""),
    (b"3 job(s) submitted to cluster 7.", ""), (b"\xff\xfe", ""),
])
def test_a_job_id_is_read_where_jobsub_says_it(text, found):
    """Also from schedds with a hyphen in their names."""
    assert lines.found_job_id(text) == found
