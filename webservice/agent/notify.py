"""Tell people of what they watch: gather what is owed, make digests of it, send them."""

from __future__ import annotations

from poms.webservice.services import notifications
from poms.webservice.services.core import Core
from poms.webservice.services.tasks import TaskLease


def run(core: Core, lease: TaskLease) -> str:
    """One pass; each step is safe to be cut short and is taken up by the next pass."""
    return notifications.run(core, lease)
