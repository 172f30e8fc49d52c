"""Scouts: how they are written, whether the rest follows, and what it asks for."""

from __future__ import annotations

import pytest

from poms.webservice.errors import Invalid
from poms.webservice.rules.campaign_text import KnownNames, examine, parse, read_campaign, write_campaign
from poms.webservice.rules.scouting import Measured, Scouting, amounts, parse_scout, shortfall, unmeasured


@pytest.mark.parametrize(("text", "rule"), [
    ("10 files", Scouting(10)), ("1 file", Scouting(1)), ("1000files", Scouting(1000)),
    ("10 files, 80%", Scouting(10, 80)), ("99.5 %, 10 files", Scouting(10, 99.5)),
    ("10 files, memory", Scouting(10, 90, 1.2)), ("10 files, memory x2", Scouting(10, 90, 2)),
    ("10 files, time", Scouting(10, 90, None, 1.5)), ("10 Files, Time * 3, MEMORY x 1", Scouting(10, 90, 1, 3)),
    ("10 files, always", Scouting(10, always=True)),
    ("", None), (None, None), ("None", None), (" none ", None),
])
def test_parts_stand_in_any_order(text, rule):
    """Only the files are needed; nothing at all means that the stage does not scout."""
    assert parse_scout(text) == rule


@pytest.mark.parametrize("text", [
    "some", "0 files", "1001 files", "1.5 files", "-3 files", "90%", "10 files, 101%", "10 files, 0%", "10 files,",
    "10 files, 20 files", "10 files, 80%, 90%", "10 files, always, always", "10 files, memory x0.5",
    "10 files, time x101", "10 files, memory 2GB", "10 jobs", "10 files and 90%", "9" * 400 + " files",
])
def test_what_makes_no_sense_is_refused_with_an_example(text):
    """The message names the key, says what is wrong, and shows what could be written."""
    with pytest.raises(Invalid, match=r"(?s)scout = .*10 files, 90%, memory x1.2, time x1.5") as refused:
        parse_scout(text)
    assert refused.value.problems[0].field == "scout"
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize(("files", "worth"), [(0, False), (10, False), (19, False), (20, True), (1000, True)])
def test_a_small_input_is_not_scouted(files, worth):
    """From twice as many files as the scout has."""
    assert Scouting(10).is_worth_it(files) is worth


@pytest.mark.parametrize(("jobs", "succeeded", "good"), [
    (10, 10, True), (10, 9, True), (10, 8, False), (1, 0, False), (1, 1, True), (0, 0, False)])
def test_the_rest_follows_if_enough_jobs_ended_well(jobs, succeeded, good):
    """At the limit it does; without any job it does not."""
    assert (shortfall(Scouting(10, 90), Measured(jobs, succeeded)) == "") is good


def test_what_was_measured_is_asked_for_with_a_margin():
    """Memory in whole MB, time in whole minutes."""
    rule = Scouting(10, memory_factor=1.2, time_factor=1.5)
    measured = Measured(10, 10, memory_mb=1501, wall_seconds=610)

    assert amounts(rule, measured, memory_cap_mb=None, time_cap_seconds=None) == (("memory", 1802), ("time", 960))


def test_limits_hold():
    """Never above those of the recovery rules."""
    rule = Scouting(10, memory_factor=2, time_factor=2)
    measured = Measured(10, 10, memory_mb=3000, wall_seconds=7200)

    assert amounts(rule, measured, memory_cap_mb=4000, time_cap_seconds=9000) == (("memory", 4000), ("time", 9000))


def test_only_what_the_stage_says_is_asked_for():
    """And only what was measured; what is lacking is said."""
    measured = Measured(10, 10, wall_seconds=600)

    assert amounts(Scouting(10), measured, memory_cap_mb=None, time_cap_seconds=None) == ()
    assert amounts(Scouting(10, memory_factor=1), measured, memory_cap_mb=None, time_cap_seconds=None) == ()
    assert unmeasured(Scouting(10), measured) == ""
    assert unmeasured(Scouting(10, memory_factor=1), measured) == "no job said how much memory it used"


def test_figures_are_told_as_far_as_they_are_known():
    """Memory, the longest job, and the share of the time in which the processor worked."""
    assert Measured(2, 2, 2048, 5400, 0.934).words == "peak memory 2,048 MB, longest job 1.5 h, CPU efficiency 93 %"
    assert Measured(2, 2, wall_seconds=42.4).words == "longest job 42s"
    assert Measured(2, 2).words == ""


# ------------------------------------------------------------------------------ in a campaign's text

TEXT = """[campaign]
name=c
[campaign_defaults]
vo_role=Production
software_version=v1
dataset_or_split_data={dataset}
completion_type=located
completion_pct=95
login_setup=l
job_type=j
[campaign_stage a]
{keys}
[login_setup l]
host=h
account=a
setup=true
[job_type j]
launch_script=true
parameters=[]
output_file_patterns=%
"""
KNOWN = KnownNames(split_types=("nfiles", "multiparam"))


def examined(keys, dataset="raw"):
    text = TEXT.format(keys=keys, dataset=dataset)
    found = examine(text, known=KNOWN).problems
    return read_campaign(parse(text))[0], [(problem.code, problem.message) for problem in found]


def test_a_text_keeps_its_scout_and_writes_it_only_where_there_is_one():
    """Read, written canonically, and read again."""
    campaign, problems = examined("scout=10 files, 90%")

    assert problems == []
    assert campaign.stages[0].scout == "10 files, 90%"
    assert "scout=10 files, 90%\n" in write_campaign(campaign)
    assert "scout" not in write_campaign(examined("")[0])


@pytest.mark.parametrize(("keys", "code", "said"), [
    ("scout=ten files", "bad-scout", "“ten files” is not understood"),
    ("scout=10 files\nstage_type=generator", "scout-without-dataset", "a stage of type generator has no dataset"),
    ("scout=10 files\nstage_type=approval", "scout-without-dataset", "a stage of type approval has no dataset"),
    ("scout=10 files\ncs_split_type=multiparam", "scout-without-dataset", "multiparam, which makes parameters"),
])
def test_what_cannot_scout_is_said_with_the_remedy(keys, code, said):
    """In the stage's own line; nothing is left for the launch to find out."""
    _, problems = examined(keys, '[["a"]]' if "multiparam" in keys else "raw")

    (found,) = [message for found_code, message in problems if found_code == code]
    assert said in found


@pytest.mark.parametrize(("keys", "codes"), [
    ("stage_type=generator", []), ("stage_type=approval", []), ("", []), ("scout=None\ncs_split_type=multiparam", []),
    ("cs_split_type=multiparam", ["scout-without-dataset"])])
def test_a_default_is_for_stages_with_input(keys, codes):
    """Those without any pass it over; a split that makes parameters is told at once, not at the launch."""
    text = TEXT.replace("[campaign_stage a]", "scout=10 files\n[campaign_stage a]").format(
        keys=keys, dataset='[["a"]]' if "multiparam" in keys else "raw")

    assert [problem.code for problem in examine(text, known=KNOWN).problems] == codes
