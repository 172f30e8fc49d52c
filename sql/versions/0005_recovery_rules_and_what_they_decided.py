"""Recovery rules, what they decided, and how much was enough."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "stage_levels",
        sa.Column("campaign_stage_id", sa.Integer(), nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("amount", sa.Float(), nullable=False),
        sa.Column("jobs", sa.Integer(), server_default="0", nullable=False),
        sa.CheckConstraint("resource IN ('memory', 'time')", name=op.f("ck_stage_levels_resource")),
        sa.ForeignKeyConstraint(
            ["campaign_stage_id"],
            ["campaign_stages.campaign_stage_id"],
            name=op.f("fk_stage_levels_campaign_stage_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("campaign_stage_id", "resource", "amount", name=op.f("pk_stage_levels")),
    )
    op.create_table(
        "recovery_decisions",
        sa.Column("recovery_decision_id", sa.Integer(), nullable=False),
        sa.Column("submission_id", sa.Integer(), nullable=False),
        sa.Column("original_submission_id", sa.Integer(), nullable=False),
        sa.Column("experiment", sa.String(length=32), nullable=False),
        sa.Column("campaign_stage_id", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), server_default="", nullable=False),
        sa.Column("cause", sa.Text(), server_default="", nullable=False),
        sa.Column("change", sa.Text(), server_default="", nullable=False),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.Column("files", sa.Integer(), server_default="0", nullable=False),
        sa.Column("request", sa.JSON(), nullable=True),
        sa.Column("launch_key", sa.Text(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answered_by", sa.Integer(), nullable=True),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "state IN ('launched', 'passive', 'asking', 'gone on', 'given up')",
            name=op.f("ck_recovery_decisions_state"),
        ),
        sa.ForeignKeyConstraint(
            ["answered_by"], ["experimenters.experimenter_id"], name=op.f("fk_recovery_decisions_answered_by")
        ),
        sa.ForeignKeyConstraint(
            ["campaign_stage_id"],
            ["campaign_stages.campaign_stage_id"],
            name=op.f("fk_recovery_decisions_campaign_stage_id"),
        ),
        sa.ForeignKeyConstraint(
            ["original_submission_id"],
            ["submissions.submission_id"],
            name=op.f("fk_recovery_decisions_original_submission_id"),
        ),
        sa.ForeignKeyConstraint(
            ["submission_id"], ["submissions.submission_id"], name=op.f("fk_recovery_decisions_submission_id")
        ),
        sa.PrimaryKeyConstraint("recovery_decision_id", name=op.f("pk_recovery_decisions")),
    )
    with op.batch_alter_table("recovery_decisions", schema=None) as batch_op:
        batch_op.create_index(
            "ix_recovery_decisions_asking",
            ["experiment", "recovery_decision_id"],
            unique=False,
            postgresql_where=sa.text("state = 'asking'"),
            sqlite_where=sa.text("state = 'asking'"),
        )
        batch_op.create_index(
            "ix_recovery_decisions_stage",
            ["campaign_stage_id", "recovery_decision_id"],
            unique=False,
        )
        batch_op.create_index(batch_op.f("ix_recovery_decisions_launch_key"), ["launch_key"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_recovery_decisions_original_submission_id"), ["original_submission_id"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_recovery_decisions_submission_id"), ["submission_id"], unique=False)

    op.create_table(
        "recovery_rounds",
        sa.Column("submission_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("original_submission_id", sa.Integer(), nullable=False),
        sa.Column("experiment", sa.String(length=32), nullable=False),
        sa.Column("depth", sa.Integer(), server_default="0", nullable=False),
        sa.Column("passive", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("waiting", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("judged_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["original_submission_id"],
            ["submissions.submission_id"],
            name=op.f("fk_recovery_rounds_original_submission_id"),
        ),
        sa.ForeignKeyConstraint(
            ["submission_id"], ["submissions.submission_id"], name=op.f("fk_recovery_rounds_submission_id")
        ),
        sa.PrimaryKeyConstraint("submission_id", name=op.f("pk_recovery_rounds")),
    )
    with op.batch_alter_table("recovery_rounds", schema=None) as batch_op:
        batch_op.create_index(
            "ix_recovery_rounds_waiting",
            ["experiment", "submission_id"],
            unique=False,
            postgresql_where=sa.text("waiting"),
            sqlite_where=sa.text("waiting"),
        )

    op.create_table(
        "recovery_files",
        sa.Column("submission_id", sa.Integer(), nullable=False),
        sa.Column("file_name", sa.Text(), nullable=False),
        sa.Column("recovery_decision_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["recovery_decision_id"],
            ["recovery_decisions.recovery_decision_id"],
            name=op.f("fk_recovery_files_recovery_decision_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["submission_id"], ["submissions.submission_id"], name=op.f("fk_recovery_files_submission_id")
        ),
        sa.PrimaryKeyConstraint("submission_id", "file_name", name=op.f("pk_recovery_files")),
    )
    with op.batch_alter_table("recovery_files", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_recovery_files_recovery_decision_id"), ["recovery_decision_id"], unique=False
        )

    with op.batch_alter_table("campaign_stages", schema=None) as batch_op:
        batch_op.add_column(sa.Column("recovery_policy", sa.Text(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("campaign_stages", schema=None) as batch_op:
        batch_op.drop_column("recovery_policy")

    with op.batch_alter_table("recovery_files", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_recovery_files_recovery_decision_id"))

    op.drop_table("recovery_files")
    with op.batch_alter_table("recovery_rounds", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_recovery_rounds_waiting", postgresql_where=sa.text("waiting"), sqlite_where=sa.text("waiting")
        )

    op.drop_table("recovery_rounds")
    with op.batch_alter_table("recovery_decisions", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_recovery_decisions_submission_id"))
        batch_op.drop_index(batch_op.f("ix_recovery_decisions_original_submission_id"))
        batch_op.drop_index(batch_op.f("ix_recovery_decisions_launch_key"))
        batch_op.drop_index("ix_recovery_decisions_stage")
        batch_op.drop_index(
            "ix_recovery_decisions_asking",
            postgresql_where=sa.text("state = 'asking'"),
            sqlite_where=sa.text("state = 'asking'"),
        )

    op.drop_table("recovery_decisions")
    op.drop_table("stage_levels")
