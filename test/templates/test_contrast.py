"""Contrast of every declared pair of colours, in light and in dark, by the formula of WCAG 2.1."""

import re
from pathlib import Path

import pytest

TOKENS = (Path(__file__).parents[2] / "static/css/tokens.css").read_text()
COLOURS = {
    name: (light, dark)
    for name, light, dark in re.findall(r"--([\w-]+):\s*light-dark\((#[0-9a-f]{6}),\s*(#[0-9a-f]{6})\)", TOKENS)
}
STATES = sorted(
    {
        name.removeprefix("st-").removesuffix("-ink")
        for name in COLOURS
        if name.startswith("st-") and name.endswith("-ink")
    }
)
GROUNDS = ("paper", "surface", "surface-2", "sunken", "raised")
TEXT, MARK = 4.5, 3.0

PAIRS = [
    *[(ink, ground, TEXT) for ink in ("ink", "ink-2", "ink-3", "pen", "pen-hover") for ground in GROUNDS],
    *[(ink, "pen-soft", TEXT) for ink in ("ink", "ink-2", "ink-3", "pen")],
    ("ink", "mark", TEXT),
    ("on-pen", "pen", TEXT),
    ("on-pen", "pen-hover", TEXT),
    ("on-pen-bar", "pen-bar", TEXT),
    ("surface", "ink", TEXT),
    ("surface", "st-failed-ink", TEXT),
    *[(mark, ground, MARK) for mark in ("line-strong", "focus") for ground in GROUNDS],
    *[(f"st-{state}-ink", ground, TEXT) for state in STATES for ground in (*GROUNDS, "pen-soft", f"st-{state}-soft")],
    *[(ink, f"st-{state}-soft", TEXT) for state in STATES for ink in ("ink", "ink-2", "pen")],
    *[(f"st-{state}", ground, MARK) for state in STATES for ground in (*GROUNDS, "pen-soft", f"st-{state}-soft")],
    ("ink-3", "st-failed-soft", TEXT),
    ("ink-3", "st-located-soft", TEXT),
]


def luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, two: str) -> float:
    bright, dim = sorted((luminance(one), luminance(two)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def test_the_formula_is_right():
    """Black on white is 21, a colour on itself is 1."""
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("front", "ground", "least"), PAIRS, ids=lambda value: str(value))
def test_contrast_is_enough(front, ground, least, theme):
    """Text has 4.5 : 1 on every ground it may stand on, marks and edges have 3 : 1."""
    assert contrast(COLOURS[front][theme], COLOURS[ground][theme]) >= least
