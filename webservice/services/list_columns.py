"""Which columns a person sees in the lists of pages: kept for each person and list, the same on every device."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import delete
from sqlalchemy.orm import Session

from poms.webservice.db import upsert
from poms.webservice.errors import Invalid
from poms.webservice.model import ListColumns
from poms.webservice.rules.lists import LISTS, difference, shown_columns
from poms.webservice.rules.permissions import Actor
from poms.webservice.services.core import Core


def columns_of(session: Session, actor: Actor, name: str) -> dict[str, Any]:
    """The columns of a list for its page: which there are and which this person sees; one statement."""
    row = session.get(ListColumns, (actor.experimenter_id, name))
    seen = shown_columns(name, row.columns if row is not None else {})
    return {"list": name, "seen": seen, "chosen": row is not None,
            "all": [{"key": column.key, "label": column.label, "seen": seen[column.key]} for column in LISTS[name]]}


def choose(core: Core, actor: Actor, name: str, seen: Iterable[str]) -> None:
    """See these columns of a list from now on. Raises Invalid."""
    if name not in LISTS:
        raise Invalid(f"There is no list {name[:100]}.", field="list")
    chosen = difference(name, seen)
    key = {"experimenter_id": actor.experimenter_id, "list_name": name}
    with core.db.write() as session:
        if chosen:
            upsert(session, ListColumns, [{**key, "columns": chosen}], list(key))
        else:
            session.execute(delete(ListColumns).filter_by(**key))
