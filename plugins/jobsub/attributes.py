"""What ties jobs to their submission without touching the launch command: jobsub's own variables for extra lines.

Pure. jobsub_lite writes values into its submit description as they are, so invariant: nothing leaves here that could
end a value or a line, or be a macro; numbers alone are relied on, names are for people.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from poms.plugins.jobsub.options import is_name
from poms.webservice.interfaces import LaunchPlan

ROLE = "POMS4_VO_ROLE"
LONGEST = 500

_NUMBERS = ("POMS4_CAMPAIGN_STAGE_ID", "POMS4_CAMPAIGN_ID", "POMS_TASK_ID", "POMS_CAMPAIGN_ID")
_NAMES = ("POMS4_CAMPAIGN_STAGE_NAME", "POMS4_CAMPAIGN_NAME", "POMS4_CAMPAIGN_TYPE", "POMS_LAUNCHER",
          "POMS_CAMPAIGN_NAME")
# Letters of any script and what cannot mean anything to a submit description, a list with commas, or a shell.
_HARMFUL = re.compile(r"[^\w.:/@%+=-]")


def harmless(text: str) -> str:
    """``text`` with ``_`` for all that jobsub's templates, lists or submit descriptions could take for their own."""
    return _HARMFUL.sub("_", text.encode(errors="replace").decode())[:LONGEST]


def variables(plan: LaunchPlan) -> tuple[tuple[str, str], ...]:
    """JOBSUB_EXTRA_LINES and JOBSUB_EXTRA_ENVIRONMENT for a launch."""
    identity = {"POMS4_SUBMISSION_ID": str(plan.submission_id), "POMS4_LAUNCH_ATTEMPT": str(plan.attempt)}
    given = dict(plan.environment) | identity
    lines = [f"+{name}={value}" for name, value in identity.items()]
    lines += [f"+{name}={int(given[name])}" for name in _NUMBERS if re.fullmatch(r"[0-9]{1,18}", given.get(name, ""))]
    lines += [f'+{name}="{harmless(given[name])}"' for name in _NAMES if given.get(name)]
    if is_name(plan.role):
        lines.append(f'+{ROLE}="{plan.role}"')
    return (("JOBSUB_EXTRA_LINES", ",".join(lines)),
            ("JOBSUB_EXTRA_ENVIRONMENT", ",".join(_for_jobs(given.items()))))


def _for_jobs(given: Iterable[tuple[str, str]]) -> Iterable[str]:
    """Our own variables; an empty one would make jobsub refuse the submit."""
    return (f"{name}={harmless(value)}" for name, value in given
            if name.startswith(("POMS4_", "POMS_", "SAM_")) and value)
