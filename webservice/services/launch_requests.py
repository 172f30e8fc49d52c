"""Requests for launches: what is asked for, how it is written down as owed, and what it came to.

Not for making a launch of one (``launching``). Invariant: a key launches once, whoever comes with it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from poms.webservice.errors import Conflict
from poms.webservice.model import CampaignStage, Launch
from poms.webservice.rules import naming
from poms.webservice.services.core import Core

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """What somebody, or something, wants launched. ``key`` is unique: the same key launches once.

    ``dataset_override`` replaces the stage's dataset and split; if ``define`` is given, POMS declares it
    with that query first. ``recovery_of`` is the original submission, ``depends_on`` the provider's. ``role``
    is the one in which it was asked for; "" (not known): any that the launcher may act in. ``scouted_by``: the
    submission that went ahead for it; it sends no scout itself.
    """

    stage_id: int
    key: str
    kind: Literal["manual", "test", "schedule", "recovery", "dependency"] = "manual"
    dataset_override: str = ""
    define: str = ""
    param_overrides: Pairs = ()
    test: bool = False
    note: str = ""
    recovery_of: int | None = None
    depends_on: int | None = None
    campaign_dep_id: int | None = None
    role: str = ""
    scouted_by: int | None = None

    def to_document(self) -> dict[str, Any]:
        """The request as stored with its launch row."""
        return asdict(self)

    @staticmethod
    def from_document(document: Mapping[str, Any]) -> LaunchRequest:
        pairs = tuple((key, value) for key, value in document["param_overrides"])
        return LaunchRequest(**{**document, "param_overrides": pairs})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a launch request came to. ``held``: kept until released; ``queued``: an agent will submit it."""

    state: str
    launch_id: int
    submission_id: int | None
    message: str = ""


def by_hand(stage_id: int, request_key: str, *, dataset: str = "", test: bool = False, note: str = "",
            overrides: Pairs = ()) -> LaunchRequest:
    """What a person asks for; the same ``request_key`` launches the stage once."""
    return LaunchRequest(stage_id=stage_id, key=naming.manual_key(stage_id, request_key),
                         kind="test" if test else "manual", dataset_override=dataset, param_overrides=overrides,
                         test=test, note=note)


def find_by_key(core: Core, key: str, *, stage_id: int | None = None) -> Outcome | None:
    """The outcome of the launch that was stored under this key, if any; Conflict if it was another stage's."""
    with core.db.read() as session:
        row = session.scalar(select(Launch).where(Launch.key == key))
    if row is None:
        return None
    if stage_id is not None and row.campaign_stage_id != stage_id:
        raise Conflict("This request key was used for a launch of another stage; use a new one.")
    return Outcome(row.state, row.launch_id, row.submission_id, row.message or "")


def owe(session: Session, request: LaunchRequest, *, stage: CampaignStage, launcher_id: int, now: datetime,
        held_because: str = "") -> bool:
    """Write a launch that is owed, in the caller's transaction; False if it was written before.

    With ``held_because`` it is not made until a person releases it.
    """
    if session.scalar(select(Launch.launch_id).where(Launch.key == request.key)) is not None:
        return False
    row = new_row(request, "held" if held_because else "owed", stage, launcher_id, now=now)
    row.hold_reason = held_because or None
    session.add(row)
    return True


def new_row(request: LaunchRequest, state: str, stage: CampaignStage, launcher_id: int, *,
            now: datetime) -> Launch:
    """The row of a launch, as it stands before anything is known of its submission."""
    return Launch(key=request.key, kind=request.kind, state=state, experiment=stage.experiment,
                  campaign_id=stage.campaign_id, campaign_stage_id=stage.campaign_stage_id,
                  parent_submission_id=request.recovery_of or request.depends_on,
                  campaign_dep_id=request.campaign_dep_id, launcher=launcher_id, request=request.to_document(),
                  not_before=now, created=now)
