"""Is the physics of the sample campaign dijets right? Compares spectra and totals with the generator's cross sections.

Loaded by its path (it is not part of a package). Files and events are counted exactly; what has a statistical error
must agree within four of them.
"""

from __future__ import annotations

import importlib.util
import math
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

ENERGIES, CUTS = ("7000", "13000"), ("50", "100")
FILES_A_POINT = 2
SIGMAS = 4.0
FEWEST_ENTRIES = 10
LARGEST_BIAS = 0.05
# Above it both cuts give all jets that there are.
COMMON_FROM_GEV = 150.0


def _load(name: str) -> ModuleType:
    folder = Path(__file__).parent
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


jet_plot, dijets = _load("jet_plot"), _load("dijets")


@dataclass(frozen=True)
class CheckReport:
    """``failures`` names what is wrong, for people."""

    failures: list[str]

    @property
    def passed(self) -> bool:
        return not self.failures


@dataclass(frozen=True)
class Point:
    """One beam energy and cut: the generator's files and the result."""

    generated: list[tuple[dict[str, Any], dict[str, Any]]]
    header: dict[str, Any]
    histograms: Mapping[str, dict[str, Any]]

    @property
    def sigma(self) -> float:
        return self.header["sigma_pb"]

    @property
    def error(self) -> float:
        return self.header["sigma_error_pb"]


def check_dijets(files: Iterable[Path]) -> CheckReport:
    """Every point is there with all its events; the spectra fall, and agree with the generator and each other."""
    generated: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {}
    results: dict[str, list[tuple[dict[str, Any], Mapping[str, dict[str, Any]]]]] = {}
    plots: Counter[str] = Counter()
    try:
        for path in files:
            if path.suffix == ".root":
                header, found = jet_plot.read_root(path)
                results.setdefault(header["point"], []).append((header, found))
            elif path.suffix == ".svg":
                plots[jet_plot.read_svg(path)[0]["point"]] += 1
            elif path.suffix == ".npz":
                header, arrays = dijets.read(path)
                if header["step"] == "generate":
                    generated.setdefault(header["point"], []).append((header, arrays))
    except (dijets.DijetError, ValueError, OSError, KeyError) as problem:
        return CheckReport([f"{path.name}: {problem}"])
    wanted = [f"{energy}_{cut}" for cut in CUTS for energy in ENERGIES]
    failures = [f"{point}: {len(generated.get(point, []))} generated files, {len(results.get(point, []))} results, "
                f"{plots[point]} plots; expected {FILES_A_POINT}, 1 and 1" for point in wanted
                if (len(generated.get(point, [])), len(results.get(point, [])), plots[point]) != (FILES_A_POINT, 1, 1)]
    failures += [f"{point} was not asked for" for point in sorted({*generated, *results} - set(wanted))]
    if failures:
        return CheckReport(failures)
    points = {point: Point(generated[point], *results[point][0]) for point in wanted}
    for name, point in points.items():
        failures += [f"{name}: {problem}" for problem in (*_totals(point), *_spectrum(point))]
    return CheckReport(failures + _between(points))


def _totals(point: Point) -> list[str]:
    """All events are in the result, and all bins together are the generator's cross section."""
    failures = []
    events = sum(header["events"] for header, _ in point.generated)
    sections = sorted(section for header, _ in point.generated for section in header["sections"])
    if point.header["events"] != events or point.header["sections"] != sections:
        failures.append(f"{point.header['events']} events of sections {point.header['sections']}, expected {events} "
                        f"of {sections}")
    for header, _ in point.generated:
        if abs(header["sigma_pb"] - point.sigma) > SIGMAS * math.hypot(header["sigma_error_pb"], point.error):
            failures.append(f"section {header['sections']} has {header['sigma_pb']:.4g} pb, all have {point.sigma:.4g}")
    for name, histogram in point.histograms.items():
        total = math.fsum(histogram["values"])
        if abs(total - point.sigma) > 1e-6 * point.sigma:
            failures.append(f"{name} adds up to {total:.6g} pb, the generator says {point.sigma:.6g}")
    return failures


def _spectrum(point: Point) -> list[str]:
    """The spectrum falls above the cut, and the detector does not shift it."""
    failures = []
    cut = dijets.point_of(point.header["point"])[1]
    # Jets are made softer and harder by radiation: the cut blurs.
    for name, blur in (("pthat", 1.1), ("leading_jet_pt_true", 1.3), ("leading_jet_pt", 1.3)):
        bins = _well_filled(point.histograms[name], blur * cut)
        if len(bins) < 3:
            failures.append(f"{name} has only {len(bins)} bins with entries enough to be judged")
        failures += [f"{name} rises at {edge:.0f} GeV" for (_, before), (edge, after)
                     in zip(bins, bins[1:], strict=False) if after >= before]
    if abs(point.header["response"] - 1.0) > LARGEST_BIAS:
        failures.append(f"measured over true momentum is {point.header['response']:.3f}, expected 1")
    return failures


def _well_filled(histogram: dict[str, Any], above: float) -> list[tuple[float, float]]:
    """Lower edge and cross section per GeV of the bins above a momentum that have enough entries."""
    edges, values, errors = histogram["edges"], histogram["values"][1:-1], histogram["errors"][1:-1]
    return [(float(low), float(value / (high - low)))
            for low, high, value, error in zip(edges[:-1], edges[1:], values, errors, strict=True)
            if low >= above and error > 0 and (value / error) ** 2 >= FEWEST_ENTRIES]


def _between(points: Mapping[str, Point]) -> list[str]:
    """The lower cut holds the higher one; where both are complete they give the same jets; more energy gives more."""
    failures = []
    low, high = CUTS
    for energy in ENERGIES:
        lower, higher = points[f"{energy}_{low}"], points[f"{energy}_{high}"]
        scales = [scale for _, arrays in lower.generated for scale in arrays["pthat"]]
        passing = sum(scale > float(high) for scale in scales)
        found, error = lower.sigma * passing / len(scales), lower.sigma * math.sqrt(passing) / len(scales)
        if abs(found - higher.sigma) > SIGMAS * math.hypot(error, higher.error):
            failures.append(f"{energy}: above {high} GeV the events of the lower cut give {found:.4g} pb, those of the "
                            f"higher one {higher.sigma:.4g}")
        (one, its), (other, theirs) = (_beyond(each.histograms["leading_jet_pt_true"]) for each in (lower, higher))
        if abs(one - other) > SIGMAS * math.hypot(its, theirs):
            failures.append(f"{energy}: jets above {COMMON_FROM_GEV:.0f} GeV have {one:.4g} pb with the lower cut, "
                            f"{other:.4g} with the higher one")
    for cut in CUTS:
        first, second = (points[f"{energy}_{cut}"] for energy in ENERGIES)
        if second.sigma - first.sigma < SIGMAS * math.hypot(first.error, second.error):
            failures.append(f"cut {cut}: {second.sigma:.4g} pb at the higher energy, {first.sigma:.4g} at the lower")
    return failures


def _beyond(histogram: dict[str, Any]) -> tuple[float, float]:
    """Cross section in the bins above ``COMMON_FROM_GEV`` and its error."""
    inside = [number + 1 for number, low in enumerate(histogram["edges"][:-1]) if low >= COMMON_FROM_GEV]
    chosen = [*inside, len(histogram["values"]) - 1]
    return (math.fsum(histogram["values"][each] for each in chosen),
            math.sqrt(math.fsum(histogram["errors"][each] ** 2 for each in chosen)))
