"""Stages that send a scout ahead, the scouts, and the launches that wait for them."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "scouts",
        sa.Column("submission_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("experiment", sa.String(length=32), nullable=False),
        sa.Column("campaign_stage_id", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("files", sa.Integer(), nullable=False),
        sa.Column("rest_files", sa.Integer(), nullable=False),
        sa.Column("jobs", sa.Integer(), nullable=True),
        sa.Column("jobs_succeeded", sa.Integer(), nullable=True),
        sa.Column("memory_mb", sa.Float(), nullable=True),
        sa.Column("wall_seconds", sa.Float(), nullable=True),
        sa.Column("cpu_efficiency", sa.Float(), nullable=True),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("change", sa.Text(), server_default="", nullable=False),
        sa.Column("overrides", sa.JSON(), nullable=False),
        sa.Column("judged_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("answered_by", sa.Integer(), nullable=True),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.CheckConstraint("state IN ('waiting', 'good', 'asking', 'gone on', 'given up')",
                           name=op.f("ck_scouts_state")),
        sa.ForeignKeyConstraint(["answered_by"], ["experimenters.experimenter_id"],
                                name=op.f("fk_scouts_answered_by")),
        sa.ForeignKeyConstraint(["campaign_stage_id"], ["campaign_stages.campaign_stage_id"],
                                name=op.f("fk_scouts_campaign_stage_id")),
        sa.ForeignKeyConstraint(["submission_id"], ["submissions.submission_id"],
                                name=op.f("fk_scouts_submission_id")),
        sa.PrimaryKeyConstraint("submission_id", name=op.f("pk_scouts")),
    )
    with op.batch_alter_table("scouts", schema=None) as batch_op:
        batch_op.create_index("ix_scouts_stage", ["campaign_stage_id", "submission_id"], unique=False)
        batch_op.create_index("ix_scouts_unjudged", ["experiment", "submission_id"], unique=False,
                              postgresql_where=sa.text("judged_at IS NULL"),
                              sqlite_where=sa.text("judged_at IS NULL"))
        batch_op.create_index("ix_scouts_asking", ["experiment", "submission_id"], unique=False,
                              postgresql_where=sa.text("state = 'asking'"), sqlite_where=sa.text("state = 'asking'"))

    with op.batch_alter_table("campaign_stages", schema=None) as batch_op:
        batch_op.add_column(sa.Column("scout", sa.Text(), nullable=True))

    with op.batch_alter_table("launches", schema=None) as batch_op:
        batch_op.add_column(sa.Column("scout_submission_id", sa.Integer(), nullable=True))
        batch_op.create_foreign_key(batch_op.f("fk_launches_scout_submission_id"), "submissions",
                                    ["scout_submission_id"], ["submission_id"])
        batch_op.create_index("ix_launches_scout", ["scout_submission_id"], unique=False,
                              postgresql_where=sa.text("scout_submission_id IS NOT NULL"),
                              sqlite_where=sa.text("scout_submission_id IS NOT NULL"))


def downgrade() -> None:
    with op.batch_alter_table("launches", schema=None) as batch_op:
        batch_op.drop_index("ix_launches_scout")
        batch_op.drop_constraint(batch_op.f("fk_launches_scout_submission_id"), type_="foreignkey")
        batch_op.drop_column("scout_submission_id")

    with op.batch_alter_table("campaign_stages", schema=None) as batch_op:
        batch_op.drop_column("scout")

    op.drop_table("scouts")
