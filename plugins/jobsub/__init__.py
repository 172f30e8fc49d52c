"""Jobsub: HTCondor pools behind Fermilab's jobsub_lite commands, with a group, a role and a token for each.

Offers the backend. ``backend`` launches and acts through the commands and reads by HTCondor itself; ``commands`` runs
them, ``credentials`` finds their tokens, ``attributes`` ties jobs to submissions, ``logs`` fetches what jobs wrote.
Invariant: what a command printed, or its exit status, is never proof; the queue is.
"""

from __future__ import annotations

from poms.plugins.htcondor.reading import SETTINGS
from poms.plugins.jobsub.backend import JobsubBatch
from poms.webservice.hookspecs import hookimpl
from poms.webservice.interfaces import Offer, Setting, SettingsSection

SECTION = SettingsSection("jobsub", "Pools that are used through jobsub_lite: its commands act, HTCondor is read.", (
    *SETTINGS,
    Setting("jobsub_programs", "str", "", "Directory of jobsub_hold, jobsub_rm and so on, on the service's machines; "
            "empty means that they are on PATH. Launch hosts have their own."),
    Setting("groups", "list", "", "Groups that are not called as their experiment, e.g. samdev=fermilab."),
    Setting("roles", "list", "Production, Analysis", "Roles that launches have; a token is looked for, for each."),
    Setting("default_role", "str", "Production", "Role in which jobs are acted on that do not say whose they are."),
    Setting("token_file", "str", "", "Where the token of a group and role is, e.g. /run/poms/bt_{group}_{role}; "
            "becomes BEARER_TOKEN_FILE here and in launch scripts. Empty: wherever jobsub looks."),
    Setting("htgettoken_options", "str", "", "HTGETTOKENOPTS here and in launch scripts, by which jobsub renews "
            "tokens, e.g. -a vault.example.org -i {group} -r {role} --credkey={group}-{role}."),
    Setting("fetch_logs_from", "str", "service", "service (the log service of JOBSUB_FETCHLOG_URL) or condor (the "
            "schedd, which has them only while the job is in the queue)."),
    Setting("fetchlog_url", "str", "", "JOBSUB_FETCHLOG_URL; empty means that of the service's own environment."),
    Setting("command_timeout_seconds", "seconds", "2m", "A jobsub command that has not ended after so long is ended."),
))


@hookimpl
def poms_settings() -> list[SettingsSection]:
    return [SECTION]


@hookimpl
def poms_job_backends() -> list[Offer]:
    return [Offer("jobsub", "runs jobs through jobsub_lite", JobsubBatch, section=SECTION.name)]
