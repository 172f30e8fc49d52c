"""Conditions that POMS reports, named after what is wrong.

Raise these from rules, services and plugins; ``handlers.tools`` alone maps them to
HTTP and ``agent.loop`` alone survives them. A message names the thing and the remedy.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with an input: where it is, what is wrong, what to write instead.

    ``field`` is a form field, or ``section/key`` of a campaign text; ``line`` counts from 1.
    ``code`` is a stable word for programs (``unknown-stage``); ``message`` is for people.
    """

    field: str
    message: str
    line: int | None = None
    code: str = ""

    def __str__(self) -> str:
        where = f"Line {self.line}: " if self.line else ""
        return f"{where}{self.field}: {self.message}" if self.field else f"{where}{self.message}"


class PomsError(Exception):
    """Any condition that POMS itself reports."""


class Invalid(PomsError):
    """The input cannot be accepted; carries every problem found, not only the first."""

    def __init__(self, problems: str | Problem | Iterable[Problem], field: str = "") -> None:
        if isinstance(problems, str):
            problems = [Problem(field, problems)]
        elif isinstance(problems, Problem):
            problems = [problems]
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class NotAuthenticated(PomsError):
    """Nobody knows who sent the request."""


class NotAllowed(PomsError):
    """The actor is known and may not do this."""


class NotFound(PomsError):
    """There is no such item, or none that the actor's experiment can see."""


class Conflict(PomsError):
    """The item changed meanwhile, exists already, or is in a state that forbids this."""


class LaunchesHeld(PomsError):
    """Launches are held here; the request was kept and can be released."""


class CredentialsLacking(Conflict):
    """A launch has not the credentials that it needs; says which, and how to get them."""


class BackendUnavailable(PomsError):
    """A system outside POMS did not answer, or answered with an error.

    An error is never an empty answer: no decision may be taken from it.
    """


class ConfigurationError(PomsError):
    """poms.ini, the database or the surroundings forbid starting; says what to change."""
