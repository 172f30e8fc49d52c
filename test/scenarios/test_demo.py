"""The demonstration, as a person runs it: the whole sample campaign on the real server, agent and batch system."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

STAGES = ["gen", "g4", "detsim", "reco", "anatree"]


def run_demo(data_dir: Path, *options: str) -> tuple[int, dict]:
    """Exit status and summary of one run on a free port."""
    done = subprocess.run(
        [sys.executable, "-m", "poms.webservice.demo", "--exit", "--json", "--port", "0", "--data-dir", str(data_dir),
         *options], capture_output=True, timeout=280, check=False)
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
