"""The editor's pure modules under node's own test runner."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from poms.webservice.testing.fixtures import lacking

TOP = Path(__file__).parents[2]


def test_the_pure_modules(tmp_path: Path):
    """Undo, operations and layout hold what they promise, in an engine that browsers have."""
    node = shutil.which("node")
    if not node:
        lacking("node", "no node was found; install Node.js 20")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    for name in ("model.js", "layout.js"):
        shutil.copy(TOP / "static" / "js" / "editor" / name, tmp_path)
    shutil.copy(Path(__file__).parent / "model.test.mjs", tmp_path)

    done = subprocess.run([node, "--test", "model.test.mjs"], cwd=tmp_path, capture_output=True, text=True,
                          timeout=250, check=False)

    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "# fail 0" in done.stdout and "# pass 0" not in done.stdout


@pytest.mark.parametrize("script", sorted((TOP / "static/js").rglob("*.js")), ids=lambda path: path.name)
def test_no_text_stands_inside_the_gaps_of_another(script):
    """What takes the room out of scripts reads such an inner text as code, and takes out its blanks."""
    assert not re.search(r"\$\{[^}`]*`", script.read_text())
