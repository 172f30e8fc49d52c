"""What a campaign text says, as values: campaign, defaults, stages, dependencies, login setups, job types.

Text and lines are elsewhere (``document``); a campaign can as well be built from forms or rows.
Invariant: a ``StageSpec`` holds *effective* values, the campaign's defaults applied; ``inherited`` names
the keys that the stage does not state itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from poms.webservice.rules.campaign_text import values
from poms.webservice.rules.campaign_text.values import Pairs
from poms.webservice.rules.splits import SplitSpec

STAGE_TYPES = ("regular", "test", "generator", "approval", "datatransfer")
COMPLETION_TYPES = ("complete", "located")
DATA_HANDLING_SERVICES = ("sam", "data_dispatcher")
RECOVERY_TYPES = ("consumed_status", "process_status", "added_files", "delivered_not_consumed", "pending_files",
                  "state_failed", "state_not_done", "reprocess_orphans", "reprocess_all")

Kind = Literal["text", "word", "boolean", "percent", "integer", "pairs"]


@dataclass(frozen=True, slots=True)
class Key:
    """A key of stages and defaults.

    ``none_counts``: ``None`` in a stage means "none, whatever the default"; elsewhere it means "not set here".
    ``empty`` is the value of "none", ``fallback`` that of a key that is nowhere. ``default_key`` is its name in
    ``[data_dispatcher_defaults]`` and ``data_dispatcher_settings``, if it has one.
    """

    name: str
    kind: Kind
    fallback: Any = None
    empty: Any = None
    required: bool = False
    none_counts: bool = False
    always_written: bool = False
    default_key: str = ""

    def read(self, text: str) -> Any:
        """The value that a text spells; raises BadValue."""
        if values.is_unset(text):
            return self.empty if self.none_counts else None
        if self.kind == "word":
            word = text.strip()
            return ALIASES.get(word.lower(), word.lower() if word.lower() in _WORDS else word)
        return _READERS[self.kind](text)

    def write(self, value: Any) -> str:
        """The text of a value; ``None`` for none."""
        if value is None or value == "" or (value == () and self.empty != ()):
            return "None"
        return _WRITERS[self.kind](value)


_READERS = {"text": str.strip, "boolean": values.boolean, "percent": values.percent, "integer": values.integer,
            "pairs": values.pairs}
_WRITERS = {"text": str, "word": str, "boolean": str, "percent": values.number_text, "integer": str,
            "pairs": values.pairs_text}
ALIASES = {"datahandling": "datatransfer"}
_WORDS = frozenset((*STAGE_TYPES, *COMPLETION_TYPES))

STAGE_KEYS: Mapping[str, Key] = {key.name: key for key in (
    Key("vo_role", "text", required=True),
    Key("software_version", "text", required=True),
    Key("dataset_or_split_data", "text", empty="", none_counts=True),
    Key("data_dispatcher_dataset_query", "text", "", empty="", none_counts=True, default_key="dataset_query"),
    Key("data_dispatcher_project_id", "integer", none_counts=True, default_key="project_id"),
    Key("data_dispatcher_project_virtual", "boolean", none_counts=True, default_key="virtual"),
    Key("data_dispatcher_idle_timeout", "integer", none_counts=True, default_key="idle_timeout"),
    Key("data_dispatcher_worker_timeout", "integer", none_counts=True, default_key="worker_timeout"),
    Key("data_dispatcher_stage_methodology", "text", "", empty="", none_counts=True, default_key="stage_methodology"),
    Key("data_dispatcher_recovery_mode", "text", "", empty="", none_counts=True, default_key="recovery_mode"),
    Key("data_dispatcher_load_limit", "integer", none_counts=True, default_key="load_limit"),
    Key("cs_split_type", "text", "", empty="", none_counts=True),
    Key("test_split_type", "text", "", empty="", none_counts=True),
    Key("completion_type", "word", required=True),
    Key("completion_pct", "percent", required=True),
    Key("login_setup", "text", required=True),
    Key("job_type", "text", required=True),
    Key("param_overrides", "pairs", (), empty=(), none_counts=True),
    Key("test_param_overrides", "pairs", (), empty=(), none_counts=True),
    Key("output_ancestor_depth", "integer", 1),
    Key("merge_overrides", "boolean", False, always_written=True),
    Key("stage_type", "word", "regular", always_written=True),
    Key("default_clear_cronjob", "boolean", True, always_written=True),
    Key("recovery_policy", "text", "", empty="", none_counts=True),
    Key("start_when", "text", "", empty="", none_counts=True),
    Key("scout", "text", "", empty="", none_counts=True),
)}

# The order in which defaults are written; the data-dispatcher keys have a section of their own.
DEFAULT_KEYS = ("vo_role", "software_version", "dataset_or_split_data", "cs_split_type", "test_split_type",
                "default_clear_cronjob", "completion_type", "completion_pct", "param_overrides",
                "test_param_overrides", "merge_overrides", "login_setup", "job_type", "stage_type",
                "output_ancestor_depth", "recovery_policy", "start_when", "scout")
DATA_DISPATCHER_KEYS = tuple(key.name for key in STAGE_KEYS.values() if key.default_key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """Values for stages that state none of their own. None: no default; ``""`` and ``()``: "none" by default."""

    vo_role: str | None = None
    software_version: str | None = None
    dataset_or_split_data: str | None = None
    data_dispatcher_dataset_query: str | None = None
    data_dispatcher_project_id: int | None = None
    data_dispatcher_project_virtual: bool | None = None
    data_dispatcher_idle_timeout: int | None = None
    data_dispatcher_worker_timeout: int | None = None
    data_dispatcher_stage_methodology: str | None = None
    data_dispatcher_recovery_mode: str | None = None
    data_dispatcher_load_limit: int | None = None
    cs_split_type: str | None = None
    test_split_type: str | None = None
    completion_type: str | None = None
    completion_pct: float | None = None
    login_setup: str | None = None
    job_type: str | None = None
    param_overrides: Pairs | None = None
    test_param_overrides: Pairs | None = None
    output_ancestor_depth: int | None = None
    merge_overrides: bool | None = None
    stage_type: str | None = None
    default_clear_cronjob: bool | None = None
    recovery_policy: str | None = None
    start_when: str | None = None
    scout: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSpec:
    """One stage with its effective values. Keys that are required may be None here; ``check`` reports them.

    ``dataset_or_split_data`` is None where it is stated nowhere, "" where ``None`` is stated.
    """

    name: str
    vo_role: str | None = None
    software_version: str | None = None
    dataset_or_split_data: str | None = None
    data_dispatcher_dataset_query: str = ""
    data_dispatcher_project_id: int | None = None
    data_dispatcher_project_virtual: bool | None = None
    data_dispatcher_idle_timeout: int | None = None
    data_dispatcher_worker_timeout: int | None = None
    data_dispatcher_stage_methodology: str = ""
    data_dispatcher_recovery_mode: str = ""
    data_dispatcher_load_limit: int | None = None
    cs_split_type: str = ""
    test_split_type: str = ""
    completion_type: str | None = None
    completion_pct: float | None = None
    login_setup: str | None = None
    job_type: str | None = None
    param_overrides: Pairs = ()
    test_param_overrides: Pairs = ()
    output_ancestor_depth: int = 1
    merge_overrides: bool = False
    stage_type: str = "regular"
    default_clear_cronjob: bool = True
    recovery_policy: str = ""
    start_when: str = ""
    scout: str = ""
    inherited: frozenset[str] = field(default=frozenset(), compare=False)


@dataclass(frozen=True, slots=True)
class Dependency:
    """``consumer`` takes the files of ``needs`` that match; both the same: the stage goes on with its next split.

    ``file_pattern`` is a comma list of file-name patterns or, with a blank in it, a query fragment as a whole.
    """

    consumer: str
    needs: str
    file_pattern: str = "%"
    number: int = field(default=0, compare=False)

    @property
    def file_patterns(self) -> tuple[str, ...]:
        if " " in self.file_pattern.strip():
            return (self.file_pattern.strip(),)
        return values.pattern_list(self.file_pattern)


@dataclass(frozen=True, slots=True)
class LoginSetup:
    """Where launches run: account and host, and the shell commands (one line) that prepare the launch."""

    name: str
    host: str = ""
    account: str = ""
    setup: str = ""


@dataclass(frozen=True, slots=True)
class JobType:
    """What a launch runs, the names of the files it makes, and what is tried with files that failed, in order."""

    name: str
    launch_script: str = ""
    parameters: Pairs = ()
    output_file_patterns: tuple[str, ...] = ("%",)
    recoveries: tuple[tuple[str, Pairs], ...] = ()


@dataclass(frozen=True, slots=True)
class NodePosition:
    """Where the editor draws a stage, or the campaign itself (label ``campaign NAME``)."""

    label: str
    x: float
    y: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """All of a campaign text. ``experiment``, ``poms_role``, ``state`` are told, not obeyed, on saving."""

    name: str
    experiment: str = ""
    poms_role: str = ""
    state: str = ""
    campaign_type: str = ""
    keywords: Mapping[str, Any] = field(default_factory=dict)
    data_handling_service: str = "sam"
    defaults: Defaults | None = None
    stages: tuple[StageSpec, ...] = ()
    dependencies: tuple[Dependency, ...] = ()
    login_setups: tuple[LoginSetup, ...] = ()
    job_types: tuple[JobType, ...] = ()
    node_positions: tuple[NodePosition, ...] = ()

    def stage(self, name: str) -> StageSpec | None:
        return next((stage for stage in self.stages if stage.name == name), None)


@dataclass(frozen=True, slots=True)
class KnownNames:
    """What the experiment has already: names, with the content where the caller knows it.

    None in place of a mapping: the caller does not know, references are not checked. ``split_fault``: what a split
    type says is wrong with its arguments, "" for nothing; asked for types that are known.
    """

    login_setups: Mapping[str, LoginSetup | None] | None = None
    job_types: Mapping[str, JobType | None] | None = None
    split_types: Collection[str] | None = None
    split_fault: Callable[[SplitSpec], str] | None = None
    recovery_types: Collection[str] = RECOVERY_TYPES


def inherited_value(key: Key, defaults: Defaults | None) -> Any:
    """What a stage gets for a key that it does not state."""
    value = getattr(defaults, key.name) if defaults else None
    return key.fallback if value is None else value


def stage_with(name: str, stated: Mapping[str, Any], defaults: Defaults | None = None) -> StageSpec:
    """A stage from the typed values that it states itself; None or absent means inherited."""
    taken = {key: value for key, value in stated.items() if value is not None}
    got = {key.name: inherited_value(key, defaults) for key in STAGE_KEYS.values() if key.name not in taken}
    return StageSpec(name=name, **taken, **got, inherited=frozenset(got))


def with_defaults(campaign: Campaign, defaults: Defaults | None) -> Campaign:
    """The campaign with other defaults, and stages that inherit following them."""
    def again(stage: StageSpec) -> StageSpec:
        stated = {key: getattr(stage, key) for key in STAGE_KEYS if key not in stage.inherited}
        return stage_with(stage.name, stated, defaults)

    return replace(campaign, defaults=defaults, stages=tuple(again(stage) for stage in campaign.stages))


def is_empty(defaults: Defaults) -> bool:
    return all(getattr(defaults, item.name) is None for item in fields(defaults))
