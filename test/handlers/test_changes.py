"""What forms and programs change: launches, jobs, campaigns, holds; and the answers older programs know."""

from __future__ import annotations

import pytest

from poms.webservice.interfaces import JobState
from poms.webservice.model import CampaignStage, Experiment, Launch, Submission
from poms.webservice.rules.statuses import Status
from poms.webservice.testing.statements import recorded
from poms.webservice.testing.world import stage

TEXT = b"""[campaign]
experiment = samdev
poms_role = production
name = typed
campaign_stage_list = gen

[campaign_defaults]
vo_role = Production
software_version = v1
dataset_or_split_data = None
cs_split_type = None
completion_type = complete
completion_pct = 95
param_overrides = []
login_setup = here
job_type = work

[campaign_stage gen]
software_version = v1

[login_setup here]
host = localhost
account = samdevpro
setup = true

[job_type work]
launch_script = fife_launch
parameters = []
output_file_patterns = %%
recoveries = []
"""


def launches(site) -> list[Launch]:
    return site.world.launches()


# -------------------------------------------------------------------------------------- launching


def test_a_form_that_is_sent_twice_launches_once(site, owner, campaign):
    """A double click, or a browser that repeats a request, makes one submission."""
    browser = site.browser(owner)
    form = {"campaign_stage_id": campaign.stage("gen"), "csrf_token": browser.token()}

    answers = [browser.post("launch_stage", form), browser.post("launch_stage", form)]

    assert [answer.status_int for answer in answers] == [303, 303]
    assert answers[0].headers["Location"] == answers[1].headers["Location"] == "/poms/submission/samdev/production/1"
    assert len(launches(site)) == 1


def test_two_forms_launch_twice(site, owner, campaign):
    """Opening the page again is meaning it again."""
    browser = site.browser(owner)
    for _ in range(2):
        browser.post("launch_stage", {"campaign_stage_id": campaign.stage("gen")})

    assert len(launches(site)) == 2


def test_a_preview_launches_nothing_and_then_what_it_showed(site, owner, campaign):
    """The button of the preview carries a key of its own; pressed twice it launches once."""
    browser = site.browser(owner)
    page = browser.get("preview", campaign.stage("gen")).html
    assert launches(site) == []
    form = next(form for form in page.find_all("form") if form["action"].endswith("/launch_stage/samdev/production"))
    fields = {field["name"]: field["value"] for field in form.find_all("input")}

    browser.post("launch_stage", fields)
    browser.post("launch_stage", {**fields, "csrf_token": browser.token()})

    assert len(launches(site)) == 1


def test_launching_from_a_preview_moves_the_split(site, owner):
    """The preview shows the next slice; the launch takes it and remembers that."""
    made = site.world.campaign_with(stage("gen", dataset="a, b, c", split="list"), owner=owner)
    browser = site.browser(owner)
    page = browser.get("preview", made.stage("gen")).html
    form = next(form for form in page.find_all("form") if form["action"].endswith("/launch_stage/samdev/production"))

    browser.post("launch_stage", {field["name"]: field["value"] for field in form.find_all("input")})

    with site.core.db.read() as session:
        assert session.get_one(CampaignStage, made.stage("gen")).cs_last_split is not None
    assert launches(site)[0].plan["dataset"] == "a"


def test_the_same_idempotency_key_launches_once(site, owner, campaign):
    """Programs that repeat a request after a lost answer name it."""
    program = site.program(owner)
    for _ in range(3):
        program.post("launch_stage", {"campaign_stage_id": campaign.stage("gen")}, headers={"Idempotency-Key": "k1"})

    assert len(launches(site)) == 1


def test_programs_learn_the_number_from_the_end_of_the_location(site, owner, campaign):
    """They take what stands after the last underscore."""
    answer = site.program(owner).post("launch_jobs", {"campaign_stage_id": campaign.stage("gen")})

    assert answer.status_int == 303
    assert int(answer.headers["Location"].rpartition("_")[2]) == launches(site)[0].submission_id


def test_that_location_shows_the_launch_log(site, owner, items):
    """The address is the one that people know from older mails."""
    program = site.program(owner)
    number = program.post("launch_jobs", {"campaign_stage_id": items.ids["campaign_stage_id"]})
    site.world.work_on_launches()

    answer = program.client.get(number.headers["Location"], headers=program.headers())

    assert "attempt 1 of submission" in answer.text


def test_a_campaign_is_launched_at_its_beginning(site, owner, campaign):
    """At the stage that no other feeds."""
    answer = site.program(owner).post("launch_campaign", {"campaign_id": campaign.campaign_id, "fmt": "json"})

    assert answer.json["submission_id"] == 1
    assert launches(site)[0].campaign_stage_id == campaign.stage("gen")


def test_a_launch_of_a_held_stage_is_kept(site, owner, campaign):
    """People are told, programs get 423; both are stored and neither has a submission."""
    browser, program = site.browser(owner), site.program(owner)
    browser.post("stage_act", {"campaign_stage_id": campaign.stage("gen"), "act": "hold_launches", "reason": "full"})

    shown = browser.post("launch_stage", {"campaign_stage_id": campaign.stage("gen")})
    answered = program.post("launch_jobs", {"campaign_stage_id": campaign.stage("gen")})

    assert shown.headers["Location"] == "/poms/held_launches/samdev/production"
    assert answered.status_int == 423
    assert [(row.state, row.submission_id) for row in launches(site)] == [("held", None), ("held", None)]


@pytest.mark.parametrize(("act", "state"), [("release", "owed"), ("delete", "cancelled")])
def test_held_launches_are_let_go_or_dropped(site, owner, items, act, state):
    """Several at a time."""
    site.browser(owner).post("held_launches_act", {"launch_id": [str(items.ids["launch_id"])], "act": act})

    assert next(row for row in launches(site) if row.launch_id == items.ids["launch_id"]).state == state


def test_the_gate_of_the_experiment_keeps_its_launches(site, owner, campaign):
    """And letting go does not release what was kept meanwhile."""
    program = site.program(owner)
    program.post("launch_gate", {"act": "hold", "reason": "power cut"})
    program.post("launch_jobs", {"campaign_stage_id": campaign.stage("gen")})
    program.post("launch_gate", {"act": "allow"})

    with site.core.db.read() as session:
        assert session.get_one(Experiment, "samdev").launches_held_by is None
    assert launches(site)[0].hold_reason == "samdev launches currently held: power cut"


def test_the_split_of_a_stage_begins_again(site, owner):
    """By a form, and what was there is in the event."""
    made = site.world.campaign_with(stage("gen", dataset="a, b", split="list"), owner=owner)
    site.world.launch(made, "gen")

    site.browser(owner).post("stage_act", {"campaign_stage_id": made.stage("gen"), "act": "reset_split"})

    with site.core.db.read() as session:
        assert session.get_one(CampaignStage, made.stage("gen")).cs_last_split is None
    assert site.world.events("split.reset")[0].data["before"] is not None


def took(site, submission_id):
    """The dataset of a submission."""
    with site.core.db.read() as session:
        return session.get_one(Submission, submission_id).submission_params["dataset"]


def test_a_split_is_set_back_to_what_a_submission_took(site, owner):
    """The next launch takes the same again, and those after it what came after it then."""
    made = site.world.campaign_with(stage("gen", dataset="a, b, c", split="list"), owner=owner)
    first, second, third = (site.world.launch(made, "gen").submission_id for _ in range(3))
    browser = site.browser(owner)
    offered = browser.get("stage", made.stage("gen")).html.select("#split-mark option")

    browser.post("stage_act", {"campaign_stage_id": made.stage("gen"), "act": "reset_split",
                               "submission_id": str(second)})

    assert [option["value"] for option in offered] == ["", str(third), str(second), str(first)]
    assert [took(site, site.world.launch(made, "gen").submission_id) for _ in range(2)] == ["b", "c"]


def test_a_split_that_was_changed_since_is_not_set_back(site, owner):
    """The place of then is one in another dataset; a submission of another stage has none here at all."""
    made = site.world.campaign_with(stage("gen", dataset="a, b", split="list"), stage("more"), owner=owner)
    then, other = site.world.launch(made, "gen").submission_id, site.world.launch(made, "more").submission_id
    site.world.change(CampaignStage, made.stage("gen"), dataset="c, d", cs_last_split=None)
    program = site.program(owner)
    back = {"campaign_stage_id": made.stage("gen"), "act": "reset_split"}

    assert program.post("stage_act", {**back, "submission_id": str(then)}).status_int == 409
    assert program.post("stage_act", {**back, "submission_id": str(other)}).status_int == 404
    assert site.world.events("split.reset") == []


@pytest.mark.parametrize("text", ["[[", "{}", "5", '["a"]', '[["a"]]', '[["a", "b", "c"]]', "[" * 100_00])
def test_overrides_that_are_no_pairs_are_refused(site, owner, campaign, text):
    """Nothing is launched with half of them."""
    answer = site.program(owner).post("launch_jobs", {"campaign_stage_id": campaign.stage("gen"),
                                                      "param_overrides": text})

    assert answer.status_int in (303, 400) if text == "{}" else answer.status_int == 400


# ------------------------------------------------------------------------------------------- jobs


@pytest.mark.parametrize(("act", "state"), [("hold", JobState.HELD), ("remove", JobState.REMOVED)])
def test_jobs_of_a_submission_are_held_or_removed(site, owner, items, act, state):
    """All of them; the submission is marked when they were removed."""
    answer = site.program(owner).post("jobs_act", {"submission_id": items.ids["submission_id"], "act": act,
                                                   "fmt": "json"})

    assert answer.json["status"] == "ok"
    assert answer.json["changed"] > 0
    if act == "remove":
        assert site.world.status(items.ids["submission_id"]) is Status.REMOVED


@pytest.mark.parametrize(("act", "status"), [("kill", Status.REMOVED), ("cancel", Status.CANCELLED)])
def test_killing_and_cancelling_differ_in_the_status(site, owner, items, act, status):
    """Both remove the jobs."""
    site.program(owner).post("kill_jobs", {"submission_id": items.ids["submission_id"], "act": act})

    assert site.world.status(items.ids["submission_id"]) is status


@pytest.mark.parametrize(("word", "act"), [("kill_jobs", "kill"), ("kill_jobs", "cancel"), ("jobs_act", "remove")])
def test_a_submission_that_has_ended_stays_what_it_is(site, owner, items, word, act):
    """Removing the jobs of many, or of one by mistake, costs no Located one: what it made is there."""
    number = items.ids["submission_id"]
    site.program(owner).post("update_submission", {"submission_id": number, "status": "Located"})

    answer = site.program(owner).post(word, {"submission_id": number, "act": act, "fmt": "json"})

    assert site.world.status(number) is Status.LOCATED
    assert f"Submission {number} had ended before and stays Located." in answer.json["text"]


def test_jobs_that_are_left_of_a_submission_that_has_ended_are_removed(site, owner, items):
    """Somebody may have called it Located before all of them ended."""
    number = items.ids["submission_id"]
    assert any(job.state is not JobState.REMOVED for job in site.world.batch.of(number))
    site.program(owner).post("update_submission", {"submission_id": number, "status": "Located"})

    site.program(owner).post("kill_jobs", {"submission_id": number, "act": "kill"})

    assert {job.state for job in site.world.batch.of(number)} == {JobState.REMOVED}
    assert site.world.status(number) is Status.LOCATED


def test_one_job_is_held(site, owner, items):
    """The others go on."""
    browser = site.browser(owner)
    jobs = browser.get("submission", items.ids["submission_id"], fmt="json").json["jobs"]

    answer = browser.post("jobs_act", {"submission_id": items.ids["submission_id"], "batch_id": jobs[0]["batch_id"],
                                       "act": "hold", "fmt": "json"})

    assert answer.json["changed"] == 1


def test_jobs_that_nobody_named_are_not_touched(site, owner, items):
    """Forgetting to choose is an error, not all."""
    for word in ("jobs_act", "kill_jobs"):
        assert site.program(owner).post(word, {"act": "hold"}).status_int == 400


def test_a_silent_batch_system_is_told(site, owner, items):
    """And the submission keeps its status."""
    before = site.world.status(items.ids["submission_id"])
    site.world.batch.fail("act")

    answer = site.program(owner).post("kill_jobs", {"submission_id": items.ids["submission_id"], "act": "kill"})

    assert answer.status_int == 503
    assert site.world.status(items.ids["submission_id"]) is before


def test_a_submission_is_called_located(site, owner, items):
    """Whatever its files say; it happens at the next pass."""
    answer = site.program(owner).post("force_locate_submission", {"submission_id": items.ids["submission_id"]})

    assert answer.text == "Ok."
    site.world.wrap_up()
    assert site.world.status(items.ids["submission_id"]) is Status.LOCATED


# -------------------------------------------------------------------------------------- campaigns


def test_a_text_is_checked_without_being_saved(site, owner):
    """A dry run tells what would change."""
    browser = site.browser(owner)

    answer = browser.post("upload", {"dry_run": "1"}, files=[("campaign_file", "typed.ini", TEXT)])

    assert answer.status_int == 200
    assert "Nothing has been saved" in answer.text
    assert browser.get("get_campaign_id", campaign_name="typed").json is None


def test_a_text_is_saved_and_read_back_byte_for_byte(site, owner):
    """By a form, and as a file."""
    browser = site.browser(owner)
    saved = browser.post("upload", {}, files=[("campaign_file", "typed.ini", TEXT)])
    number = browser.get("get_campaign_id", campaign_name="typed").json

    assert saved.headers["Location"] == f"/poms/campaign/samdev/production/{number}"
    download = browser.get("download", number)
    assert download.body == TEXT
    assert download.headers["Content-Disposition"] == 'attachment; filename="typed.ini"'


def test_a_wrong_text_comes_back_with_every_problem(site, owner):
    """And with what was typed, so that it can be put right."""
    answer = site.browser(owner).post("upload", {"campaign_text": "[campaign]\nname = typed\n<b>nonsense</b>\n"})

    assert answer.status_int == 400
    assert answer.html.find(class_="problems") is not None
    assert "nonsense" in answer.html.find("textarea").text


def test_a_text_that_somebody_changed_meanwhile_is_a_conflict(site, owner):
    """Nobody overwrites what he has not seen."""
    program = site.program(owner)
    program.post("upload", {}, files=[("campaign_file", "typed.ini", TEXT)])
    number = program.get("get_campaign_id", campaign_name="typed").json
    program.post("upload", {"campaign_text": (TEXT + b"# more\n").decode()})

    answer = program.post("upload", {"campaign_id": number, "base_version": "1",
                                     "campaign_text": (TEXT + b"# other\n").decode()})

    assert answer.status_int == 409


def test_clients_upload_a_text_as_they_always_did(site, owner):
    """Multipart, and the answer says what was made."""
    answer = site.program(owner).post("ini_to_campaign", {"pcl_call": "1", "replace": "True"},
                                      files=[("upload", "typed.ini", TEXT)])

    assert answer.json["status"] == "201 Created"
    assert [name for _, name in answer.json["campaign_stage_ids"]] == ["gen"]


def test_clients_learn_of_a_wrong_text_in_the_answer(site, owner):
    """With status 200, because they look at the text of the answer."""
    answer = site.program(owner).post("ini_to_campaign", files=[("upload", "typed.ini", b"nonsense")])

    assert answer.status_int == 200
    assert answer.json["status"] == "400 Bad Request"
    assert answer.json["message"]


@pytest.mark.parametrize(("fields", "event"), [
    ({"act": "deactivate"}, "campaign.deactivated"), ({"act": "hold_launches"}, "campaign.held"),
    ({"act": "delete"}, "campaign.deleted"),
])
def test_something_is_done_to_a_campaign(site, owner, campaign, fields, event):
    """Each leaves an event."""
    answer = site.browser(owner).post("campaign_act", {"campaign_id": campaign.campaign_id, **fields})

    assert answer.status_int == 303
    assert len(site.world.events(event)) == 1


def test_several_campaigns_get_a_tag_or_none_does(site, owner, campaign):
    """One of another experiment among them stops it all."""
    foreign = site.world.campaign_with(stage("gen"), experiment="nova")
    browser = site.browser(owner)

    refused = browser.post("campaigns_act", {"campaign_id": [str(campaign.campaign_id), str(foreign.campaign_id)],
                                             "act": "tag", "tag": "MCC9"})
    done = browser.post("campaigns_act", {"campaign_id": [str(campaign.campaign_id)], "act": "tag", "tag": "MCC9"})

    assert (refused.status_int, done.status_int) == (404, 303)
    assert "MCC9" in browser.get("campaigns").text


def test_a_sample_becomes_a_campaign_under_its_new_name(site, owner):
    """A name that is taken is refused."""
    browser = site.browser(owner)
    form = {"sample": "sbnd_mc", "new_name": "mine"}

    answers = [browser.post("sample_clone", form).status_int, browser.post("sample_clone", form).status_int]

    assert answers == [303, 409]
    assert "name = mine" in browser.get("campaign_deps_ini", name="mine").text


# ---------------------------------------------------------------------------------- older programs


def test_a_report_is_answered_as_agents_expect(site, owner, items):
    """Exactly these three letters."""
    answer = site.program(owner).post("update_submission", {
        "submission_id": items.ids["submission_id"], "jobsub_job_id": "77.3@schedd", "status": "Running",
        "project": "prj"})

    assert answer.text == "Ok."
    row = site.world.get(items.ids["submission_id"])
    assert (row.jobsub_job_id, row.project) == ("77@schedd", "prj")


def test_who_reports_and_about_what_is_one_question(site, owner, items):
    """Reports come many times a second; the statement that finds the person finds the submission too."""
    report = {"submission_id": items.ids["submission_id"], "status": "Running"}
    site.program(owner).post("update_submission", report)

    with recorded(site.core.db.engine) as statements:
        assert site.program(owner).post("update_submission", {**report, "status": "Idle"}).text == "Ok."

    assert len([text for text in statements if "sign_in" in text or "FROM experimenters" in text]) == 1
    assert not [text for text in statements if "poms_standing" in text]


def test_a_report_of_somebody_unknown_changes_nothing(site, items):
    """Who sends it is asked together with the submission, and still decides first."""
    number = items.ids["submission_id"]
    before = site.world.status(number)

    answer = site.program("nobody").post("update_submission", {"submission_id": number, "status": "Completed"})

    assert answer.status_int == 401
    assert site.world.status(number) is before


def test_a_report_about_what_is_not_there_is_refused(site, owner):
    """Known people learn that there is no such submission."""
    answer = site.program(owner).post("update_submission", {"submission_id": 987654, "status": "Idle"})

    assert answer.status_int == 404
    assert "987654" in answer.text


def test_the_agent_does_not_move_a_submission_out_of_a_final_status(site, owner, items):
    """A person does."""
    agent = site.world.person("poms", "superuser", root=True)
    number = items.ids["submission_id"]
    site.program(owner).post("kill_jobs", {"submission_id": number, "act": "kill"})

    site.program(agent).post("update_submission", {"submission_id": number, "jobsub_job_id": "", "status": "Running"})
    assert site.world.status(number) is Status.REMOVED
    site.program(owner).post("update_submission", {"submission_id": number, "status": "Completed"})
    assert site.world.status(number) is Status.COMPLETED


@pytest.mark.parametrize("named", ["number", "name", "part"])
def test_the_wrapper_gets_a_number_for_what_it_runs(site, owner, campaign, named):
    """By the number or the name of the stage, or a part of it that fits one; nothing else is in the answer."""
    stage_ = {"number": campaign.stage("gen"), "name": "gen", "part": "ge%"}[named]

    answer = site.program(owner).get("get_submission_id_for", campaign=stage_, command_executed="jobsub_submit x",
                                     user="olive", test="False")

    assert answer.text == "Task=1"
    assert site.world.get(1).command_executed == "jobsub_submit x"


def test_the_same_run_has_one_number(site, owner, campaign):
    """However often the wrapper asks, after whatever went wrong."""
    fields = {"campaign_stage_id": campaign.stage("gen"), "command_executed": "x", "launch_time": "t1"}
    program = site.program(owner)

    answers = {program.post("get_submission_id_for", fields).text for _ in range(3)}
    other = program.post("get_submission_id_for", {**fields, "launch_time": "t2"}).text

    assert answers == {"Task=1"}
    assert other == "Task=2"


def test_the_wrapper_describes_the_submission_it_was_launched_for(site, owner, items):
    """The project that feeds the jobs is taken from the command."""
    number = items.ids["submission_id"]
    answer = site.program(owner).get("get_task_id_for", task_id=number, campaign=items.ids["campaign_stage_id"],
                                     command_executed="jobsub_submit -e SAM_PROJECT=olive_prj_1 file://x")

    assert answer.text == f"Task={number}"
    assert site.world.get(number).command_executed.startswith("jobsub_submit -e SAM_PROJECT")


def test_a_name_that_fits_several_stages_is_refused(site, owner):
    """No guess whose submission it is."""
    site.world.campaign_with(stage("reco_a"), stage("reco_b"), owner=owner)
    program = site.program(owner)

    assert program.get("get_submission_id_for", campaign="reco").status_int == 409
    assert program.get("get_submission_id_for", campaign="nothing").status_int == 404


def test_clients_list_campaigns_stages_and_submissions(site, owner, items):
    """With the keys that they read."""
    program = site.program(owner)
    number = items.ids["submission_id"]

    campaigns = program.post("show_campaigns", {"fmt": "json"}).json
    stages = program.post("show_campaign_stages", {"fmt": "json", "campaign_name": "mc"}).json
    submissions = program.post("campaign_stage_submissions", {"fmt": "json", "campaign_name": "mc",
                                                              "stage_name": "*"}).json
    details = program.post("submission_details", {"fmt": "json", "submission_id": number}).json

    assert [row["name"] for row in campaigns["tl"]] == ["mc"]
    assert [row["name"] for row in stages["campaign_stages"]] == ["gen", "reco"]
    assert [row["submission_id"] for row in submissions["data"]["submissions"]] == [number]
    assert submissions["data"]["submissions"][0].keys() == {
        "submission_id", "jobsub_job_id", "created", "creator", "status", "jobsub_cluster", "jobsub_schedd",
        "campaign_stage_name", "available_output", "output_dims"}
    assert details["history"][0]["status"] == "New"
    assert details["submission"]["campaign_stage_snapshot_obj"]["name"] == "gen"


def test_names_and_numbers_are_translated(site, owner, campaign):
    """Numbers as JSON, the name of a campaign bare, as clients take them."""
    program = site.program(owner)

    assert program.post("get_campaign_id", {"campaign_name": "mc"}).json == campaign.campaign_id
    assert program.post("get_campaign_id", {"campaign_name": "none"}).json is None
    assert program.post("get_campaign_name", {"campaign_id": campaign.campaign_id}).text == "mc"
    assert program.post("get_campaign_stage_id", {"campaign_name": "mc", "campaign_stage_name": "reco"}).json \
        == campaign.stage("reco")
    assert program.post("get_campaign_stage_name", {"campaign_stage_id": campaign.stage("reco")}).json == ["mc", "reco"]


def test_running_submissions_are_counted_by_campaign(site, owner, items):
    """Pages end their list with -1; without a list all are named."""
    program = site.program(owner)
    number = items.ids["campaign_id"]

    assert program.get("running_submissions", campaign_id_list=f"{number},-1").json == {str(number): 1}
    assert [row[0] for row in program.get("running_submissions", campaign_id_list="").json] \
        == [items.ids["submission_id"]]


def test_the_double_slash_of_clients_is_answered_directly(site, owner, campaign):
    """They do not follow redirections."""
    program = site.program(owner)

    answer = program.client.post("/poms//get_campaign_id", {"campaign_name": "mc", "experiment": "samdev",
                                                            "role": "production", "configfile": "x", "test": "False"},
                                 headers=program.headers())

    assert answer.status_int == 200
    assert answer.json == campaign.campaign_id


def test_a_launch_log_is_followed_piece_by_piece(site, owner, items):
    """Each piece says where the next one begins, and whether there will be more."""
    program, number = site.program(owner), items.ids["submission_id"]

    first = program.get("launch_log_piece", number).json
    rest = program.get("launch_log_piece", number, offset=first["offset"]).json

    assert "attempt 1" in first["text"]
    assert (rest["text"], rest["done"]) == ("", True)


def test_what_a_job_wrote_is_followed_piece_by_piece(site, owner, items):
    """From any place in it; more may come as long as the job runs."""
    program, number = site.program(owner), items.ids["submission_id"]
    job = site.world.batch.of(number)[0].batch_id
    site.world.batch.write_text(job, "stdout", "first line, grüße\n".encode())

    piece = program.get("job_log_piece", number, batch_id=job, which="stdout", offset=6).json

    assert piece["text"] == "line, grüße\n"
    assert piece["done"] is False
    assert program.get("job_log_text", number, batch_id=job, which="stdout").text == "first line, grüße\n"
    assert "grüße" in site.browser(owner).get("job", number, batch_id=job).text


def test_a_log_that_is_gone_leaves_the_rest_of_the_page(site, owner, items):
    """The page of a job is about more than its log."""
    number = items.ids["submission_id"]
    job = site.world.batch.of(number)[0].batch_id
    site.world.batch.fail("fetch_log")

    answer = site.browser(owner).get("job", number, batch_id=job, which="stderr")

    assert answer.status_int == 200
    assert job in answer.text
