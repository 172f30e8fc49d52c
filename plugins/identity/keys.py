"""The public keys of token issuers: fetched, checked, kept for a while.

Requests never wait long for an issuer: keys are fetched beside them, at most once a minute. Invariant: only RSA keys
of 2048 bits or more and P-256 keys are ever used, each for one algorithm, and none that is older than ``CEILING``.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jwt
import requests
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from poms.webservice.errors import BackendUnavailable, ConfigurationError

log = logging.getLogger(__name__)

FRESH = timedelta(minutes=10)
CEILING = timedelta(hours=4)
PAUSE = timedelta(minutes=1)
FETCH_SECONDS = 5
WAIT_SECONDS = 2
MOST_WAITING = 2
"""Requests that may wait for a fetch at once; with more, strangers could keep all threads of the server waiting."""
LONGEST_SET = 500_000
SMALLEST_RSA = 2048


@dataclass(frozen=True, slots=True)
class Key:
    """A public key, and the one algorithm that it is used for."""

    algorithm: str
    public: RSAPublicKey | EllipticCurvePublicKey


class KeySet:
    """The keys of one issuer, from the address or file where it publishes them."""

    def __init__(self, place: str, clock: Callable[[], datetime]) -> None:
        self.place = place
        self._clock = clock
        self._changed = threading.Condition()
        self._keys: Mapping[str, Key] = {}
        self._fetched_at: datetime | None = None
        self._tried_at: datetime | None = None
        self._fetching = False
        self._waiting = 0
        self._problem = ""

    def find(self, kid: str) -> Key | None:
        """The key of this name; None if the issuer has none. Raises BackendUnavailable if its keys are not known."""
        with self._changed:
            self._renew(urgent=kid not in self._keys)
            if kid not in self._keys or self._age() > CEILING:
                self._wait()
            if self._age() > CEILING:
                why = self._problem or "they are being fetched"
                raise BackendUnavailable(f"the keys of the token's issuer are not known now ({why}); send the request "
                                         "again in a moment")
            return self._keys.get(kid)

    def _age(self) -> timedelta:
        return timedelta.max if self._fetched_at is None else self._clock() - self._fetched_at

    def _renew(self, *, urgent: bool) -> None:
        """Have the keys fetched if they are old, or one is asked for that is not among them; not too often."""
        recently = self._tried_at is not None and self._clock() - self._tried_at < PAUSE
        if self._fetching or recently or not (urgent or self._age() > FRESH):
            return
        self._fetching, self._tried_at = True, self._clock()
        threading.Thread(target=self._fetch, name="poms-token-keys", daemon=True).start()

    def _wait(self) -> None:
        if self._fetching and self._waiting < MOST_WAITING:
            self._waiting += 1
            try:
                self._changed.wait_for(lambda: not self._fetching, WAIT_SECONDS)
            finally:
                self._waiting -= 1

    def _fetch(self) -> None:
        keys: Mapping[str, Key] | None = None
        problem = ""
        try:
            keys = read_keys(_load(self.place))
        except (OSError, ValueError, requests.RequestException) as failure:
            problem = f"{self.place}: {' '.join(str(failure).split())[:200]}"
            log.warning("keys of a token issuer were not fetched", extra={"place": self.place, "reason": problem})
        finally:
            with self._changed:
                if keys is not None:
                    self._keys, self._fetched_at = keys, self._clock()
                self._problem, self._fetching = problem, False
                self._changed.notify_all()


def require_place(place: str) -> str:
    """An address or absolute path where keys may be; raises ConfigurationError. Plain http on this machine only."""
    parts = urlsplit(place)
    if parts.scheme == "https" and parts.hostname:
        return place
    if parts.scheme == "http" and _is_here(parts.hostname or ""):
        return place
    if place.startswith("/"):
        return place
    raise ConfigurationError(f"{place!r} is no place for keys: expected https://..., or the absolute path of a file")


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _load(place: str) -> bytes:
    if place.startswith("/"):
        path = Path(place)
        if path.stat().st_size > LONGEST_SET:
            raise ValueError("the file is too large for a set of keys")
        return path.read_bytes()
    # A redirect could lead anywhere, to plain http as well.
    with requests.get(place, timeout=FETCH_SECONDS, allow_redirects=False, stream=True,
                      headers={"Accept": "application/json"}) as answer:
        if answer.status_code != 200:
            raise ValueError(f"the issuer answered {answer.status_code}")
        text = answer.raw.read(LONGEST_SET + 1, decode_content=True)
    if len(text) > LONGEST_SET:
        raise ValueError("the answer is too long for a set of keys")
    return bytes(text)


def read_keys(text: bytes) -> dict[str, Key]:
    """The usable keys of a JSON Web Key Set, by their names; raises ValueError if it is none or has none."""
    document = json.loads(text)
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError("this is no set of keys")
    found: dict[str, Key] = {}
    ambiguous = set()
    for entry in entries:
        key = _read_key(entry) if isinstance(entry, dict) else None
        if key is None:
            continue
        if entry["kid"] in found:
            ambiguous.add(entry["kid"])
        found[entry["kid"]] = key
    usable = {kid: key for kid, key in found.items() if kid not in ambiguous}
    if not usable:
        raise ValueError("the set has no key that can be used: RSA of 2048 bits or P-256, each with a name of its own")
    return usable


def _read_key(entry: Mapping[str, Any]) -> Key | None:
    """One key; None for what is not meant for signatures or is not strong enough."""
    kid, algorithm = entry.get("kid"), {"RSA": "RS256", "EC": "ES256"}.get(str(entry.get("kty")))
    if not isinstance(kid, str) or not kid or algorithm is None:
        return None
    if entry.get("use", "sig") != "sig" or entry.get("alg", algorithm) != algorithm:
        return None
    try:
        # A set that holds private parts as well would give the public ones all the same.
        public = jwt.PyJWK.from_dict({name: value for name, value in entry.items() if name in _PUBLIC}, algorithm).key
    except jwt.PyJWTError:
        return None
    strong = (isinstance(public, RSAPublicKey) and public.key_size >= SMALLEST_RSA) or (
        isinstance(public, EllipticCurvePublicKey) and isinstance(public.curve, SECP256R1))
    return Key(algorithm, public) if strong else None


_PUBLIC = frozenset({"kty", "kid", "n", "e", "crv", "x", "y"})
