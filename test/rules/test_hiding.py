"""Secrets in texts that come piece by piece: never shown, however they are cut; nothing else is changed."""

from __future__ import annotations

import random

import pytest

from poms.webservice.rules.hiding import HIDDEN, Hider, secrets_of

TOKEN = b"eyJhbGciOiJSUzI1NiJ9.eyJleHAiOjF9.c2lnbmF0dXJl"
KEY = b"-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----\n"


def shown(text: bytes, cuts, *contents: bytes) -> bytes:
    hider = Hider(secrets_of(contents))
    places = [0, *sorted(cuts), len(text)]
    pieces = [text[start:end] for start, end in zip(places, places[1:], strict=False)]
    return b"".join([*(hider.feed(piece) for piece in pieces), hider.end()])


@pytest.mark.parametrize("seed", range(20))
def test_a_secret_is_found_however_the_text_is_cut(seed):
    """At every place, also byte by byte, also twice and with its own beginning before it."""
    dice = random.Random(seed)
    text = b"before " + TOKEN[:9] + TOKEN + b" between\n" + KEY + b"e" + TOKEN + b"after " + TOKEN[:-1]
    cuts = range(len(text)) if seed == 0 else [dice.randrange(len(text)) for _ in range(dice.randrange(12))]

    found = shown(text, cuts, TOKEN + b"\n", KEY)

    assert TOKEN not in found and b"hkiG9w0BAQEFAASC" not in found
    assert found == (b"before " + TOKEN[:9] + HIDDEN + b" between\n-----BEGIN PRIVATE KEY-----\n" + HIDDEN + b"\n"
                     + HIDDEN + b"\n-----END PRIVATE KEY-----\ne" + HIDDEN + b"after " + TOKEN[:-1])


def test_ordinary_text_is_not_changed_and_not_kept_back():
    """A line without secrets is shown at once."""
    hider = Hider(secrets_of([TOKEN]))

    assert hider.feed(b"Submitting job(s).\n") == b"Submitting job(s).\n"
    assert hider.end() == b""


def test_short_lines_are_no_secrets():
    """An empty line, or a word that is found anywhere, would hide half of the log."""
    assert secrets_of([b"\n\nshort\n", b"-----BEGIN CERTIFICATE-----\n"]) == ()


def test_without_secrets_everything_passes():
    """Launches without credentials keep their log byte for byte."""
    data = bytes(range(256))

    assert shown(data, [3, 50]) == data


def test_a_text_that_is_there_at_once():
    """Characters of all kinds stay; the secret goes."""
    assert Hider((TOKEN,)).whole(f"é \ufffd\ud800 {TOKEN.decode()}!") == f"é \ufffd\ud800 {HIDDEN.decode()}!"
