"""Changes that are made in a transaction, looked at and taken back, to see what they would do by the code that does it.

Not a change of its own. Invariant: whoever is given a ``Look`` raises ``TakenBack`` behind it, so nothing is stored.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy.orm import Session

Look = Callable[[Session, Any], None]
"""Is shown the session in which a change was made, and the key of what was changed."""


class TakenBack(Exception):
    """The change was only rehearsed; carries what it would have come to."""

    def __init__(self, result: Any) -> None:
        super().__init__("a rehearsal is taken back")
        self.result = result
