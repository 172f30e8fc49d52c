"""multiparam: every combination of parameters from several lists; makes values for the command, not datasets.

The dataset field is a JSON list of lists; the first list varies fastest.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from poms.plugins.splits import arguments, positions
from poms.webservice.errors import Invalid
from poms.webservice.interfaces import Slice, SplitContext, SplitParameter

WORD = "index"


class MultiParam:
    name = "multiparam"
    description = "Every combination of the values in several lists, joined by _."
    parameters: tuple[SplitParameter, ...] = ()
    editor = "multiparam"

    def parse(self, given: arguments.Arguments) -> Mapping[str, Any]:
        return arguments.none(self.name, given)

    def next(self, context: SplitContext) -> Slice | None:
        coming = self.peek(context)
        return coming[0] if coming else None

    def peek(self, context: SplitContext, n: int = 1) -> list[Slice]:
        lists = _lists(context.dataset)
        start = positions.read(context.position, WORD) or 0
        end = min(_product(lists), start + n)
        return [Slice(_combination(lists, index), positions.make(WORD, index + 1)) for index in range(start, end)]

    def length(self, context: SplitContext) -> int | None:
        return _product(_lists(context.dataset))


def _lists(text: str) -> list[list[str]]:
    try:
        lists = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"multiparam needs a JSON list of lists of texts: {error}", field="dataset") from None
    if not isinstance(lists, list) or not all(
            isinstance(each, list) and all(isinstance(item, str | int | float) and not isinstance(item, bool)
                                           for item in each) for each in lists):
        raise Invalid('multiparam needs a JSON list of lists of texts, such as [["a","b"],["1","2"]]', field="dataset")
    return [[str(item) for item in each] for each in lists]


def _product(lists: list[list[str]]) -> int:
    return math.prod(len(each) for each in lists) if lists else 0


def _combination(lists: list[list[str]], index: int) -> str:
    chosen = []
    for each in lists:
        index, digit = divmod(index, len(each))
        chosen.append(each[digit])
    return "_".join(chosen)
