"""The sample plugin of docs/plugins.md: its package, its contracts, and a campaign that runs through it."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from poms.webservice import config, migrations
from poms.webservice.app import make_core
from poms.webservice.backends import Backends
from poms.webservice.model import LoginSetup
from poms.webservice.rules import shell
from poms.webservice.rules.statuses import Status
from poms.webservice.testing.fixtures import lacking
from poms.webservice.testing.jobs import await_that
from poms.webservice.testing.world import World, stage

SAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "poms_nightqueue"
MODULES = [pytest.param(path, id=path.name) for path in sorted((SAMPLE / "poms_nightqueue").glob("*.py"))]
MAY_IMPORT = ("hookspecs", "interfaces", "errors", "rules", "launch_scripts", "sam_projects")


def settings_of(data_dir: Path, text: str = ""):
    return config.parse(f"[service]\ndata_dir = {data_dir}\n[experiment_defaults]\njob_backend = nightqueue\n"
                        f"[nightqueue]\nopens = 00:00\ncloses = 00:00\nslots = 2\n{text}", directory=data_dir.parent)


@pytest.mark.parametrize("path", MODULES)
def test_sample_uses_the_public_door_only(path):
    """Of POMS the sample imports what is open to every plugin, and nothing else."""
    wrong = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else \
            [f"{node.module}.{alias.name}" for alias in node.names] if isinstance(node, ast.ImportFrom) else []
        wrong |= {name for name in names if name.startswith("poms.") and name.split(".")[2] not in MAY_IMPORT}

    assert not wrong


def test_installed_sample_is_found_by_its_entry_point(on_path, tmp_path):
    """Nothing is said to POMS but the name of the batch system; settings, split type and check come along."""
    backends = Backends(settings_of(tmp_path / "data"))

    assert "nightqueue" in [offer.name for offer in backends.offered("job_backend")]
    assert backends.split_types["rampup"].parse([(None, "5")]) == {"first": 5}
    assert backends.settings.warnings == ()
    assert [result.level for result in backends.start_checks() if result.subject == "nightqueue"] == ["ok"]


def test_hours_that_cannot_be_read_forbid_the_start(on_path, tmp_path):
    """The sample's start check names the key and how to write it."""
    settings = config.parse("[experiment_defaults]\njob_backend = nightqueue\n[nightqueue]\nopens = dusk\n",
                            directory=tmp_path)

    (result,) = [each for each in Backends(settings).start_checks() if each.subject == "nightqueue"]

    assert result.level == "error"
    assert "dusk" in result.message
    assert "20:00" in result.message


def test_sample_is_packaged_as_described(tmp_path):
    """pip builds and installs it with the entry point that its pyproject declares."""
    if importlib.util.find_spec("setuptools") is None:
        lacking("setuptools", "a package is built with it; install it into the environment of the tests")
    source, target = tmp_path / "source", tmp_path / "target"
    shutil.copytree(SAMPLE, source)

    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation",
         "--target", target, source], capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr
    (found,) = importlib.metadata.distributions(path=[str(target)])
    assert [(entry.group, entry.name, entry.value) for entry in found.entry_points] == [
        ("poms", "nightqueue", "poms_nightqueue")]
    assert (target / "poms_nightqueue" / "backend.py").is_file()


def test_sample_keeps_the_contracts(installed, tmp_path):
    """Its own tests, which apply POMS' contract kits, pass as its author would run them: outside POMS' checkout."""
    tests = tmp_path / "elsewhere"
    shutil.copytree(SAMPLE / "tests", tests, ignore=shutil.ignore_patterns("__pycache__"))

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'work'}", "."],
        cwd=tests, env={**os.environ, "PYTHONPATH": str(installed)}, capture_output=True, text=True, timeout=280)

    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]


def test_campaign_runs_through_the_sample(on_path, nights, tmp_path):
    """A stage launched in the ordinary way gets its jobs into the queue, they are followed, and it is Located."""
    settings = settings_of(nights)
    migrations.upgrade(settings.database.url, Backends(settings).databases())
    core = make_core(settings)
    world = World(core)
    program = tmp_path / "job's program.sh"
    program.write_text("#!/bin/sh\necho job $PROCESS of $POMS4_SUBMISSION_ID\n")
    program.chmod(0o755)
    command = f"night_submit --jobs 2 --memory 100 {shell.quote(str(program))}"
    campaign = world.campaign_with(stage("only", completion="complete", script=command))
    world.change(LoginSetup, world.stage_row(campaign, "only").login_setup_id, launch_account="")

    number = world.submission(campaign, "only")
    await_that(lambda: world.poll() and world.status(number) is Status.COMPLETED, lambda: world.status(number))
    world.wrap_up()

    submission = world.get(number)
    log = core.backends.jobs("samdev").fetch_log(submission.jobsub_job_id.replace("@", ".1@"), "stdout")
    assert world.status(number) is Status.LOCATED
    assert (submission.jobs_completed, submission.jobs_failed) == (2, 0)
    assert b"".join(log) == f"job 1 of {number}\n".encode()
    core.db.close()
