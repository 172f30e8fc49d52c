"""poms-wrap --merge: many inputs, one run of the executable, one output; and what survives kills."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

NAMES = ["a.root", "b's.root", "c.root"]
# An executable that writes the contents of all its inputs, in order, into one file.
CONCATENATE = ["--exe", sys.executable, "--", "-c",
               "import sys; open('all.root','w').write('+'.join(open(n).read() for n in sorted(sys.argv[1:])))"]


def output(tmp_path: Path, *more: str) -> list[str]:
    return ["--addoutput", "all.root", "--rename", "unique", "--dest", str(tmp_path / "out"), "--declare_metadata",
            "--add_location", *more]


@pytest.fixture
def three(sam, tmp_path):
    """A project of three input files."""
    (tmp_path / "in").mkdir()
    for name in NAMES:
        (tmp_path / "in" / name).write_text(name[0])
        sam.put(tmp_path / "in" / name)
    sam.start("p", NAMES)
    return sam


def left_undone(sam, project: str) -> list[str]:
    return [name for name, state in sam.states(project).items() if state != "consumed"]


def test_all_inputs_become_one_file(jobs, three, tmp_path):
    """One output, with every input among its parents; all inputs are consumed."""
    done = jobs.run("--merge", *output(tmp_path), *CONCATENATE, project="p")

    assert done.status == 0, done.errors
    [child] = {child for name in NAMES for child in three.children(name)}
    assert sorted(parent["file_name"] for parent in three.files[child]["parents"]) == NAMES
    assert (tmp_path / "out" / child).read_text() == "a+b+c"
    assert set(three.states("p").values()) == {"consumed"}
    assert three.processes == ["completed"]


def test_limit_merges_so_many_at_a_time(jobs, three, tmp_path):
    """Two jobs of at most two files each: two merged files, each input in one of them."""
    for process in range(2):
        jobs.run("--merge", "--limit", "2", *output(tmp_path), *CONCATENATE, project="p", process=process)

    assert [len(three.children(name)) for name in NAMES] == [1, 1, 1]
    assert sorted(path.read_text() for path in (tmp_path / "out").iterdir()) == ["a+b", "c"]


def test_merge_of_nothing_makes_no_file(jobs, three, tmp_path):
    """A job that comes too late ends well and publishes nothing."""
    jobs.run("--merge", *output(tmp_path), *CONCATENATE, project="p")

    late = jobs.run("--merge", *output(tmp_path), *CONCATENATE, project="p", process=1)

    assert late.status == 0, late.errors
    assert len(list((tmp_path / "out").iterdir())) == 1


def test_failed_merge_leaves_all_inputs_to_a_recovery(jobs, three, tmp_path):
    """Nothing is consumed, nothing is published, the job's status is the executable's."""
    done = jobs.run("--merge", *output(tmp_path), "--exe", "sh", "--", "-c", "exit 3", "sh", project="p")

    assert done.status == 3
    assert set(three.states("p").values()) == {"skipped"}
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("moment", ["declared", "located", "one consumed", "two consumed"])
def test_killed_merge_and_its_recovery_use_each_input_once(jobs, three, tmp_path, moment):
    """Whenever the first job is killed, after the recovery each input is consumed and has one located child."""
    consumed = []

    def trouble(method: str, path: str) -> str:
        if moment == "declared" and method == "POST" and path == "/files":
            return "kill-after"
        if moment == "located" and method == "POST" and path.endswith("/locations"):
            return "kill-after"
        if path.endswith("/updateFileStatus"):
            consumed.append(path)
            # The first three reports say that the inputs were transferred.
            return "kill-after" if len(consumed) == {"one consumed": 4, "two consumed": 5}.get(moment) else ""
        return ""

    three.trouble = trouble
    assert jobs.run("--merge", *output(tmp_path), *CONCATENATE, project="p").status == -9
    three.trouble = lambda method, path: ""
    three.start("again", left_undone(three, "p"))

    done = jobs.run("--merge", *output(tmp_path), *CONCATENATE, project="again", cluster="8", POMS_TASK_ID="43",
                    POMS_PARENT_TASK_ID="42")

    assert done.status == 0, done.errors
    assert left_undone(three, "again") == []
    assert [len(three.children(name)) for name in NAMES] == [1, 1, 1]
    assert [path.read_text() for path in (tmp_path / "out").iterdir()] == ["a+b+c"]


def test_other_submissions_merge_the_same_files_again(jobs, three, tmp_path):
    """What another submission merged is no reason to leave a file out."""
    jobs.run("--merge", *output(tmp_path), *CONCATENATE, project="p")
    three.start("q", NAMES)

    done = jobs.run("--merge", *output(tmp_path), *CONCATENATE, project="q", POMS_TASK_ID="77")

    assert done.status == 0, done.errors
    assert [len(three.children(name)) for name in NAMES] == [2, 2, 2]


@pytest.mark.parametrize("words", [
    [], ["--addoutput", "all*.root", "--rename", "unique"], ["--addoutput", "all.root"],
])
def test_merge_that_could_not_be_recovered_is_refused(jobs, three, words):
    """Without outputs that a later try would recognise nothing is begun."""
    done = jobs.run("--merge", *words, *CONCATENATE, project="p")

    assert done.status == 1
    assert "--merge needs an output" in done.errors
    assert three.processes == []
