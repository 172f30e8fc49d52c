"""From conditions to answers: the one place that knows which condition is which HTTP status.

What POMS itself reports is told in full; anything else is an internal error, of which the
caller learns a number to quote and nothing more. The traceback is in the log under that number.
"""

from __future__ import annotations

import logging
import sqlite3
from dataclasses import dataclass
from http import HTTPStatus

import cherrypy
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from poms.webservice.errors import (
    BackendUnavailable,
    Conflict,
    Invalid,
    LaunchesHeld,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    PomsError,
    Problem,
)

log = logging.getLogger(__name__)

_STATUS: tuple[tuple[type[PomsError], int, str, str], ...] = (
    (Invalid, 400, "This cannot be accepted", "Correct what is named and send it again."),
    (NotAuthenticated, 401, "You are not signed in", "Sign in, then open this page again."),
    (NotAllowed, 403, "You may not do this", "Act in another role, or ask somebody who may."),
    (NotFound, 404, "There is no such thing here", "Check the address, or look in the experiment it belongs to."),
    (Conflict, 409, "This does not go now", "Look at what changed meanwhile, then decide again."),
    (LaunchesHeld, 423, "Launches are held", "The request was kept; it can be released on the page of held launches."),
    (BackendUnavailable, 503, "A system that POMS needs does not answer", "Try again in a moment."),
)
# read_only_sql_transaction, disk_full.
_NO_CHANGES_POSTGRESQL = ("25006", "53100")
_NO_CHANGES_SQLITE = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_FULL)
_PLAIN = {405: "This address answers other methods only", 413: "Too much was sent",
          500: "Something went wrong inside POMS", 503: "POMS is busy"}


class MethodNotAllowed(PomsError):
    """The address exists, but not for this method."""

    def __init__(self, message: str, allowed: tuple[str, ...]) -> None:
        super().__init__(message)
        self.allowed = allowed


class TooLarge(PomsError):
    """More was sent than is accepted."""


@dataclass(frozen=True)
class Failure:
    """What is told about a request that cannot be answered."""

    status: int
    title: str
    text: str
    remedy: str = ""
    problems: tuple[Problem, ...] = ()
    quote_id: str = ""
    allowed: tuple[str, ...] = ()


def failure_of(error: Exception, request_id: str) -> Failure:
    """What to tell about an exception. An unexpected one is logged here."""
    if isinstance(error, MethodNotAllowed):
        return Failure(405, _PLAIN[405], str(error), allowed=error.allowed)
    if isinstance(error, TooLarge):
        return Failure(413, _PLAIN[413], str(error))
    for kind, status, title, remedy in _STATUS:
        if isinstance(error, kind):
            problems = error.problems if isinstance(error, Invalid) else ()
            return Failure(status, title, str(error), remedy, problems)
    if isinstance(error, cherrypy.HTTPError):
        return plain_failure(error.code, str(error._message or ""))
    if isinstance(error, DBAPIError) and _takes_no_changes(error):
        log.error("the database takes no changes", exc_info=error, extra={"request_id": request_id})
        return Failure(503, _PLAIN[503], "The database takes no changes at the moment; nothing was changed. What is "
                       "there can be read.", "Try again in a few minutes; if it stays, tell the operator.",
                       quote_id=request_id)
    if isinstance(error, OperationalError | InterfaceError):
        log.error("the database did not answer", exc_info=error, extra={"request_id": request_id})
        return Failure(503, _PLAIN[503], "The database did not answer.", "Try again in a moment.",
                       quote_id=request_id)
    log.error("request failed", exc_info=error, extra={"request_id": request_id})
    return Failure(500, _PLAIN[500], "The request was not finished. What went wrong is in the log.",
                   "Try again; if it stays, quote the number below to the operator.", quote_id=request_id)


def _takes_no_changes(error: DBAPIError) -> bool:
    """Whether the database can be read only: a standby during a failover, or a disk without room."""
    if getattr(error.orig, "pgcode", None) in _NO_CHANGES_POSTGRESQL:
        return True
    return (getattr(error.orig, "sqlite_errorcode", 0) or 0) & 0xff in _NO_CHANGES_SQLITE


def plain_failure(status: int, message: str = "") -> Failure:
    """A failure that HTTP itself names, such as a malformed request."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "The request failed"
    return Failure(status, _PLAIN.get(status, phrase), message or phrase)


def document_of(failure: Failure) -> dict[str, object]:
    """The failure for programs; the keys are stable."""
    return {
        "status": failure.status, "message": failure.text, "title": failure.title, "remedy": failure.remedy,
        "problems": [{"field": problem.field, "message": problem.message, "line": problem.line, "code": problem.code}
                     for problem in failure.problems],
        "id": failure.quote_id,
    }
