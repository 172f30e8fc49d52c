"""Recurrence of launches: form fields, cron expressions and words for people, each checked and converted.

Not for working out times (``services.schedules``). A schedule has the five fields of cron; if both days of the
month and days of the week are restricted, a day that is either of them counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from poms.webservice.errors import Invalid, Problem

DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
DAY_NAMES = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
MONTH_NAMES = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
               "November", "December")
LONGEST = 1000
"""No honest schedule is longer; sixty minutes, written out, need 169 characters."""


@dataclass(frozen=True, slots=True)
class FieldKind:
    """One of cron's fields: its name in the form, what it is, its bounds, and names for its values."""

    name: str
    words: str
    least: int
    most: int
    names: tuple[str, ...] = ()
    first: int = 0

    def number(self, text: str) -> int | None:
        """A value as a number, whether given as one or by name; None if it is neither."""
        if re.fullmatch(r"[0-9]{1,3}", text):
            value = int(text)
            return value if self.least <= value <= self.most else None
        if self.names and re.fullmatch(r"[a-z]{3,9}", text):
            full = DAY_NAMES if self.names is DAYS else MONTH_NAMES
            for position, (short, name) in enumerate(zip(self.names, full, strict=True)):
                if text in (short, name.lower()):
                    return position + self.first
        return None


MINUTE = FieldKind("minlist", "minute", 0, 59)
HOUR = FieldKind("hourlist", "hour", 0, 23)
DAY_OF_MONTH = FieldKind("domlist", "day of the month", 1, 31)
MONTH = FieldKind("month", "month", 1, 12, MONTHS, 1)
DAY_OF_WEEK = FieldKind("dowlist", "day of the week", 0, 7, DAYS)
KINDS = (MINUTE, HOUR, DAY_OF_MONTH, MONTH, DAY_OF_WEEK)

SHORTCUTS = {"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0",
             "@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *"}

_LAST_DAY = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}


@dataclass(frozen=True, slots=True)
class Values:
    """The values that a field allows, and how it is written. ``everything``: it restricts nothing."""

    text: str
    allowed: tuple[int, ...]
    everything: bool

    @property
    def step(self) -> int | None:
        """n of ``*/n``."""
        return int(self.text[2:]) if self.text.startswith("*/") else None

    @property
    def follows_the_clock(self) -> bool:
        """Whether the field goes by intervals (``*``, ``*/n``) and not by named values."""
        return self.text.startswith("*")


@dataclass(frozen=True, slots=True)
class Schedule:
    """A checked schedule; ``cron`` is its one canonical spelling."""

    minutes: Values
    hours: Values
    days_of_month: Values
    months: Values
    days_of_week: Values

    @property
    def fields(self) -> tuple[Values, ...]:
        return (self.minutes, self.hours, self.days_of_month, self.months, self.days_of_week)

    @property
    def cron(self) -> str:
        return " ".join(values.text for values in self.fields)


def parse_cron(text: str) -> Schedule:
    """A schedule from ``minute hour day-of-month month day-of-week``; raises Invalid with every problem."""
    words = text.lower().split()
    if len(words) == 1 and words[0] in SHORTCUTS:
        words = SHORTCUTS[words[0]].split()
    if len(words) != len(KINDS) or len(text) > LONGEST:
        raise Invalid("A schedule has five fields: minute, hour, day of the month, month, day of the week, such as "
                      "“5 3 * * mon”.", field="cron")
    return _schedule(dict(zip(KINDS, words, strict=True)))


def from_form(fields: Mapping[str, str | Iterable[str]]) -> Schedule:
    """A schedule from the form's ``minlist``, ``hourlist``, ``dowlist`` and ``domlist``.

    Each is ``*``, ``*/n``, a comma list, or a list of such texts (a repeated field); one that is absent or empty
    restricts nothing, except the minute, which is 1 then. ``month`` was never heeded and is not now.
    """
    words = {}
    for kind in KINDS:
        given = fields.get(kind.name, "") if kind is not MONTH else "*"
        parts = [given] if isinstance(given, str) else list(given)
        items = [item.strip().lower() for part in parts for item in part.split(",") if item.strip()]
        if "*" in items or "any" in items:
            items = ["*"]
        words[kind] = ",".join(items) or ("1" if kind is MINUTE else "*")
    if any(len(word) > LONGEST for word in words.values()):
        raise Invalid("That is no schedule: a field is much too long.", field="minlist")
    return _schedule(words)


def to_form(schedule: Schedule) -> dict[str, str]:
    """The form's fields for a schedule; days of the week by name. The month is told apart, the form has none."""
    fields = {kind.name: values.text for kind, values in zip(KINDS, schedule.fields, strict=True)}
    if not schedule.days_of_week.follows_the_clock:
        fields["dowlist"] = ",".join(DAYS[number] for number in schedule.days_of_week.allowed)
    return fields


def in_words(schedule: Schedule) -> str:
    """The schedule as a sentence's part: “at 03:05 on Monday”."""
    return " ".join(filter(None, (_times(schedule), _days(schedule), _months(schedule.months))))


# ------------------------------------------------------------------------------------------- reading


def _schedule(words: Mapping[FieldKind, str]) -> Schedule:
    problems: list[Problem] = []
    found = [_values(kind, words[kind], problems) for kind in KINDS]
    if problems:
        raise Invalid(problems)
    schedule = Schedule(*found)
    if not _can_ever_be(schedule):
        raise Invalid("There is no such day in any of these months, so nothing would ever be launched.",
                      field=DAY_OF_MONTH.name)
    return schedule


def _values(kind: FieldKind, text: str, problems: list[Problem]) -> Values:
    """Check one field; what is wrong is added to ``problems``."""
    allowed: set[int] = set()
    for item in text.split(","):
        numbers = _item(kind, item)
        if numbers is None:
            problems.append(Problem(kind.name, f"“{item[:40]}” is no {kind.words}; write *, */n, or values from "
                                               f"{kind.least} to {_most(kind)} separated by commas"
                                               + (f", or names such as {kind.names[1]}." if kind.names else "."),
                                    code="bad-schedule"))
            return Values("*", (), True)
        allowed |= numbers
    if kind is DAY_OF_WEEK:
        allowed = {number % 7 for number in allowed}
    return _canonical(kind, text, tuple(sorted(allowed)))


def _canonical(kind: FieldKind, text: str, allowed: tuple[int, ...]) -> Values:
    # Every value named is no restriction: "any day" does not become "either".
    if len(allowed) == _most(kind) - kind.least + 1:
        return Values("*", allowed, True)
    if re.fullmatch(r"\*/[0-9]+", text):
        return Values(f"*/{int(text[2:])}", allowed, False)
    return Values(",".join(map(str, allowed)), allowed, False)


def _item(kind: FieldKind, text: str) -> set[int] | None:
    """The numbers of ``*``, ``a``, ``a-b``, each perhaps with ``/n``; None if it is none of these."""
    span, slash, step_text = text.partition("/")
    if slash and not re.fullmatch(r"[1-9][0-9]{0,2}", step_text):
        return None
    step = int(step_text) if slash else 1
    if step > _most(kind):
        return None
    if span == "*":
        return set(range(kind.least, _most(kind) + 1, step))
    low_text, dash, high_text = span.partition("-")
    low = kind.number(low_text)
    high = kind.number(high_text) if dash else low
    if low is None or high is None or high < low or (slash and not dash):
        return None
    return set(range(low, high + 1, step))


def _most(kind: FieldKind) -> int:
    """The greatest value but for 7, which also means Sunday."""
    return 6 if kind is DAY_OF_WEEK else kind.most


def _can_ever_be(schedule: Schedule) -> bool:
    if not schedule.days_of_week.everything:
        return True
    return any(schedule.days_of_month.allowed[0] <= _LAST_DAY.get(month, 31) for month in schedule.months.allowed)


# ---------------------------------------------------------------------------------------- explaining


def _times(schedule: Schedule) -> str:
    minutes, hours = schedule.minutes, schedule.hours
    if not hours.follows_the_clock and not minutes.follows_the_clock:
        times = [f"{hour:02d}:{minute:02d}" for hour in hours.allowed for minute in minutes.allowed]
        if len(times) <= 6:
            return f"at {_list(times)}"
    if minutes.everything:
        often = "every minute"
    elif minutes.step:
        often = f"every {minutes.step} minutes"
    else:
        often = f"at {_list([f':{minute:02d}' for minute in minutes.allowed])}"
    if hours.everything:
        return often if minutes.follows_the_clock else f"{often} of every hour"
    if hours.step:
        return f"{often} of every {_ordinal(hours.step)} hour"
    return f"{often} in the hours {_list([f'{hour:02d}' for hour in hours.allowed])}"


def _days(schedule: Schedule) -> str:
    of_month, of_week = schedule.days_of_month, schedule.days_of_week
    month_words = "" if of_month.everything else (
        f"every {_ordinal(of_month.step)} day of the month" if of_month.step
        else f"day {_list([str(day) for day in of_month.allowed])} of the month")
    week_words = "" if of_week.everything else _list([DAY_NAMES[day] for day in of_week.allowed])
    if month_words and week_words:
        return f"on {month_words}, and on {week_words}"
    if month_words or week_words:
        return f"on {month_words or week_words}"
    # "every 10 minutes" needs no "every day".
    return "" if schedule.hours.follows_the_clock else "every day"


def _months(months: Values) -> str:
    return "" if months.everything else f"in {_list([MONTH_NAMES[month - 1] for month in months.allowed])}"


def _list(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _ordinal(number: int) -> str:
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
