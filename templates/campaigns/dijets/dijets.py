#!/usr/bin/env python3
"""Jets of real proton collisions, step by step, for the sample campaign dijets; needs the extra ``samples``.

generate has Pythia 8 collide protons, smear gives the particles the resolution of a detector, cluster finds anti-kt
jets with FastJet, analyse puts the files of one point (beam energy and momentum cut) together: histograms in a ROOT
file, and a plot. The same job always makes the same events.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any

import jet_plot

EVENTS = 800
PICOBARN_IN_MILLIBARN = 1e9
MOST_ETA = 4.5
RADIUS, LEAST_JET_PT, MOST_JET_ETA = 0.4, 25.0, 2.8
# Relative resolution: of tracks; of the calorimeter, stochastic term and constant.
TRACK, STOCHASTIC, CONSTANT = 0.02, 0.5, 0.03
TIERS = {"generate": "generated", "smear": "simulated", "cluster": "reconstructed", "analyse": "histograms"}
NEEDS = {"smear": "generate", "cluster": "smear", "analyse": "cluster"}


class DijetError(Exception):
    """The job cannot be done; the message says why."""


# ------------------------------------------------------------------------------------------------------- files


def write(path: Path, header: dict[str, Any], arrays: dict[str, Any]) -> None:
    """Write a whole file or none: under another name first."""
    import numpy

    part = path.with_name(path.name + ".part")
    with part.open("wb") as stream:
        numpy.savez_compressed(stream, header=numpy.array(json.dumps(header)), **arrays)
    part.replace(path)


def read(path: Path, step: str = "") -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and arrays of a file; raises DijetError if it is not whole, or of another step than ``step``."""
    import numpy

    try:
        with numpy.load(path, allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
        header = json.loads(str(arrays.pop("header")))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as problem:
        raise DijetError(f"{path} cannot be read: {problem}") from problem
    if step and header["step"] != step:
        raise DijetError(f"files of {step} are needed; {path} was made by {header['step']}")
    return header, arrays


def point_of(text: str) -> tuple[float, float]:
    """``13000_100``: beam energy and momentum cut in GeV, as the split joins them."""
    energy, underscore, cut = text.partition("_")
    try:
        point = float(energy), float(cut)
    except ValueError:
        raise DijetError(f"'{text}' is no point; write energy and cut in GeV, such as 13000_100") from None
    if not underscore or not 0 < 2 * point[1] < point[0]:
        raise DijetError(f"'{text}': the cut must be less than half the energy")
    return point


# ------------------------------------------------------------------------------------------------------- steps


def generate(point: str, section: int, events: int = EVENTS) -> tuple[dict[str, Any], dict[str, Any]]:
    """Hard QCD events of one point: every visible particle, and what the generator says of its cross section."""
    import numpy
    import pythia8mc

    energy, cut = point_of(point)
    pythia = pythia8mc.Pythia("", False)
    for setting in ("Print:quiet = on", f"Beams:eCM = {energy}", "HardQCD:all = on", f"PhaseSpace:pTHatMin = {cut}",
                    "Random:setSeed = on", f"Random:seed = {seed_of(point, section)}"):
        if not pythia.readString(setting):
            raise DijetError(f"Pythia does not take '{setting}'")
    if not pythia.init():
        raise DijetError(f"Pythia cannot be started for {point}")
    particles, ends, scales = [], [], []
    while len(ends) < events:
        if not pythia.next():
            continue
        particles += [(each.px(), each.py(), each.pz(), each.e(), float(each.isCharged())) for each in pythia.event
                      if each.isFinal() and each.isVisible() and abs(each.eta()) < MOST_ETA]
        ends.append(len(particles))
        scales.append(pythia.infoPython().pTHat())
    info = pythia.infoPython()
    header = {"step": "generate", "point": point, "sections": [section], "events": events,
              "sigma_pb": info.sigmaGen() * PICOBARN_IN_MILLIBARN,
              "sigma_error_pb": info.sigmaErr() * PICOBARN_IN_MILLIBARN}
    return header, {"particles": numpy.array(particles), "ends": numpy.array(ends), "pthat": numpy.array(scales)}


def seed_of(point: str, section: int) -> int:
    """A seed of its own for each job; Pythia takes 1 to 900,000,000."""
    return 1 + zlib.crc32(f"dijets {point} {section}".encode()) % 900_000_000


def smear(header: dict[str, Any], arrays: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a detector would measure: energies with the resolution of tracker or calorimeter, directions kept."""
    import numpy

    chance = numpy.random.default_rng(seed_of(header["point"], header["sections"][0]))
    energy = arrays["particles"][:, 3]
    calorimeter = numpy.hypot(STOCHASTIC / numpy.sqrt(numpy.maximum(energy, 1e-6)), CONSTANT)
    width = numpy.where(arrays["particles"][:, 4] > 0, TRACK, calorimeter)
    factor = numpy.maximum(chance.normal(1.0, width), 0.0)
    measured = arrays["particles"].copy()
    measured[:, :4] *= factor[:, None]
    return {**header, "step": "smear"}, {**arrays, "measured": measured}


def cluster(header: dict[str, Any], arrays: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Anti-kt jets of the true and of the measured particles: pt, eta and phi, hardest first."""
    import numpy

    found: dict[str, Any] = {"pthat": arrays["pthat"]}
    for name, source in (("true", "particles"), ("measured", "measured")):
        jets, ends = [], []
        for particles in numpy.split(arrays[source], arrays["ends"][:-1]):
            jets += jets_of(particles[particles[:, 3] > 0, :4])
            ends.append(len(jets))
        found |= {f"{name}_jets": numpy.array(jets).reshape(-1, 4), f"{name}_ends": numpy.array(ends)}
    return {**header, "step": "cluster"}, found


def jets_of(particles: Any) -> list[tuple[float, float, float, float]]:
    """Momentum four-vectors (px, py, pz, E) of the jets of one event, hardest first."""
    import fastjet

    definition = fastjet.JetDefinition(fastjet.antikt_algorithm, RADIUS)
    inputs = [fastjet.PseudoJet(*map(float, each)) for each in particles]
    clustered = fastjet.ClusterSequence(inputs, definition)
    jets = fastjet.sorted_by_pt(clustered.inclusive_jets(LEAST_JET_PT))
    return [(jet.px(), jet.py(), jet.pz(), jet.e()) for jet in jets if abs(jet.eta()) < MOST_JET_ETA]


def analyse(files: list[tuple[dict[str, Any], dict[str, Any]]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Differential cross sections of one point from all its files, in pb and pb/GeV, and how they were made."""
    import numpy

    points = {header["point"] for header, _ in files}
    sections = sorted(section for header, _ in files for section in header["sections"])
    if len(points) != 1 or len(set(sections)) < len(sections):
        raise DijetError(f"analyse needs files of one point and different sections, not {points}, {sections}")
    events = sum(header["events"] for header, _ in files)
    sigma = sum(header["sigma_pb"] * header["events"] for header, _ in files) / events
    error = sum((header["sigma_error_pb"] * header["events"]) ** 2 for header, _ in files) ** 0.5 / events
    true, measured = ([hardest(arrays, name) for _, arrays in files] for name in ("true", "measured"))
    true_pt, measured_pt = (numpy.concatenate([pt for pt, _ in each]) for each in (true, measured))
    mass = numpy.concatenate([mass for _, mass in measured])
    edges = numpy.geomspace(30.0, 1000.0, 16)
    weight = sigma / events
    histograms = {
        "leading_jet_pt_true": histogram(true_pt, edges, weight),
        "leading_jet_pt": histogram(measured_pt, edges, weight),
        "dijet_mass": histogram(mass, numpy.geomspace(60.0, 3000.0, 16), weight),
        "pthat": histogram(numpy.concatenate([arrays["pthat"] for _, arrays in files]),
                           numpy.geomspace(40.0, 2000.0, 21), weight),
    }
    both = (true_pt > 0) & (measured_pt > 0)
    header = {"step": "analyse", "point": points.pop(), "sections": sections, "events": events, "sigma_pb": sigma,
              "sigma_error_pb": error, "response": float(numpy.median(measured_pt[both] / true_pt[both]))}
    return header, histograms


def hardest(arrays: dict[str, Any], name: str) -> tuple[Any, Any]:
    """For each event the momentum of its hardest jet and the mass of the two hardest; 0 where there is none."""
    import numpy

    pts, masses = [], []
    for jets in numpy.split(arrays[f"{name}_jets"], arrays[f"{name}_ends"][:-1]):
        pts.append(float(numpy.hypot(jets[0, 0], jets[0, 1])) if len(jets) else 0.0)
        total = jets[:2].sum(axis=0)
        masses.append(float(max(total[3] ** 2 - (total[:3] ** 2).sum(), 0.0)) ** 0.5 if len(jets) > 1 else 0.0)
    return numpy.array(pts), numpy.array(masses)


def histogram(values: Any, edges: Any, weight: float) -> dict[str, Any]:
    """Counts in bins and beyond them; ``weight`` is the cross section that one event stands for."""
    import numpy

    counts, _ = numpy.histogram(values, edges)
    return {"edges": edges, "counts": counts, "below": int((values < edges[0]).sum()),
            "above": int((values > edges[-1]).sum()), "weight": weight}


# -------------------------------------------------------------------------------------------------------- main


def run(given: argparse.Namespace) -> str:
    if given.step == "generate":
        if given.inputs:
            raise DijetError("generate reads no file")
        section = int(os.environ.get("JOBSUBJOBSECTION") or os.environ.get("PROCESS") or 0)
        header, arrays = generate(given.point, section, given.events)
        write(given.o, header, arrays)
        return f"{header['events']} events at {given.point}: {header['sigma_pb']:.4g} pb"
    files = [read(path, NEEDS[given.step]) for path in given.inputs]
    if not files or (given.step != "analyse" and len(files) > 1):
        raise DijetError(f"{given.step} reads {'at least' if given.step == 'analyse' else 'exactly'} one file")
    if given.step == "analyse":
        header, histograms = analyse(files)
        jet_plot.write_root(given.o, header, histograms)
        jet_plot.write_svg(given.o.with_suffix(".svg"), header, histograms)
        return f"{len(files)} files, {header['events']} events at {header['point']}"
    header, arrays = {"smear": smear, "cluster": cluster}[given.step](*files[0])
    write(given.o, header, arrays)
    return f"{given.step}: {header['events']} events at {header['point']}"


def metadata(path: Path) -> dict[str, Any]:
    """What the catalogue should know of a file."""
    readers = {".root": jet_plot.read_root, ".svg": jet_plot.read_svg}
    header = readers[path.suffix](path)[0] if path.suffix in readers else read(path)[0]
    energy, cut = point_of(header["point"])
    return {"file_type": "mc", "file_format": path.suffix.lstrip("."), "data_tier": TIERS[header["step"]],
            "event_count": header["events"], "mc.beam_energy_gev": energy, "mc.momentum_cut_gev": cut,
            "runs": [[int(energy), section, "mc"] for section in header["sections"]]}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=[*TIERS, "metadata"])
    parser.add_argument("-o", metavar="OUTPUT", type=Path, help="analyse writes a plot beside it, called .svg")
    parser.add_argument("--point", default="", help="beam energy and momentum cut in GeV, such as 13000_100")
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("inputs", metavar="FILE", type=Path, nargs="*")
    given = parser.parse_intermixed_args(arguments)
    if given.step != "metadata" and given.o is None:
        parser.error(f"{given.step} needs -o OUTPUT")
    try:
        print(json.dumps(metadata(given.inputs[0])) if given.step == "metadata" else run(given))
    except DijetError as problem:
        print(f"dijets: {problem}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as lacking:
        print(f"dijets: {lacking.name} is not installed here; it comes with pip install 'poms[samples]'",
              file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
