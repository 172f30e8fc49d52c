"""What handlers return, and what they are given. HTTP itself begins in ``render`` and ``frame``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from poms.webservice.interfaces import Identity
from poms.webservice.rules.permissions import Actor
from poms.webservice.services.core import Core
from poms.webservice.services.people import Person
from poms.webservice.services.undos import Offer

Wanted = Literal["html", "json", "text"]


@dataclass(frozen=True)
class Undo:
    """How what was done can be taken back: where its number is sent, and until when."""

    url: str
    undo_id: int
    until: datetime


@dataclass(frozen=True)
class Message:
    """Told on the next page: ``done`` becomes a toast, ``problem`` and ``warning`` a notice."""

    kind: Literal["done", "problem", "warning"]
    title: str
    text: str = ""
    undo: Undo | None = None


@dataclass(frozen=True)
class Page:
    """Values for the route's template, or as JSON. ``messages`` are shown on this page."""

    context: Mapping[str, Any]
    template: str = ""
    status: int = 200
    messages: tuple[Message, ...] = ()


@dataclass(frozen=True)
class Data:
    """JSON. ``old_times``: times without a zone, as older clients expect them."""

    value: Any
    status: int = 200
    old_times: bool = False


@dataclass(frozen=True)
class Text:
    """Plain text, or a file to be saved."""

    text: str
    content_type: str = "text/plain"
    file_name: str = ""


@dataclass(frozen=True)
class Stored:
    """A file as it is, byte for byte, to be saved."""

    data: bytes
    file_name: str


@dataclass(frozen=True)
class Rows:
    """A whole list as a file, CSV or JSON, sent while it is read.

    ``is_cut`` is asked behind the last row: whether there were more than one file holds.
    """

    columns: Sequence[str]
    rows: Iterable[Mapping[str, Any]]
    form: Literal["csv", "json"]
    file_name: str
    is_cut: Callable[[], bool]


@dataclass(frozen=True)
class Done:
    """A change was made: browsers go to ``url``, an own address; programs that want JSON get ``data``."""

    url: str
    title: str
    text: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    kind: Literal["done", "problem", "warning"] = "done"
    undo: Offer | None = None


@dataclass(frozen=True)
class Elsewhere:
    """The page is at another own address."""

    url: str


Answer = Page | Data | Text | Stored | Rows | Done | Elsewhere


@dataclass(frozen=True)
class Call:
    """One request, after everything about it was checked.

    ``items`` are those that the route's permission named, by argument. ``refused``: of several that one only asks
    about (``dry_run``), those to which the actor may not do this, and why. ``request_key`` is the same for
    the same form sent twice. ``wants`` is what the caller understands.
    """

    core: Core
    identity: Identity
    person: Person
    actor: Actor
    arguments: Mapping[str, Any]
    items: Mapping[str, list[Any]]
    url: Callable[..., str]
    wants: Wanted
    request_key: str
    method: str = "GET"
    refused: Mapping[Any, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def item(self, argument: str) -> Any:
        """The one item that an argument names."""
        return self.items[argument][0]

    def allowed(self, argument: str) -> tuple[Any, ...]:
        """Of the several things that an argument names, those to which the actor may do this."""
        return tuple(key for key in self.arguments[argument] if key not in self.refused)
