"""The toy test-beam experiment: what its program makes, and that its check sees lost, doubled and wrong events."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

RUNS = 3


@pytest.fixture
def beam(program, tmp_path):
    """Runs a step in the test's directory; asserts that it ends well."""
    def run(step: str, *words: str | Path, process: int = 0) -> Path:
        done = program("test_beam", "beam", step, *words, cwd=tmp_path, process=process)
        assert done.returncode == 0, done.stderr
        return tmp_path / str(words[1]) if words and words[0] == "-o" else tmp_path

    return run


@pytest.fixture
def raw(beam) -> list[Path]:
    """Files of three runs."""
    return [beam("take", "-o", f"raw_{process}.json", "--stream", "s", process=process) for process in range(RUNS)]


@pytest.fixture
def check(loaded):
    return loaded("test_beam", "check")


def changed(path: Path, change) -> Path:
    """The file with its document changed."""
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    return path


def test_a_run_that_is_taken_again_is_the_very_same_file(beam):
    """The same job makes the same bytes, another job another run."""
    once, again, other = (beam("take", "-o", f"{name}.json", process=process)
                          for name, process in (("a", 1), ("b", 1), ("c", 2)))

    assert once.read_bytes() == again.read_bytes() != other.read_bytes()


def test_reconstruction_keeps_every_event(beam, raw, check):
    """As many events come out as went in; the check agrees."""
    made = [beam("reconstruct", "-o", f"reco_{number}.json", path) for number, path in enumerate(raw)]

    report = check.check_reconstructed([*raw, *made])

    assert report.passed, report.failures


@pytest.fixture
def sorted_files(beam, raw, tmp_path) -> list[Path]:
    """A file for each kind and run, renamed as poms-wrap would."""
    found = []
    for number, path in enumerate(raw):
        beam("sort", path)
        found += [(tmp_path / f"{kind}.json").rename(tmp_path / f"{kind}_{number}.json")
                  for kind in ("muon", "electron", "pion")]
    return found


def of_kind(files: list[Path], kind: str) -> list[Path]:
    return [path for path in files if path.name.startswith(kind)]


@pytest.fixture
def merged(beam, sorted_files) -> list[Path]:
    return [beam("merge", "-o", f"{kind}s.json", *of_kind(sorted_files, kind)) for kind in ("muon", "electron")]


def test_sorted_and_merged_files_hold_every_event_once(raw, sorted_files, merged, check):
    """Muons and electrons from the merged files and pions from the others are all that was taken."""
    report = check.check_sorted([*raw, *sorted_files, *merged])

    assert report.passed, report.failures


def test_published_file_holds_every_run(beam, raw, check):
    """Reconstructed and merged into one file: nothing is missing."""
    made = [beam("reconstruct", "-o", f"reco_{number}.json", path) for number, path in enumerate(raw)]
    published = beam("merge", "-o", "published.json", *made)

    assert check.check_published([*raw, *made, published]).passed
    assert json.loads(published.read_text())["runs"] == [1, 2, 3]


@pytest.mark.parametrize(("without", "words"), [
    ("pion_1.json", "events were lost"), ("muons.json", "1 merged files, expected 2"), ("raw_2.json", "foreign"),
])
def test_lost_file_is_seen(raw, sorted_files, merged, check, without, words):
    """A file of whatever tier that is missing fails the check."""
    files = [path for path in (*raw, *sorted_files, *merged) if path.name != without]

    assert any(words in failure for failure in check.check_sorted(files).failures)


def test_doubled_event_is_seen(raw, sorted_files, merged, check):
    """One event that was merged twice fails the check."""
    changed(merged[0], lambda document: document["events"].append(document["events"][0]))

    assert any("doubled" in failure for failure in check.check_sorted([*raw, *sorted_files, *merged]).failures)


def test_event_that_was_never_written_is_seen(raw, sorted_files, merged, check):
    """Lost before it was recorded, at the very beginning and everywhere: the run is too short."""
    for path in (*raw, *sorted_files, *merged):
        changed(path, lambda document: document.update(
            events=[event for event in document["events"] if event["id"] != [2, 1]]))

    failures = check.check_sorted([*raw, *sorted_files, *merged]).failures

    assert any("missing from the runs" in failure for failure in failures)


def test_wrong_calibration_is_seen(raw, sorted_files, merged, check):
    """Numbers are looked at, not only files: an energy scale that is off by three per cent fails."""
    for path in merged:
        changed(path, lambda document: [event.update(energy=event["energy"] * 1.03) for event in document["events"]])

    assert any("energy over momentum" in failure
               for failure in check.check_sorted([*raw, *sorted_files, *merged]).failures)


def test_truncated_file_is_seen(raw, sorted_files, merged, check):
    """A file of which a part is missing is no file."""
    merged[0].write_bytes(merged[0].read_bytes()[:-20])

    assert any("cannot be read" in failure for failure in check.check_sorted([*raw, *sorted_files, *merged]).failures)


def test_no_files_at_all_is_not_a_pass(check):
    """Nothing to check is a failure."""
    assert not check.check_reconstructed([]).passed


@pytest.mark.parametrize(("words", "message"), [
    (["reconstruct", "-o", "x.json", "nothing.json"], "cannot be read"),
    (["reconstruct", "-o", "x.json", "reco.json"], "reconstruct reads raw files"),
    (["reconstruct", "-o", "x.json", "raw_0.json", "raw_1.json"], "exactly one file"),
    (["take", "-o", "x.json", "raw_0.json"], "take reads no file"),
    (["merge", "-o", "x.json"], "at least one file"),
    (["merge", "-o", "x.json", "raw_0.json", "other.json"], "different streams"),
    (["sort", "alien.json"], "no file of the test beam"),
])
def test_program_refuses_what_it_cannot_do(program, beam, raw, tmp_path, words, message):
    """Wrong input: exit status 1, a sentence, no output file."""
    beam("reconstruct", "-o", "reco.json", raw[0])
    beam("take", "-o", "other.json", "--stream", "other")
    (tmp_path / "alien.json").write_text("[]")

    done = program("test_beam", "beam", *words, cwd=tmp_path)

    assert (done.returncode, message in done.stderr, (tmp_path / "x.json").exists()) == (1, True, False)


def test_metadata_says_what_the_catalogue_should_know(program, raw, tmp_path):
    """Tier, stream, events and runs."""
    done = program("test_beam", "beam", "metadata", raw[1], cwd=tmp_path)

    assert json.loads(done.stdout) == {"file_type": "test", "file_format": "test-beam", "data_tier": "raw",
                                       "data_stream": "s", "event_count": 250, "runs": [[2, 0, "test"]]}
