"""byrun(low=, high=): one run after the other, from low up to and including high; runs without files are skipped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from poms.plugins.splits import arguments, positions
from poms.plugins.splits.definitions import declare, first_run
from poms.webservice.errors import Invalid, Problem
from poms.webservice.interfaces import Slice, SplitContext, SplitParameter

WORD = "run"


class ByRun:
    name = "byrun"
    description = "The files of one run at a time, from low up to and including high."
    parameters = (SplitParameter("low", "the first run", keyword=True, default="1"),
                  SplitParameter("high", "the last run", keyword=True, default="999999"))
    editor = ""

    def parse(self, given: arguments.Arguments) -> Mapping[str, Any]:
        number = arguments.whole_number(0)
        values = arguments.read(self.name, given, self.parameters, {"low": number, "high": number})
        if values["low"] > values["high"]:
            raise Invalid(Problem(arguments.FIELD, f"split type byrun: low={values['low']} is above "
                                                   f"high={values['high']}", code="bad-split"))
        return values

    def next(self, context: SplitContext) -> Slice | None:
        coming = self.peek(context)
        if not coming:
            return None
        name = declare(context, coming[0].dataset, coming[0].query)
        return Slice(name, coming[0].position, coming[0].files)

    def peek(self, context: SplitContext, n: int = 1) -> list[Slice]:
        at = positions.read(context.position, WORD)
        at = context.arguments["low"] if at is None else at
        base = context.data.dataset_query(context.dataset)
        found: list[Slice] = []
        while len(found) < n:
            run = first_run(context.data, base, at, context.arguments["high"])
            if run is None:
                break
            query = self._query(context, run)
            found.append(Slice(f"{context.dataset}_{context.unique}_run_{run}", positions.make(WORD, run + 1),
                               context.data.count(query), query))
            at = run + 1
        return found

    def length(self, context: SplitContext) -> int | None:
        return context.arguments["high"] - context.arguments["low"] + 1

    def _query(self, context: SplitContext, run: int) -> str:
        return f"{context.data.dataset_query(context.dataset)} and run_number {run}"
