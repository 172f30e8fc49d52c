"""The campaign editor's side of the server: what it opens, what its changes come to, and saving without losing any.

The text is the campaign: changes are made to the text that the editor began with, and what they mean is told by
the one check of every way of saving. Nothing is stored before ``save``, which goes through ``campaigns.save_text``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from poms.webservice.errors import Conflict, NotFound, Problem
from poms.webservice.model import Campaign, CampaignVersion, Experimenter, JobType, LoginSetup
from poms.webservice.rules import campaign_form
from poms.webservice.rules.campaign_form import Form
from poms.webservice.rules.campaign_text import Campaign as CampaignSpec
from poms.webservice.rules.campaign_text import (
    Change,
    Document,
    Examination,
    KnownNames,
    diff,
    examine,
    parse,
    read,
    values,
    write_campaign,
)
from poms.webservice.rules.campaign_text import Defaults as DefaultsSpec
from poms.webservice.rules.campaign_text import JobType as JobTypeSpec
from poms.webservice.rules.campaign_text import LoginSetup as LoginSetupSpec
from poms.webservice.rules.campaign_text.model import STAGE_KEYS
from poms.webservice.rules.campaign_text.scanning import scan
from poms.webservice.rules.campaign_text.writing import job_type_values, login_setup_values
from poms.webservice.rules.permissions import ANALYSIS, Actor
from poms.webservice.services import campaigns, previews, samples, splits
from poms.webservice.services.campaigns import LONGEST_TEXT, SHARED_EXPERIMENT, SaveResult, diff_lines
from poms.webservice.services.core import Core
from poms.webservice.services.previews import Effect

BLOCKS: Mapping[str, Any] = {"login_setup": LoginSetup, "job_type": JobType}
_LONGEST_LIST = 200


@dataclass(frozen=True)
class Opened:
    """What the editor begins with. ``campaign`` is None for a new one."""

    campaign: Mapping[str, Any] | None
    text: str
    state: Mapping[str, Any]
    choices: Mapping[str, Any]


@dataclass(frozen=True)
class Saved:
    """What saving came to: the result, and if somebody else had saved meanwhile, the three texts instead."""

    result: SaveResult | None
    conflict: Mapping[str, Any] | None = None
    is_new: bool = False


# ----------------------------------------------------------------------------------------- opening


def open_campaign(core: Core, actor: Actor, campaign_id: int) -> Opened:
    """A campaign of the actor's experiment, in the version in force. Raises NotFound."""
    with core.db.read() as session:
        facts = _facts(session, actor, campaign_id)
    text = campaigns.version_text(core, actor, campaign_id, facts["version"])
    return _opened(core, actor, facts, text)


def open_new(core: Core, actor: Actor, sample: str = "") -> Opened:
    """A campaign that is not stored yet: empty, or as a sample has it."""
    if sample:
        document = parse(samples.text_of(core, sample, actor.experiment))
        return _opened(core, actor, None, document.with_value("campaign", "experiment", actor.experiment).text)
    defaults = DefaultsSpec(
        vo_role="Analysis" if actor.creator_role == ANALYSIS else "Production", software_version="v1",
        dataset_or_split_data="", completion_type="complete", completion_pct=100, login_setup="generic",
        job_type="generic", param_overrides=(), test_param_overrides=(), merge_overrides=True, stage_type="regular",
        default_clear_cronjob=True, output_ancestor_depth=1)
    empty = CampaignSpec(name="", experiment=actor.experiment, poms_role=actor.creator_role, state="Active",
                         defaults=defaults)
    return _opened(core, actor, None, write_campaign(empty))


def _opened(core: Core, actor: Actor, facts: Mapping[str, Any] | None, text: str) -> Opened:
    return Opened(facts, text, check(core, actor, text=text), _choices(core, actor, text))


def _facts(session: Session, actor: Actor, campaign_id: int) -> dict[str, Any]:
    found = session.execute(
        select(Campaign.name, Campaign.version_number, CampaignVersion.created, Experimenter.username)
        .outerjoin(CampaignVersion, (CampaignVersion.campaign_id == Campaign.campaign_id)
                   & (CampaignVersion.number == Campaign.version_number))
        .outerjoin(Experimenter, Experimenter.experimenter_id == CampaignVersion.creator)
        .where(Campaign.campaign_id == campaign_id, Campaign.experiment == actor.experiment)).one_or_none()
    if found is None:
        raise NotFound(f"There is no campaign {campaign_id} in {actor.experiment}.")
    name, version, saved_at, saved_by = found
    return {"id": campaign_id, "name": name, "version": version, "saved_at": saved_at, "saved_by": saved_by or ""}


def _choices(core: Core, actor: Actor, text: str) -> dict[str, Any]:
    """What the forms offer: keys with their fallbacks, split types, recoveries, blocks of the experiment."""
    used = read(scan(text, LONGEST_TEXT).document).campaign
    wanted = {"login_setup": {stage.login_setup for stage in used.stages}, "job_type": {
        stage.job_type for stage in used.stages}}
    with core.db.read() as session:
        blocks = {kind: {"names": _names(session, kind, actor.experiment),
                         "known": _contents(session, kind, actor.experiment, sorted(filter(None, wanted[kind])))}
                  for kind in BLOCKS}
    return {
        "keys": [{"name": key.name, "kind": key.kind, "fallback": key.write(key.fallback), "required": key.required,
                  "none_counts": key.none_counts} for key in STAGE_KEYS.values()],
        "split_types": [{"name": each.name, "description": each.description, "editor": each.editor,
                         "parameters": [asdict(parameter) for parameter in each.parameters]}
                        for each in sorted(core.backends.split_types.values(), key=lambda one: one.name)],
        "recovery_types": dict(core.backends.data(actor.experiment).recovery_kinds()),
        "login_setup": blocks["login_setup"], "job_type": blocks["job_type"],
    }


def find_block(core: Core, actor: Actor, kind: str, name: str) -> dict[str, str]:
    """The content of a job type or login setup that the experiment can use. Raises NotFound."""
    with core.db.read() as session:
        found = _contents(session, kind, actor.experiment, [name])
    if name not in found:
        raise NotFound(f"There is no {kind.replace('_', ' ')} {name[:100]} in {actor.experiment}.")
    return found[name]


def _names(session: Session, kind: str, experiment: str) -> list[str]:
    table = BLOCKS[kind]
    return sorted(set(session.scalars(select(table.name).where(table.experiment.in_((experiment, SHARED_EXPERIMENT))))))


def _rows(session: Session, kind: str, experiment: str, names: list[str]) -> dict[str, Any]:
    """Rows by name; the experiment's own counts before the shared one."""
    table = BLOCKS[kind]
    rows = session.scalars(select(table).where(table.experiment.in_((experiment, SHARED_EXPERIMENT)),
                                               table.name.in_(names))).all()
    return {row.name: row for row in sorted(rows, key=lambda row: row.experiment == experiment)}


def _contents(session: Session, kind: str, experiment: str, names: list[str]) -> dict[str, dict[str, str]]:
    written = {"login_setup": login_setup_values, "job_type": job_type_values}[kind]
    return {name: written(_spec(row)) for name, row in _rows(session, kind, experiment, names[:_LONGEST_LIST]).items()}


def _spec(row: Any) -> Any:
    if isinstance(row, LoginSetup):
        return LoginSetupSpec(row.name, row.launch_host, row.launch_account, row.launch_setup)
    return JobTypeSpec(row.name, row.launch_script, values.to_pairs(row.definition_parameters or []),
                       tuple(row.output_file_patterns.split(",")),
                       tuple((entry.recovery_type, values.to_pairs(entry.param_overrides or []))
                             for entry in row.recoveries))


# ---------------------------------------------------------------------------------------- checking


def check(core: Core, actor: Actor, *, text: str, form: Form | None = None) -> dict[str, Any]:
    """What a text says, or, with a ``form``, the text changed to say what the form says; and all that is wrong.

    ``locked``: lines of the text cannot be read, so that only the text itself can be mended.
    """
    scanned = scan(text, LONGEST_TEXT)
    refused: tuple[Problem, ...] = ()
    if form is not None and not scanned.problems:
        edited = campaign_form.apply(scanned.document, form)
        text, refused = edited.document.text, edited.problems
    examined = examine(text, known=_known(core, actor, text), creator_role=actor.creator_role, limit=LONGEST_TEXT)
    document = examined.document or scan(text, LONGEST_TEXT).document
    return {
        "text": text, "model": campaign_form.plain(campaign_form.form_of(document)),
        "problems": [asdict(problem) for problem in (*refused, *examined.problems)],
        "warnings": [asdict(problem) for problem in examined.warnings], "locked": _is_locked(examined),
        "sections": _sections(document),
    }


def _is_locked(examined: Examination) -> bool:
    return examined.document is None


def _sections(document: Document) -> list[dict[str, Any]]:
    """Where each section begins, so that a stage can be shown in the text."""
    return [{"title": title, "line": document.line_of(title)} for title in dict.fromkeys(document.titles)]


def _known(core: Core, actor: Actor, text: str) -> KnownNames:
    """Names in the experiment; contents only of what the text describes as well, to be compared."""
    described = read(scan(text, LONGEST_TEXT).document).campaign
    with core.db.read() as session:
        setups: dict[str, Any] = dict.fromkeys(_names(session, "login_setup", actor.experiment))
        job_types: dict[str, Any] = dict.fromkeys(_names(session, "job_type", actor.experiment))
        for name, row in _rows(session, "login_setup", actor.experiment,
                               [each.name for each in described.login_setups]).items():
            setups[name] = _spec(row)
        for name, row in _rows(session, "job_type", actor.experiment,
                               [each.name for each in described.job_types]).items():
            job_types[name] = _spec(row)
    return KnownNames(login_setups=setups, job_types=job_types,
                      split_types=tuple(core.backends.split_types) or None,
                      split_fault=partial(splits.fault, core, actor.experiment) if core.backends.split_types else None,
                      recovery_types=tuple(core.backends.data(actor.experiment).recovery_kinds()))


def compare(before: str, after: str) -> dict[str, Any]:
    """The difference of two texts: thing by thing in words, and line by line."""
    return {"changes": [str(change) for change in _changes(before, after)][:_LONGEST_LIST],
            "diff": diff_lines(before, after)}


def _changes(before: str, after: str) -> list[Change]:
    return diff(read(scan(before, LONGEST_TEXT).document).campaign, read(scan(after, LONGEST_TEXT).document).campaign)


# ------------------------------------------------------------------------------------------ saving


def save(core: Core, actor: Actor, text: str, *, campaign_id: int | None = None, base_version: int | None = None,
         message: str = "", renames: Mapping[str, str] | None = None) -> Saved:
    """Save what the editor has. The text of a campaign under another name is a new campaign.

    ``renames``: old names of stages to new ones.

    Somebody else's save since ``base_version`` is never overwritten: the three texts and what both changes
    together come to are answered instead. A save that arrived although its answer was lost counts as done.
    """
    name, renamed_from = _named(core, actor, text, campaign_id, base_version)
    if campaign_id is None or name is None:
        return Saved(_store(core, actor, text, message, only_if_new=True), is_new=True)
    try:
        if renamed_from:
            raise _renamed(renamed_from, name, base_version)
        return Saved(_store(core, actor, text, message, base_version=base_version, renames=renames))
    except Conflict:
        with core.db.read() as session:
            now = _facts(session, actor, campaign_id)
        if base_version is None or now["version"] == base_version:
            raise
        theirs = campaigns.version_text(core, actor, campaign_id, now["version"])
        if theirs == text:
            return Saved(SaveResult(False, campaign_id, name, now["version"]))
        base = campaigns.version_text(core, actor, campaign_id, base_version)
        return Saved(None, _conflict(base, theirs, text, now, renames or {}))


def preview(core: Core, actor: Actor, text: str, *, campaign_id: int | None = None, base_version: int | None = None,
            renames: Mapping[str, str] | None = None) -> tuple[SaveResult, list[Effect]]:
    """What saving what the editor has would do to launches; nothing is saved.

    Raises Conflict where a save would find that somebody else was faster, or that the name is taken.
    """
    name, renamed_from = _named(core, actor, text, campaign_id, base_version)
    data = text.encode("utf-8", "surrogatepass")
    if name is None:
        campaigns.save_text(core, actor, data, source="preview", dry_run=True, only_if_new=True)
        return previews.of_text(core, actor, data)
    if renamed_from:
        raise _renamed(renamed_from, name, base_version)
    return previews.of_text(core, actor, data, base_version=base_version, renames=renames)


def _named(core: Core, actor: Actor, text: str, campaign_id: int | None,
           base_version: int | None) -> tuple[str | None, str]:
    """The name of the campaign that a save of this text changes, None if it makes a new one; and the name that it had
    in the version the text was begun with, if somebody renamed it since."""
    if campaign_id is None:
        return None, ""
    with core.db.read() as session:
        name: str = _facts(session, actor, campaign_id)["name"]
    wanted = read(scan(text, LONGEST_TEXT).document).campaign.name
    if not wanted or wanted == name:
        return name, ""
    if base_version is not None and wanted == read(
            parse(campaigns.version_text(core, actor, campaign_id, base_version))).campaign.name:
        return name, wanted
    return None, ""


def _renamed(old: str, new: str, version: int | None) -> Conflict:
    return Conflict(f"Somebody renamed {old} to {new} since version {version}, which you began with.")


def _store(core: Core, actor: Actor, text: str, message: str, *, base_version: int | None = None,
           only_if_new: bool = False, renames: Mapping[str, str] | None = None) -> SaveResult:
    return campaigns.save_text(core, actor, text.encode("utf-8", "surrogatepass"), source="editor", message=message,
                               base_version=base_version, only_if_new=only_if_new, renames=renames)


def _conflict(base: str, theirs: str, mine: str, now: Mapping[str, Any],
              renames: Mapping[str, str]) -> dict[str, Any]:
    """The three texts, what each changed, and the text that has both changes."""
    ground, left = parse(base), parse(theirs)
    merged = campaign_form.merge(campaign_form.form_of(ground), campaign_form.form_of(left), _mine(mine, renames))
    edited = campaign_form.apply(left, merged.form)
    return {
        "version": now["version"], "saved_by": now["saved_by"], "saved_at": now["saved_at"],
        "theirs": theirs, "merged": edited.document.text,
        "their_changes": [str(change) for change in _changes(base, theirs)][:_LONGEST_LIST],
        "your_changes": [str(change) for change in _changes(base, mine)][:_LONGEST_LIST],
        "clashes": [asdict(clash) for clash in merged.clashes],
        "diff": diff_lines(theirs, edited.document.text),
        "problems": [asdict(problem) for problem in edited.problems],
    }


def _mine(text: str, renames: Mapping[str, str]) -> Form:
    """My form, in which a stage that I renamed is still the one of its old name."""
    form = campaign_form.form_of(parse(text))
    before = {new: old for old, new in renames.items()}
    return replace(form, stages=tuple(replace(stage, was=before.get(stage.name, stage.was)) for stage in form.stages))
