#!/usr/bin/env python3
"""Pseudo-experiments of a counting search, as an analysis user makes them: how often does the interval cover?

generate draws experiments with a known signal on a known background; coverage puts the files together and counts in
how many the 68 % interval holds the true signal. Standard library only. The same job always makes the same file.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import sys
from pathlib import Path
from typing import Any

FORMAT = "toy-experiments"
SIGNAL, BACKGROUND = 12.0, 4.0
EXPERIMENTS = 2000


class ToyError(Exception):
    """The job cannot be done; the message says why."""


def interval(count: int) -> tuple[float, float]:
    """The estimate of the signal plus and minus one standard error."""
    estimate, error = count - BACKGROUND, math.sqrt(max(count, 1))
    return estimate - error, estimate + error


def covers(count: int) -> bool:
    low, high = interval(count)
    return low <= SIGNAL <= high


def poisson(chance: random.Random, mean: float) -> int:
    """A Poisson number, by multiplying uniform ones: exact, and quick for small means."""
    limit, product, count = math.exp(-mean), chance.random(), 0
    while product > limit:
        product *= chance.random()
        count += 1
    return count


def generate(section: int, experiments: int = EXPERIMENTS) -> list[int]:
    """What each experiment of this job counted."""
    chance = random.Random(f"toy experiments, section {section}")
    return [poisson(chance, SIGNAL + BACKGROUND) for _ in range(experiments)]


def write(path: Path, document: dict[str, Any]) -> None:
    """Write a whole file or none: under another name first."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps({"format": FORMAT, **document}), encoding="utf-8")
    part.replace(path)


def read(path: Path, step: str) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise ToyError(f"{path} cannot be read: {problem}") from problem
    if not isinstance(document, dict) or document.get("format") != FORMAT or step not in (document["step"], ""):
        raise ToyError(f"{path} is no file of toy experiments{' made by ' + step if step else ''}")
    return document


def do_generate(output: Path, inputs: list[Path]) -> str:
    if inputs:
        raise ToyError("generate reads no file")
    section = int(os.environ.get("JOBSUBJOBSECTION") or os.environ.get("PROCESS") or 0)
    counts = generate(section)
    write(output, {"step": "generate", "sections": [section], "counts": counts})
    return f"section {section}: {len(counts)} experiments"


def do_coverage(output: Path, inputs: list[Path]) -> str:
    documents = [read(path, "generate") for path in inputs]
    sections = [section for document in documents for section in document["sections"]]
    counts = [count for document in documents for count in document["counts"]]
    if not counts or len(set(sections)) < len(sections):
        raise ToyError(f"coverage needs files of different sections, not {sorted(sections)}")
    covered = sum(map(covers, counts))
    write(output, {"step": "coverage", "sections": sorted(sections), "experiments": len(counts),
                   "mean": math.fsum(counts) / len(counts), "covered": covered})
    return f"{len(counts)} experiments, {covered / len(counts):.1%} covered"


def metadata(path: Path) -> dict[str, Any]:
    """What the catalogue should know of a file."""
    document = read(path, "")
    number = document.get("experiments", len(document.get("counts", ())))
    return {"file_type": "mc", "file_format": FORMAT, "data_tier": document["step"], "event_count": number,
            "runs": [[1, section, "mc"] for section in document["sections"]]}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["generate", "coverage", "metadata"])
    parser.add_argument("-o", metavar="OUTPUT", type=Path)
    parser.add_argument("inputs", metavar="FILE", type=Path, nargs="*")
    given = parser.parse_intermixed_args(arguments)
    try:
        if given.step == "metadata":
            print(json.dumps(metadata(given.inputs[0])))
        elif given.o is None:
            parser.error(f"{given.step} needs -o OUTPUT")
        else:
            print((do_generate if given.step == "generate" else do_coverage)(given.o, given.inputs))
    except ToyError as problem:
        print(f"toys: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
