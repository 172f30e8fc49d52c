"""When a stage begins: how it is written, and when a part is due."""

from __future__ import annotations

import pytest

from poms.webservice.errors import Invalid
from poms.webservice.rules.start_when import StartWhen, parse_start


@pytest.mark.parametrize(("text", "rule"), [
    ("500 files", StartWhen(files=500)), ("1 file", StartWhen(files=1)), ("10%", StartWhen(percent=10)),
    ("0.5 %", StartWhen(percent=0.5)), ("30m", StartWhen(seconds=1800)), ("2 h", StartWhen(seconds=7200)),
    ("90 s", StartWhen(seconds=90)), ("1.5d", StartWhen(seconds=129600)), ("45 min", StartWhen(seconds=2700)),
    ("500 files or 10% or 2h", StartWhen(500, 10, 7200)), ("2H, 7 Files", StartWhen(7, None, 7200)),
    ("", None), (None, None), ("None", None), (" none ", None),
])
def test_conditions_are_joined_by_or(text, rule):
    """Files, per cent and time, in any order; none of them means at the end."""
    assert parse_start(text) == rule


@pytest.mark.parametrize("text", ["soon", "0 files", "1.5 files", "101%", "10% or 20%", "500", "files", "5 weeks",
                                  "5 files or", "-1 files", "5 files and 2h"])
def test_what_makes_no_sense_is_refused_with_an_example(text):
    """The message names the key, what was written, and what could be."""
    with pytest.raises(Invalid, match=r"start_when = .*500 files or 10% or 2h") as refused:
        parse_start(text)
    assert refused.value.problems[0].field == "start_when"


@pytest.mark.parametrize(("text", "ready", "expected", "waited", "due"), [
    ("5 files", 4, 10, 0, False), ("5 files", 5, 10, 0, True), ("50%", 4, 10, 0, False), ("50%", 5, 10, 0, True),
    ("50%", 5, 0, 0, False), ("1h", 1, 10, 3599, False), ("1h", 1, 10, 3600, True), ("1h", 0, 10, 9999, False),
    ("5 files or 1h", 1, 10, 3600, True), ("5 files or 20%", 2, 10, 0, True),
])
def test_one_condition_is_enough(text, ready, expected, waited, due):
    """Without a file nothing begins; of an unknown total nothing is so many per cent."""
    assert bool(parse_start(text).reason(ready=ready, expected=expected, waited_seconds=waited)) is due
