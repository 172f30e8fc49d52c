"""SAM's HTTP API as jobs, launch scripts and the samweb client use it, through the real WSGI application."""

from __future__ import annotations

import http.client
import io
import json
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import cheroot.wsgi
import cherrypy
import pytest
from webtest import TestApp

from poms.plugins.local import catalogue as plugin
from poms.plugins.local.catalogue import files
from poms.plugins.local.catalogue.web import CatalogueApplication

ROOT = "/samdev/key-a-key-for-tests/api"
JSON = {"Accept": "application/json"}


class Web:
    """A client of the API; paths are relative to its root."""

    def __init__(self, site: Any) -> None:
        self.site = site
        self.catalogue = site.catalogue()
        self.app = TestApp(CatalogueApplication({name: site.context(name) for name in ("samdev", "nova")}))

    def get(self, path: str, status: int = 200, **parameters: Any) -> Any:
        return self.app.get(f"{ROOT}{path}", parameters, status=status)

    def get_json(self, path: str, status: int = 200, **parameters: Any) -> Any:
        return self.app.get(f"{ROOT}{path}", parameters, headers=JSON, status=status).json

    def post(self, path: str, status: int = 200, **parameters: Any) -> Any:
        return self.app.post(f"{ROOT}{path}", parameters, status=status)

    def send(self, path: str, item: Any, status: int = 200, method: str = "POST") -> Any:
        return self.app.request(f"{ROOT}{path}", method=method, body=json.dumps(item).encode(),
                                content_type="application/json", headers=JSON, status=status)


@pytest.fixture
def web(site: Any) -> Web:
    return Web(site)


@pytest.fixture
def dataset(web: Web) -> Web:
    """Five located files and a definition of them."""
    web.site.declare("f1", "f2", "f3", "f4", "f5", data_tier="raw")
    web.post("/definitions/create", defname="raw", dims="data_tier raw", user="sam", group="samdev")
    return web


# --------------------------------------------------------------------------------------------- the key


@pytest.mark.parametrize("path", [
    "/samdev/key-wrong/api/files/count?dims=file_name+a", "/samdev/api/files/count", "/", "", "/samdev",
    "/unknown/key-a-key-for-tests/api/", "/samdev/key-/api/", "/samdev/a-key-for-tests/api/",
    "/samdev/key-a-key-for-tests/", "/samdev/KEY-a-key-for-tests/api/", "/samdev/key-\u00e9/api/",
])
def test_without_the_key_everything_is_refused(web: Web, path: str) -> None:
    """Nobody learns anything without the key, not even what exists."""
    answer = web.app.get(quote(path, safe="/?=+"), status=403, headers=JSON)

    assert answer.json["error"] == "Forbidden"
    assert "key-a-key" not in answer.text


def test_the_key_of_one_service_opens_each_experiments_own_catalogue(dataset: Web) -> None:
    """What is declared for one experiment is not seen under another's address."""
    other = dataset.app.get("/nova/key-a-key-for-tests/api/files/count", {"dims": "data_tier raw"})

    assert other.text == "0"
    assert dataset.get("/files/count", dims="data_tier raw").text == "5"


# --------------------------------------------------------------------------------------------- queries


@pytest.mark.parametrize("method", ["get", "post"])
def test_queries_come_in_the_address_or_in_the_body(dataset: Web, method: str) -> None:
    """Clients switch to POST when a query is long; the answer is the same."""
    ask = getattr(dataset, method)

    assert ask("/files/count", dims="data_tier raw").text == "5"
    assert ask("/files/list", dims="data_tier raw").text == "f1\nf2\nf3\nf4\nf5\n"
    assert ask("/files/summary", dims="data_tier raw").json == {
        "file_count": 5, "total_file_size": 50, "total_event_count": 0}


def test_a_list_is_lines_or_json(dataset: Web) -> None:
    """The parameter format decides, then what the client accepts; with fileinfo there are four columns."""
    assert dataset.get_json("/files/list", dims="data_tier raw with limit 2") == ["f1", "f2"]
    assert dataset.app.get(f"{ROOT}/files/list?format=plain&dims=file_name+f1", headers=JSON).text == "f1\n"
    assert dataset.get("/files/list", dims="file_name f1", fileinfo=1).text == "f1\t1\t10\t0\n"


def test_a_query_can_be_read_without_being_asked(dataset: Web) -> None:
    """expand_query and parse_only give the normal form."""
    assert dataset.get_json("/files/expand_query", dims="DEFNAME : raw WITH LIMIT 2") == {
        "query": "defname:raw with limit 2"}
    assert dataset.get("/files/list", dims="(file_name  f1)", parse_only=1).text == "file_name f1\n"


def test_a_mistake_in_a_query_is_shown_in_the_answer(dataset: Web) -> None:
    """400 with the place; as JSON with both members, as text with a content type."""
    as_json = dataset.get_json("/files/count", dims="file_name a:b", status=400)
    as_text = dataset.get("/files/count", dims="file_name a:b", status=400)

    assert as_json["error"] == "DimensionError"
    assert "line 1, column 12" in as_json["message"]
    assert as_text.content_type == "text/plain"
    assert as_text.text.startswith("DimensionError: ")


def test_an_unknown_definition_is_a_mistake_in_a_query_but_not_found_in_an_address(dataset: Web) -> None:
    """400 for dims that name it, 404 DefinitionNotFound for its own address."""
    assert dataset.get_json("/files/count", dims="defname:nothing", status=400)["error"] == "DimensionError"
    for path in ("", "/describe", "/files/count", "/files/list", "/files/summary"):
        answer = dataset.get_json(f"/definitions/name/nothing{path}", status=404)
        assert answer["error"] == "DefinitionNotFound"


def test_dimensions_are_listed_with_their_meaning(dataset: Web) -> None:
    """Pairs of name and description, with the experiment's own parameters."""
    dataset.site.declare("g", **{"mc.energy": 1})
    listed = dict(dataset.get_json("/files/list/dimensions", descriptions=1))

    assert {"file_name", "run_number", "mc.energy", "dataset.tag"} <= set(listed)
    assert all(listed.values())


# ------------------------------------------------------------------------------------------------ files


METADATA = {
    "file_name": "out.root", "file_type": "mc", "file_format": "root", "file_size": 1234, "user": "mc",
    "group": "samdev", "create_date": "2026-02-01T10:00:00+0000", "checksum": ["adler32:00ff", "md5:abc"],
    "content_status": "good", "application": {"family": "art", "name": "lar", "version": "v1"},
    "parents": [{"file_name": "f1"}], "runs": [[7, 2, "physics"], [8, "cosmics"]], "event_count": 5,
    "dataset.tag": "poms_depends_1_1", "mc.energy": 2.5, "start_time": 1769940000, "data_tier": "reco",
}


def test_metadata_come_back_as_they_were_declared(dataset: Web) -> None:
    """A declared file is found with everything that was said of it."""
    dataset.send("/files", METADATA)
    shown = dataset.get_json("/files/name/out.root/metadata")

    said = METADATA | {"create_date": "2026-02-01T10:00:00+00:00", "start_time": "2026-02-01T10:00:00+00:00",
                       "parents": [{"file_name": "f1", "file_id": 1}]}
    assert {name: shown[name] for name in said} == said
    assert dataset.get_json(f"/files/id/{shown['file_id']}/metadata") == shown
    assert "File Name: out.root\n" in dataset.get("/files/name/out.root/metadata", format="plain").text


def test_what_comes_back_can_be_sent_again(dataset: Web) -> None:
    """Tools that copy metadata need not know which members are the catalogue's own."""
    dataset.send("/files", METADATA)
    shown = dataset.get_json("/files/name/out.root/metadata", locations=1)

    dataset.send("/files", shown | {"file_name": "copy.root"})

    copied = dataset.get_json("/files/name/copy.root/metadata")
    assert copied["runs"] == METADATA["runs"]
    assert copied["mc.energy"] == 2.5


def test_a_name_is_declared_once(dataset: Web) -> None:
    """The same name again is 409, even with the same metadata: the client compares."""
    dataset.send("/files", METADATA)

    assert dataset.send("/files", METADATA, status=409).json["error"] == "Conflict"
    assert dataset.get("/files/count", dims="file_name out.root with availability anylocation").text == "1"


@pytest.mark.parametrize(("change", "member"), [
    ({"file_name": "two\nlines"}, "file_name"), ({"file_size": None}, "file_size"), ({"file_size": -1}, "file_size"),
    ({"file_size": "many"}, "file_size"), ({"event_count": 2**63}, "event_count"), ({"runs": [["x"]]}, "runs"),
    ({"create_date": "yesterday"}, "create_date"), ({"checksum": ["abc"]}, "checksum"),
    ({"application": {"version": "v1", "colour": "red"}}, "application"), ({"parents": [{"id": 1}]}, "parents"),
    ({"parents": [{"file_name": "nothing"}]}, "parents"), ({"data_teir": "raw"}, "data_tier"),
    ({"mc.energy": {"x": 1}}, "mc.energy"), ({"mc.": 1}, "mc."), ({"file_type": True}, "file_type"),
])
def test_bad_metadata_are_refused_with_the_member(dataset: Web, change: dict[str, Any], member: str) -> None:
    """InvalidMetadata names what is wrong, and nothing of the file is stored."""
    answer = dataset.send("/files", METADATA | change, status=400).json

    assert answer["error"] == "InvalidMetadata"
    assert member in answer["message"]
    assert dataset.get("/files/count", dims="data_tier reco with availability anylocation").text == "0"


def test_a_file_name_alone_is_refused(dataset: Web) -> None:
    """Metadata with nothing but a name say nothing."""
    answer = dataset.send("/files/validate_metadata", {"file_name": "x"}, status=400).json

    assert answer["error"] == "InvalidMetadata"


def test_metadata_can_be_checked_without_declaring(dataset: Web) -> None:
    """Validation stores nothing."""
    dataset.send("/files/validate_metadata", METADATA)

    assert dataset.get_json("/files/name/out.root/metadata", status=404)["error"] == "FileNotFound"


def test_many_files_are_declared_together_or_not_at_all(dataset: Web) -> None:
    """A list with one bad record declares none; later ones may have earlier ones as parents."""
    first, second = METADATA | {"file_name": "a"}, METADATA | {"file_name": "b", "parents": [{"file_name": "a"}]}
    dataset.send("/files", [first, second, {"file_name": "c"}], status=400)
    before = dataset.get("/files/count", dims="data_tier reco with availability anylocation").text
    dataset.send("/files", [first, second])

    assert before == "0"
    assert dataset.get_json("/files/name/b/metadata")["parents"][0]["file_name"] == "a"


def test_members_are_changed_one_by_one(dataset: Web) -> None:
    """A change names what it changes; null removes; all else stays."""
    dataset.send("/files", METADATA)
    dataset.send("/files/name/out.root/metadata", {"event_count": 9, "mc.energy": None, "runs": [[9, "x"]]},
                 method="PUT")
    shown = dataset.get_json("/files/name/out.root/metadata")

    assert (shown["event_count"], shown["runs"], shown["data_tier"]) == (9, [[9, "x"]], "reco")
    assert "mc.energy" not in shown


def test_a_file_cannot_become_its_own_ancestor(dataset: Web) -> None:
    """Lineage has no circles."""
    dataset.send("/files", METADATA)

    answer = dataset.send("/files/name/f1/metadata", {"parents": ["out.root"]}, 400, "PUT")

    assert "cannot come from itself" in answer.json["message"]


def test_several_files_are_changed_each_by_itself_if_asked(dataset: Web) -> None:
    """With continue_on_error a bad change does not keep the others from being made; without, none is."""
    changes = [{"file_name": "f1", "event_count": 3}, {"file_name": "nothing", "event_count": 3}]
    dataset.send("/files", changes, status=404, method="PUT")
    untouched = dataset.get_json("/files/name/f1/metadata")
    results = dataset.send("/files?continue_on_error=True", changes, method="PUT").json

    assert "event_count" not in untouched
    assert [each["status"] for each in results] == ["changed", "error"]
    assert dataset.get_json("/files/name/f1/metadata")["event_count"] == 3


def test_a_retired_file_is_in_no_query_but_keeps_its_name(dataset: Web) -> None:
    """Its metadata can still be seen; the name is not free for another."""
    dataset.post("/files/name/f1/retired_date")

    assert dataset.get("/files/count", dims="data_tier raw").text == "4"
    assert "retired_date" in dataset.get_json("/files/name/f1/metadata")
    dataset.send("/files", {"file_name": "f1", "file_size": 1}, status=409)


def test_metadata_of_several_files_leave_unknown_ones_out(dataset: Web) -> None:
    """No error for a file that does not exist."""
    answer = dataset.app.post(f"{ROOT}/files/metadata", [("file_name", "f1"), ("file_name", "x"), ("file_id", "2")])

    assert [each["file_name"] for each in answer.json] == ["f1", "f2"]


def test_locations_are_added_and_removed_any_number_of_times(dataset: Web) -> None:
    """What is so already is no change; without a location a file is not found by default."""
    for _ in range(2):
        dataset.post("/files/name/f1/locations", add="dcache:/pnfs/samdev/x")
    both = dataset.get_json("/files/name/f1/locations")
    for location in ("dcache:/pnfs/samdev/x", "disk:/data", "disk:/data"):
        dataset.post("/files/name/f1/locations", remove=location)

    assert [each["full_path"] for each in both] == ["disk:/data", "dcache:/pnfs/samdev/x"]
    assert dataset.get("/files/count", dims="file_name f1").text == "0"
    assert dataset.get("/files/count", dims="file_name f1 and availability:virtual").text == "1"


@pytest.mark.parametrize("location", ["/no/disk", "disk:/two\nlines", "disk:"])
def test_a_location_names_its_disk(dataset: Web, location: str) -> None:
    """disk:directory, on one line."""
    dataset.post("/files/name/f1/locations", add=location, status=400)


def test_addresses_of_a_file_are_made_of_its_locations(dataset: Web) -> None:
    """A job reads a file by its URL; tape comes after disk."""
    dataset.post("/files/name/f2/locations", add="enstore:/pnfs/tape(VP1@3)")
    dataset.post("/files/name/f2/locations", remove="disk:/data")
    dataset.post("/files/name/f2/locations", add="disk:/da ta")

    assert dataset.get_json("/files/name/f2/locations/url", schema="file") == [
        "file:///da%20ta/f2", "file:///pnfs/tape/f2"]
    assert dataset.get_json("/files/name/f2/locations/url", schema="root") == []
    assert dataset.get_json("/files/locations", file_name="f2")["f2"][0]["label"] == "VP1@3"
    assert dataset.get_json("/values/data_disks") == [{"mount_point": "disk:"}, {"mount_point": "enstore:"}]


def test_lineage_is_nested_as_deep_as_asked(dataset: Web) -> None:
    """Parents and children are one generation, ancestors and descendants all."""
    for name, parent in (("b", "f1"), ("c", "b")):
        dataset.send("/files", {"file_name": name, "file_size": 1, "parents": [parent]})

    def lineage(name: str, kind: str) -> Any:
        return dataset.get_json(f"/files/name/{name}/lineage/{kind}")

    assert [each["file_name"] for each in lineage("c", "parents")] == ["b"]
    assert lineage("c", "ancestors")[0]["parents"][0]["file_name"] == "f1"
    assert lineage("f1", "descendants")[0]["children"][0]["file_name"] == "c"
    assert [each["file_name"] for each in lineage("c", "rawancestors")] == ["f1"]
    dataset.get_json("/files/name/c/lineage/cousins", status=404)


# ----------------------------------------------------------------------------------------- definitions


def test_a_definition_is_made_once_described_and_deleted(dataset: Web) -> None:
    """Create, 409 on the second time, describe, count, delete, gone."""
    made = dataset.app.post(f"{ROOT}/definitions/create", {"defname": "a/b c", "dims": "file_name f1"}, headers=JSON)
    dataset.post("/definitions/create", defname="a/b c", dims="file_name f1", status=409)
    described = dataset.get_json("/definitions/name/a%2Fb%20c/describe")
    listed = dataset.get("/definitions/list", defname="a%").text
    count = dataset.get("/definitions/name/a%2Fb%20c/files/count").text
    dataset.app.delete(f"{ROOT}/definitions/name/a%2Fb%20c")

    assert made.json["defname"] == described["defname"] == "a/b c"
    assert made.json["defid"] == described["defid"]
    assert described["dimensions"] == "file_name f1"
    assert (listed, count) == ("a/b c\n", "1")
    dataset.get("/definitions/name/a%2Fb%20c", status=404)


def test_a_definition_with_a_bad_query_is_refused(dataset: Web) -> None:
    """What cannot be evaluated is not stored."""
    answer = dataset.app.post(f"{ROOT}/definitions/create", {"defname": "x", "dims": "nonsense a"}, headers=JSON,
                              status=400)

    assert answer.json["error"] == "DimensionError"
    dataset.get("/definitions/name/x", status=404)


def test_a_used_definition_is_not_deleted(dataset: Web) -> None:
    """After a snapshot the definition stays, and a snapshot of the same files keeps its number."""
    first = dataset.post("/definitions/name/raw/snapshot?format=plain", group="samdev").text
    second = dataset.post("/definitions/name/raw/snapshot", group="samdev").text
    dataset.app.delete(f"{ROOT}/definitions/name/raw", status=409)

    assert first == second
    assert first.isdigit()


# -------------------------------------------------------------------------------------------- projects


class Job:
    """A job that consumes a project over HTTP, as ifdh does."""

    def __init__(self, web: Web, project_url: str, name: str = "1.0@here", **more: Any) -> None:
        self.web = web
        self.project = urlsplit(project_url.strip()).path.removeprefix("/sam" + ROOT)
        self.fields = {"appname": "demo", "appversion": "1", "appfamily": "art", "node": "n1", "username": "mc",
                       "description": name, "filelimit": 0} | more
        self.process = web.post(f"{self.project}/establishProcess", **self.fields).text.strip()

    def next(self, status: int = 200) -> Any:
        return self.web.post(f"{self.project}/process/{self.process}/getNextFile", status=status)


def _report(job: Job, name: str, state: str, expect: int = 200) -> None:
    job.web.app.post(f"{ROOT}{job.project}/process/{job.process}/updateFileStatus",
                     {"filename": name, "status": state}, status=expect)


def test_a_project_from_its_start_to_its_end(dataset: Web) -> None:
    """Start, find, establish, take each file, report, end: the summary tells what became of every file."""
    url = dataset.post("/startProject", name="p1", station="samdev", group="samdev", defname="raw", username="mc").text
    found = dataset.get("/findProject", name="p1", station="samdev").text
    job = Job(dataset, url)
    names = []
    for state in ("consumed", "consumed", "skipped", "failed"):
        address, name = job.next().text.splitlines()
        names.append(name)
        _report(job, name, "transferred")
        _report(job, address, state)
    lost = job.next().text.splitlines()[1]
    dataset.app.put(f"{ROOT}/projects/name/p1/processes/{job.process}/status", {"status": "completed"})
    dataset.post(f"{job.project}/process/{job.process}/endProcess")
    dataset.post(f"{job.project}/process/{job.process}/endProcess")
    dataset.post(f"{job.project}/endProject", force=1)
    summary = dataset.get_json("/projects/name/p1/summary", process_limit=0)

    assert url == found
    assert [*names, lost] == ["f1", "f2", "f3", "f4", "f5"]
    assert summary["project_status"] == "completed"
    assert (summary["dataset_def_name"], summary["files_in_snapshot"], summary["processes"]) == ("raw", 5, [])
    assert {state: number for state, number in summary["file_counts"].items() if number} == {
        "consumed": 2, "skipped": 1, "failed": 1, "delivered": 1}
    assert summary["process_counts"]["completed"] == 1
    assert dataset.get_json("/projects/name/p1/summary")["processes"][0]["counts"]["consumed"] == 2


def test_no_more_files_is_204_and_an_ended_project_410(dataset: Web) -> None:
    """A job sees the difference between a drained project and one that somebody ended."""
    job = Job(dataset, dataset.post("/startProject", name="p1", defname="raw").text, filelimit=1)
    name = job.next().text.splitlines()[1]
    _report(job, name, "transferred")
    drained = job.next(status=204)
    dataset.post(f"{job.project}/endProject")
    ended = job.next(status=410)

    assert drained.body == b""
    assert drained.headers["Content-Type"]
    assert ended.text.startswith("ProjectEnded")


def test_the_next_file_comes_as_json_if_the_client_accepts_that(dataset: Web) -> None:
    """The samweb client reads url and filename; a lost answer is given again word for word."""
    job = Job(dataset, dataset.post("/startProject", name="p1", defname="raw").text)
    path = f"{ROOT}{job.project}/process/{job.process}/getNextFile"

    first, again = (dataset.app.post(path, headers=JSON).json for _ in range(2))

    assert first == again
    assert (first["url"], first["filename"]) == ("file:///data/f1", "f1")


def test_a_job_that_asks_again_is_the_same_process(dataset: Web) -> None:
    """The process is known by the job's id and node."""
    url = dataset.post("/startProject", name="p1", defname="raw").text

    assert Job(dataset, url).process == Job(dataset, url).process != Job(dataset, url, node="n2").process


@pytest.mark.parametrize(("name", "state", "status"), [
    ("f1", "eaten", 400), ("nothing", "consumed", 404), ("f2", "consumed", 409), ("", "consumed", 400)])
def test_reports_that_make_no_sense_are_refused(dataset: Web, name: str, state: str, status: int) -> None:
    """Unknown states and files, and files that the process was not given."""
    job = Job(dataset, dataset.post("/startProject", name="p1", defname="raw").text)
    job.next()

    _report(job, name, state, status)


def test_unknown_projects_and_processes_are_not_found(dataset: Web) -> None:
    """404 ProjectNotFound; a process that is no number is not found either."""
    dataset.post("/startProject", name="p1", defname="raw")

    assert dataset.get_json("/projects/name/p2/summary", status=404)["error"] == "ProjectNotFound"
    dataset.get("/findProject", name="p2", status=404)
    for process in ("99", "x", "9" * 30):
        dataset.post(f"/projects/samdev/p1/process/{process}/getNextFile", status=404)


def test_a_project_starts_from_a_snapshot_or_forces_a_new_one(dataset: Web) -> None:
    """A snapshot's files stay; a name that ends in :force freezes the list anew."""
    number = dataset.post("/definitions/name/raw/snapshot").text
    dataset.post("/startProject", name="p1", snapshot_id=number)
    dataset.post("/startProject", name="p2", defname="raw")
    dataset.post("/startProject", name="p3", defname="raw:force")

    shots = [dataset.get_json(f"/projects/name/p{each}/summary")["snapshot_id"] for each in (1, 2, 3)]

    assert shots[0] == shots[1] == int(number) != shots[2]
    assert dataset.get("/projects", defname="raw").text == "p1\np2\np3\n"


@pytest.mark.parametrize("parameters", [
    {"name": "p"}, {"name": "p", "defname": "raw", "snapshot_id": 1}, {"defname": "raw"},
    {"name": "two words", "defname": "raw"}, {"name": "p%", "defname": "raw"}, {"name": "p", "snapshot_id": "x"}])
def test_a_project_needs_a_name_and_one_source(dataset: Web, parameters: dict[str, Any]) -> None:
    """Exactly one of definition and snapshot, and a name without blanks or wild cards."""
    dataset.post("/startProject", status=400, **parameters)


def test_a_project_may_be_named_after_a_dataset_with_slashes(dataset: Web) -> None:
    """Clients make project names of dataset names and do not always encode the slash."""
    job = Job(dataset, dataset.post("/startProject", name="mc_a/b_1", defname="raw").text)
    job.next()

    assert dataset.get_json("/projects/name/mc_a/b_1/summary")["file_counts"]["delivered"] == 1


def test_recovery_dimensions_are_empty_when_all_is_done(dataset: Web) -> None:
    """What is left is a query that can be asked; nothing left is an empty answer."""
    job = Job(dataset, dataset.post("/startProject", name="p1", defname="raw").text)
    for _ in range(5):
        name = job.next().text.splitlines()[1]
        _report(job, name, "consumed")
    by_file = dataset.get("/projects/name/p1/recovery_dimensions", format="plain").text
    by_process = dataset.get(f"{job.project}/recovery_dimensions", useProcess=1).text
    left = dataset.get("/files/count", dims=by_process).text
    dataset.app.put(f"{ROOT}/projects/name/p1/process_description/1.0@here/status", {"status": "completed"})

    assert by_file == ""
    assert left == "5"
    assert dataset.get("/projects/name/p1/recovery_dimensions", useProcess=1).text == ""


def test_vanished_jobs_can_be_told_to_the_catalogue(dataset: Web) -> None:
    """POMS ends the processes of jobs that left the queue; their files are found by a recovery."""
    job = Job(dataset, dataset.post("/startProject", name="p1", defname="raw").text)
    job.next()

    assert dataset.post("/projects/name/p1/abandonProcesses", description="1.0@here").text == "1"
    assert dataset.get_json("/projects/name/p1/summary")["file_counts"]["delivered"] == 1


def test_a_projects_description_can_be_searched(dataset: Web) -> None:
    """POMS describes its projects; queries find files by it."""
    dataset.post("/startProject", name="p1", defname="raw")
    dataset.post("/projects/samdev/p1/description", description="POMS 'campaign' 7")

    assert dataset.get("/files/count", dims="project_description \"POMS 'campaign' 7\"").text == "5"


# --------------------------------------------------------------------------------------- the border


def test_what_is_not_there_and_what_is_not_done_that_way(dataset: Web) -> None:
    """404 for unknown addresses, 405 with the methods that are known, 204 never with a body."""
    dataset.get("/nothing/here", status=404)
    wrong = dataset.app.delete(f"{ROOT}/files/count", status=405)

    assert wrong.headers["Allow"] == "GET, POST"


@pytest.mark.parametrize("body", [b"{", b"[" * 100_000, b'{"file_size": NaN}', b"\xff", b""])
def test_a_body_that_is_no_json_is_refused(dataset: Web, body: bytes) -> None:
    """400, whatever comes."""
    dataset.app.post(f"{ROOT}/files", body, content_type="application/json", status=400)


def test_a_body_over_the_limit_is_refused(site: Any) -> None:
    """413 before it is read."""
    app = TestApp(CatalogueApplication({"samdev": site.context(max_body_bytes=1000)}))

    app.post(f"{ROOT}/files", b"x" * 1001, content_type="application/json", status=413)


def test_a_body_without_stated_length_is_limited_too(site: Any) -> None:
    """A chunked body, which the server hands over without a length, is cut off at the limit."""
    app = CatalogueApplication({"samdev": site.context(max_body_bytes=1000)})
    seen: list[str] = []
    environ = {"REQUEST_METHOD": "POST", "PATH_INFO": f"{ROOT}/files", "QUERY_STRING": "",
               "CONTENT_TYPE": "application/json", "wsgi.input_terminated": True, "wsgi.input": io.BytesIO(b"x" * 5000)}

    list(app(environ, lambda status, headers: seen.append(status)))

    assert seen[0].startswith("413")


def test_a_database_that_fails_is_503(tmp_path: Any, site: Any) -> None:
    """Clients wait and ask again after 503; nothing of the database's address is told."""
    context = site.context()
    broken = type(context)(**{**context.__dict__, "database_url": f"sqlite:///{tmp_path}/nothing.db"})
    app = TestApp(CatalogueApplication({"samdev": broken}))

    answer = app.get(f"{ROOT}/files/count", {"dims": "file_name a"}, headers=JSON, status=503)

    assert answer.json["error"] == "ServiceUnavailable"
    assert "nothing.db" not in answer.text


class Server:
    """The application under CherryPy's tree in a real cheroot server, as ``poms serve`` mounts it."""

    def __init__(self, site: Any) -> None:
        mounts = plugin.poms_wsgi_mounts(lambda experiment, _section: site.context(experiment), ["samdev"])
        self.prefix = mounts[0].prefix
        tree = cherrypy._cptree.Tree()
        tree.graft(mounts[0].application, self.prefix)
        self.server = cheroot.wsgi.Server(("127.0.0.1", 0), tree, numthreads=4)
        self.server.prepare()
        self.thread = threading.Thread(target=self.server.serve)
        self.thread.start()
        self.port = self.server.bind_addr[1]

    def ask(self, method: str, path: str, form: dict[str, Any] | None = None) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, f"{self.prefix}{ROOT}{path}", body=urlencode(form) if form else None,
                               headers={"Content-Type": "application/x-www-form-urlencoded"} if form else {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def stop(self) -> None:
        self.server.stop()
        self.thread.join()


@pytest.fixture
def server(site: Any) -> Iterator[Server]:
    found = Server(site)
    yield found
    found.stop()


@pytest.mark.parametrize("name", ["sl/ash", "two//slashes", "per%cent", "per%2Fcent", "plus+and space", "q?x=1#f",
                                  "ünï☃", "it's \"x\"", "$(x)`y`", "..", "a;b&c=d"])
def test_any_name_can_stand_in_an_address(site: Any, server: Server, name: str) -> None:
    """Percent-encoded once by the client, decoded once here, under the real server."""
    site.declare(name)
    with site.catalogue().reading() as scope:
        number = files.find_id(scope, name)

    status, text = server.ask("GET", f"/files/name/{quote(name, safe='')}/metadata?format=json")
    by_query = server.ask("GET", "/files/list?" + urlencode({"dims": "file_id " + str(number), "format": "json"}))

    assert status == 200
    assert json.loads(text)["file_name"] == name
    assert json.loads(by_query[1]) == [name]


def test_a_slash_that_was_not_encoded_still_belongs_to_the_name(web: Web) -> None:
    """Some servers and clients lose the encoding of slashes; what else the address says decides."""
    web.site.declare("dir/a b")
    web.post("/definitions/create", defname="my/defs/x", dims="file_name 'dir/a b'")

    assert web.get_json("/files/name/dir/a%20b/locations")[0]["location"] == "disk:/data"
    assert web.get("/definitions/name/my/defs/x/files/count").text == "1"


def test_slashes_that_clients_double_do_no_harm(site: Any, server: Server) -> None:
    """Addresses put together carelessly still arrive."""
    site.declare("a")

    assert server.ask("GET", "//files/count?dims=file_name+a") == (200, "1")
    assert server.ask("POST", "/files//count", {"dims": "file_name a"}) == (200, "1")
