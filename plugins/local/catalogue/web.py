"""SAM's HTTP API on the local catalogue, as a WSGI application: ``/{experiment}/key-{secret}/api/...``.

The key in the path is the permission: without it everything is 403, whether it exists or not. No other
identity is known here, so nothing of this may be linked from pages.
"""

from __future__ import annotations

import hmac
import http
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from poms.webservice.errors import PomsError
from poms.webservice.interfaces import PluginContext

from .backend import SECRET, LocalCatalogue
from .protocol import JSON, Response, problem_response, raw_path, read_request
from .resources import Resources

log = logging.getLogger(__name__)
DEFAULT_MAX_BODY_BYTES = 16 * 1024 * 1024


class CatalogueApplication:
    """The WSGI application; one catalogue for each experiment."""

    def __init__(self, contexts: Mapping[str, PluginContext]) -> None:
        self._contexts = contexts
        self._catalogues = {experiment: LocalCatalogue(context) for experiment, context in contexts.items()}

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        wants_json = "json" in str(environ.get("HTTP_ACCEPT", "")) or "format=json" in environ.get("QUERY_STRING", "")
        try:
            response = self._answer(environ)
        except PomsError as problem:
            response = problem_response(problem, wants_json)
        except Exception as problem:
            log.exception("a request to the local catalogue failed")
            response = problem_response(problem, wants_json)
        body = b"" if response.status == 204 else response.body.encode("utf-8", "replace")
        headers = [("Content-Type", response.content_type), ("Content-Length", str(len(body))),
                   ("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"), *response.headers]
        phrase = http.HTTPStatus(response.status).phrase
        start_response(f"{response.status} {phrase}", headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    def _answer(self, environ: Mapping[str, Any]) -> Response:
        path = raw_path(environ)
        context = self._contexts.get(path[0]) if path else None
        if context is None or not self._has_key(context, path):
            return Response(403, '{"error": "Forbidden", "message": "this address needs the key of the catalogue"}',
                            JSON)
        limit = int(context.options.get("max_body_bytes", DEFAULT_MAX_BODY_BYTES))
        request = read_request(environ, path[3:], limit)
        return Resources(self._catalogues[context.experiment], request).answer()

    @staticmethod
    def _has_key(context: PluginContext, path: Sequence[str]) -> bool:
        given = path[1] if len(path) > 2 and path[2] == "api" else ""
        wanted = f"key-{context.secret(SECRET)}"
        return hmac.compare_digest(given.encode(), wanted.encode())
