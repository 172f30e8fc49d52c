"""Wrap-up: when a submission is Located, and that what follows from it is owed in the same transaction."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from poms.webservice.errors import Invalid, NotFound
from poms.webservice.interfaces import JobState
from poms.webservice.model import CampaignDependency, CampaignStage, Membership, SubmissionFile
from poms.webservice.rules.permissions import SHIFTER
from poms.webservice.rules.statuses import Status
from poms.webservice.services import candidates, launches, wrapup
from poms.webservice.testing.faults import Died
from poms.webservice.testing.fixtures import make_service
from poms.webservice.testing.world import World, stage


@pytest.fixture
def two_stages(world):
    """Generation that feeds reconstruction, on a dataset of ten files."""
    world.catalogue().dataset("raw", 10)
    return world.campaign_with(stage("gen", dataset="raw", pct=80), stage("reco", after={"gen": "%.root"}))


def _owed(world):
    return [(row.kind, row.key) for row in world.launches() if row.kind in ("recovery", "dependency")]


# ------------------------------------------------------------------------------------------- located


@pytest.mark.parametrize(("files", "status"), [(10, Status.LOCATED), (0, Status.COMPLETED)])
def test_located_by_files(world, two_stages, files, status):
    """Enough located output makes a submission Located; no files consumed leaves it waiting."""
    number = world.submission(two_stages, "gen")
    world.finish(number, files=files)

    world.wrap_up()

    assert world.status(number) is status


@pytest.mark.parametrize(("text", "seconds", "status"), [
    ("", 299, Status.LOCATED), ("", 301, Status.COMPLETED),
    ("catalogue_clock_tolerance_seconds = 0", 1, Status.COMPLETED),
    ("catalogue_clock_tolerance_seconds = 0", -1, Status.LOCATED),
    ("[experiment samdev]\ncatalogue_clock_tolerance_seconds = 1h", 3599, Status.LOCATED)])
def test_a_catalogue_whose_clock_is_behind(database, tmp_path, clock, text, seconds, status):
    """Output is counted though the catalogue dates it before its submission: five minutes, or as its settings say."""
    service = make_service(database, tmp_path, clock, text=text)
    world = World(service.core, service.fakes)
    catalogue = world.catalogue()
    catalogue.dataset("raw", 10)
    campaign = world.campaign_with(stage("gen", dataset="raw", pct=80))
    catalogue.clock = lambda: clock() - timedelta(seconds=seconds)

    number = world.submission(campaign, "gen")
    world.finish(number, files=10)
    world.wrap_up()

    assert world.status(number) is status


@pytest.mark.parametrize(("located", "status"), [(8, Status.LOCATED), (7, Status.COMPLETED)])
def test_located_by_percent(world, two_stages, located, status):
    """The stage's percentage of the consumed files must have located output."""
    number = world.submission(two_stages, "gen")
    made = world.catalogue().process(world.get(number).project, located=False)
    world.catalogue().locate(*made[:located])
    world.finish(number, process=False)

    world.wrap_up()

    found = world.get(number)
    assert Status(found.status_id) is status
    assert (found.files_consumed, found.files_located) == (10, located)
    assert "80 % needed" in found.wrapup_message
    assert world.sums_differ() == []


def test_completion_type_complete_counts_nothing(world):
    """A stage that is complete when its jobs are needs no files."""
    campaign = world.campaign_with(stage("gen", completion="complete"))
    number = world.submission(campaign, "gen")
    world.finish(number)

    world.wrap_up()

    assert world.status(number) is Status.LOCATED
    assert world.catalogue().calls["output_counts"] == 0


def test_after_two_days_it_is_located_anyway(world, two_stages, clock):
    """A submission whose output never comes does not hold up its campaign for ever."""
    number = world.submission(two_stages, "gen")
    world.finish(number, files=1)
    clock.advance(days=2, hours=1)

    world.wrap_up()

    assert world.status(number) is Status.LOCATED


def test_a_person_can_skip_ahead(world, two_stages):
    """Skip ahead to Located works from a live submission and needs no files."""
    number = world.submission(two_stages, "gen")
    world.poll()
    wrapup.force_located(world.core, "ann", "samdev", number)

    world.wrap_up()

    assert world.status(number) is Status.LOCATED


def test_another_experiments_submission_cannot_be_skipped_ahead(world, two_stages):
    """A submission of another experiment is not found and not changed."""
    number = world.submission(two_stages, "gen")

    with pytest.raises(NotFound):
        wrapup.force_located(world.core, "eve", "nova", number)

    assert "force_located" not in world.get(number).submission_params


@pytest.mark.parametrize("method", ["output_counts", "file_states", "output_files", "recovery_files",
                                    "dependency_files"])
def test_a_silent_catalogue_decides_nothing(world, method):
    """Whatever question is not answered: the submission waits, with the reason, and the next pass decides."""
    world.catalogue().dataset("raw", 4)
    campaign = world.campaign_with(stage("gen", dataset="raw", recoveries=[("consumed_status", [])]),
                                   stage("reco", after="gen"))
    number = world.submission(campaign, "gen")
    world.finish(number)
    world.catalogue().fail(method)

    assert world.wrap_up() == "0 located, 0 waiting, 1 not decided"
    assert world.status(number) is Status.COMPLETED
    assert "not decided" in world.get(number).wrapup_message
    assert _owed(world) == []

    world.wrap_up()
    assert world.status(number) is Status.LOCATED
    assert len(_owed(world)) == 1


def test_a_broken_submission_does_not_keep_others_waiting(world, two_stages):
    """A submission that cannot be judged is left for the next pass; the others are decided."""
    broken, sound = (world.submission(two_stages, "gen") for _ in range(2))
    for number in (broken, sound):
        world.finish(number)
    world.change(wrapup.Submission, broken, project="nobody knows it")

    world.wrap_up()

    assert world.status(broken) is Status.COMPLETED
    assert world.status(sound) is Status.LOCATED


def test_the_ledger_keeps_files_and_their_states(world, two_stages):
    """Inputs with what became of them and outputs with their parents are kept with the submission."""
    number = world.submission(two_stages, "gen")
    world.finish(number, files=9)

    world.wrap_up()

    with world.core.db.read() as session:
        rows = session.scalars(select(SubmissionFile).where(SubmissionFile.submission_id == number)).all()
    states = sorted((row.direction, row.state) for row in rows)
    assert states == [("in", "consumed")] * 9 + [("in", "unknown")] + [("out", "located")] * 9


# ------------------------------------------------------------------------------------ dependent stages


def test_the_next_stage_is_launched_with_the_output(world, two_stages):
    """Output that matches the dependency's pattern becomes the dataset of the next stage's submission."""
    number = world.submission(two_stages, "gen")
    world.finish(number)

    world.wrap_up()
    world.work_on_launches()

    follower = world.submissions(campaign_stage_id=two_stages.stage("reco"))[0]
    catalogue = world.catalogue()
    assert follower.submission_params["dataset"] == f"poms_depends_{number}_1"
    assert follower.depends_on == number
    assert len(catalogue.list(catalogue.dataset_query(f"poms_depends_{number}_1"))) == 10


def test_no_matching_output_is_skipped_and_said(world):
    """A dependent stage without input is not launched, and the record says why."""
    world.catalogue().dataset("raw", 2)
    campaign = world.campaign_with(stage("gen", dataset="raw", completion="complete"),
                                   stage("reco", after={"gen": "%.hist"}))
    number = world.submission(campaign, "gen")
    world.finish(number)
    world.wrap_up()
    assert "asked once more" in world.get(number).wrapup_message
    world.core.clock.advance(wrapup.DOUBT_SECONDS)

    world.wrap_up()

    assert world.status(number) is Status.LOCATED
    assert _owed(world) == []
    assert "no output matches %.hist" in world.events("launch.skipped")[0].data["reason"]


@pytest.mark.parametrize("method", ["output_counts", "dependency_files"])
def test_a_catalogue_that_shows_nothing_for_a_moment_loses_nothing(world, two_stages, method):
    """An empty answer where there must be output is not believed at once: what follows is launched all the same."""
    number = world.submission(two_stages, "gen")
    world.finish(number)
    world.catalogue().forget(method)

    world.wrap_up()
    world.wrap_up()

    assert world.status(number) is Status.LOCATED
    assert [kind for kind, _ in _owed(world)] == ["dependency"]
    assert world.events("launch.skipped") == []


def test_looking_often_does_not_put_off_what_is_doubted(world):
    """The time for which an empty answer is doubted counts from the first one."""
    world.catalogue().dataset("raw", 2)
    campaign = world.campaign_with(stage("gen", dataset="raw", completion="complete"),
                                   stage("reco", after={"gen": "%.hist"}))
    number = world.submission(campaign, "gen")
    world.finish(number)
    for _ in range(3):
        world.wrap_up()
        world.core.clock.advance(wrapup.DOUBT_SECONDS / 2)

    assert world.status(number) is Status.LOCATED


@pytest.mark.parametrize("after", [False, True])
def test_dying_at_the_commit_leaves_all_or_nothing(world, two_stages, after):
    """Located and what is owed because of it are one transaction: never the one without the other."""
    number = world.submission(two_stages, "gen")
    world.finish(number)
    world.core.db.die_at_commit(1, after=after)
    with pytest.raises(Died):
        world.wrap_up()

    assert world.status(number) is (Status.LOCATED if after else Status.COMPLETED)
    assert len(_owed(world)) == (1 if after else 0)

    world.wrap_up()
    world.work_on_launches()
    assert len(world.submissions(campaign_stage_id=two_stages.stage("reco"))) == 1


def test_two_wrapups_at_once_owe_once(world, two_stages):
    """Two agents that judged the same submission: one writes, the other finds it done."""
    number = world.submission(two_stages, "gen")
    world.finish(number)
    candidate = candidates.load(world.core, "samdev")[0]
    finding = wrapup.judge(world.core, candidate)

    assert wrapup.store(world.core, candidate, finding) is True
    assert wrapup.store(world.core, candidate, finding) is False
    assert len(_owed(world)) == 1


def test_self_dependency_goes_through_the_split(world):
    """A stage that feeds itself goes on with its next slice until there is none."""
    world.catalogue().dataset("raw", 5)
    campaign = world.campaign_with(stage("gen", dataset="raw", split="drainingn(2)", completion="complete"))
    with world.core.db.write() as session:
        session.add(CampaignDependency(provider_campaign_stage_id=campaign.stage("gen"), file_patterns="%",
                                       consumer_campaign_stage_id=campaign.stage("gen")))
    world.submission(campaign, "gen")
    for _ in range(6):
        for item in world.submissions(status_id=int(Status.NEW)):
            world.finish(item.submission_id)
        world.wrap_up()
        world.work_on_launches()

    done = world.submissions()
    assert [item.status_id for item in done] == [Status.LOCATED] * 3
    assert [row.state for row in world.launches(kind="dependency")] == ["launched", "launched", "skipped"]
    assert world.launches()[-1].message.startswith("No more splits")


def test_a_held_next_stage_is_kept_not_lost(world, two_stages):
    """If the next stage is held, its launch waits for the release and then gets the same files."""
    world.change(CampaignStage, two_stages.stage("reco"), hold_experimenter_id=two_stages.owner.experimenter_id)
    number = world.submission(two_stages, "gen")
    world.finish(number)
    world.wrap_up()
    assert world.work_on_launches() == ["held"]

    world.change(CampaignStage, two_stages.stage("reco"), hold_experimenter_id=None)
    held = world.launches(state="held")[0]

    launches.release_held(world.core, "ann", [held.launch_id], "samdev")

    assert world.work_on_launches() == ["launched"]
    assert world.submissions(depends_on=number)[0].submission_params["dataset"] == f"poms_depends_{number}_1"


def test_test_launches_make_test_launches(world, two_stages):
    """What follows from a test is a test."""
    number = world.submission(two_stages, "gen", test=True)
    world.finish(number)

    world.wrap_up()
    world.work_on_launches()

    assert world.submissions(depends_on=number)[0].submission_params["test"] == 1


def test_an_analysis_users_dataset_carries_the_name(world):
    """Analysis users declare under names that begin with their own."""
    owner = world.person("bob", "analysis")
    world.catalogue().dataset("raw", 2)
    campaign = world.campaign_with(stage("gen", dataset="raw", completion="complete", host="ana01"),
                                   stage("reco", after="gen", host="ana01"), owner=owner)
    object.__setattr__(world.core.settings.experiment_defaults, "analysis_launch_hosts", ("ana01",))
    number = world.submission(campaign, "gen")
    world.finish(number)

    world.wrap_up()

    assert world.launches(kind="dependency")[0].request["dataset_override"] == f"poms_bob_depends_{number}_1"


def test_what_follows_is_held_where_it_is_switched_off(world, two_stages):
    """With launch_recovery_jobs = false the next stage waits for a person, who can still let it go."""
    object.__setattr__(world.core.settings.experiment_defaults, "launch_recovery_jobs", False)
    number = world.submission(two_stages, "gen")
    world.finish(number)

    _pass(world)

    held = world.launches(state="held")[0]
    assert "switched off" in held.hold_reason
    assert [event.data["reason"] for event in world.events("launch.held")] == [held.hold_reason]
    assert world.submissions(depends_on=number) == []

    launches.release_held(world.core, "ann", [held.launch_id], "samdev")

    assert world.work_on_launches() == ["launched"]
    assert world.submissions(depends_on=number)[0].submission_params["dataset"] == f"poms_depends_{number}_1"


def test_what_follows_is_launched_in_the_role_of_the_launch_that_it_follows(world, two_stages):
    """A shifter's launch is followed by launches as a shifter; somebody who left launches nothing more."""
    shifter = world.person("sue", SHIFTER)
    number = world.submission(two_stages, "gen", actor=shifter)
    world.finish(number)
    world.wrap_up()
    assert world.launches(kind="dependency")[0].request["role"] == SHIFTER

    world.change(Membership, (shifter.experimenter_id, "samdev"), active=False)

    assert world.work_on_launches() == ["failed"]
    assert "sue is not in experiment samdev any more" in world.launches(kind="dependency")[0].message


# ------------------------------------------------------------------------------------------ recoveries


@pytest.fixture
def recovering(world):
    """A stage with two recoveries that feeds another one."""
    world.catalogue().dataset("raw", 10)
    return world.campaign_with(
        stage("gen", dataset="raw", pct=50,
              recoveries=[("consumed_status", [["--memory=", "4000MB"]]), ("pending_files", [["--time=", "long"]])]),
        stage("reco", after="gen"))


def _pass(world):
    world.wrap_up()
    world.work_on_launches()


def test_recovery_comes_before_dependents(world, recovering):
    """What was not processed is recovered first, with the entry's overrides; the next stage waits."""
    number = world.submission(recovering, "gen")
    world.finish(number, files=6)

    _pass(world)

    recovery = world.submissions(recovery_tasks_parent=number)[0]
    catalogue = world.catalogue()
    assert world.submissions(depends_on=number) == []
    assert recovery.submission_params["dataset"] == f"poms_recover_{number}_0"
    assert len(catalogue.list(catalogue.dataset_query(f"poms_recover_{number}_0"))) == 4
    assert "--memory=4000MB" in world.launches(kind="recovery")[0].plan["command"]
    assert world.get(number).recovery_position == 1


def test_the_recovery_list_is_walked_to_its_end(world, recovering):
    """Each entry is tried once, with its own overrides only; then the next stage starts, once."""
    number = world.submission(recovering, "gen")
    world.finish(number, files=6)
    _pass(world)
    first = world.submissions(recovery_tasks_parent=number)[0].submission_id
    world.finish(first, files=1, state=JobState.FAILED)
    _pass(world)
    second = world.submissions(recovery_tasks_parent=number)[1].submission_id
    world.finish(second)
    _pass(world)

    commands = [row.plan["command"] for row in world.launches(kind="recovery")]
    assert [item.submission_params["dataset"] for item in world.submissions(recovery_tasks_parent=number)] == [
        f"poms_recover_{number}_0", f"poms_recover_{number}_1"]
    assert "--memory=" not in commands[1]
    assert "--time=long" in commands[1]
    assert [row.key for row in world.launches(kind="dependency")] == [f"dependency:1:{number}"]
    assert len(world.submissions(depends_on=number)) == 1


def test_a_recovery_is_held_where_it_is_switched_off(world, recovering):
    """The recovery is kept with its files and overrides; the next stage waits for it as ever."""
    object.__setattr__(world.core.settings.experiment_defaults, "launch_recovery_jobs", False)
    number = world.submission(recovering, "gen")
    world.finish(number, files=6)

    _pass(world)

    held = world.launches(state="held")
    assert [row.kind for row in held] == ["recovery"]
    assert world.launches(kind="dependency") == []
    launches.release_held(world.core, "ann", [held[0].launch_id], "samdev")
    assert world.work_on_launches() == ["launched"]
    assert world.submissions(recovery_tasks_parent=number)


def test_entries_without_files_are_passed_over(world, recovering):
    """If nothing is left for an entry the next one is asked; if for none, the next stage starts at once."""
    number = world.submission(recovering, "gen")
    world.finish(number)

    _pass(world)

    assert world.submissions(recovery_tasks_parent=number) == []
    assert len(world.submissions(depends_on=number)) == 1
    assert world.get(number).recovery_position == 2


def test_what_follows_a_recovery_belongs_to_the_original(world, recovering):
    """The next stage gets the original's output, recovered files included."""
    number = world.submission(recovering, "gen")
    world.finish(number, files=6)
    _pass(world)
    world.finish(world.submissions(recovery_tasks_parent=number)[0].submission_id)
    _pass(world)

    assert [row.parent_submission_id for row in world.launches(kind="dependency")] == [number]


def test_a_submission_without_project_is_not_recovered(world):
    """Without project there are no inputs that could be taken again."""
    campaign = world.campaign_with(stage("gen", completion="complete", recoveries=[("consumed_status", [])]))
    number = world.submission(campaign, "gen")
    world.finish(number)

    world.wrap_up()

    assert world.status(number) is Status.LOCATED
    assert world.launches(kind="recovery") == []
    assert world.catalogue().calls["recovery_files"] == 0


def test_a_recovery_by_hand_leaves_the_list_alone(world, recovering):
    """A person's recovery has a number from 100 on and does not move the position of the list."""
    number = world.submission(recovering, "gen")
    world.finish(number, files=6)
    candidate = candidates.describe(world.core, number, "samdev")

    request = wrapup.recovery_request(world.core, candidate, "consumed_status", "click-1")

    assert request.dataset_override == f"poms_recover_{number}_100"
    assert world.get(number).recovery_position is None


@pytest.mark.parametrize(("kind", "files", "message"), [("nonsense", 6, "not a recovery type"),
                                                        ("consumed_status", 10, "No recovery needed")])
def test_impossible_recoveries_by_hand_are_refused(world, recovering, kind, files, message):
    """An unknown kind, or nothing to recover, is said."""
    number = world.submission(recovering, "gen")
    world.finish(number, files=files)
    candidate = candidates.describe(world.core, number, "samdev")

    with pytest.raises(Invalid, match=message):
        wrapup.recovery_request(world.core, candidate, kind, "click-1")
