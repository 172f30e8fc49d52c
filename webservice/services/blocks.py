"""Job types and login setups one by one: make, change, delete; the recoveries of a job type.

Not for texts of campaigns, which may describe blocks as well (``campaigns``). What a stage uses cannot be deleted;
what ran with a block's older content keeps it, in its snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from poms.webservice.errors import Conflict, Invalid, NotFound
from poms.webservice.model import CampaignStage, JobType, LoginSetup, Recovery
from poms.webservice.rules.campaign_text import check_name, values
from poms.webservice.rules.campaign_text.values import Pairs
from poms.webservice.rules.permissions import Actor
from poms.webservice.services import events, permissions
from poms.webservice.services.core import Core
from poms.webservice.services.rehearsals import Look, TakenBack
from poms.webservice.services.undos import UNKEPT, Change

Kind = Literal["job_type", "login_setup"]
_TABLES: Mapping[str, type[Any]] = {"job_type": JobType, "login_setup": LoginSetup}
_LABELS = {"job_type": "job type", "login_setup": "login setup"}
Recoveries = Sequence[tuple[str, Pairs]]


@dataclass(frozen=True, slots=True)
class JobTypeChange:
    """What is to be set on a job type; None leaves what is there (or begins empty)."""

    launch_script: str | None = None
    parameters: Pairs | None = None
    output_file_patterns: str | None = None
    recoveries: Recoveries | None = None


@dataclass(frozen=True, slots=True)
class LoginSetupChange:
    """What is to be set on a login setup; None leaves what is there (or begins empty)."""

    host: str | None = None
    account: str | None = None
    setup: str | None = None


def list_names(core: Core, kind: Kind, experiment: str) -> list[Any]:
    """The blocks of one kind of an experiment, by name."""
    table = _TABLES[kind]
    with core.db.read() as session:
        return list(session.scalars(select(table).where(table.experiment == experiment).order_by(table.name)))


def find_id(core: Core, kind: Kind, experiment: str, name: str) -> int | None:
    """The number of a block."""
    with core.db.read() as session:
        row = _find(session, kind, experiment, name)
        return None if row is None else _id(kind, row)


def save_job_type(core: Core, actor: Actor, name: str, change: JobTypeChange, *, add: bool,
                  look: Look | None = None) -> int:
    """Make a job type, or change one; returns its number. Raises Conflict, NotFound, NotAllowed, Invalid.

    ``look`` is shown it as it would be, and then nothing is stored.
    """
    if change.recoveries is not None:
        _require_recoveries(core, actor, change.recoveries)

    def fill(row: JobType) -> None:
        if change.launch_script is not None:
            row.launch_script = change.launch_script.strip()
        if change.parameters is not None:
            row.definition_parameters = _lists(change.parameters)
        if change.output_file_patterns is not None:
            row.output_file_patterns = change.output_file_patterns.strip() or "%"
        if change.recoveries is not None:
            _replace_recoveries(row, change.recoveries)
        if not row.launch_script:
            raise Invalid("A job type needs a launch script.", field="launch_script")

    return _save(core, actor, "job_type", name, fill, add=add, look=look)


def save_login_setup(core: Core, actor: Actor, name: str, change: LoginSetupChange, *, add: bool,
                     look: Look | None = None) -> int:
    """Make a login setup, or change one; returns its number. ``look`` as for a job type."""
    def fill(row: LoginSetup) -> None:
        for column, value in (("launch_host", change.host), ("launch_account", change.account),
                              ("launch_setup", change.setup)):
            if value is not None:
                setattr(row, column, value.strip())
        if not row.launch_host:
            raise Invalid("A login setup needs a host.", field="launch_host")

    return _save(core, actor, "login_setup", name, fill, add=add, look=look)


def delete(core: Core, actor: Actor, kind: Kind, name: str, *, undo: Change = UNKEPT) -> bool:
    """Delete a block; False if a stage uses it, or did. Raises NotFound, NotAllowed."""
    with core.db.write() as session:
        row = permissions.require(session, actor, "modify", kind, name)
        column = CampaignStage.job_type_id if kind == "job_type" else CampaignStage.login_setup_id
        if session.scalar(select(CampaignStage.campaign_stage_id).where(column == _id(kind, row)).limit(1)):
            return False
        undo.removed(session, [row])
        session.delete(row)
        events.record(session, "block.deleted", core.clock(), actor.username, experiment=actor.experiment,
                      block=kind, name=name)
    return True


def set_active(core: Core, actor: Actor, kind: Kind, name: str, active: bool, *, undo: Change = UNKEPT) -> bool:
    """Offer a block for use, or do so no more: stages that use it go on; False if nothing changed."""
    now = core.clock()
    with core.db.write() as session:
        row = permissions.require(session, actor, "modify", kind, name)
        if row.active == active:
            return False
        row.active, row.updater, row.updated = active, actor.experimenter_id, now
        undo.changed(session, row)
        events.record(session, "block.changed", now, actor.username, experiment=actor.experiment, block=kind,
                      name=name, active=active)
    return True


def merge_recoveries(core: Core, actor: Actor, job_type_id: int, wanted: Recoveries) -> list[tuple[str, Pairs]]:
    """Give a job type these recoveries: known ones get the new overrides, others follow. Returns all of them."""
    _require_recoveries(core, actor, wanted)
    with core.db.write() as session:
        row = permissions.require(session, actor, "modify", "job_type", job_type_id)
        merged = {entry.recovery_type: tuple((key, value) for key, value in entry.param_overrides)
                  for entry in row.recoveries} | dict(wanted)
        _replace_recoveries(row, list(merged.items()))
        row.updater, row.updated = actor.experimenter_id, core.clock()
        events.record(session, "block.changed", core.clock(), actor.username, experiment=actor.experiment,
                      block="job_type", name=row.name)
    return list(merged.items())


def read_pairs(text: str, field: str) -> Pairs:
    """Launch parameters as programs write them; raises Invalid."""
    return _read(values.pairs, text, field)


def read_recoveries(text: str, field: str) -> tuple[tuple[str, Pairs], ...]:
    """A list of recoveries as programs write it; raises Invalid."""
    return _read(values.recoveries, text, field)


def _read(reader: Callable[[str], Any], text: str, field: str) -> Any:
    try:
        return reader(text)
    except values.BadValue as problem:
        raise Invalid(problem.message, field=field) from None


def _save(core: Core, actor: Actor, kind: Kind, name: str, fill: Callable[[Any], None], *, add: bool,
          look: Look | None) -> int:
    try:
        return _store(core, actor, kind, name, fill, add=add, look=look)
    except TakenBack as rehearsed:
        return int(rehearsed.result)


def _store(core: Core, actor: Actor, kind: Kind, name: str, fill: Callable[[Any], None], *, add: bool,
           look: Look | None) -> int:
    problem = check_name(name, _LABELS[kind])
    if problem:
        raise Invalid(problem, field="name")
    now = core.clock()
    with core.db.write() as session:
        if add:
            permissions.require_general(actor, "create", "experiment")
            if _find(session, kind, actor.experiment, name) is not None:
                raise Conflict(f"A {_LABELS[kind]} named {name} already exists.")
            row = _TABLES[kind](experiment=actor.experiment, name=name, creator=actor.experimenter_id,
                                creator_role=actor.creator_role, created=now, **_EMPTY[kind])
            session.add(row)
        else:
            row = permissions.require(session, actor, "modify", kind, name)
            row.updater, row.updated = actor.experimenter_id, now
        fill(row)
        session.flush()
        events.record(session, "block.added" if add else "block.changed", now, actor.username,
                      experiment=actor.experiment, block=kind, name=name)
        number = _id(kind, row)
        if look is not None:
            look(session, number)
            raise TakenBack(number)
        return number


_EMPTY: Mapping[str, Mapping[str, Any]] = {
    "job_type": {"launch_script": "", "definition_parameters": [], "output_file_patterns": "%"},
    "login_setup": {"launch_host": "", "launch_account": "", "launch_setup": ""},
}


def _find(session: Session, kind: Kind, experiment: str, name: str) -> Any:
    table = _TABLES[kind]
    return session.scalar(select(table).where(table.experiment == experiment, table.name == name))


def _id(kind: Kind, row: Any) -> int:
    return int(getattr(row, f"{kind}_id"))


def _lists(pairs: Pairs) -> list[list[str]]:
    return [[key, value] for key, value in pairs]


def _replace_recoveries(row: JobType, wanted: Recoveries) -> None:
    """Entries are known by their place in the list, so they are changed in place."""
    have = {entry.recovery_order: entry for entry in row.recoveries}
    for order, (kind, pairs) in enumerate(wanted):
        entry = have.pop(order, None)
        if entry is None:
            row.recoveries.append(Recovery(recovery_order=order, recovery_type=kind, param_overrides=_lists(pairs)))
        else:
            entry.recovery_type, entry.param_overrides = kind, _lists(pairs)
    for entry in have.values():
        row.recoveries.remove(entry)


def _require_recoveries(core: Core, actor: Actor, wanted: Recoveries) -> None:
    known = core.backends.data(actor.experiment).recovery_kinds()
    for kind, _ in wanted:
        if kind not in known:
            raise NotFound(f"There is no recovery {kind[:100]}; known: {', '.join(known)}.")
