"""Stages that begin on a part of the files of the stage before them."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("campaign_stages", schema=None) as batch_op:
        batch_op.add_column(sa.Column("start_when", sa.Text(), nullable=True))

    with op.batch_alter_table("deliveries", schema=None) as batch_op:
        batch_op.alter_column("consumer_submission_id", existing_type=sa.Integer(), nullable=True)
        batch_op.add_column(sa.Column("launch_key", sa.Text(), nullable=True))
        batch_op.create_index(batch_op.f("ix_deliveries_launch_key"), ["launch_key"], unique=False)


def downgrade() -> None:
    # What was handed over to launches that were never made is free again.
    op.execute("DELETE FROM deliveries WHERE consumer_submission_id IS NULL")
    with op.batch_alter_table("deliveries", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_deliveries_launch_key"))
        batch_op.drop_column("launch_key")
        batch_op.alter_column("consumer_submission_id", existing_type=sa.Integer(), nullable=False)

    with op.batch_alter_table("campaign_stages", schema=None) as batch_op:
        batch_op.drop_column("start_when")
