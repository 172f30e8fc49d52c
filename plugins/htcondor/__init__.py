"""HTCondor: one or more schedds of a pool, reached by the htcondor2 bindings or by the command-line tools.

Offers the backend. ``access`` talks to the schedds, ``ads`` reads what they say, ``history`` follows who left,
``submission`` is a jobsub_submit. Invariant: a schedd that does not answer is an error, never an empty answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from poms.plugins.htcondor.options import SETTINGS
from poms.webservice.hookspecs import hookimpl
from poms.webservice.interfaces import Offer, PluginContext, Setting, SettingsSection

if TYPE_CHECKING:
    from poms.plugins.htcondor.backend import HTCondorBatch

SECTION = SettingsSection("htcondor", "The HTCondor pool that jobs run in, shared by all experiments that use it.", (
    *SETTINGS,
    Setting("jobsub", "bool", "yes", "Put our own jobsub_submit first on the PATH of launch scripts."),
    Setting("spool", "bool", "yes", "Our jobsub_submit hands input files to the schedd and output files are fetched "
            "from it; no: schedd and launch scripts share the service's data directory."),
    Setting("keep_output_seconds", "seconds", "1d", "How long a spooled job's output waits at the schedd to be read."),
    Setting("log_days", "float", "30", "Output of jobs is removed here so many days after they were submitted."),
    Setting("default_memory_mb", "int", "2000", "MiB of memory of a job that does not ask."),
    Setting("default_lifetime_seconds", "seconds", "8h", "Run time of a job that does not ask; more puts it on hold."),
    Setting("submit_lines", "str", "", "Lines added to every submit description of our jobsub_submit, \\n between."),
))


@hookimpl
def poms_settings() -> list[SettingsSection]:
    return [SECTION]


@hookimpl
def poms_job_backends() -> list[Offer]:
    return [Offer("htcondor", "runs jobs in an HTCondor pool, which it reads and controls itself", _make,
                  section=SECTION.name)]


def _make(context: PluginContext) -> HTCondorBatch:
    # Here, so that the programs on a launch script's PATH start quickly.
    from poms.plugins.htcondor.backend import HTCondorBatch

    return HTCondorBatch(context)
