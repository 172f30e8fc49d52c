"""list: the datasets written in the dataset field, separated by commas or line ends, one after the other."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from poms.plugins.splits import arguments, positions
from poms.webservice.interfaces import Slice, SplitContext, SplitParameter

WORD = "index"


class List:
    name = "list"
    description = "Each dataset of a list that is written in the dataset field."
    parameters: tuple[SplitParameter, ...] = ()
    editor = "list"

    def parse(self, given: arguments.Arguments) -> Mapping[str, Any]:
        return arguments.none(self.name, given)

    def next(self, context: SplitContext) -> Slice | None:
        coming = self.peek(context)
        return coming[0] if coming else None

    def peek(self, context: SplitContext, n: int = 1) -> list[Slice]:
        elements = _elements(context)
        start = positions.read(context.position, WORD) or 0
        return [Slice(element, positions.make(WORD, index + 1))
                for index, element in enumerate(elements[start:start + n], start)]

    def length(self, context: SplitContext) -> int | None:
        return len(_elements(context))


def _elements(context: SplitContext) -> list[str]:
    return [part.strip() for part in re.split(r"[,\n]", context.dataset) if part.strip()]
