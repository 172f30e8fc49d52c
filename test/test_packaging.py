"""What is installed: everything that the service reads is in the wheel and the source archive, told to setuptools."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from poms.webservice.testing.fixtures import lacking

ROOT = Path(__file__).parents[1]
FOLDERS = ("webservice", "plugins", "templates", "static", "sql")
FILES = ("setup.py", "pyproject.toml", "README.md", "poms.ini")
NOT_INSTALLED = shutil.ignore_patterns("__pycache__")
BUILD = """
from setuptools import build_meta
print(build_meta.build_{kind}("built"))
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree, as what setuptools leaves behind is not to stand in this one."""
    if importlib.util.find_spec("setuptools") is None:
        lacking("setuptools", "packages are built with it; install it into the environment of the tests")
    copy = tmp_path_factory.mktemp("checkout")
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, copy / folder, ignore=NOT_INSTALLED)
    for name in FILES:
        shutil.copyfile(ROOT / name, copy / name)
    (copy / "built").mkdir()
    return copy


def build(checkout: Path, kind: str) -> tuple[Path, str]:
    """What setuptools made, and what it told meanwhile."""
    done = subprocess.run([sys.executable, "-c", BUILD.format(kind=kind)], cwd=checkout, text=True, check=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return checkout / "built" / done.stdout.split()[-1], done.stdout


def tree(checkout: Path) -> set[str]:
    return {str(file.relative_to(checkout)) for folder in FOLDERS for file in (checkout / folder).rglob("*")
            if file.is_file() and "__pycache__" not in file.parts}


def test_the_wheel_holds_every_file_of_the_service(checkout):
    """A service that is installed from a wheel has the templates, styles, scripts, pictures and migrations."""
    (checkout / "sql" / "versions" / "__pycache__").mkdir(exist_ok=True)
    (checkout / "sql" / "versions" / "__pycache__" / "old.cpython-311.pyc").touch()

    wheel, told = build(checkout, "wheel")

    with zipfile.ZipFile(wheel) as archive:
        held = {name.removeprefix("poms/") for name in archive.namelist() if name.startswith("poms/")}
    assert held == tree(checkout)
    assert "absent from the `packages` configuration" not in told


def test_the_source_archive_holds_every_file_of_the_service(checkout):
    """From the source archive the same service can be built."""
    archive, told = build(checkout, "sdist")

    with tarfile.open(archive) as opened:
        held = {name.partition("/")[2] for name in opened.getnames()}
    assert tree(checkout) | set(FILES) <= held
    assert "absent from the `packages` configuration" not in told
