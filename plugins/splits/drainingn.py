"""drainingn(n): at most n files that were not delivered yet, each time; for datasets that grow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from poms.plugins.splits import arguments, delivered
from poms.webservice.interfaces import Slice, SplitContext, SplitParameter


class DrainingN:
    name = "drainingn"
    description = "Up to n files that were not delivered yet; the dataset may grow."
    parameters = (SplitParameter("nfiles", "how many files each submission gets at most"),)
    editor = ""

    def parse(self, given: arguments.Arguments) -> Mapping[str, Any]:
        return arguments.read(self.name, given, self.parameters, {"nfiles": arguments.whole_number(1)})

    def next(self, context: SplitContext) -> Slice | None:
        parts, size = delivered.delivered(context.position), context.arguments["nfiles"]
        query = delivered.pick(context, context.data.dataset_query(context.dataset), parts, size)
        if not query:
            return None
        return delivered.deliver(context, query, stem=context.dataset, label=f"stage_{size}", parts=parts)

    def peek(self, context: SplitContext, n: int = 1) -> list[Slice]:
        size = context.arguments["nfiles"]
        return delivered.coming(context, context.data.dataset_query(context.dataset), size, n, stem=context.dataset,
                                label=f"stage_{size}")

    def length(self, context: SplitContext) -> int | None:
        files = context.data.count(context.data.dataset_query(context.dataset))
        return -(-files // context.arguments["nfiles"])
