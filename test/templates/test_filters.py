"""Numbers, times, bars and addresses as pages write them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poms.webservice.handlers import filters

NOW = datetime(2026, 3, 14, 2, 41, 7, tzinfo=UTC)
COUNTS = st.dictionaries(st.sampled_from(filters.BAR_ORDER), st.integers(0, 10**7))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (9780, "2 h 43 min"),
        (18300, "5 h 05 min"),
        (86400, "1 d"),
        (100000, "1 d 3 h"),
        (31 * 86400, "31 d"),
        (-5, "0 s"),
        (None, "not known"),
    ],
)
def test_durations_have_at_most_two_units(seconds, words):
    """A length of time is written with its unit."""
    assert filters.duration(seconds) == words


def test_an_age_is_never_negative():
    """A submission stamped by a clock that runs ahead is 0 s old."""
    assert filters.age(NOW + timedelta(seconds=3), NOW) == "0 s"


@pytest.mark.parametrize(
    ("moment", "words"),
    [
        (NOW - timedelta(hours=2), "00:41"),
        (NOW - timedelta(hours=3), "13 Mar 23:41"),
        (NOW - timedelta(days=400), "7 Feb 2025"),
        (None, "not known"),
    ],
)
def test_the_date_is_left_out_only_today(moment, words):
    """A time of another day carries its date."""
    assert filters.clock(moment, NOW) == words


def test_times_are_written_in_utc():
    """A time that comes with another zone is converted."""
    chicago = datetime(2026, 3, 13, 20, 0, tzinfo=timezone(timedelta(hours=-6)))

    assert filters.full_time(chicago) == "2026-03-14 02:00:00 UTC"
    assert 'datetime="2026-03-14T02:00:00Z"' in filters.time_tag(chicago, NOW)


@pytest.mark.parametrize(
    ("part", "whole", "words"),
    [
        (0, 10, "0 %"),
        (1, 1000, "< 1 %"),
        (64, 100, "64 %"),
        (1994, 2000, "99.7 %"),
        (99999, 100000, "99.9 %"),
        (10, 10, "100 %"),
        (0, 0, "–"),
        (None, 10, "not known"),
        (3, None, "not known"),
    ],
)
def test_a_share_is_not_rounded_to_all_or_nothing(part, whole, words):
    """100 % means all of it, and 0 % means none."""
    assert filters.percent(part, whole) == words


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 B"),
        (512, "512 B"),
        (999, "999 B"),
        (2_100_000, "2.1 MB"),
        (750 * 10**9, "750 GB"),
        (999_999, "1.0 MB"),
        (5 * 10**18, "5000 PB"),
        (None, "not known"),
    ],
)
def test_sizes_have_decimal_units(size, words):
    """Bytes are written with the unit that keeps them short."""
    assert filters.bytes_(size) == words


def test_numbers_carry_their_noun():
    """One job, two jobs, and thousands set apart."""
    assert [filters.plural(count, "job") for count in (1, 2, 12176)] == ["1 job", "2 jobs", "12,176 jobs"]
    assert filters.plural(2, "recovery", "recoveries") == "2 recoveries"
    assert filters.plural(None, "job") == "jobs not known"


@given(st.text(), st.integers(1, 40))
def test_clipped_texts_fit(text, length):
    """A name is never longer than the room it is given."""
    assert len(filters.clip(text, length)) <= length


@given(COUNTS, st.none() | st.integers(0, 10**8))
def test_bars_stay_within_their_width(counts, total):
    """The pieces of a bar follow each other, fill at most all of it, and are never negative."""
    segments = filters.bar_segments(counts, total)

    assert [segment.state for segment in segments] == [state for state in filters.BAR_ORDER if counts.get(state)]
    assert all(segment.width >= 0 for segment in segments)
    end = 0
    for segment in segments:
        assert segment.x == pytest.approx(end, abs=0.01)
        end = segment.x + segment.width
    assert end <= 100.01


@given(COUNTS)
def test_trouble_is_never_too_narrow_to_be_seen(counts):
    """One failed job of a million is still drawn."""
    assert all(segment.width >= 3 for segment in filters.bar_segments(counts) if segment.state in filters.TROUBLE)


def test_a_changed_argument_replaces_the_old_one():
    """Sorting a list keeps its filters and leaves the place in it."""
    changed = filters.with_query("/poms/campaigns/sbnd?text=a%26b&sort=name&after=7", sort="-name", after=None)

    assert changed == "/poms/campaigns/sbnd?text=a%26b&sort=-name"


@given(st.text())
def test_a_changed_address_stays_in_poms(text):
    """No address leads to another host, whatever is in it."""
    try:
        changed = filters.with_query(text, sort="name")
    except ValueError:
        return
    assert changed.startswith("/") and changed[1:2] not in ("/", "\\")


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        " javascript:alert(1)",
        "java\nscript:alert(1)",
        "data:text/html,x",
        "vbscript:x",
        "\x01javascript:alert(1)",
        "view-source:x",
    ],
)
def test_links_that_would_run_something_lead_nowhere(address):
    """A link that a person or a plugin stored cannot carry a program."""
    assert filters.safe_link(address) == "#"


@pytest.mark.parametrize(
    "address",
    ["https://fifemon.fnal.gov/x?y=a:b", "/poms/home/sbnd/production?t=10:30", "#main", "mailto:a@b.c", "page?x=a:b"],
)
def test_links_to_pages_are_kept(address):
    """Ordinary links are left as they are."""
    assert filters.safe_link(address) == address


@given(st.text(), st.text())
def test_ids_of_different_names_differ(one, two):
    """Two stages never share the id of an element."""
    assert (filters.dom_id(one) == filters.dom_id(two)) == (one == two)


@pytest.mark.parametrize("text", ['"><svg/onload=1>', "a b", "ü"])
def test_ids_are_plain(text):
    """An id has no blanks, quotes or other marks in it."""
    assert filters.dom_id(text).replace("_", "").replace("-", "").isalnum()


@pytest.mark.parametrize(
    ("state", "word"),
    [("LaunchFailed", "launchfailed"), ("Awaiting Approval", "approval"), ("Held", "held"), ('"><svg>', "unknown")],
)
def test_a_state_has_a_safe_class_name(state, word):
    """Only known states name a class."""
    assert filters.state_slug(state) == word
