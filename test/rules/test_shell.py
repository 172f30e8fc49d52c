"""Shell text: values arrive byte for byte, and only setup and command are shell."""

from __future__ import annotations

import os
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from poms.webservice.errors import Invalid
from poms.webservice.interfaces import BatchEnvironment, LaunchPlan
from poms.webservice.rules import shell

HOSTILE = ["'", '"', "`touch canary`", "$(touch canary)", "a'b\"c", "; touch canary;", "&& touch canary", "\n", "a\nb",
           "\r\n", "\\", "\\'", "!!", "*", "~", "-oProxyCommand=touch canary", "é", "東京", "\U0001f600", "", " ", "\t",
           "${HOME}", "%(x)s", "\x7f\x01\x1b[31m", "#", "=", "a=b", "x" * 65536, "'" * 20000, "</script>"]
values = st.one_of(
    st.sampled_from(HOSTILE),
    st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=40),
    st.text(alphabet="'\"`$()\\;&|<>\n\r\t !*?[]{}~#%=-a", max_size=30),
)


def plan(**changes) -> LaunchPlan:
    fields = {"submission_id": 7, "attempt": 2, "experiment": "samdev", "group": "samdev", "role": "Analysis",
              "launcher": "ann", "host": "localhost", "account": "", "setup": "", "command": "true", "environment": ()}
    return LaunchPlan(**{**fields, **changes})


def run(script: str, cwd=None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["/bin/bash", "--noprofile", "--norc", "-s"], input=script.encode(), cwd=cwd, timeout=60,
                          env={"PATH": os.environ["PATH"]}, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture,
                                                                 HealthCheck.too_slow, HealthCheck.large_base_example,
                                                                 HealthCheck.data_too_large])
@given(st.lists(values, min_size=45, max_size=50))
def test_values_arrive_byte_for_byte(tmp_path, texts):
    """Each of more than 2,000 generated values reaches a program unchanged, as variable and as word."""
    room = 1_000_000  # Linux takes 2 MiB of variables in all
    texts = [text if (room := room - len(text.encode())) > 0 else text[:100] for text in texts]
    variables = tuple((f"V{number}", text) for number, text in enumerate(texts))
    words = " ".join(shell.quote(text) for text in texts)
    script = shell.launch_script(plan(environment=variables, command="env -0 > seen.env"), BatchEnvironment())

    done = run(f"printf '%s\\0' {words} > seen.words\n{script}", tmp_path)

    assert done.returncode == 0, done.stdout[-2000:]
    seen = dict(entry.split(b"=", 1) for entry in (tmp_path / "seen.env").read_bytes().split(b"\0")[:-1])
    assert [seen[name.encode()] for name, _ in variables] == [text.encode() for text in texts]
    assert (tmp_path / "seen.words").read_bytes().split(b"\0")[:-1] == [text.encode() for text in texts]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["seen.env", "seen.words"]


def test_nul_is_refused():
    """A value with a NUL, which no program could receive, is refused with the variable's name."""
    with pytest.raises(Invalid, match="DATASET"):
        shell.launch_script(plan(environment=(("DATASET", "a\0b"),)), BatchEnvironment())


@pytest.mark.parametrize("name", ["", "1A", "A B", "A;touch x", "A=B", "É", "A\n"])
def test_bad_variable_names_are_refused(name):
    """A name that is no variable name could carry shell text and is refused."""
    with pytest.raises(Invalid):
        shell.export(name, "x")


def test_too_long_a_value_is_refused_by_name():
    """A value that Linux could not hand to any program is refused before the launch."""
    with pytest.raises(Invalid, match="at most"):
        shell.export("BIG", "x" * 130_000)


def test_half_a_character_is_refused():
    """A lone surrogate has no bytes and is refused."""
    with pytest.raises(Invalid, match="NAME"):
        shell.export("NAME", "\ud800")


def test_exit_status_is_the_commands():
    """The script ends with the command's status, after the line that says it is completed."""
    done = run(shell.launch_script(plan(command="exit 7"), BatchEnvironment()))

    assert done.returncode == 7
    assert b"== process_id: " in done.stdout.splitlines()[0]
    assert b"== completed: " in done.stdout.splitlines()[-1]


@pytest.mark.parametrize("command", ["echo 'unfinished", "if true; then", "cat <<END", "exec false",
                                     "trap '' EXIT; false", "set -e; false; echo never"])
def test_a_broken_command_cannot_swallow_the_end(command):
    """Whatever the command does, the completed line comes; an unfinished text is not taken further."""
    done = run(shell.launch_script(plan(command=command), BatchEnvironment()))

    assert b"== completed: " in done.stdout.splitlines()[-1]
    assert b"never" not in done.stdout.replace(b"echo never", b"")


def test_setup_cannot_undo_what_ties_the_jobs_to_the_submission():
    """Variables of the submission, the batch system and its place on PATH hold after the setup text."""
    setup = "export POMS4_SUBMISSION_ID=1 POMS_LOCAL_BATCH=/tmp/other POMS_TASK_ID=9; PATH=/opt/mine:$PATH; set -eu"
    script = shell.launch_script(
        plan(setup=setup, environment=(("POMS_TASK_ID", "7"),),
             command='set +x; echo "$POMS4_SUBMISSION_ID/$POMS4_LAUNCH_ATTEMPT/$POMS_TASK_ID/$POMS_LOCAL_BATCH/$PATH"'),
        BatchEnvironment(path=("/b in",), variables=(("POMS_LOCAL_BATCH", "/spool"),)))

    done = run(script)

    assert b"\n7/2/7//spool//b in:/opt/mine:" in done.stdout


def test_setup_that_freezes_our_variables_ends_the_launch():
    """A setup that makes a variable of the submission read-only stops the launch instead of misleading it."""
    done = run(shell.launch_script(plan(setup="readonly POMS4_SUBMISSION_ID=1", command="echo launched"),
                                   BatchEnvironment()))

    assert done.returncode == shell.EXPORT_FAILED_STATUS
    assert b"launched" not in done.stdout


def test_setup_may_change_how_the_catalogue_is_reached():
    """What a launch is offered beside its own variables is there for the setup text, which may change it."""
    script = shell.launch_script(plan(setup='SAM_STATION="$SAM_STATION-mine"', command="set +x; echo =$SAM_STATION="),
                                 BatchEnvironment(), extra=[("SAM_STATION", "samdev")])

    assert b"=samdev-mine=" in run(script).stdout


def test_only_the_command_is_traced():
    """Values that are exported do not appear in the log; the command's steps do."""
    script = shell.launch_script(plan(setup="set -x", environment=(("TOKEN_PATH", "not-for-the-log"),),
                                      command="echo one two"), BatchEnvironment())

    done = run(script)

    assert b"not-for-the-log" not in done.stdout
    assert b"+ echo one two" in done.stdout


def test_line_ends_of_a_browser_are_taken_as_line_ends():
    """Setup and command typed into a form work, though the browser sends CR LF."""
    script = shell.launch_script(plan(setup="A=1\r\nB=2\r\n", command="echo $A$B\r\n"), BatchEnvironment())

    assert b"\n12\n" in run(script).stdout


@pytest.mark.parametrize("directory", ["relative", "/a:b"])
def test_odd_directories_are_not_put_on_path(directory):
    """PATH takes absolute directories without a colon only."""
    with pytest.raises(Invalid):
        shell.launch_script(plan(), BatchEnvironment(path=(directory,)))
