"""Credentials from files: which will do, what a launch is given, how they are renewed, and that nobody sees them."""

from __future__ import annotations

import json
import logging
import os
import stat
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

import jwt
import pytest

from poms.plugins.credentials import SECTION, FileCredentials
from poms.plugins.credentials.inspection import LARGEST_BYTES
from poms.plugins.credentials.renewal import last_words
from poms.webservice import config
from poms.webservice.errors import BackendUnavailable, ConfigurationError, CredentialsLacking, Invalid
from poms.webservice.interfaces import PluginContext
from poms.webservice.testing.credentials import (
    CredentialBackendContract,
    make_proxy,
    make_token,
    own_file,
    request_of,
)

NOW = datetime(2026, 3, 14, 2, 41, 7, tzinfo=UTC)
CANARY = "canary-77b0c1-never-shown"
LATER = NOW + timedelta(hours=3)


def backend_with(directory, experiment="sbnd", **lines):
    """The back end that these lines of [credentials] make."""
    text = "\n".join(f"{key} = {value}" for key, value in lines.items())
    settings = config.parse(f"[credentials]\n{text}\n", directory=directory, sections=[SECTION])
    options = MappingProxyType(dict(settings.plugin_section("credentials", experiment)))
    return FileCredentials(PluginContext(experiment, options, directory / "data", "", "", lambda: NOW,
                                         lambda name: name))


def keep(path, data, *, mode=0o600, age_seconds=0.0):
    path.write_bytes(data)
    path.chmod(mode)
    at = NOW.timestamp() - age_seconds
    os.utime(path, (at, at))
    return path


@pytest.fixture
def files(tmp_path):
    """A proxy, a token and a vault token of the experiment, all good."""
    keep(tmp_path / "sbnd.proxy", make_proxy(LATER, LATER + timedelta(days=3)))
    keep(tmp_path / "sbnd.production.token", make_token(LATER, "/sbnd", "/sbnd/production", canary=CANARY))
    keep(tmp_path / "vault", b"hvs.CAESIvaultcanary0123456789\n", age_seconds=3 * 86400)
    return tmp_path


@pytest.fixture
def lines(files):
    return {"proxy": files / "{experiment}.proxy", "token": files / "{group}.{role}.token",
            "vault_token": files / "vault"}


class TestContract(CredentialBackendContract):
    """The contract, for credentials of the experiment in files."""

    @pytest.fixture
    def backend(self, files, lines):
        self.files = files
        return backend_with(files, **lines)

    def spoil(self):
        for name in ("sbnd.proxy", "sbnd.production.token", "vault"):
            (self.files / name).unlink()


# ------------------------------------------------------------------------------- what a launch is given


def test_each_kind_goes_to_its_variable(files, lines):
    """Proxy, token and vault token are found by the programs that look for them."""
    issued = backend_with(files, **lines, htgettoken_options="-a vault.example.org -i {group} -r {role}").issue(
        request_of())

    assert {file.name: file.exports for file in issued.files} == {
        "proxy": (("X509_USER_PROXY", ""),), "token": (("BEARER_TOKEN_FILE", ""),),
        "vault_token": (("VAULT_TOKEN_FILE", ""),
                        ("HTGETTOKENOPTS", "-a vault.example.org -i sbnd -r production --vaulttokeninfile="))}
    assert [file.data for file in issued.files] == [
        (files / name).read_bytes() for name in ("sbnd.proxy", "sbnd.production.token", "vault")]


def test_options_without_a_vault_token_are_a_plain_variable(files, lines):
    """Where htgettoken gets its vault token by Kerberos, scripts only need to know where."""
    del lines["vault_token"]
    issued = backend_with(files, **lines, htgettoken_options="-a vault.example.org -i {group}").issue(request_of())

    assert issued.variables == (("HTGETTOKENOPTS", "-a vault.example.org -i sbnd"),)


def test_states_say_until_when_and_for_whom(files, lines):
    """What pages show: the first certificate of a chain to end, a token's groups, the age of a vault token."""
    found = backend_with(files, **lines).look(request_of())

    assert [(state.kind, state.whose, state.problem, state.expires_at, state.note) for state in found] == [
        ("proxy", "sbnd as production", "", LATER, ""),
        ("token", "sbnd as production", "", LATER, "for /sbnd, /sbnd/production"),
        ("vault token", "sbnd as production", "", None, "stored 3 days ago")]


def test_production_never_gets_somebody_s_own(files, lines):
    """What people uploaded is for their analysis; the experiment's is for nobody's."""
    own = {"x509up_voms_sbnd_Analysis_olive": own_file("x509up_voms_sbnd_Analysis_olive", make_proxy(LATER)),
           "bt_sbnd_Production_olive": own_file("bt_sbnd_Production_olive", make_token(LATER))}
    backend = backend_with(files, **lines, own="proxy")

    experiments = backend.issue(request_of("production", own=own))
    analysis = backend.issue(request_of("analysis", own=own))

    assert {file.name for file in experiments.files} == {"proxy", "token", "vault_token"}
    assert [file.data for file in analysis.files] == [own["x509up_voms_sbnd_Analysis_olive"].data]
    assert experiments.files[0].data != analysis.files[0].data


def test_an_older_client_s_spelling_of_a_vault_token_is_found(files):
    """The role in its name may have a small letter."""
    own = {"vt_sbnd_analysis_olive": own_file("vt_sbnd_analysis_olive", b"hvs.mine0123456789", NOW)}

    issued = backend_with(files, own="vault_token").issue(request_of("analysis", own=own))

    assert [file.data for file in issued.files] == [b"hvs.mine0123456789"]


def test_nothing_configured_is_nothing_given(tmp_path):
    """No file, no variable, and nothing to complain about."""
    backend = backend_with(tmp_path)

    for role in ("production", "analysis"):
        assert backend.look(request_of(role)) == []
        assert backend.issue(request_of(role)).files == ()


# ------------------------------------------------------------------------------------- what will not do


def broken(kind, data, **how):
    return pytest.param(kind, data, how.pop("told"), how, id=f"{kind}: {how.pop('called')}")


@pytest.mark.parametrize(("name", "data", "told", "how"), [
    broken("sbnd.proxy", b"", told="is empty", called="empty"),
    broken("sbnd.proxy", b"\xff\x00not a proxy", told="is no proxy certificate", called="garbage"),
    broken("sbnd.proxy", make_proxy(LATER).split(b"-----BEGIN PRIVATE")[0], told="no private key", called="no key"),
    broken("sbnd.proxy", make_proxy(NOW - timedelta(hours=1)), told="expired 2026-03-14 01:41 UTC", called="expired"),
    broken("sbnd.proxy", make_proxy(LATER, NOW + timedelta(minutes=4)), told="is valid for 4 minutes only; a launch "
           "needs 10 minutes", called="chain too short"),
    broken("sbnd.proxy", make_proxy(LATER), mode=0o640, told="can be read by others", called="group"),
    broken("sbnd.production.token", make_token(NOW), told="expired", called="expired"),
    broken("sbnd.production.token", make_token(NOW + timedelta(seconds=90)), told="90 seconds only", called="short"),
    broken("sbnd.production.token", b"a.b", told="is no token", called="garbage"),
    broken("sbnd.production.token", b"a" * (LARGEST_BYTES + 1), told="too large", called="huge"),
    broken("sbnd.production.token", jwt.encode({"sub": "x"}, "k" * 32).encode(), told="does not say when",
           called="no exp"),
    broken("sbnd.production.token", jwt.encode({"exp": 10**30}, "k" * 32).encode(), told="does not say when",
           called="exp out of range"),
    broken("sbnd.production.token", make_token(LATER), mode=0o604, told="can be read by others", called="world"),
    broken("vault", b"hvs.x", age_seconds=6 * 86400, told="stored 6 days ago; it may be 5 days old", called="old"),
])
def test_what_will_not_do_is_told(files, lines, name, data, told, how):
    """Each fault by its own words, with the place and whom to ask, before anything is launched."""
    keep(files / name, data, **how)
    backend = backend_with(files, **lines)

    with pytest.raises(CredentialsLacking) as refused:
        backend.issue(request_of())

    assert told in str(refused.value)
    assert f"Ask whoever looks after {files / name} to renew it." in str(refused.value)
    assert [told in state.problem for state in backend.look(request_of())].count(True) == 1


@pytest.mark.parametrize("kind", ["missing", "a directory", "a pipe", "unreadable"])
def test_what_is_no_file_is_told_at_once(files, lines, kind):
    """Nobody waits for a pipe, and a directory is not read."""
    path = files / "vault"
    path.unlink()
    if kind == "a directory":
        path.mkdir()
    elif kind == "a pipe":
        os.mkfifo(path, 0o600)
    elif kind == "unreadable":
        path.symlink_to(path)

    with pytest.raises(CredentialsLacking, match="does not exist|is no file|cannot be read"):
        backend_with(files, **lines).issue(request_of())


def test_who_uploaded_nothing_is_told_what_to_upload(files):
    """The name of the file stands in the remedy."""
    with pytest.raises(CredentialsLacking) as refused:
        backend_with(files, own="proxy, vault_token").issue(request_of("analysis"))

    assert "The proxy of olive was not uploaded. Upload a new one as x509up_voms_sbnd_Analysis_olive." in str(
        refused.value)
    assert "vt_sbnd_Analysis_olive" in str(refused.value)


# -------------------------------------------------------------------------------------------- renewal


STAND_IN = """#!/usr/bin/env python3
import json, os, sys
words = sys.argv[1:]
json.dump({"words": words, "environment": sorted(os.environ), "umask": oct(os.umask(0o077))},
          open(%(record)r + str(len(os.listdir(%(record)r))) if os.path.isdir(%(record)r) else %(record)r, "w"))
given = [word.partition("=")[2] for word in words if word.startswith("--vaulttokeninfile=")]
print("read", len(open(given[0]).read()) if given else 0, "bytes")
%(more)s
def put(path, source):
    with open(path, "wb") as file:
        file.write(open(source, "rb").read())
    os.chmod(path, 0o600)
if "-o" in words:
    put(words[words.index("-o") + 1], %(token)r)
for word in words:
    if word.startswith("--vaulttokenfile="):
        put(word.partition("=")[2], %(token)r)
"""


@pytest.fixture
def program(tmp_path):
    """A program in place of htgettoken: hands out a good token and records how it was called."""
    (tmp_path / "calls").mkdir()
    source = keep(tmp_path / "fresh", make_token(LATER, "/sbnd", canary=CANARY))

    def make(more=""):
        path = tmp_path / "htgettoken"
        path.write_text(STAND_IN % {"record": f"{tmp_path}/calls/", "token": str(source), "more": more})
        path.chmod(0o700)
        return path

    return make


def calls(directory):
    return [json.loads(path.read_text()) for path in sorted((directory / "calls").iterdir())]


def test_an_expired_token_is_renewed_by_the_launch(files, lines, program):
    """The vault is asked once; looking asks nobody and says that it will be renewed."""
    keep(files / "sbnd.production.token", make_token(NOW - timedelta(hours=1)))
    backend = backend_with(files, **lines, htgettoken=program(),
                           htgettoken_options="-a vault.example.org -i {group} -r {role}")

    looked = backend.look(request_of())
    assert [state.problem for state in looked] == ["", "", ""]
    assert looked[1].note.endswith("renewed by the next launch")
    assert calls(files) == []

    issued = backend.issue(request_of())

    assert issued.files[1].data == (files / "fresh").read_bytes()
    (call,) = calls(files)
    assert call["words"][:6] == ["-a", "vault.example.org", "-i", "sbnd", "-r", "production"]
    assert call["umask"] == "0o77"
    assert not [name for name in call["environment"] if name.startswith(("POMS", "PYTEST"))]


def test_a_good_token_is_not_renewed(files, lines, program):
    """The vault is left alone while everything will do."""
    backend_with(files, **lines, htgettoken=program()).issue(request_of())

    assert calls(files) == []


def test_an_old_vault_token_is_renewed(files, lines, program):
    """The program stores a new one where the old one was, and its time begins again."""
    keep(files / "vault", b"hvs.old", age_seconds=6 * 86400)
    os.utime(files / "fresh", (NOW.timestamp(), NOW.timestamp()))
    later = NOW.timestamp()

    issued = backend_with(files, **lines, vault_token_age="100000d", htgettoken=program("")).issue(request_of())
    assert issued.files[2].data == b"hvs.old"

    backend = backend_with(files, **lines, htgettoken=program())
    assert backend.issue(request_of()).files[2].data != b"hvs.old"
    assert (files / "vault").stat().st_mtime > later


def test_a_renewal_that_fails_is_told(files, lines, program):
    """With the program's last words, but without anything in them that could be a token."""
    keep(files / "sbnd.production.token", make_token(NOW))
    backend = backend_with(files, **lines, htgettoken=program(
        f'print("starting"); print("htgettoken: vault said no to {CANARY}0123456789"); sys.exit(1)'))

    with pytest.raises(CredentialsLacking, match=r"htgettoken failed \(exit status 1\): htgettoken: vault") as no:
        backend.issue(request_of())

    assert CANARY not in str(no.value)
    assert backend.look(request_of())[1].problem == ""


def test_a_renewal_that_hangs_is_ended(files, lines, program):
    """A vault that does not answer is no lacking credential: the launch is tried again."""
    keep(files / "sbnd.production.token", make_token(NOW))

    with pytest.raises(BackendUnavailable, match="did not end within 0.5 s"):
        backend_with(files, **lines, htgettoken_timeout="0.5s",
                     htgettoken=program("import time; time.sleep(1000)")).issue(request_of())


def test_a_program_that_is_not_there_is_told(files, lines):
    """The remedy begins with what is wrong."""
    keep(files / "sbnd.production.token", make_token(NOW))

    with pytest.raises(CredentialsLacking, match="htgettoken could not be started: No such file"):
        backend_with(files, **lines, htgettoken=files / "nowhere/htgettoken").issue(request_of())


def test_somebody_s_vault_token_gives_a_token(files, program):
    """It goes to the program in a private file that is gone afterwards, and never in an argument."""
    secret = b"hvs.of-olive-0123456789"
    own = {"vt_sbnd_Analysis_olive": own_file("vt_sbnd_Analysis_olive", secret, NOW)}
    backend = backend_with(files, own="vault_token", htgettoken=program(),
                           own_htgettoken_options="-i {group} -r default --credkey={user}")

    issued = backend.issue(request_of("analysis", own=own))

    assert {file.name: file.data for file in issued.files} == {
        "vault_token": secret, "token": (files / "fresh").read_bytes()}
    (call,) = calls(files)
    assert call["words"][:5] == ["-i", "sbnd", "-r", "default", "--credkey=olive"]
    assert secret.decode() not in json.dumps(call)
    assert list((files / "data/credentials").iterdir()) == []
    assert stat.S_IMODE((files / "data/credentials").stat().st_mode) == 0o700


@pytest.mark.parametrize("username", ["a b", "-o/etc/passwd", "../x", "$(id)", "a\nb", "{role}"])
def test_a_name_becomes_no_option(files, program, username):
    """A person's name is one word for the program, or nothing is run."""
    name = f"vt_sbnd_Analysis_{username}"
    backend = backend_with(files, own="vault_token", htgettoken=program(), own_htgettoken_options="--credkey {user}")

    with pytest.raises(Invalid):
        backend.issue(request_of("analysis", username, own={name: own_file(name, b"hvs.x0123456789", NOW)}))

    assert calls(files) == []


@pytest.mark.parametrize("role", ["../../../etc", "a/b", "..", "", "a b", "$(id)", "x\ny", "\x00", "{group}", "rôle"])
def test_a_role_becomes_no_path(files, lines, role):
    """Stages say freely which role they are launched with; files elsewhere are never looked at for it."""
    backend = backend_with(files, **lines)

    for call in (backend.look, backend.issue):
        with pytest.raises(Invalid, match="cannot be part of the place of a credential"):
            call(request_of(role))


@pytest.mark.parametrize(("line", "told"), [
    ({"own": "proxy, password"}, "password is unknown"), ({"token": "relative/file"}, "no absolute path"),
    ({"proxy": "/x/{user}"}, "{user} is unknown"), ({"htgettoken_options": "-a 'open"}, "No closing quotation"),
    ({"own_htgettoken_options": "{}"}, "{} is unknown")])
def test_settings_that_cannot_be_meant_stop_the_start(tmp_path, line, told):
    """Named by their key, before the first launch."""
    with pytest.raises(ConfigurationError, match="credentials") as wrong:
        backend_with(tmp_path, **line)

    assert told in str(wrong.value)


def test_nothing_is_logged(files, lines, program, caplog):
    """No credential stands in the service's log, whatever is wrong with it."""
    caplog.set_level(logging.DEBUG)
    keep(files / "sbnd.production.token", make_token(NOW, canary=CANARY))
    backend = backend_with(files, **lines, htgettoken=program("sys.exit(3)"))
    with pytest.raises(CredentialsLacking):
        backend.issue(request_of())

    assert CANARY not in caplog.text
    assert (files / "sbnd.production.token").read_text().strip() not in caplog.text


def test_last_words_hide_what_could_be_a_token():
    """Long words are left out; an empty answer is said to be one."""
    assert last_words(b"one\ntwo " + b"x" * 24 + b"\n\n") == "two ..."
    assert last_words(b" \n") == "it said nothing"
