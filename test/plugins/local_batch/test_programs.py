"""The jobsub programs of the local batch system: what launchers may write, and what their jobs find."""

from __future__ import annotations

import json
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poms.plugins.local.batch import control
from poms.webservice.errors import Invalid
from poms.webservice.interfaces import JobState
from poms.webservice.rules import jobsub_options
from poms.webservice.testing.jobs import Gate, await_that
from test.plugins.local_batch.conftest import departed, make_backend, surroundings


def description(backend) -> dict:
    with backend.spool.read() as db:
        return json.loads(db.execute("SELECT description FROM clusters ORDER BY cluster DESC").fetchone()[0])


def output(backend, which="stdout") -> str:
    record = departed(backend, 1)[0]
    return b"".join(backend.fetch_log(record.batch_id, which)).decode()


# ------------------------------------------------------------------------------------------ command lines

FIFE_LAUNCH = [
    "-e", "IFDH_DEBUG", "-e", "SAM_EXPERIMENT", "-e", "SAM_GROUP", "-e", "SAM_STATION", "-G", "sbnd", "-N", "5",
    "--resource-provides=usage_model=OPPORTUNISTIC,DEDICATED,OFFSITE", "--generate-email-summary",
    "--expected-lifetime=3h", "--memory=2000MB", "--dataset_definition=poms_depends_776_1", "file:////fu/libexec/wrap",
    "--debug", "--find_setups", "--source-unquote", "/x/setup.sh", "--limit", "1", "--exe", "lar", "--", "-c", "a.fcl",
    "-N", "9", "-s", "\\"]


def test_a_real_launchers_command_line_is_understood():
    """Options end at the executable; what follows is the job's, but for the backslash of a launcher's last line."""
    request = jobsub_options.parse(FIFE_LAUNCH)

    assert request.executable == "file:////fu/libexec/wrap"
    assert request.arguments[-3:] == ["-N", "9", "-s"]
    assert request.single == {"group": "sbnd", "N": "5", "expected-lifetime": "3h", "memory": "2000MB",
                              "dataset-definition": "poms_depends_776_1"}
    assert request.repeated["environment"] == ["IFDH_DEBUG", "SAM_EXPERIMENT", "SAM_GROUP", "SAM_STATION"]


@pytest.mark.parametrize("words", [[], ["-N", "3"], ["/bin/true"], ["--no-such-option", "file:///bin/true"], ["-N"],
                                   ["-d", "TAG", "file:///x"], ["-z", "file:///x"], ["--memory"]])
def test_command_lines_without_sense_are_refused(words):
    """Unknown options, missing values and a missing executable are errors of usage."""
    with pytest.raises(jobsub_options.UsageError):
        jobsub_options.parse(words)


@given(st.lists(st.text(max_size=20), max_size=8))
def test_any_words_after_the_executable_go_to_the_job(words):
    """No argument of a job is taken for an option of jobsub_submit."""
    request = jobsub_options.parse(["-G", "g", "file:///x", *words, "end"])

    assert request.arguments == [*words, "end"]


@pytest.mark.parametrize(("text", "mb"), [("2000", 2000), ("2000MB", 2000), ("2GB", 2048), ("1.5 GiB", 1536),
                                          ("1kb", 1), ("2g", 2048), ("1TB", 1048576)])
def test_memory_may_have_a_unit(text, mb):
    """Memory without a unit is in MB, which are of 1024 * 1024 bytes."""
    assert jobsub_options.memory_in_mb(text) == mb


@pytest.mark.parametrize(("text", "seconds"), [("3h", 10800), ("short", 10800), ("medium", 28800), ("long", 85200),
                                               ("90", 90), ("85200s", 85200), ("30m", 1800), ("1d", 86400)])
def test_lifetimes_may_have_a_unit_or_a_name(text, seconds):
    """Times of jobs as jobsub writes them."""
    assert jobsub_options.lifetime_in_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-1h", "0", "3 weeks", "1h; rm"])
def test_times_that_are_none_are_refused(text):
    """A time that cannot be read is refused rather than taken for none."""
    with pytest.raises(Invalid):
        jobsub_options.lifetime_in_seconds(text)


@pytest.mark.parametrize(("line", "attribute"), [
    ("+POMS4_SUBMISSION_ID=42", ("POMS4_SUBMISSION_ID", 42)), ('+Name = "a b"', ("Name", "a b")),
    ('+Name=\\"a b\\"', ("Name", "a b")), ("+Stage=stage-a", ("Stage", "stage-a")), ("priority = 3", None)])
def test_lines_become_attributes(line, attribute):
    """+Name=value of --lines is an attribute: a number, or text with or without quotes."""
    assert jobsub_options.parse_line(line) == attribute


@pytest.mark.parametrize("word", ["1", "x=y=z", "ClusterId>3", "A==1 || true", "A==B", "A=='x'"])
def test_constraints_that_are_not_understood_are_refused(still, word):
    """A constraint is never guessed at: acting on the wrong jobs is worse than not acting."""
    with still.spool.read() as db, pytest.raises(Invalid):
        control.select_by_constraint(db, "samdev", word)


@pytest.fixture
def still(data_dir):
    return make_backend(data_dir)


# ------------------------------------------------------------------------------------------ submitting

@pytest.mark.parametrize(("words", "status", "text"), [
    (["-G", "samdev", "file:///no/such/file"], 1, "/no/such/file"),
    (["-G", "samdev", "-e", "NOT_SET_HERE", "file:///bin/true"], 1, "NOT_SET_HERE"),
    (["-G", "samdev", "-e", "A B=1", "file:///bin/true"], 1, "A B"),
    (["-G", "samdev", "-N", "0", "file:///bin/true"], 1, "-N"),
    (["-G", "samdev", "-N", "1e9", "file:///bin/true"], 1, "-N"),
    (["-G", "samdev", "--memory", "lots", "file:///bin/true"], 1, "lots"),
    (["-G", "samdev", "--lines", "+broken", "file:///bin/true"], 1, "+broken"),
    (["-G", "samdev", "-f", "/no/such/input", "file:///bin/true"], 1, "/no/such/input"),
    (["-G", "samdev", "--dag", "file:///bin/true"], 2, "--dag"),
    (["-G", "samdev", "--onsite", "--offsite", "file:///bin/true"], 2, "exclude"),
    (["file:///bin/true"], 1, "group"),
])
def test_what_cannot_be_submitted_is_refused_with_a_status(backend, program, words, status, text):
    """A refused submit says why, ends with a status, prints no job id and leaves nothing in the queue."""
    answer = program("jobsub_submit", *words)

    assert answer.returncode == status
    assert text in answer.stderr
    assert "Use job id" not in answer.stdout
    assert backend.find(7) == []
    assert list(backend.spool.inputs.iterdir()) == []


def test_more_memory_than_the_machine_has_is_refused(make, program):
    """A job that could never start is refused at submit."""
    make(memory_mb=1000)

    answer = program("jobsub_submit", "-G", "samdev", "--memory=2GB", "file:///bin/true")

    assert answer.returncode == 1
    assert "2048" in answer.stderr


def test_the_answer_is_jobsubs(backend, program, job):
    """The lines that launchers and POMS look for are printed."""
    answer = program("jobsub_submit", "-G", "samdev", "-N", "3", job("exit 0"))

    schedd = backend.spool.identity().schedd
    assert "3 job(s) submitted to cluster 1." in answer.stdout.splitlines()
    assert f"Use job id 1.0@{schedd} to retrieve output" in answer.stdout.splitlines()


def test_nothing_is_submitted_with_no_submit(backend, program, job):
    """-n looks only."""
    answer = program("jobsub_submit", "-G", "samdev", "-n", job("exit 0"))

    assert (answer.returncode, backend.find(7)) == (0, [])


def test_programs_work_outside_of_their_venv_and_with_a_hostile_setup(backend, program, job, tmp_path):
    """A site's PYTHONPATH, PYTHONHOME and libraries do not reach the programs."""
    (tmp_path / "poms.py").write_text("raise SystemExit('the wrong poms')")

    answer = program("jobsub_submit", "-G", "samdev", job("exit 0"), cwd=tmp_path, PYTHONPATH=str(tmp_path),
                     PYTHONHOME="/nonexistent", LD_LIBRARY_PATH="/nonexistent")

    assert answer.returncode == 0, answer.stderr


def test_programs_outside_of_a_launch_say_so(backend, program):
    """Without a spool there is nothing to submit to."""
    answer = subprocess.run([backend.spool.programs / "jobsub_submit"], env={"PATH": "/usr/bin:/bin"}, check=False,
                            capture_output=True, text=True)

    assert answer.returncode == 1
    assert "POMS_LOCAL_BATCH" in answer.stderr


def test_the_job_finds_what_was_asked_for(backend, program, job):
    """Variables by name and by value, POMS' and SAM's own, and those that say where it is."""
    answer = program(
        "jobsub_submit", "-G", "samdev", "-e", "FROM_HERE", "-e", "GIVEN=a=b c", job("env -0"), "one", FROM_HERE="x'y",
        SAM_WEB_BASE_URL="http://127.0.0.1:1/sam", POMS4_CAMPAIGN_NAME="it's \"odd\"\n$(x)", SECRET_OF_THE_LAUNCH="no",
        JOBSUB_EXTRA_ENVIRONMENT="EXTRA", EXTRA="more")
    assert answer.returncode == 0, answer.stderr

    found = dict(line.split("=", 1) for line in output(backend).split("\0")[:-1])

    assert found["FROM_HERE"] == "x'y"
    assert found["GIVEN"] == "a=b c"
    assert found["EXTRA"] == "more"
    assert found["POMS4_CAMPAIGN_NAME"] == "it's \"odd\"\n$(x)"
    assert found["SAM_WEB_BASE_URL"] == "http://127.0.0.1:1/sam"
    assert found["JOBSUBJOBID"] == f"1.0@{backend.spool.identity().schedd}"
    assert (found["CLUSTER"], found["PROCESS"], found["JOBSUBJOBSECTION"]) == ("1", "0", "1")
    assert found["PWD"] == found["_CONDOR_SCRATCH_DIR"] == found["TMPDIR"]
    assert (found["GRID_USER"], found["JOBSUB_GROUP"], found["EXPERIMENT"]) == ("ann", "samdev", "samdev")
    assert "SECRET_OF_THE_LAUNCH" not in found
    assert not [name for name in found if name.startswith("POMS_LOCAL_")]


def test_the_launchs_ids_cannot_be_overwritten_by_lines(backend, program, job):
    """The submission that a cluster belongs to is the launch's, whatever its script's lines say."""
    program("jobsub_submit", "-G", "samdev", "-l", "+POMS4_SUBMISSION_ID=99", "-l", "+Mine=3", job("exit 0"))

    assert len(backend.find(7)) == 1
    assert backend.find(99) == []
    assert description(backend)["attributes"]["Mine"] == 3


def test_input_is_taken_at_the_time_of_submit(backend, program, job, tmp_path):
    """Executable and input files may change or vanish after the submit."""
    (tmp_path / "input file").write_text("precious")
    executable = job('cat "$CONDOR_DIR_INPUT/input file"')
    program("jobsub_submit", "-G", "samdev", "-f", f"dropbox://{tmp_path}/input file", executable)
    (tmp_path / "input file").unlink()
    Path(executable.removeprefix("file://")).unlink()

    assert output(backend) == "precious"


def test_archives_are_unpacked_for_the_job(backend, program, job, tmp_path):
    """--tar_file_name takes a tarball or a directory; the job finds both unpacked."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "a.txt").write_text("from the directory\n")
    with tarfile.open(tmp_path / "b.tar", "w") as tar:
        tar.add(tmp_path / "code" / "a.txt", arcname="b.txt")
    program("jobsub_submit", "-G", "samdev", "--tar_file_name", f"tardir://{tmp_path}/code",
            f"--tar_file_name=dropbox://{tmp_path}/b.tar",
            job('cat "$INPUT_TAR_DIR_LOCAL/a.txt" "$INPUT_TAR_DIR_LOCAL_1/b.txt"'))

    assert output(backend) == "from the directory\n" * 2


def test_a_broken_archive_holds_the_job(backend, program, job, tmp_path):
    """Input that cannot be prepared is a hold (code 13) with the reason, not a failure of the job."""
    (tmp_path / "b.tar").write_text("no archive")
    program("jobsub_submit", "-G", "samdev", f"--tar_file_name=dropbox://{tmp_path}/b.tar", job("exit 0"))

    await_that(lambda: backend.jobs([7])[0].state == JobState.HELD, lambda: backend.jobs([7]))

    assert backend.jobs([7])[0].hold_code == 13


def test_output_directories_are_brought_back(backend, program, job, tmp_path):
    """-d TAG DIR: what the job puts into CONDOR_DIR_TAG is in DIR afterwards."""
    program("jobsub_submit", "-G", "samdev", "-d", "HISTS", str(tmp_path / "out"),
            job('mkdir "$CONDOR_DIR_HISTS/sub"; echo 1 > "$CONDOR_DIR_HISTS/a"; echo 2 > "$CONDOR_DIR_HISTS/sub/b"'))
    departed(backend, 1)

    assert (tmp_path / "out" / "a").read_text() == "1\n"
    assert (tmp_path / "out" / "sub" / "b").read_text() == "2\n"


def test_scratch_is_removed_after_the_job(backend, program, job):
    """Nothing of a job's scratch directory is left, even if the job made it unwritable."""
    program("jobsub_submit", "-G", "samdev", job("mkdir -p deep/er; echo x > deep/er/file; chmod 0 deep/er deep"))
    departed(backend, 1)

    assert list(backend.spool.scratch.iterdir()) == []


@pytest.mark.parametrize(("keep", "kept"), [("failed", ["2.0.1"]), ("always", ["1.0.1", "2.0.1"])])
def test_scratch_is_kept_on_request(make, program, job, keep, kept):
    """keep_scratch keeps the directories of failed jobs, or of all."""
    backend = make(keep_scratch=keep)
    program("jobsub_submit", "-G", "samdev", job("exit 0"))
    program("jobsub_submit", "-G", "samdev", job("exit 1"))
    departed(backend, 2)

    assert sorted(path.name for path in backend.spool.scratch.iterdir()) == kept


def test_a_job_past_its_lifetime_is_held(backend, program, job):
    """A job that runs longer than it asked for is held with code 47."""
    program("jobsub_submit", "-G", "samdev", "--expected-lifetime=8h", "--timeout", "0.5s", job("sleep 600"))

    await_that(lambda: backend.jobs([7])[0].state == JobState.HELD, lambda: backend.jobs([7]))

    assert backend.jobs([7])[0].hold_code == 47
    assert "0.5 seconds" in backend.jobs([7])[0].hold_reason


@pytest.mark.parametrize("start", ["sleep 1000 &", "setsid sleep 1000 &", "setsid env -i sleep 1000 &",
                                   "(trap '' TERM HUP; setsid sleep 1000 & )"])
def test_nothing_of_a_job_outlives_it(backend, program, job, tmp_path, start):
    """Processes that a job left behind are ended with it, whatever session or environment they took."""
    gate = Gate(tmp_path / "gate")
    program("jobsub_submit", "-G", "samdev", job(f"{start}\n{gate.wait}"))
    await_that(lambda: len(_processes_in(backend.spool.scratch)) >= 2)

    gate.open()
    departed(backend, 1)

    assert _processes_in(backend.spool.scratch) == []


def _processes_in(directory: Path) -> list[str]:
    """The programs that work in a directory or below, or did before it was removed."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and str((entry / "cwd").readlink()).startswith(str(directory)):
                found.append((entry / "comm").read_text().strip())
        except OSError:
            continue
    # Programs that a shell waits with come and go.
    return [name for name in found if name in ("sleep", "job.sh", "bash")]


def test_a_program_is_told_of_the_job(backend, program, job, tmp_path):
    """--job-info runs a program with the job's id after a good submit."""
    info = tmp_path / "info"
    info.write_text(f"#!/bin/sh\necho \"$1\" > {tmp_path}/told\n")
    info.chmod(0o755)

    program("jobsub_submit", "-G", "samdev", f"--job-info={info}", job("exit 0"))

    assert (tmp_path / "told").read_text().strip() == f"1.0@{backend.spool.identity().schedd}"


# ------------------------------------------------------------------------------------------ controlling

def test_jobs_are_listed_held_released_and_removed(backend, program, job, tmp_path):
    """jobsub_q, _hold, _release and _rm do what they say, by job id and by constraint."""
    gate = Gate(tmp_path / "gate")
    program("jobsub_submit", "-G", "samdev", "-N", "2", job(gate.wait))
    schedd = backend.spool.identity().schedd

    listed = program("jobsub_q", "-G", "samdev")
    assert f"1.1@{schedd}" in listed.stdout
    assert program("jobsub_hold", "-G", "samdev", f"--jobid=1.0@{schedd}").returncode == 0
    await_that(lambda: {record.state for record in backend.jobs([7])} >= {JobState.HELD})
    held = json.loads(program("jobsub_q", "-G", "samdev", f"1.0@{schedd}", "--json").stdout)
    assert [record["state"] for record in held] == [JobState.HELD]
    assert program("jobsub_release", "-G", "samdev", "--constraint", "POMS4_SUBMISSION_ID==7").returncode == 0
    assert program("jobsub_rm", "-G", "samdev", f"--jobid=1@{schedd}").returncode == 0

    assert {record.state for record in departed(backend, 2)} == {JobState.REMOVED}


@pytest.mark.parametrize("words", [["--jobid=99@local"], ["--constraint", "POMS4_SUBMISSION_ID==99"], [],
                                   ["--constraint", "true"], ["--jobid=nonsense"]])
def test_control_without_effect_has_a_status(backend, program, words):
    """A command that found nothing to act on does not claim success."""
    assert program("jobsub_rm", "-G", "samdev", *words).returncode == 1


@pytest.mark.parametrize(("words", "name"), [([], "tgz"), (["--archive-format", "zip"], "zip")])
def test_output_is_fetched_in_an_archive(backend, program, job, tmp_path, words, name):
    """jobsub_fetchlog brings output and log of a job."""
    program("jobsub_submit", "-G", "samdev", job("echo hello"))
    record = departed(backend, 1)[0]

    answer = program("jobsub_fetchlog", "-G", "samdev", "--jobid", record.batch_id, "--destdir", str(tmp_path / "logs"),
                     *words)

    assert answer.returncode == 0, answer.stderr
    assert [path.name for path in (tmp_path / "logs").iterdir()] == [f"{record.batch_id}.{name}"]


def test_another_experiments_jobs_cannot_be_controlled(backend, program, job, data_dir, tmp_path):
    """A launch of one experiment cannot remove, list or read another's jobs."""
    gate = Gate(tmp_path / "gate")
    program("jobsub_submit", "-G", "samdev", job(gate.wait))
    other = make_backend(data_dir, experiment="nova")
    schedd = backend.spool.identity().schedd

    for words in (["jobsub_rm", f"--jobid=1.0@{schedd}"], ["jobsub_fetchlog", "--jobid", f"1.0@{schedd}"]):
        done = subprocess.run([other.spool.programs / words[0], "-G", "samdev", *words[1:]], env=surroundings(other),
                              capture_output=True, check=False, cwd=tmp_path)
        assert done.returncode == 1

    assert len(backend.jobs([7])) == 1
    gate.open()
