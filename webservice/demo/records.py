"""What the service's database and catalogue say of a campaign: progress, the end, the files, the summary.

Reads only. Invariant: a file that is missing or there twice is counted from the catalogue's own records, not from
what the engine believes.
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select

from poms.webservice.interfaces import OutputFile
from poms.webservice.model import Campaign, CampaignStage, Launch, Submission
from poms.webservice.rules.statuses import FINAL, Status
from poms.webservice.services import candidates
from poms.webservice.services.core import Core
from poms.webservice.services.samples import Sample

NUMBERS = ("submissions", "jobs", "files_in", "files_out")


@dataclass
class StageState:
    """What the summary says of a stage."""

    name: str
    status: str = "waiting"
    submissions: int = 0
    recoveries: int = 0
    jobs: Counter = field(default_factory=Counter)
    jobs_expected: int = 0
    running: int = 0
    files_in: int = 0
    files_out: int = 0

    def numbers(self) -> Counter:
        """Those that a sample promises; ``jobs`` are the ones that succeeded."""
        return Counter(submissions=self.submissions, jobs=self.jobs["succeeded"], files_in=self.files_in,
                       files_out=self.files_out)

    def summary(self) -> dict[str, Any]:
        return {"name": self.name, "status": self.status, "submissions": self.submissions,
                "recoveries": self.recoveries,
                "jobs": {key: self.jobs[key] for key in ("succeeded", "failed", "held", "removed")},
                "files_in": self.files_in, "files_out": self.files_out}


def stage_states(core: Core, campaign_id: int) -> list[StageState]:
    """The stages of a campaign as the database has them now."""
    with core.db.read() as session:
        stages = session.scalars(select(CampaignStage).where(CampaignStage.campaign_id == campaign_id)
                                 .order_by(CampaignStage.position, CampaignStage.campaign_stage_id)).all()
        found = session.scalars(select(Submission).where(Submission.campaign_id == campaign_id)
                                .order_by(Submission.submission_id)).all()
    states = {stage.campaign_stage_id: StageState(stage.name) for stage in stages}
    for item in found:
        state = states[item.campaign_stage_id]
        state.status = Status(item.status_id).label
        state.submissions += item.recovery_tasks_parent is None
        state.recoveries += item.recovery_tasks_parent is not None
        state.jobs += Counter(succeeded=item.jobs_completed, failed=item.jobs_failed, held=item.jobs_held,
                              removed=item.jobs_removed)
        state.running += item.jobs_running
        state.jobs_expected += item.jobs_expected
        state.files_in += item.files_consumed or 0
        state.files_out += item.files_generated or 0
    return list(states.values())


def waiting_for_approval(core: Core, campaign_id: int) -> list[int]:
    """Submissions that wait until a person decides."""
    with core.db.read() as session:
        return list(session.scalars(select(Submission.submission_id).where(
            Submission.campaign_id == campaign_id, Submission.status_id == int(Status.AWAITING_APPROVAL))))


def is_finished(core: Core, campaign_id: int, sample: Sample, before: Mapping[str, Counter]) -> bool:
    """Every stage was launched, every submission is final and nothing is owed, or something went wrong for good.

    Between two launches by a schedule nothing is owed either; then the promised files say whether it was the last.
    """
    with core.db.read() as session:
        stages = set(session.scalars(select(CampaignStage.campaign_stage_id)
                                     .where(CampaignStage.campaign_id == campaign_id)))
        rows = session.execute(select(Submission.campaign_stage_id, Submission.status_id)
                               .where(Submission.campaign_id == campaign_id)).all()
        owed = session.scalar(select(Launch.launch_id).where(
            Launch.campaign_id == campaign_id, Launch.state.in_(("owed", "queued", "held"))).limit(1))
    ended = all(Status(status) in FINAL or status == Status.LAUNCH_FAILED for _, status in rows)
    if not rows or not ended or owed is not None:
        return False
    if any(status != Status.LOCATED for _, status in rows):
        return True
    if {stage for stage, _ in rows} != stages:
        return False
    return not sample.schedules or all(
        made["files_out"] >= sample.counts[name].get("files_out", 0) for name, made in _made(core, campaign_id, before)
        if name in sample.counts)


def _made(core: Core, campaign_id: int, before: Mapping[str, Counter]) -> list[tuple[str, Counter]]:
    """What this run made at each stage, beyond what was there before it."""
    made = []
    for state in stage_states(core, campaign_id):
        numbers = state.numbers()
        numbers.subtract(before.get(state.name, Counter()))
        made.append((state.name, numbers))
    return made


# ----------------------------------------------------------------------------------------------- the summary


def summarise(core: Core, campaign_id: int, sample: Sample, url: str, seconds: float,
              before: Mapping[str, Counter]) -> dict[str, Any]:
    """What ``--json`` prints."""
    with core.db.read() as session:
        name = session.get_one(Campaign, campaign_id).name
    stages = [state.summary() for state in stage_states(core, campaign_id)]
    located = bool(stages) and all(stage["status"] == Status.LOCATED.label for stage in stages)
    found = audit(core, campaign_id)
    checks = {}
    if sample.counts:
        checks["counts"] = _counts_check(sample, _made(core, campaign_id, before))
    if sample.check:
        checks["physics"] = _physics_check(core, sample, found.names)
    return {"campaign": name, "finished": located, "seconds": round(seconds, 1), "url": url, "stages": stages,
            "duplicates": found.duplicates, "lost": found.lost, "checks": checks}


def is_good(summary: dict[str, Any]) -> bool:
    """Every stage Located, nothing doubled, nothing lost, every check of the sample passed."""
    return (summary["finished"] and summary["duplicates"] == 0 and summary["lost"] == 0
            and all(value == "passed" for value in summary["checks"].values()))


@dataclass
class Audit:
    """Files that are there more than once, inputs without output, and the names of all output."""

    duplicates: int = 0
    lost: int = 0
    names: set[str] = field(default_factory=set)


def audit(core: Core, campaign_id: int) -> Audit:
    """Count duplicated and lost files from the catalogue's own records."""
    found, times = Audit(), Counter[str]()
    with core.db.read() as session:
        originals = session.scalars(select(Submission).where(
            Submission.campaign_id == campaign_id, Submission.recovery_tasks_parent.is_(None))).all()
    for original in originals:
        candidate = candidates.describe(core, original.submission_id, original.experiment)
        if candidate.stage.campaign_stage_type == "approval":
            # It makes nothing: what it hands on is its input.
            continue
        view = candidate.view(original, candidate.job_type_patterns)
        data = core.backends.data(original.experiment)
        outputs = [item for item in data.output_files(view) if item.located]
        times.update(item.file_name for item in outputs)
        if original.project:
            inputs = [item.file_name for item in data.file_states(view)]
            lost, duplicates = _compare(inputs, outputs, view.patterns)
            found.lost, found.duplicates = found.lost + lost, found.duplicates + duplicates
    found.duplicates += sum(count - 1 for count in times.values() if count > 1)
    found.names = set(times)
    return found


def _compare(inputs: Iterable[str], outputs: Iterable[OutputFile], patterns: Iterable[str]) -> tuple[int, int]:
    """Inputs without a child of each pattern, and children that are too many or of nobody."""
    inputs, outputs = set(inputs), list(outputs)
    lost = duplicates = 0
    for pattern in patterns:
        of_pattern = re.compile(re.escape(pattern).replace("%", ".*"), re.DOTALL)
        children = Counter(parent for item in outputs if of_pattern.fullmatch(item.file_name)
                           for parent in item.parents)
        lost += sum(not children[name] for name in inputs)
        duplicates += sum(count - 1 for count in children.values() if count > 1)
    duplicates += sum(not inputs.intersection(item.parents) for item in outputs)
    return lost, duplicates


def _counts_check(sample: Sample, made: list[tuple[str, Counter]]) -> str:
    """Exactly the promised numbers at each stage: "passed", or what is wrong."""
    wrong = [f"{name}: {numbers[what]} {what}, expected {sample.counts[name][what]}"
             for name, numbers in made if name in sample.counts
             for what in NUMBERS if what in sample.counts[name] and numbers[what] != sample.counts[name][what]]
    return "; ".join(wrong) or "passed"


def _physics_check(core: Core, sample: Sample, names: set[str]) -> str:
    """The sample's own check, on the files of this campaign: "passed", or what is wrong."""
    assert sample.check is not None
    file, function = sample.check
    spec = importlib.util.spec_from_file_location("sample_check", sample.folder / file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses of the loaded file look themselves up here.
    sys.modules["sample_check"] = module
    spec.loader.exec_module(module)
    files = [path for path in output_dir(core).rglob("*") if path.name in names]
    report = getattr(module, function)(files)
    return "passed" if report.passed else "; ".join(report.failures)


def output_dir(core: Core) -> Path:
    """Where the sample's jobs leave their files."""
    return core.settings.service.data_dir / "output"


def as_line(summary: dict[str, Any]) -> str:
    return json.dumps(summary)
