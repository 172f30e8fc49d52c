"""What the recovery rules choose for a failure: the first rule that applies and may still be used.

Not what the rules say (``recovery_policies``), nor who launches what. Invariant: nothing chosen here is above a
limit of the rules, and the same failure after the same attempts is always answered alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from poms.webservice.errors import Invalid
from poms.webservice.rules.jobsub_options import lifetime_in_seconds, memory_in_mb
from poms.webservice.rules.recovery_policies import Action, Condition, Policy, Rule, duration_text, matches

Outcome = Literal["launch", "ask", "give up"]
Levels = Mapping[float, int]
"""How many jobs ended well with so much of something, by the amount that they had asked for."""

_OPTIONS = {"memory": "memory", "time": "expected-lifetime", "files": "n_files_per_job", "sites": "blocklist"}
_SECOND_NAMES = {"time": ("timeout",)}


@dataclass(frozen=True, slots=True)
class Facts:
    """Why a file was not processed: how its job ended and where, and what the catalogue says of the file."""

    exit_code: int | None = None
    signal: int | None = None
    hold_code: int | None = None
    message: str = ""
    site: str = ""
    file_state: str = ""

    def words(self) -> str:
        """The failure in a few words, without what differs from job to job."""
        found = [f"hold code {self.hold_code}" if self.hold_code is not None else "",
                 f"signal {self.signal}" if self.signal else "",
                 f"exit code {self.exit_code}" if self.exit_code else "",
                 f"file {self.file_state}" if self.file_state else ""]
        return ", ".join(part for part in found if part) or "no cause known"


@dataclass(frozen=True, slots=True)
class Asked:
    """What the launch that failed had asked for; None where nobody knows. ``keys``: by which parameters."""

    memory_mb: float | None = None
    time_seconds: float | None = None
    files_per_job: int | None = None
    sites: tuple[str, ...] = ()
    keys: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Choice:
    """The answer to a failure. ``spent``: rules that would have applied and were used up, in words."""

    outcome: Outcome
    rule: Rule | None
    values: tuple[tuple[str, float], ...] = ()
    avoid_site: bool = False
    spent: tuple[str, ...] = ()


# ------------------------------------------------------------------------------------- choosing


def choose(policy: Policy, facts: Facts, asked: Asked, *, tried: Mapping[str, int],
           learned: Mapping[str, Levels] | None = None) -> Choice | None:
    """The answer to one failure; None if no rule is about it.

    ``tried`` says how often each rule (by its text) was used for the file already. Rules that apply but are used up
    are passed over; if nothing else applies then, a person is asked.
    """
    spent: list[str] = []
    total = sum(tried.values())
    for rule in policy.rules:
        if not _applies(rule, facts):
            continue
        final = rule.actions[0].doing
        if final in ("stop", "give up"):
            return Choice("ask" if final == "stop" else "give up", rule, spent=tuple(spent))
        if total >= policy.attempts:
            spent.append(f"the files were recovered {total} times, which is the limit")
            continue
        if rule.times is not None and tried.get(rule.text, 0) >= rule.times:
            spent.append(f"“{rule.text}” was used {tried[rule.text]} times")
            continue
        values: list[tuple[str, float]] = []
        why = [_take(action, policy, asked, learned or {}, values) for action in rule.actions]
        if any(why):
            spent += [text for text in why if text]
            continue
        return Choice("launch", rule, tuple(values), any(action.doing == "site" for action in rule.actions),
                      tuple(spent))
    return Choice("ask", None, spent=tuple(dict.fromkeys(spent))) if spent else None


def _applies(rule: Rule, facts: Facts) -> bool:
    return any(all(_holds(condition, facts) for condition in group) for group in rule.alternatives)


def _holds(condition: Condition, facts: Facts) -> bool:
    if condition.kind == "any":
        return True
    if condition.ranges:
        number = {"exit": facts.exit_code, "signal": facts.signal, "hold": facts.hold_code}[condition.kind]
        return number is not None and any(low <= number <= high for low, high in condition.ranges)
    text = {"message": facts.message, "site": facts.site, "file": facts.file_state}[condition.kind]
    return any(matches(pattern, text) for pattern in condition.patterns)


def _take(action: Action, policy: Policy, asked: Asked, learned: Mapping[str, Levels],
          values: list[tuple[str, float]]) -> str:
    """Add the amount that an action comes to; or say why it cannot be had."""
    if action.doing == "files":
        if asked.files_per_job is None:
            return "nobody knows how many files a job had: the launch has no n_files_per_job"
        fewer = max(1, int(asked.files_per_job * action.factor))
        if fewer >= asked.files_per_job:
            return "a job has one file already"
        values.append(("files", fewer))
    elif action.doing in ("memory", "time"):
        memory = action.doing == "memory"
        now, cap = (asked.memory_mb, policy.memory_cap_mb) if memory else (asked.time_seconds, policy.time_cap_seconds)
        if now is None:
            return f"nobody knows how much {action.doing} was asked for"
        more = next_level(learned.get(action.doing, {}), now)
        more = now * action.factor + action.add if more is None else more
        more = min(_whole(more), cap) if cap is not None else _whole(more)
        if more <= now:
            shown = f"{cap or 0:,} MB" if memory else duration_text(cap or 0)
            return f"{action.doing} is at its limit of {shown}"
        values.append((action.doing, more))
    return ""


def _whole(amount: float) -> float:
    return float(-(-amount // 1))


# -------------------------------------------------------------------------- what was enough before


def next_level(levels: Levels, above: float) -> float | None:
    """The amount that is cheapest for jobs that need more than ``above``; None if no job ever told.

    A job that needs more than an amount costs that amount in vain and then what it needs.
    """
    return _cheapest({level: jobs for level, jobs in levels.items() if level > above and jobs > 0})


def first_level(levels: Levels, asked: float, cap: float | None = None) -> float | None:
    """The amount with which new launches should begin: None to leave what is asked for, which is enough for most."""
    found = _cheapest({max(level, asked): 0 for level in levels} | _at_least(levels, asked))
    if found is not None and cap is not None:
        found = min(found, cap)
    return found if found is not None and found > asked else None


def _at_least(levels: Levels, asked: float) -> dict[float, int]:
    """Jobs that were content with less than is asked for now are content with that."""
    found: dict[float, int] = {}
    for level, jobs in levels.items():
        found[max(level, asked)] = found.get(max(level, asked), 0) + jobs
    return found


def _cheapest(levels: Levels) -> float | None:
    def cost(amount: float) -> float:
        return sum(jobs * (amount if level <= amount else amount + level) for level, jobs in levels.items())

    return min(levels, key=lambda amount: (cost(amount), amount)) if any(levels.values()) else None


# ---------------------------------------------------------------------------- launch parameters


def asked_in(command: str, policy: Policy) -> Asked:
    """What a launch command asks for, read from the parameters that are known to mean it; the last one counts."""
    found = {resource: _find(command, policy, resource) for resource in _OPTIONS}
    keys = {resource: key for resource, (key, value) in found.items() if key}
    texts = {resource: value for resource, (_, value) in found.items() if value}
    files = texts.get("files", "")
    return Asked(_number(memory_in_mb, texts.get("memory")), _number(lifetime_in_seconds, texts.get("time")),
                 int(files) if re.fullmatch(r"[0-9]{1,6}", files) else None,
                 tuple(site for site in texts.get("sites", "").split(",") if site), keys)


def _find(command: str, policy: Policy, resource: str) -> tuple[str, str]:
    """The parameter and its value as they stand in the command; ("", "") if it has none."""
    stated = policy.key_of(resource)
    if stated:
        beginning = re.escape(stated)
    else:
        names = "|".join(re.escape(name).replace(r"\-", "[-_]")
                         for name in (_OPTIONS[resource], *_SECOND_NAMES.get(resource, ())))
        beginning = rf"(?:--|-O ?submit\.|--override[ =]submit\.)(?:{names})[= ]"
    found = [(match[1], match[2]) for match in re.finditer(rf"(?<!\S)({beginning})['\"]?([^\s'\"]+)", command)]
    return found[-1] if found else ("", "")


def _number(read: object, text: str | None) -> float | None:
    try:
        return float(read(text)) if text else None  # type: ignore[operator]
    except Invalid:
        return None


def overrides(policy: Policy, asked: Asked, values: Iterable[tuple[str, float]], *, avoid: Sequence[str] = (),
              script: str = "") -> tuple[tuple[str, str], ...]:
    """The launch parameters that ask for these amounts, and for sites to be avoided, under the names in use."""
    pairs = [(_key(policy, asked, resource, script), _amount(resource, value)) for resource, value in values]
    sites = list(dict.fromkeys((*asked.sites, *avoid)))
    if avoid and sites:
        pairs.append((_key(policy, asked, "sites", script), ",".join(sites)))
    return tuple(pairs)


def _key(policy: Policy, asked: Asked, resource: str, script: str) -> str:
    direct = script.split()[:1] in (["jobsub_submit"], ["jobsub_submit_dag"])
    usual = ("--" if direct else "-Osubmit.") + _OPTIONS[resource] + "="
    return policy.key_of(resource) or asked.keys.get(resource) or usual


def _amount(resource: str, value: float) -> str:
    return f"{value:.0f}{ {'memory': 'MB', 'time': 's'}.get(resource, '')}"


def words(values: Iterable[tuple[str, float]], avoid: Sequence[str] = ()) -> str:
    """What an attempt has otherwise than the one before, for people."""
    found = [f"{value:,.0f} MB of memory" if resource == "memory" else f"{duration_text(value)} of time"
             if resource == "time" else f"{value:.0f} file{'s' if value != 1 else ''} in each job"
             for resource, value in values]
    found += [f"not at {', '.join(avoid)}"] if avoid else []
    return ", ".join(found) or "as before"
