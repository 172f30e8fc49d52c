"""the first tables."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "agent_tasks",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_epoch", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cursor", sa.Text(), server_default="", nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("succeeded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_agent_tasks")),
    )
    op.create_table(
        "events",
        sa.Column("event_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), server_default="", nullable=False),
        sa.Column("experiment", sa.String(length=32), nullable=True),
        sa.Column("campaign_id", sa.Integer(), nullable=True),
        sa.Column("campaign_stage_id", sa.Integer(), nullable=True),
        sa.Column("submission_id", sa.Integer(), nullable=True),
        sa.Column("batch_id", sa.Text(), nullable=True),
        sa.Column("data", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=True),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_events")),
    )
    with op.batch_alter_table("events", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_events_campaign_id_events_event_id"), ["campaign_id", "event_id"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_events_campaign_stage_id_events_event_id"), ["campaign_stage_id", "event_id"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_events_experiment_events_event_id"), ["experiment", "event_id"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_events_submission_id_events_event_id"), ["submission_id", "event_id"], unique=False
        )

    op.create_table(
        "experimenters",
        sa.Column("experimenter_id", sa.Integer(), nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("first_name", sa.Text(), server_default="", nullable=False),
        sa.Column("last_name", sa.Text(), server_default="", nullable=False),
        sa.Column("last_login", sa.DateTime(timezone=True), nullable=True),
        sa.Column("session_experiment", sa.Text(), server_default="", nullable=False),
        sa.Column("session_role", sa.Text(), server_default="analysis", nullable=False),
        sa.Column("root", sa.Boolean(), server_default=sa.text("(false)"), nullable=False),
        sa.PrimaryKeyConstraint("experimenter_id", name=op.f("pk_experimenters")),
        sa.UniqueConstraint("username", name=op.f("uq_experimenters_username")),
    )
    op.create_table(
        "experiments",
        sa.Column("experiment", sa.String(length=32), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("logbook", sa.Text(), nullable=True),
        sa.Column("snow_url", sa.Text(), nullable=True),
        sa.Column("restricted", sa.Boolean(), server_default=sa.text("(false)"), nullable=False),
        sa.Column("active", sa.Boolean(), server_default=sa.text("(true)"), nullable=False),
        sa.Column("launches_held_by", sa.Integer(), nullable=True),
        sa.Column("launches_held_reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["launches_held_by"], ["experimenters.experimenter_id"], name=op.f("fk_experiments_launches_held_by")
        ),
        sa.PrimaryKeyConstraint("experiment", name=op.f("pk_experiments")),
        sa.UniqueConstraint("name", name=op.f("uq_experiments_name")),
    )
    op.create_table(
        "snapshots",
        sa.Column("snapshot_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("snapshot_id", name=op.f("pk_snapshots")),
    )
    op.create_table(
        "submission_statuses",
        sa.Column("status_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("status_id", name=op.f("pk_submission_statuses")),
        sa.UniqueConstraint("status", name=op.f("uq_submission_statuses_status")),
    )
    op.create_table(
        "campaigns",
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("experiment", sa.String(length=32), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), server_default=sa.text("(true)"), nullable=False),
        sa.Column("defaults", sa.JSON(), nullable=True),
        sa.Column("campaign_keywords", sa.JSON(), nullable=True),
        sa.Column("campaign_type", sa.Text(), nullable=True),
        sa.Column("data_handling_service", sa.Text(), server_default="sam", nullable=False),
        sa.Column("creator", sa.Integer(), nullable=False),
        sa.Column("creator_role", sa.Text(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updater", sa.Integer(), nullable=True),
        sa.Column("updated", sa.DateTime(timezone=True), nullable=True),
        sa.Column("version_number", sa.Integer(), server_default="0", nullable=False),
        sa.Column("last_activity_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("held_by", sa.Integer(), nullable=True),
        sa.Column("held_reason", sa.Text(), nullable=True),
        sa.CheckConstraint("campaign_type IS NULL OR campaign_type = 'test'", name=op.f("ck_campaigns_type")),
        sa.ForeignKeyConstraint(["creator"], ["experimenters.experimenter_id"], name=op.f("fk_campaigns_creator")),
        sa.ForeignKeyConstraint(["experiment"], ["experiments.experiment"], name=op.f("fk_campaigns_experiment")),
        sa.ForeignKeyConstraint(["held_by"], ["experimenters.experimenter_id"], name=op.f("fk_campaigns_held_by")),
        sa.ForeignKeyConstraint(["updater"], ["experimenters.experimenter_id"], name=op.f("fk_campaigns_updater")),
        sa.PrimaryKeyConstraint("campaign_id", name=op.f("pk_campaigns")),
        sa.UniqueConstraint("experiment", "name", name=op.f("uq_campaigns_experiment_name")),
    )
    with op.batch_alter_table("campaigns", schema=None) as batch_op:
        batch_op.create_index("ix_campaigns_creator", ["creator"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_campaigns_experiment_campaigns_active_campaigns_campaign_id"),
            ["experiment", "active", "campaign_id"],
            unique=False,
        )
        batch_op.create_index(
            "ix_campaigns_last_activity", ["experiment", "last_activity_at", "campaign_id"], unique=False
        )

    op.create_table(
        "experiments_experimenters",
        sa.Column("experimenter_id", sa.Integer(), nullable=False),
        sa.Column("experiment", sa.String(length=32), nullable=False),
        sa.Column("active", sa.Boolean(), server_default=sa.text("(true)"), nullable=False),
        sa.Column("role", sa.Text(), server_default="analysis", nullable=False),
        sa.CheckConstraint(
            "role IN ('analysis', 'production-shifter', 'production', 'superuser')",
            name=op.f("ck_experiments_experimenters_role"),
        ),
        sa.ForeignKeyConstraint(
            ["experiment"], ["experiments.experiment"], name=op.f("fk_experiments_experimenters_experiment")
        ),
        sa.ForeignKeyConstraint(
            ["experimenter_id"],
            ["experimenters.experimenter_id"],
            name=op.f("fk_experiments_experimenters_experimenter_id"),
        ),
        sa.PrimaryKeyConstraint("experimenter_id", "experiment", name=op.f("pk_experiments_experimenters")),
    )
    with op.batch_alter_table("experiments_experimenters", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_experiments_experimenters_experiment"), ["experiment"], unique=False)

    op.create_table(
        "job_types",
        sa.Column("job_type_id", sa.Integer(), nullable=False),
        sa.Column("experiment", sa.String(length=32), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("launch_script", sa.Text(), server_default="", nullable=False),
        sa.Column("definition_parameters", sa.JSON(), nullable=False),
        sa.Column("output_file_patterns", sa.Text(), server_default="%", nullable=False),
        sa.Column("creator", sa.Integer(), nullable=False),
        sa.Column("creator_role", sa.Text(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updater", sa.Integer(), nullable=True),
        sa.Column("updated", sa.DateTime(timezone=True), nullable=True),
        sa.Column("active", sa.Boolean(), server_default=sa.text("(true)"), nullable=False),
        sa.ForeignKeyConstraint(["creator"], ["experimenters.experimenter_id"], name=op.f("fk_job_types_creator")),
        sa.ForeignKeyConstraint(["experiment"], ["experiments.experiment"], name=op.f("fk_job_types_experiment")),
        sa.ForeignKeyConstraint(["updater"], ["experimenters.experimenter_id"], name=op.f("fk_job_types_updater")),
        sa.PrimaryKeyConstraint("job_type_id", name=op.f("pk_job_types")),
        sa.UniqueConstraint("experiment", "name", name=op.f("uq_job_types_experiment_name")),
    )
    op.create_table(
        "login_setups",
        sa.Column("login_setup_id", sa.Integer(), nullable=False),
        sa.Column("experiment", sa.String(length=32), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("launch_host", sa.Text(), nullable=False),
        sa.Column("launch_account", sa.Text(), nullable=False),
        sa.Column("launch_setup", sa.Text(), nullable=False),
        sa.Column("creator", sa.Integer(), nullable=False),
        sa.Column("creator_role", sa.Text(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updater", sa.Integer(), nullable=True),
        sa.Column("updated", sa.DateTime(timezone=True), nullable=True),
        sa.Column("active", sa.Boolean(), server_default=sa.text("(true)"), nullable=False),
        sa.ForeignKeyConstraint(["creator"], ["experimenters.experimenter_id"], name=op.f("fk_login_setups_creator")),
        sa.ForeignKeyConstraint(["experiment"], ["experiments.experiment"], name=op.f("fk_login_setups_experiment")),
        sa.ForeignKeyConstraint(["updater"], ["experimenters.experimenter_id"], name=op.f("fk_login_setups_updater")),
        sa.PrimaryKeyConstraint("login_setup_id", name=op.f("pk_login_setups")),
        sa.UniqueConstraint("experiment", "name", name=op.f("uq_login_setups_experiment_name")),
    )
    op.create_table(
        "service_settings",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("changed_by", sa.Integer(), nullable=True),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["changed_by"], ["experimenters.experimenter_id"], name=op.f("fk_service_settings_changed_by")
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_service_settings")),
    )
    op.create_table(
        "tags",
        sa.Column("tag_id", sa.Integer(), nullable=False),
        sa.Column("experiment", sa.String(length=32), nullable=False),
        sa.Column("tag_name", sa.Text(), nullable=False),
        sa.Column("creator", sa.Integer(), nullable=False),
        sa.Column("creator_role", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["creator"], ["experimenters.experimenter_id"], name=op.f("fk_tags_creator")),
        sa.ForeignKeyConstraint(["experiment"], ["experiments.experiment"], name=op.f("fk_tags_experiment")),
        sa.PrimaryKeyConstraint("tag_id", name=op.f("pk_tags")),
        sa.UniqueConstraint("experiment", "tag_name", name=op.f("uq_tags_experiment_tag_name")),
    )
    op.create_table(
        "campaign_recoveries",
        sa.Column("job_type_id", sa.Integer(), nullable=False),
        sa.Column("recovery_order", sa.Integer(), nullable=False),
        sa.Column("recovery_type", sa.Text(), nullable=False),
        sa.Column("param_overrides", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_type_id"], ["job_types.job_type_id"], name=op.f("fk_campaign_recoveries_job_type_id")
        ),
        sa.PrimaryKeyConstraint("job_type_id", "recovery_order", name=op.f("pk_campaign_recoveries")),
    )
    op.create_table(
        "campaign_stages",
        sa.Column("campaign_stage_id", sa.Integer(), nullable=False),
        sa.Column("campaign_id", sa.Integer(), nullable=True),
        sa.Column("experiment", sa.String(length=32), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), server_default="0", nullable=False),
        sa.Column("job_type_id", sa.Integer(), nullable=False),
        sa.Column("login_setup_id", sa.Integer(), nullable=False),
        sa.Column("vo_role", sa.Text(), nullable=False),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("software_version", sa.Text(), nullable=False),
        sa.Column("cs_split_type", sa.Text(), nullable=True),
        sa.Column("test_split_type", sa.Text(), nullable=True),
        sa.Column("cs_last_split", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=True),
        sa.Column("last_split_test", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=True),
        sa.Column("param_overrides", sa.JSON(), nullable=False),
        sa.Column("test_param_overrides", sa.JSON(), nullable=False),
        sa.Column("merge_overrides", sa.Boolean(), server_default=sa.text("(false)"), nullable=False),
        sa.Column("completion_type", sa.Text(), server_default="located", nullable=False),
        sa.Column("completion_pct", sa.Float(), server_default="95", nullable=False),
        sa.Column("output_ancestor_depth", sa.Integer(), server_default="1", nullable=False),
        sa.Column("campaign_stage_type", sa.Text(), server_default="regular", nullable=False),
        sa.Column("default_clear_cronjob", sa.Boolean(), server_default=sa.text("(true)"), nullable=False),
        sa.Column("data_handling", sa.JSON(), nullable=True),
        sa.Column("hold_experimenter_id", sa.Integer(), nullable=True),
        sa.Column("role_held_with", sa.Text(), nullable=True),
        sa.Column("hold_reason", sa.Text(), nullable=True),
        sa.Column("creator", sa.Integer(), nullable=False),
        sa.Column("creator_role", sa.Text(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updater", sa.Integer(), nullable=True),
        sa.Column("updated", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_submission_id", sa.Integer(), nullable=True),
        sa.Column("jobs_idle", sa.Integer(), server_default="0", nullable=False),
        sa.Column("jobs_running", sa.Integer(), server_default="0", nullable=False),
        sa.Column("jobs_held", sa.Integer(), server_default="0", nullable=False),
        sa.Column("jobs_completed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("jobs_failed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("jobs_removed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("files_consumed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("files_generated", sa.Integer(), server_default="0", nullable=False),
        sa.CheckConstraint(
            "campaign_stage_type IN ('regular', 'test', 'generator', 'approval', 'datatransfer')",
            name=op.f("ck_campaign_stages_campaign_stage_type"),
        ),
        sa.CheckConstraint(
            "completion_type IN ('located', 'complete')", name=op.f("ck_campaign_stages_completion_type")
        ),
        sa.CheckConstraint(
            "completion_pct > 0 AND completion_pct <= 100", name=op.f("ck_campaign_stages_completion_pct")
        ),
        sa.CheckConstraint("output_ancestor_depth >= 1", name=op.f("ck_campaign_stages_output_ancestor_depth")),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaigns.campaign_id"], name=op.f("fk_campaign_stages_campaign_id")
        ),
        sa.ForeignKeyConstraint(
            ["creator"], ["experimenters.experimenter_id"], name=op.f("fk_campaign_stages_creator")
        ),
        sa.ForeignKeyConstraint(["experiment"], ["experiments.experiment"], name=op.f("fk_campaign_stages_experiment")),
        sa.ForeignKeyConstraint(
            ["hold_experimenter_id"],
            ["experimenters.experimenter_id"],
            name=op.f("fk_campaign_stages_hold_experimenter_id"),
        ),
        sa.ForeignKeyConstraint(
            ["job_type_id"], ["job_types.job_type_id"], name=op.f("fk_campaign_stages_job_type_id")
        ),
        sa.ForeignKeyConstraint(
            ["login_setup_id"], ["login_setups.login_setup_id"], name=op.f("fk_campaign_stages_login_setup_id")
        ),
        sa.ForeignKeyConstraint(
            ["updater"], ["experimenters.experimenter_id"], name=op.f("fk_campaign_stages_updater")
        ),
        sa.PrimaryKeyConstraint("campaign_stage_id", name=op.f("pk_campaign_stages")),
        sa.UniqueConstraint("campaign_id", "name", name=op.f("uq_campaign_stages_campaign_id_name")),
    )
    with op.batch_alter_table("campaign_stages", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_campaign_stages_experiment_campaign_stages_name"), ["experiment", "name"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_campaign_stages_job_type_id"), ["job_type_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_campaign_stages_login_setup_id"), ["login_setup_id"], unique=False)

    op.create_table(
        "campaign_versions",
        sa.Column("campaign_version_id", sa.Integer(), nullable=False),
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), server_default="", nullable=False),
        sa.Column("creator", sa.Integer(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["campaign_id"],
            ["campaigns.campaign_id"],
            name=op.f("fk_campaign_versions_campaign_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["creator"], ["experimenters.experimenter_id"], name=op.f("fk_campaign_versions_creator")
        ),
        sa.PrimaryKeyConstraint("campaign_version_id", name=op.f("pk_campaign_versions")),
        sa.UniqueConstraint("campaign_id", "number", name=op.f("uq_campaign_versions_campaign_id_number")),
    )
    op.create_table(
        "campaigns_tags",
        sa.Column("tag_id", sa.Integer(), nullable=False),
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaigns.campaign_id"], name=op.f("fk_campaigns_tags_campaign_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["tag_id"], ["tags.tag_id"], name=op.f("fk_campaigns_tags_tag_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("tag_id", "campaign_id", name=op.f("pk_campaigns_tags")),
    )
    with op.batch_alter_table("campaigns_tags", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_campaigns_tags_campaign_id"), ["campaign_id"], unique=False)

    op.create_table(
        "campaign_dependencies",
        sa.Column("campaign_dep_id", sa.Integer(), nullable=False),
        sa.Column("provider_campaign_stage_id", sa.Integer(), nullable=False),
        sa.Column("consumer_campaign_stage_id", sa.Integer(), nullable=False),
        sa.Column("file_patterns", sa.Text(), server_default="%", nullable=False),
        sa.ForeignKeyConstraint(
            ["consumer_campaign_stage_id"],
            ["campaign_stages.campaign_stage_id"],
            name=op.f("fk_campaign_dependencies_consumer_campaign_stage_id"),
        ),
        sa.ForeignKeyConstraint(
            ["provider_campaign_stage_id"],
            ["campaign_stages.campaign_stage_id"],
            name=op.f("fk_campaign_dependencies_provider_campaign_stage_id"),
        ),
        sa.PrimaryKeyConstraint("campaign_dep_id", name=op.f("pk_campaign_dependencies")),
    )
    with op.batch_alter_table("campaign_dependencies", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_campaign_dependencies_consumer_campaign_stage_id"),
            ["consumer_campaign_stage_id"],
            unique=False,
        )
        batch_op.create_index(
            batch_op.f("ix_campaign_dependencies_provider_campaign_stage_id"),
            ["provider_campaign_stage_id"],
            unique=False,
        )

    op.create_table(
        "campaign_stage_status_counts",
        sa.Column("campaign_stage_id", sa.Integer(), nullable=False),
        sa.Column("status_id", sa.Integer(), nullable=False),
        sa.Column("submissions", sa.Integer(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(
            ["campaign_stage_id"],
            ["campaign_stages.campaign_stage_id"],
            name=op.f("fk_campaign_stage_status_counts_campaign_stage_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["status_id"], ["submission_statuses.status_id"], name=op.f("fk_campaign_stage_status_counts_status_id")
        ),
        sa.PrimaryKeyConstraint("campaign_stage_id", "status_id", name=op.f("pk_campaign_stage_status_counts")),
    )
    op.create_table(
        "submissions",
        sa.Column("submission_id", sa.Integer(), nullable=False),
        sa.Column("experiment", sa.String(length=32), nullable=False),
        sa.Column("campaign_id", sa.Integer(), nullable=True),
        sa.Column("campaign_stage_id", sa.Integer(), nullable=False),
        sa.Column("creator", sa.Integer(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updater", sa.Integer(), nullable=True),
        sa.Column("updated", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status_id", sa.Integer(), nullable=False),
        sa.Column("status_since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("submission_params", sa.JSON(), nullable=False),
        sa.Column("depends_on", sa.Integer(), nullable=True),
        sa.Column("recovery_tasks_parent", sa.Integer(), nullable=True),
        sa.Column("recovery_position", sa.Integer(), nullable=True),
        sa.Column("command_executed", sa.Text(), nullable=True),
        sa.Column("project", sa.Text(), nullable=True),
        sa.Column("jobsub_job_id", sa.Text(), nullable=True),
        sa.Column("campaign_stage_snapshot_id", sa.String(length=64), nullable=True),
        sa.Column("job_type_snapshot_id", sa.String(length=64), nullable=True),
        sa.Column("login_setup_snapshot_id", sa.String(length=64), nullable=True),
        sa.Column("campaign_version_number", sa.Integer(), nullable=True),
        sa.Column("pct_complete", sa.Float(), server_default="0", nullable=False),
        sa.Column("jobs_expected", sa.Integer(), server_default="0", nullable=False),
        sa.Column("jobs_idle", sa.Integer(), server_default="0", nullable=False),
        sa.Column("jobs_running", sa.Integer(), server_default="0", nullable=False),
        sa.Column("jobs_held", sa.Integer(), server_default="0", nullable=False),
        sa.Column("jobs_completed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("jobs_failed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("jobs_removed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("files_consumed", sa.Integer(), nullable=True),
        sa.Column("files_generated", sa.Integer(), nullable=True),
        sa.Column("files_located", sa.Integer(), nullable=True),
        sa.Column("wrapup_message", sa.Text(), nullable=True),
        sa.Column("wrapup_checked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.campaign_id"], name=op.f("fk_submissions_campaign_id")),
        sa.ForeignKeyConstraint(
            ["campaign_stage_id"], ["campaign_stages.campaign_stage_id"], name=op.f("fk_submissions_campaign_stage_id")
        ),
        sa.ForeignKeyConstraint(
            ["campaign_stage_snapshot_id"],
            ["snapshots.snapshot_id"],
            name=op.f("fk_submissions_campaign_stage_snapshot_id"),
        ),
        sa.ForeignKeyConstraint(["creator"], ["experimenters.experimenter_id"], name=op.f("fk_submissions_creator")),
        sa.ForeignKeyConstraint(["depends_on"], ["submissions.submission_id"], name=op.f("fk_submissions_depends_on")),
        sa.ForeignKeyConstraint(["experiment"], ["experiments.experiment"], name=op.f("fk_submissions_experiment")),
        sa.ForeignKeyConstraint(
            ["job_type_snapshot_id"], ["snapshots.snapshot_id"], name=op.f("fk_submissions_job_type_snapshot_id")
        ),
        sa.ForeignKeyConstraint(
            ["login_setup_snapshot_id"], ["snapshots.snapshot_id"], name=op.f("fk_submissions_login_setup_snapshot_id")
        ),
        sa.ForeignKeyConstraint(
            ["recovery_tasks_parent"], ["submissions.submission_id"], name=op.f("fk_submissions_recovery_tasks_parent")
        ),
        sa.ForeignKeyConstraint(
            ["status_id"], ["submission_statuses.status_id"], name=op.f("fk_submissions_status_id")
        ),
        sa.ForeignKeyConstraint(["updater"], ["experimenters.experimenter_id"], name=op.f("fk_submissions_updater")),
        sa.PrimaryKeyConstraint("submission_id", name=op.f("pk_submissions")),
    )
    with op.batch_alter_table("submissions", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_submissions_campaign_id_submissions_submission_id"),
            ["campaign_id", "submission_id"],
            unique=False,
        )
        batch_op.create_index(
            batch_op.f("ix_submissions_campaign_stage_id_submissions_submission_id"),
            ["campaign_stage_id", "submission_id"],
            unique=False,
        )
        batch_op.create_index(batch_op.f("ix_submissions_depends_on"), ["depends_on"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_submissions_experiment_submissions_status_id_submissions_submission_id"),
            ["experiment", "status_id", "submission_id"],
            unique=False,
        )
        batch_op.create_index(
            batch_op.f("ix_submissions_experiment_submissions_submission_id"),
            ["experiment", "submission_id"],
            unique=False,
        )
        batch_op.create_index(batch_op.f("ix_submissions_jobsub_job_id"), ["jobsub_job_id"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_submissions_recovery_tasks_parent"), ["recovery_tasks_parent"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_submissions_status_id_submissions_status_since"), ["status_id", "status_since"], unique=False
        )

    op.create_table(
        "deliveries",
        sa.Column("provider_submission_id", sa.Integer(), nullable=False),
        sa.Column("consumer_campaign_stage_id", sa.Integer(), nullable=False),
        sa.Column("file_name", sa.Text(), nullable=False),
        sa.Column("consumer_submission_id", sa.Integer(), nullable=False),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["consumer_campaign_stage_id"],
            ["campaign_stages.campaign_stage_id"],
            name=op.f("fk_deliveries_consumer_campaign_stage_id"),
        ),
        sa.ForeignKeyConstraint(
            ["consumer_submission_id"], ["submissions.submission_id"], name=op.f("fk_deliveries_consumer_submission_id")
        ),
        sa.ForeignKeyConstraint(
            ["provider_submission_id"], ["submissions.submission_id"], name=op.f("fk_deliveries_provider_submission_id")
        ),
        sa.PrimaryKeyConstraint(
            "provider_submission_id", "consumer_campaign_stage_id", "file_name", name=op.f("pk_deliveries")
        ),
    )
    with op.batch_alter_table("deliveries", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_deliveries_consumer_submission_id"), ["consumer_submission_id"], unique=False
        )

    op.create_table(
        "jobs",
        sa.Column("submission_id", sa.Integer(), nullable=False),
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("site", sa.Text(), server_default="", nullable=False),
        sa.Column("node", sa.Text(), server_default="", nullable=False),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("exit_signal", sa.SmallInteger(), nullable=True),
        sa.Column("hold_code", sa.SmallInteger(), nullable=True),
        sa.Column("hold_reason", sa.Text(), server_default="", nullable=False),
        sa.Column("cpu_seconds", sa.Float(), nullable=True),
        sa.Column("wall_seconds", sa.Float(), nullable=True),
        sa.Column("memory_used_mb", sa.Integer(), nullable=True),
        sa.Column("memory_asked_mb", sa.Integer(), nullable=True),
        sa.Column("attempts", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("submission_id", "batch_id", name=op.f("pk_jobs")),
    )

    op.create_table(
        "launches",
        sa.Column("launch_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("experiment", sa.String(length=32), nullable=False),
        sa.Column("campaign_id", sa.Integer(), nullable=True),
        sa.Column("campaign_stage_id", sa.Integer(), nullable=False),
        sa.Column("submission_id", sa.Integer(), nullable=True),
        sa.Column("parent_submission_id", sa.Integer(), nullable=True),
        sa.Column("campaign_dep_id", sa.Integer(), nullable=True),
        sa.Column("launcher", sa.Integer(), nullable=False),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("hold_reason", sa.Text(), nullable=True),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_epoch", sa.Integer(), server_default="0", nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("plan", sa.JSON(), nullable=True),
        sa.Column("log_name", sa.Text(), nullable=True),
        sa.Column("exit_status", sa.Integer(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('owed', 'queued', 'held', 'launched', 'failed', 'skipped', 'cancelled')",
            name=op.f("ck_launches_state"),
        ),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.campaign_id"], name=op.f("fk_launches_campaign_id")),
        sa.ForeignKeyConstraint(
            ["campaign_stage_id"], ["campaign_stages.campaign_stage_id"], name=op.f("fk_launches_campaign_stage_id")
        ),
        sa.ForeignKeyConstraint(["experiment"], ["experiments.experiment"], name=op.f("fk_launches_experiment")),
        sa.ForeignKeyConstraint(["launcher"], ["experimenters.experimenter_id"], name=op.f("fk_launches_launcher")),
        sa.ForeignKeyConstraint(
            ["parent_submission_id"], ["submissions.submission_id"], name=op.f("fk_launches_parent_submission_id")
        ),
        sa.ForeignKeyConstraint(
            ["submission_id"], ["submissions.submission_id"], name=op.f("fk_launches_submission_id")
        ),
        sa.PrimaryKeyConstraint("launch_id", name=op.f("pk_launches")),
        sa.UniqueConstraint("key", name=op.f("uq_launches_key")),
    )
    with op.batch_alter_table("launches", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_launches_campaign_stage_id_launches_launch_id"),
            ["campaign_stage_id", "launch_id"],
            unique=False,
        )
        batch_op.create_index(
            "ix_launches_due",
            ["launch_id"],
            unique=False,
            postgresql_where=sa.text("state IN ('owed', 'queued')"),
            sqlite_where=sa.text("state IN ('owed', 'queued')"),
        )
        batch_op.create_index(
            batch_op.f("ix_launches_experiment_launches_state_launches_launch_id"),
            ["experiment", "state", "launch_id"],
            unique=False,
        )
        batch_op.create_index(batch_op.f("ix_launches_parent_submission_id"), ["parent_submission_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_launches_submission_id"), ["submission_id"], unique=False)

    op.create_table(
        "submission_files",
        sa.Column("submission_id", sa.Integer(), nullable=False),
        sa.Column("direction", sa.String(length=3), nullable=False),
        sa.Column("file_name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("parents", sa.JSON(), nullable=True),
        sa.Column("job", sa.Text(), server_default="", nullable=False),
        sa.Column("updated", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("direction IN ('in', 'out')", name=op.f("ck_submission_files_direction")),
        sa.ForeignKeyConstraint(
            ["submission_id"], ["submissions.submission_id"], name=op.f("fk_submission_files_submission_id")
        ),
        sa.PrimaryKeyConstraint("submission_id", "direction", "file_name", name=op.f("pk_submission_files")),
    )
    op.create_table(
        "submission_histories",
        sa.Column("submission_history_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("submission_id", sa.Integer(), nullable=False),
        sa.Column("status_id", sa.Integer(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), server_default="", nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(
            ["status_id"], ["submission_statuses.status_id"], name=op.f("fk_submission_histories_status_id")
        ),
        sa.ForeignKeyConstraint(
            ["submission_id"], ["submissions.submission_id"], name=op.f("fk_submission_histories_submission_id")
        ),
        sa.PrimaryKeyConstraint("submission_history_id", name=op.f("pk_submission_histories")),
    )
    with op.batch_alter_table("submission_histories", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_submission_histories_submission_id_submission_histories_submission_history_id"),
            ["submission_id", "submission_history_id"],
            unique=False,
        )


def downgrade() -> None:
    with op.batch_alter_table("submission_histories", schema=None) as batch_op:
        batch_op.drop_index(
            batch_op.f("ix_submission_histories_submission_id_submission_histories_submission_history_id")
        )

    op.drop_table("submission_histories")
    op.drop_table("submission_files")
    with op.batch_alter_table("launches", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_launches_submission_id"))
        batch_op.drop_index(batch_op.f("ix_launches_parent_submission_id"))
        batch_op.drop_index(batch_op.f("ix_launches_experiment_launches_state_launches_launch_id"))
        batch_op.drop_index(
            "ix_launches_due",
            postgresql_where=sa.text("state IN ('owed', 'queued')"),
            sqlite_where=sa.text("state IN ('owed', 'queued')"),
        )
        batch_op.drop_index(batch_op.f("ix_launches_campaign_stage_id_launches_launch_id"))

    op.drop_table("launches")
    op.drop_table("jobs")
    with op.batch_alter_table("deliveries", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_deliveries_consumer_submission_id"))

    op.drop_table("deliveries")
    with op.batch_alter_table("submissions", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_submissions_status_id_submissions_status_since"))
        batch_op.drop_index(batch_op.f("ix_submissions_recovery_tasks_parent"))
        batch_op.drop_index(batch_op.f("ix_submissions_jobsub_job_id"))
        batch_op.drop_index(batch_op.f("ix_submissions_experiment_submissions_submission_id"))
        batch_op.drop_index(batch_op.f("ix_submissions_experiment_submissions_status_id_submissions_submission_id"))
        batch_op.drop_index(batch_op.f("ix_submissions_depends_on"))
        batch_op.drop_index(batch_op.f("ix_submissions_campaign_stage_id_submissions_submission_id"))
        batch_op.drop_index(batch_op.f("ix_submissions_campaign_id_submissions_submission_id"))

    op.drop_table("submissions")
    op.drop_table("campaign_stage_status_counts")
    with op.batch_alter_table("campaign_dependencies", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_campaign_dependencies_provider_campaign_stage_id"))
        batch_op.drop_index(batch_op.f("ix_campaign_dependencies_consumer_campaign_stage_id"))

    op.drop_table("campaign_dependencies")
    with op.batch_alter_table("campaigns_tags", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_campaigns_tags_campaign_id"))

    op.drop_table("campaigns_tags")
    op.drop_table("campaign_versions")
    with op.batch_alter_table("campaign_stages", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_campaign_stages_login_setup_id"))
        batch_op.drop_index(batch_op.f("ix_campaign_stages_job_type_id"))
        batch_op.drop_index(batch_op.f("ix_campaign_stages_experiment_campaign_stages_name"))

    op.drop_table("campaign_stages")
    op.drop_table("campaign_recoveries")
    op.drop_table("tags")
    op.drop_table("service_settings")
    op.drop_table("login_setups")
    op.drop_table("job_types")
    with op.batch_alter_table("experiments_experimenters", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_experiments_experimenters_experiment"))

    op.drop_table("experiments_experimenters")
    with op.batch_alter_table("campaigns", schema=None) as batch_op:
        batch_op.drop_index("ix_campaigns_last_activity")
        batch_op.drop_index(batch_op.f("ix_campaigns_experiment_campaigns_active_campaigns_campaign_id"))
        batch_op.drop_index("ix_campaigns_creator")

    op.drop_table("campaigns")
    op.drop_table("submission_statuses")
    op.drop_table("snapshots")
    op.drop_table("experiments")
    op.drop_table("experimenters")
    with op.batch_alter_table("events", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_events_submission_id_events_event_id"))
        batch_op.drop_index(batch_op.f("ix_events_experiment_events_event_id"))
        batch_op.drop_index(batch_op.f("ix_events_campaign_stage_id_events_event_id"))
        batch_op.drop_index(batch_op.f("ix_events_campaign_id_events_event_id"))

    op.drop_table("events")
    op.drop_table("agent_tasks")
