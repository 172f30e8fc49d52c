"""Is the physics of the sample campaign right? Compares the anatree summaries with the generator's truth.

Loaded by its path (it is not part of a package): ``check_physics(directory_or_files)`` gives a CheckReport.
Counts must agree exactly, event by event, so one lost or doubled file fails; physical quantities must agree within
errors that are stated with each result.
"""

from __future__ import annotations

import gzip
import json
import math
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# What the configuration of the chain makes of a perfect event.
SPECTRUM = {"shape": 2.5, "scale": 0.4, "low": 0.2, "high": 3.0}
FILES, EVENTS_A_FILE = 5, 400
RECONSTRUCTED_FROM_GEV = 0.4
WIDTH_BETWEEN = (0.005, 0.05)
LARGEST_BIAS = 0.01
LARGEST_MEAN_DEGREES = 2.0
SIGMAS = 4.0


@dataclass(frozen=True)
class Check:
    """One comparison: what was found, what was expected, and how far apart they may be."""

    name: str
    passed: bool
    found: float
    expected: float
    tolerance: float
    message: str


@dataclass(frozen=True)
class CheckReport:
    """The outcome; ``failures`` names what is wrong, for people."""

    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        return bool(self.checks) and all(check.passed for check in self.checks)

    @property
    def failures(self) -> list[str]:
        return [f"{check.name}: {check.message}" for check in self.checks if not check.passed]

    def __str__(self) -> str:
        return "\n".join(f"{'passed' if check.passed else 'FAILED'}  {check.name}: {check.message}"
                         for check in self.checks)


def check_physics(source: str | Path | Iterable[str | Path]) -> CheckReport:
    """Check the files of one run of the campaign: a directory (searched below) or exactly the files given.

    Only gen and anatree files are used. A file that cannot be read or is not whole is a failure, not an exception.
    """
    if isinstance(source, (str, Path)):
        paths = sorted(path for path in Path(source).rglob("*.root") if path.is_file() and path.name[0] != ".")
    else:
        paths = [Path(path) for path in source]
    made: dict[str, list[list[dict[str, Any]]]] = {"gen": [], "anatree": []}
    broken: list[str] = []
    for path in paths:
        try:
            process, events = _read(path)
        except (OSError, EOFError, ValueError, KeyError) as problem:
            broken.append(f"{path.name} ({problem})")
            continue
        if process in made:
            made[process].append(events)
    checks = [_count("readable files", len(paths) - len(broken), len(paths), "; ".join(broken)),
              _count("gen files", len(made["gen"]), FILES), _count("anatree files", len(made["anatree"]), FILES)]
    truth = [event for events in made["gen"] for event in events]
    summaries = [summary for events in made["anatree"] for summary in events]
    checks += _identities(truth, summaries)
    if truth and summaries:
        checks += _quantities(truth, summaries)
    return CheckReport(tuple(checks))


def _read(path: Path) -> tuple[str, list[dict[str, Any]]]:
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        lines = [json.loads(line) for line in stream]
    if len(lines) < 2 or lines[0].get("format") != "toy-lar" or lines[-1] != {"end": len(lines) - 2}:
        raise ValueError("not a whole event file")
    return lines[0]["process"], lines[1:-1]


def _count(name: str, found: int, expected: int, remark: str = "") -> Check:
    return Check(name, found == expected, found, expected, 0,
                 f"{found}, expected exactly {expected}" + (f": {remark}" if remark else ""))


def _within(name: str, found: float, expected: float, tolerance: float) -> Check:
    return Check(name, abs(found - expected) <= tolerance, found, expected, tolerance,
                 f"{found:.5g}, expected {expected:.5g} within {tolerance:.2g}")


def _identities(truth: list[dict[str, Any]], summaries: list[dict[str, Any]]) -> list[Check]:
    """Each generated event has its own number, and comes out at the end exactly once."""
    begun = Counter(tuple(event["id"]) for event in truth)
    ended = Counter(tuple(number) for summary in summaries for number in summary["ids"])
    return [
        _count("generated events", sum(begun.values()), FILES * EVENTS_A_FILE),
        _count("event numbers used twice", len(begun.values()) - list(begun.values()).count(1), 0),
        _count("lost events", sum((begun - ended).values()), 0),
        _count("doubled or foreign events", sum((ended - begun).values()), 0),
    ]


def _quantities(truth: list[dict[str, Any]], summaries: list[dict[str, Any]]) -> list[Check]:
    energies = [event["energy"] for event in truth]
    mean, variance = spectrum_moments()
    reconstructed = sum(summary["reconstructed"] for summary in summaries)
    found = max(reconstructed, 1)
    average = math.fsum(summary["ratio_sum"] for summary in summaries) / found
    spread = math.fsum(summary["ratio_square_sum"] for summary in summaries) / found - average * average
    width = math.sqrt(max(spread, 0.0))
    degrees = math.fsum(summary["degree_sum"] for summary in summaries) / found
    filled = sum(sum(summary["ratio_histogram"]) for summary in summaries)
    total = math.fsum(energies)
    middle = sum(WIDTH_BETWEEN) / 2
    return [
        _within("mean true energy, GeV", total / len(energies), mean, SIGMAS * math.sqrt(variance / len(energies))),
        _within("sum of true energies, GeV", math.fsum(summary["true_energy_sum"] for summary in summaries), total,
                1e-9 * total),
        _count("reconstructed events", reconstructed,
               sum(_is_reconstructible(energy) for energy in energies)),
        _count("histogram entries", filled, reconstructed),
        _within("reconstructed over true energy", average, 1.0, LARGEST_BIAS),
        _within("width of that ratio", width, middle, middle - WIDTH_BETWEEN[0]),
        _within("mean angle to the truth, degrees", degrees, LARGEST_MEAN_DEGREES / 2, LARGEST_MEAN_DEGREES / 2),
    ]


def _is_reconstructible(energy: float) -> bool:
    """The track is cut into 30 slices a GeV, rounded down, and 12 hits are needed."""
    return int(30 * energy) >= round(30 * RECONSTRUCTED_FROM_GEV)


def spectrum_moments(steps: int = 20_000) -> tuple[float, float]:
    """Mean and variance of the truncated gamma spectrum, by integration."""
    low, high = SPECTRUM["low"], SPECTRUM["high"]
    points = [low + (high - low) * (k + 0.5) / steps for k in range(steps)]
    density = [point ** (SPECTRUM["shape"] - 1) * math.exp(-point / SPECTRUM["scale"]) for point in points]
    total = math.fsum(density)
    mean = math.fsum(p * d for p, d in zip(points, density, strict=True)) / total
    return mean, math.fsum((p - mean) ** 2 * d for p, d in zip(points, density, strict=True)) / total


if __name__ == "__main__":
    report = check_physics(sys.argv[1] if len(sys.argv) == 2 else sys.argv[1:])
    print(report)
    sys.exit(0 if report.passed else 1)
