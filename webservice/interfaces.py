"""What crosses the plugin border: value types, and the protocols that plugins implement.

Hooks (``hookspecs``) *offer* these, ``poms.ini`` *chooses* them by name, services *call* them.
Only the frozen types below cross; never database rows, never request objects. Times are aware
UTC datetimes. A backend that cannot reach its system raises ``BackendUnavailable``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol, runtime_checkable

# --------------------------------------------------------------------------- settings and offers


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of ``poms.ini``: what it is called, what it means, what holds if it is absent.

    ``type`` is ``str``, ``int``, ``float``, ``bool``, ``list`` (comma separated) or ``seconds``
    (a number with an optional unit s, m, h, d). ``default`` None means: required.
    """

    name: str
    type: str
    default: str | None
    help: str


@dataclass(frozen=True, slots=True)
class SettingsSection:
    """A section of ``poms.ini`` that a plugin reads, e.g. ``[local_batch]``."""

    name: str
    help: str
    settings: tuple[Setting, ...]


@dataclass(frozen=True)
class PluginContext:
    """All that a plugin is given to build a backend for one experiment.

    ``options``: the plugin's own section of poms.ini, converted by its ``SettingsSection``.
    ``data_dir``: the service's data directory; a plugin keeps its files below
    ``data_dir / <its name>``. ``secret(name)`` returns a random text that is made once and
    then stays the same for every process of the service.
    """

    experiment: str
    options: Mapping[str, Any]
    data_dir: Path
    database_url: str
    public_url: str
    clock: Callable[[], datetime]
    secret: Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Offer:
    """A backend that can be chosen by ``name``; ``factory`` builds it for one experiment.

    ``section`` names the ``SettingsSection`` whose values become ``PluginContext.options``.
    """

    name: str
    description: str
    factory: Callable[[PluginContext], Any]
    section: str = ""


@dataclass(frozen=True, slots=True)
class DatabaseOffer:
    """Tables that a plugin keeps in the service's database.

    ``metadata`` is a SQLAlchemy ``MetaData`` whose tables all begin with ``prefix``;
    ``migrations`` is a directory of Alembic revisions. ``poms db upgrade`` applies them
    with a version table of their own, ``alembic_version_<name>``.
    """

    name: str
    prefix: str
    metadata: Any
    migrations: Path


@dataclass(frozen=True, slots=True)
class WsgiMount:
    """A WSGI application that a plugin serves below ``prefix`` (e.g. ``/sam``).

    The plugin authenticates its callers itself: browsers' identities are not passed on.
    """

    prefix: str
    application: Callable[..., Iterable[bytes]]
    description: str


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One line of ``poms check``: ``level`` is ``ok``, ``warning`` or ``error``."""

    level: Literal["ok", "warning", "error"]
    subject: str
    message: str


@dataclass(frozen=True, slots=True)
class Health:
    """How a backend is: ``ok``, one sentence for people, and figures for a metrics page."""

    ok: bool
    message: str
    checked_at: datetime
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Link:
    """A link for people, e.g. to a monitoring page."""

    label: str
    url: str


# --------------------------------------------------------------------------------------- launches


@dataclass(frozen=True, slots=True)
class LaunchPlan:
    """Everything that is needed to start one submission; written before anything is touched.

    ``command`` and ``setup`` are shell text by design (written by people who may edit them);
    every value of ``environment`` is data and is quoted by ``rules.shell``. ``attempt`` counts
    from 1 and travels with the jobs as ``POMS4_LAUNCH_ATTEMPT``, the launch as ``POMS4_SUBMISSION_ID``.
    """

    submission_id: int
    attempt: int
    experiment: str
    group: str
    role: str
    launcher: str
    host: str
    account: str
    setup: str
    command: str
    environment: tuple[tuple[str, str], ...]
    dataset: str = ""
    test: bool = False


@dataclass(frozen=True, slots=True)
class BatchEnvironment:
    """What a launch script finds: directories put first on PATH, and variables to export."""

    path: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class TransportResult:
    """How a launch script ended. ``exit_status`` None: it was stopped (time or output limit)."""

    exit_status: int | None
    output: str
    reason: str = ""


FILES_VARIABLE = "POMS_LAUNCH_FILES"
"""Names, for a launch script, the directory of its private files."""
SANDBOX_VARIABLE = "POMS_LAUNCH_SANDBOX"
"""Names the directory of the files that are kept for a while."""


@dataclass(frozen=True, slots=True)
class PrivateFile:
    """A file for a launch host. ``name`` is one plain word; ``data`` is shown nowhere.

    ``exports``: variables of the launch script that hold the file's path, each with a text that stands before it.
    """

    name: str
    data: bytes = field(repr=False)
    exports: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class LaunchFiles:
    """The files of one run of a script, which no other account of its host may read.

    ``private`` are gone when the script has ended, however it ended. ``kept`` lie in a sandbox of this run's own; None:
    there is none. Each run removes what earlier ones left: sandboxes after ``keep_seconds``, and private files older
    than ``stale_seconds``, which belong to no run that is alive.
    """

    private: tuple[PrivateFile, ...] = ()
    kept: tuple[PrivateFile, ...] | None = None
    keep_seconds: float = 86400.0
    stale_seconds: float = 172800.0


@runtime_checkable
class StopSignal(Protocol):
    """Says when a launch is called off. ``fileno`` is readable from then on, for who waits for descriptors."""

    def is_set(self) -> bool: ...

    def fileno(self) -> int: ...


@runtime_checkable
class LaunchTransport(Protocol):
    """Runs a launch script as an account on a host; ``local`` here, ``ssh`` elsewhere.

    ``dies_with_caller``: a script does not outlive the process that runs it, so that after a crash
    a second attempt need not wait until the first could have ended by itself.
    """

    dies_with_caller: bool

    def run(self, host: str, account: str, script: str, *, log: BinaryIO, timeout_seconds: float,
            max_output_bytes: int, stop: StopSignal | None = None, files: LaunchFiles | None = None
            ) -> TransportResult:
        """Run ``script`` (bash, given over standard input), copying its output to ``log`` as it comes.

        Raises BackendUnavailable only when certainly nothing was started; any later doubt is a result without an
        exit status. When the time or output limit is passed, or ``stop`` is set, the whole process group is ended.
        ``files`` are there before the script begins, in directories that the variables ``FILES_VARIABLE`` and
        ``SANDBOX_VARIABLE`` name; they come near no argument list.
        """
        ...


@dataclass(frozen=True, slots=True)
class SubmitOutcome:
    """What came of a submit: jobs were ``started``, it was ``refused``, ``not_started``, or it is ``unclear``.

    ``refused``: the launch ran and left no jobs; trying again would not help. ``not_started``: certainly nothing
    was begun (the transport raised BackendUnavailable), so it is tried again and does not count as an attempt.
    ``unclear``: ask ``find`` before any second attempt. ``batch_ids`` are cluster ids, ``cluster@schedd``, in the
    order in which they were printed.
    """

    kind: Literal["started", "unclear", "refused", "not_started"]
    batch_ids: tuple[str, ...] = ()
    message: str = ""
    exit_status: int | None = None


# -------------------------------------------------------------------------------------------- jobs


class JobState(IntEnum):
    """States of one job. 1 to 5 are HTCondor's numbers; FAILED is a job that ended badly."""

    IDLE = 1
    RUNNING = 2
    REMOVED = 3
    COMPLETED = 4
    HELD = 5
    FAILED = 6

    @property
    def is_final(self) -> bool:
        return self in (JobState.REMOVED, JobState.COMPLETED, JobState.FAILED)


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One job as its batch system sees it. ``batch_id`` is ``cluster.proc@schedd``.

    Seconds are of the last run; memory is in MiB (1024 * 1024 bytes). ``attempts`` counts the times it was started.
    """

    submission_id: int
    batch_id: str
    state: JobState
    since: datetime
    site: str = ""
    node: str = ""
    exit_code: int | None = None
    exit_signal: int | None = None
    hold_code: int | None = None
    hold_reason: str = ""
    cpu_seconds: float | None = None
    wall_seconds: float | None = None
    memory_used_mb: int | None = None
    memory_asked_mb: int | None = None
    attempts: int = 0
    started_at: datetime | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class JobCount:
    """How many live jobs of a submission are in one state (and held for one reason code)."""

    submission_id: int
    state: JobState
    count: int
    hold_code: int | None = None


@dataclass(frozen=True, slots=True)
class PoolSnapshot:
    """All live jobs that carry a POMS submission id, counted in one query of the pool.

    ``growing`` are submissions to which the pool itself still adds jobs (a DAG or a job factory of which some have
    not begun): they have not ended, though none of their jobs may be live just now, and a job of them that leaves may
    not change any count.
    """

    taken_at: datetime
    counts: tuple[JobCount, ...]
    growing: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Departures:
    """Jobs that left the queue since a cursor, and the cursor to give next time.

    A record may be reported twice (the caller's writes are idempotent) but never skipped.
    """

    records: tuple[JobRecord, ...]
    cursor: str


@dataclass(frozen=True, slots=True)
class JobSelection:
    """Which jobs to act on: all of the submissions named, or exactly the batch ids named."""

    submission_ids: tuple[int, ...] = ()
    batch_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ActResult:
    """What an action did: jobs changed, jobs already so, and what was refused and why."""

    changed: int
    unchanged: int = 0
    refused: int = 0
    message: str = ""


@dataclass(frozen=True, slots=True)
class FoundCluster:
    """A cluster in queue or history that carries a submission's id.

    ``project`` and ``command`` are what the cluster itself records: the project that feeds its
    jobs, and the command line by which it was submitted; "" if it does not say.
    """

    batch_id: str
    jobs: int
    attempt: int = 1
    project: str = ""
    command: str = ""


@runtime_checkable
class JobBackend(Protocol):
    """A batch system, for one experiment. All methods may be called from any thread.

    ``pool`` names what it reads: back ends of several experiments with the same pool are polled once.
    """

    pool: str

    def environment(self, plan: LaunchPlan) -> BatchEnvironment:
        """What the launch script of ``plan`` finds on PATH and in its environment."""
        ...

    def submit(self, plan: LaunchPlan, script: str, transport: LaunchTransport, log: BinaryIO,
               timeout_seconds: float) -> SubmitOutcome:
        """Start the jobs of ``plan`` once. ``script`` is the whole launch script.

        Never raises for what the batch system says: doubt is ``unclear``. A transport that raised BackendUnavailable
        is ``not_started``.
        """
        ...

    def find(self, submission_id: int) -> list[FoundCluster]:
        """Clusters in queue *and* history that carry the id; raises BackendUnavailable in doubt."""
        ...

    def snapshot(self) -> PoolSnapshot:
        """Count every live job that carries a POMS id, in one query."""
        ...

    def departed(self, cursor: str) -> Departures:
        """Jobs that ended or were removed since ``cursor`` ("" = from the oldest still known)."""
        ...

    def jobs(self, submission_ids: Collection[int]) -> list[JobRecord]:
        """The live jobs of some submissions, one by one."""
        ...

    def act(self, action: Literal["hold", "release", "remove"], selection: JobSelection, reason: str) -> ActResult:
        """Hold, release or remove jobs; counts what changed. Nothing matching is not an error."""
        ...

    def fetch_log(self, batch_id: str, which: Literal["stdout", "stderr", "log"]) -> Iterator[bytes]:
        """The text a job wrote so far, in pieces. Raises NotFound if there is none (any more)."""
        ...

    def health(self) -> Health: ...


# ------------------------------------------------------------------------------------------- files


@dataclass(frozen=True, slots=True)
class SubmissionView:
    """What a data backend needs to know of a submission to find its files.

    ``patterns`` are the output patterns in force (``%`` is any text; one with a blank is a
    query fragment); ``ancestor_depth`` is the number of generations from input to output.
    ``clock_tolerance_seconds``: so much may the catalogue's clock be behind the service's.
    """

    submission_id: int
    experiment: str
    project: str
    dataset: str
    software_version: str
    created_at: datetime
    patterns: tuple[str, ...] = ("%",)
    ancestor_depth: int = 1
    stage_type: str = "regular"
    owner: str = ""
    owner_role: str = "production"
    jobs_expected: int = 0
    clock_tolerance_seconds: float = 0.0

    @property
    def made_after(self) -> datetime:
        """Only files that are younger than this, by the catalogue's clock, are this submission's output."""
        return self.created_at - timedelta(seconds=self.clock_tolerance_seconds)


@dataclass(frozen=True, slots=True)
class FileCounts:
    """Whether enough output is accounted for: ``located`` of ``expected`` (see ``unit``).

    With input: inputs that have located children of every pattern, of inputs consumed.
    Without input: located outputs, of outputs expected. ``generated`` counts output files.
    """

    located: int
    expected: int
    consumed: int = 0
    generated: int = 0
    unit: str = "input files"


@dataclass(frozen=True, slots=True)
class DerivedDataset:
    """A dataset that POMS is about to use: the query that defines it and its size now."""

    query: str
    count: int


@dataclass(frozen=True, slots=True)
class FileState:
    """One input file of a submission and what became of it.

    ``state`` is one of unknown, delivered, transferred, consumed, completed, skipped, failed, cancelled.
    """

    file_name: str
    state: str
    size_bytes: int | None = None
    job: str = ""


@dataclass(frozen=True, slots=True)
class OutputFile:
    """One file that a submission made; ``parents`` are the names of the inputs it came from."""

    file_name: str
    size_bytes: int | None = None
    located: bool = False
    parents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ProjectSummary:
    """The state of the delivery of one dataset to one submission's jobs."""

    project: str
    status: str
    definition: str
    snapshot_id: int | None
    files_in_snapshot: int
    file_counts: Mapping[str, int] = field(default_factory=dict)
    process_counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def consumed(self) -> int:
        return self.file_counts.get("consumed", 0) + self.file_counts.get("completed", 0)


@runtime_checkable
class DataBackend(Protocol):
    """A file catalogue and delivery system, for one experiment.

    A *query* is text in the backend's own language (SAM dimensions for ``local`` and ``sam``).
    A bad query raises ``Invalid`` with the position; an unknown definition or project ``NotFound``.
    """

    def count(self, query: str) -> int: ...

    def list(self, query: str, limit: int | None = None) -> list[str]:
        """File names in the backend's fixed order."""
        ...

    def sizes(self, names: Collection[str]) -> Mapping[str, int]:
        """The bytes of files, as far as they are known; for a page of names, not for a dataset."""
        ...

    def define(self, name: str, query: str, description: str = "") -> None:
        """Make the definition; the same name with the same query again is no change.

        The same name with another query replaces it; ``Conflict`` if it was used already.
        """
        ...

    def definition(self, name: str) -> str | None:
        """The query of a definition, or None if there is no such definition."""
        ...

    def dataset_query(self, dataset: str) -> str:
        """The query that gives the files of a definition (``defname: X``)."""
        ...

    def snapshot(self, definition: str) -> int:
        """Freeze the files that the definition gives now; an unchanged list has the same id."""
        ...

    def create_project(self, name: str, definition: str, user: str) -> str:
        """Begin delivery of a definition's files; returns the project's address for jobs."""
        ...

    def end_project(self, name: str) -> None: ...

    def project_summary(self, project: str) -> ProjectSummary: ...

    def file_states(self, submission: SubmissionView) -> Iterator[FileState]:
        """Input files of the submission's project; nothing if it has none."""
        ...

    def output_files(self, submission: SubmissionView) -> Iterator[OutputFile]:
        """Files made by the submission, whether located or only declared."""
        ...

    def output_counts(self, submission: SubmissionView) -> FileCounts:
        """Is the output there? The figures that completion type ``located`` is decided on."""
        ...

    def recovery_kinds(self) -> Mapping[str, str]:
        """Recovery types that this backend knows, with one sentence each."""
        ...

    def recovery_files(self, submission: SubmissionView, kind: str) -> DerivedDataset:
        """The files a recovery of this kind would process again; count 0 = nothing to do."""
        ...

    def dependency_files(self, submission: SubmissionView, patterns: Sequence[str], number: int) -> DerivedDataset:
        """Output of the submission that matches any pattern, for its consumer ``number`` (from 1).

        A stage of type ``approval`` or ``datatransfer`` hands on its input.
        """
        ...

    def job_environment(self, plan: LaunchPlan) -> tuple[tuple[str, str], ...]:
        """Variables by which launch script and jobs reach this catalogue."""
        ...

    def links(self, kind: Literal["project", "file", "definition"], name: str) -> list[Link]: ...

    def health(self) -> Health: ...


# ------------------------------------------------------------------------------------------ splits


@dataclass(frozen=True, slots=True)
class SplitParameter:
    """A parameter of a split type, for its form: positional, or a keyword with a default."""

    name: str
    help: str
    keyword: bool = False
    default: str = ""


@dataclass(frozen=True, slots=True)
class SplitContext:
    """What a split works on. ``position`` is the document stored after the last slice, or None.

    ``unique`` is a text that differs for every launch, and is the same in its preview; ``arguments`` is what
    ``parse`` returned; ``time_zone`` is the experiment's.
    """

    dataset: str
    arguments: Mapping[str, Any]
    position: Mapping[str, Any] | None
    data: DataBackend
    unique: str
    now: datetime
    time_zone: str = "UTC"


@dataclass(frozen=True, slots=True)
class Slice:
    """One piece of the input: the dataset (or parameter) to launch with and the position after it.

    ``query``, in what ``peek`` shows: what gives the files of a dataset that ``next`` will declare; "" if it stands.
    """

    dataset: str
    position: Mapping[str, Any] | None
    files: int | None = None
    query: str = ""


@runtime_checkable
class SplitType(Protocol):
    """A way of cutting a stage's input into successive submissions."""

    name: str
    description: str
    parameters: tuple[SplitParameter, ...]
    editor: str
    """Name of a special editor of the dataset field (``list``, ``multiparam``), or ""."""

    def parse(self, arguments: Sequence[tuple[str | None, str]]) -> Mapping[str, Any]:
        """Check (keyword or None, text) arguments; raises Invalid naming each bad one."""
        ...

    def next(self, context: SplitContext) -> Slice | None:
        """The slice at the position, its definitions declared; None when nothing is left.

        A catalogue that does not answer raises BackendUnavailable and is never taken for the end.
        """
        ...

    def peek(self, context: SplitContext, n: int = 1) -> list[Slice]:
        """Up to ``n`` coming slices, without declaring anything; the first as ``next`` would give it."""
        ...

    def length(self, context: SplitContext) -> int | None:
        """The number of slices in all, None if it cannot be known."""
        ...


# ------------------------------------------------------------------------------------- credentials


@dataclass(frozen=True, slots=True)
class OwnFile:
    """A file that a person keeps with the service; ``data`` is shown nowhere."""

    name: str
    data: bytes = field(repr=False)
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class CredentialRequest:
    """Who launches, and as what. ``own(name)`` is a file that this person keeps with the service, or None."""

    experiment: str
    group: str
    role: str
    username: str
    own: Callable[[str], OwnFile | None]


@dataclass(frozen=True, slots=True)
class CredentialState:
    """A credential as people may see it. ``problem`` says what is wrong and what to do, "" if it will do."""

    kind: str
    whose: str
    problem: str = ""
    expires_at: datetime | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class IssuedCredentials:
    """What a launch is given: files for its host, and variables that hold no secret."""

    files: tuple[PrivateFile, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()


@runtime_checkable
class CredentialBackend(Protocol):
    """Where the credentials of an experiment's launches come from. All methods may be called from any thread.

    No message, state or variable ever holds a secret.
    """

    def look(self, request: CredentialRequest) -> list[CredentialState]:
        """What a launch would be given, each with what is wrong with it; changes nothing, asks no other system."""
        ...

    def issue(self, request: CredentialRequest) -> IssuedCredentials:
        """What a launch is given now, renewed if need be.

        Raises CredentialsLacking if something is missing, too old or too short, with the remedy.
        """
        ...


# ---------------------------------------------------------------------------------------- identity


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """What an identity source may look at. Header names are lower case; ``environ`` is WSGI's.

    ``duplicates`` are header names that came twice or in two spellings: never to be believed.
    """

    headers: Mapping[str, str]
    peer: str
    method: str
    path: str
    environ: Mapping[str, Any]
    duplicates: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Identity:
    """Who sent a request. ``via_browser`` identities need CSRF defence for changes.

    ``experiments``: the only ones in which this identity counts, for credentials that an experiment gave; None: in all
    of the person's. It only ever takes rights away.
    """

    username: str
    source: str
    via_browser: bool = True
    display_name: str = ""
    experiments: frozenset[str] | None = None


@runtime_checkable
class IdentitySource(Protocol):
    """A way of knowing who sent a request; asks neither database nor network while the request waits.

    What it needs from elsewhere, such as keys, it fetches beside requests; few requests wait for that, and not long.
    """

    def identify(self, request: RequestFacts) -> Identity | None:
        """The sender, or None to let the next source decide. Raises NotAuthenticated to refuse outright."""
        ...

    def start_checks(self, listen: str) -> list[CheckResult]:
        """Is this source safe on this listen address? An ``error`` result stops the start-up."""
        ...


# ----------------------------------------------------------------------------------- notifications


@dataclass(frozen=True, slots=True)
class NewsItem:
    """One event that a person is told of. ``news`` is its word for programs, ``text`` a sentence for people."""

    event_id: int
    at: datetime
    news: str
    text: str
    experiment: str = ""
    campaign: str = ""
    stage: str = ""
    submission_id: int | None = None
    url: str = ""


@dataclass(frozen=True, slots=True)
class Notification:
    """One message for one person by one channel; texts of others in it may hold anything.

    ``key`` is the same when a message is sent again, ``attempt`` counts from 1. ``items`` are what ``text`` tells;
    none: it only tries the channel out.
    """

    key: str
    attempt: int
    username: str
    address: str
    subject: str
    text: str
    made_at: datetime
    items: tuple[NewsItem, ...] = ()
    settings_url: str = ""


@runtime_checkable
class Notifier(Protocol):
    """A channel by which people are told: mail, a webhook, a chat.

    ``one_system``: all addresses are reached by one system, so that one that does not answer need not be
    asked again for the next person. ``address_hint`` says in a few words what an address is.
    """

    one_system: bool
    address_hint: str

    def check_address(self, address: str) -> str:
        """The address as it is kept; raises Invalid with the reason if nothing can be sent there. No network."""
        ...

    def send(self, notification: Notification) -> None:
        """Send one message; returns when the other side has taken it.

        Raises BackendUnavailable to be asked again later, Invalid if it can never be sent to this address.
        """
        ...

    def shown_secret(self, username: str, address: str) -> str:
        """What only this person is shown, such as a key by which messages are signed; "" if there is none."""
        ...
