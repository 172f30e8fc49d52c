"""Finished jobs that wait in the queue: looked for after each count that found some, and whenever nobody counted."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from poms.plugins.htcondor import ads
from poms.plugins.htcondor.options import Options
from poms.plugins.htcondor.reading import PoolReader


class Schedd:
    """One job; remembers how often finished jobs were looked for."""

    def __init__(self):
        self.status, self.searches = 2, 0

    def group(self, schedd, constraint, attributes):
        return [{ads.SUBMISSION: 7, "JobStatus": self.status, "JobUniverse": 5, "JobCount": 1}]

    def query(self, schedd, constraint, attributes, *, limit=-1):
        self.searches += "ExitCode" not in attributes
        return [{"ClusterId": 4, "ProcId": 0, ads.SUBMISSION: 7, "JobStatus": 4, "JobUniverse": 5, "ExitCode": 0,
                 "EnteredCurrentStatus": 100, "ServerTime": 101}] if self.status == 4 else []

    def history(self, schedd, constraint, attributes, *, limit=-1, since=None):
        return []


@pytest.fixture
def schedd():
    return Schedd()


@pytest.fixture
def reader(schedd):
    return PoolReader(Options(schedds=("here",)), lambda: datetime.now(UTC), schedd)


def test_none_are_looked_for_where_a_count_found_none(schedd, reader):
    """To find none among very many jobs takes a schedd as long as to count them all."""
    reader.snapshot()

    assert reader.departed("").records == ()
    assert schedd.searches == 0


def test_one_that_finished_after_the_count_is_told_by_the_next(schedd, reader):
    """It waits in the queue until then: late by one look, never lost."""
    reader.snapshot()
    schedd.status = 4
    first = reader.departed("")
    reader.snapshot()
    second = reader.departed(first.cursor)

    assert first.records == ()
    assert [record.batch_id for record in second.records] == ["4.0@here"]


def test_one_that_was_told_is_not_told_again(schedd, reader):
    """As long as it waits."""
    schedd.status = 4
    reader.snapshot()
    first = reader.departed("")
    reader.snapshot()

    assert len(first.records) == 1
    assert reader.departed(first.cursor).records == ()


def test_a_count_is_good_for_one_look(schedd, reader):
    """Whoever asks again without counting has the queue searched."""
    reader.snapshot()
    reader.departed("")
    schedd.status = 4

    assert len(reader.departed("").records) == 1


def test_a_later_count_takes_an_earlier_ones_place(schedd, reader):
    """A poll that broke off after its count leaves no wrong belief behind."""
    reader.snapshot()
    schedd.status = 4
    reader.snapshot()

    assert len(reader.departed("").records) == 1
