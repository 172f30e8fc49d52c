"""What was delivered already, as snapshots: for types that give out files not seen yet.

The position holds the numbers of these snapshots, not of one that grows: copying it for each slice would take longer
and longer. A slice is a definition fixed to its own snapshot, so that its jobs get the files that were counted here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from poms.plugins.splits import positions
from poms.plugins.splits.definitions import declare, declare_frozen, free_name, short
from poms.webservice.errors import Invalid, Problem
from poms.webservice.interfaces import Slice, SplitContext
from poms.webservice.rules import sam_queries

WORD = "snapshot"
PARTS = "parts"
OPEN_FILES = 2_000
"""The newest snapshot is copied with each slice until it has so many files, or as many as a slice."""

MOST_NAMED = 1_000
"""A slice of more files is defined by the query that finds them."""

MOST_OPEN = 16
"""So many snapshots of that size become one."""

Parts = Sequence[tuple[int, int | None]]
"""Numbers of snapshots with how many files each has, oldest first; None: an earlier installation did not say."""


def delivered(position: Mapping[str, Any] | None) -> Parts:
    """The snapshots of all files delivered so far; none at the start (earlier installations also wrote 0)."""
    newest = positions.read(position, WORD) or None
    if position is None or newest is None:
        return ()
    if PARTS not in position:
        return ((newest, None),)
    parts = position[PARTS]
    if not isinstance(parts, list) or not all(_is_part(part) for part in parts) or not parts:
        raise Invalid(Problem("cs_last_split", f"the parts of the stored split position {dict(position)} cannot be "
                                               "read; reset the split of the stage", code="bad-position"))
    return tuple((part[0], part[1]) for part in parts)


def _is_part(part: object) -> bool:
    return isinstance(part, list) and len(part) == 2 and all(
        isinstance(each, int) and not isinstance(each, bool) and each > 0 or each is None and place
        for place, each in enumerate(part))


def unseen(base: str, parts: Parts) -> str:
    """The files of ``base`` that are in none of the snapshots."""
    return f"{base} minus {_any_of(parts)}" if parts else base


def _any_of(parts: Parts) -> str:
    return f"snapshot_id {','.join(str(number) for number, _ in parts)}"


def _newest(parts: Parts) -> int:
    return parts[-1][0] if parts else 0


def pick(context: SplitContext, base: str, parts: Parts, size: int) -> str:
    """A query for up to ``size`` files of ``base`` that were not delivered; "" if there are none.

    Few files are named: a large dataset is then gone through once, and not again to freeze what was found.
    """
    query = f"{unseen(base, parts)} with limit {size}"
    if size > MOST_NAMED:
        return query if context.data.count(query) else ""
    names = context.data.list(query, limit=size)
    return f"{sam_queries.named(names)} with availability anylocation" if names else ""


def deliver(context: SplitContext, query: str, *, stem: str, label: str, parts: Parts) -> Slice:
    """Fix the files that ``query`` gives now as the slice ``<stem>_slice_<newest snapshot or 0>_<label>``."""
    data, before = context.data, _newest(parts)
    picked = data.snapshot(declare(context, f"{stem}_pick_{before}_{label}_{short(context)}", query))
    name = declare_frozen(context, f"{stem}_slice_{before}_{label}", picked)
    files = data.count(f"snapshot_id {picked}")
    full = f"{stem}_full_{before}_{label}_{int(context.now.timestamp())}"
    seen = _with(context, parts, (picked, files), full)
    return Slice(name, positions.make(WORD, _newest(seen), **{PARTS: [list(part) for part in seen]}), files)


def _with(context: SplitContext, parts: Parts, picked: tuple[int, int], full: str) -> Parts:
    """The snapshots with one more: few of them, and none copied often."""
    limit = max(OPEN_FILES, picked[1])
    known = list(parts)
    last = known[-1][1] if known else None
    if last is not None and last + picked[1] <= limit:
        known[-1:] = [_joined(context, [known[-1], picked], full)]
    else:
        known.append(picked)
    small = next((place for place in range(len(known), 0, -1) if (known[place - 1][1] or limit + 1) > limit), 0)
    if len(known) - small >= MOST_OPEN:
        known[small:] = [_joined(context, known[small:], f"{full}_all")]
    return tuple(known)


def _joined(context: SplitContext, parts: Parts, name: str) -> tuple[int, int | None]:
    # Files whose last copy was removed meanwhile were delivered all the same.
    union = f"{_any_of(parts)} with availability anylocation"
    return context.data.snapshot(declare(context, name, union)), sum(count or 0 for _, count in parts)


def coming(context: SplitContext, base: str, size: int, n: int, *, stem: str, label: str) -> list[Slice]:
    """Up to ``n`` coming slices of ``size`` files; the names of all but the first depend on what comes before."""
    parts = delivered(context.position)
    rest = unseen(base, parts)
    files = context.data.count(f"{rest} with limit {n * size}")
    return [Slice(slice_name(context, stem, label, parts, number), None, min(size, files - number * size),
                  f"{rest} with limit {size}" + (f" offset {number * size}" if number else ""))
            for number in range(-(-files // size))]


def slice_name(context: SplitContext, stem: str, label: str, parts: Parts, number: int) -> str:
    """The dataset of the ``number``th coming slice; of all but the first (0) it depends on what comes before."""
    if number:
        return f"{stem}_slice_N_{label}"
    return free_name(context, f"{stem}_slice_{_newest(parts)}_{label}")
