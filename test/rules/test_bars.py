"""Bars over time: pieces lie in the window, in order, and none is too thin to be seen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from poms.webservice.rules import bars

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)


def at(hours: float) -> datetime:
    return NOON + timedelta(hours=hours)


def test_states_follow_each_other():
    """Each lasts until the next begins, the last until the end of the window."""
    found = bars.pieces([("New", at(0)), ("Running", at(2)), ("Completed", at(8))], at(0), at(10))

    assert [(piece.state, piece.x, piece.width) for piece in found] == [
        ("New", 0, 20), ("Running", 20, 60), ("Completed", 80, 20)]


def test_what_began_before_the_window_is_seen_from_its_beginning():
    """What was over by then is not seen at all."""
    found = bars.pieces([("New", at(-9)), ("Idle", at(-8)), ("Running", at(-1))], at(0), at(10))

    assert [(piece.state, piece.x, piece.width) for piece in found] == [("Running", 0, 100)]


def test_what_begins_after_the_window_is_not_seen():
    """A clock may run ahead."""
    assert [piece.state for piece in bars.pieces([("New", at(1)), ("Idle", at(11))], at(0), at(10))] == ["New"]


def test_what_ended_does_not_go_on():
    """A state that is final is a moment."""
    found = bars.pieces([("Running", at(0)), ("Located", at(5))], at(0), at(10), ends_at=at(5))

    assert [(piece.state, piece.x, piece.width) for piece in found] == [("Running", 0, 50), ("Located", 50, 1)]


def test_a_window_of_no_length_is_empty():
    """Nothing can be drawn in it."""
    assert bars.pieces([("New", at(0))], at(0), at(0)) == []
    assert bars.ticks(at(0), at(0)) == []


@given(st.lists(st.floats(-50, 150), min_size=1, max_size=30).map(sorted), st.none() | st.floats(-50, 150))
def test_pieces_lie_in_the_window_in_order(hours, ended):
    """Whatever the times are; the newest state that falls into the window is among them."""
    steps = [(f"state {place}", at(hour)) for place, hour in enumerate(hours)]

    found = bars.pieces(steps, at(0), at(100), ends_at=None if ended is None else max(at(ended), steps[-1][1]))

    assert all(piece.width > 0 and piece.x >= -0.001 and piece.x + piece.width <= 100.001 for piece in found)
    assert all(one.x + one.width <= two.x + 0.002 for one, two in zip(found, found[1:], strict=False))
    begun = [state for state, moment in steps if at(0) <= moment <= at(100)]
    assert not begun or found[-1].state == begun[-1]


@given(st.floats(0.01, 20_000), st.floats(0, 5000))
def test_an_axis_names_few_round_moments(length, begin):
    """At most seven, all of them in the window and equally far from each other."""
    found = bars.ticks(at(begin), at(begin + length))

    assert len(found) <= 7
    assert all(-0.001 <= x <= 100.001 for _, x in found)
    gaps = {two[0] - one[0] for one, two in zip(found, found[1:], strict=False)}
    assert len(gaps) <= 1
