"""A submit whose jobs were given up while it still waited for the schedd to let them go is made again."""

from __future__ import annotations

import pytest

from poms.plugins.htcondor import ads, submission
from poms.plugins.htcondor.options import Options
from poms.webservice.errors import BackendUnavailable


class Schedd:
    """Answers for one cluster: its jobs in the queue, and those that left."""

    def __init__(self, queue=(), left=()):
        self.in_queue, self.left, self.did = list(queue), list(left), []

    def query(self, schedd, constraint, attributes, *, limit=-1):
        if "HoldReasonCode" in constraint:
            return [row for row in self.in_queue if ads.is_waiting_for_input(row)]
        return [row for row in self.in_queue if "JobStatus != 3" not in constraint or row["JobStatus"] != 3]

    def history(self, schedd, constraint, attributes, *, limit=-1, since=None):
        return self.left

    def edit(self, schedd, constraint, attribute, value):
        self.did.append("edit")

    def act(self, schedd, action, constraint, reason):
        self.did.append(action)
        for row in self.in_queue:
            row.update(JobStatus=1)


WAITING = {"JobStatus": 5, "HoldReasonCode": 16}
GIVEN_UP = {"JobStatus": 3, "RemoveReason": ads.NOT_ARRIVED}


@pytest.mark.parametrize("schedd", [Schedd(left=[GIVEN_UP]), Schedd(queue=[GIVEN_UP])], ids=["gone", "going"])
def test_jobs_that_were_given_up_are_no_success(schedd):
    """Whoever looked for the launch meanwhile saw no input arrive and removed them: nothing of it ran."""
    with pytest.raises(BackendUnavailable, match="cluster 4 at schedd here were removed"):
        submission._await_spooled(schedd, Options(timeout_seconds=5), "here", 4)


@pytest.mark.parametrize("schedd", [
    Schedd(queue=[{"JobStatus": 2}]), Schedd(left=[{"JobStatus": 4, "StageInFinish": 1}]),
    Schedd(left=[{"JobStatus": 3, "StageInFinish": 1, "RemoveReason": "via condor_rm"}]), Schedd()],
    ids=["running", "ended", "removed by somebody", "history is gone"])
def test_jobs_that_were_let_go_are_a_success_whatever_became_of_them(schedd):
    """Quick jobs have ended already, and people may remove what they like."""
    submission._await_spooled(schedd, Options(timeout_seconds=5), "here", 4)

    assert schedd.did == []


def test_jobs_that_a_schedd_forgot_to_let_go_are_released():
    """It was restarted while it let them go; their input is there."""
    schedd = Schedd(queue=[dict(WAITING)])

    submission._await_spooled(schedd, Options(timeout_seconds=0), "here", 4)

    assert schedd.did == ["edit", "release"]
