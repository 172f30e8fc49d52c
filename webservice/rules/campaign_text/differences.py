"""What changed between two campaigns, thing by thing and in words, and between two texts, line by line.

Compares effective values: a changed default shows in every stage that inherits it.
Invariant: campaigns that are equal but for the order of their parts have no changes.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from poms.webservice.rules.campaign_text import values
from poms.webservice.rules.campaign_text.model import STAGE_KEYS, Campaign, Defaults, StageSpec
from poms.webservice.rules.campaign_text.writing import job_type_values, login_setup_values

Kind = Literal["added", "removed", "changed"]
What = Literal["campaign", "default", "stage", "dependency", "login setup", "job type", "position"]
_LONGEST = 120


@dataclass(frozen=True, slots=True)
class Change:
    """One thing, or one key of it, that was added, removed or changed; ``str(change)`` says so in a sentence.

    ``old`` and ``new`` are texts as in the campaign text, "" where there is none. A dependency's ``name`` is
    its consumer, its ``key`` the needed stage.
    """

    kind: Kind
    what: What
    name: str
    key: str = ""
    old: str = ""
    new: str = ""
    inherited: bool = False

    def __str__(self) -> str:
        thing = "Default" if self.what == "default" else self.what.capitalize()
        if self.what == "dependency":
            thing = f"Dependency of '{self.name}' on '{self.key}'"
        elif self.what == "default":
            thing = f"Default {self.key}" if self.key else "Defaults"
        else:
            thing = f"{thing} '{self.name}'" + (f": {self.key}" if self.key else "")
        values_text = f" from {_shown(self.old)} to {_shown(self.new)}" if self.kind == "changed" else ""
        if self.kind == "added" and self.new:
            values_text = f": {_shown(self.new)}"
        return f"{thing} {self.kind}{values_text}{' (with the default)' if self.inherited else ''}"


def diff(old: Campaign | None, new: Campaign) -> list[Change]:
    """What must be done to ``old`` to make it ``new``; everything is added to None."""
    if old is None:
        old = Campaign(name=new.name)
        changes = [Change("added", "campaign", new.name)]
    else:
        changes = []
    changes += _campaign_changes(old, new)
    changes += _keyed("default", {"": _defaults(old.defaults)}, {"": _defaults(new.defaults)}, new)
    changes += _keyed("stage", {each.name: _stage(each) for each in old.stages},
                      {each.name: _stage(each) for each in new.stages}, new)
    changes += _dependency_changes(old, new)
    changes += _keyed("login setup", {each.name: login_setup_values(each) for each in old.login_setups},
                      {each.name: login_setup_values(each) for each in new.login_setups}, new)
    changes += _keyed("job type", {each.name: job_type_values(each) for each in old.job_types},
                      {each.name: job_type_values(each) for each in new.job_types}, new)
    changes += _keyed("position", {each.label: {"place": f"{each.x:g}, {each.y:g}"} for each in old.node_positions},
                      {each.label: {"place": f"{each.x:g}, {each.y:g}"} for each in new.node_positions}, new)
    return changes


def text_diff(old: str, new: str, *, old_name: str = "before", new_name: str = "after", context: int = 3) -> str:
    """A unified diff of two texts; "" if they are equal."""
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), old_name, new_name, n=context, lineterm="")
    return "".join(f"{line}\n" for line in lines)


def _campaign_changes(old: Campaign, new: Campaign) -> Iterable[Change]:
    for key in ("name", "experiment", "poms_role", "state", "campaign_type", "data_handling_service"):
        before, after = getattr(old, key), getattr(new, key)
        if before != after:
            yield Change("changed", "campaign", new.name, key, before, after)
    if dict(old.keywords) != dict(new.keywords):
        yield Change("changed", "campaign", new.name, "campaign_keywords", values.object_text(old.keywords),
                     values.object_text(new.keywords))


def _defaults(defaults: Defaults | None) -> dict[str, str]:
    return {key.name: key.write(getattr(defaults, key.name) if defaults else None) for key in STAGE_KEYS.values()}


def _stage(stage: StageSpec) -> dict[str, str]:
    return {key.name: key.write(getattr(stage, key.name)) for key in STAGE_KEYS.values()}


def _keyed(what: What, old: Mapping[str, Mapping[str, str]], new: Mapping[str, Mapping[str, str]],
           campaign: Campaign) -> Iterable[Change]:
    """Changes of named things with keys: those removed, then those added or changed, in the new order."""
    inherited = {stage.name: stage.inherited for stage in campaign.stages} if what == "stage" else {}
    for name in old:
        if name not in new:
            yield Change("removed", what, name)
    for name, keys in new.items():
        if name not in old:
            yield Change("added", what, name)
            continue
        for key, text in keys.items():
            if text != old[name].get(key, ""):
                yield Change("changed", what, name, key, old[name].get(key, ""), text, key in inherited.get(name, ()))


def _dependency_changes(old: Campaign, new: Campaign) -> Iterable[Change]:
    before, after = _patterns(old), _patterns(new)
    for (consumer, needs), pattern in before.items():
        if (consumer, needs) not in after:
            yield Change("removed", "dependency", consumer, needs, pattern)
    for (consumer, needs), pattern in after.items():
        if (consumer, needs) not in before:
            yield Change("added", "dependency", consumer, needs, "", pattern)
        elif before[consumer, needs] != pattern:
            yield Change("changed", "dependency", consumer, needs, before[consumer, needs], pattern)


def _patterns(campaign: Campaign) -> dict[tuple[str, str], str]:
    patterns: dict[tuple[str, str], list[str]] = {}
    for each in campaign.dependencies:
        patterns.setdefault((each.consumer, each.needs), []).append(values.normal_pattern(each.file_pattern))
    return {pair: ", ".join(sorted(several)) for pair, several in patterns.items()}


def _shown(text: str) -> str:
    if not text or text == "None":
        return "nothing"
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else text[:_LONGEST - 3] + "..."
