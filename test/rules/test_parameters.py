"""Launch parameters: which value wins, and that substitution never does more than it says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poms.webservice.errors import Invalid
from poms.webservice.rules import parameters

HOSTILE = ["", "it's", '"', "$(touch x)", "`id`", "a\nb", "%s", "%%", "%(dataset)s", "Größe 東京 🛰", "; rm -rf /", "\\",
           "{0}", "%(x)", "\t"]


def _launch(**lists):
    empty = {"job_type": (), "campaign": (), "merge_overrides": False, "stage": (), "launch": (), "test": (),
             "is_test": False}
    return parameters.launch_parameters(**(empty | lists))


def test_a_later_value_takes_the_place_of_an_earlier_one():
    """The place of a key is where it came first; its value is the last one."""
    merged = parameters.merge([["-a=", "1"], ["-b=", "1"]], [["-c=", "3"], ["-a=", "2"]])

    assert merged == [("-a=", "2"), ("-b=", "1"), ("-c=", "3")]


@pytest.mark.parametrize(("lists", "value"), [
    ({"job_type": "j"}, "j"),
    ({"job_type": "j", "stage": "s"}, "s"),
    ({"job_type": "j", "campaign": "c"}, "j"),
    ({"job_type": "j", "campaign": "c", "merge_overrides": True}, "c"),
    ({"campaign": "c", "merge_overrides": True, "stage": "s"}, "s"),
    ({"stage": "s", "launch": "l"}, "l"),
    ({"stage": "s", "test": "t"}, "s"),
    ({"stage": "s", "test": "t", "is_test": True}, "t"),
    ({"stage": "s", "test": "t", "is_test": True, "launch": "l"}, "l"),
])
def test_precedence(lists, value):
    """Job type, campaign (if merged), stage, launch; of a test launch, test overrides before the launch's own."""
    given_lists = {key: ([["-x=", item]] if isinstance(item, str) else item) for key, item in lists.items()}

    assert _launch(**given_lists) == [("-x=", value)]


def test_key_and_value_are_glued():
    """A key ends as its author wrote it; nothing is put between key and value."""
    assert parameters.join_command(" run.sh ", [("-c ", "a.cfg"), ("--flag", ""), ("-n=", "3")]) \
        == "run.sh -c a.cfg --flag -n=3"


@pytest.mark.parametrize("value", HOSTILE)
def test_values_are_put_in_once(value):
    """A value is put in as it is: what it contains is not substituted again."""
    assert parameters.substitute("<%(dataset)s>", {"dataset": value}, "place") == f"<{value}>"


def test_two_percent_signs_are_one():
    """%% is how a per cent sign is written, so that %%(x)s leaves %(x)s to the launcher itself."""
    assert parameters.substitute("100%% %%(x)s %(y)s", {"y": "why"}, "place") == "100% %(x)s why"


@pytest.mark.parametrize(("text", "code"), [
    ("%(nope)s", "unknown-variable"), ("50% of it", "lone-percent"), ("%", "lone-percent"), ("%s", "lone-percent"),
    ("%(dataset)d", "bad-substitution"), ("%(dataset)", "bad-substitution"), ("%(dataset", "lone-percent"),
    ("%()s", "unknown-variable"), ("%(dataset )s", "unknown-variable"), ("%(__class__)s", "unknown-variable"),
    ("%(\n)s", "unknown-variable"), ("%\n", "lone-percent"),
])
def test_what_cannot_be_substituted_is_named(text, code):
    """Unknown names and stray per cent signs are refused, with the place where they stand."""
    with pytest.raises(Invalid) as refused:
        parameters.substitute(text, {"dataset": "raw"}, "the place")

    assert [(problem.field, problem.code) for problem in refused.value.problems] == [("the place", code)]


def test_every_problem_is_told_at_once():
    """Not only the first mistake is named."""
    with pytest.raises(Invalid) as refused:
        parameters.substitute("%(a)s %(b)s %", {}, "place")

    assert len(refused.value.problems) == 3


@given(st.text(), st.dictionaries(st.text(max_size=5), st.text(max_size=5)))
def test_any_text_is_substituted_or_refused(text, variables):
    """No text makes substitution do anything but give a text or name what is wrong."""
    try:
        result = parameters.substitute(text, variables, "place")
    except Invalid as refused:
        assert refused.problems
    else:
        assert isinstance(result, str)
        assert "%" in text or result == text


@given(st.text())
def test_escaped_text_comes_back(text):
    """A text whose per cent signs were doubled comes out as it was."""
    assert parameters.substitute(text.replace("%", "%%"), {}, "place") == text


def _variables(**changes):
    values = {"keywords": {}, "dataset": "raw", "version": "v1", "group": "nova", "experimenter": "ann",
              "experiment": "nova"}
    return parameters.launch_variables(**(values | changes))


def test_names_that_launch_commands_know():
    """Dataset and parameter are the same text; the system's names and the campaign's keywords."""
    assert _variables(keywords={"run": 7}) == {
        "dataset": "raw", "parameter": "raw", "version": "v1", "group": "nova", "experimenter": "ann",
        "experiment": "nova", "run": "7"}


def test_a_keyword_cannot_pose_as_the_system():
    """A campaign's keyword called like a system name does not replace it."""
    assert _variables(keywords={"experimenter": "root", "dataset": "other"})["experimenter"] == "ann"


def test_keywords_are_filled_into_the_stages_own_texts():
    """Dataset and version may contain keywords; a lone per cent sign in them is left alone."""
    found = _variables(keywords={"run": "7"}, dataset="raw_%(run)s", version="v%(run)s", group="100%")

    assert (found["dataset"], found["version"], found["group"]) == ("raw_7", "v7", "100%")


def test_an_unknown_keyword_in_a_dataset_is_named():
    """A keyword that the campaign does not have is a mistake, not a dataset of that name."""
    with pytest.raises(Invalid, match="nope"):
        _variables(dataset="raw_%(nope)s")


def test_login_setups_know_the_systems_names_only():
    """What a campaign calls its keywords is no business of a login setup."""
    assert "run" not in parameters.system_variables(_variables(keywords={"run": "7"}))
