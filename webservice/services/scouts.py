"""Scouts as launches meet them: which files go ahead, which launches wait for them, and what was learned from them.

Used by ``launching`` and ``launches``; how a scout did, and what people answer, is ``scout_verdicts``'. Invariant: a
launch that waits for a scout is in state ``held`` and names it; the rest of a scout's own input has a key of its own.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from poms.webservice.errors import Invalid
from poms.webservice.model import CampaignStage, Launch, Scout, Submission
from poms.webservice.rules import naming, parameters, sam_queries
from poms.webservice.rules.scouting import Scouting, parse_scout
from poms.webservice.services import snapshots
from poms.webservice.services.core import Core

Pairs = tuple[tuple[str, str], ...]
OPEN = ("waiting", "asking")
NO_INPUT = ("generator", "approval")
"""Kinds of stages that have no input of which a part could be taken."""

_UNIQUE = uuid.UUID("9a0c6b52-1c7e-4d11-8a54-0d6f2f7e6b33")


@dataclass(frozen=True, slots=True)
class Standing:
    """How scouting stands for a launch. ``rule`` None: it does not scout, nor wait for one.

    ``ahead`` is a scout of the stage as it is now that is not decided, 0 without one; ``newest`` is the stage's newest
    one. ``overrides`` and ``learned`` are what a good one found out.
    """

    rule: Scouting | None = None
    ahead: int = 0
    newest: int = 0
    overrides: Pairs = ()
    learned: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """The files that go ahead, with the query of their definition and one for what is left of the input.

    ``after``: the stage's newest scout before this one, None if others do not matter. With ``waits_for`` nothing goes
    ahead of this launch: it waits for a scout that did already.
    """

    total: int
    dataset: str = ""
    files: tuple[str, ...] = field(default=(), repr=False)
    query: str = field(default="", repr=False)
    rest: str = field(default="", repr=False)
    rule: str = ""
    after: int | None = None
    waits_for: int = 0

    @property
    def why_waits(self) -> str:
        return f"Waits for a scout of the same stage: submission {self.waits_for} went ahead"


def standing(core: Core, stage: CampaignStage, *, kind: str, test: bool, scouted_by: int | None) -> Standing:
    """How scouting stands for a launch of a stage; recoveries, tests and what a scout left do not scout."""
    if test or not stage.scout and scouted_by is None:
        return Standing()
    rule = parse_scout(stage.scout)
    with core.db.read() as session:
        if scouted_by is not None:
            return _learned(session.get_one(Scout, scouted_by))
        if rule is None:
            return Standing()
        good = _newest(session, stage, ("good",))
        found = _learned(good) if good is not None else Standing()
        if kind == "recovery" or stage.campaign_stage_type in NO_INPUT or good is not None and not rule.always:
            return found
        ahead = None if rule.always else _newest(session, stage, OPEN)
        newest = _newest_number(session, stage)
    return Standing(rule, ahead.submission_id if ahead is not None else 0, newest, found.overrides, found.learned)


def _learned(scout: Scout) -> Standing:
    return Standing(overrides=tuple((str(key), str(value)) for key, value in scout.overrides), learned=scout.change)


def _newest_number(session: Session, stage: CampaignStage) -> int:
    return session.scalar(select(func.max(Scout.submission_id)).where(
        Scout.campaign_stage_id == stage.campaign_stage_id)) or 0


def is_overtaken(session: Session, stage: CampaignStage, part: Part) -> bool:
    """Whether another launch of the stage, which the caller has locked, sent a scout since this one was worked out."""
    return part.after is not None and _newest_number(session, stage) != part.after


def _newest(session: Session, stage: CampaignStage, states: tuple[str, ...]) -> Scout | None:
    """The newest scout in one of these states that ran with stage, job type and login setup as they are now."""
    keywords = (stage.campaign.campaign_keywords or {}) if stage.campaign else {}
    stage_key, job_type_key, login_setup_key = snapshots.keys_of(stage, keywords)
    return session.scalar(
        select(Scout).join(Submission, Submission.submission_id == Scout.submission_id)
        .where(Scout.campaign_stage_id == stage.campaign_stage_id, Scout.state.in_(states),
               Submission.campaign_stage_snapshot_id == stage_key, Submission.job_type_snapshot_id == job_type_key,
               Submission.login_setup_snapshot_id == login_setup_key)
        .order_by(Scout.submission_id.desc()).limit(1))


def part_of(core: Core, stage: CampaignStage, scouting: Standing, dataset: str, *, key: str,
            undeclared: str = "") -> Part | None:
    """What of a launch's input goes ahead, not declared yet; None if all goes at once.

    ``undeclared``, for a preview: the query of a dataset that is not declared either. Raises Invalid for what is no
    dataset.
    """
    rule = scouting.rule
    if rule is None or not dataset:
        return None
    keywords = (stage.campaign.campaign_keywords or {}) if stage.campaign else {}
    dataset = parameters.expand_keywords(dataset, keywords, "dataset")
    data = core.backends.data(stage.experiment)
    if not undeclared and data.definition(dataset) is None:
        raise Invalid(f"Stage {stage.name} sends a scout ahead, but the catalogue knows no dataset “{dataset}” of "
                      "which it could take a part. Correct the dataset, or write scout = None.", field="scout")
    query = undeclared or data.dataset_query(dataset)
    total = data.count(query)
    if not rule.is_worth_it(total):
        return None
    if scouting.ahead:
        return Part(total, waits_for=scouting.ahead)
    names = tuple(data.list(query, limit=rule.files))
    name, first = naming.scout_dataset(uuid.uuid5(_UNIQUE, key).hex), sam_queries.named(names)
    if data.definition(name) not in (None, first):
        # The same launch was worked out before and lost, and the dataset has other files by now.
        name = naming.scout_dataset(uuid.uuid4().hex)
    return Part(total, name, names, first, sam_queries.without_files(query, names), stage.scout or "",
                None if rule.always else scouting.newest)


def declare(core: Core, stage: CampaignStage, part: Part) -> None:
    """Make the definition of the files that go ahead."""
    core.backends.data(stage.experiment).define(part.dataset, part.query)


def send(session: Session, submission: Submission, part: Part) -> None:
    """Write down that a submission scouts."""
    session.add(Scout(
        submission_id=submission.submission_id, experiment=submission.experiment, state="waiting", rule=part.rule,
        campaign_stage_id=submission.campaign_stage_id, files=len(part.files), rest_files=part.total - len(part.files),
        overrides=[]))


def why_rest_waits(submission_id: int, part: Part) -> str:
    return f"Waits for its scout: submission {submission_id} went ahead on {len(part.files):,} of {part.total:,} files"


def still_waits(session: Session, row: Launch) -> str:
    """Why a held launch may not be released by itself: its scout is under way; "" if it may."""
    if row.scout_submission_id is None:
        return ""
    scout = session.get_one(Scout, row.scout_submission_id)
    return row.hold_reason or "Waits for a scout" if scout.state == "waiting" else ""


def detach(session: Session, row: Launch, *, released: bool) -> None:
    """A person releases, or drops, a launch that names a scout; for the rest of its input this answers the question."""
    number = row.scout_submission_id
    if number is None:
        return
    scout = session.get_one(Scout, number, with_for_update=True)
    if row.key == naming.scout_rest_key(number) and scout.state in OPEN:
        scout.state = "gone on" if released else "given up"
    row.scout_submission_id = None
    if released:
        row.request = {**row.request, "scouted_by": number}
