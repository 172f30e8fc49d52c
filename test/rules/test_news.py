"""News: what is told under which word, when it may leave, and how it reads."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as some

from poms.webservice.errors import Invalid
from poms.webservice.interfaces import NewsItem
from poms.webservice.rules import news
from poms.webservice.rules.news import Quiet
from poms.webservice.rules.statuses import Status
from poms.webservice.services.events import KINDS

NIGHT = Quiet(22 * 60, 7 * 60, "America/Chicago")
MOMENTS = some.datetimes(datetime(2025, 1, 1), datetime(2027, 1, 1), timezones=some.just(UTC))
ZONES = some.sampled_from(["UTC", "America/Chicago", "Europe/Zurich", "Australia/Lord_Howe", "Asia/Kathmandu"])


def item(number=1, word="finished", campaign="mc", text="gen: Located"):
    return NewsItem(number, datetime(2026, 6, 2, 3, 30, tzinfo=UTC), word, text, "samdev", campaign)


@pytest.mark.parametrize("status", Status)
def test_every_status_is_news_or_not(status):
    """What needs a person is, the end is, the way there is not."""
    wanted = {Status.LOCATED: "finished", Status.AWAITING_APPROVAL: "approval", Status.HELD: "attention",
              Status.FAILED: "attention", Status.LAUNCH_FAILED: "attention", Status.REMOVED: "stopped",
              Status.CANCELLED: "stopped"}

    assert news.news_of("submission.status", {"new": status.label}, of_submission=True) == wanted.get(status)


def test_every_kind_that_is_news_exists():
    """And every word is explained to people."""
    assert set(news.KINDS) <= set(KINDS)
    assert {news.news_of(kind, None, of_submission=False) for kind in news.KINDS} - {None} <= set(news.NEWS)
    assert set(news.USUAL) <= set(news.NEWS)


def test_a_failed_launch_is_told_once():
    """With a submission its status tells; without one the launch does."""
    assert news.news_of("launch.failed", None, of_submission=True) is None
    assert news.news_of("launch.failed", None, of_submission=False) == "attention"


@pytest.mark.parametrize(("moment", "over"), [
    ("2026-06-02T02:59", "2026-06-02T02:59"), ("2026-06-02T03:00", "2026-06-02T12:00"),
    ("2026-06-02T11:59", "2026-06-02T12:00"), ("2026-06-02T12:00", "2026-06-02T12:00"),
    # In winter the same hours are an hour later on the world's clock; clocks change in the second night.
    ("2026-01-02T04:30", "2026-01-02T13:00"), ("2026-03-08T06:00", "2026-03-08T12:00"),
    ("2026-11-01T05:00", "2026-11-01T13:00")])
def test_quiet_hours_end_by_the_persons_clock(moment, over):
    """Over midnight, and where clocks change."""
    at, end = (datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (moment, over))

    assert NIGHT.over_at(at) == end


def test_quiet_hours_within_a_day():
    """The end is not quiet any more."""
    lunch = Quiet(12 * 60, 13 * 60, "UTC")

    assert [lunch.holds(datetime(2026, 1, 1, hour, minute, tzinfo=UTC))
            for hour, minute in ((11, 59), (12, 0), (12, 59), (13, 0))] == [False, True, True, False]


@given(MOMENTS, some.integers(0, 1439), some.integers(0, 1439), ZONES)
def test_quiet_hours_never_last_longer_than_a_day(moment, start, end, zone):
    """What is put off is sent within a day, and never before it happened."""
    over = Quiet(start, end, zone).over_at(moment)

    assert moment <= over <= moment + timedelta(hours=25)


@given(MOMENTS, some.integers(0, 1439), some.integers(0, 1439))
def test_after_quiet_hours_it_is_not_quiet(moment, start, end):
    """Where clocks do not change."""
    quiet = Quiet(start, end, "Asia/Kathmandu")

    assert start == end or not quiet.holds(quiet.over_at(moment))


def test_a_digest_is_due_when_all_agree():
    """Gathered, not too soon after the last one, and not in the night."""
    now = datetime(2026, 6, 2, 1, 0, tzinfo=UTC)

    def due(last=None, quiet=None):
        return news.due_at(now, last, gather_seconds=30, every_seconds=3600, quiet=quiet)

    assert due() == now + timedelta(seconds=30)
    assert due(now - timedelta(minutes=50)) == now + timedelta(minutes=10)
    assert due(now - timedelta(hours=2)) == now + timedelta(seconds=30)
    assert due(now + timedelta(hours=1, minutes=30), NIGHT) == datetime(2026, 6, 2, 12, 0, tzinfo=UTC)


def test_retries_come_less_and_less_often():
    """A minute at first, an hour at most."""
    assert [news.retry_seconds(attempt) for attempt in (1, 2, 3, 6, 7, 1000)] == [60, 120, 240, 1920, 3600, 3600]


@pytest.mark.parametrize("text", ["22", "22-7", "25:00-07:00", "22:00", "22:00-22:00", "a:b-c:d", "22:00-07:00-08:00"])
def test_hours_that_mean_nothing_are_refused(text):
    """With an example of what does."""
    with pytest.raises(Invalid):
        news.parse_quiet(text)


@given(some.integers(0, 1439), some.integers(0, 1439))
def test_hours_are_read_as_they_are_written(start, end):
    """Back and forth."""
    if start != end:
        assert news.parse_quiet(news.quiet_text(start, end)) == (start, end)


def test_the_subject_says_the_worst_first():
    """Then where, three campaigns at most."""
    items = [item(1), item(2, "attention", "keepup"), item(3, campaign="a"), item(4, campaign="b")]

    assert news.subject_of(items) == "1 need attention, 3 finished: mc, keepup, a and more"


def test_the_text_is_told_campaign_by_campaign():
    """In the reader's time zone; hostile texts stay on their line."""
    items = [item(2, text="two\nSubject: x"), item(1, campaign="keepup"), item(3)]

    text = news.text_of(items, settings_url="http://p/w", time_zone="America/Chicago", attempt=1)

    assert text.splitlines() == [
        "samdev keepup", "  2026-06-01 22:30  gen: Located", "", "samdev mc", "  2026-06-01 22:30  two Subject: x",
        "  2026-06-01 22:30  gen: Located", "",
        "Times are in America/Chicago. What you watch, and how you are told: http://p/w"]


def test_a_long_message_is_cut_and_says_so():
    """And a repetition says that it is one."""
    text = news.text_of([item(number) for number in range(news.MOST_LINES + 7)], settings_url="", time_zone="UTC",
                        attempt=2)

    assert "... and 7 more." in text
    assert "attempt 2" in text
