"""How SAM's HTTP API writes requests and answers: paths, parameters, formats, errors, the choice of a handler.

What is answered is in ``resources``. Names in paths are decoded once, part by part, so that a slash in a
name stays in it; every answer, errors too, has a content type.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes, urlsplit

from poms.webservice.errors import BackendUnavailable, Conflict, Invalid, NotFound, PomsError

from .database import QueryLimit
from .projects import Over

MAX_FIELDS = 200_000
NAMES_WITH_SLASHES = ("{file}", "{name}", "{project}")
JSON, TEXT = "application/json", "text/plain; charset=utf-8"


class BadRequest(PomsError):
    """The request cannot be understood; ``status`` says how."""

    def __init__(self, message: str, status: int = 400) -> None:
        self.status = status
        super().__init__(message)


class MethodNotAllowed(BadRequest):
    def __init__(self, allowed: Iterable[str]) -> None:
        self.allowed = ", ".join(sorted(allowed))
        super().__init__(f"this can only be asked for by {self.allowed}", 405)


@dataclass(frozen=True)
class Response:
    status: int
    body: str = ""
    content_type: str = TEXT
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Request:
    """One request below the API's root; names in ``path`` are decoded, parameters of query and form joined."""

    method: str
    path: tuple[str, ...]
    parameters: Mapping[str, Sequence[str]]
    accept: str
    sender: str
    is_json: bool
    body: bytes = field(repr=False)

    def first(self, name: str, default: str = "") -> str:
        return (self.parameters.get(name) or [default])[0]

    def all(self, name: str) -> list[str]:
        return list(self.parameters.get(name, ()))

    def required(self, name: str) -> str:
        value = self.first(name)
        if not value:
            raise BadRequest(f"the parameter {name} is missing")
        return value

    def number(self, name: str) -> int | None:
        """A whole number that may be absent."""
        value = self.first(name).strip()
        if not value:
            return None
        if not re.fullmatch(r"[0-9]{1,18}", value):
            raise BadRequest(f"{name} must be a whole number, not {value!r}")
        return int(value)

    def flag(self, name: str, *, default: bool = False) -> bool:
        value = self.first(name).strip().lower()
        return default if not value else value not in ("0", "false", "no", "none")

    def document(self) -> Any:
        """The JSON body."""
        try:
            return json.loads(self.body, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as problem:
            raise BadRequest(f"the body is no JSON: {problem}") from None

    @property
    def wants(self) -> str:
        """``json``, ``plain``, or "" if the client does not mind."""
        wanted = self.first("format").lower()
        if wanted in ("json", "plain"):
            return wanted
        if "json" in self.accept:
            return "json"
        return "plain" if "text/plain" in self.accept else ""


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def as_json(value: Any, status: int = 200) -> Response:
    return Response(status, json.dumps(value, ensure_ascii=False), JSON)


def as_text(value: Any, status: int = 200) -> Response:
    return Response(status, str(value))


def as_lines(values: Iterable[str]) -> Response:
    return Response(200, "".join(f"{value}\n" for value in values))


Handler = Callable[..., Response]
Route = tuple[str, tuple[str, ...], Handler]


def route(table: Sequence[Route], request: Request) -> Response:
    """Call the handler whose method and path fit; ``{word}`` in a path takes one decoded part.

    If none fits, names take several parts: their slashes were not encoded.
    """
    allowed: set[str] = set()
    method = "GET" if request.method == "HEAD" else request.method
    for joined in (False, True):
        # With names of any length the longest pattern fits best: it leaves least to the name.
        for methods, pattern, handler in sorted(table, key=lambda row: -len(row[1])) if joined else table:
            taken = _fitted(pattern, _joined(pattern, request.path) if joined else request.path)
            if taken is not None:
                if method in methods.split():
                    return handler(**taken)
                allowed |= set(methods.split())
    if allowed:
        raise MethodNotAllowed(allowed)
    raise NotFound("there is no such resource; see the list of SAM's resources in the documentation")


def _fitted(pattern: Sequence[str], path: Sequence[str] | None) -> dict[str, str] | None:
    """What the words of a pattern take of a path; None if it does not fit."""
    if path is None or len(pattern) != len(path):
        return None
    taken: dict[str, str] = {}
    for wanted, given in zip(pattern, path, strict=True):
        if wanted.startswith("{"):
            taken[wanted[1:-1]] = given
        elif wanted != given:
            return None
    return taken


def _joined(pattern: Sequence[str], path: Sequence[str]) -> tuple[str, ...] | None:
    """The path with the parts of a name that has slashes put together, as far as the pattern has a place for one."""
    spare = len(path) - len(pattern)
    place = next((number for number, word in enumerate(pattern) if word in NAMES_WITH_SLASHES), None)
    if spare <= 0 or place is None:
        return None
    return (*path[:place], "/".join(path[place:place + spare + 1]), *path[place + spare + 1:])


# ------------------------------------------------------------------------------------- the request


def raw_path(environ: Mapping[str, Any]) -> list[str]:
    """The decoded parts of the path below the mount; ``%2F`` in a part stays a slash of that name.

    PATH_INFO is decoded already and cannot tell them apart, so the request line is used where the server
    passes it on: the part of it that PATH_INFO is the decoded form of.
    """
    decoded = str(environ.get("PATH_INFO", "")).encode("latin-1")
    sent = str(environ.get("REQUEST_URI") or environ.get("RAW_URI") or "")
    path = (urlsplit(sent).path if "://" in sent else sent.split("?", 1)[0]).encode("latin-1", "replace")
    below = decoded
    for start in (place for place, byte in enumerate(path) if byte == ord("/")):
        if _squeezed(unquote_to_bytes(path[start:])) == _squeezed(decoded):
            below = path[start:]
            return [_text(unquote_to_bytes(part)) for part in below.split(b"/") if part]
    return [_text(part) for part in below.split(b"/") if part]


def _squeezed(path: bytes) -> bytes:
    """In PATH_INFO some servers join slashes to one, and some leave an encoded one as it is."""
    return re.sub(rb"(/|%2[Ff])+", b"/", path)


def _text(part: bytes) -> str:
    try:
        return part.decode()
    except UnicodeDecodeError:
        raise BadRequest("the path is not UTF-8") from None


def read_body(environ: Mapping[str, Any], limit: int) -> bytes:
    """The whole body, if it is not larger than the limit."""
    stated = str(environ.get("CONTENT_LENGTH") or "")
    if stated and not stated.isdigit():
        raise BadRequest("Content-Length is no number")
    if not stated and not environ.get("wsgi.input_terminated"):
        return b""
    if stated and int(stated) > limit:
        raise BadRequest(f"the body is larger than {limit} bytes; send less at a time", 413)
    # A server that hands over a chunked body ends it by itself.
    body = environ["wsgi.input"].read(int(stated) if stated else limit + 1)
    if len(body) > limit:
        raise BadRequest(f"the body is larger than {limit} bytes; send less at a time", 413)
    if stated and len(body) < int(stated):
        raise BadRequest("the body ended before its stated length")
    return body


def read_parameters(*texts: bytes) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for text in texts:
        try:
            pairs = parse_qsl(text.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
        except ValueError as problem:
            raise BadRequest(f"the parameters cannot be read: {problem}") from None
        for name, value in pairs:
            found.setdefault(name, []).append(value)
    return found


def read_request(environ: Mapping[str, Any], path: Sequence[str], limit: int) -> Request:
    body = read_body(environ, limit)
    is_json = "json" in str(environ.get("CONTENT_TYPE", ""))
    query = str(environ.get("QUERY_STRING", "")).encode("latin-1", "replace")
    return Request(
        method=str(environ["REQUEST_METHOD"]).upper(), path=tuple(path),
        parameters=read_parameters(query, b"" if is_json else body), accept=str(environ.get("HTTP_ACCEPT", "")),
        sender=_sender(str(environ.get("HTTP_FROM", ""))), is_json=is_json, body=body)


def _sender(header: str) -> str:
    """The user name of a ``From: user@host``, for the record only: anybody can write anything there."""
    name = header.partition("@")[0]
    return name if re.fullmatch(r"[A-Za-z0-9_.-]{1,32}", name) else ""


# -------------------------------------------------------------------------------------- the answer


def problem_response(problem: Exception, wants_json: bool) -> Response:
    """An error as the samweb client expects it: always with a content type and both members."""
    status, name = _classified(problem)
    message = str(problem) if isinstance(problem, PomsError) else "an internal error; the server's log says more"
    headers = (("Allow", problem.allowed),) if isinstance(problem, MethodNotAllowed) else ()
    if wants_json:
        return Response(status, json.dumps({"error": name, "message": message}, ensure_ascii=False), JSON, headers)
    return Response(status, f"{name}: {message}\n", TEXT, headers)


def _classified(problem: Exception) -> tuple[int, str]:
    if isinstance(problem, BadRequest):
        return problem.status, "BadRequest"
    if isinstance(problem, Invalid):
        return 400, {"metadata": "InvalidMetadata", "dimensions": "DimensionError"}.get(
            problem.problems[0].code if problem.problems else "", "BadRequest")
    if isinstance(problem, NotFound):
        word = re.match(r"there is no (file|definition|project)\b", str(problem))
        return 404, f"{word[1].title()}NotFound" if word else "NotFound"
    if isinstance(problem, Over):
        return 410, "ProjectEnded"
    if isinstance(problem, Conflict):
        return 409, "Conflict"
    if isinstance(problem, QueryLimit):
        # Clients repeat a request after any 5xx; this one would only fail again.
        return 400, "QueryLimit"
    if isinstance(problem, BackendUnavailable):
        return 503, "ServiceUnavailable"
    return 500, "InternalError"
