"""Identity source ``certificate``: a front end checked a client certificate and names it; a map file says whose it is.

The front end is believed as by the source ``proxy``. A certificate whose name nobody registered is nobody's.
Browsers hold certificates too: what may be a browser needs the defence against forged pages.
"""

from __future__ import annotations

import base64
import binascii
import re
import shlex
import threading
from collections.abc import Mapping
from pathlib import Path

from poms.plugins.identity import names
from poms.plugins.identity.front_end import (
    NOBODY,
    USERNAME,
    FrontEnd,
    header_names,
    networks,
    printable,
    secret_of,
)
from poms.webservice.errors import BackendUnavailable, ConfigurationError, NotAuthenticated
from poms.webservice.hookspecs import hookimpl
from poms.webservice.interfaces import (
    CheckResult,
    Identity,
    Offer,
    PluginContext,
    RequestFacts,
    Setting,
    SettingsSection,
)

SECTION = "identity_certificate"
VERIFIED = "SUCCESS"
ENCODINGS = ("plain", "base64")
BIGGEST_FILE = 20_000_000


class MapFile:
    """Names of certificates and the user each belongs to, from a file that is read again when it changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._state: tuple[int, int, int] | None = None
        self._users: Mapping[names.Name, str] = {}

    def find(self, name: names.Name) -> str | None:
        """The user whose certificate this is. Raises BackendUnavailable if the file cannot be read as it should."""
        with self._lock:
            try:
                found = self._path.stat()
                state = (found.st_mtime_ns, found.st_size, found.st_ino)
                if state != self._state:
                    self._users = read_map(self._path)
                    self._state = state
            except (OSError, ConfigurationError) as problem:
                # What was known before may be what was just taken away: nobody is let in on it.
                raise BackendUnavailable(f"the map of certificates cannot be read: {problem}") from problem
            return self._users.get(name)


def read_map(path: Path) -> dict[names.Name, str]:
    """A grid map file: on each line a name in quotes and a user. Raises ConfigurationError with the line."""
    try:
        if path.stat().st_size > BIGGEST_FILE:
            raise ConfigurationError(f"{path} is too large for a map of certificates")
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigurationError(f"{path} cannot be read: {problem}") from None
    users: dict[names.Name, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            shown, accounts = shlex.split(line)
            name, user = names.read_name(shown), accounts.split(",")[0]
        except ValueError as problem:
            raise ConfigurationError(f'{path}, line {number}: {problem}; expected "/DC=org/CN=Name" user') from None
        if not USERNAME.fullmatch(user):
            raise ConfigurationError(f"{path}, line {number}: {printable(user)} is no user name")
        if users.setdefault(name, user) != user:
            raise ConfigurationError(f"{path}, line {number}: this certificate is {users[name]}'s already")
    return users


class CertificateIdentity:
    """Believes the certificate's name that one front end passes on."""

    def __init__(self, front_end: FrontEnd, users: MapFile, *, header: str, verify_header: str, encoding: str,
                 proxies: bool) -> None:
        self._front_end, self._users = front_end, users
        self._header, self._verify_header = header, verify_header
        self._encoding, self._proxies = encoding, proxies

    def identify(self, request: RequestFacts) -> Identity | None:
        shown = request.headers.get(self._header, "")
        if shown in NOBODY and request.headers.get(self._verify_header, "") in (*NOBODY, "NONE"):
            self._front_end.refuse_ambiguous(request)
            return None
        self._front_end.refuse_ambiguous(request)
        self._front_end.require(request, self._header)
        if request.headers.get(self._verify_header) != VERIFIED:
            raise NotAuthenticated(f"the front end did not verify the certificate ({self._verify_header} is not "
                                   f"{VERIFIED}): is it expired, or of an authority that is not known here?")
        name = self._name(shown)
        user = self._users.find(name)
        if user is None:
            said = "".join(f"/{kind}={value}" for kind, value in name)
            raise NotAuthenticated(f"the certificate {printable(said)} is registered for nobody; ask the operators "
                                   "of this service to add it to the map of certificates")
        return Identity(user, "certificate", via_browser=_may_be_browser(request))

    def _name(self, shown: str) -> names.Name:
        try:
            text = shown
            if self._encoding == "base64":
                text = base64.b64decode(shown.encode("ascii"), validate=True).decode("utf-8")
            name = names.read_name(text)
        except (ValueError, binascii.Error) as problem:
            raise NotAuthenticated(f"{self._header} is no name of a certificate: {printable(str(problem))}") from None
        return names.without_proxies(name) if self._proxies else name

    def start_checks(self, listen: str) -> list[CheckResult]:
        return self._front_end.start_checks("identity certificate", self._header)


def _may_be_browser(request: RequestFacts) -> bool:
    """Every browser tells one of these about itself, and no page can make it keep silent about all."""
    headers = request.headers
    return (re.match("mozilla", headers.get("user-agent", ""), re.IGNORECASE) is not None
            or any(name in ("origin", "referer") or name.startswith("sec-fetch-") for name in headers))


def build(context: PluginContext) -> CertificateIdentity:
    own = header_names(context, SECTION, ("header", "verify_header", "secret_header"))
    encoding = context.options["encoding"]
    if encoding not in ENCODINGS:
        raise ConfigurationError(f"[{SECTION}] encoding = {encoding!r}: expected one of {', '.join(ENCODINGS)}")
    if not context.options["map_file"]:
        raise ConfigurationError(f"[{SECTION}] map_file is empty: name the file that says whose each certificate is")
    path = Path(context.options["map_file"])
    read_map(path)
    front_end = FrontEnd(section=SECTION, own_headers=own.values(), secret_header=own["secret_header"],
                         trusted=networks(SECTION, context.options["trusted_proxies"]),
                         secret=secret_of(context, SECTION))
    return CertificateIdentity(front_end, MapFile(path), header=own["header"], verify_header=own["verify_header"],
                               encoding=encoding, proxies=context.options["accept_proxies"])


@hookimpl
def poms_settings() -> list[SettingsSection]:
    return [SettingsSection(SECTION, "The identity source certificate: a front end checks client certificates.", (
        Setting("map_file", "str", "", 'File that says whose each certificate is, on each line "/DC=org/CN=Name" and '
                "a user (a grid map file). It is read again when it changed."),
        Setting("header", "str", "X-SSL-Client-DN", "Header in which the front end names the certificate. The front "
                "end must remove it from every request before it sets it; the next two as well."),
        Setting("verify_header", "str", "X-SSL-Client-Verify", "Header in which the front end says SUCCESS when it "
                "verified the certificate."),
        Setting("secret_header", "str", "X-Poms-Proxy-Secret", "Header in which the front end shows the secret."),
        Setting("encoding", "str", "plain", "How the name stands in the header: plain (/DC=org/CN=Name, without "
                "commas), or base64 of the name in either spelling."),
        Setting("accept_proxies", "bool", "no", "Whether a proxy certificate stands for the person who made it. Only "
                "where the front end verifies proxy certificates."),
        Setting("trusted_proxies", "list", "127.0.0.1, ::1", "Addresses or networks of the front end."),
        Setting("secret_file", "str", "", "As secret_file of [identity_proxy]; empty: the same file as there."),
    ))]


@hookimpl
def poms_identity_sources() -> list[Offer]:
    return [Offer("certificate", "client certificates that a trusted front end verified", build, SECTION)]
