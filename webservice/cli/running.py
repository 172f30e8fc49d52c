"""What runs, by way of a server: launch, preview, submissions, jobs, hold, release, kill, recover, logs.

Not for campaigns (``client``) nor for reports of wrappers (``reports``).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from poms.webservice.cli.client import (
    Usage,
    action,
    clean,
    connection_options,
    launched,
    moment,
    open_client,
    say,
    show,
    submission_rows,
)
from poms.webservice.errors import BackendUnavailable, PomsError

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
STATES = ("Idle", "Running", "Held", "Completed", "Failed", "Removed")
COUNTS = ("idle", "running", "held", "completed", "failed", "removed")


class NotAsHoped(PomsError):
    """A submission that was waited for ended in another way, or did not end in time."""


def seconds(text: str) -> float:
    """A time such as 90, 90s, 15m, 2h or 1d."""
    unit = UNITS.get(text[-1:].lower())
    try:
        value = float(text[:-1]) * unit if unit else float(text)
    except ValueError:
        value = -1
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write for example 90s, 15m or 2h")
    return value


def pair(text: str) -> tuple[str, str]:
    """A launch parameter as it is typed: ``-Oglobal.n=5`` is the name ``-Oglobal.n=`` with the value 5."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is no parameter; write NAME=VALUE, such as --set=-Oglobal.n=5")
    return f"{name}=", value


def add_verbs(verbs: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    options = connection_options(common)
    _add_launches(verbs, options)
    _add_submissions(verbs, options)
    _add_jobs(verbs, options)
    logs = verbs.add_parser("logs", help="show what a launch or a job wrote", description="Logs.")
    actions = logs.add_subparsers(title="commands", metavar="COMMAND", required=True)
    one = action(actions, "launch", launch_log, "show the launch log of a submission", options)
    one.add_argument("submission", type=int)
    one.add_argument("--follow", "-f", action="store_true", help="go on until the launch ended")
    one = action(actions, "job", job_log, "show what a job wrote", options)
    one.add_argument("submission", type=int)
    one.add_argument("job", help="the job, as poms jobs lists it: cluster.process@schedd")
    one.add_argument("--which", choices=("stdout", "stderr", "log"), default="stdout")
    action(verbs, "status", service_status, "say how the service is", options)


def _add_launches(verbs: Any, options: argparse.ArgumentParser) -> None:
    one = action(verbs, "launch", launch, "launch a campaign at its beginning, or a stage", options)
    one.add_argument("what", metavar="CAMPAIGN[/STAGE]")
    one.add_argument("--test", action="store_true", help="launch with the test parameters")
    one.add_argument("--dataset", default="", help="on this dataset instead of the stage's")
    one.add_argument("--set", dest="overrides", metavar="NAME=VALUE", type=pair, action="append", default=[],
                     help="a launch parameter, e.g. --set=-Oglobal.n=5; may be repeated")
    one.add_argument("--key", default="", help="the same key launches once, however often it is sent")
    one.add_argument("--wait", action="store_true", help="wait until the submission is located")
    one = action(verbs, "preview", preview, "show what a launch, a recovery, a schedule or a change would do", options)
    one.add_argument("what", metavar="CAMPAIGN[/STAGE]", nargs="*", help="a campaign, a stage, or several stages")
    one.add_argument("--test", action="store_true", help="with the test parameters")
    one.add_argument("--dataset", default="", help="on this dataset instead of the stage's")
    one.add_argument("--recovery", type=int, metavar="SUBMISSION", help="a recovery of what a submission did not do")
    one.add_argument("--kind", default="", help="the recovery, such as process_status; without it all are counted")
    one.add_argument("--following", type=int, metavar="SUBMISSION",
                     help="the recoveries and next stages that would follow a submission now")
    one.add_argument("--schedule", action="store_true", help="the next runs of the stage's schedule")
    one.add_argument("--cron", default="", help="the next runs if this were the stage's schedule")
    one.add_argument("--runs", type=int, default=5, help="how many runs of a schedule (default: 5)")
    one.add_argument("--text", type=Path, metavar="FILE", help="what saving this campaign text would do to launches")
    one = action(verbs, "launch-stages", launch_stages, "launch several stages, each for itself", options)
    one.add_argument("stage", metavar="CAMPAIGN/STAGE", nargs="+")
    one.add_argument("--test", action="store_true", help="launch with the test parameters")
    one.add_argument("--key", default="", help="the same key launches once, however often it is sent")
    held = verbs.add_parser("held", help="launches that wait until somebody lets them go",
                            description="Launches that wait until somebody lets them go.")
    actions = held.add_subparsers(title="commands", metavar="COMMAND", required=True)
    action(actions, "list", held_list, "list held launches", options)
    for word, run, text in (("release", held_release, "let held launches go"),
                            ("delete", held_delete, "drop held launches")):
        parser = action(actions, word, run, text, options)
        parser.add_argument("launch", type=int, nargs="+")
        if word == "release":
            parser.add_argument("--per-minute", type=int, metavar="N", help="so many each minute, not all at once")


def _add_submissions(verbs: Any, options: argparse.ArgumentParser) -> None:
    parser = verbs.add_parser("submissions", aliases=["submission"], help="list, show, and wait for submissions",
                              description="Submissions.")
    actions = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    one = action(actions, "list", list_submissions, "list submissions", options)
    one.add_argument("campaign", nargs="?", default="", metavar="CAMPAIGN[/STAGE]")
    one.add_argument("--days", type=float, help="only those of the last days")
    action(actions, "show", show_submission, "show a submission", options).add_argument("submission", type=int)
    action(actions, "waiting", list_waiting, "list submissions that wait for approval", options)
    action(verbs, "details", show_submission, "show a submission", options).add_argument("submission", type=int)
    one = action(actions, "wait", wait, "wait until submissions ended", options)
    one.add_argument("submission", type=int, nargs="+")
    one.add_argument("--until", choices=("located", "completed"), default="located",
                     help="what counts as done (default: located)")
    one.add_argument("--timeout", type=seconds, metavar="TIME", help="give up after this time, e.g. 2h")
    one.add_argument("--interval", type=seconds, default=10, metavar="TIME", help="how often to look (default: 10s)")
    one = action(verbs, "recover", recover, "launch a recovery of what a submission did not process", options)
    one.add_argument("submission", type=int)
    one.add_argument("kind", help="the recovery, such as process_status")
    for word, act, text in (("locate", "", "take submissions as located, whatever their files say"),
                            ("approve", "approve", "approve submissions that wait for it"),
                            ("refuse", "refuse", "refuse submissions that wait for approval"),
                            ("relaunch", "relaunch", "launch submissions again on their datasets"),
                            ("complete", "complete", "call submissions completed, whatever their jobs say"),
                            ("abort", "abort", "call off launches that have no jobs yet")):
        one = action(verbs, word, mark, text, options)
        one.add_argument("submission", type=int, nargs="+")
        one.set_defaults(act=act)


def _add_jobs(verbs: Any, options: argparse.ArgumentParser) -> None:
    one = action(verbs, "jobs", list_jobs, "list jobs: of a submission, stage or campaign, at a site, in a state",
                 options)
    one.add_argument("submission", type=int, nargs="?", help="the jobs of this submission")
    one.add_argument("--stage", default="", metavar="CAMPAIGN/STAGE", help="the jobs of a stage")
    one.add_argument("--campaign", default="", help="the jobs of a campaign")
    one.add_argument("--days", type=float, help="of submissions that changed in the last days")
    one.add_argument("--site", default="", help="only those at this site")
    one.add_argument("--state", default="", type=str.capitalize, choices=STATES, metavar="STATE",
                     help=f"only those in this state: {', '.join(STATES)}")
    for word, text in (("hold", "hold jobs"), ("release", "release held jobs"), ("kill", "remove jobs for good")):
        one = action(verbs, word, act_on_jobs, text, options)
        one.add_argument("submission", type=int, nargs="?", help="all jobs of this submission")
        one.add_argument("--stage", default="", metavar="CAMPAIGN/STAGE", help="all jobs of a stage")
        one.add_argument("--campaign", default="", help="all jobs of a campaign")
        one.add_argument("--job", action="append", default=[], metavar="ID",
                         help="only this job of the submission; may be repeated")
        one.add_argument("--reason", default="")
        if word == "kill":
            one.add_argument("--cancel", action="store_true", help="call the submissions Cancelled, not Removed")
        one.set_defaults(act=word)


# --------------------------------------------------------------------------------------- launches


def launch(arguments: argparse.Namespace) -> int:
    client = open_client(arguments)
    answer = client.launch(arguments.what, test=arguments.test, dataset=arguments.dataset,
                           overrides=arguments.overrides, key=arguments.key)
    number = answer.get("submission_id")
    if not arguments.wait:
        return launched(arguments, answer, arguments.what)
    if not arguments.json:
        launched(arguments, answer, arguments.what)
    ends = _wait_for(client, [number] if number else [], until="located", timeout_seconds=None, interval_seconds=10)
    if arguments.json:
        launched(arguments, {**answer, "ended": ends.get(number)}, arguments.what)
    if not number:
        raise NotAsHoped(f"the launch of {arguments.what} has no submission yet that could be waited for; see: poms "
                         "held list")
    return _as_hoped(ends, "located")


def preview(arguments: argparse.Namespace) -> int:
    what = arguments.what
    asked = [arguments.recovery is not None, arguments.following is not None, arguments.text is not None, bool(what)]
    if sum(asked) != 1:
        raise Usage("name stages or a campaign, or one of --recovery, --following and --text")
    if len(what) == 1 and "/" in what[0] and not (arguments.schedule or arguments.cron):
        return _preview_stage(arguments, what[0])
    found = _previewed(arguments, open_client(arguments))
    if arguments.json:
        return show(arguments, found)
    print(clean(found["title"]))
    for choice in found["choices"]:
        print(clean(f"  {choice['text']}: {choice['note']}"))
    for note in (*(f"problem: {problem['message']}" for problem in found["problems"]), *found["notes"]):
        print(clean(note))
    for group in found["groups"]:
        for each in group["launches"]:
            _print_launch(group["title"], each)
    for effect in found["effects"]:
        which = f"launch {effect['launch_id']}" if effect["launch_id"] else "next launch"
        print(clean(f"{effect['stage']}, {which}: {effect['before']}; then: {effect['after']}"))
        for line in effect["diff"]:
            print(clean({"gone": "-", "came": "+"}.get(line["kind"], " ") + line["text"]))
    launches = [each for group in found["groups"] for each in group["launches"]]
    return 1 if found["problems"] or any(each["what"] in ("fail", "refuse") for each in launches) else 0


def _previewed(arguments: argparse.Namespace, client: Any) -> dict[str, Any]:
    what = arguments.what
    if arguments.recovery is not None:
        return dict(client.preview_recovery(arguments.recovery, arguments.kind))
    if arguments.following is not None:
        return dict(client.preview_following(arguments.following))
    if arguments.text is not None:
        return dict(client.preview_text(arguments.text.read_bytes(), file_name=arguments.text.name))
    if arguments.schedule or arguments.cron:
        if len(what) != 1:
            raise Usage("a schedule is of one stage; name CAMPAIGN/STAGE")
        return dict(client.preview_schedule(what[0], cron=arguments.cron, runs=arguments.runs))
    if len(what) == 1:
        return dict(client.preview_campaign(what[0], test=arguments.test))
    return dict(client.preview_stages(what, test=arguments.test))


def _print_launch(group: str, each: dict[str, Any]) -> None:
    """One launch: what becomes of it and why, its datasets and files, then everything that would be run."""
    when = [text for text in (group, each["occasion"], str(each["at"] or "")) if text]
    print(clean(f"{each['stage']['name']} {each['what_text']}" + (f" ({'; '.join(when)})" if when else "")))
    if each["why"]:
        print(clean(f"  {each['why']}"))
    files, jobs = each["files"], each["jobs"]
    if files or jobs:
        counts = [f"{files['count']:,} files" if files else "", f"{jobs:,} jobs" if jobs else ""]
        print(clean("  " + ", ".join(filter(None, counts))))
    for line in each["text"].splitlines():
        print(clean(f"  {line}"))


def launch_stages(arguments: argparse.Namespace) -> int:
    made = open_client(arguments).launch_stages(arguments.stage, test=arguments.test, key=arguments.key)
    show(arguments, made, [(one["stage"], one["state"], one["submission_id"] or "", one["message"]) for one in made])
    return 1 if any(one["state"] == "refused" for one in made) else 0


def _preview_stage(arguments: argparse.Namespace, stage: str) -> int:
    found = open_client(arguments).preview(stage, test=arguments.test, dataset=arguments.dataset)
    if arguments.json:
        return show(arguments, found)
    for problem in found.get("problems") or []:
        print(clean(f"problem: {problem['message']}"))
    print(clean(f"runs on: {found['runs_on']}"))
    for figure in found["figures"]:
        print(clean(f"{figure['label'].lower()}: {figure['value']}"))
    print("command:")
    for line in found["command"].splitlines():
        print(clean(f"  {line}"))
    return 1 if found.get("problems") else 0


def held_list(arguments: argparse.Namespace) -> int:
    found = open_client(arguments).held()
    return show(arguments, found, [(row["id"], row["created_at"], f"{row['campaign']}/{row['stage']}",
                                    row["asked_by"], row["reason"]) for row in found])


def held_release(arguments: argparse.Namespace) -> int:
    changed = open_client(arguments).act_on_held(arguments.launch, "release", per_minute=arguments.per_minute)
    return say(arguments, {"changed": changed}, f"{changed} of {len(arguments.launch)} launches released")


def held_delete(arguments: argparse.Namespace) -> int:
    changed = open_client(arguments).act_on_held(arguments.launch, "delete")
    return say(arguments, {"changed": changed}, f"{changed} of {len(arguments.launch)} launches deleted")


# ------------------------------------------------------------------------------------ submissions


def list_submissions(arguments: argparse.Namespace) -> int:
    campaign, _, stage = arguments.campaign.partition("/")
    found = open_client(arguments).submissions(campaign, stage, days=arguments.days)
    return show(arguments, found, submission_rows(found), ("id", "status", "stage", "job", "created"))


def list_waiting(arguments: argparse.Namespace) -> int:
    found = open_client(arguments).awaiting()
    return show(arguments, found, submission_rows(found), ("id", "status", "stage", "job", "created"))


def show_submission(arguments: argparse.Namespace) -> int:
    found = open_client(arguments).submission(arguments.submission)
    if arguments.json:
        return show(arguments, found)
    item = found["submission"]
    print(clean(f"submission {item['submission_id']}: {item['status']} since {moment(item['status_since'])}"))
    rows = [("stage", item["campaign_stage_obj"]["name"]), ("job", item["jobsub_job_id"] or "none yet"),
            ("dataset", found["dataset"] or "none"), ("project", item["project"] or "none"),
            ("jobs", counts_text(item)),
            ("by", item["experimenter_creator_obj"]["username"]),
            ("recoveries", ", ".join(map(str, found["recovery_ids"])) or "none"),
            *archive_rows(found.get("job_archive"))]
    show(arguments, found, rows)
    return show(arguments, found, [(moment(each["created"]), each["status"]) for each in found["history"]])


def archive_rows(archive: dict[str, Any] | None) -> list[tuple[str, str]]:
    """How jobs ended that are not kept one by one any more; nothing if they are, or if the server is an older one."""
    if archive is None:
        return []
    rows = [("archived", moment(archive["archived_at"]))]
    for row in archive["by_outcome"]:
        how = f"signal {row['exit_signal']}" if row["exit_signal"] else f"exit code {row['exit_code'] or 0}"
        rows.append(("", f"{row['jobs']:,} {row['state']}, {how}"))
    return [*rows, *(("", f"{row['jobs']:,} at {row['site'] or 'no site'}") for row in archive["by_site"])]


def counts_text(item: dict[str, Any]) -> str:
    """The counts of jobs that are not zero, in words."""
    return ", ".join(f"{item[f'jobs_{name}']:,} {name}" for name in COUNTS if item.get(f"jobs_{name}")) or "none yet"


def wait(arguments: argparse.Namespace) -> int:
    ends = _wait_for(open_client(arguments), arguments.submission, until=arguments.until,
                     timeout_seconds=arguments.timeout, interval_seconds=arguments.interval)
    if arguments.json:
        show(arguments, ends)
    return _as_hoped(ends, arguments.until)


def _wait_for(client: Any, numbers: list[int], *, until: str, timeout_seconds: float | None,
              interval_seconds: float) -> dict[int, str | None]:
    """Wait for all within one time: how each ended, None for those that had not by then."""
    deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
    ends: dict[int, str | None] = {}
    for number in numbers:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        with telling(number) as tell:
            try:
                ends[number] = client.wait(number, until=until, timeout_seconds=left,
                                           interval_seconds=interval_seconds, tell=tell)
            except TimeoutError:
                ends[number] = None
    return ends


def _as_hoped(ends: dict[int, str | None], until: str) -> int:
    """0; raises NotAsHoped unless all ended as was hoped."""
    from poms.webservice.client.calls import GOOD_END

    wrong = [f"submission {number} " + (f"is {end}" if end else "did not end in time; it goes on")
             for number, end in ends.items() if end not in GOOD_END[until]]
    if wrong:
        raise NotAsHoped("; ".join(wrong))
    return 0


@contextmanager
def telling(number: int) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Progress on standard error: a bar in a terminal, a line for each change elsewhere."""
    if not sys.stderr.isatty():
        last = ""

        def line(item: dict[str, Any]) -> None:
            nonlocal last
            text = f"submission {number}: {item['status']}, {counts_text(item)}"
            if text != last:
                print(clean(text), file=sys.stderr, flush=True)
            last = text

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.completed}/{task.total}"),
               TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(f"submission {number}", total=None)

        def bar(item: dict[str, Any]) -> None:
            ended = sum(item[f"jobs_{name}"] for name in COUNTS[3:])
            total = max(item["jobs_expected"], sum(item[f"jobs_{name}"] for name in COUNTS)) or None
            progress.update(task, completed=ended, total=total,
                            description=clean(f"submission {number}: {item['status']}"))

        yield bar


def recover(arguments: argparse.Namespace) -> int:
    answer = open_client(arguments).recover(arguments.submission, arguments.kind)
    return launched(arguments, answer, f"the recovery of submission {arguments.submission}")


def mark(arguments: argparse.Namespace) -> int:
    """One that is refused keeps the others from nothing; a server that does not answer ends it."""
    client = open_client(arguments)
    answers: dict[int, dict[str, Any]] = {}
    wrong: dict[int, PomsError] = {}
    for number in arguments.submission:
        try:
            answers[number] = _mark(client, number, arguments.act)
        except PomsError as problem:
            wrong[number] = problem
            if isinstance(problem, BackendUnavailable):
                break
    if arguments.json:
        show(arguments, {**answers, **{number: {"error": str(problem)} for number, problem in wrong.items()}})
    else:
        for answer in answers.values():
            print(clean(answer["message"]))
    if wrong:
        *_, last = wrong.values()
        if len(arguments.submission) == 1 or isinstance(last, BackendUnavailable):
            raise last
        raise NotAsHoped("; ".join(f"{number}: {problem}" for number, problem in wrong.items()))
    return 0


def _mark(client: Any, number: int, act: str) -> dict[str, Any]:
    if act:
        return dict(client.mark(number, act))
    client.locate(number)
    return {"message": f"Submission {number} becomes Located at the next pass"}


# ------------------------------------------------------------------------------------ jobs and logs


def list_jobs(arguments: argparse.Namespace) -> int:
    if arguments.submission is None and not (arguments.stage or arguments.campaign or arguments.days):
        raise Usage("name a submission, a --stage or a --campaign, or say of how many --days")
    found = list(open_client(arguments).jobs(
        arguments.submission, stage=arguments.stage, campaign=arguments.campaign, site=arguments.site,
        state=arguments.state, days=arguments.days, archived=_tell_archived))
    return show(arguments, found, [(row["submission_id"], row["batch_id"], row["state"], row["site"], row["node"],
                                    why(row)) for row in found], ("submission", "job", "state", "site", "node", ""))


def _tell_archived(numbers: list[int]) -> None:
    names = ", ".join(map(str, numbers[:10])) + (" and more" if len(numbers) > 10 else "")
    print(f"the jobs of {names} are archived: poms submissions show has their sums", file=sys.stderr)


def why(job: dict[str, Any]) -> str:
    """Why a job is held, or ended as it did, in a few words."""
    if job["exit_signal"]:
        return f"signal {job['exit_signal']}"
    if job["exit_code"]:
        return f"exit code {job['exit_code']}"
    # An older server says no more than the batch system's own words.
    return ": ".join(filter(None, [job.get("hold_meaning"), job["hold_reason"]]))


def act_on_jobs(arguments: argparse.Namespace) -> int:
    chosen = [arguments.submission is not None, bool(arguments.stage), bool(arguments.campaign)]
    if sum(chosen) != 1:
        raise Usage("name one submission, or one --stage, or one --campaign")
    if arguments.job and arguments.submission is None:
        raise Usage("jobs are chosen within one submission; name it")
    word = "cancel" if getattr(arguments, "cancel", False) else arguments.act
    answer = open_client(arguments).act_on_jobs(word, submission=arguments.submission, stage=arguments.stage,
                                                campaign=arguments.campaign, jobs=arguments.job,
                                                reason=arguments.reason)
    say(arguments, answer, ". ".join(filter(None, [answer["message"], answer.get("text")])))
    return 1 if answer.get("refused") else 0


def launch_log(arguments: argparse.Namespace) -> int:
    pieces = open_client(arguments).launch_log(arguments.submission, follow=arguments.follow)
    if arguments.json:
        return show(arguments, {"text": "".join(pieces)})
    for piece in pieces:
        sys.stdout.write(piece)
        sys.stdout.flush()
    return 0


def job_log(arguments: argparse.Namespace) -> int:
    text = open_client(arguments).job_log(arguments.submission, arguments.job, arguments.which)
    if arguments.json:
        return show(arguments, {"text": text})
    sys.stdout.write(text)
    return 0


def service_status(arguments: argparse.Namespace) -> int:
    found = open_client(arguments).service()
    if arguments.json:
        return show(arguments, found)
    print(clean(found["summary"]))
    show(arguments, found, [("ok" if row["well"] else "TROUBLE", row["name"], row["error"] or row["message"] or "")
                            for row in [*found["tasks"], *({**each, "error": ""} for each in found["systems"])]])
    return 0 if found["well"] else 1
