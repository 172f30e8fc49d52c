"""``poms stage``, ``poms job-types``, ``poms login-setups`` and ``poms tags``: what is launched, and by what name.

Not for whole campaigns (``client``) nor for what runs (``running``).
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from poms.webservice.cli.client import Usage, action, clean, connection_options, open_client, say, show
from poms.webservice.cli.running import pair
from poms.webservice.errors import PomsError


def value(text: str) -> tuple[str, str]:
    """A key and what it is set to: ``software_version=v2``."""
    name, equals, given = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is no setting; write KEY=VALUE, such as software_version=v2")
    return name, given


def provider(text: str) -> tuple[str, str]:
    """A stage that feeds another, with a pattern of its files: ``gen`` or ``gen:%.root``."""
    name, _, pattern = text.partition(":")
    return name, pattern or "%"


def recovery(text: str) -> tuple[str, list[tuple[str, str]]]:
    """A recovery as it is typed: its type, and parameters after a colon as JSON."""
    kind, colon, pairs = text.partition(":")
    try:
        return kind, [(str(name), str(given)) for name, given in json.loads(pairs)] if colon else []
    except (ValueError, TypeError):
        raise argparse.ArgumentTypeError(f"{text!r} is no recovery; write TYPE, or "
                                         'TYPE:[["-Osubmit.memory=","4GB"]]') from None


def add_verbs(verbs: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    options = connection_options(common)
    _add_stage(verbs, options)
    _add_job_types(verbs, options)
    _add_login_setups(verbs, options)
    tags = verbs.add_parser("tags", help="names for sets of campaigns", description="Tags.")
    actions = tags.add_subparsers(title="commands", metavar="COMMAND", required=True)
    action(actions, "list", list_tags, "list tags and the campaigns that carry them", options).add_argument(
        "fitting", nargs="?", default="%", help="only those that fit; %% stands for any text")
    one = action(actions, "remove", untag, "take a tag off campaigns", options)
    one.add_argument("tag")
    one.add_argument("name", nargs="+")


def _add_stage(verbs: Any, options: argparse.ArgumentParser) -> None:
    parser = verbs.add_parser("stage", help="change one stage of a campaign", description="Change one stage.")
    actions = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    one = action(actions, "set", set_stage, "set keys of a stage as the campaign text names them", options)
    one.add_argument("stage", metavar="CAMPAIGN/STAGE")
    one.add_argument("values", metavar="KEY=VALUE", type=value, nargs="*")
    one.add_argument("--name", default="", help="give the stage this name")
    one = action(actions, "parameters", set_parameters, "set launch parameters of a stage", options)
    one.add_argument("stage", metavar="CAMPAIGN/STAGE")
    one.add_argument("--set", dest="pairs", metavar="NAME=VALUE", type=pair, action="append", required=True,
                     help="a launch parameter, e.g. --set=-Oglobal.n=5; without a value it goes; may be repeated")
    one.add_argument("--test", action="store_true", help="those of test launches")
    one = action(actions, "add", add_stage, "add a stage to a campaign", options)
    one.add_argument("stage", metavar="CAMPAIGN/STAGE")
    one.add_argument("values", metavar="KEY=VALUE", type=value, nargs="+")
    one.add_argument("--after", metavar="STAGE[:PATTERN]", type=provider, action="append", default=[],
                     help="a stage whose files feed it; may be repeated")
    for word, run, text in (("remove", remove_stage, "take a stage out of its campaign"),
                            ("reset-split", reset_split, "begin the split of a stage again")):
        action(actions, word, run, text, options).add_argument("stage", metavar="CAMPAIGN/STAGE")
    for word, text in (("hold", "keep launches of a stage for later"), ("release", "let launches of a stage go")):
        one = action(actions, word, hold_stage, text, options)
        one.add_argument("stage", metavar="CAMPAIGN/STAGE")
        one.add_argument("--reason", default="")
        one.set_defaults(hold=word == "hold")


def _add_job_types(verbs: Any, options: argparse.ArgumentParser) -> None:
    parser = verbs.add_parser("job-types", help="what is run: list, add, edit, delete", description="Job types.")
    actions = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    action(actions, "list", list_job_types, "list job types", options)
    action(actions, "show", show_job_type, "show what a job type holds", options).add_argument("name")
    for word in ("add", "edit"):
        one = action(actions, word, save_job_type, f"{word} a job type", options)
        one.add_argument("name")
        one.add_argument("--script", default="", required=word == "add", help="the launch script with its words")
        one.add_argument("--patterns", default="", help="output files, separated by commas")
        one.add_argument("--set", dest="pairs", metavar="NAME=VALUE", type=pair, action="append",
                         help="a launch parameter; all of them together replace those there are")
        one.set_defaults(add=word == "add")
    action(actions, "delete", delete_job_type, "delete a job type that no stage uses", options).add_argument("name")
    one = action(actions, "recoveries", set_recoveries, "give a job type recoveries", options)
    one.add_argument("name")
    one.add_argument("recovery", metavar="TYPE[:PARAMETERS]", type=recovery, nargs="+")


def _add_login_setups(verbs: Any, options: argparse.ArgumentParser) -> None:
    parser = verbs.add_parser("login-setups", aliases=["login-setup"],
                              help="where stages are launched: list, add, edit, test, delete",
                              description="Login setups.")
    actions = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    action(actions, "list", list_login_setups, "list login setups", options)
    for word in ("add", "edit"):
        one = action(actions, word, save_login_setup, f"{word} a login setup", options)
        one.add_argument("name")
        one.add_argument("--host", default="", required=word == "add")
        one.add_argument("--account", default="")
        one.add_argument("--setup", default="", help="commands that come before the launch script")
        one.set_defaults(add=word == "add")
    one = action(actions, "test", test_login_setup, "try out a login setup, without jobs; exit status 1 if it failed",
                 options)
    one.add_argument("name")
    one.add_argument("--no-wait", action="store_true", help="only begin the test")
    action(actions, "delete", delete_login_setup, "delete a login setup that no stage uses",
           options).add_argument("name")


# ---------------------------------------------------------------------------------------- stages


def set_stage(arguments: argparse.Namespace) -> int:
    if not arguments.values and not arguments.name:
        raise Usage("name at least one KEY=VALUE, or --name")
    open_client(arguments).change_stage(arguments.stage, dict(arguments.values), new_name=arguments.name)
    return say(arguments, {"changed": arguments.stage}, f"changed {arguments.stage}")


def set_parameters(arguments: argparse.Namespace) -> int:
    open_client(arguments).set_parameters(arguments.stage, arguments.pairs, test=arguments.test)
    return say(arguments, {"changed": arguments.stage}, f"changed {arguments.stage}")


def add_stage(arguments: argparse.Namespace) -> int:
    open_client(arguments).add_stage(arguments.stage, dict(arguments.values), after=arguments.after)
    return say(arguments, {"added": arguments.stage}, f"added {arguments.stage}")


def remove_stage(arguments: argparse.Namespace) -> int:
    open_client(arguments).remove_stage(arguments.stage)
    return say(arguments, {"removed": arguments.stage}, f"removed {arguments.stage} from its campaign")


def reset_split(arguments: argparse.Namespace) -> int:
    open_client(arguments).reset_split(arguments.stage)
    return say(arguments, {"reset": arguments.stage}, f"{arguments.stage} begins its split again")


def hold_stage(arguments: argparse.Namespace) -> int:
    open_client(arguments).hold_stage(arguments.stage, hold=arguments.hold, reason=arguments.reason)
    return say(arguments, {"held": arguments.hold},
               f"launches of {arguments.stage} are {'kept for later' if arguments.hold else 'allowed'}")


# ------------------------------------------------------------------------- job types, login setups


def list_job_types(arguments: argparse.Namespace) -> int:
    found = open_client(arguments).job_types()
    return show(arguments, found, [(name,) for name in found])


def show_job_type(arguments: argparse.Namespace) -> int:
    found = open_client(arguments).job_type(arguments.name)
    return show(arguments, found, [
        ("launch script", found["launch_script"]), ("output files", found["output_file_patterns"]),
        ("parameters", " ".join(f"{name}{given}" for name, given in found["definition_parameters"] or []))])


def save_job_type(arguments: argparse.Namespace) -> int:
    open_client(arguments).save_job_type(arguments.name, add=arguments.add, script=arguments.script,
                                         patterns=arguments.patterns, parameters=arguments.pairs)
    return say(arguments, {"saved": arguments.name}, f"saved the job type {arguments.name}")


def delete_job_type(arguments: argparse.Namespace) -> int:
    return _deleted(arguments, open_client(arguments).delete_job_type(arguments.name))


def set_recoveries(arguments: argparse.Namespace) -> int:
    found = open_client(arguments).set_recoveries(arguments.name, arguments.recovery)
    return show(arguments, found, [(kind, " ".join(f"{name}{given}" for name, given in pairs))
                                   for kind, pairs in found])


def list_login_setups(arguments: argparse.Namespace) -> int:
    found = open_client(arguments).login_setups()
    return show(arguments, found, [(row["name"], row["launch_host"], row["launch_account"], row["launch_setup"])
                                   for row in found], ("login setup", "host", "account", "setup"))


def save_login_setup(arguments: argparse.Namespace) -> int:
    open_client(arguments).save_login_setup(arguments.name, add=arguments.add, host=arguments.host,
                                            account=arguments.account, setup=arguments.setup)
    return say(arguments, {"saved": arguments.name}, f"saved the login setup {arguments.name}")


def test_login_setup(arguments: argparse.Namespace) -> int:
    """Show what the test writes while it runs; what came of it is the last line."""
    client = open_client(arguments)
    begun = client.test_login_setup(arguments.name)
    if arguments.no_wait:
        return say(arguments, begun, f"test {begun['test_id']} of {arguments.name} begun")
    piece: dict[str, Any] = {}
    for piece in client.login_setup_test_log(begun["login_setup_id"], begun["test_id"]):
        if not arguments.json:
            for line in piece["text"].splitlines():
                print(clean(line), flush=True)
    say(arguments, {**begun, "state": piece["state"], "message": piece["message"]},
        f"{piece['state']}: {piece['message']}")
    return 0 if piece["state"] == "passed" else 1


def delete_login_setup(arguments: argparse.Namespace) -> int:
    return _deleted(arguments, open_client(arguments).delete_login_setup(arguments.name))


def _deleted(arguments: argparse.Namespace, said: str) -> int:
    """What was in use is told in words with status 200, as older clients expect; here it is a refusal."""
    if "may not be deleted" in said:
        raise PomsError(said)
    return say(arguments, {"deleted": arguments.name}, said)


# ------------------------------------------------------------------------------------------ tags


def list_tags(arguments: argparse.Namespace) -> int:
    found = open_client(arguments).tags(fitting=arguments.fitting)
    return show(arguments, found, [(tag["tag_name"], ", ".join(row["name"] for row in campaigns))
                                   for tag, campaigns in found])


def untag(arguments: argparse.Namespace) -> int:
    lost = open_client(arguments).untag(arguments.name, arguments.tag)
    return say(arguments, {"changed": lost}, clean(f"{lost} of {len(arguments.name)} campaigns lost {arguments.tag}"))
