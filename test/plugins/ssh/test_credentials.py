"""A launch over real ssh with real credentials: its script has them, nothing else does, and they are gone after it."""

from __future__ import annotations

import getpass
import hashlib
import logging
import os
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update
from webtest import TestApp

from poms.webservice import app
from poms.webservice.model import Base, LoginSetup
from poms.webservice.rules.hiding import secrets_of
from poms.webservice.rules.permissions import ANALYSIS
from poms.webservice.services import launch_logs, login_setup_tests, uploads
from poms.webservice.testing.credentials import make_proxy, make_token
from poms.webservice.testing.fakes import installed_plugins
from poms.webservice.testing.fixtures import make_service
from poms.webservice.testing.world import World, stage

HOST = "127.0.0.1"
LATER = datetime.now(UTC) + timedelta(hours=5)
SCRIPT = ('sha256sum "$X509_USER_PROXY" "$BEARER_TOKEN_FILE" | cut -c1-64; stat -c %%a "$BEARER_TOKEN_FILE"; '
          'cat "$BEARER_TOKEN_FILE" "$X509_USER_PROXY"; env; '
          'for each in /proc/[0-9]*; do tr "\\0" "\\n" < "$each/cmdline"; tr "\\0" "\\n" < "$each/environ"; '
          'done 2>/dev/null; '
          'echo "in the sandbox: $(cat "$UPLOADS/list.txt" 2>/dev/null)"; true')


@pytest.fixture
def proxy():
    return make_proxy(LATER)


@pytest.fixture
def token():
    return make_token(LATER, "/samdev/production", canary="canary-of-the-token-0123456789")


@pytest.fixture
def world(server, sqlite_database, tmp_path, clock, proxy, token):
    """A service that launches over ssh with credentials in files; its batch system runs the script and nothing more."""
    directory = tmp_path / "credentials"
    directory.mkdir()
    for name, data in (("proxy", proxy), ("token", token)):
        (directory / name).write_bytes(data)
        (directory / name).chmod(0o600)
    (tmp_path / "tmp").mkdir()
    server.restart(f"SetEnv TMPDIR={tmp_path}/tmp")
    clock.set(datetime.now(UTC))
    ssh = "\n".join(f"{key} = {value}" for key, value in server.options.items())
    made = make_service(sqlite_database, tmp_path / "data", clock, plugins=installed_plugins("ssh", "file_credentials"),
                        text="[experiment samdev]\nlaunch_transport = ssh\ncredential_backend = file\n"
                             f"analysis_launch_hosts = {HOST}\n[ssh]\n{ssh}\n[credentials]\nown = proxy, token\n"
                             f"proxy = {directory}/proxy\ntoken = {directory}/token\n")
    submit = made.fakes.batch.submit

    def run_and_submit(plan, script, transport, log, timeout_seconds):
        assert not [secret for secret in secrets_of([proxy, token]) if secret.decode() in script]
        transport.run(plan.host, plan.account, script, log=log, timeout_seconds=60, max_output_bytes=50_000_000)
        return submit(plan, script, transport_that_runs_nothing, log, timeout_seconds)

    transport_that_runs_nothing = made.fakes.transport
    made.fakes.batch.submit = run_and_submit
    return World(made.core, made.fakes)


def launch_with(world, *, owner=None, **columns):
    """A campaign of one stage, launched over ssh; its number and the text of its launch log."""
    campaign = world.campaign_with(stage("gen", script=f"{SCRIPT} #", host=HOST, **columns), owner=owner)
    with world.core.db.write() as session:
        session.execute(update(LoginSetup).values(launch_account=getpass.getuser()))
    number = world.launch(campaign, "gen").submission_id
    world.work_on_launches()
    (row,) = world.launches(submission_id=number)
    return number, launch_logs.path_of(world.core, row.log_name).read_bytes()


def places_that_hold(world, secrets, *, known):
    """Every column, page and file of the service in which one of the secrets stands."""
    found = []
    with world.core.db.read() as session:
        found += [table.name for table in Base.metadata.sorted_tables for row in session.execute(select(table))
                  if any(secret.decode() in repr(tuple(row)) for secret in secrets)]
    for directory, _, names in os.walk(world.core.settings.service.data_dir):
        found += [name for name in names if os.path.join(directory, name) not in known  # noqa: PTH118
                  and any(secret in open(os.path.join(directory, name), "rb").read()  # noqa: PTH118, PTH123, SIM115
                          for secret in secrets)]
    return found


def test_the_script_has_its_credentials_and_nothing_else_does(world, proxy, token, tmp_path, caplog):
    """Byte for byte in files of its own; not in its text, arguments, environments, logs, tables, files or pages."""
    caplog.set_level(logging.DEBUG)
    secrets = secrets_of([proxy, token])
    world.person("demo")

    number, log = launch_with(world)

    for data in (proxy, token):
        assert hashlib.sha256(data).hexdigest().encode() in log
    assert b"\n600\n" in log and b"POMS_LAUNCH_FILES=" in log and b"<hidden>" in log
    assert not [secret for secret in secrets if secret in log]
    assert not [secret for secret in secrets if secret.decode() in caplog.text]
    assert list((tmp_path / "tmp").iterdir()) == []
    assert places_that_hold(world, secrets, known=()) == []
    client = TestApp(app.build(world.core), extra_environ={"REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "127.0.0.1:8080"})
    with world.core.db.read() as session:
        login_setup_id = session.scalars(select(LoginSetup.login_setup_id)).first()
    for page in (f"launch_log/samdev/production/{number}", f"launch_log_text/samdev/production/{number}",
                 f"submission/samdev/production/{number}", "agents/samdev/production",
                 f"login_setup/samdev/production/{login_setup_id}"):
        answer = client.get(f"/poms/{page}")
        assert not [secret for secret in secrets if secret in answer.body], page
    assert "/samdev/production" in client.get("/poms/agents/samdev/production").text


def test_analysis_gets_the_launcher_s_own_and_a_sandbox(world, proxy, token, tmp_path):
    """Not the experiment's; the sandbox stays for a while, and no credential is in it."""
    ana = world.person("ana", ANALYSIS)
    own_proxy, own_token = make_proxy(LATER), make_token(LATER, "/samdev", canary="canary-of-ana-0123456789")
    uploads.store(world.core, ana, "x509up_voms_samdev_Analysis_ana", own_proxy)
    uploads.store(world.core, ana, "bt_samdev_Analysis_ana", own_token)
    uploads.store(world.core, ana, "list.txt", b"files of ana")

    _, log = launch_with(world, owner=ana, vo_role="Analysis")

    assert hashlib.sha256(own_proxy).hexdigest().encode() in log
    assert hashlib.sha256(proxy).hexdigest().encode() not in log
    assert b"in the sandbox: files of ana" in log
    (sandbox,) = (tmp_path / "tmp").iterdir()
    assert [path.name for path in sandbox.iterdir()] == ["list.txt"]
    mine = {str(world.core.settings.service.data_dir / "uploads/samdev/ana" / name)
            for name in ("x509up_voms_samdev_Analysis_ana", "bt_samdev_Analysis_ana")}
    assert places_that_hold(world, secrets_of([own_proxy, own_token, proxy, token]), known=mine) == []


def test_a_login_setup_is_tested_over_ssh(world, proxy, token, tmp_path):
    """With the credentials of its launches, which its log shows by name, place and mode only."""
    owner = world.person("olive")
    launch_with(world, owner=owner)
    with world.core.db.write() as session:
        row = session.scalars(select(LoginSetup)).one()
        row.launch_setup = 'cat "$BEARER_TOKEN_FILE"; export MY_RELEASE=v09'
        login_setup_id = row.login_setup_id
    test_id = login_setup_tests.request(world.core, owner, login_setup_id, "k")
    (claimed,) = login_setup_tests.claim(world.core, "agent one", 1)

    assert login_setup_tests.work_on(world.core, claimed) == "passed"

    text = login_setup_tests.read_log(world.core, login_setup_id, test_id).text
    assert f"-- {getpass.getuser()} on " in text
    assert "-- X509_USER_PROXY is -rw-------" in text and "MY_RELEASE" in text and "<hidden>" in text
    assert not [secret for secret in secrets_of([proxy, token]) if secret.decode() in text]
    assert list((tmp_path / "tmp").iterdir()) == []


def test_an_unknown_host_key_fails_the_test_and_sends_nothing(world, server, tmp_path):
    """A host that is not the one that was meant gets no credential."""
    owner = world.person("olive")
    launch_with(world, owner=owner)
    server.believe(server.make_key("another").with_suffix(".pub"))
    server.restart()
    with world.core.db.read() as session:
        login_setup_id = session.scalars(select(LoginSetup.login_setup_id)).one()
    test_id = login_setup_tests.request(world.core, owner, login_setup_id, "k")
    (claimed,) = login_setup_tests.claim(world.core, "agent one", 1)

    assert login_setup_tests.work_on(world.core, claimed) == "failed"

    assert "host key" in login_setup_tests.get(world.core, login_setup_id, test_id).message
    assert list((tmp_path / "tmp").iterdir()) == []
