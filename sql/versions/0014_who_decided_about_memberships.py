"""Memberships say where they come from and who decided last; changes of people are found among all events."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

PEOPLE = "kind = 'person.changed'"


def upgrade() -> None:
    with op.batch_alter_table("experiments_experimenters", schema=None) as batch_op:
        batch_op.add_column(sa.Column("source", sa.Text(), server_default="", nullable=False))
        batch_op.add_column(sa.Column("source_role", sa.Text(), server_default="", nullable=False))
        batch_op.add_column(sa.Column("kept", sa.Boolean(), server_default=sa.text("false"), nullable=False))
        batch_op.add_column(sa.Column("changed_by", sa.Text(), server_default="", nullable=False))
        batch_op.add_column(sa.Column("changed_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index("ix_events_people", "events", ["kind", "experiment", "event_id"], postgresql_where=sa.text(PEOPLE),
                    sqlite_where=sa.text(PEOPLE))


def downgrade() -> None:
    op.drop_index("ix_events_people", table_name="events", postgresql_where=sa.text(PEOPLE),
                  sqlite_where=sa.text(PEOPLE))
    with op.batch_alter_table("experiments_experimenters", schema=None) as batch_op:
        for column in ("changed_at", "changed_by", "kept", "source_role", "source"):
            batch_op.drop_column(column)
