"""The columns of lists that people chose."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "list_columns",
        sa.Column("experimenter_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("list_name", sa.Text(), nullable=False),
        sa.Column(
            "columns",
            sa.JSON().with_variant(postgresql.JSONB(), "postgresql"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["experimenter_id"],
            ["experimenters.experimenter_id"],
            name=op.f("fk_list_columns_experimenter_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("experimenter_id", "list_name", name=op.f("pk_list_columns")),
    )


def downgrade() -> None:
    op.drop_table("list_columns")
