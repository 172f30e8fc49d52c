"""After a submit has ended, a schedd lets the jobs go some time later: they are waited for, and no wreck."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from poms.plugins.htcondor import ads, reading
from poms.plugins.htcondor.options import Options
from poms.plugins.htcondor.reading import InputOnItsWay, PoolReader
from poms.webservice.interfaces import FoundCluster, TransportResult

PRINTED = TransportResult(0, "Use job id 4.0@here to retrieve output\n")
SILENT = TransportResult(1, "")


class Schedd:
    """A cluster whose jobs are let go at the look ``let_go_at``, or in the moment in which they would be removed."""

    def __init__(self, let_go_at=None, *, let_go_when_removed=False):
        self.looks, self.let_go_at, self.let_go_when_removed = 0, let_go_at, let_go_when_removed
        self.row = {"ClusterId": 4, "ProcId": 0, ads.SUBMISSION: 7, ads.ATTEMPT: 1, "TotalSubmitProcs": 1,
                    "JobStatus": 5, "HoldReasonCode": 16, "QDate": 100, "ServerTime": 101, "JobsubCmd": "job.sh",
                    "Cmd": "simple.sh"}
        self.removed = []

    def query(self, schedd, constraint, attributes, *, limit=-1):
        self.looks += 1
        if self.looks == self.let_go_at:
            self.let_go()
        return [dict(self.row)]

    def history(self, schedd, constraint, attributes, *, limit=-1, since=None):
        return []

    def let_go(self):
        self.row = {**self.row, "JobStatus": 1, "StageInFinish": 102}
        del self.row["HoldReasonCode"]

    def remove(self, schedd, clusters):
        """What a back end asks of it, with the condition that the jobs still wait."""
        self.removed.append(clusters)
        if self.let_go_when_removed:
            self.let_go()
        elif ads.is_waiting_for_input(self.row):
            self.row = {**self.row, "JobStatus": 3, "RemoveReason": ads.NOT_ARRIVED}


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(reading, "LETTING_GO_LOOK_SECONDS", 0.0)


def find(schedd, result):
    reader = PoolReader(Options(schedds=("here",)), lambda: datetime.now(UTC), schedd)
    return reader.find_launched(7, result, schedd.remove)


def test_jobs_whose_id_was_printed_are_waited_for():
    """jobsub_submit ends when the schedd has the input; the schedd lets the jobs go a second later."""
    schedd = Schedd(let_go_at=3)

    assert find(schedd, PRINTED) == [FoundCluster("4@here", 1, 1, command="job.sh")]
    assert schedd.removed == []


def test_jobs_whose_id_was_printed_are_doubt_when_they_wait_for_long(monkeypatch):
    """The schedd may have been restarted; whoever looks later decides."""
    monkeypatch.setattr(reading, "LETTING_GO_SECONDS", 0.0)
    schedd = Schedd()

    with pytest.raises(InputOnItsWay):
        find(schedd, PRINTED)
    assert schedd.removed == []


def test_what_a_broken_submit_left_is_removed():
    """No id was printed, and the input never came: nothing of it is counted."""
    schedd = Schedd()

    assert find(schedd, SILENT) == []
    assert schedd.removed == [[4]]


def test_jobs_that_are_let_go_while_they_are_taken_for_a_wreck_stay():
    """The schedd removes only those that still wait, and is asked once more."""
    schedd = Schedd(let_go_when_removed=True)

    assert [cluster.batch_id for cluster in find(schedd, SILENT)] == ["4@here"]
