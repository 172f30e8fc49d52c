"""Programs under their older names: the options that scripts give, what they print, how they end."""

from __future__ import annotations

import os

import pytest

from poms.webservice.cli.programs import PROGRAMS, main
from poms.webservice.rules.statuses import Status


@pytest.fixture
def old(running, capsys, monkeypatch):
    """(exit status, output) of a program that is told where the server is by the environment."""
    monkeypatch.setenv("POMS_SERVER", running.url)
    for name in ("EXPERIMENT", "POMS_TASK_ID", "POMS_CAMPAIGN_ID"):
        monkeypatch.delenv(name, raising=False)

    def run(name, *words):
        status = main(name, list(map(str, words)))
        return status, capsys.readouterr().out

    return run


@pytest.mark.parametrize("name", ["get_submission_id_for", "get_task_id_for"])
def test_a_number_is_printed_and_nothing_else(old, running, campaign, name):
    """Scripts take the whole output; the option may be shortened."""
    status, out = old(name, "--command=jobsub_submit x", f"--campaign={campaign.stage('gen')}", "--experiment",
                      "samdev", "--poms_role", "production", "--user", "me", "--input_dataset", "x")

    assert (status, out) == (0, "1\n")
    assert running.world.get(1).command_executed == "jobsub_submit x"


def test_a_stage_is_launched(old, running, campaign):
    """True when it was; nothing and 1 when there is no such stage. An experiment does not make it a test launch."""
    assert old("launch_jobs", "--campaign", campaign.stage("gen"), "--experiment", "samdev") == (0, "True\n")
    assert old("launch_jobs", "--campaign", "999", "--experiment", "samdev") == (1, "")
    assert [row.plan["test"] for row in running.world.launches()] == [False]


def test_texts_are_uploaded_and_what_is_wrong_is_printed(old, tmp_path):
    """With the exit status that it means."""
    path = tmp_path / "x.ini"
    path.write_text("nonsense")

    status, out = old("upload_wf", path, "--experiment", "samdev", "--poms_role", "production")

    assert status == 1
    assert "Error" in out


def test_a_file_that_was_not_uploaded_is_not_said_to_be(old, tmp_path):
    """Older programs said so whatever happened."""
    path = tmp_path / "a b"
    path.write_text("x")

    assert old("upload_file", path, "--experiment", "samdev") == (1, "")
    path = path.rename(tmp_path / "ab")
    assert old("upload_file", path, "--experiment", "samdev") == (0, f"uploaded: {path} to POMS server\n")


def test_credentials_are_kept_under_the_names_that_launches_look_for(old, running, tmp_path, monkeypatch):
    """And sent again only when they are old."""
    for variable, name in (("X509_USER_PROXY", "x509"), ("VAULT_TOKEN_FILE", "vault")):
        monkeypatch.setenv(variable, str(tmp_path / name))
        (tmp_path / name).write_text(name)
    words = ("--proxy", "--vaulttoken", "--experiment", "samdev", "--user", "anna", "--refresh")

    assert old("upload_file", *words)[1].count("uploaded: ") == 2
    status, out = old("upload_file", *words)

    assert (status, out.count("not older than three days: ")) == (0, 2)
    assert {row[0] for row in type(running.client)(running.url, experiment="samdev", role="analysis").files()
            ["file_stat_list"]} == {"x509up_voms_samdev_Analysis_anna", "vt_samdev_Analysis_anna"}
    assert old("upload_file", "--proxy", "--user", "anna")[0] == 1
    assert old("upload_file", "--experiment", "samdev")[0] == 1


def test_a_server_that_does_not_answer_keeps_nothing_fresh(capsys, monkeypatch, tmp_path):
    """An outage is no reason to send credentials."""
    monkeypatch.setenv("POMS_SERVER", "http://127.0.0.1:1")
    monkeypatch.setenv("X509_USER_PROXY", str(tmp_path / "x"))

    assert main("upload_file", ["--proxy", "--experiment", "samdev", "--user", "anna", "--refresh"]) == 3


def test_a_campaign_is_registered(old, running):
    """Its stage's number is printed, the same each time."""
    connection = running.client.connection
    connection.json("job_type_edit", {"action": "add", "ae_definition_name": "work", "ae_launch_script": "x"})
    connection.json("login_setup_edit", {"action": "add", "ae_launch_name": "generic", "ae_launch_host": "localhost"})
    words = ("--campaign", "reg", "--experiment", "samdev", "--version", "v1", "--campaign-definition", "work")

    assert [old("register_poms_campaign", *words) for _ in range(2)] == [(0, "1\n")] * 2


def test_a_submission_waits_for_approval(old, running, campaign, monkeypatch):
    """Named by the variable that its jobs have; another dataset cannot be handed on."""
    number = running.world.submission(campaign, "gen")
    assert old("await_approval", "--submission_id", number, "--dataset", "mine")[0] == 1

    assert old("await_approval", "--submission_id", number) == (0, "")

    assert running.world.status(number) is Status.AWAITING_APPROVAL


def test_blocks_are_made_with_words(old, running):
    """A launch script and a setup of several words."""
    assert old("job_type_edit", "--action", "add", "--name", "mine", "--launch_script", "fife_launch", "x",
               "--def_parameter", '[["-Ox=","1"]]', "--experiment", "samdev")[0] == 0
    assert old("launch_template_edit", "--action", "add", "--launch_name", "there", "--host", "localhost",
               "--setup", "source", "a;", "--experiment", "samdev")[0] == 0
    assert running.client.connection.json("get_jobtype_id", {"name": "mine"})


@pytest.mark.parametrize(("command", "ends", "status"), [(["true"], 0, Status.COMPLETED), (["false"], 1, Status.FAILED),
                                                         (["/nothing/there"], 127, Status.FAILED)])
def test_a_script_runs_as_a_stage(old, running, campaign, monkeypatch, command, ends, status):
    """Registered, reported, and its exit status is the program's."""
    monkeypatch.setenv("POMS_CAMPAIGN_ID", str(campaign.stage("gen")))

    assert old("poms_run_script_stage", *command)[0] == ends
    assert running.world.status(1) is status


def test_without_a_server_it_is_said_where_to_set_it(capsys, monkeypatch):
    """Instead of a traceback."""
    for name in ("POMS_SERVER", "POMS_CLIENT_DIR"):
        monkeypatch.delenv(name, raising=False)

    assert main("launch_jobs", ["--campaign", "1"]) == 1
    assert "set POMS_SERVER" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_every_program_is_there_and_explains_itself(program, name):
    """As a file of a few lines below bin."""
    done = program(name, "--help", environment=dict(os.environ))

    assert (done.returncode, done.stdout.startswith(f"usage: {name}")) == (0, True)
