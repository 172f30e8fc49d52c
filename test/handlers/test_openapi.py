"""The description of the interface is true: every operation in it answers as it says, whatever it is sent.

``POMS_TEST_API_CASES`` is how many generated requests are sent to each operation (a few in the ordinary run).
"""

from __future__ import annotations

import json
import os
from urllib.parse import quote

import jsonschema_rs
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import booleans, one_of
from webtest import TestApp, Upload

from poms.webservice import app
from poms.webservice.handlers import openapi
from poms.webservice.handlers.routing import Router
from poms.webservice.testing import campaign_texts

ROUTES = Router(app.ROUTES).routes
DOCUMENT = openapi.document(ROUTES, server="http://poms.example.org")
OPERATIONS = [(route, method) for route in ROUTES
              for method in ("get", "post") if method in openapi.path_item(route)]
CASES = int(os.environ.get("POMS_TEST_API_CASES", "2"))
INI = campaign_texts.plain({"gen": ""}).encode()
EDIT = json.dumps({"text": INI.decode().replace("typed", "other")}).encode()
VALUES = {
    "search_term": "1", "session_experiment": "samdev", "session_role": "production", "new_name": "another",
    "sample": "sbnd_mc", "campaign_name": "mc", "campaign_stage_name": "gen", "name": "mc", "is_active": "1",
    "tag_name": "MCC9", "tag": "MCC9", "is_hold": "Hold", "fname": "x_1", "status": "Running", "campaign": "gen",
    "command_executed": "jobsub_submit x", "recovery_type": "process_status", "version": "1",
    "param_overrides": '[["-Ox=", "1"]]', "software_version": "v2", "ae_definition_name": "made",
    "ae_launch_script": "fife_launch", "ae_launch_host": "localhost", "job_type_id": "1",
    "filename": "typed.ini", "campaign_stage": "1", "ae_vo_role": "Production", "ae_completion_type": "complete",
    "ae_completion_pct": "95", "ae_launch_name": "here", "ae_campaign_definition": "work", "ae_dataset": "None",
    "ae_stage_name": "more", "ae_campaign_name": "typed", "ae_software_version": "v1", "kind": "job_type",
    "host": "localhost", "script": "run",
    "block": "old", "to": "fourth", "createds": "2026-03-01 12:00:00", "delete": "1", "last_split_custom_val": "0",
    "dims": "file_name %", "dd_submissions": "7", "decision_id": "1", "undo_id": "1",
    "test_id": "1", "watch_id": "1", "about": "finished", "channel": "mail", "address": "olive@example.org",
    "quiet": "22:00-07:00", "username": "olive",
    "sample_id": "1", "sample_text": INI.decode(),
}
# Values that one route needs to be others.
INSTEAD = {
    "submission_act": {"act": "relaunch"},
    "job_type_rm": {"ae_definition_name": "old"}, "login_setup_rm": {"ae_launch_name": "old"},
    "login_setup_edit": {"ae_launch_name": "made"}, "editor_block": {"block": "old"},
    "campaign_add_name": {"campaign_name": "fifth"}, "gui_wf_clone": {"campaign": "typed"},
    "gui_wf_edit": {"campaign": "mc"}, "person": {"username": "olive"},
}
# Arguments that a request needs though none of them is required by itself.
ALSO = {
    "sample_save": ("name",), "watch": ("campaign_id",), "watch_change": ("about",), "people_add": ("username",),
    "update_stage_param_overrides": ("param_overrides",), "update_campaign_stage": ("software_version",),
    "job_type_edit": ("ae_launch_script",), "login_setup_edit": ("ae_launch_host",),
    "campaign_stage_edit": ("ae_stage_name", "ae_campaign_name", "ae_software_version", "ae_vo_role", "ae_dataset",
                            "ae_completion_type", "ae_completion_pct", "ae_launch_name", "ae_campaign_definition"),
    "get_submission_id_for": ("campaign_stage_id",), "editor_data": ("campaign_id",),
    "gui_wf_edit": ("campaign",), "campaign_deps": ("campaign_name",), "campaign_task_files": ("campaign_stage_id",),
    "update_campaign_split": ("last_split_custom_val",), "show_dimension_files": ("dims",),
    "calculate_dd_project_completion": ("dd_submissions",), "search_campaigns": ("search_term",),
    "editor_block": ("kind", "block"), "login_setup_save": ("host",), "job_type_save": ("script",),
}
# What cannot succeed on what is in the database here: the status that says so.
REFUSED = {
    "stages_switch": 409, "watch_address": 404, "watch_test": 404, "recover": 400, "recovery_answer": 404,
    "scout_answer": 404, "launch_recovery_for": 400, "abort_launch": 409, **dict.fromkeys((
        "people_act", "people_add",
        "calculate_dd_project_completion", "campaign_stage_datasets", "set_job_launches", "update_submissions",
        "wrapup_tasks", "mark_failed_submissions", "make_stale_campaigns_inactive", "launch_queued_job"), 403),
}


@pytest.fixture
def values(site, owner, items):
    """A good value for every argument that needs one."""
    jobs = site.program(owner).get("submission", items.ids["submission_id"], fmt="json").json["jobs"]
    site.world.batch.write_text(jobs[0]["batch_id"], "stdout", b"done\n")
    person = site.program(owner)
    person.post("ini_to_campaign", files=[("upload", "typed.ini", INI)])
    person.post("upload_file", files=[("filename", "typed.ini", INI)])
    person.post("watch", {"campaign_stage_id": items.ids["campaign_stage_id"]})
    typed = person.get("get_campaign_stage_id", campaign_name="typed", campaign_stage_name="gen").json
    for action in ("job_type_edit", "login_setup_edit"):
        kind = {"job_type_edit": "ae_definition_name", "login_setup_edit": "ae_launch_name"}[action]
        for name in ("old", "generic"):
            person.post(action, {"action": "add", kind: name, "ae_launch_script": "x", "ae_launch_host": "localhost"})
    person.post("login_setup_test", {"login_setup_id": items.ids["login_setup_id"]})
    person.post("link_tags", {"campaign_id": items.ids["campaign_id"], "tag_name": "first"})
    person.post("list_columns", {"list": "tags"})
    person.post("sample_save", {"name": "kept", "sample_text": INI.decode()})
    return {**VALUES, **items.ids, "batch_id": jobs[0]["batch_id"], "campaign_stage": str(typed), "tag_id": "1"}


def responses_of(route, method):
    return openapi.path_item(route)[method]["responses"]


def validate(schema, value):
    whole = {**schema, "components": DOCUMENT["components"]}
    jsonschema_rs.validator_for(whole).validate(value)


def good(route, values):
    """Arguments with which a request makes sense: what is required, and what names an item."""
    values = {**values, **INSTEAD.get(route.name, {})}
    named = {need.argument for need in route.needs if need.argument}
    if len(named) > 1:
        named = {next(need.argument for need in route.needs if need.argument)}
    found = {}
    for name, param in route.arguments.items():
        if param.schema.get("format") == "binary":
            found[name] = Upload("edit.json", EDIT) if name == "edit" else Upload("typed.ini", INI)
        elif name in values and (param.required or name in named or name in ALSO.get(route.name, ())):
            found[name] = str(values[name])
        elif param.required:
            found[name] = next(iter(route.by_act), "") or param.choices[0]
    return found


def ask(site, who, route, method, fields, **headers):
    person = site.program(who)
    path = [fields.pop(name) for name in route.path if name in fields]
    where = "/".join(["/poms", route.words[0], "samdev", "production", *(quote(one, safe="") for one in path)])
    if method == "get":
        fields = {name: one.content.decode() if isinstance(one, Upload) else one for name, one in fields.items()}
        return person.client.get(where, fields, headers=person.headers(headers), status="*")
    return person.client.post(where, fields, headers=person.headers(headers), status="*")


def test_every_route_is_described():
    """No address is left out, and none is there twice."""
    assert len(DOCUMENT["paths"]) == len(ROUTES)
    assert {path.split("/")[2] for path in DOCUMENT["paths"]} == {route.words[0] for route in ROUTES}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_every_argument_is_described_with_its_kind(route):
    """In the address, in the query or in the form; with a schema that says what it may be."""
    item = openapi.path_item(route)
    places = {one["name"]: one["schema"] for one in item["parameters"]}
    form = next(iter(item["post"].get("requestBody", {"content": {"": {"schema": {"properties": {}}}}})
                     ["content"].values()))["schema"]["properties"]

    for name in route.arguments:
        assert {**places, **form}[name].get("type"), f"{name} says nothing about itself"


def test_what_is_said_of_answers_belongs_to_a_route():
    """A route that was renamed takes its answer with it."""
    assert set(openapi.ANSWERS) <= {route.name for route in ROUTES}


def test_what_a_route_does_is_said_in_whole_sentences():
    """Also where its docstring has several lines; marks of code are for readers of code."""
    said = {route.name: openapi.summary_of(route) for route in ROUTES}

    assert [name for name, text in said.items() if not text.endswith(".") or "`" in text] == []


def test_a_change_is_never_described_as_a_get():
    """Programs that read the document do not change anything by looking."""
    assert not [route.name for route in ROUTES if route.changes and "get" in openapi.path_item(route)]


@pytest.mark.parametrize(("route", "method"), OPERATIONS, ids=lambda one: getattr(one, "name", one))
def test_every_operation_answers_json_as_described(site, owner, values, write_text, route, method):
    """Status, kind and shape are those of the document."""
    answer = ask(site, owner, route, method, good(route, values), Accept="application/json")

    assert answer.status_int == REFUSED.get(route.name, answer.status_int)
    assert answer.status_int < 400 or route.name in REFUSED, answer.text[:500]
    described = responses_of(route, method)[str(answer.status_int)]
    if "$ref" in described:
        described = DOCUMENT["components"]["responses"][str(answer.status_int)]
    if answer.status_int == 303:
        assert answer.headers["Location"].startswith("/poms/")
    else:
        kind = answer.content_type
        assert kind in described["content"]
        validate(described["content"][kind]["schema"], answer.json if kind == "application/json" else answer.text)


def test_every_operation_refuses_strangers_as_described(site, items):
    """Somebody of no experiment gets the document of a failure, not data; what is refused leaves all as it was."""
    stranger = site.world.person("stranger", experiment="nova")
    values = {**VALUES, **items.ids, "batch_id": "1.0@s", "tag_id": "1"}

    let_in = []
    for route, method in OPERATIONS:
        answer = ask(site, stranger, route, method, good(route, values), Accept="application/json")
        if answer.status_int not in (403, 404):
            let_in.append((route.name, method, answer.status_int))
            continue
        validate(DOCUMENT["components"]["schemas"]["Failure"], answer.json)

    assert let_in == []


def test_the_document_is_served_at_its_known_address(site, owner):
    """Without experiment and role, to anybody who is known; with doubled slashes as clients send them."""
    answer = site.program(owner).client.get("/poms//openapi.json", headers=site.program(owner).headers())

    assert answer.json["paths"].keys() == DOCUMENT["paths"].keys()
    assert answer.json["servers"] == [{"url": site.core.settings.service.public_url}]


def test_the_page_for_people_names_every_address(site, owner):
    """In words, with who may use it."""
    text = site.browser(owner).get("api").text.replace("<wbr>", "")

    for route in ROUTES:
        assert f"/poms/{route.words[0]}/" in text


# ------------------------------------------------------------------------------ generated requests


SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
ADDRESSES = [(path, method) for path, item in DOCUMENT["paths"].items() for method in ("get", "post") if method in item]


def cases_of(operation):
    """Requests that fit the description, and requests that do not."""
    modes = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)
    return one_of(*(operation.as_strategy(generation_mode=mode) for mode in modes))


@pytest.mark.parametrize(("path", "method"), ADDRESSES, ids=lambda one: one.removeprefix("/poms/").split("/")[0])
def test_no_request_is_an_internal_error_or_answered_otherwise_than_described(site, owner, items, path, method):
    """Right and wrong values of every kind; experiment, role and items are real ones half of the time."""
    person, ids = site.program(owner), items.ids
    operation = SCHEMA[path][method.upper()]

    @settings(max_examples=CASES, deadline=None, database=None, derandomize=CASES < 10,
              suppress_health_check=list(HealthCheck))
    @given(case=cases_of(operation), real=booleans())
    def check(case, real):
        if real and isinstance(case.path_parameters, dict):
            case.path_parameters |= {"experiment": "samdev", "role": "production"}
            case.path_parameters |= {name: ids[name] for name in case.path_parameters if name in ids}
        sent = case.as_transport_kwargs(base_url="http://poms.example.org",
                                        headers={**person.headers(), "Accept": "application/json"})
        answer = send(person.client, sent)

        assert answer.status_int < 500 or answer.status_int == 503, answer.text[:500]
        described = DOCUMENT["paths"][path][method]["responses"]
        assert str(answer.status_int) in described, f"{answer.status_int} is not described: {answer.text[:300]}"

    check()


def send(client: TestApp, sent):
    """A request of the generator through the application, as it would come over the network.

    Servers leave out headers with an underscore, which an application could not tell from those with a dash.
    """
    ready = requests.Request(sent["method"], sent["url"], **{
        name: sent[name] for name in ("headers", "params", "data", "files", "json", "cookies") if sent.get(name)}
    ).prepare()
    path = ready.url.removeprefix("http://poms.example.org")
    return client.request(path, method=ready.method, body=ready.body if isinstance(ready.body, bytes) else
                          (ready.body or "").encode(), headers={str(key): value if isinstance(value, str) else
                                                                 value.decode("latin-1")
                                                                 for key, value in ready.headers.items()
                                                                 if "_" not in str(key)},
                          status="*", expect_errors=True)
