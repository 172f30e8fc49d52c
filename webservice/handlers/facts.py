"""What of a WSGI environment an identity source may look at, and which headers are not to be believed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from poms.webservice.interfaces import RequestFacts

# Commas are part of these. Elsewhere a comma is how a front end joins copies of one header.
_WITH_COMMAS = frozenset({
    "accept", "accept-charset", "accept-encoding", "accept-language", "cache-control", "connection", "cookie",
    "forwarded", "if-match", "if-modified-since", "if-none-match", "if-unmodified-since", "date", "pragma", "te",
    "transfer-encoding", "user-agent", "via", "x-forwarded-for", "referer", "priority", "sec-ch-ua",
})


def headers_of(environ: Mapping[str, Any]) -> tuple[dict[str, str], frozenset[str]]:
    """Headers by lower-case name, and the names that came twice or in two spellings."""
    headers: dict[str, str] = {}
    duplicates: set[str] = set()
    for key, value in environ.items():
        if key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            name = key
        elif key.upper().startswith("HTTP_"):
            name = key[5:]
        else:
            continue
        name = name.replace("_", "-").lower()
        if name in headers and headers[name] != value:
            duplicates.add(name)
        if "," in str(value) and name not in _WITH_COMMAS:
            duplicates.add(name)
        headers[name] = str(value)
    return headers, frozenset(duplicates)


def facts_of(environ: Mapping[str, Any]) -> RequestFacts:
    headers, duplicates = headers_of(environ)
    return RequestFacts(
        headers=headers, peer=environ.get("REMOTE_ADDR", ""), method=environ.get("REQUEST_METHOD", ""),
        path=environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", ""), environ=environ, duplicates=duplicates)
