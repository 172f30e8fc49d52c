"""The ``local`` batch system: a real queue for one machine, and its jobsub programs.

Offers the backend; ``spool`` and ``queue`` keep the jobs, ``master`` and ``supervisor`` run them.
Invariant: no kill or restart of any process of it loses a job or runs one twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from poms.webservice.hookspecs import hookimpl
from poms.webservice.interfaces import Offer, PluginContext, Setting, SettingsSection

if TYPE_CHECKING:
    from poms.plugins.local.batch.backend import LocalBatch

SECTION = SettingsSection("local_batch", "The batch system on this machine, shared by all experiments that use it.", (
    Setting("slots", "int", "0", "Jobs that may run at once; 0 means one for each processor."),
    Setting("memory_mb", "int", "0", "MiB of memory that running jobs may ask for together; 0 means no limit."),
    Setting("site", "str", "local", "Name of the site that jobs are reported to run at."),
    Setting("node", "str", "", "Name of the node that jobs are reported to run on; empty means this machine's name."),
    Setting("idle_exit_seconds", "seconds", "120", "The batch system's daemon ends after so long without work."),
    Setting("poll_seconds", "seconds", "1", "How often the daemon looks at its queue when nobody wakes it."),
    Setting("sample_seconds", "seconds", "0.5", "How often memory and time of a running job are measured."),
    Setting("kill_grace_seconds", "seconds", "10", "A job is asked to end, and killed after so long."),
    Setting("default_memory_mb", "int", "2000", "MiB of memory of a job that does not ask; more puts it on hold."),
    Setting("default_lifetime_seconds", "seconds", "8h", "Run time of a job that does not ask; more puts it on hold."),
    Setting("keep_scratch", "str", "no", "Keep the jobs' scratch directories: no, failed or always."),
    Setting("log_days", "float", "30", "Output of jobs is removed so many days after they were submitted."),
))


@hookimpl
def poms_settings() -> list[SettingsSection]:
    return [SECTION]


@hookimpl
def poms_job_backends() -> list[Offer]:
    return [Offer("local", "runs jobs on this machine; its queue survives crashes", _make, section=SECTION.name)]


def _make(context: PluginContext) -> LocalBatch:
    # Here, so that the programs on a launch script's PATH start quickly.
    from poms.plugins.local.batch.backend import LocalBatch

    return LocalBatch(context)
