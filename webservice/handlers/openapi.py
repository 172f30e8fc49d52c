"""The interface for programs, described by itself: an OpenAPI document and a readable page.

Made from the declarations of the routes (address, arguments, methods, rights), so it cannot fall behind them.
What a route answers beyond the common kinds stands in ``ANSWERS``; a route that is not there is described by its kind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from poms.webservice import __version__
from poms.webservice.handlers.answers import Answer, Call, Data, Page
from poms.webservice.handlers.params import Param
from poms.webservice.handlers.routing import MOUNT, Known, Need, Route, Routes

Schema = Mapping[str, Any]
NUMBER: Schema = {"type": "integer"}
TEXT: Schema = {"type": "string"}
MAYBE_NUMBER: Schema = {"type": ["integer", "null"]}
OBJECT: Schema = {"type": "object"}
BINARY = "binary"
LAUNCHING = frozenset({"launch_stage", "launch_campaign", "launch_jobs", "recover", "submission_act",
                       "launch_recovery_for"})
"""Routes that answer 423 to programs that do not ask for JSON, when launches are held."""

_FAILURES = {
    400: "The input cannot be accepted; problems lists everything that is wrong.",
    401: "Nobody knows who sent the request.",
    403: "Who sent it may not do this, or it was a form that POMS did not make.",
    404: "There is no such thing here.",
    405: "The address answers other methods only; Allow names them.",
    409: "Not now: it changed meanwhile, exists already, or is in a state that forbids this.",
    413: "Too much was sent.",
    414: "The address is too long.",
    503: "A system that POMS needs does not answer; try again.",
}


@dataclass(frozen=True, slots=True)
class Gives:
    """What a route answers with 200: JSON of a schema, text of a schema (and its kind), bytes, or only the way on."""

    json: Schema | None = None
    text: Schema | None = None
    text_type: str = "text/plain"
    data: bool = False
    elsewhere: bool = False


def items(of: Schema) -> Schema:
    return {"type": "array", "items": of}


def record(**keys: Schema) -> Schema:
    """An object that has at least these keys."""
    return {"type": "object", "properties": keys, "required": list(keys)}


_PIECE = record(text=TEXT, offset=NUMBER, done={"type": "boolean"})
_SAYS = record(message=TEXT)
_OK: Schema = {"type": "string", "const": "Ok."}
_PLAIN = Gives(text=TEXT)
_ID_OR_NULL = Gives(json=MAYBE_NUMBER)
_LISTING = Gives(json=items(record(name=TEXT)))

ANSWERS: Mapping[str, Gives] = {
    "openapi": Gives(json=record(openapi=TEXT, info=OBJECT, paths=OBJECT)),
    "search": Gives(json=record(submission_id=MAYBE_NUMBER), elsewhere=True),
    "download": _PLAIN,
    "sample_text": _PLAIN,
    "preview_text": Gives(json=record(status=TEXT, effects=items(OBJECT)), text=TEXT, text_type="text/html"),
    "upload": Gives(json=record(status=TEXT, result=OBJECT), text=TEXT, text_type="text/html", elsewhere=True),
    "launch_log_piece": Gives(json=_PIECE),
    "job_log_piece": Gives(json=_PIECE),
    "launch_log_text": _PLAIN,
    "job_log_text": _PLAIN,
    "list_launch_file": _PLAIN,
    "session_status_history": Gives(json=items(record(created=TEXT, status=TEXT))),
    "force_locate_submission": Gives(text=_OK),
    "experiment_list": Gives(json=items(TEXT)),
    "campaign_list_json": Gives(json=items(record(campaign_stage_id=NUMBER, name=TEXT, experiment=TEXT))),
    "get_campaign_id": _ID_OR_NULL,
    "get_campaign_name": _PLAIN,
    "get_campaign_stage_id": _ID_OR_NULL,
    "get_campaign_stage_name": Gives(json={"type": "array", "items": {"type": ["string", "null"]}, "minItems": 2,
                                           "maxItems": 2}),
    "show_campaigns": Gives(json=record(tl={"type": ["array", "null"]}, last_activity=TEXT, msg=TEXT,
                                        data={"type": ["object", "null"]}), elsewhere=True),
    "show_campaign_stages": Gives(json=record(campaign_stages=items(OBJECT), campaign_name=TEXT), elsewhere=True),
    "campaign_stage_submissions": Gives(json=record(data=record(submissions=items(record(
        submission_id=NUMBER, status=TEXT, campaign_stage_name=TEXT)), depends=OBJECT, depth=OBJECT)), elsewhere=True),
    "submission_details": Gives(json=record(submission_id=TEXT, submission=OBJECT, history=items(OBJECT),
                                            statusmap=OBJECT, recoverymap=OBJECT), elsewhere=True),
    "running_submissions": Gives(json={"type": ["array", "object"]}),
    "campaign_stage_datasets": Gives(json=OBJECT),
    "editor_data": Gives(json=OBJECT),
    "editor_block": Gives(json=record(values=OBJECT)),
    "editor_check": Gives(json=OBJECT),
    "editor_preview": Gives(json=record(status=TEXT)),
    "editor_save": Gives(json=record(status=TEXT)),
    "campaign_deps_ini": Gives(text=TEXT, text_type="text/ini"),
    "ini_to_campaign": Gives(json={"type": ["object", "string"]}),
    "link_tags": Gives(json=record(campaign_id=TEXT, tag_name=TEXT, tag_id=MAYBE_NUMBER, msg=TEXT)),
    "delete_campaigns_tags": Gives(json=record(msg=TEXT, changed=NUMBER)),
    "search_all_tags": Gives(json=record(result=items({"type": "array", "minItems": 2, "maxItems": 2}), msg=TEXT)),
    "auto_complete_tags_search": Gives(json=record(results=items(record(name=TEXT)))),
    "search_tags": Gives(json=record(results=items({"type": "array", "minItems": 2, "maxItems": 2})), elsewhere=True),
    "search_campaigns": Gives(json=record(results=items({"type": "array", "minItems": 2, "maxItems": 2})),
                              elsewhere=True),
    "experiment_membership": Gives(json=record(data=record(members=items({"type": "array", "minItems": 3}))),
                                   elsewhere=True),
    "campaign_add_name": Gives(text=TEXT, text_type="text/html"),
    "register_poms_campaign": Gives(text={"type": "string", "pattern": "^Campaign=[0-9]+$"}),
    "gui_wf_edit": Gives(elsewhere=True),
    "watch_campaign": Gives(json=_SAYS),
    "show_watching": Gives(elsewhere=True),
    "campaign_deps": Gives(elsewhere=True),
    "campaign_task_files": Gives(elsewhere=True),
    "campaign_stage_edit_query": _PLAIN,
    "launch_jobs_commands": _PLAIN,
    "abort_launch": _PLAIN,
    "held_launches_remove": Gives(elsewhere=True),
    "calculate_dd_project_completion": Gives(json={"type": "object", "additionalProperties": {
        "type": ["number", "null"]}}),
    "show_dimension_files": Gives(json=record(flist=items(TEXT))),
    "update_submission": Gives(text=_OK),
    "update_submissions": Gives(json=record(status=TEXT)),
    "get_submission_id_for": Gives(text={"type": "string", "pattern": "^Task=[0-9]+$"}),
    "clear_cache": _PLAIN,
    "wrapup_tasks": _PLAIN,
    "mark_failed_submissions": _PLAIN,
    "make_stale_campaigns_inactive": _PLAIN,
    "launch_queued_job": _PLAIN,
    "update_campaign_stage": _PLAIN,
    "update_stage_param_overrides": _PLAIN,
    "campaign_stage_edit": Gives(json=_SAYS),
    "job_type_edit": Gives(json=_SAYS),
    "job_type_rm": Gives(json=_SAYS),
    "login_setup_edit": Gives(json=_SAYS),
    "login_setup_rm": Gives(json=_SAYS),
    "modify_job_type_recoveries": Gives(json=items({"type": "array", "minItems": 2, "maxItems": 2})),
    "jobtype_list": _LISTING,
    "loginsetup_list": _LISTING,
    "get_jobtype_id": _ID_OR_NULL,
    "get_loginsetup_id": _ID_OR_NULL,
    "file_uploads": Gives(json=record(file_stat_list=items({"type": "array", "minItems": 3, "maxItems": 3}),
                                      total=NUMBER, quota=NUMBER)),
    "download_file": Gives(text=TEXT, data=True),
    "remove_uploaded_files": Gives(text=_OK, elsewhere=True),
    "upload_file": Gives(elsewhere=True),
}

_DONE = record(status={"type": "string", "enum": ["ok", "problem"]}, message=TEXT, text=TEXT, url=TEXT)
_PAGE = Gives(json=OBJECT, text=TEXT, text_type="text/html", elsewhere=True)
_CHANGE = Gives(json=_DONE, elsewhere=True)
_ANYTHING = Gives(json={}, text=TEXT, elsewhere=True)


def gives(route: Route) -> Gives:
    """What a route answers when all is well."""
    known = ANSWERS.get(route.name)
    if known is not None:
        return known
    return _CHANGE if route.changes else _PAGE if route.template else _ANYTHING


def describing(groups: Sequence[Routes]) -> Routes:
    """The routes that describe these groups, and themselves."""
    routes = Routes()

    def declared() -> list[Route]:
        return [route for group in (*groups, routes) for route in group.declared]

    @cache
    def made(public_url: str) -> dict[str, Any]:
        return document(declared(), server=public_url)

    @routes.answer("openapi", words=("openapi.json",),
                   permission=Known("which addresses there are is no secret to people of any experiment"))
    def openapi(call: Call) -> Answer:
        """This interface as an OpenAPI document."""
        return Data(made(call.core.settings.service.public_url))

    @routes.page("api", "api.html", permission=Need("view", "experiment"))
    def api(call: Call) -> Answer:
        """This interface for people to read."""
        return Page({"groups": page_groups(declared()), "document_url": call.url("openapi")})

    return routes


# ------------------------------------------------------------------------------------ the document


def document(routes: Iterable[Route], *, server: str) -> dict[str, Any]:
    """The OpenAPI document of these routes."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "POMS", "version": __version__, "description":
                 "Campaigns of batch jobs: described, launched, followed, recovered. JSON comes with Accept: "
                 "application/json, with fmt=json, or with the header X-Poms-Client, which programs that may be taken "
                 "for browsers must send with every POST."},
        "servers": [{"url": server.rstrip("/")}],
        "security": [{"bearer": []}, {"certificate": []}],
        "paths": {address(route): path_item(route) for route in routes},
        "components": {
            "schemas": {"Failure": _failure_schema(), "Done": _DONE},
            "responses": {str(status): _failure(text) for status, text in _FAILURES.items()},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "A token, believed by the front end."},
                "certificate": {"type": "mutualTLS", "description": "A client certificate, known to the front end."}},
        },
    }


def address(route: Route) -> str:
    """The canonical address, with the arguments that its path may carry."""
    places = "".join(f"/{{{name}}}" for name in ("experiment", "role", *route.path))
    return f"{MOUNT}/{route.words[0]}{places}"


def path_item(route: Route) -> dict[str, Any]:
    """The operations of one route: reading goes by POST too, as older programs do."""
    item: dict[str, Any] = {"parameters": [
        _parameter("experiment", "path", {"type": "string", "maxLength": 64}, "Where to act."),
        _parameter("role", "path", {"type": "string", "enum": ["analysis", "production-shifter", "production",
                                                              "superuser"]}, "The role to act in."),
        *(_parameter(name, "path", _in_address(route.arguments[name])) for name in route.path)]}
    if not route.changes:
        item["get"] = {**_operation(route, "get"), "parameters": _query(route)}
    item["post"] = _operation(route, "post")
    form = _form(route)
    if form["properties"]:
        kind = "multipart/form-data" if _has_file(route) else "application/x-www-form-urlencoded"
        item["post"]["requestBody"] = {"required": bool(form["required"]), "content": {kind: {"schema": form}}}
    return item


def _operation(route: Route, method: str) -> dict[str, Any]:
    headers = [_parameter("X-Poms-Client", "header", {"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,40}$"},
                          "The name of the program; takes the place of a form's token.")]
    if method == "post" and route.changes:
        headers.append(_parameter("Idempotency-Key", "header", {"type": "string", "pattern": "^[A-Za-z0-9-]{8,64}$"},
                                  "A launch with the same key is made once."))
    older = f" Older names: {', '.join(route.words[1:])}." if len(route.words) > 1 else ""
    by_get = " Identities that no browser sends may use GET." if route.program_get else ""
    return {
        "operationId": f"{method}_{route.words[0].replace('.', '_')}", "tags": [group_of(route)],
        "summary": summary_of(route), "description": f"Right: {right_of(route)}.{older}{by_get}",
        "x-poms-right": right_of(route), "parameters": headers, "responses": _responses(route, method),
    }


def _query(route: Route) -> list[dict[str, Any]]:
    client = _operation(route, "get")["parameters"]
    return client + [_parameter(name, "query", param.schema, required=param.required)
                     for name, param in route.arguments.items() if name not in route.path]


def _form(route: Route) -> dict[str, Any]:
    arguments = {name: param for name, param in route.arguments.items() if name not in route.path}
    return {"type": "object", "properties": {name: dict(param.schema) for name, param in arguments.items()},
            "required": [name for name, param in arguments.items() if param.required]}


def _has_file(route: Route) -> bool:
    return any(param.schema.get("format") == BINARY for param in route.arguments.values())


def _in_address(param: Param) -> Schema:
    """A segment of an address cannot be empty."""
    return {**param.schema, "minLength": 1} if param.schema.get("type") == "string" else param.schema


def _parameter(name: str, place: str, schema: Schema, text: str = "", *, required: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name, "in": place, "required": required or place == "path",
                             "schema": dict(schema)}
    if text:
        found["description"] = text
    if schema.get("type") == "array":
        found |= {"style": "form", "explode": True}
    return found


def _responses(route: Route, method: str) -> dict[str, Any]:
    given = gives(route)
    content: dict[str, Any] = {}
    if given.json is not None:
        content["application/json"] = {"schema": dict(given.json)}
    if given.text is not None:
        content[given.text_type] = {"schema": dict(given.text)}
    if given.data:
        content["application/octet-stream"] = {"schema": {}}
    found: dict[str, Any] = {}
    if content:
        found["200"] = {"description": "Done." if route.changes else summary_of(route), "content": content}
    if given.elsewhere:
        found["303"] = {"description": "Location says where it goes on.",
                        "headers": {"Location": {"schema": {"type": "string"}}}}
    if method == "get" and route.template:
        found["304"] = {"description": "Nothing new since If-None-Match."}
    if route.name in LAUNCHING:
        found["423"] = _failure("Launches are held; this one was kept and can be released.")
    return found | {str(status): {"$ref": f"#/components/responses/{status}"} for status in _FAILURES}


def _failure(text: str) -> dict[str, Any]:
    return {"description": text, "content": {
        "application/json": {"schema": {"$ref": "#/components/schemas/Failure"}},
        "text/plain": {"schema": {"type": "string"}}, "text/html": {"schema": {"type": "string"}}}}


def _failure_schema() -> Schema:
    return record(status=NUMBER, message=TEXT, title=TEXT, remedy=TEXT, id=TEXT, problems=items(record(
        field=TEXT, message=TEXT, line=MAYBE_NUMBER, code=TEXT)))


# ---------------------------------------------------------------------------------------- in words


def group_of(route: Route) -> str:
    return route.handler.__module__.rpartition(".")[2]


def summary_of(route: Route) -> str:
    """The first paragraph of what the handler says of itself, without the marks of code."""
    said = " ".join((route.handler.__doc__ or "").strip().split("\n\n")[0].split())
    return said.replace("``", "") or route.name.replace("_", " ")


def right_of(route: Route) -> str:
    """Who may, in words."""
    if isinstance(route.permission, Known):
        return "any known person"
    by_act = [f"{name}: {_need_words(need)}" for name, need in route.by_act.items()]
    return "; ".join([*map(_need_words, route.needs), *by_act])


def _need_words(need: Need) -> str:
    if need.kind == "service":
        return f"{need.action} the service"
    if need.kind == "experiment":
        return f"{need.action} in the experiment"
    return f"{need.action} the {need.kind.replace('_', ' ')}{' if one is named' if need.optional else ''}"


def page_groups(routes: Iterable[Route]) -> list[dict[str, Any]]:
    """The routes for the readable page, in the order of their declaration."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for route in routes:
        arguments = [{"name": name, "required": param.required, "kind": _kind_words(param),
                      "choices": list(param.choices)} for name, param in route.arguments.items()]
        methods = "POST" if route.changes else "GET, POST"
        groups.setdefault(group_of(route), []).append({
            "address": address(route), "methods": f"{methods}, GET by programs" if route.program_get else methods,
            "older": list(route.words[1:]), "summary": summary_of(route), "right": right_of(route),
            "arguments": arguments, "answer": _answer_words(route)})
    return [{"name": name, "operations": operations} for name, operations in groups.items()]


def _kind_words(param: Param) -> str:
    kind = str(param.schema.get("type", "text"))
    if param.schema.get("format") == BINARY:
        return "file or text"
    return {"string": "text", "integer": "number", "array": "several"}.get(kind, kind)


def _answer_words(route: Route) -> str:
    given = gives(route)
    words = [name for name, there in (("JSON", given.json is not None), ("page", given.text_type == "text/html"),
                                      ("text", given.text is not None and given.text_type != "text/html"),
                                      ("303", given.elsewhere)) if there]
    return ", ".join(words)
