"""What a campaign text means: values, defaults, problems with their remedies, writing, changes, differences."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from poms.webservice.errors import Invalid
from poms.webservice.rules.campaign_text import (
    Campaign,
    Change,
    Defaults,
    Dependency,
    JobType,
    KnownNames,
    LoginSetup,
    NodePosition,
    check,
    diff,
    examine,
    launch_order,
    parse,
    read,
    read_campaign,
    rename_campaign,
    rename_stage,
    stage_with,
    text_diff,
    update_document,
    with_defaults,
    write_campaign,
)

CAMPAIGNS = Path(__file__).parent.parent / "data" / "campaigns"
CHAIN = (CAMPAIGNS / "chain.ini").read_text()
DISPATCHER = (CAMPAIGNS / "dispatcher.ini").read_text()
KNOWN = KnownNames(login_setups={"demo_analysis": None}, job_types={"dd_calibrate_job": None},
                   split_types=("nfiles", "draining", "drainingn", "multiparam", "limitn", "mod"))
ONE = """[campaign]
name=c
[campaign_defaults]
vo_role=Production
software_version=v1
dataset_or_split_data=raw
completion_type=located
completion_pct=95
login_setup=l
job_type=j
[campaign_stage a]
"""


def campaign_of(text):
    """The campaign of a text that must be readable."""
    return read_campaign(parse(text))[0]


def problems_of(text, **arguments):
    """(field, code, line) of everything that forbids saving a text."""
    return [(problem.field, problem.code, problem.line) for problem in examine(text, **arguments).problems]


def codes_of(text, **arguments):
    return [problem.code for problem in examine(text, **arguments).problems]


def stage_of(keys, defaults=""):
    """The stage a, with these lines, of a campaign with usual defaults."""
    return campaign_of(ONE.replace("[campaign_stage a]", defaults + "\n[campaign_stage a]") + keys).stage("a")


# ---------------------------------------------------------------------------------------- the samples


def test_the_chain_is_read():
    """Stages, dependencies, login setups and job types of the sample arrive as values."""
    campaign = campaign_of(CHAIN)

    assert (campaign.name, dict(campaign.keywords)) == ("muon_pairs_7", {"beam": "mu+", "energy": "5GeV"})
    assert [stage.name for stage in campaign.stages] == ["produce", "reconstruct", "look", "collect"]
    assert campaign.dependencies[1] == Dependency("look", "reconstruct", "data_tier reconstructed")
    assert campaign.job_types[1].recoveries[1] == ("process_status", (("-Osubmit.memory=", "3500MB"),))
    assert campaign.login_setups[0].setup == "source demo_env.sh; setup democode %(version)s"


def test_stages_inherit_what_they_leave_out():
    """A key that a stage leaves out has the default's value, and the stage says so."""
    stage = campaign_of(CHAIN).stage("collect")

    assert (stage.completion_pct, stage.login_setup, stage.job_type) == (99.5, "demo_prod", "demo_collect")
    assert "login_setup" in stage.inherited
    assert "job_type" not in stage.inherited


def test_the_chain_is_the_canonical_text():
    """The sample, which is in the usual order, is written exactly as it is."""
    assert write_campaign(campaign_of(CHAIN)) == CHAIN


def test_the_dispatcher_sample_has_no_problems():
    """A stage with a MetaCat query needs no dataset; its login setup and job type exist already."""
    examination = examine(DISPATCHER, known=KNOWN)

    assert (examination.problems, examination.warnings) == ((), ())
    assert examination.campaign.data_handling_service == "data_dispatcher"
    assert examination.campaign.stages[0].data_dispatcher_dataset_query.startswith("files from demo:raw")


# -------------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize("key", ["cs_split_type", "test_split_type", "dataset_or_split_data", "param_overrides",
                                 "data_dispatcher_project_id"])
def test_none_in_a_stage_overrides_the_default(key):
    """None says that there is none, even where the default has a value."""
    default = {"cs_split_type": "nfiles(2)", "test_split_type": "nfiles(1)", "dataset_or_split_data": "",
               "param_overrides": '[["a", "b"]]', "data_dispatcher_project_id": "7"}[key]
    defaults = f"{key}={default}" if default else ""

    assert not getattr(stage_of(f"{key}=None", defaults), key)
    assert getattr(stage_of(f"{key}=", defaults), key)


@pytest.mark.parametrize("key", ["vo_role", "completion_pct", "login_setup", "completion_type"])
def test_none_of_a_needed_key_is_not_set(key):
    """Where a stage cannot do without a value, None means that the default counts."""
    assert getattr(stage_of(f"{key}=None"), key) == getattr(stage_of(""), key)


def test_double_percent_is_one():
    """Patterns from the time of interpolation mean what they were meant to."""
    campaign = campaign_of("[job_type j]\noutput_file_patterns=a%%.root, b_%%\n"
                           "[dependencies b]\ncampaign_stage_1=a\nfile_pattern_1=%%.root\n")

    assert campaign.job_types[0].output_file_patterns == ("a%.root", "b_%")
    assert campaign.dependencies[0].file_pattern == "%.root"


def test_a_dependency_without_pattern_takes_every_file():
    """A missing pattern is %, and an output pattern None is % as well."""
    campaign = campaign_of("[job_type j]\noutput_file_patterns=None\n[dependencies b]\ncampaign_stage_1=a\n")

    assert campaign.dependencies == (Dependency("b", "a", "%"),)
    assert campaign.job_types[0].output_file_patterns == ("%",)


def test_file_patterns_are_a_list_unless_a_query():
    """Commas separate patterns; a pattern with a blank is one query fragment."""
    assert Dependency("b", "a", "x%.root,y%.root").file_patterns == ("x%.root", "y%.root")
    assert Dependency("b", "a", "data_tier a, b").file_patterns == ("data_tier a, b",)


@pytest.mark.parametrize("text", [
    '[["-a=", "1"], ["-b", "x y"]]', "[['-a=', '1'], ['-b', 'x y']]", "[('-a=', 1), ('-b', 'x y')]",
    '[[["-a=", "1"], ["-b", "x y"]]]', '"[[\\"-a=\\", \\"1\\"], [\\"-b\\", \\"x y\\"]]"',
    '["[[\\"-a=\\", \\"1\\"], [\\"-b\\", \\"x y\\"]]"]',
    '[["-a=", 1], ["-b", "x y"], []]', '{"-a=": "1", "-b": "x y"}'])
def test_parameters_in_every_spelling(text):
    """Lists that old programs encoded twice, wrapped, or wrote as Python are still the same parameters."""
    assert stage_of(f"param_overrides={text}").param_overrides == (("-a=", "1"), ("-b", "x y"))


@pytest.mark.parametrize(("text", "column"), [('[["a", "b"', 27), ('[["a" "b"]]', 23), ("[['it's', 'b']]", 19)])
def test_bad_json_is_reported_with_its_column(text, column):
    """A list that cannot be read is a problem of its line, with the column where reading stopped."""
    problem = examine(ONE + f"param_overrides={text}\n").problems[0]

    assert (problem.field, problem.code, problem.line) == ("campaign_stage a/param_overrides", "bad-json", 12)
    assert f"(column {column})" in problem.message


def test_a_fault_in_a_continued_value_has_its_own_line():
    """In a value of several lines the line of the fault is named, not that of the key."""
    problem = examine(ONE + 'param_overrides=[["a", "b"],\n   ["c" "d"]]\n').problems[0]

    assert problem.line == 13
    assert "(column 9)" in problem.message


@pytest.mark.parametrize("text", ['["a", "b"]', '[["a", "b", "c"]]', '[["a", ["b"]]]', "7", '"text"', "[" * 5000,
                                  '[["\\ud800", "x"]]', '[["a", "\\u0000"]]', "__import__('os')", "[NaN]"])
def test_what_is_not_parameters_is_refused(text):
    """Only lists of pairs are parameters; nothing is guessed and nothing is evaluated."""
    assert codes_of(ONE + f"param_overrides={text}\n", known=KnownNames()) == ["bad-json"]


@pytest.mark.parametrize(("key", "value", "code"), [
    ("merge_overrides", "maybe", "bad-boolean"), ("default_clear_cronjob", "2", "bad-boolean"),
    ("completion_pct", "all", "bad-number"), ("completion_pct", "0", "bad-number"),
    ("completion_pct", "100.1", "bad-number"), ("completion_pct", "nan", "bad-number"),
    ("completion_pct", "1e999", "bad-number"), ("completion_pct", "-5", "bad-number"),
    ("output_ancestor_depth", "0", "bad-number"), ("output_ancestor_depth", "1.5", "bad-number"),
    ("output_ancestor_depth", "9" * 5000, "bad-number"), ("stage_type", "regula", "bad-choice"),
    ("completion_type", "done", "bad-choice"), ("cs_split_type", "nfiles(", "bad-split"),
    ("data_dispatcher_project_id", "0", "bad-number"), ("sam_settings", "[1]", "bad-json")])
def test_bad_values_are_reported_where_they_stand(key, value, code):
    """A value out of its range is one problem, with section, key and line."""
    assert problems_of(ONE + f"{key}={value}\n") == [(f"campaign_stage a/{key}", code, 12)]


def test_a_bad_default_is_reported_in_its_line():
    """What a stage inherits wrongly is mended in the defaults: that is the line given."""
    assert [line for _, code, line in problems_of(ONE.replace("=95", "=950"))] == [8]


@pytest.mark.parametrize(("text", "value"), [("True", True), ("false", False), ("0", False), ("yes", True)])
def test_booleans(text, value):
    """True and False are understood in the usual words."""
    assert stage_of(f"merge_overrides={text}").merge_overrides is value


def test_old_names_are_read():
    """datahandling is datatransfer, proj_status is process_status, Located is located."""
    campaign = campaign_of(ONE + 'stage_type=datahandling\ncompletion_type=Located\n'
                           '[job_type j]\nrecoveries=[["proj_status", []], "added_files"]\n')

    assert campaign.stage("a").stage_type == "datatransfer"
    assert campaign.stage("a").completion_type == "located"
    assert [kind for kind, _ in campaign.job_types[0].recoveries] == ["process_status", "added_files"]


def test_keywords_and_service_are_read_from_both_sections():
    """[campaign] counts, [campaign_defaults] is understood."""
    old = ONE.replace("[campaign_stage",
                      'campaign_keywords={"a": "b"}\ndata_handling_service=data_dispatcher\n[campaign_stage')
    new = old.replace("name=c", 'name=c\ncampaign_keywords={"c": "d"}\ndata_handling_service=sam')

    assert dict(campaign_of(old).keywords) == {"a": "b"}
    assert campaign_of(old).data_handling_service == "data_dispatcher"
    assert dict(campaign_of(new).keywords) == {"c": "d"}
    assert campaign_of(new).data_handling_service == "sam"


def test_data_dispatcher_settings_in_every_form():
    """The JSON objects, the plain keys and the default sections all count, the plain key most."""
    text = ONE.replace("dataset_or_split_data=raw\n", "").replace("[campaign_stage a]", """
[sam_defaults]
dataset_or_split_data=by_default
[data_dispatcher_defaults]
idle_timeout=60
query=files from d:d
virtual=False
[campaign_stage a]
data_dispatcher_settings={"idle_timeout": 70, "worker_timeout": 80, "virtual": true, "project_id": null}
data_dispatcher_worker_timeout=90
[campaign_stage b]
sam_settings={"dataset_or_split_data": "own"}""")

    first, second = campaign_of(text).stages

    assert (first.dataset_or_split_data, second.dataset_or_split_data) == ("by_default", "own")
    assert (first.data_dispatcher_idle_timeout, first.data_dispatcher_worker_timeout) == (70, 90)
    assert (second.data_dispatcher_idle_timeout, second.data_dispatcher_worker_timeout) == (60, None)
    assert (first.data_dispatcher_project_virtual, second.data_dispatcher_project_virtual) == (True, False)
    assert first.data_dispatcher_dataset_query == "files from d:d"
    assert [warning.code for warning in read(parse(text)).warnings] == ["two-values"]


def test_positions_are_read():
    """The editor's layout is read; a position that is none is a problem."""
    text = '[node_positions]\nnxy0=["campaign c", 1, -2.5]\nnxy7=["a", 3, 4]\n'

    assert campaign_of(text).node_positions == (NodePosition("campaign c", 1, -2.5), NodePosition("a", 3, 4))
    assert read(parse('[node_positions]\nnxy0=["a", "x", 4]\n')).problems[0].field == "node_positions/nxy0"


def test_setup_is_one_line_and_scripts_may_have_several():
    """Lines of a setup are joined as a shell would; a launch script keeps its lines."""
    campaign = campaign_of("[login_setup l]\nsetup=a b\n  c &&\n  if x; then\n  y; fi\n"
                           "[job_type j]\nlaunch_script=a\n  b\n")

    assert campaign.login_setups[0].setup == "a b; c && if x; then y; fi"
    assert campaign.job_types[0].launch_script == "a\nb"


# -------------------------------------------------------------------------------------------- warnings


@pytest.mark.parametrize(("text", "field", "word"), [
    ("completion_pc=5\n", "campaign_stage a/completion_pc", "'completion_pct'"),
    ("[campaign_stages b]\n", "campaign_stages b", "'campaign_stage'"),
    ("[job_type j]\nlaunch_script=x\nlaunch-script=y\n", "job_type j/launch-script", "'launch_script'")])
def test_unknown_keys_and_sections_are_warned_about(text, field, word):
    """What nothing reads is a warning with the likely name, not an error."""
    warnings = examine(ONE + text).warnings

    assert [warning.field for warning in warnings] == [field]
    assert f"Did you mean {word}" in warnings[0].message


def test_old_keys_are_passed_over_in_silence():
    """The state that old files write into stages is no reason to warn."""
    assert examine(ONE + "state=Active\n").warnings == ()


def test_a_stage_list_that_does_not_fit_is_warned_about():
    """The list of stages is compared with the sections, in any order; the sections count."""
    good = ONE.replace("name=c", "name=c\ncampaign_stage_list=b , a") + "[campaign_stage b]\n"

    assert examine(good).warnings == ()
    warning = examine(good.replace("b , a", "b,aa")).warnings[0]
    assert (warning.field, warning.code, warning.line) == ("campaign/campaign_stage_list", "stage-list", 3)


@pytest.mark.parametrize(("old", "new", "field"), [
    ("%(field)s", "%(beem)s", "campaign_defaults/param_overrides"),
    ("%(version)s\n", "%(version)d\n", "login_setup demo_prod/setup"),
    ("democode %(version)s", "democode 100%", "login_setup demo_prod/setup"),
    ("democode %(version)s", "democode %(beam)s", "login_setup demo_prod/setup"),
])
def test_a_name_that_no_launch_can_fill_in_is_told(old, new, field):
    """A mistyped name, a lone per cent sign, a keyword where only the system's names go: before the launch."""
    good = CHAIN.replace("%(field)s", "%(beam)s 100%%")
    assert examine(good).warnings == ()

    examination = examine((CHAIN if old == "%(field)s" else good).replace(old, new, 1))

    assert examination.problems == ()
    assert [warning.field for warning in examination.warnings] == [field]
    assert "No launch can fill this in" in examination.warnings[0].message


def test_existing_blocks_are_silent_when_equal_and_explained_when_not():
    """A login setup that exists is not changed by a text; the warning says how it differs."""
    same = LoginSetup("demo_prod", "submit01.demo.example.org", "demopro",
                      "source demo_env.sh; setup democode %(version)s")

    text = CHAIN.replace("%(field)s", "%(beam)s")
    assert examine(text, known=KnownNames(login_setups={"demo_prod": same})).warnings == ()
    warning = examine(text, known=KnownNames(login_setups={"demo_prod": replace(same, host="other")})).warnings[0]
    assert warning.code == "already-exists"
    assert "host (there: other)" in warning.message


# -------------------------------------------------------------------------------------------- problems


def test_a_text_needs_campaign_name_and_stages():
    """Missing sections and names are told together."""
    assert codes_of("") == ["no-campaign", "no-stages"]
    assert codes_of("[campaign]\n") == ["missing-name", "no-stages"]
    assert "no-campaign" in codes_of("[campaign c]\n[campaign_stage a]\n")


@pytest.mark.parametrize("key", ["vo_role", "software_version", "dataset_or_split_data", "completion_type",
                                 "completion_pct", "login_setup", "job_type"])
def test_keys_that_are_needed_somewhere(key):
    """A key that neither stage nor defaults state is a problem that names stage and key."""
    text = "".join(line for line in ONE.splitlines(keepends=True) if not line.startswith(key))

    assert problems_of(text) == [(f"campaign_stage a/{key}", "missing-key", 10)]


def test_a_stage_that_is_fed_or_generates_needs_no_dataset():
    """The dataset comes from the needed stage, or there is none to begin with."""
    text = ONE.replace("dataset_or_split_data=raw\n", "")

    assert codes_of(text + "stage_type=generator\n[campaign_stage b]\n[dependencies b]\ncampaign_stage_1=a\n") == []


def test_every_problem_is_told_at_once():
    """Lines, values and sense are all checked, and the problems come in the order of the text."""
    text = ONE + "completion_pct=x\nmerge_overrides=maybe\njunk\n[dependencies b]\ncampaign_stage_1=aa\n"

    assert problems_of(text) == [
        ("campaign_stage a/completion_pct", "bad-number", 12), ("campaign_stage a/merge_overrides", "bad-boolean", 13),
        ("campaign_stage a", "garbage-line", 14), ("dependencies b", "unknown-stage", 15),
        ("dependencies b/campaign_stage_1", "unknown-stage", 16)]
    with pytest.raises(Invalid) as caught:
        examine(text).require()
    assert len(caught.value.problems) == 5


@pytest.mark.parametrize(("key", "value", "code"), [("login_setup", "demo_analysys", "unknown-login-setup"),
                                                    ("job_type", "dd_calibrate_jo", "unknown-job-type"),
                                                    ("cs_split_type", "nfile(3)", "unknown-split")])
def test_unknown_references_have_suggestions(key, value, code):
    """A login setup, job type or split type that does not exist is reported with the closest that does."""
    document = parse(DISPATCHER).with_value("campaign_stage calibrate", key, value)

    problems = examine(document.text, known=KNOWN).problems

    assert [problem.code for problem in problems] == [code]
    assert "Did you mean" in problems[0].message


def test_unknown_recoveries_have_suggestions():
    """A recovery of another name is reported."""
    problem = examine(ONE + '[job_type j]\nlaunch_script=x\nrecoveries=[["pending_file", []]]\n').problems[0]

    assert (problem.code, problem.line) == ("unknown-recovery", 14)
    assert "Did you mean 'pending_files'?" in problem.message


@pytest.mark.parametrize("name", ["a/b", "x" * 201, "None", "a[b"])
def test_bad_names(name):
    """Names that could not be found again, or shown, are refused."""
    campaign = Campaign(name=name, job_types=(JobType(name, "x"),))

    assert [problem.code for problem in check(campaign).problems].count("bad-name") == 2


def test_names_with_line_ends_are_refused_before_writing():
    """A name from a form that would make a new section is a problem, and cannot be written."""
    campaign = replace(campaign_of(CHAIN), login_setups=(LoginSetup("a]\n[job_type evil", "h", "a"),))

    assert "bad-name" in [problem.code for problem in check(campaign).problems]
    with pytest.raises(Invalid):
        write_campaign(campaign)


@pytest.mark.parametrize("split", ["None", "none", "", "draining", "Draining()"])
def test_a_stage_that_would_follow_itself_for_ever(split):
    """A self-dependency needs a split type that ends."""
    text = ONE + f"cs_split_type={split}\n[dependencies a]\ncampaign_stage_1=a\n"

    problem, = examine(text).problems
    assert (problem.field, problem.code) == ("dependencies a/campaign_stage_1", "infinite-loop")
    assert "infinite loop" in problem.message
    assert codes_of(text.replace(f"={split}\n[dep", "=nfiles(5)\n[dep")) == []


def test_a_cycle_that_never_ends():
    """Stages that start each other for ever are refused, unless one of them comes to an end."""
    text = ONE + ("[campaign_stage b]\n[campaign_stage c]\n[dependencies b]\ncampaign_stage_1=a\n"
                  "[dependencies c]\ncampaign_stage_1=b\n[dependencies a]\ncampaign_stage_1=c\n")

    problem, = examine(text).problems
    assert (problem.code, problem.field, problem.line) == ("endless-cycle", "dependencies a/campaign_stage_1", 19)
    assert "a -> b -> c -> a" in problem.message
    assert codes_of(text.replace("[campaign_stage b]", "[campaign_stage b]\ncs_split_type=mod(3)")) == []


def test_an_endless_cycle_beside_one_that_ends():
    """A stage that ends excuses only the cycles it is on."""
    text = ONE + ("[campaign_stage b]\n[campaign_stage c]\ncs_split_type=nfiles(2)\n[dependencies a]\n"
                  "campaign_stage_1=b\ncampaign_stage_2=c\n[dependencies b]\ncampaign_stage_1=a\n"
                  "[dependencies c]\ncampaign_stage_1=a\n")

    assert codes_of(text) == ["endless-cycle"]


def test_limitn_on_itself_is_warned_about():
    """limitn ends only with its dataset, which nobody can see here."""
    examination = examine(ONE + "cs_split_type=limitn(5)\n[dependencies a]\ncampaign_stage_1=a\n")

    assert examination.problems == ()
    assert [warning.code for warning in examination.warnings] == ["doubtful-loop"]


def test_a_pattern_without_stage():
    """Both keys of a pair belong together, except that the pattern may be left out."""
    text = ONE + "[dependencies a]\nfile_pattern_3=x\n"

    assert problems_of(text) == [("dependencies a/file_pattern_3", "missing-key", 13)]


def test_analysis_users_stay_on_their_side():
    """An analysis campaign has vo_role Analysis and launches from the fixed account and host only."""
    arguments = {"creator_role": "analysis", "analysis_login": ("ana.example.org", "ana")}
    text = ONE + "[login_setup l]\nhost=prod.example.org\naccount=pro\n"
    good = text.replace("vo_role=Production", "vo_role=Analysis").replace("prod.example.org", "ana.example.org")

    assert problems_of(text, **arguments) == [
        ("campaign_stage a/vo_role", "analysis-role", 4), ("login_setup l/host", "analysis-login", 13),
        ("login_setup l/account", "analysis-login", 14)]
    assert codes_of(good.replace("=pro\n", "=ana\n"), **arguments) == []


def test_analysis_users_cannot_borrow_a_login_setup():
    """A login setup that exists counts as it is stored, whatever the text says about it."""
    known = KnownNames(login_setups={"l": LoginSetup("l", "prod.example.org", "pro")})
    text = ONE.replace("=Production", "=Analysis") + "[login_setup l]\nhost=ana.example.org\naccount=ana\n"

    found = codes_of(text, known=known, creator_role="analysis", analysis_login=("ana.example.org", "ana"))

    assert found == ["analysis-login"]


# --------------------------------------------------------------------------------------------- writing


def test_the_order_is_that_of_the_work_then_of_names():
    """Stages follow those they need; otherwise, and inside a cycle, the name decides."""
    assert launch_order(["z", "b", "a", "y"], [("z", "a"), ("y", "z")]) == ["b", "y", "z", "a"]
    assert launch_order(["c", "a", "b", "x"], [("b", "c"), ("c", "b"), ("c", "a")]) == ["b", "c", "a", "x"]


def test_a_long_chain_can_be_ordered():
    """Thousands of stages one after the other are no reason to fail."""
    names = [f"s{number:05}" for number in range(5000)]

    assert launch_order(reversed(names), list(zip(names, names[1:], strict=False))) == names


def test_positions_are_written_only_in_full():
    """The layout is part of the text only when asked for."""
    campaign = replace(campaign_of(CHAIN), node_positions=(NodePosition("produce", 10, 2.5),))

    assert "node_positions" not in write_campaign(campaign)
    assert '[node_positions]\nnxy0=["produce", 10, 2.5]\n' in write_campaign(campaign, full=True)


def test_without_defaults_everything_is_written():
    """A campaign without defaults has no section for them, and stages that state all."""
    stage = stage_with("a", {"vo_role": "Production", "param_overrides": (("k", "v"),)})

    text = write_campaign(Campaign(name="c", stages=(stage,)))

    assert "[campaign_defaults]" not in text
    assert "software_version=None\n" in text
    assert 'param_overrides=[["k", "v"]]\n' in text


def test_changed_defaults_reach_the_stages_that_inherit():
    """Stages follow the defaults in what they do not state themselves."""
    campaign = campaign_of(CHAIN)

    changed = with_defaults(campaign, replace(campaign.defaults, completion_pct=50.0))

    assert (changed.stage("look").completion_pct, changed.stage("collect").completion_pct) == (50.0, 99.5)


def test_updating_changes_only_what_differs():
    """Comments, order and spelling of everything else stay."""
    text = CHAIN.replace("completion_pct=99.5", "completion_pct :  99.5\n; not all")
    text = text.replace("[campaign_stage look]", "# people\n[campaign_stage look]")
    document = parse(text)
    campaign = campaign_of(text)
    stages = (*campaign.stages[:3], replace(campaign.stages[3], completion_pct=98.0))

    changed = update_document(document, replace(campaign, stages=stages))

    assert changed.text == text.replace("completion_pct :  99.5", "completion_pct :  98")


def test_updating_with_the_same_campaign_changes_nothing():
    """A text is what it says: nothing is put in order that nobody asked for."""
    for text in (CHAIN, DISPATCHER, CHAIN.replace("=", " : ").replace("\n", "\r\n")):
        assert update_document(parse(text), campaign_of(text)) == parse(text)


def test_a_value_that_becomes_the_default_is_left_out():
    """A stage that is set to the default's value inherits it again."""
    campaign = campaign_of(CHAIN)
    stages = tuple(replace(stage, job_type="demo_mc") for stage in campaign.stages)

    changed = update_document(parse(CHAIN), replace(campaign, stages=stages))

    assert changed.text == CHAIN.replace("job_type=demo_collect\n", "")


def test_a_changed_default_leaves_the_effective_values_that_were_asked_for():
    """If only the default changes, stages that keep their old value state it from now on."""
    campaign = campaign_of(CHAIN)
    wanted = replace(campaign, defaults=replace(campaign.defaults, software_version="v4"))

    changed = update_document(parse(CHAIN), wanted)

    assert diff(wanted, campaign_of(changed.text)) == []
    assert changed.value("campaign_stage look", "software_version") == "v3_14"


def test_renaming_a_stage_renames_it_everywhere():
    """Header, dependencies, list and position follow; every other line stays."""
    text = CHAIN + '[node_positions]\nnxy0=["look", 1, 2]\n'

    renamed = rename_stage(parse(text), "look", "inspect it")

    for place in ("stage {}", "dependencies {}", "_1 = {}", ",{},", '"{}"'):
        text = text.replace(place.format("look"), place.format("inspect it"))
    assert renamed.text == text
    with pytest.raises(Invalid):
        rename_stage(renamed, "inspect it", "produce")


def test_renaming_a_campaign_keeps_its_place_in_the_picture():
    """The node of the campaign carries its name."""
    renamed = rename_campaign(parse('[campaign]\nname=c\n[node_positions]\nnxy0=["campaign c", 1, 2]\n'), "d")

    assert renamed.text == '[campaign]\nname=d\n[node_positions]\nnxy0=["campaign d", 1, 2]\n'


# ----------------------------------------------------------------------------------------- differences


def test_differences_in_words():
    """What changed is told thing by thing."""
    old = campaign_of(CHAIN)
    new = replace(old, stages=(*old.stages[:3], replace(old.stages[3], completion_pct=80.0)),
                  dependencies=old.dependencies[:2], login_setups=(*old.login_setups, LoginSetup("more", "h", "a")))

    assert [str(change) for change in diff(old, new)] == [
        "Stage 'collect': completion_pct changed from 99.5 to 80", "Dependency of 'collect' on 'look' removed",
        "Login setup 'more' added"]
    assert diff(old, old) == []


def test_a_new_campaign_is_all_added():
    """Compared with nothing, everything is added."""
    changes = diff(None, campaign_of(CHAIN))

    assert changes[0] == Change("added", "campaign", "muon_pairs_7")
    assert [change.name for change in changes if (change.kind, change.what) == ("added", "stage")] == [
        "produce", "reconstruct", "look", "collect"]


def test_text_difference():
    """Texts are compared line by line, as in a unified diff."""
    assert text_diff("a\nb\n", "a\nc\n").splitlines()[3:] == [" a", "-b", "+c"]
    assert text_diff(CHAIN, CHAIN) == ""


# ------------------------------------------------------------------------------------------ generated

EXAMPLES = int(os.environ.get("POMS_TEST_EXAMPLES", "1000"))
MANY = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
SOME = settings(MANY, max_examples=EXAMPLES * 2 // 5)
name_letters = st.text("ab c'\"$()é%#;=:,.-_日\\", min_size=1, max_size=8).map(str.strip).filter(
    lambda name: name and name.lower() != "none")
words = name_letters
parameter_names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=6)
pairs = st.lists(st.tuples(parameter_names, words), max_size=2).map(tuple)
percents = st.floats(0.01, 100)
integers = st.integers(1, 10**6)

stage_values = {
    "vo_role": words, "software_version": words, "dataset_or_split_data": words, "data_dispatcher_dataset_query": words,
    "data_dispatcher_project_id": integers, "data_dispatcher_project_virtual": st.booleans(),
    "data_dispatcher_idle_timeout": integers, "data_dispatcher_recovery_mode": words, "cs_split_type": words,
    "test_split_type": words, "completion_type": st.sampled_from(["located", "complete"]), "completion_pct": percents,
    "login_setup": words, "job_type": words, "param_overrides": pairs, "test_param_overrides": pairs,
    "output_ancestor_depth": integers, "merge_overrides": st.booleans(),
    "stage_type": st.sampled_from(["regular", "test", "generator", "approval", "datatransfer"]),
    "default_clear_cronjob": st.booleans(),
}


@st.composite
def campaigns(draw):
    """A campaign with any defaults, stages, dependencies (cycles too), blocks and positions."""
    defaults = None
    if draw(st.booleans()):
        chosen = draw(st.sets(st.sampled_from(sorted(stage_values)), max_size=8))
        defaults = Defaults(**{key: draw(stage_values[key]) for key in sorted(chosen)})
    names = draw(st.lists(name_letters, unique=True, max_size=3))
    stages = []
    for name in names:
        chosen = draw(st.sets(st.sampled_from(sorted(stage_values)), max_size=6))
        stages.append(stage_with(name, {key: draw(stage_values[key]) for key in sorted(chosen)}, defaults))
    edges = draw(st.sets(st.tuples(st.sampled_from(names), st.sampled_from(names)), max_size=3)) if names else set()
    block_names = st.lists(name_letters, unique=True, max_size=2)
    return Campaign(
        name=draw(name_letters), keywords=draw(st.dictionaries(words, words | integers, max_size=2)),
        data_handling_service=draw(st.sampled_from(["sam", "data_dispatcher"])),
        defaults=defaults, stages=tuple(stages),
        dependencies=tuple(Dependency(consumer, needs, draw(words).replace("%", "") + "%")
                           for consumer, needs in sorted(edges)),
        login_setups=tuple(LoginSetup(name, draw(words), draw(words), draw(words)) for name in draw(block_names)),
        job_types=tuple(JobType(name, draw(words), draw(pairs), ("a%",), ((draw(words), draw(pairs)),))
                        for name in draw(block_names)),
        node_positions=tuple(NodePosition(name, draw(integers), draw(percents)) for name in names))


@MANY
@given(campaigns())
def test_writing_what_was_read_gives_the_same_text(campaign):
    """The canonical text is the same after reading and writing it, and says what the campaign said."""
    text = write_campaign(campaign, full=True)
    again = campaign_of(text)

    assert write_campaign(again, full=True) == text
    assert diff(campaign, again) == []


@SOME
@given(campaigns(), campaigns())
def test_an_updated_text_says_what_was_wanted(old, new):
    """Any text can be changed into any campaign; once changed it needs no further change."""
    document = parse(write_campaign(old, full=True).replace("[campaign_stage", "# about this stage\n[campaign_stage"))

    updated = update_document(document, new)

    assert diff(new, campaign_of(updated.text)) == []
    assert update_document(updated, new) == updated


@SOME
@given(campaigns())
def test_checking_never_fails(campaign):
    """Any campaign can be checked; what it is told names a place and a code."""
    findings = check(campaign, creator_role="analysis", analysis_login=("h", "a"))

    assert all(problem.field and problem.code for problem in (*findings.problems, *findings.warnings))
