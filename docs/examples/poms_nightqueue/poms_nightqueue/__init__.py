"""A sample plugin of POMS: the batch system ``nightqueue`` and the split type ``rampup``. Only the hooks are here."""

from __future__ import annotations

from collections.abc import Callable

from poms.webservice.hookspecs import hookimpl
from poms.webservice.interfaces import CheckResult, Offer, PluginContext, Setting, SettingsSection, SplitType

from .backend import NightQueue
from .files import is_open
from .rampup import RampUp

SECTION = "nightqueue"


@hookimpl
def poms_settings() -> list[SettingsSection]:
    return [SettingsSection(SECTION, "The sample batch system nightqueue: jobs of this machine that begin at night.", (
        Setting("opens", "str", "20:00", "Time of day (UTC) from which jobs may begin."),
        Setting("closes", "str", "06:00", "Time of day (UTC) from which none may begin; the same as opens: always."),
        Setting("slots", "int", "1", "Jobs of one experiment that may run at once."),
        Setting("default_memory_mb", "int", "2000", "MiB of memory of a job that does not ask; more puts it on hold."),
        Setting("idle_exit_seconds", "seconds", "60", "The queue's daemon ends after so long without jobs."),
        Setting("keep_days", "float", "30", "Output of jobs is removed so many days after they ended."),
    ))]


@hookimpl
def poms_job_backends() -> list[Offer]:
    return [Offer("nightqueue", "a directory of files as queue; jobs begin at night", NightQueue, SECTION)]


@hookimpl
def poms_split_types() -> list[SplitType]:
    return [RampUp()]


@hookimpl
def poms_start_checks(context_for: Callable[[str, str], PluginContext]) -> list[CheckResult]:
    """Hours that cannot be read would keep every job waiting: better no start at all."""
    options = context_for("", SECTION).options
    try:
        is_open(options["opens"], options["closes"], minute=0)
    except ValueError as wrong:
        return [CheckResult("error", SECTION, f"[{SECTION}] opens and closes: {wrong}")]
    return [CheckResult("ok", SECTION, f"jobs begin between {options['opens']} and {options['closes']} UTC")]
