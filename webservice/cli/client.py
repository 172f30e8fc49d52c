"""``poms campaigns`` and ``poms stages``, and what every command that talks to a server shares.

Speaks the calls of ``poms.webservice.client``; knows nothing of the database. What the server refuses is shown in
the server's words. Exit status: 0 done, 1 refused, 2 bad command line, 3 the server does not answer.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poms.webservice.client import places
from poms.webservice.client.connection import RETRIES
from poms.webservice.errors import ConfigurationError, Invalid

if TYPE_CHECKING:
    from poms.webservice.client import Client

NAIVE = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+")
Run = Callable[[argparse.Namespace], int]


class Usage(Invalid):
    """The command line asks for what does not go together."""

    exit_status = 2


def connection_options(common: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Where the server is, who asks, and in which form answers are shown."""
    options = argparse.ArgumentParser(add_help=False, parents=[common])
    group = options.add_argument_group("server")
    group.add_argument("--server", metavar="URL", default="",
                       help=f"address of the server (default: ${places.SERVER}, or [service] public_url)")
    group.add_argument("--experiment", "-e", default=os.environ.get(places.EXPERIMENT, ""),
                       help=f"experiment to act in (default: ${places.EXPERIMENT}, else the item's own)")
    group.add_argument("--role", "-r", default=os.environ.get(places.ROLE, "production"),
                       help=f"role to act in (default: ${places.ROLE}, or production)")
    group.add_argument("--token-file", metavar="FILE", default="",
                       help=f"file with a token (default: ${places.TOKEN} or ${places.TOKEN_FILE})")
    group.add_argument("--certificate", metavar="FILE", default="",
                       help=f"client certificate and key, for https (default: ${places.CERTIFICATE})")
    group.add_argument("--retries", type=int, default=RETRIES, metavar="N",
                       help=f"how often a request that got no answer is sent again (default: {RETRIES}); nothing is "
                            "done twice")
    group.add_argument("--json", action="store_true", help="print the answer as JSON")
    return options


def open_client(arguments: argparse.Namespace) -> Client:
    """The client that the command line asks for."""
    from poms.webservice import config
    from poms.webservice.client import Client

    server = places.find_server(arguments.server) or config.load(arguments.config).service.public_url
    return Client(server, experiment=arguments.experiment, role=arguments.role if arguments.experiment else "",
                  token=places.read_token(arguments.token_file), retries=max(0, arguments.retries),
                  certificate=places.find_certificate(arguments.certificate, server), program="poms-command")


def show(arguments: argparse.Namespace, value: Any, rows: Sequence[Sequence[Any]] = (),
         head: Sequence[str] = ()) -> int:
    """Print an answer: as JSON if asked, else as aligned columns for people and for grep."""
    if arguments.json:
        print(json.dumps(value, indent=2, ensure_ascii=False, default=str))
        return 0
    texts = [[clean("" if cell is None else str(cell)) for cell in row] for row in rows]
    lines = [list(head), *texts] if head and texts and sys.stdout.isatty() else texts
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))] if lines else []
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    return 0


def say(arguments: argparse.Namespace, value: Any, sentence: str) -> int:
    """Print what was done, or the answer as JSON if asked."""
    if arguments.json:
        return show(arguments, value)
    print(clean(sentence))
    return 0


def clean(text: str) -> str:
    """Text of others, without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def moment(text: str | None) -> str:
    """A time of an answer, which is in UTC, so that nobody takes it for that of his own clock."""
    return f"{text}Z" if text and NAIVE.fullmatch(text) else text or ""


def read_file(path: str, what: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"the {what} {path} cannot be read: {error}") from None


def write_out(data: bytes, output: str | None) -> None:
    """Write an answer to a file, or as it is to standard output."""
    if output is None:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        Path(output).write_bytes(data)
    except OSError as error:
        raise ConfigurationError(f"{output} cannot be written: {error}") from None


def action(actions: Any, name: str, run: Run, text: str, options: argparse.ArgumentParser,
           **more: Any) -> argparse.ArgumentParser:
    """A command with the options that all of them have."""
    parser = actions.add_parser(name, help=text, description=text[:1].upper() + text[1:] + ".", parents=[options],
                                **more)
    parser.set_defaults(run=run)
    return parser


# ------------------------------------------------------------------------------------- the verbs


def add_verbs(verbs: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    options = connection_options(common)
    parser = verbs.add_parser("campaigns", aliases=["campaign"], help="campaigns of a server: list, upload, launch",
                              description="Work with campaigns of a running server.")
    actions = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    listing = action(actions, "list", list_campaigns, "list campaigns", options)
    listing.add_argument("--all", action="store_true", help="inactive ones too")
    action(actions, "show", show_campaign, "show a campaign and its stages", options).add_argument("name")
    sending = action(actions, "upload", upload, "make or replace a campaign from its text", options)
    sending.add_argument("file", help="campaign text (.ini)")
    sending.add_argument("--replace", action="store_true", help="replace a campaign that is there already")
    sending.add_argument("--check", action="store_true", help="only say what is wrong, save nothing")
    getting = action(actions, "download", download, "write a campaign's text", options)
    getting.add_argument("name")
    getting.add_argument("--output", "-o", metavar="FILE", help="where to write it (default: standard output)")
    getting.add_argument("--positions", action="store_true", help="with where the editor draws the stages")
    comparing = action(actions, "diff", diff, "compare a campaign of the server with a file", options)
    comparing.add_argument("name")
    comparing.add_argument("file", help="campaign text (.ini)")
    comparing.add_argument("--exit-code", action="store_true", help="exit status 1 if they differ")
    cloning = action(actions, "clone", clone, "copy a campaign under another name", options)
    cloning.add_argument("name")
    cloning.add_argument("new_name")
    tagging = action(actions, "tag", tag, "put a tag on campaigns", options)
    tagging.add_argument("tag")
    tagging.add_argument("name", nargs="+")
    for word, run, text in (("delete", delete, "delete a campaign that was never launched"),
                            ("activate", activate, "make a campaign active"),
                            ("deactivate", deactivate, "make a campaign inactive")):
        action(actions, word, run, text, options).add_argument("name")
    for word, run, text in (("hold", hold, "keep launches of a campaign for later"),
                            ("release", release, "let launches of a campaign go")):
        holding = action(actions, word, run, text, options)
        holding.add_argument("name")
        holding.add_argument("--reason", default="")
    launching = action(actions, "launch", launch, "launch a campaign's first stage", options)
    launching.add_argument("name")
    launching.add_argument("--test", action="store_true", help="launch with the test parameters")
    action(actions, "status", status, "list the submissions of a campaign", options).add_argument("name")

    stages = action(verbs, "stages", list_stages, "list the stages of a campaign, or of the experiment", options)
    stages.add_argument("campaign", nargs="?", default="")


def list_campaigns(arguments: argparse.Namespace) -> int:
    found = open_client(arguments).campaigns(inactive=arguments.all)
    return show(arguments, found, [(row["campaign_id"], row["name"], "active" if row["active"] else "inactive",
                                    f"{len(row['stages'])} stages", row["experimenter_creator_obj"]["username"])
                                   for row in found], ("id", "campaign", "", "", "by"))


def show_campaign(arguments: argparse.Namespace) -> int:
    found = open_client(arguments).campaign(arguments.name)
    if not arguments.json:
        print(clean(f"{found['name']} ({found['campaign_id']}) of {found['experiment']}, "
                    f"{'active' if found['active'] else 'inactive'}"))
    return show(arguments, found, _stage_rows(found["stages"]))


def list_stages(arguments: argparse.Namespace) -> int:
    found = open_client(arguments).stages(arguments.campaign)
    return show(arguments, found, _stage_rows(found), ("id", "stage", "version", "dataset", "split"))


def _stage_rows(stages: Sequence[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(row["campaign_stage_id"], f"{row['campaign_name']}/{row['name']}" if row.get("campaign_name")
             else row["name"], row["software_version"], row["dataset"], row["cs_split_type"]) for row in stages]


def upload(arguments: argparse.Namespace) -> int:
    text = read_file(arguments.file, "campaign text")
    answer = open_client(arguments).upload(text, file_name=Path(arguments.file).name, replace=arguments.replace,
                                           dry_run=arguments.check)
    messages = answer.get("message") or []
    if arguments.json:
        show(arguments, answer)
    else:
        for message in [messages] if isinstance(messages, str) else messages:
            print(clean(message))
    if not str(answer.get("status", "")).startswith("2"):
        raise Invalid(f"the campaign was not saved: {answer.get('status')}")
    if not arguments.json:
        for stage_id, name in answer.get("campaign_stage_ids") or []:
            print(clean(f"stage {name}: {stage_id}"))
    return 0


def download(arguments: argparse.Namespace) -> int:
    write_out(open_client(arguments).download(arguments.name, positions=arguments.positions), arguments.output)
    return 0


def diff(arguments: argparse.Namespace) -> int:
    there = open_client(arguments).download(arguments.name, positions=True).decode("utf-8", "replace")
    here = read_file(arguments.file, "campaign text").decode("utf-8", "replace")
    lines = list(difflib.unified_diff(there.splitlines(), here.splitlines(), f"server: {arguments.name}",
                                      arguments.file, lineterm=""))
    if arguments.json:
        show(arguments, {"differ": there != here, "diff": lines})
    else:
        for line in lines:
            print(clean(line))
    return int(arguments.exit_code and there != here)


def clone(arguments: argparse.Namespace) -> int:
    made = open_client(arguments).clone(arguments.name, arguments.new_name)
    return say(arguments, {"campaign_id": made}, f"made {arguments.new_name} ({made})")


def tag(arguments: argparse.Namespace) -> int:
    open_client(arguments).tag(arguments.name, arguments.tag)
    return say(arguments, {"tagged": arguments.name}, f"{', '.join(arguments.name)}: tagged {arguments.tag}")


def delete(arguments: argparse.Namespace) -> int:
    open_client(arguments).delete(arguments.name)
    return say(arguments, {"deleted": arguments.name}, f"deleted {arguments.name}")


def activate(arguments: argparse.Namespace) -> int:
    open_client(arguments).set_active(arguments.name, True)
    return say(arguments, {"active": True}, f"{arguments.name} is active")


def deactivate(arguments: argparse.Namespace) -> int:
    open_client(arguments).set_active(arguments.name, False)
    return say(arguments, {"active": False}, f"{arguments.name} is inactive")


def hold(arguments: argparse.Namespace) -> int:
    open_client(arguments).set_launches(arguments.name, hold=True, reason=arguments.reason)
    return say(arguments, {"held": True}, f"launches of {arguments.name} are kept for later")


def release(arguments: argparse.Namespace) -> int:
    open_client(arguments).set_launches(arguments.name, hold=False, reason=arguments.reason)
    return say(arguments, {"held": False}, f"launches of {arguments.name} are allowed")


def launch(arguments: argparse.Namespace) -> int:
    return launched(arguments, open_client(arguments).launch(arguments.name, test=arguments.test), arguments.name)


def launched(arguments: argparse.Namespace, answer: dict[str, Any], what: str) -> int:
    """Say what came of a launch. One that is kept for later is no failure, but no submission either."""
    if arguments.json:
        return show(arguments, answer)
    if answer.get("state") == "held":
        print(clean(f"the launch of {what} is kept for later: {answer.get('text') or 'launches are held'}"))
        return 0
    number = answer.get("submission_id")
    print(clean(f"launched {what}" + (f" as submission {number}" if number else "")
                + (f": {answer['url']}" if answer.get("url") else "")))
    return 0


def status(arguments: argparse.Namespace) -> int:
    found = open_client(arguments).submissions(arguments.name)
    if not found and not arguments.json:
        print(clean(f"no submissions of {arguments.name}"))
    return show(arguments, found, submission_rows(found))


def submission_rows(found: Sequence[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(row["submission_id"], row["status"], row["campaign_stage_name"], row.get("jobsub_job_id") or "",
             moment(row.get("created"))) for row in found]
