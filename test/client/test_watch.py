"""poms watch: what the person at the command line is told of."""

from __future__ import annotations

import json


def test_campaigns_and_stages_are_watched(running, campaign):
    """By their names; the list says of what one is told."""
    assert running.poms("watch", "add", "mc") == (0, "you watch mc: finished, attention, approval, held\n", "")
    assert running.poms("watch", "add", "mc/reco", "--about", "next, finished")[1] == (
        "you watch mc/reco: next, finished\n")
    assert [" ".join(line.split()) for line in running.poms("watch", "list")[1].splitlines()] == [
        "samdev mc finished, attention, approval, held", "samdev mc/reco next, finished"]

    assert running.poms("watch", "remove", "mc")[1] == "you watch mc no more\n"
    assert running.poms("watch", "remove", "mc")[1] == "you did not watch mc\n"
    assert len(running.poms("watch", "list")[1].splitlines()) == 1


def test_what_is_not_there_cannot_be_watched(running, campaign):
    """One line, and exit status 1."""
    for words in (("watch", "add", "nothing"), ("watch", "add", "mc/nothing"),
                  ("watch", "add", "mc", "--about", "gossip")):
        status, out, error = running.poms(*words)
        assert (status, out) == (1, "") and error.startswith("poms: ") and error.count("\n") == 1


def test_settings_are_changed_one_by_one(running):
    """What is not named stays; everything is shown."""
    running.poms("watch", "settings", "--to", "fake=to:demo", "--quiet", "22:00-07:00", "--time-zone",
                 "America/Chicago")
    status, out, _ = running.poms("watch", "settings", "--every", "6h")

    shown = [" ".join(line.split()) for line in out.splitlines()]
    assert status == 0
    assert shown == ["fake to:demo signed with secret of demo", "other -", "every 6h", "quiet 22:00-07:00",
                     "time zone America/Chicago"]
    found = json.loads(running.poms("watch", "settings", "--to", "fake=", "--quiet", "", "--json")[1])
    assert found["settings"] == {"every": "6h", "quiet": "", "time_zone": "America/Chicago"}
    assert [one["address"] for one in found["channels"]] == ["", ""]


def test_wrong_settings_are_refused(running):
    """A bad command line is 2, what the server refuses 1."""
    assert running.poms("watch", "settings", "--to", "fake")[0] == 2
    for words in (("--to", "fake=demo"), ("--to", "pigeon=roof"), ("--every", "2m"), ("--quiet", "late")):
        assert running.poms("watch", "settings", *words)[0] == 1


def test_a_test_message_is_asked_for(running):
    """If there is an address to send it to."""
    assert running.poms("watch", "test", "fake")[0] == 1
    running.poms("watch", "settings", "--to", "fake=to:demo")

    assert running.poms("watch", "test", "fake") == (0, "a test message by fake is on its way\n", "")
