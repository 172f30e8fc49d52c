"""Identity source ``proxy``: a front end (Apache with Shibboleth) logs people in and names them in a header.

The name is believed only from a trusted address *and* beside a secret that clients do not know.
A request that shows an identity in any other way is refused; one that shows none is left to the
next source. There is no default user.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from poms.webservice.errors import ConfigurationError, NotAuthenticated
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

SECTION = "identity_proxy"
USERNAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
HEADER_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
NOBODY = ("", "(null)")
PROGRAM_METHODS = ("certificate", "token")
METHODS = ("", "browser", *PROGRAM_METHODS)
SHORTEST_SECRET = 16
LARGE_NETWORK = 65536

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class ProxyIdentity:
    """Believes the user header of one front end."""

    def __init__(self, *, header: str, secret_header: str, method_header: str, trusted: Sequence[Network],
                 secret: str) -> None:
        self._header, self._secret_header, self._method_header = header, secret_header, method_header
        self._ours = frozenset((header, secret_header, method_header))
        self._trusted = tuple(trusted)
        self._secret = secret.encode("utf-8")

    def identify(self, request: RequestFacts) -> Identity | None:
        self._refuse_ambiguous(request)
        shown = request.headers.get(self._header)
        if shown is None or shown in NOBODY:
            return None
        if not self._is_trusted(request.peer):
            raise NotAuthenticated(f"{self._header} is not believed from {_printable(request.peer)}")
        # Compared as bytes: compare_digest refuses text that is not ASCII.
        given = request.headers.get(self._secret_header, "").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(given, self._secret):
            raise NotAuthenticated(f"{self._header} is not believed without the right {self._secret_header}")
        if not USERNAME.fullmatch(shown):
            raise NotAuthenticated(f"{self._header} is no user name: {_printable(shown)}")
        method = request.headers.get(self._method_header, "")
        if method not in METHODS:
            raise NotAuthenticated(f"{self._method_header} is none of {', '.join(filter(None, METHODS))}")
        return Identity(shown, "proxy", via_browser=method not in PROGRAM_METHODS)

    def _refuse_ambiguous(self, request: RequestFacts) -> None:
        """Two copies, two spellings, or a header that asks the proxy to drop ours: somebody is playing."""
        doubled = sorted(name for name in request.duplicates if _folded(name) in self._ours)
        if doubled:
            raise NotAuthenticated(f"the header {_printable(doubled[0])} came more than once")
        for name in request.headers:
            if name not in self._ours and _folded(name) in self._ours:
                raise NotAuthenticated(f"the header {_printable(name)} is a second spelling of {_folded(name)}")
        for listing in ("connection", "proxy-connection", "trailer"):
            tokens = {_folded(token) for token in request.headers.get(listing, "").split(",")}
            if tokens & self._ours:
                raise NotAuthenticated(f"the header {listing} may not name {sorted(tokens & self._ours)[0]}")

    def _is_trusted(self, peer: str) -> bool:
        try:
            address = ipaddress.ip_address(peer)
        except ValueError:
            return False
        if getattr(address, "scope_id", None) is not None:
            # A zone is chosen by whoever writes the address; nothing that we name has one.
            return False
        # A dual-stack socket shows IPv4 peers in IPv6 clothes; they are who they are.
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self._trusted)

    def start_checks(self, listen: str) -> list[CheckResult]:
        subject = "identity proxy"
        if not self._trusted:
            return [CheckResult("error", subject, f"[{SECTION}] trusted_proxies is empty: name the address of the "
                                "front end, such as 127.0.0.1")]
        everybody = [network for network in self._trusted if network.prefixlen == 0]
        if everybody:
            return [CheckResult("error", subject, f"[{SECTION}] trusted_proxies = {everybody[0]} trusts everybody: "
                                "name the address of the front end")]
        results = [CheckResult("warning", subject, f"[{SECTION}] trusted_proxies = {network} trusts "
                               f"{network.num_addresses:,} addresses: name the front end alone")
                   for network in self._trusted if network.num_addresses > LARGE_NETWORK]
        names = ", ".join(map(str, self._trusted))
        return [*results, CheckResult("ok", subject, f"{self._header} is believed from {names} with the secret; the "
                                      "front end must remove the header from what clients send")]


def _folded(name: str) -> str:
    """The one spelling that CGI and WSGI make of a header name, in the way we write it."""
    return name.strip().replace("_", "-").lower()


def _printable(text: str) -> str:
    return ascii(text[:80])


def _networks(texts: Iterable[str]) -> list[Network]:
    found = []
    for text in texts:
        try:
            found.append(ipaddress.ip_network(text))
        except ValueError as error:
            raise ConfigurationError(f"[{SECTION}] trusted_proxies: {error}; expected addresses or networks such as "
                                     "127.0.0.1 or 10.1.2.0/28") from None
    return found


def _secret(context: PluginContext) -> str:
    """The secret of the file that the administrator named, or the one that the service keeps."""
    named = context.options["secret_file"]
    if not named:
        return context.secret("identity_proxy")
    path = Path(named)
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        secret = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"[{SECTION}] secret_file = {path}: cannot be read: {error}") from None
    if mode & 0o007:
        raise ConfigurationError(f"[{SECTION}] secret_file = {path}: everybody may read it: chmod o= {path}")
    if len(secret) < SHORTEST_SECRET:
        raise ConfigurationError(f"[{SECTION}] secret_file = {path}: needs at least {SHORTEST_SECRET} characters")
    return secret


def build(context: PluginContext) -> ProxyIdentity:
    names = {}
    for option in ("header", "secret_header", "method_header"):
        names[option] = _folded(context.options[option])
        if not HEADER_NAME.fullmatch(names[option]) or "_" in context.options[option]:
            raise ConfigurationError(f"[{SECTION}] {option} = {context.options[option]!r}: expected the name of a "
                                     "header, of letters, digits and -")
    if len(set(names.values())) != len(names):
        raise ConfigurationError(f"[{SECTION}]: header, secret_header and method_header must be three headers")
    return ProxyIdentity(header=names["header"], secret_header=names["secret_header"],
                         method_header=names["method_header"], secret=_secret(context),
                         trusted=_networks(context.options["trusted_proxies"]))


@hookimpl
def poms_settings() -> list[SettingsSection]:
    return [SettingsSection(SECTION, "The identity source proxy: a front end logs people in.", (
        Setting("header", "str", "X-Shib-Userid", "Header in which the front end names the user. The front end must "
                "remove it from every request before it sets it."),
        Setting("secret_header", "str", "X-Poms-Proxy-Secret", "Header in which the front end shows the secret."),
        Setting("method_header", "str", "X-Poms-Auth-Method", "Header in which the front end may say how the user was "
                "known: browser, certificate or token. The last two need no defence against forged pages."),
        Setting("trusted_proxies", "list", "127.0.0.1, ::1", "Addresses or networks of the front end."),
        Setting("secret_file", "str", "", "Absolute path of a file that holds the secret. Empty: the file "
                "secrets/identity_proxy of the data directory, which is made at the first start."),
    ))]


@hookimpl
def poms_identity_sources() -> list[Offer]:
    return [Offer("proxy", "a user header set by a trusted front end", build, SECTION)]
