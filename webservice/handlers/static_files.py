"""Static files: style sheets, scripts, icons. Only files that were there at the start are served.

Scripts go out without their comments and without room between their words; what they say stays the same.

A request never forms a path: it is looked up among the known names. With the version in its
address a file may be kept for a year; without it, it is asked for again and again.
"""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import rjsmin

KEPT = frozenset({".css", ".js", ".svg", ".png", ".ico", ".ini", ".txt", ".woff2", ".json"})
_TYPES = {".js": "text/javascript", ".svg": "image/svg+xml", ".ini": "text/plain", ".css": "text/css"}
YEAR_SECONDS = 31_536_000


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file with what HTTP wants to know of it."""

    data: bytes
    content_type: str
    etag: str


class StaticFiles:
    """The files below a directory, read anew when they changed."""

    def __init__(self, root: Path, address: str) -> None:
        self._address = address.rstrip("/")
        self._paths: Mapping[str, Path] = {
            path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*"))
            if path.is_file() and path.suffix in KEPT and not path.name.startswith(".")}
        digest = hashlib.sha256()
        for name, path in self._paths.items():
            digest.update(name.encode() + b"\0" + path.read_bytes())
        self.version = digest.hexdigest()[:12]
        self._known: dict[str, tuple[tuple[int, int], StaticFile]] = {}

    def url(self, name: str) -> str:
        """The address of a file, with the version of all of them."""
        if name not in self._paths:
            raise LookupError(f"there is no static file {name}")
        return f"{self._address}/{name}?v={self.version}"

    def find(self, name: str) -> StaticFile | None:
        path = self._paths.get(name)
        if path is None or not path.is_file():
            return None
        at = path.stat()
        stamp = at.st_mtime_ns, at.st_size
        before = self._known.get(name)
        if before is None or before[0] != stamp:
            self._known[name] = before = stamp, _read(path)
        return before[1]

    def cache_control(self, version: str) -> str:
        return f"public, max-age={YEAR_SECONDS}, immutable" if version == self.version else "no-cache"


def _read(path: Path) -> StaticFile:
    """A file as it is served."""
    data = path.read_bytes()
    if path.suffix == ".js":
        data = bytes(rjsmin.jsmin(data))
    kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    if kind.startswith("text/") or kind in ("image/svg+xml", "application/json"):
        kind += "; charset=utf-8"
    return StaticFile(data, kind, f'"{hashlib.sha256(data).hexdigest()[:20]}"')
