"""Over time: days, the dashboard and time bars show what happened, with few statements for many rows."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import urlencode

import pytest
from sqlalchemy import insert, select

from poms.webservice.errors import Invalid
from poms.webservice.interfaces import JobState
from poms.webservice.model import Submission
from poms.webservice.services.pages import figures, search, timebars
from poms.webservice.services.pages import submissions as submission_pages
from poms.webservice.services.pages.common import created_since
from poms.webservice.testing.statements import recorded
from poms.webservice.testing.world import stage

MOST_STATEMENTS = 12


def url(route, **arguments):
    return f"/{route}?{urlencode(arguments)}"


@pytest.fixture
def owner(world):
    return world.person("olive")


@pytest.fixture
def campaign(world, owner):
    return world.campaign_with(stage("gen"), stage("reco", after="gen"), name="mc", owner=owner)


def made(world, campaign, *, days_ago=0, state=JobState.COMPLETED, codes=(0,), cpu=50.0, wall=100.0):
    """A submission of some days ago whose jobs ended so."""
    number = world.submission(campaign, "gen")
    world.poll()
    for place, job in enumerate(world.batch.of(number)):
        world.batch.change_job(job.batch_id, state, exit_code=codes[place % len(codes)], cpu_seconds=cpu,
                               wall_seconds=wall)
    world.poll()
    with world.core.db.write() as session:
        session.get(Submission, number).created = world.core.clock() - timedelta(days=days_ago)
    return number


def jobs_of(world, number):
    return world.get(number).jobs_expected


# ---------------------------------------------------------------------------- what was made since


@pytest.mark.parametrize("gap", [1, 2, 7, 1000])
def test_a_window_begins_at_its_first_submission(world, campaign, gap):
    """Whatever numbers were never given, those of the window are found, and no others."""
    pattern = made(world, campaign, days_ago=50)
    with world.core.db.write() as session:
        columns = dict(session.execute(select(Submission.__table__).where(
            Submission.submission_id == pattern)).mappings().one())
        for place, age in enumerate((5, 4, 4, 2, 1, 1), start=1):
            session.execute(insert(Submission.__table__).values({
                **columns, "submission_id": pattern + place * gap,
                "created": world.core.clock() - timedelta(days=age)}))
    found, wanted = {}, {}
    with world.core.db.read() as session:
        for days in (0, 1, 2, 3, 4, 5, 6, 99):
            since = world.core.clock() - timedelta(days=days, minutes=5)
            found[days] = sorted(session.scalars(select(Submission.submission_id).where(created_since(since))))
            wanted[days] = sorted(session.scalars(select(Submission.submission_id).where(Submission.created >= since)))
    assert found == wanted
    assert [len(wanted[days]) for days in (0, 1, 2, 3, 4, 5, 6, 99)] == [0, 2, 3, 3, 5, 6, 6, 7]


def test_an_empty_service_has_no_window(world, campaign):
    """Where nothing was ever submitted nothing is found."""
    with world.core.db.read() as session:
        found = session.scalars(select(Submission.submission_id).where(created_since(world.core.clock()))).all()
    assert found == []


# ------------------------------------------------------------------------------------- day by day


def test_each_day_has_its_submissions(world, owner, campaign):
    """Those of one day in one row, the newest day first; days without any have none, but stand in the picture."""
    numbers = [made(world, campaign, days_ago=days) for days in (3, 1, 1)]

    page = figures.sheet(world.core, owner, url, campaign_id=campaign.campaign_id)

    today = world.core.clock().date()
    assert [(row["date"], row["submissions"], row["jobs_total"]) for row in page["days"]] == [
        ((today - timedelta(days=1)).isoformat(), 2, sum(jobs_of(world, number) for number in numbers[1:])),
        ((today - timedelta(days=3)).isoformat(), 1, jobs_of(world, numbers[0]))]
    assert len(page["series"]) == 7


def test_a_day_tells_how_its_jobs_ended(world, owner, campaign):
    """Exit codes each in a column of its own, and the efficiency of the jobs that told their times."""
    number = made(world, campaign, codes=(0, 139), cpu=75.0, wall=100.0)

    page = figures.sheet(world.core, owner, url, stage_id=campaign.stage("gen"))

    jobs = jobs_of(world, number)
    assert [code["label"] for code in page["exit_codes"]] == ["exit 0", "exit 139"]
    assert page["exit_codes"][1]["title"] == "signal 11, segmentation fault"
    assert page["days"][0]["exits"] == [jobs - jobs // 2, jobs // 2]
    assert page["days"][0]["efficiency"] == "75 %"


def test_times_that_make_no_sense_do_not_count(world, owner, campaign):
    """A job with a hundred times more processor time than time was measured wrongly."""
    made(world, campaign, cpu=10_000.0, wall=1.0)

    page = figures.sheet(world.core, owner, url, stage_id=campaign.stage("gen"))

    assert page["days"][0]["efficiency"] == "not known"


def test_what_is_older_is_not_shown(world, owner, campaign):
    """A longer time shows it."""
    made(world, campaign, days_ago=10)

    assert figures.sheet(world.core, owner, url, campaign_id=campaign.campaign_id, days=7)["days"] == []
    assert len(figures.sheet(world.core, owner, url, campaign_id=campaign.campaign_id, days=14)["days"]) == 1


def test_a_sheet_of_nothing_is_refused(world, owner):
    """It says what is missing."""
    with pytest.raises(Invalid):
        figures.sheet(world.core, owner, url)


# ------------------------------------------------------------------------------------ the dashboard


def test_the_dashboard_of_an_experiment_without_submissions(world, owner):
    """Zeros, and nothing that is not known said to be zero."""
    page = figures.dashboard(world.core, owner, url)

    assert (page["states"], page["failures"], page["busiest"], page["jobs_now"]) == ([], [], [], {})
    assert page["figures"][3]["value"] == "not known"


def test_the_dashboard_adds_up(world, owner, campaign):
    """Submissions by state, jobs that ended, efficiency, and what fails most first."""
    good = made(world, campaign)
    bad = made(world, campaign, state=JobState.FAILED, codes=(65,))
    live = world.submission(campaign, "reco")
    world.poll()

    page = figures.dashboard(world.core, owner, url)

    assert sum(row["submissions"] for row in page["states"]) == 3
    assert [(row["state"], row["what"], row["jobs"], row["newest"]) for row in page["failures"]] == [
        ("Failed", "exit 65: the program’s own code", jobs_of(world, bad), bad)]
    assert sum(page["jobs_now"].values()) == jobs_of(world, live)
    assert [row["name"] for row in page["busiest"]] == ["mc"]
    assert page["figures"][1]["value"] == "3"
    assert page["figures"][2]["value"] == f"{jobs_of(world, good) + jobs_of(world, bad):,}"
    assert page["figures"][3]["value"] == "50 %"


def test_the_dashboard_tells_of_its_days_only(world, owner, campaign):
    """Submissions by state are those made in the window, like everything beside them."""
    made(world, campaign, days_ago=20)
    made(world, campaign, days_ago=10, state=JobState.FAILED, codes=(1,))
    made(world, campaign)

    short, long = (figures.dashboard(world.core, owner, url, days=days) for days in (7, 31))

    assert [(row["state"], row["submissions"]) for row in short["states"]] == [("Completed", 1)]
    assert [(row["state"], row["submissions"]) for row in long["states"]] == [("Failed", 1), ("Completed", 2)]
    assert (short["trouble"], [row["state"] for row in long["trouble"]]) == ([], ["Failed"])


def test_failures_of_several_submissions_are_one_line(world, owner, campaign):
    """By exit code, the commonest first, whichever submission they are of; held jobs by their reason."""
    made(world, campaign, state=JobState.FAILED, codes=(1, 65))
    newest = made(world, campaign, state=JobState.FAILED, codes=(65,))
    held = world.submission(campaign, "reco")
    world.batch.hold(held, 1, reason="too much memory")
    world.poll()

    page = figures.dashboard(world.core, owner, url)

    assert [tuple(row[name] for name in ("state", "what", "jobs", "submissions", "newest"))
            for row in page["failures"]] == [
        ("Failed", "exit 65: the program’s own code", 3, 2, newest),
        ("Failed", "exit 1: the program’s own code", 1, 1, newest - 1),
        ("Held", "too much memory", 1, 1, held)]


def test_efficiency_is_that_of_all_submissions(world, owner, campaign):
    """Jobs count by the time they took, however many submissions there are."""
    for cpu in (10.0, 20.0, 90.0):
        made(world, campaign, cpu=cpu)

    assert figures.dashboard(world.core, owner, url)["figures"][3]["value"] == "40 %"
    assert figures.sheet(world.core, owner, url, campaign_id=campaign.campaign_id)["days"][0]["efficiency"] == "40 %"


def test_other_experiments_do_not_count(world, owner):
    """Neither their submissions nor their jobs."""
    other = world.campaign_with(stage("gen"), experiment="other")
    world.submission(other, "gen")
    world.poll()

    page = figures.dashboard(world.core, owner, url)

    assert (page["states"], page["jobs_now"], page["busiest"]) == ([], {}, [])
    assert submission_pages.submission_list(world.core, owner, url)["submissions"] == []


# ---------------------------------------------------------------------------------------- time bars


def test_bars_show_each_state_in_its_time(world, owner, campaign, clock):
    """From the stored history; the jobs of a submission likewise."""
    number = world.submission(campaign, "gen")
    world.poll()
    clock.advance(3600)
    world.finish(number)
    clock.advance(3600)

    page = timebars.submission_bars(world.core, owner, url, campaign_id=campaign.campaign_id)
    jobs = timebars.job_bars(world.core, owner, url, number)

    bar = page["bars"][0]
    assert (bar["name"], bar["state"]) == (str(number), "Completed")
    assert bar["pieces"][0].state == "New" and bar["pieces"][-1].state == "Completed"
    assert len(jobs["bars"]) == jobs_of(world, number)
    assert {row["pieces"][-1].state for row in jobs["bars"]} == {"Completed"}


def test_what_ended_before_the_window_is_not_shown(world, owner, campaign, clock):
    """What lives is, however old it is."""
    ended, living = world.submission(campaign, "gen"), world.submission(campaign, "reco")
    world.poll()
    world.finish(ended)
    clock.advance(5 * 86400)

    page = timebars.submission_bars(world.core, owner, url, campaign_id=campaign.campaign_id)

    assert [row["name"] for row in page["bars"]] == [str(living)]


def test_a_tag_has_bars_too(world, owner, campaign):
    """Of all campaigns that carry it; one that nothing carries has none."""
    from poms.webservice.services import campaigns

    number = world.submission(campaign, "gen")
    campaigns.add_tag(world.core, owner, [campaign.campaign_id], "mine")

    assert [row["id"] for row in timebars.submission_bars(world.core, owner, url, tag="mine")["bars"]] == [number]
    assert timebars.submission_bars(world.core, owner, url, tag="other")["bars"] == []


# --------------------------------------------------------------------------------------- how many


PAGES = {
    "sheet": lambda core, actor, made: figures.sheet(core, actor, url, campaign_id=made.campaign_id),
    "dashboard": lambda core, actor, made: figures.dashboard(core, actor, url),
    "time bars": lambda core, actor, made: timebars.submission_bars(core, actor, url, campaign_id=made.campaign_id),
    "job bars": lambda core, actor, made: timebars.job_bars(core, actor, url, 1),
    "submissions": lambda core, actor, made: submission_pages.submission_list(core, actor, url),
    "search": lambda core, actor, made: search.search_page(core, actor, url, "m"),
}


@pytest.mark.parametrize("name", PAGES)
def test_the_number_of_statements_does_not_grow(world, owner, campaign, name):
    """As few for many submissions as for one."""
    made(world, campaign)
    with recorded(world.core.db.engine) as few:
        PAGES[name](world.core, owner, campaign)
    for days in range(6):
        made(world, campaign, days_ago=days, state=JobState.FAILED, codes=(days,))

    with recorded(world.core.db.engine) as many:
        PAGES[name](world.core, owner, campaign)

    assert len(many) <= len(few) <= MOST_STATEMENTS
