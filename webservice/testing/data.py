"""The contract that every data backend keeps, as a kit of tests.

Subclass ``DataBackendContract`` in a test module and override its hooks, by which the kit declares files and
reports what jobs did with them. Invariant: an error is never an empty answer, and what was frozen stays.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import datetime, timedelta

import pytest

from poms.webservice.errors import Conflict, Invalid, NotFound
from poms.webservice.interfaces import DataBackend, LaunchPlan, SubmissionView
from poms.webservice.testing.clock import START

CREATED_AT = START - timedelta(hours=1)
HOSTILE_QUERIES = ("", "   ", "defname:", "file_name", "and", "file_name = 'a", "(file_name a", "file_name a)",
                   "file_name a; drop table files", "no_such_dimension_at_all 3", "defname: raw with limit x",
                   "defname: raw with nonsense", "file_name a or", "file_name a\x00b", "file_name a minus", "((((((")


class DataBackendContract:
    """Tests that every ``DataBackend`` of SAM dimensions passes. All hooks must be overridden."""

    @pytest.fixture
    def backend(self) -> DataBackend:
        """An empty catalogue of one experiment."""
        raise NotImplementedError

    def declare(self, backend: DataBackend, name: str, *, run: int | None = None, version: str = "",
                located: bool = True, parents: Iterable[str] = (), end_time: datetime | None = None) -> None:
        """Declare a file as jobs do; ``located``: there is a copy of it."""
        raise NotImplementedError

    def locate(self, backend: DataBackend, name: str, there: bool = True) -> None:
        """Say that a copy of a file is there, or that none is any more."""
        raise NotImplementedError

    def deliver(self, backend: DataBackend, project: str, name: str, state: str) -> None:
        """Report what a job did with a file of a project: delivered, consumed or skipped."""
        raise NotImplementedError

    # ----------------------------------------------------------------------------------- builders

    @pytest.fixture
    def raw(self, backend: DataBackend) -> DataBackend:
        """The catalogue with five files f1 to f5 in three runs, and the definition ``raw``."""
        times = ("01T06", "01T18", "02T12", "03T06", "03T18")
        for number, (run, at) in enumerate(zip((1, 1, 2, 3, 3), times, strict=True), 1):
            self.declare(backend, f"f{number}", run=run, end_time=datetime.fromisoformat(f"2016-10-{at}:00:00+00:00"))
        backend.define("raw", "file_name f%")
        return backend

    @pytest.fixture
    def project(self, raw: DataBackend) -> DataBackend:
        """The same with a running project ``prj`` on ``raw``."""
        raw.create_project("prj", "raw", "ann")
        return raw

    def view(self, **changes: object) -> SubmissionView:
        """A submission whose jobs were fed by the project ``prj``."""
        values: dict = {"submission_id": 42, "experiment": "samdev", "project": "prj", "dataset": "raw",
                        "software_version": "v1", "created_at": CREATED_AT, "patterns": ("%.root",)}
        return SubmissionView(**(values | changes))

    def output(self, backend: DataBackend, name: str, parent: str, *, located: bool = True, version: str = "v1"
               ) -> None:
        self.declare(backend, name, version=version, located=located, parents=[parent])

    # ------------------------------------------------------------------------------------- queries

    def test_is_a_data_backend(self, backend):
        """It has every method that services call."""
        assert isinstance(backend, DataBackend)

    @pytest.mark.parametrize(("query", "files"), [
        ("defname: raw", "f1 f2 f3 f4 f5"), ("defname:raw with limit 2", "f1 f2"),
        ("defname: raw with limit 2 offset 2", "f3 f4"), ("defname: raw with limit 2 offset 4", "f5"),
        ("defname: raw with stride 3 offset 0", "f1 f4"), ("defname: raw with stride 3 offset 2", "f3"),
        ("defname: raw and run_number 3", "f4 f5"), ("defname: raw and run_number >= 2 and run_number <= 2", "f3"),
        ("defname: raw minus run_number 1", "f3 f4 f5"),
        ("defname: raw minus run_number 1 and file_name f2", "f1 f3 f4 f5"),
        ("(defname: raw minus run_number 1) and run_number 3", "f4 f5"),
        ("file_name f1 or file_name f5", "f1 f5"), ("file_name in f1,f5", "f1 f5"), ("file_name f1,f5", "f1 f5"),
        ("defname: raw and not file_name f1", "f2 f3 f4 f5"), ("file_name like '%2'", "f2"),
        ("defname: raw and end_time > '2016-10-01T18:00:00' and end_time <= '2016-10-03T06:00:00'", "f3 f4"),
        ("file_name 'f1' OR file_name \"f2\"", "f1 f2"), ("file_name nothing", ""),
    ])  # fmt: skip
    def test_what_a_query_gives(self, raw, query, files):
        """The files of a query, in the catalogue's order; their number is the same by either call."""
        assert raw.list(query) == files.split()
        assert raw.count(query) == len(files.split())

    def test_a_list_can_be_cut(self, raw):
        """A limit cuts the list, nothing else."""
        assert raw.list("defname: raw", limit=2) == ["f1", "f2"]

    def test_sizes_are_told_as_far_as_they_are_known(self, raw):
        """A name that nobody declared has none, and is no mistake."""
        found = raw.sizes(["f1", "f2", "nobody's"])

        assert set(found) == {"f1", "f2"}
        assert all(size > 0 for size in found.values())

    def test_parts_of_a_stride_cover_the_dataset(self, raw):
        """The n parts of stride n hold every file once."""
        parts = [raw.list(f"defname: raw with stride 4 offset {number}") for number in range(4)]

        assert sorted(sum(parts, [])) == ["f1", "f2", "f3", "f4", "f5"]

    @pytest.mark.parametrize("query", HOSTILE_QUERIES)
    def test_a_query_that_cannot_be_read_is_refused(self, raw, query):
        """Nonsense is named as such by every call that takes a query, and never gives an empty answer."""
        for call in (raw.count, raw.list, lambda text: raw.define("nonsense", text)):
            with pytest.raises(Invalid):
                call(query)
        assert raw.definition("nonsense") is None

    def test_an_unknown_definition_is_not_found(self, raw):
        """A definition that does not exist is an error, not an empty dataset."""
        with pytest.raises(NotFound):
            raw.count("defname: nobody_made_this")
        with pytest.raises(NotFound):
            raw.snapshot("nobody_made_this")

    @pytest.mark.parametrize("name", ["plain", "with-dash.and_dot", "and", "2016-10-01", "50%", "it's", "Größe 東京"])
    def test_a_dataset_of_any_name_can_be_queried(self, raw, name):
        """``dataset_query`` names a dataset so that nothing in its name is read as part of the query."""
        raw.define(name, "file_name f1")

        assert raw.list(raw.dataset_query(name)) == ["f1"]

    # -------------------------------------------------------------------- definitions and snapshots

    def test_the_same_definition_again_is_no_change(self, raw):
        """Declaring a definition twice with one query is allowed, used or not."""
        raw.define("again", "file_name f1")
        raw.snapshot("again")
        raw.define("again", "file_name f1")

        assert raw.definition("again") == "file_name f1"

    def test_an_unused_definition_can_be_replaced(self, raw):
        """As long as nothing used it, a definition can get another query."""
        raw.define("mine", "file_name f1")
        raw.define("mine", "file_name f2")

        assert raw.list(raw.dataset_query("mine")) == ["f2"]

    def test_a_used_definition_cannot_be_replaced(self, raw):
        """What a snapshot or project was made of keeps its query."""
        raw.define("mine", "file_name f1")
        raw.snapshot("mine")

        with pytest.raises(Conflict):
            raw.define("mine", "file_name f2")
        assert raw.definition("mine") == "file_name f1"

    def test_an_unchanged_list_has_the_same_snapshot(self, raw):
        """A snapshot is made anew only when the files changed."""
        first = raw.snapshot("raw")
        assert raw.snapshot("raw") == first

        self.declare(raw, "f6")
        assert raw.snapshot("raw") != first

    def test_a_snapshot_stays_as_it_was(self, raw):
        """Files that come later, or lose their last copy, change nothing in a snapshot."""
        number = raw.snapshot("raw")
        self.declare(raw, "f6")
        self.locate(raw, "f1", False)

        assert raw.list(f"snapshot_id {number} with availability anylocation") == ["f1", "f2", "f3", "f4", "f5"]
        assert raw.list(f"defname: raw minus snapshot_id {number}") == ["f6"]

    def test_a_union_of_snapshots_remembers_files_without_copies(self, raw):
        """A definition that asks for any location keeps, in its snapshot, files that have none now."""
        raw.define("two", "file_name f1 or file_name f2")
        one = raw.snapshot("two")
        self.locate(raw, "f1", False)
        raw.define("all", f"snapshot_id {one} or snapshot_id {one} with availability anylocation")
        union = raw.snapshot("all")
        self.locate(raw, "f1")

        assert raw.list(f"defname: raw minus snapshot_id {union}") == ["f3", "f4", "f5"]

    def test_files_without_a_copy_count_only_if_asked_for(self, raw):
        """A file that is only declared is not delivered, but can be counted."""
        self.declare(raw, "f6", located=False)

        assert raw.count("defname: raw") == 5
        assert raw.count("file_name f% with availability anylocation") == 6
        assert raw.list("file_name f% with availability virtual") == ["f6"]

    def test_definitions_made_at_once_are_all_there(self, raw):
        """Threads that declare definitions and take snapshots do not hinder each other."""
        numbers: list[int] = []
        errors: list[BaseException] = []

        def work(number: int) -> None:
            try:
                raw.define(f"part{number}", f"file_name f{number % 5 + 1}")
                numbers.append(raw.snapshot(f"part{number}"))
            except BaseException as error:  # noqa: B036 - shown by the assertion below
                errors.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert errors == []
        assert len(set(numbers)) == 8

    # ------------------------------------------------------------------------------------ projects

    def test_a_project_delivers_a_frozen_list(self, project):
        """The summary of a new project: all its files are still to be delivered."""
        self.declare(project, "f6")
        summary = project.project_summary("prj")

        assert (summary.project, summary.definition, summary.files_in_snapshot) == ("prj", "raw", 5)
        assert summary.consumed == 0
        assert project.count("snapshot_for_project_name prj") == 5

    def test_the_summary_counts_what_jobs_reported(self, project):
        """Files by state, as jobs reported them."""
        self.deliver(project, "prj", "f1", "consumed")
        self.deliver(project, "prj", "f2", "consumed")
        self.deliver(project, "prj", "f3", "skipped")

        assert project.project_summary("prj").consumed == 2
        assert project.list("project_name prj and consumed_status co%") == ["f1", "f2"]
        assert project.list("project_name prj and consumed_status skipped") == ["f3"]

    def test_an_ended_project_says_so(self, project):
        """After its end the status of a project is no longer running."""
        running = project.project_summary("prj").status
        project.end_project("prj")

        assert project.project_summary("prj").status != running

    def test_an_unknown_project_is_not_found(self, raw):
        """A project that does not exist is an error, whatever is asked of it."""
        for call in (raw.project_summary, raw.end_project):
            with pytest.raises(NotFound):
                call("nobody_began_this")
        with pytest.raises(NotFound):
            list(raw.file_states(self.view(project="nobody_began_this")))

    # ---------------------------------------------------------------------- files of a submission

    def test_inputs_with_their_states(self, project):
        """Each input file once, with what became of it."""
        self.deliver(project, "prj", "f1", "consumed")

        states = {item.file_name: item.state for item in project.file_states(self.view())}

        assert states.pop("f1") in ("consumed", "completed")
        assert sorted(states) == ["f2", "f3", "f4", "f5"]
        assert set(states.values()) == {"unknown"}

    def test_a_submission_without_project_has_no_inputs(self, project):
        """Without project there are no input files."""
        assert list(project.file_states(self.view(project=""))) == []

    def test_outputs_with_their_parents(self, project):
        """Each output file, whether located or only declared."""
        self.output(project, "a.root", "f1")
        self.output(project, "b.root", "f2", located=False)

        found = {item.file_name: (item.located, item.parents) for item in project.output_files(self.view())}

        assert found == {"a.root": (True, ("f1",)), "b.root": (False, ("f2",))}

    def test_output_of_another_version_is_not_ours(self, project):
        """Children made by other software belong to other submissions."""
        self.output(project, "other.root", "f1", version="v0")

        assert list(project.output_files(self.view())) == []

    @pytest.mark.parametrize(("hours", "names"), [(2, ["a.root"]), (0.5, [])])
    def test_output_dated_before_the_submission_is_ours_within_the_tolerance(self, project, hours, names):
        """A catalogue whose clock is behind dates output before the submission that made it."""
        self.output(project, "a.root", "f1")
        self.deliver(project, "prj", "f1", "consumed")
        view = self.view(created_at=START + timedelta(hours=1), clock_tolerance_seconds=3600 * hours)

        assert [item.file_name for item in project.output_files(view)] == names
        assert project.output_counts(view).located == len(names)
        assert project.dependency_files(view, ["%.root"], 1).count == len(names)
        assert project.recovery_files(view, "pending_files").count == 5 - len(names)

    def test_inputs_count_when_all_patterns_have_located_children(self, project):
        """An input is done when a located child of every pattern is there."""
        for name in ("f1", "f2", "f3"):
            self.deliver(project, "prj", name, "consumed")
        self.output(project, "f1.reco.root", "f1")
        self.output(project, "f1.hist.root", "f1")
        self.output(project, "f2.reco.root", "f2")
        self.output(project, "f3.reco.root", "f3")
        self.output(project, "f3.hist.root", "f3", located=False)

        counts = project.output_counts(self.view(patterns=("%.reco.root", "%.hist.root")))

        assert (counts.located, counts.expected, counts.consumed) == (1, 3, 3)

    # ---------------------------------------------------------------------------------- recoveries

    @pytest.mark.parametrize(("kind", "files"), [
        ("consumed_status", "f2 f3 f4 f5"), ("pending_files", "f2 f3 f4 f5"), ("added_files", "f6"),
        ("delivered_not_consumed", "f3 f4 f5"),
    ])
    def test_what_a_recovery_takes(self, project, kind, files):
        """The files that each kind of recovery would process again, by a query that can be declared."""
        self.deliver(project, "prj", "f1", "consumed")
        self.output(project, "o1.root", "f1")
        self.deliver(project, "prj", "f3", "skipped")
        self.declare(project, "f6")
        if kind == "delivered_not_consumed":
            self.deliver(project, "prj", "f2", "consumed")

        derived = project.recovery_files(self.view(), kind)
        project.define("poms_recover_42_0", derived.query)

        assert project.list(project.dataset_query("poms_recover_42_0")) == files.split()
        assert derived.count == len(files.split())

    def test_nothing_to_recover_counts_zero(self, project):
        """When every file was consumed there is nothing to do."""
        for number in range(1, 6):
            self.deliver(project, "prj", f"f{number}", "consumed")

        assert project.recovery_files(self.view(), "consumed_status").count == 0

    def test_every_kind_of_recovery_is_explained(self, project):
        """Each kind has a sentence, and an unknown one is refused."""
        assert all(project.recovery_kinds().values())
        with pytest.raises(Invalid):
            project.recovery_files(self.view(), "no such kind")

    # -------------------------------------------------------------------------------- dependencies

    @pytest.mark.parametrize(("patterns", "files"), [
        (["%"], "a.root h.hist"), (["%.root"], "a.root"), (["%.root", "%.hist"], "a.root h.hist"), (["x%"], ""),
        (["file_name like '%.hist'"], "h.hist"),
    ])
    def test_what_a_dependent_stage_gets(self, project, patterns, files):
        """Located output that matches any pattern."""
        self.output(project, "a.root", "f1")
        self.output(project, "h.hist", "f1")
        self.output(project, "late.root", "f2", located=False)

        derived = project.dependency_files(self.view(), patterns, 1)

        assert derived.count == len(files.split())
        if derived.count:
            assert project.list(derived.query) == files.split()

    def test_a_generator_without_output_feeds_nobody(self, raw):
        """Jobs without input declare their dataset themselves; until then there is nothing."""
        assert raw.dependency_files(self.view(project="", stage_type="generator"), ["%"], 1).count == 0

    # -------------------------------------------------------------------------------- surroundings

    def test_jobs_are_told_how_to_reach_it(self, backend):
        """Variables for launch scripts: names and texts."""
        plan = LaunchPlan(42, 1, "samdev", "samdev", "production", "ann", "localhost", "samdevpro", "", "true", ())

        assert all(isinstance(name, str) and isinstance(value, str) for name, value in backend.job_environment(plan))

    def test_it_says_how_it_is(self, backend):
        """Health is a sentence for people."""
        health = backend.health()

        assert health.ok
        assert health.message
