"""poms-wrap in a job: the order of its steps, its names, and what survives kills and lost answers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from poms.plugins.local.launcher import wrap
from poms.webservice.testing.jobs import await_that

# An executable that copies its input, with a mark of its own, to out.root.
COPY = ["--exe", sys.executable, "--", "-c",
        "import sys; open('out.root','w').write('made of ' + open(sys.argv[1]).read())"]
WRITE = ["--exe", "sh", "--", "-c", "printf made > out.root"]


def output(tmp_path: Path, *more: str) -> list[str]:
    return ["--addoutput", "out.root", "--rename", "unique", "--dest", str(tmp_path / "out"), "--declare_metadata",
            "--add_location", *more]


@pytest.fixture
def three(sam, tmp_path):
    """A project of three input files."""
    for name in ("a.root", "b.root", "c.root"):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_text(name)
        sam.put(tmp_path / "in" / name)
    sam.start("p", ["a.root", "b.root", "c.root"])
    return sam


def located(tmp_path: Path) -> list[str]:
    directory = tmp_path / "out"
    return sorted(path.name for path in directory.iterdir()) if directory.exists() else []


# ---------------------------------------------------------------------------------------------- the ordinary way


def test_each_input_gets_one_located_child_and_is_consumed(jobs, three, tmp_path):
    """A job without a limit works through the whole project."""
    done = jobs.run("--multifile", *output(tmp_path), *COPY, project="p")

    assert done.status == 0, done.errors
    assert three.states("p") == dict.fromkeys(["a.root", "b.root", "c.root"], "consumed")
    assert [len(three.children(name)) for name in three.states("p")] == [1, 1, 1]
    assert three.processes == ["completed"]


def test_limit_leaves_the_other_files_to_other_jobs(jobs, three, tmp_path):
    """--limit 1 takes one file; the next job gets another."""
    for process in range(3):
        jobs.run("--multifile", "--limit", "1", *output(tmp_path), *COPY, project="p", process=process)

    assert len(three.processes) == 3
    assert set(three.states("p").values()) == {"consumed"}


def test_output_is_located_before_its_input_is_consumed(jobs, three, tmp_path):
    """Transferred, declared, located, consumed: in this order."""
    jobs.run("--multifile", "--limit", "1", *output(tmp_path), *COPY, project="p")

    steps = [request for request in three.requests if request.startswith(("POST", "PUT"))]
    assert [step.rsplit("/", 1)[-1] for step in steps] == [
        "establishProcess", "getNextFile", "updateFileStatus", "files", "locations", "updateFileStatus",
        "getNextFile", "status", "endProcess"]


def test_declared_metadata_says_where_the_file_came_from(jobs, three, tmp_path):
    """Parents, application, size, checksums and what was added by hand."""
    jobs.run("--multifile", "--limit", "1", "--appname", "g4", "--appfamily", "art", "--appvers", "v1",
             *output(tmp_path, "--add_metadata", "mc.note=it's é", "--add_metadata", "data_tier=raw"), *COPY,
             project="p")

    [child] = three.children("a.root")
    record = three.files[child]
    assert record["application"] == {"family": "art", "name": "g4", "version": "v1"}
    assert (record["mc.note"], record["data_tier"], record["content_status"]) == ("it's é", "raw", "good")
    assert record["file_size"] == len("made of a.root")
    assert [item.partition(":")[0] for item in record["checksum"]] == ["adler32", "md5"]
    assert record["process_id"] == 1
    assert [place["location"] for place in record["locations"]] == [f"local:{tmp_path / 'out'}"]
    assert (tmp_path / "out" / child).read_text() == "made of a.root"


def test_extractor_adds_to_the_metadata_but_not_to_identity(jobs, three, tmp_path):
    """The extractor's record is merged without nulls and filtered fields; it cannot rename or re-parent a file."""
    record = {"data_tier": "raw", "runs": [[1, 2, "mc"]], "file_name": "evil", "parents": [], "empty": None, "x.y": 1}
    dump = f"{sys.executable} -c 'import sys,json; print(json.dumps({{sys.argv[1]: {json.dumps(record)}}}))'".replace(
        "null", "None")

    done = jobs.run("--multifile", "--limit", "1", *output(tmp_path, "--filter_metadata", "x.y"),
                    "--metadata_extractor_unquote", wrap.quote(dump), *COPY, project="p")

    assert done.status == 0, done.errors
    [child] = three.children("a.root")
    assert three.files[child]["runs"] == [[1, 2, "mc"]]
    assert not {"empty", "x.y"} & set(three.files[child])


@pytest.mark.parametrize("extractor", ["false", "echo not json", "echo []", "/nowhere/extractor"])
def test_file_without_metadata_is_not_published(jobs, three, tmp_path, extractor):
    """An extractor that fails costs the input, not the truth of the catalogue."""
    done = jobs.run("--multifile", "--limit", "1", *output(tmp_path, "--metadata_extractor", extractor), *COPY,
                    project="p")

    assert (done.status, three.states("p")["a.root"], three.children("a.root")) == (1, "skipped", [])
    assert located(tmp_path) == []


def test_generator_output_is_tagged_for_its_consumers(jobs, sam, tmp_path):
    """Without input: no parents, a dataset tag, and one definition for each consuming stage."""
    for process in range(2):
        jobs.run(*output(tmp_path, "--add_to_dataset", "_poms_task"), *WRITE, process=process,
                 POMS_NUM_DEPENDENCIES="3")

    assert len(sam.files) == 2
    assert all(record["dataset.tag"] == "poms_depends_42_1" and "parents" not in record
               for record in sam.files.values())
    assert [sam.catalogue.count(f"defname: poms_depends_42_{n}") for n in (1, 2, 3)] == [2, 2, 2]
    assert len(sam.definitions) == 3


def test_analysis_datasets_carry_the_user(jobs, sam, tmp_path):
    """_poms_analysis puts the user's name into every definition."""
    jobs.run(*output(tmp_path, "--add_to_dataset", "_poms_analysis"), *WRITE, POMS_NUM_DEPENDENCIES="2")

    assert sam.definitions == {"poms_tester_depends_42_1", "poms_tester_depends_42_2"}


def test_project_that_is_not_ready_is_waited_for(jobs, three, tmp_path):
    """202 with Retry-After is asked again."""
    answers = iter(["wait", "wait"])
    three.trouble = lambda method, path: next(answers, "") if path.endswith("/getNextFile") else ""

    assert jobs.run("--multifile", *output(tmp_path), *COPY, project="p").status == 0
    assert set(three.states("p").values()) == {"consumed"}


def test_job_without_a_file_ends_well(jobs, three, tmp_path):
    """More jobs than files: the last one has nothing to do, which is no error."""
    jobs.run("--multifile", *output(tmp_path), *COPY, project="p")

    done = jobs.run("--multifile", *output(tmp_path), *COPY, project="p", process=1)

    assert (done.status, "no input file was left" in done.errors) == (0, True)


def test_several_outputs_of_one_input(jobs, three, tmp_path):
    """Numbered outputs and glob patterns are published each under its own name."""
    write = ["--exe", "sh", "--", "-c", "echo 1 > x_1.root; echo 2 > x_2.root; echo 3 > log.txt"]

    done = jobs.run("--multifile", "--limit", "1", "--addoutput", "x_*.root", "--rename", "unique", "--dest",
                    str(tmp_path / "out"), "--declare_metadata", "--add_location", "--addoutput1", "log.txt",
                    "--rename1", "unique", "--dest1", str(tmp_path / "logs"), *write, project="p")

    assert done.status == 0, done.errors
    assert len(located(tmp_path)) == 2
    assert len(list((tmp_path / "logs").iterdir())) == 1
    assert len(three.children("a.root")) == 2


def test_outputs_kept_in_the_job_are_not_taken_for_new_ones(jobs, three, tmp_path):
    """With no_delete_after_copy a glob pattern must not publish the first file's output again."""
    write = ["--exe", "sh", "--", "-c", 'cp "$1" new_$(basename "$1")', "x"]

    jobs.run("--multifile", "--no_delete_after_copy", "--addoutput", "new_*.root", *output(tmp_path)[2:], *write,
             project="p")

    assert [len(three.children(name)) for name in three.states("p")] == [1, 1, 1]


# --------------------------------------------------------------------------------------------------- what fails


def test_failing_executable_skips_the_file_and_goes_on(jobs, three, tmp_path):
    """One bad input: skipped, nothing declared of it, the others done, the first bad exit code is the job's."""
    code = "import sys; d=open(sys.argv[1]).read(); open('out.root','w').write(d); sys.exit(9 if d == 'b.root' else 0)"

    done = jobs.run("--multifile", *output(tmp_path), "--exe", sys.executable, "--", "-c", code, project="p")

    assert done.status == 9
    assert three.states("p") == {"a.root": "consumed", "b.root": "skipped", "c.root": "consumed"}
    assert three.children("b.root") == []
    assert three.processes == ["bad"]


def test_signal_of_the_executable_becomes_its_exit_status(jobs, three, tmp_path):
    """An executable killed by signal 11 gives 139."""
    code = "import os; os.kill(os.getpid(), 11)"

    assert jobs.run("--multifile", "--limit", "1", *output(tmp_path), "--exe", sys.executable, "--", "-c", code,
                    project="p").status == 139


def test_missing_executable_is_named(jobs, three, tmp_path):
    """A program that is not there gives 127 and its name."""
    done = jobs.run("--multifile", "--limit", "1", *output(tmp_path), "--exe", "nosuchlar", "--", project="p")

    assert (done.status, "nosuchlar cannot be started" in done.errors) == (127, True)


def test_missing_output_is_a_failure(jobs, three, tmp_path):
    """An executable that ends well but leaves no output does not consume its input."""
    done = jobs.run("--multifile", "--limit", "1", *output(tmp_path), "--exe", "true", "--", project="p")

    assert (done.status, three.states("p")["a.root"]) == (1, "skipped")


def test_input_that_cannot_be_fetched_is_skipped_once(jobs, three, tmp_path):
    """A file that is not where the catalogue says does not keep the job from the others."""
    (tmp_path / "in/b.root").unlink()

    done = jobs.run("--multifile", *output(tmp_path), *COPY, project="p")

    assert (done.status, three.states("p")) == (1, {"a.root": "consumed", "b.root": "skipped", "c.root": "consumed"})


def test_executable_over_its_time_is_stopped(jobs, three, tmp_path):
    """self_destruct_timer ends the executable so that the job can still report."""
    done = jobs.run("--multifile", "--limit", "1", "--self_destruct_timer", "0.2", *output(tmp_path), "--exe", "sh",
                    "--", "-c", "exec sleep 1000", project="p")

    assert (done.status, three.states("p")["a.root"]) == (124, "skipped")


@pytest.mark.parametrize(("arguments", "message"), [
    (["--nosuch", "--exe", "true"], "'--nosuch' is not an option"), (["--exe"], "'--exe' needs a value"),
    (["--ifdh_art", "--exe", "true"], "--ifdh_art"), ([], "no --exe"),
    (["--multifile", "--exe", "true"], "SAM_PROJECT"), (["--find_setups", "--exe", "true"], "no common set-up"),
    (["--data_dispatcher_project", "5", "--exe", "true"], "--data_dispatcher_project"),
])
def test_job_that_cannot_work_says_why(jobs, arguments, message):
    """Wrong or unsupported options end the job before anything is touched."""
    done = jobs.run(*arguments)

    assert (done.status, message in done.errors, "Traceback" in done.errors) == (1, True, False)


def test_failed_setup_touches_no_input(jobs, three):
    """A set-up file that is missing ends the job while its input is still free for others."""
    done = jobs.run("--multifile", "--source-unquote", "/nowhere/setup.sh", "--exe", "true", project="p")

    assert (done.status, "set-up failed" in done.errors, set(three.states("p").values())) == (1, True, {"unknown"})


def test_environment_of_the_setup_is_taken_over(jobs, tmp_path):
    """What source and export leave behind is there for the executable, newlines included."""
    (tmp_path / "setup.sh").write_text("export COLOUR='blue\ngreen'\nPATH=/added:$PATH\n")

    done = jobs.run("--source-unquote", wrap.quote(f"{tmp_path}/setup.sh"), "--export-unquote", "SIZE%3D%22a%20b%22",
                    "--exe", "sh", "--", "-c", 'echo "$COLOUR" "$SIZE" "$PATH"')

    assert done.output.startswith("blue\ngreen a b /added:")


def test_scripts_run_around_the_executable(jobs):
    """Pre-, user- and postscripts in order; finally always, also after a failure."""
    scripts = [part for kind in ("finally", "postscript", "userscript", "prescript")
               for part in (f"--{kind}", f"echo {kind}")]

    assert jobs.run(*scripts, "--exe", "echo", "--", "exe").output.split() == [
        "prescript", "exe", "userscript", "postscript", "finally"]
    assert jobs.run("--prescript", "exit 3", "--finally", "echo end", "--exe", "echo", "--", "exe").output == "end\n"


def test_output_streams_can_go_to_files(jobs, tmp_path):
    """exe_stdout and exe_stderr collect what the executable prints."""
    jobs.run("--exe", "sh", "--exe_stdout0", "so.txt", "--exe_stderr0", "se.txt", "--", "-c", "echo 1; echo 2 >&2")

    assert ((tmp_path / "scratch-1/so.txt").read_text(), (tmp_path / "scratch-1/se.txt").read_text()) == ("1\n", "2\n")


def test_arguments_of_several_executables(jobs):
    """Each executable has the arguments behind its own --; a further -- belongs to the last one."""
    done = jobs.run("--exe", "echo", "--exe", "echo", "--", "a", "--", "b", "--", "c", "\\")

    assert done.output == "a\nb -- c\n"


@pytest.mark.parametrize("text", ["it's", '"', "a b", "$(touch canary)", "`touch canary`", ";", "é\n", "*", "\\", "%s"])
def test_hostile_arguments_arrive_unchanged(jobs, tmp_path, text):
    """No shell stands between the batch system and the executable."""
    done = jobs.run("--exe", sys.executable, "--", "-c", "import sys; sys.stdout.write(sys.argv[1])", text, "end")

    assert done.output == text
    assert not (tmp_path / "scratch-1/canary").exists()


@pytest.mark.parametrize(("text", "expected"), [
    ("$fname", "f.root"), ("${fname}", "f.root"), (r"\\\\${fname}", "f.root"), (r"\${furi##*/}", "f.root"),
    (r"\${JOBSUBJOBSECTION:-\$PROCESS}", "4"), ("${nothing:-default}", "default"), ("a$none.b", "a.b"),
    ("${odd/form}", "${odd/form}"), ("5$", "5$"),
])
def test_variables_of_the_job_are_expanded(text, expected):
    """Protecting backslashes fall away, however many layers of quoting the configuration allowed for."""
    assert wrap.expand(text, {"fname": "f.root", "furi": "file:///x/f.root", "PROCESS": "4"}) == expected


def test_hostile_input_name_never_leaves_the_scratch_directory(jobs, sam, tmp_path):
    """A catalogue name that is a path or an option cannot write elsewhere."""
    place = tmp_path / "in"
    place.mkdir()
    (place / "-rf").write_text("x")
    sam.put(place / "-rf")
    sam.start("p", ["-rf"])

    done = jobs.run("--multifile", *output(tmp_path), *COPY, project="p")

    assert (done.status, "cannot be called '-rf'" in done.errors) == (1, True)


@pytest.mark.parametrize("name", ["a'b\".root", "a b;c.root", "$(touch canary).root", "é☃.root", "100%25.root"])
def test_hostile_input_names_are_processed(jobs, sam, tmp_path, name):
    """Quotes, blanks, substitutions and unicode in names reach catalogue and executable unchanged."""
    place = tmp_path / "in"
    place.mkdir()
    (place / name).write_text("x")
    sam.put(place / name)
    sam.start("p", [name])

    done = jobs.run("--multifile", *output(tmp_path), *COPY, project="p")

    assert done.status == 0, done.errors
    assert (sam.states("p")[name], len(sam.children(name))) == ("consumed", 1)


# -------------------------------------------------------------------------------------- lost answers and kills


@pytest.mark.parametrize("kind", ["refuse", "lose"])
def test_every_request_may_fail_twice(jobs, three, tmp_path, kind):
    """A server that goes away before or after any request: each file is still handed out and done exactly once."""
    seen: Counter[str] = Counter()

    def trouble(method: str, path: str) -> str:
        key = f"{method} {path}"
        seen[key] += 1
        return kind if seen[key] <= 2 else ""

    three.trouble = trouble
    done = jobs.run("--multifile", *output(tmp_path), *COPY, project="p")

    assert done.status == 0, done.errors
    assert len(three.processes) == 1
    assert set(three.states("p").values()) == {"consumed"}
    assert [len(three.children(name)) for name in three.states("p")] == [1, 1, 1]
    assert len(three.files) == 6


def test_server_that_stays_away_ends_the_job_in_time(jobs, three, tmp_path):
    """After retry_seconds the job ends badly; its file is left for a recovery."""
    three.trouble = lambda method, path: "refuse" if path == "/files" else ""

    done = jobs.run("--multifile", "--limit", "1", "--retry_seconds", "0.3", *output(tmp_path), *COPY, project="p")

    assert (done.status, three.states("p")["a.root"], three.children("a.root")) == (1, "skipped", [])
    assert "capability" not in done.errors


POINTS = {
    "declared": ("POST", "/files"), "located": ("POST", "/locations"), "consumed": ("POST", "/updateFileStatus"),
    "delivered": ("POST", "/getNextFile"), "signed-off": ("PUT", "/status"),
}


@pytest.mark.parametrize("when", ["kill-before", "kill-after"])
@pytest.mark.parametrize("point", sorted(POINTS))
def test_killed_job_and_its_recovery_leave_one_child(jobs, three, tmp_path, point, when):
    """Killed at any step, then recovered as POMS does it: every input has exactly one located child."""
    method, ending = POINTS[point]
    hits: list[str] = []

    def trouble(asked: str, path: str) -> str:
        if asked == method and path.endswith(ending):
            hits.append(path)
            return when if len(hits) == (2 if point == "consumed" else 1) else ""
        return ""

    three.trouble = trouble
    assert jobs.run("--multifile", "--limit", "1", *output(tmp_path), *COPY, project="p").status == -9
    three.trouble = lambda asked, path: ""
    three.catalogue.end_project("p")
    left = [name for name, state in three.states("p").items() if state != "consumed"]
    three.start("recovery", left)

    done = jobs.run("--multifile", *output(tmp_path), *COPY, project="recovery", cluster="8", POMS_TASK_ID="43",
                    POMS_PARENT_TASK_ID="42")

    assert done.status == 0, done.errors
    assert [len(three.children(name)) for name in three.states("p")] == [1, 1, 1]
    assert len(three.files) == 6
    assert len(located(tmp_path)) == 3


def test_killed_generator_job_started_again_makes_no_second_file(jobs, sam, tmp_path):
    """The batch system may start a job again: the same job gives the same name, other jobs give others."""
    sam.trouble = lambda method, path: "kill-after" if path.endswith("/locations") else ""
    jobs.run(*output(tmp_path, "--add_to_dataset", "_poms_task"), *WRITE)
    sam.trouble = lambda method, path: ""

    for process in (0, 1):
        assert jobs.run(*output(tmp_path, "--add_to_dataset", "_poms_task"), *WRITE, process=process).status == 0

    assert len(sam.files) == len(located(tmp_path)) == 2


def test_second_submission_of_the_same_input_makes_files_of_its_own(jobs, three, tmp_path):
    """Launching a stage again on purpose is not a recovery: it gets new files, the old ones stay."""
    jobs.run("--multifile", *output(tmp_path), *COPY, project="p")
    three.start("again", ["a.root"])

    jobs.run("--multifile", *output(tmp_path), *COPY, project="again", cluster="9", POMS_TASK_ID="50")

    assert len(three.children("a.root")) == 2


def test_located_child_is_kept_when_the_executable_is_not_repeatable(jobs, three, tmp_path):
    """A recovery whose output differs drops its own; what is located never changes."""
    jobs.run("--multifile", "--limit", "1", *output(tmp_path), *COPY, project="p")
    [first] = three.children("a.root")
    three.start("recovery", ["a.root"])

    done = jobs.run("--multifile", *output(tmp_path), "--exe", "sh", "--", "-c", "echo other > out.root",
                    project="recovery", POMS_TASK_ID="43", POMS_PARENT_TASK_ID="42")

    assert (done.status, three.children("a.root")) == (0, [first])
    assert (tmp_path / "out" / first).read_text() == "made of a.root"


def test_declared_but_unlocated_child_takes_the_new_content(jobs, three, tmp_path):
    """A first try that only declared: the recovery's size and checksum replace the old ones before it is located."""
    three.trouble = lambda method, path: "kill-after" if path == "/files" else ""
    jobs.run("--multifile", "--limit", "1", *output(tmp_path), *COPY, project="p")
    three.trouble = lambda method, path: ""
    three.start("recovery", ["a.root"])

    jobs.run("--multifile", *output(tmp_path), "--exe", "sh", "--", "-c", "printf other > out.root",
             project="recovery", POMS_TASK_ID="43", POMS_PARENT_TASK_ID="42")

    [child] = three.children("a.root")
    assert three.files[child]["file_size"] == len("other")
    assert (tmp_path / "out" / child).read_text() == "other"


def test_name_taken_by_a_stranger_is_refused(jobs, three, tmp_path):
    """Without unique names a second file of the same name is an error, not silently the first one."""
    plain = [word for word in output(tmp_path) if word not in ("--rename", "unique")]

    done = jobs.run("--multifile", *plain, *COPY, project="p")

    assert (done.status, "use rename = unique" in done.errors) == (1, True)
    assert sorted(three.states("p").values()) == ["consumed", "skipped", "skipped"]


def test_removed_job_stops_its_executable(sam, tmp_path):
    """SIGTERM, as a batch system sends it, ends wrapper and executable."""
    pipe = tmp_path / "started"
    os.mkfifo(pipe)
    job = subprocess.Popen([sys.executable, wrap.__file__, "--exe", "sh", "--",
                            "-c", f"echo $$ > {pipe}; exec sleep 1000"], cwd=tmp_path)
    executable = int(pipe.read_text())

    job.send_signal(signal.SIGTERM)

    assert job.wait(30) == 128 + signal.SIGTERM
    await_that(lambda: not is_running(executable))


def is_running(pid):
    """Whether a process does anything; one that is dead and not yet collected by its new parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False
