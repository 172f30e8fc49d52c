"""The programs that launch scripts find on PATH, and how they are put there.

Not for what they do (``submission``, ``control``). Invariant: each is a few lines that start this service's
own Python by its full path, so that they work whatever a site's setup does to PATH and PYTHONPATH.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from poms.plugins.local.batch.spool import Spool, write_file
from poms.webservice.errors import PomsError
from poms.webservice.rules import shell

SPOOL_VARIABLE = "POMS_LOCAL_BATCH"
EXPERIMENT_VARIABLE = "POMS_LOCAL_EXPERIMENT"
NAMES = ("jobsub_submit", "jobsub_q", "jobsub_hold", "jobsub_release", "jobsub_rm", "jobsub_fetchlog")
# Found beside them, so that launch scripts can say poms-launch as they would say fife_launch elsewhere.
LAUNCHERS = {"poms-launch": "poms.plugins.local.launcher.launch"}


def install(spool: Spool) -> Path:
    """Have the programs in the spool's own directory; returns it. Those that are right already stay untouched."""
    texts = {name: shell.python_program(sys.executable, "poms.plugins.local.batch.programs", name) for name in NAMES}
    texts |= {name: shell.python_program(sys.executable, module) for name, module in LAUNCHERS.items()}
    for name, text in texts.items():
        path = spool.programs / name
        if not path.exists() or path.read_text() != text:
            # Written under another name first: another launch may be running it.
            temporary = path.with_name(f".{name}.{os.getpid()}.{id(text)}")
            write_file(temporary, text, durable=False)
            temporary.chmod(0o755)
            temporary.replace(path)
    return spool.programs


def main(words: Sequence[str]) -> int:
    from poms.plugins.local.batch import control, submission

    name, *rest = words
    directory = os.environ.get(SPOOL_VARIABLE, "")
    if not directory.startswith("/"):
        print(f"Error: {SPOOL_VARIABLE} is not set; {name} works in launch scripts of POMS only.", file=sys.stderr)
        return 1
    spool = Spool(Path(directory))
    try:
        spool.prepare()
    except PomsError as problem:
        print(f"Error: {type(problem).__name__}: {problem}", file=sys.stderr)
        return 1
    if name == "jobsub_submit":
        return submission.main(rest, os.environ, spool)
    return control.main(name, rest, os.environ, spool)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
