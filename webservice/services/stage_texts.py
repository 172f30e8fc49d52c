"""Change one stage of a campaign by its keys: the campaign's text is changed and saved as a new version.

Not for the rows of stages, which follow from the text (``campaigns.save_text``). Invariant: what is not named stays
as it was written, byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import select

from poms.webservice.errors import Conflict, Invalid, NotFound
from poms.webservice.model import Campaign, CampaignStage
from poms.webservice.rules.campaign_text import (
    STAGE_KEYS,
    Dependency,
    Document,
    check_name,
    parse,
    read_campaign,
    rename_stage,
    stage_with,
    update_document,
)
from poms.webservice.rules.campaign_text import Campaign as CampaignSpec
from poms.webservice.rules.campaign_text.values import BadValue, Pairs
from poms.webservice.rules.permissions import Actor
from poms.webservice.services import campaigns, permissions
from poms.webservice.services.campaigns import SaveResult
from poms.webservice.services.core import Core
from poms.webservice.services.rehearsals import Look

COLUMNS = {"dataset": "dataset_or_split_data", "campaign_stage_type": "stage_type"}
"""Names of columns that programs know, where the key of the text is another."""

KEYS = frozenset({*STAGE_KEYS, *COLUMNS})
Depends = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class _Place:
    """A campaign with the version that a change begins with."""

    campaign_id: int
    version: int
    document: Document
    stage: str = ""


def find_stage(core: Core, experiment: str, campaign: str, name: str) -> int:
    """The number of a stage by the names of its campaign and itself; raises NotFound."""
    with core.db.read() as session:
        found = session.scalar(
            select(CampaignStage.campaign_stage_id).join(Campaign, Campaign.campaign_id == CampaignStage.campaign_id)
            .where(CampaignStage.experiment == experiment, Campaign.name == campaign, CampaignStage.name == name))
    if found is None:
        raise NotFound(f"There is no stage {name} in the campaign {campaign} of {experiment}.")
    return found


def change(core: Core, actor: Actor, stage_id: int, stated: Mapping[str, str], *, new_name: str = "") -> SaveResult:
    """Set keys of a stage, and its name if another one is given; raises Invalid with all that is wrong."""
    place = _place_of(core, actor, stage_id)

    def edit(campaign: CampaignSpec) -> CampaignSpec:
        return _with_stage(campaign, place.stage, _values(stated))

    return _save(core, actor, place, edit, new_name=new_name)


def change_several(core: Core, actor: Actor, stage_ids: Sequence[int], stated: Mapping[str, str], *,
                   look: Look | None = None) -> list[SaveResult]:
    """Set the same keys of several stages: one new version of each campaign that has some of them.

    Campaign by campaign: Invalid or Conflict of one leaves those before it changed. ``look`` as for saving a text.
    """
    values, groups = _values(stated), dict[int, list[_Place]]()
    for number in dict.fromkeys(stage_ids):
        place = _place_of(core, actor, number)
        groups.setdefault(place.campaign_id, []).append(place)

    def edit_for(places: Sequence[_Place]) -> Callable[[CampaignSpec], CampaignSpec]:
        def edit(campaign: CampaignSpec) -> CampaignSpec:
            for place in places:
                campaign = _with_stage(campaign, place.stage, values)
            return campaign

        return edit

    return [_save(core, actor, places[0], edit_for(places), look=look) for places in groups.values()]


def merge_overrides(core: Core, actor: Actor, stage_id: int, given: Mapping[str, Pairs]) -> dict[str, Pairs]:
    """Change launch parameters by name (``param_overrides``, ``test_param_overrides``); an empty value removes one.

    Returns the whole lists as they are now.
    """
    place = _place_of(core, actor, stage_id)
    spec = read_campaign(place.document)[0].stage(place.stage)
    if spec is None:
        raise Conflict(f"The campaign's text has no stage {place.stage} any more; look at the text.")
    now = {key: _merged(getattr(spec, key), pairs) for key, pairs in given.items()}
    _save(core, actor, place, lambda campaign: _with_stage(campaign, place.stage, now))
    return now


def add(core: Core, actor: Actor, campaign_id: int, name: str, stated: Mapping[str, str], *,
        depends: Depends = ()) -> SaveResult:
    """Add a stage to a campaign, fed by others if ``depends`` names them."""
    _require_name(name)
    place = _open(core, actor, campaign_id)

    def edit(campaign: CampaignSpec) -> CampaignSpec:
        if campaign.stage(name):
            raise Conflict(f"There is a stage {name} in {campaign.name} already.")
        stage = stage_with(name, _values(stated), campaign.defaults)
        return _fed(replace(campaign, stages=(*campaign.stages, stage)), name, depends)

    return _save(core, actor, place, edit)


def feed(core: Core, actor: Actor, stage_id: int, stated: Mapping[str, str], depends: Depends) -> SaveResult:
    """Set keys of a stage and what feeds it."""
    place = _place_of(core, actor, stage_id)

    def edit(campaign: CampaignSpec) -> CampaignSpec:
        return _fed(_with_stage(campaign, place.stage, _values(stated)), place.stage, depends)

    return _save(core, actor, place, edit)


def remove(core: Core, actor: Actor, stage_id: int) -> SaveResult:
    """Take a stage out of its campaign; its submissions are kept."""
    place = _place_of(core, actor, stage_id)

    def edit(campaign: CampaignSpec) -> CampaignSpec:
        return replace(campaign, stages=tuple(one for one in campaign.stages if one.name != place.stage),
                       dependencies=tuple(one for one in campaign.dependencies
                                          if place.stage not in (one.consumer, one.needs)))

    return _save(core, actor, place, edit)


# ----------------------------------------------------------------------------------------- parts


def _place_of(core: Core, actor: Actor, stage_id: int) -> _Place:
    stage = permissions.check(core, actor, "modify", "stage", stage_id)
    if stage.campaign_id is None:
        raise Conflict(f"Stage {stage.name} no longer belongs to a campaign; add it to the campaign's text again.")
    return replace(_open(core, actor, stage.campaign_id), stage=stage.name)


def _open(core: Core, actor: Actor, campaign_id: int) -> _Place:
    campaign = permissions.check(core, actor, "modify", "campaign", campaign_id)
    text = campaigns.version_text(core, actor, campaign_id, campaign.version_number)
    return _Place(campaign_id, campaign.version_number, parse(text))


def _save(core: Core, actor: Actor, place: _Place, edit: Callable[[CampaignSpec], CampaignSpec], *,
          new_name: str = "", look: Look | None = None) -> SaveResult:
    document = update_document(place.document, edit(read_campaign(place.document)[0]))
    if new_name and new_name != place.stage:
        _require_name(new_name)
        document = rename_stage(document, place.stage, new_name)
    result = campaigns.save_text(core, actor, document.to_bytes(), source="client", base_version=place.version,
                                 look=look)
    if result.problems:
        raise Invalid(result.problems)
    return result


def _require_name(name: str) -> None:
    problem = check_name(name, "stage")
    if problem:
        raise Invalid(problem, field="name")


def _values(stated: Mapping[str, str]) -> dict[str, Any]:
    """Typed values of the keys of a text; raises Invalid for a key or value that means nothing."""
    found = {}
    for name, text in stated.items():
        key = STAGE_KEYS.get(COLUMNS.get(name, name))
        if key is None:
            raise Invalid(f"A stage has no {name[:100]}.", field=name)
        try:
            found[key.name] = key.read(text)
        except BadValue as problem:
            raise Invalid(problem.message, field=name) from None
    return found


def _with_stage(campaign: CampaignSpec, name: str, values: Mapping[str, Any]) -> CampaignSpec:
    old = campaign.stage(name)
    if old is None:
        raise Conflict(f"The text of {campaign.name} has no stage {name} any more; look at the text.")
    kept = {key: getattr(old, key) for key in STAGE_KEYS if key not in old.inherited}
    new = stage_with(name, {**kept, **values}, campaign.defaults)
    return replace(campaign, stages=tuple(new if one.name == name else one for one in campaign.stages))


def _fed(campaign: CampaignSpec, name: str, depends: Depends) -> CampaignSpec:
    """The campaign in which exactly these stages feed the one of this name."""
    for needs, _ in depends:
        if campaign.stage(needs) is None:
            raise NotFound(f"There is no stage {needs[:100]} in {campaign.name}.")
    others = tuple(one for one in campaign.dependencies if one.consumer != name)
    return replace(campaign, dependencies=(*others, *(
        Dependency(name, needs, pattern or "%", number) for number, (needs, pattern) in enumerate(depends, 1))))


def _merged(old: Pairs, given: Pairs) -> Pairs:
    pairs = dict(old)
    for key, value in given:
        if value == "":
            pairs.pop(key, None)
        else:
            pairs[key] = value
    return tuple(pairs.items())
