"""mod(n): n parts of the dataset, each with every nth file. Empty parts are launched too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from poms.plugins.splits import arguments, positions
from poms.plugins.splits.definitions import declare, free_name
from poms.webservice.interfaces import Slice, SplitContext, SplitParameter

WORD = "index"


class Mod:
    name = "mod"
    description = "n parts, each with every nth file of the dataset."
    parameters = (SplitParameter("modulus", "into how many parts to cut the dataset"),)
    editor = ""

    def parse(self, given: arguments.Arguments) -> Mapping[str, Any]:
        return arguments.read(self.name, given, self.parameters, {"modulus": arguments.whole_number(1)})

    def next(self, context: SplitContext) -> Slice | None:
        index = positions.read(context.position, WORD) or 0
        if index >= context.arguments["modulus"]:
            return None
        query = self._query(context, index)
        files = context.data.count(query)
        return Slice(declare(context, self._name(context, index), query), positions.make(WORD, index + 1), files)

    def peek(self, context: SplitContext, n: int = 1) -> list[Slice]:
        start = positions.read(context.position, WORD) or 0
        end = min(context.arguments["modulus"], start + n)
        return [self._at(context, index) for index in range(start, end)]

    def length(self, context: SplitContext) -> int | None:
        return context.arguments["modulus"]

    def _at(self, context: SplitContext, index: int) -> Slice:
        query = self._query(context, index)
        return Slice(free_name(context, self._name(context, index), query), positions.make(WORD, index + 1),
                     context.data.count(query), query)

    def _name(self, context: SplitContext, index: int) -> str:
        return f"{context.dataset}_slice{index}_of_{context.arguments['modulus']}"

    def _query(self, context: SplitContext, index: int) -> str:
        base = context.data.dataset_query(context.dataset)
        return f"{base} with stride {context.arguments['modulus']} offset {index}"
