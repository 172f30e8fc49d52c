"""From the editor's form to the text: what is not edited stays byte for byte, and two people's edits are joined."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poms.webservice.errors import Invalid
from poms.webservice.rules.campaign_form import apply, form_from, form_of, merge, plain
from poms.webservice.rules.campaign_text import parse, read

TEXT = (Path(__file__).parents[2] / "templates" / "campaigns" / "sbnd_mc" / "campaign.ini").read_text()
ODD = """; old style, by hand

[campaign]
Name : odd
campaign_stage_list = a, b

[campaign_defaults]
campaign_keywords = {"x": "1"}
vo_role: Production
cs_split_type=None
sam_settings = {"dataset_or_split_data": "ds", "idle_timeout": 5}

[data_dispatcher_defaults]
query = files from x

  # about a
[campaign_stage a]
# kept
param_overrides = [["-O=", "1"],
    # in between
    ["-P=", "2"]]
completion_pct = lots
unknown = stays
[campaign_stage b]
dataset_or_split_data =
[dependencies b]
campaign_stage_3 = a
file_pattern_3 = %%.root
[dependencies ghost]
campaign_stage_1 = a
"""
KEYS = ("vo_role", "software_version", "completion_pct", "param_overrides", "dataset_or_split_data", "job_type",
        "data_dispatcher_dataset_query", "merge_overrides", "cs_split_type")
VALUES = st.sampled_from(["", "None", "v2", "[]", '[["-x=", "$(rm) \\"q\\" ünï"]]', "True", "7", "%(dataset)s", "a;b"])


def edited(text, change):
    """The text after the form of it was changed."""
    document = parse(text)
    form = copy.deepcopy(plain(form_of(document)))
    change(form)
    return apply(document, form_from(form))


@pytest.mark.parametrize("text", [TEXT, ODD, ODD.replace("\n", "\r\n"), TEXT.rstrip("\n")])
def test_a_form_that_was_not_changed_changes_nothing(text):
    """Opening and applying is the same text, byte for byte."""
    done = edited(text, lambda form: json.loads(json.dumps(form)))

    assert done.document.text == text
    assert done.problems == ()


@settings(max_examples=150)
@given(st.sampled_from([TEXT, ODD]), st.lists(st.tuples(st.integers(0, 4), st.sampled_from(KEYS), VALUES), max_size=6),
       st.lists(st.tuples(st.sampled_from(KEYS), VALUES), max_size=3))
def test_random_edits_leave_other_lines_alone(text, stage_edits, default_edits):
    """Each line that differs belongs to a key that was edited; the form of the new text says what was wanted."""
    document = parse(text)
    form = plain(form_of(document))
    touched = set()
    for number, key, value in stage_edits:
        stage = form["stages"][number % len(form["stages"])]
        stage["values"].pop(key, None) if value in ("", "None") else stage["values"].update({key: value})
        touched.add(key)
    for key, value in default_edits:
        form["defaults"].pop(key, None) if value in ("", "None") else form["defaults"].update({key: value})
        touched.add(key)

    done = apply(document, form_from(form))

    assert done.problems == ()
    assert plain(form_of(done.document)) == form
    # Other spellings under which old texts keep the same keys.
    words = touched | {"sam_settings", "data_dispatcher_settings", "query", "dataset_query"}
    kept = [line for line in text.splitlines() if line.startswith(("#", ";", "[")) or not any(
        line.strip().startswith(word) for word in words) and not line.startswith(" ")]
    left = iter(done.document.text.splitlines())
    assert all(line in left for line in kept), "a line that was not edited is gone or moved"


@settings(max_examples=100)
@given(st.lists(st.tuples(st.sampled_from(["add", "delete", "rename", "link", "unlink", "place"]), st.integers(0, 9),
                          st.integers(0, 9)), max_size=8))
def test_random_changes_of_the_graph_come_out_in_the_text(steps):
    """Stages, names, dependencies and places of the text are those of the form, comments of the others stay."""
    form = plain(form_of(parse(TEXT)))
    for number, (what, one, other) in enumerate(steps):
        names = [stage["name"] for stage in form["stages"]]
        change_graph(form, what, names[one % len(names)], names[other % len(names)], f"new{number}")

    done = apply(parse(TEXT), form_from(form))

    campaign = read(done.document).campaign
    assert done.problems == ()
    assert sorted(stage.name for stage in campaign.stages) == sorted(stage["name"] for stage in form["stages"])
    assert {(each.needs, each.consumer, each.file_pattern) for each in campaign.dependencies} == {
        (each["needs"], each["consumer"], each["pattern"]) for each in form["dependencies"]}
    assert {(each.label, each.x) for each in campaign.node_positions} == {
        (each["label"], each["x"]) for each in form["positions"]}
    assert done.document.text.startswith(TEXT[:TEXT.index("campaign_stage_list")])


def change_graph(form, what, one, other, new):
    links = form["dependencies"]
    if what == "add":
        form["stages"].append({"name": new, "was": "", "values": {}})
    elif what == "delete" and len(form["stages"]) > 1:
        form["stages"] = [stage for stage in form["stages"] if stage["name"] != one]
        form["dependencies"] = [each for each in links if one not in (each["needs"], each["consumer"])]
        form["positions"] = [each for each in form["positions"] if each["label"] != one]
    elif what == "rename":
        for stage in form["stages"]:
            stage["name"] = new if stage["name"] == one else stage["name"]
        for each in links:
            each |= {end: new for end in ("needs", "consumer") if each[end] == one}
        for each in form["positions"]:
            each["label"] = new if each["label"] == one else each["label"]
    elif what == "link" and not any((each["needs"], each["consumer"]) == (one, other) for each in links):
        links.append({"needs": one, "consumer": other, "pattern": f"{new}_%.root"})
    elif what == "unlink" and links:
        links.pop()
    elif what == "place" and not any(each["label"] == one for each in form["positions"]):
        form["positions"].append({"label": one, "x": 10, "y": -3.5})


def test_two_stages_can_exchange_their_names():
    """Each keeps its own values and dependencies."""
    def swap(form):
        first, second = form["stages"][0], form["stages"][1]
        first["name"], second["name"] = second["name"], first["name"]
        names = {first["was"]: first["name"], second["was"]: second["name"]}
        for each in form["dependencies"]:
            each |= {end: names.get(each[end], each[end]) for end in ("needs", "consumer")}

    campaign = read(edited(TEXT, swap).document).campaign

    assert campaign.stage("g4").stage_type == "generator"
    assert {(each.needs, each.consumer) for each in campaign.dependencies} >= {("g4", "gen"), ("gen", "detsim")}


def test_a_value_that_no_text_can_have_is_told_and_the_rest_is_done():
    """One refused change does not stop the others, and is named."""
    def change(form):
        form["stages"][0]["values"]["software_version"] = "a\x07b"
        form["stages"][1]["values"]["software_version"] = "v9"

    done = edited(TEXT, change)

    assert [problem.code for problem in done.problems] == ["control-character"]
    assert done.document.value("campaign_stage g4", "software_version") == "v9"


@pytest.mark.parametrize("name", [
    '"><svg onload=1>', "$(rm -rf)", "משהו", "a'b", "%", "=", "# no comment", "x" * 10_000])
def test_hostile_names_are_names(name):
    """They come back as they were given."""
    done = edited(TEXT, lambda form: form["stages"].append({"name": name, "was": "", "values": {"vo_role": "x"}}))

    assert form_of(parse(done.document.text)).stages[-1].name == name


@pytest.mark.parametrize("sent", [
    [], None, {"stages": {}}, {"stages": [{"name": 1}]}, {"defaults": {"no_such_key": "x"}},
    {"defaults": {"vo_role": 1}},
    {"positions": [{"label": "a", "x": float("nan"), "y": 0}]}, {"positions": [{"label": "a", "x": True, "y": 0}]},
    {"dependencies": [{"needs": "", "consumer": "b", "pattern": "%"}]}, {"stages": [{"name": "a"}] * 6000},
    {"campaign": {"experiment": "nova"}}])
def test_what_is_no_form_is_refused(sent):
    """Whatever a program sends instead."""
    with pytest.raises(Invalid):
        form_from(sent)


# --------------------------------------------------------------------------------------- two people


def joined(theirs, mine):
    """What two changes of the same text come to."""
    base = parse(TEXT)
    forms = []
    for change in (theirs, mine):
        form = copy.deepcopy(plain(form_of(base)))
        change(form)
        forms.append(form_from(form))
    their_document = apply(base, forms[0]).document
    merged = merge(form_of(base), form_of(their_document), forms[1])
    return apply(their_document, merged.form).document, merged.clashes


def test_changes_of_different_things_are_both_kept():
    """One changes a value, the other adds a stage and a dependency."""
    def mine(form):
        form["stages"].append({"name": "caf", "was": "", "values": {}})
        form["dependencies"].append({"needs": "reco", "consumer": "caf", "pattern": "%"})

    document, clashes = joined(lambda form: form["stages"][2]["values"].update(completion_pct="70"), mine)

    assert clashes == ()
    assert document.value("campaign_stage detsim", "completion_pct") == "70"
    assert document.value("dependencies caf", "campaign_stage_1") == "reco"


def test_a_value_that_both_changed_is_mine_and_told():
    """Nothing is overwritten without a word."""
    document, clashes = joined(lambda form: form["defaults"].update(software_version="theirs"),
                               lambda form: form["defaults"].update(software_version="mine"))

    assert document.value("campaign_defaults", "software_version") == "mine"
    assert [(each.where, each.theirs, each.mine) for each in clashes] == [
        ("campaign_defaults/software_version", "theirs", "mine")]


def test_a_stage_that_i_deleted_and_they_changed_is_kept():
    """Deleting somebody's work is for people to decide."""
    def delete(form):
        form["stages"] = [stage for stage in form["stages"] if stage["name"] != "anatree"]
        form["dependencies"] = [each for each in form["dependencies"] if each["consumer"] != "anatree"]

    document, clashes = joined(lambda form: form["stages"][4]["values"].update(completion_pct="70"), delete)

    assert document.value("campaign_stage anatree", "completion_pct") == "70"
    assert [each.where for each in clashes] == ["campaign_stage anatree"]


def test_a_stage_that_i_renamed_takes_their_change_along():
    """It is still the stage that they changed."""
    def rename(form):
        change_graph(form, "rename", "g4", "", "geant")

    document, clashes = joined(lambda form: form["stages"][1]["values"].update(completion_pct="70"), rename)

    assert clashes == ()
    assert document.value("campaign_stage geant", "completion_pct") == "70"
    assert document.section("campaign_stage g4") is None
    assert document.value("dependencies detsim", "campaign_stage_1") == "geant"
