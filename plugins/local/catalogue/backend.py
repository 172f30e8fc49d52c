"""``LocalCatalogue``: the file catalogue in POMS' own database, as services see it (``DataBackend``).

Queries are SAM dimensions. Every method is one short transaction, may be called from any thread of any
process, and raises BackendUnavailable rather than take a failure for an empty answer.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal
from urllib.parse import quote

from sqlalchemy import Select, func, select

from poms.webservice.errors import Invalid
from poms.webservice.interfaces import (
    DerivedDataset,
    FileCounts,
    FileState,
    Health,
    LaunchPlan,
    Link,
    OutputFile,
    PluginContext,
    ProjectSummary,
    SubmissionView,
)
from poms.webservice.rules import naming, sam_queries

from . import database, datasets, files, projects, tables
from .compiler import Compiler
from .files import Scope

SECTION = "local_catalogue"
PREFIX = "/sam"
SECRET = "catalogue"
DEFAULT_LIMIT_SECONDS = 60.0
PAGE = 2_000
RECOVERY_KINDS = {
    "consumed_status": "every input file that no job reported as consumed",
    "process_status": "the same, and files whose process did not end well",
    "pending_files": "every input file that lacks output of at least one pattern",
    "added_files": "files that joined the dataset after the project began",
    "delivered_not_consumed": "files that were delivered, skipped or never handed out, without those that failed",
}
NOTHING = DerivedDataset("", 0)



class LocalCatalogue:
    """The catalogue of one experiment."""

    def __init__(self, context: PluginContext) -> None:
        self.experiment = context.experiment
        self._context = context
        self._limit_seconds = float(context.options.get("query_limit_seconds", DEFAULT_LIMIT_SECONDS))

    # ----------------------------------------------------------------------------- transactions

    def reading(self) -> AbstractContextManager[Scope]:
        return self._scope(database.reading)

    def writing(self) -> AbstractContextManager[Scope]:
        return self._scope(database.writing)

    @contextmanager
    def _scope(self, begin: Callable[..., Any]) -> Iterator[Scope]:
        engine = database.engine_for(self._context.database_url)
        with begin(engine, limit_seconds=self._limit_seconds) as connection:
            yield Scope(connection, self.experiment, self._context.clock())

    def _compile(self, scope: Scope) -> Compiler:
        return Compiler(scope.connection, self.experiment)

    def _count(self, scope: Scope, query: str) -> int:
        found: Select[Any] = self._compile(scope).file_ids(query)
        return scope.connection.scalar(select(func.count()).select_from(found.subquery())) or 0

    # ---------------------------------------------------------------------------------- queries

    def count(self, query: str) -> int:
        with self.reading() as scope:
            return self._count(scope, query)

    def list(self, query: str, limit: int | None = None) -> builtins.list[str]:
        with self.reading() as scope:
            found = self._compile(scope).rows(query, "file_name")
            return builtins.list(scope.connection.scalars(found if limit is None else found.limit(max(0, limit))))

    def sizes(self, names: Collection[str]) -> dict[str, int]:
        table = tables.files
        found: dict[str, int] = {}
        with self.reading() as scope:
            for some in files.chunks(builtins.list(names)):
                rows = scope.connection.execute(select(table.c.file_name, table.c.file_size).where(
                    table.c.experiment == self.experiment, table.c.file_name.in_(some), table.c.file_size.is_not(None)))
                found.update({row.file_name: row.file_size for row in rows})
        return found

    def dataset_query(self, dataset: str) -> str:
        return sam_queries.definition(dataset)

    # ------------------------------------------------------------- definitions and snapshots

    def define(self, name: str, query: str, description: str = "") -> None:
        with self.writing() as scope:
            datasets.define(scope, name, query, description=description, user="poms")

    def definition(self, name: str) -> str | None:
        with self.reading() as scope:
            found = datasets.find(scope, name)
            return found["dims"] if found else None

    def snapshot(self, definition: str) -> int:
        with self.writing() as scope:
            return datasets.snapshot(scope, definition)

    # --------------------------------------------------------------------------------- projects

    def create_project(self, name: str, definition: str, user: str) -> str:
        with self.writing() as scope:
            project = projects.start(scope, name, definition=definition, user=user)
            return self.project_url(project["station"], project["name"])

    def end_project(self, name: str) -> None:
        with self.writing() as scope:
            projects.end(scope, name)

    def abandon_processes(self, project: str, jobs: Sequence[str] | None = None) -> int:
        """End the processes of vanished jobs as bad (all live ones if None); returns how many."""
        with self.writing() as scope:
            return projects.abandon(scope, project, jobs)

    def project_summary(self, project: str) -> ProjectSummary:
        with self.reading() as scope:
            found = projects.summary(scope, project, process_limit=0)
        return ProjectSummary(
            project=found["project_name"], status=found["project_status"], definition=found["dataset_def_name"],
            snapshot_id=found["snapshot_id"], files_in_snapshot=found["files_in_snapshot"],
            file_counts=found["file_counts"], process_counts=found["process_counts"])

    # -------------------------------------------------------------------- files of a submission

    def file_states(self, submission: SubmissionView) -> Iterator[FileState]:
        if not has_project(submission):
            return
        members, table, process = tables.project_files, tables.files, tables.processes
        query = (select(members.c.position, table.c.file_name, table.c.file_size, members.c.state, process.c.job)
                 .join(table, table.c.file_id == members.c.file_id)
                 .outerjoin(process, process.c.process_id == members.c.process_id)
                 .order_by(members.c.position).limit(PAGE))
        last = 0
        while True:
            with self.reading() as scope:
                project = projects.get(scope, submission.project)
                rows = scope.connection.execute(query.where(
                    members.c.project_id == project["project_id"], members.c.position > last)).all()
            for row in rows:
                last = row.position
                yield FileState(row.file_name, row.state, row.file_size, row.job or "")
            if len(rows) < PAGE:
                return

    def output_files(self, submission: SubmissionView) -> Iterator[OutputFile]:
        with self.reading() as scope:
            query = self._output_query(scope, submission)
            if not query:
                return
            compiled = self._compile(scope).rows(f"({query}) with availability anylocation", "file_id")
            file_ids = scope.connection.scalars(compiled).all()
        for some in files.chunks(file_ids, files.FETCH_AT_ONCE):
            with self.reading() as scope:
                yield from _described(scope, submission, some)

    def _output_query(self, scope: Scope, submission: SubmissionView) -> str:
        """The submission's output of any pattern; empty if nobody declared any."""
        if not has_project(submission):
            base = self._declared_by_jobs(scope, submission)
            return sam_queries.every(base, sam_queries.matching_any(submission.patterns)) if base else ""
        made = sam_queries.made_by(submission.software_version, submission.made_after, submission.patterns)
        return sam_queries.output(submission.project, made, submission.ancestor_depth)

    def _declared_by_jobs(self, scope: Scope, submission: SubmissionView) -> str:
        """Output of a stage without input: files that its jobs tagged, or the dataset that they declared."""
        name = _dataset_name(submission, 1)
        tagged = sam_queries.tagged(name)
        if self._count(scope, f"({tagged}) with availability anylocation limit 1"):
            return tagged
        return sam_queries.definition(name) if datasets.find(scope, name) else ""

    def output_counts(self, submission: SubmissionView) -> FileCounts:
        with self.reading() as scope:
            query = self._output_query(scope, submission)
            generated = self._count(scope, f"({query}) with availability anylocation") if query else 0
            if not has_project(submission):
                located = self._count(scope, f"({query}) with availability physical") if query else 0
                return FileCounts(located, submission.jobs_expected, 0, generated, "output files")
            inputs = sam_queries.inputs_with_output(
                submission.project, _each_output(submission), submission.ancestor_depth, "physical")
            counts = projects.summary(scope, submission.project, process_limit=0)["file_counts"]
            consumed = counts["consumed"] + counts["completed"]
            return FileCounts(self._count(scope, inputs), consumed, consumed, generated, "input files")

    # ---------------------------------------------------------------------------- what follows

    def recovery_kinds(self) -> Mapping[str, str]:
        return RECOVERY_KINDS

    def recovery_files(self, submission: SubmissionView, kind: str) -> DerivedDataset:
        if kind not in RECOVERY_KINDS:
            raise Invalid(f"{kind!r} is no recovery type of this catalogue; there are: {', '.join(RECOVERY_KINDS)}")
        if not has_project(submission):
            return NOTHING
        with self.reading() as scope:
            query = self._recovery_query(scope, submission, kind)
            return DerivedDataset(query, self._count(scope, query))

    def _recovery_query(self, scope: Scope, submission: SubmissionView, kind: str) -> str:
        project = submission.project
        if kind == "process_status":
            return sam_queries.recover_by_process(project)
        if kind == "pending_files":
            return sam_queries.recover_pending(project, _each_output(submission), submission.ancestor_depth)
        if kind == "added_files":
            dataset = submission.dataset or projects.get(scope, project)["definition_name"]
            return sam_queries.recover_added(dataset, project)
        if kind == "delivered_not_consumed":
            return sam_queries.recover_delivered(project)
        return sam_queries.recover_not_consumed(project)

    def dependency_files(self, submission: SubmissionView, patterns: Sequence[str], number: int) -> DerivedDataset:
        with self.reading() as scope:
            query = self._dependency_query(scope, submission, patterns, number)
            return DerivedDataset(query, self._count(scope, query) if query else 0)

    def _dependency_query(self, scope: Scope, submission: SubmissionView, patterns: Sequence[str], number: int) -> str:
        if submission.stage_type == "approval":
            # It has no jobs, so no project either: what was approved is its input.
            return sam_queries.dependency_from_definition(submission.dataset, patterns) if submission.dataset else ""
        if submission.stage_type == "generator" or not has_project(submission):
            return self._declared_query(scope, submission, patterns, number)
        if submission.stage_type == "datatransfer":
            return sam_queries.dependency_from_definition(submission.dataset, patterns)
        made = sam_queries.made_by(submission.software_version, submission.made_after, patterns)
        return sam_queries.output(submission.project, made, submission.ancestor_depth)

    def _declared_query(self, scope: Scope, submission: SubmissionView, patterns: Sequence[str], number: int) -> str:
        """What the jobs declared, narrowed by the patterns; as it stands if that is every file.

        A narrowed query never refers to the definition that it will replace.
        """
        wanted = sam_queries.matching_any(patterns)
        name, first = _dataset_name(submission, number), _dataset_name(submission, 1)
        if not wanted and datasets.find(scope, name):
            return sam_queries.definition(name)
        base = self._declared_by_jobs(scope, submission)
        if base == sam_queries.definition(first) and number == 1:
            base = f"({datasets.get(scope, first)['dims']})"
        return sam_queries.every(base, wanted) if base else ""

    # ------------------------------------------------------------------------------ surroundings

    @property
    def api_url(self) -> str:
        """Root of SAM's HTTP API for jobs. It holds the key that allows writing: never show it to people."""
        key = self._context.secret(SECRET)
        return f"{self._context.public_url.rstrip('/')}{PREFIX}/{quote(self.experiment, safe='')}/key-{key}/api"

    def project_url(self, station: str, project: str) -> str:
        return f"{self.api_url}/projects/{quote(station, safe='')}/{quote(project, safe='')}"

    def job_environment(self, plan: LaunchPlan) -> tuple[tuple[str, str], ...]:
        url = self.api_url
        return (
            ("SAM_WEB_BASE_URL", url), ("SAM_WEB_BASE_SSL_URL", url), ("IFDH_BASE_URI", url),
            ("SAM_EXPERIMENT", self.experiment), ("SAM_GROUP", self.experiment), ("SAM_STATION", self.experiment),
            ("EXPERIMENT", self.experiment),
        )

    def links(self, kind: Literal["project", "file", "definition"], name: str) -> builtins.list[Link]:
        # The only addresses there are hold the key of the catalogue.
        return []

    def health(self) -> Health:
        with self.reading() as scope:
            table = tables.projects
            running = scope.connection.scalar(select(func.count()).where(
                table.c.experiment == self.experiment, table.c.status == projects.RUNNING)) or 0
            return Health(True, f"the local catalogue of {self.experiment} answers; projects running: {running}",
                          scope.now, {"projects_running": float(running)})


def has_project(submission: SubmissionView) -> bool:
    return submission.project not in ("", "None")


def _dataset_name(submission: SubmissionView, number: int) -> str:
    return naming.dependency_dataset(submission.submission_id, number, owner=submission.owner,
                                     owner_role=submission.owner_role)


def _each_output(submission: SubmissionView) -> builtins.list[str]:
    """One query for each pattern: what a complete input has a child of."""
    return [sam_queries.made_by(submission.software_version, submission.made_after, [pattern])
            for pattern in sam_queries.split_patterns(submission.patterns)]


def _described(scope: Scope, submission: SubmissionView, file_ids: Sequence[int]) -> builtins.list[OutputFile]:
    """Output files with the names of the inputs they came from."""
    origins = _origins(scope, submission, file_ids) if has_project(submission) else {}
    table = tables.files
    rows = scope.connection.execute(
        select(table.c.file_id, table.c.file_name, table.c.file_size, table.c.located)
        .where(table.c.file_id.in_(file_ids)).order_by(table.c.file_id))
    return [OutputFile(row.file_name, row.file_size, row.located, tuple(sorted(origins.get(row.file_id, ()))))
            for row in rows]


def _origins(scope: Scope, submission: SubmissionView, file_ids: Sequence[int]) -> dict[int, set[str]]:
    """For each output the names of the project's input files that it comes from, generation by generation."""
    link = tables.parentage
    above: dict[int, set[int]] = {each: {each} for each in file_ids}
    for _ in range(max(1, submission.ancestor_depth)):
        front = sorted({each for reached in above.values() for each in reached})
        parents: dict[int, set[int]] = {}
        for some in files.chunks(front):
            for child, parent in scope.connection.execute(
                    select(link.c.child_id, link.c.parent_id).where(link.c.child_id.in_(some))):
                parents.setdefault(child, set()).add(parent)
        above = {each: {parent for one in reached for parent in parents.get(one, ())}
                 for each, reached in above.items()}
    members, table = tables.project_files, tables.files
    project_id = projects.get(scope, submission.project)["project_id"]
    names: dict[int, str] = {}
    for some in files.chunks(sorted({each for reached in above.values() for each in reached})):
        rows = scope.connection.execute(
            select(table.c.file_id, table.c.file_name).join(members, members.c.file_id == table.c.file_id)
            .where(members.c.project_id == project_id, table.c.file_id.in_(some)))
        names |= {row.file_id: row.file_name for row in rows}
    return {each: {names[one] for one in reached if one in names} for each, reached in above.items()}


