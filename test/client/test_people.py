"""poms people: who is in an experiment, at the command line."""

from __future__ import annotations

import json

import pytest

from poms.webservice.model import Experimenter
from poms.webservice.rules.permissions import SUPERUSER
from poms.webservice.services import accounts


@pytest.fixture
def boss(running):
    """The user of this machine as superuser, beside another member."""
    accounts.set_role(running.world.core, "demo", "samdev", SUPERUSER)
    running.world.person("olive")
    return lambda *words: running.poms("people", *words, "-r", "superuser")


def lines(answer):
    assert answer[0] == 0, answer
    return [" ".join(line.split()) for line in answer[1].splitlines()]


def test_people_are_added_promoted_and_sent_away(boss):
    """Each step is told, and all of it is on record."""
    assert lines(boss("add", "newcomer", "--as", "production-shifter", "--first-name", "Nell")) == [
        "added newcomer as production-shifter"]
    assert lines(boss("role", "production", "newcomer", "olive", "--reason", "spring run")) == [
        "newcomer: production-shifter -> production"]
    assert lines(boss("role", "production", "newcomer")) == ["nothing to change"]
    assert lines(boss("end", "newcomer")) == ["newcomer: production -> no member"]

    assert lines(boss("list")) == ["demo superuser", "olive production"]
    assert lines(boss("list", "--all", "ell")) == ["newcomer was production Nell"]
    shown = json.loads(boss("show", "newcomer", "--json")[1])
    assert [(row["was"], row["role"], row["reason"]) for row in shown["history"]] == [
        ("production", "", ""), ("production-shifter", "production", "spring run"), ("", "production-shifter", "")]


def test_what_is_refused_is_one_line(running, boss):
    """In the words of the server, with exit status 1."""
    for words in (("end", "demo"), ("add", "olive"), ("add", "a b"), ("end", "nobody"), ("show", "nobody")):
        status, out, error = boss(*words)
        assert (status, out) == (1, "") and error.startswith("poms: ") and error.count("\n") == 1, words
    assert "last superuser of samdev" in boss("end", "demo")[2]
    assert running.poms("people", "end", "olive", "-r", "production")[0] == 1


def test_names_do_not_reach_the_terminal_as_commands(running, boss):
    """What a terminal would obey is taken out."""
    olive = running.world.person("olive")
    running.world.change(Experimenter, olive.experimenter_id, first_name="\x1b[2Jred", last_name="x")

    assert "\x1b" not in boss("list")[1] + boss("show", "olive")[1]
