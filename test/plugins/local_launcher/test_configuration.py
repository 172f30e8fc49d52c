"""Reading a launch configuration: order, interpolation, stages, overrides, refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from poms.plugins.local.launcher import configuration
from poms.plugins.local.launcher.arithmetic import calculate
from poms.plugins.local.launcher.configuration import Configuration
from poms.webservice.errors import Invalid, NotFound


def settled(tmp_path: Path, text: str, *, stages: tuple[str, ...] = (), overrides: tuple[str, ...] = (),
            pushed: tuple[str, ...] = (), deleted: tuple[str, ...] = ()) -> Configuration:
    path = tmp_path / "launch.cfg"
    path.write_text(text)
    result = configuration.read(path)
    configuration.settle(result, stages=stages, overrides=[configuration.parse_override(item) for item in overrides],
                         pushed=pushed, deleted=deleted)
    return result


def test_name_is_looked_up_in_global_first(tmp_path):
    """An option of [global] wins over the section's own of the same name."""
    found = settled(tmp_path, "[global]\nx = outer\n[submit]\nx = inner\nvalue = %(x)s\n")

    assert found.get("submit", "value") == "outer"


def test_name_is_then_looked_up_in_the_section(tmp_path):
    """What [global] does not have is taken from the section itself, through several steps."""
    found = settled(tmp_path, "[global]\na = %(b)s!\nb = deep\n[submit]\nown = mine\nvalue = %(own)s-%(a)s\n")

    assert found.get("submit", "value") == "mine-deep!"


def test_global_option_stands_in_for_every_section(tmp_path):
    """-Oglobal.memory changes the memory of [submit]."""
    found = settled(tmp_path, "[global]\n[submit]\nmemory = 2000MB\n", overrides=("global.memory=4000MB",))

    assert found.get("submit", "memory") == "4000MB"


def test_unknown_name_is_named_with_section_and_option(tmp_path):
    """A name that is defined nowhere stops the launch and says where it was wanted."""
    found = settled(tmp_path, "[global]\n[job_output]\naddoutput = %(basename)s.root\n")

    with pytest.raises(Invalid, match=r"job_output/addoutput.*'basename'.*-Oglobal\.basename="):
        found.get("job_output", "addoutput")


def test_option_that_refers_to_itself_is_refused(tmp_path):
    """A circle of references ends in a message, not in a stack overflow."""
    found = settled(tmp_path, "[global]\na = %(b)s\nb = %(a)s\n")

    with pytest.raises(Invalid, match="refers to itself"):
        found.get("global", "a")


@pytest.mark.parametrize("text", ["50%", "%(open", "%s", "%()s"])
def test_lone_percent_sign_is_refused(tmp_path, text):
    """A per cent sign that begins nothing is an error with its remedy."""
    found = settled(tmp_path, f"[global]\na = {text}\n")

    with pytest.raises(Invalid, match="global/a.*write %%"):
        found.get("global", "a")


def test_two_percent_signs_are_one(tmp_path):
    """%% is a literal per cent sign, also before a parenthesis."""
    found = settled(tmp_path, "[global]\na = 5%% %%(x)s\n")

    assert found.get("global", "a") == "5% %(x)s"


def test_names_are_case_sensitive_and_dollars_left_alone(tmp_path):
    """N and n are two options; $ belongs to the shells."""
    found = settled(tmp_path, "[global]\n[submit]\nN = 1\nn = $HOME\n")

    assert (found.get("submit", "N"), found.get("submit", "n")) == ("1", "$HOME")


def test_comment_signs_inside_a_value_belong_to_it(tmp_path):
    """Only lines that begin with # or ; are comments."""
    found = settled(tmp_path, "# one\n; two\n[global]\na = b # c ; d\n")

    assert found.get("global", "a") == "b # c ; d"


@pytest.mark.parametrize(("text", "message"), [
    ("[submit]\nN = 1\n", "global"), ("[global]\na = 1\na = 2\n", "line 3|already exists"),
    ("[global]\ngarbage\n", "garbage"), ("a = 1\n", "no section headers"),
])
def test_file_that_cannot_be_read_is_refused(tmp_path, text, message):
    """Missing [global], doubled options, garbage and text before a section are named."""
    with pytest.raises(Invalid, match=message):
        settled(tmp_path, text)


def test_later_include_wins_and_each_is_read_once(tmp_path):
    """Included files come after the file that names them, in order, each once although they name each other."""
    (tmp_path / "a.cfg").write_text("[global]\nx = from a\ny = from a\nincludes = a.cfg b.cfg\n")
    (tmp_path / "b.cfg").write_text("[global]\ny = from b\n[extra]\nz = 1\n")

    found = settled(tmp_path, "[global]\nincludes = a.cfg b.cfg\nx = main\n")

    assert [found.get("global", name) for name in "xy"] == ["from a", "from b"]
    assert found.has("extra", "z")


def test_include_is_named_with_globals_and_their_overrides(tmp_path):
    """-Oglobal.* counts already when the names of the included files are worked out."""
    (tmp_path / "prod.cfg").write_text("[global]\nx = production\n")

    found = settled(tmp_path, "[global]\nkind = test\nincludes = %(kind)s.cfg\n", overrides=("global.kind=prod",))

    assert found.get("global", "x") == "production"


def test_missing_include_is_named(tmp_path):
    """An included file that does not exist stops the launch."""
    with pytest.raises(NotFound, match=r"nowhere\.cfg"):
        settled(tmp_path, "[global]\nincludes = nowhere.cfg\n")


STAGES = """
[global]
[submit]
N = 1
[stage_a]
submit.N = 2
submit.memory = 1GB
[stage_b]
parent = a
submit.N = 3
[stage_c]
parent = b, d
[stage_d]
submit.disk = %(big)s
global.big = 9GB
"""


def test_parents_of_a_stage_come_first(tmp_path):
    """A stage overrides what its parents, and theirs, have set."""
    found = settled(tmp_path, STAGES, stages=("c",))

    assert [found.get("submit", name) for name in ("N", "memory", "disk")] == ["3", "1GB", "9GB"]


def test_later_stage_of_the_command_line_wins(tmp_path):
    """Stages are applied in the order in which they are given."""
    assert settled(tmp_path, STAGES, stages=("b", "a")).get("submit", "N") == "2"


def test_unknown_stage_is_refused_with_the_known_ones(tmp_path):
    """A mistyped --stage never launches the plain configuration."""
    with pytest.raises(Invalid, match=r"\[stage_g5\].*a, b, c, d"):
        settled(tmp_path, STAGES, stages=("g5",))


def test_unknown_parent_names_its_child(tmp_path):
    """A missing parent says which stage asked for it."""
    with pytest.raises(Invalid, match=r"\[stage_none\] \(named as parent by \[stage_x\]\)"):
        settled(tmp_path, "[global]\n[stage_x]\nparent = none\n", stages=("x",))


def test_circle_of_parents_is_refused(tmp_path):
    """Stages that are each other's parents are reported with the way round."""
    with pytest.raises(Invalid, match="x -> y -> x"):
        settled(tmp_path, "[global]\n[stage_x]\nparent=y\n[stage_y]\nparent=x\n", stages=("x",))


@pytest.mark.parametrize(("line", "message"), [("nosuch.key = 1", r"stage_x/nosuch\.key.*\[nosuch\]"),
                                               ("plain = 1", r"stage_x/plain.*section\.option")])
def test_stage_key_without_a_section_is_refused(tmp_path, line, message):
    """Stage keys are section.option, and the section must be there."""
    with pytest.raises(Invalid, match=message):
        settled(tmp_path, f"[global]\n[stage_x]\n{line}\n", stages=("x",))


def test_override_beats_stage_and_the_last_one_wins(tmp_path):
    """-O comes after the stages; of two the later one counts."""
    found = settled(tmp_path, STAGES, stages=("b",), overrides=("submit.N=7", "submit.N=8"))

    assert found.get("submit", "N") == "8"


def test_override_makes_a_missing_section(tmp_path):
    """-O may name a section that the file does not have."""
    assert settled(tmp_path, "[global]\n", overrides=("new.x=1",)).get("new", "x") == "1"


def test_override_keeps_everything_after_the_first_equals_sign(tmp_path):
    """Values may hold dots, equals signs, blanks and quotes."""
    value = "usage=A.B 'c' \"d\" =é"

    assert settled(tmp_path, "[global]\n", overrides=(f"submit.x.y={value}",)).get("submit", "x.y") == value


@pytest.mark.parametrize("text", ["xx", "a=b", ".a=b", "a.=b", "a.b", ""])
def test_malformed_override_is_refused(text):
    """-O without section, option or value shows the form."""
    with pytest.raises(Invalid, match=r"-Osection\.option=value"):
        configuration.parse_override(text)


def test_global_eval_is_worked_out_into_global(tmp_path):
    """Expressions see interpolated values; the result is text in [global]; -O still beats it."""
    text = "[global]\nn = 12\n[global_eval]\njobs = (%(n)s + 4) // 5\nname = 'run' + str(%(n)s)\nk = 1\n"

    found = settled(tmp_path, text, overrides=("global.k=2",))

    assert [found.get("global", name) for name in ("jobs", "name", "k")] == ["3", "run12", "2"]


@pytest.mark.parametrize("expression", [
    "__import__('os').system('true')", "open('/etc/passwd')", "().__class__", "[x for x in ()]", "2**9**9", "'a' * 9",
    "lambda: 1", "x", "f'{1}'", "1 if 1 else 2", "'%s' % 5", "max(*[1])", "round(1, ndigits=2)",
])
def test_global_eval_refuses_what_is_not_arithmetic(expression):
    """Nothing but arithmetic on literals is worked out; the refusal names the option and the other way."""
    with pytest.raises(Invalid, match="global_eval/x"):
        calculate(expression, field="global_eval/x")


@pytest.mark.parametrize("expression", ["1/0", "1 +", "int('x')", "1 + 'a'", "9" * 501])
def test_expression_without_a_value_is_refused(expression):
    """Arithmetic that fails is reported as an input error."""
    with pytest.raises(Invalid, match="global_eval/x"):
        calculate(expression, field="global_eval/x")


ARGUMENTS = "[global]\n[executable]\nname = lar\narg_1 = -c\narg_5 = x.fcl\narg_2 = -n\n"


def test_pushed_arguments_come_first_and_all_are_numbered_again(tmp_path):
    """--arg_push puts arguments before the others, which keep the order of the file."""
    found = settled(tmp_path, ARGUMENTS, pushed=("--trace", "2"))

    assert [found.get("executable", f"arg_{n}") for n in range(1, 6)] == ["--trace", "2", "-c", "x.fcl", "-n"]


def test_deleted_argument_is_gone(tmp_path):
    """--arg_del removes the argument with that text."""
    found = settled(tmp_path, ARGUMENTS, deleted=("x.fcl",))

    assert [found.get("executable", option) for option in found.options("executable")] == ["lar", "-c", "-n"]


def test_deleting_an_argument_that_is_not_there_is_refused(tmp_path):
    """A mistyped --arg_del is not ignored."""
    with pytest.raises(Invalid, match="no such argument"):
        settled(tmp_path, ARGUMENTS, deleted=("y.fcl",))


def test_shorthands_do_not_replace_what_the_file_defines(tmp_path):
    """_fname and its like are added to [global] unless the user has one of that name."""
    found = settled(tmp_path, "[global]\n_fname = mine\n")

    assert (found.get("global", "_fname"), found.get("global", "_process")) == (
        "mine", r"\${JOBSUBJOBSECTION:-\$PROCESS}")


def test_directory_of_the_file_is_known_to_it(tmp_path):
    """_config_dir is where the file lies, even under a name with per cent signs."""
    place = tmp_path / "50%(x)s"
    place.mkdir()

    assert settled(place, "[global]\nhere = %(_config_dir)s\n").get("global", "here") == str(place)


def test_file_is_searched_in_fife_launch_path(tmp_path, monkeypatch):
    """The directories of FIFE_LAUNCH_PATH are searched after the path as given."""
    (tmp_path / "x.cfg").write_text("[global]\n")
    monkeypatch.setenv("FIFE_LAUNCH_PATH", f"/nowhere:{tmp_path}")

    assert configuration.find_file("x.cfg") == (tmp_path / "x.cfg").resolve()


def test_sample_library_is_searched_last():
    """The shipped samples are found by their short names."""
    assert configuration.find_file("sbnd_mc/sbnd_launch.cfg").is_file()


def test_dump_shows_raw_and_expanded_values(tmp_path):
    """A dump names every option; a value that cannot be expanded is shown raw with the reason."""
    found = settled(tmp_path, "[global]\na = 1\nb = %(a)s\nc = %(no)s\n")

    assert "b = %(a)s" in found.dump(expanded=False)
    expanded = found.dump(expanded=True)
    assert "b = 1" in expanded
    assert "# not expanded" in expanded
    assert "c = %(no)s" in expanded
