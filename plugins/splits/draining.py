"""draining: the dataset itself, every time. It is expected to lose the files that were processed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from poms.plugins.splits import arguments
from poms.webservice.interfaces import Slice, SplitContext, SplitParameter


class Draining:
    name = "draining"
    description = "The whole dataset every time; define it so that processed files drop out of it."
    parameters: tuple[SplitParameter, ...] = ()
    editor = ""

    def parse(self, given: arguments.Arguments) -> Mapping[str, Any]:
        return arguments.none(self.name, given)

    def next(self, context: SplitContext) -> Slice | None:
        return Slice(context.dataset, context.position)

    def peek(self, context: SplitContext, n: int = 1) -> list[Slice]:
        return [Slice(context.dataset, context.position)] * n

    def length(self, context: SplitContext) -> int | None:
        return None
