"""News: which events people are told of and under which word, when a digest may leave, and how it reads.

Not for who is told (``services.notifications``). Pure: every moment is given. An event of a kind that is not
named here is no news.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from poms.webservice.errors import Invalid
from poms.webservice.interfaces import NewsItem

NEWS = {
    "finished": "A submission is done: its files are there",
    "attention": "Something failed or is held, and needs a person",
    "approval": "A stage waits for approval",
    "held": "Launches are kept for later, or go on again",
    "recovery": "A recovery is started for files that were left",
    "next": "The next stage is started",
    "stopped": "A submission was removed or cancelled",
    "changed": "The campaign or its schedule was changed",
}
USUAL = ("finished", "attention", "approval", "held")
"""What a new watch tells of."""

_BY_STATUS = {"Located": "finished", "Held": "attention", "Failed": "attention", "LaunchFailed": "attention",
              "Awaiting Approval": "approval", "Removed": "stopped", "Cancelled": "stopped"}
_BY_KIND = {
    "schedule.refused": "attention", "schedule.missed": "attention", "recovery.asked": "attention",
    "campaign.paused": "attention", "scout.asked": "attention",
    "launch.held": "held", "scout.sent": "held", "scout.good": "held", "scout.answered": "held",
    "stage.held": "held", "stage.released": "held", "campaign.held": "held",
    "campaign.released": "held", "experiment.held": "held", "experiment.released": "held",
    "service.launches": "held", "recovery.owed": "recovery", "dependency.owed": "next",
    "campaign.saved": "changed", "campaign.deactivated": "changed", "schedule.set": "changed",
    "schedule.deleted": "changed", "schedule.ended": "changed", "split.end": "changed", "split.reset": "changed",
}
KINDS = ("submission.status", "launch.failed", *_BY_KIND)
"""Kinds of events that can be news at all."""

MINUTES = 24 * 60
FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 60, 3600
MOST_LINES = 500


def news_of(kind: str, data: Mapping[str, Any] | None, *, of_submission: bool) -> str | None:
    """The word of ``NEWS`` that an event comes under, or None if it is no news."""
    if kind == "submission.status":
        return _BY_STATUS.get(str((data or {}).get("new", "")))
    if kind == "launch.failed":
        # With a submission the change of its status is the news.
        return None if of_submission else "attention"
    # What passive recovery rules would have asked is asked of nobody.
    return None if (data or {}).get("passive") else _BY_KIND.get(kind)


# ------------------------------------------------------------------------------------ when to tell


@dataclass(frozen=True, slots=True)
class Quiet:
    """Hours of the day in which nothing is sent: minutes of the day, over midnight if ``start`` is the later."""

    start: int
    end: int
    time_zone: str

    def holds(self, moment: datetime) -> bool:
        local = moment.astimezone(ZoneInfo(self.time_zone))
        minute = local.hour * 60 + local.minute
        if self.start <= self.end:
            return self.start <= minute < self.end
        return minute >= self.start or minute < self.end

    def over_at(self, moment: datetime) -> datetime:
        """The first moment from ``moment`` on at which something may be sent."""
        if not self.holds(moment):
            return moment
        local = moment.astimezone(ZoneInfo(self.time_zone))
        end = local.replace(hour=self.end // 60, minute=self.end % 60, second=0, microsecond=0, fold=1)
        if end <= local:
            end = (end.replace(tzinfo=None) + timedelta(days=1)).replace(tzinfo=local.tzinfo)
        # Where clocks change, the end of the hour may be before this moment on the world's clock.
        return max(moment, end.astimezone(UTC))


def due_at(oldest: datetime, last: datetime | None, *, gather_seconds: float, every_seconds: float,
           quiet: Quiet | None) -> datetime:
    """When a digest with this oldest notice may leave: gathered, not too soon after the last, not in quiet hours."""
    moment = oldest + timedelta(seconds=gather_seconds)
    if last is not None:
        moment = max(moment, last + timedelta(seconds=every_seconds))
    return quiet.over_at(moment) if quiet else moment


def retry_seconds(attempts: int) -> float:
    """How long to wait after so many attempts in vain: a minute, doubled each time, an hour at most."""
    return float(min(FIRST_RETRY_SECONDS * 2 ** max(0, min(attempts, 20) - 1), LONGEST_RETRY_SECONDS))


def parse_quiet(text: str) -> tuple[int, int] | None:
    """``22:00-07:00`` as minutes of the day; None for an empty text. Raises Invalid."""
    text = text.strip()
    if not text:
        return None
    start, dash, end = text.partition("-")
    try:
        if not dash:
            raise ValueError
        found = _minute(start), _minute(end)
    except ValueError:
        raise Invalid(f"{text[:40]!r} are no hours: write them like 22:00-07:00.", field="quiet") from None
    if found[0] == found[1]:
        raise Invalid("Quiet hours begin and end at the same time; leave them empty to be told at any time.",
                      field="quiet")
    return found


def quiet_text(start: int | None, end: int | None) -> str:
    """The same as text."""
    if start is None or end is None:
        return ""
    return f"{start // 60:02}:{start % 60:02}-{end // 60:02}:{end % 60:02}"


def _minute(text: str) -> int:
    moment = datetime.strptime(text.strip(), "%H:%M")
    return moment.hour * 60 + moment.minute


# ------------------------------------------------------------------------------------- how it reads


def subject_of(items: Sequence[NewsItem]) -> str:
    """The worst first: ``2 need attention, 5 finished: mc, keepup``."""
    words = {"attention": "need attention", "approval": "to approve", "finished": "finished", "held": "held",
             "recovery": "recoveries", "next": "next stages", "stopped": "stopped", "changed": "changed"}
    counts = [f"{count} {word}" for news, word in words.items()
              if (count := sum(1 for item in items if item.news == news))]
    campaigns = list(dict.fromkeys(item.campaign for item in items if item.campaign))
    named = ", ".join(campaigns[:3]) + (" and more" if len(campaigns) > 3 else "")
    return (", ".join(counts) + (f": {named}" if named else ""))[:200]


def text_of(items: Sequence[NewsItem], *, settings_url: str, time_zone: str, attempt: int) -> str:
    """The whole message as plain text: campaign by campaign, in the order in which things happened."""
    zone = ZoneInfo(time_zone)
    lines: list[str] = []
    campaign: str | None = None
    for item in sorted(items[:MOST_LINES], key=lambda item: (item.campaign, item.event_id)):
        if item.campaign != campaign:
            campaign = item.campaign
            where = f"{item.experiment} {campaign}" if campaign else f"{item.experiment or 'the whole service'}"
            lines += ["", _one_line(where)]
        lines.append(f"  {item.at.astimezone(zone):%Y-%m-%d %H:%M}  {_one_line(item.text)}")
        if item.url:
            lines.append(f"      {item.url}")
    if len(items) > MOST_LINES:
        lines += ["", f"... and {len(items) - MOST_LINES} more."]
    lines += ["", f"Times are in {time_zone}. What you watch, and how you are told: {settings_url}"]
    if attempt > 1:
        lines.append(f"This is attempt {attempt} to send this message; if you have it already, nothing is new.")
    return "\n".join(lines).lstrip("\n") + "\n"


def _one_line(text: str) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
