"""The resources of SAM's HTTP API: which path and method does what with the catalogue.

Reads work in a reading transaction, everything else in a writing one. Addresses of projects go out as plain
text whatever the client accepts: clients use the answer as it stands.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import func, select

from poms.webservice.errors import Invalid, NotFound, PomsError, Problem
from poms.webservice.rules.sam_queries import definition as definition_query

from . import conditions, datasets, files, language, metadata, projects, tables
from .backend import LocalCatalogue
from .compiler import Compiler
from .files import Scope
from .projects import Consumer
from .protocol import BadRequest, Request, Response, Route, as_json, as_lines, as_text, route
from .vocabulary import ALWAYS_KNOWN_PARAMETERS, DIMENSIONS

RETRY_SECONDS = 2
MAX_DECLARED_AT_ONCE = 10_000


class Resources:
    """Answers one request to the catalogue of one experiment."""

    def __init__(self, catalogue: LocalCatalogue, request: Request) -> None:
        self._catalogue = catalogue
        self._request = request

    def answer(self) -> Response:
        return route(self._routes(), self._request)

    def _routes(self) -> Sequence[Route]:
        return (*self._query_routes(), *self._file_routes("name"), *self._file_routes("id"),
                *self._definition_routes(), *self._project_routes(), *self._process_routes(), *self._older_routes())

    def _query_routes(self) -> Sequence[Route]:
        return (
            ("GET", (), self.about),
            ("GET POST", ("files", "count"), self.count),
            ("GET POST", ("files", "list"), self.list),
            ("GET POST", ("files", "summary"), self.summary),
            ("GET POST", ("files", "expand_query"), self.expand_query),
            ("GET", ("files", "list", "dimensions"), self.dimensions),
            ("GET POST", ("files", "list", "locations"), self.list_locations),
            ("GET POST", ("files", "metadata"), self.many_metadata),
            ("GET POST", ("files", "locations"), self.many_locations),
            ("POST", ("files", "validate_metadata"), self.validate),
            ("POST", ("files",), self.declare),
            ("PUT", ("files",), self.change_many),
            ("GET", ("values", "{kind}"), self.values),
        )

    def _file_routes(self, by: str) -> Sequence[Route]:
        base = ("files", by, "{file}")

        def named(handler: Callable[..., Response]) -> Callable[..., Response]:
            def call(file: str, **more: str) -> Response:
                return handler(_file_number(file) if by == "id" else file, **more)
            return call

        return (
            ("GET", (*base, "metadata"), named(self.metadata)),
            ("PUT", (*base, "metadata"), named(self.change)),
            ("GET", (*base, "locations"), named(self.locations)),
            ("POST", (*base, "locations"), named(self.change_locations)),
            ("GET", (*base, "locations", "url"), named(self.access_urls)),
            ("GET", (*base, "lineage", "{kind}"), named(self.lineage)),
            ("POST", (*base, "retired_date"), named(self.retire)),
        )

    def _definition_routes(self) -> Sequence[Route]:
        base = ("definitions", "name", "{name}")
        return (
            ("POST", ("definitions", "create"), self.create_definition),
            ("GET", ("definitions", "list"), self.list_definitions),
            ("GET", base, self.describe_definition),
            ("PUT", base, self.change_definition),
            ("DELETE", base, self.delete_definition),
            ("GET", (*base, "describe"), self.describe_definition),
            ("POST", (*base, "snapshot"), self.snapshot),
            ("GET POST", (*base, "files", "list"), self.definition_list),
            ("GET POST", (*base, "files", "count"), self.definition_count),
            ("GET POST", (*base, "files", "summary"), self.definition_summary),
        )

    def _project_routes(self) -> Sequence[Route]:
        found: list[Route] = [
            ("POST", ("startProject",), self.start_project),
            ("GET POST", ("findProject",), self.find_project),
            ("GET", ("projects",), self.list_projects),
        ]
        for base in (("projects", "name", "{project}"), ("projects", "{station}", "{project}")):
            found += [
                ("GET", (*base, "summary"), self.project_summary),
                ("GET", (*base, "recovery_dimensions"), self.recovery_dimensions),
                ("POST PUT", (*base, "description"), self.describe_project),
                ("POST", (*base, "endProject"), self.end_project),
                ("POST", (*base, "abandonProcesses"), self.abandon_processes),
            ]
        return found

    def _process_routes(self) -> Sequence[Route]:
        found: list[Route] = []
        for base in (("projects", "name", "{project}"), ("projects", "{station}", "{project}")):
            found += [
                ("POST", (*base, "establishProcess"), self.establish_process),
                ("PUT POST", (*base, "process_description", "{job}", "status"), self.set_process_status),
            ]
            for word in ("process", "processes"):
                one = (*base, word, "{process}")
                found += [
                    ("POST", (*one, "getNextFile"), self.next_file),
                    ("POST", (*one, "updateFileStatus"), self.update_file_status),
                    ("POST", (*one, "endProcess"), self.end_process),
                    ("PUT POST", (*one, "status"), self.set_process_status),
                    ("POST", (*one, "setStatus"), self.set_process_status),
                ]
        return found

    def _older_routes(self) -> Sequence[Route]:
        """Names that older releases of ifdh call."""
        def by_parameter(handler: Callable[..., Response]) -> Callable[[], Response]:
            return lambda: handler(self._request.first("name") or self._request.required("file"))

        return (
            ("POST", ("createDefinition",), self.create_definition),
            ("GET POST", ("describeDefinition",), by_parameter(self.describe_definition)),
            ("GET POST", ("translateConstraints",), self.list),
            ("GET POST", ("locateFile",), by_parameter(self.locations)),
            ("GET POST", ("getMetadata",), by_parameter(self.metadata)),
        )

    def _prefers_json(self) -> bool:
        return self._request.wants != "plain"

    # ---------------------------------------------------------------------------------- queries

    def about(self) -> Response:
        item = {"service": "POMS local file catalogue", "experiment": self._catalogue.experiment,
                "interface": "SAM web, subset"}
        if self._request.wants == "json":
            return as_json(item)
        return as_lines(f"{name}: {value}" for name, value in item.items())

    def _dims(self) -> str:
        defname = self._request.first("defname")
        return definition_query(defname) if defname and not self._request.first("dims") else \
            self._request.required("dims")

    def _asked(self, scope: Scope, dims: str, ask: Callable[[Compiler], Any]) -> Any:
        """A query of the request; what it names wrongly is a mistake in the query, not in the address."""
        try:
            return ask(Compiler(scope.connection, scope.experiment))
        except NotFound as problem:
            raise Invalid(Problem("", str(problem), code="dimensions")) from problem

    def count(self) -> Response:
        return self._count(self._dims())

    def _count(self, dims: str) -> Response:
        with self._catalogue.reading() as scope:
            found = self._asked(scope, dims, lambda compiler: compiler.file_ids(dims)).subquery()
            return as_text(scope.connection.scalar(select(func.count()).select_from(found)))

    def list(self) -> Response:
        return self._list(self._dims())

    def _list(self, dims: str) -> Response:
        if self._request.flag("parse_only"):
            return as_text(language.normalise(dims) + "\n")
        columns = ["file_name"]
        if self._request.flag("fileinfo"):
            columns += ["file_id", "file_size", "event_count"]
        with self._catalogue.reading() as scope:
            query = self._asked(scope, dims, lambda compiler: compiler.rows(dims, *columns))
            rows = scope.connection.execute(query).all()
        if self._request.wants == "json":
            return as_json([row[0] if len(columns) == 1 else dict(row._mapping) for row in rows])
        # The client reads every column but the first as a number.
        return as_lines("\t".join("0" if value is None else str(value) for value in row) for row in rows)

    def summary(self) -> Response:
        return self._summary(self._dims())

    def _summary(self, dims: str) -> Response:
        table = tables.files
        with self._catalogue.reading() as scope:
            found = self._asked(scope, dims, lambda compiler: compiler.file_ids(dims))
            number, size, events = scope.connection.execute(select(
                func.count(), func.sum(table.c.file_size), func.sum(table.c.event_count)
            ).where(table.c.file_id.in_(found))).one()
        item = {"file_count": number, "total_file_size": int(size or 0), "total_event_count": int(events or 0)}
        return as_json(item) if self._prefers_json() else as_lines(f"{key}: {value}" for key, value in item.items())

    def expand_query(self) -> Response:
        return as_json({"query": language.normalise(self._dims())})

    def dimensions(self) -> Response:
        with self._catalogue.reading() as scope:
            table = tables.parameters
            own = scope.connection.scalars(select(table.c.name).where(table.c.experiment == scope.experiment)).all()
        listed = [(dimension.name, dimension.description) for dimension in DIMENSIONS.values()]
        listed += [(name, "Parameter of the experiment") for name in sorted({*own, *ALWAYS_KNOWN_PARAMETERS})]
        if self._request.wants == "plain":
            return as_lines("\t".join(each) for each in listed)
        return as_json([list(each) if self._request.flag("descriptions") else each[0] for each in listed])

    def list_locations(self) -> Response:
        dims, wanted = self._dims(), self._request.all("filter_path")
        with self._catalogue.reading() as scope:
            query = self._asked(scope, dims, lambda compiler: compiler.rows(dims, "file_id", "file_name"))
            rows = scope.connection.execute(query).all()
            placed = files.locations_of(scope, [row.file_id for row in rows])
            sums = self._checksums(scope, [row.file_id for row in rows]) if self._request.flag("checksums") else None
        lines = []
        for row in rows:
            for location in placed.get(row.file_id, []):
                if not wanted or any(location["location"].startswith(each.rstrip("%")) for each in wanted):
                    parts = [location["location"], row.file_name]
                    lines.append("\t".join(parts if sums is None else [*parts, ";".join(sums.get(row.file_id, ()))]))
        return as_lines(lines)

    @staticmethod
    def _checksums(scope: Scope, file_ids: Sequence[int]) -> dict[int, builtins.list[str]]:
        table = tables.checksums
        found: dict[int, builtins.list[str]] = {}
        for some in files.chunks(file_ids):
            for row in scope.connection.execute(select(table).where(table.c.file_id.in_(some))):
                found.setdefault(row.file_id, []).append(row.checksum)
        return found

    def values(self, kind: str) -> Response:
        with self._catalogue.reading() as scope:
            if kind == "data_disks":
                found: builtins.list[Any] = [{"mount_point": f"{disk}:"} for disk in files.disks(scope)]
                texts = [each["mount_point"] for each in found]
            else:
                found = texts = self._known_values(scope, kind)
        return as_lines(texts) if self._request.wants == "plain" else as_json(found)

    @staticmethod
    def _known_values(scope: Scope, kind: str) -> builtins.list[str]:
        table = tables.files
        columns = {"data_tiers": table.c.data_tier, "file_formats": table.c.file_format,
                   "data_streams": table.c.data_stream, "applications": table.c.application_name,
                   "parameters": tables.parameters.c.name}
        if kind not in columns:
            raise NotFound(f"there are no values {kind!r}; there are: data_disks, {', '.join(columns)}")
        column = columns[kind]
        return sorted(scope.connection.scalars(select(column).distinct().where(
            column.table.c.experiment == scope.experiment, column.is_not(None))))

    # ------------------------------------------------------------------------------------ files

    def metadata(self, file: str | int) -> Response:
        with self._catalogue.reading() as scope:
            item = files.show(scope, [files.find_id(scope, file)], basic=self._request.flag("basic"),
                              locations=self._request.flag("locations"))[0]
        if self._prefers_json():
            return as_json(item)
        item["locations"] = [each["location"] for each in item.get("locations", [])]
        return as_text(metadata.as_text({name: value for name, value in item.items() if value != []}))

    def many_metadata(self) -> Response:
        names, numbers = self._many_files()
        with self._catalogue.reading() as scope:
            known = files.find_ids(scope, names, numbers)
            return as_json(files.show(scope, list(known.values()), basic=self._request.flag("basic"),
                                      locations=self._request.flag("locations")))

    def _many_files(self) -> tuple[builtins.list[str], builtins.list[int]]:
        return self._request.all("file_name"), [_file_number(each) for each in self._request.all("file_id")]

    def declare(self) -> Response:
        document = self._request.document()
        items = document if isinstance(document, list) else [document]
        if not 1 <= len(items) <= MAX_DECLARED_AT_ONCE:
            raise BadRequest(f"declare 1 to {MAX_DECLARED_AT_ONCE} files at a time")
        with self._catalogue.writing() as scope:
            return as_lines(map(str, files.declare(scope, items, user=self._request.sender)))

    def validate(self) -> Response:
        document = self._request.document()
        for item in document if isinstance(document, list) else [document]:
            metadata.read(item)
        return as_text("the metadata are valid\n")

    def change(self, file: str | int) -> Response:
        document = self._request.document()
        with self._catalogue.writing() as scope:
            files.change(scope, file, document, user=self._request.sender)
        return as_text("the metadata were changed\n")

    def change_many(self) -> Response:
        """Change several files: all or none, or with ``continue_on_error`` each by itself."""
        document = self._request.document()
        if not isinstance(document, list) or not 1 <= len(document) <= MAX_DECLARED_AT_ONCE:
            raise BadRequest(f"send a list of 1 to {MAX_DECLARED_AT_ONCE} objects, each with its file_name")
        going_on = self._request.flag("continue_on_error")
        results: builtins.list[dict[str, Any]] = []
        with self._catalogue.writing() as scope:
            for item in document:
                name = item.get("file_name") if isinstance(item, dict) else None
                try:
                    with scope.connection.begin_nested():
                        if not isinstance(name, str):
                            raise BadRequest("an object without file_name")
                        files.change(scope, name, item, user=self._request.sender)
                    results.append({"file_name": name, "status": "changed"})
                except PomsError as problem:
                    if not going_on:
                        raise
                    results.append({"file_name": name, "status": "error", "message": str(problem)})
        return as_json(results)

    def retire(self, file: str | int) -> Response:
        with self._catalogue.writing() as scope:
            files.retire(scope, file)
        return as_text("the file is retired\n")

    def locations(self, file: str | int) -> Response:
        with self._catalogue.reading() as scope:
            file_id = files.find_id(scope, file)
            found = files.locations_of(scope, [file_id]).get(file_id, [])
        return as_json(found) if self._prefers_json() else as_lines(each["location"] for each in found)

    def many_locations(self) -> Response:
        names, numbers = self._many_files()
        with self._catalogue.reading() as scope:
            known = files.find_ids(scope, names, numbers)
            found = files.locations_of(scope, list(known.values()))
        return as_json({str(asked): found.get(file_id, []) for asked, file_id in known.items()})

    def change_locations(self, file: str | int) -> Response:
        add, remove = self._request.all("add"), self._request.all("remove")
        if not add and not remove:
            raise BadRequest("one of the parameters add and remove is missing")
        with self._catalogue.writing() as scope:
            files.change_locations(scope, file, add=add, remove=remove)
        return as_text("the locations were changed\n")

    def access_urls(self, file: str | int) -> Response:
        with self._catalogue.reading() as scope:
            found = files.access_urls(scope, files.find_id(scope, file), schema=self._request.first("schema"),
                                      system=self._request.first("location"))
        return as_json(found) if self._prefers_json() else as_lines(found)

    def lineage(self, file: str | int, kind: str) -> Response:
        with self._catalogue.reading() as scope:
            return as_json(files.lineage(scope, file, kind))

    # ------------------------------------------------------------------------------ definitions

    def create_definition(self) -> Response:
        request = self._request
        name = request.first("defname") or request.required("name")
        with self._catalogue.writing() as scope:
            number = datasets.create(
                scope, name, request.required("dims"), description=request.first("description"),
                user=request.first("user", request.sender), group=request.first("group", scope.experiment))
        if self._prefers_json():
            return as_json({"defname": name, "defid": number})
        return as_text(f"{number}\n")

    def list_definitions(self) -> Response:
        request = self._request
        with self._catalogue.reading() as scope:
            found = datasets.names(
                scope, name=request.first("defname"), user=request.first("user"), group=request.first("group"),
                after=self._time("after"), before=self._time("before"))
        return as_json(found) if request.wants == "json" else as_lines(found)

    def _time(self, name: str) -> datetime | None:
        text = self._request.first(name)
        found = conditions.moment(text) if text else None
        if text and found is None:
            raise BadRequest(f"{name} must be a time such as 2016-10-01T12:00:00, not {text!r}")
        return found[0] if found else None

    def describe_definition(self, name: str) -> Response:
        with self._catalogue.reading() as scope:
            item = datasets.describe(scope, name)
        if self._prefers_json():
            return as_json(item)
        return as_lines(f"{key.title():>12}: {value}" for key, value in item.items())

    def change_definition(self, name: str) -> Response:
        request = self._request
        description = request.first("description") if request.all("description") else None
        with self._catalogue.writing() as scope:
            datasets.rename(scope, name, new_name=request.first("defname"), description=description)
        return as_text("the definition was changed\n")

    def delete_definition(self, name: str) -> Response:
        with self._catalogue.writing() as scope:
            datasets.delete(scope, name)
        return as_text("the definition was deleted\n")

    def snapshot(self, name: str) -> Response:
        with self._catalogue.writing() as scope:
            return as_text(datasets.snapshot(scope, name))

    def _defined(self, name: str) -> str:
        """The query of a definition in the address, which must exist."""
        with self._catalogue.reading() as scope:
            datasets.get(scope, name)
        return definition_query(name)

    def definition_list(self, name: str) -> Response:
        return self._list(self._defined(name))

    def definition_count(self, name: str) -> Response:
        return self._count(self._defined(name))

    def definition_summary(self, name: str) -> Response:
        return self._summary(self._defined(name))

    # --------------------------------------------------------------------------------- projects

    def start_project(self) -> Response:
        request = self._request
        with self._catalogue.writing() as scope:
            project = projects.start(
                scope, request.required("name"), definition=request.first("defname"),
                snapshot_id=request.number("snapshot_id"), user=request.first("username", request.sender),
                group=request.first("group"), station=request.first("station"))
        return as_text(self._catalogue.project_url(project["station"], project["name"]) + "\n")

    def find_project(self) -> Response:
        with self._catalogue.reading() as scope:
            project = projects.get(scope, self._request.required("name"))
        return as_text(self._catalogue.project_url(project["station"], project["name"]) + "\n")

    def list_projects(self) -> Response:
        request = self._request
        with self._catalogue.reading() as scope:
            found = projects.names(
                scope, name=request.first("name"), user=request.first("user"), group=request.first("group"),
                definition=request.first("defname"), snapshot_id=request.number("snapshot_id"),
                started=(self._time("started_after"), self._time("started_before")),
                ended=(self._time("ended_after"), self._time("ended_before")))
        return as_json(found) if request.wants == "json" else as_lines(found)

    def project_summary(self, project: str, station: str = "") -> Response:
        with self._catalogue.reading() as scope:
            item = projects.summary(scope, project, process_limit=self._request.number("process_limit"))
        if self._prefers_json():
            return as_json(item)
        shown = {name: value for name, value in item.items() if not isinstance(value, list)}
        return as_lines(f"{name.replace('_', ' ')}: {_counts(value)}" for name, value in shown.items())

    def recovery_dimensions(self, project: str, station: str = "") -> Response:
        asked = self._request.first("useFiles") or self._request.first("useProcess")
        use_processes = self._request.flag("useProcess")
        # Asked for the processes alone, files still count: what nobody consumed has to be done again.
        use_files = self._request.flag("useFiles", default=not asked or use_processes)
        with self._catalogue.reading() as scope:
            dims = projects.recovery_dimensions(scope, project, use_files=use_files, use_processes=use_processes)
        return as_text(f"{dims}\n" if dims else "")

    def describe_project(self, project: str, station: str = "") -> Response:
        with self._catalogue.writing() as scope:
            projects.describe(scope, project, self._request.first("description"))
        return as_text("the description was changed\n")

    def end_project(self, project: str, station: str = "") -> Response:
        with self._catalogue.writing() as scope:
            projects.end(scope, project)
        return as_text("the project has ended\n")

    def abandon_processes(self, project: str, station: str = "") -> Response:
        """POMS' own: end the processes of vanished jobs (``description``, repeated), or all live ones."""
        with self._catalogue.writing() as scope:
            return as_text(projects.abandon(scope, project, self._request.all("description") or None))

    # -------------------------------------------------------------------------------- processes

    def establish_process(self, project: str, station: str = "") -> Response:
        request = self._request
        names = {"job": "description", "node": "node", "user": "username", "application_family": "appfamily",
                 "application_name": "appname", "application_version": "appversion"}
        said = {member: request.first(parameter) for member, parameter in names.items()}
        for member, value in said.items():
            if len(value) > metadata.MAX_NAME or "\0" in value:
                raise BadRequest(f"{names[member]} must have at most {metadata.MAX_NAME} characters")
        with self._catalogue.writing() as scope:
            return as_text(projects.establish(
                scope, project, Consumer(**said, file_limit=request.number("filelimit"))))

    def next_file(self, project: str, process: str, station: str = "") -> Response:
        with self._catalogue.writing() as scope:
            handed = projects.next_file(scope, project, _process_number(process))
        if handed.kind == "none":
            return Response(204)
        if handed.kind == "wait":
            return Response(202, "", headers=(("Retry-After", str(RETRY_SECONDS)),))
        if self._request.wants == "json":
            item = asdict(handed)
            return as_json({"url": item["url"], "filename": item["file_name"], "file_id": item["file_id"],
                            "file_size": item["size_bytes"]})
        return as_lines([handed.url, handed.file_name])

    def update_file_status(self, project: str, process: str, station: str = "") -> Response:
        with self._catalogue.writing() as scope:
            projects.set_file_state(scope, project, _process_number(process), self._request.required("filename"),
                                    self._request.required("status"))
        return as_text("the status was noted\n")

    def end_process(self, project: str, process: str, station: str = "") -> Response:
        with self._catalogue.writing() as scope:
            projects.end_process(scope, project, _process_number(process))
        return as_text("the process has ended\n")

    def set_process_status(self, project: str, process: str = "", job: str = "", station: str = "") -> Response:
        with self._catalogue.writing() as scope:
            number = _process_number(process) if process else projects.process_by_job(scope, project, job)
            projects.set_process_status(scope, project, number, self._request.required("status"))
        return as_text("the status was noted\n")


def _file_number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise BadRequest(f"{text!r} is no number of a file")
    return int(text)


def _process_number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise NotFound(f"there is no process {text!r}")
    return int(text)


def _counts(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{number} {state}" for state, number in value.items())
    return "" if value is None else str(value)
