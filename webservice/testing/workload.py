"""A workload for tests: jobs with one file each that succeed, fail or are held as the test says, launch after launch.

On the fakes of ``testing.world``. What jobs need and what each attempt asked for is counted, so that tests can say
what recoveries cost.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from poms.webservice.agent import upkeep
from poms.webservice.interfaces import JobState, LaunchPlan
from poms.webservice.rules.statuses import Status
from poms.webservice.testing.world import World

How = Callable[[str, int], Mapping[str, object]]


def asked_mb(plan: LaunchPlan) -> int:
    """What a launch asks for, as the batch system would read it: the last one counts."""
    return int(re.findall(r"submit\.memory=(\d+)MB", plan.command)[-1])


@dataclass
class Workload:
    """Jobs with one file each, that end as ``how(file, memory asked)`` says: a state and facts of the job's record."""

    world: World
    how: How
    version: str = "v1"
    asked: Counter[int] = field(default_factory=Counter)
    runs: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        begin = self.world.batch.project_of

        def one_job_a_file(plan: LaunchPlan) -> str:
            project = begin(plan)
            self.world.batch.jobs_per_launch = len(self.world.catalogue().projects()[project].states)
            return project

        self.world.batch.project_of = one_job_a_file

    def launch_all(self) -> None:
        """Start what is due; the jobs come into the queue."""
        self.world.work_on_launches()
        self.world.poll()

    def run(self, number: int) -> None:
        """Let all jobs of a submission end, each in its way; what is held is removed by the agent, later."""
        world, catalogue = self.world, self.world.catalogue()
        project = world.get(number).project
        plan = next(each.plan for each in world.batch.accepted if each.plan.submission_id == number)
        memory = asked_mb(plan)
        for job, name in zip(world.batch.of(number), list(catalogue.projects()[project].states), strict=True):
            self.asked[memory] += not name.endswith("_out.root")
            self.runs[name] += 1
            facts = dict(self.how(name, memory))
            state = facts.pop("state", JobState.COMPLETED)
            world.batch.change_job(job.batch_id, JobState.RUNNING, memory_asked_mb=memory)
            if state is JobState.COMPLETED:
                catalogue.deliver(project, name, "consumed", job.batch_id)
                catalogue.declare(f"{name.removesuffix('.root')}_out.root", version=self.version, parents=[name])
            else:
                catalogue.deliver(project, name, "transferred", job.batch_id)
            world.batch.change_job(job.batch_id, state, memory_asked_mb=memory, **facts)
        world.poll()
        self.world.core.clock.advance(hours=2)
        upkeep.run(world.core, "samdev")
        world.poll()

    def until_done(self, rounds: int = 12) -> None:
        """Agents at work until nothing is launched any more."""
        for _ in range(rounds):
            self.launch_all()
            live = [each.submission_id for each in self.world.submissions()
                    if each.status_id in (Status.IDLE, Status.RUNNING, Status.HELD)]
            for number in live:
                self.run(number)
            self.world.wrap_up()
            if not live and not self.world.launches(state="owed"):
                return
        raise AssertionError("recoveries never come to an end")


def needs(memory_of: Mapping[str, int]) -> How:
    """Jobs that are held for memory unless they asked for enough."""
    def how(name: str, asked: int) -> Mapping[str, object]:
        if asked >= memory_of.get(name, 0):
            return {}
        return {"state": JobState.HELD, "hold_code": 34, "hold_reason": f"used more than {asked} MB"}

    return how


def exits(codes: Mapping[str, int], *, site: str = "") -> How:
    """Jobs that fail with an exit code each time."""
    def how(name: str, asked: int) -> Mapping[str, object]:
        code = codes.get(name)
        return {} if code is None else {"state": JobState.FAILED, "exit_code": code, "site": site}

    return how
