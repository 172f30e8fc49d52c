"""A file catalogue in memory, for tests of everything above the ``DataBackend`` interface.

Queries are SAM dimensions (``testing.dimensions``). Tests declare files and tell what jobs did with them
(``process``); faults are planned by method. ``forget`` lets it say for a while that there is nothing.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from poms.webservice.errors import Conflict, Invalid, NotFound
from poms.webservice.interfaces import (
    DerivedDataset,
    FileCounts,
    FileState,
    Health,
    LaunchPlan,
    Link,
    OutputFile,
    ProjectSummary,
    SubmissionView,
)
from poms.webservice.rules import naming, sam_queries
from poms.webservice.testing.dimensions import Files, evaluate, matches
from poms.webservice.testing.faults import Faulty

RECOVERY_KINDS = {
    "consumed_status": "every input file that was not consumed",
    "process_status": "every input file that was not consumed by a process that ended well",
    "pending_files": "every input file without an output file of every pattern",
    "added_files": "files that came into the dataset since",
    "delivered_not_consumed": "files that were begun and not consumed",
}
_DONE = ("consumed", "completed")
_STATES = ("unknown", "delivered", "transferred", "consumed", "completed", "skipped", "failed", "cancelled")


@dataclass
class DeclaredFile:
    """A file as declared; ``located`` once there is a copy of it."""

    number: int
    name: str
    created_at: datetime
    size_bytes: int = 1000
    run: int | None = None
    version: str = ""
    end_time: datetime | None = None
    located: bool = True
    parents: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Project:
    """The delivery of a snapshot; ``states`` by file name."""

    name: str
    definition: str
    snapshot_id: int
    states: dict[str, str]
    ended: bool = False
    jobs: dict[str, str] = field(default_factory=dict)


class FakeCatalogue(Faulty):
    """One experiment's catalogue."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        super().__init__()
        self.clock = clock
        self._files: dict[str, DeclaredFile] = {}
        self._by_number: dict[int, DeclaredFile] = {}
        self._definitions: dict[str, str] = {}
        self._used: set[str] = set()
        self._snapshots: dict[int, tuple[str, tuple[int, ...]]] = {}
        self._projects: dict[str, Project] = {}
        self._empty: dict[str, int] = {}
        self._lied: set[tuple[str, int]] = set()
        self._lock = threading.RLock()

    # ---------------------------------------------------------------------------------- for tests

    def forget(self, method: Literal["output_counts", "dependency_files"], times: int = 1) -> None:
        """The next answers of a method are that there is nothing, as from a catalogue whose index is being rebuilt.

        Of one submission never twice in a row: nobody could tell that from the truth.
        """
        self._empty[method] = times

    def heal(self) -> None:
        super().heal()
        self._empty.clear()

    def declare(self, name: str, *, run: int | None = None, version: str = "", located: bool = True,
                parents: Iterable[str] = (), end_time: datetime | None = None, size_bytes: int = 1000,
                **metadata: str) -> str:
        """Declare a file; the order of declaration is the catalogue's order."""
        with self._lock:
            number = len(self._files) + 1
            made = DeclaredFile(number, name, self.clock(), size_bytes, run, version, end_time, located,
                                tuple(parents), metadata)
            self._files[name] = self._by_number[number] = made
        return name

    def locate(self, *names: str) -> None:
        """Say that there are copies of these files now."""
        for name in names:
            self._files[name].located = True

    def dataset(self, name: str, count: int, *, run: int | None = None, prefix: str = "") -> list[str]:
        """A dataset of so many new files: they carry the tag that the definition asks for."""
        files = [self.declare(f"{prefix or name}_{index:04d}.root", run=run, **{"dataset.tag": name})
                 for index in range(1, count + 1)]
        self._definitions[name] = f"dataset.tag {name}"
        return files

    def begin_project(self, name: str, dataset: str) -> Project:
        """What the first of a launch's jobs does: a project that delivers the dataset."""
        self.create_project(name, dataset, "tester")
        return self._projects[name]

    def deliver(self, project: str, file_name: str, state: str, job: str = "") -> None:
        """What a job did with an input file; ``job`` is its batch id."""
        if state not in _STATES:
            raise ValueError(f"unknown state of a file: {state}")
        self._projects[project].states[file_name] = state
        if job:
            self._projects[project].jobs[file_name] = job

    def process(self, project: str, count: int | None = None, *, suffix: str = "out", version: str = "v1",
                located: bool = True) -> list[str]:
        """Let jobs consume (some of) the files not consumed yet, and make one child of each."""
        made = []
        todo = [name for name, state in self._projects[project].states.items() if state not in _DONE]
        for name in todo[:count]:
            self.deliver(project, name, "consumed")
            child = f"{name.removesuffix('.root')}_{suffix}.root"
            if child not in self._files:
                self.declare(child, version=version, located=located, parents=[name])
            made.append(child)
        return made

    def projects(self) -> dict[str, Project]:
        return dict(self._projects)

    def definitions(self) -> dict[str, str]:
        return dict(self._definitions)

    def snapshot_count(self) -> int:
        return len(self._snapshots)

    # -------------------------------------------------------------------------------- DataBackend

    def count(self, query: str) -> int:
        self._meet("count")
        return len(self._evaluate(query))

    def list(self, query: str, limit: int | None = None) -> list[str]:
        self._meet("list")
        return [self._by_number[number].name for number in self._evaluate(query)[:limit]]

    def sizes(self, names: Collection[str]) -> dict[str, int]:
        self._meet("sizes")
        return {name: self._files[name].size_bytes for name in names if name in self._files}

    def define(self, name: str, query: str, description: str = "") -> None:
        self._meet("define")
        with self._lock:
            self._evaluate(query)
            known = self._definitions.get(name)
            if known == query:
                return
            if known is not None and name in self._used:
                raise Conflict(f"Definition {name} was used already and cannot be changed; take another name.")
            self._definitions[name] = query
        self._meet("define, answered")

    def definition(self, name: str) -> str | None:
        self._meet("definition")
        return self._definitions.get(name)

    def dataset_query(self, dataset: str) -> str:
        self._meet("dataset_query")
        return sam_queries.definition(dataset)

    def snapshot(self, definition: str) -> int:
        self._meet("snapshot")
        with self._lock:
            return self._snapshot(definition)

    def create_project(self, name: str, definition: str, user: str) -> str:
        self._meet("create_project")
        with self._lock:
            if name in self._projects:
                raise Conflict(f"There is a project {name} already.")
            number = self._snapshot(definition)
            names = [self._by_number[each].name for each in self._snapshots[number][1]]
            self._projects[name] = Project(name, definition, number, dict.fromkeys(names, "unknown"))
        return f"fake://projects/{name}"

    def end_project(self, name: str) -> None:
        self._meet("end_project")
        self._project(name).ended = True

    def project_summary(self, project: str) -> ProjectSummary:
        self._meet("project_summary")
        with self._lock:
            found = self._project(project)
            return ProjectSummary(project, "completed" if found.ended else "running", found.definition,
                                  found.snapshot_id, len(found.states), dict(Counter(found.states.values())))

    def file_states(self, submission: SubmissionView) -> Iterator[FileState]:
        self._meet("file_states")
        if not submission.project:
            return iter(())
        with self._lock:
            project = self._project(submission.project)
            return iter([FileState(name, state, self._files[name].size_bytes, project.jobs.get(name, ""))
                         for name, state in project.states.items()])

    def output_files(self, submission: SubmissionView) -> Iterator[OutputFile]:
        self._meet("output_files")
        if not submission.project:
            return iter(())
        with self._lock:
            query = f"{self._output_query(submission)} with availability anylocation"
            made = [self._by_number[number] for number in self._evaluate(query)]
            return iter([OutputFile(each.name, each.size_bytes, each.located, each.parents) for each in made])

    def output_counts(self, submission: SubmissionView) -> FileCounts:
        self._meet("output_counts")
        if self._forgets("output_counts", submission):
            return FileCounts(0, 0)
        with self._lock:
            if not submission.project:
                return self._generated(submission)
            states = self._project(submission.project).states
            consumed = sum(1 for state in states.values() if state in _DONE)
            inputs = set(self._evaluate(f"snapshot_for_project_name {submission.project}"))
            for pattern in submission.patterns:
                inputs &= set(self._evaluate(self._parents_query(submission, pattern, "physical")))
            outputs = self._evaluate(self._output_query(submission))
            return FileCounts(len(inputs), consumed, consumed, len(outputs))

    def recovery_kinds(self) -> Mapping[str, str]:
        self._meet("recovery_kinds")
        return RECOVERY_KINDS

    def recovery_files(self, submission: SubmissionView, kind: str) -> DerivedDataset:
        self._meet("recovery_files")
        project = submission.project
        self._project(project)
        snapshot = f"snapshot_for_project_name {project}"
        match kind:
            case "consumed_status" | "process_status":
                query = f"{snapshot} minus (project_name {project} and consumed_status co%)"
            case "pending_files":
                kids = " and ".join(self._parents_query(submission, pattern, "anylocation")
                                    for pattern in submission.patterns)
                query = f"{snapshot} minus ({kids})"
            case "added_files":
                dataset = submission.dataset or self._project(project).definition
                query = f"{sam_queries.definition(dataset)} minus {snapshot}"
            case "delivered_not_consumed":
                query = (f"project_name {project} and consumed_status skipped,unknown,delivered,transferred,"
                         "unconsumed,cancelled")
            case _:
                raise Invalid(f"unknown kind of recovery: {kind}; known: {', '.join(RECOVERY_KINDS)}")
        return DerivedDataset(query, len(self._evaluate(query)))

    def dependency_files(self, submission: SubmissionView, patterns: Sequence[str], number: int) -> DerivedDataset:
        self._meet("dependency_files")
        if self._forgets("dependency_files", submission):
            return DerivedDataset(sam_queries.named(()), 0)
        wanted = " or ".join(_fragment(pattern) for pattern in patterns)
        wanted = f"({wanted})" if len(patterns) > 1 else wanted
        if submission.stage_type == "approval" and submission.dataset:
            query = f"{self.dataset_query(submission.dataset)} and {wanted}"
            return DerivedDataset(query, len(self._evaluate(query)))
        if submission.stage_type == "generator" or not submission.project:
            name = naming.dependency_dataset(submission.submission_id, number, owner=submission.owner,
                                             owner_role=submission.owner_role)
            query = self.dataset_query(name)
            return DerivedDataset(query, len(self._evaluate(query)) if name in self._definitions else 0)
        query = f"{self._output_query(submission)} and {wanted}"
        return DerivedDataset(query, len(self._evaluate(query)))

    def job_environment(self, plan: LaunchPlan) -> tuple[tuple[str, str], ...]:
        self._meet("job_environment")
        return (("FAKE_CATALOGUE", "memory"),)

    def links(self, kind: Literal["project", "file", "definition"], name: str) -> list[Link]:
        self._meet("links")
        return []

    def health(self) -> Health:
        self._meet("health")
        return Health(True, "in memory", self.clock(), {"files": float(len(self._files))})

    # ------------------------------------------------------------------------------------ inside

    def _forgets(self, method: str, submission: SubmissionView) -> bool:
        asked = (method, submission.submission_id)
        with self._lock:
            if not self._empty.get(method) or asked in self._lied:
                self._lied.discard(asked)
                return False
            self._empty[method] -= 1
            self._lied.add(asked)
            return True

    def _evaluate(self, query: str) -> list[int]:
        with self._lock:
            return evaluate(query, _Around(self))

    def _snapshot(self, definition: str) -> int:
        query = self._definitions.get(definition)
        if query is None:
            raise NotFound(f"There is no definition {definition!r}.")
        files = tuple(self._evaluate(query))
        self._used.add(definition)
        for number, (name, known) in self._snapshots.items():
            if name == definition and known == files:
                return number
        number = 101 + len(self._snapshots)
        self._snapshots[number] = (definition, files)
        return number

    def _project(self, name: str) -> Project:
        found = self._projects.get(name)
        if found is None:
            raise NotFound(f"There is no project {name!r}.")
        return found

    def _generated(self, submission: SubmissionView) -> FileCounts:
        name = naming.dependency_dataset(submission.submission_id, 1, owner=submission.owner,
                                         owner_role=submission.owner_role)
        made = len(self._evaluate(self.dataset_query(name))) if name in self._definitions else 0
        return FileCounts(made, submission.jobs_expected, 0, made, "output files")

    def _output_query(self, submission: SubmissionView) -> str:
        depth = max(1, submission.ancestor_depth)
        base = f"snapshot_for_project_name {submission.project}"
        return f"{'ischildof:( ' * depth}{base}{' )' * depth} and {_made_by(submission)}"

    def _parents_query(self, submission: SubmissionView, pattern: str, availability: str) -> str:
        depth = max(1, submission.ancestor_depth)
        return (f"{'isparentof:( ' * depth}{_fragment(pattern)} and {_made_by(submission)} with availability "
                f"{availability}{' )' * depth}")


def _made_by(submission: SubmissionView) -> str:
    since = submission.made_after.strftime("%Y-%m-%dT%H:%M:%S%z")
    return f"version '{submission.software_version}' and create_date > '{since}'"


def _fragment(pattern: str) -> str:
    return pattern if " " in pattern.strip() else f"file_name like '{pattern}'"


class _Around:
    """The catalogue as a query sees it."""

    def __init__(self, catalogue: FakeCatalogue) -> None:
        self._catalogue = catalogue
        self._files = catalogue._by_number

    def everything(self) -> Files:
        return frozenset(self._files)

    def located(self) -> Files:
        return frozenset(number for number, each in self._files.items() if each.located)

    def definition_files(self, name: str) -> Files:
        query = self._catalogue._definitions.get(name)
        if query is None:
            raise NotFound(f"There is no definition {name!r}.")
        return frozenset(evaluate(query, self))

    def snapshot_files(self, number: int) -> Files:
        if number not in self._catalogue._snapshots:
            raise NotFound(f"There is no snapshot {number}.")
        return frozenset(self._catalogue._snapshots[number][1])

    def project_snapshot(self, name: str) -> Files:
        return self.snapshot_files(self._catalogue._project(name).snapshot_id)

    def project_files(self, name: str, statuses: list[str]) -> Files:
        states = self._catalogue._project(name).states
        return frozenset(self._number(file) for file, state in states.items()
                         if not statuses or any(matches(state, each) for each in statuses))

    def children(self, files: Files) -> Files:
        names = {self._files[number].name for number in files}
        return frozenset(number for number, each in self._files.items() if names.intersection(each.parents))

    def parents(self, files: Files) -> Files:
        names = {name for number in files for name in self._files[number].parents}
        return frozenset(self._number(name) for name in names if name in self._catalogue._files)

    def field(self, number: int, name: str) -> list[object] | None:
        found = self._files[number]
        match name:
            case "file_name":
                return [found.name]
            case "run_number":
                return [] if found.run is None else [found.run]
            case "version":
                return [found.version] if found.version else []
            case "end_time":
                return [] if found.end_time is None else [found.end_time]
            case "create_date":
                return [found.created_at]
            case "file_size":
                return [found.size_bytes]
        if "." in name or name in ("data_tier", "file_format", "data_stream"):
            return [found.metadata[name]] if name in found.metadata else []
        return None

    def _number(self, name: str) -> int:
        return self._catalogue._files[name].number
