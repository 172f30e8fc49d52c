"""Results of the sample campaign dijets as files: histograms in a ROOT file, and a plot as SVG.

Not for making them (``dijets.py``). Invariant: both say in themselves what they were made of, so that a check needs
nothing else.
"""

from __future__ import annotations

import json
import math
import re
from html import escape, unescape
from pathlib import Path
from typing import Any

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 440, 80, 20, 40, 60
AXES = {"leading_jet_pt": "transverse momentum of the hardest jet [GeV]"}


def write_root(path: Path, header: dict[str, Any], histograms: dict[str, Any]) -> None:
    """TH1D with the cross section of each bin in pb and its error, and the header as a text."""
    import numpy
    import uproot
    from uproot.writing.identify import to_TAxis, to_TH1x

    part = path.with_name(path.name + ".part")
    with uproot.recreate(part) as file:
        file["header"] = json.dumps(header)
        for name, found in histograms.items():
            edges, weight = found["edges"], found["weight"]
            counts = numpy.concatenate([[found["below"]], found["counts"], [found["above"]]]).astype(float)
            inside = counts[1:-1] * weight
            centres = (edges[1:] + edges[:-1]) / 2
            axis = to_TAxis("xaxis", "", len(edges) - 1, float(edges[0]), float(edges[-1]), fXbins=edges)
            file[name] = to_TH1x(
                name, AXES.get(name, name), counts * weight, float(counts.sum()), float(inside.sum()),
                float((counts[1:-1] * weight**2).sum()), float((inside * centres).sum()),
                float((inside * centres**2).sum()), counts * weight**2, axis)
    part.replace(path)


def read_root(path: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Header, and for each histogram its edges, its values and errors; the first and last ones lie beyond the edges."""
    import uproot

    with uproot.open(path) as file:
        header = json.loads(str(file["header"]))
        names = [name for name, kind in file.classnames(cycle=False).items() if kind == "TH1D"]
        histograms = {name: {"edges": file[name].axis().edges(), "values": file[name].values(flow=True),
                             "errors": file[name].errors(flow=True)} for name in names}
    return header, histograms


def write_svg(path: Path, header: dict[str, Any], histograms: dict[str, Any]) -> None:
    """The spectrum of the hardest jet, both axes logarithmic: true as a line, measured as points with errors."""
    measured, true = histograms["leading_jet_pt"], histograms["leading_jet_pt_true"]
    points = _differential(measured)
    lines = _differential(true)
    shown = [value for _, _, value, _ in (*points, *lines)]
    lowest, highest = 10 ** math.floor(math.log10(min(shown))), 10 ** math.ceil(math.log10(max(shown)))
    left, right = float(measured["edges"][0]), float(measured["edges"][-1])

    def x(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log(value / left) / math.log(right / left)

    def y(value: float) -> float:
        value = min(max(value, lowest), highest)
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * math.log(value / lowest) / math.log(highest / lowest)

    energy, _, cut = header["point"].partition("_")
    title = f"Jets at {float(energy) / 1000:g} TeV, hard momentum above {cut} GeV, {header['events']} events"
    parts = [*_frame(title, x, y, (left, right), (lowest, highest))]
    parts += [f'<path d="M{x(low):.1f} {y(value):.1f}H{x(high):.1f}" stroke="#4464a8" stroke-width="2"/>'
              for low, high, value, _ in lines]
    for low, high, value, error in points:
        middle = x(math.sqrt(low * high))
        parts.append(f'<path d="M{middle:.1f} {y(value - error):.1f}V{y(value + error):.1f}" stroke="#b03020"/>'
                     f'<circle cx="{middle:.1f}" cy="{y(value):.1f}" r="3" fill="#b03020"/>')
    text = (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
            f'font-size="13" fill="none"><title>{escape(title)}</title><desc>{escape(json.dumps(header))}</desc>'
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>{"".join(parts)}</svg>\n')
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def read_svg(path: Path) -> tuple[dict[str, Any], str]:
    """Header and text of a plot."""
    text = path.read_text(encoding="utf-8")
    found = re.search(r"<desc>(.*?)</desc>", text, re.DOTALL)
    if not found or not text.endswith("</svg>\n"):
        raise ValueError(f"{path} is no whole plot")
    return json.loads(unescape(found[1])), text


def _differential(histogram: dict[str, Any]) -> list[tuple[float, float, float, float]]:
    """Edges, cross section per GeV and its error, of the bins that have entries."""
    edges, weight = histogram["edges"], histogram["weight"]
    return [(float(low), float(high), count * weight / (high - low), math.sqrt(count) * weight / (high - low))
            for low, high, count in zip(edges[:-1], edges[1:], map(int, histogram["counts"]), strict=True) if count]


def _frame(title: str, x: Any, y: Any, horizontal: tuple[float, float], vertical: tuple[float, float]) -> list[str]:
    """Axes with their ticks and words."""
    parts = [f'<path d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}" stroke="#333"/>',
             f'<text x="{LEFT}" y="24" fill="#111" font-size="15">{escape(title)}</text>',
             f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 16}" fill="#111" text-anchor="end">'
             f'{escape(AXES["leading_jet_pt"])}</text>',
             f'<text x="20" y="{TOP}" fill="#111" text-anchor="end" transform="rotate(-90 20 {TOP})">'
             'cross section [pb/GeV]</text>',
             f'<text x="{WIDTH - RIGHT}" y="{TOP + 14}" fill="#4464a8" text-anchor="end">true particles</text>',
             f'<text x="{WIDTH - RIGHT}" y="{TOP + 32}" fill="#b03020" text-anchor="end">after the detector</text>']
    for value in (30, 50, 100, 200, 500, 1000):
        if horizontal[0] <= value <= horizontal[1]:
            parts.append(f'<path d="M{x(value):.1f} {HEIGHT - BOTTOM}v6" stroke="#333"/><text x="{x(value):.1f}" '
                         f'y="{HEIGHT - BOTTOM + 22}" fill="#111" text-anchor="middle">{value}</text>')
    decades = round(math.log10(vertical[1] / vertical[0]))
    for power in range(decades + 1):
        value = vertical[0] * 10**power
        parts.append(f'<path d="M{LEFT} {y(value):.1f}h-6" stroke="#333"/><text x="{LEFT - 10}" y="{y(value) + 4:.1f}" '
                     f'fill="#111" text-anchor="end">{value:g}</text>')
    return parts
