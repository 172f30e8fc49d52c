#!/usr/bin/env python3
"""A real HTCondor pool of a test session's own, from Debian packages, on loopback, gone without trace afterwards.

``provision`` makes the system it runs in once (debootstrap, some 700 MB, kept); ``Pool`` starts one pool in it. By
hand: ``python condor_pool.py run`` prints the settings of [htcondor] as JSON and runs until its input ends.
Invariant: only processes whose root is that system and whose pool directory is ours are ever stopped.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

SUITE = "trixie"
ROOT = Path(os.environ.get("POMS_TEST_POOL_ROOT", "/var/tmp/poms-test-pool/root"))
PACKAGES = ("ca-certificates", "python3", "procps")
ACCOUNT, ACCOUNT_ID, DOMAIN = "physicist", 24711, "pool.test"
SCHEDDS = ("schedd1.pool.test", "small@schedd1.pool.test")
# Node and site of each execute daemon, and its slots: enough to tell sites and nodes apart.
NODES = (("wn1.north.test", "North", 6), ("wn2.south.test", "South", 6), ("wn3.south.test", "South", 4))
PROGRAMS = ("condor_q", "condor_history", "condor_submit", "condor_hold", "condor_release", "condor_rm",
            "condor_status", "condor_transfer_data", "condor_tail", "condor_config_val", "condor_who", "condor_version",
            "condor_off", "condor_qedit", "condor_advertise", "condor_reconfig", "condor_submit_dag")
TOOLS = ("unshare", "nsenter", "chroot", "setpriv")
START_SECONDS = 90.0
STOP_SECONDS = 20.0

CONFIGURATION = """\
LOCAL_DIR = /pool
RELEASE_DIR = /usr
BIN = /usr/bin
SBIN = /usr/sbin
LIB = /usr/lib/condor
ETC = /etc/condor
LIBEXEC = /usr/libexec/condor
SHARE = /usr/share/condor
LOG = /pool/log
SPOOL = /pool/spool
EXECUTE = /pool/execute
LOCK = /pool/lock
RUN = /pool/run
CONDOR_IDS = {condor_ids}
use ROLE : CentralManager
use ROLE : Submit
use ROLE : Execute
use SECURITY : recommended_v9_0
CONDOR_HOST = 127.0.0.1
COLLECTOR_HOST = 127.0.0.1:{port}
SHARED_PORT_PORT = {port}
USE_SHARED_PORT = True
NETWORK_INTERFACE = 127.0.0.1
BIND_ALL_INTERFACES = False
NETWORK_HOSTNAME = {schedds[0]}
ENABLE_IPV6 = False
UID_DOMAIN = {domain}
TRUST_DOMAIN = {domain}
FILESYSTEM_DOMAIN = {domain}
SEC_PASSWORD_DIRECTORY = /pool/passwords.d
SEC_TOKEN_POOL_SIGNING_KEY_FILE = /pool/passwords.d/POOL
SEC_TOKEN_SYSTEM_DIRECTORY = /pool/tokens.d
ALLOW_READ = *
ALLOW_WRITE = {account}@{domain} root@{domain} condor@{domain}
ALLOW_ADMINISTRATOR = root@{domain} condor@{domain}
ALLOW_DAEMON = condor@{domain} root@{domain} condor_pool@{domain}
SEC_READ_AUTHENTICATION = OPTIONAL

DAEMON_LIST = MASTER SHARED_PORT COLLECTOR NEGOTIATOR SCHEDD SCHEDD2 {startds}
SCHEDD2 = $(SCHEDD)
SCHEDD2_ARGS = -f -local-name small
SCHEDD2_LOG = /pool/log/SchedLog.small
small.SCHEDD_NAME = {schedds[1]}
small.SPOOL = /pool/spool2
small.SCHEDD_LOG = /pool/log/SchedLog.small
small.SCHEDD_ADDRESS_FILE = /pool/spool2/.schedd_address
small.SCHEDD_DAEMON_AD_FILE = /pool/spool2/.schedd_classad
small.HISTORY = /pool/spool2/history
small.JOB_EPOCH_HISTORY = /pool/spool2/epoch
small.MAX_HISTORY_LOG = 30000
small.MAX_HISTORY_ROTATIONS = 1
{nodes}
HAS_usage_model = "DEDICATED,OPPORTUNISTIC,OFFSITE"
STARTD_ATTRS = $(STARTD_ATTRS) GLIDEIN_Site HAS_usage_model
# By these jobsub_lite finds the schedds that it may choose among; by the one above its jobs find slots.
IsJobsubLite = True
SupportedVOList = "samdev, fermilab"
small.IsJobsubLite = False
InDownTime = False
SCHEDD_ATTRS = $(SCHEDD_ATTRS) IsJobsubLite SupportedVOList InDownTime
EVENT_LOG = /pool/events/log
EVENT_LOG_FORMAT_OPTIONS = ISO_DATE, UTC
EVENT_LOG_MAX_SIZE = 200000
EVENT_LOG_MAX_ROTATIONS = 2
EVENT_LOG_JOB_AD_INFORMATION_ATTRS = {event_attributes}

# Quick rather than frugal: tests wait for what these decide.
NEGOTIATOR_INTERVAL = 2
NEGOTIATOR_CYCLE_DELAY = 1
NEGOTIATOR_MIN_INTERVAL = 1
SCHEDD_INTERVAL = 2
SCHEDD_MIN_INTERVAL = 1
UPDATE_INTERVAL = 5
POLLING_INTERVAL = 1
CLAIM_WORKLIFE = 3600
PERIODIC_EXPR_INTERVAL = 2
STARTER_INITIAL_UPDATE_INTERVAL = 1
STARTER_UPDATE_INTERVAL = 1
SHADOW_QUEUE_UPDATE_INTERVAL = 1
PID_SNAPSHOT_INTERVAL = 1
PROCD_MAX_SNAPSHOT_INTERVAL = 1
MASTER_BACKOFF_CONSTANT = 1
MASTER_BACKOFF_CEILING = 2
SHUTDOWN_FAST_TIMEOUT = 5
SHUTDOWN_GRACEFUL_TIMEOUT = 5
KILLING_TIMEOUT = 3
MachineMaxVacateTime = 2
MAX_JOBS_PER_SUBMISSION = 20000
MAX_JOBS_PER_OWNER = 200000
# Tests' directories are below /tmp, where DAGMan would not write its log.
DAGMAN_USE_STRICT = 0
SUBMIT_REQUIREMENT_NAMES = Site
SUBMIT_REQUIREMENT_Site = ForbiddenHere =!= true
SUBMIT_REQUIREMENT_Site_REASON = "such jobs are not wanted at this site"

MOUNT_UNDER_SCRATCH =
USE_PID_NAMESPACES = False
BASE_CGROUP =
RunBenchmarks = False
START = True
SUSPEND = False
KILL = False
MEMORY_EXCEEDED = ((MemoryUsage > TARGET.RequestMemory) =?= True)
PREEMPT = $(MEMORY_EXCEEDED)
WANT_HOLD = $(MEMORY_EXCEEDED)
WANT_HOLD_SUBCODE = 102
WANT_HOLD_REASON = strcat("memory used, ", MemoryUsage, " MB, is more than the ", TARGET.RequestMemory, " MB asked for")
"""

EVENT_ATTRIBUTES = ("POMS4_SUBMISSION_ID", "GlobalJobId", "JobStatus", "ExitBySignal", "ExitCode", "ExitSignal",
                    "EnteredCurrentStatus", "JobStartDate", "JobCurrentStartDate", "CompletionDate", "RequestMemory",
                    "MemoryUsage", "ResidentSetSize", "RemoteUserCpu", "RemoteSysCpu", "RemoteWallClockTime",
                    "NumJobStarts", "RemoteHost", "LastRemoteHost", "MATCH_GLIDEIN_Site",
                    "MATCH_EXP_JOB_GLIDEIN_Site", "JobUniverse")


class PoolError(Exception):
    """The pool cannot be made or does not start; says why."""


def lacking(root: Path = ROOT) -> str:
    """Why no pool can be run here; "" if one can."""
    problem = _lacking_programs(TOOLS)
    if problem:
        return problem
    if not _is_ready(root):
        # Never made by a test: that needs the network, and minutes.
        return f"no system for a pool in {root}; make it with: test/pool/condor_pool.py provision"
    return ""


def _lacking_programs(names: Sequence[str]) -> str:
    if os.geteuid() != 0:
        return "a throw-away HTCondor pool needs root"
    missing = [name for name in names if not shutil.which(name)]
    return f"{', '.join(missing)} not found; install util-linux, coreutils and debootstrap" if missing else ""


def _mirror() -> list[str]:
    """The package archive that this machine itself uses, if it says which; else debootstrap's own choice."""
    sources = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    texts = [path.read_text(errors="replace") for path in sources if path.is_file()]
    address = r"^(?:deb\s+(?:\[[^\]]*\]\s+)?|URIs:\s*)(\S+://\S+?)/?(?=\s|$)"
    return re.findall(address, "\n".join(texts), re.MULTILINE)[:1]


def _is_ready(root: Path) -> bool:
    return (root / ".poms-pool-ready").exists()


def provision(root: Path = ROOT, log: Path | None = None) -> Path:
    """Make the system that the pool runs in, unless it is there; raises PoolError with the end of its log."""
    root.parent.mkdir(parents=True, exist_ok=True)
    log = log or root.parent / "provision.log"
    with (root.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _is_ready(root):
            return root
        with log.open("ab") as output:
            # Not --include=condor: packages that start services must find policy-rc.d first.
            if not (root / "etc/debian_version").exists():
                _logged(["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, str(root),
                         *_mirror()], output, log)
            policy = root / "usr/sbin/policy-rc.d"
            policy.write_text("#!/bin/sh\nexit 101\n")
            policy.chmod(0o755)
            shutil.copyfile("/etc/resolv.conf", root / "etc/resolv.conf")
            _logged(["unshare", "--mount", "--propagation", "private", "bash", "-ec", _INSTALL, "install", str(root),
                     ACCOUNT, str(ACCOUNT_ID)], output, log)
        (root / ".poms-pool-ready").touch()
    return root


_INSTALL = """
root=$1
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
export DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin
chroot "$root" dpkg --configure -a
chroot "$root" apt-get -q update
chroot "$root" apt-get -q -y install --no-install-recommends condor
chroot "$root" id "$2" >/dev/null 2>&1 || chroot "$root" useradd --uid "$3" --create-home "$2"
mkdir -p "$root/pool"
"""


def _logged(command: Sequence[str], output, log: Path) -> None:
    if subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT).returncode:
        raise PoolError(f"{command[0]} failed: {log.read_text(errors='replace')[-1500:]}")


class Pool:
    """One running pool below ``directory``; use ``running_pool``.

    ``programs`` is a directory with condor_q and its companions for the host; ``token_directory`` lets a client be the
    ordinary user ``physicist``.
    """

    def __init__(self, directory: Path, root: Path = ROOT, share: Sequence[Path] = ()) -> None:
        self.directory, self.root = directory, root
        self.share = [Path("/tmp"), *share]
        self.port = _free_port()
        self.state = directory / "state"
        self.programs = directory / "bin"
        self.token_directory = directory / "tokens"
        self.schedds = SCHEDDS
        self.master: subprocess.Popen[bytes] | None = None

    @classmethod
    def attach(cls, directory: Path, root: Path = ROOT) -> Pool:
        """The pool that another process runs in ``directory``."""
        pool = cls(directory, root)
        pool.port = int(json.loads((directory / "pool.json").read_text())["collector"].rpartition(":")[2])
        return pool

    @property
    def master_pid(self) -> int:
        return int((self.directory / "master.pid").read_text())

    @property
    def collector(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def event_log(self) -> Path:
        """The event log of all jobs, as seen from the host."""
        return self.state / "events" / "log"

    def settings(self) -> dict[str, str]:
        """What [htcondor] must say to use this pool."""
        return {"collector": self.collector, "schedds": ", ".join(self.schedds[:1]), "pool": "test-pool",
                "token_directory": str(self.token_directory), "programs": str(self.programs)}

    # ---------------------------------------------------------------------------------- life

    def start(self) -> None:
        self._write_state()
        with (self.directory / "master.log").open("wb") as log:
            self.master = subprocess.Popen(
                ["unshare", "--mount", "--propagation", "private", "bash", "-ec", _ENTER, "enter", str(self.root),
                 str(self.state), *map(str, self.share)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        (self.directory / "master.pid").write_text(str(self.master.pid))
        self._write_programs()
        self._await(lambda: (self.state / "passwords.d/POOL").exists(), "make its signing key")
        self._make_token()
        slots = sum(node[2] for node in NODES)
        self._await(lambda: len(self.run("condor_status", "-af", "Name").stdout.split()) == slots,
                    f"list its {slots} slots")
        self._await(lambda: all(self.run("condor_q", "-name", name, "-totals").returncode == 0
                                for name in self.schedds), "answer for its schedds")
        (self.directory / "pool.json").write_text(json.dumps(self.settings()))

    def stop(self) -> None:
        if self.master is not None and self.master.poll() is None:
            self.master.send_signal(signal.SIGQUIT)
            with suppress(subprocess.TimeoutExpired):
                self.master.wait(STOP_SECONDS)
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.master is not None:
            self.master.kill()
            self.master.wait()

    def processes(self, name: str = "") -> list[int]:
        """Processes of this pool: those whose root is our system and that have our pool directory mounted."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                inside = (entry / "root").readlink() == self.root
                ours = inside and " /pool " in (entry / "mountinfo").read_text() \
                    and (entry / "root/pool/mark").read_text() == str(self.directory)
                if ours and (not name or (entry / "comm").read_text().strip() == name):
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    def daemon(self, name: str, local_name: str = "") -> int:
        """The pid of a daemon, e.g. ``condor_schedd``; the second schedd has the local name ``small``."""
        for pid in self.processes(name):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            # The schedd's own children (history and transfer helpers) have its name, but not its parent.
            parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
            given = words[words.index(b"-local-name") + 1].decode() if b"-local-name" in words else ""
            if given == local_name and int(parent) == self.master_pid:
                return pid
        raise PoolError(f"{name} does not run")

    def kill(self, name: str, local_name: str = "") -> None:
        """kill -9 of a daemon; condor_master starts it again by itself."""
        os.kill(self.daemon(name, local_name), signal.SIGKILL)

    def run(self, program: str, *words: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        """One of the pool's own programs, as the ordinary user."""
        return subprocess.run([str(self.programs / program), *words], input=text, capture_output=True, text=True,
                              timeout=120, check=False)

    # ------------------------------------------------------------------------------- making

    def _write_state(self) -> None:
        condor = next(line.split(":") for line in (self.root / "etc/passwd").read_text().splitlines()
                      if line.startswith("condor:"))
        owner, group = int(condor[2]), int(condor[3])
        for path in (self.directory, self.state):
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(0o755)
        for name in ("log", "spool", "spool2", "lock", "run", "execute", "events"):
            (self.state / name).mkdir()
            os.chown(self.state / name, owner, group)
            (self.state / name).chmod(0o755)
        for name in ("passwords.d", "tokens.d"):
            (self.state / name).mkdir(mode=0o700)
        (self.state / "mark").write_text(str(self.directory))
        nodes = []
        for number, (node, site, slots) in enumerate(NODES, 1):
            (self.state / f"execute{number}").mkdir()
            os.chown(self.state / f"execute{number}", owner, group)
            nodes.append(_NODE.format(number=number, node=node, site=site, slots=slots))
        startds = " ".join(f"STARTD{number}" for number in range(1, len(NODES) + 1))
        (self.state / "condor_config").write_text(CONFIGURATION.format(
            port=self.port, domain=DOMAIN, account=ACCOUNT, condor_ids=f"{owner}.{group}", schedds=self.schedds,
            startds=startds, nodes="\n".join(nodes), event_attributes=", ".join(EVENT_ATTRIBUTES)))

    def _write_programs(self) -> None:
        self.programs.mkdir(exist_ok=True)
        for name in PROGRAMS:
            path = self.programs / name
            before = f"case $PWD in */sandboxes/*) chown {ACCOUNT_ID}:{ACCOUNT_ID} .;; esac" \
                if name == "condor_submit" else ":"
            path.write_text(_PROGRAM.format(pid=self.master_pid, root=self.root, program=name, user=ACCOUNT_ID,
                                            tokens=self.token_directory, before=before))
            path.chmod(0o755)

    def _make_token(self) -> None:
        self.token_directory.mkdir(exist_ok=True)
        made = subprocess.run(
            ["nsenter", f"--mount=/proc/{self.master_pid}/ns/mnt", "chroot", str(self.root), "env",
             "CONDOR_CONFIG=/pool/condor_config", "condor_token_create", "-identity", f"{ACCOUNT}@{DOMAIN}"],
            capture_output=True, text=True, check=False)
        if made.returncode:
            raise PoolError(f"condor_token_create failed: {made.stderr}")
        token = self.token_directory / "pool"
        token.write_text(made.stdout)
        token.chmod(0o600)
        self.token_directory.chmod(0o700)

    def _await(self, condition: Callable[[], bool], what: str) -> None:
        limit = time.monotonic() + START_SECONDS
        while not condition():
            assert self.master is not None
            if self.master.poll() is not None or time.monotonic() > limit:
                raise PoolError(f"the pool did not {what}: {self._last_words()}")
            time.sleep(0.2)

    def _last_words(self) -> str:
        files = [self.directory / "master.log", self.state / "log/MasterLog"]
        return "\n".join(file.read_text(errors="replace")[-1500:] for file in files if file.exists())


# Becomes condor_master itself, so that its pid is known and its mounts are gone when it is.
_ENTER = """
root=$1 state=$2
shift 2
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --bind /sys "$root/sys"
for place; do
    mkdir -p "$root$place"
    mount --bind "$place" "$root$place"
done
mount --bind "$state" "$root/pool"
export CONDOR_CONFIG=/pool/condor_config PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8
cd /
exec chroot "$root" condor_master -f
"""

_NODE = """\
STARTD{number} = $(STARTD)
STARTD{number}_ARGS = -f -local-name node{number}
STARTD{number}_LOG = /pool/log/StartLog.{number}
node{number}.STARTD_LOG = /pool/log/StartLog.{number}
node{number}.STARTD_NAME = {node}
node{number}.NETWORK_HOSTNAME = {node}
node{number}.STARTD_ADDRESS_FILE = /pool/log/.startd_address.{number}
node{number}.STARTD_DAEMON_AD_FILE = /pool/log/.startd_classad.{number}
node{number}.EXECUTE = /pool/execute{number}
node{number}.NUM_CPUS = {slots}
node{number}.NUM_SLOTS = {slots}
node{number}.NUM_SLOTS_TYPE_1 = {slots}
node{number}.SLOT_TYPE_1 = cpus=1
node{number}.SLOT_TYPE_1_PARTITIONABLE = False
node{number}.MEMORY = 12000
node{number}.GLIDEIN_Site = "{site}"
"""

# An ordinary user, who may read what the tests' root account has written: condor_submit refuses root. It asks for the
# rights to its directory in a way that no capability helps with, so the directory is given to the user, whose own it
# is where the service has an account.
_PROGRAM = """\
#!/bin/sh
{before}
exec nsenter --mount=/proc/{pid}/ns/mnt chroot {root} setpriv --reuid {user} --regid {user} --clear-groups \\
    --inh-caps +dac_override,+dac_read_search --ambient-caps +dac_override,+dac_read_search \\
    env CONDOR_CONFIG=/pool/condor_config _CONDOR_SEC_TOKEN_DIRECTORY="${{_CONDOR_SEC_TOKEN_DIRECTORY:-{tokens}}}" \\
    sh -c 'cd "$0" 2>/dev/null; exec "$@"' "$PWD" {program} "$@"
"""


@contextmanager
def running_pool(directory: Path, root: Path = ROOT, share: Sequence[Path] = ()) -> Iterator[Pool]:
    """A pool that runs while the block does, or until the calling process dies, however it does."""
    shares = [word for place in share for word in ("--share", str(place))]
    with subprocess.Popen([sys.executable, __file__, "run", "--root", str(root), "--directory", str(directory),
                           *shares], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            if not process.stdout.readline():
                raise PoolError(f"the pool in {directory} did not start")
            yield Pool.attach(directory, root)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=["provision", "run", "lacking"],
                        help="lacking: say what is missing to run a pool here; exit status 0 if nothing is")
    parser.add_argument("--root", type=Path, default=ROOT, help="where the pool's Debian system is kept")
    parser.add_argument("--directory", type=Path, help="the pool's own directory (default: a temporary one)")
    parser.add_argument("--share", type=Path, action="append", default=[], metavar="DIR",
                        help="directory that jobs see as well; /tmp always")
    parser.add_argument("--provision", action="store_true", help="make the Debian system first, if it is not there")
    options = parser.parse_args(argv)
    makes = options.provision or options.action == "provision"
    problem = _lacking_programs((*TOOLS, "debootstrap")) if makes and not _is_ready(options.root) \
        else lacking(options.root)
    if problem:
        print(problem, file=sys.stderr)
        return 2
    if options.action == "lacking":
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        provision(options.root)
        if options.action == "provision":
            return 0
        directory = options.directory or Path(tempfile.mkdtemp(prefix="poms-pool-"))
        pool = Pool(directory, options.root, options.share)
        try:
            pool.start()
            print(json.dumps(pool.settings()), flush=True)
            sys.stdin.read()
        finally:
            pool.stop()
        if options.directory is None:
            shutil.rmtree(directory, ignore_errors=True)
    except PoolError as condition:
        print(condition, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
