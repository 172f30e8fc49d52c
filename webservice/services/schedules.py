"""Schedules: stages that are launched by themselves, at moments of a cron expression in the experiment's time zone.

Not for launching itself: a moment that has come writes an owed launch (``services.launching``) in the same
transaction that moves the schedule on, under a key made of stage and moment. So no moment is launched twice,
however many agents look and however the clock is set, and none is forgotten between the two.
"""

from __future__ import annotations

import bisect
import heapq
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Literal
from zoneinfo import ZoneInfo

from croniter import croniter
from sqlalchemy import delete, select
from sqlalchemy.orm import Session, joinedload

from poms.webservice.errors import Invalid, NotAllowed
from poms.webservice.model import CampaignStage, Experimenter, Launch, Schedule
from poms.webservice.rules import naming
from poms.webservice.rules import schedule as recurrence
from poms.webservice.rules.permissions import Actor
from poms.webservice.services import events, launch_gates, launch_requests, permissions
from poms.webservice.services.core import Core
from poms.webservice.services.launch_requests import LaunchRequest
from poms.webservice.services.undos import UNKEPT, Change

log = logging.getLogger(__name__)

AGENT = "poms"
CatchUp = Literal["none", "once"]

GRACE_SECONDS = 600.0
"""A moment that is seen later than this was missed, and catch_up says what becomes of it."""

MOST_RUNS = 100
LONGEST_SHIFT = timedelta(hours=3)
"""More than clocks are ever put back at once."""


@dataclass(frozen=True, slots=True)
class Described:
    """A schedule for people and forms; without one ``text`` is "" and ``fields`` are the form's defaults.

    ``clear_at_end`` is what happens, ``clear_at_end_said`` what was said of it: None means as the stage says.
    """

    text: str
    cron: str
    words: str
    time_zone: str
    next_launch_at: datetime | None
    last_launch_at: datetime | None
    fields: Mapping[str, str]
    launcher: str
    catch_up: str
    clear_at_end: bool
    message: str
    clear_at_end_said: bool | None = None


@dataclass(frozen=True, slots=True)
class Coming:
    """What a schedule would do: its one spelling, in words, and its next moments in UTC."""

    cron: str
    words: str
    time_zone: str
    launches_at: tuple[datetime, ...]


# ------------------------------------------------------------------------------------------- times


def next_runs(cron: str, time_zone: str, after: datetime, count: int = 5) -> list[datetime]:
    """The next ``count`` moments after ``after``, in UTC. Raises Invalid for a bad expression.

    A moment that the clocks skip counts at the end of the gap. One that comes twice counts once, unless the
    hours go by intervals (``*``, ``*/n``): then both count, so that "every ten minutes" has no hole.
    """
    moments = _moments_after(recurrence.parse_cron(cron), ZoneInfo(time_zone), after)
    return list(islice(moments, min(count, MOST_RUNS)))


def _moments_after(schedule: recurrence.Schedule, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    """All moments after ``after``, in order, each once."""
    twice = schedule.hours.follows_the_clock
    here = after.astimezone(zone).replace(tzinfo=None)
    waiting: list[datetime] = []
    last = after
    for wall in _walls(schedule, here - LONGEST_SHIFT if twice else here):
        readings = _readings(wall, zone)
        for moment in readings if twice else readings[:1]:
            heapq.heappush(waiting, moment)
        # First readings come in order, and a second one is later than its first: nothing earlier is to come.
        while waiting and waiting[0] <= readings[0]:
            moment = heapq.heappop(waiting)
            if moment > last:
                last = moment
                yield moment


def _walls(schedule: recurrence.Schedule, start: datetime) -> Iterator[datetime]:
    """What a clock that knows of no zone reads at the moments after ``start``."""
    found = croniter(schedule.cron, start, day_or=True)
    while True:
        yield found.get_next(datetime)


def _readings(wall: datetime, zone: ZoneInfo) -> list[datetime]:
    """When clocks in the zone read ``wall``: once, twice (put back), or in the gap (put forward) at its end."""
    first, second = (wall.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    at_first, at_second = first.astimezone(UTC), second.astimezone(UTC)
    if first.utcoffset() == second.utcoffset():
        return [at_first]
    if at_first < at_second:
        return [at_first, at_second]
    # In a gap the two lie on either side of the moment at which the clocks were put forward.
    minutes = (at_first - at_second) // timedelta(minutes=1)
    offset = at_second.astimezone(zone).utcoffset()
    gap_end = bisect.bisect_left(
        range(minutes), True,
        key=lambda minute: (at_second + timedelta(minutes=minute)).astimezone(zone).utcoffset() != offset)
    return [at_second + timedelta(minutes=gap_end)]


def _latest(schedule: recurrence.Schedule, zone: ZoneInfo, first: datetime, now: datetime) -> datetime:
    """The last moment up to ``now``; ``first`` is one, and the earliest that matters."""
    for window in (timedelta(hours=1), timedelta(days=1), timedelta(days=40), now - first):
        start = max(first, now - window)
        latest = None
        for moment in _moments_after(schedule, zone, start):
            if moment > now:
                break
            latest = moment
        if latest is not None or start == first:
            return latest or first
    return first


# ------------------------------------------------------------------------------------------ by people


def set_schedule(core: Core, actor: Actor, stage_id: int, *, cron: str, catch_up: CatchUp = "once",
                 clear_at_end: bool | None = None) -> Described:
    """Give a stage a schedule, or change it; the actor becomes its launcher.

    ``catch_up``: what becomes of moments that passed while no agent was at work. ``clear_at_end`` None: as the
    stage says. Raises Invalid, NotFound, and NotAllowed if the actor may not change or not launch the stage.
    """
    schedule = recurrence.parse_cron(cron)
    if catch_up not in ("none", "once"):
        raise Invalid(f"“{catch_up}” is no way to catch up; write none or once.", field="catch_up")
    now, zone = core.clock(), core.settings.experiment(actor.experiment).time_zone
    next_at = next_runs(schedule.cron, zone, now, 1)[0]
    with core.db.write() as session:
        stage = permissions.require(session, actor, "modify", "stage", stage_id)
        if stage.campaign_id is None:
            raise Invalid(f"Stage {stage.name} no longer belongs to a campaign; add it to the campaign's text again.")
        launch_gates.act_for(session, actor.experimenter_id, stage)
        row = session.get(Schedule, stage_id, with_for_update=True)
        if row is None:
            row = Schedule(campaign_stage_id=stage_id, experiment=stage.experiment, creator=actor.experimenter_id,
                           created=now)
            session.add(row)
        row.cron, row.time_zone, row.catch_up, row.clear_at_end = schedule.cron, zone, catch_up, clear_at_end
        if row.last_tick is not None and row.last_tick > now:
            # Seen by a clock that ran ahead; the keys of launches still keep any moment from counting twice.
            row.last_tick = None
        row.launcher = row.updater = actor.experimenter_id
        row.updated, row.next_at, row.message = now, next_at, ""
        _record(session, "schedule.set", now, actor.username, stage, cron=schedule.cron, time_zone=zone,
                catch_up=catch_up, next_at=next_at.isoformat())
    return describe(core, actor, stage_id)


def delete_schedules(core: Core, actor: Actor, stage_ids: Iterable[int], *, undo: Change = UNKEPT) -> int:
    """Take away the schedules of stages; returns how many there were. A stage without one is no error."""
    now = core.clock()
    with core.db.write() as session:
        stages = permissions.require_all(session, actor, "modify", "stage", stage_ids)
        return sum(drop(session, stage, actor.username, now, undo=undo)
                   for stage in sorted(stages, key=lambda each: each.campaign_stage_id))


def drop(session: Session, stage: CampaignStage, actor_name: str, now: datetime, *, undo: Change = UNKEPT) -> bool:
    """Take away a stage's schedule in the caller's transaction; False if it had none. The right was checked."""
    undo.removed(session, session.scalars(select(Schedule).where(
        Schedule.campaign_stage_id == stage.campaign_stage_id)).all())
    if not session.execute(delete(Schedule).where(
            Schedule.campaign_stage_id == stage.campaign_stage_id)).rowcount:
        return False
    _record(session, "schedule.deleted", now, actor_name, stage)
    return True


def preview(core: Core, experiment: str, cron: str, count: int = 5) -> Coming:
    """What a schedule would do in the experiment's time zone; nothing is written. Raises Invalid."""
    schedule = recurrence.parse_cron(cron)
    zone = core.settings.experiment(experiment).time_zone
    return Coming(schedule.cron, recurrence.in_words(schedule), zone,
                  tuple(next_runs(schedule.cron, zone, core.clock(), count)))


def request_at(stage_id: int, moment: datetime, role: str) -> LaunchRequest:
    """The launch that is owed for one moment of a stage's schedule."""
    return LaunchRequest(stage_id=stage_id, key=naming.schedule_key(stage_id, moment), kind="schedule", role=role)


def describe(core: Core, actor: Actor, stage_id: int) -> Described:
    """The schedule of a stage for pages; without one the form's defaults. Raises NotFound, NotAllowed."""
    with core.db.read() as session:
        stage = permissions.require(session, actor, "view", "stage", stage_id)
        return describe_for(session, stage, core.settings.experiment(actor.experiment).time_zone)


def describe_for(session: Session, stage: CampaignStage, time_zone: str) -> Described:
    """The same for a stage that is loaded; one statement."""
    found = session.execute(
        select(Schedule, Experimenter.username)
        .join(Experimenter, Experimenter.experimenter_id == Schedule.launcher)
        .where(Schedule.campaign_stage_id == stage.campaign_stage_id)).one_or_none()
    if found is None:
        return Described("", "", "", time_zone, None, None, recurrence.to_form(recurrence.from_form({})), "", "once",
                         stage.default_clear_cronjob, "")
    row, launcher = found
    schedule = recurrence.parse_cron(row.cron)
    return Described(
        text=f"{row.cron}, {row.time_zone}", cron=row.cron, words=recurrence.in_words(schedule),
        time_zone=row.time_zone, next_launch_at=row.next_at, last_launch_at=row.last_tick,
        fields=recurrence.to_form(schedule), launcher=launcher, catch_up=row.catch_up,
        clear_at_end=clears(row, stage), message=row.message, clear_at_end_said=row.clear_at_end)


# ------------------------------------------------------------------------------------------- by agents


def launch_due(core: Core, experiment: str) -> str:
    """Write the launches of an experiment that have come due; returns a sentence for the agents page."""
    ended = _end_finished(core, experiment)
    moved = _follow_time_zone(core, experiment)
    said: Counter[str] = Counter()
    with core.db.read() as session:
        due = session.scalars(
            select(Schedule.campaign_stage_id)
            .where(Schedule.experiment == experiment, Schedule.next_at <= core.clock())
            .order_by(Schedule.next_at)).all()
    for stage_id in due:
        said[_tick(core, stage_id)] += 1
    return (f"{said['launched']} launches due, {said['missed']} missed, {said['refused']} refused"
            + (f", {ended} schedules ended" if ended else "")
            + (f", {moved} moved to {core.settings.experiment(experiment).time_zone}" if moved else ""))


def _tick(core: Core, stage_id: int) -> str:
    """Move one schedule over the moments that have come, and write the launch that is owed for them."""
    now = core.clock()
    with core.db.write() as session:
        # The stage first, as everybody does who changes it; then the schedule, unless another agent is at it.
        stage = session.get(CampaignStage, stage_id, with_for_update={"read": True, "key_share": True})
        row = session.scalar(select(Schedule).where(Schedule.campaign_stage_id == stage_id, Schedule.next_at <= now)
                             .with_for_update(skip_locked=True))
        if stage is None or row is None:
            return "taken"
        schedule, zone = recurrence.parse_cron(row.cron), ZoneInfo(row.time_zone)
        tick = _latest(schedule, zone, row.next_at, now)
        late = now - tick > timedelta(seconds=GRACE_SECONDS)
        passed, row.next_at = row.next_at, next(_moments_after(schedule, zone, max(now, tick)))
        if row.last_tick is not None and tick <= row.last_tick:
            return "taken"
        row.last_tick = tick
        if stage.campaign_id is None:
            return _do_not_launch(session, row, stage, now, "refused", "the stage no longer belongs to a campaign")
        if late and row.catch_up == "none":
            return _do_not_launch(session, row, stage, now, "missed",
                                  f"no agent was at work at {passed:%Y-%m-%d %H:%M} UTC")
        try:
            actor = launch_gates.act_for(session, row.launcher, stage)
        except NotAllowed as refused:
            return _do_not_launch(session, row, stage, now, "refused", str(refused))
        request = request_at(stage_id, tick, actor.role)
        row.message = ""
        if not launch_requests.owe(session, request, stage=stage, launcher_id=row.launcher, now=now):
            return "taken"
        _record(session, "schedule.owed", now, AGENT, stage, tick=tick.isoformat(), caught_up=late)
    return "launched"


def _do_not_launch(session: Session, row: Schedule, stage: CampaignStage, now: datetime, what: str, why: str) -> str:
    row.message = why
    _record(session, f"schedule.{what}", now, AGENT, stage, reason=why)
    log.warning("scheduled launch not made", extra={"campaign_stage_id": stage.campaign_stage_id, "reason": why})
    return what


def _end_finished(core: Core, experiment: str) -> int:
    """Take away schedules whose last launch met the end of the split, where that is wanted."""
    newest = (select(Launch.state).where(Launch.campaign_stage_id == Schedule.campaign_stage_id,
                                         Launch.kind == "schedule", Launch.created >= Schedule.updated)
              .order_by(Launch.launch_id.desc()).limit(1).correlate(Schedule).scalar_subquery())
    with core.db.read() as session:
        numbers = session.scalars(select(Schedule.campaign_stage_id).where(
            Schedule.experiment == experiment, Schedule.last_tick.is_not(None), newest == "skipped")).all()
    count = 0
    for stage_id in numbers:
        with core.db.write() as session:
            row = session.scalar(select(Schedule).where(Schedule.campaign_stage_id == stage_id)
                                 .options(joinedload(Schedule.stage, innerjoin=True))
                                 .with_for_update(of=Schedule))
            if row is None or not clears(row, row.stage):
                continue
            _record(session, "schedule.ended", core.clock(), AGENT, row.stage, reason="no more splits")
            session.delete(row)
            count += 1
    return count


def _follow_time_zone(core: Core, experiment: str) -> int:
    """Work out the next moments anew where the experiment's time zone was changed in poms.ini."""
    now, zone = core.clock(), core.settings.experiment(experiment).time_zone
    with core.db.read() as session:
        if session.scalar(select(Schedule.campaign_stage_id).where(
                Schedule.experiment == experiment, Schedule.time_zone != zone).limit(1)) is None:
            return 0
    with core.db.write() as session:
        rows = session.scalars(
            select(Schedule).where(Schedule.experiment == experiment, Schedule.time_zone != zone)
            .order_by(Schedule.campaign_stage_id).with_for_update()).all()
        for row in rows:
            row.time_zone = zone
            # What had come due before the change still is.
            if row.next_at > now:
                row.next_at = next_runs(row.cron, zone, now, 1)[0]
    return len(rows)


def clears(row: Schedule, stage: CampaignStage) -> bool:
    """Whether the end of the split takes the schedule away."""
    return stage.default_clear_cronjob if row.clear_at_end is None else row.clear_at_end


def _record(session: Session, kind: str, now: datetime, actor: str, stage: CampaignStage, **data: object) -> None:
    events.record(session, kind, now, actor, experiment=stage.experiment, campaign_id=stage.campaign_id,
                  stage_id=stage.campaign_stage_id, **data)
