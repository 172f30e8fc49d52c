"""Made-up records of a service that has run for a year: every sum agrees with what it sums up.

The same seed gives the same data. Times end at ``NOW`` given; nothing here is meant to be launched.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any

from sqlalchemy import Engine

from poms.webservice.interfaces import JobState
from poms.webservice.model import (
    AgentTask,
    Campaign,
    CampaignDependency,
    CampaignStage,
    CampaignTag,
    CampaignVersion,
    Event,
    Experiment,
    Experimenter,
    Job,
    JobType,
    Launch,
    LoginSetup,
    LoginSetupTest,
    Membership,
    Recovery,
    Snapshot,
    StageStatusCount,
    Submission,
    SubmissionFile,
    SubmissionHistory,
    Tag,
)
from poms.webservice.rules.statuses import Status
from poms.webservice.testing.bench.bulk import Loader, Row, loading
from poms.webservice.testing.bench.shape import FULL, STAGES, Landmarks, Scale

BUSY, QUIET = "sbnd", "dune"
USER, ROLE = "bench", "production"
PEOPLE = 20
YEAR = timedelta(days=365)
RECENT = timedelta(days=10)
BIGGEST_EVERY = YEAR / FULL.biggest_stage
SITES = tuple(f"Site_{number:02d}" for number in range(20))
COUNTS = ("idle", "running", "held", "completed", "failed", "removed")
STATES = {"idle": JobState.IDLE, "running": JobState.RUNNING, "held": JobState.HELD,
          "completed": JobState.COMPLETED, "failed": JobState.FAILED, "removed": JobState.REMOVED}
HOLD_REASON = "Error from slot1@node: memory usage exceeded request_memory"
VERSIONS = 60
LEDGER_FILES = 400
HELD_LAUNCHES = 60
WALL_SECONDS = 3600.0

_OLD = ((Status.LOCATED, 93), (Status.FAILED, 3), (Status.REMOVED, 2), (Status.CANCELLED, 2))
_NEWEST = ((Status.RUNNING, 45), (Status.IDLE, 12), (Status.HELD, 5), (Status.NEW, 2), (Status.LOCATED, 22),
           (Status.COMPLETED, 5), (Status.FAILED, 5), (Status.LAUNCH_FAILED, 4))
_WAYS = {
    Status.NEW: (), Status.LAUNCH_FAILED: (), Status.IDLE: (),
    Status.RUNNING: (Status.IDLE,), Status.HELD: (Status.IDLE, Status.RUNNING),
    Status.FAILED: (Status.IDLE, Status.HELD, Status.RUNNING),
    Status.COMPLETED: (Status.IDLE, Status.HELD, Status.RUNNING),
    Status.REMOVED: (Status.IDLE, Status.RUNNING, Status.HELD),
    Status.CANCELLED: (Status.IDLE, Status.RUNNING, Status.HELD),
    Status.LOCATED: (Status.IDLE, Status.RUNNING, Status.COMPLETED),
}
_HAS_LIVE_JOBS = (Status.RUNNING, Status.IDLE, Status.HELD)


@dataclass(slots=True)
class _Submission:
    number: int
    stage: int
    status: Status
    created: datetime
    counts: dict[str, int] = field(default_factory=dict)
    files: int = 0

    @property
    def jobs(self) -> int:
        return sum(self.counts.values())

    @property
    def since(self) -> datetime:
        return self.created + timedelta(hours=len(_WAYS[self.status]))


def make(engine: Engine, scale: Scale, *, now: datetime, seed: int = 1) -> Landmarks:
    """Fill empty tables (the vocabulary of statuses is there already) with data of this scale."""
    maker = _Maker(scale, now, random.Random(seed))
    with loading(engine) as loader:
        maker.load(loader)
    return maker.landmarks()


class _Maker:
    def __init__(self, scale: Scale, now: datetime, chance: random.Random) -> None:
        self.scale, self.now, self.chance = scale, now, chance
        self.submissions = self._plan_submissions()
        self.newest: dict[int, _Submission] = {}
        self._choose_statuses()
        self._choose_jobs()

    # ------------------------------------------------------------------------------- what there is

    def experiment_of(self, campaign: int) -> str:
        """Nine of ten campaigns belong to one experiment."""
        return QUIET if campaign % 10 == 0 else BUSY

    def campaign_of(self, stage: int) -> int:
        return (stage - 1) // len(STAGES) + 1

    def is_active(self, campaign: int) -> bool:
        return campaign <= self.scale.active_campaigns

    def _plan_submissions(self) -> list[_Submission]:
        """Stage 1 has many submissions, every other one about as many as the next, all over a year.

        Those of stage 1 follow each other as quickly however few there are: a window of some days then holds the same.
        """
        others = [2 + number % (self.scale.stages - 1) for number in
                  range(self.scale.submissions - self.scale.biggest_stage)]
        self.chance.shuffle(others)
        step = YEAR / max(1, len(others))
        return [*(_Submission(0, stage, Status.LOCATED, self.now - step * number)
                  for number, stage in enumerate(others, 1)),
                *(_Submission(0, 1, Status.LOCATED, self.now - BIGGEST_EVERY * number)
                  for number in range(self.scale.biggest_stage))]

    def _choose_statuses(self) -> None:
        newest = {item.stage: item for item in sorted(self.submissions, key=attrgetter("created"))}
        for stage, item in newest.items():
            if self.is_active(self.campaign_of(stage)):
                # What is active was launched lately, however few submissions there are.
                item.created = max(item.created, self.now - self.chance.random() * RECENT)
        # Numbers are given in the order of time.
        self.submissions.sort(key=attrgetter("created"))
        self.newest = {item.stage: item for item in self.submissions}
        for number, item in enumerate(self.submissions, 1):
            item.number = number
            is_newest = self.newest[item.stage] is item and self.is_active(self.campaign_of(item.stage))
            choices = _NEWEST if is_newest else _OLD
            item.status = self.chance.choices([status for status, _ in choices], [share for _, share in choices])[0]
        self.newest[1].status = Status.RUNNING

    def _choose_jobs(self) -> None:
        biggest = self.newest[1]
        live = [item for item in self.submissions if item.status in _HAS_LIVE_JOBS and item is not biggest]
        ended = [item for item in self.submissions
                 if item.status not in (*_HAS_LIVE_JOBS, Status.NEW, Status.LAUNCH_FAILED)]
        self._give_jobs(biggest, self.scale.biggest_submission)
        each = max(1, (self.scale.live_jobs - biggest.jobs) // max(1, len(live)))
        for item in live:
            self._give_jobs(item, each)
        left = self.scale.jobs - sum(item.jobs for item in (biggest, *live))
        for number, item in enumerate(ended):
            self._give_jobs(item, left * (number + 1) // len(ended) - left * number // len(ended))
        for item in ended:
            item.files = item.counts["completed"] if item.status is Status.LOCATED else 0

    def _give_jobs(self, item: _Submission, jobs: int) -> None:
        counts = item.counts = dict.fromkeys(COUNTS, 0)
        if item.status is Status.IDLE:
            counts["idle"] = jobs
        elif item.status in _HAS_LIVE_JOBS:
            counts["held"] = max(1, jobs // 20) if item.status is Status.HELD else 0
            counts["completed"] = jobs // 10
            counts["running"] = max(1, (jobs - counts["held"] - counts["completed"]) // 2)
            counts["idle"] = max(0, jobs - sum(counts.values()))
        else:
            bad = {Status.FAILED: "failed", Status.REMOVED: "removed", Status.CANCELLED: "removed"}.get(item.status)
            counts[bad or "completed"] = jobs if bad else jobs - jobs // 20
            counts["failed"] += 0 if bad else jobs // 20

    # --------------------------------------------------------------------------------- its records

    def load(self, loader: Loader) -> None:
        self._load_people(loader)
        self._load_campaigns(loader)
        self._load_submissions(loader)
        loader.load(Event, ("event_id", "at", "kind", "actor", "experiment", "campaign_id", "campaign_stage_id",
                            "submission_id", "data"), self._events())
        loader.load(Job, ("submission_id", "batch_id", "state", "since", "site", "node", "exit_code", "hold_code",
                          "hold_reason", "cpu_seconds", "wall_seconds", "memory_used_mb", "memory_asked_mb", "attempts",
                          "started_at", "ended_at"), self._jobs())
        loader.load(Launch, ("launch_id", "key", "kind", "state", "experiment", "campaign_id", "campaign_stage_id",
                             "submission_id", "launcher", "request", "hold_reason", "not_before", "lease_epoch",
                             "attempt", "failures", "plan", "log_name", "exit_status", "created"), self._launches())
        loader.load(SubmissionFile, ("submission_id", "direction", "file_name", "state", "size_bytes", "parents", "job",
                                     "updated"), self._files())
        loader.load(AgentTask, ("name", "lease_epoch", "cursor", "started_at", "succeeded_at", "message"),
                    [(f"{task}:{experiment}", 1, "", self.now, self.now, "done") for experiment in (BUSY, QUIET)
                     for task in ("poll", "wrapup", "upkeep")])

    def _load_people(self, loader: Loader) -> None:
        loader.load(Experiment, ("experiment", "name", "restricted", "active"),
                    [(name, name.upper(), False, True) for name in (BUSY, QUIET)])
        loader.load(Experimenter, ("experimenter_id", "username", "first_name", "last_name", "session_experiment",
                                   "session_role", "root"),
                    [(1, USER, "Bench", "Mark", BUSY, ROLE, False)]
                    + [(number, f"person{number}", "Person", str(number), BUSY, "analysis", False)
                       for number in range(2, PEOPLE + 1)])
        loader.load(Membership, ("experimenter_id", "experiment", "active", "role"),
                    [(number, experiment, True, "superuser" if number == 1 else "production")
                     for number in range(1, PEOPLE + 1) for experiment in (BUSY, QUIET)])

    def _load_campaigns(self, loader: Loader) -> None:
        made = (1, ROLE, self.now - YEAR)
        made_columns = ("creator", "creator_role", "created")
        numbers = range(1, self.scale.campaigns + 1)
        # Changed in turns, so that one page of the list has campaigns of every kind.
        loader.load(Campaign, ("campaign_id", "experiment", "name", "active", "defaults", "campaign_keywords",
                               "data_handling_service", *made_columns, "version_number", "last_activity_at"),
                    ((number, self.experiment_of(number), f"prod_{number:05d}_mc", self.is_active(number),
                      {"param_overrides": []}, {"tune": "v1"}, "sam", 1 + number % PEOPLE, *made[1:],
                      VERSIONS if number == 1 else 1, self.now - timedelta(minutes=number)) for number in numbers))
        loader.load(CampaignVersion, ("campaign_id", "number", "text", "source", "message", "creator", "created"),
                    ((number, version, campaign_text(f"prod_{number:05d}_mc", self.experiment_of(number), version),
                      "web", "made up", 1, made[2] + timedelta(hours=version)) for number in numbers
                     for version in range(1, (VERSIONS if number == 1 else 1) + 1)))
        loader.load(Tag, ("tag_id", "experiment", "tag_name", "creator", "creator_role"),
                    [(number, BUSY, f"tag{number}", 1, ROLE) for number in range(1, 11)])
        loader.load(CampaignTag, ("tag_id", "campaign_id"),
                    ((1 + number % 10, number) for number in numbers if self.experiment_of(number) == BUSY))
        for number, experiment in enumerate((BUSY, QUIET), 1):
            loader.load(LoginSetup, ("login_setup_id", "experiment", "name", "launch_host", "launch_account",
                                     "launch_setup", *made_columns),
                        [(number, experiment, "grid", "localhost", "", "", *made)])
            loader.load(LoginSetupTest, ("login_setup_test_id", "login_setup_id", "experiment", "key", "tester",
                                         "plan", "state", "message", "exit_status", "created", "ended_at"),
                        [(number, number, experiment, f"test{number}", 1, {"host": "localhost", "account": ""},
                          "passed", "Login and setup work.", 0, self.now, self.now)])
            loader.load(JobType, ("job_type_id", "experiment", "name", "launch_script", "definition_parameters",
                                  "output_file_patterns", *made_columns),
                        [(number, experiment, "lar", "fife_launch -c lar.cfg", [["-Osubmit.N=", "10"]], "%.root",
                          *made)])
            loader.load(Recovery, ("job_type_id", "recovery_order", "recovery_type", "param_overrides"),
                        [(number, 0, "consumed_status", [])])
        loader.load(Snapshot, ("snapshot_id", "kind", "content", "created"), self._snapshots())
        self._load_stages(loader, made, made_columns)

    def _load_stages(self, loader: Loader, made: Row, made_columns: Sequence[str]) -> None:
        sums: dict[int, dict[str, int]] = defaultdict(lambda: dict.fromkeys((*COUNTS, "files"), 0))
        statuses: dict[tuple[int, int], int] = defaultdict(int)
        for item in self.submissions:
            statuses[item.stage, int(item.status)] += 1
            for name, count in item.counts.items():
                sums[item.stage][name] += count
            sums[item.stage]["files"] += item.files
        loader.load(CampaignStage, (
            "campaign_stage_id", "campaign_id", "experiment", "name", "position", "job_type_id", "login_setup_id",
            "vo_role", "dataset", "software_version", "param_overrides", "test_param_overrides", "completion_type",
            "completion_pct", *made_columns, "last_submission_id", *(f"jobs_{name}" for name in COUNTS),
            "files_consumed", "files_generated"), (
            (number, self.campaign_of(number), experiment, STAGES[(number - 1) % len(STAGES)],
             (number - 1) % len(STAGES), 1 if experiment == BUSY else 2, 1 if experiment == BUSY else 2, "Production",
             "None", "v1", [], [], "located", 95.0, *made,
             self.newest[number].number if number in self.newest else None,
             *(sums[number][name] for name in COUNTS), sums[number]["files"], sums[number]["files"])
            for number in range(1, self.scale.stages + 1)
            for experiment in [self.experiment_of(self.campaign_of(number))]))
        loader.load(CampaignDependency, ("provider_campaign_stage_id", "consumer_campaign_stage_id", "file_patterns"), (
            (number, number + 1, "%.root") for number in range(1, self.scale.stages) if number % len(STAGES)))
        loader.load(StageStatusCount, ("campaign_stage_id", "status_id", "submissions"),
                    ((stage, status, count) for (stage, status), count in sorted(statuses.items())))

    def _snapshots(self) -> Iterator[Row]:
        at = self.now - YEAR
        for number, name in ((1, BUSY), (2, QUIET)):
            yield (_key("j", number), "job_type", {
                "job_type_id": number, "name": "lar", "launch_script": "fife_launch -c lar.cfg",
                "definition_parameters": [["-Osubmit.N=", "10"]], "output_file_patterns": "%.root",
                "recoveries": [["consumed_status", []]]}, at)
            yield (_key("l", number), "login_setup", {"login_setup_id": number, "name": "grid", "experiment": name,
                                                      "launch_host": "localhost", "launch_account": "",
                                                      "launch_setup": ""}, at)
        for number in range(1, self.scale.stages + 1):
            yield (_key("s", number), "campaign_stage", {
                "campaign_stage_id": number, "name": STAGES[(number - 1) % len(STAGES)], "vo_role": "Production",
                "dataset": "None", "software_version": "v1", "param_overrides": [], "completion_type": "located",
                "completion_pct": 95.0, "output_ancestor_depth": 1, "campaign_stage_type": "regular"}, at)

    def _load_submissions(self, loader: Loader) -> None:
        loader.load(Submission, SUBMISSION_COLUMNS, (self._submission(item) for item in self.submissions))
        loader.load(SubmissionHistory, ("submission_id", "status_id", "created", "actor", "reason"), (
            (item.number, int(status), at, "poms", "") for item in self.submissions
            for status, at in self._history(item)))

    def _submission(self, item: _Submission) -> Row:
        campaign = self.campaign_of(item.stage)
        return submission_row(
            item.number, self.experiment_of(campaign), campaign, item.stage, item.status, created=item.created,
            since=item.since, counts=item.counts or dict.fromkeys(COUNTS, 0),
            files=item.files if item.status is Status.LOCATED else None)

    @staticmethod
    def _history(item: _Submission) -> Iterator[tuple[Status, datetime]]:
        way = (Status.NEW, *_WAYS[item.status], item.status) if item.status is not Status.NEW else (Status.NEW,)
        for hours, status in enumerate(way):
            yield status, item.created + timedelta(hours=hours)

    def _events(self) -> Iterator[Row]:
        number = 0
        for item in self.submissions:
            campaign = self.campaign_of(item.stage)
            where = (self.experiment_of(campaign), campaign, item.stage, item.number)
            before = Status.NEW
            for status, at in self._history(item):
                number += 1
                if status is Status.NEW:
                    yield number, at, "launch.requested", USER, *where, {"launch": "manual", "dataset": ""}
                else:
                    yield (number, at, "submission.status", "poms", *where,
                           {"old": before.label, "new": status.label, "reason": ""})
                before = status

    def _jobs(self) -> Iterator[Row]:
        for item in self.submissions:
            process = 0
            ended_at = item.since
            for name, count in item.counts.items():
                state = STATES[name]
                final = state.is_final
                for _ in range(count):
                    yield (item.number, batch_id(item.number, process), int(state), item.since,
                           SITES[process % len(SITES)], f"node{process % 500}.example.org",
                           (1 if name == "failed" else 0) if final else None, 34 if name == "held" else None,
                           HOLD_REASON if name == "held" else "", _cpu_seconds(process), WALL_SECONDS,
                           1500 + process % 500, 2000, 1, item.created, ended_at if final else None)
                    process += 1

    def _launches(self) -> Iterator[Row]:
        for item in self.submissions:
            yield self._launch(item.number, item.number, item.stage, "launched", item.created)
        for number in range(1, HELD_LAUNCHES + 1):
            yield self._launch(len(self.submissions) + number, None, 1, "held", self.now)

    def _launch(self, number: int, submission: int | None, stage: int, state: str, at: datetime) -> Row:
        campaign = self.campaign_of(stage)
        plan = {"host": "localhost", "account": "", "command": "fife_launch -c lar.cfg -Osubmit.N=10",
                "environment": [["POMS4_SUBMISSION_ID", str(submission)], ["POMS4_CAMPAIGN_ID", str(campaign)]]}
        return (number, f"made:{number}", "manual", state, self.experiment_of(campaign), campaign, stage, submission, 1,
                {"dataset_override": ""}, "held by the shift" if state == "held" else None, at, 1, 1, 0,
                plan if submission else None, f"{stage}/made_{submission}" if submission else None,
                0 if submission else None, at)

    def _files(self) -> Iterator[Row]:
        """A long ledger for one submission, a short one for every fiftieth."""
        for item in self.submissions:
            files = LEDGER_FILES if item is self.located_of_biggest() else 5 if item.number % 50 == 0 else 0
            for number in range(files):
                name = f"in_{item.number}_{number:05d}.root"
                yield (item.number, "in", name, "consumed", 1_000_000, None, "", item.since)
                yield (item.number, "out", f"out_{item.number}_{number:05d}.root", "located", 2_000_000, [name], "",
                       item.since)

    # ------------------------------------------------------------------------------- where to look

    def located_of_biggest(self) -> _Submission:
        """The oldest submission of the biggest stage; it has ended."""
        if not hasattr(self, "_located"):
            self._located = next(item for item in self.submissions if item.stage == 1)
        return self._located

    def landmarks(self) -> Landmarks:
        biggest = self.newest[1]
        biggest_numbers = [item.number for item in self.submissions if item.stage == 1]
        live = tuple(item.number for item in self.submissions if item.status in (Status.IDLE, Status.RUNNING)
                     and self.experiment_of(self.campaign_of(item.stage)) == BUSY and item is not biggest)
        return Landmarks(
            experiment=BUSY, role=ROLE, username=USER, campaign_id=1, stage_id=1, submission_id=biggest.number,
            batch_id=batch_id(biggest.number, biggest.jobs // 2), launched_submission_id=biggest.number,
            live_submission_ids=live, old_submission_id=self.located_of_biggest().number,
            half_submission_id=biggest_numbers[len(biggest_numbers) // 2])


SUBMISSION_COLUMNS = (
    "submission_id", "experiment", "campaign_id", "campaign_stage_id", "creator", "created", "updated", "status_id",
    "status_since", "submission_params", "jobsub_job_id", "project", "campaign_stage_snapshot_id",
    "job_type_snapshot_id", "login_setup_snapshot_id", "campaign_version_number", "pct_complete", "jobs_expected",
    *(f"jobs_{name}" for name in COUNTS), "cpu_seconds", "wall_seconds", "job_endings", "files_consumed",
    "files_generated", "files_located")


def submission_row(number: int, experiment: str, campaign: int, stage: int, status: Status, *, created: datetime,
                   since: datetime, counts: dict[str, int], files: int | None) -> Row:
    """A submission in the order of ``SUBMISSION_COLUMNS``."""
    shared = 1 if experiment == BUSY else 2
    jobs = sum(counts.values())
    return (number, experiment, campaign, stage, 1, created, since, int(status), since,
            {"dataset": f"set_{number}"}, f"{1_000_000 + number}@{_schedd(number)}", f"prj_{number}",
            _key("s", stage), _key("j", shared), _key("l", shared), 1, 100.0 if status in (
                Status.LOCATED, Status.COMPLETED) else 50.0, jobs, *(counts[name] for name in COUNTS),
            sum(_cpu_seconds(process) for process in range(jobs)), jobs * WALL_SECONDS,
            {text: number for text, number in (("C0", counts["completed"]), ("F1", counts["failed"])) if number},
            files, files, files)


def _cpu_seconds(process: int) -> float:
    return 3000.0 + process % 600


def batch_id(submission: int, process: int) -> str:
    """The job's name in the batch system."""
    return f"{1_000_000 + submission}.{process}@{_schedd(submission)}"


def _schedd(number: int) -> str:
    return f"schedd{number % 4}.example.org"


def _key(letter: str, number: int) -> str:
    """Stands for the digest by which a snapshot is found."""
    return f"{letter}{number:063d}"


def campaign_text(name: str, experiment: str, version: int) -> str:
    """A campaign text of usual length."""
    head = (f"# Version {version}\n[campaign]\nexperiment = {experiment}\npoms_role = production\nname = {name}\n"
            f"state = Active\ncampaign_keywords = {{}}\ncampaign_stage_list = {','.join(STAGES)}\n\n"
            "[campaign_defaults]\nvo_role = Production\nsoftware_version = v1\ndataset_or_split_data = None\n"
            "cs_split_type = None\ncompletion_type = located\ncompletion_pct = 95\nparam_overrides = []\n"
            "test_param_overrides = []\nmerge_overrides = True\nlogin_setup = grid\njob_type = lar\n"
            "stage_type = regular\noutput_ancestor_depth = 1\n")
    stages = "".join(f"\n[campaign_stage {stage}]\nparam_overrides = [[\"--stage=\", \"{stage}\"]]\n"
                     for stage in STAGES)
    blocks = ("\n[login_setup grid]\nhost = localhost\naccount =\nsetup =\n\n[job_type lar]\n"
              "launch_script = fife_launch -c lar.cfg\nparameters = [[\"-Osubmit.N=\", \"10\"]]\n"
              "output_file_patterns = %.root\nrecoveries = [[\"consumed_status\", []]]\n")
    links = "".join(f"\n[dependencies {stage}]\ncampaign_stage_1 = {before}\nfile_pattern_1 = %.root\n"
                    for before, stage in zip(STAGES, STAGES[1:], strict=False))
    return head + stages + blocks + links


def add_submissions(engine: Engine, landmarks: Landmarks, count: int, status: Status, *, now: datetime,
                    campaigns: int, snapshot: dict[str, Any] | None = None) -> list[int]:
    """More submissions without jobs, spread over the stages of the first campaigns of the busy experiment.

    ``snapshot`` changes the stage's content that they run with, such as its completion type.
    """
    stages = [stage for stage in range(1, campaigns * len(STAGES) + 1)
              if ((stage - 1) // len(STAGES) + 1) % 10]
    zero = dict.fromkeys(COUNTS, 0)
    with loading(engine) as loader:
        first = loader.highest(Submission.submission_id) + 1
        rows, sums = [], defaultdict(int)
        for number in range(first, first + count):
            stage = stages[number % len(stages)]
            row = submission_row(number, landmarks.experiment, (stage - 1) // len(STAGES) + 1, stage, status,
                                 created=now, since=now, counts=zero, files=None)
            if snapshot:
                place = SUBMISSION_COLUMNS.index("campaign_stage_snapshot_id")
                row = (*row[:place], _key("x", stage), *row[place + 1:])
            rows.append(row)
            sums[stage] += 1
        if snapshot:
            loader.load(Snapshot, ("snapshot_id", "kind", "content", "created"), [
                (_key("x", stage), "campaign_stage", {
                    "campaign_stage_id": stage, "name": STAGES[(stage - 1) % len(STAGES)], "software_version": "v1",
                    "completion_type": "located", "completion_pct": 95.0, **snapshot}, now) for stage in stages])
        loader.load(Submission, SUBMISSION_COLUMNS, rows)
        loader.load(SubmissionHistory, ("submission_id", "status_id", "created", "actor", "reason"),
                    ((number, int(status), now, "poms", "") for number in range(first, first + count)))
        loader.add_to_status_counts(status, sums)
    return list(range(first, first + count))
