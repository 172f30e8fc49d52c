"""The channel `mail`: plain text by SMTP, with headers by which mail programs sort it and tell repetitions.

Invariant: nothing that people wrote can become a header or a recipient, and a password travels encrypted only.
"""

from __future__ import annotations

import ipaddress
import re
import smtplib
import socket
import ssl
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from poms.webservice.errors import BackendUnavailable, ConfigurationError, Invalid
from poms.webservice.hookspecs import hookimpl
from poms.webservice.interfaces import Notification, Offer, PluginContext, Setting, SettingsSection

SECTION = "mail"
SECURITY = ("starttls", "tls", "none")
PORTS = {"starttls": 587, "tls": 465, "none": 25}
LONGEST_SUBJECT = 200
# No quoted names and no comments: what is left cannot be read in two ways.
_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")


class Mail:
    """Sends each message over a connection of its own."""

    one_system = True
    address_hint = "a mail address, such as you@example.org"

    def __init__(self, options: Mapping[str, Any], *, list_host: str) -> None:
        self._host, self._port = _server(options["server"], options["security"])
        self._security, self._timeout = options["security"], float(options["timeout"])
        self._sender = _checked(options["sender"], ())
        self._domains = tuple(domain.lower() for domain in options["recipient_domains"])
        self._list_host = list_host
        self._user, self._password = options["user"], _password(options)
        if self._security == "none" and self._user and not _is_here(self._host):
            raise ConfigurationError(f"[{SECTION}] security = none and a user: the password would travel in plain "
                                     "text; use starttls or tls")
        if self._user:
            self._password()
        self._tls = ssl.create_default_context(cafile=options["ca_file"] or None)

    def check_address(self, address: str) -> str:
        """One plain address of a domain to which may be sent."""
        return _checked(address, self._domains)

    def shown_secret(self, username: str, address: str) -> str:
        return ""

    def send(self, notification: Notification) -> None:
        """Hand the message to the server; raises BackendUnavailable, or Invalid if the address is refused for good."""
        address = self.check_address(notification.address)
        message = self._message(notification, address).as_bytes(policy=SMTP)
        try:
            with self._connect() as server:
                server.sendmail(self._sender, [address], message)
                # Taken is taken: what goes wrong while saying goodbye does not unsend it.
                with suppress(smtplib.SMTPException, OSError):
                    server.quit()
                server.close()
        except smtplib.SMTPRecipientsRefused as refused:
            code, text = next(iter(refused.recipients.values()))
            reason = f"the mail server refuses {address}: {code} {_words(text)}"
            raise (Invalid(reason, field="address") if code >= 500 else BackendUnavailable(reason)) from None
        except smtplib.SMTPResponseException as answer:
            raise BackendUnavailable(f"the mail server {self._host} answered {answer.smtp_code} "
                                     f"{_words(answer.smtp_error)}") from None
        except (smtplib.SMTPException, OSError) as problem:
            raise BackendUnavailable(f"the mail server {self._host} port {self._port} does not answer: "
                                     f"{type(problem).__name__}: {problem}") from None

    def _connect(self) -> smtplib.SMTP:
        """A connection that is as safe as it was asked for, or none."""
        if self._security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(self._host, self._port, socket.gethostname(), timeout=self._timeout,
                                                    context=self._tls)
        else:
            server = smtplib.SMTP(self._host, self._port, socket.gethostname(), timeout=self._timeout)
        try:
            if self._security == "starttls":
                server.starttls(context=self._tls)
            if self._user:
                server.login(self._user, self._password())
        except BaseException:
            server.close()
            raise
        return server

    def _message(self, notification: Notification, address: str) -> EmailMessage:
        message = EmailMessage(policy=SMTP)
        message["From"], message["To"] = self._sender, address
        message["Subject"] = _one_line(notification.subject)[:LONGEST_SUBJECT]
        message["Date"] = format_datetime(notification.made_at)
        # The same for every attempt, so that mail programs show a message once that came twice.
        message["Message-ID"] = f"<{_token(notification.key)}@{self._list_host}>"
        message["List-Id"] = f"POMS watches <watches.{self._list_host}>"
        if notification.settings_url:
            message["List-Unsubscribe"] = f"<{_one_line(notification.settings_url)}>"
        message["Auto-Submitted"] = "auto-generated"
        message["Precedence"] = "bulk"
        if notification.attempt > 1:
            message["X-POMS-Attempt"] = str(notification.attempt)
        message.set_content(_printable(notification.text), charset="utf-8", cte="quoted-printable")
        return message


def _server(text: str, security: str) -> tuple[str, int]:
    if security not in SECURITY:
        raise ConfigurationError(f"[{SECTION}] security = {security!r}: expected one of {', '.join(SECURITY)}")
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+))(?::([0-9]{1,5}))?", text)
    if not found or int(found[3] or 1) > 65535:
        raise ConfigurationError(f"[{SECTION}] server = {text!r}: expected the mail server as host or host:port")
    return found[1] or found[2], int(found[3] or PORTS[security])


def _password(options: Mapping[str, Any]) -> Callable[[], str]:
    """Reads the password when it is needed, so that a new one needs no restart."""
    name = options["password_file"]
    if bool(name) != bool(options["user"]):
        raise ConfigurationError(f"[{SECTION}] user and password_file belong together: set both or none")

    def read() -> str:
        path = Path(name)
        try:
            if stat.S_IMODE(path.stat().st_mode) & 0o077:
                raise ConfigurationError(f"{path}: others may read this password: chmod 600 {path}")
            return path.read_text(encoding="utf-8").strip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{path}: the password of the mail server cannot be read: {error}") from None

    return read


def _checked(address: str, domains: tuple[str, ...]) -> str:
    local, at, domain = address.strip().rpartition("@")
    if not at or len(address) > 254 or len(local) > 64 or not _LOCAL.fullmatch(local) or not _DOMAIN.fullmatch(domain):
        raise Invalid(f"{address[:80]!r} is no mail address: write it like you@example.org, in plain letters",
                      field="address")
    if domains and domain.lower() not in domains:
        raise Invalid(f"mail is sent to {', '.join(domains)} only, not to {domain}", field="address")
    return f"{local}@{domain}"


def _one_line(text: str) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _printable(text: str) -> str:
    """Plain lines: no control characters but line ends, and nothing that cannot be written as UTF-8."""
    kept = "".join(letter if letter in "\n\t" or letter.isprintable() else " " for letter in text)
    return kept.encode("utf-8", "replace").decode("utf-8")


def _token(key: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "-", key)[:100] or "message"


def _words(text: bytes | str) -> str:
    plain = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return _one_line(plain)[:200]


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _make(context: PluginContext) -> Mail:
    host = urlsplit(context.public_url).hostname or "poms.invalid"
    return Mail(context.options, list_host=host if _DOMAIN.fullmatch(host) else "poms.invalid")


@hookimpl
def poms_notifiers() -> list[Offer]:
    return [Offer("mail", "Mail, as plain text", _make, SECTION)]


@hookimpl
def poms_settings() -> list[SettingsSection]:
    return [SettingsSection(SECTION, "Mail to people who watch campaigns ([notify] channels = mail).", (
        Setting("server", "str", "localhost", "The mail server, host or host:port (587 for starttls, 465 for tls, "
                "25 without)."),
        Setting("security", "str", "starttls", "How the connection is encrypted: starttls, tls or none. Without a "
                "valid certificate nothing is sent."),
        Setting("ca_file", "str", "", "File with the certificates to trust. Empty: those of the system."),
        Setting("sender", "str", None, "The address from which mail comes."),
        Setting("user", "str", "", "User at the mail server. Empty: none is needed."),
        Setting("password_file", "str", "", "File with the password, readable by the service only."),
        Setting("recipient_domains", "list", "", "Domains to which mail may be sent. Empty: any."),
        Setting("timeout", "seconds", "15", "A server that is silent for longer does not answer."),
    ))]
