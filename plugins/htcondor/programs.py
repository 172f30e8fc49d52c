"""The programs that launch scripts find on PATH, and how they are put there.

Not for what they do (``submission``). Invariant: each is a few lines that start this service's own Python by its
full path, so that they work whatever a site's setup does to PATH and PYTHONPATH.
"""

from __future__ import annotations

import sys
import uuid
from pathlib import Path

from poms.webservice.rules import shell

# Launch scripts can say poms-launch as they would say fife_launch elsewhere; it is loaded by its name only.
MODULES = {"jobsub_submit": "poms.plugins.htcondor.submission", "poms-launch": "poms.plugins.local.launcher.launch"}


def install(directory: Path) -> Path:
    """Have the programs in ``directory``; returns it. Those that are right already stay untouched."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, module in MODULES.items():
        text = shell.python_program(sys.executable, module)
        path = directory / name
        if not path.exists() or path.read_text() != text:
            # Written under another name first: another launch may be running it.
            temporary = directory / f".{name}.{uuid.uuid4().hex}"
            temporary.write_text(text)
            temporary.chmod(0o755)
            temporary.replace(path)
    return directory
