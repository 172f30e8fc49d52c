"""What goes along with a launch: the credentials that it needs, and for analysis the files that the launcher keeps.

Not for how it gets to the launch host (a LaunchTransport's business). Invariant: the launcher's own credentials for
analysis, the experiment's for everything else; what a launch is given is held in memory only and shown nowhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from poms.webservice.errors import Conflict, PomsError
from poms.webservice.interfaces import (
    CredentialRequest,
    CredentialState,
    IssuedCredentials,
    LaunchFiles,
    LaunchPlan,
    PrivateFile,
)
from poms.webservice.rules import naming
from poms.webservice.rules.hiding import Hider, secrets_of
from poms.webservice.rules.permissions import ANALYSIS
from poms.webservice.services import uploads
from poms.webservice.services.core import Core

DAY_SECONDS = 86400.0


@dataclass(frozen=True)
class Given:
    """What one attempt of a launch is given. ``files`` None: nothing goes along."""

    files: LaunchFiles | None = field(default=None, repr=False)
    variables: tuple[tuple[str, str], ...] = ()

    def hider(self) -> Hider:
        """Keeps the credentials out of whatever the launch prints."""
        return Hider(secrets_of(file.data for file in self.files.private) if self.files else ())


def states(core: Core, experiment: str, role: str, username: str) -> list[CredentialState]:
    """The credentials that launches of this person in this role would be given; raises BackendUnavailable."""
    backend = core.backends.credentials(experiment)
    return [] if backend is None else backend.look(_request(core, experiment, role, username))


def lacking(core: Core, experiment: str, role: str, username: str) -> str:
    """Why a launch would not get the credentials that it needs, with the remedy; "" if it would."""
    return _told(states(core, experiment, role, username))


def shown(core: Core, experiment: str, role: str, username: str) -> list[dict[str, Any]]:
    """The same for pages; a source that does not answer is one more thing that is wrong."""
    try:
        found = states(core, experiment, role, username)
    except PomsError as silent:
        found = [CredentialState("credentials", experiment, str(silent))]
    return [{"kind": state.kind, "whose": state.whose, "well": not state.problem, "problem": state.problem,
             "expires_at": state.expires_at, "note": state.note} for state in found]


def issue(core: Core, plan: LaunchPlan) -> Given:
    """What this attempt is given, checked now; raises CredentialsLacking, BackendUnavailable."""
    backend = core.backends.credentials(plan.experiment)
    issued = IssuedCredentials() if backend is None else backend.issue(
        _request(core, plan.experiment, plan.role, plan.launcher))
    kept = _sandbox(core, plan) if plan.role == ANALYSIS else None
    if not issued.files and kept is None:
        return Given(None, issued.variables)
    return Given(replace(sweeping(core), private=issued.files, kept=kept), issued.variables)


def sweeping(core: Core) -> LaunchFiles:
    """No files, and when those of earlier launches are removed: never while their scripts may run."""
    longest = 2 * core.settings.agent.launch_timeout_seconds
    return LaunchFiles(keep_seconds=max(core.settings.agent.sandbox_days * DAY_SECONDS, longest),
                       stale_seconds=longest + DAY_SECONDS)


def _request(core: Core, experiment: str, role: str, username: str) -> CredentialRequest:
    return CredentialRequest(experiment=experiment, group=naming.group_of(experiment), role=role, username=username,
                             own=lambda name: uploads.own_file(core, experiment, username, name))


def _sandbox(core: Core, plan: LaunchPlan) -> tuple[PrivateFile, ...]:
    """Copies of the launcher's files. Credentials are not among them: they would stay there for days."""
    found = []
    for name in uploads.own_names(core, plan.experiment, plan.launcher):
        if naming.is_credential_file(name):
            continue
        file = uploads.own_file(core, plan.experiment, plan.launcher, name)
        if file is None:
            raise Conflict(f"The file {name} of {plan.launcher} was deleted while the launch began.")
        found.append(PrivateFile(name, file.data))
    return tuple(found)


def _told(found: Iterable[CredentialState]) -> str:
    return " ".join(state.problem for state in found if state.problem)
