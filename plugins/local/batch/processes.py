"""Looking at and ending the processes of a job, through /proc.

Not for deciding anything about jobs (that is ``supervisor``). Invariant: a process is only ever named by
pid *and* start time, or found by something it cannot share with a stranger, so a reused pid is never hit.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

DAEMON_MARK = "_POMS_LOCAL_BATCH_DAEMON"
JOB_MARK = "_POMS_LOCAL_BATCH_JOB"

FREEZE_SECONDS = 1.0

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NAME = 15
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Process:
    """One line of /proc/PID/stat, as far as it is needed."""

    pid: int
    state: str
    parent: int
    session: int
    cpu_seconds: float
    started: int
    rss_bytes: int


def reaped() -> Iterator[tuple[int, int, resource.struct_rusage]]:
    """The children that have ended, each with its wait status and what it used; does not wait for others."""
    while True:
        try:
            pid, status, used = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield pid, status, used


def become_subreaper() -> None:
    """Orphans below this process become its children instead of init's."""
    if _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def set_name(name: str) -> None:
    """What ps shows; at most 15 bytes."""
    _libc.prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def boot_identity() -> str:
    """Changes whenever all processes were lost at once: a reboot, or a restart of the container we live in."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    init = find_process(1)
    return f"{boot}:{init.started if init else 0}"


def find_process(pid: int) -> Process | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The program's name is in brackets and may itself contain brackets and blanks.
    words = text[text.rindex(b")") + 2:].split()
    return Process(pid, words[0].decode(), int(words[1]), int(words[3]), sum(map(int, words[11:15])) / _TICKS,
                   int(words[19]), int(words[21]) * _PAGE)


def start_ticks(pid: int) -> int:
    process = find_process(pid)
    if process is None:
        raise ProcessLookupError(f"There is no process {pid}.")
    return process.started


def is_alive(pid: int, started: int) -> bool:
    """Whether this very process is still there and not merely waiting to be reaped."""
    process = find_process(pid)
    return process is not None and process.started == started and process.state not in "ZX"


def age_seconds(started: int) -> float:
    """How long ago a process with this start time began; steps of the wall clock do not matter."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started / _TICKS


def _environ(pid: int) -> bytes:
    try:
        return b"\0" + Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found.extend(map(int, (task / "children").read_bytes().split()))
    except OSError:
        return found  # it ended meanwhile; its children have become somebody else's
    return found


def orphans(reaper: int) -> list[int]:
    """What has become a child of this supervisor: its runner, which is a daemon of ours, and the job's orphans."""
    return _children(reaper)


def descendants(roots: Iterable[int]) -> set[int]:
    """The roots and everything below them, but no daemon of ours that happens to have been started there."""
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        if pid not in found and f"\0{DAEMON_MARK}=".encode() not in _environ(pid):
            found.add(pid)
            waiting.extend(_children(pid))
    return found


def family(job_pid: int, job_started: int, *, reaper: int, mark: str) -> set[int]:
    """Every process of a job: below it, orphaned to its supervisor, of its session, or carrying its mark."""
    leads = is_alive(job_pid, job_started)
    roots = [job_pid] if leads else []
    members = descendants([*roots, *orphans(reaper)])
    wanted = f"\0{JOB_MARK}={mark}\0".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) in members:
            continue
        process = find_process(int(entry.name))
        # A session's number is its own for certain only while its leader lives.
        if process and ((leads and process.session == job_pid) or wanted in _environ(process.pid)):
            members.add(process.pid)
    return members - {os.getpid(), reaper}


def usage(pids: Iterable[int]) -> tuple[int, float]:
    """Resident bytes and CPU seconds of some processes together."""
    resident, cpu = 0, 0.0
    for pid in pids:
        process = find_process(pid)
        if process:
            resident += process.rss_bytes
            cpu += process.cpu_seconds
    return resident, cpu


def proportional_bytes(pids: Iterable[int]) -> int:
    """Memory with pages that several processes share counted once; slower, and never more than ``usage``."""
    total = 0
    for pid in pids:
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:"))
    return total


def freeze(pid: int, started: int) -> bool:
    """Stop a process (SIGSTOP); False if it has ended by itself. Until SIGCONT it then cannot end any more."""
    limit = time.monotonic() + FREEZE_SECONDS
    while is_alive(pid, started):
        signal_all([pid], signal.SIGSTOP)
        process = find_process(pid)
        if process is not None and process.state in "Tt":
            return True
        # In the kernel, waiting for a device: neither frozen nor ended, but certainly not finished.
        if time.monotonic() > limit:
            return True
        time.sleep(0.002)
    return False


def signal_all(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
