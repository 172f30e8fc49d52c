"""Sample campaigns that an experiment keeps for itself: list, read, save, delete. Nobody else sees them.

Not for those that come with POMS (``samples``). Invariant: what is stored is a text that could be saved as a campaign
of the experiment when it was stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from poms.webservice.errors import Conflict, Invalid, NotFound, Problem
from poms.webservice.model import CampaignSample, Experimenter
from poms.webservice.rules.campaign_text import Campaign
from poms.webservice.rules.permissions import Actor
from poms.webservice.services import campaigns, events, permissions
from poms.webservice.services.core import Core
from poms.webservice.services.undos import UNKEPT, Change

LONGEST_TEXT = 200_000
LONGEST_NAME = 100
LONGEST_DESCRIPTION = 1_000
MOST = 100
_PREFIX = "own:"


@dataclass(frozen=True, slots=True)
class OwnSample:
    """One sample without its text; ``changed_by`` made it, or changed it last."""

    sample_id: int
    name: str
    description: str
    outline: dict[str, Any]
    changed_by: str
    changed_at: datetime
    may_modify: bool

    @property
    def key(self) -> str:
        """What stands for it where the samples that come with POMS have their name."""
        return f"{_PREFIX}{self.sample_id}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A sample as it is to be; ``base_version`` is the one that the change began with."""

    name: str
    description: str
    data: bytes
    base_version: int | None = None


def list_own(core: Core, actor: Actor) -> list[OwnSample]:
    """The samples of the actor's experiment, by name."""
    columns = [column for column in CampaignSample.__table__.columns if column.name != "text"]
    by = func.coalesce(CampaignSample.updater, CampaignSample.creator)
    with core.db.read() as session:
        rows = session.execute(
            select(*columns, Experimenter.username).join(Experimenter, Experimenter.experimenter_id == by)
            .where(CampaignSample.experiment == actor.experiment).order_by(func.lower(CampaignSample.name)).limit(MOST))
        return [OwnSample(row.sample_id, row.name, row.description, _drawn(row.outline), row.username,
                          row.updated or row.created, permissions.may(actor, "modify", "sample", row)) for row in rows]


def is_own(name: str) -> bool:
    """Whether a name of a sample means one of an experiment."""
    return name.startswith(_PREFIX)


def find(core: Core, experiment: str, name: str) -> CampaignSample:
    """The sample of the experiment that such a name means. Raises NotFound."""
    number = name.removeprefix(_PREFIX)
    with core.db.read() as session:
        row = session.get(CampaignSample, int(number)) if number.isascii() and number.isdigit() \
            and int(number) <= permissions.BIGGEST_ID else None
    if row is None or row.experiment != experiment:
        raise NotFound(f"There is no sample {number[:20]} in {experiment}.")
    return row


def save(core: Core, actor: Actor, wanted: Wanted, *, sample_id: int | None = None, undo: Change = UNKEPT) -> int:
    """Keep a sample, or put another text, name or description in its place; returns its number.

    Raises Invalid with every problem and its line, NotAllowed, and Conflict for a name that is taken or if somebody
    changed the sample since.
    """
    if sample_id is None:
        permissions.require_general(actor, "create", "experiment")
    campaign, text = _require_sound(core, actor, wanted)
    values = {"name": wanted.name, "description": wanted.description, "text": text, "outline": _outline(campaign)}
    try:
        with core.db.write() as session:
            row = _made(core, session, actor, values, undo) if sample_id is None \
                else _changed(core, session, actor, sample_id, wanted, values, undo)
            events.record(session, "sample.saved", core.clock(), actor.username, experiment=actor.experiment,
                          name=row.name)
            return row.sample_id
    except IntegrityError as taken:
        raise Conflict(f"There is a sample “{wanted.name}” in {actor.experiment} already. Choose another "
                       "name.") from taken


def delete(core: Core, actor: Actor, sample_id: int, *, undo: Change = UNKEPT) -> str:
    """Delete a sample; campaigns made from it stay. Returns its name."""
    with core.db.write() as session:
        row = permissions.require(session, actor, "modify", "sample", sample_id)
        undo.removed(session, [row])
        session.delete(row)
        events.record(session, "sample.deleted", core.clock(), actor.username, experiment=actor.experiment,
                      name=row.name)
        return str(row.name)


def _require_sound(core: Core, actor: Actor, wanted: Wanted) -> tuple[Campaign, str]:
    problems = []
    if not wanted.name:
        problems.append(Problem("name", "Give the sample a name.", code="required"))
    if len(wanted.data) > LONGEST_TEXT:
        raise Invalid([*problems, Problem("sample_text", f"Longer than {LONGEST_TEXT:,} bytes.")])
    examined = campaigns.examined(core, actor, wanted.data)
    if problems or examined.problems:
        raise Invalid([*problems, *examined.problems])
    document, campaign = examined.require()
    return campaign, document.to_bytes().decode()


def _outline(campaign: Campaign) -> dict[str, Any]:
    return {"stages": [stage.name for stage in campaign.stages],
            "edges": [[each.needs, each.consumer] for each in campaign.dependencies if each.needs != each.consumer]}


def _drawn(outline: dict[str, Any]) -> dict[str, Any]:
    # Pairs come back from the database as lists; what draws them compares them.
    return {"stages": outline["stages"], "edges": [tuple(edge) for edge in outline["edges"]]}


def _made(core: Core, session: Session, actor: Actor, values: dict[str, Any], undo: Change) -> CampaignSample:
    count = session.scalar(select(func.count()).where(CampaignSample.experiment == actor.experiment)) or 0
    if count >= MOST:
        raise Conflict(f"{actor.experiment} has {MOST} samples, which is as many as it may. Delete one first.")
    row = CampaignSample(experiment=actor.experiment, creator=actor.experimenter_id, creator_role=actor.creator_role,
                         created=core.clock(), **values)
    session.add(row)
    session.flush()
    undo.added(session, row)
    return row


def _changed(core: Core, session: Session, actor: Actor, sample_id: int, wanted: Wanted, values: dict[str, Any],
             undo: Change) -> CampaignSample:
    row = permissions.require(session, actor, "modify", "sample", sample_id)
    session.refresh(row, with_for_update=True)
    if wanted.base_version is not None and wanted.base_version != row.version:
        raise Conflict(f"Somebody changed {row.name} since you began. Look at what it is now in another window, and "
                       "save again if yours is still right.")
    for name, value in values.items():
        setattr(row, name, value)
    row.version += 1
    row.updater, row.updated = actor.experimenter_id, core.clock()
    # A version that was given out does not come again, also not by taking the change back.
    undo.changed(session, row, to={"version": row.version + 1})
    return row
