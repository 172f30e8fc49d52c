"""The channel `webhook`: a signed JSON document by POST to an address that the person gave.

Invariant: the service calls only hosts that its operator allowed, at addresses that are public or allowed as well;
what is checked is what is connected to. A redirect is never followed, an answer never read.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import json
import re
import socket
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import NewConnectionError

from poms.webservice.errors import BackendUnavailable, ConfigurationError, Invalid
from poms.webservice.hookspecs import hookimpl
from poms.webservice.interfaces import NewsItem, Notification, Offer, PluginContext, Setting, SettingsSection

SECTION = "webhook"
SIGNATURE, MESSAGE_KEY, ATTEMPT = "X-POMS-Signature", "X-POMS-Message", "X-POMS-Attempt"
_HOST = re.compile(r"(?:\*\.)?[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[0-9]{1,5})?|\[[0-9a-f:.]+\](?::[0-9]{1,5})?")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")


class Webhook:
    """Posts to addresses of allowed hosts."""

    one_system = False
    address_hint = "an https address that takes JSON by POST"

    def __init__(self, options: Mapping[str, Any], *, secret: str, clock: Callable[[], datetime]) -> None:
        self._hosts = tuple(host.lower() for host in options["allowed_hosts"])
        wrong = [host for host in self._hosts if not _HOST.fullmatch(host)]
        if wrong:
            raise ConfigurationError(f"[{SECTION}] allowed_hosts: {wrong[0]!r} is no host such as chat.example.org, "
                                     "*.example.org or chat.example.org:8443")
        try:
            self._networks: tuple[Network, ...] = tuple(map(ipaddress.ip_network, options["private_networks"]))
        except ValueError as error:
            raise ConfigurationError(f"[{SECTION}] private_networks: {error}") from None
        self._plain = bool(options["allow_http"])
        self._timeout = float(options["timeout"])
        self._ca_file = options["ca_file"] or True
        self._secret, self._clock = secret.encode(), clock

    # --------------------------------------------------------------------------------- addresses

    def check_address(self, address: str) -> str:
        """An address of an allowed host; whether it is public is seen when it is called."""
        address = address.strip()
        if not address.isprintable() or not address.isascii() or " " in address or "\\" in address:
            raise Invalid("an address is written in plain letters, without blanks", field="address")
        try:
            parts = urlsplit(address)
            port = parts.port
        except ValueError:
            raise Invalid(f"{address[:80]!r} is no web address", field="address") from None
        schemes = ("https", "http") if self._plain else ("https",)
        if parts.scheme not in schemes or not parts.hostname:
            raise Invalid(f"{address[:80]!r} is no address that begins with {' or '.join(schemes)}://", field="address")
        if parts.username is not None or parts.password is not None or parts.fragment:
            raise Invalid("an address has no user, no password and no #part", field="address")
        if not self._is_allowed(parts.hostname, port, parts.scheme):
            raise Invalid(f"{parts.netloc[:80]} is not among the hosts that this service may call: "
                          f"{', '.join(self._hosts) or 'none'}. Ask its operator.", field="address")
        return address

    def _is_allowed(self, host: str, port: int | None, scheme: str) -> bool:
        """With a port of its own only if that port was allowed."""
        usual = port in (None, {"https": 443, "http": 80}[scheme])
        host = f"[{host}]" if ":" in host else host
        for allowed in self._hosts:
            name, _, allowed_port = allowed.rpartition(":") if re.search(r":[0-9]+$", allowed) else (allowed, "", "")
            fits = host == name or (name.startswith("*.") and host.endswith(name[1:]))
            if fits and (str(port) == allowed_port if allowed_port else usual):
                return True
        return False

    def resolve(self, host: str, port: int) -> list[tuple[Any, ...]]:
        """Where a host is; raises Invalid if any of it is an address inside that was not allowed."""
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        for *_, place in found:
            number = _reached(ipaddress.ip_address(place[0].partition("%")[0]))
            public = number.is_global and not number.is_multicast
            if not public and not any(number in network for network in self._networks):
                raise Invalid(f"{host} is at {number}, an address inside that this service may not call",
                              field="address")
        return found

    # ----------------------------------------------------------------------------------- sending

    def shown_secret(self, username: str, address: str) -> str:
        """The key that signs what this person gets at this address; another address has another key."""
        digest = hmac.new(self._secret, f"{username}\n{address}".encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    def send(self, notification: Notification) -> None:
        """Post it; anything but success is BackendUnavailable, and is tried again."""
        address = self.check_address(notification.address)
        body = json.dumps(document_of(notification), ensure_ascii=True).encode()
        moment = str(int(self._clock().timestamp()))
        key = self.shown_secret(notification.username, address)
        headers = {"Content-Type": "application/json", "User-Agent": "POMS", MESSAGE_KEY: notification.key,
                   ATTEMPT: str(notification.attempt), SIGNATURE: f"t={moment},v1={signature(key, moment, body)}"}
        host = urlsplit(address).hostname
        with requests.Session() as session:
            # Neither proxies nor passwords of the service's environment.
            session.trust_env = False
            for scheme in ("https://", "http://"):
                session.mount(scheme, _CheckedAdapter(self))
            try:
                with session.post(address, data=body, headers=headers, timeout=self._timeout, allow_redirects=False,
                                  stream=True, verify=self._ca_file) as answer:
                    status = answer.status_code
            except requests.RequestException as problem:
                raise BackendUnavailable(f"{host} does not answer: {_innermost(problem)}") from None
        if 300 <= status < 400:
            raise BackendUnavailable(f"{host} answered {status}, a redirect, which is not followed; give the address "
                                     "to which it leads")
        if not 200 <= status < 300:
            raise BackendUnavailable(f"{host} answered {status}")


def _reached(number: Address) -> Address:
    """The IPv4 address that is meant by the forms of IPv6 which carry one."""
    if isinstance(number, ipaddress.IPv6Address):
        if number in _TRANSLATED:
            return ipaddress.IPv4Address(int(number) & 0xFFFFFFFF)
        return number.ipv4_mapped or number.sixtofour or number
    return number


def document_of(notification: Notification) -> dict[str, Any]:
    """What is posted. ``text`` is there for chats that show that field."""
    return {"message": notification.key, "attempt": notification.attempt, "person": notification.username,
            "made_at": f"{notification.made_at:%Y-%m-%dT%H:%M:%SZ}", "subject": notification.subject,
            "text": notification.text, "events": [_event(item) for item in notification.items]}


def _event(item: NewsItem) -> dict[str, Any]:
    return {"id": item.event_id, "at": f"{item.at:%Y-%m-%dT%H:%M:%SZ}", "news": item.news, "text": item.text,
            "experiment": item.experiment, "campaign": item.campaign, "stage": item.stage,
            "submission_id": item.submission_id, "url": item.url}


def signature(key: str, moment: str, body: bytes) -> str:
    """HMAC-SHA256 of the time, a dot and the body, in hexadecimal digits."""
    return hmac.new(key.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()


# ---------------------------------------------------------------------------------- the connection


class _CheckedAdapter(HTTPAdapter):
    """Connects to addresses that were checked, and to no others: the name is looked up once."""

    def __init__(self, webhook: Webhook) -> None:
        self._webhook = webhook
        super().__init__(max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: Any) -> None:
        manager = PoolManager(num_pools=connections, maxsize=maxsize, block=block, **options)
        webhook = self._webhook

        class Checked:
            """Opens a socket to an address that may be called."""

            def _new_conn(self: Any) -> socket.socket:
                problem: OSError | None = None
                try:
                    places = webhook.resolve(self._dns_host, self.port)
                except OSError as error:
                    raise NewConnectionError(self, f"there is no host {self._dns_host}: {error}") from error
                for family, kind, protocol, _, place in places:
                    opened = socket.socket(family, kind, protocol)
                    try:
                        opened.settimeout(webhook._timeout)
                        opened.connect(place)
                        return opened
                    except OSError as error:
                        opened.close()
                        problem = error
                raise NewConnectionError(self, f"no connection: {problem}")

        plain = type("CheckedHTTP", (Checked, HTTPConnection), {})
        safe = type("CheckedHTTPS", (Checked, HTTPSConnection), {})
        manager.pool_classes_by_scheme = {
            "http": type("Pool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
            "https": type("SafePool", (HTTPSConnectionPool,), {"ConnectionCls": safe})}
        self.poolmanager = manager


def _innermost(problem: BaseException) -> str:
    while problem.__context__ is not None:
        problem = problem.__context__
    return " ".join(f"{type(problem).__name__}: {problem}".split())[:200]


def _make(context: PluginContext) -> Webhook:
    return Webhook(context.options, secret=context.secret("webhook"), clock=context.clock)


@hookimpl
def poms_notifiers() -> list[Offer]:
    return [Offer("webhook", "A signed JSON document, for chats and programs", _make, SECTION)]


@hookimpl
def poms_settings() -> list[SettingsSection]:
    return [SettingsSection(SECTION, "Webhooks of people who watch campaigns ([notify] channels = webhook).", (
        Setting("allowed_hosts", "list", "", "Hosts that may be called: chat.example.org, *.example.org, or with a "
                "port of their own chat.example.org:8443. Empty: none."),
        Setting("private_networks", "list", "", "Networks inside (CIDR) at which allowed hosts may be; all others must "
                "have public addresses."),
        Setting("allow_http", "bool", "false", "Whether messages may travel unencrypted."),
        Setting("ca_file", "str", "", "File with the certificates to trust. Empty: those that come with Python's "
                "requests."),
        Setting("timeout", "seconds", "10", "A host that is silent for longer does not answer."),
    ))]
