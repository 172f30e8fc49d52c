"""What pages show: the contents for a small known world, and no more statements for a large one."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from sqlalchemy import inspect, select

from poms.webservice.errors import Invalid, NotFound
from poms.webservice.interfaces import JobState
from poms.webservice.model import (
    Campaign,
    CampaignStage,
    CampaignVersion,
    Event,
    Job,
    Launch,
    Submission,
    SubmissionFile,
    SubmissionHistory,
)
from poms.webservice.rules.permissions import ANALYSIS, SHIFTER
from poms.webservice.rules.statuses import Status
from poms.webservice.services import campaigns, holds
from poms.webservice.services.pages import campaigns as campaign_pages
from poms.webservice.services.pages import home as home_pages
from poms.webservice.services.pages import launches as launch_pages
from poms.webservice.services.pages import stages as stage_pages
from poms.webservice.services.pages import submissions as submission_pages
from poms.webservice.services.pages import texts
from poms.webservice.services.pages.common import job_label
from poms.webservice.testing.statements import recorded
from poms.webservice.testing.world import stage

MOST_STATEMENTS = 12
HOSTILE = ["%", "_", "'", '"', "\\", "/", "//", "%%%", "a' OR '1'='1", "$(x)", "日本", "²", "٣", "9" * 30, "x" * 10_000,
           "; DROP TABLE campaigns", "</td><script>"]


def url(route, **arguments):
    """Addresses that tests can read back."""
    return f"/{route}?{urlencode(arguments)}"


def arguments_of(address):
    """The arguments of such an address, numbers as numbers."""
    return {name: int(value) if value.isdigit() else value for name, value in parse_qsl(urlsplit(address).query)}


@pytest.fixture
def owner(world):
    return world.person("olive")


@pytest.fixture
def campaign(world, owner):
    """Two stages; the second takes what the first makes."""
    made = world.campaign_with(stage("gen"), stage("reco", after={"gen": "%.root"}), name="mc", owner=owner)
    give_version(world, made, 1, "[campaign]\nname = mc\n")
    return made


@pytest.fixture
def submission(world, campaign):
    """A submission of the first stage with its jobs in the batch system."""
    number = world.submission(campaign, "gen")
    world.poll()
    return number


def give_version(world, made, number, text):
    """A version of a campaign's text, as saving it makes one."""
    world.change(Campaign, made.campaign_id, version_number=number)
    with world.core.db.write() as session:
        session.add(CampaignVersion(campaign_id=made.campaign_id, number=number, text=text, source="upload",
                                    message=f"change {number}", creator=made.owner.experimenter_id,
                                    created=world.core.clock()))


def add_copies(world, row, count, **changing):
    """More rows like one that is there; ``changing`` gives columns by the number of the copy."""
    columns = {column.key: getattr(row, column.key) for column in inspect(type(row)).mapper.column_attrs
               if column.key not in inspect(row).unloaded}
    keys = [column.key for column in inspect(type(row)).primary_key]
    if len(keys) == 1:
        columns.pop(keys[0])
    with world.core.db.write() as session:
        for number in range(count):
            session.add(type(row)(**{**columns, **{name: give(number) for name, give in changing.items()}}))


def row_of(world, model, **filters):
    with world.core.db.read() as session:
        return session.scalars(select(model).filter_by(**filters).limit(1)).one()


# -------------------------------------------------------------------------------------- shift board


def test_a_quiet_board_says_so(world, owner):
    """Nothing runs, nothing needs a person, and no agent was seen."""
    page = home_pages.home(world.core, owner, url)

    assert (page["board"], page["running"], page["board_total"], page["quiet_count"]) == ([], [], 0, 0)
    assert [service["ok"] for service in page["services"]] == [False]


def test_what_runs_is_shown_by_campaign(world, owner, campaign, submission):
    """With the states of its stages and the jobs of the experiment."""
    page = home_pages.home(world.core, owner, url)

    jobs = world.get(submission).jobs_expected
    assert [entry["name"] for entry in page["running"]] == ["mc"]
    assert [(each["name"], each["state"]) for each in page["running"][0]["stages"]] == [
        ("gen", Status(world.get(submission).status_id).label), ("reco", "Not started")]
    assert sum(page["jobs_now"].values()) == jobs > 0
    assert page["board"] == []


def test_a_held_submission_is_on_the_board_with_its_reason(world, owner, campaign, submission):
    """And with a button that releases its jobs; a campaign that needs a person is not among the quiet ones."""
    world.batch.end(submission, JobState.HELD)
    world.poll()

    page = home_pages.home(world.core, owner, url)

    entry = page["board"][0]
    jobs = world.get(submission).jobs_held
    assert (entry["state"], entry["what"], entry["size"]) == ("Held", "gen: Held", f"{jobs:,} jobs held")
    assert entry["actions"][0]["fields"] == {"submission_id": submission, "act": "release"}
    assert page["running"] == []


def test_a_campaign_on_the_board_does_not_run_without_people(world, owner, campaign, submission):
    """Though its other stage runs; when the trouble is too old for the board, it does again."""
    trouble = world.submission(campaign, "reco")
    world.change(Submission, trouble, status_id=int(Status.FAILED), status_since=world.core.clock())
    assert home_pages.home(world.core, owner, url)["running"] == []

    long_ago = world.core.clock() - timedelta(days=home_pages.BOARD_DAYS + 1)
    world.change(Submission, trouble, status_since=long_ago)

    assert [entry["name"] for entry in home_pages.home(world.core, owner, url)["running"]] == ["mc"]


def test_a_stage_that_was_launched_again_leaves_the_board(world, owner, campaign, submission):
    """What stands there is the newest of its stage: older trouble was dealt with."""
    world.finish(submission, state=JobState.FAILED)
    assert home_pages.home(world.core, owner, url)["board"]

    world.submission(campaign, "gen")

    assert home_pages.home(world.core, owner, url)["board"] == []


def test_the_most_urgent_comes_first(world, owner):
    """A launch that failed before jobs that are held before jobs that failed."""
    made = world.campaign_with(*(stage(name) for name in ("failed", "held", "lost")), owner=owner)
    for name, status in (("failed", Status.FAILED), ("held", Status.HELD), ("lost", Status.LAUNCH_FAILED)):
        number = world.launch(made, name).submission_id
        world.change(Submission, number, status_id=int(status))

    board = home_pages.home(world.core, owner, url)["board"]

    assert [entry["state"] for entry in board] == ["LaunchFailed", "Held", "Failed"]


def test_mine_are_those_that_i_launched(world, owner, campaign, submission):
    """Another one's board has them only under all."""
    other = world.person("otto")

    assert home_pages.home(world.core, owner, url, scope="mine")["running"]
    assert home_pages.home(world.core, other, url, scope="mine")["running"] == []
    assert home_pages.home(world.core, other, url)["running"]


def test_launches_that_are_kept_back_are_on_the_board(world, owner, campaign):
    """With the way to where they can be let go."""
    holds.hold_stages(world.core, owner, [campaign.stage("gen")], hold=True, reason="disk full")
    world.launch(campaign, "gen")

    page = home_pages.home(world.core, owner, url)

    assert (page["board"][-1]["what"], page["board_total"]) == ("1 launch is kept back", 1)


def test_the_board_of_another_experiment_is_empty(world, campaign, submission):
    """Nothing of one experiment shows in another."""
    page = home_pages.home(world.core, world.person("nora", experiment="nova"), url)

    assert (page["board"], page["running"], page["happened"], page["jobs_now"]) == ([], [], [], {})


def test_a_campaign_is_not_done_before_its_last_stage_began(world, owner, campaign, submission):
    """Stages that have not begun are expected to have as many jobs as the others: one of two stages done is half."""
    world.change(Submission, submission, status_id=int(Status.RUNNING))
    world.change(CampaignStage, campaign.stage("gen"), jobs_completed=4, jobs_idle=0, jobs_running=0)

    strip = home_pages.home(world.core, owner, url)["running"][0]
    page = campaign_pages.campaign_page(world.core, owner, url, campaign.campaign_id)

    assert (strip["done"], strip["total"], strip["counts"]) == ("50 %", 8, {"Completed": 4})
    assert (page["figures"][0]["value"], page["figures"][0]["unit"]) == ("50 %", "of about 8 jobs")


# ---------------------------------------------------------------------------------------- campaigns


def names_on(page):
    return [row["name"] for row in page["campaigns"]]


def test_campaigns_are_listed_by_what_happened_last(world, owner, campaign, clock):
    """The one with the newest launch first; with its stages, tags and jobs."""
    clock.advance(60)
    world.campaign_with(stage("only"), name="younger", owner=owner)
    campaigns.add_tag(world.core, owner, [campaign.campaign_id], "2026")
    clock.advance(60)
    world.submission(campaign, "gen")
    world.poll()

    page = campaign_pages.campaign_list(world.core, owner, url)

    assert names_on(page) == ["mc", "younger"]
    row = page["campaigns"][0]
    assert (row["tags"], row["creator"]) == (["2026"], "olive")
    assert sum(row["counts"].values()) == world.submissions()[0].jobs_expected > 0
    assert [each["name"] for each in row["stages"]] == ["gen", "reco"]


@pytest.mark.parametrize(("view", "names"), [("active", ["a", "b"]), ("inactive", ["c"]), ("mine", ["a"]),
                                             ("all", ["a", "b", "c"])])
def test_a_view_shows_its_campaigns(world, owner, view, names):
    """Active, mine, inactive, all."""
    other = world.person("otto")
    for name, maker, active in (("a", owner, True), ("b", other, True), ("c", owner, False)):
        world.campaign_with(name=name, owner=maker, active=active)

    assert names_on(campaign_pages.campaign_list(world.core, owner, url, view=view, sort="name")) == names


def test_the_list_is_of_one_role_or_of_all(world, owner):
    """Production, analysis, or both."""
    world.campaign_with(name="made", owner=owner)
    world.campaign_with(name="plots", owner=world.person("anna", role=ANALYSIS))

    def names(made_as):
        return names_on(campaign_pages.campaign_list(world.core, owner, url, sort="name", made_as=made_as))

    assert (names(""), names("production"), names("analysis")) == (["made", "plots"], ["made"], ["plots"])


def test_a_row_offers_what_may_be_done_to_it(world, owner, campaign, submission):
    """By the rights in its campaign; launches begin with stages that no other feeds; what ran is not deleted."""
    anna = world.person("anna", role=ANALYSIS)
    world.campaign_with(stage("draw"), name="plots", owner=anna)
    world.campaign_with(stage("again", after="again"), name="loop", owner=owner)

    def offered(actor):
        return {row["name"]: (row["may"], [each["name"] for each in row["launchable"]]) for row in
                campaign_pages.campaign_list(world.core, actor, url)["campaigns"]}

    assert offered(owner) == {
        "mc": ({"launch": True, "modify": True, "delete": False}, ["gen"]),
        "loop": ({"launch": True, "modify": True, "delete": True}, ["again"]),
        "plots": ({"launch": True, "modify": False, "delete": False}, ["draw"])}
    assert offered(anna) == {
        "mc": ({"launch": False, "modify": False, "delete": False}, []),
        "loop": ({"launch": False, "modify": False, "delete": False}, []),
        "plots": ({"launch": True, "modify": True, "delete": True}, ["draw"])}


@pytest.mark.parametrize("what", ["running", "held", "failed"])
def test_campaigns_are_sorted_by_their_jobs(world, owner, what):
    """In either direction; a campaign without stages counts as none."""
    world.campaign_with(name="none", owner=owner)
    for name, jobs in (("few", 2), ("many", 70)):
        made = world.campaign_with(stage("x"), stage("y"), name=name, owner=owner)
        world.change(CampaignStage, made.stage("y"), **{f"jobs_{what}": jobs})

    def ordered(sort):
        return names_on(campaign_pages.campaign_list(world.core, owner, url, sort=sort))

    assert ordered(f"-{what}") == ["many", "few", "none"]
    assert ordered(what) == ["none", "few", "many"]


def test_an_unknown_order_is_the_usual_one(world, owner, campaign):
    """A word that is no column is no error and no statement."""
    page = campaign_pages.campaign_list(world.core, owner, url, sort="-name; drop table campaigns")

    assert names_on(page) == ["mc"]


@pytest.mark.parametrize(("text", "names"), [
    ("100%", ["100% done"]), ("a_b", ["a_b"]), ("A_B", ["a_b"]), ("it's", ["it's"]), ("x/y", []), ("olive", None),
    ("2026", ["a_b"]), ("\\", []),
])
def test_campaigns_are_found_by_name_tag_or_creator(world, owner, text, names):
    """Every character means itself."""
    every = ["100 done", "100% done", "aXb", "a_b", "it's"]
    made = {name: world.campaign_with(name=name, owner=owner) for name in every}
    campaigns.add_tag(world.core, owner, [made["a_b"].campaign_id], "2026")

    found = campaign_pages.campaign_list(world.core, owner, url, text=text, sort="name")

    assert sorted(names_on(found)) == (every if names is None else names)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_filters_find_nothing(world, owner, campaign, submission, text):
    """Neither everything nor an error."""
    core = world.core

    assert names_on(campaign_pages.campaign_list(core, owner, url, text=text)) == []
    for place in ({"stage_id": campaign.stage("gen")}, {"campaign_id": campaign.campaign_id}):
        assert submission_pages.submission_list(core, owner, url, text=text, **place)["submissions"] == []
        assert submission_pages.submission_list(core, owner, url, state=text, **place)["submissions"]
    assert submission_pages.submission_page(core, owner, url, submission, sort=text)["jobs"]
    assert submission_pages.submission_page(core, owner, url, submission, state=text)["jobs"]
    assert submission_pages.submission_page(core, owner, url, submission, face=text)["face"] == "jobs"


def test_every_campaign_is_on_exactly_one_page(world, owner):
    """Also when all changed at the same moment."""
    for number in range(2 * campaign_pages.PAGE + 3):
        world.campaign_with(name=f"c{number}", owner=owner)
    seen, arguments = [], {}
    for _ in range(3):
        page = campaign_pages.campaign_list(world.core, owner, url, **arguments)
        seen += names_on(page)
        arguments = arguments_of(page["pager"]["older_url"])

    assert arguments == {}
    assert len(seen) == len(set(seen)) == 2 * campaign_pages.PAGE + 3
    assert page["pager"]["text"] == "101 to 103"


def test_the_first_campaign_is_offered_a_beginning(world, owner):
    """An experiment without campaigns differs from a filter that fits none."""
    assert campaign_pages.campaign_list(world.core, owner, url)["is_first"] is True

    world.campaign_with(name="there", owner=owner)

    assert campaign_pages.campaign_list(world.core, owner, url, text="nothing")["is_first"] is False


# ------------------------------------------------------------------------------------- one campaign


def test_a_campaign_shows_how_far_its_stages_are(world, owner, campaign, submission):
    """What runs, what waits for what, and which pattern feeds it."""
    page = campaign_pages.campaign_page(world.core, owner, url, campaign.campaign_id)

    rows = {row["name"]: row for row in page["stages"]}
    assert (rows["reco"]["state"], rows["reco"]["why"], rows["reco"]["depth"]) == (
        "Not started", "waits for the stage before it", 1)
    assert rows["gen"]["total"] == world.get(submission).jobs_expected
    assert [(edge["tail"], edge["head"], edge["patterns"], edge["waits"]) for edge in page["edges"]] == [
        ("gen", "reco", "%.root", True)]
    assert [stage_["name"] for stage_ in page["launchable"]] == ["gen", "reco"]
    assert page["submission_count"] == 1


def test_a_held_campaign_says_so(world, owner, campaign):
    """With the reason that was given."""
    holds.hold_campaign(world.core, owner, campaign.campaign_id, hold=True, reason="tape is full")

    page = campaign_pages.campaign_page(world.core, owner, url, campaign.campaign_id)

    assert (page["notices"][0]["title"], page["notices"][0]["text"]) == (
        "Launches of this campaign are held", "tape is full")


def test_what_a_person_may_not_do_is_not_offered(world, campaign, submission):
    """A shifter launches and does not change; an analysis user does neither to a production campaign."""
    def may(role):
        person = world.person(f"a-{role}", role=role)
        return campaign_pages.campaign_page(world.core, person, url, campaign.campaign_id)["may"]

    assert (may(SHIFTER)["launch"], may(SHIFTER)["modify"]) == (True, False)
    assert (may(ANALYSIS)["launch"], may(ANALYSIS)["modify"]) == (False, False)


def test_a_campaign_that_was_launched_is_not_offered_for_deletion(world, owner, campaign):
    """One that never was, is."""
    def deletable():
        return campaign_pages.campaign_page(world.core, owner, url, campaign.campaign_id)["may"]["delete"]

    assert deletable() is True
    world.submission(campaign, "gen")
    assert deletable() is False


def test_versions_are_listed_newest_first(world, owner, campaign):
    """Pages of them lead to each other and hold each version once."""
    for number in range(2, campaign_pages.PAGE + 4):
        give_version(world, campaign, number, f"# {number}\n")

    first = campaign_pages.version_list(world.core, owner, url, campaign.campaign_id)
    second = campaign_pages.version_list(world.core, owner, url, **arguments_of(first["pager"]["older_url"]))

    numbers = [row["number"] for page in (first, second) for row in page["versions"]]
    assert numbers == list(range(campaign_pages.PAGE + 3, 0, -1))
    assert [row["number"] for row in first["versions"] if row["current"]] == [campaign_pages.PAGE + 3]


def test_an_older_text_is_shown_as_such(world, owner, campaign):
    """The one in force is not called older, also when it is asked for by its number."""
    give_version(world, campaign, 2, "[campaign]\nname = mc\n# two\n")

    def shown(version):
        page = texts.text_page(world.core, owner, url, campaign.campaign_id, version=version)
        return page["shown_version"], "# two" in page["text"]

    assert (shown(None), shown(2), shown(1)) == ((None, True), (None, True), (1, False))


# -------------------------------------------------------------------------------------------- stage


def test_a_stage_shows_what_it_needs_and_feeds(world, owner, campaign, submission):
    """Its neighbours, its newest submissions, and the settings in force."""
    page = stage_pages.stage_page(world.core, owner, url, campaign.stage("reco"))

    assert page["stage"]["fed_by"][0]["text"] == "gen (%.root)"
    assert page["submissions"] == [] and page["submission_count"] == 0
    provider = stage_pages.stage_page(world.core, owner, url, campaign.stage("gen"))
    assert [row["id"] for row in provider["submissions"]] == [submission]
    settings = {row["label"]: row["value"] for row in provider["settings"]}
    assert (settings["Software version"], settings["Completion threshold"]) == ("v1", "95 %")


def test_a_stage_says_why_its_launches_are_kept(world, owner, campaign):
    """By whom and why."""
    holds.hold_stages(world.core, owner, [campaign.stage("gen")], hold=True, reason="disk full")

    page = stage_pages.stage_page(world.core, owner, url, campaign.stage("gen"))

    assert (page["stage"]["held"], page["stage"]["held_by"]) == (True, "olive")
    assert "disk full" in page["notices"][0]["text"]


# -------------------------------------------------------------------------------------- submissions


def test_submissions_stay_in_place_while_new_ones_come(world, owner, campaign, submission):
    """Paging goes by number, so that nothing is shown twice and nothing left out."""
    add_copies(world, row_of(world, Submission), 119)
    place = {"campaign_id": campaign.campaign_id}

    first = submission_pages.submission_list(world.core, owner, url, **place)
    add_copies(world, row_of(world, Submission), 7)
    second = submission_pages.submission_list(world.core, owner, url, **arguments_of(first["pager"]["older_url"]))
    third = submission_pages.submission_list(world.core, owner, url, **arguments_of(second["pager"]["older_url"]))
    back = submission_pages.submission_list(world.core, owner, url, **arguments_of(third["pager"]["newer_url"]))

    shown = [row["id"] for page in (first, second, third) for row in page["submissions"]]
    assert shown == list(range(submission + 119, submission - 1, -1))
    assert third["pager"]["older_url"] == ""
    assert [row["id"] for row in back["submissions"]] == [row["id"] for row in second["submissions"]]
    newest = submission_pages.submission_list(world.core, owner, url, **arguments_of(back["pager"]["newer_url"]))
    assert [row["id"] for row in newest["submissions"]] == [row["id"] for row in first["submissions"]]
    assert newest["pager"]["newer_url"]


def test_submissions_are_found_by_state_number_job_id_and_dataset(world, owner, campaign, submission):
    """The filter takes what people have at hand."""
    other = world.launch(campaign, "gen", dataset_override="raw_2026").submission_id
    batch_id = world.get(submission).jobsub_job_id

    def found(**how):
        page = submission_pages.submission_list(world.core, owner, url, stage_id=campaign.stage("gen"), **how)
        return [row["id"] for row in page["submissions"]]

    assert found() == [other, submission]
    assert found(text=str(submission)) == found(text=f" {batch_id} ") == [submission]
    assert found(text="raw_2026") == found(state="New") == [other]
    assert found(text="raw_202") == []


def test_a_dependency_says_how_much_was_taken(world, owner, campaign):
    """Of what the one stage made, how much the other took; where it takes of two, nobody could say of which."""
    world.change(CampaignStage, campaign.stage("gen"), files_generated=40)
    world.change(CampaignStage, campaign.stage("reco"), files_consumed=30)

    whole = campaign_pages.campaign_page(world.core, owner, url, campaign.campaign_id)["edges"]
    around = stage_pages.stage_page(world.core, owner, url, campaign.stage("reco"))["edges"]
    from_before = stage_pages.stage_page(world.core, owner, url, campaign.stage("gen"))["edges"]

    told = {(edge["tail"], edge["head"]): edge["label"] for edge in whole + around}
    assert told["gen", "reco"] == "75 %"
    assert [edge["label"] for edge in from_before] == [""]


def test_a_recovery_says_of_what(world, owner, campaign, submission):
    """In lists and on its page, and its parent names it as a follower."""
    child = world.launch(campaign, "gen").submission_id
    world.change(Submission, child, recovery_tasks_parent=submission)

    rows = submission_pages.submission_list(world.core, owner, url, campaign_id=campaign.campaign_id)["submissions"]
    parent = submission_pages.submission_page(world.core, owner, url, submission)

    assert (rows[0]["kind_text"], rows[0]["depth"]) == (f"recovery of {submission}", 1)
    assert [follower["id"] for follower in parent["followers"]] == [child]
    grandchild = world.launch(campaign, "gen").submission_id
    world.change(Submission, grandchild, depends_on=child)
    listed = submission_pages.submission_list(world.core, owner, url, campaign_id=campaign.campaign_id)["submissions"]
    assert {row["id"]: row["depth"] for row in listed} == {submission: 0, child: 1, grandchild: 2}
    page = submission_pages.submission_page(world.core, owner, url, child)
    assert (page["submission"]["kind_text"], page["submission"]["parent"]["id"]) == ("recovery of", submission)


@pytest.mark.parametrize(("face", "key"), [("jobs", "jobs"), ("files", "files"), ("command", "command"),
                                           ("snapshots", "snapshots"), ("events", "happened")])
def test_each_face_of_a_submission_shows_its_matter(world, owner, campaign, submission, face, key):
    """Jobs, files, the exact command, the settings it ran with, what happened."""
    with world.core.db.write() as session:
        session.add(SubmissionFile(submission_id=submission, direction="in", file_name="f1", state="consumed",
                                   updated=world.core.clock()))
        session.add(SubmissionFile(submission_id=submission, direction="out", file_name="o1", state="located",
                                   parents=["f1"], updated=world.core.clock()))

    page = submission_pages.submission_page(world.core, owner, url, submission, face=face)

    assert page["face"] == face and page[key]
    if face == "files":
        assert page["files"][0]["outputs"] == [{"name": "o1", "located": True}]
    if face == "command":
        assert page["command"].startswith("fife_launch -c samdev.cfg")
        assert not any("key-" in row["value"] for row in page["environment"])


def test_every_piece_of_the_files_has_its_outputs(world, owner, submission):
    """A file on the last page shows what was made of it, however many outputs stand before it in the alphabet."""
    many = 3 * submission_pages.FILES_PAGE
    with world.core.db.write() as session:
        for number in range(many):
            session.add(SubmissionFile(submission_id=submission, direction="in", file_name=f"in-{number:05}",
                                       state="consumed", updated=world.core.clock()))
            session.add(SubmissionFile(submission_id=submission, direction="out", file_name=f"out-{number:05}",
                                       state="located", parents=[f"in-{number:05}", "other"],
                                       updated=world.core.clock()))

    page = submission_pages.submission_page(world.core, owner, url, submission, face="files",
                                            offset=many - submission_pages.FILES_PAGE)

    assert [row["outputs"] for row in page["files"]] == [
        [{"name": f"out-{number:05}", "located": True}] for number in range(many - submission_pages.FILES_PAGE, many)]


@pytest.mark.parametrize("state", ["unknown", "delivered", "transferred", "consumed", "completed", "skipped", "failed",
                                   "cancelled"])
def test_every_file_can_be_found_by_one_filter(world, owner, submission, state):
    """Whatever the catalogue calls what became of it."""
    with world.core.db.write() as session:
        session.add(SubmissionFile(submission_id=submission, direction="in", file_name="f1", state=state,
                                   updated=world.core.clock()))
    page = submission_pages.submission_page(world.core, owner, url, submission, face="files")

    found = [choice["label"] for choice in page["file_states"][1:] if submission_pages.submission_page(
        world.core, owner, url, face="files", submission_id=submission,
        state=arguments_of(choice["url"])["state"])["files"]]

    assert len(found) == 1


def test_jobs_are_sorted_and_filtered(world, owner, submission):
    """By any column that the table offers, without losing one."""
    job = row_of(world, Job, submission_id=submission)
    add_copies(world, job, 3, batch_id=lambda number: f"77.{number}@x", memory_used_mb=lambda number: 100 * number,
               state=lambda number: int(JobState.HELD))

    by_memory = submission_pages.submission_page(world.core, owner, url, submission, sort="-memory", state="Held")

    assert [row["memory_used_mb"] for row in by_memory["jobs"]] == [200, 100, 0]


@pytest.mark.parametrize(("of", "label"), [("77@x", ".9"), ("77.0@x", ".9"), ("7@x", "77.9"), (None, "77.9")])
def test_a_job_of_the_submissions_own_cluster_has_a_short_name(of, label):
    """All others are told apart by their clusters: the jobs of a graph are all number 0."""
    assert job_label("77.9@x", of) == label


def test_jobs_are_in_the_order_of_their_numbers(world, owner, submission):
    """Job 9 comes before job 10, on the page and from neighbour to neighbour; those of another cluster say of which."""
    job = row_of(world, Job, submission_id=submission)
    add_copies(world, job, 2, batch_id=lambda number: ["77.10@x", "77.9@x"][number],
               state=lambda number: int(JobState.HELD))

    page = submission_pages.submission_page(world.core, owner, url, submission, state="Held")
    ninth = submission_pages.job_page(world.core, owner, url, submission, "77.9@x")

    assert [row["label"] for row in page["jobs"]] == ["77.9", "77.10"]
    assert arguments_of(ninth["siblings"]["next_url"])["batch_id"] == "77.10@x"
    assert ninth["siblings"]["previous_url"] == ""


def test_actions_are_offered_as_long_as_they_make_sense(world, owner, campaign, submission):
    """Jobs are acted on while there may be some; calling it Located ends with being Located."""
    live = submission_pages.submission_page(world.core, owner, url, submission)["may"]
    assert (live["act"], live["recover"], live["complete"]) == (True, False, True)

    world.change(Submission, submission, status_id=int(Status.LOCATED))
    over = submission_pages.submission_page(world.core, owner, url, submission)["may"]
    assert (over["act"], over["complete"], over["locate"]) == (False, False, False)


def test_a_job_leads_to_its_neighbours_in_the_same_state(world, owner, submission):
    """So that all failed ones can be read one after the other."""
    jobs = submission_pages.submission_page(world.core, owner, url, submission)["jobs"]

    page = submission_pages.job_page(world.core, owner, url, submission, jobs[0]["batch_id"])

    assert page["siblings"]["previous_url"] == ""
    if len(jobs) > 1:
        assert arguments_of(page["siblings"]["next_url"])["batch_id"] == jobs[1]["batch_id"]


def test_a_catalogue_that_is_silent_costs_only_its_links(world, owner, campaign, submission):
    """The page of a submission is there all the same."""
    world.change(Submission, submission, project="prj", status_id=int(Status.COMPLETED))
    world.catalogue().fail("links")
    world.catalogue().fail("recovery_kinds")

    page = submission_pages.submission_page(world.core, owner, url, submission)

    assert page["submission"]["links"] == [] and page["recovery_kinds"]


# ------------------------------------------------------------------------------------------- launches


def test_held_launches_are_listed_oldest_first(world, owner, campaign):
    """With stage, campaign, who asked and why they are kept; pages go by number."""
    holds.hold_stages(world.core, owner, [campaign.stage("gen")], hold=True, reason="disk full")
    world.launch(campaign, "gen", dataset_override="raw")
    add_copies(world, row_of(world, Launch), launch_pages.PAGE, key=lambda number: f"copy {number}")

    first = launch_pages.held_page(world.core, owner, url)
    second = launch_pages.held_page(world.core, owner, url, **arguments_of(first["pager"]["older_url"]))

    assert (first["held"][0]["stage"], first["held"][0]["dataset"], first["held"][0]["asked_by"]) == (
        "gen", "raw", "olive")
    assert "disk full" in first["held"][0]["reason"]
    numbers = [row["id"] for page in (first, second) for row in page["held"]]
    assert len(numbers) == len(set(numbers)) == launch_pages.PAGE + 1 and numbers == sorted(numbers)


def test_an_analysis_user_sees_own_held_launches(world, campaign, owner):
    """Not those of others."""
    holds.hold_stages(world.core, owner, [campaign.stage("gen")], hold=True, reason="x")
    world.launch(campaign, "gen")

    assert launch_pages.held_page(world.core, world.person("ann", role=ANALYSIS), url)["held"] == []


def test_a_preview_shows_the_command_and_writes_nothing(world, owner, campaign):
    """The same command that a launch runs."""
    page = launch_pages.preview_page(world.core, owner, url, campaign.stage("gen"), dataset="raw")
    assert world.launches() == [] and world.events() == []

    world.launch(campaign, "gen", dataset_override="raw")

    assert page["problems"] == [] and page["may"]["launch"]
    assert page["command"].split("--")[0] == world.launches()[0].plan["command"].split("--")[0]


def test_a_preview_of_an_unchanged_stage_has_no_difference(world, owner, campaign):
    """And a changed parameter is shown as one argument that went and one that came."""
    world.launch(campaign, "gen", dataset_override="raw")
    same = launch_pages.preview_page(world.core, owner, url, campaign.stage("gen"), dataset="raw")
    other = launch_pages.preview_page(world.core, owner, url, campaign.stage("gen"), dataset="cooked")

    assert same["diff"] == []
    assert [line["text"] for line in other["diff"] if line["kind"] in ("gone", "came")] == [
        "-Oglobal.dataset=raw", "-Oglobal.dataset=cooked"]


def test_a_preview_tells_what_forbids_the_launch(world, owner):
    """A name in the command that nobody knows is a problem here, before anything is launched."""
    made = world.campaign_with(stage("gen", script="run %(nobody_knows)s"), owner=owner)

    page = launch_pages.preview_page(world.core, owner, url, made.stage("gen"))

    assert page["problems"] and page["may"]["launch"] is False and page["command"] == ""


def test_a_stage_without_a_launch_script_cannot_be_launched(world, owner):
    """It is said, with what to do, and nothing is stored."""
    made = world.campaign_with(stage("gen", script=""), owner=owner)

    assert launch_pages.preview_page(world.core, owner, url, made.stage("gen"))["problems"]
    with pytest.raises(Invalid, match="launch_script"):
        world.launch(made, "gen")
    assert world.launches() == [] and world.submissions() == []


def test_a_silent_catalogue_leaves_the_preview(world, owner, campaign):
    """The number of files is not known then, which is not the same as none."""
    world.catalogue().define("raw", "file_name f%")
    world.catalogue().fail("count", times=3)

    page = launch_pages.preview_page(world.core, owner, url, campaign.stage("gen"), dataset="raw")

    assert page["file_count"] is None and page["command"]


def test_agents_are_well_when_all_duties_are_done(world, owner, clock):
    """And not well when nobody did them for long."""
    assert launch_pages.agents_page(world.core, owner)["well"] is False
    world.poll()
    assert launch_pages.agents_page(world.core, owner)["well"] is True

    clock.advance(3600)

    assert launch_pages.agents_page(world.core, owner)["well"] is False


# ----------------------------------------------------------------------------- every page: whose, how much

PAGES = {
    "home": lambda core, actor, ids: home_pages.home(core, actor, url),
    "campaigns": lambda core, actor, ids: campaign_pages.campaign_list(core, actor, url),
    "campaigns by held": lambda core, actor, ids: campaign_pages.campaign_list(core, actor, url, sort="-held",
                                                                               text="mc"),
    "campaign": lambda core, actor, ids: campaign_pages.campaign_page(core, actor, url, ids["campaign"]),
    "versions": lambda core, actor, ids: campaign_pages.version_list(core, actor, url, ids["campaign"]),
    "text": lambda core, actor, ids: texts.text_page(core, actor, url, ids["campaign"]),
    "stage": lambda core, actor, ids: stage_pages.stage_page(core, actor, url, ids["stage"]),
    "stage submissions": lambda core, actor, ids: submission_pages.submission_list(core, actor, url,
                                                                                  stage_id=ids["stage"]),
    "campaign submissions": lambda core, actor, ids: submission_pages.submission_list(core, actor, url,
                                                                                     campaign_id=ids["campaign"]),
    **{f"submission {face}": lambda core, actor, ids, face=face: submission_pages.submission_page(
        core, actor, url, ids["submission"], face=face) for face in submission_pages.FACES},
    "job": lambda core, actor, ids: submission_pages.job_page(core, actor, url, ids["submission"], ids["job"]),
    "held launches": lambda core, actor, ids: launch_pages.held_page(core, actor, url),
    "preview": lambda core, actor, ids: launch_pages.preview_page(core, actor, url, ids["stage"]),
    "agents": lambda core, actor, ids: launch_pages.agents_page(core, actor),
}
OF_AN_ITEM = [name for name in PAGES if name not in ("home", "campaigns", "campaigns by held", "held launches",
                                                     "agents")]


@pytest.fixture
def ids(world, campaign, submission):
    """One of each, by kind."""
    return {"campaign": campaign.campaign_id, "stage": campaign.stage("gen"), "submission": submission,
            "job": row_of(world, Job, submission_id=submission).batch_id}


@pytest.mark.parametrize("page", OF_AN_ITEM)
def test_items_of_another_experiment_are_not_found(world, ids, page):
    """On every page."""
    nora = world.person("nora", experiment="nova")

    with pytest.raises(NotFound):
        PAGES[page](world.core, nora, ids)


@pytest.mark.parametrize("page", OF_AN_ITEM)
def test_items_that_do_not_exist_are_not_found(world, owner, page):
    """On every page."""
    with pytest.raises(NotFound):
        PAGES[page](world.core, owner, {"campaign": 999, "stage": 999, "submission": 999, "job": "9.9@x"})


def crowd(world, owner, campaign, submission, count):
    """So many more of everything that any page lists."""
    clock = world.core.clock
    for number in range(count):
        made = world.campaign_with(stage("gen"), stage("reco", after="gen"), name=f"mc {count} {number}", owner=owner)
        world.change(CampaignStage, made.stage("gen"), last_submission_id=submission, jobs_running=number)
    add_copies(world, row_of(world, Submission), count, status_id=lambda number: int(list(Status)[number % 12]))
    add_copies(world, row_of(world, Submission), count, depends_on=lambda number: submission)
    add_copies(world, row_of(world, Job), count, batch_id=lambda number: f"{count}.{number}@pool")
    add_copies(world, row_of(world, SubmissionHistory), count)
    add_copies(world, row_of(world, Event, submission_id=submission), count)
    add_copies(world, row_of(world, CampaignVersion, campaign_id=campaign.campaign_id), count,
               number=lambda number: 1000 * count + number)
    add_copies(world, row_of(world, Launch), count, key=lambda number: f"{count} {number}",
               state=lambda number: "held", submission_id=lambda number: None)
    with world.core.db.write() as session:
        for number in range(count):
            session.add(SubmissionFile(submission_id=submission, direction="in", file_name=f"{count}-{number}",
                                       state="consumed", updated=clock()))


@pytest.fixture
def crowded(world, owner, campaign, submission, ids):
    """Statements of every page with five of everything, and then with two hundred."""
    def count_all():
        found = {}
        for name, show in PAGES.items():
            show(world.core, owner, ids)
            with recorded(world.core.db.engine) as statements:
                show(world.core, owner, ids)
            found[name] = statements
        return found

    crowd(world, owner, campaign, submission, 5)
    few = count_all()
    crowd(world, owner, campaign, submission, 200)
    return few, count_all()


def test_pages_need_few_statements_however_much_there_is(crowded):
    """At most twelve, and for two hundred of everything as many as for five."""
    few, many = crowded

    assert {name: len(found) for name, found in many.items() if len(found) > MOST_STATEMENTS} == {}
    assert {name: len(found) for name, found in many.items()} == {name: len(found) for name, found in few.items()}


def test_pages_are_read_only(world, owner, ids):
    """No page writes, whatever it shows."""
    for show in PAGES.values():
        with recorded(world.core.db.engine) as statements:
            show(world.core, owner, ids)
        assert statements and all(statement.lstrip().startswith(("SELECT", "WITH")) for statement in statements)


@pytest.mark.parametrize(("status", "offered"), [(Status.RUNNING, False), (Status.FAILED, True), (Status.LOCATED, True),
                                                 (Status.LAUNCH_FAILED, True), (Status.AWAITING_APPROVAL, False)])
def test_what_has_ended_can_be_launched_again(world, owner, submission, status, offered):
    """By whoever may launch the stage; not by a guest of another role."""
    world.change(Submission, submission, status_id=int(status))

    page = submission_pages.submission_page(world.core, owner, url, submission)

    assert page["may"]["relaunch"] is offered
