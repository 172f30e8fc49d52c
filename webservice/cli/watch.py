"""``poms watch``: what you are told of, where, how often, and when not."""

from __future__ import annotations

import argparse
from typing import Any

from poms.webservice.cli.client import Usage, action, clean, connection_options, open_client, say, show
from poms.webservice.rules.news import NEWS


def add_verbs(verbs: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    options = connection_options(common)
    parser = verbs.add_parser("watch", help="be told of what happens to campaigns and stages",
                              description="What you watch, and how you are told.")
    actions = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    action(actions, "list", list_watches, "list what you watch", options)
    one = action(actions, "add", add, "watch a campaign, or a stage as CAMPAIGN/STAGE", options)
    one.add_argument("what", help="CAMPAIGN or CAMPAIGN/STAGE")
    one.add_argument("--about", default="", metavar="NEWS",
                     help=f"of what to be told, separated by commas: {', '.join(NEWS)}")
    action(actions, "remove", remove, "watch something no more", options).add_argument("what")
    settings = action(actions, "settings", settings_of, "show, or change, where and when you are told", options)
    settings.add_argument("--to", action="append", default=[], metavar="CHANNEL=ADDRESS",
                          help="where to be told, such as mail=you@example.org; mail= ends it")
    settings.add_argument("--every", help="how often at most: 1m, 15m, 1h, 6h, 1d")
    settings.add_argument("--quiet", metavar="HOURS", help="hours without messages, such as 22:00-07:00; '' for none")
    settings.add_argument("--time-zone", metavar="ZONE", help="in which the hours are meant, such as America/Chicago")
    action(actions, "test", send_test, "have a test message sent to your address", options).add_argument("channel")


def list_watches(arguments: argparse.Namespace) -> int:
    found = open_client(arguments).watches()
    return show(arguments, found, [
        (row["experiment"], "/".join(part for part in (row["campaign"], row["stage"]) if part), ", ".join(row["news"]))
        for row in found["watches"]], ("experiment", "what", "told of"))


def add(arguments: argparse.Namespace) -> int:
    about = [word.strip() for word in arguments.about.split(",") if word.strip()]
    made = open_client(arguments).watch(arguments.what, about=about)
    return say(arguments, made, f"you watch {arguments.what}: {', '.join(made['about'])}")


def remove(arguments: argparse.Namespace) -> int:
    changed = open_client(arguments).unwatch(arguments.what)
    return say(arguments, {"changed": changed}, f"you watch {arguments.what} no more" if changed
               else f"you did not watch {arguments.what}")


def settings_of(arguments: argparse.Namespace) -> int:
    """Change what the command line names, then show all of it."""
    client = open_client(arguments)
    for pair in arguments.to:
        channel, equals, address = pair.partition("=")
        if not equals:
            raise Usage(f"write --to as CHANNEL=ADDRESS, not {pair}")
        client.set_watch_address(channel, address)
    times = {name: getattr(arguments, name) for name in ("every", "quiet", "time_zone")}
    if any(value is not None for value in times.values()):
        client.set_watch_times({name: value for name, value in times.items() if value is not None})
    return _show_settings(arguments, client.watches())


def _show_settings(arguments: argparse.Namespace, found: dict[str, Any]) -> int:
    told = found["settings"]
    rows = [(one["name"], one["address"] or "-", one["problem"] or (f"signed with {one['secret']}" if one["secret"]
                                                                    else "")) for one in found["channels"]]
    rows += [("every", told["every"], ""), ("quiet", told["quiet"] or "-", ""), ("time zone", told["time_zone"], "")]
    return show(arguments, {name: found[name] for name in ("settings", "channels")}, rows)


def send_test(arguments: argparse.Namespace) -> int:
    open_client(arguments).test_watch(arguments.channel)
    return say(arguments, {"asked": True}, clean(f"a test message by {arguments.channel} is on its way"))
