"""Stages that send a scout ahead: which files go first, what waits and for how long, and that each file goes once."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from urllib.parse import urlencode

import pytest
from sqlalchemy import select

from poms.webservice.errors import Conflict, Invalid, NotFound
from poms.webservice.interfaces import JobState
from poms.webservice.model import CampaignStage, Delivery, JobType, Scout
from poms.webservice.rules.permissions import ANALYSIS, PRODUCTION
from poms.webservice.rules.statuses import Status
from poms.webservice.services import holds, launches, launching, preparing, scout_verdicts
from poms.webservice.services.launch_requests import LaunchRequest
from poms.webservice.services.pages import campaigns as campaign_pages
from poms.webservice.services.pages import home as home_pages
from poms.webservice.services.pages import launches as launch_pages
from poms.webservice.services.pages import stages as stage_pages
from poms.webservice.services.pages import submissions as submission_pages
from poms.webservice.testing.faults import Died
from poms.webservice.testing.world import stage


def made_of(world, text="4 files", files=20, **more):
    """A stage that scouts, on a dataset."""
    world.catalogue().dataset("raw", files)
    return world.campaign_with(stage("reco", dataset="raw", scout=text, **more))


def pass_over(world):
    """What agents do regularly."""
    world.poll()
    world.wrap_up()
    world.work_on_launches()


def files_of(world, number):
    catalogue = world.catalogue()
    return sorted(catalogue.list(catalogue.dataset_query(world.get(number).submission_params["dataset"])))


def inputs(world, made, name="reco"):
    """The files of each submission of a stage."""
    return [files_of(world, item.submission_id) for item in world.submissions(campaign_stage_id=made.stage(name))]


def scout_row(world, number):
    with world.core.db.read() as session:
        return session.get_one(Scout, number)


def rest_of(world, number):
    (row,) = world.launches(key=f"scout:{number}:rest")
    return row


def end(world, number, *, bad=0, **facts):
    """Let the jobs of a scout end, some of them badly, with what they used."""
    world.poll()
    for place, job in enumerate(world.batch.of(number)):
        world.batch.change_job(job.batch_id, JobState.FAILED if place < bad else JobState.COMPLETED, **facts)
    if world.get(number).project:
        world.catalogue().process(world.get(number).project)
    pass_over(world)


# ---------------------------------------------------------------------------------- who goes ahead


def test_the_first_files_go_ahead_and_the_rest_waits(world):
    """The launch is the scout's; what is left is a held launch that says for what it waits."""
    made = made_of(world)

    number = world.submission(made, "reco")

    assert [len(part) for part in inputs(world, made)] == [4]
    rest = rest_of(world, number)
    assert (rest.state, rest.submission_id) == ("held", None)
    assert rest.hold_reason == f"Waits for its scout: submission {number} went ahead on 4 of 20 files"
    assert scout_row(world, number).state == "waiting"
    assert [event.data["rest"] for event in world.events("scout.sent")] == [16]


def test_the_rest_follows_when_the_scout_did_well(world):
    """By itself, with every other file, once, and without a scout of its own."""
    made = made_of(world)
    number = world.submission(made, "reco")

    end(world, number)
    pass_over(world)

    assert [len(part) for part in inputs(world, made)] == [4, 16]
    assert len({name for part in inputs(world, made) for name in part}) == 20
    assert scout_row(world, number).state == "good"
    assert rest_of(world, number).state == "launched"


def test_nothing_follows_while_jobs_run(world):
    """Though some of them ended well."""
    made = made_of(world)
    number = world.submission(made, "reco")
    world.poll()
    world.batch.end(number, JobState.COMPLETED, 1)

    pass_over(world)

    assert rest_of(world, number).state == "held"
    assert scout_row(world, number).state == "waiting"


def test_a_small_input_goes_at_once(world):
    """Less than twice the scout's files is not worth it."""
    made = made_of(world, files=7)

    world.submission(made, "reco")

    assert [len(part) for part in inputs(world, made)] == [7]
    assert world.launches(state="held") == []


def test_one_good_scout_is_enough(world):
    """The next launch with the same settings goes at once; after a change of them a scout goes ahead again."""
    made = made_of(world)
    end(world, world.submission(made, "reco"))
    pass_over(world)

    again = world.submission(made, "reco")
    world.change(CampaignStage, made.stage("reco"), software_version="v2")
    changed = world.submission(made, "reco")

    assert len(files_of(world, again)) == 20
    assert len(files_of(world, changed)) == 4


def test_another_job_type_is_scouted_too(world):
    """What runs is the job type's as much as the stage's."""
    made = made_of(world)
    end(world, world.submission(made, "reco"))
    with world.core.db.write() as session:
        session.get_one(JobType, world.stage_row(made, "reco").job_type_id).launch_script += " --new"

    assert len(files_of(world, world.submission(made, "reco"))) == 4


def test_always_means_before_each_launch(world):
    """Whatever scouts found before."""
    made = made_of(world, "4 files, always")
    end(world, world.submission(made, "reco"))
    pass_over(world)

    assert len(files_of(world, world.submission(made, "reco"))) == 4


@pytest.mark.parametrize("request_of", [{"kind": "test", "test": True}, {"kind": "recovery"}])
def test_tests_and_recoveries_send_nobody_ahead(world, request_of):
    """They are small, or come after a scout."""
    made = made_of(world)
    if request_of["kind"] == "recovery":
        first = world.submission(made, "reco", kind="test", test=True)
        request_of = {**request_of, "recovery_of": first, "dataset_override": "raw"}

    number = world.submission(made, "reco", **request_of)

    assert len(files_of(world, number)) == 20


def test_other_launches_wait_for_the_scout(world):
    """One scout for all: they go when it did well, each on its own input."""
    made = made_of(world)
    world.catalogue().dataset("more", 30, prefix="more")
    number = world.submission(made, "reco")

    other = world.launch(made, "reco", dataset_override="more")
    assert (other.state, other.message) == (
        "held", f"Waits for a scout of the same stage: submission {number} went ahead")
    end(world, number)
    pass_over(world)

    assert sorted(len(part) for part in inputs(world, made)) == [4, 16, 30]


def test_of_two_launches_at_once_one_sends_the_scout(world):
    """The other finds, when it is stored, that it was overtaken, and waits."""
    made = made_of(world)
    late = preparing.prepare(world.core, made.owner, LaunchRequest(made.stage("reco"), "late"))
    number = world.submission(made, "reco")
    assert late.scout.files == tuple(files_of(world, number))

    with pytest.raises(launching._PositionMoved):
        launching._store(world.core, made.owner, late)
    outcome = world.launch(made, "reco", key="late")

    assert outcome.state == "held"
    assert len(world.submissions()) == 1


def test_parts_that_are_owed_at_once_send_one_scout(world):
    """However many are due when an agent comes."""
    made = chain(world, start_when="1 file")
    first = world.submission(made, "gen")
    world.poll()
    for count in (9, 11):
        world.catalogue().process(world.get(first).project, count)
        world.wrap_up()
    assert len(world.launches(state="owed")) == 2

    world.work_on_launches()

    assert [len(part) for part in inputs(world, made)] == [4]
    assert len(world.launches(state="held")) == 2


def test_launches_of_a_stage_that_scouts_are_not_settled_together(world):
    """What one of them does depends on whether one before it sent a scout; what a scout left may go with others."""
    made = chain(world, start_when="1 file")
    first = world.submission(made, "gen")
    world.poll()
    for count in (9, 11):
        world.catalogue().process(world.get(first).project, count)
        world.wrap_up()
    claims = launches.claim(world.core, "agent one", 10)

    assert launching.settle_together(world.core, [(each.launch_id, each.epoch) for each in claims]) == {}

    assert len(claims) == 2
    assert inputs(world, made) == []


def test_a_launch_that_was_kept_while_the_scout_was_judged_goes_too(world):
    """The next pass finds it."""
    made = made_of(world)
    world.catalogue().dataset("more", 30, prefix="more")
    number = world.submission(made, "reco")
    other = world.launch(made, "reco", dataset_override="more")
    with world.core.db.write() as session:
        session.get_one(Scout, number).state = "good"

    pass_over(world)

    assert world.launches(launch_id=other.launch_id)[0].state == "launched"


def test_the_same_request_again_is_the_same_scout(world):
    """A button pressed twice."""
    made = made_of(world)

    first = world.launch(made, "reco", key="once")
    second = world.launch(made, "reco", key="once")

    assert first == second
    assert len(world.launches()) == 2


def test_a_slice_of_a_split_is_scouted(world):
    """The split moves on by one slice, of which a part goes first."""
    made = made_of(world, split="drainingn(10)")
    number = world.submission(made, "reco")
    end(world, number)
    pass_over(world)
    world.submission(made, "reco")

    assert [len(part) for part in inputs(world, made)] == [4, 6, 10]
    assert len({name for part in inputs(world, made) for name in part}) == 20


def test_a_launch_that_waits_takes_no_slice(world):
    """It takes the next one when it is launched."""
    made = made_of(world, split="nfiles(10)")
    number = world.submission(made, "reco")
    position = world.stage_row(made, "reco").cs_last_split

    assert world.launch(made, "reco").state == "held"
    assert world.stage_row(made, "reco").cs_last_split == position
    end(world, number)
    pass_over(world)

    assert sorted(len(part) for part in inputs(world, made)) == [4, 6, 10]
    assert len({name for part in inputs(world, made) for name in part}) == 20


def test_what_is_no_dataset_cannot_be_scouted(world):
    """The launch is refused with the remedy, not held for ever."""
    made = world.campaign_with(stage("reco", dataset="nothing_known", scout="4 files"))

    with pytest.raises(Invalid, match=r"knows no dataset “nothing_known”.*scout = None"):
        world.launch(made, "reco")


def test_a_stage_without_input_is_launched_as_ever(world):
    """There is nothing of which a part could go first."""
    made = world.campaign_with(stage("gen", scout="4 files", campaign_stage_type="generator"))

    assert world.launch(made, "gen").state == "queued"
    assert world.launches(state="held") == []


# ------------------------------------------------------------------------------------ dependencies


def chain(world, **second):
    """Generation makes twenty files for reconstruction, which scouts."""
    world.catalogue().dataset("raw", 20)
    return world.campaign_with(stage("gen", dataset="raw"),
                               stage("reco", after={"gen": "%.root"}, scout="4 files", **second))


def ledger(world):
    with world.core.db.read() as session:
        rows = session.scalars(select(Delivery)).all()
    return Counter(row.consumer_submission_id for row in rows), len({row.file_name for row in rows}), len(rows)


@pytest.mark.parametrize("how", [{}, {"start_when": "6 files"}])
def test_output_of_the_stage_before_is_scouted_and_given_once(world, how):
    """The ledger names the scout for its files and the rest for the others, whether all come or parts."""
    made = chain(world, **how)
    first = world.submission(made, "gen")
    world.poll()
    world.finish(first)
    pass_over(world)
    (scout,) = world.submissions(campaign_stage_id=made.stage("reco"))
    end(world, scout.submission_id)
    pass_over(world)

    parts = inputs(world, made)
    rest = rest_of(world, scout.submission_id).submission_id
    assert [len(part) for part in parts] == [4, 16]
    assert ledger(world) == (Counter({scout.submission_id: 4, rest: 16}), 20, 20)
    assert world.get(rest).depends_on == first


def test_parts_that_come_while_the_scout_runs_wait_for_it(world):
    """Each is launched on its own files when the scout did well; no file twice."""
    made = chain(world, start_when="8 files")
    first = world.submission(made, "gen")
    world.poll()
    for _ in range(2):
        world.catalogue().process(world.get(first).project, 10)
        pass_over(world)
    (scout,) = world.submissions(campaign_stage_id=made.stage("reco"))
    assert len(world.launches(state="held")) == 2

    end(world, scout.submission_id)
    pass_over(world)

    assert sorted(len(part) for part in inputs(world, made)) == [4, 6, 10]
    assert ledger(world)[1:] == (20, 20)
    assert None not in ledger(world)[0]


# ------------------------------------------------------------------------------------- the verdict


def fallen_short(world, **more):
    made = made_of(world, **more)
    number = world.submission(made, "reco")
    end(world, number, bad=len(world.batch.of(number)))
    return made, number


def test_a_scout_that_fell_short_keeps_the_rest(world):
    """The reason stands with the held launch, and a person is asked."""
    _made, number = fallen_short(world)

    row = scout_row(world, number)
    assert (row.state, rest_of(world, number).state) == ("asking", "held")
    assert "0 of " in row.reason and "the limit is 90 %" in row.reason
    assert rest_of(world, number).hold_reason == f"Its scout, submission {number}, fell short: {row.reason}"
    assert [event.submission_id for event in world.events("scout.asked")] == [number]


def test_going_on_launches_the_rest(world):
    """Once, without another scout; the answer is noted."""
    made, number = fallen_short(world)

    scout_verdicts.answer(world.core, made.owner, number, go_on=True, reason="known files")
    pass_over(world)

    assert [len(part) for part in inputs(world, made)] == [4, 16]
    row = scout_row(world, number)
    assert (row.state, row.answered_by, row.answer) == ("gone on", made.owner.experimenter_id, "known files")
    with pytest.raises(Conflict, match="decided already: gone on"):
        scout_verdicts.answer(world.core, made.owner, number, go_on=True)


def test_giving_up_drops_the_rest(world):
    """It is never launched, and the next launch sends a scout again."""
    made, number = fallen_short(world)

    scout_verdicts.answer(world.core, made.owner, number, go_on=False)
    pass_over(world)

    assert rest_of(world, number).state == "cancelled"
    assert [len(part) for part in inputs(world, made)] == [4]
    assert len(files_of(world, world.submission(made, "reco"))) == 4


def test_others_that_waited_for_a_scout_given_up_send_their_own(world):
    """Giving up is about the rest of this input."""
    made = made_of(world)
    world.catalogue().dataset("more", 30, prefix="more")
    number = world.submission(made, "reco")
    world.launch(made, "reco", dataset_override="more")

    scout_verdicts.answer(world.core, made.owner, number, go_on=False)
    pass_over(world)

    assert [len(part) for part in inputs(world, made)] == [4, 4]


def test_going_on_need_not_wait_for_the_end(world):
    """Somebody who knows better lets the rest go; the scout is measured all the same."""
    made = made_of(world)
    number = world.submission(made, "reco")

    scout_verdicts.answer(world.core, made.owner, number, go_on=True)
    pass_over(world)
    assert [len(part) for part in inputs(world, made)] == [4, 16]
    end(world, number, memory_used_mb=700)

    assert (scout_row(world, number).state, scout_row(world, number).memory_mb) == ("good", 700)
    assert len(world.submissions(campaign_stage_id=made.stage("reco"))) == 2


def test_releasing_the_rest_from_the_list_is_the_same_answer(world):
    """And deleting it is giving up."""
    _, number = fallen_short(world)
    _, second = fallen_short(world)

    launches.release_held(world.core, "ann", [rest_of(world, number).launch_id], "samdev")
    launches.cancel_held(world.core, "ann", [rest_of(world, second).launch_id], "samdev")
    pass_over(world)

    assert (scout_row(world, number).state, scout_row(world, second).state) == ("gone on", "given up")
    assert (rest_of(world, number).state, rest_of(world, second).state) == ("launched", "cancelled")


def test_releasing_everything_leaves_what_waits_for_a_scout(world):
    """A scout that runs is not overtaken by accident; the reason is given."""
    made = made_of(world)
    number = world.submission(made, "reco")

    with pytest.raises(Conflict, match=f"submission {number} went ahead on 4 of 20 files"):
        launches.release_held(world.core, "ann", [rest_of(world, number).launch_id], "samdev")

    assert rest_of(world, number).state == "held"


def test_a_hold_of_the_stage_holds_the_rest_as_well(world):
    """The scout did well, but launches are kept just now: released later, the rest sends no scout."""
    made = made_of(world)
    number = world.submission(made, "reco")
    holds.hold_stages(world.core, made.owner, [made.stage("reco")], hold=True, reason="shutdown")
    end(world, number)
    pass_over(world)
    assert (rest_of(world, number).state, rest_of(world, number).scout_submission_id) == ("held", None)
    assert "shutdown" in rest_of(world, number).hold_reason

    holds.hold_stages(world.core, made.owner, [made.stage("reco")], hold=False)
    launches.release_held(world.core, "ann", [rest_of(world, number).launch_id], "samdev")
    pass_over(world)

    assert [len(part) for part in inputs(world, made)] == [4, 16]


def test_a_scout_that_was_not_launched_asks(world):
    """And comes to life again if its jobs appear after all."""
    made = made_of(world)
    outcome = world.launch(made, "reco")
    number = outcome.submission_id
    launches.abort(world.core, "ann", "samdev", number)

    pass_over(world)

    assert world.status(number) is Status.REMOVED
    row = scout_row(world, number)
    assert (row.state, row.reason) == ("asking", "none of its jobs is known to have ended")


def test_another_experiment_does_not_answer(world):
    """Nor is a submission a scout that is none."""
    made, number = fallen_short(world)
    stranger = world.person("stranger", PRODUCTION, "nova")

    with pytest.raises(NotFound, match="is no scout"):
        scout_verdicts.answer(world.core, stranger, number, go_on=True)
    with pytest.raises(NotFound, match="is no scout"):
        scout_verdicts.answer(world.core, made.owner, number + 100, go_on=True)


# ----------------------------------------------------------------------------------- what it learns


def test_what_was_measured_is_kept(world):
    """Most memory, longest time, and how well the processor was used."""
    made = made_of(world)
    number = world.submission(made, "reco")

    end(world, number, memory_used_mb=1500, wall_seconds=600.0, cpu_seconds=540.0)

    row = scout_row(world, number)
    assert (row.memory_mb, row.wall_seconds, row.cpu_efficiency) == (1500, 600, pytest.approx(0.9))
    assert row.jobs == row.jobs_succeeded == len(world.batch.of(number))


def test_the_rest_asks_for_what_was_measured(world):
    """In the spelling that the launch has, with the margin that the stage says; as do later launches and recoveries."""
    made = made_of(world, "4 files, memory x1.5, time x2", parameters=[["--memory ", "8GB"]],
                   script="jobsub_submit --memory=8GB file://job.sh")
    number = world.submission(made, "reco")
    assert "2250MB" not in world.launches(submission_id=number)[0].plan["command"]

    end(world, number, memory_used_mb=1500, wall_seconds=600.0, cpu_seconds=540.0)
    pass_over(world)
    later = world.submission(made, "reco")

    rest = rest_of(world, number).submission_id
    for each in (rest, later):
        command = world.launches(submission_id=each)[0].plan["command"]
        assert "2250MB" in command
        assert "--expected-lifetime=1200s" in command
    assert scout_row(world, number).change == "2,250 MB of memory, 20m of time"


def test_limits_of_the_recovery_rules_hold(world):
    """What was measured is not asked for beyond them."""
    made = made_of(world, "4 files, memory x2", recovery_policy="when hold 34: memory x2\nmemory at most 2GB")
    number = world.submission(made, "reco")

    end(world, number, memory_used_mb=1500)
    pass_over(world)

    assert scout_row(world, number).change == "2,048 MB of memory"
    assert "2048MB" in world.launches(submission_id=rest_of(world, number).submission_id)[0].plan["command"]


def test_what_no_job_said_is_not_made_up(world):
    """The rest asks as ever, and the scout says why."""
    made = made_of(world, "4 files, memory")
    number = world.submission(made, "reco")

    end(world, number)
    pass_over(world)

    assert scout_row(world, number).reason == "no job said how much memory it used"
    assert rest_of(world, number).state == "launched"


# ----------------------------------------------------------------------------------- faults


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("commit", [1, 2, 3, 4, 5, 6])
def test_dying_anywhere_launches_each_file_once(world, clock, commit, after):
    """Sending, judging and releasing are transactions; whatever is left undone the next agent does."""
    made = made_of(world)
    world.core.db.die_at_commit(commit, after=after)
    with suppress(Died):
        number = world.submission(made, "reco", key="once")
        end(world, number)
        pass_over(world)
    world.core.db.live_on()
    clock.advance(minutes=5)
    number = world.launch(made, "reco", key="once").submission_id
    world.work_on_launches()
    clock.advance(minutes=5)
    world.work_on_launches()
    end(world, number)
    for _ in range(3):
        clock.advance(minutes=5)
        pass_over(world)

    assert sorted(len(part) for part in inputs(world, made)) == [4, 16]
    assert len({name for part in inputs(world, made) for name in part}) == 20


def test_two_agents_judge_a_scout_once(world):
    """The second finds it judged."""
    made = made_of(world)
    number = world.submission(made, "reco")
    world.poll()
    world.batch.end(number)
    world.poll()

    assert [scout_verdicts.run(world.core, "samdev") for _ in range(2)] == [1, 0]
    assert len(world.events("scout.good")) == 1


def test_a_silent_catalogue_delays_only(world):
    """An owed launch is tried again; nobody goes without a scout meanwhile."""
    made = chain(world)
    first = world.submission(made, "gen")
    world.poll()
    world.finish(first)
    world.wrap_up()
    world.catalogue().fail("count")

    assert world.work_on_launches() == ["retry"]
    assert inputs(world, made) == []


# ------------------------------------------------------------------------------------------- pages


def url(route, **arguments):
    return f"/{route}?{urlencode(arguments, doseq=True)}"


def test_while_a_scout_is_ahead_all_pages_say_so(world):
    """Stage, campaign and submission: on how many files, and what waits; and that one need not wait."""
    made = made_of(world)
    number = world.submission(made, "reco")

    notices = [page["notices"][0] for page in (
        stage_pages.stage_page(world.core, made.owner, url, made.stage("reco")),
        campaign_pages.campaign_page(world.core, made.owner, url, made.campaign_id),
        submission_pages.submission_page(world.core, made.owner, url, number))]

    for notice in notices:
        assert notice["text"].startswith(f"Submission {number} went ahead on 4 files; 16 files wait")
        assert notice["actions"][0]["label"] == "Go on without waiting"
    held = launch_pages.held_page(world.core, made.owner, url)["held"]
    assert [each["reason"] for each in held] == [rest_of(world, number).hold_reason]
    assert home_pages.home(world.core, made.owner, url)["board"] == []


def test_a_preview_tells_what_goes_ahead(world):
    """With the command that is then really launched; nothing is declared by looking."""
    made = made_of(world, split="drainingn(10)")
    before = world.catalogue().definitions()
    request = LaunchRequest(made.stage("reco"), "same")

    page = launch_pages.preview_page(world.core, made.owner, url, made.stage("reco"))
    shown = preparing.preview(world.core, made.owner, request)
    assert world.catalogue().definitions() == before
    number = launching.launch(world.core, made.owner, request).submission_id

    (check,) = [each for each in page["checks"] if "scout" in each["text"]]
    assert (check["text"], check["note"]) == (
        "A scout goes ahead on 4 files", "6 files wait until its jobs have ended: 4 files")
    assert all(each["ok"] for each in page["checks"])
    assert shown.plan_for(number).command == world.launches(submission_id=number)[0].plan["command"]


def test_a_preview_tells_for_whom_it_would_wait(world):
    """While a scout is ahead."""
    made = made_of(world)
    number = world.submission(made, "reco")

    page = launch_pages.preview_page(world.core, made.owner, url, made.stage("reco"))

    (check,) = [each for each in page["checks"] if "scout" in each["text"]]
    assert (check["ok"], f"submission {number} went ahead" in check["note"]) == (False, True)


def test_a_question_is_on_the_board_and_not_offered_to_all(world):
    """With both answers for those who may launch; the held rest is not counted again."""
    made, number = fallen_short(world)
    analyst = world.person("analyst", ANALYSIS)

    (entry,) = [each for each in home_pages.home(world.core, made.owner, url)["board"]
                if each["what"] == "reco: the scout fell short, go on?"]
    page = stage_pages.stage_page(world.core, analyst, url, made.stage("reco"))

    assert [action["label"] for action in entry["actions"]] == ["Go on", "Give up…", "See submission"]
    assert "the limit is 90 %" in entry["why"]
    assert not [each for each in home_pages.home(world.core, made.owner, url)["board"] if "kept back" in each["what"]]
    assert [action["label"] for action in page["notices"][0]["actions"]] == ["See scout"]
    assert scout_row(world, number).state == "asking"


@pytest.mark.parametrize(("scope", "count"), [("all", 1), ("mine", 0)])
def test_mine_are_the_questions_of_my_launches(world, scope, count):
    """As everywhere on the board."""
    fallen_short(world)
    other = world.person("other")

    board = home_pages.home(world.core, other, url, scope=scope)["board"]

    assert len([each for each in board if "go on?" in each["what"]]) == count


def test_what_a_scout_found_stays_visible(world):
    """On the stage, and on the scout's own page; the rest says who went ahead."""
    made = made_of(world, "4 files, memory x2")
    number = world.submission(made, "reco")
    end(world, number, memory_used_mb=1000, wall_seconds=60.0, cpu_seconds=45.0)
    pass_over(world)

    settings = {row["label"]: row["value"]
                for row in stage_pages.stage_page(world.core, made.owner, url, made.stage("reco"))["settings"]}
    rest = rest_of(world, number).submission_id
    page = submission_pages.submission_page(world.core, made.owner, url, rest)

    for said in ("did well", "peak memory 1,000 MB", "longest job 1m", "CPU efficiency 75 %",
                 "what follows asks for 2,000 MB of memory"):
        assert said in settings["Newest scout"]
    assert {"label": "Scout", "value": f"submission {number} went ahead",
            "url": f"/submission?submission_id={number}"} in page["ran_with"]
    assert page["notices"] == [] or "scout" not in page["notices"][0]["title"]
