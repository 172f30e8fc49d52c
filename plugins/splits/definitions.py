"""Declaring definitions so that two launches at once never change each other's.

Also the search for the next run that has files, which needs nothing of a catalogue but counting.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable

from poms.webservice.errors import Conflict
from poms.webservice.interfaces import DataBackend, SplitContext

_LARGEST_RUN = 2**40


def declare(context: SplitContext, name: str, query: str) -> str:
    """Declare a definition; returns its name, with an addition if the name stands for something else already."""
    for candidate in (free_name(context, name, query), f"{name}_{short(context)}"):
        try:
            context.data.define(candidate, query)
        except Conflict:
            # Another launch was quicker with other files, and they are in use.
            continue
        return candidate
    # This very launch was worked out before and lost, and the dataset has other files by now.
    name = f"{name}_{uuid.uuid4().hex[:12]}"
    context.data.define(name, query)
    return name


def free_name(context: SplitContext, name: str, query: str = "") -> str:
    """The name under which ``declare`` would declare the query just now; "": one that is not known beforehand."""
    known = context.data.definition(name)
    return name if known is None or known == query else f"{name}_{short(context)}"


def declare_frozen(context: SplitContext, name: str, snapshot: int) -> str:
    """Declare a definition of exactly the files of a snapshot; from its return on nobody can change it."""
    query = f"snapshot_id {snapshot}"
    declared = declare(context, name, query)
    context.data.snapshot(declared)
    if context.data.definition(declared) != query:
        # Replaced between the two calls; its own name cannot be.
        declared = declare(context, f"{name}_{short(context)}", query)
    return declared


def short(context: SplitContext) -> str:
    """The launch's unique text, cut to what is unique enough beside a name."""
    return context.unique.replace("-", "")[:12]


def first_run(data: DataBackend, base: str, low: int, high: int = _LARGEST_RUN) -> int | None:
    """The smallest run from ``low`` to ``high`` that has files of ``base``; None if there is none."""
    def any_up_to(run: int) -> bool:
        return data.count(f"{base} and run_number >= {low} and run_number <= {run}") > 0

    if low > high or not any_up_to(high):
        return None
    return _smallest(any_up_to, low, high)


def _smallest(holds: Callable[[int], bool], low: int, high: int) -> int:
    """The smallest number for which ``holds``, which it does for ``high``: in growing steps, then by halves."""
    step = 1
    while low + step < high and not holds(low + step - 1):
        low, step = low + step, step * 2
    if low + step < high:
        high = low + step - 1
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low
