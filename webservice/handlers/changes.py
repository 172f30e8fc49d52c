"""Answers open pages whether anything changed in what they show; without SQL, and without asking who asks.

Whoever made the page had checked who sees it, and put an address into it that is signed and good for a day. It
tells that something changed, and never what: the page then asks for itself again, as the person that it belongs to.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import parse_qs, urlencode

from poms.webservice.handlers.routing import MOUNT, Route
from poms.webservice.services.changes import Changes, Scope
from poms.webservice.services.core import Core

PATH = f"{MOUNT}/changes"
GOOD_SECONDS = 86_400
KINDS = ("submission", "stage", "campaign")
MOST_DIGITS = 18


class ChangeFeed:
    """A WSGI application: 200 with a newer moment, 204 if nothing changed, 403 for an address that is not good."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._key = core.settings.secret("web_changes").encode()
        self.changes = Changes(core)

    def close(self) -> None:
        """End the reader of changes."""
        self.changes.close()

    def address(self, scope: Scope, moment: int) -> str:
        """Where a page that knows everything up to ``moment`` asks."""
        until = int(self._core.clock().timestamp()) + GOOD_SECONDS
        of = f"{scope[0]}.{scope[1]}"
        return f"{PATH}?{urlencode({'of': of, 'until': until, 'key': self._proof(of, str(until)), 'since': moment})}"

    def __call__(self, environ: Mapping[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environ.get("REQUEST_METHOD") not in ("GET", "HEAD"):
            start("405 Method Not Allowed", [("Allow", "GET, HEAD"), ("Content-Length", "0")])
            return [b""]
        asked = self._read(environ.get("QUERY_STRING", ""))
        if asked is None:
            start("403 Forbidden", [("Content-Length", "0")])
            return [b""]
        newer = self.changes.since(*asked)
        if newer is None:
            start("204 No Content", [])
            return [b""]
        body = b"%d" % newer
        start("200 OK", [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))])
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]

    def _read(self, query: str) -> tuple[Scope, int] | None:
        """What is asked, or None if the address was not made here or is too old."""
        try:
            sent = {name: values[0] for name, values in parse_qs(query, max_num_fields=8).items()}
            of, until, since = sent["of"], sent["until"], sent.get("since", "0")
        except (KeyError, ValueError):
            return None
        if not all(text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS for text in (until, since)):
            return None
        good = hmac.compare_digest(self._proof(of, until).encode(), sent.get("key", "").encode(errors="replace"))
        if not good or int(until) < self._core.clock().timestamp():
            return None
        kind, _, key = of.partition(".")
        return (kind, key), int(since)

    def _proof(self, of: str, until: str) -> str:
        return hmac.new(self._key, f"{of}\0{until}".encode(errors="replace"), hashlib.sha256).hexdigest()[:40]


def scope_of(route: Route, arguments: Mapping[str, Any], experiment: str) -> Scope:
    """What a page shows: one item, or the experiment."""
    for need in route.needs:
        if need.kind in KINDS and isinstance(arguments.get(need.argument), int):
            return need.kind, str(arguments[need.argument])
    return "experiment", experiment
