"""Older addresses that pages, agents and bookmarks used: what they give now, and that looking changes nothing."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from poms.webservice.model import CampaignTag, Launch, Tag
from poms.webservice.rules.statuses import Status
from poms.webservice.services import holds
from poms.webservice.testing.world import stage


@pytest.fixture
def program(site, owner):
    return site.program(owner)


@pytest.fixture
def generic(program):
    """The job type and login setup that are used where none is named."""
    program.post("job_type_edit", {"action": "add", "ae_definition_name": "generic", "ae_launch_script": "run"})
    program.post("login_setup_edit", {"action": "add", "ae_launch_name": "generic", "ae_launch_host": "localhost"})


# ------------------------------------------------------------------------------------- campaigns


def test_a_campaign_is_made_by_its_name_alone(program, generic):
    """With one stage, and not twice."""
    made = program.post("campaign_add_name", {"campaign_name": "new"})
    again = program.post("campaign_add_name", {"campaign_name": "new"})

    assert (made.content_type, made.text, again.status_int) == ("text/html", '{"message": "ok"}', 409)
    stages = program.get("show_campaign_stages", campaign_name="new", fmt="json").json["campaign_stages"]
    assert [(row["name"], row["software_version"], row["dataset"]) for row in stages] == [
        ("stage0", "v1_0", "from_parent")]


def test_a_campaign_is_registered_once(program, generic):
    """The answer is the number of its stage, however often it is asked."""
    fields = {"campaign_name": "reg", "version": "v3", "dataset": "mine", "user": "x", "campaign_definition": "generic"}
    answers = [program.post("register_poms_campaign", fields).text for _ in range(2)]

    stage_id = program.get("get_campaign_stage_id", campaign_name="reg", campaign_stage_name="reg").json
    assert answers == [f"Campaign={stage_id}"] * 2


@pytest.mark.parametrize("name", ["a/b", "x\n[y]", "[campaign_stage x]", "a" * 300])
def test_a_name_that_would_be_more_than_a_name_is_refused(program, generic, name):
    """It becomes part of a text."""
    for word in ("campaign_add_name", "register_poms_campaign"):
        assert program.post(word, {"campaign_name": name}).status_int == 400
    assert program.get("show_campaigns", fmt="json").json["tl"] == []


def test_without_a_generic_job_type_it_is_said_what_is_missing(program):
    """Nothing is guessed."""
    answer = program.post("campaign_add_name", {"campaign_name": "new"})

    assert answer.status_int == 400
    assert "generic" in answer.text


def test_bookmarks_of_campaigns_lead_to_their_pages(program, campaign):
    """By name and by number."""
    number = campaign.campaign_id
    for word, fields, page in (
            ("campaign_deps", {"campaign_name": "mc"}, f"campaign/samdev/production/{number}"),
            ("campaign_overview", {"campaign_id": number}, f"campaign/samdev/production/{number}"),
            ("gui_wf_edit", {"campaign": "mc"}, f"campaign_edit/samdev/production/{number}"),
            ("campaign_task_files", {"campaign_id": number}, f"campaign_submissions/samdev/production/{number}"),
            ("campaign_task_files", {"campaign_stage_id": campaign.stage("gen")},
             f"stage_submissions/samdev/production/{campaign.stage('gen')}")):
        answer = program.get(word, **fields)
        assert (answer.status_int, answer.headers["Location"]) == (303, f"/poms/{page}")
    assert program.get("campaign_deps", campaign_name="nothing").status_int == 404


def test_a_campaign_is_cloned(program, generic):
    """By POST; its new name must be free."""
    program.post("campaign_add_name", {"campaign_name": "old"})

    answers = [program.post("gui_wf_clone", {"campaign": "old", "from": "old", "to": "copy"}).status_int
               for _ in range(2)]

    assert answers == [303, 409]
    assert program.get("gui_wf_clone", campaign="old", to="third").status_int == 405


def test_campaigns_are_shown_by_whose_they_are(site, program, campaign):
    """Only where the view was changed."""
    anna = site.world.person("anna", "analysis")
    site.world.campaign_with(stage("one"), name="hers", owner=anna)

    def names(**flags):
        return [row["name"] for row in program.get("show_campaigns", fmt="json", **flags).json["tl"]]

    assert names() == names(view_mine="1") == ["hers", "mc"]
    assert names(update_view="1", view_active="1", view_mine="1") == ["mc"]
    assert names(update_view="1", view_active="1", view_others="1", view_analysis="1") == ["hers"]
    assert names(update_view="1", view_active="1", view_production="1") == ["mc"]


def test_a_quiet_list_says_since_when(program, campaign, clock):
    """More than a week."""
    assert program.get("show_campaigns", fmt="json").json["last_activity"] == ""
    clock.advance(days=8)

    assert program.get("show_campaigns", fmt="json").json["last_activity"] == "2026-03-01 12:00:00"


def test_a_campaign_is_watched_and_watched_no_more(program, campaign):
    """The list of campaigns says which are."""
    for word, selected, watching in (("watch_campaign", "true", [campaign.campaign_id]),
                                     ("stop_watching", "false", []), ("stop_watching", "", [])):
        answer = program.post(word, {"campaign_id": campaign.campaign_id, "selected": selected})
        assert answer.json == {"message": "Success"}
        assert program.get("show_campaigns", fmt="json").json["data"]["watching"] == watching
    assert program.get("watch_campaign", campaign_id=campaign.campaign_id, selected="true").status_int == 405
    assert program.get("show_watching").headers["Location"] == "/poms/watches/samdev/production"


# ---------------------------------------------------------------------------------------- stages


def test_forms_learn_what_blocks_hold(program, generic):
    """JSON, but sent as text."""
    numbers = {"ae_launch_id": program.get("get_loginsetup_id", name="generic").json,
               "ae_campaign_definition_id": program.get("get_jobtype_id", name="generic").json}
    answer = program.get("campaign_stage_edit_query", **numbers)

    assert answer.content_type == "text/plain"
    assert '"launch_host": "localhost"' in answer.text and '"launch_script": "run"' in answer.text


def test_a_split_begins_again(program, campaign):
    """It cannot be moved to a number."""
    number = campaign.stage("gen")

    assert program.post("reset_campaign_split", {"campaign_stage_id": number}).status_int == 303
    assert program.post("update_campaign_split", {"campaign_stage_id": number,
                                                  "last_split_custom_val": "0"}).status_int == 303
    assert program.post("update_campaign_split", {"campaign_stage_id": number,
                                                  "last_split_custom_val": "5"}).status_int == 400
    assert program.get("reset_campaign_split", campaign_stage_id=number).status_int == 405


# ------------------------------------------------------------------------------------------ tags


@pytest.fixture
def tagged(program, campaign):
    """The number of a tag that one campaign carries."""
    return program.post("link_tags", {"campaign_id": campaign.campaign_id, "tag_name": "MCC9"}).json["tag_id"]


def test_tags_are_found(program, campaign, tagged):
    """All of them, those of campaigns, those that contain a text, and what carries them."""
    every = {"result": [[tagged, "MCC9"]], "msg": "OK"}
    assert program.get("search_all_tags", cl="").json == every
    assert program.get("search_all_tags", cl=f"{campaign.campaign_id},999").json == every
    assert program.get("search_all_tags", cl="999").json["result"] == []
    assert program.get("auto_complete_tags_search", q="CC").json == {"results": [{"name": "MCC9"}]}
    assert program.get("auto_complete_tags_search", q="%").json == {"results": []}
    found = program.get("search_tags", q="MCC%").json["results"]
    assert [(tag["tag_name"], [row["name"] for row in rows]) for tag, rows in found] == [("MCC9", ["mc"])]


def test_a_tag_is_taken_off(site, program, campaign, tagged):
    """And goes itself when nothing carries it any more, if that is asked."""
    fields = {"campaign_id": campaign.campaign_id, "tag_id": tagged}
    assert program.post("delete_campaigns_tags", fields).json == {"msg": "OK", "changed": 1}
    with site.core.db.read() as session:
        assert session.scalars(select(CampaignTag)).all() == []
        assert len(session.scalars(select(Tag)).all()) == 1
    assert program.post("delete_campaigns_tags", {**fields, "delete_unused_tag": "1"}).json["changed"] == 0
    with site.core.db.read() as session:
        assert session.scalars(select(Tag)).all() == []


def test_a_tag_of_another_experiment_is_not_there(site, program, campaign):
    """Nor are its campaigns."""
    other = site.world.person("otto", experiment="nova")
    made = site.world.campaign_with(stage("gen"), name="theirs", experiment="nova", owner=other)
    tag = site.program(other).post("link_tags", {"campaign_id": made.campaign_id, "tag_name": "secret"}).json["tag_id"]

    assert program.post("delete_campaigns_tags", {"campaign_id": campaign.campaign_id, "tag_id": tag}).status_int == 404
    assert program.get("search_all_tags").json["result"] == []
    assert program.get("search_tags", q="%").json["results"] == []
    assert program.get("search_campaigns", search_term="*").json["results"] == [
        [{"campaign_id": campaign.campaign_id, "name": "mc"},
         {"campaign_stage_id": campaign.stage(name), "name": name}] for name in ("gen", "reco")]


def test_people_who_search_see_the_list(site, owner, campaign):
    """With what they typed."""
    browser = site.browser(owner)

    assert browser.get("search_tags", q="MCC%").headers["Location"].endswith("/campaigns/samdev/production?text=MCC")
    assert browser.get("search_campaigns", search_term="m*").headers["Location"].endswith("?text=m")


def test_a_shifter_takes_no_tag_off(site, campaign, tagged):
    """Who may not change a campaign."""
    shifter = site.program(site.world.person("shirley", "production-shifter"))

    assert shifter.post("delete_campaigns_tags", {"campaign_id": campaign.campaign_id,
                                                  "tag_id": tagged}).status_int == 403


# -------------------------------------------------------------------------------------- launches


def test_commands_are_shown_and_nothing_is_launched(site, program, campaign):
    """Where an older server allocated a submission."""
    answer = program.get("launch_jobs_commands", campaign_stage_id=campaign.stage("gen"),
                         param_overrides='[["-Oglobal.n=", "5"]]')

    assert "-Oglobal.n=5" in answer.text
    assert site.world.launches() == []


def test_a_launch_is_called_off(site, program, campaign):
    """By POST; not when there are jobs already."""
    number = site.world.launch(campaign, "gen").submission_id

    assert program.get("abort_launch", submission_id=number).status_int == 405
    assert program.post("abort_launch", {"submission_id": number}).status_int == 200
    assert site.world.status(number) is Status.REMOVED
    assert program.post("abort_launch", {"submission_id": number}).status_int == 409


def test_own_held_launches_are_dropped_by_their_times(site, program, owner, campaign):
    """Those of others stay."""
    holds.hold_stages(site.core, owner, [campaign.stage("gen")], hold=True, reason="full")
    mine = site.world.launch(campaign, "gen").launch_id
    other = site.program(site.world.person("otto"))
    other.post("launch_jobs", {"campaign_stage_id": campaign.stage("gen")})
    when = "2026-03-01 12:00:00"

    assert program.post("held_launches_remove", {"createds": when}).status_int == 400
    assert program.post("held_launches_remove", {"createds": "2026-03-01 11:59:59", "delete": "1"}).status_int == 303
    assert program.post("held_launches_remove", {"createds": when, "delete": "Delete"}).status_int == 303

    with site.core.db.read() as session:
        states = {row.launch_id: row.state for row in session.scalars(select(Launch))}
    assert states.pop(mine) == "cancelled"
    assert set(states.values()) == {"held"}


@pytest.mark.parametrize("when", ["now", "2026-99-99", "", "0"])
def test_a_time_that_is_none_drops_nothing(program, when):
    """It is said which."""
    assert program.post("held_launches_remove", {"createds": when, "delete": "1"}).status_int == 400


def test_a_recovery_is_launched_by_number_or_name(site, program, campaign):
    """The numbers are those of submission_details."""
    number = site.world.submission(campaign, "gen")
    kinds = program.get("submission_details", submission_id=number, fmt="json").json["recoverymap"]

    assert kinds["process_status"][0] == 2
    for named in (2, "process_status"):
        answer = program.post("launch_recovery_for", {"submission_id": number, "recovery_type": named})
        assert (answer.status_int, "project" in answer.text) == (400, True)
    assert program.post("launch_recovery_for", {"submission_id": number, "recovery_type": 99}).status_int == 400


def test_the_agent_learns_how_far_deliveries_are(site, program, campaign):
    """None where there is no such project; only for the agent."""
    agent = site.program(site.world.person("poms", "superuser", root=True))

    assert agent.get("calculate_dd_project_completion", place="", dd_submissions="7,8").json == {"7": None, "8": None}
    assert program.get("calculate_dd_project_completion", dd_submission=7).status_int == 403


def test_files_of_a_query_are_listed(site, program):
    """A query that cannot be read is refused with its place."""
    assert program.get("show_dimension_files", dims="file_name %.root").json["flist"] == []
    assert program.get("show_dimension_files", dims="").status_int == 400
    assert program.get("show_dimension_files", dims="defname:").status_int in (400, 404)


def test_who_is_in_an_experiment_is_shown_to_its_people(site, program):
    """As three objects each."""
    members = program.get("experiment_membership").json["data"]["members"]

    assert [(one["experiment"], two["role"], three["username"]) for one, two, three in members] == [
        ("samdev", "production", "olive")]
    assert site.program(site.world.person("otto", experiment="nova")).get(
        "experiment_membership", place="samdev/production").status_int == 403
