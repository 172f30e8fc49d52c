"""The sample dijets: real events, jets and histograms of a small run, and that its check sees what is wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

# A whole campaign's events take more than a minute of processor time.
pytestmark = [pytest.mark.usefixtures("physics"), pytest.mark.timeout(1200)]

POINTS = ["7000_50", "13000_50", "7000_100", "13000_100"]


@pytest.fixture(scope="module")
def dijets(loaded, physics) -> ModuleType:
    return loaded("dijets", "dijets")


@pytest.fixture(scope="module")
def check(loaded, physics) -> ModuleType:
    return loaded("dijets", "check")


@pytest.fixture(scope="module")
def chain(program, physics, tmp_path_factory) -> Path:
    """One file through all steps: 40 events at 13 TeV."""
    place = tmp_path_factory.mktemp("dijets")
    for words in (["generate", "-o", "gen.npz", "--point", "13000_100", "--events", "40"],
                  ["smear", "-o", "smear.npz", "gen.npz"], ["cluster", "-o", "jets.npz", "smear.npz"],
                  ["analyse", "-o", "dijets.root", "jets.npz"]):
        done = program("dijets", "dijets", *words, cwd=place, process=3)
        assert done.returncode == 0, done.stderr
    return place


# -------------------------------------------------------------------------------------------------- the steps


def test_generator_says_its_cross_section(dijets, chain):
    """So many events, each above the cut, and a cross section with its error."""
    header, arrays = dijets.read(chain / "gen.npz", "generate")

    assert (header["events"], header["sections"], header["point"]) == (40, [3], "13000_100")
    assert len(arrays["ends"]) == 40
    assert min(arrays["pthat"]) >= 100.0
    assert 0 < header["sigma_error_pb"] < header["sigma_pb"]


def test_momentum_across_the_beam_is_nearly_balanced(dijets, chain):
    """Real events: what is seen of one carries away as much to the left as to the right, but for neutrinos."""
    import numpy

    _, arrays = dijets.read(chain / "gen.npz")
    sums = [numpy.hypot(*event[:, :2].sum(axis=0)) / numpy.hypot(event[:, 0], event[:, 1]).sum()
            for event in numpy.split(arrays["particles"], arrays["ends"][:-1])]

    assert numpy.median(sums) < 0.1


def test_same_job_makes_the_same_events(dijets):
    """A job that is done again changes nothing; another section makes others."""
    (_, once), (_, again), (_, other) = (dijets.generate("7000_50", section, events=3) for section in (1, 1, 2))

    assert once["pthat"].tolist() == again["pthat"].tolist() != other["pthat"].tolist()
    assert once["particles"].tolist() == again["particles"].tolist()


def test_detector_changes_energies_but_not_directions(dijets, chain):
    """Measured over true energy spreads around one; the direction is that of the particle."""
    import numpy

    _, arrays = dijets.read(chain / "smear.npz", "smear")
    true, measured = arrays["particles"], arrays["measured"]
    charged = (true[:, 4] > 0) & (true[:, 3] > 1.0)
    ratio = measured[charged, 3] / true[charged, 3]

    assert abs(ratio.mean() - 1.0) < 0.01
    assert 0.015 < ratio.std() < 0.025
    assert numpy.allclose(measured[charged, 0] * true[charged, 1], measured[charged, 1] * true[charged, 0])


def test_two_back_to_back_particles_are_two_jets(dijets):
    """Anti-kt: far apart stays apart, close together becomes one, little is no jet."""
    import numpy

    def particle(pt: float, phi: float) -> list[float]:
        return [pt * numpy.cos(phi), pt * numpy.sin(phi), 0.0, pt]

    found = dijets.jets_of(numpy.array([particle(100, 0.0), particle(50, 0.1), particle(140, 3.1), particle(3, 1.5)]))

    assert [round((px**2 + py**2) ** 0.5) for px, py, _, _ in found] == [150, 140]


def test_jets_are_about_as_hard_as_the_collision(dijets, chain):
    """The hardest true jet of an event has the momentum of the hard process, more or less."""
    import numpy

    _, arrays = dijets.read(chain / "jets.npz", "cluster")
    leading, masses = dijets.hardest(arrays, "true")

    assert 0.8 < numpy.median(leading / arrays["pthat"]) < 1.3
    assert (masses[leading > 0] > 0).mean() > 0.8


def test_histograms_add_up_to_the_cross_section(loaded, dijets, chain):
    """Read back by uproot: all bins and what lies beyond them are the generator's pb; errors are there."""
    jet_plot = loaded("dijets", "jet_plot")
    generated, _ = dijets.read(chain / "gen.npz")

    header, histograms = jet_plot.read_root(chain / "dijets.root")

    assert set(histograms) == {"leading_jet_pt_true", "leading_jet_pt", "dijet_mass", "pthat"}
    assert all(abs(sum(each["values"]) / generated["sigma_pb"] - 1) < 1e-9 for each in histograms.values())
    assert all(sum(each["errors"]) > 0 for each in histograms.values())
    assert (header["events"], header["sections"]) == (40, [3])


def test_plot_is_a_picture_that_says_what_it_shows(chain):
    """Well-formed SVG with title, description and a point for each bin that has entries."""
    root = ElementTree.parse(chain / "dijets.svg").getroot()
    svg = "{http://www.w3.org/2000/svg}"

    assert root.find(f"{svg}title").text == "Jets at 13 TeV, hard momentum above 100 GeV, 40 events"
    assert json.loads(root.find(f"{svg}desc").text)["point"] == "13000_100"
    assert len(root.findall(f"{svg}circle")) > 3


@pytest.mark.parametrize(("file", "tier", "form"), [
    ("gen.npz", "generated", "npz"), ("jets.npz", "reconstructed", "npz"), ("dijets.root", "histograms", "root"),
    ("dijets.svg", "histograms", "svg")])
def test_metadata_says_what_the_catalogue_should_know(program, chain, file, tier, form):
    """Every file of the chain can be described."""
    done = program("dijets", "dijets", "metadata", file, cwd=chain)

    found = json.loads(done.stdout)
    assert (found["data_tier"], found["file_format"], found["event_count"]) == (tier, form, 40)
    assert (found["mc.beam_energy_gev"], found["mc.momentum_cut_gev"]) == (13000.0, 100.0)


@pytest.mark.parametrize(("words", "message"), [
    (["generate", "-o", "x.npz", "--point", "13000"], "is no point"),
    (["generate", "-o", "x.npz", "--point", "100_80"], "less than half the energy"),
    (["smear", "-o", "x.npz", "jets.npz"], "files of generate are needed"),
    (["smear", "-o", "x.npz"], "exactly one file"),
    (["cluster", "-o", "x.npz", "broken.npz"], "cannot be read"),
    (["analyse", "-o", "x.npz", "jets.npz", "jets.npz"], "different sections"),
])
def test_program_refuses_what_it_cannot_do(program, chain, tmp_path, words, message):
    """Wrong input: exit status 1, a sentence, no output file."""
    for path in chain.glob("*.npz"):
        shutil.copy(path, tmp_path)
    (tmp_path / "broken.npz").write_bytes((chain / "gen.npz").read_bytes()[:-50])

    done = program("dijets", "dijets", *words, cwd=tmp_path)

    assert (done.returncode, message in done.stderr, (tmp_path / "x.npz").exists()) == (1, True, False)


# ------------------------------------------------------------------------------------------------------ check


@pytest.fixture(scope="module")
def whole(program, dijets, tmp_path_factory) -> Path:
    """The files of a whole campaign, made without the batch system."""
    place = tmp_path_factory.mktemp("whole")
    for point in POINTS:
        jets = []
        for section in range(2):
            found = dijets.generate(point, section)
            dijets.write(place / f"gen_{point}_{section}.npz", *found)
            jets.append(dijets.cluster(*dijets.smear(*found)))
        header, histograms = dijets.analyse(jets)
        dijets.jet_plot.write_root(place / f"dijets_{point}.root", header, histograms)
        dijets.jet_plot.write_svg(place / f"dijets_{point}.svg", header, histograms)
    return place


def test_spectra_and_totals_agree_with_the_generator(check, whole):
    """Every point's totals, falling spectrum and relation to the others."""
    report = check.check_dijets(whole.iterdir())

    assert report.passed, report.failures


@pytest.mark.parametrize("without", ["gen_7000_50_1.npz", "dijets_13000_100.root", "dijets_7000_50.svg"])
def test_lost_file_is_seen(check, whole, without):
    """One file less fails."""
    failures = check.check_dijets(path for path in whole.iterdir() if path.name != without).failures

    assert any("expected 2, 1 and 1" in failure for failure in failures)


def rewritten(dijets, whole: Path, place: Path, point: str, change) -> list[Path]:
    """The files of the campaign, with the result of one point changed."""
    header, found = dijets.jet_plot.read_root(whole / f"dijets_{point}.root")
    weight = header["sigma_pb"] / header["events"]
    histograms = {name: {"edges": each["edges"], "counts": (each["values"][1:-1] / weight).round().astype(int),
                         "below": round(each["values"][0] / weight), "above": round(each["values"][-1] / weight),
                         "weight": weight} for name, each in found.items()}
    change(header, histograms)
    dijets.jet_plot.write_root(place / f"dijets_{point}.root", header, histograms)
    return [place / path.name if path.name == f"dijets_{point}.root" else path for path in whole.iterdir()]


@pytest.mark.parametrize(("change", "words"), [
    (lambda header, found: found["pthat"]["counts"].__setitem__(5, found["pthat"]["counts"][5] + 20), "adds up to"),
    (lambda header, found: header.update(events=999), "999 events"),
    (lambda header, found: header.update(sections=[0, 0]), "sections"),
    (lambda header, found: header.update(response=1.1), "measured over true momentum"),
    (lambda header, found: found["leading_jet_pt"].update(counts=found["leading_jet_pt"]["counts"][::-1].copy()),
     "rises at"),
    (lambda header, found: (header.update(sigma_pb=header["sigma_pb"] * 1.5),
                            [each.update(weight=each["weight"] * 1.5) for each in found.values()]), "all have"),
])
def test_wrong_result_is_seen(dijets, check, whole, tmp_path, change, words):
    """Counts, spectrum, scale and normalisation are all looked at."""
    failures = check.check_dijets(rewritten(dijets, whole, tmp_path, "13000_100", change)).failures

    assert any(words in failure for failure in failures), failures


def test_result_that_nobody_changed_stays_right(dijets, check, whole, tmp_path):
    """The changes above are what the check sees, not the way in which they are made."""
    files = rewritten(dijets, whole, tmp_path, "13000_100", lambda header, found: None)

    assert check.check_dijets(files).failures == []
