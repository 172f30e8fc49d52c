#!/usr/bin/env python3
"""Stands in for LArSoft's ``lar`` in the sample campaign: a toy liquid-argon chain with real numbers in it.

gen draws events from a spectrum, g4 deposits their energy along tracks, detsim digitises with noise, reco estimates
energy and direction, anatree makes histograms and a summary. Standard library only. The same configuration and
section (JOBSUBJOBSECTION, else PROCESS) always give the same bytes. Files are called .root, as in the real chain,
but hold gzip-compressed lines of JSON: a header, one event a line, and a last line that tells a whole file.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import os
import random
import sys
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Event = dict[str, Any]
TIERS = {"gen": "generated", "g4": "simulated", "detsim": "detector-simulated", "reco": "reconstructed",
         "anatree": "root-tuple"}
NEEDS = {"g4": "gen", "detsim": "g4", "reco": "detsim", "anatree": "reco"}
STEP_BYTES = 8
WIRE_PITCH_CM = 0.3
TICK_CM = 0.08


class LarError(Exception):
    """The job cannot be done; the message says why."""


# ------------------------------------------------------------------------------------------------------- files


def write_events(path: Path, header: dict[str, Any], events: list[Event]) -> None:
    """Write a whole file or none: under another name first."""
    lines = [json.dumps(entry, separators=(",", ":")) for entry in ({**header, "events": len(events)}, *events)]
    lines.append(json.dumps({"end": len(events)}))
    part = path.with_name(path.name + ".part")
    with part.open("wb") as raw, gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0) as stream:
        stream.write(("\n".join(lines) + "\n").encode())
    part.replace(path)


def read_events(path: Path) -> tuple[dict[str, Any], list[Event]]:
    """Header and events of a file; raises LarError if it is not whole."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") as stream:
            lines = [json.loads(line) for line in stream]
    except (OSError, EOFError, ValueError) as problem:
        raise LarError(f"{path} cannot be read: {problem}") from problem
    if len(lines) < 2 or lines[0].get("format") != "toy-lar" or lines[-1] != {"end": len(lines) - 2}:
        raise LarError(f"{path} is not a whole event file")
    return lines[0], lines[1:-1]


def read_fcl(name: str) -> dict[str, Any]:
    """``key: value`` lines, values in JSON; looked for as given, in FHICL_FILE_PATH and beside this program."""
    places = ["", *os.environ.get("FHICL_FILE_PATH", "").split(":"), str(Path(__file__).resolve().parent)]
    path = next((Path(place) / name for place in places if (Path(place) / name).is_file()), None)
    if path is None:
        raise LarError(f"{name} was found neither here, nor in FHICL_FILE_PATH, nor beside lar.py")
    result: dict[str, Any] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        text = line.split("#", 1)[0].strip()
        if not text:
            continue
        key, colon, value = text.partition(":")
        try:
            result[key.strip()] = json.loads(value)
        except ValueError:
            raise LarError(f"{path}, line {number}: write key: value, the value in JSON") from None
        if not colon:
            raise LarError(f"{path}, line {number}: no colon")
    if result.get("process_name") not in TIERS:
        raise LarError(f"{path}: process_name must be one of {', '.join(TIERS)}")
    return result


# ------------------------------------------------------------------------------------------------------ stages


def generate(fcl: dict[str, Any]) -> tuple[dict[str, Any], list[Event]]:
    """Events of one section: energy from a truncated gamma spectrum, vertex in the detector, direction downstream."""
    section = int(os.environ.get("JOBSUBJOBSECTION") or os.environ.get("PROCESS") or 0)
    run, chance = fcl["run"], random.Random(f"{fcl['seed']}/{fcl['run']}/{section}")
    events = []
    for number in range(1, fcl["events"] + 1):
        energy = 0.0
        while not fcl["lowest_gev"] <= energy <= fcl["highest_gev"]:
            energy = chance.gammavariate(fcl["spectrum_shape"], fcl["spectrum_scale_gev"])
        cosine, angle = chance.uniform(fcl["lowest_cosine"], 1.0), chance.uniform(-math.pi, math.pi)
        sine = math.sqrt(1.0 - cosine * cosine)
        events.append({
            "id": [run, section, number], "energy": energy, "steps": int(fcl["steps_per_gev"] * energy),
            "vertex": [chance.uniform(20.0, 180.0), chance.uniform(-150.0, 150.0), chance.uniform(20.0, 100.0)],
            "direction": [sine * math.cos(angle), sine * math.sin(angle), cosine],
        })
    if section % fcl["shower_every"] == fcl["shower_section"]:
        # One section sees an air shower: a single event whose tracks need far more memory in g4 than all others.
        events[len(events) // 2]["steps"] = fcl["shower_steps"]
    return {"run": run, "subrun": section}, events


def simulate(fcl: dict[str, Any], events: list[Event], chance: random.Random) -> Iterator[Event]:
    """Deposit each event's energy along a straight track, denser towards its end, with fluctuations.

    All steps of the largest event are kept at once, as a tracking program must: its memory follows from its input.
    """
    steps = array("d", bytes(STEP_BYTES)) * max(event["steps"] for event in events)
    for event in events:
        slices = max(fcl["fewest_slices"], int(fcl["slices_per_gev"] * event["energy"]))
        weights = [1.0 + 0.6 * (k / slices) ** 2 for k in range(slices)]
        norm = event["energy"] / sum(weights)
        deposits = []
        # A shower costs time as well as memory, though not in proportion.
        rounds = fcl["rounds_per_slice"] * (fcl["shower_rounds"] if event["steps"] > fcl["shower_threshold"] else 1)
        for k, weight in enumerate(weights):
            mean = norm * weight
            gained = sum(chance.gauss(1.0, fcl["fluctuation"]) for _ in range(rounds)) / rounds
            along = (k + 0.5) * fcl["slice_cm"]
            position = [event["vertex"][i] + along * event["direction"][i] + chance.gauss(0.0, fcl["scatter_cm"])
                        for i in range(3)]
            steps[k * (len(steps) - 1) // slices] = mean * gained
            deposits.append([*position, mean * gained])
        yield {**truth(event), "deposits": deposits}


def digitise(fcl: dict[str, Any], events: list[Event], chance: random.Random) -> Iterator[Event]:
    """Turn deposits into hits: wire, tick and view numbers, and a noisy whole-numbered charge above threshold."""
    for event in events:
        hits = []
        for x, y, z, energy in event["deposits"]:
            charge = energy * fcl["adc_per_gev"] + chance.gauss(0.0, fcl["noise_adc"])
            for _ in range(fcl["waveform_samples"]):  # the pedestal around the hit: drawn, checked, not kept
                chance.gauss(0.0, fcl["noise_adc"])
            if charge >= fcl["threshold_adc"]:
                hits.append([round(z / WIRE_PITCH_CM), round(x / TICK_CM), round(y / WIRE_PITCH_CM), round(charge)])
        yield {**truth(event), "hits": hits}


def reconstruct(fcl: dict[str, Any], events: list[Event], chance: random.Random) -> Iterator[Event]:
    """Energy from the calibrated charge, direction from the principal axis of the hits; too few hits are no event."""
    for event in events:
        hits = event["hits"]
        found = None
        if len(hits) >= fcl["fewest_hits"]:
            points = [(tick * TICK_CM, view * WIRE_PITCH_CM, wire * WIRE_PITCH_CM) for wire, tick, view, _ in hits]
            found = {"energy": sum(hit[3] for hit in hits) / fcl["adc_per_gev"],
                     "direction": principal_axis(points, fcl["axis_iterations"])}
        yield {**truth(event), "reco": found}


def analyse(fcl: dict[str, Any], events: list[Event], chance: random.Random) -> Iterator[Event]:
    """One summary for the whole file: counts, sums that can be added over files, and histograms."""
    low, high, bins = fcl["ratio_low"], fcl["ratio_high"], fcl["bins"]
    histogram, angles = [0] * (bins + 2), [0] * (bins + 2)
    ratios = [event["reco"]["energy"] / event["energy"] for event in events if event["reco"]]
    cosines = [sum(event["reco"]["direction"][i] * event["direction"][i] for i in range(3))
               for event in events if event["reco"]]
    for value in ratios:
        histogram[min(bins + 1, max(0, 1 + math.floor((value - low) / (high - low) * bins)))] += 1
    degrees = [math.degrees(math.acos(max(-1.0, min(1.0, cosine)))) for cosine in cosines]
    for value in degrees:
        angles[min(bins + 1, 1 + math.floor(value / fcl["largest_angle"] * bins))] += 1
    mean = math.fsum(ratios) / len(ratios) if ratios else 0.0
    yield {
        "ids": [event["id"] for event in events], "reconstructed": len(ratios),
        "true_energy_sum": math.fsum(event["energy"] for event in events),
        "ratio_sum": math.fsum(ratios), "ratio_square_sum": math.fsum(value * value for value in ratios),
        "degree_sum": math.fsum(degrees), "mean": mean,
        "width": math.sqrt(math.fsum((value - mean) ** 2 for value in ratios) / len(ratios)) if ratios else 0.0,
        "efficiency": len(ratios) / len(events), "ratio_histogram": histogram, "degree_histogram": angles,
    }


def truth(event: Event) -> Event:
    return {name: event[name] for name in ("id", "energy", "direction")}


def principal_axis(points: list[tuple[float, float, float]], iterations: int) -> list[float]:
    """The direction of largest spread, pointing downstream; power iteration on the covariance matrix."""
    centre = [math.fsum(point[i] for point in points) / len(points) for i in range(3)]
    shifted = [[point[i] - centre[i] for i in range(3)] for point in points]
    matrix = [[math.fsum(point[i] * point[j] for point in shifted) for j in range(3)] for i in range(3)]
    axis = [0.1, 0.2, 1.0]
    for _ in range(iterations):
        axis = [math.fsum(matrix[i][j] * axis[j] for j in range(3)) for i in range(3)]
        length = math.sqrt(math.fsum(part * part for part in axis)) or 1.0
        axis = [part / length for part in axis]
    return axis if axis[2] >= 0 else [-part for part in axis]


STAGES: dict[str, Callable[[dict[str, Any], list[Event], random.Random], Iterator[Event]]] = {
    "g4": simulate, "detsim": digitise, "reco": reconstruct, "anatree": analyse,
}


# -------------------------------------------------------------------------------------------------------- main


def run(fcl_name: str, output: Path, source: Path | None) -> str:
    """One ``lar`` job; a sentence on what was done."""
    fcl = read_fcl(fcl_name)
    process = fcl["process_name"]
    if process == "gen":
        if source is not None:
            raise LarError("gen takes no input file")
        header, events = generate(fcl)
    else:
        if source is None:
            raise LarError(f"{process} needs an input file: -s FILE")
        found, taken = read_events(source)
        if found["process"] != NEEDS[process]:
            raise LarError(f"{process} reads files of {NEEDS[process]}; {source} was made by {found['process']}")
        header = {"run": found["run"], "subrun": found["subrun"]}
        chance = random.Random(f"{process}/{fcl['seed']}/{found['run']}/{found['subrun']}")
        events = list(STAGES[process](fcl, taken, chance))
    numbers = [event["id"] for event in events if "id" in event] or events[0]["ids"]
    write_events(output, {"format": "toy-lar", "process": process, **header, "event_count": len(numbers),
                          "first_event": numbers[0][2], "last_event": numbers[-1][2]}, events)
    return f"{process}: run {header['run']} subrun {header['subrun']}, {len(numbers)} events written to {output}"


def metadata(path: Path) -> dict[str, Any]:
    """What the catalogue should know of a file: the part that sam_metadata_dumper plays for real ones."""
    header, _ = read_events(path)
    return {"file_type": "mc", "file_format": "toy-lar", "data_tier": TIERS[header["process"]],
            "event_count": header["event_count"], "first_event": header["first_event"],
            "last_event": header["last_event"], "runs": [[header["run"], header["subrun"], "mc"]]}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-c", metavar="FCL", help="configuration of the stage")
    parser.add_argument("-o", metavar="OUTPUT", type=Path)
    parser.add_argument("-s", metavar="INPUT", type=Path, nargs="?", help="input file; none for gen")
    parser.add_argument("--metadata", metavar="FILE", type=Path, help="print a file's metadata as JSON and stop")
    given = parser.parse_args(arguments)
    try:
        if given.metadata:
            print(json.dumps(metadata(given.metadata)))
        elif given.c and given.o:
            print(run(given.c, given.o, given.s))
        else:
            parser.error("-c and -o are needed")
    except LarError as problem:
        print(f"lar: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
