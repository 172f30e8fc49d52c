"""Tests of login setups: a short script run where launches would run, with what they would be given; no jobs.

The request only writes a row; agents do the rest, under a lease, and again should one of them die. Invariant: no
submission comes of a test, nothing is held back for it, and it changes nothing over there but its own log here.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, func, or_, select
from sqlalchemy.orm import Session

from poms.webservice.db import insert_new
from poms.webservice.errors import BackendUnavailable, CredentialsLacking, NotAllowed, NotFound, PomsError
from poms.webservice.interfaces import LaunchPlan, StopSignal, TransportResult
from poms.webservice.model import LoginSetup, LoginSetupTest
from poms.webservice.rules import naming, parameters, permissions, shell
from poms.webservice.rules.permissions import ANALYSIS, Actor
from poms.webservice.services import credentials, events, launch_logs, preparing
from poms.webservice.services.core import Core
from poms.webservice.services.credentials import Given
from poms.webservice.services.launch_logs import LogPiece

UNDER_WAY = ("queued", "running")
MOST_SECONDS = 300.0
"""A login setup that takes longer would keep launches waiting as well."""
MARGIN_SECONDS = 60.0
MOST_ATTEMPTS = 3
MOST_OUTPUT_BYTES = 1_000_000
MOST_SHOWN = 5


@dataclass(frozen=True, slots=True)
class TestClaim:
    """A test that this agent may work on, under ``epoch``."""

    __test__ = False
    test_id: int
    epoch: int


# ---------------------------------------------------------------------------------- asking for one


def request(core: Core, actor: Actor, login_setup_id: int, key: str) -> int:
    """Have a login setup tested in the actor's name; the number of the test. The caller has checked the right.

    The same key is the same test. Raises NotFound, NotAllowed (not a host for this role), Invalid (its text).
    """
    with core.db.read() as session:
        setup = session.get(LoginSetup, login_setup_id)
        if setup is None or setup.experiment != actor.experiment:
            raise NotFound(f"There is no login setup {login_setup_id} in {actor.experiment}.")
    plan = _plan(core, actor, setup)
    now = core.clock()
    with core.db.write() as session:
        added = insert_new(session, LoginSetupTest, [{
            "login_setup_id": login_setup_id, "experiment": actor.experiment, "key": f"{actor.experimenter_id}:{key}",
            "tester": actor.experimenter_id, "plan": asdict(plan), "state": "queued", "created": now,
            "lease_epoch": 0}])
        row = session.scalars(select(LoginSetupTest).where(
            LoginSetupTest.key == f"{actor.experimenter_id}:{key}")).one()
        if added:
            row.log_name = naming.login_setup_log_name(login_setup_id, row.login_setup_test_id, actor.username, now)
            events.record(session, "block.tested", now, actor.username, experiment=actor.experiment,
                          block="login_setup", name=setup.name)
        return row.login_setup_test_id


def _plan(core: Core, actor: Actor, setup: LoginSetup) -> LaunchPlan:
    """What launches with this login setup would begin with, of the kind that whoever made it may launch."""
    role = ANALYSIS if setup.creator_role == ANALYSIS else permissions.PRODUCTION
    refusal = permissions.launch_host_refusal(
        role, setup.launch_host, experiment=setup.experiment, creator_role=setup.creator_role,
        analysis_hosts=core.settings.experiment(setup.experiment).analysis_launch_hosts)
    if refusal:
        raise NotAllowed(refusal)
    group = naming.group_of(setup.experiment)
    system = parameters.system_variables(parameters.launch_variables(
        keywords={}, dataset="fake_test_dataset", version="v0_0", group=group, experimenter=actor.username,
        experiment=setup.experiment))
    place = f"login setup {setup.name}"
    return LaunchPlan(
        submission_id=0, attempt=1, experiment=setup.experiment, group=group, role=role, launcher=actor.username,
        host=parameters.substitute(setup.launch_host, system, f"host of {place}"),
        account=parameters.substitute(setup.launch_account, system, f"account of {place}"),
        setup=parameters.substitute(setup.launch_setup, system, f"setup of {place}"), command="",
        environment=(("POMS_LAUNCHER", actor.username), ("JOBSUB_GROUP", group), ("GROUP", group)), test=True)


# ----------------------------------------------------------------------------------- looking at them


def get(core: Core, login_setup_id: int, test_id: int) -> LoginSetupTest:
    """A test of this login setup; raises NotFound."""
    with core.db.read() as session:
        row = session.get(LoginSetupTest, test_id)
    if row is None or row.login_setup_id != login_setup_id:
        raise NotFound(f"There is no test {test_id} of login setup {login_setup_id}.")
    return row


def read_log(core: Core, login_setup_id: int, test_id: int, offset: int = 0) -> LogPiece:
    """A piece of what the test's script wrote; before it began it is empty."""
    row = get(core, login_setup_id, test_id)
    return launch_logs.piece_of(core, row.log_name or "", offset, ended=row.state not in UNDER_WAY)


def of_login_setup(session: Session, login_setup_id: int) -> list[LoginSetupTest]:
    """The newest tests of one login setup."""
    return list(session.scalars(select(LoginSetupTest).where(LoginSetupTest.login_setup_id == login_setup_id)
                                .order_by(LoginSetupTest.login_setup_test_id.desc()).limit(MOST_SHOWN)))


def latest(session: Session, login_setup_ids: Collection[int]) -> dict[int, LoginSetupTest]:
    """The newest test of each of these login setups, in one statement."""
    newest = (select(func.max(LoginSetupTest.login_setup_test_id))
              .where(LoginSetupTest.login_setup_id.in_(list(login_setup_ids)))
              .group_by(LoginSetupTest.login_setup_id))
    return {row.login_setup_id: row for row in session.scalars(
        select(LoginSetupTest).where(LoginSetupTest.login_setup_test_id.in_(newest)))}


def remove_old(core: Core) -> int:
    """Forget tests whose logs are removed as well; the newest of each login setup stays."""
    days = core.settings.agent.launch_log_days
    if not days:
        return 0
    newest = select(func.max(LoginSetupTest.login_setup_test_id)).group_by(LoginSetupTest.login_setup_id)
    with core.db.write() as session:
        return int(session.execute(delete(LoginSetupTest).where(
            LoginSetupTest.ended_at < core.clock() - timedelta(days=days),
            LoginSetupTest.login_setup_test_id.not_in(newest.scalar_subquery()))).rowcount)


# ------------------------------------------------------------------------------------------ agents


def claim(core: Core, owner: str, limit: int) -> list[TestClaim]:
    """Take up to ``limit`` tests that wait, or whose agent died."""
    now = core.clock()
    due = (select(LoginSetupTest)
           .where(LoginSetupTest.state.in_(UNDER_WAY),
                  or_(LoginSetupTest.lease_until.is_(None), LoginSetupTest.lease_until < now))
           .order_by(LoginSetupTest.login_setup_test_id))
    with core.db.read() as session:
        if session.scalar(due.with_only_columns(LoginSetupTest.login_setup_test_id).limit(1)) is None:
            return []
    with core.db.write() as session:
        claimed = []
        for row in session.scalars(due.limit(limit).with_for_update(skip_locked=True)):
            if row.lease_epoch >= MOST_ATTEMPTS:
                row.state, row.ended_at = "failed", now
                row.message = f"Not finished: {MOST_ATTEMPTS} agents that ran it ended. Try again."
                continue
            row.lease_owner, row.lease_epoch, row.state = owner, row.lease_epoch + 1, "running"
            row.started_at, row.lease_until = now, now + timedelta(seconds=MOST_SECONDS + MARGIN_SECONDS)
            claimed.append(TestClaim(row.login_setup_test_id, row.lease_epoch))
        return claimed


def work_on(core: Core, claimed: TestClaim, *, stop: StopSignal | None = None) -> str:
    """Run a claimed test to its end; its state. A test that was stopped with its agent waits for another one."""
    with core.db.read() as session:
        row = session.get_one(LoginSetupTest, claimed.test_id)
    plan = preparing.plan_from_document(row.plan, 1)
    try:
        state, message, exit_status = _run(core, plan, row.log_name or "", stop)
    except (PomsError, OSError) as problem:
        state, message, exit_status = "failed", str(problem), None
    if stop is not None and stop.is_set():
        state, message = "queued", None
    with core.db.write() as session:
        row = session.get_one(LoginSetupTest, claimed.test_id, with_for_update=True)
        if row.lease_epoch != claimed.epoch or row.state != "running":
            return "lost"
        row.state, row.message, row.exit_status, row.lease_until = state, message, exit_status, None
        row.ended_at = None if state == "queued" else core.clock()
    return state


def _run(core: Core, plan: LaunchPlan, log_name: str, stop: StopSignal | None) -> tuple[str, str, int | None]:
    """State, message and exit status of one run."""
    lacking = ""
    try:
        given = credentials.issue(core, plan)
    except CredentialsLacking as problem:
        given, lacking = Given(), str(problem)
    key = secrets.token_hex(8)
    script = shell.login_setup_test_script(plan, core.backends.jobs(plan.experiment).environment(plan), key,
                                           files=given.files, credentials=given.variables)
    log = launch_logs.LaunchLog(launch_logs.path_of(core, log_name), given.hider())
    with log:
        log.begin(f"== test of a login setup: {plan.account or 'the service'} on {plan.host or 'this host'} ==\n")
        try:
            result = core.backends.transport(plan.experiment).run(
                plan.host, plan.account, script, log=log, timeout_seconds=MOST_SECONDS,
                max_output_bytes=MOST_OUTPUT_BYTES, stop=stop,
                **({} if given.files is None else {"files": given.files}))
        except BackendUnavailable as unreached:
            log.write(f"\n{unreached}\n".encode())
            raise
        if result.reason or lacking:
            log.write(f"\n{result.reason or lacking}\n".encode())
    state, message = _judge(result, key)
    if lacking:
        state, message = "failed", f"{lacking} {message}"
    return state, given.hider().whole(message), result.exit_status


def _judge(result: TransportResult, key: str) -> tuple[str, str]:
    """What a run came to. Only the line with this run's key counts: a setup may print whatever it likes."""
    if result.reason:
        return "failed", result.reason
    found = re.search(rf"^{shell.SETUP_MARK} {key}: (\d+) (yes|no)\r?$", result.output, re.MULTILINE)
    if found is None:
        return "failed", (f"The setup ended the shell (exit status {result.exit_status}): launches would get no "
                          "further. Take exit and exec out of it.")
    if found[1] != "0":
        return "failed", f"The setup ended with exit status {found[1]}; the log says more."
    if found[2] == "no":
        return "passed", "Login and setup work. There is no jobsub_submit on PATH: the launch script must bring it."
    return "passed", "Login and setup work, and jobsub_submit is there."


def documents(rows: Collection[LoginSetupTest], names: dict[int, str]) -> list[dict[str, Any]]:
    """Tests as programs and pages see them."""
    return [{"id": row.login_setup_test_id, "state": row.state, "message": row.message or "",
             "tester": names.get(row.tester, ""), "asked_at": row.created, "ended_at": row.ended_at,
             "seconds": (row.ended_at - row.started_at).total_seconds() if row.ended_at and row.started_at else None}
            for row in rows]
