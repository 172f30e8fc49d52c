"""limitn(n): the first n files of the dataset, every time; for small tests of an analysis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from poms.plugins.splits import arguments
from poms.plugins.splits.definitions import declare
from poms.webservice.interfaces import Slice, SplitContext, SplitParameter


class LimitN:
    name = "limitn"
    description = "The first n files of the dataset, every time."
    parameters = (SplitParameter("n", "how many files to take"),)
    editor = ""

    def parse(self, given: arguments.Arguments) -> Mapping[str, Any]:
        return arguments.read(self.name, given, self.parameters, {"n": arguments.whole_number(1)})

    def next(self, context: SplitContext) -> Slice | None:
        coming = self._first(context)
        if coming is None:
            return None
        return Slice(declare(context, coming.dataset, coming.query), coming.position, coming.files)

    def peek(self, context: SplitContext, n: int = 1) -> list[Slice]:
        coming = self._first(context)
        return [] if coming is None else [coming] * n

    def length(self, context: SplitContext) -> int | None:
        return None

    def _first(self, context: SplitContext) -> Slice | None:
        query = f"{context.data.dataset_query(context.dataset)} with limit {context.arguments['n']}"
        files = context.data.count(query)
        name = f"{context.dataset}_{context.unique}_limit{context.arguments['n']}"
        return Slice(name, context.position, files, query) if files else None
