"""Campaigns as documents: save a text, read it back, versions, clone, (de)activate, delete, launch.

The text that people wrote is kept byte for byte as a version; the rows that the engine works with
follow from it in the same transaction. Every way of saving comes through ``save_text``. Rows keep their
identity across saves: a stage by its name, a dependency by the two stages it joins.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import delete, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from poms.webservice.errors import Conflict, Invalid, NotAllowed, NotFound, Problem
from poms.webservice.model import (
    Campaign,
    CampaignDependency,
    CampaignStage,
    CampaignTag,
    CampaignVersion,
    JobType,
    Launch,
    LoginSetup,
    Recovery,
    StageStatusCount,
    Submission,
    Tag,
)
from poms.webservice.rules import permissions
from poms.webservice.rules.campaign_text import model as spec
from poms.webservice.rules.campaign_text import parse
from poms.webservice.rules.campaign_text.checking import Examination, check_name, examine
from poms.webservice.rules.permissions import Actor
from poms.webservice.services import events, launch_requests, launching, schedules, splits
from poms.webservice.services.core import Core
from poms.webservice.services.launch_requests import LaunchRequest, Outcome
from poms.webservice.services.rehearsals import Look, TakenBack
from poms.webservice.services.undos import UNKEPT, Change

SHARED_EXPERIMENT = "samdev"
"""Its job types and login setups (``generic``) can be used by every experiment."""

LONGEST_TEXT = 1_000_000
MOST_LINES_COMPARED = 20_000
"""Beyond that a comparison takes longer than anybody waits: its time grows with the square."""

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+")


@dataclass(frozen=True)
class SaveResult:
    """What saving did, or with ``dry_run`` would do. Nothing is stored when there are problems."""

    dry_run: bool
    campaign_id: int | None = None
    name: str = ""
    version: int | None = None
    stages: tuple[tuple[int, str], ...] = ()
    problems: tuple[Problem, ...] = ()
    warnings: tuple[str, ...] = ()
    diff: tuple[dict[str, str], ...] = ()
    changed: bool = False


def save_text(core: Core, actor: Actor, data: bytes, *, source: str, message: str = "", dry_run: bool = False,
              base_version: int | None = None, only_if_new: bool = False, renames: Mapping[str, str] | None = None,
              look: Look | None = None) -> SaveResult:
    """Check a campaign's text and make it the one in force.

    Problems with the text come back in the result. ``base_version`` is the version that the editor
    began with: Conflict if another one was saved since. ``renames``: old names of stages to new ones, which
    keep their history so; a text alone cannot tell. Raises NotAllowed if the actor may not. ``look`` is shown the rows
    as they would be, and then nothing is stored; it is shown nothing if the text is the one in force.
    """
    known, own = _known_names(core, actor.experiment)
    examined = examine(data, known=known, creator_role=actor.creator_role, analysis_login=None, limit=LONGEST_TEXT)
    warnings = _warnings(examined, own)
    if examined.problems or examined.document is None:
        return SaveResult(dry_run, name=examined.campaign.name, problems=examined.problems, warnings=tuple(warnings))
    try:
        return _save(core, actor, examined, warnings, source=source, message=message, dry_run=dry_run,
                     base_version=base_version, only_if_new=only_if_new, renames=renames or {}, look=look)
    except TakenBack as rehearsed:
        return replace(rehearsed.result, dry_run=True)
    except IntegrityError as clash:
        raise Conflict(f"Somebody saved {examined.campaign.name}, or a job type or login setup of it, at the same "
                       "moment. Look at what is there now and save again.") from clash


def _save(core: Core, actor: Actor, examined: Examination, warnings: list[str], *, source: str, message: str,
          dry_run: bool, base_version: int | None, only_if_new: bool, renames: Mapping[str, str],
          look: Look | None = None) -> SaveResult:
    document, campaign = examined.require()
    text, now = document.to_bytes().decode(), core.clock()
    with core.db.write() as session:
        row = session.scalar(select(Campaign).where(Campaign.experiment == actor.experiment,
                                                    Campaign.name == campaign.name).with_for_update())
        _require_right(actor, row)
        if row is not None and only_if_new:
            raise Conflict(f"There is a campaign {campaign.name} in {actor.experiment} already.")
        if row is not None and base_version is not None and base_version != row.version_number:
            raise Conflict(f"Somebody saved version {row.version_number} of {campaign.name} since version "
                           f"{base_version}, which you began with. Compare the two and save again.")
        before = _version_text(session, row, row.version_number) if row else ""
        diff = tuple(diff_lines(before, text))
        if dry_run or before == text:
            return SaveResult(dry_run, row.campaign_id if row else None, campaign.name,
                              row.version_number if row and not dry_run else None,
                              stages=_stage_list(session, row), warnings=tuple(warnings), diff=diff,
                              changed=before != text)
        _save_blocks(session, actor, campaign, now)
        row = _save_campaign(session, actor, row, campaign, now)
        warnings += _save_stages(session, actor, row, campaign, now, renames=renames)
        row.version_number += 1
        session.add(CampaignVersion(campaign_id=row.campaign_id, number=row.version_number, text=text, source=source,
                                    message=message or _summary(diff), creator=actor.experimenter_id, created=now))
        events.record(session, "campaign.saved" if row.version_number > 1 else "campaign.created", now,
                      actor.username, experiment=row.experiment, campaign_id=row.campaign_id,
                      version=row.version_number, source=source)
        result = SaveResult(False, row.campaign_id, row.name, row.version_number, _stage_list(session, row),
                            warnings=tuple(warnings), diff=diff, changed=True)
        if look is not None:
            look(session, row.campaign_id)
            raise TakenBack(result)
        return result


def text_of(core: Core, actor: Actor, name: str, *, with_positions: bool = True) -> str:
    """The text in force of a campaign of the actor's experiment. Raises NotFound."""
    with core.db.read() as session:
        row = session.scalar(select(Campaign).where(Campaign.experiment == actor.experiment, Campaign.name == name))
        if row is None:
            raise NotFound(f"Campaign '{name}' was not found for '{actor.experiment}' experiment")
        text = _version_text(session, row, row.version_number)
    return text if with_positions else parse(text).without_section("node_positions").text


def version_text(core: Core, actor: Actor, campaign_id: int, number: int | None = None) -> str:
    """The text of one version, or of the one in force. Raises NotFound."""
    with core.db.read() as session:
        row = _load(session, actor, campaign_id)
        return _version_text(session, row, row.version_number if number is None else number)


def with_own_line_ends(data: bytes, before: str) -> bytes:
    """A text that came out of a form, with the line ends of the text before where it has the same lines.

    Browsers send every line of a form with CR and LF: without this, each edit on a page would change every line.
    """
    ends: dict[bytes, bytes] = {}
    for line in _LINE.findall(before):
        text = line.rstrip("\r\n")
        ends.setdefault(text.encode(), line[len(text):].encode() or b"\n")
    common = max((b"\n", b"\r\n", b"\r"), key=list(ends.values()).count)
    lines = data.replace(b"\r\n", b"\n").split(b"\n")
    return b"".join(line + ends.get(line, common) for line in lines[:-1]) + lines[-1]


def compare_versions(core: Core, actor: Actor, campaign_id: int, old: int, new: int) -> list[dict[str, str]]:
    """The difference of two versions, for people."""
    return diff_lines(version_text(core, actor, campaign_id, old), version_text(core, actor, campaign_id, new))


def restore(core: Core, actor: Actor, campaign_id: int, number: int) -> SaveResult:
    """Save the text of an older version as a new version."""
    document = parse(version_text(core, actor, campaign_id, number))
    with core.db.read() as session:
        name = _load(session, actor, campaign_id).name
    if document.value("campaign", "name") != name:
        # The campaign was renamed since; under its old name this would be another campaign.
        document = document.with_value("campaign", "name", name)
    return save_text(core, actor, document.to_bytes(), source="restore", message=f"version {number} restored")


def rename(core: Core, actor: Actor, campaign_id: int, new_name: str, *, undo: Change = UNKEPT) -> str:
    """Give a campaign another name, in a new version of its text; what ran stays its own. Returns the old name.

    Taken back, that is one version more: numbers of versions are never given twice, since submissions and open editors
    go by them. Raises Invalid for what is no name, Conflict if another campaign of the experiment has it.
    """
    problem = check_name(new_name, "campaign")
    if problem:
        raise Invalid(problem, field="new_name")
    now = core.clock()
    with core.db.write() as session:
        row = _load(session, actor, campaign_id, lock=True)
        _require_right(actor, row)
        old = row.name
        if session.scalar(select(Campaign.campaign_id).where(
                Campaign.experiment == actor.experiment, Campaign.name == new_name)) is not None:
            raise Conflict(f"There is a campaign {new_name} in {actor.experiment} already.")
        before = _version_text(session, row, row.version_number)
        text = parse(before).with_value("campaign", "name", new_name)
        row.name, row.updater, row.updated = new_name, actor.experimenter_id, now
        row.version_number += 1
        undo.changed(session, row, to={"version_number": row.version_number + 1})
        undo.continued(session, CampaignVersion(
            campaign_id=campaign_id, number=row.version_number + 1, text=before, source="rename", created=now,
            message=f"renamed back from {new_name}", creator=actor.experimenter_id), key=("campaign_id", "number"),
            at="created")
        session.add(CampaignVersion(campaign_id=campaign_id, number=row.version_number, text=text.to_bytes().decode(),
                                    source="rename", message=f"renamed from {old}", creator=actor.experimenter_id,
                                    created=now))
        events.record(session, "campaign.saved", now, actor.username, experiment=row.experiment,
                      campaign_id=campaign_id, version=row.version_number, renamed_from=old)
    return old


def clone(core: Core, actor: Actor, campaign_id: int, new_name: str) -> SaveResult:
    """Save the text of a campaign under another name; login setups and job types are shared."""
    problem = check_name(new_name, "campaign")
    if problem:
        raise Invalid(problem, field="new_name")
    document = parse(version_text(core, actor, campaign_id)).with_value("campaign", "name", new_name)
    return save_text(core, actor, document.to_bytes(), source="clone", only_if_new=True,
                     message=f"cloned from campaign {campaign_id}")


def set_active(core: Core, actor: Actor, campaign_ids: Sequence[int], active: bool, *,
               clear_schedules: bool = False, undo: Change = UNKEPT) -> int:
    """Make campaigns active or inactive; all or none. Returns how many changed.

    With ``clear_schedules`` those made inactive lose the schedules of their stages, which would make them active again.
    """
    now, count = core.clock(), 0
    with core.db.write() as session:
        for number in campaign_ids:
            row = _load(session, actor, number, lock=True)
            _require_right(actor, row)
            if row.active != active:
                row.active, count = active, count + 1
                undo.changed(session, row)
                events.record(session, "campaign.activated" if active else "campaign.deactivated", now,
                              actor.username, experiment=row.experiment, campaign_id=number)
            if clear_schedules and not active:
                for stage in session.scalars(select(CampaignStage).where(CampaignStage.campaign_id == number)
                                             .order_by(CampaignStage.campaign_stage_id)):
                    schedules.drop(session, stage, actor.username, now)
    return count


def add_tag(core: Core, actor: Actor, campaign_ids: Sequence[int], name: str, *, undo: Change = UNKEPT) -> int:
    """Put a tag on campaigns; made if it is new. Returns how many carry it now that did not."""
    name = name.strip()
    problem = check_name(name, "tag")
    if problem:
        raise Invalid(problem, field="tag")
    count = 0
    with core.db.write() as session:
        tag = session.scalar(select(Tag).where(Tag.experiment == actor.experiment, Tag.tag_name == name))
        if tag is None:
            tag = Tag(experiment=actor.experiment, tag_name=name, creator=actor.experimenter_id,
                      creator_role=actor.creator_role)
            session.add(tag)
            session.flush()
            undo.added(session, tag)
        for number in campaign_ids:
            row = _load(session, actor, number, lock=True)
            _require_right(actor, row)
            if session.get(CampaignTag, (tag.tag_id, number)) is None:
                carried = CampaignTag(tag_id=tag.tag_id, campaign_id=number)
                session.add(carried)
                undo.added(session, carried, f"{name} of {row.name}")
                count += 1
    return count


def delete_campaign(core: Core, actor: Actor, campaign_id: int, *, undo: Change = UNKEPT) -> str:
    """Delete a campaign that was never launched; returns its name. Raises Conflict otherwise."""
    now = core.clock()
    with core.db.write() as session:
        row = _load(session, actor, campaign_id, lock=True)
        _require_right(actor, row)
        used = [session.scalar(select(table.campaign_id).where(table.campaign_id == campaign_id).limit(1))
                for table in (Submission, Launch)]
        if any(used):
            raise Conflict("This campaign has been submitted.  It cannot be deleted. Make it inactive instead.")
        undo.removed(session, [row])
        numbers = session.scalars(select(CampaignStage.campaign_stage_id)
                                  .where(CampaignStage.campaign_id == campaign_id)).all()
        session.execute(delete(CampaignDependency).where(or_(
            CampaignDependency.provider_campaign_stage_id.in_(numbers),
            CampaignDependency.consumer_campaign_stage_id.in_(numbers))))
        session.execute(delete(StageStatusCount).where(StageStatusCount.campaign_stage_id.in_(numbers)))
        session.execute(delete(CampaignStage).where(CampaignStage.campaign_stage_id.in_(numbers)))
        session.execute(delete(CampaignTag).where(CampaignTag.campaign_id == campaign_id))
        session.execute(delete(CampaignVersion).where(CampaignVersion.campaign_id == campaign_id))
        name = row.name
        session.delete(row)
        events.record(session, "campaign.deleted", now, actor.username, experiment=actor.experiment, name=name)
    return name


def launch_campaign(core: Core, actor: Actor, campaign_id: int, request_key: str, *, stage_id: int | None = None,
                    test: bool = False) -> Outcome:
    """Launch the stage that a campaign begins with: the one that no other stage feeds.

    Raises Invalid if there is not exactly one and none was chosen.
    """
    return launching.launch(core, actor, launch_request(core, actor, campaign_id, request_key, stage_id=stage_id,
                                                        test=test))


def launch_request(core: Core, actor: Actor, campaign_id: int, request_key: str, *, stage_id: int | None = None,
                   test: bool = False) -> LaunchRequest:
    """What ``launch_campaign`` asks for."""
    return request_for(campaign_id, *beginnings(core, actor, campaign_id), request_key, stage_id=stage_id, test=test)


def beginnings(core: Core, actor: Actor, campaign_id: int) -> tuple[dict[int, str], list[int]]:
    """The stages of a campaign by number, in their order, and the numbers of those that no other feeds."""
    with core.db.read() as session:
        _load(session, actor, campaign_id)
        stages = dict(session.execute(
            select(CampaignStage.campaign_stage_id, CampaignStage.name)
            .where(CampaignStage.campaign_id == campaign_id)
            .order_by(CampaignStage.position, CampaignStage.campaign_stage_id)).all())
        fed = set(session.scalars(
            select(CampaignDependency.consumer_campaign_stage_id)
            .where(CampaignDependency.consumer_campaign_stage_id.in_(stages),
                   CampaignDependency.consumer_campaign_stage_id != CampaignDependency.provider_campaign_stage_id)))
    return stages, [number for number in stages if number not in fed]


def request_for(campaign_id: int, stages: Mapping[int, str], leading: Sequence[int], request_key: str, *,
                stage_id: int | None = None, test: bool = False) -> LaunchRequest:
    """The launch of a campaign with these stages; raises Invalid, NotFound."""
    if stage_id is None and len(leading) != 1:
        names = ", ".join(stages[number] for number in leading)
        raise Invalid(f"Cannot determine which stage in campaign to launch of {len(leading)} candidates"
                      f"{': ' + names if names else ''}. Choose one.", field="campaign_stage_id")
    if stage_id is not None and stage_id not in stages:
        raise NotFound(f"There is no stage {stage_id} in campaign {campaign_id}.")
    return launch_requests.by_hand(leading[0] if stage_id is None else stage_id, request_key, test=test)


def diff_lines(old: str, new: str) -> list[dict[str, str]]:
    """The difference of two texts as lines of kind ``same``, ``gone``, ``came`` or ``place``; [] if equal."""
    if old == new:
        return []
    before, after = _LINE.findall(old), _LINE.findall(new)
    if len(before) + len(after) > MOST_LINES_COMPARED:
        return [{"kind": "place", "text": f"{len(before):,} lines and {len(after):,} lines: too many to compare."}]
    kinds = {" ": "same", "-": "gone", "+": "came", "@": "place"}
    lines = list(difflib.unified_diff(before, after, lineterm="", n=2))[2:]
    return [{"kind": kinds[line[0]], "text": line if line[0] == "@" else _shown(line)} for line in lines]


def _shown(line: str) -> str:
    """A line of a difference without its mark and its end; on changed lines, ends that cannot be seen are named."""
    text = line[1:].rstrip("\r\n")
    end = line[1 + len(text):]
    return text if line[0] == " " or end == "\n" else text + {"": " (without a line end)"}.get(end, "␍")


# -------------------------------------------------------------------------------------- saving


def _load(session: Session, actor: Actor, campaign_id: int, *, lock: bool = False) -> Campaign:
    query = select(Campaign).where(Campaign.campaign_id == campaign_id, Campaign.experiment == actor.experiment)
    row = session.scalar(query.with_for_update() if lock else query)
    if row is None:
        raise NotFound(f"There is no campaign {campaign_id} in {actor.experiment}.")
    return row


def _require_right(actor: Actor, row: Campaign | None) -> None:
    refusal = (permissions.refusal(actor, "create") if row is None else
               permissions.refusal(actor, "modify", owner_role=row.creator_role, owner_id=row.creator))
    if refusal:
        raise NotAllowed(refusal)


def _version_text(session: Session, row: Campaign, number: int) -> str:
    version = session.scalar(select(CampaignVersion).where(CampaignVersion.campaign_id == row.campaign_id,
                                                           CampaignVersion.number == number))
    if version is None:
        raise NotFound(f"Campaign {row.name} has no version {number}.")
    return version.text


def examined(core: Core, actor: Actor, data: bytes) -> Examination:
    """A text with every problem that saving it would meet; nothing is stored, and whose its name is does not matter."""
    known, _ = _known_names(core, actor.experiment)
    return examine(data, known=known, creator_role=actor.creator_role, analysis_login=None, limit=LONGEST_TEXT)


def _known_names(core: Core, experiment: str) -> tuple[spec.KnownNames, set[str]]:
    """What a text of this experiment may refer to, and the titles of the blocks that are the experiment's own."""
    both = (experiment, SHARED_EXPERIMENT)
    with core.db.read() as session:
        setups = session.scalars(select(LoginSetup).where(LoginSetup.experiment.in_(both))).all()
        job_types = session.scalars(select(JobType).where(JobType.experiment.in_(both))).all()
    own = {f"{kind} {row.name}" for kind, rows in (("login_setup", setups), ("job_type", job_types))
           for row in rows if row.experiment == experiment}
    return spec.KnownNames(
        login_setups={row.name: _setup_spec(row) for row in _own_first(setups, experiment)},
        job_types={row.name: _job_type_spec(row) for row in _own_first(job_types, experiment)},
        split_types=tuple(core.backends.split_types) or None,
        split_fault=partial(splits.fault, core, experiment) if core.backends.split_types else None,
        recovery_types=tuple(core.backends.data(experiment).recovery_kinds())), own


def _warnings(examined: Examination, own: set[str]) -> list[str]:
    """What is odd about a text. A block that only the shared experiment has is saved as the experiment's own."""
    return [warning.message if warning.code == "already-exists" else str(warning) for warning in examined.warnings
            if warning.code != "already-exists" or warning.field in own]


def _own_first(rows: Sequence[Any], experiment: str) -> list[Any]:
    """Rows in an order in which the experiment's own come last, and so win in a dictionary."""
    return sorted(rows, key=lambda row: row.experiment == experiment)


def _setup_spec(row: LoginSetup) -> spec.LoginSetup:
    return spec.LoginSetup(row.name, row.launch_host, row.launch_account, row.launch_setup)


def _job_type_spec(row: JobType) -> spec.JobType:
    return spec.JobType(row.name, row.launch_script, _pairs(row.definition_parameters),
                        tuple(row.output_file_patterns.split(",")),
                        tuple((entry.recovery_type, _pairs(entry.param_overrides)) for entry in row.recoveries))


def _pairs(stored: Any) -> tuple[tuple[str, str], ...]:
    return tuple((str(key), str(value)) for key, value in stored or [])


def _save_blocks(session: Session, actor: Actor, campaign: spec.Campaign, now: datetime) -> None:
    """Insert login setups and job types that are new; those that exist are never changed by a text."""
    made = {"experiment": actor.experiment, "creator": actor.experimenter_id, "creator_role": actor.creator_role,
            "created": now}
    have = set(session.scalars(select(LoginSetup.name).where(LoginSetup.experiment == actor.experiment)))
    for block in campaign.login_setups:
        if block.name not in have:
            session.add(LoginSetup(name=block.name, launch_host=block.host, launch_account=block.account,
                                   launch_setup=block.setup, **made))
    have = set(session.scalars(select(JobType.name).where(JobType.experiment == actor.experiment)))
    for block in campaign.job_types:
        if block.name not in have:
            session.add(JobType(
                name=block.name, launch_script=block.launch_script, definition_parameters=_lists(block.parameters),
                output_file_patterns=",".join(block.output_file_patterns), **made,
                recoveries=[Recovery(recovery_order=order, recovery_type=kind, param_overrides=_lists(pairs))
                            for order, (kind, pairs) in enumerate(block.recoveries)]))
    session.flush()


def _lists(pairs: Sequence[tuple[str, str]]) -> list[list[str]]:
    """Pairs in the form in which the database gives them back, so that equal ones compare equal."""
    return [[key, value] for key, value in pairs]


def _save_campaign(session: Session, actor: Actor, row: Campaign | None, campaign: spec.Campaign,
                   now: datetime) -> Campaign:
    if row is None:
        row = Campaign(experiment=actor.experiment, name=campaign.name, creator=actor.experimenter_id,
                       creator_role=actor.creator_role, created=now, last_activity_at=now, version_number=0)
        session.add(row)
    else:
        row.updater, row.updated = actor.experimenter_id, now
    row.defaults = _plain_defaults(campaign.defaults)
    row.campaign_keywords = {str(key): str(value) for key, value in campaign.keywords.items()} or None
    row.campaign_type = campaign.campaign_type or None
    row.data_handling_service = campaign.data_handling_service
    session.flush()
    return row


def _plain_defaults(defaults: spec.Defaults | None) -> dict[str, Any] | None:
    if defaults is None:
        return None
    plain = {key: value for key, value in asdict(defaults).items() if value is not None}
    return {key: _lists(value) if isinstance(value, tuple) else value for key, value in plain.items()}


def _save_stages(session: Session, actor: Actor, row: Campaign, campaign: spec.Campaign,
                 now: datetime, *, renames: Mapping[str, str]) -> list[str]:
    """Make the stages and dependencies those of the text; what is not in it any more is detached, not deleted."""
    warnings = []
    stages = {stage.name: stage for stage in session.scalars(
        select(CampaignStage).where(CampaignStage.campaign_id == row.campaign_id).with_for_update())}
    setups = _ids_by_name(session, LoginSetup, LoginSetup.login_setup_id, row.experiment)
    job_types = _ids_by_name(session, JobType, JobType.job_type_id, row.experiment)
    wanted = {stage.name for stage in campaign.stages}
    stages = _rename_stages(session, stages, {old: new for old, new in renames.items() if new in wanted})
    for name, stage in list(stages.items()):
        if name not in wanted:
            lost = _detach(session, actor, stage, now)
            warnings.append(f"Stage '{name}' is no longer part of the campaign; its submissions are kept"
                            + (", its schedule is deleted." if lost else "."))
            del stages[name]
    for stage in _detached(session, row, wanted - set(stages)):
        stage.campaign_id = row.campaign_id
        stages[stage.name] = stage
        warnings.append(f"Stage '{stage.name}' is part of the campaign again, with its submissions.")
    for position, item in enumerate(campaign.stages):
        values = _stage_values(item, position, setups, job_types)
        stage = stages.get(item.name)
        if stage is None:
            stage = CampaignStage(campaign_id=row.campaign_id, experiment=row.experiment, name=item.name,
                                  creator=actor.experimenter_id, creator_role=row.creator_role, created=now, **values)
            session.add(stage)
            stages[item.name] = stage
        else:
            warnings += _update_stage(stage, values, actor, now)
    session.flush()
    warnings += _save_dependencies(session, stages, campaign)
    return warnings


def _rename_stages(session: Session, stages: Mapping[str, CampaignStage],
                   renames: Mapping[str, str]) -> dict[str, CampaignStage]:
    """Give stages their new names, also where two exchange theirs; a name that another keeps is not taken."""
    moving = {old: new for old, new in renames.items()
              if old in stages and old != new and (new not in stages or new in renames)}
    if not moving or len(set(moving.values())) < len(moving):
        return dict(stages)
    # By way of names that no text can have: two rows may not have one name even for a moment.
    for old in moving:
        stages[old].name = f"[{old}]"
    session.flush()
    for old, new in moving.items():
        stages[old].name = new
    session.flush()
    return {stage.name: stage for stage in stages.values()}


def _ids_by_name(session: Session, table: Any, column: Any, experiment: str) -> dict[str, int]:
    rows = session.execute(select(table.name, column, table.experiment)
                           .where(table.experiment.in_((experiment, SHARED_EXPERIMENT)))).all()
    return {name: number for name, number, _ in sorted(rows, key=lambda row: row[2] == experiment)}


def _stage_values(item: spec.StageSpec, position: int, setups: Mapping[str, int],
                  job_types: Mapping[str, int]) -> dict[str, Any]:
    handling = {key.name: getattr(item, key.name) for key in spec.STAGE_KEYS.values()
                if key.default_key and getattr(item, key.name) not in (None, "")}
    return {
        "position": position, "job_type_id": job_types[item.job_type or ""],
        "login_setup_id": setups[item.login_setup or ""], "vo_role": item.vo_role,
        "dataset": item.dataset_or_split_data or "", "software_version": item.software_version,
        "cs_split_type": item.cs_split_type or None, "test_split_type": item.test_split_type or None,
        "param_overrides": _lists(item.param_overrides), "test_param_overrides": _lists(item.test_param_overrides),
        "merge_overrides": item.merge_overrides, "completion_type": item.completion_type,
        "completion_pct": item.completion_pct, "output_ancestor_depth": item.output_ancestor_depth,
        "campaign_stage_type": item.stage_type, "default_clear_cronjob": item.default_clear_cronjob,
        "data_handling": handling or None,
        "start_when": item.start_when or None, "scout": item.scout or None,
        # "" is None as the text says it: no rules, although the experiment may have some.
        "recovery_policy": item.recovery_policy or (None if "recovery_policy" in item.inherited else ""),
    }


def _update_stage(stage: CampaignStage, values: dict[str, Any], actor: Actor, now: datetime) -> list[str]:
    """Change what differs; another split or dataset begins at its start."""
    changed = {name for name, value in values.items() if getattr(stage, name) != value}
    if not changed:
        return []
    for name in changed:
        setattr(stage, name, values[name])
    stage.updater, stage.updated = actor.experimenter_id, now
    warnings = []
    if changed & {"cs_split_type", "dataset"} and stage.cs_last_split is not None:
        stage.cs_last_split = None
        warnings.append(f"The split of stage '{stage.name}' begins again at its start.")
    if changed & {"test_split_type", "dataset"}:
        stage.last_split_test = None
    return warnings


def _detach(session: Session, actor: Actor, stage: CampaignStage, now: datetime) -> bool:
    """Take a stage out of its campaign; True if it lost a schedule."""
    session.execute(delete(CampaignDependency).where(or_(
        CampaignDependency.provider_campaign_stage_id == stage.campaign_stage_id,
        CampaignDependency.consumer_campaign_stage_id == stage.campaign_stage_id)))
    had_schedule = schedules.drop(session, stage, actor.username, now)
    stage.campaign_id = None
    session.flush()
    return had_schedule


def _detached(session: Session, row: Campaign, names: set[str]) -> list[CampaignStage]:
    """The stages of these names that an earlier text took out of the campaign, as far as they were launched in it."""
    found = session.scalars(
        select(CampaignStage).where(
            CampaignStage.campaign_id.is_(None), CampaignStage.experiment == row.experiment,
            CampaignStage.name.in_(names),
            select(Submission.submission_id).where(
                Submission.campaign_stage_id == CampaignStage.campaign_stage_id,
                Submission.campaign_id == row.campaign_id).exists())
        .order_by(CampaignStage.campaign_stage_id).with_for_update()).all() if names else []
    return list({stage.name: stage for stage in found}.values())


def _save_dependencies(session: Session, stages: Mapping[str, CampaignStage], campaign: spec.Campaign) -> list[str]:
    numbers = {name: stage.campaign_stage_id for name, stage in stages.items()}
    rows = session.scalars(select(CampaignDependency).where(or_(
        CampaignDependency.provider_campaign_stage_id.in_(numbers.values()),
        CampaignDependency.consumer_campaign_stage_id.in_(numbers.values())))).all()
    inside = set(numbers.values())
    own = {(row.provider_campaign_stage_id, row.consumer_campaign_stage_id): row for row in rows
           if {row.provider_campaign_stage_id, row.consumer_campaign_stage_id} <= inside}
    for item in campaign.dependencies:
        pair = (numbers[item.needs], numbers[item.consumer])
        row = own.pop(pair, None)
        if row is None:
            session.add(CampaignDependency(provider_campaign_stage_id=pair[0], consumer_campaign_stage_id=pair[1],
                                           file_patterns=item.file_pattern))
        else:
            row.file_patterns = item.file_pattern
    for row in own.values():
        session.delete(row)
    session.flush()
    foreign = len(rows) - sum(1 for row in rows if {row.provider_campaign_stage_id,
                                                    row.consumer_campaign_stage_id} <= inside)
    return [f"{foreign} dependencies with stages of other campaigns are kept."] if foreign else []


def _stage_list(session: Session, row: Campaign | None) -> tuple[tuple[int, str], ...]:
    if row is None:
        return ()
    return tuple(session.execute(
        select(CampaignStage.campaign_stage_id, CampaignStage.name)
        .where(CampaignStage.campaign_id == row.campaign_id)
        .order_by(CampaignStage.position, CampaignStage.campaign_stage_id)).all())


def _summary(diff: Sequence[Mapping[str, str]]) -> str:
    came = sum(1 for line in diff if line["kind"] == "came")
    gone = sum(1 for line in diff if line["kind"] == "gone")
    return f"{came} lines added, {gone} removed" if came or gone else "much changed"
