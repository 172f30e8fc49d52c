"""Identity source ``proxy``: a front end (Apache with Shibboleth) logs people in and names them in a header.

The name is believed only from a trusted address *and* beside a secret that clients do not know.
A request that shows an identity in any other way is refused; one that shows none is left to the
next source. There is no default user.
"""

from __future__ import annotations

from poms.plugins.identity.front_end import (
    NOBODY,
    USERNAME,
    FrontEnd,
    header_names,
    networks,
    printable,
    secret_of,
)
from poms.webservice.errors import NotAuthenticated
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
PROGRAM_METHODS = ("certificate", "token")
METHODS = ("", "browser", *PROGRAM_METHODS)


class ProxyIdentity:
    """Believes the user header of one front end."""

    def __init__(self, front_end: FrontEnd, *, header: str, method_header: str) -> None:
        self._front_end, self._header, self._method_header = front_end, header, method_header

    def identify(self, request: RequestFacts) -> Identity | None:
        self._front_end.refuse_ambiguous(request)
        shown = request.headers.get(self._header)
        if shown is None or shown in NOBODY:
            return None
        self._front_end.require(request, self._header)
        if not USERNAME.fullmatch(shown):
            raise NotAuthenticated(f"{self._header} is no user name: {printable(shown)}")
        method = request.headers.get(self._method_header, "")
        if method not in METHODS:
            raise NotAuthenticated(f"{self._method_header} is none of {', '.join(filter(None, METHODS))}")
        return Identity(shown, "proxy", via_browser=method not in PROGRAM_METHODS)

    def start_checks(self, listen: str) -> list[CheckResult]:
        return self._front_end.start_checks("identity proxy", self._header)


def build(context: PluginContext) -> ProxyIdentity:
    names = header_names(context, SECTION, ("header", "secret_header", "method_header"))
    front_end = FrontEnd(section=SECTION, own_headers=names.values(), secret_header=names["secret_header"],
                         trusted=networks(SECTION, context.options["trusted_proxies"]),
                         secret=secret_of(context, SECTION))
    return ProxyIdentity(front_end, header=names["header"], method_header=names["method_header"])


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
