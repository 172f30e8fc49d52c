"""Lists: columns that are remembered, the whole list as a file, and bulk actions that ask first."""

from __future__ import annotations

import csv
import io
import json

import pytest

from poms.webservice import app
from poms.webservice.handlers.routing import Router
from poms.webservice.interfaces import JobState
from poms.webservice.model import Campaign, CampaignStage
from poms.webservice.rules.lists import LISTS
from poms.webservice.rules.permissions import ANALYSIS, SHIFTER
from poms.webservice.rules.statuses import Status
from poms.webservice.services.pages import exports
from poms.webservice.testing.world import stage

CANARY = "=1+1\"><svg/onload=1>"


def headings(page) -> list[str]:
    return [head.get_text(strip=True) for head in page.select("main table thead th") if head.get_text(strip=True)]


def rows_of(answer) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


# ---------------------------------------------------------------------------------------- columns


def test_chosen_columns_are_seen_from_then_on(site, owner, campaign):
    """The same for this person everywhere; nobody else sees a difference."""
    browser = site.browser(owner)
    here = browser.address("campaigns")

    answer = browser.post("list_columns", {"list": "campaigns", "column": ["id", "failed"], "back": here})

    assert answer.headers["Location"] == here
    assert headings(browser.get("campaigns").html) == ["Campaign", "Id", "Failed"]
    assert "Changed" in headings(site.browser(site.world.person("otto")).get("campaigns").html)


def test_the_usual_columns_can_be_had_again(site, owner, campaign):
    """By one button."""
    browser = site.browser(owner)
    before = headings(browser.get("campaigns").html)
    browser.post("list_columns", {"list": "campaigns", "column": ["id"]})

    browser.post("list_columns", {"list": "campaigns", "act": "usual"})

    assert headings(browser.get("campaigns").html) == before


def test_all_columns_but_the_first_can_go(site, owner, campaign):
    """A list without any column would say nothing."""
    browser = site.browser(owner)

    browser.post("list_columns", {"list": "campaigns"})

    assert headings(browser.get("campaigns").html) == ["Campaign"]


@pytest.mark.parametrize("back", ["https://elsewhere.example/", "//elsewhere.example", "/\\elsewhere", "/poms/\r\nX: y",
                                  "javascript:alert(1)", "/other"])
def test_a_choice_leads_nowhere_else(site, owner, back):
    """The address to go back to is one of this service, or none."""
    answer = site.browser(owner).post("list_columns", {"list": "campaigns", "column": ["id"], "back": back})

    assert answer.status_int == 400


def test_a_list_that_is_none_has_no_columns(site, owner):
    """Nothing is stored under made-up names."""
    assert site.program(owner).post("list_columns", {"list": "x", "column": ["id"]}).status_int == 400


def test_every_list_has_a_page_and_a_file():
    """Nothing that can be chosen is without effect."""
    exported = [route for route in Router(app.ROUTES).routes if "export" in route.arguments]

    assert set(LISTS) == set(exports._COLUMNS)
    assert {"campaigns", "submissions", "stage_submissions", "campaign_submissions", "submission", "held_launches",
            "tags", "login_setups", "job_types"} <= {route.name for route in exported}


# ------------------------------------------------------------------------------------------ files


@pytest.fixture
def many(site, owner):
    """More campaigns than a page shows."""
    return [site.world.campaign_with(stage("gen"), name=f"c{number:03}", owner=owner) for number in range(60)]


def test_a_file_has_all_that_the_filter_lets_through(site, owner, many):
    """Not only the page; in the order of the list."""
    answer = site.browser(owner).get("campaigns", text="c0", sort="name", export="csv", offset="50")

    assert answer.content_type == "text/csv"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="campaigns_samdev.csv"'
    assert [row["name"] for row in rows_of(answer)] == [made.name for made in many]


def test_a_file_for_programs_says_that_it_is_whole(site, owner, many):
    """So that nobody counts what is missing."""
    answer = site.program(owner).get("campaigns", export="json", sort="-name")

    document = json.loads(answer.text)
    assert answer.content_type == "application/json"
    assert document["complete"] is True
    assert [row["name"] for row in document["rows"]][:2] == ["c059", "c058"]


def test_a_file_that_holds_too_little_says_so(site, owner, many, monkeypatch):
    """In the file itself: whoever reads it does not see the page."""
    monkeypatch.setattr(exports, "MOST", 7)
    program = site.program(owner)

    as_csv, as_json = (program.get("campaigns", export=form).text for form in ("csv", "json"))

    lines = as_csv.splitlines()
    assert len(lines) == 1 + 7 + 1 and "more rows than one file holds" in lines[-1]
    assert json.loads(as_json)["complete"] is False
    assert len(json.loads(as_json)["rows"]) == 7


def test_an_empty_list_is_an_empty_file(site, owner):
    """With its headings, and valid."""
    program = site.program(owner)

    assert rows_of(program.get("campaigns", export="csv")) == []
    assert json.loads(program.get("campaigns", export="json").text) == {"rows": [], "complete": True}


def test_a_name_is_no_formula_in_a_file(site, owner):
    """A spreadsheet shows it as it was typed."""
    site.world.campaign_with(stage("gen"), name=CANARY, owner=owner)

    answer = site.program(owner).get("campaigns", export="csv")

    assert rows_of(answer)[0]["name"] == f"'{CANARY}"


def files(items):
    number = items.ids["submission_id"]
    return [("campaigns", {}), ("submissions", {}), ("held_launches", {}), ("tags", {}), ("login_setups", {}),
            ("job_types", {}), ("campaign_submissions", {"campaign_id": items.ids["campaign_id"]}),
            ("stage_submissions", {"campaign_stage_id": items.ids["campaign_stage_id"]}),
            ("submission", {"submission_id": number, "face": "jobs"}),
            ("submission", {"submission_id": number, "face": "files"})]


@pytest.mark.parametrize("form", ["csv", "json"])
def test_every_list_can_be_had_as_a_file(site, owner, items, form):
    """In both forms, with as many rows as there are."""
    program = site.program(owner)
    site.world.core.clock()
    for word, which in files(items):
        answer = program.get(word, export=form, **which)
        assert answer.status_int == 200, (word, answer.text)
        rows = rows_of(answer) if form == "csv" else json.loads(answer.text)["rows"]
        assert bool(rows) == (word not in ("tags",) and which.get("face") != "files"), word


def test_jobs_in_a_file_are_those_of_the_state_that_is_shown(site, owner, items):
    """The filter of the list holds."""
    number = items.ids["submission_id"]
    program = site.program(owner)
    jobs = program.get("submission", submission_id=number, fmt="json").json["job_counts"]
    state, count = next(iter(jobs.items()))

    rows = rows_of(program.get("submission", submission_id=number, export="csv", state=state))

    assert len(rows) == count
    assert {row["state"] for row in rows} == {state}


def test_a_face_that_is_no_list_is_no_file(site, owner, items):
    """It says which are."""
    answer = site.program(owner).get("submission", submission_id=items.ids["submission_id"], face="command",
                                     export="csv")

    assert answer.status_int == 400


def test_files_are_of_ones_own_experiment(site, owner, items):
    """As pages are."""
    other = site.world.person("olga", experiment="other")

    assert rows_of(site.program(other).get("submissions", export="csv")) == []
    assert site.program(other).get("campaign_submissions", items.ids["campaign_id"],
                                   export="csv").status_int == 404


def test_a_list_is_read_in_pieces(site, owner, many, monkeypatch):
    """Nothing is left out or doubled where two pieces meet."""
    monkeypatch.setattr(exports, "PIECE", 7)

    names = [row["name"] for row in rows_of(site.program(owner).get("campaigns", export="csv", sort="name"))]

    assert names == [made.name for made in many]


# ------------------------------------------------------------------------------------ bulk actions


def test_a_bulk_action_tells_first_what_it_would_do(site, owner, items):
    """To how many jobs of which submissions; nothing is done yet."""
    number = items.ids["submission_id"]
    jobs = site.world.get(number).jobs_expected
    browser = site.browser(owner)

    page = browser.post("jobs_act", {"submission_id": [str(number)], "act": "remove", "dry_run": "1"}).html

    assert page.h1.text == f"Remove {jobs:,} jobs of 1 submission"
    assert site.world.events("jobs.removed") == []
    form = page.select_one("main form")
    sent = {field["name"]: field["value"] for field in form.select("input[name]") if field.get("value")}
    assert "dry_run" not in sent
    browser.post("jobs_act", sent)
    assert len(site.world.events("jobs.removed")) == 1


def test_the_question_says_which_submissions_become_removed(site, owner, items):
    """One without jobs that goes on does; one that has ended stays what it is, as the action then does."""
    ended, waits = items.ids["submission_id"], site.world.launch(items.campaign, "reco").submission_id
    site.world.batch.end(ended, JobState.COMPLETED)
    site.world.poll()
    site.program(owner).post("update_submission", {"submission_id": ended, "status": "Located"})
    sent = {"submission_id": [str(ended), str(waits)], "act": "remove"}
    browser = site.browser(owner)

    told = " ".join(browser.post("jobs_act", {**sent, "dry_run": "1"}).html.select_one("main").text.split())
    browser.post("jobs_act", sent)

    assert "left alone: no job to remove" in told and "no job to remove; it becomes Removed" in told
    assert (site.world.status(ended), site.world.status(waits)) == (Status.LOCATED, Status.REMOVED)


def test_what_a_bulk_action_leaves_alone_is_told(site, owner, items):
    """With the reason; if it leaves all alone there is no button."""
    number = items.ids["submission_id"]

    page = site.browser(owner).post("jobs_act", {"submission_id": [str(number)], "act": "release",
                                                 "dry_run": "1"}).html

    assert "left alone: no job to release" in page.main.text
    assert page.select_one("main form button") is None


def test_programs_can_ask_too(site, owner, items):
    """The same numbers as a document."""
    answer = site.program(owner).post("jobs_act", {"submission_id": str(items.ids["submission_id"]), "act": "hold",
                                                   "dry_run": "1", "fmt": "json"})

    assert answer.json["dry_run"] is True
    assert answer.json["touched_total"] == 1


@pytest.mark.parametrize(("act", "title"), [("release", "Release 1 launch"), ("delete", "Delete 1 launch")])
def test_held_launches_are_counted_before(site, owner, items, act, title):
    """And named by their stage."""
    page = site.browser(owner).post("held_launches_act", {"launch_id": [str(items.ids["launch_id"])], "act": act,
                                                          "dry_run": "1"}).html

    assert page.h1.text == title
    assert "reco" in page.main.text
    assert [launch.state for launch in site.world.launches(state="held")] == ["held"]


def test_campaigns_that_are_as_wanted_are_left_alone(site, owner, campaign):
    """One that is active is not made active."""
    other = site.world.campaign_with(stage("gen"), name="resting", owner=owner, active=False)

    page = site.browser(owner).post("campaigns_act", {
        "campaign_id": [str(campaign.campaign_id), str(other.campaign_id)], "act": "activate", "dry_run": "1"}).html

    assert page.h1.text == "Make 1 campaign active"
    assert "is active already" in page.main.text


def test_what_one_may_not_do_is_not_told_either(site, owner, items):
    """The right is asked for before anything is read."""
    analyst = site.world.person("ana", ANALYSIS)

    answer = site.browser(analyst).post("jobs_act", {"submission_id": [str(items.ids["submission_id"])],
                                                     "act": "remove", "dry_run": "1"})

    assert answer.status_int == 403


def test_the_one_of_several_that_one_may_not_change_is_named(site, owner, campaign):
    """So that it can be left out; nothing is done to the others."""
    analyst = site.world.person("ana", ANALYSIS)
    thesis = site.world.campaign_with(stage("select"), name="thesis", owner=analyst)

    answer = site.browser(owner).post("campaigns_act", {
        "campaign_id": [str(campaign.campaign_id), str(thesis.campaign_id)], "act": "deactivate"})

    assert answer.status_int == 403
    assert "Campaign thesis:" in answer.html.main.text


def test_who_may_change_some_is_told_which_are_left_alone_and_why(site, owner, campaign):
    """Before anything is done; the form that does it carries the others only."""
    analyst = site.world.person("ana", ANALYSIS)
    thesis = site.world.campaign_with(stage("select"), name="thesis", owner=analyst)
    browser = site.browser(owner)

    asked = browser.post("campaigns_act", {
        "campaign_id": [str(campaign.campaign_id), str(thesis.campaign_id)], "act": "deactivate", "dry_run": "1"})
    sent = {field["name"]: field["value"] for field in asked.html.main.find("form").find_all("input", {"name": True})}

    assert asked.html.h1.text == "Make 1 campaign inactive"
    assert "Must be acting as analysis, not production" in asked.html.main.text
    assert sent["campaign_id"] == str(campaign.campaign_id)
    assert browser.post("campaigns_act", sent).status_int == 303
    with site.core.db.read() as session:
        assert [session.get(Campaign, number).active for number in (campaign.campaign_id, thesis.campaign_id)] == [
            False, True]


def test_who_may_change_none_of_several_is_told_so(site, owner, campaign):
    """A page with the reason for each, and nothing to press but the way back."""
    analyst = site.world.person("ana", ANALYSIS)
    theses = [site.world.campaign_with(stage("select"), name=name, owner=analyst) for name in ("one", "two")]

    page = site.browser(owner).post("campaigns_act", {
        "campaign_id": [str(each.campaign_id) for each in theses], "act": "deactivate", "dry_run": "1"}).html

    assert "Nothing would happen to what was chosen." in page.main.text
    assert "2 left alone: Must be acting as analysis" in page.main.text
    assert page.main.find("form").find("button") is None


def test_jobs_of_others_are_left_alone_too(site, owner, campaign, items):
    """A shifter chose one of production and one of somebody's analysis."""
    theirs = site.world.launch(campaign, "reco").submission_id
    site.world.change(CampaignStage, campaign.stage("reco"), creator_role=ANALYSIS)
    browser = site.browser(site.world.person("shirley", SHIFTER))

    told = browser.post("jobs_act", {"submission_id": [str(items.ids["submission_id"]), str(theirs)], "act": "remove",
                                     "dry_run": "1", "fmt": "json"}).json

    assert [one["name"] for one in told["touched"]] == [f"{items.ids['submission_id']}, gen"]
    assert [one["effect"] for one in told["left"]] == [
        "left alone: Must be acting as analysis, not production-shifter, to do this."]


def test_what_one_may_not_touch_cannot_be_chosen(site, owner, campaign, items):
    """The boxes of a list tell it before."""
    analyst = site.world.person("ana", ANALYSIS)
    site.world.campaign_with(stage("select"), name="thesis", owner=analyst)
    browser = site.browser(analyst)

    boxes = {box["aria-label"]: box for box in browser.get("campaigns").html.select("td.pick input")}
    theirs = browser.get("submissions").html.find("input", {"name": "submission_id"})

    assert not boxes["Choose thesis"].has_attr("disabled")
    assert boxes[f"Choose {campaign.name}"].has_attr("disabled")
    assert "analysis" in boxes[f"Choose {campaign.name}"]["title"]
    assert theirs.has_attr("disabled") and "Must be acting as production" in theirs["title"]


def test_after_a_bulk_action_one_is_back_where_one_was(site, owner, campaign):
    """With filter and place in the list."""
    browser = site.browser(owner)
    here = browser.address("campaigns") + "?text=m&sort=name"

    answer = browser.post("campaigns_act", {"campaign_id": [str(campaign.campaign_id)], "act": "deactivate",
                                            "back": here})

    assert answer.headers["Location"] == here


# ------------------------------------------------------------------------------------------- tags


def test_a_tag_gathers_campaigns_and_is_taken_off_again(site, owner, campaign):
    """The page of tags counts it; the list shows what carries it; the last one takes it along."""
    browser = site.browser(owner)
    number = str(campaign.campaign_id)
    browser.post("campaigns_act", {"campaign_id": [number], "act": "tag", "tag": CANARY.replace("/", "")})
    tag = site.program(owner).get("tags", fmt="json").json["tags"][0]
    assert (tag["name"], tag["campaigns"], [one["text"] for one in tag["some"]]) == (CANARY.replace("/", ""), 1, ["mc"])
    assert site.program(owner).client.get(tag["url"] + "&fmt=json", headers=site.program(owner).headers()).json[
        "campaigns"][0]["name"] == "mc"

    browser.post("campaigns_act", {"campaign_id": [number], "act": "untag", "tag": tag["name"]})

    assert site.program(owner).get("tags", fmt="json").json["tags"] == []


def test_a_tag_that_is_unknown_cannot_be_taken_off(site, owner, campaign):
    """Somebody may have done it before."""
    answer = site.program(owner).post("campaigns_act", {"campaign_id": str(campaign.campaign_id), "act": "untag",
                                                        "tag": "x"})

    assert answer.status_int == 404


def test_a_tag_is_found_and_sorted(site, owner, campaign):
    """By name, or by how many campaigns carry it."""
    other = site.world.campaign_with(stage("gen"), name="second", owner=owner)
    program = site.program(owner)
    for tag, made in (("a", [campaign]), ("b", [campaign, other])):
        program.post("campaigns_act", {"campaign_id": ",".join(str(one.campaign_id) for one in made), "act": "tag",
                                       "tag": tag})

    assert [one["name"] for one in program.get("tags", fmt="json", sort="-campaigns").json["tags"]] == ["b", "a"]
    assert [one["name"] for one in program.get("tags", fmt="json", text="B").json["tags"]] == ["b"]
