"""byexistingruns: the files of one run that were not delivered yet, each time; files without a run come last, together.

A file of several runs counts for the lowest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from poms.plugins.splits import arguments, delivered
from poms.plugins.splits.definitions import first_run
from poms.webservice.interfaces import Slice, SplitContext, SplitParameter


class ByExistingRuns:
    name = "byexistingruns"
    description = "All files not delivered yet of one run that has any; the dataset may grow."
    parameters: tuple[SplitParameter, ...] = ()
    editor = ""

    def parse(self, given: arguments.Arguments) -> Mapping[str, Any]:
        return arguments.none(self.name, given)

    def next(self, context: SplitContext) -> Slice | None:
        parts = delivered.delivered(context.position)
        found = self._runs(context, parts, 1)
        if not found:
            return None
        label, query, _ = found[0]
        return delivered.deliver(context, query, stem=context.dataset, label=label, parts=parts)

    def peek(self, context: SplitContext, n: int = 1) -> list[Slice]:
        parts = delivered.delivered(context.position)
        return [Slice(delivered.slice_name(context, context.dataset, label, parts, number), None, files, query)
                for number, (label, query, files) in enumerate(self._runs(context, parts, n))]

    def length(self, context: SplitContext) -> int | None:
        return None

    def _runs(self, context: SplitContext, parts: delivered.Parts, n: int) -> list[tuple[str, str, int]]:
        """Label, query and number of files of the next pieces."""
        unseen = f"({delivered.unseen(context.data.dataset_query(context.dataset), parts)})"
        found: list[tuple[str, str, int]] = []
        low = 0
        while len(found) < n:
            run = first_run(context.data, unseen, low)
            if run is None:
                query = f"{unseen} minus run_number >= 0"
                files = context.data.count(query)
                return [*found, ("no_run", query, files)] if files else found
            query = f"{unseen} and run_number {run}"
            found.append((f"run_{run}", query, context.data.count(query)))
            low = run + 1
        return found
