"""What an action on several things at once would do: to how many, to which, and which it leaves alone.

Read before anybody agrees to it, from stored columns; the action itself decides again when it is done.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from sqlalchemy import select

from poms.webservice.interfaces import JobState
from poms.webservice.model import Campaign, CampaignStage, CampaignTag, Job, Launch, Submission, Tag
from poms.webservice.rules.permissions import Actor
from poms.webservice.rules.statuses import FINAL, Status
from poms.webservice.services.core import Core
from poms.webservice.services.pages.common import STATE_WORDS, Url, counted

MOST_NAMED = 200
"""So many things are named one by one; of the others the number is told."""

Refused = Mapping[Any, str]
NONE_REFUSED: Refused = MappingProxyType({})
"""Of what was chosen, to what the actor may not do this, and why."""

_JOB_COLUMNS = {"hold": ("jobs_idle", "jobs_running"), "release": ("jobs_held",),
                "remove": ("jobs_idle", "jobs_running", "jobs_held")}
_JOB_STATES = {"hold": (JobState.IDLE, JobState.RUNNING), "release": (JobState.HELD,),
               "remove": (JobState.IDLE, JobState.RUNNING, JobState.HELD)}
_VERBS = {"hold": "Hold", "release": "Release", "remove": "Remove", "delete": "Delete"}
_JOB_TEXTS = {
    "hold": "Jobs that run are stopped where they are and begin again when they are released; idle ones do not start.",
    "release": "Held jobs go back to Idle and start again when there is room.",
    "remove": "Jobs that run are stopped and their work is lost."}
_GONE = " The submissions that go on become Removed, and nothing that depends on them is launched."


def jobs_of_submissions(core: Core, actor: Actor, url: Url, act: str, numbers: Collection[int],
                        refused: Refused = NONE_REFUSED) -> dict[str, Any]:
    """Holding, releasing or removing all jobs of submissions."""
    with core.db.read() as session:
        rows = session.execute(
            select(Submission, CampaignStage.name)
            .join(CampaignStage, CampaignStage.campaign_stage_id == Submission.campaign_stage_id)
            .where(Submission.submission_id.in_(list(numbers)), Submission.experiment == actor.experiment)
            .order_by(Submission.submission_id)).all()
    items, total = [], 0
    for item, stage in rows:
        why_not = refused.get(item.submission_id, "")
        jobs = 0 if why_not else sum(getattr(item, name) for name in _JOB_COLUMNS[act])
        total += jobs
        status = Status(item.status_id)
        ends = act == "remove" and status not in FINAL and not why_not
        effect = "no job to remove; it becomes Removed" if ends else f"left alone: {why_not or 'no job to ' + act}"
        items.append({"name": f"{item.submission_id}, {stage}", "state": status.label, "touched": bool(jobs) or ends,
                      "url": url("submission", submission_id=item.submission_id),
                      "effect": counted(jobs, "job") if jobs else effect})
    touched = sum(1 for item in items if item["touched"])
    what = f"{_VERBS[act]} {counted(total, 'job')}"
    return _page(f"{what} of {counted(touched, 'submission')}", _JOB_TEXTS[act] + (_GONE if act == "remove" else ""),
                 what, "Keep the jobs as they are", items, danger=act == "remove", reason=True)


def jobs_by_number(core: Core, url: Url, act: str, submission_id: int, batch_ids: Sequence[str]) -> dict[str, Any]:
    """Holding, releasing or removing some jobs of one submission."""
    with core.db.read() as session:
        rows = session.execute(select(Job.batch_id, Job.state).where(
            Job.submission_id == submission_id, Job.batch_id.in_(list(batch_ids))).order_by(Job.batch_id)).all()
    items = []
    for batch_id, state in rows:
        touched = JobState(state) in _JOB_STATES[act]
        word = STATE_WORDS[JobState(state)]
        items.append({"name": batch_id, "state": word, "touched": touched,
                      "url": url("job", submission_id=submission_id, batch_id=batch_id),
                      "effect": "1 job" if touched else f"left alone: {word}"})
    total = sum(1 for item in items if item["touched"])
    what = f"{_VERBS[act]} {counted(total, 'job')}"
    return _page(f"{what} of submission {submission_id}", _JOB_TEXTS[act], what, "Keep the jobs as they are", items,
                 danger=act == "remove", reason=True)


def held_launches(core: Core, actor: Actor, url: Url, act: str, numbers: Collection[int],
                  refused: Refused = NONE_REFUSED) -> dict[str, Any]:
    """Letting held launches go, or dropping them."""
    with core.db.read() as session:
        rows = session.execute(
            select(Launch.launch_id, Launch.state, Launch.hold_reason, CampaignStage.name, Launch.campaign_stage_id)
            .join(CampaignStage, CampaignStage.campaign_stage_id == Launch.campaign_stage_id)
            .where(Launch.launch_id.in_(list(numbers)), Launch.experiment == actor.experiment)
            .order_by(Launch.launch_id)).all()
    items = []
    for number, state, reason, stage, stage_id in rows:
        why_not = refused.get(number) or (f"{state} by now" if state != "held" else "")
        items.append({"name": f"launch {number} of {stage}", "state": "Held" if state == "held" else "",
                      "touched": not why_not, "url": url("stage", campaign_stage_id=stage_id),
                      "effect": f"left alone: {why_not}" if why_not else reason or "kept"})
    total = sum(1 for item in items if item["touched"])
    what = f"{_VERBS[act]} {counted(total, 'launch')}"
    text = ("They will never be launched. Files that they would have taken are left for a later launch of the stage."
            if act == "delete" else "Each is launched once, as soon as an agent comes to it.")
    return _page(what, text, what, "Keep them held", items, danger=act == "delete",
                 rate=act == "release" and total > 1)


def campaigns(core: Core, actor: Actor, url: Url, act: str, numbers: Collection[int], tag: str,
              refused: Refused = NONE_REFUSED) -> dict[str, Any]:
    """Making campaigns active or inactive, putting a tag on them or taking it off."""
    with core.db.read() as session:
        rows = session.scalars(select(Campaign).where(
            Campaign.campaign_id.in_(list(numbers)), Campaign.experiment == actor.experiment)
            .order_by(Campaign.name)).all()
        tagged = set(session.scalars(
            select(CampaignTag.campaign_id).join(Tag, Tag.tag_id == CampaignTag.tag_id)
            .where(Tag.experiment == actor.experiment, Tag.tag_name == tag,
                   CampaignTag.campaign_id.in_([row.campaign_id for row in rows])))) if tag else set()
    effects = {
        "activate": lambda row: (not row.active, "is active already"),
        "deactivate": lambda row: (row.active, "is inactive already"),
        "tag": lambda row: (row.campaign_id not in tagged, "carries the tag already"),
        "untag": lambda row: (row.campaign_id in tagged, "does not carry the tag")}
    items = []
    for row in rows:
        touched, why_not = effects[act](row)
        if row.campaign_id in refused:
            touched, why_not = False, refused[row.campaign_id]
        items.append({"name": row.name, "state": "", "touched": touched, "effect": "" if touched else
                      f"left alone: {why_not}", "url": url("campaign", campaign_id=row.campaign_id)})
    total = counted(sum(1 for item in items if item["touched"]), "campaign")
    what = {"activate": f"Make {total} active", "deactivate": f"Make {total} inactive",
            "tag": f"Tag {total}", "untag": f"Untag {total}"}[act]
    text = {"activate": "They stand in the list of active campaigns again.",
            "deactivate": "They leave the list of active campaigns. Nothing that runs is stopped, and schedules stay.",
            "tag": f"The tag is “{tag}”.", "untag": f"The tag is “{tag}”; it stays on other campaigns."}[act]
    return _page(what, text, what, "Change nothing", items)


def _page(title: str, text: str, yes: str, keep: str, items: list[dict[str, Any]], *, danger: bool = False,
          reason: bool = False, rate: bool = False) -> dict[str, Any]:
    touched = [item for item in items if item["touched"]]
    left = [item for item in items if not item["touched"]]
    kinds = Counter(item["effect"] for item in left)
    return {"title": title, "text": text, "yes": yes, "keep": keep, "danger": danger, "reason": reason,
            "rate": rate,
            "touched": touched[:MOST_NAMED], "touched_total": len(touched), "left": left[:MOST_NAMED],
            "left_total": len(left), "left_why": [f"{number:,} {why}" for why, number in kinds.most_common(10)]}
