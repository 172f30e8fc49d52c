"""Recoveries by rules: groups of failed files, what each gets, what people are asked, and when next stages start."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pytest
from sqlalchemy import select

from poms.webservice.errors import Conflict, NotFound
from poms.webservice.interfaces import JobState
from poms.webservice.model import CampaignStage, RecoveryDecision, RecoveryFile, RecoveryRound
from poms.webservice.rules.statuses import Status
from poms.webservice.services import candidates, jobs, policies, preparing, recoveries, wrapup
from poms.webservice.services.launch_requests import LaunchRequest
from poms.webservice.testing.fixtures import make_service
from poms.webservice.testing.workload import Workload, asked_mb, exits, needs
from poms.webservice.testing.world import World, stage

SCRIPT = "fife_launch -c gen.cfg"
MEMORY = "when hold 34: memory x1.5\nmemory at most 4GB"
BASE = (("-Osubmit.memory=", "1000MB"),)


@pytest.fixture
def campaign(world):
    """Generation by rules that feeds reconstruction, on ten files; ``make`` it with a text of rules."""
    def make(rules: str, *, files: int = 10, recoveries=(), **columns):
        world.catalogue().dataset("raw", files)
        return world.campaign_with(
            stage("gen", dataset="raw", pct=50, script=SCRIPT, parameters=BASE, recoveries=recoveries,
                  recovery_policy=rules, **columns),
            stage("reco", after={"gen": "%_out.root"}, script=SCRIPT, parameters=BASE))

    return make


def decisions(world) -> list[RecoveryDecision]:
    with world.core.db.read() as session:
        return list(session.scalars(select(RecoveryDecision).order_by(RecoveryDecision.recovery_decision_id)))


def first(world, work, campaign) -> int:
    """The first submission of gen, run to its end and wrapped up."""
    number = world.submission(campaign, "gen")
    world.poll()
    work.run(number)
    world.wrap_up()
    return number


def names(*numbers: int) -> list[str]:
    return [f"raw_{number:04d}.root" for number in numbers]


# ------------------------------------------------------------------------------------------ groups


def test_more_memory_for_what_was_held_for_memory(world, campaign):
    """Files of jobs that were held for memory are recovered with more of it, and with nothing else changed."""
    made = campaign(MEMORY)
    work = Workload(world, needs(dict.fromkeys(names(3, 4), 1500)))

    number = first(world, work, made)

    (owed,) = world.launches(kind="recovery")
    assert owed.request["param_overrides"] == [["-Osubmit.memory=", "1500MB"]]
    assert world.catalogue().list(owed.request["define"]) == names(3, 4)
    (decided,) = decisions(world)
    assert (decided.state, decided.files, decided.launch_key) == ("launched", 2, owed.key)
    assert decided.rule == "when hold 34: memory x1.5"
    assert world.status(number) is Status.LOCATED


def test_each_file_goes_to_one_recovery(world, campaign):
    """Every failed file is in exactly one group, and each group has the answer of its cause."""
    made = campaign("when exit 1: retry\nwhen hold 34: memory x2\notherwise: retry, at most 1 time")
    codes, memory = exits({names(1)[0]: 1, names(2)[0]: 65}), needs({names(5)[0]: 1500})
    work = Workload(world, lambda name, asked: codes(name, asked) or memory(name, asked))

    first(world, work, made)

    taken = [world.catalogue().list(row.request["define"]) for row in world.launches(kind="recovery")]
    assert sorted(name for files in taken for name in files) == names(1, 2, 5)
    assert sorted(map(len, taken)) == [1, 1, 1]
    with world.core.db.read() as session:
        assert sorted(session.scalars(select(RecoveryFile.file_name))) == names(1, 2, 5)


def test_other_site_is_not_where_it_failed(world, campaign):
    """Files that failed at a site are tried elsewhere; a site that was avoided before stays avoided."""
    made = campaign("when exit 65: other site")
    sites = iter(["FNAL", "UCSD"])
    work = Workload(world, lambda name, asked: {"state": JobState.FAILED, "exit_code": 65, "site": next(sites)}
                    if name == names(1)[0] and work.runs[name] < 3 else {})

    first(world, work, made)
    work.until_done()

    said = [row.request["param_overrides"] for row in world.launches(kind="recovery")]
    assert said == [[["-Osubmit.blocklist=", "FNAL"]], [["-Osubmit.blocklist=", "FNAL,UCSD"]]]


def test_what_was_raised_stays_raised(world, campaign):
    """A recovery of a recovery keeps what the first one changed."""
    made = campaign(f"{MEMORY}\nwhen exit 65: other site")
    name = names(1)[0]
    work = Workload(world, lambda each, asked: {} if each != name or work.runs[name] > 2 else
                    {"state": JobState.FAILED, "exit_code": 65, "site": "FNAL"} if asked > 1000 else
                    {"state": JobState.HELD, "hold_code": 34})

    first(world, work, made)
    work.until_done()

    last = world.launches(kind="recovery")[-1]
    assert dict(last.request["param_overrides"]) == {"-Osubmit.memory=": "1500MB", "-Osubmit.blocklist=": "FNAL"}


def test_files_that_no_rule_is_about_follow_the_list(world, campaign):
    """Where no rule applies, the job type's list of recoveries says what is done, as ever."""
    made = campaign(MEMORY, recoveries=[("process_status", [["-Oglobal.again=", "1"]])])
    work = Workload(world, exits({names(1)[0]: 7}))

    first(world, work, made)
    work.until_done()

    (recovery,) = world.launches(kind="recovery")
    assert recovery.request["param_overrides"] == [["-Oglobal.again=", "1"]]
    assert [(row.state, row.rule) for row in decisions(world)] == [("launched", ""), ("given up", "")]


def test_without_rules_all_is_as_it_was(world, campaign):
    """A stage without rules is recovered by its list; nothing of rules is stored."""
    made = campaign(None, recoveries=[("process_status", [])])
    work = Workload(world, exits({names(1)[0]: 7}))

    number = first(world, work, made)

    assert [row.key for row in world.launches(kind="recovery")] == [f"recovery:{number}:0"]
    with world.core.db.read() as session:
        assert session.scalars(select(RecoveryRound)).all() == []


# -------------------------------------------------------------------------------- ends and next stages


def test_next_stages_wait_for_all_groups(world, campaign):
    """The next stage starts once, when the last of several recoveries is done."""
    made = campaign("when exit 1: retry\nwhen exit 2: retry")
    work = Workload(world, lambda name, asked: exits({names(1)[0]: 1, names(2)[0]: 2})(name, asked)
                    if work.runs[name] < 2 else {})
    first(world, work, made)
    work.launch_all()
    one, other = [row.submission_id for row in world.launches(kind="recovery")]

    work.run(one)
    world.wrap_up()
    before = world.launches(kind="dependency")
    work.run(other)
    world.wrap_up()

    assert before == []
    assert len(world.launches(kind="dependency")) == 1
    world.wrap_up()
    assert len(world.launches(kind="dependency")) == 1


def test_failed_jobs_are_for_the_rules(world, campaign):
    """A submission most of whose jobs failed is not left to a person if rules say what to do."""
    made = campaign("when exit 9: retry")
    work = Workload(world, exits(dict.fromkeys(names(*range(1, 11)), 9)))
    number = world.submission(made, "gen")
    world.poll()
    work.run(number)
    assert world.status(number) is Status.FAILED

    world.wrap_up()

    assert world.status(number) is Status.LOCATED
    assert decisions(world)[0].files == 10


def test_all_jobs_held_for_memory(world, campaign):
    """Jobs that were all removed from a hold are recovered as well, though nobody finished."""
    made = campaign(MEMORY)
    work = Workload(world, needs(dict.fromkeys(names(*range(1, 11)), 1200)))

    first(world, work, made)
    work.until_done()

    assert work.asked == {1000: 10, 1500: 10}
    assert len(world.launches(kind="dependency")) == 1


def test_failed_stays_failed_without_rules(world, campaign):
    """Without rules a submission most of whose jobs failed waits for a person, as ever."""
    made = campaign("")
    work = Workload(world, exits(dict.fromkeys(names(*range(1, 11)), 9)))

    number = first(world, work, made)

    assert world.status(number) is Status.FAILED
    assert world.launches(kind="recovery") == []


# ---------------------------------------------------------------------------------------- questions


@pytest.fixture
def asked(world, campaign):
    """A submission with two files about which the rules ask a person."""
    made = campaign("when exit 3: stop")
    work = Workload(world, exits(dict.fromkeys(names(1, 2), 3)))
    first(world, work, made)
    (question,) = decisions(world)
    return made, work, question


def test_stop_asks_and_waits(world, asked):
    """A rule that stops launches nothing, asks a person, and lets the next stage wait."""
    made, _, question = asked

    world.wrap_up()

    assert (question.state, question.files, question.cause) == ("asking", 2, "exit code 3, file transferred")
    assert world.launches(kind="recovery") == world.launches(kind="dependency") == []
    assert [event.kind for event in world.events("recovery.asked")] == ["recovery.asked"]


def test_give_up_lets_the_rest_go_on(world, asked):
    """Given up, the files are left behind and the next stage starts with what there is."""
    made, _, question = asked

    recoveries.answer(world.core, made.owner, question.recovery_decision_id, submission_id=question.submission_id,
                      go_on=False, reason="bad run")
    world.wrap_up()

    assert world.launches(kind="recovery") == []
    assert len(world.launches(kind="dependency")) == 1
    (decided,) = decisions(world)
    assert (decided.state, decided.answer, decided.answered_by) == ("given up", "bad run", made.owner.experimenter_id)


def test_go_on_tries_the_files_again(world, asked):
    """Gone on, exactly these files are recovered, in the name of who said so; then the next stage starts."""
    made, work, question = asked
    work.how = exits({})

    recoveries.answer(world.core, made.owner, question.recovery_decision_id, submission_id=question.submission_id,
                      go_on=True)
    (owed,) = world.launches(kind="recovery")
    work.until_done()

    assert world.catalogue().list(owed.request["define"]) == names(1, 2)
    assert owed.launcher == made.owner.experimenter_id
    assert len(world.launches(kind="dependency")) == 1


def test_a_question_is_answered_once(world, asked):
    """The second of two answers is refused."""
    made, _, question = asked
    recoveries.answer(world.core, made.owner, question.recovery_decision_id, submission_id=question.submission_id,
                      go_on=False)

    with pytest.raises(Conflict, match="answered already"):
        recoveries.answer(world.core, made.owner, question.recovery_decision_id, submission_id=question.submission_id,
                      go_on=True)

    assert world.launches(kind="recovery") == []


def test_a_question_of_another_experiment_is_not_there(world, asked):
    """People of other experiments cannot see a question, let alone answer it."""
    _, _, question = asked
    stranger = world.person("stranger", experiment="other")

    with pytest.raises(NotFound):
        recoveries.answer(world.core, stranger, question.recovery_decision_id,
                          submission_id=question.submission_id, go_on=True)


def test_at_the_limit_a_person_is_asked(world, campaign):
    """When more memory would be above the limit, nothing is launched and a person is asked, with the reason."""
    made = campaign("when hold 34: memory x2\nmemory at most 1500MB")
    work = Workload(world, needs({names(1)[0]: 9000}))

    first(world, work, made)
    work.until_done()

    assert max(work.asked) == 1500
    assert decisions(world)[-1].state == "asking"
    assert "memory is at its limit of 1,500 MB" in decisions(world)[-1].note


def test_attempts_of_a_file_are_limited(world, campaign):
    """A file that fails for ever is recovered as often as the rules allow, then a person is asked."""
    made = campaign("otherwise: retry\nattempts at most 3")
    work = Workload(world, exits({names(1)[0]: 1}))

    first(world, work, made)
    work.until_done()

    assert work.runs[names(1)[0]] == 4
    assert [row.state for row in decisions(world)] == ["launched"] * 3 + ["asking"]


# ------------------------------------------------------------------------------------------ learned


def test_later_launches_begin_with_what_most_needed(world, campaign):
    """What was enough for most jobs is what the next launch asks for, and its preview says so."""
    made = campaign(MEMORY)
    work = Workload(world, needs(dict.fromkeys(names(*range(1, 9)), 1500)))
    first(world, work, made)
    work.until_done()

    shown = preparing.preview(world.core, made.owner, LaunchRequest(made.stage("gen"), "look"))
    world.submission(made, "gen", dataset_override="raw")

    assert asked_mb(world.batch.accepted[-1].plan) == 1500
    assert shown.learned == "1,500 MB of memory"
    assert asked_mb(shown.plan) == 1500


def test_what_was_learned_can_be_forgotten(world, campaign):
    """After a reset launches ask for what the campaign's text says."""
    made = campaign(MEMORY)
    work = Workload(world, needs(dict.fromkeys(names(*range(1, 9)), 1500)))
    first(world, work, made)
    work.until_done()

    assert policies.forget(world.core, made.owner, made.stage("gen")) == 2

    shown = preparing.preview(world.core, made.owner, LaunchRequest(made.stage("gen"), "look"))
    assert asked_mb(shown.plan) == 1000


def test_learned_values_keep_below_a_lower_limit(world, campaign):
    """A limit that is lowered later holds for what was learned before."""
    made = campaign(MEMORY)
    work = Workload(world, needs(dict.fromkeys(names(*range(1, 9)), 1500)))
    first(world, work, made)
    work.until_done()
    world.change(CampaignStage, made.stage("gen"), recovery_policy="when hold 34: memory x2\nmemory at most 1200MB")

    shown = preparing.preview(world.core, made.owner, LaunchRequest(made.stage("gen"), "look"))

    assert asked_mb(shown.plan) == 1200


# ------------------------------------------------------------------------------------------ settings


def test_rules_of_the_experiment_hold_where_a_stage_has_none(database, tmp_path, clock):
    """Stages without rules of their own follow those of poms.ini; a stage that says None has none."""
    service = make_service(database, tmp_path, clock, text="recovery_policy =\n    when exit 3: stop\n")
    world = World(service.core, service.fakes)
    world.catalogue().dataset("raw", 3)
    made = world.campaign_with(stage("gen", dataset="raw", script=SCRIPT, parameters=BASE),
                               stage("own", dataset="raw", script=SCRIPT, parameters=BASE, recovery_policy=""))
    work = Workload(world, exits(dict.fromkeys(names(1), 3)))

    first(world, work, made)
    number = world.submission(made, "own")
    work.launch_all()
    work.run(number)
    world.wrap_up()

    assert [row.campaign_stage_id for row in decisions(world)] == [made.stage("gen")]


# ---------------------------------------------------------------------------------- the whole workload


def demanding(count: int) -> dict[str, int]:
    """What files need, of which 30 % need 1.5 times and 5 % three times what is asked for at first."""
    return {name: 3000 if number % 20 == 0 else 1500 if number % 20 in (1, 4, 7, 10, 13, 16) else 1000
            for number, name in enumerate(names(*range(1, count + 1)))}


@pytest.mark.parametrize(("rules", "most"), [
    ("when hold 34: memory x1.5", 1.3),
    # A small step for the many, then a big one for the few.
    ("when hold 34: memory x1.5, at most 1 time\nwhen hold 34: memory x2", 1.25)], ids=["one step", "two steps"])
def test_demanding_workload_ends_complete_and_cheap(world, campaign, rules, most):
    """All files are processed, for less than 1.3 times the ideal memory, and never more than the limit."""
    need = demanding(100)
    made = campaign(f"{rules}\nmemory at most 3GB", files=100)
    hours: Counter[str] = Counter()
    enough = needs(need)

    def how(name: str, asked: int) -> Mapping[str, object]:
        # A job that grows past its request is stopped on the way: after two thirds of its time.
        needed = need.get(name, 0)
        hours["asked"] += (asked if asked >= needed else asked * 2 / 3) if needed else 0
        return enough(name, asked)

    work = Workload(world, how)
    first(world, work, made)
    work.until_done()

    assert [name for name in need if f"{name.removesuffix('.root')}_out.root" not in world.catalogue()._files] == []
    assert hours["asked"] < most * sum(need.values())
    assert max(work.asked) <= 3072
    assert all(row.state == "launched" for row in decisions(world))
    assert len(world.launches(kind="dependency")) == 1


@pytest.mark.parametrize("where", ["rules", "settings"])
def test_passive_rules_decide_alike_and_change_nothing(make_database, tmp_path, clock, where):
    """Passive rules record the decisions that active ones take, and everything else is as without rules."""
    rules = "when hold 34: memory x1.5\nwhen exit 1: stop\nmemory at most 3GB"
    seen = {}
    for mode in ("active", "passive", "none"):
        passive = mode == "passive"
        service = make_service(make_database(), tmp_path, clock,
                               text="recovery_policies = passive" if passive and where == "settings" else "")
        service.fakes.reset()
        world = World(service.core, service.fakes)
        world.catalogue().dataset("raw", 20)
        text = {"none": None, "active": rules, "passive": f"passive\n{rules}" if where == "rules" else rules}[mode]
        made = world.campaign_with(
            stage("gen", dataset="raw", pct=50, script=SCRIPT, parameters=BASE, recovery_policy=text,
                  recoveries=[("process_status", [])]),
            stage("reco", after={"gen": "%_out.root"}, script=SCRIPT, parameters=BASE))
        memory, codes = needs(demanding(20)), exits({names(19)[0]: 1})
        first(world, Workload(world, lambda name, asked, m=memory, c=codes: c(name, asked) or m(name, asked)), made)
        seen[mode] = ([(row.rule, row.cause, row.change, row.files) for row in decisions(world)],
                      [(row.kind, row.key, row.request["param_overrides"]) for row in world.launches()[1:]],
                      {row.state for row in decisions(world)}, len(world.events("recovery.decided")))

    assert seen["passive"][0] == seen["active"][0] != []
    assert seen["passive"][1] == seen["none"][1] != seen["active"][1]
    assert seen["passive"][2] == {"passive"}
    assert seen["passive"][3] == seen["active"][3] > 0


def test_passive_rules_judge_what_stays_failed(world, campaign):
    """Of a submission that failed passive rules note what they would have done; it stays Failed for a person."""
    made = campaign("passive\nwhen exit 9: retry")
    work = Workload(world, exits(dict.fromkeys(names(*range(1, 11)), 9)))

    number = first(world, work, made)
    world.wrap_up()

    assert world.status(number) is Status.FAILED
    assert [(row.state, row.files) for row in decisions(world)] == [("passive", 10)]
    assert world.launches(kind="recovery") == []


def test_passive_rules_that_become_active_take_over(world, campaign):
    """What passive rules noted of a failed submission gives way to what active ones do about it."""
    made = campaign("passive\nwhen exit 9: retry")
    work = Workload(world, exits(dict.fromkeys(names(*range(1, 11)), 9)))
    number = first(world, work, made)
    world.change(CampaignStage, made.stage("gen"), recovery_policy="when exit 9: retry")

    wrapup.force_located(world.core, "me", "samdev", number)
    world.wrap_up()

    assert [(row.state, row.files) for row in decisions(world)] == [("launched", 10)]
    assert len(world.launches(kind="recovery")) == 1
    assert world.launches(kind="dependency") == []


def test_rules_written_while_a_recovery_of_the_list_runs(world, campaign):
    """The recovery is judged by the rules, and the next stage is not forgotten."""
    made = campaign(None, recoveries=[("process_status", [])])
    work = Workload(world, lambda name, asked: exits({names(1)[0]: 1})(name, asked) if work.runs[name] < 2 else {})
    first(world, work, made)
    world.change(CampaignStage, made.stage("gen"), recovery_policy="otherwise: stop")

    work.until_done()

    assert len(world.launches(kind="recovery")) == 1
    assert len(world.launches(kind="dependency")) == 1


def test_a_recovery_that_was_removed_keeps_the_next_stage_waiting(world, campaign):
    """Until somebody calls it Located: nothing goes on that nobody has looked at."""
    made = campaign("when exit 1: retry")
    work = Workload(world, exits({names(1)[0]: 1}))
    first(world, work, made)
    work.launch_all()
    (recovery,) = [row.submission_id for row in world.launches(kind="recovery")]
    jobs.act(world.core, "me", "samdev", "remove", [recovery], mark=Status.REMOVED)
    world.wrap_up()
    before = world.launches(kind="dependency")
    world.change(CampaignStage, made.stage("gen"), recovery_policy="when exit 1: give up\notherwise: give up")

    wrapup.force_located(world.core, "me", "samdev", recovery)
    world.wrap_up()

    assert before == []
    assert len(world.launches(kind="dependency")) == 1


def test_wrap_up_twice_writes_nothing_twice(world, campaign):
    """A finding that is stored again, as after a crash of the agent, changes nothing."""
    made = campaign("when exit 1: retry\nwhen exit 3: stop")
    work = Workload(world, exits({names(1)[0]: 1, names(2)[0]: 3}))
    number = world.submission(made, "gen")
    world.poll()
    work.run(number)
    candidate = candidates.describe(world.core, number, "samdev")
    finding = wrapup.judge(world.core, candidate)

    assert wrapup.store(world.core, candidate, finding)
    assert not wrapup.store(world.core, candidate, finding)

    assert [row.state for row in decisions(world)] == ["launched", "asking"]
    assert len(world.launches(kind="recovery")) == 1
