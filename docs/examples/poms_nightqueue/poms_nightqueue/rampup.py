"""rampup(first): a little first, then twice as much each time, so that a mistake costs few jobs.

For datasets that stay as they are. The position is how many files were given out; what the next
slice is follows from it and ``first``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from poms.webservice.errors import Conflict, Invalid, Problem
from poms.webservice.interfaces import Slice, SplitContext, SplitParameter

FIELD = "cs_split_type"


class RampUp:
    """``SplitType``; keeps nothing between calls, so one object serves all experiments."""

    name = "rampup"
    description = "first files, then twice as many, four times as many and so on, of a dataset that does not change."
    parameters = (SplitParameter("first", "how many files the first submission gets"),)
    editor = ""

    def parse(self, arguments: Sequence[tuple[str | None, str]]) -> Mapping[str, Any]:
        problems = [f"there is no parameter '{key}'; it takes first" for key, _ in arguments
                    if key not in (None, "first")]
        if len(arguments) != 1:
            problems.append("it takes one number, such as rampup(10)")
        problems += [f"'{text}' is not a whole number of 1 or more" for _, text in arguments
                     if not re.fullmatch(r"0*[1-9][0-9]{0,8}", text, re.ASCII)]
        if problems:
            raise Invalid(Problem(FIELD, f"split type rampup: {problem}", code="bad-split") for problem in problems)
        return {"first": int(arguments[0][1])}

    def next(self, context: SplitContext) -> Slice | None:
        coming = self.peek(context)
        if not coming:
            return None
        query, name = coming[0].query, coming[0].dataset
        try:
            context.data.define(name, query)
        except Conflict:
            # The name stands for something else, and was used: this launch gets a name of its own.
            name = f"{name}_{context.unique.replace('-', '')[:12]}"
            context.data.define(name, query)
        return Slice(name, coming[0].position, coming[0].files)

    def peek(self, context: SplitContext, n: int = 1) -> list[Slice]:
        done, found = _done(context), []
        while len(found) < n:
            size = _size(context, done)
            query = _query(context, done, size)
            files = context.data.count(query)
            if not files:
                break
            found.append(Slice(f"{context.dataset}_rampup_{done}_{size}", {"v": 1, "given_out": done + size}, files,
                               query))
            done += size
        return found

    def length(self, context: SplitContext) -> int | None:
        files = context.data.count(context.data.dataset_query(context.dataset))
        # n slices hold first * (2**n - 1) files.
        needed = -(-files // context.arguments["first"])
        return needed.bit_length()


def _done(context: SplitContext) -> int:
    if context.position is None:
        return 0
    done = context.position.get("given_out")
    if not isinstance(done, int) or isinstance(done, bool) or done < 0:
        raise Invalid(Problem("cs_last_split", f"the stored position {dict(context.position)} is not one of rampup; "
                                               "reset the split of the stage", code="bad-position"))
    return done


def _size(context: SplitContext, done: int) -> int:
    """Doubling means: as many as were given out so far, and ``first`` more."""
    return done + context.arguments["first"]


def _query(context: SplitContext, done: int, size: int) -> str:
    return f"{context.data.dataset_query(context.dataset)} with limit {size} offset {done}"
