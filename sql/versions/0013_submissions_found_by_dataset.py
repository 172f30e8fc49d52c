"""Submissions are found by their dataset; indexes of what few of them have hold these few only."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

FEW = ("depends_on", "recovery_tasks_parent")


def upgrade() -> None:
    for column in FEW:
        op.drop_index(f"ix_submissions_{column}", table_name="submissions")
        there = sa.text(f"{column} IS NOT NULL")
        op.create_index(f"ix_submissions_{column}", "submissions", [column], postgresql_where=there, sqlite_where=there)
    if op.get_bind().dialect.name == "postgresql":
        op.create_index("ix_submissions_dataset", "submissions", [sa.text("(submission_params ->> 'dataset')")])


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.drop_index("ix_submissions_dataset", table_name="submissions")
    for column in FEW:
        op.drop_index(f"ix_submissions_{column}", table_name="submissions")
        op.create_index(f"ix_submissions_{column}", "submissions", [column])
