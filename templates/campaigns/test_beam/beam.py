#!/usr/bin/env python3
"""A toy test-beam experiment, for sample campaigns: a beam of muons, electrons and pions hits a calorimeter.

take makes the events of one run, reconstruct measures energy and says what each particle was, sort writes a file
for each kind, merge puts files together. Standard library only. A run's events follow from its number alone, so
that a job that is done again makes the very same file. Files are JSON documents.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

FORMAT = "test-beam"
KINDS = {"muon": 0.5, "electron": 0.3, "pion": 0.2}
COUNTS_PER_GEV = 120.0
EVENTS = 250
# Energy over momentum: a muon only leaves a little, an electron all.
MUON_BELOW, ELECTRON_ABOVE = 0.25, 0.85


class BeamError(Exception):
    """The job cannot be done; the message says why."""


def write(path: Path, tier: str, runs: list[int], events: list[dict[str, Any]], stream: str = "") -> None:
    """Write a whole file or none: under another name first."""
    document = {"format": FORMAT, "tier": tier, "stream": stream, "runs": sorted(runs), "events": events}
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(document, separators=(",", ":")), encoding="utf-8")
    part.replace(path)


def read(path: Path) -> dict[str, Any]:
    """The document of a file; raises BeamError if it is not whole."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise BeamError(f"{path} cannot be read: {problem}") from problem
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise BeamError(f"{path} is no file of the test beam")
    return document


# ------------------------------------------------------------------------------------------------------ steps


def take(run: int, events: int = EVENTS) -> list[dict[str, Any]]:
    """The events of one run: which particle it really was, its momentum, and what the calorimeter counted."""
    chance = random.Random(f"test beam, run {run}")
    found = []
    for number in range(1, events + 1):
        kind = chance.choices(list(KINDS), list(KINDS.values()))[0]
        momentum = chance.uniform(2.0, 10.0)
        fraction = {"muon": 0.4 / momentum * chance.gauss(1.0, 0.1), "electron": chance.gauss(1.0, 0.03),
                    "pion": chance.uniform(0.4, 0.75)}[kind]
        found.append({"id": [run, number], "truth": kind, "momentum": momentum,
                      "counts": max(0, round(fraction * momentum * COUNTS_PER_GEV + chance.gauss(0.0, 2.0)))})
    return found


def reconstruct(event: dict[str, Any]) -> dict[str, Any]:
    """The event with its energy in GeV and the kind that energy over momentum speaks for."""
    energy = event["counts"] / COUNTS_PER_GEV
    ratio = energy / event["momentum"]
    kind = "muon" if ratio < MUON_BELOW else "electron" if ratio > ELECTRON_ABOVE else "pion"
    return {**event, "energy": energy, "kind": kind}


def section() -> int:
    """Which of the submission's jobs this is, from 0."""
    return int(os.environ.get("JOBSUBJOBSECTION") or os.environ.get("PROCESS") or 0)


def do_take(given: argparse.Namespace) -> str:
    if given.inputs:
        raise BeamError("take reads no file")
    run = given.first_run + section()
    # A run lasts; files of an experiment that takes data arrive one after the other.
    time.sleep(given.seconds)
    write(given.o, "raw", [run], take(run), given.stream)
    return f"run {run}: {EVENTS} events"


def do_reconstruct(given: argparse.Namespace) -> str:
    document = _one(given, "raw")
    events = [reconstruct(event) for event in document["events"]]
    write(given.o, "reconstructed", document["runs"], events, document["stream"])
    return f"runs {document['runs']}: {len(events)} events reconstructed"


def do_sort(given: argparse.Namespace) -> str:
    """One file for each kind, named after it, in the directory of the job."""
    document = _one(given, "raw")
    events = [reconstruct(event) for event in document["events"]]
    for kind in KINDS:
        write(Path(f"{kind}.json"), "sorted", document["runs"], [event for event in events if event["kind"] == kind],
              kind)
    return f"runs {document['runs']}: {len(events)} events sorted"


def do_merge(given: argparse.Namespace) -> str:
    if not given.inputs:
        raise BeamError("merge needs at least one file")
    documents = [read(path) for path in given.inputs]
    streams = {document["stream"] for document in documents}
    if len(streams) > 1:
        raise BeamError(f"files of different streams are not merged: {', '.join(sorted(streams))}")
    events = sorted((event for document in documents for event in document["events"]), key=lambda each: each["id"])
    write(given.o, "merged", [run for document in documents for run in document["runs"]], events, streams.pop())
    return f"{len(documents)} files merged: {len(events)} events"


def _one(given: argparse.Namespace, tier: str) -> dict[str, Any]:
    if len(given.inputs) != 1:
        raise BeamError(f"{given.step} reads exactly one file")
    document = read(given.inputs[0])
    if document["tier"] != tier:
        raise BeamError(f"{given.step} reads {tier} files; {given.inputs[0]} is {document['tier']}")
    return document


# -------------------------------------------------------------------------------------------------------- main


def metadata(path: Path) -> dict[str, Any]:
    """What the catalogue should know of a file."""
    document = read(path)
    return {"file_type": "test", "file_format": FORMAT, "data_tier": document["tier"],
            "data_stream": document["stream"] or None, "event_count": len(document["events"]),
            "runs": [[run, 0, "test"] for run in document["runs"]]}


STEPS = {"take": do_take, "reconstruct": do_reconstruct, "sort": do_sort, "merge": do_merge}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=[*STEPS, "metadata"])
    parser.add_argument("-o", metavar="OUTPUT", type=Path, help="for all steps but sort")
    parser.add_argument("--stream", default="", help="name of the data stream that is taken")
    parser.add_argument("--first-run", type=int, default=1, help="run of the first job")
    parser.add_argument("--seconds", type=float, default=0.0, help="how long a run lasts")
    parser.add_argument("inputs", metavar="FILE", type=Path, nargs="*")
    given = parser.parse_intermixed_args(arguments)
    if given.step in ("take", "reconstruct", "merge") and given.o is None:
        parser.error(f"{given.step} needs -o OUTPUT")
    try:
        if given.step == "metadata":
            print(json.dumps(metadata(given.inputs[0])))
        else:
            print(STEPS[given.step](given))
    except BeamError as problem:
        print(f"beam: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
