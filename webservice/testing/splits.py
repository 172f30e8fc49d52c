"""The contract that every split type keeps, as a kit of tests; and a small driver for the types' own tests.

Use: ``class TestMine(SplitTypeContract): split = MySplit(); arguments = "3"``, with the ``catalogue`` fixture
of ``testing.fixtures`` or another ``DataBackend`` that holds a dataset ``raw`` of five files.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest

from poms.webservice.errors import BackendUnavailable, Invalid
from poms.webservice.interfaces import DataBackend, Slice, SplitContext, SplitType
from poms.webservice.rules.splits import parse_split
from poms.webservice.testing.catalogue import FakeCatalogue
from poms.webservice.testing.clock import START

CALLS_OF_THE_CATALOGUE = ("count", "list", "define", "snapshot", "definition", "project_summary", "dataset_query")
ENDLESS = 50


@dataclass
class Sequence:
    """A stage that goes through its split: each ``next`` is one launch, the position is kept."""

    split: SplitType
    text: str
    dataset: str
    data: DataBackend
    now: datetime = START
    time_zone: str = "UTC"
    position: Mapping[str, Any] | None = None
    pieces: list[Slice] = field(default_factory=list)
    unique: str = field(default_factory=lambda: str(uuid.uuid4()))

    def context(self) -> SplitContext:
        spec = parse_split(self.text)
        if spec is None:
            raise AssertionError(f"{self.text!r} means no splitting")
        return SplitContext(self.dataset, self.split.parse(spec.arguments), self.position, self.data,
                            self.unique, self.now, self.time_zone)

    def next(self) -> Slice | None:
        """Launch once; what is peeked at before it belongs to it."""
        piece = self.split.next(self.context())
        self.unique = str(uuid.uuid4())
        if piece is not None:
            self.pieces.append(piece)
            self.position = piece.position
        return piece

    def peek(self, n: int = 1) -> list[Slice]:
        return self.split.peek(self.context(), n)

    def length(self) -> int | None:
        return self.split.length(self.context())

    def files(self, piece: Slice) -> list[str]:
        """The files that the jobs of a slice get."""
        return self.data.list(self.data.dataset_query(piece.dataset))

    def all_files(self, most: int = ENDLESS) -> list[list[str]]:
        """Launch to the end; the files of each slice as they were right after its launch."""
        found = []
        while len(found) < most and (piece := self.next()) is not None:
            found.append(self.files(piece))
        return found


class SplitTypeContract:
    """What launching relies on, whatever the type. ``ends`` says whether the sequence ever does."""

    split: SplitType
    text: str
    dataset = "raw"
    ends = True
    asks_catalogue = True

    @pytest.fixture
    def catalogue(self, clock) -> FakeCatalogue:
        """A catalogue with the dataset of five files, in three runs."""
        made = FakeCatalogue(clock)
        self.fill(made)
        return made

    def fill(self, catalogue: FakeCatalogue) -> None:
        fill_raw(catalogue)

    @pytest.fixture
    def sequence(self, catalogue: FakeCatalogue) -> Sequence:
        return Sequence(self.split, self.text, self.dataset, catalogue)

    def test_is_a_split_type(self) -> None:
        """It has everything that a split type must have, and says what it does."""
        assert isinstance(self.split, SplitType)
        assert self.split.name == self.text.partition("(")[0]
        assert self.split.description
        assert all(each.help for each in self.split.parameters)

    def test_peeking_shows_the_next_slice(self, sequence: Sequence) -> None:
        """What is shown before a launch has as many files as what is then launched."""
        shown = sequence.peek()[0]

        launched = sequence.next()

        assert launched is not None
        assert shown.files == launched.files

    def test_peeking_tells_name_and_files_of_the_next_slice(self, sequence: Sequence) -> None:
        """Its name is that of what is then launched, and its query gives the same files; so for slice after slice."""
        for _ in range(3):
            shown = sequence.peek()
            promised = sequence.data.list(shown[0].query) if shown and shown[0].query else None
            launched = sequence.next()
            if launched is None:
                assert not shown
                return
            assert shown[0].dataset == launched.dataset
            if promised is not None:
                assert promised == sequence.files(launched)

    def test_peeking_declares_nothing(self, sequence: Sequence, catalogue: FakeCatalogue) -> None:
        """Looking leaves the catalogue as it was."""
        before = catalogue.definitions(), catalogue.snapshot_count()

        sequence.peek(3)

        assert (catalogue.definitions(), catalogue.snapshot_count()) == before

    def test_the_end_is_stable(self, sequence: Sequence) -> None:
        """After the last slice there is none, however often one asks; a type without end goes on."""
        slices = sequence.all_files()

        assert (len(slices) < ENDLESS) is self.ends
        assert (sequence.next() is None) is self.ends
        assert slices, "the kit's dataset gives at least one slice"

    def test_the_same_position_gives_the_same_files(self, sequence: Sequence) -> None:
        """A launch that was worked out and lost is worked out again with the same files."""
        first = sequence.next()
        sequence.position = None
        again = sequence.next()

        assert first is not None and again is not None
        assert self.content(sequence, first) == self.content(sequence, again)

    def content(self, sequence: Sequence, piece: Slice) -> Any:
        return sequence.files(piece)

    def test_a_silent_catalogue_is_never_the_end(self, sequence: Sequence, catalogue: FakeCatalogue) -> None:
        """Whichever call the catalogue does not answer, the launch says so and the position stays."""
        if not self.asks_catalogue:
            catalogue.fail("count", times=9)
            assert sequence.next() is not None
            return
        asked = _calls_made(catalogue, sequence)
        for method in asked:
            catalogue.fail(method)
            with pytest.raises(BackendUnavailable):
                sequence.split.next(sequence.context())
            catalogue.heal()

        assert asked

    def test_positions_of_other_types_are_refused(self, sequence: Sequence) -> None:
        """A position that another type left is named, not misread; a type without position does not care."""
        first = sequence.next()
        if first is None or first.position is None:
            return
        sequence.position = {"v": 1, "something else": 3}

        with pytest.raises(Invalid, match="reset the split"):
            sequence.next()

    @pytest.mark.parametrize("arguments", [[(None, "x y"), (None, "2"), (None, "3")], [("nonsense", "1")],
                                           [(None, "-1")], [(None, "1e3")], [(None, "٣")], [(None, "'; DROP")]])
    def test_bad_arguments_are_named(self, arguments) -> None:
        """Arguments that it does not take, or cannot read, are refused with their name or text."""
        with pytest.raises(Invalid) as refused:
            self.split.parse(arguments)

        assert all(problem.field == "cs_split_type" for problem in refused.value.problems)


def fill_raw(catalogue: FakeCatalogue) -> None:
    """The dataset ``raw``: f1 to f5 in runs 1, 1, 2, 3, 3, over three days of October 2016."""
    times = ("01T06", "01T18", "02T12", "03T06", "03T18")
    for number, (run, at) in enumerate(zip((1, 1, 2, 3, 3), times, strict=True), 1):
        catalogue.declare(f"f{number}", run=run, end_time=datetime.fromisoformat(f"2016-10-{at}:00:00+00:00"),
                          **{"dataset.tag": "raw"})
    catalogue.define("raw", "dataset.tag raw")


def _calls_made(catalogue: FakeCatalogue, sequence: Sequence) -> list[str]:
    """Which methods one launch asks, without keeping what it gives."""
    before = dict(catalogue.calls)
    sequence.split.next(sequence.context())
    return [name for name in CALLS_OF_THE_CATALOGUE if catalogue.calls[name] > before.get(name, 0)]
