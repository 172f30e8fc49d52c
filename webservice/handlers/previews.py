"""Previews of everything that launches: pages that say what would be done, and do nothing.

The preview of one stage's launch is in ``launches``. Invariant: nothing here changes state but ``launch_stages``.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from poms.webservice.errors import Invalid, PomsError
from poms.webservice.handlers.answers import Answer, Call, Data, Done, Page
from poms.webservice.handlers.params import count, flag, number, numbers, text, upload
from poms.webservice.handlers.routing import Need, Routes
from poms.webservice.rules import schedule as recurrence
from poms.webservice.services import campaigns, launch_requests, launching, previews
from poms.webservice.services.pages import previews as preview_pages
from poms.webservice.services.previews import Effect

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
        request = launch_requests.by_hand(stage.campaign_stage_id, call.request_key, test=call["test"])
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


@routes.change("preview_text", template=TEMPLATE, permission=(
    Need("create", "experiment"), Need("modify", "campaign", "campaign_id", optional=True)), arguments={
        "campaign_id": number(), "base_version": number(), "campaign_file": upload(), "campaign_text": upload()})
def preview_text(call: Call) -> Answer:
    """What saving a campaign's text would do to the launches of its stages; nothing is saved."""
    sent = call["campaign_file"] or call["campaign_text"]
    if sent is None:
        raise Invalid("Choose a file or type the text.", field="campaign_file")
    data = sent.data
    if not sent.name and call.identity.via_browser and call["campaign_id"]:
        data = campaigns.with_own_line_ends(data, campaigns.version_text(call.core, call.actor, call["campaign_id"]))
    result, effects = previews.of_text(call.core, call.actor, data, base_version=call["base_version"])
    notes = [*result.warnings, *([] if result.changed or result.problems else ["This is the text in force."])]
    back = call.url("campaign_text", campaign_id=call["campaign_id"]) if call["campaign_id"] else call.url("campaigns")
    return shown_change(call, f"Changed text of {result.name}", effects, back=back, notes=notes,
                        problems=[asdict(problem) for problem in result.problems],
                        text="It is not saved: go back in the browser to the text, and save it there.")


def shown_change(call: Call, title: str, effects: Sequence[Effect], *, back: str, **more: Any) -> Answer:
    """The page, or the document, that says what a change would do to launches."""
    context = preview_pages.change_page(call.url, title, effects, back=back, **more)
    problems = more.get("problems")
    if call.wants == "json":
        return Data({**context, "status": "problem" if problems else "ok",}, 400 if problems else 200)
    return Page(context, template=TEMPLATE, status=400 if problems else 200)


def _key() -> str:
    """Of the form on a preview: sent twice it launches once, under the names that the preview shows."""
    return uuid.uuid4().hex
