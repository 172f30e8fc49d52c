"""Recovery rules: how they are written, what each wrong line is told, and what is chosen for a failure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poms.webservice.errors import Invalid
from poms.webservice.rules.campaign_text import examine, parse, read_campaign, update_document, write_campaign
from poms.webservice.rules.recovery_choices import (
    Asked,
    Facts,
    asked_in,
    choose,
    first_level,
    next_level,
    overrides,
    words,
)
from poms.webservice.rules.recovery_policies import FILE_STATES, MOST_RULES, matches, parse_policy

ASKED = Asked(memory_mb=1000, time_seconds=3600, files_per_job=4)


def rules(text: str) -> list[str]:
    return [rule.text for rule in parse_policy(text).rules]


def chosen(text: str, facts: Facts, *, asked: Asked = ASKED, tried=None, learned=None):
    return choose(parse_policy(text), facts, asked, tried=tried or {}, learned=learned)


# ------------------------------------------------------------------------------------------- text


@pytest.mark.parametrize(("written", "normal"), [
    ("when hold 34: memory x1.5", "when hold 34: memory x1.5"),
    ("WHEN Exit 1,65-69 : RETRY", "when exit 1,65-69: retry"),
    ("when exit 137 or signal 9 and site FNAL: memory *2", "when exit 137 or signal 9 and site FNAL: memory x2"),
    ('when message "*Out of memory*", oom*: memory +500MB', 'when message "*Out of memory*",oom*: memory +500MB'),
    ("when hold 47: time +2h, at most 1 times", "when hold 47: time +7200s, at most 1 time"),
    ("when file Skipped,unknown: files /2 and other site", "when file skipped,unknown: files /2 and other site"),
    ("when any: give up", "otherwise: give up"),
    ("otherwise: stop", "otherwise: stop"),
])
def test_a_rule_has_one_normal_form(written, normal):
    """Rules are counted by their normal form, however they are written; the form reads as itself."""
    assert rules(written) == [normal]
    assert rules(normal) == [normal]


def test_rules_stand_on_lines_or_between_semicolons():
    """A text on one line says the same as one on many; a quoted semicolon parts nothing."""
    several = 'when exit 1: retry\n\nwhen message "a;b": stop'

    assert rules('when exit 1: retry; when message "a;b": stop') == rules(several)


@pytest.mark.parametrize("text", ["", "  \n", "None", "none"])
def test_no_text_is_no_policy(text):
    """An empty text, and the word None, mean no rules."""
    assert parse_policy(text) is None


def test_limits_and_parameters():
    """What holds for all rules: limits, passive, and the launch parameters to be used."""
    policy = parse_policy("otherwise: retry\nmemory at most 8GB\ntime at most 24h\nattempts at most 3\npassive\n"
                          "memory with --mem=")

    assert (policy.memory_cap_mb, policy.time_cap_seconds, policy.attempts) == (8192, 86400, 3)
    assert policy.passive
    assert policy.key_of("memory") == "--mem="
    assert policy.limits() == ["memory at most 8,192 MB", "time at most 24h", "attempts at most 3"]


@pytest.mark.parametrize(("text", "said"), [
    ("retry always", "a line begins with when"),
    ("when exit: retry", "a number after exit is missing"),
    ("when exit one: retry", "“one” is no number for exit"),
    ("when exit 9-1: retry", "write one such as 34, or a range"),
    ("when color red: retry", "“color” is no condition; write exit, signal"),
    ("when file lost: retry", f"write {', '.join(FILE_STATES)}"),
    ("when exit 1 retry", "a colon is missing"),
    ("when exit 1: again", "“again” is nothing that can be done; write retry"),
    ("when exit 1: memory 1.5", "write x1.5, or +500MB"),
    ("when exit 1: memory x0.5", "write a factor above 1"),
    ("when exit 1: time +soon", "write 8h or 90m"),
    ("when exit 1: files x2", "write for example “files /2”"),
    ("when exit 1: retry and stop", "stop and give up stand alone"),
    ("when exit 1: retry, at most 0 times", "write 1 or more"),
    ("when exit 1: retry, at most 3", "write “at most 3 times”"),
    ('when message "a: retry', "a quotation mark is not closed"),
    ("memory at most lots", "“lots” is no amount of memory"),
    ("memory under 8GB", "write “memory at most AMOUNT” or “memory with PARAMETER=”"),
    ("attempts at most many", "“many” is no number of attempts"),
    ("passive", "there is no rule"),
    ("otherwise: retry\nwhen exit 1: stop", "applies to every failure"),
    ("when exit 1: retry now", "“now” is not understood there"),
])
def test_what_is_wrong_is_said_with_line_and_remedy(text, said):
    """Each wrong line names its number, the fault, and what to write instead."""
    with pytest.raises(Invalid) as wrong:
        parse_policy(text)

    assert said in str(wrong.value)
    assert wrong.value.problems[0].field == "recovery_policy"


def test_every_wrong_line_is_reported():
    """Not only the first."""
    with pytest.raises(Invalid) as wrong:
        parse_policy("when exit x: retry\nwhen exit 1: retry\nnonsense")

    assert [problem.message.split(" of")[0] for problem in wrong.value.problems] == ["Line 1", "Line 3"]


def test_a_last_word_may_follow_a_retry_for_all():
    """What comes after the attempts are used up may stand below."""
    assert len(rules("otherwise: retry\notherwise: give up")) == 2


def test_texts_are_bounded():
    """Neither too many rules nor too long a text."""
    with pytest.raises(Invalid, match=f"write {MOST_RULES} at most"):
        parse_policy("\n".join(f"when exit {number}: retry" for number in range(MOST_RULES + 1)))
    with pytest.raises(Invalid, match="longer than"):
        parse_policy("#" * 20_000)


@given(st.text(max_size=60) | st.lists(st.sampled_from(
    ["when", "otherwise", ":", ",", "exit", "hold", "34", "memory", "x2", "and", "or", "at", "most", "3", "times",
     '"', "retry", "stop", ";", "\n", "site", "*", "passive", "with"]), max_size=14).map(" ".join))
def test_any_text_is_understood_or_refused(text):
    """Whatever is written, it is read, or refused as invalid; what was read reads the same in its normal form."""
    try:
        policy = parse_policy(text)
    except Invalid:
        return
    if policy is not None:
        assert rules("\n".join(rule.text for rule in policy.rules)) == [rule.text for rule in policy.rules]


# -------------------------------------------------------------------------------------- patterns


@pytest.mark.parametrize(("pattern", "text", "fits"), [
    ("oom", "OOM", True), ("oom", "oom killed", False), ("*oom*", "got OOM here", True), ("a*b*c", "a__b__c", True),
    ("a*b*c", "a__c__b", False), ("ab*ba", "aba", False), ("*", "", True), ("a(b", "a(b", True), (".*", "x", False),
])
def test_patterns_are_plain_text_with_stars(pattern, text, fits):
    """Nothing but * means anything, and case does not count."""
    assert matches(pattern, text) is fits


def test_patterns_take_time_that_grows_with_the_text():
    """A pattern that would be ruinous as a regular expression is just not found."""
    assert matches("*a" * 2000 + "*b", "a" * 200_000) is False


# -------------------------------------------------------------------------------------- choosing


@pytest.mark.parametrize(("condition", "facts"), [
    ("exit 65-69", Facts(exit_code=66)), ("signal 9", Facts(signal=9)), ("hold 34", Facts(hold_code=34)),
    ("message *memory*", Facts(message="Out of memory: killed")), ("site FNAL*", Facts(site="FNAL_GPGrid")),
    ("file skipped", Facts(file_state="skipped")), ("any", Facts()),
    ("exit 1 or exit 2", Facts(exit_code=2)), ("exit 2 and site UCSD", Facts(exit_code=2, site="UCSD")),
])
def test_conditions_hold(condition, facts):
    """Each kind of condition, alone and joined."""
    assert chosen(f"when {condition}: retry", facts).outcome == "launch"


@pytest.mark.parametrize(("condition", "facts"), [
    ("exit 65-69", Facts(exit_code=70)), ("exit 0", Facts()), ("signal 9", Facts(exit_code=9)),
    ("hold 34", Facts(hold_code=26)), ("message *memory*", Facts(message="disk")), ("site FNAL", Facts(site="FNAL2")),
    ("exit 2 and site UCSD", Facts(exit_code=2, site="FNAL")),
])
def test_conditions_do_not_hold(condition, facts):
    """Where no rule applies there is no choice: the job type's list counts."""
    assert chosen(f"when {condition}: retry", facts) is None


def test_the_first_rule_that_applies_counts():
    """Order decides."""
    text = "when hold 34: memory x2\nwhen hold 30-40: stop"

    assert chosen(text, Facts(hold_code=34)).outcome == "launch"
    assert chosen(text, Facts(hold_code=35)).outcome == "ask"


@pytest.mark.parametrize(("action", "values"), [
    ("retry", ()), ("memory x1.5", (("memory", 1500.0),)), ("memory +250MB", (("memory", 1250.0),)),
    ("time x2", (("time", 7200.0),)), ("time +30m", (("time", 5400.0),)), ("files /2", (("files", 2),)),
    ("memory x2 and time x2", (("memory", 2000.0), ("time", 7200.0))),
])
def test_what_an_action_comes_to(action, values):
    """Amounts grow from what was asked for."""
    assert chosen(f"otherwise: {action}", Facts()).values == values


def test_growth_ends_at_the_limit():
    """The last step goes to the limit exactly; there the rule is used up and a person is asked, with the reason."""
    text = "when hold 34: memory x1.5\nmemory at most 1200MB"

    assert chosen(text, Facts(hold_code=34)).values == (("memory", 1200),)
    at_limit = chosen(text, Facts(hold_code=34), asked=Asked(memory_mb=1200))
    assert (at_limit.outcome, at_limit.rule, at_limit.spent) == ("ask", None, ("memory is at its limit of 1,200 MB",))


@pytest.mark.parametrize("action", ["memory x2", "time x2", "files /2"])
def test_what_nobody_knows_cannot_grow(action):
    """Without knowing what was asked for nothing is guessed; the next rule, or a person, decides."""
    assert chosen(f"otherwise: {action}", Facts(), asked=Asked()).outcome == "ask"
    assert chosen(f"otherwise: {action}\notherwise: give up", Facts(), asked=Asked()).outcome == "give up"


def test_a_rule_is_used_as_often_as_it_says():
    """Then the next one that applies counts."""
    text = "when exit 1: retry, at most 2 times\notherwise: stop"

    assert chosen(text, Facts(exit_code=1), tried={"when exit 1: retry, at most 2 times": 1}).outcome == "launch"
    assert chosen(text, Facts(exit_code=1), tried={"when exit 1: retry, at most 2 times": 2}).outcome == "ask"


def test_all_attempts_of_a_file_count():
    """Whatever rules they were made by, also ones that are not written any more."""
    assert chosen("otherwise: retry\nattempts at most 2", Facts(), tried={"gone": 1, "": 1}).outcome == "ask"


@given(st.integers(1, 10_000), st.integers(1, 10_000), st.floats(1.01, 100),
       st.dictionaries(st.integers(1, 20_000).map(float), st.integers(0, 50), max_size=6))
def test_never_above_the_limit(asked, cap, factor, learned):
    """Whatever was asked for or learned, what is chosen is more than before and not above the limit."""
    choice = chosen(f"when hold 34: memory x{factor:.4f}\nmemory at most {cap}MB", Facts(hold_code=34),
                    asked=Asked(memory_mb=asked), learned={"memory": learned})
    for _, value in choice.values:
        assert asked < value <= cap
    assert choice.values or asked >= cap


# ------------------------------------------------------------------------------- what was enough


def test_the_next_level_is_what_is_cheapest():
    """Not the largest that was ever enough: few needed that."""
    assert next_level({1000: 65, 1500: 30, 3000: 5}, above=1000) == 1500
    assert next_level({1000: 65, 1500: 1, 3000: 30}, above=1000) == 3000
    assert next_level({1000: 65}, above=1000) is None


def test_launches_begin_with_more_only_where_that_pays():
    """If few jobs need more, they are recovered; if most do, all launches ask for it."""
    assert first_level({1000: 65, 1500: 30, 3000: 5}, 1000) is None
    assert first_level({1000: 20, 1500: 75, 3000: 5}, 1000) == 1500
    assert first_level({1000: 20, 1500: 80}, 1000, cap=1200) == 1200
    assert first_level({1000: 20, 1500: 80}, 2000) is None
    assert first_level({}, 1000) is None


# ------------------------------------------------------------------------------ launch parameters


@pytest.mark.parametrize(("command", "memory", "key"), [
    ("fife_launch -c a.cfg -Osubmit.memory=2000MB", 2000, "-Osubmit.memory="),
    ("fife_launch -O submit.memory=2GB", 2048, "-O submit.memory="),
    ("jobsub_submit --memory 1500MB file:///x", 1500, "--memory "),
    ("jobsub_submit --memory=1GB --memory=3GB", 3072, "--memory="),
    ("run --memory=%(parameter)s", None, "--memory="),
    ("run --memoryless=4", None, None),
])
def test_what_a_command_asks_for(command, memory, key):
    """The last parameter counts, in the spellings of the launchers; what is no amount is not known."""
    asked = asked_in(command, parse_policy("otherwise: retry"))

    assert asked.memory_mb == memory
    assert asked.keys.get("memory") == key


def test_overrides_use_the_parameter_that_is_there():
    """Else that of the launcher in use, or the one that the rules name."""
    policy, named = parse_policy("otherwise: retry"), parse_policy("otherwise: retry\nmemory with --mem=")
    values = [("memory", 1500.0), ("time", 7200.0), ("files", 2.0)]

    assert overrides(policy, asked_in("x --memory 1GB", policy), values[:1]) == (("--memory ", "1500MB"),)
    assert overrides(policy, Asked(), values, script="fife_launch -c x") == (
        ("-Osubmit.memory=", "1500MB"), ("-Osubmit.expected-lifetime=", "7200s"), ("-Osubmit.n_files_per_job=", "2"))
    assert overrides(policy, Asked(), values[:1], script="jobsub_submit -G x") == (("--memory=", "1500MB"),)
    assert overrides(named, Asked(), values[:1], script="jobsub_submit") == (("--mem=", "1500MB"),)
    assert overrides(policy, Asked(sites=("A",)), [], avoid=["B", "A"]) == (("-Osubmit.blocklist=", "A,B"),)


def test_changes_in_words():
    """As people read them."""
    assert words([("memory", 1500.0), ("time", 7200.0), ("files", 1.0)], ["FNAL"]) == \
        "1,500 MB of memory, 2h of time, 1 file in each job, not at FNAL"
    assert words([]) == "as before"


# --------------------------------------------------------------------------------- campaign text

TEXT = """[campaign]
name=mc

[campaign_defaults]
vo_role=Production
software_version=v1
completion_type=located
completion_pct=95
login_setup=here
job_type=work
recovery_policy=when exit 1: stop

[campaign_stage gen]
dataset_or_split_data=raw
# memory first
recovery_policy=
    when hold 34: memory x1.5
    # then the rest
    otherwise: retry, at most 2 times

[campaign_stage reco]
dataset_or_split_data=raw

[login_setup here]
host=localhost
account=samdevpro
setup=true

[job_type work]
launch_script=fife_launch
"""


def test_rules_in_a_campaign_text():
    """A stage has its own rules or those of the campaign's defaults; comments stand between them."""
    campaign, warnings = read_campaign(parse(TEXT))

    assert warnings == ()
    assert rules(campaign.stage("gen").recovery_policy) == ["when hold 34: memory x1.5",
                                                            "otherwise: retry, at most 2 times"]
    assert campaign.stage("reco").recovery_policy == "when exit 1: stop"


def test_rules_are_written_as_they_were_read():
    """A text with rules stays byte for byte, and its canonical form means the same."""
    document = parse(TEXT)
    campaign = read_campaign(document)[0]

    assert update_document(document, campaign).text == TEXT
    again = read_campaign(parse(write_campaign(campaign)))[0]
    assert [stage.recovery_policy for stage in again.stages] == [stage.recovery_policy for stage in campaign.stages]


def test_a_text_without_rules_does_not_get_any():
    """Programs of before do not know the key: it is written only where it is used."""
    plain = "\n".join(line for line in TEXT.splitlines() if "recovery_policy=when" not in line)
    plain = plain.replace(TEXT[TEXT.index("# memory first"):TEXT.index("\n[campaign_stage reco]")], "")

    assert "recovery_policy" not in write_campaign(read_campaign(parse(plain))[0])


def test_wrong_rules_are_a_problem_of_the_text():
    """With section, key and remedy, as every other problem."""
    examined = examine(TEXT.replace("memory x1.5", "memory much"))

    (problem,) = examined.problems
    assert (problem.field, problem.code) == ("campaign_stage gen/recovery_policy", "bad-recovery-policy")
    assert "Line 1 of the rules" in problem.message
    assert "write x1.5" in problem.message
