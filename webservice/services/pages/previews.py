"""Pages of previews: launches that would be made, each with commands, datasets, files and reasons, and nothing done.

What they say comes from ``services.previews``; here it becomes values for templates and programs. Each page says
how the same is done for good.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from poms.webservice.errors import BackendUnavailable, Invalid, NotFound, PomsError
from poms.webservice.model import CampaignStage
from poms.webservice.rules.permissions import Actor
from poms.webservice.services import campaigns, candidates, preparing, previews, schedules
from poms.webservice.services.campaigns import diff_lines
from poms.webservice.services.core import Core
from poms.webservice.services.pages.common import Url, campaign_place, counted
from poms.webservice.services.previews import Effect, Foreseen, Input

WORDS = {"launch": "would be launched", "hold": "would be kept for later", "skip": "would be left out",
         "refuse": "would be refused", "fail": "cannot be launched like this", "wait": "would be tried again",
         "made": "was asked for before"}
_GLYPHS = {"launch": "Located", "hold": "Held", "skip": "Removed", "refuse": "LaunchFailed", "fail": "LaunchFailed",
           "wait": "overdue", "made": "Completed"}


def launch_of(foreseen: Foreseen, url: Url) -> dict[str, Any]:
    """One launch as pages and programs see it."""
    stage, plan = foreseen.stage, foreseen.plan
    return {
        "what": foreseen.what, "what_text": WORDS[foreseen.what], "state": _GLYPHS[foreseen.what],
        "why": foreseen.why, "occasion": foreseen.occasion, "at": foreseen.at, "by": foreseen.launcher,
        "kind": foreseen.request.kind, "test": bool(plan and plan.test),
        "stage": {"id": stage.campaign_stage_id, "name": stage.name,
                  "url": url("stage", campaign_stage_id=stage.campaign_stage_id)},
        "problems": [{"field": problem.field, "message": problem.message} for problem in foreseen.problems],
        "command": plan.command if plan else "", "dataset": plan.dataset if plan else "",
        "runs_on": f"{plan.host or 'this host'} as {plan.account or 'the service'}" if plan else "",
        "setup": plan.setup if plan else "", "text": foreseen.text,
        "environment": [{"name": name, "value": value} for name, value in plan.environment if "key-" not in value]
        if plan else [],
        "defines": [{"name": name, "query": query} for name, query in foreseen.defines],
        "jobs": foreseen.jobs, "files": files_of(foreseen.input), "files_unknown": foreseen.input_unknown,
        "slices": slices_of(foreseen),
    }


def files_of(found: Input | None) -> dict[str, Any] | None:
    """How many files, and the first of them."""
    if found is None:
        return None
    return {"count": found.count, "query": found.query,
            "first": [{"name": name, "bytes": size} for name, size in found.first]}


def slices_of(foreseen: Foreseen) -> list[dict[str, Any]] | None:
    """What the split gives next; None if the stage is not split."""
    if foreseen.slices is None:
        return None
    return [{"dataset": piece.dataset, "files": piece.files, "query": piece.query} for piece in foreseen.slices]


def allowed_of(stage: CampaignStage) -> list[dict[str, str]]:
    """Who may launch a stage, role by role."""
    return [{"role": role, "why_not": why} for role, why in previews.allowed_roles(stage)]


# ---------------------------------------------------------------------------------------- pages


def recovery_page(core: Core, actor: Actor, url: Url, submission_id: int, kind: str, key: str) -> dict[str, Any]:
    """A recovery by hand: of one kind, or which kinds have anything to do."""
    candidate = candidates.describe(core, submission_id, actor.experiment)
    try:
        counts = previews.recovery_counts(core, candidate)
        launches = [previews.of_recovery(core, actor, submission_id, kind, key)] if kind else []
    except (Invalid, NotFound, BackendUnavailable) as nothing:
        counts, launches, problems = {}, [], _problems(nothing)
    else:
        problems = []
    return _page(
        f"Recovery of submission {submission_id}" + (f": {kind}" if kind else ""), url,
        [_group("", launches, url)], problems=problems, back=url("submission", submission_id=submission_id),
        stages=[candidate.stage],
        choices=[{"text": name, "note": counted(count, "file"), "current": name == kind,
                  "url": url("preview_recovery", submission_id=submission_id, recovery_type=name) if count else ""}
                 for name, count in counts.items()],
        action=_action(url, "recover", "Launch recovery", {"submission_id": submission_id, "recovery_type": kind,
                                                           "launch_key": key}) if _would_go(launches) else None)


def following_page(core: Core, actor: Actor, url: Url, submission_id: int) -> dict[str, Any]:
    """What recovery list or rules and the dependencies would launch after a submission."""
    back = url("submission", submission_id=submission_id)
    try:
        seen = previews.of_what_follows(core, actor, submission_id)
    except (Invalid, NotFound, BackendUnavailable) as nothing:
        return _page(f"What follows submission {submission_id}", url, [], back=back, problems=_problems(nothing))
    notes = []
    if seen.settled:
        notes.append(f"Submission {submission_id} is Located: what follows from it was decided then.")
    elif not (seen.now or seen.later or seen.asked):
        notes.append("Nothing follows: no recovery has files to do, and no stage takes what it made.")
    groups = [
        _group("As soon as it is Located", seen.now, url),
        _group("If a person says go on", [launch for _, launch in seen.asked if launch], url,
               text="\n".join(told for told, _ in seen.asked)),
        _group("When the recoveries are done, with the files that are there now", seen.later, url)]
    return _page(
        f"What follows submission {submission_id}", url, groups, back=back,
        text="Worked out as if it were Located now, with the files that are there. More files, more follows.",
        notes=[*notes, *(f"Left out: {why}" for why in seen.skipped),
               *(f"The rules are passive and would have done: {told}" for told in seen.passive)])


def schedule_page(core: Core, actor: Actor, url: Url, stage_id: int, cron: str, runs: int) -> dict[str, Any]:
    """The next runs of a schedule, in force or only typed, one slice after the other."""
    found = previews.of_schedule(core, actor, stage_id, cron=cron, runs=runs)
    with core.db.read() as session:
        stage = preparing.load_stage(session, stage_id, actor.experiment)
    zone = core.settings.experiment(actor.experiment).time_zone
    coming = schedules.preview(core, actor.experiment, cron, 1) if cron else None
    return _page(
        f"Next runs of {stage.name}", url, [_group("", found, url)], stages=[stage],
        back=url("schedule", campaign_stage_id=stage_id),
        text=f"{coming.words}, in {zone}: this schedule is not saved." if coming else
        f"The schedule in force; times are meant in {zone}.",
        notes=[] if found else ["The stage has no schedule."])


def campaign_page(core: Core, actor: Actor, url: Url, campaign_id: int, key: str, *, stage_id: int | None = None,
                  test: bool = False) -> dict[str, Any]:
    """The launch of a campaign at its beginning, and its stages to choose several from."""
    stages, leading = campaigns.beginnings(core, actor, campaign_id)
    problems, launches = [], []
    try:
        launches = [previews.of_launch(core, actor, campaigns.request_for(
            campaign_id, stages, leading, key, stage_id=stage_id, test=test))]
    except Invalid as unclear:
        problems = [{"field": problem.field, "message": problem.message} for problem in unclear.problems]
    fields = {"campaign_id": campaign_id, "launch_key": key, "test": "1" if test else "",
              "campaign_stage_id": launches[0].stage.campaign_stage_id if launches else ""}
    return _page(
        "Launch of a whole campaign", url, [_group("", launches, url)], problems=problems,
        stages=[launch.stage for launch in launches], back=url("campaign", campaign_id=campaign_id),
        text="It begins with this stage; the stages that it feeds follow by themselves.",
        stage_choices=[{"id": number, "name": name, "first": number in leading} for number, name in stages.items()],
        action=_action(url, "launch_campaign", "Launch campaign", fields) if _would_go(launches) else None)


def stages_page(core: Core, actor: Actor, url: Url, stage_ids: Sequence[int], key: str, *,
                test: bool = False) -> dict[str, Any]:
    """The launches of several stages at once."""
    launches = previews.of_stages(core, actor, stage_ids, key, test=test)
    go = [launch for launch in launches if launch.what in ("launch", "hold")]
    campaign = campaign_place(launches[0].stage.campaign, url) if launches else {"url": url("campaigns")}
    return _page(
        f"Launch of {counted(len(launches), 'stage')}", url, [_group("", launches, url)],
        stages=[launch.stage for launch in launches], back=campaign["url"],
        text="Each is launched for itself; what one of them feeds follows besides.",
        action=_action(url, "launch_stages", f"Launch {counted(len(go), 'stage')}", {
            "campaign_stage_id": [launch.stage.campaign_stage_id for launch in go], "launch_key": key,
            "test": "1" if test else ""}) if go else None)


def effects_of(effects: Iterable[Effect], url: Url) -> list[dict[str, Any]]:
    """What a change does, stage by stage: the difference of all that is launched, line by line."""
    shown = []
    for effect in effects:
        before, after = effect.before, effect.after
        stage = effect.stage
        shown.append({
            "stage": stage.name, "launch_id": effect.launch_id, "changed": effect.is_change,
            "url": url("stage", campaign_stage_id=stage.campaign_stage_id) if before else "",
            "before": WORDS[before.what] if before else "there is no such stage",
            "after": WORDS[after.what] if after else "there is no such stage any more",
            "why": after.why if after else "",
            "diff": diff_lines(before.text if before else "", after.text if after else "") if effect.is_change else []})
    return shown


def change_page(url: Url, title: str, effects: Sequence[Effect], *, back: str, text: str = "",
                notes: Iterable[str] = (), problems: Iterable[Mapping[str, Any]] = (),
                action: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What a change of texts or blocks would do to launches from then on."""
    shown = effects_of(effects, url)
    same = sum(1 for effect in shown if not effect["changed"])
    return _page(title, url, [], back=back, text=text, problems=problems, action=action,
                 notes=[*notes, *([f"{counted(same, 'launch')} stay as they are."] if same else [])],
                 effects=[effect for effect in shown if effect["changed"]])


def _problems(condition: PomsError) -> list[dict[str, str]]:
    """Why something cannot be worked out: what was asked for, or the catalogue that does not say."""
    if isinstance(condition, Invalid):
        return [{"field": problem.field, "message": problem.message} for problem in condition.problems]
    return [{"field": "", "message": str(condition)}]


def _would_go(launches: Sequence[Foreseen]) -> bool:
    return any(launch.what in ("launch", "hold") for launch in launches)


def _group(title: str, launches: Iterable[Foreseen], url: Url, *, text: str = "") -> dict[str, Any]:
    return {"title": title, "text": text, "launches": [launch_of(launch, url) for launch in launches]}


def _action(url: Url, word: str, label: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    return {"url": url(word), "label": label, "fields": {name: value for name, value in fields.items() if value != ""}}


def _page(title: str, url: Url, groups: Sequence[Mapping[str, Any]], *, back: str, text: str = "",
          notes: Iterable[str] = (), problems: Iterable[Mapping[str, Any]] = (), stages: Iterable[CampaignStage] = (),
          choices: Iterable[Mapping[str, Any]] = (), stage_choices: Iterable[Mapping[str, Any]] = (),
          effects: Iterable[Mapping[str, Any]] = (), action: Mapping[str, Any] | None = None) -> dict[str, Any]:
    named = {stage.campaign_stage_id: stage for stage in stages}
    return {
        "title": title, "text": text, "notes": list(notes), "problems": list(problems), "back": back,
        "groups": [group for group in groups if group["launches"]], "choices": list(choices),
        "stage_choices": list(stage_choices), "effects": list(effects), "action": action,
        "allowed": [{"stage": stage.name, "roles": allowed_of(stage)} for stage in named.values()],
    }


