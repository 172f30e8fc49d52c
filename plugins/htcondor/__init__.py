"""HTCondor: one or more schedds of a pool, reached by the htcondor2 bindings or by the command-line tools.

Offers the backend. ``access`` talks to the schedds, ``ads`` reads what they say, ``history`` follows who left,
``submission`` is a jobsub_submit. Invariant: a schedd that does not answer is an error, never an empty answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from poms.webservice.hookspecs import hookimpl
from poms.webservice.interfaces import Offer, PluginContext, Setting, SettingsSection

if TYPE_CHECKING:
    from poms.plugins.htcondor.backend import HTCondorBatch

SECTION = SettingsSection("htcondor", "The HTCondor pool that jobs run in, shared by all experiments that use it.", (
    Setting("collector", "str", "", "host:port of the collector; empty means that of this machine's configuration."),
    Setting("schedds", "list", "", "Names of the schedds that hold this service's jobs, commas between; at least one."),
    Setting("pool", "str", "", "A name for the pool in logs and agent tasks; empty means collector and schedds."),
    Setting("access", "str", "auto", "bindings (the Python package htcondor), commands (condor_q and so on), or auto."),
    Setting("programs", "str", "", "Directory of the command-line tools; empty means that they are on PATH."),
    Setting("config", "str", "", "HTCondor configuration file to use instead of the machine's; none for none at all."),
    Setting("token_directory", "str", "", "Directory of tokens to authenticate with, for the service only (mode 700)."),
    Setting("job_constraint", "str", "", "A ClassAd condition that only this service's jobs meet, where another POMS "
            "uses the same schedds, e.g. POMS_INST == \"prod\"."),
    Setting("timeout_seconds", "seconds", "45", "A schedd that has not answered after so long is unavailable."),
    Setting("history_lookback_seconds", "seconds", "0", "How far back the history is searched for a lost launch; 0 "
            "means all of it. Shorter is quicker where schedds keep gigabytes of history."),
    Setting("spooling_grace_seconds", "seconds", "10m", "Jobs whose input files have been on their way for longer are "
            "shown as held."),
    Setting("event_log", "str", "", "The schedd's EVENT_LOG, if this machine can read it: departures are read there as "
            "well, so that none is missed when the history rotates quickly."),
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
