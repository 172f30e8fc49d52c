"""What ``poms check`` says of ssh launches before the first one."""

from __future__ import annotations

import pytest

from poms.plugins import ssh
from poms.plugins.ssh.checks import check_surroundings


def levels(results):
    return [result.level for result in results]


@pytest.fixture
def usual(tmp_path):
    """Settings with which all is well."""
    (tmp_path / "hosts").write_text("gpvm01 ssh-ed25519 AAAA\n")
    (tmp_path / "key").write_text("secret")
    (tmp_path / "key").chmod(0o600)
    return {"allowed_hosts": "samdevpro@gpvm01", "known_hosts": str(tmp_path / "hosts"),
            "identity_file": str(tmp_path / "key"), "keep_connection": "0"}


def test_all_is_well(context_for, usual):
    """The result names the places."""
    (result,) = check_surroundings(context_for(**usual))

    assert result.level == "ok"
    assert "samdevpro@gpvm01" in result.message


def test_nobody_who_does_not_use_it_is_bothered(context_for):
    """Without any allowed place there is nothing to check."""
    assert ssh.poms_start_checks(lambda experiment, section: context_for()) == []


@pytest.mark.parametrize(("file", "key"), [("hosts", "known_hosts"), ("key", "identity_file")])
def test_a_file_that_is_not_there_is_an_error(context_for, usual, tmp_path, file, key):
    """The message names the setting."""
    (tmp_path / file).unlink()

    (result,) = check_surroundings(context_for(**usual))

    assert result.level == "error"
    assert key in result.message


def test_a_key_that_others_may_read_is_an_error(context_for, usual, tmp_path):
    """ssh itself would refuse it, at the first launch."""
    (tmp_path / "key").chmod(0o644)

    (result,) = check_surroundings(context_for(**usual))

    assert (result.level, "chmod 600" in result.message) == ("error", True)


def test_empty_known_hosts_are_warned_about(context_for, usual, tmp_path):
    """No host would be believed."""
    (tmp_path / "hosts").write_text("")

    assert levels(check_surroundings(context_for(**usual))) == ["warning"]


def test_a_path_too_long_for_sockets_is_warned_about(context_for, usual, tmp_path):
    """Launches work, but each makes its own connection."""
    usual |= {"keep_connection": "60s", "control_dir": str(tmp_path / ("d" * 120))}

    assert levels(check_surroundings(context_for(**usual))) == ["warning"]


def test_missing_client_is_an_error(context_for, usual, monkeypatch):
    """Without ssh there are no launches."""
    monkeypatch.setattr("poms.plugins.ssh.checks.PATH", "/nonexistent")

    assert levels(check_surroundings(context_for(**usual))) == ["error"]


def test_settings_that_make_no_sense_are_an_error(context_for):
    """What the transport would refuse is seen at the start."""
    assert levels(ssh.poms_start_checks(lambda experiment, section: context_for(allowed_hosts="x"))) == ["error"]
