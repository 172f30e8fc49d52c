"""From the document to the campaign: typed values, defaults applied, old spellings accepted.

Reports what cannot be read (with section, key and line) and goes on; whether the campaign makes
sense is ``checking``'s. Invariant: never raises for what a text contains, and never guesses a value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from poms.webservice.errors import Invalid, Problem
from poms.webservice.rules.campaign_text import values
from poms.webservice.rules.campaign_text.document import SECTION_ORDER, Document, Section
from poms.webservice.rules.campaign_text.findings import Collector
from poms.webservice.rules.campaign_text.model import (
    DATA_DISPATCHER_KEYS,
    DATA_HANDLING_SERVICES,
    STAGE_KEYS,
    Campaign,
    Defaults,
    Dependency,
    JobType,
    LoginSetup,
    NodePosition,
    StageSpec,
    is_empty,
    stage_with,
)
from poms.webservice.rules.campaign_text.values import BadValue

CAMPAIGN_KEYS = ("experiment", "poms_role", "name", "state", "campaign_type", "data_handling_service",
                 "campaign_keywords", "campaign_stage_list")
LOGIN_SETUP_KEYS = ("host", "account", "setup")
JOB_TYPE_KEYS = ("launch_script", "parameters", "output_file_patterns", "recoveries")
NAMED_KINDS = ("campaign_stage", "login_setup", "job_type", "dependencies")

_SETTINGS_KEYS = ("sam_settings", "data_dispatcher_settings")
# Names by which the two settings objects and the two default sections call a stage's key.
_SETTINGS_NAMES: Mapping[str, str] = {
    "dataset_or_split_data": "dataset_or_split_data",
    "query": "data_dispatcher_dataset_query",
    "project_virtual": "data_dispatcher_project_virtual",
    **{STAGE_KEYS[key].default_key: key for key in DATA_DISPATCHER_KEYS},
}
_DEFAULT_NAMES: Mapping[str, Mapping[str, str]] = {
    "campaign_defaults": {key: key for key in STAGE_KEYS},
    "sam_defaults": {"dataset_or_split_data": "dataset_or_split_data"},
    "data_dispatcher_defaults": _SETTINGS_NAMES,
}
_OTHER_DEFAULTS = (*_SETTINGS_KEYS, "campaign_keywords", "data_handling_service")
# Written by old programs, and without meaning since.
_SILENT = {"campaign_stage": ("state", "name"), "campaign_defaults": ("state", "name"), "login_setup": ("name",),
           "job_type": ("name",), "dependencies": ("name",)}
_PAIRED = re.compile(r"(campaign_stage|file_pattern)_([0-9]{1,6})")
_POSITION = re.compile(r"nxy[0-9]+")


@dataclass(frozen=True, slots=True)
class Reading:
    """The campaign as far as it can be read; where a value could not be, it counts as not set."""

    campaign: Campaign
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()


def read_campaign(document: Document) -> tuple[Campaign, tuple[Problem, ...]]:
    """The campaign and warnings; raises Invalid with every value that cannot be read."""
    reading = read(document)
    if reading.problems:
        raise Invalid(reading.problems)
    return reading.campaign, reading.warnings


def read(document: Document) -> Reading:
    return _Reader(document).read()


class _Reader:
    """One pass over one document; keeps the document and what was found so far."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._found = Collector()

    def read(self) -> Reading:
        self._check_sections()
        defaults = self._defaults()
        campaign = self._campaign(defaults)
        found = self._found.findings()
        return Reading(campaign, found.problems, found.warnings)

    # ---------------------------------------------------------------------------- sections

    def _check_sections(self) -> None:
        for section in self._document.sections:
            line = self._document.line_of(section.title)
            kind, name = section.kind, section.name
            if kind in NAMED_KINDS and not name:
                self._found.error(section.title, "missing-name",
                                  f"The section has no name; write [{kind} NAME].", line)
            elif section.title == "DEFAULT":
                self._found.error(section.title, "unknown-section",
                                  "A [DEFAULT] section is not used; write [campaign_defaults].", line)
            elif kind not in SECTION_ORDER:
                hint = self._found.hint(kind, SECTION_ORDER)
                self._found.warn(section.title, "unknown-section",
                                 f"There is no section [{kind}]; it is ignored.{hint}", line)
            elif kind not in NAMED_KINDS and name:
                self._found.error(section.title, "unknown-section",
                                  f"[{kind}] takes no name; write [{kind}] and, inside it, name={name}."
                                  if kind == "campaign" else f"[{kind}] takes no name; write [{kind}].", line)

    def _named(self, kind: str) -> list[Section]:
        return [section for section in self._document.of_kind(kind) if section.name]

    def _keys(self, section: Section, known: Collection[str], *, shape: re.Pattern[str] | None = None) -> None:
        """Warn about keys that nothing reads."""
        silent = _SILENT.get(section.kind, ())
        for entry in section.entries:
            if entry.key in known or entry.key in silent or (shape and shape.fullmatch(entry.key)):
                continue
            self._found.warn(f"{section.title}/{entry.key}", "unknown-key",
                             f"There is no key {entry.key} in [{section.kind}]; it is ignored."
                             f"{self._found.hint(entry.key, known)}", self._document.line_of(section.title, entry.key))

    # ------------------------------------------------------------------------------ values

    def _value(self, section: Section, key: str, read: Callable[[str], Any]) -> Any:
        """A key's value; None if it is not set, or reported as unreadable."""
        text = section.values.get(key)
        if text is None:
            return None
        try:
            return read(text)
        except BadValue as bad:
            self._bad(section, key, bad)
            return None

    def _set(self, section: Section, key: str, read: Callable[[str], Any]) -> Any:
        """As ``_value``, where the word None means not set."""
        return None if values.is_unset(section.values.get(key)) else self._value(section, key, read)

    def _text(self, section: Section | None, key: str) -> str:
        return (self._set(section, key, str.strip) if section else None) or ""

    def _bad(self, section: Section, key: str, bad: BadValue) -> None:
        line = self._document.line_of(section.title, key)
        message = bad.message
        entry = section.entry(key)
        if bad.offset is not None and entry is not None and line is not None:
            below, column = entry.place(bad.offset)
            line += below
            message = f"{message.rstrip('.')} (column {column})."
        self._found.error(f"{section.title}/{key}", f"bad-{_SORT.get(key, 'value')}", message, line)

    # ---------------------------------------------------------------------------- campaign

    def _campaign(self, defaults: Defaults | None) -> Campaign:
        section = self._document.section("campaign")
        if section:
            self._keys(section, CAMPAIGN_KEYS)
        stages = tuple(self._stage(each, defaults) for each in self._named("campaign_stage"))
        self._compare_stage_list(section, stages)
        return Campaign(
            name=self._text(section, "name"),
            experiment=self._text(section, "experiment"),
            poms_role=self._text(section, "poms_role"),
            state=self._text(section, "state"),
            campaign_type=self._text(section, "campaign_type"),
            keywords=self._keywords(),
            data_handling_service=self._service(),
            defaults=defaults,
            stages=stages,
            dependencies=tuple(each for one in self._named("dependencies") for each in self._dependencies(one)),
            login_setups=tuple(self._login_setup(each) for each in self._named("login_setup")),
            job_types=tuple(self._job_type(each) for each in self._named("job_type")),
            node_positions=tuple(self._positions()),
        )

    def _first_set(self, key: str) -> Section | None:
        """The section that states a key of [campaign], which old programs wrote to [campaign_defaults]."""
        for title in ("campaign", "campaign_defaults"):
            section = self._document.section(title)
            if section and not values.is_unset(section.values.get(key)):
                return section
        return None

    def _keywords(self) -> Mapping[str, Any]:
        section = self._first_set("campaign_keywords")
        return (self._value(section, "campaign_keywords", values.json_object) if section else None) or {}

    def _service(self) -> str:
        section = self._first_set("data_handling_service")
        if section is None:
            return "sam"
        word = section.values["data_handling_service"].strip()
        if word.lower() not in DATA_HANDLING_SERVICES:
            self._bad(section, "data_handling_service", BadValue(
                f"'{word[:40]}' is not a data handling service; write sam or data_dispatcher."
                f"{self._found.hint(word, DATA_HANDLING_SERVICES)}"))
            return "sam"
        return word.lower()

    def _compare_stage_list(self, section: Section | None, stages: Iterable[StageSpec]) -> None:
        text = self._text(section, "campaign_stage_list")
        names = [stage.name for stage in stages]
        if not text or ",".join(sorted(names)) == ",".join(sorted(filter(None, map(str.strip, text.split(","))))):
            return
        # Names with commas in them: the list as a whole may still be right.
        if re.sub(r"\s*,\s*", ",", text) == ",".join(names):
            return
        listed = {name.strip() for name in text.split(",") if name.strip()}
        without = [f"'{name}' has no section{self._found.hint(name, names)}"
                   for name in sorted(listed - set(names))[:5]]
        unlisted = [f"'{name}' is not listed" for name in sorted(set(names) - listed)[:5]]
        what = "; ".join(without + unlisted) or "a stage is listed twice"
        self._found.warn("campaign/campaign_stage_list", "stage-list", f"The list is not that of the stages: {what}. "
                         "The [campaign_stage ...] sections count.",
                         self._document.line_of("campaign", "campaign_stage_list"))

    # ---------------------------------------------------------------------------- defaults

    def _defaults(self) -> Defaults | None:
        titles = ("campaign_defaults", "sam_defaults", "data_dispatcher_defaults")
        sections = [section for title in titles if (section := self._document.section(title))]
        if not sections:
            return None
        stated: dict[str, Any] = {}
        for section in sections:
            own = section.title == "campaign_defaults"
            names = _DEFAULT_NAMES[section.title]
            self._keys(section, (*names, *_OTHER_DEFAULTS) if own else names)
            found = self._stated(section, names)
            # A default of None is no default; only for the dataset it makes a difference that somebody said so.
            for written, key in names.items():
                is_none = written in section.values and values.is_unset(section.values[written])
                if is_none and key != "dataset_or_split_data" and found.get(key) in (None, "", ()):
                    found.pop(key, None)
            if own:
                found |= self._from_settings(section, found)
            for key, value in found.items():
                if stated.get(key) in (None, ""):
                    stated[key] = value
        defaults = Defaults(**stated)
        return None if is_empty(defaults) and not self._document.section("campaign_defaults") else defaults

    def _stated(self, section: Section, names: Mapping[str, str]) -> dict[str, Any]:
        """Typed values of the keys that are there and not empty."""
        stated: dict[str, Any] = {}
        for written, key in names.items():
            if section.values.get(written, "").strip() and stated.get(key) in (None, ""):
                stated[key] = self._value(section, written, STAGE_KEYS[key].read)
        return stated

    def _from_settings(self, section: Section, stated: Mapping[str, Any]) -> dict[str, Any]:
        """What the JSON settings objects state, where no plain key does."""
        taken: dict[str, Any] = {}
        for written in _SETTINGS_KEYS:
            for name, value in (self._set(section, written, values.json_object) or {}).items():
                key = _SETTINGS_NAMES.get(name)
                field = f"{section.title}/{written}"
                line = self._document.line_of(section.title, written)
                if key is None:
                    self._found.warn(field, "unknown-key", f"There is no '{name[:40]}' in {written}; it is ignored."
                                     f"{self._found.hint(name, _SETTINGS_NAMES)}", line)
                elif value is not None and value != "":
                    self._take_setting(section, written, key, value, stated, taken)
        return taken

    def _take_setting(self, section: Section, written: str, key: str, value: Any, stated: Mapping[str, Any],
                      taken: dict[str, Any]) -> None:
        text = value if isinstance(value, str) else str(value) if not isinstance(value, list | dict) \
            else values.compact(value)
        try:
            typed = STAGE_KEYS[key].read(text)
        except BadValue as bad:
            self._bad(section, written, BadValue(bad.message))
            return
        if stated.get(key) not in (None, "") and stated[key] != typed:
            self._found.warn(f"{section.title}/{written}", "two-values",
                             f"{key} is stated here and by a key of its own, which counts; remove one.",
                             self._document.line_of(section.title, written))
        elif stated.get(key) in (None, ""):
            taken[key] = typed

    # ------------------------------------------------------------------------------ stages

    def _stage(self, section: Section, defaults: Defaults | None) -> StageSpec:
        self._keys(section, (*STAGE_KEYS, *_SETTINGS_KEYS))
        stated = self._stated(section, {key: key for key in STAGE_KEYS})
        none = frozenset(key for key, value in stated.items()
                         if value is None and STAGE_KEYS[key].none_counts and values.is_unset(section.values[key]))
        stated |= self._from_settings(section, stated)
        stage = stage_with(section.name, stated, defaults)
        return _without(stage, none - {key for key, value in stated.items() if value is not None})

    def _dependencies(self, section: Section) -> list[Dependency]:
        self._keys(section, ("campaign_stage_1", "file_pattern_1"), shape=_PAIRED)
        pairs: dict[int, dict[str, str]] = {}
        for entry in section.entries:
            match = _PAIRED.fullmatch(entry.key)
            if match:
                pairs.setdefault(int(match[2]), {})[match[1]] = entry.key
        dependencies = []
        for number, keys in pairs.items():
            needs = self._text(section, keys.get("campaign_stage", ""))
            pattern = self._text(section, keys.get("file_pattern", ""))
            if needs:
                dependencies.append(Dependency(section.name, needs, values.normal_pattern(pattern), number))
            elif pattern:
                key = f"file_pattern_{number}"
                self._found.error(f"{section.title}/{key}", "missing-key",
                                  f"The pattern has no stage; add campaign_stage_{number}.",
                                  self._document.line_of(section.title, keys["file_pattern"]))
        return dependencies

    # ------------------------------------------------------------------------------ blocks

    def _login_setup(self, section: Section) -> LoginSetup:
        self._keys(section, LOGIN_SETUP_KEYS)
        return LoginSetup(section.name, self._text(section, "host"), self._text(section, "account"),
                          values.one_line(self._text(section, "setup")))

    def _job_type(self, section: Section) -> JobType:
        self._keys(section, JOB_TYPE_KEYS)
        patterns = values.pattern_list(values.one_percent(self._text(section, "output_file_patterns")))
        return JobType(section.name, values.script_lines(self._text(section, "launch_script")),
                       self._set(section, "parameters", values.pairs) or (), patterns or ("%",),
                       self._set(section, "recoveries", values.recoveries) or ())

    def _positions(self) -> Iterable[NodePosition]:
        section = self._document.section("node_positions")
        if not section:
            return
        self._keys(section, ("nxy0",), shape=_POSITION)
        seen: set[str] = set()
        for entry in section.entries:
            if not _POSITION.fullmatch(entry.key):
                continue
            position = self._set(section, entry.key, _position)
            if position and position.label not in seen:
                seen.add(position.label)
                yield position


_SORT = {"param_overrides": "json", "test_param_overrides": "json", "parameters": "json", "recoveries": "json",
         "campaign_keywords": "json", "sam_settings": "json", "data_dispatcher_settings": "json",
         "completion_pct": "number", "output_ancestor_depth": "number", "merge_overrides": "boolean",
         "default_clear_cronjob": "boolean", "data_dispatcher_project_virtual": "boolean", "virtual": "boolean",
         "data_handling_service": "choice",
         **{name: "number" for key in DATA_DISPATCHER_KEYS if STAGE_KEYS[key].kind == "integer"
            for name in (key, STAGE_KEYS[key].default_key)}}


def _without(stage: StageSpec, keys: Collection[str]) -> StageSpec:
    """The stage with some keys stated as "none" although that is None, which ``stage_with`` takes for inherited."""
    if not keys:
        return stage
    kept = {item.name: getattr(stage, item.name) for item in fields(stage)}
    kept |= {key: STAGE_KEYS[key].empty for key in keys}
    kept["inherited"] = stage.inherited - frozenset(keys)
    return StageSpec(**kept)


def _position(text: str) -> NodePosition:
    value = values.load(text)
    ok = isinstance(value, list) and len(value) == 3 and isinstance(value[0], str) and all(
        isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number) and abs(number) < 1e9
        for number in value[1:])
    if not ok:
        raise BadValue('A position is ["label", x, y].')
    return NodePosition(value[0], float(value[1]), float(value[2]))
