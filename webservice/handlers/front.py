"""The outermost WSGI layer: a number for each request, headers on every answer, and what is mounted where.

Plugins' applications get their part of the path as it came; everything below ``/poms`` goes to the
pages. Nothing here knows who sent a request.
"""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from poms.webservice.handlers.routing import MOUNT

log = logging.getLogger(__name__)
access_log = logging.getLogger("poms.access")

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
HEADERS = (
    ("Content-Security-Policy", POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    # Forms need the address for their own defence; other sites learn nothing.
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
)
TRANSPORT = ("Strict-Transport-Security", "max-age=31536000")
LONGEST_ADDRESS = 16_000


class Front:
    """The WSGI application of the service."""

    def __init__(self, pages: Wsgi, mounts: Mapping[str, Wsgi], *, secure: bool) -> None:
        self._pages = pages
        # The longest prefix first, so that /sam/api can be beside /sam.
        self._mounts: Sequence[tuple[str, Wsgi]] = sorted(
            ((prefix.rstrip("/"), mount) for prefix, mount in mounts.items()), key=lambda item: -len(item[0]))
        self._headers = (*HEADERS, TRANSPORT) if secure else HEADERS

    def close(self) -> None:
        """End what works in the background; for programs that make several applications."""
        for _, mount in self._mounts:
            close = getattr(mount, "close", None)
            if close is not None:
                close()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request_id = uuid.uuid4().hex[:12]
        environ["poms.request_id"] = request_id
        began = time.monotonic()

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            # Open pages ask every second whether anything changed; that nothing did is not worth a line.
            level = logging.DEBUG if status.startswith("204") else logging.INFO
            access_log.log(level, "request", extra={
                "request_id": request_id, "method": environ.get("REQUEST_METHOD", ""), "path": _path(environ)[:500],
                "peer": environ.get("REMOTE_ADDR", ""), "status": status.split(" ")[0],
                "milliseconds": round(1000 * (time.monotonic() - began))})
            given = {name.lower() for name, _ in headers}
            more = [(name, value) for name, value in self._headers if name.lower() not in given]
            full = [*headers, *more, ("X-Request-Id", request_id)]
            return start_response(status, full, exc_info) if exc_info else start_response(status, full)

        try:
            return self._dispatch(environ, start)
        except Exception:
            # Pages answer for themselves; this is an application of a plugin, or a request too odd to be read.
            log.exception("request failed outside the pages", extra={"request_id": request_id})
            return _plain(start, "500 Internal Server Error", f"POMS failed here; quote {request_id} to the operator.")

    def _dispatch(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path = _path(environ)
        if len(path) + len(environ.get("QUERY_STRING", "")) > LONGEST_ADDRESS:
            return _plain(start, "414 URI Too Long", "The address is too long; send a form by POST.")
        for prefix, application in self._mounts:
            if path == prefix or path.startswith(f"{prefix}/"):
                return application(_below(environ, prefix, path), start)
        tidy = re.sub("/{2,}", "/", path)
        if tidy == MOUNT or tidy.startswith(f"{MOUNT}/"):
            return self._pages(_below(environ, MOUNT, tidy), start)
        if tidy == "/" and environ.get("REQUEST_METHOD") in ("GET", "HEAD"):
            start("303 See Other", [("Location", f"{MOUNT}/"), ("Content-Length", "0")])
            return [b""]
        return _plain(start, "404 Not Found", f"There is nothing here. POMS is at {MOUNT}/.")


def _path(environ: Mapping[str, Any]) -> str:
    return str(environ.get("SCRIPT_NAME", "").rstrip("/") + environ.get("PATH_INFO", ""))


def _below(environ: dict[str, Any], prefix: str, path: str) -> dict[str, Any]:
    return {**environ, "SCRIPT_NAME": prefix, "PATH_INFO": path[len(prefix):]}


def _plain(start: Callable[..., Any], status: str, text: str) -> list[bytes]:
    body = f"{text}\n".encode()
    start(status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))])
    return [body]
