"""How numbers, times and states are written on pages: filters and functions of the templates.

Pure: the present comes in as ``now``, nothing is read or fetched. ``register(environment)`` puts all of
them into a jinja environment. Not for deciding anything about a campaign (that is ``rules``).
Invariant: what returns Markup has escaped every text it was given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from jinja2 import Environment, Undefined, pass_context
from jinja2.runtime import Context
from jinja2.utils import missing
from markupsafe import Markup, escape

from ..rules.graph import Sizes, lay_out

UNKNOWN = "not known"

# The order in which shares of a whole are drawn. It never changes, so that eyes can learn it.
BAR_ORDER = ("Located", "Completed", "Running", "Idle", "Held", "Failed", "Removed")
TROUBLE = frozenset({"Held", "Failed", "LaunchFailed", "Awaiting Approval"})
_LEAST_TROUBLE_PERCENT = 3.0
_SLUGS = {
    "New": "new", "Idle": "idle", "Running": "running", "Held": "held", "Failed": "failed", "Completed": "completed",
    "Located": "located", "Removed": "removed", "Cancelled": "cancelled", "LaunchFailed": "launchfailed",
    "Awaiting Approval": "approval", "Approved": "approved", "overdue": "overdue",
}


def state_slug(state: str) -> str:
    """The word for a state in class names and icon names; ``unknown`` for any other text."""
    return _SLUGS.get(state, "unknown")


def needs_person(state: str) -> bool:
    """Whether a state waits for somebody to act; only these are drawn angular and filled."""
    return state in TROUBLE


# ------------------------------------------------------------------------------------------ numbers


def thousands(value: int | float | None, decimals: int = 0) -> str:
    """12,176; None is said to be not known."""
    return UNKNOWN if value is None else f"{value:,.{decimals}f}"


def plural(count: int | None, one: str, many: str = "") -> str:
    """A number with its noun: 1 job, 363 jobs, 0 files."""
    if count is None:
        return f"{many or one + 's'} {UNKNOWN}"
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def percent(part: float | None, whole: float | None = 100) -> str:
    """A share. Never "100 %" while something is missing, never "0 %" once something is there."""
    if part is None or not whole:
        return UNKNOWN if part is None or whole is None else "–"
    share = 100 * part / whole
    if 0 < share < 1:
        return "< 1 %"
    if 99 < share < 100:
        return f"{min(99.9, int(share * 10) / 10):.1f} %"
    return f"{share:.0f} %"


def bytes_(value: int | float | None) -> str:
    """A size in bytes with a decimal unit: 750 GB, 2.1 MB, 512 B."""
    if value is None:
        return UNKNOWN
    size = float(value)
    for unit in ("B", "kB", "MB", "GB", "TB", "PB"):
        if abs(size) < 999.5 or unit == "PB":
            break
        size /= 1000
    return f"{size:.1f} {unit}" if unit != "B" and abs(size) < 9.95 else f"{size:.0f} {unit}"


def mebibytes(value: int | float | None) -> str:
    """Memory as batch systems ask for it: 2,000 MB."""
    return UNKNOWN if value is None else f"{value:,.0f} MB"


def clip(text: str, length: int) -> str:
    """The text, shortened in its middle (names differ at both ends) if it is too long."""
    text = str(text)
    if len(text) <= length:
        return text
    end = (length - 1) // 3
    return f"{text[:length - 1 - end]}…{text[len(text) - end:] if end else ''}"


def breakable(text: str) -> Markup:
    """A long name that may be broken behind an underscore, a dot, a slash or an at sign."""
    escaped = str(escape(text))
    for mark in ("_", ".", "/", "@"):
        escaped = escaped.replace(mark, f"{mark}<wbr>")
    return Markup(escaped)


# -------------------------------------------------------------------------------------------- times


def duration(seconds: float | None) -> str:
    """A length of time with at most two units: 40 s, 51 min, 2 h 43 min, 3 d 4 h, 31 d."""
    if seconds is None:
        return UNKNOWN
    whole = max(0, int(seconds))
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if whole < 60:
        return f"{whole} s"
    if minutes < 60:
        return f"{minutes} min"
    if hours < 24:
        return f"{hours} h {minutes % 60:02d} min"
    if days < 10 and hours % 24:
        return f"{days} d {hours % 24} h"
    return f"{days} d"


def age(moment: datetime | None, now: datetime) -> str:
    """How long ago; a clock that runs ahead gives 0 s, never a negative age."""
    return UNKNOWN if moment is None else duration((now - moment).total_seconds())


def clock(moment: datetime | None, now: datetime) -> str:
    """The time of day in UTC, with the date unless it is today: 23:58, 13 Mar 23:58, 13 Mar 2025."""
    if moment is None:
        return UNKNOWN
    moment, now = moment.astimezone(UTC), now.astimezone(UTC)
    if moment.date() == now.date():
        return f"{moment:%H:%M}"
    if moment.year == now.year:
        return f"{moment.day} {moment:%b %H:%M}"
    return f"{moment.day} {moment:%b %Y}"


def full_time(moment: datetime | None) -> str:
    """Date and time to the second: 2026-03-14 02:41:07 UTC."""
    return UNKNOWN if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def iso_time(moment: datetime) -> str:
    """The form of the ``datetime`` attribute: 2026-03-14T02:41:07Z."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def time_tag(moment: datetime | None, now: datetime, form: str = "age") -> Markup:
    """A ``<time>`` element; ``form`` is age, clock, second or full. Scripts keep ages going."""
    if moment is None:
        return Markup('<span class="soft">{}</span>').format(UNKNOWN)
    # Put together by hand, as lists have hundreds of these: it is all digits and words of ours, nothing to escape.
    at = moment.astimezone(UTC).isoformat(" ", "seconds")[:19]
    words = {"age": age, "clock": clock, "second": _second, "full": _full}[form](moment, now)
    ticking = " data-age" if form == "age" else ""
    return Markup(f'<time datetime="{at[:10]}T{at[11:]}Z" title="{at} UTC"{ticking}>{words}</time>')


def _second(moment: datetime, _now: datetime) -> str:
    return f"{moment.astimezone(UTC):%H:%M:%S}"


def _full(moment: datetime, _now: datetime) -> str:
    return full_time(moment)


# ------------------------------------------------------------------------------------------- charts


@dataclass(frozen=True, slots=True)
class Segment:
    """One piece of a bar, in percent of its width."""

    state: str
    count: int
    x: float
    width: float


def bar_segments(counts: Mapping[str, int], total: int | None = None) -> list[Segment]:
    """The pieces of a bar: in fixed order, trouble never narrower than 3 %, never beyond the end.

    What is missing up to ``total`` has not begun and stays empty.
    """
    present = [(state, counts[state]) for state in BAR_ORDER if counts.get(state, 0) > 0]
    whole = max(sum(count for _, count in present), total or 0)
    if not whole:
        return []
    widths = {state: 100 * count / whole for state, count in present}
    lifted = {state: max(width, _LEAST_TROUBLE_PERCENT) if state in TROUBLE else width
              for state, width in widths.items()}
    excess = sum(lifted.values()) - 100
    if excess > 0:
        # Only what is drawn wider than it needs to be gives room.
        spare = {state: width - (_LEAST_TROUBLE_PERCENT if state in TROUBLE else 0) for state, width in lifted.items()}
        share = excess / sum(spare.values())
        lifted = {state: width - spare[state] * share for state, width in lifted.items()}
    segments, x = [], 0.0
    for state, count in present:
        segments.append(Segment(state, count, round(x, 3), round(lifted[state], 3)))
        x += lifted[state]
    return segments


def describe_counts(counts: Mapping[str, int], total: int | None = None) -> str:
    """A bar in words, for those who do not see it."""
    words = [f"{state} {counts[state]:,}" for state in BAR_ORDER if counts.get(state, 0) > 0]
    return (", ".join(words) or "nothing yet") + (f", of {total:,}" if total else "")


def bar_pieces(counts: Mapping[str, int], total: int | None = None) -> Markup:
    """The rectangles of a bar as SVG; in Python, as lists have hundreds of them. Numbers and words of ours only."""
    drawn = []
    for piece in bar_segments(counts, total):
        place = f'x="{piece.x}%" width="{piece.width}%"'
        tall = 'y="31%" height="38%"' if piece.state == "Idle" else 'y="0" height="100%"'
        drawn.append(f'<rect class="s-{state_slug(piece.state)}" {place} {tall}/>')
        if piece.state == "Failed":
            drawn.append(f'<rect class="hatch" {place} y="0" height="100%"/>')
    return Markup("".join(drawn))


# ------------------------------------------------------------------------------------------ addresses


def with_query(address: str, **changes: Any) -> str:
    """The address with some arguments changed; None takes one away. Host and fragment are dropped."""
    parts = urlsplit(address)
    kept = [(key, value) for key, value in parse_qsl(parts.query, keep_blank_values=True) if key not in changes]
    kept += [(key, str(value)) for key, value in changes.items() if value is not None]
    return urlunsplit(("", "", "/" + parts.path.lstrip("/\\"), urlencode(kept), ""))


def query_fields(address: str, *without: str) -> list[tuple[str, str]]:
    """The arguments of an address as hidden fields for a form, but for those the form asks itself."""
    return [(key, value) for key, value in parse_qsl(urlsplit(address).query) if key not in without]


def sort_of(address: str) -> str:
    """The value of ``sort`` in an address: a column's name, with ``-`` in front if descending."""
    return dict(parse_qsl(urlsplit(address).query)).get("sort", "")


def safe_link(address: str) -> str:
    """The address if it leads to a web page or to a place in POMS, else ``#``."""
    text = str(address).strip()
    # Browsers drop these inside a scheme, so "java\nscript:" would be run.
    if any(ord(letter) < 32 for letter in text):
        return "#"
    scheme, colon, _ = text.partition(":")
    if colon and scheme.isalnum() and scheme.lower() not in ("http", "https", "mailto"):
        return "#"
    if colon and not scheme.isalnum() and not any(mark in scheme for mark in "/?#"):
        return "#"
    return text


def dom_id(*parts: Any) -> str:
    """An id for an element, made of ASCII letters, digits and hyphens only; different texts stay different."""
    return "-".join("".join(letter if letter.isascii() and letter.isalnum() else f"_{ord(letter):x}_"
                            for letter in str(part)) for part in parts)


# ------------------------------------------------------------------------------------ registration


class Demanding(Undefined):
    """For ``Environment(undefined=...)``: optional details of a thing may be absent, variables of a page may not.

    A missing attribute counts as false and can be tested, but printing or walking it is an error.
    """

    __slots__ = ()
    __str__ = __iter__ = __len__ = __contains__ = __hash__ = Undefined._fail_with_undefined_error  # type: ignore[assignment]

    def __bool__(self) -> bool:
        if self._undefined_obj is missing:
            self._fail_with_undefined_error()
        return False

    def __eq__(self, other: object) -> bool:
        return bool(self) or other is None


@pass_context
def _time(context: Context, moment: datetime | None, form: str = "age") -> Markup:
    return time_tag(moment, context["now"], form)


@pass_context
def _age(context: Context, moment: datetime | None) -> str:
    return age(moment, context["now"])


@pass_context
def _clock(context: Context, moment: datetime | None) -> str:
    return clock(moment, context["now"])


def register(environment: Environment) -> None:
    """Put every filter and function into the environment; pages take ``now`` from their context."""
    environment.filters.update(
        slug=state_slug, thousands=thousands, plural=plural, percent=percent, bytes=bytes_, mebibytes=mebibytes,
        clip=clip, breakable=breakable, duration=duration, age=_age, clock=_clock, iso_time=iso_time,
        full_time=full_time, time=_time, bar_segments=bar_segments, bar_pieces=bar_pieces,
        describe_counts=describe_counts,
        with_query=with_query, query_fields=query_fields, sort_of=sort_of, safe_link=safe_link, dom_id=dom_id)
    environment.globals.update(lay_out=lay_out, graph_sizes=Sizes, bar_order=BAR_ORDER)
    environment.tests.update(trouble=needs_person)
    environment.trim_blocks = True
    environment.lstrip_blocks = True
