"""files, lineage, datasets and delivery."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:

    op.create_table(
        "catalogue_definitions",
        sa.Column(
            "definition_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("experiment", sa.String(length=32), nullable=False),
        sa.Column("name", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("dims", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "user_name", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), server_default="", nullable=False
        ),
        sa.Column(
            "group_name",
            sa.Text().with_variant(sa.Text(collation="C"), "postgresql"),
            server_default="",
            nullable=False,
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("definition_id", name=op.f("pk_catalogue_definitions")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("catalogue_definitions", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_catalogue_definitions_experiment_name"), ["experiment", "name"], unique=True
        )

    op.create_table(
        "catalogue_files",
        sa.Column("file_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("experiment", sa.String(length=32), nullable=False),
        sa.Column("file_name", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("file_type", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True),
        sa.Column("file_format", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True),
        sa.Column("file_partition", sa.BigInteger(), nullable=True),
        sa.Column("content_status", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("file_size", sa.BigInteger(), nullable=True),
        sa.Column("event_count", sa.BigInteger(), nullable=True),
        sa.Column("first_event", sa.BigInteger(), nullable=True),
        sa.Column("last_event", sa.BigInteger(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("user_name", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True),
        sa.Column("update_user", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True),
        sa.Column("group_name", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True),
        sa.Column("data_tier", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True),
        sa.Column("data_stream", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True),
        sa.Column("application_family", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True),
        sa.Column("application_name", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True),
        sa.Column("application_version", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True),
        sa.Column("process_id", sa.BigInteger(), nullable=True),
        sa.Column("located", sa.Boolean(), server_default=sa.text("(false)"), nullable=False),
        sa.PrimaryKeyConstraint("file_id", name=op.f("pk_catalogue_files")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("catalogue_files", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_catalogue_files_experiment_application_version_created_at"),
            ["experiment", "application_version", "created_at"],
            unique=False,
        )
        batch_op.create_index(
            batch_op.f("ix_catalogue_files_experiment_created_at"), ["experiment", "created_at"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_catalogue_files_experiment_data_tier"), ["experiment", "data_tier"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_catalogue_files_experiment_ended_at"), ["experiment", "ended_at"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_catalogue_files_experiment_file_name"), ["experiment", "file_name"], unique=True
        )
        batch_op.create_index(
            batch_op.f("ix_catalogue_files_experiment_process_id"), ["experiment", "process_id"], unique=False
        )

    op.create_table(
        "catalogue_parameters",
        sa.Column("experiment", sa.String(length=32), nullable=False),
        sa.Column("name", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.PrimaryKeyConstraint("experiment", "name", name=op.f("pk_catalogue_parameters")),
    )
    op.create_table(
        "catalogue_snapshots",
        sa.Column(
            "snapshot_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("experiment", sa.String(length=32), nullable=False),
        sa.Column("definition_id", sa.BigInteger(), nullable=False),
        sa.Column("definition_name", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("content_hash", sa.String(length=64), nullable=False),
        sa.Column("file_count", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("snapshot_id", name=op.f("pk_catalogue_snapshots")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("catalogue_snapshots", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_catalogue_snapshots_experiment_definition_name_version"),
            ["experiment", "definition_name", "version"],
            unique=True,
        )

    op.create_table(
        "catalogue_checksums",
        sa.Column("file_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("experiment", sa.String(length=32), nullable=False),
        sa.Column("checksum", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.ForeignKeyConstraint(["file_id"], ["catalogue_files.file_id"], name=op.f("fk_catalogue_checksums_file_id")),
        sa.PrimaryKeyConstraint("file_id", "checksum", name=op.f("pk_catalogue_checksums")),
    )
    with op.batch_alter_table("catalogue_checksums", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_catalogue_checksums_experiment_checksum"), ["experiment", "checksum"], unique=False
        )

    op.create_table(
        "catalogue_file_parameters",
        sa.Column("file_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("experiment", sa.String(length=32), nullable=False),
        sa.Column("name", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("value_text", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("value_number", sa.Float(), nullable=True),
        sa.Column("value_json", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["file_id"], ["catalogue_files.file_id"], name=op.f("fk_catalogue_file_parameters_file_id")
        ),
        sa.PrimaryKeyConstraint("file_id", "name", name=op.f("pk_catalogue_file_parameters")),
    )
    with op.batch_alter_table("catalogue_file_parameters", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_catalogue_file_parameters_experiment_name_value_text_file_id"),
            ["experiment", "name", "value_text", "file_id"],
            unique=False,
        )

    op.create_table(
        "catalogue_locations",
        sa.Column(
            "location_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("file_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("experiment", sa.String(length=32), nullable=False),
        sa.Column("location", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("label", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["file_id"], ["catalogue_files.file_id"], name=op.f("fk_catalogue_locations_file_id")),
        sa.PrimaryKeyConstraint("location_id", name=op.f("pk_catalogue_locations")),
    )
    with op.batch_alter_table("catalogue_locations", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_catalogue_locations_experiment_location"), ["experiment", "location"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_catalogue_locations_file_id_location"), ["file_id", "location"], unique=True
        )

    op.create_table(
        "catalogue_parentage",
        sa.Column("child_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("parent_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("experiment", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["child_id"], ["catalogue_files.file_id"], name=op.f("fk_catalogue_parentage_child_id")
        ),
        sa.ForeignKeyConstraint(
            ["parent_id"], ["catalogue_files.file_id"], name=op.f("fk_catalogue_parentage_parent_id")
        ),
        sa.PrimaryKeyConstraint("child_id", "parent_id", name=op.f("pk_catalogue_parentage")),
    )
    with op.batch_alter_table("catalogue_parentage", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_catalogue_parentage_parent_id_child_id"), ["parent_id", "child_id"], unique=False
        )

    op.create_table(
        "catalogue_projects",
        sa.Column(
            "project_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("experiment", sa.String(length=32), nullable=False),
        sa.Column("name", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("station", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("snapshot_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("definition_name", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column(
            "user_name", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), server_default="", nullable=False
        ),
        sa.Column(
            "group_name",
            sa.Text().with_variant(sa.Text(collation="C"), "postgresql"),
            server_default="",
            nullable=False,
        ),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["snapshot_id"], ["catalogue_snapshots.snapshot_id"], name=op.f("fk_catalogue_projects_snapshot_id")
        ),
        sa.PrimaryKeyConstraint("project_id", name=op.f("pk_catalogue_projects")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("catalogue_projects", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_catalogue_projects_experiment_name"), ["experiment", "name"], unique=True)
        batch_op.create_index(batch_op.f("ix_catalogue_projects_snapshot_id"), ["snapshot_id"], unique=False)

    op.create_table(
        "catalogue_runs",
        sa.Column("file_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("experiment", sa.String(length=32), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("run", sa.BigInteger(), nullable=False),
        sa.Column("subrun", sa.BigInteger(), nullable=True),
        sa.Column("run_type", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True),
        sa.ForeignKeyConstraint(["file_id"], ["catalogue_files.file_id"], name=op.f("fk_catalogue_runs_file_id")),
        sa.PrimaryKeyConstraint("file_id", "position", name=op.f("pk_catalogue_runs")),
    )
    with op.batch_alter_table("catalogue_runs", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_catalogue_runs_experiment_run_subrun_file_id"),
            ["experiment", "run", "subrun", "file_id"],
            unique=False,
        )

    op.create_table(
        "catalogue_snapshot_files",
        sa.Column("snapshot_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("file_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("experiment", sa.String(length=32), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["snapshot_id"], ["catalogue_snapshots.snapshot_id"], name=op.f("fk_catalogue_snapshot_files_snapshot_id")
        ),
        sa.PrimaryKeyConstraint("snapshot_id", "file_id", name=op.f("pk_catalogue_snapshot_files")),
    )
    with op.batch_alter_table("catalogue_snapshot_files", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_catalogue_snapshot_files_file_id"), ["file_id"], unique=False)

    op.create_table(
        "catalogue_processes",
        sa.Column(
            "process_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("project_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("experiment", sa.String(length=32), nullable=False),
        sa.Column(
            "job", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), server_default="", nullable=False
        ),
        sa.Column(
            "node", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), server_default="", nullable=False
        ),
        sa.Column(
            "user_name", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), server_default="", nullable=False
        ),
        sa.Column(
            "application_family",
            sa.Text().with_variant(sa.Text(collation="C"), "postgresql"),
            server_default="",
            nullable=False,
        ),
        sa.Column(
            "application_name",
            sa.Text().with_variant(sa.Text(collation="C"), "postgresql"),
            server_default="",
            nullable=False,
        ),
        sa.Column(
            "application_version",
            sa.Text().with_variant(sa.Text(collation="C"), "postgresql"),
            server_default="",
            nullable=False,
        ),
        sa.Column("file_limit", sa.BigInteger(), nullable=True),
        sa.Column("files_handed", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["project_id"], ["catalogue_projects.project_id"], name=op.f("fk_catalogue_processes_project_id")
        ),
        sa.PrimaryKeyConstraint("process_id", name=op.f("pk_catalogue_processes")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("catalogue_processes", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_catalogue_processes_project_id"), ["project_id"], unique=False)
        batch_op.create_index(
            "uq_catalogue_processes_live",
            ["project_id", "job", "node"],
            unique=True,
            sqlite_where=sa.text("ended_at IS NULL AND job <> ''"),
            postgresql_where=sa.text("ended_at IS NULL AND job <> ''"),
        )

    op.create_table(
        "catalogue_project_files",
        sa.Column("project_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("file_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("experiment", sa.String(length=32), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("process_id", sa.BigInteger(), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["catalogue_projects.project_id"], name=op.f("fk_catalogue_project_files_project_id")
        ),
        sa.PrimaryKeyConstraint("project_id", "file_id", name=op.f("pk_catalogue_project_files")),
    )
    with op.batch_alter_table("catalogue_project_files", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_catalogue_project_files_file_id"), ["file_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_catalogue_project_files_process_id"), ["process_id"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_catalogue_project_files_project_id_state_position"),
            ["project_id", "state", "position"],
            unique=False,
        )


def downgrade() -> None:

    with op.batch_alter_table("catalogue_project_files", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_catalogue_project_files_project_id_state_position"))
        batch_op.drop_index(batch_op.f("ix_catalogue_project_files_process_id"))
        batch_op.drop_index(batch_op.f("ix_catalogue_project_files_file_id"))

    op.drop_table("catalogue_project_files")
    with op.batch_alter_table("catalogue_processes", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_catalogue_processes_live",
            sqlite_where=sa.text("ended_at IS NULL AND job <> ''"),
            postgresql_where=sa.text("ended_at IS NULL AND job <> ''"),
        )
        batch_op.drop_index(batch_op.f("ix_catalogue_processes_project_id"))

    op.drop_table("catalogue_processes")
    with op.batch_alter_table("catalogue_snapshot_files", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_catalogue_snapshot_files_file_id"))

    op.drop_table("catalogue_snapshot_files")
    with op.batch_alter_table("catalogue_runs", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_catalogue_runs_experiment_run_subrun_file_id"))

    op.drop_table("catalogue_runs")
    with op.batch_alter_table("catalogue_projects", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_catalogue_projects_snapshot_id"))
        batch_op.drop_index(batch_op.f("ix_catalogue_projects_experiment_name"))

    op.drop_table("catalogue_projects")
    with op.batch_alter_table("catalogue_parentage", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_catalogue_parentage_parent_id_child_id"))

    op.drop_table("catalogue_parentage")
    with op.batch_alter_table("catalogue_locations", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_catalogue_locations_file_id_location"))
        batch_op.drop_index(batch_op.f("ix_catalogue_locations_experiment_location"))

    op.drop_table("catalogue_locations")
    with op.batch_alter_table("catalogue_file_parameters", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_catalogue_file_parameters_experiment_name_value_text_file_id"))

    op.drop_table("catalogue_file_parameters")
    with op.batch_alter_table("catalogue_checksums", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_catalogue_checksums_experiment_checksum"))

    op.drop_table("catalogue_checksums")
    with op.batch_alter_table("catalogue_snapshots", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_catalogue_snapshots_experiment_definition_name_version"))

    op.drop_table("catalogue_snapshots")
    op.drop_table("catalogue_parameters")
    with op.batch_alter_table("catalogue_files", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_catalogue_files_experiment_process_id"))
        batch_op.drop_index(batch_op.f("ix_catalogue_files_experiment_file_name"))
        batch_op.drop_index(batch_op.f("ix_catalogue_files_experiment_ended_at"))
        batch_op.drop_index(batch_op.f("ix_catalogue_files_experiment_data_tier"))
        batch_op.drop_index(batch_op.f("ix_catalogue_files_experiment_created_at"))
        batch_op.drop_index(batch_op.f("ix_catalogue_files_experiment_application_version_created_at"))

    op.drop_table("catalogue_files")
    with op.batch_alter_table("catalogue_definitions", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_catalogue_definitions_experiment_name"))

    op.drop_table("catalogue_definitions")
