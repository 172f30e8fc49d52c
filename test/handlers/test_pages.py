"""Pages: shown to people, the same values as JSON to programs, sent only when something is new."""

from __future__ import annotations

import gzip
from dataclasses import replace
from wsgiref.util import setup_testing_defaults

import pytest
from sqlalchemy import select

from poms.webservice import app
from poms.webservice.handlers import render
from poms.webservice.handlers.routing import Router
from poms.webservice.interfaces import JobState
from poms.webservice.model import (
    Campaign,
    CampaignStage,
    CampaignTag,
    Experimenter,
    Job,
    JobType,
    LoginSetup,
    Submission,
    SubmissionFile,
    Tag,
)
from poms.webservice.services import holds, login_setup_tests
from poms.webservice.testing.world import stage

PAGES = [route for route in Router(app.ROUTES).routes if route.template and not route.changes]
CANARY = '"><svg/onload=1>'


def get(person, route, items, **more):
    arguments = {name: number for name, number in items.ids.items() if name in route.arguments}
    job = more.pop("batch_id", "")
    if "batch_id" in route.arguments:
        arguments["batch_id"] = job
    return person.get(route.name, **arguments, **more)


@pytest.fixture
def batch_id(site, owner, items):
    """A job of the submission."""
    return site.program(owner).get("submission", items.ids["submission_id"], fmt="json").json["jobs"][0]["batch_id"]


@pytest.mark.parametrize("route", PAGES, ids=lambda route: route.name)
def test_every_page_can_be_opened(site, owner, items, batch_id, route):
    """With what is in the database, not with an example."""
    answer = get(site.browser(owner), route, items, batch_id=batch_id)

    assert answer.status_int == 200, answer.text[:500]
    assert answer.html.find("h1") is not None


@pytest.mark.parametrize("route", PAGES, ids=lambda route: route.name)
def test_every_page_is_json_too(site, owner, items, batch_id, route):
    """The same values, for programs."""
    answer = get(site.program(owner), route, items, batch_id=batch_id, fmt="json")

    assert answer.status_int == 200
    assert answer.content_type == "application/json"
    assert isinstance(answer.json, dict)


@pytest.mark.parametrize("route", PAGES, ids=lambda route: route.name)
def test_an_address_without_experiment_and_role_leads_to_the_whole_one(site, owner, items, batch_id, route):
    """So that every bookmark is unambiguous."""
    arguments = {name: number for name, number in items.ids.items() if name in route.arguments}
    if "batch_id" in route.arguments:
        arguments["batch_id"] = batch_id

    answer = site.browser(owner).get(route.name, place="", **arguments)

    assert answer.status_int == 303
    assert answer.headers["Location"].startswith(f"/poms/{route.name}/samdev/production")
    assert site.browser(owner).client.get(answer.headers["Location"],
                                          headers=site.browser(owner).headers()).status_int == 200


@pytest.fixture
def hostile_world(site, owner, write_text):
    """The canary in every text that people, programs and batch systems can give; what names the items."""
    made = site.world.campaign_with(
        stage(CANARY, dataset=CANARY, script=CANARY, setup=CANARY, host=CANARY, parameters=[[CANARY, CANARY]],
              patterns=CANARY, software_version=CANARY, param_overrides=[[CANARY, CANARY]]),
        stage("next", after={CANARY: CANARY}), name=CANARY, owner=owner)
    write_text(made, f"[campaign]\nname = {CANARY}\n")
    number = site.world.submission(made, CANARY)
    site.world.poll()
    row = site.world.stage_row(made, CANARY)
    with site.core.db.write() as session:
        submission = session.get(Submission, number)
        submission.project = submission.command_executed = submission.wrapup_message = CANARY
        for job in session.scalars(select(Job)):
            job.site = job.node = job.hold_reason = CANARY
            job.state, job.cpu_seconds, job.wall_seconds = int(JobState.HELD), 60.0, 100.0
        for direction in ("in", "out"):
            session.add(SubmissionFile(submission_id=number, direction=direction, file_name=CANARY, state="consumed",
                                       parents=[CANARY], job=CANARY, updated=site.core.clock()))
        person = session.get(Experimenter, owner.experimenter_id)
        person.first_name = person.last_name = CANARY
        session.get(LoginSetup, row.login_setup_id).name = CANARY
        session.get(LoginSetup, row.login_setup_id).launch_account = CANARY
        session.get(JobType, row.job_type_id).name = CANARY
        session.get(Campaign, made.campaign_id).campaign_keywords = {CANARY: CANARY}
        session.add(CampaignTag(tag_id=_tag(session, owner), campaign_id=made.campaign_id))
    holds.hold_stages(site.core, owner, [made.stage("next")], hold=True, reason=CANARY)
    site.world.launch(made, "next", dataset_override=CANARY)
    test = login_setup_tests.request(site.core, owner, row.login_setup_id, "a test")
    job = site.world.get(number) and site.program(owner).get("submission", number, fmt="json").json["jobs"][0]
    return {"campaign_id": made.campaign_id, "campaign_stage_id": made.stage(CANARY), "submission_id": number,
            "login_setup_id": row.login_setup_id, "job_type_id": row.job_type_id, "batch_id": job["batch_id"],
            "test_id": test, "username": owner.username}


def _tag(session, owner):
    tag = Tag(experiment="samdev", tag_name=CANARY, creator=owner.experimenter_id, creator_role="production")
    session.add(tag)
    session.flush()
    return tag.tag_id


def addresses(route, ids):
    """The page as each thing it can be about, with every choice it offers, and with the canary in every text."""
    given = {name: value for name, value in ids.items() if name in route.arguments}
    several = [name for name in given if not route.arguments[name].required]
    # A page about one of several things is asked about each of them.
    shapes = [{name: given[name]} for name in several] if len(several) > 1 else [given]
    for shape in shapes:
        required = {name: value for name, value in given.items() if route.arguments[name].required}
        texts = {name: CANARY for name in ("text", "tag", "source") if name in route.arguments}
        yield {**required, **shape}
        yield {**required, **shape, **{name: CANARY for name in texts if name != "source"}}
        for face in route.arguments["face"].choices if "face" in route.arguments else ():
            yield {**required, **shape, "face": face}


@pytest.mark.parametrize("route", PAGES, ids=lambda route: route.name)
def test_texts_are_text_on_every_page(site, owner, hostile_world, route):
    """Whatever people call things and systems answer, no page takes it for markup, in no face and no file of it."""
    browser = site.browser(owner)

    for arguments in addresses(route, hostile_world):
        answer = browser.get(route.name, **arguments)
        assert answer.status_int == 200, (arguments, answer.html.main.text[:300])
        assert "<svg/onload" not in answer.text, arguments
        assert "onload" not in {name for tag in answer.html.find_all(True) for name in tag.attrs}


@pytest.mark.parametrize("word", ["campaigns", "held_launches", "samples"])
def test_a_page_that_shows_nothing_new_is_not_sent_again(site, owner, items, word):
    """The tag is of what is shown; form tokens and the time of day do not count."""
    browser = site.browser(owner)
    tag = browser.get(word).headers["ETag"]

    again = browser.get(word, headers={"If-None-Match": tag})

    assert again.status_int == 304
    assert again.body == b""


def test_a_page_that_shows_something_new_is_sent(site, owner, campaign):
    """Here a second campaign."""
    browser = site.browser(owner)
    tag = browser.get("campaigns").headers["ETag"]
    site.world.campaign_with(stage("gen"), name="another", owner=owner)

    again = browser.get("campaigns", headers={"If-None-Match": tag})

    assert again.status_int == 200
    assert "another" in again.text


def test_a_page_is_compressed_for_those_who_want_it(site, owner, campaign):
    """And for nobody else."""
    identity = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in site.identity("olive").items()}

    def fetch(accepted: str) -> tuple[dict[str, str], bytes]:
        environ = {"PATH_INFO": "/poms/campaigns/samdev/production", "REMOTE_ADDR": "127.0.0.1",
                   "HTTP_ACCEPT_ENCODING": accepted, **identity}
        setup_testing_defaults(environ)
        seen: list = []
        body = b"".join(site.wsgi(environ, lambda status, headers, *_: seen.append(dict(headers))))
        return seen[0], body

    headers, packed = fetch("gzip")
    assert headers["Content-Encoding"] == "gzip"
    assert b"<h1>Campaigns</h1>" in gzip.decompress(packed)
    headers, plain = fetch("identity")
    assert "Content-Encoding" not in headers
    assert b"<h1>Campaigns</h1>" in plain


@pytest.mark.parametrize(("accepted", "packed"), [
    ("gzip", True), ("br, gzip;q=0.5", True), ("GZIP", True), ("", False), ("br", False), ("gzip; q=0", False)])
def test_only_what_is_wanted_and_worth_it_is_compressed(accepted, packed):
    """A short answer would only become longer, a picture as well."""
    body = b"x" * 5000

    result = render.compress(body, "text/html; charset=utf-8", accepted)

    assert (result is not None) == packed
    assert result is None or gzip.decompress(result) == body
    assert render.compress(b"x", "text/html", accepted) is None
    assert render.compress(body, "image/png", accepted) is None


def test_head_has_no_body(site, owner):
    """For those who only look whether it is there."""
    person = site.browser(owner)

    answer = person.client.head(person.address("campaigns"), headers=person.headers())

    assert answer.status_int == 200
    assert answer.body == b""


def test_a_message_is_shown_once(site, owner):
    """What was done is told on the next page, and only there."""
    browser = site.browser(owner)
    browser.post("launch_gate", {"act": "hold"})

    first, second = browser.get("held_launches"), browser.get("held_launches")

    assert "Launches of samdev are kept for later" in first.html.find(class_="toast").text
    assert second.html.find(class_="toast") is None


def test_a_message_that_we_did_not_write_is_not_shown(site, owner):
    """Nobody puts words into our mouth by a cookie."""
    answer = site.browser(owner).get("campaigns", headers={"Cookie": "poms_message=WyJkb25lIiwieCIsInkiXQ.forged"})

    assert answer.html.find(class_="toast") is None


def test_the_frame_offers_the_roles_that_one_may_act_in(site, owner):
    """And the same page in each of them."""
    page = site.browser(owner).get("campaigns", text="x").html
    roles = {link.text: link["href"] for link in page.select("details.plate a")}

    assert roles["analysis"] == "/poms/campaigns/samdev/analysis?text=x"
    assert "superuser" not in roles


def test_the_page_of_an_item_is_offered_in_other_roles(site, owner, items):
    """The item stays in the address."""
    page = site.browser(owner).get("campaign", items.ids["campaign_id"]).html
    roles = {link.text: link["href"] for link in page.select("details.plate a")}

    assert roles["analysis"] == f"/poms/campaign/samdev/analysis/{items.ids['campaign_id']}"


def test_the_menu_leads_to_the_pages_that_the_experiment_names(site, owner, campaign):
    """Its logbook and calendar, as poms.ini says; without any there is no such part of the menu."""
    assert site.browser(owner).get("campaigns").html.find(id="side-elsewhere") is None
    settings = site.core.settings
    links = ("Beam logbook https://elog.example.org/beam?a=1&b=<2>",)
    core = replace(site.core, settings=replace(settings, experiments={}, experiment_defaults=replace(
        settings.experiment_defaults, links=links)))

    page = replace(site, wsgi=app.build(core)).browser(owner).get("campaigns").html

    link = page.select_one("ul[aria-labelledby=side-elsewhere] a")
    assert (link.get_text(strip=True), link["href"]) == ("Beam logbook", "https://elog.example.org/beam?a=1&b=<2>")


def test_a_large_page_needs_few_statements(site, owner):
    """The number of statements does not grow with what is shown."""
    from sqlalchemy import event

    for number in range(30):
        site.world.campaign_with(stage("gen"), stage("reco", after="gen"), name=f"c{number}", owner=owner)
    statements = []
    event.listen(site.core.db.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))

    assert site.browser(owner).get("campaigns").status_int == 200
    assert len(statements) <= 12, statements


@pytest.mark.parametrize(("text", "found"), [
    ("1", "/poms/submission/samdev/production/1"), ("mc", "/poms/campaign/samdev/production/1"),
    ("MC", "/poms/campaign/samdev/production/1"), ("*reco*", "/poms/stage/samdev/production/2")])
def test_a_search_leads_straight_to_what_is_meant(site, owner, items, text, found):
    """A number to the submission, a name to the only thing whose name has it."""
    assert site.browser(owner).get("search", search_term=text).headers["Location"] == found


def test_a_search_shows_all_that_may_be_meant(site, owner, items):
    """Campaigns, stages, tags and one's own files, each with its kind."""
    site.world.campaign_with(stage("gen_mc"), name="mc_second", owner=owner)
    site.program(owner).post("campaigns_act", {"campaign_id": "1", "act": "tag", "tag": "amc"})
    site.program(owner).post("upload_file", files=[("filename", "notes_mc.txt", b"x")])

    page = site.browser(owner).get("search", search_term="mc").html

    shown = {panel.h2.text: [link.text for link in panel.select("li a")] for panel in page.select("main section")}
    assert shown == {"Campaigns": ["mc", "mc_second"], "Stages": ["gen_mc"], "Tags": ["amc"],
                     "Your files": ["notes_mc.txt"]}


@pytest.mark.parametrize("text", ["", "   ", "*", "%", "_", "nothing like it", "'; DROP TABLE campaigns", "9" * 30])
def test_a_search_that_finds_nothing_says_what_is_found(site, owner, items, text):
    """Signs of patterns are letters like others."""
    page = site.browser(owner).get("search", search_term=text)

    assert page.status_int == 200
    assert not page.html.select("main section")


def test_a_batch_id_is_found(site, owner, items):
    """That of a job leads to the job, that of a cluster or of a job that is not known to the submission."""
    browser = site.browser(owner)
    page = site.program(owner).get("submission", items.ids["submission_id"], fmt="json").json
    cluster, _, schedd = page["submission"]["batch_id"].partition("@")

    assert browser.get("search", search_term=page["jobs"][0]["batch_id"]).headers["Location"] == page["jobs"][0]["url"]
    for text in (f"{cluster}.9999@{schedd}", f"{cluster}@{schedd}"):
        assert browser.get("search", search_term=text).headers["Location"] == page["submission"]["url"]


def test_the_tag_of_values_does_not_depend_on_form_tokens():
    """They differ with every look."""
    assert render.tag_of({"a": 1, "csrf_token": "x"}) == render.tag_of({"a": 1, "csrf_token": "y"})
    assert render.tag_of({"a": 1}) != render.tag_of({"a": 2})


@pytest.mark.parametrize("word", ["stage", "stage_submissions", "time_bars", "sheet", "schedule", "submission", "job"])
def test_a_stage_that_a_later_text_left_out_is_still_shown(site, owner, items, batch_id, word):
    """Its submissions are remembered, so bookmarks and mails lead to it and to them."""
    number, submission = items.ids["campaign_stage_id"], items.ids["submission_id"]
    site.world.change(CampaignStage, number, campaign_id=None)
    site.world.change(Submission, submission, campaign_id=None)
    given = {"submission": {"submission_id": submission}, "job": {"submission_id": submission, "batch_id": batch_id}}

    answer = site.browser(owner).get(word, **given.get(word, {"campaign_stage_id": number}))

    assert answer.status_int == 200, answer.html.main.text[:300]
