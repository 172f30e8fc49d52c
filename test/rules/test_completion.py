"""Is a Completed submission Located: the decision from counts and ages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poms.webservice.interfaces import FileCounts
from poms.webservice.rules.completion import decide, decide_without_files

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(("completion_type", "age_hours", "forced", "done"), [
    ("complete", 0, False, True), ("located", 0, False, None), ("located", 0, True, True), ("located", 48, False, None),
    ("located", 48.01, False, True),
])
def test_without_counting_files(completion_type, age_hours, forced, done):
    """Completion type complete, a person's word, and two days make a submission Located; else files are counted."""
    decision = decide_without_files(completion_type=completion_type, created_at=NOW - timedelta(hours=age_hours),
                                    now=NOW, force_located=forced, located_after=timedelta(days=2))

    assert (decision.done if decision else None) is done


@pytest.mark.parametrize(("located", "expected", "percent", "recovery", "done"), [
    (95, 100, 95, False, True), (94, 100, 95, False, False), (0, 100, 95, False, False), (3, 3, 100, False, True),
    (2, 3, 66, False, True), (1, 3, 66, False, False), (0, 0, 95, False, False), (0, 0, 95, True, True),
    (0, 5, 95, True, False), (7, 0, 95, False, False),
])
def test_by_files(located, expected, percent, recovery, done):
    """Enough located files of those consumed; nothing consumed decides only for a recovery."""
    assert decide(FileCounts(located, expected), completion_pct=percent, is_recovery=recovery).done is done


@given(located=st.integers(0, 10_000), expected=st.integers(0, 10_000), percent=st.floats(0.1, 100))
def test_more_files_never_undo_a_decision(located, expected, percent):
    """What is Located with some files is Located with more."""
    before = decide(FileCounts(located, expected), completion_pct=percent, is_recovery=False).done
    after = decide(FileCounts(located + 1, expected), completion_pct=percent, is_recovery=False).done

    assert after >= before


def test_the_reason_has_the_figures():
    """People see how many files there are and how many are needed."""
    reason = decide(FileCounts(1234, 5678), completion_pct=95, is_recovery=False).reason

    assert reason == "1,234 of 5,678 input files located, 95 % needed"
