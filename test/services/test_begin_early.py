"""Stages that begin on a part of their input: when, on which files, and that each file is given once."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress

import pytest
from sqlalchemy import select

from poms.webservice.model import CampaignStage, Delivery
from poms.webservice.rules.statuses import Status
from poms.webservice.services import candidates, dependents, submissions, wrapup
from poms.webservice.testing.faults import Died
from poms.webservice.testing.world import stage


def chain(world, start="4 files", **first):
    """Twenty files through generation, and reconstruction that begins when there is a part of its output."""
    world.catalogue().dataset("raw", 20)
    return world.campaign_with(stage("gen", dataset="raw", pct=80, **first),
                               stage("reco", after={"gen": "%.root"}, start_when=start))


def under_way(world, made):
    number = world.submission(made, "gen")
    world.poll()
    return number


def pass_over(world):
    """What agents do regularly."""
    world.wrap_up()
    world.work_on_launches()


def parts(world, made, name="reco"):
    """The files of each submission of a stage, by the datasets that they were launched on."""
    catalogue = world.catalogue()
    return [sorted(catalogue.list(catalogue.dataset_query(item.submission_params["dataset"])))
            for item in world.submissions(campaign_stage_id=made.stage(name))]


def test_a_stage_begins_when_enough_files_are_ready(world):
    """Not before; with all that are ready; and the next part when there are enough again."""
    made = chain(world)
    number = under_way(world, made)
    project = world.get(number).project

    sizes = []
    for count in (3, 3, 3, 1):
        world.catalogue().process(project, count)
        pass_over(world)
        sizes.append([len(part) for part in parts(world, made)])

    assert sizes == [[], [6], [6], [6, 4]]
    assert world.status(number) is Status.IDLE
    assert [item.submission_params["dataset"] for item in world.submissions(campaign_stage_id=made.stage("reco"))] == [
        f"poms_depends_{number}_1_1", f"poms_depends_{number}_1_2"]


def test_the_rest_follows_at_the_end(world):
    """Whatever is left when the submission is Located is the last part, however little it is."""
    made = chain(world)
    number = under_way(world, made)
    world.catalogue().process(world.get(number).project, 18)
    pass_over(world)

    world.finish(number)
    pass_over(world)

    assert [len(part) for part in parts(world, made)] == [18, 2]
    assert len({name for part in parts(world, made) for name in part}) == 20


def test_nothing_is_left_and_nothing_is_said(world):
    """When all was given before, the end owes nothing and is no skipped launch."""
    made = chain(world)
    number = under_way(world, made)
    world.catalogue().process(world.get(number).project)
    pass_over(world)

    world.finish(number)
    pass_over(world)

    assert world.status(number) is Status.LOCATED
    assert [len(part) for part in parts(world, made)] == [20]
    assert world.events("launch.skipped") == []


def test_no_output_at_all_is_skipped_and_said(world):
    """As for a stage that waits for the end."""
    world.catalogue().dataset("raw", 2)
    made = world.campaign_with(stage("gen", dataset="raw", completion="complete"),
                               stage("reco", after={"gen": "%.hist"}, start_when="1 file"))
    number = world.submission(made, "gen")
    world.finish(number)
    pass_over(world)
    world.core.clock.advance(wrapup.DOUBT_SECONDS)

    pass_over(world)

    assert parts(world, made) == []
    assert "no output matches %.hist" in world.events("launch.skipped")[0].data["reason"]


def test_per_cent_are_of_the_files_of_the_input(world):
    """A quarter of twenty files is five."""
    made = chain(world, "25%")
    number = under_way(world, made)
    for count in (4, 1):
        world.catalogue().process(world.get(number).project, count)
        pass_over(world)

    assert [len(part) for part in parts(world, made)] == [5]


def test_files_that_wait_long_enough_are_a_part(world, clock):
    """However few; the time runs from the part before."""
    made = chain(world, "10 files or 2h")
    number = under_way(world, made)
    project, sizes = world.get(number).project, []
    for hours in (1, 1.5, 1, 1.5):
        world.catalogue().process(project, 1)
        clock.advance(hours=hours)
        pass_over(world)
        sizes.append([len(part) for part in parts(world, made)])

    assert sizes == [[], [2], [2], [2, 2]]


def test_the_condition_can_be_changed_while_it_runs(world):
    """The stage as it is now counts, not as it was when the submission was launched."""
    made = chain(world, "20 files")
    number = under_way(world, made)
    world.catalogue().process(world.get(number).project, 3)
    pass_over(world)
    assert parts(world, made) == []

    world.change(CampaignStage, made.stage("reco"), start_when="3 files")
    pass_over(world)

    assert [len(part) for part in parts(world, made)] == [3]


def test_late_files_follow(world, clock):
    """What comes after the submission was Located is given when it has waited for others; and not after days."""
    made = chain(world)
    number = world.submission(made, "gen")
    world.poll()
    project = world.get(number).project
    names = world.catalogue().process(project, located=False)
    world.catalogue().locate(*names[:18])
    world.finish(number, process=False)
    pass_over(world)
    assert (world.status(number), [len(part) for part in parts(world, made)]) == (Status.LOCATED, [18])

    world.catalogue().locate(names[18])
    pass_over(world)
    assert [len(part) for part in parts(world, made)] == [18]
    clock.advance(minutes=11)
    pass_over(world)
    assert [len(part) for part in parts(world, made)] == [18, 1]

    world.catalogue().locate(names[19])
    clock.advance(days=8)
    pass_over(world)
    assert [len(part) for part in parts(world, made)] == [18, 1]


def test_a_recovery_of_the_first_stage_brings_the_rest(world):
    """Files that a recovery makes are output of the original, and given like all others."""
    made = chain(world, recoveries=[("consumed_status", [])])
    number = under_way(world, made)
    world.catalogue().process(world.get(number).project, 15)
    world.finish(number, process=False)
    pass_over(world)
    recovery = world.submissions(recovery_tasks_parent=number)[0].submission_id
    assert [len(part) for part in parts(world, made)] == [15]

    world.poll()
    world.finish(recovery)
    pass_over(world)
    pass_over(world)

    assert [len(part) for part in parts(world, made)] == [15, 5]


def test_the_files_of_a_large_part_are_cut(world, monkeypatch):
    """A part names its files, so it has a limit; several are owed at once."""
    monkeypatch.setattr(dependents, "MOST_FILES", 8)
    made = chain(world)
    number = under_way(world, made)
    world.catalogue().process(world.get(number).project)
    pass_over(world)

    assert [len(part) for part in parts(world, made)] == [8, 8, 4]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("commit", [1, 2, 3])
def test_dying_anywhere_gives_each_file_once(world, clock, after, commit):
    """A part and what is in it are written in one transaction."""
    made = chain(world)
    number = under_way(world, made)
    world.catalogue().process(world.get(number).project, 10)
    world.core.db.die_at_commit(commit, after=after)
    with suppress(Died):
        pass_over(world)
    world.core.db.live_on()
    clock.advance(minutes=5)
    world.catalogue().process(world.get(number).project)
    world.finish(number, process=False)
    for _ in range(3):
        pass_over(world)

    given = Counter(name for part in parts(world, made) for name in part)
    assert len(given) == 20
    assert set(given.values()) == {1}


def test_two_agents_that_found_the_same_files_give_them_once(world):
    """The second finds the part written."""
    made = chain(world)
    number = under_way(world, made)
    world.catalogue().process(world.get(number).project, 10)
    candidate = candidates.describe(world.core, number, "samdev")
    found = dependents.before_the_end(world.core, candidate, world.core.backends.data("samdev"))

    pass_over(world)
    with world.core.db.write() as session:
        again = [dependents.owe(session, part, candidate, submissions.lock(session, number), now=world.core.clock())
                 for part in found]

    assert again == [False]
    assert [len(part) for part in parts(world, made)] == [10]


def test_the_ledger_tells_which_submission_got_which_file(world):
    """From the moment it is owed by its key, then by the submission's number."""
    made = chain(world)
    number = under_way(world, made)
    world.catalogue().process(world.get(number).project, 5)
    world.wrap_up()

    def ledger():
        with world.core.db.read() as session:
            return {(row.launch_key, row.consumer_submission_id) for row in session.scalars(select(Delivery))}

    key = world.launches(kind="dependency")[0].key
    assert ledger() == {(key, None)}
    world.work_on_launches()
    follower = world.submissions(campaign_stage_id=made.stage("reco"))[0].submission_id
    assert ledger() == {(key, follower)}


def test_a_silent_catalogue_delays_only(world):
    """Nothing is given and nothing fails; the next pass goes on."""
    made = chain(world)
    number = under_way(world, made)
    world.catalogue().process(world.get(number).project, 5)
    world.catalogue().fail("dependency_files")

    pass_over(world)
    assert parts(world, made) == []
    pass_over(world)

    assert [len(part) for part in parts(world, made)] == [5]
    assert world.status(number) is Status.IDLE


def test_parts_go_on_to_the_stage_after(world):
    """A chain of three stages: the third begins before the first is half done, and gets every file once."""
    world.catalogue().dataset("raw", 40)
    made = world.campaign_with(
        stage("gen", dataset="raw"), stage("reco", after={"gen": "%.root"}, start_when="4 files"),
        stage("ana", after={"reco": "%.root"}, start_when="2 files"))
    number = under_way(world, made)
    project = world.get(number).project
    done_when_third_began = None
    for step in range(1, 11):
        world.catalogue().process(project, 4)
        pass_over(world)
        world.poll()
        for item in world.submissions(campaign_stage_id=made.stage("reco")):
            if item.status_id == Status.IDLE:
                world.catalogue().process(world.get(item.submission_id).project, suffix="reco")
        pass_over(world)
        if done_when_third_began is None and world.submissions(campaign_stage_id=made.stage("ana")):
            done_when_third_began = 4 * step
    world.finish(number, process=False)
    for _ in range(4):
        pass_over(world)
        world.poll()
        for item in world.submissions(campaign_stage_id=made.stage("reco")):
            if item.status_id not in (Status.LOCATED, Status.COMPLETED):
                world.finish(item.submission_id)
    pass_over(world)

    given = Counter(name for part in parts(world, made, "ana") for name in part)
    assert done_when_third_began <= 8
    assert len(given) == 40
    assert set(given.values()) == {1}


def test_a_broken_submission_does_not_keep_others_waiting(world):
    """What cannot be looked at is logged; the parts of the others are given, and the pass goes on."""
    made = chain(world)
    _broken, sound = (under_way(world, made) for _ in range(2))
    world.catalogue().process(world.get(sound).project, 5)
    world.catalogue().fail("dependency_files", RuntimeError("not what a catalogue answers"))

    world.wrap_up()
    world.work_on_launches()

    assert [len(part) for part in parts(world, made)] == [5]
