"""Sample campaigns that come with POMS: a list, their texts, what they need beside it, and a copy under a new name.

A sample is a folder with the campaign's text and ``sample.json``, which holds what a text cannot. It is looked up
among those installed; a request never forms a path.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import poms.templates
from poms.webservice.errors import Invalid, NotFound
from poms.webservice.rules.campaign_text import parse, read
from poms.webservice.rules.permissions import Actor
from poms.webservice.services import campaigns, own_samples
from poms.webservice.services.campaigns import SaveResult
from poms.webservice.services.core import Core

TEXT_FILE = "campaign.ini"


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample; ``stages`` in the order in which the text lists them.

    ``extra`` names what has to be installed with POMS for its jobs; ``definitions`` are datasets that it reads,
    ``schedules`` stages that are to be launched by themselves, ``approvals`` those that wait for a person.
    ``counts`` says for each stage exactly how many submissions, jobs and files one run makes. ``check`` is the
    file and function that look at the results.
    """

    name: str
    title: str
    description: str
    stages: tuple[str, ...]
    folder: Path
    role: str = "production"
    extra: str = ""
    first_stage: str = ""
    login_setup: str = ""
    output_variable: str = ""
    definitions: Mapping[str, str] = field(default_factory=dict)
    schedules: Mapping[str, str] = field(default_factory=dict)
    approvals: tuple[str, ...] = ()
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    check: tuple[str, str] | None = None

    @property
    def facts(self) -> tuple[str, ...]:
        """What somebody has to know who wants a copy."""
        found = [f"needs pip install 'poms[{self.extra}]'"] if self.extra else []
        found += [f"for the role {self.role}"] if self.role != "production" else []
        found += [f"give {stage} a schedule, such as {cron}" for stage, cron in self.schedules.items()]
        found += [f"{stage} waits for your approval" for stage in self.approvals]
        return tuple(found)


def library() -> Path:
    """Where the samples are."""
    return Path(next(iter(poms.templates.__path__))) / "campaigns"


def list_samples() -> list[Sample]:
    """All samples that are installed, by name."""
    if not library().is_dir():
        return []
    return [_read(folder) for folder in sorted(library().iterdir()) if (folder / TEXT_FILE).is_file()]


def find(name: str) -> Sample:
    """The sample of this name; NotFound if it is not installed."""
    known = list_samples()
    for sample in known:
        if sample.name == name:
            return sample
    raise NotFound(f"There is no sample “{name[:100]}”; there are: {', '.join(each.name for each in known)}.")


def text_of(core: Core, name: str, experiment: str = "") -> str:
    """The text of a sample, with the places of its own files filled in; ``experiment``: whose own ones may be meant."""
    if own_samples.is_own(name):
        return own_samples.find(core, experiment, name).text
    sample = find(name)
    text = (sample.folder / TEXT_FILE).read_text(encoding="utf-8")
    output = core.settings.service.data_dir / "output"
    return text.replace("@SAMPLE@", str(sample.folder)).replace("@OUTPUT@", str(output))


def flow(sample: Sample) -> dict[str, list[Any]]:
    """The stages of a sample, and which feeds which, for its picture."""
    campaign = read(parse((sample.folder / TEXT_FILE).read_text(encoding="utf-8"))).campaign
    return {"stages": [stage.name for stage in campaign.stages],
            "edges": [(each.needs, each.consumer) for each in campaign.dependencies if each.needs != each.consumer]}


def clone(core: Core, actor: Actor, name: str, new_name: str) -> SaveResult:
    """Save a sample as a campaign of the actor's experiment. Raises Conflict if the name is taken."""
    document = parse(text_of(core, name, actor.experiment)).with_value("campaign", "name", new_name)
    document = document.with_value("campaign", "experiment", actor.experiment)
    (core.settings.service.data_dir / "output").mkdir(parents=True, exist_ok=True)
    result = campaigns.save_text(core, actor, document.to_bytes(), source="sample", only_if_new=True,
                                 message=f"from the sample {name}")
    if result.problems:
        raise Invalid(result.problems)
    if not own_samples.is_own(name):
        define_datasets(core, actor.experiment, find(name))
    return result


def define_datasets(core: Core, experiment: str, sample: Sample) -> None:
    """Make the definitions that a sample's stages read; those that are there stay as they are."""
    for dataset, query in sample.definitions.items():
        data = core.backends.data(experiment)
        if data.definition(dataset) is None:
            data.define(dataset, query, f"input of the sample {sample.name}")


def _read(folder: Path) -> Sample:
    about = folder / "sample.json"
    facts: dict[str, Any] = json.loads(about.read_text(encoding="utf-8")) if about.is_file() else {}
    expected, check = facts.get("expected", {}), facts.get("check")
    return Sample(
        folder.name, str(facts.get("title", folder.name)), str(facts.get("description", "")),
        tuple(map(str, expected.get("stages", []))), folder, role=facts.get("role", "production"),
        extra=facts.get("extra", ""), first_stage=facts.get("first_stage", ""),
        login_setup=facts.get("login_setup", ""), output_variable=facts.get("output_variable", ""),
        definitions=facts.get("definitions", {}), schedules=facts.get("schedules", {}),
        approvals=tuple(facts.get("approvals", ())), counts=expected.get("counts", {}),
        check=(check["file"], check["function"]) if check else None)
