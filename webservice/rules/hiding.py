"""Keeping secrets out of texts that come piece by piece, such as the output of a launch script.

Not for the service's own log (``logs``). Invariant: no secret leaves ``Hider`` as it is, however its bytes are cut into
pieces; everything else leaves unchanged and in order.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

HIDDEN = b"<hidden>"
SHORTEST_SECRET = 12
"""What is shorter would be found in ordinary text as well."""


def secrets_of(contents: Iterable[bytes]) -> tuple[bytes, ...]:
    """What must not be shown of the contents of credentials: each of their lines, except the frames of keys."""
    found = {line.strip() for data in contents for line in data.splitlines() if not line.startswith(b"-----")}
    return tuple(sorted((line for line in found if len(line) >= SHORTEST_SECRET), key=len, reverse=True))


class Hider:
    """Takes pieces of a text and gives them back without the secrets."""

    def __init__(self, secrets: Iterable[bytes]) -> None:
        self._secrets = tuple(secrets)
        self._pattern = re.compile(b"|".join(re.escape(secret) for secret in self._secrets)) if self._secrets else None
        self._beginnings = frozenset(secret[:1] for secret in self._secrets)
        self._longest = max(map(len, self._secrets), default=0)
        self._kept = b""

    def feed(self, piece: bytes) -> bytes:
        """What can be shown by now: an end that may be the beginning of a secret waits for the next piece."""
        if self._pattern is None:
            return piece
        text = self._pattern.sub(HIDDEN, self._kept + piece)
        cut = self._cut(text)
        self._kept = text[cut:]
        return text[:cut]

    def end(self) -> bytes:
        """What was still waiting: no secret came of it."""
        kept, self._kept = self._kept, b""
        return kept

    def whole(self, text: str) -> str:
        """A text that is there at once, without the secrets."""
        if self._pattern is None:
            return text
        return self._pattern.sub(HIDDEN, text.encode(errors="surrogatepass")).decode(errors="surrogatepass")

    def _cut(self, text: bytes) -> int:
        """Where the longest end begins that is the beginning of a secret."""
        for start in range(max(0, len(text) - self._longest + 1), len(text)):
            if text[start:start + 1] in self._beginnings:
                rest = text[start:]
                if any(secret.startswith(rest) for secret in self._secrets):
                    return start
        return len(text)
