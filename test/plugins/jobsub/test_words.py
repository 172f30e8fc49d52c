"""What jobsub is told and what it says: attributes that cannot do harm, credentials, options, complaints."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poms.plugins.jobsub import attributes, commands, credentials, logs
from poms.plugins.jobsub.options import JobsubOptions, filled, make_options
from poms.webservice.errors import BackendUnavailable, ConfigurationError, Invalid, NotFound
from poms.webservice.rules import jobsub_options as jobsub
from poms.webservice.testing.jobs import HOSTILE_NAMES, await_that
from test.plugins.jobsub.conftest import a_plan, a_token


def variables(**changes):
    return dict(attributes.variables(a_plan(**changes)))


# --------------------------------------------------------------------------------------------- attributes


def test_jobs_carry_submission_attempt_and_role():
    """The numbers that everything is found by, and whose token may act on the jobs."""
    lines = variables(submission_id=42, attempt=3, role="Production")["JOBSUB_EXTRA_LINES"].split(",")

    assert lines[:2] == ["+POMS4_SUBMISSION_ID=42", "+POMS4_LAUNCH_ATTEMPT=3"]
    assert '+POMS4_VO_ROLE="Production"' in lines


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_hostile_names_add_no_line_and_no_attribute(name):
    """jobsub writes lines as they are: whatever a campaign is called, there is one string for it."""
    found = variables(environment=(("POMS4_CAMPAIGN_NAME", name), ("POMS4_CAMPAIGN_ID", name)))

    lines = [jobsub.parse_line(line) for line in found["JOBSUB_EXTRA_LINES"].split(",")]
    assert [line[0] for line in lines].count("POMS4_CAMPAIGN_NAME") == 1
    assert "POMS4_CAMPAIGN_ID" not in [line[0] for line in lines]
    assert "\n" not in found["JOBSUB_EXTRA_LINES"]


@given(st.text(max_size=200))
def test_what_is_harmless_stays_one_word(text):
    """No blank, quote, separator, macro or line end is left of any text."""
    assert not re.search(r"""[\s"'\\;,$`(){}\[\]<>&|*?#!]""", attributes.harmless(text))


@given(st.text(max_size=50))
def test_harmless_twice_is_harmless_once(text):
    """A name that was made harmless can go through again unchanged."""
    once = attributes.harmless(text)

    assert attributes.harmless(once) == once


def test_empty_variables_are_not_asked_for():
    """jobsub refuses a submit that names a variable without a value."""
    found = variables(environment=(("POMS_PARENT_TASK_ID", ""), ("POMS_TEST", "1"), ("PATH", "/bin")))

    assert found["JOBSUB_EXTRA_ENVIRONMENT"].split(",") == \
        ["POMS_TEST=1", "POMS4_SUBMISSION_ID=7", "POMS4_LAUNCH_ATTEMPT=1"]


def test_a_role_that_is_no_word_is_left_out():
    """A role from a hand-written stage cannot add an expression."""
    assert "VO_ROLE" not in variables(role='x" || true')["JOBSUB_EXTRA_LINES"]


# --------------------------------------------------------------------------------------------- credentials


def options(**changes):
    return JobsubOptions(**{"group": "sbnd", "roles": ("Production", "Analysis"), "default_role": "Production",
                            **changes})


def test_each_role_has_a_token_of_its_own():
    """The token's file and the options of htgettoken name group and role."""
    found = dict(credentials.environment(options(token_file="/run/{group}/{role}",
                                                 htgettoken_options="-i {group} -r {role}"), "Production"))

    assert found == {"GROUP": "sbnd", "JOBSUB_GROUP": "sbnd", "BEARER_TOKEN_FILE": "/run/sbnd/production",
                     "HTGETTOKENOPTS": "-i sbnd -r production"}


def test_a_role_cannot_lead_to_another_file():
    """A role with slashes or dots is refused before a path is made of it."""
    with pytest.raises(Invalid):
        filled("/run/{group}/{role}", "sbnd", "../../etc/passwd")


def problem(tmp_path: Path, text: str | bytes, role: str = "Production") -> str:
    (tmp_path / role.lower()).write_bytes(text if isinstance(text, bytes) else text.encode())
    return credentials.look(options(token_file=f"{tmp_path}/{{role}}", roles=(role,)), datetime.now(UTC))[0].problem


def test_a_good_token_is_no_problem(tmp_path):
    """Valid for a while, for the group in the role."""
    assert problem(tmp_path, a_token("/sbnd", "/sbnd/production") + "\n") == ""


@pytest.mark.parametrize(("text", "words"), [
    ("not a token", "is no token"), ("a.b.c", "is no token"), (b"\xff\xfe.\xff.\xff", "is no token"),
    ("a.bnVsbA.c", "is no token"), ("a.e30.c", "does not say when it expires"),
    (a_token("/sbnd/production", seconds=-9), "expired"), (a_token("/sbnd"), "is not for /sbnd/production"),
], ids=["words", "no parts", "bytes", "no claims", "no end", "expired", "another group"])
def test_a_bad_token_is_told_without_its_text(tmp_path, text, words):
    """What is wrong is said; nothing of the token itself is."""
    found = problem(tmp_path, text)

    assert words in found
    assert not isinstance(text, str) or text not in found


# --------------------------------------------------------------------------------------------- options


@pytest.mark.parametrize(("values", "words"), [
    ({"groups": ("samdev",)}, "EXPERIMENT=GROUP"), ({"roles": ("a b",)}, "no name"),
    ({"fetch_logs_from": "elsewhere"}, "service or condor"), ({"token_file": "/run/{user}"}, "{user}"),
    ({"token_file": "run/x"}, "slash"), ({"default_role": ""}, "default_role"),
])
def test_options_that_cannot_be_are_refused(values, words):
    """poms.ini is judged at the start, not at the first launch."""
    with pytest.raises(ConfigurationError, match=re.escape(words)):
        make_options({"roles": ("Production",), "default_role": "Production", **values}, "samdev")


def test_groups_can_be_called_otherwise_than_experiments():
    """samdev's jobs run as fermilab's."""
    values = {"groups": ("samdev=fermilab",), "roles": (), "default_role": "Production"}

    assert [make_options(values, name).group for name in ("samdev", "sbnd")] == ["fermilab", "sbnd"]


# --------------------------------------------------------------------------------------------- what was said


@pytest.mark.parametrize(("text", "complaint"), [
    ("All jobs matching constraint (POMS4_SUBMISSION_ID == 7) have been held\n", ""),
    ("Couldn't find/remove all jobs matching constraint (POMS4_SUBMISSION_ID == 7)\n", ""),
    ("Job 8.1 already held\nJob 999.0 not found\n", ""),
    ("Note: tracing not available here.\nContinuing without tracing...\nJob 8.1 held\n", ""),
    ("Error: cannot get address of schedd nowhere.example\n", "Error: cannot get address of schedd nowhere.example"),
    ("Permission denied to hold job 8.1\n", "Permission denied to hold job 8.1"),
])
def test_what_jobsub_prints_is_told_apart(text, complaint):
    """Failures are quoted; what jobs were found or not is for the queue to say."""
    assert commands.Said(text, 0).complaint == complaint


def test_an_exit_status_is_a_complaint_with_the_last_lines():
    """Control commands end with 0 whatever happens, so another status is trouble before anything was tried."""
    assert commands.Said("usage: jobsub_hold\n", 2).complaint == "usage: jobsub_hold"


def test_a_command_that_hangs_is_ended_with_all_it_started(tmp_path):
    """jobsub starts condor's commands; none of them goes on after the time is over."""
    pid_file = tmp_path / "pid"
    program = tmp_path / "jobsub_hold"
    program.write_text(f"#!/bin/sh\nsleep 600 &\necho $! > {pid_file}\nwait\n")
    program.chmod(0o755)

    with pytest.raises(BackendUnavailable, match="had not ended"):
        commands.run(options(programs=str(tmp_path), timeout_seconds=2.0), "jobsub_hold", [], role="Production")

    await_that(lambda: has_gone(pid_file.read_text().strip()))


def has_gone(pid: str) -> bool:
    """It was killed: there is at most its entry, which its new parent takes away."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_arguments_are_words_and_never_shell(tmp_path):
    """Whatever is in a constraint or reason arrives as one argument."""
    program = tmp_path / "jobsub_hold"
    program.write_text(f"#!{sys.executable}\nimport sys\nprint(sys.argv[1:])\n")
    program.chmod(0o755)

    said = commands.act(options(programs=str(tmp_path)), "hold", schedd="s.example", role="Production",
                        constraint="$(touch canary); `id`", reason="it's\n$(id) @x")

    assert said.text.strip() == str(["-G", "sbnd", "--role", "Production", "-name", "s.example", "--constraint",
                                     "$(touch canary); `id`", "-reason", "it's $(id)  at x"])


def test_the_service_own_surroundings_hold_no_other_token(tmp_path, monkeypatch):
    """A command uses the token of the role it acts in, whatever the service was started with."""
    program = tmp_path / "jobsub_rm"
    program.write_text('#!/bin/sh\necho "$BEARER_TOKEN_FILE"\n')
    program.chmod(0o755)
    monkeypatch.setenv("BEARER_TOKEN_FILE", "/tmp/somebody")

    said = commands.run(options(programs=str(tmp_path), token_file="/run/{group}_{role}"), "jobsub_rm", [],
                        role="Analysis")

    assert said.text.strip() == "/run/sbnd_analysis"


@pytest.mark.parametrize(("text", "condition"), [
    ("Error in receiveJobSandbox: File transfer failed for target job 6.0: SCHEDD failed "
     "to send file(s): |Error: reading from file /var/spool/6/0/cluster6.proc0.subproc0/.empty_file: (errno 2) No such "
     "file or directory\nTransfer may be incomplete.", NotFound),
    ("Error: urlopen error 404 Not Found", NotFound),
    ("Error in transfer_data(): Failed to connect to schedd", BackendUnavailable),
])
def test_a_log_that_is_not_there_yet_is_no_failure(text, condition):
    """A schedd has no output of a job that still runs; a schedd that is not reached may have it."""
    assert type(logs._absence(commands.Said(text, 0), "6.0@here", "stdout")) is condition
