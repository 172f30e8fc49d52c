"""The agents' look at the schedules of an experiment; what has come due is written as owed launches."""

from __future__ import annotations

from poms.webservice.services import schedules
from poms.webservice.services.core import Core


def run(core: Core, experiment: str) -> str:
    """One look; a sentence for the agents page."""
    return schedules.launch_due(core, experiment)
