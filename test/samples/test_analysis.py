"""The sample analysis: its pseudo-experiments, its result, and that the check sees what is wrong with either."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


@pytest.fixture
def files(program, tmp_path) -> list[Path]:
    """Four jobs of experiments and the result of all of them."""
    for process in range(4):
        done = program("analysis", "toys", "generate", "-o", f"toys_{process}.json", cwd=tmp_path, process=process)
        assert done.returncode == 0, done.stderr
    done = program("analysis", "toys", "coverage", "-o", "coverage.json", *sorted(tmp_path.glob("toys_*.json")),
                   cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    return sorted(tmp_path.glob("*.json"))


@pytest.fixture
def check(loaded):
    return loaded("analysis", "check")


def test_result_is_that_of_all_experiments(files, check):
    """Counts agree exactly; mean and coverage within their errors."""
    report = check.check_coverage(files)

    assert report.passed, report.failures


def test_coverage_that_is_expected_follows_from_the_distribution(check, loaded):
    """Summed by hand over the counts whose interval holds the signal."""
    toys = loaded("analysis", "toys")
    covering = [count for count in range(100) if toys.covers(count)]

    assert covering == list(range(covering[0], covering[-1] + 1))
    assert 0.6 < check.expected_coverage() < 0.75


def test_poisson_numbers_have_mean_and_variance_of_poisson(loaded):
    """Both are the mean, within four standard errors."""
    counts = loaded("analysis", "toys").generate(7, 4000)
    mean = sum(counts) / len(counts)
    variance = sum((count - mean) ** 2 for count in counts) / len(counts)

    assert abs(mean - 16) < 4 * (16 / 4000) ** 0.5
    assert abs(variance - 16) < 4 * 16 * (2 / 4000) ** 0.5


@pytest.mark.parametrize("change", [
    lambda result: result.update(experiments=7999), lambda result: result.update(covered=result["covered"] + 1),
    lambda result: result.update(mean=result["mean"] * 1.02), lambda result: result.update(sections=[0, 1, 2]),
])
def test_wrong_result_is_seen(files, check, change):
    """A result that is not what the experiments say fails."""
    result = next(path for path in files if path.name == "coverage.json")
    document = json.loads(result.read_text())
    change(document)
    result.write_text(json.dumps(document))

    assert not check.check_coverage(files).passed


@pytest.mark.parametrize("without", ["toys_2.json", "coverage.json"])
def test_lost_file_is_seen(files, check, without):
    """One file less fails."""
    assert not check.check_coverage([path for path in files if path.name != without]).passed


@pytest.mark.parametrize(("words", "message"), [
    (["generate", "-o", "x.json", "toys_0.json"], "generate reads no file"),
    (["coverage", "-o", "x.json"], "coverage needs files"),
    (["coverage", "-o", "x.json", "toys_0.json", "toys_0.json"], "different sections"),
    (["coverage", "-o", "x.json", "coverage.json"], "no file of toy experiments made by generate"),
])
def test_program_refuses_what_it_cannot_do(program, files, tmp_path, words, message):
    """Wrong input: exit status 1, a sentence, no output file."""
    done = program("analysis", "toys", *words, cwd=tmp_path)

    assert (done.returncode, message in done.stderr, (tmp_path / "x.json").exists()) == (1, True, False)
