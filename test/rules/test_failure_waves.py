"""When a campaign pauses itself: the last jobs count, and only enough of them."""

from __future__ import annotations

import pytest

from poms.webservice.rules.failure_waves import Ended, wave


@pytest.mark.parametrize(("ended", "paused"), [
    ([Ended(100, 80)], True), ([Ended(100, 79)], False), ([Ended(99, 99)], False), ([], False),
    ([Ended(60, 60), Ended(40, 20)], True),
    # The newest submissions fill the number: what was before them does not count any more.
    ([Ended(100, 10), Ended(900, 900)], False), ([Ended(100, 100), Ended(9000, 0)], True),
])
def test_share_of_the_last_jobs(ended, paused):
    """80 % of the last 100."""
    assert bool(wave(ended, percent=80, jobs=100)) is paused


def test_the_reason_is_a_sentence():
    """With both numbers and the limit."""
    assert wave([Ended(120, 110)], percent=80, jobs=100) == (
        "110 of the last 120 jobs failed or were removed; the limit is 80 %")


def test_zero_pauses_nothing():
    """The setting that switches it off."""
    assert wave([Ended(1000, 1000)], percent=0, jobs=1) == ""
