"""poms-launch as a program: what it asks and makes before the submission, and how it ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from poms.plugins.local.launcher import command, launch

MINIMAL = "[global]\ngroup = g\n[executable]\nname = x\n"


@pytest.fixture
def cfg(tmp_path):
    def write(text: str) -> str:
        (tmp_path / "l.cfg").write_text(text)
        return "l.cfg"
    return write


def test_exit_status_is_that_of_the_submission(launches, cfg):
    """A submission that fails is never reported as good."""
    assert launches.run("-c", cfg(MINIMAL)).status == 0
    assert launches.run("-c", cfg(MINIMAL), status=3).status == 3


def test_answer_of_the_submission_is_passed_through(launches, cfg):
    """The line with the job id reaches whoever reads the launch's output; the command is traced beside it."""
    done = launches.run("-c", cfg(MINIMAL))

    assert "Use job id 7.0@here to retrieve output" in done.output
    assert done.errors.startswith("+ jobsub_submit file://")


def test_group_and_passed_variables_are_exported(launches, cfg):
    """jobsub_submit finds GROUP and [env_pass] in its environment."""
    launches.run("-c", cfg(MINIMAL + "[env_pass]\nX = a $GROUP 'b'\n"))

    assert (launches.environment["GROUP"], launches.environment["X"]) == ("g", "a g 'b'")


@pytest.mark.parametrize(("arguments", "status", "message"), [
    (["--stage", "nosuch"], 1, "[stage_nosuch]"), (["-Oxx"], 1, "-Oxx"), (["extra"], 1, "extra command line arguments"),
    (["--nosuch"], 2, "--nosuch"), (["--config_dump", "never"], 2, "before, after or both"), (["--stage"], 2, "stage"),
    (["-Osubmit.x=%(gone)s"], 1, "submit/x"), (["-Osubmit.n_files_per_job=5"], 1, "submit/n_files_per_job"),
    (["--jobname", "../x"], 1, "global/jobname"), (["-Odata_dispatcher.x=1"], 1, "Data Dispatcher"),
])
def test_wrong_request_submits_nothing(launches, cfg, arguments, status, message):
    """Every mistake ends with a message and a status before anything is submitted."""
    done = launches.run("-c", cfg(MINIMAL), *arguments)

    assert done.status == status
    assert message in done.errors
    assert "Traceback" not in done.errors
    assert not launches.has_submitted


def test_missing_configuration_is_named(launches):
    """The file that was not found, and where it was looked for."""
    done = launches.run("-c", "nowhere.cfg")

    assert (done.status, "nowhere.cfg" in done.errors, "FIFE_LAUNCH_PATH" in done.errors) == (1, True, True)


def test_override_of_a_stage_section_is_warned_about(launches, cfg):
    """-Ostage_x.submit.N comes too late to act, and says so."""
    done = launches.run("-c", cfg(MINIMAL + "[stage_x]\nsubmit.N = 1\n"), "--stage", "x", "-Ostage_x.submit.N=2")

    assert "no effect" in done.errors
    assert launches.submitted[:2] == ["-N", "1"]


DATASET = MINIMAL + "[sam_consumer]\nlimit = 1\n[submit]\nN = 5\ndataset = ds\n"


def test_empty_dataset_is_not_submitted(launches, cfg, sam):
    """The catalogue is asked first; no files, no jobs."""
    sam.define("ds", [])

    done = launches.run("-c", cfg(DATASET), SAM_WEB_BASE_URL=sam.base)

    assert (done.status, "empty dataset" in done.errors, launches.has_submitted) == (1, True, False)


def test_unknown_definition_is_named(launches, cfg, sam):
    """A definition that the catalogue does not have is a clear error."""
    done = launches.run("-c", cfg(DATASET), SAM_WEB_BASE_URL=sam.base)

    assert (done.status, "no definition 'ds'" in done.errors, launches.has_submitted) == (1, True, False)


def test_catalogue_that_is_down_is_not_an_empty_dataset(launches, cfg, sam):
    """No answer is reported as such, without the catalogue's capability, and nothing is submitted."""
    sam.trouble = lambda method, path: "refuse"

    done = launches.run("-c", cfg(DATASET), "--retry_seconds", "0", SAM_WEB_BASE_URL=sam.base)

    assert (done.status, "cannot be counted" in done.errors, launches.has_submitted) == (1, True, False)
    assert "empty dataset" not in done.errors
    assert "capability" not in done.errors


def test_catalogue_that_restarts_is_waited_for(launches, cfg, sam):
    """A launch survives a short absence of the catalogue."""
    sam.dataset("ds", 3)
    answers = iter(["refuse", "lose"])
    sam.trouble = lambda method, path: next(answers, "")

    assert launches.run("-c", cfg(DATASET), SAM_WEB_BASE_URL=sam.base).status == 0


@pytest.mark.parametrize(("files", "each", "jobs"), [(12, 5, "3"), (5, 1, "5"), (1, 1, "1"), (10, 5, "2")])
def test_number_of_jobs_follows_the_files(launches, cfg, sam, files, each, jobs):
    """n_files_per_job asks for as many jobs as the files need; it is no option of jobsub_submit."""
    sam.dataset("ds", files)

    launches.run("-c", cfg(DATASET), f"-Osubmit.n_files_per_job={each}", SAM_WEB_BASE_URL=sam.base)

    assert launches.submitted[2:5] == ["-N", jobs, "--dataset_definition=ds"]


def test_plain_destination_is_made_before_the_jobs(launches, cfg, tmp_path):
    """An ordinary output directory is there when the jobs begin; one with variables is left to them."""
    launches.run("-c", cfg(MINIMAL + f"[job_output]\ndest = {tmp_path}/a/b\n[job_output_1]\ndest = {tmp_path}/$X\n"
                           f"[job_output_2]\ndest = {tmp_path}/c\nlaunch_dest_check = False\n"))

    assert (tmp_path / "a/b").is_dir()
    assert not (tmp_path / "$X").exists()
    assert not (tmp_path / "c").exists()


def test_prelaunch_scripts_run_in_order_and_do_not_stop_the_launch(launches, cfg, tmp_path):
    """[prelaunch] script, script_1, ... up to the first missing; a bad one is shown."""
    done = launches.run("-c", cfg(MINIMAL + "[prelaunch]\nscript = echo one >> said\nscript_1 = echo $GROUP >> said; "
                                  "exit 4\nscript_3 = echo three >> said\n"))

    assert (tmp_path / "said").read_text() == "one\ng\n"
    assert "prelaunch/script_1 ended with status 4" in done.errors
    assert done.status == 0


def test_jobname_names_the_submitted_program(launches, cfg):
    """The wrapper is submitted as a copy called after the job."""
    launches.run("-c", cfg(MINIMAL), "--jobname", "mc_gen")

    assert "/mc_gen_" in launches.submitted[0]


def test_dry_run_shows_the_command_and_the_job(launches, cfg):
    """Nothing is submitted; the command and the steps of the job are printed."""
    done = launches.run("-c", cfg(DATASET + "[job_setup]\nmultifile = True\n"), "--dry_run",
                        "-Osubmit.n_files_per_job=2")

    assert (done.status, launches.has_submitted) == (0, False)
    assert "would run: jobsub_submit -N 3" in done.output
    assert "run: x INPUT" in done.output


def test_config_dump_goes_to_stderr(launches, cfg):
    """before shows the file's text, after what became of it."""
    done = launches.run("-c", cfg(MINIMAL + "[submit]\nN = %(group)s\n"), "--config_dump=both", "-Oglobal.group=h")

    assert "N = %(group)s" in done.errors
    assert "N = h" in done.errors


def test_missing_jobsub_submit_is_named(launches, cfg, tmp_path):
    """Without the batch system's client the launch says what to set up."""
    launches.run("-c", cfg(MINIMAL))
    (tmp_path / "programs/jobsub_submit").unlink()
    done = subprocess.run([sys.executable, "-m", "poms.plugins.local.launcher.launch", "-c", "l.cfg"], cwd=tmp_path,
                          env={"PATH": str(tmp_path / "programs")}, capture_output=True, text=True, check=False)

    assert (done.returncode, "jobsub_submit is not on PATH" in done.stderr) == (1, True)


def test_job_gets_a_python_where_the_plain_path_has_none(tmp_path, monkeypatch):
    """poms-wrap is submitted with this very Python in its first line if jobs would find no python3."""
    wrapper = command.Wrapper(str(command.OWN_WRAPPER), True)
    monkeypatch.setattr(launch, "JOB_PATH", str(tmp_path))

    with launch._submitted_program("", wrapper) as path:
        lines = Path(path).read_text().splitlines()
        done = subprocess.run([path, "--exe", "echo", "--", "ran"], env={"PATH": "/bin"}, capture_output=True,
                              text=True, check=False)

    assert (lines[0], done.stdout) == (f"#!{sys.executable}", "ran\n")
    assert not Path(path).exists()
