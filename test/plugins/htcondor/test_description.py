"""What a jobsub_submit command line becomes: a submit description, and the program that each job starts."""

from __future__ import annotations

import subprocess

import pytest

from poms.plugins.htcondor import description, wrapper
from poms.plugins.htcondor.options import Options
from poms.webservice.errors import Invalid
from poms.webservice.rules import jobsub_options as jobsub
from poms.webservice.testing.jobs import HOSTILE_NAMES


def described(*words, options=None, environment=None):
    request = jobsub.parse([*words, "file:///bin/true"])
    attributes = description.cluster_attributes(request, environment or {}, {}, group="sbnd", command="jobsub_submit")
    payload = wrapper.Payload("true", (), environment or {}, "schedd.example")
    return description.describe(request, options or Options(schedds=("s",)), attributes=attributes,
                                schedd="schedd.example", payload=payload)


def lines(*words, **more):
    return described(*words, **more).text.splitlines()


def test_resources_are_asked_for():
    """Memory is in MiB, disk in KiB, and the shorter of two limits on run time holds."""
    found = lines("--memory=2GB", "--disk", "10GB", "--cpu=2", "--gpu=1", "--expected-lifetime=8h", "--timeout=1h")

    assert {"request_memory = 2048", f"request_disk = {10 * 1024**2}", "request_cpus = 2", "request_gpus = 1",
            "allowed_execute_duration = 3600"} <= set(found)


def test_sites_are_chosen_and_avoided():
    """Names of sites are strings in the requirements."""
    found = lines("--site=A,B", "--blocklist", 'C"; true')

    assert ('requirements = member(TARGET.GLIDEIN_Site, {"A", "B"}) && '
            '(member(TARGET.GLIDEIN_Site, {"C\\"; true"}) =!= true)') in found


def test_the_number_of_jobs_is_kept_apart():
    """It belongs to the queue statement, which no option can add to."""
    assert described("-N", "17").jobs == 17


@pytest.mark.parametrize("line", ["+A=1\nqueue 1000", "executable = /bin/sh", "queue 5", "no line at all",
                                  "Arguments=x", "transfer_input_files = /etc/shadow"])
def test_lines_that_would_change_the_jobs_are_refused(line):
    """A launch script may add lines, but not others' lines and no second queue statement."""
    with pytest.raises(Invalid):
        described("-l", line)


def test_attributes_of_the_script_are_passed_on():
    """Numbers, texts and expressions, as a submit file has them."""
    found = lines("-l", "+Number=5", "-l", '+Text=\\"a b\\"', "-l", "+Flag = (Foo =?= true)", "-l", "rank = Mips")

    assert {"MY.Number = 5", 'MY.Text = "a b"', "MY.Flag = (Foo =?= true)", "rank = Mips"} <= set(found)


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_names_are_strings_whatever_they_are(name):
    """Each name is on a line of its own, as a string."""
    found = lines(environment={"POMS4_SUBMISSION_ID": "7", "POMS4_CAMPAIGN_NAME": name})

    assert "MY.POMS4_SUBMISSION_ID = 7" in found
    [line] = [line for line in found if line.startswith("MY.POMS4_CAMPAIGN_NAME = ")]
    assert line.removesuffix('"').replace('\\"', "").count('"') == 1
    assert sum(line.startswith(("queue", "touch", "MY.POMS4_SUBMISSION_ID")) for line in found) == 1


def test_the_launchs_own_id_wins_over_the_script():
    """Jobs cannot be attributed to another submission by a line of the script."""
    found = lines("-l", "+POMS4_SUBMISSION_ID=8", environment={"POMS4_SUBMISSION_ID": "7"})

    assert [line for line in found if "SUBMISSION_ID" in line] == ["MY.POMS4_SUBMISSION_ID = 7"]


def test_an_id_that_is_no_number_is_refused():
    """Such jobs would be counted for nobody."""
    with pytest.raises(Invalid):
        described(environment={"POMS4_SUBMISSION_ID": "seven"})


def test_max_concurrent_needs_plain_submits():
    """HTCondor cannot make spooled jobs one after the other."""
    assert "max_materialize = 3" in lines("-N", "9", "--maxConcurrent", "3", options=Options(("s",), spool=False))
    with pytest.raises(Invalid):
        described("-N", "9", "--maxConcurrent", "3")


# ------------------------------------------------------------------------------------------------ the wrapper


@pytest.fixture
def run(tmp_path):
    """Runs the wrapper of a payload as HTCondor would: in a directory of its own, with the files beside it."""
    def start(program, *, arguments=(), environment=None, files=(), outputs=(), archive=None):
        (tmp_path / wrapper.PROGRAM).write_text(program)
        for number, text in enumerate(files.values() if files else ()):
            (tmp_path / wrapper.file_name(number)).write_text(text)
        if archive:
            (tmp_path / wrapper.archive_name(0)).write_bytes(archive)
        payload = wrapper.Payload("my job.sh", arguments, environment or {}, "schedd.example", list(files),
                                  ["0_code.tar"] if archive else [], outputs)
        (tmp_path / wrapper.NAME).write_text(wrapper.script(payload))
        surroundings = {"PATH": "/usr/bin:/bin", "CLUSTER": "12", "PROCESS": "3", "_CONDOR_SCRATCH_DIR": str(tmp_path)}
        return subprocess.run(["bash", wrapper.NAME], cwd=tmp_path, env=surroundings, capture_output=True, timeout=60)
    return start


def test_names_reach_the_job_byte_for_byte(run):
    """Environment and arguments are data, whatever is in them."""
    environment = {f"NAME_{number}": name for number, name in enumerate(HOSTILE_NAMES)}
    variables = " ".join(f'"$NAME_{number}"' for number in range(len(HOSTILE_NAMES)))

    done = run(f"#!/bin/bash\nprintf '%s\\0' \"$@\" {variables}\n", arguments=HOSTILE_NAMES, environment=environment)

    assert done.stdout.decode().split("\0")[:-1] == [*HOSTILE_NAMES, *HOSTILE_NAMES]


def test_the_job_knows_itself(run):
    """Cluster, process and the id by which people know it."""
    done = run("#!/bin/sh\necho $CLUSTER $PROCESS $JOBSUBJOBID $JOBSUBJOBSECTION ${0##*/}")

    assert done.stdout.decode() == "12 3 12.3@schedd.example 4 my job.sh\n"


@pytest.mark.parametrize("outputs", [(), (("OUT", "out"),)])
@pytest.mark.parametrize(("program", "status"), [("#!/bin/sh\nexit 77", 77), ("#!/bin/bash\nkill -SEGV $$", -11),
                                                 ("#!/bin/sh\nexit 127", 127), ("#!/bin/sh\nexit 0", 0)])
def test_the_job_ends_as_its_program_did(run, tmp_path, program, status, outputs):
    """Exit codes and signals pass through, also with output to be copied."""
    done = run(program, outputs=[(tag, str(tmp_path / target)) for tag, target in outputs])

    assert done.returncode == status


@pytest.mark.parametrize("outputs", [False, True])
def test_a_program_that_cannot_start_asks_to_be_held(run, tmp_path, outputs):
    """The signal for that is told from any exit code of a program."""
    done = run("#!/nonexistent/interpreter\n", outputs=[("OUT", str(tmp_path / "out"))] if outputs else ())

    assert done.returncode == -63
    assert b"could not be started" in done.stderr


def test_input_files_have_their_own_names(run):
    """Names that no list of HTCondor can hold."""
    files = {"a,b c.txt": "one", "it's $(x)": "two"}

    done = run("#!/bin/sh\ncd \"$CONDOR_DIR_INPUT\" && for f in *; do echo \"$f: $(cat \"$f\")\"; done", files=files)

    assert done.stdout.decode().splitlines() == ["a,b c.txt: one", "it's $(x): two"]


def test_output_directories_are_copied(run, tmp_path):
    """What the job leaves in CONDOR_DIR_TAG arrives at its place."""
    target = tmp_path / "far away" / "here"

    done = run('#!/bin/sh\nmkdir "$CONDOR_DIR_OUT/sub"; echo hello > "$CONDOR_DIR_OUT/sub/x"',
               outputs=[("OUT", str(target))])

    assert done.returncode == 0
    assert (target / "sub" / "x").read_text() == "hello\n"


def test_output_that_cannot_be_copied_asks_for_a_hold(run):
    """A job whose output is lost must not look successful."""
    assert run("#!/bin/sh\ntrue", outputs=[("OUT", "/proc/nowhere")]).returncode == -62


def test_an_archive_that_is_none_asks_for_a_hold(run):
    """The program is not started without its code."""
    done = run("#!/bin/sh\necho started", archive=b"not a tar file")

    assert done.returncode == -61
    assert b"started" not in done.stdout
