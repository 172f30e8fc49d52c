"""Who may do what: another experiment's items do not exist, and rights apply at once."""

from __future__ import annotations

import pytest

from poms.webservice import app
from poms.webservice.handlers.routing import Router
from poms.webservice.model import Membership
from poms.webservice.rules.permissions import ANALYSIS, PRODUCTION, SHIFTER, SUPERUSER
from poms.webservice.services import accounts, own_samples
from poms.webservice.testing.world import stage

SAMPLE = b"""[campaign]
experiment = nova
name = typed
campaign_stage_list = gen
[campaign_stage gen]
vo_role = Production
software_version = v1
dataset_or_split_data = None
completion_type = complete
completion_pct = 95
login_setup = here
job_type = work
[login_setup here]
host = localhost
account = novapro
setup = true
[job_type work]
launch_script = fife_launch
"""
ROUTES = Router(app.ROUTES).routes
ABOUT_ITEMS = [route for route in ROUTES if any(need.argument for need in route.needs)]


def ask(person, route, arguments):
    fields = {name: number for name, number in arguments.items() if name in route.arguments}
    if route.by_act:
        fields["act"] = next(iter(route.by_act))
    return person.post(route.name, fields) if route.changes else person.get(route.name, **fields)


@pytest.fixture
def foreign(site):
    """One item of each kind in another experiment, with the same names as here."""
    made = site.world.campaign_with(stage("gen"), stage("reco", after="gen"), name="mc", experiment="nova")
    row = site.world.stage_row(made, "gen")
    sample = own_samples.save(site.core, made.owner, own_samples.Wanted("mc", "", SAMPLE))
    return {"campaign_id": made.campaign_id, "sample_id": sample,
            "campaign_stage_id": made.stage("gen"), "ids2HR": made.stage("gen"), "stage_id": made.stage("gen"),
            "submission_id": site.world.submission(made, "gen"),
            "launch_id": held_launch(site, made), "name": "mc", "batch_id": "1.0@fake", "dry_run": "1",
            "is_hold": "Hold", "is_active": "1", "decision_id": 1, "tag_name": "t", "recovery_type": "x",
            "campaign_text": "x", "tag_id": 1, "test_id": 1, "kind": "job_type",
            "login_setup_id": row.login_setup_id, "job_type_id": row.job_type_id,
            "ae_launch_id": row.login_setup_id, "ae_campaign_definition_id": row.job_type_id}


def held_launch(site, made) -> int:
    from poms.webservice.services import holds

    holds.hold_stages(site.core, made.owner, [made.stage("reco")], hold=True)
    held = site.world.launch(made, "reco").launch_id
    holds.hold_stages(site.core, made.owner, [made.stage("reco")], hold=False)
    return held


@pytest.mark.parametrize("route", ABOUT_ITEMS, ids=lambda route: route.name)
def test_an_item_of_another_experiment_does_not_exist(site, campaign, foreign, route):
    """Every route that names an item is asked for one of nova's by a superuser of samdev."""
    person = site.program(site.world.person("sam", SUPERUSER))
    arguments = dict(foreign)
    if route.name == "campaign_deps_ini":
        del arguments["name"]
    if route.by_act:
        arguments["act"] = next(iter(route.by_act))
    elif "act" in route.arguments:
        arguments["act"] = route.arguments["act"].choices[0]

    answer = ask(person, route, arguments)

    assert answer.status_int == 404, answer.text[:300]


def test_an_item_of_another_experiment_is_not_betrayed_without_an_experiment_in_the_address(site, owner, foreign):
    """The item's own experiment counts only for its members."""
    answer = site.program(owner).get("stage", place="", campaign_stage_id=foreign["campaign_stage_id"])

    assert answer.status_int == 404
    assert "nova" not in answer.text


def test_the_items_own_place_is_used_when_the_address_names_none(site, owner, items):
    """The wrapper reports a submission's number and nothing else."""
    answer = site.program(owner).get("update_submission", place="", submission_id=items.ids["submission_id"],
                                     jobsub_job_id="")

    assert answer.text == "Ok."


def test_somebody_elses_experiment_is_refused(site, owner):
    """The text says which of the two is the matter."""
    site.world.experiment("nova")
    answer = site.program(owner).get("campaigns", place="nova/production")

    assert answer.status_int == 403
    assert "username olive is not in experiment nova" in answer.text


def test_a_role_above_the_one_held_is_refused(site):
    """The role in the address is checked, not believed."""
    shifter = site.program(site.world.person("shirley", SHIFTER))

    assert shifter.get("campaigns", place="samdev/production").status_int == 403
    assert shifter.get("campaigns", place="samdev/superuser").status_int == 403


def test_a_role_that_does_not_exist_is_refused(site, owner):
    """Also names of old."""
    answer = site.program(owner).get("campaigns", place="samdev/coordinator")

    assert answer.status_int == 403
    assert "invalid role coordinator" in answer.text


def test_taking_a_role_away_works_at_once(site, owner):
    """No cache keeps a right that was taken away."""
    person = site.program(owner)
    assert person.get("campaigns").status_int == 200
    accounts.set_role(site.core, "olive", "samdev", None)

    answer = person.get("campaigns")

    assert answer.status_int == 403
    assert "username olive is not in experiment samdev" in answer.text


def test_an_analysis_user_makes_campaigns_by_upload(site):
    """That needs no right to change what is there; the experiment's own text of that name stays out of reach."""
    text = SAMPLE.decode().replace("nova", "samdev").replace("Production", "Analysis")
    ann = site.program(site.world.person("ann", ANALYSIS))

    assert ann.post("upload", {"campaign_text": text, "dry_run": "1", "fmt": "json"}).status_int == 200


def test_lowering_a_role_works_at_once(site, owner, items):
    """The next request of a production user who became an analysis user cannot change anything any more."""
    accounts.set_role(site.core, "olive", "samdev", ANALYSIS)

    answer = site.program(owner).post("launch_stage", {"campaign_stage_id": items.ids["campaign_stage_id"]})

    assert answer.status_int == 403


def test_a_membership_of_an_inactive_experiment_gives_no_rights(site, owner):
    """An experiment that ended is closed for everybody in it."""
    from poms.webservice.model import Experiment

    site.world.change(Experiment, "samdev", active=False)

    assert site.program(owner).get("campaigns").status_int == 403


CHANGES = {
    "launch_stage": {}, "jobs_act": {"act": "hold"}, "stage_act": {"act": "reset_split"},
    "campaign_act": {"act": "deactivate"}, "launch_campaign": {}, "update_submission": {}, "force_locate": {},
    "held_launches_act": {"act": "release"}, "mark_campaign_active": {"is_active": "0"}, "kill_jobs": {"act": "hold"},
}
MODIFYING = ("stage_act", "campaign_act", "mark_campaign_active")


@pytest.mark.parametrize("word", CHANGES)
@pytest.mark.parametrize("role", [ANALYSIS, SHIFTER, PRODUCTION, SUPERUSER])
def test_roles_may_do_to_production_items_what_the_matrix_says(site, campaign, items, word, role):
    """Shifters operate, production and superuser also change, analysis users only look."""
    person = site.program(site.world.person(f"some_{role}", role))
    allowed = role in (PRODUCTION, SUPERUSER) or (role == SHIFTER and word not in MODIFYING)

    answer = ask_change(person, word, items)

    assert (answer.status_int in (200, 303)) == allowed, (answer.status_int, answer.text[:300])
    assert allowed or answer.status_int == 403


def ask_change(person, word, items):
    route = next(route for route in ROUTES if route.name == word)
    ids = {name: number for name, number in items.ids.items() if name in route.arguments}
    if word in ("jobs_act", "kill_jobs"):
        ids = {"submission_id": items.ids["submission_id"]}
    if word == "stage_act":
        ids = {"campaign_stage_id": items.ids["campaign_stage_id"]}
    return person.post(word, {**ids, **CHANGES[word]})


def test_an_analysis_user_cannot_touch_another_ones_campaign(site):
    """Analysis users own what they make."""
    anna = site.world.person("anna", ANALYSIS)
    made = site.world.campaign_with(stage("gen"), owner=anna)
    other = site.program(site.world.person("bert", ANALYSIS))

    answer = other.post("launch_stage", {"campaign_stage_id": made.stage("gen")})

    assert answer.status_int == 403
    assert other.get("campaign", made.campaign_id).status_int == 200


def test_only_an_administrator_holds_the_launches_of_the_whole_service(site):
    """A superuser of one experiment does not stop the others."""
    superuser = site.program(site.world.person("sue", SUPERUSER))
    root = site.program(site.world.person("rita", SUPERUSER, root=True))

    assert superuser.post("set_job_launches", {"hold": "hold"}).status_int == 403
    assert superuser.post("launch_gate", {"act": "hold", "scope": "service"}).status_int == 403
    assert root.post("set_job_launches", {"hold": "hold"}).status_int == 303


def test_an_administrator_acts_in_every_experiment_but_only_in_those_that_exist(site):
    """A mistyped experiment is not found instead of being empty."""
    site.world.experiment("nova")
    root = site.program(site.world.person("rita", SUPERUSER, root=True))

    assert root.get("campaigns", place="nova/superuser").status_int == 200
    assert root.get("campaigns", place="nowhere/superuser").status_int == 404


def test_the_place_of_a_page_is_the_one_used_last(site, owner):
    """Changing it is remembered, and a page without experiment and role leads there."""
    site.world.experiment("nova")
    accounts.set_role(site.core, "olive", "nova", ANALYSIS)
    browser = site.browser(owner)

    browser.post("update_session_experiment", {"session_experiment": "nova"})

    assert browser.get("campaigns", place="").headers["Location"] == "/poms/campaigns/nova/analysis"


def test_nobody_changes_to_a_role_not_held(site, owner):
    """Saving a role is checked like using it."""
    assert site.browser(owner).post("update_session_role", {"session_role": "superuser"}).status_int == 403


def test_jobs_of_another_submission_cannot_be_named(site, owner, campaign, items):
    """A right on one submission is none on jobs that do not belong to it."""
    other = site.world.submission(campaign, "gen")
    site.world.poll()
    jobs = [row["batch_id"] for row in site.program(owner).get("submission", other, fmt="json").json["jobs"]]
    assert jobs

    answer = site.program(owner).post("jobs_act", {"submission_id": items.ids["submission_id"], "act": "remove",
                                                   "batch_id": jobs[0]})

    assert answer.status_int == 404
    assert site.program(owner).get("job_log_piece", items.ids["submission_id"], batch_id=jobs[0]).status_int == 404


def test_memberships_are_read_for_every_request(site, owner):
    """A membership that is given now counts now."""
    site.world.experiment("nova")
    person = site.program(owner)
    assert person.get("campaigns", place="nova/analysis").status_int == 403
    with site.core.db.write() as session:
        session.add(Membership(experimenter_id=owner.experimenter_id, experiment="nova", role=ANALYSIS))

    assert person.get("campaigns", place="nova/analysis").status_int == 200
