"""What clients, wrappers, agents and cron scripts of older installations send, and what they must get.

Each pair is what one of their functions sends (all by POST, with a doubled slash, as they do) and what it reads.
"""

from __future__ import annotations

import io
import json
import re

import pytest
from sqlalchemy import select

from poms.webservice.model import AgentTask, Campaign, CampaignStage, CampaignVersion, JobType, LoginSetup
from poms.webservice.rules.statuses import Status
from poms.webservice.testing.world import stage

INI = b"""[campaign]
experiment = samdev
name = chain
# what comes first
campaign_stage_list = gen, reco

[campaign_defaults]
vo_role = Production
software_version = v1
dataset_or_split_data = None
completion_type = complete
completion_pct = 95
login_setup = here
job_type = work

[campaign_stage gen]
param_overrides = [["-Oglobal.n=","5"],["-Oglobal.tag=","t1"]]

[campaign_stage reco]
software_version = v2

[login_setup here]
host = localhost
account = samdevpro
setup = true

[job_type work]
launch_script = fife_launch
recoveries = [["process_status",[]]]

[dependencies reco]
campaign_stage_1 = gen
file_pattern_1 = %.root
"""


class Client:
    """Sends as the older client library does, and reads answers as it does."""

    def __init__(self, program):
        self.program = program

    def call(self, endpoint, files=None, **fields):
        """(text or Location, status), or RuntimeError."""
        sent = [(name, one) for name, value in {"experiment": "samdev", "role": "production", **fields}.items()
                for one in (value if isinstance(value, list) else [value])]
        answer = self.program.client.post(f"/poms//{endpoint}", sent, headers=self.program.headers(), status="*",
                                          upload_files=files)
        if answer.status_int == 303:
            return answer.headers["Location"], 303
        if answer.status_int in (200, 202):
            return answer.text, answer.status_int
        shown = re.search(r"Traceback.*", answer.text, re.DOTALL)
        raise RuntimeError(f"POMS call {endpoint} error: HTTP status: {answer.status_int}\n"
                           f"{shown[0] if shown else ''}")

    def json(self, endpoint, files=None, **fields):
        return json.loads(self.call(endpoint, files, **fields)[0])


@pytest.fixture
def client(site, owner):
    return Client(site.program(owner))


@pytest.fixture
def chain(client):
    """A campaign that the client uploaded: its answer."""
    return client.json("ini_to_campaign", files=[("upload", "chain.ini", INI)], pcl_call="1", replace="False")


def stage_row(site, number):
    with site.core.db.read() as session:
        return session.get_one(CampaignStage, number)


def text_in_force(site):
    with site.core.db.read() as session:
        return session.scalars(select(CampaignVersion.text).order_by(CampaignVersion.number.desc())).first()


# -------------------------------------------------------------------------------- names and lists


def test_an_upload_is_answered_with_what_was_made(chain):
    """Status in words, messages, numbers of campaign and stages."""
    assert chain["status"] == "201 Created"
    assert isinstance(chain["campaign_id"], int)
    assert [name for _, name in chain["campaign_stage_ids"]] == ["gen", "reco"]
    assert chain["upload"] == "<uploaded_file_data>"


def test_names_and_numbers_lead_to_each_other(client, chain):
    """Numbers are JSON, a campaign's name is bare text, a stage's is a list with its campaign's."""
    number, stages = chain["campaign_id"], {name: one for one, name in chain["campaign_stage_ids"]}

    assert int(client.call("get_campaign_id", campaign_name="chain")[0]) == number
    assert client.call("get_campaign_id", campaign_name="nothing")[0] == "null"
    assert client.call("get_campaign_name", campaign_id=number)[0] == "chain"
    assert int(client.call("get_campaign_stage_id", campaign_name="chain", campaign_stage_name="reco")[0]) \
        == stages["reco"]
    assert client.json("get_campaign_stage_name", campaign_stage_id=stages["gen"]) == ["chain", "gen"]


def test_campaigns_are_listed_with_their_stages(client, chain):
    """Under ``tl``, with what the client looks at."""
    answer = client.json("show_campaigns", fmt="json", test="False", configfile="/some/client.cfg")

    assert [row["name"] for row in answer["tl"]] == ["chain"]
    assert [row["name"] for row in answer["tl"][0]["stages"]] == ["gen", "reco"]
    assert (answer["experiment"], answer["role"], answer["msg"]) == ("samdev", "production", "OK")
    assert answer["data"]["authorized"] == [True]


def test_stages_are_listed_for_a_campaign_and_for_the_experiment(client, chain):
    """The latter under the name that stages had once."""
    stages = client.json("show_campaign_stages", fmt="json", campaign_name="chain")
    everything = client.json("campaign_list_json")

    assert [row["name"] for row in stages["campaign_stages"]] == ["gen", "reco"]
    assert {row["name"]: row["campaign_stage_id"] for row in everything} == {
        name: number for number, name in chain["campaign_stage_ids"]}


def test_submissions_are_listed_by_names(client, site, items):
    """Of one stage or, with a star, of all."""
    every = client.json("campaign_stage_submissions", fmt="json", campaign_name="mc", stage_name="*")
    none = client.json("campaign_stage_submissions", fmt="json", campaign_name="mc", stage_name="reco")

    row = every["data"]["submissions"][0]
    assert (row["submission_id"], row["campaign_stage_name"]) == (items.ids["submission_id"], "gen")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", row["created"])
    assert none["data"]["submissions"] == []


def test_details_of_a_submission_have_its_history(client, items):
    """And names for the numbers in it."""
    answer = client.json("submission_details", fmt="json", submission_id=items.ids["submission_id"])

    assert answer["history"][0]["status_id"] == 1000
    assert answer["statusmap"]["1000"] == "New"
    assert answer["submission"]["campaign_stage_obj"]["name"] == "gen"


def test_a_refusal_reaches_the_user_of_the_client(client):
    """The client shows what follows the word Traceback, and nothing else of an error."""
    with pytest.raises(RuntimeError, match="HTTP status: 404\nTraceback: There is no campaign 999 in samdev"):
        client.call("get_campaign_name", campaign_id="999")


@pytest.mark.parametrize("endpoint", ["active_jobs", "campaign_definition_edit", "campaign_edit_"])
def test_what_was_given_up_before_stays_so(client, endpoint):
    """The client's deprecated functions fail as they did."""
    with pytest.raises(RuntimeError, match="404"):
        client.call(endpoint, campaign_name="x")


# ---------------------------------------------------------------------------------------- deleting


def test_a_campaign_is_deleted_by_its_name(client, site, chain):
    """The answer is of the kind of the list, and says it in words."""
    answer = client.json("show_campaigns", fmt="json", pcl_call="1", action="delete", del_campaign_name="chain",
                         test="False")

    assert (answer["tl"], answer["last_activity"], answer["data"]) == (None, "", None)
    assert answer["msg"].startswith(f"Campaign named chain with campaign_id {chain['campaign_id']} and related")
    with site.core.db.read() as session:
        assert session.scalars(select(Campaign)).all() == []


@pytest.mark.parametrize(("name", "words"), [
    ("nothing", "The campaign 'nothing' does not exist."),
    ("mc", "This campaign has been submitted.  It cannot be deleted."),
])
def test_a_campaign_that_cannot_be_deleted_is_told_in_the_answer(client, items, name, words):
    """With status 200, because the client reads the message."""
    assert words in client.json("show_campaigns", fmt="json", pcl_call="1", action="delete",
                                del_campaign_name=name)["msg"]


def test_looking_at_a_list_deletes_nothing(site, owner, campaign):
    """An address in a mail, or a crawler, changes nothing."""
    answer = site.program(owner).get("show_campaigns", action="delete", del_campaign_name="mc", fmt="json")

    assert answer.status_int == 405
    with site.core.db.read() as session:
        assert session.get(Campaign, campaign.campaign_id) is not None


def test_deleting_needs_the_right_to_change(site, campaign):
    """Somebody who may look at the list may not."""
    shifter = Client(site.program(site.world.person("shirley", "production-shifter")))

    with pytest.raises(RuntimeError, match="403"):
        shifter.call("show_campaigns", role="production-shifter", fmt="json", action="delete", del_campaign_name="mc")


# --------------------------------------------------------------------------------- launch and report


@pytest.mark.parametrize(("endpoint", "argument"), [("launch_jobs", "campaign_stage_id"),
                                                    ("launch_campaign", "campaign_id")])
def test_a_launch_ends_in_the_submissions_number(client, site, campaign, endpoint, argument):
    """303, and what stands after the last underscore of the Location."""
    value = campaign.stage("gen") if argument == "campaign_stage_id" else campaign.campaign_id

    location, status = client.call(endpoint, **{argument: value})

    assert status == 303
    assert site.world.get(int(location.rpartition("_")[2])).campaign_stage_id == campaign.stage("gen")


def test_cron_launches_by_get(site, campaign):
    """As the agent, with nothing but the stage; a browser cannot."""
    agent = site.world.person("poms", "superuser", root=True)
    fields = {"campaign_stage_id": campaign.stage("gen"), "campaign_id": "", "launcher": "4"}

    assert site.program(agent).get("launch_jobs", place="", **fields).status_int == 303
    assert site.browser(agent).get("launch_jobs", place="", **fields).status_int == 405


def test_the_wrapper_registers_and_reports(client, site, campaign):
    """A number alone in the answer; then two letters and a dot, by GET with the job id."""
    text, _ = client.call("get_submission_id_for", campaign_stage_id=campaign.stage("gen"), user="olive", test="False",
                          command_executed="jobsub_submit -N 3 file:///x", input_dataset="")
    number = int(text.replace("Task=", ""))

    answer = client.program.client.get(
        f"/poms/update_submission?submission_id={number}&jobsub_job_id=77@jobsub01.example.org&status=New",
        headers=client.program.headers())

    assert answer.text == "Ok."
    assert site.world.get(number).jobsub_job_id == "77@jobsub01.example.org"


def test_the_agent_reports_many_at_once(site, items):
    """For each whether it is known; only the agent may."""
    agent = site.world.person("poms", "superuser", root=True)
    number = items.ids["submission_id"]
    updates = json.dumps({str(number): {"submission_id": number, "jobsub_job_id": "9.0@s", "status": "Running",
                                        "pct_complete": 50, "project": "prj", "dd_task_id": None}, "999": {}})

    answer = site.program(agent).post("update_submissions", {"submission_updates": updates})

    assert answer.json == {"status": "Success", "response": {str(number): True, "999": False}}
    assert (site.world.get(number).pct_complete, site.world.status(number)) == (50, Status.RUNNING)


@pytest.mark.parametrize("updates", ["[]", "{", '{"x": {}}', '{"1": 5}', '{"0": {}}', '{"1": {"pct_complete": "many"}}',
                                     '{"99999999999": {}}', "[" * 5000])
def test_reports_that_cannot_be_read_are_refused(site, items, updates):
    """As a whole, before any is stored."""
    agent = site.world.person("poms", "superuser", root=True)

    assert site.program(agent).post("update_submissions", {"submission_updates": updates}).status_int == 400


def test_the_agent_asks_what_runs(client, items):
    """Without a list: number, job id and experiment; with one: how many of each campaign."""
    rows = client.json("running_submissions", campaign_id_list="")
    counts = client.json("running_submissions", campaign_id_list=f"{items.campaign.campaign_id},-1")

    assert [(row[0], row[2]) for row in rows] == [(items.ids["submission_id"], "samdev")]
    assert counts == {str(items.campaign.campaign_id): 1}


# -------------------------------------------------------------------------------- the operator's cron


@pytest.fixture
def agent(site):
    return site.program(site.world.person("poms", "superuser", root=True))


def test_cron_has_the_agents_wrap_up_now(site, agent):
    """The request ends at once; the next agent does it."""
    with site.core.db.write() as session:
        session.add(AgentTask(name="wrapup:samdev", lease_epoch=1, cursor="", next_at=site.core.clock().replace(
            year=2100)))

    answer = agent.get("wrapup_tasks", place="")

    assert answer.text == "wrapup:samdev is due now\n"
    with site.core.db.read() as session:
        assert session.get_one(AgentTask, "wrapup:samdev").next_at == site.core.clock()


def test_a_kept_launch_goes_when_its_stage_may_launch_again(site, agent, items, owner):
    """And not before; then there is none left."""
    reco = items.campaign.stage("reco")
    site.program(owner).post("mark_campaign_hold", {"ids2HR": reco, "is_hold": "Hold"})
    said = [agent.get("launch_queued_job", place="").text]
    site.program(owner).post("mark_campaign_hold", {"ids2HR": reco, "is_hold": "Release"})
    said += [agent.get("launch_queued_job", place="").text for _ in range(2)]

    assert said == ["Held.", "Launched.", "None."]
    assert site.world.launches(launch_id=items.ids["launch_id"])[0].state == "owed"


def test_clearing_a_cache_that_is_not_there_is_no_error(agent):
    """Older programs do it after changing rights."""
    answer = agent.get("clear_cache", place="")

    assert (answer.status_int, answer.text) == (200, "")


@pytest.mark.parametrize("word", ["wrapup_tasks", "mark_failed_submissions", "make_stale_campaigns_inactive",
                                  "launch_queued_job", "update_submissions"])
def test_the_operators_calls_are_not_for_everybody(site, owner, word):
    """Whoever runs the service runs its cron."""
    assert site.program(owner).post(word).status_int == 403


# ------------------------------------------------------------------------------------------- stages


def test_parameters_of_a_stage_are_merged(client, site, chain):
    """Known ones change, new ones follow, empty ones go; the rest of the text stays byte for byte."""
    number = chain["campaign_stage_ids"][0][0]
    text, _ = client.call("update_stage_param_overrides", campaign_stage=str(number),
                          param_overrides='[["-Oglobal.n=", "300"], ["-Oglobal.tag=", ""], ["-Onew=", "x\'y"]]')

    assert text == """([('-Oglobal.n=', '300'), ('-Onew=', "x'y")], None)"""
    assert stage_row(site, number).param_overrides == [["-Oglobal.n=", "300"], ["-Onew=", "x'y"]]
    before, after = INI.decode().splitlines(), text_in_force(site).splitlines()
    assert len([1 for one, other in zip(before, after, strict=True) if one != other]) == 1


def test_a_stage_is_named_by_two_fields(client, site, chain):
    """Campaign and stage, as the client sends a list."""
    client.call("update_campaign_stage", pcl_call="1", campaign_stage=["chain", "reco"], software_version="v3",
                dataset="mydata")

    row = stage_row(site, chain["campaign_stage_ids"][1][0])
    assert (row.software_version, row.dataset) == ("v3", "mydata")


def test_a_stage_gets_another_name_and_keeps_its_number(client, site, chain):
    """Dependencies follow."""
    number = chain["campaign_stage_ids"][0][0]
    client.call("update_campaign_stage", campaign_stage=str(number), name="generate")

    assert "campaign_stage_1 = generate" in text_in_force(site)


@pytest.mark.parametrize("fields", [{"completion_pct": "many"}, {"completion_type": "sometimes"}, {},
                                    {"job_type": "nothing"}])
def test_a_stage_cannot_be_made_wrong(client, site, chain, fields):
    """What cannot be launched is not saved."""
    with pytest.raises(RuntimeError, match="400"):
        client.call("update_campaign_stage", campaign_stage=str(chain["campaign_stage_ids"][0][0]), **fields)
    assert text_in_force(site) == INI.decode()


def test_a_stage_is_added_changed_and_deleted(client, site, chain):
    """With what feeds it."""
    fields = {"pcl_call": "1", "ae_campaign_name": str(chain["campaign_id"]), "ae_stage_name": "ana",
              "pc_username": "olive", "ae_vo_role": "Production", "ae_dataset": "None", "ae_split_type": "None",
              "ae_software_version": "v9", "ae_completion_type": "Located", "ae_completion_pct": "100",
              "ae_launch_name": "here", "ae_campaign_definition": "work", "ae_cronjob": "True",
              "ae_depends": json.dumps({"campaign_stages": ["reco"], "file_patterns": ["%.root"]})}
    client.call("campaign_stage_edit", action="add", **fields)
    assert "[dependencies ana]" in text_in_force(site)
    client.call("campaign_stage_edit", action="edit", **{**fields, "ae_software_version": "v10"})
    assert int(client.call("get_campaign_stage_id", campaign_name="chain", campaign_stage_name="ana")[0])
    assert "v10" in text_in_force(site)
    client.call("campaign_stage_edit", action="delete", ae_campaign_name="chain", ae_stage_name="ana")

    assert "ana" not in text_in_force(site)


@pytest.mark.parametrize("depends", ["[1]", '{"campaign_stages": "gen"}', "{", '{"campaign_stages": [5]}'])
def test_dependencies_that_cannot_be_read_are_refused(client, chain, depends):
    """Nothing is guessed."""
    with pytest.raises(RuntimeError, match="400"):
        client.call("campaign_stage_edit", action="edit", ae_campaign_name="chain", ae_stage_name="reco",
                    ae_depends=depends)


def test_a_stage_that_fed_itself_in_a_circle_is_refused(client, chain):
    """Launches would never end."""
    with pytest.raises(RuntimeError, match="400"):
        client.call("campaign_stage_edit", action="edit", ae_campaign_name="chain", ae_stage_name="gen",
                    ae_depends='{"campaigns": ["reco"]}')


# ------------------------------------------------------------------------- job types, login setups


def test_a_job_type_is_added_changed_and_deleted(client, site):
    """As the client sends it: words joined with a blank at the end, lists as JSON."""
    fields = {"pcl_call": "1", "pc_username": "olive", "ae_definition_name": "mine",
              "ae_output_file_patterns": "%.root", "ae_launch_script": "fife_launch -c x.cfg ",
              "ae_definition_parameters": '[["-Ox=", "1"]]', "ae_definition_recovery": '[["process_status", []]]'}
    assert client.call("job_type_edit", action="add", **fields)[1] == 200
    assert client.call("job_type_edit", action="edit", **{**fields, "ae_launch_script": "other "})[1] == 200
    with site.core.db.read() as session:
        row = session.scalars(select(JobType).where(JobType.name == "mine")).one()
        assert (row.launch_script, row.active, row.recoveries[0].recovery_type) == ("other", True, "process_status")
    number = int(client.call("get_jobtype_id", name="mine")[0])
    merged = client.json("modify_job_type_recoveries", job_type_id=number,
                         recoveries='[["consumed_status", [["-Oy=", "2"]]]]')

    assert merged == [["process_status", []], ["consumed_status", [["-Oy=", "2"]]]]
    assert {"name": "mine"} in client.json("jobtype_list")
    assert client.json("job_type_rm", pcl_call="1", ae_definition_name="mine", test="False")["message"] \
        == "The job type 'mine' has been deleted."
    assert client.call("get_jobtype_id", name="mine")[0] == "null"


def test_a_login_setup_is_added_changed_and_deleted(client, site):
    """Also under its older name, and with the setup as single words."""
    fields = {"pcl_call": "1", "pc_username": "olive", "ae_launch_name": "there", "ae_launch_host": "gpvm01",
              "ae_launch_account": "samdevpro"}
    client.call("login_setup_edit", action="add", ae_launch_setup="source a; b", **fields)
    client.call("launch_template_edit", action="edit", ae_launch_setup=["source", "c;", "export A='1'"], **fields)
    with site.core.db.read() as session:
        row = session.scalars(select(LoginSetup).where(LoginSetup.name == "there")).one()
        assert (row.launch_setup, row.active) == ("source c; export A='1'", True)

    assert client.json("login_setup_rm", pcl_call="1", ae_launch_name="there")["message"] \
        == "The login setup 'there' has been deleted."
    assert {"name": "there"} not in client.json("loginsetup_list")


@pytest.mark.parametrize(("endpoint", "argument", "name", "label"), [
    ("job_type_rm", "ae_definition_name", "work", "job type"),
    ("login_setup_rm", "ae_launch_name", "here", "login setup")])
def test_what_a_stage_uses_is_not_deleted(client, chain, endpoint, argument, name, label):
    """And the answer says why."""
    assert client.json(endpoint, pcl_call="1", **{argument: name})["message"] \
        == f"The {label}, {name}, has been used and may not be deleted."


@pytest.mark.parametrize(("action", "name", "status"), [
    ("add", "work", 409), ("edit", "nothing", 404), ("delete", "nothing", 404), ("add", "a/b", 400),
    ("burn", "x", 400)])
def test_job_types_that_cannot_be_changed_are_refused(client, chain, action, name, status):
    """Each with the status that it means."""
    with pytest.raises(RuntimeError, match=str(status)):
        client.call("job_type_edit", action=action, ae_definition_name=name, ae_launch_script="x")


def test_an_analysis_user_does_not_change_what_belongs_to_production(site, chain):
    """Neither a job type nor a stage; the role is that of the one who made it."""
    anna = Client(site.program(site.world.person("anna", "analysis")))

    for endpoint, fields in (
            ("job_type_edit", {"action": "edit", "ae_definition_name": "work", "ae_launch_script": "x"}),
            ("login_setup_rm", {"ae_launch_name": "here"}),
            ("update_campaign_stage", {"campaign_stage": ["chain", "gen"], "software_version": "v7"})):
        with pytest.raises(RuntimeError, match="403"):
            anna.call(endpoint, role="analysis", **fields)


def test_a_stage_of_another_experiment_does_not_exist(site, client):
    """Whoever asks by its number."""
    made = site.world.campaign_with(stage("gen"), experiment="nova")

    with pytest.raises(RuntimeError, match="404"):
        client.call("update_campaign_stage", campaign_stage=str(made.stage("gen")), software_version="x")


# -------------------------------------------------------------------------------------------- files


def test_a_file_is_kept_listed_read_and_deleted(site):
    """As an analysis user's client does; success is 303 for one call and Ok. for another."""
    anna = Client(site.program(site.world.person("anna", "analysis")))
    location, status = anna.call("upload_file", files=[("filename", "setup.fcl", b"a: 1\r\n\xc3\xa9\n")],
                                 role="analysis")
    assert (location, status) == ("/poms/file_uploads/samdev/analysis/anna", 303)
    listed = anna.program.client.get(f"{location}?fmt=json", headers=anna.program.headers()).json
    assert [(name, size) for name, size, _ in listed["file_stat_list"]] == [("setup.fcl", 9)]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", listed["file_stat_list"][0][2])
    assert anna.call("download_file", role="analysis", filename="setup.fcl")[0] == "a: 1\r\né\n"
    assert anna.call("remove_uploaded_files", role="analysis", filename="setup.fcl", action="delete",
                     redirect="0") == ("Ok.", 200)
    with pytest.raises(RuntimeError, match="404"):
        anna.call("download_file", role="analysis", filename="setup.fcl")


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "..", ".hidden", "a/../../b", "a\x00b", "a b", "$(id)", "ü"])
def test_a_name_that_is_a_path_is_nobodys_file(site, owner, tmp_path, name):
    """Nothing outside the person's directory is read, written or deleted."""
    person = site.program(owner)
    before = sorted(path for path in tmp_path.rglob("*") if path.is_file() and "poms" not in path.name)

    assert person.post("download_file", {"filename": name}).status_int == 400
    assert person.post("remove_uploaded_files", {"filename": name}).status_int == 400
    stored = person.post("upload_file", files=[("filename", name, b"x")])
    after = sorted(path for path in tmp_path.rglob("*") if path.is_file() and "poms" not in path.name)
    new = set(after) - set(before)
    assert stored.status_int == 400 or all(path.parent == tmp_path / "uploads" / "samdev" / "olive" for path in new)


def test_files_of_others_are_not_shown(site, owner):
    """Not even whether there are any."""
    site.world.person("anna", "analysis")
    assert site.program(owner).get("file_uploads", "anna").status_int == 404


def test_files_beyond_the_quota_are_refused_and_the_old_one_stays(site, owner, monkeypatch):
    """With what to do about it."""
    from poms.webservice.services import uploads

    monkeypatch.setattr(uploads, "QUOTA_BYTES", 10)
    person = site.program(owner)
    person.post("upload_file", files=[("filename", "a", b"12345")])

    answer = person.post("upload_file", files=[("filename", "a", io.BytesIO(b"x" * 11).getvalue())])

    assert answer.status_int == 409
    assert person.get("download_file", filename="a").text == "12345"
