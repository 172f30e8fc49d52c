"""Lists of submissions, the page of one submission with its faces, and the page of one job."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Select, case, func, literal, or_, select, true, tuple_
from sqlalchemy.orm import Session, joinedload

from poms.webservice.errors import NotFound, PomsError
from poms.webservice.interfaces import JobState
from poms.webservice.model import (
    Campaign,
    CampaignStage,
    Event,
    Experimenter,
    Job,
    JobSummary,
    Launch,
    Scout,
    Snapshot,
    StageStatusCount,
    Submission,
    SubmissionFile,
    SubmissionHistory,
)
from poms.webservice.rules import permissions
from poms.webservice.rules.lists import LISTS
from poms.webservice.rules.permissions import Actor
from poms.webservice.rules.recoveries import RECOVERY_WORDS
from poms.webservice.rules.statuses import FINAL, LIVE, NEEDS_PERSON, Status, find_status
from poms.webservice.services import job_archive
from poms.webservice.services.core import Core
from poms.webservice.services.list_columns import columns_of
from poms.webservice.services.pages.archived import archive_of
from poms.webservice.services.pages.campaigns import campaign_head
from poms.webservice.services.pages.common import (
    STATE_WORDS,
    Url,
    campaign_place,
    counted,
    created_since,
    happened,
    job_counts,
    job_label,
    job_order,
    names_of,
    page_of,
)
from poms.webservice.services.pages.recoveries import decisions_panel
from poms.webservice.services.pages.scouts import scout_facts, scout_notices
from poms.webservice.services.pages.submission_order import MOST, Order, Place

PAGE = 50
DEEPEST = 20
"""So far up a chain of submissions is looked; what goes on by itself makes endless ones."""
FILES_PAGE = 100

def submission_rows(found: Sequence[Submission], names: Mapping[int | None, str], stages: Mapping[int, str],
                    url: Url) -> list[dict[str, Any]]:
    """Submissions as lists show them; a recovery or dependent stands under what it followed if that is shown."""
    return [{
        "id": item.submission_id, "url": url("submission", submission_id=item.submission_id),
        "state": Status(item.status_id).label, "kind": _kind(item), "kind_text": _kind_text(item),
        "depth": 1 if item.recovery_tasks_parent else 0, "stage": stages.get(item.campaign_stage_id, ""),
        "stage_url": url("stage", campaign_stage_id=item.campaign_stage_id), "batch_id": item.jobsub_job_id or "",
        "counts": job_counts(item, located=item.status_id == Status.LOCATED), "jobs": item.jobs_expected,
        "failed": item.jobs_failed,
        "files_in": item.files_consumed, "files_out": item.files_generated, "files_located": item.files_located,
        "created_at": item.created, "creator": names.get(item.creator, ""),
        "changed_at": item.status_since, "dataset": item.submission_params.get("dataset") or "",
    } for item in found]


def _kind(item: Submission) -> str:
    return "recovery" if item.recovery_tasks_parent else "dependency" if item.depends_on else "regular"


def _kind_text(item: Submission) -> str:
    if item.recovery_tasks_parent:
        return f"recovery of {item.recovery_tasks_parent}"
    if item.depends_on:
        return f"after {item.depends_on}"
    return "test" if item.submission_params.get("test") else ""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which submissions a list has: of a stage, a campaign or all, in a state, made in a time, fitting a text."""

    stage_id: int | None = None
    campaign_id: int | None = None
    state: str = ""
    text: str = ""
    since: datetime | None = None
    until: datetime | None = None

    def query(self, experiment: str) -> Select[Any]:
        where = [Submission.experiment == experiment]
        if self.stage_id is not None:
            where.append(Submission.campaign_stage_id == self.stage_id)
        elif self.campaign_id is not None:
            where.append(Submission.campaign_id == self.campaign_id)
        status = find_status(self.state)
        if status is not None:
            where.append(Submission.status_id == int(status))
        if self.text:
            where.append(_matches(self.text))
        if self.since is not None:
            where.append(created_since(self.since))
        if self.until is not None:
            where.append(Submission.created < self.until)
        return select(Submission).where(*where)

    def arguments(self) -> dict[str, Any]:
        """What an address of this list keeps."""
        times = {name: f"{value:%Y-%m-%d %H:%M:%S}" for name, value in (("since", self.since), ("until", self.until))
                 if value is not None}
        return {**{name: value for name, value in (("state", self.state), ("text", self.text)) if value}, **times}


def submission_list(core: Core, actor: Actor, url: Url, *, sort: str = "", before: int | None = None,
                    after: int | None = None, at: str = "", **which: Any) -> dict[str, Any]:
    """Submissions of a stage, a campaign or all, newest first or by a column, one page by key.

    ``which``: the fields of ``Chosen``; ``before``, ``after`` and ``at``: see ``Place``.
    """
    chosen, order, place = Chosen(**which), Order.of(sort), Place(before, after, at)
    stage_id, campaign_id = chosen.stage_id, chosen.campaign_id
    with core.db.read() as session:
        if stage_id is not None:
            context = _stage_owner(session, actor, stage_id, url)
        elif campaign_id is not None:
            context = _campaign_owner(session, actor, campaign_id, url)
        else:
            context = _experiment_owner(actor, url)
        query = order.page(chosen.query(actor.experiment), place, PAGE + 1)
        shown, newer, older = page_of(session.scalars(query).all(), PAGE, before=before, after=after)
        rows = _as_listed(session, actor, shown, url)
        states = _states(session, actor, stage_id, campaign_id)
        columns = columns_of(session, actor, "submissions")
    route, key = (("stage_submissions", {"campaign_stage_id": stage_id}) if stage_id is not None
                  else ("campaign_submissions", {"campaign_id": campaign_id}) if campaign_id is not None
                  else ("submissions", {}))
    kept = {**chosen.arguments(), **({"sort": order.text} if order.text else {})}
    narrowed = {name: value for name, value in kept.items() if name in ("since", "until", "sort")}
    cut = not order.is_by_number and sum(count for _, count in states) > MOST
    status = find_status(chosen.state)
    return {
        **context, "text": chosen.text, "since": chosen.since, "until": chosen.until, "submissions": rows,
        "columns": columns,
        "states": [{"label": "All", "url": url(route, **key, **narrowed), "current": status is None}]
        + [{"label": f"{label} {count:,}", "url": url(route, **key, **narrowed, state=label),
            "current": label == chosen.state} for label, count in states],
        "pager": {"text": f"{len(shown)} shown" + (f", in order among the newest {MOST:,} that fit" if cut else ""),
                  "sorted": not order.is_by_number,
                  "newer_url": url(route, **key, **kept, after=shown[0].submission_id, **order.place_of(shown[0]))
                  if newer and shown else "",
                  "older_url": url(route, **key, **kept, before=shown[-1].submission_id, **order.place_of(shown[-1]))
                  if older and shown else ""},
    }


def _stages_of(session: Session, shown: Sequence[Submission]) -> dict[int, Any]:
    """Name, role and owner of each stage of these submissions."""
    rows = session.execute(
        select(CampaignStage.campaign_stage_id, CampaignStage.name, CampaignStage.creator_role, CampaignStage.creator)
        .where(CampaignStage.campaign_stage_id.in_({item.campaign_stage_id for item in shown})))
    return {row.campaign_stage_id: row for row in rows}


def _with_names(session: Session, shown: Sequence[Submission], stages: Mapping[int, Any],
                url: Url) -> list[dict[str, Any]]:
    return submission_rows(shown, names_of(session, [item.creator for item in shown]),
                           {number: stage.name for number, stage in stages.items()}, url)


def _as_listed(session: Session, actor: Actor, shown: Sequence[Submission], url: Url) -> list[dict[str, Any]]:
    """Rows with how far each is down its chain, and why the actor may not act on its jobs, '' if that is allowed."""
    stages, depths = _stages_of(session, shown), _depths(session, shown)
    why_not = {number: permissions.refusal(actor, "do", owner_role=stage.creator_role, owner_id=stage.creator) or ""
               for number, stage in stages.items()}
    return [{**row, "depth": depths.get(item.submission_id, 0), "why_not": why_not[item.campaign_stage_id]}
            for row, item in zip(_with_names(session, shown, stages, url), shown, strict=True)]


def _depths(session: Session, shown: Sequence[Submission]) -> dict[int, int]:
    """How many submissions led to each, of recoveries and dependents: the way up is followed in one statement."""
    numbers = [item.submission_id for item in shown if item.recovery_tasks_parent or item.depends_on]
    if not numbers:
        return {}
    # What a recovery recovers comes before what that was launched after.
    led = func.coalesce(Submission.recovery_tasks_parent, Submission.depends_on)
    way = select(Submission.submission_id.label("number"), led.label("before"), literal(0).label("depth")).where(
        Submission.submission_id.in_(numbers)).cte("way", recursive=True)
    way = way.union_all(select(way.c.number, led, way.c.depth + 1).join_from(
        way, Submission, Submission.submission_id == way.c.before).where(way.c.depth < DEEPEST))
    return dict(session.execute(select(way.c.number, func.max(way.c.depth)).group_by(way.c.number)).all())


def submission_pieces(core: Core, actor: Actor, url: Url, chosen: Chosen, size: int) -> Iterator[list[dict[str, Any]]]:
    """The whole list in pieces, newest first, each read by itself; the caller checked that it may be seen."""
    before = None
    while True:
        query = chosen.query(actor.experiment)
        if before is not None:
            query = query.where(Submission.submission_id < before)
        with core.db.read() as session:
            shown = session.scalars(query.order_by(Submission.submission_id.desc()).limit(size)).all()
            rows = _with_names(session, shown, _stages_of(session, shown), url)
        yield rows
        if len(shown) < size:
            return
        before = shown[-1].submission_id


def _matches(text: str) -> Any:
    text = text.strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return or_(Submission.submission_id == int(text), Submission.jobsub_job_id.like(f"{text}@%"))
    return or_(Submission.jobsub_job_id == text,
               Submission.submission_params["dataset"].as_string() == text)


def _stage_owner(session: Session, actor: Actor, stage_id: int, url: Url) -> dict[str, Any]:
    stage = session.scalar(select(CampaignStage).options(joinedload(CampaignStage.campaign)).where(
        CampaignStage.campaign_stage_id == stage_id, CampaignStage.experiment == actor.experiment))
    if stage is None:
        raise NotFound(f"There is no stage {stage_id} in {actor.experiment}.")
    campaign = stage.campaign
    place = {"id": stage_id, "name": stage.name, "url": url("stage", campaign_stage_id=stage_id),
             "campaign": campaign_place(campaign, url)}
    refusal = permissions.refusal(actor, "do", owner_role=stage.creator_role, owner_id=stage.creator)
    return {"owner": {"kind": "stage", "name": stage.name, "url": place["url"]}, "stage": place,
            "may": {"act": refusal is None}}


def _campaign_owner(session: Session, actor: Actor, campaign_id: int | None, url: Url) -> dict[str, Any]:
    campaign, head = campaign_head(session, actor, campaign_id or 0, url)
    head["may"]["act"] = head["may"]["launch"]
    return {**head, "face": "submissions", "stage": None,
            "owner": {"kind": "campaign", "name": campaign.name, "url": head["campaign"]["url"]}}


def _experiment_owner(actor: Actor, url: Url) -> dict[str, Any]:
    return {"owner": {"kind": "experiment", "name": actor.experiment, "url": url("campaigns")}, "stage": None,
            "may": {"act": permissions.refusal(actor, "do") is None}}


def _states(session: Session, actor: Actor, stage_id: int | None, campaign_id: int | None) -> list[tuple[str, int]]:
    """The states that occur and how often, from the stored sums."""
    query = select(StageStatusCount.status_id, func.sum(StageStatusCount.submissions))
    if stage_id is not None:
        query = query.where(StageStatusCount.campaign_stage_id == stage_id)
    else:
        stages = select(CampaignStage.campaign_stage_id).where(CampaignStage.experiment == actor.experiment)
        if campaign_id is not None:
            stages = stages.where(CampaignStage.campaign_id == campaign_id)
        query = query.where(StageStatusCount.campaign_stage_id.in_(stages))
    rows = session.execute(query.group_by(StageStatusCount.status_id).order_by(StageStatusCount.status_id))
    return [(Status(status_id).label, int(count)) for status_id, count in rows if count]


# -------------------------------------------------------------------------------- one submission

FACES = ("jobs", "files", "command", "snapshots", "events")
_FLOW = (Status.NEW, Status.IDLE, Status.RUNNING, Status.COMPLETED, Status.LOCATED)


def submission_page(core: Core, actor: Actor, url: Url, submission_id: int, *, face: str = "jobs", state: str = "",
                    sort: str = "", offset: int = 0) -> dict[str, Any]:
    """Everything about one submission; only the chosen face is read. Raises NotFound."""
    face = face if face in FACES else "jobs"
    with core.db.read() as session:
        item, stage, campaign, creator = load_submission(session, actor, submission_id)
        history = session.scalars(select(SubmissionHistory).where(SubmissionHistory.submission_id == submission_id)
                                  .order_by(SubmissionHistory.submission_history_id)).all()
        followers = session.execute(
            select(Submission, CampaignStage.name)
            .join(CampaignStage, CampaignStage.campaign_stage_id == Submission.campaign_stage_id)
            .where(or_(Submission.recovery_tasks_parent == submission_id, Submission.depends_on == submission_id))
            .order_by(Submission.submission_id).limit(PAGE)).all()
        launch, scout = session.execute(
            select(Launch, Scout).outerjoin(Scout, Scout.submission_id == Launch.submission_id)
            .where(Launch.submission_id == submission_id).order_by(Launch.launch_id.desc()).limit(1)
        ).one_or_none() or (None, None)
        snapshots = {row.snapshot_id: row for row in session.scalars(select(Snapshot).where(Snapshot.snapshot_id.in_(
            [key for key in (item.campaign_stage_snapshot_id, item.job_type_snapshot_id, item.login_setup_snapshot_id)
             if key])))}
        recovery = decisions_panel(session, actor, url, item, stage)
        shown = _FACES[face](session, item, url, launch, snapshots, state, sort, offset)
        if face in LISTS:
            shown["columns"] = columns_of(session, actor, face)
    owner = {"owner_role": stage.creator_role, "owner_id": stage.creator}
    may_do = permissions.refusal(actor, "do", **owner) is None
    status = Status(item.status_id)
    return {
        "submission": _facts(item, stage, campaign, creator, launch, core, url), "face": face,
        "history": _history(history), "ahead": _ahead(status),
        "notices": scout_notices(scout, url, may_do=may_do) + _notices(item, launch, url), "figures": _figures(item),
        "counts": job_counts(item), "face_counts": {
            "jobs": item.jobs_expected or None, "files": item.files_consumed or item.files_generated, "events": None},
        "ran_with": _ran_with(item, stage, snapshots, url) + _scouted(launch, scout, url),
        "file_counts": _file_counts(item),
        "followers": [{"id": follower.submission_id, "url": url("submission", submission_id=follower.submission_id),
                       "kind_text": f"{_kind(follower)}: {name}", "state": Status(follower.status_id).label,
                       "files_in": follower.files_consumed} for follower, name in followers],
        "recovery": recovery,
        "recovery_kinds": [{"name": name, "description": text} for name, text in _recovery_kinds(core, item).items()]
        if may_do and item.project and status not in LIVE else [],
        "may": {"act": may_do and status in LIVE, "abort": may_do and status is Status.NEW,
                "relaunch": may_do and status not in LIVE | {Status.AWAITING_APPROVAL} and campaign is not None
                and stage.campaign_stage_type != "approval",
                "recover": may_do and bool(item.project) and status not in LIVE,
                "complete": may_do and status in LIVE - {Status.NEW},
                "locate": may_do and status not in (Status.LOCATED, Status.AWAITING_APPROVAL), "approve": may_do
                and status is Status.AWAITING_APPROVAL},
        **shown,
    }


def load_submission(session: Session, actor: Actor,
                    submission_id: int) -> tuple[Submission, CampaignStage, Campaign | None, str]:
    """A submission of the actor's experiment with its stage, its campaign and who made it; raises NotFound."""
    row = session.execute(
        select(Submission, CampaignStage, Campaign, func.coalesce(Experimenter.username, ""))
        .join(CampaignStage, CampaignStage.campaign_stage_id == Submission.campaign_stage_id)
        .outerjoin(Campaign, Campaign.campaign_id == Submission.campaign_id)
        .outerjoin(Experimenter, Experimenter.experimenter_id == Submission.creator)
        .where(Submission.submission_id == submission_id, Submission.experiment == actor.experiment)).first()
    if row is None:
        raise NotFound(f"There is no submission {submission_id} in {actor.experiment}.")
    return tuple(row)


def _facts(item: Submission, stage: CampaignStage, campaign: Campaign | None, creator: str,
           launch: Launch | None, core: Core, url: Url) -> dict[str, Any]:
    parent = item.recovery_tasks_parent or item.depends_on
    links = []
    if item.project:
        try:
            links = [{"label": link.label, "url": link.url}
                     for link in core.backends.data(item.experiment).links("project", item.project)]
        except PomsError:
            links = []  # A link that cannot be had just now is left out; the page is not about it.
    return {
        "id": item.submission_id, "url": url("submission", submission_id=item.submission_id),
        "state": Status(item.status_id).label, "since": item.status_since, "batch_id": item.jobsub_job_id or "",
        "created_at": item.created, "creator": creator,
        "dataset": item.submission_params.get("dataset") or "", "files_in": item.files_consumed,
        "jobs": item.jobs_expected, "kind": _kind(item), "pct_complete": item.pct_complete,
        "project": item.project or "",
        "kind_text": "recovery of" if item.recovery_tasks_parent else "launched after" if item.depends_on else "",
        "stage": {"id": stage.campaign_stage_id, "name": stage.name,
                  "url": url("stage", campaign_stage_id=stage.campaign_stage_id)},
        "campaign": campaign_place(campaign, url),
        "parent": {"id": parent, "url": url("submission", submission_id=parent)} if parent else None,
        "log_url": url("launch_log", submission_id=item.submission_id) if launch and launch.log_name else "",
        "links": links,
    }


def _history(rows: Sequence[SubmissionHistory]) -> list[dict[str, Any]]:
    """The states a submission went through; how long the last one has lasted is for the page to say."""
    ends = [*(row.created for row in rows[1:]), None]
    return [{"state": Status(row.status_id).label, "at": row.created, "by": row.actor, "note": row.reason,
             "seconds": (end - row.created).total_seconds() if end else None}
            for row, end in zip(rows, ends, strict=True)]


def _ahead(status: Status) -> list[str]:
    if status in FINAL or status not in (*_FLOW, Status.HELD):
        return []
    where = _FLOW.index(Status.RUNNING if status is Status.HELD else status)
    return [later.label for later in _FLOW[where + 1:]]


def _notices(item: Submission, launch: Launch | None, url: Url) -> list[dict[str, Any]]:
    status = Status(item.status_id)
    notices = []
    if launch is not None and launch.state in ("owed", "queued") and launch.message:
        notices.append({"state": "overdue", "title": "The launch waits", "text": launch.message, "actions": []})
    if status in NEEDS_PERSON:
        text = (launch.message if launch and launch.message else "") if status is Status.LAUNCH_FAILED else ""
        if status is Status.HELD:
            text = f"{counted(item.jobs_held, 'job')} held. The list below says why."
        notices.append({"state": status.label, "title": f"This submission is {status.label}", "text": text,
                        "actions": []})
    if status is Status.COMPLETED and item.wrapup_message:
        notices.append({"state": "Completed", "title": "Not all output is located yet", "text": item.wrapup_message,
                        "actions": []})
    return notices


def _figures(item: Submission) -> list[dict[str, Any]]:
    counts = job_counts(item)
    done = item.jobs_completed + item.jobs_failed + item.jobs_removed
    return [
        {"label": "Jobs ended", "value": f"{done:,}", "unit": f"of {item.jobs_expected:,}", "counts": counts,
         "total": item.jobs_expected},
        {"label": "Now", "value": f"{item.jobs_running:,}", "unit": "running",
         "note": f"{item.jobs_idle:,} idle, {item.jobs_held:,} held"},
        {"label": "Succeeded", "value": f"{item.jobs_completed:,}", "unit": "jobs",
         "note": f"{item.jobs_failed:,} failed, {item.jobs_removed:,} removed"},
        {"label": "Files", "value": "–" if item.files_generated is None else f"{item.files_generated:,}",
         "unit": "made", "note": "counted when the jobs have ended" if item.files_consumed is None
         else f"{item.files_consumed:,} consumed"},
    ]


def _ran_with(item: Submission, stage: CampaignStage, snapshots: Mapping[str, Snapshot],
              url: Url) -> list[dict[str, Any]]:
    job_type = snapshots.get(item.job_type_snapshot_id or "")
    setup = snapshots.get(item.login_setup_snapshot_id or "")
    rows = [{"label": "Dataset", "value": item.submission_params.get("dataset") or "", "mono": True},
            {"label": "Project", "value": item.project or "", "mono": True},
            {"label": "Job type", "value": job_type.content["name"] if job_type else ""},
            {"label": "Login setup", "value": setup.content["name"] if setup else ""}]
    if item.campaign_id and item.campaign_version_number:
        rows.insert(0, {"label": "Campaign text", "value": f"version {item.campaign_version_number}",
                        "url": url("campaign_text", campaign_id=item.campaign_id,
                                   version=item.campaign_version_number)})
    return rows


def _scouted(launch: Launch | None, scout: Scout | None, url: Url) -> list[dict[str, Any]]:
    """That a submission scouts and what came of it, or which scout went ahead of it."""
    if scout is not None:
        return [{"label": "Scout", "value": scout_facts(scout)}]
    ahead = launch.request.get("scouted_by") if launch is not None else None
    return [{"label": "Scout", "value": f"submission {ahead} went ahead",
             "url": url("submission", submission_id=ahead)}] if ahead else []


def _file_counts(item: Submission) -> list[dict[str, Any]]:
    def number(value: int | None) -> str:
        return "not counted yet" if value is None else f"{value:,}"

    return [{"label": "Consumed", "value": number(item.files_consumed)},
            {"label": "Made", "value": number(item.files_generated)},
            {"label": "Inputs with located output", "value": number(item.files_located)}]


def _recovery_kinds(core: Core, item: Submission) -> Mapping[str, str]:
    try:
        return core.backends.data(item.experiment).recovery_kinds()
    except PomsError:
        # The catalogue does not answer; what can be asked for is then offered by name, and checked when asked.
        return RECOVERY_WORDS


# -------------------------------------------------------------------------------------- faces

_JOB_SORTS = {"state": Job.state, "site": Job.site, "memory": Job.memory_used_mb, "wall": Job.wall_seconds,
              "cpu": Job.cpu_seconds, "attempts": Job.attempts, "since": Job.since}


def _jobs_face(session: Session, item: Submission, url: Url, _launch: Any, _snapshots: Any, state: str, sort: str,
               offset: int) -> dict[str, Any]:
    number = item.submission_id
    rows = session.scalars(_jobs_query(number, state, sort).offset(offset).limit(PAGE + 1)).all()
    shown, more = rows[:PAGE], len(rows) > PAGE
    counts = job_counts(item)
    kept = {name: value for name, value in (("state", state), ("sort", sort)) if value}
    choices = [("All", "", sum(counts.values()))] + [(word, word, count) for word, count in counts.items()]
    return {
        "jobs": [job_row(job, url, item.jobsub_job_id) for job in shown], "job_counts": counts,
        "archive": archive_of(None if rows else session.get(JobSummary, number), url),
        "job_states": [{"label": f"{label} {count:,}", "url": url("submission", submission_id=number,
                                                                  **({"state": word} if word else {})),
                        "current": word == state} for label, word, count in choices],
        "pager": {"text": f"{offset + 1:,} to {offset + len(shown):,}" if shown else "",
                  "sorted": True,
                  "newer_url": url("submission", submission_id=number, **kept, offset=max(0, offset - PAGE))
                  if offset else "",
                  "older_url": url("submission", submission_id=number, **kept, offset=offset + PAGE) if more else ""},
    }


def _jobs_query(submission_id: int, state: str, sort: str) -> Select[Any]:
    """The jobs of a submission in this state, all of them if it is none, in this order."""
    where = [Job.submission_id == submission_id]
    states = {word: code for code, word in STATE_WORDS.items()}
    if state in states:
        where.append(Job.state == int(states[state]))
    column = _JOB_SORTS.get(sort.removeprefix("-"))
    order = [] if column is None else [column.desc() if sort.startswith("-") else column]
    return select(Job).where(*where).order_by(*order, *job_order())


def job_pieces(core: Core, url: Url, submission_id: int, *, state: str = "", sort: str = "",
               size: int = PAGE) -> Iterator[list[dict[str, Any]]]:
    """All jobs of a submission in pieces; the caller checked that it may be seen."""
    query, offset = _jobs_query(submission_id, state, sort), 0
    while True:
        with core.db.read() as session:
            rows = [job_row(job, url) for job in session.scalars(query.offset(offset).limit(size))]
        yield rows
        if len(rows) < size:
            return
        offset += size


def job_row(job: Job, url: Url, of: str | None = None) -> dict[str, Any]:
    """One job as lists show it; ``why`` is the cause of trouble in words, ``of`` the batch id of its submission."""
    return {
        "batch_id": job.batch_id, "label": job_label(job.batch_id, of),
        "url": url("job", submission_id=job.submission_id, batch_id=job.batch_id),
        "state": STATE_WORDS[JobState(job.state)], "why": job_cause(job), "site": job.site, "node": job.node,
        "memory_used_mb": job.memory_used_mb, "memory_asked_mb": job.memory_asked_mb,
        "cpu_seconds": job.cpu_seconds, "wall_seconds": job.wall_seconds, "attempts": job.attempts,
        "since": job.since, "exit_code": job.exit_code, "exit_signal": job.exit_signal, "hold_code": job.hold_code,
    }


def job_cause(job: Job) -> str:
    """Why a job is held, failed or removed, in a few words; "" if nothing is wrong."""
    if job.state == JobState.HELD:
        return job.hold_reason or f"held, reason code {job.hold_code}"
    if job.exit_signal:
        return f"ended by signal {job.exit_signal}"
    if job.exit_code:
        return f"exit code {job.exit_code}"
    return job.hold_reason if job.state == JobState.REMOVED else ""


# What the catalogue calls a file, under the words by which the list is filtered: every state is under one of them.
_FILE_STATES = {"consumed": ("consumed", "completed"), "failed": ("failed", "cancelled"), "skipped": ("skipped",),
                "delivered": ("delivered", "transferred"), "unknown": ("unknown",)}


def _files_face(session: Session, item: Submission, url: Url, _launch: Any, _snapshots: Any, state: str, sort: str,
                offset: int) -> dict[str, Any]:
    number = item.submission_id
    shown, more = _file_rows(session, number, state, sort, offset, FILES_PAGE)
    sorting = {"sort": sort} if sort else {}
    kept = {"face": "files", **sorting, **({"state": state} if state else {})}
    asked = max((row.pop("asked_at") for row in shown), default=None)
    return {
        "files": shown,
        "file_states": [{"label": label, "url": url("submission", submission_id=number, face="files",
                                                    **sorting, **({"state": value} if value else {})),
                         "current": value == state}
                        for label, value in (("All", ""), ("Consumed", "consumed"), ("Failed", "failed"),
                                             ("Skipped", "skipped"), ("Delivered", "delivered"),
                                             ("Not delivered", "unknown"))],
        "files_asked_at": asked,
        "files_wait": not shown and not offset and Status(item.status_id) not in FINAL,
        "pager": {"text": f"{offset + 1:,} to {offset + len(shown):,}" if shown else "",
                  "sorted": True,
                  "newer_url": url("submission", submission_id=number, **kept, offset=max(0, offset - FILES_PAGE))
                  if offset else "",
                  "older_url": url("submission", submission_id=number, **kept, offset=offset + FILES_PAGE)
                  if more else ""},
    }


_FILE_SORTS = {"state": SubmissionFile.state, "size": SubmissionFile.size_bytes, "job": SubmissionFile.job,
               "name": SubmissionFile.file_name}


def _file_rows(session: Session, submission_id: int, state: str, sort: str, offset: int,
               limit: int) -> tuple[list[dict[str, Any]], bool]:
    """One piece of a submission's input files, or of what it made if it has none; and whether there are more."""
    query = select(SubmissionFile).where(SubmissionFile.submission_id == submission_id)
    has_input = query.where(SubmissionFile.direction == "in").with_only_columns(SubmissionFile.file_name).exists()
    listed = query.where(SubmissionFile.direction == case((has_input, "in"), else_="out"))
    if state:
        listed = listed.where(SubmissionFile.state.in_(_FILE_STATES.get(state, (state,))))
    column = _FILE_SORTS.get(sort.removeprefix("-"), SubmissionFile.file_name)
    order = (column.desc() if sort.startswith("-") else column, SubmissionFile.file_name)
    rows = session.scalars(listed.order_by(*order).offset(offset).limit(limit + 1)).all()
    outputs = _outputs_of(session, submission_id, [row.file_name for row in rows[:limit] if row.direction == "in"])
    return [{"name": row.file_name, "state": row.state, "size_bytes": row.size_bytes, "job_label": row.job,
             "job_url": "", "outputs": outputs.get(row.file_name, []), "link_url": "", "asked_at": row.updated}
            for row in rows[:limit]], len(rows) > limit


def _outputs_of(session: Session, submission_id: int, inputs: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """What was made of these files: by file, each output with whether it is located."""
    found: dict[str, list[dict[str, Any]]] = {}
    if not inputs:
        return found
    is_postgresql = session.get_bind().dialect.name == "postgresql"
    elements = func.json_array_elements_text if is_postgresql else func.json_each
    parent = elements(SubmissionFile.parents).table_valued("value").alias("parent")
    rows = session.execute(
        select(parent.c.value, SubmissionFile.file_name, SubmissionFile.state)
        .join(parent, true())
        .where(SubmissionFile.submission_id == submission_id, SubmissionFile.direction == "out",
               parent.c.value.in_(inputs)).order_by(SubmissionFile.file_name))
    for name, made, state in rows:
        found.setdefault(name, []).append({"name": made, "located": state == "located"})
    return found


def file_pieces(core: Core, submission_id: int, *, state: str = "", size: int = FILES_PAGE
                ) -> Iterator[list[dict[str, Any]]]:
    """All files of a submission in pieces; the caller checked that it may be seen."""
    offset, more = 0, True
    while more:
        with core.db.read() as session:
            rows, more = _file_rows(session, submission_id, state, "", offset, size)
        yield rows
        offset += size


def _command_face(_session: Session, item: Submission, _url: Url, launch: Launch | None, _snapshots: Any,
                  *_: Any) -> dict[str, Any]:
    plan = (launch.plan or {}) if launch else {}
    where = f"{plan.get('host') or 'this host'} as {plan.get('account') or 'the service'}" if plan else ""
    text = plan.get("command", "")
    if item.command_executed:
        text += f"\n\n# which ran\n{item.command_executed}"
    return {"command": text.strip(), "launched_on": where,
            "environment": [{"name": name, "value": "(secret)" if "key-" in value else value}
                            for name, value in plan.get("environment", [])]}


def _snapshots_face(_session: Session, item: Submission, _url: Url, _launch: Any, snapshots: Mapping[str, Snapshot],
                    *_: Any) -> dict[str, Any]:
    titles = ((item.campaign_stage_snapshot_id, "Stage"), (item.job_type_snapshot_id, "Job type"),
              (item.login_setup_snapshot_id, "Login setup"))
    return {"snapshots": [{"title": title, "rows": _content_rows(snapshots[key].content)}
                          for key, title in titles if key in snapshots]}


def _content_rows(content: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    return [{"label": name.replace("_", " "), "value": "" if value is None else str(value), "mono": True}
            for name, value in content.items()]


def _events_face(session: Session, item: Submission, url: Url, *_: Any) -> dict[str, Any]:
    return {"happened": happened(session, url, Event.submission_id == item.submission_id, limit=100)}


_FACES = {"jobs": _jobs_face, "files": _files_face, "command": _command_face, "snapshots": _snapshots_face,
          "events": _events_face}


# ------------------------------------------------------------------------------------------ one job


def job_page(core: Core, actor: Actor, url: Url, submission_id: int, batch_id: str, *,
             which: Literal["stdout", "stderr", "log"] = "stdout") -> dict[str, Any]:
    """One job: where it ran, why it ended as it did. Its output is fetched by the caller, piece by piece."""
    with core.db.read() as session:
        item, stage, campaign, _ = load_submission(session, actor, submission_id)
        job = session.get(Job, (submission_id, batch_id))
        if job is None:
            summary = session.get(JobSummary, submission_id)
            if summary is not None and job_archive.names_job(summary, batch_id):
                raise NotFound(f"The jobs of submission {submission_id} were archived on "
                               f"{summary.archived_at:%Y-%m-%d}: their sums are on the submission's page. What a job "
                               "wrote is shown by poms logs job, for as long as the batch system has it.")
            raise NotFound(f"Submission {submission_id} has no job {batch_id} that POMS knows.")
        same = [Job.submission_id == submission_id, Job.state == job.state]
        place, here = tuple_(*job_order()), (len(batch_id), batch_id)
        before = session.scalar(select(Job.batch_id).where(*same, place < here)
                                .order_by(*(column.desc() for column in job_order())).limit(1))
        after = session.scalar(select(Job.batch_id).where(*same, place > here).order_by(*job_order()).limit(1))
    refusal = permissions.refusal(actor, "do", owner_role=stage.creator_role, owner_id=stage.creator)
    row = job_row(job, url)

    def link(number: str | None) -> str:
        return url("job", submission_id=submission_id, batch_id=number) if number else ""

    return {
        "job": {**row, "cause": row["why"], "cause_text": job.hold_reason},
        "submission": {"id": submission_id, "url": url("submission", submission_id=submission_id)},
        "stage": {"name": stage.name, "url": url("stage", campaign_stage_id=stage.campaign_stage_id)},
        "campaign": campaign_place(campaign, url),
        "facts": _job_facts(job), "which": which,
        "history": [{"at": at, "text": text, "url": ""} for at, text in
                    ((job.ended_at, "ended"), (job.started_at, "started")) if at],
        "logs": [{"label": name, "url": url("job", submission_id=submission_id, batch_id=batch_id, which=name),
                  "current": name == which} for name in ("stdout", "stderr", "log")],
        "siblings": {"previous_url": link(before), "next_url": link(after), "label": row["state"]}, "links": [],
        "may": {"act": refusal is None and not JobState(job.state).is_final},
    }


def _job_facts(job: Job) -> list[dict[str, Any]]:
    def seconds(value: float | None) -> str:
        return "" if value is None else str(timedelta(seconds=round(value)))

    used = "" if job.memory_used_mb is None else f"{job.memory_used_mb:,} MB"
    asked = "" if job.memory_asked_mb is None else f"{'of ' if used else ''}{job.memory_asked_mb:,} MB asked"
    efficiency = f"{100 * job.cpu_seconds / job.wall_seconds:.0f} %" if job.cpu_seconds and job.wall_seconds else ""
    return [
        {"label": "Memory", "value": f"{used} {asked}".strip()},
        {"label": "CPU time", "value": seconds(job.cpu_seconds)},
        {"label": "Wall time", "value": seconds(job.wall_seconds)},
        {"label": "CPU efficiency", "value": efficiency},
        {"label": "Exit code", "value": "" if job.exit_code is None else str(job.exit_code)},
        {"label": "Signal", "value": "" if job.exit_signal is None else str(job.exit_signal)},
        {"label": "Hold code", "value": "" if job.hold_code is None else str(job.hold_code)},
        {"label": "Started", "value": "", "at": job.started_at} if job.started_at
        else {"label": "Started", "value": ""},
        {"label": "Ended", "value": "", "at": job.ended_at} if job.ended_at else {"label": "Ended", "value": ""},
    ]
