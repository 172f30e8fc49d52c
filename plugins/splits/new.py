"""new(window=, round=, fts=, localtime=, firsttime=, lasttime=): files by windows of their end time.

A window is launched once, when it is over and its files had time (fts) to be registered. Windows are
counted in unix time, so that no change of clocks repeats or skips a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from poms.plugins.splits import arguments, positions
from poms.plugins.splits.definitions import declare
from poms.webservice.errors import Invalid, Problem
from poms.webservice.interfaces import Slice, SplitContext, SplitParameter

WORD = "until"


class New:
    name = "new"
    description = "Files that are new since the last time, by windows of their end time."
    parameters = (
        SplitParameter("zone", "local: the same as localtime=1", default="gmt"),
        SplitParameter("window", "length of a window, such as 12h, 1d, 1w", keyword=True, default="1w"),
        SplitParameter("round", "windows begin at multiples of this", keyword=True, default="1s"),
        SplitParameter("fts", "time that files have to be registered after a window", keyword=True, default="1800s"),
        SplitParameter("localtime", "1: write times in the experiment's time zone", keyword=True, default="0"),
        SplitParameter("firsttime", "unix time at which the first window begins", keyword=True),
        SplitParameter("lasttime", "unix time that is taken for now", keyword=True),
    )
    editor = ""

    def parse(self, given: arguments.Arguments) -> Mapping[str, Any]:
        values = arguments.read(self.name, given, self.parameters, {
            "zone": _zone, "window": arguments.seconds(1), "round": arguments.seconds(1),
            "fts": arguments.seconds(0), "localtime": _switch, "firsttime": arguments.seconds(0),
            "lasttime": arguments.seconds(0)})
        values["localtime"] = values["localtime"] or values.pop("zone") == "local"
        values["window"] -= values["window"] % values["round"]
        if not values["window"]:
            raise Invalid(Problem(arguments.FIELD, "split type new: window= is shorter than round=", code="bad-split"))
        return values

    def next(self, context: SplitContext) -> Slice | None:
        start = self._start(context)
        if start > self._bound(context):
            return None
        coming = self._window(context, start)
        return Slice(declare(context, coming.dataset, coming.query), coming.position, coming.files)

    def peek(self, context: SplitContext, n: int = 1) -> list[Slice]:
        start, window = self._start(context), context.arguments["window"]
        return [self._window(context, start + number * window) for number in range(n)
                if start + number * window <= self._bound(context)]

    def length(self, context: SplitContext) -> int | None:
        first = context.arguments["firsttime"]
        return None if first is None else max(0, (self._now(context) - first) // context.arguments["window"])

    def _now(self, context: SplitContext) -> int:
        last = context.arguments["lasttime"]
        return int(context.now.timestamp()) if last is None else last

    def _bound(self, context: SplitContext) -> int:
        """The latest start of a window that is over."""
        latest = self._now(context) - context.arguments["fts"] - context.arguments["window"]
        return latest - latest % context.arguments["round"]

    def _start(self, context: SplitContext) -> int:
        at = positions.read(context.position, WORD)
        if at is None:
            at = context.arguments["firsttime"]
        return self._bound(context) if at is None else at

    def _window(self, context: SplitContext, start: int) -> Slice:
        end = start + context.arguments["window"]
        name, query = f"{context.dataset}_{context.unique}_time_{start}__{end}", self._query(context, start)
        return Slice(name, positions.make(WORD, end), context.data.count(query), query)

    def _query(self, context: SplitContext, start: int) -> str:
        zone = ZoneInfo(context.time_zone) if context.arguments["localtime"] else UTC
        first, last = (datetime.fromtimestamp(at, zone).strftime("%Y-%m-%dT%H:%M:%S")
                       + (datetime.fromtimestamp(at, zone).strftime("%z") if context.arguments["localtime"] else "")
                       for at in (start, start + context.arguments["window"]))
        return f"{context.data.dataset_query(context.dataset)} and end_time > '{first}' and end_time <= '{last}'"


def _switch(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError(f"unable to parse integer parameter from '{text}'; write 0 or 1")
    return text == "1"


def _zone(text: str) -> str:
    if text.lower() not in ("local", "gmt"):
        raise ValueError(f"'{text}' is neither local nor gmt; the length of a window is written window={text}")
    return text.lower()
