"""Credentials around launches: looked at before, given to the script alone, hidden wherever it prints them."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from poms.webservice.errors import BackendUnavailable
from poms.webservice.interfaces import TransportResult
from poms.webservice.model import Base, CampaignStage, Launch
from poms.webservice.rules.permissions import ANALYSIS
from poms.webservice.rules.statuses import Status
from poms.webservice.services import credentials, housekeeping, launch_logs, launches, preparing, uploads
from poms.webservice.services.launch_requests import LaunchRequest
from poms.webservice.services.pages.launches import agents_page
from poms.webservice.testing.fixtures import make_service
from poms.webservice.testing.world import World, stage

REMEDY = "The proxy of samdev as production expired. Ask whoever looks after /x to renew it."
CANARY = b"canary-1f0a-never-shown-0123456789"
LINES = "credential_backend = fake\nanalysis_launch_hosts = localhost"


@pytest.fixture
def service(database, tmp_path, clock):
    return make_service(database, tmp_path, clock, text=LINES)


@pytest.fixture
def fake(world):
    return world.fakes.credentials


@pytest.fixture
def given(world):
    """What the transport was given by each run; the run prints the credential in two pieces."""
    found = []
    batch, transport = world.fakes.batch, world.fakes.transport
    submit = batch.submit

    def run(host, account, script, *, log, files=None, **limits):
        found.append((script, files))
        for start in range(0, len(CANARY), 7):
            log.write(CANARY[start:start + 7])
        return TransportResult(0, f"token: {CANARY.decode()}", CANARY.decode())

    def submit_by_script(plan, script, way, log, timeout_seconds):
        result = way.run(plan.host, plan.account, script, log=log, timeout_seconds=10, max_output_bytes=1000)
        found.append(result)
        return submit(plan, script, way, log, timeout_seconds)

    transport.run, batch.submit = run, submit_by_script
    world.fakes.credentials.data = CANARY + b"\n"
    return found


def launch_rows(world):
    with world.core.db.read() as session:
        return session.scalars(select(Launch).order_by(Launch.launch_id)).all()


# ------------------------------------------------------------------------------------------- before


def test_a_launch_without_credentials_is_held_with_the_remedy(world, fake):
    """No submission, no failure: the launch is kept, and says what to do."""
    fake.problem = REMEDY
    campaign = world.campaign_with(stage("gen"))

    outcome = world.launch(campaign, "gen")

    assert (outcome.state, outcome.submission_id, outcome.message) == ("held", None, REMEDY)
    assert launch_rows(world)[0].hold_reason == REMEDY


def test_a_held_launch_goes_once_there_are_credentials(world, fake):
    """Released too early it is held again; released afterwards it is launched."""
    fake.problem = REMEDY
    campaign = world.campaign_with(stage("gen"))
    number = world.launch(campaign, "gen").launch_id
    launches.release_held(world.core, "lena", [number], "samdev")
    world.work_on_launches()
    assert launch_rows(world)[0].state == "held"

    fake.problem = ""
    launches.release_held(world.core, "lena", [number], "samdev")
    world.work_on_launches()

    assert launch_rows(world)[0].state == "launched"


def test_a_stage_that_is_held_anyway_says_so_first(world, fake):
    """Credentials are not asked for while a person keeps the stage's launches."""
    fake.problem = REMEDY
    campaign = world.campaign_with(stage("gen"))
    owner = campaign.owner
    world.change(CampaignStage, campaign.stage("gen"), hold_experimenter_id=owner.experimenter_id)

    assert "currently held" in world.launch(campaign, "gen").message


def test_the_preview_shows_what_is_lacking(world, fake):
    """Before anybody presses the button."""
    fake.problem = REMEDY
    campaign = world.campaign_with(stage("gen"))
    request = LaunchRequest(stage_id=campaign.stage("gen"), key="k")

    prepared = preparing.preview(world.core, campaign.owner, request)

    assert prepared.hold_reason == REMEDY
    assert prepared.plan.command


def test_an_approval_needs_none(world, fake):
    """Nothing runs anywhere."""
    fake.problem = REMEDY
    campaign = world.campaign_with(stage("gate", campaign_stage_type="approval"))

    assert world.launch(campaign, "gate").state == "launched"


def test_silence_is_no_lack(world, fake):
    """A source of credentials that does not answer is no reason to hold anything."""
    fake.fail("look", BackendUnavailable("vault is down"))
    campaign = world.campaign_with(stage("gen"))

    with pytest.raises(BackendUnavailable):
        world.launch(campaign, "gen")

    assert launch_rows(world) == []


def test_credentials_that_went_bad_meanwhile_are_waited_for(world, fake, clock):
    """The submission stays New, no attempt is counted, and it is launched as soon as they are good again."""
    campaign = world.campaign_with(stage("gen"))
    number = world.launch(campaign, "gen").submission_id
    fake.problem = REMEDY
    for _ in range(8):
        world.work_on_launches()
        clock.advance(minutes=2)

    (row,) = launch_rows(world)
    assert (row.state, row.attempt, row.message) == ("queued", 0, REMEDY)
    assert world.status(number) is Status.NEW

    fake.problem = ""
    world.work_on_launches()

    assert launch_rows(world)[0].state == "launched"


def test_a_source_that_is_silent_is_waited_for(world, fake, clock):
    """However long its vault is away, the launch does not fail for it."""
    campaign = world.campaign_with(stage("gen"))
    number = world.launch(campaign, "gen").submission_id
    fake.fail("issue", BackendUnavailable("the vault is down"), times=8)
    for _ in range(8):
        assert world.status(number) is Status.NEW
        world.work_on_launches()
        clock.advance(minutes=2)

    world.work_on_launches()

    assert launch_rows(world)[0].state == "launched"


def test_trouble_stands_on_the_page_of_the_agents(world, fake):
    """Whoever looks after the service sees it before a launch is held for it."""
    owner = world.person("olive")

    def shown():
        return next(each for each in agents_page(world.core, owner)["systems"] if each["name"] == "token")

    assert shown()["well"] is True
    fake.problem = REMEDY
    assert (shown()["well"], shown()["message"], shown()["kind"]) == (False, REMEDY, "samdev as production")
    fake.fail("look", BackendUnavailable("the vault is down"))
    found = agents_page(world.core, owner)["systems"][-1]
    assert (found["well"], found["message"]) == (False, "the vault is down")


# --------------------------------------------------------------------------------------------- given


def test_the_script_knows_where_the_files_are_and_not_what_is_in_them(world, given):
    """It exports a path; the credential goes beside it."""
    world.launch(world.campaign_with(stage("gen")), "gen")
    world.work_on_launches()

    script, files = given[0]
    assert 'export BEARER_TOKEN_FILE="$POMS_LAUNCH_FILES"/token || exit' in script
    assert CANARY.decode() not in script
    assert [(file.name, file.data) for file in files.private] == [("token", CANARY + b"\n")]
    assert files.kept is None
    assert 'export UPLOADS="$HOME"' in script


def test_a_script_that_prints_its_credentials_shows_them_to_nobody(world, given, caplog):
    """Not in the launch log, the result, the service's log, nor in any column of any table."""
    number = world.launch(world.campaign_with(stage("gen")), "gen").submission_id
    world.work_on_launches()

    log = launch_logs.path_of(world.core, launch_rows(world)[0].log_name).read_bytes()
    assert b"<hidden>" in log and CANARY not in log
    assert (given[1].output, given[1].reason) == ("token: <hidden>", "<hidden>")
    assert CANARY.decode() not in caplog.text
    assert world.status(number) is Status.NEW
    with world.core.db.read() as session:
        for table in Base.metadata.sorted_tables:
            for row in session.execute(select(table)):
                assert CANARY.decode() not in repr(tuple(row)), table.name


def test_credentials_are_asked_for_the_launcher_in_the_role_of_the_stage(world, fake):
    """Analysis stages are launched with those of the person, whoever made the stage."""
    ana = world.person("ana", ANALYSIS)
    mine = world.campaign_with(stage("ana", vo_role="Analysis"), owner=ana)
    theirs = world.campaign_with(stage("gen"))
    world.launch(mine, "ana")
    world.launch(theirs, "gen")
    world.work_on_launches()

    assert {(request.role, request.username) for request in fake.requests} == {
        ("analysis", "ana"), ("production", theirs.owner.username)}


# ------------------------------------------------------------------------------------------- sandboxes


@pytest.fixture
def analysis(world):
    """Somebody with a campaign and some files."""
    ana = world.person("ana", ANALYSIS)
    uploads.store(world.core, ana, "setup.sh", b"echo hello\n")
    uploads.store(world.core, ana, "x509up_voms_samdev_Analysis_ana", CANARY)
    uploads.store(world.core, world.person("bob", ANALYSIS), "bob.txt", b"bob's")
    return world.campaign_with(stage("ana", vo_role="Analysis"), owner=ana)


def test_the_launcher_s_files_go_to_a_sandbox(world, given, analysis):
    """Copies of the launcher's files and nobody else's; credentials are not kept there for days."""
    world.launch(analysis, "ana")
    world.work_on_launches()

    script, files = given[0]
    assert [(file.name, file.data) for file in files.kept] == [("setup.sh", b"echo hello\n")]
    assert files.keep_seconds == 86400
    assert 'export UPLOADS="$POMS_LAUNCH_SANDBOX"' in script


def test_what_is_deleted_is_not_given(world, given, analysis):
    """The files of the moment of the launch."""
    uploads.delete(world.core, analysis.owner, ["setup.sh"])
    world.launch(analysis, "ana")
    world.work_on_launches()

    assert given[0][1].kept == ()


def test_somebody_with_an_odd_name_has_an_empty_sandbox(world, given):
    """A name that can be no directory's keeps nothing here, and reads nothing elsewhere."""
    odd = world.person("../ana", ANALYSIS)
    world.launch(world.campaign_with(stage("ana", vo_role="Analysis"), owner=odd), "ana")
    world.work_on_launches()

    assert given[0][1].kept == ()
    assert credentials.states(world.core, "samdev", "analysis", "../ana")[0].problem == ""


def test_without_a_source_only_the_sandbox_goes_along(database, tmp_path, clock):
    """credential_backend = none: launches find what their account has."""
    made = make_service(database, tmp_path, clock, text="analysis_launch_hosts = localhost")
    world = World(made.core, made.fakes)
    ana = world.person("ana", ANALYSIS)
    plan = preparing.preview(world.core, ana, LaunchRequest(stage_id=world.campaign_with(
        stage("ana", vo_role="Analysis"), owner=ana).stage("ana"), key="k")).plan

    given = credentials.issue(world.core, plan)

    assert (given.files.private, given.files.kept) == ((), ())
    assert credentials.states(world.core, "samdev", "production", "ana") == []


# ---------------------------------------------------------------------------------------- housekeeping


def swept(world):
    """Where housekeeping lets old files be removed."""
    found = []
    run = world.fakes.transport.run

    def noted(host, account, script, *, files=None, **limits):
        found.append((host, account, script, files))
        return run(host, account, script, **limits)

    world.fakes.transport.run = noted
    housekeeping.run(world.core)
    world.fakes.transport.run = run
    return found


def test_housekeeping_removes_sandboxes_where_nothing_is_launched_any_more(world, analysis, clock):
    """Once they are old, at each place once, with the times by which launches go."""
    for _ in range(2):
        world.launch(analysis, "ana")
    world.work_on_launches()
    assert swept(world) == []

    clock.advance(days=1, minutes=5)

    ((host, _, script, files),) = swept(world)
    assert (host, script) == ("localhost", "exit 0\n")
    assert (files.private, files.kept, files.keep_seconds, files.stale_seconds) == ((), None, 86400, 90000)
    clock.advance(days=2)
    assert swept(world) == []


def test_a_place_that_does_not_answer_keeps_no_other_from_being_swept(world, analysis, clock):
    """It is tried again by the next pass."""
    world.launch(analysis, "ana")
    world.work_on_launches()
    clock.advance(days=1, minutes=5)
    world.fakes.transport.fail("run", BackendUnavailable("no route to host"))

    assert "0 launch hosts swept" in housekeeping.run(world.core)
    assert "1 launch hosts swept" in housekeeping.run(world.core)


def test_files_are_never_swept_while_scripts_may_run(database, tmp_path, clock):
    """Whatever the settings say."""
    made = make_service(database, tmp_path, clock,
                        text="[agent]\nsandbox_days = 0\nlaunch_timeout_seconds = 2d\n")

    found = credentials.sweeping(made.core)

    assert (found.keep_seconds, found.stale_seconds) == (4 * 86400, 5 * 86400)
