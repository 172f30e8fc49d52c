"""Login setups and job types in the browser: made, changed, cloned, switched, deleted when nothing uses them."""

from __future__ import annotations

import pytest

from poms.webservice.model import JobType, LoginSetup
from poms.webservice.rules.permissions import ANALYSIS, SHIFTER
from poms.webservice.services import blocks, campaigns
from poms.webservice.services.blocks import JobTypeChange, LoginSetupChange

KINDS = ("login_setup", "job_type")
FIELDS = {"login_setup": {"host": "gpvm01.example.org", "account": "samdevpro", "setup": "source setup.sh"},
          "job_type": {"script": "fife_launch -c x.cfg", "patterns": "%.root", "parameters": '[["-Oa=", "1"]]',
                       "recoveries": ""}}
HOSTILE = ["\"><svg/onload=1>", "'; DROP TABLE login_setups; --", "$(touch /tmp/x)", "%(dataset)s", "日本",
           "{{7*7}}"]


def make(person, kind, name, **more):
    return person.post(f"{kind}_save", {"name": name, **FIELDS[kind], **more})


def names(site, person, kind, **which):
    return [row["name"] for row in site.program(person).get(f"{kind}s", fmt="json", **which).json["blocks"]]


def number_of(site, kind, name):
    return blocks.find_id(site.core, kind, "samdev", name)


@pytest.mark.parametrize("kind", KINDS)
def test_one_is_made_found_and_changed(site, owner, kind):
    """By the form, as a person does it."""
    browser = site.browser(owner)

    answer = make(browser, kind, "mine")

    number = number_of(site, kind, "mine")
    assert answer.headers["Location"] == f"/poms/{kind}/samdev/production/{number}"
    assert names(site, owner, kind) == ["mine"]
    field = "setup" if kind == "login_setup" else "script"
    browser.post(f"{kind}_save", {f"{kind}_id": str(number), "act": "save", **FIELDS[kind], field: "other words"})
    assert browser.get(kind, number).html.select_one(f"[name={field}]").text.strip() == "other words"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_come_back_as_they_were_typed(site, owner, kind, text):
    """In the form, in the list and in the file; never as markup."""
    browser = site.browser(owner)
    field = "setup" if kind == "login_setup" else "script"
    make(browser, kind, "mine", **{field: text})

    page = browser.get(kind, number_of(site, kind, "mine"))

    assert page.html.select_one(f"[name={field}]").text.lstrip("\n") == text
    assert "<svg/onload" not in page.text
    assert "<svg/onload" not in browser.get(f"{kind}s", text=text).text
    assert names(site, owner, kind, text=text) == ["mine"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_that_is_taken_is_refused_with_what_was_typed(site, owner, kind):
    """Nothing is lost, and the field that is wrong says so."""
    browser = site.browser(owner)
    make(browser, kind, "mine")
    field = "host" if kind == "login_setup" else "patterns"

    answer = make(browser, kind, "mine", **{field: "typed.again"})

    assert answer.status_int == 409
    assert answer.html.select_one(f"[name={field}]")["value"] == "typed.again"
    assert "already exists" in answer.html.select_one("[role=alert]").text


def test_a_login_setup_without_a_host_is_refused(site, owner):
    """The field says what is missing."""
    answer = make(site.browser(owner), "login_setup", "mine", host="")

    assert answer.status_int == 400
    assert answer.html.select_one("[name=host]")["aria-invalid"] == "true"


@pytest.mark.parametrize(("field", "text"), [("parameters", '[["a"'), ("parameters", "[7]"), ("recoveries", "[[1]]"),
                                             ("recoveries", '[["no_such_kind", []]]')])
def test_a_list_that_is_none_is_refused(site, owner, field, text):
    """And stands in the form as it was typed."""
    answer = make(site.browser(owner), "job_type", "mine", **{field: text})

    assert answer.status_int == 400
    assert answer.html.select_one(f"[name={field}]").text.strip() == text
    assert number_of(site, "job_type", "mine") is None


def test_recoveries_are_kept_in_their_order(site, owner):
    """And come back as they were written."""
    kinds = list(site.core.backends.data("samdev").recovery_kinds())[:2]
    text = f'[["{kinds[1]}", [["-Om=", "4000"]]],\n ["{kinds[0]}", []]]'
    make(site.browser(owner), "job_type", "mine", recoveries=text)

    page = site.browser(owner).get("job_type", number_of(site, "job_type", "mine")).html

    assert page.select_one("[name=recoveries]").text.strip() == text


@pytest.mark.parametrize("kind", KINDS)
def test_a_clone_begins_with_the_values_of_the_other(site, owner, kind):
    """Under a name of its own; nothing is stored until it is sent."""
    make(site.browser(owner), kind, "mine")

    page = site.browser(owner).get(f"{kind}_new", source="mine").html

    assert page.select_one("[name=name]")["value"] == "mine_copy"
    assert (page.select_one("[name=host]") or page.select_one("[name=patterns]"))["value"] in FIELDS[kind].values()
    assert names(site, owner, kind) == ["mine"]


@pytest.mark.parametrize("kind", KINDS)
def test_another_name_leaves_the_first_as_it_was(site, owner, kind):
    """Who may not change one that is shared makes one of their own."""
    analyst = site.world.person("ana", ANALYSIS)
    make(site.browser(owner), kind, "mine")
    number = number_of(site, kind, "mine")
    sent = {f"{kind}_id": str(number), **FIELDS[kind], ("host" if kind == "login_setup" else "patterns"): "x.y"}

    refused = site.browser(analyst).post(f"{kind}_save", {**sent, "act": "save"})
    made = site.browser(analyst).post(f"{kind}_save", {**sent, "act": "save_as", "name": "anas"})

    assert refused.status_int == 403
    assert made.status_int == 303
    rows = {row["name"]: row for row in site.program(owner).get(f"{kind}s", fmt="json").json["blocks"]}
    assert (rows["mine"]["creator"], rows["anas"]["creator"]) == ("olive", "ana")
    assert rows["mine"]["host" if kind == "login_setup" else "patterns"] != "x.y"


@pytest.mark.parametrize("kind", KINDS)
def test_who_may_not_change_anything_is_offered_nothing(site, owner, kind):
    """A shifter looks at them, and may test where launches run, which changes nothing; the server refuses the rest."""
    make(site.browser(owner), kind, "mine")
    shifter = site.browser(site.world.person("sam", SHIFTER))
    number = number_of(site, kind, "mine")

    assert not shifter.get(kind, number).html.select("main form:not([action*=login_setup_test]) button")
    assert shifter.get(f"{kind}_new").status_int == 403
    assert shifter.post(f"{kind}_save", {"name": "x", **FIELDS[kind]}).status_int == 403
    assert shifter.post(f"{kind}_act", {f"{kind}_id": str(number), "act": "delete"}).status_int == 403


@pytest.mark.parametrize("kind", KINDS)
def test_one_that_nothing_uses_can_be_deleted(site, owner, kind):
    """For good."""
    browser = site.browser(owner)
    make(browser, kind, "mine")
    number = number_of(site, kind, "mine")
    assert "Delete" in browser.get(kind, number).html.main.text

    browser.post(f"{kind}_act", {f"{kind}_id": str(number), "act": "delete"})

    assert number_of(site, kind, "mine") is None


@pytest.mark.parametrize("kind", KINDS)
def test_one_that_is_used_cannot_be_deleted(site, owner, campaign, kind):
    """Its page says where it is used, offers no deletion, and the server refuses one."""
    browser = site.browser(owner)
    number = number_of(site, kind, f"mc_gen_{'setup' if kind == 'login_setup' else 'job'}")

    page = browser.get(kind, number).html

    assert page.select_one("table tbody th a")["href"] == f"/poms/stage/samdev/production/{campaign.stage('gen')}"
    assert page.find(id="delete-block") is None
    assert browser.post(f"{kind}_act", {f"{kind}_id": str(number), "act": "delete"}).status_int == 409


@pytest.mark.parametrize("kind", KINDS)
def test_one_is_tried_out_by_a_stage_that_uses_it(site, owner, campaign, kind):
    """The button leads to the preview of a test launch; who may not launch the stage has none."""
    number = number_of(site, kind, f"mc_gen_{'setup' if kind == 'login_setup' else 'job'}")
    analyst = site.world.person("ana", ANALYSIS)

    address = site.program(owner).get(kind, number, fmt="json").json["uses"][0]["test_url"]

    assert address == f"/poms/preview/samdev/production/{campaign.stage('gen')}?test=1"
    assert site.browser(owner).client.get(address, headers=site.browser(owner).headers()).status_int == 200
    assert site.program(analyst).get(kind, number, fmt="json").json["uses"][0]["test_url"] == ""


@pytest.mark.parametrize(("kind", "model"), [("login_setup", LoginSetup), ("job_type", JobType)])
def test_one_can_be_put_to_rest(site, owner, kind, model):
    """It leaves the list of active ones, and comes back."""
    browser = site.browser(owner)
    make(browser, kind, "mine")
    number = number_of(site, kind, "mine")

    browser.post(f"{kind}_act", {f"{kind}_id": str(number), "act": "deactivate"})
    assert (names(site, owner, kind), names(site, owner, kind, view="inactive")) == ([], ["mine"])

    browser.post(f"{kind}_act", {f"{kind}_id": str(number), "act": "activate"})
    assert names(site, owner, kind) == ["mine"]


@pytest.mark.parametrize("kind", KINDS)
def test_those_of_other_experiments_are_not_there(site, owner, kind):
    """Neither in the list nor under their number."""
    other = site.world.person("olga", experiment="other")
    make(site.browser(other), kind, "theirs")
    number = blocks.find_id(site.core, kind, "other", "theirs")

    assert names(site, owner, kind) == []
    assert site.browser(owner).get(kind, number).status_int == 404
    assert site.browser(owner).post(f"{kind}_act", {f"{kind}_id": str(number), "act": "delete"}).status_int == 404


def test_shared_ones_can_be_cloned_by_everybody(site):
    """Those of samdev serve all experiments; they are changed there only."""
    other = site.world.person("olga", experiment="other")
    keeper = site.world.person("olive")
    blocks.save_login_setup(site.core, keeper, "generic", LoginSetupChange("localhost", "", "true"), add=True)

    row = site.program(other).get("login_setups", fmt="json").json["blocks"][0]

    assert (row["shared"], row["url"], row["may"]["modify"]) == (True, "", False)
    page = site.browser(other).get("login_setup_new", source="generic").html
    assert page.select_one("[name=host]")["value"] == "localhost"


TEXT = """[campaign]
name = switching

[campaign_stage gen]
vo_role = Production
software_version = v1
dataset_or_split_data = None
stage_type = generator
completion_type = complete
completion_pct = 100
login_setup = first
job_type = run
"""


def test_stages_are_switched_to_another_one(site, owner):
    """Their campaign's text says so from then on, as a new version; the launch uses it."""
    for name in ("first", "second"):
        blocks.save_login_setup(site.core, owner, name, LoginSetupChange("localhost", "", "true"), add=True)
    blocks.save_job_type(site.core, owner, "run", JobTypeChange(launch_script="run"), add=True)
    made = campaigns.save_text(site.core, owner, TEXT.encode(), source="upload")
    assert made.problems == ()
    browser = site.browser(owner)
    page = browser.get("login_setup", number_of(site, "login_setup", "first")).html
    box = page.select_one("tbody input[name=campaign_stage_id]")

    answer = browser.post("stages_switch", {"campaign_stage_id": [box["value"]], "kind": "login_setup",
                                            "name": "second"})

    second = number_of(site, "login_setup", "second")
    assert answer.headers["Location"] == f"/poms/login_setup/samdev/production/{second}"
    uses = site.program(owner).get("login_setup", second, fmt="json").json["uses"]
    assert [use["stage"] for use in uses] == ["gen"]
    text = campaigns.version_text(site.core, owner, made.campaign_id)
    assert (b"login_setup = second" in text) if isinstance(text, bytes) else ("login_setup = second" in text)


def test_a_list_of_many_needs_few_statements(site, owner):
    """The number does not grow with the rows that are shown."""
    from poms.webservice.testing.statements import recorded

    for number in range(3):
        make(site.program(owner), "job_type", f"j{number}")
    with recorded(site.core.db.engine) as few:
        site.program(owner).get("job_types", fmt="json")
    for number in range(3, 40):
        make(site.program(owner), "job_type", f"j{number}")
    with recorded(site.core.db.engine) as many:
        site.program(owner).get("job_types", fmt="json")

    assert len(many) <= max(len(few), 12)
