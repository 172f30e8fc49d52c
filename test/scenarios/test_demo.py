"""The demonstration, as a person runs it: the whole sample campaign on the real server, agent and batch system."""

import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from poms.webservice.demo.__main__ import EXTRA_MODULES
from poms.webservice.services import samples
from poms.webservice.testing.fixtures import lacking
from test.plugins.conftest import condor_pool

STAGES = ["gen", "g4", "detsim", "reco", "anatree"]


def run_demo(data_dir: Path, *options: str, seconds: float = 280) -> tuple[int, dict]:
    """Exit status and summary of one run on a free port."""
    done = subprocess.run(
        [sys.executable, "-m", "poms.webservice.demo", "--exit", "--json", "--port", "0", "--data-dir", str(data_dir),
         *options], capture_output=True, timeout=seconds, check=False)
    assert done.stdout.strip(), done.stderr.decode()[-3000:]
    return done.returncode, json.loads(done.stdout.splitlines()[-1])


def assert_whole(status: int, summary: dict) -> None:
    """Five stages located, 25 payload jobs, one recovery, each file made once, and the physics right."""
    assert status == 0, summary
    assert summary["finished"] is True
    assert summary["campaign"] == "sbnd_mc"
    assert [stage["name"] for stage in summary["stages"]] == STAGES
    assert {stage["status"] for stage in summary["stages"]} == {"Located"}
    assert [stage["submissions"] for stage in summary["stages"]] == [1, 1, 1, 1, 1]
    assert [stage["recoveries"] for stage in summary["stages"]] == [0, 1, 0, 0, 0]
    assert [stage["jobs"]["succeeded"] for stage in summary["stages"]] == [5, 5, 5, 5, 5]
    assert [stage["jobs"]["failed"] for stage in summary["stages"]] == [0, 0, 0, 0, 0]
    assert [stage["files_in"] for stage in summary["stages"]] == [0, 5, 5, 5, 5]
    assert [stage["files_out"] for stage in summary["stages"]] == [5, 5, 5, 5, 5]
    assert (summary["duplicates"], summary["lost"]) == (0, 0)
    assert summary["checks"] == {"physics": "passed"}


def test_demo_runs_the_whole_campaign(tmp_path):
    """A fresh service runs the sample from its first launch to its histograms, one recovery included."""
    status, summary = run_demo(tmp_path / "demo")

    assert_whole(status, summary)


def assert_as_promised(status: int, summary: dict, name: str) -> None:
    """Every stage located with exactly the submissions, jobs and files that the sample promises; nothing lost."""
    sample = samples.find(name)
    assert status == 0, summary
    assert summary["finished"] is True
    assert summary["campaign"] == name
    assert [stage["name"] for stage in summary["stages"]] == list(sample.stages)
    for stage in summary["stages"]:
        promised = dict(sample.counts[stage["name"]])
        assert (stage["status"], stage["recoveries"]) == ("Located", 0), stage
        assert stage["jobs"] == {"succeeded": promised.pop("jobs"), "failed": 0, "held": 0, "removed": 0}, stage
        assert {key: stage[key] for key in promised} == promised
    assert (summary["duplicates"], summary["lost"]) == (0, 0)
    assert summary["checks"] == {"counts": "passed", "physics": "passed"}


@pytest.mark.parametrize("name", ["splitmerge", "approval", "analysis"])
def test_sample_runs_to_its_end(tmp_path, name):
    """A fresh service runs the sample with exact counts, its approval given by the client."""
    status, summary = run_demo(tmp_path / "demo", "--sample", name)

    assert_as_promised(status, summary, name)


@pytest.mark.timeout(600)
def test_files_are_processed_as_they_arrive(tmp_path):
    """Ten files arrive one by one; the schedule launches slices of four at most until each was processed once."""
    status, summary = run_demo(tmp_path / "demo", "--sample", "keepup", seconds=580)

    assert_as_promised(status, summary, "keepup")
    assert summary["stages"][1]["submissions"] >= 3


@pytest.mark.timeout(900)
def test_jets_are_made_from_collisions_to_histograms(tmp_path):
    """The sample with real physics: four points, each from Pythia to a ROOT file and a plot, checked together."""
    missing = [name for name in EXTRA_MODULES["samples"] if importlib.util.find_spec(name) is None]
    if missing:
        lacking("samples", f"{', '.join(missing)} not installed; pip install 'poms[samples]'")

    status, summary = run_demo(tmp_path / "demo", "--sample", "dijets", seconds=880)

    assert_as_promised(status, summary, "dijets")
    assert sorted(path.suffix for path in (tmp_path / "demo/output/dijets/dijets").iterdir()) == [".root"] * 4 + \
        [".svg"] * 4


@pytest.mark.htcondor
@pytest.mark.timeout(600)
def test_demo_runs_on_a_real_htcondor_pool():
    """The same campaign on a throw-away pool ends with the same summary as on this machine alone."""
    problem = condor_pool.lacking()
    if problem:
        lacking("htcondor", problem)
    # Not below pytest's own directory: jobs run as another account, which cannot enter that.
    with tempfile.TemporaryDirectory(prefix="poms-demo-", ignore_cleanup_errors=True) as directory:
        Path(directory).chmod(0o755)

        status, summary = run_demo(Path(directory) / "demo", "--batch", "htcondor", "--pool-script", seconds=580)

    assert_whole(status, summary)


def test_directory_closed_to_the_pools_jobs_is_named(tmp_path):
    """Where jobs of another account could not read and write, nothing is begun."""
    tmp_path.chmod(0o700)

    done = subprocess.run([sys.executable, "-m", "poms.webservice.demo", "--exit", "--port", "0", "--batch", "htcondor",
                           "--pool-script", "--data-dir", str(tmp_path / "demo")],
                          capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 2
    assert f"another account, which cannot enter {tmp_path}" in " ".join(done.stderr.split())


@pytest.mark.faults
@pytest.mark.timeout(0)
def test_crashes_change_nothing(tmp_path, long_schedules, seed):
    """Server and agent killed at twenty random moments and restarted: the same counts, nothing lost or doubled."""
    for each in range(seed, seed + long_schedules):
        status, summary = run_demo(tmp_path / f"demo-{each}", "--crashes", "20", "--seed", str(each))

        assert_whole(status, summary)
        assert summary["crashes"] == 20, f"seed {each}"


@pytest.mark.parametrize(("options", "message"), [
    (["--sample", "no_such"], "There is no sample"),
    (["--data-dir", "{occupied}"], "is not empty and was not made by bin/demo"),
    (["--batch", "htcondor"], "--batch htcondor needs a pool. Either name one"),
    (["--batch", "htcondor", "--htcondor", "{occupied}/thesis.tex"], "has no section [htcondor]"),
    (["--batch", "htcondor", "--pool-script", "{occupied}/none.py"], "There is no"),
    (["--pool-script"], "go with --batch htcondor"),
])
def test_demo_refuses_what_it_cannot_do(tmp_path, options, message):
    """A wrong option is said in one sentence, with a non-zero exit status and nothing touched."""
    occupied = tmp_path / "occupied"
    occupied.mkdir()
    (occupied / "thesis.tex").write_text("precious")
    words = [option.format(occupied=occupied) for option in options]
    if "--data-dir" not in words:
        words += ["--data-dir", str(tmp_path / "demo")]

    done = subprocess.run([sys.executable, "-m", "poms.webservice.demo", "--exit", "--port", "0", *words],
                          capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())
    assert (occupied / "thesis.tex").read_text() == "precious"


def test_demo_names_a_port_in_use(tmp_path):
    """A port that another program listens on is named, with the option that helps."""
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        done = subprocess.run([sys.executable, "-m", "poms.webservice.demo", "--exit", "--port", str(port),
                               "--data-dir", str(tmp_path / "demo")],
                              capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 2
    assert f"Port {port} is in use" in " ".join(done.stderr.split())
