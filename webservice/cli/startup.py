"""What commands need before they begin: settings, plugins, a usable data directory, the right tables.

Everything that forbids a start is found here, before anything is written.
"""

from __future__ import annotations

import argparse
import fcntl
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from poms.webservice import config, logs
from poms.webservice.backends import Backends
from poms.webservice.clock import utc_now
from poms.webservice.config import Settings
from poms.webservice.errors import ConfigurationError
from poms.webservice.interfaces import CheckResult

if TYPE_CHECKING:
    from poms.webservice.services.core import Core

log = logging.getLogger(__name__)


def open_backends(arguments: argparse.Namespace) -> Backends:
    """The settings of the command line, read with the sections of all plugins (``backends.settings``)."""
    settings = config.load(arguments.config)
    if getattr(arguments, "listen", None):
        settings = settings.overriding("web", listen=arguments.listen)
    return Backends(settings)


def start(arguments: argparse.Namespace) -> Backends:
    """For processes that stay: configure the log, then refuse whatever must not run."""
    backends = open_backends(arguments)
    settings = backends.settings
    logs.configure(level=settings.service.log_level, form=settings.service.log_format)
    for warning in settings.warnings:
        log.warning(warning)
    require_writable(settings.service.data_dir)
    require_schema(backends)
    require_no_errors(backends.start_checks())
    return backends


def open_core(backends: Backends) -> Core:
    """Database, back ends, settings and clock for services."""
    from poms.webservice.db import Database, make_engine
    from poms.webservice.services.core import Core

    settings = backends.settings
    engine = make_engine(settings.database.url, pool_size=settings.database.pool_size)
    return Core(db=Database(engine), backends=backends, settings=settings, clock=utc_now)


def require_schema(backends: Backends) -> None:
    """Raise SchemaMismatch (exit status 3) unless all tables are those of this program."""
    from poms.webservice import migrations

    migrations.require_current(backends.settings.database.url, backends.databases())


def require_no_errors(results: list[CheckResult]) -> None:
    """Log every result; errors forbid the start."""
    for result in results:
        if result.level == "warning":
            log.warning(result.message, extra={"subject": result.subject})
    errors = [f"{result.subject}: {result.message}" for result in results if result.level == "error"]
    if errors:
        raise ConfigurationError("; ".join(errors))


def require_writable(directory: Path) -> None:
    """Make the data directory if need be and try whether it can be written."""
    try:
        directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=directory, prefix=".writable-"):
            pass
    except OSError as error:
        raise ConfigurationError(
            f"the data directory {directory} cannot be written ({error.strerror}): "
            "choose another [service] data_dir, or give it to the user that runs POMS") from error


@contextmanager
def only_server(settings: Settings) -> Iterator[None]:
    """One web server on a SQLite database; any number may share PostgreSQL."""
    if not settings.database.is_sqlite:
        yield
        return
    path = settings.service.data_dir / "server.lock"
    with path.open("a+", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            raise ConfigurationError(
                f"another server (process {lock.read().strip() or 'unknown'}) uses {settings.database.shown_url}: "
                "stop it first, or use PostgreSQL for several servers") from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield
