"""Lists: the columns that somebody sees, the whole of a list as a file, and what a bulk action would do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from poms.webservice.errors import Conflict, NotFound
from poms.webservice.handlers.answers import Answer, Call, Data, Done, Page, Rows
from poms.webservice.handlers.params import choice, flag, maybe, number, own_address, texts
from poms.webservice.handlers.routing import Need, Routes
from poms.webservice.rules.lists import LISTS
from poms.webservice.services import list_columns, undos
from poms.webservice.services.pages import exports
from poms.webservice.services.undos import Change

routes = Routes()
EXPORT = {"export": maybe("csv", "json")}
"""What the page of a list takes besides its filter: all of it as a file."""


BULK = {"dry_run": flag(), "back": own_address()}
"""What an action on several things takes: ``dry_run`` only tells what it would do, ``back`` is where it was chosen."""


def would_do(call: Call, context: Mapping[str, Any], home: str, **fields: Any) -> Answer:
    """The page, or the document, that says what an action would do; the form on it does that."""
    if call.wants == "json":
        return Data({**context, "dry_run": True})
    kept = {**fields, "back": call["back"]}
    return Page({**context, "action": call.url(home), "back": call["back"] or call.url("home"), "fields":
                 {name: list(value) if isinstance(value, tuple) else value for name, value in kept.items() if value}},
                template="bulk.html")


def as_file(call: Call, name: str, file_name: str, **which: Any) -> Rows:
    """The list of this name, as its page was asked for, in the form of the argument ``export``."""
    made = exports.export(call.core, call.actor, call.url, name, **which)
    return Rows(made.columns, made.rows, call["export"], f"{file_name}.{call['export']}", lambda: made.cut)


@routes.change("list_columns", permission=Need("view", "experiment"), arguments={
    "list": choice(*LISTS, required=True), "column": texts(), "back": own_address(), "act": choice("set", "usual")})
def choose_columns(call: Call) -> Answer:
    """See these columns of a list from now on, or the usual ones again."""
    name = call["list"]
    usual = [column.key for column in LISTS[name] if column.usual]
    change = Change(call.core, call.actor, "the choice of columns")
    list_columns.choose(call.core, call.actor, name, usual if call["act"] == "usual" else call["column"], undo=change)
    return Done(call["back"] or call.url("home"), "The columns of this list are kept for you", undo=change.offer)


@routes.change("undo", permission=Need("view", "experiment"), arguments={
    "undo_id": number(required=True), "back": own_address()})
def undo(call: Call) -> Answer:
    """Take back what you did, within some minutes: all of it, or nothing if any of it changed since."""
    back = call["back"] or call.url("home")
    try:
        return Done(back, f"Undone: {undos.undo(call.core, call.actor, call['undo_id'])}")
    except (Conflict, NotFound) as wrong:
        if call.wants == "json" or not call.identity.via_browser:
            raise
        return Done(back, "Not undone", str(wrong), kind="problem")
