"""Which columns a person sees in the lists of pages: kept for each person and list, the same on every device."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy.orm import Session

from poms.webservice.db import upsert
from poms.webservice.errors import Invalid
from poms.webservice.model import ListColumns
from poms.webservice.rules.lists import LISTS, difference, shown_columns
from poms.webservice.rules.permissions import Actor
from poms.webservice.services.core import Core
from poms.webservice.services.undos import UNKEPT, Change


def columns_of(session: Session, actor: Actor, name: str) -> dict[str, Any]:
    """The columns of a list for its page: which there are and which this person sees; one statement."""
    row = session.get(ListColumns, (actor.experimenter_id, name))
    seen = shown_columns(name, row.columns if row is not None else {})
    return {"list": name, "seen": seen, "chosen": row is not None,
            "all": [{"key": column.key, "label": column.label, "seen": seen[column.key]} for column in LISTS[name]]}


def choose(core: Core, actor: Actor, name: str, seen: Iterable[str], *, undo: Change = UNKEPT) -> None:
    """See these columns of a list from now on. Raises Invalid."""
    if name not in LISTS:
        raise Invalid(f"There is no list {name[:100]}.", field="list")
    chosen = difference(name, seen)
    key = {"experimenter_id": actor.experimenter_id, "list_name": name}
    with core.db.write() as session:
        row = session.get(ListColumns, tuple(key.values()), with_for_update=True)
        if row is not None and chosen:
            row.columns = chosen
            undo.changed(session, row)
        elif row is not None:
            undo.removed(session, [row])
            session.delete(row)
        elif chosen:
            # Another window of the same person may be as fast.
            upsert(session, ListColumns, [{**key, "columns": chosen}], list(key))
            undo.added(session, session.get_one(ListColumns, tuple(key.values())))
