"""How jobs ended, as a short text and in words."""

from __future__ import annotations

import pytest

from poms.webservice.rules.endings import code_of, code_order, code_words, ending


@pytest.mark.parametrize(("well", "code", "signal", "text"), [
    (True, 0, None, "C0"), (True, None, None, "C"), (False, 65, None, "F65"), (False, None, 9, "FS9"),
    (False, 1, 9, "FS9"), (False, 1, 0, "F1"), (False, None, None, "F")])
def test_an_ending_is_one_short_text(well, code, signal, text):
    """State first, then the signal or the code; a signal says more than the code beside it."""
    assert ending(well=well, exit_code=code, exit_signal=signal) == text


@pytest.mark.parametrize(("text", "label", "title"), [
    ("C0", "exit 0", "ended well"), ("F65", "exit 65", "the program’s own code"),
    ("F139", "exit 139", "signal 11, segmentation fault"), ("FS9", "signal 9", "signal 9, killed"),
    ("FS64", "signal 64", "signal 64"), ("F", "no code", "the batch system told no exit code")])
def test_codes_are_told_in_words(text, label, title):
    """What a code means, where that is known."""
    assert code_words(code_of(text)) == {"label": label, "title": title}


def test_codes_stand_in_order():
    """Short numbers first, what is not known last."""
    assert sorted(["139", "", "S9", "2", "65"], key=code_order) == ["2", "65", "S9", "139", ""]
