"""The campaign as text: the canonical form, and changes to a text that leave the rest of it alone.

What a value looks like is ``model.Key``'s and ``values``'; where lines go is ``document``'s.
Invariant: equal campaigns give equal text, reading it gives the campaign again, and
``update_document(d, read(d).campaign) == d`` line by line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from poms.webservice.errors import Invalid, Problem
from poms.webservice.rules.campaign_text import order, values
from poms.webservice.rules.campaign_text.document import Document, Section, check_title, clean_value, render_entry
from poms.webservice.rules.campaign_text.model import (
    DATA_DISPATCHER_KEYS,
    DEFAULT_KEYS,
    STAGE_KEYS,
    Campaign,
    Defaults,
    Dependency,
    JobType,
    LoginSetup,
    NodePosition,
    StageSpec,
    inherited_value,
)
from poms.webservice.rules.campaign_text.reading import CAMPAIGN_KEYS, JOB_TYPE_KEYS, LOGIN_SETUP_KEYS, read

# Two sections were always written with blanks; programs that read them line by line know them so.
_SPACED = " = "
# Programs of before do not know them, so that they appear only where they are used.
_ONLY_IF_SET = ("test_split_type", "recovery_policy", "start_when", "scout")
_SETTINGS = ("sam_settings", "data_dispatcher_settings")


def write_campaign(campaign: Campaign, *, full: bool = False) -> str:
    """The canonical text; ``full`` adds the positions of the editor's nodes.

    Raises Invalid for a campaign that no text can express (a name with a line end in it).
    """
    names = order.launch_order([stage.name for stage in campaign.stages], _edges(campaign))
    stages = {stage.name: stage for stage in campaign.stages}
    if len(stages) != len(campaign.stages):
        raise Invalid(Problem("campaign_stage", "Two stages have the same name; rename one.", code="duplicate-section"))
    parts: list[str] = [_section("campaign", _campaign_values(campaign, names))]
    defaults = campaign.defaults
    if defaults is not None:
        parts.append(_section("campaign_defaults", _default_values(defaults)))
        dispatcher = _dispatcher_defaults(defaults)
        if dispatcher:
            parts.append(_section("data_dispatcher_defaults", dispatcher))
    if full and campaign.node_positions:
        parts.append(_section("node_positions", _position_values(campaign.node_positions)))
    parts += [_section(f"campaign_stage {name}", _stage_values(stages[name], defaults)) for name in names]
    parts += [_section(f"login_setup {each.name}", login_setup_values(each))
              for each in sorted(campaign.login_setups, key=lambda setup: setup.name)]
    parts += [_section(f"job_type {each.name}", job_type_values(each), {"recoveries": _SPACED})
              for each in sorted(campaign.job_types, key=lambda job_type: job_type.name)]
    for consumer in [*names, *sorted({each.consumer for each in campaign.dependencies} - stages.keys())]:
        needed = _dependency_values([each for each in campaign.dependencies if each.consumer == consumer])
        if needed:
            parts.append(_section(f"dependencies {consumer}", needed, dict.fromkeys(needed, _SPACED)))
    return "".join(parts)


def _section(title: str, entries: Mapping[str, str], separators: Mapping[str, str] | None = None) -> str:
    lines = [f"[{check_title(title)}]\n"]
    for key, value in entries.items():
        lines += render_entry(key, value, separator=(separators or {}).get(key, "="))
    return "".join((*lines, "\n"))


def _edges(campaign: Campaign) -> list[tuple[str, str]]:
    return [(each.needs, each.consumer) for each in campaign.dependencies]


# ------------------------------------------------------------------------------ values of sections


def _campaign_values(campaign: Campaign, names: Sequence[str]) -> dict[str, str]:
    service = campaign.data_handling_service
    written = {"experiment": campaign.experiment, "poms_role": campaign.poms_role, "name": campaign.name,
               "state": campaign.state, "campaign_type": campaign.campaign_type,
               "data_handling_service": "" if service == "sam" else service,
               "campaign_keywords": values.object_text(campaign.keywords) if campaign.keywords else "",
               "campaign_stage_list": ",".join(names)}
    return {key: value for key, value in written.items() if value or key == "name"}


def _default_values(defaults: Defaults) -> dict[str, str]:
    return {key: STAGE_KEYS[key].write(getattr(defaults, key)) for key in DEFAULT_KEYS
            if key not in _ONLY_IF_SET or getattr(defaults, key)}


def _dispatcher_defaults(defaults: Defaults) -> dict[str, str]:
    return {STAGE_KEYS[key].default_key: STAGE_KEYS[key].write(getattr(defaults, key)) for key in DATA_DISPATCHER_KEYS
            if getattr(defaults, key) not in (None, "")}


def _stage_values(stage: StageSpec, defaults: Defaults | None) -> dict[str, str]:
    """The keys that differ from the defaults, and those that are always written."""
    written: dict[str, str] = {}
    for key in STAGE_KEYS.values():
        text = key.write(getattr(stage, key.name))
        same = text == key.write(inherited_value(key, defaults))
        everything = defaults is None and not key.default_key and key.name not in _ONLY_IF_SET
        if key.always_written or everything or not same:
            written[key.name] = text
    return written


def login_setup_values(setup: LoginSetup) -> dict[str, str]:
    return dict(zip(LOGIN_SETUP_KEYS, (setup.host, setup.account, values.one_line(setup.setup)), strict=True))


def job_type_values(job_type: JobType) -> dict[str, str]:
    patterns = ",".join(values.one_percent(pattern) for pattern in job_type.output_file_patterns) or "%"
    return dict(zip(JOB_TYPE_KEYS, (values.script_lines(job_type.launch_script), values.pairs_text(job_type.parameters),
                                    patterns, values.recoveries_text(job_type.recoveries)), strict=True))


def _dependency_values(dependencies: Iterable[Dependency]) -> dict[str, str]:
    written: dict[str, str] = {}
    for number, each in enumerate(sorted(dependencies, key=lambda one: (one.needs, _pattern(one))), 1):
        written[f"campaign_stage_{number}"] = each.needs
        written[f"file_pattern_{number}"] = _pattern(each)
    return written


def _pattern(dependency: Dependency) -> str:
    return values.normal_pattern(dependency.file_pattern)


def _position_values(positions: Sequence[NodePosition]) -> dict[str, str]:
    ordered = sorted(positions, key=lambda position: position.label)
    return {f"nxy{number}": _position_text(position) for number, position in enumerate(ordered)}


def _position_text(position: NodePosition) -> str:
    x, y = (int(number) if float(number).is_integer() else number for number in (position.x, position.y))
    return values.compact([position.label, x, y])


# -------------------------------------------------------------------------------- changing a text


def update_document(document: Document, campaign: Campaign) -> Document:
    """The document changed to say what ``campaign`` says, in as few lines as that takes.

    A stage of another name is another stage: for a change of name call ``rename_stage`` first.
    """
    document = _update_campaign(document, campaign)
    document = _update_defaults(document, campaign.defaults)
    document = _update_sections(document, "campaign_stage", {
        stage.name: _stage_values(stage, campaign.defaults) for stage in campaign.stages})
    document = _update_stages(document, campaign)
    document = _update_stage_list(document, campaign)
    document = _update_blocks(document, campaign)
    document = _update_dependencies(document, campaign)
    return _update_positions(document, campaign.node_positions)


def rename_stage(document: Document, old: str, new: str) -> Document:
    """Rename a stage wherever the text names it: headers, dependencies, the list of stages, positions."""
    document = document.with_title(f"campaign_stage {old}", f"campaign_stage {new}")
    document = document.with_title(f"dependencies {old}", f"dependencies {new}")
    for section in document.of_kind("dependencies"):
        for entry in section.entries:
            if entry.key.startswith("campaign_stage_") and entry.value.strip() == old:
                document = document.with_value(section.title, entry.key, new)
    listed = document.value("campaign", "campaign_stage_list")
    if listed:
        names = [new if name.strip() == old else name for name in listed.split(",")]
        document = document.with_value("campaign", "campaign_stage_list", ",".join(names))
    return _rename_position(document, old, new)


def rename_campaign(document: Document, name: str) -> Document:
    """Give the campaign another name, also where positions tell it."""
    old = document.value("campaign", "name") or ""
    document = document.with_value("campaign", "name", name, order=CAMPAIGN_KEYS)
    return _rename_position(document, f"campaign {old}", f"campaign {name}")


def _rename_position(document: Document, old: str, new: str) -> Document:
    positions = read(document).campaign.node_positions
    for position in positions:
        if position.label == old:
            key = _position_keys(document)[old]
            document = document.with_value("node_positions", key, _position_text(replace(position, label=new)))
    return document


def _update_campaign(document: Document, campaign: Campaign) -> Document:
    now = read(document).campaign
    if not document.section("campaign"):
        return document.with_section("campaign", _campaign_values(campaign, _in_text_order(document, campaign)))
    for key in ("name", "experiment", "poms_role", "state", "campaign_type"):
        wanted = getattr(campaign, key)
        if wanted != getattr(now, key):
            document = document.with_value("campaign", key, wanted, order=CAMPAIGN_KEYS) if wanted \
                else document.without_key("campaign", key)
    if dict(campaign.keywords) != dict(now.keywords):
        document = _set_shared(document, "campaign_keywords", values.object_text(campaign.keywords))
    if campaign.data_handling_service != now.data_handling_service:
        document = _set_shared(document, "data_handling_service", campaign.data_handling_service)
    return document


def _set_shared(document: Document, key: str, text: str) -> Document:
    """Set a key of [campaign] where it stands: old programs kept it in [campaign_defaults]."""
    in_campaign = not values.is_unset(document.value("campaign", key))
    in_defaults = not values.is_unset(document.value("campaign_defaults", key))
    title = "campaign_defaults" if in_defaults and not in_campaign else "campaign"
    return document.with_value(title, key, text, order=CAMPAIGN_KEYS if title == "campaign" else DEFAULT_KEYS)


def _update_stage_list(document: Document, campaign: Campaign) -> Document:
    listed = document.value("campaign", "campaign_stage_list")
    if listed is None:
        return document
    names = [name.strip() for name in listed.split(",") if name.strip()]
    wanted = _in_text_order(document, campaign)
    if sorted(names) == sorted(wanted) or ",".join(names) == ",".join(wanted):
        return document
    return document.with_value("campaign", "campaign_stage_list", ",".join(wanted))


def _in_text_order(document: Document, campaign: Campaign) -> list[str]:
    there = [section.name for section in document.of_kind("campaign_stage")]
    names = order.launch_order([stage.name for stage in campaign.stages], _edges(campaign))
    return [name for name in there if name in names] + [name for name in names if name not in there]


# ----------------------------------------------------------------------------- defaults and stages


def _update_defaults(document: Document, wanted: Defaults | None) -> Document:
    if wanted is None:
        for title in ("campaign_defaults", "sam_defaults", "data_dispatcher_defaults"):
            document = document.without_section(title)
        return document
    if not document.section("campaign_defaults"):
        document = document.with_section("campaign_defaults", _default_values(wanted))
    now = read(document).campaign.defaults or Defaults()
    for key in STAGE_KEYS.values():
        value = getattr(wanted, key.name)
        if key.write(value) != key.write(getattr(now, key.name)):
            document = _set_default(document, key.name, value)
    return document


def _set_default(document: Document, key: str, value: Any) -> Document:
    """Set a default where it is stated, or where its kind is written."""
    short = STAGE_KEYS[key].default_key
    text = STAGE_KEYS[key].write(value)
    others = [("data_dispatcher_defaults", name) for name in (short, _OTHER_SHORT.get(short, "")) if name]
    if key == "dataset_or_split_data":
        others = [("sam_defaults", key)]
    if text == "None":
        for title, name in others:
            document = document.without_key(title, name)
        document = _without_setting(document, "campaign_defaults", key)
        return document.with_value("campaign_defaults", key, text) \
            if document.value("campaign_defaults", key) is not None else document
    place = next(((title, name) for title, name in others if document.value(title, name) is not None), None)
    if short and values.is_unset(document.value("campaign_defaults", key)):
        title, name = place or ("data_dispatcher_defaults", short)
        return document.with_value(title, name, text)
    return document.with_value("campaign_defaults", key, text, order=DEFAULT_KEYS)


_OTHER_SHORT = {"dataset_query": "query", "virtual": "project_virtual"}


def _without_setting(document: Document, title: str, key: str) -> Document:
    """Take a value out of the JSON settings objects of a section."""
    names = {key, STAGE_KEYS[key].default_key, _OTHER_SHORT.get(STAGE_KEYS[key].default_key, "")}
    for written in _SETTINGS:
        text = document.value(title, written)
        if values.is_unset(text):
            continue
        settings = values.json_object(text or "")
        kept = {name: value for name, value in settings.items() if name not in names}
        if kept != settings:
            document = document.with_value(title, written, values.object_text(kept))
    return document


def _update_sections(document: Document, kind: str, wanted: Mapping[str, Mapping[str, str]],
                     separators: Mapping[str, str] | None = None) -> Document:
    """Remove the sections of a kind that are not wanted and add the missing ones."""
    for section in document.of_kind(kind):
        if section.name not in wanted:
            document = document.without_section(section.title)
    for name, entries in wanted.items():
        if not document.section(f"{kind} {name}"):
            document = document.with_section(f"{kind} {name}", entries, separators=separators)
    return document


def _update_stages(document: Document, campaign: Campaign) -> Document:
    now = {stage.name: stage for stage in read(document).campaign.stages}
    keys = tuple(STAGE_KEYS)
    replaced: dict[str, Section] = {}
    for stage in campaign.stages:
        section = document.section(f"campaign_stage {stage.name}")
        if section is None or stage.name not in now:
            continue
        changed = section
        for key in STAGE_KEYS.values():
            text = key.write(getattr(stage, key.name))
            if text == key.write(getattr(now[stage.name], key.name)):
                continue
            inherits = text == key.write(inherited_value(key, campaign.defaults)) and not key.always_written \
                and not any(written in section.values for written in _SETTINGS)
            changed = changed.without(key.name) if inherits else document.set_in(changed, key.name, text, order=keys)
        replaced[section.title] = changed
    return replace(document, sections=tuple(replaced.get(section.title, section) for section in document.sections))


# --------------------------------------------------------------------- blocks, dependencies, positions


def _update_blocks(document: Document, campaign: Campaign) -> Document:
    setups = {each.name: login_setup_values(each) for each in campaign.login_setups}
    job_types = {each.name: job_type_values(each) for each in campaign.job_types}
    document = _update_sections(document, "login_setup", setups)
    document = _update_sections(document, "job_type", job_types, {"recoveries": _SPACED})
    now = read(document).campaign
    there = {f"login_setup {each.name}": login_setup_values(each) for each in now.login_setups}
    there |= {f"job_type {each.name}": job_type_values(each) for each in now.job_types}
    wanted = {**{f"login_setup {name}": entries for name, entries in setups.items()},
              **{f"job_type {name}": entries for name, entries in job_types.items()}}
    for title, entries in wanted.items():
        for key, text in entries.items():
            if clean_value(text) != clean_value(there[title][key]):
                document = document.with_value(title, key, text, order=tuple(entries))
    return document


def _update_dependencies(document: Document, campaign: Campaign) -> Document:
    wanted: dict[str, list[Dependency]] = {}
    for each in campaign.dependencies:
        wanted.setdefault(each.consumer, []).append(each)
    for section in document.of_kind("dependencies"):
        if section.name not in wanted:
            document = document.without_section(section.title)
    now: dict[str, list[Dependency]] = {}
    for each in read(document).campaign.dependencies:
        now.setdefault(each.consumer, []).append(each)
    for consumer, dependencies in wanted.items():
        section = document.section(f"dependencies {consumer}")
        if section is None:
            entries = _dependency_values(dependencies)
            document = document.with_section(f"dependencies {consumer}", entries,
                                             separators=dict.fromkeys(entries, _SPACED))
        else:
            document = _update_pairs(document, section, now.get(consumer, []), dependencies)
    return document


def _update_pairs(document: Document, section: Section, now: Sequence[Dependency],
                  wanted: Sequence[Dependency]) -> Document:
    """Change the pairs of one consumer: the same ones stay, then those of the same stage get another pattern."""
    left = list(now)
    missing = []
    for each in wanted:
        same = next((one for one in left if (one.needs, _pattern(one)) == (each.needs, _pattern(each))), None)
        if same is None:
            missing.append(each)
        else:
            left.remove(same)
    changed = section
    added = []
    for each in missing:
        same = next((one for one in left if one.needs == each.needs), None)
        if same is None:
            added.append(each)
            continue
        left.remove(same)
        changed = document.set_in(changed, f"file_pattern_{same.number}", _pattern(each),
                                  order=(f"campaign_stage_{same.number}", f"file_pattern_{same.number}"))
    for each in left:
        for entry in changed.entries:
            kind, _, number = entry.key.rpartition("_")
            if kind in ("campaign_stage", "file_pattern") and number.isdecimal() and int(number) == each.number:
                changed = changed.without(entry.key)
    number = max((each.number for each in now), default=0)
    for each in added:
        number += 1
        changed = document.set_in(changed, f"campaign_stage_{number}", each.needs)
        changed = document.set_in(changed, f"file_pattern_{number}", _pattern(each))
    return document if changed is section else document.with_replaced(section, changed)


def _update_positions(document: Document, wanted: Sequence[NodePosition]) -> Document:
    there = {position.label: position for position in read(document).campaign.node_positions}
    if not wanted:
        return document.without_section("node_positions") if there else document
    if not document.section("node_positions"):
        return document.with_section("node_positions", _position_values(wanted))
    keys = _position_keys(document)
    for label in there.keys() - {position.label for position in wanted}:
        document = document.without_key("node_positions", keys[label])
    number = max((int(key[3:]) for key in keys.values()), default=-1)
    for position in wanted:
        if position.label in there and position != there[position.label]:
            document = document.with_value("node_positions", keys[position.label], _position_text(position))
        elif position.label not in there:
            number += 1
            document = document.with_value("node_positions", f"nxy{number}", _position_text(position))
    return document


def _position_keys(document: Document) -> dict[str, str]:
    """Label to the key under which the document states its position."""
    keys: dict[str, str] = {}
    section = document.section("node_positions")
    for entry in section.entries if section else ():
        one = read(Document(sections=(replace(section, items=(entry,)),))).campaign.node_positions
        if one:
            keys.setdefault(one[0].label, entry.key)
    return keys
