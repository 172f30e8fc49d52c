"""The benchmark's own house: made-up data is consistent, and every measurement runs, on very little data."""

import json

import pytest
from sqlalchemy import func, select, text

from poms.webservice.interfaces import JobState
from poms.webservice.model import Job, Submission
from poms.webservice.rules.campaign_text import examine
from poms.webservice.rules.statuses import LIVE, Status
from poms.webservice.testing import browser as browsers
from poms.webservice.testing.bench import (
    browser,
    bulk,
    datasets,
    duties,
    figures,
    ingest,
    making,
    memory,
    pages,
    polling,
    reports,
)
from poms.webservice.testing.bench.__main__ import main
from poms.webservice.testing.bench.figures import Budget, figure
from poms.webservice.testing.bench.places import Places
from poms.webservice.testing.bench.shape import FULL, SMALL, TINY, hundredth
from poms.webservice.testing.fixtures import lacking
from poms.webservice.testing.world import World


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def places(request, tmp_path_factory):
    """Where databases are made for measurements."""
    server = "sqlite://" if request.param == "sqlite" else request.getfixturevalue("postgresql_url")
    places = Places(server, tmp_path_factory.mktemp("bench"))
    yield places
    places.close()


@pytest.fixture(scope="module")
def place(places):
    """Very little made-up data, in a database of its own."""
    return places.make(TINY)


@pytest.fixture
def core(place):
    core = place.core()
    yield core
    core.db.close()


def scalar(core, statement):
    with core.db.read() as session:
        return session.scalar(statement)


# ---------------------------------------------------------------------------------------- made-up data


def test_sums_of_made_up_data_agree(core):
    """Every sum that is stored on a stage is what a recount gives."""
    assert World(core).sums_differ() == []


def test_jobs_of_made_up_data_agree(core):
    """A submission's counts are those of its jobs."""
    wrong = scalar(core, text(
        "SELECT count(*) FROM submissions s WHERE jobs_expected <> (SELECT count(*) FROM jobs j "
        "WHERE j.submission_id = s.submission_id) OR jobs_running <> (SELECT count(*) FROM jobs j "
        "WHERE j.submission_id = s.submission_id AND state = 2)"))

    assert wrong == 0


def test_made_up_data_has_the_size_asked_for(core, place):
    """As many submissions and jobs as the scale says, and live ones among them."""
    assert scalar(core, select(func.count()).select_from(Submission)) >= TINY.submissions
    assert scalar(core, select(func.count()).select_from(Job)) >= TINY.jobs
    assert scalar(core, select(func.count()).where(Submission.status_id.in_([int(each) for each in LIVE]))) > 0
    assert scalar(core, select(func.count()).where(Job.submission_id == place.landmarks.submission_id)) \
        == TINY.biggest_submission


def test_references_of_made_up_data_lead_somewhere(core):
    """Foreign keys are not checked while data is loaded, so the maker is."""
    with core.db.read() as session:
        if not core.db.is_postgresql:
            assert session.execute(text("PRAGMA foreign_key_check")).all() == []
            return
        for constraint, table in session.execute(text(
                "SELECT conname, conrelid::regclass::text FROM pg_constraint WHERE contype = 'f'")).all():
            # Adding a constraint again checks every row; nothing of this is committed.
            definition = session.execute(text(
                "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = :name AND contype = 'f'"),
                {"name": constraint}).scalar_one()
            session.execute(text(f'ALTER TABLE {table} DROP CONSTRAINT "{constraint}"'))
            session.execute(text(f'ALTER TABLE {table} ADD CONSTRAINT "{constraint}" {definition}'))


def test_the_made_up_campaign_text_can_be_read():
    """Pages that show or compare texts find a campaign in it."""
    found = examine(making.campaign_text("prod_1", "sbnd", 1))

    assert list(found.problems) == []


def test_small_data_is_a_hundredth_of_full_data():
    """Except for the campaigns, of which one page of the list is needed."""
    small = hundredth(FULL)

    assert small is SMALL
    assert (small.submissions * 100, small.jobs * 100, small.live_jobs * 100) == (
        FULL.submissions, FULL.jobs, FULL.live_jobs)


@pytest.mark.parametrize(("value", "line"), [
    (None, "\\N"), ("", ""), (True, "True"), ("a\tb\nc\\d\re", "a\\tb\\nc\\\\d\\re"),
    ("O'Hara $(id) 漢", "O'Hara $(id) 漢"),
])
def test_values_survive_the_format_of_copy(value, line):
    """Nothing in a text ends a field or a row."""
    assert bulk.line_of([value], [False]) == line + "\n"


# ---------------------------------------------------------------------------------------- measurements


def test_every_page_is_measured(places, place):
    """Each page answers under the readers; its statements and its size are counted."""
    found = list(pages.measure(place, places.make(hundredth(TINY)), requests=1, rounds=1))

    assert len(found) == len(pages.looks())
    assert all(each.also["statements"] > 0 and each.also["kB"] > 0 for each in found)


@pytest.mark.browser
def test_what_a_browser_waits_for_is_measured(place):
    """Each page and two campaigns in the editor; the drag of a stage was one, and a clone stands in the text."""
    if browsers.find_program() is None:
        lacking("chromium", "no browser was found; install Chromium")

    found = {each.name: each for each in browser.measure(place, rounds=1, stages=(10, 20), moves=10, only=3)}

    assert [name for name in found if name.startswith("editor opens")] == ["editor opens 10 stages",
                                                                           "editor opens 20 stages"]
    assert found["editor drags in 20 stages"].also["frames_per_second"] > 0
    assert [each.also["js_kB"] > 0 for name, each in found.items() if name.startswith("browser ")] == [True] * 3


def test_status_reports_are_measured(place, core):
    """The reports are committed, and say something new each time."""
    before = scalar(core, text("SELECT count(*) FROM submission_histories"))

    found = list(reports.measure(place, requests=8))

    assert [each.absolute > 0 for each in found] == [True, True]
    assert scalar(core, text("SELECT count(*) FROM submission_histories")) > before


def test_job_states_are_measured(place, core):
    """What a poll brings is stored; that it is the same again, or changed, is measured by itself."""
    before = scalar(core, select(func.count()).select_from(Job))

    found = list(ingest.measure(place, count=400))

    assert [each.name for each in found] == ["job states, new", "job states, unchanged", "job states, all changed"]
    assert scalar(core, select(func.count()).select_from(Job)) == before + 400
    assert World(core).sums_differ() == []


def test_polls_are_measured(places):
    """A real queue is filled step by step; the first poll sees what is new, the next ones nothing."""
    found = list(polling.measure(places, "local", sizes=polling.FEW))

    assert [(each.name, each.also["jobs"]) for each in found] == [
        ("poll of 4 live jobs, seen anew", 4), ("poll of 4 live jobs, no news", 4),
        ("poll of 6 live jobs, seen anew", 6), ("poll of 6 live jobs, no news", 6)]


def test_an_agents_memory_is_measured(place, core):
    """A real agent stores every live job, and each of them once more when all have changed."""
    (found,) = memory.measure(place, jobs=1_000)

    assert found.also["jobs"] >= 1_000
    assert found.absolute > found.reference_value / 2 > 0
    states = [int(JobState.IDLE), int(JobState.RUNNING)]
    assert scalar(core, select(func.count()).where(Job.state.in_(states))) >= 1_000
    assert World(core).sums_differ() == []


def test_wrap_up_is_measured(place, core):
    """All that were added become Located, and what they owe is there."""
    (found,) = duties.measure_wrapup(place, count=12)

    assert found.also["owed_launches"] > 0
    assert scalar(core, select(func.count()).where(Submission.status_id == int(Status.COMPLETED))) == 0


def test_claims_are_measured(place):
    """Two agents take every launch that is due, none of them twice, and its jobs run once."""
    found = list(duties.measure_claims(place, count=12))

    assert [each.also["twice"] for each in found] == [0, 0, 0]


# --------------------------------------------------------------------------------------------- figures


def test_slices_of_a_large_dataset_are_measured(place):
    """At the beginning and half way; every launch takes a slice."""
    found = list(datasets.measure_splits(place, files=1_000, slices=2))

    assert [each.name for each in found] == ["slice of 1,000 files at the beginning", "slice of 1,000 files half way"]
    assert all(each.absolute > 0 for each in found)


def test_previews_of_a_large_dataset_are_measured(place):
    """The whole dataset, and cut into slices; the measurement checks what the preview counts."""
    found = list(datasets.measure_preview(place, files=1_000, looks=2))

    assert [each.name for each in found] == ["preview of 1,000 files whole", "preview of 1,000 files by drainingn(100)"]


def test_a_budget_can_be_missed():
    """Both kinds of limits are held against the value they are of."""
    slow = figure("x", 10.0, "s", "raw", 2.0, Budget("ratio", 4), Budget("absolute", 10),
                  Budget("kB", 3, at_least=True), kB=2)

    assert [str(budget) for budget in slow.missed] == ["≤ 4", "kB ≥ 3"]


def test_figures_are_written_for_programs(tmp_path):
    """Ratio, reference, value and whether the budget is kept are in the file."""
    figures.write([figure("x", 10.0, "s", "raw", 2.0, Budget("ratio", 4))], tmp_path / "bench.json", scale="full")

    (written,) = json.loads((tmp_path / "bench.json").read_text())["figures"]
    assert (written["ratio"], written["reference"]) == (5.0, "raw")
    assert (written["passed"], written["missed"]) == (False, ["≤ 4"])


def test_a_measurement_can_be_asked_for_alone(tmp_path, capsys):
    """The command prints the table and writes the file; its exit status says whether a budget was missed."""
    file = tmp_path / "bench.json"

    status = main(["--database", "sqlite://", "--scale", "tiny", "--only", "claims", "--json", str(file)])

    written = json.loads(file.read_text())["figures"]
    assert [each["name"] for each in written] == ["launches claimed by 2 agents", "launches queued by 2 agents",
                                                 "launches started by 2 agents"]
    assert status == (0 if all(each["passed"] for each in written) else 1)
    assert "launches claimed by 2 agents" in capsys.readouterr().out


def test_a_page_with_an_unknown_argument_is_an_error(place):
    """A page that asks for something new is not left out silently."""
    with pytest.raises(LookupError, match="testing.bench.pages"):
        pages.value_of("no_such_argument", place.landmarks)
