"""When a stage begins on the files of a stage that feeds it: at that one's end, or already on a part of them.

A text such as ``500 files or 10% or 2h``: whatever comes first. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from poms.webservice.errors import Invalid

_CONDITION = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>files?|%|s|min|m|h|d)", re.IGNORECASE)
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
EXAMPLE = "500 files or 10% or 2h"


@dataclass(frozen=True, slots=True)
class StartWhen:
    """Conditions of which one is enough; None: not a condition. ``seconds`` since the last part, or the beginning."""

    files: int | None = None
    percent: float | None = None
    seconds: float | None = None

    def reason(self, *, ready: int, expected: int, waited_seconds: float) -> str:
        """Why the next stage begins on ``ready`` files, of ``expected`` in all (0: unknown); "" if it does not yet."""
        if not ready:
            return ""
        if self.files is not None and ready >= self.files:
            return f"{ready:,} files are ready, {self.files:,} were asked for"
        if self.percent is not None and expected and 100 * ready >= self.percent * expected:
            return f"{ready:,} of {expected:,} files are ready, {self.percent:g} % were asked for"
        if self.seconds is not None and waited_seconds >= self.seconds:
            return f"{ready:,} files are ready and waited long enough"
        return ""


def parse_start(text: str | None) -> StartWhen | None:
    """The conditions of a text, None for "at the end". Raises Invalid, which says how they are written."""
    if not text or text.strip().lower() in ("", "none"):
        return None
    found: dict[str, float] = {}
    for part in re.split(r"\s+or\s+|,", text.strip(), flags=re.IGNORECASE):
        match = _CONDITION.fullmatch(part.strip())
        if not match:
            raise _wrong(text, f"“{part.strip()}” is not understood")
        number, unit = float(match["number"]), match["unit"].lower()
        kind = "percent" if unit == "%" else "files" if unit.startswith("file") else "seconds"
        if kind in found:
            raise _wrong(text, "the same kind of condition stands there twice")
        if not number or kind == "files" and number != int(number) or kind == "percent" and number > 100:
            raise _wrong(text, f"“{part.strip()}” makes no sense")
        found[kind] = number * _SECONDS.get(unit, 1)
    files = found.get("files")
    return StartWhen(None if files is None else int(files), found.get("percent"), found.get("seconds"))


def _wrong(text: str, why: str) -> Invalid:
    return Invalid(f"start_when = {text.strip()}: {why}. Write for example {EXAMPLE}; whatever comes first counts.",
                   field="start_when")
