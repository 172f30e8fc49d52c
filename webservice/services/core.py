"""What every service function is given: database, back ends, settings and the clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from poms.webservice.backends import Backends
from poms.webservice.config import Settings
from poms.webservice.db import Database


@dataclass(frozen=True)
class Core:
    """One per process; holds no state of its own."""

    db: Database
    backends: Backends
    settings: Settings
    clock: Callable[[], datetime]
