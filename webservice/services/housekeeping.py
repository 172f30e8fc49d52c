"""Housekeeping for the whole service: old launch logs, campaigns that nobody works on any more.

Not for what the engine needs to go on (``agent.upkeep``). Invariant: nothing is taken away that a submission
under way, a launch that waits or a schedule still needs.
"""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import select

from poms.webservice.errors import BackendUnavailable, Invalid
from poms.webservice.model import Campaign, CampaignStage, Launch, Schedule, Submission
from poms.webservice.rules.permissions import ANALYSIS
from poms.webservice.rules.statuses import LIVE, Status
from poms.webservice.services import credentials, events, launch_logs, login_setup_tests
from poms.webservice.services.core import Core

log = logging.getLogger(__name__)

AGENT = "poms"
BATCH = 500
SWEEP_SECONDS = 60.0


def run(core: Core) -> str:
    """All duties once; a sentence for the agents page."""
    removed = remove_old_launch_logs(core)
    login_setup_tests.remove_old(core)
    swept = sweep_launch_hosts(core)
    stopped = deactivate_stale_campaigns(core)
    return f"{removed} launch logs removed, {swept} launch hosts swept, {stopped} campaigns made inactive"


def remove_old_launch_logs(core: Core) -> int:
    """Remove launch logs that were last written longer ago than ``launch_log_days``; returns how many.

    The names come from the directory, not from the database, so that those of deleted campaigns go as well.
    """
    days = core.settings.agent.launch_log_days
    if not days:
        return 0
    before = core.clock() - timedelta(days=days)
    waiting = _logs_in_use(core)
    root = launch_logs.path_of(core, "")
    count = 0
    for file in _files_before(root, before):
        if str(file.relative_to(root)) in waiting:
            continue
        try:
            file.unlink()
        except OSError as problem:
            log.warning("launch log not removed", extra={"file": str(file), "reason": str(problem)})
        else:
            count += 1
    return count


def sweep_launch_hosts(core: Core) -> int:
    """Have the files of old launches removed where launches were made that had any; returns at how many places.

    Every launch there does the same; this is for places where nothing was launched since.
    """
    count = 0
    for experiment, host, account in _places_with_files(core):
        try:
            core.backends.transport(experiment).run(
                host, account, "exit 0\n", log=io.BytesIO(), timeout_seconds=SWEEP_SECONDS, max_output_bytes=65536,
                files=credentials.sweeping(core))
        except (BackendUnavailable, Invalid) as problem:
            log.warning("launch host not swept", extra={"experiment": experiment, "host": host,
                                                        "reason": str(problem)})
        else:
            count += 1
    return count


def _places_with_files(core: Core) -> list[tuple[str, str, str]]:
    """Where the files of launches have become old lately: those of analysis, and of experiments with credentials."""
    sweeping = credentials.sweeping(core)
    longest = timedelta(seconds=max(sweeping.keep_seconds, sweeping.stale_seconds))
    now = core.clock()
    # Seen by two passes at least, and by no more than a few.
    since = now - longest - timedelta(seconds=3 * core.settings.agent.prune_seconds)
    before = now - timedelta(seconds=min(sweeping.keep_seconds, sweeping.stale_seconds))
    host, account, role = (Launch.plan[name].as_string() for name in ("host", "account", "role"))
    with core.db.read() as session:
        rows = session.execute(
            select(Launch.experiment, host, account, role).distinct()
            .where(Launch.ended_at.between(since, before), Launch.started_at.is_not(None))).all()
    return sorted({(experiment, host or "", account or "") for experiment, host, account, role in rows
                   if role == ANALYSIS or core.backends.credentials(experiment) is not None})


def deactivate_stale_campaigns(core: Core) -> int:
    """Make campaigns inactive that launched nothing for ``stale_campaign_days``; returns how many.

    Not those with a schedule, with a launch that waits or is held, or with a submission under way.
    """
    days = core.settings.agent.stale_campaign_days
    if not days:
        return 0
    count = 0
    while found := _deactivate_some(core, core.clock() - timedelta(days=days)):
        count += found
    return count


def _deactivate_some(core: Core, before: datetime) -> int:
    now = core.clock()
    under_way = [int(status) for status in (*LIVE, Status.COMPLETED, Status.AWAITING_APPROVAL)]
    submission = select(Submission.submission_id).where(
        Submission.campaign_id == Campaign.campaign_id, Submission.status_id.in_(under_way)).exists()
    launch = select(Launch.launch_id).where(
        Launch.experiment == Campaign.experiment, Launch.campaign_id == Campaign.campaign_id,
        Launch.state.in_(("owed", "queued", "held"))).exists()
    schedule = (select(Schedule.campaign_stage_id)
                .join(CampaignStage, CampaignStage.campaign_stage_id == Schedule.campaign_stage_id)
                .where(CampaignStage.campaign_id == Campaign.campaign_id).exists())
    stale = (select(Campaign)
             .where(Campaign.active, Campaign.last_activity_at < before, ~submission, ~launch, ~schedule)
             .order_by(Campaign.campaign_id).limit(BATCH))
    with core.db.read() as session:
        if session.scalar(stale.with_only_columns(Campaign.campaign_id).limit(1)) is None:
            return 0
    with core.db.write() as session:
        rows = session.scalars(stale.with_for_update(skip_locked=True)).all()
        for row in rows:
            row.active = False
            events.record(session, "campaign.deactivated", now, AGENT, experiment=row.experiment,
                          campaign_id=row.campaign_id,
                          reason=f"nothing was launched since {row.last_activity_at:%Y-%m-%d}")
    return len(rows)


def _logs_in_use(core: Core) -> set[str]:
    """Names of logs that an agent may still write to."""
    with core.db.read() as session:
        return set(session.scalars(select(Launch.log_name).where(
            Launch.state.in_(("owed", "queued")), Launch.log_name.is_not(None))))


def _files_before(root: Path, before: datetime) -> Iterator[Path]:
    """Plain files two levels below ``root`` that were last written before ``before``; links are not followed."""
    if not root.is_dir():
        return
    with os.scandir(root) as directories:
        for directory in directories:
            if not directory.is_dir(follow_symlinks=False):
                continue
            with os.scandir(directory) as files:
                for file in files:
                    if file.is_file(follow_symlinks=False) and file.stat().st_mtime < before.timestamp():
                        yield Path(file.path)
