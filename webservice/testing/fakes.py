"""The fakes as a plugin: they come in by the same door as every back end, under the name ``fake``."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from poms.webservice.hookspecs import hookimpl
from poms.webservice.interfaces import LaunchPlan, Offer, PluginContext
from poms.webservice.testing.batch import FakeBatch, FakeTransport
from poms.webservice.testing.catalogue import FakeCatalogue
from poms.webservice.testing.credentials import FakeCredentials

NAME = "fake"


class Fakes:
    """One pool for all experiments, one transport, and a catalogue for each experiment."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.clock = clock
        self.batch = FakeBatch(clock)
        self.batch.project_of = self._begin_project
        self.transport = FakeTransport()
        self.credentials = FakeCredentials()
        self._catalogues: dict[str, FakeCatalogue] = {}
        self._lock = threading.Lock()

    def catalogue(self, experiment: str) -> FakeCatalogue:
        """The catalogue of an experiment; made when it is first asked for."""
        with self._lock:
            return self._catalogues.setdefault(experiment, FakeCatalogue(self.clock))

    def offer(self, experiment: str, catalogue: FakeCatalogue) -> None:
        """Let an experiment have a catalogue of the test's own making."""
        self._catalogues[experiment] = catalogue

    def reset(self) -> None:
        """Empty everything in place, so that back ends that were built already can be used again."""
        self.batch.__init__(self.clock, self.batch.pool)  # type: ignore[misc]
        self.batch.project_of = self._begin_project
        self.transport.__init__()  # type: ignore[misc]
        self.credentials.__init__()  # type: ignore[misc]
        for catalogue in self._catalogues.values():
            catalogue.__init__(self.clock)  # type: ignore[misc]

    def _begin_project(self, plan: LaunchPlan) -> str:
        """Jobs that are given a definition begin a project, as real ones do."""
        catalogue = self.catalogue(plan.experiment)
        if not plan.dataset or plan.dataset not in catalogue.definitions():
            return ""
        return catalogue.begin_project(f"prj_{plan.submission_id}_{len(catalogue.projects())}", plan.dataset).name

    @hookimpl
    def poms_job_backends(self) -> list[Offer]:
        return [Offer(NAME, "a batch system in memory", self._job_backend)]

    @hookimpl
    def poms_data_backends(self) -> list[Offer]:
        return [Offer(NAME, "a file catalogue in memory", self._data_backend)]

    @hookimpl
    def poms_launch_transports(self) -> list[Offer]:
        return [Offer(NAME, "runs nothing", self._transport)]

    @hookimpl
    def poms_credential_backends(self) -> list[Offer]:
        return [Offer(NAME, "one token in memory", self._credential_backend)]

    def _credential_backend(self, context: PluginContext) -> FakeCredentials:
        return self.credentials

    def _job_backend(self, context: PluginContext) -> FakeBatch:
        return self.batch

    def _data_backend(self, context: PluginContext) -> FakeCatalogue:
        return self.catalogue(context.experiment)

    def _transport(self, context: PluginContext) -> FakeTransport:
        return self.transport


def installed_plugins(*names: str) -> list[object]:
    """Plugins of an installed package by the names of their entry points."""
    return [_entry(name).load() for name in names]


@cache
def _entry(name: str) -> EntryPoint:
    # Whatever is installed is looked through for them: once is enough for the tests of a process.
    *_, found = entry_points(group="poms", name=name)
    return found
