"""Text that is read piece by piece is put together again letter by letter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poms.webservice.rules.letters import whole_letters

CUTS = [(letter, cut) for letter in ("é", "東", "\U0001f600") for cut in range(1, len(letter.encode()))]


@pytest.mark.parametrize(("letter", "cut"), CUTS)
def test_the_beginning_of_a_letter_is_left_for_the_next_piece(letter, cut):
    """A letter of two, three or four bytes, cut after each of them."""
    assert whole_letters(b"before" + letter.encode()[:cut]) == b"before"


@pytest.mark.parametrize("data", [b"", b"a", "é".encode(), "東".encode(), "\U0001f600".encode(), b"\xff", b"\x80" * 5,
                                  b"a\xc0", b"\xf5"])
def test_whole_letters_and_rubbish_are_not_held_back(data):
    """What no further byte could complete is given at once, be it a letter or none."""
    assert whole_letters(data) == data


@given(st.text(), st.integers(min_value=1, max_value=7))
def test_pieces_make_the_text(text, size):
    """However a text is cut, its pieces are texts, and together they are the whole."""
    data, made, rest = text.encode(), "", b""
    for begin in range(0, len(data), size):
        piece = rest + data[begin:begin + size]
        whole = whole_letters(piece)
        made, rest = made + whole.decode(), piece[len(whole):]

    assert (made, rest) == (text, b"")
