"""The grammar of split specifications: which spellings mean the same, and what is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poms.webservice.errors import Invalid
from poms.webservice.rules.splits import SplitSpec, parse_split


@pytest.mark.parametrize(("text", "expected"), [
    ("draining", SplitSpec("draining")),
    ("draining()", SplitSpec("draining")),
    ("nfiles(10)", SplitSpec("nfiles", ((None, "10"),))),
    ("nfiles_10", SplitSpec("nfiles", ((None, "10"),))),
    (" mod ( 3 ) ", SplitSpec("mod", ((None, "3"),))),
    ("mod_ 5", SplitSpec("mod", ((None, "5"),))),
    ("byrun( low = 1,\n high=4 )", SplitSpec("byrun", (("low", "1"), ("high", "4")))),
    ("byrun(low=,high=7)", SplitSpec("byrun", (("high", "7"),))),
    ("byrun(low=,high=)", SplitSpec("byrun")),
    ("new_local", SplitSpec("new", ((None, "local"),))),
    ("new_local(window=1d)", SplitSpec("new", ((None, "local"), ("window", "1d")))),
    ("new(firsttime=1475280000,window=1d)", SplitSpec("new", (("firsttime", "1475280000"), ("window", "1d")))),
    ("Draining", SplitSpec("draining")),
    ("limitn(5,)", SplitSpec("limitn", ((None, "5"),))),
])
def test_spellings_of_a_split(text, expected):
    """Brackets, the shorthand, blanks anywhere and unset keywords are all understood."""
    assert parse_split(text) == expected


@pytest.mark.parametrize("text", ["", "  ", "None", "none", " no ne ", None, "None()"])
def test_no_split(text):
    """Empty and None, in any spelling, mean that nothing is split."""
    assert parse_split(text) is None


@pytest.mark.parametrize(("text", "word"), [
    ("nfiles(10", "closing bracket is missing"),
    ("nfiles(10)x", "may follow the closing bracket"),
    ("nfiles((10))", "one pair of brackets"),
    ("(10)", "begins with the name"),
    ("10files", "begins with the name"),
    ("mod_", "one value"),
    ("mod_1,2", "one value"),
    ("mod)", "begins with the name"),
    ("byrun(low=1,low=2)", "twice"),
    ("byrun(low=1,4)", "has no keyword"),
    ("byrun(1low=1)", "not a keyword"),
    ("mod(,3)", "argument 1 is empty"),
    ("$(rm -rf)", "begins with the name"),
    ("n" * 3000, "at most"),
])
def test_what_is_not_a_split(text, word):
    """A text that is not a specification is refused, with the reason, for the field it came from."""
    with pytest.raises(Invalid) as caught:
        parse_split(text, "test_split_type")

    assert word in str(caught.value)
    assert {problem.field for problem in caught.value.problems} == {"test_split_type"}


def test_every_bad_argument_is_reported():
    """All faults of a specification are told at once."""
    with pytest.raises(Invalid) as caught:
        parse_split("byrun(low=1,low=2,1x=3)")

    assert len(caught.value.problems) == 2


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_a_split_or_refused(text):
    """Nothing but Invalid comes out of a bad text, and a good one is the same after writing it."""
    try:
        spec = parse_split(text)
    except Invalid:
        return
    if spec is not None:
        assert parse_split(str(spec)) == spec
