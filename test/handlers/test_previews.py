"""Pages of previews: what they show, that programs can read it, and that their buttons do what was shown."""

from __future__ import annotations

import pytest

from poms.webservice.model import CampaignStage, JobType
from poms.webservice.rules.permissions import ANALYSIS, SHIFTER
from poms.webservice.services import blocks, campaigns, schedules
from poms.webservice.testing import campaign_texts
from poms.webservice.testing.world import stage


@pytest.fixture
def half_done(site, owner):
    """A submission of ten files of which six were processed; and its campaign."""
    site.world.catalogue().dataset("raw", 10)
    made = site.world.campaign_with(
        stage("gen", dataset="raw", pct=50, recoveries=(("consumed_status", []),)),
        stage("reco", after={"gen": "%_out.root"}), owner=owner)
    number = site.world.submission(made, "gen")
    site.world.finish(number, files=6)
    return made, number


def send(browser, page, word):
    """Press the button of a page that goes to ``word``."""
    form = next(form for form in page.find_all("form") if f"/{word}/" in form["action"])
    fields: dict[str, list[str]] = {}
    for field in form.find_all("input"):
        fields.setdefault(field["name"], []).append(field["value"])
    return browser.post(word, fields)


def test_the_recovery_that_a_page_shows_is_the_one_its_button_launches(site, owner, half_done):
    """The kinds with their counts first; then one of them, and its button, which twice pressed launches once."""
    _, number = half_done
    browser = site.browser(owner)
    kinds = browser.get("preview_recovery", number)
    page = browser.get("preview_recovery", number, recovery_type="consumed_status")
    before = len(site.world.launches())

    send(browser, page.html, "recover")
    send(browser, page.html, "recover")

    assert "4 files" in kinds.text
    (row,) = site.world.launches(kind="recovery")
    assert len(site.world.launches()) == before + 1
    assert row.plan["command"] in page.html.text
    assert row.request["define"] in page.html.text


def test_a_recovery_without_files_offers_no_button(site, owner, half_done):
    """What would be refused is not offered, and the reason is there."""
    _, number = half_done
    page = site.browser(owner).get("preview_recovery", number, recovery_type="added_files")

    assert "No recovery needed" in page.text
    assert not [form for form in page.html.find_all("form") if "/recover/" in form["action"]]


def test_what_follows_a_submission_is_seen_by_everybody_who_sees_it(site, half_done):
    """A shifter sees recoveries and next stages; nothing is launched by looking."""
    _, number = half_done
    shifter = site.world.person("shift", SHIFTER)
    before = len(site.world.launches())

    found = site.program(shifter).get("preview_following", number, fmt="json").json

    assert [[launch["stage"]["name"] for launch in group["launches"]] for group in found["groups"]] == [
        ["gen"], ["reco"]]
    assert found["groups"][0]["launches"][0]["files"]["count"] == 4
    assert found["action"] is None
    assert len(site.world.launches()) == before


def test_the_next_runs_of_a_schedule_are_a_page(site, owner):
    """With the slice of each; a schedule that is only typed is not saved by looking."""
    site.world.catalogue().dataset("raw", 5)
    made = site.world.campaign_with(stage("gen", dataset="raw", split="nfiles(2)"), owner=owner)
    number = made.stage("gen")
    schedules.set_schedule(site.core, owner, number, cron="0 * * * *")
    program = site.program(owner)

    found = program.get("preview_schedule", number, fmt="json").json
    typed = program.get("preview_schedule", number, cron="*/5 * * * *", runs="2", fmt="json").json

    assert [launch["files"]["count"] if launch["files"] else None for launch in found["groups"][0]["launches"]] == [
        2, 2, 1, None]
    assert len(typed["groups"][0]["launches"]) == 2
    assert schedules.describe(site.core, owner, number).cron == "0 * * * *"
    assert program.get("preview_schedule", number, cron="never").status_int == 400


def test_a_campaign_is_launched_from_its_preview(site, owner, campaign):
    """The stage shown is the one launched."""
    browser = site.browser(owner)
    page = browser.get("preview_campaign", campaign.campaign_id)

    send(browser, page.html, "launch_campaign")

    (row,) = site.world.launches()
    assert row.campaign_stage_id == campaign.stage("gen")
    assert row.plan["command"] in page.html.text


def test_a_campaign_with_two_beginnings_asks_which_stages(site, owner):
    """The page offers its stages, those at the beginning chosen already."""
    made = site.world.campaign_with(stage("gen"), stage("other"), stage("reco", after="gen"), owner=owner)

    page = site.browser(owner).get("preview_campaign", made.campaign_id)

    boxes = page.html.find_all("input", {"name": "campaign_stage_id", "type": "checkbox"})
    assert [(int(box["value"]), box.has_attr("checked")) for box in boxes] == [
        (made.stage("gen"), True), (made.stage("other"), True), (made.stage("reco"), False)]
    assert "Choose one" in page.text


def test_several_stages_are_launched_from_their_preview_once(site, owner):
    """The form carries a key: pressed twice each stage is launched once; what cannot go is said and left."""
    made = site.world.campaign_with(stage("gen"), stage("broken", script="run %(nope)s"), stage("other"), owner=owner)
    browser = site.browser(owner)
    page = browser.get("preview_stages", campaign_stage_id=",".join(map(str, made.stages.values())))

    for _ in range(2):
        send(browser, page.html, "launch_stages")

    assert "nope" in page.text
    assert sorted(row.campaign_stage_id for row in site.world.launches()) == [made.stage("gen"), made.stage("other")]


def test_programs_learn_what_became_of_each_stage(site, owner):
    """One that cannot be launched keeps no other from it."""
    made = site.world.campaign_with(stage("gen"), stage("broken", script="run %(nope)s"), owner=owner)

    answer = site.program(owner).post("launch_stages", {"campaign_stage_id": ",".join(map(str, made.stages.values())),
                                                        "fmt": "json"})

    assert [(one["stage"], one["state"]) for one in answer.json["launches"]] == [
        ("gen", "queued"), ("broken", "refused")]


@pytest.mark.parametrize("word", ["preview_stages", "launch_stages"])
def test_more_stages_than_are_looked_at_are_refused(site, owner, word):
    """A page of fifty launches is enough for anybody."""
    made = site.world.campaign_with(*(stage(f"s{number}") for number in range(51)), owner=owner)
    chosen = {"campaign_stage_id": ",".join(map(str, made.stages.values()))}
    program = site.program(owner)

    answer = program.get(word, **chosen) if word == "preview_stages" else program.post(word, chosen)

    assert answer.status_int == 400
    assert site.world.launches() == []


def test_analysis_users_preview_no_launch_of_others(site, campaign):
    """What somebody may not launch is not shown as if they might."""
    student = site.world.person("student", ANALYSIS)
    program = site.program(student)

    for word, path in (("preview_campaign", campaign.campaign_id), ("preview", campaign.stage("gen"))):
        assert program.get(word, path).status_int == 403
    assert program.get("preview_stages", campaign_stage_id=campaign.stage("gen")).status_int == 403
    assert program.post("launch_stages", {"campaign_stage_id": campaign.stage("gen")}).status_int == 403


def test_hostile_names_stay_text(site, owner):
    """Markup in names, scripts and datasets is shown, never run."""
    bad = "<img src=x onerror=alert(1)>"
    site.world.catalogue().dataset("raw", 2, prefix=bad)
    made = site.world.campaign_with(stage("gen", dataset="raw", split="limitn(1)", script=f"run '{bad}'"), owner=owner)
    site.world.change(CampaignStage, made.stage("gen"), name=bad)

    page = site.browser(owner).get("preview_stages", campaign_stage_id=made.stage("gen"))

    assert page.status_int == 200
    assert bad not in page.text
    assert page.html.find("img", {"src": "x"}) is None


# ---------------------------------------------------------------------------------------- changes

TEXT = campaign_texts.plain({"gen": "", "reco": "software_version = v2\n"}, script="fife_launch -v %(version)s")


@pytest.fixture
def typed(site, owner):
    """A campaign of a text."""
    return campaigns.save_text(site.core, owner, TEXT.encode(), source="test")


def changed(answer):
    return [effect["stage"] for effect in answer.json["effects"]]


def test_a_typed_text_is_previewed_on_a_page_and_not_saved(site, owner, typed):
    """The difference of the commands is there; the text in force is what it was."""
    new = TEXT.replace("software_version = v1", "software_version = v7")
    sent = {"campaign_id": typed.campaign_id, "base_version": "1", "campaign_text": new}

    page = site.browser(owner).post("preview_text", sent)
    found = site.program(owner).post("preview_text", {**sent, "fmt": "json"})

    assert "fife_launch -v v7" in page.html.text and "fife_launch -v v1" in page.html.text
    assert changed(found) == ["gen"]
    assert campaigns.version_text(site.core, owner, typed.campaign_id) == TEXT


def test_a_wrong_text_is_told_what_is_wrong(site, owner, typed):
    """By the same problems as saving it."""
    answer = site.program(owner).post("preview_text", {"campaign_id": typed.campaign_id, "fmt": "json",
                                                       "campaign_text": TEXT.replace("95", "lots")})

    assert answer.status_int == 400
    assert "completion_pct" in answer.json["problems"][0]["field"]


def test_a_changed_job_type_is_previewed_from_its_form(site, owner, typed):
    """Nothing is saved, not even a new one."""
    program = site.program(owner)
    number = blocks.find_id(site.core, "job_type", "samdev", "work")
    form = {"script": "other_launch", "patterns": "%", "parameters": "[]", "recoveries": "[]", "act": "preview",
            "fmt": "json"}

    of_work = program.post("job_type_save", {**form, "job_type_id": number})
    of_new = program.post("job_type_save", {**form, "name": "anew"})

    assert changed(of_work) == ["gen", "reco"]
    assert changed(of_new) == []
    assert blocks.find_id(site.core, "job_type", "samdev", "anew") is None
    with site.core.db.read() as session:
        assert session.get_one(JobType, number).launch_script == "fife_launch -v %(version)s"


def test_stages_are_switched_from_the_page_that_shows_what_it_does(site, owner, typed):
    """First the differences, then the button that does it."""
    blocks.save_login_setup(site.core, owner, "there", blocks.LoginSetupChange(host="gpvm02", account="x", setup=""),
                            add=True)
    browser = site.browser(owner)
    numbers = [str(number) for number, _ in typed.stages]

    page = browser.post("stages_switch", {"campaign_stage_id": numbers, "kind": "login_setup", "name": "there",
                                          "dry_run": "1"})
    assert campaigns.version_text(site.core, owner, typed.campaign_id) == TEXT
    send(browser, page.html, "stages_switch")

    assert "on gpvm02 as x" in page.html.text
    assert campaigns.version_text(site.core, owner, typed.campaign_id).count("login_setup = there") == 2
