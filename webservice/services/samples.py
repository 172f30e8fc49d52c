"""Sample campaigns that come with POMS: a list, their texts, and a copy under a new name.

A sample is looked up among those installed; a request never forms a path.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import poms.templates
from poms.webservice.errors import Invalid, NotFound
from poms.webservice.rules.campaign_text import parse
from poms.webservice.rules.permissions import Actor
from poms.webservice.services import campaigns
from poms.webservice.services.campaigns import SaveResult
from poms.webservice.services.core import Core

TEXT_FILE = "campaign.ini"


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample; ``stages`` in the order in which the text lists them."""

    name: str
    title: str
    description: str
    stages: tuple[str, ...]
    folder: Path


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
    for sample in list_samples():
        if sample.name == name:
            return sample
    raise NotFound(f"There is no sample {name[:100]}.")


def text_of(core: Core, name: str) -> str:
    """The text of a sample, with the places of its own files filled in."""
    sample = find(name)
    text = (sample.folder / TEXT_FILE).read_text(encoding="utf-8")
    output = core.settings.service.data_dir / "output"
    return text.replace("@SAMPLE@", str(sample.folder)).replace("@OUTPUT@", str(output))


def clone(core: Core, actor: Actor, name: str, new_name: str) -> SaveResult:
    """Save a sample as a campaign of the actor's experiment. Raises Conflict if the name is taken."""
    document = parse(text_of(core, name)).with_value("campaign", "name", new_name)
    document = document.with_value("campaign", "experiment", actor.experiment)
    (core.settings.service.data_dir / "output").mkdir(parents=True, exist_ok=True)
    result = campaigns.save_text(core, actor, document.to_bytes(), source="sample", only_if_new=True,
                                 message=f"from the sample {name}")
    if result.problems:
        raise Invalid(result.problems)
    return result


def _read(folder: Path) -> Sample:
    about = folder / "sample.json"
    facts = json.loads(about.read_text(encoding="utf-8")) if about.is_file() else {}
    stages = facts.get("expected", {}).get("stages", [])
    return Sample(folder.name, str(facts.get("title", folder.name)), str(facts.get("description", "")),
                  tuple(map(str, stages)), folder)
