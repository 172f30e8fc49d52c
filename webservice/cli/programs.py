"""Programs under the names that older scripts call, on the present client: the same options, output and exit status.

Not the place for anything new (that is ``poms``). Exit status: 0 done, 1 refused, 2 bad command line, 3 no answer.
What older programs claimed whatever happened (``launch_jobs``, ``upload_file``) is now said only when it is so.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from poms.webservice.cli.client import clean, read_file
from poms.webservice.client import Client, places
from poms.webservice.errors import ConfigurationError, Invalid, PomsError

FRESH = timedelta(days=3)
TRUE = ("1", "true", "True", "yes", "y", "t")
Program = Callable[[argparse.Namespace], int]


def main(name: str, argv: Sequence[str] | None = None) -> int:
    """Run one of the programs."""
    describe, run = PROGRAMS[name]
    parser = argparse.ArgumentParser(prog=name, description=(run.__doc__ or "").splitlines()[0])
    describe(parser)
    arguments = parser.parse_args(argv)
    try:
        return run(arguments)
    except PomsError as error:
        print(f"{name}: {clean(str(error))}", file=sys.stderr)
        return getattr(error, "exit_status", 1)
    except KeyboardInterrupt:
        return 130


# ---------------------------------------------------------------------------------- what they share


def _common(parser: argparse.ArgumentParser, *, role: str = "") -> None:
    parser.add_argument("--experiment", default=os.environ.get("EXPERIMENT", ""))
    parser.add_argument("--user", default=os.environ.get("GRID_USER") or os.environ.get("USER", ""),
                        help="taken from who you are; the option is there for older scripts")
    parser.add_argument("--poms_role", default=role)
    parser.add_argument("--dev", dest="test", action="store_const", const="dev", help="the development server")
    parser.add_argument("--int", dest="test", action="store_const", const="int", help="the integration server")
    parser.add_argument("--test", "--test_client", dest="test", nargs="?", const="dev", default="",
                        help="int or dev: another server")
    parser.add_argument("--server", default="", help=f"address of the server (default: ${places.SERVER}, "
                        "or what client.cfg says)")
    parser.add_argument("--verbose", action="store_true")


def _client(arguments: argparse.Namespace) -> Client:
    server = places.find_server(arguments.server, test=arguments.test or "")
    if not server:
        raise ConfigurationError(f"nothing says where POMS is: set {places.SERVER}, give --server, or set "
                                 "POMS_CLIENT_DIR to where client.cfg is")
    if arguments.verbose:
        print(f"server: {server}", file=sys.stderr)
    return Client(server, experiment=arguments.experiment, role=arguments.poms_role, token=places.read_token(),
                  certificate=places.find_certificate("", server), program="poms-old-programs")


def _number(text: str, what: str) -> int | None:
    if text in ("", "None"):
        return None
    if not (text.isascii() and text.isdigit()):
        raise Invalid(f"{what} must be a number, not {text}")
    return int(text)


def _post(arguments: argparse.Namespace, word: str, fields: dict[str, Any]) -> int:
    answer = _client(arguments).connection.json(word, {name: value for name, value in fields.items()
                                                       if value not in (None, "", [])} | {"pcl_call": "1"})
    print(clean(str(answer.get("message", "done"))))
    return 0


# ------------------------------------------------------------------------------------- the programs


def _describe_id(parser: argparse.ArgumentParser) -> None:
    _common(parser)
    parser.add_argument("--campaign", required=True, help="number or name of the stage")
    parser.add_argument("--command_executed", "--command", default="")
    parser.add_argument("--input_dataset", default="", help="not used any more")
    parser.add_argument("--parent_submission_id", "--parent_task_id", default="")
    parser.add_argument("--submission_id", "--task_id", default="")


def get_submission_id_for(arguments: argparse.Namespace) -> int:
    """Print the number under which a command is followed."""
    print(_client(arguments).register(
        arguments.campaign, arguments.command_executed, parent=_number(arguments.parent_submission_id, "the parent"),
        submission=_number(arguments.submission_id, "the submission")))
    return 0


def _describe_launch(parser: argparse.ArgumentParser) -> None:
    _common(parser, role="production")
    parser.add_argument("--campaign", "--campaign_stage", dest="stage", required=True, help="number of the stage")
    parser.add_argument("--test_launch", default="", help=f"{', '.join(TRUE)}: with the test parameters")


def launch_jobs(arguments: argparse.Namespace) -> int:
    """Launch a stage; prints True if that was done."""
    stage = _number(arguments.stage, "the stage")
    if stage is None:
        raise Invalid("name the stage by its number")
    answer = _client(arguments).launch_stage(stage, test=arguments.test_launch in TRUE)
    print(answer.get("state") != "held")
    return 0


def _describe_upload(parser: argparse.ArgumentParser) -> None:
    _common(parser, role="analysis")
    parser.add_argument("file", nargs="+")


def _describe_file(parser: argparse.ArgumentParser) -> None:
    _common(parser, role="analysis")
    parser.add_argument("file", nargs="*")
    parser.add_argument("--proxy", action="store_true", help="your proxy certificate, under the name that launches "
                        "look for")
    parser.add_argument("--vaulttoken", action="store_true", help="your vault token, likewise")
    parser.add_argument("--refresh", action="store_true", help="only what is not there yet, or older than three days")


def upload_wf(arguments: argparse.Namespace) -> int:
    """Save campaign texts; prints what the server says of each."""
    client, worst = _client(arguments), 0
    for name in arguments.file:
        answer = client.upload(read_file(name, "campaign text"), file_name=Path(name).name)
        messages = answer.get("message") or []
        for message in [messages] if isinstance(messages, str) else messages:
            print(clean(message))
        worst = max(worst, 0 if str(answer.get("status", "")).startswith("2") else 1)
    return worst


def upload_file(arguments: argparse.Namespace) -> int:
    """Keep files with the service."""
    wanted = [(name, Path(name).name) for name in arguments.file] + _credentials(arguments)
    if not wanted:
        raise Invalid("name a file, or give --proxy or --vaulttoken")
    client = _client(arguments)
    # A server that does not answer is an error, not a sign that what it keeps is old.
    fresh = _fresh(client.files()) if arguments.refresh else set()
    for path, name in wanted:
        if name in fresh:
            print(clean(f"not older than three days: {name}"))
            continue
        client.upload_file(name, read_file(path, "file"))
        print(clean(f"uploaded: {path} to POMS server"))
    return 0


def _credentials(arguments: argparse.Namespace) -> list[tuple[str, str]]:
    """The credentials that were asked for: where they are here, and the names under which launches look for them."""
    role = "Production" if arguments.poms_role == "production" else "Analysis"
    whose = f"{arguments.experiment}_{role}_{arguments.user}"
    found = []
    if arguments.proxy:
        found.append((os.environ.get("X509_USER_PROXY") or f"{tempfile.gettempdir()}/x509up_u{os.getuid()}",
                      f"x509up_voms_{whose}"))
    if arguments.vaulttoken:
        found.append((os.environ.get("VAULT_TOKEN_FILE") or f"{tempfile.gettempdir()}/vt_u{os.getuid()}",
                      f"vt_{whose}"))
    if found and not (arguments.experiment and arguments.user):
        raise Invalid("a credential is kept for a user of an experiment: give --experiment and --user")
    return found


def _fresh(kept: dict[str, Any]) -> set[str]:
    limit = datetime.now(UTC) - FRESH
    return {name for name, _, changed in kept["file_stat_list"]
            if datetime.strptime(changed, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC) > limit}


def _describe_job_type(parser: argparse.ArgumentParser) -> None:
    _common(parser, role="production")
    parser.add_argument("--action", choices=("add", "edit", "delete"), required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--output_file_patterns", default="")
    parser.add_argument("--launch_script", nargs="+", default=[])
    parser.add_argument("--def_parameter", nargs="+", default=[], help="JSON: a list of pairs")
    parser.add_argument("--recoveries", default="", help="JSON: a list of recoveries")


def job_type_edit(arguments: argparse.Namespace) -> int:
    """Add a job type, change it, or delete it."""
    return _post(arguments, "job_type_edit", {
        "action": arguments.action, "ae_definition_name": arguments.name,
        "ae_output_file_patterns": arguments.output_file_patterns, "ae_definition_recovery": arguments.recoveries,
        "ae_launch_script": " ".join(arguments.launch_script),
        "ae_definition_parameters": " ".join(arguments.def_parameter)})


def _describe_setup(parser: argparse.ArgumentParser) -> None:
    _common(parser, role="production")
    parser.add_argument("--action", choices=("add", "edit", "delete"), required=True)
    parser.add_argument("--launch_name", required=True)
    parser.add_argument("--host", default="")
    parser.add_argument("--launch_account", default="")
    parser.add_argument("--setup", nargs="+", default=[])


def launch_template_edit(arguments: argparse.Namespace) -> int:
    """Add a login setup, change it, or delete it."""
    return _post(arguments, "login_setup_edit", {
        "action": arguments.action, "ae_launch_name": arguments.launch_name, "ae_launch_host": arguments.host,
        "ae_launch_account": arguments.launch_account, "ae_launch_setup": " ".join(arguments.setup)})


def _describe_stage(parser: argparse.ArgumentParser) -> None:
    _common(parser, role="production")
    parser.add_argument("--action", choices=("add", "edit", "delete"), required=True)
    parser.add_argument("--campaign_stage_name", required=True)
    for name, usual in (("campaign_name", ""), ("vo_role", ""), ("dataset", ""), ("launch_name", ""), ("job_type", ""),
                        ("split_type", ""), ("software_version", ""), ("completion_type", ""), ("completion", "")):
        parser.add_argument(f"--{name}", default=usual)
    parser.add_argument("--param_overrides", nargs="+", default=[], help="JSON: a list of pairs")
    parser.add_argument("--depends_on", nargs="+", default=[], help="JSON: stages and file patterns")


def campaign_stage_edit(arguments: argparse.Namespace) -> int:
    """Add a stage to a campaign, change it, or take it out."""
    return _post(arguments, "campaign_stage_edit", {
        "action": arguments.action, "ae_stage_name": arguments.campaign_stage_name,
        "ae_campaign_name": arguments.campaign_name, "ae_vo_role": arguments.vo_role, "ae_dataset": arguments.dataset,
        "ae_launch_name": arguments.launch_name, "ae_campaign_definition": arguments.job_type,
        "ae_split_type": arguments.split_type, "ae_software_version": arguments.software_version,
        "ae_completion_type": arguments.completion_type, "ae_completion_pct": arguments.completion,
        "ae_param_overrides": " ".join(arguments.param_overrides), "ae_depends": " ".join(arguments.depends_on)})


def _describe_campaign(parser: argparse.ArgumentParser) -> None:
    _common(parser, role="production")
    parser.add_argument("--campaign", required=True, help="name of the campaign, and of its stage")
    parser.add_argument("--version", default="")
    parser.add_argument("--campaign-definition", "--campaign_definition", default="", help="name of the job type")
    parser.add_argument("--dataset", default="")


def register_poms_campaign(arguments: argparse.Namespace) -> int:
    """Print the number of a campaign's first stage; the campaign is made with one stage if it is not there."""
    text = _client(arguments).connection.call("register_poms_campaign", {
        "campaign_name": arguments.campaign, "version": arguments.version, "dataset": arguments.dataset,
        "campaign_definition": arguments.campaign_definition}).text
    print(_number(text.strip().removeprefix("Campaign="), "the answer"))
    return 0


def _describe_approval(parser: argparse.ArgumentParser) -> None:
    _common(parser)
    parser.add_argument("--submission_id", default=os.environ.get("POMS4_SUBMISSION_ID", ""),
                        help="default: $POMS4_SUBMISSION_ID")
    parser.add_argument("--dataset", default="", help="not used any more: a stage of type approval names its dataset")


def await_approval(arguments: argparse.Namespace) -> int:
    """Have a submission wait until somebody approves what it hands on."""
    submission = _number(arguments.submission_id, "the submission")
    if submission is None:
        raise Invalid("name the submission")
    if arguments.dataset:
        raise Invalid("what a submission hands on is its output; to hand on a dataset make a stage of type approval "
                      f"that has the dataset {arguments.dataset}")
    _client(arguments).report(submission, status="Awaiting Approval")
    return 0


def _describe_script(parser: argparse.ArgumentParser) -> None:
    _common(parser)
    parser.add_argument("--debug", dest="verbose", action="store_true")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="the program and its arguments")


def poms_run_script_stage(arguments: argparse.Namespace) -> int:
    """Run a program as a stage of its own: registered, reported, and its exit status is ours."""
    if not arguments.command:
        raise Invalid("name the program to be run")
    client = _client(arguments)
    stage = os.environ.get("POMS_CAMPAIGN_ID", "")
    number = _number(os.environ.get("POMS_TASK_ID", ""), "POMS_TASK_ID") or client.register(
        stage, " ".join(arguments.command))
    client.report(number, status="Running")
    try:
        status = subprocess.run(arguments.command, check=False).returncode
    except OSError as problem:
        print(clean(f"{arguments.command[0]}: {problem.strerror}"), file=sys.stderr)
        status = 127
    client.report(number, status="Completed" if status == 0 else "Failed")
    return status if status >= 0 else 128 - status


PROGRAMS: dict[str, tuple[Callable[[argparse.ArgumentParser], None], Program]] = {
    "get_submission_id_for": (_describe_id, get_submission_id_for),
    "get_task_id_for": (_describe_id, get_submission_id_for),
    "launch_jobs": (_describe_launch, launch_jobs),
    "upload_wf": (_describe_upload, upload_wf),
    "upload_file": (_describe_file, upload_file),
    "register_poms_campaign": (_describe_campaign, register_poms_campaign),
    "await_approval": (_describe_approval, await_approval),
    "job_type_edit": (_describe_job_type, job_type_edit),
    "launch_template_edit": (_describe_setup, launch_template_edit),
    "campaign_stage_edit": (_describe_stage, campaign_stage_edit),
    "poms_run_script_stage": (_describe_script, poms_run_script_stage),
}
