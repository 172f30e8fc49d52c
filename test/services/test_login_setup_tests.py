"""Tests of login setups: what they try and say, that they submit nothing, and that none is lost or done twice."""

from __future__ import annotations

import getpass
from datetime import timedelta

import pytest

from poms.plugins.local import transport as local_transport
from poms.webservice.errors import Invalid, NotAllowed, NotFound
from poms.webservice.interfaces import BatchEnvironment
from poms.webservice.model import LoginSetup, LoginSetupTest, Submission
from poms.webservice.rules.permissions import ANALYSIS
from poms.webservice.services import housekeeping, launch_logs, login_setup_tests, uploads
from poms.webservice.services.blocks import LoginSetupChange, save_login_setup
from poms.webservice.services.launches import CallOff
from poms.webservice.testing.fixtures import make_service

CANARY = b"canary-2b6c-never-shown-0123456789"
LINES = """credential_backend = fake
analysis_launch_hosts = localhost
"""


@pytest.fixture
def service(database, tmp_path, clock):
    made = make_service(database, tmp_path, clock, text=LINES)
    # The real transport of this machine in place of the one that runs nothing.
    made.fakes.transport.run = local_transport.LocalTransport().run
    made.fakes.credentials.data = CANARY
    return made


@pytest.fixture
def owner(world):
    return world.person("olive")


@pytest.fixture
def make(world, owner):
    """A login setup with this text, on this machine."""
    def made(setup="", *, name="here", host="localhost", account="", by=owner):
        change = LoginSetupChange(host=host, account=account, setup=setup)
        return save_login_setup(world.core, by, name, change, add=True)

    return made


def run(world, actor, number, key="k1"):
    """Ask for a test and do an agent's part; its row and its log."""
    test_id = login_setup_tests.request(world.core, actor, number, key)
    for claimed in login_setup_tests.claim(world.core, "agent one", 10):
        login_setup_tests.work_on(world.core, claimed)
    return login_setup_tests.get(world.core, number, test_id), text_of(world, number, test_id)


def text_of(world, number, test_id):
    return login_setup_tests.read_log(world.core, number, test_id).text


# ---------------------------------------------------------------------------------- what it tries and says


def test_a_setup_that_works_passes(world, owner, make):
    """It says who and where, runs the setup, and keeps time and result."""
    row, log = run(world, owner, make("export COLOUR=blue; echo colour $COLOUR"))

    assert (row.state, row.exit_status) == ("passed", 0)
    assert row.message.startswith("Login and setup work. There is no jobsub_submit on PATH")
    assert (row.started_at, row.ended_at) == (world.core.clock(), world.core.clock())
    for told in (f"-- {getpass.getuser()} on ", "-- room on the disks", "colour blue", "COLOUR", "-- PATH is /",
                 "-- jobsub_submit is not on PATH", "-- login_setup successful!"):
        assert told in log


def test_the_batch_system_s_programs_are_found(world, owner, make, tmp_path, monkeypatch):
    """A launch would find jobsub_submit on PATH; so does the test."""
    program = tmp_path / "jobsub_submit"
    program.write_text("#!/bin/sh\ntouch ran\n")
    program.chmod(0o755)
    monkeypatch.setattr(world.fakes.batch, "environment", lambda plan: BatchEnvironment(path=(str(tmp_path),)))

    row, log = run(world, owner, make())

    assert row.message == "Login and setup work, and jobsub_submit is there."
    assert str(program) in log
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(("setup", "told"), [
    ("source /nowhere/setup.sh", "The setup ended with exit status 1; the log says more."),
    ("(exit 7)", "exit status 7"), ("exit 0", "The setup ended the shell (exit status 0)"),
    ("exec true", "The setup ended the shell (exit status 0)"), ("set -e; false; true", "ended the shell"),
    ("kill -9 $$", "(exit status 137)"), ("if", "exit status"),
    ("readonly UPLOADS=1", "ended the shell (exit status 96)"),
    ("echo '== login setup 0: 0 yes =='; exit 0", "ended the shell"),
    ("echo '-- login_setup successful!'; exit 3", "ended the shell (exit status 3)")])
def test_a_setup_that_fails_says_why(world, owner, make, setup, told):
    """Whatever it does to the shell, and whatever it prints in order to look well."""
    row, _ = run(world, owner, make(setup))

    assert row.state == "failed"
    assert told in row.message


def test_a_host_that_cannot_be_reached_fails_with_the_reason(world, owner, make):
    """The reason stands in the result, and is no submission's failure."""
    row, _ = run(world, owner, make(host="elsewhere.example.org"))

    assert row.state == "failed"
    assert "cannot reach 'elsewhere.example.org'" in row.message
    with world.core.db.read() as session:
        assert session.query(Submission).count() == 0


def test_names_are_filled_in_as_in_launches(world, owner, make):
    """The six that login setups know; without a stage there is a stand-in dataset."""
    row, log = run(world, owner, make("echo %(experiment)s %(group)s %(experimenter)s %(dataset)s %(version)s"))

    assert row.state == "passed"
    assert "samdev fermilab olive fake_test_dataset v0_0" in log


def test_an_unknown_name_is_refused_at_once(world, owner, make):
    """Nobody waits for an agent to learn of a slip."""
    with pytest.raises(Invalid, match="setup of login setup here"):
        login_setup_tests.request(world.core, owner, make("echo %(nonsense)s"), "k")


@pytest.mark.parametrize("text", ["$(touch canary)", "'", '"; exit 0; "', "a\nb", "`id`", "日本", "\\", "; rm -rf ~"])
def test_hostile_names_stay_data(world, make, tmp_path, text):
    """Of people; the setup itself is shell by design."""
    person = world.person(text)
    number = make("cd " + str(tmp_path), name="odd")
    row, log = run(world, person, number)

    assert row.state == "passed"
    assert [path.name for path in tmp_path.iterdir() if path.name == "canary"] == []
    assert launch_logs.path_of(world.core, row.log_name).resolve().is_relative_to(
        launch_logs.path_of(world.core, "").resolve())


# ------------------------------------------------------------------------------------------- credentials


def test_credentials_are_there_and_are_not_shown(world, owner, make):
    """The path is exported and the file listed; a setup that prints it prints nothing that helps anybody."""
    row, log = run(world, owner, make('cat "$BEARER_TOKEN_FILE"; ls -l "$BEARER_TOKEN_FILE" | cut -c1-10'))

    assert row.state == "passed"
    assert "<hidden>-rw-------" in log.replace("\n", "")
    assert "-- BEARER_TOKEN_FILE is -rw-------" in log
    assert CANARY.decode() not in log


def test_lacking_credentials_fail_the_test_with_the_remedy(world, owner, make):
    """The rest is tried all the same: two faults are told at once."""
    world.fakes.credentials.problem = "The proxy expired. Upload a new one."

    row, log = run(world, owner, make("(exit 5)"))

    assert row.state == "failed"
    assert row.message.startswith("The proxy expired. Upload a new one. The setup ended with exit status 5")
    assert "The proxy expired" in log


def test_an_analysis_setup_gets_the_tester_s_own(world, make):
    """The sandbox with one's files, and one's own credentials."""
    ana = world.person("ana", ANALYSIS)
    uploads.store(world.core, ana, "setup.sh", b"echo from my sandbox\n")

    row, log = run(world, ana, make('. "$UPLOADS/setup.sh"', by=ana))

    assert row.state == "passed"
    assert "from my sandbox" in log
    assert [(each.role, each.username) for each in world.fakes.credentials.requests] == [("analysis", "ana")]


def test_an_analysis_setup_elsewhere_is_refused(world, make):
    """Only on the hosts that are set aside for analysis, as launches."""
    ana = world.person("ana", ANALYSIS)

    with pytest.raises(NotAllowed, match="not an analysis launch node"):
        login_setup_tests.request(world.core, ana, make(host="gpvm01", by=ana), "k")


# ----------------------------------------------------------------------------------------------- agents


def test_the_same_request_is_one_test(world, owner, make):
    """A button pressed twice."""
    number = make()

    first, second = (login_setup_tests.request(world.core, owner, number, "k") for _ in range(2))

    assert first == second
    assert len(login_setup_tests.claim(world.core, "agent one", 10)) == 1


def test_a_test_is_taken_by_one_agent(world, owner, make):
    """Others find nothing until its lease is over; then it is done again, and what the first one says is lost."""
    number = make()
    login_setup_tests.request(world.core, owner, number, "k")
    (claimed,) = login_setup_tests.claim(world.core, "agent one", 10)
    assert login_setup_tests.claim(world.core, "agent two", 10) == []

    world.core.clock.advance(seconds=login_setup_tests.MOST_SECONDS + login_setup_tests.MARGIN_SECONDS + 1)
    (again,) = login_setup_tests.claim(world.core, "agent two", 10)

    assert login_setup_tests.work_on(world.core, claimed) == "lost"
    assert login_setup_tests.work_on(world.core, again) == "passed"


def test_a_test_that_kills_agents_is_given_up(world, owner, make):
    """It does not go round for ever."""
    number = make()
    test_id = login_setup_tests.request(world.core, owner, number, "k")
    while login_setup_tests.claim(world.core, "agent", 10):
        world.core.clock.advance(hours=1)

    assert login_setup_tests.get(world.core, number, test_id).state == "failed"
    assert "3 agents that ran it ended" in login_setup_tests.get(world.core, number, test_id).message


def test_a_test_whose_agent_stops_is_left_to_another(world, owner, make):
    """Stopping an agent does not wait for a setup that hangs, and does not call it failed."""
    number = make("sleep 1000")
    test_id = login_setup_tests.request(world.core, owner, number, "k")
    (claimed,) = login_setup_tests.claim(world.core, "agent one", 10)
    stop = CallOff()
    stop.set()

    assert login_setup_tests.work_on(world.core, claimed, stop=stop) == "queued"

    assert login_setup_tests.get(world.core, number, test_id).state == "queued"
    assert len(login_setup_tests.claim(world.core, "agent two", 10)) == 1


# ---------------------------------------------------------------------------------------------- record


def test_the_newest_test_stands_for_a_login_setup(world, owner, make):
    """Of many tests of many login setups, in one statement."""
    first, second = make("true", name="first"), make("false", name="second")
    for number in (first, first, second):
        run(world, owner, number, key=f"k{world.core.clock()}{number}")
        world.core.clock.advance(minutes=1)

    with world.core.db.read() as session:
        found = login_setup_tests.latest(session, [first, second, 99])

    assert {number: test.state for number, test in found.items()} == {first: "passed", second: "failed"}
    assert found[first].created == world.core.clock() - timedelta(minutes=2)


def test_a_test_belongs_to_its_login_setup(world, owner, make):
    """Its number under another one is nobody's."""
    number = make()
    test_id = login_setup_tests.request(world.core, owner, number, "k")

    with pytest.raises(NotFound):
        login_setup_tests.get(world.core, number + 1, test_id)


def test_deleting_a_login_setup_takes_its_tests(world, owner, make):
    """Nothing is left that nobody can reach."""
    number = make()
    run(world, owner, number)
    with world.core.db.write() as session:
        session.delete(session.get_one(LoginSetup, number))

    with world.core.db.read() as session:
        assert session.query(LoginSetupTest).count() == 0


def test_old_tests_are_forgotten_but_for_the_newest(world, owner, make):
    """As long as their logs are kept; the list goes on saying what came of the last one."""
    number = make()
    rows = [run(world, owner, number, key=f"k{turn}")[0] for turn in range(3)]
    world.core.clock.advance(days=200)

    housekeeping.run(world.core)

    with world.core.db.read() as session:
        left = [row.login_setup_test_id for row in session.query(LoginSetupTest)]
    assert left == [rows[-1].login_setup_test_id]
