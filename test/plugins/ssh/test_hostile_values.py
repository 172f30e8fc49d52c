"""Whatever people type arrives on the launch host byte for byte, and runs nothing, neither here nor there.

``POMS_TEST_HOSTILE_VALUES`` says how many values go through the real sshd (1,000 if it is not set).
"""

from __future__ import annotations

import base64
import os
import random

import pytest

from poms.plugins.ssh.connection import Connection
from poms.webservice.errors import ConfigurationError, Invalid
from poms.webservice.interfaces import BatchEnvironment, LaunchPlan
from poms.webservice.rules import shell

VALUES = int(os.environ.get("POMS_TEST_HOSTILE_VALUES", "1000"))
AT_ONCE = 100


def hostile_text(chance: random.Random, canary: str) -> str:
    """Pieces that mean something to a shell, to ssh, to Python or to a terminal, in any order."""
    attacks = [f"$(touch {canary})", f"`touch {canary}`", f"; touch {canary};", f"& touch {canary} &",
               f"|touch {canary}", f"'; touch {canary}; '", f'"; touch {canary}; "', f"\n touch {canary}\n",
               f"-oProxyCommand=touch {canary}", f"<(touch {canary})", f"${{x:=$(touch {canary})}}",
               f"%(name)s {{0}} $HOME ~root * ? [a-z] !! !$ {canary}"]
    pieces = ["'", '"', "\\", "\n", "\r", "\r\n", "\t", " ", "$", "`", "(", ")", "{", "}", "<", ">", "&", "|", ";", "#",
              "!", "*", "?", "~", "^", "%", "%s", "=", "-", "--", "-o", "\\x00", "\\n", "\x01", "\x1b[31m", "\x7f",
              "\x04", "é", "東京", "🛰", "\u202e", "\ufeff", "\u2028", "poms-launch:ready", "EOF", "exit 0", "set +x"]
    if chance.random() < 0.01:
        return chance.choice(pieces) * (65536 // 16) + chance.choice(attacks)
    words = [chance.choice(attacks if chance.random() < 0.3 else pieces) for _ in range(chance.randint(0, 12))]
    if chance.random() < 0.3:
        words += [chr(chance.choice([chance.randint(1, 0xD7FF), chance.randint(0xE000, 0x10FFFF)])) for _ in range(8)]
    return "".join(words)


def plan_with(values: list[str], command: str) -> LaunchPlan:
    return LaunchPlan(7, 1, "samdev", "fermilab", "production", "ann", "127.0.0.1", "samdevpro", "", command,
                      tuple((f"V{number}", value) for number, value in enumerate(values)))


def test_every_value_arrives_byte_for_byte(caller, server, tmp_path, seed):
    """Hostile values of a launch's environment are the same texts on the other side, and no canary file appears."""
    chance = random.Random(seed)
    canary = tmp_path / "canary"
    home = server.directory
    arrived = 0
    while arrived < VALUES:
        values = [hostile_text(chance, str(canary)) for _ in range(AT_ONCE)]
        # One line a value: what bash has in the variable, as its programs get it.
        command = (f"set +x; for number in $(seq 0 {len(values) - 1}); do printenv V$number | base64 -w 0; echo; "
                   "done")
        script = shell.launch_script(plan_with(values, command), BatchEnvironment())

        result = caller.run(script)

        lines = [line for line in result.output.split("\n") if line and line[0] not in "=+"]
        assert result.exit_status == 0, result.output[-2000:]
        # printenv adds one line end.
        assert [base64.b64decode(line)[:-1].decode() for line in lines] == values
        arrived += len(values)
    assert not list(tmp_path.glob("canary*"))
    assert not list(home.glob("canary*"))


def test_a_value_cannot_end_the_script_early(caller):
    """Text that looks like the protocol, or like the end of a script, is only text."""
    values = ["7 key 5\n", "poms-launch:ready\n", "\nexit 0\n", "EOF\n", "\x04"]
    script = shell.launch_script(plan_with(values, "echo the command ran"), BatchEnvironment())

    assert "the command ran" in caller.run(script).output


HOSTILE_NAMES = ["-oProxyCommand=touch canary", "host name", "host\n", "host;id", "$(id)", "user@host", "", "höst",
                 "host/..", "-l", "--", "host\0", "a" * 10 + "'"]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
@pytest.mark.parametrize("part", ["host", "account"])
def test_a_name_that_is_none_never_reaches_ssh(context_for, name, part):
    """Host and account are single words; anything else is refused before ssh is started, whatever the list says."""
    connection = Connection.of(context_for(allowed_hosts="*@*"))
    names = {"host": "gpvm01.example.org", "account": "samdevpro"} | {part: name}

    with pytest.raises(Invalid, match=f"no name of a launch {part}"):
        connection.require_allowed(**names)


@pytest.mark.parametrize(("pattern", "place", "allowed"), [
    ("novapro@novagpvm01.example.org", "novapro@novagpvm01.example.org", True),
    ("novapro@novagpvm*.example.org", "novapro@novagpvm12.example.org", True),
    ("*@novagpvm01.example.org", "anybody@novagpvm01.example.org", True),
    ("novapro@novagpvm01.example.org", "xnovapro@novagpvm01.example.org", False),
    ("novapro@novagpvm01.example.org", "novapro@novagpvm01.example.org.evil.net", False),
    ("novapro@novagpvm01.example.org", "novapro@novagpvm01xexample.org", False),
    ("novapro@*", "root@novagpvm01.example.org", False),
    ("", "novapro@novagpvm01.example.org", False),
])
def test_only_listed_places_are_reached(context_for, pattern, place, allowed):
    """Account and host are compared with the list as a whole; an empty list means nobody."""
    connection = Connection.of(context_for(allowed_hosts=pattern))
    account, host = place.split("@")

    if allowed:
        connection.require_allowed(host, account)
    else:
        with pytest.raises(Invalid, match="not a place where experiment samdev may launch"):
            connection.require_allowed(host, account)


def test_host_comes_after_the_options_end(context_for):
    """No host can be taken for an option, and the command is the fixed one."""
    words = Connection.of(context_for(allowed_hosts="a@b")).arguments("b", "a", "exec true")

    assert words[-5:] == ["-l", "a", "--", "b", "exec true"]


def test_the_operator_cannot_switch_the_protection_off_by_accident(context_for):
    """ssh takes the first value of an option: those of POMS stand before the operator's."""
    connection = Connection.of(context_for(options="StrictHostKeyChecking=no, BatchMode=no, Port=2222"))
    words = connection.arguments("b", "a", "exec true")

    assert words.index("StrictHostKeyChecking=yes") < words.index("StrictHostKeyChecking=no")
    assert words.index("BatchMode=yes") < words.index("BatchMode=no")


@pytest.mark.parametrize("options", [
    {"allowed_hosts": "novagpvm01"}, {"allowed_hosts": "a@b c"}, {"options": "Port 22"}, {"options": "-v"},
    {"known_hosts": '/etc/a"b'},
])
def test_settings_that_make_no_sense_stop_the_start(context_for, options):
    """A misspelt setting is found when the back end is built, not at the first launch at night."""
    with pytest.raises(ConfigurationError, match=r"\[ssh\] "):
        Connection.of(context_for(**options))


def test_names_of_files_may_have_blanks_and_percent_signs(context_for):
    """ssh would split a path at blanks and expand percent signs."""
    words = Connection.of(context_for(known_hosts="/etc/poms hosts/100%d")).arguments("b", "a", "exec true")

    assert 'UserKnownHostsFile="/etc/poms hosts/100%%d"' in words
