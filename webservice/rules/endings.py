"""How jobs ended: one short text for a state and an exit code or signal, and what it means in words.

Pure. Not for why jobs are held or removed. Invariant: the text begins with C (ended well) or F (failed), followed by
the exit code, by S and the signal, or by nothing where the batch system told neither.
"""

from __future__ import annotations

SIGNALS = {2: "interrupted", 4: "illegal instruction", 6: "aborted", 7: "bus error", 8: "arithmetic error",
           9: "killed", 11: "segmentation fault", 13: "broken pipe", 15: "told to end", 24: "CPU time limit"}
WELL, FAILED = "C", "F"


def ending(*, well: bool, exit_code: int | None, exit_signal: int | None) -> str:
    """The text under which jobs that ended so are counted together: ``C0``, ``F65``, ``FS9``, ``F``."""
    code = f"S{exit_signal}" if exit_signal and exit_signal > 0 else "" if exit_code is None else str(exit_code)
    return (WELL if well else FAILED) + code


def code_of(text: str) -> str:
    """The code in such a text: ``65``, ``S9``, or nothing."""
    return text[1:]


def code_words(code: str) -> dict[str, str]:
    """The heading of a column of such a code, and what it means."""
    if not code:
        return {"label": "no code", "title": "the batch system told no exit code"}
    number = int(code.removeprefix("S"))
    signal = number if code.startswith("S") else number - 128 if number > 128 else 0
    why = f"signal {signal}" + (f", {SIGNALS[signal]}" if signal in SIGNALS else "") if signal else ""
    label = f"signal {number}" if code.startswith("S") else f"exit {number}"
    return {"label": label, "title": why or ("ended well" if number == 0 else "the program’s own code")}


def code_order(code: str) -> tuple[bool, int, str]:
    """Codes as columns: the short numbers first, what is not known last."""
    return code == "", len(code), code
