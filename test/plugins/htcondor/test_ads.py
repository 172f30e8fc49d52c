"""Texts as ClassAd strings, conditions that select jobs, and ads as job records."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poms.plugins.htcondor import ads
from poms.webservice.errors import Invalid
from poms.webservice.interfaces import JobState
from poms.webservice.rules import hold_codes

SCHEDD = "schedd.example"


def an_ad(**changes):
    return {"POMS4_SUBMISSION_ID": 42, "ClusterId": 7, "ProcId": 3, "JobUniverse": 5, "JobStatus": 4,
            "EnteredCurrentStatus": 1_800_000_100, **changes}


def as_submitted(text):
    """What HTCondor's own parser makes of a string in a submit description, after the macros."""
    classad = pytest.importorskip("classad2", reason="htcondor: the Python package htcondor is not installed")
    line = f"Name = {ads.quote(text)}".replace("$(DOLLAR)", "$")
    return classad.parseOne(line, classad.ParserType.Old)["Name"]


TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.text('\\"$( \n')


@given(TEXTS)
def test_any_text_becomes_one_string(text):
    """Quotes, dollars and unicode arrive as they were written; what no string can hold is a blank."""
    expected = "".join(" " if character < " " or character == "\x7f" else character for character in text)

    assert as_submitted(text) == re.sub(r"\$\$(?=\w*[(\[])", "$$ ", expected)


@given(TEXTS)
def test_a_quoted_text_has_nothing_that_a_submit_description_acts_on(text):
    """It is one line without macros, and every quotation mark in it is escaped."""
    quoted = ads.quote(text)

    assert not set(quoted) & {"\n", "\r", "\0"}
    # The marks stand where something was: without them, what is left and right of it would meet.
    assert not re.search(r"\$\w*[(\[]", quoted.replace("$(DOLLAR)", "~").replace("$$ ", "~").replace("$[", "~"))
    assert '"' not in quoted[1:-1].replace('\\"', "")


def test_a_macro_of_the_match_is_disarmed():
    """HTCondor would hold a job for a stage called $$(x): it is changed visibly."""
    assert as_submitted("stage $$(Name)") == "stage $$ (Name)"


@pytest.mark.parametrize(("text", "parts"), [
    ("12.3@schedd.example", (12, 3, "schedd.example")),
    ("12@schedd-01.example", (12, None, "schedd-01.example")),
    ("12.0@small@schedd.example", (12, 0, "small@schedd.example")),
])
def test_job_ids_name_cluster_proc_and_schedd(text, parts):
    """Schedds may have hyphens, and a name of their own before their host's."""
    assert ads.parse_job_id(text) == parts


@pytest.mark.parametrize("text", ["", "12", "12.3", "a@b", "12.@x", "12.3@", "-1@x", "12.3@x y", "12 || true@x"])
def test_other_texts_are_no_job_ids(text):
    """What is not an id is refused before it becomes part of a condition."""
    with pytest.raises(Invalid):
        ads.parse_job_id(text)


def test_neighbouring_jobs_are_selected_by_ranges():
    """A condition stays short for many jobs of one cluster."""
    jobs = [(7, proc) for proc in range(1000)] + [(8, None), (8, 3), (9, 5)]

    assert ads.of_jobs(jobs) == ("ClusterId == 8 || (ClusterId == 7 && ((ProcId >= 0 && ProcId <= 999))) || "
                                 "(ClusterId == 9 && (ProcId == 5))")


def test_no_jobs_select_nothing():
    """An empty selection must never become everything."""
    assert ads.of_jobs([]) == "false"
    assert ads.of_submissions([]) == "member(POMS4_SUBMISSION_ID, {})"


@pytest.mark.parametrize(("ad", "state"), [
    ({"JobStatus": 4, "ExitBySignal": False, "ExitCode": 0, "CompletionDate": 1}, JobState.COMPLETED),
    ({"JobStatus": 4, "ExitBySignal": False, "ExitCode": 1, "CompletionDate": 1}, JobState.FAILED),
    ({"JobStatus": 4, "ExitBySignal": True, "ExitSignal": 9, "CompletionDate": 1}, JobState.FAILED),
    ({"JobStatus": 3, "ExitBySignal": False, "ExitCode": 0, "CompletionDate": 9}, JobState.COMPLETED),
    ({"JobStatus": 3, "ExitBySignal": False, "ExitCode": 5, "CompletionDate": 9}, JobState.FAILED),
    ({"JobStatus": 3}, JobState.REMOVED),
    ({"JobStatus": 3, "ExitBySignal": False, "CompletionDate": 0}, JobState.REMOVED),
    ({"JobStatus": 3, "ExitBySignal": False, "ExitCode": 5, "CompletionDate": 0}, JobState.REMOVED),
    ({"JobStatus": 3, "ExitBySignal": True, "ExitSignal": 63, "CompletionDate": 9}, JobState.REMOVED),
])
def test_how_a_job_ended(ad, state):
    """The exit counts first, because finished jobs are removed while their output waits; then the status."""
    assert ads.final_state(an_ad(**ad)) == state


@pytest.mark.parametrize(("ad", "stuck", "state"), [
    ({"JobStatus": 1}, False, JobState.IDLE), ({"JobStatus": 2}, False, JobState.RUNNING),
    ({"JobStatus": 6}, False, JobState.RUNNING), ({"JobStatus": 7}, False, JobState.RUNNING),
    ({"JobStatus": 5, "HoldReasonCode": 1}, False, JobState.HELD),
    ({"JobStatus": 5, "HoldReasonCode": 16}, False, JobState.IDLE),
    ({"JobStatus": 5, "HoldReasonCode": 16}, True, JobState.HELD),
    ({"JobStatus": 3}, False, None), ({"JobStatus": 4}, False, None),
])
def test_states_in_the_queue(ad, stuck, state):
    """A job whose input is on its way waits; one that only waits to be cleared away is not live."""
    assert ads.live_state(an_ad(**ad), is_stuck=stuck) == state


@pytest.mark.parametrize(("code", "subcode", "expected"), [
    (1, 0, 1), (21, 102, 34), (26, 104, 34), (21, 0, 21), (3, 9006, 6), (3, 9012, 12), (3, 9013, 13), (3, 42, 3),
    (34, 102, 34),
])
def test_the_same_trouble_has_the_same_hold_code(code, subcode, expected):
    """Memory is 34 whichever policy noticed it; what our job wrapper reports has the code of its cause."""
    assert ads.hold_code(an_ad(HoldReasonCode=code, HoldReasonSubCode=subcode)) == expected


def test_every_hold_code_has_a_meaning():
    """Also one that HTCondor invents tomorrow."""
    for code in [*range(0, 100), 1000, None]:
        found = hold_codes.meaning(code)
        assert found.title
        assert found.remedy


def test_a_running_job_is_measured_by_the_schedds_clock():
    """The wall time of a run that goes on comes from the schedd's clock alone, whatever ours says."""
    record = ads.record(an_ad(JobStatus=2, JobCurrentStartDate=1_800_000_000, ServerTime=1_800_000_090,
                              RemoteHost="slot1_2@glidein_7@node.example", RemoteWallClockTime=5.0), SCHEDD,
                        JobState.RUNNING)

    assert (record.wall_seconds, record.node, record.attempts) == (90.0, "node.example", 1)


def test_the_site_is_that_of_the_match():
    """An expression that was never filled in is no site."""
    assert ads.record(an_ad(MATCH_EXP_JOB_GLIDEIN_Site="FNAL"), SCHEDD, JobState.COMPLETED).site == "FNAL"
    assert ads.record(an_ad(MATCH_EXP_JOB_GLIDEIN_Site="$$(GLIDEIN_Site:Unknown)"), SCHEDD, JobState.IDLE).site == ""


def test_dagman_leaders_are_no_jobs():
    """They carry the submission's id, but run on the schedd and process nothing."""
    assert not ads.is_job(an_ad(JobUniverse=7))


def test_a_text_in_place_of_the_id_is_no_submission():
    """An ad of somebody else's making is left alone."""
    assert not ads.is_job(an_ad(POMS4_SUBMISSION_ID="42"))


@pytest.mark.parametrize(("ad", "project"), [
    ({"SAM_PROJECT_NAME": "p1", "Arguments": "--sam_project p2"}, "p1"),
    ({"Arguments": "-x --sam_project p2 y"}, "p2"), ({"Args": "--project_name=p3"}, "p3"),
    ({"Environment": "A=1 SAM_PROJECT_NAME='it''s p4' SAM_PROJECT=p5"}, "it's p4"),
    ({"Env": "B=1;SAM_PROJECT=p6"}, "p6"),
    ({}, ""),
])
def test_the_project_is_found_wherever_it_is_said(ad, project):
    """Launchers say it as an attribute, as an argument, or in the environment."""
    assert ads.clusters([an_ad(**ad)], SCHEDD)[0].project == project


def test_a_cluster_counts_each_job_once():
    """A job may be seen in the queue and, a moment later, in the history."""
    seen = [an_ad(ProcId=0), an_ad(ProcId=1), an_ad(ProcId=1), an_ad(ClusterId=9, TotalSubmitProcs=50)]

    assert [(found.batch_id, found.jobs) for found in ads.clusters(seen, SCHEDD)] == [(f"7@{SCHEDD}", 2),
                                                                                     (f"9@{SCHEDD}", 50)]


@pytest.mark.parametrize(("ad", "growing"), [
    ({"TotalSubmitProcs": 9}, False),
    ({"TotalSubmitProcs": 9, "JobMaterializeNextProcId": 8}, True),
    ({"TotalSubmitProcs": 9, "JobMaterializeNextProcId": 9}, False),
    ({"JobMaterializeNextProcId": 3}, False),
    ({"TotalSubmitProcs": 1, "JobUniverse": ads.DAGMAN_UNIVERSE}, True),
])
def test_graphs_and_factories_grow(ad, growing):
    """DAGMan adds jobs as long as it is there, a job factory until its next job would be one too many."""
    assert ads.is_growing(an_ad(**ad)) is growing
