"""Recurrence: what people may write, what it means, and how it is said back to them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poms.webservice.errors import Invalid
from poms.webservice.rules import schedule as recurrence
from poms.webservice.rules.schedule import from_form, in_words, parse_cron, to_form


@pytest.mark.parametrize(("text", "canonical"), [
    ("5 3 * * *", "5 3 * * *"),
    ("  5   3 * * *\t", "5 3 * * *"),
    ("*/10 * * * *", "*/10 * * * *"),
    ("*/1 * * * *", "* * * * *"),
    ("5,1,3,3 * * * *", "1,3,5 * * * *"),
    ("0 8-10 * * *", "0 8,9,10 * * *"),
    ("0-30/10 * * * *", "0,10,20,30 * * * *"),
    ("0 0 * * MON-fri", "0 0 * * 1,2,3,4,5"),
    ("0 0 * * sunday", "0 0 * * 0"),
    ("0 0 * * 7", "0 0 * * 0"),
    ("0 0 * * fri,sat,sun", "0 0 * * 0,5,6"),
    ("0 0 1 Jan,july *", "0 0 1 1,7 *"),
    ("0 0 1 * sun,mon,tue,wed,thu,fri,sat", "0 0 1 * *"),
    ("@hourly", "0 * * * *"),
    ("@Weekly", "0 0 * * 0"),
    ("0 0 29 2 *", "0 0 29 2 *"),
    ("0 0 31 2 mon", "0 0 31 2 1"),
])
def test_an_expression_has_one_canonical_spelling(text, canonical):
    """However it was written, a schedule is stored in one way."""
    assert parse_cron(text).cron == canonical


@pytest.mark.parametrize("text", [
    "", "5", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * 32 * *", "* * * 13 *", "* * * * 8",
    "*/0 * * * *", "*/60 * * * *", "5/10 * * * *", "10-5 * * * *", "1,,2 * * * *", ", * * * *", "-1 * * * *",
    "1.5 * * * *", "x * * * *", "* * * * someday", "@reboot", "@every", "* * * * sun-mon-tue", "٣ * * * *",
    "$(id) * * * *", "* * L * *", "* * * * 5#3", "1\x00 * * * *", "*,5-x * * * *", "1 " * 5000, "fri * * * *",
    "* * mon * *",
])
def test_what_is_no_schedule_is_refused(text):
    """Nothing that cron or its relatives might take for something else is let through."""
    with pytest.raises(Invalid):
        parse_cron(text)


@pytest.mark.parametrize("text", ["0 0 31 2 *", "0 0 30 2 *", "0 0 31 4,6,9,11 *"])
def test_a_day_that_never_comes_is_refused(text):
    """A schedule that would never launch anything is an error, not a quiet one."""
    with pytest.raises(Invalid, match="no such day"):
        parse_cron(text)


def test_every_wrong_field_is_named():
    """All problems come at once, each with the field it is in."""
    with pytest.raises(Invalid) as caught:
        parse_cron("99 99 * * nosuchday")

    assert [problem.field for problem in caught.value.problems] == ["minlist", "hourlist", "dowlist"]


@pytest.mark.parametrize(("fields", "cron"), [
    ({}, "1 * * * *"),
    ({"minlist": "5", "hourlist": "3", "dowlist": "mon,fri", "domlist": "*"}, "5 3 * * 1,5"),
    ({"minlist": "*/15", "hourlist": "*", "domlist": "1,15"}, "*/15 * 1,15 * *"),
    ({"minlist": ["0", "30"], "dowlist": ["sat", "sun"]}, "0,30 * * * 0,6"),
    ({"minlist": "0, 30 ", "hourlist": ""}, "0,30 * * * *"),
    ({"minlist": "0", "dowlist": ["", "tue"]}, "0 * * * 2"),
    ({"minlist": "0", "dowlist": ["any", "tue"]}, "0 * * * *"),
    ({"minlist": "0", "month": "7", "monthly": "x"}, "0 * * * *"),
    ({"minlist": "0", "hourlist": "*,3"}, "0 * * * *"),
])
def test_the_fields_of_the_form_are_understood(fields, cron):
    """Comma lists, repeated fields and stars as the old form sends them; the month is not heeded."""
    assert from_form(fields).cron == cron


@pytest.mark.parametrize("fields", [
    {"minlist": "61"}, {"hourlist": "x"}, {"dowlist": "someday"}, {"domlist": "0"}, {"minlist": "1;id"},
    {"minlist": "1\n* * * * * root id"}, {"minlist": "1" * 5000},
])
def test_fields_that_make_no_sense_are_refused(fields):
    """A field's text cannot become anything but values of that field."""
    with pytest.raises(Invalid) as caught:
        from_form(fields)

    assert caught.value.problems[0].field == next(iter(fields))


def test_the_form_gets_its_fields_back():
    """A stored schedule fills the form, days of the week by name."""
    assert to_form(parse_cron("*/5 8-9 1 * sun,mon")) == {
        "minlist": "*/5", "hourlist": "8,9", "domlist": "1", "month": "*", "dowlist": "sun,mon"}


def values_of(kind):
    value = st.integers(kind.least, 6 if kind is recurrence.DAY_OF_WEEK else kind.most).map(str)
    names = st.sampled_from(kind.names) if kind.names else value
    return st.one_of(st.just("*"), st.integers(1, 6).map(lambda step: f"*/{step}"),
                     st.lists(value | names, min_size=1, max_size=5).map(",".join))


schedules = st.tuples(*(values_of(kind) for kind in recurrence.KINDS)).map(" ".join)


@given(schedules)
def test_canonical_spelling_is_read_as_the_same_schedule(text):
    """Spelling it canonically changes nothing, and is done once."""
    try:
        schedule = parse_cron(text)
    except Invalid:
        return
    assert parse_cron(schedule.cron) == schedule
    assert [values.allowed for values in schedule.fields] == [
        values.allowed for values in parse_cron(schedule.cron).fields]


@given(schedules)
def test_form_and_expression_say_the_same(text):
    """A schedule without a month survives the way through the form."""
    words = text.split()
    words[3] = "*"
    try:
        schedule = parse_cron(" ".join(words))
    except Invalid:
        return
    assert from_form(to_form(schedule)) == schedule


@given(st.text(max_size=60))
def test_any_text_is_a_schedule_or_invalid(text):
    """Nothing that somebody can type is an internal error."""
    try:
        in_words(parse_cron(text))
    except Invalid as wrong:
        assert wrong.problems


@pytest.mark.parametrize(("cron", "words"), [
    ("5 3 * * *", "at 03:05 every day"),
    ("0,30 3 * * 1", "at 03:00 and 03:30 on Monday"),
    ("* * * * *", "every minute"),
    ("*/10 * * * *", "every 10 minutes"),
    ("1 * * * *", "at :01 of every hour"),
    ("*/10 8,9 * * *", "every 10 minutes in the hours 08 and 09 every day"),
    ("0 */2 * * *", "at :00 of every 2nd hour"),
    ("0 0 1,15 * *", "at 00:00 on day 1 and 15 of the month"),
    ("0 0 1 * 1,5", "at 00:00 on day 1 of the month, and on Monday and Friday"),
    ("0 0 1 1 *", "at 00:00 on day 1 of the month in January"),
    ("0 0 */3 * *", "at 00:00 on every 3rd day of the month"),
    ("*/20 * * * 0", "every 20 minutes on Sunday"),
    ("0,10,20,30 1,2,3 * * *", "at :00, :10, :20 and :30 in the hours 01, 02 and 03 every day"),
])
def test_a_schedule_is_said_in_words(cron, words):
    """People read what they ordered."""
    assert in_words(parse_cron(cron)) == words
