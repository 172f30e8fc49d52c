"""Lists: the columns that are seen, and values that no spreadsheet takes for a formula."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime

import pytest

from poms.webservice.rules import lists


def test_who_chose_nothing_sees_the_usual_columns():
    """And no column that is not usual."""
    seen = lists.shown_columns("campaigns", {})

    assert seen == {column.key: column.usual for column in lists.LISTS["campaigns"]}
    assert seen["stages"] and not seen["id"]


@pytest.mark.parametrize("name", lists.LISTS)
@pytest.mark.parametrize("pick", ["none", "all", "unusual"])
def test_a_choice_is_seen_as_it_was_made(name, pick):
    """Whatever is kept of it."""
    wanted = {column.key for column in lists.LISTS[name]
              if pick == "all" or (pick == "unusual" and not column.usual)}

    seen = lists.shown_columns(name, lists.difference(name, wanted))

    assert {key for key, shown in seen.items() if shown} == wanted


def test_a_column_that_came_later_is_seen_by_who_had_chosen():
    """Only what differs from the usual is kept."""
    kept = lists.difference("campaigns", [column.key for column in lists.LISTS["campaigns"] if column.usual])

    assert kept == {}


def test_a_column_that_is_gone_does_no_harm():
    """Choices are kept for years."""
    assert "gone" not in lists.shown_columns("tags", {"gone": True})


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1+2", "@SUM(A1)", "\t=1", "\r=1", " =1", "＝1", "=cmd|' /C calc'!A0",
                                  "\u00a0=1", "\ufeff=1"])
def test_a_formula_becomes_a_text(text):
    """It stands there as it was typed, behind an apostrophe."""
    assert lists.defused(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "gen", "mc=1", "a-b", "'=1", "日本", "1-2"])
def test_other_texts_stay_as_they_are(text):
    """Programs read these files too."""
    assert lists.defused(text) == text


def test_a_line_can_be_read_back():
    """Whatever separators, quotes and line ends its texts have."""
    texts = ['a,b', 'say "x"', "one\ntwo", "; x", ""]

    line = lists.csv_line([*texts, 7, -3, None, True, ["x", "y"], datetime(2026, 3, 14, 2, 41, tzinfo=UTC)])

    assert next(csv.reader(io.StringIO(line, newline=""))) == [
        *texts, "7", "-3", "", "yes", "x; y", "2026-03-14T02:41:00Z"]
