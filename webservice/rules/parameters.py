"""Launch parameters: which value wins, and what ``%(name)s`` becomes.

A parameter list is a list of [key, value] pairs; the value is glued to the key with no separator.
Substitution knows ``%(name)s`` and ``%%`` only; anything else is an error that names the place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from poms.webservice.errors import Invalid, Problem

Pairs = Sequence[Sequence[str]]
SYSTEM_NAMES = ("dataset", "parameter", "version", "group", "experimenter", "experiment")
"""What every launch can fill in, whatever keywords the campaign has."""

_PERCENT = re.compile(r"%(?:\((?P<name>[^)]*)\)(?P<kind>.?)|(?P<literal>%)|(?P<wrong>.?))", re.DOTALL)


def given(text: str | None) -> str:
    """A stored text; "" also where it is the word by which older clients say that there is none."""
    return "" if text is None or text.strip() in ("", "None", "none") else text


def merge(*lists: Pairs) -> list[tuple[str, str]]:
    """One ordered list: a later value replaces an earlier one of the same key, in its place."""
    merged: dict[str, str] = {}
    for pairs in lists:
        for key, value in pairs:
            merged[str(key)] = str(value)
    return list(merged.items())


def launch_parameters(*, job_type: Pairs, campaign: Pairs, merge_overrides: bool, stage: Pairs, launch: Pairs,
                      test: Pairs, is_test: bool) -> list[tuple[str, str]]:
    """The parameters of a launch, in the order of precedence that users rely on.

    Overrides of the launch itself (a recovery's) come twice so that they also beat test overrides.
    """
    lists = [job_type, campaign if merge_overrides else [], stage, launch]
    if is_test:
        lists += [test, launch]
    return merge(*lists)


def join_command(script: str, parameters: Iterable[tuple[str, str]]) -> str:
    """Launch script and parameters as one shell text, before substitution."""
    return " ".join([script.strip(), *(key + value for key, value in parameters)]).strip()


def substitute(text: str, variables: Mapping[str, str], field: str) -> str:
    """``text`` with every ``%(name)s`` replaced; raises Invalid listing every unknown name.

    ``field`` names the place in the message, e.g. ``launch_script of job type fife_mc``.
    """
    problems: list[Problem] = []

    def replace(match: re.Match[str]) -> str:
        if match["literal"]:
            return "%"
        name = match["name"]
        if name is None:
            problems.append(Problem(field, f"a lone % before “{match['wrong']}”; write %% for a per cent sign",
                                    code="lone-percent"))
        elif match["kind"] != "s":
            problems.append(Problem(field, f"%({name}) must end in s: %({name})s", code="bad-substitution"))
        elif name not in variables:
            known = ", ".join(sorted(variables))
            problems.append(Problem(field, f"nothing is called “{name}”. Known: {known}. For a name that the launcher "
                                           f"itself expands write %%({name})s", code="unknown-variable"))
        else:
            return variables[name]
        return match[0]

    result = _PERCENT.sub(replace, text)
    if problems:
        raise Invalid(problems)
    return result


def expand_keywords(value: str, keywords: Mapping[str, object], field: str) -> str:
    """A stage's text with the campaign's keywords filled in; a % that names none stays as it is."""
    if "%(" not in value or ")s" not in value:
        return value
    return substitute(value, {str(key): str(each) for key, each in keywords.items()}, field)


def launch_variables(*, keywords: Mapping[str, str], dataset: str, version: str, group: str, experimenter: str,
                     experiment: str) -> dict[str, str]:
    """The names usable in launch commands. System names win over campaign keywords of the same name."""
    words = {str(key): str(value) for key, value in keywords.items()}
    expanded = expand_keywords(dataset, words, "dataset")
    return words | {
        "dataset": expanded,
        "parameter": expanded,
        "version": expand_keywords(version, words, "software_version"),
        "group": expand_keywords(group, words, "group"),
        "experimenter": experimenter,
        "experiment": experiment,
    }


def system_variables(variables: Mapping[str, str]) -> dict[str, str]:
    """The names usable in login setups: the system's own, not the campaign's keywords."""
    return {name: variables[name] for name in SYSTEM_NAMES}
