"""The catalogue in memory and the embedded one keep the same contract, so tests on either mean the same."""

from __future__ import annotations

import pytest

from poms.plugins.local.catalogue import database, files, projects, tables
from poms.plugins.local.catalogue.backend import LocalCatalogue
from poms.webservice.interfaces import PluginContext
from poms.webservice.testing.catalogue import FakeCatalogue
from poms.webservice.testing.data import DataBackendContract


class TestFakeCatalogue(DataBackendContract):
    @pytest.fixture
    def backend(self, clock):
        return FakeCatalogue(clock)

    def declare(self, backend, name, **facts):
        backend.declare(name, **facts)

    def locate(self, backend, name, there=True):
        backend._files[name].located = there

    def deliver(self, backend, project, name, state):
        backend.deliver(project, name, state)


class TestLocalCatalogue(DataBackendContract):
    @pytest.fixture
    def backend(self, tmp_path, clock):
        url = f"sqlite:///{tmp_path / 'catalogue.db'}"
        engine = database.engine_for(url)
        tables.metadata.create_all(engine)
        context = PluginContext("samdev", {}, tmp_path, url, "http://localhost", clock, lambda name: "secret")
        yield LocalCatalogue(context)
        engine.dispose()

    def declare(self, backend, name, *, run=None, version="", located=True, parents=(), end_time=None):
        item = {"file_name": name, "file_type": "unknown", "file_size": 1000,
                "parents": [{"file_name": each} for each in parents]}
        if run is not None:
            item["runs"] = [[run, 0, "physics"]]
        if version:
            item["application"] = {"family": "art", "name": "reco", "version": version}
        if end_time is not None:
            item["end_time"] = end_time.isoformat()
        with backend.writing() as scope:
            files.declare(scope, [item])
        if located:
            self.locate(backend, name)

    def locate(self, backend, name, there=True):
        place = ["file:/data"]
        with backend.writing() as scope:
            files.change_locations(scope, name, **{"add" if there else "remove": place})

    def deliver(self, backend, project, name, state):
        """What a job reports that was given just this file; which file a job gets is not ours to choose."""
        with backend.writing() as scope:
            process = projects.establish(scope, project, projects.Consumer(job=name))
            members = projects.tables.project_files
            row = projects._member(scope, projects.get(scope, project), name)
            scope.connection.execute(
                members.update().where(members.c.project_id == row["project_id"], members.c.file_id == row["file_id"])
                .values(state="delivered", process_id=process))
            projects.set_file_state(scope, project, process, name, "transferred")
            projects.set_file_state(scope, project, process, name, state)
