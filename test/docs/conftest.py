"""The sample plugin, installed in a directory of the test's own: what an author elsewhere would hand to an operator."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from poms.webservice.testing.jobs import await_that

SAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "poms_nightqueue"
PACKAGE = "poms_nightqueue"


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The package and its metadata, as an installer would put them into site-packages; no installer is needed."""
    target = tmp_path / "site"
    shutil.copytree(SAMPLE / PACKAGE, target / PACKAGE, ignore=shutil.ignore_patterns("__pycache__"))
    project = tomllib.loads((SAMPLE / "pyproject.toml").read_text())["project"]
    about = target / f"{PACKAGE}-{project['version']}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = [f"{name} = {value}" for name, value in project["entry-points"]["poms"].items()]
    (about / "entry_points.txt").write_text("\n".join(["[poms]", *lines, ""]))
    return target


@pytest.fixture
def on_path(installed: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The same, found by this process; forgotten at the end."""
    monkeypatch.syspath_prepend(str(installed))
    yield installed
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


@pytest.fixture
def nights(tmp_path: Path) -> Iterator[Path]:
    """A data directory for queues; their daemons are stopped at the end."""
    data_dir = tmp_path / "data"
    yield data_dir
    for lock in data_dir.glob("nightqueue/*/keeper.lock"):
        pid = int(lock.read_text())
        if str(lock.parent) in _command_of(pid):
            os.kill(pid, signal.SIGTERM)
            await_that(lambda lock=lock, pid=pid: str(lock.parent) not in _command_of(pid))


def _command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
