"""The front end that is believed: its addresses, its secret, and the headers that are its own.

Shared by the identity sources that read what a front end says. Invariant: a header is believed only from a trusted
address *and* beside a secret that clients do not know, and only in one copy and one spelling.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from poms.webservice.errors import ConfigurationError, NotAuthenticated
from poms.webservice.interfaces import CheckResult, PluginContext, RequestFacts

USERNAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
NOBODY = ("", "(null)")
SHORTEST_SECRET = 16
LARGE_NETWORK = 65536

_HEADER_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class FrontEnd:
    """One front end; ``own_headers`` are those that nobody else may send, the secret's among them."""

    def __init__(self, *, section: str, own_headers: Iterable[str], secret_header: str, trusted: Sequence[Network],
                 secret: str) -> None:
        self._section, self._secret_header = section, secret_header
        self._ours = frozenset((*own_headers, secret_header))
        self._trusted = tuple(trusted)
        self._secret = secret.encode("utf-8")

    def require(self, request: RequestFacts, header: str) -> None:
        """Raise NotAuthenticated unless the request came through the front end, which set this header."""
        if not self._is_trusted(request.peer):
            raise NotAuthenticated(f"{header} is not believed from {printable(request.peer)}")
        # Compared as bytes: compare_digest refuses text that is not ASCII.
        given = request.headers.get(self._secret_header, "").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(given, self._secret):
            raise NotAuthenticated(f"{header} is not believed without the right {self._secret_header}")

    def refuse_ambiguous(self, request: RequestFacts) -> None:
        """Two copies, two spellings, or a header that asks the proxy to drop ours: somebody is playing."""
        doubled = sorted(name for name in request.duplicates if folded(name) in self._ours)
        if doubled:
            raise NotAuthenticated(f"the header {printable(doubled[0])} came more than once")
        for name in request.headers:
            if name not in self._ours and folded(name) in self._ours:
                raise NotAuthenticated(f"the header {printable(name)} is a second spelling of {folded(name)}")
        for listing in ("connection", "proxy-connection", "trailer"):
            tokens = {folded(token) for token in request.headers.get(listing, "").split(",")}
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

    def start_checks(self, subject: str, header: str) -> list[CheckResult]:
        """Whether somebody is trusted, and not everybody; an ``ok`` comes last if so."""
        if not self._trusted:
            return [CheckResult("error", subject, f"[{self._section}] trusted_proxies is empty: name the address of "
                                "the front end, such as 127.0.0.1")]
        everybody = [network for network in self._trusted if network.prefixlen == 0]
        if everybody:
            return [CheckResult("error", subject, f"[{self._section}] trusted_proxies = {everybody[0]} trusts "
                                "everybody: name the address of the front end")]
        results = [CheckResult("warning", subject, f"[{self._section}] trusted_proxies = {network} trusts "
                               f"{network.num_addresses:,} addresses: name the front end alone")
                   for network in self._trusted if network.num_addresses > LARGE_NETWORK]
        names = ", ".join(map(str, self._trusted))
        return [*results, CheckResult("ok", subject, f"{header} is believed from {names} with the secret; the "
                                      "front end must remove the header from what clients send")]


def folded(name: str) -> str:
    """The one spelling that CGI and WSGI make of a header name, in the way we write it."""
    return name.strip().replace("_", "-").lower()


def printable(text: str) -> str:
    """The beginning of a text of others, without what a log or terminal would obey."""
    return ascii(text[:80])


def header_names(context: PluginContext, section: str, options: Iterable[str]) -> Mapping[str, str]:
    """The headers that these options name, in the spelling in which they are compared; all different."""
    names = {}
    for option in options:
        names[option] = folded(context.options[option])
        if not _HEADER_NAME.fullmatch(names[option]) or "_" in context.options[option]:
            raise ConfigurationError(f"[{section}] {option} = {context.options[option]!r}: expected the name of a "
                                     "header, of letters, digits and -")
    if len(set(names.values())) != len(names):
        *first, last = names
        count = {2: "two", 3: "three"}.get(len(names), str(len(names)))
        raise ConfigurationError(f"[{section}]: {', '.join(first)} and {last} must be {count} headers")
    return names


def networks(section: str, texts: Iterable[str]) -> list[Network]:
    """The addresses of ``trusted_proxies``."""
    found = []
    for text in texts:
        try:
            found.append(ipaddress.ip_network(text))
        except ValueError as error:
            raise ConfigurationError(f"[{section}] trusted_proxies: {error}; expected addresses or networks such as "
                                     "127.0.0.1 or 10.1.2.0/28") from None
    return found


def secret_of(context: PluginContext, section: str) -> str:
    """The secret of the file that the administrator named, or the one that the service keeps."""
    named = context.options["secret_file"]
    if not named:
        return context.secret("identity_proxy")
    path = Path(named)
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        secret = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"[{section}] secret_file = {path}: cannot be read: {error}") from None
    if mode & 0o007:
        raise ConfigurationError(f"[{section}] secret_file = {path}: everybody may read it: chmod o= {path}")
    if len(secret) < SHORTEST_SECRET:
        raise ConfigurationError(f"[{section}] secret_file = {path}: needs at least {SHORTEST_SECRET} characters")
    return secret
