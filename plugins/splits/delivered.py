"""What was delivered already, as one snapshot that grows: for types that give out files not seen yet.

The position holds the number of that snapshot. A slice is a definition fixed to its own snapshot, so that
its jobs get the files that were counted here, however the dataset changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from poms.plugins.splits import positions
from poms.plugins.splits.definitions import declare, declare_frozen, free_name, short
from poms.webservice.interfaces import Slice, SplitContext

WORD = "snapshot"


def snapshot_of(position: Mapping[str, Any] | None) -> int | None:
    """The snapshot of all files delivered so far; None at the start (earlier installations also wrote 0)."""
    return positions.read(position, WORD) or None


def unseen(base: str, snapshot: int | None) -> str:
    """The files of ``base`` that are not in the snapshot."""
    return base if snapshot is None else f"{base} minus snapshot_id {snapshot}"


def deliver(context: SplitContext, query: str, *, stem: str, label: str, snapshot: int | None) -> Slice:
    """Fix the files that ``query`` gives now as the slice ``<stem>_slice_<snapshot or 0>_<label>``."""
    data, before = context.data, snapshot or 0
    picked = data.snapshot(declare(context, f"{stem}_pick_{before}_{label}_{short(context)}", query))
    name = declare_frozen(context, f"{stem}_slice_{before}_{label}", picked)
    if snapshot is None:
        seen = picked
    else:
        # Files whose last copy was removed meanwhile were delivered all the same.
        union = f"snapshot_id {snapshot} or snapshot_id {picked} with availability anylocation"
        stamp = int(context.now.timestamp())
        seen = data.snapshot(declare(context, f"{stem}_full_{before}_{label}_{stamp}", union))
    return Slice(name, positions.make(WORD, seen), data.count(f"snapshot_id {picked}"))


def coming(context: SplitContext, base: str, size: int, n: int, *, stem: str, label: str) -> list[Slice]:
    """Up to ``n`` coming slices of ``size`` files; the names of all but the first depend on what comes before."""
    snapshot = snapshot_of(context.position)
    found = []
    for number in range(n):
        skipped = f" offset {number * size}" if number else ""
        query = f"{unseen(base, snapshot)} with limit {size}{skipped}"
        files = context.data.count(query)
        if not files:
            break
        found.append(Slice(slice_name(context, stem, label, snapshot, number), None, files, query))
        if files < size:
            break
    return found


def slice_name(context: SplitContext, stem: str, label: str, snapshot: int | None, number: int) -> str:
    """The dataset of the ``number``th coming slice; of all but the first (0) it depends on what comes before."""
    if number:
        return f"{stem}_slice_N_{label}"
    return free_name(context, f"{stem}_slice_{snapshot or 0}_{label}")
