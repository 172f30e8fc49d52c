"""The language of queries: what it refuses, where it points, and its normal form."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poms.plugins.local.catalogue import language
from poms.webservice.errors import Invalid, NotFound
from poms.webservice.rules import sam_queries


@pytest.mark.parametrize(("text", "line", "column", "words"), [
    ("create_date > 2016-10-01T00:00:00", 1, 28, "must stand in quotes"),
    ("full_path /pnfs/x", 1, 11, "must stand in quotes"),
    ("file_name a b", 1, 13, "syntax error at 'b'"),
    ("file_name and", 1, 11, "where a name or a value is expected"),
    ("and file_name a", 1, 1, "where a name or a value is expected"),
    ("(file_name a", 1, 13, "ends too early"),
    ("file_name 'a", 1, 11, "quoted text"),
    ("file_name a,\nversion b", 2, 9, "syntax error at 'b'"),
    ("file_name a with limit x", 1, 24, "needs a whole number"),
    ("file_name a with stride 0", 1, 25, "1 or more"),
    ("file_name a with limt 4", 1, 18, "did you mean limit?"),
    ("file_name a with limit 4 limit 5", 1, 26, "given twice"),
    ("file_name a with availability somewhere", 1, 31, "no availability"),
    ("file_name caf\u00e9", 1, 14, "syntax error"),
    ("1x a", 1, 1, "no name of a dimension"),
    ("", 1, 1, "empty"),
])
def test_a_mistake_is_shown_where_it_is(text: str, line: int, column: int, words: str) -> None:
    """A query that cannot be read is refused with line, column, the text and a caret below the place."""
    with pytest.raises(Invalid) as caught:
        language.parse(text)

    message, shown, caret = str(caught.value).split("\n")
    assert words in message
    assert f"(line {line}, column {column})" in message
    assert shown == text.split("\n")[line - 1]
    assert caret == " " * (column - 1) + "^"


@pytest.mark.parametrize("text", [
    "isancestorof:(file_name a) and isparentof:(file_name b)",
    "isdescendantof:(isancestorof:(file_name a))",
])
def test_two_searches_through_all_generations_are_forbidden(text: str) -> None:
    """Ancestors or descendants are searched once in a query, and not together with parents and children."""
    with pytest.raises(Invalid, match="Query forbidden"):
        language.parse(text)


@pytest.mark.parametrize("text", ["(" * 5000 + "file_name a" + ")" * 5000 + " x", "not " * 5000 + "file_name a",
                                  " or ".join(["file_name a"] * 5000), "file_name " + ",".join(["a%"] * 5000),
                                  "file_name " + ",".join(["a"] * 50_000)])
def test_a_query_made_to_exhaust_the_server_is_refused(text: str) -> None:
    """Deep nesting and thousands of terms end as a refusal, not as a crash."""
    with pytest.raises(Invalid):
        language.parse(text)


@pytest.mark.parametrize(("text", "normal"), [
    ("DEFNAME : x WITH LIMIT 5 OFFSET 2", "defname:x with offset 2 limit 5"),
    ("file_name in (a, b)", "file_name a,b"),
    ("a x minus b y and c z", "a x minus b y and c z"),
    ("(a x minus b y) and c z", "(a x minus b y) and c z"),
    ("a x and (b y and (c z))", "a x and b y and c z"),
    ("file_name 'with blank'", "file_name 'with blank'"),
    ("file_name \"it's\"", "file_name \"it's\""),
    ("a x and availability: virtual", "a x with availability virtual"),
    ("run_number 1 - 5", "run_number 1-5"),
    ("version '1-5'", "version '1-5'"),
    ("x in in", None),
])
def test_the_normal_form_is_short_and_means_the_same(text: str, normal: str | None) -> None:
    """One spelling for each meaning; the normal form of a normal form is itself."""
    if normal is None:
        with pytest.raises(Invalid):
            language.normalise(text)
        return

    assert language.normalise(text) == normal
    assert language.parse(language.normalise(normal)) is not None
    assert language.normalise(normal) == normal


NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40)


@given(name=NAMES, other=NAMES)
def test_no_name_can_change_what_a_query_means(name: str, other: str) -> None:
    """Whatever quotes, keywords or signs a name holds, in a built query it stays one value."""
    tree = language.parse(f"{sam_queries.definition(name)} and file_name like {sam_queries.quote(other)}")

    assert isinstance(tree, language.AllOf)
    first, second = tree.items
    assert isinstance(first, language.Definition)
    assert first.name == name
    assert isinstance(second, language.Dimension)
    assert [value.text for value in second.values if isinstance(value, language.Value)] == [other]


def test_an_unknown_dimension_is_refused_with_the_likely_one(site: Any) -> None:
    """A slip of the pen in a dimension's name is answered with the name that was meant."""
    with pytest.raises(Invalid, match="did you mean data_tier"):
        site.catalogue().count("data_teir raw")


def test_a_parameter_that_no_file_has_is_unknown(site: Any) -> None:
    """Experiment parameters are known from the first file that has one; dataset.tag always is."""
    site.declare("a", **{"mc.energy": 5})
    catalogue = site.catalogue()

    assert catalogue.count("mc.energy 5") == 1
    assert catalogue.count("dataset.tag x") == 0
    with pytest.raises(Invalid, match="did you mean mc.energy"):
        catalogue.count("mc.enrgy 5")


def test_definitions_that_refer_in_a_circle_are_refused(site: Any) -> None:
    """A definition cannot be made part of itself, not even through others."""
    catalogue = site.catalogue()
    catalogue.define("one", "file_name a%")
    catalogue.define("two", "defname:one")

    with pytest.raises(Invalid, match="refers to itself: one -> two -> one"):
        catalogue.define("one", "file_name a% or defname:two")


def test_definitions_that_double_each_other_are_worked_out_once(site: Any) -> None:
    """Definitions that each name the one before twice do not double the work with each step."""
    site.declare("a", "b")
    catalogue = site.catalogue()
    catalogue.define("d0", "run_type x or file_name a")
    for number in range(1, 8):
        catalogue.define(f"d{number}", f"defname:d{number - 1} or (defname:d{number - 1} and file_name a)")

    assert catalogue.list("defname:d7") == ["a"]


@pytest.mark.parametrize("query", [
    "not (" * 21 + "file_name b" + ")" * 21,
    "(file_name a and " * 21 + "file_name a" + ")" * 21,
    "(file_name a and (file_name b or " * 10 + "file_name a" + "))" * 10,
    "(run_type x or (file_name a and " * 10 + "file_name a" + "))" * 10,
    "(file_name a minus (run_type x or " * 9 + "file_name b" + "))" * 9,
    "(" * 21 + "file_name a" + " with limit 5)" * 21,
    " or ".join(["file_name a"] * 590),
    " or ".join(["run_type x"] * 300 + ["file_name a"]),
    " and ".join(["file_name a"] * 590),
    " minus ".join(["file_name a"] + ["run_type x"] * 20),
    "file_name " + ",".join(f"x{number}%" for number in range(290)) + ",a",
    "file_name " + ",".join(f"x{number}" for number in range(19000)) + ",a",
])
def test_a_long_or_deep_query_within_the_limits_is_answered(site: Any, query: str) -> None:
    """What the language allows, the database can work out."""
    site.declare("a", "b", runs=[[1, "physics"]])

    assert site.catalogue().list(query) == ["a"]


def test_a_query_that_unfolds_too_far_is_refused(site: Any) -> None:
    """What a query means may be long, but not without end."""
    catalogue = site.catalogue()
    many = " or ".join(f"file_name a{number}%" for number in range(250))
    for number in range(3):
        catalogue.define(f"d{number}", f"{many} or version {number}")

    with pytest.raises(Invalid, match="query limit"):
        catalogue.count("defname:d0 or defname:d1 or defname:d2")


@pytest.mark.parametrize("query", ["defname:nothing", "snapshot_id 77", "project_name nothing",
                                   "snapshot_for_project_name nothing minus file_name a"])
def test_what_a_query_names_exactly_must_exist(site: Any, query: str) -> None:
    """A definition, snapshot or project that is not there is an error and never an empty set."""
    with pytest.raises(NotFound):
        site.catalogue().count(query)


def test_a_mistake_inside_a_definition_is_shown_in_that_definition(site: Any) -> None:
    """What is wrong with a stored query is shown in the stored text."""
    catalogue = site.catalogue()

    with pytest.raises(Invalid, match="compared with a number, not with 'many'"):
        catalogue.define("bad", "event_count many")
    assert catalogue.definition("bad") is None


def test_experiments_do_not_see_each_other(site: Any) -> None:
    """Files, definitions and snapshots of one experiment are unknown in another."""
    site.declare("a", experiment="samdev")
    site.declare("a", "b", experiment="nova")
    site.catalogue("nova").define("all", "file_name %")
    number = site.catalogue("nova").snapshot("all")

    assert site.catalogue("samdev").list("file_name %") == ["a"]
    assert site.catalogue("nova").list("file_name %") == ["a", "b"]
    assert site.catalogue("samdev").definition("all") is None
    with pytest.raises(NotFound):
        site.catalogue("samdev").count(f"snapshot_id {number}")
