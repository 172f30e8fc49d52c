"""Names, numbers and short lists that programs ask for; each answer is plain data, within one experiment.

Not for pages (``services.pages``) and not for deciding anything.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session, joinedload

from poms.webservice.errors import NotFound
from poms.webservice.interfaces import JobState
from poms.webservice.model import (
    Campaign,
    CampaignStage,
    Experimenter,
    Job,
    JobSummary,
    Launch,
    Membership,
    Snapshot,
    Submission,
    SubmissionHistory,
    Watch,
)
from poms.webservice.rules.permissions import Actor
from poms.webservice.rules.statuses import Status
from poms.webservice.services import job_archive
from poms.webservice.services.core import Core
from poms.webservice.services.people import usernames

MOST = 5000
"""Programs get at most so many rows in one answer."""

ARCHIVED = ("archived_at", "jobs", "attempts", "cpu_seconds", "wall_seconds", "by_outcome", "by_site")
"""What programs are told of jobs that are not kept one by one any more."""

LIVE_JOB_STATES = (int(JobState.IDLE), int(JobState.RUNNING), int(JobState.HELD))
ACTIVE = (Status.NEW, Status.IDLE, Status.RUNNING, Status.HELD)


def find_campaign_id(core: Core, experiment: str, name: str) -> int | None:
    with core.db.read() as session:
        return session.scalar(select(Campaign.campaign_id).where(Campaign.experiment == experiment,
                                                                 Campaign.name == name))


def find_stage_id(core: Core, experiment: str, campaign: str, stage: str) -> int | None:
    """The number of a stage by the names of its campaign and itself."""
    with core.db.read() as session:
        return session.scalar(
            select(CampaignStage.campaign_stage_id).join(Campaign, Campaign.campaign_id == CampaignStage.campaign_id)
            .where(CampaignStage.experiment == experiment, Campaign.name == campaign, CampaignStage.name == stage))


def list_stages(core: Core, experiment: str, *, campaign_id: int | None = None) -> list[dict[str, Any]]:
    """The stages of an experiment, or of one campaign, in order."""
    query = (select(CampaignStage, Campaign.name).outerjoin(Campaign, Campaign.campaign_id == CampaignStage.campaign_id)
             .where(CampaignStage.experiment == experiment))
    if campaign_id is not None:
        query = query.where(CampaignStage.campaign_id == campaign_id)
    query = query.order_by(CampaignStage.campaign_id, CampaignStage.position, CampaignStage.campaign_stage_id)
    with core.db.read() as session:
        return [stage_document(stage) | {"campaign_name": name} for stage, name in session.execute(query.limit(MOST))]


def stage_document(stage: CampaignStage) -> dict[str, Any]:
    """The columns of a stage that programs know."""
    return {name: getattr(stage, name) for name in (
        "campaign_stage_id", "campaign_id", "experiment", "name", "job_type_id", "login_setup_id", "vo_role",
        "dataset", "software_version", "cs_split_type", "param_overrides", "test_param_overrides", "completion_type",
        "completion_pct", "output_ancestor_depth", "campaign_stage_type", "creator", "creator_role", "created",
        "updated")}


def list_campaigns(core: Core, experiment: str, *, active: bool | None = True) -> list[dict[str, Any]]:
    """The campaigns of an experiment with their stages, by name."""
    query = select(Campaign).where(Campaign.experiment == experiment).order_by(Campaign.name)
    if active is not None:
        query = query.where(Campaign.active == active)
    with core.db.read() as session:
        campaigns = session.scalars(query.limit(MOST)).all()
        stages: dict[int, list[dict[str, Any]]] = {row.campaign_id: [] for row in campaigns}
        wanted = select(Campaign.campaign_id).where(Campaign.experiment == experiment)
        for stage in session.scalars(select(CampaignStage).where(CampaignStage.campaign_id.in_(wanted))
                                     .order_by(CampaignStage.position)):
            if stage.campaign_id in stages:
                stages[stage.campaign_id].append(stage_document(stage))
        names = usernames(session, (row.creator for row in campaigns))
    return [{"campaign_id": row.campaign_id, "name": row.name, "experiment": row.experiment, "active": row.active,
             "campaign_type": row.campaign_type, "creator": row.creator, "creator_role": row.creator_role,
             "defaults": {"defaults": row.defaults or {}, "positions": {}},
             "campaign_keywords": row.campaign_keywords, "tags": None, "exp_watch": None,
             "experimenter_creator_obj": {"experimenter_id": row.creator, "username": names.get(row.creator, "")},
             "last_activity_at": row.last_activity_at, "stages": stages[row.campaign_id]} for row in campaigns]


def live_submission_ids(core: Core, experiment: str, *, campaign_id: int | None = None,
                        stage_id: int | None = None) -> list[int]:
    """Submissions of a stage or campaign of which something is, or may be, in the batch system."""
    query = select(Submission.submission_id).where(
        Submission.experiment == experiment, Submission.status_id.in_([int(status) for status in ACTIVE]))
    if campaign_id is not None:
        query = query.where(Submission.campaign_id == campaign_id)
    if stage_id is not None:
        query = query.where(Submission.campaign_stage_id == stage_id)
    with core.db.read() as session:
        return list(session.scalars(query.order_by(Submission.submission_id)))


def find_submission_id(core: Core, experiment: str, text: str) -> int | None:
    """A submission by its number or by the batch id of its jobs."""
    with core.db.read() as session:
        query = select(Submission.submission_id).where(Submission.experiment == experiment)
        if text.isascii() and text.isdigit() and len(text) < 10:
            found = session.scalar(query.where(Submission.submission_id == int(text)))
            if found is not None:
                return found
        cluster, at, schedd = text.partition("@")
        number = cluster.split(".")[0]
        wanted = f"{number}@{schedd}" if at else None
        if wanted is None:
            return None
        return session.scalar(query.where(Submission.jobsub_job_id == wanted)
                              .order_by(Submission.submission_id.desc()).limit(1))


def require_own_jobs(core: Core, submission_id: int, batch_ids: Collection[str]) -> None:
    """Raise NotFound unless every batch id is a job of this submission, so that nobody reaches others' jobs."""
    with core.db.read() as session:
        known = set(session.scalars(select(Job.batch_id).where(Job.submission_id == submission_id,
                                                               Job.batch_id.in_(list(batch_ids)))))
        summary = session.get(JobSummary, submission_id)
    if summary is not None:
        known |= {batch_id for batch_id in batch_ids if job_archive.names_job(summary, batch_id)}
    foreign = sorted(set(batch_ids) - known)
    if foreign:
        raise NotFound(f"Submission {submission_id} has no job {foreign[0][:100]}.")


def job_has_ended(core: Core, submission_id: int, batch_id: str) -> bool:
    """Whether a job is known to have ended; what it wrote does not grow any more then."""
    with core.db.read() as session:
        state = session.scalar(select(Job.state).where(Job.submission_id == submission_id, Job.batch_id == batch_id))
        if state is None:
            return session.get(JobSummary, submission_id) is not None
    return state is not None and state not in LIVE_JOB_STATES


def running_submissions(core: Core, experiment: str, campaign_ids: Iterable[int]) -> dict[int, int]:
    """How many submissions of each campaign are New, Idle or Running."""
    wanted = list(campaign_ids)
    statuses = [int(status) for status in (Status.NEW, Status.IDLE, Status.RUNNING)]
    with core.db.read() as session:
        counted = dict(session.execute(
            select(Submission.campaign_id, func.count())
            .where(Submission.experiment == experiment, Submission.campaign_id.in_(wanted),
                   Submission.status_id.in_(statuses)).group_by(Submission.campaign_id)).all())
    return {number: counted.get(number, 0) for number in wanted}


def list_running(core: Core, experiment: str) -> list[tuple[int, str | None, str]]:
    """Every live submission of an experiment with its batch id."""
    with core.db.read() as session:
        return [tuple(row) for row in session.execute(
            select(Submission.submission_id, Submission.jobsub_job_id, Submission.experiment)
            .where(Submission.experiment == experiment,
                   Submission.status_id.in_([int(Status.NEW), int(Status.IDLE), int(Status.RUNNING)]))
            .order_by(Submission.submission_id))]


def list_submissions(core: Core, experiment: str, *, campaign: str = "", stage: str = "",
                     campaign_id: int | None = None, stage_id: int | None = None, since: datetime | None = None,
                     until: datetime | None = None) -> list[dict[str, Any]]:
    """Submissions as ``campaign_stage_submissions`` gives them to programs, oldest first."""
    query = (select(Submission, CampaignStage.name, Experimenter.username)
             .join(CampaignStage, CampaignStage.campaign_stage_id == Submission.campaign_stage_id)
             .join(Experimenter, Experimenter.experimenter_id == Submission.creator)
             .where(Submission.experiment == experiment))
    if campaign:
        query = query.join(Campaign, Campaign.campaign_id == Submission.campaign_id).where(Campaign.name == campaign)
    if stage:
        query = query.where(CampaignStage.name == stage)
    if campaign_id is not None:
        query = query.where(Submission.campaign_id == campaign_id)
    if stage_id is not None:
        query = query.where(Submission.campaign_stage_id == stage_id)
    if since is not None:
        query = query.where(or_(Submission.created >= since, Submission.updated >= since))
    if until is not None:
        query = query.where(Submission.created <= until)
    with core.db.read() as session:
        rows = session.execute(query.order_by(Submission.submission_id.desc()).limit(MOST)).all()
    return [_submission_row(*row) for row in reversed(rows)]


def _submission_row(row: Submission, stage: str, username: str) -> dict[str, Any]:
    cluster, _, schedd = (row.jobsub_job_id or "").partition("@")
    return {"submission_id": row.submission_id, "jobsub_job_id": row.jobsub_job_id, "created": row.created,
            "creator": username, "status": Status(row.status_id).label, "jobsub_cluster": cluster,
            "jobsub_schedd": schedd, "campaign_stage_name": stage, "available_output": row.files_located,
            "output_dims": None, "parent": row.recovery_tasks_parent or row.depends_on}


def submission_document(core: Core, experiment: str, submission_id: int) -> dict[str, Any]:
    """Everything of a submission that ``submission_details`` gives to programs."""
    with core.db.read() as session:
        row = session.scalar(
            select(Submission).options(joinedload(Submission.stage).joinedload(CampaignStage.campaign))
            .where(Submission.submission_id == submission_id, Submission.experiment == experiment))
        if row is None:
            raise NotFound(f"There is no submission {submission_id} in {experiment}.")
        history = session.scalars(select(SubmissionHistory).where(SubmissionHistory.submission_id == submission_id)
                                  .order_by(SubmissionHistory.submission_history_id)).all()
        followers = session.execute(
            select(Submission.submission_id, Submission.recovery_tasks_parent, Submission.depends_on)
            .where(or_(Submission.recovery_tasks_parent == submission_id, Submission.depends_on == submission_id))
            .order_by(Submission.submission_id)).all()
        keys = (row.campaign_stage_snapshot_id, row.job_type_snapshot_id, row.login_setup_snapshot_id)
        contents = [None if key is None else session.get_one(Snapshot, key).content for key in keys]
        names = usernames(session, [row.creator])
        launch = _latest_launch(session, submission_id)
        archive = session.get(JobSummary, submission_id)
    # How its jobs ended is kept for the pages of figures: it may be long, and is not read with a submission.
    columns = {column.key: getattr(row, column.key) for column in Submission.__table__.columns
               if column.key != "job_endings"}
    return {
        "submission_id": submission_id,
        "submission": columns | {
            "status": Status(row.status_id).label,
            "experimenter_creator_obj": {"experimenter_id": row.creator, "username": names.get(row.creator, "")},
            "campaign_stage_obj": stage_document(row.stage), "campaign_stage_snapshot_obj": contents[0],
            "job_type_snapshot_obj": contents[1], "login_setup_snapshot_obj": contents[2]},
        "history": [{"submission_id": submission_id, "created": each.created, "status_id": each.status_id,
                     "status": Status(each.status_id).label, "status_type": None} for each in history],
        "dataset": row.submission_params.get("dataset"),
        "job_archive": None if archive is None else {name: getattr(archive, name) for name in ARCHIVED},
        "statusmap": {int(status): status.label for status in Status},
        "recovery_ids": [number for number, parent, _ in followers if parent == submission_id],
        "depend_ids": [number for number, parent, provider in followers
                       if provider == submission_id and parent != submission_id],
        "submission_log_format": 4 if launch is not None and launch.log_name else 0,
    }


def status_history(core: Core, submission_id: int) -> list[dict[str, Any]]:
    """Each change of status with its time, oldest first."""
    with core.db.read() as session:
        return [{"created": row.created.strftime("%Y-%m-%d %H:%M:%S"), "status": Status(row.status_id).label}
                for row in session.scalars(
                    select(SubmissionHistory).where(SubmissionHistory.submission_id == submission_id)
                    .order_by(SubmissionHistory.submission_history_id))]


def stage_datasets(core: Core, days: float = 4) -> dict[int, list[Any]]:
    """Projects in use, by stage: of submissions of the last days whose jobs have not all ended."""
    since = core.clock() - timedelta(days=days)
    found: dict[int, list[Any]] = {}
    with core.db.read() as session:
        rows = session.execute(
            select(Submission.campaign_stage_id, Submission.experiment, Submission.project)
            .where(Submission.status_id.in_([int(status) for status in ACTIVE]), Submission.created > since,
                   Submission.project.is_not(None)).order_by(Submission.submission_id))
        for stage_id, experiment, project in rows:
            found.setdefault(stage_id, [experiment, []])[1].append(project)
    return found


def own_held_launches(core: Core, actor: Actor, moments: Iterable[datetime]) -> list[int]:
    """Held launches that the actor asked for at these times; a time without a fraction means that second."""
    asked = list(moments)
    with core.db.read() as session:
        rows = session.execute(
            select(Launch.launch_id, Launch.created)
            .where(Launch.experiment == actor.experiment, Launch.state == "held",
                   Launch.launcher == actor.experimenter_id).order_by(Launch.launch_id).limit(MOST)).all()
    return [number for number, created in rows
            if any(created == moment or (not moment.microsecond and created.replace(microsecond=0) == moment)
                   for moment in asked)]


def watched_campaigns(core: Core, actor: Actor) -> list[int]:
    """The campaigns of the actor's experiment that the actor watches."""
    with core.db.read() as session:
        return list(session.scalars(
            select(Campaign.campaign_id).join(Watch, Watch.campaign_id == Campaign.campaign_id)
            .where(Watch.experimenter_id == actor.experimenter_id, Campaign.experiment == actor.experiment)
            .order_by(Campaign.campaign_id).limit(MOST)))


def list_members(core: Core, experiment: str) -> list[list[dict[str, Any]]]:
    """Who is in an experiment: the experiment, the membership and the person, as three objects each."""
    with core.db.read() as session:
        rows = session.execute(
            select(Membership.role, Experimenter.experimenter_id, Experimenter.username, Experimenter.first_name,
                   Experimenter.last_name)
            .join(Experimenter, Experimenter.experimenter_id == Membership.experimenter_id)
            .where(Membership.experiment == experiment, Membership.active)
            .order_by(Experimenter.last_name, Experimenter.username).limit(MOST)).all()
    return [[{"experiment": experiment},
             {"experiment": experiment, "experimenter_id": number, "role": role, "active": True},
             {"experimenter_id": number, "username": username, "first_name": first, "last_name": last}]
            for role, number, username, first, last in rows]


def launch_of_submission(core: Core, experiment: str, submission_id: int) -> Launch | None:
    """The newest launch of a submission, None if it was not launched by POMS."""
    with core.db.read() as session:
        row = _latest_launch(session, submission_id)
    return row if row is not None and row.experiment == experiment else None


def _latest_launch(session: Session, submission_id: int) -> Launch | None:
    return session.scalar(select(Launch).where(Launch.submission_id == submission_id)
                          .order_by(Launch.launch_id.desc()).limit(1))
