"""stagedfiles(n): at most n files that a prestage project has brought to disk and that were not delivered yet.

The dataset field holds the name of that project.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from poms.plugins.splits import arguments, delivered
from poms.webservice.errors import Conflict
from poms.webservice.interfaces import Slice, SplitContext, SplitParameter
from poms.webservice.rules import sam_queries

_ENDED = ("complete", "end", "stop", "abort", "error", "fail")


class StagedFiles:
    name = "stagedfiles"
    description = "Up to n files that the project named in the dataset field has staged and that were not delivered."
    parameters = (SplitParameter("n", "how many files each submission gets at most"),)
    editor = ""

    def parse(self, given: arguments.Arguments) -> Mapping[str, Any]:
        return arguments.read(self.name, given, self.parameters, {"n": arguments.whole_number(1)})

    def next(self, context: SplitContext) -> Slice | None:
        """Raises Conflict while nothing is there but the project still runs: that is not the end."""
        parts, size = delivered.delivered(context.position), context.arguments["n"]
        # Asked first: were it asked last, files staged in between could be taken for the end.
        status = context.data.project_summary(context.dataset).status
        query = delivered.pick(context, _staged(context), parts, size)
        if not query:
            self._require_ended(context, status)
            return None
        return delivered.deliver(context, query, stem=context.dataset, label=f"stage_{size}", parts=parts)

    def peek(self, context: SplitContext, n: int = 1) -> list[Slice]:
        size = context.arguments["n"]
        status = context.data.project_summary(context.dataset).status
        found = delivered.coming(context, _staged(context), size, n, stem=context.dataset, label=f"stage_{size}")
        if not found:
            self._require_ended(context, status)
        return found

    def length(self, context: SplitContext) -> int | None:
        return -(-context.data.project_summary(context.dataset).files_in_snapshot // context.arguments["n"])

    def _require_ended(self, context: SplitContext, status: str) -> None:
        """Nothing is there: that is the end only if the project has ended."""
        if not status.lower().startswith(_ENDED):
            raise Conflict(f"Project {context.dataset} has no new files on disk just now and is still {status}; "
                           "launch again later.")


def _staged(context: SplitContext) -> str:
    return f"project_name {sam_queries.quote(context.dataset)} and consumed_status 'consumed'"
