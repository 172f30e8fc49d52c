"""Are the results of the test-beam samples right? Every event must come out exactly once, and mean what it should.

Loaded by its path (it is not part of a package); each function is given the files of one campaign run and answers
with a CheckReport. Counts are exact; what has a statistical error must agree within four of them.
"""

from __future__ import annotations

import importlib.util
import math
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

SIGMAS = 4.0
Event = dict[str, Any]


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"test_beam_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


beam = _load("beam")


@dataclass(frozen=True)
class CheckReport:
    """``failures`` names what is wrong, for people; ``checked`` how many things were looked at."""

    checked: int
    failures: list[str]

    @property
    def passed(self) -> bool:
        return self.checked > 0 and not self.failures


def check_reconstructed(files: Iterable[Path]) -> CheckReport:
    """Keep-up processing: what was reconstructed is what was taken."""
    return _check(files, {"reconstructed": None}, files_of={})


def check_sorted(files: Iterable[Path]) -> CheckReport:
    """Split and merge: one merged file of muons, one of electrons, and with the pions' files nothing is missing."""
    return _check(files, {"merged": None, "sorted": "pion"}, files_of={"merged": 2})


def check_published(files: Iterable[Path]) -> CheckReport:
    """The approval gate: what was let through is one file with every event."""
    return _check(files, {"merged": None}, files_of={"merged": 1})


def _check(files: Iterable[Path], final: dict[str, str | None], files_of: dict[str, int]) -> CheckReport:
    """Compare the events of the final tiers (of one stream, if named) with the raw ones."""
    failures: list[str] = []
    documents = []
    for path in files:
        try:
            documents.append(beam.read(path))
        except beam.BeamError as problem:
            failures.append(str(problem))
    tiers = Counter(document["tier"] for document in documents)
    failures += [f"{tiers[tier]} {tier} files, expected {number}" for tier, number in files_of.items()
                 if tiers[tier] != number]
    begun = [event for document in documents if document["tier"] == "raw" for event in document["events"]]
    ended = [event for document in documents if document["tier"] in final
             and final[document["tier"]] in (None, document["stream"]) for event in document["events"]]
    failures += _identities(begun, ended)
    failures += _physics(ended) if ended else ["there are no events at the end"]
    return CheckReport(len(documents), failures)


def _identities(begun: list[Event], ended: list[Event]) -> list[str]:
    before, after = (Counter(tuple(event["id"]) for event in events) for events in (begun, ended))
    runs = {run for run, _ in before}
    return [f"{number} {what}" for what, number in (
        ("events were taken twice", sum(before.values()) - len(before)),
        ("events are missing from the runs that were taken", len(runs) * beam.EVENTS - len(before)),
        ("events were lost", sum((before - after).values())),
        ("events are doubled or foreign", sum((after - before).values()))) if number]


def _physics(events: list[Event]) -> list[str]:
    """The beam has the composition that it was made with, and the calorimeter measures an electron's momentum."""
    failures = []
    found = Counter(event["kind"] for event in events)
    for kind, fraction in beam.KINDS.items():
        error = math.sqrt(fraction * (1 - fraction) / len(events))
        if abs(found[kind] / len(events) - fraction) > SIGMAS * error:
            failures.append(f"{found[kind]} of {len(events)} particles are {kind}s, expected {fraction:.0%}")
    wrong = sum(event["kind"] != event["truth"] for event in events)
    if wrong > 0.02 * len(events):
        failures.append(f"{wrong} of {len(events)} particles were taken for another kind")
    ratios = [event["energy"] / event["momentum"] for event in events if event["kind"] == "electron"]
    mean = math.fsum(ratios) / len(ratios) if ratios else 0.0
    if abs(mean - 1.0) > 0.01:
        failures.append(f"energy over momentum of electrons is {mean:.3f}, expected 1")
    return failures
