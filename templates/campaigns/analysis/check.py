"""Is the result of the sample analysis right? Compares it with the experiments that went in, and with theory.

Loaded by its path (it is not part of a package). Counts are exact; the mean and the coverage must agree with the
Poisson distribution within four standard errors.
"""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

JOBS = 4
SIGMAS = 4.0


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"analysis_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


toys = _load("toys")


@dataclass(frozen=True)
class CheckReport:
    """``failures`` names what is wrong, for people."""

    failures: list[str]

    @property
    def passed(self) -> bool:
        return not self.failures


def expected_coverage() -> float:
    """How often the interval holds the true signal, summed over the Poisson distribution."""
    mean = toys.SIGNAL + toys.BACKGROUND
    return math.fsum(math.exp(-mean + count * math.log(mean) - math.lgamma(count + 1))
                     for count in range(200) if toys.covers(count))


def check_coverage(files: Iterable[Path]) -> CheckReport:
    """One result, made of every experiment of every job once; its mean and coverage are as they must be."""
    try:
        documents = [toys.read(path, "") for path in files]
    except toys.ToyError as problem:
        return CheckReport([str(problem)])
    made = [document for document in documents if document["step"] == "generate"]
    results = [document for document in documents if document["step"] == "coverage"]
    if len(results) != 1 or len(made) != JOBS:
        return CheckReport([f"{len(made)} files of experiments and {len(results)} results, expected {JOBS} and 1"])
    result, counts = results[0], [count for document in made for count in document["counts"]]
    number, mean, coverage = len(counts), toys.SIGNAL + toys.BACKGROUND, expected_coverage()
    comparisons = (
        ("experiments", result["experiments"], number, 0.0),
        ("sections", result["sections"], sorted(s for document in made for s in document["sections"]), None),
        ("covered experiments", result["covered"], sum(map(toys.covers, counts)), 0.0),
        ("mean count", result["mean"], mean, SIGMAS * math.sqrt(mean / number)),
        ("coverage", result["covered"] / number, coverage, SIGMAS * math.sqrt(coverage * (1 - coverage) / number)),
    )
    return CheckReport([f"{name}: {found}, expected {expected}" for name, found, expected, error in comparisons
                        if (found != expected if not error else abs(found - expected) > error)])
