"""Campaigns as documents: what saving a text changes and what it never touches, who may, and what is refused."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from sqlalchemy import func, inspect, select

from poms.webservice.errors import Conflict, Invalid, NotAllowed, NotFound
from poms.webservice.model import (
    Campaign,
    CampaignDependency,
    CampaignStage,
    CampaignTag,
    CampaignVersion,
    JobType,
    LoginSetup,
    Submission,
    Tag,
)
from poms.webservice.rules.permissions import ANALYSIS, SHIFTER, SUPERUSER
from poms.webservice.services import campaigns, editing, holds, launches, launching, schedules
from poms.webservice.services.launch_requests import LaunchRequest
from poms.webservice.testing.faults import Died

CHAIN = (Path(__file__).parents[1] / "data" / "campaigns" / "chain.ini").read_text()
SHORT = """# What people wrote about it stays.
[campaign]
name = short

[campaign_defaults]
vo_role = Production
software_version = v1
dataset_or_split_data = raw
completion_type = located
completion_pct = 95
login_setup = host
job_type = work

[campaign_stage first]
cs_split_type = nfiles(5)

[campaign_stage second]

[campaign_stage third]

[login_setup host]
host = localhost
account = samdevpro
setup = source env.sh

[job_type work]
launch_script = run_it %(dataset)s

[dependencies second]
campaign_stage_1 = first
file_pattern_1 = %.root

[dependencies third]
campaign_stage_1 = second
file_pattern_1 = %
"""
TABLES = (Campaign, CampaignVersion, CampaignStage, CampaignDependency, JobType, LoginSetup)


@pytest.fixture
def owner(world):
    """A production user of samdev."""
    return world.person("olive")


@pytest.fixture
def save(world, owner):
    """Saves a text as its owner, or as somebody else."""
    def save(text=SHORT, actor=None, **how):
        data = text.encode() if isinstance(text, str) else text
        return campaigns.save_text(world.core, actor or owner, data, source="upload", **how)

    return save


def without(text, *titles):
    """The text without these sections."""
    kept = [piece for piece in text.split("\n[") if not piece.startswith(tuple(f"{title}]" for title in titles))]
    return "\n[".join(kept)


def everything(core):
    """Every row of the tables that saving writes, as values."""
    with core.db.read() as session:
        return {table.__tablename__: [
            {column.key: getattr(row, column.key) for column in inspect(table).mapper.column_attrs}
            for row in session.scalars(select(table).order_by(*inspect(table).primary_key))] for table in TABLES}


def stages_of(core, name="short"):
    """The stages that belong to a campaign, by name."""
    with core.db.read() as session:
        return {stage.name: stage for stage in session.scalars(
            select(CampaignStage).join(Campaign, Campaign.campaign_id == CampaignStage.campaign_id)
            .where(Campaign.name == name))}


def dependencies_of(core):
    """Dependencies as (provider, consumer) -> (number of the row, patterns)."""
    with core.db.read() as session:
        return {(row.provider.name, row.consumer.name): (row.campaign_dep_id, row.file_patterns)
                for row in session.scalars(select(CampaignDependency))}


def refused(save, text):
    """The problems of a text that is not accepted."""
    result = save(text)
    assert result.problems and result.version is None
    return result.problems


# ---------------------------------------------------------------------------------------- saving


def test_a_text_becomes_a_campaign_with_stages_and_what_feeds_them(world, save):
    """Campaign, stages in the order of the text, dependencies, login setup and job type are there."""
    result = save()

    assert (result.name, result.version, result.changed, result.problems) == ("short", 1, True, ())
    assert [name for _, name in result.stages] == ["first", "second", "third"]
    stages = stages_of(world.core)
    assert [stages[name].position for name in ("first", "second", "third")] == [0, 1, 2]
    assert {key: patterns for key, (_, patterns) in dependencies_of(world.core).items()} == {
        ("first", "second"): "%.root", ("second", "third"): "%"}
    first = stages["first"]
    assert (first.dataset, first.cs_split_type, first.vo_role, first.completion_pct) == (
        "raw", "nfiles(5)", "Production", 95)
    assert stages["second"].cs_split_type is None


def test_what_was_saved_can_be_launched(world, save, owner):
    """The rows that a text makes are enough to launch its first stage and put it into the batch system."""
    made = save(SHORT.replace("dataset_or_split_data = raw", "dataset_or_split_data = None")
                .replace("cs_split_type = nfiles(5)", "stage_type = generator"))

    outcome = campaigns.launch_campaign(world.core, owner, made.campaign_id, "k")

    assert (outcome.state, world.work_on_launches()) == ("queued", ["launched"])
    assert world.submissions()[0].campaign_version_number == 1


def test_the_text_is_kept_byte_for_byte(world, save, owner):
    """Comments, odd spacing and line ends come back as they were sent."""
    text = "\ufeff" + SHORT.replace("name = short", "name  :  short ").replace("\n", "\r\n")
    result = save(text)

    assert campaigns.version_text(world.core, owner, result.campaign_id) == text


def test_a_dry_run_writes_nothing_and_shows_the_difference(world, save):
    """Neither for a new campaign nor for a change is anything stored."""
    fresh = save(dry_run=True)
    assert {kind["kind"] for kind in fresh.diff} == {"place", "came"}
    assert (fresh.campaign_id, fresh.version, fresh.changed) == (None, None, True)
    assert not any(everything(world.core).values())

    made = save()
    before = everything(world.core)
    checked = save(SHORT.replace("= v1", "= v2"), dry_run=True)

    assert [line for line in checked.diff if line["kind"] in ("gone", "came")] == [
        {"kind": "gone", "text": "software_version = v1"}, {"kind": "came", "text": "software_version = v2"}]
    assert (checked.campaign_id, checked.changed) == (made.campaign_id, True)
    assert everything(world.core) == before
    assert [event.kind for event in world.events()] == ["campaign.created"]


def test_saving_the_same_text_again_changes_nothing(world, save, clock):
    """No new version, no column with a new time, no event."""
    made = save()
    before = everything(world.core)
    clock.advance(3600)

    again = save()

    assert (again.changed, again.version, again.campaign_id, again.stages) == (
        False, 1, made.campaign_id, made.stages)
    assert everything(world.core) == before
    assert len(world.events()) == 1


def test_only_the_stage_that_changed_is_written(world, save, clock):
    """Another value of one stage leaves the others as they are, with their numbers and times."""
    save()
    before = stages_of(world.core)
    later = clock.advance(3600)

    save(SHORT.replace("[campaign_stage second]", "[campaign_stage second]\ncompletion_pct = 50"))

    after = stages_of(world.core)
    assert {name: stage.campaign_stage_id for name, stage in after.items()} == {
        name: stage.campaign_stage_id for name, stage in before.items()}
    assert (after["second"].completion_pct, after["second"].updated) == (50, later)
    assert after["first"].updated is None and after["third"].updated is None


def test_a_comment_is_a_new_version_of_the_same_stages(world, save):
    """What only people read is kept as a version and touches no stage."""
    save()
    before = everything(world.core)

    again = save("# More about it.\n" + SHORT)

    after = everything(world.core)
    assert again.version == 2
    assert after["campaign_stages"] == before["campaign_stages"]
    assert after["campaign_dependencies"] == before["campaign_dependencies"]


def test_versions_say_who_when_and_from_where(world, save, owner, clock):
    """Each save is a version with its maker; without a message it says how much changed."""
    save(message="the beginning")
    later = clock.advance(60)
    other = world.person("otto")

    made = save(SHORT.replace("= v1", "= v2"), actor=other)

    with world.core.db.read() as session:
        rows = session.scalars(select(CampaignVersion).order_by(CampaignVersion.number)).all()
        campaign = session.get_one(Campaign, made.campaign_id)
    assert [(row.creator, row.message) for row in rows] == [
        (owner.experimenter_id, "the beginning"), (other.experimenter_id, "1 lines added, 1 removed")]
    assert (rows[1].created, rows[1].source) == (later, "upload")
    assert (campaign.creator, campaign.updater, campaign.updated) == (
        owner.experimenter_id, other.experimenter_id, later)


# ------------------------------------------------------------------------------- stages come and go


def test_a_stage_that_the_text_leaves_out_is_detached_and_kept(world, save, owner):
    """Its submissions stay with it; nothing feeds it and it feeds nothing any more; the answer says so."""
    made = save()
    second = stages_of(world.core)["second"].campaign_stage_id
    world.catalogue().define("raw", "file_name f%")
    launching.launch(world.core, owner, LaunchRequest(second, "k", dataset_override="raw"))

    result = save(without(SHORT, "campaign_stage second", "dependencies second", "dependencies third"))

    assert [name for _, name in result.stages] == ["first", "third"]
    assert any("'second' is no longer part" in warning for warning in result.warnings)
    assert dependencies_of(world.core) == {}
    with world.core.db.read() as session:
        kept = session.get_one(CampaignStage, second)
    assert kept.campaign_id is None
    assert [row.campaign_id for row in world.submissions(campaign_stage_id=second)] == [made.campaign_id]


def test_a_stage_that_comes_back_is_the_same_stage(world, save, owner):
    """With its number, its submissions and the place where its split stands."""
    made = save()
    first = stages_of(world.core)["first"].campaign_stage_id
    world.catalogue().define("raw", "file_name f%")
    for number in range(12):
        world.catalogue().declare(f"f{number}")
    launching.launch(world.core, owner, LaunchRequest(first, "k"))
    stands = stages_of(world.core)["first"].cs_last_split
    save(without(SHORT, "campaign_stage first", "dependencies second"))
    assert "first" not in stages_of(world.core)

    result = campaigns.restore(world.core, owner, made.campaign_id, 1)

    again = stages_of(world.core)["first"]
    assert stands is not None
    assert (again.campaign_stage_id, again.cs_last_split) == (first, stands)
    assert any("'first' is part of the campaign again" in warning for warning in result.warnings)
    assert ("first", "second") in dependencies_of(world.core)


def test_a_stage_that_was_never_launched_comes_back_as_a_new_one(world, save):
    """Nothing refers to the one that was detached, and a stage of another campaign is never taken over."""
    save()
    second = stages_of(world.core)["second"].campaign_stage_id
    left = without(SHORT, "campaign_stage second", "dependencies second", "dependencies third")
    save(left)

    save()
    save(SHORT.replace("name = short", "name = other"))

    assert stages_of(world.core)["second"].campaign_stage_id != second
    assert stages_of(world.core, "other")["second"].campaign_stage_id not in (
        second, stages_of(world.core)["second"].campaign_stage_id)


def test_a_launch_held_for_a_detached_stage_is_not_launched(world, save, owner):
    """A stage that was taken out of its campaign launches nothing, whoever lets it go."""
    save(SHORT.replace("dataset_or_split_data = raw", "dataset_or_split_data = None"))
    third = stages_of(world.core)["third"].campaign_stage_id
    holds.hold_stages(world.core, owner, [third], hold=True, reason="disk full")
    held = launching.launch(world.core, owner, LaunchRequest(third, "k")).launch_id
    save(without(SHORT, "campaign_stage third", "dependencies third"))
    holds.hold_stages(world.core, owner, [third], hold=False)

    launches.release_held(world.core, owner.username, [held], owner.experiment)
    world.work_on_launches()

    assert world.submissions() == []


@pytest.mark.parametrize(("old", "new", "kept"), [
    ("cs_split_type = nfiles(5)", "cs_split_type = nfiles(7)", False),
    ("cs_split_type = nfiles(5)", "cs_split_type = nfiles(5)\ndataset_or_split_data = cooked", False),
    ("cs_split_type = nfiles(5)", "cs_split_type = nfiles(5)\ncompletion_pct = 50", True),
    ("software_version = v1", "software_version = v2", True),
])
def test_another_split_or_dataset_begins_at_its_start(world, save, old, new, kept):
    """The place where a split stands belongs to its type and its dataset; nothing else moves it."""
    save()
    stands = {"position": 10}
    world.change(CampaignStage, stages_of(world.core)["first"].campaign_stage_id, cs_last_split=stands)

    result = save(SHORT.replace(old, new))

    assert stages_of(world.core)["first"].cs_last_split == (stands if kept else None)
    assert any("begins again" in warning for warning in result.warnings) is not kept


def test_dependencies_keep_their_rows(world, save):
    """The number of a dependency is part of what it launches: another pattern or another save does not change it."""
    save()
    before = dependencies_of(world.core)

    save(SHORT.replace("file_pattern_1 = %.root", "file_pattern_1 = %.hist").replace("= v1", "= v2"))

    after = dependencies_of(world.core)
    assert {key: number for key, (number, _) in after.items()} == {key: number for key, (number, _) in before.items()}
    assert after["first", "second"][1] == "%.hist"


def test_a_dependency_that_the_text_leaves_out_is_gone(world, save):
    """And a new one is there; the one that stayed is the same row."""
    save()
    before = dependencies_of(world.core)

    save(without(SHORT, "dependencies third") + "\n[dependencies third]\ncampaign_stage_1 = first\n")

    after = dependencies_of(world.core)
    assert set(after) == {("first", "second"), ("first", "third")}
    assert after["first", "second"] == before["first", "second"]


def test_stages_can_change_places(world, save):
    """The order of the text is the order of the pages."""
    save()
    moved = without(SHORT, "campaign_stage first") + "\n[campaign_stage first]\ncs_split_type = nfiles(5)\n"

    result = save(moved)

    assert [name for _, name in result.stages] == ["second", "third", "first"]


# ------------------------------------------------------------------------------ job types, login setups


@pytest.mark.parametrize(("old", "new", "told"), [
    ("account = samdevpro", "account = root", "LoginSetup 'host' already exists and will not change. "
     "It differs in account (there: samdevpro)."),
    ("run_it", "rm -rf", "JobType 'work' already exists and will not change. "
     "It differs in launch_script (there: run_it %(dataset)s)."),
])
def test_blocks_that_exist_are_never_changed_by_a_text(world, save, old, new, told):
    """Other campaigns use them. What differs is told once, by a check and by a save."""
    save()
    before = everything(world.core)

    checked = save(SHORT.replace(old, new), dry_run=True)
    saved = save(SHORT.replace(old, new))

    after = everything(world.core)
    assert checked.warnings == saved.warnings == (told,)
    assert (after["job_types"], after["login_setups"]) == (before["job_types"], before["login_setups"])


def test_blocks_that_are_equal_are_not_mentioned(save):
    """Another campaign on the same login setup and job type, word for word, is no news."""
    save()

    assert save(SHORT.replace("name = short", "name = other")).warnings == ()


def test_blocks_of_the_shared_experiment_can_be_used_and_are_not_changed(world, save, owner):
    """What samdev has can be named in another experiment; a block of that name becomes that experiment's own."""
    save()
    other = world.person("nora", experiment="nova")
    borrowed = without(SHORT, "login_setup host", "job_type work")

    assert save(borrowed, actor=other).problems == ()
    own = save(SHORT.replace("account = samdevpro", "account = novapro").replace("name = short", "name = own"),
               actor=other)

    assert own.warnings == ()
    with world.core.db.read() as session:
        accounts = dict(session.execute(select(LoginSetup.experiment, LoginSetup.launch_account)).all())
    assert accounts == {"samdev": "samdevpro", "nova": "novapro"}


def test_recoveries_are_stored_in_their_order(world, save):
    """With the overrides of each."""
    save(SHORT.replace("launch_script = run_it %(dataset)s", 'launch_script = run_it\nrecoveries = '
                       '[["consumed_status", []], ["added_files", [["-Om=", "2GB"]]]]'))

    with world.core.db.read() as session:
        entries = session.scalar(select(JobType)).recoveries
    assert [(entry.recovery_order, entry.recovery_type, entry.param_overrides) for entry in entries] == [
        (0, "consumed_status", []), (1, "added_files", [["-Om=", "2GB"]])]


# ----------------------------------------------------------------------------------------- conflicts


def test_a_version_that_somebody_saved_meanwhile_is_not_overwritten(world, save):
    """Whoever began with an older version is told, and nothing is stored."""
    save()
    save(SHORT.replace("= v1", "= v2"), base_version=1)
    before = everything(world.core)

    with pytest.raises(Conflict, match="version 2 of short since version 1"):
        save(SHORT.replace("= v1", "= v3"), base_version=1)

    assert everything(world.core) == before


@pytest.mark.parametrize("titles", [(), ("login_setup host", "job_type work")], ids=["with blocks", "stages only"])
def test_two_people_who_save_at_once_leave_one_whole_campaign(world, save, owner, titles):
    """One of them may be told of the conflict; the campaign has each stage once and a version for each success."""
    save(SHORT.replace("name = short", "name = there"))
    text = without(SHORT, *titles)
    barrier, outcomes = threading.Barrier(4), []

    def one(number):
        barrier.wait()
        try:
            outcomes.append(save(text + f"\n# {number}\n").version)
        except Conflict as conflict:
            outcomes.append(str(conflict))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    saved = sorted(outcome for outcome in outcomes if isinstance(outcome, int))
    assert len(outcomes) == 4 and saved == list(range(1, len(saved) + 1)) and saved
    assert sorted(stages_of(world.core)) == ["first", "second", "third"]
    with world.core.db.read() as session:
        assert session.scalar(select(func.count()).select_from(Campaign)) == 2


def test_dying_while_saving_leaves_nothing_or_all(world, save, database):
    """A server that is killed at the commit has stored no half of a campaign."""
    database.die_at_commit()
    with pytest.raises(Died):
        save()
    database.live_on()

    assert not any(everything(world.core).values())


# -------------------------------------------------------------------------------------------- rights


def test_an_analysis_user_saves_own_campaigns(world, save):
    """As an analysis campaign, which runs with vo_role Analysis and nothing else."""
    ann = world.person("ann", role=ANALYSIS)

    wrong = save(actor=ann)
    right = save(SHORT.replace("Production", "Analysis"), actor=ann)

    assert {problem.code for problem in wrong.problems} == {"analysis-role"}
    with world.core.db.read() as session:
        assert session.get_one(Campaign, right.campaign_id).creator_role == ANALYSIS


@pytest.mark.parametrize("role", [ANALYSIS, SHIFTER])
def test_others_do_not_change_a_production_campaign(world, save, role):
    """Neither an analysis user nor a shifter, not even to see what would change."""
    save()
    before = everything(world.core)
    other = world.person("ann", role=role)

    for dry_run in (True, False):
        with pytest.raises(NotAllowed):
            save(SHORT.replace("Production", "Analysis"), actor=other, dry_run=dry_run)

    assert everything(world.core) == before


def test_an_analysis_user_does_not_change_anothers_campaign(world, save):
    """Even when both are analysis users."""
    text = SHORT.replace("Production", "Analysis")
    save(text, actor=world.person("ann", role=ANALYSIS))

    with pytest.raises(NotAllowed, match="Only the person who made this"):
        save(text + "# mine now\n", actor=world.person("bob", role=ANALYSIS))


def test_a_superuser_changes_both_kinds(world, save):
    """And the campaign stays what it was: made by its owner, in its owner's role."""
    made = save(SHORT.replace("Production", "Analysis"), actor=world.person("ann", role=ANALYSIS))

    save(SHORT.replace("Production", "Analysis") + "# checked\n", actor=world.person("sue", role=SUPERUSER))

    with world.core.db.read() as session:
        assert session.get_one(Campaign, made.campaign_id).creator_role == ANALYSIS


@pytest.mark.parametrize("call", [
    lambda core, actor, number: campaigns.version_text(core, actor, number),
    lambda core, actor, number: campaigns.compare_versions(core, actor, number, 1, 1),
    lambda core, actor, number: campaigns.restore(core, actor, number, 1),
    lambda core, actor, number: campaigns.clone(core, actor, number, "copy"),
    lambda core, actor, number: campaigns.set_active(core, actor, [number], False),
    lambda core, actor, number: campaigns.add_tag(core, actor, [number], "t"),
    lambda core, actor, number: campaigns.delete_campaign(core, actor, number),
    lambda core, actor, number: campaigns.launch_campaign(core, actor, number, "k"),
    lambda core, actor, number: campaigns.text_of(core, actor, "short"),
], ids=["text", "compare", "restore", "clone", "deactivate", "tag", "delete", "launch", "download"])
def test_a_campaign_of_another_experiment_does_not_exist(world, save, call):
    """Whatever is asked for."""
    number = save().campaign_id
    before = everything(world.core)

    with pytest.raises(NotFound):
        call(world.core, world.person("nora", experiment="nova"), number)

    assert everything(world.core) == before


def test_the_same_name_in_another_experiment_is_another_campaign(world, save):
    """Names are an experiment's own."""
    first = save()
    second = save(actor=world.person("nora", experiment="nova"))

    assert first.campaign_id != second.campaign_id and second.version == 1


# ------------------------------------------------------------------------- versions, clones, deletion


def test_an_older_version_can_be_restored(world, save, owner):
    """As a new version with the older text; the versions between stay."""
    number = save().campaign_id
    save(SHORT.replace("= v1", "= v2"))

    result = campaigns.restore(world.core, owner, number, 1)

    assert result.version == 3
    assert campaigns.version_text(world.core, owner, number) == SHORT
    assert "= v2" in campaigns.version_text(world.core, owner, number, 2)
    assert stages_of(world.core)["first"].software_version == "v1"


def test_versions_are_compared_line_by_line(world, save, owner):
    """Equal ones have no difference; a version that is not there is said."""
    number = save().campaign_id
    save(SHORT.replace("= v1", "= v2"))

    lines = campaigns.compare_versions(world.core, owner, number, 1, 2)

    assert [line["text"] for line in lines if line["kind"] == "came"] == ["software_version = v2"]
    assert campaigns.compare_versions(world.core, owner, number, 2, 2) == []
    with pytest.raises(NotFound, match="no version 9"):
        campaigns.compare_versions(world.core, owner, number, 1, 9)


def test_a_line_without_a_difference_but_its_end_is_still_told(world, save, owner):
    """Texts that differ only in line ends are different versions, and the page must not call them equal."""
    number = save().campaign_id
    changed = save(SHORT.replace("\n", "\r\n"))

    assert changed.version == 2
    lines = campaigns.compare_versions(world.core, owner, number, 1, 2)
    assert {"kind": "gone", "text": "[campaign]"} in lines and {"kind": "came", "text": "[campaign]␍"} in lines


def test_texts_of_very_many_lines_are_not_compared(save):
    """A comparison that nobody can wait for is not begun; the text is saved all the same."""
    noise = "".join(f"# {number % 100} {number % 7}\n" for number in range(30_000))
    save(SHORT + noise)

    result = save(noise + SHORT)

    assert (result.version, [line["kind"] for line in result.diff]) == (2, ["place"])


def test_a_clone_has_the_text_under_another_name(world, save, owner):
    """One line differs; job types and login setups are shared, launches and versions are not taken along."""
    number = save().campaign_id

    made = campaigns.clone(world.core, owner, number, "second try")

    text = campaigns.version_text(world.core, owner, made.campaign_id)
    differing = [(old, new) for old, new in zip(SHORT.splitlines(), text.splitlines(), strict=True) if old != new]
    assert differing == [("name = short", "name = second try")]
    assert made.version == 1 and made.warnings == ()
    rows = everything(world.core)
    assert (len(rows["job_types"]), len(rows["login_setups"]), len(rows["campaign_stages"])) == (1, 1, 6)


@pytest.mark.parametrize(("before", "typed", "kept"), [
    ("a\nb\n", "a\r\nx\r\nb\r\n", "a\nx\nb\n"), ("a\r\nb\r\n", "a\r\nx\r\n", "a\r\nx\r\n"),
    ("a\r\nb\nc\n", "a\r\nb\r\nx\r\nc\r\n", "a\r\nb\nx\nc\n"), ("", "a\r\nb", "a\nb"),
    ("a\nb", "a\r\nb", "a\nb"), ("a\nb", "a\r\nb\r\n", "a\nb\n"), ("", "", ""),
], ids=["LF", "CRLF", "mixed", "new", "no end", "an end is added", "nothing"])
def test_a_text_from_a_form_keeps_the_line_ends_of_the_text_before(before, typed, kept):
    """Browsers send all lines with CR and LF, whatever they were shown."""
    assert campaigns.with_own_line_ends(typed.encode(), before) == kept.encode()


@pytest.mark.parametrize("name", ["", "a/b", "x" * 201, "None", "two\nlines", "a]b"])
def test_a_clone_needs_a_name_that_can_be_written(world, save, owner, name):
    """A name that a text cannot hold is refused before anything is stored."""
    number = save().campaign_id

    with pytest.raises(Invalid):
        campaigns.clone(world.core, owner, number, name)

    assert len(everything(world.core)["campaigns"]) == 1


def test_a_clone_does_not_overwrite(world, save, owner):
    """A name that is taken is a conflict."""
    number = save().campaign_id

    with pytest.raises(Conflict, match="short in samdev already"):
        campaigns.clone(world.core, owner, number, "short")


def test_a_campaign_that_was_never_launched_can_be_deleted(world, save, owner):
    """With its stages, dependencies, versions, tags and schedules; job types and login setups stay."""
    number = save().campaign_id
    campaigns.add_tag(world.core, owner, [number], "2026")
    schedules.set_schedule(world.core, owner, stages_of(world.core)["first"].campaign_stage_id, cron="0 3 * * *")

    assert campaigns.delete_campaign(world.core, owner, number) == "short"

    rows = everything(world.core)
    assert [name for name, left in rows.items() if left] == ["job_types", "login_setups"]
    assert world.events("campaign.deleted")[0].data == {"name": "short"}
    assert save().version == 1


def test_a_campaign_that_was_launched_is_kept(world, save, owner):
    """Even if the stage that was launched is not part of it any more."""
    number = save(SHORT.replace("dataset_or_split_data = raw", "dataset_or_split_data = None")).campaign_id
    launching.launch(world.core, owner, LaunchRequest(stages_of(world.core)["third"].campaign_stage_id, "k"))
    save(without(SHORT, "campaign_stage third", "dependencies third"))

    with pytest.raises(Conflict, match="cannot be deleted"):
        campaigns.delete_campaign(world.core, owner, number)

    assert len(everything(world.core)["campaigns"]) == 1


def test_a_campaign_with_a_held_launch_is_kept(world, save, owner):
    """A launch that waits for its release has no submission yet, and must not lose its stage."""
    number = save(SHORT.replace("dataset_or_split_data = raw", "dataset_or_split_data = None")).campaign_id
    third = stages_of(world.core)["third"].campaign_stage_id
    holds.hold_stages(world.core, owner, [third], hold=True, reason="disk full")
    launching.launch(world.core, owner, LaunchRequest(third, "k"))

    with pytest.raises(Conflict):
        campaigns.delete_campaign(world.core, owner, number)

    assert world.launches()[0].state == "held"


def test_campaigns_are_made_inactive_together_or_not_at_all(world, save, owner):
    """One that is not there leaves all as they were; what is inactive already does not count."""
    one, two = save().campaign_id, save(SHORT.replace("name = short", "name = two")).campaign_id

    with pytest.raises(NotFound):
        campaigns.set_active(world.core, owner, [one, 99999], False)
    assert all(row["active"] for row in everything(world.core)["campaigns"])

    assert campaigns.set_active(world.core, owner, [one], False) == 1
    assert campaigns.set_active(world.core, owner, [one, two], False) == 1
    assert campaigns.set_active(world.core, owner, [one, two], True) == 2


def test_a_tag_is_made_once_and_put_once(world, save, owner):
    """On as many campaigns as are named; an experiment has each tag once."""
    one, two = save().campaign_id, save(SHORT.replace("name = short", "name = two")).campaign_id

    assert campaigns.add_tag(world.core, owner, [one], " Münster '26 ") == 1
    assert campaigns.add_tag(world.core, owner, [one, two], "Münster '26") == 1

    with world.core.db.read() as session:
        assert session.scalars(select(Tag.tag_name)).all() == ["Münster '26"]
        assert session.scalar(select(func.count()).select_from(CampaignTag)) == 2


@pytest.mark.parametrize("name", ["", "  ", "x" * 300, "a\nb"])
def test_a_tag_needs_a_name(world, save, owner, name):
    """What cannot be read on a page is no tag."""
    number = save().campaign_id

    with pytest.raises(Invalid):
        campaigns.add_tag(world.core, owner, [number], name)


# ---------------------------------------------------------------------------------------- launching


@pytest.fixture
def leaderless(save):
    """Saves the short campaign without datasets and with these dependencies."""
    def make(*pairs, more=""):
        text = without(SHORT, "dependencies second", "dependencies third").replace(
            "dataset_or_split_data = raw", "dataset_or_split_data = None")
        text += more + "".join(f"\n[dependencies {consumer}]\ncampaign_stage_1 = {needs}\n"
                               for needs, consumer in pairs)
        result = save(text)
        assert result.problems == ()
        return result.campaign_id

    return make


def test_a_campaign_is_launched_at_the_stage_that_nothing_feeds(world, leaderless, owner):
    """The only one that no other stage feeds."""
    number = leaderless(("second", "third"), ("third", "first"))

    campaigns.launch_campaign(world.core, owner, number, "k")

    assert [row.campaign_stage_id for row in world.launches()] == [stages_of(world.core)["second"].campaign_stage_id]


def test_a_stage_that_feeds_itself_can_lead(world, leaderless, owner):
    """Going on with its next split is not being fed by another stage."""
    number = leaderless(("first", "first"), ("first", "second"), ("second", "third"))
    world.change(CampaignStage, stages_of(world.core)["first"].campaign_stage_id, cs_split_type=None)

    campaigns.launch_campaign(world.core, owner, number, "k")

    assert [row.campaign_stage_id for row in world.launches()] == [stages_of(world.core)["first"].campaign_stage_id]


def test_several_beginnings_are_named_and_one_is_chosen(world, leaderless, owner):
    """Without a choice nothing is launched, and the answer says between which."""
    number = leaderless(("first", "third"))

    with pytest.raises(Invalid, match="of 2 candidates: first, second. Choose one"):
        campaigns.launch_campaign(world.core, owner, number, "k")
    assert world.launches() == []

    second = stages_of(world.core)["second"].campaign_stage_id
    campaigns.launch_campaign(world.core, owner, number, "k", stage_id=second)
    assert [row.campaign_stage_id for row in world.launches()] == [second]


def test_a_campaign_without_a_beginning_needs_a_choice(world, leaderless, owner):
    """In a cycle every stage is fed."""
    number = leaderless(("first", "second"), ("second", "first"), ("first", "third"))

    with pytest.raises(Invalid, match="of 0 candidates"):
        campaigns.launch_campaign(world.core, owner, number, "k")


def test_a_stage_of_another_campaign_cannot_be_chosen(world, leaderless, save, owner):
    """The number of a stage elsewhere is no stage here."""
    number = leaderless()
    save(SHORT.replace("name = short", "name = other"))
    elsewhere = stages_of(world.core, "other")["first"].campaign_stage_id

    with pytest.raises(NotFound):
        campaigns.launch_campaign(world.core, owner, number, "k", stage_id=elsewhere)


def test_asking_twice_with_one_key_launches_once(world, leaderless, owner):
    """A form that is sent twice is one launch."""
    number = leaderless(("first", "second"), ("second", "third"))
    world.change(CampaignStage, stages_of(world.core)["first"].campaign_stage_id, cs_split_type=None)

    first = campaigns.launch_campaign(world.core, owner, number, "k")
    again = campaigns.launch_campaign(world.core, owner, number, "k")

    assert (first.launch_id, first.submission_id) == (again.launch_id, again.submission_id)
    assert len(world.submissions()) == 1


def test_others_do_not_launch_an_analysis_users_campaign(world, save):
    """Not another analysis user."""
    made = save(SHORT.replace("Production", "Analysis"), actor=world.person("ann", role=ANALYSIS))

    with pytest.raises(NotAllowed):
        campaigns.launch_campaign(world.core, world.person("bob", role=ANALYSIS), made.campaign_id, "k")

    with world.core.db.read() as session:
        assert session.scalars(select(Submission)).all() == []


# ------------------------------------------------------------------------------------ malformed texts


@pytest.mark.parametrize(("text", "code", "words"), [
    (SHORT + "\n[campaign_stage first]\n", "duplicate-section", "campaign_stage first"),
    (SHORT.replace("campaign_stage_1 = first", "campaign_stage_1 = frist"), "unknown-stage", "first"),
    (SHORT.replace("cs_split_type = nfiles(5)", "") + "\n[dependencies first]\ncampaign_stage_1 = third\n",
     "endless-cycle", "for ever"),
    (SHORT.replace("[campaign_stage second]", '[campaign_stage second]\nparam_overrides = [["a", "b"'),
     None, "param_overrides"),
    (b"[campaign]\nname = caf\xe9\n", "bad-encoding", "UTF-8"),
    ("# " + "x" * 5_000_000 + "\n" + SHORT, "too-large", "1,000,000 bytes"),
    ("", None, "campaign"),
    (SHORT.replace("login_setup = host", "login_setup = hots"), "unknown-login-setup", "host"),
    (SHORT.replace("nfiles(5)", "nflies(5)"), "unknown-split", "nfiles"),
    (SHORT.replace("launch_script = run_it %(dataset)s\n", ""), "missing-key", "launch_script"),
    (SHORT.replace("name = short", "name = a\x00b"), None, ""),
], ids=["duplicate section", "unknown stage", "endless cycle", "bad JSON", "not UTF-8", "5 MB", "nothing",
        "unknown login setup", "unknown split", "no launch script", "NUL"])
def test_a_wrong_text_is_refused_whole(world, save, text, code, words):
    """What is wrong is said, with the words that help; nothing is stored, also of the parts that were right."""
    problems = refused(save, text)

    assert all(problem.message for problem in problems)
    assert code is None or code in {problem.code for problem in problems}
    assert words in " ".join(str(problem) for problem in problems)
    assert not any(everything(world.core).values())


def test_bad_json_is_reported_with_its_line(save):
    """The line of the text, and the column in it."""
    problems = refused(save, SHORT.replace("[campaign_stage second]",
                                           '[campaign_stage second]\nparam_overrides = [["a", "b"'))

    line = SHORT.splitlines().index("[campaign_stage second]") + 2
    assert (problems[0].line, problems[0].field) == (line, "campaign_stage second/param_overrides")
    assert "column" in problems[0].message


def test_all_problems_of_a_text_are_told_at_once(save):
    """Not one at each attempt."""
    problems = refused(save, SHORT.replace("campaign_stage_1 = first", "campaign_stage_1 = frist")
                       .replace("completion_pct = 95", "completion_pct = 950").replace("nfiles(5)", "nflies(5)"))

    assert {"unknown-stage", "bad-number", "unknown-split"} <= {problem.code for problem in problems}


def test_a_wrong_text_leaves_the_campaign_as_it_was(world, save):
    """A refused change of a campaign that is there changes nothing of it."""
    save()
    before = everything(world.core)

    refused(save, SHORT.replace("completion_pct = 95", "completion_pct = 0"))

    assert everything(world.core) == before


HOSTILE = ["O'Brien; DROP TABLE campaigns", '"quoted"', "$(touch x)`id`", "日本 é", "<script>alert(1)",
           "%(experiment)s", "a" * 200]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_only_names(world, save, owner, name):
    """Quotes, shell, markup and other alphabets in names come back as they are."""
    text = CHAIN.replace("muon_pairs_7", name).replace("stage produce", f"stage {name}").replace(
        "= produce", f"= {name}").replace("campaign_stage_list=produce,reconstruct,look,collect\n", "")
    result = save(text)

    assert result.problems == ()
    assert result.name == name and name in [stage for _, stage in result.stages]
    assert campaigns.text_of(world.core, owner, name) == text


def test_a_renamed_campaign_stays_the_same(world, save, owner):
    """Its number, stages and tags stay; its text is a new version that differs in one line."""
    number = save().campaign_id
    campaigns.add_tag(world.core, owner, [number], "2026")
    stages_before = everything(world.core)["campaign_stages"]

    old = campaigns.rename(world.core, owner, number, "third try")

    rows = everything(world.core)
    assert old == "short"
    assert [row["name"] for row in rows["campaigns"]] == ["third try"]
    assert rows["campaign_stages"] == stages_before
    assert "name = third try" in campaigns.text_of(world.core, owner, "third try")
    assert sorted(row["number"] for row in rows["campaign_versions"]) == [1, 2]


def test_an_older_version_of_a_renamed_campaign_is_restored_under_its_new_name(world, save, owner):
    """Restoring makes no second campaign of the old name."""
    number = save().campaign_id
    campaigns.rename(world.core, owner, number, "third try")

    made = campaigns.restore(world.core, owner, number, 1)

    assert made.campaign_id == number
    assert [row["name"] for row in everything(world.core)["campaigns"]] == ["third try"]


@pytest.mark.parametrize("name", ["", "a\nb", " a"])
def test_a_campaign_is_not_renamed_to_what_is_no_name(world, save, owner, name):
    """What a text cannot hold is refused, and nothing changes."""
    number = save().campaign_id

    with pytest.raises(Invalid):
        campaigns.rename(world.core, owner, number, name)

    assert campaigns.text_of(world.core, owner, "short")


def test_an_editor_opened_before_a_rename_makes_no_second_campaign(world, save, owner):
    """What was begun with the old name is a conflict that shows the new one, and both changes can be had."""
    number = save().campaign_id
    mine = campaigns.version_text(world.core, owner, number).replace("completion_pct = 95", "completion_pct = 90")
    campaigns.rename(world.core, owner, number, "third try")

    answer = editing.save(world.core, owner, mine, campaign_id=number, base_version=1)

    assert answer.conflict and "name = third try" in answer.conflict["merged"]
    assert [row["name"] for row in everything(world.core)["campaigns"]] == ["third try"]


def test_a_campaign_is_not_renamed_over_another(world, save, owner):
    """A name that is taken is a conflict."""
    number = save().campaign_id
    campaigns.clone(world.core, owner, number, "second try")

    with pytest.raises(Conflict, match="second try in samdev already"):
        campaigns.rename(world.core, owner, number, "second try")


@pytest.mark.parametrize(("split", "words"), [
    ("nfiles(many)", "unable to parse integer parameter from 'many'"), ("nfiles", "'n' is missing"),
    ("byrun(low=1,top=9)", "there is no parameter 'top'"), ("draining(3)", "'3' is one argument too many")])
def test_what_a_split_type_does_not_understand_is_not_saved(world, save, split, words):
    """Told with its line when it is saved, not at the first launch."""
    result = save(SHORT.replace("nfiles(5)", split))

    assert [(problem.field, problem.code, problem.line) for problem in result.problems] == [
        ("campaign_stage first/cs_split_type", "bad-split", 15)]
    assert words in result.problems[0].message
    assert everything(world.core)["campaigns"] == []
