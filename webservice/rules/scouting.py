"""Scouts: a few files of a stage's input go first, and whether the rest follows is decided by how their jobs ended.

A text such as ``10 files, 90%, memory x1.2``; counts and measured values in, decisions and words out. Who launches
what is ``services.scouts``'. Invariant: nothing asked for here is above the limits that it is given.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from poms.webservice.errors import Invalid
from poms.webservice.rules.recovery_policies import duration_text

KEY = "scout"
EXAMPLE = "10 files, 90%, memory x1.2, time x1.5"
MOST_FILES = 1_000
"""Files that a scout has at most: its dataset names each of them."""

USUAL_PERCENT = 90.0
MEMORY_FACTOR, TIME_FACTOR = 1.2, 1.5
"""How much more than was measured is asked for, where the text names no factor."""

_FILES = re.compile(r"(\d{1,9})\s*files?", re.IGNORECASE)
_PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,4})?)\s*%")
_RESOURCE = re.compile(r"(memory|time)(?:\s*[x*]\s*(\d{1,3}(?:\.\d{1,4})?))?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Scouting:
    """How a stage scouts. ``percent`` of the jobs must end well; a factor of None: the rest asks as it always does.

    ``always``: before every launch, otherwise once for each state of the stage's settings.
    """

    files: int
    percent: float = USUAL_PERCENT
    memory_factor: float | None = None
    time_factor: float | None = None
    always: bool = False

    def is_worth_it(self, files: int) -> bool:
        """Whether an input of so many files is large enough to send some ahead."""
        return files >= 2 * self.files

    @property
    def words(self) -> str:
        """What happens, in a sentence."""
        once = "Before each launch" if self.always else "Once for these settings"
        what = "1 file goes" if self.files == 1 else f"{self.files:,} files go"
        return f"{once} {what} first; the rest follows if at least {self.percent:g} % of the jobs on them end well"


@dataclass(frozen=True, slots=True)
class Measured:
    """How the jobs of a scout ended, and the most that one of them used; None where no job said it."""

    jobs: int
    succeeded: int
    memory_mb: float | None = None
    wall_seconds: float | None = None
    cpu_efficiency: float | None = None

    @property
    def words(self) -> str:
        """What was measured, for people; "" if nothing was."""
        found = [f"peak memory {self.memory_mb:,.0f} MB" if self.memory_mb is not None else "",
                 f"longest job {_time(self.wall_seconds)}" if self.wall_seconds is not None else "",
                 f"CPU efficiency {100 * self.cpu_efficiency:.0f} %" if self.cpu_efficiency is not None else ""]
        return ", ".join(part for part in found if part)


def parse_scout(text: str | None) -> Scouting | None:
    """How a stage scouts, as its text says; None if it does not. Raises Invalid, which says how it is written."""
    if not text or text.strip().lower() in ("", "none"):
        return None
    found: dict[str, float] = {}
    for part in (part.strip() for part in text.split(",")):
        name, value = _read(text, part)
        if name in found:
            raise _wrong(text, f"“{_short(part)}” says again what was said before")
        found[name] = value
    if "files" not in found:
        raise _wrong(text, "it does not say how many files go first")
    return Scouting(int(found["files"]), found.get("percent", USUAL_PERCENT), found.get("memory"), found.get("time"),
                    "always" in found)


def _read(text: str, part: str) -> tuple[str, float]:
    """What one part says."""
    if part.lower() == "always":
        return "always", 1
    if files := _FILES.fullmatch(part):
        if not 1 <= int(files[1]) <= MOST_FILES:
            raise _wrong(text, f"a scout has 1 to {MOST_FILES:,} files")
        return "files", int(files[1])
    if percent := _PERCENT.fullmatch(part):
        if not 0 < float(percent[1]) <= 100:
            raise _wrong(text, "the share of jobs that must end well is above 0 % and at most 100 %")
        return "percent", float(percent[1])
    if resource := _RESOURCE.fullmatch(part):
        name = resource[1].lower()
        factor = float(resource[2]) if resource[2] else MEMORY_FACTOR if name == "memory" else TIME_FACTOR
        if not 1 <= factor <= 100:
            raise _wrong(text, f"the factor of {name} is 1 to 100")
        return name, factor
    raise _wrong(text, f"“{_short(part)}” is not understood")


def shortfall(rule: Scouting, measured: Measured) -> str:
    """Why the rest does not follow, in words; "" if it does."""
    if not measured.jobs:
        return "none of its jobs is known to have ended"
    if 100 * measured.succeeded >= rule.percent * measured.jobs:
        return ""
    return f"{measured.succeeded:,} of {measured.jobs:,} jobs ended well, the limit is {rule.percent:g} %"


def amounts(rule: Scouting, measured: Measured, *, memory_cap_mb: float | None,
            time_cap_seconds: float | None) -> tuple[tuple[str, float], ...]:
    """What the rest asks for because of what was measured: memory in MB, time in seconds (whole minutes)."""
    found = []
    if rule.memory_factor is not None and measured.memory_mb:
        found.append(("memory", _capped(math.ceil(measured.memory_mb * rule.memory_factor), memory_cap_mb)))
    if rule.time_factor is not None and measured.wall_seconds:
        minutes = math.ceil(measured.wall_seconds * rule.time_factor / 60)
        found.append(("time", _capped(60 * minutes, time_cap_seconds)))
    return tuple(found)


def unmeasured(rule: Scouting, measured: Measured) -> str:
    """What the rest should have asked for as measured, but no job said, in words; "" if all is known."""
    lacking = [word for word, wanted, value in (("memory", rule.memory_factor, measured.memory_mb),
                                                ("time", rule.time_factor, measured.wall_seconds))
               if wanted is not None and not value]
    return f"no job said how much {' and '.join(lacking)} it used" if lacking else ""


def _capped(amount: float, cap: float | None) -> float:
    return float(amount if cap is None else min(amount, cap))


def _time(seconds: float) -> str:
    """A measured time, as exact as is of use."""
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 600 else duration_text(round(seconds))


def _wrong(text: str, why: str) -> Invalid:
    return Invalid(f"{KEY} = {_short(text)}: {why}. Write for example {EXAMPLE}; the files are needed, the others can "
                   "be left out.", field=KEY)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 60 else text[:57] + "..."
