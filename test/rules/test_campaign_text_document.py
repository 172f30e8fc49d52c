"""The campaign text as lines: nothing is lost, edits touch their own lines, every fault has its line."""

import configparser
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from poms.webservice.errors import Invalid
from poms.webservice.rules.campaign_text import examine, parse, scan

CAMPAIGNS = Path(__file__).parent.parent / "data" / "campaigns"
EXAMPLES = int(os.environ.get("POMS_TEST_EXAMPLES", "1000"))
MANY = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
SOME = settings(MANY, max_examples=EXAMPLES * 2 // 5)

FRAGMENTS = [
    "[campaign]", "[campaign_stage a]", "[campaign_stage b", "[job_type a]", "[dependencies b]", "[campaign_defaults]",
    "completion_pct=1e9", "param_overrides=[[", "recoveries=[[[['a']]]]", "campaign_stage_1=b", "file_pattern_2=%%",
    "cs_split_type=new(,", "merge_overrides=7", "  more", "junk", "# x", "", "[sam_defaults]", "[node_positions]",
    'sam_settings={"virtual": []}', "nxy0=[1]", "data_dispatcher_project_id=x", "name=a\x00b"]

blanks = st.text(" \t", max_size=3)
plain = st.text("abcxyz019_%$()\"'[]{},#;=:é€ \t", max_size=15)
keys = st.text("abcdef_ABC1", min_size=1, max_size=6)
names = st.text("abc XYZ'\"$()é-_.,%#;:=", min_size=1, max_size=8).filter(lambda name: name.strip())
kinds = st.sampled_from(["campaign", "campaign_stage", "login_setup", "odd"])


@st.composite
def entry_lines(draw, number):
    """An entry with odd spacing, perhaps with continuation lines, comments and empty lines in it."""
    key = f"{draw(keys)}{number}"
    indent = draw(st.sampled_from(["", "", "", " "]))
    lines = [indent + key + draw(blanks) + draw(st.sampled_from("=:")) + draw(blanks) + draw(plain)]
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        lines.append(draw(st.sampled_from(["   ", "\t\t"])) + draw(plain))
    return lines


@st.composite
def texts(draw):
    """A text that is right line by line, with everything between the lines that people put there."""
    trivia = st.lists(st.sampled_from(["", "  ", "# a comment", "; another = one", "   # [indented]"]), max_size=2)
    lines = draw(trivia)
    for number in range(draw(st.integers(0, 4))):
        lines += [f"[{draw(kinds)} {draw(names)}{number}]" + draw(st.sampled_from(["", " ", "  # why"]))]
        for entry in range(draw(st.integers(0, 4))):
            lines += draw(trivia) + draw(entry_lines(entry))
        lines += draw(trivia)
    ends = draw(st.sampled_from(["\n", "\r\n", "mixed"]))
    text = "".join(line + (draw(st.sampled_from(["\n", "\r\n"])) if ends == "mixed" else ends) for line in lines)
    if draw(st.booleans()):
        text = text.rstrip("\r\n")
    return draw(st.sampled_from(["", "\ufeff"])) + text


@MANY
@given(texts())
def test_a_text_is_written_back_byte_for_byte(text):
    """Comments, odd spacing, line ends, the byte order mark and a missing last line end all stay."""
    document = parse(text.encode())

    assert document.to_bytes() == text.encode()


@SOME
@given(texts())
def test_lines_mean_what_configparser_says(text):
    """Python's parser without interpolation finds the same sections, keys and values."""
    reference = configparser.ConfigParser(interpolation=None, delimiters=("=", ":"))
    # Comments behind a header are ours alone: the reference would let a name go on into them.
    assume("]  # why" not in text)
    try:
        reference.read_string(text.lstrip("\ufeff").replace("\r\n", "\n"))
    except configparser.DuplicateSectionError:
        assume(False)

    document = parse(text)

    found = [(section.title, {key: value.strip() for key, value in section.values.items()})
             for section in document.sections]
    expected = [(" ".join(title.split(None, 1)), {key: value.strip() for key, value in reference[title].items()})
                for title in reference.sections()]
    assert found == expected


@MANY
@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_a_document_or_invalid(data):
    """Whatever is uploaded, it is read or refused with problems; and what is read is written back."""
    try:
        document = parse(data)
    except Invalid as invalid:
        assert invalid.problems
    else:
        assert document.to_bytes() == data


@MANY
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=25))
def test_any_lines_can_be_examined(lines):
    """Fuzzed campaigns give findings, never another exception, and every problem has a code."""
    text = "\n".join(lines)

    examination = examine(text)

    assert scan(text).document.text == text
    assert all(problem.code and problem.message for problem in (*examination.problems, *examination.warnings))


@MANY
@given(texts(), st.data())
def test_one_changed_value_changes_one_line(text, data):
    """Another value for a one-line key changes that line and no other, and is read again as it was set."""
    document = parse(text)
    single = [(section.title, entry.key) for section in document.sections for entry in section.entries
              if len(entry.lines) == 1]
    assume(single)
    title, key = data.draw(st.sampled_from(single))
    new = data.draw(plain.map(str.strip).filter(bool))
    assume(document.value(title, key) != new)

    changed = document.with_value(title, key, new)

    before, after = document.text.splitlines(keepends=True), changed.text.splitlines(keepends=True)
    different = [number for number, (one, two) in enumerate(zip(before, after, strict=True), 1) if one != two]
    assert different == [document.line_of(title, key)]
    assert parse(changed.to_bytes()).value(title, key) == new


@SOME
@given(texts(), st.data())
def test_an_edit_leaves_every_other_value(text, data):
    """Setting, adding and removing keys and sections never changes what is read of the others."""
    document = parse(text)
    assume(document.sections)
    title = data.draw(st.sampled_from(document.titles))
    known = [entry.key for entry in document.section(title).entries]
    action = data.draw(st.sampled_from(["set", "add", "remove", "drop section", "add section", "rename"]))
    expected = {section.title: {key: value.strip() for key, value in section.values.items()}
                for section in document.sections}
    new = data.draw(st.lists(plain.map(str.strip).filter(lambda line: line and line[0] not in "#;"),
                             min_size=1, max_size=2).map("\n".join))
    if action == "remove" and known:
        key = data.draw(st.sampled_from(known))
        document = document.without_key(title, key)
        del expected[title][key]
    elif action == "drop section":
        document = document.without_section(title)
        del expected[title]
    elif action == "add section":
        document = document.with_section("campaign_stage brand new", {"key": new})
        expected["campaign_stage brand new"] = {"key": new}
    elif action == "rename":
        document = document.with_title(title, "odd renamed")
        expected = {("odd renamed" if name == title else name): keys for name, keys in expected.items()}
    else:
        key = data.draw(st.sampled_from(known)) if action == "set" and known else "zz_added"
        document = document.with_value(title, key, new)
        expected[title][key] = new

    again = parse(document.to_bytes())

    assert {section.title: {key: value.strip() for key, value in section.values.items()}
            for section in again.sections} == expected


# ---------------------------------------------------------------------------------------- examples


@pytest.mark.parametrize("path", sorted(CAMPAIGNS.glob("*.ini")), ids=lambda path: path.stem)
def test_sample_texts_are_kept(path):
    """The sample campaigns survive reading and writing."""
    assert parse(path.read_bytes()).to_bytes() == path.read_bytes()


def test_continuation_lines_belong_to_the_value():
    """Indented lines continue a value; comments among them stay in the text but not in the value."""
    text = "[job_type a]\nlaunch_script = one\n    # why\n    two\n\n    three\nparameters=[]\n"

    document = parse(text)

    assert document.value("job_type a", "launch_script") == "one\ntwo\n\nthree"
    assert document.value("job_type a", "parameters") == "[]"
    changed = document.with_value("job_type a", "launch_script", "only")
    assert changed.text == "[job_type a]\nlaunch_script = only\n    # why\nparameters=[]\n"


def test_an_edit_keeps_the_separator_and_the_comments():
    """The new value stands where the old one stood, in the old style."""
    document = parse("# top\n[campaign]\r\nName  :  old   \r\n; why\r\n")

    assert document.with_value("campaign", "name", "new").text == "# top\n[campaign]\r\nName  :  new\r\n; why\r\n"


def test_a_new_key_takes_its_conventional_place_and_style():
    """A key goes behind its predecessor in the usual order, written as its neighbours are."""
    document = parse("[campaign_stage a]\nvo_role = X\n# the end\ncompletion_pct = 5\n")

    changed = document.with_value("campaign_stage a", "software_version", "v1",
                                  order=("vo_role", "software_version", "completion_pct"))

    assert changed.text == "[campaign_stage a]\nvo_role = X\nsoftware_version = v1\n# the end\ncompletion_pct = 5\n"


def test_a_new_section_takes_its_conventional_place():
    """A stage goes behind the last stage and before the login setups, an empty line on both sides."""
    document = parse("[campaign]\nname=c\n\n[campaign_stage a]\nvo_role=X\n\n# the login\n[login_setup l]\nhost=h\n")

    changed = document.with_section("campaign_stage b", {"vo_role": "Y"})

    assert changed.text == ("[campaign]\nname=c\n\n[campaign_stage a]\nvo_role=X\n\n[campaign_stage b]\nvo_role=Y\n\n"
                            "# the login\n[login_setup l]\nhost=h\n")


def test_a_removed_section_takes_its_comment_along():
    """The comment directly above a header belongs to the section; other comments stay."""
    document = parse("[campaign]\nname=c\n# stays\n\n# of a\n[campaign_stage a]\nx=1\n\n[campaign_stage b]\n")

    assert document.without_section("campaign_stage a").text == "[campaign]\nname=c\n# stays\n\n[campaign_stage b]\n"


def test_a_text_without_last_line_end_can_grow():
    """What is added to a text that ends without a line end starts a line of its own."""
    document = parse("[campaign]\nname=c").with_value("campaign", "state", "Active")

    assert document.text == "[campaign]\nname=c\nstate=Active\n"


def test_every_fault_of_the_lines_is_reported():
    """Duplicates, garbage and lines outside of sections are collected, each with its line and code."""
    text = "lost=1\n[campaign]\nname=a\nname=b\nwhat is this\n[open\n=x\n[campaign]\nname=d\n"

    with pytest.raises(Invalid) as caught:
        parse(text)

    assert [(problem.line, problem.code) for problem in caught.value.problems] == [
        (1, "outside-section"), (4, "duplicate-key"), (5, "garbage-line"), (6, "garbage-line"), (7, "garbage-line"),
        (8, "duplicate-section")]
    assert caught.value.problems[1].field == "campaign/name"


def test_bytes_that_are_not_utf8_are_refused_by_line():
    """Each line with bytes that are not UTF-8 is named."""
    problems = scan(b"[campaign]\nname=\xe9\nstate=\xff\n").problems

    assert [(problem.line, problem.code) for problem in problems] == [(2, "bad-encoding"), (3, "bad-encoding")]


def test_utf16_is_named():
    """A text saved as UTF-16 gets a message that says so."""
    assert "UTF-16" in scan("[campaign]\n".encode("utf-16")).problems[0].message


def test_a_text_that_is_too_large_is_refused_unread():
    """A text above the limit gives one problem, whatever is in it."""
    assert [problem.code for problem in scan(b"\xff" * 5_000_000).problems] == ["too-large"]
    assert [problem.code for problem in scan("é" * 600_000).problems] == ["too-large"]
    assert scan(b"#" * 50, limit=50).problems == ()


@pytest.mark.parametrize("line", ["[campaign_stage a\x00b]", "[campaign_stage a\tb]", "[campaign_stage a\u202eb]",
                                  "[campaign]\nname=a\x07b", "[campaign]\nname=a\n  b\x00", "# \x00"])
def test_control_characters_are_refused(line):
    """Control characters in names and values, and NUL anywhere, are refused."""
    assert [problem.code for problem in scan(line).problems] == ["control-character"]


@pytest.mark.parametrize("value", ["a\n[job_type evil]", "a\nname=b", "a\r[x]\rb"])
def test_a_value_cannot_break_out_of_its_key(value):
    """Line ends in a value become continuation lines: no value can add a section or a key."""
    document = parse("[campaign]\nname=x\n").with_value("campaign", "name", value)

    again = parse(document.to_bytes())
    assert again.titles == ("campaign",)
    assert list(again.section("campaign").values) == ["name"]


@pytest.mark.parametrize(("title", "key", "value"), [
    ("campaign_stage a\n[x]", "k", "v"), ("campaign_stage a]b", "k", "v"), ("campaign", "a=b", "v"),
    ("campaign", "#k", "v"), ("campaign", "k\nl", "v"), ("campaign", "k", "a\x00"), ("campaign", "k", "a\n#lost"),
    ("campaign", "", "v")])
def test_what_the_syntax_cannot_express_is_not_written(title, key, value):
    """Names and values that would be read differently are refused, never written differently."""
    with pytest.raises(Invalid):
        parse("[campaign]\nname=c\n").with_value(title, key, value)


def test_hostile_names_are_kept():
    """Quotes, dollar signs and letters of other scripts are just letters."""
    name = "it's \"$(touch x)\" `y` Ωμέγα 日本 %s; #1"

    document = parse("").with_section(f"campaign_stage {name}", {"vo_role": name})

    assert parse(document.to_bytes()).value(f"campaign_stage {name}", "vo_role") == name
