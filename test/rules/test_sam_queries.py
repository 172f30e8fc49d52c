"""The texts of POMS' queries: names stay values, patterns stay in their place."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from poms.webservice.rules import sam_queries

CREATED = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(("name", "written"), [
    ("plain_name-1.root", "plain_name-1.root"),
    ("with blank", "'with blank'"),
    ("a:b/c", "'a:b/c'"),
    ("it's", '"it\'s"'),
    ("both ' and \"", "'both '' and \"'"),
    ("and", "'and'"),
    ("Minus", "'Minus'"),
    ("1-5", "'1-5'"),
    ("", "''"),
    ("$(reboot)", "'$(reboot)'"),
])
def test_a_name_is_quoted_when_it_must_be(name: str, written: str) -> None:
    """Plain names stay readable, all others cannot be taken for anything but a value."""
    assert sam_queries.quote(name) == written


def test_a_time_is_written_in_utc() -> None:
    """Whatever its zone, a time goes out as UTC and says so."""
    summer = datetime(2026, 7, 1, 14, 0, tzinfo=timezone(timedelta(hours=2)))

    assert sam_queries.instant(summer) == "'2026-07-01T12:00:00+0000'"


def test_a_time_without_zone_is_refused() -> None:
    """Nobody knows what it means."""
    with pytest.raises(ValueError, match="without a zone"):
        sam_queries.instant(datetime(2026, 7, 1))


@pytest.mark.parametrize(("patterns", "single"), [
    (["%.root, %.fcl"], ("%.root", "%.fcl")),
    (["%.root", "%.root"], ("%.root",)),
    ([], ("%",)),
    (["None", ""], ("%",)),
    (["data_tier raw,reco"], ("data_tier raw,reco",)),
])
def test_pattern_lists_are_taken_apart(patterns: list[str], single: tuple[str, ...]) -> None:
    """Commas separate file name patterns; in a query fragment they belong to it."""
    assert sam_queries.split_patterns(patterns) == single


def test_files_of_several_patterns_are_those_of_any() -> None:
    """The patterns of a dependency are alternatives."""
    assert sam_queries.matching_any(["%.root,%.fcl"]) == "(file_name like %.root or file_name like %.fcl)"
    assert sam_queries.matching_any(["%"]) == ""


def test_a_fragment_cannot_reach_beyond_its_place() -> None:
    """A pattern that is a piece of a query stands in parentheses."""
    query = sam_queries.dependency_from_definition("ds", ["data_tier raw or data_tier reco"])

    assert query == "defname:ds and (data_tier raw or data_tier reco)"


def test_output_is_asked_for_as_many_generations_on_as_told() -> None:
    """Two generations: children of children; those between need no location."""
    made = sam_queries.made_by("v1", CREATED, ["%.root"])

    assert sam_queries.output("p", made, 2) == (
        "ischildof:( ischildof:( snapshot_for_project_name p ) with availability anylocation ) and version v1 "
        "and create_date > '2026-03-01T12:00:00+0000' and file_name like %.root")


def test_complete_inputs_have_output_of_every_pattern() -> None:
    """One condition for each pattern, each with the availability asked for."""
    query = sam_queries.inputs_with_output("p", ["version v1", ""], 1, "physical")

    assert query == ("snapshot_for_project_name p and isparentof:( version v1 with availability physical ) "
                     "and isparentof:( file_name like % with availability physical )")


def test_recoveries_name_their_project() -> None:
    """Every recovery speaks of the project it is for, also one with an odd name."""
    assert sam_queries.recover_not_consumed("p:1") == (
        "snapshot_for_project_name 'p:1' minus (project_name 'p:1' and consumed_status 'co%')")
    assert sam_queries.recover_delivered("p").startswith("project_name p and consumed_status skipped,unknown,")
    assert sam_queries.recover_added("ds", "p") == "defname:ds minus snapshot_for_project_name p"
    assert sam_queries.recover_pending("p", ["version v1"], 1) == (
        "snapshot_for_project_name p minus (isparentof:( version v1 ))")
    assert "consumer_status completed" in sam_queries.recover_by_process("p")
