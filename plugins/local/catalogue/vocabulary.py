"""Every dimension that the catalogue knows: its name, what it compares, and a sentence for people.

``compiler`` turns them into conditions; ``/files/list/dimensions`` lists them. Experiment parameters
(``category.name``) are not here: they are whatever files of the experiment were declared with.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "number", "time", "run"]
Place = Literal["file", "run", "checksum", "location", "parent", "snapshot", "frozen", "project", "process"]


@dataclass(frozen=True, slots=True)
class DimensionType:
    """``place`` is the table that holds it, ``column`` its column there."""

    name: str
    kind: Kind
    place: Place
    column: str
    description: str


def _rows(place: Place, kind: Kind, *rows: tuple[str, str, str]) -> list[DimensionType]:
    return [DimensionType(name, kind, place, column, description) for name, column, description in rows]


_ALL = [
    *_rows(
        "file", "text",
        ("file_name", "file_name", "Name of the file"),
        ("file_type", "file_type", "Type of the file, e.g. mc or data"),
        ("file_format", "file_format", "Format, e.g. root"),
        ("content_status", "content_status", "State of the content: good unless somebody found otherwise"),
        ("data_tier", "data_tier", "Stage of processing, e.g. raw"),
        ("data_stream", "data_stream", "Data stream"),
        ("physical_datastream_name", "data_stream", "Data stream (older name)"),
        ("group", "group_name", "Group that owns the file"),
        ("user", "user_name", "User who made the file"),
        ("create_user", "user_name", "User who made the file"),
        ("update_user", "update_user", "User who last changed the metadata"),
        ("family", "application_family", "Family of the application that made the file"),
        ("application", "application_name", "Application that made the file"),
        ("appl_name", "application_name", "Application that made the file (older name)"),
        ("version", "application_version", "Version of the application that made the file"),
    ),
    *_rows(
        "file", "number",
        ("file_id", "file_id", "Number of the file"),
        ("file_size", "file_size", "Size in bytes"),
        ("file_partition", "file_partition", "Partition of the file within its stream"),
        ("event_count", "event_count", "Number of events"),
        ("first_event", "first_event", "Number of the first event"),
        ("last_event", "last_event", "Number of the last event"),
    ),
    *_rows(
        "file", "time",
        ("create_date", "created_at", "When the file was made"),
        ("update_date", "updated_at", "When its metadata were last changed"),
        ("start_time", "started_at", "Begin of data taking or of the job"),
        ("end_time", "ended_at", "End of data taking or of the job"),
    ),
    *_rows("run", "run", ("run_number", "run", "Any run of the file: R, R.SUBRUN or a range")),
    *_rows("run", "text", ("run_type", "run_type", "Type of any run of the file")),
    *_rows("checksum", "text", ("checksum", "checksum", "Any checksum of the file, as algorithm:value")),
    *_rows(
        "location", "text",
        ("full_path", "location", "Any location, as disk:directory"),
        ("tape_label", "label", "Label of the tape of any location"),
    ),
    *_rows("parent", "text", ("parents", "file_name", "Name of any direct parent")),
    *_rows("snapshot", "number",
           ("snapshot_id", "snapshot_id", "Files frozen in a snapshot"),
           ("dataset_def_id", "definition_id", "Files in any snapshot of the definition with this number"),
           ("snapshot_version", "version", "How many snapshots the definition had up to this one"),
           ("snapshot_file_number", "position", "Place of the file in the snapshot, from 1")),
    *_rows("snapshot", "text", ("dataset_def_name", "definition_name", "Files in any snapshot of a definition")),
    *_rows(
        "frozen", "text",
        ("def_snapshot", "newest", "Files in the newest snapshot of a definition"),
        ("dataset_def_name_newest_snapshot", "newest", "Files in the newest snapshot of a definition"),
        ("snapshot_for_project_name", "name", "Files in the snapshot of a project"),
    ),
    *_rows("frozen", "number",
           ("snapshot_for_project_id", "project_id", "Files in the snapshot of the project with this number")),
    *_rows(
        "project", "text",
        ("project_name", "name", "Files of a project"),
        ("project_description", "description", "Files of projects with this description"),
        ("consumed_status", "state", "State of the file in a project: unknown, delivered, transferred, consumed, "
                                     "completed, skipped, failed, cancelled"),
    ),
    *_rows("project", "number", ("project_id", "project_id", "Files of the project with this number")),
    *_rows(
        "process", "text",
        ("consumer", "application_name", "Application of the process that was given the file"),
        ("consumer_process_description", "job", "Job of the process that was given the file"),
        ("consumer_status", "status", "State of the process that was given the file: running, completed, bad"),
    ),
    *_rows("process", "number", ("consumer_process_id", "process_id", "Number of the process given the file")),
]
DIMENSIONS = {dimension.name: dimension for dimension in _ALL}

# Jobs of stages without input mark their output with it; queries for it are made before any file has it.
ALWAYS_KNOWN_PARAMETERS = ("dataset.tag",)
PROCESS_STATES = ("running", "completed", "bad")
WAITING, DELIVERED, TRANSFERRED = "unknown", "delivered", "transferred"
FINAL_FILE_STATES = ("consumed", "completed", "skipped", "failed", "cancelled")


def suggestion(name: str, parameters: Collection[str]) -> str:
    """What to write instead of an unknown dimension."""
    near = difflib.get_close_matches(name, [*DIMENSIONS, *parameters], 1)
    if near:
        return f"did you mean {near[0]}?"
    if "." in name:
        return "no file of this experiment was declared with such a parameter"
    return "the list of all: /files/list/dimensions"
