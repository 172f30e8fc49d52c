"""Requests to one server, as one person in one experiment and role; what is refused becomes the condition it is.

Not for what is asked (``calls``). Invariant: a request that got no answer is sent again with the same
Idempotency-Key, so that what it asks for is done once; a token never travels over a network in plain text.
"""

from __future__ import annotations

import copy
import ipaddress
import json
import random
import time
import uuid
from collections.abc import Mapping
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote, urlsplit

import requests

from poms.webservice.errors import (
    BackendUnavailable,
    ConfigurationError,
    Conflict,
    Invalid,
    LaunchesHeld,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    PomsError,
)

TIMEOUT_SECONDS = 60
RETRIES = 4
"""With their rests about as long as a server takes to start again."""
LONGEST_REST_SECONDS = 30.0
LONGEST_REASON = 300
NOT_REACHED = 3
"""Exit status of programs when the server does not answer."""

# Answers of something in front of the server, which may not have seen the request; 503 if POMS did not number it.
_NOBODY_ANSWERED = (429, 502, 504)
_NUMBERED = "X-Request-Id"
_WRONG_ADDRESS = (requests.exceptions.MissingSchema, requests.exceptions.InvalidSchema, requests.exceptions.InvalidURL)
_CONDITIONS: Mapping[int, type[PomsError]] = {
    400: Invalid, 401: NotAuthenticated, 403: NotAllowed, 404: NotFound, 409: Conflict, 423: LaunchesHeld}


class Unreachable(BackendUnavailable):
    """The server did not answer; whether it did what was asked is not known."""

    exit_status = NOT_REACHED


class Connection:
    """One server, one identity, one place to act in. ``retries`` repeat a request that got no answer."""

    def __init__(self, server: str, *, experiment: str = "", role: str = "", token: str = "", certificate: str = "",
                 timeout_seconds: float = TIMEOUT_SECONDS, retries: int = RETRIES,
                 program: str = "poms-client") -> None:
        self.base = server_of(server)
        self.experiment, self.role = experiment, role
        self._timeout, self._retries = timeout_seconds, retries
        self._session = requests.Session()
        self._session.headers.update({"User-Agent": program, "X-Poms-Client": program})
        # Also without a token: requests would otherwise send what it finds in a .netrc.
        self._session.auth = _Bearer(token)
        if certificate:
            self._session.cert = certificate
        if token:
            _require_private(self.base)

    def within(self, experiment: str, role: str = "") -> Connection:
        """The same server and identity, acting elsewhere; without an experiment in that of each item."""
        other = copy.copy(self)
        other.experiment, other.role = experiment, role
        return other

    def call(self, word: str, fields: Mapping[str, Any] | None = None, *, path: tuple[Any, ...] = (),
             files: Mapping[str, Any] | None = None, method: str = "POST", key: str = "") -> requests.Response:
        """The answer; what is neither success nor a way on is raised as the condition that it means."""
        url, fields = self._address(word, path, dict(fields or {}))
        headers = {"Idempotency-Key": key or uuid.uuid4().hex} if method == "POST" else {}
        sent = {"params": fields} if method == "GET" else {"data": fields, "files": files}
        answer = self._send(method, url, headers=headers, **sent)
        if _is_of_nobody(answer):
            raise Unreachable(f"{word}: {answer.status_code}: {reason_of(answer)}")
        if answer.status_code >= 400:
            raise condition_of(answer.status_code)(f"{word}: {answer.status_code}: {reason_of(answer)}")
        return answer

    def json(self, word: str, fields: Mapping[str, Any] | None = None, **more: Any) -> Any:
        """The JSON of an answer."""
        answer = self.call(word, fields, **more)
        try:
            return answer.json()
        except ValueError:
            raise BackendUnavailable(f"{word}: the server did not answer in JSON: is {self.base} a POMS?") from None

    def _address(self, word: str, path: tuple[Any, ...], fields: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        place = [self.experiment, self.role] if self.experiment and self.role else []
        if path and not place:
            raise ValueError("arguments in the path need an experiment and a role before them")
        if not place:
            fields |= {name: value for name, value in (("experiment", self.experiment), ("role", self.role)) if value}
        segments = [word, *place, *map(str, path)]
        return "/".join([self.base, "poms", *(quote(one, safe="") for one in segments)]), fields

    def _send(self, method: str, url: str, **sent: Any) -> requests.Response:
        for attempt in range(self._retries + 1):
            last = attempt == self._retries
            wished = 0.0
            try:
                answer = self._session.request(method, url, timeout=self._timeout, allow_redirects=False, **sent)
            except _WRONG_ADDRESS as problem:
                raise ConfigurationError(f"{self.base} is no address of a server: {_in_short(problem)}; write it as "
                                         "https://poms.example.org (--server, POMS_SERVER)") from problem
            except requests.RequestException as problem:
                if last or not isinstance(problem, requests.ConnectionError | requests.Timeout):
                    raise Unreachable(f"{self.base} does not answer: {_in_short(problem)}; is the server running, and "
                                      "is --server right?") from problem
            except (OSError, UnicodeError) as problem:
                # Certificates that are not where the surroundings say, or a token that is none.
                raise ConfigurationError(f"{self.base} cannot be asked: {_in_short(problem)}") from problem
            else:
                if last or not _is_of_nobody(answer):
                    return answer
                wished = _wished_rest(answer)
            # Many clients that lost the same server do not come back all at once.
            time.sleep(max(wished, 0.3 * 2 ** attempt * random.uniform(0.7, 1.3)))
        raise AssertionError("the last attempt ends the loop")


def _is_of_nobody(answer: requests.Response) -> bool:
    """Whether POMS has not seen the request, or cannot be told to have."""
    status = answer.status_code
    return status in _NOBODY_ANSWERED or (status == 503 and _NUMBERED not in answer.headers)


def _wished_rest(answer: requests.Response) -> float:
    """For how many seconds the front end wants to be left alone."""
    text = answer.headers.get("Retry-After", "")
    return min(float(text), LONGEST_REST_SECONDS) if text.isascii() and text.isdigit() else 0.0


def server_of(address: str) -> str:
    """The server that an address names, in one spelling."""
    return address.strip().rstrip("/").removesuffix("/poms").rstrip("/")


class _Bearer(requests.auth.AuthBase):
    """Sends the token, if there is one."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _require_private(base: str) -> None:
    """Raise ConfigurationError if a token would travel in plain text."""
    parts = urlsplit(base)
    host = parts.hostname or ""
    try:
        here = ipaddress.ip_address(host).is_loopback
    except ValueError:
        here = host == "localhost" or host.endswith(".localhost")
    if parts.scheme != "https" and not here:
        raise ConfigurationError(f"{base} is not https and a token is not sent in plain text; use https, or no token.")


def condition_of(status: int) -> type[PomsError]:
    """The condition that a status means."""
    return _CONDITIONS.get(status, BackendUnavailable if status >= 500 else PomsError)


def reason_of(answer: requests.Response) -> str:
    """What the server says, in one line and without the page around it."""
    if "json" in answer.headers.get("Content-Type", ""):
        try:
            body = answer.json()
        except ValueError:
            body = None
        if isinstance(body, dict) and body.get("message"):
            return " ".join(str(body["message"]).split())[:LONGEST_REASON]
    words = _Words()
    words.feed(answer.text)
    return " ".join(" ".join(words.found).split())[:LONGEST_REASON] or answer.reason


class _Words(HTMLParser):
    """The text of a page, without styles, scripts and what surrounds every page."""

    SILENT = ("style", "script", "head", "nav", "header", "footer")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._silent += tag in self.SILENT

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in self.SILENT

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.found.append(data)


def _in_short(problem: BaseException) -> str:
    """The innermost cause: requests wraps the same sentence several times."""
    while problem.__context__ is not None:
        problem = problem.__context__
    return " ".join(str(problem).split())[:LONGEST_REASON] or type(problem).__name__


def overrides_text(pairs: tuple[tuple[str, str], ...]) -> str:
    """Launch parameters as the server reads them."""
    return json.dumps([list(pair) for pair in pairs])
