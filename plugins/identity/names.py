"""Distinguished names of certificates in the two spellings that front ends use, as one value that compares equal.

``/DC=org/CN=Ann`` (Apache's legacy format, grid map files) and ``CN=Ann,DC=org`` (RFC 4514, most specific first).
Invariant: what is not read completely is no name.
"""

from __future__ import annotations

import re

LONGEST = 2000
Name = tuple[tuple[str, str], ...]
"""From the root to the person: kinds in capitals, values as they are."""

_KIND = re.compile(r"[A-Za-z][A-Za-z0-9-]*|[0-9]+(?:\.[0-9]+)+")
_KINDS = {"E": "EMAILADDRESS", "EMAIL": "EMAILADDRESS", "1.2.840.113549.1.9.1": "EMAILADDRESS", "S": "ST",
          "USERID": "UID", "0.9.2342.19200300.100.1.1": "UID", "0.9.2342.19200300.100.1.25": "DC"}
_PROXY = re.compile(r"[0-9]+|proxy|limited proxy")


def read_name(text: str) -> Name:
    """The name in either spelling. Raises ValueError."""
    if len(text) > LONGEST or not text.isprintable():
        raise ValueError("too long, or with characters that cannot be printed")
    return _from_slashes(text) if text.startswith("/") else _from_commas(text)


def without_proxies(name: Name) -> Name:
    """The name of the person who made a proxy certificate: proxies of proxies each add one common name."""
    while len(name) > 1 and name[-1][0] == "CN" and _PROXY.fullmatch(name[-1][1]):
        name = name[:-1]
    return name


def _from_slashes(text: str) -> Name:
    # A value may hold slashes, as host names do (CN=host/x.example.org): a new part begins where a kind follows.
    pieces = re.split(r"/(?=[A-Za-z][A-Za-z0-9-]*=|[0-9]+(?:\.[0-9]+)+=)", text)
    if pieces[0]:
        raise ValueError("expected /KIND=value/KIND=value")
    return _checked([_part(piece) for piece in pieces[1:]])


def _from_commas(text: str) -> Name:
    return _checked([_part(piece) for piece in reversed(_split(text))])


def _split(text: str) -> list[str]:
    """The parts between commas, with what backslashes protect taken as it is meant."""
    pieces, current, place = [], bytearray(), 0
    while place < len(text):
        letter = text[place]
        if letter == "\\":
            protected, place = _protected(text, place + 1)
            current += protected
            continue
        if letter == ",":
            pieces.append(current.decode("utf-8"))
            current = bytearray()
        elif letter in '+;<>"':
            raise ValueError(f"{letter} has a meaning here that POMS does not read")
        elif letter != " " or current:
            current += letter.encode()
        place += 1
    return [*pieces, current.decode("utf-8")]


def _protected(text: str, place: int) -> tuple[bytes, int]:
    pair = text[place:place + 2]
    if re.fullmatch(r"[0-9A-Fa-f]{2}", pair):
        return bytes.fromhex(pair), place + 2
    if pair[:1] and pair[0] in ' "#+,;<=>\\':
        return pair[0].encode(), place + 1
    raise ValueError("a backslash with nothing to protect")


def _part(piece: str) -> tuple[str, str]:
    kind, equals, value = piece.partition("=")
    if not equals or not _KIND.fullmatch(kind) or not value:
        raise ValueError("expected KIND=value")
    kind = kind.upper()
    return _KINDS.get(kind, kind), value


def _checked(parts: list[tuple[str, str]]) -> Name:
    if not parts or any(not value.isprintable() for _, value in parts):
        raise ValueError("empty, or with characters that cannot be printed")
    return tuple(parts)
