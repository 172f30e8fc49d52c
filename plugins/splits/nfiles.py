"""nfiles(n): n files after the other of a dataset that stays as it is; for a growing one see drainingn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from poms.plugins.splits import arguments, positions
from poms.plugins.splits.definitions import declare, free_name
from poms.webservice.interfaces import Slice, SplitContext, SplitParameter

WORD = "index"


class NFiles:
    name = "nfiles"
    description = "n files at a time, by their place in a dataset that does not change; otherwise use drainingn."
    parameters = (SplitParameter("n", "how many files each submission gets"),)
    editor = ""

    def parse(self, given: arguments.Arguments) -> Mapping[str, Any]:
        return arguments.read(self.name, given, self.parameters, {"n": arguments.whole_number(1)})

    def next(self, context: SplitContext) -> Slice | None:
        index = positions.read(context.position, WORD) or 0
        coming = self._at(context, index)
        if coming is None:
            return None
        return Slice(declare(context, self._name(context, index), coming.query), coming.position, coming.files)

    def peek(self, context: SplitContext, n: int = 1) -> list[Slice]:
        start = positions.read(context.position, WORD) or 0
        found = []
        for index in range(start, start + n):
            coming = self._at(context, index)
            if coming is None:
                break
            found.append(coming)
        return found

    def length(self, context: SplitContext) -> int | None:
        files = context.data.count(context.data.dataset_query(context.dataset))
        return -(-files // context.arguments["n"])

    def _at(self, context: SplitContext, index: int) -> Slice | None:
        query = self._query(context, index)
        files = context.data.count(query)
        name = free_name(context, self._name(context, index), query)
        return Slice(name, positions.make(WORD, index + 1), files, query) if files else None

    def _name(self, context: SplitContext, index: int) -> str:
        return f"{context.dataset}_slice{index}_files{context.arguments['n']}"

    def _query(self, context: SplitContext, index: int) -> str:
        size = context.arguments["n"]
        return f"{context.data.dataset_query(context.dataset)} with limit {size} offset {index * size}"
