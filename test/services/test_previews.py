"""Previews: every kind is, byte for byte, what is launched afterwards, and looking changes nothing anywhere."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from poms.webservice.errors import Invalid, NotAllowed, NotFound
from poms.webservice.interfaces import JobState, LaunchPlan
from poms.webservice.model import Base, Campaign, CampaignStage, Membership
from poms.webservice.rules.permissions import ANALYSIS, PRODUCTION, SHIFTER
from poms.webservice.services import (
    blocks,
    campaigns,
    candidates,
    holds,
    launch_requests,
    launching,
    preparing,
    previews,
    schedules,
    stage_texts,
    wrapup,
)
from poms.webservice.testing import campaign_texts
from poms.webservice.testing.workload import Workload, needs
from poms.webservice.testing.world import stage

PARAMETERS = (("-Oglobal.note=", "it's $(id) `x`"),)


def everything(world):
    """How many rows each table has, and all that the catalogue keeps."""
    with world.core.db.read() as session:
        rows = {table.name: session.scalar(select(func.count()).select_from(table)) for table in
                Base.metadata.sorted_tables}
    return rows, world.catalogue().definitions(), world.catalogue().snapshot_count()


@contextmanager
def nothing_changes(world):
    """What is done inside leaves database and catalogue as they are."""
    before = everything(world)
    yield
    assert everything(world) == before


def launched_text(world, row, foreseen):
    """What was really stored to be run, with the definitions that were really made for it."""
    plan = preparing.plan_from_document(row.plan, 1)
    made = tuple((name, world.catalogue().definition(name)) for name, _ in foreseen.defines)
    return previews.text_of(plan, made)


def promised_text(foreseen, row):
    """What the preview shows, with the number that only the launch gives."""
    return previews.text_of(foreseen.prepared.plan_for(row.submission_id), foreseen.defines)


def assert_kept(world, foreseen):
    """The launch with this preview's key is what the preview said."""
    (row,) = world.launches(key=foreseen.request.key)
    assert row.plan is not None, row.message
    assert launched_text(world, row, foreseen) == promised_text(foreseen, row)
    return row


def files_of(world, dataset):
    return world.catalogue().list(f"defname: {dataset}")


# --------------------------------------------------------------------------------- launches by hand

SPLITS = [None, "nfiles(3)", "mod_2", "limitn(4)", "byrun(low=1)"]


@pytest.mark.parametrize("split", SPLITS)
def test_a_launch_by_hand_is_what_its_preview_said(world, split):
    """Names of datasets, queries, environment and command are the same byte for byte."""
    world.catalogue().dataset("raw", 10, run=7)
    campaign = world.campaign_with(stage("gen", dataset="raw", split=split, parameters=PARAMETERS, setup="source me"))
    request = launch_requests.by_hand(campaign.stage("gen"), "form1")
    with nothing_changes(world):
        shown = previews.of_launch(world.core, campaign.owner, request)

    launching.launch(world.core, campaign.owner, request)

    row = assert_kept(world, shown)
    assert shown.what == "launch"
    assert shown.input.count == len(files_of(world, row.plan["dataset"]))
    assert [name for name, _ in shown.input.first] == files_of(world, row.plan["dataset"])
    assert all(size == 1000 for _, size in shown.input.first)


@pytest.mark.parametrize("split", ["drainingn(3)", "byexistingruns"])
def test_a_slice_that_is_frozen_has_the_name_and_files_that_were_shown(world, split):
    """The number of its snapshot is known only when it is taken; everything else is as it was shown."""
    world.catalogue().dataset("raw", 10, run=7)
    campaign = world.campaign_with(stage("gen", dataset="raw", split=split))
    for key in ("first", "second")[:2 if split == "drainingn(3)" else 1]:
        request = launch_requests.by_hand(campaign.stage("gen"), key)
        with nothing_changes(world):
            shown = previews.of_launch(world.core, campaign.owner, request)
        promised = world.catalogue().list(shown.defines[0][1])

        launching.launch(world.core, campaign.owner, request)

        (row,) = world.launches(key=request.key)
        assert previews.text_of(preparing.plan_from_document(row.plan, 1)) == \
            previews.text_of(shown.prepared.plan_for(row.submission_id))
        assert files_of(world, row.plan["dataset"]) == promised


def test_the_next_slices_are_shown(world):
    """With names, files and what gives them, as launches in a row would take them."""
    world.catalogue().dataset("raw", 7)
    campaign = world.campaign_with(stage("gen", dataset="raw", split="nfiles(3)"))
    with nothing_changes(world):
        shown = previews.of_launch(world.core, campaign.owner, launch_requests.by_hand(campaign.stage("gen"), "k"))

    taken = []
    for number in range(3):
        outcome = world.launch(campaign, "gen", key=f"k{number}")
        taken.append(world.get(outcome.submission_id).submission_params["dataset"])

    assert [piece.dataset for piece in shown.slices] == taken
    assert [piece.files for piece in shown.slices] == [3, 3, 1]
    assert [world.catalogue().list(piece.query) for piece in shown.slices] == [files_of(world, name) for name in taken]


def test_the_same_form_shows_that_it_was_sent(world):
    """Looking again at what was launched under a key says so, instead of promising it once more."""
    campaign = world.campaign_with(stage("gen"))
    request = launch_requests.by_hand(campaign.stage("gen"), "form1")
    outcome = launching.launch(world.core, campaign.owner, request)

    shown = previews.of_launch(world.core, campaign.owner, request)

    assert (shown.what, shown.prepared) == ("made", None)
    assert f"submission {outcome.submission_id}" in shown.why


def test_why_a_launch_would_be_held_is_told_with_what_it_would_be(world):
    """A held stage shows the reason and the whole command; launching it keeps it."""
    campaign = world.campaign_with(stage("gen"))
    holds.hold_stages(world.core, campaign.owner, [campaign.stage("gen")], hold=True, reason="new calibration")
    request = launch_requests.by_hand(campaign.stage("gen"), "k")
    with nothing_changes(world):
        shown = previews.of_launch(world.core, campaign.owner, request)

    outcome = launching.launch(world.core, campaign.owner, request)

    assert (shown.what, outcome.state) == ("hold", "held")
    assert shown.why == outcome.message
    assert "fife_launch" in shown.text


@pytest.mark.parametrize(("columns", "what", "word"), [
    ({"dataset": "raw", "split": "nosuch(1)"}, "fail", "no split type"),
    ({"script": "run %(nope)s"}, "fail", "nope"),
    ({"dataset": "raw", "split": "nfiles(3)", "cs_last_split": {"v": 1, "index": 9}}, "skip", "No more splits"),
])
def test_what_would_not_be_launched_says_why(world, columns, what, word):
    """Mistakes of the stage and the end of a split, as the launch itself would tell them."""
    world.catalogue().dataset("raw", 3)
    campaign = world.campaign_with(stage("gen", **columns))
    with nothing_changes(world):
        shown = previews.of_launch(world.core, campaign.owner, launch_requests.by_hand(campaign.stage("gen"), "k"))

    assert shown.what == what
    assert word in shown.why
    assert shown.text == ""


def test_a_silent_catalogue_is_said_and_nothing_is_guessed(world):
    """The number of files is unknown then, not none."""
    world.catalogue().dataset("raw", 3)
    campaign = world.campaign_with(stage("gen", dataset="raw"))
    world.catalogue().fail("definition")

    shown = previews.of_launch(world.core, campaign.owner, launch_requests.by_hand(campaign.stage("gen"), "k"))

    assert (shown.what, shown.input) == ("launch", None)
    assert shown.input_unknown


def test_files_of_a_large_dataset_are_counted_and_only_the_first_listed(world):
    """However large it is, a preview holds one page of names."""
    world.catalogue().dataset("raw", 500)
    campaign = world.campaign_with(stage("gen", dataset="raw", parameters=[["-Osubmit.N=", "12"]]))

    shown = previews.of_launch(world.core, campaign.owner, launch_requests.by_hand(campaign.stage("gen"), "k"))

    assert (shown.input.count, len(shown.input.first), shown.jobs) == (500, previews.FIRST_FILES, 12)


def test_what_lets_jobs_write_to_a_catalogue_is_not_shown():
    """The address with its key is in the environment of the launch, and not in the text that people see."""
    plan = LaunchPlan(1, 1, "sbnd", "sbnd", "production", "olive", "gpvm01", "sbndpro", "setup", "run", (
        ("SAM_WEB_BASE_URL", "https://poms/sam/sbnd/key-s3cret/api"), ("GROUP", "sbnd")))

    assert "s3cret" not in previews.text_of(plan)
    assert "export GROUP=sbnd" in previews.text_of(plan)


def test_who_would_be_allowed_is_told_for_each_role(world):
    """An analysis user may launch what is his own, production launches everything, a shifter what is production's."""
    student = world.person("student", ANALYSIS)
    campaign = world.campaign_with(stage("gen"), owner=student)
    with world.core.db.read() as session:
        found = dict(previews.allowed_roles(session.get_one(CampaignStage, campaign.stage("gen"))))

    assert (found["production"], found["superuser"]) == ("", "")
    assert found["analysis"] == "only the one who made it"
    assert found["production-shifter"].startswith("Must be acting as")


def _of_campaign(world, campaign):
    request = campaigns.launch_request(world.core, campaign.owner, campaign.campaign_id, "k")
    return previews.of_launch(world.core, campaign.owner, request)


def test_a_campaign_is_previewed_at_its_beginning(world):
    """The stage and the launch are those of launching the campaign."""
    campaign = world.campaign_with(stage("gen"), stage("reco", after="gen"))
    with nothing_changes(world):
        shown = _of_campaign(world, campaign)

    campaigns.launch_campaign(world.core, campaign.owner, campaign.campaign_id, "k")

    assert shown.stage.name == "gen"
    assert_kept(world, shown)


def test_a_campaign_with_two_beginnings_is_not_guessed_at(world):
    """The preview asks for a choice as the launch does."""
    campaign = world.campaign_with(stage("gen"), stage("other"))

    with pytest.raises(Invalid, match="Choose one"):
        _of_campaign(world, campaign)


def test_several_stages_are_previewed_together(world):
    """Each for itself, each once; one that cannot be launched keeps no other from being shown."""
    campaign = world.campaign_with(stage("gen"), stage("broken", script="run %(nope)s"), stage("reco"))
    chosen = [campaign.stage(name) for name in ("gen", "broken", "reco", "gen")]
    with nothing_changes(world):
        shown = previews.of_stages(world.core, campaign.owner, chosen, "k")

    assert [(each.stage.name, each.what) for each in shown] == [
        ("gen", "launch"), ("broken", "fail"), ("reco", "launch")]
    for each in shown:
        if each.what == "launch":
            launching.launch(world.core, campaign.owner, each.request)
            assert_kept(world, each)


def test_a_stage_of_another_experiment_is_not_shown(world):
    """What somebody may not see is not there."""
    campaign = world.campaign_with(stage("gen"))
    stranger = world.person("eve", experiment="nova")

    with pytest.raises(NotFound):
        previews.of_launch(world.core, stranger, launch_requests.by_hand(campaign.stage("gen"), "k"))


# -------------------------------------------------------------------------------------- recoveries


@pytest.fixture
def half_done(world):
    """A submission of ten files of which six were processed, with a list of recoveries and a next stage."""
    world.catalogue().dataset("raw", 10)
    campaign = world.campaign_with(
        stage("gen", dataset="raw", pct=50, recoveries=(("consumed_status", [["-Omemory=", "4GB"]]),
                                                        ("pending_files", []))),
        stage("reco", after={"gen": "%_out.root"}))
    number = world.submission(campaign, "gen")
    world.finish(number, files=6)
    return campaign, number


@pytest.mark.parametrize("kind", ["consumed_status", "process_status", "pending_files", "delivered_not_consumed"])
def test_a_recovery_by_hand_is_what_its_preview_said(world, half_done, kind):
    """Of every kind: its dataset, the query of it, and the command."""
    campaign, number = half_done
    with nothing_changes(world):
        shown = previews.of_recovery(world.core, campaign.owner, number, kind, "form1")

    candidate = candidates.describe(world.core, number, "samdev")
    launching.launch(world.core, campaign.owner, wrapup.recovery_request(world.core, candidate, kind, "form1"))

    row = assert_kept(world, shown)
    assert shown.input.count == len(files_of(world, row.plan["dataset"])) == 4


def test_recoveries_of_all_kinds_are_counted(world, half_done):
    """How many files each would do again, before one is chosen."""
    _, number = half_done
    with nothing_changes(world):
        found = previews.recovery_counts(world.core, candidates.describe(world.core, number, "samdev"))

    assert found["consumed_status"] == 4
    assert found["added_files"] == 0


def test_the_next_recovery_of_the_list_is_what_was_foreseen(world, half_done):
    """What wrap-up launches is what a look beforehand said, and next stages are told to come later."""
    campaign, number = half_done
    with nothing_changes(world):
        seen = previews.of_what_follows(world.core, campaign.owner, number)
    world.wrap_up()
    world.work_on_launches()

    (recovery,) = seen.now
    assert recovery.occasion == "recovery 1 of 2 in the job type's list: consumed_status"
    assert "-Omemory=4GB" in recovery.text
    assert [each.stage.name for each in seen.later] == ["reco"]
    row = assert_kept(world, recovery)
    assert row.kind == "recovery"
    assert world.launches(kind="dependency") == []


def test_next_stages_are_what_was_foreseen(world, clock):
    """Each next stage with the definition made for it, its files and its command."""
    world.catalogue().dataset("raw", 10)
    campaign = world.campaign_with(stage("gen", dataset="raw", completion="complete"),
                                   stage("reco", after={"gen": "%_out.root"}),
                                   stage("calib", after={"gen": "%"}), stage("none", after={"gen": "%.nothing"}))
    number = world.submission(campaign, "gen")
    world.finish(number)
    with nothing_changes(world):
        seen = previews.of_what_follows(world.core, campaign.owner, number)
    world.wrap_up()
    # That one stage gets nothing is asked of the catalogue twice before it is believed.
    clock.advance(minutes=1)
    world.wrap_up()
    world.work_on_launches()

    assert [each.stage.name for each in seen.now] == ["reco", "calib"]
    for each in seen.now:
        row = assert_kept(world, each)
        assert each.input.count == len(files_of(world, row.plan["dataset"])) == 10
    assert [row.key for row in world.launches(kind="dependency")] == [each.request.key for each in seen.now]
    assert any("none" in why for why in seen.skipped)


def test_after_it_is_located_nothing_more_is_promised(world, half_done):
    """What follows was decided in the moment in which it became Located."""
    campaign, number = half_done
    world.wrap_up()

    seen = previews.of_what_follows(world.core, campaign.owner, number)

    assert (seen.settled, seen.now, seen.later) == (True, (), ())


def test_what_recovery_rules_would_do_is_what_they_do(world):
    """One launch for each group of failed files, with what the rules change; questions are told as questions."""
    world.catalogue().dataset("raw", 6)
    campaign = world.campaign_with(
        stage("gen", dataset="raw", pct=50, script="fife_launch -c gen.cfg",
              parameters=(("-Osubmit.memory=", "1000MB"),),
              recovery_policy="when hold 34: memory x1.5\nwhen exit 7: stop\nmemory at most 4GB"),
        stage("reco", after={"gen": "%_out.root"}))
    memory = needs({"raw_0003.root": 1400})
    work = Workload(world, lambda name, asked: {"state": JobState.FAILED, "exit_code": 7}
                    if name == "raw_0005.root" else memory(name, asked))
    number = world.submission(campaign, "gen")
    world.poll()
    work.run(number)
    with nothing_changes(world):
        seen = previews.of_what_follows(world.core, campaign.owner, number)
    world.wrap_up()
    world.work_on_launches()

    (recovery,) = seen.now
    assert "memory" in recovery.occasion and "-Osubmit.memory=1500MB" in recovery.text
    assert_kept(world, recovery)
    ((told, after_go_on),) = seen.asked
    assert "a person is asked" in told
    assert after_go_on.input.count == 1
    assert [each.stage.name for each in seen.later] == ["reco"]


def test_a_launcher_who_left_is_named_before_it_happens(world, half_done):
    """What follows is launched in the name of who launched the original; without membership it is refused."""
    campaign, number = half_done
    world.change(Membership, (campaign.owner.experimenter_id, "samdev"), active=False)
    operator = world.person("oper", PRODUCTION)

    seen = previews.of_what_follows(world.core, operator, number)

    assert {each.what for each in (*seen.now, *seen.later)} == {"refuse"}


# --------------------------------------------------------------------------------------- schedules


def test_the_next_runs_of_a_schedule_take_one_slice_after_the_other(world, clock):
    """Run by run what is launched is what was shown, until the split is at its end and the schedule goes."""
    world.catalogue().dataset("raw", 5)
    campaign = world.campaign_with(stage("gen", dataset="raw", split="nfiles(2)", default_clear_cronjob=True))
    number = campaign.stage("gen")
    schedules.set_schedule(world.core, campaign.owner, number, cron="0 * * * *")
    with nothing_changes(world):
        shown = previews.of_schedule(world.core, campaign.owner, number)
    for _ in range(4):
        clock.advance(hours=1)
        schedules.launch_due(world.core, "samdev")
        world.work_on_launches()

    assert [each.what for each in shown] == ["launch", "launch", "launch", "skip"]
    for each in shown[:3]:
        row = assert_kept(world, each)
        assert row.created - each.at < timedelta(hours=1)
    assert world.launches(key=shown[3].request.key)[0].state == "skipped"
    assert shown[3].why == "no more splits; the schedule is taken away"


def test_a_split_by_time_is_foreseen_at_the_time_of_each_run(world, clock):
    """Windows that are over only when the run comes are counted for that run."""
    campaign = world.campaign_with(stage("gen", dataset="raw", split="new(window=1h, fts=0s)"))
    world.catalogue().dataset("raw", 2)
    number = campaign.stage("gen")
    schedules.set_schedule(world.core, campaign.owner, number, cron="0 * * * *")
    shown = previews.of_schedule(world.core, campaign.owner, number, runs=3)
    for each in shown:
        clock.set(each.at)
        schedules.launch_due(world.core, "samdev")
        world.work_on_launches()

    for each in shown:
        assert_kept(world, each)


def test_a_schedule_that_is_only_typed_is_foreseen_too(world):
    """As if the person who looks had set it; without one there is nothing."""
    campaign = world.campaign_with(stage("gen"))
    number = campaign.stage("gen")
    with nothing_changes(world):
        typed = previews.of_schedule(world.core, campaign.owner, number, cron="*/10 * * * *", runs=3)

    assert [each.what for each in typed] == ["launch"] * 3
    assert typed[2].at - typed[1].at == typed[1].at - typed[0].at == timedelta(minutes=10)
    assert previews.of_schedule(world.core, campaign.owner, number) == []


def test_runs_of_a_launcher_who_left_are_refused_in_the_preview(world):
    """The schedule page says beforehand that nothing will be launched."""
    campaign = world.campaign_with(stage("gen"))
    number = campaign.stage("gen")
    schedules.set_schedule(world.core, campaign.owner, number, cron="0 * * * *")
    world.change(Membership, (campaign.owner.experimenter_id, "samdev"), active=False)

    shown = previews.of_schedule(world.core, world.person("oper"), number)

    assert {each.what for each in shown} == {"refuse"}
    assert "not in experiment" in shown[0].why


# ----------------------------------------------------------------------------------------- changes

TEXT = campaign_texts.plain(
    {"gen": "", "reco": "dataset_or_split_data = None\ncs_split_type = None\n"}, dataset="raw",
    defaults='cs_split_type = nfiles(2)\nparam_overrides = [["-Oglobal.n=", "1"]]\n',
    dependencies="[dependencies reco]\ncampaign_stage_1 = gen\nfile_pattern_1 = %.root\n",
    script="fife_launch -c %(dataset)s")


@pytest.fixture
def typed(world):
    """A campaign of a text, with the numbers of its stages, and a launch of gen that is held."""
    world.catalogue().dataset("raw", 6)
    owner = world.person("olive")
    result = campaigns.save_text(world.core, owner, TEXT.encode(), source="test")
    assert result.problems == ()
    numbers = {name: number for number, name in result.stages}
    holds.hold_stages(world.core, owner, [numbers["gen"]], hold=True)
    held = launching.launch(world.core, owner, launch_requests.by_hand(numbers["gen"], "waits"))
    holds.hold_stages(world.core, owner, [numbers["gen"]], hold=False)
    return owner, result.campaign_id, numbers, held.launch_id


def assert_effects_are_real(world, owner, effects, save):
    """What was shown of each stage's next launch, before and after, is what its preview is before and after."""
    nexts = [effect for effect in effects if effect.launch_id is None]
    for effect, side in ((effect, effect.before) for effect in nexts):
        now = previews.of_launch(world.core, owner, launch_requests.by_hand(effect.stage.campaign_stage_id, "preview"))
        assert now.text == side.text
    save()
    for effect in nexts:
        request = launch_requests.by_hand(effect.stage.campaign_stage_id, "preview")
        launching.launch(world.core, owner, request)
        if effect.after.what == "launch":
            assert_kept(world, effect.after)


def test_saving_a_text_does_what_its_preview_said(world, typed):
    """Which commands change and how, also of launches that wait; nothing is saved by looking."""
    owner, _, numbers, held = typed
    new = TEXT.replace('"1"]]', '"7"]]').encode()
    with nothing_changes(world):
        result, effects = previews.of_text(world.core, owner, new)

    assert result.dry_run and result.changed
    assert [(effect.stage.name, effect.launch_id, effect.is_change) for effect in effects] == [
        ("gen", None, True), ("reco", None, True), ("gen", held, True)]
    assert "-Oglobal.n=1" in effects[0].before.text and "-Oglobal.n=7" in effects[0].after.text
    assert "-Oglobal.n=7" in effects[2].after.text
    assert_effects_are_real(world, owner, effects,
                            lambda: campaigns.save_text(world.core, owner, new, source="test"))


def test_a_change_of_one_stage_leaves_the_others_alone(world, typed):
    """Only what is launched otherwise counts as changed."""
    owner, *_ = typed
    new = TEXT.replace("[campaign_stage reco]\n", "[campaign_stage reco]\nsoftware_version = v2\n"
                       "param_overrides = [[\"-Ov=\", \"%(version)s\"]]\n")
    with nothing_changes(world):
        _, effects = previews.of_text(world.core, owner, new.encode())

    assert [effect.stage.name for effect in effects if effect.is_change] == ["reco"]


def test_another_split_begins_at_its_start_in_the_preview(world, typed):
    """As saving it does: the position of the old split counts no more."""
    owner, _, numbers, _ = typed
    launching.launch(world.core, owner, launch_requests.by_hand(numbers["gen"], "first"))
    with nothing_changes(world):
        _, effects = previews.of_text(world.core, owner, TEXT.replace("nfiles(2)", "nfiles(3)").encode())

    assert effects[0].before.prepared.slice.dataset == "raw_slice1_files2"
    assert effects[0].after.prepared.slice.dataset == "raw_slice0_files3"


def test_stages_that_come_and_go_are_told(world, typed):
    """One that is new has no launch before, one that is taken out none after."""
    owner, *_ = typed
    new = TEXT.replace("reco", "anew")
    with nothing_changes(world):
        _, effects = previews.of_text(world.core, owner, new.encode())

    found = {effect.stage.name: (effect.before is None, effect.after is None) for effect in effects
             if effect.launch_id is None}
    assert found == {"gen": (False, False), "anew": (True, False), "reco": (False, True)}


def test_the_text_in_force_changes_nothing(world, typed):
    """And a text with mistakes says them instead of guessing."""
    owner, *_ = typed
    same, none = previews.of_text(world.core, owner, TEXT.encode())
    wrong, no_effects = previews.of_text(world.core, owner, TEXT.replace("= 95", "= lots").encode())

    assert (same.changed, none) == (False, [])
    assert wrong.problems and no_effects == []


def test_a_text_that_one_may_not_save_is_not_previewed(world, typed):
    """What somebody may not do is not rehearsed either."""
    shifter = world.person("shift", SHIFTER)

    with nothing_changes(world), pytest.raises(NotAllowed):
        previews.of_text(world.core, shifter, TEXT.replace("= 95", "= 90").encode())


def test_changing_a_job_type_does_what_its_preview_said(world, typed):
    """Every stage that uses it, of whatever campaign."""
    owner, *_ = typed
    change = blocks.JobTypeChange(launch_script="other_launch %(dataset)s")
    with nothing_changes(world):
        effects = previews.of_block(world.core, owner, "job_type", lambda look: blocks.save_job_type(
            world.core, owner, "work", change, add=False, look=look))

    assert [effect.stage.name for effect in effects if effect.launch_id is None] == ["gen", "reco"]
    assert all("other_launch" in effect.after.text for effect in effects)
    assert_effects_are_real(world, owner, effects,
                            lambda: blocks.save_job_type(world.core, owner, "work", change, add=False))


def test_switching_several_stages_does_what_its_preview_said(world, typed):
    """Stages of two campaigns at once, each campaign saved once."""
    owner, campaign_id, numbers, _ = typed
    second = TEXT.replace("name = typed", "name = second").encode()
    other = campaigns.save_text(world.core, owner, second, source="test")
    blocks.save_login_setup(world.core, owner, "there", blocks.LoginSetupChange(host="gpvm02", account="x", setup=""),
                            add=True)
    chosen, stated = [*numbers.values(), other.stages[0][0]], {"login_setup": "there"}
    with nothing_changes(world):
        effects = previews.of_stage_keys(world.core, owner, chosen, stated)

    assert [effect.is_change for effect in effects if effect.launch_id is None] == [True, True, True, False]
    assert "on gpvm02 as x" in effects[0].after.text
    assert_effects_are_real(world, owner, effects,
                            lambda: stage_texts.change_several(world.core, owner, chosen, stated))
    for number in (campaign_id, other.campaign_id):
        with world.core.db.read() as session:
            assert session.get_one(Campaign, number).version_number == 2
