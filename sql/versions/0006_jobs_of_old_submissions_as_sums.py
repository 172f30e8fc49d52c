"""The jobs of old submissions as sums."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "job_summaries",
        sa.Column("submission_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("jobs", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("cpu_seconds", sa.Float(), nullable=True),
        sa.Column("wall_seconds", sa.Float(), nullable=True),
        sa.Column("cpu_seconds_max", sa.Float(), nullable=True),
        sa.Column("wall_seconds_max", sa.Float(), nullable=True),
        sa.Column("memory_used_mb_sum", sa.BigInteger(), nullable=True),
        sa.Column("memory_used_mb_max", sa.Integer(), nullable=True),
        sa.Column("memory_asked_mb_max", sa.Integer(), nullable=True),
        sa.Column("first_started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("by_outcome", sa.JSON(), nullable=False),
        sa.Column("by_site", sa.JSON(), nullable=False),
        sa.Column("clusters", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["submission_id"],
            ["submissions.submission_id"],
            name=op.f("fk_job_summaries_submission_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("submission_id", name=op.f("pk_job_summaries")),
    )


def downgrade() -> None:
    # What was folded cannot be taken apart again: the single jobs are gone.
    op.drop_table("job_summaries")
