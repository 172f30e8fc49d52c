"""A campaign that has one stage, for programs that know no more of it than a name.

Not for campaigns that somebody described (``campaigns.save_text``), by which this one is saved as well.
"""

from __future__ import annotations

from poms.webservice.errors import Invalid
from poms.webservice.rules.campaign_text import Campaign, StageSpec, check_name, write_campaign
from poms.webservice.rules.permissions import ANALYSIS, Actor
from poms.webservice.services import campaigns, lookups
from poms.webservice.services.campaigns import SaveResult
from poms.webservice.services.core import Core

GENERIC = "generic"
"""Name of the job type and of the login setup that are used where none is named."""


def begin(core: Core, actor: Actor, name: str, *, stage: str = "stage0", job_type: str = "", software_version: str = "",
          dataset: str = "from_parent") -> SaveResult:
    """Make a campaign with one stage. Raises Conflict if there is one of this name, Invalid if it cannot be saved."""
    for what, given in (("campaign", name), ("stage", stage)):
        problem = check_name(given, what)
        if problem:
            raise Invalid(problem, field="campaign_name")
    only = StageSpec(
        name=stage, vo_role="Analysis" if actor.creator_role == ANALYSIS else "Production",
        software_version=software_version or "v1_0", dataset_or_split_data=dataset, completion_type="complete",
        completion_pct=95, login_setup=GENERIC, job_type=job_type or GENERIC)
    text = write_campaign(Campaign(name=name, experiment=actor.experiment, poms_role=actor.creator_role,
                                   state="Active", stages=(only,)))
    result = campaigns.save_text(core, actor, text.encode(), source="client", only_if_new=True)
    if result.problems:
        raise Invalid(result.problems)
    return result


def find_or_begin(core: Core, actor: Actor, name: str, *, job_type: str = "", software_version: str = "",
                  dataset: str = "") -> int:
    """The first stage of the campaign of this name, which is made with one if it is not there."""
    campaign_id = lookups.find_campaign_id(core, actor.experiment, name)
    if campaign_id is not None:
        stages = lookups.list_stages(core, actor.experiment, campaign_id=campaign_id)
        if not stages:
            raise Invalid(f"The campaign {name} has no stage.", field="campaign_name")
        return int(stages[0]["campaign_stage_id"])
    made = begin(core, actor, name, stage=name, job_type=job_type, software_version=software_version,
                 dataset=dataset or "None")
    return made.stages[0][0]
