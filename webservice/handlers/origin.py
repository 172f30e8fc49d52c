"""Defence against requests forged by other sites: where a request comes from, and tokens in forms.

A change by an identity that a browser may send by itself must come from our own pages *and* carry the
token of its session, or a header that no other site can make a browser send (``X-Poms-Client``; there
is no CORS grant anywhere). Tokens are masked anew for every page, so compression reveals nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import urlsplit

from poms.webservice.errors import NotAllowed
from poms.webservice.handlers.answers import Message, Undo

SESSION_COOKIE = "poms_session"
MESSAGE_COOKIE = "poms_message"
TOKEN_FIELD = "csrf_token"
TOKEN_HEADER = "x-csrf-token"
CLIENT_HEADER = "x-poms-client"

_DIGEST = hashlib.sha256
_ID_BYTES = 18
_LONGEST_MESSAGE = 1500


class Sessions:
    """Signed cookies and form tokens; everything follows from the service's secret, nothing is stored."""

    def __init__(self, secret: str) -> None:
        self._key = secret.encode()

    def new(self) -> str:
        """A cookie value for a browser that has none."""
        return self._signed("session", secrets.token_urlsafe(_ID_BYTES))

    def is_ours(self, cookie: str) -> bool:
        return self._opened("session", cookie) is not None

    def token(self, cookie: str, username: str) -> str:
        """The text for the hidden field of a form; different each time, valid as long as the session."""
        proof = self._proof(cookie, username)
        mask = secrets.token_bytes(len(proof))
        return _encoded(mask + _crossed(mask, proof))

    def accepts(self, token: str, cookie: str, username: str) -> bool:
        """Whether a token was made for this session and person."""
        given = _decoded(token)
        half = _DIGEST().digest_size
        if len(given) != 2 * half or not self.is_ours(cookie):
            return False
        return hmac.compare_digest(_crossed(given[:half], given[half:]), self._proof(cookie, username))

    def packed(self, message: Message) -> str:
        """A message for the next page, as a cookie."""
        undo = message.undo and [message.undo.url, message.undo.undo_id, message.undo.until.isoformat()]
        text = json.dumps([message.kind, message.title[:300], message.text[:500], undo])
        return self._signed("message", _encoded(text.encode()))

    def unpacked(self, cookie: str) -> tuple[Message, ...]:
        """The message of a cookie; nothing if it is not ours."""
        text = self._opened("message", cookie) if len(cookie) <= _LONGEST_MESSAGE * 2 else None
        if text is None:
            return ()
        kind, title, more, undo = json.loads(_decoded(text))
        return (Message(kind, title, more, undo and Undo(undo[0], undo[1], datetime.fromisoformat(undo[2]))),)

    def _proof(self, cookie: str, username: str) -> bytes:
        return hmac.digest(self._key, f"form\0{cookie}\0{username}".encode(), _DIGEST)

    def _signed(self, purpose: str, text: str) -> str:
        return f"{text}.{_encoded(hmac.digest(self._key, f'{purpose}{chr(0)}{text}'.encode(), _DIGEST))}"

    def _opened(self, purpose: str, cookie: str) -> str | None:
        text, dot, _ = cookie.rpartition(".")
        good = dot and hmac.compare_digest(self._signed(purpose, text).encode(), cookie.encode(errors="replace"))
        return text if good else None


def require_own_page(headers: Mapping[str, str], public_url: str) -> None:
    """Raise NotAllowed if a browser says that another site made this request."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        if site not in ("same-origin", "none"):
            raise NotAllowed("This request was made by another site; nothing was changed. Use the pages of POMS.")
        return
    for name in ("origin", "referer"):
        if name in headers:
            own = {headers.get("host", "").lower(), urlsplit(public_url).netloc.lower()}
            if _host_of(headers[name]) not in own:
                raise NotAllowed(f"This request was made by another site ({name} {headers[name][:100]}); "
                                 "nothing was changed. Use the pages of POMS.")
            return


def _host_of(address: str) -> str:
    try:
        return urlsplit(address).netloc.lower() or "nobody"
    except ValueError:
        return "nobody"


def _crossed(one: bytes, two: bytes) -> bytes:
    return bytes(left ^ right for left, right in zip(one, two, strict=True))


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return b""
