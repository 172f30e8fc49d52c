"""Split types: the contract for each, then what is each one's own."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from poms.plugins import splits
from poms.plugins.splits import delivered
from poms.plugins.splits.byexistingruns import ByExistingRuns
from poms.plugins.splits.byrun import ByRun
from poms.plugins.splits.draining import Draining
from poms.plugins.splits.drainingn import DrainingN
from poms.plugins.splits.limitn import LimitN
from poms.plugins.splits.list import List
from poms.plugins.splits.mod import Mod
from poms.plugins.splits.multiparam import MultiParam
from poms.plugins.splits.new import New
from poms.plugins.splits.nfiles import NFiles
from poms.plugins.splits.stagedfiles import StagedFiles
from poms.webservice.errors import Conflict, Invalid
from poms.webservice.rules.splits import parse_split
from poms.webservice.testing.catalogue import FakeCatalogue
from poms.webservice.testing.splits import Sequence, SplitTypeContract, fill_raw

ALL = {each.name: each for each in splits.poms_split_types()}
COMBINATIONS = '[["electron","muon"],["1GeV","3GeV"]]'
THREE_DAYS = "new(firsttime=1475280000, window=1d, lasttime=1475539200)"


@pytest.fixture
def catalogue(clock) -> FakeCatalogue:
    made = FakeCatalogue(clock)
    fill_raw(made)
    return made


@pytest.fixture
def going_through(catalogue):
    """Make a sequence of launches of a stage with this split specification."""
    def make(text: str, dataset: str = "raw") -> Sequence:
        return Sequence(ALL[parse_split(text).name], text, dataset, catalogue)

    return make


class TestDraining(SplitTypeContract):
    split, text, ends, asks_catalogue = Draining(), "draining", False, False


class TestLimitN(SplitTypeContract):
    split, text, ends = LimitN(), "limitn(2)", False


class TestList(SplitTypeContract):
    split, text, dataset, asks_catalogue = List(), "list", "raw, other,raw", False

    def fill(self, catalogue):
        fill_raw(catalogue)
        catalogue.define("other", "file_name f1")

    def content(self, sequence, piece):
        return piece.dataset


class TestMultiParam(SplitTypeContract):
    split, text, dataset, asks_catalogue = MultiParam(), "multiparam", COMBINATIONS, False

    def content(self, sequence, piece):
        return piece.dataset

    @pytest.fixture
    def sequence(self, catalogue):
        made = Sequence(self.split, self.text, self.dataset, catalogue)
        made.files = lambda piece: [piece.dataset]
        return made


class TestMod(SplitTypeContract):
    split, text = Mod(), "mod(3)"


class TestNFiles(SplitTypeContract):
    split, text = NFiles(), "nfiles(2)"


class TestDrainingN(SplitTypeContract):
    split, text = DrainingN(), "drainingn(2)"


class TestByRun(SplitTypeContract):
    split, text = ByRun(), "byrun(low=1,high=3)"


class TestByExistingRuns(SplitTypeContract):
    split, text = ByExistingRuns(), "byexistingruns"


class TestNew(SplitTypeContract):
    split, text = New(), THREE_DAYS


class TestStagedFiles(SplitTypeContract):
    split, text, dataset = StagedFiles(), "stagedfiles(2)", "pre1"

    def fill(self, catalogue):
        fill_raw(catalogue)
        catalogue.begin_project("pre1", "raw")
        for name in ("f1", "f2", "f3", "f4", "f5"):
            catalogue.deliver("pre1", name, "consumed")
        catalogue.end_project("pre1")


# --------------------------------------------------------------------------- what each one delivers


@pytest.mark.parametrize(("text", "delivered"), [
    ("mod(3)", [["f1", "f4"], ["f2", "f5"], ["f3"]]),
    ("mod_3", [["f1", "f4"], ["f2", "f5"], ["f3"]]),
    ("mod(7)", [["f1"], ["f2"], ["f3"], ["f4"], ["f5"], [], []]),
    ("nfiles(2)", [["f1", "f2"], ["f3", "f4"], ["f5"]]),
    ("nfiles_2", [["f1", "f2"], ["f3", "f4"], ["f5"]]),
    ("drainingn(2)", [["f1", "f2"], ["f3", "f4"], ["f5"]]),
    ("byrun(low=1, high=3)", [["f1", "f2"], ["f3"], ["f4", "f5"]]),
    ("byrun( low = 2 , high=2 )", [["f3"]]),
    ("byrun(low=3,high=)", [["f4", "f5"]]),
    ("byexistingruns()", [["f1", "f2"], ["f3"], ["f4", "f5"]]),
    (THREE_DAYS, [["f1", "f2"], ["f3"]]),
])
def test_what_is_delivered(going_through, text, delivered):
    """The slices of the example dataset, to the end."""
    assert going_through(text).all_files() == delivered


@pytest.mark.parametrize(("text", "names"), [
    ("mod(2)", ["raw_slice0_of_2", "raw_slice1_of_2"]),
    ("nfiles(3)", ["raw_slice0_files3", "raw_slice1_files3"]),
    ("drainingn(5)", ["raw_slice_0_stage_5"]),
    ("byexistingruns", ["raw_slice_0_run_1"]),
])
def test_names_of_slices(going_through, text, names):
    """Definitions are named as people know them from earlier versions."""
    sequence = going_through(text)

    assert [sequence.next().dataset for _ in names] == names


def test_draining_always_yields_the_dataset(going_through):
    """draining gives the dataset itself and never moves."""
    sequence = going_through("draining")

    assert [sequence.next().dataset for _ in range(3)] == ["raw"] * 3
    assert sequence.position is None


def test_list_yields_each_element(going_through):
    """The listed datasets one after the other, stripped, empty ones ignored, nothing declared."""
    sequence = going_through("list", " a, b ,,\nraw,")

    names = [sequence.next().dataset for _ in range(3)]

    assert names == ["a", "b", "raw"]
    assert sequence.next() is None
    assert sequence.length() == 3


def test_limitn_takes_the_first_files_every_time(going_through):
    """limitn never moves; each launch has a definition of its own."""
    sequence = going_through("limitn(2)")

    assert [sequence.files(sequence.next()) for _ in range(2)] == [["f1", "f2"]] * 2
    assert len({piece.dataset for piece in sequence.pieces}) == 2


def test_limitn_of_nothing_ends(going_through, catalogue):
    """A dataset without files has no first files."""
    catalogue.define("empty", "file_name nothing")

    assert going_through("limitn(2)", "empty").next() is None


def test_the_first_list_varies_fastest(going_through):
    """multiparam goes through all combinations; the value is a parameter, nothing is declared."""
    sequence = going_through("multiparam", COMBINATIONS)

    values = [sequence.next().dataset for _ in range(4)]

    assert values == ["electron_1GeV", "muon_1GeV", "electron_3GeV", "muon_3GeV"]
    assert sequence.next() is None
    assert sequence.length() == 4


@pytest.mark.parametrize("dataset", ["", "raw", "[1]", '{"a": ["b"]}', '[["a", null]]', '[["a", true]]', "[[" * 500])
def test_multiparam_says_what_it_needs(going_through, dataset):
    """A dataset field that is no list of lists is refused."""
    with pytest.raises(Invalid, match="JSON list of lists"):
        going_through("multiparam", dataset).next()


@pytest.mark.parametrize("dataset", ["[]", '[["a"],[]]'])
def test_multiparam_of_an_empty_list_has_no_pieces(going_through, dataset):
    """If there is nothing to choose from there is no combination."""
    assert going_through("multiparam", dataset).next() is None


def test_nfiles_goes_on_when_files_arrive(going_through, catalogue):
    """At the end the position stays, so files that come later are delivered."""
    sequence = going_through("nfiles(5)")
    sequence.all_files()
    catalogue.declare("f6", **{"dataset.tag": "raw"})

    assert sequence.all_files() == [["f6"]]


def test_drainingn_delivers_each_file_once_while_the_dataset_changes(going_through, catalogue):
    """Files that come, in whatever place, are delivered once; nothing is delivered twice."""
    sequence = going_through("drainingn(2)")
    delivered = [sequence.files(sequence.next())]
    catalogue.declare("f0", **{"dataset.tag": "raw"})
    delivered += sequence.all_files()
    catalogue.declare("f9", **{"dataset.tag": "raw"})
    delivered += sequence.all_files()

    assert sorted(sum(delivered, [])) == ["f0", "f1", "f2", "f3", "f4", "f5", "f9"]


def test_a_slice_stays_as_it_was_launched(going_through, catalogue):
    """The definition of a slice is fixed: what is declared afterwards does not change it."""
    catalogue.define("small", "file_name f5 or file_name f6")
    sequence = going_through("drainingn(2)", "small")
    piece = sequence.next()

    catalogue.declare("f6")

    assert sequence.files(piece) == ["f5"]
    assert sequence.files(sequence.next()) == ["f6"]


def test_files_whose_copies_were_removed_stay_delivered(going_through, catalogue):
    """A file that lost its last copy after its delivery and gets one again is not delivered again."""
    sequence = going_through("drainingn(2)")
    sequence.next()
    catalogue._files["f1"].located = False
    sequence.next()
    catalogue.locate("f1")

    assert sequence.all_files() == [["f5"]]


def test_two_launches_at_one_position_do_not_change_each_other(going_through, catalogue):
    """If another launch worked out the same slice with other files, each has a definition of its own."""
    first, second = going_through("drainingn(9)"), going_through("drainingn(9)")
    one = first.next()
    catalogue.declare("late", **{"dataset.tag": "raw"})
    other = second.next()

    assert first.files(one) == ["f1", "f2", "f3", "f4", "f5"]
    assert second.files(other) == ["f1", "f2", "f3", "f4", "f5", "late"]


def test_many_launches_at_once_declare_what_they_return(going_through, catalogue):
    """Whatever the order of their calls, each launch's definition gives the files that it counted."""
    sequences = [going_through("drainingn(3)") for _ in range(8)]
    threads = [threading.Thread(target=each.next) for each in sequences]
    for number, thread in enumerate(threads):
        thread.start()
        catalogue.declare(f"more{number}", **{"dataset.tag": "raw"})
    for thread in threads:
        thread.join()

    assert all(len(each.files(piece)) == piece.files for each in sequences for piece in each.pieces)
    assert sum(len(each.pieces) for each in sequences) == 8


@pytest.mark.parametrize("legacy", [0, None])
def test_the_old_start_is_the_start(going_through, legacy):
    """Earlier versions wrote 0 or nothing at the start."""
    sequence = going_through("drainingn(2)")
    sequence.position = None if legacy is None else {"legacy": legacy}

    assert sequence.files(sequence.next()) == ["f1", "f2"]


@pytest.mark.parametrize(("text", "legacy", "expected"), [
    ("mod(3)", 2, ["f3"]), ("nfiles(2)", 1, ["f3", "f4"]), ("byrun(low=1,high=3)", 3, ["f4", "f5"]),
    (THREE_DAYS, 1475366400, ["f3"]),
])
def test_positions_of_version_4_are_read(going_through, text, legacy, expected):
    """A plain number that was taken over means what it meant, and is then written in the new form."""
    sequence = going_through(text)
    sequence.position = {"legacy": legacy}

    assert sequence.files(sequence.next()) == expected
    assert sequence.position["v"] == 1


def test_a_snapshot_of_version_4_is_read(going_through, catalogue):
    """What an earlier version delivered by drainingn is not delivered again."""
    catalogue.define("seen", "file_name f1 or file_name f2")
    sequence = going_through("drainingn(9)")
    sequence.position = {"legacy": catalogue.snapshot("seen")}

    assert sequence.files(sequence.next()) == ["f3", "f4", "f5"]


def test_byrun_skips_runs_without_files(going_through, catalogue):
    """Runs that have no files are not launched, whatever the distance."""
    catalogue.declare("far", run=81234, **{"dataset.tag": "raw"})

    assert going_through("byrun(low=2)").all_files() == [["f3"], ["f4", "f5"], ["far"]]


def test_byrun_asks_few_questions(going_through, catalogue):
    """A run far away is found in a few steps, not by asking for each run."""
    catalogue.declare("far", run=900_000, **{"dataset.tag": "raw"})
    sequence = going_through("byrun(low=4,high=999999)")

    sequence.next()

    assert catalogue.calls["count"] < 60


def test_byexistingruns_delivers_a_late_file_as_a_new_piece(going_through, catalogue):
    """A file that comes later for a run delivered already makes a new piece; runs are not repeated whole."""
    sequence = going_through("byexistingruns")
    sequence.all_files()
    catalogue.declare("late", run=2, **{"dataset.tag": "raw"})

    assert sequence.all_files() == [["late"]]


def test_files_without_a_run_are_delivered_together(going_through, catalogue):
    """Files that belong to no run stop nothing: they come last, as one piece."""
    catalogue.declare("odd1", **{"dataset.tag": "raw"})
    catalogue.declare("odd2", **{"dataset.tag": "raw"})

    assert going_through("byexistingruns").all_files()[-1] == ["odd1", "odd2"]


def test_new_waits_until_files_had_time_to_be_registered(going_through):
    """A window is delivered only when fts has passed since its end."""
    at = datetime(2016, 10, 4, 0, 29, 59, tzinfo=UTC)
    sequence = going_through("new(firsttime=1475452800,window=1d)")
    sequence.now = at
    assert sequence.next() is None

    sequence.now = at.replace(minute=30, second=0)
    assert sequence.files(sequence.next()) == ["f4", "f5"]


def test_new_without_firsttime_takes_the_last_whole_window(going_through):
    """The first launch takes the most recent window that is over."""
    sequence = going_through("new(window=1d,round=1d,fts=1h)")
    sequence.now = datetime(2016, 10, 4, 9, tzinfo=UTC)

    assert sequence.files(sequence.next()) == ["f4", "f5"]


def test_new_does_not_begin_before_its_time(going_through):
    """A firsttime in the future gives nothing yet."""
    sequence = going_through("new(firsttime=1475452800,window=1d)")
    sequence.now = datetime(2016, 10, 1, tzinfo=UTC)

    assert sequence.next() is None


@pytest.mark.parametrize("text", ["new_local", "new(local)", "new(localtime=1)"])
def test_new_in_local_time_means_the_same_windows(going_through, text):
    """Local time changes how times are written, with their zone, not which files are meant."""
    sequence = going_through(text)
    sequence.position = {"v": 1, "until": 1475280000}
    sequence.now = datetime(2016, 10, 20, tzinfo=UTC)
    sequence.time_zone = "America/Chicago"

    piece = sequence.next()

    assert sequence.files(piece) == ["f1", "f2", "f3", "f4", "f5"]
    assert "end_time > '2016-09-30T19:00:00-0500'" in sequence.data.definition(piece.dataset)


def test_windows_neither_repeat_nor_skip_when_clocks_change(going_through, catalogue):
    """Over the night on which clocks go back every file is delivered exactly once."""
    for hour in range(0, 48):
        catalogue.declare(f"night{hour:02}", end_time=datetime(2016, 11, 5 + hour // 24, hour % 24, tzinfo=UTC),
                          **{"dataset.tag": "night"})
    catalogue.define("night", "dataset.tag night")
    sequence = going_through("new(firsttime=1478300000,window=5h,localtime=1)", "night")
    sequence.now = datetime(2016, 11, 9, tzinfo=UTC)
    sequence.time_zone = "America/Chicago"

    files = sum(sequence.all_files(), [])

    assert files == [f"night{hour:02}" for hour in range(0, 48)]


def test_stagedfiles_follows_the_staging(going_through, catalogue):
    """What is on disk is delivered; while the project runs, nothing new is not the end."""
    catalogue.begin_project("pre1", "raw")
    for name in ("f1", "f2", "f3"):
        catalogue.deliver("pre1", name, "consumed")
    sequence = going_through("stagedfiles(2)", "pre1")
    assert [sequence.files(sequence.next()) for _ in range(2)] == [["f1", "f2"], ["f3"]]
    with pytest.raises(Conflict, match="launch again later"):
        sequence.next()

    for name in ("f4", "f5"):
        catalogue.deliver("pre1", name, "consumed")
    catalogue.end_project("pre1")

    assert sequence.all_files() == [["f4", "f5"]]


@pytest.mark.parametrize(("text", "length"), [
    ("mod(4)", 4), ("nfiles(2)", 3), ("drainingn(2)", 3), ("byrun(low=3,high=12)", 10), ("draining", None),
    ("byexistingruns", None), ("new(firsttime=1475280000,window=1d,lasttime=1475539200)", 3),
])
def test_lengths(going_through, text, length):
    """How many pieces there are, where that can be known."""
    assert going_through(text).length() == length


@pytest.mark.parametrize("text", ["mod(0)", "mod()", "mod", "nfiles(x)", "drainingn(1.5)", "byrun(low=9,high=3)",
                                  "byrun(lo=1)", "byrun(low=a)", "new(window=1y)", "new(window=1h,round=1d)",
                                  "new(1d)", "list(3)", "limitn(99999999999999999999)", "mod(3,4)"])
def test_impossible_arguments_are_refused_when_saved(text):
    """A specification that cannot work is refused by parse, which saving calls too."""
    spec = parse_split(text)

    with pytest.raises(Invalid):
        ALL[spec.name].parse(spec.arguments)


def test_every_type_is_offered_once():
    """All types that users know are there, under their names."""
    assert sorted(ALL) == ["byexistingruns", "byrun", "draining", "drainingn", "limitn", "list", "mod", "multiparam",
                           "new", "nfiles", "stagedfiles"]


def test_peeking_far_ahead(going_through):
    """The coming slices with their sizes, as far as there are any."""
    assert [piece.files for piece in going_through("drainingn(2)").peek(9)] == [2, 2, 1]
    assert [piece.files for piece in going_through("nfiles(2)").peek(2)] == [2, 2]
    assert [piece.files for piece in going_through("byexistingruns").peek(9)] == [2, 1, 2]
    assert [piece.files for piece in going_through(THREE_DAYS).peek(9)] == [2, 1]


def test_a_context_is_not_changed(going_through):
    """A split type keeps nothing: the same context gives the same answer to whoever asks."""
    sequence = going_through("nfiles(2)")
    context = sequence.context()

    assert sequence.split.next(context) == sequence.split.next(replace(context))


# --------------------------------------------------------------------- what was delivered, in few snapshots


def test_a_long_split_delivers_each_file_once_and_copies_none_often(catalogue, monkeypatch):
    """However many slices there are, the position names few snapshots, and files are copied a few times at most."""
    monkeypatch.setattr(delivered, "OPEN_FILES", 4)
    monkeypatch.setattr(delivered, "MOST_OPEN", 3)
    names = [catalogue.declare(f"g{number:03}", **{"dataset.tag": "long"}) for number in range(60)]
    catalogue.define("long", "dataset.tag long")
    sequence = Sequence(DrainingN(), "drainingn(2)", "long", catalogue)
    given, most_parts, newest = [], 0, set()
    while (piece := sequence.next()) is not None:
        given += sequence.files(piece)
        newest.add(piece.position["snapshot"])
        most_parts = max(most_parts, len(piece.position["parts"]))

    assert given == names
    assert len(newest) == 30, "the names of slices come from it, so that it changes each time"
    assert most_parts <= 60 / (4 * 3) + 3
    assert sum(files for _, files in sequence.position["parts"]) == 60


def test_a_position_of_one_growing_snapshot_is_gone_on_with(catalogue):
    """As earlier installations wrote it: nothing that it holds is given out again."""
    sequence = Sequence(DrainingN(), "drainingn(2)", "raw", catalogue)
    catalogue.define("given", "defname: raw with limit 3")
    number = catalogue.snapshot("given")
    for position in ({"legacy": number}, {"v": 1, "snapshot": number}):
        sequence.position = position

        assert sequence.all_files() == [["f4", "f5"]]
        assert sequence.position["parts"][0] == [number, None]


@pytest.mark.parametrize("parts", ["x", [], [[1]], [["1", 2]], [[True, 2]], [[1, -2]], [[None, 2]], {"1": 2}])
def test_parts_of_a_position_that_cannot_be_read_are_refused(catalogue, parts):
    """Instead of giving out files twice."""
    sequence = Sequence(DrainingN(), "drainingn(2)", "raw", catalogue, position={"v": 1, "snapshot": 1, "parts": parts})

    with pytest.raises(Invalid, match="reset the split"):
        sequence.next()
