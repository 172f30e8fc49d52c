"""``JobsubBatch``: jobs that are launched and controlled through jobsub, as the rest of POMS sees them.

Launching and watching are those of any pool (``htcondor.batch``). Invariant: the queue is asked before and after each
action and after each launch; jobsub's exit status, which is 0 when nothing happened, decides nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from poms.plugins.htcondor.batch import PoolBatch
from poms.plugins.htcondor.reading import LIVE, Access, PoolReader, Row, ads, open_access, options_from
from poms.plugins.jobsub import attributes, commands, credentials, logs
from poms.plugins.jobsub.commands import Action, Said
from poms.plugins.jobsub.options import SECTION, is_name, make_options
from poms.webservice.errors import BackendUnavailable, Invalid
from poms.webservice.interfaces import (
    ActResult,
    BatchEnvironment,
    FoundCluster,
    Health,
    JobSelection,
    LaunchPlan,
    PluginContext,
    SubmitOutcome,
    TransportResult,
)
from poms.webservice.launch_scripts import printed_clusters

_STATE = ("ClusterId", "ProcId", "JobStatus", "JobUniverse", attributes.ROLE)
_HELD, _REMOVED, _COMPLETED = 5, 3, 4
_SUBMIT_FAILED = re.compile(r"^.*(?:Error: |condor_submit exited with failed status code|ERROR: ).*$", re.MULTILINE)

# What condor_submit says of a schedd that cannot be reached, or that was lost on the way.
_UNREACHED = re.compile(r"ERROR: .*(?:Failed to connect|Failed to spool|Can't find address|SECMAN:2007|Can't contact)",
                        re.IGNORECASE)

Jobs = Mapping[tuple[int, int], Row]


class JobsubBatch(PoolBatch):
    """``JobBackend`` on the schedds named in [jobsub]; safe to use from any thread."""

    def __init__(self, context: PluginContext, access: Access | None = None) -> None:
        pool = options_from(context.options, SECTION)
        self._options = make_options(context.options, context.experiment)
        self._clock = context.clock
        self._directory = context.data_dir.absolute() / "jobsub"
        access = access or open_access(pool)
        super().__init__(f"jobsub:{pool.pool_name}", PoolReader(pool, context.clock, access), access)

    # ------------------------------------------------------------------------------------------ submitting

    def environment(self, plan: LaunchPlan) -> BatchEnvironment:
        role = plan.role if is_name(plan.role) else self._options.default_role
        return BatchEnvironment(variables=(*credentials.environment(self._options, role),
                                           *attributes.variables(plan)))

    def _judge(self, plan: LaunchPlan, result: TransportResult, found: Collection[FoundCluster]) -> SubmitOutcome:
        outcome = super()._judge(plan, result, found)
        if outcome.kind != "refused":
            return outcome
        if _UNREACHED.search(result.output):
            return replace(outcome, kind="unclear", message=_why(result.output))
        return self._doubt_other_schedds(replace(outcome, message=_why(result.output) or outcome.message), result)

    def _doubt_other_schedds(self, outcome: SubmitOutcome, result: TransportResult) -> SubmitOutcome:
        """jobsub chooses among all schedds of its pool; one that is not ours may well have the jobs."""
        known = set(self._reader.schedds)
        elsewhere = [text for text in printed_clusters(result.output) if text.partition("@")[2] not in known]
        if not elsewhere:
            return outcome
        for text in elsewhere:
            cluster, _, schedd = ads.parse_job_id(text)
            # A schedd that does not answer, or that does not exist, leaves doubt.
            try:
                there = self._access.query(schedd, f"ClusterId == {cluster}", ["ClusterId"], limit=1)
            except BackendUnavailable as problem:
                return replace(outcome, kind="unclear", message=str(problem))
            if there:
                return replace(outcome, kind="unclear", message=f"The jobs are at {schedd}, which [jobsub] schedds "
                               "does not name; add it there, and they are followed.")
        return outcome

    # -------------------------------------------------------------------------------------------- acting

    def act(self, action: Action, selection: JobSelection, reason: str) -> ActResult:
        if action not in commands.PROGRAMS:
            raise Invalid(f"{action!r} is nothing that can be done to jobs; it is hold, release or remove.")
        return super().act(action, selection, reason)

    def _act_at(self, schedd: str, action: Action, condition: str, reason: str) -> ActResult:
        before = self._states(schedd, condition)
        able = {job: row for job, row in before.items() if _is_able(row, action)}
        if action == "release":
            self._reader.await_stopped(schedd, f"({condition}) && {LIVE}")
        said = [commands.act(self._options, action, schedd=schedd, role=role, reason=reason,
                             constraint=f"({condition}) && {LIVE} && {self._with_role(role)}")
                for role in sorted({self._role(row) for row in able.values()})]
        if not said:
            return ActResult(0, _count(before.values()))
        # Only the queue knows what came of it.
        after = self._states(schedd, condition)
        still = {job: row for job, row in able.items() if job in after and _is_able(after[job], action)}
        done = {job: row for job, row in able.items() if job not in still}
        return ActResult(_count(done.values()), _count(before.values()) - _count(able.values()), _count(still.values()),
                         _refusal(schedd, action, said) if still else "")

    def _states(self, schedd: str, condition: str) -> Jobs:
        rows = self._access.query(schedd, f"({condition}) && {LIVE}", _STATE)
        return {(row["ClusterId"], row["ProcId"]): row for row in rows}

    def _role(self, row: Row) -> str:
        """The role whose token may act on a job: that of its launch, which the job carries."""
        role = row.get(attributes.ROLE)
        known = {each.lower(): each for each in self._options.roles}
        return known.get(role.lower(), self._options.default_role) if isinstance(role, str) \
            else self._options.default_role

    def _with_role(self, role: str) -> str:
        """The jobs of a role; the default one has all that have none of the others."""
        said = f"toLower({attributes.ROLE})"
        if role != self._options.default_role:
            return f'{said} =?= "{role.lower()}"'
        others = [each for each in self._options.roles if each.lower() != role.lower()]
        return " && ".join([f'{said} =!= "{each.lower()}"' for each in others] or ["true"])

    def fetch_log(self, batch_id: str, which: logs.Which) -> Iterator[bytes]:
        cluster, proc, schedd = self._parse_job_id(batch_id)
        role = self._options.default_role
        rows = self._access.query(schedd, f"ClusterId == {cluster} && ProcId == {proc or 0}", [attributes.ROLE])
        if rows:
            role = self._role(rows[0])
        return logs.open_log(self._options, self._directory / "logs", (cluster, proc or 0, schedd), which, role)

    # -------------------------------------------------------------------------------------------- health

    def health(self) -> Health:
        """How the schedds are, and whether there are commands and tokens to act with."""
        found = super().health()
        missing = [name for name in (*commands.PROGRAMS.values(), "jobsub_fetchlog")
                   if commands.find_program(self._options, name) is None]
        tokens = [each for each in credentials.look(self._options, self._clock()) if each.problem]
        lasting = [each.problem for each in tokens if not each.renewable]
        wrong = [f"{', '.join(missing)} cannot be found; install jobsub_lite here, or set [jobsub] jobsub_programs."] \
            if missing else []
        if lasting:
            wrong.append(f"{'; '.join(lasting).capitalize()}. Get it with htgettoken, or set [jobsub] "
                         "htgettoken_options so that jobsub does.")
        message = " ".join([*wrong, found.message])
        renewed = [each.problem for each in tokens if each.renewable]
        if renewed and not wrong:
            message += f" jobsub will have to get a token: {'; '.join(renewed)}."
        figures = {**found.figures, "tokens_missing": float(len(tokens)), "commands_missing": float(len(missing))}
        return Health(found.ok and not wrong, message, found.checked_at, figures)


def _is_able(row: Row, action: Action) -> bool:
    """Whether the action would change a job that is in this state."""
    status = row.get("JobStatus")
    if action == "remove":
        return status not in (_REMOVED, _COMPLETED)
    return (status == _HELD) == (action == "release")


def _count(rows: Collection[Row]) -> int:
    """Jobs without DAGMan's own, which people do not know of."""
    return sum(1 for row in rows if row.get("JobUniverse") != ads.DAGMAN_UNIVERSE)


def _refusal(schedd: str, action: Action, said: Collection[Said]) -> str:
    complaints = [each.complaint for each in said if each.complaint]
    if any(each.is_denied for each in said):
        return (f"Schedd {schedd} refused: {' '.join(complaints)}. See whether the token in use may change these jobs "
                "(poms check).")
    words = " ".join(complaints) or " ".join(each.text.strip()[-200:] for each in said) or "nothing"
    return f"{commands.PROGRAMS[action]} left jobs as they were at {schedd} and printed: {words}"


def _why(output: str) -> str:
    """What jobsub or condor_submit said was wrong; "" if they said nothing."""
    found = _SUBMIT_FAILED.findall(output)
    return f"jobsub_submit: {' '.join(dict.fromkeys(line.strip() for line in found))[:600]}" if found else ""
