"""The pages of login setups and job types: the lists, one of them with where it is used, and the form."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session, selectinload

from poms.webservice.errors import NotFound, PomsError
from poms.webservice.model import Campaign, CampaignStage, Experimenter, JobType, LoginSetup, LoginSetupTest
from poms.webservice.rules import permissions
from poms.webservice.rules.permissions import Actor
from poms.webservice.rules.recoveries import RECOVERY_WORDS
from poms.webservice.services import credentials, login_setup_tests
from poms.webservice.services.blocks import Kind
from poms.webservice.services.campaigns import SHARED_EXPERIMENT
from poms.webservice.services.core import Core
from poms.webservice.services.list_columns import columns_of
from poms.webservice.services.pages.common import Url, names_of

PAGE = 50
MOST_USES = 200
VIEWS = (("active", "Active"), ("mine", "Mine"), ("inactive", "Inactive"), ("all", "All"))

_KINDS: Mapping[str, Kind] = {"login_setups": "login_setup", "job_types": "job_type"}
_TABLES: Mapping[str, type[Any]] = {"login_setup": LoginSetup, "job_type": JobType}
_USES = {"login_setup": CampaignStage.login_setup_id, "job_type": CampaignStage.job_type_id}


def block_list(core: Core, actor: Actor, url: Url, name: str, *, view: str = "active", text: str = "",
               sort: str = "name", offset: int = 0) -> dict[str, Any]:
    """Login setups or job types of the experiment, and those that all experiments share."""
    with core.db.read() as session:
        rows, more = _block_rows(session, actor, url, name, view=view, text=text, sort=sort, offset=offset, limit=PAGE)
        columns = columns_of(session, actor, name)
    kept = {"view": view, "text": text, "sort": sort}
    return {
        "views": [{"label": label, "url": url(name, view=word), "count": None, "current": view == word}
                  for word, label in VIEWS],
        "blocks": rows, "text": text, "columns": columns,
        "pager": {"text": f"{offset + 1:,} to {offset + len(rows):,}" if rows else "",
                  "newer_url": url(name, **kept, offset=max(0, offset - PAGE)) if offset else "",
                  "older_url": url(name, **kept, offset=offset + PAGE) if more else ""},
        "may": {"create": permissions.refusal(actor, "create") is None},
    }


def block_pieces(core: Core, actor: Actor, url: Url, name: str, size: int,
                 **which: Any) -> Iterator[list[dict[str, Any]]]:
    """The whole list in pieces, each read by itself."""
    offset, more = 0, True
    while more:
        with core.db.read() as session:
            rows, more = _block_rows(session, actor, url, name, offset=offset, limit=size, **which)
        yield rows
        offset += size


def _block_rows(session: Session, actor: Actor, url: Url, name: str, *, view: str, text: str, sort: str,
                offset: int, limit: int) -> tuple[list[dict[str, Any]], bool]:
    kind = _KINDS[name]
    table = _TABLES[kind]
    key = getattr(table, f"{kind}_id")
    where = [table.experiment.in_({actor.experiment, SHARED_EXPERIMENT})]
    if view in ("active", "mine"):
        where.append(table.active)
    if view == "inactive":
        where.append(~table.active)
    if view == "mine":
        where.append(table.creator == actor.experimenter_id)
    if text:
        where.append(_matches(kind, text))
    column = func.coalesce(table.updated, table.created) if sort.removeprefix("-") == "changed" else table.name
    query = (select(table).where(*where).order_by(column.desc() if sort.startswith("-") else column, key)
             .offset(offset).limit(limit + 1))
    found = session.scalars(query.options(selectinload(JobType.recoveries)) if kind == "job_type" else query).all()
    shown = found[:limit]
    used = _use_counts(session, actor, kind, [_id(kind, row) for row in shown])
    tests = login_setup_tests.latest(session, [row.login_setup_id for row in shown]) if kind == "login_setup" else {}
    names = names_of(session, [row.creator for row in shown])
    return [{**_content(kind, row), **_tested(url, kind, row, tests),
             "id": _id(kind, row), "name": row.name, "active": row.active,
             "url": url(kind, **{f"{kind}_id": _id(kind, row)}) if row.experiment == actor.experiment else "",
             "clone_url": url(f"{kind}_new", source=row.name), "shared": row.experiment != actor.experiment,
             "used": used.get(_id(kind, row), 0), "creator": names.get(row.creator, ""),
             "changed_at": row.updated or row.created,
             "may": {"modify": _may_modify(actor, row)}} for row in shown], len(found) > limit


def _matches(kind: Kind, text: str) -> Any:
    if kind == "login_setup":
        columns = (LoginSetup.name, LoginSetup.launch_host, LoginSetup.launch_account, LoginSetup.launch_setup)
    else:
        columns = (JobType.name, JobType.launch_script, JobType.output_file_patterns)
    return or_(*(column.icontains(text, autoescape=True) for column in columns))


def _use_counts(session: Session, actor: Actor, kind: Kind, numbers: list[int]) -> dict[int, int]:
    """How many stages of this experiment use each, in one statement."""
    column = _USES[kind]
    rows = session.execute(select(column, func.count()).where(
        column.in_(numbers), CampaignStage.experiment == actor.experiment).group_by(column))
    return dict(rows.all())


def _content(kind: Kind, row: Any) -> dict[str, Any]:
    if kind == "login_setup":
        return {"host": row.launch_host, "account": row.launch_account, "setup": row.launch_setup}
    return {"script": row.launch_script, "parameters": "".join(f"{key}{value} " for key, value in
                                                               row.definition_parameters or []).strip(),
            "patterns": row.output_file_patterns, "recoveries": [entry.recovery_type for entry in row.recoveries]}


def _tested(url: Url, kind: Kind, row: Any, tests: Mapping[int, LoginSetupTest]) -> dict[str, Any]:
    """The newest test of a login setup, for the list; None if it was never tested."""
    if kind != "login_setup":
        return {}
    test = tests.get(row.login_setup_id)
    return {"test": test and {
        "state": test.state, "at": test.ended_at or test.created, "message": test.message or "",
        "url": url("login_setup_log", login_setup_id=row.login_setup_id, test_id=test.login_setup_test_id)}}


def _tests(session: Session, url: Url, kind: Kind, number: int) -> list[dict[str, Any]]:
    """The newest tests of one login setup, for its page."""
    if kind != "login_setup":
        return []
    rows = login_setup_tests.of_login_setup(session, number)
    found = login_setup_tests.documents(rows, names_of(session, [row.tester for row in rows]))
    return [{**test, "url": url("login_setup_log", login_setup_id=number, test_id=test["id"])} for test in found]


def _credentials(core: Core, actor: Actor, kind: Kind, row: Any) -> dict[str, Any]:
    """What launches with a login setup would be given, in the name of who looks."""
    if kind != "login_setup":
        return {}
    role = permissions.ANALYSIS if row.creator_role == permissions.ANALYSIS else permissions.PRODUCTION
    return {"credentials": credentials.shown(core, row.experiment, role, actor.username)}


def _may_modify(actor: Actor, row: Any) -> bool:
    return row.experiment == actor.experiment and permissions.refusal(
        actor, "modify", owner_role=row.creator_role, owner_id=row.creator) is None


def _id(kind: Kind, row: Any) -> int:
    return int(getattr(row, f"{kind}_id"))


# --------------------------------------------------------------------------------------- one of them


def block_page(core: Core, actor: Actor, url: Url, kind: Kind, number: int, *, typed: Mapping[str, Any] | None = None,
               problems: tuple[Any, ...] = ()) -> dict[str, Any]:
    """One login setup or job type: its form, as stored or as it was typed, and the stages that use it."""
    with core.db.read() as session:
        row = session.get(_TABLES[kind], number)
        if row is None or row.experiment != actor.experiment:
            raise NotFound(f"There is no {kind.replace('_', ' ')} {number} in {actor.experiment}.")
        names = names_of(session, [row.creator, row.updater])
        uses, total = _uses(session, actor, kind, number, url)
        tests = _tests(session, url, kind, number)
        form = _form(kind, row)
        others = session.scalars(select(_TABLES[kind].name).where(
            _TABLES[kind].experiment.in_({actor.experiment, SHARED_EXPERIMENT}), _TABLES[kind].active,
            _TABLES[kind].name != row.name).order_by(_TABLES[kind].name).distinct().limit(MOST_USES)).all()
    may = _may_modify(actor, row)
    return {
        "block": {"id": number, "name": row.name, "active": row.active, "creator": names.get(row.creator, ""),
                  "created_at": row.created, "updater": names.get(row.updater, ""), "updated_at": row.updated,
                  "role": row.creator_role, "url": url(kind, **{f"{kind}_id": number})},
        "kind": kind, "form": {**form, **(typed or {})}, "problems": list(problems), "uses": uses, "use_count": total,
        "tests": tests, **_credentials(core, actor, kind, row), "others": list(others),
        "recovery_kinds": _recovery_kinds(core, actor) if kind == "job_type" else [],
        "may": {"modify": may, "create": permissions.refusal(actor, "create") is None,
                "delete": may and not total, "test": kind == "login_setup" and permissions.refusal(
                    actor, "do", owner_role=row.creator_role, owner_id=row.creator) is None},
    }


def new_page(core: Core, actor: Actor, kind: Kind, *, source: str = "", typed: Mapping[str, Any] | None = None,
             problems: tuple[Any, ...] = ()) -> dict[str, Any]:
    """The form of a new one: empty, or with the values of another one of this experiment or of those shared."""
    form = dict(_EMPTY[kind])
    if source and typed is None:
        table = _TABLES[kind]
        with core.db.read() as session:
            row = session.scalars(select(table).where(
                table.name == source, table.experiment.in_({actor.experiment, SHARED_EXPERIMENT}))
                # One's own goes before a shared one of the same name.
                .order_by(table.experiment != actor.experiment).limit(1)).first()
            if row is None:
                raise NotFound(f"There is no {kind.replace('_', ' ')} {source} to begin with.")
            form = _form(kind, row) | {"name": f"{row.name}_copy"}
    return {"block": None, "kind": kind, "form": {**form, **(typed or {})}, "problems": list(problems), "uses": [],
            "use_count": 0, "others": [], "source": source,
            "recovery_kinds": _recovery_kinds(core, actor) if kind == "job_type" else [],
            "may": {"modify": False, "create": permissions.refusal(actor, "create") is None, "delete": False}}


_EMPTY: Mapping[str, Mapping[str, str]] = {
    "login_setup": {"name": "", "host": "", "account": "", "setup": ""},
    "job_type": {"name": "", "script": "", "patterns": "%", "parameters": "", "recoveries": ""},
}


def _form(kind: Kind, row: Any) -> dict[str, str]:
    if kind == "login_setup":
        return {"name": row.name, "host": row.launch_host, "account": row.launch_account, "setup": row.launch_setup}
    recoveries = [[entry.recovery_type, entry.param_overrides] for entry in row.recoveries]
    return {"name": row.name, "script": row.launch_script, "patterns": row.output_file_patterns,
            "parameters": _listed(row.definition_parameters or []), "recoveries": _listed(recoveries)}


def _listed(entries: list[Any]) -> str:
    """A list as campaign texts write it, one entry a line."""
    lines = ",\n ".join(json.dumps(entry, ensure_ascii=False) for entry in entries)
    return f"[{lines}]" if entries else ""


def _uses(session: Session, actor: Actor, kind: Kind, number: int, url: Url) -> tuple[list[dict[str, Any]], int]:
    """The stages that use it, newest first, and how many do; stages that a later text left out count too."""
    column = _USES[kind]
    total = session.scalar(select(func.count()).select_from(CampaignStage).where(column == number)) or 0
    rows = session.execute(
        select(CampaignStage, Campaign, Experimenter.username)
        .outerjoin(Campaign, Campaign.campaign_id == CampaignStage.campaign_id)
        .join(Experimenter, Experimenter.experimenter_id == CampaignStage.creator)
        .where(column == number).order_by(CampaignStage.campaign_stage_id.desc()).limit(MOST_USES)).all()
    return [{"id": stage.campaign_stage_id, "stage": stage.name, "campaign": campaign.name if campaign else "",
             "url": url("stage", campaign_stage_id=stage.campaign_stage_id), "creator": creator,
             "campaign_url": url("campaign", campaign_id=campaign.campaign_id) if campaign else "",
             "active": bool(campaign and campaign.active),
             "test_url": url("preview", campaign_stage_id=stage.campaign_stage_id, test=True)
             if campaign is not None and stage.experiment == actor.experiment and permissions.refusal(
                 actor, "do", owner_role=stage.creator_role, owner_id=stage.creator) is None else "",
             "may": {"switch": campaign is not None and stage.experiment == actor.experiment
                     and permissions.refusal(actor, "modify", owner_role=campaign.creator_role,
                                             owner_id=campaign.creator) is None}}
            for stage, campaign, creator in rows], int(total)


def _recovery_kinds(core: Core, actor: Actor) -> list[dict[str, str]]:
    try:
        known = core.backends.data(actor.experiment).recovery_kinds()
    except PomsError:
        # The catalogue does not answer; the words are then those known here, and checked when the form is sent.
        known = RECOVERY_WORDS
    return [{"name": name, "description": text} for name, text in known.items()]
