"""The sample campaign sbnd_mc: five stages by hand, its payload, and the check that shows lost and doubled files."""

from __future__ import annotations

import configparser
import gzip
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from poms.plugins.local.launcher import configuration

SAMPLE = Path(configuration.find_file("sbnd_mc/sbnd_launch.cfg")).parent
STAGES = ["gen", "g4", "detsim", "reco", "anatree"]
REQUEST_BYTES = 128 * 1024 * 1024


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"sample_{name}", SAMPLE / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


check_physics = load("check").check_physics


def lar(*arguments: str, cwd: Path, process: int = 0) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SAMPLE / "lar.py"), *arguments], cwd=cwd, capture_output=True,
                          text=True, check=False, env={"PATH": os.environ["PATH"], "PROCESS": str(process)})


def test_all_jobs_of_all_stages_succeed(campaign):
    """Five stages of five jobs; each file has one located child in the next stage."""
    assert campaign.statuses == {stage: [0] * 5 for stage in STAGES}
    assert {stage: len(files) for stage, files in campaign.files.items()} == dict.fromkeys(STAGES, 5)
    for stage in STAGES[:-1]:
        assert [len(campaign.sam.children(path.name)) for path in campaign.files[stage]] == [1] * 5
    for number in range(102, 106):
        assert set(campaign.sam.states(f"project{number}").values()) == {"consumed"}


def test_names_carry_the_stage_and_the_submission(campaign):
    """Dependencies select by names like gen_%.root."""
    assert all(path.name.startswith(f"{stage}_{number}_")
               for number, stage in enumerate(STAGES, 101) for path in campaign.files[stage])


def test_catalogue_knows_tier_run_and_events(campaign):
    """What the extractor says is declared, with the stage's application and version."""
    for stage, tier in zip(STAGES, ["generated", "simulated", "detector-simulated", "reconstructed", "root-tuple"],
                           strict=True):
        records = [campaign.sam.files[path.name] for path in campaign.files[stage]]
        assert {record["data_tier"] for record in records} == {tier}
        assert sorted(record["runs"] for record in records) == [[[1000, n, "mc"]] for n in range(5)]
        assert {record["event_count"] for record in records} == {400}
        assert all(record["application"] == {"family": "lar", "name": stage, "version": "v06_48_00_MCC"}
                   for record in records)


def test_generated_files_are_tagged_for_the_next_stage(campaign):
    """The generator has no input: its files are found by their tag."""
    assert campaign.sam.catalogue.count("defname: poms_depends_101_1") == 5
    assert {campaign.sam.files[path.name]["dataset.tag"] for path in campaign.files["gen"]} == {"poms_depends_101_1"}


def test_physics_is_right_for_the_directory_and_for_the_files(campaign):
    """The check takes a directory or exactly the files of one campaign."""
    assert check_physics(campaign.output).passed, str(check_physics(campaign.output))
    assert check_physics(campaign.all_files).passed


@pytest.mark.parametrize("stage", ["gen", "anatree"])
def test_lost_file_fails_the_check(campaign, stage):
    """One file less is seen."""
    files = [path for path in campaign.all_files if path != campaign.files[stage][2]]

    report = check_physics(files)

    assert not report.passed
    assert any(f"{stage} files" in line for line in report.failures)


@pytest.mark.parametrize("stage", ["gen", "anatree"])
def test_doubled_file_fails_the_check(campaign, stage):
    """One file twice is seen, also when it makes up for a lost one."""
    files = [campaign.files[stage][1] if path == campaign.files[stage][2] else path for path in campaign.all_files]

    assert not check_physics([*campaign.all_files, campaign.files[stage][0]]).passed
    assert any("events" in line for line in check_physics(files).failures)


def test_truncated_file_fails_the_check(campaign, tmp_path):
    """A file of which a part is missing is no file."""
    shutil.copytree(campaign.output, tmp_path / "out")
    victim = next((tmp_path / "out").rglob("anatree_*.root"))
    victim.write_bytes(victim.read_bytes()[:-20])

    assert not check_physics(tmp_path / "out").passed


def test_wrong_energy_scale_fails_the_check(campaign, tmp_path):
    """The check looks at numbers, not only at files: a detector miscalibrated by five per cent is seen."""
    shutil.copytree(campaign.output, tmp_path / "out")
    for path in (tmp_path / "out").rglob("anatree_*.root"):
        lines = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
        lines[1]["ratio_sum"] *= 1.05
        lines[1]["ratio_square_sum"] *= 1.05 ** 2
        with gzip.open(path, "wt") as stream:
            stream.write("".join(json.dumps(line) + "\n" for line in lines))

    assert any("reconstructed over true energy" in line for line in check_physics(tmp_path / "out").failures)


def test_no_files_at_all_is_not_a_pass(tmp_path):
    """An empty directory fails."""
    assert not check_physics(tmp_path).passed
    assert not check_physics([]).passed


def test_one_g4_job_needs_more_memory_than_requested(campaign, tmp_path):
    """The air shower's file exceeds the request by far; the others stay well below it."""
    measure = ("import runpy, sys\nsys.argv.pop(0)\ntry:\n    runpy.run_path(sys.argv[0], run_name='__main__')\n"
               "finally:\n"
               "    print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')))")
    peak = {}
    for path in campaign.files["gen"]:
        done = subprocess.run(
            [sys.executable, "-c", measure, str(SAMPLE / "lar.py"), "-c", "standard_g4_sbnd.fcl", "-o", "g4.root",
             "-s", str(path)],
            cwd=tmp_path, capture_output=True, text=True, check=False)
        peak[path.name] = int(done.stdout.split("VmHWM:")[1].split()[0]) * 1024

    assert [size > 1.5 * REQUEST_BYTES for size in peak.values()].count(True) == 1
    assert [size < 0.5 * REQUEST_BYTES for size in peak.values()].count(True) == 4


def test_same_section_gives_the_same_bytes(tmp_path):
    """A job that is done again makes the very same file; another section makes another."""
    for name, process in (("a.root", 1), ("b.root", 1), ("c.root", 2)):
        assert lar("-c", "prodgen_sbnd.fcl", "-o", name, "-s", cwd=tmp_path, process=process).returncode == 0

    a, b, c = ((tmp_path / name).read_bytes() for name in ("a.root", "b.root", "c.root"))
    assert a == b != c


@pytest.mark.parametrize(("arguments", "message"), [
    (["-c", "nosuch.fcl", "-o", "x.root"], "nosuch.fcl was found neither"),
    (["-c", "standard_g4_sbnd.fcl", "-o", "x.root", "-s"], "g4 needs an input file"),
    (["-c", "standard_g4_sbnd.fcl", "-o", "x.root", "-s", "bad.root"], "bad.root cannot be read"),
    (["-c", "standard_reco_sbnd.fcl", "-o", "x.root", "-s", "gen.root"], "reco reads files of detsim"),
    (["-c", "prodgen_sbnd.fcl", "-o", "x.root", "-s", "gen.root"], "gen takes no input"),
    (["-c", "bad.fcl", "-o", "x.root"], "bad.fcl, line 1"),
])
def test_payload_refuses_what_it_cannot_do(tmp_path, arguments, message):
    """Wrong configuration or input: exit status 1, a sentence, no output file."""
    lar("-c", "prodgen_sbnd.fcl", "-o", "gen.root", "-s", cwd=tmp_path)
    (tmp_path / "bad.root").write_text("not an event file")
    (tmp_path / "bad.fcl").write_text("process_name = gen\n")

    done = lar(*arguments, cwd=tmp_path)

    assert (done.returncode, message in done.stderr, (tmp_path / "x.root").exists()) == (1, True, False)


def test_sample_folder_describes_itself():
    """sample.json names files that exist and the stages that the campaign has."""
    described = json.loads((SAMPLE / "sample.json").read_text())
    text = configparser.RawConfigParser()
    text.read(SAMPLE / described["campaign"])

    assert (SAMPLE / described["launch_configuration"]).is_file()
    assert (SAMPLE / described["check"]["file"]).is_file()
    assert text.get("campaign", "name") == described["name"]
    assert text.get("campaign", "campaign_stage_list").split(",") == described["expected"]["stages"]
    assert text.has_section(f"login_setup {described['login_setup']}")


def test_every_stage_of_the_campaign_can_be_launched():
    """Each stage's overrides settle the launch configuration; its job type launches that file."""
    text = configparser.RawConfigParser()
    text.read(SAMPLE / "campaign.ini")
    for stage in STAGES:
        [[option, name]] = json.loads(text.get(f"campaign_stage {stage}", "param_overrides"))
        settled = configuration.read(configuration.find_file("sbnd_mc/sbnd_launch.cfg"))
        configuration.settle(settled, stages=[name])

        assert option == "--stage="
        assert settled.get("job_output", "addoutput") == f"{stage}.root"
        assert (SAMPLE / settled.get("executable", "arg_2")).is_file()
    for section in ("job_type sbnd_mc_generator", "job_type sbnd_mc_lar"):
        assert text.get(section, "launch_script") == "poms-launch -c sbnd_mc/sbnd_launch.cfg"
