"""The HTCondor pool of ``bin/demo --batch htcondor``: settings of one that is there, or the tests' throw-away pool.

Not for talking to it (``plugins``). Invariant: a pool that was started here ends with the demonstration, however
that ends.
"""

from __future__ import annotations

import configparser
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from poms.webservice.errors import ConfigurationError

SECTION = "htcondor"
POOL_SCRIPT = Path(__file__).resolve().parents[2] / "test" / "pool" / "condor_pool.py"
NEEDED = (
    "--batch htcondor needs a pool. Either name one, --htcondor FILE, a file with a section [htcondor] as in poms.ini "
    "(docs/htcondor.md); its workers must be this machine, because the demonstration listens on loopback only. Or "
    "have a throw-away pool started for the demonstration: --pool-script, as root and from a checkout."
)
STOP_SECONDS = 60


def settings_in(file: Path) -> dict[str, str]:
    """The section [htcondor] of a file; raises ConfigurationError."""
    found = configparser.ConfigParser(interpolation=None, delimiters=("=",), strict=True)
    try:
        with file.open(encoding="utf-8") as text:
            found.read_file(text)
        section = dict(found[SECTION])
    except (OSError, UnicodeDecodeError, configparser.Error, KeyError) as problem:
        raise ConfigurationError(f"{file} has no section [{SECTION}] that could be read: {problem}") from problem
    if not section.get("schedds"):
        raise ConfigurationError(f"{file}: [{SECTION}] names no schedds.")
    return section


def require_open(places: Sequence[Path]) -> None:
    """Raise ConfigurationError where another account, as which the pool's jobs run, cannot enter a directory."""
    for place in places:
        closed = next((each for each in (place, *place.parents) if not each.stat().st_mode & 0o001), None)
        if closed is not None:
            raise ConfigurationError(f"Jobs of the pool run as another account, which cannot enter {closed}; choose "
                                     "another --data-dir, or let others enter it.")


@contextmanager
def started(script: Path, share: Sequence[Path], *, provision: bool) -> Iterator[dict[str, str]]:
    """A throw-away pool whose jobs see the directories ``share``; its settings. It ends with this process.

    ``provision``: make the system that it runs in, if it is not there; this takes minutes and the network.
    """
    if not script.is_file():
        raise ConfigurationError(f"There is no {script}; the throw-away pool is part of a checkout's tests. {NEEDED}")
    require_open(share)
    words = [word for place in share for word in ("--share", str(place))]
    words += ["--provision"] if provision else []
    with subprocess.Popen([sys.executable, str(script), "run", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process:
        assert process.stdin and process.stdout and process.stderr
        try:
            line = process.stdout.readline()
            if not line:
                reason = process.stderr.read().decode(errors="replace").strip()
                raise ConfigurationError(f"The pool did not start: {reason}")
            yield {str(name): str(value) for name, value in json.loads(line).items()}
        finally:
            process.stdin.close()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.terminate()


def section_text(settings: Mapping[str, str]) -> str:
    """The section as poms.ini has it."""
    return "\n".join([f"[{SECTION}]", *(f"{name} = {value}" for name, value in settings.items()), ""])
