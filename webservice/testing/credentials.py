"""Credentials in tests: proxies and tokens that are real but for their signatures, a back end in memory, the contract.

Subclass ``CredentialBackendContract`` in a test module and give it a back end, and a way to take its credentials away.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from poms.webservice.errors import CredentialsLacking, PomsError
from poms.webservice.interfaces import (
    CredentialBackend,
    CredentialRequest,
    CredentialState,
    IssuedCredentials,
    OwnFile,
    PrivateFile,
)
from poms.webservice.rules.hiding import secrets_of
from poms.webservice.rules.naming import is_file_word
from poms.webservice.testing.faults import Faulty

HOSTILE = ("../../etc/passwd", "a b", "$(touch canary)", "'; rm -rf /", "a\nb", "", ".", "..", "-o", "x" * 5000,
           "Größe", "{role}", "{user}", "%(role)s", "\x00", "\ud800")


def make_token(expires_at: datetime, *groups: str, canary: str = "") -> bytes:
    """A token of some issuer; ``canary`` is a text in it by which a test finds it again."""
    claims = {"exp": int(expires_at.timestamp()), "sub": "poms", "iss": "https://issuer.example.org",
              "wlcg.groups": list(groups), "jti": canary}
    return jwt.encode(claims, "not a secret that anybody checks here", algorithm="HS256").encode() + b"\n"


def make_proxy(*valid_until: datetime) -> bytes:
    """A proxy: its certificate, its key, and the chain above it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "poms")])
    pieces = [
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(number + 1).not_valid_before(end - timedelta(days=400)).not_valid_after(end)
        .sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        for number, end in enumerate(valid_until)]
    pieces.insert(1, key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                       serialization.NoEncryption()))
    return b"".join(pieces)


def request_of(role: str = "production", username: str = "olive", *, experiment: str = "sbnd",
               own: Mapping[str, OwnFile] | None = None) -> CredentialRequest:
    """Somebody launches; ``own`` are the files that this person keeps."""
    return CredentialRequest(experiment, experiment, role, username, (own or {}).get)


def own_file(name: str, data: bytes, changed_at: datetime | None = None) -> OwnFile:
    return OwnFile(name, data, changed_at or datetime.now(UTC))


class CredentialBackendContract:
    """Tests that every CredentialBackend passes.

    Override the fixture ``backend``, which has all that ``request_of()`` needs, and ``spoil``, after which it has not.
    """

    @pytest.fixture
    def backend(self) -> CredentialBackend:
        raise NotImplementedError("override the fixture backend")

    def spoil(self) -> None:
        raise NotImplementedError("override spoil")

    def test_it_is_a_credential_backend(self, backend):
        """It has every member of the interface."""
        assert isinstance(backend, CredentialBackend)

    def test_what_is_good_is_given(self, backend):
        """Nothing is wrong, and the launch gets files that its script can find."""
        assert [state.problem for state in backend.look(request_of())] == [""] * len(backend.look(request_of()))

        issued = backend.issue(request_of())

        assert issued.files
        for file in issued.files:
            assert file.data and is_file_word(file.name)
            assert file.exports and all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) for name, _ in file.exports)
        assert len({file.name for file in issued.files}) == len(issued.files)

    def test_states_and_variables_tell_no_secret(self, backend):
        """Neither what pages show nor what stands in the script or a log holds any line of a credential."""
        issued = backend.issue(request_of())
        secrets = [secret.decode() for secret in secrets_of(file.data for file in issued.files)]

        told = "\n".join([repr(issued), repr(backend.look(request_of())), repr(issued.variables),
                          *(before for file in issued.files for _, before in file.exports)])

        assert secrets and not [secret for secret in secrets if secret in told]

    def test_looking_changes_nothing(self, backend):
        """Pages look often: it says the same each time, and issuing after it gives the same."""
        first = [dataclasses.replace(state, note="") for state in backend.look(request_of())]

        assert [dataclasses.replace(state, note="") for state in backend.look(request_of())] == first

    def test_what_is_lacking_is_told_with_a_remedy(self, backend):
        """A launch without credentials is refused before anything is started, in words that help."""
        self.spoil()

        problems = [state.problem for state in backend.look(request_of()) if state.problem]
        with pytest.raises(CredentialsLacking) as refused:
            backend.issue(request_of())

        assert problems
        assert all(problem in str(refused.value) for problem in problems)

    @pytest.mark.parametrize("username", HOSTILE, ids=range(len(HOSTILE)))
    @pytest.mark.parametrize("role", ["production", "analysis"])
    def test_hostile_names_are_refused_or_harmless(self, backend, username, role):
        """Whatever somebody is called, either it works, or a condition of POMS says why not."""
        request = request_of(role, username)
        for call in (backend.look, backend.issue):
            try:
                call(request)
            except PomsError as refused:
                assert str(refused)


class FakeCredentials(Faulty):
    """One token in memory for everybody; ``problem`` takes it away."""

    def __init__(self) -> None:
        super().__init__()
        self.problem = ""
        self.data = b"token-in-memory-0123456789"
        self.requests: list[CredentialRequest] = []
        self.on_issue: Callable[[], None] = lambda: None

    def look(self, request: CredentialRequest) -> list[CredentialState]:
        self._meet("look")
        return [CredentialState("token", f"{request.experiment} as {request.role}", self.problem)]

    def issue(self, request: CredentialRequest) -> IssuedCredentials:
        self._meet("issue")
        self.on_issue()
        self.requests.append(request)
        if self.problem:
            raise CredentialsLacking(self.problem)
        return IssuedCredentials((PrivateFile("token", self.data, (("BEARER_TOKEN_FILE", ""),)),))
