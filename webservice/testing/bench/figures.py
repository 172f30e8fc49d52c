"""What a measurement found: a ratio with what it is a ratio to, the absolute value, and the budget."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit of one value of a figure: ``ratio``, ``absolute`` or one of its ``also``."""

    of: str
    limit: float
    at_least: bool = False

    def holds(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit

    def __str__(self) -> str:
        what = "" if self.of == "ratio" else f"{self.of.removeprefix('absolute').replace('_', ' ')} "
        return f"{what}{'≥' if self.at_least else '≤'} {self.limit:,g}".strip()


@dataclass(frozen=True)
class Figure:
    """One line of the table. ``ratio`` is ``absolute`` divided by ``reference_value`` in the same unit."""

    name: str
    ratio: float
    absolute: float
    unit: str
    reference: str
    reference_value: float
    also: dict[str, float]
    budgets: tuple[Budget, ...] = ()

    def value_of(self, name: str) -> float:
        return self.ratio if name == "ratio" else self.absolute if name == "absolute" else self.also[name]

    @property
    def missed(self) -> list[Budget]:
        """Budgets that do not hold."""
        return [budget for budget in self.budgets if not budget.holds(self.value_of(budget.of))]

    def to_document(self) -> dict[str, Any]:
        return {**asdict(self), "passed": not self.missed, "missed": [str(budget) for budget in self.missed]}


def figure(name: str, absolute: float, unit: str, reference: str, reference_value: float, *budgets: Budget,
           **also: float) -> Figure:
    """A figure with its ratio worked out."""
    return Figure(name, absolute / reference_value, absolute, unit, reference, reference_value, also, budgets)


def show(figures: Sequence[Figure], console: Console) -> None:
    """Ratios first: they are what can be compared between machines."""
    table = Table(title="POMS against references of the same run", title_justify="left")
    for heading, side in (("measured", "left"), ("ratio", "right"), ("to", "left"), ("absolute", "right"),
                          ("also", "left"), ("budget", "left"), ("", "left")):
        table.add_column(heading, justify=side, overflow="fold")
    for each in figures:
        table.add_row(
            each.name, f"{each.ratio:.2f}", f"{each.reference} ({each.reference_value:,.4g} {each.unit})",
            f"{each.absolute:,.4g} {each.unit}",
            "\n".join(f"{name.replace('_', ' ')} {value:,.4g}" for name, value in each.also.items()),
            "\n".join(map(str, each.budgets)),
            "" if not each.budgets else "[red]missed[/]" if each.missed else "[green]kept[/]")
    console.print(table)


def write(figures: Sequence[Figure], file: Path, **about: Any) -> None:
    """The same for programs."""
    file.write_text(json.dumps({**about, "figures": [each.to_document() for each in figures]}, indent=2) + "\n")
