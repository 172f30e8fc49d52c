"""``poms check``: everything that could forbid a start, or make it unwise, one line each."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator

from poms.webservice import config
from poms.webservice.backends import Backends
from poms.webservice.errors import PomsError
from poms.webservice.interfaces import CheckResult


def add_verbs(verbs: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    text = "Look at the configuration, plugins, data directory and database; exit status 1 if anything is an error."
    parser = verbs.add_parser("check", help="say what is wrong with the configuration", description=text,
                              parents=[common])
    parser.set_defaults(run=check)


def check(arguments: argparse.Namespace) -> int:
    worst = 0
    for result in results(arguments.config):
        print(f"{result.level:8} {result.subject}: {' '.join(result.message.split())}", flush=True)
        worst = max(worst, 1 if result.level == "error" else 0)
    return worst


def results(given: str | None) -> Iterator[CheckResult]:
    """Each check that can be made; one that fails hides only those that need its outcome."""
    try:
        settings = config.load(given)
        yield CheckResult("ok", "settings", f"read from {settings.file}")
        backends = Backends(settings)
    except PomsError as error:
        yield CheckResult("error", "settings", str(error))
        return
    for warning in backends.settings.warnings:
        yield CheckResult("warning", "settings", warning)
    yield from _choices(backends)
    yield _data_dir(backends)
    tables = list(_tables(backends))
    yield from tables
    known = [] if any(result.level == "error" for result in tables) else _experiments(backends)
    yield from _unknown(backends, known)
    try:
        yield from backends.start_checks(known)
    except PomsError as error:
        yield CheckResult("error", "plugins", str(error))


def _choices(backends: Backends) -> Iterator[CheckResult]:
    for kind in ("job_backend", "data_backend", "launch_transport", "credential_backend", "identity source",
                 "notifier"):
        offers = ", ".join(offer.name for offer in backends.offered(kind)) or "none"
        yield CheckResult("ok", kind.replace("_", " "), f"installed: {offers}")
    yield CheckResult("ok", "split types", f"installed: {', '.join(sorted(backends.split_types)) or 'none'}")


def _data_dir(backends: Backends) -> CheckResult:
    """Without making it: a check changes nothing."""
    directory = backends.settings.service.data_dir
    nearest = next(path for path in (directory, *directory.parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        return CheckResult("error", "data directory", f"{directory} cannot be written")
    made = "" if nearest == directory else " (made at the first start)"
    return CheckResult("ok", "data directory", f"{directory}{made}")


def _tables(backends: Backends) -> Iterator[CheckResult]:
    from poms.webservice import migrations

    try:
        states = migrations.current(backends.settings.database.url, backends.databases())
    except PomsError as error:
        yield CheckResult("error", "database", str(error))
        return
    yield CheckResult("ok", "database", backends.settings.database.shown_url)
    for state in states:
        yield CheckResult("ok" if state.condition == "current" else "error", "tables", str(state))


def _experiments(backends: Backends) -> list[str]:
    """The active experiments of the database, most of which poms.ini does not name."""
    from poms.webservice.cli.startup import open_core
    from poms.webservice.services import people

    core = open_core(backends)
    try:
        return people.list_experiments(core)
    finally:
        core.db.close()


def _unknown(backends: Backends, known: list[str]) -> Iterator[CheckResult]:
    """Sections of experiments that are not there: most likely their names are written in another way."""
    for name in backends.settings.experiments if known else ():
        if name not in known:
            yield CheckResult("warning", f"experiment {name}", "poms.ini has a section for it, and it is not among the "
                              f"active experiments; correct the name, or run: poms experiment add {name}")
