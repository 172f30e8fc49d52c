"""Programs and checks of the sample campaigns, loaded by their path: they are not part of a package."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from poms.webservice.services import samples
from poms.webservice.testing.fixtures import lacking

Run = Callable[..., subprocess.CompletedProcess[str]]


def load(folder: str, name: str) -> ModuleType:
    path = samples.library() / folder / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"sample_{folder}_{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module


@pytest.fixture(scope="session")
def loaded() -> Iterator[Callable[[str, str], ModuleType]]:
    """A sample's module by folder and name, each loaded once."""
    known: dict[tuple[str, str], ModuleType] = {}

    def get(folder: str, name: str) -> ModuleType:
        if (folder, name) not in known:
            known[folder, name] = load(folder, name)
        return known[folder, name]

    yield get


@pytest.fixture(scope="session")
def program() -> Run:
    """Runs a sample's program as a job does: by its path, in a directory of its own."""
    def run(folder: str, name: str, *words: str | Path, cwd: Path, process: int = 0) -> \
            subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, str(samples.library() / folder / f"{name}.py"), *map(str, words)],
                              cwd=cwd, capture_output=True, text=True, check=False, timeout=120,
                              env={"PATH": os.environ["PATH"], "PROCESS": str(process)})

    return run


@pytest.fixture(scope="session")
def physics() -> None:
    """The libraries of the extra ``samples``."""
    missing = [name for name in ("pythia8mc", "fastjet", "uproot", "numpy") if importlib.util.find_spec(name) is None]
    if missing:
        lacking("samples", f"{', '.join(missing)} not installed; pip install 'poms[samples]'")
