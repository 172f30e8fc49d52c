"""What is added to a jobsub_submit command so that its jobs can be followed, and what its output says. Pure.

Invariant: attributes that are names are quoted texts, never expressions, whatever people call things; the words of
the user are passed on as they are.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence

JOB_ID = re.compile(rb"Use job id ([0-9]+(?:\.[0-9]+)?@[^\s]+) to retrieve")
"""As jobsub says which jobs there are; nothing else that it says, and no exit status, means that there are any."""

# Submits nothing: shown to the real program as it is.
_LOOKING = frozenset({"-h", "--help", "--version", "-n", "--no_submit", "--no-submit"})
_NUMBERS = ("POMS4_CAMPAIGN_STAGE_ID", "POMS4_CAMPAIGN_ID", "POMS4_SUBMISSION_ID", "POMS4_LAUNCH_ATTEMPT",
            "POMS_CAMPAIGN_ID", "POMS_TASK_ID")
_TEXTS = ("POMS4_CAMPAIGN_STAGE_NAME", "POMS4_CAMPAIGN_NAME", "POMS4_CAMPAIGN_TYPE", "POMS4_TEST_LAUNCH",
          "POMS_LAUNCHER", "POMS_CAMPAIGN_NAME")
CATEGORIES = "FIFE_CATEGORIES"
_IN_JOBS = ("POMS_CAMPAIGN_ID", "POMS_TASK_ID", "POMS4_SUBMISSION_ID")
_ATTRIBUTE = re.compile(r"\s*(?:\+|MY\.)([A-Za-z_][A-Za-z0-9_]*)\s*=", re.IGNORECASE)


def submits(words: Sequence[str]) -> bool:
    """Whether a command line asks for jobs at all."""
    for word in words:
        if word.startswith("file://"):
            return True
        if word in _LOOKING:
            return False
    return bool(words)


def with_identity(environment: Mapping[str, str], submission_id: int, stage: str) -> dict[str, str]:
    """The environment in which the variables of both generations name the submission."""
    found = dict(environment)
    found["POMS4_SUBMISSION_ID"] = found["POMS_TASK_ID"] = str(submission_id)
    if stage.isascii() and stage.isdigit():
        found.setdefault("POMS4_CAMPAIGN_STAGE_ID", stage)
        found.setdefault("POMS_CAMPAIGN_ID", stage)
    return found


def added_words(words: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """The options to put before the user's own: variables of the jobs, and attributes that are not there yet."""
    own = _options(words)
    extra = environment.get("JOBSUB_EXTRA_LINES", "").split(",")
    known = {found[1].lower() for line in (*own["lines"], *extra) if (found := _ATTRIBUTE.match(line))}
    passed = {word.partition("=")[0] for word in (*own["environment"],
                                                  *environment.get("JOBSUB_EXTRA_ENVIRONMENT", "").split(","))}
    added: list[str] = []
    for name in _IN_JOBS:
        if environment.get(name) and name not in passed:
            added += ["-e", name]
    for name in _NUMBERS:
        value = environment.get(name, "")
        if name.lower() not in known and value.isascii() and value.isdigit():
            added += ["-l", f"+{name}={value}"]
    texts = {name: environment.get(name, "") for name in _TEXTS} | {CATEGORIES: _categories(environment)}
    for name, value in texts.items():
        if name.lower() not in known and value:
            added += ["-l", f"+{name}={quoted(value)}"]
    return added


def _categories(environment: Mapping[str, str]) -> str:
    """The submission, its stage and its tags as monitoring groups jobs; "" without a submission's number."""
    numbers = {name: environment.get(name, "") for name in ("POMS_TASK_ID", "POMS_CAMPAIGN_ID")}
    known = [f"{name}_{value}" for name, value in numbers.items() if value.isascii() and value.isdigit()]
    tags = [tag.strip() for tag in environment.get("POMS_CAMPAIGN_TAGS", "").split(",") if tag.strip()]
    return ",".join([*known, *tags]) if known else ""


def quoted(text: str) -> str:
    r"""A text as jobsub passes it on to a job's attributes: its one layer of backslashes is taken off on the way.

    Marks that would end the text, or that the submit file reads as something else, become underscores.
    """
    plain = "".join("_" if letter in "\"'\\$`" or not letter.isprintable() else letter for letter in text)
    return f'\\"{plain[:200]}\\"'


def found_job_id(output: bytes) -> str:
    """``cluster@schedd`` of the first jobs that the output names; "" if it names none."""
    match = JOB_ID.search(output)
    if not match:
        return ""
    cluster, _, schedd = match[1].decode("ascii", "replace").partition("@")
    return f"{cluster.partition('.')[0]}@{schedd}"


def group_of(words: Sequence[str]) -> str:
    """The group that the options name, as jobsub reads them; "" if they name none."""
    return next(iter(_options(words)["group"]), "")


def command_of(argument: str) -> list[str]:
    """The words of a command as jobsub writes them for its hooks: a Python list; as one word if it is none."""
    try:
        words = ast.literal_eval(argument)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return [argument]
    return [str(word) for word in words] if isinstance(words, list) and words else [argument]


def shown_command(program: str, words: Sequence[str], *, longest: int = 15_000) -> str:
    """The command for people to read; not to be run again."""
    text = " ".join([program, *words])
    plain = "".join(letter if letter.isprintable() else " " for letter in text)
    return plain if len(plain) <= longest else f"{plain[:longest]} ..."


def _options(words: Sequence[str]) -> dict[str, list[str]]:
    """The values of -l, -e and -G in the user's options; the job's own arguments are not looked at."""
    found: dict[str, list[str]] = {"lines": [], "environment": [], "group": []}
    kinds = {"-l": "lines", "--lines": "lines", "-e": "environment", "--environment": "environment", "-G": "group",
             "--group": "group"}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word.startswith("file://"):
            break
        name, equals, value = word.partition("=") if word.startswith("--") else (word[:2], word[2:], word[2:])
        kind = kinds.get(name)
        if kind is None:
            continue
        if not equals and rest:
            value = rest.pop(0)
        found[kind].append(value.removeprefix("=") if not word.startswith("--") else value)
    return found
