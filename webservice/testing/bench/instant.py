"""Outside systems that answer at once, as a plugin: what is measured is POMS, not what it waits for.

The catalogue finds output for everything; the batch system takes every launch. Neither keeps anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import BinaryIO

from poms.webservice.clock import utc_now
from poms.webservice.hookspecs import hookimpl
from poms.webservice.interfaces import (
    BatchEnvironment,
    DerivedDataset,
    FileCounts,
    FileState,
    FoundCluster,
    LaunchPlan,
    LaunchTransport,
    Offer,
    OutputFile,
    SubmissionView,
    SubmitOutcome,
)
from poms.webservice.testing.batch import FakeBatch, FakeTransport
from poms.webservice.testing.catalogue import FakeCatalogue

NAME = "instant"


class InstantBatch(FakeBatch):
    """Every launch makes a cluster of one job."""

    def environment(self, plan: LaunchPlan) -> BatchEnvironment:
        return BatchEnvironment()

    def submit(self, plan: LaunchPlan, script: str, transport: LaunchTransport, log: BinaryIO,
               timeout_seconds: float) -> SubmitOutcome:
        return SubmitOutcome("started", (_cluster(plan.submission_id),), exit_status=0)

    def find(self, submission_id: int) -> list[FoundCluster]:
        return [FoundCluster(_cluster(submission_id), 1)]


class InstantCatalogue(FakeCatalogue):
    """Everything has output, nothing is left to recover."""

    def output_counts(self, submission: SubmissionView) -> FileCounts:
        return FileCounts(located=1, expected=1, consumed=1, generated=1)

    def file_states(self, submission: SubmissionView) -> Iterator[FileState]:
        return iter(())

    def output_files(self, submission: SubmissionView) -> Iterator[OutputFile]:
        return iter(())

    def recovery_files(self, submission: SubmissionView, kind: str) -> DerivedDataset:
        return DerivedDataset("file_name nothing", 0)

    def dependency_files(self, submission: SubmissionView, patterns: object, number: int) -> DerivedDataset:
        return DerivedDataset(f"file_name out_{submission.submission_id}", 1)

    def list(self, query: str, limit: int | None = None) -> list[str]:
        return ["out.root"]


def _cluster(submission_id: int) -> str:
    return f"{1_000_000 + submission_id}@instant.example.org"


def needed_plugins() -> list[object]:
    """What services need besides: split types and a source of identity."""
    return [installed(name) for name in ("split_types", "demo_identity")]


def installed(name: str) -> object:
    """One of the plugins that are installed, by the name of its entry point."""
    (entry,) = entry_points(group="poms", name=name)
    return entry.load()


@hookimpl
def poms_job_backends() -> list[Offer]:
    return [Offer(NAME, "takes every launch", lambda context: InstantBatch(utc_now))]


@hookimpl
def poms_data_backends() -> list[Offer]:
    return [Offer(NAME, "finds output for everything", lambda context: InstantCatalogue(utc_now))]


@hookimpl
def poms_launch_transports() -> list[Offer]:
    return [Offer(NAME, "runs nothing", lambda context: FakeTransport())]
