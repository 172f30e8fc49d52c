"""How many SQL statements something takes. What begins and ends transactions is not counted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event

_FRAME = ("BEGIN", "COMMIT", "ROLLBACK")


@contextmanager
def recorded(engine: Engine) -> Iterator[list[str]]:
    """The statements that are executed inside the block, in order."""
    statements: list[str] = []

    def listen(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if not statement.startswith(_FRAME):
            statements.append(statement)

    event.listen(engine, "before_cursor_execute", listen)
    try:
        yield statements
    finally:
        event.remove(engine, "before_cursor_execute", listen)
