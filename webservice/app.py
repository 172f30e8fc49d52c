"""Composition of the web service: settings, plugins, back ends, database, handlers, one WSGI application.

Nothing here decides anything about requests. Several applications can live in one process: no
global CherryPy configuration or tree is touched.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import cherrypy

import poms.static
import poms.templates
from poms.webservice import __version__, migrations
from poms.webservice.backends import Backends
from poms.webservice.clock import utc_now
from poms.webservice.config import Settings
from poms.webservice.db import Database, make_engine
from poms.webservice.handlers import (
    blocks,
    campaigns,
    changes,
    editor,
    figures,
    home,
    jobs,
    launches,
    legacy,
    legacy_campaigns,
    legacy_edits,
    legacy_launches,
    lists,
    openapi,
    people,
    previews,
    render,
    samples,
    schedules,
    stages,
    submissions,
    uploads,
    watches,
)
from poms.webservice.handlers.changes import ChangeFeed
from poms.webservice.handlers.frame import Frame, answer_protocol_error
from poms.webservice.handlers.front import Front, Wsgi
from poms.webservice.handlers.routing import MOUNT, Router, Routes
from poms.webservice.handlers.static_files import StaticFiles
from poms.webservice.services.core import Core
from poms.webservice.services.people import list_experiments

log = logging.getLogger(__name__)

GROUPS = tuple(module.routes for module in (home, campaigns, samples, editor, stages, schedules, submissions, jobs,
                                            launches, previews, uploads, watches, blocks, people, figures, lists,
                                            legacy, legacy_edits, legacy_campaigns, legacy_launches))
ROUTES = (*GROUPS, openapi.describing(GROUPS))


def make_core(settings: Settings, plugins: Sequence[object] | None = None, *,
              clock: Callable[[], datetime] = utc_now) -> Core:
    """Database and back ends for services; raises ConfigurationError if the tables are not this program's.

    ``settings`` may be read without the plugins' sections; the core has the final reading.
    """
    backends = Backends(settings, plugins, clock=clock)
    settings = backends.settings
    migrations.require_current(settings.database.url, backends.databases())
    engine = make_engine(settings.database.url, pool_size=settings.database.pool_size)
    return Core(db=Database(engine), backends=backends, settings=settings, clock=clock)


def build(origin: Core | Settings, plugins: Sequence[object] | None = None, *,
          groups: Iterable[Routes] | None = None) -> Front:
    """The WSGI application; raises ConfigurationError if a route is not declared as it must be."""
    core = origin if isinstance(origin, Core) else make_core(origin, plugins)
    router = Router(ROUTES if groups is None else groups)
    static = StaticFiles(_directory(poms.static), f"{MOUNT}/static")
    feed = ChangeFeed(core)
    frame = Frame(core, router, render.make_environment(_directory(poms.templates)), static, version=__version__,
                  feed=feed)
    mounts = {mount.prefix: mount.application for mount in core.backends.wsgi_mounts(list_experiments(core))}
    log.info("web application built", extra={"routes": len(router.routes), "mounts": ", ".join(mounts) or "none"})
    mounts[changes.PATH] = feed
    return Front(_pages(frame), mounts, secure=core.settings.service.public_url.startswith("https:"))


def _pages(frame: Frame) -> Wsgi:
    """CherryPy's part: it reads requests and writes answers; what they mean is the frame's."""
    application = cherrypy.Application(None, MOUNT, {"/": {
        "request.dispatch": partial(_dispatch, frame),
        "request.process_request_body": False,
        "request.show_tracebacks": False,
        "request.error_response": partial(_protocol_error, frame, status="500", message=""),
        "error_page.default": partial(_protocol_error, frame),
        "response.stream": False,
    }})
    # The access log is written by ``front``, and CherryPy would put its own together even for a log that is disabled;
    # what it says of itself belongs to the service's log.
    application.log.access = lambda: None
    application.log.error_log = logging.getLogger("poms.cherrypy")
    return application


def _dispatch(frame: Frame, path: str) -> None:
    request = cherrypy.serving.request
    request.config = dict(request.app.config["/"])
    request.handler = partial(frame.answer, path)


def _protocol_error(frame: Frame, *, status: str, message: str, **_more: Any) -> bytes:
    body = answer_protocol_error(frame, status, message)
    cherrypy.serving.response.body = body
    return body


def _directory(package: Any) -> Path:
    return Path(next(iter(package.__path__)))
