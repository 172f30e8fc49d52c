"""``poms report`` and ``poms files``: what scripts and wrappers tell POMS, and files kept with the service."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from poms.webservice.cli.client import (
    Usage,
    action,
    connection_options,
    open_client,
    read_file,
    say,
    show,
    write_out,
)
from poms.webservice.client import Unreachable
from poms.webservice.errors import PomsError

FLUSH_SECONDS = 3600.0


def add_verbs(verbs: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    options = connection_options(common)
    one = action(verbs, "report", report, "say how a submission is, or send reports that wait", options)
    one.add_argument("submission", type=int, nargs="?")
    one.add_argument("--status", default="", help="such as Running or Completed")
    one.add_argument("--job-id", default="", help="its jobs: cluster@schedd")
    one.add_argument("--project", default="")
    one.add_argument("--percent", type=float, help="how much of it is done")
    one.add_argument("--flush", action="store_true",
                     help="send the reports of jobsub_submit that could not be sent before")
    one.add_argument("--any-server", action="store_true",
                     help="with --flush: also those meant for another address, from which the server has moved")
    files = verbs.add_parser("files", help="files that you keep with the service", description="Your files.")
    actions = files.add_subparsers(title="commands", metavar="COMMAND", required=True)
    action(actions, "list", list_files, "list your files", options)
    action(actions, "upload", upload_files, "keep files with the service", options).add_argument("file", nargs="+")
    one = action(actions, "download", download_file, "get one of your files", options)
    one.add_argument("name")
    one.add_argument("--output", "-o", metavar="FILE", help="where to write it (default: standard output)")
    action(actions, "delete", delete_files, "delete files of yours", options).add_argument("name", nargs="+")


def report(arguments: argparse.Namespace) -> int:
    if arguments.flush:
        return flush(arguments)
    if arguments.submission is None:
        raise Usage("name a submission, or --flush")
    open_client(arguments).report(arguments.submission, status=arguments.status, job_id=arguments.job_id,
                                  project=arguments.project, percent=arguments.percent)
    return say(arguments, {"reported": arguments.submission}, f"reported submission {arguments.submission}")


def flush(arguments: argparse.Namespace) -> int:
    """Send what waits; exit status 3 if the server does not answer, 1 if it refused a report."""
    from poms.webservice.wrapper.spool import Spool, directory_of

    spool = Spool(directory_of(os.environ))
    result = spool.flush(open_client(arguments), most=10_000, seconds=FLUSH_SECONDS, any_server=arguments.any_server)
    other = f", {result.elsewhere} for other servers" if result.elsewhere else ""
    say(arguments, {"sent": result.sent, "refused": result.refused, "waiting": result.waiting,
                    "elsewhere": result.elsewhere},
        f"{result.sent} {'report' if result.sent == 1 else 'reports'} sent, {result.refused} refused, "
        f"{result.waiting} wait{other}")
    if result.waiting:
        raise Unreachable(f"{result.waiting} reports still wait in {spool.directory}: {result.problem}")
    if result.refused:
        raise PomsError(f"{result.refused} reports were refused and set aside in {spool.refused}")
    return 0


def list_files(arguments: argparse.Namespace) -> int:
    found = open_client(arguments).files()
    return show(arguments, found, found["file_stat_list"], ("file", "bytes", "changed"))


def upload_files(arguments: argparse.Namespace) -> int:
    client = open_client(arguments)
    for name in arguments.file:
        client.upload_file(Path(name).name, read_file(name, "file"))
    return say(arguments, {"uploaded": arguments.file}, f"uploaded {', '.join(arguments.file)}")


def download_file(arguments: argparse.Namespace) -> int:
    write_out(open_client(arguments).download_file(arguments.name), arguments.output)
    return 0


def delete_files(arguments: argparse.Namespace) -> int:
    open_client(arguments).remove_files(arguments.name)
    return say(arguments, {"deleted": arguments.name}, f"deleted {', '.join(arguments.name)}")
