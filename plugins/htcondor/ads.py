"""Between ClassAds and POMS: texts as ClassAd strings, conditions that select jobs, ads as job records.

Pure. Invariant: whatever a campaign or stage is called, in an ad it is a string and nothing else; numbers that an
ad lacks or that make no sense are absent, not zero.
"""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from poms.webservice.errors import Invalid
from poms.webservice.interfaces import FoundCluster, JobRecord, JobState
from poms.webservice.rules import hold_codes

Ad = Mapping[str, Any]

SUBMISSION, ATTEMPT = "POMS4_SUBMISSION_ID", "POMS4_LAUNCH_ATTEMPT"
PROJECT, COMMAND = "SAM_PROJECT_NAME", "POMS4_COMMAND"
DAGMAN_UNIVERSE = 7
MAX_HOLD_REASON = 1000
NOT_ARRIVED = "its input files did not arrive at the schedd"
"""Why jobs are removed whose submit broke off; the schedd itself says that staging failed."""

# Our job wrapper cannot put a job on hold itself: it ends by one of these signals, and the submit description turns
# that into a hold with this subcode. They are the last real-time signals, which no program uses by accident.
WRAPPER_SIGNALS = {63: 6, 62: 12, 61: 13}
WRAPPER_SUBCODES = {9000 + code: code for code in WRAPPER_SIGNALS.values()}

JOB_ATTRIBUTES = (
    SUBMISSION, "ClusterId", "ProcId", "GlobalJobId", "JobUniverse", "JobStatus", "EnteredCurrentStatus", "QDate",
    "JobStartDate", "JobCurrentStartDate", "CompletionDate", "ExitBySignal", "ExitCode", "ExitSignal", "HoldReason",
    "HoldReasonCode", "HoldReasonSubCode", "NumJobStarts", "NumShadowStarts", "NumJobReconnects",
    "RemoteWallClockTime", "RemoteUserCpu", "RemoteSysCpu", "ResidentSetSize", "RequestMemory", "RemoteHost",
    "LastRemoteHost", "MATCH_GLIDEIN_Site", "MATCH_EXP_JOB_GLIDEIN_Site", "ServerTime", "StageInFinish", "RemoveReason")
CLUSTER_ATTRIBUTES = ("ClusterId", "ProcId", "JobUniverse", SUBMISSION, ATTEMPT, "TotalSubmitProcs", PROJECT, COMMAND,
                      "SAM_PROJECT", "JobsubCmd", "Cmd", "Args", "Arguments", "Env", "Environment", "DAG_NodesTotal",
                      "DAGManJobId", "JobStatus", "HoldReasonCode", "StageInFinish", "RemoveReason", "QDate",
                      "ServerTime")
GROUP_ATTRIBUTES = (SUBMISSION, "JobStatus", "HoldReasonCode", "HoldReasonSubCode", "JobUniverse", "TotalSubmitProcs",
                    "JobMaterializeNextProcId")

WAITING_FOR_INPUT = f"JobStatus == 5 && HoldReasonCode == {hold_codes.SPOOLING} && StageInFinish =?= undefined"
"""What ``is_waiting_for_input`` says, as a condition: a schedd then acts on no job that it has just let go."""

# condor_hold adds who held it, which is always the service's own account.
_BY_USER = re.compile(r" \(by user [^()]*\)\Z")
_JOB_ID = re.compile(r"(\d{1,10})(?:\.(\d{1,9}))?@(\S+)")


def quote(text: str) -> str:
    """``text`` as a ClassAd string of a submit description, where only a quotation mark can be escaped.

    Newlines and other control characters, which cannot be written there, become blanks. HTCondor replaces ``$$(name)``
    in any attribute when a job is matched, and holds the job if there is no such name; no escape protects from that, so
    a blank follows the dollars.
    """
    text = re.sub(r"[\x00-\x1f\x7f]", " ", text)
    text = re.sub(r"\$\$(?=\w*[(\[])", "$$ ", text)
    # A backslash stands for itself, also before the final quotation mark.
    text = text.encode(errors="backslashreplace").decode().replace('"', '\\"')
    # What would be a macro or a call of a submit description; two dollars in a row would be something else again.
    return '"' + re.sub(r"(?<!\$)\$(?=\w*\()", "$(DOLLAR)", text) + '"'


def literal(value: str | int) -> str:
    """A text or whole number as it is written in an ad."""
    return str(value) if isinstance(value, int) else quote(value)


# ------------------------------------------------------------------------------------------------- conditions


def parse_job_id(text: str) -> tuple[int, int | None, str]:
    """Cluster, proc (None: all of them) and schedd of ``12.0@schedd``; the schedd's name may hold another @."""
    match = _JOB_ID.fullmatch(text)
    if not match:
        raise Invalid(f"{text!r} is no job id; it looks like 12.0@schedd, or 12@schedd for a whole cluster.")
    return int(match[1]), None if match[2] is None else int(match[2]), match[3]


def ours(extra: str) -> str:
    """The condition that a job carries a POMS submission id (and meets ``extra``)."""
    mine = f"({SUBMISSION} =!= undefined && {SUBMISSION} > 0)"
    return f"{mine} && ({extra})" if extra else mine


def of_submissions(submission_ids: Iterable[int]) -> str:
    numbers = sorted({int(number) for number in submission_ids})
    if len(numbers) == 1:
        return f"{SUBMISSION} == {numbers[0]}"
    return f"member({SUBMISSION}, {{{', '.join(map(str, numbers))}}})"


def of_jobs(jobs: Iterable[tuple[int, int | None]]) -> str:
    """Jobs and whole clusters, with as few comparisons as neighbours allow."""
    whole = sorted({cluster for cluster, proc in jobs if proc is None})
    single: dict[int, set[int]] = defaultdict(set)
    for cluster, proc in jobs:
        if proc is not None and cluster not in whole:
            single[cluster].add(proc)
    terms = [f"ClusterId == {cluster}" for cluster in whole]
    for cluster, procs in sorted(single.items()):
        parts = [f"ProcId == {first}" if first == last else f"(ProcId >= {first} && ProcId <= {last})"
                 for first, last in ranges(procs)]
        terms.append(f"(ClusterId == {cluster} && ({' || '.join(parts)}))")
    return " || ".join(terms) if terms else "false"


def ranges(numbers: Collection[int]) -> list[tuple[int, int]]:
    """Runs of neighbouring numbers: {0, 1, 2, 7} is [(0, 2), (7, 7)]."""
    found: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if found and found[-1][1] == number - 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


# ------------------------------------------------------------------------------------ input that did not arrive


def is_waiting_for_input(ad: Ad) -> bool:
    """A job in the queue whose input files are on their way, or will never come."""
    return ad.get("JobStatus") == 5 and ad.get("HoldReasonCode") == hold_codes.SPOOLING \
        and ad.get("StageInFinish") is None


def is_wreck(ad: Ad) -> bool:
    """A job that is gone because its submit broke off: it was never there for anybody to be counted."""
    reason = ad.get("RemoveReason")
    return ad.get("JobStatus") == 3 and ad.get("StageInFinish") is None and isinstance(reason, str) \
        and (NOT_ARRIVED in reason or "Staging of job files failed" in reason)


# ---------------------------------------------------------------------------------------------------- records


def batch_id(ad: Ad, schedd: str) -> str:
    return f"{ad['ClusterId']}.{ad['ProcId']}@{schedd}"


def is_job(ad: Ad) -> bool:
    """A real job of a submission: DAGMan's own jobs carry the id too and are none."""
    return isinstance(ad.get(SUBMISSION), int) and not isinstance(ad[SUBMISSION], bool) and ad[SUBMISSION] > 0 \
        and ad.get("JobUniverse") != DAGMAN_UNIVERSE


def hold_code(ad: Ad) -> int | None:
    code, subcode = _whole(ad, "HoldReasonCode"), _whole(ad, "HoldReasonSubCode")
    if code == 3 and subcode in WRAPPER_SUBCODES:
        return WRAPPER_SUBCODES[subcode]
    return hold_codes.normalise(code, subcode)


def live_state(ad: Ad, *, is_stuck: bool = False) -> JobState | None:
    """The state of a job in the queue; None if it only waits to be cleared away.

    A spooled job is born held until its input files have arrived; that is waiting, unless it is ``is_stuck``.
    """
    status = ad.get("JobStatus")
    if status == 5:
        spooling = ad.get("HoldReasonCode") == hold_codes.SPOOLING
        return JobState.IDLE if spooling and not is_stuck else JobState.HELD
    return {0: JobState.IDLE, 1: JobState.IDLE, 2: JobState.RUNNING, 6: JobState.RUNNING,
            7: JobState.RUNNING}.get(status) if isinstance(status, int) else None


def final_state(ad: Ad) -> JobState:
    """How a job ended. What it exited with counts first: a finished job may be removed while its output waits."""
    signal = _whole(ad, "ExitSignal") if ad.get("ExitBySignal") is True else None
    if signal is not None and signal not in WRAPPER_SIGNALS and _completed(ad):
        return JobState.FAILED
    if signal is None and _whole(ad, "ExitCode") is not None and _completed(ad):
        return JobState.COMPLETED if ad["ExitCode"] == 0 else JobState.FAILED
    return JobState.COMPLETED if ad.get("JobStatus") == 4 else JobState.REMOVED


def _completed(ad: Ad) -> bool:
    # A job that was held by on_exit_hold, or runs again, still has the exit code of its earlier run.
    return ad.get("JobStatus") == 4 or (_whole(ad, "CompletionDate") or 0) > 0


def record(ad: Ad, schedd: str, state: JobState) -> JobRecord:
    """An ad of queue or history as the rest of POMS sees it."""
    since = _moment(ad, "EnteredCurrentStatus") or _moment(ad, "QDate") or datetime.fromtimestamp(0, UTC)
    exited = state in (JobState.COMPLETED, JobState.FAILED)
    by_signal = exited and ad.get("ExitBySignal") is True
    held = state == JobState.HELD
    kib = _number(ad, "ResidentSetSize")
    cpu = [_number(ad, name) for name in ("RemoteUserCpu", "RemoteSysCpu")]
    starts = _starts(ad, state)
    return JobRecord(
        submission_id=ad[SUBMISSION], batch_id=batch_id(ad, schedd), state=state, since=since, site=_site(ad),
        node=_node(ad), exit_code=_whole(ad, "ExitCode") if exited and not by_signal else None,
        exit_signal=_whole(ad, "ExitSignal") if by_signal else None, hold_code=hold_code(ad) if held else None,
        hold_reason=_BY_USER.sub("", str(ad.get("HoldReason", "")))[:MAX_HOLD_REASON] if held else "",
        cpu_seconds=None if None in cpu else sum(part for part in cpu if part is not None),
        wall_seconds=_wall_seconds(ad, state),
        memory_used_mb=int(-(-kib // 1024)) if kib and starts else None,
        memory_asked_mb=_whole(ad, "RequestMemory"), attempts=starts,
        started_at=_moment(ad, "JobCurrentStartDate") or _moment(ad, "JobStartDate"),
        ended_at=(_moment(ad, "CompletionDate") or since) if state.is_final else None)


def _starts(ad: Ad, state: JobState) -> int:
    """How often it began to run. NumJobStarts misses runs that were cut short before they reported."""
    shadows = (_whole(ad, "NumShadowStarts") or 0) - (_whole(ad, "NumJobReconnects") or 0)
    return max(_whole(ad, "NumJobStarts") or 0, shadows, int(state == JobState.RUNNING))


def _wall_seconds(ad: Ad, state: JobState) -> float | None:
    started, now = _whole(ad, "JobCurrentStartDate"), _whole(ad, "ServerTime")
    if state == JobState.RUNNING:
        # RemoteWallClockTime is of earlier runs only until the run is over.
        return None if started is None or now is None else float(max(0, now - started))
    ended = _whole(ad, "CompletionDate") or _whole(ad, "EnteredCurrentStatus")
    if started is None:
        return None
    if state.is_final and ended is not None and ended >= started:
        return float(ended - started)
    return _number(ad, "RemoteWallClockTime")


def _site(ad: Ad) -> str:
    for name in ("MATCH_EXP_JOB_GLIDEIN_Site", "MATCH_GLIDEIN_Site"):
        value = ad.get(name)
        if isinstance(value, str) and value and "$$(" not in value:
            return value
    return ""


def _node(ad: Ad) -> str:
    """The machine's name: ``slot1_2@glidein_7@node.example`` is a slot on node.example."""
    host = ad.get("RemoteHost") or ad.get("LastRemoteHost")
    return host.rpartition("@")[2] if isinstance(host, str) else ""


def _whole(ad: Ad, name: str) -> int | None:
    value = ad.get(name)
    if isinstance(value, bool):
        return None
    return int(value) if isinstance(value, int | float) else None


def _number(ad: Ad, name: str) -> float | None:
    value = ad.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _moment(ad: Ad, name: str) -> datetime | None:
    seconds = _whole(ad, name)
    return datetime.fromtimestamp(seconds, UTC) if seconds and 0 < seconds < 10**11 else None


# --------------------------------------------------------------------------------------------------- clusters


def clusters(ads: Iterable[Ad], schedd: str) -> list[FoundCluster]:
    """The clusters that jobs of queue and history belong to, in order; a job may come twice."""
    procs: dict[int, set[int]] = defaultdict(set)
    first: dict[int, Ad] = {}
    begun: dict[int, set[tuple[int, int]]] = defaultdict(set)
    for ad in ads:
        if (leader := _whole(ad, "DAGManJobId")) is not None:
            begun[leader].add((ad["ClusterId"], ad["ProcId"]))
        if ad.get("JobUniverse") == DAGMAN_UNIVERSE:
            procs[ad["ClusterId"]] |= set()
        else:
            procs[ad["ClusterId"]].add(ad["ProcId"])
        first.setdefault(ad["ClusterId"], ad)
    found = []
    for cluster in sorted(procs):
        ad = first[cluster]
        attempt = ad.get(ATTEMPT)
        jobs = len(procs[cluster])
        if jobs:
            jobs = max(jobs, _whole(ad, "TotalSubmitProcs") or 0)
        elif "DAGManJobId" not in ad:
            # DAGMan stands for the jobs of its graph that it has not submitted yet.
            jobs = max(0, (_whole(ad, "DAG_NodesTotal") or 0) - len(begun[cluster]))
        found.append(FoundCluster(f"{cluster}@{schedd}", jobs, attempt if isinstance(attempt, int) else 1,
                                  project=project(ad), command=command(ad)))
    return found


def is_growing(ad: Ad) -> bool:
    """Whether the schedd itself adds jobs to those of which this is one (or a group): DAGMan's graph, a factory.

    DAGMan is there for as long as jobs of its graph are to come; a factory says which job of how many is its next.
    """
    following, all_of_it = _whole(ad, "JobMaterializeNextProcId"), _whole(ad, "TotalSubmitProcs")
    return ad.get("JobUniverse") == DAGMAN_UNIVERSE or (
        following is not None and all_of_it is not None and following < all_of_it)


def arguments(ad: Ad) -> list[str]:
    """The job's arguments, from either of the forms in which HTCondor keeps them."""
    text = ad.get("Arguments")
    if isinstance(text, str):
        return _second_syntax(text)
    text = ad.get("Args")
    return text.split() if isinstance(text, str) else []


def environment(ad: Ad) -> dict[str, str]:
    text = ad.get("Environment")
    if isinstance(text, str):
        words: Sequence[str] = _second_syntax(text)
    else:
        old = ad.get("Env")
        words = old.split(";") if isinstance(old, str) else []
    return {name: value for name, equals, value in (word.partition("=") for word in words) if equals}


def _second_syntax(text: str) -> list[str]:
    """Words separated by blanks; single quotes hold a word together and a doubled one stands for itself."""
    words: list[str] = []
    for match in re.finditer(r"(?:[^\s']|'(?:[^']|'')*')+", text):
        words.append(re.sub(r"'((?:[^']|'')*)'", lambda part: part[1].replace("''", "'"), match[0]))
    return words


def project(ad: Ad) -> str:
    """The project that feeds a cluster: its own attribute, its arguments, or its environment."""
    named = ad.get(PROJECT)
    if isinstance(named, str) and named:
        return named
    words = arguments(ad)
    for position, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in ("--sam_project", "--project_name"):
            following = words[position + 1] if position + 1 < len(words) else ""
            return value if equals else following
    found = environment(ad)
    return found.get("SAM_PROJECT_NAME") or found.get("SAM_PROJECT") or ""


def command(ad: Ad) -> str:
    """The command line that made a cluster, or at least what it runs."""
    text = ad.get(COMMAND)
    if isinstance(text, str) and text:
        return text
    # jobs of jobsub_lite start a script of its own, which starts this.
    program = ad.get("JobsubCmd") or ad.get("Cmd")
    return shlex.join([program, *arguments(ad)]) if isinstance(program, str) else ""
