"""Previews of everything that launches: pages that say what would be done, and do nothing.

The preview of one stage's launch is in ``launches``. Invariant: nothing here changes state but ``launch_stages``.
"""

from __future__ import annotations

import uuid

from poms.webservice.errors import PomsError
from poms.webservice.handlers.answers import Answer, Call, Done, Page
from poms.webservice.handlers.params import count, flag, number, numbers, text
from poms.webservice.handlers.routing import Need, Routes
from poms.webservice.rules import schedule as recurrence
from poms.webservice.services import launching, previews
from poms.webservice.services.pages import previews as preview_pages

routes = Routes()
TEMPLATE = "previews.html"
SUBMISSION = {"submission_id": number(required=True)}
STAGE = {"campaign_stage_id": number(required=True)}
STAGES = {"campaign_stage_id": numbers(required=True), "test": flag()}


@routes.page("preview_recovery", TEMPLATE, permission=Need("do", "submission", "submission_id"),
             path=("submission_id",), arguments={**SUBMISSION, "recovery_type": text(limit=100)})
def preview_recovery(call: Call) -> Answer:
    """What a recovery by hand would do again; without a type, how many files each of them would."""
    return Page(preview_pages.recovery_page(call.core, call.actor, call.url, call["submission_id"],
                                            call["recovery_type"], _key()))


@routes.page("preview_following", TEMPLATE, permission=Need("view", "submission", "submission_id"),
             path=("submission_id",), arguments=SUBMISSION)
def preview_following(call: Call) -> Answer:
    """Which recoveries and which next stages would follow a submission if it were Located now."""
    return Page(preview_pages.following_page(call.core, call.actor, call.url, call["submission_id"]))


@routes.page("preview_schedule", TEMPLATE, permission=Need("view", "stage", "campaign_stage_id"),
             path=("campaign_stage_id",), arguments={
                 **STAGE, "cron": text(limit=recurrence.LONGEST), "runs": count(previews.NEXT_SLICES)})
def preview_schedule(call: Call) -> Answer:
    """What the next runs of a schedule would launch: the one in force, or the one in ``cron``."""
    cron = recurrence.parse_cron(call["cron"]).cron if call["cron"] else ""
    return Page(preview_pages.schedule_page(call.core, call.actor, call.url, call["campaign_stage_id"], cron,
                                            max(1, call["runs"])))


@routes.page("preview_campaign", TEMPLATE, permission=(
    Need("do", "campaign", "campaign_id"), Need("do", "stage", "campaign_stage_id", optional=True)),
    path=("campaign_id",), arguments={"campaign_id": number(required=True), "campaign_stage_id": number(),
                                      "test": flag()})
def preview_campaign(call: Call) -> Answer:
    """What launching a campaign would do; its stages to choose several from."""
    return Page(preview_pages.campaign_page(call.core, call.actor, call.url, call["campaign_id"], _key(),
                                            stage_id=call["campaign_stage_id"], test=call["test"]))


@routes.page("preview_stages", TEMPLATE, permission=Need("do", "stage", "campaign_stage_id"), arguments=STAGES)
def preview_stages(call: Call) -> Answer:
    """What launching several stages would do."""
    return Page(preview_pages.stages_page(call.core, call.actor, call.url, call["campaign_stage_id"], _key(),
                                          test=call["test"]))


@routes.change("launch_stages", permission=Need("do", "stage", "campaign_stage_id"), arguments=STAGES)
def launch_stages(call: Call) -> Answer:
    """Launch several stages, each for itself; one that cannot be keeps no other from it."""
    made = []
    stages = {stage.campaign_stage_id: stage for stage in call.items["campaign_stage_id"]}
    previews.require_few(stages)
    for stage in stages.values():
        request = launching.by_hand(stage.campaign_stage_id, call.request_key, test=call["test"])
        try:
            outcome = launching.launch(call.core, call.actor, request)
        except PomsError as condition:
            made.append({"stage": stage.name, "state": "refused", "launch_id": None, "submission_id": None,
                         "message": str(condition)})
        else:
            made.append({"stage": stage.name, "state": outcome.state, "launch_id": outcome.launch_id,
                         "submission_id": outcome.submission_id, "message": outcome.message})
    going = [one for one in made if one["submission_id"] is not None]
    said = [f"{one['stage']}: {one['message'] or one['state']}" for one in made if one["submission_id"] is None]
    where = call.url("submission", submission_id=going[0]["submission_id"]) if len(going) == 1 else \
        call.url("campaign", campaign_id=call.items["campaign_stage_id"][0].campaign_id)
    return Done(where, f"Launched {len(going)} of {len(made)} stages", "\n".join(said), {"launches": made},
                kind="problem" if said else "done")


def _key() -> str:
    """Of the form on a preview: sent twice it launches once, under the names that the preview shows."""
    return uuid.uuid4().hex
