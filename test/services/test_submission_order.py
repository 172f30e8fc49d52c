"""Submissions in the order of a column: every one once, page by page, forwards and back, while others change."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import parse_qsl, urlsplit

import pytest
from sqlalchemy import insert, select

from poms.webservice.errors import Invalid
from poms.webservice.model import StageStatusCount, Submission, SubmissionFile
from poms.webservice.rules.statuses import Status
from poms.webservice.services import holds
from poms.webservice.services.pages import launches as launch_pages
from poms.webservice.services.pages import submission_order
from poms.webservice.services.pages import submissions as submission_pages
from poms.webservice.services.pages.submission_order import COLUMNS, Order
from poms.webservice.testing.world import stage

NUMBERS = {"before", "after"}


def url(name, **arguments):
    return f"{name}?" + "&".join(f"{key}={value}" for key, value in arguments.items())


def asked(address):
    return {key: int(value) if key in NUMBERS else value for key, value in parse_qsl(urlsplit(
        address.replace("+", "%2B")).query)}


def many(world, owner, count=130):
    """Submissions that differ in every column, with many equals among them."""
    campaign = world.campaign_with(stage("gen"), owner=owner)
    first = world.launch(campaign, "gen").submission_id
    with world.core.db.write() as session:
        row = session.get(Submission, first)
        base = {column.name: getattr(row, column.name) for column in Submission.__table__.columns}
        states = (Status.RUNNING, Status.COMPLETED, Status.LOCATED)
        session.execute(insert(Submission), [{
            **base, "submission_id": first + number, "jobs_expected": number % 7, "jobs_failed": number * 13 % 11,
            "files_consumed": None if number % 3 else number * 31 % 17, "files_located": number * 7 % 5,
            "status_id": int(states[number % 3]),
            "status_since": base["status_since"] + timedelta(seconds=number * 17 % 29)}
            for number in range(1, count)])
    return campaign


@pytest.fixture
def owner(world):
    return world.person("olive")


def pages(world, owner, sort):
    """All pages from the first to the last, and back again."""
    page = submission_pages.submission_list(world.core, owner, url, sort=sort)
    there = [page]
    while page["pager"]["older_url"]:
        page = submission_pages.submission_list(world.core, owner, url, **asked(page["pager"]["older_url"]))
        there.append(page)
    back = [page]
    while page["pager"]["newer_url"]:
        page = submission_pages.submission_list(world.core, owner, url, **asked(page["pager"]["newer_url"]))
        back.append(page)
    return there, back[::-1]


def ids(found):
    return [[row["id"] for row in page["submissions"]] for page in found]


@pytest.mark.parametrize("sort", [f"{sign}{name}" for name in COLUMNS for sign in ("", "-")])
def test_each_is_shown_once_in_the_order_of_the_column(world, owner, sort):
    """Whatever the column: the pages together are the whole list in order, the same on the way back."""
    many(world, owner)
    with world.core.db.read() as session:
        column = COLUMNS[sort.removeprefix("-")](Submission)
        by = (column, Submission.submission_id)
        whole = list(session.scalars(select(Submission.submission_id).order_by(
            *(each.desc() if sort.startswith("-") else each for each in by))))

    there, back = pages(world, owner, sort)

    assert [number for page in ids(there) for number in page] == whole
    assert ids(back) == ids(there)


def test_a_page_begins_where_its_address_says_though_the_row_moved(world, owner):
    """What stood at the end of a page got more failed jobs meanwhile: nothing else is left out."""
    many(world, owner)
    first = submission_pages.submission_list(world.core, owner, url, sort="-failed")
    moved = first["submissions"][-1]["id"]
    world.change(Submission, moved, jobs_failed=10_000)

    second = submission_pages.submission_list(world.core, owner, url, **asked(first["pager"]["older_url"]))

    with world.core.db.read() as session:
        rest = session.scalars(select(Submission.submission_id).where(Submission.submission_id.not_in(
            [row["id"] for row in first["submissions"]])).order_by(
                Submission.jobs_failed.desc(), Submission.submission_id.desc()).limit(submission_pages.PAGE)).all()
    assert ids([second]) == [list(rest)]


def test_a_filter_and_an_order_go_together(world, owner):
    """The state that was chosen, by failed jobs."""
    many(world, owner)

    page = submission_pages.submission_list(world.core, owner, url, sort="-failed", state="Located")

    failed = [row["failed"] for row in page["submissions"]]
    assert {row["state"] for row in page["submissions"]} == {"Located"}
    assert failed == sorted(failed, reverse=True)


def test_of_very_many_the_newest_are_put_in_order_and_it_is_said(world, owner, monkeypatch):
    """The cost is bounded; the list does not pretend to have looked at all of them."""
    campaign = many(world, owner)
    with world.core.db.write() as session:
        session.merge(StageStatusCount(campaign_stage_id=campaign.stage("gen"), status_id=int(Status.RUNNING),
                                       submissions=130))
    monkeypatch.setattr(submission_order, "MOST", 60)
    monkeypatch.setattr(submission_pages, "MOST", 60)

    there, _ = pages(world, owner, "-failed")

    shown = [number for page in ids(there) for number in page]
    assert sorted(shown) == list(range(71, 131))
    assert "in order among the newest 60 that fit" in there[0]["pager"]["text"]


@pytest.mark.parametrize("sort", ["changed", "failed"])
@pytest.mark.parametrize("at", ["x", "", "2026-01-01", "1e9", "'; --"])
def test_a_place_that_is_none_is_refused(world, owner, sort, at):
    """An address that somebody changed by hand is a bad request, nothing worse."""
    if (sort, at) == ("changed", "2026-01-01"):
        at = "2026-01-01T00:00"
    with pytest.raises(Invalid):
        submission_pages.submission_list(world.core, owner, url, sort=sort, before=3, at=at)


def test_an_order_that_is_none_is_newest_first(world, owner):
    """As everywhere: an unknown column does not break a bookmark."""
    assert Order.of("nonsense") == Order.of("") == Order.of("-submission") == Order()


# ---------------------------------------------------------------------------------------- other lists


def test_the_files_of_a_submission_sort_and_keep_their_state(world, owner):
    """By size, only those in the chosen state, on every page."""
    campaign = world.campaign_with(stage("gen"), owner=owner)
    number = world.launch(campaign, "gen").submission_id
    with world.core.db.write() as session:
        session.execute(insert(SubmissionFile), [{
            "submission_id": number, "direction": "in", "file_name": f"f{place:03}", "state": "consumed" if place % 5
            else "failed", "size_bytes": place * 37 % 211, "updated": world.core.clock()} for place in range(270)])

    files, place = [], {"state": "consumed", "sort": "-size"}
    while place:
        page = submission_pages.submission_page(world.core, owner, url, number, face="files", **place)
        files += page["files"]
        address = dict(parse_qsl(urlsplit(page["pager"]["older_url"]).query))
        place = {key: int(value) if key == "offset" else value for key, value in address.items()
                 if key in ("state", "sort", "offset")}

    sizes = [file["size_bytes"] for file in files]
    assert len({file["name"] for file in files}) == len(files) == 216
    assert sizes == sorted(sizes, reverse=True)
    assert {file["state"] for file in files} == {"consumed"}


def test_held_launches_sort_by_stage_and_by_how_long_they_wait(world, owner):
    """Oldest first unless asked otherwise; each column both ways, page by page."""
    campaign = world.campaign_with(stage("b"), stage("a"), owner=owner)
    holds.hold_campaign(world.core, owner, campaign.campaign_id, hold=True, reason="disk")
    for place in range(130):
        world.launch(campaign, "ab"[place % 2])

    def walk(sort):
        page = launch_pages.held_page(world.core, owner, url, sort=sort)
        found = list(page["held"])
        while page["pager"]["older_url"]:
            how = {key: int(value) if key in ("after", "offset") else value
                   for key, value in parse_qsl(urlsplit(page["pager"]["older_url"]).query)}
            page = launch_pages.held_page(world.core, owner, url, **how)
            found += page["held"]
        return [(row["stage"], row["id"]) for row in found]

    whole = walk("")
    assert len(whole) == len(set(whole)) == 130
    assert walk("waiting") == whole
    assert walk("-waiting") == whole[::-1]
    assert walk("stage") == sorted(whole)
    assert walk("-stage") == sorted(whole, reverse=True)
