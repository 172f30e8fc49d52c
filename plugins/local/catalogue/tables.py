"""The tables of the local file catalogue: files, lineage, datasets and the delivery of files to jobs.

Only columns and indexes; what they mean is kept by ``files``, ``datasets`` and ``projects``. Every row
has its experiment. ``located`` of a file is true exactly when it has a row in ``catalogue_locations``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    text,
)

PREFIX = "catalogue_"
LIVE_PROCESS = "ended_at IS NULL AND job <> ''"


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time on every database; SQLite keeps it without its zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a time without a zone: {value!r}")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData(naming_convention={
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
})

BigId = BigInteger().with_variant(Integer(), "sqlite")
# The order of code points, as in SQLite and Python: comparisons and prefix searches are the same everywhere.
Name = Text().with_variant(Text(collation="C"), "postgresql")


def _key(name: str) -> Column[Any]:
    return Column(name, BigId, primary_key=True, autoincrement=True)


def _experiment() -> Column[Any]:
    return Column("experiment", String(32), nullable=False)


def _reference(name: str, target: str, **options: Any) -> Column[Any]:
    return Column(name, BigId, ForeignKey(target), nullable=False, **options)


files = Table(
    "catalogue_files", metadata,
    _key("file_id"),
    _experiment(),
    Column("file_name", Name, nullable=False),
    Column("file_type", Name),
    Column("file_format", Name),
    Column("file_partition", BigInteger),
    Column("content_status", Name, nullable=False),
    Column("file_size", BigInteger),
    Column("event_count", BigInteger),
    Column("first_event", BigInteger),
    Column("last_event", BigInteger),
    Column("started_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("retired_at", UtcDateTime),
    Column("user_name", Name),
    Column("update_user", Name),
    Column("group_name", Name),
    Column("data_tier", Name),
    Column("data_stream", Name),
    Column("application_family", Name),
    Column("application_name", Name),
    Column("application_version", Name),
    Column("process_id", BigInteger),
    Column("located", Boolean, nullable=False, server_default=text("false")),
    Index(None, "experiment", "file_name", unique=True),
    Index(None, "experiment", "application_version", "created_at"),
    Index(None, "experiment", "created_at"),
    Index(None, "experiment", "ended_at"),
    Index(None, "experiment", "data_tier"),
    Index(None, "experiment", "process_id"),
    sqlite_autoincrement=True,
)

checksums = Table(
    "catalogue_checksums", metadata,
    _reference("file_id", "catalogue_files.file_id", primary_key=True),
    _experiment(),
    Column("checksum", Name, primary_key=True),
    Index(None, "experiment", "checksum"),
)

runs = Table(
    "catalogue_runs", metadata,
    _reference("file_id", "catalogue_files.file_id", primary_key=True),
    _experiment(),
    Column("position", Integer, primary_key=True),
    Column("run", BigInteger, nullable=False),
    Column("subrun", BigInteger),
    Column("run_type", Name),
    Index(None, "experiment", "run", "subrun", "file_id"),
)

parentage = Table(
    "catalogue_parentage", metadata,
    _reference("child_id", "catalogue_files.file_id", primary_key=True),
    _reference("parent_id", "catalogue_files.file_id", primary_key=True),
    _experiment(),
    Index(None, "parent_id", "child_id"),
)

locations = Table(
    "catalogue_locations", metadata,
    _key("location_id"),
    _reference("file_id", "catalogue_files.file_id"),
    _experiment(),
    Column("location", Name, nullable=False),
    Column("label", Name),
    Column("added_at", UtcDateTime, nullable=False),
    Index(None, "file_id", "location", unique=True),
    Index(None, "experiment", "location"),
)

parameters = Table(
    "catalogue_parameters", metadata,
    Column("experiment", String(32), primary_key=True),
    Column("name", Name, primary_key=True),
)

file_parameters = Table(
    "catalogue_file_parameters", metadata,
    _reference("file_id", "catalogue_files.file_id", primary_key=True),
    _experiment(),
    Column("name", Name, primary_key=True),
    Column("value_text", Name, nullable=False),
    Column("value_number", Float),
    Column("value_json", Text, nullable=False),
    Index(None, "experiment", "name", "value_text", "file_id"),
)

definitions = Table(
    "catalogue_definitions", metadata,
    _key("definition_id"),
    _experiment(),
    Column("name", Name, nullable=False),
    Column("dims", Text, nullable=False),
    Column("description", Text, nullable=False, server_default=""),
    Column("user_name", Name, nullable=False, server_default=""),
    Column("group_name", Name, nullable=False, server_default=""),
    Column("created_at", UtcDateTime, nullable=False),
    Index(None, "experiment", "name", unique=True),
    sqlite_autoincrement=True,
)

snapshots = Table(
    "catalogue_snapshots", metadata,
    _key("snapshot_id"),
    _experiment(),
    Column("definition_id", BigInteger, nullable=False),
    Column("definition_name", Name, nullable=False),
    Column("version", Integer, nullable=False),
    Column("content_hash", String(64), nullable=False),
    Column("file_count", BigInteger, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Index(None, "experiment", "definition_name", "version", unique=True),
    sqlite_autoincrement=True,
)

snapshot_files = Table(
    "catalogue_snapshot_files", metadata,
    _reference("snapshot_id", "catalogue_snapshots.snapshot_id", primary_key=True),
    # No foreign key: files are never deleted, and checking 100,000 rows one by one costs a second.
    Column("file_id", BigId, primary_key=True),
    _experiment(),
    Column("position", BigInteger, nullable=False),
    Index(None, "file_id"),
)

projects = Table(
    "catalogue_projects", metadata,
    _key("project_id"),
    _experiment(),
    Column("name", Name, nullable=False),
    Column("station", Name, nullable=False),
    _reference("snapshot_id", "catalogue_snapshots.snapshot_id"),
    Column("definition_name", Name, nullable=False),
    Column("user_name", Name, nullable=False, server_default=""),
    Column("group_name", Name, nullable=False, server_default=""),
    Column("description", Text, nullable=False, server_default=""),
    Column("status", String(16), nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Index(None, "experiment", "name", unique=True),
    Index(None, "snapshot_id"),
    sqlite_autoincrement=True,
)

processes = Table(
    "catalogue_processes", metadata,
    _key("process_id"),
    _reference("project_id", "catalogue_projects.project_id"),
    _experiment(),
    Column("job", Name, nullable=False, server_default=""),
    Column("node", Name, nullable=False, server_default=""),
    Column("user_name", Name, nullable=False, server_default=""),
    Column("application_family", Name, nullable=False, server_default=""),
    Column("application_name", Name, nullable=False, server_default=""),
    Column("application_version", Name, nullable=False, server_default=""),
    Column("file_limit", BigInteger),
    Column("files_handed", BigInteger, nullable=False, server_default="0"),
    Column("status", String(16), nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Index(None, "project_id"),
    # One live process for one job on one node: a lost answer asked for again finds the first.
    Index("uq_catalogue_processes_live", "project_id", "job", "node", unique=True,
          sqlite_where=text(LIVE_PROCESS), postgresql_where=text(LIVE_PROCESS)),
    sqlite_autoincrement=True,
)

project_files = Table(
    "catalogue_project_files", metadata,
    _reference("project_id", "catalogue_projects.project_id", primary_key=True),
    Column("file_id", BigId, primary_key=True),
    _experiment(),
    Column("position", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("process_id", BigInteger),
    Column("updated_at", UtcDateTime, nullable=False),
    Index(None, "project_id", "state", "position"),
    Index(None, "process_id"),
    Index(None, "file_id"),
)
