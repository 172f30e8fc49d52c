"""``poms campaign``: work with campaigns of a server, near or far, over HTTP.

Speaks the calls that all clients use (campaign text up and down, launch, stages); knows nothing
of the database. What the server refuses is shown in the server's words.
"""

from __future__ import annotations

import argparse
import os
import sys
import uuid
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

from poms.webservice import config
from poms.webservice.errors import BackendUnavailable, ConfigurationError, Invalid, NotAllowed, NotFound, PomsError

TOKEN_VARIABLE = "BEARER_TOKEN_FILE"
TIMEOUT_SECONDS = 60
LONGEST_REASON = 300


def add_verbs(verbs: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    parser = verbs.add_parser("campaign", help="upload, download, launch campaigns of a server",
                              description="Work with campaigns of a running server.")
    actions = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    server = argparse.ArgumentParser(add_help=False, parents=[common])
    server.add_argument("--server", metavar="URL", help="address of the server (default: [service] public_url)")
    server.add_argument("--experiment", "-e", required=True)
    server.add_argument("--role", "-r", default="production", help="role to act in (default: production)")
    server.add_argument("--token-file", metavar="FILE", help=f"file with a token (default: ${TOKEN_VARIABLE})")
    server.add_argument("--certificate", metavar="FILE", help="client certificate and key, for https")

    sending = actions.add_parser("upload", help="make or replace a campaign from its text", parents=[server])
    sending.add_argument("file", help="campaign text (.ini)")
    sending.add_argument("--replace", action="store_true", help="replace a campaign that is there already")
    sending.set_defaults(run=upload)
    getting = actions.add_parser("download", help="write a campaign's text", parents=[server])
    getting.add_argument("name")
    getting.add_argument("--output", "-o", metavar="FILE", help="where to write it (default: standard output)")
    getting.set_defaults(run=download)
    launching = actions.add_parser("launch", help="launch a campaign's first stage", parents=[server])
    launching.add_argument("name")
    launching.add_argument("--test", action="store_true", help="launch with the test parameters")
    launching.set_defaults(run=launch)
    looking = actions.add_parser("status", help="list the submissions of a campaign", parents=[server])
    looking.add_argument("name")
    looking.set_defaults(run=status)


class Caller:
    """Calls of one server as one experiment and role."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        import requests

        base = arguments.server or config.load(arguments.config).service.public_url
        self._base = base.rstrip("/").removesuffix("/poms")
        self._place = f"{quote(arguments.experiment, safe='')}/{quote(arguments.role, safe='')}"
        self._session = requests.Session()
        self._session.headers["User-Agent"] = "poms-command"
        token_file = arguments.token_file or os.environ.get(TOKEN_VARIABLE)
        if token_file:
            self._session.headers["Authorization"] = f"Bearer {_read(token_file, 'token').strip()}"
        if arguments.certificate:
            self._session.cert = arguments.certificate

    def call(self, endpoint: str, *, method: str = "POST", fields: dict[str, Any] | None = None,
             files: dict[str, Any] | None = None) -> Any:
        """The answer; what is neither success nor a redirection becomes the condition that it means."""
        import requests

        url = f"{self._base}/poms/{endpoint}/{self._place}"
        try:
            answer = self._session.request(method, url, params=fields if method == "GET" else None,
                                           data=None if method == "GET" else fields, files=files,
                                           timeout=TIMEOUT_SECONDS, allow_redirects=False)
        except requests.RequestException as error:
            raise BackendUnavailable(f"{self._base} does not answer: {error}; is the server running, and is --server "
                                     "right?") from error
        if answer.status_code >= 400:
            raise _condition(answer.status_code)(f"{endpoint}: {answer.status_code}: {_reason(answer)}")
        return answer

    def json(self, endpoint: str, *, fields: dict[str, Any], files: dict[str, Any] | None = None) -> Any:
        answer = self.call(endpoint, fields=fields, files=files)
        try:
            return answer.json()
        except ValueError:
            raise BackendUnavailable(f"{endpoint}: the server did not answer in JSON: is {self._base} a POMS?"
                                     ) from None


def _condition(status_code: int) -> type[PomsError]:
    known: dict[int, type[PomsError]] = {400: Invalid, 401: NotAllowed, 403: NotAllowed, 404: NotFound}
    return known.get(status_code, BackendUnavailable if status_code >= 500 else PomsError)


def _reason(answer: Any) -> str:
    """What the server says, without the page around it."""
    if "json" in answer.headers.get("Content-Type", ""):
        try:
            body = answer.json()
        except ValueError:
            body = None
        if isinstance(body, dict) and body.get("message"):
            return str(body["message"])[:LONGEST_REASON]
    words = _Words()
    words.feed(answer.text)
    return " ".join(" ".join(words.found).split())[:LONGEST_REASON] or answer.reason


class _Words(HTMLParser):
    """The text of a page, without styles, scripts and what surrounds every page."""

    SILENT = ("style", "script", "head", "nav", "header", "footer")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._silent += tag in self.SILENT

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in self.SILENT

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.found.append(data)


def _read(path: str, what: str) -> str:
    try:
        # Decoded here so that line ends stay as they are.
        return Path(path).read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the {what} {path} cannot be read: {error}") from None


def upload(arguments: argparse.Namespace) -> int:
    text = _read(arguments.file, "campaign text").encode("utf-8")
    answer = Caller(arguments).json(
        "ini_to_campaign", fields={"replace": str(arguments.replace), "pcl_call": "1"},
        files={"upload": (Path(arguments.file).name, text, "text/plain")})
    if not isinstance(answer, dict):
        raise Invalid(str(answer))
    messages = answer.get("message") or []
    for message in [messages] if isinstance(messages, str) else messages:
        print(message)
    if not str(answer.get("status", "")).startswith("2"):
        raise Invalid(f"the campaign was not saved: {answer.get('status')}")
    for stage_id, name in answer.get("campaign_stage_ids") or []:
        print(f"stage {name}: {stage_id}")
    return 0


def download(arguments: argparse.Namespace) -> int:
    answer = Caller(arguments).call("campaign_deps_ini", method="GET", fields={"name": arguments.name})
    text = answer.content.decode("utf-8")
    if text.startswith("Error:"):
        raise NotFound(text.strip())
    if arguments.output:
        try:
            Path(arguments.output).write_text(text, encoding="utf-8", newline="")
        except OSError as error:
            raise ConfigurationError(f"{arguments.output} cannot be written: {error}") from None
    else:
        sys.stdout.write(text)
    return 0


def launch(arguments: argparse.Namespace) -> int:
    caller = Caller(arguments)
    campaign_id = caller.json("get_campaign_id", fields={"campaign_name": arguments.name})
    if not campaign_id:
        raise NotFound(f"there is no campaign {arguments.name} in {arguments.experiment}")
    # The key makes a repeated request, by whatever network, the same launch.
    fields = {"campaign_id": campaign_id, "request_key": uuid.uuid4().hex}
    if arguments.test:
        fields["test_launch"] = "1"
    answer = caller.call("launch_campaign", fields=fields)
    where = answer.headers.get("Location", "")
    print(f"launched {arguments.name}" + (f": {where}" if where else ""))
    return 0


def status(arguments: argparse.Namespace) -> int:
    answer = Caller(arguments).json("campaign_stage_submissions", fields={
        "fmt": "json", "campaign_name": arguments.name, "stage_name": "*"})
    submissions = (answer.get("data") or {}).get("submissions") or []
    if not submissions:
        print(f"no submissions of {arguments.name}")
    for each in submissions:
        print(f"{each['submission_id']:>8}  {each['status']:16} {each['campaign_stage_name']}  "
              f"{each.get('jobsub_job_id') or ''}".rstrip())
    return 0
