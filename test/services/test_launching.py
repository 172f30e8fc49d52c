"""Launching a stage: what is stored, what is kept back, what is refused before anything is written."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import func, select

from poms.webservice.errors import BackendUnavailable, Conflict, Invalid, NotAllowed, NotFound
from poms.webservice.model import (
    Campaign,
    CampaignDependency,
    CampaignStage,
    Delivery,
    Experiment,
    Launch,
    LoginSetup,
    ServiceSetting,
    Snapshot,
    Submission,
)
from poms.webservice.rules.permissions import ANALYSIS, SHIFTER
from poms.webservice.rules.statuses import Status
from poms.webservice.services import launches, preparing
from poms.webservice.services.launch_requests import LaunchRequest
from poms.webservice.services.splits import NoMoreSplits
from poms.webservice.testing.world import stage

HOSTILE = ["it's", 'a "quoted" name', "$(touch x) `id`", "two\nlines", "Größe 東京 🛰", "%(experimenter)s", "100%",
           "' OR 1=1 --", "</script><svg/onload=1>"]


def _nothing_written(core) -> bool:
    with core.db.read() as session:
        return not any(session.scalar(select(func.count()).select_from(model))
                       for model in (Submission, Launch, Snapshot))


def test_a_launch_is_stored_and_touches_nothing_outside(world):
    """A launch writes submission, history and plan in one go; the batch system is not asked."""
    campaign = world.campaign_with(stage("gen", dataset="raw"))

    outcome = world.launch(campaign, "gen")

    assert outcome.state == "queued"
    assert world.status(outcome.submission_id) is Status.NEW
    assert [row.status_id for row in world.history(outcome.submission_id)] == [Status.NEW]
    assert world.batch.calls["submit"] == 0
    assert world.launches()[0].plan["command"] == "fife_launch -c samdev.cfg -Oglobal.dataset=raw"
    assert [event.kind for event in world.events()] == ["launch.requested"]
    assert world.status_counts(campaign.stage("gen")) == {Status.NEW: 1}


def test_one_key_launches_once(world):
    """The same request again, however often, is answered with the launch that is there."""
    campaign = world.campaign_with(stage("gen"))

    first = world.launch(campaign, "gen", key="client-1")
    again = world.launch(campaign, "gen", key="client-1")

    assert again.submission_id == first.submission_id
    assert len(world.submissions()) == 1


def test_one_key_for_two_stages_is_refused(world):
    """A key that another stage's launch used is not answered with that launch."""
    campaign = world.campaign_with(stage("gen"), stage("reco"))
    world.launch(campaign, "gen", key="client-1")

    with pytest.raises(Conflict, match="another stage"):
        world.launch(campaign, "reco", key="client-1")


def test_one_key_in_many_threads_launches_once(world):
    """Clicks that arrive together make one submission, and all of them are told its number."""
    campaign = world.campaign_with(stage("gen"))
    answers = _together(8, lambda number: world.launch(campaign, "gen", key="same").submission_id)

    assert len(set(answers)) == 1
    assert len(world.submissions()) == 1


def _together(count, work):
    """Run ``work`` in so many threads that start together; the answers, exceptions included."""
    gate, answers = threading.Barrier(count), []

    def run(number):
        gate.wait()
        try:
            answers.append(work(number))
        except Exception as error:
            answers.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


# ------------------------------------------------------------------------------------------- holding


@pytest.mark.parametrize("where", ["stage", "campaign", "experiment", "service"])
def test_a_held_launch_is_kept(world, where):
    """A launch that is held anywhere is kept with the reason and makes no submission."""
    campaign = world.campaign_with(stage("gen", split="nfiles(2)", dataset="raw"))
    world.catalogue().dataset("raw", 4)
    who = campaign.owner.experimenter_id
    if where == "stage":
        world.change(CampaignStage, campaign.stage("gen"), hold_experimenter_id=who, hold_reason="disk full")
    elif where == "campaign":
        world.change(Campaign, campaign.campaign_id, held_by=who, held_reason="disk full")
    elif where == "experiment":
        world.change(Experiment, "samdev", launches_held_by=who, launches_held_reason="disk full")
    else:
        with world.core.db.write() as session:
            session.add(ServiceSetting(name="launches", value="hold", changed_at=world.core.clock(),
                                       reason="disk full"))

    outcome = world.launch(campaign, "gen")

    assert outcome.state == "held"
    assert "disk full" in outcome.message
    assert world.submissions() == []
    assert world.stage_row(campaign, "gen").cs_last_split is None
    assert world.work_on_launches() == []


def test_a_released_launch_is_worked_out_afresh(world):
    """A held launch takes its slice when it is released, not when it was asked for."""
    campaign = world.campaign_with(stage("gen", split="nfiles(2)", dataset="raw"))
    world.catalogue().dataset("raw", 4)
    who = campaign.owner.experimenter_id
    world.change(CampaignStage, campaign.stage("gen"), hold_experimenter_id=who)
    held = world.launch(campaign, "gen")
    world.change(CampaignStage, campaign.stage("gen"), hold_experimenter_id=None)
    assert world.launch(campaign, "gen").state == "queued"

    released = launches.release_held(world.core, "ann", [held.launch_id], "samdev")
    world.work_on_launches()

    assert released == 1
    assert [item.submission_params["dataset"] for item in world.submissions()] == [
        "raw_slice0_files2", "raw_slice1_files2"]


def test_releasing_while_still_held_is_refused(world):
    """A launch that would be kept again at once is not called released; the refusal says what holds it."""
    campaign = world.campaign_with(stage("gen"))
    world.change(CampaignStage, campaign.stage("gen"), hold_experimenter_id=campaign.owner.experimenter_id,
                 hold_reason="disk full")
    held = world.launch(campaign, "gen")

    with pytest.raises(Conflict, match="disk full.* Allow its launches again"):
        launches.release_held(world.core, "ann", [held.launch_id], "samdev")

    assert world.launches()[0].state == "held"
    assert world.events("launch.released") == []


def test_of_several_released_launches_those_go_that_may(world):
    """One whose stage is held still stays; the number says how many went."""
    campaign = world.campaign_with(stage("gen"), stage("other"))
    for name in ("gen", "other"):
        world.change(CampaignStage, campaign.stage(name), hold_experimenter_id=campaign.owner.experimenter_id)
    held = [world.launch(campaign, name).launch_id for name in ("gen", "other")]
    world.change(CampaignStage, campaign.stage("other"), hold_experimenter_id=None)

    assert launches.release_held(world.core, "ann", held, "samdev") == 1

    assert [row.state for row in world.launches()] == ["held", "owed"]


def test_a_hold_between_release_and_launch_keeps_it_again(world):
    """Whoever holds the stage before an agent comes to the launch is obeyed."""
    campaign = world.campaign_with(stage("gen"))
    who = campaign.owner.experimenter_id
    world.change(CampaignStage, campaign.stage("gen"), hold_experimenter_id=who)
    held = world.launch(campaign, "gen")
    world.change(CampaignStage, campaign.stage("gen"), hold_experimenter_id=None)
    launches.release_held(world.core, "ann", [held.launch_id], "samdev")
    world.change(CampaignStage, campaign.stage("gen"), hold_experimenter_id=who)

    assert world.work_on_launches() == ["held"]
    assert world.launches()[0].lease_owner is None


def test_a_held_launch_can_be_cancelled(world):
    """A cancelled launch stays as a record and is never launched."""
    campaign = world.campaign_with(stage("gen"))
    world.change(CampaignStage, campaign.stage("gen"), hold_experimenter_id=campaign.owner.experimenter_id)
    held = world.launch(campaign, "gen")

    assert launches.cancel_held(world.core, "ann", [held.launch_id], "samdev") == 1

    assert launches.release_held(world.core, "ann", [held.launch_id], "samdev") == 0
    assert world.launches()[0].state == "cancelled"
    assert world.work_on_launches() == []


def test_another_experiments_held_launch_cannot_be_touched(world):
    """Neither release nor cancel reaches a launch of another experiment."""
    campaign = world.campaign_with(stage("gen"))
    world.change(CampaignStage, campaign.stage("gen"), hold_experimenter_id=campaign.owner.experimenter_id)
    held = world.launch(campaign, "gen")

    assert launches.release_held(world.core, "eve", [held.launch_id], "nova") == 0
    assert launches.cancel_held(world.core, "eve", [held.launch_id], "nova") == 0
    assert world.launches()[0].state == "held"


# -------------------------------------------------------------------------------------------- splits


def test_the_position_moves_with_the_submission(world):
    """Each launch takes the next slice, and the position is stored with its submission."""
    campaign = world.campaign_with(stage("gen", dataset="raw", split="nfiles(2)"))
    world.catalogue().dataset("raw", 3)

    datasets = [world.get(world.launch(campaign, "gen").submission_id).submission_params["dataset"] for _ in range(2)]

    assert datasets == ["raw_slice0_files2", "raw_slice1_files2"]
    assert world.stage_row(campaign, "gen").cs_last_split == {"v": 1, "index": 2}


def test_dying_before_the_commit_takes_no_slice(world):
    """A launch that is cut off before its commit leaves neither a submission nor a moved position."""
    campaign = world.campaign_with(stage("gen", dataset="raw", split="nfiles(2)"))
    world.catalogue().dataset("raw", 4)
    world.core.db.die_at_commit(1)

    with pytest.raises(BaseException, match="before a commit"):
        world.launch(campaign, "gen")

    assert world.submissions() == []
    assert world.stage_row(campaign, "gen").cs_last_split is None


@pytest.mark.parametrize("split", ["nfiles(1)", "drainingn(1)"])
def test_launches_at_once_never_get_one_slice(world, split):
    """Threads that launch a stage together each get a slice of their own, and no file twice."""
    campaign = world.campaign_with(stage("gen", dataset="raw", split=split))
    files = world.catalogue().dataset("raw", 4)

    answers = _together(4, lambda number: world.launch(campaign, "gen"))
    # A launch that lost the race too often is told to try again: do so.
    for _ in range(sum(isinstance(answer, Conflict) for answer in answers)):
        world.launch(campaign, "gen")

    datasets = [item.submission_params["dataset"] for item in world.submissions()]
    catalogue = world.catalogue()
    given = sum((catalogue.list(catalogue.dataset_query(name)) for name in datasets), [])
    assert [answer for answer in answers if isinstance(answer, Exception) and not isinstance(answer, Conflict)] == []
    assert sorted(given) == sorted(files)


def test_after_the_last_slice_there_is_no_launch(world):
    """At the end of the split the launch is refused, in words that say what to do."""
    campaign = world.campaign_with(stage("gen", dataset="raw", split="nfiles(5)"))
    world.catalogue().dataset("raw", 5)
    world.launch(campaign, "gen")

    with pytest.raises(NoMoreSplits, match="Reset the split"):
        world.launch(campaign, "gen")


def test_a_silent_catalogue_is_not_the_end(world):
    """If the catalogue does not answer the launch says so, and nothing moves."""
    campaign = world.campaign_with(stage("gen", dataset="raw", split="nfiles(2)"))
    world.catalogue().dataset("raw", 4)
    world.catalogue().fail("count")

    with pytest.raises(BackendUnavailable):
        world.launch(campaign, "gen")

    assert _nothing_written(world.core)
    assert world.launch(campaign, "gen").state == "queued"


def test_an_unknown_split_type_is_refused(world):
    """A stage whose split type is not installed cannot be launched; the known ones are named."""
    campaign = world.campaign_with(stage("gen", split="sideways(3)"))

    with pytest.raises(Invalid, match="drainingn"):
        world.launch(campaign, "gen")


def test_test_launches_have_a_position_of_their_own(world):
    """With a test split type, test launches neither use nor move the position of real ones."""
    campaign = world.campaign_with(stage("gen", dataset="raw", split="nfiles(2)", test_split_type="nfiles(1)"))
    world.catalogue().dataset("raw", 4)

    test = world.get(world.launch(campaign, "gen", test=True).submission_id)
    real = world.get(world.launch(campaign, "gen").submission_id)

    assert test.submission_params == {"dataset": "raw_slice0_files1", "test": 1}
    assert real.submission_params == {"dataset": "raw_slice0_files2", "split_from": {}}


def test_keywords_are_filled_in_before_splitting(world):
    """A dataset named with a campaign's keyword is cut under its real name."""
    campaign = world.campaign_with(stage("gen", dataset="raw_%(period)s", split="nfiles(2)"),
                                   campaign_keywords={"period": "7"})
    world.catalogue().dataset("raw_7", 4)

    outcome = world.launch(campaign, "gen")

    assert world.get(outcome.submission_id).submission_params["dataset"] == "raw_7_slice0_files2"


def test_a_preview_is_the_launch_without_writing(world):
    """What a preview shows is what the launch then stores; looking changes nothing."""
    campaign = world.campaign_with(stage("gen", dataset="raw", split="nfiles(2)"))
    world.catalogue().dataset("raw", 4)
    before = world.catalogue().definitions()

    shown = preparing.preview(world.core, campaign.owner, LaunchRequest(campaign.stage("gen"), "k"))
    assert _nothing_written(world.core)
    assert world.catalogue().definitions() == before
    outcome = world.launch(campaign, "gen")

    stored = world.launches()[0].plan
    assert shown.plan_for(outcome.submission_id) == preparing.plan_from_document(stored, 1)


# ------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(("spec", "message"), [
    (stage("gen", script=""), "no launch script"),
    (stage("gen", script="  \n"), "no launch script"),
    (stage("gen", script="run %(nope)s"), "nope"),
    (stage("gen", parameters=[["--x=", "%(nope)s"]]), "nope"),
    (stage("gen", script="run 50%"), "lone %"),
    (stage("gen", setup="source %(keyword)s"), "keyword"),
    (stage("gen", host="%(nope)s"), "nope"),
    (stage("gen", dataset="raw_%(nope)s"), "nope"),
])
def test_what_cannot_be_launched_is_refused_before_anything_is_written(world, spec, message):
    """Missing scripts and unknown names are told with their place; no row is written."""
    campaign = world.campaign_with(spec)

    with pytest.raises(Invalid, match=message):
        world.launch(campaign, "gen")

    assert _nothing_written(world.core)


def test_another_experiments_stage_is_not_found(world):
    """A stage of another experiment does not exist for an actor."""
    campaign = world.campaign_with(stage("gen"))
    stranger = world.person("eve", experiment="nova")

    with pytest.raises(NotFound):
        world.launch(campaign, "gen", actor=stranger)


def test_an_analysis_user_cannot_launch_production(world):
    """The rights matrix is asked for every launch."""
    campaign = world.campaign_with(stage("gen"))

    with pytest.raises(NotAllowed):
        world.launch(campaign, "gen", actor=world.person("bob", ANALYSIS))
    assert world.launch(campaign, "gen", actor=world.person("sue", SHIFTER)).state == "queued"


def test_a_stage_that_left_its_campaign_cannot_be_launched(world):
    """A stage that a later text of the campaign left out is refused."""
    campaign = world.campaign_with(stage("gen"))
    world.change(CampaignStage, campaign.stage("gen"), campaign_id=None)

    with pytest.raises(Invalid, match="no longer belongs"):
        world.launch(campaign, "gen")


# --------------------------------------------------------------------------------- what is remembered


def test_a_submission_keeps_what_it_ran_with(world):
    """Snapshots hold the configuration of the launch, whatever is changed afterwards; equal ones are stored once."""
    campaign = world.campaign_with(stage("gen", pct=90))
    first, second = (world.launch(campaign, "gen").submission_id for _ in range(2))
    world.change(CampaignStage, campaign.stage("gen"), completion_pct=50)
    third = world.launch(campaign, "gen").submission_id

    with world.core.db.read() as session:
        percents = [session.get_one(Snapshot, world.get(number).campaign_stage_snapshot_id).content["completion_pct"]
                    for number in (first, second, third)]
    assert percents == [90, 90, 50]
    assert world.get(first).campaign_stage_snapshot_id == world.get(second).campaign_stage_snapshot_id


def test_snapshots_have_keywords_filled_in_and_rows_do_not(world):
    """The snapshot shows the text with the campaign's keywords; the stage itself keeps its own text."""
    campaign = world.campaign_with(stage("gen", software_version="v%(n)s", script="run %(n)s"),
                                   campaign_keywords={"n": "3"})
    number = world.launch(campaign, "gen").submission_id

    with world.core.db.read() as session:
        content = session.get_one(Snapshot, world.get(number).campaign_stage_snapshot_id).content
    assert content["software_version"] == "v3"
    assert world.stage_row(campaign, "gen").software_version == "v%(n)s"


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_are_data(world, text):
    """Any name of campaign, stage and dataset, and any value, arrives in the plan as it is and nowhere else."""
    campaign = world.campaign_with(stage("gen", dataset="raw", parameters=[["--title=", text.replace("%", "%%")]]),
                                   name=text)

    number = world.launch(campaign, "gen").submission_id
    plan = preparing.plan_from_document(world.launches()[0].plan, 1)

    assert plan.command.endswith(f"--title={text}")
    assert dict(plan.environment)["POMS4_CAMPAIGN_NAME"] == text.replace(" ", "_")
    assert dict(plan.environment)["POMS4_SUBMISSION_ID"] == str(number)


def test_what_launch_scripts_are_told(world):
    """The variables that wrappers of existing installations read."""
    campaign = world.campaign_with(stage("gen"), stage("reco", after="gen"), name="my campaign")
    number = world.launch(campaign, "gen").submission_id

    told = dict(preparing.plan_from_document(world.launches()[0].plan, 1).environment)

    assert told | {"POMS_TASK_ID": str(number), "POMS_NUM_DEPENDENCIES": "1", "POMS_LAUNCHER": "samdevowner",
                   "POMS4_CAMPAIGN_STAGE_NAME": "gen", "POMS_CAMPAIGN_NAME": "my_campaign__gen",
                   "JOBSUB_GROUP": "fermilab", "POMS4_TEST_LAUNCH": "False", "POMS_PARENT_TASK_ID": ""} == told


def test_a_test_campaign_launches_tests(world):
    """Every launch of a test campaign is a test launch."""
    campaign = world.campaign_with(stage("gen"), campaign_type="test")

    number = world.launch(campaign, "gen").submission_id

    assert world.get(number).submission_params["test"] == 1


def test_a_launch_wakes_its_campaign(world, clock):
    """An inactive campaign becomes active by a launch, and its last activity is now."""
    campaign = world.campaign_with(stage("gen"), active=False)
    clock.advance(hours=1)

    world.launch(campaign, "gen")

    with world.core.db.read() as session:
        row = session.get_one(Campaign, campaign.campaign_id)
    assert row.active
    assert row.last_activity_at == clock()


def test_an_approval_waits_for_a_person(world):
    """The launch of an approval stage awaits approval; no jobs are submitted."""
    campaign = world.campaign_with(stage("check", campaign_stage_type="approval"))

    outcome = world.launch(campaign, "check")

    assert world.status(outcome.submission_id) is Status.AWAITING_APPROVAL
    assert world.work_on_launches() == []
    assert world.batch.accepted == []


def test_launch_hosts_may_name_the_experiment(world):
    """Login setups know the system's names."""
    campaign = world.campaign_with(stage("gen", host="%(experiment)sgpvm01", setup="source setup_%(version)s.sh"))
    world.launch(campaign, "gen")

    plan = world.launches()[0].plan
    assert (plan["host"], plan["setup"]) == ("samdevgpvm01", "source setup_v1.sh")
    with world.core.db.read() as session:
        assert session.scalar(select(LoginSetup.launch_host)) == "%(experiment)sgpvm01"


def test_a_dependents_files_are_recorded_once(world):
    """Which files a consumer was given is recorded; two dependencies that give the same file do not collide."""
    campaign = world.campaign_with(stage("gen", dataset="raw", completion="complete"),
                                   stage("reco", after={"gen": "%"}))
    world.catalogue().dataset("raw", 3)
    with world.core.db.write() as session:
        session.add(CampaignDependency(provider_campaign_stage_id=campaign.stage("gen"), file_patterns="%.root",
                                       consumer_campaign_stage_id=campaign.stage("reco")))
    number = world.submission(campaign, "gen")
    world.finish(number)
    world.wrap_up()
    world.work_on_launches()

    with world.core.db.read() as session:
        given = session.scalars(select(Delivery.file_name)).all()
    assert len(given) == 3
    assert [item.state for item in world.launches(kind="dependency")] == ["launched", "launched"]
