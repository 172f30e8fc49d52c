"""`FileCredentials`: what a launch is given, from files of the service or from what the launcher uploaded.

Looking never renews; issuing does, one renewal at a time. Invariant: analysis launches get the launcher's own
credentials and nothing of the experiment's.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from pathlib import Path

from poms.plugins.credentials.inspection import Finding, Stored, look_at, read_file
from poms.plugins.credentials.options import KINDS, LABELS, Options
from poms.plugins.credentials.renewal import renew
from poms.webservice.errors import BackendUnavailable, CredentialsLacking
from poms.webservice.interfaces import (
    CredentialRequest,
    CredentialState,
    IssuedCredentials,
    PluginContext,
    PrivateFile,
)
from poms.webservice.rules.naming import credential_file

ANALYSIS = "analysis"
OWN_NAMES = {"proxy": "x509up_voms", "token": "bt", "vault_token": "vt"}
VARIABLES = {"proxy": "X509_USER_PROXY", "token": "BEARER_TOKEN_FILE", "vault_token": "VAULT_TOKEN_FILE"}
OPTIONS_VARIABLE = "HTGETTOKENOPTS"
LEFT_BEHIND_SECONDS = 3600.0


class FileCredentials:
    """``CredentialBackend`` for one experiment. Safe to use from any thread."""

    def __init__(self, context: PluginContext) -> None:
        self._options = Options.of(context.options)
        self._clock = context.clock
        self._directory = context.data_dir.absolute() / "credentials"
        self._renewing = threading.Lock()

    def look(self, request: CredentialRequest) -> list[CredentialState]:
        """Each credential that launches would be given. What is renewed by itself is no problem."""
        return [self._state(request, kind, self._finding(kind, self._stored(request, kind)))
                for kind in self._wanted(request)]

    def issue(self, request: CredentialRequest) -> IssuedCredentials:
        """Read, renew what is not good any more, check, and give copies of it."""
        own = request.role == ANALYSIS
        why = self._renew_experiments(request) if not own else ""
        found = {kind: self._stored(request, kind) for kind in self._wanted(request)}
        if own and self._renews(request) and not self._finding("vault_token", found["vault_token"]).problem:
            found["token"], why = self._exchange(request, found)
        lacking = [self._problem(request, kind, finding, why) for kind, stored in found.items()
                   if (finding := self._finding(kind, stored)).problem]
        if lacking:
            raise CredentialsLacking(" ".join(lacking))
        words = self._options.renewal_options(request, own=own)
        files = tuple(PrivateFile(kind, stored.data, self._exports(kind, words)) for kind, stored in found.items())
        variables = ((OPTIONS_VARIABLE, " ".join(words)),) if words and "vault_token" not in found else ()
        return IssuedCredentials(files, variables)

    # ----------------------------------------------------------------------------------- what there is

    def _wanted(self, request: CredentialRequest) -> tuple[str, ...]:
        if request.role == ANALYSIS:
            return self._options.own
        return tuple(kind for kind in KINDS if kind in self._options.paths)

    def _stored(self, request: CredentialRequest, kind: str) -> Stored:
        if request.role != ANALYSIS:
            return read_file(self._options.path(kind, request))
        file = request.own(self._own_name(request, kind))
        if file is None and kind == "vault_token":
            # Older clients write the role with a small letter.
            file = request.own(self._own_name(request, kind).replace("_Analysis_", "_analysis_", 1))
        return Stored(problem="was not uploaded") if file is None else Stored(file.data, file.changed_at)

    def _finding(self, kind: str, stored: Stored) -> Finding:
        return look_at(kind, stored, self._clock(), least_seconds=self._options.least_seconds.get(kind, 0.0),
                       most_age_seconds=self._options.vault_token_age_seconds)

    def _state(self, request: CredentialRequest, kind: str, finding: Finding) -> CredentialState:
        note = finding.note
        problem = self._problem(request, kind, finding, "") if finding.problem else ""
        if problem and self._is_renewed(request, kind):
            problem, note = "", f"{finding.problem}; renewed by the next launch"
        return CredentialState(LABELS[kind], self._whose(request), problem, finding.expires_at, note)

    def _problem(self, request: CredentialRequest, kind: str, finding: Finding, why: str) -> str:
        """What is wrong and what to do about it, in a sentence or two."""
        label = LABELS[kind]
        told = f" ({why})" if why else ""
        if request.role == ANALYSIS:
            return (f"The {label} of {self._whose(request)} {finding.problem}{told}. Upload a new one as "
                    f"{self._own_name(request, kind)}.")
        return (f"The {label} of {self._whose(request)} {finding.problem}{told}. Ask whoever looks after "
                f"{self._options.path(kind, request)} to renew it.")

    def _whose(self, request: CredentialRequest) -> str:
        return request.username if request.role == ANALYSIS else f"{request.experiment} as {request.role}"

    def _own_name(self, request: CredentialRequest, kind: str) -> str:
        return credential_file(OWN_NAMES[kind], request.experiment, request.role, request.username)

    def _exports(self, kind: str, words: list[str]) -> tuple[tuple[str, str], ...]:
        exports = [(VARIABLES[kind], "")]
        if kind == "vault_token" and words:
            exports.append((OPTIONS_VARIABLE, f"{' '.join(words)} --vaulttokeninfile="))
        return tuple(exports)

    # ---------------------------------------------------------------------------------------- renewal

    def _renews(self, request: CredentialRequest) -> bool:
        return bool(self._options.htgettoken) and (request.role != ANALYSIS or "vault_token" in self._options.own)

    def _is_renewed(self, request: CredentialRequest, kind: str) -> bool:
        """An experiment's tokens are; people's own vault tokens come from them, and give bearer tokens only."""
        if not self._renews(request) or kind == "proxy":
            return False
        return kind == "token" if request.role == ANALYSIS else True

    def _renew_experiments(self, request: CredentialRequest) -> str:
        """Renew what is not good any more of the experiment's tokens; why that was not done."""
        kinds = [kind for kind in self._wanted(request) if self._is_renewed(request, kind)]
        with self._renewing:
            # Asked under the lock: of several launches only the first renews.
            if not any(self._finding(kind, self._stored(request, kind)).problem for kind in kinds):
                return ""
            return renew(self._options.htgettoken, self._options.renewal_options(request, own=False),
                         token=self._options.path("token", request),
                         vault_token=self._options.path("vault_token", request),
                         timeout_seconds=self._options.htgettoken_timeout_seconds)

    def _exchange(self, request: CredentialRequest, found: dict[str, Stored]) -> tuple[Stored, str]:
        """A bearer token for somebody's own vault token, through files that are gone afterwards."""
        present = found.get("token", Stored(problem="was not uploaded"))
        if not self._finding("token", present).problem:
            return present, ""
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._remove_left_behind()
            place = Path(tempfile.mkdtemp(dir=self._directory))
        except OSError as problem:
            raise BackendUnavailable(f"No token can be got below {self._directory}: {problem.strerror}.") from problem
        try:
            vault_token, token = place / "vault_token", place / "token"
            vault_token.touch(0o600)
            vault_token.write_bytes(found["vault_token"].data)
            why = renew(self._options.htgettoken, self._options.renewal_options(request, own=True), token=str(token),
                        given_vault_token=str(vault_token),
                        timeout_seconds=self._options.htgettoken_timeout_seconds)
            return (present if why else read_file(str(token))), why
        finally:
            shutil.rmtree(place)

    def _remove_left_behind(self) -> None:
        """What an agent left here that was killed while it renewed."""
        before = time.time() - LEFT_BEHIND_SECONDS - self._options.htgettoken_timeout_seconds
        for place in self._directory.iterdir():
            if place.lstat().st_mtime < before:
                shutil.rmtree(place, ignore_errors=True)
