"""Load the item a request is about, within the actor's experiment, and ask the rights matrix.

The only way for a handler to reach an item: an item of another experiment, or one that is not
there, is NotFound; one that is there and may not be touched is NotAllowed. Nothing is cached.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session, joinedload

from poms.webservice.db import Database, Prepared
from poms.webservice.errors import Conflict, NotAllowed, NotFound
from poms.webservice.model import Campaign, CampaignSample, CampaignStage, JobType, Launch, LoginSetup, Submission
from poms.webservice.rules.permissions import PRODUCTION, Action, Actor, refusal
from poms.webservice.services import people, submissions
from poms.webservice.services.core import Core
from poms.webservice.services.people import Person

BIGGEST_ID = 2**31 - 1

# An item with the role and the number of its owner.
_Found = tuple[Any, str, int] | None


@dataclass(frozen=True)
class Kind:
    """How items of one kind are found; ``owner`` gives the creator's role and number.

    ``prepared`` finds an item by ``key`` where no more of it is needed than what is read there; ``with_person`` the
    same together with who asks (``people.sign_in_with``).
    """

    label: str
    query: Callable[[], Select[Any]]
    id_column: Any
    experiment_column: Any
    owner: Callable[[Any], tuple[str, int]]
    name_column: Any = None
    prepared: Prepared | None = None
    with_person: Prepared | None = None


def _made_by(item: Any) -> tuple[str, int]:
    return item.creator_role, item.creator


def _stage_of(item: Submission) -> tuple[str, int]:
    # A submission belongs to whoever owns its stage, not to whoever happened to launch it.
    return item.stage.creator_role, item.stage.creator


def _launches() -> Select[Any]:
    return (select(Launch, CampaignStage)
            .join(CampaignStage, CampaignStage.campaign_stage_id == Launch.campaign_stage_id))


KINDS: dict[str, Kind] = {
    "campaign": Kind("campaign", lambda: select(Campaign), Campaign.campaign_id, Campaign.experiment, _made_by,
                     Campaign.name),
    "stage": Kind("stage", lambda: select(CampaignStage).options(joinedload(CampaignStage.campaign)),
                  CampaignStage.campaign_stage_id, CampaignStage.experiment, _made_by, CampaignStage.name),
    "submission": Kind("submission", lambda: select(Submission).options(joinedload(Submission.stage)),
                       Submission.submission_id, Submission.experiment, _stage_of, Submission.jobsub_job_id),
    # What programs report on, many times a second.
    "reported_submission": Kind("submission", lambda: select(Submission), Submission.submission_id,
                                Submission.experiment, _made_by, prepared=submissions.STANDING,
                                with_person=people.sign_in_with(submissions.STANDING)),
    "launch": Kind("launch", _launches, Launch.launch_id, Launch.experiment, _made_by),
    "job_type": Kind("job type", lambda: select(JobType), JobType.job_type_id, JobType.experiment, _made_by,
                     JobType.name),
    "login_setup": Kind("login setup", lambda: select(LoginSetup), LoginSetup.login_setup_id, LoginSetup.experiment,
                        _made_by, LoginSetup.name),
    "sample": Kind("sample", lambda: select(CampaignSample), CampaignSample.sample_id, CampaignSample.experiment,
                   _made_by, CampaignSample.name),
}

GENERAL = ("experiment", "service")
"""Kinds of questions without an item: what a role may do in the experiment, or to the whole service."""


def require_general(actor: Actor, action: Action, kind: str) -> None:
    """Raise NotAllowed unless the actor may do this kind of thing at all."""
    if kind == "service" and action != "administer" and action != "view":
        raise ValueError(f"the service knows no action {action}")
    # Changing a whole experiment is for those who may change its production campaigns.
    owner = {"owner_role": PRODUCTION} if kind == "experiment" and action == "modify" else {}
    _refuse(refusal(actor, action, **owner))


def require(session: Session, actor: Actor, action: Action, kind: str, key: int | str) -> Any:
    """The item with this id (or name), if it is in the actor's experiment and the actor may do this to it."""
    return require_all(session, actor, action, kind, [key])[0]


def require_all(session: Session, actor: Actor, action: Action, kind: str, keys: Iterable[int | str]) -> list[Any]:
    """Several items of one kind in the order asked for; all or nothing."""
    known, wanted = KINDS[kind], tuple(dict.fromkeys(keys))
    return [_allowed(actor, action, known, key, _load(session, known, key, actor.experiment), of=len(wanted))
            for key in wanted]


def sign_in(db: Database, username: str, kind: str, key: int) -> tuple[Person, Any]:
    """Who sent a request, and the item that it names, wherever that is (None if nowhere); one statement for both."""
    known = KINDS[kind]
    assert known.prepared is not None and known.with_person is not None
    person, found = people.sign_in_and_ask(db, known.with_person, username, key=key)
    return person, None if found[0] is None else known.prepared.row(found)


def require_items(db: Database, actor: Actor, action: Action, kind: str, keys: Iterable[int | str], *,
                  found: Any = None) -> list[Any]:
    """``require_all`` for a request, which has no session yet and perhaps needs none.

    ``found``: the only item, if ``sign_in`` found it already.
    """
    known = KINDS[kind]
    if known.prepared is None:
        with db.read() as session:
            return require_all(session, actor, action, kind, keys)
    wanted = tuple(dict.fromkeys(keys))
    return [_allowed(actor, action, known, key, _ask(db, known, key, actor.experiment, found), of=len(wanted))
            for key in wanted]


def sort_items(db: Database, actor: Actor, action: Action, kind: str,
               keys: Iterable[int | str]) -> tuple[list[Any], dict[int | str, str]]:
    """Several items of one kind: those to which the actor may do this, and for each other why not."""
    known = KINDS[kind]
    allowed, refused = [], {}
    with db.read() as session:
        for key in dict.fromkeys(keys):
            found = _require_found(actor, known, key, _load(session, known, key, actor.experiment))
            item, role, owner = found
            if why := refusal(actor, action, owner_role=role, owner_id=owner):
                refused[key] = why
            else:
                allowed.append(item)
    return allowed, refused


def _require_found(actor: Actor, known: Kind, key: int | str, found: _Found) -> tuple[Any, str, int]:
    if found is None:
        raise NotFound(f"There is no {known.label} {key} in {actor.experiment}.")
    return found


def _allowed(actor: Actor, action: Action, known: Kind, key: int | str, found: _Found, *, of: int = 1) -> Any:
    item, role, owner = _require_found(actor, known, key, found)
    why = refusal(actor, action, owner_role=role, owner_id=owner)
    # One of several: which one, so that it can be left out.
    _refuse(f"{known.label.capitalize()} {getattr(item, 'name', key)}: {why}" if why and of > 1 else why)
    return item


def check(core: Core, actor: Actor, action: Action, kind: str, key: int | str) -> Any:
    """``require`` for an item that turned up only after the request was read."""
    with core.db.read() as session:
        return require(session, actor, action, kind, key)


def may(actor: Actor, action: Action, kind: str, item: Any) -> bool:
    """Whether the actor may do this to an item that is loaded already; for showing or hiding a button."""
    role, owner = KINDS[kind].owner(item)
    return refusal(actor, action, owner_role=role, owner_id=owner) is None


def home_of(db: Database, kind: str, key: int | str, *, found: Any = None) -> tuple[str, str] | None:
    """Experiment and owner role of an item named by id, wherever it is; None if there is none."""
    if kind not in KINDS or not isinstance(key, int):
        return None
    if KINDS[kind].prepared is not None:
        home = _ask(db, KINDS[kind], key, None, found)
    else:
        with db.read() as session:
            home = _load(session, KINDS[kind], key, None)
    return None if home is None else (home[0].experiment, home[1])


def _ask(db: Database, kind: Kind, key: int | str, experiment: str | None, found: Any) -> _Found:
    if not isinstance(key, int) or not 0 < key <= BIGGEST_ID:
        return None
    item = found or next(iter(db.ask(kind.prepared, key=key)), None)
    return None if item is None or experiment not in (None, item.experiment) else (item, *kind.owner(item))


def _load(session: Session, kind: Kind, key: int | str, experiment: str | None) -> _Found:
    if isinstance(key, int) and not 0 < key <= BIGGEST_ID:
        return None
    column = kind.id_column if isinstance(key, int) else kind.name_column
    if column is None:
        return None
    query = kind.query().where(column == key)
    if experiment is not None:
        query = query.where(kind.experiment_column == experiment)
    rows = session.execute(query.limit(2)).all()
    if len(rows) > 1:
        raise Conflict(f"There are several {kind.label}s {key} in {experiment}; say which one by its number.")
    if not rows:
        return None
    item = rows[0][0]
    role, owner = _made_by(rows[0][1]) if len(rows[0]) > 1 else kind.owner(item)
    return item, role, owner


def _refuse(why: str | None) -> None:
    if why:
        raise NotAllowed(why)
