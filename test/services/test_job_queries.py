"""Jobs across submissions: which are told, page by page, and to whom."""

from __future__ import annotations

from dataclasses import replace

import pytest

from poms.webservice.errors import Invalid
from poms.webservice.interfaces import JobState
from poms.webservice.services import job_archive, job_queries, jobs
from poms.webservice.services.job_queries import JobQuestion, find_jobs
from poms.webservice.testing.world import stage


@pytest.fixture
def campaign(world):
    return world.campaign_with(stage("gen"), stage("reco"))


def submission(world, campaign, name, sites=("North", "South"), **facts):
    """A submission with a job at each site."""
    world.batch.jobs_per_launch = len(sites)
    number = world.submission(campaign, name)
    with world.core.db.write() as session:
        jobs.write_jobs(session, [replace(record, site=site, **facts)
                                  for record, site in zip(world.batch.of(number), sites, strict=True)])
    return number


def told(world, experiment="samdev", **question):
    return [(row["submission_id"], row["site"]) for row in find_jobs(world.core, experiment,
                                                                     JobQuestion(**question))["jobs"]]


def test_jobs_of_a_stage_a_campaign_or_a_submission(world, campaign):
    """The newest submission comes first, and only what was asked for."""
    gen, reco = submission(world, campaign, "gen"), submission(world, campaign, "reco")
    other = submission(world, world.campaign_with(stage("gen")), "gen")

    assert told(world, submission_id=gen) == [(gen, "North"), (gen, "South")]
    assert told(world, stage_id=campaign.stage("reco")) == [(reco, "North"), (reco, "South")]
    assert {number for number, _ in told(world, campaign_id=campaign.campaign_id)} == {gen, reco}
    assert [number for number, _ in told(world, days=1)] == [other, other, reco, reco, gen, gen]


def test_at_one_site_and_in_one_state(world, campaign):
    """Site and state narrow the answer, whatever is in the site's name."""
    held = submission(world, campaign, "gen", ("it's \"x\" %", "South"), state=JobState.HELD, hold_code=34,
                      hold_reason="too much memory")
    submission(world, campaign, "gen", ("South",))

    assert told(world, days=1, site="it's \"x\" %") == [(held, "it's \"x\" %")]
    assert told(world, days=1, site="South", state="held") == [(held, "South")]


def test_a_job_says_what_is_known_of_it(world, campaign):
    """State in words, exit, hold, resources, and where it ran."""
    number = submission(world, campaign, "gen", ("North",), state=JobState.FAILED, exit_code=65, memory_used_mb=900)

    (row,) = find_jobs(world.core, "samdev", JobQuestion(submission_id=number))["jobs"]

    assert (row["state"], row["exit_code"], row["memory_used_mb"], row["stage"]) == ("Failed", 65, 900, "gen")


def test_all_pages_together_have_every_job_once(world, campaign, monkeypatch):
    """Pages go on by key, over the borders of submissions."""
    monkeypatch.setattr(job_queries, "PAGE", 2)
    numbers = [submission(world, campaign, "gen", ("A", "B", "C")) for _ in range(3)]
    seen, after = [], ""

    while True:
        page = find_jobs(world.core, "samdev", JobQuestion(campaign_id=campaign.campaign_id, after=after))
        assert len(page["jobs"]) <= 2
        seen += [(row["submission_id"], row["batch_id"]) for row in page["jobs"]]
        after = page["next"]
        if not after:
            break

    assert len(seen) == len(set(seen)) == 9
    assert [number for number, _ in seen] == [number for number in reversed(numbers) for _ in range(3)]


def test_old_submissions_are_left_out_by_days(world, campaign, clock):
    """Without a submission, stage or campaign it is the recent ones that are asked for."""
    submission(world, campaign, "gen")
    clock.advance(days=3)
    recent = submission(world, campaign, "gen")

    assert {number for number, _ in told(world, days=2)} == {recent}


@pytest.mark.parametrize(("question", "words"), [
    ({}, "give days"), ({"days": 0}, "more than 0"),
    ({"days": 1e9}, "at most"), ({"days": 1, "state": "x"}, "no state"),
    ({"days": 1, "after": "x"}, "page before"), ({"days": 1, "after": "-1/x"}, "page before"),
])
def test_questions_that_cannot_be_answered_say_why(world, question, words):
    """All jobs of an experiment are too many for one answer; what is wrong is named."""
    world.experiment()

    with pytest.raises(Invalid, match=words):
        find_jobs(world.core, "samdev", JobQuestion(**question))


def test_other_experiments_have_other_jobs(world, campaign):
    """Numbers of another experiment's campaign tell nothing of it."""
    number = submission(world, campaign, "gen")
    world.experiment("sbnd")

    assert told(world, "sbnd", submission_id=number) == []


def test_archived_submissions_are_named(world, campaign, clock):
    """Where single jobs are not kept any more, that is said instead of an empty answer."""
    number = submission(world, campaign, "gen")
    world.poll()
    world.batch.end(number, JobState.REMOVED)
    world.poll()
    clock.advance(days=181)
    job_archive.run(world.core)

    found = find_jobs(world.core, "samdev", JobQuestion(stage_id=campaign.stage("gen")))

    assert (found["jobs"], found["archived"]) == ([], [number])
