"""Whether a campaign makes sense: every problem at once, with section, key, line, code and remedy.

The one check for every way of saving (upload, editor, forms, client). What cannot be read at all is
``reading``'s. Invariant: a campaign without problems can be stored and written, and its stages cannot
start each other for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from poms.webservice.errors import Invalid, Problem
from poms.webservice.rules.campaign_text import order
from poms.webservice.rules.campaign_text.document import Document, find_control, printable
from poms.webservice.rules.campaign_text.findings import Collector, Findings, by_line
from poms.webservice.rules.campaign_text.model import (
    COMPLETION_TYPES,
    DATA_HANDLING_SERVICES,
    STAGE_KEYS,
    STAGE_TYPES,
    Campaign,
    Defaults,
    JobType,
    KnownNames,
    LoginSetup,
    StageSpec,
)
from poms.webservice.rules.campaign_text.reading import read
from poms.webservice.rules.campaign_text.scanning import DEFAULT_LIMIT, scan
from poms.webservice.rules.campaign_text.words import unknown_words
from poms.webservice.rules.recovery_policies import parse_policy
from poms.webservice.rules.scouting import parse_scout
from poms.webservice.rules.splits import SplitSpec, parse_split
from poms.webservice.rules.start_when import parse_start

LONGEST_NAME = 200
ANALYSIS_VO_ROLE = "Analysis"

# These give the same input for ever, so that a stage that follows itself would never stop.
_ENDLESS = frozenset(("draining",))
# Launches on the service's own host may leave the account to the service.
_THIS_HOST = frozenset(("localhost", "127.0.0.1"))
# Ends only when its input is empty, which is up to the dataset.
_DOUBTFUL = frozenset(("limitn",))
_MOST_PARTS_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Examination:
    """All about a text: what it is, and everything that is wrong. ``document`` is None if lines are wrong."""

    document: Document | None
    campaign: Campaign
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()

    def require(self) -> tuple[Document, Campaign]:
        """Document and campaign of a text without problems; raises Invalid with all of them otherwise."""
        if self.problems or self.document is None:
            raise Invalid(self.problems)
        return self.document, self.campaign


def examine(data: bytes | str, *, known: KnownNames | None = None, creator_role: str = "production",
            analysis_login: tuple[str, str] | None = None, limit: int = DEFAULT_LIMIT) -> Examination:
    """Parse, read and check a text, and tell everything found; never raises for what is in it."""
    scanned = scan(data, limit)
    reading = read(scanned.document)
    if any(problem.code in ("too-large", "bad-encoding") and not problem.field for problem in scanned.problems) \
            and not scanned.document.sections:
        return Examination(None, reading.campaign, scanned.problems)
    checked = check(reading.campaign, known=known, creator_role=creator_role, analysis_login=analysis_login,
                    document=scanned.document)
    # A value that could not be read is not missing as well.
    unread = {problem.field for problem in (*scanned.problems, *reading.problems)}
    unread_keys = {field.rpartition("/")[2] for field in unread}
    problems = [*scanned.problems, *reading.problems,
                *(problem for problem in checked.problems if problem.field not in unread
                  and not (problem.code == "missing-key" and problem.field.rpartition("/")[2] in unread_keys))]
    problems.sort(key=by_line)
    warnings = sorted((*reading.warnings, *checked.warnings), key=by_line)
    document = None if scanned.problems else scanned.document
    return Examination(document, reading.campaign, tuple(problems), tuple(warnings))


def check(campaign: Campaign, *, known: KnownNames | None = None, creator_role: str = "production",
          analysis_login: tuple[str, str] | None = None, document: Document | None = None) -> Findings:
    """Everything that forbids saving the campaign, and what its owner should know.

    ``known`` is what the experiment has already; ``creator_role`` is that of the person who saves, and
    ``analysis_login`` the one (host, account) that an analysis user may launch from. With the ``document`` the
    campaign was read from, findings have lines.
    """
    return _Checker(campaign, known or KnownNames(), creator_role, analysis_login, document).check()


def check_name(name: str, what: str) -> str:
    """What is wrong with a name of ``what`` ("campaign"), as a sentence with the remedy; "" if nothing is."""
    if not name.strip():
        return f"The {what} has no name; give it one."
    bad = find_control(name, name=True)
    if bad:
        return f"The name of the {what} contains the character {bad}; remove it."
    for mark in "/[]":
        if mark in name:
            return f"The name of the {what} contains a '{mark}'; use another character, such as -."
    if len(name) > LONGEST_NAME:
        return f"The name of the {what} has {len(name)} characters; use at most {LONGEST_NAME}."
    if name != name.strip():
        return f"The name of the {what} begins or ends with a blank; remove it."
    if name.lower() == "none":
        return f"'{name}' means that nothing is set; choose another name for the {what}."
    return ""


class _Checker:
    """One check of one campaign; each method looks at one thing and reports it."""

    def __init__(self, campaign: Campaign, known: KnownNames, creator_role: str,
                 analysis_login: tuple[str, str] | None, document: Document | None) -> None:
        self._campaign = campaign
        self._known = known
        self._is_analysis = creator_role == "analysis"
        self._analysis_login = analysis_login
        self._document = document
        self._found = Collector()
        self._splits: dict[str, SplitSpec | None] = {}
        self._split_faults: dict[SplitSpec, str] = {}

    def check(self) -> Findings:
        self._check_campaign()
        self._check_texts()
        if self._campaign.defaults:
            self._check_defaults(self._campaign.defaults)
        consumers = {each.consumer for each in self._campaign.dependencies}
        for stage in self._campaign.stages:
            self._check_stage(stage, is_fed=stage.name in consumers)
        self._check_dependencies()
        self._check_loops()
        self._check_login_setups()
        self._check_job_types()
        for title, key, code, message in unknown_words(self._campaign):
            self._warn(title, key, code, _shown_whole(message))
        return self._found.findings()

    # ----------------------------------------------------------------------------- reporting

    def _line(self, title: str, key: str = "") -> int | None:
        return self._document.line_of(title, key) if self._document else None

    def _error(self, title: str, key: str, code: str, message: str) -> None:
        self._found.error(_field(title, key), code, message, self._line(title, key))

    def _warn(self, title: str, key: str, code: str, message: str) -> None:
        self._found.warn(_field(title, key), code, message, self._line(title, key))

    def _stage_error(self, stage: StageSpec, key: str, code: str, message: str) -> None:
        """An error in a stage's value; an inherited one stands in the line of the default."""
        title = f"campaign_stage {stage.name}"
        line = self._line(title, key)
        if key in stage.inherited and self._document and self._document.value("campaign_defaults", key) is not None:
            line = self._line("campaign_defaults", key)
        self._found.error(_field(title, key), code, message, line)

    # ------------------------------------------------------------------------------ campaign

    def _check_campaign(self) -> None:
        campaign = self._campaign
        if self._document and not self._document.section("campaign"):
            self._error("campaign", "", "no-campaign", "There is no section [campaign]; add it, with name=... in it.")
        elif not campaign.name:
            self._error("campaign", "name", "missing-name", "The campaign has no name; add name=... to [campaign].")
        else:
            self._check_name("campaign", "name", campaign.name, "campaign")
        if not campaign.stages:
            self._error("campaign", "", "no-stages", "The campaign has no stages; add a section [campaign_stage NAME].")
        if campaign.data_handling_service not in DATA_HANDLING_SERVICES:
            self._error("campaign", "data_handling_service", "bad-choice",
                        f"'{_shown(campaign.data_handling_service)}' is not a data handling service; "
                        "write sam or data_dispatcher.")
        if campaign.campaign_type.lower() not in ("", "test", "regular"):
            self._error("campaign", "campaign_type", "bad-choice",
                        f"'{campaign.campaign_type}' is not a campaign type; write test, or leave it out.")
        for kind, things in (("campaign_stage", campaign.stages), ("login_setup", campaign.login_setups),
                             ("job_type", campaign.job_types)):
            self._check_names(kind, [thing.name for thing in things])

    def _check_names(self, kind: str, names: Iterable[str]) -> None:
        seen: set[str] = set()
        for name in names:
            self._check_name(f"{kind} {name}", "", name, _WHAT[kind])
            if name in seen:
                self._error(f"{kind} {name}", "", "duplicate-section",
                            f"There are two of [{kind} {name}]; give one another name.")
            seen.add(name)

    def _check_name(self, title: str, key: str, name: str, what: str) -> None:
        wrong = check_name(name, what)
        if wrong:
            self._error(title, key, "bad-name", wrong)

    def _check_texts(self) -> None:
        """Characters that could not be written to a text (or a database) again, in any value."""
        campaign = self._campaign
        things: list[tuple[str, Any]] = [("campaign", campaign)]
        things += [("campaign_defaults", campaign.defaults)] if campaign.defaults else []
        for kind, several in (("campaign_stage", campaign.stages), ("login_setup", campaign.login_setups),
                              ("job_type", campaign.job_types)):
            things += [(f"{kind} {each.name}", each) for each in several]
        things += [(f"dependencies {each.consumer}", each) for each in campaign.dependencies]
        for title, thing in things:
            for item in fields(thing):
                value = getattr(thing, item.name)
                bad = find_control(value) if isinstance(value, str) and item.name != "name" else ""
                if bad:
                    self._error(title, item.name, "control-character",
                                f"The value contains the character {bad}; remove it.")

    # -------------------------------------------------------------------------------- stages

    def _check_defaults(self, defaults: Defaults) -> None:
        inheriting = {key for stage in self._campaign.stages for key in stage.inherited}
        for key in STAGE_KEYS:
            value = getattr(defaults, key)
            # What a stage inherits is reported once, with the stage.
            if value is not None and key not in inheriting:
                wrong = self._wrong(key, value)
                if wrong:
                    self._error("campaign_defaults", key, *wrong)

    def _check_stage(self, stage: StageSpec, *, is_fed: bool) -> None:
        for key in STAGE_KEYS.values():
            value = getattr(stage, key.name)
            if key.required and (value is None or value == ""):
                self._stage_error(stage, key.name, "missing-key",
                                  f"The stage '{_shown(stage.name)}' has no {key.name}; state it in "
                                  f"[campaign_stage {_shown(stage.name)}] or in [campaign_defaults].")
            elif value is not None:
                wrong = self._wrong(key.name, value)
                if wrong:
                    self._stage_error(stage, key.name, *wrong)
        self._check_input(stage, is_fed=is_fed)
        self._check_scout(stage)
        if self._is_analysis and stage.vo_role and stage.vo_role.lower() != ANALYSIS_VO_ROLE.lower():
            self._stage_error(stage, "vo_role", "analysis-role",
                              f"An analysis campaign runs with vo_role {ANALYSIS_VO_ROLE}, not '{stage.vo_role[:40]}'.")

    def _check_input(self, stage: StageSpec, *, is_fed: bool) -> None:
        has_other = is_fed or stage.stage_type == "generator" or stage.data_dispatcher_dataset_query \
            or stage.data_dispatcher_project_id is not None
        if stage.dataset_or_split_data is None and not has_other:
            self._stage_error(stage, "dataset_or_split_data", "missing-key",
                              f"The stage '{_shown(stage.name)}' has no dataset_or_split_data and no stage feeds it; "
                              "state it there or in [campaign_defaults], or write None for a stage without input.")

    def _wrong(self, key: str, value: Any) -> tuple[str, str] | None:
        """Code and message for a value out of range; None for a good one."""
        if key == "completion_pct" and not 0 < value <= 100:
            return "bad-number", f"completion_pct is {value:g}; write a number above 0 and up to 100."
        if key == "completion_type" and value not in COMPLETION_TYPES:
            return self._not_among(key, value, COMPLETION_TYPES)
        if key == "stage_type" and value not in STAGE_TYPES:
            return self._not_among(key, value, STAGE_TYPES)
        if key == "output_ancestor_depth" and value < 1:
            return "bad-number", f"output_ancestor_depth is {value}; write a whole number of 1 or more."
        if STAGE_KEYS[key].kind == "integer" and value < (1 if key.endswith("project_id") else 0):
            return "bad-number", f"{key} is {value}; it cannot be negative or, for an id, zero."
        if key in ("cs_split_type", "test_split_type"):
            return self._wrong_split(key, value)
        if key in ("login_setup", "job_type"):
            return self._wrong_reference(key, value)
        if key == "recovery_policy":
            return self._wrong_policy(value)
        if key == "start_when":
            return self._wrong_start(value)
        if key == "scout":
            return self._wrong_scout(value)
        return None

    def _wrong_start(self, value: str) -> tuple[str, str] | None:
        try:
            parse_start(value)
        except Invalid as invalid:
            return "bad-start", str(invalid)
        return None

    def _wrong_scout(self, value: str) -> tuple[str, str] | None:
        try:
            parse_scout(value)
        except Invalid as invalid:
            return "bad-scout", str(invalid)
        return None

    def _check_scout(self, stage: StageSpec) -> None:
        """Only a dataset has a first part that can go ahead; a default is passed over by stages without input."""
        if not stage.scout:
            return
        split = self._split(stage.cs_split_type) if stage.cs_split_type else None
        what = "the split multiparam, which makes parameters," if split and split.name == "multiparam" else ""
        if stage.stage_type in ("generator", "approval"):
            what = "" if "scout" in stage.inherited else f"a stage of type {stage.stage_type}"
        if what:
            self._stage_error(stage, "scout", "scout-without-dataset",
                              f"The stage '{_shown(stage.name)}' cannot send a scout ahead: {what} has no dataset of "
                              "which a part could go first; write scout=None.")

    def _wrong_policy(self, value: str) -> tuple[str, str] | None:
        try:
            parse_policy(value)
        except Invalid as invalid:
            return "bad-recovery-policy", " ".join(problem.message for problem in invalid.problems)
        return None

    def _not_among(self, key: str, value: str, choices: tuple[str, ...]) -> tuple[str, str]:
        return "bad-choice", (f"'{_shown(value)}' is not a {key}; write {', '.join(choices[:-1])} or {choices[-1]}."
                              f"{self._found.hint(value, choices)}")

    def _split(self, text: str) -> SplitSpec | None:
        """The specification, each text parsed once; None as well for one that cannot be read."""
        if text not in self._splits:
            try:
                self._splits[text] = parse_split(text)
            except Invalid:
                self._splits[text] = None
        return self._splits[text]

    def _wrong_split(self, key: str, value: str) -> tuple[str, str] | None:
        try:
            split = parse_split(value, key)
        except Invalid as invalid:
            return "bad-split", " ".join(problem.message for problem in invalid.problems)
        known = self._known.split_types
        if split and known is not None and split.name not in known:
            return "unknown-split", (f"There is no split type '{_shown(split.name)}'; use one of "
                                     f"{', '.join(sorted(known))}, or None.{self._found.hint(split.name, known)}")
        if split and self._known.split_fault is not None:
            if split not in self._split_faults:
                self._split_faults[split] = self._known.split_fault(split)
            if self._split_faults[split]:
                return "bad-split", self._split_faults[split]
        return None

    def _wrong_reference(self, key: str, value: str) -> tuple[str, str] | None:
        known = getattr(self._known, f"{key}s")
        here = {thing.name for thing in getattr(self._campaign, f"{key}s")}
        if known is None or value in here or value in known:
            return None
        what = _WHAT[key]
        return f"unknown-{key.replace('_', '-')}", (
            f"There is no {what} '{_shown(value)}', neither in this text nor in the experiment; "
            f"add [{key} {_shown(value)}] or use one that exists.{self._found.hint(value, {*here, *known})}")

    # -------------------------------------------------------------------------- dependencies

    def _check_dependencies(self) -> None:
        names = {stage.name for stage in self._campaign.stages}
        unknown: set[str] = set()
        pairs: set[tuple[str, str]] = set()
        for each in self._campaign.dependencies:
            title = f"dependencies {each.consumer}"
            key = f"campaign_stage_{each.number or 1}"
            if each.consumer not in names and each.consumer not in unknown:
                unknown.add(each.consumer)
                hint = self._found.hint(each.consumer, names)
                self._error(title, "", "unknown-stage", f"There is no stage '{_shown(each.consumer)}'; "
                            f"add it or remove its dependencies.{hint}")
            if each.needs not in names:
                self._error(title, key, "unknown-stage", f"There is no stage '{_shown(each.needs)}'; "
                            f"add it or remove the dependency.{self._found.hint(each.needs, names)}")
            if (each.consumer, each.needs) in pairs:
                self._warn(title, key, "repeated-dependency", f"'{each.consumer}' depends on '{each.needs}' twice; "
                           "one file_pattern may list several patterns with commas.")
            pairs.add((each.consumer, each.needs))

    def _check_loops(self) -> None:
        stages = {stage.name: stage for stage in self._campaign.stages}
        edges = {(each.needs, each.consumer): each for each in self._campaign.dependencies
                 if each.needs in stages and each.consumer in stages}
        for (needs, consumer), each in edges.items():
            if needs == consumer:
                self._check_self(stages[needs], f"campaign_stage_{each.number or 1}")
        # Only a cycle all of whose stages go on for ever never ends, so those that end are cut out first.
        endless = [name for name, stage in stages.items() if self._ends(stage) is False]
        for knot in order.knots(endless, edges):
            if len(knot) > 1:
                cycle = order.a_cycle(knot, [edge for edge in edges if edge[0] in knot and edge[1] in knot])
                first, last = cycle[0], cycle[-1]
                way = " -> ".join(_shown(name) for name in (*cycle[:_MOST_PARTS_SHOWN], "...")[:len(cycle)])
                number = edges[last, first].number or 1
                self._error(f"dependencies {first}", f"campaign_stage_{number}", "endless-cycle",
                            f"The stages {way} -> {_shown(first)} would start each other for ever; give one of them "
                            "a cs_split_type that ends, such as nfiles(100), or remove a dependency.")

    def _ends(self, stage: StageSpec) -> bool | None:
        """Whether the stage's split comes to an end; None where the text cannot be read and is reported anyway."""
        split = self._split(stage.cs_split_type)
        if split is None:
            return None if stage.cs_split_type and self._wrong_split("cs_split_type", stage.cs_split_type) else False
        return split.name not in _ENDLESS

    def _check_self(self, stage: StageSpec, key: str) -> None:
        title = f"dependencies {stage.name}"
        ends = self._ends(stage)
        split = self._split(stage.cs_split_type)
        if ends is False:
            self._error(title, key, "infinite-loop",
                        f"The stage '{_shown(stage.name)}' depends on itself and would make an infinite loop; "
                        "set a cs_split_type that ends, such as nfiles(100), or remove the dependency.")
        elif split and split.name in _DOUBTFUL:
            self._warn(title, key, "doubtful-loop",
                       f"The stage '{_shown(stage.name)}' depends on itself, and {split.name} ends only when its "
                       "dataset is empty; make sure that processed files leave the dataset.")

    # -------------------------------------------------------------------------------- blocks

    def _check_login_setups(self) -> None:
        for setup in self._campaign.login_setups:
            title = f"login_setup {setup.name}"
            for key in ("host", "account"):
                value = getattr(setup, key)
                if not value and key == "account" and setup.host in _THIS_HOST:
                    continue
                if not value:
                    self._error(title, key, "missing-key", f"The login setup has no {key}; add {key}=...")
                elif value.startswith("-") or any(mark.isspace() for mark in value):
                    self._error(title, key, "bad-value",
                                f"The {key} begins with - or contains a blank; write the plain {key}.")
            self._compare("LoginSetup", title, setup, (self._known.login_setups or {}).get(setup.name),
                          exists=setup.name in (self._known.login_setups or {}))
            self._check_analysis_login(title, setup)
        if self._is_analysis:
            self._check_used_logins()

    def _check_analysis_login(self, title: str, setup: LoginSetup) -> None:
        if not self._is_analysis or self._analysis_login is None:
            return
        for key, allowed in zip(("host", "account"), self._analysis_login, strict=True):
            if getattr(setup, key) and getattr(setup, key) != allowed:
                self._error(title, key, "analysis-login",
                            f"Analysis launches run with {key} {allowed}; write {key}={allowed}.")

    def _check_used_logins(self) -> None:
        """Login setups that exist already are not changed by a text: a stage could still aim at one."""
        if self._analysis_login is None:
            return
        known = self._known.login_setups or {}
        for stage in self._campaign.stages:
            setup = known.get(stage.login_setup or "")
            # The shared generic one has no host or account of its own that could be aimed.
            if setup and (setup.host, setup.account) != self._analysis_login:
                host, account = self._analysis_login
                self._stage_error(stage, "login_setup", "analysis-login",
                                  f"The login setup '{_shown(setup.name)}' does not belong to analysis launches, which "
                                  f"run as {account} on {host}; use one that does.")

    def _check_job_types(self) -> None:
        known = self._known.job_types or {}
        for job_type in self._campaign.job_types:
            title = f"job_type {job_type.name}"
            if not job_type.launch_script:
                self._error(title, "launch_script", "missing-key",
                            "The job type has no launch_script; add launch_script=...")
            for kind, _ in job_type.recoveries:
                if kind not in self._known.recovery_types:
                    self._error(title, "recoveries", "unknown-recovery",
                                f"There is no recovery '{_shown(kind)}'; use one of "
                                f"{', '.join(sorted(self._known.recovery_types))}."
                                f"{self._found.hint(kind, self._known.recovery_types)}")
            self._compare("JobType", title, job_type, known.get(job_type.name), exists=job_type.name in known)

    def _compare(self, what: str, title: str, new: LoginSetup | JobType, old: LoginSetup | JobType | None, *,
                 exists: bool) -> None:
        """Existing blocks are shared by campaigns and never changed by a text; say so where it matters."""
        if not exists or new == old:
            return
        how = "" if old is None else " It differs in " + ", ".join(
            f"{item.name} (there: {_shown(str(_plain(getattr(old, item.name))))})"
            for item in fields(new) if getattr(new, item.name) != getattr(old, item.name)) + "."
        self._warn(title, "", "already-exists", f"{what} '{new.name}' already exists and will not change.{how}")


_WHAT: Mapping[str, str] = {"campaign_stage": "stage", "login_setup": "login setup", "job_type": "job type"}


def _field(title: str, key: str) -> str:
    """``section/key`` on one line, whatever the name."""
    return printable(f"{title}/{key}" if key else title)[:300]


def _plain(value: Any) -> Any:
    return [list(part) if isinstance(part, tuple) else part for part in value] if isinstance(value, tuple) else value


def _shown_whole(text: str) -> str:
    """A sentence with somebody's words in it, fit for a message."""
    return printable(text[:600])


def _shown(text: str) -> str:
    """A text fit for a message: short, and without what would break or disguise the line."""
    text = printable(text[:100])
    return text if len(text) <= 80 else text[:77] + "..."
