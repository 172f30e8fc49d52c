"""The SAM dimension texts that POMS asks a catalogue for: inputs, outputs, recoveries, dependencies.

Text in, text out; who evaluates it is a data backend's business. Every name that people or jobs chose is
quoted here, so no name can change what a query means. Patterns with a blank are query fragments by
contract and are put into parentheses, so that they cannot reach beyond their place either.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

PLAIN_VALUE = re.compile(r"[A-Za-z0-9_.%?+-]+")
RESERVED = frozenset({"and", "or", "not", "minus", "union", "intersect", "with", "in", "like"})
# Something between two numbers or dates would be read as a range.
NUMBER_OR_DATE = r"(?:\d{4}-\d{2}-\d{2}|\d{1,2}-[A-Za-z]{3}-(?:\d{4}|\d{2})|-?\d+(?:\.\d+)?)"
RANGE = re.compile(rf"{NUMBER_OR_DATE}-{NUMBER_OR_DATE}")
EVERYTHING = "%"
NOT_CONSUMED = ("skipped", "unknown", "delivered", "transferred", "unconsumed", "cancelled")


def quote(value: str) -> str:
    """The value as it is written in a query; quoted unless it is plain.

    A text that holds both kinds of quotes doubles the single ones: the local catalogue reads that,
    SAM itself refuses it as a syntax error.
    """
    if PLAIN_VALUE.fullmatch(value) and value.lower() not in RESERVED and not RANGE.fullmatch(value):
        return value
    if "'" not in value:
        return f"'{value}'"
    if '"' not in value:
        return f'"{value}"'
    return "'" + value.replace("'", "''") + "'"


def instant(moment: datetime) -> str:
    """An aware time as SAM reads it, quoted."""
    if moment.tzinfo is None:
        raise ValueError(f"a time without a zone: {moment!r}")
    return f"'{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S+0000}'"


def split_patterns(patterns: Iterable[str]) -> tuple[str, ...]:
    """Single patterns, each once, in order: comma lists taken apart; nothing means every file.

    A comma inside a fragment (a pattern with a blank) belongs to the fragment.
    """
    found: list[str] = []
    for pattern in patterns:
        pattern = pattern.strip()
        pieces = [pattern] if _is_fragment(pattern) else [piece.strip() for piece in pattern.split(",")]
        found += [piece for piece in pieces if piece and piece not in ("None", *found)]
    return tuple(found) or (EVERYTHING,)


def _is_fragment(pattern: str) -> bool:
    """Has it a blank inside one of its comma-separated pieces? ``a.root, b.root`` is still a list."""
    return any(len(piece.split()) > 1 for piece in pattern.split(","))


def matching(pattern: str) -> str:
    """Files of one pattern: a file name with wild cards, or a fragment that is taken as it stands."""
    return f"({pattern.strip()})" if _is_fragment(pattern) else f"file_name like {quote(pattern.strip())}"


def matching_any(patterns: Iterable[str]) -> str:
    """Files of at least one of the patterns; empty if that is every file."""
    singles = split_patterns(patterns)
    if EVERYTHING in singles:
        return ""
    if len(singles) == 1:
        return matching(singles[0])
    return "(" + " or ".join(matching(single) for single in singles) + ")"


def every(*conditions: str) -> str:
    """The conditions that are not empty, joined by ``and``."""
    return " and ".join(condition for condition in conditions if condition)


def either(queries: Sequence[str]) -> str:
    return " or ".join(f"({query})" if len(queries) > 1 else query for query in queries)


# ---------------------------------------------------------------------------------------- datasets


def definition(name: str) -> str:
    return f"defname:{quote(name)}"


def without_files(query: str, names: Sequence[str]) -> str:
    return f"({query}) minus ({named(names)})"


def named(names: Sequence[str]) -> str:
    """Exactly these files."""
    return f"file_name {','.join(quote(name) for name in names)}"


def tagged(dataset: str) -> str:
    """Files that jobs marked as belonging to a dataset (for stages without input)."""
    return f"dataset.tag {quote(dataset)}"


# ------------------------------------------------------------------------------ inputs and outputs


def project_input(project: str) -> str:
    return f"snapshot_for_project_name {quote(project)}"


def made_by(version: str, created_after: datetime | None, patterns: Iterable[str] = (EVERYTHING,)) -> str:
    """What tells a submission's output from other files with the same parents; may be empty."""
    return every(
        f"version {quote(version)}" if version else "",
        f"create_date > {instant(created_after)}" if created_after else "",
        matching_any(patterns),
    )


def children(query: str, depth: int = 1) -> str:
    """The files made from those of a query, ``depth`` generations on."""
    for _ in range(max(1, depth)):
        query = f"ischildof:( {query} )"
    return query


def parents(query: str, depth: int = 1) -> str:
    """The files that those of a query were made from, ``depth`` generations back."""
    for _ in range(max(1, depth)):
        query = f"isparentof:( {query} )"
    return query


def ancestors_of_output(output: str, depth: int, availability: str = "") -> str:
    """Inputs that have such output; availability concerns the output, not what lies between.

    Intermediate generations need no location: they are often removed once the next one is made.
    """
    condition = output or f"file_name like {EVERYTHING}"
    query = f"isparentof:( {condition}{f' with availability {availability}' if availability else ''} )"
    for _ in range(1, max(1, depth)):
        query = f"isparentof:( {query} with availability anylocation )"
    return query


def output(project: str, made: str, depth: int) -> str:
    """Located output of a project's input."""
    query = project_input(project)
    for generation in range(max(1, depth)):
        between = " with availability anylocation" if generation else ""
        query = f"ischildof:( {query}{between} )"
    return every(query, made)


def dependency_from_definition(dataset: str, patterns: Iterable[str]) -> str:
    """For stages that hand on their input (transfers, approvals) or whose jobs declare the dataset."""
    return every(definition(dataset), matching_any(patterns))


def inputs_with_output(project: str, outputs: Sequence[str], depth: int, availability: str) -> str:
    """Inputs of a project that have output of every given kind."""
    return every(project_input(project), *(ancestors_of_output(each, depth, availability) for each in outputs))


# -------------------------------------------------------------------------------------- recoveries


def recover_not_consumed(project: str) -> str:
    """Everything of the input that no job reported as consumed."""
    return f"{project_input(project)} minus (project_name {quote(project)} and consumed_status 'co%')"


def recover_by_process(project: str, *, files: bool = True, processes: bool = True) -> str:
    """Everything not consumed, and what was consumed by a process that did not end well."""
    done = every(f"project_name {quote(project)}", "consumed_status 'co%'" if files else "",
                 "consumer_status completed" if processes else "")
    return f"{project_input(project)} minus ({done})"


def recover_pending(project: str, outputs: Sequence[str], depth: int) -> str:
    """Inputs that lack output of at least one kind; output that is declared but not located is not there yet."""
    complete = every(*(ancestors_of_output(each, depth) for each in outputs))
    return f"{project_input(project)} minus ({complete})"


def recover_added(dataset: str, project: str) -> str:
    """Files that joined the dataset after the project took its snapshot."""
    return f"{definition(dataset)} minus {project_input(project)}"


def recover_delivered(project: str) -> str:
    """Files of the project that were handed out or waited, and were neither consumed nor failed."""
    return f"project_name {quote(project)} and consumed_status {','.join(NOT_CONSUMED)}"
