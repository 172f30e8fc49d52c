"""Routes: which address is answered by which function, for whom. Denied unless declared.

Addresses are ``/poms/<word>[/<experiment>[/<role>[/<argument>...]]]``. A route that declares no
permission, one of an unknown kind, or arguments that are not declared stops the start-up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, get_args
from urllib.parse import quote, urlencode

from poms.webservice.errors import ConfigurationError, NotFound
from poms.webservice.handlers.params import Param
from poms.webservice.rules.permissions import Action
from poms.webservice.services import permissions

MOUNT = "/poms"


@dataclass(frozen=True, slots=True)
class Need:
    """The right that a request needs: an action, on the item(s) that ``argument`` names, or in general.

    ``optional``: without the argument the question is asked in general.
    """

    action: str
    kind: str
    argument: str = ""
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Known:
    """Any known person, acting nowhere in particular; ``why`` no more is needed."""

    why: str


Permission = Need | Known | tuple[Need, ...]


@dataclass(frozen=True)
class Route:
    """One thing that can be asked for.

    ``words``: the first is the canonical one, the others are older names. ``changes``: POST only, except that
    ``program_get`` lets identities that no browser sends use GET. ``template`` "" means JSON or text.
    ``by_act``: the further right that each value of the argument ``act`` needs.
    """

    name: str
    handler: Callable[..., Any]
    permission: Permission | None
    words: tuple[str, ...]
    path: tuple[str, ...] = ()
    arguments: Mapping[str, Param] = field(default_factory=dict)
    renames: Mapping[str, str] = field(default_factory=dict)
    changes: bool = False
    program_get: bool = False
    template: str = ""
    live_seconds: int = 0
    by_act: Mapping[str, Need] = field(default_factory=dict)

    @property
    def needs(self) -> tuple[Need, ...]:
        if isinstance(self.permission, Need):
            return (self.permission,)
        return self.permission if isinstance(self.permission, tuple) else ()

    @property
    def report_on(self) -> Need | None:
        """The item that programs report on many times a second: who reports is asked together with it."""
        need = self.permission if isinstance(self.permission, Need) else None
        return need if need is not None and need.argument and permissions.KINDS[need.kind].with_person else None

    def needs_for(self, arguments: Mapping[str, Any]) -> tuple[Need, ...]:
        """All rights that a request with these arguments needs."""
        return self.needs + ((self.by_act[arguments["act"]],) if self.by_act else ())

    @property
    def methods(self) -> tuple[str, ...]:
        """Reading is open to POST too, because older programs send everything by POST."""
        return ("POST",) if self.changes else ("GET", "HEAD", "POST")


class Routes:
    """The routes of one module, in the order in which they are declared."""

    def __init__(self) -> None:
        self.declared: list[Route] = []

    def page(self, name: str, template: str, **options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """A page, which is JSON as well (``fmt=json``)."""
        return self._add(name, template=template, **options)

    def answer(self, name: str, **options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """JSON or text, without a page."""
        return self._add(name, **options)

    def change(self, name: str, **options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Something that changes state."""
        return self._add(name, changes=True, **options)

    def _add(self, name: str, *, permission: Permission | None = None, words: Iterable[str] = (),
             **options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def declare(handler: Callable[..., Any]) -> Callable[..., Any]:
            self.declared.append(Route(name=name, handler=handler, permission=permission,
                                       words=(name, *words), **options))
            return handler

        return declare


@dataclass(frozen=True, slots=True)
class Match:
    """A route with what the path says: experiment and role "" if it does not."""

    route: Route
    experiment: str
    role: str
    path_arguments: Mapping[str, str]


class Router:
    """All routes of the application; checked when it is made."""

    def __init__(self, groups: Iterable[Routes]) -> None:
        self.routes: tuple[Route, ...] = tuple(route for group in groups for route in group.declared)
        self._by_word: dict[str, Route] = {}
        self._by_name: dict[str, Route] = {}
        for route in self.routes:
            _check(route)
            if route.name in self._by_name:
                raise ConfigurationError(f"two routes are called {route.name}")
            self._by_name[route.name] = route
            for word in route.words:
                if word in self._by_word:
                    raise ConfigurationError(f"the address {word} has two routes: {self._by_word[word].name} and "
                                             f"{route.name}")
                self._by_word[word] = route

    def match(self, path: str) -> Match | None:
        """The route of a path below the mount; doubled and trailing slashes mean nothing."""
        segments = [segment for segment in path.split("/") if segment]
        word, *rest = segments or ["home"]
        route = self._by_word.get(word)
        if route is None:
            return None
        experiment, role = (rest + ["", ""])[:2]
        # Segments beyond those declared are ignored, as bookmarks of old carry a user there.
        return Match(route, experiment, role, dict(zip(route.path, rest[2:], strict=False)))

    def url(self, name: str, *, experiment: str, role: str, **arguments: Any) -> str:
        """The address of a route; arguments that are None are left out."""
        route = self._by_name.get(name)
        if route is None:
            raise NotFound(f"There is no page {name}.")
        # Lists ask for hundreds of addresses: what a page shares of them is put together once.
        address = _place(route.words[0], experiment, role)
        given = arguments
        if experiment and role:
            for argument in route.path:
                value = given.get(argument)
                if value is None or value == "":
                    break
                if given is arguments:
                    given = dict(arguments)
                del given[argument]
                address += f"/{value if type(value) is int else quote(str(value), safe='')}"
        query = urlencode({key: "1" if value is True else "0" if value is False else value
                           for key, value in given.items() if value is not None}, doseq=True) if given else ""
        return f"{address}?{query}" if query else address


@lru_cache(maxsize=4096)
def _place(word: str, experiment: str, role: str) -> str:
    """The beginning of an address: which page, and for which experiment and role."""
    segments = [word, experiment, role] if experiment and role else [word, experiment] if experiment else [word]
    return "/".join([MOUNT, *(quote(segment, safe="") for segment in segments)])


def _check(route: Route) -> None:
    where = f"the route {route.name}"
    if route.permission is None:
        raise ConfigurationError(f"{where} declares no permission")
    if not isinstance(route.permission, Known) and not route.needs:
        raise ConfigurationError(f"{where} declares no permission")
    if route.by_act and set(route.by_act) != set(route.arguments["act"].choices):
        raise ConfigurationError(f"{where} does not declare the right that each of its acts needs")
    for need in (*route.needs, *route.by_act.values()):
        if need.action not in get_args(Action):
            raise ConfigurationError(f"{where} needs an unknown right: {need.action}")
        if need.kind in permissions.GENERAL:
            if need.argument:
                raise ConfigurationError(f"{where}: {need.kind} is no item that {need.argument} could name")
        elif need.kind not in permissions.KINDS:
            raise ConfigurationError(f"{where} needs a right on an unknown kind of item: {need.kind}")
        elif need.argument not in route.arguments:
            raise ConfigurationError(f"{where} needs a right on {need.argument!r}, which it does not declare")
        elif not need.optional and not route.arguments[need.argument].required:
            raise ConfigurationError(f"{where}: {need.argument} must be required, or the right optional")
    missing = [name for name in route.path if name not in route.arguments]
    if missing:
        raise ConfigurationError(f"{where} does not declare {', '.join(missing)} of its path")
