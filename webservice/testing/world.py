"""Builders that speak the domain: experiments, people, campaigns with stages; and the agents' steps, one at a time.

Everything goes through the services where there is one; rows are written directly only for what has to
exist before the first launch.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, select

from poms.webservice.agent import poll as polling
from poms.webservice.interfaces import JobState
from poms.webservice.model import (
    Campaign,
    CampaignDependency,
    CampaignStage,
    Event,
    Experiment,
    Experimenter,
    JobType,
    Launch,
    LoginSetup,
    Membership,
    Recovery,
    StageStatusCount,
    Submission,
    SubmissionHistory,
)
from poms.webservice.rules.permissions import PRODUCTION, Actor
from poms.webservice.rules.statuses import Status
from poms.webservice.services import launches, launching, tasks, wrapup
from poms.webservice.services.core import Core
from poms.webservice.services.launch_requests import LaunchRequest, Outcome
from poms.webservice.testing.batch import FakeBatch
from poms.webservice.testing.catalogue import FakeCatalogue
from poms.webservice.testing.fakes import Fakes

SCRIPT = "fife_launch -c %(experiment)s.cfg -Oglobal.dataset=%(dataset)s"
Pairs = Sequence[Sequence[str]]


@dataclass(frozen=True)
class StageSpec:
    """How a stage of a campaign is to be; see ``stage``."""

    name: str
    after: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, Any] = field(default_factory=dict)
    script: str = SCRIPT
    parameters: Pairs = ()
    patterns: str = "%"
    recoveries: Sequence[tuple[str, Pairs]] = ()
    host: str = "localhost"
    setup: str = ""


def stage(name: str, *, dataset: str = "None", split: str | None = None, after: Mapping[str, str] | str = "",
          completion: str = "located", pct: float = 95, script: str = SCRIPT, parameters: Pairs = (),
          patterns: str = "%", recoveries: Sequence[tuple[str, Pairs]] = (), host: str = "localhost",
          setup: str = "", **columns: Any) -> StageSpec:
    """A stage for ``campaign_with``; ``after`` is a provider's name, or providers with their file patterns."""
    providers = {after: "%"} if isinstance(after, str) and after else dict(after or {})
    columns = {"dataset": dataset, "cs_split_type": split, "completion_type": completion, "completion_pct": pct,
               **columns}
    return StageSpec(name, providers, columns, script, parameters, patterns, recoveries, host, setup)


@dataclass(frozen=True)
class CampaignMade:
    """A campaign that was built, and the numbers of its stages by name."""

    campaign_id: int
    name: str
    experiment: str
    stages: Mapping[str, int]
    owner: Actor

    def stage(self, name: str) -> int:
        return self.stages[name]


class World:
    """A service with its database and its fakes; the tests' way to say what there is and what happens."""

    def __init__(self, core: Core, fakes: Fakes | None = None) -> None:
        self.core = core
        self._fakes = fakes
        self._numbers = itertools.count(1)

    @property
    def fakes(self) -> Fakes:
        if self._fakes is None:
            raise LookupError("this world has no fakes: it runs on real back ends")
        return self._fakes

    @property
    def batch(self) -> FakeBatch:
        return self.fakes.batch

    def catalogue(self, experiment: str = "samdev") -> FakeCatalogue:
        return self.fakes.catalogue(experiment)

    # ------------------------------------------------------------------------------- what there is

    def experiment(self, name: str = "samdev", **columns: Any) -> str:
        """An experiment; nothing if it exists."""
        with self.core.db.write() as session:
            if session.get(Experiment, name) is None:
                session.add(Experiment(experiment=name, name=columns.pop("title", name), **columns))
        return name

    def person(self, username: str = "", role: str = PRODUCTION, experiment: str = "samdev", *,
               root: bool = False) -> Actor:
        """Somebody who acts in the role held."""
        username = username or f"person{next(self._numbers)}"
        self.experiment(experiment)
        with self.core.db.write() as session:
            who = session.scalar(select(Experimenter).where(Experimenter.username == username))
            if who is None:
                who = Experimenter(username=username, root=root)
                session.add(who)
                session.flush()
            if session.get(Membership, (who.experimenter_id, experiment)) is None:
                session.add(Membership(experimenter_id=who.experimenter_id, experiment=experiment, role=role))
            return Actor(who.experimenter_id, username, experiment, role, root)

    def campaign_with(self, *stages: StageSpec, name: str = "", owner: Actor | None = None,
                      experiment: str = "samdev", **columns: Any) -> CampaignMade:
        """A campaign with these stages, each with a job type and a login setup of its own."""
        owner = owner or self.person(f"{experiment}owner", experiment=experiment)
        name = name or f"campaign{next(self._numbers)}"
        now = self.core.clock()
        made_by = {"creator": owner.experimenter_id, "creator_role": owner.creator_role, "created": now}
        with self.core.db.write() as session:
            campaign = Campaign(experiment=experiment, name=name, last_activity_at=now, **made_by, **columns)
            session.add(campaign)
            session.flush()
            rows: dict[str, CampaignStage] = {}
            for position, spec in enumerate(stages):
                job_type = JobType(experiment=experiment, name=f"{name}_{spec.name}_job", launch_script=spec.script,
                                   definition_parameters=[list(pair) for pair in spec.parameters],
                                   output_file_patterns=spec.patterns, **made_by)
                job_type.recoveries = [
                    Recovery(recovery_order=order, recovery_type=kind, param_overrides=[list(pair) for pair in pairs])
                    for order, (kind, pairs) in enumerate(spec.recoveries)]
                setup = LoginSetup(experiment=experiment, name=f"{name}_{spec.name}_setup", launch_host=spec.host,
                                   launch_account=f"{experiment}pro", launch_setup=spec.setup, **made_by)
                defaults = {"vo_role": "Production" if owner.creator_role == PRODUCTION else "Analysis",
                            "software_version": "v1", "param_overrides": [], "test_param_overrides": []}
                rows[spec.name] = CampaignStage(
                    campaign=campaign, experiment=experiment, name=spec.name, position=position, job_type=job_type,
                    login_setup=setup, **{**defaults, **made_by, **spec.columns})
                session.add(rows[spec.name])
            session.flush()
            for spec in stages:
                for provider, pattern in spec.after.items():
                    session.add(CampaignDependency(
                        provider_campaign_stage_id=rows[provider].campaign_stage_id, file_patterns=pattern,
                        consumer_campaign_stage_id=rows[spec.name].campaign_stage_id))
            return CampaignMade(campaign.campaign_id, name, experiment,
                                {key: row.campaign_stage_id for key, row in rows.items()}, owner)

    def change(self, model: type, key: Any, **columns: Any) -> None:
        """Set columns of a row, as a form would have done before."""
        with self.core.db.write() as session:
            row = session.get_one(model, key)
            for name, value in columns.items():
                setattr(row, name, value)

    # -------------------------------------------------------------------------------- what happens

    def launch(self, campaign: CampaignMade, stage_name: str, *, key: str = "", actor: Actor | None = None,
               **request: Any) -> Outcome:
        """Ask for the launch of a stage."""
        wanted = LaunchRequest(campaign.stage(stage_name), key or f"key{next(self._numbers)}", **request)
        return launching.launch(self.core, actor or campaign.owner, wanted)

    def submission(self, campaign: CampaignMade, stage_name: str, **request: Any) -> int:
        """A submission whose jobs are in the batch system; the number of it."""
        outcome = self.launch(campaign, stage_name, **request)
        if outcome.submission_id is None:
            raise AssertionError(f"the launch is {outcome.state}: {outcome.message}")
        self.work_on_launches()
        return outcome.submission_id

    def work_on_launches(self, owner: str = "agent one") -> list[str]:
        """Claim and work on what is due until nothing is; the states it came to."""
        states: list[str] = []
        while claimed := launches.claim(self.core, owner, 10):
            states += [launches.work_on(self.core, each) for each in claimed]
        return states

    def poll(self, owner: str = "agent one") -> str:
        """One polling cycle of every pool, under the lease of an agent."""
        said = []
        with self.core.db.read() as session:
            experiments = list(session.scalars(select(Experiment.experiment).order_by(Experiment.experiment)))
        for pool, members in polling.pools(self.core, experiments).items():
            lease = tasks.take(self.core, f"poll:{pool}", owner, 60)
            if lease is None:
                continue
            try:
                said.append(polling.poll(self.core, lease, members))
            finally:
                tasks.finish(self.core, lease, next_at=self.core.clock())
        return "; ".join(said)

    def wrap_up(self, experiment: str = "samdev") -> str:
        return wrapup.run(self.core, experiment)

    def finish(self, submission_id: int, *, state: JobState = JobState.COMPLETED, files: int | None = None,
               process: bool = True) -> None:
        """Let the jobs of a submission process their files and end; then see it."""
        project = self.get(submission_id).project
        if project and process:
            self.catalogue(self.get(submission_id).experiment).process(project, files)
        self.batch.end(submission_id, state)
        self.poll()

    # --------------------------------------------------------------------------------- what is seen

    def get(self, submission_id: int) -> Submission:
        with self.core.db.read() as session:
            return session.get_one(Submission, submission_id)

    def status(self, submission_id: int) -> Status:
        return Status(self.get(submission_id).status_id)

    def history(self, submission_id: int) -> list[SubmissionHistory]:
        with self.core.db.read() as session:
            return list(session.scalars(
                select(SubmissionHistory).where(SubmissionHistory.submission_id == submission_id)
                .order_by(SubmissionHistory.submission_history_id)))

    def stage_row(self, campaign: CampaignMade, name: str) -> CampaignStage:
        with self.core.db.read() as session:
            return session.get_one(CampaignStage, campaign.stage(name))

    def launches(self, **filters: Any) -> list[Launch]:
        """Launch rows in order, e.g. ``launches(state="owed")``."""
        with self.core.db.read() as session:
            return list(session.scalars(select(Launch).filter_by(**filters).order_by(Launch.launch_id)))

    def submissions(self, **filters: Any) -> list[Submission]:
        with self.core.db.read() as session:
            return list(session.scalars(select(Submission).filter_by(**filters).order_by(Submission.submission_id)))

    def events(self, kind: str = "") -> list[Event]:
        with self.core.db.read() as session:
            found = select(Event).order_by(Event.event_id)
            return list(session.scalars(found.where(Event.kind == kind) if kind else found))

    def status_counts(self, stage_id: int) -> dict[Status, int]:
        """The sums stored on a stage, without the zeros."""
        with self.core.db.read() as session:
            rows = session.scalars(select(StageStatusCount).where(StageStatusCount.campaign_stage_id == stage_id))
            return {Status(row.status_id): row.submissions for row in rows if row.submissions}

    def counted_statuses(self, stage_id: int) -> dict[Status, int]:
        """The same, counted afresh."""
        with self.core.db.read() as session:
            rows = session.execute(select(Submission.status_id, func.count())
                                   .where(Submission.campaign_stage_id == stage_id).group_by(Submission.status_id))
            return {Status(number): count for number, count in rows}

    def sums_differ(self) -> list[str]:
        """Every sum on a stage that is not what a recount gives; empty if all is well."""
        columns = [*wrapup.submissions.COUNTED, "files_consumed", "files_generated"]
        wrong = []
        with self.core.db.read() as session:
            for row in session.scalars(select(CampaignStage)):
                sums = session.execute(
                    select(*(func.coalesce(func.sum(getattr(Submission, name)), 0) for name in columns))
                    .where(Submission.campaign_stage_id == row.campaign_stage_id)).one()
                wrong += [f"{row.name}.{name} is {getattr(row, name)}, counted {total}"
                          for name, total in zip(columns, sums, strict=True) if getattr(row, name) != total]
                stored, counted = (read(row.campaign_stage_id) for read in (self.status_counts, self.counted_statuses))
                if stored != counted:
                    wrong.append(f"{row.name}: statuses are {stored}, counted {counted}")
        return wrong
