"""Identity source ``demo``: everybody on this machine is one fixed user. For trying POMS out only.

Believed on loopback addresses alone: the start is refused on any other listen address, and
so is every request that came from elsewhere, through a proxy, or for another host name (which
a page on the network could point at this machine).
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

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

SECTION = "identity_demo"
FORWARDED = ("x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "forwarded", "via")
USERNAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@lru_cache(1000)
def is_loopback(host: str) -> bool:
    """Is this address or host name one that only this machine can reach?"""
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def host_of(text: str) -> str:
    """The host of ``host``, ``host:port`` or ``[IPv6]:port``; "" if it is none of these."""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:\[\]/@]+))(?::[0-9]{1,5})?", text)
    return (match[1] or match[2]) if match else ""


class DemoIdentity:
    """One user for every request that was made on this machine."""

    def __init__(self, user: str) -> None:
        if not USERNAME.fullmatch(user):
            raise ConfigurationError(f"[{SECTION}] user = {user!r}: expected a user name of letters, digits, . _ and -")
        self._user = user

    def identify(self, request: RequestFacts) -> Identity:
        if not is_loopback(request.peer):
            raise NotAuthenticated(f"the demo user is known on this machine only, the request came from {request.peer}")
        forwarded = sorted(name for name in request.headers if name.replace("_", "-").lower() in FORWARDED)
        if forwarded:
            raise NotAuthenticated(f"the demo user is not known through a proxy ({forwarded[0]} is set)")
        if "host" in request.duplicates or not is_loopback(host_of(request.headers.get("host", "localhost"))):
            raise NotAuthenticated("the demo user is known at localhost only: use http://localhost or http://127.0.0.1")
        return Identity(self._user, "demo", via_browser=_may_be_browser(request), display_name="Demo user")

    def start_checks(self, listen: str) -> list[CheckResult]:
        if not is_loopback(host_of(listen)):
            return [CheckResult("error", "identity demo", f"[web] listen = {listen} can be reached from outside, where "
                                "everybody would be the demo user: listen on 127.0.0.1, or choose other [identity] "
                                "sources")]
        return [CheckResult("ok", "identity demo", f"everybody on this machine is the user {self._user}")]


def _may_be_browser(request: RequestFacts) -> bool:
    """Every browser tells one of these about itself, and no page can make it keep silent about all."""
    headers = request.headers
    return (headers.get("user-agent", "").lower().startswith("mozilla")
            or any(name == "origin" or name == "referer" or name.startswith("sec-fetch-") for name in headers))


def build(context: PluginContext) -> DemoIdentity:
    return DemoIdentity(context.options["user"])


@hookimpl
def poms_settings() -> list[SettingsSection]:
    return [SettingsSection(SECTION, "The identity source demo: one user on one machine.", (
        Setting("user", "str", "demo", "User name that everybody on this machine has."),
    ))]


@hookimpl
def poms_identity_sources() -> list[Offer]:
    return [Offer("demo", "one fixed user, on loopback addresses only", build, SECTION)]
