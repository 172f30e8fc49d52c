"""``LocalCatalogue`` as services use it: datasets, delivery, what is done, what is to do again, what comes next."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest

from poms.plugins.local.catalogue import database, files, projects
from poms.plugins.local.catalogue.backend import LocalCatalogue
from poms.plugins.local.catalogue.projects import Consumer, Over
from poms.webservice.errors import BackendUnavailable, Conflict, Invalid, NotFound
from poms.webservice.interfaces import DataBackend, FileCounts, LaunchPlan, SubmissionView
from poms.webservice.rules import sam_queries

HOSTILE = ["it's", 'say "x"', "a b", "$(touch x)", "sl/ash", "ünïcode ☃", "100%_?!", "semi;colon--", "back\\slash",
           "[a-z]*", "and", "1-5", ".."]


class Production:
    """A small production: a dataset ``ds``, its delivery to one job, and output of it."""

    def __init__(self, site: Any, inputs: int = 4) -> None:
        self.site = site
        self.catalogue: LocalCatalogue = site.catalogue()
        self.inputs = [f"raw_{number}.root" for number in range(1, inputs + 1)]
        site.declare(*self.inputs, data_tier="raw")
        self.catalogue.define("ds", "data_tier raw")
        site.clock.move(hours=1)
        self.submitted_at = site.clock()
        self.catalogue.create_project("p", "ds", "mc")
        site.clock.move(hours=1)

    def job(self, name: str = "job.1", limit: int | None = None) -> int:
        with self.catalogue.writing() as scope:
            return projects.establish(scope, "p", Consumer(job=name, node="node1", file_limit=limit))

    def take(self, process: int, state: str = "") -> str:
        with self.catalogue.writing() as scope:
            while (handed := projects.next_file(scope, "p", process)).kind == "wait":
                continue
            for each in ["transferred", state] if state and handed.file_name else []:
                projects.set_file_state(scope, "p", process, handed.file_name, each)
        return handed.file_name

    def make(self, name: str, *parents: str, version: str = "v1", located: bool = True) -> None:
        self.site.declare(name, located=located, application={"family": "art", "name": "lar", "version": version},
                          parents=[{"file_name": each} for each in parents])

    def view(self, **more: Any) -> SubmissionView:
        return SubmissionView(**{"submission_id": 7, "experiment": "samdev", "project": "p", "dataset": "ds",
                                 "software_version": "v1", "created_at": self.submitted_at} | more)


@pytest.fixture
def production(site: Any) -> Production:
    return Production(site)


def test_the_catalogue_is_a_data_backend(site: Any) -> None:
    """It offers everything that services call."""
    assert isinstance(site.catalogue(), DataBackend)


# ---------------------------------------------------------------------------------------- datasets


def test_the_same_definition_again_is_no_change(production: Production) -> None:
    """Declaring what is declared already is harmless, also once it was used."""
    production.catalogue.define("ds", "data_tier raw")

    assert production.catalogue.definition("ds") == "data_tier raw"


def test_a_definition_is_replaced_until_it_was_used(site: Any) -> None:
    """Another query takes the place of the first, but not after a snapshot."""
    catalogue = site.catalogue()
    catalogue.define("ds", "data_tier raw")
    catalogue.define("ds", "data_tier reco")
    catalogue.snapshot("ds")

    assert catalogue.definition("ds") == "data_tier reco"
    with pytest.raises(Conflict, match="used already"):
        catalogue.define("ds", "data_tier ana")


def test_an_unknown_definition_has_no_query(site: Any) -> None:
    """Asking for it is no error; taking a snapshot of it is."""
    assert site.catalogue().definition("nothing") is None
    with pytest.raises(NotFound, match="no definition 'nothing'"):
        site.catalogue().snapshot("nothing")


def test_a_snapshot_of_an_unchanged_list_keeps_its_number(production: Production) -> None:
    """A new number means new files, and the old list stays as it was."""
    first = production.catalogue.snapshot("ds")
    again = production.catalogue.snapshot("ds")
    production.site.declare("raw_9.root", data_tier="raw")
    third = production.catalogue.snapshot("ds")

    assert first == again != third
    assert production.catalogue.count(f"snapshot_id {first}") == 4
    assert production.catalogue.count(f"snapshot_id {third}") == 5


def test_a_snapshot_forgets_neither_removed_nor_spoiled_files(production: Production) -> None:
    """What was delivered stays known when its disk copy goes or its content is found bad."""
    number = production.catalogue.snapshot("ds")
    with production.catalogue.writing() as scope:
        files.change_locations(scope, "raw_1.root", remove=["disk:/data"])
        files.change(scope, "raw_2.root", {"content_status": "bad"})

    assert production.catalogue.count("defname:ds") == 2
    assert production.catalogue.count(f"snapshot_id {number}") == 4
    assert production.catalogue.count(f"snapshot_id {number} with availability physical") == 3
    assert production.catalogue.count(f"defname:ds minus snapshot_id {number}") == 0


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_names(site: Any, name: str) -> None:
    """Files and definitions may have any printable name, and are found by it."""
    catalogue = site.catalogue()
    site.declare(name, "other")
    catalogue.define(name, f"file_name {sam_queries.quote(name)}")

    assert catalogue.list(catalogue.dataset_query(name)) == [name]


@pytest.mark.parametrize("name", ["two\nlines", "", "   ", "nul\0", "x" * 300, "bell\a"])
def test_names_that_would_break_lists_are_refused(site: Any, name: str) -> None:
    """A list has one name a line, so no name has a line break."""
    with pytest.raises(Invalid):
        site.declare(name)


# ---------------------------------------------------------------------------------------- delivery


def test_each_file_is_given_once(production: Production) -> None:
    """Two jobs share the files of a project, in the project's order."""
    one, two = production.job("job.1"), production.job("job.2")

    taken = [production.take(process, "consumed") for process in (one, two, one, two)]

    assert taken == production.inputs
    assert production.take(one) == production.take(two) == ""


def test_a_file_whose_answer_was_lost_is_given_again(production: Production) -> None:
    """Until a job reports a file as transferred it is assumed never to have heard of it."""
    process = production.job()

    first, again = production.take(process), production.take(process)
    with production.catalogue.writing() as scope:
        projects.set_file_state(scope, "p", process, first, "transferred")

    assert first == again == "raw_1.root"
    assert production.take(process) == "raw_2.root"


def test_the_same_job_is_the_same_process(production: Production) -> None:
    """A job that asks twice, because the answer was lost, does not become two processes."""
    assert production.job("job.1") == production.job("job.1") != production.job("job.2")


def test_a_job_that_begins_anew_gets_a_new_process(production: Production) -> None:
    """Once a process has ended, the same job name means another process."""
    first = production.job("job.1")
    with production.catalogue.writing() as scope:
        projects.end_process(scope, "p", first)

    assert production.job("job.1") != first


def test_the_file_limit_is_kept(production: Production) -> None:
    """A process never gets more files than it asked for."""
    process = production.job(limit=2)

    taken = [production.take(process, "consumed") for _ in range(3)]

    assert taken == ["raw_1.root", "raw_2.root", ""]


def test_a_file_without_location_is_passed_over(production: Production) -> None:
    """What cannot be read is not handed out, and stays to be recovered."""
    with production.catalogue.writing() as scope:
        files.change_locations(scope, "raw_1.root", remove=["disk:/data"])

    assert production.take(production.job()) == "raw_2.root"
    assert production.catalogue.project_summary("p").file_counts["unknown"] == 3


def test_a_late_report_takes_nothing_back(production: Production) -> None:
    """Reports repeated or overtaken on the way leave the state that was reached."""
    process = production.job()
    name = production.take(process, "consumed")
    with production.catalogue.writing() as scope:
        for state in ("consumed", "transferred", "delivered"):
            projects.set_file_state(scope, "p", process, name, state)

    assert production.catalogue.project_summary("p").file_counts["consumed"] == 1


def test_a_final_state_is_not_contradicted(production: Production) -> None:
    """A consumed file cannot be reported as failed afterwards."""
    process = production.job()
    name = production.take(process, "consumed")

    with pytest.raises(Conflict, match="consumed already"), production.catalogue.writing() as scope:
        projects.set_file_state(scope, "p", process, name, "failed")


def test_a_report_may_name_the_address_of_a_file(site: Any) -> None:
    """Jobs report on what they were given, and that is an address; a name in it may hold slashes."""
    site.declare("dir/a b.root")
    catalogue = site.catalogue()
    catalogue.define("ds", "file_name %")
    catalogue.create_project("p", "ds", "mc")
    with catalogue.writing() as scope:
        process = projects.establish(scope, "p", Consumer(job="job.1"))
        handed = projects.next_file(scope, "p", process)
        projects.set_file_state(scope, "p", process, handed.url, "consumed")

    assert handed.url == "file:///data/dir/a%20b.root"
    assert catalogue.project_summary("p").consumed == 1


def test_nobody_reports_on_the_files_of_another(production: Production) -> None:
    """Only the process that was given a file can say what became of it."""
    name, other = production.take(production.job("job.1")), production.job("job.2")

    with pytest.raises(Conflict, match="not given to process"), production.catalogue.writing() as scope:
        projects.set_file_state(scope, "p", other, name, "consumed")


def test_an_ended_project_gives_nothing_but_hears_everything(production: Production) -> None:
    """After the end no file goes out; a late report of a job is still taken."""
    process = production.job()
    name = production.take(process)
    production.catalogue.end_project("p")
    production.catalogue.end_project("p")

    with pytest.raises(Over):
        production.take(process)
    with production.catalogue.writing() as scope:
        projects.set_file_state(scope, "p", process, name, "consumed")
    summary = production.catalogue.project_summary("p")
    assert (summary.status, summary.consumed) == ("completed", 1)


def test_the_files_of_a_vanished_job_wait_for_a_recovery(production: Production) -> None:
    """A vanished job's process ends as bad; what it had in hand is recovered and not handed out again."""
    lost = production.take(production.job("job.1"))
    other = production.job("job.2")

    assert production.catalogue.abandon_processes("p", ["job.1"]) == 1
    assert production.catalogue.abandon_processes("p", ["job.1"]) == 0
    assert [production.take(other, "consumed") for _ in range(4)] == [*production.inputs[1:], ""]
    again = production.catalogue.recovery_files(production.view(), "consumed_status")
    assert production.catalogue.list(again.query) == [lost]


def test_starting_a_project_again_finds_it(production: Production) -> None:
    """The same project of the same dataset is no second one; of another dataset it is a conflict."""
    url = production.catalogue.create_project("p", "ds", "mc")
    production.catalogue.define("other", "data_tier raw and file_name raw_1%")

    assert url == "http://localhost:8080/sam/samdev/key-a-key-for-tests/api/projects/samdev/p"
    with pytest.raises(Conflict, match="exists already"):
        production.catalogue.create_project("p", "other", "mc")


def test_many_threads_get_every_file_once(site: Any) -> None:
    """Jobs that all ask at the same moment share the files without losing or doubling any."""
    production = Production(site, inputs=60)
    taken: list[str] = []
    failures: list[BaseException] = []

    def drain(number: int) -> None:
        try:
            process = production.job(f"job.{number}")
            while name := production.take(process, "consumed"):
                taken.append(name)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=drain, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert sorted(taken) == sorted(production.inputs)
    assert production.catalogue.project_summary("p").file_counts["consumed"] == 60


def test_two_snapshots_at_the_same_moment_are_one(production: Production) -> None:
    """Threads that freeze the same list get the same number."""
    production.site.declare("raw_9.root", data_tier="raw")
    numbers: list[int] = []
    threads = [threading.Thread(target=lambda: numbers.append(production.catalogue.snapshot("ds"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(numbers) == 4
    assert len(set(numbers)) == 1


# ------------------------------------------------------------------------------- what is done


def test_input_files_are_shown_with_their_state_and_job(production: Production) -> None:
    """Every file of the project, in order, with what became of it and who had it."""
    production.take(production.job("job.1"), "consumed")

    states = [(each.file_name, each.state, each.job) for each in production.catalogue.file_states(production.view())]

    assert states[:2] == [("raw_1.root", "consumed", "job.1"), ("raw_2.root", "unknown", "")]
    assert len(states) == 4


@pytest.mark.parametrize("project", ["", "None"])
def test_without_a_project_there_are_no_input_files(production: Production, project: str) -> None:
    """“None” is no project's name but the lack of one."""
    view = production.view(project=project)

    assert list(production.catalogue.file_states(view)) == []
    assert production.catalogue.recovery_files(view, "consumed_status").count == 0


def test_output_is_counted_by_inputs_that_have_it(production: Production) -> None:
    """Located counts inputs with located children of every pattern; generated counts output files."""
    process = production.job()
    for _ in range(3):
        production.take(process, "consumed")
    production.make("a_1.root", "raw_1.root")
    production.make("a_1.txt", "raw_1.root")
    production.make("a_2.root", "raw_2.root")
    production.make("a_3.root", "raw_3.root", located=False)
    production.make("old_3.root", "raw_3.root", version="v0")

    both = production.catalogue.output_counts(production.view(patterns=("%.root", "%.txt")))
    one = production.catalogue.output_counts(production.view(patterns=("%.root",)))

    assert both == FileCounts(located=1, expected=3, consumed=3, generated=4)
    assert one == FileCounts(located=2, expected=3, consumed=3, generated=3)


def test_output_older_than_the_submission_is_not_its_output(production: Production) -> None:
    """Children that an earlier submission made of the same input do not count."""
    view = production.view(created_at=production.site.clock() + timedelta(hours=5))
    production.make("a_1.root", "raw_1.root")

    assert production.catalogue.output_counts(view).located == 0


@pytest.mark.parametrize(("tolerance", "located"), [(0, 0), (299, 0), (300, 0), (301, 1), (3600, 1)])
def test_output_may_be_dated_as_much_earlier_as_is_tolerated(production: Production, tolerance: float,
                                                             located: int) -> None:
    """A file dated five minutes before the submission counts if more than that is tolerated."""
    production.make("a_1.root", "raw_1.root")
    view = production.view(created_at=production.site.clock() + timedelta(minutes=5),
                           clock_tolerance_seconds=tolerance)

    assert production.catalogue.output_counts(view).located == located
    assert len(list(production.catalogue.output_files(view))) == located


def test_output_two_generations_on_is_found(production: Production) -> None:
    """With ancestor depth 2 grandchildren count; the generation between need not be located."""
    production.make("mid_1.root", "raw_1.root", located=False)
    production.make("end_1.root", "mid_1.root")
    view = production.view(ancestor_depth=2, patterns=("end%",))

    assert production.catalogue.output_counts(view).located == 1
    assert [(each.file_name, each.parents) for each in production.catalogue.output_files(view)] == [
        ("end_1.root", ("raw_1.root",))]


def test_output_files_tell_where_they_came_from(production: Production) -> None:
    """Each output with its inputs, whether it has a location or is only declared."""
    production.make("a.root", "raw_1.root", "raw_2.root")
    production.make("b.root", "raw_3.root", located=False)

    found = [(each.file_name, each.located, each.parents)
             for each in production.catalogue.output_files(production.view())]

    assert found == [("a.root", True, ("raw_1.root", "raw_2.root")), ("b.root", False, ("raw_3.root",))]


# ---------------------------------------------------------------------------- recoveries and dependents


def _recovered(production: Production, kind: str, **view: Any) -> list[str]:
    derived = production.catalogue.recovery_files(production.view(**view), kind)
    listed = production.catalogue.list(derived.query) if derived.query else []
    assert derived.count == len(listed)
    return listed


def test_what_was_not_consumed_is_recovered(production: Production) -> None:
    """Skipped, delivered and untouched files are processed again; consumed ones are not."""
    process = production.job()
    production.take(process, "consumed")
    production.take(process, "skipped")
    production.take(process)

    assert _recovered(production, "consumed_status") == ["raw_2.root", "raw_3.root", "raw_4.root"]


def test_files_of_a_process_that_failed_are_recovered(production: Production) -> None:
    """By process status, a consumed file counts only if its process ended well."""
    for number, status in ((1, "completed"), (2, "bad")):
        process = production.job(f"job.{number}")
        production.take(process, "consumed")
        with production.catalogue.writing() as scope:
            projects.set_process_status(scope, "p", process, status)
            projects.end_process(scope, "p", process)

    assert _recovered(production, "process_status") == ["raw_2.root", "raw_3.root", "raw_4.root"]
    assert _recovered(production, "consumed_status") == ["raw_3.root", "raw_4.root"]


def test_a_file_consumed_and_then_removed_is_not_processed_again(production: Production) -> None:
    """What is done stays done when the input's copy is cleaned up."""
    production.take(production.job(), "consumed")
    with production.catalogue.writing() as scope:
        files.change_locations(scope, "raw_1.root", remove=["disk:/data"])

    assert "raw_1.root" not in _recovered(production, "consumed_status")


def test_inputs_without_output_of_every_kind_are_pending(production: Production) -> None:
    """An input that lacks a child of one pattern is processed again."""
    production.make("a_1.root", "raw_1.root")
    production.make("a_1.txt", "raw_1.root")
    production.make("a_2.root", "raw_2.root")

    assert _recovered(production, "pending_files", patterns=("%.root,%.txt",)) == [
        "raw_2.root", "raw_3.root", "raw_4.root"]
    assert _recovered(production, "pending_files", patterns=("%.root",)) == ["raw_3.root", "raw_4.root"]


def test_files_added_to_the_dataset_are_found(production: Production) -> None:
    """What joined the dataset after the project began."""
    production.site.declare("raw_9.root", data_tier="raw")

    assert _recovered(production, "added_files") == ["raw_9.root"]
    assert _recovered(production, "added_files", dataset="") == ["raw_9.root"]


def test_delivered_but_not_consumed_leaves_failed_files_out(production: Production) -> None:
    """Files that failed for good are not tried again by this recovery."""
    process = production.job()
    production.take(process, "consumed")
    production.take(process, "failed")
    production.take(process, "skipped")

    assert _recovered(production, "delivered_not_consumed") == ["raw_3.root", "raw_4.root"]


def test_every_recovery_offered_can_be_asked_for(production: Production) -> None:
    """No kind is only a name; an unknown one is refused with the list."""
    for kind in production.catalogue.recovery_kinds():
        _recovered(production, kind)

    with pytest.raises(Invalid, match="consumed_status"):
        production.catalogue.recovery_files(production.view(), "proj_status")


def test_dependents_get_the_files_of_any_of_their_patterns(production: Production) -> None:
    """Patterns in a comma list are alternatives; other versions and unlocated files are left out."""
    production.make("a_1.root", "raw_1.root")
    production.make("a_1.txt", "raw_1.root")
    production.make("a_1.log", "raw_1.root")
    production.make("b_1.root", "raw_1.root", version="v0")
    production.make("c_1.root", "raw_1.root", located=False)

    derived = production.catalogue.dependency_files(production.view(), ["%.root,%.txt"], 1)

    assert production.catalogue.list(derived.query) == ["a_1.root", "a_1.txt"]
    assert derived.count == 2


def test_dependents_of_a_transfer_get_its_input(production: Production) -> None:
    """A stage that only moves files hands on the dataset itself."""
    derived = production.catalogue.dependency_files(production.view(stage_type="datatransfer"), ["raw_1%"], 1)

    assert production.catalogue.list(derived.query) == ["raw_1.root"]


def test_dependents_of_a_generator_get_what_its_jobs_declared(production: Production) -> None:
    """Without input the jobs tag their output and declare the dataset; patterns narrow it."""
    catalogue, view = production.catalogue, production.view(project="", stage_type="generator", jobs_expected=3)
    before = catalogue.dependency_files(view, ["%"], 1)
    production.site.declare("gen_1.root", "gen_2.txt", **{"dataset.tag": "poms_depends_7_1"})
    production.site.declare("gen_3.root", located=False, **{"dataset.tag": "poms_depends_7_1"})
    catalogue.define("poms_depends_7_1", "dataset.tag poms_depends_7_1")

    everything = catalogue.dependency_files(view, ["%"], 1)
    narrowed = catalogue.dependency_files(view, ["%.root"], 1)
    catalogue.define("poms_depends_7_1", narrowed.query)

    assert before.count == 0
    assert everything.query == catalogue.dataset_query("poms_depends_7_1")
    assert everything.count == 2
    assert catalogue.list("defname:poms_depends_7_1") == ["gen_1.root"]
    assert catalogue.dependency_files(view, ["%.txt"], 2).count == 1
    assert catalogue.output_counts(view) == FileCounts(2, 3, 0, 3, "output files")
    assert [each.file_name for each in catalogue.output_files(view)] == ["gen_1.root", "gen_2.txt", "gen_3.root"]


def test_an_analysis_users_generator_has_a_dataset_of_its_own(production: Production) -> None:
    """For an analysis stage the dataset carries the owner's name."""
    production.site.declare("gen_1.root", **{"dataset.tag": "poms_mengel_depends_7_1"})
    view = production.view(project="", stage_type="generator", owner="mengel", owner_role="analysis")

    assert production.catalogue.dependency_files(view, ["%"], 1).count == 1


# ------------------------------------------------------------------------------------ surroundings


def test_jobs_learn_where_the_catalogue_is(site: Any) -> None:
    """Launch scripts and jobs get the address with the key, for reading and for writing."""
    plan = LaunchPlan(submission_id=1, attempt=1, experiment="samdev", group="samdev", role="production",
                      launcher="mc", host="localhost", account="mc", setup="", command="", environment=())

    environment = dict(site.catalogue().job_environment(plan))

    assert environment["SAM_WEB_BASE_URL"] == "http://localhost:8080/sam/samdev/key-a-key-for-tests/api"
    assert environment["SAM_WEB_BASE_SSL_URL"] == environment["SAM_WEB_BASE_URL"]
    assert environment["SAM_EXPERIMENT"] == environment["SAM_STATION"] == "samdev"


def test_no_link_for_people_holds_the_key(site: Any) -> None:
    """Pages are seen by many; the key lets its holder write."""
    assert site.catalogue().links("project", "p") == []


def test_a_query_over_the_time_limit_is_refused(site: Any) -> None:
    """A costly query ends as a refusal that names the limit, not as an empty answer."""
    production = Production(site, inputs=100)
    catalogue = production.site.catalogue(query_limit_seconds=0.000001 if "sqlite" in site.url else 0.001)
    costly = " or ".join(f"ischildof:(file_name %{number}% or full_path %x%)" for number in range(40))

    with pytest.raises(BackendUnavailable, match="query limit"):
        catalogue.count(costly)
    assert production.catalogue.count("defname:ds") == 100


def test_a_database_that_cannot_be_used_is_no_empty_catalogue(tmp_path: Any, site: Any) -> None:
    """Without its tables the catalogue raises instead of counting nothing."""
    context = site.context()
    broken = LocalCatalogue(type(context)(**{**context.__dict__, "database_url": f"sqlite:///{tmp_path}/empty.db"}))

    with pytest.raises(BackendUnavailable):
        broken.count("file_name a")
    with pytest.raises(BackendUnavailable):
        broken.health()
    database.engine_for(f"sqlite:///{tmp_path}/empty.db").dispose()


def test_a_healthy_catalogue_says_so(production: Production) -> None:
    """Health counts the running projects."""
    assert production.catalogue.health().figures == {"projects_running": 1.0}
